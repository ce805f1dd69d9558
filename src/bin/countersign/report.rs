//! What a person is told when something fails: the error, a blank line, what to try; and the exit code.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use countersign::error::{Alert, Error, Foreign, Malformed, Reason, Untrusted};
use countersign::stream::{ConnectError, protocol_error};

pub const IO: u8 = 1;
pub const USAGE: u8 = 2;
pub const PEER_REFUSED: u8 = 3;
pub const WE_REFUSED: u8 = 4;
pub const INTERRUPTED: u8 = 130;

/// A failure, ready to be shown.
#[derive(Debug)]
pub struct Report {
    code: u8,
    message: String,
    hint: Option<&'static str>,
}

impl Report {
    pub fn new(code: u8, message: impl Display, hint: Option<&'static str>) -> Self {
        Report { code, message: message.to_string(), hint }
    }

    pub fn usage(message: impl Display) -> Self {
        Self::new(USAGE, message, Some("`countersign --help` shows how it is used"))
    }

    pub fn io(what: impl Display, error: &io::Error) -> Self {
        Self::new(IO, format!("{what}: {error}"), None)
    }

    /// A handshake of ours that failed.
    pub fn connect(address: &str, error: &ConnectError) -> Self {
        let (code, hint) = match error {
            ConnectError::Protocol(failure) => advice(&failure.error),
            ConnectError::Io { stage: None, error } => (IO, connect_hint(error)),
            ConnectError::Io { .. } => (IO, Some("the peer may have crashed, or something between cut the connection")),
            _ => (IO, Some("is the address right, does a countersign listen there, does a firewall drop packets?")),
        };
        Self::new(code, format!("{address}: {error}"), hint)
    }

    /// A session that failed.
    pub fn session(error: &io::Error) -> Self {
        let (code, hint) = protocol_error(error).map_or((IO, None), advice);
        Self::new(code, error, hint)
    }

    pub fn print(&self) -> ExitCode {
        let mut text = format!("error: {}\n", self.message);
        if let Some(hint) = self.hint {
            text.push_str(&format!("\ntry: {hint}\n"));
        }
        let _ = io::stderr().lock().write_all(text.as_bytes());
        ExitCode::from(self.code)
    }
}

fn connect_hint(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            Some("nothing listens there: is `countersign serve` running, and is the port the one it printed?")
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Some("is the network up?"),
        _ => Some("is the host name right, and does this machine have a network?"),
    }
}

fn advice(error: &Error) -> (u8, Option<&'static str>) {
    match error {
        Error::Untrusted(Untrusted::NotExpected { .. }) => (
            PEER_REFUSED,
            Some(
                "ask the peer's operator for `countersign id FILE` over a channel that you trust, and compare; if it differs, somebody else answers there",
            ),
        ),
        Error::Untrusted(_) => (PEER_REFUSED, None),
        Error::Refused(refusal) => (
            WE_REFUSED,
            match refusal.reason {
                Reason::NotTrusted => Some(
                    "the peer's operator has to add our public line (`countersign id FILE`) to the trust file there",
                ),
                Reason::ServiceUnavailable => Some("check --service against what the peer offers"),
                Reason::Busy => Some("try again in a moment"),
                Reason::OwnIdentity => Some("give each side an identity of its own with `countersign keygen`"),
                _ => None,
            },
        ),
        Error::AlertReceived(alert) => (
            WE_REFUSED,
            match alert.alert {
                Alert::BadRecord => Some("do both sides use the same --context?"),
                Alert::Busy => Some("try again in a moment"),
                _ => None,
            },
        ),
        Error::Malformed(Malformed::Foreign(Foreign::Tls | Foreign::Http | Foreign::Ssh | Foreign::Other(_))) => {
            (IO, Some("another server listens there: check host and port"))
        }
        Error::Tampered(_) => (IO, Some("do both sides use the same --context? If so, somebody alters the traffic")),
        Error::Truncated => (IO, Some("the peer or something between closed the connection")),
        Error::Misuse(_) => (USAGE, None),
        _ => (IO, None),
    }
}
