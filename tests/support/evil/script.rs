//! What a misbehaving peer does other than an honest one: a function for each step, most of which do nothing.

use countersign::config::Config;

use super::crypto::{Aead, hmac};
use super::keys::{Direction, Handshake, INITIATOR, RESPONDER};
use super::peer::Peer;
use super::signing::{Key, ToSign};
use super::wire::{Auth, Hello, Reply, Transcript};

/// Who the evil peer is, and what it believes was agreed.
#[derive(Clone)]
pub struct Party {
    pub key: Key,
    /// What it presents as its public key.
    pub credential: Vec<u8>,
    pub signs_as: &'static str,
    pub context: Vec<u8>,
    pub service: Vec<u8>,
    /// The offer of an initiator.
    pub suites: Vec<u16>,
    /// The choice of a responder.
    pub suite: u16,
    pub network_key: Option<[u8; 32]>,
    /// Leaves the network key out of the schedule, though not out of the tag.
    pub forgets_network_key: bool,
    /// Leaves the ML-KEM secret out.
    pub forgets_mlkem: bool,
    /// The offer that a responder answers, where somebody has changed it on the way.
    pub offer_seen: Option<Vec<u16>>,
    /// Another AEAD than that of the suite.
    pub aead: Option<Aead>,
}

/// Number of the identity that honest sides trust, as in `support::identity`.
pub const TRUSTED: u8 = 3;
/// Trusted as well, but not the one that is called.
pub const ALSO_TRUSTED: u8 = 5;
/// Trusted by nobody.
pub const STRANGER: u8 = 4;
/// The honest side itself.
pub const HONEST: u8 = 1;

pub const CONTEXT: &[u8] = b"evil/1";
pub const SERVICE: &[u8] = b"echo";

impl Party {
    pub fn trusted(role: &'static str, suite: u16) -> Self {
        let key = Key::of(TRUSTED);
        Party {
            credential: key.public().to_vec(),
            key,
            signs_as: role,
            context: CONTEXT.to_vec(),
            service: SERVICE.to_vec(),
            suites: vec![suite],
            suite,
            network_key: None,
            forgets_network_key: false,
            forgets_mlkem: false,
            offer_seen: None,
            aead: None,
        }
    }

    /// Another identity, of which it has the private key.
    pub fn be(&mut self, byte: u8) {
        self.key = Key::of(byte);
        self.credential = self.key.public().to_vec();
    }
}

/// What a confirmation is computed from.
pub struct Confirming<'a> {
    /// The initiator's key first.
    pub keys: &'a [[u8; 32]; 2],
    pub own: usize,
    /// Up to the signature.
    pub transcript: Transcript,
}

/// What AUTH is sealed with.
pub struct Lock {
    pub direction: Direction,
    /// The header as additional data.
    pub ad: Vec<u8>,
}

/// The steps, in their order. Every field has a default that is honest.
#[derive(Clone, Copy)]
pub struct Script {
    pub party: fn(&mut Party),
    /// How the honest side is configured.
    pub honest: fn(Config) -> Config,
    /// The honest initiator calls nobody in particular.
    pub anyone: bool,
    /// The honest side changes its key before it says anything.
    pub rekeys: bool,
    pub hello: fn(&mut Hello),
    /// Gets the HELLO that is answered as well.
    pub reply: fn(&mut Reply, &Hello),
    /// Body of HELLO or HELLO_REPLY, as it is hashed and sent.
    pub body: fn(&mut Vec<u8>),
    pub auth: fn(&mut Auth),
    /// The transcript that is signed; what is confirmed and sealed stays right.
    pub signed: fn(&mut Transcript),
    pub signature: fn(&ToSign) -> [u8; 64],
    pub confirm: fn(Confirming<'_>) -> [u8; 32],
    pub plaintext: fn(&mut Vec<u8>),
    pub lock: fn(&mut Lock, &Handshake),
    /// The frames of HELLO, or of HELLO_REPLY and AUTH_R.
    pub first: fn(&mut Peer, &mut Vec<Vec<u8>>),
    /// The frame of AUTH_I, or of the VERDICT.
    pub second: fn(&mut Peer, &mut Vec<Vec<u8>>),
    /// Records after the honest side has spoken; a DATA record is there.
    pub session: fn(&mut Peer, &mut Vec<Vec<u8>>),
}

pub const FAITHFUL: Script = Script {
    party: |_| {},
    honest: |config| config,
    anyone: false,
    rekeys: false,
    hello: |_| {},
    reply: |_, _| {},
    body: |_| {},
    auth: |_| {},
    signed: |_| {},
    signature: |to_sign| to_sign.key.sign(&to_sign.input),
    confirm: |confirming| hmac(&confirming.keys[confirming.own], &confirming.transcript.hash()),
    plaintext: |_| {},
    lock: |_, _| {},
    first: |_, _| {},
    second: |_, _| {},
    session: |_, _| {},
};

pub fn other(role: &str) -> &'static str {
    if role == INITIATOR { RESPONDER } else { INITIATOR }
}
