//! The packet: a small owned head for headers, a chain of shared slices for payload.
//!
//! The head is internal storage with room in front, so headers are prepended without a copy; small payloads (an ACK, a
//! one-byte answer) live in it whole. Larger payload is a chain of [`Slice`]s, shared with the send buffer or with the
//! block that a device received into. The bytes of a packet are its head followed by its chain.
//!
//! A `Packet` is one pointer; its body is recycled through a free list of the thread that drops it.

use core::cell::RefCell;
use core::fmt;
use core::mem;

use smallvec::SmallVec;
use wireway_wire::checksum::Sum;

use crate::{Checksum, Instant, Offload, Slice};

/// Bytes of internal storage in a packet's head.
pub const HEAD: usize = 256;

/// Room kept in front of what is put into a new packet's head: Ethernet with two tags, IPv6 with an extension header,
/// TCP with all options.
pub const HEADROOM: usize = 144;

/// Payload up to this many bytes is copied into the head instead of being chained.
pub const INLINE: usize = HEAD - HEADROOM;

/// At most this many bodies are kept on a thread's free list.
const KEEP: usize = 4096;

thread_local! {
    // Boxed on purpose: the list keeps allocations, not values.
    #[allow(clippy::vec_box)]
    static FREE: RefCell<Vec<Box<Body>>> = const { RefCell::new(Vec::new()) };
}

struct Body {
    offload: Offload,
    timestamp: Option<Instant>,
    len: u32,
    start: u16,
    end: u16,
    chain: SmallVec<[Slice; 3]>,
    head: [u8; HEAD],
}

impl Body {
    /// Removes `n` bytes from the chain's front.
    fn trim_chain(&mut self, n: usize) {
        let mut left = n;
        let mut whole = 0;
        for slice in self.chain.iter_mut() {
            if left < slice.len() {
                slice.trim_front(left);
                break;
            }
            left -= slice.len();
            whole += 1;
        }
        if whole > 0 {
            self.chain.drain(..whole);
        }
    }
}

/// A packet buffer with mbuf operations. See the module's head.
pub struct Packet {
    body: mem::ManuallyDrop<Box<Body>>,
}

impl Packet {
    /// An empty packet with [`HEADROOM`] bytes of room in front.
    pub fn new() -> Packet {
        let recycled = FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten();
        let mut body = recycled.unwrap_or_else(|| {
            Box::new(Body {
                offload: Offload::default(),
                timestamp: None,
                len: 0,
                start: 0,
                end: 0,
                chain: SmallVec::new(),
                head: [0; HEAD],
            })
        });
        body.start = HEADROOM as u16;
        body.end = HEADROOM as u16;
        Packet { body: mem::ManuallyDrop::new(body) }
    }

    /// A packet holding a copy of `data`.
    pub fn copy_from(data: &[u8]) -> Packet {
        let mut packet = Packet::new();
        packet.append(data);
        packet
    }

    /// A packet holding `slice`, shared.
    pub fn from_slice(slice: Slice) -> Packet {
        let mut packet = Packet::new();
        packet.append_slice(slice);
        packet
    }

    /// Bytes in the packet.
    #[inline]
    pub fn len(&self) -> usize {
        self.body.len as usize
    }

    /// Whether the packet has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.body.len == 0
    }

    /// Segmentation and checksum metadata.
    #[inline]
    pub fn offload(&self) -> &Offload {
        &self.body.offload
    }

    /// Segmentation and checksum metadata, to change. Offsets count from the packet's first byte.
    #[inline]
    pub fn offload_mut(&mut self) -> &mut Offload {
        &mut self.body.offload
    }

    /// When a device received the packet, if it said.
    pub fn timestamp(&self) -> Option<Instant> {
        self.body.timestamp
    }

    /// Sets the time of reception.
    pub fn set_timestamp(&mut self, at: Instant) {
        self.body.timestamp = Some(at);
    }

    /// The first bytes, as far as they lie together in the head. Use [`pullup`](Self::pullup) to get a given number.
    #[inline]
    pub fn head(&self) -> &[u8] {
        &self.body.head[self.body.start as usize..self.body.end as usize]
    }

    /// The head's bytes, to change.
    #[inline]
    pub fn head_mut(&mut self) -> &mut [u8] {
        let (start, end) = (self.body.start as usize, self.body.end as usize);
        &mut self.body.head[start..end]
    }

    /// The payload slices behind the head.
    #[inline]
    pub fn chain(&self) -> &[Slice] {
        &self.body.chain
    }

    /// All bytes, part by part.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        core::iter::once(self.head()).chain(self.body.chain.iter().map(|s| &**s)).filter(|p| !p.is_empty())
    }

    /// Puts `n` bytes in front of the packet and returns them; their content is unspecified. Where the head has no
    /// room, the head becomes a slice of the chain.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> &mut [u8] {
        debug_assert!(n <= HEADROOM);
        let n = n.min(HEADROOM);
        if (self.body.start as usize) < n {
            self.make_headroom();
        }
        let body = &mut **self.body;
        body.start -= n as u16;
        body.len += n as u32;
        body.offload.shift(n as isize);
        let start = body.start as usize;
        &mut body.head[start..start + n]
    }

    /// As [`prepend`](Self::prepend), and sets the checksum's state in the same stroke; its offsets count from the new first byte.
    #[inline]
    pub fn prepend_with(&mut self, n: usize, checksum: Checksum) -> &mut [u8] {
        self.body.offload.checksum = Checksum::Complete;
        self.prepend(n);
        self.body.offload.checksum = checksum;
        let start = self.body.start as usize;
        self.body.head.get_mut(start..start + n).unwrap_or_default()
    }

    /// Moves the head's bytes to the chain's front.
    #[cold]
    fn make_headroom(&mut self) {
        let old = Slice::copy_from(self.head());
        if !old.is_empty() {
            self.body.chain.insert(0, old);
        }
        self.body.start = HEADROOM as u16;
        self.body.end = HEADROOM as u16;
    }

    /// Copies `data` to the packet's end: into the head while there is no chain and it fits, else into new storage.
    pub fn append(&mut self, data: &[u8]) {
        let end = self.body.end as usize;
        if self.body.chain.is_empty() && data.len() <= HEAD - end {
            self.body.head[end..end + data.len()].copy_from_slice(data);
            self.body.end += data.len() as u16;
            self.body.len += data.len() as u32;
            return;
        }
        let mut rest = data;
        while !rest.is_empty() {
            let slice = Slice::copy_from(rest);
            rest = &rest[slice.len()..];
            self.append_slice(slice);
        }
    }

    /// Puts `slice` at the packet's end without a copy.
    pub fn append_slice(&mut self, slice: Slice) {
        if slice.is_empty() {
            return;
        }
        self.body.len += slice.len() as u32;
        let slice = match self.body.chain.last_mut() {
            Some(last) => match last.join(slice) {
                Ok(()) => return,
                Err(slice) => slice,
            },
            None => slice,
        };
        self.body.chain.push(slice);
    }

    /// Puts all of `other` behind this packet, without copying its chain. Its metadata is dropped.
    pub fn chain_packet(&mut self, mut other: Packet) {
        self.append(other.head());
        for slice in other.body.chain.drain(..) {
            self.append_slice(slice);
        }
    }

    /// Puts all of `other` behind this packet in the chain, even where it would fit the head.
    pub(crate) fn chain_packet_behind(&mut self, other: Packet) {
        for slice in other.into_slices() {
            self.append_slice(slice);
        }
    }

    /// Removes `n` bytes (at most all) from the front.
    #[inline]
    pub fn trim_front(&mut self, n: usize) {
        let mut left = n.min(self.len());
        let body = &mut **self.body;
        body.offload.shift(-(left as isize));
        body.len -= left as u32;
        let in_head = left.min((body.end - body.start) as usize);
        body.start += in_head as u16;
        left -= in_head;
        if left > 0 {
            body.trim_chain(left);
        }
    }

    /// Keeps the first `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        if n >= self.len() {
            return;
        }
        let body = &mut **self.body;
        body.len = n as u32;
        let head = (body.end - body.start) as usize;
        if n <= head {
            body.end = body.start + n as u16;
            body.chain.clear();
            return;
        }
        let mut left = n - head;
        let mut keep = 0;
        for slice in body.chain.iter_mut() {
            if left == 0 {
                break;
            }
            slice.truncate(left);
            left -= slice.len();
            keep += 1;
        }
        body.chain.truncate(keep);
    }

    /// Cuts the packet in two: keeps the first `at` bytes and returns the rest, whose metadata is empty.
    pub fn split(&mut self, at: usize) -> Packet {
        let mut rest = Packet::new();
        let head = self.head().len();
        if at < head {
            rest.append(&self.head()[at..]);
        }
        let mut skip = at.saturating_sub(head);
        for slice in &self.body.chain {
            if skip >= slice.len() {
                skip -= slice.len();
                continue;
            }
            rest.append_slice(slice.slice(skip..slice.len()));
            skip = 0;
        }
        self.truncate(at);
        rest
    }

    /// Makes the first `n` bytes lie together in the head and returns them; `None` if the packet is shorter or `n` is
    /// larger than [`HEAD`].
    #[inline]
    pub fn pullup(&mut self, n: usize) -> Option<&mut [u8]> {
        let have = (self.body.end - self.body.start) as usize;
        if have < n && !self.pull_from_chain(n) {
            return None;
        }
        let start = self.body.start as usize;
        self.body.head.get_mut(start..start + n)
    }

    /// Moves bytes from the chain to the head until it holds `n`. False if there are not so many, or no room.
    fn pull_from_chain(&mut self, n: usize) -> bool {
        let have = (self.body.end - self.body.start) as usize;
        if n > self.len() || n > HEAD {
            return false;
        }
        let body = &mut **self.body;
        let start = body.start as usize;
        if start + n > HEAD {
            // Make room behind, leaving what can be left in front.
            let to = HEAD - n;
            body.head.copy_within(start..start + have, to);
            body.start = to as u16;
            body.end = (to + have) as u16;
        }
        let mut need = n - have;
        let mut whole = 0;
        for slice in body.chain.iter_mut() {
            let take = need.min(slice.len());
            let end = body.end as usize;
            body.head[end..end + take].copy_from_slice(&slice[..take]);
            body.end += take as u16;
            need -= take;
            if take == slice.len() {
                whole += 1;
            } else {
                slice.trim_front(take);
            }
            if need == 0 {
                break;
            }
        }
        body.chain.drain(..whole);
        true
    }

    /// Copies bytes from offset `at` into `buffer`; returns how many there were.
    pub fn copy_to(&self, at: usize, buffer: &mut [u8]) -> usize {
        let mut skip = at;
        let mut done = 0;
        for part in self.parts() {
            if skip >= part.len() {
                skip -= part.len();
                continue;
            }
            let n = (part.len() - skip).min(buffer.len() - done);
            buffer[done..done + n].copy_from_slice(&part[skip..skip + n]);
            done += n;
            skip = 0;
            if done == buffer.len() {
                break;
            }
        }
        done
    }

    /// All bytes as one vector.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len());
        self.parts().for_each(|part| all.extend_from_slice(part));
        all
    }

    /// Adds the bytes from offset `at` to the packet's end to an Internet checksum.
    #[inline(always)]
    pub fn sum(&self, at: usize, mut sum: Sum) -> Sum {
        let head = self.head();
        if head.len() == self.len() {
            sum.add_bytes(head.get(at..).unwrap_or_default());
            return sum;
        }
        self.sum_parts(at, sum)
    }

    fn sum_parts(&self, at: usize, mut sum: Sum) -> Sum {
        let mut skip = at;
        for part in self.parts() {
            if skip >= part.len() {
                skip -= part.len();
                continue;
            }
            sum.add_bytes(&part[skip..]);
            skip = 0;
        }
        sum
    }

    /// Bytes of memory the packet keeps alive.
    pub fn true_size(&self) -> usize {
        size_of::<Body>() + self.body.chain.iter().map(Slice::true_size).sum::<usize>()
    }

    /// Takes the payload slices behind the head out of the packet.
    pub fn drain_chain(&mut self) -> impl Iterator<Item = Slice> {
        self.body.len = u32::from(self.body.end - self.body.start);
        self.body.chain.drain(..)
    }

    /// Takes the packet apart into its bytes as slices; the head's bytes, if any, are copied into storage first.
    pub fn into_slices(mut self) -> impl Iterator<Item = Slice> {
        let head = (!self.head().is_empty()).then(|| Slice::copy_from(self.head()));
        let chain = mem::take(&mut self.body.chain);
        head.into_iter().chain(chain)
    }
}

impl Default for Packet {
    fn default() -> Self {
        Packet::new()
    }
}

impl Clone for Packet {
    /// Copies the head and shares the chain.
    fn clone(&self) -> Packet {
        let mut copy = Packet::new();
        let (from, to) = (&**self.body, &mut **copy.body);
        to.offload = from.offload;
        to.timestamp = from.timestamp;
        to.len = from.len;
        to.start = from.start;
        to.end = from.end;
        to.chain.extend(from.chain.iter().cloned());
        let (start, end) = (from.start as usize, from.end as usize);
        to.head[start..end].copy_from_slice(&from.head[start..end]);
        copy
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: the body is not used again.
        let mut body = unsafe { mem::ManuallyDrop::take(&mut self.body) };
        if !body.chain.is_empty() {
            body.chain.clear();
        }
        if body.chain.spilled() {
            body.chain = SmallVec::new();
        }
        body.offload = Offload::default();
        body.timestamp = None;
        body.len = 0;
        // A thread that is ending has no list any more: the body is simply freed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEEP {
                free.push(body);
            }
        });
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("len", &self.len())
            .field("head", &self.head().len())
            .field("slices", &self.body.chain.len())
            .field("offload", &self.body.offload)
            .finish()
    }
}
