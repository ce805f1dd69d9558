//! Counters in the text format of Prometheus, in a file that is replaced as a whole.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign::Listener;
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
    let mut text = String::from("# TYPE countersign_handshakes_total counter\n");
    for (outcome, count) in [
        ("accepted", stats.accepted),
        ("refused", stats.refused),
        ("timed_out", stats.timed_out),
        ("gave_way", stats.gave_way),
        ("failed", stats.failed),
    ] {
        text.push_str(&format!("countersign_handshakes_total{{outcome=\"{outcome}\"}} {count}\n"));
    }
    for (name, kind, value) in [
        ("countersign_handshakes_in_flight", "gauge", stats.in_flight),
        ("countersign_sessions", "gauge", sessions.live.load(Ordering::Relaxed)),
        ("countersign_sessions_ended_total", "counter", sessions.ended.load(Ordering::Relaxed)),
        ("countersign_sessions_revoked_total", "counter", sessions.revoked.load(Ordering::Relaxed)),
    ] {
        text.push_str(&format!("# TYPE {name} {kind}\n{name} {value}\n"));
    }
    text.push_str("# TYPE countersign_reloads_total counter\n");
    for files in watched {
        let stats = files.stats();
        text.push_str(&format!("countersign_reloads_total{{files=\"{}\"}} {}\n", files.what, stats.reloads));
    }
    text.push_str("# TYPE countersign_reload_failures_total counter\n");
    for files in watched {
        let stats = files.stats();
        text.push_str(&format!("countersign_reload_failures_total{{files=\"{}\"}} {}\n", files.what, stats.failures));
    }
    text.push_str("# HELP countersign_reload_failing 1 while the files that are there can't be used\n");
    text.push_str("# TYPE countersign_reload_failing gauge\n");
    for files in watched {
        let failing = u8::from(files.stats().failing.is_some());
        text.push_str(&format!("countersign_reload_failing{{files=\"{}\"}} {failing}\n", files.what));
    }
    text
}
