//! How much heap a piece of code holds at its worst. Counts in a program that installs [`Counting`]; elsewhere
//! everything is 0.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNTING: Cell<bool> = const { Cell::new(false) };
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The allocator of the system, which counts what a thread asks for while it is told to.
pub struct Counting;

fn count(bytes: isize) {
    let _ = COUNTING.try_with(|counting| {
        if counting.get() {
            HELD.with(|held| {
                held.set(held.get() + bytes);
                PEAK.with(|peak| peak.set(peak.get().max(held.get())));
            });
        }
    });
}

// SAFETY: the allocator of the system does all the work; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Counts what `run` holds beyond what was held before, and adds it to what this account held at its end.
#[derive(Debug, Default)]
pub struct Account {
    held: isize,
    peak: isize,
}

impl Account {
    pub fn charge<T>(&mut self, run: impl FnOnce() -> T) -> T {
        HELD.set(self.held);
        PEAK.set(self.held);
        COUNTING.set(true);
        let value = run();
        COUNTING.set(false);
        self.held = HELD.get();
        self.peak = self.peak.max(PEAK.get());
        value
    }

    /// The most bytes that were held at once.
    pub fn peak(&self) -> isize {
        self.peak
    }
}
