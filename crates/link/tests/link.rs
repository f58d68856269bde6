//! What a link does to frames, in virtual time.

use std::time::Duration;

use wireway_link::{Bursts, FRAMING, Link, LinkConfig, MIN_FRAME};
use wireway_packet::{Instant, Packet};

fn frame(number: u32, len: usize) -> Packet {
    let mut bytes = vec![0; len.max(4)];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Packet::copy_from(&bytes)
}

fn number(frame: &Packet) -> u32 {
    let mut bytes = [0; 4];
    frame.copy_to(0, &mut bytes);
    u32::from_be_bytes(bytes)
}

/// Everything that arrives, with the time of arrival.
fn drain(link: &mut Link) -> Vec<(Instant, Packet)> {
    let mut all = Vec::new();
    while let Some(at) = link.poll_at() {
        let frame = link.receive(at).expect("a frame arrives when poll_at says so");
        all.push((at, frame));
    }
    all
}

#[test]
fn a_perfect_cable_delivers_at_once_and_in_order() {
    let mut link = Link::new(LinkConfig::default(), 1);
    (0..10).for_each(|i| link.send(Instant::from_millis(5), frame(i, 100)));
    assert!(link.receive(Instant::from_millis(4)).is_none());
    let got: Vec<u32> = drain(&mut link).iter().map(|(_, f)| number(f)).collect();
    assert_eq!(got, (0..10).collect::<Vec<_>>());
}

#[test]
fn rate_counts_the_framing_of_ethernet() {
    // The lecture's figure: a 1,500-byte packet is 1,538 bytes on the wire.
    let config = LinkConfig { rate: Some(1_000_000_000), queue: 10_000, ..LinkConfig::default() };
    let mut link = Link::new(config, 1);
    (0..1000).for_each(|i| link.send(Instant::ZERO, frame(i, 1514)));
    let last = drain(&mut link).last().unwrap().0;
    assert_eq!(last.as_nanos(), 1000 * 1538 * 8);
    let mut link = Link::new(LinkConfig { rate: Some(8), ..LinkConfig::default() }, 1);
    link.send(Instant::ZERO, frame(0, 10));
    assert_eq!(drain(&mut link)[0].0, Instant::ZERO + Duration::from_secs((MIN_FRAME + FRAMING) as u64));
}

#[test]
fn a_full_queue_drops_the_newest() {
    let config = LinkConfig { rate: Some(1_000_000), queue: 3, ..LinkConfig::default() };
    let mut link = Link::new(config, 1);
    (0..10).for_each(|i| link.send(Instant::ZERO, frame(i, 1000)));
    assert_eq!(link.counters().queue_full, 6);
    let got: Vec<u32> = drain(&mut link).iter().map(|(_, f)| number(f)).collect();
    assert_eq!(got, [0, 1, 2, 3], "one is being sent, three wait");
}

#[test]
fn jitter_keeps_the_order_and_stays_in_its_bounds() {
    let (delay, jitter) = (Duration::from_millis(10), Duration::from_millis(5));
    let mut link = Link::new(LinkConfig { delay, jitter, ..LinkConfig::default() }, 7);
    (0..1000).for_each(|i| link.send(Instant::from_micros(10 * u64::from(i)), frame(i, 60)));
    let got = drain(&mut link);
    assert!(got.iter().enumerate().all(|(i, (_, f))| number(f) == i as u32));
    let spread: Vec<Duration> =
        got.iter().map(|(at, f)| *at - Instant::from_micros(10 * u64::from(number(f)))).collect();
    assert!(spread.iter().all(|d| (delay..=delay + jitter).contains(d)));
    assert!(spread.iter().max().unwrap().saturating_sub(*spread.iter().min().unwrap()) > Duration::from_millis(2));
}

#[test]
fn impairments_happen_as_often_as_asked_and_the_same_for_a_seed() {
    let config = LinkConfig {
        loss: 0.1,
        duplicate: 0.05,
        corrupt: 0.02,
        reorder: 0.03,
        delay: Duration::from_millis(1),
        ..LinkConfig::default()
    };
    let run = |seed| {
        let mut link = Link::new(config.clone(), seed);
        (0..20_000).for_each(|i| link.send(Instant::from_micros(u64::from(i)), frame(i, 60)));
        let got: Vec<(Instant, Vec<u8>)> = drain(&mut link).into_iter().map(|(at, f)| (at, f.to_vec())).collect();
        (got, *link.counters())
    };
    let (got, counters) = run(42);
    let near = |count: u64, share: f64| (count as f64 / 20_000.0 - share).abs() < share / 5.0;
    assert!(near(counters.lost, 0.1) && near(counters.duplicated, 0.045), "{counters:?}");
    assert!(near(counters.corrupted, 0.018) && near(counters.reordered, 0.0283), "{counters:?}");
    assert_eq!(counters.delivered, 20_000 - counters.lost + counters.duplicated);
    assert_eq!(counters.sent, 20_000);
    assert_eq!((got, counters), run(42));
    assert_ne!(run(43).1, counters);
}

#[test]
fn bursts_are_as_long_and_as_many_as_asked() {
    let bursts = Bursts { begin: 0.01, end: 0.25, loss: 1.0 };
    let mut link = Link::new(LinkConfig { bursts: Some(bursts), ..LinkConfig::default() }, 3);
    (0..100_000).for_each(|i| link.send(Instant::from_micros(u64::from(i)), frame(i, 60)));
    let arrived: Vec<u32> = drain(&mut link).iter().map(|(_, f)| number(f)).collect();
    let gaps: Vec<u32> = arrived.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|&gap| gap > 0).collect();
    let lost: u32 = gaps.iter().sum();
    let (share, length) = (f64::from(lost) / 100_000.0, f64::from(lost) / gaps.len() as f64);
    // In the bad state for 0.01 / (0.01 + 0.25) of the time, four frames a burst.
    assert!((share - 0.0385).abs() < 0.004, "{share}");
    assert!((length - 4.0).abs() < 0.3, "{length}");
}

#[test]
fn a_rate_that_is_lifted_frees_what_waits_in_order() {
    let mut link = Link::new(LinkConfig { rate: Some(10_000), ..LinkConfig::default() }, 1);
    (0..10).for_each(|i| link.send(Instant::ZERO, frame(i, 1000)));
    let now = Instant::from_millis(1000);
    // The first took 0.8 s.
    assert_eq!(link.receive(now).map(|f| number(&f)), Some(0));
    assert!(link.receive(now).is_none());
    link.set_config(now, LinkConfig::default());
    link.send(now, frame(10, 1000));
    let got = drain(&mut link);
    assert_eq!(got.iter().map(|(_, f)| number(f)).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    assert!(got.iter().all(|(at, _)| *at <= now));
}

#[test]
fn a_delay_that_becomes_shorter_holds_nothing_up() {
    let minutes = Duration::from_secs(600);
    let mut link = Link::new(LinkConfig { delay: minutes, ..LinkConfig::default() }, 1);
    link.send(Instant::ZERO, frame(1, 60));
    let now = Instant::from_millis(5);
    link.set_config(now, LinkConfig::default());
    link.send(now, frame(2, 60));
    assert_eq!(link.receive(now).map(|f| number(&f)), Some(2));
    assert_eq!(link.poll_at(), Some(Instant::ZERO + minutes), "what is on its way arrives as planned");
}

#[test]
fn a_tag_may_come_on_top_of_the_mtu() {
    let mut link = Link::new(LinkConfig { mtu: 576, ..LinkConfig::default() }, 1);
    let mut tagged = vec![0; 594];
    tagged[12..14].copy_from_slice(&[0x81, 0]);
    link.send(Instant::ZERO, Packet::copy_from(&tagged));
    assert_eq!(drain(&mut link).len(), 1);
}

#[test]
fn a_frame_longer_than_the_mtu_is_dropped() {
    let mut link = Link::new(LinkConfig { mtu: 576, ..LinkConfig::default() }, 1);
    link.send(Instant::ZERO, frame(1, 590));
    link.send(Instant::ZERO, frame(2, 591));
    assert_eq!(drain(&mut link).len(), 1);
    assert_eq!(link.counters().too_long, 1);
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    let bad = LinkConfig { loss: 1.5, ..LinkConfig::default() };
    assert!(bad.validate().unwrap_err().contains("loss"));
    assert!(LinkConfig { rate: Some(0), ..LinkConfig::default() }.validate().is_err());
    assert!(LinkConfig { corrupt: f64::NAN, ..LinkConfig::default() }.validate().is_err());
    assert!(LinkConfig { mtu: 67, ..LinkConfig::default() }.validate().is_err());
    assert!(LinkConfig::default().validate().is_ok());
}
