//! The blocking API: one way between two threads, and both ways by halves on two threads for each end.

use std::thread;
use std::time::Instant;

use criterion::{Criterion, Throughput};

use crate::sockets::{blocking_tcp, receive_blocking, send_blocking};
use crate::{FEW_SIZES, SIZES, amount};

pub fn all(criterion: &mut Criterion) {
    one_way(criterion);
    both_ways(criterion);
}

fn one_way(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one_way");
    for size in SIZES {
        group.throughput(Throughput::Bytes(amount(size) as u64));
        let [mut near, mut far] = blocking_tcp();
        let data = vec![7; size];
        group.bench_function(format!("tcp-blocking/{size}"), |bencher| {
            bencher.iter_custom(|iterations| {
                let (start, writes) = (Instant::now(), amount(size) / size * iterations as usize);
                thread::scope(|scope| {
                    scope.spawn(|| send_blocking(&mut near, &data, writes));
                    receive_blocking(&mut far, size * writes);
                });
                start.elapsed()
            });
        });
    }
    group.finish();
}

fn both_ways(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("both_ways");
    for size in FEW_SIZES {
        group.throughput(Throughput::Bytes(2 * amount(size) as u64));
        let [mut near, mut far] = blocking_tcp().map(|end| end.into_split().expect("halves"));
        let data = vec![7; size];
        group.bench_function(format!("halves-blocking/{size}"), |bencher| {
            bencher.iter_custom(|iterations| {
                let (start, writes) = (Instant::now(), amount(size) / size * iterations as usize);
                thread::scope(|scope| {
                    for (read, write) in [&mut near, &mut far].map(|(read, write)| (read, write)) {
                        scope.spawn(|| send_blocking(write, &data, writes));
                        scope.spawn(move || receive_blocking(read, size * writes));
                    }
                });
                start.elapsed()
            });
        });
    }
    group.finish();
}
