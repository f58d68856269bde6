//! Shared storage from a slab.
//!
//! A block is a reference-counted run of bytes of one of a few size classes. One [`Writer`] fills it from the front;
//! what has been written is handed out as [`Slice`]s, which never change again. So a send buffer appends behind bytes
//! that packets in flight still refer to, and nothing is copied. Freed blocks go to a free list of the thread that
//! frees them, and are taken from there again: no lock, and in steady state no allocator.
//!
//! Memory is zeroed when it comes from the system and only ever overwritten after that, so every byte of a block is
//! initialised at all times.

use core::alloc::Layout;
use core::cell::RefCell;
use core::fmt;
use core::ops::{Deref, Range};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering, fence};
use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error};

/// The capacities a block can have, in bytes. The largest holds a 64 KiB super-segment with its headers.
pub const CLASSES: [usize; 5] = [240, 2_032, 9_712, 32_752, 66_544];

/// At most this many bytes of free blocks are kept a thread and class.
const KEEP_BYTES: usize = 8 << 20;

#[repr(C, align(16))]
struct Header {
    refs: AtomicU32,
    class: u32,
    _pad: [u32; 2],
}

const HEADER: usize = size_of::<Header>();

/// A thread's free blocks, by class.
struct FreeLists([Vec<NonNull<Header>>; CLASSES.len()]);

impl Drop for FreeLists {
    fn drop(&mut self) {
        for (class, list) in self.0.iter_mut().enumerate() {
            for header in list.drain(..) {
                // SAFETY: nobody refers to a block on the free list, and it was allocated with this layout.
                unsafe { dealloc(header.as_ptr().cast(), layout(class)) };
            }
        }
    }
}

thread_local! {
    static FREE: RefCell<FreeLists> = const { RefCell::new(FreeLists([const { Vec::new() }; CLASSES.len()])) };
}

fn layout(class: usize) -> Layout {
    // The sizes are small constants: this cannot overflow, and 16 is a power of two.
    Layout::from_size_align(HEADER + CLASSES[class], 16).unwrap_or(Layout::new::<Header>())
}

/// One counted reference to a block.
struct Ref(NonNull<Header>);

// SAFETY: the bytes a Ref can reach are either written and immutable (Slice) or reachable through the one Writer only;
// the count is atomic.
unsafe impl Send for Ref {}
// SAFETY: as above: shared access only reads immutable bytes and the atomic count.
unsafe impl Sync for Ref {}

impl Ref {
    fn allocate(class: usize) -> Ref {
        let recycled = FREE.try_with(|free| free.borrow_mut().0[class].pop()).ok().flatten();
        if let Some(header) = recycled {
            // SAFETY: a block on the free list is valid and nobody else refers to it.
            unsafe { header.as_ref() }.refs.store(1, Ordering::Relaxed);
            return Ref(header);
        }
        let layout = layout(class);
        // SAFETY: the layout's size is not zero.
        let raw = unsafe { alloc_zeroed(layout) }.cast::<Header>();
        let Some(header) = NonNull::new(raw) else { handle_alloc_error(layout) };
        // SAFETY: freshly allocated, large and aligned enough for a Header.
        unsafe { header.write(Header { refs: AtomicU32::new(1), class: class as u32, _pad: [0; 2] }) };
        Ref(header)
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: valid as long as a Ref exists.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn capacity(&self) -> usize {
        CLASSES[self.header().class as usize]
    }

    #[inline]
    fn bytes(&self) -> NonNull<u8> {
        // SAFETY: the bytes follow the header in the same allocation.
        unsafe { self.0.cast::<u8>().add(HEADER) }
    }

    /// A second reference. The holder of the only one needs no read-modify-write, for `&mut` keeps it from being cloned meanwhile.
    #[inline]
    fn share(&mut self) -> Ref {
        if self.is_unique() {
            self.header().refs.store(2, Ordering::Relaxed);
            return Ref(self.0);
        }
        self.clone()
    }

    #[inline]
    fn is_unique(&self) -> bool {
        self.header().refs.load(Ordering::Acquire) == 1
    }
}

impl Clone for Ref {
    #[inline]
    fn clone(&self) -> Ref {
        self.header().refs.fetch_add(1, Ordering::Relaxed);
        Ref(self.0)
    }
}

impl Drop for Ref {
    fn drop(&mut self) {
        // The only holder needs no read-modify-write: nobody can clone what nobody else has.
        if self.header().refs.load(Ordering::Acquire) != 1 {
            if self.header().refs.fetch_sub(1, Ordering::Release) != 1 {
                return;
            }
            fence(Ordering::Acquire);
        }
        let class = self.header().class as usize;
        let kept = FREE
            .try_with(|free| {
                let list = &mut free.borrow_mut().0[class];
                let keep = list.len() * CLASSES[class] < KEEP_BYTES;
                if keep {
                    list.push(self.0);
                }
                keep
            })
            .unwrap_or(false);
        if !kept {
            // SAFETY: this was the last reference, and the block was allocated with this layout.
            unsafe { dealloc(self.0.as_ptr().cast(), layout(class)) };
        }
    }
}

/// The one writer of a block: it fills the block from the front and hands out what it wrote.
pub struct Writer {
    block: Ref,
    written: u32,
}

impl Writer {
    /// A new block of the smallest class that holds `capacity` bytes, or of the largest class.
    pub fn with_capacity(capacity: usize) -> Writer {
        let class = CLASSES.iter().position(|&size| size >= capacity).unwrap_or(CLASSES.len() - 1);
        Writer { block: Ref::allocate(class), written: 0 }
    }

    /// Bytes that can still be written.
    #[inline]
    pub fn spare(&self) -> usize {
        self.block.capacity() - self.written as usize
    }

    /// All bytes of the block, written or not: what the block costs.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.block.capacity()
    }

    /// The bytes not yet written. They hold whatever an earlier use left there.
    #[inline]
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let written = self.written as usize;
        // SAFETY: within the allocation, initialised (see the module's head), and no Slice reaches past `written`.
        unsafe {
            core::slice::from_raw_parts_mut(self.block.bytes().add(written).as_ptr(), self.block.capacity() - written)
        }
    }

    /// Declares the next `n` spare bytes written and returns them. `n` beyond the spare bytes counts as all of them.
    #[inline]
    pub fn commit(&mut self, n: usize) -> Slice {
        let start = self.written;
        let n = n.min(self.spare()) as u32;
        self.written += n;
        Slice { block: self.block.share(), start, len: n }
    }

    /// Takes back a slice that is no longer needed: as dropping it, but cheaper where it is the last one of this block.
    #[inline]
    pub fn take_back(&mut self, slice: Slice) {
        let refs = &self.block.header().refs;
        if slice.block.0 == self.block.0 && refs.load(Ordering::Acquire) == 2 {
            // Both references are in our hands, so nobody else can count.
            refs.store(1, Ordering::Relaxed);
            core::mem::forget(slice);
        }
    }

    /// Copies as much of `data` as fits and returns it as a slice.
    #[inline]
    pub fn write(&mut self, data: &[u8]) -> Slice {
        let n = data.len().min(self.spare());
        self.spare_mut()[..n].copy_from_slice(&data[..n]);
        self.commit(n)
    }

    /// If no slice of this block is left anywhere, starts again at its front. True if so.
    #[inline]
    pub fn rewind(&mut self) -> bool {
        let unique = self.block.is_unique();
        if unique {
            self.written = 0;
        }
        unique
    }
}

/// Written, immutable, reference-counted bytes of a block. Cloning copies nothing.
#[derive(Clone)]
pub struct Slice {
    block: Ref,
    start: u32,
    len: u32,
}

impl Slice {
    /// A slice holding a copy of `data` (at most the largest class of it).
    pub fn copy_from(data: &[u8]) -> Slice {
        Writer::with_capacity(data.len()).write(data)
    }

    /// The part `range` of this slice, sharing its storage. Out-of-range ends are clamped.
    #[inline]
    pub fn slice(&self, range: Range<usize>) -> Slice {
        let end = range.end.min(self.len as usize);
        let start = range.start.min(end);
        Slice { block: self.block.clone(), start: self.start + start as u32, len: (end - start) as u32 }
    }

    /// Removes the first `n` bytes (at most all).
    #[inline]
    pub fn trim_front(&mut self, n: usize) {
        let n = n.min(self.len as usize) as u32;
        self.start += n;
        self.len -= n;
    }

    /// Keeps the first `n` bytes.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        self.len = self.len.min(n.min(u32::MAX as usize) as u32);
    }

    /// Cuts the first `n` bytes off and returns them.
    pub fn split_to(&mut self, n: usize) -> Slice {
        let front = self.slice(0..n);
        self.trim_front(n);
        front
    }

    /// If `next` continues this slice in the same block, takes it over without a copy; else gives it back.
    #[inline]
    pub fn join(&mut self, next: Slice) -> Result<(), Slice> {
        if self.block.0 == next.block.0 && self.start + self.len == next.start {
            self.len += next.len;
            return Ok(());
        }
        Err(next)
    }

    /// Bytes of memory this slice keeps alive: the whole block's capacity.
    #[inline]
    pub fn true_size(&self) -> usize {
        self.block.capacity()
    }
}

impl Deref for Slice {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: within the allocation, initialised, and written bytes never change while a Slice covers them.
        unsafe { core::slice::from_raw_parts(self.block.bytes().add(self.start as usize).as_ptr(), self.len as usize) }
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slice({} of {} bytes)", self.len, self.true_size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writer_appends_behind_slices_in_use() {
        let mut writer = Writer::with_capacity(100);
        let mut first = writer.write(b"hello ");
        let second = writer.write(b"world");
        assert_eq!((&*first, &*second), (&b"hello "[..], &b"world"[..]));
        assert!(first.join(second).is_ok());
        assert_eq!(&*first, b"hello world");
        assert!(!writer.rewind());
        drop(first);
        assert!(writer.rewind());
        assert_eq!(writer.spare(), CLASSES[0]);
    }

    #[test]
    fn join_refuses_what_does_not_continue() {
        let mut writer = Writer::with_capacity(10);
        let mut a = writer.write(b"a");
        let _gap = writer.write(b"b");
        let c = writer.write(b"c");
        assert!(a.join(c).is_err());
        assert!(a.join(Slice::copy_from(b"x")).is_err());
    }

    #[test]
    fn ranges_are_clamped() {
        let mut s = Slice::copy_from(b"abcdef");
        assert_eq!(&*s.slice(4..99), b"ef");
        assert_eq!(&*s.slice(9..99), b"");
        assert_eq!(&*s.split_to(2), b"ab");
        s.trim_front(99);
        assert!(s.is_empty());
    }

    #[test]
    fn blocks_are_recycled_across_threads() {
        let slices: Vec<Slice> = (0..100u8).map(|i| Slice::copy_from(&[i; 200])).collect();
        let joined = std::thread::spawn(move || slices.iter().map(|s| u32::from(s[199])).sum::<u32>()).join();
        assert_eq!(joined.ok(), Some(4950));
    }
}
