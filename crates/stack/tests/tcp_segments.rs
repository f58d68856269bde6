//! The host against hand-made segments: handshake options, acknowledgements, RFC 5961, PAWS, windows, Nagle, retransmission timing.

mod tcp_common;

use std::time::Duration;

use tcp_common::wire::{Bench, options, syn_options};
use tcp_common::*;
use wireway_stack::{Counter, Error, Ready, Settings, SocketOption};
use wireway_wire::{MacAddr, TcpFlags, TcpOptions};

const ACK: TcpFlags = TcpFlags::ACK;
const RST: TcpFlags = TcpFlags::RST;
const SYN: TcpFlags = TcpFlags::SYN;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn bench() -> Bench {
    Bench::new(Settings::default())
}

fn plain() -> TcpOptions {
    TcpOptions { mss: Some(1460), ..TcpOptions::default() }
}

both_families! {
fn the_syn_is_linux_s() {
    let mut b = bench();
    let id = b.host.socket(domain(), wireway_stack::Kind::Stream).unwrap();
    let to = std::net::SocketAddr::new(address(2), 80);
    assert_eq!(b.host.connect(b.now, id, to), Err(Error::InProgress));
    let syn = b.expect();
    assert_eq!((syn.flags, syn.window, syn.ack), (SYN, 64_240, 0));
    // mss 1460, sackOK, TS val x ecr 0, nop, wscale 7: as tcpdump prints Linux's.
    let ts = &syn.options[8..12];
    let expected = [&[2, 4, 5, 0xb4, 4, 2, 8, 10][..], ts, &[0, 0, 0, 0, 1, 3, 3, 7]].concat();
    assert_eq!(syn.options, expected);
    assert_eq!(b.host.connect(b.now, id, to), Err(Error::AlreadyInProgress));
    assert_eq!(b.ready(id), Ready::empty());
}

fn the_syn_ack_answers_what_was_offered() {
    let mut b = bench();
    let (_, id, _) = b.accept(&syn_options(77));
    let info = b.host.tcp_info(b.now, id).unwrap();
    assert!(info.timestamps && info.sack && info.window_scaling);
    assert_eq!((info.send_window_scale, info.receive_window_scale, info.send_mss), (7, 7, 1448));
    let (_, id, _) = bench().accept_with(&plain());
    assert!(!id.timestamps && !id.sack && !id.window_scaling);
    assert_eq!((id.send_mss, id.send_window_scale, id.receive_window_scale), (1460, 0, 0));
    // Without an MSS option it is 536 (RFC 9293 §3.7.1).
    let (_, info, _) = bench().accept_with(&TcpOptions::default());
    assert_eq!(info.send_mss, if family() == Family::V4 { 536 } else { 1220 });
}
}

impl Bench {
    fn accept_with(
        &mut self,
        with: &TcpOptions,
    ) -> (wireway_stack::SocketId, wireway_stack::TcpInfo, tcp_common::wire::Peer) {
        let (_, id, peer) = self.accept(with);
        (id, self.host.tcp_info(self.now, id).unwrap(), peer)
    }
}

both_families! {
fn a_listener_answers_only_what_opens_or_acknowledges() {
    let mut b = bench();
    b.listen(80);
    let peer = tcp_common::wire::Peer { sport: 5000, dport: 80, seq: 1, ack: 7, window: 0, timestamps: None };
    let fin = TcpFlags::FIN;
    for flags in [TcpFlags::empty(), fin, fin | TcpFlags::PSH | TcpFlags::URG, SYN | fin, RST, RST | ACK] {
        b.inject(&peer.seg(flags, b"data"));
        b.expect_nothing();
    }
    for flags in [ACK, fin | ACK, SYN | ACK] {
        b.inject(&peer.seg(flags, b"data"));
        let rst = b.expect();
        assert_eq!((rst.flags, rst.seq), (RST, 7));
    }
    // An option whose length lies ends the options, and not the attempt.
    let mut syn = peer.seg(SYN, &[]);
    syn.options = vec![4, 2, 2, 0, 2, 4, 1, 0];
    b.inject(&syn);
    let options = b.expect().options();
    assert_eq!((options.sack_permitted, options.timestamps), (true, None));
}

fn the_syn_ack_s_window_and_options() {
    let mut b = bench();
    b.listen(80);
    let peer = tcp_common::wire::Peer { sport: 9, dport: 80, seq: 5, ack: 0, window: 1000, timestamps: None };
    let mut syn = peer.seg(SYN, &[]);
    syn.options = options(&syn_options(1234));
    b.inject(&syn);
    let answer = b.expect();
    assert_eq!((answer.window, answer.ack), (65_160, 6));
    let o = answer.options();
    assert_eq!(
        (o.mss, o.window_scale, o.sack_permitted, o.timestamps.map(|t| t.1)),
        (Some(1460), Some(7), true, Some(1234))
    );
    assert_eq!(answer.options.len(), 20);
}

fn a_closed_port_resets() {
    let mut b = bench();
    let mut peer = tcp_common::wire::Peer { sport: 9, dport: 81, seq: 5, ack: 77, window: 1000, timestamps: None };
    b.inject(&peer.seg(SYN, &[]));
    let answer = b.expect();
    assert_eq!((answer.flags, answer.seq, answer.ack), (RST | ACK, 0, 6));
    b.inject(&peer.seg(ACK, b"hello"));
    let answer = b.expect();
    assert_eq!((answer.flags, answer.seq), (RST, 77));
    b.inject(&peer.seg(RST, &[]));
    b.expect_nothing();
    peer.dport = 80;
    b.listen(80);
    b.inject(&peer.seg(ACK, &[]));
    assert_eq!(b.expect().flags, RST);
    b.inject(&peer.seg(SYN | TcpFlags::FIN, &[]));
    b.expect_nothing();
}

fn segments_to_more_than_one_host_are_dropped() {
    let mut b = bench();
    let host = MacAddr([2, 0, 0, 0, 0, 1]);
    let to_many: [(MacAddr, &str); 2] = match family() {
        Family::V4 => [(MacAddr::BROADCAST, "255.255.255.255"), (MacAddr([1, 0, 0x5e, 0, 0, 1]), "224.0.0.1")],
        Family::V6 => [(MacAddr([0x33, 0x33, 0, 0, 0, 1]), "ff02::1"), (MacAddr::BROADCAST, "ff02::1")],
    };
    let peer = tcp_common::wire::Peer { sport: 9, dport: 80, seq: 5, ack: 77, window: 1000, timestamps: None };
    // Neither where somebody listens nor where nobody does, which a reset would tell.
    for listening in [false, true] {
        for (mac, address) in to_many.map(|(mac, address)| (mac, address.parse().unwrap())) {
            for mac in [mac, host] {
                b.inject_to(mac, address, &peer.seg(SYN, &[]));
                b.expect_nothing();
            }
        }
        b.inject_to(MacAddr::BROADCAST, address(1), &peer.seg(SYN, &[]));
        b.expect_nothing();
        if !listening {
            b.listen(80);
        }
    }
    b.inject_to(host, address(1), &peer.seg(SYN, &[]));
    assert_eq!(b.expect().flags, SYN | ACK);
}

fn connection_refused_and_bad_answers() {
    let mut b = bench();
    let id = b.host.socket(domain(), wireway_stack::Kind::Stream).unwrap();
    let to = std::net::SocketAddr::new(address(2), 80);
    let _ = b.host.connect(b.now, id, to);
    let syn = b.expect();
    let mut peer =
        tcp_common::wire::Peer { sport: 80, dport: syn.sport, seq: 1, ack: syn.seq, window: 1000, timestamps: None };
    // A wrong acknowledgement is reset, a reset with one is nothing.
    b.inject(&peer.seg(SYN | ACK, &[]));
    let answer = b.expect();
    assert_eq!((answer.flags, answer.seq), (RST, syn.seq));
    b.inject(&peer.seg(RST | ACK, &[]));
    b.inject(&peer.seg(RST, &[]));
    b.expect_nothing();
    assert_eq!(b.state(id), 2);
    peer.ack = syn.seq + 1;
    b.inject(&peer.seg(RST | ACK, &[]));
    b.expect_nothing();
    assert_eq!(b.ready(id), Ready::IN | Ready::OUT | Ready::ERR | Ready::HUP | Ready::RDHUP);
    assert_eq!(b.host.connect(b.now, id, to), Err(Error::ConnectionRefused));
    // The socket can be used again.
    assert_eq!(b.host.connect(b.now, id, to), Err(Error::InProgress));
}

fn syn_retransmissions_back_off_and_time_out() {
    let mut b = bench();
    let id = b.host.socket(domain(), wireway_stack::Kind::Stream).unwrap();
    let to = std::net::SocketAddr::new(address(2), 80);
    let _ = b.host.connect(b.now, id, to);
    let first = b.expect();
    let mut seconds = Vec::new();
    while let Some((seg, after)) = b.wait(Duration::from_secs(200)) {
        assert_eq!((seg.flags, seg.seq), (SYN, first.seq));
        seconds.push(after.as_millis().div_ceil(100) / 10);
    }
    assert_eq!(seconds, [1, 2, 4, 8, 16, 32]);
    // 1 + 2 + 4 + ... + 64 s, Linux's 127 s.
    assert_eq!(b.host.take_error(id), Some(Error::TimedOut));
}

fn every_second_segment_is_acknowledged_at_once_the_last_is_delayed() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&plain());
    b.set(id, SocketOption::QuickAck(false));
    let data = [7; 1460];
    // Teach it the segment size.
    for _ in 0..4 {
        b.inject(&peer.seg(ACK, &data));
        peer.seq += 1460;
        b.settle();
    }
    b.sleep(ms(50));
    b.seen.clear();
    for _ in 0..2 {
        b.inject(&peer.seg(ACK, &data));
        peer.seq += 1460;
        b.settle();
    }
    assert_eq!(b.expect().ack, peer.seq);
    b.inject(&peer.seg(ACK, &data[..10]));
    peer.seq += 10;
    b.expect_nothing();
    let (ack, after) = b.wait(ms(500)).unwrap();
    assert_eq!((ack.ack, ack.data.len()), (peer.seq, 0));
    assert!((ms(40)..ms(45)).contains(&after), "{after:?}");
    assert_eq!(b.recv(id).unwrap().len(), 6 * 1460 + 10);
}

fn the_first_segments_are_acknowledged_at_once() {
    let mut b = bench();
    let (_, _, mut peer) = b.accept(&plain());
    for _ in 0..8 {
        b.inject(&peer.seg(ACK, b"x"));
        peer.seq += 1;
        assert_eq!(b.expect().ack, peer.seq);
    }
}

fn a_first_request_is_no_answer() {
    // Sent right after the handshake, but before any data came: the server's answer is acknowledged at once, to open its window.
    let mut b = bench();
    let (id, mut peer) = b.connect(&plain());
    b.send(id, b"request");
    b.expect();
    peer.ack += 7;
    for _ in 0..8 {
        b.inject(&peer.seg(ACK, b"x"));
        peer.seq += 1;
        assert_eq!(b.expect().ack, peer.seq);
    }
    // The next request follows an answer: from now on acknowledgements wait for the program's.
    b.send(id, b"request");
    b.expect();
    peer.ack += 7;
    b.inject(&peer.seg(ACK, b"x"));
    b.expect_nothing();
}

fn an_answer_carries_the_acknowledgement() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&syn_options(1));
    for round in 0..20 {
        b.inject(&peer.seg(ACK, b"ping"));
        peer.seq += 4;
        if round > 0 {
            b.expect_nothing();
        } else {
            b.settle();
            b.seen.clear();
        }
        assert_eq!(b.recv(id).unwrap(), b"ping");
        b.send(id, b"pong");
        let answer = b.expect();
        assert_eq!((answer.ack, &answer.data[..]), (peer.seq, &b"pong"[..]));
        assert_eq!(answer.flags, ACK | TcpFlags::PSH);
        peer.ack += 4;
    }
}

fn out_of_order_is_acknowledged_at_once_with_sack() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&syn_options(1));
    let start = peer.seq;
    let at = |offset: u32| start + offset;
    let mut put = |b: &mut Bench, offset: u32, len: usize| {
        peer.seq = at(offset);
        b.inject(&peer.seg(ACK, &vec![offset as u8; len]));
        b.expect()
    };
    let ack = put(&mut b, 100, 100);
    assert_eq!((ack.ack, &ack.options().sack_blocks[..]), (at(0), &[(s(at(100)), s(at(200)))][..]));
    let ack = put(&mut b, 300, 100);
    assert_eq!(ack.options().sack_blocks[..], [(s(at(300)), s(at(400))), (s(at(100)), s(at(200)))]);
    // A duplicate is told first (RFC 2883).
    let ack = put(&mut b, 300, 100);
    assert_eq!(ack.options().sack_blocks[0], (s(at(300)), s(at(400))));
    assert_eq!(ack.options().sack_blocks[1], (s(at(300)), s(at(400))));
    let ack = put(&mut b, 0, 100);
    assert_eq!((ack.ack, &ack.options().sack_blocks[..]), (at(200), &[(s(at(300)), s(at(400)))][..]));
    let ack = put(&mut b, 200, 100);
    assert_eq!((ack.ack, ack.options().sack_blocks.len()), (at(400), 0));
    let got = b.recv(id).unwrap();
    assert!(got.iter().enumerate().all(|(i, &byte)| byte == (i / 100 * 100) as u8) && got.len() == 400);
}

fn partial_duplicates_and_fins_are_told_with_sack() {
    let mut b = bench();
    let (_, _, mut peer) = b.accept(&TcpOptions { sack_permitted: true, ..plain() });
    let start = peer.seq;
    let mut put = |b: &mut Bench, flags: TcpFlags, offset: u32, len: usize| {
        peer.seq = start + offset;
        b.inject(&peer.seg(flags, &vec![7; len]));
        b.expect()
    };
    let range = |from: u32, to: u32| (s(start + from), s(start + to));
    put(&mut b, ACK, 0, 100);
    put(&mut b, ACK, 200, 100);
    // Known at its start, and the hole is filled; then an island within what fills a hole (RFC 2883 §4).
    let ack = put(&mut b, ACK, 50, 150);
    assert_eq!((ack.ack, &ack.options().sack_blocks[..]), (start + 300, &[range(50, 100)][..]));
    put(&mut b, ACK, 400, 100);
    let ack = put(&mut b, ACK, 300, 300);
    assert_eq!((ack.ack, &ack.options().sack_blocks[..]), (start + 600, &[range(400, 500)][..]));
    // A FIN takes up a number in blocks too.
    let ack = put(&mut b, TcpFlags::FIN | ACK, 700, 100);
    assert_eq!((ack.ack, &ack.options().sack_blocks[..]), (start + 600, &[range(700, 801)][..]));
    assert_eq!(put(&mut b, ACK, 600, 100).ack, start + 801);
    let ack = put(&mut b, TcpFlags::FIN | ACK, 700, 100);
    assert_eq!((ack.ack, &ack.options().sack_blocks[..]), (start + 801, &[range(700, 801)][..]));
}

fn what_was_delivered_takes_no_place_of_a_sack_block() {
    let mut b = bench();
    let (_, _, mut peer) = b.accept(&TcpOptions { sack_permitted: true, ..plain() });
    let start = peer.seq;
    let mut put = |b: &mut Bench, offset: u32| {
        peer.seq = start + offset;
        b.inject(&peer.seg(ACK, &[7; 100]));
        b.expect()
    };
    let block = |offset: u32| (s(start + offset), s(start + offset + 100));
    // Four islands, the nearest last; then the hole before that one is filled, and a fourth comes again.
    for offset in [300, 500, 700, 100, 0] {
        put(&mut b, offset);
    }
    let ack = put(&mut b, 900);
    assert_eq!(ack.ack, start + 200);
    assert_eq!(ack.options().sack_blocks[..], [block(900), block(700), block(500), block(300)]);
}
}

fn s(n: u32) -> wireway_wire::SeqNumber {
    wireway_wire::SeqNumber(n)
}

both_families! {
fn a_reset_may_have_data() {
    // RFC 1122 §4.2.2.12: they are nobody's.
    let mut b = bench();
    let (_, id, peer) = b.accept(&plain());
    b.inject(&peer.seg(RST, b"why"));
    b.expect_nothing();
    assert_eq!(b.state(id), 7);
    assert_eq!(b.recv(id), Err(Error::ConnectionReset));
    assert_eq!(b.recv(id), Ok(vec![]));
}

fn resets_must_be_exact() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&plain());
    let seq = peer.seq;
    for _ in 0..2 {
        peer.seq = seq + 100;
        b.inject(&peer.seg(RST, &[]));
        b.settle();
    }
    // One challenge; the second falls under the limit (RFC 5961 §3.2, §7).
    assert_eq!((b.expect().ack, b.seen.len()), (seq, 0));
    peer.seq = seq - 1;
    b.inject(&peer.seg(RST, &[]));
    peer.seq = seq + 70_000;
    b.inject(&peer.seg(RST, &[]));
    b.expect_nothing();
    assert_eq!(b.state(id), 1);
    peer.seq = seq;
    b.inject(&peer.seg(RST, &[]));
    b.expect_nothing();
    assert_eq!(b.state(id), 7);
    assert_eq!(b.recv(id), Err(Error::ConnectionReset));
    assert_eq!(b.recv(id), Ok(vec![]));
    assert_eq!(b.host.send(b.now, id, b"x", Default::default()), Err(Error::BrokenPipe));
    assert_eq!(b.host.peer_addr(id), Err(Error::NotConnected));
    assert_eq!(b.host.counters()[Counter::TcpExtTcpChallengeAck], 1);
}

fn a_syn_on_a_connection_is_challenged() {
    let mut b = bench();
    let (_, id, peer) = b.accept(&plain());
    for seq in [peer.seq, peer.seq + 50, peer.seq + 1_000_000] {
        let mut syn = peer.seg(SYN, &[]);
        syn.seq = seq;
        b.sleep(ms(600));
        b.inject(&syn);
        let answer = b.expect();
        assert_eq!((answer.flags, answer.ack), (ACK, peer.seq));
    }
    assert_eq!(b.state(id), 1);
}

fn data_with_bad_acknowledgements_is_not_taken() {
    let mut b = bench();
    let (_, id, peer) = b.accept(&plain());
    for ack in [peer.ack + 1, peer.ack - 70_000] {
        let mut seg = peer.seg(ACK, b"evil");
        seg.ack = ack;
        b.sleep(ms(600));
        b.inject(&seg);
        // RFC 5961 §5.2.
        assert_eq!(b.expect().ack, peer.seq);
    }
    let mut seg = peer.seg(TcpFlags::PSH, b"evil");
    seg.ack = 0;
    b.inject(&seg);
    b.expect_nothing();
    assert_eq!(b.recv(id), Err(Error::WouldBlock));
}

fn the_host_limits_challenges() {
    let mut b = Bench::new(Settings { tcp_challenge_ack_limit: 10, ..Settings::default() });
    let listener = b.listen(80);
    let mut sent = 0;
    for port in 0..40 {
        let (_, peer) = b.accept_on(listener, 6000 + port, &plain());
        let mut rst = peer.seg(RST, &[]);
        rst.seq += 5;
        b.inject(&rst);
        b.settle();
        sent += b.seen.len();
        b.seen.clear();
    }
    assert!((5..=15).contains(&sent), "{sent}");
}

fn paws_drops_old_duplicates_and_survives_a_long_silence() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&syn_options(1_000_000));
    let echo = peer.timestamps.unwrap().1;
    b.inject(&peer.seg(ACK, b"new"));
    peer.seq += 3;
    b.settle();
    b.seen.clear();
    peer.timestamps = Some((999_999, echo));
    b.inject(&peer.seg(ACK, b"old"));
    assert_eq!(b.expect().ack, peer.seq);
    // A reset is not held back by it, nor is one without timestamps (RFC 7323 §3.2).
    assert_eq!(b.recv(id), Ok(b"new".to_vec()));
    assert_eq!(b.recv(id), Err(Error::WouldBlock));
    let mut bare = peer.seg(ACK, b"bare");
    bare.options.clear();
    b.inject(&bare);
    b.expect_nothing();
    assert_eq!(b.recv(id), Err(Error::WouldBlock));
    // After 24 days the peer's clock may have turned (RFC 7323 §5.5).
    b.sleep(Duration::from_secs(25 * 24 * 3600));
    b.inject(&peer.seg(ACK, b"late"));
    b.settle();
    assert_eq!(b.recv(id), Ok(b"late".to_vec()));
}

fn timestamps_echo_the_segment_at_last_ack_sent() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&syn_options(100));
    b.set(id, SocketOption::QuickAck(false));
    let echo = peer.timestamps.unwrap().1;
    // Two segments before one delayed acknowledgement: the first's timestamp is echoed (RFC 7323 §4.3).
    for (value, data) in [(110, b"a"), (120, b"b")] {
        peer.timestamps = Some((value, echo));
        b.inject(&peer.seg(ACK, data));
        peer.seq += 1;
    }
    b.send(id, b"x");
    assert_eq!(b.expect().options().timestamps.unwrap().1, 110);
    // One beyond a hole does not count.
    peer.timestamps = Some((130, echo));
    let mut ahead = peer.seg(ACK, b"ahead");
    ahead.seq += 10;
    b.inject(&ahead);
    assert_eq!(b.expect().options().timestamps.unwrap().1, 110);
}

fn nagle_holds_the_second_small_segment() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&plain());
    b.send(id, b"one");
    assert_eq!(b.expect().data, b"one");
    b.send(id, b"two");
    b.send(id, b"three");
    b.expect_nothing();
    peer.ack += 3;
    b.inject(&peer.ack());
    assert_eq!(b.expect().data, b"twothree");
    b.set(id, SocketOption::NoDelay(true));
    b.send(id, b"four");
    assert_eq!(b.expect().data, b"four");
    // A full segment always goes, and what is behind it waits no longer than it must.
    b.send(id, &[1; 1460 * 2 + 5]);
    b.settle();
    assert_eq!(b.seen.iter().map(|s| s.data.len()).collect::<Vec<_>>(), [1460, 1460, 5]);
}

fn cork_holds_partial_segments_for_200_ms() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&plain());
    b.set(id, SocketOption::Cork(true));
    b.send(id, &[1; 100]);
    b.expect_nothing();
    let (seg, after) = b.wait(Duration::from_secs(2)).unwrap();
    assert_eq!(seg.data.len(), 100);
    assert!((ms(200)..ms(205)).contains(&after), "{after:?}");
    peer.ack += 100;
    b.inject(&peer.ack());
    b.send(id, &[2; 1500]);
    assert_eq!(b.expect().data.len(), 1460);
    b.expect_nothing();
    b.set(id, SocketOption::Cork(false));
    assert_eq!(b.expect().data.len(), 40);
    peer.ack += 1500;
    b.inject(&peer.ack());
    let more = wireway_stack::SendFlags { more: true };
    assert_eq!(b.host.send(b.now, id, b"head", more), Ok(4));
    b.expect_nothing();
    b.send(id, b"body");
    assert_eq!(b.expect().data, b"headbody");
}

fn a_closed_window_is_probed_and_its_opening_used() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&plain());
    peer.window = 1000;
    b.inject(&peer.ack());
    b.send(id, &[1; 5000]);
    // Half of the largest window or more: worth sending. Then the window is full.
    let first = b.wait(ms(2000)).unwrap().0;
    assert_eq!(first.data.len(), 1000);
    peer.ack += 1000;
    peer.window = 0;
    b.inject(&peer.ack());
    let mut waits = Vec::new();
    for _ in 0..5 {
        let (probe, after) = b.wait(Duration::from_secs(60)).unwrap();
        assert_eq!((probe.seq, probe.data.len()), (peer.ack - 1, 0));
        waits.push(after.as_millis() as u64);
        b.inject(&peer.ack());
        b.settle();
    }
    assert!(waits.windows(2).all(|w| (w[1] as f64 / w[0] as f64 - 2.0).abs() < 0.1), "{waits:?}");
    peer.window = 8000;
    b.inject(&peer.ack());
    b.settle();
    assert_eq!(b.seen.iter().map(|s| s.data.len()).sum::<usize>(), 4000);
}

fn the_window_closes_opens_late_and_never_shrinks() {
    let mut b = bench();
    let (_, id, mut peer) = b.accept(&plain());
    b.set(id, SocketOption::ReceiveBuffer(4000));
    let mut edge = 0;
    loop {
        let mut seg = peer.seg(ACK, &[1; 1000]);
        seg.seq = peer.seq;
        b.inject(&seg);
        let ack = b.wait(ms(500)).unwrap().0;
        // The right edge stays or moves on.
        assert!(ack.ack + u32::from(ack.window) >= edge);
        edge = ack.ack + u32::from(ack.window);
        peer.seq = ack.ack;
        if ack.window == 0 {
            break;
        }
    }
    // What does not fit is answered, not taken.
    b.inject(&peer.seg(ACK, &[1; 10]));
    assert_eq!((b.expect().ack, b.host.recv_available(id)), (peer.seq, (peer.seq - 1001) as usize));
    // A little space is not worth telling; much is.
    b.host.recv(b.now, id, &mut [0; 100], Default::default()).unwrap();
    b.expect_nothing();
    b.recv(id).unwrap();
    assert!(b.expect().window >= 2000);
}
}
