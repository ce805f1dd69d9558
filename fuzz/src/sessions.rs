//! One direction of a session against a model of it (specification, section 11).

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::BytesMut;
use countersign::crypto::aead::{OpeningKey, SealingKey};
use countersign::crypto::agreement::X25519Share;
use countersign::crypto::schedule::TrafficSecret;
use countersign::crypto::suite::Aead;
use countersign::error::{Alert, Error, Misuse, Reason, ReceivedAlert, Refusal, Sealed};
use countersign::secret::Secret;
use countersign::session::{Event, Opener, Padding, Progress, Sealer, Shares};
use countersign::wire::frame::{self, FrameType, Header};

use super::reader::Reader;
use super::rules::{self, Front, Says};
use super::shares::{self, Made, Numbers};

/// Input: a byte whose lowest bit makes the receiver wait for a VERDICT, whose next bit puts the counters near their
/// limit and whose third chooses AES-256-GCM, then operations with their arguments: seal, end, alert, keepalive, rekey,
/// padding, any record at all, REKEY records of the other direction, edits of what is on the way, open, finish.
///
/// What is sealed has the bytes of the specification under the next counter ([RE-2], [RE-4]), and after REKEY under the
/// next secret ([RK-1]). What is opened is judged as it says ([RE-1], [RE-3], [RE-5], [RE-6], [RE-9], [RE-10], [RK-2]
/// to [RK-6], [HS-21] to [HS-23], [AL-4]): data out is data in, up to the first fault. The first error repeats. No
/// private half is kept longer than it may be named.
pub fn session_ops(data: &[u8]) {
    let mut reader = Reader::new(data);
    let choice = reader.u8();
    let (aead, limit) = if choice & 4 == 4 { (Aead::Aes256Gcm, 1 << 32) } else { (Aead::ChaCha20Poly1305, 1 << 48) };
    let start = if choice & 2 == 2 { limit - 4 } else { 0 };
    let mut model = Model::new(aead, limit, start, choice & 1 == 1);
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
    aead: Aead,
    /// How many records one key may seal.
    limit: u64,
    sealer: Sealer,
    /// Why nothing can be sealed.
    closed: Option<Error>,
    padding: Policy,
    /// Where sealing stands.
    sealing: Place,
    /// Every record ever sealed.
    sealed: Vec<Record>,
    wire: BytesMut,
    opener: Opener,
    /// Where opening stands.
    opening: Place,
    phase: Phase,
    error: Option<Error>,
    /// Shares of the side that seals, then of the side that opens: the library's, and those of the model.
    shares: [Shares; 2],
    numbers: [Numbers; 2],
    /// REKEY records of the other direction, on their way.
    back: VecDeque<(Vec<u8>, [u8; 40])>,
    /// The next generator for a share.
    seed: u64,
}

/// The current secret of a direction, the number of the next record under it, and the counts of [RK-2].
struct Place {
    secret: [u8; 32],
    next: u64,
    rekeys: u64,
    others: u64,
}

impl Place {
    fn allows_rekey(&self) -> bool {
        self.rekeys < 16 + self.others / 4
    }

    fn rekeyed(&mut self, content: &[u8; 40], dh: Option<[u8; 32]>) {
        let dh = dh.map(|mut dh| Secret::take(&mut dh));
        self.secret = *secret(self.secret).next(content, dh.as_ref()).expect("a secret").expose();
        self.next = 0;
    }
}

struct Record {
    secret: [u8; 32],
    number: u64,
    bytes: Vec<u8>,
    plaintext: Vec<u8>,
}

/// A padding policy, written a second time.
#[derive(Clone, Copy)]
enum Policy {
    None,
    Block(NonZeroU16),
    PowerOfTwo,
}

impl Policy {
    fn read(reader: &mut Reader<'_>) -> Self {
        match (reader.u8() % 4, NonZeroU16::new(reader.u16())) {
            (0, _) => Policy::None,
            (1, _) => Policy::PowerOfTwo,
            (_, None) => Policy::Block(NonZeroU16::MIN),
            (_, Some(block)) => Policy::Block(block),
        }
    }

    fn of_library(self) -> Padding {
        match self {
            Policy::None => Padding::None,
            Policy::Block(block) => Padding::Block(block),
            Policy::PowerOfTwo => Padding::PowerOfTwo,
        }
    }

    fn max_content(self) -> usize {
        match self {
            Policy::Block(block) => 65_536 - 65_536 % usize::from(block.get()),
            _ => 65_536,
        }
    }

    /// The plaintext of a record of this kind.
    fn plaintext(self, kind: u8, content: &[u8]) -> Vec<u8> {
        let target = match self {
            Policy::None => return [&[kind], content].concat(),
            Policy::Block(block) => content.len().max(1).next_multiple_of(block.get().into()),
            Policy::PowerOfTwo => content.len().max(64).next_power_of_two(),
        };
        padded(kind, content, target - content.len())
    }
}

fn padded(kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
    let mut plaintext = [&[kind | 0x80], content].concat();
    plaintext.resize(plaintext.len() + padding, 0);
    plaintext.extend(u16::try_from(padding).unwrap_or(u16::MAX).to_be_bytes());
    plaintext
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
    /// Its numbers, its share, and its length.
    Rekey(u32, u32, [u8; 32], usize),
    Fails(Alert),
}

impl Model {
    fn new(aead: Aead, limit: u64, start: u64, verdict: bool) -> Self {
        let place = || Place { secret: START, next: start, rekeys: 0, others: start };
        let opener = Opener::dangerous_at(secret(START), aead, start).expect("keys");
        Model {
            aead,
            limit,
            sealer: Sealer::dangerous_at(secret(START), aead, start).expect("keys"),
            closed: None,
            padding: Policy::None,
            sealing: place(),
            sealed: Vec::new(),
            wire: BytesMut::new(),
            opener: if verdict { opener.awaiting_verdict() } else { opener },
            opening: place(),
            phase: if verdict { Phase::AwaitVerdict } else { Phase::Open },
            error: None,
            shares: Default::default(),
            numbers: Default::default(),
            back: VecDeque::new(),
            seed: 0,
        }
    }

    fn operate(&mut self, reader: &mut Reader<'_>) {
        match reader.u8() % 32 {
            0 => self.seal(reader.len(), None, 1),
            1 => self.seal(reader.len(), Some(reader.u16()), 1),
            2 => self.seal(reader.len(), None, 1 + usize::from(reader.u8() % 5)),
            3 => self.end(),
            4 => self.alert(reader.u8(), reader.short()),
            5 => self.any_record(reader.short()),
            6 => {
                let (kind, len, padding) = (reader.u8(), reader.len(), reader.len().min(65_535));
                let content = vec![b'x'; len];
                let mut plaintext =
                    if kind < 0x80 { [&[kind], &content[..]].concat() } else { padded(kind, &content, padding) };
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
            15 => self.rarely(reader.u8()),
            16..=18 => self.rekey(),
            19 | 20 => self.keepalive(),
            21 => {
                self.padding = Policy::read(reader);
                self.sealer.set_padding(self.padding.of_library());
            }
            22 | 23 => self.forge_rekey(reader),
            24..=26 => self.rekey_back(),
            27..=29 => self.hear_back(),
            30 => self.forge_back(reader.u8()),
            _ => self.open_all(),
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
        let taken = len.min(padding.map_or(self.padding.max_content(), |padding| 65_536 - usize::from(padding)));
        let expected = self.room().map(|()| taken);
        assert_eq!(result, expected);
        if taken == 0 || result.is_err() {
            assert_eq!(self.wire.len(), before, "something was sealed");
        } else {
            let content = &content[..taken];
            let plaintext = match padding {
                None => self.padding.plaintext(1, content),
                Some(padding) => padded(1, content, padding.into()),
            };
            self.note(before, plaintext);
        }
        self.check();
    }

    /// Whether DATA or KEEPALIVE may be sealed.
    fn room(&self) -> Result<(), Error> {
        match &self.closed {
            Some(error) => Err(error.clone()),
            None if self.sealing.next >= self.limit - 1 => Err(Error::Exhausted),
            None => Ok(()),
        }
    }

    fn keepalive(&mut self) {
        let before = self.wire.len();
        let result = self.sealer.seal_keepalive(&mut self.wire);
        assert_eq!(result, self.room());
        match result {
            Ok(()) => self.note(before, self.padding.plaintext(7, &[])),
            Err(_) => assert_eq!(self.wire.len(), before, "something was sealed"),
        }
        self.check();
    }

    /// REKEY, for which the last number is kept.
    fn rekey(&mut self) {
        let before = self.wire.len();
        let seed = self.fresh();
        let result = self.sealer.rekey(&mut self.shares[0], Duration::ZERO, &mut shares::rng(seed), &mut self.wire);
        if let Some(error) = &self.closed {
            assert_eq!(result.as_ref(), Err(error));
        } else if !self.sealing.allows_rekey() {
            assert_eq!(result, Err(Error::Misuse(Misuse::RekeyStorm)));
        } else {
            self.rekeyed(result, before, seed);
        }
        self.check();
    }

    fn rekeyed(&mut self, result: Result<(), Error>, before: usize, seed: u64) {
        let made = self.numbers[0].send(seed);
        match (made, result) {
            (Err(alert), Err(error)) => {
                assert_eq!(error.alert(), Some(alert), "{error:?}");
                self.closed = Some(error);
            }
            (Ok(_), Err(Error::Exhausted)) if self.sealing.next >= self.limit => self.closed = Some(Error::Exhausted),
            (Ok(Made { content, dh }), Ok(())) => {
                self.note(before, self.padding.plaintext(6, &content));
                return self.sealing.rekeyed(&content, dh);
            }
            (made, result) => panic!("{result:?}, but the specification says {:?}", made.map(|made| made.content)),
        }
        assert_eq!(self.wire.len(), before, "something was sealed");
    }

    /// A REKEY of the other direction, under a key of its own: only its share is of interest here.
    fn rekey_back(&mut self) {
        let seed = self.fresh();
        let mut sealer = Sealer::new(secret(BACK), self.aead).expect("keys");
        let mut out = BytesMut::new();
        let result = sealer.rekey(&mut self.shares[1], Duration::ZERO, &mut shares::rng(seed), &mut out);
        match (self.numbers[1].send(seed), result) {
            (Ok(made), Ok(())) => self.back.push_back((out.to_vec(), made.content)),
            (Err(alert), Err(error)) => assert_eq!(error.alert(), Some(alert), "{error:?}"),
            (_, result) => panic!("{result:?}, and the specification says otherwise"),
        }
        self.check();
    }

    fn hear_back(&mut self) {
        let Some((frame, content)) = self.back.pop_front() else { return };
        self.hear(frame, &content);
    }

    /// The other direction sends a share, possibly a bad one, that this library would not send.
    fn forge_back(&mut self, choice: u8) {
        let seed = self.fresh();
        let share = if choice & 1 == 1 { [choice >> 7; 32] } else { some_share(seed) };
        let number = self.numbers[0].peer_number() + u32::from(choice >> 1 & 3);
        let content = shares::content(u32::from(choice >> 3 & 3), number, &share);
        let mut text = [&[6], &content[..]].concat();
        let header = Header { frame: FrameType::Record, len: text.len() + 16 }.encode();
        let mut sealing = secret(BACK).sealing_key(self.aead).expect("keys");
        let tag = sealing.seal(&header, &mut text).expect("room");
        self.hear([&header[..], &text, &tag].concat(), &content);
    }

    fn hear(&mut self, mut frame: Vec<u8>, content: &[u8; 40]) {
        let mut opener = Opener::new(secret(BACK), self.aead).expect("keys");
        assert_eq!(opener.open(&mut frame), Ok(Progress::Record { consumed: frame.len(), event: Event::Rekey }));
        let result = opener.rekey(&mut self.shares[0]);
        let (named, number, share) = parts(content);
        match (self.numbers[0].receive(named, number, share), result) {
            (Ok(_), Ok(())) => {}
            (Err(alert), Err(error)) => assert_eq!(error.alert(), Some(alert), "{error:?}"),
            (_, result) => panic!("{result:?}, and the specification says otherwise"),
        }
        self.check();
    }

    /// Numbers near those that are right, and a share that may be zero.
    fn forge_rekey(&mut self, reader: &mut Reader<'_>) {
        let choice = reader.u8();
        let right = (self.numbers[1].number(), self.numbers[1].peer_number() + 1);
        let near = |right: u32, choice: u8| match choice & 7 {
            0 | 1 => right,
            2 => 0,
            3 => right + 1,
            4 => right.saturating_sub(1),
            5 => u32::MAX,
            other => u32::from(other) - 5,
        };
        let share = if choice >> 6 == 3 { [0; 32] } else { some_share(self.fresh()) };
        let content = shares::content(near(right.0, choice), near(right.1, choice >> 3), &share);
        self.any_record(&[&[6], &content[..]].concat());
    }

    fn fresh(&mut self) -> u64 {
        self.seed += 1;
        self.seed
    }

    fn end(&mut self) {
        let before = self.wire.len();
        let result = self.sealer.seal_end(&mut self.wire);
        self.last(result, before, self.padding.plaintext(0x02, &[]));
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
        self.last(result, before, self.padding.plaintext(0x03, &content));
    }

    /// END or an ALERT was sealed, for which the last number is kept.
    fn last(&mut self, result: Result<(), Error>, before: usize, plaintext: Vec<u8>) {
        let expected = match &self.closed {
            Some(error) => Err(error.clone()),
            None if self.sealing.next >= self.limit => Err(Error::Exhausted),
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
        if self.sealing.next >= self.limit || plaintext.is_empty() {
            return;
        }
        let before = self.wire.len();
        let header = Header { frame: FrameType::Record, len: plaintext.len() + 16 }.encode();
        let mut text = plaintext.to_vec();
        let tag = self.sealing_key().seal(&header, &mut text).expect("room");
        [&header[..], &text, &tag].iter().for_each(|part| self.wire.extend_from_slice(part));
        self.note(before, plaintext.to_vec());
        if let Says::Rekey(named, number, share) = rules::record(plaintext, false) {
            // As far as the receiver will be able to follow.
            let dh = self.numbers[1].agree(named, &share);
            self.sealing.rekeyed(&shares::content(named, number, &share), dh);
        }
        if self.closed.is_none() {
            let Place { secret: of, next, .. } = self.sealing;
            self.sealer = Sealer::dangerous_at(secret(of), self.aead, next).expect("keys");
            self.sealer.set_padding(self.padding.of_library());
            (self.sealing.rekeys, self.sealing.others) = (0, next);
        }
    }

    /// One record was appended after `before`: it is the specification's, under the next number.
    fn note(&mut self, before: usize, plaintext: Vec<u8>) {
        let bytes = self.wire[before..].to_vec();
        let header = Header { frame: FrameType::Record, len: plaintext.len() + 16 }.encode();
        assert_eq!(bytes[..4], header);
        let mut body = bytes[4..].to_vec();
        let opened = self.opening_key().open(&header, &mut body, Sealed::Record).map(|text| text.to_vec());
        assert_eq!(opened.as_ref(), Ok(&plaintext), "not sealed under the next number, or something else");
        let place = &mut self.sealing;
        let is_rekey = matches!(rules::record(&plaintext, false), Says::Rekey(..));
        self.sealed.push(Record { secret: place.secret, number: place.next, bytes, plaintext });
        place.next += 1;
        *if is_rekey { &mut place.rekeys } else { &mut place.others } += 1;
    }

    fn sealing_key(&self) -> SealingKey {
        secret(self.sealing.secret).dangerous_sealing_key_at(self.aead, self.sealing.next).expect("keys")
    }

    fn opening_key(&self) -> OpeningKey {
        secret(self.sealing.secret).dangerous_opening_key_at(self.aead, self.sealing.next).expect("keys")
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
            Foretold::Rekey(named, number, share, consumed) => {
                assert_eq!(result, Ok(Progress::Record { consumed, event: Event::Rekey }));
                self.opening.rekeys += 1;
                let _ = self.wire.split_to(consumed);
                return self.complete(named, number, share);
            }
            Foretold::Fails(alert) => {
                let error = result.clone().expect_err("a fault");
                assert_eq!(error.alert(), Some(alert), "{error:?}");
            }
        }
        match result {
            Ok(Progress::Need(_)) => {}
            Ok(Progress::Record { consumed, event }) => {
                self.opening.next += 1;
                self.opening.others += 1;
                let _ = self.wire.split_to(consumed);
                match event {
                    Event::Accepted => self.phase = Phase::Open,
                    Event::End => self.phase = Phase::Ended,
                    Event::Data(_) | Event::KeepAlive | Event::Rekey => {}
                }
            }
            Err(error) => {
                let error = self.error.get_or_insert(error);
                assert_eq!(self.opener.open(&mut seen).as_ref(), Err(&*error), "the first error does not repeat");
            }
        }
        self.check();
    }

    /// A REKEY was opened: nothing else is before it is completed.
    fn complete(&mut self, named: u32, number: u32, share: [u8; 32]) {
        assert_eq!(self.opener.open(&mut [0xC5]), Err(Error::Misuse(Misuse::RekeyPending)));
        let result = self.opener.rekey(&mut self.shares[1]);
        match (self.numbers[1].receive(named, number, share), result) {
            (Ok(dh), Ok(())) => self.opening.rekeyed(&shares::content(named, number, &share), dh),
            (Err(alert), Err(error)) => {
                assert_eq!(error.alert(), Some(alert), "{error:?}");
                assert_eq!(
                    self.opener.rekey(&mut self.shares[1]),
                    Err(error.clone()),
                    "the first error does not repeat"
                );
                self.error = Some(error);
            }
            (_, result) => panic!("{result:?}, and the specification says otherwise"),
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
        if self.opening.next >= self.limit {
            return Foretold::Exactly(Err(Error::Exhausted));
        }
        let Place { secret, next, .. } = self.opening;
        let fits = |record: &&Record| record.secret == secret && record.number == next && record.bytes == seen[..len];
        let Some(Record { plaintext, .. }) = self.sealed.iter().find(fits) else {
            return Foretold::Fails(Alert::BadRecord);
        };
        let event = |event| Foretold::Exactly(Ok(Progress::Record { consumed: len, event }));
        match rules::record(plaintext, self.phase == Phase::AwaitVerdict) {
            Says::Data(data) => Foretold::Data(data, len),
            Says::End => event(Event::End),
            Says::Alert(code, text) => Foretold::Exactly(Err(told(code, &text, true))),
            Says::Verdict(0, _) => event(Event::Accepted),
            Says::Verdict(code, text) => {
                Foretold::Exactly(Err(Error::Refused(Refusal { reason: Reason::from_code(code), text })))
            }
            Says::KeepAlive => event(Event::KeepAlive),
            Says::Rekey(named, number, share) if self.opening.allows_rekey() => {
                Foretold::Rekey(named, number, share, len)
            }
            Says::Rekey(..) => Foretold::Fails(Alert::UnexpectedMessage),
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
        for (shares, numbers) in self.shares.iter().zip(&self.numbers) {
            assert_eq!((shares.kept(), shares.peer_number()), (numbers.kept(), numbers.peer_number()));
            assert!(shares.kept() <= 2, "more than two private halves");
        }
        let sound = self.error.is_none();
        assert_eq!(self.opener.is_ended(), sound && self.phase == Phase::Ended);
        assert_eq!(self.opener.awaits_verdict(), sound && self.phase == Phase::AwaitVerdict);
    }
}

fn told(code: u8, text: &str, authenticated: bool) -> Error {
    Error::AlertReceived(ReceivedAlert { alert: Alert::from_code(code), text: text.into(), authenticated })
}

const START: [u8; 32] = [7; 32];
const BACK: [u8; 32] = [9; 32];

fn secret(mut bytes: [u8; 32]) -> TrafficSecret {
    TrafficSecret::take(&mut bytes)
}

fn parts(content: &[u8; 40]) -> (u32, u32, [u8; 32]) {
    match rules::record(&[&[6], &content[..]].concat(), false) {
        Says::Rekey(named, number, share) => (named, number, share),
        other => panic!("{other:?} is no REKEY"),
    }
}

/// A share whose private half nobody here has.
fn some_share(seed: u64) -> [u8; 32] {
    *X25519Share::generate(&mut shares::rng(!seed)).expect("randomness").share()
}
