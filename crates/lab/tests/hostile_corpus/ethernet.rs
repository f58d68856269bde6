//! Layer 2: frames cut at every length, of other protocols, for others, tagged.

use wireway_stack::DropReason as R;
use wireway_wire::{ArpOperation, EtherType, Icmpv4Header, Icmpv4Type, MacAddr, TcpFlags};

use crate::common::*;

/// Frames as good as any, by name.
pub fn good() -> Vec<(&'static str, Vec<u8>)> {
    let echo = Icmpv4Header::echo(Icmpv4Type::ECHO_REQUEST, 1, 2);
    let syn = segment((5000, PORT), TcpFlags::SYN);
    let payload = FORGE.udp_payload((5000, ECHO), &[7; 40]);
    vec![
        ("ARP request", FORGE.arp(ArpOperation::REQUEST)),
        ("ARP reply", FORGE.arp(ArpOperation::REPLY)),
        ("echo request", FORGE.icmp(echo, &[1; 20])),
        ("datagram", FORGE.udp((5000, ECHO), &[2; 20])),
        ("SYN", FORGE.tcp(&syn, &[2, 4, 5, 0xb4, 1, 3, 3, 7], &[])),
        ("fragment", FORGE.fragment(wireway_wire::Protocol::UDP, 9, &payload, 8..32, true)),
    ]
}

#[test]
fn cut_at_every_length() {
    let mut world = World::new();
    for (name, frame) in good() {
        for len in 0..frame.len() {
            let arp = frame[12..14] == EtherType::ARP.0.to_be_bytes();
            let reason = match len {
                0..14 => R::HeaderTruncated,
                _ if arp => R::ArpMalformed,
                14..34 => R::IpHeader,
                _ => R::PacketTooSmall,
            };
            world.attack(Case::drop(format!("{name} of {len} bytes"), frame[..len].to_vec(), reason));
        }
    }
    world.finish(&[]);
}

#[test]
fn padding_is_no_part_of_a_packet() {
    let mut world = World::new();
    for (name, mut frame) in good() {
        frame.resize(200, 0xee);
        world.attack(Case::accept(format!("{name} with padding"), frame));
    }
    world.finish(&[(R::FragmentTimeout, 1)]);
}

#[test]
fn every_ethertype() {
    let mut world = World::new();
    for ethertype in (0..=u16::MAX).step_by(61).chain([0x8100, 0x88a8, 0x86dd, 0x0801, 0x05dc]) {
        if [EtherType::IPV4.0, EtherType::ARP.0].contains(&ethertype) {
            continue;
        }
        let frame = FORGE.ethernet(EtherType(ethertype), &[0x45; 60]);
        // An IPv4 packet is none of IPv6.
        let reason = match EtherType(ethertype) {
            EtherType::IPV6 => R::IpHeader,
            tag if tag.is_vlan() => R::VlanUnknown,
            _ => R::UnhandledProtocol,
        };
        world.attack(Case::drop(format!("ethertype {ethertype:#06x}"), frame, reason));
    }
    world.finish(&[]);
}

/// The host has no VLAN interfaces: what is tagged is for none of its own, but for a priority, without which it would be as good.
#[test]
fn tags() {
    let mut world = World::new();
    for (name, frame) in good() {
        for protocol in [[0x81, 0], [0x88, 0xa8]] {
            let tagged = |ids: &[u16]| {
                let tags = ids.iter().flat_map(|id| [protocol[0], protocol[1], (id >> 8) as u8, *id as u8]);
                frame[..12].iter().copied().chain(tags).chain(frame[12..].iter().copied()).collect::<Vec<u8>>()
            };
            for ids in [&[1u16][..], &[100], &[4095], &[0, 7], &[7, 0], &[0; 9], &[9; 300]] {
                world.attack(Case::drop(format!("{name} in VLANs {ids:?}"), tagged(ids), R::VlanUnknown));
            }
            // Cut off within the tag.
            for len in [14, 15, 17] {
                let cut = tagged(&[0])[..len].to_vec();
                world.attack(Case::drop(format!("{name}, {len} bytes"), cut, R::VlanUnknown));
            }
        }
    }
    world.finish(&[]);
}

#[test]
fn stations_that_are_not_ours() {
    let mut world = World::new();
    for (name, frame) in good() {
        for mac in [MacAddr::ZERO, PEER.mac, ATTACKER.mac, MacAddr([2, 0, 0, 0, 0, 3]), MacAddr([0xfe; 6])] {
            let mut frame = frame.clone();
            frame[..6].copy_from_slice(&mac.0);
            world.attack(Case::drop(format!("{name} for {mac}"), frame, R::OtherHost));
        }
    }
    world.finish(&[]);
}
