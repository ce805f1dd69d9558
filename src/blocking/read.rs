//! The receiving direction: ciphertext is read into one buffer, opened there, and lent from there.

use std::fmt;
use std::ops::Range;

use crate::blocking::common::{Common, Stop, uninterrupted};
use crate::blocking::transport::Transport;
use crate::error::Error;
use crate::failure::Fault;
use crate::session::{Event, Opener, Progress};

pub(super) struct Reading {
    opener: Opener,
    /// Room, filled in part.
    buffer: Vec<u8>,
    /// Bytes as received; the record at their front may be opened.
    filled: Range<usize>,
    /// What is left of the opened record's content, counted from the front of what is filled.
    data: Range<usize>,
    /// Length of the opened record; 0 if there is none.
    record: usize,
    /// How much the next read asks for.
    chunk: usize,
}

/// How the transport is read.
#[derive(Clone, Copy, Debug)]
enum How {
    Wait,
    /// Only what is there already.
    Look,
}

impl Reading {
    pub(super) fn new(opener: Opener, input: Vec<u8>) -> Self {
        let filled = 0..input.len();
        Reading { opener, buffer: input, filled, data: 0..0, record: 0, chunk: MIN_CHUNK }
    }

    /// The decrypted bytes that are there.
    pub(super) fn data(&self) -> &[u8] {
        self.filled().get(self.data.clone()).unwrap_or_default()
    }

    pub(super) fn consume(&mut self, amount: usize) {
        self.data.start += amount.min(self.data.len());
        if self.data.is_empty() {
            self.filled.start += self.record;
            self.record = 0;
            self.data = 0..0;
        }
    }

    /// Ends this direction; what was not read yet is gone.
    pub(super) fn poison(&mut self, error: Error) {
        self.opener.poison(error);
        self.buffer = Vec::new();
        (self.filled, self.data, self.record) = (0..0, 0..0, 0);
    }

    pub(super) fn awaits_verdict(&self) -> bool {
        self.opener.awaits_verdict()
    }

    /// Returns when [`Reading::data`] has bytes, or the peer's direction has ended.
    pub(super) fn fill<T: Transport>(&mut self, io: &mut T, common: &Common) -> Result<(), Stop> {
        while self.data.is_empty() && !self.opener.is_ended() {
            self.next(io, common, How::Wait)?;
        }
        Ok(())
    }

    /// Returns when the responder's verdict is known.
    pub(super) fn accepted<T: Transport>(&mut self, io: &mut T, common: &Common) -> Result<(), Stop> {
        while self.opener.awaits_verdict() {
            self.next(io, common, How::Wait)?;
        }
        Ok(self.opener.check()?)
    }

    /// Looks, without waiting, whether the verdict has come.
    pub(super) fn find_verdict<T: Transport>(&mut self, io: &mut T, common: &Common) -> Result<(), Stop> {
        while self.opener.awaits_verdict() {
            match self.next(io, common, How::Look) {
                Err(Stop::NotNow(_)) => return Ok(()),
                result => result?,
            }
        }
        Ok(())
    }

    /// The session is over because the transport fails: looks in what has come for the reason that the peer gave, if it
    /// did. Data that stands before it could not be read any more anyway.
    pub(super) fn find_reason<T: Transport>(&mut self, io: &mut T, common: &Common) -> Option<Fault> {
        for _ in 0..MAX_LOOK {
            self.consume(usize::MAX);
            match self.next(io, common, How::Look) {
                Ok(()) if !self.opener.is_ended() => {}
                Err(Stop::Over(fault @ Fault::Protocol(Error::Refused(_) | Error::AlertReceived(_)))) => {
                    return Some(fault);
                }
                _ => break,
            }
        }
        None
    }

    /// Opens the next record, reading as much as it needs.
    fn next<T: Transport>(&mut self, io: &mut T, common: &Common, how: How) -> Result<(), Stop> {
        loop {
            let input = self.buffer.get_mut(self.filled.clone()).unwrap_or_default();
            match self.opener.open(input)? {
                Progress::Need(missing) => {
                    if self.receive(io, missing, how)? == 0 {
                        return Ok(self.opener.finish()?);
                    }
                }
                Progress::Record { consumed, event: Event::Data(range) } => {
                    self.data = range;
                    self.record = consumed;
                    return Ok(());
                }
                Progress::Record { consumed, event } => {
                    self.filled.start += consumed;
                    if event == Event::Rekey {
                        common.peer_rekeyed(&mut self.opener)?;
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Reads once; the peer is authenticated, so a record's length is believed.
    fn receive<T: Transport>(&mut self, io: &mut T, missing: usize, how: How) -> Result<usize, Stop> {
        let want = self.chunk.max(missing);
        self.make_room(want);
        let room = self.buffer.get_mut(self.filled.end..self.filled.end + want).unwrap_or_default();
        let count = uninterrupted(|| match how {
            How::Wait => io.read(room),
            How::Look => io.read_ready(room),
        });
        let count = count.map_err(Stop::io)?.min(want);
        self.filled.end += count;
        if count == want {
            self.chunk = (want * 2).min(MAX_CHUNK);
        } else if count < want / 8 {
            self.chunk = MIN_CHUNK;
        }
        Ok(count)
    }

    fn make_room(&mut self, want: usize) {
        if self.filled.is_empty() {
            self.filled = 0..0;
            // Little comes at present: a stream that waits keeps no large buffer.
            if want <= MIN_CHUNK && self.buffer.len() > 8 * MIN_CHUNK {
                self.buffer = Vec::new();
            }
        }
        if self.buffer.len() < self.filled.end + want {
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
        if self.buffer.len() < self.filled.end + want {
            self.buffer.resize(self.filled.end + want, 0);
        }
    }

    fn filled(&self) -> &[u8] {
        self.buffer.get(self.filled.clone()).unwrap_or_default()
    }
}

/// Without what was received.
impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("opener", &self.opener).finish_non_exhaustive()
    }
}

const MIN_CHUNK: usize = 4 * 1024;
const MAX_CHUNK: usize = 128 * 1024;
/// How many records are looked through for the reason of a failure.
const MAX_LOOK: usize = 64;
