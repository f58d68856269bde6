//! Addresses: `ip addr`.

use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use rustix::io::Errno;
use wireway_packet::Instant;
use wireway_stack::{AddressInfo, AddressOptions, AddressState, Cidr, Host, InterfaceId, InterfaceInfo};

use super::request::{Attributes, Request, word};
use super::{Refusal, address_family, is_of};
use crate::links;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_BROADCAST: u16 = 4;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;

/// Of IPv6 what Linux calls IFA_F_TEMPORARY is of IPv4 IFA_F_SECONDARY.
const TEMPORARY: AddressFlags = AddressFlags::Secondary;
/// A lifetime without end.
const FOREVER: u32 = u32::MAX;

/// Bytes of `struct ifaddrmsg`: family, prefix length, flags, scope, index.
const FIXED: usize = 8;

pub(super) fn all(host: &Host, now: Instant, family: u8) -> Vec<RouteNetlinkMessage> {
    let mut messages = [Vec::new(), Vec::new()];
    for link in host.interfaces() {
        let known = host.addresses(link.id);
        for (place, info) in known.iter().enumerate().filter(|(_, info)| is_of(family, info.cidr.address)) {
            let first = is_first(known.get(..place).unwrap_or_default(), info.cidr);
            messages[usize::from(info.cidr.address.is_ipv6())].push(message(&link, now, info, first));
        }
    }
    // IPv4's come first, of whatever link.
    messages.into_iter().flatten().collect()
}

/// Whether none of the addresses before this one is in its network.
fn is_first(before: &[AddressInfo], cidr: Cidr) -> bool {
    let network = |cidr: Cidr| (cidr.prefix_len, cidr.network());
    !before.iter().any(|info| network(info.cidr) == network(cidr))
}

fn message(link: &InterfaceInfo<'_>, now: Instant, info: &AddressInfo, first: bool) -> RouteNetlinkMessage {
    let Cidr { address, prefix_len } = info.cidr;
    let (preferred, valid) = info.lifetimes.unwrap_or((Instant::FAR_FUTURE, Instant::FAR_FUTURE));
    let mut flags = AddressFlags::empty();
    flags.set(AddressFlags::Permanent, valid == Instant::FAR_FUTURE);
    flags.set(AddressFlags::Tentative, info.state == AddressState::Tentative);
    flags.set(AddressFlags::Deprecated, info.state == AddressState::Deprecated);
    flags.set(AddressFlags::Nodad, info.options.no_dad);
    flags.set(AddressFlags::Noprefixroute, info.options.no_route);
    match address {
        IpAddr::V4(_) => flags.set(AddressFlags::Secondary, !first),
        IpAddr::V6(_) => {
            flags.set(TEMPORARY, info.temporary);
            flags.set(AddressFlags::StablePrivacy, info.made && !info.temporary);
        }
    }
    let mut message = AddressMessage::default();
    message.header.family = address_family(address);
    message.header.prefix_len = prefix_len;
    message.header.flags = AddressHeaderFlags::from_bits_retain(flags.bits() as u8);
    message.header.scope = match address {
        _ if address.is_loopback() => AddressScope::Host,
        IpAddr::V4(_) if links::is_loopback(link) => AddressScope::Host,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => AddressScope::Link,
        _ => AddressScope::Universe,
    };
    message.header.index = links::index(link.id);
    message.attributes = vec![AddressAttribute::Address(address)];
    // IPv6 has neither broadcast nor labels, and names an address twice only on point-to-point links.
    if address.is_ipv4() {
        message.attributes.push(AddressAttribute::Local(address));
        if let Some(broadcast) = info.cidr.broadcast().filter(|_| !links::is_loopback(link)) {
            message.attributes.push(AddressAttribute::Broadcast(broadcast));
        }
        message.attributes.push(AddressAttribute::Label(link.name.to_owned()));
    }
    message.attributes.push(AddressAttribute::Flags(flags));
    let mut lifetimes = CacheInfo::default();
    (lifetimes.ifa_preferred, lifetimes.ifa_valid) = (seconds(now, preferred), seconds(now, valid));
    message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
    RouteNetlinkMessage::NewAddress(message)
}

/// How long it is until then.
fn seconds(now: Instant, until: Instant) -> u32 {
    match until {
        Instant::FAR_FUTURE => FOREVER,
        // To the nearest, as what was just given is shown as it was given.
        until => u32::try_from((until.since(now) + Duration::from_millis(500)).as_secs()).unwrap_or(FOREVER - 1),
    }
}

/// What a request names.
struct Named<'a> {
    interface: InterfaceId,
    cidr: Cidr,
    attributes: Attributes<'a>,
    flags: AddressFlags,
}

fn read<'a>(host: &Host, request: &Request<'a>) -> Result<Named<'a>, Refusal> {
    let fixed: &[u8; FIXED] = request.fixed()?;
    let attributes = request.attributes(FIXED);
    let family = i32::from(request.family());
    let local = attributes.address(IFA_LOCAL, family)?;
    let address = attributes.address(IFA_ADDRESS, family)?;
    let (longest, local) = match family {
        libc::AF_INET => (32, local.ok_or(Refusal::new(Errno::INVAL, "ipv4: Local address is not supplied"))?),
        libc::AF_INET6 => (128, local.or(address).ok_or(Errno::INVAL)?),
        _ => return Err(Errno::OPNOTSUPP.into()),
    };
    if address.is_some_and(|address| address != local) {
        return Err(Refusal::unsupported("Addresses of point-to-point links are not supported"));
    }
    let prefix_len = fixed[1];
    if prefix_len > longest {
        return Err(Refusal::new(Errno::INVAL, "Invalid prefix length"));
    }
    let no_device = match family {
        libc::AF_INET => "ipv4: Device not found",
        _ => "ipv6: Unable to find the interface",
    };
    let link = links::with_index(host, word(fixed, 4)).ok_or(Refusal::new(Errno::NODEV, no_device))?;
    let flags = AddressFlags::from_bits_retain(attributes.u32(IFA_FLAGS)?.unwrap_or(fixed[2].into()));
    Ok(Named { interface: link.id, cidr: Cidr { address: local, prefix_len }, attributes, flags })
}

pub(super) fn add(host: &mut Host, now: Instant, request: &Request<'_>) -> Result<(), Refusal> {
    let Named { interface, cidr, attributes, flags } = read(host, request)?;
    let link = host.interface(interface).ok_or(Errno::NODEV)?;
    let name = link.name;
    if attributes.text(IFA_LABEL).is_some_and(|label| label != name.as_bytes()) {
        return Err(Refusal::unsupported("Labels of addresses are not supported"));
    }
    if attributes.u32(IFA_RT_PRIORITY)?.is_some_and(|metric| metric > 0) {
        return Err(Refusal::unsupported("Metrics of addresses are not supported"));
    }
    let broadcast = attributes.address(IFA_BROADCAST, i32::from(request.family()))?;
    if broadcast.is_some_and(|asked| !asked.is_unspecified() && Some(asked) != cidr.broadcast().map(IpAddr::V4)) {
        return Err(Refusal::unsupported("Only the broadcast address of the network is supported"));
    }
    if let IpAddr::V6(address) = cidr.address {
        if address.is_multicast() {
            let text = "ipv6: Cannot assign multicast address without \"IFA_F_MCAUTOJOIN\" flag";
            return Err(Refusal::new(Errno::INVAL, text));
        }
        if address.is_loopback() && !links::is_loopback(&link) {
            return Err(Refusal::new(Errno::ADDRNOTAVAIL, "ipv6: Cannot assign loopback address on this device"));
        }
    }
    let lifetimes = attributes.get(IFA_CACHEINFO).map(|raw| lifetimes(now, raw)).transpose()?.flatten();
    let known = host.addresses(interface).into_iter().find(|info| same(&info.cidr, &cidr));
    match known {
        Some(known) if request.has(libc::NLM_F_REPLACE) && !request.has(libc::NLM_F_EXCL) => {
            if known.made {
                return Err(Refusal::unsupported("Lifetimes of addresses that the host made come from routers"));
            }
            host.set_lifetimes(now, interface, known.cidr, lifetimes).map_err(Refusal::from)
        }
        Some(_) => Err(Refusal::new(
            Errno::EXIST,
            match cidr.address {
                IpAddr::V4(_) => "ipv4: Address already assigned",
                IpAddr::V6(_) => "ipv6: address already assigned",
            },
        )),
        None => {
            let options = AddressOptions {
                probe: false,
                no_dad: flags.contains(AddressFlags::Nodad) && cidr.address.is_ipv6(),
                no_route: flags.contains(AddressFlags::Noprefixroute),
                lifetimes,
            };
            host.add_address_with(now, interface, cidr, options).map_err(Refusal::from)
        }
    }
}

/// Whether the kernel would take them for one: IPv6 has an address only once on a link.
fn same(one: &Cidr, other: &Cidr) -> bool {
    one.address == other.address && (one.address.is_ipv6() || one.prefix_len == other.prefix_len)
}

/// `struct ifa_cacheinfo` begins with for how many seconds the address is preferred, and valid.
fn lifetimes(now: Instant, raw: &[u8]) -> Result<Option<(Instant, Instant)>, Refusal> {
    if raw.len() < 16 {
        return Err(Refusal::new(Errno::RANGE, "Attribute failed policy validation"));
    }
    let (preferred, valid) = (word(raw, 0), word(raw, 4));
    if valid == 0 || preferred > valid {
        return Err(Refusal::new(Errno::INVAL, "address lifetime invalid"));
    }
    let end = |seconds| match seconds {
        FOREVER => Instant::FAR_FUTURE,
        seconds => now + Duration::from_secs(seconds.into()),
    };
    Ok(Some((end(preferred), end(valid))).filter(|_| (preferred, valid) != (FOREVER, FOREVER)))
}

pub(super) fn delete(host: &mut Host, _now: Instant, request: &Request<'_>) -> Result<(), Refusal> {
    let Named { interface, cidr, .. } = read(host, request)?;
    let text = match cidr.address {
        IpAddr::V4(_) => "ipv4: Address not found",
        IpAddr::V6(_) => "ipv6: address not found",
    };
    let known = host.addresses(interface).into_iter().find(|info| info.cidr == cidr);
    known.ok_or(Refusal::new(Errno::ADDRNOTAVAIL, text))?;
    host.remove_address(interface, cidr).map_err(Refusal::from)
}
