//! A key with a certificate for it.

use std::fmt;
use std::sync::Arc;

use crate::crypto::signature::{PublicKey, SignatureInput};
use crate::identity::{CertificateChain, Credential, SignFuture, Signer};

/// Signs with a key, and presents a certificate chain for it instead of the key alone.
#[derive(Debug)]
pub struct Certified {
    signer: Arc<dyn Signer>,
    chain: CertificateChain,
}

/// The certificate is for another key than ours; both are fingerprints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherKeyError {
    /// The key that the certificate is for.
    pub certified: String,
    /// Our key.
    pub own: String,
}

impl Certified {
    /// Presents `chain` for the key of `signer`.
    ///
    /// # Errors
    /// [`OtherKeyError`] if the certificate is for another key.
    pub fn new(signer: impl Signer + 'static, chain: CertificateChain) -> Result<Self, OtherKeyError> {
        // The certificate is for the key of now, whatever comes later.
        let signer = signer.current().unwrap_or_else(|| Arc::new(signer));
        let own = signer.public_key();
        if own != *chain.public_key() {
            let certified = chain.public_key().fingerprint().to_string();
            return Err(OtherKeyError { certified, own: own.fingerprint().to_string() });
        }
        Ok(Certified { signer, chain })
    }

    /// The chain.
    pub fn chain(&self) -> &CertificateChain {
        &self.chain
    }
}

impl Signer for Certified {
    fn public_key(&self) -> PublicKey {
        *self.chain.public_key()
    }

    fn credential(&self) -> Credential {
        Credential::X509(self.chain.clone())
    }

    fn sign<'a>(&'a self, input: &'a SignatureInput) -> SignFuture<'a> {
        self.signer.sign(input)
    }
}

impl std::error::Error for OtherKeyError {}

impl fmt::Display for OtherKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate is for the key {}, and our key is {}", self.certified, self.own)
    }
}
