//! The options before the key in a line of a trust file, written as in sshd(8): separated by commas, values in quotes.

use std::fmt;
use std::string::{String, ToString};

use crate::trust::address::{AddressList, ParseAddressError};
use crate::trust::conditions::Conditions;
use crate::trust::date::{ParseTimeError, parse_time};
use crate::trust::pattern::{ParsePatternError, PatternList};

/// The options of a line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) conditions: Conditions,
    /// The key is that of a CA, and trusted for nothing else.
    pub(crate) is_authority: bool,
}

/// Why options are not options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OptionError {
    AfterQuote(char),
    Empty,
    Expiry(ParseTimeError),
    From(ParseAddressError),
    Names(ParsePatternError),
    NamesOfRawKey,
    #[cfg_attr(feature = "x509", allow(dead_code, reason = "of builds without certificates"))]
    NoCertificates,
    NoKey,
    NoValue(Kind),
    Services(ParsePatternError),
    Twice(Kind),
    Unknown(String),
    Unquoted(Kind),
    Unterminated,
    Value(Kind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    CertAuthority,
    ExpiryTime,
    From,
    Names,
    Services,
}

/// An option as it is written.
struct Written<'a> {
    name: &'a str,
    /// Whether `=` follows.
    has_value: bool,
    rest: &'a str,
}

/// The options and what comes after the spaces behind them. The end of the options is the first space outside of
/// quotes.
pub(crate) fn split(line: &str) -> Result<(&str, &str), OptionError> {
    let mut quoted = false;
    let mut escaped = false;
    for (index, c) in line.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ' ' | '\t' if !quoted => {
                let (options, key) = line.split_at(index);
                return Ok((options, key.trim_start()));
            }
            _ => {}
        }
        // As in sshd, a backslash before another is nothing special.
        escaped = c == '\\';
    }
    if quoted { Err(OptionError::Unterminated) } else { Ok((line, "")) }
}

/// Parses the options of a line.
pub(crate) fn parse(mut text: &str) -> Result<Options, OptionError> {
    let mut options = Options::default();
    let mut seen: [Option<Kind>; Kind::ALL.len()] = [None; Kind::ALL.len()];
    loop {
        let written = Written::take(text)?;
        let kind = written.kind()?;
        if seen.contains(&Some(kind)) {
            return Err(OptionError::Twice(kind));
        }
        seen.iter_mut().find(|place| place.is_none()).into_iter().for_each(|place| *place = Some(kind));
        let rest = options.set(kind, &written)?;
        let Some(next) = rest.strip_prefix(',') else {
            return match rest.chars().next() {
                Some(c) => Err(OptionError::AfterQuote(c)),
                None => options.checked(seen.contains(&Some(Kind::Names))),
            };
        };
        text = next;
    }
}

impl Options {
    /// Takes an option over and returns what comes behind it.
    fn set<'a>(&mut self, kind: Kind, written: &Written<'a>) -> Result<&'a str, OptionError> {
        if kind == Kind::CertAuthority {
            self.is_authority = true;
            return if written.has_value { Err(OptionError::Value(kind)) } else { Ok(written.rest) };
        }
        let (value, rest) = written.value(kind)?;
        let conditions = core::mem::take(&mut self.conditions);
        self.conditions = match kind {
            Kind::CertAuthority => conditions,
            Kind::ExpiryTime => conditions.until(parse_time(&value).map_err(OptionError::Expiry)?),
            Kind::From => conditions.from(AddressList::parse(&value).map_err(OptionError::From)?),
            Kind::Names => conditions.names(PatternList::parse(&value).map_err(OptionError::Names)?),
            Kind::Services => conditions.services(PatternList::parse(&value).map_err(OptionError::Services)?),
        };
        Ok(rest)
    }

    fn checked(self, names: bool) -> Result<Self, OptionError> {
        #[cfg(not(feature = "x509"))]
        if self.is_authority {
            return Err(OptionError::NoCertificates);
        }
        if names && !self.is_authority { Err(OptionError::NamesOfRawKey) } else { Ok(self) }
    }
}

impl<'a> Written<'a> {
    fn take(text: &'a str) -> Result<Self, OptionError> {
        let (name, rest) = text.split_at(text.find(['=', ',', '"']).unwrap_or(text.len()));
        if name.is_empty() {
            return Err(OptionError::Empty);
        }
        match rest.strip_prefix('=') {
            Some(rest) => Ok(Written { name, has_value: true, rest }),
            None => Ok(Written { name, has_value: false, rest }),
        }
    }

    fn kind(&self) -> Result<Kind, OptionError> {
        let found = Kind::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(self.name));
        found.ok_or_else(|| OptionError::Unknown(self.name.chars().take(MAX_SHOWN).collect()))
    }

    /// The text between the quotes, where `\"` is a quote, and what comes behind them.
    fn value(&self, kind: Kind) -> Result<(String, &'a str), OptionError> {
        if !self.has_value {
            return Err(OptionError::NoValue(kind));
        }
        let mut rest = self.rest.strip_prefix('"').ok_or(OptionError::Unquoted(kind))?;
        let mut value = String::new();
        loop {
            let (before, after) = rest.split_once('"').ok_or(OptionError::Unterminated)?;
            rest = after;
            match before.strip_suffix('\\') {
                Some(before) => {
                    value.push_str(before);
                    value.push('"');
                }
                None => {
                    value.push_str(before);
                    return Ok((value, rest));
                }
            }
        }
    }
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::CertAuthority, Kind::ExpiryTime, Kind::From, Kind::Names, Kind::Services];

    fn name(self) -> &'static str {
        match self {
            Kind::CertAuthority => "cert-authority",
            Kind::ExpiryTime => "expiry-time",
            Kind::From => "from",
            Kind::Names => "names",
            Kind::Services => "services",
        }
    }
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionError::AfterQuote(c) => write!(f, "expected a comma or a space after an option, and {c:?} came"),
            OptionError::Empty => f.write_str("expected an option before and after each comma"),
            OptionError::Expiry(error) => write!(f, "the option expiry-time: {error}"),
            OptionError::From(error) => write!(f, "the option from: {error}"),
            OptionError::Names(error) => write!(f, "the option names: {error}"),
            OptionError::NamesOfRawKey => {
                f.write_str("the option names is about the names in certificates: expected cert-authority beside it")
            }
            OptionError::NoCertificates => {
                f.write_str("this build has no certificates: cert-authority needs the feature x509")
            }
            OptionError::NoKey => f.write_str("expected `ssh-ed25519 AAAA... comment` after the options"),
            OptionError::NoValue(kind) => write!(f, "the option {0} has no value: expected {0}=\"...\"", kind.name()),
            OptionError::Services(error) => write!(f, "the option services: {error}"),
            OptionError::Twice(kind) => {
                write!(f, "the option {} comes twice: write all of it into one, or one line for each", kind.name())
            }
            OptionError::Unknown(name) => {
                let known = Kind::ALL.map(|kind| kind.name().to_string()).join(", ");
                write!(f, "expected `ssh-ed25519` or options ({known}) before it, and {name:?} came")
            }
            OptionError::Unquoted(kind) => write!(f, "expected the value of {0} in quotes: {0}=\"...\"", kind.name()),
            OptionError::Unterminated => f.write_str("a quote is opened and not closed"),
            OptionError::Value(kind) => write!(f, "the option {} has no value, and `=` came", kind.name()),
        }
    }
}

/// Characters of an unknown option that are shown.
const MAX_SHOWN: usize = 64;

#[cfg(test)]
mod tests;
