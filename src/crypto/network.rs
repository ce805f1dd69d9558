//! The network key, a secret of a whole network (specification, section 8.6).

use alloc::sync::Arc;
use core::fmt;

use rand_core::TryCryptoRng;

use crate::error::{Error, Misuse};
use crate::limits::NETWORK_KEY_LEN;
use crate::secret::Secret;

/// A network key, 32 random bytes. Cheap to clone; wiped when the last clone is dropped.
#[derive(Clone)]
pub struct NetworkKey(Arc<Secret<NETWORK_KEY_LEN>>);

impl NetworkKey {
    /// Draws 32 bytes.
    ///
    /// # Errors
    /// [`Error::Entropy`].
    pub fn generate_with(rng: &mut impl TryCryptoRng) -> Result<Self, Error> {
        Secret::fill(|bytes| rng.try_fill_bytes(bytes)).map(|key| NetworkKey(Arc::new(key))).map_err(|_| Error::Entropy)
    }

    /// Takes 32 random bytes over and wipes the place they came from.
    ///
    /// # Errors
    /// [`Misuse::NetworkKey`] if they are all zero.
    pub fn take(bytes: &mut [u8; NETWORK_KEY_LEN]) -> Result<Self, Error> {
        // [NK-6]
        if bytes.iter().fold(0, |any, byte| any | byte) == 0 {
            return Err(Error::Misuse(Misuse::NetworkKey));
        }
        Ok(NetworkKey(Arc::new(Secret::take(bytes))))
    }

    /// The bytes, for writing a file.
    pub fn expose(&self) -> &[u8; NETWORK_KEY_LEN] {
        self.0.expose()
    }
}

impl fmt::Debug for NetworkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NetworkKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // [NK-6] Zeros would be the same as no key at all.
    #[test]
    fn a_key_is_not_zero_and_not_printed() {
        assert!(NetworkKey::take(&mut [0; 32]).is_err());
        let key = NetworkKey::take(&mut [0x41; 32]).unwrap();
        assert_eq!(std::format!("{key:?}"), "NetworkKey");
    }
}
