//! Records, and streams over an in-memory pipe and over loopback TCP. Ids are `area/operation/size`.
#![allow(missing_docs)]

mod blocking;
mod both_ways;
mod connect;
#[path = "../support/handshake.rs"]
mod handshake;
mod one_way;
#[path = "../support/operation.rs"]
mod operation;
#[path = "../support/record.rs"]
mod record;
mod records;
#[path = "../support/schedule.rs"]
mod schedule;
#[path = "../support/side.rs"]
mod side;
#[path = "../support/sockets.rs"]
mod sockets;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::{Builder, Runtime};

/// The runtimes that streams are measured on.
fn runtimes() -> [(&'static str, Runtime); 2] {
    let built = |mut builder: Builder| builder.enable_all().build().expect("runtime");
    [("current_thread", built(Builder::new_current_thread())), ("multi_thread", built(Builder::new_multi_thread()))]
}

/// An iteration takes about a millisecond, and there are many.
fn quick() -> Criterion {
    Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3))
}

/// How much goes one way in one iteration, in bytes: not more than a thousand writes, each a call of the system.
fn amount(size: usize) -> usize {
    MEGABYTE.min(size << 10)
}

const MEGABYTE: usize = 1 << 20;
/// Sizes of writes.
const SIZES: [usize; 5] = [64, 1 << 10, 16 << 10, 64 << 10, MEGABYTE];
/// Of the measurements that compare ways of using a stream.
const FEW_SIZES: [usize; 2] = [1 << 10, 64 << 10];

criterion_group! {
    name = benches;
    config = quick();
    targets = records::all, one_way::all, both_ways::all, blocking::all, connect::all
}
criterion_main!(benches);
