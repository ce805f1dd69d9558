//! Allocations of a handshake, of records once everything is warm, and what an idle session keeps.
//!
//! `cargo bench --bench memory` prints tables; with `--test` it fails if a record allocates where it must not, see
//! [`steady::CASES`], or an idle end keeps a buffer; with `--trace` it shows as well where the first allocations of these cases are made, with
//! `CARGO_PROFILE_BENCH_DEBUG=1` by file and line. What C code allocates goes past this: `benches/counts/run --heap`
//! counts it.

mod blocking;
#[path = "../support/charged.rs"]
mod charged;
#[path = "../support/handshake.rs"]
mod handshake;
#[path = "../support/heap.rs"]
mod heap;
mod idle;
#[path = "../support/operation.rs"]
mod operation;
mod phases;
#[path = "../support/side.rs"]
mod side;
#[path = "../support/sockets.rs"]
mod sockets;
mod steady;
mod streams;

use std::env;
use std::process::ExitCode;

use countersign::role::Role;

use handshake::SUITES;
use side::Pair;

fn main() -> ExitCode {
    let asked = |flag: &str| env::args().any(|argument| argument == flag);
    handshakes();
    let failed = idle::print() + steady::print(asked("--trace"));
    if asked("--test") && failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// By its side, buffers included, Config not; growing counts as an allocation of its own.
fn handshakes() {
    println!("{:<32} {:>7} {:>8} {:>7} {:>7}", "one handshake", "allocs", "bytes", "peak", "kept");
    for (name, suite) in SUITES {
        let pair = Pair::new(suite);
        let sides = charged::handshake(&pair);
        for (role, (_, heap)) in [Role::Initiator, Role::Responder].into_iter().zip(sides) {
            let (id, made) = (format!("handshake/{role}/{name}"), heap.made);
            println!("{id:<32} {:>7} {:>8} {:>7} {:>7}", made.count, made.bytes, heap.peak, heap.held);
        }
    }
    println!("what C code allocates and a session keeps of it: benches/counts/run --heap");
}
