//! The certificate and the secret key of a CA, and what it signs.

use std::path::Path;

use countersign::PublicKey;
use rcgen::{
    CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, RevokedCertParams, SerialNumber, SignatureAlgorithm,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

use super::certificate::{Parsed, Serial, pem};
use super::directory::{CERTIFICATE, Directory, KEY};
use super::files;
use super::moment::Moment;
use super::names::AltName;
use crate::report::{IO, Report};

/// A CA that can sign.
pub struct Authority {
    certificate: Parsed,
    /// Certificates between this one and a root, which peers need as well.
    between: Vec<Parsed>,
    key: Zeroizing<KeyPair>,
}

/// What a new certificate says.
pub struct Leaf {
    pub serial: Serial,
    pub key: PublicKey,
    pub common_name: String,
    pub names: Vec<AltName>,
    pub not_before: Moment,
    pub not_after: Moment,
}

impl Authority {
    pub fn load(directory: &Directory) -> Result<Self, Report> {
        let path = directory.file(CERTIFICATE);
        let mut chain = Parsed::read_chain(&path)?.into_iter();
        let not = |why: &str| Report::new(IO, format!("{}: {why}", path.display()), None);
        let certificate = chain.next().ok_or_else(|| not("no certificate"))?;
        if !certificate.is_ca() {
            return Err(not("not the certificate of a CA"));
        }
        let key = read_key(&directory.file(KEY))?;
        if certificate.key_info() != Some(key.subject_public_key_info()) {
            return Err(not("it does not belong to the secret key in ca.key"));
        }
        let between = chain.filter(|certificate| certificate.subject() != certificate.issuer()).collect();
        Ok(Authority { certificate, between, key })
    }

    pub fn certificate(&self) -> &Parsed {
        &self.certificate
    }

    /// A certificate, and the chain that its holder shows: everything but the root, which peers have.
    pub fn issue(&self, leaf: &Leaf) -> Result<(Parsed, String), Report> {
        let mut params = CertificateParams::default();
        params.not_before = leaf.not_before.to_date()?;
        params.not_after = leaf.not_after.to_date()?;
        params.serial_number = Some(SerialNumber::from_slice(leaf.serial.bytes()));
        params.subject_alt_names = leaf.names.iter().map(AltName::to_san).collect::<Result<_, _>>()?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, leaf.common_name.as_str());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(&LeafKey(leaf.key), &self.issuer()?).map_err(not_signed)?;
        let certificate = Parsed::new(signed.into()).map_err(|why| Report::new(IO, why, None))?;
        let mut chain = certificate.pem();
        if self.certificate.subject() != self.certificate.issuer() {
            chain.push_str(&self.certificate.pem());
        }
        self.between.iter().for_each(|certificate| chain.push_str(&certificate.pem()));
        Ok((certificate, chain))
    }

    /// A revocation list in PEM.
    pub fn revocation_list(
        &self,
        number: u64,
        revoked_certs: Vec<RevokedCertParams>,
        this_update: Moment,
        next_update: Moment,
    ) -> Result<String, Report> {
        let identifier = self.certificate.key_identifier();
        let params = CertificateRevocationListParams {
            this_update: this_update.to_date()?,
            next_update: next_update.to_date()?,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: identifier.map_or(KeyIdMethod::Sha256, KeyIdMethod::PreSpecified),
        };
        let list = params.signed_by(&self.issuer()?).map_err(not_signed)?;
        Ok(pem("X509 CRL", list.der()))
    }

    fn issuer(&self) -> Result<Issuer<'static, &KeyPair>, Report> {
        Issuer::from_ca_cert_der(self.certificate.der(), &*self.key).map_err(not_signed)
    }
}

/// Loads a secret key; others may not be able to read it.
pub fn read_key(path: &Path) -> Result<Zeroizing<KeyPair>, Report> {
    files::check_secret(path)?;
    let content = files::read(path)?;
    parse_key(&content).map_err(|(why, hint)| Report::new(IO, format!("{}: {why}", path.display()), Some(hint)))
}

fn parse_key(content: &[u8]) -> Result<Zeroizing<KeyPair>, (&'static str, &'static str)> {
    let text = std::str::from_utf8(content).unwrap_or_default();
    let has = |label: &str| text.contains(&format!("-----BEGIN {label}-----"));
    if has("ENCRYPTED PRIVATE KEY") {
        return Err(("the key is encrypted", "decrypt it with `openssl pkcs8 -in KEY -out NEW`"));
    }
    if has("EC PRIVATE KEY") || has("RSA PRIVATE KEY") {
        let hint = "convert it with `openssl pkcs8 -topk8 -nocrypt -in KEY -out NEW`";
        return Err(("expected a PKCS#8 key, and found one in an older format", hint));
    }
    if has("OPENSSH PRIVATE KEY") {
        return Err(("expected a PKCS#8 key, and found one of OpenSSH", MAKE_KEY));
    }
    let der = PrivatePkcs8KeyDer::from_pem_slice(content)
        .map_err(|_| ("expected a PKCS#8 key in PEM, `-----BEGIN PRIVATE KEY-----`, and found none", MAKE_KEY))?;
    let der = Zeroizing::new(der);
    let key = KeyPair::try_from(der.secret_pkcs8_der());
    key.map(Zeroizing::new)
        .map_err(|_| ("neither Ed25519, ECDSA P-256 or P-384, nor RSA of 2048 to 4096 bits", MAKE_KEY))
}

fn not_signed(error: rcgen::Error) -> Report {
    Report::new(IO, format!("the CA could not sign: {error}"), None)
}

/// An Ed25519 key of somebody else.
struct LeafKey(PublicKey);

impl PublicKeyData for LeafKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

const MAKE_KEY: &str = "make one with `openssl genpkey -algorithm ed25519 -out KEY`";
