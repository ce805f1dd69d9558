//! Attacks on the records that have names: what is cut, left out, sent again, or sealed twice.
#![allow(missing_docs)]

#[path = "support/evil/mod.rs"]
mod evil;
#[cfg(feature = "tokio")]
#[path = "support/io.rs"]
mod scripted;
mod support;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use countersign::crypto::suite::Suite;
use countersign::error::{Alert, Error, Misuse, Sealed};
use countersign::handshake::{Step, Target};
use countersign::identity::SignerError;
use countersign::session::{Event, Opener, Progress, Session};
use evil::crypto::Aead;
use evil::keys::Direction;
use evil::leak::Leak;
use evil::wire::{self, frame};
use rand_core::{Rng, TryCryptoRng, TryRng};
use support::{End, config, frames, honest, peer_id, seeded_quietly};

const ALICE: u8 = 1;
const BOB: u8 = 2;

fn called(service: &str) -> Target {
    Target { peer: Some(peer_id(BOB)), service: service.into(), ..Target::default() }
}

/// What the records of `wire` deliver, whether END came, and the error, if there is one.
fn deliver(opener: &mut Opener, wire: &[u8]) -> (Vec<Vec<u8>>, bool, Result<(), Error>) {
    let (mut input, mut delivered, mut ended) = (BytesMut::from(wire), Vec::new(), false);
    loop {
        match opener.open(&mut input) {
            Ok(Progress::Record { consumed, event }) => {
                if let Event::Data(range) = &event {
                    delivered.push(input[range.clone()].to_vec());
                }
                ended |= event == Event::End;
                input.advance(consumed);
            }
            Ok(Progress::Need(_)) => return (delivered, ended, Ok(())),
            Err(error) => return (delivered, ended, Err(error)),
        }
    }
}

/// Truncation (as of SSL 2.0, and of TLS without close_notify): however a direction is cut, and whatever is put
/// behind the cut, it does not end well: END of another session, of the other direction, or an ALERT are none. [RE-6]
/// [RE-7]
#[test]
fn truncation() {
    let leak = Leak::default();
    let open = || {
        let of =
            |own, peer| config(own, peer).suites([Suite::X25519ChaCha20Poly1305Sha256]).dangerous_key_log(leak.clone());
        honest(&of(ALICE, BOB), &of(BOB, ALICE), 48)
    };
    let mut session = open();
    let mut wire = BytesMut::new();
    for text in [b"transfer 1000".as_slice(), b" to nobody"] {
        session.initiator.sealer.seal_data([text].into_iter(), &mut wire).expect("sealed");
    }
    session.initiator.sealer.seal_end(&mut wire).expect("sealed");
    let mut other_end = BytesMut::new();
    session.responder.sealer.seal_end(&mut other_end).expect("sealed");
    let mut old_end = BytesMut::new();
    honest(&config(ALICE, BOB), &config(BOB, ALICE), 49).initiator.sealer.seal_end(&mut old_end).expect("sealed");
    let tails: [&[u8]; 6] =
        [b"", &other_end, &old_end, &[0xC6, 0, 0, 1, 10], &[0xC5, 0, 0, 0], &frame(wire::RECORD, &[2; 17])];
    for cut in 0..wire.len() {
        for tail in tails {
            let mut opener = open().responder.opener;
            let (_, ended, result) = deliver(&mut opener, &[&wire[..cut], tail].concat());
            assert!(!ended, "cut at {cut}");
            assert!(result.is_err() || opener.finish() == Err(Error::Truncated), "cut at {cut}");
            assert!(opener.check().is_err(), "cut at {cut}");
        }
    }
    let mut opener = open().responder.opener;
    assert_eq!(deliver(&mut opener, &wire), (vec![b"transfer 1000".to_vec(), b" to nobody".to_vec()], true, Ok(())));
    assert_eq!(opener.finish(), Ok(()));
}

/// Terrapin (Bäumer, Brinkmann, Schwenk 2023): something is put into the handshake and as much taken from the front
/// of the records. Nothing can be put in that is passed over, and without its first records a direction is dead, in
/// every suite. [FR-3] [RE-1] [HS-21]
#[test]
fn prefix_removal() {
    for suite in Suite::ALL {
        let of = |own, peer| config(own, peer).suites([suite]);
        let open = || honest(&of(ALICE, BOB), &of(BOB, ALICE), 50);
        for side in 0..2 {
            let mut session = open();
            let from: &mut Session = if side == 0 { &mut session.initiator } else { &mut session.responder };
            let mut wire = BytesMut::new();
            from.sealer.seal_keepalive(&mut wire).expect("sealed");
            from.sealer.rekey(&mut from.shares, Duration::ZERO, &mut seeded_quietly(1), &mut wire).expect("a rekey");
            for n in 0..6_u8 {
                from.sealer.seal_data([[n].as_slice()].into_iter(), &mut wire).expect("sealed");
            }
            let records = frames(&wire);
            for removed in 1..records.len() {
                let mut session = open();
                let to = if side == 0 { &mut session.responder } else { &mut session.initiator };
                let opened = to.open(&mut records[removed..].concat());
                assert_eq!(opened, Err(Error::Tampered(Sealed::Record)), "{suite}: the first {removed}");
            }
        }
        // The VERDICT is the first record of its direction, and can't go either.
        let mut session = open();
        let mut wire = BytesMut::new();
        session.responder.sealer.seal_data([b"first".as_slice()].into_iter(), &mut wire).expect("sealed");
        let mut rng = seeded_quietly(50);
        let mut alice = End::initiator(&of(ALICE, BOB), Target::default(), &mut rng);
        alice.feed(&session.flights[1]);
        alice.feed(&wire);
        assert!(alice.failure.is_some() && !alice.is_complete() && alice.session.is_none());
    }
    // Whatever is put in front of any flight ends the handshake.
    let fillers: [Vec<u8>; 5] = [
        frame(wire::RECORD, &[0; 17]),
        frame(wire::ALERT, &[0]),
        frame(wire::HELLO, &[0; 42]),
        frame(0xC7, &[]),
        frame(0x00, &[0; 12]),
    ];
    for filler in fillers {
        for flight in 0..4 {
            let mut rng = seeded_quietly(51);
            let mut alice = End::initiator(&config(ALICE, BOB), called(""), &mut rng);
            let mut bob = End::responder(&config(BOB, ALICE), &mut rng);
            for number in 0..4 {
                let (from, to) = if number % 2 == 0 { (&mut alice, &mut bob) } else { (&mut bob, &mut alice) };
                let sent = from.take_output();
                to.feed(&if number == flight { [&filler[..], &sent].concat() } else { sent });
            }
            assert!(!alice.is_complete(), "{filler:02x?} before flight {flight}");
            assert!(flight == 3 || !bob.is_complete(), "{filler:02x?} before flight {flight}");
        }
    }
}

/// A generator that fails at its draws from one on.
struct Dry(u32);

impl TryRng for Dry {
    type Error = fmt::Error;

    fn try_next_u32(&mut self) -> Result<u32, fmt::Error> {
        Err(fmt::Error)
    }

    fn try_next_u64(&mut self) -> Result<u64, fmt::Error> {
        Err(fmt::Error)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), fmt::Error> {
        self.0 = self.0.checked_sub(1).ok_or(fmt::Error)?;
        out.fill(0x5A);
        Ok(())
    }
}

impl TryCryptoRng for Dry {}

/// Which key and counter a record was sealed under, found by trying all of them.
struct Uses {
    keys: Vec<Direction>,
    seen: BTreeSet<(usize, u64)>,
}

impl Uses {
    fn of(leak: &Leak, prefix: &str) -> Self {
        Uses {
            keys: leak.all(prefix).into_iter().map(|key| Direction::new(key, Aead::ChaCha)).collect(),
            seen: BTreeSet::new(),
        }
    }

    fn note(&mut self, record: &[u8]) {
        let found = self.keys.iter().enumerate().find_map(|(number, key)| {
            (0..200)
                .find(|counter| Direction { counter: *counter, ..key.clone() }.open(record).is_some())
                .map(|at| (number, at))
        });
        let found = found.expect("a record under none of the keys");
        assert!(self.seen.insert(found), "key {} at counter {} seals twice", found.0, found.1);
    }
}

/// Nonce reuse after an error (the "forbidden attack", Joux 2006): after any failure, misuse or refused call nothing
/// is ever sealed twice under one key and counter, and after a fatal one nothing at all. [RE-2] [RK-6]
#[test]
fn nonce_reuse_after_an_error() {
    let mut fatal = 0;
    for seed in 0..200 {
        let leak = Leak::default();
        let of =
            |own, peer| config(own, peer).suites([Suite::X25519ChaCha20Poly1305Sha256]).dangerous_key_log(leak.clone());
        let mut session = honest(&of(ALICE, BOB), &of(BOB, ALICE), seed).initiator;
        let Session { sealer, shares, .. } = &mut *session;
        let mut rng = seeded_quietly(seed);
        let (mut wire, mut dead, mut broken) = (BytesMut::new(), false, false);
        for _ in 0..40 {
            let before = wire.len();
            let (result, alert) = match rng.next_u32() % 11 {
                0 | 1 => (sealer.seal_data([b"data".as_slice()].into_iter(), &mut wire).map(|_| ()), false),
                2 => (sealer.seal_data([[].as_slice()].into_iter(), &mut wire).map(|_| ()), false),
                3 => (sealer.seal_padded([b"padded".as_slice()].into_iter(), Some(9), &mut wire).map(|_| ()), false),
                4 => (sealer.seal_keepalive(&mut wire), false),
                5 => (sealer.rekey(shares, Duration::ZERO, &mut rng, &mut wire), false),
                // No randomness: the rekey fails, and the session with it.
                6 => (sealer.rekey(shares, Duration::ZERO, &mut Dry(0), &mut wire), false),
                7 => (sealer.seal_alert(Alert::Internal, "line\nfeed", &mut wire), false),
                8 if rng.next_u32().is_multiple_of(4) => (sealer.seal_alert(Alert::Internal, "", &mut wire), true),
                9 if rng.next_u32().is_multiple_of(4) => (sealer.seal_end(&mut wire), true),
                10 if rng.next_u32().is_multiple_of(4) => {
                    sealer.poison(Error::Idle);
                    (Err(Error::Idle), true)
                }
                _ => continue,
            };
            assert!(result.is_ok() || wire.len() == before, "a call that failed has sealed something");
            assert!(!dead || (wire.len() == before && result.is_err()), "something is sealed after the end");
            // Without randomness there is no next key: all that is left is to say so.
            assert!(!broken || alert || result.is_err(), "something is sealed after a rekey that failed");
            broken |= result == Err(Error::Entropy);
            dead |= alert && (result.is_ok() || result == Err(Error::Idle));
            fatal += u32::from(sealer.check().is_err());
        }
        let mut uses = Uses::of(&leak, "TRAFFIC_I");
        frames(&wire).iter().for_each(|record| uses.note(record));
    }
    assert!(fatal > 1_000, "{fatal}: too few sessions have failed for this to say anything");
}

/// A signer that fails has made no AUTH message, and the next handshake starts from new nonces and shares. [HS-1]
#[test]
fn no_proof_after_a_signer_that_failed() {
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let mut rng = seeded_quietly(seed);
        let mut alice = End::initiator(&config(ALICE, BOB), called(""), &mut rng);
        let hello = alice.take_output();
        assert!(seen.insert(hello[6..38].to_vec()), "a nonce twice");
        let mut output = BytesMut::new();
        let mut input = BytesMut::from(&hello[..]);
        let step = countersign::handshake::respond(&config(BOB, ALICE), &mut rng).expect("started");
        let Step::NeedInput(need) = step else { panic!("{step}") };
        let Ok(Step::Sign(sign)) = need.feed(&mut input, &mut output) else { panic!("no signature asked for") };
        let failure = sign.signed(Err(SignerError::new("no")), &mut output).expect_err("a failure");
        assert!(matches!(failure.error, Error::Signer(_)));
        assert_eq!(output[..], frame(wire::ALERT, &[9])[..], "more than an alert");
    }
}

/// The same for streams: a transport that fails, is full, or takes part of a record, and writes that are dropped
/// halfway. The records that reach the wire are those of the counters from 0 on, each once. [RE-2]
#[cfg(feature = "tokio")]
#[test]
fn nonce_reuse_after_a_write_that_failed() {
    use countersign::Stream;
    use scripted::{Script as Transport, Write, poll_times};
    use tokio::io::AsyncWriteExt;

    let mut failed = 0;
    for seed in 0..100 {
        let leak = Leak::default();
        let of =
            |own, peer| config(own, peer).suites([Suite::X25519ChaCha20Poly1305Sha256]).dangerous_key_log(leak.clone());
        let session = honest(&of(ALICE, BOB), &of(BOB, ALICE), seed).initiator;
        let transport = Transport::default();
        let mut rng = seeded_quietly(seed);
        for _ in 0..60 {
            transport.state().writes.push_back(match rng.next_u32() % 12 {
                0..4 => Write::Pending,
                4..11 => Write::Take(rng.next_u32() as usize % 40 + 1),
                _ if seed % 2 == 0 => Write::Fail(std::io::ErrorKind::BrokenPipe),
                _ => Write::Pending,
            });
        }
        let mut stream = Stream::new(transport.clone(), *session, BytesMut::new());
        let mut error = false;
        for n in 0..30_u8 {
            // Polled once or twice, and dropped: what was not taken is written anew, with other content.
            let times = 1 + rng.next_u32() as usize % 2;
            let result = match rng.next_u32() % 3 {
                0 => poll_times(stream.flush(), times),
                _ => poll_times(stream.write(&[n; 20]), times).map(|result| result.map(|_| ())),
            };
            error |= matches!(result, Some(Err(_)));
        }
        failed += u32::from(error);
        let _ = poll_times(stream.shutdown(), 200);
        let mut written = transport.take_written();
        let mut keys = leak.direction("TRAFFIC_I_0", Aead::ChaCha);
        for (counter, record) in wire::take_frames(&mut written).iter().enumerate() {
            assert!(keys.open(record).is_some(), "seed {seed}: record {counter} is not under counter {counter}");
        }
        assert!(error || written.is_empty(), "seed {seed}: part of a record at the end");
    }
    assert!(failed > 20, "{failed}: too few transports have failed");
}

/// A padding oracle (Vaudenay 2002): whatever bit of a record is changed, the error and the alert are the same, so
/// that nothing is learnt of padding, kind or content. [RE-1]
#[test]
fn padding_oracle() {
    for suite in Suite::ALL {
        let of = |own, peer| config(own, peer).suites([suite]);
        let open = || honest(&of(ALICE, BOB), &of(BOB, ALICE), 52);
        let mut wire = BytesMut::new();
        open().initiator.sealer.seal_padded([b"text".as_slice()].into_iter(), Some(20), &mut wire).expect("sealed");
        for bit in 32..8 * wire.len() {
            let mut altered = wire.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open().responder.open(&mut altered), Err(Error::Tampered(Sealed::Record)), "{suite}: bit {bit}");
        }
    }
}

/// A direction at its last number: nothing wraps, and what is said last is an alert. [RE-2]
#[test]
fn counters_do_not_wrap() {
    use countersign::crypto::schedule::TrafficSecret;
    use countersign::crypto::suite::Aead as TheirAead;
    use countersign::session::Sealer;
    for (theirs, ours) in [(TheirAead::ChaCha20Poly1305, Aead::ChaCha), (TheirAead::Aes256Gcm, Aead::Aes)] {
        let last = theirs.max_records() - 1;
        let mut sealer = Sealer::dangerous_at(TrafficSecret::take(&mut [3; 32]), theirs, last - 1).expect("a sealer");
        let mut wire = BytesMut::new();
        sealer.seal_data([b"one".as_slice()].into_iter(), &mut wire).expect("sealed");
        for _ in 0..3 {
            assert_eq!(sealer.seal_data([b"two".as_slice()].into_iter(), &mut wire), Err(Error::Exhausted));
            assert_eq!(sealer.seal_keepalive(&mut wire), Err(Error::Exhausted));
        }
        sealer.seal_alert(Alert::Internal, "", &mut wire).expect("the last number is kept for it");
        assert_eq!(sealer.seal_end(&mut wire), Err(Error::Misuse(Misuse::WriteAfterEnd)));
        let mut keys = Direction { counter: last - 1, ..Direction::new([3; 32], ours) };
        let records = frames(&wire);
        assert_eq!(records.len(), 2);
        records.iter().for_each(|record| assert!(keys.open(record).is_some()));
    }
}
