//! Commands that are run for a session, as inetd does: the session is their standard input and output, and the environment says who calls.

use std::process::Stdio;

use countersign::Stream;
use tokio::net::TcpStream;
use tokio::process::Command;

/// The command for a session, with its standard input and output piped; `from` is the peer's address.
pub fn prepare(command: &str, stream: &Stream<TcpStream>, from: &str) -> Command {
    let peer = stream.peer();
    let names: Vec<String> = peer.names().iter().map(ToString::to_string).collect();
    let mut prepared = Command::new("sh");
    prepared
        .args(["-c", command])
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
    prepared
}
