//! Decides again about the peers of live sessions, when trust says that it has changed or a decision has run out, and ends the sessions of those that
//! are refused now. One task for all sessions of a configuration; a session that nothing happens to costs nothing.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use crate::clock;
use crate::config::Config;
use crate::live::{Entry, Live, Revoke};
use crate::stream::failure::Latch;
use crate::trust::Request;

/// An accepted peer, as it was asked about.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) request: Request,
    pub(crate) until: Option<Duration>,
    /// How many changes there had been when trust was asked.
    pub(crate) changes: u64,
}

/// From now on the session ends when its peer is not trusted any more.
pub(super) fn supervise(config: &Config, accepted: Accepted, latch: &Latch) {
    let Accepted { request, until, changes } = accepted;
    let session: Weak<dyn Revoke> = latch.handle();
    if config.live.enter(request, until, changes, session) {
        tokio::spawn(Supervisor { config: config.clone(), live: config.live.clone(), seen: changes }.run());
    }
}

struct Supervisor {
    config: Config,
    live: Arc<Live>,
    seen: u64,
}

impl Supervisor {
    async fn run(mut self) {
        let mut leaving = Leaving(Some(self.live.clone()));
        let mut slow = JoinSet::new();
        loop {
            let changes = self.live.changes();
            let all = changes != self.seen;
            self.seen = changes;
            self.decide(all, &mut slow).await;
            while slow.try_join_next().is_some() {}
            let planned = self.live.plan();
            if slow.is_empty() && self.live.leave_if_empty() {
                leaving.0 = None;
                return;
            }
            let left = planned.saturating_sub(clock::now(&self.config)).clamp(SHORTEST, LONGEST);
            tokio::select! {
                () = poll_fn(|cx| self.live.poll_news(self.seen, planned, cx)) => {}
                () = sleep(left) => {}
            }
        }
    }

    /// Asks about those that are due. Answers that take their time are waited for elsewhere.
    async fn decide(&self, all: bool, slow: &mut JoinSet<()>) {
        let now = clock::now(&self.config);
        for (index, entry) in self.live.due(now, all).into_iter().enumerate() {
            if index % FAIR == FAIR - 1 {
                yield_now().await;
            }
            let mut asked = Box::pin(ask(self.live.clone(), entry, now, self.config.handshake_timeout));
            let ready = poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx).is_ready())).await;
            if !ready {
                while slow.len() >= MAX_SLOW {
                    slow.join_next().await;
                }
                slow.spawn(asked);
            }
        }
    }
}

/// Asks about one. An answer that does not come leaves the session as it is, to be asked about again.
async fn ask(live: Arc<Live>, entry: Arc<Entry>, now: Duration, patience: Duration) {
    let request = entry.request.clone().at(now);
    let decided = pin!(live.trust().decide(&request));
    match timeout(patience, decided).await {
        Ok(decision) => entry.apply(decision, now),
        Err(_) => entry.ask_again(now),
    }
}

/// Lets another task take over if this one is dropped, as when its runtime shuts down.
struct Leaving(Option<Arc<Live>>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|live| live.left());
    }
}

/// The clock of the wall may be set meanwhile.
const LONGEST: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(1);
/// Decisions between which other tasks get their turn.
const FAIR: usize = 32;
/// Answers that are waited for at a time.
const MAX_SLOW: usize = 256;
