//! `countersign bench` as a person uses it: alone, between two processes, against the wrong peer; and its listening
//! side against peers that are let in and do what they like. No figure is asserted but that it is one.
#![allow(missing_docs)]
#![cfg(all(unix, feature = "cli"))]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use countersign::error::{Alert, Error};
use countersign::stream::protocol_error;
use countersign::trust::Pinned;
use countersign::{Config, Identity, Stream};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

mod cmd;

use cmd::{House, PATIENCE, Serve, code, text};

const MEASURES: [&str; 4] = ["handshakes", "upload", "download", "round_trips"];
const CLOSE: [u8; 6] = [1, 1, 0, 0, 0, 0];
const DOWNLOAD: [u8; 6] = [1, 3, 0, 1, 0, 0];

fn listen(house: &House, more: &[&str]) -> Serve {
    let mut args = vec!["bench", "--identity", "bob.key", "--trust", "trust", "--listen", "127.0.0.1:0"];
    args.extend_from_slice(more);
    house.start(house.command(&args))
}

fn measure(house: &House, who: &str, peer: &str, address: &str, more: &[&str]) -> Output {
    let mut args = vec!["bench", "--identity", who, "--peer", peer, address];
    args.extend_from_slice(more);
    house.run(&args)
}

/// The first thing that anybody tries: no key, no peer, and every figure is there, in JSON that parses and with nothing
/// else on standard output or error.
#[test]
fn alone() {
    let house = House::empty();
    let run = house.run(&["bench", "--seconds", "1", "--json", "--suite", "X25519_ChaCha20Poly1305_SHA256"]);
    assert_eq!((code(&run), text(&run.stderr)), (0, String::new()));
    let json: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    let number = |measure: &str, figure: &str| {
        json[measure][figure].as_f64().unwrap_or_else(|| panic!("{measure} has no {figure} in {json}"))
    };
    for measure in MEASURES {
        let transfer = measure.ends_with("load");
        let figures: &[&str] = if transfer {
            &["bytes", "seconds", "bytes_per_second"]
        } else {
            &["count", "seconds", "per_second", "median_ms", "p90_ms", "p99_ms", "max_ms"]
        };
        for figure in figures {
            assert!(number(measure, figure) > 0.0, "{measure} {figure} in {json}");
        }
        assert!(number(measure, "seconds") >= 1.0, "{json}");
        if !transfer {
            let times = ["median_ms", "p90_ms", "p99_ms", "max_ms"].map(|figure| number(measure, figure));
            assert!(times.is_sorted(), "{measure}: {times:?}");
        }
        if cfg!(target_os = "linux") {
            let cpu = if transfer { "cpu_seconds_per_gib" } else { "cpu_ms_each" };
            assert!(number(measure, cpu) > 0.0, "{measure} {cpu} in {json}");
        }
    }
    assert_eq!(json["suite"], "X25519_ChaCha20Poly1305_SHA256");
    assert_eq!((&json["both_ends"], &json["cpu_of"]), (&Value::Bool(true), &Value::from("both ends")));
    assert_eq!(fs::read_dir(&house.folder).expect("folder").count(), 0, "something was left behind");
}

/// Two processes with key files: the table has every measure, the lines tell how it got on, and the listening side
/// tells its operator who measured what, and nothing of the many handshakes. It ends properly at a signal. Who only
/// listens for the length of a measure is not idle.
#[test]
fn two_processes() {
    let house = House::new();
    let idle = ["--keepalive", "0", "--idle-timeout", "1"];
    let mut bench = listen(&house, &idle);
    let more = [&idle[..], &["--seconds", "2", "--parallel", "2", "--size", "4K"]].concat();
    let run = measure(&house, "alice.key", "bob.key.pub", &bench.address, &more);
    let (table, lines) = (text(&run.stdout), text(&run.stderr));
    assert_eq!(code(&run), 0, "{lines}");
    for measure in MEASURES.map(|measure| measure.replace('_', " ")) {
        let row = table.lines().find(|line| line.starts_with(&measure)).unwrap_or_else(|| panic!("{measure}: {table}"));
        assert!(row.contains(if measure.ends_with("load") { "MiB/s" } else { "/s" }), "{row}");
        assert!(lines.lines().any(|line| line.starts_with(&measure)), "{measure}: {lines}");
    }
    assert!(table.contains("2 s each, 2 at a time, writes of 4096 bytes") && table.contains("CPU of this side"));
    assert!(!lines.contains(['\r', '\x1b']), "a terminal's line without a terminal: {lines:?}");
    bench.signal("TERM");
    assert_eq!(bench.child.wait().expect("exit").code(), Some(0));
    let log: Vec<String> = bench.log.iter().collect();
    assert!(log.iter().all(|line| line.starts_with("measured ") && line.contains("(alice)")), "{log:?}");
    assert!(!log.iter().any(|line| line.contains("what=close")), "{} lines", log.len());
    for (what, times) in [("upload", 2), ("download", 2), ("echo", 1)] {
        let found = log.iter().filter(|line| line.contains(&format!("what={what} ")) && !line.contains("bytes=0 "));
        assert_eq!(found.count(), times, "{what}: {log:?}");
    }
}

/// The mistakes that are made with two hosts: each has the exit code of its sort and says what to try, and nothing is
/// on standard output that a machine could take for figures.
#[test]
fn mistakes() {
    let house = House::new();
    let bench = listen(&house, &[]);
    let (echo, db) = (house.serve(&["--echo"]), house.serve(&["--echo", "--service", "db"]));
    let mute = house.serve(&["--exec", "cat > /dev/null"]);
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("address");
    let closed = closed.to_string();
    let alone = ["bench"].as_slice();
    let to = |who: &'static str, peer: &'static str, address: &str, more: &[&str]| -> Vec<String> {
        let args = ["bench", "--identity", who, "--peer", peer, address];
        args.iter().chain(more).map(|arg| (*arg).to_string()).collect()
    };
    let with = |more: &[&str]| -> Vec<String> { alone.iter().chain(more).map(|arg| (*arg).to_string()).collect() };
    let (alice, bob) = ("alice.key", "bob.key.pub");
    let cases = [
        ("who is not trusted", to("eve.key", bob, &bench.address, &[]), 4, "add our public line"),
        ("another peer", to(alice, "eve.key.pub", &bench.address, &[]), 3, "expected the peer"),
        ("nobody listens", to(alice, bob, &closed, &[]), 1, "is `countersign bench --listen` running"),
        ("a serve without the service", to(alice, bob, &db.address, &[]), 4, "try: is it `countersign bench --listen`"),
        ("a serve that echoes", to(alice, bob, &echo.address, &[]), 1, "does not answer measures"),
        ("a serve that is silent", to(alice, bob, &mute.address, &["--timeout", "1"]), 1, "does not answer measures"),
        ("no time", with(&["--seconds", "0"]), 2, "--seconds"),
        ("too much time", with(&["--seconds", "61"]), 2, "1..=60"),
        ("nothing at a time", with(&["--parallel", "0"]), 2, "1..=64"),
        ("writes of nothing", with(&["--size", "0"]), 2, "at least 1"),
        ("writes larger than a record", with(&["--size", "65K"]), 2, "at most 64K"),
        ("a peer without a key of ours", with(&["--peer", bob, &closed]), 2, "bench is used alone, with"),
        ("an address without a peer", with(&["--identity", alice, &closed]), 2, "bench is used alone, with"),
        ("no trust", with(&["--identity", alice, "--listen", &closed]), 2, "bench is used alone, with"),
        ("both at once", to(alice, bob, &closed, &["--listen", &closed]), 2, "cannot be used with"),
        ("a listener that measures", with(&["--listen", &closed, "--seconds", "1"]), 2, "cannot be used with"),
        ("no port", to(alice, bob, "127.0.0.1", &[]), 2, "is not HOST:PORT"),
    ];
    for (what, args, expected, words) in cases {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let run = house.run(&args);
        let told = text(&run.stderr);
        assert_eq!(code(&run), expected, "{what}: {told}");
        assert!(told.contains(words), "{what}: {told}");
        assert!(run.stdout.is_empty(), "{what}: {}", text(&run.stdout));
    }
    let line = bench.next_line();
    assert!(line.starts_with("refused") && line.contains("service=\"bench\""), "{line}");
    // Who may measure may not do anything else.
    let other = house.run(&house.connect(alice, bob, &bench.address, &["--service", "db"]));
    assert_eq!(code(&other), 4);
    assert!(text(&other.stderr).contains("service is not available"), "{}", text(&other.stderr));
}

/// An interrupt ends a measure at once, with the exit code of interrupts and without figures.
#[test]
fn interrupted() {
    let house = House::empty();
    let mut command = house.command(&["bench", "--seconds", "60"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bench");
    // The first line is there: it measures.
    let mut stderr = std::io::BufReader::new(child.stderr.take().expect("stderr"));
    std::io::BufRead::read_line(&mut stderr, &mut String::new()).expect("a line");
    let process = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &process]).status().expect("kill").success());
    let output = child.wait_with_output().expect("exit");
    assert_eq!((code(&output), text(&output.stdout)), (130, String::new()));
}

/// Peers that are let in and do what they like.
struct Peer {
    config: Config,
    bob: countersign::PublicKey,
    address: String,
}

impl Peer {
    fn new(house: &House, bench: &Serve) -> Self {
        let alice = Identity::from_file(house.path("alice.key")).expect("key");
        let bob = Identity::from_file(house.path("bob.key")).expect("key").public_key();
        Peer { config: Config::new(alice, Pinned::new([bob.into()])), bob, address: bench.address.clone() }
    }

    async fn open(&self) -> Stream<TcpStream> {
        self.config.connect(self.address.clone()).peer(self.bob).service("bench").await.expect("accepted")
    }

    async fn say(&self, words: &[u8]) -> Stream<TcpStream> {
        let mut stream = self.open().await;
        stream.write_all(words).await.expect("said");
        stream
    }

    /// What an honest initiator does to see whether it is answered.
    async fn is_answered(&self) -> bool {
        let mut stream = self.say(&CLOSE).await;
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer).await.is_ok() && stream.shutdown().await.is_ok();
        ended && answer == [1, 0x81, 0, 0, 0, 0]
    }
}

/// The alert that a session ends with.
async fn alert(stream: &mut Stream<TcpStream>) -> (Alert, String) {
    let mut rest = Vec::new();
    let error = stream.read_to_end(&mut rest).await.expect_err("an alert");
    match protocol_error(&error) {
        Some(Error::AlertReceived(alert)) if alert.authenticated => (alert.alert, alert.text.clone()),
        _ => panic!("{error}"),
    }
}

/// Nonsense from a peer that is let in: an alert that says what is wrong, a line for the operator, and the next one is
/// answered.
#[tokio::test]
async fn nonsense_is_told_so() {
    let house = House::new();
    let bench = listen(&house, &["--timeout", "1"]);
    let peer = Peer::new(&house, &bench);
    for (request, told) in [
        ([0xFF; 6], "version 255"),
        ([2, 1, 0, 0, 0, 0], "version 2, and not 1"),
        ([1, 0, 0, 0, 0, 0], "unknown command 0"),
        ([1, 5, 0, 0, 0, 0], "unknown command 5"),
        ([1, 0x81, 0, 0, 0, 0], "unknown command 129"),
        ([1, 3, 0, 0, 0, 0], "can't have the size 0"),
        ([1, 3, 0, 1, 0, 1], "can't have the size 65537"),
        ([1, 3, 0xFF, 0xFF, 0xFF, 0xFF], "can't have the size 4294967295"),
        ([1, 2, 0, 0, 0, 1], "can't have the size 1"),
    ] {
        let (alert, text) = alert(&mut peer.say(&request).await).await;
        assert_eq!(alert, Alert::Malformed, "{request:?}");
        assert!(text.starts_with("bench: ") && text.contains(told), "{request:?}: {text}");
        let line = bench.next_line();
        assert!(line.starts_with("failed ") && line.contains("(alice) what=request") && line.contains(told), "{line}");
        assert!(peer.is_answered().await, "after {request:?}");
    }
    // Nothing, and half a request: the place is free again after the deadline.
    for start in [&[][..], &[1, 3, 0]] {
        assert_eq!(alert(&mut peer.say(start).await).await, (Alert::Timeout, "bench: no request came".to_string()));
    }
    // Words during a download end it, properly.
    let mut stream = peer.say(&[&DOWNLOAD[..], b"more"].concat()).await;
    stream.read_to_end(&mut Vec::new()).await.expect("a proper end");
    stream.shutdown().await.expect("ended");
    let last = bench.log.iter().find(|line| line.contains("what=download")).expect("a line");
    assert!(last.contains("sent something during a download"), "{last}");
    assert!(peer.is_answered().await);
}

/// More sessions than a responder has, each a download that nobody reads: the others are told `busy`, memory stays
/// bounded, and there is room again when they are gone.
#[tokio::test]
async fn sessions_are_bounded() {
    let house = House::new();
    let bench = listen(&house, &[]);
    let peer = Peer::new(&house, &bench);
    let mut held = Vec::new();
    for _ in 0..256 {
        let mut stream = peer.say(&DOWNLOAD).await;
        stream.read_exact(&mut [0; 6]).await.expect("an answer");
        held.push(stream);
    }
    let (busy, text) = alert(&mut peer.open().await).await;
    assert_eq!((busy, text.as_str()), (Alert::Busy, "bench: too many measures at a time"));
    let peak = bench.peak_kib();
    println!("peak with 256 downloads that nobody reads: {peak} KiB");
    assert!(peak < 64 * 1024, "{peak} KiB");
    drop(held);
    tokio::time::timeout(PATIENCE, async {
        while !peer.is_answered().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("room again");
}

/// The help, word for word, in `tests/cmd/bench.txt`. `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn help_word_for_word() {
    let house = House::empty();
    let output = house.command(&["bench", "--help"]).env("COLUMNS", "100").output().expect("run");
    assert_eq!(code(&output), 0);
    let (path, help) = (Path::new("tests/cmd/bench.txt"), text(&output.stdout));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, &help).expect("written");
    }
    assert!(
        fs::read_to_string(path).unwrap_or_default() == help,
        "{} differs; the program says:\n{help}",
        path.display()
    );
}
