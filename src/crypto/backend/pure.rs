//! Pure Rust: dalek for the curve, RustCrypto for the AEADs.

use alloc::boxed::Box;

use aes_gcm::Aes256Gcm;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use ed25519_dalek::{Signer, SigningKey};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroize;

use crate::crypto::suite::Aead;
use crate::error::Error;
use crate::limits::{SIGNATURE_LEN, TAG_LEN, X25519_LEN};
use crate::secret::Secret;

/// A private X25519 key and its share.
pub(crate) struct Agreement {
    /// Boxed, so that moves leave no copies.
    key: Box<StaticSecret>,
    share: [u8; X25519_LEN],
}

/// A private Ed25519 key; boxed, so that moves leave no copies.
pub(crate) struct Signing(Box<SigningKey>);

/// An AEAD under a key.
pub(crate) enum Cipher {
    ChaCha20Poly1305(Box<ChaCha20Poly1305>),
    Aes256Gcm(Box<Aes256Gcm>),
}

impl Agreement {
    pub(crate) fn new(secret: &Secret<X25519_LEN>) -> Result<Self, Error> {
        let mut copy = *secret.expose();
        let key = Box::new(StaticSecret::from(copy));
        copy.zeroize();
        let share = PublicKey::from(&*key).to_bytes();
        Ok(Agreement { key, share })
    }

    pub(crate) fn share(&self) -> &[u8; X25519_LEN] {
        &self.share
    }

    /// `None` if the result is zero.
    pub(crate) fn agree(&self, peer: &[u8; X25519_LEN]) -> Result<Option<Secret<X25519_LEN>>, Error> {
        let shared = self.key.diffie_hellman(&PublicKey::from(*peer));
        Ok(shared.was_contributory().then(|| Secret::take(&mut shared.to_bytes())))
    }
}

impl Signing {
    pub(crate) fn new(seed: &Secret<32>) -> Result<Self, Error> {
        Ok(Signing(Box::new(SigningKey::from_bytes(seed.expose()))))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], Error> {
        let failed = |_| Error::Internal("Ed25519 did not sign");
        self.0.try_sign(message).map(|signature| signature.to_bytes()).map_err(failed)
    }
}

impl Cipher {
    pub(crate) fn new(aead: Aead, key: &[u8; 32]) -> Result<Self, Error> {
        let key = key.into();
        Ok(match aead {
            Aead::ChaCha20Poly1305 => Cipher::ChaCha20Poly1305(Box::new(ChaCha20Poly1305::new(key))),
            Aead::Aes256Gcm => Cipher::Aes256Gcm(Box::new(Aes256Gcm::new(key))),
        })
    }

    pub(crate) fn seal(&self, nonce: [u8; 12], ad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_LEN], Error> {
        let nonce = &nonce.into();
        let tag = match self {
            Cipher::ChaCha20Poly1305(cipher) => cipher.encrypt_inout_detached(nonce, ad, text.into()),
            Cipher::Aes256Gcm(cipher) => cipher.encrypt_inout_detached(nonce, ad, text.into()),
        };
        tag.map(Into::into).map_err(|_| Error::Internal("the AEAD refused a text within its limits"))
    }

    /// `sealed` ends with the tag.
    pub(crate) fn open(&self, nonce: [u8; 12], ad: &[u8], sealed: &mut [u8]) -> bool {
        let Some((text, tag)) = sealed.split_last_chunk_mut::<TAG_LEN>() else { return false };
        let (nonce, tag) = (&nonce.into(), &(*tag).into());
        match self {
            Cipher::ChaCha20Poly1305(cipher) => cipher.decrypt_inout_detached(nonce, ad, text.into(), tag),
            Cipher::Aes256Gcm(cipher) => cipher.decrypt_inout_detached(nonce, ad, text.into(), tag),
        }
        .is_ok()
    }
}
