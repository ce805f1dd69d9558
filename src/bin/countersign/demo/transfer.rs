//! The transfer: both directions at once, checked by a digest, with a bar on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign::Stream;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::demo::{Peers, failed, say};
use crate::report::Report;

/// Moves `bytes` each way and compares digests.
pub async fn show(peers: &Peers, bytes: u64) -> Result<(), Report> {
    let listener = peers.listen().await?;
    let (alice, bob) = tokio::join!(peers.alice.connect(listener.local_addr()).into_future(), listener.accept());
    let (alice, bob) = (alice.map_err(failed)?, bob.map_err(failed)?);
    let progress = AtomicU64::new(0);
    let started = Instant::now();
    let (a, b) = (tokio::spawn(exchange(alice, bytes, 0xA1, None)), exchange(bob, bytes, 0xB0, Some(&progress)));
    let both = async { tokio::join!(a, b) };
    let bar = bar(&progress, bytes, started);
    let (alice, bob) = tokio::select! {
        done = both => done,
        never = bar => match never {},
    };
    let took = started.elapsed();
    clear_bar();
    let (alice, bob) = (alice.map_err(failed)?.map_err(failed)?, bob.map_err(failed)?);
    for (who, sent, received) in
        [("alice to bob", alice.sent, bob.received), ("bob to alice", bob.sent, alice.received)]
    {
        let equal = if sent == received { "equal" } else { "DIFFERENT" };
        let digest: String = received.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        say(format!("     {who}: {bytes} bytes, SHA-256 {digest}... on both sides: {equal}"));
        if sent != received {
            return Err(failed("the digests differ"));
        }
    }
    let seconds = took.as_secs_f64().max(1e-9);
    let rate = mib(bytes) / seconds;
    say(format!("     {:.2} s, {rate:.0} MiB/s each way at once, encrypted and authenticated", seconds));
    Ok(())
}

/// Digests of what one side sent and received.
struct Digests {
    sent: [u8; 32],
    received: [u8; 32],
}

async fn exchange(
    stream: Stream<TcpStream>,
    bytes: u64,
    seed: u8,
    progress: Option<&AtomicU64>,
) -> std::io::Result<Digests> {
    let (mut read, mut write) = stream.into_split();
    let sender = tokio::spawn(async move {
        let mut hash = Sha256::new();
        let mut block: Vec<u8> = (0..BLOCK_LEN).map(|i| seed.wrapping_add((i % 251).to_le_bytes()[0])).collect();
        let (mut left, mut number) = (bytes, 0_u64);
        while left > 0 {
            block.iter_mut().zip(number.to_be_bytes()).for_each(|(to, from)| *to = from);
            let len = usize::try_from(left).unwrap_or(BLOCK_LEN).min(BLOCK_LEN);
            let data = block.get(..len).unwrap_or_default();
            hash.update(data);
            write.write_all(data).await?;
            left -= u64::try_from(len).unwrap_or(left);
            number += 1;
        }
        write.shutdown().await?;
        std::io::Result::Ok(hash.finalize().into())
    });
    let mut hash = Sha256::new();
    loop {
        let data = read.fill_buf().await?;
        let len = data.len();
        if len == 0 {
            break;
        }
        hash.update(data);
        read.consume(len);
        if let Some(progress) = progress {
            progress.fetch_add(u64::try_from(len).unwrap_or(0), Ordering::Relaxed);
        }
    }
    let sent = sender.await.map_err(std::io::Error::other)??;
    Ok(Digests { sent, received: hash.finalize().into() })
}

async fn bar(progress: &AtomicU64, bytes: u64, started: Instant) -> std::convert::Infallible {
    if !std::io::stdout().is_terminal() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let done = progress.load(Ordering::Relaxed);
        let share = mib(done) / mib(bytes.max(1));
        let filled: String = (0..40).map(|i| if f64::from(i) < share * 40.0 { '#' } else { '.' }).collect();
        let rate = mib(done) / started.elapsed().as_secs_f64();
        let mut stdout = std::io::stdout().lock();
        let _ = write!(stdout, "\r     [{filled}] {:3.0} %  {rate:.0} MiB/s ", share * 100.0);
        let _ = stdout.flush();
    }
}

fn clear_bar() {
    if std::io::stdout().is_terminal() {
        let _ = write!(std::io::stdout().lock(), "\r\x1b[K");
    }
}

/// Bytes as mebibytes, for showing.
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

const BLOCK_LEN: usize = 64 * 1024;
