//! What is to be sent: sealed records, until the transport has taken them, and before that what was gathered of small writes.

use std::fmt;

use bytes::{Buf, BytesMut};

use crate::buffers::{LARGE, SMALL, Supply, pool, size_for};
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

    /// Forgets what was gathered and not sealed.
    pub(crate) fn discard_gathered(&mut self) {
        self.gathered.iter_mut().for_each(|gathered| gathered.bytes.clear());
    }

    /// Takes all of `parts`, if small writes are gathered and it fits.
    pub(crate) fn gather<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]> + Clone) -> Option<usize> {
        let supply = self.supply;
        let gathered = self.gathered.as_deref_mut()?;
        let len = total(parts.clone());
        if len == 0 {
            return Some(0);
        }
        if gathered.bytes.len().saturating_add(len) > gathered.limit {
            return None;
        }
        if gathered.bytes.is_empty() {
            make_room(&mut gathered.bytes, gathered.limit, supply);
        }
        parts.for_each(|part| gathered.bytes.extend_from_slice(part));
        Some(len)
    }

    /// Seals what was gathered, in a buffer with room for `more` bytes of sealed records. `rekey` is called before each record. What could not be sealed
    /// stays, so that nobody takes it for sent.
    pub(crate) fn seal_gathered(
        &mut self,
        sealer: &mut Sealer,
        more: usize,
        mut rekey: impl FnMut(&mut Sealer, &mut BytesMut) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.has_gathered() {
            return Ok(());
        }
        let Some(mut gathered) = self.gathered.take() else { return Ok(()) };
        make_room(
            &mut self.sealed,
            sealer.sealed_len(gathered.bytes.len(), usize::MAX).saturating_add(more),
            self.supply,
        );
        let mut sealed = Ok(());
        while !gathered.bytes.is_empty() && sealed.is_ok() {
            sealed = self
                .seal([&*gathered.bytes].into_iter(), sealer, &mut rekey)
                .map(|taken| gathered.bytes.advance(taken));
        }
        if sealed.is_ok() {
            give(&mut gathered.bytes, self.supply);
        }
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

    /// How long the records of one call of [`Outbox::seal`] are.
    pub(crate) fn sealed_len<'a>(&self, parts: impl Iterator<Item = &'a [u8]>, sealer: &Sealer) -> usize {
        sealer.sealed_len(total(parts), BATCH)
    }

    /// Whether so many bytes of sealed records have room in a buffer of ours, behind what was gathered.
    pub(crate) fn fits_behind_gathered(&self, more: usize, sealer: &Sealer) -> bool {
        let gathered = self.gathered.as_ref().map_or(0, |gathered| gathered.bytes.len());
        sealer.sealed_len(gathered, usize::MAX).saturating_add(more) <= LARGE
    }

    /// The buffer of sealed records, for one that is not data.
    pub(crate) fn sealed(&mut self) -> &mut BytesMut {
        make_room(&mut self.sealed, 1, self.supply);
        &mut self.sealed
    }

    /// Gives the buffer back if nothing waits in it, and says whether that was a large one.
    pub(crate) fn rest(&mut self) -> bool {
        if !self.sealed.is_empty() || self.sealed.capacity() == 0 {
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
    *buffer = pool::take(size_for(len), supply);
}

fn give(buffer: &mut BytesMut, supply: Supply) {
    buffer.clear();
    pool::give(std::mem::take(buffer), supply);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::schedule::TrafficSecret;
    use crate::crypto::suite::Aead;

    fn sealer() -> Sealer {
        Sealer::new(TrafficSecret::take(&mut [7; 32]), Aead::Aes256Gcm).unwrap()
    }

    // What can't be sealed stays: whoever flushes meets the error again, instead of hearing that all is sent.
    #[test]
    fn what_is_not_sealed_is_kept() {
        let (mut out, mut sealer) = (Outbox::new(Supply::Process), sealer());
        out.set_limit(MAX_WRITE_BUFFER);
        assert_eq!(out.gather([&[1; 70_000][..], &[2; 30_000]].into_iter()), Some(100_000));
        for _ in 0..2 {
            assert_eq!(out.seal_gathered(&mut sealer, 0, |_, _| Err(Error::Entropy)), Err(Error::Entropy));
            assert!(out.has_gathered() && out.waiting().is_empty());
        }
        let mut records = 0;
        let second = |_: &mut Sealer, _: &mut BytesMut| {
            records += 1;
            if records == 2 { Err(Error::Entropy) } else { Ok(()) }
        };
        assert_eq!(out.seal_gathered(&mut sealer, 0, second), Ok(()));
        assert!(!out.has_gathered());
        assert_eq!(out.waiting().len(), sealer.sealed_len(100_000, 2));
    }

    // The room that is made is that which is used, so that no buffer grows and is lost to the pool.
    #[test]
    fn buffers_have_the_sizes_of_the_pool() {
        for padding in ["none", "block:1000", "block:65535", "pow2"] {
            for gathered in [0, 1, 100, 3_000, 4_000, 65_000] {
                for len in [1, 100, 2_100, 4_074, 4_076, 65_536, 65_537, 131_072, 1_000_000] {
                    let (mut out, mut sealer) = (Outbox::new(Supply::Process), sealer());
                    sealer.set_padding(padding.parse().unwrap());
                    out.set_limit(65_536);
                    out.gather([&std::vec![1; gathered][..]].into_iter()).unwrap();
                    let data = std::vec![2; len];
                    let parts = [&data[..]].into_iter();
                    let more = out.sealed_len(parts.clone(), &sealer);
                    if !out.fits_behind_gathered(more, &sealer) {
                        continue;
                    }
                    out.seal_gathered(&mut sealer, more, |_, _| Ok(())).unwrap();
                    let before = out.waiting().len();
                    let taken = out.seal(parts, &mut sealer, |_, _| Ok(())).unwrap();
                    assert_eq!(out.waiting().len() - before, more, "{padding} {gathered} {len}");
                    assert!(taken > 0 && [SMALL, LARGE].contains(&out.sealed.capacity()), "{padding} {gathered} {len}");
                    out.advance(usize::MAX);
                    assert_eq!(out.rest(), out.sealed.capacity() > SMALL || before + more > SMALL);
                }
            }
        }
    }
}
