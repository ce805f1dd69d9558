//! Rotation of keys: a key that is known vouches for the one that follows it, by a certificate with a purpose of its own. Whoever pinned the old key
//! accepts the new one for as long as that certificate is valid.

use core::time::Duration;

use webpki::KeyUsage;

use crate::crypto::signature::PublicKey;
use crate::identity::{Credential, SUCCESSION};
use crate::trust::decision::Request;
use crate::trust::x509::anchor::Anchor;
use crate::trust::x509::path::{Check, Issuers};

/// The longest that an old key may vouch for a new one, in days.
pub const MAX_SUCCESSION_DAYS: u64 = 366;

/// The key that vouches for the peer's, and until when; `None` if the peer presents no such certificate, or it does not hold.
pub(in crate::trust) fn predecessor(request: &Request) -> Option<(PublicKey, Duration)> {
    // [ID-11] [ID-12]
    let Credential::X509(chain) = &request.credential else { return None };
    let [leaf, old] = chain.facts() else { return None };
    if !leaf.is_succession || leaf.not_after.saturating_sub(leaf.not_before) > MAX_SUCCESSION {
        return None;
    }
    let key = old.ed25519()?;
    let anchor = Anchor::of_key(&key, &leaf.issuer)?;
    let usage = KeyUsage::required(&SUCCESSION);
    let check = Check { anchor: &anchor, usage, time: request.time? };
    let verified = check.run(chain, Issuers::Unlooked).ok()?;
    Some((key, verified.until))
}

/// With room for clocks that differ.
const MAX_SUCCESSION: Duration = Duration::from_secs((MAX_SUCCESSION_DAYS + 1) * 24 * 3_600);
