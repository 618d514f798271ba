//! The browser module's allocator: Rust's own, but giving back a null pointer does nothing, as in C. The JPEG 2000 decoder was
//! translated from C and gives back null pointers; natively the C library lets that pass, while the allocator of wasm32 writes
//! through them. Empty on other machines.

#[cfg(target_arch = "wasm32")]
mod forgiving {
    use std::alloc::{GlobalAlloc, Layout, System};

    struct Forgiving;

    #[global_allocator]
    static ALLOCATOR: Forgiving = Forgiving;

    // SAFETY: every call but the one that gives back nothing is `System`'s own.
    unsafe impl GlobalAlloc for Forgiving {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's promises are those that `System` asks for.
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
