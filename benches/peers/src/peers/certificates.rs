//! Ed25519 keys and certificates for TLS.

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ED25519, PublicKeyData};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// One side: its key, and both forms of what it presents.
pub struct Holder {
    key: Vec<u8>,
    /// The end entity's certificate, which the authority has signed.
    pub certificate: CertificateDer<'static>,
    /// SubjectPublicKeyInfo.
    pub raw: CertificateDer<'static>,
    /// Who has signed it.
    pub authority: CertificateDer<'static>,
}

/// Two sides with certificates of one authority.
pub fn two() -> Result<[Holder; 2]> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ED25519)?)?;
    let holder = || -> Result<Holder> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let certificate = CertificateParams::new([NAME.to_owned()])?.signed_by(&key, &authority)?;
        Ok(Holder {
            key: key.serialize_der(),
            certificate: certificate.der().clone(),
            raw: CertificateDer::from(key.subject_public_key_info()),
            authority: authority.der().clone(),
        })
    };
    Ok([holder()?, holder()?])
}

impl Holder {
    /// The private key.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }
}

/// The name in every certificate.
pub const NAME: &str = "localhost";
