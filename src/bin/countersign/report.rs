//! What a person is told when something fails: the error, a blank line, who is at fault, what to try; and the exit code.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use countersign::error::{Alert, Culprit, Error, Failure, Malformed, Reason, ReceivedAlert, Untrusted};
use countersign::role::Stage;
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
    side: Option<&'static str>,
    hint: Option<&'static str>,
}

/// The message alone.
impl Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Where something failed, and on whose side.
#[derive(Debug)]
pub struct Blame {
    pub stage: String,
    pub side: &'static str,
}

impl Report {
    pub fn new(code: u8, message: impl Display, hint: Option<&'static str>) -> Self {
        Self { code, message: message.to_string(), side: None, hint }
    }

    pub fn usage(message: impl Display) -> Self {
        Self::new(USAGE, message, Some("`countersign --help` shows how it is used"))
    }

    pub fn io(what: impl Display, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                Some("another process has it, perhaps an older one of ours: `ss -lntxp` shows which")
            }
            _ => None,
        };
        Self::new(IO, format!("{what}: {error}"), hint)
    }

    /// A handshake of ours that failed.
    pub fn connect(address: &str, error: &ConnectError) -> Self {
        let (code, hint) = match error {
            ConnectError::Protocol(failure) => advice(&failure.error, Some(failure.stage)),
            ConnectError::Io { stage: None, error } => (IO, connect_hint(error)),
            ConnectError::Io { stage: Some(stage), .. } => (IO, cut_hint(Some(*stage))),
            ConnectError::Timeout { stage: Some(Stage::HelloReply) } => (IO, Some(SILENCE)),
            ConnectError::Timeout { stage: None } => {
                (IO, Some("is the address right, does a firewall drop packets, is --timeout long enough?"))
            }
            _ => (IO, Some("the peer began and did not go on: is it overloaded, or its --timeout or ours too short?")),
        };
        let side = Some(Blame::of_connect(error).side);
        Report { side, ..Self::new(code, format!("{address}: {error}"), hint) }
    }

    /// A session that failed.
    pub fn session(error: &io::Error) -> Self {
        let cause = protocol_error(error);
        let (code, hint) = cause.map_or((IO, cut_hint(None)), |cause| advice(cause, None));
        let side = Some(cause.map_or(PATH, side));
        Report { side, ..Self::new(code, format!("the session failed: {error}"), hint) }
    }

    /// The same with the place where it happened.
    pub fn within(self, place: &str) -> Self {
        if place.is_empty() { self } else { Report { message: format!("{place}: {}", self.message), ..self } }
    }

    /// The same with something else to try.
    pub fn with_hint(self, hint: &'static str) -> Self {
        Report { hint: Some(hint), ..self }
    }

    pub fn print(&self) -> ExitCode {
        let mut text = format!("error: {}\n", self.message);
        if self.side.is_some() || self.hint.is_some() {
            text.push('\n');
        }
        if let Some(side) = self.side {
            text.push_str(&format!("at fault: {side}\n"));
        }
        if let Some(hint) = self.hint {
            text.push_str(&format!("try: {hint}\n"));
        }
        let _ = io::stderr().lock().write_all(text.as_bytes());
        ExitCode::from(self.code)
    }
}

impl Blame {
    pub fn of_connect(error: &ConnectError) -> Self {
        let at = |stage: &Stage| format!("at {stage}");
        match error {
            ConnectError::Protocol(Failure { stage, error, .. }) => Blame { stage: at(stage), side: side(error) },
            ConnectError::Io { stage: Some(stage), .. } => Blame { stage: at(stage), side: PATH },
            ConnectError::Timeout { stage: Some(stage) } => Blame { stage: at(stage), side: PEER_OR_PATH },
            ConnectError::GaveWay { stage } => Blame { stage: at(stage), side: LOCAL },
            ConnectError::OverRate => Blame { stage: at(&Stage::Hello), side: "the peer, which calls too often" },
            ConnectError::Io { stage: None, error } if is_exhausted(error) => {
                Blame { stage: "while connecting".to_string(), side: LOCAL }
            }
            _ => Blame { stage: "while connecting".to_string(), side: PEER_OR_PATH },
        }
    }
}

/// Whose fault an error is, for people. Who refuses us or sends an alert says that it is ours.
pub fn side(error: &Error) -> &'static str {
    match error {
        Error::Refused(refusal) if refusal.reason == Reason::Busy => "the peer, which is full",
        Error::Denied(refusal) if refusal.reason == Reason::Busy => "this side, which is full",
        Error::Refused(_) => "this side, says the peer",
        Error::AlertReceived(ReceivedAlert { alert, .. }) => match alert {
            Alert::Busy | Alert::Internal | Alert::ShuttingDown => "the peer, as it says",
            Alert::NoCommonSuite | Alert::NetworkKey | Alert::UnsupportedVersion => "the two sides, which differ",
            _ => "this side, says the peer",
        },
        Error::NoCommonSuite | Error::UnsupportedVersion(_) => "the two sides, which differ",
        Error::Untrusted(Untrusted::NetworkKeyUnexpected) => "the two sides, which differ",
        Error::Tampered(_) => "the network between, or the two sides, which differ",
        error => match error.culprit() {
            Culprit::Peer => "the peer, or who plays it",
            Culprit::Path => PATH,
            Culprit::Caller => "this side's settings",
            Culprit::Local => LOCAL,
        },
    }
}

/// Whether the process or the system has no descriptor left (EMFILE, ENFILE).
pub fn is_exhausted(error: &io::Error) -> bool {
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
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

fn cut_hint(stage: Option<Stage>) -> Option<&'static str> {
    Some(match stage {
        Some(Stage::HelloReply) => SILENCE,
        Some(_) => "the peer may have crashed, or something between cut the connection; the log of the peer says more",
        None => "the peer or something between closed the connection; the log of the peer says more",
    })
}

/// The exit code and what to try. `stage` is that of the handshake; `None` in a session.
fn advice(error: &Error, stage: Option<Stage>) -> (u8, Option<&'static str>) {
    match error {
        Error::Untrusted(Untrusted::NotExpected { expected, .. }) if !expected.starts_with("SHA256:") => (
            PEER_REFUSED,
            Some("compare --peer-name, or the host, with the names of who answered; is it the right host and port?"),
        ),
        Error::Untrusted(Untrusted::NotExpected { .. }) => (
            PEER_REFUSED,
            Some(
                "ask the peer's operator for `countersign id FILE` over a channel that you trust, and compare; if it differs, somebody else answers there",
            ),
        ),
        Error::Untrusted(Untrusted::OwnKey) => (PEER_REFUSED, Some(OWN_KEY)),
        Error::Untrusted(Untrusted::Echo) => {
            (PEER_REFUSED, Some("what listens there sends back what it gets: check host and port"))
        }
        Error::Untrusted(_) => {
            (PEER_REFUSED, Some("somebody may answer in the peer's place: check host and port, and the peer's key"))
        }
        Error::Revoked(_) => (
            PEER_REFUSED,
            Some(
                "what is trusted here has changed while the session was open: a line, a certificate, a revocation list",
            ),
        ),
        // Only about a certificate is more said than that it is not trusted.
        Error::Refused(refusal) if refusal.reason == Reason::NotTrusted && !refusal.text.is_empty() => {
            (WE_REFUSED, Some(OWN_CERTIFICATE))
        }
        // A text is about our certificate: a line in a trust file would not be the answer to that.
        Error::Refused(refusal) if refusal.reason == Reason::NotTrusted && !refusal.text.is_empty() => {
            (WE_REFUSED, Some("have our certificate (--cert) issued anew by a CA that the peer trusts"))
        }
        Error::Refused(refusal) => (WE_REFUSED, refusal_hint(refusal.reason)),
        Error::AlertReceived(alert) => alert_advice(alert.alert, stage),
        Error::Malformed(Malformed::Foreign(_)) => (IO, Some("another server listens there: check host and port")),
        Error::Tampered(_) => (IO, Some("do both sides use the same --context? If so, somebody alters the traffic")),
        Error::Truncated => (IO, cut_hint(stage)),
        Error::Idle => {
            (IO, Some("is the network between up, and the peer's --keepalive on and shorter than our --idle-timeout?"))
        }
        Error::Malformed(_) | Error::Unexpected { .. } | Error::UnsupportedVersion(_) => (
            IO,
            Some(
                "are both programs of the same version? If so, please report it, with what `countersign inspect` says",
            ),
        ),
        Error::NoCommonSuite => (IO, Some(SUITES)),
        Error::Signer(_) => {
            (IO, Some("is the ssh-agent still running, and does it still hold the key? `ssh-add -l` shows it"))
        }
        Error::Misuse(_) => (USAGE, Some("`countersign --help` shows how it is used")),
        Error::Exhausted => (IO, Some("connect again; a smaller --rekey-bytes changes keys in time")),
        _ => (IO, None),
    }
}

fn refusal_hint(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::NotTrusted => {
            Some("the peer's operator has to add our public line (`countersign id FILE`) to the trust file there")
        }
        Reason::ServiceUnavailable => Some("check --service against what the peer offers"),
        Reason::Busy => Some("try again in a moment"),
        Reason::OwnIdentity => Some(OWN_KEY),
        _ => Some("ask the peer's operator"),
    }
}

fn alert_advice(alert: Alert, stage: Option<Stage>) -> (u8, Option<&'static str>) {
    match alert {
        Alert::BadRecord => (IO, Some("do both sides use the same --context? If so, somebody alters the traffic")),
        Alert::Busy => (WE_REFUSED, Some("try again in a moment")),
        Alert::NetworkKey => (WE_REFUSED, Some("leave --network-key out, or give the peer the same file")),
        Alert::NoCommonSuite => (WE_REFUSED, Some(SUITES)),
        Alert::Refused | Alert::Revoked => (WE_REFUSED, Some("ask the peer's operator; the log there says why")),
        Alert::UnsupportedVersion => (WE_REFUSED, Some("update the program of the older version")),
        Alert::Timeout if stage.is_none() => {
            (IO, Some("is the network between up, and our --keepalive on and shorter than the peer's --idle-timeout?"))
        }
        Alert::Timeout => (IO, Some("is the network slow? The peer's --timeout may be longer")),
        Alert::Internal => {
            (IO, Some("the log of the peer says what failed there; its key may be in an ssh-agent that is gone"))
        }
        Alert::ShuttingDown => (IO, Some("is the peer being restarted? Try again in a moment")),
        _ => (
            IO,
            Some(
                "are both programs of the same version? If so, please report it, with what `countersign inspect` says",
            ),
        ),
    }
}

const PATH: &str = "the network between, or who closed the connection";
const PEER_OR_PATH: &str = "the peer, or the network between";
const LOCAL: &str = "this machine";
/// For a certificate of ours that is not accepted.
pub const OWN_CERTIFICATE: &str = "look at our certificate (`openssl x509 -in CHAIN.pem -noout -text`): names, end, \
issuer; the log of the peer has the rule that refused it";
const OWN_KEY: &str = "give each side an identity of its own with `countersign keygen`";
const SUITES: &str = "compare --suite on both sides: without it all suites are used";
const SILENCE: &str = "is the address right, does a countersign listen there, does a firewall drop packets? A peer with a network \
key stays silent to those without it: does it have one (--network-key), and is ours the same?";
