//! An authenticated, encrypted stream over any `AsyncRead + AsyncWrite`.
//!
//! ```text
//!                 shutdown()                       peer's END read
//!   open  ----------------------->  we ended  ----------------------->  closed: reads give 0 bytes
//!     |                                ^
//!     +-- peer's END read --> peer ended, we may still write -- shutdown() --> closed
//!
//!   any failure: both directions are over; every later call returns the same error
//! ```

mod establish;
mod failure;
mod halves;
mod link;
mod read;
mod revoke;
mod supervise;
mod write;

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use crate::error::{Alert, Error, Misuse};
use crate::identity::Peer;
use crate::session::{Session, SessionId, SessionInfo};

pub use crate::failure::{ConnectError, protocol_error};
pub use establish::Milestone;
pub(crate) use establish::{Establish, LINGER, LINGER_LEN, Seen, linger, say_busy, told};
pub use halves::{IntoSplit, ReadHalf, WriteHalf};

use failure::{Call, Latch, tell_peer};
use link::Link;
use read::ReadState;
use write::WriteState;

/// A stream whose peer has proved who it is.
///
/// * Reading gives what the peer wrote, in order; 0 bytes mean that the peer has said that it is done. A connection that was
///   cut is [`io::ErrorKind::UnexpectedEof`], never a clean end.
/// * Writing seals at most 128 KiB a call and hands it to the transport at once; what the transport does not take is kept
///   and goes out with the next write, flush or shutdown. [`Stream::set_write_buffer`] has small writes gathered, to be flushed. `shutdown` sends the authenticated end of our direction; reading goes on.
/// * Any failure ends both directions, and every later call returns it again. When the transport fails while we write, and the
///   peer has said why it ended the session, that is the failure. [`protocol_error`] finds the cause in the [`io::Error`]. Writing after `shutdown` is [`io::ErrorKind::InvalidInput`] and ends nothing.
/// * All calls are cancel-safe: a dropped future loses nothing and sends nothing twice.
/// * Rekeying ([`RekeyPolicy`](crate::session::RekeyPolicy)) happens while writing, and is of no consequence to anyone else.
/// * Dropping the stream without `shutdown` is a truncation to the peer.
#[derive(Debug)]
pub struct Stream<T> {
    io: T,
    read: ReadState,
    write: WriteState,
    latch: Latch,
    link: Arc<Link>,
}

impl<T> Stream<T> {
    /// A stream from a session and the bytes that followed the handshake in the input.
    pub fn new(io: T, session: Session, input: BytesMut) -> Self {
        let Session { sealer, opener, shares, exporter, info } = session;
        let link = Arc::new(Link::new(info, exporter, shares));
        Stream {
            io,
            read: ReadState::new(opener, &input, link.clone()),
            write: WriteState::new(sealer, link.clone()),
            latch: Latch::default(),
            link,
        }
    }

    /// Sends a KEEPALIVE whenever nothing was sent for so long, while the stream is being read; `None` sends none.
    pub fn set_keep_alive(&mut self, interval: Option<Duration>) {
        self.write.set_keep_alive(interval);
    }

    /// Fails with [`Error::Idle`] ([`io::ErrorKind::TimedOut`]) when we read and nothing has come for so long; `None` waits for ever.
    pub fn set_idle_timeout(&mut self, timeout: Option<Duration>) {
        self.read.set_idle_timeout(timeout);
    }

    /// Gathers small writes, up to so many bytes (at most 131,072), and seals them together; 0 gathers none, which is the default. What was gathered goes out
    /// with the write that does not fit any more, at `flush` and `shutdown`, with the next keepalive, and when a read of the whole stream begins to wait; not when one waits
    /// already in another task. After `into_split` nobody but the writing half sends it.
    pub fn set_write_buffer(&mut self, limit: usize) {
        self.write.set_write_buffer(limit);
    }

    /// Fills `out` with keying material for a label and a context (as RFC 5705): equal on both sides, different for every session, label, context
    /// and length.
    ///
    /// # Errors
    /// [`Misuse::Export`] unless the label has 1 to 255 bytes, the context at most 65,535, and `out` 1 to 8,160.
    pub fn export_keying_material(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        self.link.exporter.export(label, context, out)
    }

    /// A public value that names this session to another protocol inside it (RFC 5056); the same on both sides.
    pub fn channel_binding(&self) -> &[u8; 32] {
        &self.link.info.channel_binding
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.link.info.peer
    }

    /// The public name of the session, the same on both sides.
    pub fn session_id(&self) -> SessionId {
        self.link.info.session_id
    }

    /// The service that the initiator named; may be empty.
    pub fn service(&self) -> &str {
        &self.link.info.service
    }

    /// All facts about the session.
    pub fn info(&self) -> &SessionInfo {
        &self.link.info
    }

    /// How often our direction and the peer's have changed keys; also when they are over.
    pub fn rekeys(&self) -> (u64, u64) {
        self.link.rekeys()
    }

    /// The transport.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// Two halves for two tasks, which share nothing for a record: only the first failure, and at a rekey the shares it is mixed from.
    pub fn into_split(self) -> (ReadHalf<T::Read>, WriteHalf<T::Write>)
    where
        T: IntoSplit,
    {
        let (read, write) = self.io.into_split();
        (
            ReadHalf::new(read, self.read, self.latch.clone(), self.link.clone()),
            WriteHalf::new(write, self.write, self.latch, self.link),
        )
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream<T> {
    /// Waits for the responder's verdict, if `eager` did not. Returns at once if it is known.
    ///
    /// # Errors
    /// The refusal, or any other failure of reading.
    pub async fn accepted(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            if self.latch.fault().is_some() {
                return self.over(cx);
            }
            let polled = self.read.poll_accepted(&mut self.io, cx);
            if polled.is_pending() && self.latch.park_reader(cx).is_err() {
                return self.over(cx);
            }
            self.latch.note_poll(polled)
        })
        .await
    }

    /// Ends the session in both directions with an alert, and a text of at most 255 bytes that the peer is told. Nothing is read
    /// afterwards. Not possible after `shutdown`.
    ///
    /// # Errors
    /// The failure that ended the session before, or one of writing.
    pub async fn abort(&mut self, alert: Alert, text: &str) -> io::Result<()> {
        self.latch.check()?;
        self.write.seal_alert(alert, text).map_err(|fault| fault.to_io())?;
        self.read.poison(Error::Misuse(Misuse::Aborted));
        std::future::poll_fn(|cx| {
            let polled = self.write.poll_shutdown(&mut self.io, cx);
            self.latch.note_poll(polled)
        })
        .await
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream<T> {
    /// Sends a KEEPALIVE whenever nothing was sent for the interval of [`Stream::set_keep_alive`], as reading does: for whoever does not read just now, because what
    /// came before is not dealt with yet. It ends only with an error. Cancel-safe.
    ///
    /// # Errors
    /// The failure that ended the session.
    pub async fn keep_alive(&mut self) -> io::Result<Infallible> {
        std::future::poll_fn(|cx| {
            if self.latch.park(cx).is_err() {
                return self.over(cx);
            }
            let polled = self.write.poll_keep_alive(&mut self.io, cx);
            self.latch.note_poll(polled)
        })
        .await
    }

    /// After a failure: sends what the peer has not been told yet, and discards what it still sends, until it closes, for a second at most, and without opening
    /// it. A connection that is closed with bytes unread is reset, and what the peer was told last may be lost with it.
    pub async fn linger(&mut self) {
        if self.latch.fault().is_none() {
            return;
        }
        let mut left = LINGER_LEN;
        let discard = std::future::poll_fn(|cx| {
            let _: Poll<io::Result<()>> = self.over(cx);
            let mut scratch = [0; 1_024];
            while left > 0 {
                let mut room = ReadBuf::new(&mut scratch);
                match ready!(Pin::new(&mut self.io).poll_read(cx, &mut room)) {
                    Ok(()) if !room.filled().is_empty() => left = left.saturating_sub(room.filled().len()),
                    _ => break,
                }
            }
            Poll::Ready(())
        });
        let _ = timeout(LINGER, discard).await;
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream<T> {
    /// The session has failed: the peer is told, as it may have been by nobody yet, where the failure came from outside.
    fn over<V>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<V>> {
        let Stream { io, write, latch, .. } = self;
        latch.fault().into_iter().for_each(|fault| tell_peer(fault, io, write, cx, false));
        Poll::Ready(latch.check().and(Err(io::ErrorKind::Other.into())))
    }

    fn poll_call(&mut self, cx: &mut Context<'_>, call: Call<'_>) -> Poll<io::Result<usize>> {
        let Stream { io, read, write, latch, .. } = self;
        if read.awaits_verdict() && latch.check().is_ok() {
            // A refusal that has come shows at once, whatever we do.
            let found = read.find_verdict(io);
            ready!(latch.note_poll(Poll::Ready(found)))?;
        }
        latch.poll_call(io, write, cx, call, |io, cx| read.find_reason(io, cx))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for Stream<T> {
    /// The decrypted rest of a record, lent from the buffer it arrived in.
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.latch.fault().is_some() {
            return this.over(cx);
        }
        let polled = this.read.poll_fill(&mut this.io, cx);
        if polled.is_pending() {
            // The peer may be waiting for what we wrote and the transport did not take yet.
            this.write.drain_for_reader(&mut this.io, cx);
            if let Poll::Ready(Err(fault)) = this.write.poll_keep_alive(&mut this.io, cx) {
                return this.latch.note_poll(Poll::Ready(Err(fault)));
            }
            if this.latch.park_reader(cx).is_err() {
                return this.over(cx);
            }
        }
        ready!(this.latch.note_poll(polled))?;
        Poll::Ready(Ok(this.read.data()))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        self.get_mut().read.consume(amount);
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<T> {
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

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<T> {
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

    /// Sends the authenticated end of our direction; after an eager connect it also waits for the verdict, so that what we wrote is known to be
    /// accepted.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_call(cx, Call::Shutdown))?;
        if !this.read.awaits_verdict() {
            return Poll::Ready(Ok(()));
        }
        let polled = this.read.poll_accepted(&mut this.io, cx);
        if polled.is_pending() {
            this.latch.park_reader(cx)?;
        }
        this.latch.note_poll(polled)
    }
}
