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
use countersign::error::{Error, Sealed};
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

/// Tries all interleavings, and counts them.
pub(crate) fn check(model: fn()) -> usize {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = None;
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
