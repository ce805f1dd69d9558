//! Certificates: who is accepted by a CA and who is not, names that are expected, keys that vouch for the next, and signers that change.
#![allow(missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use countersign::config::Config;
use countersign::error::{Error, Reason, Untrusted};
use countersign::identity::{
    CertificateChain, Certified, ChainError, Credential, Identity, Name, PeerId, SUCCESSION, Signer,
};
use countersign::reload::ReloadEvent;
use countersign::trust::{
    Authority, Decision, Direction, KnownPeers, Pinned, Request, StaleCrl, Trust, TrustFile, from_fn,
};
use countersign::{Reload, Stream};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256,
};
use tokio::io::DuplexStream;

#[path = "support/pki.rs"]
mod pki;
mod support;

use pki::{Ca, NOW, SORTS, at, ca_params, leaf_params};
use support::{identity, now, peer_id};

fn chain(pems: &[&str]) -> CertificateChain {
    CertificateChain::from_pem(&pems.concat()).expect("a chain")
}

fn ask(trust: &dyn Trust, chain: CertificateChain, direction: Direction, time: Option<Duration>) -> Decision {
    let request = Request::new(Credential::X509(chain), String::new(), None, direction);
    now(trust.decide(&time.into_iter().fold(request, Request::at)))
}

fn refusal(decision: Decision) -> String {
    match decision {
        Decision::Refuse(denial) => {
            assert_eq!(denial.refusal.reason, Reason::NotTrusted);
            denial.refusal.text
        }
        accepted => panic!("{accepted:?}"),
    }
}

/// [ID-9] What a CA vouches for is accepted, whatever sort of key the CA has, with the names and for as long as the certificates say.
#[test]
fn accepted_by_a_ca() {
    for sort in SORTS {
        let root = Ca::root_with(ca_params("root"), sort);
        let middle = root.below(ca_params("middle"));
        let leaf = middle.issue(&identity(1), &leaf_params(&["db.example", "10.0.0.1", "spiffe://prod/db"]));
        // The root may stand in the chain or be left out.
        for chain in [chain(&[&leaf, &middle.pem]), chain(&[&leaf, &middle.pem, &root.pem])] {
            for direction in [Direction::Inbound, Direction::Outbound] {
                let decision = ask(&root.authority(), chain.clone(), direction, Some(NOW));
                let Decision::Accept(grant) = decision else { panic!("{decision:?}") };
                let names = ["db.example", "10.0.0.1", "spiffe://prod/db"].map(|name| name.parse().expect("a name"));
                assert_eq!(grant.names, names);
                assert_eq!(grant.until, Some(NOW + Duration::from_secs(24 * 3_600 + 1)));
                assert!(grant.rule.contains(chain.serial()) && grant.rule.contains("root"), "{}", grant.rule);
            }
        }
        // The middle one alone is an anchor as well.
        assert!(ask(&middle.authority(), chain(&[&leaf]), Direction::Inbound, Some(NOW)).is_accept());
    }
}

/// [ID-9] Each thing that can be wrong with a chain, one at a time.
#[test]
fn refused_by_a_ca() {
    let root = Ca::root("root");
    let one = identity(1);
    let leaf = |edit: &dyn Fn(&mut CertificateParams)| {
        let mut params = leaf_params(&["db.example"]);
        edit(&mut params);
        chain(&[&root.issue(&one, &params)])
    };
    let below = |edit: &dyn Fn(&mut CertificateParams), names: &[&str]| {
        let mut params = ca_params("middle");
        edit(&mut params);
        let middle = root.below(params);
        chain(&[&middle.issue(&one, &leaf_params(names)), &middle.pem])
    };
    let only = |dns: &str| NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(dns.into())],
        excluded_subtrees: vec![],
    };
    let critical = || {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
        extension.set_criticality(true);
        extension
    };
    let day = Duration::from_secs(24 * 3_600);
    let good = leaf(&|_| ());
    let stranger = Ca::root("root");
    let cases: Vec<(&str, CertificateChain, Direction, Duration)> = vec![
        ("certificate expired", good.clone(), Direction::Inbound, NOW + day + Duration::from_secs(1)),
        ("certificate not valid yet", good.clone(), Direction::Inbound, NOW - day),
        (
            "a signature that does not verify",
            chain(&[&stranger.issue(&one, &leaf_params(&[]))]),
            Direction::Inbound,
            NOW,
        ),
        (
            "not issued by a CA that is trusted here",
            chain(&[&Ca::root("other").issue(&one, &leaf_params(&[]))]),
            Direction::Inbound,
            NOW,
        ),
        (
            "a certificate is not for this use",
            leaf(&|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
            Direction::Inbound,
            NOW,
        ),
        (
            "a certificate is not for this use",
            leaf(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            Direction::Inbound,
            NOW,
        ),
        (
            "extended key usage",
            leaf(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            Direction::Inbound,
            NOW,
        ),
        (
            "extended key usage",
            leaf(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            Direction::Outbound,
            NOW,
        ),
        ("a critical extension", leaf(&|params| params.custom_extensions = vec![critical()]), Direction::Inbound, NOW),
        (
            "a certificate is not for this use",
            below(&|params| params.key_usages = vec![KeyUsagePurpose::CrlSign], &["db.example"]),
            Direction::Inbound,
            NOW,
        ),
        (
            "a certificate is not for this use",
            below(&|params| params.is_ca = IsCa::ExplicitNoCa, &["db.example"]),
            Direction::Inbound,
            NOW,
        ),
        (
            "a name that its issuer may not give",
            below(&|params| params.name_constraints = Some(only("example.org")), &["db.example"]),
            Direction::Inbound,
            NOW,
        ),
        (
            "certificate expired",
            below(&|params| params.not_after = at(NOW - Duration::from_secs(5)), &["db.example"]),
            Direction::Inbound,
            NOW,
        ),
    ];
    for (number, (expected, chain, direction, time)) in cases.into_iter().enumerate() {
        let text = refusal(ask(&root.authority(), chain, direction, Some(time)));
        assert!(text.starts_with(expected), "case {number}: expected {expected:?}, got {text:?}");
    }
    // Where there is no clock nothing is valid; a raw key is none of its business.
    assert!(!ask(&root.authority(), good, Direction::Inbound, None).is_accept());
    let raw = Request::new(Credential::RawKey(one.public_key()), String::new(), None, Direction::Inbound).at(NOW);
    assert!(!now(root.authority().decide(&raw)).is_accept());
}

/// [ID-9] What webpki leaves to whoever gives it a CA: that one is valid itself, and allows no more CAs below it than it says.
#[test]
fn the_ca_itself_is_checked() {
    let mut params = ca_params("root");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let root = Ca::root_with(params.clone(), SORTS[0]);
    let leaf = root.issue(&identity(1), &leaf_params(&[]));
    assert!(ask(&root.authority(), chain(&[&leaf]), Direction::Inbound, Some(NOW)).is_accept());
    let middle = root.below(ca_params("middle"));
    let long = chain(&[&middle.issue(&identity(1), &leaf_params(&[])), &middle.pem]);
    let text = refusal(ask(&root.authority(), long, Direction::Inbound, Some(NOW)));
    assert_eq!(text, "more CAs in between than allowed");
    params.not_after = at(NOW - Duration::from_secs(60));
    let expired = Ca::root_with(params, SORTS[0]);
    let leaf = expired.issue(&identity(1), &leaf_params(&[]));
    assert_eq!(
        refusal(ask(&expired.authority(), chain(&[&leaf]), Direction::Inbound, Some(NOW))),
        "certificate expired"
    );
}

/// What is no CA is refused when it is loaded, and what is no revocation list, or one with a false signature, as well.
#[test]
fn broken_files_are_refused_when_they_are_loaded() {
    let root = Ca::root("root");
    let leaf = root.issue(&identity(1), &leaf_params(&[]));
    for (pem, expected) in [
        ("", "expected the certificate of a CA"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1 is damaged"),
        (leaf.as_str(), "certificate 1 is not that of a CA"),
    ] {
        let error = Authority::from_pem(pem).expect_err("refused").to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let impostor = Ca::root("root");
    let day = Duration::from_secs(24 * 3_600);
    for (crl, expected) in [
        (String::new(), "expected a revocation list"),
        (impostor.crl(&[], day), "this revocation list has the name of the CA"),
    ] {
        let error = root.authority().with_crl(crl.as_bytes()).expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = root.authority().with_crl(&[0x30, 0x01, 0x00]).expect_err("refused").to_string();
    assert!(error.contains("not a usable revocation list"), "{error}");
}

/// [ID-9] Revocation lists: who is on one is refused, so is everybody once it is out of date, unless that is allowed; and every CA of a chain needs one.
#[test]
fn revocation_lists() {
    let root = Ca::root("root");
    let day = Duration::from_secs(24 * 3_600);
    let good = chain(&[&root.issue(&identity(1), &leaf_params(&[]))]);
    let bad = chain(&[&root.issue(&identity(1), &leaf_params(&[]))]);
    let with = |crl: &str| root.authority().with_crl(crl.as_bytes()).expect("a list");
    let list = root.crl(&[bad.serial()], day / 2);
    let authority = with(&list);
    assert_eq!(authority.revoked(), 1);
    let Decision::Accept(grant) = ask(&authority, good.clone(), Direction::Inbound, Some(NOW)) else {
        panic!("refused")
    };
    assert_eq!(grant.until, Some(NOW + day / 2));
    assert_eq!(refusal(ask(&authority, bad.clone(), Direction::Inbound, Some(NOW))), "certificate revoked");
    let late = Some(NOW + day / 2 + Duration::from_secs(1));
    let text = refusal(ask(&authority, good.clone(), Direction::Inbound, late));
    assert_eq!(text, "the revocation list of its issuer is out of date");
    let lenient = with(&list).stale_crl(StaleCrl::Warn);
    let Decision::Accept(grant) = ask(&lenient, good.clone(), Direction::Inbound, late) else { panic!("refused") };
    assert!(grant.rule.contains("out of date"), "{}", grant.rule);
    assert_eq!(refusal(ask(&lenient, bad, Direction::Inbound, late)), "certificate revoked");

    let middle = root.below(ca_params("middle"));
    let long = chain(&[&middle.issue(&identity(1), &leaf_params(&[])), &middle.pem]);
    let text = refusal(ask(&authority, long.clone(), Direction::Inbound, Some(NOW)));
    assert_eq!(text, "no revocation list of its issuer is there");
    let both = with(&list).with_crl(middle.crl(&[], day).as_bytes()).expect("a list");
    assert!(ask(&both, long.clone(), Direction::Inbound, Some(NOW)).is_accept());
    // The middle CA itself is revoked.
    let serial = CertificateChain::from_pem(&long_pem(&middle)).map(|_| ()).expect_err("not an Ed25519 leaf for us");
    assert_ne!(serial, ChainError::Empty);
}

fn long_pem(middle: &Ca) -> String {
    // A P-256 certificate is no leaf of ours.
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    leaf_params(&[]).signed_by(&key, &middle.issuer()).expect("a leaf").pem()
}

/// [ID-4] [ID-5] [ID-6] [ID-7] What is no chain is refused before anything of it is believed.
#[test]
fn what_is_no_chain() {
    let root = Ca::root("root");
    let leaf = root.issue(&identity(1), &leaf_params(&[]));
    let stranger = Ca::root("other");
    let many = std::iter::repeat_n(root.pem.as_str(), 8).fold(leaf.clone(), |all, one| all + one);
    for (pem, expected) in [
        ("", ChainError::Empty),
        (many.as_str(), ChainError::TooLong),
        (&[leaf.as_str(), &stranger.pem].concat(), ChainError::OutOfOrder(1)),
        (&[leaf.as_str(), &root.pem, &root.pem].concat(), ChainError::OutOfOrder(2)),
        (&long_pem(&root), ChainError::NotEd25519),
    ] {
        assert_eq!(CertificateChain::from_pem(pem).expect_err("refused"), expected);
    }
    let der: Vec<u8> = chain(&[&leaf]).certificates().next().expect("one").to_vec();
    let cut = der[..der.len() - 1].to_vec();
    let long = [der.as_slice(), &[0]].concat();
    for damaged in [cut, long, vec![0x30, 0x00]] {
        assert_eq!(CertificateChain::from_der([damaged]).expect_err("refused"), ChainError::Damaged(1));
    }
    let other = Certified::new(identity(2), chain(&[&leaf])).expect_err("another key");
    assert_eq!(other.own, identity(2).public_key().fingerprint().to_string());
}

async fn call(
    near: &Config,
    far: &Config,
    name: Option<&str>,
    peer: Option<PeerId>,
) -> Result<[Stream<DuplexStream>; 2], Error> {
    let (left, right) = tokio::io::duplex(1 << 16);
    let mut call = near.connect_over(left);
    if let Some(name) = name {
        call = call.peer_name(name.parse().expect("a name"));
    }
    if let Some(peer) = peer {
        call = call.peer(peer);
    }
    let (near, far) = tokio::join!(call.into_future(), far.accept_over(right, None));
    match (near, far) {
        (Ok(near), Ok(far)) => Ok([near, far]),
        (Err(countersign::stream::ConnectError::Protocol(failure)), _) => Err(failure.error),
        (near, far) => panic!("{near:?} {far:?}"),
    }
}

/// [ID-8] [ID-10] The name that an initiator expects is one that a CA vouches for; one in a certificate of nobody's, or beside a raw key, is none.
#[tokio::test]
async fn expected_names() {
    let ca = Ca::root("root");
    let server = ca.certify(identity(2), &["*.db.example", "10.0.0.1", "spiffe://prod/db"]);
    let server = Arc::new(server);
    let far = Config::new(server.clone(), ca.authority()).clock(|| NOW);
    let near = Config::new(ca.certify(identity(1), &["client.example"]), ca.authority()).clock(|| NOW);
    for (name, good) in [
        ("a.db.example", true),
        ("A.DB.EXAMPLE", true),
        ("db.example", false),
        ("a.b.db.example", false),
        ("10.0.0.1", true),
        ("10.0.0.2", false),
        ("spiffe://prod/db", true),
        ("spiffe://prod/db2", false),
    ] {
        match call(&near, &far, Some(name), None).await {
            Ok([near, far]) => {
                assert!(good, "{name}");
                assert_eq!((near.peer().names().len(), far.peer().names().len()), (3, 1));
                assert!(far.peer().to_string().ends_with("(client.example)"), "{}", far.peer());
            }
            Err(Error::Untrusted(Untrusted::NotExpected { expected, got })) => {
                assert!(!good && *expected == *name && got.contains("*.db.example"), "{name}: {got}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    // Accepted by its key, the names of the same certificate are worth nothing.
    let by_key = Config::new(identity(1), Pinned::new([peer_id(2)])).clock(|| NOW);
    let raw = Config::new(server, from_fn(|_| Decision::accept())).clock(|| NOW);
    assert!(call(&by_key, &raw, None, None).await.is_ok());
    let error = call(&by_key, &raw, Some("a.db.example"), None).await.expect_err("refused");
    assert!(matches!(error, Error::Untrusted(Untrusted::NotExpected { .. })), "{error}");
}

/// A key that vouches for the next one, with the purpose and the validity that are given.
fn vouch(old: &Identity, next: &Identity, purpose: &[u8], end: Duration) -> CertificateChain {
    let old = Key(old, *old.public_key().as_bytes());
    let mut root = ca_params("old");
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let mut leaf = leaf_params(&[]);
    leaf.extended_key_usages.clear();
    let mut extension = vec![0x30, u8::try_from(purpose.len() + 2).expect("short"), 0x06];
    extension.push(u8::try_from(purpose.len().min(20)).expect("short"));
    extension.extend_from_slice(purpose);
    leaf.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 37], extension)];
    leaf.not_after = at(end);
    let issuer = rcgen::Issuer::from_params(&root, &old);
    let leaf = leaf.signed_by(&pki::Public::of(next), &issuer).expect("a leaf").pem();
    chain(&[&leaf, &root.self_signed(&old).expect("a root").pem()])
}

struct Key<'a>(&'a Identity, [u8; 32]);

impl rcgen::PublicKeyData for Key<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.1
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for Key<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign_certificate(message).expect("a certificate").to_vec())
    }
}

/// [ID-11] [ID-12] Whoever pinned the old key accepts the next one while the old one vouches for it, however it was pinned; a certificate without the
/// purpose makes no CA of a pinned key.
#[tokio::test]
async fn succession() {
    let hour = Duration::from_secs(3_600);
    let good = vouch(&identity(1), &identity(2), &SUCCESSION, NOW + hour);
    let line = identity(1).public_key();
    let known = KnownPeers::parse(&format!("[db.example]:7000 {line}\n")).expect("a file");
    let trusts: [(&str, Box<dyn Trust>); 4] = [
        ("pinned", Box::new(Pinned::new([peer_id(1)]))),
        ("fingerprint", Box::new(Pinned::new([PeerId::Fingerprint(line.fingerprint())]))),
        ("trust file", Box::new(TrustFile::parse(&format!("{line} alice\n")).expect("a file"))),
        ("known peers", Box::new(known.trust("db.example", 7000))),
    ];
    let server_auth = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
    for (what, trust) in &trusts {
        let decision = ask(&**trust, good.clone(), Direction::Outbound, Some(NOW));
        let Decision::Accept(grant) = decision else { panic!("{what}: {decision:?}") };
        assert_eq!(grant.predecessor, Some(line), "{what}");
        assert_eq!(grant.until, Some(NOW + hour + Duration::from_secs(1)), "{what}");
        for (why, chain, time) in [
            ("too late", good.clone(), Some(NOW + 2 * hour)),
            ("no clock", good.clone(), None),
            ("another key vouches", vouch(&identity(3), &identity(2), &SUCCESSION, NOW + hour), Some(NOW)),
            ("no such purpose", vouch(&identity(1), &identity(2), &server_auth, NOW + hour), Some(NOW)),
        ] {
            assert!(!ask(&**trust, chain, Direction::Outbound, time).is_accept(), "{what}: {why}");
        }
    }
    // Its one purpose, for a year at most.
    let more: Vec<u8> = [&SUCCESSION, [0x06, 0x08].as_slice(), &server_auth].concat();
    let two = vouch(&identity(1), &identity(2), &more, NOW + hour);
    let long = vouch(&identity(1), &identity(2), &SUCCESSION, NOW + 24 * 368 * hour);
    for chain in [two, long] {
        assert!(!ask(&Pinned::new([peer_id(1)]), chain, Direction::Outbound, Some(NOW)).is_accept());
    }
    // The second certificate says who vouches, and somebody else signed.
    let forged = vouch(&identity(3), &identity(2), &SUCCESSION, NOW + hour);
    let honest = vouch(&identity(1), &identity(4), &SUCCESSION, NOW + hour);
    let mixed = [forged.certificates().next(), honest.certificates().nth(1)].map(|der| der.expect("one").to_vec());
    let mixed = CertificateChain::from_der(mixed).expect("a chain");
    assert!(!ask(&Pinned::new([peer_id(1)]), mixed, Direction::Outbound, Some(NOW)).is_accept());

    // End to end: who calls the old key gets the new one, and knows.
    let far = Config::new(Certified::new(identity(2), good).expect("its key"), from_fn(|_| Decision::accept()));
    let near = Config::new(identity(5), Pinned::new([peer_id(1)])).clock(|| NOW);
    let [stream, _far] = call(&near, &far, None, Some(peer_id(1))).await.expect("connected");
    assert_eq!(*stream.peer().public_key(), identity(2).public_key());
    assert_eq!(stream.peer().predecessor(), Some(&line));
    // The key that vouches is another than the one that was called.
    let error = call(&near, &far, None, Some(peer_id(7))).await.expect_err("another peer");
    assert!(matches!(error, Error::Untrusted(Untrusted::NotExpected { .. })), "{error}");
    let other = Config::new(identity(5), from_fn(|_| Decision::accept())).clock(|| NOW);
    let error = call(&other, &far, None, Some(peer_id(1))).await.expect_err("nobody said that the old key vouches");
    assert!(matches!(error, Error::Untrusted(Untrusted::NotExpected { .. })), "{error}");
}

/// Key and certificate change together, from one handshake to the next; sessions go on. A broken file changes nothing.
#[tokio::test]
async fn signers_that_change() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("chain.pem");
    let ca = Ca::root("root");
    let first = ca.issue(&identity(2), &leaf_params(&["first.example"]));
    std::fs::write(&path, &first).expect("written");
    let load = {
        let path = path.clone();
        move || Ok(Certified::new(identity(2), CertificateChain::from_pem(&std::fs::read_to_string(&path)?)?)?)
    };
    let signer = Reload::new([path.clone()], load, |_| {}).expect("loaded");
    let far = Config::new(signer.clone(), from_fn(|_| Decision::accept())).clock(|| NOW);
    let near = Config::new(identity(1), ca.authority()).clock(|| NOW);
    let [before, _far] = call(&near, &far, Some("first.example"), None).await.expect("connected");
    let wait = async |done: &dyn Fn() -> bool| {
        for _ in 0..2_000 {
            if done() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not noticed");
    };
    let replace = |text: &str| {
        std::fs::write(path.with_extension("new"), text).expect("written");
        std::fs::rename(path.with_extension("new"), &path).expect("renamed");
    };
    replace("broken");
    wait(&|| signer.stats().failures == 1).await;
    call(&near, &far, Some("first.example"), None).await.expect("the old is in use");
    // A certificate for another key is no better.
    replace(&ca.issue(&identity(3), &leaf_params(&["second.example"])));
    wait(&|| signer.stats().failures == 2).await;
    assert!(signer.stats().failing.is_some_and(|why| why.contains("the certificate is for the key")));
    replace(&ca.issue(&identity(2), &leaf_params(&["second.example"])));
    wait(&|| signer.stats().reloads == 1).await;
    assert_eq!(signer.stats().failing, None);
    call(&near, &far, Some("second.example"), None).await.expect("the new is in use");
    call(&near, &far, Some("first.example"), None).await.expect_err("the old is gone");
    assert_eq!(before.peer().names(), [Name::Dns("first.example".into())]);
    assert_eq!(Signer::public_key(&signer), identity(2).public_key());
}

/// Files that could not be loaded for want of something else are tried again, though they stay the same; and the failure is told once.
#[test]
fn a_failed_load_is_tried_again() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("trust");
    std::fs::write(&path, "# nobody\n").expect("written");
    let (fails, told) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (load_fails, tells) = (fails.clone(), told.clone());
    let load = move || match load_fails.load(Ordering::SeqCst) {
        true => Err("no descriptor left".into()),
        false => Ok(TrustFile::parse("").expect("empty")),
    };
    let observe = move |event: &ReloadEvent| {
        tells.fetch_add(u64::from(matches!(event, ReloadEvent::Failed(_))), Ordering::SeqCst);
    };
    let reload = Reload::new([path.clone()], load, observe).expect("loaded");
    fails.store(true, Ordering::SeqCst);
    std::fs::write(&path, "# nobody at all\n").expect("written");
    let wait = |done: &dyn Fn() -> bool| {
        for _ in 0..2_000 {
            if done() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("not noticed");
    };
    wait(&|| reload.stats().failures == 1);
    // It has been tried once more by then.
    std::thread::sleep(Duration::from_millis(1_500));
    fails.store(false, Ordering::SeqCst);
    wait(&|| reload.stats().reloads == 1);
    assert_eq!((told.load(Ordering::SeqCst), reload.stats().failing), (1, None));
}

/// [ID-9] Constraints hold for addresses too, and for a CA that is configured.
#[test]
fn constraints_of_the_ca_itself() {
    let mut params = ca_params("root");
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("example.org".into()),
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([10, 0, 0, 0], 8)),
        ],
        excluded_subtrees: vec![GeneralSubtree::DnsName("secret.example.org".into())],
    });
    let root = Ca::root_with(params, SORTS[1]);
    for (names, good) in [
        (&["db.example.org", "10.1.2.3"][..], true),
        (&["db.example.com"], false),
        (&["a.secret.example.org"], false),
        (&["11.0.0.1"], false),
    ] {
        let chain = chain(&[&root.issue(&identity(1), &leaf_params(names))]);
        assert_eq!(ask(&root.authority(), chain, Direction::Inbound, Some(NOW)).is_accept(), good, "{names:?}");
    }
}
