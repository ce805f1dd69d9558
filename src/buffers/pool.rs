//! Buffers that wait for the next stream of this thread that has something to do.
//!
//! They are not wiped: what is in them beyond what was filled is never lent to anyone.

use std::cell::RefCell;

use bytes::BytesMut;

use crate::buffers::{LARGE, SMALL};

/// Up to [`KEPT`] bytes.
struct Spare {
    rooms: Vec<Vec<u8>>,
    sealed: Vec<BytesMut>,
    bytes: usize,
}

impl Spare {
    /// Whether a buffer of so many bytes is kept.
    fn admits(&mut self, size: usize) -> bool {
        let admits = [SMALL, LARGE].contains(&size) && self.bytes + size <= KEPT;
        self.bytes += if admits { size } else { 0 };
        admits
    }
}

thread_local! {
    static SPARE: RefCell<Spare> = const { RefCell::new(Spare { rooms: Vec::new(), sealed: Vec::new(), bytes: 0 }) };
}

/// A buffer of `len` bytes that have any value.
pub(super) fn take_room(len: usize) -> Vec<u8> {
    with(|spare| {
        let found = spare.rooms.iter().rposition(|room| room.len() == len)?;
        spare.bytes -= len;
        Some(spare.rooms.swap_remove(found))
    })
    .unwrap_or_else(|| vec![0; len])
}

pub(super) fn give_room(room: Vec<u8>) {
    with(|spare| {
        if spare.admits(room.len()) {
            spare.rooms.push(room);
        }
        Some(())
    });
}

/// An empty buffer with room for `capacity` bytes.
pub(super) fn take_sealed(capacity: usize) -> BytesMut {
    with(|spare| {
        let found = spare.sealed.iter().rposition(|sealed| sealed.capacity() == capacity)?;
        spare.bytes -= capacity;
        Some(spare.sealed.swap_remove(found))
    })
    .unwrap_or_else(|| BytesMut::with_capacity(capacity))
}

pub(super) fn give_sealed(mut sealed: BytesMut) {
    sealed.clear();
    with(|spare| {
        if spare.admits(sealed.capacity()) {
            spare.sealed.push(sealed);
        }
        Some(())
    });
}

/// `None` also while the thread ends, when there is no pool any more.
fn with<T>(then: impl FnOnce(&mut Spare) -> Option<T>) -> Option<T> {
    SPARE.try_with(|spare| spare.try_borrow_mut().ok().and_then(|mut spare| then(&mut spare))).ok().flatten()
}

/// What a thread keeps at most, in bytes.
const KEPT: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    // What is given back is what is taken next, and no thread keeps more than its bound.
    #[test]
    fn keeps_some_and_gives_them_again() {
        let mut room = take_room(SMALL);
        room[7] = 42;
        give_room(room);
        assert_eq!(take_room(SMALL)[7], 42);
        assert_eq!(take_room(SMALL)[7], 0);
        (0..100).for_each(|_| give_room(vec![1; LARGE]));
        (0..100).for_each(|_| give_sealed(BytesMut::with_capacity(LARGE)));
        give_room(vec![1; 5_000]);
        let kept = with(|spare| Some((spare.bytes, spare.rooms.len(), spare.sealed.len()))).unwrap();
        assert_eq!(kept, (3 * LARGE, 3, 0));
        assert_eq!(take_room(5_000), [0; 5_000]);
    }
}
