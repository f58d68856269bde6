//! UDP-Lite (RFC 3828): UDP whose checksum may cover the front of a datagram alone, so that damage behind it does no harm.
//!
//! The length field of its header says how much is covered; IP says how long the datagram is.

use wireway_packet::Packet;
use wireway_wire::{Malformed, Sum, UdpHeader};

/// What a socket asks of coverage, in bytes with the header (Linux's UDPLITE_SEND_CSCOV and UDPLITE_RECV_CSCOV).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coverage {
    /// What the checksum of sent datagrams covers, if the program said so; 0 is everything.
    pub send: Option<u16>,
    /// The least that is wanted of received ones, if the program said so; 0 is everything.
    pub receive: Option<u16>,
}

/// A coverage that a program asked for: the header is always covered (§3.1).
pub(super) fn clamp(bytes: u16) -> u16 {
    if bytes == 0 { 0 } else { bytes.max(UdpHeader::LEN as u16) }
}

impl Coverage {
    /// Whether a datagram of `len` bytes of which `covered` were checked is what the socket wants.
    pub fn accepts(&self, len: usize, covered: usize) -> bool {
        match self.receive {
            Some(0) => covered == len,
            Some(least) => covered == len || covered >= usize::from(least),
            None => true,
        }
    }

    /// The header's length field for a datagram of `len` bytes, and how many bytes the checksum covers. RFC 3828 §3.1: 0 says "all", as its length
    /// does.
    pub fn of(&self, len: usize) -> (u16, usize) {
        match self.send {
            Some(0) => (0, len),
            Some(covered) if usize::from(covered) < len => (covered, covered.into()),
            _ => (u16::try_from(len).unwrap_or(0), len),
        }
    }
}

/// Looks at the header and the checksum of a datagram, of which `pseudo` is the pseudo header's sum; how many bytes were covered.
pub(super) fn check(packet: &mut Packet, pseudo: Sum) -> Result<(UdpHeader, usize), Malformed> {
    let len = packet.len();
    let head = packet.pullup(UdpHeader::LEN).map(|head| &*head).unwrap_or_default();
    let (&header, covered) = UdpHeader::parse_lite(head, len)?;
    let mut front = packet.clone();
    front.truncate(covered);
    if front.sum(0, pseudo).is_valid() { Ok((header, covered)) } else { Err(Malformed::BadChecksum) }
}
