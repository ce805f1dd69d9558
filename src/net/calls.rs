//! The calls under way between this side and its peers, ours and theirs: what
//! [`SimultaneousDial`](crate::net::SimultaneousDial) decides by. Every decision is taken under one lock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::identity::PublicKey;

/// Two sides and what they want of each other: calls for different services don't stand for each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) own: PublicKey,
    pub(super) peer: PublicKey,
    pub(super) service: String,
}

/// The calls of all pairs.
#[derive(Debug, Default)]
pub(super) struct Calls {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts what happens: the time that matters here.
    clock: u64,
    pairs: HashMap<Pair, Entry>,
    /// Handshakes of our listeners by when they began, and who it is, once it is proved and trusted.
    answering: BTreeMap<u64, Option<Pair>>,
    /// When calls of ours succeeded, as long as a handshake in `answering` is older.
    succeeded: VecDeque<(u64, Pair)>,
}

#[derive(Debug, Default)]
struct Entry {
    ours: BTreeMap<u64, Ours>,
    theirs: BTreeMap<u64, Theirs>,
    /// When a call of theirs last became a session.
    they_called: u64,
    changed: watch::Sender<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    /// We have not proved who we are: the peer can't have accepted us.
    Open,
    /// The peer may have accepted us.
    Committed,
    /// It is over, and its caller waits for what becomes of theirs.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theirs {
    /// Waits for the end of ours.
    Held,
    /// Accepted, and not a session yet.
    Accepted,
    /// A session that the application has not taken yet.
    Waiting,
}

/// A call of ours; out of the book when dropped.
#[derive(Debug)]
pub(super) struct OurCall {
    calls: Arc<Calls>,
    pair: Pair,
    number: u64,
}

/// A handshake of our listener; out of the book when dropped.
#[derive(Debug)]
pub(super) struct TheirCall {
    calls: Arc<Calls>,
    number: u64,
    /// Whose it is, once it is a session.
    pair: Option<Pair>,
}

impl Pair {
    /// Whether it is us who decide which of two calls is kept.
    fn we_decide(&self) -> bool {
        self.own.as_bytes() < self.peer.as_bytes()
    }
}

impl Calls {
    /// Enters a call of ours, unless a session that the peer has called for waits for the application.
    pub(super) fn call(self: &Arc<Self>, pair: Pair) -> Option<OurCall> {
        let mut state = self.state();
        let number = state.tick();
        let entry = state.pairs.entry(pair.clone()).or_default();
        if entry.has(Theirs::Waiting) {
            return None;
        }
        entry.ours.insert(number, Ours::Open);
        Some(OurCall { calls: self.clone(), pair, number })
    }

    /// Enters a handshake of our listener, of whose peer nothing is known yet.
    pub(super) fn answer(self: &Arc<Self>) -> TheirCall {
        let mut state = self.state();
        let number = state.tick();
        state.answering.insert(number, None);
        TheirCall { calls: self.clone(), number, pair: None }
    }

    /// Decides whether a call of theirs, whose peer is proved and trusted, is kept. Waits while one of ours may have
    /// been accepted and the decision is ours.
    pub(super) async fn decide(&self, number: u64, pair: &Pair) -> bool {
        self.until(pair, |state| {
            if pair.we_decide() && state.succeeded.iter().any(|(when, whose)| *when > number && whose == pair) {
                return Some(false);
            }
            if let Some(known) = state.answering.get_mut(&number) {
                *known = Some(pair.clone());
            }
            let entry = state.pairs.entry(pair.clone()).or_default();
            if pair.we_decide() && entry.ours.values().any(|ours| *ours == Ours::Committed) {
                entry.theirs.insert(number, Theirs::Held);
                return None;
            }
            entry.theirs.insert(number, Theirs::Accepted);
            entry.notify();
            Some(true)
        })
        .await
    }

    /// Lets a call of ours go on to prove who we are; while one of theirs is accepted and not a session yet, it waits
    /// for what becomes of that.
    pub(super) async fn pass(&self, number: u64, pair: &Pair) {
        self.until(pair, |state| {
            let entry = state.pairs.entry(pair.clone()).or_default();
            if entry.they_called > number || entry.has(Theirs::Accepted) {
                return None;
            }
            entry.ours.insert(number, Ours::Committed);
            Some(())
        })
        .await;
    }

    /// Waits until `ready` gives a value; it is asked again after every change of the pair.
    async fn until<T>(&self, pair: &Pair, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            // Subscribed under the lock, so that no change is missed.
            let mut changed = {
                let mut state = self.state();
                if let Some(value) = ready(&mut state) {
                    return value;
                }
                state.pairs.entry(pair.clone()).or_default().changed.subscribe()
            };
            // An error means that the entry is gone: a change as well.
            let _ = changed.changed().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OurCall {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn pair(&self) -> &Pair {
        &self.pair
    }

    /// Returns when a call of theirs has become a session since ours began.
    pub(super) async fn they_called(&self) {
        self.calls.until(&self.pair, |state| state.they_called(self).then_some(())).await;
    }

    /// It is a session: those of theirs that were under way meanwhile are not kept.
    pub(super) fn succeeded(self) {
        let mut state = self.calls.state();
        let now = state.tick();
        if !state.answering.is_empty() {
            state.succeeded.push_back((now, self.pair.clone()));
        }
    }

    /// It has failed: whether one of theirs becomes a session instead.
    pub(super) async fn failed(self) -> bool {
        self.calls
            .until(&self.pair, |state| {
                if state.they_called(&self) {
                    return Some(true);
                }
                let entry = state.pairs.entry(self.pair.clone()).or_default();
                if entry.ours.insert(self.number, Ours::Failed) != Some(Ours::Failed) {
                    entry.notify();
                }
                let undecided = entry.has(Theirs::Held) || entry.has(Theirs::Accepted);
                (!undecided).then_some(false)
            })
            .await
    }
}

impl TheirCall {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// It is a session, which waits for the application until this is dropped.
    pub(super) fn established(&mut self) {
        let mut state = self.calls.state();
        self.pair = state.end_answer(self.number);
        let now = state.tick();
        if let Some(entry) = self.pair.as_ref().and_then(|pair| state.pairs.get_mut(pair)) {
            entry.theirs.insert(self.number, Theirs::Waiting);
            entry.they_called = now;
            entry.notify();
        }
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn they_called(&self, ours: &OurCall) -> bool {
        self.pairs.get(&ours.pair).is_some_and(|entry| entry.they_called > ours.number)
    }

    /// A handshake of our listener is over: forgets the successes that were remembered for it.
    fn end_answer(&mut self, number: u64) -> Option<Pair> {
        let pair = self.answering.remove(&number).flatten();
        let oldest = self.answering.first_key_value().map_or(u64::MAX, |(began, _)| *began);
        while self.succeeded.front().is_some_and(|(when, _)| *when < oldest) {
            self.succeeded.pop_front();
        }
        pair
    }

    fn change(&mut self, pair: &Pair, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.pairs.get_mut(pair) else { return };
        change(entry);
        entry.notify();
        if entry.ours.is_empty() && entry.theirs.is_empty() {
            self.pairs.remove(pair);
        }
    }
}

impl Entry {
    fn has(&self, wanted: Theirs) -> bool {
        self.theirs.values().any(|theirs| *theirs == wanted)
    }

    fn notify(&self) {
        self.changed.send_replace(());
    }
}

impl Drop for OurCall {
    fn drop(&mut self) {
        self.calls.state().change(&self.pair, |entry| {
            entry.ours.remove(&self.number);
        });
    }
}

impl Drop for TheirCall {
    fn drop(&mut self) {
        let mut state = self.calls.state();
        let known = state.end_answer(self.number);
        if let Some(pair) = self.pair.take().or(known) {
            state.change(&pair, |entry| {
                entry.theirs.remove(&self.number);
            });
        }
    }
}
