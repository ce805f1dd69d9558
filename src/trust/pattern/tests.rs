use super::*;

#[test]
fn stars_and_question_marks() {
    for (pattern, text, matched) in [
        ("*", "", true),
        ("*", "anything", true),
        ("?", "", false),
        ("db-?", "db-1", true),
        ("db-?", "db-12", false),
        ("db-*", "db-", true),
        ("*.example", "a.b.example", true),
        ("*.example", "example", false),
        ("a*b*c", "a-b-b-c-c", true),
        ("a*b*c", "acb", false),
        ("**a**", "xay", true),
        ("DB", "db", false),
        ("?", "\u{e9}", true),
        ("[a]", "a", false),
    ] {
        assert_eq!(Pattern::parse(pattern).unwrap().matches(text), matched, "{pattern} for {text}");
    }
}

/// Every pattern and text of up to five characters, against the definition.
#[test]
fn short_patterns_match_as_defined() {
    fn defined(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| defined(rest, &text[skip..])),
            ([wanted, rest @ ..], [c, after @ ..]) => (*wanted == b'?' || wanted == c) && defined(rest, after),
            _ => false,
        }
    }
    let texts = words("ab");
    for pattern in words("ab*?") {
        for text in &texts {
            let expected = defined(pattern.as_bytes(), text.as_bytes());
            assert_eq!(glob(&pattern, text), expected, "{pattern} for {text}");
        }
    }
}

fn words(letters: &str) -> Vec<std::string::String> {
    let mut words = std::vec![std::string::String::new()];
    let mut done = 0;
    while let Some(word) = words.get(done).filter(|word| word.len() < 5).cloned() {
        words.extend(letters.chars().map(|letter| std::format!("{word}{letter}")));
        done += 1;
    }
    words
}

#[test]
fn a_list_takes_out_wherever_the_exclamation_mark_stands() {
    for text in ["db-*,metrics,!db-test", "!db-test,db-*,metrics"] {
        let list = PatternList::parse(text).unwrap();
        let matched = ["db-1", "metrics", "db-test", "other", ""].map(|text| list.matches(text));
        assert_eq!(matched, [true, true, false, false, false]);
        assert_eq!(std::format!("{list}"), text);
    }
}

#[test]
fn what_is_no_list() {
    let long = "a".repeat(MAX_PATTERN_LEN + 1);
    let many = "a,".repeat(MAX_PATTERNS) + "a";
    for (text, error) in [
        ("", ParsePatternError::Empty),
        ("a,", ParsePatternError::Empty),
        ("a,,b", ParsePatternError::Empty),
        ("a,!", ParsePatternError::Empty),
        ("a,!!b", ParsePatternError::Character('!')),
        ("a, b", ParsePatternError::Character(' ')),
        ("a\0", ParsePatternError::Character('\0')),
        ("d\u{fc}", ParsePatternError::Character('\u{fc}')),
        ("!a", ParsePatternError::OnlyNegated),
        (&long, ParsePatternError::TooLong),
        (&many, ParsePatternError::TooLong),
    ] {
        assert_eq!(PatternList::parse(text), Err(error), "{text}");
    }
}

#[test]
fn hostile_patterns_and_texts_take_no_time() {
    let list = PatternList::parse(&("*a".repeat(250) + "b")).unwrap();
    assert!(!list.matches(&"a".repeat(MAX_TEXT_LEN)));
    // A text that is too long for the pattern that takes it out is not let in either.
    assert!(!PatternList::parse("*,!*x").unwrap().matches(&"x".repeat(MAX_TEXT_LEN + 1)));
}

#[test]
fn names_are_matched_by_patterns_of_their_sort() {
    for (list, name, matched) in [
        ("*.prod.example", "DB.Prod.Example.", true),
        ("*.PROD.example", "db.prod.example", true),
        ("*.prod.example", "spiffe://evil/x.prod.example", false),
        ("spiffe://prod/*", "spiffe://prod/db", true),
        ("spiffe://prod/*", "spiffe://PROD/db", false),
        ("10.0.0.*", "10.0.0.7", true),
        ("10.0.0.*", "10.0.0.evil.example", false),
        ("2001:DB8:*", "2001:db8::1", true),
        ("10.0.0.*", "::ffff:10.0.0.7", true),
        ("*,!10.0.0.*", "::ffff:10.0.0.7", false),
        ("*", "spiffe://x/y", true),
        ("*,!*evil*", "spiffe://evil/y", false),
        // It covers db.prod.example too.
        ("*.prod.example,!db.prod.example", "*.prod.example", false),
        ("*.prod.example", "*.prod.example", true),
        ("db.prod.example", "*.prod.example", false),
    ] {
        let (parsed, name) = (PatternList::parse(list).unwrap(), name.parse().unwrap());
        assert_eq!(parsed.matches_name(&name), matched, "{list} for {name}");
    }
}
