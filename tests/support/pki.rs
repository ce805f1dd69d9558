//! Certificates of every sort for the tests: what a CA would issue, and what it should not.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign::identity::{CertificateChain, Certified, Identity};
use countersign::trust::Authority;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    PublicKeyData, RevokedCertParams, SanType, SerialNumber, SignatureAlgorithm,
};
use time::OffsetDateTime;

/// A CA: its key, what it says of itself, and its certificate.
pub struct Ca {
    pub params: CertificateParams,
    pub key: KeyPair,
    pub pem: String,
}

pub const SORTS: [&SignatureAlgorithm; 3] = [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384];
/// The tests' now, since 1970: 2027-01-15.
pub const NOW: Duration = Duration::from_secs(1_800_000_000);

static NEXT_SERIAL: AtomicU64 = AtomicU64::new(0x1234_5678_0000);

pub fn at(time: Duration) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(time.as_secs().try_into().expect("seconds")).expect("a time")
}

pub fn ca_params(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// What a leaf says: a day of validity, from an hour ago.
pub fn leaf_params(names: &[&str]) -> CertificateParams {
    let mut params = named("leaf");
    params.subject_alt_names = names
        .iter()
        .map(|name| match name.parse() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) if name.contains(':') => SanType::URI((*name).try_into().expect("a URI")),
            Err(_) => SanType::DnsName((*name).try_into().expect("a name")),
        })
        .collect();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = at(NOW - Duration::from_secs(3_600));
    params.not_after = at(NOW + Duration::from_secs(24 * 3_600));
    params
}

/// The public half of an identity.
pub struct Public<'a>(pub &'a Identity, [u8; 32]);

impl<'a> Public<'a> {
    pub fn of(identity: &'a Identity) -> Self {
        Public(identity, *identity.public_key().as_bytes())
    }
}

impl PublicKeyData for Public<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.1
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl Ca {
    pub fn root(name: &str) -> Self {
        Self::root_with(ca_params(name), &PKCS_ED25519)
    }

    pub fn root_with(params: CertificateParams, sort: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(sort).expect("a key");
        let pem = params.self_signed(&key).expect("a root").pem();
        Ca { params, key, pem }
    }

    /// A CA below this one.
    pub fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let pem = params.signed_by(&key, &self.issuer()).expect("an intermediate").pem();
        Ca { params, key, pem }
    }

    pub fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// PEM of a certificate for the key of `identity`.
    pub fn issue(&self, identity: &Identity, params: &CertificateParams) -> String {
        let mut params = params.clone();
        // Without this it would be the same for all certificates of a key.
        params.serial_number = Some(SerialNumber::from(NEXT_SERIAL.fetch_add(1, Ordering::Relaxed)));
        params.signed_by(&Public::of(identity), &self.issuer()).expect("a leaf").pem()
    }

    /// The identity with a certificate for these names.
    pub fn certify(&self, identity: Identity, names: &[&str]) -> Certified {
        let pem = self.issue(&identity, &leaf_params(names));
        Certified::new(identity, CertificateChain::from_pem(&pem).expect("a chain")).expect("the same key")
    }

    pub fn authority(&self) -> Authority {
        Authority::from_pem(&self.pem).expect("a CA")
    }

    /// A revocation list, up to date for `valid`.
    pub fn crl(&self, serials: &[&str], valid: Duration) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(unhex(serial)),
            revocation_time: at(NOW),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: at(NOW - Duration::from_secs(60)),
            next_update: at(NOW + valid),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer()).expect("a list").pem().expect("PEM")
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex")).collect()
}
