//! The receiving direction: ciphertext is read into one buffer, opened there, and lent from there.

use std::fmt;
use std::io::ErrorKind;

use crate::blocking::common::{Common, Stop, uninterrupted};
use crate::blocking::transport::Transport;
use crate::buffers::{Inbox, Supply};
use crate::error::Error;
use crate::failure::Fault;
use crate::session::{Event, Opener, Progress};

pub(super) struct Reading {
    opener: Opener,
    inbox: Inbox,
}

/// How the transport is read.
#[derive(Clone, Copy, Debug)]
enum How {
    Wait,
    /// Only what is there already.
    Look,
    /// Only what was received already.
    Have,
}

impl Reading {
    pub(super) fn new(mut opener: Opener, received: &[u8]) -> Self {
        opener.rest();
        Reading { opener, inbox: Inbox::new(received, Supply::Process) }
    }

    /// The decrypted bytes that are there.
    pub(super) fn data(&self) -> &[u8] {
        self.inbox.data()
    }

    pub(super) fn consume(&mut self, amount: usize) {
        self.inbox.consume(amount);
        self.shrink();
    }

    /// A thread that has read everything keeps a small buffer, and after much data no expanded key.
    fn shrink(&mut self) {
        if self.inbox.shrink() {
            self.opener.rest();
        }
    }

    /// Ends this direction; what was not read yet is gone.
    pub(super) fn poison(&mut self, error: Error) {
        self.opener.poison(error);
        self.inbox.clear();
    }

    pub(super) fn awaits_verdict(&self) -> bool {
        self.opener.awaits_verdict()
    }

    /// Returns when [`Reading::data`] has bytes, or the peer's direction has ended.
    pub(super) fn fill<T: Transport>(&mut self, io: &mut T, common: &Common) -> Result<(), Stop> {
        while self.data().is_empty() && !self.opener.is_ended() {
            self.next(io, common, How::Wait)?;
            // The session may have been ended while this call waited: then nothing is delivered any more.
            if let Some(fault) = common.fault() {
                return Err(Stop::Over(fault.clone()));
            }
        }
        Ok(())
    }

    /// Opens what was received already, up to the next data.
    pub(super) fn fill_from_inbox<T: Transport>(&mut self, io: &mut T, common: &Common) -> Result<(), Stop> {
        while self.data().is_empty() && !self.opener.is_ended() {
            match self.next(io, common, How::Have) {
                Err(Stop::NotNow(_)) => break,
                result => result?,
            }
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
            match self.opener.open(self.inbox.received())? {
                Progress::Need(missing) => {
                    if self.receive(io, missing, how)? == 0 {
                        return Ok(self.opener.finish()?);
                    }
                }
                Progress::Record { consumed, event: Event::Data(range) } => {
                    self.inbox.opened(range, consumed);
                    return Ok(());
                }
                Progress::Record { consumed, event } => {
                    self.inbox.pass(consumed);
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
        self.shrink();
        let room = self.inbox.room(missing);
        let of = room.len();
        let count = uninterrupted(|| match how {
            How::Wait => io.read(room),
            How::Look => io.read_ready(room),
            How::Have => Err(ErrorKind::WouldBlock.into()),
        });
        let count = count.map_err(Stop::io)?.min(of);
        self.inbox.filled(count, of);
        Ok(count)
    }
}

/// Without what was received.
impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("opener", &self.opener).finish_non_exhaustive()
    }
}

/// How many records are looked through for the reason of a failure.
const MAX_LOOK: usize = 64;
