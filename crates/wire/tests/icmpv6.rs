//! ICMPv6, and the addresses and identifiers of IPv6 on Ethernet.

mod common;

use std::net::Ipv6Addr;

use common::v6;
use proptest::collection::vec;
use proptest::prelude::*;
use wireway_wire::icmpv6::{fill_checksum, parameter_problem, time_exceeded, unreachable, verify_checksum};
use wireway_wire::ipv6::{self, link_local, multicast_scope, solicited_node};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{
    FragmentHeader, Icmpv6Header, Icmpv6Type, Ipv6Chain, Ipv6Fields, Ipv6Header, MacAddr, Malformed, Protocol, Sum,
    UdpHeader,
};

fn ip6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// The IPv6 header and the payload of a frame.
fn ip(frame: &[u8]) -> (&Ipv6Header, &[u8]) {
    Ipv6Header::parse(&frame[14..]).unwrap()
}

#[test]
fn a_real_echo() {
    for (frame, kind) in [(v6::echo6_request(), Icmpv6Type::ECHO_REQUEST), (v6::echo6_reply(), Icmpv6Type::ECHO_REPLY)]
    {
        let (ip, message) = ip(&frame);
        assert_eq!(verify_checksum(ip.src(), ip.dst(), message), Ok(()));
        assert_eq!(verify_checksum(ip.src(), ip6("fd00::3"), message), Err(Malformed::BadChecksum));
        let (header, payload) = Icmpv6Header::parse(message).unwrap();
        assert_eq!((header.kind, header.code), (kind, 0));
        assert_eq!((header.ident(), header.sequence()), (0x621a, 1));
        assert_eq!(header.quoted(payload), Err(Malformed::BadType));

        let mut built = Icmpv6Header::echo(kind, 0x621a, 1);
        built.fill_checksum(ip.pseudo(Protocol::ICMPV6, 24), Sum::of(payload));
        assert_eq!(built, *header);
    }
}

#[test]
fn a_real_error_quotes_the_packet() {
    let frame = v6::port_unreachable6();
    let (outer, message) = ip(&frame);
    assert_eq!(verify_checksum(outer.src(), outer.dst(), message), Ok(()));
    let (header, payload) = Icmpv6Header::parse(message).unwrap();
    assert_eq!((header.kind, header.code), (Icmpv6Type::DESTINATION_UNREACHABLE, unreachable::PORT));
    let quoted = header.quoted(payload).unwrap();
    assert_eq!((quoted.ip.src(), quoted.ip.dst()), (outer.dst(), outer.src()));
    let (chain, transport) = quoted.transport().unwrap();
    assert_eq!((chain.protocol, chain.len), (Protocol::UDP, 0));
    let (udp, data) = UdpHeader::parse(transport).unwrap();
    assert_eq!((udp.dst_port.get(), data), (53, &b"dns?"[..]));
}

#[test]
fn the_transport_of_what_is_quoted_follows_its_extension_headers() {
    let frame = v6::unreachable_with_options();
    let (header, payload) = Icmpv6Header::parse(ip(&frame).1).unwrap();
    let (chain, transport) = header.quoted(payload).unwrap().transport().unwrap();
    assert_eq!((chain.protocol, chain.len), (Protocol::UDP, 8));
    assert_eq!(UdpHeader::parse(transport).unwrap().1, b"dst");

    // A parameter problem of Linux's points at the unknown option's type.
    let frame = v6::unknown_option();
    let (header, payload) = Icmpv6Header::parse(ip(&frame).1).unwrap();
    assert_eq!((header.kind, header.code), (Icmpv6Type::PARAMETER_PROBLEM, parameter_problem::OPTION));
    assert_eq!(payload[header.pointer() as usize], 0x9e);
    assert_eq!(header.quoted(payload).unwrap().transport().unwrap().0.len, 8);
}

#[test]
fn a_real_fragment() {
    let frame = v6::fragment_last();
    let (ip, payload) = ip(&frame);
    let chain = Ipv6Chain::parse(ip.next_header, payload).unwrap();
    assert!(!chain.has_transport());
    let fragment = FragmentHeader::new(Protocol::ICMPV6, 2896, false, 0xf4c2_dfc8);
    assert_eq!((chain.protocol, chain.fragment), (Protocol::ICMPV6, Some((40, fragment))));
    assert_eq!(payload.len() - chain.len, 112);
}

#[test]
fn quotations_cut_short() {
    let frame = v6::port_unreachable6();
    let (header, payload) = Icmpv6Header::parse(ip(&frame).1).unwrap();
    for len in 0..40 {
        assert_eq!(header.quoted(&payload[..len]), Err(Malformed::Truncated));
    }
    for len in 40..payload.len() {
        assert_eq!(header.quoted(&payload[..len]).unwrap().payload.len(), len - 40);
    }
    let mut other = payload.to_vec();
    other[0] = 0x45;
    assert_eq!(header.quoted(&other), Err(Malformed::BadVersion));
    // Within its extension headers.
    let frame = v6::unreachable_with_options();
    let (header, payload) = Icmpv6Header::parse(ip(&frame).1).unwrap();
    assert_eq!(header.quoted(&payload[..47]).unwrap().transport(), Err(Malformed::Truncated));
    assert_eq!(header.quoted(&payload[..48]).unwrap().transport().unwrap().1, []);
}

#[test]
fn extensions_are_not_part_of_the_quotation() {
    let frame = v6::port_unreachable6();
    let mut original = ip(&frame).1[8..].to_vec();
    original[4] = 5; // it was a long packet
    original.resize(128, 0);
    let payload = [&original[..], &[0x20, 0, 0, 0]].concat();
    let quoted = |kind, rest| Icmpv6Header::new(kind, 0, rest).quoted(&payload).unwrap().payload.len();
    assert_eq!(quoted(Icmpv6Type::TIME_EXCEEDED, [16, 0, 0, 0]), 88);
    assert_eq!(quoted(Icmpv6Type::TIME_EXCEEDED, [0; 4]), 92);
    // A length beyond the message says nothing; others have no length there.
    assert_eq!(quoted(Icmpv6Type::DESTINATION_UNREACHABLE, [255, 0, 0, 0]), 92);
    assert_eq!(quoted(Icmpv6Type::PARAMETER_PROBLEM, [16, 0, 0, 0]), 92);
}

#[test]
fn errors_and_their_fields() {
    let too_big = Icmpv6Header::packet_too_big(1400);
    assert_eq!(too_big.as_bytes(), [2, 0, 0, 0, 0, 0, 0x05, 0x78]);
    assert_eq!(too_big.mtu(), 1400);
    let problem = Icmpv6Header::parameter_problem(parameter_problem::NEXT_HEADER, 6);
    assert_eq!(problem.as_bytes(), [4, 1, 0, 0, 0, 0, 0, 6]);
    assert_eq!(problem.pointer(), 6);
    let exceeded = Icmpv6Header::new(Icmpv6Type::TIME_EXCEEDED, time_exceeded::REASSEMBLY, [0; 4]);
    assert!(exceeded.kind.is_error() && Icmpv6Type(100).is_error());
    assert!(!Icmpv6Type::ECHO_REQUEST.is_error() && !Icmpv6Type::REDIRECT.is_error());
    for len in 0..8 {
        assert_eq!(Icmpv6Header::parse(&[0; 8][..len]), Err(Malformed::Truncated));
        fill_checksum(ip6("::1"), ip6("::1"), &mut [0; 8][..len]);
    }
}

#[test]
fn addresses() {
    let mac: MacAddr = "02:00:00:00:00:01".parse().unwrap();
    assert_eq!(mac.interface_id(), [0, 0, 0, 0xff, 0xfe, 0, 0, 1]);
    let real = v6::router_solicitation();
    assert_eq!(link_local(mac), ip(&real).0.src());
    // RFC 2464 §4's own example.
    let example: MacAddr = "34:56:78:9A:BC:DE".parse().unwrap();
    assert_eq!(example.interface_id(), [0x36, 0x56, 0x78, 0xff, 0xfe, 0x9a, 0xbc, 0xde]);
    // RFC 4291 §2.7.1's own example.
    let group = solicited_node(ip6("4037::01:800:200e:8c6c"));
    assert_eq!(group, ip6("ff02::1:ff0e:8c6c"));
    assert_eq!(MacAddr::multicast_v6(group), "33:33:ff:0e:8c:6c".parse().unwrap());
    assert_eq!(ipv6::ALL_NODES, ip6("ff02::1"));
    assert_eq!(ipv6::ALL_ROUTERS, ip6("ff02::2"));
    assert_eq!(ipv6::ALL_MLDV2_ROUTERS, ip6("ff02::16"));
    assert_eq!(multicast_scope(ip6("ff02::1")), Some(2));
    assert_eq!(multicast_scope(ip6("ff3e::8000:1")), Some(14));
    assert_eq!(multicast_scope(ip6("fe80::1")), None);
}

proptest! {
    #[test]
    fn round_trip(kind: u8, code: u8, rest: [u8; 4], payload in vec(any::<u8>(), 0..200), src: u128, dst: u128) {
        let (src, dst) = (Ipv6Addr::from_bits(src), Ipv6Addr::from_bits(dst));
        let mut header = Icmpv6Header::new(Icmpv6Type(kind), code, rest);
        let len = 8 + payload.len() as u32;
        header.fill_checksum(Sum::pseudo_v6(src, dst, Protocol::ICMPV6, len), Sum::of(&payload));
        let mut message = [header.as_bytes(), &payload].concat();
        prop_assert_eq!(verify_checksum(src, dst, &message), Ok(()));
        prop_assert_eq!(Icmpv6Header::parse(&message), Ok((&header, &payload[..])));
        message[2] ^= 0x55;
        prop_assert_eq!(verify_checksum(src, dst, &message), Err(Malformed::BadChecksum));
        fill_checksum(src, dst, &mut message);
        prop_assert_eq!(&message[..8], header.as_bytes());
    }

    #[test]
    fn quotations_of_any_bytes(kind: u8, rest: [u8; 4], payload in vec(any::<u8>(), 0..200), next in 0u8..64) {
        let header = Icmpv6Header::new(Icmpv6Type(kind), 0, rest);
        let ip = Ipv6Header::new(&Ipv6Fields {
            traffic_class: 0, flow_label: 0, payload_len: 150, next_header: Protocol(next), hop_limit: 1,
            src: Ipv6Addr::LOCALHOST, dst: Ipv6Addr::LOCALHOST,
        });
        for payload in [payload.clone(), [ip.as_bytes(), &payload].concat()] {
            if let Ok(quoted) = header.quoted(&payload) {
                prop_assert!(quoted.payload.len() + 40 <= payload.len());
                if let Ok((chain, transport)) = quoted.transport() {
                    prop_assert_eq!(chain.len + transport.len(), quoted.payload.len());
                }
            }
        }
    }
}
