//! What a small machine needs: heap, allocations and stack of a handshake for each suite and role, and what a session
//! keeps.
//!
//! `cargo bench --bench embedded` (also with `--no-default-features`, for the pure-Rust backend). With `--test` it
//! makes one quick pass and asserts the aim: less than 16 KiB of heap for a handshake in the suite that everybody has.
//! What C code of the fast backend allocates is not counted.

#[path = "support/charged.rs"]
mod charged;
#[path = "support/heap.rs"]
mod heap;
#[path = "support/side.rs"]
mod side;

use std::env;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::thread;

use countersign::crypto::suite::Suite;
use countersign::role::Role;
use countersign::session::Session;

use charged::{handshake, records};
use heap::Heap;
use side::Pair;

/// In the child process: does it in a thread that has used up so much of its stack, or dies. Neither thread nor system
/// let a thread have only a few KiB, so what is bisected is how much it can do without.
fn child(task: &str) {
    let numbers: Vec<usize> = task.split(' ').map(|number| number.parse().expect("a number")).collect();
    let [burnt, suite, role] = numbers[..] else { panic!("{task}") };
    let role = [Role::Initiator, Role::Responder].get(role).copied();
    let work: Box<dyn FnOnce() + Send> = match (Suite::ALL.get(suite).copied(), role) {
        (Some(suite), Some(role)) => {
            let pair = Pair::new(suite);
            Box::new(move || drop(pair.alone(role)))
        }
        _ => Box::new(|| {}),
    };
    let thread = thread::Builder::new().stack_size(STACK).spawn(move || {
        let start = &raw const burnt as usize;
        burn(start, burnt, work);
    });
    thread.expect("a thread").join().expect("no panic");
}

/// Goes down the stack until so many bytes lie above, and does the work there.
#[inline(never)]
fn burn(start: usize, bytes: usize, work: Box<dyn FnOnce() + Send>) {
    let room = black_box([0_u8; 128]);
    if start - (&raw const room as usize) < bytes {
        burn(start, bytes, work)
    } else {
        work()
    }
    black_box(&room);
}

/// Whether a child survives without so much of its stack.
fn survives(burnt: usize, suite: usize, role: usize) -> bool {
    let mut child = Command::new(env::current_exe().expect("our path"));
    child.env(CHILD, format!("{burnt} {suite} {role}")).stdout(Stdio::null()).stderr(Stdio::null());
    child.status().expect("a child").success()
}

/// The most stack that it can do without, in bytes.
fn spare(suite: usize, role: usize) -> usize {
    let (mut spare, mut too_much) = (0, STACK / STEP);
    assert!(survives(0, suite, role), "{STACK} bytes of stack are not enough");
    while too_much - spare > 1 {
        let middle = (spare + too_much) / 2;
        if survives(middle * STEP, suite, role) { spare = middle } else { too_much = middle }
    }
    spare * STEP
}

fn main() {
    if let Ok(task) = env::var(CHILD) {
        return child(&task);
    }
    let quick = env::args().any(|arg| arg == "--test");
    // Whatever a backend sets up once is nobody's.
    Suite::ALL.into_iter().for_each(|suite| drop(Pair::new(suite)));
    let nothing = if quick { 0 } else { spare(9, 9) };
    if !quick {
        println!(
            "heap: what one side allocates for a handshake, its buffers included, its Config not; growing counts twice"
        );
        println!(
            "stack: what a handshake needs beside what its thread needs for nothing ({} bytes), within {STEP}",
            STACK - nothing
        );
        println!("idle: heap that an idle session keeps, the Session itself ({} bytes) included", size_of::<Session>());
        println!(
            "records: allocations for {RECORDS} records of {RECORD} bytes, sealed and opened, with warm buffers\n"
        );
        println!(
            "{:<37} {:<9} {:>9} {:>7} {:>8} {:>6} {:>8}",
            "suite", "role", "peak heap", "allocs", "stack", "idle", "records"
        );
    }
    for (index, suite) in Suite::ALL.into_iter().enumerate() {
        let [(mut near, near_heap), (mut far, far_heap)] = handshake(&Pair::new(suite));
        let [sealed, opened] = records(&mut near, &mut far, RECORD, RECORDS).map(|made| made.count);
        let [sealed_back, opened_back] = records(&mut far, &mut near, RECORD, RECORDS).map(|made| made.count);
        let counts = [(near_heap, sealed, opened_back), (far_heap, sealed_back, opened)];
        for (role, (heap, sealed, opened)) in [Role::Initiator, Role::Responder].into_iter().zip(counts) {
            assert_eq!((sealed, opened), (0, 0), "{suite:?}: a record allocates");
            assert!(
                suite != Suite::X25519ChaCha20Poly1305Sha256 || heap.peak < AIM,
                "{role}: {} bytes of heap for a handshake in {suite:?}, the aim is {AIM}",
                heap.peak
            );
            if quick {
                let most = STACK - 128 * 1024;
                assert!(survives(most, index, usize::from(role == Role::Responder)), "{suite:?}, {role}: stack");
                println!("{suite:?}, {role}: {} bytes of heap at most, {} idle: ok", heap.peak, heap.held);
                continue;
            }
            let stack = nothing - spare(index, usize::from(role == Role::Responder));
            let Heap { held, peak, made } = heap;
            println!(
                "{:<37} {role:<9} {peak:>9} {:>7} {stack:>8} {held:>6} {:>8}",
                format!("{suite:?}"),
                made.count,
                sealed + opened
            );
        }
    }
}

const AIM: usize = 16 * 1024;
/// How many records are counted, and their content in bytes.
const RECORDS: usize = 100;
const RECORD: usize = 1_000;
/// Of the child's thread.
const STACK: usize = 512 * 1024;
const STEP: usize = 256;
/// Tells a child what to do: bytes of stack that are gone, index of the suite, and of the role.
const CHILD: &str = "COUNTERSIGN_EMBEDDED_CHILD";
