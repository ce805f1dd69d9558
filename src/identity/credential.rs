//! What a peer presents, and what it is once verified.

use core::fmt;

use alloc::string::String;
use alloc::vec::Vec;

use crate::crypto::signature::{PublicKey, Verifier};
use crate::error::{Error, Malformed};
use crate::identity::Name;
#[cfg(feature = "x509")]
use crate::identity::x509::CertificateChain;
use crate::wire::message::CredentialBlock;

/// What a side presents as its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// An Ed25519 public key.
    RawKey(PublicKey),
    /// A certificate for an Ed25519 key, and those of its issuers.
    #[cfg(feature = "x509")]
    X509(CertificateChain),
}

/// A peer that has proved its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub(crate) credential: Credential,
    pub(crate) name: Option<String>,
    pub(crate) names: Vec<Name>,
    pub(crate) predecessor: Option<PublicKey>,
}

impl Credential {
    /// The key that the peer signs with.
    pub fn public_key(&self) -> &PublicKey {
        match self {
            Credential::RawKey(key) => key,
            #[cfg(feature = "x509")]
            Credential::X509(chain) => chain.public_key(),
        }
    }

    pub(crate) fn block(&self) -> CredentialBlock<'_> {
        match self {
            Credential::RawKey(key) => CredentialBlock { kind: RAW_KEY, data: key.as_bytes() },
            #[cfg(feature = "x509")]
            Credential::X509(chain) => CredentialBlock { kind: X509, data: chain.data() },
        }
    }

    /// What was presented, and what its signature is checked with.
    pub(crate) fn decode(block: &CredentialBlock<'_>) -> Result<(Self, Verifier), Error> {
        match block.kind {
            RAW_KEY => {
                // [ID-1]
                let key = block.data.try_into();
                let key = key.map_err(|_| Error::Malformed(Malformed::Field("credential_data")))?;
                let verifier = Verifier::from_bytes(key)?;
                Ok((Credential::RawKey(verifier.public_key()), verifier))
            }
            #[cfg(feature = "x509")]
            X509 => {
                let (chain, verifier) = CertificateChain::decode(block.data)?;
                Ok((Credential::X509(chain), verifier))
            }
            // [ID-1]
            _ => Err(Error::Malformed(Malformed::Field("credential_kind"))),
        }
    }
}

impl Peer {
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

    /// The names in its certificate, verified by a CA that we trust; empty for a raw key.
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// The key that we know the peer by, where that one vouches for the key that it signed with. See `docs/trust.md`.
    pub fn predecessor(&self) -> Option<&PublicKey> {
        self.predecessor.as_ref()
    }
}

/// Its fingerprint, followed by its name and the names in its certificate in brackets if there are any.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.public_key().fingerprint().fmt(f)?;
        let mut before = " (";
        if let Some(name) = &self.name {
            write!(f, "{before}{}", name.escape_debug())?;
            before = ", ";
        }
        for name in self.names.iter().take(MAX_SHOWN) {
            write!(f, "{before}{name}")?;
            before = ", ";
        }
        if self.names.len() > MAX_SHOWN {
            f.write_str(", ...")?;
        }
        if before == ", " { f.write_str(")") } else { Ok(()) }
    }
}

const RAW_KEY: u8 = 0x01;
#[cfg(feature = "x509")]
const X509: u8 = 0x02;
/// Names of a certificate that are shown with the peer.
const MAX_SHOWN: usize = 4;
