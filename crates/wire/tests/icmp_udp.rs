//! ICMP and UDP.

mod common;

use proptest::collection::vec;
use proptest::prelude::*;
use wireway_wire::icmpv4::{redirect, time_exceeded, unreachable, verify_checksum};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{Icmpv4Header, Icmpv4Type, Ipv4View, Malformed, Sum, UdpHeader};

/// The IP header and the payload of a frame.
fn ip(frame: &[u8]) -> (Ipv4View<'_>, &[u8]) {
    Ipv4View::parse(&frame[14..]).unwrap()
}

#[test]
fn a_real_echo() {
    for (frame, kind) in
        [(common::echo_request(), Icmpv4Type::ECHO_REQUEST), (common::echo_reply(), Icmpv4Type::ECHO_REPLY)]
    {
        let (_, message) = ip(&frame);
        assert_eq!(verify_checksum(message), Ok(()));
        let (header, payload) = Icmpv4Header::parse(message).unwrap();
        assert_eq!((header.kind, header.code), (kind, 0));
        assert_eq!((header.ident(), header.sequence()), (0x21ac, 1));
        assert_eq!(payload.len(), 16);
        assert_eq!(header.quoted(payload).map(|_| ()), Err(Malformed::BadType));

        let mut built = Icmpv4Header::echo(kind, 0x21ac, 1);
        built.fill_checksum(Sum::of(payload));
        assert_eq!(built, *header);
    }
}

#[test]
fn a_real_error_quotes_the_datagram() {
    let frame = common::port_unreachable();
    let (_, message) = ip(&frame);
    assert_eq!(verify_checksum(message), Ok(()));
    let (header, payload) = Icmpv4Header::parse(message).unwrap();
    assert_eq!((header.kind, header.code), (Icmpv4Type::DESTINATION_UNREACHABLE, unreachable::PORT));
    let quoted = header.quoted(payload).unwrap();
    let sent = common::udp();
    let (sent_ip, sent_datagram) = ip(&sent);
    assert_eq!(quoted.ip.header, sent_ip.header);
    assert_eq!(quoted.payload, sent_datagram);
    let (udp, data) = UdpHeader::parse(quoted.payload).unwrap();
    assert_eq!((udp.src_port.get(), udp.dst_port.get()), (0xa8d0, 53));
    assert_eq!(data, b"dns?");
}

#[test]
fn quotations_cut_short() {
    let sent = common::udp();
    let datagram = &sent[14..];
    let exceeded = Icmpv4Header::new(Icmpv4Type::TIME_EXCEEDED, time_exceeded::TTL, [0; 4]);
    for len in 0..20 {
        assert_eq!(exceeded.quoted(&datagram[..len]).map(|_| ()), Err(Malformed::Truncated));
    }
    for len in 20..datagram.len() {
        assert_eq!(exceeded.quoted(&datagram[..len]).unwrap().payload.len(), len - 20);
    }
    // A total length below the header's own is a lie, not a panic.
    let mut lie = datagram.to_vec();
    lie[3] = 4;
    assert_eq!(exceeded.quoted(&lie).unwrap().payload, []);
}

#[test]
fn extensions_are_not_part_of_the_quotation() {
    let sent = common::udp();
    let mut original = sent[14..].to_vec();
    original[2] = 5; // it was a long datagram
    original.resize(128, 0);
    let payload = [&original[..], &[0x20, 0, 0, 0]].concat();
    let with_length = Icmpv4Header::new(Icmpv4Type::TIME_EXCEEDED, 0, [0, 32, 0, 0]);
    assert_eq!(with_length.quoted(&payload).unwrap().payload.len(), 108);
    let without = Icmpv4Header::new(Icmpv4Type::TIME_EXCEEDED, 0, [0; 4]);
    assert_eq!(without.quoted(&payload).unwrap().payload.len(), 112);
    // A length beyond the message says nothing.
    let lying = Icmpv4Header::new(Icmpv4Type::TIME_EXCEEDED, 0, [0, 255, 0, 0]);
    assert_eq!(lying.quoted(&payload).unwrap().payload.len(), 112);
    // A redirect has its gateway there.
    let redirect = Icmpv4Header::new(Icmpv4Type::REDIRECT, redirect::HOST, [10, 5, 0, 9]);
    assert_eq!(redirect.gateway().octets(), [10, 5, 0, 9]);
    assert_eq!(redirect.quoted(&payload).unwrap().payload.len(), 112);
}

#[test]
fn errors_and_their_fields() {
    let needed = Icmpv4Header::fragmentation_needed(1400);
    assert_eq!(needed.as_bytes(), [3, 4, 0, 0, 0, 0, 0x05, 0x78]);
    assert_eq!(needed.mtu(), 1400);
    let problem = Icmpv4Header::new(Icmpv4Type::PARAMETER_PROBLEM, 0, [20, 0, 0, 0]);
    assert_eq!(problem.pointer(), 20);
    assert!(problem.kind.is_error() && !Icmpv4Type::ECHO_REQUEST.is_error());
    for len in 0..8 {
        assert_eq!(Icmpv4Header::parse(&[0; 8][..len]), Err(Malformed::Truncated));
    }
}

#[test]
fn a_real_datagram() {
    let frame = common::udp();
    let (ip, datagram) = ip(&frame);
    let (udp, payload) = UdpHeader::parse(datagram).unwrap();
    assert_eq!(payload, b"dns?");
    assert_eq!(udp.payload_len(), 4);
    // Linux left the sum of the pseudo header for the device.
    assert_eq!(udp.checksum.get(), ip.header.pseudo(12).fold());

    let mut built = UdpHeader::new(0xa8d0, 53, 12);
    assert!(!built.has_checksum());
    let mut sum = ip.header.pseudo(12);
    sum.add_bytes(built.as_bytes());
    sum.add_bytes(payload);
    built.checksum.set(sum.finish_udp());
    assert!(built.has_checksum());
    let mut check = ip.header.pseudo(12);
    check.add_bytes(built.as_bytes());
    check.add_bytes(payload);
    assert!(check.is_valid());
}

#[test]
fn lying_udp_lengths() {
    let with = |length: u16| {
        let header = UdpHeader::new(1, 2, length);
        let bytes = [header.as_bytes(), &[0; 4]].concat();
        UdpHeader::parse(&bytes).map(|(_, payload)| payload.len())
    };
    for short in 0..8 {
        assert_eq!(with(short), Err(Malformed::BadTotalLength));
    }
    assert_eq!(with(8), Ok(0));
    assert_eq!(with(11), Ok(3));
    assert_eq!(with(12), Ok(4));
    assert_eq!(with(13), Err(Malformed::BadTotalLength));
    assert_eq!(with(65_535), Err(Malformed::BadTotalLength));
    assert_eq!(UdpHeader::parse(&[0; 7]), Err(Malformed::Truncated));
    // Scattered: the head alone holds the header, and the rest is elsewhere.
    let header = UdpHeader::new(1, 2, 1000);
    assert!(UdpHeader::parse_head(header.as_bytes(), 1000).is_ok());
    assert_eq!(UdpHeader::parse_head(header.as_bytes(), 999), Err(Malformed::BadTotalLength));
    let header = UdpHeader::new(1, 2, 7);
    assert_eq!(UdpHeader::parse_head(header.as_bytes(), 1000), Err(Malformed::BadTotalLength));
}

/// RFC 3828 §3.1.
#[test]
fn coverage_of_udp_lite() {
    let with = |coverage: u16, checksum: u16, available: usize| {
        let mut header = UdpHeader::new(1, 2, coverage);
        header.checksum.set(checksum);
        UdpHeader::parse_lite(header.as_bytes(), available).map(|(_, covered)| covered)
    };
    assert_eq!(with(0, 1, 100_000), Ok(100_000)); // all of it
    assert_eq!(with(8, 1, 1000), Ok(8));
    assert_eq!(with(1000, 1, 1000), Ok(1000));
    for lie in (1..8).chain([1001, 65_535]) {
        assert_eq!(with(lie, 1, 1000), Err(Malformed::BadTotalLength));
    }
    assert_eq!(with(0, 1, 7), Err(Malformed::BadTotalLength));
    assert_eq!(with(8, 0, 1000), Err(Malformed::BadChecksum));
    assert_eq!(UdpHeader::parse_lite(&[0; 7], 7), Err(Malformed::Truncated));
}

proptest! {
    #[test]
    fn icmp_round_trip(kind: u8, code: u8, rest: [u8; 4], payload in vec(any::<u8>(), 0..200)) {
        let mut header = Icmpv4Header::new(Icmpv4Type(kind), code, rest);
        header.fill_checksum(Sum::of(&payload));
        let message = [header.as_bytes(), &payload].concat();
        prop_assert_eq!(verify_checksum(&message), Ok(()));
        prop_assert_eq!(Icmpv4Header::parse(&message), Ok((&header, &payload[..])));
    }

    #[test]
    fn quotations_of_any_bytes(kind: u8, rest: [u8; 4], payload in vec(any::<u8>(), 0..200)) {
        let header = Icmpv4Header::new(Icmpv4Type(kind), 0, rest);
        if let Ok(quoted) = header.quoted(&payload) {
            prop_assert!(quoted.payload.len() + 20 <= payload.len());
        }
    }

    #[test]
    fn udp_round_trip(src: u16, dst: u16, payload in vec(any::<u8>(), 0..200), extra in 0usize..20) {
        let header = UdpHeader::new(src, dst, 8 + payload.len() as u16);
        let mut bytes = [header.as_bytes(), &payload].concat();
        bytes.resize(bytes.len() + extra, 0xee);
        prop_assert_eq!(UdpHeader::parse(&bytes), Ok((&header, &payload[..])));
    }
}
