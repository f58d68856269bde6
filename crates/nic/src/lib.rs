//! Network cards in software: the device trait, the offload engine and the backends.

use std::os::fd::BorrowedFd;

use wireway_packet::{Instant, Packet};
use wireway_wire::MacAddr;

/// A network card as the engine sees it, whatever is behind it.
pub trait Nic {
    /// The hardware address.
    fn mac(&self) -> MacAddr;

    /// Bytes of the largest IP packet.
    fn mtu(&self) -> u16;

    /// Takes one frame to transmit. Gives it back when the card is full: then [`Nic::transmit`] may be tried again after
    /// [`Nic::fd`] is writable or [`Nic::poll_at`] has come.
    fn transmit(&mut self, now: Instant, frame: Packet) -> Result<(), Packet>;

    /// The next received frame.
    fn receive(&mut self, now: Instant) -> Option<Packet>;

    /// Pushes out what transmit has batched.
    fn flush(&mut self, _now: Instant) {}

    /// A descriptor that is readable when frames wait, for backends that have one.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// When the card next has something to do by itself, such as a frame that arrives over a link with delay.
    fn poll_at(&self) -> Option<Instant> {
        None
    }

    /// Why the card no longer works (a TAP that was deleted, a peer that went away), if so.
    fn failure(&self) -> Option<String> {
        None
    }
}
