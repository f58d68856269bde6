//! The checksum's inner loop in the vector instructions of the processor we run on.
//!
//! The portable loop gets the 128-bit vectors that every x86-64 has. Wider ones take half or a third of the
//! time, but a program built for every x86-64 has to ask first whether they are there. Calling what was
//! compiled for them is this crate's only `unsafe` code.

#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi64, _mm256_setzero_si256, _mm256_srli_epi64, _mm512_add_epi64,
    _mm512_setzero_si512, _mm512_srli_epi64,
};

use zerocopy::transmute;

use super::{low_and_high, sum_tail};

cpufeatures::new!(has_avx2, "avx2");
cpufeatures::new!(has_avx512, "avx512f");

/// The sum of `bytes` by the widest vectors there are; nothing if there are none.
#[inline]
pub(super) fn sum(bytes: &[u8]) -> Option<u64> {
    if has_avx512::get() {
        // SAFETY: the processor and the system support AVX-512F.
        Some(unsafe { sum_avx512(bytes) })
    } else if has_avx2::get() {
        // SAFETY: the processor and the system support AVX2.
        Some(unsafe { sum_avx2(bytes) })
    } else {
        None
    }
}

/// Defines a function that adds vectors of `$bytes` bytes: the same for both widths. Two pairs of sums, so
/// that one addition need not wait for the other.
macro_rules! define_sum {
    ($name:ident, $feature:literal, $vector:ty, $bytes:literal, $zero:ident, $add:ident, $shift:ident) => {
        #[target_feature(enable = $feature)]
        fn $name(bytes: &[u8]) -> u64 {
            let (pairs, rest) = bytes.as_chunks::<{ 2 * $bytes }>();
            let (last, tail) = rest.as_chunks::<$bytes>();
            let (mut all, mut all_2) = ($zero(), $zero());
            let (mut high, mut high_2) = ($zero(), $zero());
            for pair in pairs {
                let [a, b]: [$vector; 2] = transmute!(*pair);
                all = $add(all, a);
                all_2 = $add(all_2, b);
                high = $add(high, $shift::<32>(a));
                high_2 = $add(high_2, $shift::<32>(b));
            }
            for vector in last {
                let a: $vector = transmute!(*vector);
                all = $add(all, a);
                high = $add(high, $shift::<32>(a));
            }
            let all: [u64; $bytes / 8] = transmute!($add(all, all_2));
            let high: [u64; $bytes / 8] = transmute!($add(high, high_2));
            super::add_carry(low_and_high(&all, &high), sum_tail(tail))
        }
    };
}

define_sum!(sum_avx2, "avx2", __m256i, 32, _mm256_setzero_si256, _mm256_add_epi64, _mm256_srli_epi64);
define_sum!(sum_avx512, "avx512f", __m512i, 64, _mm512_setzero_si512, _mm512_add_epi64, _mm512_srli_epi64);

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::checksum::{fold, sum_portable};

    #[test]
    fn every_width_agrees_with_the_portable_loop() {
        let data: Vec<u8> = (0u32..700).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x80).collect();
        for start in 0..3 {
            for end in start..data.len() {
                let part = &data[start..end];
                let want = fold(sum_portable(part));
                if has_avx2::get() {
                    // SAFETY: the processor and the system support AVX2.
                    assert_eq!(fold(unsafe { sum_avx2(part) }), want, "{start}..{end}");
                }
                if has_avx512::get() {
                    // SAFETY: the processor and the system support AVX-512F.
                    assert_eq!(fold(unsafe { sum_avx512(part) }), want, "{start}..{end}");
                }
            }
        }
    }
}
