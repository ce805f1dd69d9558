//! The handshake without sockets: each side, and both together. Ids are `area/operation`.
#![allow(missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use countersign::crypto::agreement::{SharedSecret, X25519Share};
use countersign::crypto::schedule::EarlySecret;
use countersign::crypto::suite::Suite;
use countersign::handshake::Target;
use countersign::role::Role;
use countersign::secret::Secret;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use support::{End, config, honest, seeded_quietly};

fn handshake(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handshake");
    for (name, suite) in [("raw", Suite::ALL[0]), ("raw-hybrid", Suite::ALL[1])] {
        let (alice, bob) = (config(1, 2).suites([suite]), config(2, 1).suites([suite]));
        group.bench_function(format!("pair/{name}"), |bencher| bencher.iter(|| honest(&alice, &bob, black_box(1))));
        let flights = honest(&alice, &bob, 1).flights;
        let initiator = || End::initiator(&alice, Target::default(), &mut seeded_quietly(1));
        let responder = || {
            let mut rng = seeded_quietly(1);
            // The initiator draws first in `honest`.
            drop(End::initiator(&alice, Target::default(), &mut rng));
            End::responder(&bob, &mut rng)
        };
        group.bench_function(format!("initiator/{name}"), |bencher| {
            bencher.iter(|| {
                let mut end = initiator();
                end.feed(&flights[1]);
                end.feed(&flights[3]);
                assert!(end.is_complete());
            });
        });
        group.bench_function(format!("responder/{name}"), |bencher| {
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
    }
    group.finish();
}

fn schedule(criterion: &mut Criterion) {
    let share = |byte: u8| X25519Share::from_secret(&Secret::take(&mut [byte; 32])).expect("a share");
    let dh = share(1).agree(share(2).share()).expect("agreement");
    let shared = SharedSecret::new(None, &dh);
    let aead = Suite::ALL[0].aead();
    criterion.bench_function("schedule/full", |bencher| {
        bencher.iter(|| {
            let secret = EarlySecret::new(None).and_then(|early| early.into_handshake(&shared)).expect("secret");
            for role in [Role::Initiator, Role::Responder] {
                black_box(secret.traffic(role, &[3; 32]).and_then(|s| s.sealing_key(aead)).expect("key"));
                black_box(secret.confirm(role, &[3; 32]).expect("key"));
            }
            let master = secret.into_master().expect("master");
            for role in [Role::Initiator, Role::Responder] {
                black_box(master.traffic(role, &[4; 32]).and_then(|s| s.sealing_key(aead)).expect("key"));
            }
            black_box(master.session_id(&[4; 32]).expect("id"))
        });
    });
}

criterion_group!(benches, handshake, schedule);
criterion_main!(benches);
