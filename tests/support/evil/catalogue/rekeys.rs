//! REKEY records, in an established session.

use countersign::error::Untrusted;

use super::records::{GREETING, Session, does_not_open};
use super::{field, short, trailing, unexpected, untrusted};
use crate::evil::Peer;
use crate::evil::crypto::{SMALL_ORDER_SHARES, x25519_base};
use crate::evil::keys::{Direction, rekey_content};
use crate::evil::wire::{KEEPALIVE, REKEY};
use crate::support::unhex;

/// A REKEY record of any content, after which nothing changes here.
fn rekey(peer: &mut Peer, named: u32, number: u32, share: &[u8; 32]) -> Vec<u8> {
    peer.seal(REKEY, &rekey_content(named, number, share))
}

/// [RK-1] to [RK-6]
pub(super) fn rekeys(t: &mut Session) {
    t.add(
        "a REKEY of 39 bytes",
        "REKEY truncated,REKEY.share",
        |peer, frames| frames.push(peer.seal(REKEY, &[0; 39])),
        short("share"),
        1,
    );
    t.add(
        "an empty REKEY",
        "REKEY truncated,REKEY.peer_number",
        |peer, frames| frames.push(peer.seal(REKEY, &[])),
        short("peer_number"),
        1,
    );
    t.add(
        "a REKEY of 41 bytes",
        "REKEY trailing",
        |peer, frames| frames.push(peer.seal(REKEY, &[0; 41])),
        trailing("REKEY"),
        1,
    );
    t.add(
        "a REKEY that names a share that was never sent",
        "REKEY.peer_number",
        |peer, frames| {
            frames.push(rekey(peer, 1, 1, &[9; 32]));
        },
        field("peer_number"),
        1,
    );
    t.add(
        "a REKEY that names the last share there can be",
        "REKEY.peer_number",
        |peer, frames| {
            frames.push(rekey(peer, u32::MAX, 1, &[9; 32]));
        },
        field("peer_number"),
        1,
    );
    t.add(
        "a first REKEY with the number 2",
        "REKEY.number",
        |peer, frames| {
            frames.push(rekey(peer, 0, 2, &[9; 32]));
        },
        field("number"),
        1,
    );
    t.add(
        "a number twice",
        "REKEY.number,REKEY twice",
        |peer, frames| {
            let share = x25519_base(&[5; 32]);
            frames.extend((0..2).map(|_| peer.keys().rekey(None, 1, &[5; 32], &share)));
        },
        field("number"),
        1,
    );
    t.add(
        "a number left out",
        "REKEY.number",
        |peer, frames| {
            let share = x25519_base(&[5; 32]);
            frames.extend([1, 3].map(|number| peer.keys().rekey(None, number, &[5; 32], &share)));
        },
        field("number"),
        1,
    );
    t.add(
        "a number that goes back",
        "REKEY.number",
        |peer, frames| {
            let share = x25519_base(&[5; 32]);
            frames.extend([1, 2, 1].map(|number| peer.keys().rekey(None, number, &[5; 32], &share)));
        },
        field("number"),
        1,
    );
    let zero = || untrusted(Untrusted::ZeroSecret);
    t.add(
        "a share of small order, mixed with one of ours",
        "REKEY.share",
        |peer, frames| {
            let (number, _) = peer.share.expect("the honest side has rekeyed");
            frames.push(rekey(peer, number, 1, &[0; 32]));
        },
        zero(),
        5,
    );
    t.script(|script| script.rekeys = true);
    t.add(
        "a share of order 8, mixed with one of ours",
        "REKEY.share",
        |peer, frames| {
            let (number, _) = peer.share.expect("the honest side has rekeyed");
            let share = unhex(SMALL_ORDER_SHARES[5].1).try_into().expect("32 bytes");
            frames.push(rekey(peer, number, 1, &share));
        },
        zero(),
        5,
    );
    t.script(|script| script.rekeys = true);
    t.add(
        "a REKEY that names an older share than before",
        "REKEY.peer_number",
        |peer, frames| {
            let share = peer.share.expect("the honest side has rekeyed");
            frames.push(peer.keys().rekey(Some(share), 1, &[5; 32], &x25519_base(&[5; 32])));
            frames.push(rekey(peer, 0, 2, &[9; 32]));
        },
        field("peer_number"),
        1,
    );
    t.script(|script| script.rekeys = true);
    t.add(
        "a record under the key before REKEY",
        "REKEY altered",
        |peer, frames| {
            frames.push(rekey(peer, 0, 1, &[9; 32]));
            frames.push(peer.keys().data(b"with the old key"));
        },
        does_not_open(),
        6,
    );
    t.add(
        "a REKEY mixed with nothing where it names a share",
        "REKEY altered",
        |peer, frames| {
            let (number, _) = peer.share.expect("the honest side has rekeyed");
            let content = rekey_content(number, 1, &x25519_base(&[5; 32]));
            frames.push(peer.seal(REKEY, &content));
            peer.keys().advance(&content, &[0; 32]);
            frames.push(peer.keys().data(b"with a secret of zero"));
        },
        does_not_open(),
        6,
    );
    t.script(|script| script.rekeys = true);
    t.add(
        "a REKEY left out",
        "REKEY missing",
        |peer, frames| {
            peer.keys().rekey(None, 1, &[5; 32], &x25519_base(&[5; 32]));
            frames.push(peer.keys().data(b"with a new key"));
        },
        does_not_open(),
        6,
    );
    t.add(
        "a REKEY sent back",
        "REKEY reflected",
        |peer, frames| {
            let rekey = peer.frames.iter().rfind(|frame| frame.len() == 4 + 1 + 40 + 16).expect("a REKEY");
            frames.push(rekey.clone());
        },
        does_not_open(),
        6,
    );
    t.script(|script| script.rekeys = true);
    t.add(
        "a REKEY of another session",
        "REKEY spliced",
        |peer, frames| {
            frames.push(Direction::new([7; 32], peer.keys().aead).rekey(None, 1, &[5; 32], &[9; 32]));
        },
        does_not_open(),
        6,
    );
    t.add(
        "a REKEY that is as long as a record can be",
        "REKEY oversized",
        |peer, frames| {
            frames.push(peer.seal(REKEY, &[0; 65_536]));
        },
        trailing("REKEY"),
        1,
    );
    let storm = || unexpected("fewer REKEY records", "REKEY");
    t.add(
        "a rekey storm",
        "REKEY twice",
        |peer, frames| {
            let share = x25519_base(&[5; 32]);
            frames.extend((0..1_000).map(|_| peer.keys().rekey(None, 0, &[5; 32], &share)));
        },
        storm(),
        2,
    );
    t.add(
        "a rekey storm that keepalives don't excuse",
        "REKEY twice",
        |peer, frames| {
            let share = x25519_base(&[5; 32]);
            for _ in 0..100 {
                frames.push(peer.keys().record(KEEPALIVE, b""));
                frames.extend((0..2).map(|_| peer.keys().rekey(None, 0, &[5; 32], &share)));
            }
        },
        storm(),
        2,
    );
    t.add(
        "a seventeenth REKEY, with one record between",
        "REKEY twice",
        |peer, frames| {
            let share = x25519_base(&[5; 32]);
            frames.extend((0..16).map(|_| peer.keys().rekey(None, 0, &[5; 32], &share)));
            frames.push(peer.keys().data(b"after sixteen"));
            frames.push(peer.keys().rekey(None, 0, &[5; 32], &share));
            frames.push(peer.keys().data(b"after seventeen"));
        },
        storm(),
        2,
    );
    t.delivers(&[GREETING, b"after sixteen"]);
    // Three records and the greeting excuse the seventeenth, and one more record does not excuse another.
    t.add(
        "an eighteenth REKEY, with too few records between",
        "REKEY twice",
        |peer, frames| {
            let share = x25519_base(&[5; 32]);
            frames.extend((0..16).map(|_| peer.keys().rekey(None, 0, &[5; 32], &share)));
            frames.extend((0..3).map(|_| peer.keys().data(b"between")));
            frames.push(peer.keys().rekey(None, 0, &[5; 32], &share));
            frames.push(peer.keys().data(b"after seventeen"));
            frames.push(peer.keys().rekey(None, 0, &[5; 32], &share));
            frames.push(peer.keys().data(b"after eighteen"));
        },
        storm(),
        2,
    );
    t.delivers(&[GREETING, b"between", b"between", b"between", b"after seventeen"]);
    t.add(
        "a malformed REKEY in a storm",
        "REKEY truncated",
        |peer, frames| {
            let share = x25519_base(&[5; 32]);
            frames.extend((0..16).map(|_| peer.keys().rekey(None, 0, &[5; 32], &share)));
            frames.push(peer.seal(REKEY, &[0; 39]));
        },
        short("share"),
        1,
    );
}
