//! One question to webpki: does a path lead from this chain to this CA?

use core::time::Duration;

use std::format;
use std::string::String;
use std::vec::Vec;

use rustls_pki_types::{TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::crypto::signature::PublicKey;
use crate::identity::{CertificateChain, Credential, Facts};
use crate::trust::decision::{Direction, Grant, Request};
use crate::trust::x509::algorithms::ALGORITHMS;
use crate::trust::x509::anchor::Anchor;
use crate::trust::x509::fault::Fault;

/// What a chain is checked against, but for revocation.
pub(super) struct Check<'a> {
    pub(super) anchor: &'a Anchor,
    pub(super) usage: KeyUsage,
    pub(super) time: Duration,
}

/// What is asked of the certificates above the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Issuers {
    /// That they may issue certificates.
    Certify,
    /// Nothing: no more than key and name of them is used.
    Unlooked,
}

/// A path that holds from a time to another, whatever happens in between but a revocation.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    pub(super) since: Duration,
    pub(super) until: Duration,
    /// The serial numbers of the certificates on it, the first that of the leaf.
    pub(super) serials: Vec<Vec<u8>>,
}

impl Check<'_> {
    pub(super) fn run(self, chain: &CertificateChain, issuers: Issuers) -> Result<Verified, Fault> {
        let ders = chain.ders();
        let (leaf, others) = ders.split_first().ok_or(Fault::Damaged)?;
        let leaf = EndEntityCert::try_from(leaf).map_err(Fault::from)?;
        let anchors: [TrustAnchor<'_>; 1] = [self.anchor.anchor.clone()];
        let time = UnixTime::since_unix_epoch(self.time);
        let fits = |path: &VerifiedPath<'_>| self.check_anchor(path);
        let path = leaf.verify_for_usage(ALGORITHMS, &anchors, others, time, self.usage, None, Some(&fits));
        let path = path.map_err(Fault::from)?;
        let between = path.intermediate_certificates().map(|certificate| certificate.serial().to_vec());
        let serials: Vec<_> = core::iter::once(leaf.serial().to_vec()).chain(between).collect();
        let on_it = chain.facts().get(..serials.len()).unwrap_or_default();
        check_usages(on_it, issuers)?;
        let since = on_it.iter().map(|facts| facts.not_before).fold(self.anchor.not_before, Duration::max);
        let until = on_it.iter().map(|facts| facts.not_after).fold(self.anchor.not_after, Duration::min);
        Ok(Verified { since, until: until.saturating_add(ONE_SECOND), serials })
    }

    /// What webpki takes for granted of a CA that it is given.
    fn check_anchor(&self, path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
        let at = |time| UnixTime::since_unix_epoch(time);
        let Anchor { not_before, not_after, path_len, .. } = self.anchor;
        if self.time.as_secs() > not_after.as_secs() {
            return Err(webpki::Error::CertExpired { time: at(self.time), not_after: at(*not_after) });
        }
        if self.time < *not_before {
            return Err(webpki::Error::CertNotValidYet { time: at(self.time), not_before: at(*not_before) });
        }
        if path_len.is_some_and(|max| path.intermediate_certificates().count() > max) {
            return Err(webpki::Error::PathLenConstraintViolated);
        }
        Ok(())
    }
}

/// Key usages, which webpki does not look at (RFC 5280, section 4.2.1.3), and extensions that it knows and we don't.
fn check_usages(path: &[Facts], issuers: Issuers) -> Result<(), Fault> {
    // [ID-9]
    if path.iter().any(|facts| !facts.all_known) {
        return Err(Fault::UnknownCritical);
    }
    let (leaf, above) = path.split_first().ok_or(Fault::Damaged)?;
    if !leaf.may_sign || leaf.is_ca {
        return Err(Fault::KeyUsage);
    }
    let bad = issuers == Issuers::Certify && above.iter().any(|issuer| !issuer.may_certify);
    if bad { Err(Fault::KeyUsage) } else { Ok(()) }
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
    let mut last = Fault::UnknownIssuer;
    // The key may have issued any of the certificates; what stands above that one does not matter.
    for facts in chain.facts() {
        let anchor = Anchor::of_key(key, &facts.issuer).ok_or("its certificate is damaged")?;
        let usage = usage(request.direction);
        let check = Check { anchor: &anchor, usage, time };
        match check.run(chain, Issuers::Certify) {
            Ok(verified) => {
                let names = chain.names().to_vec();
                return Ok(Grant { names, until: Some(verified.until), ..Grant::default() });
            }
            Err(fault) => last = fault,
        }
    }
    Err(format!("its certificate {}: {last}", chain.serial()))
}

/// A certificate is valid through its last second.
const ONE_SECOND: Duration = Duration::from_secs(1);
pub(super) const NO_CLOCK: &str = "there is no clock here, so no certificate can be valid";
