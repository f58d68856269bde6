//! What the packet buffer costs for small packets (an ACK) and large ones (a frame, a super-segment), beside a plain vector.
//! Run with `cargo bench -p wireway-packet`.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use wireway_packet::software::{Segmenter, complete_checksum};
use wireway_packet::{Checksum, Packet, SegmentKind, Segmentation, Slice, Writer};

fn main() {
    divan::main();
}

/// An IPv4 TCP frame's headers, with timestamps, for `payload` bytes.
fn headers(payload: usize) -> [u8; 66] {
    let mut head = [0; 66];
    head[12] = 8;
    head[14] = 0x45;
    head[16..18].copy_from_slice(&((52 + payload).min(65_535) as u16).to_be_bytes());
    head[23] = 6;
    head[46] = 0x80;
    head
}

/// Headers prepended layer by layer, as the stack does for an ACK.
#[divan::bench]
fn ack_build_and_drop() {
    let mut packet = Packet::new();
    packet.prepend(32).fill(1);
    packet.prepend(20).fill(2);
    packet.prepend(14).fill(3);
    black_box(&packet);
}

/// The same in a vector, back to front.
#[divan::bench]
fn ack_build_and_drop_vec() {
    let mut bytes = Vec::with_capacity(66);
    bytes.extend_from_slice(&[3; 14]);
    bytes.extend_from_slice(&[2; 20]);
    bytes.extend_from_slice(&[1; 32]);
    black_box(&bytes);
}

/// A received ACK: copied in, headers taken off.
#[divan::bench]
fn ack_receive(bencher: Bencher) {
    let bytes = headers(0);
    bencher.bench_local(|| {
        let mut packet = Packet::copy_from(&bytes);
        packet.pullup(54).map(|h| h[20]);
        packet.trim_front(14);
        packet.trim_front(20);
        black_box(packet)
    });
}

/// A full frame whose payload shares the send buffer's block, and its checksum.
#[divan::bench(args = [1_448, 8_948])]
fn frame_build_and_sum(bencher: Bencher, len: usize) {
    let mut writer = Writer::with_capacity(65_536);
    let sent = writer.write(&[7; 60_000]);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        let mut packet = Packet::from_slice(sent.slice(100..100 + len));
        packet.prepend(66).copy_from_slice(&headers(len));
        packet.offload_mut().checksum = Checksum::Partial { start: 34, offset: 16 };
        complete_checksum(&mut packet);
        packet
    });
}

/// A 64 KB super-segment cut into frames, with and without their checksums.
#[divan::bench(args = [false, true])]
fn super_segment_cut(bencher: Bencher, sum: bool) {
    let payload = 45 * 1_448;
    let parts: Vec<Slice> = (0..2).map(|_| Writer::with_capacity(payload / 2).write(&vec![5; payload / 2])).collect();
    bencher
        .counter(BytesCount::new(payload))
        .with_inputs(|| {
            let mut packet = Packet::copy_from(&headers(payload));
            parts.iter().for_each(|p| packet.append_slice(p.clone()));
            packet.offload_mut().checksum = Checksum::Partial { start: 34, offset: 16 };
            packet.offload_mut().segmentation =
                Some(Segmentation { kind: SegmentKind::Tcp4, size: 1_448, header_len: 66 });
            packet
        })
        .bench_local_values(|packet| {
            for mut frame in Segmenter::new(packet) {
                if sum {
                    complete_checksum(&mut frame);
                }
                black_box(frame);
            }
        });
}

/// Copying into a block and sharing what was written: the send buffer's way.
#[divan::bench(args = [1, 1_448, 65_536])]
fn write_and_share(bencher: Bencher, len: usize) {
    let data = vec![9; len];
    let mut writer = Writer::with_capacity(65_536);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        if writer.spare() < len && !writer.rewind() {
            writer = Writer::with_capacity(65_536);
        }
        black_box(writer.write(&data));
    });
}
