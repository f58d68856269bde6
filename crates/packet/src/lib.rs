//! The packet buffer of Wireway: an mbuf with segmentation and checksum metadata.
//!
//! - [`Packet`]: head and chain, with the mbuf operations (`packet.rs`)
//! - [`Writer`], [`Slice`]: shared storage from a slab (`block.rs`)
//! - [`Offload`]: what a card is still to do, or has done (`offload.rs`)
//! - [`PacketQueue`]: a bounded queue (`queue.rs`)
//! - [`Instant`]: time, passed in (`time.rs`)
//!
//! `software.rs` does in software what a card may leave undone: completing checksums and cutting super-segments.

mod block;
mod offload;
#[allow(clippy::module_inception)]
mod packet;
mod queue;
pub mod software;
mod time;

pub use block::{CLASSES, Slice, Writer};
pub use offload::{Checksum, Offload, PendingTag, SegmentKind, Segmentation};
pub use packet::{HEAD, HEADROOM, INLINE, Packet};
pub use queue::PacketQueue;
pub use time::Instant;
