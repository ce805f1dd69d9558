//! Failures with sockets in them, and the latch that makes the first one the last.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

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

/// The first failure of a stream, shared by its halves. It is written once and read without a lock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latch(Arc<OnceLock<Fault>>);

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
        self.0.get().map_or(Ok(()), |fault| Err(fault.to_io()))
    }

    /// Latches a failure, unless one is there already; returns the one that is.
    pub(crate) fn note_poll<T>(&self, polled: Poll<Result<T, Fault>>) -> Poll<io::Result<T>> {
        polled.map(|result| {
            result.map_err(|fault| if fault.is_misuse() { fault.to_io() } else { self.0.get_or_init(|| fault).to_io() })
        })
    }

    pub(crate) fn poll_write<W: AsyncWrite + Unpin>(
        &self,
        io: &mut W,
        write: &mut WriteState,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.tell_peer(io, write, cx)?;
        self.note_poll(write.poll_write(io, cx, bufs))
    }

    pub(crate) fn poll_flush<W: AsyncWrite + Unpin>(
        &self,
        io: &mut W,
        write: &mut WriteState,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.tell_peer(io, write, cx)?;
        self.note_poll(write.poll_flush(io, cx))
    }

    pub(crate) fn poll_shutdown<W: AsyncWrite + Unpin>(
        &self,
        io: &mut W,
        write: &mut WriteState,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.tell_peer(io, write, cx)?;
        self.note_poll(write.poll_shutdown(io, cx))
    }

    /// If the session has failed: tries once to send the alert that the failure calls for, and returns the failure.
    fn tell_peer<W: AsyncWrite + Unpin>(
        &self,
        io: &mut W,
        write: &mut WriteState,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let Some(fault) = self.0.get() else { return Ok(()) };
        if let Some(alert) = fault.alert() {
            write.try_alert(io, cx, alert);
        }
        write.poison(Error::Truncated);
        Err(fault.to_io())
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
        Error::Exhausted | Error::Internal(_) | Error::Entropy => io::ErrorKind::Other,
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
