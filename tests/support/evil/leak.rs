//! What a thief may have: the secrets of a key log, and signatures out of recorded sessions.

use std::sync::{Arc, Mutex};

use countersign::config::Config;
use countersign::keylog::KeyLog;

use super::crypto::Aead;
use super::keys::{Direction, INITIATOR};
use super::wire::take_frames;
use crate::support::{honest, trusting_all, unhex};

/// A key log in the wrong hands.
#[derive(Clone, Default)]
pub struct Leak(Arc<Mutex<Vec<String>>>);

impl KeyLog for Leak {
    fn log(&self, line: &str) {
        self.0.lock().expect("lines").push(line.into());
    }
}

impl Leak {
    /// The newest secret of that name.
    pub fn secret(&self, label: &str) -> [u8; 32] {
        self.all(label).pop().unwrap_or_else(|| panic!("no {label} in the log"))
    }

    /// The secrets whose names begin so, oldest first.
    pub fn all(&self, prefix: &str) -> Vec<[u8; 32]> {
        let lines = self.0.lock().expect("lines");
        let lines = lines.iter().filter(|line| line.starts_with(prefix));
        lines.map(|line| unhex(&line[line.len() - 64..]).try_into().expect("32 bytes")).collect()
    }

    pub fn direction(&self, label: &str, aead: Aead) -> Direction {
        Direction::new(self.secret(label), aead)
    }
}

/// The signature that `signer` made in that role, in another session with the same peer.
pub fn recorded_signature(signer: u8, peer: u8, role: &str, context: &[u8]) -> [u8; 64] {
    let leak = Leak::default();
    let of =
        |own| -> Config { crate::support::short(trusting_all(own).context(context).dangerous_key_log(leak.clone())) };
    let (label, flight) = if role == INITIATOR { ("HS_I", 2) } else { ("HS_R", 1) };
    let (i, r) = if role == INITIATOR { (signer, peer) } else { (peer, signer) };
    let mut flight = honest(&of(i), &of(r), 5).flights[flight].clone();
    let auth = take_frames(&mut flight).pop().expect("AUTH");
    let plaintext = leak.direction(label, Aead::ChaCha).open(&auth).expect("recorded");
    plaintext[plaintext.len() - 96..plaintext.len() - 32].try_into().expect("64 bytes")
}
