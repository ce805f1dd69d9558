//! Trust in a fixed set of peers.

use alloc::format;
use alloc::vec::Vec;

use crate::identity::PeerId;
use crate::trust::decision::{Decision, DecisionFuture, Grant, Request, Trust};
use crate::trust::known_as::known_as;

/// Trusts these peers, those whose key one of these vouches for (specification, section 7.2), for every service, in both directions, and nobody else.
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
        for known in known_as(request) {
            if let Some(peer) = self.0.iter().find(|peer| peer.matches(&known.key)) {
                let mut grant = Grant { rule: format!("pinned key {peer}"), ..Grant::default() };
                known.hand_on(&mut grant);
                return Decision::Accept(grant).ready();
            }
        }
        Decision::not_trusted().because(format!("not one of the {} pinned keys", self.0.len())).ready()
    }
}
