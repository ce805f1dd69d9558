//! The handshake without sockets: each side, and both together. Ids are `area/operation`.
#![allow(missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use countersign::crypto::agreement::Ephemeral;
use countersign::crypto::schedule::HandshakeSecret;
use countersign::handshake::Target;
use countersign::role::Role;
use countersign::secret::Secret;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use support::{End, config, honest, seeded_quietly};

fn handshake(criterion: &mut Criterion) {
    let (alice, bob) = (config(1, 2), config(2, 1));
    let mut group = criterion.benchmark_group("handshake");
    group.bench_function("pair/raw", |bencher| bencher.iter(|| honest(&alice, &bob, black_box(1))));
    let flights = honest(&alice, &bob, 1).flights;
    let initiator = || End::initiator(&alice, Target::default(), &mut seeded_quietly(1));
    let responder = || {
        let mut rng = seeded_quietly(1);
        // The initiator draws first in `honest`.
        drop(End::initiator(&alice, Target::default(), &mut rng));
        End::responder(&bob, &mut rng)
    };
    group.bench_function("initiator/raw", |bencher| {
        bencher.iter(|| {
            let mut end = initiator();
            end.feed(&flights[1]);
            end.feed(&flights[3]);
            assert!(end.is_complete());
        });
    });
    group.bench_function("responder/raw", |bencher| {
        bencher.iter_batched(
            responder,
            |mut end| {
                end.feed(&flights[0]);
                end.feed(&flights[2]);
                assert!(end.is_complete());
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn schedule(criterion: &mut Criterion) {
    let ours = || Ephemeral::from_secret(&Secret::take(&mut [1; 32]));
    let theirs = *Ephemeral::from_secret(&Secret::take(&mut [2; 32])).share();
    let shared = ours().agree(&theirs).expect("agreement");
    criterion.bench_function("schedule/full", |bencher| {
        bencher.iter(|| {
            let secret = HandshakeSecret::new(&shared).expect("secret");
            for role in [Role::Initiator, Role::Responder] {
                black_box(secret.traffic(role, &[3; 32]).and_then(|s| s.sealing_key()).expect("key"));
                black_box(secret.confirm(role, &[3; 32]).expect("key"));
            }
            let master = secret.into_master().expect("master");
            for role in [Role::Initiator, Role::Responder] {
                black_box(master.traffic(role, &[4; 32]).and_then(|s| s.sealing_key()).expect("key"));
            }
            black_box(master.session_id(&[4; 32]).expect("id"))
        });
    });
}

criterion_group!(benches, handshake, schedule);
criterion_main!(benches);
