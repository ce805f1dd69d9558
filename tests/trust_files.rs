//! Trust files and known-peers files from outside: what the real ssh-keygen writes and finds, and many writers at once.
#![allow(missing_docs)]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::task::{Context, Poll, Waker};

use countersign::identity::Credential;
use countersign::trust::{
    Conditions, Decision, Direction, Known, KnownPeers, Pinned, Request, Trust, TrustExt, TrustFile, any_of, parse_time,
};
use countersign::{Identity, PublicKey};
use tempfile::TempDir;

fn key(seed: u8) -> PublicKey {
    Identity::from_seed(&mut [seed; 32]).expect("an identity").public_key()
}

fn request(key: PublicKey, service: &str) -> Request {
    Request::new(
        Credential::RawKey(key),
        service.into(),
        Some("10.1.2.3:4".parse().expect("address")),
        Direction::Inbound,
    )
}

fn decide(trust: &impl Trust, request: &Request) -> Decision {
    match trust.decide(request).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(decision) => decision,
        Poll::Pending => panic!("pending"),
    }
}

fn ssh_keygen(arguments: &[&str], file: &Path) -> String {
    let output = Command::new("ssh-keygen").args(arguments).arg("-f").arg(file).output().expect("ssh-keygen runs");
    String::from_utf8(output.stdout).expect("text")
}

fn file(folder: &TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("file");
    fs::write(&path, text).expect("written");
    path
}

#[test]
fn a_trust_file_with_options_inside_of_rules() {
    let folder = TempDir::new().expect("folder");
    let (db, guest) = (key(1), key(2));
    let text = format!(
        "# who may do what\nfrom=\"10.0.0.0/8,!10.9.0.0/16\",services=\"db-*\" {db} db\nexpiry-time=\"20280101\" {guest} guest\n"
    );
    let path = file(&folder, &text);
    let trust = any_of([
        Box::new(Pinned::new([key(3).into()])) as Box<dyn Trust>,
        Box::new(TrustFile::open(&path).expect("trust")),
    ]);
    let trust = trust.except(Pinned::new([key(4).into()])).when(Conditions::new().direction(Direction::Inbound));
    let path = path.display();
    let decision = decide(&trust, &request(db, "db-1"));
    assert_eq!((decision.is_accept(), decision.rule()), (true, &*format!("any of 2: rule 2: {path}, line 2")));
    let decision = decide(&trust, &request(db, "web"));
    let rule = format!(
        "none of 2 accepts: rule 1: not one of the 1 pinned keys; rule 2: {path}, line 2: the service \"web\" is not among db-*"
    );
    assert_eq!((decision.is_accept(), decision.rule()), (false, &*rule));
    let end = parse_time("20280101").expect("time");
    let Decision::Accept(grant) = decide(&trust, &request(guest, "").at(parse_time("20270101").expect("time"))) else {
        panic!("refused")
    };
    assert_eq!((grant.until, grant.name.as_deref()), (Some(end), Some("guest")));
    assert!(!decide(&trust, &request(guest, "").at(end)).is_accept());
    assert!(!decide(&trust, &request(guest, "")).is_accept());
}

#[test]
fn errors_of_trust_files_name_the_line() {
    let folder = TempDir::new().expect("folder");
    let key = key(1);
    for (line, expected) in [
        (
            "from=\"10.0.0.1/8\"",
            "the option from: the range 10.0.0.1/8 has bits behind its prefix: write 10.0.0.0/8, or the address alone",
        ),
        (
            "services=\"!x\"",
            "the option services: every pattern has `!` before it, so that nothing would match: begin with `*,`",
        ),
        ("expiry-time=\"20261301\"", "the option expiry-time: there is no such day or no such time of day since 1970"),
        (
            "names=\"*.example\"",
            "the option names is about the names in certificates: expected cert-authority beside it",
        ),
        ("from=::1", "expected the value of from in quotes: from=\"...\""),
    ] {
        let path = file(&folder, &format!("{key} a\n{line} {key} b\n"));
        let error = TrustFile::open(&path).expect_err(line);
        assert_eq!(error.to_string(), format!("the trust file {}, line 2: {expected}", path.display()));
        assert_eq!(error.line(), Some(2));
    }
}

/// What we write, ssh-keygen finds, hashed or not; and what ssh-keygen hashes, we find.
#[test]
fn known_peers_are_those_of_ssh() {
    let folder = TempDir::new().expect("folder");
    for hashed in [false, true] {
        let path = folder.path().join(format!("known-{hashed}"));
        for (seed, host, port) in [(1, "127.0.0.1", 7000), (2, "DB.example", 22), (3, "::1", 7000), (4, "fe80::1", 22)]
        {
            KnownPeers::add(&path, host, port, &key(seed), hashed).expect("added");
        }
        let mode = fs::metadata(&path).expect("file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let text = fs::read_to_string(&path).expect("text");
        assert_eq!((text.lines().count(), text.contains("7000")), (4, !hashed), "{text}");
        let names = [(1, "[127.0.0.1]:7000"), (2, "db.example"), (3, "[::1]:7000"), (4, "fe80::1")];
        for (seed, name) in names {
            let found = ssh_keygen(&["-F", name], &path);
            assert!(found.contains(&key(seed).to_string()), "{name}: {found}");
        }
        assert_eq!(ssh_keygen(&["-F", "[127.0.0.1]:7001"], &path), "");
        // All of it hashed by ssh-keygen.
        ssh_keygen(&["-H"], &path);
        let text = fs::read_to_string(&path).expect("text");
        assert!(!text.contains("7000") && text.matches("|1|").count() == 4, "{text}");
        let known = KnownPeers::open(&path).expect("known");
        assert_eq!(known.check("127.0.0.1", 7000, &key(1)), Known::Same);
        assert_eq!(known.check("db.EXAMPLE", 22, &key(2)), Known::Same);
        assert_eq!(known.check("[::1]", 7000, &key(3)), Known::Same);
        assert_eq!(known.check("fe80::1", 22, &key(1)), Known::Changed { expected: vec![key(4)], line: 4 });
        assert_eq!(known.check("127.0.0.1", 7001, &key(1)), Known::New);
    }
}

#[test]
fn adding_keeps_what_is_there() {
    let folder = TempDir::new().expect("folder");
    let (one, two) = (key(1), key(2));
    let revoked = key(3);
    let before = format!("# mine\nold ssh-rsa AAAA\n@revoked * {revoked}\n[a]:7 {one} comment");
    let path = file(&folder, &before);
    KnownPeers::add(&path, "b", 7, &two, false).expect("added");
    KnownPeers::add(&path, "b", 7, &two, true).expect("there");
    let after = format!("{before}\n[b]:7 {two}\n");
    assert_eq!(fs::read_to_string(&path).expect("text"), after);
    for (host, key, kind) in [
        ("a", two, ErrorKind::AlreadyExists),
        ("new", revoked, ErrorKind::AlreadyExists),
        ("*", two, ErrorKind::InvalidInput),
        ("x,y", two, ErrorKind::InvalidInput),
        ("x y", two, ErrorKind::InvalidInput),
        ("x\ny", two, ErrorKind::InvalidInput),
        ("|1|x", two, ErrorKind::InvalidInput),
        ("#x", two, ErrorKind::InvalidInput),
        ("", two, ErrorKind::InvalidInput),
        ("[]", two, ErrorKind::InvalidInput),
    ] {
        let error = KnownPeers::add(&path, host, 7, &key, false).expect_err(host);
        assert_eq!(error.kind(), kind, "{host}: {error}");
        assert_eq!(fs::read_to_string(&path).expect("text"), after);
    }
    let bad = format!("{after}[c]:7 ssh-ed25519 cut\n");
    fs::write(&path, &bad).expect("written");
    let error = KnownPeers::add(&path, "d", 7, &two, false).expect_err("bad line");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(error.to_string().contains("line 6: "), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("text"), bad);
}

#[test]
fn a_key_is_replaced_for_its_host_only() {
    let folder = TempDir::new().expect("folder");
    let (old, new) = (key(1), key(2));
    let path = file(&folder, &format!("# x\n[a]:7 {old} host a\n[b]:7,[a]:7 {old} both\n[b]:7 {new}"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("permissions");
    KnownPeers::replace(&path, "a", 7, &old, &new).expect("replaced");
    let expected = format!("# x\n[a]:7 {new} host a\n[b]:7 {old} both\n[a]:7 {new} both\n[b]:7 {new}\n");
    assert_eq!(fs::read_to_string(&path).expect("text"), expected);
    assert_eq!(fs::metadata(&path).expect("file").permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1);
    let error = KnownPeers::replace(&path, "a", 7, &old, &new).expect_err("not there");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    ssh_keygen(&["-H"], &path);
    KnownPeers::replace(&path, "a", 7, &new, &old).expect("replaced");
    assert_eq!(KnownPeers::open(&path).expect("known").check("a", 7, &old), Known::Same);
    assert!(matches!(KnownPeers::open(&path).expect("known").check("a", 7, &new), Known::Changed { .. }));
    for line in [format!("*.org,[a]:7 {old}"), format!("[*]:7,[a]:7 {old}"), format!("[a]:7,!b {old}")] {
        fs::write(&path, &line).expect("written");
        let replaced = KnownPeers::replace(&path, "a", 7, &old, &new);
        let host_listed_alone = line.starts_with("*.org");
        assert_eq!(replaced.is_ok(), host_listed_alone, "{line}");
    }
    fs::write(&path, format!("[a]:7 {old}\n@revoked * {new}\n")).expect("written");
    assert_eq!(KnownPeers::replace(&path, "a", 7, &old, &new).expect_err("revoked").kind(), ErrorKind::AlreadyExists);
}

/// Writers that append, and one that puts other files in the place of this one, lose nothing.
#[test]
fn many_writers_at_once() {
    let folder = TempDir::new().expect("folder");
    let path = folder.path().join("known");
    KnownPeers::add(&path, "turning", 7, &key(200), false).expect("added");
    std::thread::scope(|scope| {
        for writer in 0..4_u8 {
            let path = &path;
            scope.spawn(move || {
                for number in 0..10_u8 {
                    KnownPeers::add(path, &format!("host-{writer}-{number}"), 7, &key(writer), number % 2 == 0)
                        .expect("added");
                }
            });
        }
        scope.spawn(|| {
            for turn in 200..210 {
                KnownPeers::replace(&path, "turning", 7, &key(turn), &key(turn + 1)).expect("replaced");
            }
        });
    });
    let known = KnownPeers::open(&path).expect("known");
    for writer in 0..4_u8 {
        for number in 0..10_u8 {
            assert_eq!(known.check(&format!("host-{writer}-{number}"), 7, &key(writer)), Known::Same);
        }
    }
    assert_eq!(known.check("turning", 7, &key(210)), Known::Same);
    assert_eq!(fs::read_to_string(&path).expect("text").lines().count(), 41);
}

#[test]
fn files_that_are_missing_or_that_anyone_can_write() {
    let folder = TempDir::new().expect("folder");
    let missing = folder.path().join("none");
    assert_eq!(KnownPeers::open(&missing).expect("empty").check("a", 1, &key(1)), Known::New);
    assert!(!missing.exists());
    let path = file(&folder, "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("permissions");
    let error = KnownPeers::open(&path).expect_err("writable").to_string();
    assert!(error.starts_with("the known-peers file ") && error.contains("chmod o-w"), "{error}");
}

#[cfg(feature = "x509")]
mod certificates {
    use countersign::identity::CertificateChain;
    use countersign::trust::PatternList;

    use super::*;

    /// The peer's certificate says that it is db.prod.example, and nobody vouches for that but itself.
    fn self_signed() -> CertificateChain {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let parameters = rcgen::CertificateParams::new(vec!["db.prod.example".into()]).expect("parameters");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        CertificateChain::from_der([certificate.der().to_vec()]).expect("a chain")
    }

    fn request(chain: &CertificateChain) -> Request {
        let time = parse_time("20260601").expect("time");
        Request::new(Credential::X509(chain.clone()), "x".into(), None, Direction::Inbound).at(time)
    }

    #[test]
    fn a_name_that_nobody_verified_matches_nothing() {
        let chain = self_signed();
        let names = || Conditions::new().names(PatternList::parse("*.prod.example").expect("patterns"));
        let line = format!("cert-authority,names=\"*.prod.example\" {} CA\n", key(1));
        let trust = any_of([
            Box::new(Pinned::new([(*chain.public_key()).into()]).when(names())) as Box<dyn Trust>,
            Box::new(TrustFile::parse(&line).expect("trust")),
            Box::new(TrustFile::parse(&format!("{} peer\n", chain.public_key())).expect("trust").when(names())),
        ]);
        let decision = decide(&trust, &request(&chain));
        assert!(!decision.is_accept(), "{decision:?}");
        let no_name = "no CA vouches for a name of the peer, and one among *.prod.example is expected";
        assert_eq!(decision.rule().matches(no_name).count(), 2, "{}", decision.rule());
        assert!(decision.rule().contains("rule 2: the trust file, line 1: "), "{}", decision.rule());
    }

    /// A key is trusted with whatever credential it comes; the names in the certificate are not.
    #[test]
    fn a_key_with_a_certificate_is_the_key() {
        let chain = self_signed();
        let text = format!("cert-authority {} CA\n{} peer\n", key(1), chain.public_key());
        let Decision::Accept(grant) = decide(&TrustFile::parse(&text).expect("trust"), &request(&chain)) else {
            panic!("refused")
        };
        assert_eq!((grant.name.as_deref(), grant.names.len()), (Some("peer"), 0));
        assert_eq!(grant.rule, "the trust file, line 2");
    }
}
