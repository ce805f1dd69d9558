//! A handshake of which each side is charged for the heap that it uses.
#![allow(dead_code)]

use std::iter;

use bytes::BytesMut;
use countersign::role::Role;
use countersign::session::{Event, Progress, Session};

use crate::heap::{Heap, Tally};
use crate::side::{Pair, Side, converse};

/// One side, and its heap.
pub struct Charged<'a> {
    side: Side<'a>,
    heap: Heap,
}

impl<'a> Charged<'a> {
    pub fn new(role: Role, pair: &'a Pair) -> Self {
        let mut heap = Heap::default();
        let side = heap.charge(|| Side::new(role, pair.config(role)));
        Charged { side, heap }
    }

    /// In pieces as a small machine would read them.
    pub fn hear(&mut self, said: &[u8]) {
        self.heap.charge(|| self.side.advance(said.chunks(512)));
    }

    /// What it says, of which nothing is kept.
    pub fn say(&mut self) -> Vec<u8> {
        let said = self.side.output.to_vec();
        self.heap.charge(|| self.side.output = BytesMut::new());
        said
    }

    /// Drops all but the session, and gives it with the heap that it holds.
    pub fn finish(mut self) -> (Box<Session>, Heap) {
        let session = self.side.session();
        self.heap.charge(|| (self.side.input, self.side.output) = Default::default());
        (session, self.heap)
    }
}

/// A whole handshake.
pub fn handshake(pair: &Pair) -> [(Box<Session>, Heap); 2] {
    let (mut near, mut far) = (Charged::new(Role::Initiator, pair), Charged::new(Role::Responder, pair));
    converse(&mut near, &mut far, Charged::hear, Charged::say);
    [near.finish(), far.finish()]
}

/// Allocations of `count` records of so many bytes, sealed and opened with warm buffers.
pub fn records(from: &mut Session, to: &mut Session, size: usize, count: usize) -> [Tally; 2] {
    let content = vec![7; size];
    let mut wire = BytesMut::new();
    let [mut sealing, mut opening] = [Heap::default(), Heap::default()];
    for round in 0..=count {
        // The first one warms up.
        if round == 1 {
            (sealing, opening) = Default::default();
        }
        wire.clear();
        sealing.charge(|| from.sealer.seal_data(iter::once(content.as_slice()), &mut wire)).expect("sealed");
        let opened = opening.charge(|| to.open(&mut wire));
        assert!(matches!(opened, Ok(Progress::Record { event: Event::Data(_), .. })));
    }
    [sealing.made, opening.made]
}
