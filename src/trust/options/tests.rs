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

/// Quotes and backslashes in every order after a quote: where the value ends by one reading, the options end by the
/// other.
#[test]
fn both_readings_of_quotes_agree() {
    let mut values = std::vec![String::new()];
    for _ in 0..6 {
        let longer = values.iter().flat_map(|value| ["a", "\"", "\\", " "].map(|piece| format!("{value}{piece}")));
        values = longer.collect();
    }
    for value in values {
        let line = format!("services=\"{value} key");
        let written = Written::take(&line).unwrap().value(Kind::Services);
        match (split(&line), written) {
            (Err(error), Err(other)) => assert_eq!(error, other, "{line}"),
            (Ok((options, _)), Ok((_, rest))) => {
                let behind = line.len() - rest.len();
                assert!(behind <= options.len(), "{line}");
                // Only a space right behind the value ends the options there; anything else is refused.
                assert_eq!(parse(options).is_ok(), behind == options.len() && is_list(&line[10..behind - 1]), "{line}");
            }
            // The quote of the value is closed, and another one is not.
            (Err(OptionError::Unterminated), Ok((_, rest))) => assert!(rest.contains('"'), "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
}

/// Whether a value of the test above is a list of patterns: it has to be one without spaces, and not empty.
fn is_list(value: &str) -> bool {
    !value.is_empty() && !value.contains(' ')
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
