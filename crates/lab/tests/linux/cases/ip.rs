//! ARP, IPv4, ICMP and UDP.

use std::net::Ipv4Addr;
use std::time::Duration;

use wireway_lab::forge::{IP, repair, repair_ip, repair_transport};
use wireway_wire::{ArpOperation, ArpPacket, Ipv4Fields, MacAddr, Protocol};

use crate::side::{HOST, PEER, PEER_MAC};
use crate::talk::Talk;
use crate::{Case, Difference, case, differs};

const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

/// An echo request with this much data, that a case can change.
fn echo(t: &Talk<'_>, len: usize) -> Vec<u8> {
    let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
    t.icmp_frame(8, 0, [0, 7, 0, 1], &data)
}

/// Sends a frame after a change of its IP header, whose checksum is then right.
fn with_ip(t: &mut Talk<'_>, what: &str, frame: &[u8], change: impl FnOnce(&mut [u8])) {
    let mut changed = frame.to_vec();
    change(&mut changed[IP..]);
    repair_ip(&mut changed);
    t.frame(what, &changed);
}

/// An echo request with IP options.
fn with_options(t: &mut Talk<'_>, what: &str, options: &[u8]) {
    let frame = echo(t, 8);
    let fields = t.forge.fields(Protocol::ICMP, 16);
    let frame = t.forge.ipv4_with(&fields, options, &frame[IP + 20..]);
    t.frame(what, &frame);
}

/// Fragments of an echo request of `len` bytes: each a range and whether more follow.
fn fragments(t: &mut Talk<'_>, ident: u16, len: usize, parts: &[(usize, usize, bool)]) {
    let whole = echo(t, len);
    for &(from, to, more) in parts {
        let frame = t.forge.fragment(Protocol::ICMP, ident, &whole[IP + 20..], from..to, more);
        t.frame(&format!("fragment {from}..{to}{}", if more { "+" } else { "" }), &frame);
    }
}

pub const CASES: &[Case] = &[
    case("ARP requests", |t| {
        let (peer, nobody) = ((PEER_MAC, PEER), MacAddr::ZERO);
        for (what, broadcast, sender, target) in [
            ("by broadcast", true, peer, HOST),
            ("by unicast", false, peer, HOST),
            ("for another", true, peer, Ipv4Addr::new(10, 0, 0, 7)),
            ("for 127.0.0.1", true, peer, Ipv4Addr::LOCALHOST),
            ("for a broadcast address", true, peer, Ipv4Addr::new(10, 0, 0, 255)),
            ("for a multicast address", true, peer, Ipv4Addr::new(224, 0, 0, 1)),
            ("from another network", true, (OTHER, Ipv4Addr::new(192, 168, 9, 9)), HOST),
            ("a probe for our address", true, (OTHER, Ipv4Addr::UNSPECIFIED), HOST),
            ("a probe for another", true, (OTHER, Ipv4Addr::UNSPECIFIED), Ipv4Addr::new(10, 0, 0, 7)),
            ("an announcement of the peer's", true, peer, PEER),
            ("an announcement of ours", true, (OTHER, HOST), HOST),
            ("from 127.0.0.1", true, (OTHER, Ipv4Addr::LOCALHOST), HOST),
            ("from a broadcast address", true, (OTHER, Ipv4Addr::BROADCAST), HOST),
            ("from a multicast address", true, (OTHER, Ipv4Addr::new(224, 0, 0, 5)), HOST),
        ] {
            let frame = t.arp_frame(broadcast, &ArpPacket::new(ArpOperation::REQUEST, sender, (nobody, target)));
            t.frame(what, &frame);
        }
    }),
    differs(
        "other ARP packets",
        &[Difference(
            "hardware type 6\n< arp reply to 10.0.0.2 02:00:00:00:00:02\n",
            "hardware type 6\n",
            "only Ethernet's hardware type is taken; RFC 1042's was for token rings",
        )],
        |t| {
            let request = ArpPacket::new(ArpOperation::REQUEST, (PEER_MAC, PEER), (MacAddr::ZERO, HOST));
            let frame = t.arp_frame(true, &request);
            for (what, at, value) in [
                ("hardware type 6", 1, 6),
                ("protocol type 0x0801", 3, 1),
                ("hardware length 8", 4, 8),
                ("protocol length 16", 5, 16),
                ("operation 3", 7, 3),
                ("operation 0", 7, 0),
            ] {
                let mut changed = frame.clone();
                changed[IP + at] = value;
                t.frame(what, &changed);
            }
            t.frame("cut", &frame[..frame.len() - 1]);
            t.frame("padded", &[&frame[..], &[0; 18]].concat());
        },
    ),
    case("a reply that nobody asked for does not make a neighbour", |t| {
        let unknown = (OTHER, Ipv4Addr::new(10, 0, 0, 77));
        let reply = ArpPacket::new(ArpOperation::REPLY, unknown, (t.forge.to.mac, HOST));
        let frame = t.arp_frame(false, &reply);
        t.frame("a reply", &frame);
        // An echo request from there would be answered at once if it had.
        let frame = t
            .forge
            .pretending(unknown.1)
            .icmp(wireway_wire::Icmpv4Header::echo(wireway_wire::Icmpv4Type(8), 1, 1), &[]);
        t.frame("an echo request from there", &frame);
    }),
    case("echo requests", |t| {
        for len in [0, 1, 56, 1472] {
            let frame = echo(t, len);
            t.frame(&format!("{len} bytes"), &frame);
        }
        let frame = echo(t, 56);
        with_ip(t, "with DF", &frame, |ip| ip[6] = 0x40);
        with_ip(t, "with the reserved bit", &frame, |ip| ip[6] = 0x80);
        with_ip(t, "type of service 0xb9", &frame, |ip| ip[1] = 0xb9);
        with_ip(t, "time to live 1", &frame, |ip| ip[8] = 1);
        with_ip(t, "time to live 0", &frame, |ip| ip[8] = 0);
        let frame = t.icmp_frame(8, 3, [0, 7, 0, 1], b"code 3");
        t.frame("code 3", &frame);
        let mut frame = echo(t, 56);
        frame[IP + 22] ^= 1;
        t.frame("a wrong checksum", &frame);
        let padded = [&echo(t, 4)[..], &[0xee; 14]].concat();
        t.frame("padded", &padded);
    }),
    differs(
        "echo requests to and from addresses that are no host's",
        &[
            Difference(
                "< icmp 0/0 [0, 7, 0, 1] data 8 as sent; ip 10.0.0.1 > 10.0.0.255 tos 0x0 ttl 64 id len 36\n",
                "",
                "RFC 1122 §3.2.1.3: a source that is a broadcast address is dropped",
            ),
            Difference(
                "in a broadcast frame\n< icmp 0/0 [0, 7, 0, 1] data 8 as sent; ip tos 0x0 ttl 64 id len 36\n",
                "in a broadcast frame\n",
                "RFC 1122 §3.3.6: a unicast packet in a broadcast frame should be dropped",
            ),
        ],
        |t| {
            let frame = echo(t, 8);
            for (what, at, address) in [
                ("to 10.0.0.255", 16, [10, 0, 0, 255]),
                ("to 10.0.0.0", 16, [10, 0, 0, 0]),
                ("to 255.255.255.255", 16, [255; 4]),
                ("to 224.0.0.1", 16, [224, 0, 0, 1]),
                ("to 224.0.0.9", 16, [224, 0, 0, 9]),
                ("to 127.0.0.1", 16, [127, 0, 0, 1]),
                ("to 0.0.0.0", 16, [0; 4]),
                ("to 10.0.0.7", 16, [10, 0, 0, 7]),
                ("from 10.0.0.255", 12, [10, 0, 0, 255]),
                ("from 255.255.255.255", 12, [255; 4]),
                ("from 224.0.0.1", 12, [224, 0, 0, 1]),
                ("from 127.0.0.1", 12, [127, 0, 0, 1]),
                ("from 0.0.0.0", 12, [0; 4]),
                ("from 10.0.0.1", 12, [10, 0, 0, 1]),
            ] {
                with_ip(t, what, &frame, |ip| ip[at..at + 4].copy_from_slice(&address));
            }
            let mut broadcast = frame.clone();
            broadcast[..6].fill(0xff);
            t.frame("in a broadcast frame", &broadcast);
        },
    ),
    differs(
        "other ICMP messages",
        &[Difference(
            "< icmp 14/0 [0, 7, 0, 1] quotes 12 changed; ip tos 0x0 ttl 64 id len 40\n",
            "",
            "RFC 1122 §3.2.2.8: the timestamp is a MAY, and the stack reads no clock",
        )],
        |t| {
            for (kind, code, len) in
                [(0, 0, 8), (10, 0, 0), (13, 0, 12), (15, 0, 0), (17, 0, 4), (30, 0, 8), (42, 0, 8), (4, 0, 28)]
            {
                let frame = t.icmp_frame(kind, code, [0, 7, 0, 1], &vec![0; len]);
                t.frame(&format!("type {kind}"), &frame);
            }
            let whole = echo(t, 0);
            let frame = t.forge.ipv4(Protocol::ICMP, &whole[IP + 20..IP + 24]);
            t.frame("an echo request of 4 bytes", &frame);
        },
    ),
    case("bad IP headers", |t| {
        let frame = echo(t, 8);
        with_ip(t, "version 5", &frame, |ip| ip[0] = 0x55);
        with_ip(t, "a header of 16 bytes", &frame, |ip| ip[0] = 0x44);
        with_ip(t, "a total length of 19", &frame, |ip| ip[3] = 19);
        with_ip(t, "a total length of 20", &frame, |ip| ip[3] = 20);
        with_ip(t, "a total length beyond the frame", &frame, |ip| ip[2] = 1);
        let mut changed = frame.clone();
        changed[IP + 10] ^= 1;
        t.frame("a wrong checksum", &changed);
    }),
    differs(
        "IP options",
        &[
            Difference(
                "< icmp 0/0 [0, 7, 0, 1] data 8 as sent; ip tos 0x0 ttl 64 id len 44 options [7, 7, 8]\n",
                "< icmp 0/0 [0, 7, 0, 1] data 8 as sent; ip tos 0x0 ttl 64 id len 36\n",
                "record route is not filled in (RFC 7126), nor sent back",
            ),
            Difference(
                "< icmp 0/0 [0, 7, 0, 1] data 8 as sent; ip tos 0x0 ttl 64 id len 44 options [44, 8, 9]\n",
                "< icmp 0/0 [0, 7, 0, 1] data 8 as sent; ip tos 0x0 ttl 64 id len 36\n",
                "nor is a timestamp",
            ),
        ],
        |t| {
            with_options(t, "no-operation", &[1, 1, 1, 0]);
            with_options(t, "record route", &[7, 7, 4, 0, 0, 0, 0, 0]);
            with_options(t, "record route, full", &[7, 7, 8, 10, 0, 0, 9, 0]);
            with_options(t, "timestamp", &[68, 8, 5, 0, 0, 0, 0, 0]);
            with_options(t, "loose source route", &[131, 7, 4, 10, 0, 0, 9, 0]);
            with_options(t, "loose source route that has ended", &[131, 7, 8, 10, 0, 0, 9, 0]);
            with_options(t, "router alert", &[148, 4, 0, 0]);
            with_options(t, "unknown", &[222, 4, 1, 2]);
            with_options(t, "a length of 0", &[7, 0, 4, 0]);
            with_options(t, "a length beyond the header", &[7, 9, 4, 0]);
            with_options(t, "record route with a pointer of 3", &[7, 7, 3, 0, 0, 0, 0, 0]);
        },
    ),
    case("protocols that nobody speaks", |t| {
        for len in [0, 8, 1_000] {
            let frame = t.forge.ipv4(Protocol(253), &vec![3; len]);
            t.frame(&format!("{len} bytes"), &frame);
            with_ip(t, "type of service 0xb9", &frame, |ip| ip[1] = 0xb9);
        }
        let frame = t.forge.towards(Ipv4Addr::new(10, 0, 0, 255)).ipv4(Protocol(253), &[3; 8]);
        t.frame("to 10.0.0.255", &frame);
    }),
    case("fragments", |t| {
        fragments(t, 1, 100, &[(0, 56, true), (56, 108, false)]);
        fragments(t, 2, 100, &[(56, 108, false), (0, 56, true)]);
        fragments(t, 3, 100, &[(0, 56, true), (0, 56, true), (56, 108, false)]);
        fragments(t, 4, 100, &[(0, 56, true), (48, 108, false), (56, 108, false)]);
        fragments(t, 5, 100, &[(0, 56, true), (64, 108, false), (56, 64, true)]);
        fragments(t, 7, 100, &[(56, 108, false), (56, 100, false), (0, 56, true)]);
        fragments(t, 8, 100, &[(0, 108, false)]);
        // What is incomplete ends, and its first fragment's sender is told.
        t.wait(Duration::from_secs(2));
        t.wait(Duration::from_secs(2));
    }),
    case("fragments with and without DF, and other types of service", |t| {
        let whole = echo(t, 100);
        for (ident, bits, tos) in [
            (20, (0x40, 0x40), (0, 0)),
            (21, (0x40, 0), (0, 0)),
            (22, (0, 0), (1, 2)),
            (23, (0, 0), (3, 2)),
            (25, (0, 0), (8, 16)),
        ] {
            let first = t.forge.fragment(Protocol::ICMP, ident, &whole[IP + 20..], 0..56, true);
            let last = t.forge.fragment(Protocol::ICMP, ident, &whole[IP + 20..], 56..108, false);
            with_ip(t, &format!("first, flags {:#x} tos {}", bits.0, tos.0), &first, |ip| {
                ip[6] |= bits.0;
                ip[1] = tos.0;
            });
            with_ip(t, &format!("last, flags {:#x} tos {}", bits.1, tos.1), &last, |ip| {
                ip[6] |= bits.1;
                ip[1] = tos.1;
            });
        }
    }),
    case("fragments that never end, with the first", |t| {
        fragments(t, 9, 100, &[(0, 56, true)]);
        t.wait(Duration::from_secs(3));
    }),
    case("fragments that never end, without the first", |t| {
        fragments(t, 10, 100, &[(56, 108, false)]);
        t.wait(Duration::from_secs(3));
    }),
    case("fragments whose length is no multiple of 8", |t| {
        fragments(t, 12, 100, &[(0, 50, true), (56, 108, false)]);
        t.wait(Duration::from_secs(3));
        fragments(t, 13, 100, &[(0, 50, true), (48, 108, false)]);
    }),
    case("a fragment beyond 65,535 bytes", |t| {
        let fields = Ipv4Fields {
            ident: 11,
            fragment_offset: 65_528,
            more_fragments: false,
            ..t.forge.fields(Protocol::ICMP, 100)
        };
        let frame = t.forge.ipv4_with(&fields, &[], &[0; 100]);
        t.frame("a fragment", &frame);
    }),
    case("UDP to a closed port", |t| {
        for len in [0, 10, 1_000] {
            let frame = t.forge.udp(t.ports, &vec![5; len]);
            t.frame(&format!("{len} bytes"), &frame);
            with_ip(t, "type of service 0xb9", &frame, |ip| ip[1] = 0xb9);
        }
        let frame = t.forge.udp(t.ports, b"data");
        let mut changed = frame.clone();
        changed[IP + 26] ^= 1;
        t.frame("a wrong checksum", &changed);
        let mut changed = frame.clone();
        changed[IP + 26..IP + 28].fill(0);
        t.frame("no checksum", &changed);
        for (what, length) in
            [("a length of 7", 7), ("a length of 8", 8), ("a length of 11", 11), ("a length of 13", 13)]
        {
            let mut changed = frame.clone();
            changed[IP + 25] = length;
            repair_transport(&mut changed);
            t.frame(what, &changed);
        }
        for (what, to) in
            [("to 10.0.0.255", [10, 0, 0, 255]), ("to 255.255.255.255", [255; 4]), ("to 224.0.0.1", [224, 0, 0, 1])]
        {
            let mut changed = frame.clone();
            changed[IP + 16..IP + 20].copy_from_slice(&to);
            repair(&mut changed);
            t.frame(what, &changed);
        }
        let frame = t.forge.udp((0, t.ports.1), b"data");
        t.frame("from port 0", &frame);
        let frame = t.forge.udp((t.ports.0, 0), b"data");
        t.frame("to port 0", &frame);
        let frame = t.forge.ipv4(Protocol::UDP, &[1, 2, 3, 4]);
        t.frame("4 bytes", &frame);
        with_options(t, "an echo with options, for comparison", &[1, 1, 1, 0]);
        let fields = t.forge.fields(Protocol::UDP, 12);
        let payload = t.forge.udp_payload(t.ports, b"data");
        let frame = t.forge.ipv4_with(&fields, &[1, 1, 1, 0], &payload);
        t.frame("with options", &frame);
    }),
    case("UDP to a socket", |t| {
        let sock = t.side.bind(false, t.ports.1);
        let frame = t.forge.udp(t.ports, b"data");
        let mut changed: [Vec<u8>; 6] = std::array::from_fn(|_| frame.clone());
        changed[1][IP + 26] ^= 1;
        changed[2][IP + 26..IP + 28].fill(0);
        changed[3][IP + 25] = 10;
        changed[4][IP + 25] = 13;
        changed[5][IP + 25] = 8;
        for i in [3, 4, 5] {
            repair_transport(&mut changed[i]);
        }
        for (what, frame) in
            ["right", "wrong checksum", "no checksum", "length 10", "length 13", "length 8"].iter().zip(changed)
        {
            t.frame(what, &frame);
            let outcome = t.side.recv(sock, 100);
            t.did("recv", outcome);
        }
        let frame = t.forge.udp((0, t.ports.1), b"data");
        t.frame("from port 0", &frame);
        let outcome = t.side.recv(sock, 100);
        t.did("recv", outcome);
    }),
];
