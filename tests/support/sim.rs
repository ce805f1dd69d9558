//! A network in virtual time: sockets with latency, bandwidth, small buffers, partial reads and writes, polls that are
//! pending for nothing, and one fault each: a reset, a cut or a black hole at a byte, or an end that never arrives.
//!
//! It keeps to what a system does with TCP: bytes arrive in order and whole, or the connection fails. Nothing is altered.
//! Each direction remembers one waker for its reader and one for its writer, the newest, as a socket of tokio does, and
//! wakes nobody twice: who loses a wake-up sleeps on.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use countersign::stream::IntoSplit;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_core::Rng;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Where all decisions of a seed come from.
#[derive(Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Other dice, whose throws don't change ours.
    pub fn fork(&mut self) -> Self {
        Dice::new(self.0.next_u64())
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end.max(1)
    }

    pub fn size(&mut self, least: usize, most: usize) -> usize {
        least + self.below((most - least + 1) as u64) as usize
    }

    /// True once in so many throws; never for 0.
    pub fn once_in(&mut self, throws: u64) -> bool {
        throws > 0 && self.below(throws) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    pub fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least + 1))
    }
}

/// How a connection treats honest bytes.
#[derive(Clone, Debug)]
pub struct Quality {
    pub latency: Duration,
    pub bytes_per_ms: usize,
    /// How many bytes a direction holds before its writer has to wait.
    pub room: usize,
    /// The most that a poll takes or gives.
    pub chunk: usize,
    /// One poll in so many is pending for nothing, and woken at once.
    pub sulks: u64,
}

/// What goes wrong, once the side has written so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Both ends get an error.
    Reset {
        side: usize,
        at: usize,
    },
    /// Both ends get an end.
    Cut {
        side: usize,
        at: usize,
    },
    /// Nothing that this side writes arrives any more, and neither does its end.
    Hole {
        side: usize,
        at: usize,
    },
    /// As `Hole`, in both directions.
    Vanish {
        side: usize,
        at: usize,
    },
    /// That this side closes is never told.
    Mute {
        side: usize,
    },
}

/// What became of a connection; for the judge.
#[derive(Debug, Default)]
pub struct Fate {
    /// The fault has happened.
    pub fired: bool,
    /// When a direction became a hole.
    pub holed: [bool; 2],
    /// A side has closed its socket, and with bytes unread.
    pub closed: [bool; 2],
    pub reset: bool,
    /// Bytes that each side wrote.
    pub written: [usize; 2],
    /// When a side got bytes last.
    pub given: [Option<Instant>; 2],
}

/// One direction.
#[derive(Debug)]
struct Way {
    segments: VecDeque<(Instant, Vec<u8>)>,
    queued: usize,
    lost: usize,
    /// When what was written last arrives.
    clock: Instant,
    /// When the end arrives.
    end: Option<Instant>,
    shut: bool,
    hole: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug)]
struct Wire {
    ways: [Way; 2],
    reset_at: Option<Instant>,
    fault: Fault,
    dice: Dice,
    fate: Fate,
}

#[derive(Debug)]
struct Shared {
    wire: Mutex<Wire>,
    quality: Quality,
}

/// Looks at what becomes of a connection.
#[derive(Clone)]
pub struct Witness(Arc<Shared>);

/// Without the bytes on their way.
impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wire = self.0.wire.lock().expect("wire");
        let queued = [0, 1].map(|side| wire.ways[side].queued);
        write!(f, "{:?}, {:?}, {:?}, {queued:?} queued", self.0.quality, wire.fault, wire.fate)
    }
}

impl Witness {
    pub fn fate<R>(&self, look: impl FnOnce(&Fate) -> R) -> R {
        look(&self.0.wire.lock().expect("wire").fate)
    }
}

/// Closes its side when the last part of the socket is gone.
#[derive(Debug)]
struct Side {
    shared: Arc<Shared>,
    number: usize,
    live: Arc<AtomicUsize>,
}

/// One end, or the reading or writing part of one.
#[derive(Debug)]
pub struct Socket<const WRITES: bool = true> {
    side: Arc<Side>,
    timer: Pin<Box<Sleep>>,
    /// The other direction has a task of its own, and a timer.
    write_timer: Pin<Box<Sleep>>,
}

/// Two ends; `live` counts them until they are closed.
pub fn connection(quality: Quality, fault: Fault, dice: Dice, live: &Arc<AtomicUsize>) -> (Socket, Socket, Witness) {
    let way = || Way {
        segments: VecDeque::new(),
        queued: 0,
        lost: 0,
        clock: Instant::now(),
        end: None,
        shut: false,
        hole: false,
        reader: None,
        writer: None,
    };
    let wire = Wire { ways: [way(), way()], reset_at: None, fault, dice, fate: Fate::default() };
    let shared = Arc::new(Shared { wire: Mutex::new(wire), quality });
    let end = |number| {
        live.fetch_add(1, Ordering::Relaxed);
        socket(Arc::new(Side { shared: shared.clone(), number, live: live.clone() }))
    };
    (end(0), end(1), Witness(shared.clone()))
}

fn socket<const WRITES: bool>(side: Arc<Side>) -> Socket<WRITES> {
    let timer = || Box::pin(sleep_until(Instant::now()));
    Socket { side, timer: timer(), write_timer: timer() }
}

/// Wakers to be used, or dropped, when the lock is open again: a waker may own a task that owns sockets.
type Wakers = Vec<(Waker, bool)>;

fn settle(wakers: Wakers) {
    for (waker, wake) in wakers {
        if wake {
            waker.wake();
        }
    }
}

impl Way {
    fn wake(&mut self, wakers: &mut Wakers) {
        wakers.extend([self.reader.take(), self.writer.take()].into_iter().flatten().map(|waker| (waker, true)));
    }

    fn close(&mut self, latency: Duration) {
        if !self.shut {
            self.shut = true;
            self.clock = self.clock.max(Instant::now() + latency);
            self.end = (!self.hole).then_some(self.clock);
        }
    }
}

impl Wire {
    fn is_reset(&self) -> bool {
        self.reset_at.is_some_and(|at| at <= Instant::now())
    }

    fn reset(&mut self, at: Instant, discard: bool, wakers: &mut Wakers) {
        self.reset_at = Some(self.reset_at.map_or(at, |before| before.min(at)));
        self.fate.reset = true;
        for way in &mut self.ways {
            if discard {
                way.segments.clear();
                way.queued = 0;
            }
            way.wake(wakers);
        }
    }

    /// How much this side may write before its fault happens.
    fn until_fault(&self, side: usize) -> usize {
        match self.fault {
            Fault::Reset { side: whose, at }
            | Fault::Cut { side: whose, at }
            | Fault::Hole { side: whose, at }
            | Fault::Vanish { side: whose, at }
                if whose == side && !self.fate.fired =>
            {
                at.saturating_sub(self.fate.written[side])
            }
            _ => usize::MAX,
        }
    }

    fn fire(&mut self, latency: Duration, wakers: &mut Wakers) {
        self.fate.fired = true;
        match self.fault {
            Fault::None | Fault::Mute { .. } => {}
            Fault::Reset { .. } => {
                let discard = self.dice.once_in(2);
                self.reset(Instant::now(), discard, wakers);
            }
            Fault::Cut { .. } => {
                for way in &mut self.ways {
                    way.close(latency);
                    way.wake(wakers);
                }
            }
            Fault::Hole { side, .. } => {
                self.ways[side].hole = true;
                self.fate.holed[side] = true;
            }
            Fault::Vanish { .. } => {
                self.ways.iter_mut().for_each(|way| way.hole = true);
                self.fate.holed = [true; 2];
            }
        }
    }
}

impl<const WRITES: bool> Socket<WRITES> {
    /// Whether this poll is to be pending for nothing; then it has been woken already.
    fn sulks(&self, wire: &mut Wire, cx: &mut Context<'_>) -> bool {
        let sulks = wire.dice.once_in(self.side.shared.quality.sulks);
        if sulks {
            cx.waker().wake_by_ref();
        }
        sulks
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, wakers: &mut Wakers) -> Poll<io::Result<()>> {
        let shared = self.side.shared.clone();
        let mut wire = shared.wire.lock().expect("wire");
        if self.sulks(&mut wire, cx) {
            return Poll::Pending;
        }
        let (now, reset_at) = (Instant::now(), wire.reset_at);
        let reset = wire.is_reset();
        let limit = wire.dice.size(1, shared.quality.chunk).min(buf.remaining());
        let way = &mut wire.ways[1 - self.side.number];
        if let Some((at, bytes)) = way.segments.front_mut().filter(|(at, _)| *at <= now) {
            let rest = bytes.split_off(bytes.len().min(limit));
            buf.put_slice(bytes);
            way.queued -= bytes.len();
            let at = *at;
            way.segments.pop_front();
            if !rest.is_empty() {
                way.segments.push_front((at, rest));
            }
            wakers.extend(way.writer.take().map(|waker| (waker, true)));
            wire.fate.given[self.side.number] = Some(now);
            return Poll::Ready(Ok(()));
        }
        if reset {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        let end = way.end.filter(|_| way.segments.is_empty());
        if end.is_some_and(|at| at <= now) {
            return Poll::Ready(Ok(()));
        }
        wakers.extend(way.reader.replace(cx.waker().clone()).map(|waker| (waker, false)));
        let next = [way.segments.front().map(|(at, _)| *at), end, reset_at].into_iter().flatten().min();
        drop(wire);
        sleep_to(&mut self.timer, next, cx)
    }

    fn write(&mut self, cx: &mut Context<'_>, buf: &[u8], wakers: &mut Wakers) -> Poll<io::Result<usize>> {
        let shared = self.side.shared.clone();
        let quality = &shared.quality;
        let side = self.side.number;
        let mut wire = shared.wire.lock().expect("wire");
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.sulks(&mut wire, cx) {
            return Poll::Pending;
        }
        if wire.until_fault(side) == 0 {
            wire.fire(quality.latency, wakers);
        }
        if wire.is_reset() || wire.ways[side].shut {
            let kind = if wire.ways[side].shut { ErrorKind::BrokenPipe } else { ErrorKind::ConnectionReset };
            return Poll::Ready(Err(kind.into()));
        }
        let limit = wire.dice.size(1, quality.chunk).min(buf.len()).min(wire.until_fault(side));
        let (now, reset_at) = (Instant::now(), wire.reset_at);
        let way = &mut wire.ways[side];
        let count = limit.min(quality.room - (way.queued + way.lost).min(quality.room));
        if count == 0 {
            wakers.extend(way.writer.replace(cx.waker().clone()).map(|waker| (waker, false)));
            drop(wire);
            return sleep_to(&mut self.write_timer, reset_at, cx);
        }
        if way.hole {
            way.lost += count;
        } else {
            way.queued += count;
            let travel = Duration::from_millis((count / quality.bytes_per_ms) as u64);
            way.clock = way.clock.max(now + quality.latency) + travel;
            way.segments.push_back((way.clock, buf[..count].to_vec()));
            wakers.extend(way.reader.take().map(|waker| (waker, true)));
        }
        wire.fate.written[side] += count;
        if wire.fate.written[side] > RUNAWAY {
            // Not with the lock in the hand: others look at it yet.
            drop(wire);
            panic!("a side writes without end");
        }
        // Nobody is there any more: the answer is a reset, unless something on the path swallows it.
        let holed = wire.fate.holed != [false; 2];
        if wire.fate.closed[1 - side] && !holed && wire.reset_at.is_none() {
            wire.reset(now + quality.latency * 2, false, wakers);
        }
        Poll::Ready(Ok(count))
    }
}

/// Pending until then; for ever if there is no such time.
fn sleep_to<T>(timer: &mut Pin<Box<Sleep>>, at: Option<Instant>, cx: &mut Context<'_>) -> Poll<T> {
    if let Some(at) = at {
        timer.as_mut().reset(at);
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
    Poll::Pending
}

impl Side {
    fn shut(&self) {
        let mut wakers = Wakers::new();
        let mut wire = self.shared.wire.lock().expect("wire");
        if wire.fault == (Fault::Mute { side: self.number }) && !wire.ways[self.number].shut {
            wire.fate.fired = true;
            wire.fate.holed[self.number] = true;
            wire.ways[self.number].hole = true;
        }
        wire.ways[self.number].close(self.shared.quality.latency);
        wakers.extend(wire.ways[self.number].reader.take().map(|waker| (waker, true)));
        drop(wire);
        settle(wakers);
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.shut();
        let mut wakers = Wakers::new();
        let mut wire = self.shared.wire.lock().expect("wire");
        wire.fate.closed[self.number] = true;
        let unread = wire.ways[1 - self.number].queued > 0;
        if unread && wire.fate.holed == [false; 2] {
            // As Linux does when a socket is closed with bytes unread.
            let discard = wire.dice.once_in(2);
            let at = Instant::now() + self.shared.quality.latency;
            wire.reset(at, discard, &mut wakers);
        }
        let way = &mut wire.ways[1 - self.number];
        wakers.extend(
            [way.reader.take(), wire.ways[self.number].writer.take()].into_iter().flatten().map(|w| (w, false)),
        );
        drop(wire);
        settle(wakers);
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<const WRITES: bool> AsyncRead for Socket<WRITES> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut wakers = Wakers::new();
        let polled = self.read(cx, buf, &mut wakers);
        settle(wakers);
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut wakers = Wakers::new();
        let polled = self.write(cx, buf, &mut wakers);
        settle(wakers);
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sulks = self.sulks(&mut self.side.shared.wire.lock().expect("wire"), cx);
        if sulks { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (sulks, reset) = {
            let mut wire = self.side.shared.wire.lock().expect("wire");
            (self.sulks(&mut wire, cx), wire.is_reset())
        };
        match (sulks, reset) {
            (true, _) => Poll::Pending,
            (false, true) => Poll::Ready(Err(ErrorKind::NotConnected.into())),
            (false, false) => {
                self.side.shut();
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// The writing half closes its direction when it is dropped, as those of tokio's sockets do.
#[derive(Debug)]
pub struct WritePart(Socket);

impl AsyncWrite for WritePart {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Drop for WritePart {
    fn drop(&mut self) {
        self.0.side.shut();
    }
}

impl IntoSplit for Socket {
    type Read = Socket<false>;
    type Write = WritePart;

    fn into_split(self) -> (Self::Read, Self::Write) {
        (socket(self.side.clone()), WritePart(self))
    }
}

/// More than any application here has to say, in bytes.
const RUNAWAY: usize = 16 << 20;
