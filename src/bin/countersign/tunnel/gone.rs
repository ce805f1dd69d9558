//! Sees that a connection is broken off though nothing is read from it any more: what the other side had to send has ended, and it takes what we send.

use std::future::pending;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

/// Ready once the connection is broken off.
pub type Gone = Pin<Box<dyn Future<Output = io::Error> + Send>>;

/// Watches a socket.
pub fn watch(socket: impl AsFd) -> Gone {
    // Registered a second time: this one's readiness nobody else waits for. It takes a descriptor while a session is half closed.
    let own = socket.as_fd().try_clone_to_owned();
    Box::pin(async move {
        match until_gone(own).await {
            Ok(error) => error,
            // Without a descriptor the next write has to find out.
            Err(_) => pending().await,
        }
    })
}

/// Watches the connection to a peer that sends nothing more, and so can't say that it is there: what we send has to be acknowledged in this time.
pub fn watch_peer(socket: &TcpStream, patience: Option<Duration>) -> Gone {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket2::SockRef::from(socket).set_tcp_user_timeout(patience);
    let _ = patience;
    watch(socket)
}

async fn until_gone(socket: io::Result<OwnedFd>) -> io::Result<io::Error> {
    // Of whatever kind: it is only asked whether it is ready.
    let socket = TcpStream::from_std(socket?.into())?;
    loop {
        let ready = socket.ready(Interest::WRITABLE).await?;
        if ready.is_write_closed() {
            return Ok(io::Error::new(ErrorKind::ConnectionReset, "it was reset after the end of what it had to send"));
        }
        // It could be written to, which is no news: the next change is waited for.
        let _ = socket.try_io(Interest::WRITABLE, || io::Result::<()>::Err(ErrorKind::WouldBlock.into()));
    }
}
