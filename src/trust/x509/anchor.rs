//! The CAs that we know, and what webpki leaves to us: their validity and the length of path that they allow.

use core::time::Duration;
use std::string::{String, ToString};
use std::vec::Vec;

use rustls_pki_types::{CertificateDer, TrustAnchor};
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::der::Decode;
use x509_cert::der::asn1::AnyRef;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use crate::crypto::signature::PublicKey;
use crate::identity::ED25519_KEY_INFO;

/// A CA.
#[derive(Clone, Debug)]
pub(super) struct Anchor {
    pub(super) anchor: TrustAnchor<'static>,
    pub(super) subject: String,
    pub(super) not_before: Duration,
    pub(super) not_after: Duration,
    /// CAs that may stand between it and a certificate.
    pub(super) path_len: Option<usize>,
    /// Whether it may sign revocation lists.
    pub(super) signs_lists: bool,
}

/// Why a certificate can't be that of a CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnchor {
    Damaged,
    NotACa,
}

impl Anchor {
    pub(super) fn new(certificate: &CertificateDer<'_>) -> Result<Self, NoAnchor> {
        let parsed = Certificate::from_der(certificate).map_err(|_| NoAnchor::Damaged)?;
        let tbs = parsed.tbs_certificate();
        let usage = tbs.get_extension::<KeyUsage>().map_err(|_| NoAnchor::Damaged)?;
        let constraints = tbs.get_extension::<BasicConstraints>().map_err(|_| NoAnchor::Damaged)?;
        let constraints = constraints.map(|(_, constraints)| constraints);
        let usage = usage.map(|(_, usage)| usage);
        let is_ca = constraints.as_ref().map_or(tbs.version() == Version::V1, |constraints| constraints.ca);
        if !is_ca || usage.is_some_and(|usage| !usage.key_cert_sign()) {
            return Err(NoAnchor::NotACa);
        }
        let anchor = webpki::anchor_from_trusted_cert(certificate).map_err(|_| NoAnchor::Damaged)?;
        Ok(Anchor {
            anchor: anchor.to_owned(),
            subject: tbs.subject().to_string(),
            not_before: tbs.validity().not_before.to_unix_duration(),
            not_after: tbs.validity().not_after.to_unix_duration(),
            path_len: constraints.and_then(|constraints| constraints.path_len_constraint).map(usize::from),
            signs_lists: usage.is_none_or(|usage| usage.crl_sign()),
        })
    }

    /// An Ed25519 key as a CA: whatever it has signed, under the name that the certificate calls it by. `issuer` is that name in DER.
    pub(super) fn of_key(key: &PublicKey, issuer: &[u8]) -> Option<Self> {
        let subject = AnyRef::try_from(issuer).ok()?.value().to_vec();
        // The content, without the outer tag and length.
        let key_info: Vec<u8> = ED25519_KEY_INFO.iter().skip(2).chain(key.as_bytes()).copied().collect();
        let anchor =
            TrustAnchor { subject: subject.into(), subject_public_key_info: key_info.into(), name_constraints: None };
        let subject = key.fingerprint().to_string();
        let (not_before, not_after) = (Duration::ZERO, Duration::MAX);
        Some(Anchor { anchor, subject, not_before, not_after, path_len: None, signs_lists: false })
    }
}
