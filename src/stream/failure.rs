//! Failures with sockets in them, and the latch that makes the first one the last.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::AsyncWrite;

use crate::error::{Alert, Error, Failure};
use crate::role::Stage;
use crate::stream::write::WriteState;

/// Why there is no stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The transport failed; at which message, or `None` while connecting.
    Io {
        /// The message that was being sent or awaited.
        stage: Option<Stage>,
        /// The cause.
        error: io::Error,
    },
    /// The deadline passed; at which message, or `None` while connecting.
    Timeout {
        /// The message that was being sent or awaited.
        stage: Option<Stage>,
    },
    /// A listener was at its bound, and this unfinished handshake was the oldest.
    GaveWay {
        /// The message that was awaited.
        stage: Stage,
    },
    /// The handshake failed.
    Protocol(Failure),
}

/// What ended a stream. Repeated to every later call.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Protocol(Error),
    Io(io::ErrorKind, Arc<str>),
}

/// The first failure of a stream, shared by its halves. It is written once and read without a lock; the lock is for a writer
/// that sleeps, and for whoever wakes it because of a failure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latch(Arc<State>);

#[derive(Debug, Default)]
struct State {
    fault: OnceLock<Fault>,
    sleeping_writer: Mutex<Option<Waker>>,
}

/// A call that writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call<'a> {
    Write(&'a [IoSlice<'a>]),
    Flush,
    Shutdown,
}

/// The protocol's error in an [`io::Error`] that a [`Stream`](crate::stream::Stream) returned.
pub fn protocol_error(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

impl Fault {
    pub(crate) fn io(error: &io::Error) -> Self {
        Fault::Io(error.kind(), error.to_string().into())
    }

    pub(crate) fn to_io(&self) -> io::Error {
        match self {
            Fault::Protocol(error) => io::Error::new(kind(error), error.clone()),
            Fault::Io(kind, text) => io::Error::new(*kind, text.to_string()),
        }
    }

    pub(crate) fn alert(&self) -> Option<Alert> {
        match self {
            Fault::Protocol(error) => error.alert(),
            Fault::Io(..) => None,
        }
    }

    /// A mistake of the caller ends nothing.
    fn is_misuse(&self) -> bool {
        matches!(self, Fault::Protocol(Error::Misuse(_)))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Protocol(error)
    }
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
        let first = self.0.fault.get_or_init(|| fault).to_io();
        if let Some(writer) = self.sleeping_writer().take() {
            writer.wake();
        }
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
        write.set_asleep(polled.is_pending());
        match polled {
            Poll::Pending => {
                // Reading may fail in another task meanwhile, or has just now: then this call must not sleep on.
                *self.sleeping_writer() = Some(cx.waker().clone());
                self.check()?;
                Poll::Pending
            }
            Poll::Ready(Err(fault @ Fault::Io(..))) => Poll::Ready(Err(self.note(reason(io, cx).unwrap_or(fault)))),
            polled => self.note_poll(polled),
        }
    }

    fn sleeping_writer(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.sleeping_writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The session has failed: tries once to send the alert that this calls for, and to close if that is wanted.
fn tell_peer<W: AsyncWrite + Unpin>(
    fault: &Fault,
    io: &mut W,
    write: &mut WriteState,
    cx: &mut Context<'_>,
    close: bool,
) {
    if let Some(alert) = fault.alert() {
        write.try_alert(io, cx, alert);
    }
    write.poison(Error::Truncated);
    if close {
        // The failure is what is reported.
        let _ = Pin::new(io).poll_shutdown(cx);
    }
}

fn kind(error: &Error) -> io::ErrorKind {
    match error {
        Error::Truncated => io::ErrorKind::UnexpectedEof,
        Error::Malformed(_)
        | Error::Unexpected { .. }
        | Error::UnsupportedVersion(_)
        | Error::NoCommonSuite
        | Error::Untrusted(_)
        | Error::Tampered(_) => io::ErrorKind::InvalidData,
        Error::Denied(_) | Error::Refused(_) => io::ErrorKind::PermissionDenied,
        Error::AlertReceived(_) => io::ErrorKind::ConnectionAborted,
        Error::Misuse(_) => io::ErrorKind::InvalidInput,
        Error::Idle => io::ErrorKind::TimedOut,
        Error::Exhausted | Error::Signer(_) | Error::Internal(_) | Error::Entropy => io::ErrorKind::Other,
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ConnectError::Io { error, .. } => Some(error),
            ConnectError::Protocol(failure) => Some(failure),
            ConnectError::Timeout { .. } | ConnectError::GaveWay { .. } => None,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Io { stage: None, error } => write!(f, "can't connect: {error}"),
            ConnectError::Io { stage: Some(stage), error } => write!(f, "the connection failed at {stage}: {error}"),
            ConnectError::Timeout { stage: None } => f.write_str("no connection within the deadline"),
            ConnectError::Timeout { stage: Some(stage) } => {
                write!(f, "the handshake took too long: nothing came, or not enough, while waiting for {stage}")
            }
            ConnectError::GaveWay { stage } => {
                write!(f, "too many unfinished handshakes: the oldest, waiting for {stage}, gave way")
            }
            ConnectError::Protocol(failure) => failure.fmt(f),
        }
    }
}

impl From<Failure> for ConnectError {
    fn from(failure: Failure) -> Self {
        ConnectError::Protocol(failure)
    }
}
