//! The structures of multicast's options as programs lay them out in memory: `ip_mreqn`, `ip_mreq_source`, `ipv6_mreq`, `group_req` and
//! what else ip(7), ipv6(7) and RFC 3678 have. Lengths and families are checked as Linux checks them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;
use wireway_stack::{Domain, FilterMode, Host, InterfaceId, Membership};

use crate::sockaddr;

// Lengths and places: group_req, group_source_req, group_filter and ip_msfilter.
pub const ADDRESS: usize = sockaddr::LONGEST;
pub const GROUP_AT: usize = 8;
pub const SOURCE_AT: usize = GROUP_AT + ADDRESS;
const GROUP_REQ: usize = SOURCE_AT;
pub const GROUP_SOURCE_REQ: usize = SOURCE_AT + ADDRESS;
pub const GROUP_FILTER: usize = SOURCE_AT + 8;
pub const IP_FILTER: usize = 16;

/// The value of IP_MULTICAST_IF: an `in_addr`, `ip_mreq` or `ip_mreqn`.
pub fn outgoing(host: &Host, value: &[u8]) -> Result<(Option<InterfaceId>, Option<Ipv4Addr>), Errno> {
    let (address, index) = match value.len() {
        ..4 => return Err(Errno::INVAL),
        4..8 => (v4_at(value, 0)?, 0),
        8..12 => (v4_at(value, 4)?, 0),
        _ => (v4_at(value, 4)?, word_at(value, 8)?),
    };
    let source = Some(address).filter(|address| !address.is_unspecified());
    let interface = match (index, source) {
        (0, None) => None,
        (0, Some(address)) => Some(with_address(host, address).ok_or(Errno::ADDRNOTAVAIL)?),
        (index, _) => with_index(index),
    };
    Ok((interface, source))
}

/// `ip_mreq` or `ip_mreqn`. To leave, the interface need not be there.
pub fn mreq(host: &Host, value: &[u8], leave: bool) -> Result<Membership, Errno> {
    let (group, address) = (v4_at(value, 0)?, v4_at(value, 4)?);
    if !leave && !group.is_multicast() {
        return Err(Errno::INVAL);
    }
    let missing = if leave { Errno::ADDRNOTAVAIL } else { Errno::NODEV };
    let index = word_at(value, 8).unwrap_or(0);
    let interface = match (index, address.is_unspecified()) {
        (0, true) => None,
        (0, false) => Some(with_address(host, address).ok_or(missing)?),
        (index, _) => with_index(index),
    };
    Ok(Membership { group: group.into(), interface, source: None })
}

/// `ip_mreq_source`
pub fn mreq_source(host: &Host, value: &[u8]) -> Result<Membership, Errno> {
    if value.len() != 12 {
        return Err(Errno::INVAL);
    }
    let (group, address, source) = (v4_at(value, 0)?, v4_at(value, 4)?, v4_at(value, 8)?);
    if !group.is_multicast() {
        return Err(Errno::INVAL);
    }
    let interface = match address.is_unspecified() {
        true => None,
        false => Some(with_address(host, address).ok_or(Errno::NODEV)?),
    };
    Ok(Membership { group: group.into(), interface, source: Some(source.into()) })
}

/// `ipv6_mreq`
pub fn mreq_v6(value: &[u8]) -> Result<Membership, Errno> {
    let group = value.first_chunk::<16>().ok_or(Errno::INVAL)?;
    Ok(Membership { group: Ipv6Addr::from(*group).into(), interface: with_index(word_at(value, 16)?), source: None })
}

pub fn group_req(value: &[u8], family: Domain) -> Result<Membership, Errno> {
    if value.len() < GROUP_REQ {
        return Err(Errno::INVAL);
    }
    let other = if family == Domain::Inet { Errno::INVAL } else { Errno::ADDRNOTAVAIL };
    let group = address_at(value, GROUP_AT, family).ok_or(other)?;
    Ok(Membership { group, interface: with_index(word_at(value, 0)?), source: None })
}

pub fn group_source_req(value: &[u8], family: Domain) -> Result<Membership, Errno> {
    if value.len() < GROUP_SOURCE_REQ {
        return Err(Errno::INVAL);
    }
    let group = address_at(value, GROUP_AT, family).ok_or(Errno::ADDRNOTAVAIL)?;
    let source = address_at(value, SOURCE_AT, family).ok_or(Errno::ADDRNOTAVAIL)?;
    Ok(Membership { group, interface: with_index(word_at(value, 0)?), source: Some(source) })
}

/// A filter to be set as a whole.
pub struct Filter {
    pub group: IpAddr,
    pub interface: Option<InterfaceId>,
    pub mode: FilterMode,
    pub sources: Vec<IpAddr>,
}

impl Filter {
    /// `ip_msfilter`
    pub fn of_v4(host: &Host, value: &[u8]) -> Result<Filter, Errno> {
        if value.len() < IP_FILTER {
            return Err(Errno::INVAL);
        }
        let count = word_at(value, 12)? as usize;
        if count > host.settings().igmp_max_msf {
            return Err(Errno::NOBUFS);
        }
        let list = value.get(IP_FILTER..IP_FILTER + 4 * count).ok_or(Errno::INVAL)?;
        let (group, address, mode) = (v4_at(value, 0)?, v4_at(value, 4)?, mode(word_at(value, 8)?));
        if !group.is_multicast() {
            return Err(Errno::INVAL);
        }
        let interface = match address.is_unspecified() {
            true => None,
            false => Some(with_address(host, address).ok_or(Errno::NODEV)?),
        };
        let sources = list.chunks_exact(4).map(|raw| v4_at(raw, 0).map(IpAddr::V4)).collect::<Result<_, _>>()?;
        Ok(Filter { group: group.into(), interface, mode: mode?, sources })
    }

    /// `group_filter`
    pub fn of(host: &Host, value: &[u8], family: Domain) -> Result<Filter, Errno> {
        if value.len() < GROUP_FILTER {
            return Err(Errno::INVAL);
        }
        let count = word_at(value, SOURCE_AT + 4)? as usize;
        let settings = host.settings();
        if count > if family == Domain::Inet { settings.igmp_max_msf } else { settings.mld_max_msf } {
            return Err(Errno::NOBUFS);
        }
        let list = value.get(GROUP_FILTER..GROUP_FILTER + ADDRESS * count).ok_or(Errno::INVAL)?;
        let group = address_at(value, GROUP_AT, family).ok_or(Errno::ADDRNOTAVAIL)?;
        let sources = list.chunks_exact(ADDRESS).map(|raw| address_at(raw, 0, family).ok_or(Errno::ADDRNOTAVAIL));
        let sources = sources.collect::<Result<_, _>>()?;
        let mode = mode(word_at(value, SOURCE_AT)?)?;
        Ok(Filter { group, interface: with_index(word_at(value, 0)?), mode, sources })
    }
}

fn mode(value: u32) -> Result<FilterMode, Errno> {
    match value {
        0 => Ok(FilterMode::Exclude),
        1 => Ok(FilterMode::Include),
        _ => Err(Errno::INVAL),
    }
}

pub fn mode_word(mode: FilterMode) -> u32 {
    u32::from(mode == FilterMode::Include)
}

pub fn put(value: &mut [u8], at: usize, word: u32) {
    if let Some(place) = value.get_mut(at..at + 4) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
}

pub fn word_at(value: &[u8], at: usize) -> Result<u32, Errno> {
    value.get(at..).and_then(|rest| rest.first_chunk::<4>()).map(|raw| u32::from_ne_bytes(*raw)).ok_or(Errno::INVAL)
}

pub fn v4_at(value: &[u8], at: usize) -> Result<Ipv4Addr, Errno> {
    value.get(at..).and_then(|rest| rest.first_chunk::<4>()).map(|raw| Ipv4Addr::from(*raw)).ok_or(Errno::INVAL)
}

/// The address in a `sockaddr_storage`, if it is of the family.
pub fn address_at(value: &[u8], at: usize, family: Domain) -> Option<IpAddr> {
    let address = sockaddr::parse_inet(value.get(at..at + ADDRESS)?).ok()?.ip();
    (address.is_ipv6() == (family == Domain::Inet6)).then_some(address)
}

/// The interface of an index, whether there is one or not; 0 is none in particular.
pub fn with_index(index: u32) -> Option<InterfaceId> {
    Some(InterfaceId(u16::try_from(index.checked_sub(1)?).unwrap_or(u16::MAX)))
}

pub fn with_address(host: &Host, address: Ipv4Addr) -> Option<InterfaceId> {
    let has = |link: &wireway_stack::InterfaceInfo<'_>| link.addresses.iter().any(|cidr| cidr.address == address);
    host.interfaces().find(has).map(|link| link.id)
}
