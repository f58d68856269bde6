//! TCP: segments for connections, and the ways to end them.

use std::time::Duration;

use wireway_lab::forge::{IP, repair};
use wireway_wire::TcpFlags;

use crate::talk::Talk;
use crate::{Case, Difference, case, differs};

const ACK: TcpFlags = TcpFlags::ACK;
const FIN: TcpFlags = TcpFlags::FIN;
const RST: TcpFlags = TcpFlags::RST;
const SYN: TcpFlags = TcpFlags::SYN;
const URG: TcpFlags = TcpFlags::URG;

/// MSS, SACK and window scaling, but no timestamps.
const PLAIN: &[u8] = &[2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 0];
const MSS: &[u8] = &[2, 4, 5, 180];
const STAMPED: &[u8] = &[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 100, 0, 0, 0, 0];

fn stamp(value: u8) -> [u8; 12] {
    [1, 1, 8, 10, 0, 0, 0, value, 0, 0, 0, 0]
}

fn recv(t: &mut Talk<'_>, sock: usize) {
    let outcome = t.side.recv(sock, 100_000);
    t.did("recv", outcome);
}

fn send(t: &mut Talk<'_>, sock: usize, n: usize) {
    let outcome = t.side.send(sock, &vec![9; n]);
    t.did(&format!("send {n}"), outcome);
}

fn close(t: &mut Talk<'_>, sock: usize) {
    t.side.close(sock);
    t.did("close", Ok(0));
}

fn shutdown(t: &mut Talk<'_>, sock: usize) {
    let outcome = t.side.shutdown(sock);
    t.did("shutdown", outcome);
}

pub const CASES: &[Case] = &[
    case("data in order", |t| {
        let sock = t.accept(PLAIN);
        for i in 0..3 {
            t.seg(ACK, 1 + 100 * i, 1, &[1; 100]);
        }
        recv(t, sock);
    }),
    case("data ahead of a hole, twice, and overlapping", |t| {
        let sock = t.accept(PLAIN);
        t.seg(ACK, 101, 1, &[1; 100]);
        t.seg(ACK, 301, 1, &[1; 100]);
        t.seg(ACK, 501, 1, &[1; 100]);
        t.seg(ACK, 701, 1, &[1; 100]);
        t.seg(ACK, 901, 1, &[1; 100]);
        t.seg(ACK, 301, 1, &[1; 100]);
        t.seg(ACK, 351, 1, &[1; 100]);
        t.seg(ACK, 251, 1, &[1; 300]);
        t.seg(ACK, 1, 1, &[1; 100]);
        t.seg(ACK, 1, 1, &[1; 100]);
        t.seg(ACK, 101, 1, &[1; 150]);
        t.seg(ACK, 601, 1, &[1; 500]);
        recv(t, sock);
    }),
    case("data ahead of a hole, without SACK", |t| {
        t.accept(MSS);
        t.seg(ACK, 101, 1, &[1; 100]);
        t.seg(ACK, 101, 1, &[1; 100]);
        t.seg(ACK, 1, 1, &[1; 100]);
        t.seg(ACK, 1, 1, &[1; 100]);
    }),
    case("data ahead of a hole, with timestamps", |t| {
        let listener = t.listen();
        t.seg_with(SYN, 0, 0, STAMPED, &[]);
        t.seg_with(ACK, 1, 1, &stamp(101), &[]);
        t.side.accept(listener).expect("a connection");
        for i in [2, 4, 6, 8, 10, 1, 1] {
            t.seg_with(ACK, 100 * i - 99, 1, &stamp(110 + i as u8), &[1; 100]);
        }
    }),
    case("a FIN ahead of a hole", |t| {
        let sock = t.accept(PLAIN);
        t.seg(FIN | ACK, 101, 1, &[1; 100]);
        t.seg(ACK, 1, 1, &[1; 100]);
        t.seg(FIN | ACK, 101, 1, &[1; 100]);
        recv(t, sock);
        recv(t, sock);
    }),
    differs(
        "timestamps: older ones, none",
        &[Difference(
            "< tcp . seq 1 ack 13 <nop,nop,TS ecr 120>; ip tos 0x0 ttl 64 DF len 52\nrecv: 12\n",
            "recv: 8\n",
            "RFC 7323 §3.2: what has no timestamps on a connection that has them should be dropped",
        )],
        |t| {
            let listener = t.listen();
            t.seg_with(SYN, 0, 0, STAMPED, &[]);
            t.seg_with(ACK, 1, 1, &stamp(101), &[]);
            let sock = t.side.accept(listener).expect("a connection");
            t.seg_with(ACK, 1, 1, &stamp(120), b"data");
            t.seg_with(ACK, 5, 1, &stamp(110), b"data");
            t.seg_with(ACK, 5, 1, &stamp(110), &[]);
            t.seg_with(RST, 6, 1, &stamp(110), &[]);
            t.seg_with(ACK, 5, 1, &stamp(120), b"data");
            t.seg(ACK, 9, 1, b"data");
            recv(t, sock);
        },
    ),
    case("resets: exact, within the window, beside it, old", |t| {
        let sock = t.accept(PLAIN);
        t.seg(RST, 100_000, 0, &[]);
        t.seg(RST, 0, 0, &[]);
        t.seg(RST, 2, 0, &[]);
        t.seg(RST, 1, 0, &[]);
        recv(t, sock);
        recv(t, sock);
        t.seg(ACK, 1, 1, b"data");
    }),
    case("a reset with a wrong acknowledgement", |t| {
        let sock = t.accept(PLAIN);
        t.seg(RST | ACK, 1, 99, &[]);
        recv(t, sock);
    }),
    case("SYNs on a connection: next, within the window", |t| {
        let sock = t.accept(PLAIN);
        t.seg(SYN, 1, 0, &[]);
        t.seg(SYN, 50, 0, &[]);
        recv(t, sock);
    }),
    case("SYNs on a connection: beside the window", |t| {
        t.accept(PLAIN);
        t.seg(SYN, 100_000, 0, &[]);
        t.seg(SYN, -1_000, 0, &[]);
    }),
    case("the SYN again, with its acknowledgement", |t| {
        t.accept(PLAIN);
        t.seg(SYN | ACK, 0, 1, &[]);
        t.seg(ACK, 1, 1, &[]);
    }),
    case("acknowledgements of what was not sent, and old ones", |t| {
        let sock = t.accept(PLAIN);
        t.seg(ACK, 1, 50, &[]);
        t.seg(ACK, 1, 50, b"data");
        recv(t, sock);
        send(t, sock, 100);
        t.seg(ACK, 1, 101, &[]);
        t.seg(ACK, 1, 1, b"data");
        recv(t, sock);
        t.seg(ACK, 5, -70_000, b"data");
        recv(t, sock);
    }),
    case("flags that make no sense", |t| {
        let sock = t.accept(PLAIN);
        t.seg(TcpFlags::empty(), 1, 0, b"data");
        t.seg(FIN, 1, 0, b"data");
        t.seg(TcpFlags::PSH, 1, 0, b"data");
        t.seg(SYN | FIN | ACK, 1, 1, b"data");
        recv(t, sock);
    }),
    case("a probe of keepalive: without data", |t| {
        t.accept(PLAIN);
        t.seg(ACK, 0, 1, &[]);
        t.seg(ACK, 0, 1, &[]);
    }),
    case("a probe of keepalive: with a byte", |t| {
        t.accept(PLAIN);
        t.seg(ACK, 0, 1, b"x");
        t.seg(ACK, 0, 1, b"x");
    }),
    case("segments beside the window", |t| {
        t.accept(PLAIN);
        t.seg(ACK, 100_000, 1, &[]);
        t.seg(ACK, 100_000, 1, b"data");
        t.seg(ACK, 100_000, 1, b"data");
        t.seg(FIN | ACK, 100_000, 1, &[]);
    }),
    differs("urgent data", &[Difference("recv: 2\n", "recv: 3\n", "RFC 6093: urgent data stay in the stream")], |t| {
        let sock = t.accept(PLAIN);
        let mut frame = t.tcp_frame(URG | ACK, 1, 1, &[], b"abc");
        frame[IP + 20 + 19] = 3;
        repair(&mut frame);
        t.frame("urgent, 3", &frame);
        recv(t, sock);
        t.seg(ACK, 4, 1, b"def");
        recv(t, sock);
    }),
    case("sending: sizes, PSH, Nagle", |t| {
        let sock = t.accept(PLAIN);
        send(t, sock, 4_000);
        t.seg(ACK, 1, 4_001, &[]);
        send(t, sock, 10);
        send(t, sock, 10);
        send(t, sock, 2_000);
        t.seg(ACK, 1, 4_011, &[]);
        t.seg(ACK, 1, 6_021, &[]);
        t.side.no_delay(sock);
        send(t, sock, 10);
        send(t, sock, 10);
    }),
    case("sending: the time-out, twice", |t| {
        let sock = t.accept(PLAIN);
        send(t, sock, 10);
        t.wait(Duration::from_secs(1));
        t.wait(Duration::from_secs(1));
        t.seg(ACK, 1, 11, &[]);
        send(t, sock, 10);
        t.seg(ACK, 1, 21, &[]);
    }),
    case("sending: three duplicate acknowledgements", |t| {
        let sock = t.accept(MSS);
        send(t, sock, 7_300);
        for _ in 0..4 {
            t.seg(ACK, 1, 1, &[]);
        }
        t.seg(ACK, 1, 1_461, &[]);
        t.seg(ACK, 1, 7_301, &[]);
    }),
    case("sending: a closed window is probed", |t| {
        let sock = t.accept(PLAIN);
        let mut frame = t.tcp_frame(ACK, 1, 1, &[], &[]);
        frame[IP + 20 + 14..IP + 20 + 16].fill(0);
        repair(&mut frame);
        t.frame("a window of 0", &frame);
        send(t, sock, 10);
        t.wait(Duration::from_secs(1));
        t.frame("a window of 0", &frame);
        t.wait(Duration::from_secs(1));
        t.seg(ACK, 1, 1, &[]);
        t.seg(ACK, 1, 11, &[]);
    }),
    case("the peer closes, then we", |t| {
        let sock = t.accept(PLAIN);
        t.seg(FIN | ACK, 1, 1, b"bye");
        t.seg(FIN | ACK, 1, 1, b"bye");
        t.seg(ACK, 5, 1, b"more");
        recv(t, sock);
        recv(t, sock);
        send(t, sock, 10);
        close(t, sock);
        t.seg(ACK, 5, 11, &[]);
        t.seg(ACK, 5, 12, &[]);
        t.seg(ACK, 5, 12, &[]);
    }),
    differs(
        "we close, then the peer; TIME-WAIT",
        &[Difference(
            "< tcp R seq 2; ip tos 0x0 ttl 64 DF len 40\n",
            "",
            "RFC 1337: a reset does not end TIME-WAIT (as Linux's tcp_rfc1337)",
        )],
        |t| {
            let sock = t.accept(PLAIN);
            shutdown(t, sock);
            t.seg(ACK, 1, 2, &[]);
            t.seg(ACK, 1, 2, b"still");
            recv(t, sock);
            t.seg(FIN | ACK, 6, 2, &[]);
            recv(t, sock);
            close(t, sock);
            t.seg(FIN | ACK, 6, 2, &[]);
            t.seg(ACK, 7, 2, &[]);
            t.seg(ACK, 6, 2, b"data");
            t.seg(ACK, 7, 2, b"data");
            t.seg(ACK, 100_000, 2, b"data");
            t.seg(SYN, 3, 0, &[]);
            t.seg(RST, 100_000, 0, &[]);
            t.seg(RST, 7, 0, &[]);
            t.seg(ACK, 7, 2, &[]);
        },
    ),
    case("TIME-WAIT, and a new SYN without a listener", |t| {
        let sock = t.accept(PLAIN);
        close(t, sock);
        t.seg(FIN | ACK, 1, 2, &[]);
        t.seg(ACK, 2, 2, &[]);
        t.seg(SYN, 1_000, 0, &[]);
        t.seg(ACK, 2, 2, &[]);
    }),
    case("TIME-WAIT, and a new SYN for a listener", |t| {
        let sock = t.accept(PLAIN);
        close(t, sock);
        t.seg(FIN | ACK, 1, 2, &[]);
        t.listen();
        t.seg(SYN, 1, 0, &[]);
        t.seg(SYN, 1_000, 0, PLAIN);
    }),
    case("both close at once", |t| {
        let sock = t.accept(PLAIN);
        shutdown(t, sock);
        t.seg(FIN | ACK, 1, 1, &[]);
        t.seg(FIN | ACK, 1, 1, &[]);
        t.seg(ACK, 2, 2, &[]);
        recv(t, sock);
        close(t, sock);
        t.seg(FIN | ACK, 1, 2, &[]);
    }),
    case("data after close", |t| {
        let sock = t.accept(PLAIN);
        close(t, sock);
        t.seg(ACK, 1, 2, &[]);
        t.seg(ACK, 1, 2, b"late");
        t.seg(ACK, 5, 2, b"later");
    }),
    case("data after close, with the acknowledgement of the FIN", |t| {
        let sock = t.accept(PLAIN);
        close(t, sock);
        t.seg(ACK, 1, 2, b"late");
    }),
    case("data after close, before the acknowledgement of the FIN", |t| {
        let sock = t.accept(PLAIN);
        close(t, sock);
        t.seg(ACK, 1, 1, b"late");
    }),
    case("closing with unread data", |t| {
        let sock = t.accept(PLAIN);
        t.seg(ACK, 1, 1, b"data");
        close(t, sock);
        t.seg(ACK, 5, 1, b"data");
    }),
    case("closing with unsent data", |t| {
        let sock = t.accept(MSS);
        send(t, sock, 20_000);
        close(t, sock);
        t.seg(ACK, 1, 14_601, &[]);
        t.seg(ACK, 1, 20_001, &[]);
        t.seg(ACK, 1, 20_002, &[]);
        t.seg(FIN | ACK, 1, 20_002, &[]);
    }),
    case("resets after the peer's FIN", |t| {
        let sock = t.accept(PLAIN);
        t.seg(FIN | ACK, 1, 1, &[]);
        t.seg(RST, 1, 0, &[]);
        recv(t, sock);
        send(t, sock, 10);
    }),
    case("a listener closes with a connection in its queue", |t| {
        let listener = t.listen();
        t.seg_with(SYN, 0, 0, PLAIN, &[]);
        t.seg(ACK, 1, 1, &[]);
        close(t, listener);
        t.seg(ACK, 1, 1, b"data");
    }),
];
