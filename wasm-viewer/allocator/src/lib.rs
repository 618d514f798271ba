//! Global allocator of the browser module: Rust's own, except that deallocating a null pointer does nothing, as in C.
//! The JPEG 2000 decoder was translated from C and frees null pointers; the allocator of wasm32 would write through
//! them. Empty on other targets.

#[cfg(target_arch = "wasm32")]
mod null_safe {
    use std::alloc::{GlobalAlloc, Layout, System};

    struct NullSafe;

    #[global_allocator]
    static ALLOCATOR: NullSafe = NullSafe;

    // SAFETY: all calls go to `System`, except the deallocation of a null pointer.
    unsafe impl GlobalAlloc for NullSafe {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller upholds the contract of `System`.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            if !pointer.is_null() {
                // SAFETY: as above.
                unsafe { System.dealloc(pointer, layout) }
            }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            // SAFETY: as above.
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            // SAFETY: as above.
            unsafe { System.realloc(pointer, layout, size) }
        }
    }
}
