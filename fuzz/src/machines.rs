//! The two state machines, fed by someone who knows neither a key nor the challenge (specification, sections 8 and 13).

use countersign::error::{Alert, Error};
use countersign::role::{Role, Stage};
use countersign::wire::frame::FrameType;

use super::parties::{Machine, split};
use super::reader::Reader;
use super::rules::{self, Front};

/// Input: a byte that chooses the state, a byte with the number of pieces, their lengths, then the bytes to feed. The
/// randomness of both parties depends on the whole input, so that the bytes were chosen before the challenge was drawn.
///
/// The initiator never completes, never decides about a peer, never sends AUTH_I. Its state, its error and what it sends are
/// those of the state table ([ST-1]), at most one ALERT in all ([AL-1]), however the bytes are cut ([FR-5]).
pub fn initiator_feed(data: &[u8]) {
    let mut reader = Reader::new(data);
    let frames = usize::from(reader.u8() % 3);
    check(Role::Initiator, frames, reader, data);
}

/// As [`initiator_feed`], for the responder: it sends nothing beyond one ALERT but HELLO_REPLY and AUTH_R, and those once
/// and only to a HELLO that the specification accepts.
pub fn responder_feed(data: &[u8]) {
    let mut reader = Reader::new(data);
    let frames = usize::from(reader.u8() % 2);
    check(Role::Responder, frames, reader, data);
}

fn check(role: Role, frames: usize, mut reader: Reader<'_>, data: &[u8]) {
    let pieces = reader.short();
    let bytes = reader.rest();
    let mut machine = at_state(role, frames, data);
    let expected = expected(machine.stage().expect("it waits"), bytes);
    machine.feed(bytes);
    compare(machine, &expected);
    if pieces.is_empty() {
        return;
    }
    let mut machine = at_state(role, frames, data);
    let mut rest = bytes;
    for len in pieces {
        let (piece, after) = rest.split_at(rest.len().min(usize::from(*len)));
        machine.feed(piece);
        rest = after;
    }
    machine.feed(rest);
    compare(machine, &expected);
}

/// A party that has had so many frames of its honest peer.
fn at_state(role: Role, frames: usize, data: &[u8]) -> Machine {
    let mut machine = Machine::new(role, data, 1, false);
    let mut peer = Machine::new(role.peer(), data, 2, false);
    if frames > 0 {
        peer.feed(&machine.output.split());
        let mut sent = split(&peer.output.split());
        sent.truncate(frames);
        sent.iter().for_each(|frame| machine.feed(frame));
    }
    machine.output.clear();
    machine.asked = None;
    machine
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
    /// The responder has answered a HELLO on the way.
    answered: bool,
}

/// The state tables of section 13, for bytes that can't hold anything sealed or signed.
fn expected(mut stage: Stage, mut bytes: &[u8]) -> Expected {
    let mut answered = false;
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
                    FrameType::Hello => hello(&bytes[4..len]).map(|()| Stage::AuthI),
                    FrameType::HelloReply => hello_reply(&bytes[4..len]).map(|()| Stage::AuthR),
                    _ => Err(Alert::BadRecord),
                };
                match judged {
                    Err(alert) => End::Fails(alert),
                    Ok(next) => {
                        answered |= next == Stage::AuthI;
                        (stage, bytes) = (next, &bytes[len..]);
                        continue;
                    }
                }
            }
        };
        return Expected { end, stage, answered };
    }
}

/// [HS-2] to [HS-6], [NK-5], of a responder that has the first suite only and no network key.
fn hello(body: &[u8]) -> Result<(), Alert> {
    let (suites, shares, tag) = rules::hello(body)?;
    let share = |wanted| shares.iter().find(|(kind, _)| *kind == wanted).map(|(_, share)| *share);
    let (x25519, mlkem) = (share(1), share(2));
    if x25519.is_some_and(|share| share.len() != 32) || mlkem.is_some_and(|share| share.len() != 1_184) {
        return Err(Alert::Malformed);
    }
    if tag.is_some() {
        return Err(Alert::NetworkKey);
    }
    let needs = |suite: u16| (x25519.is_none() && suite <= 4) || (mlkem.is_none() && [2, 4].contains(&suite));
    if suites.iter().any(|suite| *suite != 0 && needs(*suite)) {
        return Err(Alert::Malformed);
    }
    match x25519 {
        Some(share) if suites.contains(&1) => agree(share),
        _ => Err(Alert::NoCommonSuite),
    }
}

/// [HS-7], [HS-8], [HS-10]; an echo can't be, since the bytes came before the challenge.
fn hello_reply(body: &[u8]) -> Result<(), Alert> {
    if body[..2] != [0, 1] {
        return Err(Alert::UnsupportedVersion);
    }
    if body[2..4] != [0, 1] || body.len() != 68 {
        return Err(Alert::Malformed);
    }
    agree(&body[36..])
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
    if expected.answered {
        assert_eq!(sent.next(), Some((0xC2, 72, 0)), "HELLO_REPLY");
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
