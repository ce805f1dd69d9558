//! Sees that a connection is broken off though nothing is read from it any more: what the other side had to send has ended, and it takes what we send.

use std::future::pending;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;

use socket2::{Domain, SockRef};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Ready once the connection is broken off.
pub type Gone = Pin<Box<dyn Future<Output = io::Error> + Send>>;

/// Watches a socket. One that the other side has closed in good order, for both directions, does not show here: what is written to it next does.
pub fn watch(socket: impl AsFd) -> Gone {
    // Registered a second time: this one's readiness nobody else waits for. It takes a descriptor while a session is half closed.
    let own = socket.as_fd().try_clone_to_owned();
    Box::pin(async move {
        match until_gone(own).await {
            Ok(Some(error)) => error,
            // Closed in good order; or there is no descriptor for this, and the next write has to find out.
            Ok(None) | Err(_) => pending().await,
        }
    })
}

async fn until_gone(socket: io::Result<OwnedFd>) -> io::Result<Option<io::Error>> {
    // Of whatever kind: it is only asked whether it is ready, and why not.
    let socket = TcpStream::from_std(socket?.into())?;
    loop {
        let ready = socket.ready(Interest::WRITABLE).await?;
        if ready.is_write_closed() {
            // Only a Unix socket says so without having been broken off.
            let unix = SockRef::from(&socket).domain()? == Domain::UNIX;
            return Ok(socket.take_error()?.or((!unix).then(|| ErrorKind::ConnectionReset.into())));
        }
        // It could be written to, which is no news: the next change is waited for.
        let _ = socket.try_io(Interest::WRITABLE, || io::Result::<()>::Err(ErrorKind::WouldBlock.into()));
    }
}
