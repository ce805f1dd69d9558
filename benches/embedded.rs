//! What a small machine needs: heap, allocations and stack of a handshake for each suite and role, and what a session
//! keeps.
//!
//! `cargo bench --bench embedded` (also with `--no-default-features`, for the pure-Rust backend). With `--test` it
//! makes one quick pass and asserts the aim: less than 16 KiB of heap for a handshake in the suite that everybody has.
//! What C code of the fast backend allocates is not counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::env;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::thread;

use bytes::BytesMut;
use countersign::crypto::suite::Suite;
use countersign::handshake::{Step, Target, initiate, respond};
use countersign::identity::PeerId;
use countersign::role::Role;
use countersign::session::{Event, Progress, Session};
use countersign::trust::Pinned;
use countersign::{Config, Identity};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The allocator of the system, with counters. Growing counts as a new piece beside the old one, which is what an
/// allocator without room behind the piece does.
struct Counting;

static CURRENT: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        let current = CURRENT.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(current, Relaxed);
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        CURRENT.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Heap that one side uses; counted while that side is driven.
#[derive(Clone, Copy, Debug, Default)]
struct Heap {
    held: usize,
    peak: usize,
    count: usize,
}

impl Heap {
    /// Does something on behalf of this side.
    fn charge<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let (before, count) = (CURRENT.load(Relaxed), COUNT.load(Relaxed));
        PEAK.store(before, Relaxed);
        let result = work();
        self.peak = self.peak.max(self.held + PEAK.load(Relaxed) - before);
        self.held = self.held + CURRENT.load(Relaxed) - before;
        self.count += COUNT.load(Relaxed) - count;
        result
    }
}

/// One side of a handshake, with buffers of its own.
struct Side {
    config: Config,
    step: Option<Step>,
    input: BytesMut,
    output: BytesMut,
    heap: Heap,
}

impl Side {
    fn new(role: Role, suite: Suite) -> Self {
        let mut rng = rng(role);
        let config = config(role, suite);
        let (mut heap, mut output) = (Heap::default(), BytesMut::new());
        let step = heap.charge(|| match role {
            Role::Initiator => initiate(&config, Target::default(), &mut rng, &mut output).expect("initiate"),
            Role::Responder => respond(&config, &mut rng).expect("respond"),
        });
        Side { config, step: Some(step), input: BytesMut::new(), output, heap }
    }

    /// Takes what came, in pieces as a small machine would read them, and goes on until more is needed.
    fn advance(&mut self, received: &[u8]) {
        let Side { config, step, input, output, heap } = self;
        heap.charge(|| {
            let mut pieces = received.chunks(512);
            let mut now = step.take().expect("a step");
            loop {
                now = match now {
                    Step::NeedInput(need) => {
                        let before = (input.len(), need.stage());
                        match need.feed(input, output).expect("fed") {
                            Step::NeedInput(need) if before == (input.len(), need.stage()) => {
                                let Some(piece) = pieces.next() else { break *step = Some(Step::NeedInput(need)) };
                                input.extend_from_slice(piece);
                                Step::NeedInput(need)
                            }
                            step => step,
                        }
                    }
                    Step::VerifyPeer(verify) => {
                        let request = verify.request(None);
                        let decision = ready(config.trust().decide(&request));
                        verify.decide(decision, output).expect("accepted")
                    }
                    Step::Sign(sign) => {
                        let signature = ready(config.signer().sign(sign.input()));
                        sign.signed(signature, output).expect("signed")
                    }
                    complete => break *step = Some(complete),
                }
            }
        });
    }

    /// What it says, of which nothing is kept.
    fn say(&mut self) -> Vec<u8> {
        let said = self.output.to_vec();
        self.heap.charge(|| self.output = BytesMut::new());
        said
    }

    /// Drops all but the session, and gives it with the heap that it holds.
    fn finish(mut self) -> (Box<Session>, Heap) {
        let Some(Step::Complete(session)) = self.step.take() else { panic!("not complete") };
        self.heap.charge(|| (self.input, self.output) = Default::default());
        (session, self.heap)
    }
}

fn rng(role: Role) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(if role == Role::Initiator { 1 } else { 2 })
}

fn identity(role: Role) -> Identity {
    Identity::generate_with(&mut rng(role)).expect("an identity")
}

fn config(role: Role, suite: Suite) -> Config {
    let peer = PeerId::Key(identity(role.peer()).public_key());
    Config::new(identity(role), Pinned::new([peer])).suites([suite])
}

fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

/// A whole handshake: both sides, and the three flights.
fn handshake(suite: Suite) -> (Side, Side, [Vec<u8>; 3]) {
    let (mut near, mut far) = (Side::new(Role::Initiator, suite), Side::new(Role::Responder, suite));
    let hello = near.say();
    far.advance(&hello);
    let reply = far.say();
    near.advance(&reply);
    let proof = near.say();
    far.advance(&proof);
    let verdict = far.say();
    near.advance(&verdict);
    (near, far, [[hello, proof].concat(), reply, verdict])
}

/// Allocations of `RECORDS` records, sealed and opened with warm buffers.
fn records(from: &mut Session, to: &mut Session) -> (usize, usize) {
    let content = [7; 1_000];
    let (mut sealing, mut opening, mut wire) = (Heap::default(), Heap::default(), BytesMut::new());
    for warm in [false, true] {
        for _ in 0..if warm { RECORDS } else { 1 } {
            wire.clear();
            let mut seal = || from.sealer.seal_data(std::iter::once(&content[..]), &mut wire).expect("sealed");
            if warm {
                sealing.charge(seal)
            } else {
                seal()
            };
            let opened = if warm { opening.charge(|| to.open(&mut wire)) } else { to.open(&mut wire) };
            assert!(matches!(opened, Ok(Progress::Record { event: Event::Data(_), .. })));
        }
    }
    (sealing.count, opening.count)
}

/// One side alone, against what the other said in the same handshake before; for the child process.
fn replay(role: Role, suite: Suite, flights: &[Vec<u8>; 3]) {
    let mut side = Side::new(role, suite);
    match role {
        Role::Initiator => side.advance(&[&flights[1][..], &flights[2]].concat()),
        Role::Responder => side.advance(&flights[0]),
    }
    side.finish();
}

/// In the child process: does it in a thread that has used up so much of its stack, or dies. Neither thread nor system
/// let a thread have only a few KiB, so what is bisected is how much it can do without.
fn child(task: &str) {
    let numbers: Vec<usize> = task.split(' ').map(|number| number.parse().expect("a number")).collect();
    let [burnt, suite, role] = numbers[..] else { panic!("{task}") };
    let role = [Role::Initiator, Role::Responder].get(role).copied();
    let work: Box<dyn FnOnce() + Send> = match (Suite::ALL.get(suite).copied(), role) {
        (Some(suite), Some(role)) => {
            let flights = handshake(suite).2;
            Box::new(move || replay(role, suite, &flights))
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
    Suite::ALL.into_iter().for_each(|suite| drop(handshake(suite)));
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
        println!("records: allocations for {RECORDS} records of 1,000 bytes, sealed and opened, with warm buffers\n");
        println!(
            "{:<37} {:<9} {:>9} {:>7} {:>8} {:>6} {:>8}",
            "suite", "role", "peak heap", "allocs", "stack", "idle", "records"
        );
    }
    for (index, suite) in Suite::ALL.into_iter().enumerate() {
        let (near, far, _) = handshake(suite);
        let ((mut near, near_heap), (mut far, far_heap)) = (near.finish(), far.finish());
        let (sealed, opened) = records(&mut near, &mut far);
        let (sealed_back, opened_back) = records(&mut far, &mut near);
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
            let Heap { held, peak, count } = heap;
            println!(
                "{:<37} {role:<9} {peak:>9} {count:>7} {stack:>8} {held:>6} {:>8}",
                format!("{suite:?}"),
                sealed + opened
            );
        }
    }
}

const AIM: usize = 16 * 1024;
const RECORDS: usize = 100;
/// Of the child's thread.
const STACK: usize = 512 * 1024;
const STEP: usize = 256;
/// Tells a child what to do: bytes of stack that are gone, index of the suite, and of the role.
const CHILD: &str = "COUNTERSIGN_EMBEDDED_CHILD";
