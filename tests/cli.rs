//! The program as a person uses it: real processes, real TCP, and every word that it says.
#![allow(missing_docs)]
#![cfg(unix)]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

mod cmd;

use cmd::{House, code, peak_kib, set_mode, text};

const SUITE: &str = "X25519_ChaCha20Poly1305_SHA256";

/// What the first command prints, and what the first session looks like; and the public key is in no line about a stranger's refusal
/// by the initiator.
#[test]
fn a_first_session() {
    let house = House::new();
    let serve = house.serve(&["--echo"]);
    let echoed =
        house.run_with(&house.connect("alice.key", "bob.key.pub", &serve.address, &["--service", "greet"]), b"hello");
    assert_eq!((code(&echoed), text(&echoed.stdout)), (0, "hello".into()), "{}", text(&echoed.stderr));
    let accepted = serve.next_line();
    assert!(accepted.starts_with("accepted session=") && accepted.contains("(alice) service=\"greet\""), "{accepted}");
    let closed = serve.next_line();
    assert!(closed.contains("received=5 sent=5") && closed.contains("outcome=ok"), "{closed}");
    let session = |line: &str| line.split("session=").nth(1).and_then(|rest| rest.split(' ').next()).map(String::from);
    assert_eq!(session(&accepted), session(&closed));
}

/// WHO may be a line, a file or a fingerprint.
#[test]
fn peers_are_named_in_three_ways() {
    let house = House::new();
    let serve = house.serve(&["--echo"]);
    let line = fs::read_to_string(house.path("bob.key.pub")).expect("public line");
    let id = text(&house.run(&["id", "bob.key"]).stdout);
    let fingerprint = id.lines().nth(1).expect("fingerprint").to_string();
    for who in [line.as_str(), "bob.key.pub", fingerprint.as_str()] {
        let echoed = house.run_with(&house.connect("alice.key", who, &serve.address, &[]), b"x");
        assert_eq!((code(&echoed), text(&echoed.stdout)), (0, "x".into()), "{who}: {}", text(&echoed.stderr));
    }
}

/// 1 GiB to the peer and back, with equal content and little memory at both ends.
#[test]
fn a_gibibyte_both_ways() {
    let house = House::new();
    let serve = house.serve(&["--echo"]);
    let args = house.connect("alice.key", "bob.key.pub", &serve.address, &[]);
    let mut child = house.command(&args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("connect");
    let (mut stdin, mut stdout) = (child.stdin.take().expect("stdin"), child.stdout.take().expect("stdout"));
    const BLOCKS: u64 = 1 << 14;
    const BLOCK: usize = 1 << 16;
    let block = |number: u64| {
        let mut block = [0_u8; BLOCK];
        block
            .chunks_exact_mut(8)
            .zip(number..)
            .for_each(|(to, n)| to.copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()));
        block
    };
    let sender = std::thread::spawn(move || (0..BLOCKS).try_for_each(|number| stdin.write_all(&block(number))));
    let mut received = vec![0; BLOCK];
    for number in 0..BLOCKS {
        stdout.read_exact(&mut received).expect("echo");
        assert!(received == block(number), "block {number} differs");
    }
    sender.join().expect("sender").expect("sent");
    let peaks = (serve.peak_kib(), peak_kib(child.id()).unwrap_or(0));
    assert_eq!(stdout.read(&mut received).expect("the end"), 0);
    assert!(child.wait().expect("exit").success());
    println!("peak KiB (serve, connect): {peaks:?}");
    assert!(peaks.0 < 32 * 1024 && peaks.1 < 32 * 1024, "{peaks:?}");
}

/// Who is not trusted is refused with exit 4, and the log says who and why.
#[test]
fn strangers_are_refused() {
    let house = House::new();
    let serve = house.serve(&["--echo", "--service", "db"]);
    let refused = house.run(&house.connect("eve.key", "bob.key.pub", &serve.address, &["--service", "db"]));
    assert_eq!(code(&refused), 4, "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("the key is not trusted"));
    let line = serve.next_line();
    let eve = text(&house.run(&["id", "eve.key"]).stdout).lines().nth(1).expect("fingerprint").to_string();
    assert!(line.starts_with("refused") && line.contains(&eve) && line.contains("not trusted"), "{line}");
    let service = house.run(&house.connect("alice.key", "bob.key.pub", &serve.address, &["--service", "web"]));
    assert_eq!(code(&service), 4);
    assert!(text(&service.stderr).contains("service is not available"), "{}", text(&service.stderr));
}

/// Another peer than the one expected: exit 3, and the responder never learns who called.
#[test]
fn another_peer_learns_nothing() {
    let house = House::new();
    let serve = house.serve(&["--echo"]);
    let wrong = house.run(&house.connect("alice.key", "eve.key.pub", &serve.address, &[]));
    assert_eq!(code(&wrong), 3, "{}", text(&wrong.stderr));
    let line = serve.next_line();
    let alice = text(&house.run(&["id", "alice.key"]).stdout);
    assert!(line.starts_with("failed"), "{line}");
    for secret in alice.split_whitespace().filter(|word| word.len() > 20) {
        assert!(!line.contains(secret), "{line}");
    }
}

/// The peer's identity reaches the command; its exit status reaches the log.
#[test]
fn exec_tells_the_command_who_calls() {
    let house = House::new();
    let command = "printf '%s|%s|%s|%s|' \"$COUNTERSIGN_PEER\" \"$COUNTERSIGN_PEER_NAME\" \"$COUNTERSIGN_SERVICE\" \"$COUNTERSIGN_SESSION\"; tr a-z A-Z; exit 3";
    let serve = house.serve(&["--exec", command]);
    let answer =
        house.run_with(&house.connect("alice.key", "bob.key.pub", &serve.address, &["--service", "up"]), b"shout");
    let alice = text(&house.run(&["id", "alice.key"]).stdout).lines().nth(1).expect("fingerprint").to_string();
    let answer = text(&answer.stdout);
    let fields: Vec<&str> = answer.split('|').collect();
    assert_eq!((fields[0], fields[1], fields[2], fields[4]), (alice.as_str(), "alice", "up", "SHOUT"));
    assert!(serve.next_line().contains(fields[3]));
    assert!(serve.next_line().contains("exit status: 3"));
}

/// A command that stops reading does not hang the session, and what it said arrives.
#[test]
fn exec_that_reads_nothing() {
    let house = House::new();
    let serve = house.serve(&["--exec", "echo done"]);
    let answer = house.run_with(&house.connect("alice.key", "bob.key.pub", &serve.address, &[]), &vec![7; 3 << 20]);
    assert_eq!((code(&answer), text(&answer.stdout)), (0, "done\n".into()), "{}", text(&answer.stderr));
}

/// One session on standard input and output, both ways at once, then the exit status.
#[test]
fn once() {
    let house = House::new();
    let mut serve = house.serve(&["--once"]);
    // A stranger is not the one session.
    assert_eq!(code(&house.run(&house.connect("eve.key", "bob.key.pub", &serve.address, &[]))), 4);
    let mut stdin = serve.stdin.take().expect("stdin");
    stdin.write_all(b"from bob").expect("written");
    drop(stdin);
    let there = house.run_with(&house.connect("alice.key", "bob.key.pub", &serve.address, &[]), b"from alice");
    assert_eq!((code(&there), text(&there.stdout)), (0, "from bob".into()));
    let mut received = String::new();
    serve.child.stdout.take().expect("stdout").read_to_string(&mut received).expect("text");
    assert_eq!(received, "from alice");
    assert_eq!(serve.child.wait().expect("exit").code(), Some(0));
}

/// A cut connection is exit 1 on both sides, not a clean end.
#[test]
fn a_cut_is_an_error() {
    let house = House::new();
    let mut serve = house.serve(&["--once"]);
    let args = house.connect("alice.key", "bob.key.pub", &serve.address, &[]);
    let mut child = house.command(&args).stdin(Stdio::piped()).spawn().expect("connect");
    let mut stdin = child.stdin.take().expect("stdin");
    stdin.write_all(b"half a mess").expect("written");
    let mut start = [0; 4];
    serve.child.stdout.as_mut().expect("stdout").read_exact(&mut start).expect("a start");
    child.kill().expect("killed");
    child.wait().expect("killed");
    assert_eq!(serve.child.wait().expect("exit").code(), Some(1));
    let rest: Vec<String> = serve.log.iter().collect();
    assert!(rest.iter().any(|line| line.contains("ended before the peer finished")), "{rest:?}");
}

/// SIGINT ends our direction properly: the peer sees a clean end.
#[test]
fn interrupts_end_properly() {
    let house = House::new();
    for signal in ["INT", "TERM"] {
        let mut serve = house.serve(&["--echo"]);
        let args = house.connect("alice.key", "bob.key.pub", &serve.address, &[]);
        let mut child = house.command(&args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("connect");
        let mut stdin = child.stdin.take().expect("stdin");
        stdin.write_all(b"x").expect("written");
        child.stdout.as_mut().expect("stdout").read_exact(&mut [0]).expect("echo");
        serve.signal(signal);
        assert!(serve.next_line().starts_with("accepted"));
        assert!(serve.next_line().starts_with("stopping, 1 "));
        assert!(serve.next_line().starts_with("closed"));
        // Had the end not been an end but a cut, this would be exit 1.
        drop(stdin);
        assert!(child.wait().expect("exit").success());
        assert_eq!(serve.child.wait().expect("exit").code(), Some(0), "{signal}");
    }
    // The other side.
    let serve = house.serve(&["--echo"]);
    let args = house.connect("alice.key", "bob.key.pub", &serve.address, &[]);
    let mut child = house.command(&args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("connect");
    // `wait` would close it, and our end would race with the interrupt.
    let mut stdin = child.stdin.take().expect("stdin");
    stdin.write_all(b"x").expect("written");
    child.stdout.as_mut().expect("stdout").read_exact(&mut [0]).expect("echo");
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert_eq!(child.wait().expect("exit").code(), Some(130));
    drop(stdin);
    assert!(serve.next_line().starts_with("accepted"));
    assert!(serve.next_line().contains("outcome=ok"));
}

/// IPv6 as well, and port 0 there.
#[test]
fn ipv6() {
    let house = House::new();
    if TcpListener::bind("[::1]:0").is_err() {
        println!("this machine has no IPv6 loopback");
        return;
    }
    let serve = house.serve(&["--echo", "--listen", "[::1]:0"]);
    assert!(serve.address.starts_with("[::1]:"), "{}", serve.address);
    let echoed = house.run_with(&house.connect("alice.key", "bob.key.pub", &serve.address, &[]), b"six");
    assert_eq!((code(&echoed), text(&echoed.stdout)), (0, "six".into()), "{}", text(&echoed.stderr));
}

/// 10,000 connections that send random bytes, nothing, or half a handshake: memory stays bounded, and an honest peer is served
/// all the while.
#[test]
fn hostile_connections() {
    let house = House::new();
    let serve = house.serve(&["--echo"]);
    let address: SocketAddr = serve.address.parse().expect("address");
    let attacker = std::thread::spawn(move || {
        let mut random = 0x1234_5678_9ABC_DEF0_u64;
        println!("seed {random:#x}");
        let mut open = std::collections::VecDeque::new();
        for number in 0..10_000 {
            let Ok(mut stream) = TcpStream::connect(address) else { continue };
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise: Vec<u8> = random.to_be_bytes().repeat(1 + usize::from(random.to_be_bytes()[3]));
            let _ = match number % 4 {
                0 => stream.write_all(&noise),
                1 => Ok(()),
                2 => stream.write_all(&[0xC1, 0, 8, 0, 0, 1, 9, 9, 9]),
                _ => stream.write_all(&half_a_handshake()),
            };
            // Hundreds stay open at a time, and idle.
            open.push_back(stream);
            if open.len() > 300 {
                open.pop_front();
            }
        }
    });
    let mut served = 0;
    while !attacker.is_finished() || served < 20 {
        let echoed = house.run_with(&house.connect("alice.key", "bob.key.pub", &serve.address, &[]), b"still there?");
        assert_eq!((code(&echoed), text(&echoed.stdout)), (0, "still there?".into()), "{}", text(&echoed.stderr));
        served += 1;
    }
    attacker.join().expect("attacker");
    let peak = serve.peak_kib();
    println!("{served} honest sessions served, peak {peak} KiB");
    assert!(peak < 64 * 1024, "{peak} KiB");
}

/// A HELLO that a responder has to answer: random nonce, and as share the base point of the curve.
fn half_a_handshake() -> Vec<u8> {
    let mut hello = vec![0xC1, 0, 0, 73, 0, 1];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[1, 0, 1, 1, 1, 0, 32, 9]);
    hello.extend_from_slice(&[0; 31]);
    hello
}

/// The demonstration, small.
#[test]
fn demo() {
    let house = House::empty();
    let shown = house.run(&["demo", "--bytes", "3M"]);
    let output = text(&shown.stdout);
    assert_eq!(code(&shown), 0, "{}", text(&shown.stderr));
    for word in
        ["HELLO_REPLY, 1160 bytes", "AUTH_I, 1044 bytes", "VERDICT, 22 bytes", "equal", "Everything went as it should"]
    {
        assert!(output.contains(word), "{word} is missing in:\n{output}");
    }
    assert_eq!(output.matches("stopped").count(), 3);
    assert!(!output.contains('\x1b'), "colour without a terminal");
    assert_eq!(fs::read_dir(&house.folder).expect("folder").count(), 0, "something was left behind");
}

/// Encrypted keys, with the passphrase from a file; never overwritten; shown by `id`.
#[test]
fn passphrases() {
    let house = House::new();
    fs::write(house.path("pass"), "correct horse\nsecond line\n").expect("written");
    fs::write(house.path("wrong"), "battery").expect("written");
    let made = house.run(&["keygen", "--out", "carol.key", "--passphrase-file", "pass"]);
    assert_eq!(code(&made), 0);
    let fingerprint = text(&made.stdout);
    assert!(fingerprint.starts_with("SHA256:") && fingerprint.ends_with(" carol\n"), "{fingerprint}");
    let shown = house.run(&["id", "carol.key", "--art", "--passphrase-file", "pass"]);
    let shown = text(&shown.stdout);
    assert!(shown.contains(fingerprint.split(' ').next().expect("fingerprint")) && shown.contains("[ED25519 256]"));
    let wrong = house.run(&["id", "carol.key", "--passphrase-file", "wrong"]);
    assert_eq!(code(&wrong), 1);
    assert!(text(&wrong.stderr).contains("passphrase does not open"), "{}", text(&wrong.stderr));
    let tool =
        Command::new("ssh-keygen").args(["-y", "-P", "correct horse", "-f"]).arg(house.path("carol.key")).output();
    let public = fs::read_to_string(house.path("carol.key.pub")).expect("public line");
    assert!(public.starts_with(text(&tool.expect("ssh-keygen").stdout).split(" carol").next().expect("a line").trim()));
}

/// Everything that is said about mistakes, word for word, in `tests/cmd/mistakes.txt`. `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn mistakes_word_for_word() {
    let house = House::new();
    let silent = TcpListener::bind("127.0.0.1:0").expect("listener");
    let closed =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("address").to_string();
    let http = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let ssh = answering(b"SSH-2.0-OpenSSH_9.2\r\n");
    let tls = answering(&[0x15, 3, 3, 0, 2, 2, 10]);
    let serve = house.serve(&["--echo", "--service", "db"]);
    let other_context = house.serve(&["--echo", "--context", "app/1"]);
    let one_suite = house.serve(&["--echo", "--suite", SUITE]);
    house.run(&["keygen", "--network", "--out", "net.key"]);
    let silent = silent.local_addr().expect("address").to_string();
    house.run(&["keygen", "--out", "locked.key", "--passphrase-file", "trust"]);
    set_mode(&house.path("eve.key"), 0o644);
    fs::write(house.path("bad-trust"), "# peers\nssh-rsa AAAA x\n").expect("written");
    let connect = |who: &'static str, address: &str, more: &[&str]| -> Vec<String> {
        let args = ["connect", "--identity", who, "--peer", "bob.key.pub", address];
        args.iter().chain(more).map(|arg| (*arg).to_string()).collect()
    };
    let strings = |args: &[&str]| args.iter().map(|arg| (*arg).to_string()).collect::<Vec<_>>();
    let commands: Vec<(&str, Vec<String>)> = vec![
        ("the key exists", strings(&["keygen", "--out", "alice.key"])),
        ("no such folder", strings(&["keygen", "--out", "none/x.key"])),
        ("not a key", strings(&["id", "bad-trust"])),
        ("no such key", connect("none.key", &serve.address, &[])),
        ("a key that others can read", connect("eve.key", &serve.address, &[])),
        ("a public key as identity", connect("alice.key.pub", &serve.address, &[])),
        (
            "a private key as peer",
            strings(&["connect", "--identity", "alice.key", "--peer", "bob.key", &serve.address]),
        ),
        ("no network key", connect("alice.key", &serve.address, &["--network-key", "none.net"])),
        ("not a network key", connect("alice.key", &serve.address, &["--network-key", "locked.key"])),
        ("a suite that does not exist", connect("alice.key", &serve.address, &["--suite", "AES"])),
        (
            "a suite twice",
            connect("alice.key", &serve.address, &[SUITE, SUITE].map(|suite| ["--suite", suite]).concat()),
        ),
        ("a padding that does not exist", connect("alice.key", &serve.address, &["--padding", "block:0"])),
        ("a rekey after nothing", connect("alice.key", &serve.address, &["--rekey-bytes", "0"])),
        ("another suite", connect("alice.key", &one_suite.address, &["--suite", "X25519_AES256GCM_SHA256"])),
        ("a network key on one side", connect("alice.key", &serve.address, &["--network-key", "net.key"])),
        ("the network key exists", strings(&["keygen", "--network", "--out", "net.key"])),
        ("a network key with a passphrase", strings(&["keygen", "--network", "--ask-passphrase", "--out", "new.key"])),
        ("an agent and a passphrase", connect("agent:SHA256:x", &serve.address, &["--passphrase-file", "trust"])),
        ("no agent", connect("agent:bob.key.pub", &serve.address, &[])),
        ("an agent's key that is none", connect("agent:SHA256:x", &serve.address, &[])),
        ("nothing to inspect", strings(&["inspect", "none"])),
        ("something else to inspect", strings(&["inspect", "bad-trust"])),
        ("no such peer file", strings(&["connect", "--identity", "alice.key", "--peer", "bob", &serve.address])),
        (
            "a short fingerprint",
            strings(&["connect", "--identity", "alice.key", "--peer", "SHA256:abc", &serve.address]),
        ),
        ("no port", connect("alice.key", "127.0.0.1", &[])),
        ("nobody listens", connect("alice.key", &closed, &[])),
        ("nobody answers", connect("alice.key", &silent, &["--timeout", "1"])),
        ("an HTTP server", connect("alice.key", &http, &[])),
        ("an SSH server", connect("alice.key", &ssh, &[])),
        ("a TLS server", connect("alice.key", &tls, &[])),
        ("another context", connect("alice.key", &other_context.address, &[])),
        ("another peer", strings(&["connect", "--identity", "alice.key", "--peer", "alice.key.pub", &serve.address])),
        ("not trusted", connect("bob.key", &other_context.address, &["--context", "app/1"])),
        ("another service", connect("alice.key", &serve.address, &["--service", "web"])),
        ("a service with a space", connect("alice.key", &serve.address, &["--service", "a b"])),
        ("nothing to do", strings(&["serve", "--identity", "bob.key", "--trust", "trust", "--listen", "127.0.0.1:0"])),
        (
            "a bad trust file",
            strings(&["serve", "--identity", "bob.key", "--trust", "bad-trust", "--listen", "127.0.0.1:0", "--echo"]),
        ),
        (
            "no trust file",
            strings(&["serve", "--identity", "bob.key", "--trust", "none", "--listen", "127.0.0.1:0", "--echo"]),
        ),
        (
            "a port in use",
            strings(&["serve", "--identity", "bob.key", "--trust", "trust", "--listen", &serve.address, "--echo"]),
        ),
        ("a number that is none", strings(&["demo", "--bytes", "many"])),
    ];
    let mut transcript = String::new();
    for (what, args) in commands {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = house.run(&args);
        let _ = writeln!(transcript, "# {what}\n$ countersign {}", args.join(" "));
        let _ = writeln!(transcript, "{}{}exit {}\n", text(&output.stdout), text(&output.stderr), code(&output));
    }
    golden("mistakes.txt", &plain(&transcript));
}

/// The help, word for word.
#[test]
fn help_word_for_word() {
    let house = House::empty();
    let mut transcript = String::new();
    for command in ["", "keygen", "id", "serve", "connect", "inspect", "demo"] {
        let args: Vec<&str> = [command, "--help"].into_iter().filter(|arg| !arg.is_empty()).collect();
        let output = house.command(&args).env("COLUMNS", "100").output().expect("run");
        assert_eq!(code(&output), 0);
        let _ = writeln!(transcript, "$ countersign {}\n{}", args.join(" "), text(&output.stdout));
    }
    golden("help.txt", &transcript);
}

fn golden(name: &str, transcript: &str) {
    let path = Path::new("tests/cmd").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all("tests/cmd").expect("folder");
        fs::write(&path, transcript).expect("written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == transcript, "{} differs; the program says:\n{transcript}", path.display());
}

/// What differs from run to run is replaced: ports, fingerprints and keys.
fn plain(transcript: &str) -> String {
    let mut lines = Vec::new();
    for line in transcript.lines() {
        let words = line.split(' ').map(|word| {
            let (bare, end) = word.split_at(word.trim_end_matches([':', ',', '"', ')', '.']).len());
            let (start, bare) = bare.split_at(bare.len() - bare.trim_start_matches(['"', '(']).len());
            let replaced = match bare {
                bare if bare.starts_with("127.0.0.1:") && bare != "127.0.0.1:0" => "127.0.0.1:PORT",
                bare if bare.starts_with("SHA256:") && bare.len() == 50 => "SHA256:FINGERPRINT",
                bare if bare.starts_with("AAAAC3") => "KEY",
                bare => bare,
            };
            format!("{start}{replaced}{end}")
        });
        lines.push(words.collect::<Vec<_>>().join(" "));
    }
    lines.join("\n") + "\n"
}

/// A server that says something and closes.
fn answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listener");
    let address = listener.local_addr().expect("address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(4).map_while(Result::ok) {
            let mut stream = stream;
            let _ = stream.write_all(answer);
            let _ = stream.read(&mut [0; 256]);
        }
    });
    address
}
