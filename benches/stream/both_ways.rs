//! Both directions at once: owned halves on two tasks for each end, beside one whole stream on one.

use std::time::{Duration, Instant};

use countersign::Stream;
use countersign::stream::{ReadHalf, WriteHalf};
use criterion::{Criterion, Throughput};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::sockets::{exchange, receive, send, tcp};
use crate::{FEW_SIZES, amount, runtimes};

type Halves = (ReadHalf<OwnedReadHalf>, WriteHalf<OwnedWriteHalf>);

pub fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("both_ways");
    for (name, runtime) in runtimes() {
        for size in FEW_SIZES {
            group.throughput(Throughput::Bytes(2 * amount(size) as u64));
            let mut ends = Some(runtime.block_on(tcp()).map(Stream::into_split));
            group.bench_function(format!("halves-{name}/{size}"), |bencher| {
                bencher.iter_custom(|iterations| {
                    let writes = amount(size) / size * iterations as usize;
                    let (took, back) = runtime.block_on(halves(ends.take().expect("two ends"), size, writes));
                    ends = Some(back);
                    took
                });
            });
            let mut ends = Some(runtime.block_on(tcp()));
            group.bench_function(format!("whole-{name}/{size}"), |bencher| {
                bencher.iter_custom(|iterations| {
                    let writes = amount(size) / size * iterations as usize;
                    let (took, back) = runtime.block_on(whole(ends.take().expect("two ends"), size, writes));
                    ends = Some(back);
                    took
                });
            });
        }
    }
    group.finish();
}

async fn halves(ends: [Halves; 2], size: usize, writes: usize) -> (Duration, [Halves; 2]) {
    let start = Instant::now();
    let [near, far] = ends.map(|(mut read, mut write)| {
        let reading = tokio::spawn(async move {
            receive(&mut read, size * writes).await;
            read
        });
        let writing = tokio::spawn(async move {
            send(&mut write, &vec![7; size], writes).await;
            write
        });
        async { (reading.await.expect("no panic"), writing.await.expect("no panic")) }
    });
    let ends = [near.await, far.await];
    (start.elapsed(), ends)
}

async fn whole(ends: [Stream<TcpStream>; 2], size: usize, writes: usize) -> (Duration, [Stream<TcpStream>; 2]) {
    let start = Instant::now();
    let [near, far] = ends.map(|mut end| {
        tokio::spawn(async move {
            exchange(&mut end, &vec![7; size], writes).await;
            end
        })
    });
    let ends = [near.await.expect("no panic"), far.await.expect("no panic")];
    (start.elapsed(), ends)
}
