//! What errors say: every one is a sentence that a person can use, in lower case, without a full stop, without `Debug` inside, and each says
//! something else; each names a culprit, and its alert is one that the specification has.
#![allow(missing_docs)]
#![cfg(feature = "std")]

mod support;

use std::collections::BTreeSet;
use std::error::Error as _;
use std::io;

use countersign::error::*;
use countersign::failure::ConnectError;
use countersign::identity::{KeyFileError, PeerId};
use countersign::role::{Role, Stage};
use support::{identity, peer_id};

fn errors() -> Vec<Error> {
    let refusal = |reason| Refusal { reason, text: String::new() };
    let reasons = [
        Reason::NotTrusted,
        Reason::ServiceUnavailable,
        Reason::Busy,
        Reason::OwnIdentity,
        Reason::Denied,
        Reason::Unknown(77),
    ];
    let mut errors = vec![
        Error::Unexpected { expected: "HELLO", got: "AUTH_I" },
        Error::UnsupportedVersion(7),
        Error::NoCommonSuite,
        Error::Tampered(Sealed::AuthR),
        Error::Tampered(Sealed::AuthI),
        Error::Tampered(Sealed::Record),
        Error::Truncated,
        Error::Idle,
        Error::Exhausted,
        Error::Signer("the agent is locked".into()),
        Error::Internal("this can't be"),
        Error::Entropy,
    ];
    let foreign = [Foreign::Tls, Foreign::Http, Foreign::Ssh, Foreign::Other(9)].map(Malformed::Foreign);
    let malformed = [
        Malformed::FrameType(9),
        Malformed::FrameLen { frame: "HELLO", len: 5 },
        Malformed::Short("suites"),
        Malformed::Trailing("HELLO"),
        Malformed::Field("share"),
        Malformed::Padding,
        Malformed::RecordKind(9),
    ];
    errors.extend(foreign.into_iter().chain(malformed).map(Error::Malformed));
    let untrusted = [
        Untrusted::Signature,
        Untrusted::Confirmation,
        Untrusted::WeakKey,
        Untrusted::NetworkKey,
        Untrusted::NetworkKeyUnexpected,
        Untrusted::ZeroSecret,
        Untrusted::Echo,
        Untrusted::OwnKey,
        Untrusted::NotExpected { expected: "one".into(), got: "other".into() },
        Untrusted::NotTrusted {
            got: "other".into(),
            refusal: Refusal::new(Reason::Denied, "not on Sundays"),
            rule: "the rule for Sundays".into(),
        },
    ];
    errors.extend(untrusted.into_iter().map(Error::Untrusted));
    errors.extend(
        reasons.into_iter().flat_map(|reason| [Error::Denied(refusal(reason)), Error::Refused(refusal(reason))]),
    );
    errors.push(Error::Refused(Refusal::new(Reason::Denied, "not on Sundays")));
    for code in (1..=12).chain([99]) {
        for (authenticated, text) in [(false, ""), (true, "back at noon")] {
            let alert = Alert::from_code(code);
            errors.push(Error::AlertReceived(ReceivedAlert { alert, text: text.into(), authenticated }));
        }
    }
    let misuse = [
        Misuse::Aborted,
        Misuse::WriteAfterEnd,
        Misuse::ContentTooLong,
        Misuse::Service,
        Misuse::Context,
        Misuse::Text,
        Misuse::VerdictPending,
        Misuse::RekeyPending,
        Misuse::RekeyStorm,
        Misuse::NetworkKey,
        Misuse::Suites,
        Misuse::Export,
    ];
    errors.extend(misuse.map(Error::Misuse));
    errors
}

fn reads_well(text: &str) {
    assert!(text.len() > 8 && !text.ends_with('.'), "{text}");
    assert!(!text.contains("{ ") && !text.contains("::") && !text.contains("\n"), "Debug inside: {text}");
    let word: String = text.chars().take_while(|c| c.is_alphanumeric()).collect();
    assert!(word.to_uppercase() == word || word.starts_with(char::is_lowercase), "a capital in front: {text}");
}

#[test]
fn every_error_reads_well_and_is_its_own() {
    let mut texts = BTreeSet::new();
    for error in errors() {
        let text = error.to_string();
        reads_well(&text);
        // A refusal reads the same whether there is no text or an empty one; who refuses whom is told.
        assert!(texts.insert(text.clone()), "twice: {text}");
        assert!(error.alert().is_none_or(|alert| (1..=12).contains(&alert.code())), "{text}");
        let local = matches!(error.culprit(), Culprit::Local | Culprit::Caller);
        let ours = matches!(
            error,
            Error::Misuse(_)
                | Error::Internal(_)
                | Error::Entropy
                | Error::Exhausted
                | Error::Signer(_)
                | Error::Denied(_)
        );
        assert!(!local || ours, "our fault? {text}");
        let failure = Failure { role: Role::Responder, stage: Stage::AuthI, error };
        let connect = ConnectError::from(failure.clone());
        reads_well(&connect.to_string());
        assert_eq!(connect.source().expect("a source").to_string(), failure.to_string());
    }
    assert!(texts.len() > 80);
}

#[test]
fn what_connecting_says() {
    let io = || io::Error::from(io::ErrorKind::ConnectionRefused);
    let errors = [
        ConnectError::Io { stage: None, error: io() },
        ConnectError::Io { stage: Some(Stage::Verdict), error: io() },
        ConnectError::Timeout { stage: None },
        ConnectError::Timeout { stage: Some(Stage::AuthR) },
        ConnectError::GaveWay { stage: Stage::Hello },
    ];
    for error in errors {
        reads_well(&error.to_string());
        assert_eq!(error.source().is_some(), matches!(error, ConnectError::Io { .. }));
    }
}

#[test]
fn what_key_files_say() {
    let errors = [
        KeyFileError::Io(io::Error::from(io::ErrorKind::NotFound)),
        KeyFileError::Permissions(0o644),
        KeyFileError::PassphraseNeeded,
        KeyFileError::WrongPassphrase,
        KeyFileError::Unsupported("a directory"),
        KeyFileError::Damaged("the base64"),
        KeyFileError::Entropy,
    ];
    for error in errors {
        reads_well(&error.to_string());
        assert_eq!(error.source().is_some(), matches!(error, KeyFileError::Io(_)));
    }
    assert!(KeyFileError::Permissions(0o644).to_string().contains("0644"));
}

/// Keys and fingerprints print what `ssh-keygen` prints, and a peer is known by either.
#[test]
fn names_of_keys() {
    let (key, other) = (identity(1).public_key(), identity(2).public_key());
    let by_fingerprint = PeerId::Fingerprint(key.fingerprint());
    for id in [peer_id(1), by_fingerprint] {
        assert!(id.matches(&key) && !id.matches(&other));
        assert_eq!(id.fingerprint(), key.fingerprint());
    }
    assert!(by_fingerprint.to_string().starts_with("SHA256:"));
    assert!(key.to_string().starts_with("ssh-ed25519 AAAA"));
    assert_eq!(format!("{:?}", key.fingerprint()), key.fingerprint().to_string());
    assert!(key.randomart().contains("[ED25519 256]"));
}
