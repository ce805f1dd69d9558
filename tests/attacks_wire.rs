//! More attacks that have names: on what is agreed, on what a key signs elsewhere, and on what errors give away.
#![allow(missing_docs)]

#[path = "support/evil/mod.rs"]
mod evil;
mod support;

use std::collections::BTreeSet;

use countersign::config::Config;
use countersign::crypto::network::NetworkKey;
use countersign::crypto::suite::Suite;
use countersign::error::{Alert, Error, Reason, Refusal, Sealed, Untrusted};
use countersign::handshake::Target;
use evil::crypto::{Aead, hmac};
use evil::duel::{ORDINARY, duel};
use evil::foreign;
use evil::keys::{INITIATOR, RESPONDER};
use evil::leak::Leak;
use evil::peer::Said;
use evil::script::{FAITHFUL, Script};
use evil::signing::{Key, ToSign, signature_input};
use evil::wire::{self, Hello, Share, frame};
use rand_core::Rng;
use support::{End, config, frames, peer_id, run, seeded, seeded_quietly, trusting_all};

const ALICE: u8 = 1;
const BOB: u8 = 2;

fn called(service: &str) -> Target {
    Target { peer: Some(peer_id(BOB)), service: service.into(), ..Target::default() }
}

fn error(end: &End) -> &Error {
    &end.failure.as_ref().expect("a failure").error
}

// --------------------------------------------------------------------------------------------------------- what is
// agreed

/// Downgrade (as in Logjam, FREAK, 2015): somebody on the path takes suites out of the offer, reorders it, takes the
/// post-quantum share away, or chooses for Bob. Whatever he makes of it, nobody completes. [TR-2] [HS-5] [HS-8]
#[test]
fn downgrade() {
    let suites = [2_u16, 4, 3, 1];
    let mut offers: BTreeSet<Vec<u16>> = BTreeSet::new();
    for mask in 1..15_usize {
        offers.insert((0..4).filter(|n| mask >> n & 1 == 1).map(|n| suites[n]).collect());
    }
    offers.extend([
        vec![1, 3, 2, 4],
        vec![3, 1, 4, 2],
        vec![4, 2, 3, 1],
        vec![2, 4, 3, 1, 0x7777],
        vec![0x7777, 2, 4, 3, 1],
    ]);
    assert_eq!(offers.len(), 19);
    let order = suites.map(|code| Suite::from_code(code).expect("a suite"));
    for (number, offer) in offers.into_iter().enumerate() {
        for drops_share in [false, true] {
            let mut rng = seeded_quietly(number as u64);
            let mut alice = End::initiator(&config(ALICE, BOB).suites(order), called(""), &mut rng);
            let mut bob = End::responder(&config(BOB, ALICE), &mut rng);
            let mut hello = Hello::decode(&alice.take_output()[4..]);
            hello.suites.clone_from(&offer);
            if drops_share {
                hello.shares.truncate(1);
            }
            bob.feed(&frame(wire::HELLO, &hello.encode()));
            alice.feed(&bob.take_output());
            bob.feed(&alice.take_output());
            alice.feed(&bob.take_output());
            assert!(alice.failure.is_some() && !alice.is_complete(), "{offer:04x?}");
            assert!(!bob.is_complete() && bob.asked.is_empty(), "{offer:04x?}");
            // What Bob signed was another offer, and he tells nobody apart by it.
            if bob.failure.is_none() {
                assert_eq!(error(&alice), &Error::Tampered(Sealed::AuthR), "{offer:04x?}");
            }
        }
    }
    // The choice, of the same length.
    let mut rng = seeded(40);
    let mut alice = End::initiator(&config(ALICE, BOB).suites(order), called(""), &mut rng);
    let mut bob = End::responder(&config(BOB, ALICE), &mut rng);
    bob.feed(&alice.take_output());
    let mut flight = bob.take_output();
    flight[7] ^= 2 ^ 4;
    alice.feed(&flight);
    assert_eq!(error(&alice), &Error::Tampered(Sealed::AuthR));
}

/// Version rollback: another version in HELLO is refused, and so is one in HELLO_REPLY; there is nothing to fall back
/// to. [HS-2] [HS-7]
#[test]
fn version_rollback() {
    for version in [0_u8, 2, 0xFF] {
        let mut rng = seeded_quietly(41);
        let mut alice = End::initiator(&config(ALICE, BOB), called(""), &mut rng);
        let mut bob = End::responder(&config(BOB, ALICE), &mut rng);
        let mut hello = alice.take_output();
        let right = hello.clone();
        hello[5] = version;
        bob.feed(&hello);
        assert_eq!(error(&bob), &Error::UnsupportedVersion(version.into()));
        let mut bob = End::responder(&config(BOB, ALICE), &mut rng);
        bob.feed(&right);
        let mut flight = bob.take_output();
        flight[5] = version;
        alice.feed(&flight);
        assert_eq!(error(&alice), &Error::UnsupportedVersion(version.into()));
    }
}

/// Cross-context: two applications that use the same keys. A handshake between them completes with no context that
/// differs, however little, and Alice shows nobody of the other application who she is. [TR-2]
#[test]
fn cross_context() {
    let contexts: [&[u8]; 7] = [b"", b"a", b"aa", b"b", b"a\0", b"\0a", &[b'a'; 255]];
    for (n, of_alice) in contexts.iter().enumerate() {
        for (m, of_bob) in contexts.iter().enumerate() {
            let mut rng = seeded_quietly(42);
            let mut alice = End::initiator(&config(ALICE, BOB).context(of_alice), called(""), &mut rng);
            let mut bob = End::responder(&config(BOB, ALICE).context(of_bob), &mut rng);
            run(&mut alice, &mut bob);
            assert_eq!((alice.is_complete(), bob.is_complete()), (n == m, n == m), "{n} {m}");
            if n != m {
                assert_eq!(error(&alice), &Error::Tampered(Sealed::AuthR));
                assert!(alice.asked.is_empty() && bob.asked.is_empty());
            }
        }
    }
    // Nor does a service make up for it: the two stand apart in the transcript.
    for (context, service) in [("ab", "c"), ("a", "bc"), ("abc", "")] {
        let mut rng = seeded_quietly(43);
        let mut alice = End::initiator(&config(ALICE, BOB).context(context), called(service), &mut rng);
        let mut bob = End::responder(&config(BOB, ALICE).context("abc"), &mut rng);
        run(&mut alice, &mut bob);
        assert_eq!(bob.is_complete(), context == "abc");
    }
}

/// Cross-service: what Alice asks of one service can't be turned to another, not even by who has learnt the keys of
/// the handshake. [HS-18] [HS-20] [HS-26]
#[test]
fn cross_service() {
    for confirms in [false, true] {
        let leak = Leak::default();
        let mut rng = seeded_quietly(44);
        let of = |own| support::short(trusting_all(own)).dangerous_key_log(leak.clone());
        let mut alice = End::initiator(&of(ALICE), called("read"), &mut rng);
        let mut bob = End::responder(&of(BOB).services(["read", "kill"]), &mut rng);
        let hello = alice.take_output();
        bob.feed(&hello);
        let flight = bob.take_output();
        alice.feed(&flight);
        let auth_i = alice.take_output();
        let mut plaintext = leak.direction("HS_I", Aead::ChaCha).open(&auth_i).expect("the keys have leaked");
        assert_eq!(&plaintext[..5], b"\x04read");
        plaintext[1..5].copy_from_slice(b"kill");
        if confirms {
            let flight = frames(&flight);
            let auth_r = leak.direction("HS_R", Aead::ChaCha).open(&flight[1]).expect("the keys have leaked");
            let mut transcript = wire::Transcript::new(b"");
            transcript.add(wire::FRAME_ITEM, &hello);
            transcript.add(wire::FRAME_ITEM, &flight[0]);
            transcript.add(wire::HEADER_ITEM, &flight[1][..4]);
            transcript.add(wire::CREDENTIAL_ITEM, &auth_r[..35]);
            transcript.add(wire::SIGNATURE_ITEM, &auth_r[35..99]);
            transcript.add(wire::SEALED_ITEM, &flight[1][4..]);
            transcript.add(wire::HEADER_ITEM, &auth_i[..4]);
            transcript.add(wire::SERVICE_ITEM, b"kill");
            transcript.add(wire::CREDENTIAL_ITEM, &plaintext[5..40]);
            transcript.add(wire::SIGNATURE_ITEM, &plaintext[40..104]);
            plaintext[104..136].copy_from_slice(&hmac(&leak.secret("CONFIRM_I"), &transcript.hash()));
        }
        let sealed = leak.direction("HS_I", Aead::ChaCha).seal(&auth_i[..4], &plaintext);
        bob.feed(&[&auth_i[..4], &sealed].concat());
        let expected = if confirms { Untrusted::Signature } else { Untrusted::Confirmation };
        assert_eq!(error(&bob), &Error::Untrusted(expected));
        assert!(bob.asked.is_empty() && !bob.is_complete());
    }
    // Two services of the same key: Bob's, which serves what it is asked for, and another, which does not.
    for (service, served) in [("read", true), ("kill", false), ("rea", false), ("READ", false), ("", false)] {
        let mut rng = seeded_quietly(45);
        let mut alice = End::initiator(&config(ALICE, BOB), called(service), &mut rng);
        let mut bob = End::responder(&config(BOB, ALICE).services(["read"]), &mut rng);
        run(&mut alice, &mut bob);
        assert_eq!((alice.is_complete(), bob.is_complete()), (served, served), "{service}");
        if served {
            assert_eq!(alice.session.expect("alice").info.service, bob.session.expect("bob").info.service);
        } else {
            assert_eq!(error(&bob), &Error::Denied(Refusal::new(Reason::ServiceUnavailable, "")));
        }
    }
}

/// Two networks with the same keys are apart, and somebody outside learns nothing of either. [NK-1] [NK-3]
#[test]
fn cross_network() {
    let keyed = |config: Config, key: Option<u8>| match key {
        Some(key) => config.network_key(NetworkKey::take(&mut [key; 32]).expect("a key")),
        None => config,
    };
    for (of_alice, of_bob) in [(None, Some(1)), (Some(1), None), (Some(1), Some(2)), (Some(1), Some(1)), (None, None)] {
        let mut rng = seeded_quietly(46);
        let mut alice = End::initiator(&keyed(config(ALICE, BOB), of_alice), called(""), &mut rng);
        let mut bob = End::responder(&keyed(config(BOB, ALICE), of_bob), &mut rng);
        bob.feed(&alice.take_output());
        let said = bob.take_output();
        match (of_alice, of_bob) {
            (a, b) if a == b => assert_eq!(said[0], wire::HELLO_REPLY),
            (_, Some(_)) => assert!(said.is_empty(), "not silent"),
            _ => assert_eq!(said, frame(wire::ALERT, &[12])),
        }
    }
}

// ------------------------------------------------------------------------------------------------- what a key signs
// elsewhere

/// Cross-protocol signatures: a key that also signs SSH sessions and files, TLS 1.3 handshakes, tokens and
/// certificates, all of them with content of the attacker's choice, never signs what this protocol would take, in
/// either role. [TR-1]
#[test]
fn cross_protocol_signatures() {
    // The attacker wants just this input signed, and puts it wherever he may.
    type Sign = fn(&ToSign) -> [u8; 64];
    let signatures: [Sign; 9] = [
        foreign_signature::<0>,
        foreign_signature::<1>,
        foreign_signature::<2>,
        foreign_signature::<3>,
        foreign_signature::<4>,
        foreign_signature::<5>,
        foreign_signature::<6>,
        foreign_signature::<7>,
        foreign_signature::<8>,
    ];
    assert_eq!(signatures.len(), foreign::all(&[0; 130], &[0; 32]).len());
    for (number, signature) in signatures.into_iter().enumerate() {
        let script = Script { signature, ..FAITHFUL };
        for evil in [INITIATOR, RESPONDER] {
            let (_, victim) = duel(&script, evil, ORDINARY);
            let error = victim.failure.expect("a failure").error;
            assert_eq!(error, Error::Untrusted(Untrusted::Signature), "input {number} by the {evil}");
        }
    }
    // And as bytes: whatever is chosen, nothing of theirs is an input of ours, and no input of ours is one of theirs.
    let mut rng = seeded(47);
    for _ in 0..200 {
        let mut hash = [0; 32];
        rng.fill_bytes(&mut hash);
        for role in [INITIATOR, RESPONDER] {
            let ours = signature_input(role, &hash);
            for (name, theirs) in foreign::all(&ours, &Key::of(ALICE).public()) {
                assert!(theirs != ours && !theirs.starts_with(&ours[..98]), "{name}");
            }
            assert!(!ours.starts_with(b"SSHSIG") && !ours.starts_with(b"eyJ") && ours[0] != 0x30);
            // As SSH it would begin with a string of 0x20202020 bytes.
            assert!(u32::from_be_bytes(ours[..4].try_into().expect("4 bytes")) as usize > ours.len());
            for side in ["server", "client"] {
                let tls = foreign::tls(side, &hash);
                assert_eq!((tls.len(), &tls[..64]), (ours.len(), &ours[..64]), "the most alike of all");
                assert_ne!(tls[64..98], ours[64..98]);
            }
        }
    }
}

fn foreign_signature<const N: usize>(to_sign: &ToSign) -> [u8; 64] {
    to_sign.key.sign(&foreign::all(&to_sign.input, &to_sign.key.public())[N].1)
}

/// The same with OpenSSH itself: `ssh-keygen -Y sign` over our input does not make a signature of ours, and a
/// signature of ours is none of its files. [TR-1]
#[cfg(all(feature = "std", unix))]
#[test]
fn cross_protocol_signatures_by_openssh() {
    use std::process::{Command, Stdio};

    use countersign::role::Role;
    use countersign::transcript::{Item, Transcript};

    let folder = tempfile::TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let alice = support::identity(ALICE);
    alice.save(path("key"), None).expect("saved");
    let mut transcript = Transcript::new(b"").expect("short");
    transcript.add(Item::Service, &[b"x"]).expect("short");
    let input = transcript.signature_input(Role::Initiator);
    std::fs::write(path("input"), input.as_bytes()).expect("written");
    std::fs::write(path("trusted"), format!("alice {}\n", alice.public_key())).expect("written");
    // The namespace too is chosen to look like ours.
    let namespace = "countersign/1 initiator signature";
    let signed = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", namespace, "-f"])
        .arg(path("key"))
        .arg(path("input"))
        .output()
        .expect("OpenSSH");
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    let armoured = std::fs::read_to_string(path("input.sig")).expect("a signature");
    let sshsig = foreign::unarmour(&armoured);
    let theirs: [u8; 64] = *sshsig.last_chunk().expect("a signature");
    assert!(alice.public_key().verify(&input, &theirs).is_err());
    // It is the input that we believe it to be.
    assert_eq!(theirs, Key::of(ALICE).sign(&foreign::sshsig(namespace.as_bytes(), input.as_bytes())));

    let verifies = |signature: &[u8]| {
        std::fs::write(path("probe.sig"), foreign::armour(signature)).expect("written");
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-Y", "verify", "-I", "alice", "-n", namespace, "-f"]).arg(path("trusted"));
        command.arg("-s").arg(path("probe.sig"));
        command
            .stdin(std::fs::File::open(path("input")).expect("the input"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().expect("OpenSSH").success()
    };
    assert!(verifies(&sshsig), "a signature of its own is good");
    let ours = alice.sign(&input).expect("signed");
    let mut forged = sshsig.clone();
    let at = forged.len() - 64;
    forged[at..].copy_from_slice(&ours);
    assert!(!verifies(&forged), "a signature of ours is a signature of a file");
}

// --------------------------------------------------------------------------------------------------- what errors
// give away

/// A reaction attack on the key encapsulation (Bleichenbacher 1998; Fluhrer 2016 for lattices): any wrong ciphertext
/// is told from a wrong confirmation by nothing: the same alert, and nothing else. [HS-10] [HS-13]
#[test]
fn decapsulation_oracle() {
    let hybrid = Script { party: |party| party.suite = 2, ..FAITHFUL };
    let scripts = [
        Script { reply: |reply, _| reply.mlkem[0] ^= 1, ..hybrid },
        Script { reply: |reply, _| reply.mlkem[500] ^= 0x10, ..hybrid },
        Script { reply: |reply, _| reply.mlkem[1_087] ^= 0x80, ..hybrid },
        Script { reply: |reply, _| reply.mlkem.fill(0), ..hybrid },
        Script { confirm: |_| [0; 32], ..hybrid },
        Script { party: |party| (party.suite, party.forgets_mlkem) = (2, true), ..FAITHFUL },
    ];
    for (number, script) in scripts.iter().enumerate() {
        let (peer, victim) = duel(script, RESPONDER, ORDINARY);
        let error = victim.failure.expect("a failure").error;
        assert_eq!(error.alert(), Some(Alert::BadRecord), "script {number}");
        assert_eq!(peer.said[1..], [Said::Alert(6)], "script {number}");
    }
}

/// Small subgroups and invalid points (Lim, Lee 1997): no share of small order leads anywhere, alone or beside a good
/// ML-KEM share, also not one that has a point of small order added to a good one: it is another share, and both
/// sides see it. [HS-6] [HS-10]
#[test]
fn small_subgroups() {
    for (point, hex) in evil::crypto::SMALL_ORDER_SHARES {
        for top in [0, 0x80] {
            let mut data = support::unhex(hex);
            data[31] |= top;
            for suites in [&[1_u16][..], &[2, 1]] {
                let mut rng = seeded_quietly(53);
                let mut alice = End::initiator(&config(ALICE, BOB), called(""), &mut rng);
                let mut bob = End::responder(&config(BOB, ALICE), &mut rng);
                let mut hello = Hello::decode(&alice.take_output()[4..]);
                hello.suites = suites.to_vec();
                hello.shares[0] = Share { kind: 1, len: None, data: data.clone() };
                bob.feed(&frame(wire::HELLO, &hello.encode()));
                assert_eq!(error(&bob), &Error::Untrusted(Untrusted::ZeroSecret), "{point}");
                assert_eq!(bob.take_output(), frame(wire::ALERT, &[5]), "{point}");
            }
        }
    }
}
