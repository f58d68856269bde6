//! IPv6 and ICMPv6: headers, extension headers, fragments, errors out and in, and UDP over it.

mod common;

use std::net::Ipv6Addr;
use std::time::Duration;

use common::v6::*;
use common::*;
use wireway_stack::{Counter, Domain, DropReason, Error, Kind, MtuDiscover, Settings, SocketOption};
use wireway_wire::icmpv6::{parameter_problem, time_exceeded, unreachable};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{FragmentHeader, Icmpv6Header, Icmpv6Type, Ipv6Chain, Ipv6Header, Protocol};

const ECHO: Icmpv6Type = Icmpv6Type::ECHO_REQUEST;

fn ping6(data: &[u8]) -> Vec<u8> {
    icmp6(PEER6, OURS6, ECHO, 0, [0, 1, 0, 2], data)
}

/// An extension header of eight bytes: `next`, and six bytes of options.
fn options(next: Protocol, bytes: [u8; 6]) -> Vec<u8> {
    [&[next.0, 0][..], &bytes].concat()
}

const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];

/// The parameter problem that the host sends about a packet.
fn problem_of(packet: &[u8]) -> Option<(u8, u32)> {
    let mut bench = Bench::v6();
    bench.receive6(packet);
    let (to, _, header, quoted) = bench.sent_icmp6()?;
    assert_eq!((to, header.kind), (PEER6, Icmpv6Type::PARAMETER_PROBLEM));
    assert_eq!(quoted, packet);
    Some((header.code, header.pointer()))
}

#[test]
fn an_echo_request_is_answered_whatever_its_length() {
    let mut bench = Bench::v6();
    for len in [0, 1, 56, 1444, 1452] {
        let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
        bench.receive6(&ping6(&data));
        let (to, from, header, back) = bench.sent_icmp6().unwrap();
        assert_eq!((to, from, header.kind, back), (PEER6, OURS6, Icmpv6Type::ECHO_REPLY, data));
        assert_eq!((header.ident(), header.sequence()), (1, 2));
    }
    // To a group the answer comes from an address of ours.
    bench.receive6(&icmp6(PEER6, wireway_wire::ipv6::ALL_NODES, ECHO, 0, [0; 4], b"all"));
    let (to, from, header, _) = bench.sent_icmp6().unwrap();
    assert_eq!((to, from, header.kind), (PEER6, OURS6, Icmpv6Type::ECHO_REPLY));
}

#[test]
fn bad_headers_and_addresses_are_dropped_each_under_its_name() {
    let mut bench = Bench::v6();
    let mut version = ping6(b"");
    version[0] = 0x45;
    bench.receive(&frame(OUR_MAC, PEER_MAC, wireway_wire::EtherType::IPV6, &version));
    bench.assert_dropped(DropReason::IpHeader, 1);
    let long = ping6(b"abc");
    bench.receive(&frame(OUR_MAC, PEER_MAC, wireway_wire::EtherType::IPV6, &long[..long.len() - 1]));
    bench.assert_dropped(DropReason::PacketTooSmall, 1);
    let cases = [
        ("::1", OURS6, DropReason::IpLocalNet),
        ("ff02::5", OURS6, DropReason::IpInvalidSource),
        ("::ffff:10.0.0.1", OURS6, DropReason::IpInvalidSource),
        ("fd00::1", OURS6, DropReason::IpLocalSource),
        ("fd00::2", "fd00::77".parse().unwrap(), DropReason::IpInAddressErrors),
        ("fd00::2", "ff02::77".parse().unwrap(), DropReason::IpMulticast),
        ("fd00::2", "ff01::1".parse().unwrap(), DropReason::IpInvalidDestination),
        ("fd00::2", Ipv6Addr::UNSPECIFIED, DropReason::IpInvalidDestination),
    ];
    for (from, to, reason) in cases {
        let before = bench.host.counters()[reason];
        bench.receive6_by(OUR_MAC, &icmp6(from.parse().unwrap(), to, ECHO, 0, [0; 4], b""));
        bench.assert_dropped(reason, before + 1);
    }
    assert!(bench.sent6().is_empty());
    let mut checksum = ping6(b"data");
    checksum[50] ^= 1;
    bench.receive6(&checksum);
    bench.assert_dropped(DropReason::IcmpChecksum, 1);
    // What stands behind the payload is the frame's.
    let padded = [ping6(b""), vec![9; 30]].concat();
    bench.receive6_by(OUR_MAC, &padded);
    assert!(bench.sent_icmp6().unwrap().3.is_empty());
}

#[test]
fn extension_headers_are_walked_over() {
    let mut bench = Bench::v6();
    let id = bench.udp6(7);
    let data = datagram(b"behind");
    let routing = vec![Protocol::FRAGMENT.0, 0, 0, 0, 0, 0, 0, 0];
    let atomic = FragmentHeader::new(Protocol::UDP, 0, false, 9);
    let chain = [
        options(Protocol::DESTINATION_OPTIONS, [5, 2, 0, 0, 1, 0]),
        options(Protocol::ROUTING, [0x1e, 4, 1, 2, 3, 4]),
        routing,
        atomic.as_bytes().to_vec(),
        data,
    ];
    bench.receive6(&ip6(PEER6, OURS6, Protocol::HOP_BY_HOP, &chain.concat()));
    let (info, payload) = bench.recv(id).unwrap();
    assert_eq!((info.source, &payload[..]), (at6(PEER6, 5), &b"behind"[..]));
    // Nothing follows: nothing is said.
    bench.receive6(&ip6(PEER6, OURS6, Protocol::NO_NEXT_HEADER, b"x"));
    bench.assert_dropped(DropReason::IpNoProtocol, 1);
    assert!(bench.sent6().is_empty());
}

#[test]
fn what_is_wrong_with_extension_headers_is_told_with_its_place() {
    let udp = datagram(b"x");
    let to_us = |next, payload: &[u8]| ip6(PEER6, OURS6, next, payload);
    // A protocol that nobody takes, with and without a header before it (RFC 4443 §3.4).
    assert_eq!(problem_of(&to_us(Protocol(200), b"data")), Some((1, 6)));
    let behind = [options(Protocol(200), PADDING), b"data".to_vec()].concat();
    assert_eq!(problem_of(&to_us(Protocol::DESTINATION_OPTIONS, &behind)), Some((1, 40)));
    // Hop-by-hop options anywhere but at the front.
    let late = [options(Protocol::HOP_BY_HOP, PADDING), options(Protocol::UDP, PADDING), udp.clone()].concat();
    assert_eq!(problem_of(&to_us(Protocol::DESTINATION_OPTIONS, &late)), Some((1, 40)));
    // A route that goes on, of any type (RFC 5095).
    for kind in [0, 2, 4, 77] {
        let route = [vec![Protocol::UDP.0, 2, kind, 1, 0, 0, 0, 0], vec![0; 16], udp.clone()].concat();
        assert_eq!(problem_of(&to_us(Protocol::ROUTING, &route)), Some((0, 42)));
    }
    // Options: the type says what to do with those that are not known.
    for (kind, told) in [(0x3e, false), (0x7e, false), (0xbe, true), (0xfe, true)] {
        let packet = to_us(
            Protocol::DESTINATION_OPTIONS,
            &[options(Protocol::UDP, [1, 0, kind, 2, 0, 0]), udp.clone()].concat(),
        );
        let mut bench = Bench::v6();
        let id = bench.udp6(7);
        bench.receive6(&packet);
        assert_eq!(bench.recv(id).is_ok(), kind == 0x3e, "{kind:#x}");
        let sent = bench.sent_icmp6().map(|(_, _, header, _)| (header.code, header.pointer()));
        assert_eq!(sent, told.then_some((parameter_problem::OPTION, 44)));
    }
    // Too many headers.
    let mut many = Vec::new();
    for _ in 0..9 {
        many.extend(options(Protocol::DESTINATION_OPTIONS, PADDING));
    }
    let chain = [many, options(Protocol::UDP, PADDING), udp].concat();
    let (code, _) = problem_of(&to_us(Protocol::DESTINATION_OPTIONS, &chain)).unwrap();
    assert_eq!(code, parameter_problem::CHAIN_TOO_LONG);
}

#[test]
fn groups_are_told_of_options_alone() {
    let mut bench = Bench::v6();
    let all = wireway_wire::ipv6::ALL_NODES;
    for (kind, told) in [(0xbe, true), (0xfe, false)] {
        let header = options(Protocol::UDP, [kind, 4, 0, 0, 0, 0]);
        bench.receive6(&ip6(PEER6, all, Protocol::DESTINATION_OPTIONS, &header));
        assert_eq!(bench.sent_icmp6().is_some(), told);
        bench.run_for(Duration::from_secs(2));
    }
    bench.receive6(&ip6(PEER6, all, Protocol(200), b"data"));
    assert!(bench.sent_icmp6().is_none());
}

#[test]
fn no_error_is_sent_about_errors_and_from_nobody() {
    let mut bench = Bench::v6();
    let quoted = ip6(OURS6, PEER6, Protocol(200), &[0; 8]);
    let error = icmp6(PEER6, OURS6, Icmpv6Type::DESTINATION_UNREACHABLE, 0, [0; 4], &quoted);
    let in_options = [options(Protocol(201), [0xbe, 4, 0, 0, 0, 0]), error[40..].to_vec()].concat();
    // The error behind options that cannot be taken: still an error, as far as can be seen.
    let hidden = [options(Protocol::ICMPV6, [0xbe, 4, 0, 0, 0, 0]), error[40..].to_vec()].concat();
    bench.receive6(&ip6(PEER6, OURS6, Protocol::DESTINATION_OPTIONS, &hidden));
    assert!(bench.sent6().is_empty());
    bench.receive6(&ip6(Ipv6Addr::UNSPECIFIED, OURS6, Protocol(200), b"x"));
    assert!(bench.sent6().is_empty());
    bench.receive6(&ip6(PEER6, OURS6, Protocol::DESTINATION_OPTIONS, &in_options));
    assert!(bench.sent_icmp6().is_some());
}

#[test]
fn errors_are_limited_and_quote_no_more_than_fits_the_least_mtu() {
    let mut bench = Bench::v6();
    let mut told = 0;
    for _ in 0..20 {
        bench.receive6(&ip6(PEER6, OURS6, Protocol(200), &[7; 1400]));
        if let Some((_, _, _, quoted)) = bench.sent_icmp6() {
            assert_eq!(quoted.len(), 1280 - 40 - 8);
            told += 1;
        }
    }
    assert_eq!(told, 6);
    bench.assert_counted(Counter::Icmp6OutRateLimitHost, 14);
}

#[test]
fn udp_needs_a_checksum_and_a_closed_port_is_told() {
    let mut bench = Bench::v6();
    let id = bench.udp6(7);
    bench.receive6(&ip6(PEER6, OURS6, Protocol::UDP, &datagram(b"one")));
    assert_eq!(bench.recv(id).unwrap().1, b"one");
    let mut none = datagram(b"two");
    none[6..8].fill(0);
    bench.receive6(&ip6(PEER6, OURS6, Protocol::UDP, &none));
    bench.assert_dropped(DropReason::UdpChecksum, 1);
    bench.assert_counted(Counter::Udp6InCsumErrors, 1);
    let closed = udp6_payload((PEER6, 5), (OURS6, 9), b"x");
    bench.receive6(&ip6(PEER6, OURS6, Protocol::UDP, &closed));
    let (_, _, header, quoted) = bench.sent_icmp6().unwrap();
    assert_eq!((header.kind, header.code), (Icmpv6Type::DESTINATION_UNREACHABLE, unreachable::PORT));
    assert_eq!(quoted[40..], closed);
}

#[test]
fn flow_labels_are_of_the_flow() {
    let mut bench = Bench::v6();
    let id = bench.udp6(7);
    let mut label = |port| {
        bench.host.send_to(bench.now, id, b"x", Some(at6(PEER6, port)), None).unwrap();
        let (_, packet) = bench.sent6().pop().unwrap();
        Ipv6Header::parse(&packet).unwrap().0.flow_label()
    };
    let (first, second, again) = (label(1000), label(1001), label(1000));
    assert!(first != 0 && first == again && first != second);
}

#[test]
fn a_long_datagram_leaves_in_fragments_and_comes_back_together() {
    let mut bench = Bench::v6();
    let id = bench.udp6(7);
    let data: Vec<u8> = (0..5000u32).map(|i| i as u8).collect();
    bench.host.send_to(bench.now, id, &data, Some(at6(PEER6, 5)), None).unwrap();
    let sent = bench.sent6();
    assert_eq!(sent.len(), 4);
    let mut idents = Vec::new();
    for (i, (_, packet)) in sent.iter().enumerate() {
        assert!(packet.len() <= 1500);
        let (ip, payload) = Ipv6Header::parse(packet).unwrap();
        let chain = Ipv6Chain::parse(ip.next_header, payload).unwrap();
        let (_, header) = chain.fragment.unwrap();
        idents.push(header.ident());
        assert_eq!(header.more_fragments(), i < 3);
        // Back to us, from the peer, in another order.
        let mut back = packet.clone();
        back[8..24].copy_from_slice(&PEER6.octets());
        back[24..40].copy_from_slice(&OURS6.octets());
        if i != 1 {
            bench.receive6(&back);
        }
    }
    assert!(idents.windows(2).all(|pair| pair[0] == pair[1]));
    // The checksum of what comes back is of swapped addresses, which is the same; the ports are not.
    let mut last = sent[1].1.clone();
    last[8..24].copy_from_slice(&PEER6.octets());
    last[24..40].copy_from_slice(&OURS6.octets());
    bench.receive6(&last);
    bench.assert_counted(Counter::Ip6ReasmOks, 1);
    assert_eq!(bench.host.usage().fragment_memory, 0);
    // Not to be fragmented.
    bench.host.set_option(bench.now, id, SocketOption::MtuDiscover(MtuDiscover::Do)).unwrap();
    let refused = bench.host.send_to(bench.now, id, &data, Some(at6(PEER6, 5)), None);
    assert_eq!(refused, Err(Error::MessageTooLong));
}

#[test]
fn identifications_of_one_destination_tell_nothing_of_another() {
    // RFC 7739 §5.3, RFC 8021: and what fits has none.
    let mut bench = Bench::v6();
    let id = bench.udp6(7);
    let mut send = |last: u16, len: usize| {
        let to = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last);
        bench.host.set_neighbour(bench.now, bench.eth0, to.into(), Some(PEER_MAC)).unwrap();
        bench.host.send_to(bench.now, id, &vec![0; len], Some(at6(to, 5)), None).unwrap();
        let (_, packet) = bench.sent6().pop().unwrap();
        let (ip, payload) = Ipv6Header::parse(&packet).unwrap();
        let chain = Ipv6Chain::parse(ip.next_header, payload).unwrap();
        chain.fragment.map(|(_, header)| header.ident())
    };
    assert_eq!(send(2, 1000), None);
    assert_eq!(send(2, 1452), None, "what just fits is no fragment");
    let firsts: Vec<u32> = (2..52).map(|last| send(last, 3000).unwrap()).collect();
    let near = firsts.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 1 << 16).count();
    assert!(near <= 2, "{firsts:?}");
    // To one of them it goes on.
    assert_eq!(send(2, 3000).unwrap().wrapping_sub(firsts[0]), 1);
}

#[test]
fn fragments_make_the_datagram_with_headers_before_and_behind() {
    let mut bench = Bench::v6();
    let id = bench.udp6(7);
    let whole = [options(Protocol::UDP, PADDING), datagram(&[5; 100])].concat();
    let (a, b) = whole.split_at(64);
    let part = |offset, more, payload: &[u8]| {
        let header = FragmentHeader::new(Protocol::DESTINATION_OPTIONS, offset, more, 77);
        let chain = [options(Protocol::FRAGMENT, PADDING), header.as_bytes().to_vec(), payload.to_vec()].concat();
        ip6(PEER6, OURS6, Protocol::HOP_BY_HOP, &chain)
    };
    bench.receive6(&part(64, false, b));
    bench.receive6(&part(0, true, a));
    assert_eq!(bench.recv(id).unwrap().1, [5; 100]);
    bench.assert_counted(Counter::Ip6ReasmOks, 1);
    // What is wrong behind the fragment header is found in the whole, and quoted as it was cut.
    let bad = [options(Protocol::UDP, [0xbe, 4, 0, 0, 0, 0]), datagram(&[5; 100])].concat();
    let (a, b) = bad.split_at(64);
    bench.receive6(&part(0, true, a));
    bench.receive6(&part(64, false, b));
    let (_, _, header, quoted) = bench.sent_icmp6().unwrap();
    assert_eq!((header.code, header.pointer()), (parameter_problem::OPTION, 50));
    let chain = [options(Protocol::DESTINATION_OPTIONS, PADDING), bad].concat();
    assert_eq!(quoted, ip6(PEER6, OURS6, Protocol::HOP_BY_HOP, &chain));
}

#[test]
fn overlaps_drop_the_datagram_and_duplicates_nothing() {
    let data = datagram(&[6; 120]);
    let part = |from: usize, to: usize| fragment(5, from as u16, to < data.len(), Protocol::UDP, &data[from..to]);
    let mut bench = Bench::v6();
    let id = bench.udp6(7);
    bench.receive6(&part(0, 64));
    bench.receive6(&part(0, 64));
    bench.assert_dropped(DropReason::DuplicateFragment, 1);
    bench.receive6(&part(64, 128));
    assert_eq!(bench.recv(id).unwrap().1.len(), 120);
    // RFC 5722 §3.
    bench.receive6(&part(0, 64));
    bench.receive6(&part(56, 128));
    bench.assert_dropped(DropReason::FragmentOverlap, 2);
    assert!(bench.recv(id).is_err());
    // RFC 6946: an atomic one has nothing to do with what waits.
    bench.receive6(&part(0, 64));
    bench.receive6(&fragment(5, 0, false, Protocol::UDP, &datagram(b"alone")));
    assert_eq!(bench.recv(id).unwrap().1, b"alone");
    bench.receive6(&part(64, 128));
    assert_eq!(bench.recv(id).unwrap().1.len(), 120);
    assert!(bench.sent6().is_empty());
}

#[test]
fn bad_fragments_are_told_and_time_is_bounded() {
    let data = datagram(&[6; 120]);
    // RFC 8200 §4.5: no multiple of eight; beyond the longest packet. RFC 7112: without its headers.
    assert_eq!(problem_of(&fragment(1, 0, true, Protocol::UDP, &data[..63])), Some((0, 4)));
    assert_eq!(problem_of(&fragment(1, 65_528, false, Protocol::UDP, &data[..64])), Some((0, 42)));
    let incomplete = Some((parameter_problem::INCOMPLETE_CHAIN, 0));
    let long = [Protocol::UDP.0, 3, 1, 4, 0, 0, 0, 0];
    assert_eq!(problem_of(&fragment(1, 0, true, Protocol::DESTINATION_OPTIONS, &long)), incomplete);
    assert_eq!(problem_of(&fragment(1, 0, true, Protocol::TCP, &data[..16])), incomplete);
    // 60 seconds, and the sender is told if the first was there.
    let mut bench = Bench::v6();
    let first = fragment(1, 0, true, Protocol::UDP, &data[..64]);
    bench.receive6(&first);
    bench.receive6(&fragment(2, 64, false, Protocol::UDP, &data[64..]));
    assert_eq!(bench.host.usage().fragment_datagrams, 2);
    bench.run_for(Duration::from_secs(59));
    assert!(bench.sent6().is_empty());
    bench.run_for(Duration::from_secs(2));
    let (_, _, header, quoted) = bench.sent_icmp6().unwrap();
    assert_eq!((header.kind, header.code), (Icmpv6Type::TIME_EXCEEDED, time_exceeded::REASSEMBLY));
    assert_eq!(quoted, first);
    assert_eq!(bench.host.usage().fragment_memory, 0);
}

#[test]
fn waiting_fragments_are_bounded_in_memory() {
    let settings = Settings { ipfrag_high_thresh: 100_000, ..quick() };
    let mut bench = Bench::v6_with(settings, |_| {});
    for ident in 0..500 {
        bench.receive6(&fragment(ident, 0, true, Protocol::UDP, &datagram(&[0; 1200])[..1200]));
    }
    assert!(bench.host.usage().fragment_memory <= 110_000);
    assert!(bench.host.counters()[DropReason::FragmentMemory] > 0);
    bench.run_for(Duration::from_secs(61));
    assert_eq!(bench.host.usage().fragment_memory, 0);
}

#[test]
fn a_path_is_learnt_from_errors_about_what_was_sent_and_never_below_the_least_mtu() {
    let mut bench = Bench::v6();
    let id = bench.udp6(7);
    bench.host.connect(bench.now, id, at6(PEER6, 5)).unwrap();
    let too_big = |source: Ipv6Addr, mtu: u32, quoted: &[u8]| {
        let mut message = [Icmpv6Header::packet_too_big(mtu).as_bytes(), quoted].concat();
        wireway_wire::icmpv6::fill_checksum(source, OURS6, &mut message);
        ip6(source, OURS6, Protocol::ICMPV6, &message)
    };
    let sizes = |bench: &mut Bench| {
        bench.host.send(bench.now, id, &[0; 1400], Default::default()).unwrap();
        bench.sent6().into_iter().map(|(_, packet)| packet).collect::<Vec<_>>()
    };
    let sent = sizes(&mut bench);
    assert_eq!(sent.len(), 1);
    // Of a packet that was not ours, and of less than every link carries: not believed.
    let foreign = ip6(OURS6, PEER6, Protocol::UDP, &udp6_payload((OURS6, 99), (PEER6, 5), b"xxxxxxxx"));
    bench.receive6(&too_big(PEER6, 1300, &foreign));
    bench.receive6(&too_big(PEER6, 1279, &sent[0][..1000]));
    bench.assert_dropped(DropReason::IcmpIgnored, 1);
    assert_eq!(sizes(&mut bench).len(), 1);
    bench.receive6(&too_big(PEER6, 1300, &sent[0][..1000]));
    assert_eq!(bench.host.take_error(id), Some(Error::MessageTooLong));
    let after = sizes(&mut bench);
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|packet| packet.len() <= 1300));
    bench.run_for(Duration::from_secs(601));
    assert_eq!(sizes(&mut bench).len(), 1);
}

#[test]
fn the_host_reaches_itself_by_lo() {
    let mut bench = Bench::v6();
    let server = bench.udp6(7);
    let client = bench.udp6(8);
    let link_local = bench.link_local();
    let scoped = std::net::SocketAddrV6::new(link_local, 7, 0, u32::from(bench.eth0.0) + 1);
    for to in [at6(Ipv6Addr::LOCALHOST, 7), at6(OURS6, 7), scoped.into()] {
        bench.host.send_to(bench.now, client, &[1; 60_000], Some(to), None).unwrap();
        bench.settle();
        let (about, data) = bench.recv(server).unwrap();
        assert_eq!(data.len(), 60_000, "{to}");
        // A sender of ours is on its link too.
        let scope = |address| if let std::net::SocketAddr::V6(v6) = address { v6.scope_id() } else { 0 };
        assert_eq!(scope(about.source), scope(to));
    }
    assert!(bench.sent6().is_empty());
    // ::1 is no address of the wire.
    bench.receive6_by(OUR_MAC, &ip6(PEER6, Ipv6Addr::LOCALHOST, Protocol::UDP, &datagram(b"x")));
    bench.assert_dropped(DropReason::IpLocalNet, 1);
}

#[test]
fn link_local_destinations_are_of_a_scope() {
    let mut bench = Bench::v6();
    let id = bench.udp6(7);
    let (now, eth0) = (bench.now, bench.eth0);
    bench.host.set_neighbour(now, eth0, PEER_LL.into(), Some(PEER_MAC)).unwrap();
    let scoped = |scope| std::net::SocketAddrV6::new(PEER_LL, 5, 0, scope).into();
    let send = |bench: &mut Bench, to| bench.host.send_to(bench.now, id, b"x", Some(to), None);
    assert_eq!(send(&mut bench, scoped(9)), Err(Error::NoDevice));
    // As on Linux, one that does not say which goes where the routes lead; but nothing can be connected to it.
    for scope in [u32::from(eth0.0) + 1, 0] {
        send(&mut bench, scoped(scope)).unwrap();
        let (_, packet) = bench.sent6().pop().unwrap();
        assert_eq!(Ipv6Header::parse(&packet).unwrap().0.src(), bench.link_local());
    }
    assert_eq!(bench.host.connect(now, id, scoped(0)), Err(Error::InvalidArgument));
    // What comes from there says from where.
    let ours = bench.link_local();
    let payload = udp6_payload((PEER_LL, 5), (ours, 7), b"back");
    bench.receive6(&ip6(PEER_LL, ours, Protocol::UDP, &payload));
    assert_eq!(bench.recv(id).unwrap().0.source, scoped(u32::from(eth0.0) + 1));
    // A bound socket answers by the same link.
    let bound = bench.host.socket(Domain::Inet6, Kind::Datagram).unwrap();
    let unscoped = at6(ours, 70);
    assert!(bench.host.bind(bound, unscoped).is_err());
    let here = std::net::SocketAddrV6::new(ours, 70, 0, u32::from(eth0.0) + 1);
    bench.host.bind(bound, here.into()).unwrap();
    assert_eq!(bench.host.local_addr(bound), Ok(here.into()));
}

#[test]
fn nothing_in_a_header_makes_it_panic() {
    // Every byte of a packet with all kinds of headers, changed to all that matters.
    let routing = vec![Protocol::FRAGMENT.0, 0, 0, 0, 0, 0, 0, 0];
    let first = FragmentHeader::new(Protocol::DESTINATION_OPTIONS, 0, true, 9);
    let chain = [
        options(Protocol::ROUTING, PADDING),
        routing,
        first.as_bytes().to_vec(),
        options(Protocol::UDP, [0x1e, 4, 0, 0, 0, 0]),
        datagram(&[0; 48]),
    ];
    let packet = ip6(PEER6, OURS6, Protocol::HOP_BY_HOP, &chain.concat());
    let mut bench = Bench::v6();
    for at in 0..packet.len() {
        for value in [0, 1, 6, 7, 17, 43, 44, 50, 51, 58, 59, 60, 127, 128, 254, 255] {
            let mut changed = packet.clone();
            changed[at] = value;
            bench.receive(&frame(OUR_MAC, PEER_MAC, wireway_wire::EtherType::IPV6, &changed));
            bench.receive(&frame(OUR_MAC, PEER_MAC, wireway_wire::EtherType::IPV6, &changed[..at.max(1)]));
        }
        bench.sent();
    }
    bench.run_for(Duration::from_secs(61));
    assert_eq!(bench.host.usage().fragment_memory, 0);
}
