//! What Countersign aims at, and whether it gets there.

use serde_json::{Value, json};

use crate::catalog::ids;
use crate::id::{Agreement, Cipher, Family, Id, Variant};
use crate::measures::Measure;
use crate::runner::Samples;
use crate::stats::{Asked, Spread};

/// One of them.
pub struct Target {
    /// What is compared.
    pub what: String,
    /// Measured has to be at most this.
    pub limit: f64,
    /// None if it was not measured.
    pub measured: Option<Spread>,
    /// Who was compared with whom.
    pub of: String,
    digits: usize,
}

impl Target {
    /// Whether the median is within the limit.
    pub fn is_met(&self) -> Option<bool> {
        self.measured.map(|spread| spread.median <= self.limit)
    }

    /// A row of the table.
    pub fn row(&self) -> String {
        let digits = self.digits;
        let measured = self.measured.map_or_else(|| "-".to_owned(), |spread| spread.show(digits));
        let met = match self.is_met() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "not measured",
        };
        format!("| {} | {:.digits$} | {measured} | {met} | {} |", self.what, self.limit, self.of)
    }

    /// For the results.
    pub fn to_json(&self) -> Value {
        let measured = self.measured.map(|spread| json!([spread.low, spread.median, spread.high]));
        json!({ "target": self.what, "limit": self.limit, "measured": measured, "met": self.is_met(), "of": self.of })
    }
}

/// All of them.
pub fn targets(samples: &Samples) -> Vec<Target> {
    let ask = |measure, figure| Asked { samples, measure, figure };
    let both = "both us";
    let classical = |id: &Id| plain(id, Family::Countersign) && id.agreement == Agreement::X25519;
    let hybrid = |id: &Id| plain(id, Family::Countersign) && id.agreement == Agreement::Hybrid;
    let pure = |id: &Id| plain(id, Family::CountersignPure) && id.agreement == Agreement::X25519;
    let cipher = |cipher| move |id: &Id| plain(id, Family::Countersign) && id.cipher == cipher;
    let named = |name: &'static str| move |id: &Id| id.to_string() == name;
    let peer = |id: &Id| !id.family.is_ours() && id.family != Family::Tcp;
    let buffered = |id: &Id| id.family == Family::Countersign && id.variant == Variant::Buffered;
    let ours = |id: &Id| plain(id, Family::Countersign);
    let (handshake, bulk) = (ask(Measure::Handshake, both), ask(Measure::Bulk, "both s/GiB"));
    let small = ask(Measure::Small, "both s/GiB");
    let echo = ask(Measure::Echo, "beyond tcp us");
    let (raw, aes) = ("rustls-aws/raw/x25519/aes128", "rustls-aws/raw/x25519/aes256");
    let mut targets = vec![
        ratio(
            "handshake, classical, of rustls resumed",
            0.75,
            handshake,
            classical,
            named("rustls-aws/resumed/x25519/aes128"),
        ),
        ratio("handshake, classical, of rustls raw keys", 0.72, handshake, classical, named(raw)),
        ratio(
            "handshake, hybrid, of rustls raw keys hybrid",
            0.75,
            handshake,
            hybrid,
            named("rustls-aws/raw/x25519mlkem768/aes128"),
        ),
        ratio("handshake, pure Rust, classical, of rustls raw keys", 0.9, handshake, pure, named(raw)),
        ratio("bulk, AES-256, of rustls AES-256", 0.8, bulk, cipher(Cipher::Aes256), named(aes)),
        ratio("bulk, AES-256, of TCP", 1.15, bulk, cipher(Cipher::Aes256), named("tcp")),
        ratio("bulk, ChaCha20, of commonware", 0.84, bulk, cipher(Cipher::ChaCha20), named("commonware")),
        ratio("small writes, own buffer, of the best peer", 0.7, small, buffered, peer),
        at_most("echo beyond TCP, us", 5.0, 1, echo, ours),
        ratio("echo beyond TCP, of the best peer", 1.0, echo, ours, peer),
    ];
    for (figure, limit) in [("fresh B", 1_000.0), ("after 64 KiB B", 4_000.0), ("after 1 GiB B", 4_000.0)] {
        targets.extend(memory(ask(Measure::Memory, figure), limit));
    }
    let unpadded = |id: &Id| named("countersign/x25519/chacha20/unpadded")(id);
    let eager = |id: &Id| id.family == Family::Countersign && id.variant == Variant::Eager;
    targets.extend([
        at_most("bytes of a handshake, classical, unpadded", 499.0, 0, ask(Measure::Wire, "handshake B"), unpadded),
        at_most("bytes added to 64 B", 22.0, 0, ask(Measure::Wire, "added to 64 B"), ours),
        at_most("bytes added to 64 KiB", 22.0, 0, ask(Measure::Wire, "added to 64 KiB"), ours),
        at_most("round trips until data, eager", 1.0, 0, ask(Measure::Wire, "round trips until data"), eager),
        at_most("round trips until accepted", 2.0, 0, ask(Measure::Wire, "round trips until accepted"), ours),
    ]);
    targets
}

/// Countersign as it comes.
fn plain(id: &Id, family: Family) -> bool {
    id.family == family && id.variant == Variant::Plain
}

/// The best of ours against the best of theirs.
fn ratio(what: &str, limit: f64, asked: Asked<'_>, ours: impl Fn(&Id) -> bool, theirs: impl Fn(&Id) -> bool) -> Target {
    let all = ids(asked.measure).unwrap_or_default();
    let best = |matches: &dyn Fn(&Id) -> bool| asked.best(all.iter().filter(|id| matches(id)));
    let pair = best(&ours).zip(best(&theirs));
    Target {
        what: what.to_owned(),
        limit,
        measured: pair.and_then(|(id, other)| asked.pair(id, other, |a, b| a / b)),
        of: pair.map_or_else(String::new, |(id, other)| format!("{id} of {other}")),
        digits: 2,
    }
}

/// The best of ours.
fn at_most(what: &str, limit: f64, digits: usize, asked: Asked<'_>, ours: impl Fn(&Id) -> bool) -> Target {
    let all = ids(asked.measure).unwrap_or_default();
    let best = asked.best(all.iter().filter(|id| ours(id)));
    Target {
        what: what.to_owned(),
        limit,
        measured: best.and_then(|id| asked.of(id)),
        of: best.map_or_else(String::new, Id::to_string),
        digits,
    }
}

/// The best suite, and all of them, beyond TCP in the same round.
fn memory(asked: Asked<'_>, limit: f64) -> [Target; 2] {
    let mut suites = ids(asked.measure).unwrap_or_default();
    let tcp = suites.iter().find(|id| id.family == Family::Tcp).cloned();
    suites.retain(|id| plain(id, Family::Countersign));
    let beyond = |id: &Id| asked.pair(id, tcp.as_ref()?, |a, b| a - b);
    let mut held: Vec<(Spread, &Id)> = suites.iter().filter_map(|id| Some((beyond(id)?, id))).collect();
    held.sort_by(|(a, _), (b, _)| a.median.total_cmp(&b.median));
    [("the best suite", held.first()), ("every suite", held.last())].map(|(which, found)| Target {
        what: format!("memory {} beyond TCP, {which}", asked.figure.trim_end_matches(" B")),
        limit,
        measured: found.map(|(spread, _)| *spread),
        of: found.map_or_else(String::new, |(_, id)| id.to_string()),
        digits: 0,
    })
}
