//! `countersign ca` that is killed at any moment: what got out is on record, and what was said stays true.
#![allow(missing_docs)]
#![cfg(all(unix, feature = "cli"))]

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

mod cmd;

#[path = "cmd/ca.rs"]
mod ca;

use ca::{issue, list, ok, openssl_ok, verify, with_ca};
use cmd::{House, code, text};

/// What has to hold however often a command was killed.
struct Witness {
    /// Every list that was ever seen, by its number.
    lists: BTreeMap<u64, Vec<u8>>,
    /// Certificates that were said to be revoked.
    revoked: Vec<String>,
}

impl Witness {
    fn new() -> Self {
        Witness { lists: BTreeMap::new(), revoked: Vec::new() }
    }

    /// What a command printed that may have been killed.
    fn heard(&mut self, stdout: &str) {
        let done = stdout.lines().filter_map(|line| line.strip_prefix("revoked "));
        self.revoked.extend(done.filter_map(|line| line.split(' ').next()).map(str::to_string));
    }

    fn check(&mut self, house: &House, outs: &[String]) {
        let listed: BTreeMap<String, String> = list(house)
            .iter()
            .map(|row| (row["serial"].as_str().expect("serial").into(), row["state"].as_str().expect("state").into()))
            .collect();
        for out in outs.iter().filter(|out| house.path(out).exists()) {
            let chain = fs::read(house.path(out)).expect("chain");
            let serial = openssl_ok(house, &["x509", "-in", out, "-noout", "-serial"]).trim().to_lowercase();
            let serial = serial.strip_prefix("serial=").expect("serial").to_string();
            assert!(listed.contains_key(&serial), "{out} got out, and is not on record");
            let record = fs::read(house.path(&format!("ca/issued/{serial}.pem"))).expect("record");
            assert_eq!(record, chain, "{out}");
        }
        for serial in &self.revoked {
            assert_eq!(listed.get(serial).map(String::as_str), Some("revoked"), "{serial} was said to be revoked");
        }
        for list in ["ca/ca.crl", "list.crl"] {
            let Ok(content) = fs::read(house.path(list)) else { continue };
            let number = openssl_ok(house, &["crl", "-in", list, "-CAfile", "ca/ca.pem", "-noout", "-crlnumber"]);
            let number =
                number.lines().find_map(|line| line.strip_prefix("crlNumber=0x")).expect("a number").to_string();
            let number = u64::from_str_radix(&number, 16).expect("hex");
            let before = self.lists.insert(number, content.clone());
            assert!(before.is_none_or(|before| before == content), "two lists have the number {number}");
        }
    }

    /// At the end everything works, nothing is left over, and the next list has a number of its own.
    fn finish(mut self, house: &House, outs: &[String]) {
        self.check(house, outs);
        let highest = self.lists.keys().next_back().copied().unwrap_or(0);
        ok(house, &["ca", "crl", "ca", "--out", "list.crl"]);
        self.check(house, outs);
        assert!(self.lists.keys().next_back().is_some_and(|number| *number > highest));
        let list_text = openssl_ok(house, &["crl", "-in", "list.crl", "-noout", "-text"]);
        self.revoked.iter().for_each(|serial| assert!(list_text.contains(&serial.to_uppercase()), "{serial}"));
        for out in outs.iter().filter(|out| house.path(out).exists()) {
            verify(house, out);
        }
        for folder in ["ca", "ca/issued"] {
            let left = fs::read_dir(house.path(folder)).expect("folder").map(|entry| entry.expect("entry").file_name());
            let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with('.')).collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

/// Commands are killed after random times, a hundred times and more: whatever got out is on record, whatever was said
/// is still true, and no number of a list is used twice.
#[test]
fn killed_at_random() {
    let house = with_ca();
    let seed = 0xCA_0001;
    println!("seed {seed:#x}");
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let start = Instant::now();
    ok(&house, &issue("alice.key.pub", "0.pem", &["--dns", "a.example"]));
    let whole = u64::try_from(start.elapsed().as_micros()).expect("short").clamp(1_000, 100_000);
    let outs: Vec<String> = (0..6).map(|index| format!("{index}.pem")).collect();
    let mut witness = Witness::new();
    let mut killed = 0;
    for round in 0..160 {
        let out = outs[random.next_u32() as usize % outs.len()].as_str();
        let args = match random.next_u32() % 5 {
            2 if house.path(out).exists() => vec!["ca", "renew", "ca", out],
            3 if house.path(out).exists() => vec!["ca", "revoke", "ca", out, "--reason", "superseded"],
            4 => vec!["ca", "crl", "ca", "--out", "list.crl"],
            _ => issue("alice.key.pub", out, &["--dns", "a.example"]),
        };
        let mut command = house.command(&args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started");
        std::thread::sleep(Duration::from_micros(random.next_u64() % (whole + whole / 4)));
        let _ = child.kill();
        let output = child.wait_with_output().expect("exit");
        killed += usize::from(output.status.code().is_none());
        witness.heard(&text(&output.stdout));
        if round % 4 == 0 {
            witness.check(&house, &outs);
        }
    }
    println!("{killed} of 160 were killed before their end");
    witness.finish(&house, &outs);
}

/// The same at every system call that changes or syncs a file, one after the other; and with an error of the disk in
/// the place of the end. Where strace can do it.
#[test]
fn ended_at_every_step() {
    let house = with_ca();
    if !strace_works() {
        return;
    }
    ok(&house, &issue("alice.key.pub", "0.pem", &["--dns", "a.example"]));
    let outs = ["0.pem".to_string(), "1.pem".to_string()];
    let mut witness = Witness::new();
    for args in COMMANDS {
        for (call, error) in [("write", "ENOSPC"), ("fsync", "EIO"), ("/^rename", "EACCES")] {
            let mut run = |what: &str, when: usize| {
                if args[1] == "revoke" {
                    ok(&house, &issue("alice.key.pub", "0.pem", &["--dns", "a.example"]));
                }
                let inject = format!("inject={call}:{what}:when={when}");
                let output = strace(&house, &["-e", &format!("trace={call}"), "-e", &inject], args);
                witness.heard(&text(&output.stdout));
                witness.check(&house, &outs);
                output
            };
            let last = (1..100).find(|when| run("signal=SIGKILL", *when).status.success());
            let last = last.unwrap_or_else(|| panic!("{args:?} never succeeds"));
            println!("{} {call}: {} steps", args[1], last - 1);
            for when in 1..last {
                let output = run(&format!("error={error}"), when);
                let told = text(&output.stderr);
                // Who holds the lock is written for people, and may be missing.
                assert!(
                    code(&output) == 1 || (code(&output), call, when) == (0, "write", 1),
                    "{args:?} {when}: {told}"
                );
                assert!(code(&output) == 0 || told.starts_with("error: "), "{args:?} {when}: {told}");
            }
        }
    }
    witness.finish(&house, &outs);
}

/// What SIGKILL can't show: a file is synced before it takes its name, and the folder after that, before anything else
/// is written or said.
#[test]
fn synced_in_order() {
    let house = with_ca();
    if !strace_works() {
        return;
    }
    ok(&house, &issue("alice.key.pub", "0.pem", &["--dns", "a.example"]));
    for args in [&["ca", "init", "new", "--name", "N"][..]].into_iter().chain(COMMANDS) {
        let output = strace(&house, &["-e", "trace=write,fsync,/^rename"], args);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        let trace = fs::read_to_string(house.path("trace")).expect("trace");
        let calls: Vec<&str> =
            trace.lines().filter_map(|line| line.split('(').next()?.split(' ').next_back()).collect();
        let mut renames = 0;
        for (index, _) in calls.iter().enumerate().filter(|(_, call)| call.starts_with("rename")) {
            assert_eq!((calls[index - 1], calls[index + 1]), ("fsync", "fsync"), "{args:?}: {trace}");
            renames += 1;
        }
        assert!(renames >= 2, "{args:?}: {trace}");
    }
}

const COMMANDS: [&[&str]; 4] = [
    &["ca", "issue", "ca", "--for", "alice.key.pub", "--out", "1.pem"],
    &["ca", "renew", "ca", "0.pem"],
    &["ca", "revoke", "ca", "0.pem"],
    &["ca", "crl", "ca", "--out", "list.crl"],
];

fn strace_works() -> bool {
    let able = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    let able = able.is_ok_and(|output| output.status.success());
    if !able {
        println!("there is no strace here that works: only killed_at_random looks at this");
    }
    able
}

fn strace(house: &House, options: &[&str], args: &[&str]) -> Output {
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "trace"]).args(options);
    command.arg(env!("CARGO_BIN_EXE_countersign")).args(args).current_dir(&house.folder).stdin(Stdio::null());
    command.output().expect("strace")
}

/// `init` that is killed leaves a CA, or a directory in which it can be done again, or one of which it says what to do.
#[test]
fn init_is_killed() {
    let house = House::new();
    let seed = 0xCA_0002;
    println!("seed {seed:#x}");
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let init = ["ca", "init", "ca", "--name", "N"];
    let start = Instant::now();
    ok(&house, &["ca", "init", "first", "--name", "N"]);
    let whole = u64::try_from(start.elapsed().as_micros()).expect("short").clamp(1_000, 100_000);
    let (mut done, mut again, mut stopped) = (0, 0, 0);
    for _ in 0..80 {
        let mut child = house.command(&init).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
        std::thread::sleep(Duration::from_micros(random.next_u64() % whole));
        let _ = child.kill();
        child.wait().expect("exit");
        let second = house.run(&init);
        let told = text(&second.stderr);
        if code(&second) == 0 {
            again += 1;
        } else if told.contains("is a CA already") {
            done += 1;
        } else {
            assert!(told.contains("has a ca.key and no ca.pem") && told.contains("remove the directory"), "{told}");
            stopped += 1;
            fs::remove_dir_all(house.path("ca")).expect("removed");
            ok(&house, &init);
        }
        ok(&house, &issue("alice.key.pub", "alice.pem", &[]));
        verify(&house, "alice.pem");
        fs::remove_dir_all(house.path("ca")).expect("removed");
    }
    println!("{done} were done, {again} could be done again, {stopped} had to be removed first");
}
