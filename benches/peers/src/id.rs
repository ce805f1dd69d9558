//! Names of what is measured: a system and how it is set, as `rustls-aws/raw/x25519/aes128`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};

/// A system and its settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    pub family: Family,
    pub identities: Identities,
    pub agreement: Agreement,
    pub cipher: Cipher,
    pub variant: Variant,
    text: String,
}

/// A system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    Tcp,
    /// With AWS-LC.
    Countersign,
    CountersignPure,
    RustlsAws,
    RustlsRing,
    SnowDefault,
    SnowRing,
    Libp2pNoise,
    Commonware,
}

/// How the sides prove who they are, where there is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identities {
    #[default]
    Raw,
    Certificates,
    Resumed,
}

/// Key agreement, where there is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Agreement {
    #[default]
    X25519,
    Hybrid,
}

/// Cipher, where there is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cipher {
    #[default]
    ChaCha20,
    Aes128,
    Aes256,
}

/// How it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    #[default]
    Plain,
    /// The client doesn't wait for the verdict.
    Eager,
    /// Writes go through tokio's `BufWriter`.
    BufWriter,
    /// Writes go through the system's own buffer.
    Buffered,
    /// Reads copy into the reader's buffer, where the best way lends.
    Copying,
    /// Nothing is padded; Countersign pads its handshake by default.
    Unpadded,
    /// With keepalives and an idle timeout.
    Timers,
}

impl Family {
    const NAMES: [(&'static str, Family); 9] = [
        ("tcp", Family::Tcp),
        ("countersign", Family::Countersign),
        ("countersign-pure", Family::CountersignPure),
        ("rustls-aws", Family::RustlsAws),
        ("rustls-ring", Family::RustlsRing),
        ("snow-default", Family::SnowDefault),
        ("snow-ring", Family::SnowRing),
        ("libp2p-noise", Family::Libp2pNoise),
        ("commonware", Family::Commonware),
    ];

    /// Whether it is what this crate is about.
    pub fn is_ours(self) -> bool {
        matches!(self, Family::Countersign | Family::CountersignPure)
    }
}

impl FromStr for Id {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split('/');
        let name = words.next().unwrap_or_default();
        let Some((_, family)) = Family::NAMES.into_iter().find(|(known, _)| *known == name) else {
            bail!("there is no peer {name:?}")
        };
        let mut id = Id {
            family,
            identities: Identities::default(),
            agreement: Agreement::default(),
            cipher: Cipher::default(),
            variant: Variant::default(),
            text: text.to_owned(),
        };
        for word in words {
            match word {
                "raw" => id.identities = Identities::Raw,
                "certs" => id.identities = Identities::Certificates,
                "resumed" => id.identities = Identities::Resumed,
                "x25519" => id.agreement = Agreement::X25519,
                "x25519mlkem768" => id.agreement = Agreement::Hybrid,
                "chacha20" => id.cipher = Cipher::ChaCha20,
                "aes128" => id.cipher = Cipher::Aes128,
                "aes256" => id.cipher = Cipher::Aes256,
                "eager" => id.variant = Variant::Eager,
                "bufwriter" => id.variant = Variant::BufWriter,
                "buffered" => id.variant = Variant::Buffered,
                "copying" => id.variant = Variant::Copying,
                "unpadded" => id.variant = Variant::Unpadded,
                "timers" => id.variant = Variant::Timers,
                _ => bail!("{text:?}: no peer can be set to {word:?}"),
            }
        }
        Ok(id)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}
