//! Records of one direction, without a stream around them.
#![allow(dead_code)]

use std::hint::black_box;
use std::iter;

use bytes::BytesMut;
use countersign::crypto::suite::{Aead, Suite};
use countersign::session::{Event, Opener, Progress, Sealer};

use crate::operation::Operation;
use crate::schedule::name;
use crate::side::Pair;

pub const AEADS: [Aead; 2] = [Aead::ChaCha20Poly1305, Aead::Aes256Gcm];
/// Contents in bytes.
pub const SIZES: [usize; 4] = [64, 1 << 10, 16 << 10, 64 << 10];

/// One who seals, and one who opens that in the same order.
pub struct Direction {
    pub sealer: Sealer,
    pub opener: Opener,
    pub content: Vec<u8>,
    wire: BytesMut,
}

impl Direction {
    /// With content of so many bytes.
    pub fn new(aead: Aead, size: usize) -> Self {
        let suite = match aead {
            Aead::ChaCha20Poly1305 => Suite::X25519ChaCha20Poly1305Sha256,
            _ => Suite::X25519Aes256GcmSha256,
        };
        let [near, far] = Pair::new(suite).sessions();
        let wire = BytesMut::with_capacity(size + 64);
        Direction { sealer: near.sealer, opener: far.opener, content: vec![7; size], wire }
    }

    /// One record, into a buffer that is there already.
    pub fn seal(&mut self) -> &mut BytesMut {
        self.wire.clear();
        seal(&mut self.sealer, &self.content, &mut self.wire);
        &mut self.wire
    }
}

pub fn seal(sealer: &mut Sealer, content: &[u8], wire: &mut BytesMut) {
    sealer.seal_data(iter::once(black_box(content)), wire).expect("sealed");
}

pub fn open(opener: &mut Opener, record: &mut [u8]) {
    let opened = opener.open(black_box(record));
    assert!(matches!(opened, Ok(Progress::Record { event: Event::Data(_), .. })));
}

/// Sealing and opening; what is opened was sealed before, so that it can be done `most` times only.
pub fn operations(sizes: &[usize], most: usize) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (aead, size) in AEADS.into_iter().flat_map(|aead| sizes.iter().map(move |size| (aead, *size))) {
        operations.push(Operation::new(format!("record/{}/{size}", name("seal", aead)), move || {
            let mut direction = Direction::new(aead, size);
            move || {
                direction.seal();
            }
        }));
        operations.push(Operation::new(format!("record/{}/{size}", name("open", aead)), move || {
            let mut direction = Direction::new(aead, size);
            let mut records: Vec<BytesMut> = (0..most).map(|_| direction.seal().clone()).collect();
            let mut opened = 0;
            move || {
                open(&mut direction.opener, &mut records[opened]);
                opened += 1;
            }
        }));
    }
    operations
}
