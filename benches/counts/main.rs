//! Instructions of each operation, kept in `counts.txt`: what a change costs is seen where a clock sees noise.
//!
//! `benches/counts/run` compares with the file and fails if anything takes 5 % more (and 100 instructions); `--update`
//! writes the file anew, `--heap` counts allocations instead, those of C code too. `cargo bench --bench counts` only shows,
//! and with `--test` everything is done once, without Valgrind.
//!
//! Valgrind counts. Each operation is done n and 2n times in processes of their own, and the difference is what n take:
//! start and preparation cancel out. Its processor is nearly the same everywhere (AVX2, AES, carry-less multiplication; no
//! SHA, ADX, AVX-512): the numbers are those of the code for such a processor, and hardly depend on the machine. They do
//! depend on the compiler, so the file says by which it was made. A long copy counts an instruction for each byte (`rep
//! movsb`), so one that is made needlessly is seen.
//!
//! Gungraun does the like, but needs a runner of just its version installed, and compares with its last run, not with a
//! file that can be committed.

#[path = "../support/codec.rs"]
mod codec;
mod file;
#[path = "../support/handshake.rs"]
mod handshake;
#[path = "../support/operation.rs"]
mod operation;
#[path = "../support/record.rs"]
mod record;
#[path = "../support/schedule.rs"]
mod schedule;
#[path = "../support/side.rs"]
mod side;
mod valgrind;

use std::env;
use std::process::ExitCode;

use countersign::role::Role;
use operation::Operation;
use side::Pair;
use valgrind::{HEAP, INSTRUCTIONS, Missing, TIMES};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        [valgrind::CHILD, id, times] => return child(id, times),
        ["--test"] => return test(),
        [] => show(),
        ["--check"] => check(),
        ["--update"] => update(),
        ["--heap"] => heap(),
        _ => {
            eprintln!("expected --check, --update, --heap or --test, got {}", arguments.join(" "));
            return ExitCode::from(2);
        }
    };
    result.unwrap_or_else(|Missing| {
        eprintln!("valgrind is missing: apt-get install valgrind");
        // Whoever runs all benches may do without.
        if arguments.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) }
    })
}

/// What is counted.
fn operations() -> Vec<Operation> {
    // A pair is its two sides.
    let handshake = handshake::operations().into_iter().filter(|operation| !operation.id.contains("/pair/"));
    let records = record::operations(&[64, 1 << 10, 64 << 10], 2 * TIMES + 1);
    handshake.chain(records).chain(schedule::operations()).chain(codec::operations()).collect()
}

/// Sessions that stay: what one keeps is what Valgrind finds at the end.
fn kept() -> Vec<Operation> {
    let suites = handshake::SUITES.into_iter();
    let operation = |name, suite, role: Role| {
        Operation::new(format!("kept/{role}/{name}"), move || {
            let pair = Pair::new(suite);
            move || std::mem::forget(pair.alone(role))
        })
    };
    suites
        .flat_map(|(name, suite)| [Role::Initiator, Role::Responder].map(|role| operation(name, suite, role)))
        .collect()
}

/// In a process of its own: one operation so many times, and once before, when whatever is set up once is set up.
fn child(id: &str, times: &str) -> ExitCode {
    let times: usize = times.parse().expect("a number");
    let operation = operations().into_iter().chain(kept()).find(|operation| operation.id == id).expect("an operation");
    let mut work = operation.prepare();
    (0..=times).for_each(|_| work());
    ExitCode::SUCCESS
}

fn ids<'a>(operations: impl IntoIterator<Item = &'a Operation>) -> Vec<String> {
    operations.into_iter().map(|operation| operation.id.clone()).collect()
}

fn test() -> ExitCode {
    let operations = operations();
    for operation in &operations {
        operation.prepare()();
    }
    println!("{} operations: ok", operations.len());
    ExitCode::SUCCESS
}

fn show() -> Result<ExitCode, Missing> {
    for (id, [count]) in valgrind::measure(INSTRUCTIONS, &ids(&operations()))? {
        println!("{id:<40} {count:>12}");
    }
    Ok(ExitCode::SUCCESS)
}

fn check() -> Result<ExitCode, Missing> {
    let now = valgrind::measure(INSTRUCTIONS, &ids(&operations()))?;
    Ok(if file::compare(&now) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn update() -> Result<ExitCode, Missing> {
    file::write(&valgrind::measure(INSTRUCTIONS, &ids(&operations()))?);
    Ok(ExitCode::SUCCESS)
}

fn heap() -> Result<ExitCode, Missing> {
    let ids = ids(operations().iter().chain(&kept()));
    println!("{:<40} {:>8} {:>10} {:>8}", "C code included", "allocs", "bytes", "kept");
    for (id, [count, bytes, kept]) in valgrind::measure(HEAP, &ids)? {
        println!("{id:<40} {count:>8} {bytes:>10} {kept:>8}");
    }
    Ok(ExitCode::SUCCESS)
}
