//! The sending direction: small writes are gathered if that is wanted, and sealed records wait until the transport has taken them.

use std::fmt;
use std::io::ErrorKind;

use crate::blocking::common::{Common, Stop, uninterrupted};
use crate::blocking::transport::Transport;
use crate::buffers::{Outbox, Supply};
use crate::error::{Alert, Error};
use crate::failure::Fault;
use crate::session::Sealer;

pub(super) struct Writing {
    sealer: Sealer,
    out: Outbox,
    /// END or an alert has been sealed.
    ended: bool,
    /// The transport was told that no more comes.
    closed: bool,
}

impl Writing {
    pub(super) fn new(mut sealer: Sealer) -> Self {
        sealer.rest();
        Writing { sealer, out: Outbox::new(Supply::Process), ended: false, closed: false }
    }

    pub(super) fn set_write_buffer(&mut self, limit: usize) {
        self.out.set_limit(limit);
    }

    /// Gathers the bytes, or seals a few records of them and hands these on. They count as written once they are gathered or sealed, and are kept until
    /// the transport has them. What waits from before goes first: if the transport does not take that, nothing is taken.
    pub(super) fn write<'a, T: Transport>(
        &mut self,
        io: &mut T,
        common: &Common,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<usize, Stop> {
        self.sealer.check()?;
        // Behind bytes that the transport has not taken yet nothing is gathered: the writer waits, and hears of a failure.
        if self.out.waiting().is_empty()
            && let Some(taken) = self.out.gather(parts.clone())
        {
            return Ok(taken);
        }
        self.drain(io)?;
        if let Some(taken) = self.out.gather(parts.clone()) {
            return Ok(taken);
        }
        let more = self.out.sealed_len(parts.clone(), &self.sealer);
        if self.out.fits_behind_gathered(more, &self.sealer) {
            self.seal_gathered(common, more)?;
        } else {
            self.seal_gathered(common, 0)?;
            self.drain(io)?;
        }
        let Writing { sealer, out, .. } = self;
        let taken = match out.gather(parts.clone()) {
            Some(taken) => taken,
            None => out.seal(parts, sealer, |sealer, output| common.rekey_if_due(sealer, output))?,
        };
        self.try_drain(io).map(|()| taken)
    }

    /// Whether something waits to be sealed.
    pub(super) fn has_gathered(&self) -> bool {
        self.out.has_gathered()
    }

    /// Hands on what waits, gathered or sealed, as far as the transport takes it now.
    pub(super) fn drain_for_reader<T: Transport>(&mut self, io: &mut T, common: &Common) -> Result<(), Stop> {
        self.try_drain(io)?;
        if self.out.waiting().is_empty() {
            self.seal_gathered(common, 0)?;
        }
        self.try_drain(io)
    }

    /// Seals what was gathered, and keeps room for `more` bytes of sealed records.
    fn seal_gathered(&mut self, common: &Common, more: usize) -> Result<(), Error> {
        let Writing { sealer, out, .. } = self;
        out.seal_gathered(sealer, more, |sealer, output| common.rekey_if_due(sealer, output))
    }

    pub(super) fn keep_alive<T: Transport>(&mut self, io: &mut T, common: &Common) -> Result<(), Stop> {
        self.sealer.check()?;
        self.drain(io)?;
        if self.out.has_gathered() {
            self.seal_gathered(common, 0)?;
        } else {
            let sealed = self.out.sealed();
            common.rekey_if_due(&mut self.sealer, sealed)?;
            self.sealer.seal_keepalive(sealed)?;
        }
        self.try_drain(io)
    }

    pub(super) fn flush<T: Transport>(&mut self, io: &mut T, common: &Common) -> Result<(), Stop> {
        self.drain(io)?;
        self.seal_gathered(common, 0)?;
        self.drain(io)?;
        uninterrupted(|| io.flush()).map_err(Stop::io)
    }

    /// Sends the end of our direction, once, and closes the transport for writing.
    pub(super) fn end<T: Transport>(&mut self, io: &mut T, common: &Common) -> Result<(), Stop> {
        if !self.ended {
            self.seal_gathered(common, 0)?;
            self.sealer.seal_end(self.out.sealed())?;
            self.ended = true;
        }
        self.flush(io, common)?;
        self.close(io)
    }

    /// Seals an alert, after which nothing can be sealed.
    pub(super) fn seal_alert(&mut self, common: &Common, alert: Alert, text: &str) -> Result<(), Stop> {
        // The alert goes out whatever becomes of the data.
        let _ = self.seal_gathered(common, 0);
        self.sealer.seal_alert(alert, text, self.out.sealed())?;
        self.ended = true;
        Ok(())
    }

    /// The session has failed: tries to send the alert that this calls for, and forgets the key.
    pub(super) fn tell<T: Transport>(&mut self, io: &mut T, common: &Common, fault: &Fault) {
        if let Some((alert, text)) = fault.alert() {
            // The failure itself is what is reported. What the transport did not take at the first call may go at a
            // later one.
            if alert == Alert::Revoked {
                self.out.discard_gathered();
            }
            let _ = self.seal_alert(common, alert, &text);
            let _ = self.flush(io, common);
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
        while !self.out.waiting().is_empty() {
            match uninterrupted(|| io.write(self.out.waiting())).map_err(Stop::io)? {
                0 => {
                    return Err(Stop::Over(Fault::Io(ErrorKind::WriteZero, "the transport takes no more".into())));
                }
                count => self.out.advance(count),
            }
        }
        // A stream with nothing to send keeps no buffer, and after much data no expanded key.
        if self.out.rest() {
            self.sealer.rest();
        }
        Ok(())
    }
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").field("sealer", &self.sealer).finish_non_exhaustive()
    }
}
