//! Owned halves of a stream, for two tasks. Each has its keys, counter and buffer to itself.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::identity::Peer;
use crate::session::SessionId;
use crate::stream::establish::linger;
use crate::stream::failure::{Call, Latch, tell_peer};
use crate::stream::link::Link;
use crate::stream::read::ReadState;
use crate::stream::write::WriteState;

/// A transport that comes apart into a reading and a writing half.
pub trait IntoSplit: AsyncRead + AsyncWrite + Unpin {
    /// The half that reads.
    type Read: AsyncRead + Unpin;
    /// The half that writes.
    type Write: AsyncWrite + Unpin;

    /// Takes it apart.
    fn into_split(self) -> (Self::Read, Self::Write);
}

/// The receiving half of a [`Stream`](crate::stream::Stream).
#[derive(Debug)]
pub struct ReadHalf<R> {
    io: R,
    read: ReadState,
    latch: Latch,
    link: Arc<Link>,
}

/// The sending half of a [`Stream`](crate::stream::Stream).
#[derive(Debug)]
pub struct WriteHalf<W: AsyncWrite + Unpin> {
    io: W,
    write: WriteState,
    latch: Latch,
    link: Arc<Link>,
}

impl<R> ReadHalf<R> {
    pub(crate) fn new(io: R, read: ReadState, latch: Latch, link: Arc<Link>) -> Self {
        ReadHalf { io, read, latch, link }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.link.info.peer
    }

    /// The public name of the session.
    pub fn session_id(&self) -> SessionId {
        self.link.info.session_id
    }
}

impl<R: AsyncRead + Unpin> ReadHalf<R> {
    /// After a failure: discards what the peer still sends, until it closes, for a second at most, and without opening it. A connection that is closed
    /// with bytes unread is reset, and what the peer was told last may be lost with it.
    pub async fn linger(&mut self) {
        if self.latch.fault().is_some() {
            linger(&mut self.io).await;
        }
    }
}

impl<W: AsyncWrite + Unpin> WriteHalf<W> {
    pub(crate) fn new(io: W, write: WriteState, latch: Latch, link: Arc<Link>) -> Self {
        WriteHalf { io, write, latch, link }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.link.info.peer
    }

    /// The public name of the session.
    pub fn session_id(&self) -> SessionId {
        self.link.info.session_id
    }
}

impl<R: AsyncRead + Unpin> AsyncBufRead for ReadHalf<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        this.latch.check()?;
        let polled = this.read.poll_fill(&mut this.io, cx);
        if polled.is_pending() {
            this.latch.park_reader(cx)?;
        }
        ready!(this.latch.note_poll(polled))?;
        Poll::Ready(Ok(this.read.data()))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        self.get_mut().read.consume(amount);
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for ReadHalf<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(self.latch.check());
        }
        let data = ready!(self.as_mut().poll_fill_buf(cx))?;
        let (taken, _) = data.split_at(data.len().min(buf.remaining()));
        buf.put_slice(taken);
        let amount = taken.len();
        self.consume(amount);
        Poll::Ready(Ok(()))
    }
}

impl<W: AsyncWrite + Unpin> WriteHalf<W> {
    /// Sends a KEEPALIVE whenever nothing was sent for the interval of [`Config::keep_alive`](crate::Config::keep_alive). It ends only with an error, so
    /// it stands beside whatever the writer waits for, in a `select!`. Cancel-safe.
    ///
    /// # Errors
    /// The failure that ended the session.
    pub async fn keep_alive(&mut self) -> io::Result<Infallible> {
        std::future::poll_fn(|cx| {
            if let Err(error) = self.latch.park(cx) {
                self.tell_peer(cx);
                return Poll::Ready(Err(error));
            }
            let polled = self.write.poll_keep_alive(&mut self.io, cx);
            self.latch.note_poll(polled)
        })
        .await
    }

    /// The session has failed: the peer is told why, if nobody has told it yet.
    fn tell_peer(&mut self, cx: &mut Context<'_>) {
        let fault = self.latch.fault();
        fault.into_iter().for_each(|fault| tell_peer(fault, &mut self.io, &mut self.write, cx, false));
    }

    /// The peer's reason is the other half's to find.
    fn poll_call(&mut self, cx: &mut Context<'_>, call: Call<'_>) -> Poll<io::Result<usize>> {
        self.latch.poll_call(&mut self.io, &mut self.write, cx, call, |_, _| None)
    }
}

/// A session that failed while nobody wrote: tries once to tell the peer why.
impl<W: AsyncWrite + Unpin> Drop for WriteHalf<W> {
    fn drop(&mut self) {
        self.tell_peer(&mut Context::from_waker(Waker::noop()));
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for WriteHalf<W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_call(cx, Call::Write(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_call(cx, Call::Flush).map_ok(|_| ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_call(cx, Call::Shutdown).map_ok(|_| ())
    }
}

impl IntoSplit for TcpStream {
    type Read = tokio::net::tcp::OwnedReadHalf;
    type Write = tokio::net::tcp::OwnedWriteHalf;

    fn into_split(self) -> (Self::Read, Self::Write) {
        TcpStream::into_split(self)
    }
}

#[cfg(unix)]
impl IntoSplit for UnixStream {
    type Read = tokio::net::unix::OwnedReadHalf;
    type Write = tokio::net::unix::OwnedWriteHalf;

    fn into_split(self) -> (Self::Read, Self::Write) {
        UnixStream::into_split(self)
    }
}

impl IntoSplit for DuplexStream {
    type Read = tokio::io::ReadHalf<DuplexStream>;
    type Write = tokio::io::WriteHalf<DuplexStream>;

    fn into_split(self) -> (Self::Read, Self::Write) {
        tokio::io::split(self)
    }
}
