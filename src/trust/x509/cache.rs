//! Paths that were found, so that a chain that comes again costs no signature. Of what changes nothing is kept: time and revocation are looked at for each
//! decision.

use core::time::Duration;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use sha2::{Digest, Sha256};

use crate::identity::CertificateChain;
use crate::trust::decision::Direction;
use crate::trust::x509::path::Verified;

/// A path from a chain to a CA.
#[derive(Debug)]
pub(super) struct Path {
    /// The number of the CA.
    pub(super) anchor: usize,
    pub(super) verified: Verified,
    /// For each certificate on it, the numbers of the revocation lists by its issuer.
    pub(super) lists: Vec<Vec<usize>>,
}

/// The paths, by chain and direction.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<[u8; 32], Arc<Vec<Path>>>>);

impl Cache {
    pub(super) fn find(
        &self,
        chain: &CertificateChain,
        direction: Direction,
        time: Duration,
    ) -> Option<Arc<Vec<Path>>> {
        let paths = self.paths().get(&key(chain, direction)).cloned();
        let holds = |path: &Path| (path.verified.since..path.verified.until).contains(&time);
        paths.filter(|paths| paths.iter().all(holds))
    }

    pub(super) fn keep(&self, chain: &CertificateChain, direction: Direction, found: Vec<Path>) -> Arc<Vec<Path>> {
        let found = Arc::new(found);
        let mut paths = self.paths();
        if paths.len() >= MAX_PATHS {
            paths.clear();
        }
        paths.insert(key(chain, direction), found.clone());
        found
    }

    fn paths(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<Vec<Path>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(chain: &CertificateChain, direction: Direction) -> [u8; 32] {
    let direction: &[u8] = match direction {
        Direction::Inbound => b"inbound",
        Direction::Outbound => b"outbound",
    };
    Sha256::new().chain_update(direction).chain_update([0]).chain_update(chain.data()).finalize().into()
}

/// Some 300 bytes each.
const MAX_PATHS: usize = 16_384;
