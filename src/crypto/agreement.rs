//! Ephemeral key agreement: X25519 (RFC 7748), alone or with ML-KEM-768 (FIPS 203). A secret of zero is refused.

use alloc::vec::Vec;
use core::fmt;

use libcrux_ml_kem::mlkem768::{self, MlKem768Ciphertext, MlKem768PrivateKey, MlKem768PublicKey};
use rand_core::TryCryptoRng;
use zeroize::Zeroize;

use crate::crypto::backend::Agreement;
use crate::error::{Error, Malformed, Untrusted};
use crate::limits::{MLKEM_CIPHERTEXT_LEN, MLKEM_KEY_LEN, NONCE_LEN, X25519_LEN};
use crate::secret::Secret;

/// A private X25519 share.
pub struct X25519Share(Agreement);

/// The private half of an ML-KEM-768 share, and the encapsulation key.
pub struct MlKemShare {
    private: Secret<MLKEM_PRIVATE_LEN>,
    key: Vec<u8>,
}

/// What both sides have computed; wiped.
pub struct SharedSecret(Vec<u8>);

impl X25519Share {
    /// Draws 32 bytes.
    ///
    /// # Errors
    /// [`Error::Entropy`].
    pub fn generate(rng: &mut impl TryCryptoRng) -> Result<Self, Error> {
        Self::from_secret(&Secret::fill(|bytes| rng.try_fill_bytes(bytes)).map_err(|_| Error::Entropy)?)
    }

    /// The share of 32 bytes that were drawn before.
    ///
    /// # Errors
    /// [`Error::Internal`] if the backend fails.
    pub fn from_secret(drawn: &Secret<X25519_LEN>) -> Result<Self, Error> {
        Agreement::new(drawn).map(X25519Share)
    }

    /// The public share.
    pub fn share(&self) -> &[u8; X25519_LEN] {
        self.0.share()
    }

    /// Agrees with the peer's share.
    ///
    /// # Errors
    /// [`Untrusted::ZeroSecret`] if the result is zero.
    pub fn agree(&self, peer_share: &[u8; X25519_LEN]) -> Result<Secret<X25519_LEN>, Error> {
        // [HS-6] [HS-10] [RK-5] [RK-6]
        self.0.agree(peer_share)?.ok_or(Error::Untrusted(Untrusted::ZeroSecret))
    }
}

impl MlKemShare {
    /// Draws 64 bytes, `d` and `z`.
    ///
    /// # Errors
    /// [`Error::Entropy`].
    pub fn generate(rng: &mut impl TryCryptoRng) -> Result<Self, Error> {
        let seed = Secret::<MLKEM_SEED_LEN>::fill(|bytes| rng.try_fill_bytes(bytes)).map_err(|_| Error::Entropy)?;
        let mut copy = *seed.expose();
        let (private, key) = mlkem768::generate_key_pair(copy).into_parts();
        copy.zeroize();
        Ok(MlKemShare { private: Secret::take(&mut private.into()), key: key.as_slice().to_vec() })
    }

    /// The encapsulation key, 1,184 bytes.
    pub fn share(&self) -> &[u8] {
        &self.key
    }

    /// `Decaps`. A wrong ciphertext gives another secret (implicit rejection), never an error.
    pub fn decapsulate(self, ciphertext: &[u8; MLKEM_CIPHERTEXT_LEN]) -> Secret<32> {
        let private = MlKem768PrivateKey::from(self.private.expose());
        let mut secret = mlkem768::decapsulate(&private, &MlKem768Ciphertext::from(ciphertext));
        // The crate wipes nothing itself.
        let mut copy: [u8; MLKEM_PRIVATE_LEN] = private.into();
        copy.zeroize();
        Secret::take(&mut secret)
    }
}

/// `Encaps(ek, m)`, after the check of the key: the ciphertext and the secret.
///
/// # Errors
/// [`Malformed::Field`] if the key is not one (FIPS 203, section 7.2).
pub fn encapsulate(
    key: &[u8; MLKEM_KEY_LEN],
    drawn: &Secret<32>,
) -> Result<([u8; MLKEM_CIPHERTEXT_LEN], Secret<32>), Error> {
    let key = MlKem768PublicKey::from(key);
    // [HS-27]
    if !mlkem768::validate_public_key(&key) {
        return Err(Error::Malformed(Malformed::Field("ML-KEM-768 encapsulation key")));
    }
    let mut copy = *drawn.expose();
    let (ciphertext, mut secret) = mlkem768::encapsulate(&key, copy);
    copy.zeroize();
    Ok((ciphertext.into(), Secret::take(&mut secret)))
}

impl SharedSecret {
    /// Of X25519 alone, or of ML-KEM-768 followed by X25519.
    pub fn new(mlkem: Option<Secret<32>>, x25519: &Secret<X25519_LEN>) -> Self {
        let mut bytes = Vec::with_capacity(64);
        if let Some(secret) = mlkem {
            bytes.extend_from_slice(secret.expose());
        }
        bytes.extend_from_slice(x25519.expose());
        SharedSecret(bytes)
    }

    /// The bytes, for the key schedule.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for SharedSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Draws a challenge.
///
/// # Errors
/// [`Error::Entropy`].
pub fn nonce(rng: &mut impl TryCryptoRng) -> Result<[u8; NONCE_LEN], Error> {
    let mut nonce = [0; NONCE_LEN];
    rng.try_fill_bytes(&mut nonce).map_err(|_| Error::Entropy)?;
    Ok(nonce)
}

impl fmt::Debug for X25519Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("X25519Share")
    }
}

impl fmt::Debug for MlKemShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MlKemShare")
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret")
    }
}

const MLKEM_SEED_LEN: usize = 64;
const MLKEM_PRIVATE_LEN: usize = 2_400;
