//! An allocator that counts the bytes in use, for the memory benchmark.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static IN_USE: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, with a count of the bytes each thread holds.
pub struct CountingAllocator;

/// Heap bytes allocated and not yet freed by this thread, as requested (without the allocator's own
/// headers). Negative if it freed what others allocated.
pub fn in_use() -> isize {
    IN_USE.with(Cell::get)
}

fn count(change: isize) {
    // A thread that is ending may free after its counter is gone; that is not counted.
    let _ = IN_USE.try_with(|bytes| bytes.set(bytes.get().wrapping_add(change)));
}

// SAFETY: every call is handed to the system's allocator unchanged; counting neither allocates nor
// unwinds (the thread-local is const-initialised and has no destructor).
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps `GlobalAlloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.cast_signed() - layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}
