//! The stream: data whole and in order, or an error that stays; on every transport, at every pause, cut and cancellation.
#![allow(missing_docs)]

#[path = "support/io.rs"]
mod scripted;
mod support;

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::BytesMut;
use countersign::Stream;
use countersign::error::{Alert, Error, Misuse, Reason, ReceivedAlert, Sealed};
use countersign::session::{Event, Progress, Sealer, Session};
use countersign::stream::{ConnectError, IntoSplit, ReadHalf, WriteHalf, protocol_error};
use countersign::trust::{Decision, from_async_fn, from_fn};
use rand_core::Rng;
use scripted::{Read, Script, Stutter, Write, bounded, drive, poll_times};
use support::{config, frames, honest, identity, seeded, seeded_quietly, short, trusting_all};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, copy_bidirectional, duplex,
};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::sync::Notify;

const SIZES: [usize; 8] = [0, 1, 2, 4_096, 65_535, 65_536, 65_537, 1_048_576];

/// Bytes without a short period, so that a lost, doubled or moved piece shows.
fn pattern(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    seeded_quietly(len as u64).fill_bytes(&mut bytes);
    bytes
}

fn sessions() -> (Session, Session) {
    let whole = honest(&config(1, 2), &config(2, 1), 11);
    (*whole.initiator, *whole.responder)
}

/// Two streams that have done their handshake elsewhere.
fn streams<A, B>(a: A, b: B) -> (Stream<A>, Stream<B>) {
    let (initiator, responder) = sessions();
    (Stream::new(a, initiator, BytesMut::new()), Stream::new(b, responder, BytesMut::new()))
}

/// A stream over a script, and the session of its peer.
fn scripted_stream(script: &Script) -> (Stream<Script>, Session) {
    let (initiator, responder) = sessions();
    (Stream::new(script.clone(), initiator, BytesMut::new()), responder)
}

fn seal(sealer: &mut Sealer, data: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    assert_eq!(sealer.seal_data([data].into_iter(), &mut out), Ok(data.len()));
    out.to_vec()
}

fn seal_end(sealer: &mut Sealer) -> Vec<u8> {
    let mut out = BytesMut::new();
    sealer.seal_end(&mut out).unwrap();
    out.to_vec()
}

/// What a peer makes of the bytes that were written to it: data, and what came at the end.
fn opened(peer: &mut Session, bytes: &[u8]) -> (Vec<u8>, Result<bool, Error>) {
    let (mut input, mut data) = (BytesMut::from(bytes), Vec::new());
    loop {
        match peer.opener.open(&mut input) {
            Ok(Progress::Need(_)) => return (data, Ok(peer.opener.is_ended())),
            Ok(Progress::Record { consumed, event }) => {
                if let Event::Data(range) = event {
                    data.extend_from_slice(&input[range]);
                }
                let _ = input.split_to(consumed);
            }
            Err(error) => return (data, Err(error)),
        }
    }
}

fn cause(error: &io::Error) -> Error {
    protocol_error(error).unwrap_or_else(|| panic!("not of the protocol: {error:?}")).clone()
}

fn alert(alert: Alert, text: &str) -> Error {
    Error::AlertReceived(ReceivedAlert { alert, text: text.into(), authenticated: true })
}

/// Reads to the end or the error.
async fn read_all<R: AsyncRead + Unpin>(reader: &mut R) -> (Vec<u8>, io::Result<()>) {
    let mut data = Vec::new();
    let end = reader.read_to_end(&mut data).await.map(|_| ());
    (data, end)
}

async fn assert_read_latched<R: tokio::io::AsyncBufRead + Unpin>(reader: &mut R, first: &io::Error) {
    let mut buf = [0; 8];
    let later = [
        ("read", reader.read(&mut buf).await.err()),
        ("read into nothing", reader.read(&mut []).await.err()),
        ("fill_buf", reader.fill_buf().await.err()),
    ];
    for (call, error) in later {
        let error = error.unwrap_or_else(|| panic!("{call} succeeds after {first}"));
        assert_eq!((error.kind(), error.to_string()), (first.kind(), first.to_string()), "{call}");
        assert_eq!(protocol_error(&error), protocol_error(first), "{call}");
    }
}

async fn assert_write_latched<W: AsyncWrite + Unpin>(writer: &mut W, first: &io::Error) {
    let later = [
        ("write", writer.write(b"x").await.err()),
        ("write of nothing", writer.write(b"").await.err()),
        ("vectored write", writer.write_vectored(&[IoSlice::new(b"x")]).await.err()),
        ("flush", writer.flush().await.err()),
        ("shutdown", writer.shutdown().await.err()),
    ];
    for (call, error) in later {
        let error = error.unwrap_or_else(|| panic!("{call} succeeds after {first}"));
        assert_eq!((error.kind(), error.to_string()), (first.kind(), first.to_string()), "{call}");
        assert_eq!(protocol_error(&error), protocol_error(first), "{call}");
    }
}

async fn assert_latched<T: AsyncRead + AsyncWrite + Unpin>(stream: &mut Stream<T>, first: &io::Error) {
    for _ in 0..2 {
        assert_read_latched(stream, first).await;
        assert_write_latched(stream, first).await;
        let error = stream.abort(Alert::Internal, "").await.expect_err("abort succeeds");
        assert_eq!((error.kind(), error.to_string()), (first.kind(), first.to_string()), "abort");
    }
}

async fn tcp_pair(buffer: Option<u32>) -> (TcpStream, TcpStream) {
    let (listening, calling) = (TcpSocket::new_v4().unwrap(), TcpSocket::new_v4().unwrap());
    for socket in [&listening, &calling] {
        if let Some(size) = buffer {
            socket.set_send_buffer_size(size).unwrap();
            socket.set_recv_buffer_size(size).unwrap();
        }
    }
    listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listening.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let (called, accepted) = tokio::join!(calling.connect(address), listener.accept());
    let (called, accepted) = (called.unwrap(), accepted.unwrap().0);
    called.set_nodelay(true).unwrap();
    accepted.set_nodelay(true).unwrap();
    (called, accepted)
}

// ---------------------------------------------------------------------------------------------------------------- data

async fn exchange_sizes<T: AsyncRead + AsyncWrite + Unpin>(a: Stream<T>, b: Stream<T>) {
    let (mut a, mut b) = (a, b);
    for size in SIZES {
        let data = pattern(size);
        let mut got = vec![0; size];
        for _ in 0..2 {
            let send = async {
                a.write_all(&data).await.unwrap();
                a.flush().await.unwrap();
            };
            let (_, read) = tokio::join!(send, b.read_exact(&mut got));
            assert_eq!(read.unwrap(), size);
            assert!(got == data, "{size} bytes differ");
            std::mem::swap(&mut a, &mut b);
        }
        std::mem::swap(&mut a, &mut b);
    }
    a.shutdown().await.unwrap();
    b.shutdown().await.unwrap();
    assert_eq!(read_all(&mut a).await.0.len() + read_all(&mut b).await.0.len(), 0);
}

/// Data of every size around the record's arrives whole, both ways, over each sort of transport.
#[tokio::test]
async fn sizes_both_ways() {
    bounded(async {
        let (a, b) = duplex(65_536);
        let (a, b) = streams(a, b);
        exchange_sizes(a, b).await;
        let (a, b) = tcp_pair(None).await;
        let (a, b) = streams(a, b);
        exchange_sizes(a, b).await;
        let (a, b) = UnixStream::pair().unwrap();
        let (a, b) = streams(a, b);
        exchange_sizes(a, b).await;
    })
    .await;
}

/// One write makes as few records as hold it, none at all for nothing, takes at most two, and hands them on together.
#[test]
fn one_write_is_few_records() {
    let script = Script::default();
    let (mut stream, mut peer) = scripted_stream(&script);
    let all = pattern(200_000);
    for (size, records) in [(0, 0), (1, 1), (65_536, 1), (65_537, 2), (131_072, 2), (131_073, 2), (200_000, 2)] {
        let taken = size.min(131_072);
        assert_eq!(drive(stream.write(&all[..size])).unwrap(), taken);
        let wire = script.take_written();
        assert_eq!(frames(&wire).len(), records);
        let (data, rest) = opened(&mut peer, &wire);
        assert_eq!((data.as_slice(), rest), (&all[..taken], Ok(false)));
    }
}

/// A vectored write is gathered into as few records as hold it, with empty slices anywhere, and stops at two.
#[test]
fn vectored_writes() {
    let script = Script::default();
    let (mut stream, mut peer) = scripted_stream(&script);
    assert!(stream.is_write_vectored());
    let all = pattern(300_000);
    let empty = IoSlice::new(b"");
    let cases: [(Vec<IoSlice<'_>>, usize, usize); 6] = [
        (vec![], 0, 0),
        (vec![empty, empty], 0, 0),
        (vec![empty, IoSlice::new(&all[..1]), empty, empty, IoSlice::new(&all[1..10]), empty], 10, 1),
        (vec![IoSlice::new(&all[..65_535]), empty, IoSlice::new(&all[65_535..70_000])], 70_000, 2),
        (vec![IoSlice::new(&all[..65_536]), IoSlice::new(&all[65_536..])], 131_072, 2),
        (all.chunks(7).map(IoSlice::new).collect(), 131_072, 2),
    ];
    for (slices, taken, records) in cases {
        assert_eq!(drive(stream.write_vectored(&slices)).unwrap(), taken);
        let wire = script.take_written();
        assert_eq!(frames(&wire).len(), records);
        let (data, rest) = opened(&mut peer, &wire);
        assert_eq!((data.as_slice(), rest), (&all[..taken], Ok(false)));
    }
    let (_, half) = stream.into_split();
    assert!(half.is_write_vectored());
}

/// Small writes that are gathered make one record, at the limit, at a flush, at the end, before an alert, and when we wait for the
/// peer; a write that does not fit goes out behind what was gathered. Nothing is sent before, and nothing is lost.
#[test]
fn gathered_writes() {
    let script = Script::default();
    let (mut stream, mut peer) = scripted_stream(&script);
    let mut check = |script: &Script, records: usize, data: &[u8]| {
        let wire = script.take_written();
        assert_eq!(frames(&wire).len(), records);
        assert_eq!(opened(&mut peer, &wire).0, data);
    };
    let all = pattern(300_000);
    stream.set_write_buffer(1_000);
    for part in all[..1_000].chunks(100) {
        assert_eq!(drive(stream.write(part)).unwrap(), 100);
    }
    check(&script, 0, &[]);
    assert_eq!(drive(stream.write(b"x")).unwrap(), 1);
    check(&script, 1, &all[..1_000]);
    drive(stream.flush()).unwrap();
    check(&script, 1, b"x");
    drive(stream.flush()).unwrap();
    check(&script, 0, &[]);
    drive(stream.write_all(b"question")).unwrap();
    assert!(poll_times(stream.read_u8(), 1).is_none());
    check(&script, 1, b"question");
    drive(stream.write_all(b"head ")).unwrap();
    assert_eq!(drive(stream.write(&all[..5_000])).unwrap(), 5_000);
    check(&script, 2, &[b"head ", &all[..5_000]].concat());
    let slices = [IoSlice::new(b"one "), IoSlice::new(b"two")];
    assert_eq!(drive(stream.write_vectored(&slices)).unwrap(), 7);
    stream.set_write_buffer(0);
    drive(stream.write_all(b"three")).unwrap();
    check(&script, 2, b"one twothree");
    stream.set_write_buffer(usize::MAX);
    drive(stream.write_all(&all)).unwrap();
    check(&script, 4, &all[..262_144]);
    drive(stream.write_all(b"the end")).unwrap();
    drive(stream.shutdown()).unwrap();
    check(&script, 2, &[&all[262_144..], b"the end"].concat());
}

/// Behind bytes that the transport does not take nothing more is gathered: a writer is held back however often somebody reads, and hears of a transport that
/// fails.
#[test]
fn gathered_writes_are_bounded() {
    let script = Script::default();
    let (mut stream, mut peer) = scripted_stream(&script);
    stream.set_write_buffer(1_000);
    script.state().full = true;
    drive(stream.write_all(&[1; 600])).unwrap();
    assert!(poll_times(stream.read_u8(), 1).is_none());
    for _ in 0..10 {
        assert!(poll_times(stream.write(&[2; 600]), 2).is_none(), "it was taken");
        assert!(poll_times(stream.read_u8(), 1).is_none());
    }
    script.open_writes();
    drive(stream.write_all(&[3; 600])).unwrap();
    drive(stream.flush()).unwrap();
    assert_eq!(opened(&mut peer, &script.take_written()).0, [[1; 600], [3; 600]].concat());
}

/// What was gathered goes out before an alert that ends the session.
#[test]
fn gathered_writes_precede_an_alert() {
    let script = Script::default();
    let (mut stream, mut peer) = scripted_stream(&script);
    stream.set_write_buffer(1_000);
    drive(stream.write_all(b"last words")).unwrap();
    drive(stream.abort(Alert::ShuttingDown, "")).unwrap();
    let (data, rest) = opened(&mut peer, &script.take_written());
    assert_eq!(data, b"last words");
    assert!(matches!(rest, Err(Error::AlertReceived(_))), "{rest:?}");
}

/// `fill_buf` lends a whole record from where it was decrypted: same place each time, and further on after `consume`.
#[test]
fn buffered_reading_lends_whole_records() {
    let script = Script::default();
    let (mut stream, mut peer) = scripted_stream(&script);
    let records = [pattern(1), pattern(300), pattern(65_536), pattern(17)];
    let wire: Vec<u8> = records.iter().flat_map(|record| seal(&mut peer.sealer, record)).collect();
    script.push(&wire);
    for record in &records {
        let lent = drive(stream.fill_buf()).unwrap();
        assert!(lent == record.as_slice());
        let start = lent.as_ptr();
        assert_eq!(drive(stream.fill_buf()).unwrap().as_ptr(), start);
        let part = record.len() / 3;
        stream.consume(part);
        let rest = drive(stream.fill_buf()).unwrap();
        assert!(rest == &record[part..]);
        assert_eq!(rest.as_ptr(), start.wrapping_add(part), "it was copied");
        stream.consume(record.len() - part);
    }
    assert!(poll_times(stream.fill_buf(), 3).is_none());
}

/// Reading with buffers of every small size gives the same bytes, across the bounds of records.
#[test]
fn tiny_reads() {
    let all = pattern(2_000);
    for size in [1, 2, 3, 7, 64, 999] {
        let script = Script::default();
        let (mut stream, mut peer) = scripted_stream(&script);
        all.chunks(333).for_each(|chunk| script.push(&seal(&mut peer.sealer, chunk)));
        let mut got = Vec::new();
        let mut buf = vec![0; size];
        while got.len() < all.len() {
            let count = drive(stream.read(&mut buf)).unwrap();
            assert!(count > 0);
            got.extend_from_slice(&buf[..count]);
        }
        assert!(got == all, "buffer of {size}");
    }
}

async fn full_duplex<A, B>(a: A, b: B, len: usize)
where
    A: IntoSplit,
    B: IntoSplit,
    A::Read: Send + 'static,
    A::Write: Send + 'static,
    B::Read: Send + 'static,
    B::Write: Send + 'static,
{
    let (a, b) = streams(a, b);
    let ((a_read, a_write), (b_read, b_write)) = (a.into_split(), b.into_split());
    let tasks = [
        tokio::spawn(send_whole(a_write, pattern(len))),
        tokio::spawn(send_whole(b_write, pattern(len + 1))),
        tokio::spawn(read_whole(a_read, pattern(len + 1))),
        tokio::spawn(read_whole(b_read, pattern(len))),
    ];
    for task in tasks {
        task.await.unwrap();
    }
}

async fn send_whole<W: AsyncWrite + Unpin>(mut half: WriteHalf<W>, data: Vec<u8>) {
    half.write_all(&data).await.unwrap();
    half.shutdown().await.unwrap();
}

async fn read_whole<R: AsyncRead + Unpin>(mut half: ReadHalf<R>, data: Vec<u8>) {
    let (got, end) = read_all(&mut half).await;
    end.unwrap();
    assert!(got == data, "{} bytes came of {}", got.len(), data.len());
}

/// Both sides write far more than any buffer holds, through tiny ones, without waiting for each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_duplex_through_tiny_buffers() {
    bounded(async {
        let (a, b) = duplex(1);
        full_duplex(a, b, 150_000).await;
        let (a, b) = duplex(7);
        full_duplex(a, b, 1_000_000).await;
        // Much smaller, and what is measured is how often the kernel probes a window of zero.
        let (a, b) = tcp_pair(Some(16 << 10)).await;
        full_duplex(a, b, 3_000_000).await;
        let (a, b) = UnixStream::pair().unwrap();
        full_duplex(a, b, 3_000_000).await;
    })
    .await;
}

/// A stream in one piece, read and written by turns in one task, works through a pipe of one byte.
#[tokio::test]
async fn one_task_through_one_byte() {
    let (a, b) = duplex(1);
    let (mut a, mut b) = streams(a, b);
    let echo = async {
        let mut buf = [0; 100];
        loop {
            let count = b.read(&mut buf).await.unwrap();
            if count == 0 {
                return b.shutdown().await.unwrap();
            }
            b.write_all(&buf[..count]).await.unwrap();
            b.flush().await.unwrap();
        }
    };
    let ask = async {
        for size in 1..60 {
            let data = pattern(size);
            let mut got = vec![0; size];
            a.write_all(&data).await.unwrap();
            a.flush().await.unwrap();
            a.read_exact(&mut got).await.unwrap();
            assert_eq!(got, data);
        }
        a.shutdown().await.unwrap();
        assert_eq!(a.read(&mut [0; 9]).await.unwrap(), 0);
    };
    bounded(async { tokio::join!(echo, ask) }).await;
}

/// `copy_bidirectional` between two streams, and so `tokio`'s other helpers, find what they expect of a transport.
#[tokio::test]
async fn copy_bidirectional_between_streams() {
    bounded(async {
        let ((a, b), (c, d)) = (duplex(100), duplex(300));
        let ((mut a, mut b), (mut c, mut d)) = (streams(a, b), streams(c, d));
        let (there, back) = (pattern(200_000), pattern(100_000));
        let proxy = async { copy_bidirectional(&mut b, &mut c).await.unwrap() };
        let client = async {
            a.write_all(&there).await.unwrap();
            a.shutdown().await.unwrap();
            let (got, end) = read_all(&mut a).await;
            end.unwrap();
            assert!(got == back);
        };
        let server = async {
            let (got, end) = read_all(&mut d).await;
            end.unwrap();
            assert!(got == there);
            d.write_all(&back).await.unwrap();
            d.shutdown().await.unwrap();
        };
        let (counts, (), ()) = tokio::join!(proxy, client, server);
        assert_eq!(counts, (200_000, 100_000));
    })
    .await;
}

/// After a megabyte has been read, and then only little has come, the stream asks for little again.
#[test]
fn an_idle_stream_asks_for_little() {
    let script = Script::default();
    let (mut stream, mut peer) = scripted_stream(&script);
    let first = drive(async {
        script.push(&seal(&mut peer.sealer, b"x"));
        stream.read_u8().await.unwrap();
        script.state().asked[0]
    });
    let data = pattern(1_048_576);
    data.chunks(65_536).for_each(|chunk| script.push(&seal(&mut peer.sealer, chunk)));
    let mut got = vec![0; data.len()];
    drive(stream.read_exact(&mut got)).unwrap();
    assert!(got == data);
    let most = script.state().asked.iter().max().copied().unwrap();
    assert!(most > first && most <= 262_144, "{most}");
    assert!(poll_times(stream.read_u8(), 2).is_none());
    script.push(&seal(&mut peer.sealer, b"y"));
    drive(stream.read_u8()).unwrap();
    script.state().asked.clear();
    assert!(poll_times(stream.read_u8(), 1).is_none());
    assert_eq!(script.state().asked, [first]);
}

/// [RE-8] Reading goes on while the transport takes nothing of ours, and sends nothing itself.
#[test]
fn reading_needs_no_writing() {
    let script = Script::default();
    let (mut stream, mut peer) = scripted_stream(&script);
    script.state().full = true;
    assert_eq!(drive(stream.write(b"stuck")).unwrap(), 5);
    assert!(poll_times(stream.write(b"next"), 3).is_none());
    for part in [&b"a"[..], b"bc", b"def"] {
        script.push(&seal(&mut peer.sealer, part));
        let mut got = vec![0; part.len()];
        drive(stream.read_exact(&mut got)).unwrap();
        assert_eq!(got, part);
    }
    script.push(&seal_end(&mut peer.sealer));
    assert_eq!(drive(stream.read(&mut [0; 9])).unwrap(), 0);
    assert!(script.take_written().is_empty());
    script.open_writes();
    drive(stream.flush()).unwrap();
    assert_eq!(opened(&mut peer, &script.take_written()), (b"stuck".to_vec(), Ok(false)));
}

// ----------------------------------------------------------------------------------------------------------- half-close

async fn half_close<T: AsyncRead + AsyncWrite + Unpin>(a: Stream<T>, b: Stream<T>) {
    let (mut closing, mut open) = (a, b);
    closing.write_all(b"question").await.unwrap();
    closing.shutdown().await.unwrap();
    let (got, end) = read_all(&mut open).await;
    assert_eq!(got, b"question");
    end.unwrap();
    // The other direction goes on, over more than one record.
    let data = pattern(100_000);
    let answer = async {
        open.write_all(&data).await.unwrap();
        open.shutdown().await.unwrap();
        open.shutdown().await.unwrap();
    };
    let (_, (got, end)) = tokio::join!(answer, read_all(&mut closing));
    assert!(got == data);
    end.unwrap();
    // Nothing fails by being done again, nor by a write that comes too late.
    for stream in [&mut closing, &mut open] {
        for _ in 0..2 {
            let late = stream.write(b"late").await.unwrap_err();
            assert_eq!((late.kind(), cause(&late)), (ErrorKind::InvalidInput, Error::Misuse(Misuse::WriteAfterEnd)));
            stream.flush().await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 0);
            stream.accepted().await.unwrap();
        }
    }
}

/// [RE-6] Each direction ends for itself, on every transport; closing twice is fine, and a late write ends nothing.
#[tokio::test]
async fn half_close_both_ways() {
    bounded(async {
        for swap in [false, true] {
            let ends = |(a, b)| if swap { (b, a) } else { (a, b) };
            let (a, b) = ends(duplex(1_000_000));
            let (a, b) = streams(a, b);
            half_close(a, b).await;
        }
        let (a, b) = tcp_pair(None).await;
        let (a, b) = streams(a, b);
        half_close(a, b).await;
        let (a, b) = UnixStream::pair().unwrap();
        let (a, b) = streams(a, b);
        half_close(a, b).await;
    })
    .await;
}

/// A write after `shutdown` ends nothing: reading goes on, and the peer sees a clean end and no more.
#[test]
fn a_late_write_ends_nothing() {
    let script = Script::default();
    let (mut stream, mut peer) = scripted_stream(&script);
    drive(stream.write_all(b"last")).unwrap();
    drive(stream.shutdown()).unwrap();
    assert_eq!(drive(stream.write(b"late")).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(drive(stream.write(b"")).unwrap_err().kind(), ErrorKind::InvalidInput);
    drive(stream.shutdown()).unwrap();
    script.push(&seal(&mut peer.sealer, b"more"));
    let mut got = [0; 4];
    drive(stream.read_exact(&mut got)).unwrap();
    assert_eq!(&got, b"more");
    assert_eq!(opened(&mut peer, &script.take_written()), (b"last".to_vec(), Ok(true)));
}

/// [RE-6] Whatever follows the peer's END is never given to the application.
#[test]
fn nothing_is_read_after_the_end() {
    let ours = seal(&mut sessions().1.sealer, b"data");
    for rest in [b"\0".to_vec(), vec![0xC5, 0, 0, 17], ours] {
        for together in [true, false] {
            let script = Script::default();
            let (mut stream, mut peer) = scripted_stream(&script);
            let mut wire = seal(&mut peer.sealer, b"last");
            wire.extend(seal_end(&mut peer.sealer));
            if together {
                wire.extend(&rest);
            }
            script.push(&wire);
            script.push(&rest);
            let (data, _) = drive(read_all(&mut stream));
            assert_eq!(data, b"last");
            assert_eq!(drive(stream.read(&mut [0; 9])).unwrap_or(0), 0);
        }
    }
}

// ----------------------------------------------------------------------------------------------------------- truncation

/// The records of a short conversation, and how many bytes of data are whole after each byte of the wire.
fn short_wire(peer: &mut Session) -> (Vec<u8>, Vec<(usize, usize)>) {
    let (mut wire, mut whole, mut data) = (Vec::new(), vec![(0, 0)], 0);
    for part in [&b"a"[..], b"bcd", b"efghij"] {
        wire.extend(seal(&mut peer.sealer, part));
        data += part.len();
        whole.push((wire.len(), data));
    }
    wire.extend(seal_end(&mut peer.sealer));
    (wire, whole)
}

/// [RE-7] [RE-10] A transport that ends at any byte before END is a truncation, after all whole records are delivered.
#[test]
fn truncation_at_every_byte() {
    let len = short_wire(&mut sessions().1).0.len();
    for cut in 0..=len {
        for pieces in [1, 3, 1_000] {
            let script = Script::default();
            let (mut stream, mut peer) = scripted_stream(&script);
            let (wire, whole) = short_wire(&mut peer);
            wire[..cut].chunks(pieces).for_each(|piece| script.push(piece));
            script.state().eof = true;
            let (data, end) = drive(read_all(&mut stream));
            let expected = whole.iter().rfind(|(at, _)| *at <= cut).unwrap().1;
            assert_eq!(data, &b"abcdefghij"[..expected], "cut at {cut}");
            if cut == len {
                end.unwrap();
                drive(stream.write_all(b"goes on")).unwrap();
                continue;
            }
            let error = end.unwrap_err();
            assert_eq!((error.kind(), cause(&error)), (ErrorKind::UnexpectedEof, Error::Truncated), "cut at {cut}");
            drive(assert_latched(&mut stream, &error));
            // There is nobody to be told.
            assert!(script.take_written().is_empty(), "cut at {cut}");
        }
    }
}

/// [RE-7] A peer that is dropped without `shutdown` has cut the connection, on every transport; what it flushed arrives.
#[tokio::test]
async fn dropping_is_truncation() {
    async fn check<T: AsyncRead + AsyncWrite + Unpin>(a: Stream<T>, mut b: Stream<T>) {
        let mut a = a;
        a.write_all(b"whole").await.unwrap();
        a.flush().await.unwrap();
        drop(a);
        let (data, end) = read_all(&mut b).await;
        assert_eq!(data, b"whole");
        let error = end.unwrap_err();
        assert_eq!((error.kind(), cause(&error)), (ErrorKind::UnexpectedEof, Error::Truncated));
        assert_latched(&mut b, &error).await;
    }
    bounded(async {
        let (a, b) = duplex(1_000);
        let (a, b) = streams(a, b);
        check(a, b).await;
        let (a, b) = tcp_pair(None).await;
        let (a, b) = streams(a, b);
        check(a, b).await;
        let (a, b) = UnixStream::pair().unwrap();
        let (a, b) = streams(a, b);
        check(a, b).await;
        // Also when only the transport's writing direction is closed.
        let (a, b) = tcp_pair(None).await;
        let (a, mut b) = streams(a, b);
        let (_reading, mut writing) = a.into_split();
        writing.write_all(b"x").await.unwrap();
        drop(writing);
        let (data, end) = read_all(&mut b).await;
        assert_eq!((data.as_slice(), cause(&end.unwrap_err())), (&b"x"[..], Error::Truncated));
    })
    .await;
}

/// A transport that fails while it is read gives that failure, for good, and data before it first.
#[test]
fn a_failing_read_stays_failed() {
    for kind in [ErrorKind::ConnectionReset, ErrorKind::TimedOut, ErrorKind::Other] {
        let script = Script::default();
        let (mut stream, mut peer) = scripted_stream(&script);
        let second = seal(&mut peer.sealer, b"one");
        script.push(&second);
        let third = seal(&mut peer.sealer, b"two");
        script.push(&third[..10]);
        script.state().reads.push_back(Read::Fail(kind));
        script.push(&third[10..]);
        let (data, end) = drive(read_all(&mut stream));
        assert_eq!(data, b"one");
        let error = end.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(protocol_error(&error).is_none());
        drive(assert_latched(&mut stream, &error));
        assert!(script.take_written().is_empty());
    }
}

// ------------------------------------------------------------------------------------------------------ altered records

/// What a middle did to four records, and how many bytes of data may still arrive.
fn attacks(records: &[Vec<u8>; 4]) -> Vec<(&'static str, Vec<Vec<u8>>, usize)> {
    let [a, b, c, d] = records.clone();
    let mut tag = b.clone();
    *tag.last_mut().unwrap() ^= 1;
    let mut longer = b.clone();
    longer[3] += 1;
    let mut shorter = b.clone();
    shorter[3] -= 1;
    vec![
        ("first dropped", vec![b.clone(), c.clone(), d.clone()], 0),
        ("second dropped", vec![a.clone(), c.clone(), d.clone()], 2),
        ("duplicated", vec![a.clone(), a.clone(), b.clone(), c.clone(), d.clone()], 2),
        ("duplicated later", vec![a.clone(), b.clone(), a.clone(), c.clone(), d.clone()], 4),
        ("reordered", vec![a.clone(), c.clone(), b.clone(), d.clone()], 2),
        ("END first", vec![a.clone(), d.clone(), b.clone(), c.clone()], 2),
        ("tag altered", vec![a.clone(), tag, c.clone(), d.clone()], 2),
        ("length up", vec![a.clone(), longer, c.clone(), d.clone()], 2),
        ("length down", vec![a, shorter, c, d], 2),
    ]
}

fn four_records(peer: &mut Session) -> [Vec<u8>; 4] {
    let s = &mut peer.sealer;
    [seal(s, b"aa"), seal(s, b"bb"), seal(s, b"cc"), seal_end(s)]
}

/// [RE-1] [RE-10] A record dropped, doubled, moved or altered ends the session for good; what stood before it is delivered.
#[test]
fn a_middle_is_noticed() {
    for number in 0..attacks(&four_records(&mut sessions().1)).len() {
        let script = Script::default();
        let (mut stream, mut peer) = scripted_stream(&script);
        let (name, wire, good) = attacks(&four_records(&mut peer)).swap_remove(number);
        script.push(&wire.concat());
        let (data, end) = drive(read_all(&mut stream));
        assert_eq!(data, &b"aabbcc"[..good], "{name}");
        let error = end.unwrap_err();
        assert_eq!((error.kind(), cause(&error)), (ErrorKind::InvalidData, Error::Tampered(Sealed::Record)), "{name}");
        // Good records that follow change nothing.
        let honest = four_records(&mut sessions().1);
        honest.iter().for_each(|record| script.push(record));
        drive(assert_latched(&mut stream, &error));
        let accepted = drive(stream.accepted()).unwrap_err();
        assert_eq!((accepted.kind(), accepted.to_string()), (error.kind(), error.to_string()), "{name}");
        // [RE-1] The peer is told, once.
        let told = script.take_written();
        assert_eq!(frames(&told).len(), 1, "{name}");
        assert_eq!(opened(&mut peer, &told), (vec![], Err(alert(Alert::BadRecord, ""))), "{name}");
    }
}

/// Each bit of a record matters: whichever is flipped, its data is not delivered, and the end is an error that stays.
#[test]
fn every_bit_of_a_record() {
    let len = four_records(&mut sessions().1)[1].len();
    for bit in 0..8 * len {
        let script = Script::default();
        let (mut stream, mut peer) = scripted_stream(&script);
        let mut records = four_records(&mut peer);
        records[1][bit / 8] ^= 1 << (bit % 8);
        script.push(&records.concat());
        script.state().eof = true;
        let (data, end) = drive(read_all(&mut stream));
        assert_eq!(data, b"aa", "bit {bit}");
        let error = end.unwrap_err();
        let expected = if bit / 8 == 0 || bit / 8 > 3 {
            ErrorKind::InvalidData
        } else {
            // A length may also be one that does not exist, or one for which there are not enough bytes.
            assert!(matches!(cause(&error), Error::Malformed(_) | Error::Truncated | Error::Tampered(_)), "{error}");
            error.kind()
        };
        assert_eq!(error.kind(), expected, "bit {bit}");
        drive(assert_latched(&mut stream, &error));
    }
}

/// Each sort of failure tells the peer its own code, from whichever call comes next, once, and never after our END.
#[test]
fn the_peer_is_told_why() {
    type Next = fn(&mut Stream<Script>) -> io::Result<()>;
    let next: [(&str, Next); 4] = [
        ("write", |stream| drive(stream.write(b"more")).map(|_| ())),
        ("vectored write", |stream| drive(stream.write_vectored(&[])).map(|_| ())),
        ("flush", |stream| drive(stream.flush())),
        ("shutdown", |stream| drive(stream.shutdown())),
    ];
    let mut bad = seal(&mut sessions().1.sealer, b"x");
    bad[7] ^= 1;
    let faults: [(Vec<u8>, Alert); 6] = [
        (bad, Alert::BadRecord),
        (vec![0x16], Alert::Malformed),
        (vec![0xC5, 0, 0, 0], Alert::Malformed),
        (vec![0xC5, 0xFF, 0xFF, 0xFF], Alert::Malformed),
        (vec![0xC1], Alert::UnexpectedMessage),
        // [AL-4] An ALERT frame is nothing special any more.
        (vec![0xC6, 0, 0, 1, 8], Alert::UnexpectedMessage),
    ];
    for (name, call) in next {
        for (bytes, code) in &faults {
            for ended in [false, true] {
                let script = Script::default();
                let (mut stream, mut peer) = scripted_stream(&script);
                drive(stream.write_all(b"before")).unwrap();
                if ended {
                    drive(stream.shutdown()).unwrap();
                }
                script.push(bytes);
                let error = drive(stream.read(&mut [0; 9])).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidData, "{name} {code:?}");
                let again = call(&mut stream).unwrap_err();
                assert_eq!((again.kind(), again.to_string()), (error.kind(), error.to_string()), "{name} {code:?}");
                let expected = if ended { Ok(true) } else { Err(alert(*code, "")) };
                assert_eq!(
                    opened(&mut peer, &script.take_written()),
                    (b"before".to_vec(), expected),
                    "{name} {code:?}"
                );
                drive(assert_latched(&mut stream, &error));
                assert!(script.take_written().is_empty(), "{name} {code:?}: told twice");
            }
        }
    }
}

/// `abort` after a failure returns the failure, and the peer is told of it as with any other call.
#[test]
fn abort_after_a_failure_tells_the_peer() {
    let script = Script::default();
    let (mut stream, mut peer) = scripted_stream(&script);
    let mut record = seal(&mut peer.sealer, b"x");
    record[7] ^= 1;
    script.push(&record);
    let error = drive(stream.read_u8()).unwrap_err();
    let again = drive(stream.abort(Alert::ShuttingDown, "goodbye")).unwrap_err();
    assert_eq!((again.kind(), again.to_string()), (error.kind(), error.to_string()));
    let _ = drive(stream.shutdown());
    assert_eq!(opened(&mut peer, &script.take_written()).1, Err(alert(Alert::BadRecord, "")));
}

/// The failure of one owned half is the other's, with the same text, and the writing half tells the peer.
#[test]
fn halves_share_the_failure() {
    let script = Script::default();
    let (stream, mut peer) = scripted_stream(&script);
    let (mut reading, mut writing) = stream.into_split();
    let mut record = seal(&mut peer.sealer, b"x");
    record[9] ^= 1;
    script.push(&record);
    let error = drive(reading.read_u8()).unwrap_err();
    for _ in 0..2 {
        drive(assert_write_latched(&mut writing, &error));
        drive(assert_read_latched(&mut reading, &error));
    }
    assert_eq!(opened(&mut peer, &script.take_written()).1, Err(alert(Alert::BadRecord, "")));
    // And the other way round.
    let script = Script::default();
    let (stream, mut peer) = scripted_stream(&script);
    let (mut reading, mut writing) = stream.into_split();
    script.state().writes.push_back(Write::Fail(ErrorKind::BrokenPipe));
    let error = drive(writing.write(b"x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    script.push(&seal(&mut peer.sealer, b"x"));
    drive(assert_read_latched(&mut reading, &error));
    drive(assert_write_latched(&mut writing, &error));
}

/// [AL-3] When the transport takes nothing, telling the peer is left out, and the failure still returns at once.
#[test]
fn a_blocked_transport_does_not_hold_the_failure_up() {
    let script = Script::default();
    let (mut stream, _) = scripted_stream(&script);
    script.state().full = true;
    script.push(&[0x16]);
    let error = poll_times(stream.read_u8(), 1).expect("pending").unwrap_err();
    let again = poll_times(stream.shutdown(), 1).expect("pending").unwrap_err();
    assert_eq!(again.to_string(), error.to_string());
}

// --------------------------------------------------------------------------------------------------------------- alerts

/// [RE-9] [AL-2] [AL-3] The peer's alert reaches the application with code and text, ends both directions, and is not answered.
#[test]
fn an_alert_ends_the_session() {
    for (code, text) in [(Alert::ShuttingDown, "maintenance \u{e9}"), (Alert::Internal, ""), (Alert::Unknown(200), "?")]
    {
        let script = Script::default();
        let (mut stream, mut peer) = scripted_stream(&script);
        let mut wire = BytesMut::from(&seal(&mut peer.sealer, b"before")[..]);
        peer.sealer.seal_alert(code, text, &mut wire).unwrap();
        script.push(&wire);
        let (data, end) = drive(read_all(&mut stream));
        assert_eq!(data, b"before");
        let error = end.unwrap_err();
        assert_eq!((error.kind(), cause(&error)), (ErrorKind::ConnectionAborted, alert(code, text)));
        drive(assert_latched(&mut stream, &error));
        assert!(script.take_written().is_empty(), "an alert was answered");
    }
}

/// `abort` reaches the peer with its text, after what was written before, and closes the transport for writing.
#[tokio::test]
async fn abort_reaches_the_peer() {
    bounded(async {
        let (a, b) = tcp_pair(None).await;
        let (mut a, mut b) = streams(a, b);
        let text = "t".repeat(255);
        a.write_all(b"before").await.unwrap();
        a.abort(Alert::ShuttingDown, &text).await.unwrap();
        let (data, end) = read_all(&mut b).await;
        assert_eq!(data, b"before");
        assert_eq!(cause(&end.unwrap_err()), alert(Alert::ShuttingDown, &text));
        assert_eq!(a.write(b"late").await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(a.abort(Alert::Internal, "").await.unwrap_err().kind(), ErrorKind::InvalidInput);
    })
    .await;
    let script = Script::default();
    let (mut stream, mut peer) = scripted_stream(&script);
    // A text that the wire does not carry is the caller's mistake and ends nothing.
    for text in ["x".repeat(256), "line\n".into(), "\u{85}".into()] {
        assert_eq!(drive(stream.abort(Alert::Internal, &text)).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    drive(stream.write_all(b"goes on")).unwrap();
    drive(stream.abort(Alert::Internal, "end")).unwrap();
    drive(stream.shutdown()).unwrap();
    assert!(script.state().shutdowns >= 1);
    let (data, end) = opened(&mut peer, &script.take_written());
    assert_eq!((data.as_slice(), end), (&b"goes on"[..], Err(alert(Alert::Internal, "end"))));
}

/// [RE-9] `abort` ends the session in both directions: what the peer had sent is not given out afterwards.
#[test]
fn nothing_is_read_after_abort() {
    let script = Script::default();
    let (mut stream, mut peer) = scripted_stream(&script);
    script.push(&seal(&mut peer.sealer, b"data"));
    drive(stream.abort(Alert::ShuttingDown, "")).unwrap();
    let read = poll_times(stream.read(&mut [0; 9]), 3);
    assert!(matches!(read, Some(Err(_))), "{read:?}");
}

/// After our END no alert goes out, though the caller asks for one.
#[test]
fn no_alert_after_the_end() {
    let script = Script::default();
    let (mut stream, mut peer) = scripted_stream(&script);
    drive(stream.shutdown()).unwrap();
    assert_eq!(drive(stream.abort(Alert::Internal, "x")).unwrap_err().kind(), ErrorKind::InvalidInput);
    script.push(&seal(&mut peer.sealer, b"z"));
    assert_eq!(drive(stream.read_u8()).unwrap(), b'z');
    assert_eq!(opened(&mut peer, &script.take_written()), (vec![], Ok(true)));
}

// ------------------------------------------------------------------------------------------------- failing and slow writes

/// What a transport's write answers with stays the answer: `BrokenPipe`, others, and nothing taken as `WriteZero`.
#[test]
fn a_failing_write_stays_failed() {
    let answers = [
        (Write::Fail(ErrorKind::BrokenPipe), ErrorKind::BrokenPipe),
        (Write::Fail(ErrorKind::ConnectionReset), ErrorKind::ConnectionReset),
        (Write::Take(0), ErrorKind::WriteZero),
    ];
    for (number, (_, kind)) in answers.iter().enumerate() {
        let answer = || match number {
            0 => Write::Fail(ErrorKind::BrokenPipe),
            1 => Write::Fail(ErrorKind::ConnectionReset),
            _ => Write::Take(0),
        };
        for before in [vec![], vec![Write::Take(5)], vec![Write::Pending], vec![Write::Take(3), Write::Pending]] {
            for call in ["write", "flush", "shutdown"] {
                let script = Script::default();
                let (mut stream, mut peer) = scripted_stream(&script);
                if call == "flush" {
                    script.state().full = true;
                    assert_eq!(drive(stream.write(b"kept")).unwrap(), 4);
                }
                script.state().writes.extend(before.iter().map(|step| match step {
                    Write::Take(count) => Write::Take(*count),
                    _ => Write::Pending,
                }));
                script.state().writes.push_back(answer());
                let error = match call {
                    "write" => drive(async {
                        let first = stream.write(b"data").await;
                        if first.is_err() { first } else { stream.write(b"more").await }
                    })
                    .map(|_| ()),
                    "flush" => drive(stream.flush()),
                    _ => drive(stream.shutdown()),
                };
                let error = error.expect_err(call);
                assert_eq!(error.kind(), *kind, "{call}");
                script.state().full = false;
                script.push(&seal(&mut peer.sealer, b"unread"));
                let sent = script.take_written();
                drive(assert_latched(&mut stream, &error));
                assert!(script.take_written().is_empty(), "{call}: more was sent after {kind}");
                // Nothing whole and nothing wrong was sent.
                assert_eq!(opened(&mut peer, &sent), (vec![], Ok(false)), "{call}");
            }
        }
    }
}

/// Pending at every byte of a write, one byte at a time: nothing is lost or sent twice, and flush means all of it.
#[test]
fn pending_at_every_byte() {
    let data = b"the quick brown fox";
    let whole = seal(&mut sessions().0.sealer, data).len();
    for pause in 0..=whole {
        let script = Script::default();
        let (mut stream, mut peer) = scripted_stream(&script);
        script
            .state()
            .writes
            .extend([Write::Take(pause), Write::Pending, Write::Pending].into_iter().skip(usize::from(pause == 0)));
        assert_eq!(drive(stream.write(data)).unwrap(), data.len());
        drive(stream.flush()).unwrap();
        assert_eq!(script.state().written.len(), whole);
        drive(stream.shutdown()).unwrap();
        assert_eq!(opened(&mut peer, &script.take_written()), (data.to_vec(), Ok(true)), "pause at {pause}");
        assert!(script.state().flushes >= 1 && script.state().shutdowns >= 1);
    }
}

/// Transports that are pending at random and take a few bytes at a time, both ways at once: bytes out are bytes in.
#[tokio::test]
async fn random_readiness() {
    for seed in 100..112 {
        let mut rng = seeded(seed);
        let (a, b) = duplex(1 + rng.next_u32() as usize % 300);
        let max = 1 + rng.next_u32() as usize % 200;
        let (a, b) = streams(
            Stutter::seeded(a, max, seeded_quietly(seed + 1_000)),
            Stutter::seeded(b, max, seeded_quietly(seed + 2_000)),
        );
        let work = |stream, ours: Vec<u8>, theirs: Vec<u8>, seed| async move {
            let (mut reading, mut writing) = tokio::io::split::<Stream<_>>(stream);
            let send = async {
                let (mut rng, mut left) = (seeded_quietly(seed), &ours[..]);
                while !left.is_empty() {
                    let (part, rest) = left.split_at((1 + rng.next_u32() as usize % 2_000).min(left.len()));
                    writing.write_all(part).await.unwrap();
                    if rng.next_u32().is_multiple_of(3) {
                        writing.flush().await.unwrap();
                    }
                    left = rest;
                }
                writing.shutdown().await.unwrap();
            };
            let (_, (got, end)) = tokio::join!(send, read_all(&mut reading));
            end.unwrap();
            assert!(got == theirs);
        };
        let (there, back) = (pattern(20_000), pattern(30_000));
        bounded(async { tokio::join!(work(a, there.clone(), back.clone(), seed), work(b, back, there, seed + 1)) })
            .await;
    }
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A pending call is woken when its transport is ready again, and not polled in a busy loop before.
#[test]
fn pending_calls_are_woken() {
    let script = Script::default();
    let (mut stream, mut peer) = scripted_stream(&script);
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);
    let wire = seal(&mut peer.sealer, b"z");
    for (number, byte) in wire.iter().enumerate() {
        assert!(pin!(stream.read_u8()).poll(&mut cx).is_pending());
        assert_eq!(count.0.load(Ordering::SeqCst), number);
        script.push(&[*byte]);
        assert_eq!(count.0.load(Ordering::SeqCst), number + 1);
    }
    assert!(matches!(pin!(stream.read_u8()).poll(&mut cx), Poll::Ready(Ok(b'z'))));
    count.0.store(0, Ordering::SeqCst);
    script.state().full = true;
    assert!(matches!(pin!(stream.write(b"kept")).poll(&mut cx), Poll::Ready(Ok(4))));
    let polls: [fn(&mut Stream<Script>, &mut Context<'_>) -> bool; 3] = [
        |stream, cx| Pin::new(stream).poll_write(cx, b"next").is_pending(),
        |stream, cx| Pin::new(stream).poll_flush(cx).is_pending(),
        |stream, cx| Pin::new(stream).poll_shutdown(cx).is_pending(),
    ];
    for poll in polls {
        assert!(poll(&mut stream, &mut cx));
        let before = count.0.load(Ordering::SeqCst);
        script.open_writes();
        script.state().full = true;
        assert_eq!(count.0.load(Ordering::SeqCst), before + 1);
    }
    script.state().full = false;
    drive(stream.shutdown()).unwrap();
    assert_eq!(opened(&mut peer, &script.take_written()), (b"kept".to_vec(), Ok(true)));
}

// --------------------------------------------------------------------------------------------------------- cancellation

type Slow = Stutter<DuplexStream>;

fn slow_streams() -> (Stream<Slow>, Stream<Slow>) {
    let (a, b) = duplex(4_096);
    streams(Stutter::every(a, 3), Stutter::every(b, 3))
}

/// Runs `attempt` with 0, 1, 2, ... polls before the cancellation, until it is ready before that. Returns how many it took.
fn at_every_poll(mut attempt: impl FnMut(usize) -> bool) -> usize {
    (0..2_000).find(|polls| attempt(*polls)).expect("never ready")
}

/// A `read` or `fill_buf` dropped after any number of polls loses no byte and doubles none.
#[test]
fn cancelled_reads() {
    let data = b"0123456789";
    for call in ["read", "fill_buf"] {
        let polls = at_every_poll(|polls| {
            let (mut a, mut b) = slow_streams();
            drive(a.write_all(data)).unwrap();
            drive(a.write_all(data)).unwrap();
            drive(a.shutdown()).unwrap();
            let mut got = Vec::new();
            let ready = match call {
                "read" => {
                    let mut buf = [0; 4];
                    poll_times(b.read(&mut buf), polls)
                        .inspect(|count| {
                            got.extend_from_slice(&buf[..*count.as_ref().unwrap()]);
                        })
                        .is_some()
                }
                _ => poll_times(b.fill_buf(), polls).is_some(),
            };
            let (rest, end) = drive(read_all(&mut b));
            end.unwrap();
            got.extend(rest);
            assert_eq!(got, [*data, *data].concat(), "{call} dropped after {polls} polls");
            ready
        });
        assert!(polls > 8, "{call}: {polls}");
    }
    // Dropped again and again, one poll each.
    let (mut a, mut b) = slow_streams();
    drive(a.write_all(data)).unwrap();
    drive(a.shutdown()).unwrap();
    let mut got = Vec::new();
    for _ in 0..200 {
        let mut buf = [0; 1];
        if let Some(count) = poll_times(b.read(&mut buf), 1) {
            got.extend_from_slice(&buf[..count.unwrap()]);
        }
    }
    assert_eq!(got, data);
}

/// A `write` dropped while pending has written nothing; one that was ready has written all that it said, once.
#[test]
fn cancelled_writes() {
    for vectored in [false, true] {
        let polls = at_every_poll(|polls| {
            let (mut a, mut b) = slow_streams();
            // Something is still on its way, so that the next write has to wait.
            assert_eq!(drive(a.write(b"first ")).unwrap(), 6);
            let slices = [IoSlice::new(b"sec"), IoSlice::new(b"ond ")];
            let ready = if vectored {
                poll_times(a.write_vectored(&slices), polls)
            } else {
                poll_times(a.write(b"second "), polls)
            };
            drive(a.write_all(b"third")).unwrap();
            drive(a.shutdown()).unwrap();
            let (got, end) = drive(read_all(&mut b));
            end.unwrap();
            let expected = if ready.is_some() { "first second third" } else { "first third" };
            assert_eq!(String::from_utf8(got).unwrap(), expected, "dropped after {polls} polls");
            ready.is_some()
        });
        assert!(polls > 8, "{polls}");
    }
}

/// A `write_all` dropped anywhere has written a prefix, and what is written next follows it whole.
#[test]
fn cancelled_write_all() {
    let data = pattern(550_000);
    let mut lens = std::collections::BTreeSet::new();
    let polls = at_every_poll(|polls| {
        let (a, b) = duplex(1_000_000);
        let (mut a, mut b) = streams(Stutter::every(a, 4_000), b);
        let ready = poll_times(a.write_all(&data), polls).is_some();
        drive(a.write_all(b"marker")).unwrap();
        drive(a.shutdown()).unwrap();
        let (got, end) = drive(read_all(&mut b));
        end.unwrap();
        let (prefix, marker) = got.split_at(got.len() - 6);
        assert_eq!(marker, b"marker");
        assert!(data.starts_with(prefix), "dropped after {polls} polls");
        assert!(!ready || prefix.len() == data.len());
        lens.insert(prefix.len());
        ready
    });
    assert!(polls > 20, "{polls}");
    assert_eq!(lens.into_iter().collect::<Vec<_>>(), [0, 131_072, 262_144, 393_216, 524_288, 550_000]);
}

/// A `flush`, `shutdown` or `abort` dropped anywhere can be made up for, and its END or alert goes out once.
#[test]
fn cancelled_flush_shutdown_and_abort() {
    for call in ["flush", "shutdown", "abort"] {
        let polls = at_every_poll(|polls| {
            let (a, mut b) = duplex(4_096);
            let (mut a, mut peer) = {
                let (initiator, responder) = sessions();
                (Stream::new(Stutter::every(a, 3), initiator, BytesMut::new()), responder)
            };
            drive(a.write_all(b"data")).unwrap();
            let ready = match call {
                "flush" => poll_times(a.flush(), polls).is_some(),
                "shutdown" => poll_times(a.shutdown(), polls).is_some(),
                _ => poll_times(a.abort(Alert::Busy, "later"), polls).is_some(),
            };
            drive(a.flush()).unwrap();
            drive(a.shutdown()).unwrap();
            drop(a);
            let (wire, end) = drive(read_all(&mut b));
            end.unwrap();
            let (data, end) = opened(&mut peer, &wire);
            assert_eq!(data, b"data", "{call} dropped after {polls} polls");
            let aborted = call == "abort" && polls > 0;
            assert_eq!(end, if aborted { Err(alert(Alert::Busy, "later")) } else { Ok(true) }, "{call} {polls}");
            assert_eq!(frames(&wire).len(), 2, "{call} dropped after {polls} polls");
            ready
        });
        assert!(polls > 8, "{call}: {polls}");
    }
}

/// Reading and writing are cancelled by a `select!` all the time, at random, and nothing is lost in either direction.
#[tokio::test]
async fn cancelled_by_select() {
    let mut rng = seeded(77);
    let (a, b) = duplex(50);
    let (a, b) = streams(Stutter::seeded(a, 40, seeded_quietly(78)), Stutter::seeded(b, 40, seeded_quietly(79)));
    let (there, back) = (pattern(30_000), pattern(25_000));
    let echo = async {
        let (mut reading, mut writing) = tokio::io::split(b);
        let send = async {
            writing.write_all(&back).await.unwrap();
            writing.shutdown().await.unwrap();
        };
        let (_, (got, end)) = tokio::join!(send, read_all(&mut reading));
        end.unwrap();
        assert!(got == there);
    };
    let work = async {
        let mut a = a;
        let (mut sent, mut got, mut ended) = (0, Vec::new(), false);
        for _ in 0..2_000_000 {
            let mut buf = [0; 500];
            let end = (sent + 1 + rng.next_u32() as usize % 700).min(there.len());
            let reads = !ended && rng.next_u32().is_multiple_of(2);
            if reads {
                tokio::select! {
                    biased;
                    count = a.read(&mut buf) => {
                        let count = count.unwrap();
                        got.extend_from_slice(&buf[..count]);
                        ended = count == 0;
                    }
                    () = tokio::task::yield_now() => {}
                }
            } else if sent < there.len() {
                tokio::select! {
                    biased;
                    count = a.write(&there[sent..end]) => sent += count.unwrap(),
                    () = tokio::task::yield_now() => {}
                }
            }
            if ended && sent == there.len() {
                break;
            }
            if rng.next_u32().is_multiple_of(9) {
                tokio::select! {
                    biased;
                    flushed = a.flush() => flushed.unwrap(),
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        a.shutdown().await.unwrap();
        assert!(ended && got == back);
    };
    bounded(async { tokio::join!(echo, work) }).await;
}

/// A call, or the answer to one, that is dropped after any number of polls leaves the other side with an error, not hanging.
#[tokio::test(start_paused = true)]
async fn cancelled_handshakes() {
    for drop_caller in [true, false] {
        let mut finished = 0;
        for polls in 0..120 {
            let (a, b) = duplex(4_096);
            let (i, r) = (short(config(1, 2)), short(config(2, 1)));
            let connect = Box::pin(i.connect_over(Stutter::every(a, 40)).into_future());
            let accept = Box::pin(async move { r.accept_over(Stutter::every(b, 40), None).await });
            let (dropped, kept): (Handshake, Handshake) =
                if drop_caller { (connect, accept) } else { (accept, connect) };
            let mut kept = kept;
            let dropped = {
                let mut cx = Context::from_waker(Waker::noop());
                let mut dropped = dropped;
                let (mut ours, mut theirs) = (None, None);
                for _ in 0..polls {
                    for (end, future) in [(&mut ours, &mut dropped), (&mut theirs, &mut kept)] {
                        if end.is_none()
                            && let Poll::Ready(done) = future.as_mut().poll(&mut cx)
                        {
                            *end = Some(done);
                        }
                    }
                }
                if let Some(theirs) = theirs {
                    finished += 1;
                    theirs.unwrap();
                    continue;
                }
                ours
            };
            // A stream that was made is dropped as well.
            drop(dropped);
            match bounded(kept).await {
                Err(ConnectError::Protocol(failure)) => assert_eq!(failure.error, Error::Truncated),
                Err(ConnectError::Io { error, .. }) => assert_eq!(error.kind(), ErrorKind::BrokenPipe),
                Ok(mut stream) => {
                    let error = bounded(stream.read_u8()).await.unwrap_err();
                    assert!([ErrorKind::UnexpectedEof, ErrorKind::BrokenPipe].contains(&error.kind()), "{error}");
                }
                Err(other) => panic!("{polls} polls: {other}"),
            }
        }
        assert!(finished > 10 && finished < 110, "{finished}");
    }
}

type Handshake = Pin<Box<dyn Future<Output = Result<Stream<Slow>, ConnectError>>>>;

// ---------------------------------------------------------------------------------------------------------------- eager

/// An eager caller's data is delivered once it is accepted, however it is cut, and `accepted` says so.
#[tokio::test]
async fn eager_data_is_delivered() {
    bounded(async {
        for first in ["accepted", "read", "split"] {
            let gate = Arc::new(Notify::new());
            let opened = gate.clone();
            let trust = from_async_fn(move |_| {
                let gate = gate.clone();
                async move {
                    gate.notified().await;
                    Decision::accept()
                }
            });
            let (a, b) = duplex(200_000);
            let responder = countersign::Config::new(identity(2), trust);
            let server = tokio::spawn(async move {
                let mut stream = responder.accept_over(b, None).await.unwrap();
                let (data, end) = read_all(&mut stream).await;
                end.unwrap();
                stream.write_all(&data).await.unwrap();
                stream.shutdown().await.unwrap();
            });
            let mut stream = config(1, 2).connect_over(a).eager().await.unwrap();
            assert_eq!(*stream.peer().public_key(), identity(2).public_key());
            // All of it is sent before the peer has decided.
            let data = pattern(100_000);
            stream.write_all(&data).await.unwrap();
            stream.flush().await.unwrap();
            // The end of our direction goes out, but `shutdown` waits for the verdict.
            assert!(poll_times(stream.shutdown(), 3).is_none());
            assert!(poll_times(stream.accepted(), 3).is_none());
            assert!(poll_times(stream.read_u8(), 3).is_none());
            opened.notify_one();
            let (got, end) = match first {
                "split" => read_all(&mut stream.into_split().0).await,
                "accepted" => {
                    stream.accepted().await.unwrap();
                    stream.accepted().await.unwrap();
                    read_all(&mut stream).await
                }
                _ => read_all(&mut stream).await,
            };
            end.unwrap();
            assert!(got == data);
            server.await.unwrap();
        }
    })
    .await;
}

/// [HS-24] [HS-25] An eager caller that is refused learns the reason at its first read and at `accepted`, for good, and the
/// responder has no stream on which its data could be read.
#[tokio::test]
async fn eager_refusal_surfaces() {
    bounded(async {
        for first in ["accepted", "read", "fill_buf", "split"] {
            let (a, b) = duplex(200_000);
            let responder = countersign::Config::new(identity(2), from_fn(|_| Decision::deny("not today")));
            let server = tokio::spawn(async move { responder.accept_over(b, None).await });
            let mut stream = config(1, 2).connect_over(a).eager().await.unwrap();
            stream.write_all(&pattern(100_000)).await.unwrap();
            let refused = match server.await.unwrap() {
                Err(ConnectError::Protocol(failure)) => failure.error,
                other => panic!("{other:?}"),
            };
            assert!(matches!(&refused, Error::Denied(refusal) if refusal.reason == Reason::Denied), "{refused}");
            if first == "split" {
                let (mut reading, mut writing) = stream.into_split();
                let error = reading.read_u8().await.unwrap_err();
                assert!(matches!(cause(&error), Error::Refused(refusal) if refusal.text == "not today"));
                assert_write_latched(&mut writing, &error).await;
                continue;
            }
            let error = match first {
                "accepted" => stream.accepted().await.unwrap_err(),
                "read" => stream.read_u8().await.unwrap_err(),
                _ => stream.fill_buf().await.map(|_| ()).unwrap_err(),
            };
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(matches!(cause(&error), Error::Refused(refusal)
                if refusal.reason == Reason::Denied && refusal.text == "not today"));
            assert_latched(&mut stream, &error).await;
            assert_eq!(stream.accepted().await.unwrap_err().to_string(), error.to_string());
        }
    })
    .await;
}

/// An eager caller whose responder goes away before its verdict is cut off, not accepted.
#[test]
fn eager_without_a_verdict() {
    let script = Script::default();
    let (mut stream, _) = eager_scripted(&script);
    script.state().eof = true;
    let error = drive(stream.accepted()).unwrap_err();
    assert_eq!((error.kind(), cause(&error)), (ErrorKind::UnexpectedEof, Error::Truncated));
    drive(assert_latched(&mut stream, &error));
}

/// The session of an eager initiator over a script, and the responder's verdict as bytes.
fn eager_scripted(script: &Script) -> (Stream<Script>, Vec<u8>) {
    use countersign::handshake::{Step, Target};
    let mut rng = seeded_quietly(5);
    let mut i = support::End::initiator(&config(1, 2), Target::default(), &mut rng);
    let mut r = support::End::responder(&trusting_all(2), &mut rng);
    r.feed(&i.take_output());
    i.feed(&r.take_output());
    r.feed(&i.take_output());
    let Some(Step::NeedInput(need)) = i.step.take() else { panic!("not waiting") };
    let session = need.into_eager().expect("waiting for the verdict");
    (Stream::new(script.clone(), *session, BytesMut::new()), r.take_output())
}

/// `accepted`, dropped after any number of polls, loses nothing of the verdict nor of the data behind it.
#[test]
fn cancelled_accepted() {
    let len = {
        let script = Script::default();
        eager_scripted(&script).1.len()
    };
    for polls in 0..=2 * len + 1 {
        let script = Script::default();
        let (mut stream, verdict) = eager_scripted(&script);
        for byte in &verdict {
            script.state().reads.push_back(Read::Pending);
            script.push(&[*byte]);
        }
        let ready = poll_times(stream.accepted(), polls);
        assert_eq!(ready.is_some(), polls > len, "{polls} polls");
        drive(stream.accepted()).unwrap();
        assert!(poll_times(stream.read_u8(), 3).is_none());
    }
}

/// A failure that came before the verdict is what `accepted` returns; it does not go on waiting.
#[test]
fn accepted_repeats_the_failure() {
    let script = Script::default();
    let (mut stream, _) = eager_scripted(&script);
    script.state().writes.push_back(Write::Fail(ErrorKind::BrokenPipe));
    let error = drive(stream.write(b"x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    let accepted = poll_times(stream.accepted(), 10).expect("it waits for a session that is over");
    assert_eq!(accepted.unwrap_err().to_string(), error.to_string());
}

/// [HS-21] An altered verdict accepts nobody: whichever bit is flipped, there is an error that stays.
#[test]
fn every_bit_of_a_verdict() {
    let len = {
        let script = Script::default();
        eager_scripted(&script).1.len()
    };
    for bit in 0..8 * len {
        let script = Script::default();
        let (mut stream, mut verdict) = eager_scripted(&script);
        verdict[bit / 8] ^= 1 << (bit % 8);
        script.push(&verdict);
        script.state().eof = true;
        let error = drive(stream.accepted()).unwrap_err();
        drive(assert_latched(&mut stream, &error));
        assert!(drive(stream.accepted()).is_err(), "bit {bit}");
    }
}

// ------------------------------------------------------------------------------------------------------ halves, identity

/// Streams and halves can go to other threads.
#[test]
fn streams_are_send() {
    fn send<T: Send + Sync + Unpin + 'static>() {}
    send::<Stream<TcpStream>>();
    send::<Stream<UnixStream>>();
    send::<Stream<DuplexStream>>();
    send::<ReadHalf<<TcpStream as IntoSplit>::Read>>();
    send::<WriteHalf<<TcpStream as IntoSplit>::Write>>();
    send::<ReadHalf<<UnixStream as IntoSplit>::Read>>();
    send::<WriteHalf<<UnixStream as IntoSplit>::Write>>();
    send::<ReadHalf<<DuplexStream as IntoSplit>::Read>>();
    send::<WriteHalf<<DuplexStream as IntoSplit>::Write>>();
}

/// Halves work on threads of their own, with bytes already received and bytes not yet sent when the stream was split.
#[test]
fn halves_on_threads() {
    let (a, b) = duplex(20_000);
    let (mut a, mut b) = streams(a, b);
    let data = pattern(400_000);
    // 10,000 bytes are in b's transport, of which it has decrypted a part; more of a's are sealed than fit.
    assert_eq!(drive(a.write(&data[..10_000])).unwrap(), 10_000);
    assert_eq!(drive(a.write(&data[10_000..50_000])).unwrap(), 40_000);
    let mut start = [0; 7];
    drive(b.read_exact(&mut start)).unwrap();
    assert_eq!(start, data[..7]);
    let ((a_read, mut a_write), (mut b_read, b_write)) = (a.into_split(), b.into_split());
    assert_eq!((a_read.session_id(), a_write.peer()), (b_write.session_id(), a_read.peer()));
    let rest = data[50_000..].to_vec();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let writer = std::thread::spawn(move || {
        runtime().block_on(bounded(async {
            a_write.write_all(&rest).await.unwrap();
            a_write.shutdown().await.unwrap();
        }));
    });
    let reader = std::thread::spawn(move || runtime().block_on(bounded(async { read_all(&mut b_read).await })));
    let other = std::thread::spawn(move || runtime().block_on(bounded(send_whole(b_write, pattern(70_000)))));
    runtime().block_on(bounded(read_whole(a_read, pattern(70_000))));
    writer.join().unwrap();
    other.join().unwrap();
    let (got, end) = reader.join().unwrap();
    end.unwrap();
    assert!(got == data[7..]);
}

/// Both ends of a real handshake name the session alike and each other rightly, in the stream and in its halves.
#[tokio::test]
async fn facts_of_a_session() {
    bounded(async {
        let (a, b) = tcp_pair(None).await;
        let responder = config(2, 1);
        let (a, b) =
            tokio::join!(config(1, 2).connect_over(a).service("db").into_future(), responder.accept_over(b, None));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a.session_id(), b.session_id());
        assert_eq!((a.service(), b.service()), ("db", "db"));
        assert_eq!(*a.peer().public_key(), identity(2).public_key());
        assert_eq!(*b.peer().public_key(), identity(1).public_key());
        assert_eq!(a.info().role.peer(), b.info().role);
        let id = a.session_id();
        let (reading, writing) = a.into_split();
        assert_eq!((reading.session_id(), writing.session_id()), (id, id));
        assert_eq!(*reading.peer().public_key(), identity(2).public_key());
    })
    .await;
}

/// Bytes that came with the end of the handshake are the first that the stream reads.
#[test]
fn bytes_behind_the_handshake_are_kept() {
    let first = seal(&mut sessions().1.sealer, b"first");
    for cut in 0..=first.len() {
        let script = Script::giving(&first[cut..]);
        let mut stream = Stream::new(script, sessions().0, BytesMut::from(&first[..cut]));
        let (data, end) = drive(read_all(&mut stream));
        assert_eq!(data, b"first", "cut at {cut}");
        assert_eq!(cause(&end.unwrap_err()), Error::Truncated);
    }
}

/// A writer that waits for the transport wakes up when the reader, in another task, finds that the session is over.
#[tokio::test]
async fn a_sleeping_writer_is_woken_by_a_failure() {
    let (left, right) = tokio::io::duplex(1_000);
    let (alice, bob) = (config(1, 2), config(2, 1));
    let (a, b) = tokio::join!(alice.connect_over(left).into_future(), bob.accept_over(right, None));
    let (mut read, mut write) = a.unwrap().into_split();
    // Bob never reads, so alice's writer gets stuck; then he is gone without an end.
    let writer = tokio::spawn(async move { write.write_all(&[7; 1_000_000]).await.unwrap_err() });
    let (bob_read, mut bob_write) = tokio::io::split(b.unwrap());
    tokio::task::yield_now().await;
    bob_write.write_all(b"fine").await.unwrap();
    bob_write.flush().await.unwrap();
    let mut four = [0; 4];
    read.read_exact(&mut four).await.unwrap();
    drop((bob_read, bob_write));
    let failed = read.read_u8().await.unwrap_err();
    let woken = tokio::time::timeout(std::time::Duration::from_secs(20), writer).await.expect("it sleeps on").unwrap();
    assert_eq!(woken.to_string(), failed.to_string());
}

/// What was written and not flushed goes out while we read, so that nobody waits for ever.
#[tokio::test]
async fn reading_hands_on_what_was_written() {
    let (left, right) = tokio::io::duplex(64);
    let (alice, bob) = (config(1, 2), config(2, 1));
    let (a, b) = tokio::join!(alice.connect_over(left).into_future(), bob.accept_over(right, None));
    let (mut a, mut b) = (a.unwrap(), b.unwrap());
    let server = tokio::spawn(async move {
        let mut request = [0; 200];
        b.read_exact(&mut request).await.unwrap();
        b.write_all(b"answer").await.unwrap();
        b.shutdown().await.unwrap();
    });
    a.write_all(&[7; 200]).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(std::time::Duration::from_secs(20), a.read_to_end(&mut answer));
    read.await.expect("both wait for each other").unwrap();
    assert_eq!(answer, b"answer");
    server.await.unwrap();
}
