//! What a frame costs on its way through a card's ring. Run with `cargo bench -p wireway-nic`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use divan::Bencher;
use divan::counter::BytesCount;
use rustix::event::{PollFd, PollFlags, poll};
use wireway_nic::{MemoryConfig, Nic, ShmConfig, ShmNic, pair};
use wireway_packet::{Instant, Packet, SegmentKind, Segmentation, Slice};

/// An ACK, a full frame, a super-segment.
const LENGTHS: [usize; 3] = [66, 1514, 65_000];
const NOW: Instant = Instant::ZERO;

fn main() {
    divan::main();
}

fn frame(len: usize) -> Packet {
    let mut packet = Packet::from_slice(Slice::copy_from(&vec![7; len]));
    if len > 1514 {
        packet.offload_mut().segmentation = Some(Segmentation { kind: SegmentKind::Tcp4, size: 1448, header_len: 66 });
    }
    packet
}

fn ends() -> (ShmNic, ShmNic) {
    let name = format!("bench-{}-{:?}", std::process::id(), thread::current().id());
    let config = ShmConfig { name, mac: None, mtu: 1500 };
    let mut a = ShmNic::open(config.clone()).expect("a link");
    let b = thread::spawn(move || ShmNic::open(config).expect("the other end"));
    while !b.is_finished() {
        a.receive(NOW);
    }
    (a, b.join().expect("the other end"))
}

fn cross(bencher: Bencher, len: usize, mut a: impl Nic, mut b: impl Nic) {
    let frame = frame(len);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        let _ = a.transmit(NOW, frame.clone());
        a.flush(NOW);
        b.receive(NOW)
    });
}

#[divan::bench(args = LENGTHS)]
fn memory_one_thread(bencher: Bencher, len: usize) {
    let (a, b) = pair(MemoryConfig::default());
    cross(bencher, len, a, b);
}

#[divan::bench(args = LENGTHS)]
fn shared_memory_one_thread(bencher: Bencher, len: usize) {
    let (a, b) = ends();
    cross(bencher, len, a, b);
}

fn sleep(nic: &ShmNic) {
    if nic.poll_at().is_none()
        && let Some(fd) = nic.fd()
    {
        let _ = poll(&mut [PollFd::new(&fd, PollFlags::IN)], None);
    }
}

/// A thousand frames to another thread, which sleeps when there are none; the sender sleeps when the ring is full.
#[divan::bench(args = LENGTHS, sample_count = 20, sample_size = 1)]
fn shared_memory_thousand_to_another_thread(bencher: Bencher, len: usize) {
    let (mut a, mut b) = ends();
    let (frame, over) = (frame(len), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut taken = 0;
            while !over.load(Ordering::Relaxed) && b.carrier() {
                while b.receive(NOW).is_some() {
                    taken += 1;
                    if taken % 1000 == 0 {
                        let _ = b.transmit(NOW, Packet::copy_from(&[0; 60]));
                        b.flush(NOW);
                    }
                }
                // Without a carrier it would wait for another to join.
                if b.carrier() {
                    sleep(&b);
                }
            }
        });
        bencher.counter(BytesCount::new(1000 * len)).bench_local(|| {
            for _ in 0..1000 {
                let mut next = frame.clone();
                while let Err(back) = a.transmit(NOW, next) {
                    next = back;
                    while a.receive(NOW).is_some() {}
                    sleep(&a);
                }
            }
            a.flush(NOW);
            while a.receive(NOW).is_none() {
                sleep(&a);
            }
        });
        over.store(true, Ordering::Relaxed);
        drop(a);
    });
}
