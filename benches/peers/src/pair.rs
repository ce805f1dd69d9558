//! A client and a server: a thread each on its own core, each with a runtime of its own.

use std::future::Future;
use std::net::SocketAddr;
use std::thread;

use anyhow::{Context, Result, anyhow};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::clock::pin;
use crate::conn::{Peer, listen};

/// Runs both until both are done.
pub fn run<C, S, CF, SF, A, B>(client: C, server: S) -> Result<(A, B)>
where
    C: FnOnce(SocketAddr) -> CF + Send,
    S: FnOnce(TcpListener) -> SF + Send,
    CF: Future<Output = Result<A>>,
    SF: Future<Output = Result<B>>,
    A: Send,
    B: Send,
{
    let listener = listen()?;
    let address = listener.local_addr()?;
    thread::scope(|scope| {
        let server = scope.spawn(move || {
            pin(SERVER_CORE)?;
            runtime()?.block_on(async { server(TcpListener::from_std(listener)?).await }).context("server")
        });
        let client = scope.spawn(move || {
            pin(CLIENT_CORE)?;
            runtime()?.block_on(client(address)).context("client")
        });
        let client = client.join().map_err(|_| anyhow!("the client panicked"))?;
        let server = server.join().map_err(|_| anyhow!("the server panicked"))?;
        Ok((client?, server?))
    })
}

/// Runs both on one connection.
pub fn run_one<P, C, S, CF, SF, A, B>(peer: &P, client: C, server: S) -> Result<(A, B)>
where
    P: Peer,
    C: FnOnce(P::Conn) -> CF + Send,
    S: FnOnce(P::Conn) -> SF + Send,
    CF: Future<Output = Result<A>>,
    SF: Future<Output = Result<B>>,
    A: Send,
    B: Send,
{
    run(
        |address| async move { client(peer.connect(address).await?).await },
        |listener| async move {
            let (io, _) = listener.accept().await?;
            server(peer.answer(io).await?).await
        },
    )
}

/// A runtime that uses no other thread.
pub fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("can't start a runtime")
}

const CLIENT_CORE: usize = 0;
const SERVER_CORE: usize = 1;
