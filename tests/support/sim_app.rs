//! What runs over the simulated connections: an application that numbers its messages and acknowledges those of its peer, in every
//! way in which a stream can be driven.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use countersign::Stream;
use countersign::error::Alert;
use countersign::stream::WriteHalf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::sim::{Socket, WritePart};
use crate::sim_judge::{BYE, Conn, Ending, Flow, Mode, PATIENCE, Plan};

/// One end of a session.
pub struct App {
    conn: Arc<Conn>,
    side: usize,
    outgoing: Arc<Mutex<Flow>>,
    incoming: Arc<Mutex<Flow>>,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    next: u64,
    goal: u64,
    /// The acknowledgement and the message that must come next.
    next_ack: u64,
    expected: Option<u64>,
    done_sent: bool,
    done_received: bool,
    shut: bool,
    moved: usize,
    stalled: bool,
    silent_until: Option<Instant>,
    failed: Option<(ErrorKind, String)>,
    over: bool,
}

type Shared = Arc<(Mutex<App>, Notify)>;

impl App {
    pub fn new(conn: &Arc<Conn>, side: usize, outgoing: &Arc<Mutex<Flow>>, incoming: &Arc<Mutex<Flow>>) -> Self {
        let next = outgoing.lock().unwrap().acked;
        App {
            conn: conn.clone(),
            side,
            outgoing: outgoing.clone(),
            incoming: incoming.clone(),
            inbox: Vec::new(),
            outbox: Vec::new(),
            next,
            goal: next + conn.plans[side].messages,
            next_ack: next,
            expected: None,
            done_sent: false,
            done_received: false,
            shut: false,
            moved: 0,
            stalled: false,
            silent_until: None,
            failed: None,
            over: false,
        }
    }

    fn place(&self) -> (Arc<Conn>, usize) {
        (self.conn.clone(), self.side)
    }

    fn plan(&self) -> &Plan {
        &self.conn.plans[self.side]
    }

    /// What is to be written now.
    fn outgoing_bytes(&mut self) -> &[u8] {
        let number = self.outgoing.lock().unwrap().number;
        if let Some((after, span)) = self.plan().silence
            && self.moved >= after
        {
            let until = *self.silent_until.get_or_insert(Instant::now() + span);
            if Instant::now() < until {
                return &self.outbox;
            }
        }
        if self.outbox.is_empty() && self.next < self.goal && self.next - self.next_ack < self.plan().window {
            message(&mut self.outbox, DATA, self.next, &content(number, self.next));
            self.next += 1;
        }
        let said_all = self.next == self.goal && (self.next_ack == self.goal || self.plan().ending == Ending::Half);
        if self.outbox.is_empty() && said_all && !self.done_sent {
            message(&mut self.outbox, DONE, 0, &[]);
            self.done_sent = true;
        }
        &self.outbox
    }

    fn wrote(&mut self, count: usize) {
        self.moved += count;
        let bytes: Vec<u8> = self.outbox.drain(..count).collect();
        self.conn.direction(self.side, |direction| direction.written.extend_from_slice(&bytes));
    }

    fn may_shut_down(&mut self) -> bool {
        self.outgoing_bytes().is_empty() && self.done_sent && (self.done_received || self.plan().ending == Ending::Half)
    }

    fn shutting_down(&self) {
        self.conn.direction(self.side, |direction| direction.ending = true);
    }

    /// Takes what was read: nothing means the end.
    fn received(&mut self, bytes: &[u8]) {
        self.moved += bytes.len();
        let right = self.conn.direction(1 - self.side, |direction| {
            let expected = direction.written.get(direction.read..).unwrap_or_default();
            direction.read += bytes.len();
            if bytes.is_empty() {
                direction.clean = true;
                return direction.ending && expected.is_empty();
            }
            expected.starts_with(bytes)
        });
        if !right {
            self.conn.violation(self.side, format_args!("{} bytes read are not what was written", bytes.len()));
        }
        self.inbox.extend_from_slice(bytes);
        while let Some((kind, number, body)) = take_message(&mut self.inbox) {
            if !self.take(kind, number, &body) {
                self.conn.violation(self.side, format_args!("message {number} of kind {kind} is out of place"));
            }
        }
        if bytes.is_empty() && (!self.done_received || !self.inbox.is_empty()) {
            self.conn.violation(self.side, "a clean end, and not all was said");
        }
    }

    fn take(&mut self, kind: u8, number: u64, body: &[u8]) -> bool {
        match kind {
            DATA => {
                let mut flow = self.incoming.lock().unwrap();
                // In one session each comes once and in order; what an earlier one has brought already may come again.
                let right = self.expected.is_none_or(|expected| expected == number)
                    && number <= flow.received
                    && body == content(flow.number, number);
                self.expected = Some(number + 1);
                flow.received = flow.received.max(number + 1);
                message(&mut self.outbox, ACK, number, &[]);
                right && !self.done_received
            }
            ACK => {
                let mut flow = self.outgoing.lock().unwrap();
                let right = number == self.next_ack && number < flow.received;
                self.next_ack = number + 1;
                flow.acked = flow.acked.max(number + 1);
                right
            }
            _ => !std::mem::replace(&mut self.done_received, true),
        }
    }

    /// A call failed. The first failure is judged; others must be the same.
    fn failed(&mut self, error: &io::Error) {
        let this = (error.kind(), error.to_string());
        match &self.failed {
            None => {
                self.conn.session_failed(self.side, error);
                self.failed = Some(this);
            }
            Some(first) if *first != this => self.conn.violation(self.side, format_args!("{first:?} became {this:?}")),
            Some(_) => {}
        }
    }

    /// Whether both halves are to be dropped, whatever they do. After a failure the other half has to find it as well.
    fn leaves_now(&self) -> bool {
        self.over && self.failed.is_none()
    }

    /// Whether it is time to go without a word.
    fn leaves(&self) -> bool {
        matches!(self.plan().ending, Ending::Rude(after) | Ending::Abort(after) if self.moved >= after)
    }

    fn stall(&mut self) -> Option<Duration> {
        let (_, span) = self.plan().stall.filter(|(after, _)| !self.stalled && self.moved >= *after)?;
        self.stalled = true;
        Some(span)
    }

    fn is_clean(&self) -> bool {
        self.conn.direction(1 - self.side, |direction| direction.clean)
    }

    /// Drives a stream to its end. True for a clean one.
    pub async fn run(mut self, mut stream: Stream<Socket>) -> bool {
        stream.set_idle_timeout(self.plan().idle);
        stream.set_keep_alive(self.plan().keep_alive);
        stream.set_write_buffer(if self.plan().flushes { self.plan().write_buffer } else { 0 });
        match self.plan().mode {
            Mode::Together | Mode::Cancelling(_) => {
                self.whole(&mut stream).await;
                if self.failed.is_some() {
                    self.stays_failed(&mut stream).await;
                }
                self.shut && self.is_clean()
            }
            Mode::Owned => {
                let (read, write) = stream.into_split();
                self.halves(read, write).await
            }
            Mode::Borrowed => {
                let (read, write) = tokio::io::split(stream);
                self.halves(read, write).await
            }
        }
    }

    async fn halves<R, W>(self, read: R, write: W) -> bool
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Keeps + Unpin + Send + 'static,
    {
        let shared = Arc::new((Mutex::new(self), Notify::new()));
        // Both end with this future, whoever drops it.
        let mut tasks = JoinSet::new();
        tasks.spawn(reader(read, shared.clone()));
        tasks.spawn(writer(write, shared.clone()));
        while let Some(ended) = tasks.join_next().await {
            ended.expect("a half");
            if lock(&shared).leaves_now() {
                return false;
            }
        }
        let app = lock(&shared);
        app.shut && app.is_clean()
    }

    async fn whole(&mut self, stream: &mut Stream<Socket>) {
        let (conn, side) = (self.conn.clone(), self.side);
        while !(self.shut && self.is_clean()) {
            if self.leaves() {
                conn.set_unruly(side);
                if let Ending::Abort(_) = self.plan().ending
                    && let Ok(Err(error)) = timeout(PATIENCE, stream.abort(Alert::ShuttingDown, BYE)).await
                {
                    self.failed(&error);
                }
                return;
            }
            if let Some(span) = self.stall() {
                sleep(span).await;
            }
            let reading = !self.is_clean();
            let silence = silence(self.silent_until);
            let moves = async {
                match self.plan().mode {
                    Mode::Cancelling(span) => conn.patient(side, reading, self.moves_in_pieces(stream, span)).await,
                    _ => conn.patient(side, reading, poll_fn(|cx| self.poll_moves(stream, cx))).await,
                }
            };
            let moved = tokio::select! {
                biased;
                moved = moves => moved,
                () = silence => continue,
            };
            match moved {
                Some(Ok(())) => {}
                Some(Err(error)) => return self.failed(&error),
                None => return,
            }
        }
    }

    /// Ready when anything has moved.
    fn poll_moves(&mut self, stream: &mut Stream<Socket>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = Pin::new(stream);
        let chunk = self.outgoing_bytes().to_vec();
        if !chunk.is_empty() {
            if let Poll::Ready(count) = stream.as_mut().poll_write(cx, &chunk) {
                self.wrote(count?);
                return Poll::Ready(Ok(()));
            }
        } else if !self.shut && self.may_shut_down() {
            self.shutting_down();
            if let Poll::Ready(shut) = stream.as_mut().poll_shutdown(cx) {
                self.shut = true;
                return Poll::Ready(shut);
            }
        } else if self.plan().flushes
            && !self.shut
            && let Poll::Ready(Err(error)) = stream.as_mut().poll_flush(cx)
        {
            return Poll::Ready(Err(error));
        }
        if self.is_clean() {
            return Poll::Pending;
        }
        let mut buf = [0; READ_LEN];
        let mut buf = ReadBuf::new(&mut buf);
        stream.poll_read(cx, &mut buf)?.map(|()| {
            self.received(buf.filled());
            Ok(())
        })
    }

    /// As `poll_moves`, with calls that are dropped when they take long, and made again.
    async fn moves_in_pieces(&mut self, stream: &mut Stream<Socket>, span: Duration) -> io::Result<()> {
        let mut buf = [0; READ_LEN];
        loop {
            let chunk = self.outgoing_bytes().to_vec();
            if !chunk.is_empty() {
                if let Ok(count) = timeout(span, stream.write(&chunk)).await {
                    self.wrote(count?);
                    return Ok(());
                }
            } else if !self.shut && self.may_shut_down() {
                self.shutting_down();
                if let Ok(shut) = timeout(span, stream.shutdown()).await {
                    self.shut = true;
                    return shut;
                }
            } else if self.plan().flushes
                && !self.shut
                && let Ok(Err(error)) = timeout(span, stream.flush()).await
            {
                return Err(error);
            }
            if !self.is_clean()
                && let Ok(count) = timeout(span, stream.read(&mut buf)).await
            {
                self.received(&buf[..count?]);
                return Ok(());
            }
            if self.is_clean() {
                sleep(span).await;
            }
        }
    }

    /// Every later call fails at once, and in the same way.
    async fn stays_failed(&mut self, stream: &mut Stream<Socket>) {
        let mut buf = [0; 8];
        let later = [
            timeout(Duration::ZERO, stream.read(&mut buf)).await,
            timeout(Duration::ZERO, stream.write(b"x")).await,
            timeout(Duration::ZERO, stream.flush()).await.map(|flushed| flushed.map(|()| 0)),
            timeout(Duration::ZERO, stream.shutdown()).await.map(|shut| shut.map(|()| 0)),
        ];
        for call in later {
            match call {
                Ok(Err(error)) => self.failed(&error),
                other => self.conn.violation(self.side, format_args!("after a failure a call gives {other:?}")),
            }
        }
    }
}

/// What stands beside waiting, for a half that can keep the session alive.
trait Keeps {
    fn keeps(&mut self) -> impl Future<Output = io::Result<Infallible>> + Send;
}

impl Keeps for WriteHalf<WritePart> {
    fn keeps(&mut self) -> impl Future<Output = io::Result<Infallible>> + Send {
        self.keep_alive()
    }
}

/// The reading half does it.
impl Keeps for tokio::io::WriteHalf<Stream<Socket>> {
    fn keeps(&mut self) -> impl Future<Output = io::Result<Infallible>> + Send {
        std::future::pending()
    }
}

async fn reader(mut half: impl AsyncRead + Unpin, shared: Shared) {
    let (conn, side) = lock(&shared).place();
    let mut buf = [0; READ_LEN];
    loop {
        let stall = lock(&shared).stall();
        if let Some(span) = stall {
            sleep(span).await;
        }
        let read = conn.patient(side, true, half.read(&mut buf)).await;
        let mut app = lock(&shared);
        match read {
            Some(Ok(count)) => {
                app.received(&buf[..count]);
                app.over |= app.leaves();
            }
            Some(Err(error)) => {
                app.failed(&error);
                app.over = true;
            }
            None => app.over = true,
        }
        if app.over {
            conn.set_unruly(side);
        }
        shared.1.notify_one();
        if app.over || app.is_clean() {
            return;
        }
    }
}

async fn writer<W: AsyncWrite + Keeps + Unpin>(mut half: W, shared: Shared) {
    let (conn, side) = lock(&shared).place();
    loop {
        let (chunk, ends, failed, over, silence) = {
            let mut app = lock(&shared);
            let (chunk, ends) = (app.outgoing_bytes().to_vec(), app.may_shut_down());
            (chunk, ends, app.failed.is_some(), app.over, silence(app.silent_until))
        };
        if failed {
            // Both halves know of the failure, and the peer is told of it.
            match timeout(Duration::ZERO, half.shutdown()).await {
                Ok(Err(error)) => lock(&shared).failed(&error),
                other => conn.violation(side, format_args!("after a failure of reading shutdown gives {other:?}")),
            }
            return;
        }
        if over {
            return;
        }
        let done = if !chunk.is_empty() {
            conn.patient(side, false, half.write(&chunk))
                .await
                .map(|count| count.map(|count| lock(&shared).wrote(count)))
        } else if ends {
            lock(&shared).shutting_down();
            conn.patient(side, false, half.shutdown()).await
        } else {
            let flushed = conn.patient(side, false, half.flush()).await;
            match flushed {
                Some(Ok(())) => tokio::select! {
                    biased;
                    () = shared.1.notified() => Some(Ok(())),
                    () = silence => Some(Ok(())),
                    failed = half.keeps() => Some(failed.map(|_| ())),
                },
                other => other,
            }
        };
        let mut app = lock(&shared);
        match done {
            Some(Ok(())) if ends => {
                app.shut = true;
                return;
            }
            Some(Ok(())) => app.over |= app.leaves(),
            Some(Err(error)) => {
                app.failed(&error);
                app.over = true;
            }
            None => app.over = true,
        }
        if app.over {
            conn.set_unruly(side);
        }
    }
}

/// The end of a silence, if that is to come.
async fn silence(until: Option<Instant>) {
    match until.filter(|until| *until > Instant::now()) {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, App> {
    shared.0.lock().unwrap()
}

fn message(out: &mut Vec<u8>, kind: u8, number: u64, body: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(body);
}

fn take_message(inbox: &mut Vec<u8>) -> Option<(u8, u64, Vec<u8>)> {
    let head = inbox.first_chunk::<13>()?;
    let (kind, number) = (head[0], u64::from_be_bytes(head[1..9].try_into().unwrap()));
    let len = 13 + u32::from_be_bytes(head[9..].try_into().unwrap()) as usize;
    (inbox.len() >= len).then(|| {
        let body = inbox[13..len].to_vec();
        inbox.drain(..len);
        (kind, number, body)
    })
}

/// What a message says: mostly little, sometimes more than a record holds.
fn content(flow: u64, number: u64) -> Vec<u8> {
    let mut state = (flow << 32 | number).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let most = match draw() % 64 {
        0 => 80_000,
        1..16 => 4_000,
        _ => 200,
    };
    let len = draw() % most;
    (0..len).map(|_| draw().to_le_bytes()[3]).collect()
}

const DATA: u8 = 1;
const ACK: u8 = 2;
const DONE: u8 = 3;
const READ_LEN: usize = 8_192;
