//! What the two halves of a stream share, blocking or not: facts, and the shares of the next rekey. Nothing here is touched for a record
//! but an atomic number; the lock is taken at a rekey only.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use getrandom::SysRng;

use crate::crypto::schedule::Exporter;
use crate::error::Error;
use crate::session::{Opener, Sealer, SessionInfo, Shares};

#[derive(Debug)]
pub(crate) struct Halves {
    pub(crate) info: SessionInfo,
    pub(crate) exporter: Exporter,
    shares: Mutex<Mixing>,
    /// That of the shares, to be read without the lock.
    peer_number: AtomicU32,
}

/// What rekeys are mixed from, and how many there have been.
#[derive(Debug)]
struct Mixing {
    shares: Shares,
    sent: u64,
    received: u64,
}

impl Halves {
    pub(crate) fn new(info: SessionInfo, exporter: Exporter, shares: Shares) -> Self {
        let peer_number = AtomicU32::new(shares.peer_number());
        Halves { info, exporter, shares: Mutex::new(Mixing { shares, sent: 0, received: 0 }), peer_number }
    }

    /// Rekeys our direction if it is time to; `now` is the time since the session began.
    pub(crate) fn rekey_if_due(&self, now: Duration, sealer: &mut Sealer, output: &mut BytesMut) -> Result<(), Error> {
        if !sealer.rekey_is_due(now, self.peer_number.load(Ordering::Acquire)) {
            return Ok(());
        }
        let mut mixing = self.mixing();
        sealer.rekey(&mut mixing.shares, now, &mut SysRng, output)?;
        mixing.sent += 1;
        Ok(())
    }

    /// Completes a rekey of the peer's direction.
    pub(crate) fn peer_rekeyed(&self, opener: &mut Opener) -> Result<(), Error> {
        let mut mixing = self.mixing();
        opener.rekey(&mut mixing.shares)?;
        mixing.received += 1;
        self.peer_number.store(mixing.shares.peer_number(), Ordering::Release);
        Ok(())
    }

    /// How often our direction and the peer's have changed keys.
    #[cfg(feature = "tokio")]
    pub(crate) fn rekeys(&self) -> (u64, u64) {
        let mixing = self.mixing();
        (mixing.sent, mixing.received)
    }

    fn mixing(&self) -> MutexGuard<'_, Mixing> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
