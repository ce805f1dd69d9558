//! One direction of a session against a model of it (specification, section 11).

use bytes::BytesMut;
use countersign::crypto::aead::{OpeningKey, SealingKey};
use countersign::error::{Alert, Error, Misuse, Reason, ReceivedAlert, Refusal, Sealed};
use countersign::limits::MAX_RECORDS;
use countersign::secret::Secret;
use countersign::session::{Event, Opener, Progress, Sealer};
use countersign::wire::frame::{self, FrameType, Header};

use super::reader::Reader;
use super::rules::{self, Front, Says};

/// Input: a byte whose lowest bit makes the receiver wait for a VERDICT and whose next bit puts the counters near their limit,
/// then operations with their arguments: seal, end, alert, any record at all, edits of what is on the way, open, finish.
///
/// What is sealed has the bytes of the specification under the next counter ([RE-2], [RE-4]). What is opened is judged as it says
/// ([RE-1], [RE-3], [RE-5], [RE-6], [RE-9], [RE-10], [HS-21] to [HS-23], [AL-4]): data out is data in, up to the first fault. The first error
/// repeats.
pub fn session_ops(data: &[u8]) {
    let mut reader = Reader::new(data);
    let choice = reader.u8();
    let start = if choice & 2 == 2 { MAX_RECORDS - 4 } else { 0 };
    let mut model = Model::new(start, choice & 1 == 1);
    for _ in 0..64 {
        if reader.is_empty() {
            break;
        }
        model.operate(&mut reader);
    }
    model.open_all();
    model.finish();
}

struct Model {
    sealer: Sealer,
    /// Why nothing can be sealed.
    closed: Option<Error>,
    /// Number of the next record to be sealed.
    next: u64,
    /// Every record ever sealed: its number, its bytes, its plaintext.
    sealed: Vec<(u64, Vec<u8>, Vec<u8>)>,
    wire: BytesMut,
    opener: Opener,
    /// Number of the next record to be opened.
    expected: u64,
    phase: Phase,
    error: Option<Error>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    AwaitVerdict,
    Open,
    Ended,
}

/// What the model says of an open: an exact result, or the alert of an error.
enum Foretold {
    Exactly(Result<Progress, Error>),
    Data(Vec<u8>, usize),
    Fails(Alert),
}

impl Model {
    fn new(start: u64, verdict: bool) -> Self {
        let opener = match verdict {
            true => Opener::awaiting_verdict(opening_key(start)),
            false => Opener::new(opening_key(start)),
        };
        Model {
            sealer: Sealer::new(sealing_key(start)),
            closed: None,
            next: start,
            sealed: Vec::new(),
            wire: BytesMut::new(),
            opener,
            expected: start,
            phase: if verdict { Phase::AwaitVerdict } else { Phase::Open },
            error: None,
        }
    }

    fn operate(&mut self, reader: &mut Reader<'_>) {
        match reader.u8() % 16 {
            0 => self.seal(reader.len(), None, 1),
            1 => self.seal(reader.len(), Some(reader.u16()), 1),
            2 => self.seal(reader.len(), None, 1 + usize::from(reader.u8() % 5)),
            3 => self.end(),
            4 => self.alert(reader.u8(), reader.short()),
            5 => self.any_record(reader.short()),
            6 => {
                let (kind, len, padding) = (reader.u8(), reader.len(), reader.len().min(65_535));
                let content = vec![b'x'; len];
                let mut plaintext = [&[kind], &content[..]].concat();
                if kind >= 0x80 {
                    plaintext.resize(plaintext.len() + padding, 0);
                    plaintext.extend(u16::try_from(padding).unwrap_or(u16::MAX).to_be_bytes());
                }
                plaintext.truncate(65_555 - 16);
                self.any_record(&plaintext);
            }
            7 => self.wire.extend_from_slice(&frame::alert(reader.u8())),
            8 => {
                let bit = usize::from(reader.u16());
                if let Some(byte) = self.wire.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            9 => self.edit(reader.u16().into(), reader.u8().into(), &[]),
            10 => self.edit(reader.u16().into(), 0, reader.short()),
            11 => {
                let copy: Vec<u8> = self.wire.iter().take(reader.len()).copied().collect();
                self.wire.extend_from_slice(&copy);
            }
            12 => self.open(reader.len()),
            13 => self.open_all(),
            14 => self.open(usize::MAX),
            _ => self.rarely(reader.u8()),
        }
    }

    fn rarely(&mut self, choice: u8) {
        match choice {
            0 => self.finish(),
            1 => {
                self.opener.poison(Error::Entropy);
                self.error.get_or_insert(Error::Entropy);
                self.check();
            }
            2 => {
                self.sealer.poison(Error::Truncated);
                self.closed.get_or_insert(Error::Truncated);
                self.check();
            }
            _ => {}
        }
    }

    fn seal(&mut self, len: usize, padding: Option<u16>, parts: usize) {
        let content: Vec<u8> = (0..len).map(|i| (i + self.sealed.len()).to_le_bytes()[0]).collect();
        let before = self.wire.len();
        let chunk = (len / parts).max(1);
        let result = match padding {
            None => self.sealer.seal_data(content.chunks(chunk), &mut self.wire),
            Some(_) => self.sealer.seal_padded(content.chunks(chunk), padding, &mut self.wire),
        };
        let taken = len.min(65_536 - padding.map_or(0, usize::from));
        let expected = match &self.closed {
            Some(error) => Err(error.clone()),
            None if self.next >= MAX_RECORDS - 1 => Err(Error::Exhausted),
            None => Ok(taken),
        };
        assert_eq!(result, expected);
        if taken == 0 || result.is_err() {
            assert_eq!(self.wire.len(), before, "something was sealed");
        } else {
            let mut plaintext = vec![if padding.is_some() { 0x81 } else { 0x01 }];
            plaintext.extend_from_slice(&content[..taken]);
            if let Some(padding) = padding {
                plaintext.resize(plaintext.len() + usize::from(padding), 0);
                plaintext.extend(padding.to_be_bytes());
            }
            self.note(before, plaintext);
        }
        self.check();
    }

    fn end(&mut self) {
        let before = self.wire.len();
        let result = self.sealer.seal_end(&mut self.wire);
        self.last(result, before, vec![0x02]);
    }

    fn alert(&mut self, code: u8, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let before = self.wire.len();
        let result = self.sealer.seal_alert(Alert::from_code(code), &text, &mut self.wire);
        let content = [&[code], text.as_bytes()].concat();
        if rules::code_text(&content).is_none() {
            assert_eq!(result, Err(Error::Misuse(Misuse::Text)));
            assert_eq!(self.wire.len(), before, "something was sealed");
            return self.check();
        }
        self.last(result, before, [&[0x03], &content[..]].concat());
    }

    /// END or an ALERT was sealed, for which the last number is kept.
    fn last(&mut self, result: Result<(), Error>, before: usize, plaintext: Vec<u8>) {
        let expected = match &self.closed {
            Some(error) => Err(error.clone()),
            None if self.next >= MAX_RECORDS => Err(Error::Exhausted),
            None => Ok(()),
        };
        assert_eq!(result, expected);
        match result {
            Ok(()) => {
                self.closed = Some(Error::Misuse(Misuse::WriteAfterEnd));
                self.note(before, plaintext);
            }
            Err(error) => {
                assert_eq!(self.wire.len(), before, "something was sealed");
                self.closed.get_or_insert(error);
            }
        }
        self.check();
    }

    /// What the peer might send that this library would not.
    fn any_record(&mut self, plaintext: &[u8]) {
        if self.next >= MAX_RECORDS || plaintext.is_empty() {
            return;
        }
        let before = self.wire.len();
        let header = Header { frame: FrameType::Record, len: plaintext.len() + 16 }.encode();
        let mut text = plaintext.to_vec();
        let tag = sealing_key(self.next).seal(&header, &mut text).expect("room");
        [&header[..], &text, &tag].iter().for_each(|part| self.wire.extend_from_slice(part));
        self.note(before, plaintext.to_vec());
        if self.closed.is_none() {
            self.sealer = Sealer::new(sealing_key(self.next));
        }
    }

    /// One record was appended after `before`: it is the specification's, under the next number.
    fn note(&mut self, before: usize, plaintext: Vec<u8>) {
        let bytes = self.wire[before..].to_vec();
        let header = Header { frame: FrameType::Record, len: plaintext.len() + 16 }.encode();
        assert_eq!(bytes[..4], header);
        let mut body = bytes[4..].to_vec();
        let opened = opening_key(self.next).open(&header, &mut body, Sealed::Record);
        assert_eq!(opened.as_deref(), Ok(&plaintext[..]), "not sealed under the next number, or something else");
        self.sealed.push((self.next, bytes, plaintext));
        self.next += 1;
    }

    /// Takes away, and puts in its place.
    fn edit(&mut self, at: usize, len: usize, more: &[u8]) {
        let at = at.min(self.wire.len());
        let after = self.wire.split_off(at);
        self.wire.extend_from_slice(more);
        self.wire.extend_from_slice(&after[len.min(after.len())..]);
    }

    fn open_all(&mut self) {
        loop {
            let before = self.wire.len();
            self.open(usize::MAX);
            if self.wire.len() == before {
                return;
            }
        }
    }

    /// Opens with the first `len` bytes there.
    fn open(&mut self, len: usize) {
        let mut seen = self.wire[..len.min(self.wire.len())].to_vec();
        let foretold = self.foretell(&seen);
        let result = self.opener.open(&mut seen);
        match foretold {
            Foretold::Exactly(expected) => assert_eq!(result, expected),
            Foretold::Data(data, len) => {
                let Ok(Progress::Record { consumed, event: Event::Data(range) }) = &result else {
                    panic!("{result:?} instead of DATA")
                };
                assert_eq!((&seen[range.clone()], *consumed), (&data[..], len));
            }
            Foretold::Fails(alert) => {
                let error = result.clone().expect_err("a fault");
                assert_eq!(error.alert(), Some(alert), "{error:?}");
            }
        }
        match result {
            Ok(Progress::Need(_)) => {}
            Ok(Progress::Record { consumed, event }) => {
                self.expected += 1;
                let _ = self.wire.split_to(consumed);
                match event {
                    Event::Accepted => self.phase = Phase::Open,
                    Event::End => self.phase = Phase::Ended,
                    Event::Data(_) => {}
                }
            }
            Err(error) => {
                let error = self.error.get_or_insert(error);
                assert_eq!(self.opener.open(&mut seen).as_ref(), Err(&*error), "the first error does not repeat");
            }
        }
        self.check();
    }

    fn foretell(&self, seen: &[u8]) -> Foretold {
        if let Some(error) = &self.error {
            return Foretold::Exactly(Err(error.clone()));
        }
        let legal: &[FrameType] = match self.phase {
            Phase::AwaitVerdict => &[FrameType::Record, FrameType::Alert],
            Phase::Open => &[FrameType::Record],
            Phase::Ended if seen.is_empty() => return Foretold::Exactly(Ok(Progress::Need(4))),
            Phase::Ended => return Foretold::Fails(Alert::UnexpectedMessage),
        };
        let len = match rules::front(seen, legal) {
            Front::Incomplete if seen.len() < 4 => return Foretold::Exactly(Ok(Progress::Need(4 - seen.len()))),
            Front::Incomplete => {
                let len = 4 + usize::from(seen[1]) * 65_536 + usize::from(seen[2]) * 256 + usize::from(seen[3]);
                return Foretold::Exactly(Ok(Progress::Need(len - seen.len())));
            }
            Front::Bad { alert, .. } => return Foretold::Fails(alert),
            Front::Whole(FrameType::Alert, _) => return Foretold::Exactly(Err(told(seen[4], "", false))),
            Front::Whole(_, len) => len,
        };
        if self.expected >= MAX_RECORDS {
            return Foretold::Exactly(Err(Error::Exhausted));
        }
        let record = self.sealed.iter().find(|(number, bytes, _)| *number == self.expected && bytes == &seen[..len]);
        let Some((_, _, plaintext)) = record else { return Foretold::Fails(Alert::BadRecord) };
        let event = |event| Foretold::Exactly(Ok(Progress::Record { consumed: len, event }));
        match rules::record(plaintext, self.phase == Phase::AwaitVerdict) {
            Says::Data(data) => Foretold::Data(data, len),
            Says::End => event(Event::End),
            Says::Alert(code, text) => Foretold::Exactly(Err(told(code, &text, true))),
            Says::Verdict(0, _) => event(Event::Accepted),
            Says::Verdict(code, text) => {
                Foretold::Exactly(Err(Error::Refused(Refusal { reason: Reason::from_code(code), text })))
            }
            Says::Bad(alert) => Foretold::Fails(alert),
        }
    }

    /// The transport ends.
    fn finish(&mut self) {
        let result = self.opener.finish();
        if self.phase == Phase::Ended && self.error.is_none() {
            assert_eq!(result, Ok(()));
        } else {
            let error = self.error.get_or_insert(Error::Truncated);
            assert_eq!(result, Err(error.clone()));
        }
        self.check();
    }

    fn check(&self) {
        assert_eq!(self.sealer.check().err(), self.closed);
        assert_eq!(self.opener.check().err(), self.error);
        let sound = self.error.is_none();
        assert_eq!(self.opener.is_ended(), sound && self.phase == Phase::Ended);
        assert_eq!(self.opener.awaits_verdict(), sound && self.phase == Phase::AwaitVerdict);
    }
}

fn told(code: u8, text: &str, authenticated: bool) -> Error {
    Error::AlertReceived(ReceivedAlert { alert: Alert::from_code(code), text: text.into(), authenticated })
}

fn sealing_key(counter: u64) -> SealingKey {
    SealingKey::dangerous_at(&Secret::take(&mut [7; 32]), Secret::take(&mut [9; 12]), counter)
}

fn opening_key(counter: u64) -> OpeningKey {
    OpeningKey::dangerous_at(&Secret::take(&mut [7; 32]), Secret::take(&mut [9; 12]), counter)
}
