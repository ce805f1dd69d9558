//! The latch that makes the first failure the last.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::AsyncWrite;

use crate::error::Error;
use crate::failure::Fault;
use crate::stream::write::WriteState;

/// The first failure of a stream, shared by its halves. It is written once and read without a lock; the lock is for a writer
/// that sleeps, and for whoever wakes it because of a failure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latch(pub(super) Arc<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    fault: OnceLock<Box<Fault>>,
    sleeping_writer: Mutex<Option<Waker>>,
    /// Whoever reads; for an end that comes from outside.
    sleeping_reader: Mutex<Option<Waker>>,
}

/// A call that writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call<'a> {
    Write(&'a [IoSlice<'a>]),
    Flush,
    Shutdown,
}

impl Latch {
    pub(crate) fn check(&self) -> io::Result<()> {
        self.0.fault.get().map_or(Ok(()), |fault| Err(fault.to_io()))
    }

    /// Latches a failure, unless one is there already; returns the one that is.
    pub(crate) fn note_poll<T>(&self, polled: Poll<Result<T, Fault>>) -> Poll<io::Result<T>> {
        polled.map(|result| result.map_err(|fault| self.note(fault)))
    }

    fn note(&self, fault: Fault) -> io::Error {
        if fault.is_misuse() {
            return fault.to_io();
        }
        let first = self.0.fault.get_or_init(|| Box::new(fault)).to_io();
        let writer = self.sleeping_writer().take();
        writer.into_iter().for_each(Waker::wake);
        first
    }

    /// Makes a call that writes. If the transport fails, `reason` is asked whether the peer has said why.
    pub(crate) fn poll_call<W: AsyncWrite + Unpin>(
        &self,
        io: &mut W,
        write: &mut WriteState,
        cx: &mut Context<'_>,
        call: Call<'_>,
        reason: impl FnOnce(&mut W, &mut Context<'_>) -> Option<Fault>,
    ) -> Poll<io::Result<usize>> {
        if let Some(fault) = self.0.fault.get() {
            tell_peer(fault, io, write, cx, matches!(call, Call::Shutdown));
            return Poll::Ready(Err(fault.to_io()));
        }
        let polled = match call {
            Call::Write(bufs) => write.poll_write(io, cx, bufs),
            Call::Flush => write.poll_flush(io, cx).map_ok(|()| 0),
            Call::Shutdown => write.poll_shutdown(io, cx).map_ok(|()| 0),
        };
        write.set_sleeper(polled.is_pending().then(|| cx.waker().clone()));
        match polled {
            Poll::Pending => {
                // Reading may fail in another task meanwhile, or has just now: then this call must not sleep on.
                *self.sleeping_writer() = Some(cx.waker().clone());
                if let Some(fault) = self.0.fault.get() {
                    tell_peer(fault, io, write, cx, false);
                    return Poll::Ready(Err(fault.to_io()));
                }
                Poll::Pending
            }
            Poll::Ready(Err(fault @ Fault::Io(..))) => Poll::Ready(Err(self.note(reason(io, cx).unwrap_or(fault)))),
            polled => self.note_poll(polled),
        }
    }

    /// Lets a failure wake this task. To be called before it sleeps.
    pub(crate) fn park(&self, cx: &mut Context<'_>) -> io::Result<()> {
        *self.sleeping_writer() = Some(cx.waker().clone());
        self.check()
    }

    /// The same for whoever reads.
    pub(crate) fn park_reader(&self, cx: &mut Context<'_>) -> io::Result<()> {
        set(&mut self.0.sleeping_reader(), cx.waker());
        self.check()
    }

    /// Whether a failure has been latched.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        self.0.fault.get().map(|fault| &**fault)
    }

    fn sleeping_writer(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.sleeping_writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn sleeping_reader(&self) -> MutexGuard<'_, Option<Waker>> {
        self.sleeping_reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Latches a failure from outside, unless one is there already, and wakes both halves.
    pub(super) fn end(&self, fault: Fault) {
        self.fault.get_or_init(|| Box::new(fault));
        let writer = self.sleeping_writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let reader = self.sleeping_reader().take();
        // Without the locks: who is woken may be polled here and now.
        [writer, reader].into_iter().flatten().for_each(Waker::wake);
    }
}

fn set(sleeper: &mut Option<Waker>, waker: &Waker) {
    if !sleeper.as_ref().is_some_and(|sleeper| sleeper.will_wake(waker)) {
        *sleeper = Some(waker.clone());
    }
}

/// The session has failed: tries once to send the alert that this calls for, and to close if that is wanted.
pub(crate) fn tell_peer<W: AsyncWrite + Unpin>(
    fault: &Fault,
    io: &mut W,
    write: &mut WriteState,
    cx: &mut Context<'_>,
    close: bool,
) {
    if let Some((alert, text)) = fault.alert() {
        write.try_alert(io, cx, alert, &text);
    }
    write.poison(Error::Truncated);
    // An end before the alert would be all that the peer hears.
    if close && write.is_drained() {
        // The failure is what is reported.
        let _ = Pin::new(io).poll_shutdown(cx);
    }
}
