//! Bad input: packets that are cut, lie about their lengths, have bits changed, or are fragments that contradict each other.
//! Nothing panics, nothing is left behind, the host goes on working, and no packet vanishes without being counted.

mod common;

use std::net::Ipv4Addr;
use std::time::Duration;

use common::*;
use wireway_stack::{Counter, Domain, Kind, SocketId, SocketOption};
use wireway_wire::{ArpPacket, EtherType, Icmpv4Type, Ipv4Fields, MacAddr, Protocol, Sum};

/// A small generator of our own, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Good frames, one of each sort.
fn good() -> Vec<Vec<u8>> {
    let data = udp(at(PEER, 1), at(OURS, 2), &[7; 100]);
    let ours = udp(at(OURS, 2), at(PEER, 1), &[7; 100]);
    let error = |kind, code| from_peer(&ip(PEER, OURS, Protocol::ICMP, &icmp(kind, code, [0, 0, 3, 0], &ours)));
    let with_options = |options: &[u8]| {
        let payload = udp_payload(at(PEER, 1), at(OURS, 2), b"options");
        from_peer(&ip_with(fields(PEER, OURS, Protocol::UDP), options, &payload))
    };
    let mut frames = vec![
        arp(MacAddr::BROADCAST, PEER_MAC, &ArpPacket::request(PEER_MAC, PEER, OURS)),
        arp(OUR_MAC, PEER_MAC, &ArpPacket::announcement(PEER_MAC, PEER)),
        from_peer(&data),
        from_peer(&udp(at(PEER, 1), at(OURS, 3), b"nobody")),
        from_peer(&ping(1, 2, &[9; 40])),
        from_peer(&ip(PEER, OURS, Protocol::ICMP, &icmp(Icmpv4Type::ECHO_REPLY, 0, [0; 4], b"reply"))),
        from_peer(&ip(PEER, OURS, Protocol(99), b"raw")),
        from_peer(&ip(PEER, OURS, Protocol(98), b"unknown")),
        frame(MacAddr::BROADCAST, PEER_MAC, EtherType::IPV4, &udp(at(PEER, 1), at(Ipv4Addr::BROADCAST, 2), b"all")),
        error(Icmpv4Type::DESTINATION_UNREACHABLE, 3),
        error(Icmpv4Type::DESTINATION_UNREACHABLE, 4),
        error(Icmpv4Type::TIME_EXCEEDED, 0),
        error(Icmpv4Type::PARAMETER_PROBLEM, 0),
        error(Icmpv4Type::SOURCE_QUENCH, 0),
        error(Icmpv4Type::REDIRECT, 1),
        with_options(&[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        with_options(&[68, 8, 5, 0, 0, 0, 0, 0]),
        with_options(&[131, 7, 4, 10, 0, 0, 3, 0]),
        frame(OUR_MAC, PEER_MAC, EtherType::IPV6, &[0x60; 60]),
    ];
    let long = udp(at(PEER, 1), at(OURS, 2), &[3; 300]);
    frames.extend(fragments(&long, 104).iter().map(|piece| from_peer(piece)));
    frames
}

/// Puts the IP header's checksum right, so that more than the checksum is tested.
fn fix_checksum(frame: &mut [u8]) {
    if frame.get(12..14) != Some(&[8, 0]) {
        return;
    }
    let Some(ip) = frame.get_mut(14..) else { return };
    let len = ip.first().map_or(0, |byte| usize::from(byte & 15) * 4);
    if let Some(header) = ip.get_mut(..len).filter(|header| header.len() >= 20) {
        header[10..12].fill(0);
        let sum = Sum::of(header).finish().to_be_bytes();
        header[10..12].copy_from_slice(&sum);
    }
}

struct Target {
    bench: Bench,
    sockets: Vec<SocketId>,
    frames: u64,
}

impl Target {
    fn new() -> Target {
        let mut bench = Bench::resolved();
        let udp = bench.udp(2);
        bench.host.set_option(bench.now, udp, SocketOption::ReuseAddress(true)).unwrap();
        let connected = bench.host.socket(Domain::Inet6, Kind::Datagram).unwrap();
        bench.host.set_option(bench.now, connected, SocketOption::ReuseAddress(true)).unwrap();
        bench.host.bind(connected, "[::]:2".parse().unwrap()).unwrap();
        bench.host.connect(bench.now, connected, (PEER.to_ipv6_mapped(), 1).into()).unwrap();
        let ping = bench.host.socket(Domain::Inet, Kind::Ping).unwrap();
        let raw = bench.host.socket(Domain::Inet, Kind::Raw(99)).unwrap();
        Target { bench, sockets: vec![udp, connected, ping, raw], frames: 0 }
    }

    /// Everything by which a frame may leave a trace besides a drop.
    fn traces(&self) -> u64 {
        let counters = self.bench.host.counters();
        let consumed = [
            Counter::ArpInRequests,
            Counter::ArpInReplies,
            Counter::IpReasmReqds,
            Counter::IcmpInEchos,
            Counter::IcmpInDestUnreachs,
            Counter::IcmpInTimeExcds,
            Counter::IcmpInParmProbs,
            Counter::UdpInDatagrams,
        ];
        consumed.iter().map(|&counter| counters[counter]).sum()
    }

    #[track_caller]
    fn receive(&mut self, frame: &[u8], about: impl std::fmt::Debug) {
        let before = self.traces() + self.bench.host.counters().dropped();
        self.bench.receive(frame);
        self.frames += 1;
        let mut delivered = 0;
        while self.bench.host.next_event().is_some() {}
        for &id in &self.sockets {
            self.bench.host.take_error(id);
            while self.bench.recv(id).is_ok() {
                delivered += 1;
            }
        }
        let after = self.traces() + self.bench.host.counters().dropped() + delivered;
        assert!(after > before, "{about:?} vanished: {frame:02x?}");
        self.bench.sent();
    }

    /// The host still works, and nothing is left of what came.
    fn finish(mut self) {
        self.bench.run_for(Duration::from_secs(700));
        // Neighbours that hostile ARP packets made are forgotten by then, and half datagrams and path MTUs too.
        assert_eq!(self.bench.host.poll_at(), None);
        assert_eq!(self.bench.host.neighbours().len(), 1);
        let counters = self.bench.host.counters();
        let (asked, done) = (counters[Counter::IpReasmReqds], counters[Counter::IpReasmOks]);
        assert!(asked >= done && counters[Counter::IpInReceives] <= self.frames + counters[Counter::IcmpOutMsgs]);
        let udp = self.sockets[0];
        self.bench.receive(&from_peer(&common::udp(at(PEER, 77), at(OURS, 2), b"still here")));
        assert_eq!(self.bench.recv(udp).unwrap().1, b"still here");
    }
}

#[test]
fn good_frames_are_accounted_for() {
    let mut target = Target::new();
    for (i, frame) in good().iter().enumerate() {
        target.receive(frame, i);
    }
    target.finish();
}

#[test]
fn frames_cut_at_every_length() {
    let mut target = Target::new();
    for (i, frame) in good().iter().enumerate() {
        for len in 0..frame.len() {
            target.receive(&frame[..len], (i, len));
        }
    }
    target.finish();
}

#[test]
fn every_bit_changed_with_and_without_the_right_checksum() {
    let mut target = Target::new();
    for (i, frame) in good().iter().enumerate() {
        for bit in 0..frame.len().min(100) * 8 {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            target.receive(&changed, (i, bit));
            fix_checksum(&mut changed);
            target.receive(&changed, (i, bit, "fixed"));
        }
    }
    target.finish();
}

#[test]
fn lengths_that_lie() {
    let mut target = Target::new();
    for (i, frame) in good().iter().enumerate().filter(|(_, f)| ethertype(f) == EtherType::IPV4) {
        // IP's version and header length, its total length, and where UDP's length is or IP's options are.
        for (at, width) in [(14, 1), (16, 2), (38, 2), (35, 1)] {
            for value in [0u16, 1, 2, 7, 8, 19, 20, 27, 28, 59, 60, 0x40, 0x44, 0x4f, 576, 1500, 0x7fff, 0xffff] {
                let mut changed = frame.clone();
                if changed.len() < at + width {
                    continue;
                }
                changed[at..at + width].copy_from_slice(&value.to_be_bytes()[2 - width..]);
                fix_checksum(&mut changed);
                target.receive(&changed, (i, at, value));
            }
        }
    }
    target.finish();
}

#[test]
fn many_random_changes() {
    let mut target = Target::new();
    let good = good();
    for seed in 0..20_000u64 {
        let mut random = Random(seed);
        let mut frame = good[random.below(good.len())].clone();
        for _ in 0..1 + random.below(6) {
            let at = random.below(frame.len());
            match random.below(4) {
                0 => frame[at] = random.next() as u8,
                1 => frame[at] = [0, 0xff, 0x7f, 0x80, 1][random.below(5)],
                2 if frame.len() > 1 => frame.truncate(at.max(1)),
                _ => frame.extend((0..random.below(20)).map(|i| i as u8)),
            }
        }
        if random.below(4) > 0 {
            fix_checksum(&mut frame);
        }
        target.receive(&frame, seed);
        if seed % 1000 == 0 {
            target.bench.run_for(Duration::from_secs(7));
        }
    }
    target.finish();
}

#[test]
fn fragments_that_contradict_each_other() {
    let mut target = Target::new();
    for seed in 0..5_000u64 {
        let mut random = Random(seed);
        let places = if random.below(9) == 0 { 8192 } else { 6 };
        let fields = Ipv4Fields {
            ident: random.below(20) as u16,
            more_fragments: random.below(4) > 0,
            fragment_offset: (random.below(places) * 8) as u16,
            tos: random.below(4) as u8,
            ..fields(PEER, OURS, [Protocol::UDP, Protocol::ICMP, Protocol(99)][random.below(3)])
        };
        let payload: Vec<u8> = (0..random.below(40)).map(|i| i as u8).collect();
        target.receive(&from_peer(&ip_with(fields, &[], &payload)), seed);
    }
    let counters = target.bench.host.counters();
    assert!(counters[Counter::IpExtReasmOverlaps] > 0 && counters[Counter::IpReasmOks] > 0);
    target.finish();
}
