//! The guides in docs/, run as a person follows them: every command in a block of `sh`, in order, in one empty
//! folder, with the real ssh-keygen and openssl.
//!
//! * A command has to end with 0, or with what a comment behind it says: `# exit 3`.
//! * A block of `text` behind one of `sh` is what the block prints. `...` stands for anything within a line, and
//!   alone in a line for any lines.
//! * `countersign serve ... &` and `countersign tunnel ... &` are left alone once they say that they listen. `grep` is repeated until it finds
//!   something, as a person would do.
//! * Ports of the form 70xx are replaced by free ones.
#![allow(missing_docs)]
#![cfg(unix)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use tempfile::TempDir;

#[test]
fn trust() {
    follow("trust.md", include_str!("../docs/trust.md"));
}

/// `mv -T` is not everywhere.
#[test]
#[cfg(target_os = "linux")]
fn fleet() {
    follow("fleet.md", include_str!("../docs/fleet.md"));
}

/// Needs python3 and curl: a service, and who uses it.
#[test]
fn operations() {
    follow("operations.md", include_str!("../docs/operations.md"));
}

/// What can be checked of the files in contrib/ without the software that they are for: the syntax of scripts, that of YAML
/// where Python has it, and that `serve` has the options of the sidecar.
#[test]
fn contrib() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib");
    let folders = fs::read_dir(&root).expect("contrib").map(|entry| entry.expect("entry").path());
    let files: Vec<PathBuf> = folders
        .flat_map(|folder| fs::read_dir(folder).expect("folder"))
        .map(|entry| entry.expect("entry").path())
        .collect();
    let run = |program: &str, args: &[&str]| Command::new(program).args(args).output();
    let has_yaml = run("python3", &["-c", "import yaml"]).is_ok_and(|output| output.status.success());
    for file in &files {
        let name = file.to_str().expect("a name");
        let checked = match file.extension().and_then(|kind| kind.to_str()) {
            Some("sh") => run("sh", &["-n", name]),
            Some("yaml") if has_yaml => {
                run("python3", &["-c", "import sys, yaml; list(yaml.safe_load_all(open(sys.argv[1])))", name])
            }
            _ => continue,
        };
        let checked = checked.expect("run");
        assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
    }
    let tunnel = fs::read_to_string(root.join("systemd/tunnel.toml")).expect("tunnel.toml");
    checked_configuration(&tunnel);
    let help = run(env!("CARGO_BIN_EXE_countersign"), &["serve", "--help"]).expect("help").stdout;
    let help = String::from_utf8(help).expect("text");
    let sidecar = fs::read_to_string(root.join("kubernetes/sidecar.yaml")).expect("sidecar");
    let options = sidecar.lines().filter_map(|line| line.trim().strip_prefix("- --")?.split('=').next());
    let missing: Vec<&str> = options.filter(|option| !help.contains(&format!("--{option} "))).collect();
    assert!(missing.is_empty() && files.len() > 5, "{missing:?}");
}

/// The example for systemd is a configuration, with files of our own in the place of those that it names.
fn checked_configuration(tunnel: &str) {
    let folder = TempDir::new().expect("folder");
    let program = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_countersign")).args(args).current_dir(&folder).output().expect("run")
    };
    assert!(program(&["keygen", "--out", "identity"]).status.success());
    fs::copy(folder.path().join("identity.pub"), folder.path().join("trust")).expect("trust");
    let ours = tunnel
        .replace("/etc/countersign/identity", "identity")
        .replace("/etc/countersign/trust", "trust")
        .replace("ssh-ed25519 AAAA...", "identity.pub");
    fs::write(folder.path().join("tunnel.toml"), ours).expect("configuration");
    let checked = program(&["tunnel", "--config", "tunnel.toml", "--check"]);
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.contains("ok, 2 tunnels"), "{said}");
}

/// What stands between two fences.
#[derive(Debug, Default)]
struct Block {
    line: usize,
    commands: Vec<String>,
    expected: Option<String>,
}

fn follow(name: &str, guide: &str) {
    let blocks = blocks(&with_free_ports(guide));
    assert!(!blocks.is_empty(), "{name}: no commands");
    let mut shell = Shell::start();
    for block in blocks {
        let mut printed = String::new();
        for command in &block.commands {
            let (output, code) = shell.run(command);
            let expected = exit_code(command);
            let place = format!("docs/{name}, block at line {}: {command}", block.line);
            assert_eq!(code, expected, "{place}\n{output}\n{}", shell.logs());
            printed.push_str(&output);
        }
        if let Some(expected) = &block.expected {
            let lines = |text: &str| text.lines().map(String::from).collect::<Vec<_>>();
            let same = lines_match(&lines(expected), &lines(&printed));
            assert!(same, "docs/{name}, line {}: expected\n{expected}\nprinted\n{printed}", block.line);
        }
    }
}

/// The blocks of `sh`, each with the block of `text` that follows.
fn blocks(guide: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut fence: Option<(&str, String, usize)> = None;
    // Whether the last block that ended was one of commands.
    let mut after_commands = false;
    for (number, line) in guide.lines().enumerate() {
        match (&mut fence, line.strip_prefix("```")) {
            (None, Some(kind)) => fence = Some((kind, String::new(), number + 1)),
            (Some((_, text, _)), None) => writeln!(text, "{line}").expect("text"),
            (Some((kind, text, at)), Some(_)) => {
                if *kind == "sh" {
                    blocks.push(Block { line: *at, commands: commands(text), expected: None });
                } else if *kind == "text" && after_commands {
                    blocks.last_mut().expect("commands").expected = Some(text.clone());
                }
                after_commands = *kind == "sh";
                fence = None;
            }
            (None, None) => {}
        }
    }
    blocks
}

/// One for each line that does not go on: a backslash at its end, `do` and `<<'EOF'` do so.
fn commands(text: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut open = false;
    // What ends the lines that belong together.
    let mut end: Option<&str> = None;
    for line in text.lines() {
        if !open && (line.trim().is_empty() || line.starts_with('#')) {
            continue;
        }
        match commands.last_mut().filter(|_| open) {
            Some(command) => write!(command, "\n{line}").expect("text"),
            None => commands.push(line.to_string()),
        }
        end = match end {
            None if line.contains("<<'EOF'") => Some("EOF"),
            None if line.ends_with("; do") => Some("done"),
            end => end.filter(|end| line != *end),
        };
        open = end.is_some() || line.ends_with('\\');
    }
    commands
}

fn exit_code(command: &str) -> i32 {
    command.rsplit_once("# exit ").map_or(0, |(_, code)| code.trim().parse().expect("an exit code"))
}

fn lines_match(expected: &[String], printed: &[String]) -> bool {
    match (expected.split_first(), printed.split_first()) {
        (None, None) => true,
        (Some((line, rest)), _) if line == "..." => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]))
        }
        (Some((line, rest)), Some((other, others))) => line_matches(line, other) && lines_match(rest, others),
        _ => false,
    }
}

fn line_matches(expected: &str, line: &str) -> bool {
    let mut parts = expected.split("...").peekable();
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    true
}

/// Ports below those that the system gives away by itself, so that no other test gets them.
fn with_free_ports(guide: &str) -> String {
    let mut guide = guide.to_string();
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = || 20_000 + (std::process::id() * 16 + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
    let mut free = std::iter::repeat_with(|| u16::try_from(next()).expect("a port"))
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let mut ports = HashMap::new();
    for port in 7_000..7_100 {
        // Behind a colon or a blank, and not within another number.
        for before in [":", "http.server "] {
            let shown = format!("{before}{port}");
            if guide.contains(&shown) {
                let port = ports.entry(port).or_insert_with(|| free.next().expect("a free port"));
                guide = guide.replace(&shown, &format!("{before}{port}"));
            }
        }
    }
    guide
}

/// One shell for the whole guide, so that variables stay; its folder, and another for what the test notes.
struct Shell {
    shell: Child,
    folder: TempDir,
    notes: TempDir,
    count: usize,
    deadline: Instant,
}

impl Shell {
    fn start() -> Self {
        let (folder, notes) = (TempDir::new().expect("folder"), TempDir::new().expect("notes"));
        let program = Path::new(env!("CARGO_BIN_EXE_countersign")).parent().expect("folder").to_path_buf();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(std::iter::once(program).chain(env::split_paths(&path))).expect("PATH");
        let shell = Command::new("sh")
            .current_dir(&folder)
            .env("PATH", path)
            .env("NO_COLOR", "1")
            .env("LC_ALL", "C")
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own, with all that it starts: that is what is ended at the end.
            .process_group(0)
            .spawn()
            .expect("sh");
        Shell { shell, folder, notes, count: 0, deadline: Instant::now() + WHOLE }
    }

    /// What the command prints on both outputs, and its exit code.
    fn run(&mut self, command: &str) -> (String, i32) {
        let repeats = command.starts_with("grep ");
        let until = Instant::now() + PATIENCE;
        loop {
            let (output, code) = self.run_once(command);
            if !repeats || code == exit_code(command) || Instant::now() > until {
                return (output, code);
            }
            thread::sleep(PAUSE);
        }
    }

    fn run_once(&mut self, command: &str) -> (String, i32) {
        self.count += 1;
        let note = |what: &str| self.notes.path().join(format!("{}.{what}", self.count));
        let (script, output, code) = (note("sh"), note("out"), note("code"));
        fs::write(&script, format!("{command}\n")).expect("script");
        let stdin = self.shell.stdin.as_mut().expect("stdin");
        let (script, shown, noted) = (script.display(), output.display(), code.display());
        writeln!(stdin, "{{ . {script}; }} </dev/null >{shown} 2>&1; echo $? >{noted}.new; mv {noted}.new {noted}")
            .expect("the shell is there");
        stdin.flush().expect("flushed");
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let until = Instant::now() + PATIENCE;
        self.wait(until, command, |_| code.exists().then_some(()));
        let starts = ["countersign serve", "countersign tunnel"].iter().any(|start| command.contains(start));
        let serves = starts && command.trim_end().ends_with('&');
        if serves {
            let log = command.rsplit_once("2>").and_then(|(_, rest)| rest.split_whitespace().next());
            let log = log.map_or(output.clone(), |log| self.folder.path().join(log));
            self.wait(until, command, |_| read(&log).contains("listening").then_some(()));
        }
        (read(&output), read(&code).trim().parse().expect("a code"))
    }

    fn wait<T>(&mut self, until: Instant, command: &str, done: impl Fn(&mut Self) -> Option<T>) -> T {
        loop {
            if let Some(done) = done(self) {
                return done;
            }
            let ended = self.shell.try_wait().expect("the shell");
            let late = Instant::now() > until.min(self.deadline);
            assert!(ended.is_none() && !late, "{command}: it does not end; shell: {ended:?}\n{}", self.logs());
            thread::sleep(PAUSE);
        }
    }

    /// What the servers said.
    fn logs(&self) -> String {
        let files = fs::read_dir(&self.folder).expect("folder").map(|entry| entry.expect("entry").path());
        let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|kind| kind == "log")).collect();
        files.sort();
        let shown = files.iter().map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            format!("--- {name}\n{}", fs::read_to_string(path).unwrap_or_default())
        });
        shown.collect()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let group = format!("-{}", self.shell.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.shell.wait();
    }
}

/// Nothing is measured by these; they end what hangs.
const WHOLE: Duration = Duration::from_secs(300);
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// The ways to match and to split, without which the rest means nothing.
#[test]
fn comparing() {
    for (expected, line, same) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a...", "abc", true),
        ("...c", "abc", true),
        ("a...c...e", "abcde", true),
        ("a...x...e", "abcde", false),
        ("a...c", "abcd", false),
        ("...", "", true),
    ] {
        assert_eq!(line_matches(expected, line), same, "{expected} {line}");
    }
    let list = |text: &str| text.lines().map(String::from).collect::<Vec<_>>();
    assert!(lines_match(&list("a\n...\nc"), &list("a\nb\nb\nc")));
    assert!(lines_match(&list("...\nc"), &list("c")));
    assert!(!lines_match(&list("a\n...\nc"), &list("a\nb")) && !lines_match(&list("a"), &list("a\nb")));
    let text = "# no\na \\\n  b # exit 3\n\ncat >f <<'EOF'\n# yes\n\nEOF\nfor x in y; do\n  z\ndone\nc\n";
    let expected = ["a \\\n  b # exit 3", "cat >f <<'EOF'\n# yes\n\nEOF", "for x in y; do\n  z\ndone", "c"];
    assert_eq!(commands(text), expected);
    assert_eq!([exit_code("a # exit 3"), exit_code("a")], [3, 0]);
    let found = blocks("```sh\nx\n```\nwords\n```text\ny\n```\n```text\nz\n```\n");
    assert_eq!((found.len(), found[0].expected.as_deref()), (1, Some("y\n")));
}
