//! What a machine without an operating system has to bring: an allocator and a panic handler.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Gives memory out of an array and takes none back.
struct Arena {
    memory: UnsafeCell<[u8; LEN]>,
    used: AtomicUsize,
}

// SAFETY: no piece of the memory is given out twice.
unsafe impl Sync for Arena {}

// SAFETY: the pieces are aligned, lie within the array and do not overlap.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = self.memory.get() as usize;
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            let begin = (start + used).next_multiple_of(layout.align()) - start;
            begin.checked_add(layout.size()).filter(|end| *end <= LEN)
        });
        match taken {
            Ok(used) => {
                let begin = (start + used).next_multiple_of(layout.align()) - start;
                self.memory.get().cast::<u8>().wrapping_add(begin)
            }
            Err(_) => core::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ARENA: Arena = Arena { memory: UnsafeCell::new([0; LEN]), used: AtomicUsize::new(0) };

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: abort takes nothing and does not return.
    unsafe { abort() }
}

unsafe extern "C" {
    fn abort() -> !;
}

const LEN: usize = 1 << 20;

/// The precompiled `alloc` names what unwinding would need. Nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As above.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    // SAFETY: as above.
    unsafe { abort() }
}
