//! TCP: segments for listeners, closed ports and half-open connections; connecting.

use wireway_lab::forge::{IP, repair, repair_transport};
use wireway_wire::TcpFlags;

use crate::talk::Talk;
use crate::{Case, Difference, case, differs};

const ACK: TcpFlags = TcpFlags::ACK;
const FIN: TcpFlags = TcpFlags::FIN;
const RST: TcpFlags = TcpFlags::RST;
const SYN: TcpFlags = TcpFlags::SYN;

const FULL: &[u8] = &[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
const MSS: &[u8] = &[2, 4, 5, 180];
const XMAS: TcpFlags = FIN.union(TcpFlags::PSH).union(TcpFlags::URG);

/// Every sort of scan.
const SCANS: [TcpFlags; 10] = [
    TcpFlags::empty(),
    FIN,
    XMAS,
    ACK,
    FIN.union(ACK),
    RST,
    RST.union(ACK),
    SYN.union(ACK),
    SYN.union(FIN),
    SYN.union(RST),
];

/// From another port of the peer's from now on.
fn anew(t: &mut Talk<'_>) {
    t.ports.0 += 1_000;
    t.forget();
}

pub const CASES: &[Case] = &[
    case("a SYN with Linux's options", |t| {
        t.listen();
        t.seg_with(SYN, 0, 0, FULL, &[]);
    }),
    case("SYNs with other options", |t| {
        t.listen();
        let all: [&[u8]; 16] = [
            &[],
            MSS,
            &[1, 3, 3, 7],
            &[3, 3, 15, 0],
            &[4, 2, 0, 0],
            &[8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 1],
            &[4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0],
            &[2, 4, 5, 180, 2, 4, 2, 24],
            &[0, 2, 4, 2],
            &[2, 3, 5, 0],
            &[2, 0, 5, 0],
            &[2, 1, 5, 0],
            &[2, 40, 5, 0],
            &[3, 4, 7, 0, 4, 3, 0, 0],
            &[253, 4, 0, 0, 2, 4, 5, 180],
            &[34, 2, 1, 1, 2, 4, 5, 180],
        ];
        for options in all {
            t.seg_with(SYN, 0, 0, options, &[]);
            anew(t);
        }
    }),
    case("the segment size that a SYN asks for", |t| {
        let listener = t.listen();
        for mss in [0u16, 1, 40, 48, 88, 536, 1459, 1461, 65_535] {
            t.seg_with(SYN, 0, 0, &[2, 4, (mss >> 8) as u8, mss as u8], &[]);
            t.seg(ACK, 1, 1, &[]);
            let sock = t.side.accept(listener).expect("a connection");
            let outcome = t.side.send(sock, &[7; 300]);
            t.did("send 300", outcome);
            t.seg(RST, 1, 0, &[]);
            anew(t);
        }
    }),
    case("scans of a closed port", |t| {
        for flags in SCANS {
            t.seg(flags, 5, 7, &[]);
            t.seg(flags, 5, 7, b"data");
        }
        t.seg(SYN, 5, 7, &[]);
        t.seg(SYN, 5, 7, b"data");
    }),
    case("scans of a listener", |t| {
        t.listen();
        for flags in SCANS {
            t.seg(flags, 5, 7, &[]);
            t.seg(flags, 5, 7, b"data");
        }
    }),
    case("a SYN with data", |t| {
        let listener = t.listen();
        t.seg_with(SYN, 0, 0, MSS, b"early");
        t.seg(ACK, 1, 1, b"early");
        let sock = t.side.accept(listener).expect("a connection");
        let outcome = t.side.recv(sock, 10);
        t.did("recv", outcome);
    }),
    case("ports of zero", |t| {
        t.listen();
        t.ports.0 = 0;
        t.seg(SYN, 0, 0, &[]);
        t.ports = (20_000, 0);
        t.seg(SYN, 0, 0, &[]);
    }),
    differs(
        "a SYN that offers ECN, or has reserved bits",
        &[Difference("tcp S.E ", "tcp S. ", "ECN is not there yet")],
        |t| {
            t.listen();
            for bits in [0x0c2u16, 0x042, 0x082, 0x1c2, 0x202, 0xe02] {
                t.seg_with(TcpFlags::from_bits_retain(bits), 0, 0, MSS, &[]);
                anew(t);
            }
        },
    ),
    differs(
        "SYNs to and from addresses that are no host's",
        &[Difference(
            "< tcp S. seq 0 ack 1 win 64240 <mss 1460>; ip 10.0.0.1 > 10.0.0.255 tos 0x0 ttl 64 DF len 44\n",
            "",
            "RFC 1122 §3.2.1.3: a source that is a broadcast address is dropped",
        )],
        |t| {
            t.listen();
            let frame = t.tcp_frame(SYN, 0, 0, MSS, &[]);
            for (what, at, address) in [
                ("to 10.0.0.255", 16, [10, 0, 0, 255]),
                ("to 255.255.255.255", 16, [255; 4]),
                ("to 224.0.0.1", 16, [224, 0, 0, 1]),
                ("to 127.0.0.1", 16, [127, 0, 0, 1]),
                ("to 10.0.0.7", 16, [10, 0, 0, 7]),
                ("from 10.0.0.255", 12, [10, 0, 0, 255]),
                ("from 255.255.255.255", 12, [255; 4]),
                ("from 224.0.0.1", 12, [224, 0, 0, 1]),
                ("from 127.0.0.1", 12, [127, 0, 0, 1]),
                ("from 0.0.0.0", 12, [0; 4]),
                ("from 10.0.0.1", 12, [10, 0, 0, 1]),
                ("from 240.0.0.1", 12, [240, 0, 0, 1]),
            ] {
                let mut changed = frame.clone();
                changed[IP + at..IP + at + 4].copy_from_slice(&address);
                repair(&mut changed);
                t.frame(what, &changed);
            }
            let mut broadcast = frame.clone();
            broadcast[..6].fill(0xff);
            t.frame("in a broadcast frame", &broadcast);
            t.frame("as it should be", &frame);
        },
    ),
    case("bad TCP headers", |t| {
        t.listen();
        let frame = t.tcp_frame(SYN, 0, 0, MSS, &[]);
        for (what, offset) in [("an offset of 0", 0x00), ("of 4", 0x40), ("of 7 with 24 bytes", 0x70), ("of 15", 0xf0)]
        {
            let mut changed = frame.clone();
            changed[IP + 20 + 12] = offset;
            repair_transport(&mut changed);
            t.frame(what, &changed);
        }
        let mut changed = frame.clone();
        changed[IP + 20 + 16] ^= 1;
        t.frame("a wrong checksum", &changed);
        let mut short = frame.clone();
        short.truncate(IP + 20 + 12);
        short[IP + 3] = 32;
        repair(&mut short);
        t.frame("12 bytes", &short);
    }),
    case("a half-open connection", |t| {
        let listener = t.listen();
        t.seg_with(SYN, 0, 0, MSS, &[]);
        t.seg_with(SYN, 0, 0, MSS, &[]);
        t.seg(ACK, 1, 0, &[]);
        t.seg(ACK, 1, 2, &[]);
        t.seg(ACK, 1, 2, b"data");
        t.seg(TcpFlags::empty(), 1, 1, b"data");
        t.seg(FIN, 1, 1, &[]);
        t.seg(ACK, 100_000, 1, b"data");
        t.seg(RST, 100_000, 1, &[]);
        t.seg(ACK.union(FIN), 1, 1, b"data");
        let sock = t.side.accept(listener).expect("a connection");
        for _ in 0..2 {
            let outcome = t.side.recv(sock, 10);
            t.did("recv", outcome);
        }
    }),
    case("a half-open connection and resets", |t| {
        let listener = t.listen();
        t.seg_with(SYN, 0, 0, MSS, &[]);
        t.seg(RST, 1, 0, &[]);
        t.seg(ACK, 1, 1, &[]);
        assert!(t.side.accept(listener).is_none());
    }),
    case("a half-open connection and a SYN within its window", |t| {
        t.listen();
        t.seg_with(SYN, 0, 0, MSS, &[]);
        t.seg_with(SYN, 100, 0, MSS, &[]);
        t.seg_with(SYN, 100, 0, MSS, &[]);
    }),
    case("a half-open connection and a SYN beside its window", |t| {
        t.listen();
        t.seg_with(SYN, 0, 0, MSS, &[]);
        t.seg_with(SYN, 100_000, 0, MSS, &[]);
        t.seg_with(SYN.union(ACK), 0, 1, MSS, &[]);
    }),
    case("a half-open connection repeats its SYN-ACK", |t| {
        t.listen();
        t.seg_with(SYN, 0, 0, FULL, &[]);
        t.wait(std::time::Duration::from_secs(3));
        t.seg(RST, 1, 0, &[]);
    }),
    case("a timestamp that is too old for a half-open connection", |t| {
        t.listen();
        t.seg_with(SYN, 0, 0, &[2, 4, 5, 180, 1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0], &[]);
        t.seg_with(ACK, 1, 1, &[1, 1, 8, 10, 0, 0, 0, 8, 0, 0, 0, 0], &[]);
    }),
    case("connecting", |t| {
        let sock = t.side.bind(true, t.ports.1);
        let outcome = t.side.connect(sock, t.ports.0);
        t.did("connect", outcome);
        // What does not acknowledge our SYN.
        for flags in [ACK, SYN.union(ACK), RST.union(ACK), RST, FIN, TcpFlags::empty()] {
            t.seg(flags, 0, 0, &[]);
            t.seg(flags, 0, 2, &[]);
        }
        // What does, and opens nothing.
        t.seg(ACK, 0, 1, &[]);
        t.seg(FIN.union(ACK), 0, 1, &[]);
        t.seg_with(SYN.union(ACK), 0, 1, FULL, &[]);
        let outcome = t.side.connect(sock, t.ports.0);
        t.did("connect", outcome);
    }),
    differs(
        "connecting to a peer whose SYN has data",
        &[Difference(
            "ack 1; ip tos 0x0 ttl 64 DF len 40\nrecv: errno 11\n",
            "ack 6; ip tos 0x0 ttl 64 DF len 40\nrecv: 5\n",
            "RFC 9293 §3.10.7.3: the data of a SYN with an acknowledgement count",
        )],
        |t| {
            let sock = t.side.bind(true, t.ports.1);
            let outcome = t.side.connect(sock, t.ports.0);
            t.did("connect", outcome);
            t.seg(SYN.union(ACK), 0, 1, b"hello");
            let outcome = t.side.recv(sock, 10);
            t.did("recv", outcome);
        },
    ),
    case("connecting to a peer without options", |t| {
        let sock = t.side.bind(true, t.ports.1);
        let outcome = t.side.connect(sock, t.ports.0);
        t.did("connect", outcome);
        t.seg(SYN.union(ACK), 0, 1, &[]);
        t.seg(ACK, 1, 1, b"hello");
        let outcome = t.side.recv(sock, 10);
        t.did("recv", outcome);
        let outcome = t.side.send(sock, &[1; 1000]);
        t.did("send 1000", outcome);
    }),
    case("connecting to a closed port", |t| {
        let sock = t.side.bind(true, t.ports.1);
        let outcome = t.side.connect(sock, t.ports.0);
        t.did("connect", outcome);
        t.seg(RST.union(ACK), 0, 1, &[]);
        let outcome = t.side.connect(sock, t.ports.0);
        t.did("connect", outcome);
    }),
    case("a SYN is repeated", |t| {
        let sock = t.side.bind(true, t.ports.1);
        let outcome = t.side.connect(sock, t.ports.0);
        t.did("connect", outcome);
        t.wait(std::time::Duration::from_secs(3));
        t.side.close(sock);
        t.answers();
    }),
    differs(
        "opening at once from both sides",
        &[
            Difference(
                "< tcp S. seq 0 ack 1 win 64240 <mss 1460,sackOK,TS ecr 0,nop,wscale 7>; ip tos 0x0 ttl 64 DF len 60\n",
                "< tcp S. seq 0 ack 1 win 64240 <mss 1460>; ip tos 0x0 ttl 64 DF len 44\n",
                "RFC 7323 §2.2: an answer has window scaling only if the SYN had; so for the others",
            ),
            Difference(
                "tcp S. seq 0 ack 1 len 0\n< tcp . seq 1 ack 1; ip tos 0x0 ttl 64 DF len 40\n",
                "tcp S. seq 0 ack 1 len 0\n",
                "our own answer has acknowledged the peer's SYN already (RFC 9293 §3.5, figure 7)",
            ),
        ],
        |t| {
            let sock = t.side.bind(true, t.ports.1);
            let outcome = t.side.connect(sock, t.ports.0);
            t.did("connect", outcome);
            t.seg_with(SYN, 0, 0, MSS, &[]);
            t.seg(ACK, 1, 5, &[]);
            t.seg_with(SYN.union(ACK), 0, 1, MSS, &[]);
            t.seg(ACK, 1, 1, b"hello");
            let outcome = t.side.recv(sock, 10);
            t.did("recv", outcome);
        },
    ),
    differs(
        "opening at once, and the peer thinks better of it",
        &[
            Difference(
                "< tcp S. seq 0 ack 1 win 64240 <mss 1460,sackOK,TS ecr 0,nop,wscale 7>; ip tos 0x0 ttl 64 DF len 60\n",
                "< tcp S. seq 0 ack 1 win 64240 <mss 1460>; ip tos 0x0 ttl 64 DF len 44\n",
                "as above",
            ),
            Difference(
                "errno 104",
                "errno 111",
                "RFC 9293 §3.10.7.4, second: a reset in SYN-RECEIVED refuses an active open",
            ),
        ],
        |t| {
            let sock = t.side.bind(true, t.ports.1);
            let outcome = t.side.connect(sock, t.ports.0);
            t.did("connect", outcome);
            t.seg_with(SYN, 0, 0, MSS, &[]);
            t.seg(RST, 1, 0, &[]);
            let outcome = t.side.recv(sock, 10);
            t.did("recv", outcome);
        },
    ),
];
