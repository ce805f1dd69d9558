//! Does the time tell a secret? By the method of dudect (O. Reparaz, J. Balasch, I. Verbauwhede, "Dude, is my code constant time?", 2016): two
//! classes of inputs in random order, made beforehand; the slowest measurements are cropped at several percentiles; Welch's t for each, the largest
//! is told. Above 10 a leak is likely, above 4.5 look again. Two controls come first: a comparison that stops early must be seen, and
//! nothing must be seen in nothing. For people: `cargo bench --bench timing`; with `-- --test` everything runs once.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use bytes::BytesMut;
use countersign::Config;
use countersign::crypto::aead::{OpeningKey, SealingKey};
use countersign::crypto::agreement::{MlKemShare, X25519Share, encapsulate};
use countersign::crypto::network::NetworkKey;
use countersign::crypto::schedule::{ConfirmKey, EarlySecret};
use countersign::crypto::suite::Aead;
use countersign::error::Sealed;
use countersign::handshake::{Step, Target, initiate, respond};
use countersign::identity::{Identity, read_network_key, save_network_key};
use countersign::role::Role;
use countersign::secret::Secret;
use countersign::transcript::Transcript;
use countersign::trust::{Decision, from_fn};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

const SAMPLES: usize = 40_000;

fn main() {
    let test = std::env::args().any(|arg| arg == "--test");
    let mut bench = Bench { rng: ChaCha8Rng::seed_from_u64(1), samples: if test { 200 } else { SAMPLES }, worst: 0.0 };
    controls(&mut bench, test);
    tags(&mut bench);
    keys(&mut bench);
    key_files(&mut bench);
    refusals(&mut bench);
    println!("largest |t| without the controls: {:.1}", bench.worst);
}

struct Bench {
    rng: ChaCha8Rng,
    samples: usize,
    worst: f64,
}

impl Bench {
    /// Times `run` over the inputs that `make` gives for one class or the other. The largest |t|.
    fn case<I>(
        &mut self,
        name: &str,
        mut make: impl FnMut(bool, &mut ChaCha8Rng) -> I,
        mut run: impl FnMut(&mut I),
    ) -> f64 {
        let mut times = [Vec::new(), Vec::new()];
        for n in 0..self.samples + 100 {
            let class = self.rng.next_u32() & 1 == 1;
            let mut input = make(class, &mut self.rng);
            let before = Instant::now();
            run(black_box(&mut input));
            let took = before.elapsed().as_nanos() as f64;
            // The first ones warm up.
            if n >= 100 {
                times[usize::from(class)].push(took);
            }
        }
        let t = largest_t(&times);
        let verdict = if t > 10.0 {
            "a leak is likely"
        } else if t > 4.5 {
            "look again"
        } else {
            "nothing seen"
        };
        println!("{name:<72} |t| {t:>7.1}  {verdict}");
        if !name.starts_with("control") {
            self.worst = self.worst.max(t);
        }
        t
    }
}

/// Welch's t over what is left below each percentile of all.
fn largest_t(times: &[Vec<f64>; 2]) -> f64 {
    let mut all = times.concat();
    all.sort_by(f64::total_cmp);
    let mut largest: f64 = 0.0;
    for percent in [50, 75, 90, 95, 99, 100] {
        let limit = all[(all.len() - 1) * percent / 100];
        let [a, b] = times.each_ref().map(|class| {
            let kept: Vec<f64> = class.iter().copied().filter(|time| *time <= limit).collect();
            let count = kept.len() as f64;
            let mean = kept.iter().sum::<f64>() / count;
            let variance = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
            (mean, variance / count)
        });
        let t = (a.0 - b.0).abs() / (a.1 + b.1).sqrt();
        largest = largest.max(if t.is_finite() { t } else { 0.0 });
    }
    largest
}

fn controls(bench: &mut Bench, test: bool) {
    let make = |last: bool, _: &mut ChaCha8Rng| {
        let mut wrong = [7_u8; 512];
        wrong[if last { 511 } else { 0 }] ^= 1;
        wrong
    };
    let early = |wrong: &mut [u8; 512]| {
        black_box(wrong.iter().zip(&[7_u8; 512]).all(|(a, b)| black_box(*a) == *b));
    };
    let seen = bench.case("control: a comparison that stops early", make, early);
    let nothing = bench.case("control: two classes that are the same", |_, _| [7_u8; 512], early);
    assert!(test || seen > 10.0, "a comparison that stops early was not seen: the machine is too noisy");
    assert!(test || nothing < 10.0, "something was seen in nothing: the machine is too noisy");
}

/// A wrong byte at the front or at the back of a tag or MAC.
fn tags(bench: &mut Bench) {
    for aead in [Aead::ChaCha20Poly1305, Aead::Aes256Gcm] {
        let key = Secret::take(&mut [1; 32]);
        let mut sealing = SealingKey::new(aead, &key, Secret::take(&mut [2; 12])).expect("a key");
        let mut opening = OpeningKey::new(aead, &key, Secret::take(&mut [2; 12])).expect("a key");
        let make = |last: bool, _: &mut ChaCha8Rng| {
            let mut record = vec![5; 64];
            let mut tag = sealing.seal(b"head", &mut record).expect("sealed");
            tag[if last { 15 } else { 0 }] ^= 1;
            record.extend_from_slice(&tag);
            record
        };
        let open = |record: &mut Vec<u8>| assert!(opening.open(b"head", record, Sealed::Record).is_err());
        bench.case(&format!("{aead:?}: first or last byte of the tag wrong"), make, open);
    }
    let confirm = ConfirmKey::take(&mut [3; 32]);
    let hash = Transcript::new(b"").expect("a transcript").hash();
    let right = confirm.compute(&hash).expect("a MAC");
    let make = |last: bool, _: &mut ChaCha8Rng| wrong_at(right, last);
    bench.case("confirmation: first or last byte wrong", make, |mac| assert!(confirm.check(&hash, mac).is_err()));
    let network = NetworkKey::take(&mut [4; 32]).expect("a key");
    let tag_key = EarlySecret::new(Some(&network)).and_then(|early| early.network_tag_key()).expect("a key");
    let right = tag_key.compute(&[b"hello"]).expect("a tag");
    let make = |last: bool, _: &mut ChaCha8Rng| wrong_at(right, last);
    bench.case("network tag: first or last byte wrong", make, |tag| assert!(tag_key.check(&[b"hello"], tag).is_err()));
}

fn wrong_at(mut mac: [u8; 32], last: bool) -> [u8; 32] {
    mac[if last { 31 } else { 0 }] ^= 1;
    mac
}

/// One fixed private key or random ones.
fn keys(bench: &mut Bench) {
    let peer = *X25519Share::from_secret(&Secret::take(&mut [9; 32])).expect("a share").share();
    let make =
        |fixed, rng: &mut ChaCha8Rng| X25519Share::from_secret(&Secret::take(&mut bytes(fixed, rng))).expect("a share");
    bench.case("X25519: a fixed private key or random ones", make, |share| {
        black_box(share.agree(&peer).expect("agreed"));
    });
    let input = Transcript::new(b"").expect("a transcript").signature_input(Role::Initiator);
    let make = |fixed, rng: &mut ChaCha8Rng| Identity::from_seed(&mut bytes(fixed, rng)).expect("an identity");
    bench.case("Ed25519: a fixed private key or random ones, signing", make, |identity| {
        black_box(identity.sign(&input).expect("signed"));
    });
}

fn bytes(fixed: bool, rng: &mut ChaCha8Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    if fixed { [0xFF; 32] } else { bytes }
}

/// Private keys in text, of one fixed key or of random ones: the decoding of base64 may not depend on what it decodes.
fn key_files(bench: &mut Bench) {
    let make = |fixed, rng: &mut ChaCha8Rng| {
        let seed = bytes(fixed, rng);
        let der = [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..], &seed].concat();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", base64(&der))
    };
    let parse = |pem: &mut String| {
        black_box(Identity::from_pem(pem, None).expect("an identity"));
    };
    bench.case("PKCS#8 key file: a fixed key or random ones", make, parse);
    let make = |fixed, rng: &mut ChaCha8Rng| {
        let identity = Identity::from_seed(&mut bytes(fixed, rng)).expect("an identity");
        identity.to_openssh(None).expect("a text").to_string()
    };
    bench.case("OpenSSH key file: a fixed key or random ones", make, parse);

    // So many files of each class, that both are equally well known to the cache.
    let folder = tempfile::tempdir().expect("a folder");
    let path = |fixed: bool, n: u32| folder.path().join(format!("{fixed}-{}", n % 64));
    for (fixed, n) in [true, false].into_iter().flat_map(|fixed| (0..64).map(move |n| (fixed, n))) {
        let key = NetworkKey::take(&mut bytes(fixed, &mut bench.rng)).expect("a key");
        save_network_key(&key, path(fixed, n)).expect("saved");
    }
    let make = |fixed, rng: &mut ChaCha8Rng| path(fixed, rng.next_u32());
    bench.case("network key file: a fixed key or random ones", make, |path| {
        black_box(read_network_key(path).expect("a key"));
    });
}

fn base64(data: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    assert_eq!(data.len() % 3, 0);
    let digit = |bits: u32| char::from(ALPHABET[(bits & 63) as usize]);
    let group = |three: &[u8]| {
        let bits = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        [digit(bits >> 18), digit(bits >> 12), digit(bits >> 6), digit(bits)]
    };
    data.chunks(3).flat_map(group).collect()
}

/// Where someone is turned away for a secret that he does not have. (Which of the reasons a VERDICT gives is said in it: that may take its time.)
fn refusals(bench: &mut Bench) {
    // Implicit rejection: a right ciphertext or a wrong one.
    let make = |right: bool, rng: &mut ChaCha8Rng| {
        let share = MlKemShare::generate(rng).expect("a share");
        let key = share.share().try_into().expect("length");
        let (mut ciphertext, _) = encapsulate(&key, &Secret::take(&mut bytes(false, rng))).expect("encapsulated");
        ciphertext[100] ^= u8::from(!right);
        (Some(share), ciphertext)
    };
    bench.case("ML-KEM-768: a right ciphertext or a wrong one", make, |(share, ciphertext)| {
        black_box(share.take().map(|share| share.decapsulate(ciphertext)));
    });
    // A whole responder with a network key is called by a stranger.
    let trusting =
        |byte| Config::new(Identity::from_seed(&mut [byte; 32]).expect("an identity"), from_fn(|_| Decision::accept()));
    let member = trusting(1).network_key(NetworkKey::take(&mut [4; 32]).expect("a key"));
    let responder = trusting(2).network_key(NetworkKey::take(&mut [4; 32]).expect("a key"));
    let make = |last: bool, rng: &mut ChaCha8Rng| {
        let mut hello = BytesMut::new();
        initiate(&member, Target::default(), rng, &mut hello).expect("a HELLO");
        let len = hello.len();
        hello[if last { len - 1 } else { len - 32 }] ^= 1;
        let Ok(Step::NeedInput(need)) = respond(&responder, rng) else { panic!("a responder needs input") };
        (Some(need), hello, BytesMut::new())
    };
    bench.case("a responder is called with a wrong tag: its first or last byte", make, |(need, hello, output)| {
        let need = need.take().expect("once");
        assert!(need.feed(hello, output).is_err() && output.is_empty());
    });
}
