//! Fragments that lie about where they belong, overlap, repeat, are never completed, or make a datagram longer than there are.

use std::time::Duration;

use wireway_stack::DropReason as R;
use wireway_wire::{Ipv4Fields, Protocol};

use crate::common::*;

/// Fragments of a datagram of 400 bytes; `parts` are first byte, end, and whether more follow.
fn fragments(ident: u16, parts: &[(usize, usize, bool)]) -> Vec<Vec<u8>> {
    let payload = FORGE.udp_payload((5000, ECHO), &[6; 392]);
    parts.iter().map(|&(from, to, more)| FORGE.fragment(Protocol::UDP, ident, &payload, from..to, more)).collect()
}

/// One fragment with these header values and as many bytes.
fn fragment(ident: u16, offset: usize, len: usize, more: bool) -> Vec<u8> {
    let fields =
        Ipv4Fields { ident, fragment_offset: offset as u16, more_fragments: more, ..FORGE.fields(Protocol::UDP, len) };
    FORGE.ipv4_with(&fields, &[], &vec![1; len])
}

#[test]
fn overlaps_and_duplicates() {
    let mut world = World::new();
    let mut ident = 0;
    let mut run = |name: &str, parts: &[(usize, usize, bool)], expect: &[R]| {
        ident += 1;
        world.attack(Case::new(name, fragments(ident, parts), expect));
    };
    run("in order", &[(0, 200, true), (200, 400, false)], &[]);
    run("in reverse", &[(200, 400, false), (0, 200, true)], &[]);
    run("crumbs", &(0..50).map(|i| (i * 8, i * 8 + 8, i < 49)).collect::<Vec<_>>(), &[]);
    run("the first twice", &[(0, 200, true), (0, 200, true), (200, 400, false)], &[R::DuplicateFragment]);
    run("the last twice", &[(200, 400, false), (200, 400, false), (0, 200, true)], &[R::DuplicateFragment]);
    run("one within another", &[(0, 200, true), (8, 80, true), (200, 400, false)], &[R::DuplicateFragment]);
    // A part that overlaps condemns itself and all that came before.
    run("overlap behind", &[(0, 200, true), (192, 392, true)], &[R::FragmentOverlap; 2]);
    run("overlap before", &[(80, 200, true), (0, 88, true)], &[R::FragmentOverlap; 2]);
    run("overlap around", &[(80, 160, true), (0, 392, true)], &[R::FragmentOverlap; 2]);
    run(
        "overlap of several",
        &[(0, 80, true), (160, 240, true), (320, 400, false), (72, 328, true)],
        &[R::FragmentOverlap; 4],
    );
    run("the teardrop attack", &[(0, 40, true), (24, 28, false)], &[R::FragmentMalformed; 2]);
    world.finish(&[]);
}

#[test]
fn ends_that_lie() {
    let mut world = World::new();
    let mut ident = 100;
    let mut run = |name: &str, parts: &[(usize, usize, bool)], expect: &[R]| {
        ident += 1;
        let frames = parts.iter().map(|&(from, to, more)| fragment(ident, from, to - from, more));
        world.attack(Case::new(name, frames, expect));
    };
    run("two ends", &[(200, 400, false), (200, 300, false)], &[R::FragmentMalformed; 2]);
    run("an end beyond the end", &[(200, 400, false), (400, 500, false)], &[R::FragmentMalformed; 2]);
    run("more beyond the end", &[(200, 400, false), (400, 480, true)], &[R::FragmentMalformed; 2]);
    run("an end before others", &[(200, 400, true), (80, 100, false)], &[R::FragmentMalformed; 2]);
    run("empty, in the middle", &[(80, 80, true)], &[R::FragmentMalformed]);
    run("empty, at the end", &[(80, 80, false)], &[R::FragmentMalformed]);
    run("too few bytes for more to follow", &[(0, 7, true)], &[R::FragmentMalformed]);
    world.finish(&[]);
}

/// The "ping of death": fragments that end beyond 65,535 bytes.
#[test]
fn longer_than_a_datagram_can_be() {
    let mut world = World::new();
    for ident in 0..40u16 {
        for (offset, len) in [(65_528, 8), (65_528, 100), (65_000, 1400), (64_200, 1480), (65_512, 32)] {
            for more in [false, true] {
                let frame = fragment(ident, offset, len, more);
                world.inject_dropped(format!("{len} bytes at {offset}"), frame, R::FragmentMalformed);
            }
        }
        world.tick();
    }
    // The longest that is allowed: the header's 20 bytes and 65,515 others. Its checksum is wrong.
    let frames = (0..45usize).map(|i| {
        let (from, to) = (i * 1480, ((i + 1) * 1480).min(65_515));
        fragment(50, from, to - from, i < 44)
    });
    world.attack(Case::new("the longest datagram", frames, &[R::UdpChecksum]));
    world.finish(&[]);
}

#[test]
fn never_completed() {
    let mut world = World::new();
    for ident in 0..200u16 {
        let frames = match ident % 4 {
            0 => fragments(ident, &[(0, 80, true)]),
            1 => fragments(ident, &[(80, 160, true), (240, 400, false)]),
            2 => fragments(ident, &[(0, 80, true), (160, 400, false)]),
            _ => fragments(ident, &[(8, 16, true), (24, 32, true), (40, 48, true)]),
        };
        world.attack(Case::new(format!("datagram {ident} in part"), frames, &[]));
    }
    world.finish(&[(R::FragmentTimeout, 50 * (1 + 2 + 2 + 3))]);
}

/// Fragments that are parts of nothing but themselves, with every small offset, in a protocol of ours and in one that nobody takes.
#[test]
fn tiny() {
    let mut world = World::new();
    let mut parts = 0;
    for (i, protocol) in [Protocol::TCP, Protocol::UDP, Protocol::ICMP, Protocol(99)].into_iter().enumerate() {
        for offset in 0..20u16 {
            let fields = Ipv4Fields {
                ident: (i * 100) as u16 + offset,
                fragment_offset: offset * 8,
                more_fragments: true,
                ..FORGE.fields(protocol, 8)
            };
            let frame = FORGE.ipv4_with(&fields, &[], &[0xaa; 8]);
            world.attack(Case::accept(format!("8 bytes of {protocol} at {}", offset * 8), frame));
            parts += 1;
        }
    }
    world.finish(&[(R::FragmentTimeout, parts)]);
}

/// ECN fields that contradict each other (RFC 3168 §5.3).
#[test]
fn contradicting_ecn() {
    let mut world = World::new();
    let payload = FORGE.udp_payload((5000, ECHO), &[6; 392]);
    for (ident, (first, second)) in [(0u8, 1u8), (0, 2), (0, 3), (1, 0), (2, 0), (3, 0)].into_iter().enumerate() {
        let part = |tos, from: usize, to: usize, more| {
            let fields = Ipv4Fields {
                tos,
                ident: ident as u16,
                fragment_offset: from as u16,
                more_fragments: more,
                ..FORGE.fields(Protocol::UDP, to - from)
            };
            FORGE.ipv4_with(&fields, &[], &payload[from..to])
        };
        let frames = [part(first, 0, 200, true), part(second, 200, 400, false)];
        world.attack(Case::new(format!("ECN {first} and {second}"), frames, &[R::FragmentMalformed; 2]));
    }
    world.finish(&[]);
}

/// As many as memory allows, and more: those beyond are dropped, the rest times out, and whole datagrams get through again.
#[test]
fn a_flood() {
    let limit = 256 << 10;
    let mut world = World::with(wireway_stack::Settings { ipfrag_high_thresh: limit, ..Default::default() });
    let (mut kept, mut refused) = (0u64, 0u64);
    for ident in 0..3000u16 {
        let frame = wireway_packet::Packet::copy_from(&fragment(ident, 8, 1200, true));
        match world.inject([frame])[..] {
            [] => kept += 1,
            [R::FragmentMemory] => refused += 1,
            ref other => panic!("{other:?}"),
        }
        if ident % 16 == 0 {
            world.tick();
        }
        let usage = world.net.host(world.victim).usage();
        assert!(usage.fragment_memory <= limit, "{usage:?}");
    }
    assert!(kept > 50 && refused > 1000, "{kept} kept, {refused} refused");
    let answered = world.answered;
    world.net.run_for(Duration::from_secs(31));
    assert_eq!(world.net.host(world.victim).usage().fragment_memory, 0);
    // The conversation's own datagram may have fallen victim, and is sent anew after a while.
    world.ticks(5000);
    assert!(world.answered > answered + 8, "{} answers, then {}", answered, world.answered);
    let timed_out = world.net.host(world.victim).counters()[R::FragmentTimeout];
    assert!((kept..kept + 4).contains(&timed_out), "{timed_out} of {kept}");
    world.forgive(&[R::FragmentMemory, R::FragmentTimeout]);
    world.finish(&[]);
}
