//! The numbered shares of one side, as the specification has them (section 11.2), to compare the library with.

use countersign::crypto::agreement::X25519Share;
use countersign::error::Alert;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

/// What a side knows about shares. Its private halves are those of generators, so that the model can have them too.
#[derive(Default)]
pub struct Numbers {
    /// The generator of each numbered share: share 1 first.
    seeds: Vec<u64>,
    /// The own share that the peer named last.
    named: u32,
    /// Number and share of the peer's newest.
    peer: (u32, [u8; 32]),
}

/// The content of a REKEY, and what is mixed in.
pub struct Made {
    pub content: [u8; 40],
    pub dh: Option<[u8; 32]>,
}

/// The generator that a REKEY draws its share from.
pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn share(seed: u64) -> X25519Share {
    X25519Share::generate(&mut rng(seed)).expect("randomness")
}

impl Numbers {
    /// Number of the newest share.
    pub fn number(&self) -> u32 {
        self.seeds.len().try_into().expect("few shares")
    }

    /// Number of the peer's newest share.
    pub fn peer_number(&self) -> u32 {
        self.peer.0
    }

    /// How many private halves there are: those that the peer may still name.
    pub fn kept(&self) -> usize {
        (self.named..=self.number()).filter(|number| *number > 0).count()
    }

    /// A REKEY whose share is drawn from this generator, or the alert for a peer's share that is no good [RK-6].
    pub fn send(&mut self, seed: u64) -> Result<Made, Alert> {
        let fresh = share(seed);
        let (peer_number, peer_share) = self.peer;
        let dh = match peer_number {
            0 => None,
            _ => Some(*fresh.agree(&peer_share).map_err(|_| Alert::Refused)?.expose()),
        };
        let mut number = 0;
        if self.named == self.number() {
            self.seeds.push(seed);
            number = self.number();
        }
        Ok(Made { content: content(peer_number, number, fresh.share()), dh })
    }

    /// The peer's REKEY, in the order of the specification [RK-3] [RK-4] [RK-5]: what is mixed in, or an alert.
    pub fn receive(&mut self, named: u32, number: u32, share: [u8; 32]) -> Result<Option<[u8; 32]>, Alert> {
        let stale = named < self.named || named > self.number();
        if stale || (number != 0 && number != self.peer.0 + 1) {
            return Err(Alert::Malformed);
        }
        let dh = match named {
            0 => None,
            _ => Some(self.agree(named, &share).ok_or(Alert::Refused)?),
        };
        self.named = named;
        if number != 0 {
            self.peer = (number, share);
        }
        Ok(dh)
    }

    /// Agrees with the private half of this number, if there has been one and the secret is not zero.
    pub fn agree(&self, number: u32, peer_share: &[u8; 32]) -> Option<[u8; 32]> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        share(*self.seeds.get(index)?).agree(peer_share).ok().map(|dh| *dh.expose())
    }
}

/// The content of a REKEY record.
pub fn content(peer_number: u32, number: u32, share: &[u8; 32]) -> [u8; 40] {
    let mut content = [0; 40];
    content[..4].copy_from_slice(&peer_number.to_be_bytes());
    content[4..8].copy_from_slice(&number.to_be_bytes());
    content[8..].copy_from_slice(share);
    content
}
