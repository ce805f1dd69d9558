//! What every peer can do, so that the measures are written once: connect, accept, send, receive.

use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use rustix::net::sockopt::set_tcp_congestion;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Two ends of one system: what it calls with, and what it answers with. Cheap to clone.
pub trait Peer: Clone + Send + Sync + 'static {
    /// A connection whose peer is authenticated, where the system does so at all.
    type Conn: Conn;

    /// Whether there are identities.
    const AUTHENTICATES: bool = true;

    /// Calls, and checks that the other end is who we expect.
    fn connect(&self, address: SocketAddr) -> impl Future<Output = Result<Self::Conn>> + Send;

    /// Answers, and checks that the other end is who we expect.
    fn accept(&self, io: TcpStream) -> impl Future<Output = Result<Self::Conn>> + Send;

    /// The same, but one side has an identity that the other does not expect.
    fn imposter(&self, side: Side) -> Result<Self>;

    /// From here on connections are measured.
    fn warmed(&self) {}

    /// Answers everybody and does `each` with every connection, until it is dropped.
    fn serve<F, Fut>(self, listener: TcpListener, each: F) -> impl Future<Output = Result<()>> + Send
    where
        F: Fn(Self::Conn) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        async move {
            loop {
                let (io, _) = listener.accept().await.context("can't accept")?;
                let (peer, each) = (self.clone(), each.clone());
                tokio::spawn(async move { complain(async { each(peer.answer(io).await?).await }.await) });
            }
        }
    }

    /// Answers one.
    fn answer(&self, io: TcpStream) -> impl Future<Output = Result<Self::Conn>> + Send {
        async move {
            io.set_nodelay(true)?;
            self.accept(io).await
        }
    }
}

/// Who.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

/// A connection.
pub trait Conn: Send + 'static {
    /// Data in the form in which a program would have it, if it can choose.
    type Message: Send + Sync;

    /// Makes it.
    fn message(data: &[u8]) -> Self::Message;

    /// Sends all of it.
    fn send(&mut self, message: &Self::Message) -> impl Future<Output = Result<()>> + Send;

    /// What was sent is on its way afterwards.
    fn flush(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Receives what there is, at least a byte, and shows it to `sink`; 0 at the end. `scratch` is for systems that have
    /// no bytes to lend.
    fn receive(&mut self, scratch: &mut [u8], sink: Sink<'_>) -> impl Future<Output = Result<usize>> + Send;
}

/// Who looks at received bytes.
pub type Sink<'a> = &'a mut (dyn FnMut(&[u8]) + Send);

/// A connection that reads into a buffer of the reader's.
pub struct Plain<S>(pub S);

/// A connection that lends what it has read.
pub struct Lent<S>(pub S);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Conn for Plain<S> {
    type Message = Vec<u8>;

    fn message(data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    async fn send(&mut self, message: &Vec<u8>) -> Result<()> {
        Ok(self.0.write_all(message).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(self.0.flush().await?)
    }

    async fn receive(&mut self, scratch: &mut [u8], sink: Sink<'_>) -> Result<usize> {
        let count = self.0.read(scratch).await?;
        sink(scratch.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl<S: AsyncBufRead + AsyncWrite + Unpin + Send + 'static> Conn for Lent<S> {
    type Message = Vec<u8>;

    fn message(data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    async fn send(&mut self, message: &Vec<u8>) -> Result<()> {
        Ok(self.0.write_all(message).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(self.0.flush().await?)
    }

    async fn receive(&mut self, _: &mut [u8], sink: Sink<'_>) -> Result<usize> {
        let data = self.0.fill_buf().await?;
        let count = data.len();
        sink(data);
        self.0.consume(count);
        Ok(count)
    }
}

/// A connection over a stream, which can be used in other ways.
pub trait Streaming: Conn {
    /// With tokio's buffer for writing.
    type Buffered: Conn;
    /// With reads that copy.
    type Copying: Conn;

    /// Gives it a buffer.
    fn buffered(self) -> Self::Buffered;

    /// Lends nothing.
    fn copying(self) -> Self::Copying;
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Streaming for Plain<S> {
    type Buffered = Plain<BufWriter<S>>;
    type Copying = Self;

    fn buffered(self) -> Self::Buffered {
        Plain(BufWriter::with_capacity(WRITE_BUFFER, self.0))
    }

    fn copying(self) -> Self {
        self
    }
}

impl<S: AsyncBufRead + AsyncWrite + Unpin + Send + 'static> Streaming for Lent<S> {
    type Buffered = Lent<BufWriter<S>>;
    type Copying = Plain<S>;

    fn buffered(self) -> Self::Buffered {
        Lent(BufWriter::with_capacity(WRITE_BUFFER, self.0))
    }

    fn copying(self) -> Plain<S> {
        Plain(self.0)
    }
}

/// A peer whose connections write through tokio's `BufWriter`.
#[derive(Clone)]
pub struct BufWritten<P>(pub P);

impl<P: Peer<Conn: Streaming>> Peer for BufWritten<P> {
    type Conn = <P::Conn as Streaming>::Buffered;

    const AUTHENTICATES: bool = P::AUTHENTICATES;

    async fn connect(&self, address: SocketAddr) -> Result<Self::Conn> {
        self.0.connect(address).await.map(Streaming::buffered)
    }

    async fn accept(&self, io: TcpStream) -> Result<Self::Conn> {
        self.0.accept(io).await.map(Streaming::buffered)
    }

    fn imposter(&self, side: Side) -> Result<Self> {
        self.0.imposter(side).map(BufWritten)
    }
}

/// A peer whose connections copy what is read.
#[derive(Clone)]
pub struct Copied<P>(pub P);

impl<P: Peer<Conn: Streaming>> Peer for Copied<P> {
    type Conn = <P::Conn as Streaming>::Copying;

    const AUTHENTICATES: bool = P::AUTHENTICATES;

    async fn connect(&self, address: SocketAddr) -> Result<Self::Conn> {
        self.0.connect(address).await.map(Streaming::copying)
    }

    async fn accept(&self, io: TcpStream) -> Result<Self::Conn> {
        self.0.accept(io).await.map(Streaming::copying)
    }

    fn imposter(&self, side: Side) -> Result<Self> {
        self.0.imposter(side).map(Copied)
    }
}

/// A TCP connection as every peer makes it.
pub async fn tcp(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    steady(&socket)?;
    let io = socket.connect(address).await.context("can't connect")?;
    io.set_nodelay(true)?;
    Ok(io)
}

/// Where connections come in.
pub fn listen() -> Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("can't listen")?;
    listener.set_nonblocking(true)?;
    steady(&listener)?;
    Ok(listener)
}

/// From here on, sockets in this process send without pacing. Where the system paces (BBR), a measure of data on the
/// loopback measures timers.
pub fn steady_sockets() {
    ARE_STEADY.store(true, Ordering::Relaxed);
}

/// Whether they do.
pub fn are_steady() -> bool {
    ARE_STEADY.load(Ordering::Relaxed)
}

/// Before it is connected; what a listener accepts does as the listener does.
fn steady(socket: impl AsFd) -> Result<()> {
    if are_steady() {
        set_tcp_congestion(&socket, "reno").context("can't set the congestion control")?;
    }
    Ok(())
}

/// Receives exactly so many bytes.
pub async fn receive_exactly(conn: &mut impl Conn, scratch: &mut [u8], len: usize, sink: Sink<'_>) -> Result<()> {
    let mut left = len;
    while left > 0 {
        let count = conn.receive(scratch, sink).await?;
        anyhow::ensure!(count > 0, "the peer ended {left} bytes early");
        left = left.checked_sub(count).context("the peer sent more than it should")?;
    }
    Ok(())
}

/// Says what went wrong in a task for which nobody waits.
pub fn complain(result: Result<()>) {
    if let Err(error) = result {
        eprintln!("server: {error:#}");
    }
}

static ARE_STEADY: AtomicBool = AtomicBool::new(false);
/// Where a peer has nothing to lend, this much is read at a time.
pub const SCRATCH: usize = 128 << 10;
const WRITE_BUFFER: usize = 64 << 10;
