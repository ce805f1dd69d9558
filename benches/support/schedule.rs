//! The key schedule, stage by stage and whole.
#![allow(dead_code)]

use std::hint::black_box;

use countersign::crypto::agreement::SharedSecret;
use countersign::crypto::schedule::{EarlySecret, HandshakeSecret, TrafficSecret};
use countersign::crypto::suite::Aead;
use countersign::limits::REKEY_LEN;
use countersign::role::Role;
use countersign::secret::Secret;

use crate::operation::Operation;

pub fn operations() -> Vec<Operation> {
    let mut operations = vec![
        Operation::new("schedule/early", || || drop(black_box(EarlySecret::new(None).expect("secret")))),
        Operation::new("schedule/traffic", || {
            let secret = handshake_secret(&shared(false));
            move || drop(black_box(secret.traffic(Role::Initiator, black_box(&[3; 32])).expect("secret")))
        }),
        Operation::new("schedule/confirm", || {
            let secret = handshake_secret(&shared(false));
            move || {
                let key = secret.confirm(Role::Initiator, black_box(&[3; 32])).expect("key");
                black_box(key.compute(&[4; 32]).expect("confirmation"));
            }
        }),
        Operation::new("schedule/rekey", || {
            let secret = TrafficSecret::take(&mut [5; 32]);
            let dh = Secret::take(&mut [6; 32]);
            move || drop(black_box(secret.next(black_box(&[7; REKEY_LEN]), Some(&dh)).expect("secret")))
        }),
        Operation::new("schedule/export/32", || {
            let master = handshake_secret(&shared(false)).into_master().expect("master");
            let exporter = master.exporter(&[4; 32]).expect("exporter");
            move || {
                let mut out = [0; 32];
                exporter.export(b"label", black_box(b"context"), &mut out).expect("exported");
                black_box(out);
            }
        }),
    ];
    operations.extend([Aead::ChaCha20Poly1305, Aead::Aes256Gcm].map(|aead| {
        Operation::new(format!("schedule/{}", name("sealing_key", aead)), move || {
            let secret = TrafficSecret::take(&mut [5; 32]);
            move || drop(black_box(secret.sealing_key(aead).expect("key")))
        })
    }));
    operations.extend([("classical", false), ("hybrid", true)].map(|(name, hybrid)| {
        Operation::new(format!("schedule/whole-{name}"), move || {
            let shared = shared(hybrid);
            move || whole(black_box(&shared))
        })
    }));
    operations
}

/// `operation-aead`.
pub fn name(operation: &str, aead: Aead) -> String {
    match aead {
        Aead::ChaCha20Poly1305 => format!("{operation}-chacha20poly1305"),
        _ => format!("{operation}-aes256gcm"),
    }
}

/// What one side derives for a handshake and its session.
fn whole(shared: &SharedSecret) {
    let secret = handshake_secret(shared);
    for role in [Role::Initiator, Role::Responder] {
        black_box(secret.traffic(role, &[3; 32]).and_then(|s| s.sealing_key(Aead::ChaCha20Poly1305)).expect("key"));
        black_box(secret.confirm(role, &[3; 32]).expect("key"));
    }
    let master = secret.into_master().expect("master");
    for role in [Role::Initiator, Role::Responder] {
        black_box(master.traffic(role, &[4; 32]).and_then(|s| s.sealing_key(Aead::ChaCha20Poly1305)).expect("key"));
    }
    black_box(master.exporter(&[4; 32]).expect("exporter"));
    black_box(master.channel_binding(&[4; 32]).expect("binding"));
    black_box(master.session_id(&[4; 32]).expect("id"));
}

fn handshake_secret(shared: &SharedSecret) -> HandshakeSecret {
    EarlySecret::new(None).and_then(|early| early.into_handshake(shared)).expect("secret")
}

fn shared(hybrid: bool) -> SharedSecret {
    SharedSecret::new(hybrid.then(|| Secret::take(&mut [1; 32])), &Secret::take(&mut [2; 32]))
}
