//! Counters in the text format of Prometheus, in a file that is replaced as a whole.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign::Listener;
use countersign::reload::ReloadStats;
use tokio::time::{MissedTickBehavior, interval};

use crate::ca::replace;
use crate::log;
use crate::watch::Watched;

/// What `serve` counts itself.
#[derive(Debug, Default)]
pub struct Sessions {
    pub live: AtomicU64,
    pub ended: AtomicU64,
    /// Of these, because trust in the peer ended.
    pub revoked: AtomicU64,
}

/// Writes until it is dropped.
pub async fn write(path: &Path, listener: &Listener, sessions: &Arc<Sessions>, watched: &[Watched]) {
    let mut every = interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut written, mut failure) = (String::new(), String::new());
    loop {
        every.tick().await;
        let text = render(listener, sessions, watched);
        if text == written {
            continue;
        }
        match replace(path, text.as_bytes(), 0o644) {
            Ok(()) => written = text,
            Err(report) if report.to_string() != failure => {
                failure = report.to_string();
                log::line(format!("error: {failure}"));
            }
            Err(_) => {}
        }
    }
}

fn render(listener: &Listener, sessions: &Sessions, watched: &[Watched]) -> String {
    let stats = listener.stats();
    let mut text = Exposition::default();
    text.family("countersign_handshakes_total", "counter", "");
    for (outcome, count) in [
        ("accepted", stats.accepted),
        ("refused", stats.refused),
        ("timed_out", stats.timed_out),
        ("gave_way", stats.gave_way),
        ("over_rate", stats.over_rate),
        ("failed", stats.failed),
    ] {
        text.value(&[("outcome", outcome)], count);
    }
    for (name, kind, value) in [
        ("countersign_handshakes_in_flight", "gauge", stats.in_flight),
        ("countersign_sessions", "gauge", sessions.live.load(Ordering::Relaxed)),
        ("countersign_sessions_ended_total", "counter", sessions.ended.load(Ordering::Relaxed)),
        ("countersign_sessions_revoked_total", "counter", sessions.revoked.load(Ordering::Relaxed)),
    ] {
        text.family(name, kind, "");
        text.value(&[], value);
    }
    let watched = watched.iter().map(|files| (vec![("files", files.what)], files.stats()));
    reloads(&mut text, &watched.collect::<Vec<_>>());
    text.finish()
}

/// What there is to say of watched files.
pub fn reloads(text: &mut Exposition, files: &[(Vec<(&str, &str)>, ReloadStats)]) {
    text.family("countersign_reloads_total", "counter", "How often changed files were loaded");
    files.iter().for_each(|(labels, stats)| text.value(labels, stats.reloads));
    text.family("countersign_reload_failures_total", "counter", "How often changed files could not be loaded");
    files.iter().for_each(|(labels, stats)| text.value(labels, stats.failures));
    text.family("countersign_reload_failing", "gauge", "1 while the files that are there can't be used");
    files.iter().for_each(|(labels, stats)| text.value(labels, u8::from(stats.failing.is_some())));
}

/// The text format of Prometheus, version 0.0.4.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    name: &'static str,
}

impl Exposition {
    /// Begins with a metric; the values follow.
    pub fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        if !help.is_empty() {
            self.text.push_str(&format!("# HELP {name} {help}\n"));
        }
        self.text.push_str(&format!("# TYPE {name} {kind}\n"));
    }

    pub fn value(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.part("", labels, value);
    }

    /// A part of a histogram.
    pub fn part(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let mut before = '{';
        for (name, label) in labels {
            let label = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.text.push_str(&format!("{before}{name}=\"{label}\""));
            before = ',';
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.text.push_str(&format!("{after} {value}\n"));
    }

    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Names come from files and peers: none may end its label, or its line.
    #[test]
    fn labels_are_escaped() {
        let mut text = Exposition::default();
        text.family("a_total", "counter", "What it is");
        text.value(&[("name", "a\"b\\c\nd"), ("side", "x")], 7);
        text.value(&[], 1.5);
        let expected = "# HELP a_total What it is\n# TYPE a_total counter\na_total{name=\"a\\\"b\\\\c\\nd\",side=\"x\"} 7\na_total 1.5\n";
        assert_eq!(text.finish(), expected);
    }
}
