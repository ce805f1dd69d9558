//! The blocking stream.

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::blocking::common::{Common, Stop};
use crate::blocking::halves::{ReadHalf, WriteHalf};
use crate::blocking::read::Reading;
use crate::blocking::transport::{Timeouts, Transport, TryClone};
use crate::blocking::write::Writing;
use crate::error::{Alert, Error, Misuse};
use crate::failure::Fault;
use crate::identity::Peer;
use crate::session::{Session, SessionId, SessionInfo};

/// A stream whose peer has proved who it is.
///
/// * Reading gives what the peer wrote, in order; 0 bytes mean that the peer has said that it is done. A connection
///   that was cut is [`io::ErrorKind::UnexpectedEof`], never a clean end.
/// * Writing seals at most 128 KiB a call and hands it to the transport, in one write.
///   [`Stream::set_write_buffer`] has small writes gathered, to be flushed. [`Stream::shutdown`] sends the authenticated end of our direction; reading goes on.
/// * Any failure ends both directions, and every later call returns it again. When the transport fails while we write,
///   and the peer has said why it ended the session, that is the failure.
///   [`protocol_error`](crate::blocking::protocol_error) finds the cause in the [`io::Error`]. Writing after `shutdown`
///   is [`io::ErrorKind::InvalidInput`] and ends nothing.
/// * [`io::ErrorKind::WouldBlock`] and [`io::ErrorKind::TimedOut`], as a socket gives them that has a timeout or does
///   not block, are no failures: the call may be made again, and nothing is lost, repeated or sealed twice. A write
///   that returns one of them has taken nothing of its data; one that returns `Ok` has taken so many bytes, and what
///   the transport does not take of them at once is kept and goes out before anything else at the next write, flush,
///   shutdown or read. [`io::ErrorKind::Interrupted`] is never returned.
/// * How long the peer may be silent is the socket's own `set_read_timeout`, by [`Stream::get_ref`];
///   `Config::idle_timeout` and `Config::keep_alive` are for streams that have a timer.
/// * Rekeying ([`RekeyPolicy`](crate::session::RekeyPolicy)) happens while writing, and is of no consequence to anyone
///   else.
/// * When trust in the peer ends, so does the session, with [`Error::Revoked`](crate::error::Error::Revoked): at the next call, or when one that waits
///   returns. A thread that waits in a read is not woken: give the socket a read timeout.
/// * Dropping the stream without `shutdown` is a truncation to the peer.
#[derive(Debug)]
pub struct Stream<T> {
    io: T,
    read: Reading,
    write: Writing,
    pub(super) common: Arc<Common>,
}

impl<T> Stream<T> {
    /// A stream from a session and the bytes that followed the handshake in the input.
    pub fn new(io: T, session: Session, input: BytesMut) -> Self {
        let Session { sealer, opener, shares, exporter, info } = session;
        let common = Arc::new(Common::new(info, exporter, shares));
        Stream { io, read: Reading::new(opener, &input), write: Writing::new(sealer), common }
    }

    /// Gathers small writes, up to so many bytes (at most 131,072), and seals them together; 0 gathers none, which is
    /// the default. What was gathered goes out with the write that does not fit any more, at `flush` and `shutdown`,
    /// and before a read of the whole stream asks the transport, which may then have to wait for the transport to take
    /// it. After `into_split` nobody but the writing half sends it.
    pub fn set_write_buffer(&mut self, limit: usize) {
        self.write.set_write_buffer(limit);
    }

    /// Fills `out` with keying material for a label and a context (as RFC 5705): equal on both sides, different for
    /// every session, label, context and length.
    ///
    /// # Errors
    /// [`Misuse::Export`] unless the label has 1 to 255 bytes, the context at most 65,535, and `out` 1 to 8,160.
    pub fn export_keying_material(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        self.common.exporter.export(label, context, out)
    }

    /// A public value that names this session to another protocol inside it (RFC 5056); the same on both sides.
    pub fn channel_binding(&self) -> &[u8; 32] {
        &self.common.info.channel_binding
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.common.info.peer
    }

    /// The public name of the session, the same on both sides.
    pub fn session_id(&self) -> SessionId {
        self.common.info.session_id
    }

    /// The service that the initiator named; may be empty.
    pub fn service(&self) -> &str {
        &self.common.info.service
    }

    /// All facts about the session.
    pub fn info(&self) -> &SessionInfo {
        &self.common.info
    }

    /// The transport.
    pub fn get_ref(&self) -> &T {
        &self.io
    }
}

impl<T: Transport> Stream<T> {
    /// Waits for the responder's verdict, after an eager call. Returns at once if it is known.
    ///
    /// # Errors
    /// The refusal, or any other failure of reading.
    pub fn accepted(&mut self) -> io::Result<()> {
        self.common.check()?;
        let accepted = self.read.accepted(&mut self.io, &self.common);
        self.note_read(accepted)
    }

    /// Sends the authenticated end of our direction and closes the transport for writing; reading goes on. After an
    /// eager call it also waits for the verdict, so that what we wrote is known to be accepted. Once that is done it
    /// does nothing.
    ///
    /// # Errors
    /// The failure that ended the session, or a refusal.
    pub fn shutdown(&mut self) -> io::Result<()> {
        let ended = self.call(|write, io, common| write.end(io, common));
        if self.common.fault().is_some() {
            // The failure is what is reported.
            let _ = self.write.close(&mut self.io);
        }
        ended?;
        if self.read.awaits_verdict() { self.accepted() } else { Ok(()) }
    }

    /// Sends a KEEPALIVE: tells a peer that has an idle timeout that we are there.
    ///
    /// # Errors
    /// As writing.
    pub fn send_keepalive(&mut self) -> io::Result<()> {
        self.call(|write, io, common| write.keep_alive(io, common))
    }

    /// Ends the session in both directions with an alert, and a text of at most 255 bytes that the peer is told.
    /// Nothing is read afterwards. Not possible after `shutdown`.
    ///
    /// # Errors
    /// The failure that ended the session before, or one of writing. Where the transport would block, `shutdown` goes
    /// on.
    pub fn abort(&mut self, alert: Alert, text: &str) -> io::Result<()> {
        self.common.check()?;
        let sealed = self.write.seal_alert(&self.common, alert, text);
        self.common.note(sealed)?;
        self.read.poison(Error::Misuse(Misuse::Aborted));
        let ended = self.write.end(&mut self.io, &self.common);
        self.common.note(ended)
    }

    /// Two halves for two threads, which share nothing for a record: only the first failure, and at a rekey the shares
    /// it is mixed from. Both have the transport, whose timeouts are common to them.
    ///
    /// # Errors
    /// If there is no second handle of the transport; the stream is gone then.
    pub fn into_split(self) -> io::Result<(ReadHalf<T>, WriteHalf<T>)>
    where
        T: TryClone,
    {
        let other = self.io.try_clone()?;
        Ok((ReadHalf::new(self.io, self.read, self.common.clone()), WriteHalf::new(other, self.write, self.common)))
    }

    /// Makes a call that writes.
    fn call<R>(&mut self, call: impl FnOnce(&mut Writing, &mut T, &Common) -> Result<R, Stop>) -> io::Result<R> {
        let Stream { io, read, write, common } = self;
        if let Some(fault) = common.fault() {
            tell_shortly(io, write, common, fault);
            return Err(fault.to_io());
        }
        if read.awaits_verdict() {
            // A refusal that has come shows at once, whatever we do.
            let found = read.find_verdict(io, common);
            self.note_read(found)?;
        }
        let Stream { io, read, write, common } = self;
        let result = call(write, io, common).map_err(|stop| match stop {
            Stop::Over(fault @ Fault::Io(..)) => Stop::Over(read.find_reason(io, common).unwrap_or(fault)),
            stop => stop,
        });
        common.note(result)
    }

    /// Latches a failure of reading. The peer is told at once where the transport can be kept from blocking; else at
    /// the next call that writes.
    fn note_read<R>(&mut self, result: Result<R, Stop>) -> io::Result<R> {
        let noted = self.common.note(result);
        if let (Err(_), Some(fault), true) = (&noted, self.common.fault(), self.io.timeouts().is_ok()) {
            tell_shortly(&mut self.io, &mut self.write, &self.common, fault);
        }
        noted
    }
}

impl<T: Transport> BufRead for Stream<T> {
    /// The decrypted rest of a record, lent from the buffer it arrived in.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(fault) = self.common.fault().cloned() {
            self.note_read::<()>(Err(Stop::Over(fault)))?;
        }
        if self.read.data().is_empty() && self.write.has_gathered() {
            let filled = self.read.fill_from_inbox(&mut self.io, &self.common);
            self.note_read(filled)?;
        }
        if self.read.data().is_empty() {
            // The peer may be waiting for what we wrote and the transport did not take yet. A failure shows at the next
            // write.
            let _ = self.write.drain_for_reader(&mut self.io, &self.common);
            let filled = self.read.fill(&mut self.io, &self.common);
            self.note_read(filled)?;
        }
        Ok(self.read.data())
    }

    fn consume(&mut self, amount: usize) {
        self.read.consume(amount);
    }
}

impl<T: Transport> Read for Stream<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return self.common.check().map(|()| 0);
        }
        let taken = copy(self.fill_buf()?, buf);
        self.consume(taken);
        Ok(taken)
    }
}

impl<T: Transport> Write for Stream<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.call(|write, io, common| write.write(io, common, bufs.iter().map(|buf| &**buf)))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call(|write, io, common| write.flush(io, common))
    }
}

/// Tells the peer of a failure. A peer that does not read holds us up no longer than it has to, where the transport can be kept from blocking.
pub(super) fn tell_shortly<T: Transport>(io: &mut T, write: &mut Writing, common: &Common, fault: &Fault) {
    let before = io.timeouts().ok().filter(|_| fault.alert().is_some());
    let limited = before.map(|before| io.set_timeouts(Timeouts { read: before.read, write: Some(LAST_WORDS) }));
    // Where there are limits that can't be set, nothing is said.
    if limited.is_none_or(|limited| limited.is_ok()) {
        write.tell(io, common, fault);
    }
    // The session is over; whoever has another handle of the socket finds it as it was.
    let _ = before.map(|before| io.set_timeouts(before));
}

/// Copies what fits.
pub(super) fn copy(data: &[u8], buf: &mut [u8]) -> usize {
    let amount = data.len().min(buf.len());
    if let (Some(to), Some(from)) = (buf.get_mut(..amount), data.get(..amount)) {
        to.copy_from_slice(from);
    }
    amount
}

/// How long the last words to a peer may take.
const LAST_WORDS: Duration = Duration::from_millis(500);
