//! An allocator that counts the bytes that are in use, to see what an attack costs and whether anything stays.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ALL: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    static IN_USE: Cell<isize> = const { Cell::new(0) };
}

/// Bytes that this thread has allocated and not freed.
pub fn in_use() -> isize {
    IN_USE.with(Cell::get)
}

/// Bytes that all threads have allocated and not freed.
pub fn in_use_by_all() -> isize {
    ALL.load(Ordering::Relaxed)
}

fn count(change: isize) {
    ALL.fetch_add(change, Ordering::Relaxed);
    // A thread that is ending may free after its counter is gone; that is not counted.
    let _ = IN_USE.try_with(|bytes| bytes.set(bytes.get() + change));
}

// SAFETY: every call is handed to the system's allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
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
