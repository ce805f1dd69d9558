//! The sending direction: small writes are gathered if that is wanted, and sealed records wait until the transport has taken them.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::task::{consume_budget, unconstrained};

use crate::buffers::{Outbox, Supply};
use crate::error::{Alert, Error};
use crate::failure::Fault;
use crate::session::Sealer;
use crate::stream::link::{Link, Patience, join};

#[derive(Debug)]
pub(crate) struct WriteState {
    sealer: Sealer,
    out: Outbox,
    /// END or an alert has been sealed.
    ended: bool,
    /// Whoever made the last call, if it waits. Others that use the transport meanwhile let it wake him as well.
    sleeper: Option<Waker>,
    /// After how long without sending we send something.
    keep_alive: Option<Box<Patience>>,
    link: Arc<Link>,
}

impl WriteState {
    pub(crate) fn new(mut sealer: Sealer, link: Arc<Link>) -> Self {
        sealer.rest();
        WriteState { sealer, out: Outbox::new(Supply::Thread), ended: false, sleeper: None, keep_alive: None, link }
    }

    pub(crate) fn set_write_buffer(&mut self, limit: usize) {
        self.out.set_limit(limit);
    }

    pub(crate) fn set_keep_alive(&mut self, interval: Option<Duration>) {
        self.keep_alive = interval.map(|interval| Box::new(Patience::new(interval)));
    }

    /// Sends a KEEPALIVE whenever nothing was sent for the interval. Pending, unless it fails.
    pub(crate) fn poll_keep_alive<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Infallible, Fault>> {
        if let Poll::Ready(Err(fault)) = self.drain_beside(io, cx) {
            return Poll::Ready(Err(fault));
        }
        while let Some(patience) = self.keep_alive.as_deref_mut().filter(|_| !self.ended) {
            ready!(patience.poll_over(cx));
            patience.restart();
            // Where the transport is full the peer has enough to read, and the rest goes out above.
            if self.out.waiting().is_empty() && self.sealer.check().is_ok() {
                if self.out.has_gathered() {
                    self.seal_gathered(0)?;
                } else {
                    let sealed = self.out.sealed();
                    self.link.rekey_if_due(&mut self.sealer, sealed)?;
                    self.sealer.seal_keepalive(sealed)?;
                }
                if let Poll::Ready(Err(fault)) = self.drain_beside(io, cx) {
                    return Poll::Ready(Err(fault));
                }
            }
        }
        Poll::Pending
    }

    pub(crate) fn set_sleeper(&mut self, sleeper: Option<Waker>) {
        self.sleeper = sleeper;
    }

    /// Hands on what waits, gathered or sealed, on behalf of a reader. A failure shows at the next write.
    pub(crate) fn drain_for_reader<W: AsyncWrite + Unpin>(&mut self, io: &mut W, cx: &mut Context<'_>) {
        if matches!(self.drain_beside(io, cx), Poll::Ready(Ok(()))) && self.seal_gathered(0).is_ok() {
            let _ = self.drain_beside(io, cx);
        }
    }

    /// Hands on what waits, for somebody else than a writer, who may have been dropped or may sleep: the transport wakes both.
    fn drain_beside<W: AsyncWrite + Unpin>(&mut self, io: &mut W, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.out.waiting().is_empty() {
            return Poll::Ready(Ok(()));
        }
        let both = join(self.sleeper.as_ref(), cx.waker());
        self.poll_drain(io, &mut Context::from_waker(&both))
    }

    /// Gathers the bytes, or seals a few records of them and hands these on. They count as written once they are gathered or sealed: they
    /// are kept until the transport has them.
    pub(crate) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Fault>> {
        self.sealer.check()?;
        // Fairness towards other tasks comes before anything is sealed, and not between sealing it and handing it on: nobody
        // would come back for it.
        ready!(pin!(consume_budget()).poll(cx));
        let parts = bufs.iter().map(|buf| &**buf);
        // Behind bytes that the transport has not taken yet nothing is gathered: the writer waits, and hears of a failure.
        if self.out.waiting().is_empty()
            && let Some(taken) = self.out.gather(parts.clone())
        {
            return Poll::Ready(Ok(taken));
        }
        ready!(self.poll_drain(io, cx))?;
        if let Some(taken) = self.out.gather(parts.clone()) {
            return Poll::Ready(Ok(taken));
        }
        if self.out.has_gathered() {
            let more = self.out.sealed_len(parts.clone(), &self.sealer);
            if self.out.fits_behind_gathered(more, &self.sealer) {
                self.seal_gathered(more)?;
            } else {
                self.seal_gathered(0)?;
                ready!(self.poll_drain(io, cx))?;
            }
        }
        let WriteState { sealer, out, link, .. } = self;
        let taken = match out.gather(parts.clone()) {
            Some(taken) => taken,
            None => out.seal(parts, sealer, |sealer, output| link.rekey_if_due(sealer, output))?,
        };
        if !self.out.waiting().is_empty() {
            self.keep_alive.as_deref_mut().into_iter().for_each(Patience::restart);
        }
        match self.poll_drain(io, cx) {
            Poll::Ready(Err(fault)) => Poll::Ready(Err(fault)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    /// Seals what was gathered, and keeps room for `more` bytes of sealed records.
    fn seal_gathered(&mut self, more: usize) -> Result<(), Error> {
        if self.out.has_gathered() {
            self.keep_alive.as_deref_mut().into_iter().for_each(Patience::restart);
        }
        let WriteState { sealer, out, link, .. } = self;
        out.seal_gathered(sealer, more, |sealer, output| link.rekey_if_due(sealer, output))
    }

    pub(crate) fn poll_flush<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        ready!(self.poll_drain(io, cx))?;
        if self.out.has_gathered() {
            self.seal_gathered(0)?;
            ready!(self.poll_drain(io, cx))?;
        }
        Pin::new(io).poll_flush(cx).map_err(|error| Fault::io(&error))
    }

    /// Sends the end of our direction, once, and closes the transport for writing.
    pub(crate) fn poll_shutdown<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        if !self.ended {
            self.seal_gathered(0)?;
            self.sealer.seal_end(self.out.sealed())?;
            self.ended = true;
        }
        ready!(self.poll_flush(io, cx))?;
        Pin::new(io).poll_shutdown(cx).map_err(|error| Fault::io(&error))
    }

    pub(crate) fn seal_alert(&mut self, alert: Alert, text: &str) -> Result<(), Fault> {
        // The alert goes out whatever becomes of the data.
        let _ = self.seal_gathered(0);
        self.sealer.seal_alert(alert, text, self.out.sealed())?;
        self.ended = true;
        Ok(())
    }

    /// Seals an alert, once, and tries to hand it on; what the transport does not take goes with the next try.
    pub(crate) fn try_alert<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
        alert: Alert,
        text: &str,
    ) {
        if alert == Alert::Revoked {
            self.out.discard_gathered();
        }
        let _ = self.seal_alert(alert, text);
        let _ = self.poll_drain(io, cx);
        let _ = Pin::new(io).poll_flush(cx);
    }

    /// Whether the transport has taken everything that was sealed.
    pub(crate) fn is_drained(&self) -> bool {
        self.out.waiting().is_empty()
    }

    /// The session is over: the key is wiped.
    pub(crate) fn poison(&mut self, error: Error) {
        self.sealer.poison(error);
    }

    /// Hands on what waits, as far as the transport takes it.
    fn poll_drain<W: AsyncWrite + Unpin>(&mut self, io: &mut W, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.out.waiting().is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.out.waiting().is_empty() {
            let written = unconstrained(poll_fn(|cx| Pin::new(&mut *io).poll_write(cx, self.out.waiting())));
            match ready!(pin!(written).poll(cx)) {
                Ok(0) => {
                    return Poll::Ready(Err(Fault::Io(
                        std::io::ErrorKind::WriteZero,
                        "the transport takes no more".into(),
                    )));
                }
                Ok(count) => self.out.advance(count),
                Err(error) => return Poll::Ready(Err(Fault::io(&error))),
            }
        }
        // A stream with nothing to send keeps no buffer, and after much data no expanded key.
        if self.out.rest() {
            self.sealer.rest();
        }
        Poll::Ready(Ok(()))
    }
}
