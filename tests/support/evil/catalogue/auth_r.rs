//! AUTH_R, at an initiator: who is not the one that was called, and frames that are not AUTH_R.

use countersign::error::{Alert, Error, Malformed, Reason, Refusal, Sealed, Untrusted};
use countersign::role::Stage;

use super::Hears::{Alert as Told, Nothing};
use super::{Against, Misbehaviour, Rows, alerted, field, frame_len, unexpected, untrusted};
use crate::evil::script::{ALSO_TRUSTED, FAITHFUL, HONEST, STRANGER, Script, TRUSTED};
use crate::evil::wire::{self, frame};
use crate::support::identity;

fn fingerprint(byte: u8) -> Box<str> {
    identity(byte).public_key().fingerprint().to_string().into()
}

pub fn rows() -> Vec<Misbehaviour> {
    let mut t = Rows::new(Against::Initiator, Stage::AuthR);
    identities(&mut t);
    frames(&mut t);
    t.rows
}

/// [ID-3] [HS-15] None of them learns who calls.
fn identities(t: &mut Rows) {
    let about = "AUTH_R.credential_data";
    let not_expected =
        |got: u8| untrusted(Untrusted::NotExpected { expected: fingerprint(TRUSTED), got: fingerprint(got) });
    let script = Script { party: |party| party.be(ALSO_TRUSTED), ..FAITHFUL };
    t.add("another trusted peer than was called", about, script, not_expected(ALSO_TRUSTED), Told(5));
    let script = Script { party: |party| party.be(STRANGER), ..FAITHFUL };
    t.add("a stranger that answers for the one that was called", about, script, not_expected(STRANGER), Told(5));
    let script = Script { party: |party| party.be(STRANGER), anyone: true, ..FAITHFUL };
    let refusal = Refusal { reason: Reason::NotTrusted, text: String::new() };
    let error = untrusted(Untrusted::NotTrusted {
        got: fingerprint(STRANGER),
        refusal,
        rule: "not one of the 2 pinned keys".into(),
    });
    t.add("a stranger that answers where anyone trusted may", about, script, error, Told(5));
    let script = Script { party: |party| party.be(HONEST), ..FAITHFUL };
    t.add("a thief of the initiator's own key", about, script, untrusted(Untrusted::OwnKey), Told(5));
    let script = Script { party: |party| party.be(HONEST), anyone: true, ..FAITHFUL };
    let name = "a thief of the initiator's own key, where anyone may answer";
    t.add(name, about, script, untrusted(Untrusted::OwnKey), Told(5));
    let script = Script {
        auth: |auth| auth.credential = identity(TRUSTED).public_key().as_bytes().to_vec(),
        party: |party| party.be(STRANGER),
        ..FAITHFUL
    };
    t.add(
        "a stranger that shows the key of the one that was called",
        about,
        script,
        untrusted(Untrusted::Signature),
        Told(5),
    );
    // A responder names no service: its length is read as the kind of the credential, its letters as a length.
    let script = Script { auth: |auth| auth.service = Some(b"echo".to_vec()), ..FAITHFUL };
    let error = field("credential_len");
    t.add("a service in AUTH_R", "AUTH_R.credential_kind", script, error, Told(1));
}

fn frames(t: &mut Rows) {
    let script = Script { first: |peer, frames| frames.insert(1, peer.frames[0].clone()), ..FAITHFUL };
    t.add("HELLO sent back for AUTH_R", "HELLO reflected", script, unexpected("AUTH_R", "HELLO"), Told(2));
    let script = Script { first: |_, frames| frames[1][0] = wire::AUTH_I, ..FAITHFUL };
    t.add("AUTH_R under the type of AUTH_I", "AUTH_R.type", script, unexpected("AUTH_R", "AUTH_I"), Told(2));
    let script = Script { first: |_, frames| frames[1] = frame(wire::RECORD, &[4; 18]), ..FAITHFUL };
    t.add("a VERDICT for AUTH_R", "VERDICT early", script, unexpected("AUTH_R", "RECORD"), Told(2));
    let script = Script { first: |_, frames| frames[1] = frame(wire::ALERT, &[9]), ..FAITHFUL };
    t.add("an ALERT for AUTH_R", "ALERT early", script, alerted(Alert::Internal, false, ""), Nothing);
    let script = Script { first: |_, frames| frames[1][0] = 0xCF, ..FAITHFUL };
    t.add("AUTH_R of an unknown type", "AUTH_R.type", script, Error::Malformed(Malformed::FrameType(0xCF)), Told(1));
    let script = Script { first: |_, frames| frames[1] = vec![wire::AUTH_R, 0, 0, 115], ..FAITHFUL };
    t.add("an AUTH_R that claims 115 bytes", "AUTH_R.length", script, frame_len("AUTH_R", 115), Told(1));
    let script = Script { first: |_, frames| frames[1] = vec![wire::AUTH_R, 0xFF, 0xFF, 0xFF], ..FAITHFUL };
    t.add("an AUTH_R that claims 16 MiB", "AUTH_R.length", script, frame_len("AUTH_R", 0xFF_FFFF), Told(1));
    let script = Script {
        first: |_, frames| frames[1] = [vec![wire::AUTH_R, 0, 0x44, 0], vec![7; 17_000]].concat(),
        ..FAITHFUL
    };
    t.add("the longest AUTH_R, a little of which is missing", "AUTH_R truncated", script, Error::Truncated, Nothing);
    let script = Script { first: |_, frames| frames[1] = frame(wire::AUTH_R, &[7; 17_408]), ..FAITHFUL };
    t.add("the longest AUTH_R, of garbage", "AUTH_R altered", script, Error::Tampered(Sealed::AuthR), Told(6));

    // The second copy is read where the VERDICT should be.
    t.stage = Stage::Verdict;
    let script = Script { first: |_, frames| frames.push(frames[1].clone()), ..FAITHFUL };
    t.add("AUTH_R twice", "AUTH_R twice", script, unexpected("RECORD", "AUTH_R"), super::Hears::Sealed(2));
}
