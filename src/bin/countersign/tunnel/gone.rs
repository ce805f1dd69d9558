//! Sees that the other side of a connection is gone though nothing is read from it any more: what it had to send has ended, and it takes what we send.

use std::future::pending;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;

use tokio::io::Interest;
use tokio::net::TcpStream;

/// Ready once the other side is gone.
pub type Gone = Pin<Box<dyn Future<Output = How> + Send>>;

#[derive(Debug)]
pub enum How {
    BrokenOff(io::Error),
    /// A Unix socket that was closed for both directions, or a command that has exited: it takes nothing more, and has left in good order.
    Left,
}

/// Watches a socket. A TCP socket that is closed in good order does not show it here: what is written to it next does.
pub fn watch(socket: impl AsFd) -> Gone {
    // Registered a second time: this one's readiness nobody else waits for. It takes a descriptor while a session is half closed.
    let own = socket.as_fd().try_clone_to_owned();
    Box::pin(async move {
        match until_gone(own).await {
            Ok(how) => how,
            // Without a descriptor the next write has to find out.
            Err(_) => pending().await,
        }
    })
}

async fn until_gone(socket: io::Result<OwnedFd>) -> io::Result<How> {
    // Of whatever kind: it is only asked whether it is ready, and why not.
    let socket = TcpStream::from_std(socket?.into())?;
    loop {
        let ready = socket.ready(Interest::WRITABLE).await?;
        if ready.is_write_closed() {
            let left = || if is_unix(&socket) { How::Left } else { How::BrokenOff(ErrorKind::ConnectionReset.into()) };
            return Ok(socket.take_error()?.map_or_else(left, How::BrokenOff));
        }
        // It could be written to, which is no news: the next change is waited for.
        let _ = socket.try_io(Interest::WRITABLE, || io::Result::<()>::Err(ErrorKind::WouldBlock.into()));
    }
}

fn is_unix(socket: &TcpStream) -> bool {
    socket2::SockRef::from(socket).domain().is_ok_and(|domain| domain == socket2::Domain::UNIX)
}
