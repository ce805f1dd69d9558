//! The lines of a key log that are about one connection (specification, section 16.1). Nothing of them is ever printed.

use std::collections::HashMap;

use countersign::crypto::schedule::{ConfirmKey, TrafficSecret};
use countersign::crypto::suite::Suite;
use countersign::limits::NONCE_LEN;
use countersign::secret::Secret;

type Nonce = [u8; NONCE_LEN];

/// The secrets of one connection, by label.
pub struct Keys {
    pub suite: Suite,
    secrets: HashMap<String, Secret<32>>,
}

impl Keys {
    pub fn traffic(&self, label: &str) -> Option<TrafficSecret> {
        self.copy(label).map(|mut bytes| TrafficSecret::take(&mut bytes))
    }

    pub fn confirm(&self, label: &str) -> Option<ConfirmKey> {
        self.copy(label).map(|mut bytes| ConfirmKey::take(&mut bytes))
    }

    /// For taking over, which wipes it.
    fn copy(&self, label: &str) -> Option<[u8; 32]> {
        self.secrets.get(label).map(|secret| *secret.expose())
    }
}

/// The lines whose nonces are these, as far as they are known; and what is wrong with the log.
pub fn parse(log: &[u8], nonces: (Option<Nonce>, Option<Nonce>)) -> (Option<Keys>, Vec<String>) {
    let mut problems = Vec::new();
    let mut keys: Option<Keys> = None;
    let mut known = nonces;
    if nonces == (None, None) {
        return (None, vec!["no nonce is there to find the lines of the key log by".to_string()]);
    }
    for (number, line) in log.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let Some(line) = Line::parse(line) else {
            problems.push(format!("key log, line {}: expected LABEL NONCE_I NONCE_R SUITE SECRET", number + 1));
            continue;
        };
        let (nonce_i, nonce_r) = known;
        if nonce_i.is_some_and(|nonce| nonce != line.nonce_i) || nonce_r.is_some_and(|nonce| nonce != line.nonce_r) {
            continue;
        }
        // Of a replayed HELLO the first answer counts.
        known = (Some(line.nonce_i), Some(line.nonce_r));
        let Some(suite) = Suite::from_code(line.suite) else {
            problems.push(format!("key log, line {}: suite {:04x} is unknown", number + 1, line.suite));
            continue;
        };
        let keys = keys.get_or_insert_with(|| Keys { suite, secrets: HashMap::new() });
        // Both sides may have logged to one file.
        let differs = keys.secrets.get(&line.label).is_some_and(|there| there.expose() != line.secret.expose());
        if keys.suite != suite || differs {
            problems.push(format!("key log, line {}: another line says something else", number + 1));
            continue;
        }
        keys.secrets.insert(line.label, line.secret);
    }
    if keys.is_none() {
        problems.push("the key log has no line with the nonce of this connection".to_string());
    }
    (keys, problems)
}

struct Line {
    label: String,
    nonce_i: Nonce,
    nonce_r: Nonce,
    suite: u16,
    secret: Secret<32>,
}

impl Line {
    fn parse(line: &[u8]) -> Option<Self> {
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let [label, nonce_i, nonce_r, suite, secret] = *words.as_slice() else { return None };
        let label = str::from_utf8(label).ok().filter(|label| is_label(label))?.to_string();
        let secret = Secret::fill(|bytes| decode(secret, bytes).ok_or(())).ok()?;
        let (mut i, mut r, mut s) = ([0; NONCE_LEN], [0; NONCE_LEN], [0; 2]);
        decode(nonce_i, &mut i)?;
        decode(nonce_r, &mut r)?;
        decode(suite, &mut s)?;
        Some(Line { label, nonce_i: i, nonce_r: r, suite: u16::from_be_bytes(s), secret })
    }
}

fn is_label(label: &str) -> bool {
    let rekeys = label.strip_prefix("TRAFFIC_R_").or_else(|| label.strip_prefix("TRAFFIC_I_"));
    matches!(label, "HS_R" | "HS_I" | "CONFIRM_R" | "CONFIRM_I")
        || rekeys.is_some_and(|number| number.parse::<u64>().is_ok_and(|parsed| parsed.to_string() == number))
}

fn decode(hex: &[u8], out: &mut [u8]) -> Option<()> {
    if hex.len() != 2 * out.len() {
        return None;
    }
    for (to, pair) in out.iter_mut().zip(hex.chunks_exact(2)) {
        let [high, low] = *pair else { return None };
        *to = digit(high)? << 4 | digit(low)?;
    }
    Some(())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| digit.try_into().ok())
}
