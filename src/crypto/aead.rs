//! ChaCha20-Poly1305 (RFC 8439) whose nonce belongs to the key: key, iv and counter are one value that can't be cloned.

use alloc::boxed::Box;
use core::fmt;

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};

use crate::error::{Error, Sealed};
use crate::limits::{MAX_RECORDS, TAG_LEN};
use crate::secret::Secret;

/// Seals what this side sends.
pub struct SealingKey(Keyed);

/// Opens what the peer sends.
pub struct OpeningKey(Keyed);

struct Keyed {
    cipher: Box<ChaCha20Poly1305>,
    iv: Secret<12>,
    counter: u64,
}

impl SealingKey {
    /// A key whose counter is at 0.
    pub fn new(key: &Secret<32>, iv: Secret<12>) -> Self {
        SealingKey(Keyed::new(key, iv, 0))
    }

    /// A key whose counter is elsewhere, for test vectors. Sealing twice at one counter gives the plaintexts away.
    pub fn dangerous_at(key: &Secret<32>, iv: Secret<12>, counter: u64) -> Self {
        SealingKey(Keyed::new(key, iv, counter))
    }

    /// Encrypts `text` in place and returns the tag.
    ///
    /// # Errors
    /// [`Error::Exhausted`] when the counter is at its limit.
    pub fn seal(&mut self, ad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_LEN], Error> {
        let nonce = self.0.next_nonce()?;
        let tag = self.0.cipher.encrypt_inout_detached(&nonce.into(), ad, text.into());
        tag.map(Into::into).map_err(|_| Error::Internal("the AEAD refused a text within its limits"))
    }

    /// How many have been sealed.
    pub fn counter(&self) -> u64 {
        self.0.counter
    }
}

impl OpeningKey {
    /// A key whose counter is at 0.
    pub fn new(key: &Secret<32>, iv: Secret<12>) -> Self {
        OpeningKey(Keyed::new(key, iv, 0))
    }

    /// A key whose counter is elsewhere, for test vectors.
    pub fn dangerous_at(key: &Secret<32>, iv: Secret<12>, counter: u64) -> Self {
        OpeningKey(Keyed::new(key, iv, counter))
    }

    /// Decrypts `sealed` in place and returns the plaintext, which is what precedes the tag.
    ///
    /// # Errors
    /// [`Error::Tampered`] if it does not open, [`Error::Exhausted`] when the counter is at its limit.
    pub fn open<'a>(&mut self, ad: &[u8], sealed: &'a mut [u8], what: Sealed) -> Result<&'a mut [u8], Error> {
        let nonce = self.0.next_nonce()?;
        let (text, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(Error::Tampered(what))?;
        let tag = &(*tag).into();
        self.0
            .cipher
            .decrypt_inout_detached(&nonce.into(), ad, (&mut *text).into(), tag)
            .map_err(|_| Error::Tampered(what))?;
        Ok(text)
    }

    /// How many have been opened.
    pub fn counter(&self) -> u64 {
        self.0.counter
    }
}

impl Keyed {
    fn new(key: &Secret<32>, iv: Secret<12>, counter: u64) -> Self {
        Keyed { cipher: Box::new(ChaCha20Poly1305::new(key.expose().into())), iv, counter }
    }

    /// iv xor (zeros(4) || u64(counter)); counts first, so that no nonce can come twice.
    fn next_nonce(&mut self) -> Result<[u8; 12], Error> {
        // [RE-2]
        if self.counter >= MAX_RECORDS {
            return Err(Error::Exhausted);
        }
        let mut nonce = *self.iv.expose();
        let counter = self.counter.to_be_bytes();
        nonce.iter_mut().skip(4).zip(counter).for_each(|(byte, count)| *byte ^= count);
        self.counter += 1;
        Ok(nonce)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey(counter: {})", self.0.counter)
    }
}

impl fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpeningKey(counter: {})", self.0.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(counter: u64) -> (SealingKey, OpeningKey) {
        let key = Secret::take(&mut [1; 32]);
        let sealing = SealingKey::dangerous_at(&key, Secret::take(&mut [2; 12]), counter);
        (sealing, OpeningKey::dangerous_at(&key, Secret::take(&mut [2; 12]), counter))
    }

    // [RE-2] The last record that a counter allows works; the next is refused on both sides.
    #[test]
    fn the_counter_ends_before_it_wraps() {
        let (mut sealing, mut opening) = pair(MAX_RECORDS - 1);
        let mut record = std::vec![5; 40];
        let tag = sealing.seal(b"ad", &mut record[..24]).unwrap();
        record[24..].copy_from_slice(&tag);
        assert_eq!(opening.open(b"ad", &mut record, Sealed::Record).unwrap(), [5; 24]);
        assert_eq!(sealing.seal(b"ad", &mut record), Err(Error::Exhausted));
        assert_eq!(opening.open(b"ad", &mut record, Sealed::Record), Err(Error::Exhausted));
    }
}
