//! SYN cookies (RFC 4987 §3.6): under a flood of SYNs the state of a half-open connection travels in our initial sequence number,
//! and comes back in the acknowledgement.
//!
//! The cookie's low 3 bits choose one of eight segment sizes, the next 5 are a counter of minutes, and the rest is a keyed
//! hash of the flow, the peer's sequence number and those. Window scale and SACK-permitted travel in the low bits of our
//! timestamp, if the peer has one (as on Linux); without timestamps they are given up.

use core::time::Duration;

use siphasher::sip::SipHasher24;
use wireway_packet::Instant;
use wireway_wire::SeqNumber;

use super::flow::Flow;
use super::open::PeerOptions;

/// Segment sizes that a cookie can tell; the largest not above the peer's is chosen.
const SIZES: [u16; 8] = [216, 536, 1220, 1300, 1380, 1440, 1460, 8960];
const SIZE_BITS: u32 = 3;
const MINUTE_BITS: u32 = 5;
/// A cookie is good for this many minutes after the one it was made in.
const MINUTES: u32 = 2;
/// How long after the last cookie was sent acknowledgements may be cookies.
pub(crate) const VALIDITY: Duration = Duration::from_secs(60 * (MINUTES as u64 + 1));

/// In the timestamp: window scale (15: none), SACK permitted.
const TIMESTAMP_BITS: u32 = 5;

/// The secret of a host's cookies.
pub(crate) struct SynCookies {
    key: SipHasher24,
}

impl SynCookies {
    pub fn new(key: [u8; 16]) -> SynCookies {
        SynCookies { key: SipHasher24::new_with_key(&key) }
    }

    fn hash(&self, flow: &Flow, irs: SeqNumber, low: u32) -> u32 {
        let numbers = u64::from(irs.0) << 32 | u64::from(low);
        let mut both = [0; 16];
        both[..8].copy_from_slice(&flow.keyed_hash(&self.key).to_le_bytes());
        both[8..].copy_from_slice(&numbers.to_le_bytes());
        (self.key.hash(&both) as u32) << (SIZE_BITS + MINUTE_BITS)
    }

    /// The initial sequence number that stands for a half-open connection.
    pub fn make(&self, flow: &Flow, irs: SeqNumber, mss: u16, now: Instant) -> SeqNumber {
        let size = SIZES.iter().rposition(|&size| size <= mss).unwrap_or(0) as u32;
        let low = minute(now) << SIZE_BITS | size;
        SeqNumber(self.hash(flow, irs, low) | low)
    }

    /// The peer's segment size, if `cookie` is one of ours and not too old.
    pub fn check(&self, flow: &Flow, irs: SeqNumber, cookie: SeqNumber, now: Instant) -> Option<u16> {
        let low = cookie.0 & ((1 << (SIZE_BITS + MINUTE_BITS)) - 1);
        if self.hash(flow, irs, low) | low != cookie.0 {
            return None;
        }
        let age = minute(now).wrapping_sub(low >> SIZE_BITS) & ((1 << MINUTE_BITS) - 1);
        if age > MINUTES {
            return None;
        }
        SIZES.get((low & ((1 << SIZE_BITS) - 1)) as usize).copied()
    }
}

fn minute(now: Instant) -> u32 {
    (now.as_millis() / 60_000) as u32 & ((1 << MINUTE_BITS) - 1)
}

/// Our timestamp with the peer's options in its low bits; not later than `timestamp`.
pub(crate) fn encode_timestamp(timestamp: u32, options: &PeerOptions) -> u32 {
    let mask = (1 << TIMESTAMP_BITS) - 1;
    let low = u32::from(options.window_scale.map_or(15, |shift| shift.min(14))) | u32::from(options.sack) << 4;
    let with = timestamp & !mask | low;
    if (with.wrapping_sub(timestamp) as i32) > 0 { with.wrapping_sub(1 << TIMESTAMP_BITS) } else { with }
}

/// The options from an echo of our timestamp: window scale and SACK permitted.
pub(crate) fn decode_timestamp(echo: u32) -> (Option<u8>, bool) {
    let shift = (echo & 15) as u8;
    ((shift != 15).then_some(shift), echo & 16 != 0)
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr};

    use super::super::flow::Endpoint;
    use super::*;
    use crate::InterfaceId;

    #[test]
    fn a_cookie_tells_the_segment_size_for_a_while() {
        let end = |n| Endpoint::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)), u16::from(n) + 1000);
        let flow = Flow::new(end(1), end(2), InterfaceId(1));
        let other = Flow::new(end(1), end(3), InterfaceId(1));
        let cookies = SynCookies::new([7; 16]);
        let irs = SeqNumber(12345);
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        let cookie = cookies.make(&flow, irs, 1460, at(100));
        assert_eq!(cookies.check(&flow, irs, cookie, at(220)), Some(1460));
        assert_eq!(cookies.check(&flow, irs, cookie, at(300)), None);
        assert_eq!(cookies.check(&flow, irs + 1, cookie, at(100)), None);
        assert_eq!(cookies.check(&other, irs, cookie, at(100)), None);
        assert_eq!(cookies.check(&flow, irs, cookie + 8, at(100)), None);
        assert_eq!(cookies.check(&flow, irs, cookies.make(&flow, irs, 100, at(0)), at(0)), Some(216));
    }

    #[test]
    fn options_travel_in_the_timestamp() {
        for timestamp in [0u32, 31, 32, 1000, u32::MAX] {
            for (window_scale, sack) in [(None, false), (Some(0), true), (Some(14), false), (Some(7), true)] {
                let options = PeerOptions { mss: 1460, window_scale, sack, timestamp: Some(1) };
                let encoded = encode_timestamp(timestamp, &options);
                assert!(timestamp.wrapping_sub(encoded) < 64);
                assert_eq!(decode_timestamp(encoded), (window_scale, sack));
            }
        }
    }
}
