//! Trust in certificates by a CA's key.

use std::string::String;

use crate::identity::PublicKey;
use crate::trust::decision::{Grant, Request};

/// What a CA with this key vouches for.
pub(crate) fn verify_with_key(_: &PublicKey, _: &Request) -> Result<Grant, String> {
    Err("certificates are not verified yet".into())
}
