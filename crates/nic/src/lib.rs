//! Network cards in software: the device trait and the backends.
//!
//! | file | card |
//! | --- | --- |
//! | `memory.rs` | two cards in one thread, joined by rings |
//! | `tap/` | a Linux TAP, with the kernel at the other side |
//! | `shm/` | a cable in shared memory between two processes |
//! | `impaired.rs` | any card, behind a link with rate, delay, loss … |
//! | `monitor.rs` | any card, with somebody watching its frames: |
//! | `capture.rs` | … into a pcapng file |
//! | `trace.rs` | … as one line of text for each |
//!
//! A card receives and transmits Ethernet frames. It may take [super-segments](wireway_packet::Segmentation) and
//! [partial checksums](wireway_packet::Checksum::Partial) if its [`features`](Nic::features) say so, and hand them to the host:
//! but what is seen, measured or impaired is always the frames of at most an MTU that they stand for.

use std::os::fd::BorrowedFd;

use wireway_packet::software::{segment_count, tags_len};
use wireway_packet::{Instant, Packet};
use wireway_stack::Features;
use wireway_wire::{EthernetHeader, MacAddr};

mod capture;
mod impaired;
mod memory;
mod monitor;
mod shm;
mod tap;
mod trace;

pub use capture::{Capture, CaptureCounters};
pub use impaired::{Cable, Impaired};
pub use memory::{MemoryConfig, MemoryNic, pair};
pub use monitor::{Direction, Monitor, Monitored};
pub use shm::{End, ShmConfig, ShmNic};
pub use tap::{TapConfig, TapNic};
pub use trace::Trace;

/// A network card as the engine sees it, whatever is behind it.
pub trait Nic {
    /// The hardware address.
    fn mac(&self) -> MacAddr;

    /// Bytes of the largest IP packet.
    fn mtu(&self) -> u16;

    /// What the card does so that the stack need not.
    fn features(&self) -> Features {
        Features::default()
    }

    /// Takes one frame to transmit. Gives it back when the card is full: then [`Nic::transmit`] may be tried again after
    /// [`Nic::fd`] is ready or [`Nic::poll_at`] has come; at any time if it has no descriptor.
    fn transmit(&mut self, now: Instant, frame: Packet) -> Result<(), Packet>;

    /// The next received frame. `None` promises that [`Nic::fd`] becomes readable, or [`Nic::poll_at`] comes, when there is one.
    fn receive(&mut self, now: Instant) -> Option<Packet>;

    /// Pushes out what transmit has batched.
    fn flush(&mut self, _now: Instant) {}

    /// A descriptor that is readable when frames wait, for backends that have one. It stays the same while the card lives.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// When the card next has something to do by itself, such as a frame that arrives over a link with delay: then
    /// [`Nic::receive`] is called.
    fn poll_at(&self) -> Option<Instant> {
        None
    }

    /// Why the card no longer works (a TAP that was deleted), if so.
    fn failure(&self) -> Option<String> {
        None
    }

    /// Whether somebody is at the other end of the cable.
    fn carrier(&self) -> bool {
        true
    }

    /// What the card counted.
    fn statistics(&self) -> Statistics {
        Statistics::default()
    }
}

impl<N: Nic + ?Sized> Nic for Box<N> {
    fn mac(&self) -> MacAddr {
        (**self).mac()
    }

    fn mtu(&self) -> u16 {
        (**self).mtu()
    }

    fn features(&self) -> Features {
        (**self).features()
    }

    fn transmit(&mut self, now: Instant, frame: Packet) -> Result<(), Packet> {
        (**self).transmit(now, frame)
    }

    fn receive(&mut self, now: Instant) -> Option<Packet> {
        (**self).receive(now)
    }

    fn flush(&mut self, now: Instant) {
        (**self).flush(now);
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        (**self).fd()
    }

    fn poll_at(&self) -> Option<Instant> {
        (**self).poll_at()
    }

    fn failure(&self) -> Option<String> {
        (**self).failure()
    }

    fn carrier(&self) -> bool {
        (**self).carrier()
    }

    fn statistics(&self) -> Statistics {
        (**self).statistics()
    }
}

/// What a card counts, in frames as they are on the wire: a super-segment is several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes of them, from the Ethernet header on, without check sequence.
    pub rx_bytes: u64,
    /// Frames that arrived and could not be handed on.
    pub rx_dropped: u64,
    /// Frames transmitted.
    pub tx_frames: u64,
    /// Bytes of them.
    pub tx_bytes: u64,
    /// Frames that were given to the card and went nowhere.
    pub tx_dropped: u64,
}

impl Statistics {
    fn received(&mut self, frame: &Packet) {
        let (frames, bytes) = wire_size(frame);
        self.rx_frames += frames;
        self.rx_bytes += bytes;
    }

    fn transmitted(&mut self, frame: &Packet) {
        let (frames, bytes) = wire_size(frame);
        self.tx_frames += frames;
        self.tx_bytes += bytes;
    }
}

/// The frames and bytes that a packet is on the wire.
fn wire_size(packet: &Packet) -> (u64, u64) {
    let frames = segment_count(packet);
    let header_len = packet.offload().segmentation.map_or(0, |s| usize::from(s.header_len));
    (frames as u64, (packet.len() + (frames - 1) * header_len) as u64)
}

/// Bytes of the longest frame that a packet is on the wire.
fn longest_frame(packet: &Packet) -> usize {
    let whole = packet.len();
    packet.offload().segmentation.map_or(whole, |s| whole.min(usize::from(s.header_len) + usize::from(s.size)))
}

/// Whether a packet is fit for a wire of this MTU.
fn fits(packet: &Packet, mtu: u16) -> bool {
    let (longest, most) = (longest_frame(packet), usize::from(mtu) + EthernetHeader::LEN);
    longest <= most || longest <= most + tags_len(packet)
}
