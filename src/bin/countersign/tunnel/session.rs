//! One session of a tunnel, at either end: from the moment when both sides of it are there to the line in the log.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::Stream;
use countersign::error::{Alert, Error};
use countersign::identity::Peer;
use countersign::stream::protocol_error;
use serde_json::json;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::log::Event;
use crate::tunnel::args::SessionArgs;
use crate::tunnel::book::{Entry, Facts, Session, Side, Traffic, Tunnel};
use crate::tunnel::carry::{Broken, Ends, carry};
use crate::tunnel::causes;
use crate::tunnel::gone;
use crate::tunnel::plain::{DELIVERY, Plain};

/// What bounds a session.
#[derive(Clone, Debug)]
pub struct Bounds {
    pub buffer: usize,
    pub idle: Option<Duration>,
    pub lifetime: Option<Duration>,
}

/// How far the process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Running,
    /// Nothing new is taken.
    Draining,
    /// What is left ends.
    Ending,
}

/// Returns when what is left has to end.
pub async fn ending(stage: &mut watch::Receiver<Stage>) {
    let _ = stage.wait_for(|stage| *stage == Stage::Ending).await;
}

/// How a session ended: a word for the metrics, and all that is known for the log.
#[derive(Debug)]
pub struct End {
    pub cause: &'static str,
    pub text: String,
    /// The peer has refused us, after an eager call.
    pub refused: bool,
    /// When it did. Telling the peer may take a while.
    pub at: Instant,
}

impl Bounds {
    pub fn new(args: &SessionArgs) -> Self {
        let limit = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
        Bounds {
            buffer: usize::try_from(args.buffer).unwrap_or(1 << 16),
            idle: limit(args.session_idle),
            lifetime: limit(args.session_lifetime),
        }
    }
}

impl End {
    pub fn new(cause: &'static str, text: impl Into<String>) -> Self {
        End { cause, text: text.into(), refused: false, at: Instant::now() }
    }

    /// The session failed.
    pub fn of_peer(error: &io::Error) -> Self {
        match protocol_error(error) {
            // What the other end of a tunnel says of itself is known by its words.
            Some(Error::AlertReceived(alert)) if alert.authenticated => {
                let known = [(UNREACHABLE, "unreachable"), (IDLE, "idle"), (LIFETIME, "lifetime")];
                let known = known.into_iter().find(|(words, _)| alert.text.starts_with(words));
                match known {
                    Some((_, cause)) => End::new(cause, format!("at the other end: {}", alert.text.escape_debug())),
                    None => End::new(causes::of_error(&Error::AlertReceived(alert.clone())), error.to_string()),
                }
            }
            Some(cause) => {
                let refused = matches!(cause, Error::Refused(_));
                End { refused, ..End::new(causes::of_error(cause), error.to_string()) }
            }
            None => End::new("lost", error.to_string()),
        }
    }
}

/// Carries until the session ends, and ends both sides of it as the end calls for: what has ended well is closed, what has not is broken off.
pub async fn run(
    mut stream: Stream<TcpStream>,
    mut plain: Plain,
    entry: &Entry,
    bounds: &Bounds,
    stage: &mut watch::Receiver<Stage>,
) -> End {
    let traffic = &entry.session.traffic;
    let mut ends = Ends::default();
    let end = tokio::select! {
        carried = carry(&mut stream, &mut plain, traffic, bounds.buffer, &mut ends) => match carried {
            Ok(()) => return finished(plain).await,
            Err(Broken::Peer(error)) => {
                let mut end = End::of_peer(&error);
                if ends.received {
                    if protocol_error(&error).is_none() {
                        end.cause = "cut";
                    }
                    Box::pin(plain.deliver()).await;
                }
                plain.reset();
                // The peer may not have been told yet.
                if ends.sent {
                    Box::pin(cut(&stream)).await;
                } else {
                    stream.linger().await;
                }
                return end;
            }
            Err(Broken::Plain(error)) => {
                let side = if entry.session.tunnel.side == Side::Server { "service" } else { "client" };
                (Alert::Internal, End::new("reset", format!("the {side} broke off: {error}")))
            }
        },
        idle = until_idle(traffic, bounds.idle) => {
            (Alert::Timeout, End::new("idle", format!("{IDLE} {} s", idle.as_secs())))
        }
        age = until_old(bounds.lifetime) => {
            (Alert::Timeout, End::new("lifetime", format!("{LIFETIME} {} s", age.as_secs())))
        }
        () = ending(stage) => {
            (Alert::ShuttingDown, End::new("stopped", "this side stops"))
        }
    };
    let (alert, end) = end;
    let told = break_off(stream, alert, &end.text);
    let reset = async {
        if ends.received {
            plain.deliver().await;
        }
        plain.reset();
    };
    // Apart from the session's own memory, of which it is rarely a part.
    Box::pin(async { tokio::join!(told, reset) }).await;
    end
}

/// Returns the limit once it is met; never without one.
async fn until_idle(traffic: &Traffic, limit: Option<Duration>) -> Duration {
    let Some(limit) = limit else { return pending().await };
    traffic.until_idle(limit).await;
    limit
}

async fn until_old(limit: Option<Duration>) -> Duration {
    let Some(limit) = limit else { return pending().await };
    sleep(limit).await;
    limit
}

/// Both directions have ended; a command has to end as well.
async fn finished(mut plain: Plain) -> End {
    match plain.status().await {
        Ok(None) => End::new("ok", "ok"),
        Ok(Some(status)) if status.success() => End::new("ok", "ok"),
        Ok(Some(status)) => End::new("command", format!("the command failed: {status}")),
        Err(error) => End::new("command", format!("the command did not end: {error}")),
    }
}

/// Ends a session with an alert, and gives the peer the time to read it.
pub async fn break_off(mut stream: Stream<TcpStream>, alert: Alert, text: &str) {
    // The peer's own text comes back to it only in part if it is long.
    let text = shortened(text);
    if !matches!(timeout(TELL, stream.abort(alert, text)).await, Ok(Ok(()))) {
        return cut(&stream).await;
    }
    let _ = timeout(TELL, discard(stream.get_ref())).await;
}

/// Breaks a session off behind our end, when no alert can be sent any more. What was sent before may still be under way, and nothing is read meanwhile; when the
/// session is dropped then, the other side, which reads nothing more, sees a reset.
async fn cut(stream: &Stream<TcpStream>) {
    let _ = timeout(DELIVERY, gone::watch(stream.get_ref())).await;
    let _ = SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO));
}

/// Reads what still comes, which would otherwise reset the connection and with it what the peer was told last.
async fn discard(socket: &TcpStream) {
    let mut scratch = [0; 4_096];
    let mut left = MOST_DISCARDED;
    while left > 0 && socket.readable().await.is_ok() {
        match socket.try_read(&mut scratch) {
            Ok(0) => return,
            Ok(len) => left = left.saturating_sub(len),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// What is known of a session from its start.
pub fn facts(stream: &Stream<TcpStream>, from: String, to: String) -> Facts {
    Facts {
        id: stream.session_id().to_string(),
        peer: stream.peer().clone(),
        service: stream.service().to_string(),
        from,
        to,
        started: std::time::SystemTime::now(),
        clock: Instant::now(),
    }
}

/// The session's line in the log, and its place in the metrics.
pub fn log_end(session: &Arc<Session>, end: &End) {
    session.tunnel.ended.add(end.cause);
    let (received, sent) = session.traffic.bytes();
    let seconds = end.at.saturating_duration_since(session.facts.clock).as_secs_f64();
    closed(&session.facts, &session.tunnel.name, session.tunnel.side)
        .number("received", received)
        .number("sent", sent)
        .shown("time", format_args!("{seconds:.3}s"))
        .only_json("seconds", json!(seconds))
        .word("cause", end.cause)
        .text("reason", &end.text)
        .write();
}

/// A session that was refused when it was there already.
pub fn log_refused(facts: &Facts, tunnel: &Tunnel, end: &End) {
    tunnel.ended.add(end.cause);
    closed(facts, &tunnel.name, tunnel.side).word("cause", end.cause).text("reason", &end.text).write();
}

fn closed(facts: &Facts, tunnel: &str, side: Side) -> Event {
    let Facts { id, peer, service, from, to, .. } = facts;
    let names: Vec<String> = peer.names().iter().map(ToString::to_string).collect();
    let key = peer.public_key().fingerprint().to_string();
    Event::new("closed")
        .word("session", id)
        .word("tunnel", tunnel)
        .word("side", side.name())
        .shown("peer", quoted(peer))
        .only_json("peer", json!({"key": key, "name": peer.name(), "names": names}))
        .text("service", service)
        .word("from", from)
        .word("to", to)
}

/// The peer as it is shown, in quotes. Its name in the trust file is escaped already.
fn quoted(peer: &Peer) -> String {
    let names = peer.names().iter().any(|name| name.to_string().contains(['"', '\\']));
    if names { format!("{:?}", peer.to_string()) } else { format!("\"{peer}\"") }
}

/// What the server says of a service that can't be called; the client knows it by this.
pub const UNREACHABLE: &str = "the service does not answer";
const IDLE: &str = "no data for";
const LIFETIME: &str = "it has reached its age of";
/// How long the peer gets to read why.
const TELL: Duration = Duration::from_secs(1);
const MOST_DISCARDED: usize = 1 << 20;
const MAX_TEXT: usize = 255;
