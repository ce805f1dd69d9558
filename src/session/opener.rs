//! The receiving direction.

use core::ops::Range;

use alloc::string::ToString;

use crate::crypto::aead::OpeningKey;
use crate::error::{Alert, Error, Malformed, Reason, ReceivedAlert, Refusal, Sealed};
use crate::limits::{HEADER_LEN, MAX_CONTENT_LEN};
use crate::session::{KIND_ALERT, KIND_DATA, KIND_END, KIND_VERDICT, PADDED};
use crate::wire::frame::{FrameType, Header};
use crate::wire::message::CodeText;

/// Opens what the peer sends. After an error it opens nothing more, repeats the error, and its key is gone.
#[derive(Debug)]
pub struct Opener {
    live: Result<Live, Error>,
}

/// What [`Opener::open`] found at the front of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The record is not complete: at least this many bytes are missing.
    Need(usize),
    /// A record, which takes the first `consumed` bytes of the input.
    Record {
        /// Length of the whole frame in bytes.
        consumed: usize,
        /// What it says.
        event: Event,
    },
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The responder has accepted us. Comes once, first, and only to an initiator that did not wait for it.
    Accepted,
    /// Data of the application: where it stands, decrypted, in the input.
    Data(Range<usize>),
    /// The peer's direction has ended; nothing may follow.
    End,
}

#[derive(Debug)]
struct Live {
    key: OpeningKey,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    AwaitVerdict,
    Open,
    Ended,
}

impl Opener {
    /// A direction that is open.
    pub fn new(key: OpeningKey) -> Self {
        Opener { live: Ok(Live { key, phase: Phase::Open }) }
    }

    /// A direction whose first record must be the VERDICT.
    pub fn awaiting_verdict(key: OpeningKey) -> Self {
        Opener { live: Ok(Live { key, phase: Phase::AwaitVerdict }) }
    }

    /// Opens the record at the front of `input`, in place.
    ///
    /// # Errors
    /// Whatever is wrong with the record ends the session: the key is wiped and every later call returns the same error.
    pub fn open(&mut self, input: &mut [u8]) -> Result<Progress, Error> {
        let live = self.live.as_mut().map_err(|error| error.clone())?;
        live.open(input).inspect_err(|error| self.live = Err(error.clone()))
    }

    /// To be called when the transport has ended with `left` bytes of input not consumed.
    ///
    /// # Errors
    /// [`Error::Truncated`] unless the peer ended its direction before; then, and later, as [`Opener::open`].
    pub fn finish(&mut self) -> Result<(), Error> {
        // [RE-7]
        if self.is_ended() {
            return Ok(());
        }
        self.poison(Error::Truncated);
        self.check()
    }

    /// Whether the peer ended its direction.
    pub fn is_ended(&self) -> bool {
        matches!(&self.live, Ok(live) if live.phase == Phase::Ended)
    }

    /// Whether the responder's verdict has yet to come.
    pub fn awaits_verdict(&self) -> bool {
        matches!(&self.live, Ok(live) if live.phase == Phase::AwaitVerdict)
    }

    /// Whether the direction is without error.
    ///
    /// # Errors
    /// The error that ended it.
    pub fn check(&self) -> Result<(), Error> {
        self.live.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// Ends this direction because of an error elsewhere. The key is wiped; the first error stays.
    pub fn poison(&mut self, error: Error) {
        if self.live.is_ok() {
            self.live = Err(error);
        }
    }
}

impl Live {
    fn open(&mut self, input: &mut [u8]) -> Result<Progress, Error> {
        let legal: &[FrameType] = match self.phase {
            Phase::AwaitVerdict => &[FrameType::Record, FrameType::Alert],
            Phase::Open => &[FrameType::Record],
            // [RE-6]
            Phase::Ended if input.is_empty() => return Ok(Progress::Need(HEADER_LEN)),
            Phase::Ended => return Err(Error::Unexpected { expected: "nothing more", got: "bytes after END" }),
        };
        let Some(header) = Header::peek(input, legal, false)? else {
            return Ok(Progress::Need(HEADER_LEN - input.len()));
        };
        let consumed = HEADER_LEN + header.len;
        let len = input.len();
        let Some((head, body)) = input.get_mut(..consumed).and_then(|frame| frame.split_at_mut_checked(HEADER_LEN))
        else {
            return Ok(Progress::Need(consumed - len));
        };
        if header.frame == FrameType::Alert {
            let code = body.first().copied().unwrap_or_default();
            return Err(alert_received(code, "", false));
        }
        // [RE-1]
        let plaintext = self.key.open(head, body, Sealed::Record)?;
        self.record(plaintext).map(|event| Progress::Record { consumed, event })
    }

    /// Kind known, kind legal now, padding, content: in this order.
    fn record(&mut self, plaintext: &[u8]) -> Result<Event, Error> {
        let (&kind, padded) = plaintext.split_first().ok_or(Error::Malformed(Malformed::Short("kind")))?;
        // [RE-5]
        let got = kind_name(kind).ok_or(Error::Malformed(Malformed::RecordKind(kind)))?;
        // [HS-21] [HS-25]
        match self.phase {
            Phase::AwaitVerdict if got != "VERDICT" => return Err(Error::Unexpected { expected: "VERDICT", got }),
            Phase::Open if got == "VERDICT" => return Err(Error::Unexpected { expected: "DATA, END or ALERT", got }),
            _ => {}
        }
        let content = unpad(kind, padded)?;
        match kind & !PADDED {
            KIND_DATA if content.is_empty() => Err(Error::Malformed(Malformed::Field("DATA content"))),
            KIND_DATA => Ok(Event::Data(HEADER_LEN + 1..HEADER_LEN + 1 + content.len())),
            KIND_END if !content.is_empty() => Err(Error::Malformed(Malformed::Trailing("END"))),
            KIND_END => {
                self.phase = Phase::Ended;
                Ok(Event::End)
            }
            KIND_ALERT => {
                let CodeText { code, text } = CodeText::decode(content)?;
                Err(alert_received(code, text, true))
            }
            _ => {
                verdict(content)?;
                self.phase = Phase::Open;
                Ok(Event::Accepted)
            }
        }
    }
}

/// The content without its padding. The caller's bounds make content and padding at most 65,536 bytes in all.
fn unpad(kind: u8, padded: &[u8]) -> Result<&[u8], Error> {
    // [RE-3] [RE-4]
    let bad = Error::Malformed(Malformed::Padding);
    let content = if kind & PADDED == 0 {
        padded
    } else {
        let (rest, len) = padded.split_last_chunk().ok_or(bad.clone())?;
        let content_len = rest.len().checked_sub(usize::from(u16::from_be_bytes(*len))).ok_or(bad.clone())?;
        let (content, padding) = rest.split_at_checked(content_len).ok_or(bad.clone())?;
        if rest.len() > MAX_CONTENT_LEN || padding.iter().any(|byte| *byte != 0) {
            return Err(bad);
        }
        content
    };
    if content.len() > MAX_CONTENT_LEN {
        Err(Error::Malformed(Malformed::Field("content length")))
    } else {
        Ok(content)
    }
}

fn verdict(content: &[u8]) -> Result<(), Error> {
    match CodeText::decode(content)? {
        CodeText { code: 0, text: "" } => Ok(()),
        // [HS-22]
        CodeText { code: 0, .. } => Err(Error::Malformed(Malformed::Trailing("an accepting VERDICT"))),
        // [HS-23]
        CodeText { code, text } => Err(Error::Refused(Refusal::new(Reason::from_code(code), text))),
    }
}

fn alert_received(code: u8, text: &str, authenticated: bool) -> Error {
    Error::AlertReceived(ReceivedAlert { alert: Alert::from_code(code), text: text.to_string(), authenticated })
}

fn kind_name(kind: u8) -> Option<&'static str> {
    match kind & !PADDED {
        KIND_DATA => Some("DATA"),
        KIND_END => Some("END"),
        KIND_ALERT => Some("ALERT"),
        KIND_VERDICT => Some("VERDICT"),
        _ => None,
    }
}
