//! Whoever sits between two honest parties and edits what they send.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use countersign::config::Config;
use countersign::crypto::suite::Suite;
use countersign::error::Error;
use countersign::role::Role;
use countersign::session::{Padding, RekeyPolicy, Session};
use rand_chacha::ChaCha8Rng;

use super::parties::{self, Machine, SERVICE, key, split};
use super::reader::Reader;

/// Input: a byte of choices (see [`Choice`]), a byte with a length of data, then edits: a byte with the
/// direction (highest bit) and the number of the frame in it, a byte with the sort of edit, and its arguments.
///
/// * Who completes agrees with the other on every byte of the handshake and on session, peer and service; if the initiator
///   completes, so has the responder. The suite is the one that both prefer, whatever becomes of the offer.
/// * AUTH_I goes only to the responder that has proved itself ([HS-15]); an unauthenticated peer hears one ALERT at most
///   ([AL-1]).
/// * Data arrives as it was sent, or an error comes instead ([RE-1], [RE-7], [HS-25]).
/// * A responder with a network key sends nothing before a HELLO of someone who has it ([NK-3]).
/// * If nothing was edited, both complete and everything arrives, however often either side rekeys.
pub fn man_in_middle(data: &[u8]) {
    let mut reader = Reader::new(data);
    let choice = Choice(reader.u8());
    let len = reader.len();
    let mut edits = Vec::new();
    while !reader.is_empty() && edits.len() < 12 {
        edits.push(Edit::read(&mut reader));
    }
    let mut path = Path::new(choice, len, edits);
    path.run();
    path.check();
}

/// 0x01: the initiator is eager. 0x06: the suite that both prefer; the first stands for the smallest handshake, which
/// offers nothing else. 0x08: both have the network key. 0x30: padding. 0x40, 0x80: the initiator, the responder rekeys
/// before every record but its first.
#[derive(Clone, Copy)]
struct Choice(u8);

impl Choice {
    fn is_eager(self) -> bool {
        self.0 & 1 == 1
    }

    fn suite(self) -> Suite {
        Suite::ALL[usize::from(self.0 >> 1 & 3)]
    }

    fn has_network_key(self) -> bool {
        self.0 & 8 == 8
    }

    fn config(self, role: Role) -> &'static Config {
        static CONFIGS: LazyLock<[Vec<Config>; 2]> = LazyLock::new(|| {
            [Role::Initiator, Role::Responder].map(|role| (0..128).map(|bits| Choice(bits << 1).make(role)).collect())
        });
        let side = usize::from(role == Role::Responder);
        &CONFIGS[side][usize::from(self.0 >> 1)]
    }

    fn make(self, role: Role) -> Config {
        let mut config = parties::config(role).clone();
        let first = self.suite();
        if first != Suite::ALL[0] {
            let others = Suite::ALL.into_iter().filter(|suite| *suite != first);
            config = config.suites([first].into_iter().chain(others));
        }
        if self.has_network_key() {
            config = config.network_key(parties::network_key());
        }
        config = match self.0 >> 4 & 3 {
            0 => config,
            1 => config.padding(Padding::PowerOfTwo),
            2 => config.padding(Padding::Block(NonZeroU16::new(100).expect("not zero"))).auth_padding(512),
            _ => config.padding(Padding::Block(NonZeroU16::new(4_096).expect("not zero"))).auth_padding(4_096),
        };
        let own = if role == Role::Initiator { 0x40 } else { 0x80 };
        // The time stands still here: what is left are the bytes.
        let bytes = if self.0 & own == own { 1 } else { u64::MAX };
        config.rekey(RekeyPolicy::new(bytes, Duration::MAX))
    }

    fn machine(self, role: Role, data: &[u8]) -> Machine {
        let (stream, eager) = if role == Role::Initiator { (1, self.is_eager()) } else { (2, false) };
        Machine::with(self.config(role), role, data, stream, eager)
    }

    /// The frames of an older session of the same parties: HELLO, HELLO_REPLY, AUTH_R, AUTH_I, VERDICT.
    fn old(self) -> &'static [Vec<u8>] {
        static OLD: [OnceLock<Vec<Vec<u8>>>; 256] = [const { OnceLock::new() }; 256];
        OLD[usize::from(self.0)].get_or_init(|| {
            let [mut initiator, mut responder] =
                [Role::Initiator, Role::Responder].map(|role| self.machine(role, b"old"));
            let mut frames = Vec::new();
            for _ in 0..2 {
                let sent = initiator.output.split();
                responder.feed(&sent);
                frames.extend(split(&sent));
                let sent = responder.output.split();
                initiator.feed(&sent);
                frames.extend(split(&sent));
            }
            assert!(initiator.accepted && responder.accepted && frames.len() == 5, "an honest handshake fails");
            frames
        })
    }
}

struct Edit<'a> {
    from: usize,
    ordinal: usize,
    what: What<'a>,
}

enum What<'a> {
    Flip(usize),
    Drop,
    Duplicate,
    Truncate(usize),
    /// Lets the next frame of the direction overtake.
    Hold,
    Before(&'a [u8]),
    After(&'a [u8]),
    /// Sends it back to its sender too.
    Reflect,
    /// A frame of an older session of the same parties instead.
    Replay(usize),
    Overwrite(usize, &'a [u8]),
    Insert(usize, &'a [u8]),
    Remove(usize, usize),
}

impl<'a> Edit<'a> {
    fn read(reader: &mut Reader<'a>) -> Self {
        let place = reader.u8();
        let what = match reader.u8() % 12 {
            0 => What::Flip(reader.u16().into()),
            1 => What::Drop,
            2 => What::Duplicate,
            3 => What::Truncate(reader.u16().into()),
            4 => What::Hold,
            5 => What::Before(reader.short()),
            6 => What::After(reader.short()),
            7 => What::Reflect,
            8 => What::Replay(reader.u8().into()),
            9 => What::Overwrite(reader.u16().into(), reader.short()),
            10 => What::Insert(reader.u16().into(), reader.short()),
            _ => What::Remove(reader.u16().into(), reader.u8().into()),
        };
        Edit { from: usize::from(place >> 7), ordinal: usize::from(place & 0x7F), what }
    }
}

/// The parties are number 0, the initiator, and number 1.
struct Path<'a> {
    choice: Choice,
    machines: [Machine; 2],
    edits: Vec<Edit<'a>>,
    /// To whom, and what.
    queue: VecDeque<(usize, Vec<u8>)>,
    held: [Option<Vec<u8>>; 2],
    /// Frames as each party sent them.
    sent: [Vec<Vec<u8>>; 2],
    /// Bytes as each party got them.
    got: [Vec<u8>; 2],
    /// What each party writes once it may, in two rounds, and how many of these it has written.
    data: [Vec<u8>; 2],
    rounds: [usize; 2],
    /// What each party draws the shares of its rekeys from.
    rngs: [ChaCha8Rng; 2],
    /// Something was left out or put elsewhere that `got` alone may not show.
    reflected: bool,
}

impl<'a> Path<'a> {
    fn new(choice: Choice, len: usize, edits: Vec<Edit<'a>>) -> Self {
        let bytes: Vec<u8> = (0..len).map(|i| i.to_le_bytes()[0]).collect();
        Path {
            choice,
            machines: [Role::Initiator, Role::Responder].map(|role| choice.machine(role, b"live")),
            edits,
            queue: VecDeque::new(),
            held: [None, None],
            sent: [Vec::new(), Vec::new()],
            got: [Vec::new(), Vec::new()],
            data: [[b"from the initiator", &bytes[..]].concat(), [b"from the responder", &bytes[..]].concat()],
            rounds: [0; 2],
            rngs: [3, 4].map(|stream| parties::rng(b"live", stream)),
            reflected: false,
        }
    }

    fn run(&mut self) {
        self.collect(0);
        loop {
            while let Some((to, bytes)) = self.queue.pop_front() {
                self.got[to].extend_from_slice(&bytes);
                self.machines[to].feed(&bytes);
                self.collect(to);
            }
            let Some(from) = (0..2).find(|from| self.held[*from].is_some()) else { break };
            self.queue.extend(self.held[from].take().map(|frame| (1 - from, frame)));
        }
        for machine in &mut self.machines {
            let before = machine.received.len();
            machine.finish();
            if machine.error.is_some() {
                machine.feed(b"more");
            }
            assert_eq!(machine.received.len(), before, "data after the end");
        }
    }

    /// Takes what a party sends, edits it, and puts it on the way.
    fn collect(&mut self, from: usize) {
        self.write(from);
        for frame in split(&self.machines[from].output.split()) {
            let ordinal = self.sent[from].len();
            self.sent[from].push(frame.clone());
            let mut hold = false;
            let mut frames = vec![frame];
            for edit in self.edits.iter().filter(|edit| edit.from == from && edit.ordinal == ordinal) {
                hold |= matches!(edit.what, What::Hold);
                if matches!(edit.what, What::Reflect) {
                    self.reflected = true;
                    self.queue.push_back((from, frames.concat()));
                }
                apply(&edit.what, from, self.choice, &mut frames);
            }
            let bytes = frames.concat();
            if hold && self.held[from].is_none() {
                self.held[from] = Some(bytes);
                continue;
            }
            self.queue.push_back((1 - from, bytes));
            self.queue.extend(self.held[from].take().map(|frame| (1 - from, frame)));
        }
    }

    /// Writes two records once there is a session, and the rest and END when something has come since.
    fn write(&mut self, from: usize) {
        let Some(session) = self.machines[from].session() else { return };
        assert_eq!(session.info.suite, self.choice.suite(), "another suite than both prefer");
        assert!(session.shares.kept() <= 2, "more than two private halves");
        if self.rounds[from] == 2 || session.sealer.check().is_err() {
            return;
        }
        let (head, tail) = self.data[from].split_at(5);
        let rng = &mut self.rngs[from];
        let mut output = BytesMut::new();
        if self.rounds[from] == 0 {
            send(session, &head[..2], rng, &mut output);
            send(session, &head[2..], rng, &mut output);
        } else {
            send(session, tail, rng, &mut output);
            rekey_if_due(session, rng, &mut output);
            session.sealer.seal_end(&mut output).expect("an open session");
        }
        self.rounds[from] += 1;
        self.machines[from].output.extend_from_slice(&output);
    }

    fn check(&self) {
        let [initiator, responder] = &self.machines;
        // The handshake as each side sent it, as far as it got.
        let [hello, replies] = [0, 1].map(|from| self.sent[from].iter().take(2).cloned().collect::<Vec<_>>().concat());
        if initiator.signed {
            let proof = self.sent[1].get(1).is_some_and(|frame| frame[0] == 0xC3);
            assert!(proof && self.got[0].starts_with(&replies), "[HS-15] AUTH_I to someone who has proved nothing");
            assert!(self.got[1].starts_with(&self.sent[0][0]), "the responder answered another HELLO");
            assert_eq!(initiator.asked, Some(key(Role::Responder)));
        }
        if responder.accepted {
            assert!(initiator.signed, "the responder completes without the initiator");
            assert!(self.got[1].starts_with(&hello), "the responder completes over an edited handshake");
            assert_eq!(responder.peer, Some(key(Role::Initiator)));
            assert_eq!(responder.service, SERVICE);
            assert!(initiator.session_id.is_none() || initiator.session_id == responder.session_id);
        }
        if initiator.accepted {
            assert!(responder.accepted, "the initiator completes alone");
            assert!(self.got[0].starts_with(&self.sent[1][..3].concat()), "completes over an edited handshake");
            assert_eq!(initiator.session_id, responder.session_id);
            assert_eq!(initiator.peer, Some(key(Role::Responder)));
            assert_eq!(initiator.service, SERVICE);
        }
        for (to, machine) in self.machines.iter().enumerate() {
            assert!(self.data[1 - to].starts_with(&machine.received), "other data than was sent");
            assert!(machine.accepted || (machine.received.is_empty() && !machine.ended), "data without acceptance");
            if machine.ended {
                assert_eq!(machine.received, self.data[1 - to], "a clean end before all data");
            } else {
                assert!(machine.error.is_some(), "[RE-7] an end of the transport passes for a clean one");
            }
            check_grammar(to, &self.sent[to]);
        }
        if self.choice.has_network_key() && !self.sent[1].is_empty() {
            let known = [&self.sent[0][0], &self.choice.old()[0]].iter().any(|hello| self.got[1].starts_with(hello));
            assert!(known, "[NK-3] the responder speaks to someone without the network key");
        }
        let unedited = !self.reflected && (0..2).all(|to| self.got[to] == self.sent[1 - to].concat());
        if unedited {
            assert!(initiator.accepted && responder.accepted, "{:?} {:?}", initiator.error, responder.error);
            assert!(initiator.ended && responder.ended && initiator.error.is_none() && responder.error.is_none());
        }
        for machine in &self.machines {
            assert!(!matches!(machine.error, Some(Error::Internal(_) | Error::Misuse(_))), "{:?}", machine.error);
        }
    }
}

fn send(session: &mut Session, mut data: &[u8], rng: &mut ChaCha8Rng, output: &mut BytesMut) {
    while !data.is_empty() {
        rekey_if_due(session, rng, output);
        let taken = session.sealer.seal_data([data].into_iter(), output).expect("an open session");
        data = &data[taken..];
    }
}

fn rekey_if_due(session: &mut Session, rng: &mut ChaCha8Rng, output: &mut BytesMut) {
    if session.sealer.rekey_is_due(Duration::ZERO, session.shares.peer_number()) {
        session.sealer.rekey(&mut session.shares, Duration::ZERO, rng, output).expect("it is due");
    }
}

/// What a party may ever send: its messages in order, then at most one ALERT frame, or records.
fn check_grammar(from: usize, sent: &[Vec<u8>]) {
    let codes: Vec<u8> = sent.iter().map(|frame| frame[0]).collect();
    let proof: &[u8] = if from == 0 { &[0xC1, 0xC4] } else { &[0xC2, 0xC3] };
    match codes.iter().position(|code| *code == 0xC6) {
        Some(at) => assert!(at + 1 == codes.len() && proof.starts_with(&codes[..at]), "{codes:02x?}"),
        None => {
            let (head, records) = codes.split_at(codes.len().min(2));
            assert!(proof.starts_with(head) && records.iter().all(|code| *code == 0xC5), "{codes:02x?}");
        }
    }
}

fn apply(what: &What<'_>, from: usize, choice: Choice, frames: &mut Vec<Vec<u8>>) {
    let bytes = frames.concat();
    *frames = match *what {
        What::Flip(bit) if !bytes.is_empty() => {
            let mut bytes = bytes;
            let bit = bit % (8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
            vec![bytes]
        }
        What::Drop => Vec::new(),
        What::Duplicate => vec![bytes.clone(), bytes],
        What::Truncate(len) => vec![bytes[..len.min(bytes.len())].to_vec()],
        What::Before(more) => vec![more.to_vec(), bytes],
        What::After(more) => vec![bytes, more.to_vec()],
        What::Replay(number) => vec![old(from, number, choice).to_vec()],
        What::Overwrite(at, more) => {
            let mut bytes = bytes;
            bytes.iter_mut().skip(at).zip(more).for_each(|(byte, new)| *byte = *new);
            vec![bytes]
        }
        What::Insert(at, more) => {
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            vec![head.to_vec(), more.to_vec(), tail.to_vec()]
        }
        What::Remove(at, len) => {
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            vec![head.to_vec(), tail[len.min(tail.len())..].to_vec()]
        }
        What::Flip(_) | What::Hold | What::Reflect => vec![bytes],
    };
}

/// A frame of an older session: the usual one of this direction, or any.
fn old(from: usize, number: usize, choice: Choice) -> &'static [u8] {
    const BY_DIRECTION: [&[usize]; 2] = [&[0, 3], &[1, 2, 4]];
    match number {
        0..=2 => &choice.old()[BY_DIRECTION[from][number % BY_DIRECTION[from].len()]],
        _ => &choice.old()[number % 5],
    }
}
