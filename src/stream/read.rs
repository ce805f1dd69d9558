//! The receiving direction: ciphertext is read into one buffer, opened there, and lent from there.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use crate::buffers::{Inbox, Supply};
use crate::error::Error;
use crate::failure::Fault;
use crate::session::{Event, Opener, Progress};
use crate::stream::link::{Link, Patience, join};

pub(crate) struct ReadState {
    opener: Opener,
    inbox: Inbox,
    /// How long the peer may be silent.
    idle: Option<Box<Patience>>,
    /// Whoever reads; others that look for the verdict, or for the reason of a failure, must not take his place.
    reader: Option<Waker>,
    /// Whoever waits for the verdict without reading, as `shutdown` does; reading must not take his place either.
    waiter: Option<Waker>,
    link: Arc<Link>,
}

impl ReadState {
    pub(crate) fn new(mut opener: Opener, received: &[u8], link: Arc<Link>) -> Self {
        opener.rest();
        ReadState { opener, inbox: Inbox::new(received, Supply::Thread), idle: None, reader: None, waiter: None, link }
    }

    pub(crate) fn set_idle_timeout(&mut self, timeout: Option<Duration>) {
        self.idle = timeout.map(|timeout| Box::new(Patience::new(timeout)));
    }

    /// The decrypted bytes that are there.
    pub(crate) fn data(&self) -> &[u8] {
        self.inbox.data()
    }

    pub(crate) fn consume(&mut self, amount: usize) {
        self.inbox.consume(amount);
        self.rest();
    }

    /// A stream that waits keeps no buffer, and after much data no expanded key.
    fn rest(&mut self) {
        if self.inbox.rest() {
            self.opener.rest();
        }
    }

    /// Ends this direction; what was not read yet is gone.
    pub(crate) fn poison(&mut self, error: Error) {
        self.opener.poison(error);
        self.inbox.clear();
    }

    /// Returns when [`ReadState::data`] has bytes, or the peer's direction has ended.
    pub(crate) fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        while self.data().is_empty() && !self.opener.is_ended() {
            if !self.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
                self.reader = Some(cx.waker().clone());
            }
            if !self.opener.awaits_verdict() {
                ready!(self.poll_record(io, cx))?;
                continue;
            }
            let both = join(self.waiter.as_ref(), cx.waker());
            let polled = self.poll_record(io, &mut Context::from_waker(&both));
            if !self.opener.awaits_verdict() {
                self.waiter.take().into_iter().for_each(Waker::wake);
            }
            ready!(polled)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the responder has yet to say whether it accepts us.
    pub(crate) fn awaits_verdict(&self) -> bool {
        self.opener.awaits_verdict()
    }

    /// Looks, without waiting, whether the verdict has come.
    pub(crate) fn find_verdict<R: AsyncRead + Unpin>(&mut self, io: &mut R) -> Result<(), Fault> {
        match self.poll_verdict(io, Waker::noop()) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    /// Looks at what has come, without waiting: the reason that the peer gave for ending the session, if it did. The session is over: whoever
    /// reads, and whose place at the transport is taken by this, is woken.
    pub(crate) fn find_reason<R: AsyncRead + Unpin>(&mut self, io: &mut R, cx: &mut Context<'_>) -> Option<Fault> {
        let reader = self.reader.take();
        let reason = loop {
            match self.poll_fill(io, cx) {
                Poll::Ready(Err(fault @ Fault::Protocol(Error::Refused(_) | Error::AlertReceived(_)))) => {
                    break Some(fault);
                }
                // The reason stands behind what was not read; after the failure nobody will read it.
                Poll::Ready(Ok(())) if !self.data().is_empty() => self.consume(usize::MAX),
                _ => break None,
            }
        };
        reader.into_iter().for_each(Waker::wake);
        reason
    }

    /// Returns when the responder's verdict is known.
    pub(crate) fn poll_accepted<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        if self.opener.awaits_verdict() {
            self.waiter = Some(cx.waker().clone());
        }
        self.poll_verdict(io, cx.waker())
    }

    /// Whoever waits for the verdict, reading or not, is woken by the transport as well, and when the verdict is known
    /// whatever it is.
    fn poll_verdict<R: AsyncRead + Unpin>(&mut self, io: &mut R, waker: &Waker) -> Poll<Result<(), Fault>> {
        let both = join(self.reader.as_ref(), &join(self.waiter.as_ref(), waker));
        let mut cx = Context::from_waker(&both);
        while self.opener.awaits_verdict() {
            if ready!(self.poll_record(io, &mut cx)).is_err() {
                break;
            }
        }
        [self.reader.take(), self.waiter.take()].into_iter().flatten().for_each(Waker::wake);
        Poll::Ready(self.opener.check().map_err(Fault::from))
    }

    /// Opens the next record, reading as much as it needs.
    fn poll_record<R: AsyncRead + Unpin>(&mut self, io: &mut R, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            match self.opener.open(self.inbox.received())? {
                Progress::Need(missing) => {
                    if ready!(self.poll_read(io, cx, missing))? == 0 {
                        return Poll::Ready(self.opener.finish().map_err(Fault::from));
                    }
                }
                Progress::Record { consumed, event: Event::Data(range) } => {
                    self.inbox.opened(range, consumed);
                    return Poll::Ready(Ok(()));
                }
                Progress::Record { consumed, event } => {
                    self.inbox.pass(consumed);
                    self.rest();
                    if event == Event::Rekey {
                        self.link.peer_rekeyed(&mut self.opener)?;
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Reads what fits; the peer is authenticated, so a record's length is believed.
    fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        cx: &mut Context<'_>,
        missing: usize,
    ) -> Poll<Result<usize, Fault>> {
        let mut room = ReadBuf::new(self.inbox.room(missing));
        let of = room.capacity();
        match Pin::new(io).poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) => {
                let count = room.filled().len();
                self.idle.as_deref_mut().into_iter().for_each(Patience::restart);
                self.inbox.filled(count, of);
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(Fault::io(&error))),
            Poll::Pending => {
                self.rest();
                if self.idle.as_deref_mut().is_some_and(|idle| idle.poll_over(cx).is_ready()) {
                    self.opener.poison(Error::Idle);
                    return Poll::Ready(Err(Error::Idle.into()));
                }
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for ReadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadState").field("inbox", &self.inbox).finish_non_exhaustive()
    }
}
