//! Failures with sockets in them, of the blocking streams and the asynchronous ones.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::error::{Alert, Error, Failure, Refusal};
use crate::role::Stage;

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
    /// A listener had begun as many handshakes with this address in a second as it may.
    OverRate,
    /// The handshake failed.
    Protocol(Failure),
}

/// What ended a stream. Repeated to every later call.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Protocol(Error),
    Io(io::ErrorKind, Arc<str>),
}

/// The protocol's error in an [`io::Error`] that a stream returned.
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

    /// What the peer is told: an alert, and a text for it.
    pub(crate) fn alert(&self) -> Option<(Alert, String)> {
        match self {
            Fault::Protocol(error @ Error::Revoked(refusal)) => error.alert().map(|alert| (alert, why(refusal))),
            Fault::Protocol(error) => error.alert().map(|alert| (alert, String::new())),
            Fault::Io(..) => None,
        }
    }

    /// A mistake of the caller ends nothing.
    pub(crate) fn is_misuse(&self) -> bool {
        matches!(self, Fault::Protocol(Error::Misuse(_)))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Protocol(error)
    }
}

/// What an authenticated peer is told about the end of our trust: it always says something.
fn why(refusal: &Refusal) -> String {
    let text = if refusal.text.is_empty() { refusal.to_string() } else { refusal.text.clone() };
    // What the wire does not carry is cut here rather than failing to say anything.
    Refusal::new(refusal.reason, &text).text
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
        Error::Denied(_) | Error::Refused(_) | Error::Revoked(_) => io::ErrorKind::PermissionDenied,
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
            ConnectError::Timeout { .. } | ConnectError::GaveWay { .. } | ConnectError::OverRate => None,
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
            ConnectError::OverRate => f.write_str("too many handshakes in a second from this address"),
            ConnectError::Protocol(failure) => failure.fmt(f),
        }
    }
}

impl From<Failure> for ConnectError {
    fn from(failure: Failure) -> Self {
        ConnectError::Protocol(failure)
    }
}
