//! The command line.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};

/// Mutual authentication and an encrypted stream over TCP: two services that know for certain who is at the other end.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Keygen(KeygenArgs),
    Id(IdArgs),
    Serve(ServeArgs),
    Connect(ConnectArgs),
    Demo(DemoArgs),
}

/// Make an identity: FILE (private, readable by you only) and FILE.pub; print the fingerprint. Never overwrites.
#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// Where the private key goes (OpenSSH format); the public line goes to FILE.pub.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Encrypt the private key with the passphrase on the first line of this file.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Encrypt the private key with a passphrase that is asked for.
    #[arg(long, conflicts_with = "passphrase_file")]
    pub ask_passphrase: bool,
    /// Name at the end of the public line; the name of FILE by default.
    #[arg(long, value_name = "NAME")]
    pub comment: Option<String>,
}

/// Show the public line and fingerprint of a private key, a .pub file or a trust file.
#[derive(Debug, Args)]
pub struct IdArgs {
    /// The key file.
    pub file: PathBuf,
    /// Draw the fingerprint as well, as ssh-keygen does.
    #[arg(long)]
    pub art: bool,
    /// The passphrase of an encrypted private key is on the first line of this file.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// Who we are, common to `serve` and `connect`.
#[derive(Debug, Args)]
pub struct SelfArgs {
    /// Our private key: OpenSSH (ssh-keygen -t ed25519, countersign keygen) or PKCS#8 PEM (openssl genpkey).
    #[arg(long, value_name = "FILE")]
    pub identity: PathBuf,
    /// The passphrase of an encrypted private key is on the first line of this file; without it we ask.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Name of the application, the same on both sides; it keeps applications that use the same keys apart.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub context: String,
    /// Deadline of a handshake, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

/// Listen, and let in who is trusted.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["echo", "exec", "once"]))]
pub struct ServeArgs {
    #[command(flatten)]
    pub own: SelfArgs,
    /// Who is let in: a file with a line `ssh-ed25519 AAAA... name` for each, as in authorized_keys.
    #[arg(long, value_name = "FILE")]
    pub trust: PathBuf,
    /// Address and port, such as 127.0.0.1:7000 or [::]:7000; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    pub listen: String,
    /// A service that is offered; others are refused. May be repeated. Without it any name is let in.
    #[arg(long = "service", value_name = "NAME")]
    pub services: Vec<String>,
    /// Send everything back.
    #[arg(long)]
    pub echo: bool,
    /// Run CMD with `sh -c` for each session, on its standard input and output. It finds the peer's fingerprint in
    /// COUNTERSIGN_PEER, its public line in COUNTERSIGN_PEER_KEY, its name in our trust file in COUNTERSIGN_PEER_NAME, and
    /// COUNTERSIGN_SERVICE, COUNTERSIGN_SESSION, COUNTERSIGN_ADDRESS.
    #[arg(long, value_name = "CMD")]
    pub exec: Option<String>,
    /// Serve one session on our standard input and output, and exit with its status.
    #[arg(long)]
    pub once: bool,
    /// Bound on unfinished handshakes; the oldest gives way.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub max_handshakes: usize,
    /// Bound on unfinished handshakes from one address; its oldest gives way.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_handshakes_per_address: usize,
}

/// Call a peer; our standard input goes to it, what it sends goes to our standard output, as with nc.
#[derive(Debug, Args)]
pub struct ConnectArgs {
    #[command(flatten)]
    pub own: SelfArgs,
    /// Who must answer: a public line `ssh-ed25519 AAAA...`, a .pub file, or a fingerprint `SHA256:...`.
    #[arg(long, value_name = "WHO")]
    pub peer: String,
    /// Address and port, such as db.example.org:7000 or [::1]:7000.
    #[arg(value_name = "ADDR")]
    pub address: String,
    /// The service that we want.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub service: String,
}

/// Two peers on this machine over real TCP: the handshake step by step, a transfer both ways, and three attacks that fail.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How many bytes go each way; K, M and G stand for KiB, MiB and GiB.
    #[arg(long, value_name = "N", default_value = "1G", value_parser = parse_bytes)]
    pub bytes: u64,
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| "expected a number such as 1000000, 64K, 100M or 1G".to_string())?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes <= 1 << 50).ok_or_else(|| "at most 1 PiB".to_string())
}

const EXIT_CODES: &str =
    "Exit codes: 0 ok, 1 I/O or protocol failure, 2 usage, 3 the peer is not who we expect or trust, \
4 we were refused, 130 interrupted.

A first try, in two terminals:
  countersign keygen --out alice.key && countersign keygen --out bob.key
  countersign serve --identity bob.key --trust alice.key.pub --listen 127.0.0.1:7000 --echo
  countersign connect --identity alice.key --peer bob.key.pub 127.0.0.1:7000";
