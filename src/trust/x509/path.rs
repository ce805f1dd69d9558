//! One question to webpki: does a path lead from this chain to this CA?

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
use crate::identity::{CertificateChain, Credential, Facts};
use crate::trust::decision::{Direction, Grant, Request};
use crate::trust::x509::algorithms::ALGORITHMS;
use crate::trust::x509::anchor::Anchor;
use crate::trust::x509::crl::Crl;
use crate::trust::x509::fault::Fault;

/// What a chain is checked against.
pub(super) struct Check<'a> {
    pub(super) anchor: &'a Anchor,
    /// The lists that this CA has signed, and those of CAs that are not known, the newest first.
    pub(super) crls: &'a [&'a Crl],
    pub(super) stale_crls: ExpirationPolicy,
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

/// How long what was found holds, and how many certificates are on the path.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) until: Duration,
    pub(super) used: usize,
}

impl Check<'_> {
    pub(super) fn run(self, chain: &CertificateChain, issuers: Issuers) -> Result<Verified, Fault> {
        let (leaf, others) = chain.ders().split_first().ok_or(Fault::Damaged)?;
        let leaf = EndEntityCert::try_from(leaf).map_err(Fault::from)?;
        let lists: Vec<&CertRevocationList<'_>> = self.crls.iter().map(|crl| &crl.list).collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(self.stale_crls)
                .build()
        });
        let anchors: [TrustAnchor<'_>; 1] = [self.anchor.anchor.clone()];
        let time = UnixTime::since_unix_epoch(self.time);
        let fits = |path: &VerifiedPath<'_>| self.check_anchor(path);
        let path = leaf.verify_for_usage(ALGORITHMS, &anchors, others, time, self.usage, revocation, Some(&fits));
        let path = path.map_err(Fault::from)?;
        let used = 1 + path.intermediate_certificates().count();
        check_usages(chain.facts().get(..used).unwrap_or_default(), issuers)?;
        let serials = core::iter::once(leaf.serial()).chain(path.intermediate_certificates().map(|one| one.serial()));
        for (facts, serial) in chain.facts().iter().zip(serials) {
            // webpki looks into one list of an issuer; a second one revokes as well.
            let lists = self.crls.iter().filter(|crl| crl.issuer_der == facts.issuer);
            for crl in lists {
                if crl.list.find_serial(serial).map_err(Fault::from)?.is_some() {
                    return Err(Fault::Revoked);
                }
            }
        }
        let ends = chain.facts().iter().take(used).map(|facts| facts.not_after);
        let until = ends.fold(self.anchor.not_after, Duration::min).saturating_add(ONE_SECOND);
        Ok(Verified { until, used })
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

/// Key usages, which webpki does not look at (RFC 5280, section 4.2.1.3).
fn check_usages(path: &[Facts], issuers: Issuers) -> Result<(), Fault> {
    // [ID-9]
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
        let check = Check { anchor: &anchor, crls: &[], stale_crls: ExpirationPolicy::Ignore, usage, time };
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
