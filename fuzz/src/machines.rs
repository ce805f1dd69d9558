//! The two state machines, fed by someone who knows neither a key nor the challenge (specification, sections 8 and 13).

use countersign::crypto::schedule::EarlySecret;
use countersign::error::{Alert, Error, Untrusted};
use countersign::role::{Role, Stage};
use countersign::wire::frame::FrameType;

use super::parties::{self, Machine, split};
use super::reader::Reader;
use super::rules::{self, Front};

/// Input: a byte that chooses the state (0x80: both parties have all suites, 0x40: and a network key), a byte with the
/// number of pieces, their lengths, then the bytes to feed. The randomness of both parties depends on the whole input,
/// so that the bytes were chosen before the challenge was drawn.
///
/// The initiator never completes, never decides about a peer, never sends AUTH_I. Its state, its error and what it
/// sends are those of the state table ([ST-1]), at most one ALERT in all ([AL-1]), however the bytes are cut ([FR-5]).
pub fn initiator_feed(data: &[u8]) {
    let mut reader = Reader::new(data);
    let choice = reader.u8();
    let start = Start::new(Role::Initiator, choice, usize::from((choice & 0x3F) % 3), data);
    check(&start, reader);
}

/// As [`initiator_feed`], for the responder: it sends nothing beyond one ALERT but HELLO_REPLY and AUTH_R, and those
/// once and only to a HELLO that the specification accepts. With a network key it sends nothing at all ([NK-3]).
pub fn responder_feed(data: &[u8]) {
    let mut reader = Reader::new(data);
    let choice = reader.u8();
    let start = Start::new(Role::Responder, choice, usize::from((choice & 0x3F) % 2), data);
    if start.network && start.frames == 0 {
        return check_silent(&start, reader);
    }
    check(&start, reader);
}

/// A party in a state.
struct Start<'a> {
    role: Role,
    wide: bool,
    network: bool,
    /// How many frames of its honest peer it has had.
    frames: usize,
    data: &'a [u8],
}

impl<'a> Start<'a> {
    fn new(role: Role, choice: u8, frames: usize, data: &'a [u8]) -> Self {
        Start { role, wide: choice & 0x80 != 0, network: choice & 0xC0 == 0xC0, frames, data }
    }

    fn party(&self, role: Role, stream: u64) -> Machine {
        let config = if self.wide { parties::wide_config(role, self.network) } else { parties::config(role) };
        Machine::with(config, role, self.data, stream, false)
    }

    fn machine(&self) -> Machine {
        let mut machine = self.party(self.role, 1);
        let mut peer = self.party(self.role.peer(), 2);
        if self.frames > 0 {
            peer.feed(&machine.output.split());
            let mut sent = split(&peer.output.split());
            sent.truncate(self.frames);
            sent.iter().for_each(|frame| machine.feed(frame));
        }
        machine.output.clear();
        machine.asked = None;
        machine
    }
}

fn check(start: &Start<'_>, mut reader: Reader<'_>) {
    let pieces = reader.short();
    let bytes = reader.rest();
    let mut machine = start.machine();
    let expected = expected(machine.stage().expect("it waits"), start.wide, bytes);
    machine.feed(bytes);
    compare(machine, &expected);
    if pieces.is_empty() {
        return;
    }
    let mut machine = start.machine();
    feed_pieces(&mut machine, pieces, bytes);
    compare(machine, &expected);
}

/// Nobody here knows the network key, so nothing comes back, however good it looks; but for a HELLO that was recorded,
/// which is answered.
fn check_silent(start: &Start<'_>, mut reader: Reader<'_>) {
    let pieces = reader.short();
    let bytes = reader.rest();
    let mut machine = start.machine();
    feed_pieces(&mut machine, pieces, bytes);
    let alert = |machine: &Machine| machine.error.as_ref().map(Error::alert);
    match rules::front(bytes, &[FrameType::Hello, FrameType::Alert]) {
        Front::Incomplete => assert_eq!(machine.error, None),
        Front::Bad { alert: expected, .. } => assert_eq!(alert(&machine), Some(Some(expected))),
        Front::Whole(FrameType::Alert, _) => assert!(matches!(machine.error, Some(Error::AlertReceived(_)))),
        Front::Whole(_, len) if is_tagged(&bytes[..len]) => {
            return assert_eq!(split(&machine.output).first().map(|frame| frame[0]), Some(0xC2));
        }
        Front::Whole(..) => assert_eq!(machine.error, Some(Error::Untrusted(Untrusted::NetworkKey))),
    }
    machine.finish();
    assert!(machine.output.is_empty() && machine.asked.is_none() && !machine.signed, "[NK-3]");
}

/// A HELLO that someone made who knows the network key.
fn is_tagged(hello: &[u8]) -> bool {
    let early = EarlySecret::new(Some(&parties::network_key())).expect("keys");
    let tag_key = early.network_tag_key().expect("keys");
    hello.split_last_chunk().is_some_and(|(fields, tag)| tag_key.check(&[fields], tag).is_ok())
}

fn feed_pieces(machine: &mut Machine, pieces: &[u8], bytes: &[u8]) {
    let mut rest = bytes;
    for len in pieces {
        let (piece, after) = rest.split_at(rest.len().min(usize::from(*len)));
        machine.feed(piece);
        rest = after;
    }
    machine.feed(rest);
}

/// The end of a run.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Waits(Stage),
    /// The alert that goes out; at AwaitVerdict it goes out sealed.
    Fails(Alert),
    /// An ALERT frame came: nothing goes out.
    Told(u8),
}

struct Expected {
    end: End,
    /// The stage at which it ends.
    stage: Stage,
    /// The responder has answered a HELLO on the way, with a HELLO_REPLY of so many bytes.
    answered: Option<usize>,
}

/// The state tables of section 13, for bytes that can't hold anything sealed or signed.
fn expected(mut stage: Stage, wide: bool, mut bytes: &[u8]) -> Expected {
    let mut answered = None;
    loop {
        let legal = match stage {
            Stage::Hello => FrameType::Hello,
            Stage::HelloReply => FrameType::HelloReply,
            Stage::AuthR => FrameType::AuthR,
            Stage::AuthI => FrameType::AuthI,
            _ => FrameType::Record,
        };
        let end = match rules::front(bytes, &[legal, FrameType::Alert]) {
            Front::Incomplete => End::Waits(stage),
            Front::Bad { alert, .. } => End::Fails(alert),
            Front::Whole(FrameType::Alert, _) => End::Told(bytes[4]),
            Front::Whole(frame, len) => {
                let judged = match frame {
                    FrameType::Hello => hello(&bytes[4..len], wide).map(|reply_len| {
                        answered = Some(reply_len);
                        Stage::AuthI
                    }),
                    FrameType::HelloReply => hello_reply(&bytes[4..len], wide).map(|()| Stage::AuthR),
                    _ => Err(Alert::BadRecord),
                };
                match judged {
                    Err(alert) => End::Fails(alert),
                    Ok(next) => {
                        (stage, bytes) = (next, &bytes[len..]);
                        continue;
                    }
                }
            }
        };
        return Expected { end, stage, answered };
    }
}

/// [HS-2] to [HS-6], [HS-27], [NK-5], of a responder without a network key: the length of its HELLO_REPLY.
fn hello(body: &[u8], wide: bool) -> Result<usize, Alert> {
    let (suites, shares, tag) = rules::hello(body)?;
    let share = |wanted| shares.iter().find(|(kind, _)| *kind == wanted).map(|(_, share)| *share);
    let (x25519, mlkem) = (share(1), share(2));
    if x25519.is_some_and(|share| share.len() != 32) || mlkem.is_some_and(|share| share.len() != 1_184) {
        return Err(Alert::Malformed);
    }
    if tag.is_some() {
        return Err(Alert::NetworkKey);
    }
    let lacks = |suite| x25519.is_none() || (is_hybrid(suite) && mlkem.is_none());
    if suites.iter().any(|suite| (1..=4).contains(suite) && lacks(*suite)) {
        return Err(Alert::Malformed);
    }
    let own: &[u16] = if wide { &[2, 1, 4, 3] } else { &[1] };
    let suite = *own.iter().find(|suite| suites.contains(suite)).ok_or(Alert::NoCommonSuite)?;
    if is_hybrid(suite) && !mlkem.is_some_and(is_encapsulation_key) {
        return Err(Alert::Malformed);
    }
    agree(x25519.expect("looked at before"))?;
    Ok(if is_hybrid(suite) { 72 + 1_088 } else { 72 })
}

/// [HS-7], [HS-8], [HS-10]; an echo can't be, since the bytes came before the challenge, and a wrong ciphertext shows
/// at AUTH_R only.
fn hello_reply(body: &[u8], wide: bool) -> Result<(), Alert> {
    if body[..2] != [0, 1] {
        return Err(Alert::UnsupportedVersion);
    }
    let suite = body.get(2..4).map_or(0, |suite| u16::from(suite[0]) << 8 | u16::from(suite[1]));
    let offered = if wide { 1..=4 } else { 1..=1 };
    let len = if is_hybrid(suite) { 68 + 1_088 } else { 68 };
    if !offered.contains(&suite) || body.len() != len {
        return Err(Alert::Malformed);
    }
    agree(&body[36..68])
}

fn is_hybrid(suite: u16) -> bool {
    suite == 2 || suite == 4
}

/// FIPS 203, section 7.2: 768 coefficients of 12 bits, little-endian, each less than 3,329; then a seed.
fn is_encapsulation_key(key: &[u8]) -> bool {
    let coefficients = key[..1_152].chunks(3).flat_map(|three| {
        let [a, b, c] = [three[0], three[1], three[2]].map(u16::from);
        [a | (b & 0xF) << 8, b >> 4 | c << 4]
    });
    coefficients.into_iter().all(|coefficient| coefficient < 3_329)
}

/// The points whose order divides 8, in every encoding of 255 bits, give a secret of zero.
fn agree(share: &[u8]) -> Result<(), Alert> {
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0xE0, 0xEB, 0x7A, 0x7C, 0x3B, 0x41, 0xB8, 0xAE, 0x16, 0x56, 0xE3, 0xFA, 0xF1, 0x9F, 0xC4, 0x6A, 0xDA, 0x09,
            0x8D, 0xEB, 0x9C, 0x32, 0xB1, 0xFD, 0x86, 0x62, 0x05, 0x16, 0x5F, 0x49, 0xB8, 0x00,
        ],
        [
            0x5F, 0x9C, 0x95, 0xBC, 0xA3, 0x50, 0x8C, 0x24, 0xB1, 0xD0, 0xB1, 0x55, 0x9C, 0x83, 0xEF, 0x5B, 0x04, 0x44,
            0x5C, 0xC4, 0x58, 0x1C, 0x8E, 0x86, 0xD8, 0x22, 0x4E, 0xDD, 0xD0, 0x9F, 0x11, 0x57,
        ],
    ];
    let mut share: [u8; 32] = share.try_into().expect("32 bytes");
    share[31] &= 0x7F;
    // 0, 1, and p - 1, p, p + 1 with p = 2^255 - 19.
    let low = share[0] <= 1 && share[1..].iter().all(|byte| *byte == 0);
    let high = (0xEC..=0xEE).contains(&share[0]) && share[1..31].iter().all(|byte| *byte == 0xFF) && share[31] == 0x7F;
    if low || high || ORDER_8.contains(&share) { Err(Alert::Refused) } else { Ok(()) }
}

fn compare(mut machine: Machine, expected: &Expected) {
    assert!(!machine.accepted && machine.session_id.is_none(), "completed without a peer");
    assert!(machine.asked.is_none(), "decided about a peer that has proved nothing");
    let sent = split(&machine.output);
    let mut sent = sent.iter().map(|frame| (frame[0], frame.len(), frame[4]));
    if let Some(len) = expected.answered {
        assert_eq!(sent.next(), Some((0xC2, len, 0)), "HELLO_REPLY");
        assert_eq!(sent.next().map(|(code, ..)| code), Some(0xC3), "AUTH_R");
    }
    match (&expected.end, &machine.error) {
        (End::Waits(stage), None) => assert_eq!(machine.stage(), Some(*stage)),
        (End::Fails(alert), Some(error)) => {
            assert_eq!(error.alert(), Some(*alert), "{error:?}");
            let said = sent.next().expect("the failure is told");
            if expected.stage == Stage::Verdict {
                assert_eq!((said.0, said.1), (0xC5, 4 + 1 + 1 + 16), "a sealed ALERT");
            } else {
                assert_eq!(said, (0xC6, 5, alert.code()));
            }
        }
        (End::Told(code), Some(Error::AlertReceived(received))) => {
            assert!(received.alert.code() == *code && !received.authenticated && received.text.is_empty());
        }
        (end, error) => panic!("{error:?}, but the specification says {end:?}"),
    }
    assert_eq!(sent.next(), None, "more was sent than the state allows");
    let failed = machine.error.is_some();
    machine.output.clear();
    machine.finish();
    assert!(machine.output.is_empty(), "the end of the transport is answered");
    assert!(failed || machine.error == Some(Error::Truncated));
}
