//! The sending direction: sealed records wait in one buffer until the transport has taken them.

use std::fmt;
use std::io::ErrorKind;

use bytes::{Buf, BytesMut};

use crate::blocking::common::{Common, Stop, uninterrupted};
use crate::blocking::transport::Transport;
use crate::error::{Alert, Error};
use crate::failure::Fault;
use crate::session::Sealer;

pub(super) struct Writing {
    sealer: Sealer,
    /// Sealed, not yet taken by the transport.
    sealed: BytesMut,
    /// END or an alert has been sealed.
    ended: bool,
    /// The transport was told that no more comes.
    closed: bool,
}

impl Writing {
    pub(super) fn new(sealer: Sealer) -> Self {
        Writing { sealer, sealed: BytesMut::new(), ended: false, closed: false }
    }

    /// Seals one record and hands it on. It counts as written once it is sealed, and is kept until the transport has
    /// it. What waits from before goes first: if the transport does not take that, nothing is sealed.
    pub(super) fn write<'a, T: Transport>(
        &mut self,
        io: &mut T,
        common: &Common,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<usize, Stop> {
        self.sealer.check()?;
        self.drain(io)?;
        if parts.clone().any(|part| !part.is_empty()) {
            common.rekey_if_due(&mut self.sealer, &mut self.sealed)?;
        }
        let taken = self.sealer.seal_data(parts, &mut self.sealed)?;
        self.try_drain(io).map(|()| taken)
    }

    pub(super) fn keep_alive<T: Transport>(&mut self, io: &mut T, common: &Common) -> Result<(), Stop> {
        self.sealer.check()?;
        self.drain(io)?;
        common.rekey_if_due(&mut self.sealer, &mut self.sealed)?;
        self.sealer.seal_keepalive(&mut self.sealed)?;
        self.try_drain(io)
    }

    pub(super) fn flush<T: Transport>(&mut self, io: &mut T) -> Result<(), Stop> {
        self.drain(io)?;
        if self.sealed.capacity() > KEPT {
            self.sealed = BytesMut::new();
        }
        uninterrupted(|| io.flush()).map_err(Stop::io)
    }

    /// Sends the end of our direction, once, and closes the transport for writing.
    pub(super) fn end<T: Transport>(&mut self, io: &mut T) -> Result<(), Stop> {
        if !self.ended {
            self.sealer.seal_end(&mut self.sealed)?;
            self.ended = true;
        }
        self.flush(io)?;
        self.close(io)
    }

    /// Seals an alert, after which nothing can be sealed.
    pub(super) fn seal_alert(&mut self, alert: Alert, text: &str) -> Result<(), Stop> {
        self.sealer.seal_alert(alert, text, &mut self.sealed)?;
        self.ended = true;
        Ok(())
    }

    /// The session has failed: tries to send the alert that this calls for, and forgets the key.
    pub(super) fn tell<T: Transport>(&mut self, io: &mut T, fault: &Fault) {
        if let Some(alert) = fault.alert() {
            // The failure itself is what is reported. What the transport did not take at the first call may go at a
            // later one.
            let _ = self.seal_alert(alert, "");
            let _ = self.flush(io);
        }
        self.sealer.poison(Error::Truncated);
    }

    /// Closes the transport for writing, once.
    pub(super) fn close<T: Transport>(&mut self, io: &mut T) -> Result<(), Stop> {
        if !self.closed {
            io.shutdown_write().map_err(Stop::io)?;
            self.closed = true;
        }
        Ok(())
    }

    /// Hands on what waits, as far as the transport takes it now.
    pub(super) fn try_drain<T: Transport>(&mut self, io: &mut T) -> Result<(), Stop> {
        match self.drain(io) {
            Err(Stop::NotNow(_)) => Ok(()),
            result => result,
        }
    }

    fn drain<T: Transport>(&mut self, io: &mut T) -> Result<(), Stop> {
        while !self.sealed.is_empty() {
            match uninterrupted(|| io.write(&self.sealed)).map_err(Stop::io)? {
                0 => {
                    return Err(Stop::Over(Fault::Io(ErrorKind::WriteZero, "the transport takes no more".into())));
                }
                count => self.sealed.advance(count.min(self.sealed.len())),
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").field("sealer", &self.sealer).finish_non_exhaustive()
    }
}

/// A buffer larger than this is given up at a flush, in bytes.
const KEPT: usize = 16 * 1024;
