//! Everything before the first record, without sockets: codec, key schedule, handshake. Ids are `area/operation/size`.
#![allow(missing_docs)]

#[path = "../support/codec.rs"]
mod codec;
#[path = "../support/handshake.rs"]
mod handshake;
#[path = "../support/operation.rs"]
mod operation;
#[path = "../support/schedule.rs"]
mod schedule;
#[path = "../support/side.rs"]
mod side;

use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    for operation in [codec::operations(), schedule::operations(), handshake::operations()].into_iter().flatten() {
        criterion.bench_function(&operation.id, |bencher| bencher.iter(operation.prepare()));
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
