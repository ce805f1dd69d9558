use std::format;

use super::*;

fn error(text: &str) -> OptionError {
    parse(text).unwrap_err()
}

#[test]
fn where_the_options_end() {
    for (line, options, key) in [
        ("a b", "a", "b"),
        ("a\t \tb c", "a", "b c"),
        ("from=\"a b\" c", "from=\"a b\"", "c"),
        (r#"from="a\" b" c"#, r#"from="a\" b""#, "c"),
        // A backslash before a backslash is nothing special, so that this quote is not closed by its second one.
        (r#"from="\\" b" c"#, r#"from="\\" b""#, "c"),
        ("a", "a", ""),
    ] {
        assert_eq!(split(line), Ok((options, key)), "{line}");
    }
    assert_eq!(split("from=\"a b"), Err(OptionError::Unterminated));
    assert_eq!(split(r#"from="a\" b"#), Err(OptionError::Unterminated));
}

#[test]
fn names_of_options_have_no_case_and_values_may_have_commas() {
    let options = parse("FROM=\"10.0.0.0/8,!10.9.0.0/16\",Services=\"a,b\",expiry-time=\"20271231\"").unwrap();
    assert!(!options.is_authority);
    let shown = format!("{:?}", options.conditions);
    assert!(shown.contains("10.9.0.0") && shown.contains("until: Some"), "{shown}");
    let both = parse("from=\"::1\",services=\"a\"").unwrap();
    assert!(format!("{both:?}").contains("::1"));
}

#[test]
fn what_is_no_option() {
    for (text, expected) in [
        ("", OptionError::Empty),
        (",", OptionError::Empty),
        ("from=\"::1\",", OptionError::Empty),
        (",from=\"::1\"", OptionError::Empty),
        ("from=\"::1\",,services=\"a\"", OptionError::Empty),
        ("=\"a\"", OptionError::Empty),
        ("\"from\"=\"a\"", OptionError::Empty),
        ("from", OptionError::NoValue(Kind::From)),
        ("from\"::1\"", OptionError::NoValue(Kind::From)),
        ("from=::1", OptionError::Unquoted(Kind::From)),
        ("from='::1'", OptionError::Unquoted(Kind::From)),
        ("from= \"::1\"", OptionError::Unquoted(Kind::From)),
        ("from=\"::1", OptionError::Unterminated),
        ("from=\"::1\\\"", OptionError::Unterminated),
        ("from=\"::1\"x", OptionError::AfterQuote('x')),
        ("from=\"::1\"\"::2\"", OptionError::AfterQuote('"')),
        ("from=\"::1\",From=\"::2\"", OptionError::Twice(Kind::From)),
        ("names=\"a\"", OptionError::NamesOfRawKey),
        ("from=\"\"", OptionError::From(ParseAddressError::Address("".into()))),
        ("services=\"\"", OptionError::Services(ParsePatternError::Empty)),
        ("services=\"a b\"", OptionError::Services(ParsePatternError::Character(' '))),
        ("services=\"a\\\"b,!c\",x", OptionError::Unknown("x".into())),
        ("expiry-time=\"20260229\"", OptionError::Expiry(ParseTimeError::Range)),
        ("expiry-time=\"tomorrow\"", OptionError::Expiry(ParseTimeError::Form)),
        ("no-pty", OptionError::Unknown("no-pty".into())),
        ("fr\u{43e}m=\"::1\"", OptionError::Unknown("fr\u{43e}m".into())),
        ("from =\"::1\"", OptionError::Unknown("from ".into())),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
    assert_eq!(error(&"x".repeat(1_000)), OptionError::Unknown("x".repeat(MAX_SHOWN)));
}

#[cfg(feature = "x509")]
#[test]
fn authorities() {
    assert!(parse("cert-authority").unwrap().is_authority);
    assert!(parse("names=\"a\",CERT-AUTHORITY").unwrap().is_authority);
    assert_eq!(error("cert-authority=\"yes\""), OptionError::Value(Kind::CertAuthority));
    assert_eq!(error("cert-authority,cert-authority"), OptionError::Twice(Kind::CertAuthority));
    assert_eq!(error("cert-authority\"\""), OptionError::AfterQuote('"'));
}

#[cfg(not(feature = "x509"))]
#[test]
fn without_certificates_there_are_no_authorities() {
    assert_eq!(error("cert-authority"), OptionError::NoCertificates);
    let shown = OptionError::NoCertificates.to_string();
    assert_eq!(shown, "this build has no certificates: cert-authority needs the feature x509");
}
