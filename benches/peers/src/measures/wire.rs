//! What goes over the wire, counted by a relay in between.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::conn::{Conn, Peer, SCRATCH, listen, receive_exactly};
use crate::measures::Figures;
use crate::pair::runtime;

/// Bytes of a handshake and beyond the data of a write, and round trips.
pub fn wire<P: Peer>(peer: &P) -> Result<Figures> {
    peer.warmed();
    runtime()?.block_on(async {
        let listener = TcpListener::from_std(listen()?)?;
        let log = Log::default();
        let address = relay(listener.local_addr()?, log.clone()).await?;
        let call = async {
            let conn = peer.connect(address).await?;
            anyhow::Ok((conn, log.seen().round_trips))
        };
        let answer = async { peer.answer(listener.accept().await?.0).await };
        let (client, server) = tokio::join!(call, answer);
        let ((mut client, until_data), mut server) = (client?, server?);
        sleep(SETTLE).await;
        let handshake = log.seen();
        let mut scratch = vec![0; SCRATCH];
        server.send(&P::Conn::message(&[7])).await?;
        server.flush().await?;
        receive_exactly(&mut client, &mut scratch, 1, &mut |_| {}).await?;
        let until_verdict = log.seen().round_trips;
        let mut added = Vec::new();
        for size in [64, 64 << 10] {
            let before = log.seen().up;
            let message = P::Conn::message(&vec![0x5a; size]);
            let send = async {
                client.send(&message).await?;
                client.flush().await
            };
            let mut ignore = |_: &[u8]| {};
            let (sent, received) = tokio::join!(send, receive_exactly(&mut server, &mut scratch, size, &mut ignore));
            sent.and(received)?;
            added.push((log.seen().up - before) as f64 - size as f64);
        }
        let &[added_64, added_64k] = added.as_slice() else { unreachable!("two sizes") };
        Ok(Figures::from([
            ("handshake B".into(), (handshake.up + handshake.down) as f64),
            ("client B".into(), handshake.up as f64),
            ("server B".into(), handshake.down as f64),
            ("round trips until data".into(), until_data as f64),
            ("round trips until accepted".into(), until_verdict as f64),
            ("added to 64 B".into(), added_64),
            ("added to 64 KiB".into(), added_64k),
        ]))
    })
}

/// What has gone through the relay.
#[derive(Clone, Copy, Default)]
struct Seen {
    up: u64,
    down: u64,
    /// How often the server has spoken after the client.
    round_trips: u64,
    last: Option<Direction>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Seen>>);

impl Log {
    fn seen(&self) -> Seen {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, direction: Direction, count: usize) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match direction {
            Direction::Up => seen.up += count as u64,
            Direction::Down => seen.down += count as u64,
        }
        if direction == Direction::Down && seen.last == Some(Direction::Up) {
            seen.round_trips += 1;
        }
        seen.last = Some(direction);
    }
}

/// Hands one connection on, and counts.
async fn relay(server: SocketAddr, log: Log) -> Result<SocketAddr> {
    let listener = TcpListener::from_std(listen()?)?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.context("relay")?;
        let far = TcpStream::connect(server).await.context("relay")?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
        tokio::spawn(copy(near_read, far_write, log.clone(), Direction::Up));
        tokio::spawn(copy(far_read, near_write, log, Direction::Down));
        anyhow::Ok(())
    });
    Ok(address)
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, log: Log, direction: Direction) -> Result<()> {
    let mut buffer = vec![0; SCRATCH];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(to.shutdown().await?);
        }
        log.note(direction, count);
        to.write_all(buffer.get(..count).unwrap_or_default()).await?;
    }
}

const SETTLE: Duration = Duration::from_millis(50);
