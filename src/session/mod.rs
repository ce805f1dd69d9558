//! An established channel, without sockets: one value per direction, which latch at the first error
//! (specification, section 11). The two share nothing.

mod opener;
mod sealer;

use core::fmt;

use alloc::string::String;

use crate::crypto::suite::Suite;
use crate::identity::Peer;
use crate::limits::SESSION_ID_LEN;
use crate::role::Role;

pub use opener::{Event, Opener, Progress};
pub use sealer::Sealer;

/// What a handshake gives.
#[derive(Debug)]
pub struct Session {
    /// Seals what this side sends.
    pub sealer: Sealer,
    /// Opens what the peer sends.
    pub opener: Opener,
    /// Who, what, which.
    pub info: SessionInfo,
}

/// Facts about a session. None is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// This side.
    pub role: Role,
    /// The other side.
    pub peer: Peer,
    /// The public name of the session, the same on both sides.
    pub session_id: SessionId,
    /// The service that the initiator named; may be empty.
    pub service: String,
    /// The suite.
    pub suite: Suite,
}

/// The public name of a session: 16 bytes, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; SESSION_ID_LEN]);

impl SessionInfo {
    pub(crate) fn new(role: Role, peer: Peer, session_id: [u8; SESSION_ID_LEN], service: String, suite: Suite) -> Self {
        SessionInfo { role, peer, session_id: SessionId(session_id), service, suite }
    }
}

impl SessionId {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; SESSION_ID_LEN] {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const KIND_DATA: u8 = 0x01;
const KIND_END: u8 = 0x02;
const KIND_ALERT: u8 = 0x03;
const KIND_VERDICT: u8 = 0x04;
const PADDED: u8 = 0x80;
