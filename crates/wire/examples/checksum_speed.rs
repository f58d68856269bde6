//! How fast the checksum is, in nanoseconds a call and gigabytes a second, from the caches:
//! `cargo run --release -p wireway-wire --example checksum_speed`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use wireway_wire::Sum;

/// The best of several rounds, in nanoseconds a call.
fn time(mut call: impl FnMut()) -> f64 {
    const CALLS: u32 = 20_000;
    let mut best = Duration::MAX;
    for _ in 0..50 {
        let start = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        best = best.min(start.elapsed());
    }
    best.as_secs_f64() * 1e9 / f64::from(CALLS)
}

fn main() {
    for len in [20, 40, 64, 128, 536, 1448, 8192, 65_536, 1 << 20] {
        let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let nanoseconds = time(|| {
            black_box(Sum::of(black_box(&data)).finish());
        });
        let rate = len as f64 / nanoseconds;
        println!("{len:>8} bytes {nanoseconds:>9.1} ns {rate:>5.0} GB/s");
    }
}
