//! Neighbour discovery: asking and answering, what is believed (RFC 4861 §7.2.5), duplicate address detection, unreachability, floods.

mod common;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use common::v6::*;
use common::*;
use wireway_stack::{AddressState, Counter, DropReason, Error, NeighbourState, Settings};
use wireway_wire::ipv6::{ALL_NODES, solicited_node};
use wireway_wire::ndp::{NeighbourAdvertisement, NeighbourSolicitation};
use wireway_wire::{AdvertisementFlags as Flags, Icmpv6Type, Ipv6Header, MacAddr, Protocol};

const THIRD_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);

/// A host that knows nobody.
fn alone() -> Bench {
    let mut bench = Bench::v6();
    bench.host.set_neighbour(bench.now, bench.eth0, PEER6.into(), None).unwrap();
    bench
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Sends a datagram to the peer.
fn send(bench: &mut Bench) {
    let id = bench.udp6(0);
    bench.host.send_to(bench.now, id, b"x", Some(at6(PEER6, 5)), None).unwrap();
    bench.host.close(bench.now, id).unwrap();
}

/// What the host sent, as solicitations (to which MAC address, target) and UDP datagrams (to which MAC address).
fn sent(bench: &mut Bench) -> (Vec<(MacAddr, Ipv6Addr)>, Vec<MacAddr>) {
    let (mut asked, mut data) = (Vec::new(), Vec::new());
    for (mac, packet) in bench.sent6() {
        let (ip, payload) = Ipv6Header::parse(&packet).unwrap();
        match ip.next_header {
            Protocol::UDP => data.push(mac),
            _ => {
                assert_eq!(ip.hop_limit, 255);
                wireway_wire::icmpv6::verify_checksum(ip.src(), ip.dst(), payload).unwrap();
                let (solicitation, options) = NeighbourSolicitation::parse(ip.src(), ip.dst(), payload).unwrap();
                assert_eq!(options.source_link_layer(), (!ip.src().is_unspecified()).then_some(OUR_MAC));
                asked.push((mac, solicitation.target()));
            }
        }
    }
    (asked, data)
}

fn state(bench: &Bench) -> Option<(MacAddr, NeighbourState)> {
    bench.host.neighbours().iter().find(|n| n.address == IpAddr::V6(PEER6)).map(|n| (n.mac, n.state))
}

fn advertise(bench: &mut Bench, flags: Flags, mac: Option<MacAddr>) {
    let to = if flags.contains(Flags::SOLICITED) { OURS6 } else { ALL_NODES };
    let packet = ndp(PEER6, to, &NeighbourAdvertisement::new(flags, PEER6), |w| match mac {
        Some(mac) => w.target_link_layer(mac),
        None => w,
    });
    bench.receive6(&packet);
}

#[test]
fn packets_wait_for_the_answer_and_go_in_order() {
    let mut bench = alone();
    for _ in 0..3 {
        send(&mut bench);
    }
    let group = MacAddr::multicast_v6(solicited_node(PEER6));
    assert_eq!(sent(&mut bench), (vec![(group, PEER6)], vec![]));
    advertise(&mut bench, Flags::SOLICITED | Flags::OVERRIDE, Some(PEER_MAC));
    assert_eq!(sent(&mut bench), (vec![], vec![PEER_MAC; 3]));
    assert_eq!(state(&bench), Some((PEER_MAC, NeighbourState::Reachable)));
}

#[test]
fn a_neighbour_that_does_not_answer_fails_after_three_questions() {
    let mut bench = alone();
    let id = bench.udp6(7);
    bench.host.connect(bench.now, id, at6(PEER6, 5)).unwrap();
    bench.host.set_option(bench.now, id, wireway_stack::SocketOption::ReceiveErrorsV6(true)).unwrap();
    bench.host.send(bench.now, id, b"x", Default::default()).unwrap();
    bench.run_for(seconds(4));
    assert_eq!(sent(&mut bench).0.len(), 3);
    assert_eq!(bench.host.take_error(id), Some(Error::HostUnreachable));
    bench.assert_dropped(DropReason::NeighbourFailed, 1);
}

#[test]
fn a_solicitation_for_us_is_answered_and_its_sender_learnt() {
    let mut bench = alone();
    bench.receive6(&solicitation(PEER6, OURS6, PEER_MAC));
    let (mac, packet) = bench.sent6().pop().unwrap();
    let (ip, payload) = Ipv6Header::parse(&packet).unwrap();
    let (answer, options) = NeighbourAdvertisement::parse(ip.dst(), payload).unwrap();
    assert_eq!((mac, ip.src(), ip.dst(), ip.hop_limit), (PEER_MAC, OURS6, PEER6, 255));
    assert_eq!((answer.target(), answer.flags()), (OURS6, Flags::SOLICITED | Flags::OVERRIDE));
    assert_eq!(options.target_link_layer(), Some(OUR_MAC));
    assert_eq!(state(&bench), Some((PEER_MAC, NeighbourState::Stale)));
    // So is one by unicast (RFC 4861 §7.2.4), as a check of us is.
    let check = ndp(PEER6, OURS6, &NeighbourSolicitation::new(OURS6), |w| w);
    bench.receive6_by(OUR_MAC, &check);
    let (mac, packet) = bench.sent6().pop().unwrap();
    let (ip, payload) = Ipv6Header::parse(&packet).unwrap();
    let (answer, _) = NeighbourAdvertisement::parse(ip.dst(), payload).unwrap();
    assert_eq!((mac, ip.dst(), answer.flags()), (PEER_MAC, PEER6, Flags::SOLICITED | Flags::OVERRIDE));
    // A probe of another host's for an address of ours is answered to all.
    let probe = ndp(Ipv6Addr::UNSPECIFIED, solicited_node(OURS6), &NeighbourSolicitation::new(OURS6), |w| w);
    bench.receive6(&probe);
    let (mac, packet) = bench.sent6().pop().unwrap();
    let (ip, payload) = Ipv6Header::parse(&packet).unwrap();
    let (answer, _) = NeighbourAdvertisement::parse(ip.dst(), payload).unwrap();
    assert_eq!((mac, ip.dst(), answer.flags()), (MacAddr::multicast_v6(ALL_NODES), ALL_NODES, Flags::OVERRIDE));
    // For others nothing is said.
    let other = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0x100, 1);
    bench.receive6_by(OUR_MAC, &ndp(PEER6, OURS6, &NeighbourSolicitation::new(other), |w| w));
    assert!(bench.sent6().is_empty());
    bench.assert_dropped(DropReason::NdNotForUs, 1);
}

#[test]
fn messages_that_a_router_passed_on_or_that_are_wrong_are_not_believed() {
    let mut bench = alone();
    let good = solicitation(PEER6, OURS6, PEER_MAC);
    let mut far = good.clone();
    far[7] = 254;
    bench.receive6(&far);
    bench.assert_dropped(DropReason::NdHopLimit, 1);
    // An option of length 0.
    let mut empty = good.clone();
    empty[40 + 25] = 0;
    let (src, dst) = (PEER6, solicited_node(OURS6));
    wireway_wire::icmpv6::fill_checksum(src, dst, &mut empty[40..]);
    bench.receive6(&empty);
    bench.assert_dropped(DropReason::NdMalformed, 1);
    // In a fragment (RFC 6980), even an atomic one.
    let header = wireway_wire::FragmentHeader::new(Protocol::ICMPV6, 0, false, 1);
    let inner = [wireway_wire::zerocopy::IntoBytes::as_bytes(&header), &good[40..]].concat();
    bench.receive6(&ip6_hops(PEER6, dst, Protocol::FRAGMENT, 255, &inner));
    bench.assert_dropped(DropReason::NdMalformed, 2);
    assert!(bench.sent6().is_empty() && state(&bench).is_none());
    // An advertisement that nobody asked for makes no entry (RFC 4861 §7.2.5).
    advertise(&mut bench, Flags::OVERRIDE, Some(PEER_MAC));
    assert_eq!(state(&bench), None);
}

#[test]
fn advertisements_are_believed_by_their_flags() {
    use NeighbourState::{Incomplete, Reachable, Stale};
    let all = [Flags::empty(), Flags::SOLICITED, Flags::OVERRIDE, Flags::SOLICITED | Flags::OVERRIDE];
    // RFC 4861 §7.2.5, from each state: who it is said to be, and the state after it.
    for flags in all {
        let (solicited, overrides) = (flags.contains(Flags::SOLICITED), flags.contains(Flags::OVERRIDE));
        for mac in [None, Some(PEER_MAC), Some(THIRD_MAC)] {
            let mut bench = alone();
            send(&mut bench);
            assert_eq!(state(&bench).unwrap().1, Incomplete);
            advertise(&mut bench, flags, mac);
            let want = match mac {
                None => (MacAddr::ZERO, Incomplete),
                Some(mac) => (mac, if solicited { Reachable } else { Stale }),
            };
            assert_eq!(state(&bench), Some(want), "incomplete, {flags:?} {mac:?}");

            for from in [Reachable, Stale] {
                let mut bench = alone();
                send(&mut bench);
                let first = if from == Reachable { Flags::SOLICITED } else { Flags::empty() };
                advertise(&mut bench, first, Some(PEER_MAC));
                assert_eq!(state(&bench), Some((PEER_MAC, from)));
                // What waited was sent, and a stale neighbour that is used is checked: not of interest here.
                let other = mac == Some(THIRD_MAC);
                advertise(&mut bench, flags, mac);
                let want = match (other, overrides) {
                    (true, false) => (PEER_MAC, Stale),
                    (true, true) => (THIRD_MAC, if solicited { Reachable } else { Stale }),
                    (false, _) => (PEER_MAC, if solicited { Reachable } else { from }),
                };
                assert_eq!(state(&bench), Some(want), "{from:?}, {flags:?} {mac:?}");
            }
        }
    }
}

#[test]
fn a_silent_neighbour_is_checked_when_used_and_followed_to_its_new_address() {
    let mut bench = alone();
    send(&mut bench);
    advertise(&mut bench, Flags::SOLICITED | Flags::OVERRIDE, Some(PEER_MAC));
    bench.run_for(seconds(50));
    assert_eq!(state(&bench).unwrap().1, NeighbourState::Stale);
    sent(&mut bench);
    send(&mut bench);
    assert_eq!(sent(&mut bench), (vec![], vec![PEER_MAC]));
    assert_eq!(state(&bench).unwrap().1, NeighbourState::Delay);
    bench.run_for(seconds(5));
    assert_eq!(sent(&mut bench), (vec![(PEER_MAC, PEER6)], vec![]), "asked by unicast");
    advertise(&mut bench, Flags::SOLICITED | Flags::OVERRIDE, Some(THIRD_MAC));
    send(&mut bench);
    assert_eq!(sent(&mut bench), (vec![], vec![THIRD_MAC]));
}

#[test]
fn an_address_is_probed_before_it_is_used() {
    let mut bench = Bench::with(Settings::default(), |config| config.addresses = vec![cidr6(OURS6)]);
    let states = |bench: &Bench| bench.host.addresses(bench.eth0).iter().map(|a| a.state).collect::<Vec<_>>();
    assert_eq!(states(&bench), [AddressState::Tentative; 2]);
    bench.run_for(Duration::from_millis(1_001));
    let probes: Vec<_> = bench.sent6().into_iter().map(|(_, packet)| packet).collect();
    let mut targets: Vec<Ipv6Addr> = Vec::new();
    for packet in &probes {
        let (ip, payload) = Ipv6Header::parse(packet).unwrap();
        let (solicitation, options) = NeighbourSolicitation::parse(ip.src(), ip.dst(), payload).unwrap();
        assert_eq!((ip.src(), ip.dst()), (Ipv6Addr::UNSPECIFIED, solicited_node(solicitation.target())));
        assert_eq!(options.nonce().unwrap().len(), 6);
        targets.push(solicitation.target());
    }
    assert_eq!(targets.len(), 2);
    assert!(targets.contains(&OURS6) && targets.contains(&bench.link_local()));
    // Not yet ours: not answered, and packets to it are dropped.
    bench.receive6(&solicitation(PEER6, OURS6, PEER_MAC));
    bench.receive6(&icmp6(PEER6, OURS6, Icmpv6Type::ECHO_REQUEST, 0, [0; 4], b""));
    assert!(bench.sent6().is_empty());
    bench.assert_dropped(DropReason::IpInAddressErrors, 1);
    // Our own probe, come back over a loop, is no other's (RFC 7527).
    for packet in &probes {
        bench.receive6(packet);
    }
    bench.assert_counted(Counter::NdConflicts, 0);
    bench.run_for(seconds(2));
    assert_eq!(states(&bench), [AddressState::Preferred; 2]);
    bench.receive6(&solicitation(PEER6, OURS6, PEER_MAC));
    assert_eq!(bench.sent6().len(), 1);
}

#[test]
fn a_conflict_gives_an_address_up_and_a_made_one_is_made_anew() {
    for by_probe in [true, false] {
        let mut bench = Bench::with(Settings::default(), |config| config.addresses = vec![cidr6(OURS6)]);
        let conflict = |target: Ipv6Addr| match by_probe {
            true => ndp(Ipv6Addr::UNSPECIFIED, solicited_node(target), &NeighbourSolicitation::new(target), |w| {
                w.nonce([9; 6])
            }),
            false => advertisement(Flags::OVERRIDE, target, ALL_NODES, target, PEER_MAC),
        };
        let first = bench.link_local();
        bench.receive6(&conflict(OURS6));
        bench.receive6(&conflict(first));
        bench.assert_counted(Counter::NdConflicts, 2);
        let second = bench.link_local();
        assert_ne!(first, second);
        bench.run_for(seconds(5));
        let left = bench.host.addresses(bench.eth0);
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].cidr, left[0].state), (cidr6(second), AddressState::Preferred));
        // In use it is kept.
        bench.receive6(&advertisement(Flags::OVERRIDE, PEER6, ALL_NODES, second, PEER_MAC));
        assert_eq!(bench.link_local(), second);
        bench.assert_counted(Counter::NdConflicts, 3);
    }
    // Three in a row are enough (RFC 7217 §7).
    let mut bench = Bench::with(Settings::default(), |config| config.addresses = vec![cidr6(OURS6)]);
    for _ in 0..3 {
        let address = bench.link_local();
        bench.receive6(&advertisement(Flags::OVERRIDE, address, ALL_NODES, address, PEER_MAC));
    }
    assert_eq!(bench.host.addresses(bench.eth0).len(), 1);
}

#[test]
fn stable_addresses_are_of_secret_prefix_and_interface() {
    let of = |secret: u8, name: &str| {
        let settings = Settings { ipv6_stable_secret: Some([secret; 16]), ..quick() };
        Bench::v6_with(settings, |config| config.name = name.into()).link_local()
    };
    assert_eq!(of(1, "eth0"), of(1, "eth0"));
    assert_ne!(of(1, "eth0"), of(2, "eth0"));
    assert_ne!(of(1, "eth0"), of(1, "eth1"));
}

#[test]
fn a_flood_of_neighbours_is_bounded_and_those_in_use_stay() {
    let settings = Settings { neigh_gc_thresh3: 64, ..quick() };
    let mut bench = Bench::v6_with(settings, |_| {});
    bench.host.set_neighbour(bench.now, bench.eth0, PEER6.into(), None).unwrap();
    send(&mut bench);
    advertise(&mut bench, Flags::SOLICITED | Flags::OVERRIDE, Some(PEER_MAC));
    // Solicitations from a thousand addresses, and datagrams to a thousand that are not there (RFC 6583).
    let id = bench.udp6(9);
    for n in 0..1000u16 {
        let other = Ipv6Addr::new(0xfd00, 0, 0, 0, 1, 0, 0, n);
        bench.receive6(&solicitation(other, OURS6, THIRD_MAC));
        let target = Ipv6Addr::new(0xfd00, 0, 0, 0, 2, 0, 0, n);
        bench.host.send_to(bench.now, id, b"x", Some(at6(target, 5)), None).unwrap();
        bench.sent();
    }
    assert!(bench.host.neighbours().len() <= 64);
    assert_eq!(state(&bench), Some((PEER_MAC, NeighbourState::Reachable)));
    bench.sent();
    send(&mut bench);
    assert_eq!(sent(&mut bench), (vec![], vec![PEER_MAC]));
}

#[test]
fn an_interface_that_stands_in_for_the_world_answers_for_it_as_a_router() {
    let mut bench = Bench::v6_with(quick(), |config| config.any_destination = true);
    let far: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let ask = |bench: &mut Bench, from: Ipv6Addr, target: Ipv6Addr| {
        let message = NeighbourSolicitation::new(target);
        bench.receive6_by(OUR_MAC, &ndp(from, OURS6, &message, |w| w.source_link_layer(PEER_MAC)));
        bench.sent6().pop().map(|(_, packet)| {
            let (ip, payload) = Ipv6Header::parse(&packet).unwrap();
            NeighbourAdvertisement::parse(ip.dst(), payload).unwrap().0.flags()
        })
    };
    assert_eq!(ask(&mut bench, PEER6, far), Some(Flags::SOLICITED | Flags::ROUTER));
    assert_eq!(ask(&mut bench, PEER6, OURS6), Some(Flags::SOLICITED | Flags::ROUTER | Flags::OVERRIDE));
    assert_eq!(ask(&mut bench, PEER6, PEER6), None);
    assert_eq!(ask(&mut bench, PEER6, "fe80::77".parse().unwrap()), None);
}
