//! AWS-LC, by aws-lc-rs.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::signature::Ed25519KeyPair;

use crate::crypto::suite::Aead;
use crate::error::Error;
use crate::limits::{SIGNATURE_LEN, TAG_LEN, X25519_LEN};
use crate::secret::Secret;

/// A private X25519 key and its share.
pub(crate) struct Agreement {
    key: PrivateKey,
    share: [u8; X25519_LEN],
}

/// A private Ed25519 key.
pub(crate) struct Signing(Ed25519KeyPair);

/// An AEAD under a key, which is on the heap of AWS-LC.
pub(crate) struct Cipher(LessSafeKey);

impl Agreement {
    pub(crate) fn new(secret: &Secret<X25519_LEN>) -> Result<Self, Error> {
        let failed = Error::Internal("X25519 refused a private key");
        let key = PrivateKey::from_private_key(&X25519, secret.expose()).map_err(|_| failed.clone())?;
        let public = key.compute_public_key().map_err(|_| failed.clone())?;
        let share = public.as_ref().try_into().map_err(|_| failed)?;
        Ok(Agreement { key, share })
    }

    pub(crate) fn share(&self) -> &[u8; X25519_LEN] {
        &self.share
    }

    /// `None` if the result is zero.
    pub(crate) fn agree(&self, peer: &[u8; X25519_LEN]) -> Result<Option<Secret<X25519_LEN>>, Error> {
        // AWS-LC fails for zero, and for nothing else at this length.
        Ok(agreement::agree(&self.key, UnparsedPublicKey::new(&X25519, peer), (), |shared| {
            Secret::fill(|out| {
                out.copy_from_slice(shared.get(..X25519_LEN).ok_or(())?);
                Ok(())
            })
        })
        .ok())
    }
}

impl Signing {
    pub(crate) fn new(seed: &Secret<32>) -> Result<Self, Error> {
        let failed = |_| Error::Internal("Ed25519 refused a seed");
        Ed25519KeyPair::from_seed_unchecked(seed.expose()).map(Signing).map_err(failed)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], Error> {
        let failed = Error::Internal("Ed25519 did not sign");
        let signature = self.0.try_sign(message).map_err(|_| failed.clone())?;
        signature.as_ref().try_into().map_err(|_| failed)
    }
}

impl Cipher {
    pub(crate) fn new(aead: Aead, key: &[u8; 32]) -> Result<Self, Error> {
        let algorithm = match aead {
            Aead::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Aead::Aes256Gcm => &AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| Error::Internal("the AEAD refused a key"))?;
        Ok(Cipher(LessSafeKey::new(key)))
    }

    pub(crate) fn seal(&self, nonce: [u8; 12], ad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_LEN], Error> {
        let failed = Error::Internal("the AEAD refused a text within its limits");
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(ad), text).map_err(|_| failed.clone())?;
        tag.as_ref().try_into().map_err(|_| failed)
    }

    /// `sealed` ends with the tag.
    pub(crate) fn open(&self, nonce: [u8; 12], ad: &[u8], sealed: &mut [u8]) -> bool {
        self.0.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(ad), sealed).is_ok()
    }
}
