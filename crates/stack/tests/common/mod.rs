//! One host and hand-made frames: what the tests of layers 2 and 3 share.
#![allow(dead_code)]

pub mod v6;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use wireway_packet::{Instant, Packet};
use wireway_stack::{
    Cidr, Counter, DatagramInfo, Domain, DropReason, Host, InterfaceConfig, InterfaceId, Kind, ReceiveFlags, Settings,
    SocketId,
};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{
    ArpPacket, EtherType, EthernetHeader, Icmpv4Header, Icmpv4Type, Ipv4Fields, Ipv4Header, Ipv4View, MacAddr,
    Protocol, Sum, UdpHeader,
};

/// The host under test.
pub const OUR_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
pub const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// A neighbour that the tests play.
pub const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

pub fn cidr(address: Ipv4Addr, prefix_len: u8) -> Cidr {
    Cidr { address: address.into(), prefix_len }
}

pub fn at(ip: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::from((ip, port))
}

/// A host with `eth0` at 10.0.0.1/24, under a clock of the test's.
pub struct Bench {
    pub host: Host,
    pub eth0: InterfaceId,
    pub now: Instant,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(Settings::default(), |_| {})
    }

    pub fn with(settings: Settings, change: impl FnOnce(&mut InterfaceConfig)) -> Bench {
        let mut host = Host::new(settings, [7; 32]);
        let now = Instant::from_millis(1_000);
        let mut config = InterfaceConfig::ethernet("eth0", OUR_MAC, 1500);
        config.addresses.push(cidr(OURS, 24));
        change(&mut config);
        let eth0 = host.add_interface(now, config).unwrap();
        Bench { host, eth0, now }
    }

    /// A host that knows its neighbour already.
    pub fn resolved() -> Bench {
        let mut bench = Bench::new();
        bench.introduce();
        bench
    }

    /// Lets the host learn the neighbour's address, for good.
    pub fn introduce(&mut self) {
        self.host.set_neighbour(self.now, self.eth0, PEER.into(), Some(PEER_MAC)).unwrap();
    }

    pub fn receive(&mut self, frame: &[u8]) {
        // As a card delivers it: in a slice, not in the head.
        let slice = wireway_packet::Slice::copy_from(frame);
        self.host.receive(self.now, self.eth0, Packet::from_slice(slice));
        self.settle();
    }

    /// Runs `lo` and what is due now.
    pub fn settle(&mut self) {
        while self.host.poll_at().is_some_and(|at| at <= self.now) {
            self.host.poll(self.now);
        }
    }

    /// Lets time go by, running every timer at its time.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.settle();
        while let Some(at) = self.host.poll_at().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.settle();
        }
        self.now = end;
    }

    /// All frames that wait to be transmitted.
    pub fn sent(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.host.transmit(self.now, self.eth0)).map(|frame| frame.to_vec()).collect()
    }

    /// The IPv4 packets among them.
    pub fn sent_ip(&mut self) -> Vec<Vec<u8>> {
        let frames = self.sent().into_iter();
        frames.filter(|f| ethertype(f) == EtherType::IPV4).map(|f| f[EthernetHeader::LEN..].to_vec()).collect()
    }

    /// The ARP packets among them, with the MAC address each is for.
    pub fn sent_arp(&mut self) -> Vec<(MacAddr, ArpPacket)> {
        let frames = self.sent().into_iter();
        frames
            .filter(|f| ethertype(f) == EtherType::ARP)
            .map(|f| {
                let (header, payload) = EthernetHeader::parse(&f).unwrap();
                (header.dst, *ArpPacket::parse(payload).unwrap())
            })
            .collect()
    }

    /// The only ICMP message sent: its header, and what follows.
    pub fn sent_icmp(&mut self) -> Option<(Ipv4Addr, Icmpv4Header, Vec<u8>)> {
        let mut packets = self.sent_ip();
        assert!(packets.len() <= 1, "{} packets", packets.len());
        let packet = packets.pop()?;
        let (view, payload) = Ipv4View::parse(&packet).unwrap();
        assert_eq!(view.header.protocol(), Protocol::ICMP);
        assert!(Sum::of(payload).is_valid());
        let (header, rest) = Icmpv4Header::parse(payload).unwrap();
        Some((view.header.src(), *header, rest.to_vec()))
    }

    pub fn udp(&mut self, port: u16) -> SocketId {
        let id = self.host.socket(Domain::Inet, Kind::Datagram).unwrap();
        self.host.bind(id, at(Ipv4Addr::UNSPECIFIED, port)).unwrap();
        id
    }

    pub fn recv(&mut self, id: SocketId) -> wireway_stack::Result<(DatagramInfo, Vec<u8>)> {
        recv(&mut self.host, id)
    }

    #[track_caller]
    pub fn assert_dropped(&self, reason: DropReason, times: u64) {
        assert_eq!(self.host.counters()[reason], times, "{}", reason.name());
    }

    #[track_caller]
    pub fn assert_counted(&self, counter: Counter, times: u64) {
        assert_eq!(self.host.counters()[counter], times, "{}", counter.name());
    }
}

pub fn recv(host: &mut Host, id: SocketId) -> wireway_stack::Result<(DatagramInfo, Vec<u8>)> {
    let mut buffer = vec![0; 65_536];
    let info = host.recv_from(id, &mut buffer, ReceiveFlags::default())?;
    buffer.truncate(info.len);
    Ok((info, buffer))
}

pub fn ethertype(frame: &[u8]) -> EtherType {
    EthernetHeader::parse(frame).unwrap().0.ethertype()
}

pub fn frame(dst: MacAddr, src: MacAddr, ethertype: EtherType, payload: &[u8]) -> Vec<u8> {
    let mut frame = EthernetHeader::new(dst, src, ethertype).as_bytes().to_vec();
    frame.extend_from_slice(payload);
    frame
}

/// A frame of the peer's to us.
pub fn from_peer(packet: &[u8]) -> Vec<u8> {
    frame(OUR_MAC, PEER_MAC, EtherType::IPV4, packet)
}

pub fn arp(dst: MacAddr, src: MacAddr, packet: &ArpPacket) -> Vec<u8> {
    // Padded, as Ethernet does.
    let mut payload = packet.as_bytes().to_vec();
    payload.resize(46, 0);
    frame(dst, src, EtherType::ARP, &payload)
}

pub fn fields(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol) -> Ipv4Fields {
    Ipv4Fields {
        tos: 0,
        payload_len: 0,
        ident: 99,
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 64,
        protocol,
        src,
        dst,
    }
}

pub fn ip_with(fields: Ipv4Fields, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let fields = Ipv4Fields { payload_len: payload.len() as u16, ..fields };
    let mut packet = Ipv4Header::new(&fields, options).as_bytes().to_vec();
    packet.extend_from_slice(options);
    packet.extend_from_slice(payload);
    packet
}

pub fn ip(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    ip_with(fields(src, dst, protocol), &[], payload)
}

/// A UDP datagram with its checksum, without its IP header.
pub fn udp_payload(src: SocketAddr, dst: SocketAddr, data: &[u8]) -> Vec<u8> {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (src.ip(), dst.ip()) else { panic!("IPv4 only") };
    let len = UdpHeader::LEN + data.len();
    let mut header = UdpHeader::new(src.port(), dst.port(), len as u16);
    let mut sum = Sum::pseudo_v4(from, to, Protocol::UDP, len as u32);
    sum.add_bytes(header.as_bytes());
    sum.add_bytes(data);
    header.checksum.set(sum.finish_udp());
    [header.as_bytes(), data].concat()
}

pub fn udp(src: SocketAddr, dst: SocketAddr, data: &[u8]) -> Vec<u8> {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (src.ip(), dst.ip()) else { panic!("IPv4 only") };
    ip(from, to, Protocol::UDP, &udp_payload(src, dst, data))
}

pub fn icmp(kind: Icmpv4Type, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut header = Icmpv4Header::new(kind, code, rest);
    header.fill_checksum(Sum::of(payload));
    [header.as_bytes(), payload].concat()
}

/// An echo request from the peer.
pub fn ping(ident: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
    let [a, b] = ident.to_be_bytes();
    let [c, d] = sequence.to_be_bytes();
    ip(PEER, OURS, Protocol::ICMP, &icmp(Icmpv4Type::ECHO_REQUEST, 0, [a, b, c, d], data))
}

/// Cuts an IPv4 packet without options into fragments with `size` bytes of payload each.
pub fn fragments(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (view, payload) = Ipv4View::parse(packet).unwrap();
    let count = payload.len().div_ceil(size);
    let cut = |(i, part): (usize, &[u8])| {
        let (more_fragments, fragment_offset) = (i + 1 < count, (i * size) as u16);
        ip_with(Ipv4Fields { more_fragments, fragment_offset, ..view.header.fields() }, &[], part)
    };
    payload.chunks(size).enumerate().map(cut).collect()
}
