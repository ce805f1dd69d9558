//! What the two ends of a measure say to each other inside a session for the service `bench`. A session is one measure.
//!
//! ```text
//! request   6 bytes   version 0x01 | command | size (u32, big-endian)
//! answer    6 bytes   version 0x01 | command + 0x80 | size
//!
//! command         size           after the answer
//! 0x01 close      0              the responder ends first, so that the ports that are used up wait on its side
//! 0x02 upload     0              the initiator sends and ends; the responder says how many bytes came (u64), and ends
//! 0x03 download   1 to 65,536    the responder sends, in writes of this size, until the initiator ends; then it ends
//! 0x04 echo       0              the responder sends back what it gets, until the initiator ends; then it ends
//! ```
//!
//! Everything else gets an alert that says what was wrong. The responder waits for a request as long as for a handshake
//! (--timeout), ends every measure after [`MAX_TIME`], has at most [`MAX_SESSIONS`] at a time (who comes then gets the
//! alert `busy`), and reserves nothing for what a peer says: it sends from one block of zeros that all sessions share.

use std::time::Duration;

/// What the initiator wants of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Close,
    Upload,
    Download { size: u32 },
    Echo,
}

impl Command {
    pub fn request(self) -> [u8; REQUEST_LEN] {
        let (code, size) = match self {
            Command::Close => (CLOSE, 0),
            Command::Upload => (UPLOAD, 0),
            Command::Download { size } => (DOWNLOAD, size),
            Command::Echo => (ECHO, 0),
        };
        let [a, b, c, d] = size.to_be_bytes();
        [VERSION, code, a, b, c, d]
    }

    pub fn answer(self) -> [u8; REQUEST_LEN] {
        let [version, code, size @ ..] = self.request();
        let [a, b, c, d] = size;
        [version, code | ANSWER, a, b, c, d]
    }

    /// # Errors
    /// What is wrong with it, for the peer.
    pub fn parse(request: [u8; REQUEST_LEN]) -> Result<Self, String> {
        let [version, code, size @ ..] = request;
        let size = u32::from_be_bytes(size);
        if version != VERSION {
            return Err(format!("bench: version {version}, and not {VERSION}"));
        }
        match (code, size) {
            (CLOSE, 0) => Ok(Command::Close),
            (UPLOAD, 0) => Ok(Command::Upload),
            (DOWNLOAD, 1..=MAX_SIZE) => Ok(Command::Download { size }),
            (ECHO, 0) => Ok(Command::Echo),
            (CLOSE..=ECHO, _) => Err(format!("bench: the command {code} can't have the size {size}")),
            _ => Err(format!("bench: unknown command {code}")),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Command::Close => "close",
            Command::Upload => "upload",
            Command::Download { .. } => "download",
            Command::Echo => "echo",
        }
    }
}

/// As many bytes to send, from the block that all share.
pub fn block(size: u32) -> &'static [u8] {
    usize::try_from(size).ok().and_then(|size| BLOCK.get(..size)).unwrap_or(&BLOCK)
}

static BLOCK: [u8; 1 << 16] = [0; 1 << 16];

/// The service that a session for a measure asks for.
pub const SERVICE: &str = "bench";
pub const REQUEST_LEN: usize = 6;
/// Largest write of a download.
const MAX_SIZE: u32 = 1 << 16;
/// Most sessions that one initiator measures with at a time; the command line has the same bound.
pub const MAX_PARALLEL: usize = 64;
/// Most sessions that a responder has at a time.
pub const MAX_SESSIONS: usize = 256;
/// Longest time to measure, 60 s, and what it takes until everything on the way has arrived.
pub const MAX_TIME: Duration = Duration::from_secs(60).saturating_add(SETTLE);
/// How long what is on the way may take to arrive.
pub const SETTLE: Duration = Duration::from_secs(30);

const VERSION: u8 = 1;
const ANSWER: u8 = 0x80;
const CLOSE: u8 = 1;
const UPLOAD: u8 = 2;
const DOWNLOAD: u8 = 3;
const ECHO: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said is understood, and nothing else is: every version and command, and the sizes around the bounds.
    #[test]
    fn requests_are_strict() {
        let known = [Command::Close, Command::Upload, Command::Echo].into_iter();
        let known = known.chain([1, 64, 65_536].map(|size| Command::Download { size })).collect::<Vec<_>>();
        for command in &known {
            assert_eq!(Command::parse(command.request()), Ok(*command));
            assert!(Command::parse(command.answer()).is_err(), "an answer is no request");
        }
        for version in 0..=u8::MAX {
            for code in 0..=u8::MAX {
                for size in [0, 1, 64, 65_536, 65_537, u32::MAX] {
                    let [a, b, c, d] = size.to_be_bytes();
                    let request = [version, code, a, b, c, d];
                    let expected = known.iter().find(|command| command.request() == request).copied();
                    assert_eq!(Command::parse(request).ok(), expected, "{request:?}");
                }
            }
        }
        assert_eq!((block(1).len(), block(MAX_SIZE).len()), (1, 65_536));
    }
}
