//! Interfaces that go down and up, and change their MTU, while they are in use. What Linux does was looked up on Linux.

mod tcp_common;

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tcp_common::*;
use wireway_lab::Network;
use wireway_link::LinkConfig;
use wireway_packet::{Instant, Packet};
use wireway_stack::{
    AddressOptions, Cidr, Domain, DropReason, Error, Host, InterfaceConfig, InterfaceId, Kind, Membership, Ready,
    RouteEntry, Settings, SocketId, SocketOption, Vlan,
};
use wireway_wire::{EthernetHeader, MacAddr, VlanProtocol};

const LO: InterfaceId = InterfaceId::LOOPBACK;
const ETH0: InterfaceId = InterfaceId(1);
const NOW: Instant = Instant::from_millis(1_000);

fn cidr(text: &str) -> Cidr {
    let (address, len) = text.split_once('/').unwrap();
    Cidr { address: address.parse().unwrap(), prefix_len: len.parse().unwrap() }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A host at 10.0.0.1/24 and fd00::1/64.
fn host() -> Host {
    let mut host = Host::new(Settings { ipv6_dad_transmits: 0, ..Settings::default() }, [1; 32]);
    let mut config = InterfaceConfig::ethernet("eth0", MacAddr([2, 0, 0, 0, 0, 1]), 1500);
    config.addresses = vec![cidr("10.0.0.1/24"), cidr("fd00::1/64")];
    host.add_interface(NOW, config).unwrap();
    host
}

fn send(host: &mut Host, to: &str, device: Option<&str>) -> Result<usize, Error> {
    let to: SocketAddr = SocketAddr::new(ip(to), 9);
    let domain = if to.is_ipv4() { Domain::Inet } else { Domain::Inet6 };
    let id = host.socket(domain, Kind::Datagram).unwrap();
    if device.is_some() {
        host.set_option(NOW, id, SocketOption::BindToDevice(Some(ETH0))).unwrap();
    }
    let result = host.send_to(NOW, id, b"x", Some(to), None);
    host.close(NOW, id).unwrap();
    result
}

fn addresses(host: &Host) -> Vec<String> {
    let all = host.addresses(ETH0).into_iter().map(|known| known.cidr.address);
    all.filter(|address| !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .map(|a| a.to_string())
        .collect()
}

fn frames(host: &mut Host) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| host.transmit(NOW, ETH0)).map(|frame| frame.to_vec()).collect()
}

fn has_link_local(host: &Host) -> bool {
    host.addresses(ETH0).iter().any(|at| matches!(at.cidr.address, IpAddr::V6(v6) if v6.is_unicast_link_local()))
}

#[test]
fn down_is_as_on_linux() {
    let mut host = host();
    let by_gateway = |network: &str, gateway: &str| RouteEntry {
        gateway: Some(ip(gateway)),
        ..RouteEntry::new(cidr(network), ETH0)
    };
    host.add_route(by_gateway("0.0.0.0/0", "10.0.0.2")).unwrap();
    host.add_route(by_gateway("::/0", "fd00::2")).unwrap();
    host.set_neighbour(NOW, ETH0, ip("10.0.0.2"), Some(MacAddr([2; 6]))).unwrap();
    frames(&mut host);
    assert_eq!(send(&mut host, "192.0.2.1", None), Ok(1));
    assert_eq!(send(&mut host, "10.0.0.3", None), Ok(1));

    host.set_up(NOW, ETH0, false).unwrap();
    assert!(!host.interface(ETH0).unwrap().up);
    assert_eq!((host.routes(), host.neighbours()), (vec![], vec![]));
    assert_eq!(addresses(&host), ["10.0.0.1"], "IPv6's go");
    assert!(!has_link_local(&host) && frames(&mut host).is_empty());
    assert_eq!(
        host.counters()[DropReason::DevReady],
        2,
        "what waited in the queue: the packet, and a question for a neighbour"
    );
    for (to, device) in [
        ("192.0.2.1", None),
        ("10.0.0.3", None),
        ("10.0.0.3", Some("eth0")),
        ("fd00::3", None),
        ("255.255.255.255", None),
    ] {
        assert_eq!(send(&mut host, to, device), Err(Error::NetworkUnreachable), "{to}");
    }
    // An address of IPv4 is the host's own, whatever its interface does.
    assert_eq!(send(&mut host, "10.0.0.1", None), Ok(1));
    let id = host.socket(Domain::Inet, Kind::Datagram).unwrap();
    assert_eq!(host.bind(id, SocketAddr::new(ip("10.0.0.1"), 0)), Ok(()));
    assert_eq!(host.add_route(by_gateway("0.0.0.0/0", "10.0.0.2")), Err(Error::NetworkDown));
    // Nothing comes in.
    host.receive(NOW, ETH0, Packet::copy_from(&[0xff; 60]));
    assert_eq!(host.counters()[DropReason::DevReady], 3);
    assert_eq!(host.interface(ETH0).unwrap().statistics.rx_dropped, 1);
    // An address that is added meanwhile is used later.
    host.add_address(NOW, ETH0, cidr("10.1.0.1/16"), false).unwrap();
    host.add_address(NOW, ETH0, cidr("fd01::1/64"), false).unwrap();
    assert_eq!(host.routes(), vec![]);

    host.set_up(NOW, ETH0, true).unwrap();
    assert_eq!(addresses(&host), ["10.0.0.1", "10.1.0.1", "fd01::1"]);
    assert!(has_link_local(&host));
    let networks: Vec<String> = host.routes().iter().map(|r| r.destination.network().to_string()).collect();
    assert_eq!(networks, ["fd01::", "fe80::", "10.0.0.0", "10.1.0.0"], "gateways were somebody's to set");
    assert_eq!(send(&mut host, "10.0.0.3", None), Ok(1));
    assert_eq!(send(&mut host, "192.0.2.1", None), Err(Error::NetworkUnreachable));
    assert!(!frames(&mut host).is_empty());
}

#[test]
fn groups_are_told_again_and_routers_asked_again() {
    let mut host = Host::new(Settings::default(), [1; 32]);
    let config = InterfaceConfig {
        autoconf: true,
        addresses: vec![cidr("10.0.0.1/24")],
        ..InterfaceConfig::ethernet("eth0", MacAddr([2, 0, 0, 0, 0, 1]), 1500)
    };
    host.add_interface(NOW, config).unwrap();
    let id = host.socket(Domain::Inet, Kind::Datagram).unwrap();
    let group = Ipv4Addr::new(239, 1, 2, 3).into();
    let membership = Membership { group, interface: Some(ETH0), source: None };
    host.set_option(NOW, id, SocketOption::JoinGroup(membership)).unwrap();
    let run = |host: &mut Host, from: u64| {
        let mut seen = Vec::new();
        for step in 0..1000 {
            let now = Instant::from_millis(from + step * 10);
            host.poll(now);
            seen.extend(std::iter::from_fn(|| host.transmit(now, ETH0)).map(|frame| frame.to_vec()));
        }
        seen
    };
    let of = |frames: &[Vec<u8>], what: &str| {
        let is = |frame: &&Vec<u8>| {
            let icmpv6 = |kind| frame[12..14] == [0x86, 0xdd] && frame[20] == 58 && frame[54] == kind;
            match what {
                "igmp" => frame[12..14] == [8, 0] && frame[23] == 2,
                "mld" => frame[12..14] == [0x86, 0xdd] && frame[20] == 0,
                "probe" => icmpv6(135) && frame[22..38] == [0; 16],
                _ => icmpv6(133),
            }
        };
        frames.iter().filter(is).count()
    };
    let first = run(&mut host, 1_000);
    let all = ["igmp", "mld", "probe", "router"];
    for what in all {
        assert!(of(&first, what) > 0, "{what}");
    }
    assert!(has_link_local(&host));
    let address = host.addresses(ETH0);
    host.set_up(Instant::from_millis(11_000), ETH0, false).unwrap();
    assert_eq!(run(&mut host, 11_000), Vec::<Vec<u8>>::new());
    host.set_up(Instant::from_millis(21_000), ETH0, true).unwrap();
    let again = run(&mut host, 21_000);
    for what in all {
        assert_eq!(of(&again, what), of(&first, what), "{what}");
    }
    let now = host.addresses(ETH0);
    assert_eq!(now.iter().map(|a| a.cidr).collect::<Vec<_>>(), address.iter().map(|a| a.cidr).collect::<Vec<_>>());
}

#[test]
fn lo_goes_down_too() {
    let mut host = host();
    host.set_up(NOW, LO, false).unwrap();
    assert_eq!(send(&mut host, "127.0.0.1", None), Ok(1), "as on Linux, into nothing");
    assert_eq!(send(&mut host, "10.0.0.1", None), Ok(1));
    assert_eq!(send(&mut host, "::1", None), Err(Error::NetworkUnreachable));
    assert_eq!(host.counters()[DropReason::DevReady], 2);
    host.set_up(NOW, LO, true).unwrap();
    for to in ["127.0.0.1", "10.0.0.1", "::1"] {
        let id = host.socket(if to == "::1" { Domain::Inet6 } else { Domain::Inet }, Kind::Datagram).unwrap();
        host.bind(id, SocketAddr::new(ip(to), 9)).unwrap();
        assert_eq!(send(&mut host, to, None), Ok(1));
        host.poll(NOW);
        assert!(host.ready(id).contains(Ready::IN), "{to}");
    }
    host.set_mtu(NOW, LO, 1279).unwrap();
    host.set_up(NOW, LO, false).unwrap();
    host.set_up(NOW, LO, true).unwrap();
    assert_eq!(send(&mut host, "::1", None), Err(Error::NetworkUnreachable), "no IPv6 on so short a link");
    host.set_mtu(NOW, LO, 1500).unwrap();
    assert_eq!((host.interface(LO).unwrap().mtu, send(&mut host, "::1", None)), (1500, Ok(1)));
}

#[test]
fn addresses_for_a_time_end_while_the_interface_is_down_and_after() {
    for (back, mtu) in [(false, 1500), (true, 1500), (true, 1279)] {
        let mut host = host();
        let end = NOW + Duration::from_secs(5);
        let options = AddressOptions { lifetimes: Some((end, end)), ..AddressOptions::default() };
        host.add_address_with(NOW, ETH0, cidr("10.1.0.1/16"), options).unwrap();
        host.set_mtu(NOW, ETH0, mtu).unwrap();
        host.set_up(NOW, ETH0, false).unwrap();
        host.set_up(NOW, ETH0, back).unwrap();
        let has = |host: &Host| addresses(host).contains(&"10.1.0.1".to_owned());
        assert!(has(&host));
        host.poll(end);
        assert!(!has(&host), "{back} {mtu}");
    }
}

#[test]
fn vlans_follow_their_parent() {
    let mut host = host();
    let vlan = |parent, id| Vlan { parent, protocol: VlanProtocol::Customer, id };
    let five = host.add_vlan(NOW, "eth0.5", vlan(ETH0, 5)).unwrap();
    let inner = host.add_vlan(NOW, "eth0.5.6", vlan(five, 6)).unwrap();
    assert_eq!(host.set_up(NOW, inner, true), Err(Error::NetworkDown), "a new one is down");
    host.set_up(NOW, five, true).unwrap();
    host.set_up(NOW, inner, true).unwrap();
    let up = |host: &Host| [ETH0, five, inner].map(|id| host.interface(id).unwrap().up);
    host.set_up(NOW, ETH0, false).unwrap();
    assert_eq!(up(&host), [false; 3]);
    assert_eq!(host.set_up(NOW, five, true), Err(Error::NetworkDown));
    host.set_up(NOW, ETH0, true).unwrap();
    assert_eq!(up(&host), [true; 3]);
    let mtus = |host: &Host| [ETH0, five, inner].map(|id| host.interface(id).unwrap().mtu);
    assert_eq!(mtus(&host), [1500; 3]);
    host.set_mtu(NOW, inner, 1300).unwrap();
    host.set_mtu(NOW, ETH0, 1400).unwrap();
    assert_eq!(mtus(&host), [1400, 1400, 1300]);
    host.set_mtu(NOW, ETH0, 1500).unwrap();
    assert_eq!(mtus(&host), [1500, 1400, 1300]);
}

#[test]
fn no_ipv6_below_its_least_mtu() {
    let mut host = host();
    assert_eq!(host.set_mtu(NOW, ETH0, 67), Err(Error::InvalidArgument));
    assert_eq!(host.set_mtu(NOW, ETH0, 65_536), Err(Error::InvalidArgument));
    host.set_mtu(NOW, ETH0, 1279).unwrap();
    assert_eq!(addresses(&host), ["10.0.0.1"]);
    assert!(!has_link_local(&host));
    assert_eq!(send(&mut host, "fd00::2", None), Err(Error::NetworkUnreachable));
    assert_eq!(host.add_address(NOW, ETH0, cidr("fd00::1/64"), false), Err(Error::InvalidArgument));
    host.set_mtu(NOW, ETH0, 1280).unwrap();
    assert!(has_link_local(&host));
    assert_eq!(addresses(&host), ["10.0.0.1"], "as on Linux: others are somebody's to set");
    host.add_address(NOW, ETH0, cidr("fd00::1/64"), false).unwrap();
    assert_eq!(send(&mut host, "fd00::2", None), Ok(1));
}

/// The longest frame that went from A after `since`.
fn watch(net: &mut Network) -> Rc<Cell<usize>> {
    let longest = Rc::new(Cell::new(0));
    let seen = longest.clone();
    net.observe(Box::new(move |_, _, from, frame| {
        if from == 0 {
            seen.set(seen.get().max(frame.len()));
        }
    }));
    longest
}

/// A transfer from A to B, during which `change` happens to the network several times.
fn disturbed(two: &mut Two, (a, b): (SocketId, SocketId), mut change: impl FnMut(&mut Network, usize)) {
    let mut stream = Stream::new((A, a), (B, b), pattern(3, 5_000_000));
    for round in 0..6 {
        // A slow link: none of the rounds is the last.
        two.net.run_until(Duration::from_millis(300), |net| stream.step(net));
        assert!(!stream.ended);
        change(&mut two.net, round);
    }
    assert!(two.net.run_until(Duration::from_secs(600), |net| stream.step(net)));
    assert!(stream.received == stream.data);
}

fn slow() -> LinkConfig {
    LinkConfig { rate: Some(10_000_000), delay: Duration::from_millis(2), ..LinkConfig::default() }
}

fn eth0_again(net: &mut Network, at: wireway_lab::HostId, up: bool) {
    let now = net.now();
    net.host(at).set_up(now, ETH0, up).unwrap();
    if up {
        // What Linux would keep of IPv6 only where keep_addr_on_down says so.
        let last = if at == A { 1 } else { 2 };
        let cidr = Cidr { address: address(last), prefix_len: prefix_len() };
        let _ = net.host(at).add_address(now, ETH0, cidr, false);
    }
}

both_families! {
    fn a_connection_outlives_its_interface() {
        let mut two = Two::new(slow());
        let pair = two.pair();
        disturbed(&mut two, pair, |net, round| {
            let at = if round % 2 == 0 { A } else { B };
            eth0_again(net, at, false);
            net.run_for(Duration::from_millis(700));
            eth0_again(net, at, true);
        });
    }

    fn a_connection_within_a_vlan_outlives_its_parents_rest() {
        let mut two = Two::new(slow());
        for (at, last) in [(A, 1), (B, 2)] {
            let host = two.net.host(at);
            let own = Cidr { address: address(last), prefix_len: prefix_len() };
            host.remove_address(ETH0, own).unwrap();
            let vlan = Vlan { parent: ETH0, protocol: VlanProtocol::Customer, id: 5 };
            let five = host.add_vlan(NOW, "eth0.5", vlan).unwrap();
            host.set_up(NOW, five, true).unwrap();
            host.add_address(NOW, five, own, false).unwrap();
        }
        let pair = two.pair();
        disturbed(&mut two, pair, |net, _| {
            let now = net.now();
            net.host(A).set_up(now, ETH0, false).unwrap();
            net.run_for(Duration::from_millis(300));
            let now = net.now();
            net.host(A).set_up(now, ETH0, true).unwrap();
            let own = Cidr { address: address(1), prefix_len: prefix_len() };
            let _ = net.host(A).add_address(now, InterfaceId(2), own, false);
        });
    }

    fn segments_follow_the_mtu_at_once() {
        let mut two = Two::new(slow());
        let pair = two.pair();
        let longest = watch(&mut two.net);
        let mtus = [1400u32, 1500, 1300, 1280, 1500, 1450];
        disturbed(&mut two, pair, |net, round| {
            let before = round.checked_sub(1).map_or(1500, |last| mtus[last]);
            assert_eq!(longest.get(), before as usize + EthernetHeader::LEN, "after {round} changes");
            let now = net.now();
            net.host(A).set_mtu(now, ETH0, mtus[round]).unwrap();
            longest.set(0);
        });
    }
}
