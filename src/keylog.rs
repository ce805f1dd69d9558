//! Key logs, for debugging only (specification, section 16.1): who has one reads the session.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::{self, Write};

use zeroize::Zeroize;

use crate::crypto::suite::Suite;
use crate::limits::NONCE_LEN;
use crate::role::Role;

/// Takes the lines of a key log, without line ends.
pub trait KeyLog: Send + Sync {
    /// Takes a line. It holds a secret.
    fn log(&self, line: &str);
}

/// A key log for one session.
#[derive(Clone)]
pub(crate) struct SessionLog {
    sink: Arc<dyn KeyLog>,
    nonce_i: [u8; NONCE_LEN],
    nonce_r: [u8; NONCE_LEN],
    suite: Suite,
}

impl SessionLog {
    pub(crate) fn new(
        sink: Option<&Arc<dyn KeyLog>>,
        nonce_i: &[u8; NONCE_LEN],
        nonce_r: &[u8; NONCE_LEN],
        suite: Suite,
    ) -> Option<Self> {
        sink.map(|sink| SessionLog { sink: sink.clone(), nonce_i: *nonce_i, nonce_r: *nonce_r, suite })
    }

    pub(crate) fn handshake(&self, whose: Role, secret: &[u8; 32]) {
        self.line("HS", whose, None, secret);
    }

    pub(crate) fn confirm(&self, whose: Role, secret: &[u8; 32]) {
        self.line("CONFIRM", whose, None, secret);
    }

    pub(crate) fn traffic(&self, whose: Role, rekeys: u64, secret: &[u8; 32]) {
        self.line("TRAFFIC", whose, Some(rekeys), secret);
    }

    fn line(&self, label: &str, whose: Role, count: Option<u64>, secret: &[u8; 32]) {
        // Room for the longest line, so that no copy is left behind by growing.
        let mut line = String::with_capacity(256);
        let side = if whose == Role::Initiator { "I" } else { "R" };
        let written = write!(line, "{label}_{side}")
            .and_then(|()| count.map_or(Ok(()), |count| write!(line, "_{count}")))
            .and_then(|()| {
                write!(line, " {} {} {:04x} {}", Hex(&self.nonce_i), Hex(&self.nonce_r), self.suite.code(), Hex(secret))
            });
        if written.is_ok() {
            self.sink.log(&line);
        }
        line.zeroize();
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionLog")
    }
}
