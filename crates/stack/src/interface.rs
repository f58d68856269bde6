//! Interfaces: what a host knows of each of its nics, and the queue of packets to transmit by it.

use core::net::IpAddr;

use wireway_wire::MacAddr;

/// An interface of a host, by the order in which it was added; 0 is `lo`. Linux's ifindex is one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub u16);

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// Bits of the prefix: at most 32 or 128.
    pub prefix_len: u8,
}

/// How an interface frames packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Ethernet II with this address; neighbours are resolved.
    Ethernet(MacAddr),
    /// The host's own `lo`: what is sent is received.
    Loopback,
}

/// What the nic behind an interface does, so that the stack need not (RFC-less; Linux's netdev features).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Features {
    /// Completes [`Checksum::Partial`](wireway_packet::Checksum::Partial) on transmit.
    pub tx_checksum: bool,
    /// Accepts super-segments (needs `tx_checksum`).
    pub tcp_segmentation: bool,
}

/// How to make an interface.
#[derive(Clone, Debug)]
pub struct InterfaceConfig {
    /// Its name, such as `eth0`.
    pub name: String,
    /// Its framing.
    pub medium: Medium,
    /// Bytes of the largest IP packet (at least 68, RFC 791).
    pub mtu: u16,
    /// Its addresses; a connected route is made for each.
    pub addresses: Vec<Cidr>,
    /// What its nic does.
    pub features: Features,
    /// Packets its transmit queue holds (Linux's txqueuelen).
    pub queue_limit: usize,
    /// Take packets for any destination as the host's own, and answer ARP for any address but the asker's: how the
    /// gateway stands in for the rest of the world.
    pub any_destination: bool,
    /// Probe addresses before using them (RFC 5227 §2.1.1) and announce them (§2.3).
    pub probe: bool,
}

impl InterfaceConfig {
    /// An Ethernet interface without addresses, on a nic that does nothing by itself; `mtu` in bytes. The rest as Linux has it.
    pub fn ethernet(name: &str, mac: MacAddr, mtu: u16) -> InterfaceConfig {
        InterfaceConfig {
            name: name.into(),
            medium: Medium::Ethernet(mac),
            mtu,
            addresses: Vec::new(),
            features: Features::default(),
            queue_limit: 1000,
            any_destination: false,
            probe: false,
        }
    }
}
