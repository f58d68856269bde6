//! The Internet checksum: RFC 1071, its incremental update by RFC 1624, and the pseudo headers.
//!
//! # Theory of operation
//!
//! The checksum is the complement of the one's complement sum of the 16-bit words of the data.
//! Three properties (RFC 1071 §2) make it fast:
//!
//! - One's complement arithmetic on 16 bits is arithmetic modulo 2^16 - 1, which divides 2^32 - 1
//!   and 2^64 - 1. So we add wide words, and fold to 16 bits once, at the end.
//! - It does not depend on byte order: we add words as little-endian and swap the bytes of the result.
//! - Multiplying by 2^8 swaps the bytes of the sum, so that a part that starts at an odd offset
//!   is added rotated by 8 bits. Scattered data may be cut anywhere.
//!
//! The inner loop adds 64-bit words in lanes, which the compiler turns into vector instructions. A
//! vector has no carry out, so each lane keeps two wrapping sums: of the words, `all`, and of their high
//! halves, `high`. The sum of the low halves is then `all - (high << 32)`, and no carry is ever lost:
//! three vector instructions for each vector of data, where widening each half would take four.
//!
//! There is no "copy and sum": measured, it is no faster than a copy followed by the sum of a copy that is
//! then in the nearest cache.

#[cfg(target_arch = "x86_64")]
mod x86;

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::Protocol;

/// The bytes that one turn of the inner loop adds.
const BLOCK: usize = 64;
/// The lanes of the inner loop.
const LANES: usize = BLOCK / 8;

/// A running Internet checksum over parts of any length, in the order they have on the wire.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// The one's complement sum of the data's little-endian words, modulo 2^64 - 1.
    acc: u64,
    /// Whether an odd number of bytes was added so far.
    odd: bool,
}

impl Sum {
    /// The sum of nothing.
    #[inline]
    pub const fn new() -> Self {
        Self { acc: 0, odd: false }
    }

    /// The sum of `bytes`.
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        Self { acc: sum_bytes(bytes), odd: bytes.len() & 1 == 1 }
    }

    /// The sum of the pseudo header of TCP or UDP on IPv4 (RFC 9293 §3.1, RFC 768); `len` is the
    /// number of bytes of the transport header and its payload.
    #[inline]
    pub fn pseudo_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol, len: u32) -> Self {
        let addresses = u64::from(u32::from_le_bytes(src.octets())) + u64::from(u32::from_le_bytes(dst.octets()));
        Self { acc: addresses + pseudo_rest(protocol, len), odd: false }
    }

    /// The sum of the pseudo header of an upper layer on IPv6 (RFC 8200 §8.1); `len` is the
    /// number of bytes of the upper layer's header and payload.
    #[inline]
    pub fn pseudo_v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: Protocol, len: u32) -> Self {
        let halves = |address: Ipv6Addr| {
            let address = u128::from_le_bytes(address.octets());
            add_carry(address as u64, (address >> 64) as u64)
        };
        let addresses = add_carry(halves(src), halves(dst));
        Self { acc: add_carry(addresses, pseudo_rest(protocol, len)), odd: false }
    }

    /// Adds the bytes that follow those added so far.
    #[inline]
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        self.add_part(sum_bytes(bytes), bytes.len());
    }

    /// Adds a 16-bit field, given in the host's byte order.
    #[inline]
    pub fn add_u16(&mut self, word: u16) {
        self.add_part(u64::from(word.swap_bytes()), 2);
    }

    /// Adds a 32-bit field, given in the host's byte order.
    #[inline]
    pub fn add_u32(&mut self, word: u32) {
        self.add_part(u64::from(word.swap_bytes()), 4);
    }

    /// Adds another sum's data, which follow those added so far.
    #[inline]
    pub fn add_sum(&mut self, next: Sum) {
        self.add_part(next.acc, usize::from(next.odd));
    }

    /// The checksum: the complement of the sum, in the host's byte order. Over data whose checksum
    /// field is filled in, it is 0 if the data are intact.
    #[inline]
    pub fn finish(self) -> u16 {
        !self.fold()
    }

    /// The checksum as UDP sends it: 0, which would mean "none", becomes 0xffff (RFC 768).
    #[inline]
    pub fn finish_udp(self) -> u16 {
        match self.finish() {
            0 => 0xffff,
            checksum => checksum,
        }
    }

    /// The sum folded to 16 bits and not complemented, in the host's byte order: what a checksum field
    /// holds when a later stage is to add the rest (of a pseudo header, for checksum offload).
    #[inline]
    pub fn fold(self) -> u16 {
        fold(self.acc).swap_bytes()
    }

    /// Whether the data, checksum field included, are intact.
    #[inline]
    pub fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }

    #[inline]
    fn add_part(&mut self, part: u64, len: usize) {
        let part = if self.odd { part.rotate_left(8) } else { part };
        self.acc = add_carry(self.acc, part);
        self.odd ^= len & 1 == 1;
    }
}

/// The checksum of `bytes`, in the host's byte order.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::of(bytes).finish()
}

/// The checksum after one 16-bit word that it covers changed: RFC 1624's equation 3,
/// HC' = ~(~HC + ~m + m'). All in one byte order, whichever it is. Where no word is left that is not zero, 0 comes
/// out and 0xffff would be right: 0xffff is right wherever 0 comes out.
#[inline]
pub fn update(checksum: u16, old_word: u16, new_word: u16) -> u16 {
    let sum = u64::from(!checksum) + u64::from(!old_word) + u64::from(new_word);
    !fold(sum)
}

/// The checksum after a 32-bit field that it covers changed (an address); as [`update`].
#[inline]
pub fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    let sum = u64::from(!checksum) + u64::from(!old) + u64::from(new);
    !fold(sum)
}

/// What a pseudo header has besides the addresses.
#[inline]
fn pseudo_rest(protocol: Protocol, len: u32) -> u64 {
    u64::from(len.swap_bytes()) + u64::from(u16::from(protocol.0).swap_bytes())
}

/// Addition modulo 2^64 - 1, with the carry brought round.
#[inline]
fn add_carry(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u64::from(carry)
}

/// The sum modulo 2^16 - 1; it is 0 only if `acc` is.
#[inline]
fn fold(acc: u64) -> u16 {
    // A word plus itself with its halves swapped: above stands the sum of the halves, with the carry from below brought round.
    let acc = (acc.wrapping_add(acc.rotate_left(32)) >> 32) as u32;
    (acc.wrapping_add(acc.rotate_left(16)) >> 16) as u16
}

#[inline]
fn sum_bytes(bytes: &[u8]) -> u64 {
    if bytes.len() < BLOCK { sum_tail(bytes) } else { sum_long(bytes) }
}

#[inline(never)]
fn sum_long(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if let Some(sum) = x86::sum(bytes) {
        return sum;
    }
    sum_portable(bytes)
}

fn sum_portable(bytes: &[u8]) -> u64 {
    let (blocks, tail) = bytes.as_chunks::<BLOCK>();
    let mut all = [0u64; LANES];
    let mut high = [0u64; LANES];
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for ((all, high), word) in all.iter_mut().zip(&mut high).zip(words) {
            let word = u64::from_le_bytes(*word);
            *all = all.wrapping_add(word);
            *high = high.wrapping_add(word >> 32);
        }
    }
    add_carry(low_and_high(&all, &high), sum_tail(tail))
}

/// The sum of the words' low and high halves, from the lanes' two sums.
#[inline]
fn low_and_high(all: &[u64], high: &[u64]) -> u64 {
    let all = all.iter().fold(0u64, |sum, lane| sum.wrapping_add(*lane));
    let high = high.iter().fold(0u64, |sum, lane| sum.wrapping_add(*lane));
    let low = all.wrapping_sub(high << 32);
    add_carry(low, high)
}

/// The sum of a few bytes (of any number, but slowly).
#[inline]
fn sum_tail(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut sum = 0;
    for word in words {
        sum = add_carry(sum, u64::from_le_bytes(*word));
    }
    if rest.is_empty() {
        return sum;
    }
    let last = match bytes.last_chunk::<8>() {
        // What is left is the end of the last eight bytes; the others were added already.
        Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
        None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    };
    add_carry(sum, last)
}
