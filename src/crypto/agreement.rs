//! Ephemeral X25519 (RFC 7748), consumed on use. A secret of zero is refused.

use rand_core::TryCryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::error::{Error, Untrusted};
use crate::limits::{NONCE_LEN, X25519_LEN};
use crate::secret::Secret;

/// A private share, good for one agreement.
pub struct Ephemeral {
    secret: StaticSecret,
    share: [u8; X25519_LEN],
}

/// What both sides have computed.
#[derive(Debug)]
pub struct SharedSecret(Secret<X25519_LEN>);

impl Ephemeral {
    /// Draws 32 bytes.
    ///
    /// # Errors
    /// [`Error::Entropy`].
    pub fn generate(rng: &mut impl TryCryptoRng) -> Result<Self, Error> {
        let drawn = Secret::fill(|bytes| rng.try_fill_bytes(bytes)).map_err(|_| Error::Entropy)?;
        Ok(Self::from_secret(&drawn))
    }

    /// The share of 32 bytes that were drawn before.
    pub fn from_secret(drawn: &Secret<X25519_LEN>) -> Self {
        let secret = StaticSecret::from(*drawn.expose());
        let share = PublicKey::from(&secret).to_bytes();
        Ephemeral { secret, share }
    }

    /// The public share.
    pub fn share(&self) -> &[u8; X25519_LEN] {
        &self.share
    }

    /// Agrees with the peer's share.
    ///
    /// # Errors
    /// [`Untrusted::ZeroSecret`] if the result is zero.
    pub fn agree(self, peer_share: &[u8; X25519_LEN]) -> Result<SharedSecret, Error> {
        let shared = self.secret.diffie_hellman(&PublicKey::from(*peer_share));
        // [HS-6] [HS-10]
        if !shared.was_contributory() {
            return Err(Error::Untrusted(Untrusted::ZeroSecret));
        }
        Ok(SharedSecret(Secret::take(&mut shared.to_bytes())))
    }
}

impl SharedSecret {
    /// The bytes, for the key schedule.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
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
