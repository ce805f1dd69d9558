//! Runs this program under Valgrind and reads what it says.

use std::env;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// There is no Valgrind.
#[derive(Debug)]
pub struct Missing;

/// A tool of Valgrind that counts N things.
#[derive(Clone, Copy, Debug)]
pub struct Tool<const N: usize> {
    arguments: &'static [&'static str],
    read: fn(&str) -> Option<[u64; N]>,
}

/// Instructions.
pub const INSTRUCTIONS: Tool<1> = Tool {
    arguments: &["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"],
    read: |said| Some([number(said, "refs:", 0)?]),
};

/// Allocations, bytes allocated, and bytes that are there at the end.
pub const HEAP: Tool<3> = Tool {
    arguments: &["--tool=memcheck", "--leak-check=no", "--undef-value-errors=no"],
    read: |said| {
        let (total, end) = ("total heap usage:", "in use at exit:");
        Some([number(said, total, 0)?, number(said, total, 2)?, number(said, end, 0)?])
    },
};

/// What each operation takes of what the tool counts; as many at a time as there are processors.
///
/// # Errors
/// [`Missing`].
pub fn measure<const N: usize>(tool: Tool<N>, ids: &[String]) -> Result<Vec<(String, [u64; N])>, Missing> {
    version()?;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((place, id)) = ids.iter().enumerate().nth(next.fetch_add(1, Relaxed)) {
            done.push((place, id.clone(), one(tool, id)));
        }
        done
    };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let mut measured: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    measured.sort();
    Ok(measured.into_iter().map(|(_, id, numbers)| (id, numbers)).collect())
}

/// The first line of `valgrind --version`.
///
/// # Errors
/// [`Missing`].
pub fn version() -> Result<String, Missing> {
    let output = command().arg("--version").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string()).map_err(|_| Missing)
}

/// What it takes to do an operation once, up to a fraction.
fn one<const N: usize>(tool: Tool<N>, id: &str) -> [u64; N] {
    let (once, twice) = (run(tool, id, TIMES), run(tool, id, 2 * TIMES));
    std::array::from_fn(|n| twice[n].saturating_sub(once[n]).div_ceil(TIMES as u64))
}

/// All that a process takes that does an operation so many times.
fn run<const N: usize>(tool: Tool<N>, id: &str, times: usize) -> [u64; N] {
    let mut command = command();
    command.args(tool.arguments).arg(env::current_exe().expect("our path")).args([CHILD, id, &times.to_string()]);
    let output = command.output().expect("valgrind runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{id} failed under Valgrind:\n{said}");
    (tool.read)(&said).unwrap_or_else(|| panic!("no numbers of {id} in:\n{said}"))
}

/// Without our environment, whose length would move the stack.
fn command() -> Command {
    let mut command = Command::new("valgrind");
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command
}

/// The so-manieth number behind `label`, as in `total heap usage: 1,234 allocs, 1,230 frees, 99,999 bytes allocated`.
fn number(said: &str, label: &str, place: usize) -> Option<u64> {
    let (_, behind) = said.split_once(label)?;
    let numbers =
        behind.lines().next()?.split_whitespace().filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    numbers.map(|number| number.replace(',', "")).nth(place)?.parse().ok()
}

/// How often an operation is done; and then twice as often. Two digits both, so that nothing else differs.
pub const TIMES: usize = 10;
/// Tells a child what to do.
pub const CHILD: &str = "--child";
