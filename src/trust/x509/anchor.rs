//! The CAs that we know, and what webpki leaves to us: their validity and the length of path that they allow.

use core::time::Duration;
use std::string::{String, ToString};
use std::vec::Vec;

use rustls_pki_types::{CertificateDer, TrustAnchor};
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use crate::crypto::signature::PublicKey;

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
        let (start, bits): (&[u8], _) = (&ED25519_KEY, key.as_bytes());
        let key_info: Vec<u8> = start.iter().chain(bits).copied().collect();
        let anchor =
            TrustAnchor { subject: subject.into(), subject_public_key_info: key_info.into(), name_constraints: None };
        let subject = key.fingerprint().to_string();
        let (not_before, not_after) = (Duration::ZERO, Duration::MAX);
        Some(Anchor { anchor, subject, not_before, not_after, path_len: None, signs_lists: false })
    }
}

/// The content of a subject public key info for Ed25519, up to the key (RFC 8410, section 4).
const ED25519_KEY: [u8; 10] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Whether the extended key usage of a certificate has exactly this value in DER.
pub(super) fn has_exactly_the_usage(certificate: &CertificateDer<'_>, value: &[u8]) -> bool {
    let Ok(parsed) = Certificate::from_der(certificate) else { return false };
    let extensions = parsed.tbs_certificate().extensions().map(Vec::as_slice).unwrap_or_default();
    let mut usages = extensions.iter().filter(|extension| extension.extn_id == EXTENDED_KEY_USAGE);
    usages.next().is_some_and(|usage| usage.extn_value.as_bytes() == value) && usages.next().is_none()
}

/// id-ce-extKeyUsage (RFC 5280, section 4.2.1.12).
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");

/// The Ed25519 key of a certificate, if it is one.
pub(super) fn ed25519_key(certificate: &CertificateDer<'_>) -> Option<PublicKey> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let info = parsed.tbs_certificate().subject_public_key_info().to_der().ok()?;
    let info = AnyRef::try_from(info.as_slice()).ok()?.value().strip_prefix(&ED25519_KEY)?.try_into().ok()?;
    PublicKey::from_bytes(&info).ok()
}
