//! Sealing, and opening alone, of a record by its size.

use bytes::BytesMut;
use countersign::session::Sealer;
use criterion::{BatchSize, Criterion, Throughput};

use crate::record::{AEADS, Direction, SIZES, open, seal};
use crate::schedule::name;

pub fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    for (aead, size) in AEADS.into_iter().flat_map(|aead| SIZES.map(|size| (aead, size))) {
        group.throughput(Throughput::Bytes(size as u64));
        let mut direction = Direction::new(aead, size);
        group.bench_function(format!("{}/{size}", name("seal", aead)), |bencher| {
            bencher.iter(|| direction.seal().len());
        });
        let Direction { mut sealer, mut opener, content, .. } = Direction::new(aead, size);
        group.bench_function(format!("{}/{size}", name("open", aead)), |bencher| {
            // What is opened is sealed before, in the same order: as many as stay in the cache.
            let batch = BatchSize::NumIterations(((256 << 10) / size as u64).clamp(8, 1_024));
            bencher.iter_batched(
                || sealed(&mut sealer, &content),
                |mut record| {
                    open(&mut opener, &mut record);
                    record
                },
                batch,
            );
        });
    }
    group.finish();
}

fn sealed(sealer: &mut Sealer, content: &[u8]) -> BytesMut {
    let mut wire = BytesMut::new();
    seal(sealer, content, &mut wire);
    wire
}
