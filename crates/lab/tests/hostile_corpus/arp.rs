//! ARP that is malformed, lies, or is no business of ours.

use std::net::Ipv4Addr;

use wireway_lab::forge::{IP, Station};
use wireway_stack::{DropReason as R, NeighbourState};
use wireway_wire::{ArpOperation, ArpPacket, EtherType, MacAddr};

use crate::common::*;

fn arp(operation: ArpOperation, sender: (MacAddr, Ipv4Addr), target: (MacAddr, Ipv4Addr)) -> Vec<u8> {
    FORGE.ethernet(
        EtherType::ARP,
        wireway_wire::zerocopy::IntoBytes::as_bytes(&ArpPacket::new(operation, sender, target)),
    )
}

#[test]
fn every_field_that_says_what_it_is() {
    let mut world = World::new();
    for operation in [ArpOperation::REQUEST, ArpOperation::REPLY] {
        for at in 0..8 {
            for value in 0..=255u8 {
                let mut frame = FORGE.arp(operation);
                if frame[IP + at] == value || (at == 7 && [1, 2].contains(&value)) {
                    continue;
                }
                frame[IP + at] = value;
                world.inject_dropped(format!("ARP with {value} in byte {at}"), frame, R::ArpMalformed);
            }
            world.tick();
        }
    }
    world.finish(&[]);
}

#[test]
fn senders_that_cannot_be() {
    let mut world = World::new();
    let good = (ATTACKER.mac, ATTACKER.ip);
    let us = (VICTIM.mac, VICTIM.ip);
    for operation in [ArpOperation::REQUEST, ArpOperation::REPLY] {
        for mac in [MacAddr::ZERO, MacAddr::BROADCAST, MacAddr([1, 0, 0x5e, 0, 0, 1])] {
            let frame = arp(operation, (mac, ATTACKER.ip), us);
            world.attack(Case::drop(format!("sender {mac}"), frame, R::ArpMalformed));
        }
        for ip in [[127, 0, 0, 1], [224, 0, 0, 1], [255; 4], [10, 0, 0, 255]] {
            let frame = arp(operation, (ATTACKER.mac, ip.into()), us);
            world.attack(Case::drop(format!("sender {ip:?}"), frame, R::ArpMalformed));
        }
        for ip in [[127, 0, 0, 1], [224, 0, 0, 1], [239, 0, 0, 1]] {
            let frame = arp(operation, good, (VICTIM.mac, ip.into()));
            world.attack(Case::drop(format!("target {ip:?}"), frame, R::ArpMalformed));
        }
        // Our own packet comes back over a loop.
        world.attack(Case::drop("our own", arp(operation, us, good), R::ArpNotForUs));
        // Somebody claims to have our address: we defend it, and learn nothing.
        let conflict = arp(operation, (ATTACKER.mac, VICTIM.ip), us);
        world.attack(Case::drop("a conflict", conflict, R::ArpNotForUs));
        // Not about us.
        let others = arp(operation, good, (PEER.mac, PEER.ip));
        world.attack(Case::drop("about another", others, R::ArpNotForUs));
        // From nobody, about another: a probe if it is a request.
        let probe = arp(operation, (ATTACKER.mac, Ipv4Addr::UNSPECIFIED), (MacAddr::ZERO, PEER.ip));
        world.attack(Case::drop("a probe for another's address", probe, R::ArpNotForUs));
    }
    world.finish(&[]);
}

/// Answers that nobody asked for make no neighbours, and do not move those that are known for good.
#[test]
fn answers_without_a_question() {
    let mut world = World::new();
    let before = world.net.host(world.victim).neighbours();
    for last in 3..=60u8 {
        let ip = Ipv4Addr::new(10, 0, 0, last);
        let frame = arp(ArpOperation::REPLY, (ATTACKER.mac, ip), (VICTIM.mac, VICTIM.ip));
        world.attack(Case::accept(format!("{ip} is at the attacker's"), frame));
        let announcement = arp(ArpOperation::REQUEST, (ATTACKER.mac, ip), (MacAddr::ZERO, ip));
        world.attack(Case::accept(format!("{ip} announces itself"), announcement));
    }
    assert_eq!(world.net.host(world.victim).neighbours().len(), before.len());
    let mac = MacAddr([2, 9, 9, 9, 9, 9]);
    let frame = arp(ArpOperation::REPLY, (mac, ATTACKER.ip), (VICTIM.mac, VICTIM.ip));
    world.attack(Case::accept("another answers for a permanent neighbour", frame));
    let known = world.net.host(world.victim).neighbours().into_iter().find(|n| n.address == address(ATTACKER)).unwrap();
    assert_eq!((known.mac, known.state), (ATTACKER.mac, NeighbourState::Permanent));
    world.finish(&[]);
}

/// Requests from ever new neighbours: the cache stays within its bound, and the conversation's neighbour in it.
#[test]
fn a_flood_of_neighbours() {
    let limit = 64;
    let mut world = World::with(wireway_stack::Settings { neigh_gc_thresh3: limit, ..Default::default() });
    for i in 0..20_000u32 {
        let station = Station {
            mac: MacAddr([2, 1, (i >> 24) as u8, (i >> 16) as u8, (i >> 8) as u8, i as u8]),
            ip: Ipv4Addr::from_bits(Ipv4Addr::new(10, 1, 0, 0).to_bits() + i),
        };
        let frame = arp(ArpOperation::REQUEST, (station.mac, station.ip), (MacAddr::ZERO, VICTIM.ip));
        assert_eq!(world.inject([wireway_packet::Packet::copy_from(&frame)]), []);
        if i % 16 == 0 {
            world.tick();
            assert!(world.net.host(world.victim).usage().neighbours <= limit);
        }
    }
    world.finish(&[]);
}

/// Packets that make us ask for ever new neighbours, none of which answers.
#[test]
fn a_flood_of_unanswered_questions() {
    let limit = 64;
    let mut world = World::with(wireway_stack::Settings { neigh_gc_thresh3: limit, ..Default::default() });
    for i in 0..20_000u32 {
        // On our link, so that the answer (a reset) is to go to the neighbour itself.
        let source = Ipv4Addr::new(10, 0, 0, 100 + (i % 150) as u8);
        let frame =
            FORGE.pretending(source).tcp(&segment((5000 + i as u16 % 1000, 9), wireway_wire::TcpFlags::SYN), &[], &[]);
        let dropped = world.inject([wireway_packet::Packet::copy_from(&frame)]);
        assert_eq!(dropped.iter().filter(|r| **r == R::NoSocket).count(), 1);
        let own = [R::NoSocket, R::NeighbourQueueFull, R::NeighbourTableFull];
        assert!(dropped.iter().all(|reason| own.contains(reason)), "{dropped:?}");
        if i % 16 == 0 {
            world.tick();
            let usage = world.net.host(world.victim).usage();
            assert!(usage.neighbours <= limit && usage.neighbour_packets <= limit * 101, "{usage:?}");
        }
    }
    world.net.run_for(std::time::Duration::from_secs(5));
    world.forgive(&[R::NeighbourFailed, R::NeighbourQueueFull, R::NeighbourTableFull]);
    world.finish(&[]);
}
