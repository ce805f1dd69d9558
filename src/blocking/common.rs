//! What the two directions of a stream have in common: facts, the first failure, and the shares of the next rekey. The
//! lock is taken at a rekey only.

use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::sync::OnceLock;
use std::time::Instant;

use bytes::BytesMut;

use crate::crypto::schedule::Exporter;
use crate::error::Error;
use crate::failure::Fault;
use crate::halves::Halves;
use crate::session::{Sealer, SessionInfo, Shares};

#[derive(Debug)]
pub(super) struct Common {
    halves: Halves,
    started: Instant,
    fault: OnceLock<Fault>,
}

impl Deref for Common {
    type Target = Halves;

    fn deref(&self) -> &Halves {
        &self.halves
    }
}

/// Why a call goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    /// The transport would block, or its time limit has passed. Nothing is lost, nothing is latched: the call may be
    /// made again.
    NotNow(io::Error),
    /// The session is over.
    Over(Fault),
}

impl Common {
    pub(super) fn new(info: SessionInfo, exporter: Exporter, shares: Shares) -> Self {
        Common { halves: Halves::new(info, exporter, shares), started: Instant::now(), fault: OnceLock::new() }
    }

    /// The first failure, if there was one.
    pub(super) fn fault(&self) -> Option<&Fault> {
        self.fault.get()
    }

    pub(super) fn check(&self) -> io::Result<()> {
        self.fault().map_or(Ok(()), |fault| Err(fault.to_io()))
    }

    /// Latches a failure, unless one is there already, and gives the one that is.
    pub(super) fn note<T>(&self, result: Result<T, Stop>) -> io::Result<T> {
        result.map_err(|stop| match stop {
            Stop::NotNow(error) => error,
            // A mistake of the caller ends nothing.
            Stop::Over(fault) if fault.is_misuse() => fault.to_io(),
            Stop::Over(fault) => self.fault.get_or_init(|| fault).to_io(),
        })
    }

    /// Latches a failure from outside, unless one is there already.
    pub(super) fn end(&self, fault: Fault) {
        let _ = self.fault.set(fault);
    }

    /// Rekeys our direction if it is time to.
    pub(super) fn rekey_if_due(&self, sealer: &mut Sealer, output: &mut BytesMut) -> Result<(), Error> {
        self.halves.rekey_if_due(self.started.elapsed(), sealer, output)
    }
}

impl Stop {
    /// What an error of the transport means.
    pub(super) fn io(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Stop::NotNow(error),
            _ => Stop::Over(Fault::io(&error)),
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Over(error.into())
    }
}

/// Makes a call of the transport again for as long as a signal interrupts it.
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
