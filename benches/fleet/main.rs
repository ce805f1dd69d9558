//! A fleet of identities, simulated: how large the files are, how long loading them takes, what they take of the heap, and how long a decision
//! takes.
//!
//! `cargo bench --bench fleet --features x509` prints a table for 1,000, 10,000 and 100,000 identities; with `-- --test` only for 1,000.

#[path = "../support/heap.rs"]
mod heap;
#[path = "../../tests/support/pki.rs"]
mod pki;

use std::env;
use std::future::Future;
use std::hint::black_box;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use countersign::Identity;
use countersign::identity::{CertificateChain, Credential};
use countersign::trust::{
    AddressList, Authority, Conditions, Decision, Direction, KnownPeers, PatternList, Request, Trust, TrustExt,
    TrustFile,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use pki::{Ca, NOW, leaf_params};

fn main() {
    let quick = env::args().any(|argument| argument == "--test");
    let sizes: &[usize] = if quick { &[1_000] } else { &[1_000, 10_000, 100_000] };
    println!("{:<34} {:>9} {:>12} {:>10} {:>12} {:>11}", "", "peers", "file", "load", "heap", "decision");
    for size in sizes {
        trust_files(*size);
        known_peers(*size);
        revocation_list(*size);
    }
    certificates();
}

fn identities(count: usize) -> Vec<Identity> {
    let mut rng = ChaCha8Rng::seed_from_u64(6_003);
    (0..count).map(|_| Identity::generate_with(&mut rng).expect("an identity")).collect()
}

/// Plain lines, and lines with every option, by key; somebody known and somebody who is not.
fn trust_files(count: usize) {
    let keys = identities(count);
    let plain: String =
        keys.iter().enumerate().map(|(n, one)| format!("{} service-{n}@prod\n", one.public_key())).collect();
    let options = r#"from="10.0.0.0/8,!10.9.0.0/16",services="db-*,metrics,!db-test",expiry-time="20991231""#;
    let full: String = plain.lines().map(|line| format!("{options} {line}\n")).collect();
    let last = Credential::RawKey(keys.last().expect("one").public_key());
    let stranger = Credential::RawKey(Identity::from_seed(&mut [7; 32]).expect("an identity").public_key());
    for (what, text) in [("trust file, keys alone", plain), ("trust file, with options", full)] {
        let (file, load, heap) = measured(|| TrustFile::parse(&text).expect("a trust file"));
        let (yes, known) = decision(&file, &last);
        let (no, unknown) = decision(&file, &stranger);
        assert!(yes.is_accept() && !no.is_accept() && file.len() == count);
        row(what, count, text.len(), load, heap, known.max(unknown));
    }
}

fn known_peers(count: usize) {
    let line = |(n, one): (usize, &Identity)| format!("[host-{n}.prod.example]:7000 {}\n", one.public_key());
    let keys = identities(count);
    let text: String = keys.iter().enumerate().map(line).collect();
    let (known, load, heap) = measured(|| KnownPeers::parse(&text).expect("a file"));
    let trust = known.trust(&format!("host-{}.prod.example", count - 1), 7000);
    let (yes, took) = decision(&trust, &Credential::RawKey(keys.last().expect("one").public_key()));
    assert!(yes.is_accept());
    row("known peers", count, text.len(), load, heap, took);
}

/// A list that revokes so many, and a certificate that is not on it.
fn revocation_list(count: usize) {
    let ca = Ca::root("fleet");
    let serials: Vec<String> = (1..=count).map(|n| format!("{n:032x}")).collect();
    let serials: Vec<&str> = serials.iter().map(String::as_str).collect();
    let crl = ca.crl(&serials, Duration::from_secs(3_600));
    let (authority, load, heap) = measured(|| ca.authority().with_crl(crl.as_bytes()).expect("a list"));
    let (yes, took) = decision(&authority, &certificate(&ca));
    assert!(yes.is_accept() && authority.revoked() == count);
    row("CA with a list of revoked ones", count, crl.len(), load, heap, took);
}

/// For a fleet of any size: what one member presents, and what a decision about it costs.
fn certificates() {
    let ca = Ca::root("fleet");
    let one = certificate(&ca);
    let Credential::X509(chain) = &one else { return };
    let len = chain.certificates().map(<[u8]>::len).sum();
    let (authority, load, heap) = measured(|| Authority::from_pem(&ca.pem).expect("a CA"));
    let conditions = Conditions::new()
        .names(PatternList::parse("spiffe://prod/*").expect("patterns"))
        .services(PatternList::parse("db-*").expect("patterns"))
        .from(AddressList::parse("10.0.0.0/8").expect("addresses"));
    let (yes, took) = decision(&authority, &one);
    assert!(yes.is_accept());
    row("CA, Ed25519, any number of peers", 1, len, load, heap, took);
    let policy = authority.when(conditions);
    let (yes, took) = decision(&policy, &one);
    assert!(yes.is_accept());
    row("the same, by names and services", 1, len, load, heap, took);
    let first = (0..RUNS).map(|_| decision_times(&ca.authority(), &one, 1).1).min().unwrap_or_default();
    row("the same, met for the first time", 1, len, load, heap, first);
    println!("the first decision about a certificate verifies its signature; then the path is remembered");
}

fn certificate(ca: &Ca) -> Credential {
    let own = Identity::from_seed(&mut [8; 32]).expect("an identity");
    let pem = ca.issue(&own, &leaf_params(&["spiffe://prod/db-1"]));
    Credential::X509(CertificateChain::from_pem(&pem).expect("a chain"))
}

/// What it makes, how long that takes at best, and what it keeps of the heap.
fn measured<T>(mut make: impl FnMut() -> T) -> (T, Duration, usize) {
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let start = Instant::now();
        drop(black_box(make()));
        best = best.min(start.elapsed());
    }
    let before = heap::held();
    let made = make();
    (made, best, heap::held() - before)
}

/// The decision, and the median time of one.
fn decision(trust: &impl Trust, credential: &Credential) -> (Decision, Duration) {
    decision_times(trust, credential, DECISIONS)
}

fn decision_times(trust: &impl Trust, credential: &Credential, count: usize) -> (Decision, Duration) {
    let address: SocketAddr = "10.1.2.3:4567".parse().expect("an address");
    let request = Request::new(credential.clone(), "db-1".into(), Some(address), Direction::Inbound).at(NOW);
    let mut times = Vec::new();
    let mut last = None;
    for _ in 0..count {
        let start = Instant::now();
        last = Some(now(trust.decide(&request)));
        times.push(start.elapsed());
    }
    times.sort_unstable();
    (last.expect("decided"), times[times.len() / 2])
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("these decide at once"),
    }
}

fn row(what: &str, peers: usize, file: usize, load: Duration, heap: usize, decision: Duration) {
    let (file, heap) = (format!("{:.1} KB", kb(file)), format!("{:.1} KB", kb(heap)));
    let load = format!("{:.2} ms", load.as_secs_f64() * 1e3);
    let decision = format!("{:.2} us", decision.as_secs_f64() * 1e6);
    println!("{what:<34} {peers:>9} {file:>12} {load:>10} {heap:>12} {decision:>11}");
}

fn kb(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1e3
}

const RUNS: usize = 3;
const DECISIONS: usize = 401;
