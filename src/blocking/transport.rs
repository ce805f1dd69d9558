//! What a blocking stream needs of its transport beyond `Read` and `Write`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A transport that blocks. The sockets of the standard library are there; for a type of yours an empty `impl` will do,
/// and [`Plain`] makes one of anybody else's.
pub trait Transport: Read + Write {
    /// How long a read and a write may block.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where there are no such limits, which is what this gives: then the deadline of a
    /// handshake is looked at between the calls only, and a peer that says nothing keeps its thread.
    fn timeouts(&self) -> io::Result<Timeouts> {
        Err(ErrorKind::Unsupported.into())
    }

    /// Sets how long a read and a write may block: [`ErrorKind::WouldBlock`] or [`ErrorKind::TimedOut`] afterwards.
    ///
    /// # Errors
    /// As [`Transport::timeouts`].
    fn set_timeouts(&mut self, _timeouts: Timeouts) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    /// Reads what is there, without waiting for more. A transport that can't tell, as this, never has anything.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] if nothing is there.
    fn read_ready(&mut self, _buf: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }

    /// Tells the other end that no more bytes will come.
    ///
    /// # Errors
    /// Those of the transport; one that can't say it, as this, does nothing.
    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A transport that two threads can use, one for each direction.
pub trait TryClone: Transport + Sized {
    /// Another handle of the same transport.
    ///
    /// # Errors
    /// Those of the system.
    fn try_clone(&self) -> io::Result<Self>;
}

/// How long a read and a write may block; `None` means for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// A read.
    pub read: Option<Duration>,
    /// A write.
    pub write: Option<Duration>,
}

/// Makes a transport of anything that reads and writes. Deadlines are its own.
#[derive(Clone, Copy, Debug)]
pub struct Plain<T>(pub T);

impl<T: Read> Read for Plain<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl<T: Write> Write for Plain<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<T: Read + Write> Transport for Plain<T> {}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn timeouts(&self) -> io::Result<Timeouts> {
        (**self).timeouts()
    }

    fn set_timeouts(&mut self, timeouts: Timeouts) -> io::Result<()> {
        (**self).set_timeouts(timeouts)
    }

    fn read_ready(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_ready(buf)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        (**self).shutdown_write()
    }
}

/// [`Transport::read_ready`] gives the socket a read timeout of a millisecond, and its own back. It is called only while the verdict of an
/// eager call is awaited, and after a write has failed. A socket that the caller made non-blocking stays so.
impl Transport for TcpStream {
    fn timeouts(&self) -> io::Result<Timeouts> {
        Ok(Timeouts { read: self.read_timeout()?, write: self.write_timeout()? })
    }

    fn set_timeouts(&mut self, timeouts: Timeouts) -> io::Result<()> {
        self.set_read_timeout(timeouts.read)?;
        self.set_write_timeout(timeouts.write)
    }

    fn read_ready(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let before = self.read_timeout()?;
        self.set_read_timeout(Some(AT_ONCE))?;
        let result = self.read(buf);
        self.set_read_timeout(before)?;
        result
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        unless_gone(self.shutdown(Shutdown::Write))
    }
}

impl TryClone for TcpStream {
    fn try_clone(&self) -> io::Result<Self> {
        TcpStream::try_clone(self)
    }
}

/// As for [`TcpStream`].
#[cfg(unix)]
impl Transport for UnixStream {
    fn timeouts(&self) -> io::Result<Timeouts> {
        Ok(Timeouts { read: self.read_timeout()?, write: self.write_timeout()? })
    }

    fn set_timeouts(&mut self, timeouts: Timeouts) -> io::Result<()> {
        self.set_read_timeout(timeouts.read)?;
        self.set_write_timeout(timeouts.write)
    }

    fn read_ready(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let before = self.read_timeout()?;
        self.set_read_timeout(Some(AT_ONCE))?;
        let result = self.read(buf);
        self.set_read_timeout(before)?;
        result
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        unless_gone(self.shutdown(Shutdown::Write))
    }
}

#[cfg(unix)]
impl TryClone for UnixStream {
    fn try_clone(&self) -> io::Result<Self> {
        UnixStream::try_clone(self)
    }
}

/// A connection that is gone needs no closing.
fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == ErrorKind::NotConnected { Ok(()) } else { Err(error) })
}

/// As short as a socket's timeout can be relied on to be.
const AT_ONCE: Duration = Duration::from_millis(1);
