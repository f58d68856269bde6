//! Bulk data over good and bad links: the bytes are right, whatever the link does.

mod tcp_common;

use std::time::Duration;

use tcp_common::*;
use wireway_link::LinkConfig;
use wireway_stack::Settings;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

both_families! {
fn a_megabyte_both_ways() {
    let mut two = Two::new(LinkConfig::default());
    let pair = two.pair();
    transfer(&mut two, pair, pattern(1, 1 << 20), pattern(2, 1 << 20), Duration::from_secs(10));
    let info = two.info(A, pair.0);
    assert_eq!(info.total_retransmissions, 0, "{info:?}");
}

fn every_impairment_with_many_seeds() {
    for seed in 0..60u64 {
        let bit = |n: u64| (seed >> n) & 1 == 1;
        let link = LinkConfig {
            rate: bit(0).then_some(20_000_000),
            delay: ms(seed % 7 * 5),
            jitter: if bit(1) { ms(10) } else { ms(0) },
            loss: [0.0, 0.01, 0.05][(seed % 3) as usize],
            reorder: if bit(2) { 0.05 } else { 0.0 },
            reorder_by: ms(5),
            duplicate: if bit(3) { 0.03 } else { 0.0 },
            corrupt: if bit(4) { 0.02 } else { 0.0 },
            mtu: [1500, if family() == Family::V4 { 576 } else { 1280 }, 9000][(seed % 3) as usize],
            ..LinkConfig::default()
        };
        let mut two = Two::with(seed, link.clone(), link, Settings::default(), Settings::default());
        let pair = two.pair();
        transfer(&mut two, pair, pattern(seed, 200_000), pattern(seed + 1, 50_000), Duration::from_secs(2000));
    }
}

fn our_sequence_numbers_wrap() {
    // Look for a flow whose initial sequence number lies just before the end.
    let mut two = Two::new(LinkConfig { delay: ms(1), loss: 0.01, ..LinkConfig::default() });
    let last = std::rc::Rc::new(std::cell::Cell::new(0));
    let seen = last.clone();
    two.net.observe(Box::new(move |_, _, from, frame| {
        let bytes = frame.to_vec();
        // A SYN of A's: behind Ethernet's 14 bytes and IP's the sequence number at 4 and the flags at 13.
        let (protocol, tcp) = (if family() == Family::V4 { 23 } else { 20 }, 14 + ip_len());
        if from == 0 && bytes.len() > tcp + 20 && bytes[protocol] == 6 && bytes[tcp + 13] == 2 {
            seen.set(u32::from_be_bytes(bytes[tcp + 4..tcp + 8].try_into().unwrap()));
        }
    }));
    let listener = two.listen(B, PORT);
    // So that no later frame waits for B's address.
    let first = two.connect(A);
    two.pair_of(listener, first);
    for port in 1024..65_535 {
        let a = two.socket(A);
        let local = std::net::SocketAddr::new(address(1), port);
        if two.net.host(A).bind(a, local).is_err() {
            // The first connection has it.
            two.close(A, a);
            continue;
        }
        two.connect_on(A, a, PORT);
        two.net.settle();
        if last.get() > u32::MAX - 400_000 {
            let pair = two.pair_of(listener, a);
            transfer(&mut two, pair, pattern(1, 1_000_000), pattern(2, 100_000), Duration::from_secs(100));
            return;
        }
        two.close(A, a);
    }
    panic!("no such flow");
}
}
