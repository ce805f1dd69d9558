//! Secrets are wiped: the memory of a process is searched by another one, while it holds them, when each has had its
//! time, and after everything was dropped.
//!
//! The process is this program, with `child` as its only test. It gets secrets from files and draws its randomness from one,
//! straight to where it is to be, so that nothing but the library has a reason to keep a copy. The parent knows what to
//! look for: it computes all of it from the same files. First it has to find each secret where it is alive, which proves
//! that it can.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

#[path = "support/memory.rs"]
mod memory;
mod support;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::env;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use base64ct::{Base64, Encoding};
use bytes::BytesMut;
use countersign::config::Config;
use countersign::crypto::agreement::{self, X25519Share};
use countersign::crypto::network::NetworkKey;
use countersign::crypto::schedule::{TrafficSecret, TranscriptHash};
use countersign::crypto::suite::Suite;
use countersign::error::Sealed;
use countersign::handshake::Target;
use countersign::identity::{Identity, create_file, read_network_key, save_network_key};
use countersign::keylog::KeyLog;
use countersign::secret::Secret;
use countersign::session::{Progress, RekeyPolicy, Session};
use countersign::transcript::{Item, Transcript};
use countersign::trust::{Decision, from_fn};
use countersign::wire::message::Auth;
use hkdf::Hkdf;
use libcrux_ml_kem::mlkem768;
use memory::{Found, Needle, search};
use rand_core::{Rng, TryCryptoRng, TryRng};
use sha2::{Digest, Sha256, Sha512};
use support::{End, ReplayRng, frames, seeded_quietly, unhex};

/// Randomness from a file, without a buffer.
struct FileRng(File);

impl TryRng for FileRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("the library draws bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("the library draws bytes")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.read_exact(out).expect("randomness");
        Ok(())
    }
}

impl TryCryptoRng for FileRng {}

/// Tells the parent where we are, and waits until it has looked around.
fn pause(stage: &str) {
    // Where the stack of this thread is, so that it can be told from the heap.
    let here = 0_u8;
    println!("\n{MARK}{stage} {:x}", (&raw const here).addr());
    std::io::stdout().flush().expect("stdout");
    let mut go = [0; 1];
    std::io::stdin().read_exact(&mut go).expect("the parent");
}

/// The process whose memory is searched.
#[test]
#[ignore = "the other half of the tests here"]
fn child() {
    let Ok(task) = env::var(TASK) else { return };
    let folder = PathBuf::from(env::var(FOLDER).expect("folder"));
    match task.as_str() {
        "control" => control(&folder),
        "keys" => keys(&folder),
        "session" => session(&folder),
        _ => panic!("{task}"),
    }
}

/// Wipes nothing.
fn control(folder: &Path) {
    let mut heap = vec![0; 32];
    let mut stack = [0; 32];
    FileRng(File::open(folder.join("random")).expect("file")).try_fill_bytes(&mut heap).expect("randomness");
    stack.copy_from_slice(&heap);
    black_box((&mut heap, &mut stack));
    pause("alive");
    drop(black_box(heap));
    pause("freed");
    black_box(&mut stack).fill(0);
    pause("stack wiped");
}

/// Key files of every sort.
fn keys(folder: &Path) {
    let passphrase = || {
        let mut passphrase = [0; PASSPHRASE_LEN];
        FileRng(File::open(folder.join("passphrase")).expect("file")).try_fill_bytes(&mut passphrase).expect("bytes");
        Secret::take(&mut passphrase)
    };
    let secret = passphrase();
    pause("passphrase");
    let plain = Identity::from_file(folder.join("plain")).expect("plain");
    let pkcs8 = Identity::from_file(folder.join("pkcs8")).expect("pkcs8");
    let encrypted = Identity::from_file_with_passphrase(folder.join("encrypted"), secret.expose()).expect("encrypted");
    let network = read_network_key(folder.join("network")).expect("network key");
    drop(secret);
    pause("loaded");
    let seed = |identity: &Identity| identity.public_key();
    black_box([seed(&plain), seed(&pkcs8), seed(&encrypted)]);
    black_box(&network);
    drop((plain, pkcs8, encrypted, network));
    pause("dropped");
    // What is written holds the same secrets.
    let secret = passphrase();
    for (file, passphrase) in [("plain", None), ("encrypted", Some(secret.expose().as_slice()))] {
        let identity = Identity::from_file_with_passphrase(folder.join(file), secret.expose()).expect("identity");
        identity.save(folder.join(format!("{file} again")), passphrase).expect("saved");
    }
    let network = read_network_key(folder.join("network")).expect("network key");
    save_network_key(&network, folder.join("network again")).expect("saved");
    drop((secret, network));
    pause("written");
}

/// Both sides of a session; what happens is the same in both processes, but for where randomness comes from.
fn play<R: TryCryptoRng>(
    folder: &Path,
    key_log: Option<PathLog>,
    rng: impl Fn(&str) -> R,
    mut stage: impl FnMut(&str, &mut Stage),
) {
    let suite: u16 = fs::read_to_string(folder.join("suite")).expect("suite").parse().expect("suite");
    let config = |name: &str| {
        let config = Config::new(Identity::from_file(folder.join(name)).expect("key"), from_fn(|_| Decision::accept()))
            .suites(Suite::from_code(suite))
            .rekey(RekeyPolicy::new(1, Duration::MAX))
            .network_key(read_network_key(folder.join("network")).expect("network key"));
        match &key_log {
            Some(log) if name == "initiator" => config.dangerous_key_log(log.clone()),
            _ => config,
        }
    };
    let mut now = Stage::default();
    let (mut first, mut second) = (rng("random initiator"), rng("random responder"));
    let (initiator, responder) = (config("initiator"), config("responder"));
    let mut i = End::initiator(&initiator, Target::default(), &mut first);
    let mut r = End::responder(&responder, &mut second);
    stage("begun", &mut now);
    now.flights.push(i.take_output());
    r.feed(now.flights.last().expect("HELLO"));
    stage("replied", &mut now);
    now.flights.push(r.take_output());
    i.feed(now.flights.last().expect("reply"));
    stage("proved", &mut now);
    now.flights.push(i.take_output());
    r.feed(now.flights.last().expect("AUTH_I"));
    i.feed(&r.take_output());
    let (mut a, mut b) = (i.session.take().expect("initiator"), r.session.take().expect("responder"));
    drop((i, r));
    now.channel_binding = a.info.channel_binding;
    stage("established", &mut now);
    for _ in 0..2 {
        rekey(&mut a, &mut b, &mut first);
        rekey(&mut b, &mut a, &mut second);
    }
    stage("rekeyed", &mut now);
    drop((a, b));
    stage("over", &mut now);
    drop((initiator, responder));
    stage("dropped", &mut now);
}

fn rekey(from: &mut Session, to: &mut Session, rng: &mut impl TryCryptoRng) {
    let mut wire = BytesMut::new();
    from.sealer.rekey(&mut from.shares, Duration::ZERO, rng, &mut wire).expect("rekey");
    from.sealer.seal_data([b"data".as_slice()].into_iter(), &mut wire).expect("data");
    while !wire.is_empty() {
        let Progress::Record { consumed, .. } = to.open(&mut wire).expect("opened") else { panic!("a whole record") };
        let _ = wire.split_to(consumed);
    }
}

/// What the parent learns by playing itself.
#[derive(Clone, Default)]
struct Stage {
    flights: Vec<Vec<u8>>,
    channel_binding: [u8; 32],
}

#[derive(Clone)]
struct PathLog(PathBuf);

impl KeyLog for PathLog {
    fn log(&self, line: &str) {
        let mut file = File::options().append(true).create(true).open(&self.0).expect("log");
        writeln!(file, "{line}").expect("log");
    }
}

fn session(folder: &Path) {
    play(folder, None, |name| FileRng(File::open(folder.join(name)).expect("randomness")), |name, _| pause(name));
}

/// The process, and what it says.
struct Searched {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Searched {
    fn start(task: &str, folder: &Path) -> Self {
        let mut process = Command::new(env::current_exe().expect("this program"))
            .args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(TASK, task)
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let (stdin, stdout) = (process.stdin.take().expect("stdin"), process.stdout.take().expect("stdout"));
        Searched { process, stdin, stdout: BufReader::new(stdout) }
    }

    /// Lets it go on to its next pause and searches it there; nothing when it has ended.
    fn next(&mut self, needles: &[Needle]) -> Option<(String, Found)> {
        let mut line = String::new();
        while self.stdout.read_line(&mut line).expect("stdout") > 0 {
            if let Some((stage, stack)) = line.trim_end().strip_prefix(MARK).and_then(|mark| mark.rsplit_once(' ')) {
                let stack = u64::from_str_radix(stack, 16).expect("address");
                let found = search(self.process.id(), stack, needles);
                self.stdin.write_all(b"g").expect("the child");
                return Some((stage.to_string(), found));
            }
            line.clear();
        }
        assert!(self.process.wait().expect("the child").success());
        None
    }
}

/// Searches a child at every stage, and compares with what has to be there and what may.
struct Expected {
    needle: Needle,
    /// The stages at which it is alive, and has to be found.
    alive: &'static [&'static str],
}

fn check(task: &str, folder: &Path, expected: &[Expected]) {
    let needles: Vec<Needle> = expected.iter().map(|expected| expected.needle.clone()).collect();
    let mut child = Searched::start(task, folder);
    let (mut stages, mut wrong) = (Vec::new(), Vec::new());
    while let Some((stage, found)) = child.next(&needles) {
        for Expected { needle, alive } in expected {
            let name = &needle.name;
            match found.get(name) {
                None if alive.contains(&&*stage) => wrong.push(format!("{stage}: {name} is not found")),
                Some(places) if !alive.contains(&&*stage) => {
                    let on_stack = places.iter().all(|place| place.starts_with("stack"));
                    match EXCUSES.iter().find(|(start, _)| name.starts_with(start) && on_stack) {
                        Some((_, why)) => println!("{stage}: {name} is left on the stack: {why}"),
                        None => wrong.push(format!("{stage}: {name} is left: {places:?}")),
                    }
                }
                _ => {}
            }
        }
        stages.push(stage);
    }
    let known = |stage: &str| stages.iter().any(|known| known == stage);
    assert!(expected.iter().all(|expected| expected.alive.iter().all(|stage| known(stage))), "{stages:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The search finds what is there: on the heap, also freed, and on the stack.
#[test]
fn what_is_not_wiped_is_found() {
    let folder = tempfile::tempdir().expect("folder");
    let needles = [Needle::new("bytes", &random(folder.path(), "random", 1, 32))];
    let mut child = Searched::start("control", folder.path());
    let mut places = BTreeMap::new();
    while let Some((stage, found)) = child.next(&needles) {
        places.insert(stage, found.get("bytes").cloned().unwrap_or_default().join(" "));
    }
    let [alive, freed, wiped] = ["alive", "freed", "stack wiped"].map(|stage| &places[stage]);
    assert!(alive.contains("stack") && alive.contains("heap"), "{places:?}");
    assert!(freed.contains("stack") && freed.contains("heap") && !wiped.contains("stack"), "{places:?}");
}

/// Private key files in every format, their text, the passphrase, the network key: nothing outlives its owner.
#[test]
fn key_files() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let passphrase = random(folder, "passphrase", 1, PASSPHRASE_LEN);
    let mut expected = vec![Expected::new("passphrase", &passphrase, &["passphrase"])];
    for (seed, name) in [(2, "plain"), (3, "encrypted"), (4, "pkcs8")] {
        let bytes = random(folder, "seed", seed, 32);
        let identity = || Identity::from_seed(&mut bytes.clone().try_into().expect("seed")).expect("identity");
        match name {
            "plain" => identity().save(folder.join(name), None).expect("saved"),
            "encrypted" => identity().save(folder.join(name), Some(&passphrase)).expect("saved"),
            _ => {
                let der = [unhex("302e020100300506032b657004220420"), bytes.clone()].concat();
                let text = format!(
                    "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
                    Base64::encode_string(&der)
                );
                create_file(&folder.join(name), text.as_bytes(), 0o600).expect("saved");
            }
        }
        fs::remove_file(folder.join("seed")).expect("removed");
        expected.push(Expected::new(format!("seed of {name}"), &bytes, &["loaded"]));
        let hash = Sha512::digest(&bytes);
        let mut scalar = hash[..32].to_vec();
        scalar[0] &= 0xF8;
        scalar[31] = scalar[31] & 0x3F | 0x40;
        expected.push(Expected::new(format!("scalar of {name}"), &scalar, &[]));
        expected.push(Expected::new(format!("prefix of {name}"), &hash[32..], &[]));
        let text = fs::read_to_string(folder.join(name)).expect("text");
        expected.push(Expected::new(format!("text of {name}"), private_text(&text, &bytes).as_bytes(), &[]));
    }
    let network = random(folder, "network key", 5, 32);
    let key = NetworkKey::take(&mut network.clone().try_into().expect("key")).expect("key");
    save_network_key(&key, folder.join("network")).expect("saved");
    expected.push(Expected::new("network key", &network, &["loaded"]));
    expected.push(Expected::new("text of the network key", Base64::encode_string(&network).as_bytes(), &[]));
    check("keys", folder, &expected);
}

/// The part of a PEM text that has the secret, or all of it if it is encrypted.
fn private_text(text: &str, secret: &[u8]) -> String {
    let base64: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let bytes = Base64::decode_vec(&base64).expect("base64");
    let at = bytes.windows(secret.len()).position(|window| window == secret);
    let (start, end) =
        at.map_or((bytes.len().saturating_sub(64), bytes.len().saturating_sub(16)), |at| (at, at + secret.len()));
    base64[start.div_ceil(3) * 4..end / 3 * 4].to_string()
}

/// Each secret of a session is gone as soon as it has had its time, through handshake, rekeys and the end.
#[test]
fn sessions() {
    for suite in Suite::ALL {
        println!("{suite:?}");
        let folder = tempfile::tempdir().expect("folder");
        let folder = folder.path();
        fs::write(folder.join("suite"), suite.code().to_string()).expect("suite");
        let mut expected = Vec::new();
        for (seed, name) in [(1, "initiator"), (2, "responder")] {
            let seed = random(folder, "seed", seed, 32);
            let identity = Identity::from_seed(&mut seed.clone().try_into().expect("seed")).expect("identity");
            identity.save(folder.join(name), None).expect("saved");
            fs::remove_file(folder.join("seed")).expect("removed");
            expected.push(Expected::new(format!("seed of {name}"), &seed, &STAGES[..6]));
        }
        let network: [u8; 32] = random(folder, "network key", 3, 32).try_into().expect("32 bytes");
        let key = NetworkKey::take(&mut network.clone()).expect("key");
        save_network_key(&key, folder.join("network")).expect("saved");
        fs::remove_file(folder.join("network key")).expect("removed");
        expected.push(Expected::new("network key", &network, &STAGES[..6]));
        let draws = [4, 5].map(|seed| {
            let name = if seed == 4 { "random initiator" } else { "random responder" };
            random(folder, name, seed, 256)
        });
        expected.extend(secrets(folder, suite, &network, &draws));
        check("session", folder, &expected);
    }
}

/// All secrets of a session, and when each of them is alive.
fn secrets(folder: &Path, suite: Suite, network: &[u8; 32], draws: &[Vec<u8>; 2]) -> Vec<Expected> {
    let mut last = Stage::default();
    let log = folder.join("log");
    let draw = |name: &str| ReplayRng(draws[usize::from(name != "random initiator")].clone());
    play(folder, Some(PathLog(log.clone())), draw, |_, stage| last.clone_from(stage));
    let log = fs::read_to_string(log).expect("log");
    let logged = |name: &str| -> [u8; 32] {
        let line = log.lines().find(|line| line.split(' ').next() == Some(name)).unwrap_or_else(|| panic!("{name}"));
        unhex(line.rsplit(' ').next().expect("secret")).try_into().expect("32 bytes")
    };
    let [initiator, responder] = draws;
    let part = |draws: &[u8], number: usize| -> [u8; 32] { draws[32 * number..][..32].try_into().expect("32 bytes") };
    let share = |secret: [u8; 32]| X25519Share::from_secret(&Secret::take(&mut secret.clone())).expect("share");
    let agree = |a, b| *share(a).agree(share(b).share()).expect("agreed").expose();

    let mut all = Vec::new();
    let mut add =
        |name: &str, bytes: &[u8], alive: &'static [&'static str]| all.push(Expected::new(name, bytes, alive));
    // Private halves: the initiator's until the reply, the responder's until HELLO; so little is kept of a handshake.
    let (x, y) = (part(initiator, 1), part(responder, 1));
    add("X25519 of the initiator", &x, &STAGES[..2]);
    add("X25519 of the responder", &y, &STAGES[..1]);
    let dh = agree(x, y);
    add("X25519 secret", &dh, &[]);
    let mut shared = dh.to_vec();
    let mut rekeys = 2;
    if suite.is_hybrid() {
        rekeys = 4;
        let seed: [u8; 64] = initiator[64..128].try_into().expect("seed");
        let (dk, ek) = mlkem768::generate_key_pair(seed).into_parts();
        let m = part(responder, 2);
        let (_, secret) = agreement::encapsulate(ek.as_slice(), &Secret::take(&mut m.clone())).expect("encapsulated");
        shared = [secret.expose().as_slice(), &dh].concat();
        add("ML-KEM d", &seed[..32], &[]);
        add("ML-KEM z", &seed[32..], &STAGES[..2]);
        add("ML-KEM vector of the private key", &dk.as_slice()[..64], &STAGES[..2]);
        add("ML-KEM m", &m, &STAGES[..1]);
        add("ML-KEM secret", secret.expose(), &[]);
    }

    let early = extract(&[0; 32], network);
    add("early secret", &early, &STAGES[..2]);
    add("network tag key", &expand(&early, "network tag", &[]), &[]);
    let handshake = extract(&expand(&early, "derived", &[]), &shared);
    add("handshake secret", &handshake, &STAGES[1..3]);
    let master = extract(&expand(&handshake, "derived", &[]), &[0; 32]);
    add("master secret", &master, &[]);
    let (th_hello, th_final) = transcript(&last.flights, suite, |role| logged(&format!("HS_{role}")));
    assert_eq!(expand(&master, "channel binding", &th_final), last.channel_binding);
    add("exporter secret", &expand(&master, "exporter", &th_final), &STAGES[2..5]);
    for (role, short) in [("initiator", "I"), ("responder", "R")] {
        let secret = expand(&handshake, &format!("handshake {role}"), &th_hello);
        assert_eq!(secret, logged(&format!("HS_{short}")));
        add(&format!("handshake traffic secret of {role}"), &secret, &[]);
        add(&format!("handshake key of {role}"), &expand(&secret, "key", &[]), &STAGES[1..3]);
        add(&format!("handshake iv of {role}"), &expand_to::<12>(&secret, "iv", &[]), &STAGES[1..3]);
        let confirm = expand(&handshake, &format!("confirm {role}"), &th_hello);
        add(&format!("confirmation key of {role}"), &confirm, &STAGES[1..3]);
        assert_eq!(expand(&master, &format!("traffic {role}"), &th_final), logged(&format!("TRAFFIC_{short}_0")));
        for (count, alive) in [(0, &STAGES[2..4]), (1, &[]), (2, &STAGES[4..5])] {
            let secret = logged(&format!("TRAFFIC_{short}_{count}"));
            add(&format!("traffic secret {count} of {role}"), &secret, alive);
            add(&format!("traffic key {count} of {role}"), &expand(&secret, "key", &[]), alive);
            add(&format!("traffic iv {count} of {role}"), &expand_to::<12>(&secret, "iv", &[]), alive);
        }
    }
    // The newest share of each side is kept for the peer's next rekey.
    let kept = |number: usize| [part(initiator, rekeys + number), part(responder, 3 + number)];
    // The responder has not heard yet that its newest is known.
    for number in 0..2 {
        for (side, secret) in ["initiator", "responder"].into_iter().zip(kept(number)) {
            let alive = if (number, side) == (0, "initiator") { &[] as &[_] } else { &STAGES[4..5] };
            add(&format!("share {number} of {side}"), &secret, alive);
        }
    }
    for (a, b) in [(0, 0), (1, 0), (1, 1)] {
        add(&format!("rekey secret {a} {b}"), &agree(kept(a)[0], kept(b)[1]), &[]);
    }
    all
}

/// The transcript hashes after HELLO_REPLY and at the end.
fn transcript(
    flights: &[Vec<u8>],
    suite: Suite,
    secret: impl Fn(&str) -> [u8; 32],
) -> (TranscriptHash, TranscriptHash) {
    let mut transcript = Transcript::new(b"").expect("transcript");
    let mut add = |item, bytes: &[u8]| transcript.add(item, &[bytes]).map(|()| transcript.hash()).expect("added");
    let reply = frames(&flights[1]);
    add(Item::Frame, &flights[0]);
    let th_hello = add(Item::Frame, &reply[0]);
    let mut th_final = th_hello;
    for (auth, role) in [(&reply[1], "R"), (&flights[2], "I")] {
        let (header, sealed) = auth.split_at(4);
        let key = TrafficSecret::take(&mut secret(role)).opening_key(suite.aead());
        let mut body = sealed.to_vec();
        let plaintext: &[u8] = key.expect("key").open(header, &mut body, Sealed::AuthR).expect("opened");
        add(Item::Header, header);
        let auth = if role == "I" {
            let (service, auth) = Auth::decode_with_service(plaintext).expect("AUTH_I");
            add(Item::Service, service.as_bytes());
            auth
        } else {
            Auth::decode(plaintext).expect("AUTH_R")
        };
        let mut block = BytesMut::new();
        auth.credential.encode(&mut block).expect("credential");
        add(Item::Credential, &block);
        add(Item::Signature, &auth.signature);
        th_final = add(Item::Sealed, sealed);
    }
    (th_hello, th_final)
}

/// HKDF-Extract.
fn extract(salt: &[u8; 32], ikm: &[u8]) -> [u8; 32] {
    Hkdf::<Sha256>::extract(Some(salt), ikm).0.into()
}

/// `ExpandLabel` of the specification, section 10.
fn expand(secret: &[u8; 32], label: &str, context: &[u8]) -> [u8; 32] {
    expand_to(secret, label, context)
}

fn expand_to<const N: usize>(secret: &[u8; 32], label: &str, context: &[u8]) -> [u8; N] {
    let label = format!("countersign/1 {label}");
    let mut info = vec![0, N as u8, label.len() as u8];
    info.extend_from_slice(label.as_bytes());
    info.push(context.len() as u8);
    info.extend_from_slice(context);
    let mut out = [0; N];
    Hkdf::<Sha256>::from_prk(secret).expect("key").expand(&info, &mut out).expect("length");
    out
}

/// A file of seeded random bytes.
fn random(folder: &Path, name: &str, seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    seeded_quietly(seed).fill_bytes(&mut bytes);
    fs::write(folder.join(name), &bytes).expect("written");
    bytes
}

impl Expected {
    fn new(name: impl Into<String>, bytes: &[u8], alive: &'static [&'static str]) -> Self {
        Expected { needle: Needle::new(name, bytes), alive }
    }
}

/// The stages of a session.
const STAGES: [&str; 7] = ["begun", "replied", "proved", "established", "rekeyed", "over", "dropped"];
const TASK: &str = "COUNTERSIGN_WIPED";
const FOLDER: &str = "COUNTERSIGN_WIPED_FOLDER";
const MARK: &str = "stage: ";
const PASSPHRASE_LEN: usize = 24;
/// What may be left by calls that have returned, on the stack and nowhere else, until later calls overwrite it. None of it is long-lived.
const EXCUSES: &[(&str, &str)] = &[
    ("ML-KEM ", "libcrux wipes nothing of what it computes with"),
    ("network tag key", "hmac copies its key into a block, by value"),
    ("traffic key", "RustCrypto's ciphers are made by value, and moved to where they are kept"),
    ("handshake key", "as a traffic key"),
    ("traffic iv", "the first nonce under a key is its iv, and is passed by value"),
    ("handshake iv", "as a traffic iv"),
];
