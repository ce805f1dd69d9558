//! `rotate`: our key vouches for the one that will follow it.

use std::time::{Duration, SystemTime};

use countersign::identity::SUCCESSION;
use countersign::{Identity, PeerId, PublicKey};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, Error, IsCa, Issuer, KeyUsagePurpose, PKCS_ED25519,
    PublicKeyData, SignatureAlgorithm, SigningKey,
};
use time::OffsetDateTime;

use crate::args::RotateArgs;
use crate::ca::replace;
use crate::keys::{load_identity, parse_who, print};
use crate::report::{IO, Report};

/// Makes the certificate.
pub fn run(args: &RotateArgs) -> Result<u8, Report> {
    let identity = load_identity(&args.identity, args.passphrase_file.as_deref())?;
    let PeerId::Key(next) = parse_who("--next", &args.next)? else {
        return Err(Report::usage("--next: expected a .pub file or a public line; a fingerprint is not enough"));
    };
    if next == identity.public_key() {
        return Err(Report::usage("--next: this is the present key; make another with `countersign keygen`"));
    }
    let failed = |error: Error| Report::new(IO, format!("can't make the certificate: {error}"), None);
    let chain = chain(&identity, &next, args.days).map_err(failed)?;
    replace(&args.out, chain.as_bytes(), 0o644)?;
    print(&format!(
        "{old} vouches for {new} for {days} days\n\
         from now on serve and connect with the new key and --cert {out}: whoever pinned the old key accepts it.\n\
         Within these days have your peers replace the old line by the new one: {next}\n",
        old = identity.public_key().fingerprint(),
        new = next.fingerprint(),
        days = args.days,
        out = args.out.display(),
    ))
}

/// The certificate of the next key, and one that says which key signed it.
fn chain(identity: &Identity, next: &PublicKey, days: u64) -> Result<String, Error> {
    let now = OffsetDateTime::from(SystemTime::now());
    let (begin, end) = (now - SKEW, now + Duration::from_secs(days * 24 * 3_600));
    let of = |key: &PublicKey| -> Result<CertificateParams, Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("countersign key {}", key.fingerprint()));
        (params.not_before, params.not_after) = (begin, end);
        Ok(params)
    };
    let old = Key { key: identity.public_key(), identity: Some(identity) };
    let mut root = of(&old.key)?;
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root_certificate = root.self_signed(&old)?;
    let mut leaf = of(next)?;
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.use_authority_key_identifier_extension = true;
    // extendedKeyUsage with the one purpose: SEQUENCE { OID }.
    let purpose: Vec<u8> = [&[0x30, 0x16, 0x06, 0x14], SUCCESSION.as_slice()].concat();
    leaf.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 37], purpose)];
    let leaf = leaf.signed_by(&Key { key: *next, identity: None }, &Issuer::from_params(&root, &old))?;
    Ok(format!("{}{}", leaf.pem(), root_certificate.pem()))
}

/// A key as rcgen wants it; it signs if we have its private half.
struct Key<'a> {
    key: PublicKey,
    identity: Option<&'a Identity>,
}

impl PublicKeyData for Key<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.key.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl SigningKey for Key<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signed = self.identity.and_then(|identity| identity.sign_certificate(message).ok());
        signed.map(|signature| signature.to_vec()).ok_or(Error::RemoteKeyError)
    }
}

/// Clocks of peers may be behind.
const SKEW: Duration = Duration::from_secs(300);
