//! Handshakes and connections that became no session: counted, and logged, as far as somebody who causes them can't fill the disk.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use countersign::PublicKey;
use countersign::error::{Error, Foreign, Malformed, Reason};
use countersign::net::HandshakeFailure;
use countersign::stream::ConnectError;
use serde_json::json;

use crate::log::Event;
use crate::report::Blame;
use crate::serve::hint;
use crate::tunnel::book::Tunnel;
use crate::tunnel::causes;
use crate::tunnel::server::canonical;

/// So many lines a second at most; the others are counted in one.
#[derive(Debug)]
pub struct Failures(Mutex<Second>);

/// A handshake of ours.
pub struct Call<'a> {
    pub from: &'a str,
    pub to: &'a str,
    pub service: &'a str,
    pub own: PublicKey,
}

#[derive(Debug)]
struct Second {
    began: Instant,
    lines: u32,
    left_out: u64,
}

impl Failures {
    pub fn new() -> Self {
        Failures(Mutex::new(Second { began: Instant::now(), lines: 0, left_out: 0 }))
    }

    /// A handshake that came in.
    pub fn of_server(&self, tunnel: &Tunnel, failure: &HandshakeFailure, no_route: Option<String>) {
        if failure.received == 0 && causes::is_cut(&failure.error) {
            // A balancer looks whether somebody listens, every other second.
            return tunnel.handshakes.add(("failed", "empty"));
        }
        let (outcome, cause) = causes::of_handshake(&failure.error);
        tunnel.handshakes.add((outcome, cause));
        tunnel.handshake_time.add(failure.took);
        if !self.may_log() {
            return;
        }
        let mut event = began(if outcome == "refused" { "refused" } else { "failed" }, tunnel)
            .word("from", canonical(failure.address))
            .word("cause", cause);
        if let Some(peer) = &failure.peer {
            let key = peer.fingerprint().to_string();
            event = event.shown("peer", &key).only_json("peer", json!({"key": key, "name": null, "names": []}));
        }
        if let Some(service) = &failure.service {
            event = event.text("service", service);
        }
        if let (Some(no_route), "service_unavailable") = (no_route, cause) {
            return event.text("fault", "the two sides, which differ").text("reason", &no_route).write();
        }
        if let Some(rule) = &failure.rule {
            event = event.text("rule", rule);
        }
        let side = match cause {
            "proxy_header" => "who connects, or --proxy-in here",
            _ => Blame::of_connect(&failure.error).side,
        };
        let hint = if is_proxy_like(&failure.error) { UNLISTED.to_string() } else { hint(failure) };
        event.text("fault", side).text("reason", &format!("{}{hint}", failure.error)).write();
    }

    /// A handshake of ours.
    pub fn of_client(&self, tunnel: &Tunnel, call: &Call<'_>, error: &ConnectError, took: Duration) {
        let (outcome, cause) = causes::of_handshake(error);
        tunnel.handshakes.add((outcome, cause));
        tunnel.handshake_time.add(took);
        if self.may_log() {
            began(if outcome == "refused" { "refused" } else { "failed" }, tunnel)
                .word("from", call.from)
                .word("to", call.to)
                .text("service", call.service)
                .word("cause", cause)
                .text("fault", Blame::of_connect(error).side)
                .text("reason", &format!("{error}{}", advice(error, call)))
                .write();
        }
    }

    /// A connection on the plain side that came to nothing.
    pub fn of_plain(&self, tunnel: &Tunnel, from: &str, cause: &'static str, why: impl Display) {
        tunnel.ended.add(cause);
        if self.may_log() {
            began("failed", tunnel).word("from", from).word("cause", cause).text("reason", &why.to_string()).write();
        }
    }

    /// Says how many were left out, if any were.
    pub fn flush(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }

    fn may_log(&self) -> bool {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if second.began.elapsed() >= Duration::from_secs(1) {
            (second.began, second.lines) = (Instant::now(), 0);
            second.flush();
        }
        let may = second.lines < LINES_A_SECOND;
        second.lines += u32::from(may);
        second.left_out += u64::from(!may);
        may
    }
}

impl Second {
    fn flush(&mut self) {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            Event::new("failed").number("more", left_out).text("reason", "more failures than are logged").write();
        }
    }
}

/// Whether what came first may be a header of the PROXY protocol: version 1 begins with a letter as HTTP does, version 2 with CR.
fn is_proxy_like(error: &ConnectError) -> bool {
    let ConnectError::Protocol(failure) = error else { return false };
    matches!(failure.error, Error::Malformed(Malformed::Foreign(Foreign::Http | Foreign::Other(b'\r'))))
}

/// What the other side's operator can do, behind a semicolon; or nothing.
fn advice(error: &ConnectError, call: &Call<'_>) -> String {
    let ConnectError::Protocol(failure) = error else { return String::new() };
    match &failure.error {
        Error::Refused(refusal) if refusal.reason == Reason::NotTrusted && refusal.text.is_empty() => {
            format!("; to be let in, have this line added to the trust file there: {}", call.own)
        }
        Error::Refused(refusal) if refusal.reason == Reason::ServiceUnavailable => {
            "; it needs a route there, and our line in the trust file has to allow it".to_string()
        }
        _ => String::new(),
    }
}

fn began(kind: &str, tunnel: &Tunnel) -> Event {
    Event::new(kind).word("tunnel", &tunnel.name).word("side", tunnel.side.name())
}

const UNLISTED: &str = "; if it is a balancer that sends the PROXY protocol, name its address with --proxy-in";
const LINES_A_SECOND: u32 = 50;
