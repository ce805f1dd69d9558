//! Whom the program trusts, as a person sees it: peers that are met for the first time, keys that change, what a trust file would say, files that are
//! replaced and broken while it runs, and the mistakes that are made with certificates.
#![allow(missing_docs)]
#![cfg(all(unix, feature = "cli"))]

use std::fs;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

mod cmd;

use cmd::{House, PATIENCE, Serve, code, set_mode, text};

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// Runs a command that has to succeed.
fn make(house: &House, args: &[&str]) {
    let made = house.run(args);
    assert!(made.status.success(), "{}", said(&made));
}

fn known<'a>(address: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["connect", "--identity", "alice.key", "--known-peers", "known", address];
    args.extend_from_slice(more);
    args
}

/// Runs the program on a terminal of its own, with these lines typed.
fn on_a_terminal(house: &House, args: &[&str], typed: &str) -> (i32, String) {
    let line: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
    let command = format!("{} {}", env!("CARGO_BIN_EXE_countersign"), line.join(" "));
    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .current_dir(&house.folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("script, of util-linux");
    let mut stdin = child.stdin.take().expect("stdin");
    let typed = typed.to_owned();
    // Typed slowly: what is typed before the question is asked belongs to nobody. The last is the end of input.
    std::thread::spawn(move || {
        use std::io::Write;
        for line in typed.split_inclusive('\n').chain(["\x04"]) {
            sleep(Duration::from_millis(700));
            let _ = stdin.write_all(line.as_bytes());
        }
        sleep(Duration::from_secs(20));
    });
    let output = child.wait_with_output().expect("output");
    (code(&output), text(&output.stdout))
}

/// Met for the first time, without a terminal: refused, with the fingerprint, and the two ways on. With --accept-new it is remembered as ssh remembers it; the
/// next time it is known, and another key there is refused loudly, whatever flag is given.
#[test]
fn first_use() {
    let house = House::new();
    let serve = house.serve(&["--echo"]);
    let fingerprint = text(&house.run(&["id", "bob.key"]).stdout).lines().nth(1).expect("fingerprint").to_owned();
    let unknown = house.run(&known(&serve.address, &[]));
    assert_eq!(code(&unknown), 3);
    let message = text(&unknown.stderr);
    assert!(message.contains(&fingerprint) && message.contains("--accept-new"), "{message}");
    assert!(!house.path("known").exists());
    let accepted = house.run_with(&known(&serve.address, &["--accept-new"]), b"hello");
    assert_eq!((code(&accepted), text(&accepted.stdout)), (0, "hello".into()), "{}", text(&accepted.stderr));
    let again = house.run_with(&known(&serve.address, &[]), b"again");
    assert_eq!((code(&again), text(&again.stdout)), (0, "again".into()), "{}", text(&again.stderr));
    // ssh's own tool finds it.
    let (host, port) = serve.address.rsplit_once(':').expect("a port");
    let found = Command::new("ssh-keygen")
        .args(["-F", &format!("[{host}]:{port}"), "-f"])
        .arg(house.path("known"))
        .output()
        .expect("ssh-keygen");
    assert!(found.status.success(), "{}", said(&found));
    // Somebody else at the same place.
    let listen = serve.address.clone();
    drop(serve);
    let args = ["serve", "--identity", "eve.key", "--trust", "trust", "--listen", listen.as_str(), "--echo"];
    let _eve = house.start(house.command(&args));
    for more in [&[][..], &["--accept-new"]] {
        let changed = house.run(&known(&listen, more));
        assert_eq!(code(&changed), 3);
        let message = text(&changed.stderr);
        let eve = text(&house.run(&["id", "eve.key"]).stdout).lines().nth(1).expect("fingerprint").to_owned();
        for part in ["THE IDENTITY OF THE PEER HAS CHANGED", &fingerprint, &eve, "line 1"] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
    assert!(fs::read_to_string(house.path("known")).expect("file").lines().count() == 1);
}

/// A terminal is asked: it shows fingerprint and picture; yes, no and the fingerprint are understood, and nothing else.
#[test]
fn first_use_on_a_terminal() {
    let house = House::new();
    let serve = house.serve(&["--echo"]);
    let fingerprint = text(&house.run(&["id", "bob.key"]).stdout).lines().nth(1).expect("fingerprint").to_owned();
    let (status, shown) = on_a_terminal(&house, &known(&serve.address, &[]), "no\n");
    assert_eq!(status, 3, "{shown}");
    for part in [fingerprint.as_str(), "+--[ED25519 256]--+", "yes, no, or the fingerprint"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!house.path("known").exists());
    let (status, shown) = on_a_terminal(&house, &known(&serve.address, &["--hash-names"]), "maybe\nyes\n");
    assert!(shown.contains("Please type"), "{shown}");
    assert_eq!(status, 0, "{shown}");
    let line = fs::read_to_string(house.path("known")).expect("file");
    assert!(line.starts_with("|1|") && !line.contains("127.0.0.1"), "{line}");
    fs::remove_file(house.path("known")).expect("removed");
    let (status, shown) = on_a_terminal(&house, &known(&serve.address, &[]), &format!("{fingerprint}\n"));
    assert_eq!(status, 0, "{shown}");
    assert!(house.path("known").exists());
}

/// A key that vouches for the next: who pinned it goes on, by --peer, by a trust file and by known peers, whose file then has the new key.
#[test]
fn rotation() {
    let house = House::new();
    let serve = house.serve(&["--echo"]);
    let address = serve.address.clone();
    assert_eq!(code(&house.run_with(&known(&address, &["--accept-new"]), b"x")), 0);
    drop(serve);
    for (old, next) in [("bob", "bob2"), ("alice", "alice2")] {
        house.run(&["keygen", "--out", &format!("{next}.key")]);
        let rotated = house.run(&[
            "rotate",
            "--identity",
            &format!("{old}.key"),
            "--next",
            &format!("{next}.key.pub"),
            "--out",
            &format!("{next}.pem"),
        ]);
        assert_eq!(code(&rotated), 0, "{}", said(&rotated));
        assert!(text(&rotated.stdout).contains("vouches for"), "{}", said(&rotated));
    }
    let same = house.run(&["rotate", "--identity", "bob.key", "--next", "bob.key.pub", "--out", "x.pem"]);
    assert_eq!(code(&same), 2, "{}", said(&same));
    let args =
        ["serve", "--identity", "bob2.key", "--cert", "bob2.pem", "--trust", "trust", "--listen", &address, "--echo"];
    let serve = house.start(house.command(&args));
    // By the pinned key, itself by its next key with the trust file that names the old one.
    let args = ["connect", "--identity", "alice2.key", "--cert", "alice2.pem", "--peer", "bob.key.pub", &address];
    let echoed = house.run_with(&args, b"rotated");
    assert_eq!((code(&echoed), text(&echoed.stdout)), (0, "rotated".into()), "{}", text(&echoed.stderr));
    assert!(serve.next_line().contains("(alice)"));
    let before = fs::read_to_string(house.path("known")).expect("file");
    let echoed = house.run_with(&known(&address, &[]), b"known");
    assert_eq!((code(&echoed), text(&echoed.stdout)), (0, "known".into()), "{}", text(&echoed.stderr));
    assert!(text(&echoed.stderr).contains("has the new key now"), "{}", text(&echoed.stderr));
    let after = fs::read_to_string(house.path("known")).expect("file");
    let new = fs::read_to_string(house.path("bob2.key.pub")).expect("line");
    let new = new.split(' ').nth(1).expect("key");
    assert!(!before.contains(new) && after.contains(new), "{after}");
    drop(serve);
    // The certificate alone does not make a stranger known.
    let args =
        ["serve", "--identity", "eve.key", "--cert", "bob2.pem", "--trust", "trust", "--listen", &address, "--echo"];
    let stolen = house.run(&args);
    assert_eq!(code(&stolen), 1);
    assert!(text(&stolen.stderr).contains("the certificate is for the key"), "{}", text(&stolen.stderr));
}

/// What a trust file would say, and by which line.
#[test]
fn what_a_trust_file_says() {
    let house = House::new();
    let line = |name: &str| fs::read_to_string(house.path(&format!("{name}.key.pub"))).expect("line");
    let trust = format!(
        "# who may do what\nservices=\"db-*,!db-secret\",from=\"10.0.0.0/8\" {}expiry-time=\"20200101\" {}",
        line("alice"),
        line("eve")
    );
    fs::write(house.path("trust"), trust).expect("written");
    let check = |key: &str, more: &[&str]| {
        let mut args = vec!["trust", "check", "--trust", "trust", "--key", key];
        args.extend_from_slice(more);
        let checked = house.run(&args);
        (code(&checked), text(&checked.stdout))
    };
    let from = ["--from", "10.1.2.3"];
    for (key, more, status, says) in [
        ("alice.key.pub", vec!["--service", "db-1", from[0], from[1]], 0, "accepted: trust, line 2"),
        ("alice.key.pub", vec!["--service", "db-secret", from[0], from[1]], 3, "line 2: the service \"db-secret\""),
        ("alice.key.pub", vec!["--service", "db-1", "--from", "11.0.0.1"], 3, "line 2: the address 11.0.0.1"),
        ("alice.key.pub", vec!["--service", "db-1"], 3, "line 2:"),
        ("eve.key.pub", vec![], 3, "line 3: expired"),
        ("eve.key.pub", vec!["--at", "1500000000"], 0, "accepted: trust, line 3"),
        ("bob.key.pub", vec![], 3, "no line of trust"),
    ] {
        let (got, output) = check(key, &more);
        assert!(got == status && output.contains(says), "{key} {more:?}: {got} {output}");
    }
    let (_, told) = check("alice.key.pub", &["--service", "x", from[0], from[1]]);
    assert!(told.contains("the service is not available"), "{told}");
    fs::write(house.path("trust"), format!("no-pty {}", line("alice"))).expect("written");
    let unknown = house.run(&["trust", "check", "--trust", "trust", "--key", "alice.key.pub"]);
    assert_eq!(code(&unknown), 1);
    assert!(text(&unknown.stderr).contains("line 1") && text(&unknown.stderr).contains("no-pty"), "{}", said(&unknown));
}

fn wait_for(serve: &Serve, part: &str) -> String {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let line = serve.next_line();
        if line.contains(part) {
            return line;
        }
    }
    panic!("no line with {part:?}");
}

/// A trust file that is broken while the program runs: the old stays in use, it is said once, and it shows in the metrics; mended, it is in use, and the session of who
/// is not in it any more ends, with its own exit code.
#[test]
fn a_broken_trust_file() {
    let house = House::new();
    let serve = house.serve(&["--echo", "--metrics", "metrics"]);
    let args = house.connect("alice.key", "bob.key.pub", &serve.address, &[]);
    let mut live = house
        .command(&args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("connect");
    wait_for(&serve, "accepted");
    replace(&house, "trust", "ssh-ed25519 broken\n");
    let line = wait_for(&serve, "not reloaded");
    assert!(line.contains("trust, line 1") && line.contains("the old stays in use"), "{line}");
    assert_eq!(code(&house.run_with(&args, b"x")), 0);
    wait_for(&serve, "outcome=ok");
    // It is tried again after a second, and not said again.
    sleep(Duration::from_millis(2_500));
    let parts = [
        "countersign_reload_failing{files=\"trust file\"} 1",
        "countersign_reload_failures_total{files=\"trust file\"} 1",
        "countersign_sessions 1",
    ];
    let start = Instant::now();
    // Written each second, by a machine that may be busy.
    loop {
        let metrics = fs::read_to_string(house.path("metrics")).expect("metrics");
        if parts.iter().all(|part| metrics.lines().any(|line| line == *part)) {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{metrics}");
        sleep(Duration::from_millis(100));
    }
    replace(&house, "trust", "# nobody\n");
    let line = serve.next_line();
    assert!(line.starts_with("warning: trust trusts nobody"), "said again: {line}");
    // The session may have ended before it is said that the file is in use.
    let mut lines = [serve.next_line(), serve.next_line()];
    lines.sort();
    let [closed, reloaded] = lines;
    assert!(closed.starts_with("closed") && closed.contains("no longer trusts the peer"), "{closed}");
    assert!(reloaded.starts_with("reloaded trust file"), "{reloaded}");
    let status = live.wait().expect("ended");
    assert_eq!(status.code(), Some(4));
}

fn replace(house: &House, name: &str, content: &str) {
    let new = house.path(&format!("{name}.replacement"));
    fs::write(&new, content).expect("written");
    fs::rename(new, house.path(name)).expect("renamed");
}

/// The mistakes that are made with certificates, each with a message that says what to do.
#[test]
fn mistakes_with_certificates() {
    let house = House::new();
    for args in [
        &["ca", "init", "ca", "--name", "Test CA"][..],
        &["ca", "issue", "ca", "--for", "alice.key.pub", "--dns", "alice.example", "--out", "alice.pem"],
        &["ca", "issue", "ca", "--for", "bob.key.pub", "--dns", "bob.example", "--out", "bob.pem"],
        &["ca", "init", "other", "--name", "Other CA"],
        &["ca", "crl", "other", "--out", "other.crl"],
    ] {
        make(&house, args);
    }
    fs::write(house.path("open.pem"), fs::read(house.path("ca/ca.pem")).expect("pem")).expect("written");
    set_mode(&house.path("open.pem"), 0o666);
    let serve = |more: &[&str]| {
        let mut args = vec!["serve", "--identity", "bob.key", "--listen", "127.0.0.1:0", "--echo"];
        args.extend_from_slice(more);
        let run = house.run(&args);
        (code(&run), text(&run.stderr))
    };
    for (more, status, says) in [
        (&[][..], 2, "--trust"),
        (&["--ca", "missing.pem"], 1, "missing.pem"),
        (&["--ca", "alice.pem"], 1, "not that of a CA"),
        (&["--ca", "bob.key"], 1, "expected the certificate of a CA"),
        (&["--ca", "open.pem"], 1, "chmod o-w"),
        (&["--ca", "ca/ca.pem", "--cert", "alice.pem"], 1, "the certificate is for the key"),
        (&["--ca", "ca/ca.pem", "--cert", "bob.key.pub"], 1, "-----BEGIN CERTIFICATE-----"),
        (&["--ca", "ca/ca.pem", "--cert", "missing.pem"], 1, "missing.pem"),
        (&["--ca", "ca/ca.pem", "--crl", "alice.pem"], 1, "expected a revocation list"),
        (&["--trust", "trust", "--crl", "other.crl"], 2, "--ca"),
        (&["--ca", "ca/ca.pem", "--peer-name", "a b"], 2, "--peer-name"),
    ] {
        let (got, message) = serve(more);
        assert!(got == status && message.contains(says), "{more:?}: {got} {message}");
        assert!(message.contains("try: ") || got == 2, "{more:?} has no advice: {message}");
    }
    // A list of another CA is none of this one: everybody is refused, and the log says why.
    let args = [
        "serve",
        "--identity",
        "bob.key",
        "--cert",
        "bob.pem",
        "--ca",
        "ca/ca.pem",
        "--crl",
        "other.crl",
        "--listen",
        "127.0.0.1:0",
        "--echo",
    ];
    let serve = house.start(house.command(&args));
    let args = ["connect", "--identity", "alice.key", "--cert", "alice.pem", "--ca", "ca/ca.pem", &serve.address];
    let refused = house.run(&args);
    assert_eq!(code(&refused), 4, "{}", said(&refused));
    assert!(wait_for(&serve, "refused").contains("no revocation list of its issuer"), "the log says why");
}

/// Only names that are let in, by pattern.
#[test]
fn names_that_are_let_in() {
    let house = House::new();
    for args in [
        &["ca", "init", "ca", "--name", "Test CA"][..],
        &["ca", "issue", "ca", "--for", "alice.key.pub", "--uri", "spiffe://prod/alice", "--out", "alice.pem"],
        &["ca", "issue", "ca", "--for", "eve.key.pub", "--uri", "spiffe://test/eve", "--out", "eve.pem"],
        &["ca", "issue", "ca", "--for", "bob.key.pub", "--dns", "bob.example", "--out", "bob.pem"],
    ] {
        make(&house, args);
    }
    let args = [
        "serve",
        "--identity",
        "bob.key",
        "--cert",
        "bob.pem",
        "--ca",
        "ca/ca.pem",
        "--peer-name",
        "spiffe://prod/*",
        "--listen",
        "127.0.0.1:0",
        "--exec",
        "printf '%s' \"$COUNTERSIGN_PEER_NAMES\"",
    ];
    let serve = house.start(house.command(&args));
    for (who, status, output) in [("alice", 0, "spiffe://prod/alice"), ("eve", 4, "")] {
        let (key, pem) = (format!("{who}.key"), format!("{who}.pem"));
        let args = [
            "connect",
            "--identity",
            &key,
            "--cert",
            &pem,
            "--ca",
            "ca/ca.pem",
            "--peer-name",
            "bob.example",
            &serve.address,
        ];
        let run = house.run(&args);
        assert_eq!((code(&run), text(&run.stdout)), (status, output.into()), "{}", text(&run.stderr));
    }
    let line = wait_for(&serve, "refused");
    assert!(line.contains("spiffe://prod/*"), "{line}");
}
