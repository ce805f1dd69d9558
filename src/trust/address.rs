//! Lists of addresses and address ranges, as in the option `from` of ssh, but without host names: nothing is looked up.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use std::string::String;
use std::vec::Vec;

use ipnet::{IpNet, Ipv4Net};

/// Addresses and ranges, separated by commas. An address matches if one of them has it, and none of those with `!`
/// before it. IPv4 addresses that are written as IPv6 ones (`::ffff:10.0.0.1`) count as IPv4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressList(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    negated: bool,
    range: IpNet,
}

/// Why a text is not a list of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseAddressError {
    /// Neither an address nor a range.
    Address(String),
    /// A range with bits behind its prefix; what was meant may be the other.
    HostBits(String, IpRange),
    /// More than 1024 of them.
    TooMany,
    /// Every address has `!` before it, so that nothing would match.
    OnlyNegated,
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpRange(IpNet);

impl AddressList {
    /// Parses a list, such as `10.0.0.0/8,!10.9.0.0/16,::1`.
    ///
    /// # Errors
    /// [`ParseAddressError`].
    pub fn parse(text: &str) -> Result<Self, ParseAddressError> {
        let mut entries = Vec::new();
        for piece in text.split(',') {
            let (negated, piece) = piece.strip_prefix('!').map_or((false, piece), |rest| (true, rest));
            if entries.len() == MAX_ENTRIES {
                return Err(ParseAddressError::TooMany);
            }
            entries.push(Entry { negated, range: parse_range(piece)? });
        }
        let some = entries.iter().any(|entry| !entry.negated);
        if some { Ok(AddressList(entries)) } else { Err(ParseAddressError::OnlyNegated) }
    }

    /// Whether the address matches.
    pub fn matches(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let found = |negated: bool| {
            let mut entries = self.0.iter().filter(move |entry| entry.negated == negated);
            entries.any(|entry| entry.range.contains(&address))
        };
        !found(true) && found(false)
    }
}

fn parse_range(text: &str) -> Result<IpNet, ParseAddressError> {
    let bad = || ParseAddressError::Address(text.chars().take(MAX_SHOWN).collect());
    let range = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => range(text).ok_or_else(bad)?,
    };
    if range.addr() != range.network() {
        return Err(ParseAddressError::HostBits(text.into(), IpRange(range.trunc())));
    }
    Ok(canonical(range))
}

/// An address as the standard library takes it, which ipnet is not as strict about: to some `010.0.0.0/8` is `8.0.0.0/8`.
fn range(text: &str) -> Option<IpNet> {
    let (address, len) = text.split_once('/')?;
    let is_number = len.bytes().all(|byte| byte.is_ascii_digit()) && (len == "0" || !len.starts_with('0'));
    IpNet::new(address.parse().ok()?, len.parse().ok().filter(|_| is_number)?).ok()
}

/// A range of IPv4 addresses that is written as one of IPv6 is one of IPv4.
fn canonical(range: IpNet) -> IpNet {
    let v4 = match range.addr().to_canonical() {
        IpAddr::V4(address) => range.prefix_len().checked_sub(96).and_then(|len| Ipv4Net::new(address, len).ok()),
        IpAddr::V6(_) => None,
    };
    match (range, v4) {
        (IpNet::V6(_), Some(v4)) => IpNet::V4(v4),
        _ => range,
    }
}

impl FromStr for AddressList {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        AddressList::parse(text)
    }
}

impl fmt::Display for AddressList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Entry { negated, range }) in self.0.iter().enumerate() {
            let (comma, not) = (if index > 0 { "," } else { "" }, if *negated { "!" } else { "" });
            write!(f, "{comma}{not}{}", IpRange(*range))?;
        }
        Ok(())
    }
}

/// An address alone where the range has but one.
impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

impl core::error::Error for ParseAddressError {}

impl fmt::Display for ParseAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseAddressError::Address(text) => write!(
                f,
                "expected IP addresses or ranges such as 10.0.0.0/8, separated by commas without spaces, and {text:?} \
                 came; host names are not looked up"
            ),
            ParseAddressError::HostBits(text, meant) => {
                write!(f, "the range {text} has bits behind its prefix: write {meant}, or the address alone")
            }
            ParseAddressError::TooMany => write!(f, "expected at most {MAX_ENTRIES} addresses"),
            ParseAddressError::OnlyNegated => f.write_str(
                "every address has `!` before it, so that nothing would match: begin with `0.0.0.0/0,::/0,`",
            ),
        }
    }
}

const MAX_ENTRIES: usize = 1_024;
/// Characters of a bad address that are shown.
const MAX_SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(list: &str, address: &str) -> bool {
        AddressList::parse(list).unwrap().matches(address.parse().unwrap())
    }

    #[test]
    fn ranges_addresses_and_what_is_taken_out() {
        let list = "10.0.0.0/8,!10.9.0.0/16,::1,2001:db8::/32";
        for (address, matched) in [
            ("10.1.2.3", true),
            ("10.9.2.3", false),
            ("11.0.0.1", false),
            ("::1", true),
            ("::2", false),
            ("2001:db8:1::", true),
            ("::ffff:10.1.2.3", true),
            ("::ffff:10.9.2.3", false),
        ] {
            assert_eq!(matches(list, address), matched, "{address}");
        }
        assert_eq!(std::format!("{}", AddressList::parse(list).unwrap()), list);
    }

    #[test]
    fn ipv4_written_as_ipv6_counts_as_ipv4() {
        assert!(matches("::ffff:10.0.0.0/104", "10.1.2.3"));
        assert!(matches("::ffff:10.0.0.1", "10.0.0.1"));
        assert!(matches("0.0.0.0/0,!::ffff:10.0.0.1", "10.0.0.2"));
        assert!(!matches("0.0.0.0/0,!::ffff:10.0.0.1", "10.0.0.1"));
        assert!(!matches("::/0", "::ffff:10.0.0.1"));
        assert!(matches("0.0.0.0/0", "::ffff:10.0.0.1"));
    }

    #[test]
    fn what_is_no_list() {
        let parse = |text: &str| AddressList::parse(text).unwrap_err();
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0",
            "10.0.0.*",
            "a.example",
            "10.0.0.1,",
            "10.0.0.1, ::1",
            "::1%eth0",
            "10.0.0.0/-1",
        ] {
            assert!(matches!(parse(bad), ParseAddressError::Address(_)), "{bad:?}");
        }
        for bad in ["010.0.0.0/8", "10.0.0.0/08", "10.0.0.0/+8", "10.0.0.0/", "/8", "::/00"] {
            assert!(matches!(parse(bad), ParseAddressError::Address(_)), "{bad:?}");
        }
        for bad in ["010.0.0.1", "10.0.0.0/8/8", "[::1]", "10.0.0.1:22", "!!10.0.0.1", "\u{661}.1.1.1", "::1\0"] {
            assert!(matches!(parse(bad), ParseAddressError::Address(_)), "{bad:?}");
        }
        let error = parse("10.1.2.3/8").to_string();
        assert_eq!(error, "the range 10.1.2.3/8 has bits behind its prefix: write 10.0.0.0/8, or the address alone");
        assert_eq!(parse("!10.0.0.1"), ParseAddressError::OnlyNegated);
        assert_eq!(parse(&("::1,".repeat(MAX_ENTRIES) + "::1")), ParseAddressError::TooMany);
    }
}
