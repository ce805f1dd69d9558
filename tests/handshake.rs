//! Honest handshakes: both roles, every fragmentation, every configuration.
#![allow(missing_docs)]

mod support;

use bytes::{Buf, BytesMut};
use countersign::config::Config;
use countersign::crypto::schedule::TrafficSecret;
use countersign::crypto::suite::Aead;
use countersign::error::{Error, Misuse, Reason, Untrusted};
use countersign::handshake::{Step, Target, initiate, respond};
use countersign::session::{Event, Opener, Progress, Sealer};
use countersign::trust::{Decision, Direction, Pinned, from_fn};
use support::{End, config, frames, honest, identity, peer_id, run, seeded, short, trusting_all};

fn target(service: &str) -> Target {
    Target { service: service.into(), ..Target::default() }
}

/// Sends `data` through both directions' keys.
fn exchange(sealer: &mut Sealer, opener: &mut Opener, data: &[u8]) {
    let mut wire = BytesMut::new();
    assert_eq!(sealer.seal_data([data].into_iter(), &mut wire), Ok(data.len()));
    match opener.open(&mut wire) {
        Ok(Progress::Record { consumed, event: Event::Data(range) }) => {
            assert_eq!(&wire[range], data);
            wire.advance(consumed);
            assert!(wire.is_empty());
        }
        other => panic!("{other:?}"),
    }
}

/// Both sides agree on session id and service, know each other's key, and can talk. The sizes are those that we promise.
#[test]
fn both_sides_agree() {
    let mut rng = seeded(1);
    let mut i = End::initiator(&config(1, 2).context("app"), target("db"), &mut rng);
    let mut r = End::responder(&config(2, 1).context("app").services(["web", "db"]), &mut rng);
    run(&mut i, &mut r);
    let (mut i, mut r) = (i.session.expect("initiator"), r.session.expect("responder"));
    assert_eq!(i.info.session_id, r.info.session_id);
    assert_eq!((i.info.service.as_str(), r.info.service.as_str()), ("db", "db"));
    assert_eq!(*i.info.peer.public_key(), identity(2).public_key());
    assert_eq!(*r.info.peer.public_key(), identity(1).public_key());
    exchange(&mut i.sealer, &mut r.opener, b"question");
    exchange(&mut r.sealer, &mut i.opener, b"answer");
    let sizes = |i: &Config, r: &Config| honest(i, r, 1).flights.map(|flight| flight.len());
    assert_eq!(sizes(&short(config(1, 2)), &short(config(2, 1))), [77, 72 + 151, 152, 22]);
    // Hybrid and padded, as by default: nothing depends on the length of what AUTH_R and AUTH_I hold.
    assert_eq!(sizes(&config(1, 2), &config(2, 1)), [83 + 1_187, 72 + 1_088 + 1_044, 1_044, 22]);
}

/// [HS-1] Nonces, shares and so session ids are new for every connection.
#[test]
fn every_handshake_is_fresh() {
    let (a, b) = (honest(&config(1, 2), &config(2, 1), 1), honest(&config(1, 2), &config(2, 1), 2));
    assert_ne!(a.initiator.info.session_id, b.initiator.info.session_id);
    assert_ne!(a.flights[0], b.flights[0]);
    assert_ne!(a.flights[1], b.flights[1]);
}

/// [FR-5] The result does not depend on how the transport cuts the bytes: every cut of every flight into two, and single bytes.
#[test]
fn fragmentation_at_every_byte() {
    let whole = honest(&config(1, 2), &config(2, 1), 7);
    let [hello, reply, auth_i, verdict] = &whole.flights;
    let cuts = |flight: &[u8]| (0..=flight.len()).collect::<Vec<_>>();
    for (flight, number) in [(hello, 0), (reply, 1), (auth_i, 2), (verdict, 3)] {
        for cut in cuts(flight) {
            let mut rng = support::seeded_quietly(7);
            let mut i = End::initiator(&config(1, 2), Target::default(), &mut rng);
            let mut r = End::responder(&config(2, 1), &mut rng);
            let pieces = |n: usize, all: &[u8]| match n == number {
                true => vec![all[..cut].to_vec(), all[cut..].to_vec()],
                false => vec![all.to_vec()],
            };
            for piece in pieces(0, &i.take_output()) {
                r.feed(&piece);
            }
            for piece in pieces(1, &r.take_output()) {
                i.feed(&piece);
            }
            for piece in pieces(2, &i.take_output()) {
                r.feed(&piece);
            }
            for piece in pieces(3, &r.take_output()) {
                i.feed(&piece);
            }
            assert!(i.is_complete() && r.is_complete(), "flight {number} cut at {cut}");
        }
    }
    let mut rng = support::seeded_quietly(7);
    let mut i = End::initiator(&config(1, 2), Target::default(), &mut rng);
    let mut r = End::responder(&config(2, 1), &mut rng);
    while !(i.is_complete() && r.is_complete()) {
        i.take_output().iter().for_each(|byte| r.feed(&[*byte]));
        r.take_output().iter().for_each(|byte| i.feed(&[*byte]));
        assert!(i.failure.is_none() && r.failure.is_none());
    }
}

/// Bytes that follow the handshake in the same segment stay in the input, for the session.
#[test]
fn what_follows_the_handshake_is_left() {
    let mut rng = seeded(3);
    let mut i = End::initiator(&config(1, 2), Target::default(), &mut rng);
    let mut r = End::responder(&config(2, 1), &mut rng);
    r.feed(&i.take_output());
    i.feed(&r.take_output());
    let Some(Step::NeedInput(need)) = i.step.take() else { panic!("not waiting") };
    let mut session = need.into_eager().expect("waiting for the verdict");
    session.sealer.seal_data([b"early".as_slice()].into_iter(), &mut i.output).expect("eager data");
    r.feed(&i.take_output());
    // [HS-25] Not looked at before the responder has accepted; then it opens.
    let mut responder = r.session.expect("responder");
    let opened = responder.opener.open(&mut r.input);
    assert!(matches!(opened, Ok(Progress::Record { event: Event::Data(_), .. })));
    let mut verdict = r.output.split();
    assert!(matches!(session.opener.open(&mut verdict), Ok(Progress::Record { event: Event::Accepted, .. })));
}

/// [HS-24] A refused initiator's eager data opens nowhere: the responder has no session at all.
#[test]
fn refusal_leaves_no_session() {
    let mut rng = seeded(4);
    let mut i = End::initiator(&trusting_all(1), Target::default(), &mut rng);
    let mut r = End::responder(&config(2, 9), &mut rng);
    run(&mut i, &mut r);
    assert!(r.session.is_none() && i.session.is_none());
    assert!(matches!(r.failure.expect("denied").error, Error::Denied(refusal) if refusal.reason == Reason::NotTrusted));
    assert!(
        matches!(i.failure.expect("refused").error, Error::Refused(refusal) if refusal.reason == Reason::NotTrusted)
    );
}

/// [HS-26] Own key, then trust, then service: a stranger can't find out which services exist.
#[test]
fn refusals_come_in_order() {
    let reason = |responder: Config, initiator: Config, service: &str| {
        let mut rng = seeded(5);
        let mut i = End::initiator(&initiator, target(service), &mut rng);
        let mut r = End::responder(&responder, &mut rng);
        run(&mut i, &mut r);
        match i.failure.map(|failure| failure.error) {
            Some(Error::Refused(refusal)) => Some((refusal.reason, refusal.text)),
            None => None,
            other => panic!("{other:?}"),
        }
    };
    let offers = |config: Config| config.services(["db"]);
    assert_eq!(reason(offers(config(2, 1)), trusting_all(1), "db"), None);
    let unavailable = Some((Reason::ServiceUnavailable, String::new()));
    assert_eq!(reason(offers(config(2, 1)), trusting_all(1), "web"), unavailable);
    assert_eq!(reason(offers(config(2, 1)), trusting_all(1), ""), unavailable);
    let not_trusted = Some((Reason::NotTrusted, String::new()));
    assert_eq!(reason(offers(config(2, 9)), trusting_all(1), "db"), not_trusted);
    assert_eq!(reason(offers(config(2, 9)), trusting_all(1), "web"), not_trusted);
    let own = trusting_all(2).allow_own_key(true);
    assert_eq!(reason(trusting_all(2), own.clone(), ""), Some((Reason::OwnIdentity, String::new())));
    assert_eq!(reason(trusting_all(2).allow_own_key(true), own, ""), None);
    let denying = Config::new(identity(2), from_fn(|_| Decision::deny("only on\nworkdays")));
    assert_eq!(reason(denying, trusting_all(1), ""), Some((Reason::Denied, "only on workdays".into())));
}

/// Trust is asked once a side, with what the peer proved, the service and the direction.
#[test]
fn trust_is_asked() {
    let mut rng = seeded(6);
    let mut i = End::initiator(&config(1, 2), target("db"), &mut rng);
    let mut r = End::responder(&config(2, 1), &mut rng);
    run(&mut i, &mut r);
    let (i, r) = (&i.asked[..], &r.asked[..]);
    assert_eq!((i.len(), r.len()), (1, 1));
    assert_eq!((i[0].direction, r[0].direction), (Direction::Outbound, Direction::Inbound));
    assert_eq!((i[0].service.as_str(), r[0].service.as_str()), ("db", "db"));
    assert_eq!(*i[0].public_key(), identity(2).public_key());
    assert_eq!(*r[0].public_key(), identity(1).public_key());
}

/// [HS-15] Another peer than the one expected, or one that is not trusted, gets nothing that depends on who we are.
#[test]
fn the_initiator_stays_hidden() {
    for (initiator, peer, expected) in [
        (trusting_all(1), Some(peer_id(3)), "not expected"),
        (Config::new(identity(1), Pinned::new([peer_id(3)])), None, "not trusted"),
    ] {
        let mut rng = seeded(8);
        let mut i = End::initiator(&initiator, Target { peer, ..Target::default() }, &mut rng);
        let mut r = End::responder(&trusting_all(2), &mut rng);
        run(&mut i, &mut r);
        let error = i.failure.expect("refused").error;
        match expected {
            "not expected" => assert!(matches!(error, Error::Untrusted(Untrusted::NotExpected { .. }))),
            _ => assert!(matches!(error, Error::Untrusted(Untrusted::NotTrusted { .. }))),
        }
        // One byte: `refused`, in clear. Trust was never asked on the other side.
        assert!(r.asked.is_empty());
        assert!(matches!(r.failure.expect("told").error, Error::AlertReceived(alert) if alert.alert.code() == 5));
    }
}

/// [AL-1] A failure before authentication says one ALERT frame, of five bytes, and nothing else.
#[test]
fn one_byte_outward() {
    let mut rng = seeded(9);
    let mut r = End::responder(&config(2, 1), &mut rng);
    r.feed(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(r.take_output(), [0xC6, 0, 0, 1, 1]);
    r.feed(&[0xC1; 100]);
    assert!(r.take_output().is_empty());
}

/// [AL-3] An alert is not answered.
#[test]
fn alerts_are_not_answered() {
    let mut rng = seeded(10);
    let mut i = End::initiator(&config(1, 2), Target::default(), &mut rng);
    i.take_output();
    i.feed(&[0xC6, 0, 0, 1, 8]);
    assert!(matches!(i.failure.as_ref().expect("alert").error, Error::AlertReceived(_)));
    assert!(i.take_output().is_empty());
}

/// [FR-4] A claimed length makes nothing grow: what is held is what was received.
#[test]
fn memory_follows_what_came() {
    let mut rng = seeded(11);
    let Ok(Step::NeedInput(mut need)) = respond(&config(2, 1), &mut rng) else { panic!("not waiting") };
    let mut input = BytesMut::from([0xC1, 0, 8, 0].as_slice());
    let mut output = BytesMut::new();
    for _ in 0..100 {
        input.extend_from_slice(&[0; 1]);
        let Ok(Step::NeedInput(next)) = need.feed(&mut input, &mut output) else { panic!("not waiting") };
        need = next;
        assert!(input.capacity() < 512 && output.capacity() < 512);
    }
}

/// [ST-1] A handshake message in any state but its own is refused, for both roles and every message.
#[test]
fn messages_out_of_order() {
    let run = honest(&config(1, 2), &config(2, 1), 12);
    let [hello, reply, auth_i, verdict] = run.flights;
    let [hello_reply, auth_r] = &frames(&reply)[..] else { panic!("two frames") };
    let all = [&hello, hello_reply, auth_r, &auth_i, &verdict];
    for (state, legal) in [(0, 1), (1, 2), (2, 4)] {
        for (number, message) in all.iter().enumerate().filter(|(number, _)| *number != legal) {
            let mut rng = support::seeded_quietly(12);
            let mut i = End::initiator(&config(1, 2), Target::default(), &mut rng);
            [hello_reply, auth_r].iter().take(state).for_each(|frame| i.feed(frame));
            i.take_output();
            i.feed(message);
            let error = i.failure.unwrap_or_else(|| panic!("state {state}: message {number} accepted")).error;
            assert!(matches!(error, Error::Unexpected { .. }), "{error:?}");
        }
    }
    for (state, legal) in [(0, 0), (1, 3)] {
        for (number, message) in all.iter().enumerate().filter(|(number, _)| *number != legal) {
            let mut rng = support::seeded_quietly(12);
            drop(End::initiator(&config(1, 2), Target::default(), &mut rng));
            let mut r = End::responder(&config(2, 1), &mut rng);
            [&hello].iter().take(state).for_each(|frame| r.feed(frame));
            r.take_output();
            r.feed(message);
            let error = r.failure.unwrap_or_else(|| panic!("state {state}: message {number} accepted")).error;
            assert!(matches!(error, Error::Unexpected { .. }), "{error:?}");
        }
    }
}

/// What a caller gets wrong is told before anything is sent.
#[test]
fn misuse_is_told() {
    let mut output = BytesMut::new();
    for (config, service, misuse) in [
        (config(1, 2), "two words", Misuse::Service),
        (config(1, 2).context([0; 256]), "", Misuse::Context),
        (config(1, 2).services(["ü"]), "", Misuse::Service),
    ] {
        let failure = initiate(&config, target(service), &mut seeded(13), &mut output).expect_err("misuse");
        assert_eq!(failure.error, Error::Misuse(misuse));
        assert!(output.is_empty());
    }
}

/// [RE-8] Reading needs no writing: a receiver without its sealer reads a whole direction.
#[test]
fn reading_needs_no_writing() {
    let session = honest(&config(1, 2), &config(2, 1), 14);
    let (mut sealer, mut opener) = (session.initiator.sealer, session.responder.opener);
    drop(session.responder.sealer);
    for _ in 0..1_000 {
        exchange(&mut sealer, &mut opener, b"one way");
    }
    let mut wire = BytesMut::new();
    sealer.seal_end(&mut wire).expect("END");
    assert!(matches!(opener.open(&mut wire), Ok(Progress::Record { event: Event::End, .. })));
    assert_eq!(opener.finish(), Ok(()));
}

/// [RE-2] Data leaves the last number to END.
#[test]
fn the_last_number_is_for_the_end() {
    let secret = TrafficSecret::take(&mut [1; 32]);
    let mut sealer = Sealer::dangerous_at(secret, Aead::ChaCha20Poly1305, (1 << 48) - 2).expect("sealer");
    let mut wire = BytesMut::new();
    let data = || [b"x".as_slice()].into_iter();
    assert_eq!(sealer.seal_data(data(), &mut wire), Ok(1));
    assert_eq!(sealer.seal_data(data(), &mut wire), Err(Error::Exhausted));
    assert_eq!(sealer.seal_end(&mut wire), Ok(()));
    assert_eq!(frames(&wire).len(), 2);
}
