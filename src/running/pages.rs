//! Large buffers on large pages: fewer faults when they are first written, and fewer entries of the
//! processor's table of pages for columns and blocks that are visited in any order.
//!
//! Debian and Ubuntu give pages of 2 MB to memory that asks for them only (`madvise`). `NumPy` asks
//! for its arrays; this asks for whatever the core allocates that is as large. Elsewhere nothing
//! is asked.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};

/// Bytes from which on pages are asked for: those of one large page.
const LARGE: usize = 2 << 20;

/// The system's allocator, which asks for large pages where a buffer fills one.
struct LargePages;

#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

// SAFETY: memory is the system allocator's own, got and given back with the arguments that came here;
// asking for pages changes neither its contents nor its bounds.
unsafe impl GlobalAlloc for LargePages {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`, which is that of the system's.
        let memory = unsafe { System.alloc(layout) };
        ask(memory, layout.size());
        memory
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let memory = unsafe { System.alloc_zeroed(layout) };
        ask(memory, layout.size());
        memory
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; `memory` came from the system's allocator with this layout.
        let memory = unsafe { System.realloc(memory, layout, size) };
        ask(memory, size);
        memory
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[inline]
fn ask(memory: *mut u8, size: usize) {
    if size >= LARGE && !memory.is_null() {
        ask_system(memory, size);
    }
}

/// Asks for large pages for the whole small ones among `size` bytes; that they are had matters for time
/// only.
#[cfg(target_os = "linux")]
#[cold]
fn ask_system(memory: *mut u8, size: usize) {
    /// The least pages of any processor, of which the system takes whole numbers.
    const SMALL: usize = 4096;
    let skip = memory.align_offset(SMALL).min(size);
    // SAFETY: the range lies inside one allocation that is not given back meanwhile, and this advice
    // changes no contents; where it is not understood, the call fails and does nothing.
    unsafe {
        libc::madvise(memory.add(skip).cast(), size - skip, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_system(_: *mut u8, _: usize) {}

#[cfg(test)]
mod tests {
    use super::LARGE;

    #[test]
    fn large_buffers_keep_what_they_hold_while_they_grow() {
        let mut values: Vec<u32> = Vec::new();
        for k in 0..LARGE as u32 {
            values.push(k);
        }
        assert!((0..).zip(&values).all(|(k, value)| k == *value));
        assert!(vec![0_u8; 3 * LARGE + 1].iter().all(|byte| *byte == 0));
    }
}
