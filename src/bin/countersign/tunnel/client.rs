//! `tunnel client`: plain connections come in, and each is carried over a session of its own.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use countersign::identity::Name;
use countersign::net::read_proxy_header;
use countersign::stream::ConnectError;
use countersign::{Config, PublicKey, Stream};
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout_at};

use crate::connect::{Callee, Who, check_address};
use crate::report::Report;
use crate::tunnel::args::ClientArgs;
use crate::tunnel::book::{Book, Most, Side, Tunnel, Working, full};
use crate::tunnel::failures::{Call, Failures};
use crate::tunnel::plain::Plain;
use crate::tunnel::process::Shared;
use crate::tunnel::server::is_in;
use crate::tunnel::session::{Bounds, Stage, ending, facts, log_end, run};
use crate::tunnel::socks::{self, Asked};
use crate::tunnel::spare::{Spares, Supply};
use crate::watch::Watched;

/// A client that is ready to be started: everything it needs is loaded.
pub struct Prepared(Arc<Inner>);

/// Where plain connections come in.
pub enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

struct Inner {
    caller: Arc<Caller>,
    tunnel: Arc<Tunnel>,
    book: Arc<Book>,
    /// `None`: SOCKS.
    service: Option<String>,
    most: usize,
    spare: u16,
    spare_age: Duration,
    bounds: Bounds,
    proxies: Vec<IpNet>,
    patience: Duration,
    failures: Arc<Failures>,
    stage: watch::Receiver<Stage>,
}

/// A connection that did not say what it has to say first.
enum Unclear {
    /// It only looked whether somebody listens, as balancers do.
    Empty,
    /// A word for it, and what is wrong.
    Malformed(&'static str, String),
}

impl Unclear {
    fn late(what: &str) -> Self {
        Unclear::Malformed("timeout", format!("no whole {what} came within --timeout"))
    }
}

/// Calls the server.
pub struct Caller {
    config: Config,
    peer: Who,
    name: Option<Name>,
    target: String,
    eager: bool,
}

/// Loads everything.
pub fn prepare(args: ClientArgs, name: &str, shared: &Shared) -> Result<(Prepared, Vec<Watched>), Report> {
    check_address(&args.target).map_err(|report| report.within("--target"))?;
    if args.target == args.listen {
        return Err(Report::usage(format!("--target {}: that is where this tunnel listens itself", args.target)));
    }
    let callee = Callee {
        peer: args.peer.as_deref(),
        cas: &args.cert.cas,
        name: args.peer_name.as_deref(),
        address: &args.target,
    };
    let ((peer, mut watched), peer_name) = (callee.watched_peer()?, callee.name()?);
    let (trust, others) = callee.trust(&peer)?;
    watched.extend(others);
    let (signer, own) = shared.signer(&args.own, &args.cert)?;
    watched.extend(own);
    let config = args.own.settings.config(signer, trust, &[])?;
    let caller = Caller { config, peer, name: peer_name, target: args.target, eager: args.eager };
    let most = args.sessions.max_sessions;
    let inner = Inner {
        caller: Arc::new(caller),
        tunnel: shared.book.tunnel(name, Side::Client),
        book: shared.book.clone(),
        service: args.service,
        most,
        spare: args.spare,
        spare_age: Duration::from_secs(args.spare_age),
        bounds: Bounds::new(&args.sessions),
        proxies: args.sessions.proxy_in,
        patience: Duration::from_secs(args.own.settings.timeout),
        failures: shared.failures.clone(),
        stage: shared.stage.subscribe(),
    };
    Ok((Prepared(Arc::new(inner)), watched))
}

impl Caller {
    /// For the log.
    pub fn describe<'a>(&'a self, from: &'a str, service: &'a str) -> Call<'a> {
        Call { from, to: &self.target, service, own: self.config.public_key() }
    }

    /// Who we are at the moment.
    pub fn key(&self) -> PublicKey {
        self.config.public_key()
    }

    /// Eager or not as wanted; a spare gains nothing by it.
    pub async fn call(&self, service: &str, eager: bool) -> Result<Stream<TcpStream>, ConnectError> {
        let mut call = self.config.connect(self.target.clone()).service(service);
        if let Some(peer) = self.peer.now() {
            call = call.peer(peer);
        }
        if let Some(name) = self.name.clone() {
            call = call.peer_name(name);
        }
        if eager {
            call = call.eager();
        }
        call.await
    }
}

impl Prepared {
    /// Takes connections until it is told to stop; sessions go on after that.
    pub fn start(self, door: Door, mut stop: watch::Receiver<bool>) {
        let inner = self.0;
        // Without a gap until the last session is over, so that a drain waits for each.
        let letting_in = inner.book.work();
        tokio::spawn(async move {
            let spares = match (&inner.service, inner.spare) {
                (Some(service), 1..) => Some(Spares::start(Supply {
                    caller: inner.caller.clone(),
                    service: service.clone(),
                    tunnel: inner.tunnel.clone(),
                    book: inner.book.clone(),
                    count: inner.spare,
                    age: inner.spare_age,
                    failures: inner.failures.clone(),
                    failed: AtomicU32::new(0),
                })),
                _ => None,
            };
            let spares = spares.map(Arc::new);
            loop {
                let accepted = tokio::select! {
                    biased;
                    () = stopped(&mut stop) => break,
                    accepted = door.accept() => accepted,
                };
                match accepted {
                    Ok((plain, from)) => inner.begin(plain, from, spares.clone()),
                    Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        inner.failures.of_plain(&inner.tunnel, "?", "accept", error);
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
            for (plain, from) in door.last() {
                inner.begin(plain, from, spares.clone());
            }
            drop((spares, letting_in));
        });
    }
}

impl Door {
    /// Where it is, as an address or `unix:PATH`.
    pub fn address(&self) -> String {
        match self {
            Door::Tcp(listener) => listener.local_addr().map(|address| address.to_string()).unwrap_or_default(),
            Door::Unix(listener) => {
                let path = listener.local_addr().ok();
                let path = path.as_ref().and_then(|address| address.as_pathname());
                path.map(|path| format!("unix:{}", path.display())).unwrap_or_default()
            }
        }
    }

    /// Closes it. Whoever is there already comes out: to them it has been open.
    fn last(self) -> Vec<(Plain, String)> {
        match self {
            Door::Tcp(listener) => {
                let Ok(listener) = listener.into_std() else { return Vec::new() };
                let ready = |(socket, from): (std::net::TcpStream, SocketAddr)| {
                    socket.set_nonblocking(true)?;
                    Ok((Plain::tcp(TcpStream::from_std(socket)?)?, from.to_string()))
                };
                all_waiting(|| listener.accept(), ready)
            }
            Door::Unix(listener) => {
                let Ok(listener) = listener.into_std() else { return Vec::new() };
                let ready = |(socket, _): (std::os::unix::net::UnixStream, _)| {
                    socket.set_nonblocking(true)?;
                    UnixStream::from_std(socket).map(of_unix)
                };
                all_waiting(|| listener.accept(), ready)
            }
        }
    }

    /// The next connection, and where it comes from.
    pub async fn accept(&self) -> io::Result<(Plain, String)> {
        match self {
            Door::Tcp(listener) => {
                let (socket, from) = listener.accept().await?;
                Ok((Plain::tcp(socket)?, from.to_string()))
            }
            Door::Unix(listener) => listener.accept().await.map(|(socket, _)| of_unix(socket)),
        }
    }
}

/// All that can be accepted without waiting. One that has gone again is not the end of them.
fn all_waiting<S, T>(accept: impl Fn() -> io::Result<S>, ready: impl Fn(S) -> io::Result<T>) -> Vec<T> {
    let mut all = Vec::new();
    loop {
        match accept() {
            Ok(socket) => all.extend(ready(socket).ok()),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(_) => return all,
        }
    }
}

fn of_unix(socket: UnixStream) -> (Plain, String) {
    let who = socket.peer_cred().map(|peer| format!("unix:uid={}", peer.uid()));
    (Plain::Unix(socket), who.unwrap_or_else(|_| "unix".to_string()))
}

impl Inner {
    fn begin(self: &Arc<Self>, plain: Plain, from: String, spares: Option<Arc<Spares>>) {
        tokio::spawn(self.clone().carry(plain, from, spares, self.book.work()));
    }

    /// What comes before and after a session is boxed: it takes no part of the memory that the session needs while it lasts. A drain waits for it as long
    /// as the last lasts.
    async fn carry(self: Arc<Self>, plain: Plain, from: String, spares: Option<Arc<Spares>>, _working: Working) {
        let Some(_place) = self.tunnel.place(self.most) else {
            self.failures.of_plain(&self.tunnel, &from, "busy", full(self.most));
            return plain.reset();
        };
        let mut stage = self.stage.clone();
        let (mut plain, mut from) = (plain, from);
        let deadline = tokio::time::Instant::now() + self.patience;
        let introduced = tokio::select! {
            introduced = timeout_at(deadline, Box::pin(self.introduce(&mut plain, &mut from))) => introduced,
            () = ending(&mut stage) => return plain.reset(),
        };
        if let Err(unclear) = introduced.unwrap_or_else(|_| Err(Unclear::late("PROXY header"))) {
            self.say_unclear(&from, unclear);
            return plain.reset();
        }
        let asked = tokio::select! {
            asked = timeout_at(deadline, Box::pin(self.ask(plain))) => asked,
            () = ending(&mut stage) => return,
        };
        let (service, asked) = match asked.unwrap_or_else(|_| Err(Unclear::late("SOCKS5 request"))) {
            Ok(asked) => asked,
            Err(unclear) => return self.say_unclear(&from, unclear),
        };
        let connected = tokio::select! {
            connected = Box::pin(self.connect(&service, &from, spares)) => connected,
            () = ending(&mut stage) => return Box::pin(asked.stop()).await,
        };
        let stream = match connected {
            Ok(stream) => stream,
            Err(error) => return Box::pin(asked.refuse(&error)).await,
        };
        let plain = match Box::pin(asked.accept()).await {
            Ok(plain) => plain,
            Err(why) => return self.failures.of_plain(&self.tunnel, &from, "reset", why),
        };
        let facts = facts(&stream, from, self.caller.target.clone());
        // The places have been counted already.
        let most = Most { sessions: usize::MAX, of_peer: 0 };
        if let Ok(entry) = self.tunnel.begin(&self.book, most, facts) {
            let end = run(stream, plain, &entry, &self.bounds, &mut stage).await;
            if end.refused {
                // It was counted as accepted when an eager call returned.
                self.tunnel.handshakes.add(("refused", end.cause));
            }
            log_end(&entry.session, &end);
        }
    }

    /// Reads where a connection comes from, if a balancer says it.
    async fn introduce(&self, plain: &mut Plain, from: &mut String) -> Result<(), Unclear> {
        let Plain::Tcp(socket) = plain else { return Ok(()) };
        if from.parse().is_ok_and(|address: SocketAddr| is_in(&self.proxies, address.ip())) {
            says_something(socket).await?;
            let source = read_proxy_header(socket).await;
            let source = source
                .map_err(|error| Unclear::Malformed("proxy_header", format!("no PROXY header from {from}: {error}")))?;
            if let Some(source) = source {
                *from = source.to_string();
            }
        }
        Ok(())
    }

    /// The service that a connection is for.
    async fn ask(&self, plain: Plain) -> Result<(String, Asked), Unclear> {
        match &self.service {
            Some(service) => Ok((service.clone(), Asked::Plainly(plain))),
            None => {
                if let Plain::Tcp(socket) = &plain {
                    says_something(socket).await?;
                }
                socks::ask(plain).await.map_err(|why| Unclear::Malformed("malformed", why))
            }
        }
    }

    fn say_unclear(&self, from: &str, unclear: Unclear) {
        match unclear {
            Unclear::Empty => self.tunnel.ended.add("empty"),
            Unclear::Malformed(cause, why) => self.failures.of_plain(&self.tunnel, from, cause, why),
        }
    }

    /// A session for the service: one that is ready, or a new one.
    async fn connect(
        &self,
        service: &str,
        from: &str,
        spares: Option<Arc<Spares>>,
    ) -> Result<Stream<TcpStream>, ConnectError> {
        if let Some(spares) = spares
            && let Some(stream) = spares.take().await
        {
            return Ok(stream);
        }
        let started = Instant::now();
        let called = self.caller.call(service, self.caller.eager).await;
        match &called {
            Ok(_) => self.tunnel.shook_hands(started.elapsed()),
            Err(error) => {
                let call = self.caller.describe(from, service);
                self.failures.of_client(&self.tunnel, &call, error, started.elapsed());
            }
        }
        called
    }
}

/// Whether anything comes at all.
async fn says_something(socket: &TcpStream) -> Result<(), Unclear> {
    if socket.peek(&mut [0]).await.is_ok_and(|len| len > 0) { Ok(()) } else { Err(Unclear::Empty) }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
