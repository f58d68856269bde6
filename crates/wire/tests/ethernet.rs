//! Ethernet and ARP.

mod common;

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{ArpOperation, ArpPacket, EtherType, EthernetHeader, MacAddr, Malformed, VlanTag};

const ONE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const TWO: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const IP_ONE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const IP_TWO: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

#[test]
fn addresses_as_text() {
    assert_eq!(ONE.to_string(), "02:00:00:00:00:01");
    assert_eq!("02-AB-cd-0-0-1".parse(), Ok(MacAddr([2, 0xab, 0xcd, 0, 0, 1])));
    for bad in [
        "",
        ":",
        "02:00:00:00:00",
        "02:00:00:00:00:01:02",
        "02:00:00:00:00:",
        "g2:00:00:00:00:01",
        "002:0:0:0:0:1",
        "+2:0:0:0:0:1",
        "02:00-00:00:00:01",
        "é:0:0:0:0:1",
    ] {
        assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
    }
}

#[test]
fn kinds_of_addresses() {
    assert!(MacAddr::BROADCAST.is_multicast() && MacAddr::BROADCAST.is_broadcast());
    assert!(ONE.is_unicast() && ONE.is_local() && !ONE.is_multicast());
    assert!(!MacAddr::ZERO.is_unicast());
    // RFC 1112 §6.4: the low 23 bits.
    let group = MacAddr::multicast_v4(Ipv4Addr::new(239, 255, 1, 2));
    assert_eq!(group.to_string(), "01:00:5e:7f:01:02");
    let group: Ipv6Addr = "ff02::1:ff00:1234".parse().unwrap();
    assert_eq!(MacAddr::multicast_v6(group).to_string(), "33:33:ff:00:12:34");
}

#[test]
fn a_real_request_and_its_reply() {
    let frame = common::arp_request();
    let (ethernet, payload) = EthernetHeader::parse(&frame).unwrap();
    assert_eq!(*ethernet, EthernetHeader::new(MacAddr::BROADCAST, ONE, EtherType::ARP));
    let request = ArpPacket::parse(payload).unwrap();
    assert_eq!(*request, ArpPacket::request(ONE, IP_ONE, IP_TWO));
    assert_eq!(request.as_bytes(), payload);

    let frame = common::arp_reply();
    let (ethernet, payload) = EthernetHeader::parse(&frame).unwrap();
    assert_eq!(*ethernet, EthernetHeader::new(ONE, TWO, EtherType::ARP));
    let reply = ArpPacket::parse(payload).unwrap();
    assert_eq!(*reply, request.reply(TWO));
    assert_eq!(reply.operation(), ArpOperation::REPLY);
    assert_eq!((reply.sender_mac(), reply.sender_ip()), (TWO, IP_TWO));
    assert_eq!((reply.target_mac(), reply.target_ip()), (ONE, IP_ONE));
}

#[test]
fn probe_and_announcement() {
    let probe = ArpPacket::probe(ONE, IP_TWO);
    assert!(probe.is_probe());
    assert_eq!((probe.sender_ip(), probe.target_ip()), (Ipv4Addr::UNSPECIFIED, IP_TWO));
    let announcement = ArpPacket::announcement(ONE, IP_TWO);
    assert!(!announcement.is_probe());
    assert_eq!((announcement.sender_ip(), announcement.target_ip()), (IP_TWO, IP_TWO));
}

#[test]
fn arp_of_other_kinds_and_lengths() {
    let good = ArpPacket::request(ONE, IP_ONE, IP_TWO);
    let with = |at: usize, value: u8| {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] = value;
        ArpPacket::parse(&bytes).map(|_| ())
    };
    assert_eq!(with(1, 6), Err(Malformed::BadHardwareType));
    assert_eq!(with(4, 8), Err(Malformed::BadHardwareType));
    assert_eq!(with(2, 0x86), Err(Malformed::BadProtocolType));
    assert_eq!(with(5, 16), Err(Malformed::BadProtocolType));
    assert_eq!(with(7, 99), Ok(()));
    for len in 0..ArpPacket::LEN {
        assert_eq!(ArpPacket::parse(&good.as_bytes()[..len]), Err(Malformed::Truncated));
    }
}

#[test]
fn truncated_frames_and_tags() {
    for len in 0..EthernetHeader::LEN {
        assert_eq!(EthernetHeader::parse(&[0; 14][..len]), Err(Malformed::Truncated));
    }
    for len in 0..VlanTag::LEN {
        assert_eq!(VlanTag::parse(&[0; 4][..len]), Err(Malformed::Truncated));
    }
}

proptest! {
    #[test]
    fn text_round_trip(octets: [u8; 6]) {
        let mac = MacAddr(octets);
        prop_assert_eq!(mac.to_string().parse(), Ok(mac));
    }

    #[test]
    fn any_text(text: String) {
        let _ = text.parse::<MacAddr>();
    }

    #[test]
    fn tag_round_trip(priority in 0u8..8, eligible: bool, id in 0u16..4096, inner: u16) {
        let tag = VlanTag::new(priority, eligible, id, EtherType(inner));
        let (parsed, rest) = VlanTag::parse(tag.as_bytes()).unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(
            (parsed.priority(), parsed.drop_eligible(), parsed.id(), parsed.ethertype()),
            (priority, eligible, id, EtherType(inner))
        );
    }

    #[test]
    fn arp_round_trip(op: u16, a: [u8; 6], b: [u8; 4], c: [u8; 6], d: [u8; 4]) {
        let packet = ArpPacket::new(ArpOperation(op), (MacAddr(a), b.into()), (MacAddr(c), d.into()));
        let mut frame = packet.as_bytes().to_vec();
        frame.extend([0; 18]); // the padding of a short frame
        let parsed = ArpPacket::parse(&frame).unwrap();
        prop_assert_eq!(parsed, &packet);
        prop_assert_eq!(parsed.operation(), ArpOperation(op));
        prop_assert_eq!((parsed.sender_mac().0, parsed.sender_ip().octets()), (a, b));
        prop_assert_eq!((parsed.target_mac().0, parsed.target_ip().octets()), (c, d));
    }
}
