//! Patterns, lists of addresses, trust files and known-peers files, against references that are slow and plain.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, process, thread};

use countersign::identity::{Credential, Name, PublicKey, parse_line};
use countersign::role::Role;
use countersign::trust::{
    AddressList, Decision, Direction, Known, KnownPeers, Pattern, PatternList, Request, Trust, TrustFile,
};

use super::parties::{self, now};
use super::reader::Reader;

/// Input: a line with a list, a line each with texts and addresses.
///
/// A list of patterns, and one of addresses, is accepted exactly if the reference accepts it, prints as it was written, and matches what the reference
/// matches. Names match without regard to case, and none but those of the pattern's sort.
pub fn match_lists(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let list = lines.next().unwrap_or_default();
    let texts: Vec<&str> = lines.take(32).collect();
    patterns(list, &texts);
    addresses(list, &texts);
}

fn patterns(list: &str, texts: &[&str]) {
    let entries: Vec<(bool, &str)> =
        list.split(',').map(|piece| piece.strip_prefix('!').map_or((false, piece), |rest| (true, rest))).collect();
    let good = |pattern: &str| (1..=512).contains(&pattern.len()) && pattern.bytes().all(|b| b.is_ascii_graphic());
    let parsed = PatternList::parse(list);
    let well_formed = entries.iter().all(|(_, pattern)| good(pattern) && !pattern.starts_with('!'))
        && entries.len() <= 256
        && entries.iter().any(|(negated, _)| !negated);
    assert_eq!(parsed.is_ok(), well_formed, "{list:?}: {parsed:?}");
    let Ok(parsed) = parsed else { return };
    assert_eq!(parsed.to_string(), list);
    for text in texts {
        let found = |wanted: bool| {
            entries
                .iter()
                .any(|(negated, pattern)| *negated == wanted && text.len() <= 4_096 && is_match(pattern, text))
        };
        assert_eq!(parsed.matches(text), found(false) && !found(true), "{list:?} for {text:?}");
        for (_, pattern) in entries.iter().take(8) {
            let alone = Pattern::parse(pattern).expect("good in the list");
            assert_eq!(alone.matches(text), text.len() <= 4_096 && is_match(pattern, text), "{pattern:?} for {text:?}");
        }
        let Ok(name) = text.parse::<Name>() else { continue };
        let printed = name.to_string();
        assert_eq!(printed.parse(), Ok(name.clone()), "{text:?}");
        assert!(name.covers(&name) || text.starts_with('*'), "{text:?}");
        let matched = parsed.matches_name(&name);
        if let Name::Dns(text) = &name {
            assert_eq!(parsed.matches_name(&Name::Dns(text.to_ascii_uppercase())), matched, "{text:?}");
        }
        let written = match &name {
            Name::Ip(address) => address.to_canonical().to_string(),
            Name::Dns(text) => text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase(),
            _ => printed,
        };
        let fits = |pattern: &str| match &name {
            Name::Uri(_) => is_match(pattern, &written),
            Name::Dns(_) => is_match(&pattern.strip_suffix('.').unwrap_or(pattern).to_ascii_lowercase(), &written),
            _ => is_match(&pattern.to_ascii_lowercase(), &written),
        };
        let found = |wanted: bool| entries.iter().any(|(negated, pattern)| *negated == wanted && fits(pattern));
        // No more than the characters let in; less, where the pattern is of another sort.
        assert!(!matched || found(false) && !found(true) || written.len() > 4_096, "{list:?} lets {name} in");
        let is_wildcard = matches!(&name, Name::Dns(text) if text.contains('*'));
        assert!(!matched || !is_wildcard || entries.iter().all(|(negated, _)| !negated), "{list:?} lets {name} in");
        if list == "*" {
            assert!(matched || written.len() > 4_096);
        }
    }
}

/// Whether all of `text` matches, by a table of every pair of prefixes.
fn is_match(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut row: Vec<bool> = (0..=text.len()).map(|len| len == 0).collect();
    for wanted in pattern.chars() {
        let mut next = vec![false; text.len() + 1];
        for len in 0..=text.len() {
            next[len] = match wanted {
                '*' => row[len] || len > 0 && next[len - 1],
                '?' => len > 0 && row[len - 1],
                _ => len > 0 && row[len - 1] && text[len - 1] == wanted,
            };
        }
        row = next;
    }
    row[text.len()]
}

/// A range as bits: of which family it is, its address, and how many bits count.
struct Range {
    negated: bool,
    is_v4: bool,
    bits: u128,
    len: u32,
}

fn bits(address: IpAddr) -> (bool, u128) {
    match address.to_canonical() {
        IpAddr::V4(address) => (true, u128::from(u32::from(address)) << 96),
        IpAddr::V6(address) => (false, u128::from(address)),
    }
}

impl Range {
    /// `None` for what is no range, or has bits behind its prefix.
    fn parse(piece: &str) -> Option<Self> {
        let (negated, piece) = piece.strip_prefix('!').map_or((false, piece), |rest| (true, rest));
        let (address, len) = piece.split_once('/').map_or((piece, None), |(address, len)| (address, Some(len)));
        let written: IpAddr = address.parse().ok()?;
        let width = if written.is_ipv4() { 32 } else { 128 };
        let len = match len {
            None => width,
            Some(len) if len.len() > 1 && len.starts_with('0') => return None,
            Some(len) if len.bytes().all(|byte| byte.is_ascii_digit()) => {
                len.parse().ok().filter(|len| *len <= width)?
            }
            Some(_) => return None,
        };
        let whole = match written {
            IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
            IpAddr::V6(address) => u128::from(address),
        };
        if len < 128 && whole << len != 0 {
            return None;
        }
        // IPv4 in IPv6, where the prefix covers what says so.
        let (is_v4, bits) = bits(written);
        match (written, is_v4) {
            (IpAddr::V6(_), true) if len >= 96 => Some(Range { negated, is_v4, bits, len: len - 96 }),
            _ => Some(Range { negated, is_v4: written.is_ipv4(), bits: whole, len }),
        }
    }

    fn has(&self, address: IpAddr) -> bool {
        let (is_v4, bits) = bits(address);
        is_v4 == self.is_v4 && (self.len == 0 || (bits ^ self.bits) >> (128 - self.len) == 0)
    }
}

fn addresses(list: &str, texts: &[&str]) {
    let pieces: Vec<&str> = list.split(',').collect();
    let ranges: Option<Vec<Range>> = pieces.iter().map(|piece| Range::parse(piece)).collect();
    let ranges = ranges.filter(|ranges| ranges.len() <= 1_024 && ranges.iter().any(|range| !range.negated));
    let parsed = AddressList::parse(list);
    assert_eq!(parsed.is_ok(), ranges.is_some(), "{list:?}: {parsed:?}");
    let (Ok(parsed), Some(ranges)) = (parsed, ranges) else { return };
    let printed = parsed.to_string();
    assert_eq!(AddressList::parse(&printed).as_ref(), Ok(&parsed), "{printed}");
    for address in texts.iter().filter_map(|text| text.parse::<IpAddr>().ok()) {
        let found = |negated: bool| ranges.iter().any(|range| range.negated == negated && range.has(address));
        assert_eq!(parsed.matches(address), found(false) && !found(true), "{list:?} for {address}");
    }
}

/// Input: a byte of choices, then the text of a trust file, in which the bytes 1 to 3 stand for keys.
///
/// A file decides as its lines do, each in a file of its own, asked in order: rule, name and end are those of the first that accepts. What is accepted
/// without a clock is so at any time; what ends does so later than now. A line more about another key changes nothing for the others, in front or at
/// the end.
pub fn trust_lines(data: &[u8]) {
    let mut reader = Reader::new(data);
    let choice = reader.u8();
    let keys = keys();
    let text = with_keys(&String::from_utf8_lossy(reader.rest()), &keys);
    let Ok(file) = TrustFile::parse(&text) else { return };
    let mut alone = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let one = TrustFile::parse(line).unwrap_or_else(|error| panic!("{line:?} alone is bad: {error}"));
        if !one.is_empty() {
            alone.push((index + 1, line, one));
        }
    }
    assert_eq!(file.is_empty(), alone.is_empty());
    assert!(file.len() <= alone.len());
    let other = parties::stranger().public_key();
    let more = TrustFile::parse(&format!("{text}\n{other} more")).expect("every line is good");
    let mut before = TrustFile::parse(&format!("{other} more\n{text}")).ok();
    if text.starts_with('\u{feff}') {
        before = None;
    }
    let addresses = [None, Some("10.1.2.3:1"), Some("[::1]:1"), Some("[::ffff:10.1.2.3]:1")];
    let service = ["", "db-1", "web"][usize::from(choice) % 3];
    let direction = if choice & 0x80 == 0 { Direction::Inbound } else { Direction::Outbound };
    for key in keys {
        for address in addresses {
            let address: Option<SocketAddr> = address.map(|address| address.parse().expect("an address"));
            let request = Request::new(Credential::RawKey(key), service.into(), address, direction);
            let timeless = ask(&file, &request);
            for time in [None, Some(0), Some(1_800_000_000), Some(253_402_300_799), Some(u64::MAX)] {
                let request = time.map_or(request.clone(), |time| request.clone().at(Duration::from_secs(time)));
                let decision = ask(&file, &request);
                let first = alone.iter().find(|(.., one)| ask(one, &request).is_accept());
                check_first(&decision, first, &request);
                if let (Decision::Accept(grant), Some(_)) = (&timeless, time) {
                    assert!(decision.is_accept(), "not at {time:?}, and without a clock by {}", grant.rule);
                }
                if key != other {
                    assert_eq!(ask(&more, &request), decision);
                    let shifted = before.as_ref().map(|before| ask(before, &request));
                    assert!(shifted.is_none_or(|shifted| without_rule(shifted) == without_rule(decision)));
                }
            }
        }
    }
}

fn check_first(decision: &Decision, first: Option<&(usize, &str, TrustFile)>, request: &Request) {
    let (Decision::Accept(grant), Some((number, line, one))) = (decision, first) else {
        assert!(!decision.is_accept() && first.is_none(), "{decision:?}, and {first:?} decides");
        assert!(!decision.rule().is_empty());
        return;
    };
    let Decision::Accept(expected) = ask(one, request) else { panic!("it has accepted") };
    assert_eq!(grant.rule, format!("the trust file, line {number}"));
    assert_eq!((&grant.name, grant.until), (&expected.name, expected.until));
    assert!(line.contains(&request.public_key().to_string()), "{line:?} has another key");
    assert!(!line.to_ascii_lowercase().starts_with("cert-authority"), "{line:?} is about certificates");
    if let Some(until) = grant.until {
        assert!(request.time.is_some_and(|time| time < until), "{grant:?} has ended");
    }
    let (_, rest) = line.split_once("ssh-ed25519").expect("a key");
    let comment = rest.trim_start().split_once([' ', '\t']).map_or("", |(_, comment)| comment.trim());
    if parse_line(line.trim()).is_ok() {
        assert_eq!(grant.name.as_deref().unwrap_or_default(), comment);
    }
}

fn without_rule(decision: Decision) -> Decision {
    decision.because("")
}

fn ask(trust: &dyn Trust, request: &Request) -> Decision {
    now(trust.decide(request))
}

fn keys() -> [PublicKey; 3] {
    [parties::key(Role::Initiator), parties::key(Role::Responder), parties::stranger().public_key()]
}

fn with_keys(text: &str, keys: &[PublicKey; 3]) -> String {
    text.chars().fold(String::new(), |mut written, c| {
        match usize::try_from(u32::from(c)).ok().and_then(|number| keys.get(number.checked_sub(1)?)) {
            Some(key) => written.push_str(&key.to_string()),
            None => written.push(c),
        }
        written
    })
}

/// Input: a byte of choices, a host with its length before it, then the text of a known-peers file, in which the bytes 1 to 3 stand for keys.
///
/// What is known of a host is what the lines say that are about it, each in a file of its own. What is added is known, and all lines that were there
/// stay; what is replaced is known by its new key, and nothing changes about other hosts; what fails changes nothing.
pub fn known_peers(data: &[u8]) {
    let mut reader = Reader::new(data);
    let choice = reader.u8();
    let host = String::from_utf8_lossy(reader.short()).into_owned();
    let keys = keys();
    let text = with_keys(&String::from_utf8_lossy(reader.rest()), &keys);
    let port = if choice & 1 == 0 { 22 } else { 7_000 };
    let parsed = KnownPeers::parse(&text);
    if let Ok(known) = &parsed {
        let alone: Vec<KnownPeers> = text
            .trim_start_matches('\u{feff}')
            .lines()
            .map(|line| KnownPeers::parse(line).unwrap_or_else(|error| panic!("{line:?} alone is bad: {error}")))
            .collect();
        for host in [&*host, "a.example", "::1"] {
            keys.iter().for_each(|key| check_known(known, &alone, host, port, key));
        }
    }
    if choice & 2 != 0 {
        let path = temporary();
        fs::write(&path, &text).expect("a temporary file");
        write_known(&path, &text, parsed.ok(), (&host, port), choice);
        fs::remove_file(&path).expect("it is there");
    }
}

fn check_known(known: &KnownPeers, alone: &[KnownPeers], host: &str, port: u16, key: &PublicKey) {
    let says: Vec<Known> = alone.iter().map(|line| line.check(host, port, key)).collect();
    let number = |wanted: fn(&Known) -> bool| says.iter().position(wanted).map(|index| index + 1);
    let found = known.check(host, port, key);
    let trusted = now(known.trust(host, port).decide(&Request::new(
        Credential::RawKey(*key),
        String::new(),
        None,
        Direction::Outbound,
    )));
    assert_eq!(trusted.is_accept(), found == Known::Same, "{found:?}, and {trusted:?}");
    if let Some(line) = number(|known| matches!(known, Known::Revoked { .. })) {
        return assert_eq!(found, Known::Revoked { line });
    }
    if says.contains(&Known::Same) {
        return assert_eq!(found, Known::Same);
    }
    let Some(line) = number(|known| matches!(known, Known::Changed { .. })) else {
        return assert_eq!(found, Known::New);
    };
    let expected = says.into_iter().flat_map(|known| match known {
        Known::Changed { expected, .. } => expected,
        _ => Vec::new(),
    });
    assert_eq!(found, Known::Changed { expected: expected.collect(), line });
}

fn write_known(path: &PathBuf, text: &str, parsed: Option<KnownPeers>, (host, port): (&str, u16), choice: u8) {
    let [first, second, third] = keys();
    let hosts = ["a.example", "b.example", "::1", "A.Example"];
    let seen = |known: &KnownPeers| -> Vec<Known> {
        let others = hosts.iter().filter(|other| !other.eq_ignore_ascii_case(host.trim_matches(['[', ']'])));
        others.flat_map(|other| [22, 7_000].map(|port| (other, port))).fold(Vec::new(), |mut all, (other, port)| {
            all.extend([first, second, third].iter().map(|key| line_free(known.check(other, port, key))));
            all
        })
    };
    let read = || fs::read_to_string(path).expect("it is there");
    let open = || KnownPeers::open(path).unwrap_or_else(|error| panic!("{error} after {:?}", read()));
    if choice & 4 == 0 {
        let before = parsed.as_ref().map(|known| (known.check(host, port, &first), seen(known)));
        let result = KnownPeers::add(path, host, port, &first, choice & 8 != 0);
        if result.is_err() {
            assert!(!matches!(before, Some((Known::Same, _))) || !is_host(host), "{result:?}");
            return assert_eq!(read(), text);
        }
        let (was, others) = before.expect("a bad line is not passed over");
        assert!(is_host(host));
        assert!(read().starts_with(text));
        assert_eq!(read() == text, was == Known::Same);
        assert_eq!(open().check(host, port, &first), Known::Same);
        assert_eq!(seen(&open()), others, "other hosts");
        let once = read();
        KnownPeers::add(path, host, port, &first, choice & 8 == 0).expect("it is known");
        assert_eq!(read(), once, "it is added twice");
        let other = KnownPeers::add(path, host, port, &second, false);
        assert_eq!(other.is_ok(), read() == once && open().check(host, port, &second) == Known::Same);
    } else {
        if KnownPeers::replace(path, host, port, &first, &second).is_err() {
            return assert_eq!(read(), text);
        }
        let known = parsed.expect("a bad line is not passed over");
        assert_eq!(known.check(host, port, &first), Known::Same, "it is replaced, and was not there");
        assert_eq!(open().check(host, port, &second), Known::Same);
        assert_ne!(open().check(host, port, &first), Known::Same);
        assert_eq!(seen(&open()), seen(&known), "other hosts");
    }
}

/// The numbers of lines change when one is replaced by two, and the order of keys that a host has with them.
fn line_free(known: Known) -> Known {
    match known {
        Known::Changed { expected, .. } => {
            let mut seen = HashSet::new();
            let expected = expected.into_iter().filter(|key| seen.insert(*key)).collect();
            Known::Changed { expected, line: 0 }
        }
        Known::Revoked { .. } => Known::Revoked { line: 0 },
        known => known,
    }
}

fn is_host(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let good = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    (1..=255).contains(&inner.len()) && inner.chars().all(good)
}

/// In memory, where there is such a place: the files are flushed.
fn temporary() -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    let folder = if shared.is_dir() { shared } else { env::temp_dir() };
    let thread = format!("{:?}", thread::current().id());
    let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
    folder.join(format!("countersign-fuzz-{}-{thread}", process::id()))
}
