//! IPv6's extension headers and their options.

use proptest::collection::vec;
use proptest::prelude::*;
use wireway_wire::ipv6_ext::{MAX_CHAIN_LEN, MAX_HEADERS};
use wireway_wire::ipv6_options::{MAX_OPTIONS, router_alert};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{
    Extension, ExtensionIter, ExtensionKind, FragmentHeader, Ipv6Chain, Ipv6Option, Ipv6OptionIter, Malformed,
    Protocol, RoutingHeader, UnknownOption,
};

/// A header of one or more times 8 bytes, filled with padding.
fn padded(next: Protocol, length: u8) -> Vec<u8> {
    let mut bytes = vec![0; 8 * (usize::from(length) + 1)];
    bytes[..2].copy_from_slice(&[next.0, length]);
    bytes
}

fn names(first: Protocol, payload: &[u8]) -> Vec<&'static str> {
    ExtensionIter::new(first, payload)
        .map(|header| match header.unwrap().kind {
            ExtensionKind::HopByHop(_) => "hop-by-hop",
            ExtensionKind::Destination(_) => "destination",
            ExtensionKind::Routing(_) => "routing",
            ExtensionKind::Fragment(_) => "fragment",
            ExtensionKind::Authentication => "authentication",
        })
        .collect()
}

#[test]
fn no_extension_header() {
    for protocol in
        [Protocol::TCP, Protocol::UDP, Protocol::ICMPV6, Protocol::NO_NEXT_HEADER, Protocol::ESP, Protocol(200)]
    {
        let chain = Ipv6Chain::parse(protocol, &[]).unwrap();
        assert_eq!(chain, Ipv6Chain { protocol, len: 0, pointer: 6, fragment: None });
        assert_eq!(chain.offset(), 40);
        assert!(chain.has_transport());
    }
}

/// Every header that a host knows, in the order that RFC 8200 §4.1 recommends.
#[test]
fn the_whole_chain() {
    let fragment = FragmentHeader::new(Protocol::AUTHENTICATION, 0, true, 0xdead_beef);
    let payload = [
        &router_alert(Protocol::DESTINATION_OPTIONS, 0)[..],
        &padded(Protocol::ROUTING, 1),
        &[44, 2, 4, 3, 0, 0, 0, 0],
        &[0; 16],
        fragment.as_bytes(),
        &[60, 4, 0, 0],
        &[0x11; 20],
        &padded(Protocol::UDP, 0),
        b"datagram",
    ]
    .concat();
    let names = names(Protocol::HOP_BY_HOP, &payload);
    assert_eq!(names, ["hop-by-hop", "destination", "routing", "fragment", "authentication", "destination"]);
    let headers: Vec<_> = ExtensionIter::new(Protocol::HOP_BY_HOP, &payload).map(Result::unwrap).collect();
    let places: Vec<_> = headers.iter().map(|header| (header.offset, header.len)).collect();
    assert_eq!(places, [(40, 8), (48, 16), (64, 24), (88, 8), (96, 24), (120, 8)]);
    let ExtensionKind::Routing(routing) = headers[2].kind else { panic!() };
    assert_eq!((routing.routing_type, routing.segments_left), (4, 3));
    assert_eq!(payload[headers[2].offset - 40 + RoutingHeader::TYPE_OFFSET], 4);
    let ExtensionKind::HopByHop(mut options) = headers[0].kind else { panic!() };
    let alert = options.next().unwrap().unwrap();
    assert_eq!((alert.offset, alert.router_alert()), (42, Some(0)));
    assert_eq!(options.next(), None);

    let chain = Ipv6Chain::parse(Protocol::HOP_BY_HOP, &payload).unwrap();
    assert_eq!(chain, Ipv6Chain { protocol: Protocol::UDP, len: 88, pointer: 120, fragment: Some((88, fragment)) });
    assert_eq!(&payload[chain.offset() - 40..], b"datagram");
    assert_eq!(payload[chain.pointer - 40], Protocol::UDP.0);
    for len in 0..chain.len {
        assert_eq!(Ipv6Chain::parse(Protocol::HOP_BY_HOP, &payload[..len]), Err(Malformed::Truncated), "{len}");
    }
    assert_eq!(Ipv6Chain::parse(Protocol::HOP_BY_HOP, &payload[..chain.len]), Ok(chain));
}

#[test]
fn where_chains_end() {
    // A hop-by-hop header that is not the first header: answered as an unknown type, at the byte that names it.
    let late = [padded(Protocol::HOP_BY_HOP, 0), padded(Protocol::UDP, 0)].concat();
    let chain = Ipv6Chain::parse(Protocol::DESTINATION_OPTIONS, &late).unwrap();
    assert_eq!((chain.protocol, chain.len, chain.pointer), (Protocol::HOP_BY_HOP, 8, 40));
    // No next header, whatever follows; and a type that nobody knows, though it looks like an option header.
    for end in [Protocol::NO_NEXT_HEADER, Protocol(140)] {
        let bytes = [padded(end, 0), padded(Protocol::UDP, 0)].concat();
        let chain = Ipv6Chain::parse(Protocol::DESTINATION_OPTIONS, &bytes).unwrap();
        assert_eq!((chain.protocol, chain.len), (end, 8));
    }
    // What a later fragment carries is not a header, whatever the type says; an atomic fragment's is.
    for (offset, more, len) in [(8, true, 8), (0xfff8, false, 8), (0, true, 16), (0, false, 16)] {
        let header = FragmentHeader::new(Protocol::DESTINATION_OPTIONS, offset, more, 7);
        let bytes = [header.as_bytes(), &padded(Protocol::TCP, 0)].concat();
        let chain = Ipv6Chain::parse(Protocol::FRAGMENT, &bytes).unwrap();
        assert_eq!((chain.len, chain.has_transport()), (len, offset == 0));
        assert_eq!(header.is_atomic(), offset == 0 && !more);
        assert_eq!((header.offset(), header.more_fragments(), header.ident()), (offset, more, 7));
    }
    // A fragment of a fragment.
    let twice = [
        FragmentHeader::new(Protocol::FRAGMENT, 0, false, 1).as_bytes(),
        FragmentHeader::new(Protocol::UDP, 8, false, 2).as_bytes(),
    ]
    .concat();
    let chain = Ipv6Chain::parse(Protocol::FRAGMENT, &twice).unwrap();
    assert_eq!((chain.protocol, chain.len, chain.pointer), (Protocol::FRAGMENT, 8, 40));
}

#[test]
fn a_fragment_header_on_the_wire() {
    let header = FragmentHeader::new(Protocol::ICMPV6, 1448, true, 0x0102_0304);
    assert_eq!(header.as_bytes(), [58, 0, 0x05, 0xa9, 1, 2, 3, 4]);
    // The reserved bits count for nothing.
    let bytes = [58, 0xff, 0x05, 0xaf, 1, 2, 3, 4];
    let (read, rest) = FragmentHeader::parse(&bytes).unwrap();
    assert_eq!((read.offset(), read.more_fragments(), rest.len()), (1448, true, 0));
    assert_eq!(FragmentHeader::parse(&bytes[..7]), Err(Malformed::Truncated));
    assert_eq!(FragmentHeader::new(Protocol::UDP, 15, false, 0).offset(), 8);
}

#[test]
fn bounds() {
    let chain_of = |headers: usize| {
        let mut bytes = Vec::new();
        for _ in 1..headers {
            bytes.extend(padded(Protocol::DESTINATION_OPTIONS, 0));
        }
        bytes.extend(padded(Protocol::TCP, 0));
        Ipv6Chain::parse(Protocol::DESTINATION_OPTIONS, &bytes).map(|chain| chain.len)
    };
    assert_eq!(chain_of(MAX_HEADERS), Ok(MAX_HEADERS * 8));
    assert_eq!(chain_of(MAX_HEADERS + 1), Err(Malformed::ChainTooLong));
    let of_len = |length: u8| {
        Ipv6Chain::parse(Protocol::DESTINATION_OPTIONS, &padded(Protocol::TCP, length)).map(|chain| chain.len)
    };
    let longest = (MAX_CHAIN_LEN / 8 - 1) as u8;
    assert_eq!(of_len(longest), Ok(MAX_CHAIN_LEN));
    assert_eq!(of_len(longest + 1), Err(Malformed::ChainTooLong));
    assert_eq!(of_len(255), Err(Malformed::ChainTooLong));
}

/// RFC 4302 §2.2: in units of 4 bytes less 2; in IPv6 a multiple of 8 bytes.
#[test]
fn authentication_lengths() {
    let of_length = |length: u8| {
        let mut bytes = vec![0; 4 * (usize::from(length) + 2)];
        bytes[..2].copy_from_slice(&[6, length]);
        Ipv6Chain::parse(Protocol::AUTHENTICATION, &bytes).map(|chain| chain.len)
    };
    assert_eq!(of_length(4), Ok(24));
    assert_eq!(of_length(2), Ok(16));
    for length in [0, 1, 3, 5] {
        assert_eq!(of_length(length), Err(Malformed::BadHeaderLength));
    }
}

#[test]
fn options() {
    let bytes = [0, 1, 1, 0, 5, 2, 0, 3, 0xc2, 4, 0, 1, 0, 0, 0x3e, 0, 0x7e, 1, 9, 0x80, 0, 1, 4, 0, 0, 0, 0];
    let options: Vec<_> = Ipv6OptionIter::new(&bytes, 42).map(Result::unwrap).collect();
    let places: Vec<_> = options.iter().map(|option| (option.kind, option.offset, option.data.len())).collect();
    assert_eq!(places, [(5, 46, 2), (0xc2, 50, 4), (0x3e, 56, 0), (0x7e, 58, 1), (0x80, 61, 0)]);
    for option in &options {
        assert_eq!(bytes[option.offset - 42], option.kind);
    }
    let actions: Vec<_> = options.iter().map(Ipv6Option::if_unknown).collect();
    use UnknownOption::*;
    assert_eq!(actions, [Skip, ReportUnlessMulticast, Skip, Drop, Report]);
    assert_eq!(options[0].router_alert(), Some(3));
    assert_eq!(options[1].kind, Ipv6Option::JUMBO);
    assert_eq!(options[1].router_alert(), None);
    // A router alert of another length is none.
    assert_eq!(Ipv6Option { kind: 5, offset: 0, data: &[0] }.router_alert(), None);
}

#[test]
fn options_that_lie() {
    let refused = |bytes: &[u8]| {
        let mut options = Ipv6OptionIter::new(bytes, 0);
        let error = options.find_map(Result::err);
        assert_eq!(options.next(), None);
        error
    };
    for lie in [&[5][..], &[5, 3, 0, 0], &[0x3e, 255], &[1, 1], &[0, 0, 0, 0, 0, 1]] {
        assert_eq!(refused(lie), Some(Malformed::BadOption), "{lie:?}");
    }
    // Padding: no more than 7 bytes in a row, and all zero.
    assert_eq!(refused(&[0; 7]), None);
    assert_eq!(refused(&[0; 8]), Some(Malformed::BadOption));
    assert_eq!(refused(&[1, 5, 0, 0, 0, 0, 0]), None);
    assert_eq!(refused(&[1, 6, 0, 0, 0, 0, 0, 0]), Some(Malformed::BadOption));
    assert_eq!(refused(&[1, 0, 1, 0, 1, 0, 1, 0]), Some(Malformed::BadOption));
    assert_eq!(refused(&[1, 2, 0, 1]), Some(Malformed::BadOption));
    assert_eq!(refused(&[0x3e, 0].repeat(MAX_OPTIONS)), None);
    assert_eq!(refused(&[0x3e, 0].repeat(MAX_OPTIONS + 1)), Some(Malformed::TooManyOptions));
}

/// What Linux sends before an MLD report.
#[test]
fn the_router_alert_header() {
    assert_eq!(router_alert(Protocol::ICMPV6, 0), [58, 0, 5, 2, 0, 0, 1, 0]);
}

proptest! {
    #[test]
    fn chains_of_any_bytes(first in prop::sample::select(vec![0u8, 43, 44, 51, 60]), bytes in vec(any::<u8>(), 0..600)) {
        let mut at = 0;
        let mut headers = ExtensionIter::new(Protocol(first), &bytes);
        for header in headers.by_ref().map_while(Result::ok) {
            let Extension { kind, offset, len, next_header } = header;
            prop_assert_eq!(offset, 40 + at);
            prop_assert_eq!(next_header.0, bytes[at]);
            at += len;
            if let ExtensionKind::HopByHop(options) | ExtensionKind::Destination(options) = kind {
                for option in options.flatten() {
                    prop_assert_eq!(option.kind, bytes[option.offset - 40]);
                    prop_assert!(option.offset + 2 + option.data.len() <= offset + len);
                }
            }
        }
        prop_assert!(headers.next().is_none());
        prop_assert!(at <= bytes.len() && at <= MAX_CHAIN_LEN);
        if let Ok(chain) = Ipv6Chain::parse(Protocol(first), &bytes) {
            prop_assert_eq!(chain, headers.so_far());
            prop_assert_eq!(chain.len, at);
            prop_assert_eq!(chain.protocol.0, bytes[chain.pointer - 40]);
        }
    }

    /// Chains that are made well are walked to their end.
    #[test]
    fn well_made_chains(kinds in vec(prop::sample::select(vec![43u8, 51, 60]), 1..=MAX_HEADERS), length in 0u8..4) {
        let mut bytes = Vec::new();
        for (i, kind) in kinds.iter().enumerate() {
            let next = kinds.get(i + 1).copied().unwrap_or(17);
            let mut header = padded(Protocol(next), length);
            if *kind == 51 {
                header[1] = length * 2;
                if length == 0 {
                    header = vec![next, 2];
                    header.resize(16, 0);
                }
            }
            bytes.extend(header);
        }
        let chain = Ipv6Chain::parse(Protocol(kinds[0]), &bytes).unwrap();
        prop_assert_eq!((chain.protocol, chain.len), (Protocol::UDP, bytes.len()));
    }

    #[test]
    fn fragment_headers(next: u8, offset in 0u16..8192, more: bool, ident: u32) {
        let header = FragmentHeader::new(Protocol(next), offset * 8, more, ident);
        let (read, _) = FragmentHeader::parse(header.as_bytes()).unwrap();
        prop_assert_eq!((read.next_header.0, read.offset(), read.more_fragments(), read.ident()), (next, offset * 8, more, ident));
    }
}
