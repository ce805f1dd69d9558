//! HELLO_REPLY, at an initiator.

use countersign::crypto::suite::Suite;
use countersign::error::{Alert, Error, Foreign, Malformed, Sealed, Untrusted};
use countersign::role::Stage;

use super::Hears::{Alert as Told, Nothing};
use super::{Against, Misbehaviour, Rows, alerted, field, frame_len, unexpected, untrusted};
use crate::evil::crypto::SMALL_ORDER_SHARES;
use crate::evil::script::{FAITHFUL, Party, Script};
use crate::evil::wire::{self, Hello, Reply, frame, header};
use crate::support::unhex;

/// A responder that chooses the hybrid suite.
const HYBRID: Script = Script { party: hybrid, ..FAITHFUL };

fn hybrid(party: &mut Party) {
    party.suite = 2;
}

pub fn rows() -> Vec<Misbehaviour> {
    let mut t = Rows::new(Against::Initiator, Stage::HelloReply);
    fields(&mut t);
    small_shares(&mut t);
    frames(&mut t);
    t.stage = Stage::AuthR;
    ciphertexts(&mut t);
    splices(&mut t);
    t.rows
}

/// [HS-7] [HS-8] [HS-9]
fn fields(t: &mut Rows) {
    let script = Script { reply: |reply, _| reply.version = 2, ..FAITHFUL };
    t.add("a HELLO_REPLY of version 2", "HELLO_REPLY.version", script, Error::UnsupportedVersion(2), Told(3));
    let script = Script { reply: |reply, _| reply.version = 0, ..FAITHFUL };
    t.add("a HELLO_REPLY of version 0", "HELLO_REPLY.version", script, Error::UnsupportedVersion(0), Told(3));
    let script = Script { reply: |reply, _| reply.suite = 0x7777, ..FAITHFUL };
    t.add("a suite that nobody knows", "HELLO_REPLY.suite", script, field("suite"), Told(1));
    let script = Script { reply: |reply, _| reply.suite = 0, ..FAITHFUL };
    t.add("suite 0", "HELLO_REPLY.suite", script, field("suite"), Told(1));
    let script = Script { honest: |config| config.suites([Suite::X25519MlKem768Aes256GcmSha256]), ..FAITHFUL };
    t.add("a weaker suite than any that was offered", "HELLO_REPLY.suite", script, field("suite"), Told(1));
    let script = Script {
        honest: |config| config.suites([Suite::X25519ChaCha20Poly1305Sha256]),
        party: |party| party.suite = 3,
        ..FAITHFUL
    };
    t.add("the other AEAD than was offered", "HELLO_REPLY.suite", script, field("suite"), Told(1));
    let script = Script { reply: |reply, _| reply.suite = 2, ..FAITHFUL };
    t.add("a hybrid suite without its ciphertext", "HELLO_REPLY.suite", script, field("shares_r"), Told(1));
    let script = Script { reply: |reply, _| reply.suite = 1, ..HYBRID };
    t.add("a classical suite with a ciphertext", "HELLO_REPLY.suite", script, field("shares_r"), Told(1));
    let script = Script { reply: |reply, _| reply.trailing = vec![0], ..FAITHFUL };
    t.add("a HELLO_REPLY with a byte behind it", "HELLO_REPLY trailing", script, field("shares_r"), Told(1));
    let script = Script { reply: |reply, _| reply.x25519.truncate(31), ..FAITHFUL };
    t.add("a HELLO_REPLY that is a byte short", "HELLO_REPLY truncated", script, field("shares_r"), Told(1));
    let script = Script { reply: |reply, _| reply.mlkem.truncate(1_087), ..HYBRID };
    t.add("a ciphertext that is a byte short", "HELLO_REPLY.mlkem", script, field("shares_r"), Told(1));
    let script = Script { reply: |reply, _| reply.mlkem.push(0), ..HYBRID };
    t.add("a ciphertext with a byte too many", "HELLO_REPLY.mlkem", script, field("shares_r"), Told(1));
    let echo = || untrusted(Untrusted::Echo);
    let script = Script { reply: |reply, hello| reply.nonce = hello.nonce, ..FAITHFUL };
    t.add("the initiator's nonce sent back", "HELLO_REPLY.nonce_r", script, echo(), Told(5));
    let script = Script { reply: |reply, hello| reply.x25519 = hello.share(1).expect("one").to_vec(), ..FAITHFUL };
    t.add("the initiator's share sent back", "HELLO_REPLY.x25519", script, echo(), Told(5));
    let script = Script { reply: |reply, hello| reply.x25519 = hello.share(1).expect("one").to_vec(), ..HYBRID };
    t.add("the initiator's share sent back with a ciphertext", "HELLO_REPLY.x25519", script, echo(), Told(5));
}

fn small<const N: usize>(reply: &mut Reply, _: &Hello) {
    reply.x25519 = unhex(SMALL_ORDER_SHARES[N].1);
}

/// [HS-10]
fn small_shares(t: &mut Rows) {
    type Edit = fn(&mut Reply, &Hello);
    let edits: [Edit; 7] = [small::<0>, small::<1>, small::<2>, small::<3>, small::<4>, small::<5>, small::<6>];
    let error = || untrusted(Untrusted::ZeroSecret);
    for ((point, _), reply) in SMALL_ORDER_SHARES.into_iter().zip(edits) {
        let script = Script { reply, ..FAITHFUL };
        t.add(format!("a share of HELLO_REPLY is {point}"), "HELLO_REPLY.x25519", script, error(), Told(5));
    }
    let script = Script { reply: |reply, _| reply.x25519 = vec![0; 32], ..HYBRID };
    t.add("a share of HELLO_REPLY is 0 beside a good ciphertext", "HELLO_REPLY.x25519", script, error(), Told(5));
}

fn frames(t: &mut Rows) {
    let script = Script { first: |_, frames| frames.clear(), ..FAITHFUL };
    t.add("no answer to HELLO", "HELLO_REPLY missing", script, Error::Truncated, Nothing);
    let script = Script { first: |_, frames| drop(frames.remove(0)), ..FAITHFUL };
    t.add("AUTH_R without HELLO_REPLY", "AUTH_R early", script, unexpected("HELLO_REPLY", "AUTH_R"), Told(2));
    let script = Script { first: |_, frames| frames.swap(0, 1), ..FAITHFUL };
    t.add("AUTH_R before HELLO_REPLY", "AUTH_R early", script, unexpected("HELLO_REPLY", "AUTH_R"), Told(2));
    let script = Script { first: |peer, frames| frames[0] = peer.frames[0].clone(), ..FAITHFUL };
    t.add("HELLO sent back", "HELLO reflected", script, unexpected("HELLO_REPLY", "HELLO"), Told(2));
    // The nonce stands where the suite should.
    let script = Script {
        first: |peer, frames| {
            frames[0] = peer.frames[0].clone();
            frames[0][0] = wire::HELLO_REPLY;
        },
        ..FAITHFUL
    };
    t.add("HELLO sent back as HELLO_REPLY", "HELLO reflected", script, field("suite"), Told(1));
    let script = Script { first: |_, frames| frames[0][0] = wire::AUTH_I, ..FAITHFUL };
    t.add("HELLO_REPLY under the type of AUTH_I", "AUTH_I early", script, unexpected("HELLO_REPLY", "AUTH_I"), Told(2));
    let script = Script { first: |_, frames| frames[0] = frame(wire::RECORD, &[4; 18]), ..FAITHFUL };
    t.add(
        "a VERDICT for HELLO_REPLY",
        "VERDICT early,RECORD early",
        script,
        unexpected("HELLO_REPLY", "RECORD"),
        Told(2),
    );
    let script = Script { first: |_, frames| frames[0] = frame(wire::ALERT, &[4]), ..FAITHFUL };
    t.add("an ALERT for HELLO_REPLY", "ALERT early", script, alerted(Alert::NoCommonSuite, false, ""), Nothing);
    let script = Script { first: |_, frames| frames[0] = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), ..FAITHFUL };
    let error = Error::Malformed(Malformed::Foreign(Foreign::Http));
    t.add("HTTP for HELLO_REPLY", "HELLO_REPLY.type", script, error, Told(1));
    let script = Script { first: |_, frames| frames[0] = b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), ..FAITHFUL };
    let error = Error::Malformed(Malformed::Foreign(Foreign::Ssh));
    t.add("SSH for HELLO_REPLY", "HELLO_REPLY.type", script, error, Told(1));
    let script =
        Script { first: |_, frames| frames[0][..4].copy_from_slice(&header(wire::HELLO_REPLY, 36)), ..FAITHFUL };
    t.add("a HELLO_REPLY of 36 bytes", "HELLO_REPLY.length", script, frame_len("HELLO_REPLY", 36), Told(1));
    let script = Script { body: |body| body.resize(2_049, 0), ..FAITHFUL };
    let about = "HELLO_REPLY.length,HELLO_REPLY oversized";
    t.add("a HELLO_REPLY of 2,049 bytes", about, script, frame_len("HELLO_REPLY", 2_049), Told(1));
    let script = Script {
        first: |_, frames| {
            frames.pop();
            frames[0].truncate(50);
        },
        ..FAITHFUL
    };
    t.add("a HELLO_REPLY cut on its way", "HELLO_REPLY truncated", script, Error::Truncated, Nothing);
}

/// [HS-10] A wrong ciphertext is not told from a wrong confirmation: both are `bad_record`.
fn ciphertexts(t: &mut Rows) {
    let does_not_open = || Error::Tampered(Sealed::AuthR);
    let about = "HELLO_REPLY.mlkem";
    let script = Script { reply: |reply, _| reply.mlkem[0] ^= 1, ..HYBRID };
    t.add("a ciphertext with its first bit wrong", about, script, does_not_open(), Told(6));
    let script = Script { reply: |reply, _| *reply.mlkem.last_mut().expect("one") ^= 0x80, ..HYBRID };
    t.add("a ciphertext with its last bit wrong", about, script, does_not_open(), Told(6));
    let script = Script { reply: |reply, _| reply.mlkem.fill(0), ..HYBRID };
    t.add("a ciphertext of zeros", about, script, does_not_open(), Told(6));
    let script = Script { reply: |reply, _| reply.mlkem.fill(0xFF), ..HYBRID };
    t.add("a ciphertext of ones", about, script, does_not_open(), Told(6));
    let script =
        Script { reply: |reply, hello| reply.mlkem = hello.share(2).expect("a key")[..1_088].to_vec(), ..HYBRID };
    t.add("the initiator's ML-KEM key sent back as a ciphertext", about, script, does_not_open(), Told(6));
}

/// Replayed, changed on the way, or answered to another offer than was made.
fn splices(t: &mut Rows) {
    let does_not_open = || Error::Tampered(Sealed::AuthR);
    let script = Script {
        first: |peer, frames| *frames = vec![peer.recorded().flights[1].clone()],
        honest: |config| config.suites([Suite::X25519ChaCha20Poly1305Sha256]),
        ..FAITHFUL
    };
    let about = "HELLO_REPLY spliced,AUTH_R spliced";
    t.add("HELLO_REPLY and AUTH_R of another session", about, script, does_not_open(), Told(6));
    let script = Script {
        first: |peer, frames| {
            let mut recorded = peer.recorded().flights[1].clone();
            frames[1] = wire::take_frames(&mut recorded)[1].clone();
        },
        ..FAITHFUL
    };
    t.add("AUTH_R of another session", "AUTH_R spliced", script, does_not_open(), Told(6));
    let rows: [(&str, &str, Script); 3] = [
        ("nonce", "HELLO_REPLY.nonce_r", Script { first: |_, frames| frames[0][8] ^= 1, ..FAITHFUL }),
        ("share", "HELLO_REPLY.x25519", Script { first: |_, frames| frames[0][50] ^= 1, ..FAITHFUL }),
        ("suite", "HELLO_REPLY.suite", Script { first: |_, frames| frames[0][7] = 3, ..FAITHFUL }),
    ];
    for (what, about, script) in rows {
        let about = format!("{about},HELLO_REPLY altered");
        t.add(format!("a {what} of HELLO_REPLY changed on its way"), about, script, does_not_open(), Told(6));
    }
    // Somebody on the path has taken the hybrid suites out of the offer that the responder saw.
    let script = Script { party: |party| party.offer_seen = Some(vec![1]), ..FAITHFUL };
    t.add("an answer to an offer without hybrid suites", "HELLO altered", script, does_not_open(), Told(6));
    let script = Script { first: |_, frames| frames.insert(1, frames[0].clone()), ..FAITHFUL };
    t.add("HELLO_REPLY twice", "HELLO_REPLY twice", script, unexpected("AUTH_R", "HELLO_REPLY"), Told(2));
    let script = Script { first: |_, frames| drop(frames.pop()), ..FAITHFUL };
    t.add("HELLO_REPLY without AUTH_R", "AUTH_R missing", script, Error::Truncated, Nothing);
}
