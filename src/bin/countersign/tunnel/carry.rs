//! Carries bytes between a session and its plain side, both ways, until both directions have ended. One task for both; nothing is kept for a session
//! that waits: what is read from the plain side is sealed at once, and what the peer sent is written from the buffer that it was opened in.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use countersign::Stream;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::tunnel::book::Traffic;
use crate::tunnel::gone::{self, Gone};
use crate::tunnel::plain::Plain;

/// Which of the two sides failed.
#[derive(Debug)]
pub enum Broken {
    Plain(io::Error),
    Peer(io::Error),
}

/// What has ended well, whatever becomes of the rest.
#[derive(Debug, Default)]
pub struct Ends {
    /// What we send to the peer: behind it no alert can be sent.
    pub sent: bool,
    pub received: bool,
}

/// Carries until both have ended. The session and the plain side stay with the caller, to be ended as the failure calls for.
pub async fn carry(
    stream: &mut Stream<TcpStream>,
    plain: &mut Plain,
    traffic: &Traffic,
    buffer: usize,
    ends: &mut Ends,
) -> Result<(), Broken> {
    let mut up = Up { left: Vec::new(), at: 0, ended: false, done: false };
    let mut down = Down { unwanted: false, done: false };
    let mut gone: Option<Gone> = None;
    let mut down_first = false;
    poll_fn(|cx| {
        // Both are asked each time: what one waits for may be what the other does. In turns, for the first may use up all that a task may do at a time.
        let mut received = Poll::Pending;
        if down_first {
            received = down.poll(cx, stream, plain, traffic);
        }
        let sent = up.poll(cx, stream, plain, traffic, buffer);
        if !down_first {
            received = down.poll(cx, stream, plain, traffic);
        }
        down_first = !down_first;
        (ends.sent, ends.received) = (up.done, down.done);
        if up.done != down.done {
            // Of the side that has ended nothing is read any more.
            let side = || if up.done { plain.gone() } else { gone::watch(stream.get_ref()) };
            if let Poll::Ready(error) = gone.get_or_insert_with(side).as_mut().poll(cx) {
                return Poll::Ready(Err(if up.done { Broken::Plain(error) } else { Broken::Peer(error) }));
            }
        }
        plain.reap(cx);
        traffic.rekeyed(stream.rekeys());
        match (sent, received) {
            (Poll::Ready(Err(broken)), _) | (_, Poll::Ready(Err(broken))) => Poll::Ready(Err(broken)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => {
                // While the plain side takes nothing nobody reads, so somebody else has to tell the peer that we are there.
                if let Poll::Ready(Err(error)) = pin!(stream.keep_alive()).poll(cx) {
                    return Poll::Ready(Err(Broken::Peer(error)));
                }
                Poll::Pending
            }
        }
    })
    .await
}

/// From the plain side to the peer.
struct Up {
    /// What was read and the session would not take just then; rarely anything.
    left: Vec<u8>,
    at: usize,
    ended: bool,
    done: bool,
}

impl Up {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream<TcpStream>,
        plain: &mut Plain,
        traffic: &Traffic,
        buffer: usize,
    ) -> Poll<Result<(), Broken>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        loop {
            while let Some(left) = self.left.get(self.at..).filter(|left| !left.is_empty()) {
                self.at += ready!(Pin::new(&mut *stream).poll_write(cx, left)).map_err(Broken::Peer)?;
            }
            (self.left, self.at) = (Vec::new(), 0);
            if self.ended {
                ready!(Pin::new(&mut *stream).poll_shutdown(cx)).map_err(Broken::Peer)?;
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            // Nothing is read before the network has taken what was read before: that is the back-pressure.
            ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(Broken::Peer)?;
            ready!(self.pass(cx, stream, plain, traffic, buffer))?;
        }
    }

    /// Reads once, and writes what was read.
    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream<TcpStream>,
        plain: &mut Plain,
        traffic: &Traffic,
        buffer: usize,
    ) -> Poll<Result<(), Broken>> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(SCRATCH_LEN, 0);
            let room = scratch.get_mut(..buffer).unwrap_or_default();
            let mut room = ReadBuf::new(room);
            ready!(Pin::new(plain).poll_read(cx, &mut room)).map_err(Broken::Plain)?;
            let read = room.filled();
            if read.is_empty() {
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            traffic.sent(read.len());
            let taken = match Pin::new(stream).poll_write(cx, read) {
                Poll::Ready(taken) => taken.map_err(Broken::Peer)?,
                Poll::Pending => 0,
            };
            self.left = read.get(taken..).unwrap_or_default().to_vec();
            Poll::Ready(Ok(()))
        })
    }
}

/// From the peer to the plain side.
struct Down {
    /// The command takes no more input; the rest is discarded, so that the peer can finish.
    unwanted: bool,
    done: bool,
}

impl Down {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream<TcpStream>,
        plain: &mut Plain,
        traffic: &Traffic,
    ) -> Poll<Result<(), Broken>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        loop {
            let data = ready!(Pin::new(&mut *stream).poll_fill_buf(cx)).map_err(Broken::Peer)?;
            if data.is_empty() {
                ready!(Pin::new(&mut *plain).poll_shutdown(cx)).or_else(gone).map_err(Broken::Plain)?;
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            let taken = if self.unwanted {
                data.len()
            } else {
                match ready!(Pin::new(&mut *plain).poll_write(cx, data)) {
                    Ok(taken) => taken,
                    Err(error) if plain.wants_no_more(&error) => {
                        self.unwanted = true;
                        continue;
                    }
                    Err(error) => return Poll::Ready(Err(Broken::Plain(error))),
                }
            };
            Pin::new(&mut *stream).consume(taken);
            traffic.received(taken);
        }
    }
}

/// Who has closed already need not be told of an end.
fn gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotConnected { Ok(()) } else { Err(error) }
}

thread_local! {
    /// What is read stays here only until it is sealed.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

const SCRATCH_LEN: usize = 64 * 1024;
