//! Ping-pong of 64 bytes. Plain TCP takes turns with the peer in the same two threads: the difference is small, and
//! everything else about a round trip varies more than it does.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::net::TcpListener;

use crate::clock::{Clock, Cost};
use crate::conn::{Conn, Peer, receive_exactly, steady_sockets};
use crate::measures::Figures;
use crate::pair::run;
use crate::peers::Tcp;

/// CPU time of both sides for a round trip.
pub fn echo<P: Peer>(peer: &P, quick: bool) -> Result<Figures> {
    steady_sockets();
    let chunk = if quick { 100 } else { 2_000 };
    let (client, server) = run(
        |address: SocketAddr| async move {
            let mut conn = peer.connect(address).await?;
            let mut tcp = Tcp.connect(address).await?;
            turns(async |turn| if turn { ping(&mut conn, chunk).await } else { ping(&mut tcp, chunk).await }).await
        },
        |listener: TcpListener| async move {
            let mut conn = peer.answer(listener.accept().await?.0).await?;
            let mut tcp = Tcp.answer(listener.accept().await?.0).await?;
            turns(async |turn| if turn { pong(&mut conn, chunk).await } else { pong(&mut tcp, chunk).await }).await
        },
    )?;
    let per = |time: Duration| time.as_secs_f64() * 1e6 / (chunk * TURNS) as f64;
    let both = client.peer.cpu + server.peer.cpu;
    let tcp = client.tcp.cpu + server.tcp.cpu;
    Ok(Figures::from([
        ("client us".into(), per(client.peer.cpu)),
        ("server us".into(), per(server.peer.cpu)),
        ("both us".into(), per(both)),
        ("beyond tcp us".into(), per(both) - per(tcp)),
        ("wall us".into(), per(client.peer.wall)),
        ("elsewhere us".into(), per(client.peer.process.saturating_sub(both))),
    ]))
}

/// What one side's turns took together.
struct Costs {
    peer: Cost,
    tcp: Cost,
}

/// The peer's turn and TCP's, in alternation; the first of each is to get warm.
async fn turns(mut take: impl AsyncFnMut(bool) -> Result<()>) -> Result<Costs> {
    let mut costs = Costs { peer: Cost::default(), tcp: Cost::default() };
    for turn in 0..=TURNS {
        for is_peer in [true, false] {
            let clock = Clock::start();
            take(is_peer).await?;
            let cost = clock.stop();
            if turn > 0 {
                *(if is_peer { &mut costs.peer } else { &mut costs.tcp }) += cost;
            }
        }
    }
    Ok(costs)
}

async fn ping<C: Conn>(conn: &mut C, count: usize) -> Result<()> {
    let message = C::message(&[0x5a; LEN]);
    let mut scratch = vec![0; 4_096];
    for _ in 0..count {
        conn.send(&message).await?;
        conn.flush().await?;
        receive_exactly(conn, &mut scratch, LEN, &mut |_| {}).await?;
    }
    Ok(())
}

async fn pong<C: Conn>(conn: &mut C, count: usize) -> Result<()> {
    let message = C::message(&[0x5a; LEN]);
    let mut scratch = vec![0; 4_096];
    for _ in 0..count {
        receive_exactly(conn, &mut scratch, LEN, &mut |_| {}).await?;
        conn.send(&message).await?;
        conn.flush().await?;
    }
    Ok(())
}

const LEN: usize = 64;
const TURNS: usize = 10;
