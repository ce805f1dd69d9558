//! The handshake without sockets: each side alone, against what the other said before, and both.
#![allow(dead_code)]

use std::hint::black_box;

use countersign::crypto::suite::Suite;
use countersign::role::Role;

use crate::operation::Operation;
use crate::side::Pair;

/// The suites that are measured; the AEAD makes no difference here.
pub const SUITES: [(&str, Suite); 2] =
    [("classical", Suite::X25519ChaCha20Poly1305Sha256), ("hybrid", Suite::X25519MlKem768ChaCha20Poly1305Sha256)];

pub fn operations() -> Vec<Operation> {
    SUITES
        .into_iter()
        .flat_map(|(name, suite)| {
            let alone = [Role::Initiator, Role::Responder].map(|role| {
                Operation::new(format!("handshake/{role}/{name}"), move || {
                    let pair = Pair::new(suite);
                    move || drop(black_box(pair.alone(role)))
                })
            });
            let both = Operation::new(format!("handshake/pair/{name}"), move || {
                let pair = Pair::new(suite);
                move || drop(black_box(pair.both()))
            });
            alone.into_iter().chain([both])
        })
        .collect()
}
