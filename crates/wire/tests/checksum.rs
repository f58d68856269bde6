//! The checksum against RFC 1071's words done one at a time, whole and in parts.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use wireway_wire::checksum::{checksum, update, update_u32};
use wireway_wire::{Protocol, Sum};

/// RFC 1071's definition: 16-bit words in network order, end-around carry at each step.
fn naive(data: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in data.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[test]
fn example_of_rfc_1071() {
    let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(Sum::of(&data).fold(), 0xddf2);
    assert_eq!(checksum(&data), !0xddf2);
}

#[test]
fn every_length_and_extreme_bytes() {
    for fill in [0x00, 0x01, 0x80, 0xff] {
        let data = vec![fill; 700];
        for len in 0..data.len() {
            assert_eq!(checksum(&data[..len]), naive(&data[..len]), "{len} of {fill}");
        }
    }
    let data = vec![0xff; 1 << 20];
    assert_eq!(checksum(&data), naive(&data));
}

#[test]
fn every_length_at_every_alignment() {
    let data: Vec<u8> = (0..400u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8).collect();
    for start in 0..64 {
        for len in 0..=300 {
            let part = &data[start..start + len];
            assert_eq!(checksum(part), naive(part), "{len} from {start}");
        }
    }
}

/// The words of eight bytes added one by one, each carry brought round.
fn folded(acc: u64) -> u16 {
    let add = |sum: u16, word: u16| {
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    };
    [acc as u16, (acc >> 16) as u16, (acc >> 32) as u16, (acc >> 48) as u16].into_iter().fold(0, add).swap_bytes()
}

#[test]
fn folding_where_carries_meet() {
    let edges = [0u16, 1, 2, 0x7fff, 0x8000, 0xfffe, 0xffff];
    for i in 0..edges.len().pow(3) {
        let [a, b, c] = [i, i / 7, i / 49].map(|i| edges[i % 7]);
        for d in 0..=0xffffu16 {
            for acc in [[a, b, c, d], [a, b, d, c], [a, d, b, c], [d, a, b, c]] {
                let acc = acc.iter().fold(0, |acc, &word| acc << 16 | u64::from(word));
                assert_eq!(Sum::of(&acc.to_le_bytes()).fold(), folded(acc), "{acc:x}");
            }
        }
    }
}

#[test]
fn nothing_and_zero() {
    assert_eq!(Sum::new().finish(), 0xffff);
    assert_eq!(checksum(&[0; 9]), 0xffff);
    assert!(!Sum::of(&[0; 20]).is_valid());
    assert_eq!(Sum::of(&[0xff, 0xff]).finish(), 0);
    assert_eq!(Sum::of(&[0xff, 0xff]).finish_udp(), 0xffff);
}

#[test]
fn pseudo_headers_are_the_bytes_of_their_figures() {
    let (src, dst) = (Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2));
    let bytes = [10, 9, 0, 1, 10, 9, 0, 2, 0, 17, 0, 12];
    let sum = Sum::pseudo_v4(src, dst, Protocol::UDP, 12);
    assert_eq!(sum.fold(), Sum::of(&bytes).fold());

    let (src, dst): (Ipv6Addr, Ipv6Addr) = ("fe80::1:2".parse().unwrap(), "2001:db8::99".parse().unwrap());
    let mut bytes = [src.octets(), dst.octets()].concat();
    bytes.extend([0, 1, 0x23, 0x45, 0, 0, 0, 6]);
    let sum = Sum::pseudo_v6(src, dst, Protocol::TCP, 0x1_2345);
    assert_eq!(sum.finish(), naive(&bytes));
}

proptest! {
    #[test]
    fn folding(acc: u64) {
        prop_assert_eq!(Sum::of(&acc.to_le_bytes()).fold(), folded(acc));
    }

    #[test]
    fn parts_cut_anywhere(data in vec(any::<u8>(), 0..2000), mut cuts in vec(0usize..2000, 0..8)) {
        cuts.sort_unstable();
        let mut sum = Sum::new();
        let mut joined = Sum::new();
        let mut start = 0;
        for cut in cuts.into_iter().chain([data.len()]) {
            let end = cut.min(data.len());
            sum.add_bytes(&data[start..end]);
            joined.add_sum(Sum::of(&data[start..end]));
            start = end;
        }
        prop_assert_eq!(sum.finish(), naive(&data));
        prop_assert_eq!(joined.finish(), naive(&data));
    }

    #[test]
    fn fields_between_odd_parts(a in vec(any::<u8>(), 0..70), x: u16, y: u32, b in vec(any::<u8>(), 0..70)) {
        let mut sum = Sum::of(&a);
        sum.add_u16(x);
        sum.add_u32(y);
        sum.add_bytes(&b);
        let whole = [&a[..], &x.to_be_bytes(), &y.to_be_bytes(), &b].concat();
        prop_assert_eq!(sum.finish(), naive(&whole));
    }

    #[test]
    fn a_filled_in_checksum_is_valid_and_a_changed_bit_is_not(
        mut data in vec(any::<u8>(), 2..300), bit in 0usize..2400,
    ) {
        data[0] = 0;
        data[1] = 0;
        let sum = checksum(&data).to_be_bytes();
        data[..2].copy_from_slice(&sum);
        prop_assert!(Sum::of(&data).is_valid());
        let bit = bit % (data.len() * 8);
        data[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!Sum::of(&data).is_valid());
    }

    /// RFC 1624 §3: the update must equal the checksum computed anew, also where the sum becomes zero.
    #[test]
    fn incremental_update(mut words in vec(prop_oneof![any::<u16>(), Just(0), Just(0xffff)], 3..20), new: u16, wide: u32) {
        words[0] = 0x4500;
        let bytes = |words: &[u16]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<_>>();
        let before = naive(&bytes(&words));
        let old = std::mem::replace(&mut words[1], new);
        let after = naive(&bytes(&words));
        prop_assert_eq!(update(before, old, new), after);

        let old = u32::from(words[1]) << 16 | u32::from(words[2]);
        words[1] = (wide >> 16) as u16;
        words[2] = wide as u16;
        prop_assert_eq!(update_u32(after, old, wide), naive(&bytes(&words)));
    }
}
