//! What is tried, against whom, and what has to come of it.

mod auth;
mod auth_i;
mod auth_r;
mod contents;
mod hello;
mod network;
mod records;
mod rekeys;
mod reply;
mod verdict;

use countersign::error::{Alert, Error, Malformed, Reason, ReceivedAlert, Refusal, Untrusted};
use countersign::role::Stage;

use super::script::Script;

/// Which honest side it is tried on. A session has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    Initiator,
    Responder,
    Session,
}

/// What the evil peer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hears {
    /// An ALERT frame.
    Alert(u8),
    /// An ALERT record, without a text.
    Sealed(u8),
    /// A refusing VERDICT.
    Verdict(u8),
    Nothing,
}

pub struct Misbehaviour {
    pub name: String,
    pub against: Against,
    /// `MESSAGE.field` for each field that is wrong, `MESSAGE manner` for each message that is not where it should
    /// be; separated by commas.
    pub about: String,
    pub script: Script,
    pub error: Error,
    /// Where the handshake fails; of no meaning in a session.
    pub stage: Stage,
    pub hears: Hears,
    /// What a session delivers before it fails.
    pub delivers: Vec<Vec<u8>>,
}

impl Misbehaviour {
    fn delivering(mut self, data: &[&[u8]]) -> Self {
        self.delivers = data.iter().map(|data| data.to_vec()).collect();
        self
    }
}

/// Rows of one honest side and one message.
struct Rows {
    against: Against,
    stage: Stage,
    rows: Vec<Misbehaviour>,
}

impl Rows {
    fn new(against: Against, stage: Stage) -> Self {
        Rows { against, stage, rows: Vec::new() }
    }

    fn add(&mut self, name: impl Into<String>, about: impl Into<String>, script: Script, error: Error, hears: Hears) {
        self.rows.push(Misbehaviour {
            name: name.into(),
            against: self.against,
            about: about.into(),
            script,
            error,
            stage: self.stage,
            hears,
            delivers: Vec::new(),
        });
    }
}

/// All of it.
pub fn catalogue() -> Vec<Misbehaviour> {
    [
        hello::rows(),
        network::rows(),
        auth_i::rows(),
        auth::rows(Against::Responder),
        reply::rows(),
        auth_r::rows(),
        auth::rows(Against::Initiator),
        verdict::rows(),
        records::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn field(name: &'static str) -> Error {
    Error::Malformed(Malformed::Field(name))
}

fn short(name: &'static str) -> Error {
    Error::Malformed(Malformed::Short(name))
}

fn trailing(name: &'static str) -> Error {
    Error::Malformed(Malformed::Trailing(name))
}

fn frame_len(frame: &'static str, len: usize) -> Error {
    Error::Malformed(Malformed::FrameLen { frame, len })
}

fn unexpected(expected: &'static str, got: &'static str) -> Error {
    Error::Unexpected { expected, got }
}

fn untrusted(why: Untrusted) -> Error {
    Error::Untrusted(why)
}

fn denied(reason: Reason) -> Error {
    Error::Denied(Refusal { reason, text: String::new() })
}

fn alerted(alert: Alert, authenticated: bool, text: &str) -> Error {
    Error::AlertReceived(ReceivedAlert { alert, text: text.into(), authenticated })
}
