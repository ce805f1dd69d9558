//! Calling a peer, and answering one on a transport of the application's.

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::pin::Pin;

use bytes::BytesMut;
use getrandom::SysRng;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::{Instant, timeout_at};

use crate::config::Config;
use crate::handshake::{Target, initiate, respond};
use crate::identity::{PeerId, PublicKey};
use crate::role::Stage;
use crate::stream::{ConnectError, Establish, Seen, Stream};

/// A call to a peer, which starts when it is awaited.
#[derive(Clone, Debug)]
#[must_use = "nothing happens before it is awaited"]
pub struct Connect<S> {
    config: Config,
    target: Target,
    eager: bool,
    source: S,
}

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
        Connect { config: self.clone(), target: Target::default(), eager: false, source: ToAddress(address) }
    }

    /// Calls the peer at the other end of `io`.
    pub fn connect_over<T: AsyncRead + AsyncWrite + Unpin>(&self, io: T) -> Connect<OverIo<T>> {
        Connect { config: self.clone(), target: Target::default(), eager: false, source: OverIo(io) }
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
        let establish = Establish::<T, ()> {
            io,
            config: self,
            address,
            eager: false,
            queue: None,
            give_way: None,
            seen: &mut seen,
        };
        let established = establish.run(step, BytesMut::new(), self.handshake_timeout).await;
        established.map(|(stream, _)| stream).map_err(|(error, _)| error)
    }
}

impl<S> Connect<S> {
    /// Only this peer may answer; our trust is asked as well.
    pub fn peer(mut self, peer: impl Into<PeerId>) -> Self {
        self.target.peer = Some(peer.into());
        self
    }

    /// Asks for a service: up to 255 visible ASCII characters.
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.target.service = service.into();
        self
    }

    /// Returns one round trip earlier: the peer has proved who it is, but has not said yet whether it accepts us. What we write before it does is
    /// delivered only if it does; a refusal shows at the first read, or at [`Stream::accepted`].
    pub fn eager(mut self) -> Self {
        self.eager = true;
        self
    }
}

impl From<PublicKey> for PeerId {
    fn from(key: PublicKey) -> Self {
        PeerId::Key(key)
    }
}

impl<A> IntoFuture for Connect<ToAddress<A>>
where
    A: ToSocketAddrs + Send + 'static,
{
    type Output = Result<Stream<TcpStream>, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let deadline = Instant::now() + self.config.handshake_timeout;
            let connected = timeout_at(deadline, TcpStream::connect(self.source.0)).await;
            let connected = connected.map_err(|_| ConnectError::Timeout { stage: None })?;
            let io = connected.map_err(|error| ConnectError::Io { stage: None, error })?;
            // Flights are written whole; waiting for more would only add a delay.
            io.set_nodelay(true).map_err(|error| ConnectError::Io { stage: None, error })?;
            let address = io.peer_addr().ok();
            call(&self.config, self.target, self.eager, io, address, deadline).await
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
            call(&self.config, self.target, self.eager, self.source.0, None, deadline).await
        })
    }
}

async fn call<T: AsyncRead + AsyncWrite + Unpin>(
    config: &Config,
    target: Target,
    eager: bool,
    io: T,
    address: Option<SocketAddr>,
    deadline: Instant,
) -> Result<Stream<T>, ConnectError> {
    let mut output = BytesMut::new();
    let step = initiate(config, target, &mut SysRng, &mut output)?;
    let mut seen = Seen::new(Stage::Hello);
    let establish = Establish::<T, ()> { io, config, address, eager, queue: None, give_way: None, seen: &mut seen };
    let left = deadline.saturating_duration_since(Instant::now());
    establish.run(step, output, left).await.map(|(stream, _)| stream).map_err(|(error, _)| error)
}
