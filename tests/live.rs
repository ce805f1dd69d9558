//! Sessions end when trust does: within a second of the change, with an alert that says why, on both sides; and no other session is touched.
#![allow(missing_docs)]

use std::future::pending;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use countersign::error::{Alert, Error, Reason};
use countersign::identity::Name;
use countersign::stream::protocol_error;
use countersign::trust::{
    Authority, Decision, DecisionFuture, Grant, Notifier, Request, Trust, TrustExt, Watcher, any_of, from_fn,
};
use countersign::{Config, Identity, Listener, PeerId, Reload, Stream, TrustFile};
use rand_core::Rng;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[path = "support/pki.rs"]
mod pki;
mod support;

use pki::{Ca, NOW, leaf_params};
use support::{identity, peer_id, seeded};

/// A trust whose word can be taken back.
#[derive(Clone, Default)]
struct Switch {
    refuses: Arc<AtomicBool>,
    watchers: Arc<Mutex<Vec<Weak<dyn Watcher>>>>,
    asked: Arc<AtomicU64>,
}

impl Switch {
    fn turn(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
        let watchers: Vec<_> = self.watchers.lock().expect("lock").iter().filter_map(Weak::upgrade).collect();
        watchers.iter().for_each(|watcher| watcher.changed());
    }
}

impl Trust for Switch {
    fn decide<'a>(&'a self, _: &'a Request) -> DecisionFuture<'a> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.refuses.load(Ordering::SeqCst) {
            true => Decision::refuse(Reason::NotTrusted, "taken off the list").ready(),
            false => Decision::accept().ready(),
        }
    }

    fn watch(&self, watcher: &Weak<dyn Watcher>) -> bool {
        self.watchers.lock().expect("lock").push(watcher.clone());
        true
    }
}

async fn pair(near: &Config, far: &Config) -> [Stream<DuplexStream>; 2] {
    let (left, right) = tokio::io::duplex(1 << 16);
    let (near, far) = tokio::join!(near.connect_over(left).into_future(), far.accept_over(right, None));
    [near.expect("initiator"), far.expect("responder")]
}

fn revoked_here(error: &io::Error) -> &str {
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    match protocol_error(error) {
        Some(Error::Revoked(refusal)) => &refusal.text,
        other => panic!("{other:?}"),
    }
}

fn revoked_there(error: &io::Error) -> &str {
    match protocol_error(error) {
        Some(Error::AlertReceived(alert)) => {
            assert_eq!((alert.alert, alert.authenticated), (Alert::Revoked, true));
            &alert.text
        }
        other => panic!("{other:?}"),
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("in time")
}

/// The transport is full: the alert goes out with a later call, once the peer reads.
fn keep_trying(mut write: impl tokio::io::AsyncWrite + Unpin + Send + 'static) {
    tokio::spawn(async move {
        for _ in 0..1_000 {
            write.write_all(b"x").await.expect_err("revoked");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

/// [ID-13] Whatever an application waits in when its peer is taken off the list, it hears so, and the peer hears it with the reason: in a read, in a write
/// that is stuck, in the halves of either, in a keepalive; and where it waits in nothing, as soon as it does anything or drops the stream.
#[tokio::test]
async fn every_wait_ends() {
    for (number, place) in
        ["read", "write", "read half", "write half", "keepalive", "nothing", "drop"].iter().enumerate()
    {
        let switch = Switch::default();
        let far_config = Config::new(identity(2), switch.clone());
        let [mut near, mut far] =
            pair(&Config::new(identity(1), countersign::trust::Pinned::new([peer_id(2)])), &far_config).await;
        let turn = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            switch.turn(true);
        };
        let big = vec![7; 1 << 20];
        let mut byte = [0];
        let error = match number {
            0 => soon(async { tokio::join!(far.read(&mut byte), turn).0.expect_err("revoked") }).await,
            1 => {
                let error = soon(async { tokio::join!(far.write_all(&big), turn).0.expect_err("revoked") }).await;
                keep_trying(far);
                error
            }
            2 => {
                let (mut read, write) = far.into_split();
                let error = soon(async { tokio::join!(read.read(&mut byte), turn).0.expect_err("revoked") }).await;
                drop(write);
                error
            }
            3 => {
                let (_read, mut write) = far.into_split();
                let error = soon(async { tokio::join!(write.write_all(&big), turn).0.expect_err("revoked") }).await;
                keep_trying(write);
                error
            }
            4 => {
                let (_read, mut write) = far.into_split();
                soon(async { tokio::join!(write.keep_alive(), turn).0.expect_err("revoked") }).await
            }
            5 => {
                turn.await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                far.write_all(b"x").await.expect_err("revoked")
            }
            _ => {
                let (mut read, write) = far.into_split();
                turn.await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                drop(write);
                read.read(&mut byte).await.expect_err("revoked")
            }
        };
        assert_eq!(revoked_here(&error), "taken off the list", "{place}");
        // What was written before the end may be read; then the reason comes.
        let error = soon(async {
            loop {
                match near.fill_buf().await {
                    Ok([]) => panic!("{place}: a clean end"),
                    Ok(data) => {
                        let len = data.len();
                        near.consume(len);
                    }
                    Err(error) => break error,
                }
            }
        })
        .await;
        assert_eq!(revoked_there(&error), "taken off the list", "{place}");
    }
}

/// The blocking API: at the next call, or when one that waits returns; what comes then is not delivered, and the peer is told.
#[test]
fn blocking_sessions_end_too() {
    use std::io::{Read, Write};
    let switch = Switch::default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("address");
    let far_config = Config::new(identity(2), switch.clone());
    let near_config = Config::new(identity(1), countersign::trust::Pinned::new([peer_id(2)]));
    for waits in [false, true] {
        switch.turn(false);
        let (go_on, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let far_config = &far_config;
            let listener = &listener;
            let far = scope.spawn(move || {
                let (io, _) = listener.accept().expect("accepted");
                let mut far = countersign::blocking::accept(far_config, io).expect("responder");
                let mut byte = [0];
                if waits {
                    return far.read(&mut byte).expect_err("revoked");
                }
                told.recv().expect("told to go on");
                far.write_all(b"x").expect_err("revoked")
            });
            let target = countersign::handshake::Target::default();
            let mut near = countersign::blocking::connect(&near_config, address, target).expect("initiator");
            let asked = switch.asked.load(Ordering::SeqCst);
            switch.turn(true);
            while switch.asked.load(Ordering::SeqCst) == asked {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(20));
            near.write_all(b"x").and_then(|()| near.flush()).expect("the far end is there");
            let _ = go_on.send(());
            let error = far.join().expect("no panic");
            assert_eq!(revoked_here(&error), "taken off the list", "waits: {waits}");
            let error = near.read(&mut [0]).expect_err("told");
            assert_eq!(revoked_there(&error), "taken off the list", "waits: {waits}");
        });
    }
}

/// Data that the peer sent before it was taken off the list and that was not read is not delivered afterwards.
#[tokio::test]
async fn nothing_is_delivered_after_the_end() {
    let switch = Switch::default();
    let trusting = countersign::trust::Pinned::new([peer_id(2)]);
    let [mut near, mut far] =
        pair(&Config::new(identity(1), trusting), &Config::new(identity(2), switch.clone())).await;
    near.write_all(b"late").await.expect("written");
    near.flush().await.expect("flushed");
    switch.turn(true);
    soon(async {
        while switch.asked.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
    })
    .await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    revoked_here(&far.read(&mut [0; 8]).await.expect_err("revoked"));
}

/// The same for halves; and what was gathered to be sent, and had not been, is not sent to somebody who is not trusted any more.
#[tokio::test]
async fn nothing_is_delivered_after_the_end_in_halves() {
    let switch = Switch::default();
    let trusting = countersign::trust::Pinned::new([peer_id(2)]);
    let far = Config::new(identity(2), switch.clone()).write_buffer(1_000);
    let [mut near, far] = pair(&Config::new(identity(1), trusting), &far).await;
    let (mut read, mut write) = far.into_split();
    near.write_all(b"late").await.expect("written");
    near.flush().await.expect("flushed");
    write.write_all(b"gathered").await.expect("gathered");
    let asked = switch.asked.load(Ordering::SeqCst);
    switch.turn(true);
    soon(async {
        while switch.asked.load(Ordering::SeqCst) == asked {
            tokio::task::yield_now().await;
        }
    })
    .await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    revoked_here(&read.read(&mut [0; 8]).await.expect_err("revoked"));
    revoked_here(&write.flush().await.expect_err("revoked"));
    let mut got = Vec::new();
    let error = soon(near.read_to_end(&mut got)).await.expect_err("told");
    assert_eq!((revoked_there(&error), got.len()), ("taken off the list", 0));
}

/// Both roles watch: an initiator whose trust in the responder ends, ends the session as well. A change that changes nothing for a peer leaves it alone.
#[tokio::test]
async fn an_initiator_watches_too() {
    let (here, there) = (Switch::default(), Switch::default());
    let [mut near, mut far] =
        pair(&Config::new(identity(1), here.clone()), &Config::new(identity(2), there.clone())).await;
    for switch in [&here, &there] {
        let asked = switch.asked.load(Ordering::SeqCst);
        switch.turn(false);
        soon(async {
            while switch.asked.load(Ordering::SeqCst) == asked {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
    near.write_all(b"still there").await.expect("written");
    near.flush().await.expect("flushed");
    far.read_exact(&mut [0; 11]).await.expect("read");
    let (near_end, far_end) = soon(async {
        let turn = async { here.turn(true) };
        let (near_end, far_end, ()) = tokio::join!(near.read_u8(), far.read_u8(), turn);
        (near_end.expect_err("revoked"), far_end.expect_err("revoked"))
    })
    .await;
    assert_eq!((revoked_here(&near_end), revoked_there(&far_end)), ("taken off the list", "taken off the list"));
}

/// A trust that changes between its decision and the start of the session, one that is slow, one that is busy, and one that never answers.
#[tokio::test(start_paused = true)]
async fn changes_at_awkward_times() {
    // The change comes while the decision is on its way.
    let switch = Switch::default();
    let racing = {
        let switch = switch.clone();
        countersign::trust::from_async_fn(move |_| {
            let switch = switch.clone();
            async move {
                let accepted = Decision::accept();
                switch.turn(true);
                accepted
            }
        })
    };
    struct Racing<T>(T, Switch, AtomicBool);
    impl<T: Trust> Trust for Racing<T> {
        fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
            if self.2.swap(true, Ordering::SeqCst) { self.1.decide(request) } else { self.0.decide(request) }
        }
        fn watch(&self, watcher: &Weak<dyn Watcher>) -> bool {
            self.1.watch(watcher)
        }
    }
    let far_config = Config::new(identity(2), Racing(racing, switch, AtomicBool::new(false)));
    let anybody = Config::new(identity(1), from_fn(|_| Decision::accept()));
    let [_near, mut far] = pair(&anybody, &far_config).await;
    revoked_here(&soon(far.read_u8()).await.expect_err("revoked"));

    // Asked again it never answers, or is busy: the session goes on. Then it refuses.
    let mood = Arc::new(AtomicU64::new(0));
    let moody = {
        let mood = mood.clone();
        countersign::trust::from_async_fn(move |request: Request| {
            let mood = mood.load(Ordering::SeqCst);
            async move {
                match mood {
                    0 => {
                        let mut grant = Grant::default();
                        grant.limit(request.time.expect("a time") + Duration::from_secs(1));
                        Decision::Accept(grant)
                    }
                    1 => pending().await,
                    2 => Decision::refuse(Reason::Busy, ""),
                    _ => {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        Decision::deny("at last")
                    }
                }
            }
        })
    };
    let start = tokio::time::Instant::now();
    let clock = move || NOW + start.elapsed();
    let [mut near, mut far] = pair(&anybody, &Config::new(identity(2), moody).clock(clock)).await;
    for now in 0..3 {
        mood.store(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(30)).await;
        far.write_all(b"x").await.expect("alive");
        far.flush().await.expect("alive");
        near.read_u8().await.expect("alive");
    }
    mood.store(3, Ordering::SeqCst);
    let (near, far) = soon(async { tokio::join!(near.read_u8(), far.read_u8()) }).await;
    assert_eq!(revoked_here(&far.expect_err("revoked")), "at last");
    assert_eq!(revoked_there(&near.expect_err("revoked")), "at last");
}

/// An answer that comes after the one to a later question changes nothing: the end that the later one set is kept.
#[tokio::test(start_paused = true)]
async fn late_answers_to_old_questions() {
    let (notifier, release) = (Notifier::new(), Arc::new(tokio::sync::Notify::new()));
    let count = Arc::new(AtomicU64::new(0));
    let slow = {
        let (release, count) = (release.clone(), count.clone());
        countersign::trust::from_async_fn(move |request: Request| {
            let (release, question) = (release.clone(), count.fetch_add(1, Ordering::SeqCst));
            async move {
                let mut grant = Grant::default();
                match question {
                    0 => Decision::Accept(grant),
                    1 => {
                        release.notified().await;
                        Decision::Accept(grant)
                    }
                    2 => {
                        grant.limit(request.time.expect("a time") + Duration::from_secs(60));
                        Decision::Accept(grant)
                    }
                    _ => Decision::deny("over"),
                }
            }
        })
    };
    let start = tokio::time::Instant::now();
    let far = Config::new(identity(2), slow.notified_by(&notifier)).clock(move || NOW + start.elapsed());
    let [_near, mut far] = pair(&Config::new(identity(1), from_fn(|_| Decision::accept())), &far).await;
    for questions in [2, 3] {
        notifier.notify();
        soon(async {
            while count.load(Ordering::SeqCst) < questions {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
    release.notify_one();
    let error = timeout(Duration::from_secs(100), far.read_u8()).await.expect("it ends").expect_err("revoked");
    assert_eq!(revoked_here(&error), "over");
}

/// More answers are waited for than there is room for, and trust changes meanwhile: those who could not be asked about the change are asked later, and an answer from
/// before it is none.
#[tokio::test(start_paused = true)]
async fn more_slow_answers_than_there_is_room_for() {
    let (notifier, release) = (Notifier::new(), Arc::new(tokio::sync::Semaphore::new(0)));
    let mood = Arc::new(AtomicU64::new(0));
    let slow = {
        let (release, mood) = (release.clone(), mood.clone());
        countersign::trust::from_async_fn(move |_| {
            let (release, mood) = (release.clone(), mood.load(Ordering::SeqCst));
            async move {
                match mood {
                    0 => Decision::accept(),
                    1 => {
                        release.acquire().await.expect("open").forget();
                        Decision::accept()
                    }
                    _ => Decision::deny("over"),
                }
            }
        })
    };
    let start = tokio::time::Instant::now();
    let far = Config::new(identity(2), slow.notified_by(&notifier)).clock(move || NOW + start.elapsed());
    let near = Config::new(identity(1), from_fn(|_| Decision::accept()));
    let mut sessions = Vec::new();
    for _ in 0..MANY {
        sessions.push(pair(&near, &far).await);
    }
    for now in [1, 2] {
        mood.store(now, Ordering::SeqCst);
        notifier.notify();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    release.add_permits(MANY);
    for [_near, mut far] in sessions {
        let error = timeout(Duration::from_secs(60), far.read_u8()).await.expect("it ends").expect_err("revoked");
        assert_eq!(revoked_here(&error), "over");
    }
}

/// Sessions, and questions, more than 256 of which are not waited for at a time.
const MANY: usize = 300;

/// Certificates that expire end their sessions to the second, and no others; the clock is an argument.
#[tokio::test(start_paused = true)]
async fn expired_certificates() {
    let ca = Ca::root("root");
    let start = tokio::time::Instant::now();
    let clock = move || NOW + start.elapsed();
    let server = Config::new(ca.certify(identity(9), &["db.example"]), ca.authority()).clock(clock);
    let mut ends = Vec::new();
    for (number, hours) in [1_u64, 2, 3].into_iter().enumerate() {
        let own = identity(u8::try_from(number + 1).expect("small"));
        let mut params = leaf_params(&["client.example"]);
        params.not_after = pki::at(NOW + Duration::from_secs(3_600 * hours));
        let chain = countersign::identity::CertificateChain::from_pem(&ca.issue(&own, &params)).expect("a chain");
        let signer = countersign::identity::Certified::new(own, chain).expect("its key");
        let client = Config::new(signer, ca.authority()).clock(clock);
        let (left, right) = tokio::io::duplex(1 << 16);
        let call = client.connect_over(left).peer_name(Name::Dns("db.example".into())).into_future();
        let (near, far) = tokio::join!(call, server.accept_over(right, None));
        let (mut near, mut far) = (near.expect("initiator"), far.expect("responder"));
        assert_eq!(far.peer().names(), [Name::Dns("client.example".into())]);
        ends.push(tokio::spawn(async move {
            let (near, far) = tokio::join!(near.read_u8(), far.read_u8());
            let text = revoked_here(&far.expect_err("revoked")).to_owned();
            assert_eq!(revoked_there(&near.expect_err("revoked")), text);
            (text, start.elapsed().as_secs())
        }));
    }
    for (hours, end) in (1..).zip(ends) {
        let (text, after) = end.await.expect("no panic");
        assert_eq!(text, "certificate expired");
        // Valid through its last second.
        assert!((3_600 * hours + 1..=3_600 * hours + 2).contains(&after), "{after} s");
    }
}

/// Waits for the session to be ended.
async fn end_of(mut stream: Stream<TcpStream>) -> io::Error {
    stream.read_u8().await.expect_err("nothing is sent")
}

struct Crowd {
    listener: Arc<Listener>,
    /// What the server saw of those whose sessions ended.
    ended: mpsc::UnboundedReceiver<(PeerId, String)>,
}

/// Two sockets for each session, which is more than a shell's usual limit.
fn raise_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}

async fn crowd(config: Config) -> Crowd {
    raise_limit();
    let listener =
        Arc::new(Listener::bind("127.0.0.1:0", config.max_handshakes_per_address(1_024)).await.expect("bound"));
    let (tell, ended) = mpsc::unbounded_channel();
    let accepting = listener.clone();
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok(stream) = accepting.accept().await {
            number += 1;
            let tell = tell.clone();
            tokio::spawn(async move {
                let peer = PeerId::Key(*stream.peer().public_key());
                // Half of the sessions in halves.
                let error = if number % 2 == 0 {
                    let (mut read, mut write) = stream.into_split();
                    loop {
                        match read.read_u8().await {
                            Ok(byte) => {
                                write.write_all(&[byte]).await.expect("answered");
                                write.flush().await.expect("answered");
                            }
                            Err(error) => break error,
                        }
                    }
                } else {
                    let mut stream = stream;
                    loop {
                        match stream.read_u8().await {
                            Ok(byte) => {
                                stream.write_all(&[byte]).await.expect("answered");
                                stream.flush().await.expect("answered");
                            }
                            Err(error) => break error,
                        }
                    }
                };
                // At the end of the test all are cut.
                if error.kind() != io::ErrorKind::UnexpectedEof {
                    let _ = tell.send((peer, revoked_here(&error).to_owned()));
                }
            });
        }
    });
    Crowd { listener, ended }
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("written");
    std::fs::rename(&new, path).expect("renamed");
}

async fn ask(stream: &mut Stream<TcpStream>) {
    stream.write_all(b"?").await.expect("asked");
    stream.flush().await.expect("asked");
    assert_eq!(stream.read_u8().await.expect("answered"), b'?');
}

/// A thousand live sessions by raw keys over real sockets: lines are taken out of the trust file, and exactly those sessions end, each with the reason on
/// both sides; the others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_and_a_trust_file() {
    let mut rng = seeded(6_001);
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("trust");
    let identities: Vec<Identity> = (0..SESSIONS)
        .map(|number| {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&u64::try_from(number).expect("small").to_be_bytes());
            Identity::from_seed(&mut seed).expect("an identity")
        })
        .collect();
    let lines: Vec<String> = identities.iter().map(|one| format!("{}\n", one.public_key())).collect();
    replace(&path, &lines.concat());
    let load = {
        let path = path.clone();
        move || Ok(TrustFile::open(&path)?)
    };
    let trust = Reload::new([path.clone()], load, |_| {}).expect("loaded");
    let mut crowd = crowd(Config::new(identity(9), trust)).await;
    let address = crowd.listener.local_addr();
    let mut streams = Vec::new();
    for one in identities {
        let config = Config::new(one, countersign::trust::Pinned::new([peer_id(9)]));
        let mut stream = config.connect(address).await.expect("connected");
        ask(&mut stream).await;
        streams.push(stream);
    }
    let out: Vec<bool> = (0..SESSIONS).map(|_| rng.next_u32().is_multiple_of(20)).collect();
    let kept: String = lines.iter().zip(&out).filter(|(_, out)| !**out).map(|(line, _)| line.as_str()).collect();
    replace(&path, &kept);
    let changed = std::time::Instant::now();
    let (gone, stay): (Vec<_>, Vec<_>) = streams.into_iter().zip(out).partition(|(_, out)| *out);
    assert!(gone.len() > 20, "only {} go", gone.len());
    let waits: Vec<_> = gone.into_iter().map(|(stream, _)| tokio::spawn(end_of(stream))).collect();
    let count = waits.len();
    for wait in waits {
        let error = soon(wait).await.expect("no panic");
        assert_eq!(revoked_there(&error), "the key is not trusted");
    }
    println!("{count} of {SESSIONS} sessions had ended {:?} after the file changed", changed.elapsed());
    for _ in 0..count {
        let (_, text) = soon(crowd.ended.recv()).await.expect("told");
        assert_eq!(text, "");
    }
    for (mut stream, _) in stay {
        ask(&mut stream).await;
    }
    assert!(crowd.ended.try_recv().is_err(), "another session ended");
}

/// The same with certificates and a revocation list, some of the peers by raw keys beside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_and_a_revocation_list() {
    let mut rng = seeded(6_002);
    let folder = tempfile::tempdir().expect("folder");
    let [ca_path, crl_path, trust_path] = ["ca.pem", "crl.pem", "trust"].map(|name| folder.path().join(name));
    let ca = Ca::root("root");
    replace(&ca_path, &ca.pem);
    let week = Duration::from_secs(7 * 24 * 3_600);
    replace(&crl_path, &ca.crl(&[], week));
    replace(&trust_path, &format!("{}\n", identity(8).public_key()));
    let load = {
        let (ca_path, crl_path) = (ca_path.clone(), crl_path.clone());
        move || Ok(Authority::open(&ca_path, [&crl_path])?)
    };
    let authority = Reload::new([ca_path, crl_path.clone()], load, |_| {}).expect("loaded");
    let stats = authority.clone();
    let keys = Reload::new([trust_path.clone()], move || Ok(TrustFile::open(&trust_path)?), |_| {}).expect("loaded");
    let trust = any_of([Box::new(keys) as Box<dyn Trust>, Box::new(authority)]);
    let server = Config::new(ca.certify(identity(9), &["db.example"]), trust).clock(|| NOW);
    let mut crowd = crowd(server).await;
    let address = crowd.listener.local_addr();
    let (mut streams, mut serials) = (Vec::new(), Vec::new());
    for number in 0..SESSIONS {
        let mut seed = [1; 32];
        seed[..8].copy_from_slice(&u64::try_from(number).expect("small").to_be_bytes());
        let signer = ca.certify(Identity::from_seed(&mut seed).expect("an identity"), &[&format!("n{number}.example")]);
        serials.push(signer.chain().serial().to_owned());
        let config = Config::new(signer, ca.authority()).clock(|| NOW);
        let mut stream = config.connect(address).peer_name(Name::Dns("db.example".into())).await.expect("connected");
        ask(&mut stream).await;
        streams.push(stream);
    }
    let raw = Config::new(identity(8), ca.authority()).clock(|| NOW);
    let mut raw = raw.connect(address).await.expect("connected");
    let out: Vec<bool> = (0..SESSIONS).map(|_| rng.next_u32().is_multiple_of(20)).collect();
    let revoked: Vec<&str> =
        serials.iter().zip(&out).filter(|(_, out)| **out).map(|(serial, _)| serial.as_str()).collect();
    // A broken list changes nothing.
    replace(&crl_path, "-----BEGIN X509 CRL-----\nbroken\n");
    soon(async {
        while stats.stats().failures == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(stats.stats().failing.is_some());
    ask(&mut raw).await;
    replace(&crl_path, &ca.crl(&revoked, week));
    let changed = std::time::Instant::now();
    let (gone, stay): (Vec<_>, Vec<_>) = streams.into_iter().zip(out).partition(|(_, out)| *out);
    let waits: Vec<_> = gone.into_iter().map(|(stream, _)| tokio::spawn(end_of(stream))).collect();
    let count = waits.len();
    for wait in waits {
        assert_eq!(revoked_there(&soon(wait).await.expect("no panic")), "certificate revoked");
    }
    println!("{count} of {SESSIONS} sessions had ended {:?} after the list changed", changed.elapsed());
    for _ in 0..count {
        assert_eq!(soon(crowd.ended.recv()).await.expect("told").1, "certificate revoked");
    }
    for (mut stream, _) in stay {
        ask(&mut stream).await;
    }
    ask(&mut raw).await;
    assert!(crowd.ended.try_recv().is_err(), "another session ended");
    assert_eq!(stats.stats().failing, None);
}

const SESSIONS: usize = 1_000;
