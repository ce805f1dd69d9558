//! Handshakes, many at a time: connect, authenticate each other, one byte from the server once it knows the client,
//! close.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::conn::{Conn, Peer, receive_exactly};
use crate::measures::Figures;
use crate::pair::run;

/// CPU time of both sides for one of them.
pub fn handshake<P: Peer>(peer: P, quick: bool) -> Result<Figures> {
    let (warm, count) = if quick { (128, 192) } else { (256, 2_000) };
    let (phase, phases) = unbounded_channel();
    let (cost, costs) = unbounded_channel();
    let client = peer.clone();
    let ((client, server), ()) = run(
        move |address| call(client, address, [warm, count], phase, costs),
        move |listener| answer(peer, listener, phases, cost),
    )?;
    let per = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    let both = client.cpu + server;
    Ok(Figures::from([
        ("client us".into(), per(client.cpu)),
        ("server us".into(), per(server)),
        ("both us".into(), per(both)),
        ("wall us".into(), per(client.wall)),
        ("elsewhere us".into(), per(client.process.saturating_sub(both))),
    ]))
}

/// Warms up, then measures. The server is told after how many connections a phase ends, and answers with its CPU time
/// in it.
async fn call<P: Peer>(
    peer: P,
    address: SocketAddr,
    [warm, count]: [usize; 2],
    phase: UnboundedSender<usize>,
    mut costs: UnboundedReceiver<Duration>,
) -> Result<(crate::clock::Cost, Duration)> {
    phase.send(warm)?;
    handshakes(&peer, address, warm).await?;
    costs.recv().await.context("the server has gone")?;
    peer.warmed();
    phase.send(count)?;
    let clock = Clock::start();
    handshakes(&peer, address, count).await?;
    let client = clock.stop();
    let server = costs.recv().await.context("the server has gone")?;
    Ok((client, server))
}

async fn handshakes<P: Peer>(peer: &P, address: SocketAddr, count: usize) -> Result<()> {
    let left = Arc::new(AtomicUsize::new(count));
    let mut callers = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (peer, left) = (peer.clone(), left.clone());
        callers.spawn(async move {
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                let mut conn = peer.connect(address).await?;
                receive_exactly(&mut conn, &mut [0; 16], 1, &mut |_| {}).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(result) = callers.join_next().await {
        result??;
    }
    Ok(())
}

async fn answer<P: Peer>(
    peer: P,
    listener: TcpListener,
    phases: UnboundedReceiver<usize>,
    cost: UnboundedSender<Duration>,
) -> Result<()> {
    let done = Arc::new(AtomicUsize::new(0));
    let byte = Arc::new(P::Conn::message(&[7]));
    let counter = done.clone();
    let serve = peer.serve(listener, move |mut conn| {
        let (counter, byte) = (counter.clone(), byte.clone());
        async move {
            conn.send(&byte).await?;
            conn.flush().await?;
            drop(conn);
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    });
    tokio::select! {
        result = serve => result,
        () = account(phases, cost, &done) => Ok(()),
    }
}

/// Ends when the client does.
async fn account(mut phases: UnboundedReceiver<usize>, cost: UnboundedSender<Duration>, done: &AtomicUsize) {
    while let Some(count) = phases.recv().await {
        let clock = Clock::start();
        let end = done.load(Ordering::Relaxed) + count;
        while done.load(Ordering::Relaxed) < end && !phases.is_closed() {
            sleep(GLANCE).await;
        }
        if cost.send(clock.stop().cpu).is_err() {
            return;
        }
    }
}

const AT_A_TIME: usize = 64;
/// How often the server looks whether all are done; costs next to nothing.
const GLANCE: Duration = Duration::from_millis(2);
