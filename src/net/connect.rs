//! Calling a peer, and answering one on a transport of the application's.

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use getrandom::SysRng;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs, lookup_host};
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::Config;
use crate::error::{Alert, Error, Failure, Misuse};
use crate::handshake::{Target, initiate, respond};
use crate::identity::{Name, PeerId};
use crate::limits::MAX_CONTENT_LEN;
use crate::role::{Role, Stage};
use crate::stream::{ConnectError, Establish, Milestone, Seen, Stream, linger};

/// A call to a peer, which starts when it is awaited. A responder that is too busy to begin a handshake is called again until
/// the deadline; everything else is reported at once.
#[derive(Clone)]
#[must_use = "nothing happens before it is awaited"]
pub struct Connect<S> {
    pub(super) config: Config,
    pub(super) target: Target,
    pub(super) eager: bool,
    pub(super) first: Vec<u8>,
    observer: Observer,
    source: S,
}

type Observer = Arc<dyn Fn(&Milestone) + Send + Sync>;

/// A call over TCP.
#[derive(Clone, Debug)]
pub struct ToAddress<A>(A);

/// A call over a transport that is there already.
#[derive(Clone, Debug)]
pub struct OverIo<T>(T);

impl Config {
    /// Calls the peer at a TCP address. By default any peer that our trust accepts may answer, and the call returns when it has
    /// accepted us. See [`Connect`] for more.
    pub fn connect<A: ToSocketAddrs>(&self, address: A) -> Connect<ToAddress<A>> {
        self.call(ToAddress(address))
    }

    /// Calls the peer at the other end of `io`.
    pub fn connect_over<T: AsyncRead + AsyncWrite + Unpin>(&self, io: T) -> Connect<OverIo<T>> {
        self.call(OverIo(io))
    }

    fn call<S>(&self, source: S) -> Connect<S> {
        Connect {
            config: self.clone(),
            target: Target::default(),
            eager: false,
            first: Vec::new(),
            observer: Arc::new(|_| {}),
            source,
        }
    }

    /// Answers the peer at the other end of `io`, as a [`Listener`](crate::net::Listener) does for TCP. `address` is only
    /// told to the trust decision.
    ///
    /// # Errors
    /// [`ConnectError`]; the peer has been told as much of it as it may know.
    pub async fn accept_over<T>(&self, io: T, address: Option<SocketAddr>) -> Result<Stream<T>, ConnectError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let step = respond(self, &mut SysRng)?;
        let mut seen = Seen::new(Stage::Hello);
        let establish = plain(io, self, address, &mut seen);
        match establish.run(step, BytesMut::new(), self.handshake_timeout).await {
            Ok((stream, _)) => Ok(stream),
            Err((error, io)) => {
                if !seen.silent {
                    linger(io).await;
                }
                Err(error)
            }
        }
    }
}

impl<S> Connect<S> {
    /// Only this peer may answer; our trust is asked as well.
    pub fn peer(mut self, peer: impl Into<PeerId>) -> Self {
        self.target.peer = Some(peer.into());
        self
    }

    /// The peer has to present a certificate that a CA of our trust vouches for, with this name: a DNS name, an IP address or a URI.
    pub fn peer_name(mut self, name: Name) -> Self {
        self.target.name = Some(name);
        self
    }

    /// Asks for a service: up to 255 visible ASCII characters.
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.target.service = service.into();
        self
    }

    /// Tells `observer` how the call gets on. It should be quick.
    pub fn observe(mut self, observer: impl Fn(&Milestone) + Send + Sync + 'static) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// Returns one round trip earlier: the peer has proved who it is, but has not said yet whether it accepts us. What we write before it does is
    /// delivered only if it does; a refusal that has come shows, with its reason, at the first read, write, flush or shutdown, and at [`Stream::accepted`]. `shutdown` waits for the
    /// verdict. After `into_split` it is the reading half that finds it; then the writing half knows too.
    pub fn eager(mut self) -> Self {
        self.eager = true;
        self
    }

    /// Sends data, at most 65,536 bytes, with our proof, in the same write: the responder has the request when it accepts us, a round trip earlier than if we had waited for the
    /// verdict. It is encrypted and not replayable, and a responder that refuses us never reads it. By default the call still waits for the verdict. A call that fails while it waits may have delivered
    /// them, as any request on a connection that breaks; it is not repeated then.
    pub fn first_data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.first = data.into();
        self
    }
}

impl<A> IntoFuture for Connect<ToAddress<A>>
where
    A: ToSocketAddrs + Send + Sync + 'static,
{
    type Output = Result<Stream<TcpStream>, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.check()?;
            let deadline = Instant::now() + self.config.handshake_timeout;
            let lost = |error| ConnectError::Io { stage: None, error };
            let late = |_| ConnectError::Timeout { stage: None };
            let addresses = timeout_at(deadline, lookup_host(&self.source.0)).await.map_err(late)?.map_err(lost)?;
            let addresses: Vec<SocketAddr> = addresses.collect();
            (self.observer)(&Milestone::Resolved { addresses: addresses.clone() });
            let mut pause = FIRST_PAUSE;
            loop {
                let connected = timeout_at(deadline, TcpStream::connect(addresses.as_slice())).await;
                let io = connected.map_err(late)?.map_err(lost)?;
                // Flights are written whole; waiting for more would only add a delay.
                io.set_nodelay(true).map_err(lost)?;
                let address = io.peer_addr().ok();
                match self.run(io, address, deadline).await {
                    Err(error) if self.may_repeat(&error) && Instant::now() + pause < deadline => {
                        (self.observer)(&Milestone::Busy);
                        sleep(pause).await;
                    }
                    result => return result,
                }
                pause = (pause * 2).min(LAST_PAUSE);
            }
        })
    }
}

impl<T> IntoFuture for Connect<OverIo<T>>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Result<Stream<T>, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let deadline = Instant::now() + self.config.handshake_timeout;
            let Connect { config, target, eager, first, observer, source: OverIo(io) } = self;
            Connect { config, target, eager, first, observer, source: () }.run(io, None, deadline).await
        })
    }
}

impl<S> Connect<S> {
    /// Whether the responder had no place for our handshake: it has not decided about us, so we may simply call again. Who says so is not
    /// authenticated: once data went with our proof, they may have been read, and calling again could deliver them twice.
    fn may_repeat(&self, error: &ConnectError) -> bool {
        let ConnectError::Protocol(Failure { stage, error: Error::AlertReceived(alert), .. }) = error else {
            return false;
        };
        alert.alert == Alert::Busy && !alert.authenticated && (self.first.is_empty() || *stage != Stage::Verdict)
    }

    fn check(&self) -> Result<(), Failure> {
        let error = Error::Misuse(Misuse::ContentTooLong);
        let fits = self.first.len() <= MAX_CONTENT_LEN;
        if fits { Ok(()) } else { Err(Failure { role: Role::Initiator, stage: Stage::Hello, error }) }
    }

    async fn run<T>(&self, io: T, address: Option<SocketAddr>, deadline: Instant) -> Result<Stream<T>, ConnectError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        self.check()?;
        (self.observer)(&Milestone::Connected { address });
        let mut output = BytesMut::new();
        let step = initiate(&self.config, self.target.clone(), &mut SysRng, &mut output)?;
        let mut seen = Seen::new(Stage::Hello);
        let establish = Establish {
            eager: self.eager,
            first: &self.first,
            observer: &*self.observer,
            ..plain(io, &self.config, address, &mut seen)
        };
        let left = deadline.saturating_duration_since(Instant::now());
        establish.run(step, output, left).await.map(|(stream, _)| stream).map_err(|(error, _)| error)
    }
}

/// A handshake that nobody else waits for.
fn plain<'a, T>(io: T, config: &'a Config, address: Option<SocketAddr>, seen: &'a mut Seen) -> Establish<'a, T> {
    Establish { io, config, address, eager: false, first: &[], room: None, give_way: None, seen, observer: &|_| {} }
}

/// Pauses between calls to a responder that is busy.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);

impl<S: std::fmt::Debug> std::fmt::Debug for Connect<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect").field("target", &self.target).field("source", &self.source).finish_non_exhaustive()
    }
}
