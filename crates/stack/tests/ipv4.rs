//! IPv4: what is accepted, where packets go, fragments both ways. RFC 791, 815, 1122 §3.2.1, 1191, 6864.

mod common;

use std::net::Ipv4Addr;
use std::time::Duration;

use common::*;
use wireway_stack::{Counter, Domain, DropReason, Error, InterfaceConfig, InterfaceId, Kind, RouteEntry, Settings};
use wireway_stack::{MtuDiscover, SocketOption};
use wireway_wire::icmpv4::{time_exceeded, unreachable};
use wireway_wire::{ArpOperation, EtherType, Icmpv4Type, Ipv4Fields, Ipv4View, MacAddr, Protocol};

const SECOND: Duration = Duration::from_secs(1);

/// Sends `packet` with `change` made to it and the header checksum set right again; returns the bench.
fn receive_changed(change: impl FnOnce(&mut Vec<u8>), fix: bool) -> Bench {
    let mut bench = Bench::resolved();
    let mut packet = udp(at(PEER, 1), at(OURS, 2), b"data");
    change(&mut packet);
    if fix {
        packet[10..12].fill(0);
        let len = (usize::from(packet[0] & 15) * 4).clamp(20, packet.len());
        let sum = wireway_wire::Sum::of(&packet[..len]).finish();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    bench.receive(&from_peer(&packet));
    bench
}

#[test]
fn bad_headers_are_dropped_each_under_its_name() {
    type Case = (&'static str, fn(&mut Vec<u8>), bool, DropReason);
    let cases: [Case; 7] = [
        ("cut in the header", |p| p.truncate(19), false, DropReason::IpHeader),
        ("version 5", |p| p[0] = 0x55, true, DropReason::IpHeader),
        ("header of 16 bytes", |p| p[0] = 0x44, true, DropReason::IpHeader),
        ("header longer than the packet", |p| p[0] = 0x4f, false, DropReason::IpHeader),
        ("bad checksum", |p| p[10] ^= 1, false, DropReason::IpChecksum),
        ("longer than what came", |p| p[3] = 200, true, DropReason::PacketTooSmall),
        ("shorter than its header", |p| p[3] = 19, true, DropReason::IpHeader),
    ];
    for (name, change, fix, reason) in cases {
        let bench = receive_changed(change, fix);
        assert_eq!(bench.host.counters()[reason], 1, "{name}");
        assert_eq!(bench.host.counters().dropped(), 1, "{name}");
        assert_eq!(bench.host.counters()[Counter::IpInDelivers], 0, "{name}");
    }
}

#[test]
fn padding_behind_the_packet_is_ignored() {
    let mut bench = Bench::resolved();
    let socket = bench.udp(2);
    let mut packet = udp(at(PEER, 1), at(OURS, 2), b"x");
    packet.resize(46, 0xff);
    bench.receive(&from_peer(&packet));
    assert_eq!(bench.recv(socket).unwrap().1, b"x");
}

#[test]
fn martians_are_dropped() {
    let to = |src: [u8; 4], dst: [u8; 4]| {
        let mut bench = Bench::resolved();
        let packet = udp(at(src.into(), 1), at(dst.into(), 2), b"data");
        bench.receive(&from_peer(&packet));
        bench
    };
    for (src, dst, reason) in [
        ([127, 0, 0, 1], [10, 0, 0, 1], DropReason::IpLocalNet),
        ([10, 0, 0, 2], [127, 0, 0, 1], DropReason::IpLocalNet),
        ([0, 0, 0, 0], [10, 0, 0, 1], DropReason::IpInvalidSource),
        ([0, 1, 2, 3], [10, 0, 0, 1], DropReason::IpInvalidSource),
        ([224, 0, 0, 1], [10, 0, 0, 1], DropReason::IpInvalidSource),
        ([255, 255, 255, 255], [10, 0, 0, 1], DropReason::IpInvalidSource),
        ([10, 0, 0, 255], [10, 0, 0, 1], DropReason::IpInvalidSource),
        ([10, 0, 0, 1], [10, 0, 0, 1], DropReason::IpLocalSource),
        ([10, 0, 0, 2], [0, 0, 0, 0], DropReason::IpInvalidDestination),
        ([10, 0, 0, 2], [224, 0, 0, 251], DropReason::IpMulticast),
        // A host does not forward.
        ([10, 0, 0, 2], [10, 0, 0, 3], DropReason::IpInAddressErrors),
        ([10, 0, 0, 2], [8, 8, 8, 8], DropReason::IpInAddressErrors),
    ] {
        let mut bench = to(src, dst);
        bench.assert_dropped(reason, 1);
        assert_eq!(bench.host.counters().dropped(), 1);
        assert!(bench.sent().is_empty(), "no error about {src:?} to {dst:?}");
    }
}

#[test]
fn a_host_without_an_address_yet_may_say_so() {
    // RFC 1122 §3.2.1.3 (a): 0.0.0.0 as a source, towards the limited broadcast address (DHCP).
    let mut bench = Bench::resolved();
    let socket = bench.udp(67);
    let packet = udp(at(Ipv4Addr::UNSPECIFIED, 68), at(Ipv4Addr::BROADCAST, 67), b"discover");
    bench.receive(&frame(MacAddr::BROADCAST, PEER_MAC, EtherType::IPV4, &packet));
    assert_eq!(bench.recv(socket).unwrap().1, b"discover");
}

fn with_options(options: &[u8]) -> Vec<u8> {
    let payload = udp_payload(at(PEER, 1), at(OURS, 2), b"data");
    from_peer(&ip_with(fields(PEER, OURS, Protocol::UDP), options, &payload))
}

#[test]
fn options_are_tolerated() {
    for options in [
        &[1, 1, 1, 0][..],
        &[148, 4, 0, 0],
        &[7, 7, 4, 0, 0, 0, 0, 0],
        &[68, 8, 5, 0, 0, 0, 0, 0],
        // One that nobody knows (RFC 4727 §3.2).
        &[0x5e, 4, 1, 2],
        // After the end of options anything may stand.
        &[0, 99, 0, 0],
    ] {
        let mut bench = Bench::resolved();
        let socket = bench.udp(2);
        bench.receive(&with_options(options));
        assert_eq!(bench.recv(socket).unwrap().1, b"data", "{options:?}");
    }
}

#[test]
fn source_routes_are_refused() {
    for kind in [131, 137] {
        let mut bench = Bench::resolved();
        let socket = bench.udp(2);
        bench.receive(&with_options(&[kind, 7, 4, 10, 0, 0, 9, 0]));
        bench.assert_dropped(DropReason::IpSourceRoute, 1);
        assert_eq!(bench.recv(socket), Err(Error::WouldBlock));
        assert!(bench.sent().is_empty());
    }
}

#[test]
fn malformed_options_are_told_with_their_place() {
    for (options, place) in [(&[1, 7, 200, 0][..], 21), (&[7, 1, 0, 0], 20), (&[68, 4, 1, 0], 22), (&[1, 1, 1, 7], 23)]
    {
        let mut bench = Bench::resolved();
        bench.receive(&with_options(options));
        let (from, header, quoted) = bench.sent_icmp().unwrap();
        assert_eq!((from, header.kind, header.pointer()), (OURS, Icmpv4Type::PARAMETER_PROBLEM, place), "{options:?}");
        assert_eq!(quoted, &with_options(options)[14..]);
        bench.assert_dropped(DropReason::IpHeader, 1);
    }
}

/// A host with three interfaces: 10.0.0.1/24, 10.1.0.1/16, 10.1.2.1/24, and a default route over the first.
fn three() -> (Bench, [InterfaceId; 3]) {
    let mut bench = Bench::new();
    let mut add = |name: &str, ip: [u8; 4], len| {
        let mut config = InterfaceConfig::ethernet(name, MacAddr([2, 0, 0, 0, 1, ip[2]]), 1500);
        config.addresses.push(cidr(ip.into(), len));
        bench.host.add_interface(bench.now, config).unwrap()
    };
    let (one, two) = (add("eth1", [10, 1, 0, 1], 16), add("eth2", [10, 1, 2, 1], 24));
    let default = route(Ipv4Addr::UNSPECIFIED, 0, Some(PEER), bench.eth0, 0);
    bench.host.add_route(default).unwrap();
    let ids = [bench.eth0, one, two];
    (bench, ids)
}

fn route(network: Ipv4Addr, len: u8, gateway: Option<Ipv4Addr>, interface: InterfaceId, metric: u32) -> RouteEntry {
    let gateway = gateway.map(Into::into);
    RouteEntry { gateway, metric, ..RouteEntry::new(cidr(network, len), interface) }
}

/// Sends a datagram and tells which interface asked for which neighbour, from which source.
fn asked_for(bench: &mut Bench, destination: Ipv4Addr) -> Option<(InterfaceId, Ipv4Addr, Ipv4Addr)> {
    let socket = bench.udp(0);
    bench.host.send_to(bench.now, socket, b"x", Some(at(destination, 9)), None).ok()?;
    bench.host.close(bench.now, socket).unwrap();
    let ids: Vec<InterfaceId> = bench.host.interfaces().map(|i| i.id).collect();
    ids.into_iter().find_map(|id| {
        let frame = bench.host.transmit(bench.now, id)?.to_vec();
        let packet = wireway_wire::ArpPacket::parse(&frame[14..]).unwrap();
        assert_eq!(packet.operation(), ArpOperation::REQUEST);
        Some((id, packet.target_ip(), packet.sender_ip()))
    })
}

#[test]
fn the_longest_prefix_and_then_the_least_metric_decide() {
    let (mut bench, [eth0, eth1, eth2]) = three();
    let ip = |a, b, c, d| Ipv4Addr::new(a, b, c, d);
    assert_eq!(asked_for(&mut bench, ip(10, 0, 0, 9)), Some((eth0, ip(10, 0, 0, 9), OURS)));
    assert_eq!(asked_for(&mut bench, ip(10, 1, 9, 9)), Some((eth1, ip(10, 1, 9, 9), ip(10, 1, 0, 1))));
    assert_eq!(asked_for(&mut bench, ip(10, 1, 2, 9)), Some((eth2, ip(10, 1, 2, 9), ip(10, 1, 2, 1))));
    assert_eq!(asked_for(&mut bench, ip(8, 8, 8, 8)), Some((eth0, PEER, OURS)));
    // A second default route with a better metric, and a route to one host.
    let better = route(Ipv4Addr::UNSPECIFIED, 0, Some(ip(10, 1, 0, 99)), eth1, 0);
    let worse = route(ip(7, 0, 0, 0), 8, Some(ip(10, 1, 0, 98)), eth1, 9);
    let best = route(ip(7, 0, 0, 0), 8, Some(ip(10, 1, 2, 98)), eth2, 1);
    bench.host.add_route(worse).unwrap();
    bench.host.add_route(best).unwrap();
    assert_eq!(asked_for(&mut bench, ip(7, 7, 7, 7)), Some((eth2, ip(10, 1, 2, 98), ip(10, 1, 2, 1))));
    bench.host.remove_route(&best).unwrap();
    assert_eq!(asked_for(&mut bench, ip(7, 7, 7, 8)), Some((eth1, ip(10, 1, 0, 98), ip(10, 1, 0, 1))));
    bench.host.remove_route(&route(Ipv4Addr::UNSPECIFIED, 0, Some(PEER), eth0, 0)).unwrap();
    assert_eq!(asked_for(&mut bench, ip(8, 8, 8, 9)), None);
    bench.host.add_route(better).unwrap();
    assert_eq!(asked_for(&mut bench, ip(8, 8, 8, 9)), Some((eth1, ip(10, 1, 0, 99), ip(10, 1, 0, 1))));
}

#[test]
fn a_gateway_that_does_not_answer_is_left_for_another() {
    let (mut bench, [eth0, eth1, _]) = three();
    let far = Ipv4Addr::new(8, 8, 8, 8);
    let second = Ipv4Addr::new(10, 1, 0, 99);
    let backup = route(Ipv4Addr::UNSPECIFIED, 0, Some(second), eth1, 100);
    bench.host.add_route(backup).unwrap();
    assert_eq!(asked_for(&mut bench, far), Some((eth0, PEER, OURS)));
    // It does not answer: then it goes by the other, for as long as nothing is heard of the first.
    bench.run_for(5 * SECOND);
    bench.sent();
    assert_eq!(asked_for(&mut bench, far), Some((eth1, second, Ipv4Addr::new(10, 1, 0, 1))));
    bench.host.set_neighbour(bench.now, eth1, second.into(), Some(PEER_MAC)).unwrap();
    bench.run_for(100 * SECOND);
    let by = |bench: &mut Bench| bench.host.route_towards(far.into(), None).unwrap().gateway;
    assert_eq!(by(&mut bench), Some(second.into()));
    // The first asks for us, so it is there again.
    let request = wireway_wire::ArpPacket::new(ArpOperation::REQUEST, (PEER_MAC, PEER), (MacAddr::ZERO, OURS));
    bench.receive(&arp(MacAddr::BROADCAST, PEER_MAC, &request));
    assert_eq!(by(&mut bench), Some(PEER.into()));
    // Without another it is tried again.
    bench.host.remove_route(&backup).unwrap();
    let first = route(Ipv4Addr::UNSPECIFIED, 0, Some(PEER), eth0, 0);
    bench.host.remove_route(&first).unwrap();
    let only = route(Ipv4Addr::UNSPECIFIED, 0, Some(Ipv4Addr::new(10, 0, 0, 77)), eth0, 0);
    bench.host.add_route(only).unwrap();
    bench.sent();
    for _ in 0..2 {
        assert_eq!(asked_for(&mut bench, far), Some((eth0, Ipv4Addr::new(10, 0, 0, 77), OURS)));
        bench.run_for(5 * SECOND);
        bench.sent();
    }
}

#[test]
fn redirects_of_the_first_hop_are_followed() {
    // RFC 1122 §3.2.2.2, §3.3.1.2.
    let (mut bench, [eth0, ..]) = three();
    bench.introduce();
    let (far, other) = (Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(10, 0, 0, 99));
    let by = |bench: &mut Bench| bench.host.route_towards(far.into(), None).unwrap().gateway;
    let about = |source: Ipv4Addr| udp(at(source, 7), at(far, 9), b"12345678");
    let redirect = |from: Ipv4Addr, code: u8, to: Ipv4Addr, about: &[u8]| {
        from_peer(&ip(from, OURS, Protocol::ICMP, &icmp(Icmpv4Type::REDIRECT, code, to.octets(), about)))
    };
    // Not from the first hop, not to somebody beyond the link, to ourselves or to all; not about a packet of somebody else.
    bench.receive(&redirect(Ipv4Addr::new(10, 0, 0, 3), 1, other, &about(OURS)));
    for to in [Ipv4Addr::new(10, 9, 0, 1), OURS, Ipv4Addr::new(10, 0, 0, 255), PEER] {
        bench.receive(&redirect(PEER, 1, to, &about(OURS)));
    }
    bench.receive(&redirect(PEER, 1, other, &about(other)));
    bench.receive(&redirect(PEER, 1, other, &about(OURS)[..20]));
    assert_eq!(by(&mut bench), Some(PEER.into()));
    // One for a network is one for the host.
    for code in [0, 1] {
        bench.receive(&redirect(PEER, code, other, &about(OURS)));
        assert_eq!(by(&mut bench), Some(other.into()));
        let elsewhere = bench.host.route_towards(Ipv4Addr::new(8, 8, 8, 9).into(), None).unwrap();
        assert_eq!((elsewhere.gateway, elsewhere.interface), (Some(PEER.into()), eth0));
        // It holds for ten minutes, or until the other does not answer.
        if code == 0 {
            bench.run_for(601 * SECOND);
        } else {
            assert_eq!(asked_for(&mut bench, far), Some((eth0, other, OURS)));
            bench.run_for(5 * SECOND);
        }
        bench.sent();
        assert_eq!(by(&mut bench), Some(PEER.into()));
    }
    // Such floods are bounded.
    for n in 0..200 {
        let about = udp(at(OURS, 7), at(Ipv4Addr::new(8, 8, 9, n), 9), b"12345678");
        bench.receive(&redirect(PEER, 1, other, &about));
    }
    assert!(bench.host.routes().len() <= 64 + 4, "{}", bench.host.routes().len());
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    // Two addresses on the interface that is asked, and one of another interface (the weak model, RFC 1122 §3.3.4.2).
    let (mut bench, _) = three();
    bench.introduce();
    let second = Ipv4Addr::new(10, 0, 0, 50);
    bench.host.add_address(bench.now, bench.eth0, cidr(second, 24), false).unwrap();
    bench.sent();
    let echo = icmp(Icmpv4Type::ECHO_REQUEST, 0, [0, 1, 0, 1], b"data");
    for ours in [OURS, second, Ipv4Addr::new(10, 1, 0, 1)] {
        bench.receive(&from_peer(&ip(PEER, ours, Protocol::ICMP, &echo)));
        let (source, header, _) = bench.sent_icmp().unwrap();
        assert_eq!((source, header.kind), (ours, Icmpv4Type::ECHO_REPLY));
        bench.receive(&from_peer(&udp(at(PEER, 9), at(ours, 9), b"x")));
        let (source, header, _) = bench.sent_icmp().unwrap();
        assert_eq!((source, header.kind), (ours, Icmpv4Type::DESTINATION_UNREACHABLE));
    }
}

#[test]
fn without_a_route_the_network_is_unreachable() {
    let mut bench = Bench::new();
    let socket = bench.udp(0);
    let sent = bench.host.send_to(bench.now, socket, b"x", Some(at(Ipv4Addr::new(8, 8, 8, 8), 9)), None);
    assert_eq!(sent, Err(Error::NetworkUnreachable));
    // Bound to a device it is taken to be on the link.
    bench.host.set_option(bench.now, socket, SocketOption::BindToDevice(Some(bench.eth0))).unwrap();
    bench.host.send_to(bench.now, socket, b"x", Some(at(Ipv4Addr::new(8, 8, 8, 8), 9)), None).unwrap();
    assert_eq!(bench.sent_arp().len(), 1);
}

#[test]
fn own_addresses_and_127_are_reached_over_lo() {
    let mut bench = Bench::new();
    let server = bench.udp(7);
    let client = bench.udp(0);
    let port = bench.host.local_addr(client).unwrap().port();
    for (to, from) in [
        (Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::LOCALHOST),
        (Ipv4Addr::new(127, 9, 8, 7), Ipv4Addr::LOCALHOST),
        (OURS, OURS),
        (Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST),
    ] {
        // As long as UDP's can be: lo's MTU is 65,536.
        let data = vec![42; 65_507];
        bench.host.send_to(bench.now, client, &data, Some(at(to, 7)), None).unwrap();
        bench.settle();
        let (info, got) = bench.recv(server).unwrap();
        assert_eq!((info.source, info.interface), (at(from, port), InterfaceId(0)), "{to}");
        assert!(got == data);
    }
    bench.assert_counted(Counter::IpFragCreates, 0);
    assert_eq!(bench.host.counters().dropped(), 0);
    assert!(bench.sent().is_empty());
}

#[test]
fn lo_is_bounded() {
    let mut bench = Bench::with(Settings { netdev_max_backlog: 3, ..Settings::default() }, |_| {});
    let socket = bench.udp(7);
    for _ in 0..5 {
        bench.host.send_to(bench.now, socket, b"x", Some(at(OURS, 7)), None).unwrap();
    }
    bench.settle();
    bench.assert_dropped(DropReason::LoopbackQueueFull, 2);
    bench.assert_counted(Counter::UdpInDatagrams, 3);
}

#[test]
fn a_long_datagram_leaves_in_fragments() {
    let mut bench = Bench::resolved();
    let socket = bench.udp(5);
    bench.host.set_option(bench.now, socket, SocketOption::MtuDiscover(MtuDiscover::Dont)).unwrap();
    let data: Vec<u8> = (0..4000u32).map(|i| i as u8).collect();
    bench.host.send_to(bench.now, socket, &data, Some(at(PEER, 9)), None).unwrap();
    let packets = bench.sent_ip();
    let views: Vec<_> = packets.iter().map(|p| Ipv4View::parse(p).unwrap()).collect();
    let shape: Vec<_> =
        views.iter().map(|(v, p)| (v.header.fragment_offset(), v.header.more_fragments(), p.len())).collect();
    assert_eq!(shape, [(0, true, 1480), (1480, true, 1480), (2960, false, 4008 - 2960)]);
    assert!(views.iter().all(|(v, _)| v.verify_checksum().is_ok() && !v.header.dont_fragment()));
    assert!(views.iter().all(|(v, _)| v.header.ident() == views[0].0.header.ident()));
    let whole: Vec<u8> = views.iter().flat_map(|(_, p)| p.iter().copied()).collect();
    assert_eq!(whole, udp_payload(at(OURS, 5), at(PEER, 9), &data));
    bench.assert_counted(Counter::IpFragOks, 1);
    bench.assert_counted(Counter::IpFragCreates, 3);
    // The next datagram has another identification.
    bench.host.send_to(bench.now, socket, &data, Some(at(PEER, 9)), None).unwrap();
    let next = bench.sent_ip();
    assert_ne!(Ipv4View::parse(&next[0]).unwrap().0.header.ident(), views[0].0.header.ident());
}

#[test]
fn path_mtu_discovery_modes() {
    let mut bench = Bench::resolved();
    let socket = bench.udp(5);
    let send = |bench: &mut Bench, mode, len: usize| {
        bench.host.set_option(bench.now, socket, SocketOption::MtuDiscover(mode)).unwrap();
        bench.host.send_to(bench.now, socket, &vec![0; len], Some(at(PEER, 9)), None)?;
        let sent = bench.sent_ip();
        let view = Ipv4View::parse(&sent[0]).unwrap().0;
        Ok::<_, Error>((sent.len(), view.header.dont_fragment(), view.header.ident()))
    };
    // RFC 6864: an atomic datagram's identification is 0.
    assert_eq!(send(&mut bench, MtuDiscover::Want, 1472), Ok((1, true, 0)));
    let (count, df, _) = send(&mut bench, MtuDiscover::Want, 1473).unwrap();
    assert_eq!((count, df), (2, false));
    let (count, df, _) = send(&mut bench, MtuDiscover::Dont, 1472).unwrap();
    assert_eq!((count, df), (1, false));
    assert_eq!(send(&mut bench, MtuDiscover::Do, 1473), Err(Error::MessageTooLong));
    assert_eq!(send(&mut bench, MtuDiscover::Probe, 1473), Err(Error::MessageTooLong));

    // A router says that only 1000 bytes pass.
    send(&mut bench, MtuDiscover::Do, 1472).unwrap();
    let quote = udp(at(OURS, 5), at(PEER, 9), &[0; 1472]);
    let too_big = |mtu: u16, quote: &[u8]| {
        let [a, b] = mtu.to_be_bytes();
        let kind = Icmpv4Type::DESTINATION_UNREACHABLE;
        let message = icmp(kind, unreachable::FRAGMENTATION_NEEDED, [0, 0, a, b], &quote[..28]);
        from_peer(&ip(Ipv4Addr::new(10, 0, 0, 3), OURS, Protocol::ICMP, &message))
    };
    // One that quotes nothing of ours is not believed (RFC 5927).
    bench.receive(&too_big(1000, &udp(at(OURS, 6), at(PEER, 9), &[0; 1472])));
    assert_eq!(send(&mut bench, MtuDiscover::Do, 1472), Ok((1, true, 0)));
    bench.receive(&too_big(1000, &quote));
    assert_eq!(send(&mut bench, MtuDiscover::Do, 973), Err(Error::MessageTooLong));
    assert_eq!(send(&mut bench, MtuDiscover::Do, 972), Ok((1, true, 0)));
    assert_eq!(send(&mut bench, MtuDiscover::Probe, 1472), Ok((1, true, 0)));
    assert_eq!(send(&mut bench, MtuDiscover::Want, 1472).unwrap().0, 2);
    // Not below 552, and then without DF.
    bench.receive(&too_big(100, &quote));
    let (count, df, _) = send(&mut bench, MtuDiscover::Do, 524).unwrap();
    assert_eq!((count, df), (1, false));
    // It is forgotten after ten minutes.
    bench.run_for(601 * SECOND);
    assert_eq!(send(&mut bench, MtuDiscover::Do, 1472), Ok((1, true, 0)));
}

fn numbers(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7) as u8).collect()
}

/// A bench with a socket on port 2, and the fragments of a datagram of 3,000 bytes for it: four, of 800 bytes and less.
fn cut() -> (Bench, wireway_stack::SocketId, Vec<Vec<u8>>) {
    let mut bench = Bench::resolved();
    let socket = bench.udp(2);
    let pieces = fragments(&udp(at(PEER, 1), at(OURS, 2), &numbers(3000)), 800);
    assert_eq!(pieces.len(), 4);
    (bench, socket, pieces)
}

#[test]
fn fragments_in_any_order_make_the_datagram() {
    let mut order = [0, 1, 2, 3];
    for _ in 0..24 {
        // Walk through all permutations (Narayana Pandita).
        let (mut bench, socket, pieces) = cut();
        for &i in &order {
            assert_eq!(bench.recv(socket), Err(Error::WouldBlock));
            bench.receive(&from_peer(&pieces[i]));
        }
        assert_eq!(bench.recv(socket).unwrap().1, numbers(3000), "{order:?}");
        bench.assert_counted(Counter::IpReasmOks, 1);
        bench.assert_counted(Counter::IpReasmReqds, 4);
        assert_eq!(bench.host.counters().dropped(), 0);
        assert_eq!(bench.host.poll_at(), None, "no timer is left");
        if let Some(i) = (0..3).rev().find(|&i| order[i] < order[i + 1]) {
            let j = (0..4).rev().find(|&j| order[j] > order[i]).unwrap();
            order.swap(i, j);
            order[i + 1..].reverse();
        }
    }
}

#[test]
fn duplicates_of_fragments_are_ignored() {
    let (mut bench, socket, pieces) = cut();
    for i in [0, 0, 1, 0, 2, 1, 3] {
        bench.receive(&from_peer(&pieces[i]));
    }
    assert_eq!(bench.recv(socket).unwrap().1, numbers(3000));
    bench.assert_dropped(DropReason::DuplicateFragment, 3);
}

fn fragment_at(offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let fields = Ipv4Fields { fragment_offset: offset, more_fragments: more, ..fields(PEER, OURS, Protocol::UDP) };
    from_peer(&ip_with(fields, &[], payload))
}

#[test]
fn a_partial_overlap_condemns_the_datagram() {
    let (mut bench, socket, pieces) = cut();
    bench.receive(&from_peer(&pieces[0]));
    bench.receive(&from_peer(&pieces[1]));
    bench.receive(&fragment_at(1592, true, &[0; 16]));
    bench.assert_counted(Counter::IpExtReasmOverlaps, 1);
    bench.assert_counted(Counter::IpReasmFails, 1);
    bench.assert_dropped(DropReason::FragmentOverlap, 3);
    // The others alone make nothing.
    bench.receive(&from_peer(&pieces[2]));
    bench.receive(&from_peer(&pieces[3]));
    bench.run_for(31 * SECOND);
    assert_eq!(bench.recv(socket), Err(Error::WouldBlock));
    bench.assert_dropped(DropReason::FragmentTimeout, 2);
}

#[test]
fn an_end_that_moves_and_a_datagram_beyond_the_longest_are_refused() {
    for (name, first, second) in [
        ("two ends", fragment_at(800, false, &[0; 100]), fragment_at(1600, false, &[0; 100])),
        ("beyond the end", fragment_at(800, false, &[0; 100]), fragment_at(1600, true, &[0; 800])),
        ("end before what is there", fragment_at(1600, true, &[0; 800]), fragment_at(800, false, &[0; 100])),
        ("ping of death", fragment_at(0, true, &[0; 800]), fragment_at(65_528, false, &[0; 800])),
        ("empty", fragment_at(0, true, &[0; 800]), fragment_at(800, true, &[0; 4])),
    ] {
        let mut bench = Bench::resolved();
        bench.receive(&first);
        bench.receive(&second);
        bench.assert_counted(Counter::IpReasmFails, 1);
        assert_eq!(bench.host.counters()[DropReason::FragmentMalformed], 2, "{name}");
        assert_eq!(bench.host.poll_at(), None, "{name}");
    }
}

#[test]
fn fragments_wait_thirty_seconds_and_the_sender_is_told_if_the_first_was_there() {
    for (have, told) in [([0, 1, 2], true), ([1, 2, 3], false)] {
        let (mut bench, socket, pieces) = cut();
        for i in have {
            bench.receive(&from_peer(&pieces[i]));
        }
        bench.run_for(29 * SECOND);
        bench.assert_counted(Counter::IpReasmTimeout, 0);
        bench.run_for(SECOND);
        bench.assert_counted(Counter::IpReasmTimeout, 1);
        bench.assert_dropped(DropReason::FragmentTimeout, 3);
        let icmp = bench.sent_icmp();
        assert_eq!(icmp.is_some(), told);
        if let Some((from, header, quoted)) = icmp {
            assert_eq!((from, header.kind, header.code), (OURS, Icmpv4Type::TIME_EXCEEDED, time_exceeded::REASSEMBLY));
            assert_eq!(quoted, pieces[0][..548]);
        }
        // The late one alone does nothing.
        bench.receive(&from_peer(&pieces[3]));
        assert_eq!(bench.recv(socket), Err(Error::WouldBlock));
    }
}

#[test]
fn waiting_fragments_are_bounded_in_memory() {
    let mut bench = Bench::with(Settings { ipfrag_high_thresh: 20_000, ..Settings::default() }, |_| {});
    bench.introduce();
    for ident in 0..100 {
        let fields = Ipv4Fields { ident, more_fragments: true, ..fields(PEER, OURS, Protocol::UDP) };
        bench.receive(&from_peer(&ip_with(fields, &[], &[0; 800])));
    }
    let dropped = bench.host.counters()[DropReason::FragmentMemory];
    assert!((90..100).contains(&dropped), "{dropped}");
    bench.run_for(31 * SECOND);
    assert_eq!(bench.host.counters().dropped(), 100);
    // There is room again.
    let socket = bench.udp(2);
    for piece in fragments(&udp(at(PEER, 1), at(OURS, 2), &numbers(3000)), 800) {
        bench.receive(&from_peer(&piece));
    }
    assert_eq!(bench.recv(socket).unwrap().1, numbers(3000));
}

#[test]
fn tiny_fragments_count_with_all_that_they_take() {
    let limit = 1 << 20;
    let mut bench = Bench::with(Settings { ipfrag_high_thresh: limit, ..Settings::default() }, |_| {});
    for n in 0..10_000u16 {
        // One fragment a datagram, and a hundred of one datagram, with eight bytes each.
        let (ident, fragment_offset) = if n % 2 == 0 { (n, 0) } else { (n / 200 * 200 + 1, n % 200 * 8) };
        let fields = fields(PEER, OURS, Protocol::UDP);
        let fields = Ipv4Fields { ident, fragment_offset, more_fragments: true, ..fields };
        bench.receive(&from_peer(&ip_with(fields, &[], &[0; 8])));
    }
    let usage = bench.host.usage();
    let fragments = 10_000 - bench.host.counters()[DropReason::FragmentMemory] as usize;
    assert!(usage.fragment_memory <= limit, "{usage:?}");
    // A packet's body, its place in the list, and what a datagram takes.
    assert!(fragments * 400 + usage.fragment_datagrams * 400 <= limit, "{fragments} {usage:?}");
    assert!(fragments > 500, "{fragments}");
    bench.run_for(31 * SECOND);
    assert_eq!(bench.host.usage().fragment_memory, 0);
}

#[test]
fn ecn_of_fragments_is_combined() {
    // RFC 3168 §5.3: one marked fragment marks the whole; a mark beside "not capable" is a contradiction.
    for (ecn, result) in [
        ([2, 2, 3, 2], Some(3)),
        ([0, 0, 0, 0], Some(0)),
        ([1, 2, 1, 2], Some(1)),
        ([2, 1, 1, 2], Some(2)),
        ([0, 3, 0, 0], None),
    ] {
        let (mut bench, socket, pieces) = cut();
        for (piece, ecn) in pieces.iter().zip(ecn) {
            let (view, payload) = Ipv4View::parse(piece).unwrap();
            let fields = Ipv4Fields { tos: 0x20 | ecn, ..view.header.fields() };
            bench.receive(&from_peer(&ip_with(fields, &[], payload)));
        }
        assert_eq!(bench.recv(socket).ok().map(|(info, _)| info.tos), result.map(|ecn| 0x20 | ecn));
    }
}

#[test]
fn an_unknown_protocol_is_refused() {
    let mut bench = Bench::resolved();
    let packet = ip(PEER, OURS, Protocol(99), b"what is this");
    bench.receive(&from_peer(&packet));
    let (from, header, quoted) = bench.sent_icmp().unwrap();
    assert_eq!(from, OURS);
    assert_eq!((header.kind, header.code), (Icmpv4Type::DESTINATION_UNREACHABLE, unreachable::PROTOCOL));
    assert_eq!(quoted, packet);
    bench.assert_dropped(DropReason::IpNoProtocol, 1);
    // Not if a raw socket takes it.
    let raw = bench.host.socket(Domain::Inet, Kind::Raw(99)).unwrap();
    bench.receive(&from_peer(&packet));
    assert!(bench.sent().is_empty());
    let (info, data) = bench.recv(raw).unwrap();
    assert_eq!((info.source, info.destination, &data[..]), (at(PEER, 0), at(OURS, 0), &b"what is this"[..]));
}

#[test]
fn bad_interfaces_and_routes_are_refused() {
    let mut bench = Bench::new();
    let bad = |change: fn(&mut InterfaceConfig)| {
        let mut config = InterfaceConfig::ethernet("eth9", OUR_MAC, 1500);
        change(&mut config);
        config
    };
    for config in [
        bad(|c| c.mtu = 67),
        bad(|c| c.addresses.push(cidr(OURS, 33))),
        bad(|c| c.medium = wireway_stack::Medium::Loopback),
    ] {
        assert_eq!(bench.host.add_interface(bench.now, config), Err(Error::InvalidArgument));
    }
    let twice = bad(|c| c.name = "eth0".into());
    assert_eq!(bench.host.add_interface(bench.now, twice), Err(Error::Exists));
    let unknown = route(OURS, 24, None, InterfaceId(9), 0);
    assert_eq!(bench.host.add_route(unknown), Err(Error::NoDevice));
    let wide = route(OURS, 33, None, bench.eth0, 0);
    assert_eq!(bench.host.add_route(wide), Err(Error::InvalidArgument));
    assert_eq!(bench.host.remove_route(&wide), Err(Error::InvalidArgument));
}

#[test]
fn a_loopback_source_never_leaves_the_host() {
    let mut bench = Bench::resolved();
    let id = bench.host.socket(Domain::Inet, Kind::Datagram).unwrap();
    bench.host.bind(id, at(Ipv4Addr::LOCALHOST, 0)).unwrap();
    assert_eq!(bench.host.send_to(bench.now, id, b"x", Some(at(PEER, 9)), None), Err(Error::InvalidArgument));
    assert!(bench.sent().is_empty());
    bench.assert_dropped(DropReason::IpLocalNet, 1);
}
