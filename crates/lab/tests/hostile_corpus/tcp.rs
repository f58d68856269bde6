//! TCP: every combination of flags in every state, sequence numbers from everywhere, headers and options that lie.

use std::net::SocketAddr;

use wireway_lab::forge::{Forge, IP, Station, repair};
use wireway_packet::Packet;
use wireway_stack::{Domain, DropReason as R, Error, Kind, Shutdown};
use wireway_wire::{SeqNumber, TcpFlags};

use crate::common::stream::Stream;
use crate::common::*;

const TCP: usize = IP + 20;
/// Segments that pretend to come from the victim's peer; what it answers goes there.
const SPOOF: Forge = Forge { from: Station { mac: ATTACKER.mac, ip: PEER.ip }, to: VICTIM };

fn every_flag() -> impl Iterator<Item = TcpFlags> {
    (0..512).map(TcpFlags::from_bits_truncate)
}

fn has(flags: TcpFlags, flag: TcpFlags) -> bool {
    flags.contains(flag)
}

fn timestamps(value: u32, echo: u32) -> Vec<u8> {
    let mut options = vec![1, 1, 8, 10];
    options.extend_from_slice(&value.to_be_bytes());
    options.extend_from_slice(&echo.to_be_bytes());
    options
}

fn inject(world: &mut World, frame: Vec<u8>) -> Vec<R> {
    world.inject([Packet::copy_from(&frame)])
}

#[test]
fn flags_for_a_closed_port() {
    let mut world = World::new();
    for port in [0, 1, 81, 40_000, u16::MAX] {
        for flags in every_flag() {
            let frame = FORGE.tcp(&segment((5000, port), flags), &[], &[]);
            world.inject_dropped(format!("{flags} for port {port}"), frame, R::NoSocket);
        }
        world.tick();
    }
    world.finish(&[]);
}

#[test]
fn flags_for_a_listener() {
    let mut world = World::new();
    for (i, flags) in every_flag().enumerate() {
        let frame = FORGE.tcp(&segment((6000 + i as u16, PORT), flags), &[], &[]);
        let opens = has(flags, TcpFlags::SYN) && !flags.intersects(TcpFlags::ACK | TcpFlags::RST);
        let expect = match opens {
            true if has(flags, TcpFlags::FIN) => Some(R::TcpFlags),
            true => None,
            false if flags.intersects(TcpFlags::ACK | TcpFlags::RST) => Some(R::NoSocket),
            false => Some(R::TcpFlags),
        };
        world.attack(Case::new(format!("{flags} for a listener"), [frame], expect.as_slice()));
    }
    assert!(world.net.host(world.victim).usage().tcp_half_open > 0);
    world.finish(&[]);
}

#[test]
fn flags_for_a_half_open_connection() {
    let mut world = World::new();
    let irs = SeqNumber(1_000_000);
    let mut syn = segment((5000, PORT), TcpFlags::SYN);
    syn.seq = irs;
    let opening = FORGE.tcp(&syn, &[], &[]);
    world.attack(Case::accept("SYN", opening.clone()));
    for (offset, acceptable) in [(1, true), (2, true), (100, true), (0, false), (1 << 20, false), (1 << 31, false)] {
        for flags in every_flag() {
            if has(flags, TcpFlags::RST) && offset == 1 {
                // That one is believed.
                continue;
            }
            let mut fields = segment((5000, PORT), flags);
            fields.seq = irs + offset;
            fields.ack = SeqNumber(77);
            let (syn, ack, rst) = (has(flags, TcpFlags::SYN), has(flags, TcpFlags::ACK), has(flags, TcpFlags::RST));
            let expect = match acceptable {
                false if offset == 0 && syn && !ack && !rst => None,
                false => Some(R::TcpInvalidSequence),
                true if rst => Some(R::TcpInvalidSequence),
                true if syn => Some(R::TcpInvalidSyn),
                true if !ack => Some(R::TcpFlags),
                true => Some(R::TcpInvalidAckSequence),
            };
            let dropped = inject(&mut world, FORGE.tcp(&fields, &[], &[]));
            assert_eq!(dropped, expect.as_slice(), "{flags} at {offset}");
            if expect == Some(R::TcpInvalidSyn) {
                // That ends it (RFC 9293 §3.10.7.4, fourth).
                assert_eq!(world.net.host(world.victim).usage().tcp_half_open, 0);
                assert_eq!(inject(&mut world, opening.clone()), []);
            }
            assert_eq!(world.net.host(world.victim).usage().tcp_half_open, 1);
        }
        world.tick();
    }
    world.finish(&[]);
}

#[test]
fn flags_for_a_connection_attempt() {
    let mut world = World::new();
    let now = world.net.now();
    let victim = world.victim;
    let host = world.net.host(victim);
    let id = host.socket(Domain::Inet, Kind::Stream).unwrap();
    assert_eq!(host.connect(now, id, SocketAddr::new(address(ATTACKER), 443)), Err(Error::InProgress));
    let port = host.local_addr(id).unwrap().port();
    for flags in every_flag() {
        let (syn, ack, rst) = (has(flags, TcpFlags::SYN), has(flags, TcpFlags::ACK), has(flags, TcpFlags::RST));
        let reason = match (ack, rst, syn) {
            // It acknowledges what was never sent.
            (true, _, _) => R::TcpInvalidAckSequence,
            (false, true, _) => R::TcpReset,
            // Both open at once.
            (false, false, true) => continue,
            (false, false, false) => R::TcpFlags,
        };
        world.inject_dropped(flags, FORGE.tcp(&segment((443, port), flags), &[], &[]), reason);
    }
    let now = world.net.now();
    world.net.host(victim).close(now, id).unwrap();
    world.finish(&[]);
}

#[test]
fn flags_for_a_connection_in_time_wait() {
    let mut world = World::new();
    let mut theirs = Stream::connect(&mut world.net, world.peer, SocketAddr::new(address(VICTIM), PORT)).with_limit(0);
    let mut ours = Stream::accept(&mut world.net, world.victim, world.listener).with_limit(0);
    let now = world.net.now();
    // The victim closes first.
    world.net.host(world.victim).shutdown(now, ours.id, Shutdown::Write).unwrap();
    world.ticks(1000);
    theirs.pump(&mut world.net);
    world.ticks(1000);
    ours.pump(&mut world.net);
    assert_eq!(world.net.host(world.victim).usage().tcp_time_wait, 1);
    let port = world.net.host(world.peer).local_addr(theirs.id).unwrap().port();
    let Live { port: other, .. } = world.live();
    assert_ne!(port, other);
    let received = world.last_ack_to(port);
    for back in [0u32, 1, 1 << 10, 1 << 20, 1 << 30] {
        for flags in every_flag().filter(|&flags| back > 0 || !has(flags, TcpFlags::RST)) {
            let mut fields = segment((port, PORT), flags);
            fields.seq = received - back;
            let dropped = inject(&mut world, SPOOF.tcp(&fields, &[], &[]));
            assert_eq!(dropped, [R::TcpTimeWait], "{flags}, {back} back");
        }
        world.tick();
    }
    ours.close(&mut world.net);
    theirs.close(&mut world.net);
    // The peer, which knows of nothing any more, answers what the victim answered with resets.
    world.ticks(3000);
    world.forgive(&[R::NoSocket]);
    world.finish(&[]);
}

/// Where a forged segment of the conversation lies, as the victim sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Before,
    Within,
    Beyond,
}

/// Every combination of flags at sequence numbers from everywhere, from someone who knows the ports, with a timestamp that is
/// right, one that is old, or none.
#[test]
fn flags_and_sequence_numbers_in_the_conversation() {
    let mut world = World::new();
    for step in 0..64u32 {
        // Half a cycle away is neither before nor behind.
        if (31..=33).contains(&step) {
            continue;
        }
        for flags in every_flag() {
            for (clock, age) in [("right", Some(0u32)), ("old", Some(1 << 24)), ("no", None)] {
                let live = world.live();
                let offset = if step == 0 { 20_000 } else { step << 26 };
                let place = match step {
                    0 => Place::Within,
                    1..=30 => Place::Beyond,
                    _ => Place::Before,
                };
                let mut fields = segment((live.port, PORT), flags);
                fields.seq = SeqNumber(live.victim_acked.0.wrapping_add(offset));
                // No acknowledgement that is acceptable.
                fields.ack = live.victim_next + if step % 2 == 0 { 1 << 30 } else { 3 << 30 };
                let options =
                    age.map_or(vec![], |age| timestamps(live.peer_timestamp.wrapping_sub(age), live.victim_timestamp));
                let rst = has(flags, TcpFlags::RST);
                let reason = match (place, age) {
                    (_, None) if !rst => R::TcpNoTimestamp,
                    (_, Some(1..)) if !rst => R::TcpRfc7323Paws,
                    (Place::Before, _) => R::TcpOldSequence,
                    (Place::Beyond, _) => R::TcpInvalidSequence,
                    (Place::Within, _) if rst => R::TcpInvalidSequence,
                    (Place::Within, _) if has(flags, TcpFlags::SYN) => R::TcpInvalidSyn,
                    (Place::Within, _) if !has(flags, TcpFlags::ACK) => R::TcpFlags,
                    (Place::Within, _) => R::TcpInvalidAckSequence,
                };
                let len = if flags.bits() % 4 == 0 { 30 } else { 0 };
                let dropped = inject(&mut world, SPOOF.tcp(&fields, &options, &[0xbb; 30][..len]));
                assert_eq!(dropped, [reason], "{flags} {place:?} by {offset}, {clock} timestamp");
            }
            if flags.bits() % 32 == 0 {
                world.tick();
            }
        }
    }
    world.finish(&[]);
}

#[test]
fn every_bit_of_the_header_flipped() {
    let mut world = World::new();
    let live = world.live();
    for (forge, ports) in [(FORGE, (5000, PORT)), (SPOOF, (live.port, PORT))] {
        for bit in 0..160 {
            let mut frame = forge.tcp(&segment(ports, TcpFlags::ACK), &[], &[]);
            frame[TCP + bit / 8] ^= 0x80 >> (bit % 8);
            // The header's length is looked at before the checksum.
            let reason = if (96..100).contains(&bit) { R::TcpMalformed } else { R::TcpChecksum };
            world.attack(Case::drop(format!("bit {bit} of a TCP header flipped"), frame, reason));
        }
    }
    world.finish(&[]);
}

#[test]
fn lying_lengths() {
    let mut world = World::new();
    for flags in [TcpFlags::SYN, TcpFlags::ACK, TcpFlags::RST] {
        for data in 0..=44usize {
            for words in 0..16u8 {
                let mut frame = FORGE.tcp(&segment((5000, 9), flags), &[], &vec![0; data]);
                frame[TCP + 12] = words << 4;
                repair(&mut frame);
                let sane = words >= 5 && usize::from(words) * 4 <= 20 + data;
                let reason = if sane { R::NoSocket } else { R::TcpMalformed };
                world.inject_dropped(format!("{flags}, {words} words, {data} bytes"), frame, reason);
            }
        }
        for len in 0..20 {
            let frame = FORGE.tcp(&segment((5000, 9), flags), &[], &[]);
            let mut frame = FORGE.ipv4(wireway_wire::Protocol::TCP, &frame[TCP..TCP + len]);
            repair(&mut frame);
            world.attack(Case::drop(format!("{flags} cut to {len} bytes"), frame, R::TcpMalformed));
        }
    }
    world.finish(&[]);
}

#[test]
fn options() {
    let mut world = World::new();
    let live = world.live();
    for flags in [TcpFlags::SYN, TcpFlags::ACK] {
        for (forge, ports) in [(FORGE, (5000, PORT)), (SPOOF, (live.port, PORT))] {
            // What becomes of it without options becomes of it with such.
            let expect = inject(&mut world, forge.tcp(&segment(ports, flags), &[], &[]));
            for kind in 2..=255u8 {
                for len in (0..2u8).chain(9..=255) {
                    let options = [kind, len, 0, 0, 0, 0, 0, 0];
                    let dropped = inject(&mut world, forge.tcp(&segment(ports, flags), &options, &[]));
                    assert_eq!(dropped, expect, "{flags} with option {kind} of length {len}");
                }
                let dropped = inject(&mut world, forge.tcp(&segment(ports, flags), &[1, 1, 1, kind], &[]));
                assert_eq!(dropped, expect, "{flags} with option {kind} without a length");
                if kind % 16 == 0 {
                    world.tick();
                }
            }
        }
    }
    world.finish(&[]);
}

/// SYNs whose options make no sense, but whose lengths do: a connection can be opened with them, and the answer is sound.
#[test]
fn senseless_options() {
    let mut world = World::new();
    let mut all: Vec<Vec<u8>> = Vec::new();
    for mss in [0u16, 1, 7, 48, 65535] {
        all.push([&[2, 4][..], &mss.to_be_bytes()].concat());
    }
    for shift in [0u8, 14, 15, 200, 255] {
        all.push(vec![1, 3, 3, shift]);
    }
    for kind in 2..=40u8 {
        for len in [2u8, 3, 4, 6, 10, 34] {
            let mut option = vec![0xee; usize::from(len)];
            (option[0], option[1]) = (kind, len);
            option.resize(option.len().next_multiple_of(4), 1);
            all.push(option);
        }
    }
    // The same twice, in any order, and forty bytes of each.
    all.push([2, 4, 5, 0xb4, 2, 4, 0, 1, 4, 2, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1].to_vec());
    all.push(vec![1; 40]);
    all.push(vec![0; 40]);
    for (i, options) in all.into_iter().enumerate() {
        let frame = FORGE.tcp(&segment((7000 + i as u16, PORT), TcpFlags::SYN), &options, &[0xcc; 10]);
        world.attack(Case::accept(format!("SYN with {options:?}"), frame));
    }
    world.serves_new_connections();
    world.finish(&[]);
}
