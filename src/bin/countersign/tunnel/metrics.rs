//! What the admin listener says of the process, for programs: Prometheus and JSON.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use rustix::process::{Resource, getrlimit};
use serde_json::{Map, Value, json};

use crate::metrics::{Exposition, reloads};
use crate::tunnel::book::{Book, Session, Tunnel, since_1970};

/// The text format of Prometheus.
pub fn prometheus(book: &Book, draining: bool) -> String {
    let tunnels = book.tunnels();
    let mut text = Exposition::default();
    text.family("countersign_handshakes_total", "counter", "Handshakes by how they came out, and why");
    for tunnel in &tunnels {
        for ((outcome, reason), count) in tunnel.handshakes.all() {
            text.value(&labels(tunnel, &[("outcome", outcome), ("reason", reason)]), count);
        }
    }
    handshake_seconds(&mut text, &tunnels);
    for (name, kind, help, value) in VALUES {
        text.family(name, kind, help);
        tunnels.iter().for_each(|tunnel| text.value(&labels(tunnel, &[]), value(tunnel)));
    }
    text.family("countersign_sessions_ended_total", "counter", "Sessions and connections that ended, by cause");
    for tunnel in &tunnels {
        for (cause, count) in tunnel.ended.all() {
            text.value(&labels(tunnel, &[("reason", cause)]), count);
        }
    }
    for (name, help, directions) in DIRECTIONS {
        text.family(name, "counter", help);
        for tunnel in &tunnels {
            let (received, sent) = directions(tunnel);
            text.value(&labels(tunnel, &[("direction", "received")]), received);
            text.value(&labels(tunnel, &[("direction", "sent")]), sent);
        }
    }
    let watched = book.watched();
    let mut files: Vec<_> = watched
        .iter()
        .map(|(tunnel, files)| (vec![("tunnel", &**tunnel), ("files", files.what)], files.stats()))
        .collect();
    files.push((vec![("tunnel", ""), ("files", "configuration")], book.configuration()));
    reloads(&mut text, &files);
    text.family("countersign_draining", "gauge", "1 once nothing new is taken");
    text.value(&[], u8::from(draining));
    text.family("countersign_start_time_seconds", "gauge", "Since 1970, in UTC");
    text.value(&[], since_1970(book.started));
    if let Some((open, most)) = descriptors() {
        text.family("process_open_fds", "gauge", "Open descriptors");
        text.value(&[], open);
        text.family("process_max_fds", "gauge", "How many there may be");
        text.value(&[], most);
    }
    text.family("countersign_build_info", "gauge", "The version");
    text.value(&[("version", VERSION)], 1);
    text.finish()
}

/// How many descriptors are open, and may be, where the system says so.
fn descriptors() -> Option<(usize, u64)> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some((open, getrlimit(Resource::Nofile).current?))
}

fn handshake_seconds(text: &mut Exposition, tunnels: &[Arc<Tunnel>]) {
    text.family("countersign_handshake_seconds", "histogram", "How long handshakes take, those that fail as well");
    for tunnel in tunnels {
        let mut count = 0;
        for (bound, within) in tunnel.handshake_time.bounds() {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_string() };
            text.part("_bucket", &labels(tunnel, &[("le", &bound)]), within);
            count = within;
        }
        text.part("_sum", &labels(tunnel, &[]), tunnel.handshake_time.sum().as_secs_f64());
        text.part("_count", &labels(tunnel, &[]), count);
    }
}

fn labels<'a>(tunnel: &'a Tunnel, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut labels = vec![("tunnel", &*tunnel.name), ("side", tunnel.side.name())];
    labels.extend_from_slice(more);
    labels
}

type Read = fn(&Tunnel) -> u64;
const VALUES: [(&str, &str, &str, Read); 3] = [
    ("countersign_sessions", "gauge", "Sessions that are going on", |tunnel| tunnel.live.load(Ordering::Relaxed)),
    ("countersign_sessions_total", "counter", "Sessions that have begun", |tunnel| {
        tunnel.total.load(Ordering::Relaxed)
    }),
    ("countersign_spare_sessions", "gauge", "Sessions that are ready for somebody", |tunnel| {
        tunnel.spare.load(Ordering::Relaxed)
    }),
];

type Directions = fn(&Tunnel) -> (u64, u64);
const DIRECTIONS: [(&str, &str, Directions); 2] = [
    ("countersign_bytes_total", "Bytes of the application, from and to the peers", |tunnel| {
        (tunnel.received.load(Ordering::Relaxed), tunnel.sent.load(Ordering::Relaxed))
    }),
    ("countersign_rekeys_total", "How often a direction of a session has changed keys", |tunnel| {
        (tunnel.rekeys_received.load(Ordering::Relaxed), tunnel.rekeys_sent.load(Ordering::Relaxed))
    }),
];

/// Tunnels and the newest sessions.
pub fn sessions(book: &Book, draining: bool) -> Value {
    let tunnels: Vec<Value> = book.tunnels().iter().map(|tunnel| describe(tunnel)).collect();
    let listed = book.newest(MOST_LISTED);
    json!({
        "version": VERSION,
        "now": since_1970(SystemTime::now()),
        "started": since_1970(book.started),
        "draining": draining,
        "tunnels": tunnels,
        "total": book.live(),
        "sessions": listed.iter().map(|session| describe_session(session)).collect::<Vec<_>>(),
    })
}

fn describe(tunnel: &Tunnel) -> Value {
    let mut outcomes: Map<String, Value> = Map::new();
    for outcome in ["accepted", "refused", "timed_out", "gave_way", "failed"] {
        outcomes.insert(outcome.to_string(), json!(0));
    }
    let mut refusals: Map<String, Value> = Map::new();
    for ((outcome, reason), count) in tunnel.handshakes.all() {
        let sum = outcomes.get(outcome).and_then(Value::as_u64).unwrap_or_default() + count;
        outcomes.insert(outcome.to_string(), json!(sum));
        if outcome != "accepted" && reason != "empty" {
            let sum = refusals.get(reason).and_then(Value::as_u64).unwrap_or_default() + count;
            refusals.insert(reason.to_string(), json!(sum));
        }
    }
    json!({
        "name": tunnel.name,
        "side": tunnel.side.name(),
        "listen": tunnel.listen(),
        "sessions": tunnel.live.load(Ordering::Relaxed),
        "spare": tunnel.spare.load(Ordering::Relaxed),
        "total": tunnel.total.load(Ordering::Relaxed),
        "received": tunnel.received.load(Ordering::Relaxed),
        "sent": tunnel.sent.load(Ordering::Relaxed),
        "handshakes": outcomes,
        "refusals": refusals,
    })
}

fn describe_session(session: &Session) -> Value {
    let facts = &session.facts;
    let (received, sent) = session.traffic.bytes();
    let names: Vec<String> = facts.peer.names().iter().map(ToString::to_string).collect();
    json!({
        "id": facts.id,
        "tunnel": session.tunnel.name,
        "side": session.tunnel.side.name(),
        "peer": {
            "key": facts.peer.public_key().fingerprint().to_string(),
            "name": facts.peer.name(),
            "names": names,
        },
        "service": facts.service,
        "from": facts.from,
        "to": facts.to,
        "started": since_1970(facts.started),
        "idle": session.traffic.idle().as_secs_f64(),
        "received": received,
        "sent": sent,
        "rekeys": session.traffic.rekeys(),
    })
}

/// The last minutes, a point a second.
pub fn history(book: &Book) -> Value {
    let points: Vec<Value> = book
        .history()
        .iter()
        .map(|point| {
            json!({
                "time": point.time,
                "sessions": point.sessions,
                "received": point.received,
                "sent": point.sent,
                "accepted": point.accepted,
                "refused": point.refused,
            })
        })
        .collect();
    json!({"interval": 1.0, "points": points})
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
const MOST_LISTED: usize = 1_000;
