//! What the program does with the protocol: suites, network keys, rekeys, padding, keepalives, key logs, `inspect`, ssh-agents. Real processes over
//! 127.0.0.1.
#![allow(missing_docs)]
#![cfg(all(unix, feature = "cli"))]

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

mod cmd;

use cmd::{House, Serve, code, set_mode, text};

const SUITES: [&str; 4] = [
    "X25519_ChaCha20Poly1305_SHA256",
    "X25519MLKEM768_ChaCha20Poly1305_SHA256",
    "X25519_AES256GCM_SHA256",
    "X25519MLKEM768_AES256GCM_SHA256",
];

fn call(house: &House, serve: &Serve, more: &[&str], input: &[u8]) -> Output {
    house.run_with(&house.connect("alice.key", "bob.key.pub", &serve.address, more), input)
}

fn network_key(house: &House, name: &str) {
    let made = house.run(&["keygen", "--network", "--out", name]);
    assert_eq!(code(&made), 0, "{}", text(&made.stderr));
}

/// Bytes that are not all alike.
fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 11).to_le_bytes()[0]).collect()
}

/// Somebody on the path, who writes down what went by: initiator, responder.
struct Tap {
    address: String,
    seen: [Arc<Mutex<Vec<u8>>>; 2],
}

impl Tap {
    fn new(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listener");
        let address = listener.local_addr().expect("address").to_string();
        let seen: [Arc<Mutex<Vec<u8>>>; 2] = Default::default();
        let (notes, target) = (seen.clone(), target.to_string());
        std::thread::spawn(move || {
            let (near, _) = listener.accept().expect("call");
            let far = TcpStream::connect(target).expect("target");
            let [there, back] = notes;
            let ends = (far.try_clone().expect("clone"), near.try_clone().expect("clone"));
            std::thread::spawn(move || forward(near, ends.0, &there));
            forward(far, ends.1, &back);
        });
        Tap { address, seen }
    }

    /// Writes two files, `tap.i` and `tap.r`.
    fn save(&self, house: &House) {
        for (seen, name) in self.seen.iter().zip(["tap.i", "tap.r"]) {
            fs::write(house.path(name), &*seen.lock().expect("lock")).expect("written");
        }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, seen: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 65_536];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        seen.lock().expect("lock").extend_from_slice(&buffer[..len]);
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Every suite by its name; the responder's preference decides; without one in common both are told what to do.
#[test]
fn suites() {
    let house = House::new();
    let serve = house.serve(&["--echo"]);
    for suite in SUITES {
        let echoed = call(&house, &serve, &["--suite", suite, "--explain"], b"x");
        let said = text(&echoed.stderr);
        assert_eq!((code(&echoed), text(&echoed.stdout)), (0, "x".into()), "{said}");
        assert!(said.contains(&format!("suite           {suite}")), "{said}");
    }
    let picky = house.serve(&["--echo", "--suite", SUITES[2], "--suite", SUITES[0]]);
    let said = text(&call(&house, &picky, &["--explain"], b"").stderr);
    assert!(said.contains(&format!("suite           {}", SUITES[2])), "{said}");
    assert!(picky.next_line().starts_with("accepted") && picky.next_line().starts_with("closed"));
    let refused = call(&house, &picky, &["--suite", SUITES[1], "--suite", SUITES[3]], b"");
    let said = text(&refused.stderr);
    assert!(
        code(&refused) == 4 && said.contains("no cipher suite in common") && said.contains("compare --suite"),
        "{said}"
    );
    let line = picky.next_line();
    assert!(
        line.starts_with("failed") && line.contains("no cipher suite") && line.contains("compare --suite"),
        "{line}"
    );
}

/// Both sides have the network key, one has, or each has another.
#[test]
fn network_keys() {
    let house = House::new();
    network_key(&house, "ours.net");
    network_key(&house, "theirs.net");
    let made = fs::read_to_string(house.path("ours.net")).expect("key");
    assert_eq!(fs::metadata(house.path("ours.net")).expect("file").permissions().mode() & 0o777, 0o600);
    assert!(!house.path("ours.net.pub").exists());
    let again = house.run(&["keygen", "--network", "--out", "third.net"]);
    let third = fs::read_to_string(house.path("third.net")).expect("key");
    assert_ne!(third, made);
    assert!(!text(&again.stdout).contains(third.split_whitespace().nth(1).expect("base64")));
    let serve = house.serve(&["--echo", "--network-key", "ours.net"]);
    let echoed = call(&house, &serve, &["--network-key", "ours.net"], b"inside");
    assert_eq!((code(&echoed), text(&echoed.stdout)), (0, "inside".into()), "{}", text(&echoed.stderr));
    assert!(serve.next_line().starts_with("accepted") && serve.next_line().starts_with("closed"));
    // Who is inside and not trusted is told so.
    let eve = house.run(&house.connect("eve.key", "bob.key.pub", &serve.address, &["--network-key", "ours.net"]));
    assert_eq!(code(&eve), 4, "{}", text(&eve.stderr));
    assert!(serve.next_line().starts_with("refused"));
    for outside in [&["--timeout", "1"][..], &["--timeout", "1", "--network-key", "theirs.net"]] {
        let silence = call(&house, &serve, outside, b"");
        let said = text(&silence.stderr);
        assert!(
            code(&silence) == 1 && said.contains("waiting for HELLO_REPLY") && said.contains("--network-key"),
            "{said}"
        );
        let line = serve.next_line();
        assert!(line.starts_with("failed") && line.contains("does not know the network key"), "{line}");
    }
    let open = house.serve(&["--echo"]);
    let refused = call(&house, &open, &["--network-key", "ours.net"], b"");
    let said = text(&refused.stderr);
    assert!(
        code(&refused) == 4 && said.contains("has no network key") && said.contains("leave --network-key out"),
        "{said}"
    );
    let line = open.next_line();
    assert!(line.contains("uses a network key") && line.contains("--network-key"), "{line}");
    set_mode(&house.path("ours.net"), 0o640);
    let refused = call(&house, &open, &["--network-key", "ours.net"], b"");
    assert!(code(&refused) == 1 && text(&refused.stderr).contains("0640"), "{}", text(&refused.stderr));
}

/// Who has not the network key gets not a single byte, whatever it sends, until the deadline. [NK-3] [NK-4]
#[test]
fn silence() {
    let house = House::new();
    network_key(&house, "ours.net");
    network_key(&house, "theirs.net");
    let serve = house.serve(&["--echo", "--network-key", "ours.net", "--timeout", "1"]);
    let hello = |options: &[&str]| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listener");
        let address = listener.local_addr().expect("address").to_string();
        let mut args = house.connect("alice.key", "bob.key.pub", &address, &["--timeout", "1"]);
        args.extend_from_slice(options);
        let mut child = house.command(&args).stderr(Stdio::null()).spawn().expect("connect");
        let mut hello = Vec::new();
        let (mut stream, _) = listener.accept().expect("call");
        let mut header = [0; 4];
        stream.read_exact(&mut header).expect("header");
        hello.extend_from_slice(&header);
        hello.resize(4 + usize::from(header[2]) * 256 + usize::from(header[3]), 0);
        stream.read_exact(&mut hello[4..]).expect("hello");
        let _ = child.kill();
        let _ = child.wait();
        hello
    };
    let mut altered = hello(&["--network-key", "ours.net"]);
    altered[20] ^= 1;
    let attempts: Vec<Vec<u8>> = vec![
        Vec::new(),
        hello(&[]),
        hello(&["--network-key", "theirs.net"]),
        altered,
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xC1, 0xFF, 0xFF, 0xFF],
        vec![0xC5, 0, 0, 17],
        vec![0xC6, 0, 0, 1, 5],
        noise(30_000),
    ];
    let threads: Vec<_> = attempts
        .into_iter()
        .map(|bytes| {
            let address = serve.address.clone();
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(address).expect("connected");
                stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
                let began = Instant::now();
                stream.write_all(&bytes).expect("written");
                let mut got = Vec::new();
                let end = stream.read_to_end(&mut got);
                (bytes, got, end.map_err(|error| error.kind()), began.elapsed())
            })
        })
        .collect();
    for thread in threads {
        let (sent, got, end, took) = thread.join().expect("attempt");
        let what = &sent[..sent.len().min(8)];
        assert!(got.is_empty(), "{what:02x?}: {got:02x?} came back");
        assert_eq!(end, Ok(0), "{what:02x?}");
        assert!(took > Duration::from_millis(900) && took < Duration::from_secs(10), "{what:02x?}: {took:?}");
    }
}

/// Keys change every 20,000 bytes, both ways, padded, with a key log: everything arrives, and `inspect` follows all of it.
#[test]
fn rekeys_and_padding_as_inspect_sees_them() {
    let house = House::new();
    let options = ["--rekey-bytes", "20000", "--padding", "block:1000", "--context", "app/1"];
    let serve = house.serve(&[&["--echo"][..], &options].concat());
    let tap = Tap::new(&serve.address);
    let input = noise(3 << 20);
    let mut command = house.command(&house.connect("alice.key", "bob.key.pub", &tap.address, &options));
    command.env("COUNTERSIGN_KEYLOG", "keys").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("connect");
    let mut stdin = child.stdin.take().expect("stdin");
    let sent = input.clone();
    std::thread::spawn(move || drop(stdin.write_all(&sent)));
    let echoed = child.wait_with_output().expect("output");
    let said = text(&echoed.stderr);
    assert!(code(&echoed) == 0 && echoed.stdout == input, "{said}");
    assert!(
        said.starts_with("warning: COUNTERSIGN_KEYLOG is set: every secret of every session goes to keys"),
        "{said}"
    );
    assert_eq!(fs::metadata(house.path("keys")).expect("key log").permissions().mode() & 0o777, 0o600);
    tap.save(&house);
    for order in [["tap.i", "tap.r"], ["tap.r", "tap.i"]] {
        let all = house.run(&["inspect", order[0], order[1], "--keylog", "keys", "--context", "app/1"]);
        let shown = text(&all.stdout);
        assert_eq!(code(&all), 0, "{}", shown.lines().filter(|line| line.contains("WRONG")).collect::<String>());
        assert!(shown.contains("ok: signature_i is by SHA256:") && shown.contains("ok: confirm_r is right"));
        assert!(shown.contains(&format!("{} bytes of data", input.len())));
        let changes = shown.lines().filter_map(|line| line.strip_suffix(" changes of key")?.split(' ').next_back());
        let changes: Vec<u32> = changes.map(|number| number.parse().expect("number")).collect();
        assert!(changes.len() == 2 && changes.iter().all(|changes| *changes >= 10), "{changes:?}");
        // Content and padding are whole blocks, in every record that fits.
        let bodies = shown.lines().filter(|line| line.contains("RECORD frame"));
        let bodies = bodies.filter_map(|line| line.split("body ").nth(1)?.parse::<usize>().ok());
        assert!(bodies.into_iter().all(|body| (body - 19) % 1_000 == 0));
        for line in fs::read_to_string(house.path("keys")).expect("key log").lines() {
            assert!(!shown.contains(line.split(' ').next_back().expect("secret")));
        }
    }
    let other = house.run(&["inspect", "tap.i", "tap.r", "--keylog", "keys"]);
    assert!(code(&other) == 1 && text(&other.stdout).contains("WRONG: confirm_r is wrong"));
    let half = house.run(&["inspect", "tap.i", "--keylog", "keys"]);
    assert!(code(&half) == 0 && text(&half.stdout).contains("which need both directions"));
    let closed = house.run(&["inspect", "tap.i", "tap.r"]);
    assert!(code(&closed) == 0 && text(&closed.stdout).contains("not opened"));
    let mut cut = fs::read(house.path("tap.i")).expect("capture");
    cut.truncate(cut.len() - 3);
    let cut = house.run_with(&["inspect", "-", "tap.r", "--keylog", "keys", "--context", "app/1"], &cut);
    assert!(code(&cut) == 1 && text(&cut.stdout).contains("WRONG: stops at byte"));
}

/// Eager data arrives where it is accepted; a refusal shows with its reason where it is not.
#[test]
fn eager() {
    let house = House::new();
    let serve = house.serve(&["--echo"]);
    for input in [noise(5), noise(3 << 20), Vec::new()] {
        let echoed = call(&house, &serve, &["--eager"], &input);
        assert!(code(&echoed) == 0 && echoed.stdout == input, "{}", text(&echoed.stderr));
        let refused = house.run_with(&house.connect("eve.key", "bob.key.pub", &serve.address, &["--eager"]), &input);
        let said = text(&refused.stderr);
        assert!(code(&refused) == 4 && said.contains("the key is not trusted") && refused.stdout.is_empty(), "{said}");
    }
    let wrong = house.run(&house.connect("alice.key", "eve.key.pub", &serve.address, &["--eager"]));
    assert_eq!(code(&wrong), 3, "{}", text(&wrong.stderr));
}

/// Each step in its order; where it fails, at which stage and on whose side.
#[test]
fn explain() {
    let house = House::new();
    let serve = house.serve(&["--echo"]);
    let bob = text(&house.run(&["id", "bob.key"]).stdout).lines().nth(1).expect("fingerprint").to_string();
    let said = text(&call(&house, &serve, &["--explain"], b"x").stderr);
    let steps = [
        "looking up",
        "the name is 127.0.0.1",
        "TCP is connected",
        "sent HELLO, 1270 bytes",
        SUITES[0],
        "waiting for HELLO_REPLY",
        "received",
        "waiting for AUTH_R",
        &bob,
        "our trust accepts",
        "signature",
        "sent AUTH_I, 1044 bytes",
        "waiting for VERDICT",
        "received 22 bytes",
        "the peer accepts us",
        "suite",
        "session",
        "channel binding",
        "round trips",
        "in all",
    ];
    let mut rest = said.as_str();
    for step in steps {
        rest = rest.split_once(step).unwrap_or_else(|| panic!("{step} is missing, or not in order:\n{said}")).1;
    }
    assert!(serve.next_line().starts_with("accepted"));
    let eager = text(&call(&house, &serve, &["--explain", "--eager"], b"x").stderr);
    assert!(eager.contains("not waiting for the verdict (--eager)"), "{eager}");
    let refused = house.run(&house.connect("eve.key", "bob.key.pub", &serve.address, &["--explain"]));
    let said = text(&refused.stderr);
    assert!(said.contains("FAILED at VERDICT; at fault: this side, says the peer; ") && code(&refused) == 4, "{said}");
    let wrong = house.run(&house.connect("alice.key", "eve.key.pub", &serve.address, &["--explain"]));
    let said = text(&wrong.stderr);
    assert!(said.contains("FAILED at AUTH_R; at fault: the peer, or who plays it; ") && code(&wrong) == 3, "{said}");
}

/// A key log is for its owner only, is appended to, and both sides may share it.
#[test]
fn key_logs() {
    let house = House::new();
    let mut command =
        house.command(&["serve", "--identity", "bob.key", "--trust", "trust", "--listen", "127.0.0.1:0", "--echo"]);
    command.env("COUNTERSIGN_KEYLOG", "keys");
    let serve = house.start(command);
    for round in 1..=2 {
        assert_eq!(code(&call(&house, &serve, &[], b"x")), 0);
        let log = fs::read_to_string(house.path("keys")).expect("key log");
        for label in ["HS_R ", "HS_I ", "CONFIRM_R ", "CONFIRM_I ", "TRAFFIC_R_0 ", "TRAFFIC_I_0 "] {
            assert_eq!(log.lines().filter(|line| line.starts_with(label)).count(), round, "{label}");
        }
    }
    set_mode(&house.path("keys"), 0o644);
    let args = house.connect("alice.key", "bob.key.pub", &serve.address, &[]);
    let refused = house.command(&args).env("COUNTERSIGN_KEYLOG", "keys").output().expect("run");
    let said = text(&refused.stderr);
    assert!(code(&refused) == 1 && said.contains("0644") && said.contains("chmod 600"), "{said}");
    let refused = house.command(&args).env("COUNTERSIGN_KEYLOG", "none/keys").output().expect("run");
    assert!(code(&refused) == 1 && text(&refused.stderr).contains("key log none/keys"), "{}", text(&refused.stderr));
}

/// The demonstration's capture is all right, and is not overwritten.
#[test]
fn a_captured_demonstration() {
    let house = House::empty();
    let shown = house.run(&["demo", "--bytes", "1K", "--capture", "cap"]);
    assert_eq!(code(&shown), 0, "{}", text(&shown.stderr));
    let all = house.run(&["inspect", "cap.initiator", "cap.responder", "--keylog", "cap.keylog", "--full"]);
    let said = text(&all.stdout);
    assert!(
        code(&all) == 0 && said.contains("everything that could be checked is ok") && said.contains("REKEY"),
        "{said}"
    );
    assert!(
        said.contains("ok: signature_r") && said.contains("ok: signature_i") && !said.contains("not checked"),
        "{said}"
    );
    let again = house.run(&["demo", "--bytes", "1K", "--capture", "cap"]);
    assert!(code(&again) == 1 && text(&again.stderr).contains("not overwritten"), "{}", text(&again.stderr));
}

/// Idle sessions live longer than the idle timeout as long as somebody sends keepalives; also one that is half closed, and one whose command
/// is silent.
#[test]
fn idle_sessions_live() {
    let house = House::new();
    let short = ["--keepalive", "1", "--idle-timeout", "2"];
    let slow = house.serve(&[&["--exec", "cat >/dev/null; sleep 5; echo done"][..], &short].concat());
    let echo = house.serve(&[&["--echo"][..], &short].concat());
    let args = house.connect("alice.key", "bob.key.pub", &slow.address, &short);
    std::thread::scope(|scope| {
        // Our direction ends at once: we send nothing more, and the other side must neither miss it nor be missed.
        let half_closed = scope.spawn(|| house.run_with(&args, b"x"));
        // Nothing is typed for a while.
        let args = house.connect("alice.key", "bob.key.pub", &echo.address, &short);
        let mut child = house.command(&args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("connect");
        std::thread::sleep(Duration::from_secs(5));
        child.stdin.take().expect("stdin").write_all(b"late").expect("written");
        let echoed = child.wait_with_output().expect("output");
        assert_eq!((code(&echoed), text(&echoed.stdout)), (0, "late".into()));
        let done = half_closed.join().expect("call");
        assert_eq!((code(&done), text(&done.stdout)), (0, "done\n".into()), "{}", text(&done.stderr));
    });
}

/// A command that has closed its output and runs on is no reason to be silent.
#[test]
fn a_command_that_says_nothing_more() {
    let house = House::new();
    let serve = house.serve(&["--exec", "exec >&-; sleep 4", "--keepalive", "1"]);
    let ended = call(&house, &serve, &["--idle-timeout", "2"], b"");
    assert_eq!((code(&ended), text(&ended.stdout)), (0, String::new()), "{}", text(&ended.stderr));
}

/// A silent peer is given up, and told; either side says what to do.
#[test]
fn silent_peers_are_given_up() {
    let house = House::new();
    let mute = house.serve(&["--exec", "sleep 30", "--keepalive", "0", "--timeout", "5"]);
    let strict = house.serve(&["--echo", "--idle-timeout", "1"]);
    let began = Instant::now();
    let given_up = call(&house, &mute, &["--idle-timeout", "1"], b"");
    let said = text(&given_up.stderr);
    assert!(code(&given_up) == 1 && said.contains("nothing came from the peer within the idle timeout"), "{said}");
    assert!(said.contains("at fault: the network between") && said.contains("--keepalive"), "{said}");
    let args = house.connect("alice.key", "bob.key.pub", &strict.address, &["--keepalive", "0"]);
    let mut command = house.command(&args);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("connect");
    // Held open, and nothing said.
    let stdin = child.stdin.take();
    let mut said = String::new();
    child.stderr.take().expect("stderr").read_to_string(&mut said).expect("text");
    assert_eq!(child.wait().expect("exit").code(), Some(1), "{said}");
    assert!(said.contains("our --keepalive on and shorter"), "{said}");
    drop(stdin);
    assert!(strict.next_line().starts_with("accepted"));
    assert!(strict.next_line().contains("within the idle timeout"));
    assert!(began.elapsed() < Duration::from_secs(20));
}

/// An ssh-agent that ends with the test.
struct Agent {
    process: std::process::Child,
    socket: String,
}

impl Agent {
    fn start(house: &House) -> Self {
        let socket = house.path("agent.sock").display().to_string();
        let mut command = Command::new("ssh-agent");
        command.args(["-D", "-a", &socket]).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("ssh-agent");
        let began = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "the ssh-agent does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        Agent { process, socket }
    }

    fn add(&self, house: &House, name: &str) {
        let added = house.command(&[]).get_current_dir().map(|folder| {
            Command::new("ssh-add").arg(name).current_dir(folder).env("SSH_AUTH_SOCK", &self.socket).output()
        });
        let added = added.expect("folder").expect("ssh-add");
        assert!(added.status.success(), "{}", text(&added.stderr));
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Both sides' keys are in a real ssh-agent; the key files are gone.
#[test]
fn keys_in_an_ssh_agent() {
    let house = House::new();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "carol", "-f"])
        .arg(house.path("carol"))
        .output();
    assert!(made.expect("ssh-keygen").status.success());
    fs::copy(house.path("carol.pub"), house.path("trust")).expect("trust");
    let mut agent = Agent::start(&house);
    let with_agent = |args: &[&str]| {
        let mut command = house.command(args);
        command.env("SSH_AUTH_SOCK", &agent.socket);
        command
    };
    for name in ["carol", "bob.key"] {
        agent.add(&house, name);
    }
    fs::remove_file(house.path("carol")).expect("removed");
    let serve_args =
        ["serve", "--identity", "agent:bob.key.pub", "--trust", "trust", "--listen", "127.0.0.1:0", "--echo"];
    let serve = house.start(with_agent(&serve_args));
    let shown = text(&house.run(&["id", "carol.pub"]).stdout);
    let fingerprint = shown.lines().nth(1).expect("fingerprint").to_string();
    for who in [format!("agent:{fingerprint}"), "agent:carol.pub".to_string()] {
        let args = house.connect(&who, "bob.key.pub", &serve.address, &[]);
        let done = with_agent(&args).output().expect("run");
        assert_eq!(code(&done), 0, "{}", text(&done.stderr));
        assert!(serve.next_line().contains(&fingerprint));
        assert!(serve.next_line().starts_with("closed"));
    }
    let args = house.connect("agent:eve.key.pub", "bob.key.pub", &serve.address, &[]);
    let missing = with_agent(&args).output().expect("run");
    let said = text(&missing.stderr);
    assert!(code(&missing) == 1 && said.contains(&fingerprint) && said.contains("ssh-add"), "{said}");
    let socket = agent.socket.clone();
    agent.stop();
    let args = house.connect("agent:carol.pub", "bob.key.pub", &serve.address, &[]);
    let gone = house.command(&args).env("SSH_AUTH_SOCK", socket).output().expect("run");
    let said = text(&gone.stderr);
    assert!(code(&gone) == 1 && said.contains("no ssh-agent answers") && said.contains("ssh-agent)"), "{said}");
    // The responder's agent died while it ran: both sides hear of it.
    let late = house.run(&house.connect("eve.key", "bob.key.pub", &serve.address, &[]));
    let said = text(&late.stderr);
    assert!(
        code(&late) == 1 && said.contains("at fault: the peer, as it says") && said.contains("ssh-agent"),
        "{said}"
    );
    let line = serve.next_line();
    assert!(line.starts_with("failed") && line.contains("did not sign: no ssh-agent answers"), "{line}");
    assert!(line.contains("fault=\"this machine\""), "{line}");
}
