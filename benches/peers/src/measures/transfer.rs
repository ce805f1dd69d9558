//! Data one way: long writes, and short ones.

use std::time::Duration;

use anyhow::Result;

use crate::clock::{Clock, Cost};
use crate::conn::{Conn, Peer, SCRATCH, receive_exactly, steady_sockets};
use crate::measures::Figures;
use crate::pair::run_one;

/// Writes of 64 KiB.
pub fn bulk<P: Peer>(peer: &P, quick: bool) -> Result<Figures> {
    transfer(peer, if quick { 32 << 20 } else { 512 << 20 }, 64 << 10)
}

/// Writes of 1 KiB, flushed at the end.
pub fn small<P: Peer>(peer: &P, quick: bool) -> Result<Figures> {
    transfer(peer, if quick { 8 << 20 } else { 192 << 20 }, 1 << 10)
}

fn transfer<P: Peer>(peer: &P, total: usize, size: usize) -> Result<Figures> {
    steady_sockets();
    let counts = [total / 8 / size, total / size];
    let (client, server) = run_one(peer, |conn| client(conn, counts, size), |conn| server(conn, counts, size))?;
    Ok(figures(client, server, total))
}

/// The costs of the second phase; the first is to get warm.
async fn client<C: Conn>(mut conn: C, [warm, count]: [usize; 2], size: usize) -> Result<Cost> {
    let data = C::message(&vec![0x5a; size]);
    send(&mut conn, &data, warm).await?;
    let clock = Clock::start();
    send(&mut conn, &data, count).await?;
    Ok(clock.stop())
}

async fn server<C: Conn>(mut conn: C, [warm, count]: [usize; 2], size: usize) -> Result<Cost> {
    let mut scratch = vec![0; SCRATCH];
    receive(&mut conn, &mut scratch, warm * size).await?;
    let clock = Clock::start();
    receive(&mut conn, &mut scratch, count * size).await?;
    Ok(clock.stop())
}

/// Sends so often, and waits until it has arrived.
async fn send<C: Conn>(conn: &mut C, data: &C::Message, count: usize) -> Result<()> {
    for _ in 0..count {
        conn.send(data).await?;
    }
    conn.flush().await?;
    receive_exactly(conn, &mut [0; 16], 1, &mut |_| {}).await
}

async fn receive<C: Conn>(conn: &mut C, scratch: &mut [u8], total: usize) -> Result<()> {
    receive_exactly(conn, scratch, total, &mut |_| {}).await?;
    conn.send(&C::message(&[7])).await?;
    conn.flush().await
}

fn figures(client: Cost, server: Cost, total: usize) -> Figures {
    let gib = total as f64 / f64::from(1 << 30);
    let per = |time: Duration| time.as_secs_f64() / gib;
    let both = client.cpu + server.cpu;
    Figures::from([
        ("send s/GiB".into(), per(client.cpu)),
        ("receive s/GiB".into(), per(server.cpu)),
        ("both s/GiB".into(), per(both)),
        ("wall s/GiB".into(), per(client.wall)),
        ("elsewhere s/GiB".into(), per(client.process.saturating_sub(both))),
    ])
}
