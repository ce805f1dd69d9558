//! The wire is frozen: 4,096 seeded sessions, each with a handshake, data, a rekey and an end both ways, give the digests that the other
//! implementations computed. Whatever changes a byte anywhere changes them. See `tests/vectors/README.md`.
#![allow(missing_docs)]

mod support;

use std::time::Duration;

use bytes::BytesMut;
use countersign::config::Config;
use countersign::crypto::network::NetworkKey;
use countersign::crypto::suite::Suite;
use countersign::handshake::Target;
use countersign::identity::Identity;
use countersign::session::{Event, Progress, Session};
use countersign::trust::Pinned;
use sha2::{Digest, Sha256};
use support::{End, ReplayRng, hex, run};

const BLOCKS: usize = 16;
const SESSIONS: usize = 256;

/// `R(name, length)` of the session.
fn pseudo_random(session: usize, name: &str, length: usize) -> Vec<u8> {
    let piece = |j: usize| Sha256::digest(format!("countersign conformance 1/{session}/{name}/{j}"));
    let mut bytes: Vec<u8> = (0..length.div_ceil(32)).flat_map(piece).collect();
    bytes.truncate(length);
    bytes
}

/// The digest of session `n`.
fn session(n: usize) -> [u8; 32] {
    let r = |name: &str, length: usize| pseudo_random(n, name, length);
    let o: Vec<usize> = r("options", 16).into_iter().map(usize::from).collect();
    let suite = Suite::from_code(1 + (n % 4) as u16).expect("a suite");
    let offer = if o[0] % 2 == 1 { (1..=4).filter_map(Suite::from_code).collect() } else { vec![suite] };
    let service = hex(&r("service", o[4] % 17));
    let identity = |side: &str| Identity::from_seed(&mut r(side, 32).try_into().expect("32")).expect("an identity");
    let own = [identity("initiator seed"), identity("responder seed")];
    let keys: Vec<_> = own.iter().map(Identity::public_key).collect();
    let config = |identity: Identity, peer: usize| {
        let config = Config::new(identity, Pinned::new([keys[peer].into()])).context(r("context", o[3] % 33));
        let config = config.auth_padding(if o[2] % 2 == 1 { 256 } else { 0 });
        match o[1] % 2 {
            1 => {
                config.network_key(NetworkKey::take(&mut r("network key", 32).try_into().expect("32")).expect("a key"))
            }
            _ => config,
        }
    };
    let [initiator, responder] = own;
    // Our responder draws before it knows whether ML-KEM will be chosen.
    let unused: &[u8] = if suite.is_hybrid() { &[] } else { &[0; 32] };
    let responders = [&r("responder", 256)[..64], unused, &r("responder", 256)[64..]].concat();
    let mut draws = [ReplayRng(r("initiator", 256)), ReplayRng(responders)];
    let target = Target { service: service.as_str().into(), ..Target::default() };
    let mut i = End::initiator(&config(initiator, 1).suites(offer), target, &mut draws[0]);
    let mut r_ = End::responder(&config(responder, 0).suites([suite]), &mut draws[1]);
    let mut digest = Sha256::new();
    run_into(&mut digest, &mut i, &mut r_);
    let [mut i, mut r_] = [i.session.expect("initiator"), r_.session.expect("responder")];
    assert_eq!((i.info.suite, i.info.session_id), (suite, r_.info.session_id));

    for step in ["data 1", "rekey", "data 2", "end"] {
        for side in 0..2 {
            let (sender, receiver) = if side == 0 { (&mut i, &mut r_) } else { (&mut r_, &mut i) };
            let length = if step == "data 1" { 1 + 2 * o[5 + side] } else { 1 + o[7 + side] };
            let data = r(&format!("{} {step}", ["initiator", "responder"][side]), length);
            let mut frame = BytesMut::new();
            match step {
                "rekey" => sender
                    .sealer
                    .rekey(&mut sender.shares, Duration::ZERO, &mut draws[side], &mut frame)
                    .expect("a rekey"),
                "end" => sender.sealer.seal_end(&mut frame).expect("an end"),
                _ => assert_eq!(sender.sealer.seal_data([&data[..]].into_iter(), &mut frame), Ok(length)),
            }
            digest.update(&frame);
            delivered(receiver, frame, step, &data);
        }
    }
    digest.update(i.info.session_id.as_bytes());
    digest.update(i.info.channel_binding);
    let mut exported = [[0; 48]; 2];
    for (session, out) in [&i, &r_].into_iter().zip(&mut exported) {
        session.exporter.export(b"conformance", &r("context", 7), out).expect("an export");
    }
    assert_eq!(exported[0], exported[1]);
    digest.update(exported[0]);
    digest.finalize().into()
}

/// The five flights, in order, into the digest.
fn run_into(digest: &mut Sha256, initiator: &mut End, responder: &mut End) {
    for _ in 0..2 {
        let there = initiator.take_output();
        digest.update(&there);
        responder.feed(&there);
        let back = responder.take_output();
        digest.update(&back);
        initiator.feed(&back);
    }
    run(initiator, responder);
}

fn delivered(receiver: &mut Session, mut frame: BytesMut, step: &str, data: &[u8]) {
    let Ok(Progress::Record { event, .. }) = receiver.open(&mut frame) else { panic!("{step} was not opened") };
    match (step, event) {
        ("rekey", Event::Rekey) | ("end", Event::End) => {}
        ("data 1" | "data 2", Event::Data(range)) => assert_eq!(&frame[range], data),
        (_, event) => panic!("{step}: {event:?}"),
    }
}

#[test]
fn the_wire_is_frozen() {
    let text = std::fs::read_to_string("tests/vectors/conformance.json").expect("vectors");
    let expected: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let blocks: Vec<String> = std::thread::scope(|scope| {
        let block = |number: usize| {
            let mut digest = Sha256::new();
            (number * SESSIONS..(number + 1) * SESSIONS).for_each(|n| digest.update(session(n)));
            hex(&digest.finalize())
        };
        let threads: Vec<_> = (0..BLOCKS).map(|number| scope.spawn(move || block(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a block")).collect()
    });
    let listed: Vec<&str> = expected["blocks"].as_array().expect("blocks").iter().filter_map(|b| b.as_str()).collect();
    assert_eq!(blocks, listed, "the blocks that differ say which sessions do: 256 each");
    let all = Sha256::digest(blocks.iter().flat_map(|block| support::unhex(block)).collect::<Vec<u8>>());
    assert_eq!(expected["digest"], hex(&all));
}
