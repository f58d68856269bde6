//! IPv4's header: every bit flipped, lying lengths, options, addresses that may not be on the wire, protocols nobody speaks.

use std::net::Ipv4Addr;

use wireway_lab::forge::{Forge, IP, repair, repair_ip};
use wireway_stack::DropReason as R;
use wireway_wire::{Icmpv4Header, Icmpv4Type, Protocol, TcpFlags};

use crate::common::*;

fn datagram() -> Vec<u8> {
    FORGE.udp((5000, ECHO), &[3; 60])
}

#[test]
fn every_bit_of_the_header_flipped() {
    let mut world = World::new();
    for bit in 0..160 {
        let mut frame = datagram();
        frame[IP + bit / 8] ^= 0x80 >> (bit % 8);
        // The version and the header length are looked at before the checksum.
        let reason = match bit {
            0..4 => R::IpHeader,
            4..8 if frame[IP] & 0x0f < 5 => R::IpHeader,
            _ => R::IpChecksum,
        };
        world.attack(Case::drop(format!("bit {bit} of the IP header flipped"), frame, reason));
    }
    world.finish(&[]);
}

#[test]
fn lying_lengths() {
    let mut world = World::new();
    for first in 0..=255u8 {
        let mut frame = datagram();
        frame[IP] = first;
        repair_ip(&mut frame);
        let reason = match first {
            0x45 => continue,
            // Longer headers: what is taken for options are the bytes of a UDP header and of its data.
            0x46..=0x4f => continue,
            _ => R::IpHeader,
        };
        world.attack(Case::drop(format!("first byte {first:#04x}"), frame, reason));
    }
    for total in 0..=300u16 {
        let mut frame = datagram();
        frame[IP + 2..IP + 4].copy_from_slice(&total.to_be_bytes());
        repair_ip(&mut frame);
        let reason = match usize::from(total) {
            0..20 => R::IpHeader,
            // The UDP header says more than IP does.
            20..88 => R::UdpMalformed,
            88 => continue,
            _ => R::PacketTooSmall,
        };
        world.attack(Case::drop(format!("total length {total}"), frame, reason));
    }
    for total in [1500u16, 9000, 32767, 32768, 65534, 65535] {
        let mut frame = datagram();
        frame[IP + 2..IP + 4].copy_from_slice(&total.to_be_bytes());
        repair_ip(&mut frame);
        world.attack(Case::drop(format!("total length {total}"), frame, R::PacketTooSmall));
    }
    world.finish(&[]);
}

#[test]
fn headers_longer_than_the_packet() {
    let mut world = World::new();
    for words in 6..=15usize {
        for len in 20..words * 4 {
            let fields = FORGE.fields(Protocol::UDP, 0);
            let mut frame = FORGE.ipv4_with(&fields, &[], &vec![1; len - 20]);
            frame[IP] = 0x40 | words as u8;
            frame[IP + 3] = len as u8;
            repair_ip(&mut frame);
            world.attack(Case::drop(format!("header of {words} words in {len} bytes"), frame, R::IpHeader));
        }
    }
    world.finish(&[]);
}

#[test]
fn options() {
    let mut world = World::new();
    let with = |options: &[u8]| {
        let mut padded = options.to_vec();
        padded.resize(options.len().next_multiple_of(4), 0);
        let payload = FORGE.udp_payload((5000, ECHO), &[5; 8]);
        FORGE.ipv4_with(&FORGE.fields(Protocol::UDP, payload.len()), &padded, &payload)
    };
    // Every kind with every length that lies: 0, 1, or beyond the header.
    for kind in 2..=255u8 {
        for len in (0..2u8).chain(9..=255) {
            let frame = with(&[kind, len, 4, 0, 0, 0, 0, 0]);
            world.inject_dropped(format!("option {kind} of length {len}"), frame, R::IpHeader);
        }
        world.tick();
    }
    // A length byte that is not there.
    for kind in 2..=255u8 {
        world.inject_dropped(format!("option {kind} without a length"), with(&[1, 1, 1, kind]), R::IpHeader);
    }
    for kind in [131u8, 137] {
        for options in [vec![kind, 3, 4], vec![kind, 7, 4, 10, 0, 0, 9], vec![1, kind, 7, 8, 10, 0, 0, 9]] {
            world.attack(Case::drop(format!("source route {options:?}"), with(&options), R::IpSourceRoute));
        }
    }
    for pointer in 0..4 {
        world.attack(Case::drop(format!("record route {pointer}"), with(&[7, 7, pointer, 0, 0, 0, 0]), R::IpHeader));
    }
    for pointer in 0..5 {
        let options = [68, 8, pointer, 0, 0, 0, 0, 0];
        world.attack(Case::drop(format!("timestamp {pointer}"), with(&options), R::IpHeader));
    }
    // What is well-formed is taken, whatever it is.
    for kind in (2..=255u8).filter(|k| ![131, 137].contains(k)) {
        world.attack(Case::accept(format!("option {kind}"), with(&[kind, 8, 9, 0, 0, 0, 0, 0])));
    }
    world.attack(Case::accept("no-operations", with(&[1; 40])));
    world.attack(Case::accept("the end, then garbage", with(&[0, 0xff, 0xff, 0xff])));
    world.finish(&[]);
}

#[test]
fn addresses_that_may_not_be_on_the_wire() {
    let mut world = World::new();
    let ip = |a, b, c, d| Ipv4Addr::new(a, b, c, d);
    let sources = [
        (ip(0, 0, 0, 0), R::IpInvalidSource),
        (ip(0, 1, 2, 3), R::IpInvalidSource),
        (ip(127, 0, 0, 1), R::IpLocalNet),
        (ip(127, 255, 255, 255), R::IpLocalNet),
        (ip(224, 0, 0, 1), R::IpInvalidSource),
        (ip(239, 255, 255, 250), R::IpInvalidSource),
        (ip(255, 255, 255, 255), R::IpInvalidSource),
        (ip(10, 0, 0, 255), R::IpInvalidSource),
        // The "land" attack: from ourselves to ourselves.
        (VICTIM.ip, R::IpLocalSource),
    ];
    for (source, reason) in sources {
        let forge = FORGE.pretending(source);
        for (what, frame) in transports(&forge) {
            world.attack(Case::drop(format!("{what} from {source}"), frame, reason));
        }
    }
    let destinations = [
        (ip(0, 0, 0, 0), R::IpInvalidDestination),
        (ip(0, 255, 1, 1), R::IpInvalidDestination),
        (ip(127, 0, 0, 1), R::IpLocalNet),
        (ip(127, 1, 2, 3), R::IpLocalNet),
        (ip(224, 0, 0, 251), R::IpMulticast),
        (ip(239, 1, 2, 3), R::IpMulticast),
        (ip(10, 0, 0, 1), R::IpInAddressErrors),
        (ip(10, 0, 1, 2), R::IpInAddressErrors),
        (ip(8, 8, 8, 8), R::IpInAddressErrors),
        (ip(240, 0, 0, 1), R::IpInAddressErrors),
    ];
    for (destination, reason) in destinations {
        let forge = FORGE.towards(destination);
        for (what, frame) in transports(&forge) {
            world.attack(Case::drop(format!("{what} for {destination}"), frame, reason));
        }
    }
    // To everyone: no TCP (RFC 9293, MUST-57), no echo, and no error about it.
    for destination in [ip(255, 255, 255, 255), ip(10, 0, 0, 255), ip(224, 0, 0, 1)] {
        let forge = FORGE.towards(destination);
        for (what, frame) in transports(&forge) {
            let reason = match what {
                "SYN" => Some(R::OtherHost),
                "echo request" => Some(R::IcmpIgnored),
                "closed port" => Some(R::NoSocket),
                "protocol 200" => Some(R::IpNoProtocol),
                _ => None,
            };
            world.attack(Case::new(format!("{what} for {destination}"), [frame], reason.as_slice()));
        }
    }
    world.finish(&[]);
}

/// A packet of each transport.
fn transports(forge: &Forge) -> Vec<(&'static str, Vec<u8>)> {
    let echo = Icmpv4Header::echo(Icmpv4Type::ECHO_REQUEST, 1, 2);
    vec![
        ("datagram", forge.udp((5000, ECHO), &[3; 60])),
        ("closed port", forge.udp((5000, 9), &[3; 60])),
        ("SYN", forge.tcp(&segment((5000, PORT), TcpFlags::SYN), &[], &[])),
        ("echo request", forge.icmp(echo, &[3; 60])),
        ("protocol 200", forge.ipv4(Protocol(200), &[3; 60])),
    ]
}

/// A broadcast of the link may carry a packet for one host (RFC 1122 §3.3.6 wants it dropped where TCP or an answer is concerned).
#[test]
fn link_broadcasts_of_unicast_packets() {
    let mut world = World::new();
    for mac in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
        for (what, mut frame) in transports(&FORGE) {
            frame[..6].copy_from_slice(&mac);
            let reason = match what {
                "SYN" => Some(R::OtherHost),
                "echo request" => Some(R::IcmpIgnored),
                "closed port" => Some(R::NoSocket),
                "protocol 200" => Some(R::IpNoProtocol),
                _ => None,
            };
            let out = world.net.host(world.victim).counters()[wireway_stack::Counter::IcmpOutMsgs];
            world.attack(Case::new(format!("{what} to all stations"), [frame], reason.as_slice()));
            assert_eq!(world.net.host(world.victim).counters()[wireway_stack::Counter::IcmpOutMsgs], out);
        }
    }
    world.finish(&[]);
}

#[test]
fn every_protocol() {
    let mut world = World::new();
    for protocol in 0..=255u8 {
        if [Protocol::ICMP, Protocol::TCP, Protocol::UDP, Protocol::UDP_LITE].contains(&Protocol(protocol)) {
            continue;
        }
        for len in [0, 1, 7, 8, 100] {
            let frame = FORGE.ipv4(Protocol(protocol), &vec![9; len]);
            let reason = match Protocol(protocol) {
                Protocol::IGMP => R::IgmpChecksum,
                _ => R::IpNoProtocol,
            };
            world.inject_dropped(format!("{len} bytes of protocol {protocol}"), frame, reason);
        }
        world.tick();
    }
    world.finish(&[]);
}

#[test]
fn empty_payloads() {
    let mut world = World::new();
    for (protocol, reason) in
        [(Protocol::ICMP, R::IcmpMalformed), (Protocol::TCP, R::TcpMalformed), (Protocol::UDP, R::UdpMalformed)]
    {
        for len in 0..8 {
            let mut frame = FORGE.ipv4(protocol, &vec![0; len]);
            repair(&mut frame);
            // ICMP's checksum is looked at first, and nothing sums up to a good one.
            let reason = if protocol == Protocol::ICMP && len < 4 { R::IcmpChecksum } else { reason };
            world.attack(Case::drop(format!("{len} bytes of {protocol}"), frame, reason));
        }
    }
    world.finish(&[]);
}
