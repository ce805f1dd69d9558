//! What was received: ciphertext comes into one buffer, is opened there, and is lent from there.

use std::fmt;
use std::ops::Range;

use crate::buffers::{LARGE, SMALL, Supply, pool, size_for};

pub(crate) struct Inbox {
    /// Filled in part.
    room: Vec<u8>,
    /// Bytes as received; the record at their front may be opened.
    filled: Range<usize>,
    /// What is left of the opened record's content, counted from the front of what is filled.
    data: Range<usize>,
    /// Length of the opened record; 0 if there is none.
    record: usize,
    /// How large a buffer the last reads called for.
    size: usize,
    supply: Supply,
}

impl Inbox {
    /// Starts with what came behind the handshake.
    pub(crate) fn new(received: &[u8], supply: Supply) -> Self {
        let filled = 0..received.len();
        Inbox { room: received.to_vec(), filled, data: 0..0, record: 0, size: SMALL, supply }
    }

    /// The decrypted bytes that are there.
    pub(crate) fn data(&self) -> &[u8] {
        self.room.get(self.filled.clone()).and_then(|filled| filled.get(self.data.clone())).unwrap_or_default()
    }

    /// The application has taken so much of the data.
    pub(crate) fn consume(&mut self, amount: usize) {
        self.data.start += amount.min(self.data.len());
        if self.data.is_empty() {
            self.pass(self.record);
            self.data = 0..0;
        }
    }

    /// What has come, to be opened in place.
    pub(crate) fn received(&mut self) -> &mut [u8] {
        self.room.get_mut(self.filled.clone()).unwrap_or_default()
    }

    /// The record at the front holds data.
    pub(crate) fn opened(&mut self, data: Range<usize>, record: usize) {
        (self.data, self.record) = (data, record);
    }

    /// The record at the front is done with.
    pub(crate) fn pass(&mut self, record: usize) {
        self.filled.start += record;
        self.record = 0;
    }

    /// Where the next bytes go: at least as many as are missing.
    pub(crate) fn room(&mut self, missing: usize) -> &mut [u8] {
        let needed = self.filled.len() + missing;
        let size = size_for(needed).max(self.size);
        if self.filled.is_empty() {
            self.filled = 0..0;
        }
        if self.room.len() < size || self.filled.is_empty() && self.room.len() > size {
            self.exchange(size);
        } else if self.filled.start > 0 && self.room.len() - self.filled.end < missing.max(self.room.len() / 2) {
            self.room.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
        self.room.get_mut(self.filled.end..).unwrap_or_default()
    }

    /// So many bytes have come, of those that there was room for.
    pub(crate) fn filled(&mut self, count: usize, of: usize) {
        self.filled.end += count.min(of);
        if count == of {
            self.size = LARGE;
        } else if count < SMALL / 2 {
            self.size = SMALL;
        }
    }

    /// Before a wait with the buffer in hand: if there is nothing in it, a small one will do. Says whether it was a large one.
    pub(crate) fn shrink(&mut self) -> bool {
        let large = self.filled.is_empty() && self.room.len() > SMALL;
        if large {
            self.exchange(0);
            self.size = SMALL;
        }
        large
    }

    /// Gives the buffer back if there is nothing in it, and says whether that was a large one.
    #[cfg(any(test, feature = "tokio"))]
    pub(crate) fn rest(&mut self) -> bool {
        if !self.filled.is_empty() || self.room.is_empty() {
            return false;
        }
        let large = self.room.len() > SMALL;
        self.exchange(0);
        large
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        (self.filled, self.data, self.record) = (0..0, 0..0, 0);
        self.exchange(0);
    }

    fn exchange(&mut self, size: usize) {
        let mut room = if size == 0 { Vec::new() } else { pool::take(size, self.supply) };
        let filled = self.room.get(self.filled.clone()).unwrap_or_default();
        if let Some(front) = room.get_mut(..filled.len()) {
            front.copy_from_slice(filled);
        }
        self.filled = 0..self.filled.len();
        pool::give(std::mem::replace(&mut self.room, room), self.supply);
    }
}

/// Without what was received: some of it is decrypted.
impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("filled", &self.filled.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(inbox: &mut Inbox, missing: usize, bytes: &[u8]) {
        let room = inbox.room(missing);
        assert!(room.len() >= missing.max(bytes.len()));
        let of = room.len();
        room[..bytes.len()].copy_from_slice(bytes);
        inbox.filled(bytes.len(), of);
    }

    // Bytes come out as they went in, wherever records end, and however the buffer grows, moves and shrinks.
    #[test]
    fn nothing_is_lost_between_buffers() {
        let bytes: Vec<u8> = (0..2_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        for supply in [
            Supply::Process,
            #[cfg(feature = "tokio")]
            Supply::Thread,
        ] {
            let mut inbox = Inbox::new(&bytes[..100], supply);
            let (mut read, mut taken, mut seed) = (100, 0, 1_usize);
            while taken < bytes.len() {
                seed = seed.wrapping_mul(0x5851_F42D).wrapping_add(0x1405_7B7E) % 1_000_003;
                let record = (1 + seed % 65_559).min(bytes.len() - taken);
                while inbox.received().len() < record {
                    let missing = record - inbox.received().len();
                    let count = (missing + seed % 100_000).min(bytes.len() - read).min(inbox.room(missing).len());
                    fill(&mut inbox, missing, &bytes[read..read + count]);
                    read += count;
                }
                inbox.opened(0..record, record);
                assert_eq!(inbox.data(), &bytes[taken..taken + record]);
                inbox.consume(record / 2);
                inbox.consume(usize::MAX);
                taken += record;
                inbox.rest();
                assert!(inbox.room.len() <= LARGE);
            }
            inbox.rest();
            assert!(inbox.room.is_empty() && inbox.received().is_empty());
        }
    }

    // Small messages have a small buffer again after a large one; a stream that waits has none.
    #[test]
    fn buffers_are_as_large_as_what_comes() {
        let mut inbox = Inbox::new(&[], Supply::Process);
        fill(&mut inbox, 4, &[1; SMALL]);
        fill(&mut inbox, 60_000, &[1; 60_000]);
        assert_eq!(inbox.room.len(), LARGE);
        assert!(!inbox.rest(), "something is in it");
        inbox.pass(SMALL + 60_000);
        assert!(inbox.rest());
        fill(&mut inbox, 4, &[1; 50]);
        inbox.pass(50);
        fill(&mut inbox, 4, &[1; 50]);
        assert_eq!(inbox.room.len(), SMALL);
        inbox.pass(50);
        assert!(!inbox.rest() && inbox.room.is_empty());
    }
}
