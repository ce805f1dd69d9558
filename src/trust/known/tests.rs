use std::string::ToString;
use std::vec;

use super::*;
use crate::Identity;
use crate::identity::Credential;
use crate::trust::Direction;

fn key(seed: u8) -> PublicKey {
    Identity::from_seed(&mut [seed; 32]).unwrap().public_key()
}

fn known(text: &str) -> KnownPeers {
    KnownPeers::parse(text).unwrap()
}

#[test]
fn same_new_and_changed() {
    let (one, two, three) = (key(1), key(2), key(3));
    let known = known(&format!(
        "# hosts\n[db.example]:7000,[10.0.0.1]:7000 {one} comment\n\n[db.example]:7000\t{two}\nplain.example {three}\r\n"
    ));
    assert_eq!(known.check("DB.example", 7000, &one), Known::Same);
    assert_eq!(known.check("10.0.0.1", 7000, &one), Known::Same);
    assert_eq!(known.check("db.example", 7000, &two), Known::Same);
    assert_eq!(known.check("db.example", 7000, &three), Known::Changed { expected: vec![one, two], line: 2 });
    assert_eq!(known.check("db.example", 7001, &one), Known::New);
    assert_eq!(known.check("db.example", 22, &one), Known::New);
    assert_eq!(known.check("plain.example", 22, &three), Known::Same);
    assert_eq!(known.check("plain.example", 7000, &three), Known::New);
    assert_eq!(KnownPeers::parse("").unwrap().check("a", 1, &one), Known::New);
}

#[test]
fn addresses_of_ipv6_and_patterns() {
    let one = key(1);
    let known = known(&format!("::1,[2001:db8::1]:7000,*.example,!bad.example,[*.org]:7 {one}\n"));
    for (host, port, expected) in [
        ("::1", 22, Known::Same),
        ("[::1]", 22, Known::Same),
        ("::1", 7000, Known::New),
        ("2001:DB8::1", 7000, Known::Same),
        ("a.example", 22, Known::Same),
        ("bad.example", 22, Known::New),
        ("a.org", 7, Known::Same),
        ("a.org", 8, Known::New),
        // A name is no pattern.
        ("*.exampl?", 22, Known::New),
        ("", 22, Known::New),
    ] {
        assert_eq!(known.check(host, port, &one), expected, "{host} {port}");
    }
}

#[test]
fn a_revoked_key_is_refused_wherever_the_line_stands() {
    let (one, two) = (key(1), key(2));
    let known = known(&format!("a {one}\n@revoked * {one}\n@revoked b {two}\nb,c {two}\n"));
    assert_eq!(known.check("a", 22, &one), Known::Revoked { line: 2 });
    assert_eq!(known.check("new", 7000, &one), Known::Revoked { line: 2 });
    assert_eq!(known.check("b", 22, &two), Known::Revoked { line: 3 });
    assert_eq!(known.check("c", 22, &two), Known::Same);
    assert_eq!(known.check("new", 7000, &two), Known::New);
}

#[test]
fn hashed_hosts() {
    let hosts = Hosts::hashed("[127.0.0.1]:7000", [7; 20]);
    let known = known(&format!("{} {}\n", hosts.text(), key(1)));
    assert_eq!(known.check("127.0.0.1", 7000, &key(1)), Known::Same);
    assert_eq!(known.check("127.0.0.1", 7001, &key(1)), Known::New);
    for bad in ["|1|", "|", "|2|AAAA|AAAA", "|1|AAAA|AAAA", "|1|AAAA", "||", "|1|*|*"] {
        let error = KnownPeers::parse(&format!("a {0}\n{bad} {0}", key(1))).unwrap_err();
        assert_eq!(error, TrustLineError::new(2, Problem::Hash), "{bad}");
    }
}

#[test]
fn other_keys_and_markers_are_passed_over_and_broken_lines_are_not() {
    let other = "a ssh-rsa AAAA\na ecdsa-sha2-nistp256 AAAA\na sk-ssh-ed25519@openssh.com AAAA\na 1024 35 123\n\
                 @cert-authority * ssh-ed25519 broken\n@other x\n@revoked * ssh-rsa AAAA\n";
    assert_eq!(known(other).check("a", 22, &key(1)), Known::New);
    for (line, problem) in [
        ("a ssh-ed25519 AAAA".into(), Problem::Key(ParseKeyError::Malformed)),
        ("a ssh-ed25519".into(), Problem::Key(ParseKeyError::Malformed)),
        ("a ssh-ed2551".into(), Problem::KeyType),
        ("a".into(), Problem::Key(ParseKeyError::Empty)),
        ("@revoked".into(), Problem::Marker),
        ("@revoked a".into(), Problem::Key(ParseKeyError::Empty)),
        (format!("a,,b {}", key(1)), Problem::Hosts),
        (format!("a,! {}", key(1)), Problem::Hosts),
        (format!("a {}\0", key(1)), Problem::Control('\0')),
    ] {
        let error = KnownPeers::parse(&format!("# x\n{other}{line}\n")).unwrap_err();
        assert_eq!(error, TrustLineError::new(9, problem), "{line}");
    }
}

#[test]
fn trust_says_what_has_changed() {
    let (one, two, three) = (key(1), key(2), key(3));
    let known = known(&format!("[a]:7 {one}\n@revoked * {three}\n"));
    let decide = |host: &str, key: PublicKey| {
        let request = Request::new(Credential::RawKey(key), String::new(), None, Direction::Outbound);
        let mut context = core::task::Context::from_waker(core::task::Waker::noop());
        let trust = known.trust(host, 7);
        let core::task::Poll::Ready(decision) = trust.decide(&request).as_mut().poll(&mut context) else {
            panic!("pending")
        };
        decision
    };
    let same = decide("A", one);
    assert!(same.is_accept());
    assert_eq!(same.rule(), "the known-peers file, line 1");
    assert_eq!(decide("b", one), Decision::not_trusted().because("the known-peers file has no key for \"[b]:7\""));
    let (expected, came) = (one.fingerprint().to_string(), two.fingerprint().to_string());
    let rule =
        format!("the key of \"[a]:7\" has changed: the known-peers file, line 1 expects {expected}, and {came} came");
    assert_eq!(decide("a", two), Decision::not_trusted().because(rule));
    let rule = format!("the known-peers file, line 2: the key {} is revoked", three.fingerprint());
    assert_eq!(decide("a", three), Decision::not_trusted().because(rule));
}
