//! Interfaces: what a host knows of each of its nics, and the queue of packets to transmit by it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wireway_packet::software::{Segmenter, complete_checksum, insert_tag};
use wireway_packet::{Instant, Packet, PacketQueue};
use wireway_wire::{MacAddr, VlanProtocol};

use crate::net::claim::Claims;
use crate::net::given::Given;
use crate::net::router::Routers;
use crate::net::slaac::Slaac;
use crate::{Error, Result};

/// An interface of a host, by the order in which it was added; 0 is `lo`. Linux's ifindex is one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub u16);

impl InterfaceId {
    /// `lo`: every host has it.
    pub const LOOPBACK: InterfaceId = InterfaceId(0);
}

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// Bits of the prefix: at most 32 or 128.
    pub prefix_len: u8,
}

impl Cidr {
    /// The network: the address without its host bits.
    pub fn network(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & mask32(self.prefix_len)).into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & mask128(self.prefix_len)).into(),
        }
    }

    /// Whether `address` is in this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && Cidr { address, prefix_len: self.prefix_len }.network() == self.network()
    }

    /// The directed broadcast address, where there is one: not on prefixes of 31 and 32 bits (RFC 3021), nor on IPv6.
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(ip) if self.prefix_len < 31 => {
                Some(Ipv4Addr::from_bits(ip.to_bits() | !mask32(self.prefix_len)))
            }
            _ => None,
        }
    }

    /// Whether the prefix fits the family.
    pub(crate) fn is_valid(&self) -> bool {
        self.prefix_len <= if self.address.is_ipv4() { 32 } else { 128 }
    }
}

fn mask32(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0)
}

fn mask128(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0)
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
    /// Probe IPv4 addresses before using them (RFC 5227 §2.1.1) and announce them (§2.3). IPv6 addresses are probed whatever this says,
    /// unless [`ipv6_dad_transmits`](crate::Settings::ipv6_dad_transmits) is 0.
    pub probe: bool,
    /// Configure IPv6 by itself: a link-local address (RFC 4862 §5.3, RFC 7217), and what routers advertise (RFC 4861 §6.3). An interface with an IPv6
    /// address has a link-local one in any case.
    pub autoconf: bool,
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
            autoconf: false,
        }
    }
}

/// What makes an interface one of a VLAN: its frames leave by another interface, with a tag, and so they come (IEEE 802.1Q).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vlan {
    /// The interface that carries it; another VLAN's makes it a VLAN within that one (802.1ad).
    pub parent: InterfaceId,
    /// The kind of tag.
    pub protocol: VlanProtocol,
    /// The VLAN's number, 1 to 4094.
    pub id: u16,
}

/// What an interface counts (Linux's rtnl_link_stats64). Frames after segmentation, as they are transmitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct InterfaceStatistics {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub rx_dropped: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    pub tx_dropped: u64,
    pub multicast: u64,
}

/// An interface as it stands.
#[derive(Clone, Copy, Debug)]
pub struct InterfaceInfo<'a> {
    /// Its number.
    pub id: InterfaceId,
    /// Its name.
    pub name: &'a str,
    /// Its framing.
    pub medium: Medium,
    /// Bytes of the largest IP packet.
    pub mtu: u32,
    /// Whether it is in use (IFF_UP).
    pub up: bool,
    /// Present on a VLAN's interface.
    pub vlan: Option<Vlan>,
    /// The addresses in use: not those still being probed. IPv4's stay while the interface is down.
    pub addresses: &'a [Cidr],
    /// Packets its transmit queue holds.
    pub queue_limit: usize,
    /// What it counted.
    pub statistics: InterfaceStatistics,
}

/// What an address may be used for (RFC 4862 §5.4, §5.5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressState {
    /// It is being probed: for nothing yet.
    Tentative,
    /// For everything.
    Preferred,
    /// For what uses it already.
    Deprecated,
}

/// How an address is to be taken into use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressOptions {
    /// Probe an IPv4 address first (RFC 5227 §2.1.1).
    pub probe: bool,
    /// Do not probe an IPv6 address (RFC 4862 §5.4 has all probed).
    pub no_dad: bool,
    /// Make no route for its network.
    pub no_route: bool,
    /// Until when it is preferred and valid; `None` is for ever, and so is [`Instant::FAR_FUTURE`].
    pub lifetimes: Option<(Instant, Instant)>,
}

/// An address of an interface as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressInfo {
    /// The address, with the length of its network's prefix.
    pub cidr: Cidr,
    /// Whether it may be used.
    pub state: AddressState,
    /// A temporary address of RFC 8981.
    pub temporary: bool,
    /// The host made it itself (RFC 4862), not its owner.
    pub made: bool,
    /// Until when it is preferred and valid, if it was given so, or the host made it of an advertised prefix (RFC 4862 §5.5.4);
    /// [`Instant::FAR_FUTURE`] is for ever.
    pub lifetimes: Option<(Instant, Instant)>,
    /// It was not to be probed, or has no route for its network.
    pub options: AddressOptions,
}

/// Every link carries so many bytes whole (RFC 791).
pub(crate) const SMALLEST_MTU: u16 = 68;

/// The MTU of `lo`. What routes tell of it is 65,535: no IPv4 packet is longer.
pub(crate) const LOOPBACK_MTU: u32 = 65_536;

/// An interface.
pub(crate) struct Interface {
    pub id: InterfaceId,
    pub name: String,
    pub medium: Medium,
    pub mtu: u32,
    pub up: bool,
    /// Removed: nothing leads here any more. Its number is not given again.
    pub gone: bool,
    pub vlan: Option<Vlan>,
    /// The MAC address while the interface is up, where it has one.
    pub station: Option<MacAddr>,
    /// Those in use.
    pub addresses: Vec<Cidr>,
    pub any_destination: bool,
    pub claims: Claims,
    pub autoconf: bool,
    /// It has a link-local address of IPv6 whenever it is up.
    pub link_local: bool,
    pub routers: Routers,
    pub slaac: Slaac,
    pub given: Given,
    pub statistics: InterfaceStatistics,
    features: Features,
    queue: PacketQueue,
    segmenter: Option<Segmenter>,
}

impl Interface {
    pub fn loopback() -> Interface {
        let config = InterfaceConfig {
            name: "lo".into(),
            medium: Medium::Loopback,
            mtu: u16::MAX,
            addresses: Vec::new(),
            features: Features::default(),
            queue_limit: 0,
            any_destination: false,
            probe: false,
            autoconf: false,
        };
        Interface { mtu: LOOPBACK_MTU, up: true, ..Interface::new(InterfaceId(0), &config) }
    }

    pub fn new(id: InterfaceId, config: &InterfaceConfig) -> Interface {
        Interface {
            id,
            name: config.name.clone(),
            medium: config.medium,
            mtu: config.mtu.into(),
            up: false,
            gone: false,
            vlan: None,
            station: None,
            addresses: Vec::new(),
            any_destination: config.any_destination,
            claims: Claims::default(),
            autoconf: config.autoconf,
            link_local: false,
            routers: Routers::default(),
            slaac: Slaac::default(),
            given: Given::default(),
            statistics: InterfaceStatistics::default(),
            features: config.features,
            queue: PacketQueue::new(config.queue_limit),
            segmenter: None,
        }
    }

    pub fn info(&self) -> InterfaceInfo<'_> {
        InterfaceInfo {
            id: self.id,
            name: &self.name,
            medium: self.medium,
            mtu: self.mtu,
            up: self.up,
            vlan: self.vlan,
            addresses: &self.addresses,
            queue_limit: self.queue.limit(),
            statistics: self.statistics,
        }
    }

    pub fn mac(&self) -> Option<MacAddr> {
        match self.medium {
            Medium::Ethernet(mac) => Some(mac),
            Medium::Loopback => None,
        }
    }

    /// The longest IP packet: the MTU, or what IP's length field can say. Routers may want IPv6's shorter (RFC 4861 §6.3.4).
    pub fn ip_mtu(&self, v6: bool) -> u16 {
        let mtu = u16::try_from(self.mtu).unwrap_or(u16::MAX);
        if v6 { mtu.min(self.routers.mtu.unwrap_or(u16::MAX)) } else { mtu }
    }

    /// The IPv4 address to use towards `neighbour`: one of its network, else the first. (IPv6: `net/select.rs`.)
    pub fn source_for(&self, neighbour: IpAddr) -> Option<IpAddr> {
        let family = || self.addresses.iter().filter(|cidr| cidr.address.is_ipv4() == neighbour.is_ipv4());
        family().find(|cidr| cidr.contains(neighbour)).or_else(|| family().next()).map(|cidr| cidr.address)
    }

    /// The addresses of IPv6: in use, or on the way to it.
    pub fn v6_addresses(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        let all = self.addresses.iter().copied().chain(self.claims.tentative());
        all.filter_map(|cidr| match cidr.address {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        })
    }

    /// All addresses as they stand, those that are still being probed last.
    pub fn address_list(&self) -> Vec<AddressInfo> {
        let used = self.addresses.iter().map(|&cidr| (cidr, false));
        let all = used.chain(self.claims.tentative().map(|cidr| (cidr, true)));
        all.map(|(cidr, tentative)| {
            let state = match cidr.address {
                _ if tentative => AddressState::Tentative,
                address if self.is_deprecated(address) => AddressState::Deprecated,
                _ => AddressState::Preferred,
            };
            let made = match cidr.address {
                IpAddr::V6(address) => self.slaac.lifetimes(address).map(|at| (at, self.slaac.is_temporary(address))),
                IpAddr::V4(_) => None,
            };
            let options = self.given.options(cidr);
            let lifetimes = made.map_or(options.lifetimes, |(lifetimes, _)| Some(lifetimes));
            let temporary = made.is_some_and(|(_, temporary)| temporary);
            AddressInfo { cidr, state, temporary, made: made.is_some(), lifetimes, options }
        })
        .collect()
    }

    /// Whether an address is one that new connections should not use (RFC 4862 §5.5.4).
    pub fn is_deprecated(&self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V6(ip) if self.slaac.is_deprecated(ip)) || self.given.is_deprecated(address)
    }

    /// Takes it into use, or out of it.
    pub fn set_up(&mut self, up: bool) {
        self.up = up;
        self.station = self.mac().filter(|_| up);
    }

    /// Gives it another MAC address, if it can have one.
    pub fn set_mac(&mut self, mac: MacAddr) {
        if self.mac().is_some() {
            self.medium = Medium::Ethernet(mac);
            self.station = self.station.map(|_| mac);
        }
    }

    /// Changes how many packets its transmit queue holds.
    pub fn set_queue_limit(&mut self, limit: usize) {
        self.queue.set_limit(limit);
    }

    /// Puts a frame into the transmit queue, or gives it back if there is no room: [`Net::not_queued`](crate::net::Net) knows why.
    pub fn enqueue(&mut self, frame: Packet) -> Result<(), Packet> {
        self.queue.enqueue(frame)
    }

    /// Drops what waits to be transmitted; how many packets that were.
    pub fn drain(&mut self) -> usize {
        self.segmenter = None;
        self.queue.clear()
    }

    /// The next frame to transmit. Here, as late as the stack can, a super-segment is cut and a checksum completed if
    /// the nic does not do it.
    #[inline]
    pub fn transmit(&mut self) -> Option<Packet> {
        if self.queue.is_empty() && self.segmenter.is_none() { None } else { self.transmit_next() }
    }

    fn transmit_next(&mut self) -> Option<Packet> {
        let mut frame = loop {
            if let Some(segmenter) = &mut self.segmenter {
                match segmenter.next() {
                    Some(frame) => break frame,
                    None => self.segmenter = None,
                }
            }
            let frame = self.queue.dequeue()?;
            if frame.offload().segmentation.is_none() || self.features.tcp_segmentation {
                break frame;
            }
            self.segmenter = Some(Segmenter::new(frame));
        };
        if frame.offload().tag.is_some() {
            insert_tag(&mut frame);
        }
        if !self.features.tx_checksum {
            complete_checksum(&mut frame);
        }
        self.statistics.tx_packets += 1;
        self.statistics.tx_bytes += frame.len() as u64;
        Some(frame)
    }
}

impl InterfaceConfig {
    /// Whether an interface can be made so. EINVAL.
    pub(crate) fn check(&self) -> Result<()> {
        let sane =
            self.mtu >= SMALLEST_MTU && self.medium != Medium::Loopback && self.addresses.iter().all(Cidr::is_valid);
        if sane { Ok(()) } else { Err(Error::InvalidArgument) }
    }
}

#[cfg(test)]
mod tests {
    use wireway_packet::software::TCP_CHECKSUM_OFFSET;
    use wireway_packet::{Checksum, SegmentKind, Segmentation, Slice};
    use wireway_wire::zerocopy::IntoBytes;
    use wireway_wire::{
        EtherType, EthernetHeader, Ipv4Fields, Ipv4Header, Protocol, SeqNumber, Sum, TcpFields, TcpFlags, TcpHeader,
        TcpView,
    };

    use super::*;

    /// A frame with a super-segment of 3,000 bytes, to be cut by 1,000.
    fn super_segment() -> Packet {
        let fields = TcpFields {
            src_port: 1,
            dst_port: 2,
            seq: SeqNumber(100),
            ack: SeqNumber(0),
            flags: TcpFlags::ACK,
            window: 9,
            urgent: 0,
        };
        let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut tcp = TcpHeader::new(&fields, 0);
        tcp.checksum.set(Sum::pseudo_v4(src, dst, Protocol::TCP, 3020).fold());
        let mut packet = Packet::from_slice(Slice::copy_from(&[7; 3000]));
        packet.prepend(TcpHeader::LEN).copy_from_slice(tcp.as_bytes());
        let offload = packet.offload_mut();
        offload.checksum = Checksum::Partial { start: 0, offset: TCP_CHECKSUM_OFFSET };
        offload.segmentation = Some(Segmentation { kind: SegmentKind::Tcp4, size: 1000, header_len: 20 });
        let fields = Ipv4Fields {
            tos: 0,
            payload_len: 3020,
            ident: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol: Protocol::TCP,
            src,
            dst,
        };
        packet.prepend(Ipv4Header::LEN).copy_from_slice(Ipv4Header::new(&fields, &[]).as_bytes());
        let header = EthernetHeader::new(MacAddr::BROADCAST, MacAddr::ZERO, EtherType::IPV4);
        packet.prepend(EthernetHeader::LEN).copy_from_slice(header.as_bytes());
        packet
    }

    fn interface(features: Features) -> Interface {
        let config = InterfaceConfig { features, ..InterfaceConfig::ethernet("eth0", MacAddr::ZERO, 1500) };
        Interface::new(InterfaceId(1), &config)
    }

    #[test]
    fn what_the_nic_does_not_do_is_done_at_transmit() {
        let mut eth0 = interface(Features::default());
        eth0.enqueue(super_segment()).unwrap();
        eth0.enqueue(Packet::copy_from(b"next")).unwrap();
        for seq in [100, 1100, 2100] {
            let frame = eth0.transmit().unwrap().to_vec();
            let segment = &frame[34..];
            let mut sum =
                Sum::pseudo_v4([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), Protocol::TCP, segment.len() as u32);
            sum.add_bytes(segment);
            assert!(sum.is_valid());
            let (view, payload) = TcpView::parse(segment).unwrap();
            assert_eq!((view.header.seq(), payload.len()), (SeqNumber(seq), 1000));
        }
        assert_eq!(eth0.transmit().unwrap().to_vec(), b"next");
        assert!(eth0.transmit().is_none());
        assert_eq!(eth0.statistics.tx_packets, 4);
    }

    #[test]
    fn what_the_nic_does_is_left_to_it() {
        let mut eth0 = interface(Features { tx_checksum: true, tcp_segmentation: true });
        eth0.enqueue(super_segment()).unwrap();
        let frame = eth0.transmit().unwrap();
        assert_eq!(frame.len(), 3054);
        assert_eq!(frame.offload(), super_segment().offload());
        // Checksums only: the segments' are left to it.
        let mut eth0 = interface(Features { tx_checksum: true, tcp_segmentation: false });
        eth0.enqueue(super_segment()).unwrap();
        let frame = eth0.transmit().unwrap();
        assert_eq!(frame.len(), 1054);
        assert!(matches!(frame.offload().checksum, Checksum::Partial { .. }));
    }

    #[test]
    fn networks() {
        let cidr = |address: [u8; 4], prefix_len| Cidr { address: IpAddr::from(address), prefix_len };
        assert_eq!(cidr([10, 1, 2, 3], 24).network(), IpAddr::from([10, 1, 2, 0]));
        assert_eq!(cidr([10, 1, 2, 3], 0).network(), IpAddr::from([0, 0, 0, 0]));
        assert_eq!(cidr([10, 1, 2, 3], 32).network(), IpAddr::from([10, 1, 2, 3]));
        assert!(cidr([10, 1, 2, 3], 8).contains([10, 9, 9, 9].into()));
        assert!(!cidr([10, 1, 2, 3], 8).contains("::10.1.2.3".parse().unwrap()));
        assert_eq!(cidr([10, 1, 2, 3], 24).broadcast(), Some(Ipv4Addr::new(10, 1, 2, 255)));
        assert_eq!((cidr([10, 1, 2, 3], 31).broadcast(), cidr([10, 1, 2, 3], 32).broadcast()), (None, None));
        assert!(!cidr([10, 1, 2, 3], 33).is_valid());
    }
}
