//! Records of an established session, whose evil side is the initiator in one run and the responder in another.

use countersign::error::{Error, Malformed, Sealed};
use countersign::role::Stage;

use super::Hears::{Nothing, Sealed as Told};
use super::{Against, Misbehaviour, Rows, frame_len, unexpected};
use crate::evil::Peer;
use crate::evil::keys::{Direction, INITIATOR, index, rekey_content};
use crate::evil::script::{FAITHFUL, Script};
use crate::evil::wire::{self, DATA, END, KEEPALIVE, REKEY, frame, header};

/// What the evil peer says before it misbehaves, if it does not begin with that.
pub const GREETING: &[u8] = b"data of the evil peer";

pub(super) type Edit = fn(&mut Peer, &mut Vec<Vec<u8>>);

/// Rows whose edits get the greeting, and add to it.
pub(super) struct Session(Rows);

impl Session {
    pub(super) fn add(&mut self, name: &str, about: &str, edit: Edit, error: Error, alert: u8) {
        let script = Script { session: edit, ..FAITHFUL };
        self.0.add(name, about, script, error, if alert == 0 { Nothing } else { Told(alert) });
        self.delivers(&[GREETING]);
    }

    pub(super) fn delivers(&mut self, data: &[&[u8]]) {
        let row = self.0.rows.pop().expect("a row");
        self.0.rows.push(row.delivering(data));
    }

    pub(super) fn script(&mut self, change: fn(&mut Script)) {
        change(&mut self.0.rows.last_mut().expect("a row").script);
    }
}

pub fn rows() -> Vec<Misbehaviour> {
    let mut t = Session(Rows::new(Against::Session, Stage::Verdict));
    order(&mut t);
    seals(&mut t);
    super::contents::contents(&mut t);
    super::contents::padding(&mut t);
    super::rekeys::rekeys(&mut t);
    after_the_end(&mut t);
    frames(&mut t);
    t.0.rows
}

/// Takes the greeting back: its number is free again.
fn from_the_start(peer: &mut Peer, frames: &mut Vec<Vec<u8>>) {
    frames.clear();
    peer.keys().counter -= 1;
}

pub(super) fn does_not_open() -> Error {
    Error::Tampered(Sealed::Record)
}

/// [RE-1] Records doubled, left out, exchanged, replayed, sent back, and those of other sessions.
fn order(t: &mut Session) {
    let no = does_not_open;
    t.add("a record twice", "DATA twice", |_, frames| frames.push(frames[0].clone()), no(), 6);
    t.add(
        "a record twice, with another between",
        "DATA twice",
        |peer, frames| {
            let again = frames[0].clone();
            frames.extend([peer.keys().data(b"between"), again]);
        },
        no(),
        6,
    );
    t.delivers(&[GREETING, b"between"]);
    t.add(
        "a record left out",
        "DATA missing",
        |peer, frames| {
            peer.keys().data(b"lost");
            frames.push(peer.keys().data(b"after the gap"));
        },
        no(),
        6,
    );
    t.add(
        "two records exchanged",
        "DATA early",
        |peer, frames| {
            frames.push(peer.keys().data(b"second"));
            frames.swap(0, 1);
        },
        no(),
        6,
    );
    t.delivers(&[]);
    t.add(
        "a record sent back",
        "RECORD reflected,DATA reflected",
        |peer, frames| {
            frames.push(peer.frames.last().expect("a record").clone());
        },
        no(),
        6,
    );
    t.add(
        "a record under the other direction's key",
        "RECORD reflected",
        |peer, frames| {
            frames.push(peer.inn.clone().expect("a session").data(b"yours"));
        },
        no(),
        6,
    );
    t.add(
        "END as the other side would say it",
        "END reflected",
        |peer, frames| frames.push(peer.inn.clone().expect("a session").record(END, b"")),
        no(),
        6,
    );
    t.add(
        "KEEPALIVE as the other side would say it",
        "KEEPALIVE reflected",
        |peer, frames| frames.push(peer.inn.clone().expect("a session").record(KEEPALIVE, b"")),
        no(),
        6,
    );
    t.add(
        "the first record of the other side sent back",
        "VERDICT reflected",
        |peer, frames| {
            frames.push(peer.frames.iter().find(|frame| frame[0] == wire::RECORD).expect("a record").clone());
        },
        no(),
        6,
    );
    t.add(
        "a KEEPALIVE of another session",
        "KEEPALIVE spliced",
        |peer, frames| frames.push(Direction::new([7; 32], peer.keys().aead).record(KEEPALIVE, b"")),
        no(),
        6,
    );
    t.add(
        "a record of another session",
        "DATA spliced,RECORD spliced",
        |peer, frames| {
            let session = peer.recorded();
            let mut sealer = if peer.role == INITIATOR { session.initiator.sealer } else { session.responder.sealer };
            let mut output = bytes::BytesMut::new();
            sealer.seal_data([b"from elsewhere".as_slice()].into_iter(), &mut output).expect("sealed");
            frames.push(output.to_vec());
        },
        no(),
        6,
    );
    t.add(
        "the first record again after many",
        "DATA twice",
        |peer, frames| {
            let again = frames[0].clone();
            frames.extend((0..100).map(|_| peer.keys().record(KEEPALIVE, b"")));
            frames.push(again);
        },
        no(),
        6,
    );
    t.add(
        "a record under the handshake key",
        "RECORD early",
        |peer, frames| {
            let keys = peer.handshake.clone().expect("agreed");
            frames.push(keys.directions[index(peer.role)].clone().data(b"old"));
        },
        no(),
        6,
    );
}

fn seals(t: &mut Session) {
    let no = does_not_open;
    let edits: [(&str, &str, Edit); 6] = [
        ("a record with the first bit of its kind wrong", "DATA altered,RECORD altered", |_, frames| {
            frames[0][4] ^= 0x80
        }),
        ("a record with a bit of its content wrong", "DATA altered", |_, frames| frames[0][8] ^= 1),
        ("a record with a bit of its tag wrong", "RECORD.tag", |_, frames| *frames[0].last_mut().expect("a tag") ^= 1),
        ("a record of zeros", "RECORD altered", |_, frames| frames[0][4..].fill(0)),
        ("a record cut and said to be shorter", "RECORD.length", |_, frames| {
            frames[0].pop();
            frames[0][3] -= 1;
        }),
        ("a record sealed without its header", "RECORD.length", |peer, frames| {
            from_the_start(peer, frames);
            let sealed = peer.keys().seal(&[], b"\x01text");
            frames.push(frame(wire::RECORD, &sealed));
        }),
    ];
    for (name, about, edit) in edits {
        t.add(name, about, edit, no(), 6);
        t.delivers(&[]);
    }
    t.add(
        "a record whose counter runs ahead",
        "RECORD early",
        |peer, frames| {
            peer.keys().counter += 1 << 32;
            frames.push(peer.keys().data(b"from the future"));
        },
        no(),
        6,
    );
}

/// [RE-6] [RE-7]
fn after_the_end(t: &mut Session) {
    let late = || unexpected("nothing more", "bytes after END");
    let edits: [(&str, &str, Edit); 7] = [
        ("data after END", "DATA late", |peer, frames| {
            frames.extend([peer.seal(END, b""), peer.seal(DATA, b"one more")])
        }),
        ("END twice", "END twice", |peer, frames| frames.extend([peer.seal(END, b""), peer.seal(END, b"")])),
        ("REKEY after END", "REKEY late", |peer, frames| {
            let rekey = peer.seal(END, b"");
            frames.extend([rekey, peer.seal(REKEY, &rekey_content(0, 1, &[9; 32]))]);
        }),
        ("KEEPALIVE after END", "KEEPALIVE late", |peer, frames| {
            frames.extend([peer.seal(END, b""), peer.seal(KEEPALIVE, b"")])
        }),
        ("an ALERT record after END", "ALERT late", |peer, frames| {
            frames.extend([peer.seal(END, b""), peer.seal(3, &[11])])
        }),
        ("an ALERT frame after END", "ALERT late", |peer, frames| {
            frames.extend([peer.seal(END, b""), frame(wire::ALERT, &[5])])
        }),
        ("one byte of garbage after END", "END trailing", |peer, frames| {
            frames.extend([peer.seal(END, b""), vec![0x55]])
        }),
    ];
    for (name, about, edit) in edits {
        t.add(name, about, edit, late(), 2);
    }
    t.add("no END", "END missing", |_, _| {}, Error::Truncated, 0);
    t.add(
        "END left out by somebody on the path",
        "END missing",
        |peer, _| drop(peer.seal(END, b"")),
        Error::Truncated,
        0,
    );
    t.add(
        "an END cut on its way",
        "END truncated",
        |peer, frames| {
            let mut end = peer.seal(END, b"");
            end.pop();
            frames.push(end);
        },
        Error::Truncated,
        0,
    );
    t.add(
        "an END of another session",
        "END spliced",
        |peer, frames| {
            frames.push(Direction::new([7; 32], peer.keys().aead).record(END, b""));
        },
        does_not_open(),
        6,
    );
    t.add(
        "an END with a bit wrong",
        "END altered",
        |peer, frames| {
            let mut end = peer.seal(END, b"");
            end[4] ^= 1;
            frames.push(end);
        },
        does_not_open(),
        6,
    );
    t.add(
        "an END before the last data",
        "END early",
        |peer, frames| {
            let (data, end) = (peer.seal(DATA, b"the rest"), peer.seal(END, b""));
            frames.extend([end, data]);
        },
        does_not_open(),
        6,
    );
    t.add(
        "a flood of keepalives, and no END",
        "KEEPALIVE twice",
        |peer, frames| {
            frames.extend((0..5_000).map(|_| peer.keys().record(KEEPALIVE, b"")));
        },
        Error::Truncated,
        0,
    );
    t.add(
        "a KEEPALIVE left out",
        "KEEPALIVE missing",
        |peer, frames| {
            peer.seal(KEEPALIVE, b"");
            frames.push(peer.seal(KEEPALIVE, b""));
        },
        does_not_open(),
        6,
    );
    t.add(
        "a KEEPALIVE before the record that it follows",
        "KEEPALIVE early",
        |peer, frames| {
            let (data, keepalive) = (peer.seal(DATA, b"first"), peer.seal(KEEPALIVE, b""));
            frames.extend([keepalive, data]);
        },
        does_not_open(),
        6,
    );
    t.add(
        "a KEEPALIVE cut on its way",
        "KEEPALIVE truncated",
        |peer, frames| {
            let mut keepalive = peer.seal(KEEPALIVE, b"");
            keepalive.truncate(20);
            frames.push(keepalive);
        },
        Error::Truncated,
        0,
    );
    t.add(
        "a KEEPALIVE with a bit wrong",
        "KEEPALIVE altered",
        |peer, frames| {
            let mut keepalive = peer.seal(KEEPALIVE, b"");
            keepalive[5] ^= 1;
            frames.push(keepalive);
        },
        does_not_open(),
        6,
    );
}

fn frames(t: &mut Session) {
    let edits: [(&str, &str, &'static str, Edit); 5] = [
        ("HELLO in the session", "HELLO late", "HELLO", |_, frames| frames.push(frame(wire::HELLO, &[1; 73]))),
        ("HELLO_REPLY in the session", "HELLO_REPLY late", "HELLO_REPLY", |_, frames| {
            frames.push(frame(wire::HELLO_REPLY, &[1; 68]))
        }),
        ("AUTH_R in the session", "AUTH_R late", "AUTH_R", |_, frames| frames.push(frame(wire::AUTH_R, &[1; 147]))),
        ("AUTH_I in the session", "AUTH_I late,AUTH_I twice", "AUTH_I", |_, frames| {
            frames.push(frame(wire::AUTH_I, &[1; 152]))
        }),
        ("an ALERT frame in the session", "ALERT late", "ALERT", |_, frames| frames.push(frame(wire::ALERT, &[5]))),
    ];
    for (name, about, got, edit) in edits {
        t.add(name, about, edit, unexpected("RECORD", got), 2);
    }
    t.add(
        "an unknown frame in the session",
        "RECORD.type",
        |_, frames| frames.push(frame(0xC7, &[1; 30])),
        Error::Malformed(Malformed::FrameType(0xC7)),
        1,
    );
    t.add(
        "TLS in the session",
        "RECORD.type",
        |_, frames| frames.push(vec![0x17, 3, 3, 0, 9]),
        Error::Malformed(Malformed::FrameType(0x17)),
        1,
    );
    t.add(
        "a record of no bytes",
        "RECORD.length,RECORD truncated",
        |_, frames| frames.push(header(wire::RECORD, 0).to_vec()),
        frame_len("RECORD", 0),
        1,
    );
    t.add(
        "a record of 16 bytes",
        "RECORD.length",
        |_, frames| frames.push(frame(wire::RECORD, &[0; 16])),
        frame_len("RECORD", 16),
        1,
    );
    t.add(
        "a flood of empty records",
        "RECORD.length",
        |_, frames| {
            frames.push(frame(wire::RECORD, &[]).repeat(10_000));
        },
        frame_len("RECORD", 0),
        1,
    );
    t.add(
        "a record of 65,556 bytes",
        "RECORD oversized,RECORD.length",
        |_, frames| frames.push(frame(wire::RECORD, &[0; 65_556])),
        frame_len("RECORD", 65_556),
        1,
    );
    t.add(
        "a record that claims 16 MiB",
        "RECORD.length",
        |_, frames| frames.push(header(wire::RECORD, 0xFF_FFFF).to_vec()),
        frame_len("RECORD", 0xFF_FFFF),
        1,
    );
    t.add(
        "half a record",
        "RECORD truncated,DATA truncated",
        |peer, frames| {
            let mut record = peer.seal(DATA, &[7; 1_000]);
            record.truncate(500);
            frames.push(record);
        },
        Error::Truncated,
        0,
    );
    t.add(
        "the longest record, a byte of which is missing",
        "RECORD truncated",
        |peer, frames| {
            let mut record = peer.seal(DATA, &[7; 65_536]);
            record.pop();
            frames.push(record);
        },
        Error::Truncated,
        0,
    );
    t.add("half a header", "RECORD truncated", |_, frames| frames.push(vec![wire::RECORD, 0]), Error::Truncated, 0);
    t.add(
        "a byte before a record",
        "RECORD.type",
        |peer, frames| {
            frames.push([vec![0x01], peer.seal(DATA, b"shifted")].concat());
        },
        Error::Malformed(Malformed::FrameType(0x01)),
        1,
    );
    t.add(
        "a byte behind a record",
        "RECORD trailing,DATA trailing",
        |_, frames| frames.push(vec![0xFF]),
        Error::Malformed(Malformed::FrameType(0xFF)),
        1,
    );
}
