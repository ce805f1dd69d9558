//! AUTH_I, at a responder: the service, who is refused with a VERDICT, and frames that are not AUTH_I.

use countersign::crypto::suite::Suite;
use countersign::error::{Alert, Error, Malformed, Reason, Sealed, Untrusted};
use countersign::role::Stage;

use super::Hears::{Alert as Told, Nothing, Verdict};
use super::{Against, Misbehaviour, Rows, alerted, denied, field, frame_len, short, unexpected, untrusted};
use crate::evil::script::{FAITHFUL, HONEST, STRANGER, Script};
use crate::evil::signing::Key;
use crate::evil::wire::{self, frame};

pub fn rows() -> Vec<Misbehaviour> {
    let mut t = Rows::new(Against::Responder, Stage::AuthI);
    services(&mut t);
    refusals(&mut t);
    frames(&mut t);
    splices(&mut t);
    t.rows
}

/// [FR-7]
fn services(t: &mut Rows) {
    let rows: [(&str, Script); 6] = [
        ("a space", Script { party: |party| party.service = b"ec ho".to_vec(), ..FAITHFUL }),
        ("a DEL", Script { party: |party| party.service = b"echo\x7F".to_vec(), ..FAITHFUL }),
        ("a line feed", Script { party: |party| party.service = b"echo\n".to_vec(), ..FAITHFUL }),
        ("a zero byte", Script { party: |party| party.service = b"echo\0".to_vec(), ..FAITHFUL }),
        ("an umlaut", Script { party: |party| party.service = "\u{e9}cho".as_bytes().to_vec(), ..FAITHFUL }),
        ("a byte that is not UTF-8", Script { party: |party| party.service = b"echo\xFF".to_vec(), ..FAITHFUL }),
    ];
    for (what, script) in rows {
        t.add(format!("a service with {what}"), "AUTH_I.service", script, field("service"), Told(1));
    }
    let script = Script { auth: |auth| auth.service_len = Some(255), ..FAITHFUL };
    t.add("a service length beyond the message", "AUTH_I.service_len", script, short("service"), Told(1));
    // The last letter of the service is a credential kind, and the kind begins the length.
    let script = Script { auth: |auth| auth.service_len = Some(3), ..FAITHFUL };
    t.add("a service length short of the service", "AUTH_I.service_len", script, short("credential_data"), Told(1));
    let script = Script { auth: |auth| auth.service_len = Some(5), ..FAITHFUL };
    t.add("a service length that swallows the kind", "AUTH_I.service_len", script, field("service"), Told(1));
}

/// [ID-3] [HS-26] Who is authentic and not wanted gets a VERDICT, in the order of the specification.
fn refusals(t: &mut Rows) {
    let script = Script { party: |party| party.be(STRANGER), ..FAITHFUL };
    let about = "AUTH_I.credential_data";
    t.add("a stranger", about, script, denied(Reason::NotTrusted), Verdict(1));
    let script = Script {
        party: |party| {
            party.be(STRANGER);
            party.service = b"secret-service".to_vec();
        },
        ..FAITHFUL
    };
    t.add("a stranger that probes for services", about, script, denied(Reason::NotTrusted), Verdict(1));
    let script = Script {
        second: |peer, frames| frames.push(peer.seal(wire::DATA, b"do this at once")),
        party: |party| party.be(STRANGER),
        ..FAITHFUL
    };
    t.add("a stranger with data behind its proof", "DATA early", script, denied(Reason::NotTrusted), Verdict(1));
    let script = Script { party: |party| party.service = b"ech".to_vec(), ..FAITHFUL };
    t.add("a service that is not offered", "AUTH_I.service", script, denied(Reason::ServiceUnavailable), Verdict(2));
    let script = Script { party: |party| party.service = b"ECHO".to_vec(), ..FAITHFUL };
    t.add("a service in other letters", "AUTH_I.service", script, denied(Reason::ServiceUnavailable), Verdict(2));
    let script = Script { party: |party| party.service.clear(), ..FAITHFUL };
    t.add("no service", "AUTH_I.service", script, denied(Reason::ServiceUnavailable), Verdict(2));
    let script = Script { party: |party| party.service = vec![b'x'; 255], ..FAITHFUL };
    t.add("the longest service", "AUTH_I.service", script, denied(Reason::ServiceUnavailable), Verdict(2));
    let script = Script {
        second: |peer, frames| frames.push(peer.seal(wire::DATA, b"do this at once")),
        party: |party| party.service = b"other".to_vec(),
        ..FAITHFUL
    };
    let error = denied(Reason::ServiceUnavailable);
    t.add("data for a service that is not offered", "DATA early", script, error, Verdict(2));
    let script = Script { party: |party| party.be(HONEST), ..FAITHFUL };
    t.add("a thief of the responder's own key", about, script, denied(Reason::OwnIdentity), Verdict(4));
    let script = Script {
        party: |party| {
            party.be(HONEST);
            party.service = b"other".to_vec();
        },
        ..FAITHFUL
    };
    t.add("its own key, for a service that is not offered", about, script, denied(Reason::OwnIdentity), Verdict(4));
}

fn frames(t: &mut Rows) {
    let script = Script { second: |_, frames| frames.clear(), ..FAITHFUL };
    t.add("no AUTH_I", "AUTH_I missing", script, Error::Truncated, Nothing);
    let script = Script { second: |_, frames| frames[0].truncate(4), ..FAITHFUL };
    t.add("a header of AUTH_I and nothing else", "AUTH_I truncated", script, Error::Truncated, Nothing);
    let script = Script { first: |_, frames| frames.push(frames[0].clone()), ..FAITHFUL };
    t.add("HELLO twice", "HELLO twice", script, unexpected("AUTH_I", "HELLO"), Told(2));
    let script = Script { first: |_, frames| frames.push(frame(wire::HELLO_REPLY, &[1; 68])), ..FAITHFUL };
    t.add("HELLO_REPLY for AUTH_I", "HELLO_REPLY early", script, unexpected("AUTH_I", "HELLO_REPLY"), Told(2));
    let script = Script { second: |peer, frames| frames[0] = peer.frames[0].clone(), ..FAITHFUL };
    let error = unexpected("AUTH_I", "HELLO_REPLY");
    t.add("the responder's HELLO_REPLY sent back", "HELLO_REPLY reflected", script, error, Told(2));
    let script = Script { second: |peer, frames| frames[0] = peer.frames[1].clone(), ..FAITHFUL };
    t.add("AUTH_R sent back", "AUTH_R reflected", script, unexpected("AUTH_I", "AUTH_R"), Told(2));
    let script = Script { second: |_, frames| frames[0][0] = wire::AUTH_R, ..FAITHFUL };
    t.add("AUTH_I under the type of AUTH_R", "AUTH_I.type", script, unexpected("AUTH_I", "AUTH_R"), Told(2));
    let script =
        Script { second: |peer, frames| frames.insert(0, peer.seal(wire::DATA, b"before my proof")), ..FAITHFUL };
    t.add("a record before AUTH_I", "RECORD early,DATA early", script, unexpected("AUTH_I", "RECORD"), Told(2));
    let script = Script { second: |_, frames| frames[0] = frame(wire::ALERT, &[10]), ..FAITHFUL };
    t.add("an ALERT for AUTH_I", "ALERT early", script, alerted(Alert::ShuttingDown, false, ""), Nothing);
    let script = Script { second: |_, frames| frames[0][0] = 0xC7, ..FAITHFUL };
    t.add("AUTH_I of an unknown type", "AUTH_I.type", script, Error::Malformed(Malformed::FrameType(0xC7)), Told(1));
    let script = Script { second: |_, frames| frames[0][..4].copy_from_slice(&[wire::AUTH_I, 0, 0, 116]), ..FAITHFUL };
    t.add("an AUTH_I that claims 116 bytes", "AUTH_I.length", script, frame_len("AUTH_I", 116), Told(1));
    let script = Script { second: |_, frames| frames[0] = vec![wire::AUTH_I, 0xFF, 0xFF, 0xFF], ..FAITHFUL };
    t.add("an AUTH_I that claims 16 MiB", "AUTH_I.length", script, frame_len("AUTH_I", 0xFF_FFFF), Told(1));
    let script = Script { second: |_, frames| frames[0] = vec![wire::AUTH_I, 0, 0x44, 0x00, 1, 2, 3], ..FAITHFUL };
    t.add("the longest AUTH_I, of which little comes", "AUTH_I truncated", script, Error::Truncated, Nothing);
}

fn splices(t: &mut Rows) {
    let does_not_open = || Error::Tampered(Sealed::AuthI);
    let script = Script { second: |peer, frames| frames[0] = peer.recorded().flights[2].clone(), ..FAITHFUL };
    t.add("AUTH_I of another session", "AUTH_I spliced", script, does_not_open(), Told(6));
    let script = Script {
        first: |peer, frames| frames[0] = peer.recorded().flights[0].clone(),
        second: |peer, frames| frames[0] = peer.recorded().flights[2].clone(),
        ..FAITHFUL
    };
    t.add("a whole session replayed", "HELLO spliced,AUTH_I spliced", script, does_not_open(), Told(6));
    let script = Script {
        second: |peer, frames| {
            frames[0] = peer.frames[1].clone();
            frames[0][0] = wire::AUTH_I;
        },
        ..FAITHFUL
    };
    t.add("AUTH_R sent back as AUTH_I", "AUTH_R reflected", script, does_not_open(), Told(6));
    // HELLO is altered on its way, after it was hashed: the two transcripts are different.
    let rows: [(&str, &str, Script); 4] = [
        ("nonce", "HELLO.nonce_i", Script { first: |_, frames| frames[0][6] ^= 1, ..FAITHFUL }),
        (
            "offer",
            "HELLO.suites",
            Script {
                first: |_, frames| {
                    frames[0][40] = 3;
                    frames[0][42] = 1;
                },
                party: |party| party.suites = vec![1, 3],
                honest: |config| config.suites([Suite::X25519ChaCha20Poly1305Sha256]),
                ..FAITHFUL
            },
        ),
        ("share", "HELLO.share", Script { first: |_, frames| frames[0][60] ^= 1, ..FAITHFUL }),
        (
            "unused share",
            "HELLO.share",
            Script {
                first: |_, frames| *frames[0].last_mut().expect("a share") ^= 1,
                hello: |hello| hello.shares.push(crate::evil::wire::Share { kind: 0x7F, len: None, data: vec![1; 9] }),
                ..FAITHFUL
            },
        ),
    ];
    for (what, about, script) in rows {
        t.add(
            format!("a {what} changed on its way"),
            format!("{about},HELLO altered"),
            script,
            does_not_open(),
            Told(6),
        );
    }
    let script = Script { auth: |auth| auth.credential = Key::of(5).public().to_vec(), ..FAITHFUL };
    t.add(
        "the key of a trusted peer that did not sign",
        "AUTH_I.credential_data",
        script,
        untrusted(Untrusted::Signature),
        Told(5),
    );
}
