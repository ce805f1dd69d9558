//! The tables, in Markdown.

use std::fmt::Write;

use crate::catalog::ids;
use crate::id::Id;
use crate::machine::Machine;
use crate::measures::Measure;
use crate::runner::{Outcome, Samples};
use crate::stats::Asked;
use crate::targets::Target;

/// Everything.
pub fn report(machine: &Machine, outcome: &Outcome, targets: &[Target]) -> String {
    let mut text = format!("# Countersign beside its peers\n\n{}\n", machine.text());
    text.push_str("Medians of all rounds, with quartiles; ratios and differences are formed within a round.\n");
    for failure in &outcome.failures {
        let _ = writeln!(text, "\n**Failed**: {failure}");
    }
    for warning in elsewhere(&outcome.samples) {
        let _ = writeln!(text, "\n**Warning**: {warning}");
    }
    text.push_str("\n## Targets\n\n| what | at most | measured | met | who |\n|---|---|---|---|---|\n");
    targets.iter().for_each(|target| text += &(target.row() + "\n"));
    for measure in Measure::ALL {
        if outcome.samples.keys().any(|(measured, _)| *measured == measure) {
            table(&mut text, measure, &outcome.samples);
        }
    }
    text
}

fn table(text: &mut String, measure: Measure, samples: &Samples) {
    let columns = columns(measure);
    let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
    let _ = writeln!(text, "\n## {}\n\n{}\n", title(measure), legend(measure));
    let _ = writeln!(text, "| peer | {} |\n|---|{}", titles.join(" | "), "---|".repeat(columns.len()));
    for id in ids(measure).unwrap_or_default() {
        if samples.contains_key(&(measure, id.clone())) {
            let cells: Vec<String> = columns.iter().map(|column| column.cell(samples, measure, &id)).collect();
            let _ = writeln!(text, "| {id} | {} |", cells.join(" | "));
        }
    }
}

/// Work that was done in threads which were not measured would be hidden.
fn elsewhere(samples: &Samples) -> Vec<String> {
    let mut warnings = Vec::new();
    for (measure, id) in samples.keys() {
        for unit in ["us", "s/GiB"] {
            let ask = |figure: &str| Asked { samples, measure: *measure, figure: &format!("{figure} {unit}") }.of(id);
            if let (Some(both), Some(elsewhere)) = (ask("both"), ask("elsewhere"))
                && elsewhere.median > both.median * 0.02
            {
                warnings.push(format!("{id}, {measure}: {:.2} {unit} in other threads", elsewhere.median));
            }
        }
    }
    warnings
}

/// A column: a figure, as it is or against somebody in the same round.
struct Column {
    title: &'static str,
    figure: &'static str,
    against: Against,
    digits: usize,
}

#[derive(Clone, Copy)]
enum Against {
    Nobody,
    RatioTo(&'static str),
    BeyondTcp,
}

impl Column {
    fn cell(&self, samples: &Samples, measure: Measure, id: &Id) -> String {
        let asked = Asked { samples, measure, figure: self.figure };
        let pair = |name: &str, combine: fn(f64, f64) -> f64| asked.pair(id, &name.parse().ok()?, combine);
        let spread = match self.against {
            Against::Nobody => asked.of(id),
            Against::RatioTo(name) => pair(name, |a, b| a / b),
            Against::BeyondTcp => pair("tcp", |a, b| a - b),
        };
        spread.map_or_else(String::new, |spread| spread.show(self.digits))
    }
}

fn columns(measure: Measure) -> Vec<Column> {
    let plain = |title, digits| Column { title, figure: title, against: Against::Nobody, digits };
    let ratio = |title, figure, name| Column { title, figure, against: Against::RatioTo(name), digits: 2 };
    let beyond = |title, figure, digits| Column { title, figure, against: Against::BeyondTcp, digits };
    let (us, gib) = ("both us", "both s/GiB");
    match measure {
        Measure::Handshake => vec![
            plain(us, 1),
            beyond("beyond tcp us", us, 1),
            ratio("of rustls resumed", us, "rustls-aws/resumed/x25519/aes128"),
            ratio("of rustls raw", us, "rustls-aws/raw/x25519/aes128"),
            ratio("of rustls raw hybrid", us, "rustls-aws/raw/x25519mlkem768/aes128"),
            plain("client us", 1),
            plain("server us", 1),
            plain("wall us", 1),
        ],
        Measure::Bulk => vec![
            plain(gib, 3),
            ratio("of tcp", gib, "tcp"),
            ratio("of rustls AES-256", gib, "rustls-aws/raw/x25519/aes256"),
            ratio("of commonware", gib, "commonware"),
            plain("send s/GiB", 3),
            plain("receive s/GiB", 3),
            plain("wall s/GiB", 3),
        ],
        Measure::Small => vec![
            plain(gib, 3),
            ratio("of tcp/bufwriter", gib, "tcp/bufwriter"),
            ratio("of rustls AES-256/bufwriter", gib, "rustls-aws/raw/x25519/aes256/bufwriter"),
            ratio("of libp2p-noise", gib, "libp2p-noise"),
            plain("send s/GiB", 3),
            plain("receive s/GiB", 3),
            plain("wall s/GiB", 3),
        ],
        Measure::Echo => vec![plain(us, 1), plain("beyond tcp us", 1), plain("wall us", 1)],
        Measure::Memory => vec![
            beyond("fresh B", "fresh B", 0),
            beyond("after 64 B", "after 64 B B", 0),
            beyond("after 64 KiB", "after 64 KiB B", 0),
            beyond("after 1 GiB", "after 1 GiB B", 0),
            beyond("fresh, resident", "fresh rss B", 0),
            beyond("after 64 KiB, resident", "after 64 KiB rss B", 0),
        ],
        Measure::Idle => vec![
            plain("sessions", 0),
            plain("rss B at 1000", 0),
            plain("rss B at 2000", 0),
            plain("rss B at 5000", 0),
            plain("rss B at 10000", 0),
            plain("cpu ms/s", 2),
        ],
        Measure::Wire => vec![
            plain("handshake B", 0),
            plain("client B", 0),
            plain("server B", 0),
            plain("round trips until data", 0),
            plain("round trips until accepted", 0),
            plain("added to 64 B", 0),
            plain("added to 64 KiB", 0),
        ],
    }
}

fn title(measure: Measure) -> &'static str {
    match measure {
        Measure::Handshake => "Handshake",
        Measure::Bulk => "Bulk",
        Measure::Small => "Small writes",
        Measure::Echo => "Echo",
        Measure::Memory => "Memory",
        Measure::Idle => "Idle sessions",
        Measure::Wire => "On the wire",
    }
}

fn legend(measure: Measure) -> &'static str {
    match measure {
        Measure::Handshake => {
            "CPU time of a connection: connect, authenticate each other, one byte, close; 64 at a time."
        }
        Measure::Bulk => {
            "CPU time for a GiB one way, in writes of 64 KiB. `copying` reads into a buffer of the reader's, where the \
             others lend."
        }
        Measure::Small => {
            "CPU time for a GiB one way, in writes of 1 KiB. `bufwriter`: through tokio's `BufWriter` of 64 KiB; \
             `buffered`: through Countersign's own buffer of as much."
        }
        Measure::Echo => "CPU time of both sides for a round trip of 64 bytes; TCP takes turns in the same threads.",
        Measure::Memory => {
            "Bytes allocated for an idle connection, both ends together, beyond TCP; resident memory is coarser."
        }
        Measure::Idle => {
            "Resident memory for a session, both ends together with the tasks that read them, TCP included; CPU time \
             of all of them while nothing happens. `timers`: a keepalive each 5 s, and an idle timeout."
        }
        Measure::Wire => {
            "Counted by a relay. Round trips until the client may send data, and until it has an answer of a server \
             that has authenticated it."
        }
    }
}
