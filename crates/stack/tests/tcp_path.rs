//! The headers below a connection's segments are those of the last one only while nothing that they depend on has changed.

mod tcp_common;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tcp_common::wire::{Bench, Peer};
use tcp_common::*;
use wireway_packet::Packet;
use wireway_stack::{
    Cidr, InterfaceConfig, InterfaceId, MtuDiscover, NeighbourState, RouteEntry, Settings, SocketId, SocketOption,
};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{
    ArpOperation, ArpPacket, EtherType, EthernetHeader, Ipv4View, MacAddr, Protocol, Sum, TcpOptions, TcpView,
};

const HOST_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const OTHER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// A connection on which the host sends byte by byte.
struct Talk {
    b: Bench,
    id: SocketId,
    peer: Peer,
    last_seq: u32,
}

/// What stood below a segment: where it went, and TTL, TOS and DF.
#[derive(Debug, PartialEq)]
struct Below {
    mac: MacAddr,
    ttl: u8,
    tos: u8,
    dont_fragment: bool,
}

const USUAL: Below = Below { mac: PEER_MAC, ttl: 64, tos: 0, dont_fragment: true };

impl Talk {
    fn new() -> Talk {
        let mut b = Bench::new(Settings::default());
        let (_, id, peer) = b.accept(&TcpOptions { mss: Some(1460), ..TcpOptions::default() });
        b.set(id, SocketOption::NoDelay(true));
        let mut talk = Talk { b, id, peer, last_seq: 0 };
        // The second is sent like the first.
        assert_eq!(talk.next(), Some(USUAL));
        assert_eq!(talk.next(), Some(USUAL));
        talk
    }

    fn next(&mut self) -> Option<Below> {
        self.next_by(self.b.interface)
    }

    /// Sends a byte, which the peer acknowledges: how it went out by `interface`, if it did.
    fn next_by(&mut self, interface: InterfaceId) -> Option<Below> {
        self.b.send(self.id, b"x");
        let mut seen = None;
        while let Some(frame) = self.b.host.transmit(self.b.now, interface) {
            let bytes = frame.to_vec();
            let (ethernet, rest) = EthernetHeader::parse(&bytes).unwrap();
            let Ok((ip, payload)) = Ipv4View::parse(rest) else { continue };
            ip.verify_checksum().unwrap();
            let (tcp, data) = TcpView::parse(payload).unwrap();
            assert_eq!((data, seen.is_none()), (&b"x"[..], true));
            self.last_seq = tcp.header.fields().seq.0;
            seen = Some(Below {
                mac: ethernet.dst,
                ttl: ip.header.ttl(),
                tos: ip.header.tos(),
                dont_fragment: ip.header.dont_fragment(),
            });
        }
        if seen.is_some() {
            self.peer.ack += 1;
            self.b.inject(&self.peer.ack());
            self.b.settle();
        }
        seen
    }

    fn arp(&mut self, operation: ArpOperation, from: MacAddr, to: (MacAddr, Ipv4Addr)) {
        let mut frame = EthernetHeader::new(MacAddr::BROADCAST, from, EtherType::ARP).as_bytes().to_vec();
        frame.extend_from_slice(ArpPacket::new(operation, (from, PEER), to).as_bytes());
        self.b.host.receive(self.b.now, self.b.interface, Packet::copy_from(&frame));
        self.b.settle();
    }

    fn set_neighbour(&mut self, interface: InterfaceId, last: u8, mac: Option<MacAddr>) {
        self.b.host.set_neighbour(self.b.now, interface, address(last), mac).unwrap();
    }
}

#[test]
fn options_count_from_the_next_segment_on() {
    let mut talk = Talk::new();
    let id = talk.id;
    talk.b.set(id, SocketOption::Ttl(Some(9)));
    assert_eq!(talk.next(), Some(Below { ttl: 9, ..USUAL }));
    talk.b.set(id, SocketOption::Tos(0x10));
    assert_eq!(talk.next(), Some(Below { ttl: 9, tos: 0x10, ..USUAL }));
    talk.b.set(id, SocketOption::MtuDiscover(MtuDiscover::Dont));
    assert_eq!(talk.next(), Some(Below { ttl: 9, tos: 0x10, dont_fragment: false, ..USUAL }));
    for mode in [MtuDiscover::Probe, MtuDiscover::Do, MtuDiscover::Want] {
        talk.b.set(id, SocketOption::MtuDiscover(mode));
        assert_eq!(talk.next(), Some(Below { ttl: 9, tos: 0x10, ..USUAL }));
    }
}

#[test]
fn a_neighbour_s_new_address_is_used() {
    let mut talk = Talk::new();
    let interface = talk.b.interface;
    talk.set_neighbour(interface, 2, Some(OTHER_MAC));
    assert_eq!(talk.next(), Some(Below { mac: OTHER_MAC, ..USUAL }));

    // Forgotten: asked for, and what was sent waits for the answer.
    talk.set_neighbour(interface, 2, None);
    talk.b.send(talk.id, b"x");
    talk.b.expect_nothing();
    talk.arp(ArpOperation::REPLY, PEER_MAC, (HOST_MAC, Ipv4Addr::new(10, 0, 0, 1)));
    talk.b.settle();
    talk.b.seen.clear();
    talk.peer.ack += 1;
    talk.b.inject(&talk.peer.ack());
    assert_eq!(talk.next(), Some(USUAL));
    assert_eq!(talk.next(), Some(USUAL));

    // A gratuitous announcement, after which the neighbour is to be confirmed first.
    talk.arp(ArpOperation::REQUEST, OTHER_MAC, (MacAddr::ZERO, PEER));
    for _ in 0..3 {
        assert_eq!(talk.next(), Some(Below { mac: OTHER_MAC, ..USUAL }));
    }
    let neighbours = talk.b.host.neighbours();
    assert!(neighbours.iter().any(|n| (n.mac, n.state) == (OTHER_MAC, NeighbourState::Reachable)), "{neighbours:?}");
}

#[test]
fn a_new_route_is_taken() {
    let mut talk = Talk::new();
    let interface = talk.b.interface;
    talk.set_neighbour(interface, 9, Some(OTHER_MAC));
    let destination = Cidr { address: PEER.into(), prefix_len: 32 };
    let route = RouteEntry { gateway: Some(address(9)), ..RouteEntry::new(destination, interface) };
    talk.b.host.add_route(route).unwrap();
    assert_eq!(talk.next(), Some(Below { mac: OTHER_MAC, ..USUAL }));
    assert_eq!(talk.next(), Some(Below { mac: OTHER_MAC, ..USUAL }));
    talk.b.host.remove_route(&route).unwrap();
    assert_eq!(talk.next(), Some(USUAL));
}

#[test]
fn a_device_that_is_bound_to_is_taken() {
    let mut talk = Talk::new();
    let config = InterfaceConfig::ethernet("eth1", MacAddr([2, 0, 0, 0, 1, 1]), 1500);
    let second = talk.b.host.add_interface(talk.b.now, config).unwrap();
    assert_eq!(talk.next(), Some(USUAL));
    talk.set_neighbour(second, 2, Some(OTHER_MAC));
    talk.b.set(talk.id, SocketOption::BindToDevice(Some(second)));
    assert_eq!(talk.next_by(second), Some(Below { mac: OTHER_MAC, ..USUAL }));
    assert_eq!(talk.next_by(second), Some(Below { mac: OTHER_MAC, ..USUAL }));
    talk.b.set(talk.id, SocketOption::BindToDevice(None));
    assert_eq!(talk.next(), Some(USUAL));
}

#[test]
fn what_is_learnt_of_the_path_counts_until_it_expires() {
    let mut talk = Talk::new();
    let mut quoted = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    quoted.extend_from_slice(&talk.peer.dport.to_be_bytes());
    quoted.extend_from_slice(&talk.peer.sport.to_be_bytes());
    quoted.extend_from_slice(&talk.last_seq.wrapping_add(1).to_be_bytes());
    let mut message = vec![3, 4, 0, 0, 0, 0, 1, 44];
    message.extend_from_slice(&quoted);
    let checksum = Sum::of(&message).finish();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    talk.b.inject_ip(PEER.into(), Protocol::ICMP, &message);
    // 300 bytes are less than is believed: what is larger is fragmented on the way.
    for _ in 0..2 {
        assert_eq!(talk.next(), Some(Below { dont_fragment: false, ..USUAL }));
    }
    talk.b.sleep(Duration::from_secs(601));
    assert_eq!(talk.next(), Some(USUAL));
}

#[test]
fn a_peer_whose_address_becomes_ours_is_reached_by_lo() {
    let mut talk = Talk::new();
    let own = Cidr { address: IpAddr::V4(PEER), prefix_len: 24 };
    talk.b.host.add_address(talk.b.now, talk.b.interface, own, false).unwrap();
    talk.b.settle();
    assert_eq!(talk.next(), None);
}

#[test]
fn nothing_is_sent_from_an_address_that_was_removed() {
    // RFC 1122 §3.2.1.3; as Linux does.
    let mut talk = Talk::new();
    let interface = talk.b.interface;
    let cidr = Cidr { address: address(1), prefix_len: prefix_len() };
    let other = Cidr { address: address(7), prefix_len: prefix_len() };
    talk.b.host.add_address(talk.b.now, interface, other, false).unwrap();
    talk.b.host.remove_address(interface, cidr).unwrap();
    assert_eq!(talk.next(), None);
    talk.b.now += Duration::from_millis(500);
    talk.b.settle();
    talk.b.expect_nothing();
    // With the address the connection goes on.
    talk.b.host.add_address(talk.b.now, interface, cidr, false).unwrap();
    talk.b.seen.clear();
    talk.b.now += Duration::from_secs(2);
    assert_eq!(talk.next(), Some(USUAL));
}
