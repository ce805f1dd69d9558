//! Who we are and who the peer is: Ed25519 keys, their text forms and files (specification, section 7).

#[cfg(all(feature = "agent", unix))]
mod agent;
#[cfg(feature = "x509")]
mod certified;
mod credential;
#[cfg(feature = "std")]
mod file;
mod name;
mod signer;
mod text;
#[cfg(feature = "x509")]
mod x509;

use core::fmt;

use alloc::string::String;

use rand_core::TryCryptoRng;

use crate::crypto::signature::{PrivateKey, SignatureInput};
use crate::error::Error;
use crate::limits::SIGNATURE_LEN;
use crate::secret::Secret;

pub use crate::crypto::signature::PublicKey;
#[cfg(all(feature = "agent", unix))]
pub use agent::{AgentError, AgentSigner};
#[cfg(feature = "x509")]
pub use certified::{Certified, OtherKeyError};
pub use credential::{Credential, Peer};
#[cfg(feature = "std")]
pub use file::{KeyFileError, create_file, read_network_key, save_network_key};
pub use name::{Name, ParseNameError};
pub use signer::{SignFuture, Signer, SignerError};
pub use text::{Fingerprint, ParseKeyError, PeerId, parse_line};
#[cfg(feature = "x509")]
pub use x509::{CertificateChain, ChainError, SUCCESSION};
#[cfg(feature = "x509")]
pub(crate) use x509::{ED25519_KEY_INFO, Facts};

/// Our long-term key. The public half is always computed from the private one.
pub struct Identity {
    private: PrivateKey,
    public: PublicKey,
    comment: String,
}

impl Identity {
    /// Makes a new identity from the randomness of the operating system.
    ///
    /// # Errors
    /// [`Error::Entropy`] if there is none.
    #[cfg(feature = "std")]
    pub fn generate() -> Result<Self, Error> {
        Self::generate_with(&mut getrandom::SysRng)
    }

    /// Makes a new identity from 32 bytes of `rng`.
    ///
    /// # Errors
    /// [`Error::Entropy`] if `rng` fails.
    pub fn generate_with(rng: &mut impl TryCryptoRng) -> Result<Self, Error> {
        PrivateKey::generate(rng).map(|key| Self::new(key, String::new()))
    }

    /// The identity of a 32-byte seed, which is wiped (RFC 8032, section 5.1.5). For seeds that a key store derived.
    ///
    /// # Errors
    /// [`Error::Internal`] if the backend fails.
    pub fn from_seed(seed: &mut [u8; 32]) -> Result<Self, Error> {
        PrivateKey::from_seed(Secret::take(seed)).map(|key| Self::new(key, String::new()))
    }

    /// The same identity with a comment, which stands in the files written from it. Line ends become spaces.
    #[must_use]
    pub fn with_comment(mut self, comment: &str) -> Self {
        self.comment = comment.replace(char::is_control, " ");
        self
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// The comment of the key file, or an empty text.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// Signs. Nothing but a [`SignatureInput`] can be signed.
    ///
    /// # Errors
    /// [`Error::Internal`] if the backend fails.
    pub fn sign(&self, input: &SignatureInput) -> Result<[u8; SIGNATURE_LEN], Error> {
        self.private.sign(input)
    }

    /// Signs what a certificate says (a TBSCertificate in DER, RFC 5280, section 4.1): for a key that is a CA, or that vouches for the next one.
    ///
    /// # Errors
    /// [`Error::Misuse`] for anything that is not one: then it could be mistaken for something else that this key signs.
    #[cfg(feature = "x509")]
    pub fn sign_certificate(&self, tbs: &[u8]) -> Result<[u8; SIGNATURE_LEN], Error> {
        if !x509::is_tbs(tbs) {
            return Err(Error::Misuse(crate::error::Misuse::NotACertificate));
        }
        self.private.sign_bytes(tbs)
    }

    fn new(private: PrivateKey, comment: String) -> Self {
        let public = private.public_key();
        Identity { private, public, comment }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.public.fingerprint())
    }
}
