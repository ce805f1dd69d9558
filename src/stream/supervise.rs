//! Decides again about the peers of live sessions, when trust says that it has changed or a decision has run out, and ends the sessions of those that
//! are refused now. One task in each runtime for all sessions of a configuration; a session that nothing happens to costs nothing.

use std::future::{Future, poll_fn};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use crate::clock;
use crate::config::Config;
use crate::live::{Accepted, Entry, Live, Place, Revoke};
use crate::stream::failure::Latch;

/// From now on the session ends when its peer is not trusted any more.
pub(super) fn supervise(config: &Config, accepted: Accepted, latch: &Latch) {
    let mut hasher = DefaultHasher::new();
    Handle::current().id().hash(&mut hasher);
    let place = Place(hasher.finish().max(1));
    let session: Weak<dyn Revoke> = latch.handle();
    if config.live.enter(accepted, session, place) {
        tokio::spawn(Supervisor { config: config.clone(), live: config.live.clone(), place }.run());
    }
}

struct Supervisor {
    config: Config,
    live: Arc<Live>,
    place: Place,
}

impl Supervisor {
    async fn run(self) {
        let mut leaving = Leaving(Some(self.live.clone()), self.place);
        let mut slow = JoinSet::new();
        // Another may have left without having asked about the last change.
        let mut all = true;
        let mut seen = self.live.changes();
        loop {
            self.decide(all, &mut slow).await;
            while slow.try_join_next().is_some() {}
            let planned = self.live.plan();
            if slow.is_empty() && self.live.leave_if_empty(self.place) {
                leaving.0 = None;
                return;
            }
            let left = planned.saturating_sub(clock::now(&self.config)).clamp(SHORTEST, LONGEST);
            tokio::select! {
                () = poll_fn(|cx| self.live.poll_news(self.place, seen, planned, cx)) => {}
                // A slow answer may have set another end.
                Some(_) = slow.join_next() => {}
                () = sleep(left) => {}
            }
            let changes = self.live.changes();
            all = changes != seen;
            seen = changes;
        }
    }

    /// Asks about those that are due. Answers that take their time are waited for elsewhere.
    async fn decide(&self, all: bool, slow: &mut JoinSet<()>) {
        let now = clock::now(&self.config);
        for (index, entry) in self.live.due(now, all).into_iter().enumerate() {
            if index % FAIR == FAIR - 1 {
                yield_now().await;
            }
            // Answers that are waited for take all the room: another time. They are no answers to what is asked then.
            if slow.len() >= MAX_SLOW {
                entry.question(now, PUT_OFF);
                continue;
            }
            let question = entry.question(now, PATIENCE);
            let mut asked: Asked = Box::pin(ask(self.live.clone(), entry.clone(), question, now));
            match poll_fn(|cx| Poll::Ready(poll_once(&mut asked, cx))).await {
                Polled::Ready => {}
                // A trust decision of the application that panics leaves the other sessions supervised.
                Polled::Panicked => entry.ask_again(now),
                Polled::Pending => {
                    slow.spawn(asked);
                }
            }
        }
    }
}

type Asked = Pin<Box<dyn Future<Output = ()> + Send>>;

enum Polled {
    Ready,
    Pending,
    Panicked,
}

fn poll_once(asked: &mut Asked, cx: &mut Context<'_>) -> Polled {
    match catch_unwind(AssertUnwindSafe(|| asked.as_mut().poll(cx))) {
        Ok(Poll::Ready(())) => Polled::Ready,
        Ok(Poll::Pending) => Polled::Pending,
        Err(_) => Polled::Panicked,
    }
}

/// Asks about one. An answer that does not come leaves the session as it is, to be asked about again.
async fn ask(live: Arc<Live>, entry: Arc<Entry>, question: u64, now: Duration) {
    let request = entry.request.clone().at(now);
    match timeout(PATIENCE, live.trust().decide(&request)).await {
        Ok(decision) => entry.apply(question, decision, now),
        Err(_) => entry.ask_again(now),
    }
}

/// Lets another task take over if this one is dropped, as when its runtime shuts down.
struct Leaving(Option<Arc<Live>>, Place);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|live| live.left(self.1));
    }
}

/// The clock of the wall may be set meanwhile.
const LONGEST: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(1);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Decisions between which other tasks get their turn.
const FAIR: usize = 32;
/// When those are asked about that there was no room for.
const PUT_OFF: Duration = Duration::from_millis(500);
/// Answers that are waited for at a time.
const MAX_SLOW: usize = 256;
