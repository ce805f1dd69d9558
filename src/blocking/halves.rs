//! Owned halves of a blocking stream, for two threads. Each has its keys, counter and buffer to itself.

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::sync::Arc;

use crate::blocking::common::{Common, Stop};
use crate::blocking::read::Reading;
use crate::blocking::stream::{copy, tell_shortly};
use crate::blocking::transport::Transport;
use crate::blocking::write::Writing;
use crate::identity::Peer;
use crate::session::SessionId;

/// The receiving half of a [`Stream`](crate::blocking::Stream). It sends nothing: a failure that it finds is told to
/// the peer by the next call of the other half. A thread that is blocked in it comes back when the socket is shut down,
/// by [`ReadHalf::get_ref`] or the other half's.
#[derive(Debug)]
pub struct ReadHalf<T> {
    io: T,
    read: Reading,
    common: Arc<Common>,
}

/// The sending half of a [`Stream`](crate::blocking::Stream). Dropping it closes the transport for writing, which
/// without [`WriteHalf::shutdown`] is a truncation to the peer.
#[derive(Debug)]
pub struct WriteHalf<T: Transport> {
    io: T,
    write: Writing,
    common: Arc<Common>,
}

impl<T: Transport> ReadHalf<T> {
    pub(super) fn new(io: T, read: Reading, common: Arc<Common>) -> Self {
        ReadHalf { io, read, common }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.common.info.peer
    }

    /// The public name of the session.
    pub fn session_id(&self) -> SessionId {
        self.common.info.session_id
    }

    /// The transport.
    pub fn get_ref(&self) -> &T {
        &self.io
    }
}

impl<T: Transport> WriteHalf<T> {
    pub(super) fn new(io: T, write: Writing, common: Arc<Common>) -> Self {
        WriteHalf { io, write, common }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.common.info.peer
    }

    /// The public name of the session.
    pub fn session_id(&self) -> SessionId {
        self.common.info.session_id
    }

    /// The transport.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// Sends the authenticated end of our direction and closes the transport for writing. After an eager call it is the
    /// other half that finds out whether we were accepted.
    ///
    /// # Errors
    /// The failure that ended the session.
    pub fn shutdown(&mut self) -> io::Result<()> {
        self.call(|write, io, common| write.end(io, common))
    }

    /// Sends a KEEPALIVE: tells a peer that has an idle timeout that we are there.
    ///
    /// # Errors
    /// As writing.
    pub fn send_keepalive(&mut self) -> io::Result<()> {
        self.call(|write, io, common| write.keep_alive(io, common))
    }

    /// The peer's reason is the other half's to find.
    fn call<R>(&mut self, call: impl FnOnce(&mut Writing, &mut T, &Common) -> Result<R, Stop>) -> io::Result<R> {
        let WriteHalf { io, write, common } = self;
        if let Some(fault) = common.fault() {
            tell_shortly(io, write, common, fault);
            return Err(fault.to_io());
        }
        let result = call(write, io, common);
        common.note(result)
    }
}

impl<T: Transport> Drop for WriteHalf<T> {
    fn drop(&mut self) {
        // A session that failed while nobody wrote: the peer is told why.
        let WriteHalf { io, write, common } = self;
        common.fault().into_iter().for_each(|fault| tell_shortly(io, write, common, fault));
        // Nobody is there to hear of a failure.
        let _ = self.write.close(&mut self.io);
    }
}

impl<T: Transport> BufRead for ReadHalf<T> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.common.check()?;
        let filled = self.read.fill(&mut self.io, &self.common);
        self.common.note(filled)?;
        Ok(self.read.data())
    }

    fn consume(&mut self, amount: usize) {
        self.read.consume(amount);
    }
}

impl<T: Transport> Read for ReadHalf<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return self.common.check().map(|()| 0);
        }
        let taken = copy(self.fill_buf()?, buf);
        self.consume(taken);
        Ok(taken)
    }
}

impl<T: Transport> Write for WriteHalf<T> {
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
