//! What has to be true of a peer before its speed is of interest: bytes arrive as they were sent, and strangers are
//! refused by both sides.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::conn::{Conn, Peer, SCRATCH, Side, listen};
use crate::pair::{run_one, runtime};

/// All of it.
pub fn check<P: Peer>(peer: &P) -> Result<()> {
    if P::AUTHENTICATES {
        for side in [Side::Client, Side::Server] {
            runtime()?.block_on(refuses(&peer.imposter(side)?, side)).with_context(|| format!("imposter: {side:?}"))?;
        }
    }
    // Last, so that a client that resumes has a ticket afterwards.
    run_one(peer, |conn| both_ways(conn, 1, 2), |conn| both_ways(conn, 2, 1)).context("data")?;
    Ok(())
}

/// The client sends first, so that no peer has to send and receive at the same time.
async fn both_ways(mut conn: impl Conn, ours: u32, theirs: u32) -> Result<()> {
    if ours < theirs {
        send(&mut conn, &pattern(ours)).await?;
        compare(&mut conn, &pattern(theirs)).await
    } else {
        compare(&mut conn, &pattern(theirs)).await?;
        send(&mut conn, &pattern(ours)).await
    }
}

async fn send<C: Conn>(conn: &mut C, data: &[u8]) -> Result<()> {
    // Short and long writes.
    for part in [data.get(..1), data.get(1..1_000), data.get(1_000..)].into_iter().flatten() {
        conn.send(&C::message(part)).await?;
    }
    conn.flush().await
}

async fn compare(conn: &mut impl Conn, expected: &[u8]) -> Result<()> {
    let mut scratch = vec![0; SCRATCH];
    let mut received = Vec::with_capacity(expected.len());
    while received.len() < expected.len() {
        let count = conn.receive(&mut scratch, &mut |data| received.extend_from_slice(data)).await?;
        ensure!(count > 0, "the peer ended after {} bytes", received.len());
    }
    ensure!(received == expected, "received something else than was sent");
    Ok(())
}

/// One of the two has the wrong identity: the other has to notice.
async fn refuses<P: Peer>(peer: &P, imposter: Side) -> Result<()> {
    let listener = TcpListener::from_std(listen()?)?;
    let address: SocketAddr = listener.local_addr()?;
    let answer = async {
        let (io, _) = listener.accept().await?;
        peer.answer(io).await
    };
    let both = async { tokio::join!(peer.connect(address), answer) };
    let (client, server) = timeout(PATIENCE, both).await.context("nobody decides")?;
    let deceived = if imposter == Side::Client { server } else { client };
    ensure!(deceived.is_err(), "a stranger was accepted");
    Ok(())
}

fn pattern(seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..LEN).map(|_| next()).collect()
}

const LEN: usize = 300_000;
const PATIENCE: Duration = Duration::from_secs(10);
