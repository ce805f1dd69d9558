//! Attacks that have names, one test each: what was done to other protocols, done to this one.
#![allow(missing_docs)]

#[path = "support/evil/mod.rs"]
mod evil;
mod support;

use std::collections::BTreeSet;

use bytes::BytesMut;
use countersign::crypto::network::NetworkKey;
use countersign::error::{Error, Reason, Refusal, Sealed, Untrusted};
use countersign::handshake::Target;
use countersign::role::Role;
use countersign::transcript::{Item, Transcript as TheirTranscript};
use evil::crypto::{Aead, hmac};
use evil::duel::{ORDINARY, duel};
use evil::keys::{INITIATOR, RESPONDER};
use evil::leak::{Leak, recorded_signature};
use evil::script::{CONTEXT, FAITHFUL, HONEST, Script, TRUSTED, other};
use evil::signing::{Key, ToSign, plus_torsion, signature_input};
use evil::victim::Victim;
use evil::wire::{self, Transcript};
use support::{
    End, config, deliver, frames, honest, identity, peer_id, run, seeded, seeded_quietly, short, trusting_all,
};

const ALICE: u8 = 1;
const BOB: u8 = 2;
const EVE: u8 = 3;

/// Alice calls Bob and trusts nobody else; Bob trusts Alice alone.
fn alice_and_bob(seed: u64) -> (End, End) {
    let mut rng = seeded_quietly(seed);
    let target = Target { peer: Some(peer_id(BOB)), ..Target::default() };
    let alice = End::initiator(&config(ALICE, BOB), target, &mut rng);
    (alice, End::responder(&config(BOB, ALICE), &mut rng))
}

fn error(end: &End) -> &Error {
    &end.failure.as_ref().expect("a failure").error
}

fn untrusted(victim: &Victim) -> &Untrusted {
    match &victim.failure.as_ref().expect("a failure").error {
        Error::Untrusted(untrusted) => untrusted,
        other => panic!("{other}"),
    }
}

// ----------------------------------------------------------------------------------------------- who is at the other
// end

/// Man in the middle with keys of his own: he answers Alice as Bob and calls Bob as Alice, relaying what he can. His
/// own proof is refused, and a proof relayed out of the other handshake does not open. [HS-11] [HS-15] [HS-16]
#[test]
fn man_in_the_middle() {
    // He shows himself.
    let (mut alice, mut bob) = alice_and_bob(1);
    let mut rng = seeded(2);
    let mut towards_alice = End::responder(&trusting_all(EVE), &mut rng);
    let mut towards_bob = End::initiator(&trusting_all(EVE), Target::default(), &mut rng);
    run(&mut alice, &mut towards_alice);
    run(&mut towards_bob, &mut bob);
    assert!(matches!(error(&alice), Error::Untrusted(Untrusted::NotExpected { .. })));
    assert!(matches!(error(&bob), Error::Denied(Refusal { reason: Reason::NotTrusted, .. })));
    assert!(!alice.is_complete() && !bob.is_complete());

    // He relays Bob's proof under shares of his own, and Alice's.
    let (mut alice, mut bob) = alice_and_bob(3);
    let mut towards_alice = End::responder(&trusting_all(EVE), &mut rng);
    let mut towards_bob = End::initiator(&trusting_all(EVE), Target::default(), &mut rng);
    towards_alice.feed(&alice.take_output());
    bob.feed(&towards_bob.take_output());
    let own_reply = frames(&towards_alice.take_output())[0].clone();
    let proof_of_bob = frames(&bob.take_output())[1].clone();
    alice.feed(&[own_reply, proof_of_bob].concat());
    assert_eq!(error(&alice), &Error::Tampered(Sealed::AuthR));
    bob.feed(&honest(&config(ALICE, BOB), &config(BOB, ALICE), 4).flights[2]);
    assert_eq!(error(&bob), &Error::Tampered(Sealed::AuthI));
}

/// Triple handshake (Bhargavan et al., 2014): somebody whom both sides trust, and who plays both handshakes as he
/// likes, can't make them agree: not on the session id, not on the channel binding, not on exported keys. [KS-2]
#[test]
fn triple_handshake() {
    let mut rng = seeded(5);
    let mut alice = End::initiator(&trusting_all(ALICE), Target::default(), &mut rng);
    let mut bob = End::responder(&trusting_all(BOB), &mut rng);
    // The same randomness in both of his handshakes: nonces and private shares are equal, as far as that is his to
    // choose.
    let mut towards_alice = End::responder(&trusting_all(EVE), &mut seeded(6));
    let mut towards_bob = End::initiator(&trusting_all(EVE), Target::default(), &mut seeded(6));
    run(&mut alice, &mut towards_alice);
    run(&mut towards_bob, &mut bob);
    let (alice, bob) = (alice.session.expect("alice"), bob.session.expect("bob"));
    for session in [&alice, &bob] {
        assert_eq!(*session.info.peer.public_key(), identity(EVE).public_key(), "each sees him");
    }
    assert_ne!(alice.info.session_id, bob.info.session_id);
    assert_ne!(alice.info.channel_binding, bob.info.channel_binding);
    let export = |session: &countersign::session::Session| {
        let mut out = [0; 32];
        session.exporter.export(b"label", b"", &mut out).expect("exported");
        out
    };
    assert_ne!(export(&alice), export(&bob));
}

/// Lowe's attack on Needham-Schroeder (1995), the first unknown key share: Alice calls Eve, who forwards every byte
/// to Bob and every byte of his back. Alice does not take Bob for Eve, and Bob never hears of her. [HS-15]
#[test]
fn a_call_that_is_forwarded() {
    let mut rng = seeded(7);
    let target = Target { peer: Some(peer_id(EVE)), ..Target::default() };
    let mut alice = End::initiator(&trusting_all(ALICE), target, &mut rng);
    let mut bob = End::responder(&trusting_all(BOB), &mut rng);
    run(&mut alice, &mut bob);
    assert!(matches!(error(&alice), Error::Untrusted(Untrusted::NotExpected { .. })));
    assert!(!bob.is_complete() && bob.asked.is_empty());
}

/// Identity misbinding against the initiator's proof (Diffie, van Oorschot, Wiener 1992; Krawczyk's SIGMA, 2003),
/// with an attacker who has even learnt the keys of the handshake: Eve puts her name for Alice's into AUTH_I. Bob
/// talks to Eve then, but never with keys that Alice has: her call fails. [KS-1] [RE-1]
#[test]
fn identity_misbinding_of_the_initiator() {
    let leak = Leak::default();
    let mut rng = seeded(8);
    let open = |own: u8| short(trusting_all(own));
    let mut alice = End::initiator(&open(ALICE).dangerous_key_log(leak.clone()), Target::default(), &mut rng);
    let mut bob = End::responder(&open(BOB), &mut rng);
    let hello = alice.take_output();
    bob.feed(&hello);
    let flight = bob.take_output();
    alice.feed(&flight);
    let auth_i = alice.take_output();

    let mut transcript = up_to_auth_i(&hello, &flight, &leak);
    let plaintext = leak.direction("HS_I", Aead::ChaCha).open(&auth_i).expect("the keys have leaked");
    assert_eq!(plaintext[1 + 3..1 + 3 + 32], *identity(ALICE).public_key().as_bytes());
    let forged = auth_i_by(EVE, &mut transcript, &leak, &auth_i[..4]);
    bob.feed(&forged);
    let bobs = bob.session.as_ref().expect("Eve is somebody whom Bob trusts");
    assert_eq!(*bobs.info.peer.public_key(), identity(EVE).public_key());
    let verdict = bob.take_output();
    alice.feed(&verdict);
    assert_eq!(error(&alice), &Error::Tampered(Sealed::Record), "Alice shares a session with Bob, who calls her Eve");
    assert!(!alice.is_complete());
}

/// The same against the responder's proof: Eve puts her name for Bob's into AUTH_R. What Alice answers is for Eve,
/// and Bob refuses it, also when Eve makes a new confirmation with the leaked key. [HS-18] [HS-20]
#[test]
fn identity_misbinding_of_the_responder() {
    for confirms in [false, true] {
        let leak = Leak::default();
        let mut rng = seeded_quietly(9);
        let open = |own: u8| short(trusting_all(own).dangerous_key_log(leak.clone()));
        let mut alice = End::initiator(&open(ALICE), Target::default(), &mut rng);
        let mut bob = End::responder(&open(BOB), &mut rng);
        let hello = alice.take_output();
        bob.feed(&hello);
        let flight = frames(&bob.take_output());
        let mut transcript = Transcript::new(b"");
        transcript.add(wire::FRAME_ITEM, &hello);
        transcript.add(wire::FRAME_ITEM, &flight[0]);
        transcript.add(wire::HEADER_ITEM, &flight[1][..4]);
        let plaintext = prove(EVE, RESPONDER, b"", &mut transcript, &leak.secret("CONFIRM_R"));
        let sealed = leak.direction("HS_R", Aead::ChaCha).seal(&flight[1][..4], &plaintext);
        alice.feed(&[&flight[0], &flight[1][..4], &sealed].concat());
        let auth_i = alice.take_output();
        assert_eq!(auth_i[0], wire::AUTH_I, "Eve is somebody whom Alice trusts: {:?}", alice.failure);

        let mut forwarded = auth_i.clone();
        if confirms {
            // Over Bob's transcript, with Alice's own signature, which is over the other one.
            let mut transcript = up_to_auth_i(&hello, &flight.concat(), &leak);
            let mut plaintext = leak.direction("HS_I", Aead::ChaCha).open(&auth_i).expect("the keys have leaked");
            transcript.add(wire::HEADER_ITEM, &auth_i[..4]);
            transcript.add(wire::SERVICE_ITEM, b"");
            transcript.add(wire::CREDENTIAL_ITEM, &plaintext[1..36]);
            transcript.add(wire::SIGNATURE_ITEM, &plaintext[36..100]);
            let confirm = hmac(&leak.secret("CONFIRM_I"), &transcript.hash());
            plaintext[100..132].copy_from_slice(&confirm);
            let sealed = leak.direction("HS_I", Aead::ChaCha).seal(&auth_i[..4], &plaintext);
            forwarded = [&auth_i[..4], &sealed].concat();
        }
        bob.feed(&forwarded);
        let expected = if confirms { Untrusted::Signature } else { Untrusted::Confirmation };
        assert_eq!(error(&bob), &Error::Untrusted(expected));
        assert!(bob.asked.is_empty() && !bob.is_complete());
    }
}

/// Items 1 to 8 of the transcript, with what Bob has sent.
fn up_to_auth_i(hello: &[u8], flight: &[u8], leak: &Leak) -> Transcript {
    let flight = frames(flight);
    let auth_r = leak.direction("HS_R", Aead::ChaCha).open(&flight[1]).expect("the keys have leaked");
    let mut transcript = Transcript::new(b"");
    transcript.add(wire::FRAME_ITEM, hello);
    transcript.add(wire::FRAME_ITEM, &flight[0]);
    transcript.add(wire::HEADER_ITEM, &flight[1][..4]);
    transcript.add(wire::CREDENTIAL_ITEM, &auth_r[..35]);
    transcript.add(wire::SIGNATURE_ITEM, &auth_r[35..99]);
    transcript.add(wire::SEALED_ITEM, &flight[1][4..]);
    transcript
}

/// AUTH_I of somebody who has the keys, for a service that is empty.
fn auth_i_by(who: u8, transcript: &mut Transcript, leak: &Leak, head: &[u8]) -> Vec<u8> {
    transcript.add(wire::HEADER_ITEM, head);
    transcript.add(wire::SERVICE_ITEM, b"");
    let plaintext = prove(who, INITIATOR, &[0], transcript, &leak.secret("CONFIRM_I"));
    [head, &leak.direction("HS_I", Aead::ChaCha).seal(head, &plaintext)].concat()
}

/// Credential, signature and confirmation behind `before`.
fn prove(who: u8, role: &str, before: &[u8], transcript: &mut Transcript, confirm_key: &[u8; 32]) -> Vec<u8> {
    let key = Key::of(who);
    let block = [&[1, 0, 32], &key.public()[..]].concat();
    transcript.add(wire::CREDENTIAL_ITEM, &block);
    let signature = key.sign(&signature_input(role, &transcript.hash()));
    transcript.add(wire::SIGNATURE_ITEM, &signature);
    let confirm = hmac(confirm_key, &transcript.hash());
    [before, &block, &signature, &confirm].concat()
}

/// Key-compromise impersonation of a responder (Blake-Wilson, Johnson, Menezes 1997): whoever has stolen Alice's key
/// can play Alice, but can't play Bob to her: not with signatures of hers in either role, nor with one that Bob has
/// made before. [HS-14] [ID-3]
#[test]
fn key_compromise_impersonation_of_the_responder() {
    key_compromise(RESPONDER);
}

/// The same of an initiator: with Bob's key nobody plays Alice to him. [HS-20]
#[test]
fn key_compromise_impersonation_of_the_initiator() {
    key_compromise(INITIATOR);
}

/// The thief has the private key of the honest side, and claims to be the peer that it trusts.
fn key_compromise(evil: &'static str) {
    fn shows_the_trusted_key(auth: &mut wire::Auth) {
        auth.credential = Key::of(TRUSTED).public().to_vec();
    }
    let thief = Script { party: |party| party.be(HONEST), auth: shows_the_trusted_key, ..FAITHFUL };
    let scripts = [
        thief,
        Script {
            party: |party| {
                party.be(HONEST);
                party.signs_as = other(party.signs_as);
            },
            ..thief
        },
        Script { signature: |_| recorded_signature(TRUSTED, HONEST, INITIATOR, CONTEXT), ..thief },
        Script { signature: |_| recorded_signature(TRUSTED, HONEST, RESPONDER, CONTEXT), ..thief },
        Script { signature: |_| recorded_signature(HONEST, TRUSTED, INITIATOR, CONTEXT), ..thief },
        Script { signature: |_| recorded_signature(HONEST, TRUSTED, RESPONDER, CONTEXT), ..thief },
    ];
    for (number, script) in scripts.iter().enumerate() {
        let (_, victim) = duel(script, evil, ORDINARY);
        assert_eq!(untrusted(&victim), &Untrusted::Signature, "script {number}");
        assert!(!victim.complete && victim.asked == 0);
    }
    // As itself it is no peer either.
    let script = Script { party: |party| party.be(HONEST), anyone: true, ..FAITHFUL };
    let (_, victim) = duel(&script, evil, ORDINARY);
    let own_key = match &victim.failure.as_ref().expect("a failure").error {
        Error::Untrusted(Untrusted::OwnKey) => evil == RESPONDER,
        Error::Denied(refusal) => evil == INITIATOR && refusal.reason == Reason::OwnIdentity,
        _ => false,
    };
    assert!(own_key && !victim.complete);
}

/// Duplicate-signature key selection (Blake-Wilson, Menezes 1999; Jackson et al., "Seems Legit", 2019): nobody makes
/// a key under which the signature of somebody else verifies: keys of small order are none, and neither is the key
/// with a point of small order added. [ID-2] [HS-19]
#[test]
fn a_signature_belongs_to_one_key() {
    let (alice, mut transcript) = (identity(ALICE), TheirTranscript::new(b"").expect("short"));
    let mixed = plus_torsion(*alice.public_key().as_bytes());
    let mixed = countersign::PublicKey::from_bytes(&mixed).expect("of large order");
    for n in 0..64_u8 {
        transcript.add(Item::Service, &[&[n]]).expect("short");
        let input = transcript.signature_input(Role::Initiator);
        let signature = alice.sign(&input).expect("signed");
        assert!(alice.public_key().verify(&input, &signature).is_ok());
        assert!(mixed.verify(&input, &signature).is_err());
        // Both halves are taken in one encoding only.
        let doubled = evil::signing::plus_order(signature);
        assert!(alice.public_key().verify(&input, &doubled).is_err(), "S + L");
        let key = Key::of(ALICE);
        let tricks: [fn(&ToSign) -> [u8; 64]; 2] = [evil::signing::with_small_r, evil::signing::with_mixed_r];
        for trick in tricks {
            let to_sign = ToSign { key: key.clone(), input: input.as_bytes().to_vec() };
            assert!(alice.public_key().verify(&input, &trick(&to_sign)).is_err(), "a second signature");
        }
    }
    let mut neutral = [0; 32];
    neutral[0] = 1;
    assert!(countersign::PublicKey::from_bytes(&neutral).is_err(), "it verifies everything");
}

// -------------------------------------------------------------------------------------------- the same bytes once more

/// Reflection: everything that a side has sent comes back to it, as it is and under the type that it waits for. [HS-9]
#[test]
fn reflection() {
    let types = [wire::HELLO, wire::HELLO_REPLY, wire::AUTH_R, wire::AUTH_I, wire::RECORD];
    for kind in types {
        let (mut alice, mut bob) = alice_and_bob(10);
        let hello = alice.take_output();
        bob.feed(&hello);
        let flight = bob.take_output();
        let again = |end: &mut End, frame: &[u8]| {
            let mut frame = frame.to_vec();
            frame[0] = kind;
            end.feed(&frame);
            assert!(end.failure.is_some() && !end.is_complete() && end.asked.is_empty(), "{kind:#x}");
        };
        // Bob waits for AUTH_I, and hears himself.
        again(&mut bob, &frames(&flight)[1]);
        // Alice waits for HELLO_REPLY, and for the VERDICT later.
        let (mut later, _) = alice_and_bob(10);
        assert_eq!(later.take_output(), hello);
        again(&mut alice, &hello);
        later.feed(&flight);
        let mut auth_i = later.take_output();
        auth_i[0] = kind;
        later.feed(&auth_i);
        assert!(later.failure.is_some() && !later.is_complete(), "{kind:#x}");
    }
    // Records, both ways.
    let session = honest(&config(ALICE, BOB), &config(BOB, ALICE), 11);
    for mut own in [session.initiator, session.responder] {
        let mut wire = BytesMut::new();
        own.sealer.seal_data([b"mine".as_slice()].into_iter(), &mut wire).expect("sealed");
        assert_eq!(deliver(&mut own.opener, &wire), (vec![], Err(Error::Tampered(Sealed::Record))));
    }
}

/// Selfie (Drucker, Gueron 2019, eprint 2019/347): Alice is initiator and responder at once, and somebody on the path
/// connects her with herself. A network key, which she shares with herself, does not help him. [ID-3]
#[test]
fn selfie() {
    let network = || NetworkKey::take(&mut [9; 32]).expect("a key");
    for own in [trusting_all(ALICE), config(ALICE, ALICE), trusting_all(ALICE).network_key(network())] {
        let mut rng = seeded_quietly(12);
        let mut calling = End::initiator(&own, Target::default(), &mut rng);
        let mut called = End::responder(&own, &mut rng);
        run(&mut calling, &mut called);
        assert_eq!(error(&calling), &Error::Untrusted(Untrusted::OwnKey));
        assert!(!called.is_complete() && called.asked.is_empty());
    }
}

/// Replay: every message of one session in the place of the same one in another between the same two, alone and
/// together with all before it; and every record. [HS-1] [HS-11] [HS-16] [RE-1]
#[test]
fn replay_of_every_message() {
    let old = honest(&config(ALICE, BOB), &config(BOB, ALICE), 13);
    let mut answers = BTreeSet::new();
    for seed in 20..28 {
        let (mut alice, mut bob) = alice_and_bob(seed);
        alice.take_output();
        // The whole of Alice's side.
        bob.feed(&old.flights[0]);
        assert!(answers.insert(bob.take_output()[8..72].to_vec()), "the same nonce and share twice");
        bob.feed(&old.flights[2]);
        assert_eq!(error(&bob), &Error::Tampered(Sealed::AuthI));
        // The whole of Bob's.
        alice.feed(&old.flights[1]);
        assert_eq!(error(&alice), &Error::Tampered(Sealed::AuthR));
        // Each message alone.
        let (mut alice, mut bob) = alice_and_bob(seed);
        bob.feed(&alice.take_output());
        let flight = frames(&bob.take_output());
        alice.feed(&[&flight[0][..], &frames(&old.flights[1])[1]].concat());
        assert_eq!(error(&alice), &Error::Tampered(Sealed::AuthR));
        bob.feed(&old.flights[2]);
        assert_eq!(error(&bob), &Error::Tampered(Sealed::AuthI));
        let (mut alice, mut bob) = alice_and_bob(seed);
        bob.feed(&alice.take_output());
        alice.feed(&bob.take_output());
        alice.feed(&old.flights[3]);
        assert_eq!(error(&alice), &Error::Tampered(Sealed::Record));
    }
    // Records: of the same session, and of the old one.
    let mut fresh = honest(&config(ALICE, BOB), &config(BOB, ALICE), 14);
    let (mut one, mut other) = (BytesMut::new(), BytesMut::new());
    fresh.initiator.sealer.seal_data([b"pay".as_slice()].into_iter(), &mut one).expect("sealed");
    let mut old_sealer = old.initiator.sealer;
    old_sealer.seal_data([b"pay".as_slice()].into_iter(), &mut other).expect("sealed");
    let twice = [&one[..], &one].concat();
    let no = Err(Error::Tampered(Sealed::Record));
    assert_eq!(deliver(&mut fresh.responder.opener, &twice), (vec![b"pay".to_vec()], no.clone()));
    let mut fresh = honest(&config(ALICE, BOB), &config(BOB, ALICE), 14);
    assert_eq!(deliver(&mut fresh.responder.opener, &other), (vec![], no));
}

/// Cut and paste: a record of one session, direction or place does not open in any other. [RE-1]
#[test]
fn cut_and_paste_of_records() {
    let open = || (0..3).map(|seed| honest(&config(ALICE, BOB), &config(BOB, ALICE), 30 + seed));
    let mut records = Vec::new();
    for (number, mut session) in open().enumerate() {
        for (side, sealer) in [&mut session.initiator.sealer, &mut session.responder.sealer].into_iter().enumerate() {
            for place in 0..3 {
                let mut wire = BytesMut::new();
                sealer.seal_data([b"text".as_slice()].into_iter(), &mut wire).expect("sealed");
                records.push(((number, side, place), wire));
            }
        }
    }
    for ((number, side, place), record) in &records {
        for (to, session) in open().enumerate() {
            for (direction, mut opener) in [session.responder.opener, session.initiator.opener].into_iter().enumerate()
            {
                let right = (to, direction, 0) == (*number, *side, *place);
                let (delivered, _) = deliver(&mut opener, record);
                assert_eq!(delivered.len(), usize::from(right), "{number} {side} {place} at {to} {direction}");
            }
        }
    }
}
