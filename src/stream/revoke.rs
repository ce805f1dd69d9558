//! Ends a stream from outside.

use std::sync::{Arc, Weak};

use crate::error::{Error, Refusal};
use crate::live::Revoke;
use crate::stream::failure::{Latch, State};

impl Latch {
    /// What ends the session; it does not keep it alive.
    pub(super) fn handle(&self) -> Weak<dyn Revoke> {
        let state: Weak<State> = Arc::downgrade(&self.0);
        state
    }
}

impl Revoke for State {
    fn revoke(&self, refusal: Refusal) {
        self.end(Error::Revoked(refusal).into());
    }
}
