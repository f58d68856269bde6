//! Segmentation and checksum metadata: what of a packet is still to be done, or was already done, by a card.
//!
//! They are fields of the packet's type, so no layer can lose them; offsets are kept relative to the packet's first
//! byte by [`Packet`](crate::Packet) itself when headers are prepended or trimmed.

use wireway_wire::VlanProtocol;

/// What is known of the transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Checksum {
    /// The checksum stands in the packet, and nobody has verified it.
    #[default]
    Complete,
    /// It was verified by a device, or the packet never left this machine: it need not be looked at.
    Verified,
    /// The field holds the pseudo header's sum, and the sum over `start..` is still to be added and stored, complemented,
    /// at `start + offset` (Linux's CHECKSUM_PARTIAL, virtio-net's NEEDS_CSUM).
    Partial {
        /// Where the transport header begins, from the packet's first byte.
        start: u16,
        /// Where the checksum field lies in the transport header.
        offset: u16,
    },
}

/// Which protocol cuts a super-segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
}

/// A super-segment: how it is to be cut, or how it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// The protocol of the cut.
    pub kind: SegmentKind,
    /// Payload bytes of each segment but the last.
    pub size: u16,
    /// Bytes of all headers before the payload, from the packet's first byte.
    pub header_len: u16,
}

/// A VLAN tag that a frame is to have and that does not stand in it yet (Linux's skb_vlan_tag). There is one at most: of several tags
/// the inner ones stand in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingTag {
    /// The kind of tag.
    pub protocol: VlanProtocol,
    /// Priority, drop eligibility and number, as they stand in the tag.
    pub control: u16,
}

/// A packet's offload state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Offload {
    /// The transport checksum's state.
    pub checksum: Checksum,
    /// Present on a super-segment.
    pub segmentation: Option<Segmentation>,
    /// Present on a frame of a VLAN whose tag is still to be put in.
    pub tag: Option<PendingTag>,
}

impl Offload {
    /// Moves all offsets by `delta` bytes, as the packet's first byte moves.
    #[inline]
    pub(crate) fn shift(&mut self, delta: isize) {
        let moved = |at: u16| u16::try_from((at as isize).saturating_add(delta).max(0)).unwrap_or(u16::MAX);
        if let Checksum::Partial { start, .. } = &mut self.checksum {
            *start = moved(*start);
        }
        if let Some(segmentation) = &mut self.segmentation {
            segmentation.header_len = moved(segmentation.header_len);
        }
    }
}
