//! Routers and what hosts make of what they say: default routers and their preferences, prefixes, addresses and their lifetimes, name servers,
//! MTU, redirects, temporary addresses, and floods.

mod common;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use common::v6::*;
use common::*;
use wireway_packet::Instant;
use wireway_stack::{AddressInfo, AddressState, DropReason, Settings};
use wireway_wire::ipv6::{ALL_NODES, ALL_ROUTERS};
use wireway_wire::ndp::{
    NeighbourAdvertisement, Redirect, RouterAdvertisement, RouterAdvertisementFields, RouterPreference,
    RouterSolicitation,
};
use wireway_wire::ndp_options::{FOREVER, PrefixInformation, RouteInformation};
use wireway_wire::{AdvertisementFlags, Ipv6Header, MacAddr, NdpWriter};

const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x11);
const ROUTER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x11]);
const SECOND: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x12);
const SECOND_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x12]);
const PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);
const FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A host that configures itself, with its link-local address in use.
fn listening(settings: Settings) -> Bench {
    let mut bench = Bench::with(settings, |config| {
        config.addresses.clear();
        config.autoconf = true;
    });
    bench.settle();
    bench
}

fn fields(lifetime: u16) -> RouterAdvertisementFields {
    RouterAdvertisementFields { hop_limit: 0, lifetime, ..RouterAdvertisementFields::default() }
}

fn advertise_as(
    bench: &mut Bench,
    (router, mac): (Ipv6Addr, MacAddr),
    fields: &RouterAdvertisementFields,
    options: impl for<'a> FnOnce(NdpWriter<'a>) -> NdpWriter<'a>,
) {
    let message = RouterAdvertisement::new(fields);
    bench.receive6(&ndp(router, ALL_NODES, &message, |w| options(w.source_link_layer(mac))));
}

fn advertise(
    bench: &mut Bench,
    fields: &RouterAdvertisementFields,
    options: impl for<'a> FnOnce(NdpWriter<'a>) -> NdpWriter<'a>,
) {
    advertise_as(bench, (ROUTER, ROUTER_MAC), fields, options);
}

fn prefix(valid: u32, preferred: u32) -> PrefixInformation {
    PrefixInformation::new(PREFIX, 64, true, true, valid, preferred)
}

/// The global addresses that the host made.
fn made(bench: &Bench) -> Vec<AddressInfo> {
    let of = |a: &AddressInfo| !matches!(a.cidr.address, IpAddr::V6(ip) if ip.is_unicast_link_local());
    bench.host.addresses(bench.eth0).into_iter().filter(of).collect()
}

/// Sends a datagram: to which MAC address it goes, and from whom.
fn probe(bench: &mut Bench, to: Ipv6Addr) -> Option<(MacAddr, Ipv6Addr)> {
    let id = bench.udp6(0);
    let result = bench.host.send_to(bench.now, id, b"x", Some(at6(to, 5)), None);
    bench.host.close(bench.now, id).unwrap();
    result.ok()?;
    let sent = bench.sent6().into_iter().rfind(|(_, packet)| packet[6] == 17);
    sent.map(|(mac, packet)| (mac, Ipv6Header::parse(&packet).unwrap().0.src()))
}

#[test]
fn routers_are_asked_for_until_one_answers() {
    let mut bench = listening(quick());
    let mut times = Vec::new();
    let end = bench.now + seconds(40);
    while let Some(at) = bench.host.poll_at().filter(|&at| at <= end) {
        bench.now = bench.now.max(at);
        bench.settle();
        for (mac, packet) in bench.sent6() {
            let (ip, payload) = Ipv6Header::parse(&packet).unwrap();
            let (_, options) = RouterSolicitation::parse(ip.src(), payload).unwrap();
            assert_eq!((mac, ip.dst(), ip.hop_limit), (MacAddr::multicast_v6(ALL_ROUTERS), ALL_ROUTERS, 255));
            assert_eq!((ip.src(), options.source_link_layer()), (bench.link_local(), Some(OUR_MAC)));
            times.push(bench.now.since(Instant::from_millis(1_000)).as_millis() as i64);
        }
    }
    // RFC 4861 §6.3.7 at first, then less and less often (RFC 7559).
    assert!(times.len() == 4 && times[0] <= 1000, "{times:?}");
    let gaps: Vec<i64> = times.windows(2).map(|pair| (pair[1] - pair[0] + 20) / 1000).collect();
    assert_eq!(gaps, [4, 8, 16]);
    advertise(&mut bench, &fields(1800), |w| w);
    bench.sent();
    bench.run_for(seconds(1000));
    assert!(bench.sent6().is_empty());
}

#[test]
fn an_address_that_was_removed_is_made_again_by_the_next_advertisement() {
    let mut bench = listening(quick());
    advertise(&mut bench, &fields(1800), |w| w.prefix(&prefix(7200, 3600)));
    bench.run_for(seconds(3));
    let before = made(&bench)[0].cidr;
    bench.host.remove_address(bench.eth0, before).unwrap();
    bench.run_for(seconds(3));
    assert!(made(&bench).is_empty());
    // Given by hand it is as any other.
    let now = bench.now;
    bench.host.add_address(now, bench.eth0, before, false).unwrap();
    assert_eq!((made(&bench)[0].made, made(&bench)[0].lifetimes), (false, None));
    bench.host.remove_address(bench.eth0, before).unwrap();
    advertise(&mut bench, &fields(1800), |w| w.prefix(&prefix(7200, 3600)));
    bench.run_for(seconds(3));
    let again = made(&bench);
    assert_eq!((again.len(), again[0].cidr, again[0].made), (1, before, true));
}

#[test]
fn an_advertisement_gives_a_router_a_prefix_and_an_address() {
    let mut bench = listening(Settings::default());
    bench.run_for(seconds(5));
    bench.sent();
    assert_eq!(probe(&mut bench, FAR), None);
    advertise(&mut bench, &fields(1800), |w| w.prefix(&prefix(7200, 3600)));
    assert_eq!(made(&bench)[0].state, AddressState::Tentative);
    bench.run_for(seconds(3));
    bench.sent();
    let address = made(&bench)[0];
    assert_eq!(address.state, AddressState::Preferred);
    let IpAddr::V6(ip) = address.cidr.address else { panic!() };
    assert_eq!(ip.segments()[..4], PREFIX.segments()[..4]);
    // The identifier is another than the link-local address's (RFC 7217), and none of the MAC address.
    assert_ne!(ip.segments()[4..], bench.link_local().segments()[4..]);
    assert_eq!(probe(&mut bench, FAR), Some((ROUTER_MAC, ip)));
    // A neighbour in the prefix is asked for itself.
    let neighbour = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 9);
    assert_eq!(probe(&mut bench, neighbour), None);
    bench.sent();
    // The prefix is still the link's when the router goes, until its time is over.
    bench.run_for(seconds(1801));
    bench.sent();
    assert_eq!(probe(&mut bench, FAR), None);
    assert_eq!(made(&bench)[0].state, AddressState::Preferred);
    bench.run_for(seconds(1800));
    assert_eq!(made(&bench)[0].state, AddressState::Deprecated);
    bench.run_for(seconds(3600));
    assert!(made(&bench).is_empty());
    assert!(!bench.host.routes().iter().any(|r| r.destination.address == IpAddr::V6(PREFIX)));
}

#[test]
fn what_is_no_valid_advertisement_changes_nothing() {
    let mut bench = listening(quick());
    let good = |src: Ipv6Addr| {
        ndp(src, ALL_NODES, &RouterAdvertisement::new(&fields(1800)), |w| w.prefix(&prefix(7200, 3600)))
    };
    // Not from a link-local address; passed on by a router.
    bench.receive6(&good(PEER6));
    bench.assert_dropped(DropReason::NdMalformed, 1);
    let mut far = good(ROUTER);
    far[7] = 64;
    bench.receive6(&far);
    bench.assert_dropped(DropReason::NdHopLimit, 1);
    // Prefixes that no address can be made of (RFC 4862 §5.5.3).
    let bad = [
        PrefixInformation::new("fe80::".parse().unwrap(), 64, true, true, 100, 100),
        PrefixInformation::new(PREFIX, 64, false, true, 100, 200),
        PrefixInformation::new(PREFIX, 48, false, true, 100, 100),
        PrefixInformation::new(PREFIX, 64, false, false, 100, 100),
        PrefixInformation::new(PREFIX, 64, false, true, 0, 0),
    ];
    for prefix in bad {
        advertise(&mut bench, &fields(0), |w| w.prefix(&prefix));
        assert!(made(&bench).is_empty(), "{prefix:?}");
    }
    assert_eq!(probe(&mut bench, FAR), None);
    // Nor on an interface that is not to configure itself.
    let mut bench = Bench::v6();
    bench.receive6(&good(ROUTER));
    bench.assert_dropped(DropReason::NdNotForUs, 1);
    assert_eq!(probe(&mut bench, FAR), None);
}

#[test]
fn nobody_can_end_an_address_sooner_than_in_two_hours() {
    let mut bench = listening(quick());
    let valid = |bench: &Bench| made(bench)[0].lifetimes.unwrap().1.since(bench.now).as_secs();
    advertise(&mut bench, &fields(1800), |w| w.prefix(&prefix(100_000, 50_000)));
    assert_eq!(valid(&bench), 100_000);
    // RFC 4862 §5.5.3 (e).
    advertise(&mut bench, &fields(1800), |w| w.prefix(&prefix(50_000, 50_000)));
    assert_eq!(valid(&bench), 50_000);
    advertise(&mut bench, &fields(1800), |w| w.prefix(&prefix(10, 0)));
    assert_eq!(valid(&bench), 7200);
    assert_eq!(made(&bench)[0].state, AddressState::Deprecated);
    bench.run_for(seconds(3600));
    advertise(&mut bench, &fields(1800), |w| w.prefix(&prefix(10, 10)));
    assert_eq!(valid(&bench), 3600);
    advertise(&mut bench, &fields(1800), |w| w.prefix(&prefix(5000, 5000)));
    assert_eq!(valid(&bench), 5000);
    assert_eq!(made(&bench)[0].state, AddressState::Preferred);
    advertise(&mut bench, &fields(1800), |w| w.prefix(&prefix(FOREVER, FOREVER)));
    assert_eq!(made(&bench)[0].lifetimes.unwrap().1, Instant::FAR_FUTURE);
}

#[test]
fn preferences_and_routes_choose_the_router() {
    let mut bench = listening(quick());
    let with = |preference| RouterAdvertisementFields { preference, ..fields(1800) };
    advertise(&mut bench, &with(RouterPreference::Low), |w| w.prefix(&prefix(7200, 3600)));
    let by = |bench: &mut Bench, to| probe(bench, to).map(|(mac, _)| mac);
    assert_eq!(by(&mut bench, FAR), Some(ROUTER_MAC));
    advertise_as(&mut bench, (SECOND, SECOND_MAC), &with(RouterPreference::Medium), |w| w);
    assert_eq!(by(&mut bench, FAR), Some(SECOND_MAC));
    advertise(&mut bench, &with(RouterPreference::High), |w| w);
    assert_eq!(by(&mut bench, FAR), Some(ROUTER_MAC));
    // A route to a part of the world (RFC 4191 §2.3).
    let route = |lifetime| RouteInformation {
        prefix: "2001:db8:ffff::".parse().unwrap(),
        prefix_len: 48,
        preference: RouterPreference::Low,
        lifetime,
    };
    advertise_as(&mut bench, (SECOND, SECOND_MAC), &with(RouterPreference::Medium), |w| w.route(&route(100)));
    assert_eq!(by(&mut bench, FAR), Some(SECOND_MAC));
    assert_eq!(by(&mut bench, "2001:db8:eeee::1".parse().unwrap()), Some(ROUTER_MAC));
    bench.run_for(seconds(101));
    advertise_as(&mut bench, (SECOND, SECOND_MAC), &with(RouterPreference::Medium), |w| w);
    bench.sent();
    // A lifetime of 0: it is no default router any more.
    advertise(&mut bench, &RouterAdvertisementFields { lifetime: 0, ..with(RouterPreference::High) }, |w| w);
    assert_eq!(by(&mut bench, FAR), Some(SECOND_MAC));
    // Nor is one that says it is no router (RFC 4861 §7.2.5).
    let no_router = NeighbourAdvertisement::new(AdvertisementFlags::OVERRIDE, SECOND);
    bench.receive6(&ndp(SECOND, ALL_NODES, &no_router, |w| w.target_link_layer(SECOND_MAC)));
    assert_eq!(by(&mut bench, FAR), None);
}

#[test]
fn a_router_that_does_not_answer_is_left_for_another() {
    let mut bench = listening(quick());
    advertise(&mut bench, &fields(9000), |w| w.prefix(&prefix(90_000, 90_000)));
    advertise_as(&mut bench, (SECOND, SECOND_MAC), &fields(9000), |w| w);
    let id = bench.udp6(9);
    let end = bench.now + seconds(60);
    let mut used = Vec::new();
    while bench.now < end {
        bench.host.send_to(bench.now, id, b"x", Some(at6(FAR, 5)), None).unwrap();
        bench.run_for(seconds(1));
        for (mac, packet) in bench.sent6() {
            let (ip, payload) = Ipv6Header::parse(&packet).unwrap();
            if packet[6] == 17 {
                used.push(mac);
            } else if mac == SECOND_MAC {
                // Only the second answers when it is asked.
                let flags = AdvertisementFlags::SOLICITED | AdvertisementFlags::OVERRIDE | AdvertisementFlags::ROUTER;
                assert_eq!(payload[0], 135);
                let answer = NeighbourAdvertisement::new(flags, SECOND);
                bench.receive6_by(OUR_MAC, &ndp(SECOND, ip.src(), &answer, |w| w.target_link_layer(SECOND_MAC)));
            }
        }
    }
    assert_eq!((used[0], *used.last().unwrap()), (ROUTER_MAC, SECOND_MAC));
    let lost = used.iter().filter(|&&mac| mac == ROUTER_MAC).count();
    assert!((5..12).contains(&lost), "{lost}");
}

#[test]
fn link_parameters_are_taken() {
    let mut bench = listening(quick());
    let said = RouterAdvertisementFields { hop_limit: 33, retransmit_time: 250, ..fields(1800) };
    advertise(&mut bench, &said, |w| w.prefix(&prefix(7200, 3600)).mtu(1400));
    let id = bench.udp6(9);
    bench.host.send_to(bench.now, id, &[0; 1400], Some(at6(FAR, 5)), None).unwrap();
    let sent: Vec<Vec<u8>> = bench.sent6().into_iter().map(|(_, packet)| packet).collect();
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|packet| packet.len() <= 1400 && packet[7] == 33));
    // The time between solicitations.
    bench.host.send_to(bench.now, id, b"x", Some(at6("2001:db8:1::5".parse().unwrap(), 5)), None).unwrap();
    bench.run_for(Duration::from_millis(700));
    assert_eq!(bench.sent6().len(), 3);
    // An MTU that is none is not.
    for mtu in [1279, 1501, 100_000] {
        advertise(&mut bench, &fields(1800), |w| w.mtu(mtu));
    }
    bench.host.send_to(bench.now, id, &[0; 1400], Some(at6(FAR, 5)), None).unwrap();
    assert!(bench.sent6().iter().all(|(_, packet)| packet.len() <= 1400));
}

#[test]
fn name_servers_are_kept_for_their_time() {
    let mut bench = listening(quick());
    let server = |n: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n);
    advertise(&mut bench, &fields(1800), |w| w.dns_servers(100, &[server(1), server(2)]));
    let known = |bench: &Bench| bench.host.name_servers().iter().map(|&(_, ip)| ip).collect::<Vec<_>>();
    assert_eq!(known(&bench), [server(1), server(2)]);
    advertise(&mut bench, &fields(1800), |w| w.dns_servers(0, &[server(1)]));
    assert_eq!(known(&bench), [server(2)]);
    advertise(&mut bench, &fields(1800), |w| w.dns_servers(FOREVER, &[server(3)]));
    bench.run_for(seconds(101));
    assert_eq!(known(&bench), [server(3)]);
    // Bounded.
    for n in 10..200 {
        advertise(&mut bench, &fields(1800), |w| w.dns_servers(1000, &[server(n)]));
    }
    assert_eq!(known(&bench).len(), 8);
}

#[test]
fn redirects_of_the_first_hop_are_followed() {
    let mut bench = listening(quick());
    advertise(&mut bench, &fields(1800), |w| w.prefix(&prefix(7200, 3600)));
    let (_, ours) = probe(&mut bench, FAR).unwrap();
    let redirect = |from: Ipv6Addr, target: Ipv6Addr, mac| {
        ndp(from, ours, &Redirect::new(target, FAR), |w| w.target_link_layer(mac))
    };
    // Not of another than the first hop (RFC 4861 §8.1).
    bench.receive6_by(OUR_MAC, &redirect(SECOND, SECOND, SECOND_MAC));
    assert_eq!(probe(&mut bench, FAR).unwrap().0, ROUTER_MAC);
    bench.receive6_by(OUR_MAC, &redirect(ROUTER, SECOND, SECOND_MAC));
    assert_eq!(probe(&mut bench, FAR).unwrap().0, SECOND_MAC);
    assert_eq!(probe(&mut bench, "2001:db8:eeee::1".parse().unwrap()).unwrap().0, ROUTER_MAC);
    // The destination itself is a neighbour; now the second router is the first hop.
    bench.receive6_by(OUR_MAC, &redirect(SECOND, FAR, PEER_MAC));
    assert_eq!(probe(&mut bench, FAR).unwrap().0, PEER_MAC);
    bench.run_for(seconds(601));
    advertise(&mut bench, &fields(1800), |w| w);
    bench.sent();
    assert_eq!(probe(&mut bench, FAR).unwrap().0, ROUTER_MAC);
    // Bounded in number.
    for n in 0..500u16 {
        let destination = Ipv6Addr::new(0x2001, 0xdb8, 0xaaaa, 0, 0, 0, 0, n);
        let message = Redirect::new(SECOND, destination);
        bench.receive6_by(OUR_MAC, &ndp(ROUTER, ours, &message, |w| w.target_link_layer(SECOND_MAC)));
    }
    assert!(bench.host.routes().len() < 80);
    // Off.
    bench.host.settings_mut().ipv6_accept_redirects = false;
    bench.receive6_by(OUR_MAC, &redirect(ROUTER, SECOND, SECOND_MAC));
    assert_eq!(probe(&mut bench, FAR).unwrap().0, ROUTER_MAC);
}

#[test]
fn temporary_addresses_come_and_go() {
    let settings = Settings { ipv6_use_tempaddr: 2, ..quick() };
    let mut bench = listening(settings);
    advertise(&mut bench, &fields(9000), |w| w.prefix(&prefix(FOREVER, FOREVER)));
    let temporary = |bench: &Bench| made(bench).into_iter().filter(|a| a.temporary).collect::<Vec<_>>();
    let first = temporary(&bench)[0];
    assert_eq!(made(&bench).len(), 2);
    assert_eq!(IpAddr::V6(probe(&mut bench, FAR).unwrap().1), first.cidr.address, "it is preferred");
    let (preferred, valid) = first.lifetimes.unwrap();
    let day = 86_400;
    assert!((day * 3 / 5..=day).contains(&preferred.since(bench.now).as_secs()));
    assert_eq!(valid.since(bench.now).as_secs(), 2 * day);
    // A successor is there before it is deprecated (RFC 8981 §3.4).
    bench.run_for(preferred.since(bench.now));
    bench.sent();
    let now = temporary(&bench);
    assert_eq!((now.len(), now[0].state, now[1].state), (2, AddressState::Deprecated, AddressState::Preferred));
    assert_ne!(now[0].cidr, now[1].cidr);
    bench.run_for(seconds(2 * day));
    let later = temporary(&bench);
    assert!(later.iter().all(|a| a.cidr != first.cidr) && later.len() <= 5, "{later:?}");
    // A further advertisement makes no more of them.
    advertise(&mut bench, &fields(9000), |w| w.prefix(&prefix(FOREVER, FOREVER)));
    assert_eq!(temporary(&bench).len(), later.len());
}

#[test]
fn temporary_addresses_are_bounded_and_succeed_one_another() {
    let settings = Settings { ipv6_use_tempaddr: 2, ..quick() };
    let mut bench = listening(settings);
    let network = |n| Ipv6Addr::new(0x2001, 0xdb8, 2, n, 0, 0, 0, 0);
    let all = |bench: &mut Bench| {
        for n in 0..16 {
            let option = PrefixInformation::new(network(n), 64, true, true, FOREVER, FOREVER);
            advertise(bench, &fields(9000), |w| w.prefix(&option));
        }
    };
    for hour in 0..120 {
        all(&mut bench);
        bench.run_for(seconds(3600));
        bench.sent();
        let temporary: Vec<_> = made(&bench).into_iter().filter(|a| a.temporary).collect();
        assert!(temporary.len() <= 64, "{hour}: {}", temporary.len());
        for n in 0..16 {
            let network = cidr6(network(n));
            let here = temporary.iter().filter(|a| network.contains(a.cidr.address));
            let preferred = here.filter(|a| a.state == AddressState::Preferred).count();
            assert!((1..=2).contains(&preferred), "{hour}, {n}: {preferred}");
        }
    }
}

#[test]
fn a_temporary_address_follows_when_a_prefix_goes_on() {
    let settings = Settings { ipv6_use_tempaddr: 2, ..quick() };
    let mut bench = listening(settings);
    let temporary = |bench: &Bench| made(bench).into_iter().filter(|a| a.temporary).collect::<Vec<_>>();
    let current = |bench: &Bench| temporary(bench).iter().filter(|a| a.state == AddressState::Preferred).count();
    advertise(&mut bench, &fields(9000), |w| w.prefix(&prefix(FOREVER, 2)));
    assert_eq!(temporary(&bench).len(), 0, "it would need a successor at once (RFC 8981 §3.4 (5))");
    advertise(&mut bench, &fields(9000), |w| w.prefix(&prefix(FOREVER, 3600)));
    assert_eq!(current(&bench), 1);
    // The time for a successor comes and goes while the prefix is about to end; then it goes on.
    bench.run_for(seconds(3601));
    assert_eq!((current(&bench), temporary(&bench).len()), (0, 1));
    bench.run_for(seconds(86_400));
    advertise(&mut bench, &fields(9000), |w| w.prefix(&prefix(FOREVER, FOREVER)));
    assert_eq!((current(&bench), temporary(&bench).len()), (1, 2));
}

#[test]
fn conflicts_make_no_more_temporary_addresses() {
    // A station that has every stable address, and every temporary one.
    let settings = Settings { ipv6_use_tempaddr: 2, ..Settings::default() };
    for spares_temporary in [true, false] {
        let mut bench = listening(settings.clone());
        bench.run_for(seconds(5));
        for _ in 0..50 {
            advertise(&mut bench, &fields(9000), |w| w.prefix(&prefix(FOREVER, FOREVER)));
            for _ in 0..20 {
                bench.run_for(Duration::from_millis(200));
                let tentative = made(&bench).into_iter().filter(|a| a.state == AddressState::Tentative);
                for address in tentative.filter(|a| !(a.temporary && spares_temporary)).collect::<Vec<_>>() {
                    let IpAddr::V6(target) = address.cidr.address else { panic!() };
                    let flags = AdvertisementFlags::OVERRIDE;
                    bench.receive6(&advertisement(flags, target, ALL_NODES, target, PEER_MAC));
                }
            }
            bench.sent();
        }
        let temporary = made(&bench).iter().filter(|a| a.temporary).count();
        assert!(if spares_temporary { temporary == 1 } else { temporary == 0 }, "{temporary}");
    }
}

#[test]
fn temporary_addresses_do_not_change_in_step() {
    // RFC 8981 §3.8: DESYNC_FACTOR holds however often the prefix is advertised.
    let settings = Settings { ipv6_use_tempaddr: 1, ..quick() };
    let mut bench = listening(settings);
    let preferred = |bench: &Bench| made(bench).into_iter().find(|a| a.temporary).unwrap().lifetimes.unwrap().0;
    advertise(&mut bench, &fields(9000), |w| w.prefix(&prefix(FOREVER, FOREVER)));
    let first = preferred(&bench);
    assert!(first < bench.now + seconds(86_400));
    advertise(&mut bench, &fields(9000), |w| w.prefix(&prefix(FOREVER, FOREVER)));
    assert_eq!(preferred(&bench), first);
}

#[test]
fn a_later_router_is_learnt_after_a_flood_and_one_in_use_stays() {
    let mut bench = listening(quick());
    advertise(&mut bench, &fields(9000), |w| w.prefix(&prefix(7200, 7200)));
    assert_eq!(probe(&mut bench, FAR).unwrap().0, ROUTER_MAC);
    let flood = |bench: &mut Bench| {
        for n in 0..100 {
            let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, n);
            let low = RouterAdvertisementFields { preference: RouterPreference::Low, ..fields(9000) };
            advertise_as(bench, (router, PEER_MAC), &low, |w| w);
        }
        bench.sent();
    };
    flood(&mut bench);
    assert_eq!(bench.host.routes().len(), 16 + 2, "routers, the prefix, and the link");
    let high = RouterAdvertisementFields { preference: RouterPreference::High, ..fields(9000) };
    advertise_as(&mut bench, (SECOND, SECOND_MAC), &high, |w| w);
    assert_eq!(probe(&mut bench, FAR).unwrap().0, SECOND_MAC);
    flood(&mut bench);
    // Both that were used are there, and the first takes over when the second ends.
    assert_eq!(probe(&mut bench, FAR).unwrap().0, SECOND_MAC);
    advertise_as(&mut bench, (SECOND, SECOND_MAC), &fields(0), |w| w);
    assert_eq!(probe(&mut bench, FAR).unwrap().0, ROUTER_MAC);
}

#[test]
fn a_flood_of_advertisements_is_bounded() {
    let mut bench = listening(quick());
    advertise(&mut bench, &fields(9000), |w| w.prefix(&prefix(7200, 7200)));
    for n in 0..2000u16 {
        let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, n);
        let network =
            PrefixInformation::new(Ipv6Addr::new(0x2001, 0xdb8, 2, n, 0, 0, 0, 0), 64, true, true, 9999, 9999);
        let route = RouteInformation {
            prefix: Ipv6Addr::new(0x2001, 0xdb8, 3, n, 0, 0, 0, 0),
            prefix_len: 64,
            preference: RouterPreference::High,
            lifetime: FOREVER,
        };
        advertise_as(&mut bench, (router, PEER_MAC), &fields(9000), |w| w.prefix(&network).route(&route));
        bench.sent();
    }
    assert!(bench.host.routes().len() <= 80, "{}", bench.host.routes().len());
    assert!(made(&bench).len() <= 17, "{}", made(&bench).len());
    assert!(bench.host.neighbours().len() <= 1024);
    // What was there before still is.
    let probed = probe(&mut bench, FAR).unwrap();
    assert_eq!(probed.0, ROUTER_MAC);
}

#[test]
fn destinations_are_tried_in_the_order_of_rfc_6724() {
    let order = |bench: &mut Bench, addresses: &[&str]| -> Vec<String> {
        let mut all: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        bench.host.sort_destinations(&mut all);
        all.iter().map(|a| a.to_string()).collect()
    };
    // IPv4 alone: what IPv6 cannot reach comes last (rule 1).
    let mut bench = Bench::new();
    assert_eq!(order(&mut bench, &["2001:db8:1::1", "10.0.0.2"]), ["10.0.0.2", "2001:db8:1::1"]);
    // Both: IPv6 first (rule 6); with equal labels before others (rule 5); the longest match first (rule 9).
    let mut bench = listening(quick());
    let (now, eth0) = (bench.now, bench.eth0);
    bench.host.add_address(now, eth0, cidr(OURS, 24), false).unwrap();
    advertise(&mut bench, &fields(1800), |w| w.prefix(&prefix(7200, 3600)));
    assert_eq!(order(&mut bench, &["10.0.0.2", "2001:db8:1::1"]), ["2001:db8:1::1", "10.0.0.2"]);
    assert_eq!(order(&mut bench, &["fd12::1", "2001:db8:2::1", "10.0.0.2"]), ["2001:db8:2::1", "10.0.0.2", "fd12::1"]);
    assert_eq!(order(&mut bench, &["2001:db8:f000::1", "2001:db8:1::1"]), ["2001:db8:1::1", "2001:db8:f000::1"]);
}
