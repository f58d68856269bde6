//! UDP sockets: addresses, sharing, delivery. RFC 768, 1122 §4.1, 6056, and Linux's rules where RFCs have none.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use common::*;
use wireway_stack::{
    Counter, Domain, DropReason, Error, Host, InterfaceConfig, Kind, Ready, ReceiveFlags, SendFlags, Settings,
    Shutdown, SocketId, SocketOption, Unreachable,
};
use wireway_wire::icmpv4::unreachable;
use wireway_wire::{EtherType, Ipv4Fields, Ipv4View, MacAddr, Protocol, UdpHeader};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn socket(bench: &mut Bench) -> SocketId {
    bench.host.socket(Domain::Inet, Kind::Datagram).unwrap()
}

fn socket6(bench: &mut Bench) -> SocketId {
    bench.host.socket(Domain::Inet6, Kind::Datagram).unwrap()
}

fn set(bench: &mut Bench, id: SocketId, option: SocketOption) {
    bench.host.set_option(bench.now, id, option).unwrap();
}

fn mapped(ip: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::from((ip.to_ipv6_mapped(), port))
}

fn v6(text: &str, port: u16) -> SocketAddr {
    SocketAddr::from((text.parse::<Ipv6Addr>().unwrap(), port))
}

/// A datagram from the peer's port to one of ours.
fn hit(bench: &mut Bench, from: u16, to: u16) {
    bench.receive(&from_peer(&udp(at(PEER, from), at(OURS, to), b"x")));
}

fn has(bench: &mut Bench, id: SocketId) -> bool {
    let got = bench.recv(id).is_ok();
    assert_eq!(bench.recv(id), Err(Error::WouldBlock));
    got
}

#[test]
fn a_datagram_goes_and_comes_with_its_addresses() {
    let mut bench = Bench::resolved();
    let id = bench.udp(5000);
    for option in [SocketOption::Ttl(Some(9)), SocketOption::Tos(0x2e << 2)] {
        set(&mut bench, id, option);
    }
    assert_eq!(bench.host.send_to(bench.now, id, b"hello", Some(at(PEER, 53)), None), Ok(5));
    let sent = bench.sent_ip();
    let (view, payload) = Ipv4View::parse(&sent[0]).unwrap();
    assert_eq!((view.header.src(), view.header.dst(), view.header.ttl(), view.header.tos()), (OURS, PEER, 9, 0xb8));
    assert_eq!(payload, udp_payload(at(OURS, 5000), at(PEER, 53), b"hello"));
    bench.receive(&from_peer(&udp(at(PEER, 53), at(OURS, 5000), b"world")));
    let event = bench.host.next_event().unwrap();
    assert_eq!((event.socket, event.ready), (id, Ready::IN | Ready::OUT));
    assert_eq!(bench.host.next_event(), None);
    assert_eq!(bench.host.recv_available(id), 5);
    let mut short = [0; 3];
    let info = bench.host.recv_from(id, &mut short, ReceiveFlags { peek: true }).unwrap();
    assert_eq!((info.len, &short), (5, b"wor"));
    let (info, data) = bench.recv(id).unwrap();
    assert_eq!((info.source, info.destination, info.interface), (at(PEER, 53), at(OURS, 5000), bench.eth0));
    assert_eq!((info.ttl, data), (64, b"world".to_vec()));
}

#[test]
fn type_of_service_and_time_to_live_go_and_come() {
    let settings = Settings { ip_default_ttl: 77, ..Settings::default() };
    let mut bench = Bench::with(settings, |_| {});
    bench.introduce();
    let id = bench.udp(5000);
    let header = |bench: &mut Bench| {
        bench.host.send_to(bench.now, id, b"x", Some(at(PEER, 53)), None).unwrap();
        let packet = bench.sent_ip().pop().unwrap();
        let (view, _) = Ipv4View::parse(&packet).unwrap();
        (view.header.ttl(), view.header.tos())
    };
    assert_eq!(header(&mut bench), (77, 0));
    set(&mut bench, id, SocketOption::Ttl(Some(3)));
    set(&mut bench, id, SocketOption::Tos(0xb8));
    assert_eq!(header(&mut bench), (3, 0xb8));
    // RFC 1122 §3.2.1.7: what has come is not discarded for its time to live.
    for (ttl, tos) in [(0, 0x10), (1, 0xb9), (255, 0)] {
        let fields = Ipv4Fields { ttl, tos, ..fields(PEER, OURS, Protocol::UDP) };
        let payload = udp_payload(at(PEER, 53), at(OURS, 5000), b"answer");
        bench.receive(&from_peer(&ip_with(fields, &[], &payload)));
        let (info, _) = bench.recv(id).unwrap();
        assert_eq!((info.ttl, info.tos), (ttl, tos));
    }
}

#[test]
fn lengths_up_to_the_longest() {
    let mut bench = Bench::new();
    let id = bench.udp(7);
    for len in [0, 1, 1472, 65_507] {
        assert_eq!(bench.host.send_to(bench.now, id, &vec![1; len], Some(at(OURS, 7)), None), Ok(len));
        bench.settle();
        assert_eq!(bench.recv(id).unwrap().1.len(), len);
    }
    let too_long = bench.host.send_to(bench.now, id, &vec![1; 65_508], Some(at(OURS, 7)), None);
    assert_eq!(too_long, Err(Error::MessageTooLong));
}

#[test]
fn checksums_are_verified_and_may_be_missing() {
    let mut bench = Bench::resolved();
    let id = bench.udp(2);
    let mut payload = udp_payload(at(PEER, 1), at(OURS, 2), b"data");
    payload[9] ^= 1;
    bench.receive(&from_peer(&ip(PEER, OURS, Protocol::UDP, &payload)));
    assert!(!has(&mut bench, id));
    bench.assert_counted(Counter::UdpInCsumErrors, 1);
    bench.assert_dropped(DropReason::UdpChecksum, 1);
    payload[6..8].fill(0);
    bench.receive(&from_peer(&ip(PEER, OURS, Protocol::UDP, &payload)));
    assert!(has(&mut bench, id));
}

#[test]
fn a_checksum_that_computes_to_zero_is_sent_as_ones() {
    let mut bench = Bench::resolved();
    let id = bench.udp(5);
    // Two bytes of data that make the sum zero.
    let plain = udp_payload(at(OURS, 5), at(PEER, 9), &[0, 0]);
    bench.host.send_to(bench.now, id, &plain[6..8], Some(at(PEER, 9)), None).unwrap();
    let sent = bench.sent_ip();
    let (_, payload) = Ipv4View::parse(&sent[0]).unwrap();
    assert_eq!(UdpHeader::parse(payload).unwrap().0.checksum.get(), 0xffff);
}

#[test]
fn malformed_datagrams_are_dropped() {
    let good = udp_payload(at(PEER, 1), at(OURS, 2), b"data");
    for (at_byte, value, len) in [(5, 7, 12), (5, 13, 12), (4, 1, 12), (5, 12, 7)] {
        let mut bench = Bench::resolved();
        let id = bench.udp(2);
        let mut payload = good[..len].to_vec();
        payload[at_byte] = value;
        bench.receive(&from_peer(&ip(PEER, OURS, Protocol::UDP, &payload)));
        assert!(!has(&mut bench, id));
        bench.assert_dropped(DropReason::UdpMalformed, 1);
        bench.assert_counted(Counter::UdpInErrors, 1);
    }
    // Bytes behind UDP's length are not data.
    let mut bench = Bench::resolved();
    let id = bench.udp(2);
    let padded = [&good[..], &[9; 5]].concat();
    bench.receive(&from_peer(&ip(PEER, OURS, Protocol::UDP, &padded)));
    assert_eq!(bench.recv(id).unwrap().1, b"data");
}

#[test]
fn the_receive_buffer_is_bounded_and_the_newest_dropped() {
    let mut bench = Bench::resolved();
    let id = bench.udp(2);
    assert_eq!(bench.host.options(id).unwrap().receive_buffer, 212_992);
    set(&mut bench, id, SocketOption::ReceiveBuffer(4096));
    assert_eq!(bench.host.options(id).unwrap().receive_buffer, 8192);
    for i in 0..100 {
        bench.receive(&from_peer(&udp(at(PEER, 1), at(OURS, 2), &[i; 1000])));
    }
    let mut kept = Vec::new();
    while let Ok((_, data)) = bench.recv(id) {
        kept.push(data[0]);
    }
    assert!((3..9).contains(&kept.len()), "{} datagrams", kept.len());
    assert!(kept.iter().enumerate().all(|(i, &first)| usize::from(first) == i), "the oldest are kept, in order");
    bench.assert_counted(Counter::UdpRcvbufErrors, 100 - kept.len() as u64);
    bench.assert_dropped(DropReason::SocketReceiveBuffer, 100 - kept.len() as u64);
    // Read: there is room again.
    hit(&mut bench, 1, 2);
    assert!(has(&mut bench, id));
    // Clamped as on Linux.
    set(&mut bench, id, SocketOption::ReceiveBuffer(1 << 30));
    assert_eq!(bench.host.options(id).unwrap().receive_buffer, 425_984);
    set(&mut bench, id, SocketOption::ReceiveBuffer(0));
    assert_eq!(bench.host.options(id).unwrap().receive_buffer, 2304);
}

#[test]
fn small_datagrams_do_not_hold_large_blocks() {
    let mut bench = Bench::resolved();
    let id = bench.udp(2);
    // As from a card that receives into 64 KiB blocks.
    for _ in 0..200 {
        let frame = from_peer(&udp(at(PEER, 1), at(OURS, 2), b"x"));
        let slice = wireway_packet::Writer::with_capacity(60_000).write(&frame);
        bench.host.receive(bench.now, bench.eth0, wireway_packet::Packet::from_slice(slice));
    }
    bench.assert_counted(Counter::UdpInDatagrams, 200);
    assert!(bench.recv(id).is_ok());
}

#[test]
fn a_connected_socket_gets_only_its_peer_and_before_others() {
    let mut bench = Bench::resolved();
    let (wide, narrow) = (socket(&mut bench), socket(&mut bench));
    for id in [wide, narrow] {
        set(&mut bench, id, SocketOption::ReuseAddress(true));
        bench.host.bind(id, at(ANY, 2)).unwrap();
    }
    bench.host.connect(bench.now, narrow, at(PEER, 1)).unwrap();
    assert_eq!(bench.host.peer_addr(narrow), Ok(at(PEER, 1)));
    assert_eq!(bench.host.local_addr(narrow), Ok(at(OURS, 2)));
    hit(&mut bench, 1, 2);
    assert_eq!((has(&mut bench, narrow), has(&mut bench, wide)), (true, false));
    hit(&mut bench, 99, 2);
    assert_eq!((has(&mut bench, narrow), has(&mut bench, wide)), (false, true));
    // Sends without an address; with one, it overrides.
    assert_eq!(bench.host.send(bench.now, narrow, b"x", SendFlags::default()), Ok(1));
    assert_eq!(bench.host.send_to(bench.now, narrow, b"x", Some(at(PEER, 7)), None), Ok(1));
    let ports: Vec<u16> =
        bench.sent_ip().iter().map(|p| UdpHeader::parse(&p[20..]).unwrap().0.dst_port.get()).collect();
    assert_eq!(ports, [1, 7]);
    assert_eq!(bench.host.send(bench.now, wide, b"x", SendFlags::default()), Err(Error::DestinationRequired));
    // Disconnected, the bound address and port stay.
    bench.host.disconnect(bench.now, narrow).unwrap();
    assert_eq!(bench.host.local_addr(narrow), Ok(at(ANY, 2)));
    assert_eq!(bench.host.peer_addr(narrow), Err(Error::NotConnected));
    // A port that connect chose does not.
    let third = socket(&mut bench);
    bench.host.connect(bench.now, third, at(PEER, 1)).unwrap();
    assert_ne!(bench.host.local_addr(third).unwrap().port(), 0);
    bench.host.disconnect(bench.now, third).unwrap();
    assert_eq!(bench.host.local_addr(third), Ok(at(ANY, 0)));
}

#[test]
fn the_most_specific_socket_gets_the_datagram() {
    let mut bench = Bench::resolved();
    let mut make = |domain, address: SocketAddr, device: bool| {
        let id = bench.host.socket(domain, Kind::Datagram).unwrap();
        set(&mut bench, id, SocketOption::ReuseAddress(true));
        if device {
            let eth0 = bench.eth0;
            set(&mut bench, id, SocketOption::BindToDevice(Some(eth0)));
        }
        bench.host.bind(id, address).unwrap();
        id
    };
    // Each beats those before it.
    let ladder = [
        make(Domain::Inet6, v6("::", 2), false),
        make(Domain::Inet, at(ANY, 2), false),
        make(Domain::Inet6, mapped(OURS, 2), false),
        make(Domain::Inet, at(OURS, 2), false),
        make(Domain::Inet6, mapped(OURS, 2), true),
        make(Domain::Inet, at(OURS, 2), true),
    ];
    for i in (0..ladder.len()).rev() {
        hit(&mut bench, 1, 2);
        let got: Vec<bool> = ladder[..=i].iter().map(|&id| has(&mut bench, id)).collect();
        assert!(got.iter().enumerate().all(|(j, &got)| got == (i == j)), "{i}: {got:?}");
        bench.host.close(bench.now, ladder[i]).unwrap();
    }
    hit(&mut bench, 1, 2);
    bench.assert_counted(Counter::UdpNoPorts, 1);
}

#[test]
fn a_device_binds() {
    let mut bench = Bench::resolved();
    let mut config = InterfaceConfig::ethernet("eth1", MacAddr([2, 0, 0, 0, 0, 9]), 1500);
    config.addresses.push(cidr(Ipv4Addr::new(10, 9, 0, 1), 24));
    let eth1 = bench.host.add_interface(bench.now, config).unwrap();
    let id = socket(&mut bench);
    set(&mut bench, id, SocketOption::BindToDevice(Some(eth1)));
    bench.host.bind(id, at(ANY, 2)).unwrap();
    hit(&mut bench, 1, 2);
    assert!(!has(&mut bench, id));
    let none = SocketOption::BindToDevice(Some(wireway_stack::InterfaceId(9)));
    assert_eq!(bench.host.set_option(bench.now, id, none), Err(Error::NoDevice));
}

#[test]
fn reuse_port_spreads_flows_and_keeps_each_on_one_socket() {
    let mut bench = Bench::resolved();
    let group: Vec<SocketId> = (0..4).map(|_| socket(&mut bench)).collect();
    for &id in &group {
        set(&mut bench, id, SocketOption::ReusePort(true));
        bench.host.bind(id, at(ANY, 2)).unwrap();
    }
    let mut share = [0; 4];
    for from in 1..=400 {
        let mut takers = Vec::new();
        for _ in 0..3 {
            hit(&mut bench, from, 2);
            takers.extend((0..4).filter(|&i| has(&mut bench, group[i])));
        }
        assert!(takers.len() == 3 && takers.iter().all(|&i| i == takers[0]), "flow {from}: {takers:?}");
        share[takers[0]] += 1;
    }
    assert!(share.iter().all(|&n| n > 50), "{share:?}");
}

#[test]
fn binding_follows_linux() {
    let mut bench = Bench::resolved();
    let held = socket(&mut bench);
    bench.host.bind(held, at(OURS, 2)).unwrap();
    assert_eq!(bench.host.bind(held, at(OURS, 3)), Err(Error::InvalidArgument));
    for (domain, address, result) in [
        (Domain::Inet, at(OURS, 2), Err(Error::AddressInUse)),
        (Domain::Inet, at(ANY, 2), Err(Error::AddressInUse)),
        (Domain::Inet6, v6("::", 2), Err(Error::AddressInUse)),
        (Domain::Inet6, mapped(OURS, 2), Err(Error::AddressInUse)),
        (Domain::Inet, at(Ipv4Addr::LOCALHOST, 2), Ok(())),
        (Domain::Inet6, v6("::1", 2), Ok(())),
        (Domain::Inet, at(PEER, 2), Err(Error::AddressNotAvailable)),
        (Domain::Inet6, v6("2001:db8::1", 2), Err(Error::AddressNotAvailable)),
        (Domain::Inet, v6("::1", 2), Err(Error::FamilyNotSupported)),
        (Domain::Inet, at(Ipv4Addr::new(127, 4, 5, 6), 2), Ok(())),
        (Domain::Inet, at(Ipv4Addr::new(10, 0, 0, 255), 2), Ok(())),
    ] {
        let id = bench.host.socket(domain, Kind::Datagram).unwrap();
        assert_eq!(bench.host.bind(id, address), result, "{address}");
        bench.host.close(bench.now, id).unwrap();
    }
    // V6ONLY keeps out of IPv4's way.
    let only = socket6(&mut bench);
    set(&mut bench, only, SocketOption::V6Only(true));
    assert_eq!(bench.host.bind(only, mapped(OURS, 2)), Err(Error::InvalidArgument));
    bench.host.bind(only, v6("::", 2)).unwrap();
    hit(&mut bench, 1, 2);
    assert_eq!((has(&mut bench, only), has(&mut bench, held)), (false, true));
    // Both must be willing to share.
    let second = socket(&mut bench);
    set(&mut bench, second, SocketOption::ReuseAddress(true));
    assert_eq!(bench.host.bind(second, at(OURS, 2)), Err(Error::AddressInUse));
    set(&mut bench, held, SocketOption::ReuseAddress(true));
    bench.host.bind(second, at(OURS, 2)).unwrap();
    // A closed socket's port is free.
    bench.host.close(bench.now, second).unwrap();
    bench.host.close(bench.now, held).unwrap();
    let third = socket(&mut bench);
    bench.host.bind(third, at(OURS, 2)).unwrap();
    assert_eq!(bench.host.local_addr(held), Err(Error::BadDescriptor));
}

#[test]
fn ephemeral_ports_come_from_the_range_until_it_is_empty() {
    let settings = Settings { ip_local_port_range: (40_000, 40_031), ..Settings::default() };
    let mut bench = Bench::with(settings, |_| {});
    let mut ports = Vec::new();
    for _ in 0..32 {
        let id = bench.udp(0);
        ports.push(bench.host.local_addr(id).unwrap().port());
    }
    let unordered = ports.clone();
    ports.sort();
    assert!(ports.iter().copied().eq(40_000..40_032));
    assert_ne!(unordered, ports, "not one after the other (RFC 6056)");
    let id = socket(&mut bench);
    assert_eq!(bench.host.bind(id, at(ANY, 0)), Err(Error::AddressInUse));
    assert_eq!(bench.host.connect(bench.now, id, at(PEER, 1)), Err(Error::AddressInUse));
}

#[test]
fn v4_mapped_addresses_on_an_inet6_socket() {
    let mut bench = Bench::resolved();
    let id = socket6(&mut bench);
    assert_eq!(bench.host.local_addr(id), Ok(v6("::", 0)));
    bench.host.bind(id, v6("::", 2)).unwrap();
    hit(&mut bench, 1, 2);
    let (info, _) = bench.recv(id).unwrap();
    assert_eq!((info.source, info.destination), (mapped(PEER, 1), mapped(OURS, 2)));
    bench.host.send_to(bench.now, id, b"x", Some(mapped(PEER, 1)), None).unwrap();
    assert_eq!(bench.sent_ip().len(), 1);
    let far = bench.host.send_to(bench.now, id, b"x", Some(v6("2001:db8::1", 1)), None);
    assert_eq!(far, Err(Error::NetworkUnreachable));
    assert_eq!(bench.host.connect(bench.now, id, v6("2001:db8::1", 1)), Err(Error::NetworkUnreachable));
    bench.host.connect(bench.now, id, mapped(PEER, 1)).unwrap();
    assert_eq!(bench.host.local_addr(id), Ok(mapped(OURS, 2)));
    assert_eq!(bench.host.peer_addr(id), Ok(mapped(PEER, 1)));
    let only = socket6(&mut bench);
    set(&mut bench, only, SocketOption::V6Only(true));
    assert_eq!(bench.host.connect(bench.now, only, mapped(PEER, 1)), Err(Error::NetworkUnreachable));
}

#[test]
fn broadcast_needs_permission_and_reaches_all() {
    let mut bench = Bench::resolved();
    let directed = Ipv4Addr::new(10, 0, 0, 255);
    let sender = bench.udp(3);
    for to in [directed, Ipv4Addr::BROADCAST] {
        let denied = bench.host.send_to(bench.now, sender, b"x", Some(at(to, 2)), None);
        assert_eq!(denied, Err(if to == directed { Error::AccessDenied } else { Error::NetworkUnreachable }));
    }
    assert_eq!(bench.host.connect(bench.now, sender, at(directed, 2)), Err(Error::AccessDenied));
    set(&mut bench, sender, SocketOption::Broadcast(true));
    let receivers: Vec<SocketId> = (0..3).map(|_| socket(&mut bench)).collect();
    for &id in &receivers {
        set(&mut bench, id, SocketOption::ReuseAddress(true));
        bench.host.bind(id, at(ANY, 2)).unwrap();
    }
    let specific = socket(&mut bench);
    set(&mut bench, specific, SocketOption::ReuseAddress(true));
    bench.host.bind(specific, at(OURS, 2)).unwrap();
    // From outside: each socket bound to any address, not one bound to ours.
    bench.receive(&frame(MacAddr::BROADCAST, PEER_MAC, EtherType::IPV4, &udp(at(PEER, 1), at(directed, 2), b"all")));
    assert!(receivers.iter().all(|&id| bench.recv(id).is_ok_and(|(_, data)| data == b"all")));
    assert!(!has(&mut bench, specific));
    // From inside: on the wire, and to ourselves.
    bench.host.send_to(bench.now, sender, b"ours", Some(at(directed, 2)), None).unwrap();
    bench.settle();
    let frames = bench.sent();
    assert_eq!((frames.len(), &frames[0][..6]), (1, &[0xff; 6][..]));
    assert!(receivers.iter().all(|&id| bench.recv(id).is_ok_and(|(info, _)| info.source == at(OURS, 3))));
    // Nobody there: dropped, and nothing is said.
    bench.receive(&frame(MacAddr::BROADCAST, PEER_MAC, EtherType::IPV4, &udp(at(PEER, 1), at(directed, 77), b"x")));
    bench.assert_counted(Counter::UdpIgnoredMulti, 1);
    assert!(bench.sent().is_empty());
}

#[test]
fn shutdown_follows_linux() {
    let mut bench = Bench::resolved();
    let id = bench.udp(2);
    assert_eq!(bench.host.shutdown(bench.now, id, Shutdown::Write), Err(Error::NotConnected));
    let id = bench.udp(3);
    bench.host.connect(bench.now, id, at(PEER, 1)).unwrap();
    assert_eq!(bench.host.shutdown(bench.now, id, Shutdown::Write), Ok(()));
    assert_eq!(bench.host.send(bench.now, id, b"x", SendFlags::default()), Err(Error::BrokenPipe));
    assert_eq!(bench.recv(id), Err(Error::WouldBlock));
    assert_eq!(bench.host.shutdown(bench.now, id, Shutdown::Read), Ok(()));
    assert_eq!(bench.recv(id).unwrap().0.len, 0);
    let ready = bench.host.ready(id);
    assert!(ready.contains(Ready::IN | Ready::RDHUP | Ready::HUP));
}

#[test]
fn calls_that_a_datagram_socket_has_not() {
    let mut bench = Bench::resolved();
    let id = bench.udp(2);
    assert_eq!(bench.host.listen(id, 1), Err(Error::NotSupported));
    assert_eq!(bench.host.accept(bench.now, id), Err(Error::NotSupported));
    let option = bench.host.set_option(bench.now, id, SocketOption::NoDelay(true));
    assert_eq!(option, Err(Error::NoProtocolOption));
    assert_eq!(bench.host.set_option(bench.now, id, SocketOption::Ttl(Some(0))), Err(Error::InvalidArgument));
    assert_eq!(bench.host.set_option(bench.now, id, SocketOption::V6Only(true)), Err(Error::NoProtocolOption));
    assert_eq!(bench.host.tcp_info(bench.now, id), Err(Error::NoProtocolOption));
    assert_eq!(bench.host.send_to(bench.now, id, b"x", Some(at(PEER, 0)), None), Err(Error::InvalidArgument));
    bench.host.close(bench.now, id).unwrap();
    assert_eq!(bench.host.close(bench.now, id), Err(Error::BadDescriptor));
    assert_eq!(bench.recv(id), Err(Error::BadDescriptor));
    assert_eq!(bench.host.ready(id), Ready::empty());
}

#[test]
fn a_transparent_socket_takes_any_address_and_port_and_sends_from_any() {
    let far = Ipv4Addr::new(93, 184, 216, 34);
    let mut bench = Bench::with(Settings::default(), |config| config.any_destination = true);
    bench.introduce();
    // An ordinary socket of the port does not get what is for others.
    let ordinary = bench.udp(53);
    bench.receive(&from_peer(&udp(at(PEER, 1), at(far, 53), b"x")));
    assert!(!has(&mut bench, ordinary));
    let (from, header, _) = bench.sent_icmp().unwrap();
    assert_eq!((from, header.code), (far, unreachable::PORT), "refused in the other's name");

    let id = socket(&mut bench);
    set(&mut bench, id, SocketOption::Transparent(true));
    bench.host.bind(id, at(ANY, 0)).unwrap();
    for (to, port) in [(far, 53), (far, 9999), (Ipv4Addr::new(1, 1, 1, 1), 53), (OURS, 7777)] {
        bench.receive(&from_peer(&udp(at(PEER, 4), at(to, port), b"ask")));
        let (info, _) = bench.recv(id).unwrap();
        assert_eq!((info.source, info.destination), (at(PEER, 4), at(to, port)));
        bench.host.send_to(bench.now, id, b"answer", Some(info.source), Some(info.destination)).unwrap();
        let sent = bench.sent_ip();
        let (view, payload) = Ipv4View::parse(&sent[0]).unwrap();
        assert_eq!((view.header.src(), view.header.dst()), (to, PEER));
        assert_eq!(payload, udp_payload(at(to, port), at(PEER, 4), b"answer"));
    }
    // What another socket has is that one's.
    bench.receive(&from_peer(&udp(at(PEER, 4), at(OURS, 53), b"ask")));
    assert_eq!((has(&mut bench, ordinary), has(&mut bench, id)), (true, false));
    // It can refuse what it took.
    bench.receive(&from_peer(&udp(at(PEER, 4), at(far, 53), b"ask")));
    let (info, _) = bench.recv(id).unwrap();
    bench.host.send_unreachable(bench.now, id, &info, &[], Unreachable::Port).unwrap();
    let (from, header, quoted) = bench.sent_icmp().unwrap();
    assert_eq!((from, header.code), (far, unreachable::PORT));
    let (quoted_header, _) = (UdpHeader::parse_head(&quoted[20..], 11).unwrap(), ());
    let ports = (quoted_header.src_port.get(), quoted_header.dst_port.get(), quoted_header.length.get());
    assert_eq!(ports, (4, 53, 11));
    // Others may neither send from foreign addresses nor refuse.
    let foreign = bench.host.send_to(bench.now, ordinary, b"x", Some(at(PEER, 4)), Some(at(far, 53)));
    assert_eq!(foreign, Err(Error::AddressNotAvailable));
    let refused = bench.host.send_unreachable(bench.now, ordinary, &info, &[], Unreachable::Port);
    assert_eq!(refused, Err(Error::NotPermitted));
}

#[test]
fn two_hosts_over_a_cable() {
    use std::time::Duration;
    use wireway_lab::Network;
    use wireway_link::LinkConfig;

    let mut network = Network::new(1);
    let mut add = |last: u8| {
        let mut host = Host::new(Settings::default(), [last; 32]);
        let mut config = InterfaceConfig::ethernet("eth0", MacAddr([2, 0, 0, 0, 0, last]), 1500);
        config.addresses.push(cidr(Ipv4Addr::new(10, 0, 0, last), 24));
        let eth0 = host.add_interface(network.now(), config).unwrap();
        (network.add_host(host), eth0)
    };
    let (a, b) = (add(1), add(2));
    let link = LinkConfig { delay: Duration::from_millis(10), ..LinkConfig::default() };
    network.connect(a, b, link.clone(), link);
    let server = network.host(b.0).socket(Domain::Inet, Kind::Datagram).unwrap();
    network.host(b.0).bind(server, at(ANY, 7)).unwrap();
    let client = network.host(a.0).socket(Domain::Inet, Kind::Datagram).unwrap();
    let now = network.now();
    for i in 0..30u8 {
        network.host(a.0).send_to(now, client, &vec![i; 3000], Some(at(PEER, 7)), None).unwrap();
    }
    let mut next = 0;
    assert!(network.run_until(Duration::from_secs(1), |network| {
        while let Ok((info, data)) = recv(network.host(b.0), server) {
            assert_eq!((info.source.ip(), data), (IpAddr::from(OURS), vec![next; 3000]));
            next += 1;
        }
        next == 30
    }));
    assert_eq!(network.host(a.0).counters().dropped(), 0);
    assert_eq!(network.host(b.0).counters().dropped(), 0);
    // A port that nobody has: the error comes back.
    let now = network.now();
    network.host(a.0).connect(now, client, at(PEER, 8)).unwrap();
    network.host(a.0).send(now, client, b"x", SendFlags::default()).unwrap();
    assert!(network.run_until(Duration::from_secs(1), |network| {
        network.host(a.0).take_error(client) == Some(Error::ConnectionRefused)
    }));
}
