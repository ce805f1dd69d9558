//! The receiving direction.

use core::ops::Range;

use alloc::boxed::Box;
use alloc::string::ToString;

use crate::crypto::aead::OpeningKey;
use crate::crypto::schedule::TrafficSecret;
use crate::crypto::suite::Aead;
use crate::error::{Alert, Error, Malformed, Misuse, Reason, ReceivedAlert, Refusal, Sealed};
use crate::keylog::SessionLog;
use crate::limits::{HEADER_LEN, MAX_CONTENT_LEN};
use crate::role::Role;
use crate::session::rekey::Budget;
use crate::session::shares::Shares;
use crate::session::{KIND_ALERT, KIND_DATA, KIND_END, KIND_KEEPALIVE, KIND_REKEY, KIND_VERDICT, PADDED};
use crate::wire::frame::{FrameType, Header};
use crate::wire::message::{CodeText, Rekey};

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
    /// The peer has changed the key of its direction: [`Opener::rekey`] is to be called before the next record is opened
    /// ([`Session::open`](crate::session::Session::open) has done so already).
    Rekey,
    /// The peer is there, and says nothing else.
    KeepAlive,
}

#[derive(Debug)]
struct Live {
    key: OpeningKey,
    secret: TrafficSecret,
    phase: Phase,
    budget: Budget,
    /// A REKEY that waits to be completed.
    rekey: Option<Box<Rekey>>,
    log: Option<Box<(Role, SessionLog)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    AwaitVerdict,
    Open,
    Ended,
}

impl Opener {
    /// A direction that is open.
    ///
    /// # Errors
    /// [`Error::Internal`] if the backend fails.
    pub fn new(secret: TrafficSecret, aead: Aead) -> Result<Self, Error> {
        Self::dangerous_at(secret, aead, 0)
    }

    /// A direction that has had so many records other than REKEY, for tests.
    ///
    /// # Errors
    /// [`Error::Internal`] if the backend fails.
    pub fn dangerous_at(secret: TrafficSecret, aead: Aead, counter: u64) -> Result<Self, Error> {
        let key = secret.dangerous_opening_key_at(aead, counter)?;
        let live = Live {
            key,
            secret,
            phase: Phase::Open,
            budget: Budget { rekeys: 0, others: counter },
            rekey: None,
            log: None,
        };
        Ok(Opener { live: Ok(live) })
    }

    /// The same, but its first record must be the VERDICT.
    #[must_use]
    pub fn awaiting_verdict(mut self) -> Self {
        if let Ok(live) = &mut self.live {
            live.phase = Phase::AwaitVerdict;
        }
        self
    }

    pub(crate) fn set_log(&mut self, whose: Role, log: Option<SessionLog>) {
        if let Ok(live) = &mut self.live {
            live.log = log.map(|log| Box::new((whose, log)));
        }
    }

    /// Opens the record at the front of `input`, in place.
    ///
    /// # Errors
    /// Whatever is wrong with the record ends the session: the key is wiped and every later call returns the same error.
    pub fn open(&mut self, input: &mut [u8]) -> Result<Progress, Error> {
        let live = self.live.as_mut().map_err(|error| error.clone())?;
        if live.rekey.is_some() {
            return Err(Error::Misuse(Misuse::RekeyPending));
        }
        live.open(input).inspect_err(|error| self.live = Err(error.clone()))
    }

    /// Completes the REKEY that [`Opener::open`] reported: goes on under the peer's new key. Does nothing if there is none.
    ///
    /// # Errors
    /// As [`Opener::open`], for a REKEY that the peer should not have sent.
    pub fn rekey(&mut self, shares: &mut Shares) -> Result<(), Error> {
        let live = self.live.as_mut().map_err(|error| error.clone())?;
        live.rekey(shares).inspect_err(|error| self.live = Err(error.clone()))
    }

    /// To be called when the transport has ended.
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

    /// Gives up the expanded key, as [`Sealer::rest`](crate::session::Sealer::rest) does.
    pub fn rest(&mut self) {
        if let Ok(live) = &mut self.live {
            live.key.rest();
        }
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
        let kind_only = kind & !PADDED;
        if kind_only != KIND_REKEY {
            self.budget.others += 1;
        }
        let content = unpad(kind, padded)?;
        match kind_only {
            KIND_DATA if content.is_empty() => Err(Error::Malformed(Malformed::Field("DATA content"))),
            KIND_DATA => Ok(Event::Data(HEADER_LEN + 1..HEADER_LEN + 1 + content.len())),
            KIND_END if !content.is_empty() => Err(Error::Malformed(Malformed::Trailing("END"))),
            KIND_END => {
                self.phase = Phase::Ended;
                Ok(Event::End)
            }
            KIND_KEEPALIVE if !content.is_empty() => Err(Error::Malformed(Malformed::Trailing("KEEPALIVE"))),
            KIND_KEEPALIVE => Ok(Event::KeepAlive),
            KIND_REKEY => {
                self.rekey = Some(Box::new(Rekey::decode(content)?));
                // [RK-2]
                if !self.budget.allows_rekey() {
                    return Err(Error::Unexpected { expected: "fewer REKEY records", got: "REKEY" });
                }
                self.budget.rekeys += 1;
                Ok(Event::Rekey)
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

impl Live {
    fn rekey(&mut self, shares: &mut Shares) -> Result<(), Error> {
        let Some(rekey) = self.rekey.take() else { return Ok(()) };
        let dh = shares.receive(&rekey)?;
        // [RK-1]
        self.secret = self.secret.next(&rekey.encode(), dh.as_ref())?;
        self.key = self.secret.opening_key(self.key.aead())?;
        if let Some((whose, log)) = self.log.as_deref() {
            log.traffic(*whose, self.budget.rekeys, self.secret.expose());
        }
        Ok(())
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
        if rest.len() > MAX_CONTENT_LEN || padding.iter().fold(0, |all, byte| all | byte) != 0 {
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
        KIND_REKEY => Some("REKEY"),
        KIND_KEEPALIVE => Some("KEEPALIVE"),
        _ => None,
    }
}
