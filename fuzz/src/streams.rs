//! Two streams over a transport that takes and gives as much as it likes, when it likes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::num::NonZeroU16;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use countersign::Stream;
use countersign::crypto::agreement::SharedSecret;
use countersign::crypto::schedule::{EarlySecret, Exporter, TrafficSecret};
use countersign::crypto::suite::Suite;
use countersign::error::{Alert, Error, Misuse};
use countersign::role::Role;
use countersign::secret::Secret;
use countersign::session::{Opener, Padding, RekeyPolicy, Sealer, Session, SessionInfo, Shares};
use countersign::stream::{IntoSplit, ReadHalf, WriteHalf, protocol_error};
use countersign::wire::frame::{FrameType, Header};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::parties::Machine;
use super::reader::Reader;

/// Input: a byte whose two lowest bits split the streams into halves, whose next two choose the suite, whose next two
/// the padding, and whose highest two make the rekey policies of the sides tiny; a byte that chooses an [`Answer`]; a
/// byte with the length of the transport's script and the script, one byte for each of its calls, then operations: a
/// byte with the side (highest bit) and the sort, and its arguments.
///
/// * Bytes out are bytes in, in order; the end is clean only after all of them and the peer's END; anything else is an error,
///   which every later call repeats.
/// * Without a fault nothing fails but writing after the end, and when the transport is ready all arrives.
/// * An eager initiator that is refused hears of it, whatever it does, and its whole stream does not shut down cleanly
///   before it is accepted.
/// * A stream is pending only if its transport was, in the same call: no wake-up is lost.
pub fn stream_schedule(data: &[u8]) {
    let mut reader = Reader::new(data);
    let (choice, answer) = (reader.u8(), Answer::read(reader.u8()));
    let script: VecDeque<u8> = reader.short().iter().copied().collect();
    let wire = Rc::new(RefCell::new(Wire { pipes: Default::default(), script, pending: false }));
    let mut model = Model {
        ends: [0, 1].map(|side| End::new(side, &wire, choice, answer)),
        sides: Default::default(),
        wire,
        answer,
        verdict: answer.verdict(suite(choice)),
        faulty: false,
    };
    if answer != Answer::Late {
        model.answer();
    }
    for _ in 0..96 {
        if reader.is_empty() {
            break;
        }
        model.operate(&mut reader);
    }
    model.conclude();
}

/// What the responder, side 1, tells an eager initiator, side 0. The highest bit but one of an operation sends it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// The initiator has waited for it.
    Known,
    Accepted,
    /// Accepted, and later.
    Late,
    Refused,
}

impl Answer {
    fn read(choice: u8) -> Self {
        [Answer::Known, Answer::Accepted, Answer::Late, Answer::Refused][usize::from(choice % 4)]
    }

    /// The first record of the responder.
    fn verdict(self, suite: Suite) -> Option<Vec<u8>> {
        let mut text = match self {
            Answer::Known => return None,
            Answer::Accepted | Answer::Late => vec![4, 0],
            Answer::Refused => vec![4, 5, b'n', b'o'],
        };
        let header = Header { frame: FrameType::Record, len: text.len() + 16 }.encode();
        let tag = secret(1).sealing_key(suite.aead()).and_then(|mut key| key.seal(&header, &mut text)).expect("keys");
        Some([&header[..], &text, &tag].concat())
    }
}

struct Model {
    ends: [End; 2],
    sides: [Side; 2],
    wire: Rc<RefCell<Wire>>,
    answer: Answer,
    /// The VERDICT, until it is sent.
    verdict: Option<Vec<u8>>,
    /// The transport has failed or lied, or a side has aborted.
    faulty: bool,
}

/// What one side has done and seen.
#[derive(Default)]
struct Side {
    sent: Vec<u8>,
    received: Vec<u8>,
    /// END or an alert has been sealed: nothing more can be written.
    closed: bool,
    /// It was END.
    ended: bool,
    /// The error that every call repeats.
    failed: Option<(io::ErrorKind, String)>,
}

impl Model {
    fn operate(&mut self, reader: &mut Reader<'_>) {
        let choice = reader.u8();
        let side = usize::from(choice >> 7);
        if side == 1 && self.answer == Answer::Refused {
            return;
        }
        if side == 1 || choice & 0x40 == 0x40 {
            self.answer();
        }
        match choice & 0x0F {
            0 | 1 => self.write(side, reader.len(), 1),
            2 => self.write(side, reader.len(), 3),
            3 => drop(self.call(side, |end, cx| end.poll_flush(cx))),
            4 if reader.u8() < 64 => drop(self.shutdown(side)),
            4..=6 => drop(self.read(side, reader.len())),
            7 | 8 => self.borrow(side, reader.len()),
            9 => {
                let bit = usize::from(reader.u16());
                if let Some(byte) = self.wire.borrow_mut().pipes[side].bytes.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                    self.faulty = true;
                }
            }
            10 => {
                let (at, len) = (usize::from(reader.u16()), usize::from(reader.u8()));
                let mut wire = self.wire.borrow_mut();
                let bytes = &mut wire.pipes[side].bytes;
                let at = at.min(bytes.len());
                let end = (at + len).min(bytes.len());
                self.faulty |= at < end;
                bytes.drain(at..end);
            }
            11 => self.fault(|pipe| pipe.closed = true, side),
            12 => self.fault(|pipe| pipe.broken_read = true, side),
            13 => self.fault(|pipe| pipe.broken_write = true, side),
            14 => self.fault(|pipe| pipe.full = true, side),
            _ => self.abort(side, reader.u8()),
        }
    }

    fn answer(&mut self) {
        self.wire.borrow_mut().pipes[1].bytes.extend(self.verdict.take().into_iter().flatten());
    }

    fn fault(&mut self, harm: impl FnOnce(&mut Pipe), side: usize) {
        harm(&mut self.wire.borrow_mut().pipes[side]);
        self.faulty = true;
    }

    fn write(&mut self, side: usize, len: usize, parts: usize) {
        let start = self.sides[side].sent.len();
        let bytes: Vec<u8> = (start..start + len).map(|i| (i ^ i >> 8).to_le_bytes()[0]).collect();
        let open = !self.sides[side].closed && self.sides[side].failed.is_none();
        let parts: Vec<IoSlice<'_>> = bytes.chunks((len / parts).max(1)).map(IoSlice::new).collect();
        let polled = self.call(side, |end, cx| match &parts[..] {
            [one] => end.poll_write(cx, one),
            parts => end.poll_write_vectored(cx, parts),
        });
        match polled {
            Poll::Ready(Ok(taken)) => {
                assert!(open || len == 0, "written after the end");
                assert!(taken <= len && (taken > 0 || len == 0));
                self.sides[side].sent.extend_from_slice(&bytes[..taken]);
            }
            // Sealed, and then the transport failed: some of it may arrive.
            Poll::Ready(Err(_)) if open => self.sides[side].sent.extend_from_slice(&bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {}
        }
    }

    fn shutdown(&mut self, side: usize) -> Poll<io::Result<()>> {
        // Sealed, whether or not the transport takes it now.
        let this = &mut self.sides[side];
        if this.failed.is_none() && !this.closed {
            this.ended = true;
            this.closed = true;
        }
        let polled = self.call(side, |end, cx| end.poll_shutdown(cx));
        let is_clean = self.sides[side].ended && matches!(polled, Poll::Ready(Ok(())));
        if side == 0 && is_clean && matches!(self.ends[0], End::Whole(_)) {
            assert!(self.verdict.is_none() && self.answer != Answer::Refused, "a clean shutdown before acceptance");
        }
        polled
    }

    fn read(&mut self, side: usize, len: usize) -> Poll<io::Result<usize>> {
        let mut space = vec![0; len];
        let mut buf = ReadBuf::new(&mut space);
        let polled = self.call(side, |end, cx| end.poll_read(cx, &mut buf));
        let got = buf.filled().to_vec();
        match polled {
            Poll::Ready(Ok(())) => {
                self.got(side, &got, len == 0);
                Poll::Ready(Ok(got.len()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Looks at what is there and takes a part of it.
    fn borrow(&mut self, side: usize, len: usize) {
        let polled = self.call(side, |end, cx| end.poll_fill_buf(cx).map_ok(<[u8]>::to_vec));
        if let Poll::Ready(Ok(there)) = polled {
            let taken = len.min(there.len());
            self.ends[side].consume(len);
            self.got(side, &there[..taken], !there.is_empty());
        }
    }

    /// `side` has received these bytes; none mean the end, unless none were asked for.
    fn got(&mut self, side: usize, bytes: &[u8], asked_for_none: bool) {
        self.sides[side].received.extend_from_slice(bytes);
        let (received, peer) = (&self.sides[side].received, &self.sides[1 - side]);
        assert!(peer.sent.starts_with(received), "other bytes than were written");
        if bytes.is_empty() && !asked_for_none {
            assert!(peer.ended && received.len() == peer.sent.len(), "a clean end before the end");
        }
    }

    fn abort(&mut self, side: usize, code: u8) {
        let End::Whole(_) = &self.ends[side] else { return };
        drop(self.call(side, |end, cx| match end {
            End::Whole(stream) => pin!(stream.abort(Alert::from_code(code), "enough")).poll(cx),
            End::Halves(..) => Poll::Ready(Ok(())),
        }));
        self.sides[side].closed = true;
        self.faulty = true;
    }

    /// Calls a side once, and checks what holds of every call.
    fn call<T>(
        &mut self,
        side: usize,
        call: impl FnOnce(&mut End, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.wire.borrow_mut().pending = false;
        let polled = call(&mut self.ends[side], &mut Context::from_waker(Waker::noop()));
        let this = &mut self.sides[side];
        match &polled {
            Poll::Pending => {
                assert!(self.wire.borrow().pending, "pending, and nobody will wake it");
                assert!(this.failed.is_none(), "the error is not repeated");
            }
            Poll::Ready(Ok(_)) => assert!(this.failed.is_none(), "the error is not repeated"),
            Poll::Ready(Err(error)) => {
                let seen = (error.kind(), error.to_string());
                match &this.failed {
                    Some(first) => assert_eq!(seen, *first, "the error is not repeated"),
                    None if error.kind() == io::ErrorKind::InvalidInput => assert!(this.closed, "{error}"),
                    None => {
                        let is_refused = matches!(protocol_error(error), Some(Error::Refused(_)));
                        assert!(self.faulty || (is_refused && self.answer == Answer::Refused), "{error}");
                        assert!(protocol_error(error).is_some() || error.to_string().starts_with("the "), "{error}");
                        this.failed = Some(seen);
                    }
                }
            }
        }
        polled
    }

    /// The transport is ready from now on: everything arrives, or an error has been seen.
    fn conclude(&mut self) {
        self.wire.borrow_mut().script.clear();
        self.answer();
        let present = if self.answer == Answer::Refused { 1 } else { 2 };
        // The initiator last: it may wait for the verdict.
        for side in [1, 0] {
            if side < present {
                let shut = self.shutdown(side);
                assert!(shut.is_ready(), "a ready transport is waited for");
            }
            // A side that failed is dropped, and its transport with it.
            self.wire.borrow_mut().pipes[side].closed = true;
        }
        for side in 0..present {
            let outcome = loop {
                match self.read(side, 10_000) {
                    Poll::Ready(Ok(0)) => break Ok(()),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => break Err(error),
                    Poll::Pending => panic!("the end does not come"),
                }
            };
            let (this, peer) = (&self.sides[side], &self.sides[1 - side]);
            match outcome {
                Ok(()) => assert!(this.received == peer.sent && peer.ended && present == 2),
                Err(error) => {
                    // Whoever aborted reads nothing afterwards.
                    let aborted = protocol_error(&error) == Some(&Error::Misuse(Misuse::Aborted));
                    assert!((self.faulty || present == 1) && (aborted || this.failed.is_some()), "{error}");
                }
            }
            // Again: the same.
            let again = self.read(side, 1);
            assert!(matches!(again, Poll::Ready(Ok(0) | Err(_))));
        }
    }
}

enum End {
    Whole(Stream<Io>),
    Halves(ReadHalf<Io>, WriteHalf<Io>),
}

impl End {
    fn new(side: usize, wire: &Rc<RefCell<Wire>>, choice: u8, answer: Answer) -> Self {
        static INFOS: LazyLock<[SessionInfo; 2]> = LazyLock::new(infos);
        let suite = suite(choice);
        let eager = answer != Answer::Known;
        let opener = Opener::new(secret(1 - side), suite.aead()).expect("keys");
        let mut session = Session {
            // The VERDICT is record 0 of the responder.
            sealer: Sealer::dangerous_at(secret(side), suite.aead(), u64::from(eager && side == 1)).expect("keys"),
            opener: if eager && side == 0 { opener.awaiting_verdict() } else { opener },
            shares: Shares::new(),
            exporter: exporter(),
            info: INFOS[side].clone(),
        };
        session.info.suite = suite;
        session.sealer.set_padding(padding(choice >> 4 & 3));
        if choice >> (6 + side) & 1 == 1 {
            session.sealer.set_rekey_policy(RekeyPolicy::new(100, Duration::MAX));
        }
        let stream = Stream::new(Io { wire: wire.clone(), side }, session, BytesMut::new());
        if choice >> side & 1 == 1 {
            let (read, write) = stream.into_split();
            End::Halves(read, write)
        } else {
            End::Whole(stream)
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            End::Whole(stream) => Pin::new(stream).poll_read(cx, buf),
            End::Halves(read, _) => Pin::new(read).poll_read(cx, buf),
        }
    }

    fn poll_fill_buf(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        match self {
            End::Whole(stream) => Pin::new(stream).poll_fill_buf(cx),
            End::Halves(read, _) => Pin::new(read).poll_fill_buf(cx),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            End::Whole(stream) => Pin::new(stream).consume(amount),
            End::Halves(read, _) => Pin::new(read).consume(amount),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            End::Whole(stream) => Pin::new(stream).poll_write(cx, buf),
            End::Halves(_, write) => Pin::new(write).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            End::Whole(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            End::Halves(_, write) => Pin::new(write).poll_write_vectored(cx, bufs),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            End::Whole(stream) => Pin::new(stream).poll_flush(cx),
            End::Halves(_, write) => Pin::new(write).poll_flush(cx),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            End::Whole(stream) => Pin::new(stream).poll_shutdown(cx),
            End::Halves(_, write) => Pin::new(write).poll_shutdown(cx),
        }
    }
}

fn suite(choice: u8) -> Suite {
    Suite::ALL[usize::from(choice >> 2 & 3)]
}

/// What a side seals with.
fn secret(side: usize) -> TrafficSecret {
    TrafficSecret::take(&mut [side.to_le_bytes()[0] + 1; 32])
}

fn padding(choice: u8) -> Padding {
    match choice {
        0 => Padding::None,
        1 => Padding::PowerOfTwo,
        2 => Padding::Block(NonZeroU16::new(100).expect("not zero")),
        _ => Padding::Block(NonZeroU16::MAX),
    }
}

/// A session has one; it is not used here.
fn exporter() -> Exporter {
    let shared = SharedSecret::new(None, &Secret::take(&mut [3; 32]));
    let master = EarlySecret::new(None).and_then(|early| early.into_handshake(&shared)?.into_master());
    master.and_then(|master| master.exporter(&[0; 32])).expect("keys")
}

/// What a session says of itself; only a handshake makes it.
fn infos() -> [SessionInfo; 2] {
    let mut initiator = Machine::new(Role::Initiator, b"info", 1, false);
    let mut responder = Machine::new(Role::Responder, b"info", 2, false);
    for _ in 0..2 {
        responder.feed(&initiator.output.split());
        initiator.feed(&responder.output.split());
    }
    [initiator, responder].map(|mut machine| machine.session().expect("an honest handshake").info.clone())
}

/// The transport between the two.
struct Wire {
    /// What each side has sent.
    pipes: [Pipe; 2],
    script: VecDeque<u8>,
    /// A call was answered with pending.
    pending: bool,
}

#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    closed: bool,
    broken_read: bool,
    broken_write: bool,
    /// Takes nothing: a write of 0 bytes.
    full: bool,
}

/// One end of the transport.
#[derive(Clone)]
struct Io {
    wire: Rc<RefCell<Wire>>,
    side: usize,
}

impl Wire {
    /// How many bytes the next call may move; `None` is pending. Without a script as many as there are.
    fn next(&mut self) -> Option<usize> {
        let amount = match self.script.pop_front() {
            None => Some(usize::MAX),
            Some(byte) => match (byte % 4, byte / 4) {
                (0, _) => None,
                (1, few) => Some(1 + usize::from(few)),
                (2, some) => Some(64 * (1 + usize::from(some))),
                (_, _) => Some(usize::MAX),
            },
        };
        self.pending |= amount.is_none();
        amount
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the transport broke")
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self.wire.borrow_mut();
        let Some(amount) = wire.next() else { return Poll::Pending };
        let pipe = &mut wire.pipes[1 - self.side];
        if pipe.broken_read {
            return Poll::Ready(Err(broken()));
        }
        if pipe.bytes.is_empty() && !pipe.closed {
            wire.pending = true;
            return Poll::Pending;
        }
        let amount = amount.min(buf.remaining()).min(pipe.bytes.len());
        let bytes: Vec<u8> = pipe.bytes.drain(..amount).collect();
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wire = &mut *self.wire.borrow_mut();
        let Some(amount) = wire.next() else { return Poll::Pending };
        let pipe = &mut wire.pipes[self.side];
        if pipe.broken_write || pipe.closed {
            return Poll::Ready(Err(broken()));
        }
        let amount = if pipe.full { 0 } else { amount.min(buf.len()) };
        pipe.bytes.extend(&buf[..amount]);
        Poll::Ready(Ok(amount))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self.wire.borrow_mut();
        wire.next().map_or(Poll::Pending, |_| Poll::Ready(Ok(())))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self.wire.borrow_mut();
        if wire.next().is_none() {
            return Poll::Pending;
        }
        wire.pipes[self.side].closed = true;
        Poll::Ready(Ok(()))
    }
}

impl IntoSplit for Io {
    type Read = Io;
    type Write = Io;

    fn into_split(self) -> (Io, Io) {
        (self.clone(), self)
    }
}
