//! Trust in a fixed set of peers.

use alloc::format;
use alloc::vec::Vec;

use crate::identity::PeerId;
use crate::trust::decision::{Decision, DecisionFuture, Request, Trust};

/// Trusts these peers, for every service, in both directions, and nobody else.
#[derive(Clone, Debug)]
pub struct Pinned(Vec<PeerId>);

impl Pinned {
    /// Trusts `peers`.
    pub fn new(peers: impl IntoIterator<Item = PeerId>) -> Self {
        Pinned(peers.into_iter().collect())
    }
}

impl Trust for Pinned {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        let decision = match self.0.iter().find(|peer| peer.matches(request.public_key())) {
            Some(peer) => Decision::accept().because(format!("pinned key {peer}")),
            None => Decision::not_trusted().because(format!("not one of the {} pinned keys", self.0.len())),
        };
        decision.ready()
    }
}
