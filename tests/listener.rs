//! The listener over real loopback TCP: who gets in, who is told what, and what strangers can't do to the others.
#![allow(missing_docs)]

#[path = "support/io.rs"]
mod scripted;
mod support;

use std::collections::HashMap;
use std::future::IntoFuture;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use countersign::crypto::network::NetworkKey;
use countersign::error::{Alert, Error, Foreign, Malformed, Reason, ReceivedAlert, Refusal, Untrusted};
use countersign::identity::PublicKey;
use countersign::net::HandshakeStats;
use countersign::role::Stage;
use countersign::session::RekeyPolicy;
use countersign::stream::{ConnectError, protocol_error};
use countersign::trust::{Decision, Direction, Notifier, Pinned, Request, TrustExt, from_async_fn, from_fn};
use countersign::{Config, Listener, Stream};
use rand_core::Rng;
use scripted::{bounded, poll_times};
use support::{config, honest, identity, peer_id, seeded, short, trusting_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What `on_failure` was told.
#[derive(Debug)]
struct Failed {
    address: SocketAddr,
    peer: Option<PublicKey>,
    service: Option<String>,
    error: ConnectError,
    took: Duration,
}

/// A listener on a free port, and its failures.
async fn listen_on(address: &str, config: Config) -> (Listener, mpsc::UnboundedReceiver<Failed>) {
    let (failures, failed) = mpsc::unbounded_channel();
    let listener = Listener::from_tcp(TcpListener::bind(address).await.unwrap(), config, move |failure| {
        let error = match &failure.error {
            ConnectError::Protocol(failure) => ConnectError::Protocol(failure.clone()),
            ConnectError::Timeout { stage } => ConnectError::Timeout { stage: *stage },
            ConnectError::GaveWay { stage } => ConnectError::GaveWay { stage: *stage },
            ConnectError::OverRate => ConnectError::OverRate,
            ConnectError::Io { stage, error } => ConnectError::Io { stage: *stage, error: error.kind().into() },
            other => panic!("{other:?}"),
        };
        let (peer, service) = (failure.peer, failure.service.clone());
        let _ = failures.send(Failed { address: failure.address, peer, service, error, took: failure.took });
    });
    (listener.unwrap(), failed)
}

async fn listen(config: Config) -> (Listener, mpsc::UnboundedReceiver<Failed>) {
    listen_on("127.0.0.1:0", config).await
}

/// Bounds that no honest peer of a test reaches.
fn roomy(config: Config) -> Config {
    config.max_handshakes(100_000).max_handshakes_per_address(100_000)
}

/// Gives each stream that comes out of the listener back what it sends.
fn echo(listener: Arc<Listener>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut streams = JoinSet::new();
        while let Ok(mut stream) = listener.accept().await {
            streams.spawn(async move {
                let mut data = Vec::new();
                if stream.read_to_end(&mut data).await.is_ok() {
                    let _ = stream.write_all(&data).await;
                    let _ = stream.shutdown().await;
                }
            });
            while streams.try_join_next().is_some() {}
        }
    })
}

async fn ask(mut stream: Stream<TcpStream>, question: &[u8]) {
    stream.write_all(question).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, question);
}

fn sum(stats: &HandshakeStats) -> u64 {
    stats.accepted + stats.refused + stats.timed_out + stats.gave_way + stats.over_rate + stats.failed + stats.in_flight
}

/// Waits until the listener has seen what it is to see; says what it saw if it does not.
async fn until(listener: &Listener, done: impl Fn(&HandshakeStats) -> bool) -> HandshakeStats {
    for _ in 0..4_000 {
        let stats = listener.stats();
        if done(&stats) {
            return stats;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?}", listener.stats());
}

fn protocol(error: ConnectError) -> Error {
    match error {
        ConnectError::Protocol(failure) => failure.error,
        other => panic!("{other:?}"),
    }
}

fn told(alert: Alert) -> Error {
    Error::AlertReceived(ReceivedAlert { alert, text: String::new(), authenticated: false })
}

fn refused(reason: Reason, text: &str) -> Error {
    Error::Refused(Refusal::new(reason, text))
}

fn hello() -> Vec<u8> {
    honest(&config(1, 2), &config(2, 1), 3).flights[0].clone()
}

async fn raw(listener: &Listener) -> TcpStream {
    TcpStream::connect(listener.local_addr()).await.unwrap()
}

/// All that comes until the connection is closed.
async fn rest(io: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    bounded(io.read_to_end(&mut bytes)).await.unwrap();
    bytes
}

/// How many file descriptors this process may have open.
fn descriptors() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(256)
}

/// Tests that need many descriptors come one after the other.
static CROWD: Semaphore = Semaphore::const_new(1);

// ---------------------------------------------------------------------------------------------------------- many, hostile

/// Two thousand honest peers, as many at a time as there are descriptors for, all get in and get their own answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_connections() {
    const TOTAL: usize = 2_000;
    let _alone = CROWD.acquire().await.unwrap();
    let (listener, mut failed) = listen(roomy(config(2, 1)).handshake_timeout(Duration::from_secs(50))).await;
    let listener = Arc::new(listener);
    let echo = echo(listener.clone());
    let (address, client) = (listener.local_addr(), config(1, 2).handshake_timeout(Duration::from_secs(50)));
    let batch = (descriptors() / 4).clamp(20, TOTAL);
    let mut done = 0;
    while done < TOTAL {
        let now = batch.min(TOTAL - done);
        let connecting = Arc::new(Semaphore::new(100));
        let mut connects = JoinSet::new();
        for _ in 0..now {
            let (client, connecting) = (client.clone(), connecting.clone());
            connects.spawn(async move {
                let _turn = connecting.acquire().await.unwrap();
                client.connect(address).await
            });
        }
        // All of a batch are open before the first of it talks.
        let streams = bounded(connects.join_all()).await;
        let mut asks = JoinSet::new();
        for (number, stream) in streams.into_iter().enumerate() {
            asks.spawn(async move { ask(stream.unwrap(), format!("question {}", done + number).as_bytes()).await });
        }
        assert_eq!(bounded(asks.join_all()).await.len(), now);
        done += now;
    }
    let stats = until(&listener, |stats| stats.in_flight == 0).await;
    assert_eq!((stats.started, stats.accepted, stats.accept_errors), (2_000, 2_000, 0));
    assert!(failed.try_recv().is_err());
    echo.abort();
}

/// Opens connections that come to nothing, a bounded number at a time, until told to stop.
async fn flood(address: SocketAddr, kind: usize, seed: u64, stop: Arc<AtomicBool>, opened: Arc<AtomicUsize>) {
    let mut rng = support::seeded_quietly(seed);
    let hello = hello();
    let mut held: JoinSet<()> = JoinSet::new();
    for _ in 0..20_000 {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let Ok(mut io) = TcpStream::connect(address).await else { continue };
        opened.fetch_add(1, Ordering::Relaxed);
        let mut noise = vec![0; 1 + rng.next_u32() as usize % 3_000];
        rng.fill_bytes(&mut noise);
        let cut = 1 + rng.next_u32() as usize % (hello.len() - 1);
        let bytes: &[u8] = match kind {
            0 => &[],
            1 => &hello,
            2 => &hello[..cut],
            3 => &noise,
            4 => &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3],
            _ => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        };
        let _ = io.write_all(bytes).await;
        // Held until the listener closes it, or for as long as it takes to open so many others.
        if held.len() >= 40 {
            held.abort_all();
            while held.join_next().await.is_some() {}
        }
        held.spawn(async move {
            let mut sink = [0; 512];
            while matches!(io.read(&mut sink).await, Ok(1..)) {}
        });
        while held.try_join_next().is_some() {}
        sleep(Duration::from_millis(1)).await;
    }
}

/// [AP-1] Thousands of connections that are idle, cut short or of other protocols, from the same address, keep no honest
/// peer out; the number in flight stays at the bound; and every connection is counted exactly once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_locks_nobody_out() {
    const CAP: u64 = 48;
    let _alone = CROWD.acquire().await.unwrap();
    let server = config(2, 1).max_handshakes(64).max_handshakes_per_address(48);
    let (listener, _failed) = listen(server).await;
    let listener = Arc::new(listener);
    let echo = echo(listener.clone());
    let address = listener.local_addr();
    let (stop, opened) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    println!("seeds 500 to 505");
    let mut floods = JoinSet::new();
    for kind in 0..6 {
        floods.spawn(flood(address, kind, 500 + kind as u64, stop.clone(), opened.clone()));
    }
    let watched = listener.clone();
    let watch = tokio::spawn(async move {
        let mut most = 0;
        loop {
            most = most.max(watched.stats().in_flight);
            assert!(most <= CAP, "{most} in flight");
            sleep(Duration::from_millis(1)).await;
        }
    });
    let mut honest = JoinSet::new();
    for number in 0..4 {
        let opened = opened.clone();
        honest.spawn(async move {
            let (client, mut connected, mut busy) = (config(1, 2), 0, 0);
            while connected < 40 || opened.load(Ordering::Relaxed) < 3_000 {
                match client.connect(address).service(format!("honest{number}")).await {
                    Ok(stream) => {
                        ask(stream, format!("{number} {connected}").as_bytes()).await;
                        connected += 1;
                        busy = 0;
                    }
                    Err(ConnectError::Protocol(failure)) if failure.error == told(Alert::Busy) => busy += 1,
                    Err(other) => panic!("{other:?}"),
                }
                assert!(busy < 500, "locked out");
            }
            connected
        });
    }
    let connected = bounded(honest.join_all()).await;
    assert!(!watch.is_finished(), "{:?}", watch.await);
    watch.abort();
    stop.store(true, Ordering::Relaxed);
    bounded(floods.join_all()).await;
    let opened = opened.load(Ordering::Relaxed);
    assert!(opened >= 3_000);
    let stats = until(&listener, |stats| stats.in_flight == 0).await;
    assert_eq!(stats.started, sum(&stats), "{stats:?}");
    assert_eq!(stats.accepted, connected.iter().sum::<usize>() as u64, "{stats:?}");
    assert!(stats.started >= opened as u64 && stats.gave_way > 0 && stats.failed > 0, "{stats:?}");
    echo.abort();
}

/// [AP-1] Connections that gave way hold no descriptors beyond the bound either, though their peers leave them open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(target_os = "linux")]
async fn what_gave_way_is_gone() {
    let _alone = CROWD.acquire().await.unwrap();
    let (listener, _failed) = listen(config(2, 1).max_handshakes(8).max_handshakes_per_address(8)).await;
    let sockets = || {
        let address = listener.local_addr();
        let port = format!("{:04X}", address.port());
        // Sockets of the listener's port that a descriptor holds have an inode.
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let held = |line: &&str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.len() > 9 && fields[1].ends_with(&format!(":{port}")) && fields[3] != "0A" && fields[9] != "0"
        };
        table.lines().filter(held).count()
    };
    let mut idle = Vec::new();
    let count = (descriptors() / 4).min(300);
    for _ in 0..count {
        idle.push(raw(&listener).await);
    }
    let all = count as u64;
    let stats = until(&listener, |stats| stats.started == all && stats.gave_way == all - 8).await;
    assert_eq!(stats.in_flight, 8);
    let held = sockets();
    assert!(held <= 8 + count / 3, "{held} sockets are held for 8 handshakes");
}

/// [AP-1] At the bound of an address the oldest idle connection is told that we are busy and closed, and the newest stay.
#[tokio::test]
async fn the_oldest_is_told_busy() {
    let (listener, mut failed) = listen(config(2, 1).max_handshakes_per_address(3)).await;
    let mut idle = Vec::new();
    for count in 1..=3 {
        idle.push(raw(&listener).await);
        until(&listener, |stats| stats.started == count).await;
    }
    let mut newest = raw(&listener).await;
    let mut oldest = idle.remove(0);
    assert_eq!(rest(&mut oldest).await, [0xC6, 0, 0, 1, 8]);
    let failure = bounded(failed.recv()).await.unwrap();
    assert!(matches!(failure.error, ConnectError::GaveWay { stage: Stage::Hello }), "{failure:?}");
    assert_eq!(failure.address, oldest.local_addr().unwrap());
    assert_eq!((listener.stats().gave_way, listener.stats().in_flight), (1, 3));
    // The others are still served: what they say is judged.
    for io in &mut idle {
        io.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        assert_eq!(rest(io).await, [0xC6, 0, 0, 1, 1]);
        let error = protocol(bounded(failed.recv()).await.unwrap().error);
        assert_eq!(error, Error::Malformed(Malformed::Foreign(Foreign::Http)));
    }
    newest.write_all(&hello()).await.unwrap();
    assert_eq!(bounded(newest.read_u8()).await.unwrap(), 0xC2);
}

/// [AP-1] At the bound the oldest gives way also when all have said HELLO: a newcomer whose HELLO is still on its way is not
/// pushed out by the next connection, so strangers that say HELLO can't keep the distant ones out.
#[tokio::test]
async fn a_newcomer_is_not_the_oldest() {
    let (hello, mut pushed_out) = (hello(), 0);
    for _ in 0..5 {
        let (listener, _failed) = listen(config(2, 1).max_handshakes_per_address(4)).await;
        let mut held = Vec::new();
        let mut newcomer = None;
        for number in 0..6 {
            let mut io = raw(&listener).await;
            if number == 4 {
                newcomer = Some(io);
                until(&listener, |stats| stats.started == 5).await;
                continue;
            }
            io.write_all(&hello).await.unwrap();
            assert_eq!(bounded(io.read_u8()).await.unwrap(), 0xC2);
            held.push(io);
        }
        let call = config(1, 2).connect_over(newcomer.unwrap()).into_future();
        match bounded(call).await {
            Ok(_) => return,
            Err(error) => assert_eq!(protocol(error), told(Alert::Busy)),
        }
        pushed_out += 1;
    }
    panic!("pushed out {pushed_out} times of 5, though four were older");
}

/// [AP-1] [NK-3] Over the rate of its address a connection is told that we are busy, and nothing with a network key; those in flight keep their places, other
/// addresses are served, and a call that is told so gets through by calling again when there is a token. The clock stands still.
#[tokio::test]
async fn the_rate_of_an_address() {
    let key = || NetworkKey::take(&mut [7; 32]).unwrap();
    for silent in [false, true] {
        let keyed = |config: Config| if silent { config.network_key(key()) } else { config };
        // A blocking task keeps the paused clock from going on by itself.
        tokio::time::pause();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let standing = tokio::task::spawn_blocking(move || stopped.recv());
        let server = keyed(config(2, 1)).max_handshake_rate(3).max_handshakes(3).max_handshakes_per_address(3);
        let (listener, mut failed) = listen(server).await;
        let mut held = Vec::new();
        for count in 1..=3 {
            held.push(raw(&listener).await);
            while listener.stats().started < count {
                tokio::task::yield_now().await;
            }
        }
        let expected: &[u8] = if silent { &[] } else { &[0xC6, 0, 0, 1, 8] };
        for _ in 0..2 {
            let mut over = raw(&listener).await;
            let mut heard = Vec::new();
            over.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, expected);
            let failure = failed.recv().await.unwrap();
            assert!(matches!(failure.error, ConnectError::OverRate), "{failure:?}");
            assert_eq!(failure.address, over.local_addr().unwrap());
        }
        let stats = listener.stats();
        assert_eq!((stats.started, stats.over_rate, stats.gave_way, stats.in_flight), (5, 2, 0, 3));
        // Another address is served, and makes the oldest give way as ever.
        let elsewhere = TcpSocket::new_v4().unwrap();
        elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let elsewhere = elsewhere.connect(listener.local_addr()).await.unwrap();
        keyed(config(1, 2)).connect_over(elsewhere).await.unwrap();
        listener.accept().await.unwrap();
        drop(held);
        // A call without a token is told so once or more, and gets through when there is one.
        if !silent {
            let call = tokio::spawn(config(1, 2).connect(listener.local_addr()).into_future());
            while listener.stats().over_rate < 3 {
                tokio::task::yield_now().await;
            }
            while !call.is_finished() {
                tokio::time::advance(Duration::from_millis(10)).await;
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
            }
            call.await.unwrap().unwrap();
            listener.accept().await.unwrap();
        }
        stop.send(()).unwrap();
        standing.await.unwrap().unwrap();
        tokio::time::resume();
    }
}

/// A peer that has proved itself when it has to give way is told by a VERDICT, which is sealed, and not in clear.
#[tokio::test]
async fn giving_way_after_the_proof_is_a_verdict() {
    let asked = Arc::new(Semaphore::new(0));
    let asking = asked.clone();
    let trust = from_async_fn(move |_| {
        asking.add_permits(1);
        std::future::pending::<Decision>()
    });
    let (listener, mut failed) = listen(Config::new(identity(2), trust).max_handshakes_per_address(1)).await;
    let call = tokio::spawn(config(1, 2).connect(listener.local_addr()).into_future());
    bounded(asked.acquire()).await.unwrap().forget();
    let _newer = raw(&listener).await;
    let failure = bounded(failed.recv()).await.unwrap();
    assert_eq!(failure.peer, Some(identity(1).public_key()));
    assert_eq!(protocol(bounded(call).await.unwrap().unwrap_err()), refused(Reason::Busy, ""));
}

/// [AP-1] A connection that does not come to an end of its handshake is told so at the deadline, closed, and counted.
#[tokio::test]
async fn the_deadline() {
    let (listener, mut failed) = listen(config(2, 1).handshake_timeout(Duration::from_millis(200))).await;
    let (mut idle, mut cut, mut silent) = (raw(&listener).await, raw(&listener).await, raw(&listener).await);
    let hello = hello();
    cut.write_all(&hello[..30]).await.unwrap();
    silent.write_all(&hello).await.unwrap();
    assert_eq!(rest(&mut idle).await, [0xC6, 0, 0, 1, 7]);
    assert_eq!(rest(&mut cut).await, [0xC6, 0, 0, 1, 7]);
    let answer = rest(&mut silent).await;
    assert_eq!((answer[0], &answer[answer.len() - 5..]), (0xC2, &[0xC6, 0, 0, 1, 7][..]));
    let mut stages = HashMap::new();
    for _ in 0..3 {
        let failure = bounded(failed.recv()).await.unwrap();
        assert_eq!((failure.peer, failure.service), (None, None));
        assert!(failure.took >= Duration::from_millis(200));
        match failure.error {
            ConnectError::Timeout { stage: Some(stage) } => *stages.entry(stage).or_insert(0) += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stages, HashMap::from([(Stage::Hello, 2), (Stage::AuthI, 1)]));
    drop((idle, cut, silent));
    let stats = until(&listener, |stats| stats.in_flight == 0).await;
    assert_eq!((stats.started, stats.timed_out), (3, 3));
}

/// A timeout of any length is a setting, and no panic.
#[tokio::test]
async fn an_endless_deadline() {
    let endless = |config: Config| config.handshake_timeout(Duration::MAX);
    let (listener, _failed) = listen(endless(config(2, 1))).await;
    let client = endless(config(1, 2));
    let address = listener.local_addr();
    let call = tokio::spawn(async move { client.connect(address).await.map(|_| ()) });
    bounded(call).await.expect("a panic").unwrap();
    bounded(listener.accept()).await.unwrap();
}

/// [FR-3] Bytes of other protocols are answered with one ALERT frame and a close that is not a reset, however many there are.
#[tokio::test]
async fn other_protocols_are_told() {
    let (listener, mut failed) = listen(config(2, 1)).await;
    let mut big = b"POST / HTTP/1.1\r\n\r\n".to_vec();
    big.resize(60_000, b'x');
    let cases: [(Vec<u8>, Error); 5] = [
        (vec![0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0], Error::Malformed(Malformed::Foreign(Foreign::Tls))),
        (b"SSH-2.0-x\r\n".to_vec(), Error::Malformed(Malformed::Foreign(Foreign::Ssh))),
        (big, Error::Malformed(Malformed::Foreign(Foreign::Http))),
        (vec![0], Error::Malformed(Malformed::Foreign(Foreign::Other(0)))),
        (vec![0xC1, 0xFF, 0xFF, 0xFF], Error::Malformed(Malformed::FrameLen { frame: "HELLO", len: 0xFF_FFFF })),
    ];
    for (bytes, expected) in cases {
        let mut io = raw(&listener).await;
        io.write_all(&bytes).await.unwrap();
        assert_eq!(rest(&mut io).await, [0xC6, 0, 0, 1, 1], "{expected}");
        assert_eq!(protocol(bounded(failed.recv()).await.unwrap().error), expected);
    }
    // Nothing at all is a truncation, and is told nothing.
    let mut io = raw(&listener).await;
    io.shutdown().await.unwrap();
    assert!(rest(&mut io).await.is_empty());
    assert_eq!(protocol(bounded(failed.recv()).await.unwrap().error), Error::Truncated);
    assert_eq!(listener.stats().failed, 6);
}

/// [HS-24] Whoever is sent away may go on talking for a moment: it is not reset, which could take with it what it was told.
#[tokio::test]
async fn who_is_sent_away_is_not_reset() {
    let (listener, _failed) = listen(config(2, 1)).await;
    // It is listened to for a short while only, so a busy machine gets several tries.
    for _ in 0..20 {
        let mut io = raw(&listener).await;
        io.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(rest(&mut io).await, [0xC6, 0, 0, 1, 1]);
        let mut heard = true;
        for _ in 0..4 {
            heard &= io.write_all(b"and more").await.is_ok();
            sleep(Duration::from_millis(20)).await;
        }
        if heard {
            return;
        }
    }
    panic!("reset every time");
}

// ---------------------------------------------------------------------------------------------------------------- trust

/// One slow decision delays no other peer, and is taken when it comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_decision_delays_nobody() {
    let (asked, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let (asking, waiting) = (asked.clone(), gate.clone());
    let trust = from_async_fn(move |request: Request| {
        let (asking, waiting) = (asking.clone(), waiting.clone());
        async move {
            if request.service == "slow" {
                asking.add_permits(1);
                waiting.notified().await;
            }
            Decision::accept_as(request.service)
        }
    });
    let (listener, _failed) = listen(Config::new(identity(2), trust).handshake_timeout(Duration::from_secs(50))).await;
    let client = config(1, 2).handshake_timeout(Duration::from_secs(50));
    let slow = tokio::spawn(client.connect(listener.local_addr()).service("slow").into_future());
    bounded(asked.acquire()).await.unwrap().forget();
    for number in 0..20 {
        let service = format!("fast{number}");
        let fast = bounded(client.connect(listener.local_addr()).service(&service).into_future()).await.unwrap();
        let accepted = bounded(listener.accept()).await.unwrap();
        assert_eq!((accepted.service(), accepted.peer().name()), (service.as_str(), Some(service.as_str())));
        assert_eq!(accepted.session_id(), fast.session_id());
    }
    assert!(!slow.is_finished());
    gate.notify_one();
    bounded(slow).await.unwrap().unwrap();
    assert_eq!(bounded(listener.accept()).await.unwrap().service(), "slow");
}

/// [HS-26] A decision that never comes is a VERDICT `busy` to the peer before its deadline, and a refusal in the numbers.
#[tokio::test]
async fn a_decision_that_never_comes() {
    let trust = from_async_fn(|_| std::future::pending::<Decision>());
    let server = Config::new(identity(2), trust).handshake_timeout(Duration::from_millis(300));
    let (listener, mut failed) = listen(server).await;
    let call = config(1, 2).connect(listener.local_addr()).service("db");
    assert_eq!(protocol(bounded(call.into_future()).await.unwrap_err()), refused(Reason::Busy, ""));
    let failure = bounded(failed.recv()).await.unwrap();
    assert_eq!((failure.peer, failure.service.as_deref()), (Some(identity(1).public_key()), Some("db")));
    assert_eq!(protocol(failure.error), Error::Denied(Refusal::new(Reason::Busy, "")));
    assert_eq!(listener.stats().refused, 1);
}

/// [HS-26] [HS-24] Each refusal reaches the initiator with its reason and text, in the order of the specification, and the
/// application with the peer's key and the service; nothing comes out of `accept`.
#[tokio::test]
async fn refusals_reach_both_sides() {
    let all = || from_fn(|_: &Request| Decision::accept());
    let stranger = || Config::new(identity(2), Pinned::new([peer_id(9)])).services(["web"]);
    let offering = || Config::new(identity(2), all()).services(["web"]);
    let denying = || {
        Config::new(identity(2), from_fn(|request| Decision::deny(&format!("not {} now", request.service))))
            .services(["web"])
    };
    let cases: [(Config, Config, &str, Reason, &str); 6] = [
        (stranger(), trusting_all(1), "web", Reason::NotTrusted, ""),
        // A stranger can't find out which services there are.
        (stranger(), trusting_all(1), "none", Reason::NotTrusted, ""),
        (offering(), trusting_all(1), "none", Reason::ServiceUnavailable, ""),
        (denying(), trusting_all(1), "none", Reason::Denied, "not none now"),
        (offering(), trusting_all(2).allow_own_key(true), "web", Reason::OwnIdentity, ""),
        (stranger(), trusting_all(2).allow_own_key(true), "none", Reason::OwnIdentity, ""),
    ];
    for (number, (server, client, service, reason, text)) in cases.into_iter().enumerate() {
        let (listener, mut failed) = listen(server).await;
        let call = client.connect(listener.local_addr()).service(service).into_future();
        assert_eq!(protocol(bounded(call).await.unwrap_err()), refused(reason, text), "case {number}");
        let failure = bounded(failed.recv()).await.unwrap();
        assert_eq!(failure.peer, Some(client.public_key()), "case {number}");
        assert_eq!(failure.service.as_deref(), Some(service), "case {number}");
        assert_eq!(protocol(failure.error), Error::Denied(Refusal::new(reason, text)), "case {number}");
        let stats = until(&listener, |stats| stats.in_flight == 0).await;
        assert_eq!((stats.started, stats.refused, stats.accepted), (1, 1, 0), "case {number}");
        assert!(poll_times(listener.accept(), 3).is_none(), "case {number}");
        // [HS-25] An eager caller is refused too, after it has sent data.
        let call = client.connect(listener.local_addr()).service(service).eager().into_future();
        let mut stream = bounded(call).await.unwrap();
        let _ = stream.write_all(&[7; 50_000]).await;
        let error = bounded(stream.accepted()).await.unwrap_err();
        assert_eq!(protocol_error(&error), Some(&refused(reason, text)), "case {number}");
        assert!(poll_times(listener.accept(), 3).is_none(), "case {number}");
    }
}

/// [HS-15] An initiator that expected another peer says no more than that it refuses: the responder never learns its key,
/// and its trust is not asked.
#[tokio::test]
async fn an_unexpected_responder_learns_nothing() {
    let asked = Arc::new(AtomicUsize::new(0));
    let asking = asked.clone();
    let trust = from_fn(move |_| {
        asking.fetch_add(1, Ordering::SeqCst);
        Decision::accept()
    });
    let (listener, mut failed) = listen(Config::new(identity(2), trust)).await;
    let ours = Arc::new(AtomicUsize::new(0));
    let asking = ours.clone();
    let client = Config::new(
        identity(1),
        from_fn(move |_| {
            asking.fetch_add(1, Ordering::SeqCst);
            Decision::accept()
        }),
    );
    let expecting = client.connect(listener.local_addr()).peer(peer_id(9)).service("db").into_future();
    match protocol(bounded(expecting).await.unwrap_err()) {
        Error::Untrusted(Untrusted::NotExpected { expected, got }) => {
            assert_eq!(*expected, identity(9).public_key().fingerprint().to_string());
            assert_eq!(*got, identity(2).public_key().fingerprint().to_string());
        }
        other => panic!("{other:?}"),
    }
    let refusing = config(1, 9).connect(listener.local_addr()).service("db").into_future();
    let error = protocol(bounded(refusing).await.unwrap_err());
    assert!(matches!(error, Error::Untrusted(Untrusted::NotTrusted { .. })), "{error}");
    for _ in 0..2 {
        let failure = bounded(failed.recv()).await.unwrap();
        assert_eq!((failure.peer, failure.service), (None, None));
        assert_eq!(protocol(failure.error), told(Alert::Refused));
    }
    assert_eq!((asked.load(Ordering::SeqCst), ours.load(Ordering::SeqCst)), (0, 0));
    // The right one gets through.
    let expecting = client.connect(listener.local_addr()).peer(peer_id(2)).into_future();
    bounded(expecting).await.unwrap();
    assert_eq!((asked.load(Ordering::SeqCst), ours.load(Ordering::SeqCst)), (1, 1));
}

/// Both sides' trust is asked once about the right key, service, address and direction, over IPv4 and IPv6.
#[tokio::test]
async fn trust_is_asked_the_right_question() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        if TcpListener::bind(host).await.is_err() {
            println!("there is no {host} here");
            continue;
        }
        let asked = Arc::new(Mutex::new(Vec::new()));
        let recording = |own: u8| {
            let asked = asked.clone();
            Config::new(
                identity(own),
                from_fn(move |request| {
                    asked.lock().unwrap().push(request.clone());
                    Decision::accept_as(format!("known to {own}"))
                }),
            )
        };
        let (listener, _failed) = listen_on(host, recording(2)).await;
        let call = recording(1).connect(listener.local_addr()).service("db").into_future();
        let (stream, accepted) = (bounded(call).await.unwrap(), bounded(listener.accept()).await.unwrap());
        assert_eq!((stream.peer().name(), accepted.peer().name()), (Some("known to 1"), Some("known to 2")));
        let asked = std::mem::take(&mut *asked.lock().unwrap());
        let [outbound, inbound] = asked.try_into().expect("asked once each");
        assert_eq!((outbound.direction, inbound.direction), (Direction::Outbound, Direction::Inbound));
        assert_eq!((outbound.service.as_str(), inbound.service.as_str()), ("db", "db"));
        assert_eq!(*outbound.public_key(), identity(2).public_key());
        assert_eq!(*inbound.public_key(), identity(1).public_key());
        assert_eq!(outbound.address, Some(listener.local_addr()));
        assert_eq!(inbound.address, Some(stream.get_ref().local_addr().unwrap()));
    }
}

/// A panic in the application's trust or in `on_failure` ends one handshake: its place is free again, and others get in.
#[tokio::test]
async fn a_panic_ends_one_handshake() {
    let trust = from_fn(|request: &Request| match request.service.as_str() {
        "panic" => panic!("as the test wants"),
        "no" => Decision::not_trusted(),
        _ => Decision::accept(),
    });
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Config::new(identity(2), trust);
    let listener = Listener::from_tcp(tcp, server, |_| panic!("as the test wants")).unwrap();
    let client = config(1, 2);
    for service in ["panic", "no", "panic", "no"] {
        let call = client.connect(listener.local_addr()).service(service).into_future();
        bounded(call).await.unwrap_err();
    }
    until(&listener, |stats| stats.in_flight == 0).await;
    bounded(client.connect(listener.local_addr()).into_future()).await.unwrap();
    bounded(listener.accept()).await.unwrap();
}

/// A question about a session that exists says so, whoever asks it again, so that a bound on newcomers leaves it alone.
#[tokio::test]
async fn a_session_is_told_from_a_newcomer() {
    let (asking, mut asked) = mpsc::unbounded_channel();
    let notifier = Notifier::new();
    let trust = from_fn(move |request: &Request| {
        let _ = asking.send(request.live);
        Decision::accept()
    });
    let (listener, _failed) = listen(Config::new(identity(2), trust.notified_by(&notifier))).await;
    let _stream = bounded(config(1, 2).connect(listener.local_addr()).into_future()).await.unwrap();
    assert_eq!(bounded(asked.recv()).await, Some(false));
    let _accepted = bounded(listener.accept()).await.unwrap();
    notifier.notify();
    assert_eq!(bounded(asked.recv()).await, Some(true));
}

/// A stream says how often the keys of either direction have changed, also when it is over.
#[tokio::test]
async fn rekeys_are_counted() {
    let rekeying = RekeyPolicy::new(1, Duration::from_secs(900));
    let (listener, _failed) = listen(config(2, 1)).await;
    let mut stream = bounded(config(1, 2).rekey(rekeying).connect(listener.local_addr()).into_future()).await.unwrap();
    let mut accepted = bounded(listener.accept()).await.unwrap();
    assert_eq!((stream.rekeys(), accepted.rekeys()), ((0, 0), (0, 0)));
    for _ in 0..5 {
        stream.write_all(b"!").await.unwrap();
        bounded(accepted.read_u8()).await.unwrap();
    }
    let (sent, received) = stream.rekeys();
    assert!((4..=5).contains(&sent) && received == 0, "{sent} {received}");
    assert_eq!(accepted.rekeys(), (0, sent));
    stream.shutdown().await.unwrap();
    accepted.shutdown().await.unwrap();
    assert_eq!(bounded(accepted.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(bounded(stream.read(&mut [0])).await.unwrap(), 0);
    let (sent, received) = stream.rekeys();
    assert!(sent >= 4);
    assert_eq!(accepted.rekeys(), (received, sent));
}

// --------------------------------------------------------------------------------------------------------------- accept

/// An application that never calls `accept` holds 128 streams; later peers are told that it is busy, and nobody is
/// accepted for whom there is no room. Then everyone who was accepted is given out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_does_not_accept() {
    const ROOM: usize = 128;
    let _alone = CROWD.acquire().await.unwrap();
    let (listener, _failed) = listen(roomy(config(2, 1)).handshake_timeout(Duration::from_secs(3))).await;
    let mut calls = JoinSet::new();
    for _ in 0..ROOM + 20 {
        let client = config(1, 2).handshake_timeout(Duration::from_secs(50));
        calls.spawn(client.connect(listener.local_addr()).into_future());
    }
    let (mut streams, mut busy) = (Vec::new(), 0);
    for outcome in bounded(calls.join_all()).await {
        match outcome {
            Ok(stream) => streams.push(stream),
            Err(error) => {
                assert_eq!(protocol(error), refused(Reason::Busy, ""));
                busy += 1;
            }
        }
    }
    assert_eq!((streams.len(), busy), (ROOM, 20));
    let stats = until(&listener, |stats| stats.in_flight == 0).await;
    assert_eq!((stats.accepted, stats.refused), (128, 20));
    // Those that were accepted are there, each once, and alive.
    let mut by_id: HashMap<_, _> =
        streams.into_iter().map(|stream| (*stream.session_id().as_bytes(), stream)).collect();
    for _ in 0..ROOM {
        let mut accepted = bounded(listener.accept()).await.unwrap();
        let mut stream = by_id.remove(accepted.session_id().as_bytes()).expect("given out once");
        stream.write_all(b"!").await.unwrap();
        assert_eq!(bounded(accepted.read_u8()).await.unwrap(), b'!');
    }
    assert!(poll_times(listener.accept(), 3).is_none());
    // And there is room again.
    bounded(config(1, 2).connect(listener.local_addr()).into_future()).await.unwrap();
    bounded(listener.accept()).await.unwrap();
}

/// A peer that waits for room is accepted as soon as there is some.
#[tokio::test]
async fn waiting_for_room() {
    let _alone = CROWD.acquire().await.unwrap();
    let (listener, _failed) = listen(roomy(config(2, 1)).handshake_timeout(Duration::from_secs(50))).await;
    let client = config(1, 2).handshake_timeout(Duration::from_secs(50));
    let mut streams = Vec::new();
    for _ in 0..128 {
        streams.push(bounded(client.connect(listener.local_addr()).into_future()).await.unwrap());
    }
    let waiting = tokio::spawn(client.connect(listener.local_addr()).into_future());
    until(&listener, |stats| stats.in_flight == 1).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    bounded(listener.accept()).await.unwrap();
    bounded(waiting).await.unwrap().unwrap();
}

/// `accept` dropped after any number of polls loses no stream, also with several tasks at it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_accepts() {
    let (listener, _failed) = listen(config(2, 1)).await;
    for polls in 0..12 {
        assert!(poll_times(listener.accept(), polls).is_none());
        let stream = bounded(config(1, 2).connect(listener.local_addr()).into_future()).await.unwrap();
        let accepted = match poll_times(listener.accept(), polls) {
            Some(accepted) => accepted.unwrap(),
            None => bounded(listener.accept()).await.unwrap(),
        };
        assert_eq!(accepted.session_id(), stream.session_id(), "{polls} polls");
    }
    // A future that has waited and is dropped hands over to the next.
    let listener = Arc::new(listener);
    let mut rng = seeded(31);
    let (given, mut out) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let (listener, given, pauses) = (listener.clone(), given.clone(), rng.next_u32() % 5);
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    accepted = listener.accept() => given.send(*accepted.unwrap().session_id().as_bytes()).unwrap(),
                    () = async { for _ in 0..=pauses { tokio::task::yield_now().await } } => {}
                }
            }
        });
    }
    let mut ids = std::collections::HashSet::new();
    for _ in 0..100 {
        let stream = bounded(config(1, 2).connect(listener.local_addr()).into_future()).await.unwrap();
        ids.insert(*stream.session_id().as_bytes());
    }
    for _ in 0..100 {
        assert!(ids.remove(&bounded(out.recv()).await.unwrap()), "given out twice");
    }
    assert!(ids.is_empty() && out.try_recv().is_err());
    tasks.abort_all();
}

/// A call that is dropped after any number of polls ends its handshake at the listener, and leaves no place taken.
#[tokio::test]
async fn cancelled_calls() {
    let (listener, _failed) = listen(config(2, 1)).await;
    let mut calls = 0;
    for polls in 0..40 {
        let mut call = config(1, 2).connect(listener.local_addr()).into_future();
        for _ in 0..polls {
            if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                break;
            }
            calls += 1;
            sleep(Duration::from_millis(1)).await;
        }
        drop(call);
        while poll_times(listener.accept(), 2).is_some() {}
    }
    assert!(calls > 40);
    let stats = until(&listener, |stats| stats.in_flight == 0 && stats.started == sum(stats)).await;
    assert!(stats.accepted > 0 && stats.failed > 0, "{stats:?}");
    // Streams that were accepted and left are given out all the same, as cut.
    while poll_times(listener.accept(), 2).is_some() {}
    bounded(config(1, 2).connect(listener.local_addr()).into_future()).await.unwrap();
}

/// Dropping the listener ends the handshakes in flight, spares the streams given out, and frees the port.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_listener() {
    let (listener, _failed) = listen(config(2, 1)).await;
    let address = listener.local_addr();
    let mut stream = bounded(config(1, 2).connect(address).into_future()).await.unwrap();
    let mut accepted = bounded(listener.accept()).await.unwrap();
    let mut not_taken = bounded(config(1, 2).connect(address).into_future()).await.unwrap();
    let (mut idle, mut half) = (raw(&listener).await, raw(&listener).await);
    half.write_all(&hello()).await.unwrap();
    assert_eq!(bounded(half.read_u8()).await.unwrap(), 0xC2);
    until(&listener, |stats| stats.in_flight == 2).await;
    drop(listener);
    for io in [&mut idle, &mut half] {
        let mut left = Vec::new();
        let end = bounded(io.read_to_end(&mut left)).await;
        assert!(end.is_ok() || end.unwrap_err().kind() == ErrorKind::ConnectionReset);
    }
    // A stream that nobody took is cut, which is no clean end.
    bounded(not_taken.read_u8()).await.unwrap_err();
    stream.write_all(b"still here").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut data = Vec::new();
    bounded(accepted.read_to_end(&mut data)).await.unwrap();
    assert_eq!(data, b"still here");
    // The background task may take a moment to go.
    let mut again = None;
    for _ in 0..1_000 {
        if let Ok(listener) = Listener::bind(address, config(2, 1)).await {
            again = Some(listener);
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    let again = again.expect("the port is not free");
    bounded(config(1, 2).connect(again.local_addr()).into_future()).await.unwrap();
    accepted.write_all(b"me too").await.unwrap();
    let mut data = [0; 6];
    bounded(stream.read_exact(&mut data)).await.unwrap();
    assert_eq!(&data, b"me too");
}

// --------------------------------------------------------------------------------------------------------- arrival, stop

/// An arrival says whose it is and how long its handshake took, our trust's time included.
#[tokio::test]
async fn an_arrival_says_how_it_came() {
    let trust = from_async_fn(|_| async {
        sleep(Duration::from_millis(30)).await;
        Decision::accept()
    });
    let (listener, _failed) = listen(Config::new(identity(2), trust)).await;
    let before = std::time::Instant::now();
    let stream = bounded(config(1, 2).connect(listener.local_addr()).into_future()).await.unwrap();
    let arrival = bounded(listener.arrival()).await.unwrap();
    assert_eq!(arrival.stream.session_id(), stream.session_id());
    assert_eq!(arrival.address, stream.get_ref().local_addr().unwrap());
    assert!(arrival.handshake >= Duration::from_millis(30) && arrival.handshake <= before.elapsed());
}

/// A trust that answers about the service `slow` when told to, and a semaphore that says how often it was asked about it.
fn slow_trust() -> (Config, Arc<Semaphore>, Arc<Semaphore>) {
    let (asked, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (asking, waiting) = (asked.clone(), gate.clone());
    let trust = from_async_fn(move |request: Request| {
        let (asking, waiting) = (asking.clone(), waiting.clone());
        async move {
            if request.service == "slow" {
                asking.add_permits(1);
                waiting.acquire().await.unwrap().forget();
            }
            Decision::accept()
        }
    });
    (Config::new(identity(2), trust).handshake_timeout(Duration::from_secs(50)), asked, gate)
}

/// A listener that is stopped takes nobody else at once, gives out what waits and what comes of the handshakes in flight, and says
/// then that it has stopped, to everybody who waits.
#[tokio::test]
async fn stopping() {
    let (server, asked, gate) = slow_trust();
    let (listener, mut failed) = listen(server).await;
    let listener = Arc::new(listener);
    let address = listener.local_addr();
    let client = config(1, 2).handshake_timeout(Duration::from_secs(50));
    let queued = bounded(client.connect(address).into_future()).await.unwrap();
    let slow = tokio::spawn(client.connect(address).service("slow").into_future());
    bounded(asked.acquire()).await.unwrap().forget();
    let mut idle = raw(&listener).await;
    until(&listener, |stats| stats.started == 3).await;
    listener.stop();
    // Nobody listens any more, now and not later.
    assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    listener.stop();
    assert_eq!(bounded(listener.accept()).await.unwrap().session_id(), queued.session_id());
    // Several wait, and the one that comes is given to one of them.
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let listener = listener.clone();
            tokio::spawn(async move { listener.arrival().await.map(|arrival| arrival.stream) })
        })
        .collect();
    gate.add_permits(1);
    let slow = bounded(slow).await.unwrap().unwrap();
    // One that says something wrong is still told so, and reported.
    idle.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(rest(&mut idle).await, [0xC6, 0, 0, 1, 1]);
    protocol(bounded(failed.recv()).await.unwrap().error);
    drop(idle);
    let mut streams = Vec::new();
    for waiting in waiting {
        match bounded(waiting).await.unwrap() {
            Ok(stream) => streams.push(stream.session_id()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::BrokenPipe),
        }
    }
    assert_eq!(streams, [slow.session_id()]);
    assert_eq!(bounded(listener.accept()).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    let stats = until(&listener, |stats| stats.in_flight == 0).await;
    assert_eq!((stats.started, stats.accepted, stats.failed), (3, 2, 1));
    listener.stop();
}

/// Nothing that was accepted is lost by stopping: neither a full queue, also when the last handshake is over before anybody asks, nor the
/// handshake that waits for room in it.
#[tokio::test]
async fn stopping_loses_nothing() {
    let _alone = CROWD.acquire().await.unwrap();
    for waits_for_room in [false, true] {
        let (listener, _failed) = listen(roomy(config(2, 1)).handshake_timeout(Duration::from_secs(50))).await;
        let client = config(1, 2).handshake_timeout(Duration::from_secs(50));
        let mut streams = Vec::new();
        for _ in 0..128 {
            streams.push(bounded(client.connect(listener.local_addr()).into_future()).await.unwrap());
        }
        until(&listener, |stats| stats.in_flight == 0).await;
        let waiting = tokio::spawn(client.connect(listener.local_addr()).into_future());
        if waits_for_room {
            until(&listener, |stats| stats.in_flight == 1).await;
        } else {
            waiting.abort();
            until(&listener, |stats| stats.in_flight == 0).await;
        }
        listener.stop();
        // The background task comes to its end, if nothing holds it.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        for stream in &streams {
            assert_eq!(bounded(listener.accept()).await.unwrap().session_id(), stream.session_id());
        }
        if waits_for_room {
            let late = bounded(waiting).await.unwrap().unwrap();
            assert_eq!(bounded(listener.accept()).await.unwrap().session_id(), late.session_id());
        }
        assert_eq!(bounded(listener.accept()).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}

// -------------------------------------------------------------------------------------------------------------- calling

/// Calling where nobody listens is an error while connecting; a server that says nothing, one while waiting for its answer.
#[tokio::test]
async fn nobody_or_nothing_answers() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    let silent = config(1, 2).handshake_timeout(Duration::from_millis(200)).connect(address).into_future();
    match bounded(silent).await {
        Err(ConnectError::Timeout { stage: Some(Stage::HelloReply) }) => {}
        other => panic!("{other:?}"),
    }
    drop(port);
    match bounded(config(1, 2).connect(address).into_future()).await {
        Err(ConnectError::Io { stage: None, error }) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
        other => panic!("{other:?}"),
    }
    // One that hangs up at once.
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let call = tokio::spawn(short(config(1, 2)).connect(tcp.local_addr().unwrap()).into_future());
    let (mut io, _) = bounded(tcp.accept()).await.unwrap();
    bounded(io.read_exact(&mut [0; 77])).await.unwrap();
    drop(io);
    assert_eq!(protocol(bounded(call).await.unwrap().unwrap_err()), Error::Truncated);
}

/// [AL-1] A caller that gives up tells the silent server so, with one ALERT frame and nothing more.
#[tokio::test]
async fn a_caller_that_gives_up_says_so() {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = short(config(1, 2)).handshake_timeout(Duration::from_millis(200));
    let call = tokio::spawn(client.connect(tcp.local_addr().unwrap()).into_future());
    let (mut io, _) = bounded(tcp.accept()).await.unwrap();
    let heard = rest(&mut io).await;
    assert_eq!((heard.len(), heard[0], &heard[77..]), (82, 0xC1, &[0xC6, 0, 0, 1, 7][..]));
    assert!(matches!(bounded(call).await.unwrap(), Err(ConnectError::Timeout { stage: Some(Stage::HelloReply) })));
}

/// The listener works on IPv6 as on IPv4, and peers of a dual-stack socket get in by either.
#[tokio::test]
async fn both_address_families() {
    for (host, port_only) in [("127.0.0.1:0", None), ("[::1]:0", None), ("[::]:0", Some(["127.0.0.1", "[::1]"]))] {
        if TcpListener::bind(host).await.is_err() {
            println!("there is no {host} here");
            continue;
        }
        let (listener, _failed) = listen_on(host, config(2, 1)).await;
        let listener = Arc::new(listener);
        let echo = echo(listener.clone());
        let address = listener.local_addr();
        let targets = match port_only {
            None => vec![address.to_string()],
            Some(hosts) => hosts.iter().map(|host| format!("{host}:{}", address.port())).collect(),
        };
        for target in targets {
            if port_only.is_some() && TcpStream::connect(&target).await.is_err() {
                println!("{target} does not reach {host}");
                continue;
            }
            let stream = bounded(config(1, 2).connect(target).into_future()).await.unwrap();
            bounded(ask(stream, b"question")).await;
        }
        echo.abort();
    }
}

/// [AP-1] Saying HELLO is progress: who says nothing gives way first, though it came later.
#[tokio::test]
async fn who_says_hello_outlives_who_says_nothing() {
    let (listener, _failed) = listen(config(2, 1).max_handshakes_per_address(2)).await;
    let mut speaking = raw(&listener).await;
    until(&listener, |stats| stats.started == 1).await;
    let mut idle = raw(&listener).await;
    until(&listener, |stats| stats.started == 2).await;
    speaking.write_all(&hello()).await.unwrap();
    assert_eq!(bounded(speaking.read_u8()).await.unwrap(), 0xC2);
    let _newest = raw(&listener).await;
    assert_eq!(rest(&mut idle).await, [0xC6, 0, 0, 1, 8]);
    assert_eq!(listener.stats().in_flight, 2);
}

/// Several tasks may wait in `accept`, and one that is never polled again takes nothing from the others for ever.
#[tokio::test]
async fn accept_from_several_tasks() {
    let (listener, _failed) = listen(config(2, 1)).await;
    let address = listener.local_addr();
    let mut sleeping = Box::pin(listener.accept());
    assert!(
        std::future::Future::poll(sleeping.as_mut(), &mut std::task::Context::from_waker(std::task::Waker::noop()))
            .is_pending()
    );
    let (first, second) = (listener.accept(), listener.accept());
    let calls = tokio::spawn(async move {
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(config(1, 2).connect(address).await.unwrap());
        }
        streams
    });
    let (first, second) = bounded(async { tokio::join!(first, second) }).await;
    assert_ne!(first.unwrap().session_id(), second.unwrap().session_id());
    bounded(sleeping).await.unwrap();
    bounded(calls).await.unwrap();
}

/// A refusal is not hidden by the writes that fail because of it.
#[tokio::test]
async fn an_eager_refusal_is_not_hidden_by_a_write_error() {
    let (listener, _failed) = listen(Config::new(identity(2), from_fn(|_| Decision::deny("not today")))).await;
    let mut stream = config(1, 2).connect(listener.local_addr()).eager().await.unwrap();
    let data = vec![7; 1 << 20];
    let error = loop {
        if let Err(error) = bounded(stream.write_all(&data)).await {
            break error;
        }
    };
    let cause = countersign::stream::protocol_error(&error).cloned();
    assert!(matches!(cause, Some(Error::Refused(refusal)) if refusal.text == "not today"), "{error}");
}
