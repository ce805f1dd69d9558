//! Rotation of keys: a key that is known vouches for the one that follows it, by a certificate with a purpose of its own. Whoever pinned the old key
//! accepts the new one for as long as that certificate is valid.

use core::time::Duration;

use std::vec::Vec;

use webpki::KeyUsage;

use crate::crypto::signature::PublicKey;
use crate::identity::Credential;
use crate::trust::decision::Request;
use crate::trust::x509::anchor::{Anchor, ed25519_key, has_exactly_the_usage};
use crate::trust::x509::path::{Check, Issuers};

/// The longest that an old key may vouch for a new one, in days.
pub const MAX_SUCCESSION_DAYS: u64 = 366;

/// The key that vouches for the peer's, and until when; `None` if the peer presents no such certificate, or it does not hold.
pub(in crate::trust) fn predecessor(request: &Request) -> Option<(PublicKey, Duration)> {
    // [ID-11] [ID-12]
    let Credential::X509(chain) = &request.credential else { return None };
    let [leaf, old] = chain.ders() else { return None };
    let usage: Vec<u8> = [&[0x30, 0x16, 0x06, 0x14], SUCCESSION.as_slice()].concat();
    if !has_exactly_the_usage(leaf, &usage) {
        return None;
    }
    let facts = chain.facts().first()?;
    if facts.not_after.saturating_sub(facts.not_before) > MAX_SUCCESSION {
        return None;
    }
    let key = ed25519_key(old)?;
    let anchor = Anchor::of_key(&key, &facts.issuer)?;
    let usage = KeyUsage::required(&SUCCESSION);
    let check = Check { anchor: &anchor, usage, time: request.time? };
    let verified = check.run(chain, Issuers::Unlooked).ok()?;
    Some((key, verified.until))
}

/// The purpose id-countersign-succession, 2.25.253087246232178436914573861472214602722 (an arc under a UUID, X.667), as the content of an OID in DER.
pub const SUCCESSION: [u8; 20] = [
    0x69, 0x82, 0xfc, 0xe6, 0xea, 0xa8, 0xd3, 0xa0, 0xe2, 0xb8, 0x97, 0x8a, 0xa6, 0x9f, 0xa3, 0xe6, 0xf9, 0xa9, 0xa7,
    0x62,
];

/// With room for clocks that differ.
const MAX_SUCCESSION: Duration = Duration::from_secs((MAX_SUCCESSION_DAYS + 1) * 24 * 3_600);
