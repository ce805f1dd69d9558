//! The keys that a peer may be known by: the one that it signs with, and one that vouches for it.

use core::time::Duration;

use crate::identity::PublicKey;
use crate::trust::decision::{Grant, Request};

/// A key to look a peer up by.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownAs {
    pub(super) key: PublicKey,
    /// It is not the peer's own, but vouches for it until then.
    vouches_until: Option<Duration>,
}

impl KnownAs {
    /// What is granted to this key is granted to the peer, for as long as it is vouched for.
    pub(super) fn hand_on(&self, grant: &mut Grant) {
        if let Some(until) = self.vouches_until {
            grant.limit(until);
            grant.predecessor = Some(self.key);
        }
    }
}

/// The keys to look a peer up by, its own first.
pub(super) fn known_as(request: &Request) -> impl Iterator<Item = KnownAs> + '_ {
    let own = KnownAs { key: *request.public_key(), vouches_until: None };
    core::iter::once(own).chain(core::iter::once_with(|| predecessor(request)).flatten())
}

#[cfg(feature = "x509")]
fn predecessor(request: &Request) -> Option<KnownAs> {
    let (key, until) = crate::trust::x509::predecessor(request)?;
    Some(KnownAs { key, vouches_until: Some(until) })
}

#[cfg(not(feature = "x509"))]
fn predecessor(_: &Request) -> Option<KnownAs> {
    None
}
