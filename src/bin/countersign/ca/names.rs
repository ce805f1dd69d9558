//! The names that a certificate may hold, and their text on the command line and in lists.

use std::fmt;
use std::net::IpAddr;

use rcgen::SanType;
use x509_cert::ext::pkix::name::GeneralName;

use crate::report::{IO, Report};

/// A name of the holder of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AltName {
    Dns(String),
    Ip(IpAddr),
    Uri(String),
}

impl AltName {
    /// Reads a name from a certificate or a request, with the same rules as on the command line.
    pub fn from_general(name: &GeneralName) -> Result<Self, String> {
        match name {
            GeneralName::DnsName(name) => {
                dns_name(name.as_str()).map(AltName::Dns).map_err(|error| format!("dns:{:?}: {error}", name.as_str()))
            }
            GeneralName::UniformResourceIdentifier(name) => {
                uri(name.as_str()).map(AltName::Uri).map_err(|error| format!("uri:{:?}: {error}", name.as_str()))
            }
            GeneralName::IpAddress(octets) => {
                let octets = octets.as_bytes();
                let four = <[u8; 4]>::try_from(octets).map(IpAddr::from);
                let address = four.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from));
                address
                    .map(AltName::Ip)
                    .map_err(|_| format!("an address has 4 or 16 bytes, and this one has {}", octets.len()))
            }
            GeneralName::Rfc822Name(name) => Err(format!("email:{:?} is neither DNS, IP nor URI", name.as_str())),
            _ => Err("a name that is neither DNS, IP nor URI".to_string()),
        }
    }

    /// The same for the maker of certificates.
    pub fn to_san(&self) -> Result<SanType, Report> {
        let ascii = |text: &String| text.clone().try_into().map_err(|_| Report::new(IO, "a name is not ASCII", None));
        Ok(match self {
            AltName::Dns(name) => SanType::DnsName(ascii(name)?),
            AltName::Ip(address) => SanType::IpAddress(*address),
            AltName::Uri(uri) => SanType::URI(ascii(uri)?),
        })
    }

    /// The name alone, without its sort.
    pub fn bare(&self) -> String {
        match self {
            AltName::Dns(name) => name.clone(),
            AltName::Ip(address) => address.to_string(),
            AltName::Uri(uri) => uri.clone(),
        }
    }
}

impl fmt::Display for AltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AltName::Dns(name) => write!(f, "dns:{name}"),
            AltName::Ip(address) => write!(f, "ip:{address}"),
            AltName::Uri(uri) => write!(f, "uri:{uri}"),
        }
    }
}

/// Names in one line, or a word that there are none.
pub fn line(names: &[AltName]) -> String {
    if names.is_empty() {
        return "none".to_string();
    }
    names.iter().map(AltName::to_string).collect::<Vec<_>>().join(" ")
}

/// Checks a host name; the first label may be `*`.
pub fn dns_name(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    if text.parse::<IpAddr>().is_ok() {
        return Err("an address, and not a host name: use --ip".to_string());
    }
    if !name.is_ascii() {
        return Err("not ASCII: write it in its xn--... form".to_string());
    }
    let labels = name.strip_prefix("*.").unwrap_or(&name);
    let numeric = labels.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if name.len() > MAX_DNS_LEN || numeric || !labels.split('.').all(is_label) {
        return Err(
            "not a host name: expected letters, digits and hyphens between dots, such as db.example.org".to_string()
        );
    }
    Ok(name)
}

/// Checks that a URI has a scheme and is made of the characters of URIs.
pub fn uri(text: &str) -> Result<String, String> {
    let (scheme, rest) = text.split_once(':').ok_or("no scheme: expected a URI such as spiffe://example.org/db")?;
    let scheme_rest = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(scheme_rest) {
        return Err("no scheme: expected a URI such as spiffe://example.org/db".to_string());
    }
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    if rest.trim_start_matches('/').is_empty() || text.len() > MAX_URI_LEN || !rest.bytes().all(allowed) {
        return Err("not a URI: expected a scheme and then something without spaces, such as spiffe://example.org/db"
            .to_string());
    }
    Ok(text.to_string())
}

fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
}

const MAX_DNS_LEN: usize = 253;
const MAX_URI_LEN: usize = 2_048;
