//! Why handshakes and sessions fail, in a word: for metrics, where there must be few different ones.

use std::io::ErrorKind;

use countersign::error::{Alert, Error, Malformed, Reason, ReceivedAlert, Untrusted};
use countersign::stream::ConnectError;

use crate::report::is_exhausted;

/// How a handshake came out, and why.
pub fn of_handshake(error: &ConnectError) -> (&'static str, &'static str) {
    match error {
        ConnectError::Timeout { .. } => ("timed_out", "timeout"),
        ConnectError::GaveWay { .. } => ("gave_way", "busy"),
        ConnectError::OverRate => ("gave_way", "over_rate"),
        ConnectError::Protocol(failure) => {
            let refused = match &failure.error {
                Error::Denied(_) | Error::Refused(_) | Error::Revoked(_) => true,
                Error::Untrusted(why) => {
                    matches!(why, Untrusted::NotTrusted { .. } | Untrusted::NotExpected { .. } | Untrusted::OwnKey)
                }
                _ => false,
            };
            (if refused { "refused" } else { "failed" }, of_error(&failure.error))
        }
        ConnectError::Io { error, .. } if error.kind() == ErrorKind::InvalidData => ("failed", "proxy_header"),
        ConnectError::Io { error, .. } if is_exhausted(error) => ("failed", "descriptors"),
        _ => ("failed", "io"),
    }
}

/// Whether the connection ended, and nothing else.
pub fn is_cut(error: &ConnectError) -> bool {
    match error {
        ConnectError::Io { error, .. } => {
            matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
        }
        ConnectError::Protocol(failure) => matches!(failure.error, Error::Truncated),
        _ => false,
    }
}

/// An error in a word.
pub fn of_error(error: &Error) -> &'static str {
    match error {
        Error::Denied(refusal) | Error::Refused(refusal) => of_reason(refusal.reason),
        Error::Revoked(_) => "revoked",
        Error::Malformed(Malformed::Foreign(_)) => "foreign",
        Error::Malformed(_) | Error::Unexpected { .. } => "malformed",
        Error::UnsupportedVersion(_) => "version",
        Error::NoCommonSuite => "suite",
        Error::Untrusted(Untrusted::NotTrusted { refusal, .. }) => of_reason(refusal.reason),
        Error::Untrusted(Untrusted::NotExpected { .. }) => "not_expected",
        Error::Untrusted(Untrusted::NetworkKey | Untrusted::NetworkKeyUnexpected) => "network_key",
        Error::Untrusted(Untrusted::OwnKey) => "own_key",
        Error::Untrusted(_) => "proof",
        Error::Tampered(_) => "tampered",
        Error::Truncated => "cut",
        Error::Idle => "silence",
        Error::Exhausted => "exhausted",
        Error::Signer(_) => "signer",
        Error::AlertReceived(ReceivedAlert { alert, .. }) => of_alert(*alert),
        _ => "internal",
    }
}

fn of_reason(reason: Reason) -> &'static str {
    match reason {
        Reason::NotTrusted => "not_trusted",
        Reason::ServiceUnavailable => "service_unavailable",
        Reason::Busy => "busy",
        Reason::OwnIdentity => "own_key",
        Reason::Denied => "denied",
        _ => "unknown",
    }
}

fn of_alert(alert: Alert) -> &'static str {
    match alert {
        Alert::Busy => "busy",
        Alert::Revoked => "revoked_by_peer",
        Alert::ShuttingDown => "peer_stopped",
        Alert::Timeout => "peer_timeout",
        Alert::Internal => "peer_broke_off",
        _ => "alert",
    }
}
