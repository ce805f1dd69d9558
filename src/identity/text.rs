//! Text forms of public keys: OpenSSH lines, fingerprints, randomart (RFC 8709; OpenSSH's `sshkey.c`).

use core::fmt;
use core::str::FromStr;

use alloc::string::{String, ToString};

use base64ct::{Base64, Encoding};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{HashAlg, PublicKey as SshPublicKey};

use crate::crypto::signature::PublicKey;
use crate::limits::PUBLIC_KEY_LEN;

/// SHA-256 of the SSH wire form of a public key, shown as `SHA256:` and unpadded base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// Names a peer: by its key or by its fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerId {
    /// By its key.
    Key(PublicKey),
    /// By the fingerprint of its key.
    Fingerprint(Fingerprint),
}

/// Why a text is not a public key or fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseKeyError {
    /// There is no key.
    Empty,
    /// The line starts with something else than `ssh-ed25519`.
    NotEd25519,
    /// The base64 does not hold an Ed25519 key.
    Malformed,
    /// The key is of small order, not canonical or not a point of the curve.
    Weak,
    /// Not `SHA256:` and 43 characters of base64.
    Fingerprint,
    /// A private key stands where a public one is expected.
    Private,
}

impl PublicKey {
    /// The fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        let fingerprint = self.key_data().fingerprint(HashAlg::Sha256);
        Fingerprint(fingerprint.sha256().unwrap_or_default())
    }

    /// A picture of the fingerprint, as `ssh-keygen -lv` draws it, without a final line end.
    pub fn randomart(&self) -> String {
        self.key_data().fingerprint(HashAlg::Sha256).to_randomart("[ED25519 256]")
    }

    fn key_data(&self) -> KeyData {
        KeyData::Ed25519(Ed25519PublicKey(*self.as_bytes()))
    }
}

impl From<PublicKey> for PeerId {
    fn from(key: PublicKey) -> Self {
        PeerId::Key(key)
    }
}

impl PeerId {
    /// Whether `key` is the peer that this names.
    pub fn matches(&self, key: &PublicKey) -> bool {
        match self {
            PeerId::Key(own) => own == key,
            PeerId::Fingerprint(fingerprint) => *fingerprint == key.fingerprint(),
        }
    }

    /// The fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            PeerId::Key(key) => key.fingerprint(),
            PeerId::Fingerprint(fingerprint) => *fingerprint,
        }
    }
}

/// Parses `ssh-ed25519 BASE64 [comment]` and returns the key and the comment, which may be empty.
///
/// # Errors
/// [`ParseKeyError`].
pub fn parse_line(line: &str) -> Result<(PublicKey, &str), ParseKeyError> {
    let line = line.trim();
    let (algorithm, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    if algorithm != "ssh-ed25519" {
        return Err(match algorithm {
            "" => ParseKeyError::Empty,
            _ if line.starts_with("-----BEGIN") => ParseKeyError::Private,
            _ => ParseKeyError::NotEd25519,
        });
    }
    let rest = rest.trim_start();
    let (base64, comment) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    let bytes = key_of_blob(base64).ok_or(ParseKeyError::Malformed)?;
    let key = PublicKey::from_bytes(&bytes).map_err(|_| ParseKeyError::Weak)?;
    Ok((key, comment.trim()))
}

/// The key in the base64 of its SSH wire form. A key has one text, and OpenSSH takes no other.
fn key_of_blob(base64: &str) -> Option<[u8; PUBLIC_KEY_LEN]> {
    let mut blob = [0; BLOB_PREFIX.len() + PUBLIC_KEY_LEN];
    let blob = Base64::decode(base64, &mut blob).ok()?;
    blob.strip_prefix(BLOB_PREFIX)?.try_into().ok()
}

impl FromStr for PublicKey {
    type Err = ParseKeyError;

    fn from_str(line: &str) -> Result<Self, ParseKeyError> {
        parse_line(line).map(|(key, _)| key)
    }
}

impl FromStr for Fingerprint {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let parsed = ssh_key::Fingerprint::from_str(text.trim()).map_err(|_| ParseKeyError::Fingerprint)?;
        parsed.sha256().map(Fingerprint).ok_or(ParseKeyError::Fingerprint)
    }
}

impl FromStr for PeerId {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        if text.trim_start().starts_with("SHA256:") {
            return text.parse().map(PeerId::Fingerprint);
        }
        text.parse().map(PeerId::Key)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = SshPublicKey::new(self.key_data(), "").to_openssh().map_err(|_| fmt::Error)?;
        f.write_str(line.trim_end())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for PublicKey {}

impl core::hash::Hash for PublicKey {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ssh_key::Fingerprint::Sha256(self.0).to_string())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fingerprint().fmt(f)
    }
}

impl core::error::Error for ParseKeyError {}

impl fmt::Display for ParseKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParseKeyError::Empty => "no key: expected a line `ssh-ed25519 AAAA... comment`",
            ParseKeyError::NotEd25519 => {
                "expected a line that starts with `ssh-ed25519`; other key types are not supported"
            }
            ParseKeyError::Malformed => "the base64 after `ssh-ed25519` is not an Ed25519 public key; was it cut?",
            ParseKeyError::Weak => "the key is weak: of small order, not canonical or not a point of the curve",
            ParseKeyError::Fingerprint => {
                "expected a fingerprint `SHA256:` and 43 characters of base64, without padding"
            }
            ParseKeyError::Private => "this is a private key: give its public half (the .pub file)",
        })
    }
}

/// Its length and the type of the key, and the length of the key.
const BLOB_PREFIX: &[u8] = b"\0\0\0\x0Bssh-ed25519\0\0\0\x20";

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn lines_and_fingerprints_are_those_of_openssh() {
        let line = std::format!("  {LINE}\tuser@example.com \r");
        let (key, comment) = parse_line(&line).unwrap();
        assert_eq!(comment, "user@example.com");
        assert_eq!(key.to_string(), LINE);
        let shown = key.fingerprint().to_string();
        assert_eq!(shown, "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ");
        assert_eq!(shown.parse::<Fingerprint>().unwrap(), key.fingerprint());
        assert!(shown.parse::<PeerId>().unwrap().matches(&key));
        assert!(LINE.parse::<PeerId>().unwrap().matches(&key));
    }

    #[test]
    fn each_mistake_has_its_error() {
        for (text, error) in [
            ("", ParseKeyError::Empty),
            ("ssh-rsa AAAA", ParseKeyError::NotEd25519),
            ("ssh-ed25519", ParseKeyError::Malformed),
            ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", ParseKeyError::Malformed),
            // The length of the key says 176.
            (
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAsBNKIpJ0K7SrOvhoNUYV5ObQIkq3GgFrr4UgozLJd4c3",
                ParseKeyError::Malformed,
            ),
            ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", ParseKeyError::Weak),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", ParseKeyError::Private),
            ("SHA256:short", ParseKeyError::Fingerprint),
        ] {
            assert_eq!(text.parse::<PeerId>(), Err(error), "{text}");
        }
    }
}
