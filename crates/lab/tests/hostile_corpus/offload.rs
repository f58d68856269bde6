//! Checksum and segmentation metadata that lies: a device, or another process at the end of a shared-memory cable, may say anything.

use wireway_packet::{Checksum, Packet, SegmentKind, Segmentation};
use wireway_stack::DropReason as R;
use wireway_wire::{Icmpv4Header, Icmpv4Type, TcpFlags};

use crate::common::*;

const OFFSETS: [u16; 9] = [0, 1, 13, 14, 34, 54, 1000, 1514, u16::MAX];

/// Every lie about a packet.
fn lies() -> Vec<(String, Checksum, Option<Segmentation>)> {
    let mut checksums = vec![Checksum::Complete, Checksum::Verified];
    for start in OFFSETS {
        for offset in [0u16, 2, 6, 16, 1500, u16::MAX] {
            checksums.push(Checksum::Partial { start, offset });
        }
    }
    let mut lies = Vec::new();
    for checksum in checksums {
        lies.push((format!("{checksum:?}"), checksum, None));
        for kind in [SegmentKind::Tcp4, SegmentKind::Tcp6] {
            for size in [0u16, 1, 8, 536, 1460, u16::MAX] {
                for header_len in OFFSETS {
                    let segmentation = Segmentation { kind, size, header_len };
                    lies.push((format!("{checksum:?}, {segmentation:?}"), checksum, Some(segmentation)));
                }
            }
        }
    }
    lies
}

fn lie(frame: &[u8], checksum: Checksum, segmentation: Option<Segmentation>) -> Packet {
    let mut packet = Packet::copy_from(frame);
    packet.offload_mut().checksum = checksum;
    packet.offload_mut().segmentation = segmentation;
    packet
}

/// What the metadata says is believed, or not; the drop has the same reason either way, and what is answered is sound.
#[test]
fn on_packets_that_are_answered_or_dropped() {
    let mut world = World::new();
    let echo = Icmpv4Header::echo(Icmpv4Type::ECHO_REQUEST, 1, 2);
    let mut wrong = FORGE.udp((5000, ECHO), &[2; 600]);
    wrong[60] ^= 1;
    // As from a sender that leaves checksums to others: only an answer's own counts.
    let mut unfinished = FORGE.icmp(echo, &[1; 1000]);
    unfinished[36..38].fill(0x55);
    let frames = [
        ("echo request", FORGE.icmp(echo, &[1; 1000]), None),
        ("unfinished echo request", unfinished, Some(R::IcmpChecksum)),
        ("to a closed port", FORGE.udp((5000, 9), &[2; 600]), Some(R::NoSocket)),
        ("to our port", FORGE.udp((5000, ECHO), &[2; 600]), None),
        ("wrong checksum", wrong, Some(R::UdpChecksum)),
        ("reset", FORGE.tcp(&segment((5000, PORT), TcpFlags::RST), &[], &[]), Some(R::NoSocket)),
        ("acknowledgement", FORGE.tcp(&segment((5000, PORT), TcpFlags::ACK), &[], &[7; 1200]), Some(R::NoSocket)),
        ("bad header", FORGE.ethernet(wireway_wire::EtherType::IPV4, &[0x45; 60]), Some(R::IpChecksum)),
        ("short", vec![1; 10], Some(R::HeaderTruncated)),
    ];
    for (what, frame, reason) in &frames {
        for (i, (name, checksum, segmentation)) in lies().into_iter().enumerate() {
            // A card that says it verified is believed.
            let checked = [Some(R::UdpChecksum), Some(R::IcmpChecksum)].contains(reason);
            let trusted = checksum != Checksum::Complete && checked;
            let reason = reason.filter(|_| !trusted);
            let dropped = world.inject([lie(frame, checksum, segmentation)]);
            assert_eq!(dropped, reason.as_slice(), "{what}: {name}");
            if i % 8 == 0 {
                world.tick();
            }
        }
    }
    world.finish(&[]);
}

/// Data of the conversation itself, true but for its metadata: in fragments, too.
#[test]
fn on_fragments() {
    let mut world = World::new();
    let payload = FORGE.udp_payload((5000, ECHO), &[6; 792]);
    for (i, (name, checksum, segmentation)) in lies().into_iter().enumerate() {
        for (from, to, more) in [(0, 400, true), (400, 800, false)] {
            let frame = FORGE.fragment(wireway_wire::Protocol::UDP, i as u16, &payload, from..to, more);
            let dropped = world.inject([lie(&frame, checksum, segmentation)]);
            assert_eq!(dropped, [], "{name}");
        }
        if i % 8 == 0 {
            world.tick();
        }
    }
    world.finish(&[]);
}

/// Segments of a connection whose every segment lies about how it is to be cut.
#[test]
fn on_segments_of_a_connection() {
    let mut world = World::new();
    for (name, checksum, segmentation) in lies().into_iter().step_by(7) {
        let live = world.live();
        let forge = wireway_lab::forge::Forge::new(wireway_lab::forge::Station { ip: PEER.ip, ..ATTACKER }, VICTIM);
        // Beyond the window, so that the stream stays whole: answered with an acknowledgement.
        let mut fields = segment((live.port, PORT), TcpFlags::ACK | TcpFlags::PSH);
        fields.seq = live.victim_acked + (1 << 30);
        fields.ack = live.victim_next;
        let mut options = vec![1, 1, 8, 10];
        options.extend_from_slice(&live.peer_timestamp.to_be_bytes());
        options.extend_from_slice(&live.victim_timestamp.to_be_bytes());
        let frame = forge.tcp(&fields, &options, &[8; 1300]);
        let dropped = world.inject([lie(&frame, checksum, segmentation)]);
        assert_eq!(dropped, [R::TcpInvalidSequence], "{name}");
        world.tick();
    }
    world.finish(&[]);
}
