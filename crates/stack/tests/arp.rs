//! ARP, neighbours and claims of addresses: RFC 826, RFC 5227, and Linux's neighbour states.

mod common;

use std::net::Ipv4Addr;
use std::time::Duration;

use common::*;
use wireway_packet::Instant;
use wireway_stack::{Counter, DropReason, NeighbourState, Settings};
use wireway_wire::{ArpOperation, ArpPacket, EtherType, MacAddr};

const SECOND: Duration = Duration::from_secs(1);
const THIRD_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);

fn state(bench: &Bench) -> Option<(NeighbourState, MacAddr)> {
    bench.host.neighbours().iter().find(|n| n.address == PEER).map(|n| (n.state, n.mac))
}

fn answer() -> Vec<u8> {
    let reply = ArpPacket::new(ArpOperation::REPLY, (PEER_MAC, PEER), (OUR_MAC, OURS));
    arp(OUR_MAC, PEER_MAC, &reply)
}

fn say(bench: &mut Bench, text: &[u8]) {
    let id = bench.udp(0);
    bench.host.send_to(bench.now, id, text, Some(at(PEER, 9)), None).unwrap();
    bench.host.close(bench.now, id).unwrap();
}

#[test]
fn a_request_for_us_is_answered_and_its_sender_learnt() {
    let mut bench = Bench::new();
    bench.receive(&arp(MacAddr::BROADCAST, PEER_MAC, &ArpPacket::request(PEER_MAC, PEER, OURS)));
    let sent = bench.sent_arp();
    let [(to, reply)] = sent[..] else { panic!("{} ARP packets", sent.len()) };
    assert_eq!(to, PEER_MAC);
    assert_eq!(reply, ArpPacket::new(ArpOperation::REPLY, (OUR_MAC, OURS), (PEER_MAC, PEER)));
    assert_eq!(state(&bench), Some((NeighbourState::Stale, PEER_MAC)));
    // What is known is used without asking.
    say(&mut bench, b"x");
    assert_eq!(bench.sent_ip().len(), 1);
}

#[test]
fn requests_for_others_are_neither_answered_nor_learnt() {
    let mut bench = Bench::new();
    let other = Ipv4Addr::new(10, 0, 0, 77);
    bench.receive(&arp(MacAddr::BROADCAST, PEER_MAC, &ArpPacket::request(PEER_MAC, PEER, other)));
    assert!(bench.sent().is_empty());
    assert_eq!(state(&bench), None);
    bench.assert_dropped(DropReason::ArpNotForUs, 1);
}

#[test]
fn packets_wait_for_the_answer_and_go_in_order() {
    let mut bench = Bench::new();
    for text in [b"one", b"two", b"six"] {
        say(&mut bench, text);
    }
    // One question for all of them.
    let asked = bench.sent_arp();
    assert_eq!(asked, [(MacAddr::BROADCAST, ArpPacket::request(OUR_MAC, OURS, PEER))]);
    bench.receive(&answer());
    let texts: Vec<Vec<u8>> = bench.sent_ip().iter().map(|p| p[28..].to_vec()).collect();
    assert_eq!(texts, [b"one", b"two", b"six"]);
    assert_eq!(state(&bench), Some((NeighbourState::Reachable, PEER_MAC)));
    assert_eq!(bench.host.counters().dropped(), 0);
}

#[test]
fn what_waits_is_bounded_and_the_newest_is_dropped() {
    let mut bench = Bench::with(Settings { neigh_unres_qlen: 2, ..Settings::default() }, |_| {});
    for text in [b"one", b"two", b"six"] {
        say(&mut bench, text);
    }
    bench.assert_dropped(DropReason::NeighbourQueueFull, 1);
    bench.receive(&answer());
    let texts: Vec<Vec<u8>> = bench.sent_ip().iter().map(|p| p[28..].to_vec()).collect();
    assert_eq!(texts, [b"one", b"two"]);
}

#[test]
fn a_neighbour_that_does_not_answer_fails_after_three_questions() {
    let mut bench = Bench::new();
    say(&mut bench, b"x");
    let mut asked = bench.sent_arp().len();
    for _ in 0..2 {
        bench.run_for(SECOND);
        asked += bench.sent_arp().len();
    }
    assert_eq!(asked, 3);
    assert_eq!(state(&bench).map(|s| s.0), Some(NeighbourState::Incomplete));
    bench.run_for(SECOND);
    assert_eq!(state(&bench).map(|s| s.0), Some(NeighbourState::Failed));
    bench.assert_dropped(DropReason::NeighbourFailed, 1);
    // We tell ourselves that the host is unreachable.
    bench.assert_counted(Counter::IcmpInDestUnreachs, 1);
    assert!(bench.sent().is_empty());
    // The next packet starts anew.
    say(&mut bench, b"y");
    assert_eq!(bench.sent_arp().len(), 1);
    bench.receive(&answer());
    assert_eq!(bench.sent_ip().len(), 1);
}

#[test]
fn a_silent_neighbour_goes_stale_is_checked_when_used_and_fails() {
    let mut bench = Bench::new();
    say(&mut bench, b"x");
    bench.receive(&answer());
    bench.sent();
    bench.run_for(46 * SECOND);
    assert_eq!(state(&bench).map(|s| s.0), Some(NeighbourState::Stale));
    say(&mut bench, b"y");
    assert_eq!(bench.sent_ip().len(), 1, "a stale neighbour is still used");
    assert_eq!(state(&bench).map(|s| s.0), Some(NeighbourState::Delay));
    bench.run_for(5 * SECOND);
    assert_eq!(state(&bench).map(|s| s.0), Some(NeighbourState::Probe));
    // The check is unicast.
    assert_eq!(bench.sent_arp(), [(PEER_MAC, ArpPacket::request(OUR_MAC, OURS, PEER))]);
    bench.receive(&answer());
    assert_eq!(state(&bench).map(|s| s.0), Some(NeighbourState::Reachable));
    bench.run_for(46 * SECOND);
    say(&mut bench, b"z");
    bench.run_for(9 * SECOND);
    assert_eq!(state(&bench).map(|s| s.0), Some(NeighbourState::Failed));
    // And is forgotten, as is one that nobody uses.
    bench.run_for(60 * SECOND);
    assert_eq!(state(&bench), None);
    assert_eq!(bench.host.poll_at(), None);
}

#[test]
fn an_announcement_updates_what_is_known_and_nothing_else() {
    let mut bench = Bench::new();
    let announce = |mac| arp(MacAddr::BROADCAST, mac, &ArpPacket::announcement(mac, PEER));
    bench.receive(&announce(PEER_MAC));
    assert_eq!(state(&bench), None);
    say(&mut bench, b"x");
    bench.receive(&answer());
    bench.receive(&announce(THIRD_MAC));
    assert_eq!(state(&bench), Some((NeighbourState::Stale, THIRD_MAC)));
    assert!(bench.sent_arp().len() <= 1, "announcements are not answered");
}

#[test]
fn of_two_answers_the_first_stands_for_a_while() {
    let mut bench = Bench::new();
    say(&mut bench, b"x");
    bench.receive(&answer());
    let second = ArpPacket::new(ArpOperation::REPLY, (THIRD_MAC, PEER), (OUR_MAC, OURS));
    bench.receive(&arp(OUR_MAC, THIRD_MAC, &second));
    assert_eq!(state(&bench).map(|s| s.1), Some(PEER_MAC));
    bench.run_for(SECOND);
    bench.receive(&arp(OUR_MAC, THIRD_MAC, &second));
    assert_eq!(state(&bench).map(|s| s.1), Some(THIRD_MAC));
}

#[test]
fn neighbours_are_bounded_in_number() {
    let settings = Settings { neigh_gc_thresh3: 16, ..Settings::default() };
    let mut bench = Bench::with(settings, |config| config.addresses[0].prefix_len = 16);
    for i in 0..1000u16 {
        let [a, b] = i.to_be_bytes();
        let sender = Ipv4Addr::new(10, 0, 100 + a, b.max(1));
        bench.receive(&arp(MacAddr::BROADCAST, PEER_MAC, &ArpPacket::request(PEER_MAC, sender, OURS)));
    }
    assert_eq!(bench.host.neighbours().len(), 16);
}

#[test]
fn frames_for_other_stations_are_dropped() {
    let mut bench = Bench::new();
    bench.receive(&frame(THIRD_MAC, PEER_MAC, EtherType::IPV4, &ping(1, 1, b"")));
    bench.assert_dropped(DropReason::OtherHost, 1);
    bench.receive(&frame(OUR_MAC, PEER_MAC, EtherType(0x88cc), &[0x60; 40]));
    bench.assert_dropped(DropReason::UnhandledProtocol, 1);
    assert!(bench.sent().is_empty());
}

#[test]
fn an_interface_that_stands_in_for_the_world_answers_for_all_but_the_asker() {
    let mut bench = Bench::with(Settings::default(), |config| config.any_destination = true);
    let far = Ipv4Addr::new(93, 184, 216, 34);
    bench.receive(&arp(MacAddr::BROADCAST, PEER_MAC, &ArpPacket::request(PEER_MAC, PEER, far)));
    let reply = ArpPacket::new(ArpOperation::REPLY, (OUR_MAC, far), (PEER_MAC, PEER));
    assert_eq!(bench.sent_arp(), [(PEER_MAC, reply)]);
    // The asker's own address: an announcement, a probe.
    bench.receive(&arp(MacAddr::BROADCAST, PEER_MAC, &ArpPacket::announcement(PEER_MAC, PEER)));
    bench.receive(&arp(MacAddr::BROADCAST, PEER_MAC, &ArpPacket::probe(PEER_MAC, PEER)));
    assert!(bench.sent().is_empty());
}

fn probing() -> Bench {
    Bench::with(Settings::default(), |config| config.probe = true)
}

#[test]
fn an_address_is_probed_then_announced_then_used() {
    let mut bench = probing();
    assert!(bench.host.interface(bench.eth0).unwrap().addresses.is_empty());
    let (mut probes, mut times): (Vec<ArpPacket>, Vec<Instant>) = Default::default();
    let start = bench.now;
    while bench.now.since(start) < 12 * SECOND {
        bench.run_for(SECOND / 10);
        for (to, packet) in bench.sent_arp() {
            assert_eq!(to, MacAddr::BROADCAST);
            probes.push(packet);
            times.push(bench.now);
        }
    }
    let (probe, announcement) = (ArpPacket::probe(OUR_MAC, OURS), ArpPacket::announcement(OUR_MAC, OURS));
    assert_eq!(probes, [probe, probe, probe, announcement, announcement]);
    // RFC 5227 §1.1: up to a second at first, one to two between probes, two before and between announcements.
    let slack = SECOND / 10;
    let gap = |i: usize| times[i + 1].since(times[i]);
    assert!(times[0].since(start) <= SECOND + slack);
    assert!((0..2).all(|i| gap(i) + slack >= SECOND && gap(i) <= 2 * SECOND + slack));
    assert!((2..4).all(|i| gap(i) + slack >= 2 * SECOND && gap(i) <= 2 * SECOND + slack));
    assert_eq!(bench.host.interface(bench.eth0).unwrap().addresses, [cidr(OURS, 24)]);
    assert_eq!(bench.host.poll_at(), None);
}

#[test]
fn a_conflict_while_probing_gives_the_address_up() {
    for packet in [
        ArpPacket::announcement(PEER_MAC, OURS),
        ArpPacket::new(ArpOperation::REPLY, (PEER_MAC, OURS), (OUR_MAC, Ipv4Addr::UNSPECIFIED)),
        ArpPacket::probe(PEER_MAC, OURS),
    ] {
        let mut bench = probing();
        bench.run_for(3 * SECOND / 2);
        bench.receive(&arp(MacAddr::BROADCAST, PEER_MAC, &packet));
        bench.run_for(20 * SECOND);
        assert!(bench.host.interface(bench.eth0).unwrap().addresses.is_empty());
        bench.assert_counted(Counter::ArpConflicts, 1);
    }
}

#[test]
fn an_address_in_use_is_defended_once_in_ten_seconds_and_kept() {
    let mut bench = Bench::new();
    let conflict = arp(MacAddr::BROADCAST, PEER_MAC, &ArpPacket::announcement(PEER_MAC, OURS));
    bench.receive(&conflict);
    bench.receive(&conflict);
    assert_eq!(bench.sent_arp(), [(MacAddr::BROADCAST, ArpPacket::announcement(OUR_MAC, OURS))]);
    bench.run_for(10 * SECOND);
    bench.receive(&conflict);
    assert_eq!(bench.sent_arp().len(), 1);
    bench.assert_counted(Counter::ArpConflicts, 3);
    // A probe for it is answered (RFC 5227 §2.1.1).
    bench.receive(&arp(MacAddr::BROADCAST, PEER_MAC, &ArpPacket::probe(PEER_MAC, OURS)));
    let sent = bench.sent_arp();
    assert_eq!((sent[0].1.operation(), sent[0].1.sender_ip()), (ArpOperation::REPLY, OURS));
    assert_eq!(bench.host.interface(bench.eth0).unwrap().addresses.len(), 1);
}

#[test]
fn an_interface_can_announce_without_probing() {
    let mut bench = Bench::with(Settings { arp_notify: true, ..Settings::default() }, |_| {});
    bench.run_for(10 * SECOND);
    let announcement = (MacAddr::BROADCAST, ArpPacket::announcement(OUR_MAC, OURS));
    assert_eq!(bench.sent_arp(), [announcement, announcement]);
}

#[test]
fn a_full_transmit_queue_drops_the_newest() {
    let mut bench = Bench::with(Settings::default(), |config| config.queue_limit = 2);
    bench.introduce();
    for text in [b"one", b"two", b"six"] {
        say(&mut bench, text);
    }
    bench.assert_dropped(DropReason::QueueFull, 1);
    bench.assert_counted(Counter::UdpSndbufErrors, 1);
    assert_eq!(bench.host.interface(bench.eth0).unwrap().statistics.tx_dropped, 1);
    let texts: Vec<Vec<u8>> = bench.sent_ip().iter().map(|p| p[28..].to_vec()).collect();
    assert_eq!(texts, [b"one", b"two"]);
}
