//! Trust in the keys of a file in the format of OpenSSH's `authorized_keys`, with options before the key.

use std::boxed::Box;
use std::collections::{HashMap, HashSet};
use std::format;
use std::panic::resume_unwind;
use std::path::Path;
use std::string::String;
use std::thread;
use std::vec::Vec;

use crate::identity::{Credential, PublicKey, parse_line};
use crate::trust::combine::most_telling;
use crate::trust::conditions::Conditions;
use crate::trust::decision::{Decision, DecisionFuture, Grant, Request, Trust};
use crate::trust::known_as::{KnownAs, known_as};
use crate::trust::load::{Cause, Problem, TrustFileError, TrustLineError, lines, read};
use crate::trust::options::{OptionError, Options, parse, split};

/// Trusts the keys of a file in the format of OpenSSH's `authorized_keys`, and nobody else: `[options] ssh-ed25519
/// AAAA... name` on each line, blank lines and lines that start with `#` passed over. The comment of a key is its name.
///
/// Without options a key is trusted for every service and in both directions. Options are separated by commas, their
/// values are in quotes, with `\"` for a quote, and all of them have to hold:
///
/// * `from="10.0.0.0/8,!10.9.0.0/16,::1"`: the peer has such an address, as an
///   [`AddressList`](crate::trust::AddressList).
/// * `services="db-*,!db-test"`: the service is one of these, as a [`PatternList`](crate::trust::PatternList).
/// * `expiry-time="20271231"`: until then; `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, in UTC with and without a
///   final `Z` (without it sshd takes the zone of the machine).
/// * `cert-authority`: the key is that of a CA. Peers with certificates by it are trusted, and the key itself is not.
/// * `names="*.example.org,spiffe://prod/*"`, beside `cert-authority`: a name in the certificate is one of these, and
///   only such names become names of the peer.
///
/// Where several lines are about a peer, the first that accepts it decides.
#[derive(Clone, Debug)]
pub struct TrustFile {
    source: String,
    lines: Vec<Line>,
    /// The first and the last line of each key.
    keys: HashMap<PublicKey, (usize, usize)>,
    authorities: Vec<(usize, PublicKey)>,
}

#[derive(Clone, Debug)]
struct Line {
    number: usize,
    name: Option<String>,
    conditions: Option<Box<Conditions>>,
    /// The next line with the same key.
    next: Option<usize>,
}

struct Parsed {
    key: PublicKey,
    is_authority: bool,
    line: Line,
}

/// A line with its number.
type Numbered<'a> = Result<(usize, &'a str), TrustLineError>;

impl TrustFile {
    /// Loads a file. A single bad line refuses the whole file, so that nobody is left out or let in by a slip.
    ///
    /// # Errors
    /// [`TrustFileError`], with the number of the bad line; also for a file that others than its owner and group can
    /// write.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TrustFileError> {
        let path = path.as_ref();
        let text = read(WHAT, path)?;
        Self::load(format!("{}", path.display()), &text)
            .map_err(|error| TrustFileError::new(WHAT, path, Cause::Line(error)))
    }

    /// Parses the text of a trust file.
    ///
    /// # Errors
    /// The number of the first bad line, counted from 1, and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TrustLineError> {
        Self::load(format!("the {WHAT}"), text)
    }

    fn load(source: String, text: &str) -> Result<Self, TrustLineError> {
        let mut file = TrustFile { source, lines: Vec::new(), keys: HashMap::new(), authorities: Vec::new() };
        let lines: Vec<_> = lines(text).collect();
        for parsed in parse_all(&lines)? {
            file.add(parsed);
        }
        Ok(file)
    }

    fn add(&mut self, Parsed { key, is_authority, line }: Parsed) {
        let index = self.lines.len();
        self.lines.push(line);
        if is_authority {
            self.authorities.push((index, key));
        } else {
            self.link(index, key);
        }
    }

    /// Appends the line to those of its key.
    fn link(&mut self, index: usize, key: PublicKey) {
        let (_, last) = self.keys.entry(key).or_insert((index, index));
        if let Some(before) = self.lines.get_mut(*last).filter(|_| *last != index) {
            before.next = Some(index);
        }
        *last = index;
    }

    /// How many keys it trusts, those of CAs included.
    pub fn len(&self) -> usize {
        let authorities: HashSet<&PublicKey> = self.authorities.iter().map(|(_, key)| key).collect();
        self.keys.len() + authorities.len()
    }

    /// Whether it trusts nobody.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The lines that are about the peer, in order: those of a key that it is known by, and if that is its own, those of the CAs.
    fn lines_about(&self, known: &KnownAs, request: &Request) -> Vec<usize> {
        let first = self.keys.get(&known.key).map(|(first, _)| *first);
        let next = |index: &usize| self.lines.get(*index).and_then(|line| line.next);
        let mut found: Vec<usize> = core::iter::successors(first, next).collect();
        if known.key == *request.public_key() && !matches!(request.credential, Credential::RawKey(_)) {
            found.extend(self.authorities.iter().map(|(index, _)| *index));
            found.sort_unstable();
        }
        found
    }

    /// What a line says about a peer that it is about.
    fn ask(&self, index: usize, request: &Request) -> Option<Decision> {
        let line = self.lines.get(index)?;
        let rule = format!("{}, line {}", self.source, line.number);
        let grant = match self.authority(index) {
            Some(key) => match verify(key, request) {
                Ok(grant) => {
                    Grant { rule: line.name.as_ref().map_or(rule.clone(), |name| format!("{rule} ({name})")), ..grant }
                }
                Err(why) => return Some(Decision::not_trusted().because(format!("{rule}: {why}"))),
            },
            None => Grant { name: line.name.clone(), rule, ..Grant::default() },
        };
        Some(match &line.conditions {
            Some(conditions) => conditions.apply(request, grant),
            None => Decision::Accept(grant),
        })
    }

    fn authority(&self, index: usize) -> Option<&PublicKey> {
        let place = self.authorities.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        self.authorities.get(place).map(|(_, key)| key)
    }

    fn decision(&self, request: &Request) -> Decision {
        let mut denials = Vec::new();
        for known in known_as(request) {
            for index in self.lines_about(&known, request) {
                match self.ask(index, request) {
                    Some(Decision::Refuse(denial)) => denials.push(denial),
                    Some(Decision::Accept(mut grant)) => {
                        known.hand_on(&mut grant);
                        return Decision::Accept(grant);
                    }
                    None => {}
                }
            }
        }
        if denials.is_empty() {
            return Decision::not_trusted().because(format!("no line of {} is about the peer", self.source));
        }
        Decision::Refuse(most_telling("", denials))
    }
}

#[cfg(feature = "x509")]
fn verify(key: &PublicKey, request: &Request) -> Result<Grant, String> {
    crate::trust::x509::verify_with_key(key, request)
}

/// No line is that of a CA in a build without certificates.
#[cfg(not(feature = "x509"))]
fn verify(_: &PublicKey, _: &Request) -> Result<Grant, String> {
    Err("this build has no certificates".into())
}

impl Trust for TrustFile {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        self.decision(request).ready()
    }
}

/// Parses the lines, or finds the first bad one. Most of the time goes into decoding the points that the keys are, so
/// that many lines are shared between two threads.
fn parse_all(lines: &[Numbered<'_>]) -> Result<Vec<Parsed>, TrustLineError> {
    let (here, there) = lines.split_at(if lines.len() < MANY { lines.len() } else { lines.len() / 2 });
    if there.is_empty() {
        return here.iter().map(Parsed::new).collect();
    }
    thread::scope(|scope| {
        let parse_there = || there.iter().map(Parsed::new).collect::<Result<Vec<_>, _>>();
        let other = thread::Builder::new().spawn_scoped(scope, parse_there);
        let mut parsed = here.iter().map(Parsed::new).collect::<Result<Vec<_>, _>>()?;
        parsed.extend(match other {
            Ok(other) => other.join().unwrap_or_else(|panic| resume_unwind(panic))?,
            // There are no threads to be had.
            Err(_) => parse_there()?,
        });
        Ok(parsed)
    })
}

impl Parsed {
    fn new(numbered: &Numbered<'_>) -> Result<Self, TrustLineError> {
        let (number, line) = numbered.clone()?;
        Self::parse(number, line).map_err(|problem| TrustLineError::new(number, problem))
    }

    fn parse(number: usize, line: &str) -> Result<Self, Problem> {
        let (options, key) = parse_options(line).map_err(Problem::Option)?;
        let (key, comment) = parse_line(key).map_err(Problem::Key)?;
        let name = if comment.is_empty() { None } else { Some(comment.into()) };
        let is_authority = options.as_ref().is_some_and(|options| options.is_authority);
        let conditions = options.map(|options| Box::new(options.conditions));
        Ok(Parsed { key, is_authority, line: Line { number, name, conditions, next: None } })
    }
}

/// The options, if there are any, and the key with what follows. What looks like a key of any type is left to be parsed
/// as one.
fn parse_options(line: &str) -> Result<(Option<Options>, &str), OptionError> {
    if ["ssh-", "ecdsa-", "sk-", "-----BEGIN"].iter().any(|start| line.starts_with(start)) {
        return Ok((None, line));
    }
    let (written, key) = split(line)?;
    let options = parse(written)?;
    if key.is_empty() { Err(OptionError::NoKey) } else { Ok((Some(options), key)) }
}

const WHAT: &str = "trust file";
/// From so many lines on a second thread is worth its while.
const MANY: usize = 4_096;

#[cfg(test)]
mod tests;
