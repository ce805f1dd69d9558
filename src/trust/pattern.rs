//! Patterns for texts and for the names in certificates, as in ssh: `*` is any run of characters, `?` is one character,
//! and in a list `!` before a pattern takes out what it matches, wherever it stands.

use core::fmt;
use core::str::{Chars, FromStr};

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::identity::Name;

/// A pattern: `*` is any run of characters, also an empty one, and `?` is one character; everything else is itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

/// Patterns, separated by commas. A text matches if one of them does, and none of those with `!` before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternList(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    negated: bool,
    pattern: Pattern,
}

/// Why a text is not a list of patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParsePatternError {
    /// There is no pattern, or none between two commas.
    Empty,
    /// A character that is not visible ASCII, such as a space.
    Character(char),
    /// A pattern of more than 512 bytes, or more than 256 patterns.
    TooLong,
    /// Every pattern has `!` before it, so that nothing would match.
    OnlyNegated,
}

impl Pattern {
    /// Parses a pattern of visible ASCII characters.
    ///
    /// # Errors
    /// [`ParsePatternError`].
    pub fn parse(text: &str) -> Result<Self, ParsePatternError> {
        if text.is_empty() {
            return Err(ParsePatternError::Empty);
        }
        if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic() || *c == ',') {
            return Err(ParsePatternError::Character(bad));
        }
        if text.len() > MAX_PATTERN_LEN { Err(ParsePatternError::TooLong) } else { Ok(Pattern(text.into())) }
    }

    /// Whether the whole of `text` matches. A text of more than 4096 bytes does not.
    pub fn matches(&self, text: &str) -> bool {
        text.len() <= MAX_TEXT_LEN && glob(&self.0, text)
    }

    /// Whether the pattern is meant for names of this sort, so that `*.example.org` does not match a URI that ends so.
    fn is_for(&self, name: &Name) -> bool {
        let text = &*self.0;
        if text == "*" {
            return true;
        }
        let of_address = |c: char| c.is_ascii_hexdigit() || ":.*?".contains(c);
        let is_v4 = text.chars().all(|c| c.is_ascii_digit() || ".*?".contains(c)) && text.contains('.');
        let is_address = is_v4 || text.contains(':') && text.chars().all(of_address);
        match name {
            Name::Ip(_) => is_address,
            Name::Uri(_) => !is_address && text.contains(':'),
            Name::Dns(_) => !is_address && !text.contains(':'),
        }
    }
}

impl PatternList {
    /// Parses a list, such as `db-*,metrics,!db-test`.
    ///
    /// # Errors
    /// [`ParsePatternError`].
    pub fn parse(text: &str) -> Result<Self, ParsePatternError> {
        let mut entries = Vec::new();
        for piece in text.split(',') {
            let (negated, piece) = piece.strip_prefix('!').map_or((false, piece), |rest| (true, rest));
            if piece.starts_with('!') {
                return Err(ParsePatternError::Character('!'));
            }
            if entries.len() == MAX_PATTERNS {
                return Err(ParsePatternError::TooLong);
            }
            entries.push(Entry { negated, pattern: Pattern::parse(piece)? });
        }
        let some = entries.iter().any(|entry| !entry.negated);
        if some { Ok(PatternList(entries)) } else { Err(ParsePatternError::OnlyNegated) }
    }

    /// Whether `text` matches. A text of more than 4096 bytes does not.
    pub fn matches(&self, text: &str) -> bool {
        let found = |negated: bool| {
            let mut entries = self.0.iter().filter(move |entry| entry.negated == negated);
            entries.any(|entry| entry.pattern.matches(text))
        };
        text.len() <= MAX_TEXT_LEN && !found(true) && found(false)
    }

    /// Whether a name of a certificate matches: DNS names without regard to case, others exactly; and none but a
    /// pattern of its sort or `*` lets a name in. A wildcard name matches no list with `!`, since it might stand for
    /// what is taken out.
    pub fn matches_name(&self, name: &Name) -> bool {
        let mut let_in = self.0.iter().filter(|entry| !entry.negated && entry.pattern.is_for(name));
        let is_wildcard = matches!(name, Name::Dns(text) if text.contains('*'));
        let takes_out = is_wildcard && self.0.iter().any(|entry| entry.negated);
        !takes_out && !self.excludes_name(name) && let_in.any(|entry| entry.pattern.matches_name(name))
    }

    /// Whether a pattern with `!` matches the name, of whatever sort it is.
    pub(crate) fn excludes_name(&self, name: &Name) -> bool {
        let mut negated = self.0.iter().filter(|entry| entry.negated);
        negated.any(|entry| entry.pattern.matches_name(name))
    }
}

impl Pattern {
    fn matches_name(&self, name: &Name) -> bool {
        match name {
            Name::Dns(text) => {
                let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
                let pattern = self.0.strip_suffix('.').unwrap_or(&self.0).to_ascii_lowercase();
                text.len() <= MAX_TEXT_LEN && glob(&pattern, &text)
            }
            Name::Ip(address) => glob(&self.0.to_ascii_lowercase(), &alloc::format!("{}", address.to_canonical())),
            Name::Uri(text) => self.matches(text),
        }
    }
}

/// Whether all of `text` matches `pattern`. Goes back to the last `*` only, so that the time is at most the product of
/// the lengths.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut star: Option<(Chars<'_>, Chars<'_>)> = None;
    loop {
        let mut next = pattern.clone();
        let mut rest = text.clone();
        match (next.next(), rest.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                star = Some((next.clone(), text.clone()));
                pattern = next;
            }
            (Some(wanted), Some(c)) if wanted == '?' || wanted == c => (pattern, text) = (next, rest),
            _ => {
                // One character more for the last `*`.
                let Some((after, from)) = &mut star else { return false };
                if from.next().is_none() {
                    return false;
                }
                (pattern, text) = (after.clone(), from.clone());
            }
        }
    }
}

impl FromStr for PatternList {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, ParsePatternError> {
        PatternList::parse(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PatternList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Entry { negated, pattern }) in self.0.iter().enumerate() {
            let (comma, not) = (if index > 0 { "," } else { "" }, if *negated { "!" } else { "" });
            write!(f, "{comma}{not}{pattern}")?;
        }
        Ok(())
    }
}

impl core::error::Error for ParsePatternError {}

impl fmt::Display for ParsePatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParsePatternError::Empty => f.write_str("expected patterns separated by commas, and one of them is empty"),
            ParsePatternError::Character(c) => write!(
                f,
                "expected patterns of visible ASCII characters, separated by commas without spaces, and {c:?} came"
            ),
            ParsePatternError::TooLong => {
                write!(f, "expected at most {MAX_PATTERNS} patterns of at most {MAX_PATTERN_LEN} bytes")
            }
            ParsePatternError::OnlyNegated => {
                f.write_str("every pattern has `!` before it, so that nothing would match: begin with `*,`")
            }
        }
    }
}

const MAX_PATTERN_LEN: usize = 512;
const MAX_PATTERNS: usize = 256;
const MAX_TEXT_LEN: usize = 4_096;

#[cfg(test)]
mod tests;
