//! Every state and the ways between them: open and close, simultaneous and halved, TIME-WAIT and its reuse, resets at the end.

mod tcp_common;

use std::net::SocketAddr;
use std::time::Duration;

use tcp_common::wire::{Bench, Peer, options, syn_options};
use tcp_common::*;
use wireway_link::LinkConfig;
use wireway_stack::{Counter, Error, Kind, Ready, ReceiveFlags, Settings, Shutdown, SocketOption};
use wireway_wire::{TcpFlags, TcpOptions};

const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const SYN_RECEIVED: u8 = 3;
const FIN_WAIT_1: u8 = 4;
const FIN_WAIT_2: u8 = 5;
const CLOSED: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const CLOSING: u8 = 11;

const ACK: TcpFlags = TcpFlags::ACK;
const FIN: TcpFlags = TcpFlags::FIN;
const RST: TcpFlags = TcpFlags::RST;
const SYN: TcpFlags = TcpFlags::SYN;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn bench() -> Bench {
    Bench::new(Settings::default())
}

fn plain() -> TcpOptions {
    TcpOptions { mss: Some(1460), ..TcpOptions::default() }
}

fn slow() -> LinkConfig {
    LinkConfig { delay: Duration::from_millis(20), ..LinkConfig::default() }
}

both_families! {
fn active_close_passes_through_every_state() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&syn_options(1));
    assert_eq!(b.state(id), ESTABLISHED);
    b.shutdown(id);
    let fin = b.expect();
    assert_eq!((fin.flags, fin.seq), (FIN | ACK, peer.ack));
    assert_eq!(b.state(id), FIN_WAIT_1);
    peer.ack += 1;
    b.inject(&peer.ack());
    b.expect_nothing();
    assert_eq!(b.state(id), FIN_WAIT_2);
    // Half-closed: data still comes in.
    b.inject(&peer.seg(ACK, b"still"));
    peer.seq += 5;
    b.settle();
    b.seen.clear();
    assert_eq!(b.recv(id), Ok(b"still".to_vec()));
    assert_eq!(b.host.send(b.now, id, b"x", Default::default()), Err(Error::BrokenPipe));
    assert_eq!(b.ready(id), Ready::OUT);
    b.inject(&peer.seg(FIN | ACK, &[]));
    peer.seq += 1;
    assert_eq!(b.expect().ack, peer.seq);
    // The socket is closed, TIME-WAIT lives on by itself.
    assert_eq!(b.state(id), CLOSED);
    assert_eq!(b.ready(id), Ready::IN | Ready::OUT | Ready::HUP | Ready::RDHUP);
    assert_eq!(b.recv(id), Ok(vec![]));
    assert_eq!(b.host.usage().tcp_time_wait, 1);
    // A repeated FIN is acknowledged again.
    let mut again = peer.seg(FIN | ACK, &[]);
    again.seq -= 1;
    b.sleep(seconds(50));
    b.inject(&again);
    assert_eq!(b.expect().ack, peer.seq);
    // ... and the wait begins anew.
    b.sleep(seconds(50));
    assert_eq!(b.host.usage().tcp_time_wait, 1);
    b.close(id);
    b.sleep(seconds(70));
    let usage = b.host.usage();
    assert_eq!((usage.tcp_time_wait, usage.tcp_flows, usage.tcp_sockets), (0, 0, 1));
}

fn passive_close() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&plain());
    b.inject(&peer.seg(FIN | ACK, b"bye"));
    peer.seq += 4;
    // What we may have to say, if only our FIN, carries the acknowledgement; else it comes after 40 ms.
    b.expect_nothing();
    assert_eq!(b.state(id), CLOSE_WAIT);
    assert_eq!(b.ready(id), Ready::IN | Ready::OUT | Ready::RDHUP);
    b.sleep(Duration::from_millis(40));
    assert_eq!(b.expect().ack, peer.seq);
    assert_eq!(b.recv(id), Ok(b"bye".to_vec()));
    assert_eq!(b.recv(id), Ok(vec![]));
    b.send(id, b"last words");
    assert_eq!(b.expect().data, b"last words");
    b.shutdown(id);
    assert_eq!(b.expect().flags, FIN | ACK);
    assert_eq!(b.state(id), LAST_ACK);
    peer.ack += 11;
    b.inject(&peer.ack());
    b.expect_nothing();
    assert_eq!(b.state(id), CLOSED);
    assert_eq!(b.host.usage().tcp_time_wait, 0);
}

fn simultaneous_close() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&plain());
    b.shutdown(id);
    assert_eq!(b.expect().flags, FIN | ACK);
    b.inject(&peer.seg(FIN | ACK, &[]));
    peer.seq += 1;
    assert_eq!(b.expect().ack, peer.seq);
    assert_eq!(b.state(id), CLOSING);
    peer.ack += 1;
    b.inject(&peer.ack());
    b.expect_nothing();
    assert_eq!((b.state(id), b.host.usage().tcp_time_wait), (CLOSED, 1));
}

fn a_fin_that_crosses_ours_is_acknowledged_though_the_next_segment_leads_to_time_wait() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&plain());
    b.shutdown(id);
    assert_eq!(b.expect().flags, FIN | ACK);
    b.inject(&peer.seg(FIN | ACK, &[]));
    peer.seq += 1;
    peer.ack += 1;
    b.inject(&peer.ack());
    assert_eq!(b.expect().ack, peer.seq);
    b.expect_nothing();
    assert_eq!((b.state(id), b.host.usage().tcp_time_wait), (CLOSED, 1));
}

fn fin_with_its_acknowledgement_skips_fin_wait_2() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&plain());
    b.shutdown(id);
    b.settle();
    b.seen.clear();
    peer.ack += 1;
    b.inject(&peer.seg(FIN | ACK, &[]));
    assert_eq!(b.expect().ack, peer.seq + 1);
    assert_eq!((b.state(id), b.host.usage().tcp_time_wait), (CLOSED, 1));
}

fn simultaneous_open() {
    let mut b = bench();
    let id = b.host.socket(domain(), Kind::Stream).unwrap();
    let to = SocketAddr::new(address(2), 80);
    let _ = b.host.connect(b.now, id, to);
    let syn = b.expect();
    assert_eq!(b.state(id), SYN_SENT);
    let mut peer = Peer { sport: 80, dport: syn.sport, seq: 1000, ack: 0, window: 5000, timestamps: None };
    let mut theirs = peer.seg(SYN, &[]);
    theirs.options = options(&plain());
    b.inject(&theirs);
    let answer = b.expect();
    assert_eq!((answer.flags, answer.seq, answer.ack), (SYN | ACK, syn.seq, 1001));
    assert_eq!(b.state(id), SYN_RECEIVED);
    // An acknowledgement of what was never sent is reset (RFC 9293 §3.10.7.4, fifth), and changes nothing.
    peer.seq += 1;
    for wrong in [syn.seq, syn.seq + 2] {
        peer.ack = wrong;
        b.inject(&peer.ack());
        let rst = b.expect();
        assert_eq!((rst.flags, rst.seq), (RST, wrong));
    }
    assert_eq!(b.state(id), SYN_RECEIVED);
    peer.seq -= 1;
    peer.ack = syn.seq + 1;
    let mut theirs = peer.seg(SYN | ACK, &[]);
    theirs.options = options(&plain());
    b.inject(&theirs);
    b.settle();
    assert_eq!(b.state(id), ESTABLISHED);
    assert_eq!(b.host.connect(b.now, id, to), Ok(()));
    assert_eq!(b.host.connect(b.now, id, to), Err(Error::AlreadyConnected));
    peer.seq += 1;
    b.seen.clear();
    b.inject(&peer.seg(ACK, b"hello"));
    b.settle();
    assert_eq!(b.recv(id), Ok(b"hello".to_vec()));
}

fn two_hosts_open_and_close_at_once() {
    let mut two = Two::new(slow());
    let now = two.now();
    let (a, b) = (two.socket(A), two.socket(B));
    for (at, id) in [(A, a), (B, b)] {
        two.net.host(at).bind(id, SocketAddr::new(address(if at == A { 1 } else { 2 }), 7)).unwrap();
        two.connect_on(at, id, 7);
    }
    assert_eq!(now, two.now());
    two.run(seconds(2));
    assert_eq!((two.state(A, a), two.state(B, b)), (ESTABLISHED, ESTABLISHED));
    transfer(&mut two, (a, b), pattern(1, 100_000), pattern(2, 100_000), seconds(60));
    two.run(seconds(1));
    assert_eq!((two.state(A, a), two.state(B, b)), (CLOSED, CLOSED));
    two.run(seconds(61));
    assert_eq!(two.net.host(A).usage().tcp_flows + two.net.host(B).usage().tcp_flows, 0);
}

fn a_socket_can_connect_to_itself() {
    let mut b = bench();
    let id = b.host.socket(domain(), Kind::Stream).unwrap();
    let own = SocketAddr::from(([127, 0, 0, 1], 4000));
    b.host.bind(id, own).unwrap();
    assert_eq!(b.host.connect(b.now, id, own), Err(Error::InProgress));
    b.settle();
    assert_eq!(b.state(id), ESTABLISHED);
    b.send(id, b"echo");
    b.settle();
    assert_eq!(b.recv(id), Ok(b"echo".to_vec()));
    assert_eq!(b.host.local_addr(id), b.host.peer_addr(id));
}

fn a_new_syn_takes_the_place_of_time_wait() {
    // By timestamps, by sequence number; not with neither (RFC 6191, RFC 1122 §4.2.2.13).
    for (with, seq_step, ts_step, taken) in [
        (true, -500_000i32, 5, true),
        (true, 500_000, -5, false),
        (false, 500_000, 0, true),
        (false, -500_000, 0, false),
    ] {
        let mut b = bench();
        let syn = if with { syn_options(1000) } else { plain() };
        let (_, id, mut peer) = b.accept(&syn);
        b.close(id);
        let fin = b.expect();
        peer.ack = fin.seq + 1;
        b.inject(&peer.seg(FIN | ACK, &[]));
        peer.seq += 1;
        b.expect();
        assert_eq!(b.host.usage().tcp_time_wait, 1);
        let mut again = peer.seg(SYN, &[]);
        again.seq = peer.seq.wrapping_add_signed(seq_step);
        again.ack = 0;
        let value = 1000u32.wrapping_add_signed(ts_step);
        again.options = options(&if with { syn_options(value) } else { plain() });
        b.inject(&again);
        let answer = b.expect();
        assert_eq!(answer.flags == SYN | ACK, taken, "{with} {seq_step} {ts_step}");
        if taken {
            // Our numbers begin beyond the old ones.
            assert!((answer.seq.wrapping_sub(fin.seq) as i32) > 0);
            assert_eq!(b.host.usage().tcp_time_wait, 0);
        } else {
            assert_eq!((answer.flags, answer.ack), (ACK, peer.seq));
            // Once: such a SYN may be one of a loop of answers, whatever it carries.
            again.data = b"data".to_vec();
            b.inject(&again);
            b.expect_nothing();
        }
    }
}

fn connect_uses_a_port_in_time_wait_again_when_timestamps_make_it_safe() {
    let mut two = Two::new(LinkConfig::default());
    let listener = two.listen(B, PORT);
    let local = SocketAddr::new(address(1), 5555);
    let open = |two: &mut Two| {
        let id = two.socket(A);
        two.set(A, id, SocketOption::ReuseAddress(true));
        two.net.host(A).bind(id, local).unwrap();
        let now = two.now();
        (id, two.net.host(A).connect(now, id, SocketAddr::new(address(2), PORT)))
    };
    let (a, _) = open(&mut two);
    let (a, b) = two.pair_of(listener, a);
    two.close(A, a);
    two.run(Duration::from_millis(10));
    two.close(B, b);
    two.run(Duration::from_millis(10));
    assert_eq!(two.net.host(A).usage().tcp_time_wait, 1);
    assert_eq!(open(&mut two).1, Err(Error::AddressNotAvailable));
    two.run(seconds(2));
    let (again, result) = open(&mut two);
    assert_eq!(result, Err(Error::InProgress));
    let pair = two.pair_of(listener, again);
    transfer(&mut two, pair, pattern(3, 50_000), pattern(4, 1000), seconds(10));
}

fn time_wait_is_bounded() {
    let mut b = Bench::new(Settings { tcp_max_tw_buckets: 3, ..Settings::default() });
    let listener = b.listen(80);
    for port in 0..6 {
        let (id, mut peer) = b.accept_on(listener, 7000 + port, &plain());
        b.shutdown(id);
        b.expect();
        peer.ack += 1;
        b.inject(&peer.seg(FIN | ACK, &[]));
        b.expect();
        b.close(id);
    }
    assert_eq!(b.host.usage().tcp_time_wait, 3);
    assert_eq!(b.host.counters()[Counter::TcpExtTcpTimeWaitOverflow], 3);
}

fn closing_with_unread_data_resets() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&plain());
    b.inject(&peer.seg(ACK, b"never read"));
    peer.seq += 10;
    b.settle();
    b.seen.clear();
    b.close(id);
    let rst = b.expect();
    assert_eq!((rst.flags, rst.seq), (RST | ACK, peer.ack));
    assert_eq!(b.host.usage().tcp_flows, 0);
    assert!(b.host.tcp_info(b.now, id).is_err());
}

fn linger_zero_resets_and_abort_too() {
    let mut b = bench();
    let listener = b.listen(80);
    for port in 0..2 {
        let (id, peer) = b.accept_on(listener, 7000 + port, &plain());
        b.send(id, b"unsent");
        b.settle();
        b.seen.clear();
        if port == 0 {
            b.set(id, SocketOption::Linger(Some(Duration::ZERO)));
            b.close(id);
        } else {
            b.host.abort(b.now, id).unwrap();
        }
        let rst = b.expect();
        assert_eq!((rst.flags, rst.seq), (RST | ACK, peer.ack + 6));
    }
    assert_eq!(b.host.usage().tcp_flows, 0);
}

fn data_after_close_is_answered_with_a_reset() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&plain());
    b.close(id);
    b.expect();
    peer.ack += 1;
    b.inject(&peer.seg(ACK, b"too late"));
    b.settle();
    // Of the number that the peer expects (RFC 9293 §3.5.2), even if our FIN was lost.
    let rst = b.seen.pop_front().unwrap();
    assert_eq!((rst.flags, rst.seq), (RST, peer.ack));
    assert_eq!(b.host.counters()[Counter::TcpExtTcpAbortOnData], 1);
    assert_eq!(b.host.usage().tcp_flows, 0);
}

fn a_reset_before_a_fin_that_was_acknowledged_is_believed() {
    let mut b = bench();
    let (_, id, peer) = b.accept(&plain());
    b.inject(&peer.seg(FIN | ACK, &[]));
    b.sleep(Duration::from_millis(40));
    assert_eq!(b.expect().ack, peer.seq + 1);
    b.inject(&peer.seg(RST, &[]));
    assert_eq!(b.state(id), CLOSED);
    assert_eq!(b.host.take_error(id), Some(Error::BrokenPipe));
}

fn an_orphan_does_not_wait_for_ever_in_fin_wait_2() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&plain());
    b.close(id);
    b.expect();
    peer.ack += 1;
    b.inject(&peer.ack());
    b.sleep(seconds(59));
    assert_eq!(b.host.usage().tcp_flows, 1);
    b.sleep(seconds(2));
    assert_eq!(b.host.usage().tcp_flows, 0);
    b.expect_nothing();
}

fn orphans_are_bounded() {
    let mut b = Bench::new(Settings { tcp_max_orphans: 2, ..Settings::default() });
    let listener = b.listen(80);
    let mut peers = Vec::new();
    for sport in 100..104 {
        let (id, mut peer) = b.accept_on(listener, sport, &plain());
        // The peer's window is closed: what is sent now waits.
        b.send(id, b"x");
        b.expect();
        (peer.ack, peer.window) = (peer.ack + 1, 0);
        b.inject(&peer.ack());
        b.send(id, b"waits");
        b.expect_nothing();
        peers.push((id, peer));
    }
    b.close(peers[0].0);
    b.close(peers[1].0);
    b.expect_nothing();
    b.close(peers[2].0);
    let rst = b.expect();
    assert_eq!((rst.dport, rst.flags), (102, RST | ACK));
    assert_eq!(b.host.counters()[Counter::TcpExtTcpAbortOnMemory], 1);
    assert_eq!(b.host.usage().tcp_flows, 3);
    // One ends, and there is a place again.
    b.inject(&peers[0].1.seg(RST, &[]));
    b.close(peers[3].0);
    b.expect_nothing();
    // None stays for ever, even if the peers go on answering that their windows are closed.
    for _ in 0..20 {
        b.sleep(seconds(10));
        for probe in b.seen.drain(..).collect::<Vec<_>>() {
            let peer = &peers[usize::from(probe.dport) - 100].1;
            b.inject(&peer.ack());
        }
    }
    assert_eq!(b.host.usage().tcp_flows, 0);
}

fn an_orphan_sends_what_was_queued() {
    let mut two = Two::new(slow());
    let (a, b) = two.pair();
    let data = pattern(5, 20_000);
    assert_eq!(two.send(A, a, &data), Ok(20_000));
    two.close(A, a);
    two.run(seconds(5));
    assert_eq!(two.read(B, b), data);
    two.close(B, b);
    two.run(seconds(62));
    for at in [A, B] {
        assert_eq!(two.net.host(at).usage().tcp_flows, 0);
    }
}

fn a_reset_in_each_state_ends_the_connection() {
    // State to reach, and the error that the program is told.
    for (state, error) in [
        (ESTABLISHED, Some(Error::ConnectionReset)),
        (FIN_WAIT_1, Some(Error::ConnectionReset)),
        (FIN_WAIT_2, Some(Error::ConnectionReset)),
        (CLOSE_WAIT, Some(Error::BrokenPipe)),
        (LAST_ACK, Some(Error::ConnectionReset)),
        (CLOSING, Some(Error::ConnectionReset)),
    ] {
        let mut b = bench();
        let (_, id, mut peer) = b.accept(&plain());
        if [FIN_WAIT_1, FIN_WAIT_2, CLOSING].contains(&state) {
            b.shutdown(id);
            b.settle();
        }
        if state == FIN_WAIT_2 {
            peer.ack += 1;
            b.inject(&peer.ack());
        }
        if [CLOSE_WAIT, LAST_ACK, CLOSING].contains(&state) {
            b.inject(&peer.seg(FIN | ACK, &[]));
            peer.seq += 1;
            b.settle();
        }
        if state == LAST_ACK {
            b.shutdown(id);
            b.settle();
        }
        assert_eq!(b.state(id), state);
        b.seen.clear();
        b.inject(&peer.seg(RST, &[]));
        b.expect_nothing();
        assert_eq!((b.state(id), b.host.take_error(id)), (CLOSED, error), "state {state}");
        assert_eq!(b.host.usage().tcp_flows, 0);
    }
}

fn shutdown_of_reading_keeps_the_connection() {
    let mut b = bench();
    let (_, id, peer) = b.accept(&plain());
    b.host.shutdown(b.now, id, Shutdown::Read).unwrap();
    assert_eq!(b.ready(id), Ready::IN | Ready::OUT | Ready::RDHUP);
    assert_eq!(b.recv(id), Ok(vec![]));
    b.inject(&peer.seg(ACK, b"anyway"));
    b.settle();
    assert_eq!(b.state(id), ESTABLISHED);
    let mut buffer = [0; 10];
    assert_eq!(b.host.recv(b.now, id, &mut buffer, ReceiveFlags { peek: true }), Ok(6));
    assert_eq!(b.recv(id), Ok(b"anyway".to_vec()));
}

fn sequence_numbers_wrap() {
    // The peer's numbers begin just before the end; ours are moved through it by 4 GiB of window probes' worth of data elsewhere.
    let mut b = bench();
    b.listen(80);
    let mut peer = Peer { sport: 9, dport: 80, seq: u32::MAX - 2000, ack: 0, window: 60_000, timestamps: None };
    let mut syn = peer.seg(SYN, &[]);
    syn.options = options(&plain());
    b.inject(&syn);
    let answer = b.expect();
    peer.seq = peer.seq.wrapping_add(1);
    peer.ack = answer.seq.wrapping_add(1);
    b.inject(&peer.ack());
    b.settle();
    let ids: Vec<_> = std::iter::from_fn(|| b.host.next_event()).collect();
    assert!(!ids.is_empty());
    let (id, _) = b.host.accept(b.now, ids[0].socket).unwrap();
    let data = pattern(9, 10_000);
    // Every second segment first, so that the hole spans the wrap.
    for round in [1, 0] {
        for (i, chunk) in data.chunks(1000).enumerate().filter(|(i, _)| i % 2 == round) {
            let mut seg = peer.seg(ACK, chunk);
            seg.seq = peer.seq.wrapping_add(i as u32 * 1000);
            b.inject(&seg);
            b.settle();
        }
    }
    assert_eq!(b.recv(id), Ok(data));
    assert_eq!(b.seen.back().unwrap().ack, peer.seq.wrapping_add(10_000));
}
}
