//! Memory that two processes share, and the only ways in which we touch it.
//!
//! The other process is not trusted: it may write any byte at any time. So no reference to shared bytes is ever made: counters are
//! atomics, and data are copied in and out through pointers, each range checked here.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// A mapped memory file whose size is sealed.
pub struct Memory {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is the process's, not a thread's, and what may happen to it from another thread may happen from another
// process anyway.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// The file shrinks no more (an access beyond its end would be a SIGBUS), nor grows.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

impl Memory {
    /// Makes a file of `len` bytes, all zero, and maps it.
    pub fn create(len: usize) -> io::Result<(Memory, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("wireway-link", flags)?;
        rustix::fs::ftruncate(&file, len as u64)?;
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        Ok((Memory::map(&file, len)?, file))
    }

    /// Maps a file that another process made. Refused unless it has `len` bytes and is sealed.
    pub fn open(file: impl AsFd, len: usize) -> io::Result<Memory> {
        let size = rustix::fs::fstat(&file)?.st_size;
        let seals = rustix::fs::fcntl_get_seals(&file)?;
        if u64::try_from(size) != Ok(len as u64) || !seals.contains(SEALS) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the shared memory is not as agreed"));
        }
        Memory::map(file, len)
    }

    fn map(file: impl AsFd, len: usize) -> io::Result<Memory> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping where the kernel chooses replaces nothing.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, file, 0)? };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Memory { base, len })
    }

    /// The start of `len` bytes at `at`. Panics if they do not lie within: all callers' ranges come from constants and masks.
    fn range(&self, at: usize, len: usize) -> NonNull<u8> {
        assert!(at <= self.len && len <= self.len - at, "a range within the shared memory");
        // SAFETY: within the mapping, as just checked.
        unsafe { self.base.add(at) }
    }

    /// The counter at `at`, a multiple of 8.
    pub fn counter(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8));
        // SAFETY: in range and aligned (a mapping begins at a page), lives as long as `self`, and atomics may be shared.
        unsafe { self.range(at, 8).cast().as_ref() }
    }

    /// The flag at `at`, a multiple of 4.
    pub fn flag(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4));
        // SAFETY: as for `counter`.
        unsafe { self.range(at, 4).cast().as_ref() }
    }

    /// Copies `bytes` to `at`.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        let to = self.range(at, bytes.len());
        // SAFETY: in range; `bytes` is ours, so they do not overlap. The other side may write the same bytes meanwhile: then
        // they are garbage, but only ever copied, never referred to.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }

    /// Copies from `at` into `bytes`.
    pub fn read(&self, at: usize, bytes: &mut [u8]) {
        let from = self.range(at, bytes.len());
        // SAFETY: as for `write`; any bytes are valid bytes.
        unsafe { from.copy_to_nonoverlapping(NonNull::from(&mut *bytes).cast(), bytes.len()) };
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and every borrow of it has ended. It can only fail for arguments that are wrong.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
