//! `tunnel server`: sessions come in, and each is handed to the service that it asks for.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use countersign::error::Alert;
use countersign::net::{Arrival, HandshakeFailure, proxy_header_v1, proxy_header_v2};
use countersign::{Config, Listener, Stream};
use ipnet::IpNet;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::report::{Report, is_exhausted};
use crate::tunnel::args::{ProxyVersion, ServerArgs};
use crate::tunnel::book::{Book, Entry, Most, Side, Tunnel, Working};
use crate::tunnel::failures::Failures;
use crate::tunnel::limits::WhileRoom;
use crate::tunnel::plain::Plain;
use crate::tunnel::process::Shared;
use crate::tunnel::session::{Bounds, End, Stage, UNREACHABLE, break_off, ending, facts, log_end, log_refused, run};
use crate::tunnel::target::{Route, Target};
use crate::watch::Watched;
use crate::whom::Whom;

/// A server that is ready to be started: everything it needs is loaded.
pub struct Prepared {
    config: Config,
    inner: Arc<Inner>,
}

struct Inner {
    tunnel: Arc<Tunnel>,
    book: Arc<Book>,
    routes: HashMap<String, Target>,
    most: Most,
    bounds: Bounds,
    /// How long a service may take to answer.
    patience: Duration,
    proxy_out: Option<ProxyVersion>,
    failures: Arc<Failures>,
    stage: watch::Receiver<Stage>,
}

/// Loads everything.
pub fn prepare(args: ServerArgs, name: &str, shared: &Shared) -> Result<(Prepared, Vec<Watched>), Report> {
    let (trust, mut watched) =
        Whom { trust: args.trust.as_deref(), cas: &args.cert.cas, names: &args.peer_names }.open()?;
    let (signer, own) = shared.signer(&args.own, &args.cert)?;
    watched.extend(own);
    let routes = routes(args.routes)?;
    let most = Most { sessions: args.sessions.max_sessions, of_peer: args.max_sessions_per_peer };
    let tunnel = shared.book.tunnel(name, Side::Server);
    let trust = WhileRoom { trust, tunnel: tunnel.clone(), most };
    let services: Vec<String> = routes.keys().cloned().collect();
    let mut config = args
        .own
        .settings
        .config(signer, trust, &services)?
        .max_handshakes(args.max_handshakes)
        .max_handshakes_per_address(args.max_handshakes_per_address)
        .max_handshake_rate(args.max_handshake_rate);
    let proxies = args.sessions.proxy_in.clone();
    if !proxies.is_empty() {
        config = config.behind_proxy(move |address| is_in(&proxies, address));
    }
    let inner = Inner {
        tunnel,
        book: shared.book.clone(),
        routes,
        most,
        bounds: Bounds::new(&args.sessions),
        patience: Duration::from_secs(args.own.settings.timeout),
        proxy_out: args.proxy_out,
        failures: shared.failures.clone(),
        stage: shared.stage.subscribe(),
    };
    Ok((Prepared { config, inner: Arc::new(inner) }, watched))
}

fn routes(given: Vec<Route>) -> Result<HashMap<String, Target>, Report> {
    let mut routes = HashMap::new();
    for Route { service, target } in given {
        if routes.insert(service.clone(), target).is_some() {
            return Err(Report::usage(format!("--route: the service {service:?} is there twice")));
        }
    }
    Ok(routes)
}

/// Whether an address is in one of the networks.
pub fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

impl Prepared {
    /// Listens, until the handle is stopped; sessions go on after that.
    pub fn start(self, socket: TcpListener) -> io::Result<Arc<Listener>> {
        let Prepared { config, inner } = self;
        let told = inner.clone();
        let listener = Arc::new(Listener::from_tcp(socket, config, move |failure| told.failed(failure))?);
        let arriving = listener.clone();
        // Without a gap until the last session is over, so that a drain waits for each.
        let letting_in = inner.book.work();
        tokio::spawn(async move {
            // Fails once it has stopped and everything that was accepted has been given out.
            while let Ok(arrival) = arriving.arrival().await {
                let working = inner.book.work();
                tokio::spawn(inner.clone().serve(arrival, working));
            }
            drop(letting_in);
        });
        Ok(listener)
    }
}

impl Inner {
    fn failed(&self, failure: &HandshakeFailure) {
        let service = failure.service.as_deref().filter(|service| !self.routes.contains_key(*service));
        let routes = || {
            let mut routes: Vec<&str> = self.routes.keys().map(|service| &**service).collect();
            routes.sort_unstable();
            routes.join(", ")
        };
        let missing =
            service.map(|service| format!("there is no route for the service {service:?}, only for {}", routes()));
        self.failures.of_server(&self.tunnel, failure, missing);
    }

    /// A drain waits for it as long as the last lasts. Not around it: a future in another one takes the memory twice.
    async fn serve(self: Arc<Self>, arrival: Arrival, _working: Working) {
        let Arrival { stream, address, handshake, .. } = arrival;
        let address = canonical(address);
        self.tunnel.shook_hands(handshake);
        let Some(target) = self.routes.get(stream.service()) else { return };
        let facts = facts(&stream, address.to_string(), target.to_string());
        match self.tunnel.begin(&self.book, self.most, facts) {
            Err(refused) => {
                let (facts, bound) = *refused;
                let end = End::new("busy", bound);
                log_refused(&facts, &self.tunnel, &end);
                Box::pin(break_off(stream, Alert::Busy, &end.text)).await;
            }
            Ok(entry) => {
                let end = self.hand_over(stream, address, target, &entry).await;
                log_end(&entry.session, &end);
            }
        }
    }

    async fn hand_over(&self, stream: Stream<TcpStream>, from: SocketAddr, target: &Target, entry: &Entry) -> End {
        let mut stage = self.stage.clone();
        let opened = tokio::select! {
            opened = timeout(self.patience, Box::pin(self.open(&stream, from, target))) => opened,
            () = ending(&mut stage) => {
                let end = End::new("stopped", "this side stops");
                Box::pin(break_off(stream, Alert::ShuttingDown, &end.text)).await;
                return end;
            }
        };
        let plain = match opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(plain) => plain,
            Err(error) => {
                let cause = if is_exhausted(&error) { "descriptors" } else { "unreachable" };
                let end = End::new(cause, format!("{UNREACHABLE}: {error}"));
                Box::pin(break_off(stream, Alert::Busy, &end.text)).await;
                return end;
            }
        };
        run(stream, plain, entry, &self.bounds, &mut stage).await
    }

    async fn open(&self, stream: &Stream<TcpStream>, from: SocketAddr, target: &Target) -> io::Result<Plain> {
        let mut plain = target.open(stream, &from.to_string()).await?;
        // A command has its environment.
        if let (Some(version), Plain::Tcp(_) | Plain::Unix(_)) = (self.proxy_out, &plain) {
            plain.write_all(&header(version, stream, from)?).await?;
        }
        Ok(plain)
    }
}

/// IPv4 as such, though an IPv6 socket has taken it.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Says to the service who calls.
fn header(version: ProxyVersion, stream: &Stream<TcpStream>, from: SocketAddr) -> io::Result<Vec<u8>> {
    let to = stream.get_ref().local_addr()?;
    if version == ProxyVersion::V1 {
        return Ok(proxy_header_v1(from, to));
    }
    let peer = stream.peer();
    let (fingerprint, line) = (peer.public_key().fingerprint().to_string(), peer.public_key().to_string());
    let names: Vec<String> = peer.names().iter().map(ToString::to_string).collect();
    let names = names.join(" ");
    let session = stream.session_id();
    let mut values: Vec<(u8, &[u8])> = vec![
        (AUTHORITY, stream.service().as_bytes()),
        (UNIQUE_ID, session.as_bytes()),
        (FINGERPRINT, fingerprint.as_bytes()),
        (PUBLIC_KEY, line.as_bytes()),
    ];
    if let Some(name) = peer.name() {
        values.push((NAME, name.as_bytes()));
    }
    if !names.is_empty() {
        values.push((NAMES, names.as_bytes()));
    }
    proxy_header_v2(from, to, &values)
}

/// PP2_TYPE_AUTHORITY: the service that was asked for.
const AUTHORITY: u8 = 0x02;
/// PP2_TYPE_UNIQUE_ID: the session.
const UNIQUE_ID: u8 = 0x05;
/// Types for applications (PP2_TYPE_MIN_CUSTOM and up).
const FINGERPRINT: u8 = 0xe0;
const PUBLIC_KEY: u8 = 0xe1;
const NAME: u8 = 0xe2;
const NAMES: u8 = 0xe3;
