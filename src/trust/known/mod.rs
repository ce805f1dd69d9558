//! Known peers: which key a host had, in the format of ssh's `known_hosts`, for trust on first use. Host names are as
//! ssh writes them: `host` at port 22, else `[host]:port`; they may be hashed. Lines with `@revoked` are heeded; those
//! with other markers and other types of keys are passed over.

mod host;
mod write;

use std::collections::HashMap;
use std::format;
use std::path::Path;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use crate::identity::{ParseKeyError, PublicKey, parse_line};
use crate::trust::decision::{Decision, DecisionFuture, Grant, Request, Trust};
use crate::trust::known_as::known_as;
use crate::trust::load::{Cause, Problem, TrustFileError, TrustLineError, lines, read};

use host::{Hosts, host_name};

/// The keys that hosts had. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KnownPeers {
    source: Arc<str>,
    lines: Arc<[Line]>,
    places: Arc<Places>,
}

/// Where to look: hashed names and patterns have to be tried one by one.
#[derive(Debug, Default)]
struct Places {
    by_name: HashMap<String, Vec<usize>>,
    others: Vec<usize>,
}

/// What is known about the key of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Known {
    /// The host has this key.
    Same,
    /// Nothing is known about the host.
    New,
    /// The host has other keys.
    Changed {
        /// Its keys.
        expected: Vec<PublicKey>,
        /// The line of the first of them.
        line: usize,
    },
    /// The key is revoked, for this host or for all.
    Revoked {
        /// The line that says so.
        line: usize,
    },
}

/// Trusts the keys that a host is known to have, and nobody else. Made by [`KnownPeers::trust`].
#[derive(Clone, Debug)]
pub struct FirstUse {
    known: KnownPeers,
    host: String,
    port: u16,
}

#[derive(Debug)]
struct Line {
    number: usize,
    is_revoked: bool,
    hosts: Hosts,
    key: PublicKey,
}

impl KnownPeers {
    /// Loads a file; where there is none, nobody is known.
    ///
    /// # Errors
    /// [`TrustFileError`], with the number of the bad line; also for a file that others than its owner and group can
    /// write.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TrustFileError> {
        let path = path.as_ref();
        let text = match read(WHAT, path) {
            Err(error) if error.is_missing() => String::new(),
            text => text?,
        };
        Self::load(&format!("{}", path.display()), &text)
            .map_err(|error| TrustFileError::new(WHAT, path, Cause::Line(error)))
    }

    /// Parses the text of a file.
    ///
    /// # Errors
    /// The number of the first bad line, counted from 1, and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TrustLineError> {
        Self::load(&format!("the {WHAT}"), text)
    }

    fn load(source: &str, text: &str) -> Result<Self, TrustLineError> {
        let mut found = Vec::new();
        for line in lines(text) {
            let (number, line) = line?;
            found.extend(Line::parse(number, line).map_err(|problem| TrustLineError::new(number, problem))?);
        }
        let places = Places::of(&found);
        Ok(KnownPeers { source: source.into(), lines: found.into(), places: places.into() })
    }

    /// What is known about the key of a host, which is a name or an IP address.
    pub fn check(&self, host: &str, port: u16, key: &PublicKey) -> Known {
        self.find(&host_name(host, port), key).0
    }

    /// Trust in the keys that the host has, and in no others: not in one that is new either.
    pub fn trust(&self, host: &str, port: u16) -> FirstUse {
        FirstUse { known: self.clone(), host: host.into(), port }
    }

    /// The lines about a host, in order.
    fn lines_about(&self, name: &str) -> Vec<&Line> {
        let named = self.places.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        let others = self.places.others.iter();
        let others = others.filter(|index| self.lines.get(**index).is_some_and(|line| line.hosts.matches(name)));
        let mut all: Vec<usize> = named.iter().chain(others).copied().collect();
        all.sort_unstable();
        all.iter().filter_map(|index| self.lines.get(*index)).collect()
    }

    /// What is known, and by which line.
    fn find(&self, name: &str, key: &PublicKey) -> (Known, usize) {
        let lines = self.lines_about(name);
        let about = || lines.iter().copied();
        let revoked = about().find(|line| line.is_revoked && line.key == *key);
        if let Some(Line { number: line, .. }) = revoked {
            return (Known::Revoked { line: *line }, *line);
        }
        let expected = || about().filter(|line| !line.is_revoked);
        if let Some(line) = expected().find(|line| line.key == *key) {
            return (Known::Same, line.number);
        }
        match expected().next() {
            Some(Line { number: line, .. }) => {
                let expected = expected().map(|line| line.key).collect();
                (Known::Changed { expected, line: *line }, *line)
            }
            None => (Known::New, 0),
        }
    }
}

impl Places {
    fn of(lines: &[Line]) -> Self {
        let mut places = Places::default();
        for (index, line) in lines.iter().enumerate() {
            match line.hosts.literal() {
                Some(names) => {
                    for name in names {
                        let at = places.by_name.entry(name.into()).or_default();
                        // A name may stand twice in a line.
                        if at.last() != Some(&index) {
                            at.push(index);
                        }
                    }
                }
                None => places.others.push(index),
            }
        }
        places
    }
}

impl Line {
    /// `None` for a line that is not about an Ed25519 key.
    fn parse(number: usize, line: &str) -> Result<Option<Self>, Problem> {
        let (marker, rest) = if line.starts_with('@') { field(line) } else { ("", line) };
        if !["", "@revoked"].contains(&marker) {
            return Ok(None);
        }
        let (hosts, key) = field(rest);
        if hosts.is_empty() {
            return Err(Problem::Marker);
        }
        let (algorithm, _) = field(key);
        if is_other_key(algorithm) {
            return Ok(None);
        }
        let hosts = Hosts::parse(hosts)?;
        let (key, _) = parse_line(key).map_err(|error| match error {
            // A type that is cut may be ours.
            ParseKeyError::NotEd25519 => Problem::KeyType,
            error => Problem::Key(error),
        })?;
        Ok(Some(Line { number, is_revoked: !marker.is_empty(), hosts, key }))
    }
}

/// Whether ssh has such a type of key and we don't.
fn is_other_key(algorithm: &str) -> bool {
    let starts = ["ecdsa-sha2-", "sk-", "rsa-sha2-"];
    // Old files have the bits of the key there.
    let is_old = !algorithm.is_empty() && algorithm.bytes().all(|byte| byte.is_ascii_digit());
    let is_other = starts.iter().any(|start| algorithm.starts_with(start)) || algorithm.contains('@');
    is_old || is_other || ["ssh-rsa", "ssh-dss", "ssh-ed448"].contains(&algorithm)
}

/// The text up to the first space, and what follows the spaces.
fn field(text: &str) -> (&str, &str) {
    let (field, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (field, rest.trim_start())
}

impl Trust for FirstUse {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        let name = host_name(&self.host, self.port);
        let source = &self.known.source;
        let key = request.public_key();
        let mut own = None;
        for known in known_as(request) {
            let (found, line) = self.known.find(&name, &known.key);
            if found == Known::Same {
                let rule = format!("{source}, line {line}");
                let mut grant = Grant { name: Some(name), rule, ..Grant::default() };
                known.hand_on(&mut grant);
                return Decision::Accept(grant).ready();
            }
            // A key that was revoked has no successor that would make it good, and is none.
            let revoked = matches!(found, Known::Revoked { .. });
            own.get_or_insert(found);
            if revoked {
                break;
            }
        }
        let rule = match own.unwrap_or(Known::New) {
            Known::Same | Known::New => format!("{source} has no key for {name:?}"),
            Known::Changed { expected, line } => {
                let expected: Vec<String> = expected.iter().map(|key| format!("{}", key.fingerprint())).collect();
                let (expected, came) = (expected.join(" or "), key.fingerprint());
                format!("the key of {name:?} has changed: {source}, line {line} expects {expected}, and {came} came")
            }
            Known::Revoked { line } => {
                format!("{source}, line {line}: the key {} is revoked", key.fingerprint())
            }
        };
        Decision::not_trusted().because(rule).ready()
    }
}

const WHAT: &str = "known-peers file";

#[cfg(test)]
mod tests;
