//! UDP: lying lengths, bad checksums, ports that nobody has.

use wireway_lab::forge::{IP, repair};
use wireway_stack::DropReason as R;

use crate::common::*;

const UDP: usize = IP + 20;

#[test]
fn lying_lengths() {
    let mut world = World::new();
    for length in 0..=200u16 {
        let mut frame = FORGE.udp((5000, ECHO), &[1; 60]);
        frame[UDP + 4..UDP + 6].copy_from_slice(&length.to_be_bytes());
        repair(&mut frame);
        match length {
            // Fewer bytes than IP brought: the rest is no part of the datagram.
            8..=68 => world.attack(Case::accept(format!("UDP length {length}"), frame)),
            _ => world.attack(Case::drop(format!("UDP length {length}"), frame, R::UdpMalformed)),
        }
    }
    for length in [255u16, 256, 1480, 32768, 65535] {
        let mut frame = FORGE.udp((5000, ECHO), &[1; 60]);
        frame[UDP + 4..UDP + 6].copy_from_slice(&length.to_be_bytes());
        world.attack(Case::drop(format!("UDP length {length}"), frame, R::UdpMalformed));
    }
    world.finish(&[]);
}

#[test]
fn every_bit_flipped() {
    let mut world = World::new();
    let good = FORGE.udp((5000, ECHO), &[1; 12]);
    for bit in 0..20 * 8 {
        let mut frame = good.clone();
        frame[UDP + bit / 8] ^= 0x80 >> (bit % 8);
        let length = u16::from_be_bytes([frame[UDP + 4], frame[UDP + 5]]);
        let reason = if (8..=20).contains(&length) { R::UdpChecksum } else { R::UdpMalformed };
        world.attack(Case::drop(format!("bit {bit} of a datagram flipped"), frame, reason));
    }
    // No checksum is none to be wrong (RFC 768).
    let mut frame = good;
    frame[UDP + 6..UDP + 8].fill(0);
    world.attack(Case::accept("no checksum", frame));
    world.finish(&[]);
}

#[test]
fn ports() {
    let mut world = World::new();
    for port in (0..=u16::MAX).step_by(211).chain([0, 1, 6, 8, 65535]).filter(|&p| p != ECHO) {
        world.attack(Case::drop(format!("to port {port}"), FORGE.udp((5000, port), &[1; 5]), R::NoSocket));
    }
    // Port 0 as a source says that no answer is wanted.
    world.attack(Case::accept("from port 0", FORGE.udp((0, ECHO), &[1; 5])));
    world.attack(Case::drop("from port 0 to port 0", FORGE.udp((0, 0), &[1; 5]), R::NoSocket));
    world.finish(&[]);
}

/// More than the program reads: the receive buffer is a bound, and the newest are dropped.
#[test]
fn a_flood() {
    let mut world = World::new();
    let limit = world.net.host(world.victim).settings().rmem_default;
    let (mut kept, mut refused) = (0usize, 0usize);
    for _ in 0..2000 {
        match world.inject([wireway_packet::Packet::copy_from(&FORGE.udp((5000, ECHO), &[1; 1400]))])[..] {
            [] => kept += 1,
            [R::SocketReceiveBuffer] => refused += 1,
            ref other => panic!("{other:?}"),
        }
    }
    assert!(kept * 1400 <= limit + 1400 && kept > 50 && refused > 1000, "{kept} kept, {refused} refused");
    let answered = world.answered;
    world.ticks(5000);
    assert!(world.answered > answered + 4);
    world.finish(&[]);
}
