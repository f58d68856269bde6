//! IGMP: what a host tells of the groups its sockets join, to the byte; queries of every version, and floods of them.

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::*;
use wireway_stack::{Counter, Domain, DropReason, Error, FilterMode, Kind, Membership, SocketId, SocketOption};
use wireway_wire::igmp::{ALL_HOSTS, ALL_IGMPV3_ROUTERS, ALL_ROUTERS, IgmpHeader, IgmpType};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{
    EtherType, EthernetHeader, IgmpQuery, IgmpReport, Ipv4Fields, Ipv4View, MacAddr, Protocol, QueryVersion, RecordKind,
};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const OTHER: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 4);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
const S1: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 1);
const S2: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 2);
const ALERT: [u8; 4] = [148, 4, 0, 0];

fn membership(bench: &Bench, group: Ipv4Addr, source: Option<Ipv4Addr>) -> Membership {
    Membership { group: group.into(), interface: Some(bench.eth0), source: source.map(IpAddr::V4) }
}

fn set(bench: &mut Bench, id: SocketId, option: SocketOption) -> Result<(), Error> {
    bench.host.set_option(bench.now, id, option)
}

#[track_caller]
fn join(bench: &mut Bench, id: SocketId, group: Ipv4Addr, source: Option<Ipv4Addr>) {
    let wanted = membership(bench, group, source);
    set(bench, id, SocketOption::JoinGroup(wanted)).unwrap();
}

#[track_caller]
fn leave(bench: &mut Bench, id: SocketId, group: Ipv4Addr, source: Option<Ipv4Addr>) {
    let left = membership(bench, group, source);
    set(bench, id, SocketOption::LeaveGroup(left)).unwrap();
}

/// One record: what it says, of which group, of which sources.
type Record = (RecordKind, Ipv4Addr, Vec<Ipv4Addr>);

/// An IGMP message that was sent.
#[derive(Debug, PartialEq)]
enum Told {
    V3(Vec<Record>),
    Old(IgmpType, Ipv4Addr),
}

/// The IGMP messages that wait to be transmitted; all that RFC 9776 §4 asks of the packet is checked.
fn told(bench: &mut Bench) -> Vec<Told> {
    let frames = bench.sent();
    frames
        .iter()
        .map(|frame| {
            let (link, packet) = EthernetHeader::parse(frame).unwrap();
            assert_eq!(link.ethertype(), EtherType::IPV4);
            let (ip, message) = Ipv4View::parse(packet).unwrap();
            ip.verify_checksum().unwrap();
            wireway_wire::igmp::verify_checksum(message).unwrap();
            assert_eq!(link.dst, MacAddr::multicast_v4(ip.header.dst()));
            assert_eq!((ip.header.ttl(), ip.header.tos(), ip.options), (1, 0xc0, &ALERT[..]));
            assert_eq!((ip.header.src(), ip.header.protocol()), (OURS, Protocol::IGMP));
            let (header, _) = IgmpHeader::parse(message).unwrap();
            let to = ip.header.dst();
            match header.kind {
                IgmpType::REPORT_V3 => {
                    assert_eq!(to, ALL_IGMPV3_ROUTERS);
                    let report = IgmpReport::parse(message).unwrap();
                    let records = report.records().map(|r| (r.kind, r.group, r.sources.iter().collect()));
                    Told::V3(records.collect())
                }
                IgmpType::LEAVE => {
                    assert_eq!(to, ALL_ROUTERS);
                    Told::Old(header.kind, header.group())
                }
                kind => {
                    assert_eq!(to, header.group());
                    Told::Old(kind, header.group())
                }
            }
        })
        .collect()
}

fn one(kind: RecordKind, group: Ipv4Addr, sources: &[Ipv4Addr]) -> Told {
    Told::V3(vec![(kind, group, sources.to_vec())])
}

fn igmp(dst: Ipv4Addr, options: &[u8], message: &[u8]) -> Vec<u8> {
    let header = Ipv4Fields { ttl: 1, tos: 0xc0, ..fields(ROUTER, dst, Protocol::IGMP) };
    frame(MacAddr::multicast_v4(dst), PEER_MAC, EtherType::IPV4, &ip_with(header, options, message))
}

fn query(version: QueryVersion, group: Ipv4Addr, max_response: u32, sources: &[Ipv4Addr]) -> Vec<u8> {
    let query = IgmpQuery { version, max_response, group, suppress: false, robustness: 2, interval: 125 };
    let mut message = vec![0; 1400];
    let len = query.emit(&mut message, sources).unwrap();
    let dst = if group.is_unspecified() { ALL_HOSTS } else { group };
    igmp(dst, &ALERT, &message[..len])
}

fn report(kind: IgmpType, group: Ipv4Addr) -> Vec<u8> {
    igmp(group, &ALERT, IgmpHeader::new(kind, group).as_bytes())
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn joining_is_told_to_the_byte() {
    let mut bench = Bench::new();
    assert!(bench.sent().is_empty(), "the group of all hosts is never told");
    let id = bench.udp(5000);
    join(&mut bench, id, GROUP, None);
    let frames = bench.sent();
    let expected = [
        &[0x01, 0x00, 0x5e, 0x00, 0x00, 0x16, 2, 0, 0, 0, 0, 1, 0x08, 0x00][..],
        // IPv4 with a router alert: version 4 and 24 bytes, internetwork control, 40 bytes, DF, TTL 1, IGMP.
        &[0x46, 0xc0, 0, 40, 0, 0, 0x40, 0, 1, 2, 0x3a, 0x05, 10, 0, 0, 1, 224, 0, 0, 22, 148, 4, 0, 0],
        // A report of version 3 with one record: change to exclude, no sources.
        &[0x22, 0, 0xe8, 0xf8, 0, 0, 0, 1, 4, 0, 0, 0, 239, 1, 2, 3],
    ];
    let mut expected = expected.concat();
    // The checksums are computed the other way, by the receiver's rule.
    for (frame, place, range) in [(0, 24, 14..38), (0, 40, 38..54)] {
        let sum: u32 = frames[frame][range].chunks(2).map(|b| u32::from(b[0]) << 8 | u32::from(b[1])).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        expected[place..place + 2].copy_from_slice(&frames[frame][place..place + 2]);
    }
    assert_eq!(frames, [expected]);
}

#[test]
fn a_change_is_told_twice() {
    let mut bench = Bench::new();
    let id = bench.udp(5000);
    join(&mut bench, id, GROUP, None);
    let joined = one(RecordKind::CHANGE_TO_EXCLUDE, GROUP, &[]);
    assert_eq!(told(&mut bench), [one(RecordKind::CHANGE_TO_EXCLUDE, GROUP, &[])]);
    bench.run_for(SECOND);
    assert_eq!(told(&mut bench), [joined]);
    bench.run_for(100 * SECOND);
    assert_eq!(told(&mut bench), []);
    leave(&mut bench, id, GROUP, None);
    bench.run_for(SECOND);
    let left = || one(RecordKind::CHANGE_TO_INCLUDE, GROUP, &[]);
    assert_eq!(told(&mut bench), [left(), left()]);
    bench.run_for(100 * SECOND);
    assert_eq!(told(&mut bench), []);
    assert_eq!(bench.host.usage().timers, 0);
}

#[test]
fn sources_are_told_as_they_come_and_go() {
    let mut bench = Bench::new();
    let id = bench.udp(5000);
    join(&mut bench, id, GROUP, Some(S1));
    assert_eq!(told(&mut bench), [one(RecordKind::ALLOW_NEW_SOURCES, GROUP, &[S1])]);
    // What changes meanwhile is told with the repetition.
    join(&mut bench, id, GROUP, Some(S2));
    assert_eq!(told(&mut bench), [one(RecordKind::ALLOW_NEW_SOURCES, GROUP, &[S1, S2])]);
    bench.run_for(SECOND);
    assert_eq!(told(&mut bench), [one(RecordKind::ALLOW_NEW_SOURCES, GROUP, &[S2])]);
    leave(&mut bench, id, GROUP, Some(S1));
    let blocked = || one(RecordKind::BLOCK_OLD_SOURCES, GROUP, &[S1]);
    bench.run_for(SECOND);
    assert_eq!(told(&mut bench), [blocked(), blocked()]);
    // The last of them: the group is left.
    leave(&mut bench, id, GROUP, Some(S2));
    bench.run_for(SECOND);
    let blocked = || one(RecordKind::BLOCK_OLD_SOURCES, GROUP, &[S2]);
    assert_eq!(told(&mut bench), [blocked(), blocked()]);
    let left = membership(&bench, GROUP, None);
    assert_eq!(set(&mut bench, id, SocketOption::LeaveGroup(left)), Err(Error::AddressNotAvailable));
}

/// RFC 9776 §3.2's example, and what a closed socket leaves behind.
#[test]
fn filters_of_sockets_are_merged() {
    let mut bench = Bench::new();
    let addresses: Vec<Ipv4Addr> = (b'a'..=b'g').map(|name| Ipv4Addr::new(10, 0, 1, name)).collect();
    let [a, b, c, d, e, f, g] = addresses[..] else { unreachable!() };
    let lists = [
        (FilterMode::Exclude, vec![a, b, c, d]),
        (FilterMode::Exclude, vec![b, c, d, e]),
        (FilterMode::Include, vec![d, e, f]),
    ];
    let ids: Vec<SocketId> = (0..3).map(|_| bench.udp(0)).collect();
    for (&id, (mode, sources)) in ids.iter().zip(&lists) {
        join(&mut bench, id, GROUP, None);
        let sources: Vec<IpAddr> = sources.iter().copied().map(IpAddr::V4).collect();
        let (now, eth0) = (bench.now, Some(bench.eth0));
        bench.host.set_source_filter(now, id, GROUP.into(), eth0, *mode, &sources).unwrap();
        assert_eq!(bench.host.source_filter(id, GROUP.into(), eth0), Ok((*mode, sources)));
    }
    let heard = |bench: &Bench| {
        let groups = bench.host.groups();
        groups.into_iter().find(|at| at.group == IpAddr::V4(GROUP)).map(|at| (at.mode, at.sources))
    };
    let v4 = |list: &[Ipv4Addr]| list.iter().copied().map(IpAddr::V4).collect::<Vec<_>>();
    assert_eq!(heard(&bench), Some((FilterMode::Exclude, v4(&[b, c]))));
    let _ = bench.sent();
    bench.run_for(SECOND);
    let _ = bench.sent();
    // Without the excluders, what is included is left.
    bench.host.close(bench.now, ids[0]).unwrap();
    bench.host.close(bench.now, ids[1]).unwrap();
    assert_eq!(heard(&bench), Some((FilterMode::Include, v4(&[d, e, f]))));
    let told = told(&mut bench);
    assert_eq!(told.last(), Some(&one(RecordKind::CHANGE_TO_INCLUDE, GROUP, &[d, e, f])));
    bench.host.close(bench.now, ids[2]).unwrap();
    assert_eq!(heard(&bench), None);
    bench.run_for(SECOND);
    assert_eq!(bench.host.usage().timers, 0);
    let _ = g;
}

/// The merged filter is what RFC 9776 §3.2 says, whatever sockets do.
#[test]
fn merging_agrees_with_the_rule() {
    let mut bench = Bench::new();
    let ids: Vec<SocketId> = (0..4).map(|_| bench.udp(0)).collect();
    let mut model: Vec<Option<(FilterMode, Vec<IpAddr>)>> = vec![None; ids.len()];
    let mut random = 1u64;
    let mut next = move |n: u64| {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) % n
    };
    for step in 0..3000 {
        let at = next(4) as usize;
        let (now, eth0) = (bench.now, Some(bench.eth0));
        match (&model[at], next(4)) {
            (None, _) => {
                join(&mut bench, ids[at], GROUP, None);
                model[at] = Some((FilterMode::Exclude, vec![]));
            }
            (Some(_), 0) => {
                leave(&mut bench, ids[at], GROUP, None);
                model[at] = None;
            }
            (Some(_), _) => {
                let mode = if next(2) == 0 { FilterMode::Include } else { FilterMode::Exclude };
                let sources: Vec<IpAddr> =
                    (0..6).filter(|_| next(2) == 0).map(|i| Ipv4Addr::new(10, 0, 2, i).into()).collect();
                bench.host.set_source_filter(now, ids[at], GROUP.into(), eth0, mode, &sources).unwrap();
                let left = mode == FilterMode::Include && sources.is_empty();
                model[at] = (!left).then_some((mode, sources));
            }
        }
        let excluders: Vec<_> = model.iter().flatten().filter(|f| f.0 == FilterMode::Exclude).collect();
        let includers: Vec<_> = model.iter().flatten().filter(|f| f.0 == FilterMode::Include).collect();
        let mut expected: Vec<IpAddr> = (0..6)
            .map(|i| IpAddr::V4(Ipv4Addr::new(10, 0, 2, i)))
            .filter(|s| {
                let included = includers.iter().any(|f| f.1.contains(s));
                if excluders.is_empty() { included } else { excluders.iter().all(|f| f.1.contains(s)) && !included }
            })
            .collect();
        expected.sort();
        let mode = if excluders.is_empty() { FilterMode::Include } else { FilterMode::Exclude };
        let nothing = excluders.is_empty() && expected.is_empty();
        let groups = bench.host.groups();
        let heard = groups.iter().find(|info| info.group == IpAddr::V4(GROUP));
        assert_eq!(heard.map(|h| (h.mode, h.sources.clone())), (!nothing).then_some((mode, expected)), "step {step}");
        if step % 7 == 0 {
            bench.run_for(SECOND);
        }
        let _ = bench.sent();
    }
}

#[test]
fn queries_are_answered_within_their_time() {
    let mut bench = Bench::new();
    let id = bench.udp(5000);
    join(&mut bench, id, GROUP, None);
    join(&mut bench, id, OTHER, Some(S1));
    bench.run_for(SECOND);
    let _ = bench.sent();
    // A general one: all groups in one report, but for that of all hosts.
    bench.receive(&query(QueryVersion::V3, Ipv4Addr::UNSPECIFIED, 10_000, &[]));
    assert_eq!(told(&mut bench), []);
    bench.run_for(10 * SECOND);
    let all =
        Told::V3(vec![(RecordKind::MODE_IS_EXCLUDE, GROUP, vec![]), (RecordKind::MODE_IS_INCLUDE, OTHER, vec![S1])]);
    assert_eq!(told(&mut bench), [all]);
    // For a group; for one that nobody is in.
    bench.receive(&query(QueryVersion::V3, GROUP, 1_000, &[]));
    bench.receive(&query(QueryVersion::V3, Ipv4Addr::new(239, 9, 9, 9), 1_000, &[]));
    bench.run_for(SECOND);
    assert_eq!(told(&mut bench), [one(RecordKind::MODE_IS_EXCLUDE, GROUP, &[])]);
    // For sources: those that are heard.
    bench.receive(&query(QueryVersion::V3, OTHER, 1_000, &[S2]));
    bench.run_for(SECOND);
    assert_eq!(told(&mut bench), []);
    bench.receive(&query(QueryVersion::V3, OTHER, 1_000, &[S2]));
    bench.receive(&query(QueryVersion::V3, OTHER, 1_000, &[S1]));
    bench.run_for(SECOND);
    assert_eq!(told(&mut bench), [one(RecordKind::MODE_IS_INCLUDE, OTHER, &[S1])]);
    bench.receive(&query(QueryVersion::V3, GROUP, 1_000, &[S1, S2]));
    bench.run_for(SECOND);
    assert_eq!(told(&mut bench), [one(RecordKind::MODE_IS_INCLUDE, GROUP, &[S1, S2])]);
    // RFC 9776 §5.2, rule 4: asked for the whole group as well.
    bench.receive(&query(QueryVersion::V3, OTHER, 1_000, &[S1]));
    bench.receive(&query(QueryVersion::V3, OTHER, 1_000, &[]));
    bench.run_for(SECOND);
    assert_eq!(told(&mut bench), [one(RecordKind::MODE_IS_INCLUDE, OTHER, &[S1])]);
    bench.assert_counted(Counter::IgmpInQueries, 8);
}

#[test]
fn answers_are_spread_over_their_time() {
    let mut times = Vec::new();
    let mut bench = Bench::new();
    let id = bench.udp(5000);
    join(&mut bench, id, GROUP, None);
    bench.run_for(SECOND);
    let _ = bench.sent();
    for _ in 0..200 {
        bench.receive(&query(QueryVersion::V3, Ipv4Addr::UNSPECIFIED, 10_000, &[]));
        let asked = bench.now;
        while bench.sent().is_empty() {
            let at = bench.host.poll_at().unwrap();
            bench.now = bench.now.max(at);
            bench.settle();
        }
        times.push(bench.now.since(asked).as_millis());
        bench.run_for(10 * SECOND);
    }
    assert!(times.iter().all(|&t| t <= 10_000));
    for slice in 0..10 {
        let within = times.iter().filter(|&&t| t / 1_000 == slice).count();
        assert!((5..50).contains(&within), "{within} of 200 in second {slice}");
    }
}

#[test]
fn version_2_is_spoken_while_its_querier_is_about() {
    let mut bench = Bench::new();
    let id = bench.udp(5000);
    join(&mut bench, id, GROUP, None);
    bench.run_for(SECOND);
    let _ = bench.sent();
    bench.receive(&query(QueryVersion::V2, Ipv4Addr::UNSPECIFIED, 10_000, &[]));
    bench.run_for(10 * SECOND);
    assert_eq!(told(&mut bench), [Told::Old(IgmpType::REPORT_V2, GROUP)]);
    // A join is told twice, without its sources; a leave once.
    join(&mut bench, id, OTHER, Some(S1));
    bench.run_for(10 * SECOND);
    let joined = || Told::Old(IgmpType::REPORT_V2, OTHER);
    assert_eq!(told(&mut bench), [joined(), joined()]);
    join(&mut bench, id, OTHER, Some(S2));
    bench.run_for(10 * SECOND);
    assert_eq!(told(&mut bench), []);
    leave(&mut bench, id, OTHER, None);
    bench.run_for(10 * SECOND);
    assert_eq!(told(&mut bench), [Told::Old(IgmpType::LEAVE, OTHER)]);
    // RFC 9776 §8.12: 2 * 125 s + 10 s after the last query it is over.
    bench.run_for(221 * SECOND);
    leave(&mut bench, id, GROUP, None);
    bench.run_for(10 * SECOND);
    let left = || one(RecordKind::CHANGE_TO_INCLUDE, GROUP, &[]);
    assert_eq!(told(&mut bench), [left(), left()]);
}

/// A switch that asks on its own behalf has no address (RFC 4541 §2.1.1).
#[test]
fn queries_from_no_address_are_answered() {
    let mut bench = Bench::new();
    let id = bench.udp(5000);
    join(&mut bench, id, GROUP, None);
    bench.run_for(SECOND);
    let _ = bench.sent();
    for group in [Ipv4Addr::UNSPECIFIED, GROUP] {
        let good = query(QueryVersion::V3, group, 100, &[]);
        let message = &good[EthernetHeader::LEN + 24..];
        let dst = if group.is_unspecified() { ALL_HOSTS } else { group };
        let header = Ipv4Fields { ttl: 1, ..fields(Ipv4Addr::UNSPECIFIED, dst, Protocol::IGMP) };
        let packet = ip_with(header, &ALERT, message);
        bench.receive(&frame(MacAddr::multicast_v4(dst), PEER_MAC, EtherType::IPV4, &packet));
        bench.run_for(SECOND);
        assert_eq!(told(&mut bench), [one(RecordKind::MODE_IS_EXCLUDE, GROUP, &[])]);
    }
    // No datagram is taken so, but on the link.
    let datagram = udp(at(Ipv4Addr::UNSPECIFIED, 9), at(GROUP, 5000), b"data");
    bench.receive(&frame(MacAddr::multicast_v4(GROUP), PEER_MAC, EtherType::IPV4, &datagram));
    bench.assert_dropped(DropReason::IpMulticast, 1);
}

#[test]
fn version_1_has_no_leaves() {
    let mut bench = Bench::new();
    let id = bench.udp(5000);
    // A query of version 1 has no router alert.
    bench.receive(&igmp(ALL_HOSTS, &[], &[0x11, 0, 0xee, 0xff, 0, 0, 0, 0]));
    join(&mut bench, id, GROUP, None);
    assert_eq!(told(&mut bench), [Told::Old(IgmpType::REPORT_V1, GROUP)]);
    leave(&mut bench, id, GROUP, None);
    bench.run_for(20 * SECOND);
    assert_eq!(told(&mut bench), []);
}

#[test]
fn another_hosts_report_is_enough_in_version_2_only() {
    let mut bench = Bench::new();
    let id = bench.udp(5000);
    join(&mut bench, id, GROUP, None);
    bench.run_for(SECOND);
    let _ = bench.sent();
    bench.receive(&query(QueryVersion::V3, GROUP, 10_000, &[]));
    bench.receive(&report(IgmpType::REPORT_V2, GROUP));
    bench.run_for(10 * SECOND);
    assert_eq!(told(&mut bench), [one(RecordKind::MODE_IS_EXCLUDE, GROUP, &[])]);
    bench.receive(&query(QueryVersion::V2, Ipv4Addr::UNSPECIFIED, 10_000, &[]));
    bench.receive(&report(IgmpType::REPORT_V2, GROUP));
    bench.run_for(10 * SECOND);
    assert_eq!(told(&mut bench), []);
    // The other host was the last to tell: it is for it to tell that it leaves.
    leave(&mut bench, id, GROUP, None);
    bench.run_for(10 * SECOND);
    assert_eq!(told(&mut bench), []);
}

#[test]
fn what_is_no_proper_message_is_dropped() {
    let mut bench = Bench::new();
    let id = bench.udp(5000);
    join(&mut bench, id, GROUP, None);
    bench.run_for(SECOND);
    let _ = bench.sent();
    let good = query(QueryVersion::V3, Ipv4Addr::UNSPECIFIED, 100, &[S1]);
    let message = &good[EthernetHeader::LEN + 24..];
    // Without a router alert (RFC 9776 §9.1).
    bench.receive(&igmp(ALL_HOSTS, &[], message));
    bench.assert_dropped(DropReason::IgmpIgnored, 1);
    // From beyond the link, in each version (§4).
    for (version, options) in [(QueryVersion::V3, &ALERT[..]), (QueryVersion::V2, &ALERT), (QueryVersion::V1, &[])] {
        let message = query(version, Ipv4Addr::UNSPECIFIED, 100, &[]);
        let message = &message[message.len() - if version == QueryVersion::V3 { 12 } else { 8 }..];
        let header = Ipv4Fields { ttl: 2, tos: 0xc0, ..fields(ROUTER, ALL_HOSTS, Protocol::IGMP) };
        let packet = ip_with(header, options, message);
        bench.receive(&frame(MacAddr::multicast_v4(ALL_HOSTS), PEER_MAC, EtherType::IPV4, &packet));
    }
    bench.assert_dropped(DropReason::IgmpIgnored, 4);
    // A checksum that is wrong.
    let mut bad = message.to_vec();
    bad[7] ^= 1;
    bench.receive(&igmp(ALL_HOSTS, &ALERT, &bad));
    bench.assert_dropped(DropReason::IgmpChecksum, 1);
    // A count that lies, with a checksum that is right.
    let mut bad = message.to_vec();
    bad[10] = 0xff;
    let sum = wireway_wire::Sum::of(&{
        bad[2] = 0;
        bad[3] = 0;
        bad.clone()
    });
    bad[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    bench.receive(&igmp(ALL_HOSTS, &ALERT, &bad));
    bench.assert_dropped(DropReason::IgmpMalformed, 1);
    // Lengths between the versions', and none.
    for len in [0, 1, 7, 9, 11] {
        bench.receive(&igmp(ALL_HOSTS, &ALERT, &message[..len.min(message.len())]));
    }
    bench.run_for(10 * SECOND);
    assert_eq!(told(&mut bench), []);
    bench.assert_counted(Counter::IgmpInErrors, 7);
}

#[test]
fn a_flood_of_queries_makes_few_answers() {
    let mut bench = Bench::new();
    let id = bench.udp(5000);
    let groups: Vec<Ipv4Addr> = (0..20).map(|i| Ipv4Addr::new(239, 5, 0, i)).collect();
    for &group in &groups {
        join(&mut bench, id, group, None);
    }
    bench.run_for(SECOND);
    let _ = bench.sent();
    // 20,000 in two seconds, each to be answered at once.
    let general = query(QueryVersion::V3, Ipv4Addr::UNSPECIFIED, 0, &[]);
    let sources: Vec<Ipv4Addr> = (0..300u32).map(Ipv4Addr::from_bits).collect();
    let specific = query(QueryVersion::V3, groups[0], 0, &sources);
    for _ in 0..10_000 {
        bench.receive(&general);
        bench.receive(&specific);
        bench.run_for(Duration::from_micros(200));
    }
    let answers = told(&mut bench).len();
    assert!((10..100).contains(&answers), "{answers} answers in 2 s");
    // The older versions': each group at most so often.
    let old = query(QueryVersion::V2, Ipv4Addr::UNSPECIFIED, 100, &[]);
    for _ in 0..10_000 {
        bench.receive(&old);
        bench.run_for(Duration::from_micros(200));
    }
    let answers = told(&mut bench).len();
    assert!((100..20 * 40).contains(&answers), "{answers} answers in 2 s");
    assert!(bench.host.usage().timers <= 30);
}

/// A report has to fit the MTU: a socket in 20 groups with 10 sources each makes 1,000 bytes of them.
#[test]
fn long_reports_are_split() {
    let mut bench = Bench::with(Default::default(), |config| config.mtu = 200);
    let id = bench.udp(5000);
    let groups: Vec<Ipv4Addr> = (0..20).map(|i| Ipv4Addr::new(239, 5, 0, i)).collect();
    for &group in &groups {
        for source in 0..10 {
            join(&mut bench, id, group, Some(Ipv4Addr::new(10, 3, 0, source)));
        }
    }
    bench.run_for(SECOND);
    let _ = bench.sent();
    bench.receive(&query(QueryVersion::V3, Ipv4Addr::UNSPECIFIED, 100, &[]));
    bench.run_for(SECOND);
    let mut records = Vec::new();
    for message in told(&mut bench) {
        let Told::V3(some) = message else { panic!("{message:?}") };
        let bytes = 24 + 8 + some.iter().map(|(_, _, sources)| 8 + 4 * sources.len()).sum::<usize>();
        assert!(bytes <= 200, "{bytes} bytes");
        records.extend(some);
    }
    assert_eq!(records.len(), 20);
    assert!(records.iter().all(|(kind, _, sources)| *kind == RecordKind::MODE_IS_INCLUDE && sources.len() == 10));
}

#[test]
fn an_interface_without_an_address_tells_from_none() {
    let mut bench = Bench::with(Default::default(), |config| config.addresses.clear());
    let id = bench.host.socket(Domain::Inet, Kind::Datagram).unwrap();
    bench.host.bind(id, SocketAddr::from(([0; 4], 5000))).unwrap();
    join(&mut bench, id, GROUP, None);
    let frames = bench.sent();
    let (ip, _) = Ipv4View::parse(&frames[0][EthernetHeader::LEN..]).unwrap();
    assert_eq!(ip.header.src(), Ipv4Addr::UNSPECIFIED);
}
