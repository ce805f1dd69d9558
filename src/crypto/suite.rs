//! The registry of suites and share kinds (specification, section 6.7).

use crate::limits::X25519_LEN;

/// A suite: key agreement, AEAD and hash together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// X25519, ChaCha20-Poly1305, SHA-256. Mandatory.
    X25519ChaCha20Poly1305Sha256,
}

/// A kind of key share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ShareKind {
    /// X25519 (RFC 7748).
    X25519,
}

impl Suite {
    /// All that this version knows, in the default order of preference.
    pub const ALL: [Suite; 1] = [Suite::X25519ChaCha20Poly1305Sha256];

    /// The number on the wire.
    pub fn code(self) -> u16 {
        match self {
            Suite::X25519ChaCha20Poly1305Sha256 => 0x0001,
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
        }
    }

    /// The shares that it needs, by ascending kind.
    pub fn share_kinds(self) -> &'static [ShareKind] {
        match self {
            Suite::X25519ChaCha20Poly1305Sha256 => &[ShareKind::X25519],
        }
    }
}

impl ShareKind {
    /// The number on the wire.
    pub fn code(self) -> u8 {
        match self {
            ShareKind::X25519 => 1,
        }
    }

    /// The kind of a number.
    pub fn from_code(code: u8) -> Option<Self> {
        [ShareKind::X25519].into_iter().find(|kind| kind.code() == code)
    }

    /// Length of the initiator's share in bytes.
    pub fn initiator_len(self) -> usize {
        match self {
            ShareKind::X25519 => X25519_LEN,
        }
    }

    /// Length of the responder's share in bytes.
    pub fn responder_len(self) -> usize {
        match self {
            ShareKind::X25519 => X25519_LEN,
        }
    }
}
