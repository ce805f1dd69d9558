//! The hosts of a line, in the clear or hashed, as ssh writes them (OpenSSH's `hostfile.c`).

use std::format;
use std::string::String;

use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::trust::load::Problem;
use crate::trust::pattern::glob;

/// The hosts of a line.
#[derive(Debug)]
pub(super) enum Hosts {
    /// Patterns in lower case, separated by commas.
    List(String),
    /// HMAC-SHA-1 of one name, with the salt as its key.
    Hashed { salt: [u8; HASH_LEN], hash: [u8; HASH_LEN] },
}

/// What a host is called in the file: in lower case, and as it is at port 22, else `[host]:port`. Brackets around an
/// IPv6 address are the caller's choice.
pub(super) fn host_name(host: &str, port: u16) -> String {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = inner.unwrap_or(host).to_ascii_lowercase();
    if port == SSH_PORT { host } else { format!("[{host}]:{port}") }
}

impl Hosts {
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let Some(hashed) = text.strip_prefix('|') else {
            let has_empty = text.split(',').any(|host| host.trim_start_matches('!').is_empty());
            return if has_empty { Err(Problem::Hosts) } else { Ok(Hosts::List(text.to_ascii_lowercase())) };
        };
        let parts = hashed.strip_prefix("1|").and_then(|rest| rest.split_once('|'));
        let (salt, hash) = parts.ok_or(Problem::Hash)?;
        Ok(Hosts::Hashed { salt: decode(salt)?, hash: decode(hash)? })
    }

    pub(super) fn hashed(name: &str, salt: [u8; HASH_LEN]) -> Self {
        Hosts::Hashed { salt, hash: hash(name, &salt) }
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Hosts::List(list) => {
                let found = |negated: bool| {
                    let mut patterns = list.split(',').filter(move |pattern| pattern.starts_with('!') == negated);
                    patterns.any(|pattern| glob(pattern.strip_prefix('!').unwrap_or(pattern), name))
                };
                !found(true) && found(false)
            }
            Hosts::Hashed { salt, hash: own } => hash(name, salt) == *own,
        }
    }

    /// The names that it is about, if these are names and no patterns: then it is about no others.
    pub(super) fn literal(&self) -> Option<impl Iterator<Item = &str>> {
        match self {
            Hosts::List(list) if !list.contains(['*', '?', '!']) => Some(list.split(',')),
            _ => None,
        }
    }

    /// How a line begins.
    pub(super) fn text(&self) -> String {
        match self {
            Hosts::List(list) => list.clone(),
            Hosts::Hashed { salt, hash } => {
                format!("|1|{}|{}", Base64::encode_string(salt), Base64::encode_string(hash))
            }
        }
    }
}

fn decode(text: &str) -> Result<[u8; HASH_LEN], Problem> {
    let mut bytes = [0; HASH_LEN];
    match Base64::decode(text, &mut bytes) {
        Ok(decoded) if decoded.len() == HASH_LEN => Ok(bytes),
        _ => Err(Problem::Hash),
    }
}

fn hash(name: &str, salt: &[u8]) -> [u8; HASH_LEN] {
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(salt) else { return [0; HASH_LEN] };
    mac.update(name.as_bytes());
    mac.finalize().into_bytes().into()
}

pub(super) const HASH_LEN: usize = 20;
const SSH_PORT: u16 = 22;
