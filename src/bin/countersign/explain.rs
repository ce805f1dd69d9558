//! `connect --explain`: what happens at each step, with the time since the start and since the step before.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use countersign::Stream;
use countersign::crypto::suite::Suite;
use countersign::role::Stage;
use countersign::stream::{ConnectError, Milestone};
use tokio::net::TcpStream;

use crate::args::ConnectArgs;
use crate::log;
use crate::report::Blame;

/// Tells on standard error how a call gets on. Cheap to clone.
#[derive(Clone)]
pub struct Explainer(Arc<Told>);

struct Told {
    suites: Vec<Suite>,
    network_key: bool,
    eager: bool,
    start: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: Duration,
    /// Flights of ours on this connection.
    sent: u32,
    /// What is being timed, and since when.
    since: Duration,
    rounds: Vec<(&'static str, Duration)>,
}

impl Explainer {
    /// Starts the clock.
    pub fn start(args: &ConnectArgs, suites: Vec<Suite>) -> Self {
        let explainer = Explainer(Arc::new(Told {
            suites,
            network_key: args.own.settings.link.network_key.is_some(),
            eager: args.eager,
            start: Instant::now(),
            state: Mutex::default(),
        }));
        log::line("  ms since start, and since the line before");
        let host = args.address.escape_debug();
        explainer.line(&mut explainer.state(), format!("looking up {host}"));
        explainer
    }

    /// One step.
    pub fn tell(&self, milestone: &Milestone) {
        let now = self.0.start.elapsed();
        let mut state = self.state();
        match milestone {
            Milestone::Resolved { addresses } => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                self.line(&mut state, format!("the name is {}; connecting", addresses.join(", ")));
                state.since = now;
            }
            Milestone::Connected { address } => {
                let address = address.map(|address| address.to_string()).unwrap_or_default();
                state.round("TCP", now);
                state.sent = 0;
                self.line(&mut state, format!("TCP is connected to {address}"));
            }
            Milestone::Busy => self.line(&mut state, "the peer is too busy to begin; calling again after a pause"),
            Milestone::Sent { bytes } => {
                state.sent += 1;
                state.since = now;
                self.sent(&mut state, *bytes);
            }
            Milestone::Waiting { stage } => self.line(&mut state, format!("waiting for {stage}{}", meaning(*stage))),
            Milestone::Received { bytes } => {
                let what = if state.sent == 1 { "HELLO and its answer" } else { "AUTH_I and the verdict" };
                state.round(what, now);
                self.line(&mut state, format!("received {bytes} bytes"));
            }
            Milestone::Proved { peer, .. } => {
                self.line(&mut state, format!("the peer has proved that it holds the key {}", peer.fingerprint()));
            }
            Milestone::Decided { accepted, rule } => {
                let verb = if *accepted { "accepts" } else { "refuses" };
                let because = if rule.is_empty() { String::new() } else { format!(": {}", rule.escape_debug()) };
                self.line(&mut state, format!("our trust {verb} it{because}"));
            }
            Milestone::Signed => self.line(&mut state, "our key was asked for a signature, and has answered"),
            _ => {}
        }
    }

    /// How it ended.
    pub fn end(&self, result: &Result<Stream<TcpStream>, ConnectError>) {
        let mut state = self.state();
        let stream = match result {
            Ok(stream) => stream,
            Err(error) => {
                let Blame { stage, side } = Blame::of_connect(error);
                return self.line(&mut state, format!("FAILED {stage}; at fault: {side}; {error}"));
            }
        };
        if self.0.eager {
            self.line(&mut state, "not waiting for the verdict (--eager): a refusal would end the session");
        } else {
            self.line(&mut state, "VERDICT: the peer accepts us");
        }
        let info = stream.info();
        let binding: String = info.channel_binding.iter().map(|byte| format!("{byte:02x}")).collect();
        let rounds: Vec<String> =
            state.rounds.iter().map(|(what, took)| format!("{what} {:.2} ms", ms(*took))).collect();
        for (name, value) in [
            ("suite", info.suite.to_string()),
            ("session", info.session_id.to_string()),
            ("channel binding", binding),
            ("round trips", rounds.join(", ")),
            ("in all", format!("{:.2} ms", ms(state.last))),
        ] {
            log::line(format!("  {name:<16}{value}"));
        }
    }

    fn sent(&self, state: &mut State, bytes: usize) {
        if state.sent > 1 {
            return self.line(
                state,
                format!("sent AUTH_I, {bytes} bytes: our key and its signature, for the peer's eyes only"),
            );
        }
        let tag = if self.0.network_key { ", and the tag of the network key" } else { "" };
        self.line(state, format!("sent HELLO, {bytes} bytes: a challenge, key shares{tag}; we offer, best first:"));
        for suite in &self.0.suites {
            log::line(format!("{:21}{suite}", ""));
        }
    }

    fn line(&self, state: &mut State, text: impl Display) {
        let now = self.0.start.elapsed();
        let delta = now.saturating_sub(state.last);
        state.last = now;
        log::line(format!("{:9.2} {:+8.2}  {text}", ms(now), ms(delta)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes the time of a round trip, once for each.
    fn round(&mut self, what: &'static str, now: Duration) {
        if self.rounds.iter().all(|(noted, _)| *noted != what) {
            self.rounds.push((what, now.saturating_sub(self.since)));
        }
    }
}

fn meaning(stage: Stage) -> &'static str {
    match stage {
        Stage::HelloReply => ": the peer's choice of suite, and its challenge",
        Stage::AuthR => ": the peer's proof",
        Stage::Verdict => ": whether the peer accepts us",
        _ => "",
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
