//! Decides again about the peers of live sessions, in a thread of its own for all sessions of a configuration: when trust says that it has changed, or
//! a decision has run out.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::blocking::common::Common;
use crate::blocking::wait::wait;
use crate::clock;
use crate::config::Config;
use crate::error::{Error, Refusal};
use crate::live::{Accepted, Entry, Live, Place, Revoke};

impl Revoke for Common {
    fn revoke(&self, refusal: Refusal) {
        self.end(Error::Revoked(refusal).into());
    }
}

/// From now on the session ends when its peer is not trusted any more: at its next call, or when the one that waits returns.
pub(super) fn supervise(config: &Config, accepted: Accepted, common: &Arc<Common>) {
    let session: Weak<Common> = Arc::downgrade(common);
    if config.live.enter(accepted, session, PLACE) {
        let config = config.clone();
        let live = config.live.clone();
        let started = thread::Builder::new().name("countersign-live".into()).spawn(move || run(&config));
        if started.is_err() {
            live.left(PLACE);
        }
    }
}

fn run(config: &Config) {
    let live = &config.live;
    let _leaving = Leaving(live);
    // Another may have left without having asked about the last change.
    let (mut all, mut seen) = (true, live.changes());
    loop {
        for entry in live.due(clock::now(config), all) {
            ask(live, &entry, clock::now(config));
        }
        let planned = live.plan();
        if live.leave_if_empty(PLACE) {
            return;
        }
        let left = planned.saturating_sub(clock::now(config)).clamp(SHORTEST, LONGEST);
        let _ = wait(poll_fn(|cx| live.poll_news(PLACE, seen, planned, cx)), Instant::now() + left);
        let changes = live.changes();
        all = changes != seen;
        seen = changes;
    }
}

/// Lets another thread take over if this one ends by a panic, of the application's clock for example.
struct Leaving<'a>(&'a Live);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.left(PLACE);
        }
    }
}

/// Asks about one. An answer that does not come leaves the session as it is, to be asked about again.
fn ask(live: &Live, entry: &Entry, now: Duration) {
    let question = entry.question(now, PATIENCE);
    let request = entry.request.clone().at(now);
    let decided = || wait(live.trust().decide(&request), Instant::now() + PATIENCE);
    match catch_unwind(AssertUnwindSafe(decided)) {
        Ok(Some(decision)) => entry.apply(question, decision, now),
        Ok(None) | Err(_) => entry.ask_again(now),
    }
}

/// No runtime has this number.
const PLACE: Place = Place(0);
const LONGEST: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(1);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
