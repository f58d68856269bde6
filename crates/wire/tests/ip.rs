//! IPv4, its options, and IPv6.

mod common;

use std::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;
use wireway_wire::zerocopy::{FromBytes, IntoBytes};
use wireway_wire::{
    EthernetHeader, Ipv4Fields, Ipv4Header, Ipv4Option, Ipv4OptionIter, Ipv4View, Ipv6Fields, Ipv6Header, Malformed,
    Protocol,
};

fn fields() -> Ipv4Fields {
    Ipv4Fields {
        tos: 0,
        payload_len: 40,
        ident: 0xebc3,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 64,
        protocol: Protocol::TCP,
        src: Ipv4Addr::new(10, 9, 0, 1),
        dst: Ipv4Addr::new(10, 9, 0, 2),
    }
}

fn refused(packet: &[u8]) -> Malformed {
    Ipv4View::parse(packet).map(|_| ()).unwrap_err()
}

#[test]
fn a_real_header() {
    let frame = common::syn();
    let (_, packet) = EthernetHeader::parse(&frame).unwrap();
    let (ip, payload) = Ipv4View::parse(packet).unwrap();
    assert_eq!(ip.header.fields(), fields());
    assert_eq!(ip.header.checksum(), 0x3ae4);
    assert_eq!(ip.verify_checksum(), Ok(()));
    assert!(ip.options.is_empty());
    assert_eq!(payload.len(), 40);
    assert_eq!(*ip.header, Ipv4Header::new(&fields(), &[]));
}

#[test]
fn type_of_service_of_a_real_icmp_error() {
    let frame = common::port_unreachable();
    let (ip, _) = Ipv4View::parse(&frame[14..]).unwrap();
    assert_eq!((ip.header.dscp(), ip.header.ecn()), (48, 0));
    assert!(!ip.header.dont_fragment());
}

#[test]
fn padding_after_the_total_length_is_left_out() {
    let mut packet = common::udp()[14..].to_vec();
    packet.extend([0xee; 14]);
    let (_, payload) = Ipv4View::parse(&packet).unwrap();
    assert_eq!(payload.len(), 12);
}

#[test]
fn lying_lengths() {
    let good = common::udp()[14..].to_vec();
    let with = |at: usize, value: u8| {
        let mut packet = good.clone();
        packet[at] = value;
        refused(&packet)
    };
    assert_eq!(with(0, 0x65), Malformed::BadVersion);
    for ihl in 0..5 {
        assert_eq!(with(0, 0x40 | ihl), Malformed::BadHeaderLength);
    }
    assert_eq!(with(0, 0x4f), Malformed::Truncated); // 60 bytes of header in 32
    assert_eq!(with(3, 33), Malformed::BadTotalLength);
    assert_eq!(with(3, 19), Malformed::BadTotalLength);
    assert_eq!(with(3, 0), Malformed::BadTotalLength);
    for len in 0..20 {
        assert_eq!(refused(&good[..len]), Malformed::Truncated);
    }
    assert_eq!(refused(&good[..20]), Malformed::BadTotalLength);
    assert!(Ipv4View::parse_head(&good[..20], good.len()).is_ok());
    assert!(Ipv4View::parse_quoted(&good[..20]).is_ok());
}

/// A packet whose payload is elsewhere: its lengths are checked as well as those of a whole one.
#[test]
fn lying_lengths_of_a_head() {
    let packet = common::udp()[14..].to_vec();
    let head = |total_len: u8, available: usize| {
        let mut head = packet[..20].to_vec();
        head[3] = total_len;
        Ipv4View::parse_head(&head, available).map(|_| ())
    };
    assert_eq!(head(32, 32), Ok(()));
    assert_eq!(head(32, 31), Err(Malformed::BadTotalLength));
    assert_eq!(head(20, 20), Ok(()));
    assert_eq!(head(19, 32), Err(Malformed::BadTotalLength));
}

#[test]
fn a_total_length_inside_the_options() {
    let mut header = Ipv4Header::new(&fields(), &[1; 8]);
    header.set_total_len(24);
    let packet = [header.as_bytes(), &[1; 8], &[0; 40]].concat();
    assert_eq!(refused(&packet), Malformed::BadTotalLength);
}

#[test]
fn fragments() {
    let first = Ipv4Header::new(&Ipv4Fields { dont_fragment: false, more_fragments: true, ..fields() }, &[]);
    let last = Ipv4Header::new(&Ipv4Fields { dont_fragment: false, fragment_offset: 65_528, ..fields() }, &[]);
    assert!(first.is_fragment() && first.more_fragments() && first.fragment_offset() == 0);
    assert!(last.is_fragment() && !last.more_fragments() && last.fragment_offset() == 65_528);
    assert!(!Ipv4Header::new(&fields(), &[]).is_fragment());
}

#[test]
fn options() {
    let bytes = [1, 148, 4, 0, 0, 7, 3, 4, 0, 99, 99, 99];
    let options: Vec<_> = Ipv4OptionIter::new(&bytes).collect();
    assert_eq!(
        options,
        [
            Ok(Ipv4Option { kind: Ipv4Option::NOP, data: &[] }),
            Ok(Ipv4Option { kind: Ipv4Option::ROUTER_ALERT, data: &[0, 0] }),
            Ok(Ipv4Option { kind: Ipv4Option::RECORD_ROUTE, data: &[4] }),
        ]
    );
    assert!(options[1].unwrap().is_copied() && !options[2].unwrap().is_copied());
    for lie in [&[7, 0, 0, 0][..], &[7, 1, 0, 0], &[7, 5, 0, 0], &[7, 255, 0, 0], &[1, 1, 1, 7]] {
        let mut options = Ipv4OptionIter::new(lie);
        assert!(options.any(|option| option == Err(Malformed::BadOption)), "{lie:?}");
        assert_eq!(options.next(), None);
    }
}

#[test]
fn ipv6() {
    let fields = Ipv6Fields {
        traffic_class: 0xb8,
        flow_label: 0xabcde,
        payload_len: 4,
        next_header: Protocol::UDP,
        hop_limit: 255,
        src: "fe80::1".parse().unwrap(),
        dst: "2001:db8::2".parse().unwrap(),
    };
    let header = Ipv6Header::new(&fields);
    assert_eq!(header.as_bytes()[..8], [0x6b, 0x8a, 0xbc, 0xde, 0, 4, 17, 255]);
    let packet = [header.as_bytes(), &[1, 2, 3, 4, 5]].concat();
    let (parsed, payload) = Ipv6Header::parse(&packet).unwrap();
    assert_eq!(parsed.fields(), fields);
    assert_eq!(payload, [1, 2, 3, 4]);
    assert_eq!(Ipv6Header::parse(&packet[..43]), Err(Malformed::BadTotalLength));
    assert_eq!(Ipv6Header::parse(&packet[..39]), Err(Malformed::Truncated));
    assert_eq!(Ipv6Header::parse(&[0x45; 60]), Err(Malformed::BadVersion));
}

prop_compose! {
    fn any_fields()(
        tos: u8, payload_len in 0u16..2000, ident: u16, dont_fragment: bool, more_fragments: bool,
        offset in 0u16..8192, ttl: u8, protocol: u8, src: u32, dst: u32,
    ) -> Ipv4Fields {
        Ipv4Fields {
            tos, payload_len, ident, dont_fragment, more_fragments, fragment_offset: offset * 8,
            ttl, protocol: Protocol(protocol), src: src.into(), dst: dst.into(),
        }
    }
}

proptest! {
    #[test]
    fn round_trip(fields in any_fields(), words in 0usize..11, fill: u8) {
        let options = vec![fill; words * 4];
        let header = Ipv4Header::new(&fields, &options);
        let payload = vec![0x5a; usize::from(fields.payload_len)];
        let packet = [header.as_bytes(), &options, &payload].concat();
        let (view, rest) = Ipv4View::parse(&packet).unwrap();
        prop_assert_eq!(view.header.fields(), fields);
        prop_assert_eq!(view.options, &options[..]);
        prop_assert_eq!(rest, &payload[..]);
        prop_assert_eq!(view.verify_checksum(), Ok(()));
    }

    #[test]
    fn setters_keep_the_checksum(fields in any_fields(), ttl: u8, ident: u16, total: u16) {
        let mut header = Ipv4Header::new(&fields, &[]);
        header.set_ttl(ttl);
        header.set_ident(ident);
        header.set_total_len(total);
        let incremental = header.checksum();
        header.fill_checksum(&[]);
        prop_assert_eq!(incremental, header.checksum());
        prop_assert_eq!((header.ttl(), header.ident(), header.total_len()), (ttl, ident, total.into()));
    }

    #[test]
    fn a_changed_bit_is_noticed(fields in any_fields(), bit in 0usize..160) {
        let mut header = Ipv4Header::new(&fields, &[]);
        header.as_mut_bytes()[bit / 8] ^= 1 << (bit % 8);
        let view = Ipv4View { header: &header, options: &[] };
        prop_assert_eq!(view.verify_checksum(), Err(Malformed::BadChecksum));
    }

    #[test]
    fn options_of_any_bytes_end(bytes in vec(any::<u8>(), 0..41)) {
        let mut left = bytes.len() + 1;
        let mut options = Ipv4OptionIter::new(&bytes);
        while let Some(option) = options.next() {
            left -= 1;
            if option.is_err() {
                prop_assert!(options.next().is_none());
            }
        }
        prop_assert!(left > 0);
    }

    #[test]
    fn any_header_has_fields(bytes: [u8; 20]) {
        let header = Ipv4Header::ref_from_bytes(&bytes).unwrap();
        let _ = header.fields();
    }
}
