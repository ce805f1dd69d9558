//! An established channel, without sockets: one value per direction, which latch at the first error
//! (specification, section 11). The two share nothing but [`Shares`], which are needed at a rekey only.

mod opener;
mod padding;
mod rekey;
mod sealer;
mod shares;

use core::fmt;

use alloc::string::String;

use crate::crypto::schedule::Exporter;
use crate::crypto::suite::Suite;
use crate::error::Error;
use crate::identity::Peer;
use crate::limits::SESSION_ID_LEN;
use crate::role::Role;

pub use opener::{Event, Opener, Progress};
pub use padding::{Padding, UnknownPadding};
pub use rekey::RekeyPolicy;
pub use sealer::Sealer;
pub use shares::Shares;

/// What a handshake gives.
#[derive(Debug)]
pub struct Session {
    /// Seals what this side sends.
    pub sealer: Sealer,
    /// Opens what the peer sends.
    pub opener: Opener,
    /// What both need at a rekey.
    pub shares: Shares,
    /// Keying material for the application.
    pub exporter: Exporter,
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
    /// A public value that names the session to another protocol inside it (RFC 5056); the same on both sides.
    pub channel_binding: [u8; 32],
}

impl Session {
    /// Opens the record at the front of `input`, in place, and completes a rekey of the peer's.
    ///
    /// # Errors
    /// Those of [`Opener::open`].
    pub fn open(&mut self, input: &mut [u8]) -> Result<Progress, Error> {
        let progress = self.opener.open(input)?;
        if matches!(progress, Progress::Record { event: Event::Rekey, .. }) {
            self.opener.rekey(&mut self.shares)?;
        }
        Ok(progress)
    }
}

/// The public name of a session: 16 bytes, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; SESSION_ID_LEN]);

impl SessionId {
    pub(crate) fn new(bytes: [u8; SESSION_ID_LEN]) -> Self {
        SessionId(bytes)
    }

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
const KIND_REKEY: u8 = 0x06;
const KIND_KEEPALIVE: u8 = 0x07;
const PADDED: u8 = 0x80;
