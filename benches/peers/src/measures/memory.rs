//! Memory of idle connections, both ends in one process.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use futures_util::FutureExt;
use tokio::net::TcpListener;

use crate::conn::{Conn, Peer, SCRATCH, listen, receive_exactly};
use crate::measures::Figures;
use crate::memory::{allocated, resident};
use crate::pair::runtime;

/// Bytes of both ends for a connection: of malloc, and resident.
pub fn memory<P: Peer>(peer: &P, quick: bool) -> Result<Figures> {
    runtime()?.block_on(async {
        let mut figures = Figures::new();
        let mut scratch = vec![0; SCRATCH];
        let (count, much) = if quick { (50, 64 << 20) } else { (1_000, 1 << 30) };
        let listener = TcpListener::from_std(listen()?)?;
        // What happens once in a process is done before.
        drop(pairs(peer, &listener, 8, &mut scratch).await?);
        let before = Held::now()?;
        let mut conns = pairs(peer, &listener, count, &mut scratch).await?;
        before.figures("fresh", count, &mut figures)?;
        for (name, size) in [("after 64 B", 64), ("after 64 KiB", 64 << 10)] {
            for pair in &mut conns {
                exchange(pair, size, 1, &mut scratch).await?;
            }
            before.figures(name, count, &mut figures)?;
        }
        let before = Held::now()?;
        let mut one = pairs(peer, &listener, 1, &mut scratch).await?;
        for pair in &mut one {
            exchange(pair, 64 << 10, much >> 16, &mut scratch).await?;
        }
        before.figures("after 1 GiB", 1, &mut figures)?;
        Ok(figures)
    })
}

type Pair<C> = (C, C);

/// So many connections which are idle.
async fn pairs<P: Peer>(
    peer: &P,
    listener: &TcpListener,
    count: usize,
    scratch: &mut [u8],
) -> Result<Vec<Pair<P::Conn>>> {
    let address: SocketAddr = listener.local_addr()?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let answer = async {
            let (io, _) = listener.accept().await?;
            peer.answer(io).await
        };
        let (client, server) = tokio::join!(peer.connect(address), answer);
        let mut pair = (client?, server?);
        // The client may have something of the handshake to read yet.
        exchange(&mut pair, 0, 0, scratch).await?;
        pairs.push(pair);
    }
    Ok(pairs)
}

/// `count` messages of `size` bytes from the client, one from the server; then both flush, and wait for more, which
/// doesn't come.
async fn exchange<C: Conn>(
    (client, server): &mut Pair<C>,
    size: usize,
    count: usize,
    scratch: &mut [u8],
) -> Result<()> {
    if size > 0 {
        let data = (C::message(&vec![0x5a; size]), size);
        one_way(client, server, &data, count, scratch).await?;
        one_way(server, client, &data, 1, scratch).await?;
    }
    client.flush().await?;
    server.flush().await?;
    for conn in [client, server] {
        let read = conn.receive(scratch, &mut |_| {}).now_or_never();
        ensure!(read.is_none(), "there is something to read on an idle connection");
    }
    Ok(())
}

async fn one_way<C: Conn>(
    from: &mut C,
    to: &mut C,
    (data, size): &(C::Message, usize),
    count: usize,
    scratch: &mut [u8],
) -> Result<()> {
    let send = async {
        for _ in 0..count {
            from.send(data).await?;
        }
        from.flush().await
    };
    let mut ignore = |_: &[u8]| {};
    let (sent, received) = tokio::join!(send, receive_exactly(to, scratch, size * count, &mut ignore));
    sent.and(received)
}

/// What the process held at a time.
struct Held {
    allocated: u64,
    resident: u64,
}

impl Held {
    fn now() -> Result<Self> {
        Ok(Held { allocated: allocated(), resident: resident()? })
    }

    fn figures(&self, name: &str, count: usize, figures: &mut Figures) -> Result<()> {
        let now = Held::now()?;
        let per = |now: u64, before: u64| (now as f64 - before as f64) / count as f64;
        figures.insert(format!("{name} B"), per(now.allocated, self.allocated));
        figures.insert(format!("{name} rss B"), per(now.resident, self.resident));
        Ok(())
    }
}
