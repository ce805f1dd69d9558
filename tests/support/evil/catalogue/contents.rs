//! Records that open and say what no record says, in an established session.

use countersign::error::{Alert, Error, Malformed};

use super::records::Session;
use super::{alerted, field, short, trailing, unexpected};
use crate::evil::keys::rekey_content;
use crate::evil::wire::{DATA, END, KEEPALIVE, REKEY, VERDICT};

/// [RE-3] [RE-5] [FR-9]
pub(super) fn contents(t: &mut Session) {
    t.add(
        "an empty DATA record",
        "DATA truncated,DATA.content",
        |peer, frames| frames.push(peer.seal(DATA, b"")),
        field("DATA content"),
        1,
    );
    t.add(
        "a flood of empty DATA records",
        "DATA.content",
        |peer, frames| {
            frames.extend((0..10_000).map(|_| peer.keys().record(DATA, b"")));
        },
        field("DATA content"),
        1,
    );
    t.add(
        "DATA that is nothing but padding",
        "DATA.padding",
        |peer, frames| {
            frames.push(peer.keys().padded(DATA, b"", &[0; 1_000], 1_000));
        },
        field("DATA content"),
        1,
    );
    let too_long = || field("content length");
    t.add(
        "DATA of 65,537 bytes",
        "DATA oversized",
        |peer, frames| frames.push(peer.seal(DATA, &[7; 65_537])),
        too_long(),
        1,
    );
    t.add(
        "DATA of 65,538 bytes",
        "DATA oversized",
        |peer, frames| frames.push(peer.seal(DATA, &[7; 65_538])),
        too_long(),
        1,
    );
    t.add(
        "an END with a byte",
        "END trailing,END.content",
        |peer, frames| frames.push(peer.seal(END, b"x")),
        trailing("END"),
        1,
    );
    t.add(
        "an END as long as a record can be",
        "END oversized",
        |peer, frames| frames.push(peer.seal(END, &[0; 65_536])),
        trailing("END"),
        1,
    );
    t.add(
        "a KEEPALIVE with a byte",
        "KEEPALIVE trailing,KEEPALIVE.content",
        |peer, frames| frames.push(peer.seal(KEEPALIVE, b"x")),
        trailing("KEEPALIVE"),
        1,
    );
    t.add(
        "an oversized KEEPALIVE",
        "KEEPALIVE oversized",
        |peer, frames| frames.push(peer.seal(KEEPALIVE, &[0; 65_537])),
        too_long(),
        1,
    );
    let unknown = |kind| Error::Malformed(Malformed::RecordKind(kind));
    t.add("a record of kind 0", "RECORD.kind", |peer, frames| frames.push(peer.seal(0, b"x")), unknown(0), 1);
    t.add("a record of a reserved kind", "RECORD.kind", |peer, frames| frames.push(peer.seal(5, b"x")), unknown(5), 1);
    t.add(
        "a record of the other reserved kind",
        "RECORD.kind",
        |peer, frames| frames.push(peer.seal(8, b"x")),
        unknown(8),
        1,
    );
    t.add("a record of kind 0x7f", "RECORD.kind", |peer, frames| frames.push(peer.seal(0x7F, b"x")), unknown(0x7F), 1);
    t.add(
        "padding of no kind at all",
        "RECORD.kind,RECORD.padding",
        |peer, frames| {
            frames.push(peer.keys().padded(0, b"", &[0; 9], 9));
        },
        unknown(0x80),
        1,
    );
    t.add(
        "an unknown kind with wrong padding",
        "RECORD.kind",
        |peer, frames| {
            frames.push(peer.keys().padded(9, b"", &[1; 9], 90));
        },
        unknown(0x89),
        1,
    );
    t.add(
        "a second VERDICT",
        "VERDICT twice",
        |peer, frames| frames.push(peer.seal(VERDICT, &[0])),
        unexpected("DATA, END or ALERT", "VERDICT"),
        2,
    );
    t.add(
        "a refusing VERDICT in the session",
        "VERDICT late",
        |peer, frames| frames.push(peer.seal(VERDICT, &[1])),
        unexpected("DATA, END or ALERT", "VERDICT"),
        2,
    );
    t.add(
        "a VERDICT with wrong padding",
        "VERDICT late",
        |peer, frames| {
            frames.push(peer.keys().padded(VERDICT, &[0], &[1], 1));
        },
        unexpected("DATA, END or ALERT", "VERDICT"),
        2,
    );
    t.add(
        "an ALERT record without a code",
        "ALERT truncated",
        |peer, frames| frames.push(peer.seal(3, b"")),
        short("code"),
        1,
    );
    t.add(
        "an ALERT record with a line feed",
        "ALERT.text",
        |peer, frames| frames.push(peer.seal(3, b"\x0Aa\nb")),
        field("text"),
        1,
    );
    t.add(
        "an ALERT record that is not UTF-8",
        "ALERT.text",
        |peer, frames| frames.push(peer.seal(3, b"\x0A\xC0\x80")),
        field("text"),
        1,
    );
    t.add(
        "an ALERT record whose text is too long",
        "ALERT oversized,ALERT.text",
        |peer, frames| {
            frames.push(peer.seal(3, &[b'x'; 257]));
        },
        field("text"),
        1,
    );
    t.add(
        "an ALERT record of no known meaning, and data",
        "ALERT.code,DATA late",
        |peer, frames| {
            frames.extend([peer.seal(3, b"\xEEbye"), peer.seal(DATA, b"not yet")]);
        },
        alerted(Alert::Unknown(0xEE), true, "bye"),
        0,
    );
    t.add(
        "an ALERT record twice",
        "ALERT twice",
        |peer, frames| {
            frames.extend([peer.seal(3, &[10]), peer.seal(3, &[10])]);
        },
        alerted(Alert::ShuttingDown, true, ""),
        0,
    );
}

/// [RE-3] [RE-4]
pub(super) fn padding(t: &mut Session) {
    let wrong = || Error::Malformed(Malformed::Padding);
    t.add(
        "padding that is not zero",
        "RECORD.padding,DATA.padding",
        |peer, frames| {
            frames.push(peer.keys().padded(DATA, b"x", &[0, 0, 1, 0], 4));
        },
        wrong(),
        1,
    );
    t.add(
        "padding whose last byte is not zero",
        "RECORD.padding",
        |peer, frames| {
            frames.push(peer.keys().padded(DATA, b"x", &[0, 0, 0, 1], 4));
        },
        wrong(),
        1,
    );
    t.add(
        "more padding than there is",
        "RECORD.pad_len",
        |peer, frames| {
            frames.push(peer.keys().padded(DATA, b"x", &[0; 4], 6));
        },
        wrong(),
        1,
    );
    t.add(
        "a padding length of 65,535",
        "RECORD.pad_len",
        |peer, frames| {
            frames.push(peer.keys().padded(DATA, b"x", &[], 0xFFFF));
        },
        wrong(),
        1,
    );
    t.add(
        "a padded record with half a padding length",
        "RECORD.pad_len",
        |peer, frames| {
            frames.push(peer.keys().raw(&[DATA | 0x80, 0]));
        },
        wrong(),
        1,
    );
    t.add(
        "a padded record without a padding length",
        "RECORD.pad_len",
        |peer, frames| {
            frames.push(peer.keys().raw(&[DATA | 0x80]));
        },
        wrong(),
        1,
    );
    t.add(
        "an END with padding that is not zero",
        "END.padding",
        |peer, frames| {
            frames.push(peer.keys().padded(END, b"", &[9], 1));
        },
        wrong(),
        1,
    );
    t.add(
        "a REKEY with padding that is not zero",
        "REKEY.padding",
        |peer, frames| {
            let content = rekey_content(0, 1, &[9; 32]);
            frames.push(peer.keys().padded(REKEY, &content, &[9], 1));
        },
        wrong(),
        1,
    );
}
