//! Whoever signs for us: a key in this process, or one elsewhere.

use core::fmt;
use core::future::Future;
use core::pin::Pin;

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;

use crate::crypto::signature::{PublicKey, SignatureInput};
use crate::identity::{Credential, Identity};
use crate::limits::SIGNATURE_LEN;

/// Signs for our identity. The key may be in another process, in an ssh-agent or in an HSM: signing is asynchronous and may fail.
pub trait Signer: Send + Sync {
    /// The public key that the signatures are by.
    fn public_key(&self) -> PublicKey;

    /// What is presented: the public key itself, unless there is a certificate for it.
    fn credential(&self) -> Credential {
        Credential::RawKey(self.public_key())
    }

    /// Who signs in a handshake that begins now, where that changes, as when key and certificate are renewed while the program runs; `None` if it is always
    /// this one. A handshake uses one signer from beginning to end.
    fn current(&self) -> Option<Arc<dyn Signer>> {
        None
    }

    /// Signs `input.as_bytes()` with Ed25519 (RFC 8032). The future may be dropped before it ends, when the handshake's deadline comes first.
    fn sign<'a>(&'a self, input: &'a SignatureInput) -> SignFuture<'a>;
}

/// The future of a signature.
pub type SignFuture<'a> = Pin<Box<dyn Future<Output = Result<[u8; SIGNATURE_LEN], SignerError>> + Send + 'a>>;

/// Why a signer did not sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerError(Box<str>);

impl SignerError {
    /// An error with a text for people.
    pub fn new(why: impl fmt::Display) -> Self {
        SignerError(why.to_string().into())
    }

    pub(crate) fn into_text(self) -> Box<str> {
        self.0
    }
}

impl Signer for Identity {
    fn public_key(&self) -> PublicKey {
        Identity::public_key(self)
    }

    fn sign<'a>(&'a self, input: &'a SignatureInput) -> SignFuture<'a> {
        Box::pin(core::future::ready(Identity::sign(self, input).map_err(SignerError::new)))
    }
}

impl<S: Signer + ?Sized> Signer for Arc<S> {
    fn public_key(&self) -> PublicKey {
        (**self).public_key()
    }

    fn credential(&self) -> Credential {
        (**self).credential()
    }

    fn current(&self) -> Option<Arc<dyn Signer>> {
        (**self).current()
    }

    fn sign<'a>(&'a self, input: &'a SignatureInput) -> SignFuture<'a> {
        (**self).sign(input)
    }
}

impl fmt::Debug for dyn Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.public_key().fingerprint())
    }
}

impl core::error::Error for SignerError {}

impl fmt::Display for SignerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
