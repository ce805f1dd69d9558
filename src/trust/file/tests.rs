use core::time::Duration;

use std::string::ToString;

use super::*;
use crate::error::Reason;
use crate::identity::{Credential, ParseKeyError};
use crate::trust::decision::{Denial, Direction};
use crate::trust::parse_time;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

fn trust(text: &str) -> TrustFile {
    TrustFile::parse(text).unwrap()
}

fn request(service: &str) -> Request {
    let address = Some("10.1.2.3:4".parse().unwrap());
    Request::new(Credential::RawKey(KEY.parse().unwrap()), service.into(), address, Direction::Inbound)
}

fn refused(decision: Decision) -> Denial {
    match decision {
        Decision::Refuse(denial) => denial,
        Decision::Accept(grant) => panic!("accepted: {grant:?}"),
    }
}

#[test]
fn comments_blank_lines_and_names() {
    let trust = trust(&format!("\u{feff}# peers\n\n \t\r\n{KEY} alice of the lab\r\n  # end\n{KEY} again"));
    assert_eq!(trust.len(), 1);
    let Decision::Accept(grant) = trust.decision(&request("any")) else { panic!("refused") };
    assert_eq!((grant.name.as_deref(), &*grant.rule), (Some("alice of the lab"), "the trust file, line 4"));
    assert!(TrustFile::parse("").unwrap().is_empty());
    let denial = refused(TrustFile::parse("").unwrap().decision(&request("")));
    assert_eq!(denial.rule, "no line of the trust file is about the peer");
}

#[test]
fn a_bad_line_is_an_error_with_its_number() {
    let key = |error| Problem::Key(error);
    let long = format!("{KEY} {}", "x".repeat(8_192));
    for (line, problem) in [
        ("ssh-ed25519 AAAA x", key(ParseKeyError::Malformed)),
        ("ssh-rsa AAAA x", key(ParseKeyError::NotEd25519)),
        ("ssh-ed25519", key(ParseKeyError::Malformed)),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", key(ParseKeyError::Private)),
        ("from=\"::1\" ssh-rsa AAAA", key(ParseKeyError::NotEd25519)),
        ("from=\"::1\" from=\"::1\" ssh-ed25519 AAAA", key(ParseKeyError::NotEd25519)),
        ("from=\"::1\"", Problem::Option(OptionError::NoKey)),
        ("from=\"::1 ", Problem::Option(OptionError::Unterminated)),
        ("hello", Problem::Option(OptionError::Unknown("hello".into()))),
        ("ssh-ed25519 A\0", Problem::Control('\0')),
        ("# x\u{1b}", Problem::Control('\u{1b}')),
        (&long, Problem::TooLong),
    ] {
        let parsed = TrustFile::parse(&format!("# one\n{KEY}\n{line}\n{KEY}\n"));
        if line.starts_with('#') {
            assert_eq!(parsed.unwrap().len(), 1);
        } else {
            assert_eq!(parsed.unwrap_err(), TrustLineError::new(3, problem), "{line}");
        }
    }
    // With line ends of an old sort the second key would be a part of the first one's comment.
    let parsed = TrustFile::parse(&format!("{KEY} a\r{KEY} b"));
    assert_eq!(parsed.unwrap_err(), TrustLineError::new(1, Problem::Control('\r')));
    let shown = TrustFile::parse("\n\nno-pty x").unwrap_err().to_string();
    let expected = "line 3: expected `ssh-ed25519` or options (cert-authority, expiry-time, from, names, services) \
                    before it, and \"no-pty\" came";
    assert_eq!(shown, expected);
}

/// Long files are parsed in two halves: nothing is lost between them, and the first bad line of all is named.
#[test]
fn long_files() {
    let lines = |count: usize| (0..count).map(|number| format!("services=\"{number}\" {KEY} n\n")).collect::<String>();
    for count in [MANY - 1, MANY, MANY + 1, 2 * MANY + 1] {
        let trust = trust(&lines(count));
        for number in [0, count / 2 - 1, count / 2, count / 2 + 1, count - 1] {
            let rule = format!("the trust file, line {}", number + 1);
            assert_eq!(trust.decision(&request(&format!("{number}"))).rule(), rule);
        }
        assert!(!trust.decision(&request(&format!("{count}"))).is_accept());
        let bad_at = |line: usize| lines(line) + "hello\n" + &lines(count) + "\0\n";
        assert_eq!(TrustFile::parse(&bad_at(0)).unwrap_err().line(), 1);
        assert_eq!(TrustFile::parse(&bad_at(count)).unwrap_err().line(), count + 1);
        assert_eq!(TrustFile::parse(&(lines(count) + "\0\n")).unwrap_err().line(), count + 1);
    }
}

#[test]
fn lines_with_the_same_key_are_alternatives_in_order() {
    let text = format!(
        "from=\"11.0.0.0/8\" {KEY} elsewhere\nservices=\"db-*,!db-test\" {KEY} db\nservices=\"*\",from=\"10.0.0.0/8\" {KEY} near\n"
    );
    let trust = trust(&text);
    assert_eq!(trust.len(), 1);
    let name = |service: &str| match trust.decision(&request(service)) {
        Decision::Accept(grant) => (grant.name.unwrap(), grant.rule),
        Decision::Refuse(denial) => panic!("{denial:?}"),
    };
    assert_eq!(name("db-1"), ("db".into(), "the trust file, line 2".into()));
    assert_eq!(name("db-test"), ("near".into(), "the trust file, line 3".into()));
    let mut elsewhere = request("web");
    elsewhere.address = None;
    let denial = refused(trust.decision(&elsewhere));
    assert_eq!((denial.refusal.reason, &*denial.refusal.text), (Reason::ServiceUnavailable, ""));
    let expected = "the trust file, line 1: the peer has no address, and one among 11.0.0.0/8 is expected; \
                    the trust file, line 2: the service \"web\" is not among db-*,!db-test; \
                    the trust file, line 3: the peer has no address, and one among 10.0.0.0/8 is expected";
    assert_eq!(denial.rule, expected);
}

#[test]
fn a_line_expires() {
    let trust = trust(&format!("expiry-time=\"202801311200Z\" {KEY} guest"));
    let end = parse_time("20280131120000").unwrap();
    let second = Duration::from_secs(1);
    let Decision::Accept(grant) = trust.decision(&request("").at(end - second)) else { panic!("refused") };
    assert_eq!(grant.until, Some(end));
    let denial = refused(trust.decision(&request("").at(end)));
    assert_eq!((denial.refusal.reason, &*denial.refusal.text), (Reason::NotTrusted, ""));
    assert_eq!(denial.rule, "the trust file, line 1: expired at 2028-01-31 12:00:00 UTC");
    let denial = refused(trust.decision(&request("")));
    assert_eq!(denial.rule, "the trust file, line 1: it holds for a time only, and there is no clock");
}

/// The key of a CA is not trusted as a peer's.
#[cfg(feature = "x509")]
#[test]
fn an_authority_is_no_peer() {
    let trust = trust(&format!("cert-authority,names=\"*.prod.example\" {KEY} prod CA"));
    assert_eq!(trust.len(), 1);
    let denial = refused(trust.decision(&request("")));
    assert_eq!(denial.rule, "no line of the trust file is about the peer");
    // A line of its own makes it one.
    let both = TrustFile::parse(&format!("cert-authority {KEY} CA\n{KEY} host")).unwrap();
    assert_eq!(both.len(), 2);
    assert_eq!(both.decision(&request("")).rule(), "the trust file, line 2");
}
