//! What the two directions of a session say about themselves: how many bytes they need, where they stand, and that the first error stays.
#![allow(missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use countersign::crypto::schedule::TrafficSecret;
use countersign::crypto::suite::Aead;
use countersign::error::{Alert, Error, Misuse};
use countersign::keylog::KeyLog;
use countersign::session::{Event, Opener, Progress, Sealer};
use support::{config, frames, honest, seeded};

fn secret() -> TrafficSecret {
    TrafficSecret::take(&mut [1; 32])
}

fn pair() -> (Sealer, Opener) {
    let sealer = Sealer::new(secret(), Aead::ChaCha20Poly1305).expect("sealer");
    (sealer, Opener::new(secret(), Aead::ChaCha20Poly1305).expect("opener"))
}

fn sealed(seal: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut frame = BytesMut::new();
    seal(&mut frame);
    frame
}

/// Exactly what is missing is asked for: first of the header, then of the record. A reader that reads so much never reads into what follows.
#[test]
fn need_says_how_much() {
    let (mut sealer, mut opener) = pair();
    let frame = sealed(|out| assert_eq!(sealer.seal_data([&[7; 300][..]].into_iter(), out), Ok(300)));
    for len in 0..frame.len() {
        let missing = if len < 4 { 4 - len } else { frame.len() - len };
        let mut part = frame[..len].to_vec();
        assert_eq!(opener.open(&mut part), Ok(Progress::Need(missing)), "after {len} bytes");
        assert_eq!(part, frame[..len], "nothing is touched before the record is whole");
    }
    let mut whole = [&frame[..], b"rest"].concat();
    let Ok(Progress::Record { consumed, event: Event::Data(range) }) = opener.open(&mut whole) else { panic!() };
    assert_eq!((consumed, &whole[range]), (frame.len(), &[7; 300][..]));
    assert_eq!(&whole[consumed..], b"rest");
}

/// The states that a direction tells of: open, ended, failed; and waiting for the verdict.
#[test]
fn states() {
    let (mut sealer, mut opener) = pair();
    assert!(!opener.is_ended() && !opener.awaits_verdict() && opener.check().is_ok() && sealer.check().is_ok());
    let mut end = sealed(|out| sealer.seal_end(out).expect("END"));
    assert!(matches!(opener.open(&mut end), Ok(Progress::Record { event: Event::End, .. })));
    assert!(opener.is_ended() && opener.finish().is_ok());
    assert_eq!(opener.open(&mut []), Ok(Progress::Need(4)));
    assert!(matches!(opener.open(&mut [0]), Err(Error::Unexpected { got: "bytes after END", .. })));
    assert!(!opener.is_ended() && opener.check().is_err(), "an error after the end is an error");

    let opener = pair().1.awaiting_verdict();
    assert!(opener.awaits_verdict() && !opener.is_ended());
}

/// The transport ends: truncation, unless the peer ended its direction; and that stays.
#[test]
fn truncation_stays() {
    let (mut sealer, mut opener) = pair();
    assert_eq!(opener.finish(), Err(Error::Truncated));
    let mut frame = sealed(|out| sealer.seal_end(out).expect("END"));
    assert_eq!(opener.open(&mut frame), Err(Error::Truncated));
    opener.poison(Error::Exhausted);
    assert_eq!(opener.check(), Err(Error::Truncated), "the first error stays");
}

/// Nothing is sealed after END, an alert, or an error, and the first reason stays.
#[test]
fn nothing_after_the_last_record() {
    let mut out = BytesMut::new();
    let (mut sealer, mut opener) = pair();
    sealer.seal_keepalive(&mut out).expect("KEEPALIVE");
    assert!(matches!(opener.open(&mut out), Ok(Progress::Record { event: Event::KeepAlive, .. })));
    sealer.seal_end(&mut out).expect("END");
    out.clear();
    let closed = Err(Error::Misuse(Misuse::WriteAfterEnd));
    assert_eq!(sealer.seal_data([&b"x"[..]].into_iter(), &mut out).map(|_| ()), closed);
    assert_eq!(sealer.seal_end(&mut out), closed);
    assert_eq!(sealer.seal_keepalive(&mut out), closed);
    assert!(sealer.seal_alert(Alert::Internal, "", &mut out).is_err() && sealer.check().is_err());

    let (mut sealer, mut opener) = pair();
    sealer.seal_alert(Alert::ShuttingDown, "later", &mut out).expect("ALERT");
    assert!(matches!(opener.open(&mut out), Err(Error::AlertReceived(_))));
    out.clear();
    assert!(sealer.seal_end(&mut out).is_err() && sealer.check().is_err());

    let mut sealer = pair().0;
    sealer.poison(Error::Truncated);
    sealer.poison(Error::Exhausted);
    assert_eq!(sealer.seal_keepalive(&mut out), Err(Error::Truncated));
    assert!(out.is_empty());
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl KeyLog for Log {
    fn log(&self, line: &str) {
        self.0.lock().expect("log").push(line.into());
    }
}

/// The key logs of both sides have the same lines, those of every rekey included: who has one reads the whole session.
#[test]
fn the_key_log_follows_rekeys() {
    let logs = [Log::default(), Log::default()];
    let with = |own: usize| config(own as u8 + 1, 2 - own as u8).dangerous_key_log(logs[own].clone());
    let mut sessions = honest(&with(0), &with(1), 5);
    for _ in 0..2 {
        let (i, r) = (&mut sessions.initiator, &mut sessions.responder);
        for by_initiator in [true, false] {
            let (from, to) = if by_initiator { (&mut *i, &mut *r) } else { (&mut *r, &mut *i) };
            let mut frame = BytesMut::new();
            from.sealer.rekey(&mut from.shares, Duration::ZERO, &mut seeded(6), &mut frame).expect("a rekey");
            assert!(matches!(to.open(&mut frame), Ok(Progress::Record { event: Event::Rekey, .. })));
        }
    }
    let lines = logs.map(|log| log.0.lock().expect("log").iter().cloned().collect::<BTreeSet<_>>());
    assert_eq!(lines[0], lines[1]);
    let labels: Vec<_> = lines[0].iter().filter_map(|line| line.split(' ').next()).collect();
    let traffic = ["TRAFFIC_I_0", "TRAFFIC_I_1", "TRAFFIC_I_2", "TRAFFIC_R_0", "TRAFFIC_R_1", "TRAFFIC_R_2"];
    assert_eq!(labels, [&["CONFIRM_I", "CONFIRM_R", "HS_I", "HS_R"][..], &traffic].concat());
}

/// However large a block of AUTH padding is asked for, the frame is one that the peer takes: the largest is filled to the last byte. [FR-6]
#[test]
fn auth_padding_fits_the_largest_frame() {
    for block in [17_392, 20_000, 1 << 40] {
        let padded = |own, peer| config(own, peer).auth_padding(block);
        let flights = honest(&padded(1, 2), &padded(2, 1), 7).flights;
        assert_eq!(frames(&flights[1])[1].len(), 4 + 17_408);
        assert_eq!(frames(&flights[2])[0].len(), 4 + 17_408);
    }
}

/// What does not fit one record is left, at whatever part the border lies.
#[test]
fn parts_beyond_a_record_are_left() {
    let (mut sealer, mut opener) = pair();
    let parts = [vec![1; 40_000], vec![2; 40_000], vec![3; 9]];
    let mut frame = BytesMut::new();
    assert_eq!(sealer.seal_data(parts.iter().map(Vec::as_slice), &mut frame), Ok(65_536));
    let Ok(Progress::Record { consumed, event: Event::Data(range) }) = opener.open(&mut frame) else { panic!() };
    assert_eq!((consumed, frame[range].to_vec()), (frame.len(), parts.concat()[..65_536].to_vec()));
}

/// As many private halves are kept as the peer may still name: the newest, and the one before until the newest was named. [RK-3]
#[test]
fn private_halves_that_are_kept() {
    let mut sessions = honest(&config(1, 2), &config(2, 1), 8);
    let (i, r) = (&mut sessions.initiator, &mut sessions.responder);
    assert_eq!(i.shares.kept(), 0);
    for (by_initiator, kept) in [(true, [1, 0]), (false, [1, 1]), (true, [2, 1]), (true, [2, 1]), (false, [1, 2])] {
        let (from, to) = if by_initiator { (&mut *i, &mut *r) } else { (&mut *r, &mut *i) };
        let mut frame = BytesMut::new();
        from.sealer.rekey(&mut from.shares, Duration::ZERO, &mut seeded(9), &mut frame).expect("a rekey");
        to.open(&mut frame).expect("an honest REKEY");
        assert_eq!([i.shares.kept(), r.shares.kept()], kept);
    }
}
