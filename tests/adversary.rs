//! Somebody on the path, or at the other end, who does not play by the rules. Nothing he does completes a handshake or
//! opens a record, and nothing makes us panic.
#![allow(missing_docs)]

mod support;

use bytes::BytesMut;
use countersign::error::{Error, Untrusted};
use countersign::handshake::Target;
use support::{End, config, deliver, frames, honest, run, seeded, seeded_quietly, short, trusting_all};

/// One run in which `edit` may change any flight before it is delivered. Flights are numbered 0 to 3.
fn edited(seed: u64, mut edit: impl FnMut(usize, &mut Vec<u8>)) -> (End, End) {
    let mut rng = seeded_quietly(seed);
    let mut i = End::initiator(&config(1, 2), Target::default(), &mut rng);
    let mut r = End::responder(&config(2, 1), &mut rng);
    for number in 0..4 {
        let (from, to) = if number % 2 == 0 { (&mut i, &mut r) } else { (&mut r, &mut i) };
        let mut flight = from.take_output();
        edit(number, &mut flight);
        to.feed(&flight);
    }
    (i, r)
}

/// Every byte of every handshake message changed, one at a time, in two ways. Whoever receives it never completes; after a
/// change of HELLO, HELLO_REPLY, AUTH_R or AUTH_I neither does. [HS-11] [HS-16] [TR-2] [KS-1]
#[test]
fn every_byte_flipped() {
    let lengths: Vec<usize> = honest(&config(1, 2), &config(2, 1), 1).flights.iter().map(Vec::len).collect();
    for (number, len) in lengths.into_iter().enumerate() {
        for at in 0..len {
            for mask in [0x01, 0x80] {
                let (i, r) = edited(1, |flight, bytes| {
                    if flight == number {
                        bytes[at] ^= mask;
                    }
                });
                assert!(!i.is_complete(), "flight {number}, byte {at}");
                // The verdict is the responder's last word; who alters it fools nobody but delays the initiator.
                assert!(number == 3 || !r.is_complete(), "flight {number}, byte {at}");
            }
        }
    }
}

/// Every flight cut at every byte, and then the transport ends: the receiver never completes, and says `truncated`.
#[test]
fn every_flight_truncated() {
    let lengths: Vec<usize> = honest(&config(1, 2), &config(2, 1), 1).flights.iter().map(Vec::len).collect();
    for (number, len) in lengths.into_iter().enumerate() {
        for at in 0..len {
            let (mut i, mut r) = edited(1, |flight, bytes| match flight.cmp(&number) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => bytes.truncate(at),
                std::cmp::Ordering::Greater => bytes.clear(),
            });
            let receiver = if number % 2 == 0 { &mut r } else { &mut i };
            assert!(!receiver.is_complete());
            let Some(countersign::handshake::Step::NeedInput(need)) = receiver.step.take() else {
                panic!("flight {number} cut at {at}: {:?}", receiver.failure)
            };
            assert_eq!(need.truncated().error, Error::Truncated);
        }
    }
}

/// Every flight twice, dropped, or replaced by the same flight of another run. [HS-6]
#[test]
fn flights_duplicated_dropped_and_spliced() {
    let other = honest(&config(1, 2), &config(2, 1), 99).flights;
    for (number, spliced) in other.iter().enumerate() {
        let (i, r) = edited(1, |flight, bytes| {
            if flight == number {
                bytes.extend_from_within(..);
            }
        });
        // The second copy is read as the next message, or as a record, and refused; it is never needed to complete.
        let second_copy_read = match number {
            0 => !i.is_complete() && !r.is_complete(),
            // The initiator has proved itself before it reads the second copy, of which it then tells the responder.
            1 => !i.is_complete(),
            // It lies unread in the input of a side that is complete: its session refuses it.
            2 => {
                let mut r = r;
                let mut session = r.session.take().expect("complete");
                session.opener.open(&mut r.input).is_err()
            }
            _ => {
                let mut i = i;
                let mut session = i.session.take().expect("complete");
                session.opener.open(&mut i.input).is_err()
            }
        };
        assert!(second_copy_read, "flight {number} twice");
        let (i, _) = edited(1, |flight, bytes| {
            if flight == number {
                bytes.clear();
            }
        });
        assert!(!i.is_complete(), "flight {number} dropped");
        let (i, r) = edited(1, |flight, bytes| {
            if flight == number {
                bytes.clone_from(spliced);
            }
        });
        assert!(!i.is_complete(), "flight {number} spliced");
        assert!(number == 3 || !r.is_complete(), "flight {number} spliced");
    }
}

/// A HELLO that is sent back never completes, whatever else is sent back. [HS-9]
#[test]
fn reflection() {
    let mut rng = seeded(2);
    let mut i = End::initiator(&trusting_all(1), Target::default(), &mut rng);
    let hello = i.take_output();
    i.feed(&hello);
    assert!(matches!(i.failure.expect("refused").error, Error::Unexpected { got: "HELLO", .. }));

    // The same bytes in the form of a HELLO_REPLY: our own nonce, our own share.
    for echo_nonce in [true, false] {
        let mut i = End::initiator(&short(trusting_all(1)), Target::default(), &mut rng);
        let hello = i.take_output();
        let mut reply = vec![0xC2, 0, 0, 68, 0, 1, 0, 1];
        reply.extend_from_slice(if echo_nonce { &hello[6..38] } else { &[9; 32] });
        reply.extend_from_slice(if echo_nonce { &[9; 32] } else { &hello[45..77] });
        i.feed(&reply);
        assert_eq!(i.failure.expect("refused").error, Error::Untrusted(Untrusted::Echo));
    }
}

/// A party that talks to itself, as initiator and responder with one key, is refused unless it is configured to allow it. [ID-3]
#[test]
fn talking_to_oneself() {
    for allow in [false, true] {
        let mut rng = seeded(3);
        let own = trusting_all(1).allow_own_key(allow);
        let mut i = End::initiator(&own, Target::default(), &mut rng);
        let mut r = End::responder(&own, &mut rng);
        run(&mut i, &mut r);
        assert_eq!((i.is_complete(), r.is_complete()), (allow, allow));
    }
}

/// A man in the middle with an identity of his own, trusted by both, can relay nothing: each side sees *him*, and what one
/// side's session seals opens in no other.
#[test]
fn man_in_the_middle_with_his_own_key() {
    let mut rng = seeded(4);
    let mallory = trusting_all(3);
    let mut alice = End::initiator(&trusting_all(1), Target::default(), &mut rng);
    let mut towards_alice = End::responder(&mallory, &mut rng);
    let mut towards_bob = End::initiator(&mallory, Target::default(), &mut rng);
    let mut bob = End::responder(&trusting_all(2), &mut rng);
    run(&mut alice, &mut towards_alice);
    run(&mut towards_bob, &mut bob);
    let (mut alice, mut bob) = (alice.session.expect("alice"), bob.session.expect("bob"));
    assert_eq!(*alice.info.peer.public_key(), support::identity(3).public_key());
    assert_ne!(alice.info.session_id, bob.info.session_id);
    let mut wire = BytesMut::new();
    alice.sealer.seal_data([b"secret".as_slice()].into_iter(), &mut wire).expect("sealed");
    assert!(matches!(bob.opener.open(&mut wire), Err(Error::Tampered(_))));
}

/// AUTH_I of one session does not authenticate another, even between the same two parties: every pair of runs.
#[test]
fn proofs_belong_to_one_session() {
    let runs: Vec<_> = (0..6).map(|seed| honest(&config(1, 2), &config(2, 1), seed).flights).collect();
    for (n, run) in runs.iter().enumerate() {
        for (m, other) in runs.iter().enumerate().filter(|(m, _)| *m != n) {
            let mut rng = seeded_quietly(u64::try_from(n).expect("small"));
            let mut i = End::initiator(&config(1, 2), Target::default(), &mut rng);
            let mut r = End::responder(&config(2, 1), &mut rng);
            r.feed(&run[0]);
            r.feed(&other[2]);
            assert!(!r.is_complete(), "AUTH_I of run {m} in run {n}");
            i.feed(&other[1]);
            assert!(!i.is_complete() && i.failure.is_some(), "AUTH_R of run {m} in run {n}");
        }
    }
}

/// Records changed, dropped, doubled and swapped; nothing wrong is ever delivered, and the error stays. [RE-1] [RE-10]
#[test]
fn records_altered() {
    let session = honest(&config(1, 2), &config(2, 1), 5);
    let mut sealer = session.initiator.sealer;
    let mut wire = BytesMut::new();
    for text in [b"one".as_slice(), b"two", b"three"] {
        sealer.seal_data([text].into_iter(), &mut wire).expect("sealed");
    }
    sealer.seal_end(&mut wire).expect("sealed");
    let records = frames(&wire);
    let open = |records: &[Vec<u8>]| {
        let mut opener = honest(&config(1, 2), &config(2, 1), 5).responder.opener;
        deliver(&mut opener, &records.concat())
    };
    let texts = |n: usize| ["one", "two", "three"][..n].iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
    assert_eq!(open(&records), (texts(3), Ok(true)));
    // Every byte of every record.
    for number in 0..records.len() {
        for at in 0..records[number].len() {
            let mut records = records.clone();
            records[number][at] ^= 1;
            let (delivered, result) = open(&records);
            assert_eq!(delivered, texts(number.min(3)), "record {number}, byte {at}");
            // A length that grew makes the receiver wait for what does not come; then the end of the transport is a truncation.
            assert!(matches!(result, Err(_) | Ok(false)), "record {number}, byte {at}");
        }
    }
    for number in 0..records.len() {
        let mut dropped = records.clone();
        dropped.remove(number);
        let mut doubled = records.clone();
        doubled.insert(number, records[number].clone());
        let (delivered, result) = open(&dropped);
        assert_eq!(delivered, texts(number.min(3)));
        assert!(matches!(result, Err(_) | Ok(false)), "record {number} dropped");
        let (delivered, result) = open(&doubled);
        assert_eq!(delivered, texts((number + 1).min(3)));
        assert!(result.is_err(), "record {number} doubled");
        for other in number + 1..records.len() {
            let mut swapped = records.clone();
            swapped.swap(number, other);
            let (delivered, result) = open(&swapped);
            assert_eq!(delivered, texts(number.min(3)));
            assert!(result.is_err(), "records {number} and {other} swapped");
        }
    }
}

/// Cut at every byte: what came whole is delivered, and without END it is a truncation. [RE-7]
#[test]
fn records_truncated() {
    let session = honest(&config(1, 2), &config(2, 1), 5);
    let mut sealer = session.initiator.sealer;
    let mut wire = BytesMut::new();
    for text in [b"one".as_slice(), b"two"] {
        sealer.seal_data([text].into_iter(), &mut wire).expect("sealed");
    }
    sealer.seal_end(&mut wire).expect("sealed");
    for cut in 0..=wire.len() {
        let mut opener = honest(&config(1, 2), &config(2, 1), 5).responder.opener;
        let (_, result) = deliver(&mut opener, &wire[..cut]);
        let ended = cut == wire.len();
        assert_eq!(result, Ok(ended), "cut at {cut}");
        assert_eq!(opener.finish(), if ended { Ok(()) } else { Err(Error::Truncated) });
        if !ended {
            assert_eq!(opener.open(&mut wire[cut..].to_vec()), Err(Error::Truncated), "the error is latched");
        }
    }
}

/// What one direction seals does not open in the other, nor in its own. [RE-1]
#[test]
fn directions_are_apart() {
    let mut session = honest(&config(1, 2), &config(2, 1), 6);
    let mut wire = BytesMut::new();
    session.initiator.sealer.seal_data([b"mine".as_slice()].into_iter(), &mut wire).expect("sealed");
    let opened = session.initiator.opener.open(&mut wire);
    assert!(matches!(opened, Err(Error::Tampered(_))));
}
