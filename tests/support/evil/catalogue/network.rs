//! The network key: a responder that has one is silent, and one that has none says so.

use countersign::config::Config;
use countersign::crypto::network::NetworkKey;
use countersign::error::{Alert, Error, Foreign, Malformed, Sealed, Untrusted};
use countersign::role::Stage;

use super::Hears::{Alert as Told, Nothing};
use super::{Against, Misbehaviour, Rows, alerted, field, frame_len, unexpected, untrusted};
use crate::evil::script::{FAITHFUL, Script};
use crate::evil::wire::{self, frame};

const KEY: [u8; 32] = [0x4E; 32];

fn guarded(config: Config) -> Config {
    config.network_key(NetworkKey::take(&mut KEY.clone()).expect("a key"))
}

const GUARDED: Script = Script { honest: guarded, ..FAITHFUL };
const MEMBER: Script = Script { party: |party| party.network_key = Some(KEY), ..GUARDED };

/// [NK-1] to [NK-5]
pub fn rows() -> Vec<Misbehaviour> {
    let mut t = Rows::new(Against::Responder, Stage::Hello);
    let wrong = || untrusted(Untrusted::NetworkKey);
    let script = Script { party: |party| party.network_key = Some(KEY), ..FAITHFUL };
    let error = untrusted(Untrusted::NetworkKeyUnexpected);
    t.add("a network tag where there is no network", "HELLO.network_tag", script, error, Told(12));
    t.add("no network tag", "HELLO.network_tag", GUARDED, wrong(), Nothing);
    let script = Script { party: |party| party.network_key = Some([0x4F; 32]), ..GUARDED };
    t.add("the tag of another network", "HELLO.network_tag", script, wrong(), Nothing);
    let script = Script { hello: |hello| hello.trailing = vec![0; 32], ..GUARDED };
    t.add("a network tag of zeros", "HELLO.network_tag", script, wrong(), Nothing);
    let script = Script { body: |body| *body.last_mut().expect("a tag") ^= 1, ..MEMBER };
    t.add("a network tag with one bit wrong", "HELLO.network_tag", script, wrong(), Nothing);
    let script = Script { body: |body| body[2] ^= 1, ..MEMBER };
    t.add("a nonce that the network tag does not cover", "HELLO.nonce_i", script, wrong(), Nothing);
    let script = Script { body: |body| body.insert(40, 0), ..MEMBER };
    t.add("a byte that the network tag does not cover", "HELLO.length", script, wrong(), Nothing);
    // Short of the fields beside a tag: no field is looked at, the version least of all.
    let script = Script { body: |body| body.truncate(60), hello: |hello| hello.version = 9, ..MEMBER };
    t.add("a HELLO too short for a tag, of another version", "HELLO.network_tag", script, wrong(), Nothing);
    let script = Script { first: |_, frames| frames[0] = frame(0x7F, &[0; 90]), ..GUARDED };
    let error = Error::Malformed(Malformed::Foreign(Foreign::Other(0x7F)));
    t.add("garbage to a guarded responder", "HELLO.type", script, error, Nothing);
    let script = Script { first: |_, frames| frames[0] = frame(wire::AUTH_I, &[0; 200]), ..GUARDED };
    t.add("AUTH_I to a guarded responder", "AUTH_I early", script, unexpected("HELLO", "AUTH_I"), Nothing);
    let script = Script { first: |_, frames| frames[0] = frame(wire::ALERT, &[1]), ..GUARDED };
    t.add("an ALERT to a guarded responder", "ALERT early", script, alerted(Alert::Malformed, false, ""), Nothing);
    let script = Script { body: |body| body.resize(4_000, 0), ..MEMBER };
    t.add("an oversized HELLO to a guarded responder", "HELLO oversized", script, frame_len("HELLO", 4_000), Nothing);
    let script = Script { first: |_, frames| frames[0].splice(0..0, [0x05; 8]).for_each(drop), ..MEMBER };
    let error = Error::Malformed(Malformed::Foreign(Foreign::Other(0x05)));
    t.add("a right HELLO after something else", "HELLO.type", script, error, Nothing);

    // After a right tag everything is told.
    let script = Script { hello: |hello| hello.version = 3, ..MEMBER };
    t.add("a member's HELLO of another version", "HELLO.version", script, Error::UnsupportedVersion(3), Told(3));
    let script = Script { hello: |hello| hello.suites = vec![1, 1], ..MEMBER };
    t.add("a member's malformed HELLO", "HELLO.suites", script, field("suites"), Told(1));
    let script = Script { hello: |hello| hello.shares[0].data = vec![0; 32], ..MEMBER };
    t.add("a member's share of small order", "HELLO.share", script, untrusted(Untrusted::ZeroSecret), Told(5));

    t.stage = Stage::AuthI;
    let forgets = Script {
        party: |party| {
            party.network_key = Some(KEY);
            party.forgets_network_key = true;
        },
        ..GUARDED
    };
    let error = || Error::Tampered(Sealed::AuthI);
    t.add("a member whose keys leave the network key out", "AUTH_I altered", forgets, error(), Told(6));
    let script = Script { first: |_, frames| frames.push(frame(0xC9, &[0; 4])), ..MEMBER };
    t.add("a member's unknown frame", "AUTH_I.type", script, Error::Malformed(Malformed::FrameType(0xC9)), Told(1));

    t.against = Against::Initiator;
    t.stage = Stage::AuthR;
    let error = Error::Tampered(Sealed::AuthR);
    t.add("a responder outside the network", "AUTH_R altered", GUARDED, error, Told(6));
    t.rows
}
