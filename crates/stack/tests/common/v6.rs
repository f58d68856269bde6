//! Hand-made packets of IPv6, for the tests of layer 3.

use std::net::{Ipv6Addr, SocketAddr};

use wireway_packet::Packet;
use wireway_stack::{Cidr, Domain, InterfaceConfig, Kind, Settings, SocketId};
use wireway_wire::ndp::{NeighbourAdvertisement, NeighbourSolicitation};
use wireway_wire::zerocopy::{Immutable, IntoBytes};
use wireway_wire::{
    AdvertisementFlags, EtherType, EthernetHeader, FragmentHeader, Icmpv6Header, Icmpv6Type, Ipv6Fields, Ipv6Header,
    MacAddr, NdpWriter, Protocol, Sum, UdpHeader,
};

use super::{Bench, OUR_MAC, PEER_MAC, ethertype, frame};

pub const OURS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
pub const PEER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
pub const PEER_LL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

pub fn quick() -> Settings {
    Settings { ipv6_dad_transmits: 0, ..Settings::default() }
}

pub fn cidr6(address: Ipv6Addr) -> Cidr {
    Cidr { address: address.into(), prefix_len: 64 }
}

pub fn at6(ip: Ipv6Addr, port: u16) -> SocketAddr {
    SocketAddr::from((ip, port))
}

impl Bench {
    /// A host at fd00::1/64 that does not probe, and knows its peer.
    pub fn v6() -> Bench {
        Bench::v6_with(quick(), |_| {})
    }

    pub fn v6_with(settings: Settings, change: impl FnOnce(&mut InterfaceConfig)) -> Bench {
        let mut bench = Bench::with(settings, |config| {
            config.addresses = vec![cidr6(OURS6)];
            change(config);
        });
        let (now, eth0) = (bench.now, bench.eth0);
        bench.host.set_neighbour(now, eth0, PEER6.into(), Some(PEER_MAC)).unwrap();
        bench.run_for(std::time::Duration::from_secs(30));
        bench.sent();
        bench
    }

    /// The link-local address that the host made.
    pub fn link_local(&self) -> Ipv6Addr {
        let all = self.host.addresses(self.eth0);
        let of = |cidr: &Cidr| match cidr.address {
            std::net::IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(ip),
            _ => None,
        };
        all.iter().find_map(|a| of(&a.cidr)).expect("no link-local address")
    }

    /// The IPv6 packets that the host sent, but for MLD's.
    pub fn sent6(&mut self) -> Vec<(MacAddr, Vec<u8>)> {
        let frames = self.sent().into_iter().filter(|f| ethertype(f) == EtherType::IPV6);
        frames
            .map(|f| (EthernetHeader::parse(&f).unwrap().0.dst, f[EthernetHeader::LEN..].to_vec()))
            .filter(|(_, packet)| packet[6] != 0)
            .collect()
    }

    /// The only ICMPv6 message sent: who to, from whom, its header, and what follows.
    pub fn sent_icmp6(&mut self) -> Option<(Ipv6Addr, Ipv6Addr, Icmpv6Header, Vec<u8>)> {
        let mut packets = self.sent6();
        assert!(packets.len() <= 1, "{} packets: {packets:?}", packets.len());
        packets.pop().map(|(_, packet)| icmp6_of(&packet))
    }

    pub fn udp6(&mut self, port: u16) -> SocketId {
        let id = self.host.socket(Domain::Inet6, Kind::Datagram).unwrap();
        self.host.bind(id, at6(Ipv6Addr::UNSPECIFIED, port)).unwrap();
        id
    }

    pub fn receive6(&mut self, packet: &[u8]) {
        let dst = Ipv6Header::parse(packet).unwrap().0.dst();
        self.receive6_by(if dst.is_multicast() { MacAddr::multicast_v6(dst) } else { OUR_MAC }, packet);
    }

    pub fn receive6_by(&mut self, mac: MacAddr, packet: &[u8]) {
        let frame = frame(mac, PEER_MAC, EtherType::IPV6, packet);
        self.host.receive(self.now, self.eth0, Packet::copy_from(&frame));
        self.settle();
    }
}

/// Takes an ICMPv6 packet apart, and checks its checksum.
pub fn icmp6_of(packet: &[u8]) -> (Ipv6Addr, Ipv6Addr, Icmpv6Header, Vec<u8>) {
    let (ip, payload) = Ipv6Header::parse(packet).unwrap();
    assert_eq!(ip.next_header, Protocol::ICMPV6);
    wireway_wire::icmpv6::verify_checksum(ip.src(), ip.dst(), payload).unwrap();
    let (header, rest) = Icmpv6Header::parse(payload).unwrap();
    (ip.dst(), ip.src(), *header, rest.to_vec())
}

pub fn ip6_hops(src: Ipv6Addr, dst: Ipv6Addr, next_header: Protocol, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let payload_len = payload.len() as u16;
    let fields = Ipv6Fields { traffic_class: 0, flow_label: 0, payload_len, next_header, hop_limit, src, dst };
    [Ipv6Header::new(&fields).as_bytes(), payload].concat()
}

pub fn ip6(src: Ipv6Addr, dst: Ipv6Addr, next_header: Protocol, payload: &[u8]) -> Vec<u8> {
    ip6_hops(src, dst, next_header, 64, payload)
}

/// A UDP datagram with its checksum, without its IP header.
pub fn udp6_payload(src: (Ipv6Addr, u16), dst: (Ipv6Addr, u16), data: &[u8]) -> Vec<u8> {
    let len = UdpHeader::LEN + data.len();
    let mut header = UdpHeader::new(src.1, dst.1, len as u16);
    let mut sum = Sum::pseudo_v6(src.0, dst.0, Protocol::UDP, len as u32);
    sum.add_bytes(header.as_bytes());
    sum.add_bytes(data);
    header.checksum.set(sum.finish_udp());
    [header.as_bytes(), data].concat()
}

/// A datagram of the peer's, from port 5 to port 7.
pub fn datagram(data: &[u8]) -> Vec<u8> {
    udp6_payload((PEER6, 5), (OURS6, 7), data)
}

pub fn icmp6(src: Ipv6Addr, dst: Ipv6Addr, kind: Icmpv6Type, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut message = [Icmpv6Header::new(kind, code, rest).as_bytes(), payload].concat();
    wireway_wire::icmpv6::fill_checksum(src, dst, &mut message);
    ip6(src, dst, Protocol::ICMPV6, &message)
}

/// A message of neighbour discovery, as a packet.
pub fn ndp(
    src: Ipv6Addr,
    dst: Ipv6Addr,
    message: &(impl IntoBytes + Immutable),
    options: impl for<'a> FnOnce(NdpWriter<'a>) -> NdpWriter<'a>,
) -> Vec<u8> {
    let mut bytes = [0; 1000];
    let len = options(NdpWriter::new(&mut bytes, message)).finish(src, dst).unwrap();
    ip6_hops(src, dst, Protocol::ICMPV6, 255, &bytes[..len])
}

pub fn solicitation(src: Ipv6Addr, target: Ipv6Addr, mac: MacAddr) -> Vec<u8> {
    let group = wireway_wire::ipv6::solicited_node(target);
    ndp(src, group, &NeighbourSolicitation::new(target), |w| w.source_link_layer(mac))
}

pub fn advertisement(
    flags: AdvertisementFlags,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    target: Ipv6Addr,
    mac: MacAddr,
) -> Vec<u8> {
    ndp(src, dst, &NeighbourAdvertisement::new(flags, target), |w| w.target_link_layer(mac))
}

/// A fragment of the peer's: `payload` from byte `offset` on of what `next` names.
pub fn fragment(ident: u32, offset: u16, more: bool, next: Protocol, payload: &[u8]) -> Vec<u8> {
    let header = FragmentHeader::new(next, offset, more, ident);
    ip6(PEER6, OURS6, Protocol::FRAGMENT, &[header.as_bytes(), payload].concat())
}
