//! Transports that do what a test says, and futures that are polled by hand.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use countersign::stream::IntoSplit;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a script says to one read.
#[derive(Debug)]
pub enum Read {
    Data(Vec<u8>),
    Pending,
    Fail(io::ErrorKind),
}

/// What a script says to one write.
#[derive(Debug)]
pub enum Write {
    Take(usize),
    Pending,
    Fail(io::ErrorKind),
}

#[derive(Debug, Default)]
pub struct State {
    /// When there are no more: the end if `eof`, else nothing comes.
    pub reads: VecDeque<Read>,
    pub eof: bool,
    /// When there are no more: everything is taken, or nothing if `full`.
    pub writes: VecDeque<Write>,
    pub full: bool,
    pub written: Vec<u8>,
    pub flushes: usize,
    pub shutdowns: usize,
    /// How much each read asked for.
    pub asked: Vec<usize>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// A transport that follows a script; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Script(Arc<Mutex<State>>);

impl Script {
    /// Gives `bytes`, then the end.
    pub fn giving(bytes: &[u8]) -> Self {
        let script = Script::default();
        script.push(bytes);
        script.state().eof = true;
        script
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn push(&self, bytes: &[u8]) {
        let mut state = self.state();
        state.reads.push_back(Read::Data(bytes.to_vec()));
        state.reader.take().into_iter().for_each(Waker::wake);
    }

    pub fn open_writes(&self) {
        let mut state = self.state();
        state.full = false;
        state.writer.take().into_iter().for_each(Waker::wake);
    }

    pub fn take_written(&self) -> Vec<u8> {
        std::mem::take(&mut self.state().written)
    }
}

impl AsyncRead for Script {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        state.asked.push(buf.remaining());
        match state.reads.pop_front() {
            Some(Read::Data(mut bytes)) => {
                let rest = bytes.split_off(bytes.len().min(buf.remaining()));
                buf.put_slice(&bytes);
                if !rest.is_empty() {
                    state.reads.push_front(Read::Data(rest));
                }
                Poll::Ready(Ok(()))
            }
            Some(Read::Fail(kind)) => Poll::Ready(Err(kind.into())),
            Some(Read::Pending) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None if state.eof => Poll::Ready(Ok(())),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        let count = match state.writes.pop_front() {
            Some(Write::Take(count)) => count.min(buf.len()),
            Some(Write::Fail(kind)) => return Poll::Ready(Err(kind.into())),
            Some(Write::Pending) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            None if state.full => {
                state.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            None => buf.len(),
        };
        state.written.extend_from_slice(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state().flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state().shutdowns += 1;
        Poll::Ready(Ok(()))
    }
}

impl IntoSplit for Script {
    type Read = Script;
    type Write = Script;

    fn into_split(self) -> (Self::Read, Self::Write) {
        (self.clone(), self)
    }
}

/// A transport that is never ready at once and takes and gives few bytes at a time.
#[derive(Debug)]
pub struct Stutter<T> {
    io: T,
    max: usize,
    rng: Option<ChaCha8Rng>,
    /// For reading, writing, flushing, shutting down: whether the last poll was pending.
    waited: [bool; 4],
}

impl<T> Stutter<T> {
    /// Every operation is pending once, then gives at most `max` bytes.
    pub fn every(io: T, max: usize) -> Self {
        Stutter { io, max, rng: None, waited: [false; 4] }
    }

    /// Operations are pending at random, and give a random number of bytes up to `max`.
    pub fn seeded(io: T, max: usize, rng: ChaCha8Rng) -> Self {
        Stutter { io, max, rng: Some(rng), waited: [false; 4] }
    }

    fn turn(&mut self, operation: usize, cx: &mut Context<'_>) -> Poll<usize> {
        let (wait, count) = match &mut self.rng {
            Some(rng) => (rng.next_u32().is_multiple_of(2), 1 + rng.next_u32() as usize % self.max),
            None => (!self.waited[operation], self.max),
        };
        self.waited[operation] = wait;
        if wait {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(count)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stutter<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = ready!(self.turn(0, cx));
        let mut scratch = vec![0; count.min(buf.remaining())];
        let mut part = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut part))?;
        buf.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stutter<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(self.turn(1, cx));
        Pin::new(&mut self.io).poll_write(cx, &buf[..count.min(buf.len())])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.turn(2, cx));
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.turn(3, cx));
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Polls at most so many times, and drops the future.
pub fn poll_times<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    (0..times).find_map(|_| match future.as_mut().poll(&mut cx) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    })
}

/// Polls until it is ready, whether woken or not, but not for ever.
pub fn drive<F: Future>(future: F) -> F::Output {
    poll_times(future, 1_000_000).expect("it is never ready")
}

/// Ends a test that hangs.
pub async fn bounded<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(50), future).await.expect("it hangs")
}
