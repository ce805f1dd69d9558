//! What is going on: the tunnels of this process, their sessions, and what is counted. Read by the log, the metrics and the status page.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use countersign::PublicKey;
use countersign::identity::Peer;
use countersign::reload::ReloadStats;

use tokio::time::MissedTickBehavior;

use crate::tunnel::histogram::Histogram;
use crate::watch::Watched;

/// The whole process.
#[derive(Debug)]
pub struct Book {
    pub started: SystemTime,
    tunnels: Mutex<BTreeMap<(String, Side), Arc<Tunnel>>>,
    sessions: Mutex<BTreeMap<u64, Arc<Session>>>,
    next: AtomicU64,
    history: Mutex<VecDeque<Point>>,
    /// The files that are watched, with the names of the tunnels that they are for.
    watched: Mutex<Vec<(String, Arc<Watched>)>>,
    configuration: Mutex<ReloadStats>,
    working: AtomicU64,
}

/// Somebody is at work on a session, from before it begins until its line is in the log; or lets sessions in.
#[derive(Debug)]
pub struct Working(Arc<Book>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    Server,
    Client,
}

/// One tunnel: kept when its configuration is loaded again.
#[derive(Debug)]
pub struct Tunnel {
    pub name: String,
    pub side: Side,
    listen: Mutex<String>,
    pub live: AtomicU64,
    pub total: AtomicU64,
    pub received: AtomicU64,
    pub sent: AtomicU64,
    pub rekeys_received: AtomicU64,
    pub rekeys_sent: AtomicU64,
    pub spare: AtomicU64,
    /// By how they came out and why.
    pub handshakes: Tally<(&'static str, &'static str)>,
    pub ended: Tally<&'static str>,
    pub handshake_time: Histogram,
    peers: Mutex<HashMap<PublicKey, usize>>,
    /// Plain connections, with or without a session yet.
    connections: AtomicUsize,
}

/// A place for a plain connection, given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<Tunnel>);

/// How many sessions there may be at a time.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    pub sessions: usize,
    /// 0 is no bound.
    pub of_peer: usize,
}

/// Counts by what is counted. There are few different ones.
#[derive(Debug)]
pub struct Tally<K>(Mutex<BTreeMap<K, u64>>);

/// A session that is going on.
#[derive(Debug)]
pub struct Session {
    pub tunnel: Arc<Tunnel>,
    pub facts: Facts,
    pub traffic: Traffic,
}

/// What does not change.
#[derive(Debug)]
pub struct Facts {
    pub id: String,
    pub peer: Peer,
    pub service: String,
    pub from: String,
    pub to: String,
    pub started: SystemTime,
    pub clock: Instant,
}

/// What does.
#[derive(Debug)]
pub struct Traffic {
    tunnel: Arc<Tunnel>,
    received: AtomicU64,
    sent: AtomicU64,
    rekeys_received: AtomicU64,
    rekeys_sent: AtomicU64,
    started: Instant,
    /// Milliseconds from the start to when data last went either way.
    last: AtomicU64,
}

/// A second of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Point {
    pub time: f64,
    pub sessions: u64,
    pub received: f64,
    pub sent: f64,
    pub accepted: u64,
    pub refused: u64,
}

/// A session in the book; out of it when dropped.
#[derive(Debug)]
pub struct Entry {
    book: Arc<Book>,
    number: u64,
    pub session: Arc<Session>,
}

impl Book {
    pub fn new() -> Arc<Self> {
        Arc::new(Book {
            started: SystemTime::now(),
            tunnels: Mutex::default(),
            sessions: Mutex::default(),
            next: AtomicU64::new(0),
            history: Mutex::default(),
            watched: Mutex::default(),
            configuration: Mutex::default(),
            working: AtomicU64::new(0),
        })
    }

    /// Somebody begins to work on a session, or waits for those that come.
    pub fn work(self: &Arc<Self>) -> Working {
        self.working.fetch_add(1, Ordering::Relaxed);
        Working(self.clone())
    }

    /// How many are at work.
    pub fn working(&self) -> u64 {
        self.working.load(Ordering::Relaxed)
    }

    /// How the loading of the configuration gets on.
    pub fn configuration(&self) -> ReloadStats {
        lock(&self.configuration).clone()
    }

    /// It was loaded again, or could not be; returns whether the failure is a new one.
    pub fn reloaded(&self, failure: Option<&str>) -> bool {
        let mut stats = lock(&self.configuration);
        let new = stats.failing.as_deref() != failure;
        match failure {
            None => stats.reloads += 1,
            Some(_) => stats.failures += u64::from(new),
        }
        stats.failing = failure.map(str::to_string);
        new
    }

    /// The page of a tunnel, a new one unless there is one with this name.
    pub fn tunnel(&self, name: &str, side: Side) -> Arc<Tunnel> {
        let mut tunnels = lock(&self.tunnels);
        tunnels.entry((name.to_string(), side)).or_insert_with(|| Arc::new(Tunnel::new(name, side))).clone()
    }

    /// Forgets tunnels that are not run any more and have no sessions.
    pub fn keep(&self, running: &[(String, Side)]) {
        lock(&self.tunnels).retain(|key, tunnel| running.contains(key) || tunnel.live.load(Ordering::Relaxed) > 0);
    }

    pub fn tunnels(&self) -> Vec<Arc<Tunnel>> {
        lock(&self.tunnels).values().cloned().collect()
    }

    /// How many sessions are going on.
    pub fn live(&self) -> usize {
        lock(&self.sessions).len()
    }

    /// The newest sessions, at most so many.
    pub fn newest(&self, most: usize) -> Vec<Arc<Session>> {
        lock(&self.sessions).values().rev().take(most).cloned().collect()
    }

    pub fn set_watched(&self, watched: Vec<(String, Arc<Watched>)>) {
        *lock(&self.watched) = watched;
    }

    pub fn watched(&self) -> Vec<(String, Arc<Watched>)> {
        lock(&self.watched).clone()
    }

    pub fn history(&self) -> Vec<Point> {
        lock(&self.history).iter().copied().collect()
    }

    /// Notes a point of the history each second, until it is dropped.
    pub async fn note_history(&self) {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut before, mut at) = (self.totals(), Instant::now());
        loop {
            every.tick().await;
            let seconds = at.elapsed().as_secs_f64();
            if seconds <= 0.0 {
                continue;
            }
            at = Instant::now();
            let now = self.totals();
            let rate = |now: u64, before: u64| rounded(now.saturating_sub(before)) / seconds;
            let point = Point {
                time: since_1970(SystemTime::now()),
                sessions: u64::try_from(self.live()).unwrap_or(u64::MAX),
                received: rate(now.received, before.received),
                sent: rate(now.sent, before.sent),
                accepted: now.accepted.saturating_sub(before.accepted),
                refused: now.refused.saturating_sub(before.refused),
            };
            before = now;
            let mut history = lock(&self.history);
            history.push_back(point);
            if history.len() > HISTORY {
                history.pop_front();
            }
        }
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for tunnel in self.tunnels() {
            totals.received += tunnel.received.load(Ordering::Relaxed);
            totals.sent += tunnel.sent.load(Ordering::Relaxed);
            for ((outcome, reason), count) in tunnel.handshakes.all() {
                match (outcome, reason) {
                    ("accepted", _) => totals.accepted += count,
                    (_, "empty") => {}
                    _ => totals.refused += count,
                }
            }
        }
        totals
    }
}

#[derive(Default)]
struct Totals {
    received: u64,
    sent: u64,
    accepted: u64,
    refused: u64,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Side::Server => "server",
            Side::Client => "client",
        }
    }
}

impl Tunnel {
    fn new(name: &str, side: Side) -> Self {
        Tunnel {
            name: name.to_string(),
            side,
            listen: Mutex::default(),
            live: AtomicU64::new(0),
            total: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            rekeys_received: AtomicU64::new(0),
            rekeys_sent: AtomicU64::new(0),
            spare: AtomicU64::new(0),
            handshakes: Tally::default(),
            ended: Tally::default(),
            handshake_time: Histogram::default(),
            peers: Mutex::default(),
            connections: AtomicUsize::new(0),
        }
    }

    /// A place for a plain connection, unless there are too many.
    pub fn place(self: &Arc<Self>, most: usize) -> Option<Place> {
        let below = |taken: usize| (taken < most).then_some(taken + 1);
        self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).ok()?;
        Some(Place(self.clone()))
    }

    /// Where it listens.
    pub fn listen(&self) -> String {
        lock(&self.listen).clone()
    }

    /// It listens there by now.
    pub fn listens(&self, address: &str) {
        *lock(&self.listen) = address.to_string();
    }

    /// A handshake came out well.
    pub fn shook_hands(&self, took: Duration) {
        self.handshakes.add(("accepted", "ok"));
        self.handshake_time.add(took);
    }

    /// Whether there is room for one more; if not, which bound is met. Under it nothing is promised: many may be asking.
    pub fn room(&self, most: Most, peer: &PublicKey) -> Result<(), String> {
        if self.live.load(Ordering::Relaxed) >= u64::try_from(most.sessions).unwrap_or(u64::MAX) {
            return Err(full(most.sessions));
        }
        let theirs = lock(&self.peers).get(peer).copied().unwrap_or_default();
        if most.of_peer > 0 && theirs >= most.of_peer { Err(full_of_peer(most.of_peer)) } else { Ok(()) }
    }

    /// Enters a session, unless there are too many.
    pub fn begin(self: &Arc<Self>, book: &Arc<Book>, most: Most, facts: Facts) -> Result<Entry, Box<(Facts, String)>> {
        let bound = u64::try_from(most.sessions).unwrap_or(u64::MAX);
        {
            let mut peers = lock(&self.peers);
            let key = *facts.peer.public_key();
            if most.of_peer > 0 && peers.get(&key).is_some_and(|theirs| *theirs >= most.of_peer) {
                return Err(Box::new((facts, full_of_peer(most.of_peer))));
            }
            if self.live.load(Ordering::Relaxed) >= bound {
                return Err(Box::new((facts, full(most.sessions))));
            }
            // Under the lock, so that the bound is never passed.
            *peers.entry(key).or_default() += 1;
            self.live.fetch_add(1, Ordering::Relaxed);
        }
        self.total.fetch_add(1, Ordering::Relaxed);
        let number = book.next.fetch_add(1, Ordering::Relaxed);
        let traffic = Traffic {
            tunnel: self.clone(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            rekeys_received: AtomicU64::new(0),
            rekeys_sent: AtomicU64::new(0),
            started: facts.clock,
            last: AtomicU64::new(0),
        };
        let session = Arc::new(Session { tunnel: self.clone(), facts, traffic });
        lock(&book.sessions).insert(number, session.clone());
        Ok(Entry { book: book.clone(), number, session })
    }

    fn end(&self, peer: &PublicKey) {
        let mut peers = lock(&self.peers);
        self.live.fetch_sub(1, Ordering::Relaxed);
        if let Some(theirs) = peers.get_mut(peer) {
            *theirs -= 1;
            if *theirs == 0 {
                peers.remove(peer);
            }
        }
    }
}

pub fn full(most: usize) -> String {
    format!("there are as many sessions as --max-sessions allows, {most}")
}

fn full_of_peer(most: usize) -> String {
    format!("this peer has as many sessions as --max-sessions-per-peer allows, {most}")
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.book.sessions).remove(&self.number);
        self.session.tunnel.end(self.session.facts.peer.public_key());
    }
}

impl Traffic {
    pub fn received(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.received.fetch_add(bytes, Ordering::Relaxed);
        self.tunnel.received.fetch_add(bytes, Ordering::Relaxed);
        self.touch();
    }

    pub fn sent(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        self.tunnel.sent.fetch_add(bytes, Ordering::Relaxed);
        self.touch();
    }

    /// How often each direction has changed keys by now.
    pub fn rekeyed(&self, (sent, received): (u64, u64)) {
        for (now, own, all) in [
            (sent, &self.rekeys_sent, &self.tunnel.rekeys_sent),
            (received, &self.rekeys_received, &self.tunnel.rekeys_received),
        ] {
            if own.load(Ordering::Relaxed) != now {
                let before = own.swap(now, Ordering::Relaxed);
                all.fetch_add(now.saturating_sub(before), Ordering::Relaxed);
            }
        }
    }

    /// Bytes received and sent.
    pub fn bytes(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }

    pub fn rekeys(&self) -> u64 {
        self.rekeys_received.load(Ordering::Relaxed) + self.rekeys_sent.load(Ordering::Relaxed)
    }

    /// For how long no data went either way.
    pub fn idle(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }

    /// Returns when no data went either way for so long.
    pub async fn until_idle(&self, limit: Duration) {
        loop {
            let left = limit.saturating_sub(self.idle());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    fn touch(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }
}

impl<K: Ord + Clone> Tally<K> {
    pub fn add(&self, key: K) {
        *lock(&self.0).entry(key).or_default() += 1;
    }

    pub fn all(&self) -> Vec<(K, u64)> {
        lock(&self.0).iter().map(|(key, count)| (key.clone(), *count)).collect()
    }
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Tally(Mutex::default())
    }
}

/// Seconds since 1970, for JSON.
pub fn since_1970(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// As near as a float comes.
pub fn rounded(count: u64) -> f64 {
    // Twice 32 bits, which a float holds exactly.
    let (high, low) = (u32::try_from(count >> 32).unwrap_or(u32::MAX), u32::try_from(count & 0xffff_ffff).unwrap_or(0));
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Five minutes.
const HISTORY: usize = 300;
