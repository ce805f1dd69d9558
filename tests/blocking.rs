//! The blocking streams: with each other and with the asynchronous ones, over sockets and over a transport that does
//! what a test says.
#![cfg(feature = "std")]
#![allow(missing_docs)]

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::BytesMut;
use countersign::blocking::{self, ConnectError, Plain, Stream, Timeouts, Transport, protocol_error};
use countersign::crypto::network::NetworkKey;
use countersign::crypto::suite::Suite;
use countersign::error::{Alert, Error, Reason, ReceivedAlert, Refusal};
use countersign::handshake::{Step, Target, initiate, respond};
use countersign::identity::PeerId;
use countersign::keylog::KeyLog;
use countersign::role::Stage;
use countersign::session::{Event, Padding, Progress, RekeyPolicy, Session};
use countersign::trust::{Decision, Pinned, from_async_fn, from_fn};
use countersign::{Config, Identity};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_core::Rng;

type Tcp = Stream<TcpStream>;

fn identity(byte: u8) -> Identity {
    Identity::from_seed(&mut [byte; 32]).expect("an identity")
}

fn peer_id(byte: u8) -> PeerId {
    PeerId::Key(identity(byte).public_key())
}

fn config(own: u8, peer: u8) -> Config {
    Config::new(identity(own), Pinned::new([peer_id(peer)]))
}

fn hasty(config: Config) -> Config {
    config.handshake_timeout(Duration::from_millis(300))
}

/// Answers one call in a thread.
fn serve<R: Send + 'static>(
    config: Config,
    then: impl FnOnce(Result<Tcp, ConnectError>) -> R + Send + 'static,
) -> (SocketAddr, JoinHandle<R>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    (address, thread::spawn(move || then(blocking::accept(&config, listener.accept().expect("a call").0))))
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let near = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
    (near, listener.accept().expect("a call").0)
}

/// Both ends of a stream over TCP.
fn pair(ours: Config, theirs: Config) -> (Tcp, Tcp) {
    let (address, far) = serve(theirs, |stream| stream.expect("accepted"));
    let near = blocking::connect(&ours, address, Target::default()).expect("connected");
    (near, far.join().expect("the other thread"))
}

fn echo(stream: &mut Tcp) -> io::Result<u64> {
    let mut sent = 0;
    loop {
        let data = stream.fill_buf()?.to_vec();
        if data.is_empty() {
            stream.shutdown()?;
            return Ok(sent);
        }
        stream.write_all(&data)?;
        stream.consume(data.len());
        sent += u64::try_from(data.len()).expect("a length");
    }
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

fn failure(result: Result<Tcp, ConnectError>) -> Error {
    match result.expect_err("a failure") {
        ConnectError::Protocol(failure) => failure.error,
        other => panic!("{other}"),
    }
}

#[test]
fn all_suites_carry_a_conversation_and_both_sides_agree_about_it() {
    for suite in Suite::ALL {
        let (address, server) = serve(config(2, 1).services(["echo"]), |stream| {
            let mut stream = stream.expect("accepted");
            assert_eq!(echo(&mut stream).expect("echo"), 200_000);
            let mut key = [0; 32];
            stream.export_keying_material(b"test", b"", &mut key).expect("export");
            (stream.session_id(), *stream.channel_binding(), key, stream.service().to_owned(), stream.peer().clone())
        });
        let target = Target { peer: Some(peer_id(2)), service: "echo".into(), ..Target::default() };
        let mut stream = blocking::connect(&config(1, 2).suites([suite]), address, target).expect("connected");
        let sent = bytes(1, 200_000);
        let mut got = Vec::new();
        for piece in sent.chunks(50_000) {
            stream.write_all(piece).expect("written");
            let mut back = vec![0; piece.len()];
            stream.read_exact(&mut back).expect("echo");
            got.extend(back);
        }
        stream.shutdown().expect("end");
        stream.shutdown().expect("nothing more to do");
        assert_eq!(stream.read(&mut [0; 10]).expect("end"), 0);
        assert_eq!(stream.read(&mut [0; 10]).expect("end"), 0);
        assert_eq!(got, sent);
        assert_eq!(stream.info().suite, suite);
        let mut key = [0; 32];
        stream.export_keying_material(b"test", b"", &mut key).expect("export");
        let (session_id, binding, their_key, service, peer) = server.join().expect("server");
        assert_eq!((session_id, binding, their_key), (stream.session_id(), *stream.channel_binding(), key));
        assert_eq!((service.as_str(), peer.public_key()), ("echo", &identity(1).public_key()));
        assert_eq!(stream.peer().public_key(), &identity(2).public_key());
    }
}

#[test]
fn one_direction_ends_without_the_other() {
    let (mut near, mut far) = pair(config(1, 2), config(2, 1));
    near.write_all(b"question").expect("written");
    near.shutdown().expect("end");
    let refused = near.write(b"more").expect_err("after the end");
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    let mut text = String::new();
    far.read_to_string(&mut text).expect("question");
    assert_eq!(text, "question");
    far.send_keepalive().expect("keepalive");
    far.write_all(b"answer").expect("written");
    far.shutdown().expect("end");
    text.clear();
    near.read_to_string(&mut text).expect("answer");
    assert_eq!(text, "answer");
}

#[test]
fn a_connection_that_was_cut_is_an_error_and_stays_one() {
    let (mut near, mut far) = pair(config(1, 2), config(2, 1));
    far.write_all(b"half of").expect("written");
    drop(far);
    let mut text = String::new();
    for _ in 0..2 {
        let error = near.read_to_string(&mut text).expect_err("cut");
        assert_eq!((error.kind(), protocol_error(&error)), (ErrorKind::UnexpectedEof, Some(&Error::Truncated)));
    }
    assert_eq!(text, "half of");
    assert_eq!(near.write(b"x").expect_err("over").kind(), ErrorKind::UnexpectedEof);
    assert_eq!(near.flush().expect_err("over").kind(), ErrorKind::UnexpectedEof);
    assert_eq!(near.shutdown().expect_err("over").kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_refusal_comes_with_its_reason() {
    let theirs = Config::new(identity(2), from_fn(|_| Decision::deny("not on Sundays")));
    let refusal = Refusal::new(Reason::Denied, "not on Sundays");
    let (address, server) = serve(theirs, failure);
    let refused = failure(blocking::connect(&config(1, 2), address, Target::default()));
    assert_eq!(refused, Error::Refused(refusal.clone()));
    assert_eq!(server.join().expect("server"), Error::Denied(refusal));
}

/// What an eager caller does before it finds that it was refused.
#[test]
fn an_eager_caller_finds_the_refusal_wherever_it_looks() {
    let deeds: [fn(&mut Tcp) -> io::Result<()>; 6] = [
        |stream| stream.read(&mut [0]).map(drop),
        |stream| stream.accepted(),
        |stream| stream.write_all(b"hello").and_then(|()| stream.shutdown()),
        // These find it once it has come.
        |stream| until_it_fails(|| stream.write(b"hello").map(drop)),
        |stream| until_it_fails(|| stream.flush()),
        |stream| until_it_fails(|| stream.send_keepalive()),
    ];
    for deed in deeds {
        let theirs = Config::new(identity(2), from_fn(|_| Decision::deny("no")));
        let (address, server) = serve(theirs, failure);
        let mut stream = blocking::connect_eager(&config(1, 2), address, Target::default()).expect("a proven peer");
        for _ in 0..2 {
            let error = deed(&mut stream).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert_eq!(protocol_error(&error), Some(&Error::Refused(Refusal::new(Reason::Denied, "no"))));
        }
        server.join().expect("server");
    }
}

fn until_it_fails(mut deed: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 0..2_000 {
        deed()?;
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

#[test]
fn an_eager_caller_who_is_accepted_notices_nothing() {
    let (address, server) = serve(config(2, 1), |stream| echo(&mut stream.expect("accepted")));
    let mut stream = blocking::connect_eager(&config(1, 2), address, Target::default()).expect("a proven peer");
    stream.write_all(b"early").expect("written");
    stream.accepted().expect("accepted");
    stream.shutdown().expect("end");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("echo");
    assert_eq!(text, "early");
    assert_eq!(server.join().expect("server").expect("echo"), 5);
}

// [NK-3] [NK-4]
#[test]
fn without_the_network_key_there_is_no_answer() {
    let key = || NetworkKey::take(&mut [7; 32]).expect("a key");
    let (mut near, mut far) = pair(config(1, 2).network_key(key()), config(2, 1).network_key(key()));
    near.write_all(b"x").expect("written");
    far.read_exact(&mut [0]).expect("read");

    for garbage in [&b"\xC1\x00\x00\x40"[..], b"GET / HTTP/1.1\r\n\r\n", &[0xC1, 0, 0, 42, 9, 9], &[0xC1; 100_000]] {
        let (address, server) = serve(hasty(config(2, 1)).network_key(key()), |stream| stream.map(drop));
        let mut raw = TcpStream::connect(address).expect("connected");
        let _ = raw.write_all(garbage);
        let mut got = Vec::new();
        // It ends with a close or a reset, without a byte.
        let _ = raw.read_to_end(&mut got);
        assert_eq!(got, b"");
        server.join().expect("server").expect_err("no handshake");
    }
    // A caller without the key gets nothing, and gives up.
    let (address, server) = serve(hasty(config(2, 1)).network_key(key()), |stream| stream.map(drop));
    let error = blocking::connect(&hasty(config(1, 2)), address, Target::default()).expect_err("silence");
    assert!(
        matches!(
            error,
            ConnectError::Timeout { stage: Some(Stage::HelloReply) }
                | ConnectError::Protocol(_)
                | ConnectError::Io { .. }
        ),
        "{error}"
    );
    server.join().expect("server").expect_err("no handshake");
}

#[test]
fn a_silent_or_slow_peer_meets_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let error = blocking::connect(&hasty(config(1, 2)), address, Target::default()).expect_err("silence");
    assert!(matches!(error, ConnectError::Timeout { stage: Some(Stage::HelloReply) }), "{error}");

    // As a responder, whether nothing comes or a byte now and then; and the peer is told.
    for slow in [false, true] {
        let (address, server) = serve(hasty(config(2, 1)), |stream| stream.map(drop));
        let mut raw = TcpStream::connect(address).expect("connected");
        let drip = raw.try_clone().expect("a handle");
        let dripping = thread::spawn(move || {
            let mut hello = [0xC1, 0, 4, 0].into_iter().chain(std::iter::repeat(0));
            while slow && (&drip).write_all(&[hello.next().expect("a byte")]).is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let mut told = Vec::new();
        let _ = raw.read_to_end(&mut told);
        let error = server.join().expect("server").expect_err("too slow");
        assert!(matches!(error, ConnectError::Timeout { stage: Some(Stage::Hello) }), "{error}");
        assert_eq!(told, [0xC6, 0, 0, 1, Alert::Timeout.code()]);
        drop(raw);
        dripping.join().expect("dripping");
    }
}

#[test]
fn the_timeouts_of_the_socket_are_as_they_were() {
    let (near, far) = tcp_pair();
    near.set_read_timeout(Some(Duration::from_secs(77))).expect("set");
    let server = thread::spawn(move || blocking::accept_over(&config(2, 1), far, None).expect("accepted"));
    let stream = blocking::connect_over(&config(1, 2), near, Target::default()).expect("connected");
    assert_eq!(stream.get_ref().read_timeout().expect("get"), Some(Duration::from_secs(77)));
    assert_eq!(stream.get_ref().write_timeout().expect("get"), None);
    let far = server.join().expect("server");
    assert_eq!(far.get_ref().read_timeout().expect("get"), None);
}

#[test]
fn a_timeout_of_the_socket_ends_nothing() {
    let (mut near, mut far) = pair(config(1, 2), config(2, 1));
    near.get_ref().set_read_timeout(Some(Duration::from_millis(20))).expect("set");
    for text in ["one", "two"] {
        let idle = near.read(&mut [0; 10]).expect_err("nothing came");
        assert!(matches!(idle.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{idle}");
        far.write_all(text.as_bytes()).expect("written");
        let mut got = [0; 3];
        until_some(|| near.read(&mut got));
        assert_eq!(got, text.as_bytes());
    }
}

/// Repeats a call as long as the transport would block.
fn until_some<R>(mut call: impl FnMut() -> io::Result<R>) -> R {
    loop {
        match call() {
            Ok(got) => return got,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn trust_may_take_its_time_but_not_all_of_it() {
    // A future that another thread wakes.
    let slow = from_async_fn(|_| {
        let mut asked = false;
        poll_fn(move |cx| {
            if std::mem::replace(&mut asked, true) {
                return Poll::Ready(Decision::accept());
            }
            let waker = cx.waker().clone();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(30));
                waker.wake();
            });
            Poll::Pending
        })
    });
    pair(config(1, 2), Config::new(identity(2), slow));

    // One that never answers: the initiator is told that we are busy. That this comes before the deadline is not
    // asserted: the timeouts of sockets are too coarse.
    let never = Config::new(identity(2), from_async_fn(|_| std::future::pending()));
    let (address, server) = serve(hasty(never), failure);
    let refused = failure(blocking::connect(&config(1, 2), address, Target::default()));
    assert_eq!(refused, Error::Refused(Refusal::new(Reason::Busy, "")));
    server.join().expect("server");
    let (address, server) = serve(config(2, 1), failure);
    let never = Config::new(identity(1), from_async_fn(|_| std::future::pending()));
    let error = blocking::connect(&hasty(never), address, Target::default()).expect_err("no decision");
    assert!(matches!(error, ConnectError::Timeout { stage: Some(Stage::AuthR) }), "{error}");
    let told = ReceivedAlert { alert: Alert::Timeout, text: String::new(), authenticated: false };
    assert_eq!(server.join().expect("server"), Error::AlertReceived(told));
}

#[test]
fn a_busy_responder_is_called_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let server = thread::spawn(move || {
        for _ in 0..2 {
            let (mut io, _) = listener.accept().expect("a call");
            let _ = io.read(&mut [0; 4_096]).expect("HELLO");
            io.write_all(&[0xC6, 0, 0, 1, Alert::Busy.code()]).expect("told");
        }
        blocking::accept(&config(2, 1), listener.accept().expect("a call").0).map(drop)
    });
    blocking::connect(&config(1, 2), address, Target::default()).expect("the third time");
    server.join().expect("server").expect("accepted");
}

#[test]
fn nobody_there_is_an_error_of_the_transport() {
    let address = TcpListener::bind("127.0.0.1:0").expect("a socket").local_addr().expect("an address");
    let error = blocking::connect(&config(1, 2), address, Target::default()).expect_err("nobody");
    assert!(matches!(error, ConnectError::Io { stage: None, .. }), "{error}");
    let none: &[SocketAddr] = &[];
    let error = blocking::connect(&config(1, 2), none, Target::default()).expect_err("nowhere");
    assert!(matches!(error, ConnectError::Io { stage: None, .. }), "{error}");
}

#[test]
fn a_forged_record_ends_both_directions_and_the_peer_is_told() {
    let (mut near, mut far) = pair(config(1, 2), config(2, 1));
    near.get_ref().write_all(&[&[0xC5, 0, 0, 20][..], &[0; 20]].concat()).expect("forged");
    let error = far.read(&mut [0]).expect_err("forged");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert_eq!(far.write(b"x").expect_err("over").kind(), ErrorKind::InvalidData);
    let error = near.read(&mut [0]).expect_err("told");
    let told = ReceivedAlert { alert: Alert::BadRecord, text: String::new(), authenticated: true };
    assert_eq!(protocol_error(&error), Some(&Error::AlertReceived(told)));
}

#[test]
fn whoever_aborts_is_heard_even_by_one_who_only_writes() {
    let (mut near, mut far) = pair(config(1, 2), config(2, 1));
    far.write_all(b"never read").expect("written");
    far.abort(Alert::Internal, "going home").expect("told");
    assert_eq!(far.read(&mut [0]).expect_err("aborted").kind(), ErrorKind::InvalidInput);
    drop(far);
    let error = until_it_fails(|| near.write(&[0; 10_000]).map(drop)).expect_err("gone");
    let Some(Error::AlertReceived(heard)) = protocol_error(&error) else { panic!("{error}") };
    assert_eq!((heard.alert, heard.text.as_str()), (Alert::Internal, "going home"));
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl KeyLog for Log {
    fn log(&self, line: &str) {
        self.0.lock().expect("the log").push(line.to_owned());
    }
}

/// Both directions rekey all the time, in four threads, and nobody waits for anybody.
#[test]
fn halves_rekey_across_each_other() {
    const LEN: usize = 4 << 20;
    let log = Log::default();
    let often = |config: Config| config.rekey(RekeyPolicy::new(64 * 1024, Duration::from_secs(3_600)));
    let (near, far) = pair(often(config(1, 2)).dangerous_key_log(log.clone()), often(config(2, 1)));
    let mut threads = Vec::new();
    for (seed, stream) in [(0, near), (1, far)] {
        let (mut read, mut write) = stream.into_split().expect("halves");
        threads.push(thread::spawn(move || {
            for piece in bytes(seed, LEN).chunks(7_777) {
                write.write_all(piece).expect("written");
            }
            write.shutdown().expect("end");
        }));
        threads.push(thread::spawn(move || {
            let mut got = Vec::new();
            read.read_to_end(&mut got).expect("read");
            assert!(got == bytes(1 - seed, LEN), "other bytes came out");
        }));
    }
    threads.into_iter().for_each(|thread| thread.join().expect("thread"));
    for side in ["TRAFFIC_I_", "TRAFFIC_R_"] {
        let keys = log.0.lock().expect("the log").iter().filter(|line| line.starts_with(side)).count();
        assert!(keys > 30, "only {keys} keys of {side}");
    }
}

#[test]
fn the_first_failure_is_that_of_both_halves() {
    let (near, far) = pair(config(1, 2), config(2, 1));
    let (mut read, mut write) = near.into_split().expect("halves");
    // A half that is dropped ends its direction, without an authenticated end.
    drop(far.into_split().expect("halves"));
    assert_eq!(read.read(&mut [0]).expect_err("cut").kind(), ErrorKind::UnexpectedEof);
    assert_eq!(write.write(b"x").expect_err("cut").kind(), ErrorKind::UnexpectedEof);
    assert_eq!(write.shutdown().expect_err("cut").kind(), ErrorKind::UnexpectedEof);

    let (near, far) = pair(config(1, 2), config(2, 1));
    let (_far_read, far_write) = far.into_split().expect("halves");
    let (mut read, write) = near.into_split().expect("halves");
    drop(far_write);
    assert_eq!(read.read(&mut [0]).expect_err("cut").kind(), ErrorKind::UnexpectedEof);
    drop((read, write));

    // The other half's shutdown of the socket wakes a thread that reads.
    let (near, _far) = pair(config(1, 2), config(2, 1));
    let (mut read, write) = near.into_split().expect("halves");
    let reader = thread::spawn(move || read.read(&mut [0]).map_err(|error| error.kind()));
    write.get_ref().shutdown(Shutdown::Both).expect("shut down");
    assert_eq!(reader.join().expect("reader"), Err(ErrorKind::UnexpectedEof));
}

#[cfg(unix)]
#[test]
fn unix_sockets_boxes_and_plain_transports_will_do() {
    use std::os::unix::net::UnixStream;
    let (near, far) = UnixStream::pair().expect("sockets");
    let server = thread::spawn(move || {
        let mut stream = blocking::accept_over(&config(2, 1), Plain(far), None).expect("accepted");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("read");
        text
    });
    let near: Box<dyn Transport + Send> = Box::new(near);
    let mut stream = blocking::connect_eager_over(&config(1, 2), near, Target::default()).expect("connected");
    stream.write_all(b"hello").expect("written");
    stream.shutdown().expect("end");
    assert_eq!(server.join().expect("server"), "hello");
}

/// What a transport does at one call.
enum Do {
    Fail(ErrorKind),
    /// So many bytes at most.
    Some(usize),
}

#[derive(Default)]
struct Script {
    input: VecDeque<u8>,
    reads: VecDeque<Do>,
    output: Vec<u8>,
    writes: VecDeque<Do>,
    calls: usize,
}

/// Follows a script, then does whatever it is asked for; clones share it. At the end of the input it would block.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

impl Scripted {
    fn script<R>(&self, change: impl FnOnce(&mut Script) -> R) -> R {
        change(&mut self.0.lock().expect("the script"))
    }
}

impl Read for Scripted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.script(|script| {
            let most = match script.reads.pop_front() {
                Some(Do::Fail(kind)) => return Err(kind.into()),
                Some(Do::Some(most)) => most,
                None => usize::MAX,
            };
            if script.input.is_empty() {
                return Err(ErrorKind::WouldBlock.into());
            }
            let count = buf.len().min(most).min(script.input.len());
            buf.iter_mut().zip(script.input.drain(..count)).for_each(|(to, from)| *to = from);
            Ok(count)
        })
    }
}

impl Write for Scripted {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.script(|script| {
            script.calls += 1;
            let count = match script.writes.pop_front() {
                Some(Do::Fail(kind)) => return Err(kind.into()),
                Some(Do::Some(most)) => most.min(buf.len()),
                None => buf.len(),
            };
            script.output.extend_from_slice(&buf[..count]);
            Ok(count)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Scripted {}

fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

fn advance(config: &Config, mut step: Step, input: &mut BytesMut, output: &mut BytesMut) -> Step {
    loop {
        step = match step {
            Step::NeedInput(need) if input.is_empty() => return Step::NeedInput(need),
            Step::NeedInput(need) => need.feed(input, output).expect("fed"),
            Step::VerifyPeer(verify) => verify.decide(Decision::accept(), output).expect("decided"),
            Step::Sign(sign) => {
                let signature = ready(config.signer().sign(sign.input()));
                sign.signed(signature, output).expect("signed")
            }
            complete => return complete,
        };
    }
}

/// Two sessions, without a transport.
fn sessions(ours: &Config, theirs: &Config) -> (Session, Session) {
    let (mut to_near, mut to_far) = (BytesMut::new(), BytesMut::new());
    let mut rng = getrandom::SysRng;
    let mut near = initiate(ours, Target::default(), &mut rng, &mut to_far).expect("initiate");
    let mut far = respond(theirs, &mut rng).expect("respond");
    loop {
        far = advance(theirs, far, &mut to_far, &mut to_near);
        near = advance(ours, near, &mut to_near, &mut to_far);
        match (near, far) {
            (Step::Complete(near), Step::Complete(far)) => return (*near, *far),
            (next_near, next_far) => (near, far) = (next_near, next_far),
        }
    }
}

/// A stream over a script, and the session at the other end.
fn scripted() -> (Stream<Scripted>, Scripted, Session) {
    let (near, far) = sessions(&config(1, 2), &config(2, 1));
    let io = Scripted::default();
    (Stream::new(io.clone(), near, BytesMut::new()), io, far)
}

/// What the records say, and whether END came.
fn open(session: &mut Session, mut wire: &mut [u8]) -> (Vec<u8>, usize, bool) {
    let (mut data, mut records, mut ended) = (Vec::new(), 0, false);
    while !wire.is_empty() {
        let Progress::Record { consumed, event } = session.open(wire).expect("a record") else {
            panic!("a record is incomplete")
        };
        records += 1;
        match event {
            Event::Data(range) => data.extend_from_slice(&wire[range]),
            Event::End => ended = true,
            _ => {}
        }
        wire = &mut wire[consumed..];
    }
    (data, records, ended)
}

#[test]
fn a_write_that_would_block_loses_nothing_and_repeats_nothing() {
    for kind in [ErrorKind::WouldBlock, ErrorKind::TimedOut] {
        let (mut stream, io, mut far) = scripted();
        // Ten bytes of the record, and then no more: the data counts as written all the same.
        io.script(|script| script.writes.extend([Do::Some(10), Do::Fail(kind), Do::Fail(kind), Do::Fail(kind)]));
        assert_eq!(stream.write(b"one").expect("sealed"), 3);
        assert_eq!(io.script(|script| script.output.len()), 10);
        // As long as it waits, nothing else is taken.
        assert_eq!(stream.write(b"two").expect_err("full").kind(), kind);
        assert_eq!(stream.flush().expect_err("full").kind(), kind);
        assert_eq!(stream.write(b"two").expect("room again"), 3);
        io.script(|script| script.writes.extend([Do::Fail(ErrorKind::Interrupted), Do::Some(1), Do::Fail(kind)]));
        // The end is sealed once, however often it is asked for.
        assert_eq!(stream.shutdown().expect_err("full").kind(), kind);
        io.script(|script| script.writes.push_back(Do::Fail(kind)));
        assert_eq!(stream.shutdown().expect_err("full").kind(), kind);
        stream.shutdown().expect("end");
        stream.shutdown().expect("nothing to do");
        let mut wire = io.script(|script| std::mem::take(&mut script.output));
        assert_eq!(open(&mut far, &mut wire), (b"onetwo".to_vec(), 3, true));
    }
}

#[test]
fn what_waits_goes_out_before_we_wait_for_the_peer() {
    let (mut stream, io, mut far) = scripted();
    io.script(|script| script.writes.push_back(Do::Fail(ErrorKind::WouldBlock)));
    assert_eq!(stream.write(b"question").expect("sealed"), 8);
    assert_eq!(stream.read(&mut [0]).expect_err("no answer yet").kind(), ErrorKind::WouldBlock);
    let mut wire = io.script(|script| std::mem::take(&mut script.output));
    assert_eq!(open(&mut far, &mut wire).0, b"question");
}

/// One write for a record or several, also with a REKEY before each and with several buffers.
#[test]
fn records_are_written_whole() {
    let (near, mut far) = sessions(&config(1, 2).rekey(RekeyPolicy::new(1, Duration::MAX)), &config(2, 1));
    let io = Scripted::default();
    let mut stream = Stream::new(io.clone(), near, BytesMut::new());
    for _ in 0..2 {
        let bufs = [IoSlice::new(b"he"), IoSlice::new(b""), IoSlice::new(b"llo")];
        assert_eq!(stream.write_vectored(&bufs).expect("written"), 5);
    }
    assert_eq!(stream.write(b"").expect("nothing"), 0);
    assert_eq!(stream.write(&[0; 100_000]).expect("two records"), 100_000);
    assert_eq!(io.script(|script| script.calls), 3);
    let mut wire = io.script(|script| std::mem::take(&mut script.output));
    let (data, records, _) = open(&mut far, &mut wire);
    assert_eq!((data.len(), records), (10 + 100_000, 7));
    assert_eq!(stream.write(&[0; 300_000]).expect("two records"), 131_072);
}

/// Small writes that are gathered make one record: at the limit, at a flush, before a read that may wait, and at the end.
#[test]
fn gathered_writes() {
    let (mut stream, io, mut far) = scripted();
    let mut check = |records: usize, data: &[u8]| {
        let mut wire = io.script(|script| std::mem::take(&mut script.output));
        let (got, found, _) = open(&mut far, &mut wire);
        assert_eq!((got.as_slice(), found), (data, records));
    };
    stream.set_write_buffer(10);
    for part in [&b"four"[..], b"more", b"xy"] {
        assert_eq!(stream.write(part).expect("gathered"), part.len());
    }
    check(0, b"");
    assert_eq!(stream.write(b"z").expect("gathered"), 1);
    check(1, b"fourmorexy");
    stream.flush().expect("flushed");
    check(1, b"z");
    stream.write_all(b"question").expect("gathered");
    io.script(|script| script.reads.push_back(Do::Fail(ErrorKind::WouldBlock)));
    assert_eq!(stream.read(&mut [0]).expect_err("no answer yet").kind(), ErrorKind::WouldBlock);
    check(1, b"question");
    stream.write_all(b"a").expect("gathered");
    assert_eq!(stream.write(&[7; 20]).expect("sealed"), 20);
    check(2, &[&b"a"[..], &[7; 20]].concat());
    stream.write_all(b"end").expect("gathered");
    stream.shutdown().expect("ended");
    check(2, b"end");
}

/// A rekey of ours heals for good once the peer's share is mixed in: the next record brings another, and then there is
/// peace.
#[test]
fn a_rekey_is_completed_when_the_peer_has_rekeyed() {
    let ours = config(1, 2).rekey(RekeyPolicy::new(1_000, Duration::MAX));
    let (near, mut far) = sessions(&ours, &config(2, 1));
    let io = Scripted::default();
    let mut stream = Stream::new(io.clone(), near, BytesMut::new());
    let say = |stream: &mut Stream<Scripted>, far: &mut Session, len| {
        assert_eq!(stream.write(&vec![0; len]).expect("written"), len);
        let mut wire = io.script(|script| std::mem::take(&mut script.output));
        open(far, &mut wire).1
    };
    assert_eq!([1_000, 1, 1].map(|len| say(&mut stream, &mut far, len)), [1, 2, 1]);
    let mut wire = BytesMut::new();
    far.sealer.rekey(&mut far.shares, Duration::ZERO, &mut getrandom::SysRng, &mut wire).expect("rekey");
    far.sealer.seal_data([&b"x"[..]].into_iter(), &mut wire).expect("sealed");
    io.script(|script| script.input.extend(wire));
    stream.read_exact(&mut [0]).expect("read");
    assert_eq!([1, 1].map(|len| say(&mut stream, &mut far, len)), [2, 1]);
}

#[test]
fn a_transport_that_takes_nothing_or_fails_ends_the_stream() {
    let (mut stream, io, _) = scripted();
    io.script(|script| script.writes.push_back(Do::Some(0)));
    for _ in 0..2 {
        assert_eq!(stream.write(b"x").expect_err("nothing taken").kind(), ErrorKind::WriteZero);
    }
    let (mut stream, io, _) = scripted();
    io.script(|script| script.reads.push_back(Do::Fail(ErrorKind::ConnectionReset)));
    assert_eq!(stream.read(&mut [0]).expect_err("reset").kind(), ErrorKind::ConnectionReset);
    assert_eq!(stream.write(b"x").expect_err("reset").kind(), ErrorKind::ConnectionReset);
}

/// Whatever a transport does: what is written is what is read.
#[test]
fn any_schedule_carries_the_same_bytes() {
    for seed in 0..60 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let padding: Padding = ["none", "block:100", "pow2"][rng.next_u32() as usize % 3].parse().expect("a padding");
        let policy = RekeyPolicy::new(2_000, Duration::MAX);
        let ours = config(1, 2).padding(padding).rekey(policy);
        let theirs = config(2, 1).padding(padding).rekey(policy);
        let (near, far) = sessions(&ours, &theirs);
        let (near_io, far_io) = (Scripted::default(), Scripted::default());
        let mut near = Stream::new(near_io.clone(), near, BytesMut::new());
        let mut far = Stream::new(far_io.clone(), far, BytesMut::new());
        let (sent, back) = (bytes(seed, 20_000), bytes(seed + 1, 20_000));
        let (mut out, mut out_back, mut got, mut got_back) = (&sent[..], &back[..], Vec::new(), Vec::new());
        while got.len() < sent.len() || got_back.len() < back.len() {
            for io in [&near_io, &far_io] {
                io.script(|script| {
                    let mut some = || match rng.next_u32() % 6 {
                        0 => Do::Fail(ErrorKind::WouldBlock),
                        1 => Do::Fail(ErrorKind::Interrupted),
                        2 => Do::Fail(ErrorKind::TimedOut),
                        most => Do::Some((most * most * most * 5) as usize),
                    };
                    script.writes.extend((0..2).map(|_| some()));
                    script.reads.extend((0..2).map(|_| some()));
                });
            }
            for (from, to) in [(&near_io, &far_io), (&far_io, &near_io)] {
                let moved = from.script(|script| std::mem::take(&mut script.output));
                to.script(|script| script.input.extend(moved));
            }
            let piece = rng.next_u32() as usize % 3_000;
            put(&mut near, &mut out, piece);
            put(&mut far, &mut out_back, piece / 2);
            take(&mut near, &mut got_back);
            take(&mut far, &mut got);
            // Nothing is left behind once the application has said all.
            let _ = (near.flush(), far.flush());
        }
        assert!(got == sent && got_back == back, "other bytes came out with seed {seed}");
    }
}

fn put(stream: &mut Stream<Scripted>, out: &mut &[u8], most: usize) {
    match stream.write(&out[..out.len().min(most)]) {
        Ok(count) => *out = &out[count..],
        Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
    }
}

fn take(stream: &mut Stream<Scripted>, got: &mut Vec<u8>) {
    let mut buf = [0; 500];
    match stream.read(&mut buf) {
        Ok(count) => got.extend_from_slice(&buf[..count]),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
    }
}

/// A transport with time limits of its own: the handshake sets them before each call, and never for longer than it has.
#[test]
fn every_call_of_a_handshake_is_limited() {
    #[derive(Debug, Default)]
    struct Limited(Vec<Timeouts>, usize);
    impl Read for Limited {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            Err(ErrorKind::ConnectionReset.into())
        }
    }
    impl Write for Limited {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            assert!(self.0.last().is_some_and(|last| last.write.is_some()));
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Transport for &mut Limited {
        fn timeouts(&self) -> io::Result<Timeouts> {
            Ok(Timeouts::default())
        }
        fn set_timeouts(&mut self, timeouts: Timeouts) -> io::Result<()> {
            let own = [timeouts.read, timeouts.write].into_iter().flatten().all(|own| own <= Duration::from_secs(10));
            assert!(own, "{timeouts:?}");
            self.0.push(timeouts);
            Ok(())
        }
    }
    let mut io = Limited::default();
    let error = blocking::connect_over(&config(1, 2), &mut io, Target::default()).expect_err("reset");
    assert!(matches!(error, ConnectError::Io { stage: Some(Stage::HelloReply), .. }), "{error}");
    assert_eq!((io.1, io.0.len()), (1, 4));
    assert_eq!(io.0.last(), Some(&Timeouts::default()));
}

#[cfg(feature = "tokio")]
mod with_tokio {
    use countersign::Listener;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_blocking_caller_talks_to_an_asynchronous_listener() {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let listener = Listener::from_tcp(socket, config(2, 1), |failure| panic!("{failure:?}")).expect("listener");
        let address = listener.local_addr();
        for suite in Suite::ALL {
            for eager in [false, true] {
                let caller = tokio::task::spawn_blocking(move || {
                    let ours = config(1, 2).suites([suite]);
                    let connect = if eager { blocking::connect_eager } else { blocking::connect };
                    let mut stream = connect(&ours, address, Target::default()).expect("connected");
                    stream.write_all(&bytes(3, 300_000)).expect("written");
                    stream.shutdown().expect("end");
                    let mut got = Vec::new();
                    stream.read_to_end(&mut got).expect("read");
                    assert!(got == bytes(4, 300_000), "other bytes came out");
                });
                let mut stream = listener.accept().await.expect("a stream");
                let mut got = Vec::new();
                stream.read_to_end(&mut got).await.expect("read");
                assert!(got == bytes(3, 300_000), "other bytes came out");
                stream.write_all(&bytes(4, 300_000)).await.expect("written");
                stream.shutdown().await.expect("end");
                caller.await.expect("caller");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_asynchronous_caller_talks_to_a_blocking_responder() {
        for suite in Suite::ALL {
            let often = |config: Config| config.rekey(RekeyPolicy::new(10_000, Duration::from_secs(3_600)));
            let (address, server) = serve(often(config(2, 1)), |stream| echo(&mut stream.expect("accepted")));
            let mut stream = often(config(1, 2).suites([suite])).connect(address).await.expect("connected");
            for round in 0..20 {
                let sent = bytes(round, 10_000);
                stream.write_all(&sent).await.expect("written");
                let mut got = vec![0; sent.len()];
                stream.read_exact(&mut got).await.expect("echo");
                assert!(got == sent, "other bytes came out");
            }
            stream.shutdown().await.expect("end");
            assert_eq!(stream.read(&mut [0; 10]).await.expect("end"), 0);
            assert_eq!(server.join().expect("server").expect("echo"), 200_000);
        }
    }
}
