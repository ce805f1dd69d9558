//! How the tests run the program: a folder with keys, processes, and an end to those that hang.
#![allow(dead_code)]

#[cfg(unix)]
pub mod tunnel;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign");
/// Ends a test that hangs; nothing is measured by it.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub struct House {
    pub folder: TempDir,
}

impl House {
    /// A folder with the keys of alice, bob and eve, and bob's trust file, which names alice.
    pub fn new() -> Self {
        watchdog();
        let house = House { folder: TempDir::new().expect("folder") };
        for name in ["alice", "bob", "eve"] {
            let made = house.run(&["keygen", "--out", &format!("{name}.key")]);
            assert!(made.status.success(), "{made:?}");
        }
        fs::copy(house.path("alice.key.pub"), house.path("trust")).expect("trust file");
        house
    }

    /// An empty folder.
    pub fn empty() -> Self {
        watchdog();
        House { folder: TempDir::new().expect("folder") }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(args)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .env("NO_COLOR", "1")
            .env_remove("SSH_AUTH_SOCK");
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("run")
    }

    pub fn run_with(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("run");
        let mut stdin = child.stdin.take().expect("stdin");
        let input = input.to_vec();
        // A program that stops reading early is one of the things that are tested.
        std::thread::spawn(move || drop(stdin.write_all(&input)));
        child.wait_with_output().expect("output")
    }

    pub fn serve(&self, args: &[&str]) -> Serve {
        let mut all = vec!["serve", "--identity", "bob.key", "--trust", "trust"];
        all.extend_from_slice(args);
        if !args.contains(&"--listen") {
            all.extend_from_slice(&["--listen", "127.0.0.1:0"]);
        }
        self.start(self.command(&all))
    }

    /// Starts a `serve`, and waits until it listens.
    pub fn start(&self, mut command: Command) -> Serve {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("serve");
        let stderr = BufReader::new(child.stderr.take().expect("stderr"));
        let (lines, log) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        let mut first: String = log.recv_timeout(PATIENCE).expect("a first line");
        if first.starts_with("warning: ") {
            first = log.recv_timeout(PATIENCE).expect("a second line");
        }
        let address = first.strip_prefix("listening on ").unwrap_or_else(|| panic!("{first}")).to_string();
        let stdin = child.stdin.take();
        Serve { child, address, log, stdin }
    }

    pub fn connect<'a>(&self, who: &'a str, peer: &'a str, address: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["connect", "--identity", who, "--peer", peer, address];
        args.extend_from_slice(more);
        args
    }
}

pub struct Serve {
    pub child: Child,
    pub address: String,
    pub log: Receiver<String>,
    pub stdin: Option<ChildStdin>,
}

impl Serve {
    pub fn next_line(&self) -> String {
        self.log.recv_timeout(PATIENCE).expect("a line in the log")
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.expect("kill").success());
    }

    /// Most memory that was resident at any time, in KiB.
    pub fn peak_kib(&self) -> u64 {
        peak_kib(self.child.id()).expect("still running")
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn peak_kib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

pub fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Ends the process if a test hangs: children that wait for each other would wait for ever.
fn watchdog() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        std::thread::spawn(|| {
            std::thread::sleep(3 * PATIENCE);
            eprintln!("a test of the program hangs");
            std::process::exit(1);
        });
    });
}

pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
}
