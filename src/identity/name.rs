//! Names in certificates, and the patterns that match them.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use alloc::borrow::ToOwned;
use alloc::string::String;

/// A name that a certificate gives its holder (RFC 5280, section 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Name {
    /// A DNS name; in a certificate its first label may be `*`.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
    /// A URI, such as a SPIFFE ID.
    Uri(String),
}

/// A text that is neither an IP address nor a URI nor a DNS name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseNameError;

impl Name {
    /// Whether a certificate with this name is one for `wanted`: DNS names without regard to case, and a first label `*` for exactly one label
    /// (RFC 9525, section 6.3); URIs and addresses exactly.
    pub fn covers(&self, wanted: &Name) -> bool {
        match (self, wanted) {
            (Name::Dns(own), Name::Dns(wanted)) => covers_dns(own, wanted),
            (own, wanted) => own == wanted,
        }
    }
}

fn covers_dns(own: &str, wanted: &str) -> bool {
    let (own, wanted) = (own.trim_end_matches('.'), wanted.trim_end_matches('.'));
    match (own.strip_prefix("*."), wanted.split_once('.')) {
        // A wildcard directly below a top-level name would be one for everybody.
        (Some(parent), Some((label, rest))) => {
            label != "*" && parent.contains('.') && parent.eq_ignore_ascii_case(rest)
        }
        (Some(_), None) => false,
        (None, _) => own.eq_ignore_ascii_case(wanted),
    }
}

/// An IP address, a URI (it has a scheme and a colon), or a DNS name.
impl FromStr for Name {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = inner.parse() {
            return Ok(Name::Ip(address));
        }
        if let Some((scheme, rest)) = text.split_once(':') {
            let of_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
            let good = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && scheme.bytes().all(of_scheme)
                && !rest.is_empty()
                && rest.bytes().all(|byte| byte.is_ascii_graphic());
            return if good { Ok(Name::Uri(text.to_owned())) } else { Err(ParseNameError) };
        }
        if is_dns(text) { Ok(Name::Dns(text.to_owned())) } else { Err(ParseNameError) }
    }
}

fn is_dns(text: &str) -> bool {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let labels = labels.strip_prefix("*.").unwrap_or(labels);
    let good_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && labels.split('.').all(good_label)
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Dns(name) | Name::Uri(name) => f.write_str(name),
            Name::Ip(address) => address.fmt(f),
        }
    }
}

impl core::error::Error for ParseNameError {}

impl fmt::Display for ParseNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "expected a DNS name such as db.example.org, an IP address, or a URI such as spiffe://example.org/db",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn what_a_text_is() {
        assert_eq!(name("db.example.org"), Name::Dns("db.example.org".into()));
        assert_eq!(name("[::1]"), Name::Ip("::1".parse().unwrap()));
        assert_eq!(name("10.0.0.1"), Name::Ip("10.0.0.1".parse().unwrap()));
        assert_eq!(name("spiffe://prod/db"), Name::Uri("spiffe://prod/db".into()));
        for bad in ["", "a b", "-a", "a..b", "*", "a.*.b", "spiffe:", "://x", "spiffe://a b", "x\n"] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_wildcard_is_one_label() {
        for (own, wanted, covered) in [
            ("db.example.org", "DB.example.org.", true),
            ("*.example.org", "db.example.org", true),
            ("*.example.org", "a.db.example.org", false),
            ("*.example.org", "example.org", false),
            ("*.org", "example.org", false),
            ("spiffe://a/b", "spiffe://a/B", false),
            ("10.0.0.1", "10.0.0.1", true),
        ] {
            assert_eq!(name(own).covers(&name(wanted)), covered, "{own} for {wanted}");
        }
    }
}
