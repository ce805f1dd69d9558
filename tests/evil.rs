//! Every misbehaviour of the catalogue against an honest side in memory: the exact error, the one thing that the evil
//! peer is told, nothing delivered that should not be, nothing told about who we are, and bounded memory.
#![allow(missing_docs)]

#[path = "support/evil/mod.rs"]
mod evil;
mod support;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use countersign::crypto::network::NetworkKey;
use countersign::role::{Role, Stage};
use evil::crypto::x25519_base;
use evil::duel::{Manner, ORDINARY, duel};
use evil::heap::Counting;
use evil::keys::{INITIATOR, RESPONDER};
use evil::peer::Said;
use evil::script::{FAITHFUL, HONEST, Script};
use evil::victim::Victim;
use evil::wire::{self, take_frames};
use evil::{Against, Hears, Misbehaviour, Peer, catalogue};
use support::{hex, identity};

#[global_allocator]
static HEAP: Counting = Counting;

/// The evil roles that a misbehaviour is tried in.
fn roles(against: Against) -> &'static [&'static str] {
    match against {
        Against::Initiator => &[RESPONDER],
        Against::Responder => &[INITIATOR],
        Against::Session => &[INITIATOR, RESPONDER],
    }
}

/// Plays it, and checks all but the memory.
fn play(row: &Misbehaviour, evil: &'static str, manner: Manner) -> Victim {
    let what = format!("{} by the {evil}, {manner:?}", row.name);
    let (peer, mut victim) = duel(&row.script, evil, manner);
    let error = victim.failure.as_ref().map(|failure| &failure.error).or(victim.error.as_ref());
    assert_eq!(error, Some(&row.error), "{what}");
    // An eager initiator has its session before the verdict.
    let in_handshake = row.against != Against::Session && !(manner.eager && row.stage == Stage::Verdict);
    assert_eq!(victim.failure.is_some(), in_handshake, "{what}: where it fails");
    if let Some(failure) = &victim.failure {
        let role = if evil == INITIATOR { Role::Responder } else { Role::Initiator };
        assert_eq!((failure.role, failure.stage), (role, row.stage), "{what}");
    }
    assert_eq!(victim.complete, row.against == Against::Session, "{what}: complete");
    assert_eq!(victim.delivered, row.delivers, "{what}: delivered");
    victim.check_latched();
    what_was_said(row, &what, &peer, &victim);
    what_leaked(row, &what, &peer, &victim);
    victim
}

/// The frames of an honest side that comes this far, and then at most one word more.
fn what_was_said(row: &Misbehaviour, what: &str, peer: &Peer, victim: &Victim) {
    let mut expected = match (row.against, row.stage, peer.role) {
        (Against::Session, _, INITIATOR) => {
            vec![wire::HELLO_REPLY, wire::AUTH_R, wire::RECORD, wire::RECORD, wire::RECORD]
        }
        (Against::Session, ..) => vec![wire::HELLO, wire::AUTH_I, wire::RECORD, wire::RECORD],
        (_, Stage::HelloReply | Stage::AuthR, _) => vec![wire::HELLO],
        (_, Stage::Verdict, _) => vec![wire::HELLO, wire::AUTH_I],
        (_, Stage::AuthI, _) => vec![wire::HELLO_REPLY, wire::AUTH_R],
        _ => vec![],
    };
    if row.script.rekeys {
        expected.push(wire::RECORD);
    }
    expected.extend(match row.hears {
        Hears::Alert(_) => Some(wire::ALERT),
        Hears::Sealed(_) | Hears::Verdict(_) => Some(wire::RECORD),
        Hears::Nothing => None,
    });
    let mut sent = victim.sent.clone();
    let types: Vec<u8> = take_frames(&mut sent).iter().map(|frame| frame[0]).collect();
    assert!(sent.is_empty(), "{what}: half a frame was sent");
    assert_eq!(types, expected, "{what}: the honest side's frames");
    let heard = match row.hears {
        Hears::Alert(code) => Said::Alert(code),
        Hears::Sealed(code) => Said::Record(vec![wire::ALERT_RECORD, code]),
        Hears::Verdict(code) => Said::Record(vec![wire::VERDICT, code]),
        Hears::Nothing => return,
    };
    assert_eq!(peer.said.last(), Some(&heard), "{what}: the last word");
}

/// [HS-15] [AL-1] Who we are is not told, and neither is any secret.
fn what_leaked(row: &Misbehaviour, what: &str, peer: &Peer, victim: &Victim) {
    let own = identity(HONEST).public_key();
    let print = own.fingerprint().to_string();
    let contains = |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    assert!(!contains(&victim.sent, own.as_bytes()), "{what}: our key in clear");
    if row.against == Against::Initiator && row.stage <= Stage::AuthR {
        assert_eq!(victim.signed, 0, "{what}: something was signed for an unproved peer");
        let shown = peer.said.iter().filter(|said| !matches!(said, Said::Alert(_) | Said::Message(wire::HELLO)));
        assert_eq!(shown.count(), 0, "{what}: an unproved peer was shown something");
    }
    let error = victim.failure.as_ref().map(|failure| (format!("{failure}"), format!("{failure:?}")));
    let error = error.or(victim.error.as_ref().map(|error| (format!("{error}"), format!("{error:?}"))));
    let (shown, debug) = error.expect("a failure");
    let text = format!("{shown} {debug}");
    let seed = [HONEST; 32];
    for secret in peer.secrets().into_iter().chain([seed.to_vec(), vec![0x4E; 32]]) {
        let list: Vec<String> = secret.iter().map(u8::to_string).collect();
        assert!(!text.contains(&hex(&secret)) && !text.contains(&list.join(", ")), "{what}: a secret in {text}");
    }
    assert!(!text.contains(&print), "{what}: who we are in {text}");
}

/// Runs `check` for every row in every evil role, and says at the end which rows failed.
fn for_all(mut check: impl FnMut(&Misbehaviour, &'static str)) {
    let mut failed = Vec::new();
    for row in catalogue() {
        for evil in roles(row.against) {
            if catch_unwind(AssertUnwindSafe(|| check(&row, evil))).is_err() {
                failed.push(format!("{} by the {evil}", row.name));
            }
        }
    }
    assert!(failed.is_empty(), "{} misbehaviours: {failed:#?}", failed.len());
}

/// The whole catalogue. [ST-1] [FR-3] [RE-1] [RE-9] [AL-1] [AL-2] [AL-3] [AL-4]
#[test]
fn every_misbehaviour_has_its_error() {
    for_all(|row, evil| drop(play(row, evil, ORDINARY)));
}

/// How the bytes come does not change what comes of them: one at a time, seven at a time, all at once. [FR-1] [FR-5]
#[test]
fn however_it_is_cut() {
    for piece in [1, 7, usize::MAX] {
        for_all(|row, evil| drop(play(row, evil, Manner { piece, ..ORDINARY })));
    }
}

/// An eager initiator is as strict about the verdict and what follows. [HS-25]
#[test]
fn an_eager_initiator_is_as_strict() {
    let mut tried = 0;
    for_all(|row, evil| {
        if evil == RESPONDER && row.stage >= Stage::AuthR {
            drop(play(row, evil, Manner { eager: true, ..ORDINARY }));
            tried += 1;
        }
    });
    assert!(tried > 100, "{tried}");
}

/// A session is as strict in every suite.
#[test]
fn sessions_in_every_suite() {
    for suite in 2..=4 {
        for_all(|row, evil| {
            if row.against == Against::Session {
                drop(play(row, evil, Manner { suite, ..ORDINARY }));
            }
        });
    }
}

/// What an honest side holds for a peer stays small, whatever comes: before it is authenticated a little more than
/// the longest message, later a little more than the longest record, and never much more than has come. [FR-4]
#[test]
fn memory_is_bounded() {
    let mut most = [0; 2];
    for_all(|row, evil| {
        for eager in [false, true] {
            let (_, victim) = duel(&row.script, evil, Manner { eager, ..ORDINARY });
            let (which, bound) = match (row.against, row.stage) {
                (Against::Session, _) | (_, Stage::Verdict) => (1, 160_000),
                _ => (0, 64_000),
            };
            let (peak, fed) = (victim.account.peak(), isize::try_from(victim.fed).expect("little"));
            most[which] = peak.max(most[which]);
            assert!(peak > 0, "{}: nothing is counted", row.name);
            assert!(peak < bound, "{} by the {evil}: {peak} bytes", row.name);
            assert!(peak < 14_000 + 3 * fed, "{} by the {evil}: {peak} bytes for {fed}", row.name);
        }
    });
    println!("at most {} bytes before the peer is authenticated, {} later", most[0], most[1]);
}

/// The evil peer's own code is the protocol: where it misbehaves in nothing it is accepted, in every suite, role and
/// manner. Else the catalogue would show that everything is refused, whatever the reason. [KS-1] [TR-2] [NK-1] [RK-1]
#[test]
fn a_faithful_peer_is_accepted() {
    const NETWORK: [u8; 32] = [7; 32];
    let faithful = Script {
        session: |peer, frames| {
            let share = x25519_base(&[5; 32]);
            // Named, if the honest side has sent one.
            let (named, keys) = (peer.share, peer.keys());
            frames.push(keys.rekey(named, 1, &[5; 32], &share));
            frames.push(keys.padded(wire::DATA, b"padded", &[0; 9], 9));
            frames.push(keys.record(wire::KEEPALIVE, b""));
            frames.push(keys.record(wire::END, b""));
        },
        ..FAITHFUL
    };
    let scripts = [
        faithful,
        Script { rekeys: true, ..faithful },
        Script { auth: |auth| auth.padding = vec![0; 17_000], anyone: true, ..faithful },
        Script {
            party: |party| party.network_key = Some(NETWORK),
            honest: |config| config.network_key(NetworkKey::take(&mut NETWORK.clone()).expect("a key")),
            ..faithful
        },
        Script {
            party: |party| party.context.clear(),
            honest: |config| config.context(b"").auth_padding(0),
            ..faithful
        },
    ];
    for (number, script) in scripts.iter().enumerate() {
        for (suite, evil) in (1..=4).flat_map(|suite| [(suite, INITIATOR), (suite, RESPONDER)]) {
            for (piece, eager) in [(1, false), (4_096, true)] {
                let (peer, mut victim) = duel(script, evil, Manner { piece, eager, suite });
                let what = format!("script {number}, suite {suite}, {evil}");
                assert_eq!((&victim.failure, &victim.error), (&None, &None), "{what}");
                assert!(victim.complete && victim.ended, "{what}");
                assert_eq!(victim.delivered, [&b"data of the evil peer"[..], b"padded"], "{what}");
                let session = victim.session.as_mut().expect("a session");
                assert_eq!(session.opener.finish(), Ok(()), "{what}");
                assert_eq!(session.info.suite.code(), suite, "{what}");
                let said = Said::Record([&[wire::DATA], &b"and more of it"[..]].concat());
                assert!(peer.said.contains(&said), "{what}");
            }
        }
    }
}

/// The catalogue is large, names nothing twice, and leaves out no message, no field and no manner.
#[test]
fn the_catalogue_is_complete() {
    let rows = catalogue();
    assert!(rows.len() >= 60, "{} misbehaviours", rows.len());
    println!("{} misbehaviours", rows.len());
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "a name stands twice");
    let about: BTreeSet<&str> = rows.iter().flat_map(|row| row.about.split(',')).collect();

    let messages = ["HELLO", "HELLO_REPLY", "AUTH_R", "AUTH_I", "VERDICT", "DATA", "END", "REKEY", "KEEPALIVE"];
    for message in messages {
        let has = |manner: &str| about.contains(format!("{message} {manner}").as_str());
        for manner in ["missing", "twice", "truncated", "oversized", "trailing", "altered", "reflected", "spliced"] {
            assert!(has(manner), "{message} {manner} is not in the catalogue");
        }
        assert!(has("early") || has("late"), "{message} out of order is not in the catalogue");
    }
    for message in ["ALERT", "RECORD"] {
        assert!(about.contains(format!("{message} early").as_str()), "{message} early is not in the catalogue");
    }
    for message in ["HELLO", "HELLO_REPLY", "AUTH_R", "AUTH_I", "RECORD"] {
        assert!(about.contains(format!("{message}.type").as_str()), "type of {message}");
        assert!(about.contains(format!("{message}.length").as_str()), "length of {message}");
    }
    // The fields as the tables of the specification name them, whatever message they stand in.
    let fields = fields_of_the_specification();
    assert!(fields.len() > 25, "{fields:?}");
    for field in fields {
        assert!(about.iter().any(|about| about.ends_with(&format!(".{field}"))), "{field} is nowhere wrong");
    }
}

/// The names in the last column of the tables of sections 6.2 to 6.6, and in the kinds of records.
fn fields_of_the_specification() -> BTreeSet<String> {
    let spec = include_str!("../protocol-spec.md");
    let section = spec.split("### 6.2 HELLO").nth(1).and_then(|rest| rest.split("### 6.7").next()).expect("section 6");
    let cells = section.lines().filter(|line| line.starts_with('|')).filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        cells.last().map(|cell| (*cell).to_string())
    });
    let words = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    words.filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')).collect()
}
