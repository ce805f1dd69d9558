//! The key schedule of section 10, and one direction of records (section 11).

use super::crypto::{Aead, expand_label, expand32, extract, open, seal, x25519};
use super::wire::{DATA, PADDED, RECORD, REKEY, header};

/// The two sides, as they stand in labels.
pub const INITIATOR: &str = "initiator";
pub const RESPONDER: &str = "responder";

/// What the handshake gives before AUTH_R.
#[derive(Clone, Debug)]
pub struct Handshake {
    pub secret: [u8; 32],
    pub confirm: [[u8; 32]; 2],
    pub directions: [Direction; 2],
}

/// Sides are numbered in arrays: the initiator first.
pub fn index(role: &str) -> usize {
    usize::from(role == RESPONDER)
}

pub fn network_tag_key(network_key: Option<&[u8; 32]>) -> [u8; 32] {
    expand32(&extract(&[0; 32], network_key.unwrap_or(&[0; 32])), "network tag", b"")
}

impl Handshake {
    pub fn new(network_key: Option<&[u8; 32]>, shared: &[u8], th_hello: &[u8; 32], aead: Aead) -> Self {
        let early = extract(&[0; 32], network_key.unwrap_or(&[0; 32]));
        let secret = extract(&expand32(&early, "derived", b""), shared);
        let both =
            |name: &str| [INITIATOR, RESPONDER].map(|role| expand32(&secret, &format!("{name} {role}"), th_hello));
        let directions = both("handshake").map(|secret| Direction::new(secret, aead));
        Handshake { secret, confirm: both("confirm"), directions }
    }

    /// The two directions of the session.
    pub fn session(&self, th_final: &[u8; 32], aead: Aead) -> [Direction; 2] {
        let master = extract(&expand32(&self.secret, "derived", b""), &[0; 32]);
        [INITIATOR, RESPONDER].map(|role| Direction::new(expand32(&master, &format!("traffic {role}"), th_final), aead))
    }
}

/// Key, iv and counter of one direction.
#[derive(Clone, Debug)]
pub struct Direction {
    pub aead: Aead,
    pub secret: [u8; 32],
    pub key: [u8; 32],
    pub iv: [u8; 12],
    pub counter: u64,
}

impl Direction {
    pub fn new(secret: [u8; 32], aead: Aead) -> Self {
        let iv = expand_label(&secret, "iv", b"", 12).try_into().expect("12 bytes");
        Direction { aead, secret, key: expand32(&secret, "key", b""), iv, counter: 0 }
    }

    pub fn nonce(&self) -> [u8; 12] {
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(self.counter.to_be_bytes()).for_each(|(byte, count)| *byte ^= count);
        nonce
    }

    pub fn seal(&mut self, header: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let sealed = seal(self.aead, &self.key, &self.nonce(), header, plaintext);
        self.counter += 1;
        sealed
    }

    pub fn open(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let plaintext = open(self.aead, &self.key, &self.nonce(), &frame[..4], &frame[4..])?;
        self.counter += 1;
        Some(plaintext)
    }

    /// A RECORD with any plaintext.
    pub fn raw(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let header = header(RECORD, plaintext.len() + 16);
        [&header[..], &self.seal(&header, plaintext)].concat()
    }

    pub fn record(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        self.raw(&[&[kind], content].concat())
    }

    pub fn data(&mut self, content: &[u8]) -> Vec<u8> {
        self.record(DATA, content)
    }

    /// With padding whose length is said to be `pad_len`.
    pub fn padded(&mut self, kind: u8, content: &[u8], padding: &[u8], pad_len: u16) -> Vec<u8> {
        self.raw(&[&[kind | PADDED], content, padding, &pad_len.to_be_bytes()].concat())
    }

    /// A REKEY, after which this direction goes on under its new key. `private` is mixed with the share that is
    /// named, if one is.
    pub fn rekey(
        &mut self,
        named: Option<(u32, [u8; 32])>,
        number: u32,
        private: &[u8; 32],
        share: &[u8; 32],
    ) -> Vec<u8> {
        let content = rekey_content(named.map_or(0, |(number, _)| number), number, share);
        let record = self.record(REKEY, &content);
        let dh = named.map_or([0; 32], |(_, peer)| x25519(private, &peer));
        self.advance(&content, &dh);
        record
    }

    /// To the next secret.
    pub fn advance(&mut self, content: &[u8], dh: &[u8; 32]) {
        *self = Direction::new(extract(&expand32(&self.secret, "rekey", content), dh), self.aead);
    }
}

pub fn rekey_content(peer_number: u32, number: u32, share: &[u8; 32]) -> Vec<u8> {
    [&peer_number.to_be_bytes()[..], &number.to_be_bytes(), share].concat()
}
