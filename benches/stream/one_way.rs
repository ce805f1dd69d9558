//! One way, by the size of writes: who sends and who receives are tasks of their own.

use std::time::{Duration, Instant};

use countersign::Stream;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;

use crate::sockets::{duplex, receive, send, tcp};
use crate::{SIZES, amount, runtimes};

pub fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one_way");
    for (name, runtime) in runtimes() {
        for size in SIZES {
            group.throughput(Throughput::Bytes(amount(size) as u64));
            case(&mut group, format!("duplex-{name}/{size}"), &runtime, runtime.block_on(duplex()), size);
            case(&mut group, format!("tcp-{name}/{size}"), &runtime, runtime.block_on(tcp()), size);
        }
    }
    group.finish();
}

fn case<T>(group: &mut BenchmarkGroup<'_, WallTime>, id: String, runtime: &Runtime, ends: [Stream<T>; 2], size: usize)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut ends = Some(ends);
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|iterations| {
            let writes = amount(size) / size * iterations as usize;
            let [near, far] = ends.take().expect("two ends");
            let (took, near, far) = runtime.block_on(transfer(near, far, vec![7; size], writes));
            ends = Some([near, far]);
            took
        });
    });
}

async fn transfer<T>(
    mut near: Stream<T>,
    mut far: Stream<T>,
    data: Vec<u8>,
    writes: usize,
) -> (Duration, Stream<T>, Stream<T>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (start, expected) = (Instant::now(), data.len() * writes);
    let sending = tokio::spawn(async move {
        send(&mut near, &data, writes).await;
        near
    });
    let receiving = tokio::spawn(async move {
        receive(&mut far, expected).await;
        far
    });
    let (near, far) = (sending.await.expect("no panic"), receiving.await.expect("no panic"));
    (start.elapsed(), near, far)
}
