//! Loss, retransmission timing, window probes that go on, keepalive, user time-out, ICMP errors.

mod tcp_common;

use std::time::Duration;

use tcp_common::wire::{Bench, Peer, Seg, syn_options};
use tcp_common::*;
use wireway_link::LinkConfig;
use wireway_stack::{Counter, Error, Ready, Settings, SocketId, SocketOption};
use wireway_wire::{TcpFlags, TcpOptions};

const ACK: TcpFlags = TcpFlags::ACK;
const RST: TcpFlags = TcpFlags::RST;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn plain() -> TcpOptions {
    TcpOptions { mss: Some(1000), ..TcpOptions::default() }
}

/// A connection whose round-trip time is `rtt`, by one exchange.
fn measured(rtt: Duration) -> (Bench, SocketId, Peer) {
    let mut b = Bench::new(Settings::default());
    let (_, id, mut peer) = b.accept(&plain());
    b.set(id, SocketOption::NoDelay(true));
    for _ in 0..60 {
        b.send(id, b"x");
        b.expect();
        b.sleep(rtt);
        peer.ack += 1;
        b.inject(&peer.ack());
        b.settle();
        b.seen.clear();
    }
    (b, id, peer)
}

both_families! {
fn the_time_out_follows_the_round_trip_time_and_doubles() {
    let (mut b, id, peer) = measured(ms(300));
    let info = b.host.tcp_info(b.now, id).unwrap();
    assert!((ms(299)..=ms(301)).contains(&info.rtt), "{:?}", info.rtt);
    // srtt + 200 ms, the variance having died down (RFC 6298; Linux's minimum).
    assert!((ms(495)..=ms(530)).contains(&info.rto), "{:?}", info.rto);
    b.send(id, b"lost");
    let first = b.expect();
    let mut expected = info.rto;
    for _ in 0..5 {
        let (again, after) = b.wait(seconds(60)).unwrap();
        assert_eq!((again.seq, &again.data), (first.seq, &first.data));
        assert!(after >= expected && after < expected + ms(5), "{after:?} for {expected:?}");
        expected *= 2;
    }
    let _ = peer;
    let info = b.host.tcp_info(b.now, id).unwrap();
    assert_eq!((info.backoff, info.retransmits), (5, 5));
}

fn karn_s_rule_and_the_end_of_backing_off() {
    let (mut b, id, mut peer) = measured(ms(100));
    let before = b.host.tcp_info(b.now, id).unwrap();
    b.send(id, b"lost");
    b.expect();
    b.wait(seconds(2)).unwrap();
    b.wait(seconds(2)).unwrap();
    peer.ack += 4;
    b.inject(&peer.ack());
    b.settle();
    let after = b.host.tcp_info(b.now, id).unwrap();
    // The ambiguous sample is not taken, and the time-out stays backed off until there is a valid one.
    assert_eq!((after.rtt, after.rto, after.backoff), (before.rtt, before.rto * 4, 2));
    b.send(id, b"x");
    b.expect();
    b.sleep(ms(100));
    peer.ack += 1;
    b.inject(&peer.ack());
    b.settle();
    let after = b.host.tcp_info(b.now, id).unwrap();
    assert!(after.backoff == 0 && after.rto <= before.rto + ms(1), "{after:?} {before:?}");
}

fn a_dead_peer_is_given_up_after_924_seconds() {
    let (mut b, id, _) = measured(ms(1));
    b.send(id, b"anyone?");
    let start = b.now;
    while b.wait(seconds(200)).is_some() {}
    let took = b.now - start;
    assert_eq!(b.host.take_error(id), Some(Error::TimedOut));
    assert!((seconds(900)..seconds(1100)).contains(&took), "{took:?}");
    assert_eq!(b.host.usage().tcp_flows, 0);
}

fn the_user_time_out_ends_it_sooner() {
    let (mut b, id, _) = measured(ms(1));
    b.set(id, SocketOption::UserTimeout(seconds(3)));
    b.send(id, b"anyone?");
    let start = b.now;
    while b.wait(seconds(10)).is_some() {}
    b.settle();
    assert_eq!(b.ready(id), Ready::IN | Ready::OUT | Ready::ERR | Ready::HUP | Ready::RDHUP);
    assert_eq!(b.host.take_error(id), Some(Error::TimedOut));
    assert!(b.now - start < seconds(5), "{:?}", b.now - start);
}

fn three_duplicates_retransmit_at_once_and_partial_acknowledgements_the_next_hole() {
    let mut b = Bench::new(Settings::default());
    let (_, id, mut peer) = b.accept(&plain());
    // Grow the window a little.
    for _ in 0..10 {
        b.send(id, &[0; 2000]);
        b.settle();
        let sent: usize = b.seen.drain(..).map(|s| s.data.len()).sum();
        peer.ack += sent as u32;
        b.inject(&peer.ack());
        b.settle();
    }
    b.send(id, &[1; 10_000]);
    b.settle();
    let first: Vec<Seg> = b.seen.drain(..).collect();
    assert_eq!(first.len(), 10);
    b.send(id, &[2; 3000]);
    b.settle();
    let sent_at_once = b.seen.len();
    b.seen.clear();
    // Segments 0 and 4 are lost.
    for _ in 0..2 {
        b.inject(&peer.ack());
        b.settle();
    }
    // Limited transmit (RFC 3042) may have sent something new, nothing old.
    assert!(b.seen.iter().all(|s| s.seq != first[0].seq));
    b.seen.clear();
    b.inject(&peer.ack());
    b.settle();
    assert_eq!((b.seen[0].seq, b.seen[0].data.len()), (first[0].seq, 1000));
    b.seen.clear();
    for _ in 0..4 {
        b.inject(&peer.ack());
    }
    b.settle();
    assert!(b.seen.iter().all(|s| s.seq != first[0].seq));
    b.seen.clear();
    peer.ack = first[4].seq;
    b.inject(&peer.ack());
    b.settle();
    assert_eq!(b.seen[0].seq, first[4].seq);
    let info = b.host.tcp_info(b.now, id).unwrap();
    assert_eq!(info.total_retransmissions, 2);
    let _ = sent_at_once;
    // A full acknowledgement ends recovery.
    peer.ack = first[0].seq + 13_000;
    b.inject(&peer.ack());
    b.settle();
    let info = b.host.tcp_info(b.now, id).unwrap();
    assert!(info.slow_start_threshold <= 8 && info.congestion_window <= 8, "{info:?}");
    assert_eq!(b.host.counters()[Counter::TcpExtTcpFastRetrans], 1);
}

fn the_initial_window_is_ten_segments_and_slow_start_doubles() {
    let mut b = Bench::new(Settings::default());
    let (_, id, mut peer) = b.accept(&plain());
    peer.window = 65_535;
    let data = vec![1; 100_000];
    let mut queued = 0;
    let mut flights = Vec::new();
    for _ in 0..3 {
        while let Ok(n) = b.host.send(b.now, id, &data[queued..], Default::default()) {
            queued += n;
            if queued == data.len() {
                break;
            }
        }
        b.settle();
        flights.push(b.seen.len());
        let acks: Vec<u32> = b.seen.drain(..).map(|s| s.seq + s.data.len() as u32).collect();
        b.sleep(ms(10));
        for ack in acks {
            peer.ack = ack;
            b.inject(&peer.ack());
        }
        b.settle();
    }
    assert_eq!(flights[0], 10);
    assert_eq!(flights[1], 20);
}

fn idle_restarts_with_the_initial_window() {
    let mut two = Two::new(LinkConfig { delay: ms(10), ..LinkConfig::default() });
    let (a, b) = two.pair();
    let mut sent = 0;
    let data = pattern(1, 2_000_000);
    let done = two.net.run_until(seconds(30), |net| {
        let now = net.now();
        while sent < data.len() {
            match net.host(A).send(now, a, &data[sent..], Default::default()) {
                Ok(n) => sent += n,
                Err(_) => break,
            }
        }
        let mut buffer = [0; 65536];
        while net.host(B).recv(now, b, &mut buffer, Default::default()).is_ok_and(|n| n > 0) {}
        sent == data.len() && net.host(A).send_outstanding(a) == 0
    });
    assert!(done);
    assert!(two.info(A, a).congestion_window > 40, "{:?}", two.info(A, a));
    two.run(seconds(60));
    two.send(A, a, b"x").unwrap();
    assert_eq!(two.info(A, a).congestion_window, 10);
}

fn an_idle_connection_says_nothing_unless_asked_to() {
    let mut b = Bench::new(Settings::default());
    let (_, id, peer) = b.accept(&plain());
    assert!(b.wait(seconds(24 * 3600)).is_none());
    // Asked, it asks after two hours (RFC 1122 §4.2.3.6).
    b.set(id, SocketOption::KeepAlive(true));
    b.inject(&peer.seg(TcpFlags::ACK | TcpFlags::PSH, b"x"));
    let (ack, _) = b.wait(seconds(1)).unwrap();
    assert!(ack.data.is_empty());
    let (probe, after) = b.wait(seconds(3 * 3600)).unwrap();
    assert_eq!((probe.seq, probe.data.len()), (peer.ack - 1, 0));
    assert!((7199..=7200).contains(&after.as_secs()), "{after:?}");
}

fn keepalive_probes_and_gives_up() {
    let mut b = Bench::new(Settings::default());
    let (_, id, peer) = b.accept(&plain());
    for option in [
        SocketOption::KeepAlive(true),
        SocketOption::KeepIdle(seconds(10)),
        SocketOption::KeepInterval(seconds(2)),
        SocketOption::KeepCount(3),
    ] {
        b.set(id, option);
    }
    // An answer starts it anew.
    let (probe, after) = b.wait(seconds(20)).unwrap();
    assert_eq!((probe.seq, probe.data.len(), after.as_secs()), (peer.ack - 1, 0, 10));
    b.inject(&peer.ack());
    let (_, after) = b.wait(seconds(20)).unwrap();
    assert_eq!(after.as_secs(), 10);
    for _ in 0..2 {
        let (seg, after) = b.wait(seconds(20)).unwrap();
        assert_eq!((seg.flags, after.as_secs()), (ACK, 2));
    }
    let (seg, _) = b.wait(seconds(20)).unwrap();
    assert!(seg.flags.contains(RST));
    assert_eq!(b.recv(id), Err(Error::TimedOut));
}

fn two_hosts_keep_each_other_alive() {
    let mut two = Two::new(LinkConfig::default());
    let (a, b) = two.pair();
    two.set(A, a, SocketOption::KeepAlive(true));
    two.run(seconds(3 * 7200 + 100));
    assert_eq!((two.state(A, a), two.state(B, b)), (1, 1));
    assert_eq!(two.net.host(A).counters()[Counter::TcpExtTcpKeepAlive], 3);
}

fn answered_window_probes_go_on_for_ever_and_data_flows_when_it_opens() {
    let mut two = Two::new(LinkConfig { delay: ms(5), ..LinkConfig::default() });
    let (a, b) = two.pair();
    let data = pattern(7, 400_000);
    let mut sent = 0;
    while let Ok(n) = two.send(A, a, &data[sent..]) {
        sent += n;
        two.run(ms(100));
    }
    two.run(seconds(3600));
    assert_eq!((two.state(A, a), two.info(A, a).send_window), (1, 0));
    let mut got = Vec::new();
    let done = two.net.run_until(seconds(60), |net| {
        let now = net.now();
        let mut buffer = [0; 65536];
        while let Ok(n) = net.host(B).recv(now, b, &mut buffer, Default::default()) {
            got.extend_from_slice(&buffer[..n]);
        }
        got.len() == sent
    });
    assert!(done, "{} of {sent}", got.len());
    assert_eq!(got, data[..sent]);
}
}

both_families! {
fn icmp_errors_are_hard_while_connecting_and_soft_after() {
    let mut b = Bench::new(Settings::default());
    let id = b.host.socket(domain(), wireway_stack::Kind::Stream).unwrap();
    let _ = b.host.connect(b.now, id, std::net::SocketAddr::new(address(2), 80));
    let syn = b.expect();
    // Of a number that we never sent: ignored (RFC 5927).
    let mut other = syn.clone();
    other.seq = syn.seq.wrapping_sub(1);
    b.inject_icmp((3, 3), (1, 4), 0, &other);
    assert_eq!(b.state(id), 2);
    b.inject_icmp((3, 1), (1, 3), 0, &syn);
    b.settle();
    assert_eq!(b.state(id), 7);
    assert_eq!(b.host.take_error(id), Some(Error::HostUnreachable));

    let (id, peer) = b.connect(&plain());
    b.send(id, b"data");
    let seg = b.expect();
    for (v4, v6) in [(0, 0), (13, 1), (3, 4), (1, 3)] {
        b.inject_icmp((3, v4), (1, v6), 0, &seg);
        b.settle();
    }
    assert_eq!(b.state(id), 1);
    // The last of them is told when the time-out ends the connection.
    while b.wait(seconds(200)).is_some() {}
    assert_eq!(b.recv(id), Err(Error::HostUnreachable));
    let _ = peer;
}

fn fragmentation_needed_shrinks_the_segments_at_once() {
    let mut b = Bench::new(Settings::default());
    let (mtu, full) = (if family() == Family::V4 { 1000 } else { 1300 }, usize::from(MSS));
    let mss = mss_of(mtu);
    let (id, mut peer) = b.connect(&TcpOptions { mss: Some(1460), ..TcpOptions::default() });
    b.send(id, &vec![5; 3 * full]);
    b.settle();
    let sent: Vec<Seg> = b.seen.drain(..).collect();
    assert_eq!(sent.iter().map(|s| s.data.len()).collect::<Vec<_>>(), [full; 3]);
    b.inject_icmp((3, 4), (2, 0), mtu as u16, &sent[0]);
    b.settle();
    let again: Vec<Seg> = b.seen.drain(..).collect();
    assert_eq!(again[0].seq, sent[0].seq);
    assert!(again.iter().all(|s| s.data.len() <= mss), "{:?}", again.iter().map(|s| s.data.len()).collect::<Vec<_>>());
    assert_eq!(again.iter().map(|s| s.data.len()).sum::<usize>(), 3 * full);
    peer.ack += 3 * full as u32;
    b.inject(&peer.ack());
    b.send(id, &[6; 2000]);
    assert_eq!(b.expect().data.len(), mss);
    // The window did not suffer as if it were congestion.
    assert!(b.host.tcp_info(b.now, id).unwrap().congestion_window >= 10);
}

fn a_retransmission_fits_the_path_as_it_is_now() {
    // What one connection learns of the path holds for the other's next retransmission; below 552 bytes packets go without DF, and below
    // 1,280 bytes IPv6 believes nothing.
    let cases = if family() == Family::V4 { [(1000, 960), (300, 512)] } else { [(1300, 1240), (1279, 1460)] };
    let full = usize::from(MSS);
    for (mtu, mss) in cases {
        let mut b = Bench::new(Settings::default());
        let (first, _) = b.connect(&TcpOptions { mss: Some(1460), ..TcpOptions::default() });
        let (second, peer) = b.connect(&TcpOptions { mss: Some(1460), ..TcpOptions::default() });
        b.send(second, &vec![5; full]);
        assert_eq!(b.expect().data.len(), full);
        b.send(first, &vec![6; full]);
        let seg = b.expect();
        b.inject_icmp((3, 4), (2, 0), mtu, &seg);
        b.settle();
        b.seen.retain(|seg| seg.dport == peer.sport && seg.sport == peer.dport);
        b.expect_nothing();
        b.host.abort(b.now, first).unwrap();
        b.settle();
        b.seen.clear();
        let (again, after) = b.wait(seconds(10)).unwrap();
        assert_eq!((again.seq, again.data.len()), (peer.ack, mss), "after {after:?}");
        assert!(after < ms(300), "{after:?}");
    }
}

fn the_buffers_grow_with_the_path() {
    // 200 Mbit/s and 100 ms: the path holds 2.5 MB, and both buffers begin far smaller.
    let link = LinkConfig { rate: Some(200_000_000), delay: ms(50), queue: 4000, ..LinkConfig::default() };
    let mut two = Two::new(link);
    let pair = two.pair();
    let took = transfer(&mut two, pair, pattern(1, 60_000_000), vec![], seconds(60));
    let (a, b) = (two.info(A, pair.0), two.info(B, pair.1));
    assert!(took < ms(4200), "{took:?} {a:?} {b:?}");
    assert!(b.receive_space > 1_500_000, "{}", b.receive_space);
}

fn a_set_buffer_does_not_grow() {
    let link = LinkConfig { rate: Some(100_000_000), delay: ms(20), ..LinkConfig::default() };
    let mut two = Two::new(link);
    let listener = two.socket(B);
    two.set(B, listener, SocketOption::ReceiveBuffer(30_000));
    two.listen_on(B, listener, PORT);
    let a = two.connect(A);
    let pair = two.pair_of(listener, a);
    transfer(&mut two, pair, pattern(1, 2_000_000), vec![], seconds(60));
    assert_eq!(two.info(B, pair.1).receive_space, 30_000);
}

fn timestamps_measure_retransmitted_segments() {
    let mut b = Bench::new(Settings::default());
    let (_, id, mut peer) = b.accept(&syn_options(1));
    b.send(id, b"lost");
    b.expect();
    let (again, _) = b.wait(seconds(5)).unwrap();
    b.sleep(ms(30));
    peer.timestamps = Some((2, again.options().timestamps.unwrap().0));
    peer.ack += 4;
    b.inject(&peer.ack());
    b.settle();
    // The copy was answered after 30 ms (RFC 7323 §4.1): that is what is measured, with the handshake's zero before it.
    let rtt = b.host.tcp_info(b.now, id).unwrap().rtt;
    assert!(rtt < ms(31), "{rtt:?}");
}
}
