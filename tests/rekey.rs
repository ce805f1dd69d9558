//! Rekeying (specification, section 11.2): nothing is lost, the past and the future are closed to a thief, a storm is refused.
#![allow(missing_docs)]

mod support;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use countersign::config::Config;
use countersign::crypto::aead::OpeningKey;
use countersign::crypto::agreement::X25519Share;
use countersign::crypto::schedule::TrafficSecret;
use countersign::crypto::suite::{Aead, Suite};
use countersign::error::{Error, Misuse, Sealed};
use countersign::keylog::KeyLog;
use countersign::secret::Secret;
use countersign::session::{Event, Padding, Progress, RekeyPolicy, Sealer, Session, Shares};
use countersign::wire::message::Rekey;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use support::{ReplayRng, config, honest, seeded, unhex};

const NOW: Duration = Duration::ZERO;

/// One side, and what is on the way to the other.
struct Side {
    session: Box<Session>,
    /// Frames, and whether each is data.
    sent: VecDeque<Vec<u8>>,
    received: u64,
    written: u64,
    rekeys: u64,
}

impl Side {
    fn new(session: Box<Session>) -> Self {
        Side { session, sent: VecDeque::new(), received: 0, written: 0, rekeys: 0 }
    }

    /// A numbered record, after a rekey if that is due.
    fn write(&mut self, rng: &mut ChaCha8Rng) {
        let Session { sealer, shares, .. } = &mut *self.session;
        let mut out = BytesMut::new();
        if sealer.rekey_is_due(NOW, shares.peer_number()) {
            sealer.rekey(shares, NOW, rng, &mut out).expect("a rekey");
            self.rekeys += 1;
            self.sent.push_back(out.split().to_vec());
        }
        let content = self.written.to_be_bytes();
        assert_eq!(sealer.seal_data([content.as_slice()].into_iter(), &mut out), Ok(8));
        self.written += 1;
        self.sent.push_back(out.to_vec());
        assert!(self.session.shares.kept() <= 2, "more than two private halves");
    }

    fn read(&mut self, mut frame: Vec<u8>) {
        match self.session.open(&mut frame).expect("an honest record") {
            Progress::Record { event: Event::Data(range), .. } => {
                assert_eq!(frame[range], self.received.to_be_bytes(), "lost, doubled or out of order");
                self.received += 1;
            }
            Progress::Record { event: Event::Rekey, .. } => {}
            other => panic!("{other:?}"),
        }
        assert!(self.session.shares.kept() <= 2, "more than two private halves");
    }
}

fn pair(policy: RekeyPolicy, suite: Suite, seed: u64) -> (Side, Side) {
    let with = |config: Config| config.rekey(policy).suites([suite]);
    let both = honest(&with(config(1, 2)), &with(config(2, 1)), seed);
    (Side::new(both.initiator), Side::new(both.responder))
}

/// A million records with a rekey every ten, crossing in both directions, with any number of them on the way: nothing is lost. [RK-1] [RK-3] [RK-4]
#[test]
fn a_million_records_with_a_rekey_every_ten() {
    let mut rng = seeded(1);
    for suite in [Suite::X25519ChaCha20Poly1305Sha256, Suite::X25519MlKem768Aes256GcmSha256] {
        // A record of eight bytes has 25 with kind and tag.
        let (mut i, mut r) = pair(RekeyPolicy::new(250, Duration::MAX), suite, 2);
        while i.written < 250_000 || r.written < 250_000 {
            for _ in 0..rng.next_u32() % 40 {
                i.write(&mut rng);
            }
            for _ in 0..rng.next_u32() % 40 {
                r.write(&mut rng);
            }
            // Some of it arrives; the rest crosses with what is written next.
            for _ in 0..rng.next_u32() % 50 {
                i.sent.pop_front().into_iter().for_each(|frame| r.read(frame));
                r.sent.pop_front().into_iter().for_each(|frame| i.read(frame));
            }
        }
        i.sent.drain(..).for_each(|frame| r.read(frame));
        r.sent.drain(..).for_each(|frame| i.read(frame));
        assert_eq!((i.received, r.received), (r.written, i.written));
        for side in [&i, &r] {
            assert!(side.rekeys >= side.written / 11, "{} rekeys in {} records", side.rekeys, side.written);
        }
    }
}

/// What a thief can do with what he stole: traffic secrets and private halves. He sees the wire, and tries everything.
struct Thief {
    /// Every secret that the direction may stand at, with the key that opens it.
    secrets: Vec<([u8; 32], OpeningKey)>,
    halves: Vec<[u8; 32]>,
}

impl Thief {
    fn new(secret: [u8; 32], halves: &[u8]) -> Self {
        Thief { secrets: vec![keyed(secret)], halves: halves.iter().map(|byte| [*byte; 32]).collect() }
    }

    /// Whether any of his keys opens the frame. From a REKEY he makes every secret that he can.
    fn reads(&mut self, frame: &[u8]) -> bool {
        let (header, body) = frame.split_at(4);
        let mut next = Vec::new();
        let mut opened = false;
        for (secret, key) in &mut self.secrets {
            let mut body = body.to_vec();
            let Ok(plaintext) = key.open(header, &mut body, Sealed::Record) else { continue };
            opened = true;
            let (kind, content) = plaintext.split_first().expect("a kind");
            if *kind != 6 {
                return true;
            }
            let content: [u8; 40] = content.try_into().expect("40 bytes");
            let rekey = Rekey::decode(&content).expect("a REKEY");
            let secret = TrafficSecret::take(&mut secret.clone());
            let agreed = self.halves.iter().map(|half| {
                let half = X25519Share::from_secret(&Secret::take(&mut half.clone())).expect("a share");
                Some(half.agree(&rekey.share).expect("a secret"))
            });
            for dh in agreed.chain([None]) {
                next.push(*secret.next(&content, dh.as_ref()).expect("a secret").expose());
            }
        }
        if opened {
            self.secrets = next.into_iter().map(keyed).collect();
        }
        opened
    }
}

fn keyed(secret: [u8; 32]) -> ([u8; 32], OpeningKey) {
    let key = TrafficSecret::take(&mut secret.clone()).opening_key(Aead::ChaCha20Poly1305);
    (secret, key.expect("a key"))
}

/// Remembers the newest traffic secret of each direction.
#[derive(Clone, Default)]
struct Loot(Arc<Mutex<[Vec<u8>; 2]>>);

impl KeyLog for Loot {
    fn log(&self, line: &str) {
        let secret = unhex(line.rsplit(' ').next().expect("a secret"));
        let direction = ["TRAFFIC_I", "TRAFFIC_R"].iter().position(|label| line.starts_with(label));
        if let Some(direction) = direction {
            self.0.lock().unwrap()[direction] = secret;
        }
    }
}

impl Loot {
    fn steal(&self, direction: usize, halves: &[u8]) -> Thief {
        Thief::new(self.0.lock().unwrap()[direction].clone().try_into().expect("a secret"), halves)
    }
}

/// Sends one rekey and one record, delivers both, and returns the record.
fn rekey_and_write(from: &mut Side, to: &mut Side, drawn: [u8; 32]) -> [Vec<u8>; 2] {
    let mut out = BytesMut::new();
    let Session { sealer, shares, .. } = &mut *from.session;
    sealer.rekey(shares, NOW, &mut ReplayRng(drawn.to_vec()), &mut out).expect("a rekey");
    let rekey = out.split().to_vec();
    let content = from.written.to_be_bytes();
    sealer.seal_data([content.as_slice()].into_iter(), &mut out).expect("data");
    from.written += 1;
    let data = out.to_vec();
    to.read(rekey.clone());
    to.read(data.clone());
    [rekey, data]
}

/// All state of both sides is stolen, traffic secrets and private halves; then each side rekeys, and sends again. After that the thief reads
/// neither direction. Until then he reads on, so the theft is real.
#[test]
fn stolen_state_heals() {
    let loot = Loot::default();
    let suite = Suite::X25519ChaCha20Poly1305Sha256;
    let with = |config: Config| config.suites([suite]).dangerous_key_log(loot.clone());
    let both = honest(&with(config(1, 2)), &with(config(2, 1)), 3);
    let (mut i, mut r) = (Side::new(both.initiator), Side::new(both.responder));
    // Both have rekeyed before, so that there are private halves to steal, and stand at the start of a key.
    for n in 0..3 {
        rekey_and_write(&mut i, &mut r, [11 + n; 32]);
        rekey_and_write(&mut r, &mut i, [21 + n; 32]);
    }
    let only_rekey = |from: &mut Side, to: &mut Side, drawn: u8| {
        let mut frame = BytesMut::new();
        let Session { sealer, shares, .. } = &mut *from.session;
        sealer.rekey(shares, NOW, &mut ReplayRng(vec![drawn; 32]), &mut frame).expect("a rekey");
        to.read(frame.to_vec());
    };
    only_rekey(&mut i, &mut r, 14);
    only_rekey(&mut r, &mut i, 24);
    let halves = [11, 12, 13, 14, 21, 22, 23, 24];
    let (mut reads_i, mut reads_r) = (loot.steal(0, &halves), loot.steal(1, &halves));

    // The first to rekey names a share whose private half was stolen: the thief follows, as he must.
    let [rekey, data] = rekey_and_write(&mut i, &mut r, [15; 32]);
    assert!(reads_i.reads(&rekey) && reads_i.reads(&data), "a planted thief must be able to read");
    // The other one names the fresh share, with a fresh one of its own: closed at once.
    let [rekey, data] = rekey_and_write(&mut r, &mut i, [25; 32]);
    assert!(reads_r.reads(&rekey), "the REKEY itself is under the stolen key");
    assert!(!reads_r.reads(&data), "the responder's direction has not healed");
    // The first sends again, and rekeys by itself before it does.
    let due = i.session.sealer.rekey_is_due(NOW, i.session.shares.peer_number());
    assert!(due, "the recommended second rekey");
    let [rekey, data] = rekey_and_write(&mut i, &mut r, [16; 32]);
    assert!(reads_i.reads(&rekey), "the REKEY itself is under a key that he has");
    assert!(!reads_i.reads(&data), "the initiator's direction has not healed");
    // The second rekey calls for no third of its kind, and the other side needs none either.
    assert!(!i.session.sealer.rekey_is_due(NOW, i.session.shares.peer_number()));
}

/// When both rekey at once, with each other's old shares, both directions heal with the second rekey of each.
#[test]
fn stolen_state_heals_after_crossing_rekeys() {
    let loot = Loot::default();
    let suite = Suite::X25519ChaCha20Poly1305Sha256;
    let with = |config: Config| config.suites([suite]).dangerous_key_log(loot.clone());
    let both = honest(&with(config(1, 2)), &with(config(2, 1)), 13);
    let (mut i, mut r) = (Side::new(both.initiator), Side::new(both.responder));
    let (mut reads_i, mut reads_r) = (loot.steal(0, &[]), loot.steal(1, &[]));
    let rekey = |from: &mut Side, drawn: u8| {
        let mut out = BytesMut::new();
        let Session { sealer, shares, .. } = &mut *from.session;
        sealer.rekey(shares, NOW, &mut ReplayRng(vec![drawn; 32]), &mut out).expect("a rekey");
        out.to_vec()
    };
    // The VERDICT was the first record of the responder's direction.
    reads_r.secrets = reads_r.secrets.drain(..).map(|(secret, _)| at(secret, 1)).collect();
    let (from_i, from_r) = (rekey(&mut i, 1), rekey(&mut r, 2));
    assert!(reads_i.reads(&from_i) && reads_r.reads(&from_r));
    r.read(from_i);
    i.read(from_r);
    for side in [&i, &r] {
        assert!(side.session.sealer.rekey_is_due(NOW, side.session.shares.peer_number()));
    }
    let [rekey, data] = rekey_and_write(&mut i, &mut r, [3; 32]);
    assert!(reads_i.reads(&rekey) && !reads_i.reads(&data));
    let [rekey, data] = rekey_and_write(&mut r, &mut i, [4; 32]);
    assert!(reads_r.reads(&rekey) && !reads_r.reads(&data));
    for side in [&i, &r] {
        assert!(!side.session.sealer.rekey_is_due(NOW, side.session.shares.peer_number()), "it never ends");
    }
}

fn at(secret: [u8; 32], counter: u64) -> ([u8; 32], OpeningKey) {
    let key = TrafficSecret::take(&mut secret.clone()).dangerous_opening_key_at(Aead::ChaCha20Poly1305, counter);
    (secret, key.expect("a key"))
}

/// Traffic secrets alone, without any private half, are worthless after the first rekey that names a share.
#[test]
fn stolen_keys_heal_at_once() {
    let loot = Loot::default();
    let suite = Suite::X25519ChaCha20Poly1305Sha256;
    let with = |config: Config| config.suites([suite]).dangerous_key_log(loot.clone());
    let both = honest(&with(config(1, 2)), &with(config(2, 1)), 4);
    let (mut i, mut r) = (Side::new(both.initiator), Side::new(both.responder));
    let mut thief = loot.steal(0, &[]);
    // Without a share of the peer a rekey is a ratchet: a thief of the present reads on ...
    let [rekey, data] = rekey_and_write(&mut i, &mut r, [1; 32]);
    assert!(thief.reads(&rekey) && thief.reads(&data), "a planted thief must be able to read");
    // ... and with one he does not.
    rekey_and_write(&mut r, &mut i, [2; 32]);
    let [rekey, data] = rekey_and_write(&mut i, &mut r, [3; 32]);
    assert!(!thief.reads(&rekey) || !thief.reads(&data));
}

/// With a silent peer each rekey is still a ratchet: the present secret does not give the one before, and at most two halves are kept.
#[test]
fn a_silent_peer() {
    let mut rng = seeded(5);
    let (mut i, mut r) = pair(RekeyPolicy::new(1, Duration::MAX), Suite::X25519ChaCha20Poly1305Sha256, 6);
    for _ in 0..1_000 {
        i.write(&mut rng);
        i.sent.drain(..).for_each(|frame| r.read(frame));
        assert!(i.session.shares.kept() <= 1, "nobody named the first");
    }
    assert!(i.rekeys > 200);
}

/// Rekeys come by bytes, by time, and long before the limits of AES-256-GCM; never without anything to protect. [RE-2]
#[test]
fn when_a_rekey_is_due() {
    let mut out = BytesMut::new();
    let data = |len: usize| [vec![7; len]];
    let mut sealer = Sealer::new(TrafficSecret::take(&mut [1; 32]), Aead::ChaCha20Poly1305).expect("sealer");
    let hour = Duration::from_secs(3_600);
    assert!(!sealer.rekey_is_due(hour, 0), "nothing was sealed");
    sealer.seal_data(data(10).iter().map(Vec::as_slice), &mut out).expect("data");
    assert!(!sealer.rekey_is_due(Duration::from_secs(899), 0) && sealer.rekey_is_due(Duration::from_secs(900), 0));
    sealer.set_rekey_policy(RekeyPolicy::new(1_000, hour));
    assert!(!sealer.rekey_is_due(NOW, 0));
    sealer.seal_data(data(1_000).iter().map(Vec::as_slice), &mut out).expect("data");
    assert!(sealer.rekey_is_due(NOW, 0));
    sealer.rekey(&mut Shares::new(), hour, &mut seeded(7), &mut out).expect("a rekey");
    assert!(!sealer.rekey_is_due(hour, 0) && !sealer.rekey_is_due(hour * 3, 0), "a fresh key needs no successor");

    let secret = TrafficSecret::take(&mut [1; 32]);
    let aes = Sealer::dangerous_at(secret, Aead::Aes256Gcm, 1 << 31).expect("sealer");
    assert!(aes.rekey_is_due(NOW, 0), "half of the records of a key");
    let secret = TrafficSecret::take(&mut [1; 32]);
    let mut last = Sealer::dangerous_at(secret, Aead::Aes256Gcm, (1 << 32) - 1).expect("sealer");
    assert_eq!(last.seal_data(data(1).iter().map(Vec::as_slice), &mut out), Err(Error::Exhausted));
    last.rekey(&mut Shares::new(), NOW, &mut seeded(8), &mut out).expect("the last number is enough for a rekey");
    assert_eq!(last.seal_data(data(1).iter().map(Vec::as_slice), &mut out), Ok(1));
}

/// A storm of rekeys is refused by the receiver, and not even begun by the sender. [RK-2]
#[test]
fn a_storm() {
    let mut rng = seeded(9);
    let (mut i, mut r) = pair(RekeyPolicy::default(), Suite::X25519ChaCha20Poly1305Sha256, 10);
    let mut out = BytesMut::new();
    let Session { sealer, shares, .. } = &mut *i.session;
    for _ in 0..16 {
        sealer.rekey(shares, NOW, &mut rng, &mut out).expect("within the burst");
        r.read(out.split().to_vec());
    }
    let too_soon = Err(Error::Misuse(Misuse::RekeyStorm));
    assert_eq!(sealer.rekey(shares, NOW, &mut rng, &mut out), too_soon);
    assert!(out.is_empty() && sealer.check().is_ok(), "nothing was sent, nothing ended");
    for n in 0..4_u64 {
        assert_eq!(sealer.rekey(shares, NOW, &mut rng, &mut out), too_soon);
        sealer.seal_data([n.to_be_bytes().as_slice()].into_iter(), &mut out).expect("data");
        r.read(out.split().to_vec());
    }
    sealer.rekey(shares, NOW, &mut rng, &mut out).expect("four records later");
    r.read(out.to_vec());
}

/// All records of a padded sender have a length that its policy allows, rekeys and the end included.
#[test]
fn padded_records_look_alike() {
    for (policy, allowed) in [("block:256", &[256][..]), ("pow2", &[64, 128][..])] {
        let padding: Padding = policy.parse().expect("a policy");
        let with = |config: Config| config.padding(padding).rekey(RekeyPolicy::new(1_000, Duration::MAX));
        let both = honest(&with(config(1, 2)), &with(config(2, 1)), 11);
        let mut i = Side::new(both.initiator);
        let (mut rng, mut lengths) = (seeded(12), Vec::new());
        for _ in 0..50 {
            i.write(&mut rng);
        }
        let mut out = BytesMut::new();
        i.session.sealer.seal_keepalive(&mut out).expect("keepalive");
        lengths.push(out.split().len());
        i.session.sealer.seal_end(&mut out).expect("end");
        lengths.push(out.len());
        assert!(i.rekeys > 2);
        lengths.extend(i.sent.iter().map(Vec::len));
        for len in lengths {
            // Header, kind, length of the padding, tag.
            assert!(allowed.contains(&(len - 4 - 1 - 2 - 16)), "{policy}: {len}");
        }
    }
}
