//! What AUTH_R and AUTH_I have in common: credential, signature, confirmation, padding, seal. In both roles.

use countersign::error::{Error, Malformed, Sealed, Untrusted};
use countersign::role::Stage;

use super::Hears::Alert as Told;
use super::{Against, Misbehaviour, Rows, field, frame_len, short, untrusted};
use crate::evil::Peer;
use crate::evil::crypto::{Aead, hmac};
use crate::evil::script::{FAITHFUL, STRANGER, Script, other};
use crate::evil::signing::{Key, plus_order, plus_torsion, under_mixed_key, with_mixed_r, with_small_r};
use crate::evil::wire::Transcript;
use crate::support::unhex;

/// Rows whose names end with the message.
struct Auth {
    t: Rows,
    message: &'static str,
}

impl Auth {
    fn add(&mut self, name: &str, about: &str, script: Script, error: Error, alert: u8) {
        let message = self.message;
        let side = if message == "AUTH_R" { "_r" } else { "_i" };
        let about = about
            .split(',')
            .map(|about| match about {
                ".signature" | ".confirm" => format!("{message}{about}{side}"),
                _ => format!("{message}{about}"),
            })
            .collect::<Vec<_>>()
            .join(",");
        self.t.add(format!("{name} ({message})"), about, script, error, Told(alert));
    }

    /// The same edit of the flight that AUTH is the last frame of.
    fn on_wire(&self, edit: fn(&mut Peer, &mut Vec<Vec<u8>>)) -> Script {
        match self.t.against {
            Against::Initiator => Script { first: edit, ..FAITHFUL },
            _ => Script { second: edit, ..FAITHFUL },
        }
    }
}

pub fn rows(against: Against) -> Vec<Misbehaviour> {
    let (message, stage) = match against {
        Against::Initiator => ("AUTH_R", Stage::AuthR),
        _ => ("AUTH_I", Stage::AuthI),
    };
    let mut t = Auth { t: Rows::new(against, stage), message };
    credentials(&mut t);
    weak_keys(&mut t);
    signatures(&mut t);
    signed_without(&mut t);
    confirmations(&mut t);
    padding(&mut t);
    seals(&mut t);
    t.t.rows
}

/// [ID-1]
fn credentials(t: &mut Auth) {
    let script = Script { auth: |auth| auth.kind = 0, ..FAITHFUL };
    t.add("a credential of kind 0", ".credential_kind", script, field("credential_kind"), 1);
    let script = Script { auth: |auth| auth.kind = 3, ..FAITHFUL };
    t.add("a credential of kind 3", ".credential_kind", script, field("credential_kind"), 1);
    // Where there are certificates, a raw key is none.
    let script = Script { auth: |auth| auth.kind = 2, ..FAITHFUL };
    let what = if cfg!(feature = "x509") { "credential_data" } else { "credential_kind" };
    t.add("a raw key for a certificate", ".credential_kind", script, field(what), 1);
    let script = Script { auth: |auth| auth.len = Some(0), ..FAITHFUL };
    t.add("a credential length of 0", ".credential_len", script, field("credential_len"), 1);
    let script = Script { auth: |auth| auth.len = Some(16_385), ..FAITHFUL };
    t.add("a credential length of 16,385", ".credential_len", script, field("credential_len"), 1);
    let script = Script { auth: |auth| auth.len = Some(16_384), ..FAITHFUL };
    t.add("a credential length beyond the message", ".credential_len", script, short("credential_data"), 1);
    let script = Script { auth: |auth| auth.credential.truncate(31), ..FAITHFUL };
    t.add("a key of 31 bytes", ".credential_data", script, field("credential_data"), 1);
    let script = Script { auth: |auth| auth.credential.push(0), ..FAITHFUL };
    t.add("a key of 33 bytes", ".credential_data", script, field("credential_data"), 1);
    let script = Script { auth: |auth| auth.credential = vec![7; 16_384], ..FAITHFUL };
    t.add("a key of 16,384 bytes", ".credential_data", script, field("credential_data"), 1);
    // The signature starts a byte early, and the last byte of the confirmation is padding that is not zero.
    let script = Script { auth: |auth| auth.len = Some(31), ..FAITHFUL };
    t.add("a credential length short of the key", ".credential_len", script, padding_error(), 1);
}

/// [ID-2] They are refused before anything is verified with them.
fn weak_keys(t: &mut Auth) {
    let one = Script { auth: |auth| auth.credential = small(1, 0), ..FAITHFUL };
    let negative_one = Script { auth: |auth| auth.credential = small(1, 0x80), ..FAITHFUL };
    let zero = Script { auth: |auth| auth.credential = small(0, 0), ..FAITHFUL };
    let order_2 = Script { auth: |auth| auth.credential = high(0xEC), ..FAITHFUL };
    let p = Script { auth: |auth| auth.credential = high(0xED), ..FAITHFUL };
    let p_and_1 = Script { auth: |auth| auth.credential = high(0xEE), ..FAITHFUL };
    // p + 3 stands for 3, which is a point of large order.
    let p_and_3 = Script { auth: |auth| auth.credential = high(0xF0), ..FAITHFUL };
    let order_8 = Script {
        auth: |auth| {
            auth.credential = unhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05");
        },
        ..FAITHFUL
    };
    let other_order_8 = Script {
        auth: |auth| {
            auth.credential = unhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a");
        },
        ..FAITHFUL
    };
    // y = 2 has no x.
    let no_point = Script { auth: |auth| auth.credential = small(2, 0), ..FAITHFUL };
    let rows = [
        ("the neutral element as a key", one),
        ("the neutral element with a sign as a key", negative_one),
        ("a key of order 4", zero),
        ("a key of order 2", order_2),
        ("a key of order 8", order_8),
        ("the other key of order 8", other_order_8),
        ("a key that is p, for 0", p),
        ("a key that is p + 1, for 1", p_and_1),
        ("a key that is p + 3, for 3", p_and_3),
        ("a key that is not on the curve", no_point),
    ];
    for (name, script) in rows {
        t.add(name, ".credential_data", script, untrusted(Untrusted::WeakKey), 5);
    }
}

fn small(y: u8, sign: u8) -> Vec<u8> {
    let mut key = vec![0; 32];
    (key[0], key[31]) = (y, sign);
    key
}

fn high(low: u8) -> Vec<u8> {
    let mut key = vec![0xFF; 32];
    (key[0], key[31]) = (low, 0x7F);
    key
}

/// [HS-14] [HS-19] [HS-20] Each with a right confirmation.
fn signatures(t: &mut Auth) {
    let rows: [(&str, Script); 15] = [
        ("a signature of zeros", Script { signature: |_| [0; 64], ..FAITHFUL }),
        ("a signature whose R has a bit wrong", Script { signature: |s| flipped(s.key.sign(&s.input), 0), ..FAITHFUL }),
        (
            "a signature whose S has a bit wrong",
            Script { signature: |s| flipped(s.key.sign(&s.input), 32), ..FAITHFUL },
        ),
        (
            "a signature whose S is changed in its top bit",
            Script { signature: |s| flipped(s.key.sign(&s.input), 63), ..FAITHFUL },
        ),
        ("a signature with S + L", Script { signature: |s| plus_order(s.key.sign(&s.input)), ..FAITHFUL }),
        ("a signature with R of small order", Script { signature: with_small_r, ..FAITHFUL }),
        ("a signature that needs the cofactor, by R", Script { signature: with_mixed_r, ..FAITHFUL }),
        (
            "a signature that needs the cofactor, by the key",
            Script {
                signature: under_mixed_key,
                party: |party| party.credential = plus_torsion(party.key.public()).to_vec(),
                ..FAITHFUL
            },
        ),
        (
            "a signature over the other role",
            Script { party: |party| party.signs_as = other(party.signs_as), ..FAITHFUL },
        ),
        ("a signature over no role", Script { party: |party| party.signs_as = "", ..FAITHFUL }),
        (
            "the trusted key, signed for by a stranger",
            Script { signature: |s| Key::of(STRANGER).sign(&s.input), ..FAITHFUL },
        ),
        (
            "the honest side's own key, signed for by another",
            Script { auth: |auth| auth.credential = Key::of(1).public().to_vec(), ..FAITHFUL },
        ),
        ("a signature over the bare hash", Script { signature: |s| s.key.sign(&s.input[98..]), ..FAITHFUL }),
        ("a signature without the 64 spaces", Script { signature: |s| s.key.sign(&s.input[64..]), ..FAITHFUL }),
        (
            "a signature over one byte more",
            Script { signature: |s| s.key.sign(&[&s.input[..], &[0]].concat()), ..FAITHFUL },
        ),
    ];
    for (name, script) in rows {
        let about = if name.contains("key,") { ".signature,.credential_data" } else { ".signature" };
        t.add(name, about, script, untrusted(Untrusted::Signature), 5);
    }
}

fn flipped(mut signature: [u8; 64], at: usize) -> [u8; 64] {
    signature[at] ^= 0x80;
    signature
}

/// Leaves something out of a transcript.
type Leaves = fn(&mut Transcript);

/// [TR-1] [TR-2] A signature says nothing less than the whole transcript.
fn signed_without(t: &mut Auth) {
    let common: [(&str, Leaves); 4] = [
        ("the protocol", without::<0>),
        ("the context", without::<1>),
        ("HELLO", without::<2>),
        ("HELLO_REPLY", without::<3>),
    ];
    let of_r: [(&str, Leaves); 2] = [("its header", without::<4>), ("its credential", without::<5>)];
    let of_i: [(&str, Leaves); 7] = [
        ("AUTH_R's header", without::<4>),
        ("the responder's credential", without::<5>),
        ("the responder's signature", without::<6>),
        ("AUTH_R", without::<7>),
        ("its header", without::<8>),
        ("the service", without::<9>),
        ("its credential", without::<10>),
    ];
    let own = if t.t.against == Against::Initiator { &of_r[..] } else { &of_i[..] };
    for (what, signed) in common.iter().chain(own) {
        let script = Script { signed: *signed, ..FAITHFUL };
        t.add(&format!("a signature that leaves out {what}"), ".signature", script, untrusted(Untrusted::Signature), 5);
    }
    let script = Script { signed: |signed| signed.0[1].1 = b"another application".to_vec(), ..FAITHFUL };
    t.add("a signature for another context", ".signature", script, untrusted(Untrusted::Signature), 5);
    let script = Script { signed: |signed| signed.0[2].1[6] ^= 1, ..FAITHFUL };
    t.add("a signature over another nonce", ".signature", script, untrusted(Untrusted::Signature), 5);
}

fn without<const ITEM: usize>(transcript: &mut Transcript) {
    transcript.0.remove(ITEM);
}

/// [HS-13] [HS-18]
fn confirmations(t: &mut Auth) {
    let half = |confirming: crate::evil::script::Confirming<'_>| {
        let mut confirm = hmac(&confirming.keys[confirming.own], &confirming.transcript.hash());
        confirm[16..].fill(0);
        confirm
    };
    let rows: [(&str, Script); 8] = [
        ("a confirmation of zeros", Script { confirm: |_| [0; 32], ..FAITHFUL }),
        ("a confirmation of which only half is right", Script { confirm: half, ..FAITHFUL }),
        (
            "a confirmation whose last bit is wrong",
            Script {
                confirm: |c| {
                    let mut confirm = hmac(&c.keys[c.own], &c.transcript.hash());
                    confirm[31] ^= 1;
                    confirm
                },
                ..FAITHFUL
            },
        ),
        (
            "a confirmation with the other side's key",
            Script { confirm: |c| hmac(&c.keys[1 - c.own], &c.transcript.hash()), ..FAITHFUL },
        ),
        (
            "a confirmation that leaves out the signature",
            Script {
                confirm: |mut c| {
                    c.transcript.0.pop();
                    hmac(&c.keys[c.own], &c.transcript.hash())
                },
                ..FAITHFUL
            },
        ),
        ("neither signature nor confirmation", Script { signature: |_| [0; 64], confirm: |_| [0; 32], ..FAITHFUL }),
        (
            "a signature changed after it was confirmed",
            Script {
                plaintext: |plaintext| {
                    let at = plaintext.len() - 96;
                    plaintext[at] ^= 1;
                },
                ..FAITHFUL
            },
        ),
        (
            "a key exchanged after it was confirmed",
            Script {
                plaintext: |plaintext| {
                    let at = plaintext.len() - 128;
                    plaintext[at..at + 32].copy_from_slice(&Key::of(5).public());
                },
                ..FAITHFUL
            },
        ),
    ];
    for (name, script) in rows {
        t.add(name, ".confirm", script, untrusted(Untrusted::Confirmation), 6);
    }
}

fn padding_error() -> Error {
    Error::Malformed(Malformed::Padding)
}

/// [FR-6] [FR-8]
fn padding(t: &mut Auth) {
    let script = Script { auth: |auth| auth.padding = vec![1], ..FAITHFUL };
    t.add("a byte of padding that is not zero", ".padding, trailing", script, padding_error(), 1);
    let script = Script { auth: |auth| auth.padding = [vec![0; 500], vec![0x80]].concat(), ..FAITHFUL };
    t.add("padding whose last byte is not zero", ".padding", script, padding_error(), 1);
    let script = Script { auth: |auth| auth.padding = [vec![1], vec![0; 500]].concat(), ..FAITHFUL };
    t.add("padding whose first byte is not zero", ".padding", script, padding_error(), 1);
    let script = Script { plaintext: |plaintext| plaintext.truncate(plaintext.len() - 1), ..FAITHFUL };
    t.add("a proof that ends inside its confirmation", " truncated", script, short("confirm"), 1);
    // As long as the shortest proof there could be.
    let script = Script { plaintext: |plaintext| plaintext.truncate(101), ..FAITHFUL };
    let missing = if t.t.against == Against::Initiator { "confirm" } else { "signature" };
    t.add("a proof of 101 bytes", " truncated", script, short(missing), 1);
    let script = Script { auth: |auth| auth.padding = vec![0; 17_408], ..FAITHFUL };
    let len = 17_408 + 147 + if t.t.against == Against::Initiator { 0 } else { 5 };
    t.add("a proof padded beyond its limit", ".length, oversized", script, frame_len(t.message, len), 1);
    let script = Script { plaintext: |plaintext| plaintext.truncate(80), ..FAITHFUL };
    t.add("a proof too short for one", ".length", script, frame_len(t.message, 96), 1);
}

/// [HS-11] [HS-16]
fn seals(t: &mut Auth) {
    let what = if t.t.against == Against::Initiator { Sealed::AuthR } else { Sealed::AuthI };
    let script = Script { lock: |lock, keys| lock.direction = keys.directions[0].clone(), ..FAITHFUL };
    let other_way = Script { lock: |lock, keys| lock.direction = keys.directions[1].clone(), ..FAITHFUL };
    let rows: [(&str, &str, Script); 16] = [
        ("sealed with the other side's key", " altered", if what == Sealed::AuthR { script } else { other_way }),
        ("sealed under the next nonce", " altered", Script { lock: |lock, _| lock.direction.counter = 1, ..FAITHFUL }),
        ("sealed without its header", " altered", Script { lock: |lock, _| lock.ad.clear(), ..FAITHFUL }),
        (
            "sealed under the other message's header",
            " altered",
            Script { lock: |lock, _| lock.ad[0] ^= 0xC3 ^ 0xC4, ..FAITHFUL },
        ),
        ("sealed with the other AEAD", " altered", Script { party: |party| party.aead = Some(Aead::Aes), ..FAITHFUL }),
        (
            "a proof in another context",
            " altered",
            Script { party: |party| party.context = b"evil/2".to_vec(), ..FAITHFUL },
        ),
        ("a proof in no context", " altered", Script { party: |party| party.context.clear(), ..FAITHFUL }),
        ("a proof in a longer context", " altered", Script { party: |party| party.context.push(0), ..FAITHFUL }),
        (
            "a proof that leaves the ML-KEM secret out",
            " altered",
            Script {
                party: |party| {
                    (party.suites, party.suite) = (vec![2], 2);
                    party.forgets_mlkem = true;
                },
                ..FAITHFUL
            },
        ),
        ("a tag with a bit wrong", ".tag", t.on_wire(|_, frames| *last(frames).last_mut().expect("a tag") ^= 1)),
        ("a first byte with a bit wrong", " altered", t.on_wire(|_, frames| last(frames)[4] ^= 1)),
        (
            "a byte too many",
            ".length, trailing",
            t.on_wire(|_, frames| {
                last(frames).push(0);
                last(frames)[3] += 1;
            }),
        ),
        (
            "a byte too few",
            ".length",
            t.on_wire(|_, frames| {
                last(frames).pop();
                last(frames)[3] -= 1;
            }),
        ),
        ("a body of zeros", " altered", t.on_wire(|_, frames| last(frames)[4..].fill(0))),
        (
            "nothing but a tag of zeros at its end",
            ".tag",
            t.on_wire(|_, frames| last(frames).iter_mut().rev().take(16).for_each(|byte| *byte = 0)),
        ),
        (
            "a plaintext that is not sealed",
            " altered",
            t.on_wire(|peer, frames| {
                let keys = peer.handshake.clone().expect("agreed");
                let frame = last(frames).clone();
                let own = keys.directions.into_iter().find_map(|mut direction| direction.open(&frame));
                let plain = own.expect("ours");
                last(frames)[4..4 + plain.len()].copy_from_slice(&plain);
            }),
        ),
    ];
    for (name, about, script) in rows {
        t.add(name, about, script, Error::Tampered(what), 6);
    }
    let script = t.on_wire(|_, frames| last(frames).truncate(60));
    t.add("a proof cut on its way", " truncated", script, Error::Truncated, 0);
    t.t.rows.last_mut().expect("a row").hears = super::Hears::Nothing;
}

fn last(frames: &mut [Vec<u8>]) -> &mut Vec<u8> {
    frames.last_mut().expect("a frame")
}
