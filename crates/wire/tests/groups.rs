//! IGMP and MLD.

mod common;

use std::net::{Ipv4Addr, Ipv6Addr};

use common::v6;
use proptest::collection::vec;
use proptest::prelude::*;
use wireway_wire::membership::{decode8, decode16, encode8, encode16};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{
    Icmpv6Type, IgmpHeader, IgmpQuery, IgmpReport, IgmpReportWriter, IgmpType, Ipv4View, Ipv6Chain, Ipv6Header,
    Malformed, MldQuery, MldReport, MldReportWriter, MldV1Message, Protocol, QueryVersion, RecordKind, icmpv6, igmp,
    ipv4_options, ipv6, ipv6_options,
};

fn ip4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn ip6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// Source, destination and the MLD message of a frame, which came with what every one has.
fn mld(frame: &[u8]) -> (Ipv6Addr, Ipv6Addr, &[u8]) {
    let (ip, payload) = Ipv6Header::parse(&frame[14..]).unwrap();
    let chain = Ipv6Chain::parse(ip.next_header, payload).unwrap();
    assert_eq!((ip.hop_limit, chain.protocol), (1, Protocol::ICMPV6));
    // A bridge pads with two bytes of padding, a host by one option of two.
    let made = ipv6_options::router_alert(Protocol::ICMPV6, 0);
    let (header, message) = payload.split_at(chain.len);
    assert!(header == made || header == [&made[..6], &[0, 0]].concat());
    assert_eq!(icmpv6::verify_checksum(ip.src(), ip.dst(), message), Ok(()));
    (ip.src(), ip.dst(), message)
}

/// Destination and the IGMP message of a frame, which came with what every one has.
fn igmp_of(frame: &[u8]) -> (Ipv4Addr, &[u8]) {
    let (ip, message) = Ipv4View::parse(&frame[14..]).unwrap();
    assert_eq!((ip.header.ttl(), ip.header.protocol()), (1, Protocol::IGMP));
    assert_eq!(ip.options, ipv4_options::ROUTER_ALERT);
    assert_eq!(igmp::verify_checksum(message), Ok(()));
    (ip.header.dst(), message)
}

fn mld_records(message: &[u8]) -> Vec<(RecordKind, Ipv6Addr, Vec<Ipv6Addr>)> {
    let report = MldReport::parse(message).unwrap();
    report.records().map(|record| (record.kind, record.group, record.sources.iter().collect())).collect()
}

fn igmp_records(message: &[u8]) -> Vec<(RecordKind, Ipv4Addr, Vec<Ipv4Addr>)> {
    let report = IgmpReport::parse(message).unwrap();
    report.records().map(|record| (record.kind, record.group, record.sources.iter().collect())).collect()
}

#[test]
fn real_mld_reports() {
    let (some, all, source) = (ip6("ff3e::8000:2"), ip6("ff3e::8000:1"), ip6("2001:db8::5"));
    for (frame, first, second) in [
        (v6::mld_report(), RecordKind::ALLOW_NEW_SOURCES, RecordKind::CHANGE_TO_EXCLUDE),
        (v6::mld_report_leave(), RecordKind::BLOCK_OLD_SOURCES, RecordKind::CHANGE_TO_INCLUDE),
    ] {
        let (src, dst, message) = mld(&frame);
        assert_eq!(dst, ipv6::ALL_MLDV2_ROUTERS);
        assert_eq!(mld_records(message), [(first, some, vec![source]), (second, all, vec![])]);
        let mut out = [0xee; 1000];
        let mut writer = MldReportWriter::new(&mut out);
        assert!(writer.record(first, some, &[source]));
        assert!(writer.record(second, all, &[]));
        let len = writer.finish(src, dst).unwrap();
        assert_eq!(out[..len], *message);
    }
    let frame = v6::mld_report_unspecified();
    let (src, _, message) = mld(&frame);
    assert!(src.is_unspecified());
    assert_eq!(mld_records(message), [(RecordKind::CHANGE_TO_EXCLUDE, ip6("ff02::1:ff00:1"), vec![])]);
}

#[test]
fn real_mld_version_1() {
    let group = ip6("ff3e::8000:7");
    let frame = v6::mld_report_v1();
    let (src, dst, message) = mld(&frame);
    assert_eq!(dst, group);
    assert_eq!(MldV1Message::report(src, group).as_bytes(), message);
    let read = MldV1Message::parse(message).unwrap();
    assert_eq!((read.kind(), read.group()), (Icmpv6Type::MLD_REPORT_V1, group));

    let frame = v6::mld_done();
    let (src, dst, message) = mld(&frame);
    assert_eq!(dst, ipv6::ALL_ROUTERS);
    assert_eq!(MldV1Message::done(src, group).as_bytes(), message);
    assert_eq!(MldV1Message::parse(message).map(MldV1Message::kind), Ok(Icmpv6Type::MLD_DONE));
}

#[test]
fn a_real_mld_query() {
    let frame = v6::mld_query();
    let (src, dst, message) = mld(&frame);
    let (query, sources) = MldQuery::parse(message).unwrap();
    let expected = MldQuery {
        version: QueryVersion::V3,
        max_response: 1000,
        group: ip6("ff3e::8000:7"),
        suppress: false,
        robustness: 2,
        interval: 125,
    };
    assert_eq!((query, sources.len()), (expected, 0));
    let mut out = [0xee; 100];
    let len = query.emit(&mut out, &[], src, dst).unwrap();
    assert_eq!(out[..len], *message);
}

#[test]
fn real_igmp_reports() {
    let (some, all, source) = (ip4("232.1.2.4"), ip4("239.1.2.3"), ip4("10.9.0.77"));
    let frame = v6::igmp_report();
    let (dst, message) = igmp_of(&frame);
    assert_eq!(dst, igmp::ALL_IGMPV3_ROUTERS);
    let expected = [(RecordKind::ALLOW_NEW_SOURCES, some, vec![source]), (RecordKind::CHANGE_TO_EXCLUDE, all, vec![])];
    assert_eq!(igmp_records(message), expected);
    let mut out = [0xee; 1000];
    let mut writer = IgmpReportWriter::new(&mut out);
    for (kind, group, sources) in &expected {
        assert!(writer.record(*kind, *group, sources));
    }
    let len = writer.finish().unwrap();
    assert_eq!(out[..len], *message);

    for (frame, kind, to) in [
        (v6::igmp_report_v2(), IgmpType::REPORT_V2, ip4("239.1.2.7")),
        (v6::igmp_leave(), IgmpType::LEAVE, igmp::ALL_ROUTERS),
    ] {
        let (dst, message) = igmp_of(&frame);
        assert_eq!(dst, to);
        assert_eq!(IgmpHeader::new(kind, ip4("239.1.2.7")).as_bytes(), message);
        let (header, rest) = IgmpHeader::parse(message).unwrap();
        assert_eq!((header.kind, header.group(), rest), (kind, ip4("239.1.2.7"), &[][..]));
    }
}

#[test]
fn real_igmp_queries() {
    let general = IgmpQuery {
        version: QueryVersion::V3,
        max_response: 10_000,
        group: Ipv4Addr::UNSPECIFIED,
        suppress: false,
        robustness: 2,
        interval: 125,
    };
    let specific = IgmpQuery { max_response: 1000, group: ip4("239.1.2.7"), ..general };
    for (frame, expected) in [(v6::igmp_query(), general), (v6::igmp_query_group(), specific)] {
        let (dst, message) = igmp_of(&frame);
        assert_eq!(dst, igmp::ALL_HOSTS);
        let (query, sources) = IgmpQuery::parse(message).unwrap();
        assert_eq!((query, sources.is_empty()), (expected, true));
        let mut out = [0xee; 100];
        let len = query.emit(&mut out, &[]).unwrap();
        assert_eq!(out[..len], *message);
    }
}

/// RFC 9776 §7.1, 9777 §8.1: the length, and IGMPv1's code of 0, tell the version.
#[test]
fn versions_of_queries() {
    let igmp_query = |code: u8, len: usize| {
        let mut bytes = [0; 40];
        bytes[..2].copy_from_slice(&[0x11, code]);
        IgmpQuery::parse(&bytes[..len]).map(|(query, _)| (query.version, query.max_response))
    };
    assert_eq!(igmp_query(0, 8), Ok((QueryVersion::V1, 10_000)));
    assert_eq!(igmp_query(200, 8), Ok((QueryVersion::V2, 20_000)));
    assert_eq!(igmp_query(200, 12), Ok((QueryVersion::V3, ((0x10 | 8) << 7) * 100)));
    assert_eq!(igmp_query(0, 40), Ok((QueryVersion::V3, 0)));
    for len in [0, 7, 9, 10, 11] {
        assert_eq!(igmp_query(1, len), Err(Malformed::Truncated), "{len}");
    }
    let mld_query = |code: u16, len: usize| {
        let mut bytes = [0; 40];
        bytes[0] = 130;
        bytes[4..6].copy_from_slice(&code.to_be_bytes());
        MldQuery::parse(&bytes[..len]).map(|(query, _)| (query.version, query.max_response))
    };
    assert_eq!(mld_query(40_000, 24), Ok((QueryVersion::V2, 40_000)));
    assert_eq!(mld_query(40_000, 28), Ok((QueryVersion::V3, (0x1000 | 0xc40) << 4)));
    for len in [0, 23, 25, 26, 27] {
        assert_eq!(mld_query(1, len), Err(Malformed::Truncated), "{len}");
    }
    // What is sent to older hosts.
    let query = MldQuery {
        version: QueryVersion::V2,
        max_response: 100_000,
        group: Ipv6Addr::UNSPECIFIED,
        suppress: true,
        robustness: 2,
        interval: 9,
    };
    let mut out = [0; 100];
    assert_eq!(query.emit(&mut out, &[ip6("::1")], ip6("fe80::1"), ipv6::ALL_NODES), Some(24));
    assert_eq!(out[4..6], [0xff; 2]);
    for (version, code) in [(QueryVersion::V1, 0), (QueryVersion::V2, 255)] {
        let group = ip4("239.0.0.1");
        let query = IgmpQuery { version, max_response: 100_000, group, suppress: true, robustness: 2, interval: 9 };
        assert_eq!(query.emit(&mut out, &[ip4("10.0.0.1")]), Some(8));
        assert_eq!((out[1], igmp::verify_checksum(&out[..8])), (code, Ok(())));
    }
}

#[test]
fn messages_that_lie() {
    // Another type, and a group that is none.
    let frame = v6::mld_report();
    let (_, _, report) = mld(&frame);
    assert_eq!(MldQuery::parse(report).map(|_| ()), Err(Malformed::BadType));
    assert_eq!(MldV1Message::parse(report), Err(Malformed::BadType));
    let frame = v6::mld_query();
    let (_, _, query) = mld(&frame);
    assert_eq!(MldReport::parse(query), Err(Malformed::BadType));
    let mut bad = query.to_vec();
    bad[8] = 0x20;
    assert_eq!(MldQuery::parse(&bad).map(|_| ()), Err(Malformed::BadAddress));
    let host = ip6("fe80::1");
    assert_eq!(MldV1Message::parse(MldV1Message::report(host, host).as_bytes()), Err(Malformed::BadAddress));
    let frame = v6::igmp_query_group();
    let (_, query) = igmp_of(&frame);
    assert_eq!(IgmpReport::parse(query), Err(Malformed::BadType));
    let mut bad = query.to_vec();
    bad[4] = 10;
    assert_eq!(IgmpQuery::parse(&bad).map(|_| ()), Err(Malformed::BadAddress));
    assert_eq!(igmp::verify_checksum(&bad), Err(Malformed::BadChecksum));

    // More records or sources than there are, in every way that a report can be cut.
    for len in 0..report.len() {
        assert_eq!(MldReport::parse(&report[..len]), Err(Malformed::Truncated), "{len}");
    }
    let frame = v6::igmp_report();
    let (_, report) = igmp_of(&frame);
    for len in 0..report.len() {
        assert_eq!(IgmpReport::parse(&report[..len]), Err(Malformed::Truncated), "{len}");
    }
    let with = |at: usize, value: u8| {
        let mut bytes = report.to_vec();
        bytes[at] = value;
        IgmpReport::parse(&bytes).map(|report| report.records().count())
    };
    assert_eq!(with(7, 1), Ok(1)); // what follows is ignored
    assert_eq!(with(7, 3), Err(Malformed::Truncated));
    assert_eq!(with(6, 255), Err(Malformed::Truncated));
    assert_eq!(with(9, 1), Err(Malformed::Truncated)); // auxiliary data
    assert_eq!(with(11, 2), Err(Malformed::Truncated)); // the second source is half of the next record
    assert_eq!(with(10, 255), Err(Malformed::Truncated));
}

#[test]
fn auxiliary_data_are_skipped() {
    let bytes = common::hex(concat!(
        "2200000000000002",
        "01020001e0000101",
        "0a000001",
        "aaaaaaaabbbbbbbb",
        "02000000e0000102",
        "cccc",
    ));
    let expected = [
        (RecordKind::MODE_IS_INCLUDE, ip4("224.0.1.1"), vec![ip4("10.0.0.1")]),
        (RecordKind::MODE_IS_EXCLUDE, ip4("224.0.1.2"), vec![]),
    ];
    assert_eq!(igmp_records(&bytes), expected);
}

#[test]
fn reports_that_have_no_room() {
    let (group, source) = (ip6("ff3e::1"), ip6("2001:db8::1"));
    for len in 0..8 {
        let mut out = vec![0; len];
        let mut writer = MldReportWriter::new(&mut out);
        assert_eq!(writer.room(), None);
        assert!(!writer.record(RecordKind::MODE_IS_EXCLUDE, group, &[]));
        assert_eq!(writer.finish(source, group), None);
    }
    // Room for a record with two sources, and not for half of a third.
    let mut out = vec![0; 8 + 20 + 2 * 16 + 15];
    let mut writer = MldReportWriter::new(&mut out);
    assert_eq!(writer.room(), Some(2));
    assert!(!writer.record(RecordKind::MODE_IS_INCLUDE, group, &[source; 3]));
    assert!(writer.record(RecordKind::MODE_IS_INCLUDE, group, &[source; 2]));
    assert_eq!(writer.room(), None);
    assert!(!writer.record(RecordKind::MODE_IS_EXCLUDE, group, &[]));
    let len = writer.finish(source, group).unwrap();
    assert_eq!(mld_records(&out[..len]), [(RecordKind::MODE_IS_INCLUDE, group, vec![source; 2])]);
    let query = IgmpQuery {
        version: QueryVersion::V3,
        max_response: 100,
        group: ip4("239.0.0.1"),
        suppress: true,
        robustness: 9,
        interval: 1,
    };
    assert_eq!(query.emit(&mut [0; 15], &[ip4("10.0.0.1")]), None);
    let mut out = [0; 16];
    assert_eq!(query.emit(&mut out, &[ip4("10.0.0.1")]), Some(16));
    assert_eq!(out[8], 0x0f);
    assert_eq!(query.emit(&mut vec![0; 300_000], &vec![ip4("10.0.0.1"); 65_536]), None);
}

/// RFC 9776 §4.1.1 and 4.1.7, RFC 9777 §5.1.3 and 5.1.9.
#[test]
fn codes() {
    assert_eq!([0, 127, 128, 129, 0x8f, 0x90, 255].map(decode8), [0, 127, 128, 136, 248, 256, 31_744]);
    assert_eq!([0, 32_767, 32_768, 0x8001, 0xffff].map(decode16), [0, 32_767, 32_768, 32_776, 8_387_584]);
    assert_eq!([0, 127, 135, 136, 31_744, u32::MAX].map(encode8), [0, 127, 128, 129, 255, 255]);
    assert_eq!([32_767, 32_775, 32_776, 8_387_584, u32::MAX].map(encode16), [32_767, 32_768, 0x8001, 0xffff, 0xffff]);
    for code in 0..=255 {
        assert_eq!(encode8(decode8(code)), code);
    }
    for code in 0..=u16::MAX {
        assert_eq!(encode16(decode16(code)), code);
    }
}

prop_compose! {
    fn group4()(bits: u32) -> Ipv4Addr { Ipv4Addr::from_bits(bits >> 4 | 0xe000_0000) }
}
prop_compose! {
    fn group6()(bits: u128) -> Ipv6Addr { Ipv6Addr::from_bits(bits | 0xff << 120) }
}

proptest! {
    #[test]
    fn any_bytes(kind in prop::sample::select(vec![0x11u8, 0x22, 130, 131, 143]), bytes in vec(0u8..4, 0..120)) {
        let message = [&[kind][..], &bytes].concat();
        if let Ok(report) = IgmpReport::parse(&message) {
            prop_assert!(report.records().map(|record| 8 + record.sources.iter().count() * 4).sum::<usize>() <= message.len());
        }
        if let Ok(report) = MldReport::parse(&message) {
            prop_assert!(report.records().map(|record| 20 + record.sources.iter().count() * 16).sum::<usize>() <= message.len());
        }
        if let Ok((_, sources)) = IgmpQuery::parse(&message) {
            prop_assert_eq!(sources.len(), sources.iter().count());
        }
        if let Ok((_, sources)) = MldQuery::parse(&message) {
            prop_assert_eq!(sources.len(), sources.iter().count());
        }
        let _ = MldV1Message::parse(&message);
    }

    #[test]
    fn reports(
        four in vec((1u8..7, group4(), vec(any::<u32>().prop_map(Ipv4Addr::from_bits), 0..5)), 0..6),
        six in vec((1u8..7, group6(), vec(any::<u128>().prop_map(Ipv6Addr::from_bits), 0..5)), 0..6),
    ) {
        let mut out = [0; 2000];
        let mut writer = IgmpReportWriter::new(&mut out);
        for (kind, group, sources) in &four {
            prop_assert!(writer.record(RecordKind(*kind), *group, sources));
        }
        let len = writer.finish().unwrap();
        prop_assert_eq!(igmp::verify_checksum(&out[..len]), Ok(()));
        let four: Vec<_> = four.into_iter().map(|(kind, group, sources)| (RecordKind(kind), group, sources)).collect();
        prop_assert_eq!(igmp_records(&out[..len]), four);

        let (src, dst) = (ip6("fe80::1"), ipv6::ALL_MLDV2_ROUTERS);
        let mut writer = MldReportWriter::new(&mut out);
        for (kind, group, sources) in &six {
            prop_assert!(writer.record(RecordKind(*kind), *group, sources));
        }
        let len = writer.finish(src, dst).unwrap();
        prop_assert_eq!(icmpv6::verify_checksum(src, dst, &out[..len]), Ok(()));
        let six: Vec<_> = six.into_iter().map(|(kind, group, sources)| (RecordKind(kind), group, sources)).collect();
        prop_assert_eq!(mld_records(&out[..len]), six);
    }

    #[test]
    fn queries(
        code8: u8, code16: u16, interval: u8, suppress: bool, robustness in 0u8..8, four in group4(), six in group6(),
        sources4 in vec(any::<u32>().prop_map(Ipv4Addr::from_bits), 0..5),
        sources6 in vec(any::<u128>().prop_map(Ipv6Addr::from_bits), 0..5),
    ) {
        let version = QueryVersion::V3;
        let interval = decode8(interval);
        let mut out = [0; 500];
        let max_response = decode8(code8) * 100;
        let query = IgmpQuery { version, max_response, group: four, suppress, robustness, interval };
        let len = query.emit(&mut out, &sources4).unwrap();
        prop_assert_eq!(igmp::verify_checksum(&out[..len]), Ok(()));
        let (read, sources) = IgmpQuery::parse(&out[..len]).unwrap();
        prop_assert_eq!((read, sources.iter().collect::<Vec<_>>()), (query, sources4));

        let (src, dst) = (ip6("fe80::1"), ipv6::ALL_NODES);
        let query = MldQuery { version, max_response: decode16(code16), group: six, suppress, robustness, interval };
        let len = query.emit(&mut out, &sources6, src, dst).unwrap();
        prop_assert_eq!(icmpv6::verify_checksum(src, dst, &out[..len]), Ok(()));
        let (read, sources) = MldQuery::parse(&out[..len]).unwrap();
        prop_assert_eq!((read, sources.iter().collect::<Vec<_>>()), (query, sources6));
    }

    #[test]
    fn codes_round_down(time in 0u32..10_000_000) {
        let (short, long) = (encode8(time), encode16(time));
        prop_assert!(decode8(short) <= time && decode16(long) <= time);
        prop_assert!(short == u8::MAX || decode8(short + 1) > time);
        prop_assert!(long == u16::MAX || decode16(long + 1) > time);
    }
}
