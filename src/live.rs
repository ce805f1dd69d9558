//! The sessions whose peers are decided about again when trust changes, or when the decision has run out. This is the book; who reads it and asks
//! is above, where there are tasks and timers.

use core::time::Duration;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::vec::Vec;

use crate::error::{Reason, Refusal};
use crate::trust::{Decision, Request, Trust, Watcher};

/// The sessions of one configuration.
pub(crate) struct Live {
    trust: Arc<dyn Trust>,
    /// Whether the trust will ever tell of a change.
    changes: bool,
    /// What the trust tells; apart, so that trust and book don't keep each other alive.
    news: Arc<News>,
    sessions: Mutex<Sessions>,
}

/// Where a reader of the book runs: the number of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) u64);

/// An accepted peer, as it was asked about.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) request: Request,
    pub(crate) until: Option<Duration>,
    /// How many changes there had been when trust was asked.
    pub(crate) changes: u64,
}

/// Ends a session from outside.
pub(crate) trait Revoke: Send + Sync {
    /// Ends it; wakes whoever reads or writes.
    fn revoke(&self, refusal: Refusal);
}

/// A session in the book.
pub(crate) struct Entry {
    pub(crate) request: Request,
    standing: Mutex<Standing>,
    session: Weak<dyn Revoke>,
}

/// How it stands with a session.
struct Standing {
    /// When it is asked about next.
    until: Option<Duration>,
    /// How often it has been asked about: an answer to anything but the last question is none.
    questions: u64,
}

struct Sessions {
    entries: HashMap<u64, Arc<Entry>>,
    next: u64,
    /// At so many entries those of sessions that are gone are thrown away.
    sweep_at: usize,
    /// Where somebody reads the book: one in each runtime that has sessions in it.
    readers: Vec<Place>,
    /// When it is looked into again.
    planned: Duration,
}

#[derive(Default)]
struct News(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    changes: u64,
    /// Whoever sleeps over the book, one at each place.
    readers: Vec<(Place, Waker)>,
}

impl Live {
    pub(crate) fn new(trust: Arc<dyn Trust>) -> Arc<Self> {
        let news = Arc::<News>::default();
        let weak: Weak<News> = Arc::downgrade(&news);
        let watcher: Weak<dyn Watcher> = weak;
        let changes = trust.watch(&watcher);
        let sessions = Sessions {
            entries: HashMap::new(),
            next: 0,
            sweep_at: MIN_SWEEP,
            readers: Vec::new(),
            planned: Duration::MAX,
        };
        Arc::new(Live { trust, changes, news, sessions: Mutex::new(sessions) })
    }

    pub(crate) fn trust(&self) -> &Arc<dyn Trust> {
        &self.trust
    }

    /// How many changes there have been.
    pub(crate) fn changes(&self) -> u64 {
        self.news.heard().changes
    }

    /// Enters a session whose peer was decided about. Returns whether somebody has to be found who reads the book at this place: the caller is to see
    /// to it, and to say [`Live::left`] when he is gone.
    pub(crate) fn enter(&self, accepted: Accepted, session: Weak<dyn Revoke>, place: Place) -> bool {
        let Accepted { mut request, mut until, changes } = accepted;
        // Whoever asks about it from now on asks about a session.
        request.live = true;
        if !self.changes && until.is_none() {
            return false;
        }
        let mut sessions = self.sessions();
        if sessions.entries.len() >= sessions.sweep_at {
            sessions.sweep();
        }
        // Trust has changed between the decision and this: it is due at once. A change from now on finds the session in the book.
        if changes != self.changes() {
            until = Some(Duration::ZERO);
        }
        let number = sessions.next;
        sessions.next += 1;
        sessions.entries.insert(
            number,
            Arc::new(Entry { request, standing: Mutex::new(Standing { until, questions: 0 }), session }),
        );
        let unserved = !sessions.readers.contains(&place);
        if unserved {
            sessions.readers.push(place);
        }
        let sooner = until.is_some_and(|until| until < sessions.planned);
        if sooner {
            sessions.planned = until.unwrap_or_default();
        }
        drop(sessions);
        if sooner {
            self.news.tell(0);
        }
        unserved
    }

    /// Whoever read the book at this place is gone.
    pub(crate) fn left(&self, place: Place) {
        self.sessions().readers.retain(|reader| *reader != place);
    }

    /// Whoever reads the book leaves if nobody is in it.
    pub(crate) fn leave_if_empty(&self, place: Place) -> bool {
        let mut sessions = self.sessions();
        sessions.sweep();
        let empty = sessions.entries.is_empty();
        if empty {
            sessions.readers.retain(|reader| *reader != place);
        }
        empty
    }

    /// Ready when there was another number of changes than `seen`, or a session was entered whose decision runs out before `planned`.
    pub(crate) fn poll_news(&self, place: Place, seen: u64, planned: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let mut heard = self.news.heard();
        if heard.changes != seen {
            return Poll::Ready(());
        }
        match heard.readers.iter_mut().find(|(other, _)| *other == place) {
            Some((_, reader)) => reader.clone_from(cx.waker()),
            None => heard.readers.push((place, cx.waker().clone())),
        }
        // Whoever enters a session has the book while he looks at the news: never the other way round. What is entered from now on wakes us.
        drop(heard);
        if self.sessions().planned < planned { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The sessions whose decision has run out, or all.
    pub(crate) fn due(&self, now: Duration, all: bool) -> Vec<Arc<Entry>> {
        let mut sessions = self.sessions();
        sessions.sweep();
        let due = sessions.entries.values().filter(|entry| all || entry.until().is_some_and(|until| until <= now));
        due.cloned().collect()
    }

    /// When the next decision runs out; never is `Duration::MAX`.
    pub(crate) fn plan(&self) -> Duration {
        let mut sessions = self.sessions();
        sessions.planned = sessions.entries.values().filter_map(|entry| entry.until()).min().unwrap_or(Duration::MAX);
        sessions.planned
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// Throws those away that are gone.
    fn sweep(&mut self) {
        self.entries.retain(|_, entry| entry.session.strong_count() > 0);
        self.sweep_at = (2 * self.entries.len()).max(MIN_SWEEP);
    }
}

impl Entry {
    fn until(&self) -> Option<Duration> {
        self.standing().until
    }

    /// Takes a number for a question, and asks again soon if there should be no answer.
    pub(crate) fn question(&self, now: Duration, patience: Duration) -> u64 {
        let mut standing = self.standing();
        standing.questions += 1;
        standing.until = Some(now.saturating_add(patience));
        standing.questions
    }

    /// Carries out what was decided now, if the question was the last one. A trust that is busy has not decided, and is asked again.
    pub(crate) fn apply(&self, question: u64, decision: Decision, now: Duration) {
        let soon = now.saturating_add(AGAIN);
        let mut standing = self.standing();
        if standing.questions != question {
            return;
        }
        standing.until = match &decision {
            Decision::Accept(grant) => grant.until.map(|until| until.max(soon)),
            Decision::Refuse(denial) if denial.refusal.reason == Reason::Busy => Some(soon),
            Decision::Refuse(_) => None,
        };
        let over = standing.until.is_none();
        drop(standing);
        if let (Decision::Refuse(denial), true) = (decision, over) {
            self.session.upgrade().into_iter().for_each(|session| session.revoke(denial.refusal.clone()));
        }
    }

    /// There was no answer, or nobody could ask.
    pub(crate) fn ask_again(&self, now: Duration) {
        self.standing().until = Some(now.saturating_add(AGAIN));
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl News {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, changes: u64) {
        let mut heard = self.heard();
        heard.changes = heard.changes.wrapping_add(changes);
        let readers = std::mem::take(&mut heard.readers);
        drop(heard);
        readers.into_iter().for_each(|(_, reader)| reader.wake());
    }
}

impl Watcher for News {
    fn changed(&self) {
        self.tell(1);
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live")
    }
}

/// No session is decided about more often than this.
const AGAIN: Duration = Duration::from_millis(500);
const MIN_SWEEP: usize = 64;
