//! The host's interfaces and routes as programs are told of them, by ioctl and by netlink.

use std::net::{IpAddr, Ipv4Addr};

use wireway_stack::{Cidr, InterfaceConfig, InterfaceId, Medium};

// Interface flags (netdevice(7)).
const UP: u32 = libc::IFF_UP as u32;
const BROADCAST: u32 = libc::IFF_BROADCAST as u32;
const LOOPBACK: u32 = libc::IFF_LOOPBACK as u32;
const RUNNING: u32 = libc::IFF_RUNNING as u32;
const MULTICAST: u32 = libc::IFF_MULTICAST as u32;
const LOWER_UP: u32 = 0x1_0000;

/// One interface.
#[derive(Clone, Debug)]
pub struct Link {
    /// The host's name for it.
    pub id: InterfaceId,
    /// Its name, such as `eth0`.
    pub name: String,
    /// Its hardware address; zero on `lo`.
    pub mac: [u8; 6],
    /// Whether it is `lo`.
    pub loopback: bool,
    /// Bytes of the largest IP packet.
    pub mtu: u32,
    /// Packets its transmit queue holds.
    pub queue: u32,
    /// Its addresses.
    pub addresses: Vec<Cidr>,
    /// The router behind it, if the default route goes this way.
    pub gateway: Option<Ipv4Addr>,
}

impl Link {
    /// The `lo` that every host has.
    pub fn loopback() -> Link {
        Link {
            id: InterfaceId(0),
            name: "lo".to_owned(),
            mac: [0; 6],
            loopback: true,
            mtu: 65_536,
            queue: 1000,
            addresses: vec![Cidr { address: IpAddr::V4(Ipv4Addr::LOCALHOST), prefix_len: 8 }],
            gateway: None,
        }
    }

    /// An interface that was added to a host as `id` with `config`.
    pub fn new(id: InterfaceId, config: &InterfaceConfig, gateway: Option<Ipv4Addr>) -> Link {
        let (mac, loopback) = match config.medium {
            Medium::Ethernet(mac) => (mac.0, false),
            Medium::Loopback => ([0; 6], true),
        };
        Link {
            id,
            name: config.name.clone(),
            mac,
            loopback,
            mtu: config.mtu as u32,
            queue: config.queue_limit.min(u32::MAX as usize) as u32,
            addresses: config.addresses.clone(),
            gateway,
        }
    }

    /// Linux's ifindex.
    pub fn index(&self) -> u32 {
        self.id.0 as u32 + 1
    }

    /// IFF_*
    pub fn flags(&self) -> u32 {
        let kind = if self.loopback { LOOPBACK } else { BROADCAST | MULTICAST };
        UP | RUNNING | LOWER_UP | kind
    }

    /// Its first IPv4 address with the prefix.
    pub fn v4(&self) -> Option<(Ipv4Addr, u8)> {
        self.all_v4().next()
    }

    /// All its IPv4 addresses.
    pub fn all_v4(&self) -> impl Iterator<Item = (Ipv4Addr, u8)> {
        self.addresses.iter().filter_map(|cidr| match cidr.address {
            IpAddr::V4(v4) => Some((v4, cidr.prefix_len.min(32))),
            IpAddr::V6(_) => None,
        })
    }
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
