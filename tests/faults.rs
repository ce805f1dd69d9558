//! Faults: a thousand small worlds in virtual time. In each, a few peers talk over a network that is slow, tears writes
//! apart, resets, cuts, swallows and forgets, their responders are restarted, and strangers knock. Every seed makes
//! another world, and the same one again.
//!
//! What has to hold, whatever happens: what an application acknowledged was received, once, in order and unaltered; what
//! is read is the beginning of what was written; an end is clean only if the peer ended and everything came; every error
//! has a cause among the faults that happened, so nothing looks tampered with; nothing outlives its deadline; nobody
//! untrusted reaches an application; when all is over no task, socket or memory is left; and on a healthy network every
//! pair still gets everything through.
//!
//! `COUNTERSIGN_SEED=7 cargo test --all-features --test faults` makes world 7, `COUNTERSIGN_SEEDS=0..100000` many.
#![allow(missing_docs)]

#[path = "support/sim.rs"]
mod sim;
#[path = "support/sim_app.rs"]
mod sim_app;
#[path = "support/sim_judge.rs"]
mod sim_judge;
#[path = "support/sim_plan.rs"]
mod sim_plan;
#[path = "support/sim_world.rs"]
mod sim_world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::env;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};
use std::thread;

/// The allocator of the system, and how much each place holds: a world lives in a thread of its own, which has a place.
struct Counting;

static HELD: [AtomicIsize; PLACES] = [const { AtomicIsize::new(0) }; PLACES];
/// What is held in buffers of the sizes that streams share.
static BUFFERS: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    static PLACE: Cell<usize> = const { Cell::new(0) };
}

/// Buffers that a stream gives back stay with the process, for the next one: they are counted together, and have a bound of their own.
fn count(layout: Layout, sign: isize) {
    let pooled = POOLED.contains(&layout.size());
    let held = if pooled { &BUFFERS } else { &HELD[PLACE.get()] };
    held.fetch_add(sign * layout.size() as isize, Ordering::Relaxed);
}

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout, 1);
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout, -1);
        // SAFETY: as the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn seeds() -> Range<u64> {
    let number = |text: &str| text.trim().parse().unwrap_or_else(|_| panic!("not a seed: {text}"));
    if let Ok(seed) = env::var("COUNTERSIGN_SEED") {
        return number(&seed)..number(&seed) + 1;
    }
    match env::var("COUNTERSIGN_SEEDS") {
        Ok(seeds) => {
            let (start, end) = seeds.split_once("..").expect("COUNTERSIGN_SEEDS=a..b");
            number(start)..number(end)
        }
        Err(_) => 0..SEEDS,
    }
}

/// Makes a world and gives back what went wrong in it, and what happened. What a thread keeps for itself goes with the thread, before its memory is
/// looked at.
fn world(seed: u64, place: usize) -> Result<sim_world::Tally, String> {
    let made = thread::spawn(move || {
        PLACE.set(place);
        let before = HELD[place].load(Ordering::Relaxed);
        (before, catch_unwind(AssertUnwindSafe(|| sim_world::run(seed))))
    });
    let (before, made) = made.join().unwrap();
    let text = |panic: Box<dyn std::any::Any + Send>| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => other.downcast_ref::<&str>().map_or_else(String::new, |text| (*text).to_string()),
    };
    let tally = made.map_err(text)??;
    let left = HELD[place].load(Ordering::Relaxed) - before;
    if left > HEAP_TOLERANCE { Err(format!("{left} bytes of heap are left")) } else { Ok(tally) }
}

#[test]
fn a_thousand_worlds() {
    let seeds = seeds();
    let next = AtomicU64::new(seeds.start);
    let (failures, sum) = (Mutex::new(Vec::new()), Mutex::new(sim_world::Tally::default()));
    let work = |place| {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failures.lock().unwrap().len() >= MAX_FAILURES {
                return;
            }
            match world(seed, place) {
                Ok(tally) => sum.lock().unwrap().add(&tally),
                Err(what) => failures.lock().unwrap().push(format!("COUNTERSIGN_SEED={seed}: {what}")),
            }
        }
    };
    // What the process keeps for itself is there before anything is measured.
    let _ = sim_world::run(u64::MAX);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(PLACES - 1);
    thread::scope(|scope| (1..=threads).for_each(|place| drop(scope.spawn(move || work(place)))));
    let (failures, sum) = (failures.into_inner().unwrap(), sum.into_inner().unwrap());
    println!("{} worlds: {sum:?}", seeds.end - seeds.start);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let buffers = BUFFERS.load(Ordering::Relaxed);
    assert!(buffers <= MAX_POOLED, "{buffers} bytes are left in buffers");
    if seeds.end - seeds.start >= 500 {
        sum.assert_varied();
    }
}

/// The same seed makes the same world: else a failure could not be looked at twice.
#[test]
fn a_world_replays() {
    for seed in 0..10 {
        let [first, second] = [(), ()].map(|()| sim_world::run(seed).unwrap());
        assert_eq!(first, second, "seed {seed}");
    }
}

const SEEDS: u64 = 1_000;
const MAX_FAILURES: usize = 5;
const PLACES: usize = 65;
/// The two sizes of a stream's buffers.
const POOLED: [usize; 2] = [4 * 1_024, 136 * 1_024];
/// What all threads together keep of them, received and to be sent: 32 small ones and 3 large ones; and as much again for the threads that still run, this
/// one and the other test's.
const MAX_POOLED: isize = 2 * 2 * (32 * POOLED[0] + 3 * POOLED[1]) as isize;
/// Lazily made things of the standard library and the runtime, in bytes.
const HEAP_TOLERANCE: isize = 1_024;
