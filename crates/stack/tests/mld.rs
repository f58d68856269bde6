//! MLD: what a host tells of the IPv6 groups its sockets join; queries of both versions.

mod common;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use common::*;
use wireway_stack::{Cidr, Counter, Domain, DropReason, Error, Kind, Membership, SocketId, SocketOption};
use wireway_wire::ipv6::{ALL_MLDV2_ROUTERS, ALL_NODES, ALL_ROUTERS};
use wireway_wire::ipv6_options::router_alert;
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{
    EtherType, EthernetHeader, Icmpv6Header, Icmpv6Type, Ipv6Fields, Ipv6Header, MacAddr, MldQuery, MldReport,
    MldV1Message, Protocol, QueryVersion, RecordKind,
};

const GROUP: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 3);
const SSM: Ipv6Addr = Ipv6Addr::new(0xff35, 0, 0, 0, 0, 0, 0x8000, 1);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfe);
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const S1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const S2: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const SECOND: Duration = Duration::from_secs(1);

/// A host with a link-local address, and a socket of IPv6, when all that an address makes be told is told.
fn bench() -> (Bench, SocketId) {
    let mut bench = Bench::with(Default::default(), |config| {
        config.addresses.push(Cidr { address: LINK_LOCAL.into(), prefix_len: 64 });
    });
    let id = bench.host.socket(Domain::Inet6, Kind::Datagram).unwrap();
    bench.host.bind(id, "[::]:5000".parse().unwrap()).unwrap();
    bench.run_for(10 * SECOND);
    let _ = bench.sent();
    (bench, id)
}

fn membership(bench: &Bench, group: Ipv6Addr, source: Option<Ipv6Addr>) -> Membership {
    Membership { group: group.into(), interface: Some(bench.eth0), source: source.map(IpAddr::V6) }
}

#[track_caller]
fn join(bench: &mut Bench, id: SocketId, group: Ipv6Addr, source: Option<Ipv6Addr>) {
    let wanted = membership(bench, group, source);
    bench.host.set_option(bench.now, id, SocketOption::JoinGroup(wanted)).unwrap();
}

#[track_caller]
fn leave(bench: &mut Bench, id: SocketId, group: Ipv6Addr, source: Option<Ipv6Addr>) {
    let left = membership(bench, group, source);
    bench.host.set_option(bench.now, id, SocketOption::LeaveGroup(left)).unwrap();
}

type Record = (RecordKind, Ipv6Addr, Vec<Ipv6Addr>);

#[derive(Debug, PartialEq)]
enum Told {
    V2(Vec<Record>),
    Old(Icmpv6Type, Ipv6Addr),
}

/// The MLD messages among what waits to be transmitted; all that RFC 9777 §5 asks of the packet is checked. Groups by which addresses
/// are asked for (ff02::1:ff00:0/104) are left out.
fn told(bench: &mut Bench, source: Ipv6Addr) -> Vec<Told> {
    let frames = bench.sent();
    let mut all = Vec::new();
    for frame in &frames {
        let (link, packet) = EthernetHeader::parse(frame).unwrap();
        assert_eq!(link.ethertype(), EtherType::IPV6);
        let (ip, rest) = Ipv6Header::parse(packet).unwrap();
        if ip.next_header != Protocol::HOP_BY_HOP {
            continue;
        }
        assert_eq!(link.dst, MacAddr::multicast_v6(ip.dst()));
        assert_eq!((ip.hop_limit, ip.src()), (1, source));
        let (options, message) = rest.split_at(8);
        assert_eq!(options, [58, 0, 5, 2, 0, 0, 1, 0]);
        let mut sum = ip.pseudo(Protocol::ICMPV6, message.len() as u32);
        sum.add_bytes(message);
        assert!(sum.is_valid());
        let (header, _) = Icmpv6Header::parse(message).unwrap();
        if header.kind == Icmpv6Type::MLD_REPORT_V2 {
            assert_eq!(ip.dst(), ALL_MLDV2_ROUTERS);
            let records = MldReport::parse(message).unwrap();
            let records = records.records().map(|r| (r.kind, r.group, r.sources.iter().collect()));
            let records: Vec<Record> = records.filter(|(_, group, _): &Record| !is_solicited(*group)).collect();
            if !records.is_empty() {
                all.push(Told::V2(records));
            }
            continue;
        }
        let old = MldV1Message::parse(message).unwrap();
        let to = if old.kind() == Icmpv6Type::MLD_DONE { ALL_ROUTERS } else { old.group() };
        assert_eq!(ip.dst(), to);
        if !is_solicited(old.group()) {
            all.push(Told::Old(old.kind(), old.group()));
        }
    }
    all
}

fn is_solicited(group: Ipv6Addr) -> bool {
    group.to_bits() >> 24 == 0x00ff_0200_0000_0000_0000_0000_01ff
}

fn one(kind: RecordKind, group: Ipv6Addr, sources: &[Ipv6Addr]) -> Told {
    Told::V2(vec![(kind, group, sources.to_vec())])
}

fn mld(src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8, alert: u16, message: &[u8]) -> Vec<u8> {
    let payload = [&router_alert(Protocol::ICMPV6, alert)[..], message].concat();
    let fields = Ipv6Fields {
        traffic_class: 0,
        flow_label: 0,
        payload_len: payload.len() as u16,
        next_header: Protocol::HOP_BY_HOP,
        hop_limit,
        src,
        dst,
    };
    let packet = [Ipv6Header::new(&fields).as_bytes(), &payload].concat();
    frame(MacAddr::multicast_v6(dst), PEER_MAC, EtherType::IPV6, &packet)
}

fn query_message(src: Ipv6Addr, version: QueryVersion, group: Ipv6Addr, sources: &[Ipv6Addr]) -> (Ipv6Addr, Vec<u8>) {
    let query = MldQuery { version, max_response: 1_000, group, suppress: false, robustness: 2, interval: 125 };
    let mut message = vec![0; 1400];
    let dst = if group.is_unspecified() { ALL_NODES } else { group };
    let len = query.emit(&mut message, sources, src, dst).unwrap();
    message.truncate(len);
    (dst, message)
}

fn query(version: QueryVersion, group: Ipv6Addr, sources: &[Ipv6Addr]) -> Vec<u8> {
    let (dst, message) = query_message(ROUTER, version, group, sources);
    mld(ROUTER, dst, 1, 0, &message)
}

#[test]
fn joining_and_leaving_are_told_twice() {
    let (mut bench, id) = bench();
    join(&mut bench, id, GROUP, None);
    bench.run_for(SECOND);
    let joined = || one(RecordKind::CHANGE_TO_EXCLUDE, GROUP, &[]);
    assert_eq!(told(&mut bench, LINK_LOCAL), [joined(), joined()]);
    join(&mut bench, id, SSM, Some(S1));
    bench.run_for(SECOND);
    let allowed = || one(RecordKind::ALLOW_NEW_SOURCES, SSM, &[S1]);
    assert_eq!(told(&mut bench, LINK_LOCAL), [allowed(), allowed()]);
    leave(&mut bench, id, SSM, Some(S1));
    leave(&mut bench, id, GROUP, None);
    bench.run_for(SECOND);
    let told = told(&mut bench, LINK_LOCAL);
    let count = |wanted: Told| told.iter().filter(|&t| *t == wanted).count();
    assert_eq!(count(one(RecordKind::BLOCK_OLD_SOURCES, SSM, &[S1])), 2, "{told:?}");
    assert_eq!(count(one(RecordKind::CHANGE_TO_INCLUDE, GROUP, &[])), 2, "{told:?}");
    assert_eq!(told.len(), 4);
}

/// RFC 9777 §6: nothing is told of all nodes, nor of groups that do not leave the host.
#[test]
fn what_stays_on_the_host_is_not_told() {
    let (mut bench, id) = bench();
    for group in [ALL_NODES, "ff01::5".parse().unwrap(), "ff00::5".parse().unwrap()] {
        join(&mut bench, id, group, None);
        leave(&mut bench, id, group, None);
    }
    bench.run_for(10 * SECOND);
    assert_eq!(told(&mut bench, LINK_LOCAL), []);
    // And what is on `lo` has nobody to tell.
    let wanted =
        Membership { group: GROUP.into(), interface: Some(wireway_stack::InterfaceId::LOOPBACK), source: None };
    bench.host.set_option(bench.now, id, SocketOption::JoinGroup(wanted)).unwrap();
    bench.run_for(10 * SECOND);
    assert_eq!(told(&mut bench, LINK_LOCAL), []);
}

#[test]
fn without_a_link_local_address_it_is_told_from_none() {
    let mut bench = Bench::new();
    let id = bench.host.socket(Domain::Inet6, Kind::Datagram).unwrap();
    join(&mut bench, id, GROUP, None);
    bench.settle();
    assert_eq!(told(&mut bench, Ipv6Addr::UNSPECIFIED), [one(RecordKind::CHANGE_TO_EXCLUDE, GROUP, &[])]);
}

#[test]
fn queries_are_answered() {
    let (mut bench, id) = bench();
    join(&mut bench, id, GROUP, None);
    join(&mut bench, id, SSM, Some(S1));
    bench.run_for(SECOND);
    let _ = bench.sent();
    bench.receive(&query(QueryVersion::V3, Ipv6Addr::UNSPECIFIED, &[]));
    bench.run_for(SECOND);
    let all =
        Told::V2(vec![(RecordKind::MODE_IS_EXCLUDE, GROUP, vec![]), (RecordKind::MODE_IS_INCLUDE, SSM, vec![S1])]);
    assert_eq!(told(&mut bench, LINK_LOCAL), [all]);
    // Sent to the group, by one who is not among its sources.
    bench.receive(&query(QueryVersion::V3, SSM, &[S1, S2]));
    bench.run_for(SECOND);
    assert_eq!(told(&mut bench, LINK_LOCAL), [one(RecordKind::MODE_IS_INCLUDE, SSM, &[S1])]);
    bench.assert_counted(Counter::Icmp6InGroupMembQueries, 2);
}

#[test]
fn version_1_is_spoken_while_its_querier_is_about() {
    let (mut bench, id) = bench();
    join(&mut bench, id, GROUP, None);
    bench.run_for(SECOND);
    let _ = bench.sent();
    bench.receive(&query(QueryVersion::V2, Ipv6Addr::UNSPECIFIED, &[]));
    bench.run_for(SECOND);
    assert_eq!(told(&mut bench, LINK_LOCAL), [Told::Old(Icmpv6Type::MLD_REPORT_V1, GROUP)]);
    // Another's report is enough, and then it is not for us to tell that we leave.
    bench.receive(&query(QueryVersion::V2, GROUP, &[]));
    let report = MldV1Message::report(ROUTER, GROUP);
    bench.receive(&mld(ROUTER, GROUP, 1, 0, report.as_bytes()));
    bench.run_for(SECOND);
    leave(&mut bench, id, GROUP, None);
    assert_eq!(told(&mut bench, LINK_LOCAL), []);
    join(&mut bench, id, SSM, Some(S1));
    bench.run_for(10 * SECOND);
    leave(&mut bench, id, SSM, None);
    let joined = || Told::Old(Icmpv6Type::MLD_REPORT_V1, SSM);
    assert_eq!(told(&mut bench, LINK_LOCAL), [joined(), joined(), Told::Old(Icmpv6Type::MLD_DONE, SSM)]);
}

/// RFC 9777 §6.2.
#[test]
fn queries_that_are_not_of_the_link_are_dropped() {
    let (mut bench, id) = bench();
    join(&mut bench, id, GROUP, None);
    bench.run_for(SECOND);
    let _ = bench.sent();
    let (dst, message) = query_message(ROUTER, QueryVersion::V3, Ipv6Addr::UNSPECIFIED, &[]);
    bench.receive(&mld(ROUTER, dst, 2, 0, &message));
    bench.receive(&mld(ROUTER, dst, 1, 1, &message));
    let (_, global) = query_message(S1, QueryVersion::V3, Ipv6Addr::UNSPECIFIED, &[]);
    bench.receive(&mld(S1, dst, 1, 0, &global));
    bench.assert_dropped(DropReason::IcmpIgnored, 3);
    // Cut, with a checksum that is right.
    let mut cut = message[..27].to_vec();
    cut[2..4].fill(0);
    let mut sum = wireway_wire::Sum::pseudo_v6(ROUTER, dst, Protocol::ICMPV6, 27);
    sum.add_bytes(&cut);
    cut[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    bench.receive(&mld(ROUTER, dst, 1, 0, &cut));
    bench.assert_dropped(DropReason::IcmpMalformed, 1);
    bench.run_for(10 * SECOND);
    assert_eq!(told(&mut bench, LINK_LOCAL), []);
}

#[test]
fn errors_are_linuxs() {
    let (mut bench, id) = bench();
    let any = Membership { group: GROUP.into(), interface: None, source: None };
    let set = |bench: &mut Bench, option| bench.host.set_option(bench.now, id, option);
    let no_group = Membership { group: S1.into(), ..any };
    assert_eq!(set(&mut bench, SocketOption::JoinGroup(no_group)), Err(Error::InvalidArgument));
    assert_eq!(set(&mut bench, SocketOption::LeaveGroup(any)), Err(Error::AddressNotAvailable));
    assert_eq!(set(&mut bench, SocketOption::JoinGroup(any)), Ok(()));
    assert_eq!(set(&mut bench, SocketOption::JoinGroup(any)), Err(Error::AddressInUse));
    let nowhere = Membership { interface: Some(wireway_stack::InterfaceId(9)), ..any };
    assert_eq!(set(&mut bench, SocketOption::JoinGroup(nowhere)), Err(Error::NoDevice));
    let source = Membership { source: Some(S1.into()), ..any };
    assert_eq!(set(&mut bench, SocketOption::UnblockSource(source)), Err(Error::AddressNotAvailable));
    assert_eq!(set(&mut bench, SocketOption::BlockSource(source)), Ok(()));
    assert_eq!(set(&mut bench, SocketOption::BlockSource(source)), Err(Error::AddressNotAvailable));
    assert_eq!(set(&mut bench, SocketOption::JoinGroup(source)), Err(Error::InvalidArgument));
    let sources: Vec<IpAddr> = (0..65u16).map(|i| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, i).into()).collect();
    let mode = wireway_stack::FilterMode::Exclude;
    let (now, eth0) = (bench.now, Some(bench.eth0));
    let filter =
        |bench: &mut Bench, n: usize| bench.host.set_source_filter(now, id, GROUP.into(), eth0, mode, &sources[..n]);
    assert_eq!(filter(&mut bench, 65), Err(Error::NoBuffers));
    assert_eq!(filter(&mut bench, 64), Ok(()));
    assert_eq!(set(&mut bench, SocketOption::LeaveGroup(any)), Ok(()));
    assert_eq!(filter(&mut bench, 1), Err(Error::InvalidArgument));
}
