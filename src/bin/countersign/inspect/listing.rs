//! The annotated listing: offset, field as the specification names it, size, bytes, meaning; and the verdicts.

use std::fmt::{Display, Write as _};
use std::io::Write;

use countersign::crypto::suite::{ShareKind, Suite};
use countersign::error::{Alert, Error, Malformed};
use countersign::limits::{NETWORK_KEY_LEN, NONCE_LEN};
use countersign::wire::message::{Hello, HelloReply};

use crate::inspect::frames::RawFrame;

/// Prints lines, and counts what is right and what is wrong.
pub struct Listing<'a> {
    out: &'a mut dyn Write,
    full: bool,
    ok: usize,
    wrong: usize,
}

/// The fields of a message, from front to back.
pub struct Fields<'l, 'a, 'b> {
    listing: &'l mut Listing<'a>,
    bytes: &'b [u8],
    /// Where the next field stands in the file.
    offset: usize,
}

impl<'a> Listing<'a> {
    pub fn new(out: &'a mut dyn Write, full: bool) -> Self {
        Listing { out, full, ok: 0, wrong: 0 }
    }

    /// One line. A reader that has seen enough is no reason to stop.
    pub fn line(&mut self, text: impl Display) {
        let _ = writeln!(self.out, "{text}");
    }

    pub fn ok(&mut self, text: impl Display) {
        self.ok += 1;
        self.line(format!("ok: {text}"));
    }

    pub fn wrong(&mut self, text: impl Display) {
        self.wrong += 1;
        self.line(format!("WRONG: {text}"));
    }

    /// The last line; whether all is well.
    pub fn summary(&mut self) -> bool {
        let (ok, wrong) = (self.ok, self.wrong);
        match wrong {
            0 => self.line(format!("everything that could be checked is ok ({ok} checks)")),
            _ => self.line(format!("SOMETHING IS WRONG: {wrong} wrong, {ok} ok")),
        }
        wrong == 0
    }

    pub fn header(&mut self, frame: &RawFrame<'_>) {
        let RawFrame { offset, kind, whole, body, .. } = frame;
        self.line(format!("{offset:08x}  {} frame, {} bytes: header 4, body {}", kind.name(), whole.len(), body.len()));
    }

    /// A body that is not opened.
    pub fn sealed(&mut self, frame: &RawFrame<'_>) {
        Fields::body(self, frame).rest("sealed", "not opened");
    }

    pub fn alert(&mut self, frame: &RawFrame<'_>) {
        Fields::body(self, frame).take("code", 1, alert_name);
    }

    pub fn hello(&mut self, frame: &RawFrame<'_>) {
        let _ = hello_fields(&mut Fields::body(self, frame));
        match Hello::decode(frame.body).and_then(|hello| check_shares(&hello)) {
            Ok(()) => self.ok("HELLO decodes"),
            Err(error) => self.wrong(format!("HELLO: {error}")),
        }
    }

    pub fn hello_reply(&mut self, frame: &RawFrame<'_>) {
        let _ = hello_reply_fields(&mut Fields::body(self, frame));
        let checked = HelloReply::decode(frame.body).map(|reply| match Suite::from_code(reply.suite) {
            None => Err("the suite is unknown".to_string()),
            Some(suite) if suite.responder_len() != reply.shares.len() => {
                Err(format!("the shares of {suite} have {} bytes", suite.responder_len()))
            }
            Some(_) => Ok(()),
        });
        match checked {
            Ok(Ok(())) => self.ok("HELLO_REPLY decodes"),
            Ok(Err(why)) => self.wrong(format!("HELLO_REPLY: {why}")),
            Err(error) => self.wrong(format!("HELLO_REPLY: {error}")),
        }
    }

    fn field(&mut self, offset: usize, name: &str, bytes: &[u8], note: &str) {
        let shown = if self.full { bytes } else { bytes.get(..SHORT_LEN).unwrap_or(bytes) };
        let mut hex = String::with_capacity(2 * shown.len());
        shown.iter().for_each(|byte| {
            let _ = write!(hex, "{byte:02x}");
        });
        let more = if shown.len() < bytes.len() { "..." } else { "" };
        let text = format!("{offset:08x}    {name:<16}{:>6}  {hex}{more}  {note}", bytes.len());
        self.line(text.trim_end());
    }
}

impl<'l, 'a, 'b> Fields<'l, 'a, 'b> {
    pub fn new(listing: &'l mut Listing<'a>, bytes: &'b [u8], offset: usize) -> Self {
        Fields { listing, bytes, offset }
    }

    pub fn body(listing: &'l mut Listing<'a>, frame: &RawFrame<'b>) -> Self {
        Self::new(listing, frame.body, frame.offset + frame.header.len())
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next field. One that is cut off is shown as far as it goes, and is the last.
    pub fn take(&mut self, name: &str, len: usize, note: impl FnOnce(&[u8]) -> String) -> Option<&'b [u8]> {
        let Some((field, rest)) = self.bytes.split_at_checked(len) else {
            let there = self.bytes.len();
            self.rest(name, &format!("the message ends here: {there} bytes of {len}"));
            return None;
        };
        self.listing.field(self.offset, name, field, &note(field));
        self.bytes = rest;
        self.offset += len;
        Some(field)
    }

    /// The next field, a number.
    pub fn number(&mut self, name: &str, len: usize) -> Option<usize> {
        self.take(name, len, |field| number(field).to_string()).map(number)
    }

    /// All that is left.
    pub fn rest(&mut self, name: &str, note: &str) {
        let (bytes, offset) = (std::mem::take(&mut self.bytes), self.offset);
        self.listing.field(offset, name, bytes, note);
    }
}

fn hello_fields(fields: &mut Fields<'_, '_, '_>) -> Option<()> {
    fields.number("version", 2)?;
    fields.take("nonce_i", NONCE_LEN, plain)?;
    for _ in 0..fields.number("suite_count", 1)? {
        fields.take("suite", 2, suite_name)?;
    }
    for _ in 0..fields.number("share_count", 1)? {
        fields.take("kind", 1, share_name)?;
        let len = fields.number("share_len", 2)?;
        fields.take("share", len, plain)?;
    }
    if !fields.is_empty() {
        let note = "there is a network key; without it the tag can't be checked";
        fields.take("network_tag", NETWORK_KEY_LEN, |_| note.to_string())?;
    }
    if !fields.is_empty() {
        fields.rest("surplus", "");
    }
    Some(())
}

fn hello_reply_fields(fields: &mut Fields<'_, '_, '_>) -> Option<()> {
    fields.number("version", 2)?;
    let suite = fields.take("suite", 2, suite_name)?;
    fields.take("nonce_r", NONCE_LEN, plain)?;
    let suite = u16::try_from(number(suite)).ok().and_then(Suite::from_code);
    for kind in suite.map_or(&[][..], Suite::share_kinds) {
        fields.take("share", kind.responder_len(), |_| share_name(&[kind.code()]))?;
    }
    if !fields.is_empty() {
        fields.rest("surplus", "");
    }
    Some(())
}

/// [HS-3] [HS-4]
fn check_shares(hello: &Hello) -> Result<(), Error> {
    let bad = Error::Malformed(Malformed::Field("shares"));
    let length_is_right =
        |kind: u8, len: usize| ShareKind::from_code(kind).is_none_or(|kind| kind.initiator_len() == len);
    let known = hello.suites.iter().filter_map(|code| Suite::from_code(*code));
    let mut needed = known.flat_map(|suite| suite.share_kinds().iter());
    let all_there = needed.all(|kind| hello.shares.iter().any(|share| share.kind == kind.code()));
    let all_right = hello.shares.iter().all(|share| length_is_right(share.kind, share.data.len()));
    if all_there && all_right { Ok(()) } else { Err(bad) }
}

pub fn plain(_: &[u8]) -> String {
    String::new()
}

pub fn number(field: &[u8]) -> usize {
    field.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

pub fn alert_name(code: &[u8]) -> String {
    code.first().map(|code| Alert::from_code(*code).name().to_string()).unwrap_or_default()
}

fn suite_name(code: &[u8]) -> String {
    let suite = u16::try_from(number(code)).ok().and_then(Suite::from_code);
    suite.map_or("unknown".to_string(), |suite| suite.to_string())
}

fn share_name(kind: &[u8]) -> String {
    match kind.first().and_then(|kind| ShareKind::from_code(*kind)) {
        Some(ShareKind::X25519) => "X25519".to_string(),
        Some(ShareKind::MlKem768) => "ML-KEM-768".to_string(),
        _ => "unknown".to_string(),
    }
}

/// How much of a long value is shown, in bytes.
const SHORT_LEN: usize = 32;
