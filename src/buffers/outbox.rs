//! What is to be sent: sealed records, until the transport has taken them, and before that what was gathered of small writes.

use std::fmt;

use bytes::BytesMut;

use crate::buffers::{SMALL, Supply, pool, size_for};
use crate::error::Error;
use crate::limits::MAX_WRITE_BUFFER;
use crate::session::Sealer;

pub(crate) struct Outbox {
    /// Sealed records.
    sealed: BytesMut,
    /// How much of them the transport has taken.
    sent: usize,
    gathered: Option<Box<Gathered>>,
    supply: Supply,
}

/// Small writes that wait to be sealed together.
struct Gathered {
    bytes: BytesMut,
    limit: usize,
}

impl Outbox {
    pub(crate) fn new(supply: Supply) -> Self {
        Outbox { sealed: BytesMut::new(), sent: 0, gathered: None, supply }
    }

    /// Gathers up to `limit` bytes of small writes from now on; 0 gathers none.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        let limit = limit.min(MAX_WRITE_BUFFER);
        match &mut self.gathered {
            Some(gathered) => gathered.limit = limit,
            None if limit == 0 => {}
            None => self.gathered = Some(Box::new(Gathered { bytes: BytesMut::new(), limit })),
        }
    }

    /// What the transport is to take next.
    pub(crate) fn waiting(&self) -> &[u8] {
        self.sealed.get(self.sent..).unwrap_or_default()
    }

    /// The transport has taken so much.
    pub(crate) fn advance(&mut self, count: usize) {
        self.sent += count.min(self.waiting().len());
        if self.sent == self.sealed.len() {
            self.sealed.clear();
            self.sent = 0;
        }
    }

    /// Whether something waits to be sealed.
    pub(crate) fn has_gathered(&self) -> bool {
        self.gathered.as_ref().is_some_and(|gathered| !gathered.bytes.is_empty())
    }

    /// Takes all of `parts`, if small writes are gathered and it fits.
    pub(crate) fn gather<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]> + Clone) -> Option<usize> {
        let supply = self.supply;
        let gathered = self.gathered.as_deref_mut()?;
        let len = total(parts.clone());
        if gathered.bytes.len().saturating_add(len) > gathered.limit {
            return None;
        }
        if gathered.bytes.is_empty() {
            make_room(&mut gathered.bytes, gathered.limit, supply);
        }
        parts.for_each(|part| gathered.bytes.extend_from_slice(part));
        Some(len)
    }

    /// Seals what was gathered. `rekey` is called before each record.
    pub(crate) fn seal_gathered(
        &mut self,
        sealer: &mut Sealer,
        mut rekey: impl FnMut(&mut Sealer, &mut BytesMut) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(mut gathered) = self.gathered.take() else { return Ok(()) };
        let mut left: &[u8] = &gathered.bytes;
        let mut sealed = Ok(());
        while !left.is_empty() && sealed.is_ok() {
            sealed = self.seal([left].into_iter(), sealer, &mut rekey).map(|taken| {
                left = left.get(taken..).unwrap_or_default();
            });
        }
        give(&mut gathered.bytes, self.supply);
        self.gathered = Some(gathered);
        sealed
    }

    /// Seals the first bytes of `parts`, a few records at most, and says how many. `rekey` is called before each record.
    pub(crate) fn seal<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
        sealer: &mut Sealer,
        mut rekey: impl FnMut(&mut Sealer, &mut BytesMut) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let len = total(parts.clone());
        make_room(&mut self.sealed, sealer.sealed_len(len, BATCH), self.supply);
        let mut taken = 0;
        for _ in 0..BATCH {
            let rekeyed = if taken < len { rekey(sealer, &mut self.sealed) } else { Ok(()) };
            let sealed = rekeyed.and_then(|()| sealer.seal_data(skip(parts.clone(), taken), &mut self.sealed));
            match sealed {
                Ok(more) => taken += more,
                Err(error) if taken == 0 => return Err(error),
                // What is sealed is written; the error comes again at the next call.
                Err(_) => break,
            }
            if taken == len {
                break;
            }
        }
        Ok(taken)
    }

    /// The buffer of sealed records, for one that is not data.
    pub(crate) fn sealed(&mut self) -> &mut BytesMut {
        make_room(&mut self.sealed, 1, self.supply);
        &mut self.sealed
    }

    /// Gives the buffer back if nothing waits in it, and says whether that was a large one.
    pub(crate) fn rest(&mut self) -> bool {
        if !self.sealed.is_empty() {
            return false;
        }
        let large = self.sealed.capacity() > SMALL;
        give(&mut self.sealed, self.supply);
        large
    }
}

/// An empty buffer without room gets some; one that has something in it grows by itself.
fn make_room(buffer: &mut BytesMut, len: usize, supply: Supply) {
    if !buffer.is_empty() || buffer.capacity() >= len {
        return;
    }
    give(buffer, supply);
    *buffer = pool::take_sealed(size_for(len), supply);
}

fn give(buffer: &mut BytesMut, supply: Supply) {
    pool::give_sealed(std::mem::take(buffer), supply);
}

fn total<'a>(parts: impl Iterator<Item = &'a [u8]>) -> usize {
    parts.fold(0_usize, |sum, part| sum.saturating_add(part.len()))
}

/// `parts` without their first `count` bytes.
fn skip<'a>(parts: impl Iterator<Item = &'a [u8]> + Clone, mut count: usize) -> impl Iterator<Item = &'a [u8]> + Clone {
    parts.map(move |part| {
        let (skipped, rest) = part.split_at(part.len().min(count));
        count -= skipped.len();
        rest
    })
}

/// Without what was gathered.
impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("waiting", &self.waiting().len()).finish_non_exhaustive()
    }
}

/// How many records are sealed before the transport is asked to take them.
const BATCH: usize = 2;
