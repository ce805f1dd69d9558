//! What stands in a certificate that this CA made, or in its own.

use std::fmt;
use std::path::Path;

use countersign::PublicKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::DirectoryString;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName, SubjectKeyIdentifier};
use x509_cert::name::Name;
use x509_cert::spki::{ObjectIdentifier, SubjectPublicKeyInfoOwned};

use super::moment::Moment;
use super::names::AltName;
use super::{files, fill_random, hex};
use crate::report::{IO, Report};

/// The number of a certificate: 16 bytes of which 126 bits are random. Its text is lower-case hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Serial([u8; 16]);

impl Serial {
    pub fn random() -> Result<Self, Report> {
        let mut bytes = [0; 16];
        fill_random(&mut bytes)?;
        // Positive, and of the same length always.
        if let Some(first) = bytes.first_mut() {
            *first = *first & 0x3F | 0x40;
        }
        Ok(Serial(bytes))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads hex digits as we and others print them: in upper or lower case, with or without colons.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        let mut bytes = Vec::new();
        for pair in digits.chunks(2) {
            let [high, low] = pair else { return None };
            bytes.push(nibble(*high)? << 4 | nibble(*low)?);
        }
        bytes.try_into().ok().map(Serial)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// A certificate that was parsed.
pub struct Parsed {
    der: CertificateDer<'static>,
    certificate: Certificate,
}

impl Parsed {
    pub fn new(der: CertificateDer<'static>) -> Result<Self, String> {
        let certificate = Certificate::from_der(&der).map_err(|error| format!("not a certificate: {error}"))?;
        Ok(Parsed { der, certificate })
    }

    /// All certificates of a PEM file; at least one.
    pub fn read_chain(path: &Path) -> Result<Vec<Self>, Report> {
        let not = |why: String| Report::new(IO, format!("{}: {why}", path.display()), None);
        let content = files::read(path)?;
        let mut chain = Vec::new();
        for der in CertificateDer::pem_slice_iter(&content) {
            let der = der.map_err(|_| not("the PEM of a certificate is damaged".to_string()))?;
            chain.push(Parsed::new(der).map_err(not)?);
        }
        if chain.is_empty() {
            return Err(
                not("expected a certificate in PEM, `-----BEGIN CERTIFICATE-----`, and found none".to_string()),
            );
        }
        Ok(chain)
    }

    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    /// Its number, if it is one that this program gives.
    pub fn serial(&self) -> Option<Serial> {
        let bytes = self.certificate.tbs_certificate().serial_number().as_bytes();
        bytes.try_into().ok().map(Serial)
    }

    pub fn subject(&self) -> &Name {
        self.certificate.tbs_certificate().subject()
    }

    pub fn issuer(&self) -> &Name {
        self.certificate.tbs_certificate().issuer()
    }

    /// The common name, for people.
    pub fn common_name(&self) -> String {
        match self.subject().common_name() {
            Ok(Some(DirectoryString::Utf8String(name))) => name,
            Ok(Some(DirectoryString::PrintableString(name))) => name.to_string(),
            _ => String::new(),
        }
    }

    pub fn not_before(&self) -> Moment {
        Moment::from_seconds(self.certificate.tbs_certificate().validity().not_before.to_unix_duration().as_secs())
    }

    pub fn not_after(&self) -> Moment {
        Moment::from_seconds(self.certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
    }

    pub fn names(&self) -> Result<Vec<AltName>, String> {
        let names = self.certificate.tbs_certificate().get_extension::<SubjectAltName>();
        let names = names.map_err(|error| format!("its names do not parse: {error}"))?;
        names.iter().flat_map(|(_, names)| names.0.iter()).map(AltName::from_general).collect()
    }

    pub fn key(&self) -> Result<PublicKey, String> {
        ed25519_key(self.certificate.tbs_certificate().subject_public_key_info())
    }

    /// The whole public key with its algorithm, to be compared.
    pub fn key_info(&self) -> Option<Vec<u8>> {
        self.certificate.tbs_certificate().subject_public_key_info().to_der().ok()
    }

    pub fn key_identifier(&self) -> Option<Vec<u8>> {
        let identifier = self.certificate.tbs_certificate().get_extension::<SubjectKeyIdentifier>().ok()??;
        Some(identifier.1.0.as_bytes().to_vec())
    }

    pub fn is_ca(&self) -> bool {
        let constraints = self.certificate.tbs_certificate().get_extension::<BasicConstraints>();
        matches!(constraints, Ok(Some((_, BasicConstraints { ca: true, .. }))))
    }
}

/// The Ed25519 key in a certificate or a request.
pub fn ed25519_key(info: &SubjectPublicKeyInfoOwned) -> Result<PublicKey, String> {
    if info.algorithm.oid != ED25519 {
        let found = match info.algorithm.oid {
            RSA => "RSA".to_string(),
            EC => "ECDSA".to_string(),
            other => format!("of the type {other}"),
        };
        return Err(format!("its key is {found}: expected an Ed25519 key"));
    }
    let bytes = info.subject_public_key.as_bytes().and_then(|bytes| <&[u8; 32]>::try_from(bytes).ok());
    let bytes = bytes.ok_or("an Ed25519 key has 32 bytes, and this one has not")?;
    PublicKey::from_bytes(bytes).map_err(|error| format!("its key is refused: {error}"))
}

/// PEM with lines of 64 characters.
pub fn pem(label: &str, der: &[u8]) -> String {
    use base64ct::{Base64, Encoding};
    let base64 = Base64::encode_string(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = base64.as_str();
    while let Some((line, more)) = rest.split_at_checked(64) {
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    if !rest.is_empty() {
        text.push_str(rest);
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

pub const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
