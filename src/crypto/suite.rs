//! The registry of suites and share kinds (specification, section 6.7).

use core::fmt;
use core::str::FromStr;

use crate::limits::{MLKEM_CIPHERTEXT_LEN, MLKEM_KEY_LEN, X25519_LEN};

/// A suite: key agreement, AEAD and hash together. Shown and parsed by its name in the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// X25519, ChaCha20-Poly1305, SHA-256. Mandatory to implement.
    X25519ChaCha20Poly1305Sha256,
    /// X25519 with ML-KEM-768, ChaCha20-Poly1305, SHA-256.
    X25519MlKem768ChaCha20Poly1305Sha256,
    /// X25519, AES-256-GCM, SHA-256.
    X25519Aes256GcmSha256,
    /// X25519 with ML-KEM-768, AES-256-GCM, SHA-256.
    X25519MlKem768Aes256GcmSha256,
}

/// A kind of key share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ShareKind {
    /// X25519 (RFC 7748).
    X25519,
    /// ML-KEM-768 (FIPS 203).
    MlKem768,
}

/// An AEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Aead {
    /// AEAD_CHACHA20_POLY1305 (RFC 8439).
    ChaCha20Poly1305,
    /// AEAD_AES_256_GCM (RFC 5116).
    Aes256Gcm,
}

/// A text that is not the name of a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownSuite;

impl Suite {
    /// All that this version knows, by number.
    pub const ALL: [Suite; 4] = [
        Suite::X25519ChaCha20Poly1305Sha256,
        Suite::X25519MlKem768ChaCha20Poly1305Sha256,
        Suite::X25519Aes256GcmSha256,
        Suite::X25519MlKem768Aes256GcmSha256,
    ];

    /// All, as an initiator prefers them by default: hybrid first; AES first among equals where the machine has instructions for it.
    pub fn preferred(has_aes: bool) -> [Suite; 4] {
        let [chacha, hybrid_chacha, aes, hybrid_aes] = Self::ALL;
        if has_aes { [hybrid_aes, hybrid_chacha, aes, chacha] } else { [hybrid_chacha, hybrid_aes, chacha, aes] }
    }

    /// The number on the wire.
    pub fn code(self) -> u16 {
        match self {
            Suite::X25519ChaCha20Poly1305Sha256 => 0x0001,
            Suite::X25519MlKem768ChaCha20Poly1305Sha256 => 0x0002,
            Suite::X25519Aes256GcmSha256 => 0x0003,
            Suite::X25519MlKem768Aes256GcmSha256 => 0x0004,
        }
    }

    /// The suite of a number.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.code() == code)
    }

    /// The name as the specification spells it.
    pub fn name(self) -> &'static str {
        match self {
            Suite::X25519ChaCha20Poly1305Sha256 => "X25519_ChaCha20Poly1305_SHA256",
            Suite::X25519MlKem768ChaCha20Poly1305Sha256 => "X25519MLKEM768_ChaCha20Poly1305_SHA256",
            Suite::X25519Aes256GcmSha256 => "X25519_AES256GCM_SHA256",
            Suite::X25519MlKem768Aes256GcmSha256 => "X25519MLKEM768_AES256GCM_SHA256",
        }
    }

    /// The shares that it needs, by ascending kind.
    pub fn share_kinds(self) -> &'static [ShareKind] {
        if self.is_hybrid() { &[ShareKind::X25519, ShareKind::MlKem768] } else { &[ShareKind::X25519] }
    }

    /// Whether its key agreement has a post-quantum part.
    pub fn is_hybrid(self) -> bool {
        match self {
            Suite::X25519ChaCha20Poly1305Sha256 | Suite::X25519Aes256GcmSha256 => false,
            Suite::X25519MlKem768ChaCha20Poly1305Sha256 | Suite::X25519MlKem768Aes256GcmSha256 => true,
        }
    }

    /// Its AEAD.
    pub fn aead(self) -> Aead {
        match self {
            Suite::X25519ChaCha20Poly1305Sha256 | Suite::X25519MlKem768ChaCha20Poly1305Sha256 => Aead::ChaCha20Poly1305,
            Suite::X25519Aes256GcmSha256 | Suite::X25519MlKem768Aes256GcmSha256 => Aead::Aes256Gcm,
        }
    }

    /// Length in bytes of the responder's shares together.
    pub fn responder_len(self) -> usize {
        self.share_kinds().iter().map(|kind| kind.responder_len()).sum()
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(name: &str) -> Result<Self, UnknownSuite> {
        Self::ALL.into_iter().find(|suite| suite.name() == name).ok_or(UnknownSuite)
    }
}

impl core::error::Error for UnknownSuite {}

impl fmt::Display for UnknownSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a suite; the suites are")?;
        Suite::ALL.iter().try_for_each(|suite| write!(f, " {suite}"))
    }
}

impl ShareKind {
    /// The number on the wire.
    pub fn code(self) -> u8 {
        match self {
            ShareKind::X25519 => 1,
            ShareKind::MlKem768 => 2,
        }
    }

    /// The kind of a number.
    pub fn from_code(code: u8) -> Option<Self> {
        [ShareKind::X25519, ShareKind::MlKem768].into_iter().find(|kind| kind.code() == code)
    }

    /// Length of the initiator's share in bytes.
    pub fn initiator_len(self) -> usize {
        match self {
            ShareKind::X25519 => X25519_LEN,
            ShareKind::MlKem768 => MLKEM_KEY_LEN,
        }
    }

    /// Length of the responder's share in bytes.
    pub fn responder_len(self) -> usize {
        match self {
            ShareKind::X25519 => X25519_LEN,
            ShareKind::MlKem768 => MLKEM_CIPHERTEXT_LEN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read_back() {
        for suite in Suite::ALL {
            assert_eq!(suite.name().parse(), Ok(suite));
            assert_eq!(Suite::from_code(suite.code()), Some(suite));
        }
        assert!("AES".parse::<Suite>().is_err());
    }

    #[test]
    fn hybrids_are_preferred() {
        for has_aes in [false, true] {
            let order = Suite::preferred(has_aes);
            assert!(order[0].is_hybrid() && order[1].is_hybrid() && !order[2].is_hybrid());
            assert_eq!(order[0].aead() == Aead::Aes256Gcm, has_aes);
        }
    }
}
