//! The whole of version 1 over transports: every pair of configurations, the network key's silence, keepalive and idle timeout, exporter,
//! eager mode. See also `rekey.rs`, `vectors.rs`, `adversary.rs`.
#![allow(missing_docs)]

#[path = "support/io.rs"]
mod io;
mod support;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::config::Config;
use countersign::crypto::network::NetworkKey;
use countersign::crypto::suite::Suite;
use countersign::error::{Alert, Error, Misuse, Reason, Untrusted};
use countersign::handshake::Target;
use countersign::net::Listener;
use countersign::session::{Padding, RekeyPolicy};
use countersign::stream::{ConnectError, Stream, protocol_error};
use countersign::trust::{Decision, from_async_fn, from_fn};
use io::{bounded, poll_times};
use rand_core::Rng;
use support::{End, config, frames, identity, run, seeded, short};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};

const CLASSICAL: Suite = Suite::X25519ChaCha20Poly1305Sha256;
const HYBRID: Suite = Suite::X25519MlKem768ChaCha20Poly1305Sha256;

fn network_key(byte: u8) -> NetworkKey {
    NetworkKey::take(&mut [byte; 32]).expect("a key")
}

fn with_key(config: Config, key: Option<u8>) -> Config {
    key.map_or(config.clone(), |byte| config.network_key(network_key(byte)))
}

/// Every set of suites of one side with every set of the other, with and without network keys: they interoperate in a suite that both
/// have, or both sides fail with a reason; where one side has no network key or another one, nothing completes.
#[test]
fn every_pair_of_configurations() {
    let mut rng = seeded(1);
    let subsets: Vec<Vec<Suite>> = (1_u8..16)
        .map(|bits| {
            Suite::ALL.into_iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, suite)| suite).collect()
        })
        .collect();
    let keys = [None, Some(1), Some(2)];
    let (mut complete, mut refused) = (0, 0);
    for (offer, own) in subsets.iter().flat_map(|offer| subsets.iter().map(move |own| (offer, own))) {
        let (i_key, r_key) = (keys[rng.next_u32() as usize % 3], keys[rng.next_u32() as usize % 3]);
        let i_config = with_key(config(1, 2).suites(offer.iter().copied()), i_key);
        let r_config = with_key(config(2, 1).suites(own.iter().copied()), r_key);
        let mut i = End::initiator(&i_config, Target::default(), &mut rng);
        let mut r = End::responder(&r_config, &mut rng);
        run(&mut i, &mut r);
        let common = own.iter().find(|suite| offer.contains(suite));
        let what = format!("{offer:?} {i_key:?} to {own:?} {r_key:?}");
        match (common, i_key == r_key) {
            (Some(suite), true) => {
                let (i, r) = (i.session.expect(&what), r.session.expect(&what));
                assert_eq!((i.info.suite, r.info.suite), (*suite, *suite), "{what}");
                assert_eq!(i.info.session_id, r.info.session_id);
                complete += 1;
            }
            (_, false) if r_key.is_some() => {
                assert_eq!(r.failure.expect(&what).error, Error::Untrusted(Untrusted::NetworkKey), "{what}");
                assert!(i.failure.is_none() && !i.is_complete(), "{what}: something came back");
                refused += 1;
            }
            (_, false) => {
                assert_eq!(r.failure.expect(&what).error, Error::Untrusted(Untrusted::NetworkKeyUnexpected), "{what}");
                assert_eq!(alert_of(&i.failure.expect(&what).error), Some(Alert::NetworkKey), "{what}");
                refused += 1;
            }
            (None, true) => {
                assert_eq!(r.failure.expect(&what).error, Error::NoCommonSuite, "{what}");
                assert_eq!(alert_of(&i.failure.expect(&what).error), Some(Alert::NoCommonSuite), "{what}");
                refused += 1;
            }
        }
    }
    assert!(complete > 40 && refused > 40, "{complete} {refused}");
}

fn alert_of(error: &Error) -> Option<Alert> {
    if let Error::AlertReceived(received) = error { Some(received.alert) } else { None }
}

/// Hybrid by default on both sides; "hybrid only" refuses a classical peer with a reason on both sides.
#[test]
fn hybrid_is_preferred_and_can_be_demanded() {
    let mut rng = seeded(2);
    let mut attempt = |i: Config, r: Config| {
        let mut i = End::initiator(&i, Target::default(), &mut rng);
        let mut r = End::responder(&r, &mut rng);
        run(&mut i, &mut r);
        i.session.map(|session| session.info.suite)
    };
    assert!(attempt(config(1, 2), config(2, 1)).is_some_and(Suite::is_hybrid));
    assert_eq!(attempt(config(1, 2), config(2, 1).suites([CLASSICAL])), Some(CLASSICAL));
    assert_eq!(attempt(config(1, 2).suites([HYBRID]), config(2, 1).suites([CLASSICAL])), None);
    assert_eq!(attempt(config(1, 2).suites([CLASSICAL]), config(2, 1).suites([HYBRID])), None);
    for bad in [&[][..], &[HYBRID, HYBRID]] {
        let end = End::initiator(&config(1, 2).suites(bad.iter().copied()), Target::default(), &mut rng);
        assert!(end.failure.is_some(), "{bad:?} is no list of suites");
    }
}

/// An offer that is tampered with on the way never completes: suites struck out, added, reordered, shares cut out or exchanged. [HS-4] [HS-8]
#[test]
fn tampered_offers_never_complete() {
    let mut rng = seeded(3);
    // version, nonce, count, suites (2 each), count, shares.
    let suites_at = 4 + 2 + 32;
    for round in 0..400 {
        let mut i = End::initiator(&config(1, 2), Target::default(), &mut rng);
        let mut r = End::responder(&config(2, 1), &mut rng);
        let mut hello = i.take_output();
        let honest = hello.clone();
        match round % 4 {
            // Only the weakest suite is left.
            0 => {
                let weak = Suite::ALL[round / 4 % 4].code().to_be_bytes();
                hello.splice(suites_at..suites_at + 9, [1, weak[0], weak[1]]);
            }
            // Two suites change places.
            1 => hello[suites_at + 1..suites_at + 5].rotate_left(2),
            // One more that nobody knows, in place of a known one.
            2 => hello[suites_at + 1 + 2 * (round / 4 % 4)] = 0x77,
            // The ML-KEM share is another one.
            _ => {
                let at = hello.len() - 1 - rng.next_u32() as usize % 1_100;
                hello[at] ^= 1 << (round % 8);
            }
        }
        let len = hello.len() - 4;
        hello[1..4].copy_from_slice(&(len as u32).to_be_bytes()[1..]);
        assert_ne!(hello, honest);
        r.feed(&hello);
        i.feed(&r.take_output());
        r.feed(&i.take_output());
        i.feed(&r.take_output());
        assert!(!i.is_complete() && !r.is_complete(), "round {round}");
    }
}

/// A wrong ML-KEM ciphertext is not told from a wrong confirmation, or from anything else that does not open. [HS-10] [HS-13]
#[test]
fn implicit_rejection_is_a_bad_record() {
    let mut rng = seeded(4);
    for at in [0, 500, 1_087] {
        let mut i = End::initiator(&config(1, 2).suites([HYBRID]), Target::default(), &mut rng);
        let mut r = End::responder(&config(2, 1), &mut rng);
        r.feed(&i.take_output());
        let mut reply = r.take_output();
        reply[4 + 36 + 32 + at] ^= 1;
        i.feed(&reply);
        assert_eq!(i.failure.as_ref().expect("refused").error.alert(), Some(Alert::BadRecord));
        assert_eq!(i.take_output(), [0xC6, 0, 0, 1, 6]);
    }
    assert_eq!(Error::Untrusted(Untrusted::Confirmation).alert(), Some(Alert::BadRecord));
}

/// Handshake messages are padded so that the length of the service does not show. [FR-6]
#[test]
fn auth_messages_look_alike() {
    let mut rng = seeded(5);
    let lengths: Vec<usize> = ["", "a-service-with-a-long-name", "x"]
        .map(|service| {
            let target = Target { service: service.into(), ..Target::default() };
            let mut i = End::initiator(&config(1, 2), target, &mut rng);
            let mut r = End::responder(&config(2, 1), &mut rng);
            r.feed(&i.take_output());
            i.feed(&r.take_output());
            i.take_output().len()
        })
        .into();
    assert_eq!(lengths, [1_044; 3]);
}

// ---------------------------------------------------------------------------------------------------------------- network key

/// Without the network key not one byte comes back, for a wrong tag, for no tag, for garbage, for another protocol and for nothing; a right
/// HELLO after a wrong one changes nothing; and all of them end alike, at the deadline. [NK-2] [NK-3] [NK-4]
#[tokio::test]
async fn a_responder_with_a_network_key_is_silent() {
    let deadline = Duration::from_millis(700);
    let guarded = config(2, 1).network_key(network_key(1)).handshake_timeout(deadline);
    let listener = Listener::bind("127.0.0.1:0", guarded).await.unwrap();
    let hello = |key: Option<u8>| {
        let mut rng = seeded(6);
        End::initiator(&with_key(config(1, 2), key), Target::default(), &mut rng).take_output()
    };
    let mut bad_version = hello(Some(2));
    bad_version[5] = 9;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("half a header", vec![0xC1, 0]),
        ("garbage", vec![0x55; 300]),
        ("no tag", hello(None)),
        ("a wrong tag", hello(Some(2))),
        ("a wrong tag and version", bad_version),
        ("a wrong tag, then a right HELLO", [hello(Some(2)), hello(Some(1))].concat()),
        ("an oversized frame", vec![0xC1, 0xFF, 0xFF, 0xFF]),
        ("an alert", vec![0xC6, 0, 0, 1, 5]),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("a flood", vec![0xC1; 300_000]),
    ];
    let started = tokio::time::Instant::now();
    let probes = cases.into_iter().map(|(name, bytes)| {
        let address = listener.local_addr();
        tokio::spawn(async move {
            let mut io = TcpStream::connect(address).await.unwrap();
            // A flood may not be taken as a whole.
            let _ = tokio::time::timeout(Duration::from_millis(300), io.write_all(&bytes)).await;
            let mut back = Vec::new();
            let end = bounded(io.read_to_end(&mut back)).await;
            (name, back, end.map_err(|error| error.kind()), started.elapsed())
        })
    });
    for probe in probes.collect::<Vec<_>>() {
        let (name, back, end, after) = probe.await.unwrap();
        assert_eq!(back, [], "{name}: something came back");
        assert!(after >= deadline, "{name}: closed before the deadline");
        assert!(end.is_ok() || name == "a flood", "{name}: {end:?}");
    }
    // Who closes is not waited for, and who has the key gets in.
    let mut member =
        bounded(config(1, 2).network_key(network_key(1)).connect(listener.local_addr()).into_future()).await.unwrap();
    let accepted = bounded(listener.accept()).await.unwrap();
    assert_eq!(accepted.session_id(), member.session_id());
    member.shutdown().await.unwrap();
}

/// With a right tag alerts are sent as ever. [NK-3]
#[test]
fn after_a_right_tag_reasons_are_given() {
    let mut rng = seeded(7);
    let (i, r) = (config(1, 2).suites([CLASSICAL]), config(2, 1).suites([HYBRID]));
    let mut i = End::initiator(&with_key(i, Some(1)), Target::default(), &mut rng);
    let mut r = End::responder(&with_key(r, Some(1)), &mut rng);
    r.feed(&i.take_output());
    assert_eq!(r.take_output(), [0xC6, 0, 0, 1, 4]);
}

/// A responder whose places are all taken stays silent too; it just lets the oldest go. [NK-3]
#[tokio::test]
async fn giving_way_is_silent() {
    let guarded = config(2, 1).network_key(network_key(1)).max_handshakes(1);
    let listener = Listener::bind("127.0.0.1:0", guarded).await.unwrap();
    let mut first = TcpStream::connect(listener.local_addr()).await.unwrap();
    first.write_all(&[0xC1]).await.unwrap();
    let _second = TcpStream::connect(listener.local_addr()).await.unwrap();
    let mut back = Vec::new();
    let _ = bounded(first.read_to_end(&mut back)).await;
    assert_eq!(back, []);
}

// ---------------------------------------------------------------------------------------------------------------- streams

async fn streams(i: Config, r: Config) -> (Stream<tokio::io::DuplexStream>, Stream<tokio::io::DuplexStream>) {
    let (a, b) = duplex(64 * 1_024);
    let (i, r) = tokio::join!(i.connect_over(a).into_future(), r.accept_over(b, None));
    (i.unwrap(), r.unwrap())
}

/// Streams that rekey, pad and use any suite carry everything in both directions, whole and split. [RE-8]
#[tokio::test]
async fn streams_that_rekey_lose_nothing() {
    let mut rng = seeded(8);
    for (suite, padding) in
        [(CLASSICAL, "none"), (HYBRID, "pow2"), (Suite::X25519MlKem768Aes256GcmSha256, "block:1000")]
    {
        let with = |config: Config| {
            let padding: Padding = padding.parse().unwrap();
            config.suites([suite]).padding(padding).rekey(RekeyPolicy::new(50_000, Duration::from_secs(900)))
        };
        let (i, r) = streams(with(config(1, 2)), with(config(2, 1))).await;
        let mut data = vec![0; 3_000_000];
        rng.fill_bytes(&mut data);
        let ((mut i_read, mut i_write), (mut r_read, mut r_write)) = (i.into_split(), r.into_split());
        let (mut there, mut back) = (Vec::new(), Vec::new());
        let send = async |write: &mut countersign::stream::WriteHalf<_>| {
            for chunk in data.chunks(777) {
                write.write_all(chunk).await?;
            }
            write.shutdown().await
        };
        let (a, b, c, d) = bounded(async {
            tokio::join!(
                send(&mut i_write),
                send(&mut r_write),
                r_read.read_to_end(&mut there),
                i_read.read_to_end(&mut back)
            )
        })
        .await;
        a.and(b).unwrap();
        c.and(d).unwrap();
        assert!(there == data && back == data, "{suite}");
    }
}

/// Keepalives keep a session alive that says nothing; without them the idle timeout ends it, with its reason on both sides. [RE-11]
#[tokio::test(start_paused = true)]
async fn keepalive_and_idle_timeout() {
    let idle = Duration::from_secs(60);
    let (mut i, mut r) =
        streams(config(1, 2).idle_timeout(idle), config(2, 1).keep_alive(Duration::from_secs(20))).await;
    // For an hour nothing but keepalives; both sides read, as applications do.
    let quiet = async {
        tokio::select! {
            got = i.read_u8() => panic!("{got:?}"),
            got = r.read_u8() => panic!("{got:?}"),
            () = tokio::time::sleep(Duration::from_secs(3_600)) => {}
        }
    };
    quiet.await;
    r.write_all(b"x").await.unwrap();
    assert_eq!(i.read_u8().await.unwrap(), b'x');
    // The responder sends nothing any more: it is not polled.
    let started = tokio::time::Instant::now();
    let error = i.read_u8().await.unwrap_err();
    assert_eq!((error.kind(), protocol_error(&error)), (ErrorKind::TimedOut, Some(&Error::Idle)));
    assert!(started.elapsed() >= idle && started.elapsed() < idle * 2);
    let _ = i.shutdown().await;
    let told = r.read_u8().await.unwrap_err();
    assert_eq!(protocol_error(&told).and_then(alert_of), Some(Alert::Timeout));
}

/// After `into_split` the writing half has a future that sends the keepalives.
#[tokio::test(start_paused = true)]
async fn keepalive_of_a_half() {
    let (mut i, r) =
        streams(config(1, 2).idle_timeout(Duration::from_secs(60)), config(2, 1).keep_alive(Duration::from_secs(20)))
            .await;
    let (_read, mut write) = r.into_split();
    tokio::select! {
        ended = write.keep_alive() => panic!("{ended:?}"),
        got = i.read_u8() => panic!("{got:?}"),
        () = tokio::time::sleep(Duration::from_secs(3_600)) => {}
    }
    write.write_all(b"x").await.unwrap();
    assert_eq!(i.read_u8().await.unwrap(), b'x');
}

/// Neither is on unless it is asked for.
#[tokio::test(start_paused = true)]
async fn silence_is_allowed_by_default() {
    let (mut i, mut r) = streams(config(1, 2), config(2, 1)).await;
    let week = Duration::from_secs(7 * 24 * 3_600);
    assert!(tokio::time::timeout(week, async { tokio::join!(i.read_u8(), r.read_u8()) }).await.is_err());
}

/// Keying material and channel binding are equal on both sides, and new for every session. [KS-2]
#[tokio::test]
async fn exports() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (i, r) = streams(config(1, 2), config(2, 1)).await;
        assert_eq!(i.channel_binding(), r.channel_binding());
        let (mut a, mut b, mut other) = ([0; 48], [0; 48], [0; 48]);
        i.export_keying_material(b"label", b"context", &mut a).unwrap();
        r.export_keying_material(b"label", b"context", &mut b).unwrap();
        assert_eq!(a, b);
        for (label, context) in [("labe", "lcontext"), ("label", ""), ("other", "context")] {
            i.export_keying_material(label.as_bytes(), context.as_bytes(), &mut other).unwrap();
            assert_ne!(a, other);
        }
        let mut shorter = [0; 47];
        i.export_keying_material(b"label", b"context", &mut shorter).unwrap();
        assert_ne!(a[..47], shorter);
        seen.push((a.to_vec(), i.channel_binding().to_vec()));
    }
    assert!(seen[0].0 != seen[1].0 && seen[0].1 != seen[1].1);
}

// ---------------------------------------------------------------------------------------------------------------- eager

/// A refusal that has come surfaces at the first call after it, whichever that is, with its reason, and nothing was delivered. [HS-25]
#[tokio::test]
async fn an_eager_refusal_surfaces_at_the_first_call() {
    for call in ["read", "write", "flush", "shutdown", "accepted"] {
        let refusing = Config::new(identity(2), from_fn(|_| Decision::deny("not today")));
        let (a, b) = duplex(64 * 1_024);
        let server = tokio::spawn(async move { refusing.accept_over(b, None).await.map(|_| ()) });
        let mut stream = config(1, 2).connect_over(a).eager().await.unwrap();
        stream.write_all(b"for nobody").await.unwrap();
        assert!(matches!(server.await.unwrap(), Err(ConnectError::Protocol(_))));
        let error = bounded(async {
            match call {
                "read" => stream.read_u8().await.map(|_| ()),
                "write" => stream.write_all(b"x").await,
                "flush" => stream.flush().await,
                "shutdown" => stream.shutdown().await,
                _ => stream.accepted().await,
            }
        })
        .await
        .unwrap_err();
        assert!(
            matches!(protocol_error(&error), Some(Error::Refused(refusal))
                if refusal.reason == Reason::Denied && refusal.text == "not today"),
            "{call}: {error}"
        );
        assert_eq!(stream.read_u8().await.unwrap_err().to_string(), error.to_string(), "{call}: it is repeated");
    }
}

/// Data that goes with our proof arrives with it, in one write and before the verdict, whether the verdict is waited for or not; who refuses us never reads
/// it; and more than a record is refused before anything is sent. [HS-25]
#[tokio::test]
async fn first_data_goes_with_the_proof() {
    for (eager, accepted) in [(false, true), (true, true), (false, false), (true, false)] {
        let decide = from_fn(move |_| if accepted { Decision::accept() } else { Decision::deny("not today") });
        let responder = Config::new(identity(2), decide);
        let (a, mut wire_a) = duplex(64 * 1_024);
        let (mut wire_b, b) = duplex(64 * 1_024);
        let server = tokio::spawn(async move {
            let mut stream = responder.accept_over(b, None).await.ok()?;
            let mut got = [0; 8];
            stream.read_exact(&mut got).await.unwrap();
            Some(got)
        });
        let call = config(1, 2).connect_over(a).first_data(*b"question");
        let client = tokio::spawn(if eager { call.eager() } else { call }.into_future());
        // A relay that passes one read at a time: HELLO, then the answer, then all that the initiator says next.
        let mut scratch = vec![0; 64 * 1_024];
        let hello = wire_a.read(&mut scratch).await.unwrap();
        wire_b.write_all(&scratch[..hello]).await.unwrap();
        let reply = wire_b.read(&mut scratch).await.unwrap();
        wire_a.write_all(&scratch[..reply]).await.unwrap();
        let proof = wire_a.read(&mut scratch).await.unwrap();
        assert_eq!(scratch[0], 0xC4);
        let auth_len = 4 + usize::from(u16::from_be_bytes([scratch[2], scratch[3]]));
        assert_eq!((scratch[auth_len], proof - auth_len), (0xC5, 4 + 1 + 8 + 16), "AUTH_I and one record");
        wire_b.write_all(&scratch[..proof]).await.unwrap();
        let relay = tokio::spawn(async move { tokio::io::copy_bidirectional(&mut wire_a, &mut wire_b).await });
        assert_eq!(server.await.unwrap(), accepted.then_some(*b"question"));
        let connected = client.await.unwrap();
        assert_eq!(connected.is_ok(), eager || accepted);
        drop(connected);
        let _ = relay.await;
    }
    let (a, mut far) = duplex(64 * 1_024);
    let error = config(1, 2).connect_over(a).first_data(vec![0; 65_537]).await.unwrap_err();
    assert!(matches!(error, ConnectError::Protocol(failure) if failure.error == Error::Misuse(Misuse::ContentTooLong)));
    assert_eq!(far.read(&mut [0; 9]).await.unwrap(), 0);
}

/// Replay by retry: somebody on the path passes our proof and the data on, holds the verdict back and says `busy` in clear. Without data we call again, which
/// harms nobody; with data we must not, or a request would be made as often as he likes.
#[tokio::test]
async fn first_data_is_not_sent_again() {
    for data in [&b""[..], b"pay"] {
        let listener = Listener::bind("127.0.0.1:0", config(2, 1)).await.unwrap();
        let (address, middle) = (listener.local_addr(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let door = middle.local_addr().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let attack = tokio::spawn(async move {
            loop {
                let (mut near, _) = middle.accept().await.unwrap();
                let mut far = TcpStream::connect(address).await.unwrap();
                let mut scratch = vec![0; 64 * 1_024];
                let hello = near.read(&mut scratch).await.unwrap();
                far.write_all(&scratch[..hello]).await.unwrap();
                // The answer, whole.
                let mut answer = 0;
                while frames(&scratch[..answer]).len() < 2 {
                    answer += far.read(&mut scratch[answer..]).await.unwrap();
                }
                near.write_all(&scratch[..answer]).await.unwrap();
                let proof = near.read(&mut scratch).await.unwrap();
                far.write_all(&scratch[..proof]).await.unwrap();
                far.read_u8().await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                near.write_all(&[0xC6, 0, 0, 1, Alert::Busy.code()]).await.unwrap();
                // What is read until the caller closes is not answered.
                while near.read(&mut scratch).await.is_ok_and(|count| count > 0) {}
            }
        });
        let caller = config(1, 2).handshake_timeout(Duration::from_millis(1_500));
        let error = caller.connect(door).first_data(data).await.unwrap_err();
        assert!(matches!(&error, ConnectError::Protocol(_) | ConnectError::Timeout { .. }), "{error}");
        let calls = calls.load(Ordering::Relaxed);
        assert_eq!(calls == 1, !data.is_empty(), "{calls} calls with {data:?}");
        attack.abort();
    }
}

/// `shutdown` of an eager stream returns when it is known that what was written is accepted, and not before.
#[tokio::test(start_paused = true)]
async fn an_eager_shutdown_waits_for_the_verdict() {
    let slow = from_async_fn(|_| async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Decision::accept()
    });
    let (a, b) = duplex(64 * 1_024);
    let responder = Config::new(identity(2), slow);
    let server = tokio::spawn(async move {
        let mut stream = responder.accept_over(b, None).await.unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        got
    });
    let mut stream = config(1, 2).connect_over(a).eager().await.unwrap();
    let started = tokio::time::Instant::now();
    stream.write_all(b"early").await.unwrap();
    assert!(poll_times(stream.shutdown(), 5).is_none());
    stream.shutdown().await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(5));
    assert_eq!(server.await.unwrap(), b"early");
}

/// Looking for the verdict while writing does not take the place of a task that waits for it by reading.
#[tokio::test]
async fn a_writer_does_not_steal_the_readers_wakeup() {
    let slow = from_async_fn(|_| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Decision::accept()
    });
    let listener = Listener::bind("127.0.0.1:0", Config::new(identity(2), slow)).await.unwrap();
    let address = listener.local_addr();
    tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let stream = config(1, 2).connect(address).eager().await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let reader = tokio::spawn(async move {
        let mut text = String::new();
        read.read_to_string(&mut text).await.map(|_| text)
    });
    for _ in 0..20 {
        write.write_all(b"x").await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(bounded(reader).await.unwrap().unwrap(), "hello");
}

/// The handshake without padding and without hybrid has as many bytes as the README says.
#[test]
fn the_shortest_handshake() {
    let honest = support::honest(&short(config(1, 2)), &short(config(2, 1)), 9);
    assert_eq!(honest.flights.iter().map(Vec::len).sum::<usize>(), 474);
    assert_eq!(frames(&honest.flights[1]).len(), 2);
}

/// A reader in another task hears of the refusal when an eager `shutdown` finds it, and when that `shutdown` was dropped before.
#[tokio::test]
async fn an_eager_shutdown_wakes_the_reader() {
    for dropped in [false, true] {
        let slow = from_async_fn(|_| async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Decision::deny("no")
        });
        let listener = Listener::bind("127.0.0.1:0", Config::new(identity(2), slow)).await.unwrap();
        let stream = config(1, 2).connect(listener.local_addr()).eager().await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        let reader = tokio::spawn(async move { read.read_u8().await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        if dropped {
            assert!(tokio::time::timeout(Duration::from_millis(10), write.shutdown()).await.is_err());
        } else {
            assert!(bounded(write.shutdown()).await.is_err());
        }
        let error = bounded(reader).await.unwrap().unwrap_err();
        assert!(matches!(protocol_error(&error), Some(Error::Refused(_))), "{error}");
    }
}

/// A write that was cancelled half-way leaves nothing lying: a reader hands the rest on, and keepalives go on.
#[tokio::test]
async fn a_cancelled_write_is_finished_by_others() {
    for split in [false, true] {
        let (a, b) = duplex(2_000);
        let responder = config(2, 1);
        let (i, r) = tokio::join!(
            config(1, 2).keep_alive(Duration::from_millis(10)).connect_over(a).into_future(),
            responder.accept_over(b, None)
        );
        let (mut i, mut r) = (i.unwrap(), r.unwrap());
        // The pipe takes less than the two records: the second write is sealed, but its future never ends.
        let write = i.write_all(&[7; 3_000]);
        let _ = tokio::time::timeout(Duration::from_millis(20), write).await;
        assert!(tokio::time::timeout(Duration::from_millis(20), i.write_all(b"x")).await.is_err());
        let mut got = vec![0; 3_000];
        if split {
            let (_read, mut write) = i.into_split();
            tokio::select! {
                ended = write.keep_alive() => panic!("{ended:?}"),
                read = bounded(r.read_exact(&mut got)) => { read.unwrap(); }
            }
        } else {
            tokio::select! {
                read = i.read_u8() => panic!("{read:?}"),
                read = bounded(r.read_exact(&mut got)) => { read.unwrap(); }
            }
        }
        assert_eq!(got, [7; 3_000], "split {split}");
    }
}

/// The future that sends keepalives ends when the other half has failed, also when keepalives are off.
#[tokio::test]
async fn keep_alive_hears_of_a_failure() {
    let (i, r) = streams(config(1, 2), config(2, 1)).await;
    let (mut read, mut write) = i.into_split();
    let waiting = tokio::spawn(async move { write.keep_alive().await.map(|_| ()) });
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(r);
    assert_eq!(read.read_u8().await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(bounded(waiting).await.unwrap().unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

/// Strangers that send as much get the same end, whatever their first bytes are. [NK-4]
#[tokio::test]
async fn the_bound_on_strangers_does_not_depend_on_what_they_send() {
    let deadline = Duration::from_millis(900);
    let guarded = config(2, 1).network_key(network_key(1)).handshake_timeout(deadline);
    let listener = Listener::bind("127.0.0.1:0", guarded).await.unwrap();
    let mut ends = Vec::new();
    for first in [0x55, 0xC1] {
        let mut io = TcpStream::connect(listener.local_addr()).await.unwrap();
        io.write_all(&[first]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        // The rest of a header of 2,000 bytes, and in all more than the bound.
        let mut rest = vec![0, 0x07, 0xD0];
        rest.resize(66_500, 0x33);
        io.write_all(&rest).await.unwrap();
        io.shutdown().await.unwrap();
        let started = tokio::time::Instant::now();
        let mut back = Vec::new();
        let end = bounded(io.read_to_end(&mut back)).await.map_err(|error| error.kind());
        ends.push((back, end.is_ok(), started.elapsed() > Duration::from_millis(400)));
    }
    assert_eq!(ends[0], ends[1]);
    assert!(ends[0].0.is_empty() && ends[0].2, "the bound is not passed: {ends:?}");
}
