//! Both directions of a session, which rekey across each other (specification, section 11.2).

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use countersign::crypto::schedule::TrafficSecret;
use countersign::crypto::suite::Aead;
use countersign::error::{Error, Misuse};
use countersign::session::{Event, Opener, Padding, Progress, RekeyPolicy, Sealer, Shares};

use super::reader::Reader;
use super::shares;

/// Input: a byte that chooses AEAD, padding and whether the policy of each side is tiny, then operations: a byte with
/// the side (highest bit) and the sort, and its arguments.
///
/// Whatever the two send, and however long it is on the way, all of it arrives in order, nothing fails, and neither
/// side keeps more than two private halves. REKEY is refused to the sender exactly when the receiver would refuse it
/// ([RK-2]). After a flipped bit nothing of that direction arrives any more; the other goes on. A rekey is due when the
/// policy says so, and once more when the peer has sent a share since (section 11.2).
pub fn rekey_pair(data: &[u8]) {
    let mut reader = Reader::new(data);
    let choice = reader.u8();
    let mut pair = Pair { sides: [0, 1].map(|side| Side::new(side, choice)), now: Duration::ZERO, seed: 0 };
    for _ in 0..256 {
        if reader.is_empty() {
            break;
        }
        pair.operate(&mut reader);
    }
    pair.conclude();
}

struct Pair {
    sides: [Side; 2],
    now: Duration,
    seed: u64,
}

/// One side, and what it has sent.
struct Side {
    sealer: Sealer,
    opener: Opener,
    shares: Shares,
    /// Bytes that have arrived and are not opened yet.
    input: BytesMut,
    /// Bytes that have not arrived.
    on_the_way: BytesMut,
    /// What the records say that the peer has not opened, and where each ends in the stream.
    said: VecDeque<(Event, Vec<u8>, usize)>,
    /// Length of the stream so far, of all that has arrived, and of all that the peer has opened.
    sent: usize,
    arrived: usize,
    opened: usize,
    /// The byte of the stream that was altered.
    altered: Option<usize>,
    rekeys: usize,
    others: usize,
    pace: Pace,
    ended: bool,
}

/// What is known of the next rekey of a side. Which bytes of a record count is its own affair: some things are sure,
/// others possible, and pairs have them in this order.
struct Pace {
    policy: RekeyPolicy,
    /// Bytes and records on the wire since the last rekey, and when that was.
    bytes: usize,
    records: usize,
    last: Duration,
    /// The share of the peer that was mixed in last.
    mixed: u32,
    /// One rekey more is owed once the peer has sent a newer one.
    owed: [bool; 2],
}

impl Pace {
    fn new(policy: RekeyPolicy) -> Self {
        Pace { policy, bytes: 0, records: 0, last: Duration::ZERO, mixed: 0, owed: [false; 2] }
    }

    fn is_scheduled(&self, now: Duration) -> [bool; 2] {
        let is_old = now - self.last >= self.policy.age;
        [self.bytes.saturating_sub(MAX_OVERHEAD * self.records), self.bytes].map(|bytes| {
            let bytes = u64::try_from(bytes).expect("few bytes");
            self.records > 0 && (is_old || bytes >= self.policy.bytes)
        })
    }

    fn completes(&self, peer_number: u32) -> [bool; 2] {
        self.owed.map(|owed| owed && peer_number > self.mixed)
    }

    fn check(&self, is_due: bool, now: Duration, peer_number: u32) {
        let [scheduled, completes] = [self.is_scheduled(now), self.completes(peer_number)];
        assert!(is_due || !(scheduled[0] || completes[0]), "a rekey is due");
        assert!(!is_due || scheduled[1] || completes[1], "no rekey is due");
    }

    /// A REKEY was made, whose own record may count too.
    fn rekeyed(&mut self, was_scheduled: bool, now: Duration, peer_number: u32) {
        let completes = self.completes(peer_number);
        self.owed = [was_scheduled || !completes[1], self.is_scheduled(now)[1] || !completes[0]];
        (self.bytes, self.records, self.last, self.mixed) = (0, 0, now, peer_number);
    }
}

/// Header, kind, length of the padding, tag.
const MAX_OVERHEAD: usize = 4 + 1 + 2 + 16;

impl Side {
    fn new(side: usize, choice: u8) -> Self {
        let aead = if choice & 1 == 1 { Aead::Aes256Gcm } else { Aead::ChaCha20Poly1305 };
        let secret = |of: usize| TrafficSecret::take(&mut [of.to_le_bytes()[0] + 1; 32]);
        let mut sealer = Sealer::new(secret(side), aead).expect("keys");
        sealer.set_padding(match choice >> 1 & 3 {
            0 | 1 => Padding::None,
            2 => Padding::PowerOfTwo,
            _ => Padding::Block(NonZeroU16::new(100).expect("not zero")),
        });
        let policy = match choice >> (4 + side) & 1 {
            0 => RekeyPolicy::default(),
            _ => RekeyPolicy::new(200, Duration::from_secs(60)),
        };
        sealer.set_rekey_policy(policy);
        Side {
            sealer,
            opener: Opener::new(secret(1 - side), aead).expect("keys"),
            shares: Shares::new(),
            input: BytesMut::new(),
            on_the_way: BytesMut::new(),
            said: VecDeque::new(),
            sent: 0,
            arrived: 0,
            opened: 0,
            altered: None,
            rekeys: 0,
            others: 0,
            pace: Pace::new(policy),
            ended: false,
        }
    }

    /// One record was appended to what is on the way.
    fn note(&mut self, event: Event, content: Vec<u8>) {
        let before = self.sent;
        self.sent = self.arrived + self.on_the_way.len();
        self.pace.bytes += self.sent - before;
        self.pace.records += 1;
        *if event == Event::Rekey { &mut self.rekeys } else { &mut self.others } += 1;
        self.said.push_back((event, content, self.sent));
    }

    fn allows_rekey(&self) -> bool {
        self.rekeys < 16 + self.others / 4
    }

    fn is_dead(&self) -> bool {
        self.altered.is_some_and(|altered| altered < self.arrived)
    }
}

impl Pair {
    fn operate(&mut self, reader: &mut Reader<'_>) {
        let choice = reader.u8();
        let side = usize::from(choice >> 7);
        match choice & 0x0F {
            0..=2 => self.send(side, reader.len() % 5_000),
            3..=5 => self.rekey(side),
            6 => self.keepalive(side),
            7 | 8 => self.deliver(side, reader.u8().into()),
            9 | 10 => self.deliver(side, 64 * usize::from(reader.u8())),
            11 | 12 => self.deliver(side, usize::MAX),
            13 => self.now += Duration::from_secs(reader.u8().into()),
            14 => self.flip(side, reader.u16().into()),
            _ if reader.u8() < 64 => self.end(side),
            _ => self.keepalive(side),
        }
        for side in &self.sides {
            assert!(side.shares.kept() <= 2, "more than two private halves");
        }
    }

    fn send(&mut self, from: usize, len: usize) {
        self.rekey_if_due(from);
        let side = &mut self.sides[from];
        let start = side.others;
        let content: Vec<u8> = (start..start + len).map(|i| i.to_le_bytes()[0]).collect();
        let result = side.sealer.seal_data([&content[..]].into_iter(), &mut side.on_the_way);
        match result {
            Ok(0) => assert_eq!(len, 0),
            Ok(taken) => {
                assert_eq!(taken, len);
                side.note(Event::Data(0..0), content);
            }
            Err(error) => side.check_refused(&error),
        }
    }

    fn keepalive(&mut self, from: usize) {
        self.rekey_if_due(from);
        let side = &mut self.sides[from];
        match side.sealer.seal_keepalive(&mut side.on_the_way) {
            Ok(()) => side.note(Event::KeepAlive, Vec::new()),
            Err(error) => side.check_refused(&error),
        }
    }

    fn end(&mut self, from: usize) {
        let side = &mut self.sides[from];
        match side.sealer.seal_end(&mut side.on_the_way) {
            Ok(()) => {
                side.note(Event::End, Vec::new());
                side.ended = true;
            }
            Err(error) => side.check_refused(&error),
        }
    }

    fn rekey_if_due(&mut self, from: usize) {
        let side = &self.sides[from];
        let peer_number = side.shares.peer_number();
        let is_due = side.sealer.rekey_is_due(self.now, peer_number);
        if side.ended || !side.allows_rekey() {
            assert!(!is_due, "due, and not allowed");
            return;
        }
        side.pace.check(is_due, self.now, peer_number);
        if is_due {
            self.rekey(from);
        }
    }

    fn rekey(&mut self, from: usize) {
        self.seed += 1;
        let side = &mut self.sides[from];
        let mut rng = shares::rng(self.seed);
        let (was_scheduled, peer_number) = (side.pace.is_scheduled(self.now)[0], side.shares.peer_number());
        match side.sealer.rekey(&mut side.shares, self.now, &mut rng, &mut side.on_the_way) {
            Ok(()) => {
                assert!(side.allows_rekey(), "a storm");
                side.note(Event::Rekey, Vec::new());
                side.pace.rekeyed(was_scheduled, self.now, peer_number);
            }
            Err(Error::Misuse(Misuse::RekeyStorm)) => assert!(!side.allows_rekey(), "no storm"),
            Err(error) => side.check_refused(&error),
        }
    }

    /// So many bytes arrive, and every record that is complete is opened.
    fn deliver(&mut self, from: usize, len: usize) {
        let [first, second] = &mut self.sides;
        let (sender, receiver) = if from == 0 { (first, second) } else { (second, first) };
        let bytes = sender.on_the_way.split_to(len.min(sender.on_the_way.len()));
        sender.arrived += bytes.len();
        receiver.input.extend_from_slice(&bytes);
        while receiver.open(sender) {}
    }

    fn flip(&mut self, from: usize, bit: usize) {
        let side = &mut self.sides[from];
        if side.altered.is_none() && bit / 8 < side.on_the_way.len() {
            side.on_the_way[bit / 8] ^= 1 << (bit % 8);
            side.altered = Some(side.arrived + bit / 8);
        }
    }

    fn conclude(&mut self) {
        for from in [0, 1] {
            self.end(from);
            self.deliver(from, usize::MAX);
        }
        for from in [0, 1] {
            let altered = self.sides[from].altered;
            let opener = &mut self.sides[1 - from].opener;
            let finished = opener.finish();
            assert_eq!(opener.check(), finished, "the first error does not repeat");
            assert_eq!(finished.is_err(), altered.is_some(), "{finished:?}");
            let side = &self.sides[from];
            assert!(altered.is_some() || (side.said.is_empty() && side.opened == side.sent), "something is lost");
        }
    }
}

impl Side {
    fn check_refused(&self, error: &Error) {
        assert!(self.ended && *error == Error::Misuse(Misuse::WriteAfterEnd), "{error:?}");
    }

    /// Opens one record of the peer's; `false` if there is none.
    fn open(&mut self, sender: &mut Side) -> bool {
        match self.opener.open(&mut self.input) {
            Ok(Progress::Need(missing)) => {
                assert!(missing > 0);
                false
            }
            Ok(Progress::Record { consumed, event }) => {
                self.heard(sender, consumed, event);
                true
            }
            Err(error) => {
                assert!(sender.is_dead(), "{error:?}");
                assert!(error.alert().is_some(), "{error:?}");
                assert_eq!(self.opener.open(&mut self.input), Err(error), "the first error does not repeat");
                false
            }
        }
    }

    fn heard(&mut self, sender: &mut Side, consumed: usize, event: Event) {
        let (expected, content, end) = sender.said.pop_front().expect("nothing else was sent");
        sender.opened += consumed;
        assert_eq!(sender.opened, end);
        assert!(sender.altered.is_none_or(|altered| altered >= end), "an altered record is opened");
        match event {
            Event::Data(range) => {
                assert!(matches!(expected, Event::Data(_)));
                assert_eq!(self.input[range], content, "lost, doubled or out of order");
            }
            event => assert_eq!(event, expected),
        }
        self.input.advance(consumed);
        assert_eq!(self.opener.rekey(&mut self.shares), Ok(()));
        assert!(self.shares.kept() <= 2, "more than two private halves");
    }
}
