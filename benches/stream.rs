//! Records, and the stream over an in-memory pipe and over loopback TCP. Ids are `area/operation/size`.
#![allow(missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use bytes::BytesMut;
use countersign::{Listener, Stream};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::{config, honest};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Runtime;

const SIZES: [usize; 4] = [64, 1 << 10, 16 << 10, 64 << 10];

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    for size in SIZES {
        let data = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        let mut session = honest(&config(1, 2), &config(2, 1), 1);
        let mut wire = BytesMut::with_capacity(size + 64);
        group.bench_function(format!("seal/{size}"), |bencher| {
            bencher.iter(|| {
                wire.clear();
                session.initiator.sealer.seal_data([data.as_slice()].into_iter(), &mut wire)
            });
        });
        let mut session = honest(&config(1, 2), &config(2, 1), 1);
        group.bench_function(format!("seal_open/{size}"), |bencher| {
            bencher.iter(|| {
                wire.clear();
                session.initiator.sealer.seal_data([data.as_slice()].into_iter(), &mut wire).expect("sealed");
                session.responder.opener.open(&mut wire).expect("opened")
            });
        });
    }
    group.finish();
}

/// A megabyte one way in writes of `size`, read as it comes.
async fn transfer<A, B>(from: &mut Stream<A>, to: &mut Stream<B>, data: &[u8])
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let writes = MEGABYTE / data.len();
    let send = async {
        for _ in 0..writes {
            from.write_all(data).await.expect("written");
        }
        from.flush().await.expect("flushed");
    };
    let receive = async {
        let mut left = writes * data.len();
        while left > 0 {
            let len = to.fill_buf().await.expect("read").len();
            to.consume(len);
            left -= len;
        }
    };
    tokio::join!(send, receive);
}

fn stream(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("runtime");
    let mut group = criterion.benchmark_group("stream");
    group.throughput(Throughput::Bytes(MEGABYTE as u64));
    for size in [1 << 10, 64 << 10, MEGABYTE] {
        let data = vec![7; size];
        let (mut a, mut b) = runtime.block_on(async {
            let (left, right) = tokio::io::duplex(256 << 10);
            let (alice, bob) = (config(1, 2), config(2, 1));
            let (a, b) = tokio::join!(alice.connect_over(left).into_future(), bob.accept_over(right, None));
            (a.expect("alice"), b.expect("bob"))
        });
        group.bench_function(format!("duplex/{size}"), |bencher| {
            bencher.iter(|| runtime.block_on(transfer(&mut a, &mut b, &data)));
        });
        let (mut a, mut b) = runtime.block_on(async {
            let listener = Listener::bind("127.0.0.1:0", config(2, 1)).await.expect("listener");
            let alice = config(1, 2);
            let (a, b) = tokio::join!(alice.connect(listener.local_addr()).into_future(), listener.accept());
            (a.expect("alice"), b.expect("bob"))
        });
        group.bench_function(format!("tcp/{size}"), |bencher| {
            bencher.iter(|| runtime.block_on(transfer(&mut a, &mut b, &data)));
        });
    }
    group.finish();
}

fn tcp_handshake(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("runtime");
    let listener = runtime.block_on(Listener::bind("127.0.0.1:0", config(2, 1))).expect("listener");
    let alice = config(1, 2);
    criterion.bench_function("net/handshake", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let (a, b) = tokio::join!(alice.connect(listener.local_addr()).into_future(), listener.accept());
                (a.expect("alice"), b.expect("bob"))
            })
        });
    });
}

const MEGABYTE: usize = 1 << 20;

criterion_group!(benches, record, stream, tcp_handshake);
criterion_main!(benches);
