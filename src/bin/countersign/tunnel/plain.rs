//! The plain side of a session: a TCP or Unix socket, or a command.

use std::future::pending;
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::process::ExitStatus;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::exec::Group;
use crate::tunnel::gone::{self, Gone};

/// Reading gives 0 bytes at the end of the other direction; `shutdown` ends ours.
#[derive(Debug)]
pub enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
    Command(Box<Running>),
}

#[derive(Debug)]
pub struct Running {
    // Before the pipes: who is killed must not see them end.
    group: Group,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
}

impl Plain {
    /// Small writes go out at once; a peer that is gone without a word is noticed some time.
    pub fn tcp(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        SockRef::from(&socket).set_keepalive(true)?;
        Ok(Plain::Tcp(socket))
    }

    pub fn command(mut command: Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the command has no pipes"));
        };
        Ok(Plain::Command(Box::new(Running { group: Group::of(&child), child, stdin: Some(stdin), stdout })))
    }

    /// Lets what was sent before our end arrive. Nothing is read meanwhile: whoever goes on sending is held back.
    pub async fn deliver(&self) {
        let _ = timeout(DELIVERY, self.gone()).await;
    }

    /// Breaks it off, so that the other side sees a reset and not an end. A command is killed.
    pub fn reset(self) {
        match self {
            Plain::Tcp(socket) => drop(SockRef::from(&socket).set_linger(Some(Duration::ZERO))),
            Plain::Unix(_) | Plain::Command(_) => {}
        }
    }

    /// How a command ended, once its output has. One that goes on regardless is killed after a while.
    pub async fn status(&mut self) -> io::Result<Option<ExitStatus>> {
        let Plain::Command(running) = self else { return Ok(None) };
        running.stdin = None;
        let status = timeout(EXIT_GRACE, running.child.wait()).await.map_err(|_| ErrorKind::TimedOut)??;
        running.group.leave();
        Ok(Some(status))
    }

    /// Ready once it is broken off, when nothing is read from it any more; a command never is.
    pub fn gone(&self) -> Gone {
        match self {
            Plain::Tcp(socket) => gone::watch(socket),
            Plain::Unix(socket) => gone::watch(socket),
            Plain::Command(_) => Box::pin(pending()),
        }
    }

    /// Takes notice of a command that has exited while the session goes on, so that no zombie stays.
    pub fn reap(&mut self, cx: &mut Context<'_>) {
        if let Plain::Command(running) = self
            && pin!(running.child.wait()).poll(cx).is_ready()
        {
            running.group.leave_if_empty();
        }
    }

    /// Whether this is an end of input that a command did not want, which is no failure.
    pub fn wants_no_more(&self, error: &io::Error) -> bool {
        matches!(self, Plain::Command(_)) && error.kind() == ErrorKind::BrokenPipe
    }
}

impl AsyncRead for Plain {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Plain::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Plain::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
            Plain::Command(running) => Pin::new(&mut running.stdout).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Plain::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Plain::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
            Plain::Command(running) => match &mut running.stdin {
                Some(stdin) => Pin::new(stdin).poll_write(cx, buf),
                None => Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
            },
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Plain::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Plain::Unix(socket) => Pin::new(socket).poll_flush(cx),
            Plain::Command(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Plain::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Plain::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Plain::Command(running) => {
                running.stdin = None;
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// How long what was sent before an end has to arrive.
pub const DELIVERY: Duration = Duration::from_secs(2);
/// How long a command may go on after it has closed its output.
const EXIT_GRACE: Duration = Duration::from_secs(10);
