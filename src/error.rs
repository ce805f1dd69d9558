//! What can go wrong, sorted by whose fault it is, and what the peer hears of it (specification, section 12).

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use crate::role::{Role, Stage};

/// A failure of the protocol. Nothing in it is secret; all of it may be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The peer sent bytes that no correct peer sends.
    Malformed(Malformed),
    /// The peer sent a message that is legal elsewhere.
    Unexpected {
        /// What this side was waiting for.
        expected: &'static str,
        /// What came.
        got: &'static str,
    },
    /// The peer speaks another version of the protocol.
    UnsupportedVersion(u16),
    /// The two sides have no suite in common.
    NoCommonSuite,
    /// The peer's identity failed a check.
    Untrusted(Untrusted),
    /// This side, as the responder, refused an authenticated initiator.
    Denied(Refusal),
    /// The responder refused this side.
    Refused(Refusal),
    /// Something sealed did not open: it was altered, or made with other keys.
    Tampered(Sealed),
    /// The transport ended before the peer said that it was done.
    Truncated,
    /// Nothing came from the peer for longer than the idle timeout.
    Idle,
    /// This side does not trust the peer any more, and ended the session.
    Revoked(Refusal),
    /// A limit of the record key was reached.
    Exhausted,
    /// What signs for this side did not sign; why.
    Signer(Box<str>),
    /// The peer ended the connection with an alert.
    AlertReceived(ReceivedAlert),
    /// This side used the session in a way that it does not allow.
    Misuse(Misuse),
    /// This side failed. Please report it.
    Internal(&'static str),
    /// The system gave no randomness.
    Entropy,
}

/// Bytes that no correct peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// The first byte belongs to another protocol.
    Foreign(Foreign),
    /// A frame type that does not exist.
    FrameType(u8),
    /// A length outside of the limits of its frame type, in bytes.
    FrameLen {
        /// Name of the frame type.
        frame: &'static str,
        /// The length in the header.
        len: usize,
    },
    /// A field ends after its message does.
    Short(&'static str),
    /// Bytes are left over after the message.
    Trailing(&'static str),
    /// A field has a value that it can't have.
    Field(&'static str),
    /// Padding that is not zero.
    Padding,
    /// A record kind that does not exist.
    RecordKind(u8),
}

/// A protocol that was recognised by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Foreign {
    /// A TLS record.
    Tls,
    /// An HTTP request or response.
    Http,
    /// An SSH banner.
    Ssh,
    /// Some other protocol; the byte is given.
    Other(u8),
}

/// Why a peer's identity was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Untrusted {
    /// Its signature does not verify.
    Signature,
    /// Its confirmation MAC is wrong.
    Confirmation,
    /// Its public key is not canonical, not a point of the curve, or of small order.
    WeakKey,
    /// The tag of the network key is wrong or missing.
    NetworkKey,
    /// It uses a network key, and this side has none.
    NetworkKeyUnexpected,
    /// The key agreement gave zero.
    ZeroSecret,
    /// It sent our own nonce or share back.
    Echo,
    /// It presented our own key.
    OwnKey,
    /// It is authentic, but another one than expected. Both are fingerprints.
    NotExpected {
        /// The peer that was expected.
        expected: Box<str>,
        /// The peer that answered.
        got: Box<str>,
    },
    /// It is authentic, but not trusted.
    NotTrusted {
        /// Its fingerprint.
        got: Box<str>,
        /// The reason that the trust decision gave.
        refusal: Refusal,
        /// The rule that decided, for people; may be empty.
        rule: Box<str>,
    },
}

/// A sealed thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sealed {
    /// The responder's proof.
    AuthR,
    /// The initiator's proof.
    AuthI,
    /// A record of the session.
    Record,
}

/// A call that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// Use of a session that this side has ended with an alert.
    Aborted,
    /// Writing after the end of this side's direction.
    WriteAfterEnd,
    /// More content than a record holds.
    ContentTooLong,
    /// A service name that is too long or has other than visible ASCII characters.
    Service,
    /// An application context of more than 255 bytes.
    Context,
    /// An alert or refusal text that is too long or has control characters.
    Text,
    /// Use of a session whose verdict has not come.
    VerdictPending,
    /// A record was opened while the REKEY before it waited to be completed.
    RekeyPending,
    /// More rekeys than the peer would take: other records have to come between.
    RekeyStorm,
    /// A network key of zeros.
    NetworkKey,
    /// A list of suites that is empty, or names one twice.
    Suites,
    /// Bytes to be signed as a certificate that are none.
    NotACertificate,
    /// An export with a label, context or length that the specification does not allow.
    Export,
}

/// A refusal of an authenticated initiator, as the VERDICT carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The sort of refusal.
    pub reason: Reason,
    /// A text for people, at most 255 bytes; may be empty.
    pub text: String,
}

/// The sorts of refusal (specification, section 8.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The key is authentic but not trusted.
    NotTrusted,
    /// The service is not offered to this peer.
    ServiceUnavailable,
    /// There is no capacity now.
    Busy,
    /// The initiator presented the responder's own key.
    OwnIdentity,
    /// The application refused.
    Denied,
    /// A code that this version does not know.
    Unknown(u8),
}

/// An alert that came from the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedAlert {
    /// What it says.
    pub alert: Alert,
    /// Its text; only authenticated alerts have one.
    pub text: String,
    /// Whether the authenticated peer sent it. If not, anyone on the path may have.
    pub authenticated: bool,
}

/// The alerts (specification, section 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Alert {
    /// Bytes that no correct peer sends.
    Malformed,
    /// Correct bytes at a wrong time.
    UnexpectedMessage,
    /// Another version of the protocol.
    UnsupportedVersion,
    /// No suite in common.
    NoCommonSuite,
    /// Anything about who the peer is.
    Refused,
    /// Something sealed did not open.
    BadRecord,
    /// The handshake took too long.
    Timeout,
    /// No capacity now.
    Busy,
    /// The sender's own fault.
    Internal,
    /// The sender stops.
    ShuttingDown,
    /// The receiver of the alert is no longer trusted.
    Revoked,
    /// HELLO has the tag of a network key, and the sender of the alert has none.
    NetworkKey,
    /// A code that this version does not know.
    Unknown(u8),
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Culprit {
    /// The peer, or someone who plays it.
    Peer,
    /// The path between the two, or whoever sits on it.
    Path,
    /// The caller of this library.
    Caller,
    /// This side's library or machine.
    Local,
}

/// A failed handshake: which side we are, the message at which it failed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// This side.
    pub role: Role,
    /// The message that was being made, awaited or checked.
    pub stage: Stage,
    /// The cause.
    pub error: Error,
}

impl Error {
    /// Whose fault it is.
    pub fn culprit(&self) -> Culprit {
        match self {
            Error::Malformed(_)
            | Error::Unexpected { .. }
            | Error::UnsupportedVersion(_)
            | Error::NoCommonSuite
            | Error::Untrusted(_)
            | Error::Denied(_)
            | Error::Refused(_)
            | Error::Revoked(_)
            | Error::AlertReceived(_) => Culprit::Peer,
            Error::Tampered(_) | Error::Truncated | Error::Idle => Culprit::Path,
            Error::Misuse(_) => Culprit::Caller,
            Error::Exhausted | Error::Signer(_) | Error::Internal(_) | Error::Entropy => Culprit::Local,
        }
    }

    /// What the peer is told: one byte, or nothing.
    pub fn alert(&self) -> Option<Alert> {
        match self {
            Error::Malformed(_) => Some(Alert::Malformed),
            Error::Unexpected { .. } => Some(Alert::UnexpectedMessage),
            Error::UnsupportedVersion(_) => Some(Alert::UnsupportedVersion),
            Error::NoCommonSuite => Some(Alert::NoCommonSuite),
            // A wrong confirmation is not told from something that does not open: section 8.2.
            Error::Tampered(_) | Error::Untrusted(Untrusted::Confirmation) => Some(Alert::BadRecord),
            // [NK-3]
            Error::Untrusted(Untrusted::NetworkKey) => None,
            Error::Untrusted(Untrusted::NetworkKeyUnexpected) => Some(Alert::NetworkKey),
            Error::Untrusted(_) => Some(Alert::Refused),
            Error::Idle => Some(Alert::Timeout),
            Error::Revoked(_) => Some(Alert::Revoked),
            Error::Signer(_) | Error::Internal(_) | Error::Entropy => Some(Alert::Internal),
            Error::Denied(_)
            | Error::Refused(_)
            | Error::Truncated
            | Error::Exhausted
            | Error::AlertReceived(_)
            | Error::Misuse(_) => None,
        }
    }
}

impl Refusal {
    /// A refusal with a text for people. The text is cut to what the wire carries: 255 bytes, no control characters.
    pub fn new(reason: Reason, text: &str) -> Self {
        let mut kept = String::new();
        for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
            if kept.len() + c.len_utf8() > crate::limits::MAX_TEXT_LEN {
                break;
            }
            kept.push(c);
        }
        Refusal { reason, text: kept }
    }
}

impl Reason {
    /// The code on the wire.
    pub fn code(self) -> u8 {
        match self {
            Reason::NotTrusted => 1,
            Reason::ServiceUnavailable => 2,
            Reason::Busy => 3,
            Reason::OwnIdentity => 4,
            Reason::Denied => 5,
            Reason::Unknown(code) => code,
        }
    }

    /// The reason for a code other than 0, which means acceptance.
    pub fn from_code(code: u8) -> Self {
        match code {
            1 => Reason::NotTrusted,
            2 => Reason::ServiceUnavailable,
            3 => Reason::Busy,
            4 => Reason::OwnIdentity,
            5 => Reason::Denied,
            code => Reason::Unknown(code),
        }
    }
}

impl Alert {
    /// The code on the wire.
    pub fn code(self) -> u8 {
        match self {
            Alert::Malformed => 1,
            Alert::UnexpectedMessage => 2,
            Alert::UnsupportedVersion => 3,
            Alert::NoCommonSuite => 4,
            Alert::Refused => 5,
            Alert::BadRecord => 6,
            Alert::Timeout => 7,
            Alert::Busy => 8,
            Alert::Internal => 9,
            Alert::ShuttingDown => 10,
            Alert::Revoked => 11,
            Alert::NetworkKey => 12,
            Alert::Unknown(code) => code,
        }
    }

    /// The alert for a code; never fails, since an unknown alert ends the session all the same.
    pub fn from_code(code: u8) -> Self {
        match code {
            1 => Alert::Malformed,
            2 => Alert::UnexpectedMessage,
            3 => Alert::UnsupportedVersion,
            4 => Alert::NoCommonSuite,
            5 => Alert::Refused,
            6 => Alert::BadRecord,
            7 => Alert::Timeout,
            8 => Alert::Busy,
            9 => Alert::Internal,
            10 => Alert::ShuttingDown,
            11 => Alert::Revoked,
            12 => Alert::NetworkKey,
            code => Alert::Unknown(code),
        }
    }

    /// The name as the specification spells it.
    pub fn name(self) -> &'static str {
        match self {
            Alert::Malformed => "malformed",
            Alert::UnexpectedMessage => "unexpected_message",
            Alert::UnsupportedVersion => "unsupported_version",
            Alert::NoCommonSuite => "no_common_suite",
            Alert::Refused => "refused",
            Alert::BadRecord => "bad_record",
            Alert::Timeout => "timeout",
            Alert::Busy => "busy",
            Alert::Internal => "internal",
            Alert::ShuttingDown => "shutting_down",
            Alert::Revoked => "revoked",
            Alert::NetworkKey => "network_key",
            Alert::Unknown(_) => "unknown",
        }
    }
}

impl core::error::Error for Error {}

impl core::error::Error for Failure {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handshake failed at {} ({} side): {}", self.stage, self.role, self.error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Malformed(Malformed::Foreign(foreign)) => foreign.fmt(f),
            Error::Malformed(malformed) => write!(f, "the peer sent malformed bytes: {malformed}"),
            Error::Unexpected { expected, got } => write!(f, "expected {expected} from the peer, got {got}"),
            Error::UnsupportedVersion(version) => {
                write!(f, "the peer speaks protocol version {version}, this side speaks {}", crate::limits::VERSION)
            }
            Error::NoCommonSuite => f.write_str("no cipher suite in common with the peer"),
            Error::Untrusted(untrusted) => untrusted.fmt(f),
            Error::Denied(refusal) => write!(f, "the initiator was refused: {refusal}"),
            Error::Refused(refusal) => write!(f, "the responder refused this side: {refusal}"),
            Error::Tampered(Sealed::Record) => {
                f.write_str("a record failed to open: it was altered on the way, or is out of order")
            }
            Error::Tampered(sealed) => write!(
                f,
                "{} failed to open: it was altered on the way, or the two sides are configured with different contexts",
                if *sealed == Sealed::AuthR { "AUTH_R" } else { "AUTH_I" }
            ),
            Error::Truncated => {
                f.write_str("the connection ended before the peer finished: what came may be cut short")
            }
            Error::Idle => f.write_str("nothing came from the peer within the idle timeout"),
            Error::Revoked(refusal) => write!(f, "this side no longer trusts the peer: {refusal}"),
            Error::Exhausted => f.write_str("the session has used up its record key: open a new one"),
            Error::Signer(why) => write!(f, "this side's key did not sign: {why}"),
            Error::AlertReceived(alert) => alert.fmt(f),
            Error::Misuse(misuse) => misuse.fmt(f),
            Error::Internal(what) => write!(f, "internal error, please report it: {what}"),
            Error::Entropy => f.write_str("the system gave no randomness"),
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Foreign(foreign) => foreign.fmt(f),
            Malformed::FrameType(byte) => write!(f, "frame type 0x{byte:02x} does not exist"),
            Malformed::FrameLen { frame, len } => write!(f, "a {frame} frame can't have {len} bytes"),
            Malformed::Short(field) => write!(f, "the message ends inside {field}"),
            Malformed::Trailing(message) => write!(f, "bytes are left over after {message}"),
            Malformed::Field(field) => write!(f, "{field} has a value that it can't have"),
            Malformed::Padding => f.write_str("padding is not zero, or longer than what is there"),
            Malformed::RecordKind(kind) => write!(f, "record kind 0x{kind:02x} does not exist"),
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Foreign::Tls => f.write_str("the peer speaks TLS, not Countersign"),
            Foreign::Http => f.write_str("the peer speaks HTTP, not Countersign"),
            Foreign::Ssh => f.write_str("the peer speaks SSH, not Countersign"),
            Foreign::Other(byte) => write!(f, "the peer does not speak Countersign (its first byte is 0x{byte:02x})"),
        }
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Untrusted::Signature => f.write_str("the peer's signature does not verify"),
            Untrusted::Confirmation => f.write_str("the peer's key confirmation is wrong"),
            Untrusted::WeakKey => f.write_str("the peer's public key is weak or not a valid Ed25519 key"),
            Untrusted::NetworkKey => {
                f.write_str("the peer does not know the network key: the tag of its HELLO is wrong or missing")
            }
            Untrusted::NetworkKeyUnexpected => f.write_str("the peer uses a network key, and this side has none"),
            Untrusted::ZeroSecret => f.write_str("the peer's key share is of small order"),
            Untrusted::Echo => f.write_str("the peer sent this side's own nonce or share back"),
            Untrusted::OwnKey => f.write_str("the peer presented this side's own key"),
            Untrusted::NotExpected { expected, got } => write!(f, "expected the peer {expected}, but {got} answered"),
            Untrusted::NotTrusted { got, refusal, rule } => {
                write!(f, "the peer {got} is not accepted: {refusal}")?;
                if rule.is_empty() { Ok(()) } else { write!(f, "; {}", rule.escape_debug()) }
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::NotTrusted => f.write_str("the key is not trusted")?,
            Reason::ServiceUnavailable => f.write_str("the service is not available")?,
            Reason::Busy => f.write_str("busy, try again later")?,
            Reason::OwnIdentity => f.write_str("the initiator presented the responder's own key")?,
            Reason::Denied => f.write_str("denied by the application")?,
            Reason::Unknown(code) => write!(f, "reason {code}")?,
        }
        if self.text.is_empty() { Ok(()) } else { write!(f, " ({})", self.text.escape_debug()) }
    }
}

impl fmt::Display for ReceivedAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.authenticated { "the peer" } else { "the peer (not authenticated)" };
        match self.alert {
            Alert::Malformed => write!(f, "{who} could not parse what this side sent")?,
            Alert::UnexpectedMessage => write!(f, "{who} says that this side sent a message out of order")?,
            Alert::UnsupportedVersion => write!(f, "{who} speaks another version of the protocol")?,
            Alert::NoCommonSuite => write!(f, "{who} has no cipher suite in common with this side")?,
            Alert::Refused => write!(f, "{who} refused this side's identity")?,
            Alert::BadRecord => write!(f, "{who} could not open what this side sealed: altered, or other context")?,
            Alert::Timeout if !self.text.is_empty() => write!(f, "{who} gave up")?,
            Alert::Timeout if self.authenticated => write!(f, "{who} gave up: nothing came for too long")?,
            Alert::Timeout => write!(f, "{who} gave up: the handshake took too long")?,
            Alert::Busy => write!(f, "{who} is busy: try again later")?,
            Alert::Internal => write!(f, "{who} failed")?,
            Alert::ShuttingDown => write!(f, "{who} is shutting down")?,
            Alert::Revoked => write!(f, "{who} no longer trusts this side")?,
            Alert::NetworkKey => write!(f, "{who} has no network key, but this side uses one")?,
            Alert::Unknown(code) => write!(f, "{who} ended the session with unknown alert {code}")?,
        }
        if self.text.is_empty() { Ok(()) } else { write!(f, " ({})", self.text.escape_debug()) }
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Misuse::Aborted => "this side has ended the session with an alert",
            Misuse::WriteAfterEnd => "write after the end of this side's direction",
            Misuse::ContentTooLong => "more than 65,536 bytes of content in one record",
            Misuse::Service => "a service name has at most 255 visible ASCII characters and no spaces",
            Misuse::Context => "an application context has at most 255 bytes",
            Misuse::Text => "a text has at most 255 bytes and no control characters",
            Misuse::VerdictPending => "the responder's verdict has not come yet",
            Misuse::RekeyPending => "the peer's rekey has not been completed",
            Misuse::RekeyStorm => "a rekey too soon after others: the peer would refuse it",
            Misuse::NetworkKey => "a network key is not all zero",
            Misuse::NotACertificate => "expected what a certificate says (a TBSCertificate in DER) to sign",
            Misuse::Suites => "a list of suites names at least one, and none twice",
            Misuse::Export => {
                "an export has a label of 1 to 255 bytes, a context of at most 65,535 and 1 to 8,160 bytes of output"
            }
        })
    }
}
