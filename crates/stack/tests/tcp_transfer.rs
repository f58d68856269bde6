//! Bulk data over good and bad links: the bytes are right, whatever the link does.

mod tcp_common;

use std::time::Duration;

use tcp_common::*;
use wireway_link::LinkConfig;
use wireway_stack::Settings;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn a_megabyte_both_ways() {
    let mut two = Two::new(LinkConfig::default());
    let pair = two.pair();
    transfer(&mut two, pair, pattern(1, 1 << 20), pattern(2, 1 << 20), Duration::from_secs(10));
    let info = two.info(A, pair.0);
    assert_eq!(info.total_retransmissions, 0, "{info:?}");
}

#[test]
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
            mtu: [1500, 576, 9000][(seed % 3) as usize],
            ..LinkConfig::default()
        };
        let mut two = Two::with(seed, link.clone(), link, Settings::default(), Settings::default());
        let pair = two.pair();
        transfer(&mut two, pair, pattern(seed, 200_000), pattern(seed + 1, 50_000), Duration::from_secs(2000));
    }
}
