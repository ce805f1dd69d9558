//! Records in steady state: streams and buffers are warm, nothing is rekeyed. See [`crate::phases`].

use countersign::crypto::suite::Suite;

use crate::heap::{self, Tally};
use crate::side::Pair;
use crate::{blocking, charged, streams};

/// Something that is done for so many records of so many bytes, and what it allocated once warm. An echo is two records
/// a round: what both ends allocate counts.
type Run = fn(usize, usize) -> Tally;

/// What is done, by whom, and how many allocations are allowed in [`RECORDS`] rounds.
pub const CASES: [(&str, Run, usize); 13] = [
    ("session/seal-chacha20poly1305", |size, count| session(Suite::X25519ChaCha20Poly1305Sha256, size, count)[0], 0),
    ("session/open-chacha20poly1305", |size, count| session(Suite::X25519ChaCha20Poly1305Sha256, size, count)[1], 0),
    ("session/seal-aes256gcm", |size, count| session(Suite::X25519Aes256GcmSha256, size, count)[0], 0),
    ("session/open-aes256gcm", |size, count| session(Suite::X25519Aes256GcmSha256, size, count)[1], 0),
    ("stream/echo", |size, count| streams::echo(size, count, true), 0),
    ("stream/echo-unflushed", |size, count| streams::echo(size, count, false), 0),
    ("stream/one_way", streams::one_way, 0),
    ("stream/both_ways", streams::both_ways, 0),
    ("halves/echo", streams::halves_echo, 0),
    ("halves/both_ways", streams::halves_both_ways, 0),
    ("blocking/echo", blocking::echo, 0),
    ("blocking/one_way", blocking::one_way, 0),
    ("blocking-halves/both_ways", blocking::halves_both_ways, 0),
];

/// Prints all, and gives the number of those that allocate more than is allowed.
pub fn print(trace: bool) -> usize {
    println!("\n{:<40} {:>7} {:>12} {:>8}", format!("{RECORDS} rounds"), "allocs", "bytes", "allowed");
    let mut failed = 0;
    for (name, run, allowed) in CASES {
        for size in SIZES {
            let made = run(size, RECORDS);
            let good = made.count <= allowed;
            let verdict = if good { "ok" } else { "TOO MANY" };
            println!("{:<40} {:>7} {:>12} {allowed:>8} {verdict}", format!("{name}/{size}"), made.count, made.bytes);
            failed += usize::from(!good);
            if trace && !good {
                heap::show_first(SHOWN);
                run(size, RECORDS);
                heap::show_first(0);
            }
        }
    }
    println!("{failed} cases allocate more than is allowed");
    failed
}

fn session(suite: Suite, size: usize, count: usize) -> [Tally; 2] {
    let [mut near, mut far] = Pair::new(suite).sessions();
    charged::records(&mut near, &mut far, size, count)
}

/// How many rounds are counted in a phase.
const RECORDS: usize = 1_000;
/// Content of a record, in bytes.
const SIZES: [usize; 3] = [64, 1 << 10, 64 << 10];
/// How many allocations of a case are looked at to show where they are made.
const SHOWN: usize = 30;
