//! ICMP: malformed messages, errors that quote garbage, every type and code, floods.

use std::net::Ipv4Addr;

use wireway_lab::forge::{Forge, IP};
use wireway_stack::{Counter, DropReason as R};
use wireway_wire::{Icmpv4Header, Icmpv4Type, Protocol, SeqNumber, TcpFlags};

use crate::common::*;

fn error(kind: Icmpv4Type, code: u8, quote: &[u8]) -> Vec<u8> {
    FORGE.icmp(Icmpv4Header::new(kind, code, [0; 4]), quote)
}

/// What the victim may have sent, as an error quotes it.
fn quote(forge: &Forge, frame: impl Fn(&Forge) -> Vec<u8>) -> Vec<u8> {
    frame(&Forge::new(forge.to, forge.from))[IP..].to_vec()
}

#[test]
fn every_bit_of_a_message_flipped() {
    let mut world = World::new();
    let good = FORGE.icmp(Icmpv4Header::echo(Icmpv4Type::ECHO_REQUEST, 1, 2), &[1; 12]);
    for bit in 0..20 * 8 {
        let mut frame = good.clone();
        frame[IP + 20 + bit / 8] ^= 0x80 >> (bit % 8);
        world.attack(Case::drop(format!("bit {bit} of an echo request flipped"), frame, R::IcmpChecksum));
    }
    world.finish(&[]);
}

#[test]
fn every_type_and_code() {
    let mut world = World::new();
    for kind in 0..=255u8 {
        for code in (0..=20).chain([100, 255]) {
            let kind = Icmpv4Type(kind);
            let reason = match kind {
                Icmpv4Type::ECHO_REQUEST => continue,
                // To no socket of ours.
                Icmpv4Type::ECHO_REPLY => R::NoSocket,
                Icmpv4Type::SOURCE_QUENCH | Icmpv4Type::REDIRECT => R::IcmpIgnored,
                // They quote nothing.
                _ if kind.is_error() => R::IcmpMalformed,
                _ => R::IcmpUnhandled,
            };
            world.inject_dropped(format!("{kind:?} {code}"), error(kind, code, &[0; 24]), reason);
        }
        world.tick();
    }
    world.finish(&[]);
}

#[test]
fn errors_that_quote_garbage() {
    let mut world = World::new();
    let whole = quote(&FORGE, |forge| forge.udp((ECHO, 5000), &[1; 20]));
    for kind in [Icmpv4Type::DESTINATION_UNREACHABLE, Icmpv4Type::TIME_EXCEEDED, Icmpv4Type::PARAMETER_PROBLEM] {
        for len in 0..28 {
            let frame = error(kind, 1, &whole[..len]);
            world.attack(Case::drop(format!("{kind:?} quoting {len} bytes"), frame, R::IcmpMalformed));
        }
        for first in (0..=255u8).filter(|b| !(0x45..=0x4f).contains(b)) {
            let mut garbage = whole.clone();
            garbage[0] = first;
            world.inject_dropped(format!("{kind:?} quoting {first:#04x}"), error(kind, 1, &garbage), R::IcmpMalformed);
        }
        // Of packets that others sent, and of fragments that tell no ports.
        for source in [PEER.ip, Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST] {
            let mut other = whole.clone();
            other[12..16].copy_from_slice(&source.octets());
            let frame = error(kind, 1, &other);
            world.attack(Case::drop(format!("{kind:?} quoting {source}"), frame, R::IcmpIgnored));
        }
        let mut fragment = whole.clone();
        fragment[7] = 9;
        world.attack(Case::drop(format!("{kind:?} quoting a fragment"), error(kind, 1, &fragment), R::IcmpMalformed));
    }
    world.finish(&[]);
}

/// Errors about the conversation from someone who guesses: the ports, but not the sequence number (RFC 5927 §4).
#[test]
fn errors_about_the_conversation() {
    let mut world = World::new();
    let live = world.live();
    let mut mtus = vec![0u16, 1, 67, 68, 552, 1280, 1499, 1500, 65535];
    mtus.extend((0..200).map(|i| i * 7));
    for far in [1u32 << 31, 1 << 30, 5 << 24, (1u32 << 31) + 12345] {
        let forge = Forge::new(PEER, VICTIM);
        let quoted = quote(&forge, |forge| {
            let mut fields = segment((PORT, live.port), TcpFlags::ACK);
            fields.seq = SeqNumber(live.victim_next.0.wrapping_add(far));
            forge.tcp(&fields, &[], &[])
        });
        for &mtu in &mtus {
            let frame = FORGE.icmp(Icmpv4Header::fragmentation_needed(mtu), &quoted);
            world.attack(Case::accept(format!("frames of {mtu} bytes only"), frame));
        }
        for code in 0..=15 {
            let mut header = Icmpv4Header::new(Icmpv4Type::DESTINATION_UNREACHABLE, code, [0; 4]);
            world.attack(Case::accept(format!("unreachable, code {code}"), FORGE.icmp(header, &quoted)));
            header.kind = Icmpv4Type::TIME_EXCEEDED;
            world.attack(Case::accept(format!("time exceeded, code {code}"), FORGE.icmp(header, &quoted)));
        }
    }
    let host = world.net.host(world.victim);
    assert!(host.counters()[Counter::TcpExtOutOfWindowIcmps] > 100);
    assert_eq!(host.usage().path_mtus, 0, "a guess was believed");
    world.finish(&[]);
}

/// Hard errors with the right sequence number do not end an established connection (RFC 5461, RFC 5927 §5.2).
#[test]
fn true_errors_are_survived() {
    let mut world = World::new();
    for code in (0..=15).filter(|&code| code != 4) {
        let live = world.live();
        let forge = Forge::new(PEER, VICTIM);
        let quoted = quote(&forge, |forge| {
            let mut fields = segment((PORT, live.port), TcpFlags::ACK);
            fields.seq = live.victim_next - 1;
            forge.tcp(&fields, &[], &[])
        });
        let header = Icmpv4Header::new(Icmpv4Type::DESTINATION_UNREACHABLE, code, [0; 4]);
        world.attack(Case::accept(format!("unreachable, code {code}"), FORGE.icmp(header, &quoted)));
    }
    world.finish(&[]);
}

/// Answers to a flood are limited (RFC 1812 §4.3.2.8): by destination, and in all.
#[test]
fn floods_are_answered_sparingly() {
    let mut world = World::new();
    let start = world.net.now();
    let out = |world: &mut World| world.net.host(world.victim).counters()[Counter::IcmpOutDestUnreachs];
    for i in 0..20_000u32 {
        // From one, and from everywhere.
        let source = if i % 2 == 0 { ATTACKER.ip } else { Ipv4Addr::new(11, (i >> 16) as u8, (i >> 8) as u8, i as u8) };
        let frame = FORGE.pretending(source).udp((5000, 9), &[1; 5]);
        world.inject_dropped("to a closed port", frame, R::NoSocket);
        if i % 10 == 0 {
            world.tick();
        }
    }
    let seconds = world.net.now().since(start).as_secs_f64();
    let answers = out(&mut world) as f64;
    let bound = 50.0 + 1000.0 * seconds;
    assert!(answers > 5.0 && answers <= bound + 1.0, "{answers} answers in {seconds} s");
    let counters = world.net.host(world.victim).counters();
    assert!(counters[Counter::IcmpOutRateLimitHost] + counters[Counter::IcmpOutRateLimitGlobal] > 15_000);
    world.finish(&[]);
}

/// Echoes are answered all the same, but only from what may be answered.
#[test]
fn echoes() {
    let mut world = World::new();
    let before = world.net.host(world.victim).counters()[Counter::IcmpOutEchoReps];
    for len in [0usize, 1, 8, 56, 1472] {
        let echo = Icmpv4Header::echo(Icmpv4Type::ECHO_REQUEST, 7, len as u16);
        world.attack(Case::accept(format!("echo of {len} bytes"), FORGE.icmp(echo, &vec![9; len])));
    }
    // A reply in which nothing is left that is not zero: its checksum is not.
    for len in [0, 1, 56] {
        let echo = Icmpv4Header::echo(Icmpv4Type::ECHO_REQUEST, 0, 0);
        world.attack(Case::accept(format!("echo of {len} zeroes"), FORGE.icmp(echo, &vec![0; len])));
    }
    let mut long = Icmpv4Header::echo(Icmpv4Type::ECHO_REQUEST, 7, 9);
    long.fill_checksum(wireway_wire::Sum::of(&[9; 6000]));
    let mut message = wireway_wire::zerocopy::IntoBytes::as_bytes(&long).to_vec();
    message.extend_from_slice(&[9; 6000]);
    let fragments = (0..5).map(|i| {
        let (from, to) = (i * 1480, ((i + 1) * 1480).min(message.len()));
        FORGE.fragment(Protocol::ICMP, 77, &message, from..to, i < 4)
    });
    world.attack(Case::new("a fragmented echo", fragments, &[]));
    assert_eq!(world.net.host(world.victim).counters()[Counter::IcmpOutEchoReps], before + 9);
    world.finish(&[]);
}
