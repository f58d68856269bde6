//! Datagrams to groups, in and out: which sockets get them, by which interface and from which address they leave, and what is looped back.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use common::*;
use wireway_stack::{
    Cidr, Counter, Domain, DropReason, Error, FilterMode, InterfaceConfig, InterfaceId, Kind, Membership, Settings,
    SocketId, SocketOption,
};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{EtherType, EthernetHeader, Ipv4View, Ipv6Fields, Ipv6Header, MacAddr, Protocol, Sum, UdpHeader};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 3);
const OURS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const PEER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const S1: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);
const PORT: u16 = 5000;

/// A host with both families, without what its addresses send at the start.
fn bench() -> Bench {
    let mut bench = Bench::with(Settings::default(), |config| {
        config.addresses.push(Cidr { address: OURS6.into(), prefix_len: 64 });
    });
    bench.run_for(Duration::from_secs(20));
    let _ = bench.sent();
    bench
}

fn set(bench: &mut Bench, id: SocketId, option: SocketOption) {
    bench.host.set_option(bench.now, id, option).unwrap();
}

fn on(bench: &Bench, group: impl Into<IpAddr>, source: Option<IpAddr>) -> Membership {
    Membership { group: group.into(), interface: Some(bench.eth0), source }
}

fn join(bench: &mut Bench, id: SocketId, group: impl Into<IpAddr>) {
    let wanted = on(bench, group, None);
    set(bench, id, SocketOption::JoinGroup(wanted));
    let _ = bench.sent();
}

fn sharing(bench: &mut Bench, domain: Domain, local: SocketAddr) -> SocketId {
    let id = bench.host.socket(domain, Kind::Datagram).unwrap();
    set(bench, id, SocketOption::ReuseAddress(true));
    bench.host.bind(id, local).unwrap();
    id
}

fn v4(bench: &mut Bench) -> SocketId {
    sharing(bench, Domain::Inet, at(Ipv4Addr::UNSPECIFIED, PORT))
}

fn v6(bench: &mut Bench) -> SocketId {
    sharing(bench, Domain::Inet6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)))
}

/// A datagram of a station's to a group.
fn to_group(source: Ipv4Addr, group: Ipv4Addr, data: &[u8]) -> Vec<u8> {
    frame(MacAddr::multicast_v4(group), PEER_MAC, EtherType::IPV4, &udp(at(source, 9), at(group, PORT), data))
}

fn to_group6(source: Ipv6Addr, group: Ipv6Addr, data: &[u8]) -> Vec<u8> {
    let len = UdpHeader::LEN + data.len();
    let mut header = UdpHeader::new(9, PORT, len as u16);
    let mut sum = Sum::pseudo_v6(source, group, Protocol::UDP, len as u32);
    sum.add_bytes(header.as_bytes());
    sum.add_bytes(data);
    header.checksum.set(sum.finish_udp());
    let fields = Ipv6Fields {
        traffic_class: 0,
        flow_label: 0,
        payload_len: len as u16,
        next_header: Protocol::UDP,
        hop_limit: 5,
        src: source,
        dst: group,
    };
    let packet = [Ipv6Header::new(&fields).as_bytes(), header.as_bytes(), data].concat();
    frame(MacAddr::multicast_v6(group), PEER_MAC, EtherType::IPV6, &packet)
}

#[track_caller]
fn got(bench: &mut Bench, id: SocketId) -> bool {
    match bench.recv(id) {
        Ok((_, data)) => {
            assert_eq!(data, b"data");
            true
        }
        Err(error) => {
            assert_eq!(error, Error::WouldBlock);
            false
        }
    }
}

#[test]
fn who_joined_gets_it_and_who_did_not_by_the_option() {
    let mut bench = bench();
    let (joined, bystander, other) = (v4(&mut bench), v4(&mut bench), v4(&mut bench));
    bench.receive(&to_group(PEER, GROUP, b"data"));
    bench.assert_dropped(DropReason::IpMulticast, 1);
    join(&mut bench, joined, GROUP);
    set(&mut bench, other, SocketOption::MulticastAll(Domain::Inet, false));
    bench.receive(&to_group(PEER, GROUP, b"data"));
    assert_eq!([joined, bystander, other].map(|id| got(&mut bench, id)), [true, true, false]);
    // It left by closing.
    bench.host.close(bench.now, joined).unwrap();
    bench.receive(&to_group(PEER, GROUP, b"data"));
    assert!(!got(&mut bench, bystander));
    bench.assert_dropped(DropReason::IpMulticast, 2);
}

#[test]
fn sources_are_filtered_for_each_socket() {
    let mut bench = bench();
    let (one, all_but_one, bystander) = (v4(&mut bench), v4(&mut bench), v4(&mut bench));
    let wanted = on(&bench, GROUP, Some(S1.into()));
    set(&mut bench, one, SocketOption::JoinGroup(wanted));
    // The interface hears S1 alone: a bystander, too.
    bench.receive(&to_group(PEER, GROUP, b"data"));
    assert_eq!([one, bystander].map(|id| got(&mut bench, id)), [false, false]);
    bench.assert_dropped(DropReason::IpMulticast, 1);
    bench.receive(&to_group(S1, GROUP, b"data"));
    assert_eq!([one, all_but_one, bystander].map(|id| got(&mut bench, id)), [true, true, true]);
    join(&mut bench, all_but_one, GROUP);
    set(&mut bench, all_but_one, SocketOption::BlockSource(wanted));
    for (source, expected) in [(S1, [true, false, true]), (PEER, [false, true, true])] {
        bench.receive(&to_group(source, GROUP, b"data"));
        assert_eq!([one, all_but_one, bystander].map(|id| got(&mut bench, id)), expected, "{source}");
    }
    let eth0 = Some(bench.eth0);
    let filter = bench.host.source_filter(all_but_one, GROUP.into(), eth0);
    assert_eq!(filter, Ok((FilterMode::Exclude, vec![S1.into()])));
}

#[test]
fn ipv6_is_filtered_likewise() {
    let mut bench = bench();
    let (joined, bystander) = (v6(&mut bench), v6(&mut bench));
    bench.receive(&to_group6(PEER6, GROUP6, b"data"));
    bench.assert_dropped(DropReason::IpMulticast, 1);
    let wanted = on(&bench, GROUP6, Some(PEER6.into()));
    set(&mut bench, joined, SocketOption::JoinGroup(wanted));
    bench.receive(&to_group6(PEER6, GROUP6, b"data"));
    assert_eq!([joined, bystander].map(|id| got(&mut bench, id)), [true, true]);
    set(&mut bench, bystander, SocketOption::MulticastAll(Domain::Inet6, false));
    bench.receive(&to_group6(PEER6, GROUP6, b"data"));
    assert_eq!([joined, bystander].map(|id| got(&mut bench, id)), [true, false]);
    let other = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3);
    bench.receive(&to_group6(other, GROUP6, b"data"));
    assert!(!got(&mut bench, joined));
}

/// RFC 7371: flags old and new are bits of the address, whatever they mean (ff35 is of a source-specific group, ff75 of one with its rendezvous point).
#[test]
fn flags_of_a_group_are_part_of_its_address() {
    let mut bench = bench();
    let id = v6(&mut bench);
    set(&mut bench, id, SocketOption::MulticastAll(Domain::Inet6, false));
    let group = |flags: u16, reserved: u16| Ipv6Addr::new(0xff05 | flags << 4, reserved << 12, 0, 0, 0, 0, 1, 3);
    for joined in 0..16 {
        join(&mut bench, id, group(joined, joined));
        for flags in 0..16 {
            bench.receive(&to_group6(PEER6, group(flags, joined), b"data"));
            assert_eq!(got(&mut bench, id), flags == joined, "{joined} {flags}");
        }
        let wanted = on(&bench, group(joined, joined), None);
        set(&mut bench, id, SocketOption::LeaveGroup(wanted));
    }
}

/// An IPv6 socket joins IPv4's groups, too (as Linux's do).
#[test]
fn a_socket_of_both_families_is_in_groups_of_both() {
    let mut bench = bench();
    let id = v6(&mut bench);
    join(&mut bench, id, GROUP);
    bench.receive(&to_group(PEER, GROUP, b"data"));
    let (info, _) = bench.recv(id).unwrap();
    assert_eq!(info.source.ip(), IpAddr::V6(PEER.to_ipv6_mapped()));
    assert_eq!(info.destination.ip(), IpAddr::V6(GROUP.to_ipv6_mapped()));
}

#[test]
fn raw_sockets_are_filtered_too() {
    let mut bench = bench();
    let (udp, raw) = (v4(&mut bench), bench.host.socket(Domain::Inet, Kind::Raw(Protocol::UDP.0)).unwrap());
    set(&mut bench, raw, SocketOption::MulticastAll(Domain::Inet, false));
    join(&mut bench, udp, GROUP);
    bench.receive(&to_group(PEER, GROUP, b"data"));
    assert_eq!(bench.recv(raw).map(|_| ()), Err(Error::WouldBlock));
    let wanted = on(&bench, GROUP, Some(S1.into()));
    set(&mut bench, raw, SocketOption::JoinGroup(wanted));
    bench.receive(&to_group(PEER, GROUP, b"data"));
    assert_eq!(bench.recv(raw).map(|_| ()), Err(Error::WouldBlock));
    bench.receive(&to_group(S1, GROUP, b"data"));
    assert!(bench.recv(raw).is_ok());
}

/// The header's addresses and hop count, and the link's destination, of what was sent.
fn sent_v4(bench: &mut Bench) -> Vec<(MacAddr, Ipv4Addr, Ipv4Addr, u8)> {
    let frames = bench.sent();
    let headers = frames.iter().map(|frame| {
        let (link, packet) = EthernetHeader::parse(frame).unwrap();
        let (ip, _) = Ipv4View::parse(packet).unwrap();
        (link.dst, ip.header.src(), ip.header.dst(), ip.header.ttl())
    });
    headers.collect()
}

#[test]
fn what_is_sent_goes_to_the_groups_address_with_one_hop() {
    let mut bench = bench();
    let id = v4(&mut bench);
    let send =
        |bench: &mut Bench, to: SocketAddr| bench.host.send_to(bench.now, id, b"data", Some(to), None).map(|_| ());
    // Without a route there is none by which to go.
    assert_eq!(send(&mut bench, at(GROUP, PORT)), Err(Error::NetworkUnreachable));
    let eth0 = bench.eth0;
    set(&mut bench, id, SocketOption::MulticastInterface(Domain::Inet, Some(eth0)));
    set(&mut bench, id, SocketOption::Ttl(Some(9)));
    send(&mut bench, at(GROUP, PORT)).unwrap();
    let mac = MacAddr([0x01, 0x00, 0x5e, 1, 2, 3]);
    assert_eq!(sent_v4(&mut bench), [(mac, OURS, GROUP, 1)]);
    set(&mut bench, id, SocketOption::MulticastHops(Domain::Inet, 7));
    set(&mut bench, id, SocketOption::MulticastSource(Some(S1)));
    assert_eq!(send(&mut bench, at(GROUP, PORT)), Err(Error::NetworkUnreachable), "not an own address");
    bench.host.add_address(bench.now, eth0, cidr(S1, 24), false).unwrap();
    send(&mut bench, at(GROUP, PORT)).unwrap();
    assert_eq!(sent_v4(&mut bench), [(mac, S1, GROUP, 7)]);
    // A socket that is bound to the group sends from the interface's address.
    let bound = sharing(&mut bench, Domain::Inet, at(GROUP, PORT));
    set(&mut bench, bound, SocketOption::MulticastInterface(Domain::Inet, Some(eth0)));
    bench.host.send_to(bench.now, bound, b"data", Some(at(GROUP, PORT)), None).unwrap();
    assert_eq!(sent_v4(&mut bench), [(mac, OURS, GROUP, 1)]);
    bench.assert_counted(Counter::IpExtOutMcastPkts, 3);
}

#[test]
fn ipv6_goes_by_the_first_link_unless_said() {
    let mut bench = bench();
    let mut config = InterfaceConfig::ethernet("eth1", MacAddr([2, 0, 0, 0, 1, 1]), 1500);
    config.addresses.push(Cidr { address: "fd01::1".parse().unwrap(), prefix_len: 64 });
    let eth1 = bench.host.add_interface(bench.now, config).unwrap();
    bench.run_for(Duration::from_secs(20));
    let take = |bench: &mut Bench, interface: InterfaceId| {
        let frames = std::iter::from_fn(|| bench.host.transmit(bench.now, interface)).map(|f| f.to_vec());
        let udp = frames.filter(|f| f[12..14] == [0x86, 0xdd] && f[20] == 17);
        udp.map(|f| (f[..6].to_vec(), f[21])).collect::<Vec<_>>()
    };
    let eth0 = bench.eth0;
    let id = v6(&mut bench);
    let _ = (take(&mut bench, eth0), take(&mut bench, eth1));
    let to = SocketAddr::from((GROUP6, PORT));
    let mac = vec![0x33, 0x33, 0, 1, 0, 3];
    bench.host.send_to(bench.now, id, b"data", Some(to), None).unwrap();
    assert_eq!((take(&mut bench, eth0), take(&mut bench, eth1)), (vec![(mac.clone(), 1)], vec![]));
    set(&mut bench, id, SocketOption::MulticastInterface(Domain::Inet6, Some(eth1)));
    set(&mut bench, id, SocketOption::MulticastHops(Domain::Inet6, 4));
    bench.host.send_to(bench.now, id, b"data", Some(to), None).unwrap();
    assert_eq!((take(&mut bench, eth0), take(&mut bench, eth1)), (vec![], vec![(mac, 4)]));
}

#[test]
fn own_listeners_get_it_unless_the_sender_says_no() {
    let mut bench = bench();
    let (sender, listener) = (v4(&mut bench), v4(&mut bench));
    let eth0 = bench.eth0;
    set(&mut bench, sender, SocketOption::MulticastInterface(Domain::Inet, Some(eth0)));
    set(&mut bench, sender, SocketOption::MulticastAll(Domain::Inet, false));
    let send = |bench: &mut Bench| {
        bench.host.send_to(bench.now, sender, b"data", Some(at(GROUP, PORT)), None).unwrap();
        bench.settle();
    };
    send(&mut bench);
    assert!(!got(&mut bench, listener), "nobody joined");
    join(&mut bench, listener, GROUP);
    send(&mut bench);
    let (info, _) = bench.recv(listener).unwrap();
    assert_eq!((info.interface, info.source), (eth0, at(OURS, PORT)));
    assert!(!got(&mut bench, sender));
    set(&mut bench, sender, SocketOption::MulticastLoop(Domain::Inet, false));
    send(&mut bench);
    assert!(!got(&mut bench, listener));
    assert_eq!(bench.sent().len(), 2);
    // With no hops it does not leave the host.
    set(&mut bench, sender, SocketOption::MulticastLoop(Domain::Inet, true));
    set(&mut bench, sender, SocketOption::MulticastHops(Domain::Inet, 0));
    send(&mut bench);
    assert!(got(&mut bench, listener));
    assert_eq!(bench.sent().len(), 0);
    // Which unicast cannot be told (RFC 1122 §3.2.1.7).
    let none = bench.host.set_option(bench.now, sender, SocketOption::Ttl(Some(0)));
    assert_eq!(none, Err(Error::InvalidArgument));
    // And what pretends to come from us is not taken, though our own copies are.
    bench.receive(&to_group(OURS, GROUP, b"data"));
    assert!(!got(&mut bench, listener));
    bench.assert_dropped(DropReason::IpLocalSource, 1);
}

/// A datagram longer than the MTU is looped back whole, and leaves in fragments.
#[test]
fn long_datagrams_are_looped_back_too() {
    let mut bench = bench();
    let (sender, listener) = (v6(&mut bench), v6(&mut bench));
    join(&mut bench, listener, GROUP6);
    let data = vec![7; 5000];
    bench.host.send_to(bench.now, sender, &data, Some(SocketAddr::from((GROUP6, PORT))), None).unwrap();
    bench.settle();
    assert_eq!(bench.recv(listener).unwrap().1, data);
    assert_eq!(bench.sent().len(), 4);
}

#[test]
fn on_lo_it_stays() {
    let mut bench = bench();
    let (sender, listener) = (v4(&mut bench), v4(&mut bench));
    set(&mut bench, sender, SocketOption::MulticastInterface(Domain::Inet, Some(InterfaceId::LOOPBACK)));
    let wanted = Membership { interface: Some(InterfaceId::LOOPBACK), ..on(&bench, GROUP, None) };
    set(&mut bench, listener, SocketOption::JoinGroup(wanted));
    bench.host.send_to(bench.now, sender, b"data", Some(at(GROUP, PORT)), None).unwrap();
    bench.settle();
    let (info, _) = bench.recv(listener).unwrap();
    assert_eq!((info.interface, info.source), (InterfaceId::LOOPBACK, at(Ipv4Addr::LOCALHOST, PORT)));
    assert!(bench.sent().is_empty());
    // What comes by a link is none of its business.
    bench.receive(&to_group(PEER, GROUP, b"data"));
    assert!(!got(&mut bench, listener));
}

/// A membership is one of an interface, as long as the socket has not left there.
#[test]
fn joins_are_counted_for_each_interface() {
    let mut bench = bench();
    let (a, b) = (v4(&mut bench), v4(&mut bench));
    join(&mut bench, a, GROUP);
    join(&mut bench, b, GROUP);
    let left = on(&bench, GROUP, None);
    set(&mut bench, a, SocketOption::LeaveGroup(left));
    assert!(bench.sent().is_empty(), "the other still listens");
    bench.receive(&to_group(PEER, GROUP, b"data"));
    assert!(got(&mut bench, b));
    set(&mut bench, b, SocketOption::LeaveGroup(left));
    assert_eq!(bench.sent().len(), 1);
}
