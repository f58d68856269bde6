//! The client against servers, in virtual time: RFC 2131 §3 and §4.4.

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use common::*;
use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use wireway_dhcp::{ClientEvent, ServerConfig};
use wireway_link::LinkConfig;
use wireway_packet::Packet;
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{ArpOperation, ArpPacket, EtherType, EthernetHeader, MacAddr};

const SECOND_OF_TIME: Duration = Duration::from_secs(1);

#[test]
fn a_lease_is_got_and_put_on_the_interface() {
    let mut rig = Rig::new();
    let begin = rig.net.now();
    let lease = rig.bind();
    let took = rig.net.now().since(begin);
    assert!((4.0..8.0).contains(&took.as_secs_f64()), "RFC 5227's probes, and no more: {took:?}");
    assert_eq!((lease.ip(), lease.address.prefix_len, lease.server), (FIRST, 24, SERVER));
    assert_eq!((lease.router(), lease.dns.clone(), lease.duration), (Some(SERVER), vec![DNS], Some(HOUR)));
    assert_eq!(rig.events, [ClientEvent::Bound(lease)]);
    assert_eq!(rig.addresses(), [IpAddr::from(FIRST)]);
    assert_eq!(rig.router(), Some(SERVER.into()));
    assert_eq!(rig.host().interface(ETH0).unwrap().mtu, 1400);

    let sent = rig.sent.borrow().clone();
    let kinds: Vec<_> = sent.iter().map(|(_, to, m)| (m.opts().msg_type().unwrap(), *to)).collect();
    assert_eq!(kinds, [(MessageType::Discover, Ipv4Addr::BROADCAST), (MessageType::Request, Ipv4Addr::BROADCAST)]);
    let (discover, request) = (&sent[0].2, &sent[1].2);
    // Table 5.
    assert!(discover.flags().broadcast() && request.flags().broadcast());
    assert_eq!((discover.xid(), discover.secs()), (request.xid(), request.secs()));
    assert_eq!((named(discover), named(request), requested(request)), (None, Some(SERVER), Some(FIRST)));
    assert_eq!((discover.ciaddr(), request.ciaddr()), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED));
    let Some(DhcpOption::ParameterRequestList(list)) = discover.opts().get(OptionCode::ParameterRequestList) else {
        panic!("{discover:?}")
    };
    let place = |code| list.iter().position(|&c| c == code).expect("asked for");
    assert!(place(OptionCode::ClasslessStaticRoute) < place(OptionCode::Router), "RFC 3442");
}

#[test]
fn lost_messages_are_sent_again() {
    for seed in 0..20 {
        let mut rig =
            Rig::over(LinkConfig { loss: 0.4, delay: Duration::from_millis(20), ..LinkConfig::default() }, seed);
        rig.serve(server_config());
        rig.bind();
        assert_eq!(rig.addresses(), [IpAddr::from(FIRST)]);
    }
}

#[test]
fn nobody_is_asked_ever_less_often() {
    let mut rig = Rig::silent();
    rig.run_for(HOUR);
    let sent = rig.sent(MessageType::Discover);
    let waits: Vec<f64> = sent.windows(2).map(|w| w[1].0.since(w[0].0).as_secs_f64()).collect();
    for (wait, about) in waits.iter().zip([4.0, 8.0, 16.0, 32.0].into_iter().chain(std::iter::repeat(64.0))) {
        assert!((about - 1.0..=about + 1.0).contains(wait), "{waits:?}");
    }
    assert!(waits.len() > 50);
    assert_eq!(sent[2].2.secs(), sent[2].0.since(sent[0].0).as_secs() as u16);
    assert_eq!(rig.events, []);
}

#[test]
fn of_two_servers_the_first_is_taken() {
    let mut rig = Rig::silent();
    rig.script();
    let discover = rig.next_of(MessageType::Discover);
    rig.reply(&answer(&discover, MessageType::Offer, FIRST, SERVER));
    rig.reply(&answer(&discover, MessageType::Offer, SECOND, OTHER_SERVER));
    let request = rig.next_of(MessageType::Request);
    assert_eq!(
        (named(&request), requested(&request)),
        (Some(SERVER), Some(FIRST)),
        "the other sees that it is not meant"
    );
    // What the other says now is not for us, and an address that was not offered is not taken.
    rig.reply(&answer(&request, MessageType::Nak, [0; 4].into(), OTHER_SERVER));
    rig.reply(&answer(&request, MessageType::Ack, SECOND, OTHER_SERVER));
    rig.reply(&answer(&request, MessageType::Ack, SECOND, SERVER));
    let mut old = answer(&request, MessageType::Ack, FIRST, SERVER);
    old.set_xid(request.xid() ^ 1);
    rig.reply(&old);
    assert_eq!((rig.events.len(), rig.sent(MessageType::Request).len()), (0, 1));
    rig.reply(&answer(&request, MessageType::Ack, FIRST, SERVER));
    assert_eq!(rig.bind().ip(), FIRST);
}

#[test]
fn a_server_that_falls_silent_after_its_offer_is_left() {
    let mut rig = Rig::silent();
    rig.script();
    let discover = rig.next_of(MessageType::Discover);
    rig.reply(&answer(&discover, MessageType::Offer, FIRST, SERVER));
    let began = rig.net.now();
    let again = rig.next_of(MessageType::Discover);
    let took = rig.net.now().since(began).as_secs();
    assert_ne!(again.xid(), discover.xid());
    assert_eq!(rig.sent(MessageType::Request).len(), 4, "§3.1.5: four times");
    assert!((56..=64).contains(&took), "§3.1.5: a minute in all: {took}");
}

#[test]
fn offers_that_cannot_be_used_are_not_taken() {
    let mut rig = Rig::silent();
    rig.script();
    let discover = rig.next_of(MessageType::Discover);
    let good = answer(&discover, MessageType::Offer, FIRST, SERVER);
    let without = |code| {
        let mut message = good.clone();
        message.opts_mut().remove(code);
        message
    };
    let mut others = good.clone();
    others.set_chaddr(&[2, 0, 0, 0, 0, 77]);
    for bad in [
        without(OptionCode::ServerIdentifier),
        without(OptionCode::AddressLeaseTime),
        without(OptionCode::MessageType),
        others,
        answer(&discover, MessageType::Offer, Ipv4Addr::new(10, 0, 2, 255), SERVER),
        answer(&discover, MessageType::Offer, Ipv4Addr::UNSPECIFIED, SERVER),
        answer(&discover, MessageType::Ack, FIRST, SERVER),
        answer(&discover, MessageType::Nak, FIRST, SERVER),
        discover.clone(),
    ] {
        rig.reply(&bad);
        assert_eq!(rig.sent(MessageType::Request).len(), 0, "{bad:?}");
    }
    rig.reply(&good);
    assert_eq!(rig.sent(MessageType::Request).len(), 1);
}

#[test]
fn a_refusal_begins_anew_and_refusals_in_a_row_take_time() {
    let mut rig = Rig::silent();
    rig.script();
    let mut times = Vec::new();
    for _ in 0..6 {
        let discover = rig.next_of(MessageType::Discover);
        times.push(rig.net.now());
        rig.reply(&answer(&discover, MessageType::Offer, FIRST, SERVER));
        let request = rig.next_of(MessageType::Request);
        let mut nak = answer(&request, MessageType::Nak, [0; 4].into(), SERVER);
        nak.opts_mut().insert(DhcpOption::Message("\x1b[31mno".into()));
        rig.reply(&nak);
    }
    assert_eq!(rig.events[0], ClientEvent::Refused(FIRST, Some("[31mno".into())));
    let waits: Vec<u64> = times.windows(2).map(|w| w[1].since(w[0]).as_secs()).collect();
    assert_eq!(waits[0], 0, "at once the first time");
    assert!(waits.windows(2).all(|w| w[0] < w[1]), "{waits:?}");
    let discover = rig.next_of(MessageType::Discover);
    rig.reply(&answer(&discover, MessageType::Offer, SECOND, SERVER));
    let request = rig.next_of(MessageType::Request);
    rig.reply(&answer(&request, MessageType::Ack, SECOND, SERVER));
    assert_eq!(rig.bind().ip(), SECOND);
}

#[test]
fn a_lease_is_renewed_by_unicast_at_half_its_time() {
    let mut rig = Rig::new();
    rig.bind();
    let asked = rig.sent(MessageType::Request)[0].0;
    rig.run_for(10 * HOUR);
    let requests = rig.sent(MessageType::Request);
    assert_eq!(requests.len(), 1 + 20, "twice an hour");
    let (at, to, renewal) = &requests[1];
    assert_eq!((*at, *to), (asked + HOUR / 2, SERVER));
    // Table 5: RENEWING.
    assert_eq!((renewal.ciaddr(), named(renewal), requested(renewal)), (FIRST, None, None));
    assert!(!renewal.flags().broadcast());
    assert_ne!(renewal.xid(), requests[2].2.xid());
    assert_eq!((rig.events.len(), rig.addresses()), (1, vec![FIRST.into()]), "nothing else changed");
}

#[test]
fn a_renewal_that_says_other_things_is_obeyed() {
    let mut rig = Rig::new();
    rig.bind();
    rig.serve(ServerConfig { routers: vec![OTHER_SERVER], mtu: 9000, prefix_len: 16, ..server_config() });
    rig.run_for(HOUR / 2 + SECOND_OF_TIME);
    assert_eq!(rig.router(), Some(OTHER_SERVER.into()));
    let at = rig.net.host(rig.client_host).interface(ETH0).unwrap();
    assert_eq!(
        (at.mtu, at.addresses.len(), at.addresses[0].prefix_len),
        (1500, 1, 16),
        "an MTU only below the interface's"
    );
    assert!(matches!(&rig.events[1], ClientEvent::Bound(lease) if lease.routers == [OTHER_SERVER]), "{:?}", rig.events);
}

/// T1 at 1,800 s: after half of the 1,350 s that are left to T2, and so on, but at least a minute. Then any server is asked.
#[test]
fn when_its_server_is_gone_any_other_is_asked() {
    let mut rig = Rig::new();
    rig.bind();
    let asked = rig.sent(MessageType::Request)[0].0;
    rig.silence();
    rig.run_for(HOUR / 8 * 7 + SECOND_OF_TIME);
    let times: Vec<(u64, Ipv4Addr)> =
        rig.sent(MessageType::Request)[1..].iter().map(|(at, to, _)| (at.since(asked).as_secs(), *to)).collect();
    let renewing = [1800, 2475, 2812, 2981, 3065, 3125].map(|at| (at, SERVER));
    assert_eq!(times, [&renewing[..], &[(3150, Ipv4Addr::BROADCAST)]].concat());
    let (_, _, rebinding) = rig.sent(MessageType::Request).pop().unwrap();
    assert_eq!((rebinding.ciaddr(), named(&rebinding), requested(&rebinding)), (FIRST, None, None), "table 5");
    // Another server knows of the lease.
    rig.script();
    let request = rig.next_of(MessageType::Request);
    rig.reply(&answer(&request, MessageType::Ack, FIRST, OTHER_SERVER));
    assert_eq!(rig.client.lease().map(|lease| lease.server), Some(OTHER_SERVER));
    assert_eq!(rig.addresses(), [IpAddr::from(FIRST)]);
}

#[test]
fn an_address_that_nobody_renews_is_given_up() {
    let mut rig = Rig::new();
    rig.bind();
    let asked = rig.sent(MessageType::Request)[0].0;
    rig.silence();
    assert!(rig.until(2 * HOUR, |rig| rig.client.lease().is_none()));
    assert_eq!(rig.net.now(), asked + HOUR);
    assert_eq!(rig.events[1], ClientEvent::Expired(FIRST));
    assert_eq!((rig.addresses(), rig.router()), (vec![], None));
    assert_eq!(rig.host().interface(ETH0).unwrap().mtu, 1500);
    // It looks for another at once, and takes it when there is one.
    assert_eq!(rig.sent(MessageType::Discover).last().unwrap().0, asked + HOUR);
    rig.serve(server_config());
    rig.bind();
}

#[test]
fn a_refused_renewal_takes_the_address_away() {
    let mut rig = Rig::new();
    rig.bind();
    // The server has another range now.
    rig.serve(ServerConfig { addresses: vec![SECOND], ..server_config() });
    assert!(rig.until(HOUR, |rig| rig.client.lease().is_none()));
    assert!(matches!(rig.events[1], ClientEvent::Refused(FIRST, Some(_))), "{:?}", rig.events);
    assert!(rig.addresses().is_empty());
    assert_eq!(rig.bind().ip(), SECOND);
}

#[test]
fn an_address_that_another_host_has_is_declined() {
    let mut rig = Rig::new();
    assert!(rig.until(HOUR, |rig| !rig.sent(MessageType::Request).is_empty()));
    rig.run_for(Duration::from_secs(3));
    assert!(rig.addresses().is_empty(), "still being probed");
    let other = MacAddr([2, 0, 0, 0, 0, 99]);
    let reply = ArpPacket::new(ArpOperation::REPLY, (other, FIRST), (CLIENT_MAC, [0; 4].into()));
    let mut frame = EthernetHeader::new(CLIENT_MAC, other, EtherType::ARP).as_bytes().to_vec();
    frame.extend_from_slice(reply.as_bytes());
    let end = (rig.client_host, ETH0);
    rig.net.inject(end, Packet::copy_from(&frame));
    assert!(rig.until(SECOND_OF_TIME, |rig| !rig.sent(MessageType::Decline).is_empty()));
    let (at, to, decline) = rig.sent(MessageType::Decline).pop().unwrap();
    assert_eq!((to, decline.ciaddr()), (Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED));
    assert_eq!((named(&decline), requested(&decline)), (Some(SERVER), Some(FIRST)));
    assert_eq!(rig.events, [ClientEvent::Conflict(FIRST)]);
    assert_eq!(rig.bind().ip(), SECOND, "the server has heard");
    let again = rig.sent(MessageType::Discover).last().unwrap().0;
    assert_eq!(again, at + Duration::from_secs(10), "§3.1.5");
}

#[test]
fn an_address_is_given_back() {
    let mut rig = Rig::new();
    rig.bind();
    let (now, id) = (rig.net.now(), rig.client_host);
    rig.client.release(now, rig.net.host(id));
    rig.run_for(2 * SECOND_OF_TIME);
    let (_, to, release) = rig.sent(MessageType::Release).pop().unwrap();
    assert_eq!((to, release.ciaddr(), named(&release), requested(&release)), (SERVER, FIRST, Some(SERVER), None));
    let Answering::Server(server) = &rig.answering else { panic!("a server") };
    assert_eq!(server.leases(now).count(), 0, "the server has heard");
    assert_eq!((rig.addresses(), rig.router(), rig.client.poll_at()), (vec![], None, None));
    rig.run_for(HOUR);
    assert_eq!(rig.sent(MessageType::Discover).len(), 1, "and asks for no other");
}

#[test]
fn a_lease_for_ever_is_not_renewed() {
    let mut rig = Rig::new();
    rig.serve(ServerConfig { lease: Duration::from_secs(u32::MAX.into()), ..server_config() });
    assert_eq!(rig.bind().duration, None);
    assert_eq!(rig.client.poll_at(), None);
    rig.run_for(10_000 * HOUR);
    assert_eq!(rig.addresses(), [IpAddr::from(FIRST)]);
}

#[test]
fn classless_routes_come_before_routers() {
    let mut rig = Rig::silent();
    rig.script();
    let discover = rig.next_of(MessageType::Discover);
    rig.reply(&answer(&discover, MessageType::Offer, FIRST, SERVER));
    let request = rig.next_of(MessageType::Request);
    let mut ack = answer(&request, MessageType::Ack, FIRST, SERVER);
    let routes =
        vec![("192.0.2.0/24".parse().unwrap(), OTHER_SERVER), ("198.51.100.0/24".parse().unwrap(), [0; 4].into())];
    ack.opts_mut().insert(DhcpOption::ClasslessStaticRoute(routes));
    rig.reply(&ack);
    let lease = rig.bind();
    assert_eq!((lease.router(), rig.router()), (None, None), "RFC 3442: the router does not count");
    let routes = rig.host().routes();
    let route = |network: &str| routes.iter().find(|r| r.destination.address.to_string() == network).expect("a route");
    assert_eq!((route("192.0.2.0").gateway, route("198.51.100.0").gateway), (Some(OTHER_SERVER.into()), None));
}
