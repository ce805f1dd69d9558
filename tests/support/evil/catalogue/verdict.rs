//! The VERDICT, at an initiator that has proved itself: from here on it answers with records.

use countersign::error::{Alert, Error, Malformed, Reason, Refusal, Sealed};
use countersign::role::Stage;

use super::Hears::{Nothing, Sealed as Told};
use super::{Against, Misbehaviour, Rows, alerted, field, frame_len, short, trailing, unexpected};
use crate::evil::keys::{Direction, index};
use crate::evil::script::{FAITHFUL, Script};
use crate::evil::wire::{self, frame, header};

pub fn rows() -> Vec<Misbehaviour> {
    let mut t = Rows::new(Against::Initiator, Stage::Verdict);
    refusals(&mut t);
    contents(&mut t);
    early(&mut t);
    seals(&mut t);
    frames(&mut t);
    t.rows
}

/// [HS-23] [HS-24] A refusal is believed, whatever follows it.
fn refusals(t: &mut Rows) {
    let refused = |reason, text: &str| Error::Refused(Refusal { reason, text: text.into() });
    let script = Script { second: |peer, frames| frames[0] = fresh(peer).record(wire::VERDICT, &[1]), ..FAITHFUL };
    t.add("a refusal", "VERDICT.code", script, refused(Reason::NotTrusted, ""), Nothing);
    let script =
        Script { second: |peer, frames| frames[0] = fresh(peer).record(wire::VERDICT, b"\x05go away"), ..FAITHFUL };
    t.add("a refusal with a text", "VERDICT.text", script, refused(Reason::Denied, "go away"), Nothing);
    let script = Script { second: |peer, frames| frames[0] = fresh(peer).record(wire::VERDICT, &[0xFF]), ..FAITHFUL };
    t.add("a refusal of no known meaning", "VERDICT.code", script, refused(Reason::Unknown(0xFF), ""), Nothing);
    let script = Script {
        second: |peer, frames| {
            let mut keys = fresh(peer);
            *frames = vec![keys.record(wire::VERDICT, &[3]), keys.record(wire::VERDICT, &[0]), keys.data(b"after all")];
        },
        ..FAITHFUL
    };
    t.add("a refusal, then an acceptance and data", "VERDICT twice", script, refused(Reason::Busy, ""), Nothing);
}

/// Our keys before anything was sealed with them.
fn fresh(peer: &mut crate::evil::Peer) -> Direction {
    let keys = peer.keys();
    keys.counter = 0;
    keys.clone()
}

/// [HS-22] [RE-3] [FR-9]
fn contents(t: &mut Rows) {
    let script =
        Script { second: |peer, frames| frames[0] = fresh(peer).record(wire::VERDICT, b"\0welcome"), ..FAITHFUL };
    t.add(
        "an acceptance with a text",
        "VERDICT.text,VERDICT trailing",
        script,
        trailing("an accepting VERDICT"),
        Told(1),
    );
    let script = Script { second: |peer, frames| frames[0] = fresh(peer).record(wire::VERDICT, b"\0\0"), ..FAITHFUL };
    t.add("an acceptance with a zero byte behind it", "VERDICT.text", script, field("text"), Told(1));
    let script = Script { second: |peer, frames| frames[0] = fresh(peer).record(wire::VERDICT, b""), ..FAITHFUL };
    t.add("a VERDICT without a code", "VERDICT.code,VERDICT truncated", script, short("code"), Told(1));
    let script =
        Script { second: |peer, frames| frames[0] = fresh(peer).record(wire::VERDICT, b"\x05\x1B[2J"), ..FAITHFUL };
    t.add("a refusal whose text clears the screen", "VERDICT.text", script, field("text"), Told(1));
    let script =
        Script { second: |peer, frames| frames[0] = fresh(peer).record(wire::VERDICT, b"\x05\xC2\x85"), ..FAITHFUL };
    t.add("a refusal whose text has a C1 control", "VERDICT.text", script, field("text"), Told(1));
    let script =
        Script { second: |peer, frames| frames[0] = fresh(peer).record(wire::VERDICT, b"\x05\xFF\xFE"), ..FAITHFUL };
    t.add("a refusal whose text is not UTF-8", "VERDICT.text", script, field("text"), Told(1));
    let script =
        Script { second: |peer, frames| frames[0] = fresh(peer).record(wire::VERDICT, &[b'x'; 257]), ..FAITHFUL };
    t.add("a refusal whose text is too long", "VERDICT.text,VERDICT oversized", script, field("text"), Told(1));
    let padding = || Error::Malformed(Malformed::Padding);
    let script =
        Script { second: |peer, frames| frames[0] = fresh(peer).padded(wire::VERDICT, &[0], &[0, 1], 2), ..FAITHFUL };
    t.add("a VERDICT with padding that is not zero", "VERDICT.padding", script, padding(), Told(1));
    let script =
        Script { second: |peer, frames| frames[0] = fresh(peer).padded(wire::VERDICT, &[0], &[], 9), ..FAITHFUL };
    t.add("a VERDICT with more padding than there is", "VERDICT.pad_len", script, padding(), Told(1));
}

/// [HS-21] [HS-25] Nothing comes before the VERDICT.
fn early(t: &mut Rows) {
    let rows: [(&str, &'static str, &'static str, Script); 5] = [
        (
            "data",
            "DATA",
            "DATA early",
            Script { second: |peer, frames| frames[0] = fresh(peer).data(b"too soon"), ..FAITHFUL },
        ),
        (
            "END",
            "END",
            "END early",
            Script { second: |peer, frames| frames[0] = fresh(peer).record(wire::END, b""), ..FAITHFUL },
        ),
        (
            "an ALERT record",
            "ALERT",
            "ALERT early",
            Script { second: |peer, frames| frames[0] = fresh(peer).record(wire::ALERT_RECORD, &[11]), ..FAITHFUL },
        ),
        (
            "REKEY",
            "REKEY",
            "REKEY early",
            Script { second: |peer, frames| frames[0] = fresh(peer).rekey(None, 1, &[5; 32], &[9; 32]), ..FAITHFUL },
        ),
        (
            "KEEPALIVE",
            "KEEPALIVE",
            "KEEPALIVE early",
            Script { second: |peer, frames| frames[0] = fresh(peer).record(wire::KEEPALIVE, b""), ..FAITHFUL },
        ),
    ];
    for (what, kind, about, script) in rows {
        t.add(format!("{what} for the VERDICT"), about, script, unexpected("VERDICT", kind), Told(2));
    }
    let script = Script {
        second: |peer, frames| {
            let mut keys = fresh(peer);
            *frames = vec![keys.data(b"too soon"), keys.record(wire::VERDICT, &[0])];
        },
        ..FAITHFUL
    };
    t.add("data before the VERDICT", "DATA early,VERDICT late", script, unexpected("VERDICT", "DATA"), Told(2));
    let unknown = |kind| Error::Malformed(Malformed::RecordKind(kind));
    let script = Script { second: |peer, frames| frames[0] = fresh(peer).record(5, &[0]), ..FAITHFUL };
    t.add("a reserved kind for the VERDICT", "RECORD.kind", script, unknown(5), Told(1));
    // Known kind before legal kind before padding.
    let script = Script { second: |peer, frames| frames[0] = fresh(peer).padded(9, &[0], &[1], 1), ..FAITHFUL };
    t.add("an unknown kind with wrong padding for the VERDICT", "RECORD.kind", script, unknown(0x89), Told(1));
    let script =
        Script { second: |peer, frames| frames[0] = fresh(peer).padded(wire::DATA, b"x", &[1], 1), ..FAITHFUL };
    t.add("data with wrong padding for the VERDICT", "DATA early", script, unexpected("VERDICT", "DATA"), Told(2));
}

fn seals(t: &mut Rows) {
    let rows: [(&str, &str, Script); 7] = [
        (
            "under the handshake key",
            "VERDICT altered",
            Script {
                second: |peer, frames| {
                    let keys = peer.handshake.clone().expect("agreed");
                    frames[0] = keys.directions[index(peer.role)].clone().record(wire::VERDICT, &[0]);
                },
                ..FAITHFUL
            },
        ),
        (
            "under the initiator's key",
            "VERDICT altered",
            Script {
                second: |peer, frames| frames[0] = peer.inn.clone().expect("a session").record(wire::VERDICT, &[0]),
                ..FAITHFUL
            },
        ),
        (
            "under the second nonce",
            "VERDICT altered",
            Script {
                second: |peer, frames| {
                    fresh(peer);
                    peer.keys().counter = 1;
                    frames[0] = peer.seal(wire::VERDICT, &[0]);
                },
                ..FAITHFUL
            },
        ),
        (
            "of another session",
            "VERDICT spliced",
            Script { second: |peer, frames| frames[0] = peer.recorded().flights[3].clone(), ..FAITHFUL },
        ),
        (
            "with a bit wrong",
            "VERDICT altered,RECORD.tag",
            Script { second: |_, frames| frames[0][5] ^= 1, ..FAITHFUL },
        ),
        ("of zeros", "VERDICT altered", Script { second: |_, frames| frames[0][4..].fill(0), ..FAITHFUL }),
        (
            "that is AUTH_I sent back",
            "AUTH_I reflected",
            Script {
                second: |peer, frames| {
                    let auth_i = peer.frames.iter().rfind(|frame| frame[0] == wire::AUTH_I).expect("one");
                    frames[0] = frame(wire::RECORD, &auth_i[4..]);
                },
                ..FAITHFUL
            },
        ),
    ];
    for (what, about, script) in rows {
        t.add(format!("a VERDICT {what}"), about, script, Error::Tampered(Sealed::Record), Told(6));
    }
}

fn frames(t: &mut Rows) {
    let script = Script { second: |_, frames| frames.clear(), ..FAITHFUL };
    t.add("no VERDICT", "VERDICT missing", script, Error::Truncated, Nothing);
    let script = Script { second: |_, frames| frames[0].truncate(20), ..FAITHFUL };
    t.add("a VERDICT cut on its way", "VERDICT truncated", script, Error::Truncated, Nothing);
    let rows: [(&str, &str, &'static str, Script); 4] = [
        (
            "HELLO",
            "HELLO late",
            "HELLO",
            Script { second: |_, frames| frames[0] = frame(wire::HELLO, &[1; 73]), ..FAITHFUL },
        ),
        (
            "HELLO_REPLY",
            "HELLO_REPLY late",
            "HELLO_REPLY",
            Script { second: |_, frames| frames[0] = frame(wire::HELLO_REPLY, &[1; 68]), ..FAITHFUL },
        ),
        (
            "AUTH_R",
            "AUTH_R late",
            "AUTH_R",
            Script { second: |_, frames| frames[0] = frame(wire::AUTH_R, &[1; 147]), ..FAITHFUL },
        ),
        (
            "AUTH_I",
            "AUTH_I reflected",
            "AUTH_I",
            Script { second: |peer, frames| frames[0] = peer.frames.last().expect("AUTH_I").clone(), ..FAITHFUL },
        ),
    ];
    for (what, about, got, script) in rows {
        t.add(format!("{what} for the VERDICT"), about, script, unexpected("RECORD", got), Told(2));
    }
    let script = Script { second: |_, frames| frames[0] = frame(wire::ALERT, &[5]), ..FAITHFUL };
    t.add("an ALERT frame for the VERDICT", "ALERT early", script, alerted(Alert::Refused, false, ""), Nothing);
    let script = Script { second: |_, frames| frames[0][0] = 0xC0, ..FAITHFUL };
    t.add("a VERDICT of an unknown type", "RECORD.type", script, Error::Malformed(Malformed::FrameType(0xC0)), Told(1));
    let script = Script { second: |_, frames| frames[0] = header(wire::RECORD, 16).to_vec(), ..FAITHFUL };
    t.add("an empty record for the VERDICT", "RECORD.length", script, frame_len("RECORD", 16), Told(1));
    let script = Script { second: |_, frames| frames[0] = header(wire::RECORD, 65_556).to_vec(), ..FAITHFUL };
    t.add("a record of 65,556 bytes for the VERDICT", "RECORD.length", script, frame_len("RECORD", 65_556), Told(1));
}
