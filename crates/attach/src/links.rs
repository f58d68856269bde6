//! The host's interfaces as programs are told of them, by ioctl and by netlink.

use std::net::{IpAddr, Ipv4Addr};

use wireway_stack::{Host, InterfaceId, InterfaceInfo, Medium};

// Interface flags (netdevice(7)).
const UP: u32 = libc::IFF_UP as u32;
const BROADCAST: u32 = libc::IFF_BROADCAST as u32;
const LOOPBACK: u32 = libc::IFF_LOOPBACK as u32;
const RUNNING: u32 = libc::IFF_RUNNING as u32;
const MULTICAST: u32 = libc::IFF_MULTICAST as u32;
const LOWER_UP: u32 = 0x1_0000;

/// Linux's ifindex.
pub(crate) fn index(id: InterfaceId) -> u32 {
    u32::from(id.0) + 1
}

/// The interface with an ifindex.
pub(crate) fn with_index(host: &Host, index: u32) -> Option<InterfaceInfo<'_>> {
    host.interface(InterfaceId(u16::try_from(index.checked_sub(1)?).ok()?))
}

/// The interface of a name.
pub(crate) fn named<'a>(host: &'a Host, name: &[u8]) -> Option<InterfaceInfo<'a>> {
    host.interfaces().find(|link| link.name.as_bytes() == name)
}

/// Whether it is `lo`.
pub(crate) fn is_loopback(link: &InterfaceInfo<'_>) -> bool {
    link.medium == Medium::Loopback
}

/// Its hardware address; zero on `lo`.
pub(crate) fn mac(link: &InterfaceInfo<'_>) -> [u8; 6] {
    match link.medium {
        Medium::Ethernet(mac) => mac.0,
        Medium::Loopback => [0; 6],
    }
}

/// IFF_*
pub(crate) fn flags(link: &InterfaceInfo<'_>) -> u32 {
    let state = if link.up { UP | RUNNING | LOWER_UP } else { 0 };
    state | if is_loopback(link) { LOOPBACK } else { BROADCAST | MULTICAST }
}

/// Packets its transmit queue holds.
pub(crate) fn queue(link: &InterfaceInfo<'_>) -> u32 {
    if is_loopback(link) || link.vlan.is_some() { 1000 } else { u32::try_from(link.queue_limit).unwrap_or(u32::MAX) }
}

/// Its first IPv4 address with the prefix.
pub(crate) fn v4(link: &InterfaceInfo<'_>) -> Option<(Ipv4Addr, u8)> {
    link.addresses.iter().find_map(|cidr| match cidr.address {
        IpAddr::V4(v4) => Some((v4, cidr.prefix_len.min(32))),
        IpAddr::V6(_) => None,
    })
}

/// The network mask of a prefix.
pub(crate) fn mask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - prefix as u32).unwrap_or(0))
}

/// The broadcast address of a network.
pub(crate) fn broadcast(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits() | !mask(prefix).to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        assert_eq!(mask(24), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(mask(0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(mask(32), Ipv4Addr::BROADCAST);
        assert_eq!(broadcast(Ipv4Addr::new(10, 0, 2, 15), 24), Ipv4Addr::new(10, 0, 2, 255));
    }
}
