//! The models, and what each of them protects.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use countersign::crypto::schedule::TrafficSecret;
use countersign::crypto::suite::Aead;
use countersign::error::{Error, Reason, Refusal, Sealed};
use countersign::session::{Event, Opener, Progress, RekeyPolicy, Sealer, Shares};
use getrandom::SysRng;
use loom::future::block_on;
use loom::thread;
use tokio::io::AsyncWrite;

use crate::crypto::schedule::Exporter;
use crate::failure::Fault;
use crate::halves::Halves;
use crate::session::SessionInfo;
use crate::stream::failure::{Call, Latch};
use crate::stream::link::Link;
use crate::stream::write::WriteState;

/// Tries all interleavings, or those in which threads that could go on are stopped so often, and counts them.
pub(crate) fn check(model: fn(), bound: Option<usize>) -> usize {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    count.load(Ordering::Relaxed)
}

/// A sealer that rekeys after every record, if `greedy`.
fn sealer(secret: u8, greedy: bool) -> Sealer {
    let mut sealer = Sealer::new(TrafficSecret::take(&mut [secret; 32]), Aead::ChaCha20Poly1305).unwrap();
    let bytes = if greedy { 1 } else { u64::MAX };
    sealer.set_rekey_policy(RekeyPolicy::new(bytes, Duration::MAX));
    sealer
}

fn opener(secret: u8) -> Opener {
    Opener::new(TrafficSecret::take(&mut [secret; 32]), Aead::ChaCha20Poly1305).unwrap()
}

/// The peer, which has a thread to itself.
struct Peer {
    sealer: Sealer,
    opener: Opener,
    shares: Shares,
}

impl Peer {
    fn new() -> Self {
        Peer { sealer: sealer(2, false), opener: opener(1), shares: Shares::new() }
    }

    /// A rekey and a record under the new key.
    fn rekey(&mut self, wire: &mut BytesMut) {
        self.sealer.rekey(&mut self.shares, Duration::ZERO, &mut SysRng, wire).unwrap();
        data(&mut self.sealer, wire);
    }

    /// Opens all, and gives the share that each REKEY was mixed with.
    fn open(&mut self, mut wire: BytesMut) -> Vec<u32> {
        let mut mixed = Vec::new();
        while !wire.is_empty() {
            let Progress::Record { consumed, event } = self.opener.open(&mut wire).unwrap() else { panic!("torn") };
            if event == Event::Rekey {
                // Kind, then the number of the share.
                mixed.push(u32::from_be_bytes(wire[5..9].try_into().unwrap()));
                self.opener.rekey(&mut self.shares).unwrap();
            }
            let _ = wire.split_to(consumed);
        }
        mixed
    }
}

fn data(sealer: &mut Sealer, wire: &mut BytesMut) {
    sealer.seal_data([b"data".as_slice()].into_iter(), wire).unwrap();
}

/// The reading half: takes what the peer sent.
fn read(halves: &Halves, opener: &mut Opener, wire: &mut BytesMut) {
    while !wire.is_empty() {
        let Progress::Record { consumed, event } = opener.open(wire).unwrap() else { panic!("torn") };
        if event == Event::Rekey {
            halves.peer_rekeyed(opener).unwrap();
        }
        let _ = wire.split_to(consumed);
    }
}

/// The number that a writer reads without the lock never runs ahead of the shares: a rekey that is made because the peer has a newer share mixes
/// that share, so that the direction heals with one rekey and spends no other of its budget.
pub(crate) fn rekeys() {
    let (mut peer, mut wire) = (Peer::new(), BytesMut::new());
    let (mut sealer, mut opener, mut shares) = (sealer(1, false), opener(2), Shares::new());
    let mut sent = BytesMut::new();
    data(&mut sealer, &mut sent);
    sealer.rekey(&mut shares, Duration::ZERO, &mut SysRng, &mut sent).unwrap();
    let halves = Arc::new(Halves::new(SessionInfo, Exporter, shares));
    peer.rekey(&mut wire);
    let reader = {
        let halves = halves.clone();
        thread::spawn(move || read(&halves, &mut opener, &mut wire))
    };
    for _ in 0..2 {
        halves.rekey_if_due(Duration::ZERO, &mut sealer, &mut sent).unwrap();
        data(&mut sealer, &mut sent);
    }
    reader.join().unwrap();
    halves.rekey_if_due(Duration::ZERO, &mut sealer, &mut sent).unwrap();
    assert_eq!(peer.open(sent), [0, 1]);
}

/// A reader that completes the peer's rekeys and a writer that makes its own use the shares one after the other, whatever the order: both peers can
/// open everything, nobody's share gets lost, and the next rekey opens as well.
pub(crate) fn rekeys_cross() {
    let (mut peer, mut wire) = (Peer::new(), BytesMut::new());
    let (mut sealer, mut opener) = (sealer(1, true), opener(2));
    let halves = Arc::new(Halves::new(SessionInfo, Exporter, Shares::new()));
    peer.rekey(&mut wire);
    let reader = {
        let halves = halves.clone();
        thread::spawn(move || {
            read(&halves, &mut opener, &mut wire);
            opener
        })
    };
    let mut sent = BytesMut::new();
    for _ in 0..3 {
        data(&mut sealer, &mut sent);
        halves.rekey_if_due(Duration::ZERO, &mut sealer, &mut sent).unwrap();
    }
    let mut opener = reader.join().unwrap();
    data(&mut sealer, &mut sent);
    halves.rekey_if_due(Duration::ZERO, &mut sealer, &mut sent).unwrap();
    let mixed = peer.open(sent);
    assert!(mixed.is_sorted() && mixed.len() == 4 && mixed[3] == 1, "{mixed:?}");
    let mut wire = BytesMut::new();
    peer.rekey(&mut wire);
    read(&halves, &mut opener, &mut wire);
}

/// A transport that takes nothing, and wakes nobody.
struct Full;

impl AsyncWrite for Full {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

/// A transport that is gone.
struct Gone;

impl AsyncWrite for Gone {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
}

fn write_state() -> WriteState {
    WriteState::new(sealer(1, false), Arc::new(Link::new(SessionInfo, Exporter, Shares::new())))
}

/// What the reading half finds.
fn fail(latch: &Latch) -> io::Error {
    let fault = Fault::from(Error::Tampered(Sealed::Record));
    match latch.note_poll::<()>(Poll::Ready(Err(fault))) {
        Poll::Ready(Err(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn call(latch: &Latch, io: &mut (impl AsyncWrite + Unpin), write: &mut WriteState) -> io::Error {
    let result = block_on(poll_fn(|cx| latch.poll_call(io, write, cx, Call::Flush, |_, _| None)));
    result.expect_err("it succeeds")
}

/// A writer that waits for the transport is woken by a failure of reading, whenever that comes.
pub(crate) fn failure_wakes_writer() {
    let latch = Latch::default();
    let reader = {
        let latch = latch.clone();
        thread::spawn(move || fail(&latch).to_string())
    };
    let error = call(&latch, &mut Full, &mut write_state());
    assert_eq!(error.to_string(), reader.join().unwrap());
}

/// So is a writer that waits for its application beside `keep_alive`.
pub(crate) fn failure_wakes_keeper() {
    let latch = Latch::default();
    let reader = {
        let latch = latch.clone();
        thread::spawn(move || fail(&latch).to_string())
    };
    let parked = block_on(poll_fn(|cx| match latch.park(cx) {
        Ok(()) => Poll::Pending,
        Err(error) => Poll::Ready(error),
    }));
    assert_eq!(parked.to_string(), reader.join().unwrap());
}

/// When both halves fail at once, one failure is the first, and both report it, now and later.
pub(crate) fn first_failure() {
    let latch = Latch::default();
    let reader = {
        let latch = latch.clone();
        thread::spawn(move || (fail(&latch).to_string(), fail(&latch).to_string()))
    };
    let mut write = write_state();
    let (first, later) = (call(&latch, &mut Gone, &mut write), call(&latch, &mut Gone, &mut write));
    let (read_first, read_later) = reader.join().unwrap();
    assert_eq!(
        [first.to_string(), later.to_string(), read_first],
        [const { String::new() }; 3].map(|_| read_later.clone())
    );
}

/// The end from outside: trust refuses the peer.
fn end(latch: &Latch) {
    crate::stream::end(latch, Refusal::new(Reason::NotTrusted, "its certificate is revoked"));
}

/// What everybody reports after it.
fn ended() -> String {
    let latch = Latch::default();
    end(&latch);
    latch.check().expect_err("it has ended").to_string()
}

/// Ends the session from a thread of its own.
fn ender(latch: &Latch) -> thread::JoinHandle<()> {
    let latch = latch.clone();
    thread::spawn(move || end(&latch))
}

/// A reader for whom nothing comes from the transport. As in the crate, it looks for a failure before it reads, and parks when nothing was there.
fn read_parked(latch: &Latch) -> io::Error {
    block_on(poll_fn(|cx| match latch.check().and_then(|()| latch.park_reader(cx)) {
        Ok(()) => Poll::Pending,
        Err(error) => Poll::Ready(error),
    }))
}

fn keep_parked(latch: &Latch) -> io::Error {
    block_on(poll_fn(|cx| match latch.park(cx) {
        Ok(()) => Poll::Pending,
        Err(error) => Poll::Ready(error),
    }))
}

/// A reader is woken by an end from outside, or sees it before it sleeps.
pub(crate) fn end_wakes_reader() {
    let latch = Latch::default();
    let ender = ender(&latch);
    assert_eq!(read_parked(&latch).to_string(), ended());
    ender.join().unwrap();
}

/// So is one that the transport woke meanwhile, and that parks anew, with the same waker or in another task.
pub(crate) fn end_wakes_reader_again() {
    let latch = Latch::default();
    let ender = ender(&latch);
    let mut polls = 0;
    let error = block_on(poll_fn(|cx| {
        polls += 1;
        // First in a task that is given up: its waker wakes nobody.
        let mut given_up = Context::from_waker(std::task::Waker::noop());
        match latch.park_reader(if polls == 1 { &mut given_up } else { cx }) {
            Ok(()) if polls < 3 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(error),
        }
    }));
    assert_eq!(error.to_string(), ended());
    ender.join().unwrap();
}

/// A writer that waits for the transport is woken as well.
pub(crate) fn end_wakes_writer() {
    let latch = Latch::default();
    let ender = ender(&latch);
    assert_eq!(call(&latch, &mut Full, &mut write_state()).to_string(), ended());
    ender.join().unwrap();
}

/// So is whoever keeps the session alive.
pub(crate) fn end_wakes_keeper() {
    let latch = Latch::default();
    let ender = ender(&latch);
    assert_eq!(keep_parked(&latch).to_string(), ended());
    ender.join().unwrap();
}

/// Reader and writer sleep in two tasks, and neither sleeps on.
pub(crate) fn end_wakes_both() {
    let latch = Latch::default();
    let ender = ender(&latch);
    let reader = {
        let latch = latch.clone();
        thread::spawn(move || read_parked(&latch).to_string())
    };
    assert_eq!(keep_parked(&latch).to_string(), ended());
    assert_eq!(reader.join().unwrap(), ended());
    ender.join().unwrap();
}

/// When reading fails while the session is ended from outside, one of the two is the first, and everybody reports that one, now and later.
pub(crate) fn end_or_failure() {
    let latch = Latch::default();
    let ender = {
        let latch = latch.clone();
        thread::spawn(move || {
            end(&latch);
            latch.check().expect_err("it has ended").to_string()
        })
    };
    let read = fail(&latch).to_string();
    let first = latch.check().expect_err("it has failed").to_string();
    assert_eq!([read, ender.join().unwrap()], [const { String::new() }; 2].map(|_| first.clone()));
    assert_eq!(
        [fail(&latch), call(&latch, &mut Gone, &mut write_state())].map(|error| error.to_string()),
        [first.clone(), first]
    );
}

/// A writer that sleeps then is woken by one of the two, and reports what the reader does.
pub(crate) fn end_and_failure_wake_writer() {
    let latch = Latch::default();
    let ender = ender(&latch);
    let reader = {
        let latch = latch.clone();
        thread::spawn(move || fail(&latch).to_string())
    };
    let parked = keep_parked(&latch).to_string();
    assert_eq!(reader.join().unwrap(), parked);
    ender.join().unwrap();
}
