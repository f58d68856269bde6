//! Links changed, made and removed: `ip link set`, `ip link add … type vlan`, `ip link del`.

use rustix::io::Errno;
use wireway_packet::Instant;
use wireway_stack::{Error, Host, InterfaceId, InterfaceInfo, Vlan};
use wireway_wire::{EtherType, MacAddr, VlanProtocol};

use super::Refusal;
use super::link::{FIXED, IFLA_IFNAME, named};
use super::request::{Attributes, Request, word};
use crate::links;

const IFLA_ADDRESS: u16 = 1;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VLAN_PROTOCOL: u16 = 5;
/// Masters, namespaces, aliases, address generation and so on.
const UNSUPPORTED: [u16; 10] = [10, 16, 19, 20, 26, 28, 33, 39, 43, 52];
/// Those that may say what is so already: link mode and group.
const ZERO: [u16; 2] = [17, 27];

/// Longest queues and names.
const MOST_QUEUE: u32 = 65_535;
const NAME: usize = 15;

/// RTM_NEWLINK and RTM_SETLINK.
pub(super) fn set(host: &mut Host, now: Instant, request: &Request<'_>) -> Result<(), Refusal> {
    let fixed: &[u8; FIXED] = request.fixed()?;
    let attributes = request.attributes(FIXED);
    let known = match named(host, fixed, &attributes) {
        Ok(link) => Some(link.id),
        Err(_) => None,
    };
    match known {
        Some(_) if request.has(libc::NLM_F_EXCL) => Err(Errno::EXIST.into()),
        Some(id) => change(host, now, id, fixed, &attributes),
        None if request.kind == libc::RTM_SETLINK || !request.has(libc::NLM_F_CREATE) => Err(Errno::NODEV.into()),
        None => {
            let id = make(host, now, &attributes)?;
            let changed = change(host, now, id, fixed, &attributes);
            if changed.is_err() {
                let _ = host.remove_interface(now, id);
            }
            changed
        }
    }
}

fn change(
    host: &mut Host,
    now: Instant,
    id: InterfaceId,
    fixed: &[u8; FIXED],
    attributes: &Attributes<'_>,
) -> Result<(), Refusal> {
    let link = host.interface(id).ok_or(Errno::NODEV)?;
    let (name, mac, mtu, queue) = (link.name, links::mac(&link), link.mtu, links::queue(&link));
    if attributes.text(IFLA_IFNAME).is_some_and(|asked| !asked.is_empty() && asked != name.as_bytes()) {
        return Err(Refusal::unsupported("Interfaces cannot be renamed"));
    }
    let other = ZERO.into_iter().any(|kind| attributes.get(kind).is_some_and(|value| value.iter().any(|b| *b != 0)));
    if other || UNSUPPORTED.into_iter().any(|kind| attributes.has(kind)) {
        return Err(Refusal::unsupported("Only state, MTU, address and queue length can be changed"));
    }
    let flags = flags_to_be(&link, word(fixed, 8), word(fixed, 12))?;
    if let Some(asked) = attributes.get(IFLA_ADDRESS) {
        let asked: &[u8; 6] = asked.first_chunk().ok_or(Errno::INVAL)?;
        if *asked != mac {
            host.set_mac(id, MacAddr(*asked))?;
        }
    }
    if let Some(asked) = attributes.u32(IFLA_MTU)?.filter(|asked| *asked != mtu) {
        set_mtu(host, now, id, asked)?;
    }
    if let Some(up) = flags {
        host.set_up(now, id, up)?;
    }
    if let Some(asked) = attributes.u32(IFLA_TXQLEN)?.filter(|asked| *asked != queue) {
        set_queue(host, id, asked)?;
    }
    Ok(())
}

/// Whether the link is to go up or down, if flags (IFF_*) say so. Those that this host does not have cannot be changed.
pub(crate) fn flags_to_be(link: &InterfaceInfo<'_>, flags: u32, change: u32) -> Result<Option<bool>, Refusal> {
    const UP: u32 = libc::IFF_UP as u32;
    const SETTABLE: u32 = UP
        | (libc::IFF_PROMISC | libc::IFF_ALLMULTI | libc::IFF_NOARP | libc::IFF_MULTICAST | libc::IFF_DYNAMIC) as u32;
    if flags == 0 && change == 0 {
        return Ok(None);
    }
    let now = links::flags(link);
    let change = if change == 0 { u32::MAX } else { change };
    let differing = (flags ^ now) & change & SETTABLE;
    if differing & !UP != 0 {
        return Err(Refusal::unsupported("Of the flags only up can be changed"));
    }
    Ok((differing != 0).then_some(flags & UP != 0))
}

pub(crate) fn set_mtu(host: &mut Host, now: Instant, id: InterfaceId, mtu: u32) -> Result<(), Refusal> {
    host.set_mtu(now, id, mtu).map_err(|error| match error {
        Error::InvalidArgument if mtu < 68 => Refusal::new(Errno::INVAL, "mtu less than device minimum"),
        Error::InvalidArgument => Refusal::new(Errno::INVAL, "mtu greater than device maximum"),
        other => other.into(),
    })
}

pub(crate) fn set_queue(host: &mut Host, id: InterfaceId, packets: u32) -> Result<(), Refusal> {
    if packets > MOST_QUEUE {
        return Err(Errno::RANGE.into());
    }
    host.set_queue_limit(id, packets as usize).map_err(Refusal::from)
}

/// Makes a link: one of a VLAN.
fn make(host: &mut Host, now: Instant, attributes: &Attributes<'_>) -> Result<InterfaceId, Refusal> {
    let about = attributes.nested(IFLA_LINKINFO).unwrap_or_default();
    if about.text(IFLA_INFO_KIND) != Some(b"vlan") {
        return Err(Refusal::new(Errno::OPNOTSUPP, "Unknown device type"));
    }
    let missing = Refusal::new(Errno::INVAL, "VLAN properties not specified");
    let data = about.nested(IFLA_INFO_DATA).ok_or(missing)?;
    let protocol = match data.get(IFLA_VLAN_PROTOCOL).map(|raw| raw.first_chunk::<2>()) {
        None => Some(VlanProtocol::Customer),
        Some(raw) => raw.and_then(|raw| VlanProtocol::from_ethertype(EtherType(u16::from_be_bytes(*raw)))),
    };
    let protocol = protocol.ok_or(Refusal::new(Errno::PROTONOSUPPORT, "Invalid VLAN protocol"))?;
    let id = data.u16(IFLA_VLAN_ID)?;
    if id.is_some_and(|id| id >= 0xfff) {
        return Err(Refusal::new(Errno::RANGE, "Invalid VLAN id"));
    }
    let id = id.ok_or(Refusal::new(Errno::INVAL, "VLAN id not specified"))?;
    let parent = attributes.u32(IFLA_LINK)?.ok_or(Refusal::new(Errno::INVAL, "link not specified"))?;
    let parent = links::with_index(host, parent).ok_or(Refusal::new(Errno::NODEV, "link does not exist"))?.id;
    let name = name(host, attributes)?;
    host.add_vlan(now, &name, Vlan { parent, protocol, id }).map_err(|error| match error {
        Error::NotSupported => Refusal::new(Errno::OPNOTSUPP, "VLANs not supported on device"),
        Error::Exists if links::named(host, name.as_bytes()).is_none() => {
            Refusal::new(Errno::EXIST, "VLAN device already exists")
        }
        other => other.into(),
    })
}

/// The name of a new link: what is asked for, or the first that is free.
fn name(host: &Host, attributes: &Attributes<'_>) -> Result<String, Refusal> {
    let asked = attributes.text(IFLA_IFNAME).unwrap_or_default();
    if asked.is_empty() {
        let free = (0..).map(|n: u32| format!("vlan{n}")).find(|name| links::named(host, name.as_bytes()).is_none());
        return free.ok_or(Errno::NFILE.into());
    }
    // Linux's dev_valid_name().
    let special = |b: &u8| *b == b'/' || *b == b':' || b.is_ascii_whitespace() || *b == 0x0b;
    let valid = asked.len() <= NAME && asked != b"." && asked != b".." && !asked.iter().any(special);
    match std::str::from_utf8(asked) {
        Ok(name) if valid => Ok(name.to_owned()),
        _ => Err(Errno::INVAL.into()),
    }
}

pub(super) fn delete(host: &mut Host, now: Instant, request: &Request<'_>) -> Result<(), Refusal> {
    let id = named(host, request.fixed()?, &request.attributes(FIXED))?.id;
    host.remove_interface(now, id).map_err(Refusal::from)
}
