//! The allocator of the system, with counters. What C code allocates goes past it.
#![allow(dead_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Growing counts as a new piece beside the old one, which is what an allocator without room behind the piece does.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static CURRENT: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static COUNT: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
/// How many allocations are shown from now on, and at each beginning.
static SHOW: AtomicUsize = AtomicUsize::new(0);
static SHOWN: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size(), Relaxed);
        let current = CURRENT.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(current, Relaxed);
        if SHOW.load(Relaxed) > 0 {
            // Showing allocates; that is not shown.
            let left = SHOW.swap(0, Relaxed);
            show(layout.size());
            SHOW.store(left.saturating_sub(1), Relaxed);
        }
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        CURRENT.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Allocations of the whole process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub count: usize,
    pub bytes: usize,
}

impl Tally {
    /// Those of before; what follows may be shown.
    pub fn begin() -> Self {
        SHOW.store(SHOWN.load(Relaxed), Relaxed);
        Self::now()
    }

    /// Those since the beginning.
    pub fn since(self) -> Self {
        SHOW.store(0, Relaxed);
        let now = Self::now();
        Tally { count: now.count - self.count, bytes: now.bytes - self.bytes }
    }

    /// Those of before; what follows is not shown.
    pub fn now() -> Self {
        Tally { count: COUNT.load(Relaxed), bytes: BYTES.load(Relaxed) }
    }
}

/// Heap that one side uses; counted while that side is driven.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heap {
    pub held: usize,
    pub peak: usize,
    pub made: Tally,
}

impl Heap {
    /// Does something on behalf of this side.
    pub fn charge<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let (before, made) = (held(), Tally::begin());
        PEAK.store(before, Relaxed);
        let result = work();
        self.peak = self.peak.max(self.held + PEAK.load(Relaxed) - before);
        self.held = self.held + held() - before;
        let made = made.since();
        self.made = Tally { count: self.made.count + made.count, bytes: self.made.bytes + made.bytes };
        result
    }
}

/// Bytes that are allocated now.
pub fn held() -> usize {
    CURRENT.load(Relaxed)
}

/// Shows on standard error where the first `count` allocations behind each beginning are made, each place once.
pub fn show_first(count: usize) {
    SHOWN.store(count, Relaxed);
    places().clear();
}

fn places() -> MutexGuard<'static, Vec<String>> {
    static PLACES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The callers nearest to an allocation, ours if there are any.
fn show(bytes: usize) {
    let trace = Backtrace::force_capture().to_string();
    let calls: Vec<&str> = trace.split_inclusive('\n').collect();
    let of = |name: &str| -> String {
        let ours = calls.windows(2).filter(|pair| pair[0].contains(": ") && pair[0].contains(name));
        // The line below says where, if there are debug symbols.
        let lines = ours.map(|pair| {
            let call = pair[0].split_once(": ").map_or("", |(_, call)| call.trim());
            format!("        {call} {}\n", pair[1].trim().strip_prefix("at ").unwrap_or_default())
        });
        lines.take(3).collect()
    };
    let place = Some(of("countersign::")).filter(|ours| !ours.is_empty()).unwrap_or_else(|| of("::"));
    let mut places = places();
    if !places.contains(&place) {
        eprint!("    {bytes} bytes:\n{place}");
        places.push(place);
    }
}
