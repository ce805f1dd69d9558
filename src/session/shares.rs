//! What the two directions of a session share: the X25519 shares that REKEY records are mixed from (specification, section 11.2).
//! It is needed at a rekey only.

use alloc::boxed::Box;

use rand_core::TryCryptoRng;

use crate::crypto::agreement::X25519Share;
use crate::error::{Error, Malformed};
use crate::limits::X25519_LEN;
use crate::secret::Secret;
use crate::wire::message::Rekey;

/// The private halves of our numbered shares, at most two, and the newest share of the peer.
#[derive(Debug, Default)]
pub struct Shares {
    /// Our newest, and the one before while the peer may still name it.
    newest: Option<Box<X25519Share>>,
    before: Option<Box<X25519Share>>,
    /// Number of our newest.
    number: u32,
    /// The one that the peer named last.
    named: u32,
    peer: Option<Box<(u32, [u8; X25519_LEN])>>,
}

impl Shares {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of the peer's newest share, 0 if it has sent none.
    pub fn peer_number(&self) -> u32 {
        self.peer.as_deref().map_or(0, |(number, _)| *number)
    }

    /// How many private halves are kept.
    pub fn kept(&self) -> usize {
        usize::from(self.newest.is_some()) + usize::from(self.before.is_some())
    }

    /// Makes a REKEY: draws 32 bytes, agrees with the peer's newest share, and keeps the private half if its place is free.
    pub(super) fn send(&mut self, rng: &mut impl TryCryptoRng) -> Result<(Rekey, Option<Secret<X25519_LEN>>), Error> {
        let fresh = Box::new(X25519Share::generate(rng)?);
        // [RK-6]
        let dh = self.peer.as_deref().map(|(_, share)| fresh.agree(share)).transpose()?;
        let share = *fresh.share();
        let number = match self.number.checked_add(1) {
            Some(number) if self.named == self.number => {
                self.before = self.newest.replace(fresh);
                self.number = number;
                number
            }
            _ => 0,
        };
        Ok((Rekey { peer_number: self.peer_number(), number, share }, dh))
    }

    /// Takes the peer's REKEY.
    pub(super) fn receive(&mut self, rekey: &Rekey) -> Result<Option<Secret<X25519_LEN>>, Error> {
        // [RK-3]
        let named = rekey.peer_number;
        if named < self.named || named > self.number {
            return Err(Error::Malformed(Malformed::Field("peer_number")));
        }
        let own = match named {
            0 => None,
            _ if named == self.number => self.newest.as_ref(),
            _ => self.before.as_ref(),
        };
        if named != 0 && own.is_none() {
            return Err(Error::Internal("a private share is gone before its time"));
        }
        // [RK-4]
        if rekey.number != 0 && Some(rekey.number) != self.peer_number().checked_add(1) {
            return Err(Error::Malformed(Malformed::Field("number")));
        }
        // [RK-5]
        let dh = own.map(|own| own.agree(&rekey.share)).transpose()?;
        self.named = named;
        if named == self.number {
            self.before = None;
        }
        if rekey.number != 0 {
            self.peer = Some(Box::new((rekey.number, rekey.share)));
        }
        Ok(dh)
    }
}
