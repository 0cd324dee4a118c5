//! Counts what each thread has taken of the heap and not given back, for tests that hold a bound on memory.
//!
//! Such a test takes this file in by its path (crates below do not depend on the tests') and makes [`Counting`] its allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

/// Bytes that this thread has taken and not given back; below zero where it gave back what others have taken.
pub fn live() -> isize {
    LIVE.get()
}

fn count(bytes: isize) {
    // A thread that ends counts no more.
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
}

/// The system's allocator, which counts.
pub struct Counting;

// SAFETY: the system's allocator does all of it; counting beside it neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.cast_signed() - layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}
