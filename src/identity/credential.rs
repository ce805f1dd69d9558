//! What a peer presents, and what it is once verified.

use core::fmt;

use alloc::string::String;

use crate::crypto::signature::{PublicKey, Verifier};
use crate::error::{Error, Malformed};
use crate::wire::message::CredentialBlock;

/// What a side presents as its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// An Ed25519 public key.
    RawKey(PublicKey),
}

/// A peer that has proved its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    credential: Credential,
    name: Option<String>,
}

impl Credential {
    /// The key that the peer signs with.
    pub fn public_key(&self) -> &PublicKey {
        match self {
            Credential::RawKey(key) => key,
        }
    }

    pub(crate) fn block(&self) -> CredentialBlock<'_> {
        match self {
            Credential::RawKey(key) => CredentialBlock { kind: RAW_KEY, data: key.as_bytes() },
        }
    }

    /// What was presented, and what its signature is checked with.
    pub(crate) fn decode(block: &CredentialBlock<'_>) -> Result<(Self, Verifier), Error> {
        // [ID-1]
        if block.kind != RAW_KEY {
            return Err(Error::Malformed(Malformed::Field("credential_kind")));
        }
        let key = block.data.try_into().map_err(|_| Error::Malformed(Malformed::Field("credential_data")))?;
        let verifier = Verifier::from_bytes(key)?;
        Ok((Credential::RawKey(verifier.public_key()), verifier))
    }
}

impl Peer {
    pub(crate) fn new(credential: Credential, name: Option<String>) -> Self {
        Peer { credential, name }
    }

    /// What it presented.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The key that it signed with.
    pub fn public_key(&self) -> &PublicKey {
        self.credential.public_key()
    }

    /// The name that our trust gave it, such as the comment of its line in the trust file.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// Its fingerprint, followed by its name in brackets if there is one.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.public_key().fingerprint().fmt(f)?;
        match &self.name {
            Some(name) => write!(f, " ({})", name.escape_debug()),
            None => Ok(()),
        }
    }
}

const RAW_KEY: u8 = 0x01;
