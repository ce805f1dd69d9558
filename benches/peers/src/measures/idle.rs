//! Many idle sessions, both ends in one process, each end read by a task: what they hold, and that they do nothing.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::clock::process_cpu;
use crate::conn::{Conn, Peer, complain, listen};
use crate::measures::Figures;
use crate::memory::resident;
use crate::pair::runtime;

/// Resident memory for a session, at several numbers of them, and CPU time while nothing happens.
pub fn idle<P: Peer>(peer: &P, quick: bool) -> Result<Figures> {
    let most = sessions_at_most()?;
    let steps: &[usize] = if quick { &[100, 200] } else { &[1_000, 2_000, 5_000, 10_000] };
    let window = Duration::from_millis(if quick { 200 } else { 5_000 });
    runtime()?.block_on(async {
        let mut figures = Figures::new();
        let listener = TcpListener::from_std(listen()?)?;
        session(peer, &listener).await?;
        let before = resident()?;
        let mut count = 0;
        for step in steps {
            while count < (*step).min(most) {
                session(peer, &listener).await?;
                count += 1;
            }
            sleep(SETTLE).await;
            let held = resident()?.saturating_sub(before);
            figures.insert(format!("rss B at {step}"), held as f64 / count as f64);
        }
        let started = process_cpu();
        sleep(window).await;
        let used = process_cpu().saturating_sub(started);
        figures.insert("cpu ms/s".into(), used.as_secs_f64() * 1e3 / window.as_secs_f64());
        figures.insert("sessions".into(), count as f64);
        Ok(figures)
    })
}

async fn session<P: Peer>(peer: &P, listener: &TcpListener) -> Result<()> {
    let address = listener.local_addr()?;
    let answer = async {
        let (io, _) = listener.accept().await?;
        peer.answer(io).await
    };
    let (client, server) = tokio::join!(peer.connect(address), answer);
    for mut conn in [client?, server?] {
        tokio::spawn(async move {
            let read = conn.receive(&mut [0; 64], &mut |_| {}).await;
            complain(read.and_then(|_| anyhow::bail!("an idle session has something to read")));
        });
    }
    Ok(())
}

/// Raises the limit of descriptors as far as possible. A session needs two.
fn sessions_at_most() -> Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .context("can't raise the limit of files")?;
    let most = limit.maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    Ok(most.saturating_sub(OTHER_FILES) / 2)
}

const OTHER_FILES: usize = 32;
const SETTLE: Duration = Duration::from_millis(200);
