//! Listening on TCP: handshakes run in the background, bounded in number and time, and only finished ones are given out.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use getrandom::SysRng;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::Config;
use crate::error::Error;
use crate::handshake::respond;
use crate::identity::PublicKey;
use crate::net::SimultaneousDial;
use crate::net::admission::{Admission, Place};
use crate::net::calls::TheirCall;
#[cfg(feature = "proxy-protocol")]
use crate::net::proxy::read_proxy_header;
use crate::net::rate::Rate;
use crate::role::Stage;
use crate::stream::{ConnectError, Establish, Milestone, Seen, Stream, linger, say_busy, told};

/// Accepts authenticated streams on a TCP address.
///
/// Handshakes run in the background, in the order in which peers get through them: a slow, dead or hostile one delays nobody.
/// The bounds and the deadline are those of the [`Config`]. At a bound the oldest handshake gives way to the newest: the oldest that has not said
/// HELLO, unless those that have said it hold more than half of the places. Dropping the listener ends the handshakes in flight, not the streams given out.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    door: Arc<Door>,
    accepted: Arc<Accepted>,
    admission: Arc<Admission>,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

/// A stream whose peer is authenticated and accepted, and how it came.
#[derive(Debug)]
#[non_exhaustive]
pub struct Arrival {
    /// The stream.
    pub stream: Stream<TcpStream>,
    /// The peer's address, from the PROXY header where there is one.
    pub address: SocketAddr,
    /// How long the handshake took, from the connection to our verdict.
    pub handshake: Duration,
}

/// A handshake that did not become a stream.
#[derive(Debug)]
#[non_exhaustive]
pub struct HandshakeFailure {
    /// The peer's address, from the PROXY header where there is one.
    pub address: SocketAddr,
    /// The peer's key, if it proved one.
    pub peer: Option<PublicKey>,
    /// The service that it named, if it got so far.
    pub service: Option<String>,
    /// Why.
    pub error: ConnectError,
    /// The rule by which our trust decided, if it was asked and said so.
    pub rule: Option<String>,
    /// How long it took, from the connection to its end.
    pub took: Duration,
    /// How many bytes of the handshake came. None come from who only looks whether somebody listens, as a balancer does.
    pub received: usize,
}

/// What a listener has seen since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandshakeStats {
    /// Connections that came in.
    pub started: u64,
    /// Of these, handshakes that are not finished.
    pub in_flight: u64,
    /// Streams that were authenticated and accepted.
    pub accepted: u64,
    /// Peers that were authenticated and refused.
    pub refused: u64,
    /// Handshakes that ran into the deadline.
    pub timed_out: u64,
    /// Handshakes that gave way to newer ones at a bound.
    pub gave_way: u64,
    /// Connections that were turned away because their address had begun too many handshakes in a second.
    pub over_rate: u64,
    /// Handshakes that failed in any other way.
    pub failed: u64,
    /// Connections that the system could not give us, for want of file descriptors for example.
    pub accept_errors: u64,
}

/// The socket that listens, until the listener is stopped.
#[derive(Debug)]
struct Door {
    socket: Mutex<Option<TcpListener>>,
    /// Who was there already when it was stopped.
    last: Mutex<Vec<(std::net::TcpStream, SocketAddr)>>,
    stopped: Notify,
}

/// Accepted streams that wait for the application. Semaphores count them, so that any number of tasks may wait.
#[derive(Debug)]
struct Accepted {
    streams: Mutex<VecDeque<Waiting>>,
    waiting: Semaphore,
    room: Arc<Semaphore>,
}

/// An accepted stream, and what is given back when the application takes it.
#[derive(Debug)]
struct Waiting {
    arrival: Arrival,
    _room: OwnedSemaphorePermit,
    _call: Option<TheirCall>,
}

/// A connection that came in.
struct Visit {
    /// The peer's; the proxy's, until it has said whom it speaks for.
    address: SocketAddr,
    proxied: bool,
    started: Instant,
}

#[derive(Debug, Default)]
struct Counters {
    started: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    timed_out: AtomicU64,
    gave_way: AtomicU64,
    over_rate: AtomicU64,
    failed: AtomicU64,
    accept_errors: AtomicU64,
}

type OnFailure = Arc<dyn Fn(&HandshakeFailure) + Send + Sync>;

/// What every handshake of a listener shares.
#[derive(Clone)]
struct Shared {
    config: Config,
    door: Arc<Door>,
    admission: Arc<Admission>,
    rate: Arc<Rate>,
    /// Room for listening to those who were turned away, so that they hear why.
    turned_away: Arc<Semaphore>,
    counters: Arc<Counters>,
    accepted: Arc<Accepted>,
    on_failure: OnFailure,
    dialing: Option<SimultaneousDial>,
}

impl Listener {
    /// Listens on a TCP address; port 0 takes a free one.
    ///
    /// # Errors
    /// Those of binding.
    pub async fn bind(address: impl ToSocketAddrs, config: Config) -> io::Result<Self> {
        Self::from_tcp(TcpListener::bind(address).await?, config, |_| {})
    }

    /// Listens on a socket of the application's, and tells `on_failure` of each handshake that fails. It is called from the
    /// handshake's task and should be quick.
    ///
    /// # Errors
    /// If the socket has no local address.
    pub fn from_tcp(
        listener: TcpListener,
        config: Config,
        on_failure: impl Fn(&HandshakeFailure) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::start(listener, config, on_failure, None)
    }

    pub(super) fn start(
        listener: TcpListener,
        config: Config,
        on_failure: impl Fn(&HandshakeFailure) + Send + Sync + 'static,
        dialing: Option<SimultaneousDial>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let admission = Admission::new(config.max_handshakes, config.max_handshakes_per_address);
        let counters = Arc::<Counters>::default();
        let accepted = Arc::new(Accepted {
            streams: Mutex::default(),
            waiting: Semaphore::new(0),
            room: Arc::new(Semaphore::new(ACCEPT_QUEUE)),
        });
        let door =
            Arc::new(Door { socket: Mutex::new(Some(listener)), last: Mutex::default(), stopped: Notify::new() });
        let rate = Arc::new(Rate::new(config.max_handshake_rate));
        let shared = Shared {
            config,
            rate,
            turned_away: Arc::new(Semaphore::new(MAX_TURNED_AWAY)),
            door: door.clone(),
            admission: admission.clone(),
            counters: counters.clone(),
            accepted: accepted.clone(),
            on_failure: Arc::new(on_failure),
            dialing,
        };
        let task = tokio::spawn(shared.listen());
        Ok(Listener { address, door, accepted, admission, counters, task })
    }

    /// The next stream whose peer is authenticated and accepted. Cancel-safe; may be called by several tasks.
    ///
    /// # Errors
    /// As [`Listener::arrival`].
    pub async fn accept(&self) -> io::Result<Stream<TcpStream>> {
        self.arrival().await.map(|arrival| arrival.stream)
    }

    /// As [`Listener::accept`], with what is known of how the stream came.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] once the listener is stopped and everything has been given out; else only if the background task is gone, as
    /// when its runtime shuts down.
    pub async fn arrival(&self) -> io::Result<Arrival> {
        let waited = self.accepted.waiting.acquire().await;
        let stopped = self.door.socket().is_none();
        match waited {
            Ok(permit) => permit.forget(),
            // Nothing more comes: what is there is still given out, if it was meant so.
            Err(_) if stopped => {}
            Err(_) => return Err(gone()),
        }
        // From here on nothing waits, so that nothing is lost if the future is dropped.
        let waiting = self.accepted.streams.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        waiting.map(|waiting| waiting.arrival).ok_or_else(|| if stopped { has_stopped() } else { gone() })
    }

    /// Takes no more connections than have come by now; these have reached the peers' side of the system, and are not lost. Handshakes in flight go on, and what becomes of them is given out with what waits already; after that
    /// `accept` fails. May be called again.
    pub fn stop(&self) {
        self.door.close(true);
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What it has seen.
    pub fn stats(&self) -> HandshakeStats {
        let counters = &self.counters;
        HandshakeStats {
            started: counters.started.load(Ordering::Relaxed),
            in_flight: u64::try_from(self.admission.in_flight()).unwrap_or(u64::MAX),
            accepted: counters.accepted.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            timed_out: counters.timed_out.load(Ordering::Relaxed),
            gave_way: counters.gave_way.load(Ordering::Relaxed),
            over_rate: counters.over_rate.load(Ordering::Relaxed),
            failed: counters.failed.load(Ordering::Relaxed),
            accept_errors: counters.accept_errors.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The port is free at once.
        self.door.close(false);
        self.task.abort();
    }
}

impl Door {
    fn socket(&self) -> MutexGuard<'_, Option<TcpListener>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the socket, after everybody who is there already was let in, if that is wanted.
    fn close(&self, last_call: bool) {
        let mut socket = self.socket();
        if let Some(Ok(socket)) = socket.take().map(TcpListener::into_std)
            && last_call
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            // It does not block; the first that says so is the end. One that has gone again is not.
            loop {
                match socket.accept() {
                    Ok(next) => last.push(next),
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(_) => break,
                }
            }
        }
        drop(socket);
        self.stopped.notify_one();
    }

    /// Who came last, once the listener is stopped.
    fn last(&self) -> Vec<(TcpStream, SocketAddr)> {
        let last = std::mem::take(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner));
        let ready = |(io, address): (std::net::TcpStream, _)| {
            io.set_nonblocking(true).ok()?;
            Some((TcpStream::from_std(io).ok()?, address))
        };
        last.into_iter().filter_map(ready).collect()
    }

    /// The next connection; `None` once the listener is stopped.
    async fn next(&self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        let poll_next = |cx: &mut Context<'_>| match &*self.socket() {
            Some(socket) => socket.poll_accept(cx).map(Some),
            None => Poll::Ready(None),
        };
        tokio::select! {
            biased;
            () = self.stopped.notified() => None,
            next = poll_fn(poll_next) => next,
        }
    }
}

impl Shared {
    async fn listen(self) {
        let mut handshakes = JoinSet::new();
        let _closing = CloseOnDrop(self.accepted.clone());
        while let Some(next) = self.door.next().await {
            match next {
                Ok((io, address)) => {
                    self.counters.started.fetch_add(1, Ordering::Relaxed);
                    self.admit(io, address, &mut handshakes);
                }
                Err(error) => {
                    self.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        // No descriptors or memory left: room is made, and time given.
                        self.admission.give_way();
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
            while let Some(ended) = handshakes.try_join_next() {
                self.ended(&ended);
            }
            // Handshakes with something to do come before the next connection.
            tokio::task::yield_now().await;
        }
        for (io, address) in self.door.last() {
            self.counters.started.fetch_add(1, Ordering::Relaxed);
            self.admit(io, address, &mut handshakes);
        }
        while let Some(ended) = handshakes.join_next().await {
            self.ended(&ended);
        }
    }

    /// A trust decision of the application that panics ends its own handshake only.
    fn ended(&self, ended: &Result<(), JoinError>) {
        if ended.is_err() {
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Begins a handshake, or turns the connection away.
    fn admit(&self, io: TcpStream, address: SocketAddr, handshakes: &mut JoinSet<()>) {
        // The application's word, which may panic: that ends this connection only.
        let Ok(proxied) = catch_unwind(AssertUnwindSafe(|| self.config.is_proxy(address.ip()))) else {
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let visit = Visit { address, proxied, started: Instant::now() };
        if !proxied && !self.rate.admits(address.ip(), visit.started) {
            handshakes.spawn(self.clone().turn_away(io, visit, ConnectError::OverRate));
            return;
        }
        let (place, give_way) = self.admission.admit((!proxied).then(|| address.ip()));
        handshakes.spawn(self.clone().handshake(io, visit, place, give_way));
    }

    /// Ends a connection whose handshake does not begin, and tells it so if that is because we are busy. It has no place, and takes none.
    async fn turn_away(self, mut io: TcpStream, visit: Visit, error: ConnectError) {
        let room = self.turned_away.try_acquire();
        let busy = matches!(error, ConnectError::GaveWay { .. } | ConnectError::OverRate);
        // [NK-3]
        let answers = busy && self.config.network_key.is_none();
        if answers {
            say_busy(&mut io).await;
        }
        self.report(&visit, Seen::new(Stage::Hello), error);
        if answers && room.is_ok() {
            linger(io).await;
        }
    }

    /// Reads for whom the proxy speaks.
    async fn introduce(
        &self,
        io: &mut TcpStream,
        visit: &mut Visit,
        place: &Place,
        give_way: &mut oneshot::Receiver<()>,
    ) -> Result<(), ConnectError> {
        let stage = Stage::Hello;
        let mut give_way = Some(give_way);
        let read = tokio::select! {
            biased;
            read = timeout_at(visit.started + self.config.handshake_timeout, read_proxy_header(io)) => read,
            () = told(&mut give_way) => return Err(ConnectError::GaveWay { stage }),
        };
        let source = read.map_err(|_| ConnectError::Timeout { stage: Some(stage) })?.map_err(|error| {
            let text = format!("no PROXY header from {}: {error}", visit.address.ip());
            ConnectError::Io { stage: Some(stage), error: io::Error::new(error.kind(), text) }
        })?;
        if let Some(source) = source {
            visit.address = source;
            if !self.rate.admits(source.ip(), Instant::now()) {
                return Err(ConnectError::OverRate);
            }
            place.belongs_to(source.ip());
        }
        Ok(())
    }

    async fn handshake(self, mut io: TcpStream, mut visit: Visit, place: Place, mut give_way: oneshot::Receiver<()>) {
        if visit.proxied
            && let Err(error) = self.introduce(&mut io, &mut visit, &place, &mut give_way).await
        {
            drop(place);
            return self.turn_away(io, visit, error).await;
        }
        let mut seen = Seen::new(Stage::Hello);
        let Err((error, io)) = self.establish(io, &visit, &place, &mut give_way, &mut seen).await else {
            return;
        };
        // Who gave way must not take room any longer; the others are listened to while there is room.
        // One that may get no answer has been listened to already.
        let io = io.filter(|_| !seen.silent && !matches!(error, ConnectError::GaveWay { .. }));
        self.report(&visit, seen, error);
        if let Some(io) = io {
            let mut give_way = Some(&mut give_way);
            tokio::select! {
                () = linger(io) => {}
                () = told(&mut give_way) => {}
            }
        }
        drop(place);
    }

    /// Runs the handshake and puts the stream into the place that was reserved for it.
    async fn establish(
        &self,
        io: TcpStream,
        visit: &Visit,
        place: &Place,
        give_way: &mut oneshot::Receiver<()>,
        seen: &mut Seen,
    ) -> Result<(), (ConnectError, Option<TcpStream>)> {
        // Flights are written whole; waiting for more would only add a delay.
        io.set_nodelay(true).map_err(|error| (ConnectError::Io { stage: Some(Stage::Hello), error }, None))?;
        let ruled = self.dialing.as_ref().map(|dialing| dialing.answer(&self.config));
        let (config, mut call) =
            ruled.map_or_else(|| (self.config.clone(), None), |(config, call)| (config, Some(call)));
        let left = self.config.handshake_timeout.saturating_sub(visit.started.elapsed());
        let step = respond(&config, &mut SysRng).map_err(|failure| (failure.into(), None))?;
        let establish = Establish {
            io,
            config: &config,
            address: Some(visit.address),
            eager: false,
            first: &[],
            room: Some(self.accepted.room.clone()),
            give_way: Some(give_way),
            seen,
            observer: &|milestone| {
                if matches!(milestone, Milestone::Waiting { stage: Stage::AuthI }) {
                    place.said_hello();
                }
            },
        };
        let established = establish.run(step, BytesMut::new(), left).await;
        let (stream, room) = established.map_err(|(error, io)| (error, Some(io)))?;
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        if let Some(room) = room {
            if let Some(call) = &mut call {
                call.established();
            }
            let arrival = Arrival { stream, address: visit.address, handshake: visit.started.elapsed() };
            let waiting = Waiting { arrival, _room: room, _call: call };
            self.accepted.streams.lock().unwrap_or_else(PoisonError::into_inner).push_back(waiting);
            self.accepted.waiting.add_permits(1);
        }
        Ok(())
    }

    fn report(&self, visit: &Visit, seen: Seen, error: ConnectError) {
        self.count(&error);
        (self.on_failure)(&HandshakeFailure {
            address: visit.address,
            peer: seen.peer,
            service: seen.service,
            error,
            rule: seen.rule,
            took: visit.started.elapsed(),
            received: seen.received,
        });
    }

    fn count(&self, error: &ConnectError) {
        let counter = match error {
            ConnectError::Timeout { .. } => &self.counters.timed_out,
            ConnectError::GaveWay { .. } => &self.counters.gave_way,
            ConnectError::OverRate => &self.counters.over_rate,
            ConnectError::Protocol(failure) if matches!(failure.error, Error::Denied(_)) => &self.counters.refused,
            ConnectError::Io { .. } | ConnectError::Protocol(_) => &self.counters.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Nobody is known to be a proxy.
#[cfg(not(feature = "proxy-protocol"))]
async fn read_proxy_header(_: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    Ok(None)
}

fn has_stopped() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the listener has stopped")
}

fn gone() -> io::Error {
    io::Error::other("the listener's runtime has shut down")
}

/// Lets `accept` know that nothing more will come.
struct CloseOnDrop(Arc<Accepted>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.waiting.close();
        self.0.room.close();
    }
}

/// Accepted streams that wait for the application.
const ACCEPT_QUEUE: usize = 128;
/// Connections over the rate that are listened to for a moment.
const MAX_TURNED_AWAY: usize = 64;
/// How long accepting pauses when the system has no connection for us.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
