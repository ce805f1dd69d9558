//! Commands that are run for a session, as inetd does: the session is their standard input and output, and the environment says who calls.

use std::process::Stdio;
use std::sync::OnceLock;

use countersign::Stream;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// How many descriptors commands may have, where we have raised our own limit.
static DESCRIPTORS: OnceLock<u64> = OnceLock::new();

/// Sets how many descriptors commands may have.
#[cfg(unix)]
pub fn set_descriptors(most: u64) {
    let _ = DESCRIPTORS.set(most);
}

/// The command for a session, with its standard input and output piped; `from` is the peer's address.
pub fn prepare(command: &str, stream: &Stream<TcpStream>, from: &str) -> Command {
    let peer = stream.peer();
    let names: Vec<String> = peer.names().iter().map(ToString::to_string).collect();
    let mut prepared = Command::new("sh");
    let limited = DESCRIPTORS.get().map(|most| format!("ulimit -S -n {most}; {command}"));
    prepared
        .args(["-c", limited.as_deref().unwrap_or(command)])
        .env("COUNTERSIGN_PEER", peer.public_key().fingerprint().to_string())
        .env("COUNTERSIGN_PEER_KEY", peer.public_key().to_string())
        .env("COUNTERSIGN_PEER_NAME", peer.name().unwrap_or_default())
        .env("COUNTERSIGN_PEER_NAMES", names.join(" "))
        .env("COUNTERSIGN_SERVICE", stream.service())
        .env("COUNTERSIGN_SESSION", stream.session_id().to_string())
        .env("COUNTERSIGN_ADDRESS", from)
        // What systemd said to us is not for it.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("LISTEN_FDNAMES")
        .env_remove("WATCHDOG_USEC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    // A group of its own, so that all that the shell starts can be ended.
    #[cfg(unix)]
    prepared.process_group(0);
    prepared
}

/// What a command has started, ended when dropped unless the command has ended by itself: to none of them a cut may look like an end.
#[derive(Debug)]
pub struct Group(Option<u32>);

impl Group {
    pub fn of(child: &Child) -> Self {
        Group(child.id())
    }

    /// As [`Group::leave`], if nobody is left in it: its number may be another's now.
    #[cfg(unix)]
    pub fn leave_if_empty(&mut self) {
        use rustix::process::{Pid, test_kill_process_group};
        let leader = self.0.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if leader.is_none_or(|leader| test_kill_process_group(leader).is_err()) {
            self.leave();
        }
    }

    /// The command has ended; what it left running is its own affair.
    pub fn leave(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    #[cfg(unix)]
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process_group};
        let leader = self.0.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(leader) = leader {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }

    #[cfg(not(unix))]
    fn drop(&mut self) {}
}
