//! Certificate chains as credentials (specification, section 7.1). What stands in them is parsed here; whether to believe it is for the trust in
//! a CA to say.

use core::ops::Range;
use core::time::Duration;
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec::Vec;
use std::{fmt, net};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};

use crate::crypto::signature::{PublicKey, Verifier};
use crate::error::{Error, Malformed};
use crate::identity::Name;
use crate::limits::{MAX_CERTIFICATES, MAX_CREDENTIAL_LEN};

/// A certificate for an Ed25519 key, and the certificates of those who issued it, up to a root that the peer knows. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateChain(Arc<Parsed>);

#[derive(PartialEq, Eq)]
struct Parsed {
    /// The credential data on the wire, and where the certificates are in it.
    data: Vec<u8>,
    places: Vec<Range<usize>>,
    facts: Vec<Facts>,
    key: PublicKey,
    names: Vec<Name>,
}

/// What is asked of each certificate beyond what webpki checks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) serial: String,
    pub(crate) issuer: Vec<u8>,
    pub(crate) not_before: Duration,
    pub(crate) not_after: Duration,
    pub(crate) is_ca: bool,
    pub(crate) may_sign: bool,
    pub(crate) may_certify: bool,
    pub(crate) may_revoke: bool,
    /// No critical extension is one that a path does not depend on.
    pub(crate) all_known: bool,
    /// Its extended key usage is the succession of keys, and nothing else.
    pub(crate) is_succession: bool,
    /// Its subject public key info in DER.
    pub(crate) key_info: Vec<u8>,
}

/// Why a text or a list of certificates is not a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChainError {
    /// There is no certificate in it.
    Empty,
    /// More certificates or bytes than a peer would take.
    TooLong,
    /// A certificate is damaged; its number, from 1.
    Damaged(usize),
    /// The first certificate is not for an Ed25519 key.
    NotEd25519,
    /// The key of the first certificate is weak.
    Weak,
    /// A certificate was not issued by the one that follows it; its number, from 1.
    OutOfOrder(usize),
}

impl CertificateChain {
    /// A chain from PEM: the certificate of the key first, then that of its issuer, and so on. The root may be left out; anything
    /// but certificates is passed over.
    ///
    /// # Errors
    /// [`ChainError`].
    pub fn from_pem(pem: &str) -> Result<Self, ChainError> {
        let mut certificates = Vec::new();
        for (index, certificate) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
            certificates.push(certificate.map_err(|_| ChainError::Damaged(index + 1))?);
        }
        Self::new(&certificates).map(|(chain, _)| chain)
    }

    /// A chain from certificates in DER.
    ///
    /// # Errors
    /// [`ChainError`].
    pub fn from_der(certificates: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, ChainError> {
        let certificates: Vec<_> = certificates.into_iter().map(CertificateDer::from).collect();
        Self::new(&certificates).map(|(chain, _)| chain)
    }

    fn new(certificates: &[CertificateDer<'_>]) -> Result<(Self, Verifier), ChainError> {
        if certificates.is_empty() {
            return Err(ChainError::Empty);
        }
        let (mut data, mut places) = (Vec::new(), Vec::new());
        for certificate in certificates {
            data.extend(u16::try_from(certificate.len()).map_err(|_| ChainError::TooLong)?.to_be_bytes());
            places.push(data.len()..data.len() + certificate.len());
            data.extend_from_slice(certificate);
        }
        // [ID-5]
        if certificates.len() > MAX_CERTIFICATES || data.len() > MAX_CREDENTIAL_LEN {
            return Err(ChainError::TooLong);
        }
        let mut parsed = Vec::new();
        for (index, certificate) in certificates.iter().enumerate() {
            parsed.push(Certificate::from_der(certificate).map_err(|_| ChainError::Damaged(index + 1))?);
        }
        let leaf = parsed.first().ok_or(ChainError::Empty)?;
        let verifier = Verifier::from_bytes(&ed25519_key(leaf)?).map_err(|_| ChainError::Weak)?;
        let names = names(leaf).ok_or(ChainError::Damaged(1))?;
        let mut facts = Vec::new();
        for (index, certificate) in parsed.iter().enumerate() {
            facts.push(Facts::of(certificate).ok_or(ChainError::Damaged(index + 1))?);
        }
        check_order(&parsed)?;
        let key = verifier.public_key();
        Ok((CertificateChain(Arc::new(Parsed { data, places, facts, key, names })), verifier))
    }

    /// The chain of a credential block, and what its holder's signature is checked with.
    pub(crate) fn decode(mut data: &[u8]) -> Result<(Self, Verifier), Error> {
        let malformed = Error::Malformed(Malformed::Field("credential_data"));
        let mut certificates = Vec::new();
        while !data.is_empty() {
            let (len, rest) = data.split_first_chunk().ok_or(malformed.clone())?;
            let len = usize::from(u16::from_be_bytes(*len));
            let (certificate, rest) = rest.split_at_checked(len).ok_or(malformed.clone())?;
            if certificate.is_empty() || certificates.len() == MAX_CERTIFICATES {
                return Err(malformed);
            }
            certificates.push(CertificateDer::from(certificate));
            data = rest;
        }
        // [ID-4] [ID-6] [ID-7]
        Self::new(&certificates).map_err(|error| match error {
            ChainError::Weak => Error::Untrusted(crate::error::Untrusted::WeakKey),
            _ => malformed,
        })
    }

    pub(crate) fn data(&self) -> &[u8] {
        &self.0.data
    }

    pub(crate) fn ders(&self) -> Vec<CertificateDer<'_>> {
        self.certificates().map(CertificateDer::from).collect()
    }

    /// Who issued the last certificate, for people, at no great length: whoever made it chose the text.
    pub(crate) fn last_issuer(&self) -> String {
        let issuer =
            self.0.facts.last().map(|facts| facts.issuer.as_slice()).filter(|issuer| issuer.len() <= MAX_SHOWN);
        let name = issuer.and_then(|issuer| x509_cert::name::Name::from_der(issuer).ok());
        name.map_or_else(|| "a name too long to show".to_string(), |name| name.to_string())
    }

    pub(crate) fn facts(&self) -> &[Facts] {
        &self.0.facts
    }

    /// The certificates in DER, that of the key first.
    pub fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.0.places.iter().filter_map(|place| self.0.data.get(place.clone()))
    }

    /// The key that the first certificate is for.
    pub fn public_key(&self) -> &PublicKey {
        &self.0.key
    }

    /// The DNS names, IP addresses and URIs of the first certificate. Whether they are true is known only once a CA's trust has accepted the
    /// chain: then they are those of [`Peer::names`](crate::identity::Peer::names).
    pub fn names(&self) -> &[Name] {
        &self.0.names
    }

    /// The serial number of the first certificate, in hexadecimal.
    pub fn serial(&self) -> &str {
        self.0.facts.first().map_or("", |facts| &facts.serial)
    }

    /// When the first of the certificates expires, since 1970 in UTC.
    pub fn not_after(&self) -> Duration {
        self.0.facts.iter().map(|facts| facts.not_after).min().unwrap_or_default()
    }
}

impl Facts {
    fn of(certificate: &Certificate) -> Option<Self> {
        let tbs = certificate.tbs_certificate();
        let usage = tbs.get_extension::<KeyUsage>().ok()?.map(|(_, usage)| usage);
        let constraints = tbs.get_extension::<BasicConstraints>().ok()?.map(|(_, constraints)| constraints);
        let extensions = tbs.extensions().map(Vec::as_slice).unwrap_or_default();
        let mut usages = extensions.iter().filter(|extension| extension.extn_id == EXTENDED_KEY_USAGE);
        Some(Facts {
            serial: tbs.serial_number().as_bytes().iter().map(|byte| std::format!("{byte:02x}")).collect(),
            issuer: tbs.issuer().to_der().ok()?,
            not_before: tbs.validity().not_before.to_unix_duration(),
            not_after: tbs.validity().not_after.to_unix_duration(),
            is_ca: constraints.is_some_and(|constraints| constraints.ca),
            may_sign: usage.is_none_or(|usage| usage.digital_signature()),
            may_certify: usage.is_none_or(|usage| usage.key_cert_sign()),
            may_revoke: usage.is_none_or(|usage| usage.crl_sign()),
            all_known: extensions.iter().all(|one| !one.critical || KNOWN.contains(&one.extn_id)),
            is_succession: usages.next().is_some_and(|usage| is_succession(usage.extn_value.as_bytes())),
            key_info: tbs.subject_public_key_info().to_der().ok()?,
        })
    }

    /// Its key, if that is an Ed25519 key and a good one.
    pub(crate) fn ed25519(&self) -> Option<PublicKey> {
        let key = self.key_info.strip_prefix(&ED25519_KEY_INFO)?.try_into().ok()?;
        PublicKey::from_bytes(&key).ok()
    }
}

/// Whether an extended key usage is this purpose and no other: SEQUENCE { OID }.
fn is_succession(usage: &[u8]) -> bool {
    usage.strip_prefix(&[0x30, 0x16, 0x06, 0x14]).is_some_and(|purpose| *purpose == SUCCESSION)
}

fn ed25519_key(leaf: &Certificate) -> Result<[u8; 32], ChainError> {
    let info = leaf.tbs_certificate().subject_public_key_info();
    let is_ed25519 = info.algorithm.oid == ED25519 && info.algorithm.parameters.is_none();
    let key = info.subject_public_key.as_bytes().filter(|_| is_ed25519);
    key.and_then(|key| key.try_into().ok()).ok_or(ChainError::NotEd25519)
}

/// Whether bytes are what a certificate says, and nothing else.
pub(super) fn is_tbs(tbs: &[u8]) -> bool {
    TbsCertificate::from_der(tbs).is_ok()
}

/// The names that we know how to compare; `None` if they can't be parsed.
fn names(leaf: &Certificate) -> Option<Vec<Name>> {
    let Some((_, SubjectAltName(names))) = leaf.tbs_certificate().get_extension::<SubjectAltName>().ok()? else {
        return Some(Vec::new());
    };
    let known = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => name.as_str().parse().ok().filter(|name| matches!(name, Name::Dns(_))),
        GeneralName::UniformResourceIdentifier(uri) => {
            uri.as_str().parse().ok().filter(|name| matches!(name, Name::Uri(_)))
        }
        GeneralName::IpAddress(bytes) => ip(bytes.as_bytes()).map(Name::Ip),
        _ => None,
    });
    Some(known.collect())
}

fn ip(bytes: &[u8]) -> Option<net::IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(net::IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(net::IpAddr::from)).ok()
}

/// Each certificate names the next as its issuer, and no name comes twice: then there is one path to try, and as many signatures to check as there
/// are certificates.
fn check_order(certificates: &[Certificate]) -> Result<(), ChainError> {
    // [ID-7]
    for (index, pair) in certificates.windows(2).enumerate() {
        let [lower, upper] = pair else { continue };
        let (lower, upper) = (lower.tbs_certificate(), upper.tbs_certificate());
        let before = certificates.iter().take(index + 1);
        let twice = before.into_iter().any(|other| other.tbs_certificate().subject() == upper.subject());
        if lower.issuer() != upper.subject() || twice {
            return Err(ChainError::OutOfOrder(index + 1));
        }
    }
    Ok(())
}

/// The purpose id-countersign-succession, 2.25.253087246232178436914573861472214602722 (an arc under a UUID, X.667), as the content of an OID in DER.
pub const SUCCESSION: [u8; 20] = [
    0x69, 0x82, 0xfc, 0xe6, 0xea, 0xa8, 0xd3, 0xa0, 0xe2, 0xb8, 0x97, 0x8a, 0xa6, 0x9f, 0xa3, 0xe6, 0xf9, 0xa9, 0xa7,
    0x62,
];

/// The extensions that are looked at: basicConstraints, keyUsage, extendedKeyUsage, subjectAltName, nameConstraints.
const KNOWN: [ObjectIdentifier; 5] = [
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    EXTENDED_KEY_USAGE,
    ObjectIdentifier::new_unwrap("2.5.29.17"),
    ObjectIdentifier::new_unwrap("2.5.29.30"),
];
/// id-ce-extKeyUsage (RFC 5280, section 4.2.1.12).
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
/// The subject public key info of an Ed25519 key, up to the key (RFC 8410, section 4).
pub(crate) const ED25519_KEY_INFO: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Bytes of a name that is shown.
const MAX_SHOWN: usize = 256;
/// id-Ed25519 (RFC 8410, section 3).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

impl fmt::Debug for CertificateChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateChain({}, serial {})", self.0.key.fingerprint(), self.serial())
    }
}

impl std::error::Error for ChainError {}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChainError::Empty => f.write_str("expected PEM with `-----BEGIN CERTIFICATE-----`, and there is none"),
            ChainError::TooLong => write!(
                f,
                "a chain has at most {MAX_CERTIFICATES} certificates and {MAX_CREDENTIAL_LEN} bytes: leave out the root, and what is not needed"
            ),
            ChainError::Damaged(number) => write!(f, "certificate {number} is damaged"),
            ChainError::NotEd25519 => {
                f.write_str("the first certificate has to be for an Ed25519 key; those of the CAs may have any")
            }
            ChainError::Weak => f.write_str("the first certificate is for a weak key"),
            ChainError::OutOfOrder(number) => write!(
                f,
                "certificate {number} was not issued by the one that follows it: the certificate of the key comes first, then that of its issuer, and so on"
            ),
        }
    }
}
