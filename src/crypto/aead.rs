//! The AEAD of a suite, whose nonce belongs to the key: key, iv, counter and limits are one value that can't be cloned.
//!
//! A key that rests keeps 44 secret bytes. The expanded key, 600 bytes or more, comes at the next record and goes at `rest`.

use core::fmt;

use crate::crypto::backend::Cipher;
use crate::crypto::suite::Aead;
use crate::error::{Error, Sealed};
use crate::limits::{MAX_KEY_BYTES_AES, MAX_RECORDS, MAX_RECORDS_AES, TAG_LEN};
use crate::secret::Secret;

/// Seals what this side sends.
pub struct SealingKey(Keyed);

/// Opens what the peer sends.
pub struct OpeningKey(Keyed);

struct Keyed {
    /// The expanded key; none while the key rests.
    cipher: Option<Cipher>,
    /// Key and iv.
    material: Secret<MATERIAL_LEN>,
    aead: Aead,
    counter: u64,
    /// Bytes of plaintext under this key.
    bytes: u64,
}

impl Aead {
    /// How many records may be sealed under one key (specification, section 11.1).
    pub fn max_records(self) -> u64 {
        match self {
            Aead::ChaCha20Poly1305 => MAX_RECORDS,
            Aead::Aes256Gcm => MAX_RECORDS_AES,
        }
    }

    /// How many bytes of plaintext may be sealed under one key.
    pub fn max_bytes(self) -> u64 {
        match self {
            Aead::ChaCha20Poly1305 => u64::MAX,
            Aead::Aes256Gcm => MAX_KEY_BYTES_AES,
        }
    }
}

impl SealingKey {
    /// A key whose counter is at 0.
    ///
    /// # Errors
    /// [`Error::Internal`] if the backend fails.
    pub fn new(aead: Aead, key: &Secret<32>, iv: Secret<12>) -> Result<Self, Error> {
        Self::dangerous_at(aead, key, iv, 0)
    }

    /// A key whose counter is elsewhere, for test vectors. Sealing twice at one counter gives the plaintexts away.
    ///
    /// # Errors
    /// [`Error::Internal`] if the backend fails.
    pub fn dangerous_at(aead: Aead, key: &Secret<32>, iv: Secret<12>, counter: u64) -> Result<Self, Error> {
        Ok(Self::from_material(aead, material(key, &iv)?, counter))
    }

    pub(super) fn from_material(aead: Aead, material: Secret<MATERIAL_LEN>, counter: u64) -> Self {
        SealingKey(Keyed { cipher: None, material, aead, counter, bytes: 0 })
    }

    /// Encrypts `text` in place and returns the tag.
    ///
    /// # Errors
    /// [`Error::Exhausted`] when a limit of the key is reached.
    pub fn seal(&mut self, ad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_LEN], Error> {
        let nonce = self.0.next_nonce(text.len())?;
        self.0.cipher()?.seal(nonce, ad, text)
    }

    /// Gives up the expanded key until the next record, which takes some 150 ns longer. Changes nothing else.
    pub fn rest(&mut self) {
        self.0.cipher = None;
    }

    /// How many have been sealed.
    pub fn counter(&self) -> u64 {
        self.0.counter
    }

    /// Whether half of what this key may seal has been sealed.
    pub fn is_half_used(&self) -> bool {
        self.0.counter >= self.0.aead.max_records() / 2 || self.0.bytes >= self.0.aead.max_bytes() / 2
    }

    /// Whether there is room for one more record of at most `len` bytes, and one after it.
    pub fn has_room(&self, len: usize) -> bool {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let bytes = self.0.bytes.saturating_add(len).saturating_add(RESERVE);
        self.0.counter < self.0.aead.max_records() - 1 && bytes <= self.0.aead.max_bytes()
    }

    /// The AEAD.
    pub fn aead(&self) -> Aead {
        self.0.aead
    }
}

impl OpeningKey {
    /// A key whose counter is at 0.
    ///
    /// # Errors
    /// [`Error::Internal`] if the backend fails.
    pub fn new(aead: Aead, key: &Secret<32>, iv: Secret<12>) -> Result<Self, Error> {
        Self::dangerous_at(aead, key, iv, 0)
    }

    /// A key whose counter is elsewhere, for test vectors.
    ///
    /// # Errors
    /// [`Error::Internal`] if the backend fails.
    pub fn dangerous_at(aead: Aead, key: &Secret<32>, iv: Secret<12>, counter: u64) -> Result<Self, Error> {
        Ok(Self::from_material(aead, material(key, &iv)?, counter))
    }

    pub(super) fn from_material(aead: Aead, material: Secret<MATERIAL_LEN>, counter: u64) -> Self {
        OpeningKey(Keyed { cipher: None, material, aead, counter, bytes: 0 })
    }

    /// Decrypts `sealed` in place and returns the plaintext, which is what precedes the tag.
    ///
    /// # Errors
    /// [`Error::Tampered`] if it does not open, [`Error::Exhausted`] when a limit of the key is reached.
    pub fn open<'a>(&mut self, ad: &[u8], sealed: &'a mut [u8], what: Sealed) -> Result<&'a mut [u8], Error> {
        let len = sealed.len().checked_sub(TAG_LEN).ok_or(Error::Tampered(what))?;
        let nonce = self.0.next_nonce(len)?;
        if !self.0.cipher()?.open(nonce, ad, sealed) {
            return Err(Error::Tampered(what));
        }
        sealed.get_mut(..len).ok_or(Error::Tampered(what))
    }

    /// As [`SealingKey::rest`].
    pub fn rest(&mut self) {
        self.0.cipher = None;
    }

    /// How many have been opened.
    pub fn counter(&self) -> u64 {
        self.0.counter
    }

    /// The AEAD.
    pub fn aead(&self) -> Aead {
        self.0.aead
    }
}

impl Keyed {
    fn cipher(&mut self) -> Result<&Cipher, Error> {
        let cipher = match self.cipher.take() {
            Some(cipher) => cipher,
            None => Cipher::new(self.aead, self.key_and_iv()?.0)?,
        };
        Ok(self.cipher.insert(cipher))
    }

    fn key_and_iv(&self) -> Result<(&[u8; KEY_LEN], &[u8; IV_LEN]), Error> {
        let (key, iv) = self.material.expose().split_first_chunk().ok_or(LENGTHS)?;
        Ok((key, iv.try_into().map_err(|_| LENGTHS)?))
    }

    /// iv xor (zeros(4) || u64(counter)); counts first, so that no nonce can come twice.
    fn next_nonce(&mut self, len: usize) -> Result<[u8; 12], Error> {
        // [RE-2]
        let bytes = self.bytes.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        if self.counter >= self.aead.max_records() || bytes > self.aead.max_bytes() {
            return Err(Error::Exhausted);
        }
        let mut nonce = *self.key_and_iv()?.1;
        let counter = self.counter.to_be_bytes();
        nonce.iter_mut().skip(4).zip(counter).for_each(|(byte, count)| *byte ^= count);
        self.counter += 1;
        self.bytes = bytes;
        Ok(nonce)
    }
}

/// Key and iv, one behind the other.
fn material(key: &Secret<KEY_LEN>, iv: &Secret<IV_LEN>) -> Result<Secret<MATERIAL_LEN>, Error> {
    Secret::fill(|material| {
        let (key_place, iv_place) = material.split_at_mut(KEY_LEN);
        key_place.copy_from_slice(key.expose());
        iv_place.copy_from_slice(iv.expose());
        Ok(())
    })
}

pub(super) const KEY_LEN: usize = 32;
const IV_LEN: usize = 12;
pub(super) const MATERIAL_LEN: usize = KEY_LEN + IV_LEN;
const LENGTHS: Error = Error::Internal("key and iv have 44 bytes");
/// Room that is kept for END, an alert or a rekey, padded as far as it goes.
const RESERVE: u64 = 65_555;

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

    fn pair(aead: Aead, counter: u64) -> (SealingKey, OpeningKey) {
        let key = Secret::take(&mut [1; 32]);
        let sealing = SealingKey::dangerous_at(aead, &key, Secret::take(&mut [2; 12]), counter).unwrap();
        (sealing, OpeningKey::dangerous_at(aead, &key, Secret::take(&mut [2; 12]), counter).unwrap())
    }

    // [RE-2] The last record that a counter allows works; the next is refused on both sides.
    #[test]
    fn the_counter_ends_before_it_wraps() {
        for aead in [Aead::ChaCha20Poly1305, Aead::Aes256Gcm] {
            let (mut sealing, mut opening) = pair(aead, aead.max_records() - 1);
            let mut record = std::vec![5; 40];
            let tag = sealing.seal(b"ad", &mut record[..24]).unwrap();
            record[24..].copy_from_slice(&tag);
            assert_eq!(opening.open(b"ad", &mut record, Sealed::Record).unwrap(), [5; 24]);
            assert_eq!(sealing.seal(b"ad", &mut record), Err(Error::Exhausted));
            assert_eq!(opening.open(b"ad", &mut record, Sealed::Record), Err(Error::Exhausted));
        }
    }

    // A key that rests goes on where it was: the same records as by one that never did, each under its own nonce, and no expanded key
    // while it rests.
    #[test]
    fn rest_changes_nothing_but_the_memory() {
        for aead in [Aead::ChaCha20Poly1305, Aead::Aes256Gcm] {
            let ((mut resting, mut opening), (mut awake, _)) = (pair(aead, 5), pair(aead, 5));
            let mut before = std::vec![];
            for _ in 0..4 {
                let (mut one, mut other) = (std::vec![7; 40], std::vec![7; 40]);
                let tag = resting.seal(b"ad", &mut one[..24]).unwrap();
                one[24..].copy_from_slice(&tag);
                let tag = awake.seal(b"ad", &mut other[..24]).unwrap();
                other[24..].copy_from_slice(&tag);
                assert_eq!(one, other);
                assert_ne!(one, before, "a nonce came twice");
                before = one.clone();
                assert_eq!(opening.open(b"ad", &mut one, Sealed::Record).unwrap(), [7; 24]);
                assert!(resting.0.cipher.is_some() && opening.0.cipher.is_some());
                resting.rest();
                opening.rest();
                assert!(resting.0.cipher.is_none() && opening.0.cipher.is_none());
                assert_eq!((resting.counter(), opening.counter()), (awake.counter(), awake.counter()));
                assert_eq!(resting.0.bytes, awake.0.bytes);
            }
        }
    }

    // [RE-2] So many bytes go under one key of AES-256-GCM, and not one more.
    #[test]
    fn the_bytes_of_a_key_end() {
        let (mut sealing, mut opening) = pair(Aead::Aes256Gcm, 0);
        sealing.0.bytes = MAX_KEY_BYTES_AES - 24;
        opening.0.bytes = MAX_KEY_BYTES_AES - 24;
        assert!(sealing.is_half_used() && !sealing.has_room(1));
        let mut record = std::vec![5; 40];
        assert_eq!(sealing.seal(b"ad", &mut record[..25]), Err(Error::Exhausted));
        let tag = sealing.seal(b"ad", &mut record[..24]).unwrap();
        record[24..].copy_from_slice(&tag);
        assert!(opening.open(b"ad", &mut record, Sealed::Record).is_ok());
        assert_eq!(opening.open(b"ad", &mut [0; 17], Sealed::Record), Err(Error::Exhausted));
    }

    // [RE-2] Half of either limit asks for a rekey; the last number, and the room of one record, are kept for the end.
    #[test]
    fn half_and_room_by_number() {
        for aead in [Aead::ChaCha20Poly1305, Aead::Aes256Gcm] {
            let max = aead.max_records();
            let at = |counter| pair(aead, counter).0;
            assert!(!at(0).is_half_used() && !at(max / 2 - 1).is_half_used() && at(max / 2).is_half_used());
            assert!(at(max - 2).has_room(100) && !at(max - 1).has_room(100));
            let (mut sealing, mut opening) = pair(aead, 7);
            let tag = sealing.seal(b"", &mut []).unwrap();
            assert!(opening.open(b"", &mut tag.clone(), Sealed::Record).is_ok());
            assert_eq!((sealing.counter(), opening.counter()), (8, 8));
        }
    }

    // [RE-2] As above, by bytes.
    #[test]
    fn half_and_room_by_bytes() {
        let with = |aead, bytes| {
            let mut sealing = pair(aead, 0).0;
            sealing.0.bytes = bytes;
            sealing
        };
        let max = MAX_KEY_BYTES_AES;
        let aes = |bytes| with(Aead::Aes256Gcm, bytes);
        assert!(!aes(max / 2 - 1).is_half_used() && aes(max / 2).is_half_used());
        assert!(aes(max - RESERVE - 9).has_room(9) && !aes(max - RESERVE - 9).has_room(10));
        assert!(!with(Aead::ChaCha20Poly1305, max).is_half_used() && with(Aead::ChaCha20Poly1305, max).has_room(10));
    }
}
