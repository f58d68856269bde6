//! Neighbour discovery.

mod common;

use std::net::Ipv6Addr;

use common::v6;
use proptest::collection::vec;
use proptest::prelude::*;
use wireway_wire::icmpv6::{fill_checksum, verify_checksum};
use wireway_wire::ndp_options::FOREVER;
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{
    AdvertisementFlags, DomainNameIter, Ipv6Header, MacAddr, Malformed, NdpOption, NdpOptions, NdpWriter,
    NeighbourAdvertisement, NeighbourSolicitation, PrefixInformation, Redirect, RouteInformation, RouterAdvertisement,
    RouterAdvertisementFields, RouterPreference, RouterSolicitation,
};

const MAC_1: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const MAC_2: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

fn ip6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// Source, destination and the ICMPv6 message of a frame, whose checksum is right.
fn message(frame: &[u8]) -> (Ipv6Addr, Ipv6Addr, &[u8]) {
    let (ip, message) = Ipv6Header::parse(&frame[14..]).unwrap();
    assert_eq!(ip.hop_limit, 255);
    assert_eq!(verify_checksum(ip.src(), ip.dst(), message), Ok(()));
    (ip.src(), ip.dst(), message)
}

/// What a writer wrote.
fn written(write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Vec<u8> {
    let mut out = [0xee; 1500];
    let len = write(&mut out).unwrap();
    out[..len].to_vec()
}

#[test]
fn a_real_resolution() {
    let frame = v6::solicitation();
    let (src, dst, bytes) = message(&frame);
    let (solicitation, options) = NeighbourSolicitation::parse(src, dst, bytes).unwrap();
    assert_eq!(solicitation.target(), ip6("fd00::2"));
    assert_eq!(options.source_link_layer(), Some(MAC_1));
    let made = NeighbourSolicitation::new(ip6("fd00::2"));
    let made = written(|out| NdpWriter::new(out, &made).source_link_layer(MAC_1).finish(src, dst));
    assert_eq!(made, bytes);

    let frame = v6::advertisement();
    let (src, dst, bytes) = message(&frame);
    let (advertisement, options) = NeighbourAdvertisement::parse(dst, bytes).unwrap();
    assert_eq!(advertisement.flags(), AdvertisementFlags::SOLICITED | AdvertisementFlags::OVERRIDE);
    assert_eq!((advertisement.target(), options.target_link_layer()), (ip6("fd00::2"), Some(MAC_2)));
    let made = NeighbourAdvertisement::new(advertisement.flags(), advertisement.target());
    let made = written(|out| NdpWriter::new(out, &made).target_link_layer(MAC_2).finish(src, dst));
    assert_eq!(made, bytes);

    let frame = v6::advertisement_plain();
    let (_, dst, bytes) = message(&frame);
    let (advertisement, options) = NeighbourAdvertisement::parse(dst, bytes).unwrap();
    assert_eq!(advertisement.flags(), AdvertisementFlags::SOLICITED);
    assert_eq!(options.iter().count(), 0);
}

#[test]
fn a_real_probe_of_duplicates() {
    let frame = v6::dad_probe();
    let (src, dst, bytes) = message(&frame);
    assert!(src.is_unspecified());
    let (solicitation, options) = NeighbourSolicitation::parse(src, dst, bytes).unwrap();
    assert_eq!(solicitation.target(), ip6("fe80::ff:fe00:2"));
    let nonce = [0xd6, 0x03, 0xd2, 0xd4, 0xf1, 0xd9];
    assert_eq!(options.nonce(), Some(&nonce[..]));
    assert_eq!((options.source_link_layer(), options.target_link_layer()), (None, None));
    let made = NeighbourSolicitation::new(solicitation.target());
    assert_eq!(written(|out| NdpWriter::new(out, &made).nonce(nonce).finish(src, dst)), bytes);
}

#[test]
fn a_real_router_solicitation() {
    let frame = v6::router_solicitation();
    let (src, dst, bytes) = message(&frame);
    let (_, options) = RouterSolicitation::parse(src, bytes).unwrap();
    assert_eq!(options.source_link_layer(), Some(MAC_1));
    let made = RouterSolicitation::new();
    let made = written(|out| NdpWriter::new(out, &made).source_link_layer(MAC_1).finish(src, dst));
    assert_eq!(made, bytes);
}

/// A router advertisement byte by byte, by the figures of RFC 4861 §4.2 and 4.6, RFC 4191 §2 and RFC 8106 §5.
#[test]
fn a_router_advertisement_byte_by_byte() {
    let (src, dst) = (ip6("fe80::1"), ip6("ff02::1"));
    let mut bytes = common::hex(concat!(
        "86000000",
        "40c80708",
        "00007530",
        "000003e8", // high preference, managed and other: 0xc8
        "0101020000000001",
        "0501",
        "0000",
        "000005dc",
        "0304",
        "40c0",
        "00278d00",
        "00093a80",
        "00000000",
        "20010db8000000010000000000000000",
        "1803",
        "3018",
        "ffffffff",
        "fd00000100000000",
        "0000000000000000",
        "1802",
        "3000",
        "00000258",
        "fd00000200000000",
        "1801",
        "0008",
        "00000000",
        "1905",
        "0000",
        "000004b0",
        "20010db8000000000000000000000053",
        "fd000000000000000000000000000053",
        "1f04",
        "0000",
        "00000e10",
        "03",
        "6c6162",
        "07",
        "6578616d706c65",
        "00",
        "03",
        "6e6574",
        "00",
        "000000000000",
        "c801",
        "010203040506",
    ));
    fill_checksum(src, dst, &mut bytes);
    let (advertisement, options) = RouterAdvertisement::parse(src, &bytes).unwrap();
    let fields = RouterAdvertisementFields {
        hop_limit: 64,
        managed: true,
        other_config: true,
        preference: RouterPreference::High,
        lifetime: 1800,
        reachable_time: 30_000,
        retransmit_time: 1000,
    };
    assert_eq!(advertisement.fields(), fields);
    let options: Vec<_> = options.iter().collect();
    assert_eq!(options[..2], [NdpOption::SourceLinkLayer(MAC_1), NdpOption::Mtu(1500)]);
    let NdpOption::Prefix(prefix) = options[2] else { panic!() };
    assert_eq!((prefix.prefix(), prefix.prefix_len()), (ip6("2001:db8:0:1::"), 64));
    assert!(prefix.on_link() && prefix.autonomous());
    assert_eq!((prefix.valid(), prefix.preferred()), (2_592_000, 604_800));
    use RouterPreference::*;
    let route = |prefix: &str, prefix_len, preference, lifetime| RouteInformation {
        prefix: ip6(prefix),
        prefix_len,
        preference,
        lifetime,
    };
    let routes = [route("fd00:1::", 48, Low, FOREVER), route("fd00:2::", 48, Medium, 600), route("::", 0, High, 0)];
    assert_eq!(options[3..6], routes.map(NdpOption::Route));
    let NdpOption::DnsServers(dns) = options[6] else { panic!() };
    assert_eq!(dns.lifetime, 1200);
    assert!(dns.servers().eq([ip6("2001:db8::53"), ip6("fd00::53")]));
    let NdpOption::SearchList(search) = options[7] else { panic!() };
    let names: Vec<_> = search.names().map(|name| name.to_string()).collect();
    assert_eq!((search.lifetime, names), (3600, vec!["lab.example".to_owned(), "net".to_owned()]));
    assert_eq!(options[8..], [NdpOption::Other { kind: 200, data: &[1, 2, 3, 4, 5, 6] }]);
    assert!(Low < Medium && Medium < High);

    // The writer's, but for the last two options: /48 routes are written in 64 bits.
    let made = written(|out| {
        NdpWriter::new(out, &RouterAdvertisement::new(&fields))
            .source_link_layer(MAC_1)
            .mtu(1500)
            .prefix(&PrefixInformation::new(ip6("2001:db8:0:1::"), 64, true, true, 2_592_000, 604_800))
            .route(&route("fd00:1::", 128, Low, FOREVER))
            .route(&routes[1])
            .route(&routes[2])
            .dns_servers(1200, &[ip6("2001:db8::53"), ip6("fd00::53")])
            .search_list(3600, b"\x03lab\x07example\x00\x03net\x00")
            .finish(src, dst)
    });
    assert_eq!(verify_checksum(src, dst, &made), Ok(()));
    let mut expected = bytes[..bytes.len() - 8].to_vec();
    let route_len = 16 + 8 + 8 + 32 + 2;
    expected[route_len] = 128;
    fill_checksum(src, dst, &mut expected);
    assert_eq!(made, expected);
}

#[test]
fn a_redirect() {
    let (router, host) = (ip6("fe80::1"), ip6("fe80::9"));
    let (target, destination) = (ip6("fe80::2"), ip6("2001:db8::9"));
    let quoted = [0x60; 50];
    let bytes = written(|out| {
        NdpWriter::new(out, &Redirect::new(target, destination))
            .target_link_layer(MAC_2)
            .redirected_header(&quoted)
            .finish(router, host)
    });
    let (redirect, options) = Redirect::parse(router, &bytes).unwrap();
    assert_eq!((redirect.target(), redirect.destination()), (target, destination));
    assert_eq!(options.target_link_layer(), Some(MAC_2));
    let Some(NdpOption::RedirectedHeader(packet)) = options.iter().nth(1) else { panic!() };
    assert_eq!(packet, [&quoted[..], &[0; 6]].concat());

    let refused = |src: &str, target: &str, destination: &str| {
        let redirect = Redirect::new(ip6(target), ip6(destination));
        Redirect::parse(ip6(src), redirect.as_bytes()).map(|_| ()) == Err(Malformed::BadAddress)
    };
    assert!(!refused("fe80::1", "2001:db8::9", "2001:db8::9"));
    assert!(refused("2001:db8::1", "fe80::2", "2001:db8::9"));
    assert!(refused("fe80::1", "2001:db8::2", "2001:db8::9"));
    assert!(refused("fe80::1", "fe80::2", "ff02::9"));
    assert!(refused("fe80::1", "ff02::9", "ff02::9"));
}

/// RFC 4861 §6.1, 7.1: what makes a message invalid.
#[test]
fn rules_of_validity() {
    let any = Ipv6Addr::UNSPECIFIED;
    let (host, target) = (ip6("fe80::9"), ip6("fe80::2"));
    let group = ip6("ff02::1:ff00:2");
    let with_mac = |message: &[u8]| [message, &[1, 1, 2, 0, 0, 0, 0, 1]].concat();

    let ask = NeighbourSolicitation::new(target);
    let parse = |src, dst, bytes: &[u8]| NeighbourSolicitation::parse(src, dst, bytes).map(|_| ());
    assert_eq!(parse(any, group, ask.as_bytes()), Ok(()));
    assert_eq!(parse(any, ip6("ff02::1"), ask.as_bytes()), Err(Malformed::BadAddress));
    assert_eq!(parse(any, target, ask.as_bytes()), Err(Malformed::BadAddress));
    assert_eq!(parse(any, group, &with_mac(ask.as_bytes())), Err(Malformed::BadAddress));
    assert_eq!(parse(host, target, &with_mac(ask.as_bytes())), Ok(()));
    assert_eq!(parse(host, group, NeighbourSolicitation::new(group).as_bytes()), Err(Malformed::BadAddress));
    for len in 0..24 {
        assert_eq!(parse(host, group, &ask.as_bytes()[..len]), Err(Malformed::Truncated));
    }
    let changed = |at: usize| {
        let mut bytes = ask.as_bytes().to_vec();
        bytes[at] ^= 1;
        parse(host, group, &bytes)
    };
    assert_eq!(changed(0), Err(Malformed::BadType));
    assert_eq!(changed(1), Err(Malformed::BadCode));
    assert_eq!(changed(4), Ok(())); // reserved

    let answer = |flags, target, dst| {
        let message = NeighbourAdvertisement::new(flags, target);
        NeighbourAdvertisement::parse(dst, message.as_bytes()).map(|_| ())
    };
    let solicited = AdvertisementFlags::SOLICITED;
    assert_eq!(answer(solicited, target, host), Ok(()));
    assert_eq!(answer(solicited, target, ip6("ff02::1")), Err(Malformed::BadAddress));
    assert_eq!(answer(AdvertisementFlags::OVERRIDE, target, ip6("ff02::1")), Ok(()));
    assert_eq!(answer(AdvertisementFlags::empty(), group, host), Err(Malformed::BadAddress));

    let solicit = RouterSolicitation::new();
    let parse = |src, bytes: &[u8]| RouterSolicitation::parse(src, bytes).map(|_| ());
    assert_eq!(parse(any, solicit.as_bytes()), Ok(()));
    assert_eq!(parse(any, &with_mac(solicit.as_bytes())), Err(Malformed::BadAddress));
    assert_eq!(parse(host, &with_mac(solicit.as_bytes())), Ok(()));

    let advertise = RouterAdvertisement::new(&RouterAdvertisementFields::default());
    let parse = |src, bytes: &[u8]| RouterAdvertisement::parse(src, bytes).map(|_| ());
    assert_eq!(parse(host, advertise.as_bytes()), Ok(()));
    assert_eq!(parse(host, &advertise.as_bytes()[..15]), Err(Malformed::Truncated));
    for src in ["::", "2001:db8::1", "fd00::1", "ff02::1"] {
        assert_eq!(parse(ip6(src), advertise.as_bytes()), Err(Malformed::BadAddress));
    }
}

#[test]
fn the_reserved_preference_is_medium_for_a_router_and_no_route() {
    let mut bytes = RouterAdvertisement::new(&RouterAdvertisementFields::default()).as_bytes().to_vec();
    bytes[5] = 0x10;
    let (advertisement, _) = RouterAdvertisement::parse(ip6("fe80::1"), &bytes).unwrap();
    assert_eq!(advertisement.fields().preference, RouterPreference::Medium);
    ignored(&[24, 1, 0, 0x10, 0, 0, 0, 1]);
}

/// That these bytes are an option, but none that says anything.
fn ignored(bytes: &[u8]) {
    let options: Vec<_> = NdpOptions::parse(bytes).unwrap().iter().collect();
    assert_eq!(options, [NdpOption::Other { kind: bytes[0], data: &bytes[2..] }]);
}

#[test]
fn options_that_lie() {
    for lie in [&[1, 0, 0, 0, 0, 0, 0, 0][..], &[1], &[1, 1, 0, 0, 0, 0, 0], &[1, 2, 0, 0, 0, 0, 0, 0], &[1, 255]] {
        assert_eq!(NdpOptions::parse(lie), Err(Malformed::BadOption));
        let after_a_good_one = [&[5, 1, 0, 0, 0, 0, 5, 0], lie].concat();
        assert_eq!(NdpOptions::parse(&after_a_good_one), Err(Malformed::BadOption));
    }
    let of = |kind: u8, words: u8, start: &[u8]| {
        let mut bytes = vec![0; usize::from(words) * 8];
        bytes[..2].copy_from_slice(&[kind, words]);
        bytes[2..2 + start.len()].copy_from_slice(start);
        ignored(&bytes);
    };
    of(1, 2, &[]); // an address that is no Ethernet card's
    of(2, 2, &[]);
    of(3, 3, &[]);
    of(3, 5, &[]);
    of(3, 4, &[129]);
    of(5, 2, &[]);
    of(24, 1, &[1]); // a prefix for which there is no room
    of(24, 2, &[65]);
    of(24, 3, &[129]);
    of(24, 4, &[]);
    of(25, 1, &[]); // no server
    of(25, 2, &[]); // half a server
    of(25, 4, &[]);
    of(31, 1, &[]); // no name
    of(31, 2, &[0, 0, 0, 0, 0, 0, 7, b'a', b'b']); // a name without an end
    of(31, 2, &[0, 0, 0, 0, 0, 0, 0xc0, 0]); // a pointer
    of(31, 3, &[0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, b'b', 0]); // something in the padding
}

#[test]
fn names() {
    let of = |bytes: &[u8]| DomainNameIter::new(bytes).map(|name| name.to_string()).collect::<Vec<_>>();
    assert_eq!(of(b"\x04a.\nb\x00"), ["a\\046\\010b"]);
    assert_eq!(of(b"\x01a\x01b\x00\x02_-\x00"), ["a.b", "_-"]);
    assert_eq!(of(b"\x00\x01a\x00"), [] as [&str; 0]);
    let label = [&[63][..], &[b'x'; 63]].concat();
    let longest = [&label.repeat(3)[..], &[61], &[b'x'; 61], &[0]].concat();
    assert_eq!(longest.len(), 255);
    assert_eq!(of(&longest).len(), 1);
    assert_eq!(of(&[&label.repeat(3)[..], &[62], &[b'x'; 62], &[0]].concat()).len(), 0);
    assert_eq!(of(&[&[64][..], &[b'x'; 64], &[0]].concat()).len(), 0);
}

#[test]
fn messages_that_have_no_room() {
    let host = ip6("fe80::9");
    let message = NeighbourSolicitation::new(host);
    for len in 0..32 {
        let mut out = vec![0; len];
        assert_eq!(NdpWriter::new(&mut out, &message).source_link_layer(MAC_1).finish(host, host), None);
    }
    let with = |add: fn(NdpWriter) -> NdpWriter| {
        let mut out = [0; 9000];
        add(NdpWriter::new(&mut out, &message)).finish(host, host)
    };
    assert_eq!(with(|writer| writer.source_link_layer(MAC_1)), Some(32));
    assert_eq!(with(|writer| writer.dns_servers(1, &[])), None);
    assert_eq!(with(|writer| writer.dns_servers(1, &[Ipv6Addr::LOCALHOST; 127])), Some(24 + 8 + 127 * 16));
    assert_eq!(with(|writer| writer.dns_servers(1, &[Ipv6Addr::LOCALHOST; 128])), None);
    assert_eq!(with(|writer| writer.redirected_header(&[0; 2032])), Some(24 + 2040));
    assert_eq!(with(|writer| writer.redirected_header(&[0; 2033])), None);
}

prop_compose! {
    fn any_address()(bits: u128) -> Ipv6Addr { Ipv6Addr::from_bits(bits) }
}

proptest! {
    #[test]
    fn options_of_any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(options) = NdpOptions::parse(&bytes) {
            let len: usize = options.iter().map(|option| match option {
                NdpOption::SearchList(search) => search.names().map(|name| name.to_string().len().min(1)).sum(),
                _ => 1,
            }).sum();
            prop_assert!(len <= bytes.len());
        }
    }

    /// Options of every known kind, of any content.
    #[test]
    fn known_options_of_any_content(
        parts in vec((prop::sample::select(vec![1u8, 2, 3, 4, 5, 14, 24, 25, 31]), 1u8..6, vec(0u8..8, 40)), 0..6),
    ) {
        let mut bytes = Vec::new();
        for (kind, words, content) in &parts {
            bytes.extend([*kind, *words]);
            bytes.extend(&content[..usize::from(*words) * 8 - 2]);
        }
        let options = NdpOptions::parse(&bytes).unwrap();
        prop_assert_eq!(options.iter().count(), parts.len());
        for option in options {
            match option {
                NdpOption::Prefix(prefix) => prop_assert!(prefix.prefix_len() <= 128),
                NdpOption::Route(route) => prop_assert!(route.prefix_len <= 128),
                NdpOption::DnsServers(dns) => prop_assert!(dns.servers().len() > 0),
                NdpOption::SearchList(search) => prop_assert!(search.names().count() > 0),
                _ => {}
            }
        }
    }

    #[test]
    fn router_advertisements(
        hop_limit: u8, managed: bool, other_config: bool, lifetime: u16, reachable_time: u32, retransmit_time: u32,
        preference in prop::sample::select(vec![RouterPreference::Low, RouterPreference::Medium, RouterPreference::High]),
        prefix in any_address(), prefix_len in 0u8..=128, on_link: bool, autonomous: bool, valid: u32, preferred: u32,
        mtu: u32, servers in vec(any_address(), 1..5),
    ) {
        let fields = RouterAdvertisementFields {
            hop_limit, managed, other_config, preference, lifetime, reachable_time, retransmit_time,
        };
        let information = PrefixInformation::new(prefix, prefix_len, on_link, autonomous, valid, preferred);
        let (src, dst) = (ip6("fe80::1"), ip6("ff02::1"));
        let masked = information.prefix();
        prop_assert_eq!(masked.to_bits().checked_shl(prefix_len.into()).unwrap_or(0), 0);
        let route = RouteInformation { prefix: masked, prefix_len, preference, lifetime: valid };
        let bytes = written(|out| {
            NdpWriter::new(out, &RouterAdvertisement::new(&fields))
                .prefix(&information).mtu(mtu).dns_servers(preferred, &servers).route(&route).finish(src, dst)
        });
        prop_assert_eq!(verify_checksum(src, dst, &bytes), Ok(()));
        let (advertisement, options) = RouterAdvertisement::parse(src, &bytes).unwrap();
        prop_assert_eq!(advertisement.fields(), fields);
        let options: Vec<_> = options.iter().collect();
        prop_assert_eq!(&options[..2], &[NdpOption::Prefix(&information), NdpOption::Mtu(mtu)]);
        let NdpOption::DnsServers(dns) = options[2] else { panic!() };
        prop_assert!(dns.lifetime == preferred && dns.servers().eq(servers.iter().copied()));
        prop_assert_eq!(&options[3..], &[NdpOption::Route(route)]);
        prop_assert_eq!((information.on_link(), information.autonomous()), (on_link, autonomous));
        prop_assert_eq!((information.valid(), information.preferred()), (valid, preferred));
    }

    #[test]
    fn neighbour_messages(target in any_address(), flags: u8, mac: [u8; 6], nonce: [u8; 6]) {
        prop_assume!(!target.is_multicast());
        let (src, dst) = (ip6("fe80::1"), ip6("fe80::2"));
        let message = NeighbourSolicitation::new(target);
        let bytes = written(|out| {
            NdpWriter::new(out, &message).source_link_layer(MacAddr(mac)).nonce(nonce).finish(src, dst)
        });
        let (read, options) = NeighbourSolicitation::parse(src, dst, &bytes).unwrap();
        prop_assert_eq!((read.target(), options.source_link_layer()), (target, Some(MacAddr(mac))));
        prop_assert_eq!(options.nonce(), Some(&nonce[..]));
        let flags = AdvertisementFlags::from_bits_truncate(flags);
        let message = NeighbourAdvertisement::new(flags, target);
        let bytes = written(|out| NdpWriter::new(out, &message).target_link_layer(MacAddr(mac)).finish(src, dst));
        let (read, options) = NeighbourAdvertisement::parse(dst, &bytes).unwrap();
        prop_assert_eq!((read.flags(), read.target()), (flags, target));
        prop_assert_eq!(options.target_link_layer(), Some(MacAddr(mac)));
    }
}
