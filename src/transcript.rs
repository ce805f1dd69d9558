//! The running hash over every byte of the handshake (specification, section 9), and the only maker of signature inputs.

use core::fmt;

use sha2::{Digest, Sha256};

use crate::crypto::schedule::TranscriptHash;
use crate::crypto::signature::SignatureInput;
use crate::error::Error;
use crate::limits::PROTOCOL;
use crate::role::Role;

/// What an item of the transcript is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// The name of the protocol.
    Protocol,
    /// The application context.
    Context,
    /// A whole frame.
    Frame,
    /// The header of an AUTH frame.
    Header,
    /// The service name.
    Service,
    /// A credential block.
    Credential,
    /// A signature.
    Signature,
    /// The sealed body of an AUTH frame.
    Sealed,
}

/// A transcript, which starts with the protocol and the context.
#[derive(Clone)]
pub struct Transcript(Sha256);

impl Transcript {
    /// A transcript for an application context.
    ///
    /// # Errors
    /// [`Error::Internal`], as in [`Transcript::add`].
    pub fn new(context: &[u8]) -> Result<Self, Error> {
        let mut transcript = Transcript(Sha256::new());
        transcript.add(Item::Protocol, &[PROTOCOL.as_bytes()])?;
        transcript.add(Item::Context, &[context])?;
        Ok(transcript)
    }

    /// Adds an item, given in parts: `u8(tag) || u32(len) || data`.
    ///
    /// # Errors
    /// [`Error::Internal`] if it has 4 GiB or more.
    pub fn add(&mut self, item: Item, parts: &[&[u8]]) -> Result<(), Error> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let len = u32::try_from(len).map_err(|_| Error::Internal("a transcript item is too long"))?;
        self.0.update([item.tag()]);
        self.0.update(len.to_be_bytes());
        parts.iter().for_each(|part| self.0.update(part));
        Ok(())
    }

    /// The hash of all items so far.
    pub fn hash(&self) -> TranscriptHash {
        self.0.clone().finalize().into()
    }

    /// What a side signs at this point.
    pub fn signature_input(&self, signer: Role) -> SignatureInput {
        SignatureInput::new(signer, &self.hash())
    }
}

impl Item {
    fn tag(self) -> u8 {
        match self {
            Item::Protocol => 0,
            Item::Context => 1,
            Item::Frame => 2,
            Item::Header => 3,
            Item::Service => 4,
            Item::Credential => 5,
            Item::Signature => 6,
            Item::Sealed => 7,
        }
    }
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transcript")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // [TR-2] Items can't be moved across their borders, and the context is part of the hash.
    #[test]
    fn the_encoding_is_injective() {
        let hash = |items: &[(Item, &[u8])]| {
            let mut transcript = Transcript::new(b"").unwrap();
            items.iter().for_each(|(item, data)| transcript.add(*item, &[data]).unwrap());
            transcript.hash()
        };
        let one = hash(&[(Item::Frame, b"ab"), (Item::Frame, b"c")]);
        assert_ne!(one, hash(&[(Item::Frame, b"a"), (Item::Frame, b"bc")]));
        assert_ne!(one, hash(&[(Item::Frame, b"ab"), (Item::Header, b"c")]));
        assert_ne!(Transcript::new(b"").unwrap().hash(), Transcript::new(b"app").unwrap().hash());
    }
}
