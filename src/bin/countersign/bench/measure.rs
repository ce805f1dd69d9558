//! The four measures, from the initiator's side.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use countersign::Stream;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::bench::call::{Target, VERSIONS};
use crate::bench::cpu;
use crate::bench::live::{Live, Mode};
use crate::bench::protocol::{Command, SETTLE, block};
use crate::bench::times::Times;
use crate::report::{IO, Report};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Calls, each until the verdict is there.
    Handshakes,
    /// Bytes that the peer says it got.
    Upload,
    /// Bytes that we got.
    Download,
    /// Small messages that come back, one at a time.
    RoundTrips,
}

/// How.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub time: Duration,
    pub parallel: usize,
    pub size: u32,
}

/// What came out.
#[derive(Debug)]
pub struct Measured {
    pub measure: Measure,
    /// Handshakes, bytes or round trips.
    pub done: u64,
    pub took: Duration,
    /// Of each handshake or round trip.
    pub times: Times,
    /// CPU time of this process.
    pub cpu: Option<Duration>,
}

/// What is done so far, by all that work on it.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    times: Mutex<Times>,
}

/// What one of the workers of a measure needs.
#[derive(Clone)]
struct Work {
    target: Arc<Target>,
    progress: Arc<Progress>,
    until: Instant,
    size: u32,
}

impl Measure {
    pub const ALL: [Measure; 4] = [Measure::Handshakes, Measure::Upload, Measure::Download, Measure::RoundTrips];

    pub fn is_transfer(self) -> bool {
        matches!(self, Measure::Upload | Measure::Download)
    }

    /// What its sessions are asked for at the start.
    fn command(self, plan: Plan) -> Option<Command> {
        match self {
            Measure::Handshakes => None,
            Measure::Upload => Some(Command::Upload),
            Measure::Download => Some(Command::Download { size: plan.size }),
            Measure::RoundTrips => Some(Command::Echo),
        }
    }
}

/// Takes one measure. Sessions are opened before the clock starts.
pub async fn run(measure: Measure, target: &Arc<Target>, plan: Plan, mode: Mode) -> Result<Measured, Report> {
    let number = if measure == Measure::RoundTrips { 1 } else { plan.parallel };
    let command = measure.command(plan);
    let streams = all((0..number).map(|_| open(target.clone(), command))).await?;
    let progress = Arc::<Progress>::default();
    let (start, cpu) = (Instant::now(), cpu::spent());
    let work = Work { target: target.clone(), progress: progress.clone(), until: start + plan.time, size: plan.size };
    let workers = all(streams.into_iter().map(|stream| work.clone().run(measure, stream)));
    let mut live = Live::start(mode, measure, &progress, start);
    let ends = tokio::select! {
        ends = timeout(plan.time + SETTLE, workers) => ends.unwrap_or_else(|_| Err(stuck()))?,
        never = live.run() => match never {},
    };
    live.end();
    let times = progress.times().clone();
    Ok(Measured {
        measure,
        done: progress.done(),
        took: ends.into_iter().max().unwrap_or(start).saturating_duration_since(start),
        times,
        cpu: cpu.zip(cpu::spent()).map(|(before, after)| after.saturating_sub(before)),
    })
}

async fn open(target: Arc<Target>, command: Option<Command>) -> Result<Stream<TcpStream>, Report> {
    let mut stream = target.call().await?;
    if let Some(command) = command {
        target.request(&mut stream, command).await?;
    }
    Ok(stream)
}

/// Runs all at once. The first failure ends the others.
async fn all<T, F>(tasks: impl Iterator<Item = F>) -> Result<Vec<T>, Report>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Report>> + Send + 'static,
{
    let mut tasks: JoinSet<Result<T, Report>> = tasks.collect();
    let mut done = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        done.push(ended.map_err(|error| Report::new(IO, error, None))??);
    }
    Ok(done)
}

impl Work {
    /// Works until the time is over; tells when it was done.
    async fn run(self, measure: Measure, stream: Stream<TcpStream>) -> Result<Instant, Report> {
        match measure {
            Measure::Handshakes => self.handshakes(stream).await,
            Measure::Upload => self.upload(stream).await,
            Measure::Download => self.download(stream).await,
            Measure::RoundTrips => self.round_trips(stream).await,
        }
    }

    /// One call after the other. A session is closed while the next is called.
    async fn handshakes(self, mut last: Stream<TcpStream>) -> Result<Instant, Report> {
        loop {
            let started = Instant::now();
            if started >= self.until {
                self.target.close(last).await?;
                return Ok(started);
            }
            let next = async {
                let stream = self.target.call().await?;
                self.progress.timed(started.elapsed());
                Ok(stream)
            };
            let (next, closed) = tokio::join!(next, self.target.close(last));
            closed?;
            last = next?;
        }
    }

    /// Until the peer has said that everything has arrived.
    async fn upload(self, mut stream: Stream<TcpStream>) -> Result<Instant, Report> {
        let block = block(self.size);
        let mut sent = 0;
        while Instant::now() < self.until {
            stream.write_all(block).await.map_err(lost)?;
            sent += self.progress.moved(block.len());
        }
        stream.shutdown().await.map_err(lost)?;
        let received = stream.read_u64().await.map_err(lost)?;
        let end = Instant::now();
        if received != sent {
            return Err(unlike(format!("the peer got {received} bytes of {sent}")));
        }
        at_end(&mut stream).await.map(|()| end)
    }

    /// What was on the way at the end counts, and so does the time that it took.
    async fn download(self, mut stream: Stream<TcpStream>) -> Result<Instant, Report> {
        let mut ended = false;
        loop {
            let len = stream.fill_buf().await.map_err(lost)?.len();
            if len == 0 {
                return if ended { Ok(Instant::now()) } else { Err(unlike("the peer ended a download early")) };
            }
            stream.consume(len);
            self.progress.moved(len);
            if !ended && Instant::now() >= self.until {
                stream.shutdown().await.map_err(lost)?;
                ended = true;
            }
        }
    }

    async fn round_trips(self, mut stream: Stream<TcpStream>) -> Result<Instant, Report> {
        let (mut message, mut answer) = ([0; ECHO_LEN], [0; ECHO_LEN]);
        let mut number = 0_u64;
        loop {
            let started = Instant::now();
            if started >= self.until {
                stream.shutdown().await.map_err(lost)?;
                return at_end(&mut stream).await.map(|()| started);
            }
            number += 1;
            message.iter_mut().zip(number.to_be_bytes()).for_each(|(to, from)| *to = from);
            stream.write_all(&message).await.map_err(lost)?;
            stream.flush().await.map_err(lost)?;
            stream.read_exact(&mut answer).await.map_err(lost)?;
            if answer != message {
                return Err(unlike("the peer sent back something else"));
            }
            self.progress.timed(started.elapsed());
        }
    }
}

impl Progress {
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timed(&self, time: Duration) {
        self.times().add(time);
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    fn moved(&self, bytes: usize) -> u64 {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.done.fetch_add(bytes, Ordering::Relaxed);
        bytes
    }
}

async fn at_end(stream: &mut Stream<TcpStream>) -> Result<(), Report> {
    let rest = stream.fill_buf().await.map_err(lost)?;
    if rest.is_empty() { Ok(()) } else { Err(unlike("the peer sent more than it was asked for")) }
}

fn lost(error: io::Error) -> Report {
    Report::session(&error)
}

fn unlike(what: impl std::fmt::Display) -> Report {
    Report::new(IO, what, Some(VERSIONS))
}

fn stuck() -> Report {
    Report::new(IO, format!("nothing came to an end {} s after its time", SETTLE.as_secs()), Some(STUCK))
}

/// Bytes of a message that is sent back.
pub const ECHO_LEN: usize = 64;
const STUCK: &str = "is the network between up? The log of the peer may say more";
