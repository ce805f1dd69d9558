//! HELLO, at a responder.

use countersign::crypto::suite::Suite;
use countersign::error::{Alert, Error, Foreign, Malformed, Untrusted};
use countersign::role::Stage;

use super::Hears::{Alert as Told, Nothing};
use super::{Against, Misbehaviour, Rows, alerted, field, frame_len, short, trailing, unexpected, untrusted};
use crate::evil::crypto::SMALL_ORDER_SHARES;
use crate::evil::script::{FAITHFUL, Script};
use crate::evil::wire::{self, Hello, Share, frame, header};
use crate::support::unhex;

fn share(kind: u8, len: usize) -> Share {
    Share { kind, len: None, data: vec![9; len] }
}

pub fn rows() -> Vec<Misbehaviour> {
    let mut t = Rows::new(Against::Responder, Stage::Hello);
    fields(&mut t);
    shares(&mut t);
    frames(&mut t);
    t.rows
}

fn fields(t: &mut Rows) {
    for version in [0_u16, 2, 0x0100] {
        let script = match version {
            0 => Script { hello: |hello| hello.version = 0, ..FAITHFUL },
            2 => Script { hello: |hello| hello.version = 2, ..FAITHFUL },
            _ => Script { hello: |hello| hello.version = 0x0100, ..FAITHFUL },
        };
        let name = format!("a HELLO of version {version:#06x}");
        t.add(name, "HELLO.version", script, Error::UnsupportedVersion(version), Told(3));
    }
    let script = Script {
        hello: |hello| {
            hello.version = 7;
            hello.suite_count = Some(0);
        },
        ..FAITHFUL
    };
    let error = Error::UnsupportedVersion(7);
    t.add("a HELLO of another version, and malformed besides", "HELLO.version", script, error, Told(3));
    let script = Script { hello: |hello| hello.suite_count = Some(0), ..FAITHFUL };
    t.add("a HELLO whose suite count is 0", "HELLO.suite_count", script, field("suite_count"), Told(1));
    let script = Script { hello: |hello| hello.suites = (1..18).collect(), ..FAITHFUL };
    t.add("a HELLO with 17 suites", "HELLO.suite_count,HELLO.suites", script, field("suite_count"), Told(1));
    let script = Script { hello: |hello| hello.suite_count = Some(2), ..FAITHFUL };
    t.add("a suite count beyond the suites", "HELLO.suite_count", script, field("share_count"), Told(1));
    let script = Script {
        hello: |hello| {
            hello.suites = vec![1, 3];
            hello.suite_count = Some(1);
        },
        ..FAITHFUL
    };
    t.add("a suite count short of the suites", "HELLO.suite_count", script, field("share_count"), Told(1));
    let script = Script { hello: |hello| hello.suites = vec![1, 3, 1], ..FAITHFUL };
    t.add("a suite twice", "HELLO.suites", script, field("suites"), Told(1));
    let script = Script { hello: |hello| hello.suites = vec![0, 5, 0x7777], ..FAITHFUL };
    t.add("only suites that nobody knows", "HELLO.suites", script, Error::NoCommonSuite, Told(4));
    let script = Script {
        honest: |config| config.suites([Suite::X25519Aes256GcmSha256, Suite::X25519MlKem768Aes256GcmSha256]),
        ..FAITHFUL
    };
    t.add("only suites that the responder is not set to", "HELLO.suites", script, Error::NoCommonSuite, Told(4));
    let script = Script { hello: |hello| hello.trailing = vec![0], ..FAITHFUL };
    t.add("a HELLO with one byte behind it", "HELLO trailing", script, short("network_tag"), Told(1));
    let script = Script { hello: |hello| hello.trailing = vec![0; 33], ..FAITHFUL };
    t.add("a HELLO with 33 bytes behind it", "HELLO trailing", script, trailing("HELLO"), Told(1));
}

fn shares(t: &mut Rows) {
    let script = Script { hello: |hello| hello.share_count = Some(0), ..FAITHFUL };
    t.add("a share count of 0", "HELLO.share_count", script, field("share_count"), Told(1));
    let script = Script { hello: |hello| hello.shares = (1..10).map(|kind| share(kind, 32)).collect(), ..FAITHFUL };
    t.add("nine shares", "HELLO.share_count,HELLO.shares", script, field("share_count"), Told(1));
    let script = Script { hello: |hello| hello.share_count = Some(2), ..FAITHFUL };
    t.add("a share count beyond the shares", "HELLO.share_count", script, short("share kind"), Told(1));
    let script = Script { hello: |hello| hello.shares.push(share(1, 32)), ..FAITHFUL };
    t.add("a share kind twice", "HELLO.kind", script, field("shares"), Told(1));
    let script = Script { hello: |hello| hello.shares.insert(0, share(7, 32)), ..FAITHFUL };
    t.add("shares in descending order", "HELLO.kind", script, field("shares"), Told(1));
    let script = Script { hello: |hello| hello.shares = vec![share(9, 40)], ..FAITHFUL };
    t.add("no share of a known kind", "HELLO.kind", script, field("shares"), Told(1));
    let script = Script { hello: |hello| hello.shares.push(share(9, 0)), ..FAITHFUL };
    t.add("an empty share of an unknown kind", "HELLO.share_len", script, field("shares"), Told(1));
    let script = Script { hello: |hello| hello.shares[0].data.truncate(31), ..FAITHFUL };
    t.add("an X25519 share of 31 bytes", "HELLO.share", script, field("shares"), Told(1));
    let script = Script { hello: |hello| hello.shares[0].data.push(0), ..FAITHFUL };
    t.add("an X25519 share of 33 bytes", "HELLO.share", script, field("shares"), Told(1));
    let script = Script { hello: |hello| hello.shares[0].len = Some(33), ..FAITHFUL };
    t.add("a share length beyond the body", "HELLO.share_len", script, short("share"), Told(1));
    let script = Script { hello: |hello| hello.shares[0].len = Some(0xFFFF), ..FAITHFUL };
    t.add("a share length of 65,535", "HELLO.share_len", script, short("share"), Told(1));
    let script = Script { hello: |hello| hello.shares[0].len = Some(31), ..FAITHFUL };
    t.add("a share length short of the share", "HELLO.share_len", script, short("network_tag"), Told(1));
    let script = Script { hello: |hello| hello.suites = vec![2], ..FAITHFUL };
    t.add("a hybrid suite without its share", "HELLO.shares", script, field("shares"), Told(1));
    let script = Script { hello: |hello| hello.suites = vec![1, 4], ..FAITHFUL };
    t.add("a second suite, hybrid, without its share", "HELLO.shares", script, field("shares"), Told(1));
    // The same at a responder that would not choose the hybrid suite in any case.
    let classical = Script { honest: |config| config.suites([Suite::X25519ChaCha20Poly1305Sha256]), ..FAITHFUL };
    let script = Script { hello: |hello| hello.suites = vec![1, 4], ..classical };
    t.add("an unwanted hybrid suite without its share", "HELLO.shares", script, field("shares"), Told(1));
    let script = Script {
        hello: |hello| hello.shares[1].data.truncate(1_183),
        party: |party| party.suites = vec![1, 2],
        ..classical
    };
    t.add("an unwanted ML-KEM key that is a byte short", "HELLO.share", script, field("shares"), Told(1));
    let script = Script { hello: |hello| hello.shares.push(share(2, 1_185)), ..classical };
    t.add("an ML-KEM key with a byte too many that nobody asked for", "HELLO.share", script, field("shares"), Told(1));
    small_shares(t);
    mlkem_keys(t);
}

fn small<const N: usize>(hello: &mut Hello) {
    hello.shares[0].data = unhex(SMALL_ORDER_SHARES[N].1);
}

/// One row for each encoding, so that none hides behind another. [HS-6]
fn small_shares(t: &mut Rows) {
    let edits: [fn(&mut Hello); 7] =
        [small::<0>, small::<1>, small::<2>, small::<3>, small::<4>, small::<5>, small::<6>];
    for ((point, _), hello) in SMALL_ORDER_SHARES.into_iter().zip(edits) {
        let script = Script { hello, ..FAITHFUL };
        t.add(format!("a share of HELLO is {point}"), "HELLO.share", script, untrusted(Untrusted::ZeroSecret), Told(5));
    }
    let script = Script {
        hello: |hello| {
            hello.shares[0].data = vec![0; 32];
            hello.shares[0].data[31] = 0x80;
        },
        ..FAITHFUL
    };
    let error = untrusted(Untrusted::ZeroSecret);
    t.add("a share of HELLO is 0 with the top bit set", "HELLO.share", script, error.clone(), Told(5));
    let script =
        Script { hello: |hello| hello.shares[0].data = vec![0; 32], party: |party| party.suites = vec![2], ..FAITHFUL };
    t.add("a share of HELLO is 0 beside a good ML-KEM key", "HELLO.share", script, error, Told(5));
}

/// [HS-27]
fn mlkem_keys(t: &mut Rows) {
    let bad = || field("ML-KEM-768 encapsulation key");
    let script = Script {
        hello: |hello| hello.shares[1].data[..3].fill(0xFF),
        party: |party| party.suites = vec![2],
        ..FAITHFUL
    };
    t.add("an ML-KEM key with a coefficient of 4,095", "HELLO.share", script, bad(), Told(1));
    // 3,329 is 0xD01, in the first twelve bits.
    let script = Script {
        hello: |hello| {
            hello.shares[1].data[0] = 0x01;
            hello.shares[1].data[1] = hello.shares[1].data[1] & 0xF0 | 0x0D;
        },
        party: |party| party.suites = vec![4],
        ..FAITHFUL
    };
    t.add("an ML-KEM key with a coefficient of 3,329", "HELLO.share", script, bad(), Told(1));
    // The last coefficient lies in the last twelve bits before the 32 bytes of rho.
    let script = Script {
        hello: |hello| hello.shares[1].data[1_150..1_152].fill(0xFF),
        party: |party| party.suites = vec![2],
        ..FAITHFUL
    };
    t.add("an ML-KEM key whose last coefficient is too large", "HELLO.share", script, bad(), Told(1));
    let script = Script {
        hello: |hello| {
            hello.shares[0].data = vec![0; 32];
            hello.shares[1].data.fill(0xFF);
        },
        party: |party| party.suites = vec![2],
        ..FAITHFUL
    };
    t.add("a malformed ML-KEM key beside a zero share", "HELLO.share", script, bad(), Told(1));
    let script = Script {
        hello: |hello| hello.shares[1].data.truncate(1_183),
        party: |party| party.suites = vec![2],
        ..FAITHFUL
    };
    t.add("an ML-KEM key that is a byte short", "HELLO.share", script, field("shares"), Told(1));
    let script =
        Script { hello: |hello| hello.shares[1].data.push(0), party: |party| party.suites = vec![1, 2], ..FAITHFUL };
    t.add("an ML-KEM key with a byte too many", "HELLO.share", script, field("shares"), Told(1));
}

fn frames(t: &mut Rows) {
    let script = Script { body: |body| body.truncate(41), ..FAITHFUL };
    t.add("a HELLO of 41 bytes", "HELLO.length,HELLO truncated", script, frame_len("HELLO", 41), Told(1));
    let script = Script { body: |body| body.truncate(60), ..FAITHFUL };
    t.add("a HELLO that ends inside its share", "HELLO truncated", script, short("share"), Told(1));
    let script = Script { body: |body| body.resize(2_049, 0), ..FAITHFUL };
    t.add("a HELLO of 2,049 bytes", "HELLO.length,HELLO oversized", script, frame_len("HELLO", 2_049), Told(1));
    let script = Script { first: |_, frames| frames[0] = vec![wire::HELLO, 0xFF, 0xFF, 0xFF], ..FAITHFUL };
    t.add("a HELLO that claims 16 MiB", "HELLO.length", script, frame_len("HELLO", 0xFF_FFFF), Told(1));
    let script = Script { first: |_, frames| frames[0].truncate(3), ..FAITHFUL };
    t.add("a HELLO cut inside its header", "HELLO truncated", script, Error::Truncated, Nothing);
    let script = Script { first: |_, frames| frames[0].truncate(50), ..FAITHFUL };
    t.add("a HELLO cut inside its body", "HELLO truncated", script, Error::Truncated, Nothing);
    let script = Script { first: |_, frames| frames.clear(), ..FAITHFUL };
    t.add("no HELLO", "HELLO missing", script, Error::Truncated, Nothing);
    let script = Script { first: |_, frames| frames[0] = frame(wire::HELLO_REPLY, &[1; 68]), ..FAITHFUL };
    t.add("HELLO_REPLY for HELLO", "HELLO_REPLY early", script, unexpected("HELLO", "HELLO_REPLY"), Told(2));
    let script = Script { first: |_, frames| frames[0] = frame(wire::AUTH_R, &[1; 147]), ..FAITHFUL };
    t.add("AUTH_R for HELLO", "AUTH_R early", script, unexpected("HELLO", "AUTH_R"), Told(2));
    let script = Script { first: |peer, frames| frames[0] = peer.recorded().flights[2].clone(), ..FAITHFUL };
    t.add("a recorded AUTH_I for HELLO", "AUTH_I early", script, unexpected("HELLO", "AUTH_I"), Told(2));
    let script = Script { first: |_, frames| frames[0] = frame(wire::RECORD, &[1; 17]), ..FAITHFUL };
    t.add("a record for HELLO", "RECORD early", script, unexpected("HELLO", "RECORD"), Told(2));
    let script = Script { first: |_, frames| frames[0] = frame(wire::ALERT, &[5]), ..FAITHFUL };
    t.add("an ALERT for HELLO", "ALERT early", script, alerted(Alert::Refused, false, ""), Nothing);
    let script = Script { first: |_, frames| frames[0] = frame(wire::ALERT, &[99]), ..FAITHFUL };
    t.add("an ALERT of no known meaning", "ALERT.code", script, alerted(Alert::Unknown(99), false, ""), Nothing);
    let script = Script { first: |_, frames| frames[0] = vec![wire::ALERT, 0, 0, 0], ..FAITHFUL };
    t.add("an ALERT without a code", "ALERT.length", script, frame_len("ALERT", 0), Told(1));
    let script = Script { first: |_, frames| frames[0] = frame(wire::ALERT, &[5, 5]), ..FAITHFUL };
    t.add("an ALERT of two bytes", "ALERT.length,ALERT trailing", script, frame_len("ALERT", 2), Told(1));
    let foreign = |foreign| Error::Malformed(Malformed::Foreign(foreign));
    let script = Script { first: |_, frames| frames[0] = frame(0xC0, &[1; 70]), ..FAITHFUL };
    t.add("a frame of an unknown type first", "HELLO.type", script, foreign(Foreign::Other(0xC0)), Told(1));
    let script = Script { first: |_, frames| frames[0] = vec![0xC7], ..FAITHFUL };
    t.add("a first byte of an unknown type", "HELLO.type", script, foreign(Foreign::Other(0xC7)), Told(1));
    let script = Script { first: |_, frames| frames[0] = b"GET / HTTP/1.1\r\n\r\n".to_vec(), ..FAITHFUL };
    t.add("HTTP", "HELLO.type", script, foreign(Foreign::Http), Told(1));
    let script = Script { first: |_, frames| frames[0] = b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), ..FAITHFUL };
    t.add("SSH", "HELLO.type", script, foreign(Foreign::Ssh), Told(1));
    let script = Script { first: |_, frames| frames[0] = vec![0x16, 3, 1, 2, 0, 1], ..FAITHFUL };
    t.add("TLS", "HELLO.type", script, foreign(Foreign::Tls), Told(1));
    let script = Script { first: |_, frames| frames[0].splice(0..0, [0; 1]).for_each(drop), ..FAITHFUL };
    t.add("a zero byte before HELLO", "HELLO.type", script, foreign(Foreign::Other(0)), Told(1));
    let script = Script {
        first: |_, frames| {
            let longer = frames[0].len() - 4 + 1;
            frames[0][..4].copy_from_slice(&header(wire::HELLO, longer));
        },
        ..FAITHFUL
    };
    t.add("a HELLO that is a byte shorter than it says", "HELLO.length", script, Error::Truncated, Nothing);
}
