//! One question to webpki: does a path lead from this chain to one of these CAs?

use core::time::Duration;
use std::format;
use std::string::String;
use std::vec::Vec;

use rustls_pki_types::{TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder,
    UnknownStatusPolicy, VerifiedPath,
};

use crate::crypto::signature::PublicKey;
use crate::identity::{CertificateChain, Credential};
use crate::trust::decision::{Direction, Grant, Request};
use crate::trust::x509::algorithms::ALGORITHMS;
use crate::trust::x509::anchor::Anchor;
use crate::trust::x509::fault::Fault;

/// What a chain is checked against.
pub(super) struct Check<'a> {
    pub(super) anchors: &'a [Anchor],
    pub(super) crls: &'a [&'a CertRevocationList<'a>],
    pub(super) stale_crls: ExpirationPolicy,
    pub(super) usage: KeyUsage,
    pub(super) time: Duration,
}

/// What was found: under which CA, and how long it holds.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) ca: String,
    pub(super) until: Duration,
}

impl Check<'_> {
    pub(super) fn run(self, chain: &CertificateChain) -> Result<Verified, Fault> {
        check_usages(chain)?;
        let (leaf, issuers) = chain.ders().split_first().ok_or(Fault::Damaged)?;
        let leaf = EndEntityCert::try_from(leaf).map_err(Fault::from)?;
        let revocation = RevocationOptionsBuilder::new(self.crls).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(self.stale_crls)
                .build()
        });
        let anchors: Vec<TrustAnchor<'_>> = self.anchors.iter().map(|anchor| anchor.anchor.clone()).collect();
        let time = UnixTime::since_unix_epoch(self.time);
        let fits = |path: &VerifiedPath<'_>| self.check_anchor(path);
        let path = leaf.verify_for_usage(ALGORITHMS, &anchors, issuers, time, self.usage, revocation, Some(&fits));
        let path = path.map_err(Fault::from)?;
        let anchor = find(self.anchors, path.anchor()).ok_or(Fault::UnknownIssuer)?;
        let used = 1 + path.intermediate_certificates().count();
        let ends = chain.facts().iter().take(used).map(|facts| facts.not_after);
        let until = ends.fold(anchor.not_after, Duration::min);
        Ok(Verified { ca: anchor.subject.clone(), until: until.saturating_add(ONE_SECOND) })
    }

    /// What webpki takes for granted of the CAs that it is given.
    fn check_anchor(&self, path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
        let anchor = find(self.anchors, path.anchor()).ok_or(webpki::Error::UnknownIssuer)?;
        let at = |time| UnixTime::since_unix_epoch(time);
        if self.time > anchor.not_after {
            return Err(webpki::Error::CertExpired { time: at(self.time), not_after: at(anchor.not_after) });
        }
        if self.time < anchor.not_before {
            return Err(webpki::Error::CertNotValidYet { time: at(self.time), not_before: at(anchor.not_before) });
        }
        if anchor.path_len.is_some_and(|max| path.intermediate_certificates().count() > max) {
            return Err(webpki::Error::PathLenConstraintViolated);
        }
        Ok(())
    }
}

/// Of two CAs with one name and one key, as when a root is renewed, the one that lasts longer.
fn find<'a>(anchors: &'a [Anchor], found: &TrustAnchor<'_>) -> Option<&'a Anchor> {
    let same = anchors.iter().filter(|anchor| {
        anchor.anchor.subject == found.subject && anchor.anchor.subject_public_key_info == found.subject_public_key_info
    });
    same.max_by_key(|anchor| anchor.not_after)
}

/// Key usages, which webpki does not look at (RFC 5280, section 4.2.1.3).
fn check_usages(chain: &CertificateChain) -> Result<(), Fault> {
    // [ID-9]
    let (leaf, issuers) = chain.facts().split_first().ok_or(Fault::Damaged)?;
    if !leaf.may_sign || leaf.is_ca {
        return Err(Fault::KeyUsage);
    }
    if issuers.iter().any(|issuer| !issuer.may_certify) { Err(Fault::KeyUsage) } else { Ok(()) }
}

/// What a peer uses its certificate for: who calls is a client.
pub(super) fn usage(direction: Direction) -> KeyUsage {
    match direction {
        Direction::Inbound => KeyUsage::client_auth(),
        Direction::Outbound => KeyUsage::server_auth(),
    }
}

/// Checks the peer's chain against a CA of which we know nothing but its Ed25519 key, as a trust file gives it.
pub(in crate::trust) fn verify_with_key(key: &PublicKey, request: &Request) -> Result<Grant, String> {
    let Credential::X509(chain) = &request.credential else { return Err("it presents no certificate".into()) };
    let time = request.time.ok_or_else(|| String::from(NO_CLOCK))?;
    let issuer = chain.facts().last().map(|facts| facts.issuer.as_slice()).unwrap_or_default();
    let anchor = Anchor::of_key(key, issuer).ok_or("its certificate is damaged")?;
    let check = Check {
        anchors: &[anchor],
        crls: &[],
        stale_crls: ExpirationPolicy::Ignore,
        usage: usage(request.direction),
        time,
    };
    let verified = check.run(chain).map_err(|fault| format!("its certificate {}: {fault}", chain.serial()))?;
    Ok(Grant { names: chain.names().to_vec(), until: Some(verified.until), ..Grant::default() })
}

/// A certificate is valid through its last second.
const ONE_SECOND: Duration = Duration::from_secs(1);
pub(super) const NO_CLOCK: &str = "there is no clock here, so no certificate can be valid";
