//! Whoever sits between two honest parties and edits what they send.

use std::collections::VecDeque;
use std::sync::LazyLock;

use countersign::error::Error;
use countersign::role::Role;

use super::parties::{Machine, SERVICE, honest_frames, key, split};
use super::reader::Reader;

/// Input: a byte whose lowest bit makes the initiator eager, a byte with a length of data, then edits: a byte with the
/// direction (highest bit) and the number of the frame in it, a byte with the sort of edit, and its arguments.
///
/// * Who completes agrees with the other on every byte of the handshake and on session, peer and service; if the initiator
///   completes, so has the responder.
/// * AUTH_I goes only to the responder that has proved itself ([HS-15]); an unauthenticated peer hears one ALERT at most
///   ([AL-1]).
/// * Data arrives as it was sent, or an error comes instead ([RE-1], [RE-7], [HS-25]).
/// * If nothing was edited, both complete and everything arrives.
pub fn man_in_middle(data: &[u8]) {
    let mut reader = Reader::new(data);
    let eager = reader.u8() & 1 == 1;
    let len = reader.len();
    let mut edits = Vec::new();
    while !reader.is_empty() && edits.len() < 12 {
        edits.push(Edit::read(&mut reader));
    }
    let mut path = Path::new(eager, len, edits);
    path.run();
    path.check();
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
    machines: [Machine; 2],
    edits: Vec<Edit<'a>>,
    /// To whom, and what.
    queue: VecDeque<(usize, Vec<u8>)>,
    held: [Option<Vec<u8>>; 2],
    /// Frames as each party sent them.
    sent: [Vec<Vec<u8>>; 2],
    /// Bytes as each party got them.
    got: [Vec<u8>; 2],
    /// What each party writes once it may.
    data: [Vec<u8>; 2],
    has_written: [bool; 2],
    /// Something was left out or put elsewhere that `got` alone may not show.
    reflected: bool,
}

impl<'a> Path<'a> {
    fn new(eager: bool, len: usize, edits: Vec<Edit<'a>>) -> Self {
        let bytes: Vec<u8> = (0..len).map(|i| i.to_le_bytes()[0]).collect();
        Path {
            machines: [
                Machine::new(Role::Initiator, b"live", 1, eager),
                Machine::new(Role::Responder, b"live", 2, false),
            ],
            edits,
            queue: VecDeque::new(),
            held: [None, None],
            sent: [Vec::new(), Vec::new()],
            got: [Vec::new(), Vec::new()],
            data: [[b"from the initiator", &bytes[..]].concat(), [b"from the responder", &bytes[..]].concat()],
            has_written: [false; 2],
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
                apply(&edit.what, from, &mut frames);
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

    /// Writes three records and END, once there is a session.
    fn write(&mut self, from: usize) {
        let Some(session) = self.machines[from].session() else { return };
        if self.has_written[from] || session.sealer.check().is_err() {
            return;
        }
        self.has_written[from] = true;
        let mut output = bytes::BytesMut::new();
        let (head, tail) = self.data[from].split_at(5);
        for part in [&head[..2], &head[2..], tail] {
            let taken = session.sealer.seal_data([part].into_iter(), &mut output).expect("an open session");
            assert_eq!(taken, part.len().min(65_536));
            if taken < part.len() {
                session.sealer.seal_data([&part[taken..]].into_iter(), &mut output).expect("an open session");
            }
        }
        session.sealer.seal_end(&mut output).expect("an open session");
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

fn apply(what: &What<'_>, from: usize, frames: &mut Vec<Vec<u8>>) {
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
        What::Replay(number) => vec![old(from, number).to_vec()],
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
fn old(from: usize, number: usize) -> &'static [u8] {
    static OLD: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| honest_frames(b"old", 1));
    const BY_DIRECTION: [&[usize]; 2] = [&[0, 3], &[1, 2, 4]];
    match number {
        0..=2 => &OLD[BY_DIRECTION[from][number % BY_DIRECTION[from].len()]],
        _ => &OLD[number % 5],
    }
}
