//! The catalogue over TCP: against a `Listener` and against `connect`. The same errors, whoever misbehaves, however
//! slowly; the listener serves an honest peer afterwards, and who stays silent is cut off.
#![cfg(feature = "tokio")]
#![allow(missing_docs)]

#[path = "support/evil/mod.rs"]
mod evil;
mod support;

use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::time::Duration;

use countersign::config::Config;
use countersign::error::{Error, Failure};
use countersign::identity::PublicKey;
use countersign::role::Stage;
use countersign::session::RekeyPolicy;
use countersign::stream::{ConnectError, protocol_error};
use countersign::trust::Pinned;
use countersign::{Listener, Stream};
use evil::duel::{ORDINARY, duel, honest_config, honest_target};
use evil::keys::{INITIATOR, RESPONDER};
use evil::peer::Said;
use evil::script::{CONTEXT, FAITHFUL, HONEST, SERVICE, Script, TRUSTED};
use evil::wire;
use evil::{Against, Hears, Misbehaviour, Peer, catalogue};
use support::{identity, peer_id};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Ends a test that hangs.
async fn bounded<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(60), future).await.expect("it hangs")
}

/// How the evil peer uses its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Whole,
    /// One byte at a time.
    Bytes,
    /// One byte at a time, with so long between them.
    Drip(Duration),
    /// The same from the second flight on.
    DripLater(Duration),
}

/// When the evil peer ends its direction.
#[derive(Clone, Copy, Debug)]
enum Close {
    Never,
    /// When it has heard so many frames, and when its script has ended.
    After(usize),
}

impl Close {
    /// When it has heard all that an honest side in memory says.
    fn when_all_is_said(row: &Misbehaviour, evil: &'static str) -> Self {
        match row.against {
            Against::Session => Close::After(usize::MAX),
            _ => Close::After(duel(&row.script, evil, ORDINARY).0.said_while_open),
        }
    }
}

/// Plays a peer over a socket until the honest side has closed.
async fn act(peer: &mut Peer, io: &mut TcpStream, pace: Pace, close: Close) {
    io.set_nodelay(true).expect("a socket");
    let mut open = true;
    let mut buffer = vec![0; 8_192];
    let first = peer.start();
    write(io, &first, if matches!(pace, Pace::DripLater(_)) { Pace::Whole } else { pace }).await;
    loop {
        let over = matches!(close, Close::After(frames) if peer.done || peer.said.len() >= frames);
        if over && open {
            let _ = io.shutdown().await;
            open = false;
        }
        match bounded(io.read(&mut buffer)).await {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                let answer = peer.hear(&buffer[..count]);
                write(io, &answer, pace).await;
            }
        }
    }
}

/// The honest side may have closed already.
async fn write(io: &mut TcpStream, bytes: &[u8], pace: Pace) {
    let piece = if pace == Pace::Whole { bytes.len().max(1) } else { 1 };
    for piece in bytes.chunks(piece) {
        if io.write_all(piece).await.is_err() {
            return;
        }
        match pace {
            Pace::Whole => {}
            Pace::Bytes => tokio::task::yield_now().await,
            Pace::Drip(pause) | Pace::DripLater(pause) => sleep(pause).await,
        }
    }
}

/// What became of the honest side.
#[derive(Debug)]
struct Ended {
    error: ConnectError,
    /// Whom the listener names.
    peer: Option<PublicKey>,
}

/// What an honest application sees of a session: all that came, and the error, if there is one.
async fn application(mut stream: Stream<TcpStream>) -> (Vec<u8>, Option<Error>) {
    for text in [b"honest data".as_slice(), b"and more of it"] {
        let _ = stream.write_all(text).await;
    }
    let _ = stream.flush().await;
    let (mut data, mut buffer) = (Vec::new(), vec![0; 4_096]);
    let error = loop {
        match stream.read(&mut buffer).await {
            Ok(0) => break None,
            Ok(count) => data.extend_from_slice(&buffer[..count]),
            Err(error) => break Some(protocol_error(&error).expect("an error of the protocol").clone()),
        }
    };
    let again = stream.read(&mut buffer).await;
    assert_eq!(again.err().as_ref().and_then(protocol_error), error.as_ref(), "the error is not latched");
    let written = stream.write_all(b"more").await.and(stream.flush().await);
    assert_eq!(written.is_err(), error.is_some(), "a session that has failed still writes");
    let _ = stream.shutdown().await;
    // What is not read would reset the connection, and the alert with it.
    let io = stream.get_ref();
    let drain = async { while io.readable().await.is_ok() && !matches!(io.try_read(&mut buffer), Ok(0)) {} };
    let _ = timeout(Duration::from_secs(5), drain).await;
    (data, error)
}

fn short_deadline(script: &Script, deadline: Duration) -> Config {
    let config = honest_config(script).handshake_timeout(deadline);
    if script.rekeys { config.rekey(RekeyPolicy::new(1, Duration::ZERO)) } else { config }
}

/// A listener, and what it says of each failure.
async fn listen(config: Config) -> (Listener, mpsc::UnboundedReceiver<Ended>) {
    let (send, ended) = mpsc::unbounded_channel();
    let io = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let listener = Listener::from_tcp(io, config, move |failure| {
        let error = match &failure.error {
            ConnectError::Protocol(failure) => ConnectError::Protocol(failure.clone()),
            ConnectError::Timeout { stage } => ConnectError::Timeout { stage: *stage },
            other => panic!("{other:?}"),
        };
        let _ = send.send(Ended { error, peer: failure.peer });
    });
    (listener.expect("a listener"), ended)
}

/// An honest peer of the honest side.
fn friend(script: &Script) -> Config {
    let service = std::str::from_utf8(SERVICE).expect("text");
    let config = Config::new(identity(TRUSTED), Pinned::new([peer_id(HONEST)])).context(CONTEXT).services([service]);
    (script.honest)(config)
}

async fn is_served(listener: &Listener, script: &Script) {
    let call = friend(script).connect(listener.local_addr()).service("echo").into_future();
    let (called, accepted) = bounded(async { tokio::join!(call, listener.accept()) }).await;
    let (mut called, mut accepted) =
        (called.expect("the listener serves nobody any more"), accepted.expect("a stream"));
    called.write_all(b"are you there?").await.expect("written");
    called.shutdown().await.expect("ended");
    let mut heard = Vec::new();
    bounded(accepted.read_to_end(&mut heard)).await.expect("an honest end");
    assert_eq!(heard, b"are you there?");
}

/// One row against a listener: what the evil initiator heard, and how it ended.
async fn against_listener(row: &Misbehaviour, pace: Pace, close: Close, config: Config) -> (Peer, Outcome) {
    let (listener, mut ended) = listen(config).await;
    let mut peer = Peer::new(INITIATOR, &row.script, 1);
    let mut io = TcpStream::connect(listener.local_addr()).await.expect("connected");
    let honest_side = async {
        tokio::select! {
            ended = ended.recv() => Outcome::Failed(ended.expect("a failure")),
            stream = listener.accept() => {
                let (data, error) = application(stream.expect("a stream")).await;
                Outcome::Session(data, error)
            }
        }
    };
    let ((), outcome) = bounded(async { tokio::join!(act(&mut peer, &mut io, pace, close), honest_side) }).await;
    drop(io);
    is_served(&listener, &row.script).await;
    let stats = listener.stats();
    assert_eq!((stats.started, stats.gave_way, stats.accept_errors), (2, 0, 0), "{}", row.name);
    (peer, outcome)
}

/// One row against a caller.
async fn against_caller(row: &Misbehaviour, pace: Pace, close: Close, config: Config) -> (Peer, Outcome) {
    let evil = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut peer = Peer::new(RESPONDER, &row.script, 1);
    let target = honest_target(&row.script);
    let mut call = config.connect(evil.local_addr().expect("an address")).service(target.service);
    if let Some(expected) = target.peer {
        call = call.peer(expected);
    }
    let acting = async {
        let (mut io, _) = evil.accept().await.expect("a caller");
        act(&mut peer, &mut io, pace, close).await;
    };
    let honest_side = async {
        match call.await {
            Ok(stream) => {
                let (data, error) = application(stream).await;
                Outcome::Session(data, error)
            }
            Err(error) => Outcome::Failed(Ended { error, peer: None }),
        }
    };
    let ((), outcome) = bounded(async { tokio::join!(acting, honest_side) }).await;
    (peer, outcome)
}

#[derive(Debug)]
enum Outcome {
    Failed(Ended),
    Session(Vec<u8>, Option<Error>),
}

fn heard_as(hears: Hears, peer: &Peer, what: &str) {
    let heard = match hears {
        Hears::Alert(code) => Said::Alert(code),
        Hears::Sealed(code) => Said::Record(vec![wire::ALERT_RECORD, code]),
        Hears::Verdict(code) => Said::Record(vec![wire::VERDICT, code]),
        Hears::Nothing => {
            let alert = |said: &Said| match said {
                Said::Alert(_) => true,
                Said::Record(plaintext) => plaintext[0] == wire::ALERT_RECORD,
                _ => false,
            };
            return assert!(!peer.said.iter().any(alert), "{what}: {:?}", peer.said);
        }
    };
    assert_eq!(peer.said.last(), Some(&heard), "{what}: the last word of {:?}", peer.said);
}

/// The row's expectation.
fn as_in_the_catalogue(row: &Misbehaviour, evil: &str, peer: &Peer, outcome: Outcome) {
    let what = format!("{} by the {evil}", row.name);
    match outcome {
        Outcome::Failed(Ended { error: ConnectError::Protocol(Failure { stage, error, .. }), peer }) => {
            assert!(row.against != Against::Session, "{what}: {error}");
            assert_eq!((&error, stage), (&row.error, row.stage), "{what}");
            // Only who has proved it is named.
            assert_eq!(peer.is_some(), matches!(row.error, Error::Denied(_)), "{what}: named {peer:?}");
        }
        Outcome::Session(data, error) => {
            assert!(row.against == Against::Session, "{what}: a session, {error:?}");
            assert_eq!(data, row.delivers.concat(), "{what}: delivered");
            // [RE-6] Who has read END need not look any further.
            if error.is_none() && matches!(row.error, Error::Unexpected { got: "bytes after END", .. }) {
                return;
            }
            assert_eq!(error.as_ref(), Some(&row.error), "{what}");
        }
        other => panic!("{what}: {other:?}"),
    }
    heard_as(row.hears, peer, &what);
}

/// Runs `check` for many rows at a time, and says which failed.
async fn for_all<F, C>(rows: impl IntoIterator<Item = Misbehaviour>, check: C) -> usize
where
    F: Future<Output = ()> + Send + 'static,
    C: Fn(Arc<Misbehaviour>, &'static str) -> F,
{
    let mut running = JoinSet::new();
    let places = Arc::new(Semaphore::new(24));
    let mut count = 0;
    for row in rows {
        let row = Arc::new(row);
        let roles: &[&'static str] = match row.against {
            Against::Initiator => &[RESPONDER],
            Against::Responder => &[INITIATOR],
            Against::Session => &[INITIATOR, RESPONDER],
        };
        for evil in roles {
            count += 1;
            let (checked, places) = (check(row.clone(), evil), places.clone());
            running.spawn(async move {
                let _place = places.acquire_owned().await.expect("open");
                checked.await;
            });
        }
    }
    let failed = running.join_all_results().await;
    assert!(failed == 0, "{failed} of {count} failed: see above");
    count
}

/// How many tasks of a set have panicked.
trait JoinAllResults {
    async fn join_all_results(self) -> usize;
}

impl JoinAllResults for JoinSet<()> {
    async fn join_all_results(mut self) -> usize {
        let mut failed = 0;
        while let Some(result) = self.join_next().await {
            failed += usize::from(result.is_err());
        }
        failed
    }
}

async fn run(row: &Misbehaviour, evil: &str, pace: Pace, close: Close, config: Config) -> (Peer, Outcome) {
    match evil {
        INITIATOR => against_listener(row, pace, close, config).await,
        _ => against_caller(row, pace, close, config).await,
    }
}

/// No honest peer runs into this one.
const GENEROUS: Duration = Duration::from_secs(30);
/// Nor into this one, but those that stay silent do.
const DEADLINE: Duration = Duration::from_secs(3);

/// The whole catalogue over sockets. [ST-1] [AL-1] [AL-3]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_misbehaviour_over_tcp() {
    let count = for_all(catalogue(), |row, evil| async move {
        let config = short_deadline(&row.script, GENEROUS);
        let (peer, outcome) = run(&row, evil, Pace::Whole, Close::when_all_is_said(&row, evil), config).await;
        as_in_the_catalogue(&row, evil, &peer, outcome);
    });
    assert!(bounded(count).await >= 60);
}

/// One byte at a time, for a part of the catalogue that is small on the wire. [FR-5]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_byte_at_a_time() {
    let large = |row: &Misbehaviour| {
        let words = ["flood", "storm", "65,5", "16,384", "longest", "as long as", "2,049", "many", "beyond its limit"];
        words.iter().any(|word| row.name.contains(word)) || row.about.contains("oversized")
    };
    let rows = catalogue().into_iter().filter(|row| !large(row)).step_by(4);
    let count = for_all(rows, |row, evil| async move {
        let config = short_deadline(&row.script, GENEROUS);
        let (peer, outcome) = run(&row, evil, Pace::Bytes, Close::when_all_is_said(&row, evil), config).await;
        as_in_the_catalogue(&row, evil, &peer, outcome);
    });
    assert!(bounded(count).await >= 60);
}

/// Where a message is missing or cut and the connection stays open, the deadline ends the handshake at that message,
/// and the idle timeout the session. [AP-1] [RE-11]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_cut_off() {
    let silent = catalogue().into_iter().filter(|row| row.error == Error::Truncated);
    let count = for_all(silent, |row, evil| async move {
        let what = format!("{} by the {evil}", row.name);
        let config = short_deadline(&row.script, DEADLINE).idle_timeout(Duration::from_secs(1));
        let (peer, outcome) = run(&row, evil, Pace::Whole, Close::Never, config).await;
        match outcome {
            Outcome::Failed(Ended { error: ConnectError::Timeout { stage }, .. }) => {
                assert_eq!(stage, Some(row.stage), "{what}");
                // An initiator that has proved itself would have to seal its alert.
                let told = if row.stage == Stage::Verdict { Hears::Nothing } else { Hears::Alert(7) };
                heard_as(told, &peer, &what);
            }
            Outcome::Session(data, error) => {
                assert_eq!((error, data), (Some(Error::Idle), row.delivers.concat()), "{what}");
                heard_as(Hears::Sealed(7), &peer, &what);
            }
            other => panic!("{what}: {other:?}"),
        }
    });
    assert!(bounded(count).await >= 15);
}

/// Who sends a byte now and then gains no time: the deadline is that of the whole handshake. [AP-1]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_loris() {
    let pause = Duration::from_millis(60);
    let rows = [
        (INITIATOR, Pace::Drip(pause), Stage::Hello),
        (INITIATOR, Pace::DripLater(pause), Stage::AuthI),
        (RESPONDER, Pace::Drip(pause), Stage::HelloReply),
    ];
    let mut running = JoinSet::new();
    for (evil, pace, expected) in rows {
        running.spawn(async move {
            let mut row = catalogue().pop().expect("a row");
            (row.script, row.name) = (FAITHFUL, format!("a slow loris, {pace:?}"));
            let (_, outcome) = run(&row, evil, pace, Close::Never, short_deadline(&row.script, DEADLINE)).await;
            let Outcome::Failed(Ended { error: ConnectError::Timeout { stage }, .. }) = outcome else {
                panic!("{evil} {pace:?}: {outcome:?}")
            };
            assert_eq!(stage, Some(expected), "{evil}");
        });
    }
    assert_eq!(bounded(running.join_all_results()).await, 0);
}

/// A peer that reads nothing stops the writer: what is written without being read stays below what the sockets hold
/// and a record, and when the peer reads again, all of it comes, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reading() {
    const CHUNK: usize = 65_536;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8_192).expect("a small buffer");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let evil = socket.listen(8).expect("a listener");
    let address = evil.local_addr().expect("an address");
    let honest_side = async {
        let mut stream = honest_config(&FAITHFUL).connect(address).service("echo").await.expect("a session");
        let mut written = 0_usize;
        // Until a write does not get through for a while.
        while let Ok(count) = timeout(Duration::from_millis(500), stream.write(&vec![written as u8; CHUNK])).await {
            written += count.expect("written");
            assert!(written < 64 << 20, "whatever is written is taken, though nobody reads");
        }
        (stream, written)
    };
    let mut peer = Peer::new(RESPONDER, &FAITHFUL, 1);
    let mut inbox = Vec::new();
    let evil_side = async {
        let (mut io, _) = evil.accept().await.expect("a caller");
        // Just the handshake: HELLO and AUTH_I.
        while peer.said.len() < 2 {
            let mut buffer = [0; 2_048];
            let count = io.read(&mut buffer).await.expect("read");
            inbox.extend_from_slice(&buffer[..count]);
            for frame in wire::take_frames(&mut inbox) {
                let answer = match peer.said.len() {
                    0 | 1 => peer.hear(&frame),
                    _ => panic!("more than a handshake before the verdict"),
                };
                io.write_all(&answer).await.expect("written");
            }
        }
        io
    };
    let ((mut stream, written), mut io) = bounded(async { tokio::join!(honest_side, evil_side) }).await;
    assert!(written >= CHUNK);
    let finishing = tokio::spawn(async move { stream.shutdown().await });
    let mut inn = peer.inn.clone().expect("a session");
    let (mut data, mut ended) = (Vec::new(), false);
    while !ended {
        let mut buffer = vec![0; CHUNK];
        let count = bounded(io.read(&mut buffer)).await.expect("read");
        assert!(count > 0, "no END");
        inbox.extend_from_slice(&buffer[..count]);
        for frame in wire::take_frames(&mut inbox) {
            let plaintext = inn.open(&frame).expect("in order");
            ended = plaintext == [wire::END];
            data.extend_from_slice(if ended { &[] } else { &plaintext[1..] });
        }
    }
    bounded(finishing).await.expect("no panic").expect("ended");
    assert_eq!(data.len(), written);
    let chunks = (0..written).step_by(CHUNK).map(|at| vec![at as u8; CHUNK.min(written - at)]);
    assert!(data == chunks.collect::<Vec<_>>().concat(), "something else than was written");
}

/// Whether it is tried on responders, whatever their configuration.
fn fails_at_any(row: &Misbehaviour) -> bool {
    let script = Script { honest: FAITHFUL.honest, ..row.script };
    row.against == Against::Responder && duel(&script, INITIATOR, ORDINARY).1.failure.is_some()
}

/// All that is tried on responders, at one listener at once: it keeps its books, and honest peers are served all the
/// while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_listener_for_all() {
    let config = honest_config(&FAITHFUL).handshake_timeout(GENEROUS).max_handshakes(10_000);
    let io = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let config = config.max_handshakes_per_address(10_000);
    let listener = Listener::from_tcp(io, config, |_| {}).expect("a listener");
    let address = listener.local_addr();
    let mut running = JoinSet::new();
    let rows: Vec<_> = catalogue().into_iter().filter(fails_at_any).collect();

    let count = rows.len() as u64;
    for row in rows {
        running.spawn(async move {
            let mut io = TcpStream::connect(address).await.expect("connected");
            let close = Close::when_all_is_said(&row, INITIATOR);
            act(&mut Peer::new(INITIATOR, &row.script, 1), &mut io, Pace::Whole, close).await;
        });
    }
    const HONEST_PEERS: u64 = 10;
    for _ in 0..HONEST_PEERS {
        is_served(&listener, &FAITHFUL).await;
    }
    assert_eq!(bounded(running.join_all_results()).await, 0);
    bounded(async {
        while listener.stats().in_flight > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let stats = listener.stats();
    assert_eq!((stats.started, stats.accepted), (count + HONEST_PEERS, HONEST_PEERS), "{stats:?}");
    assert_eq!((stats.timed_out, stats.gave_way, stats.accept_errors), (0, 0, 0), "{stats:?}");
    assert_eq!(stats.refused + stats.failed, count, "{stats:?}");
    assert!(stats.refused >= 10, "{stats:?}");
}
