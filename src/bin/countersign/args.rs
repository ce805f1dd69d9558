//! The command line.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use countersign::crypto::suite::Suite;
use countersign::session::Padding;
use countersign::trust::MAX_SUCCESSION_DAYS;

use crate::ca::args::CaArgs;
#[cfg(unix)]
use crate::tunnel::args::TunnelArgs;

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
    #[cfg(unix)]
    Tunnel(Box<TunnelArgs>),
    #[command(subcommand)]
    Trust(TrustCommand),
    Rotate(RotateArgs),
    Inspect(InspectArgs),
    Demo(DemoArgs),
    Bench(BenchArgs),
    Ca(CaArgs),
}

/// Make an identity: FILE (private, readable by you only) and FILE.pub; print the fingerprint. With --network, make a network key.
/// Never overwrites.
#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// Where the private key goes (OpenSSH format); the public line goes to FILE.pub.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Make a network key instead: a secret that all members of a network share, for --network-key. There is no FILE.pub.
    #[arg(long, conflicts_with_all = ["passphrase_file", "ask_passphrase", "comment"])]
    pub network: bool,
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

/// Who we are and how we talk, common to `serve` and `connect`.
#[derive(Clone, Debug, Args)]
pub struct SelfArgs {
    /// Our private key: OpenSSH (ssh-keygen -t ed25519, countersign keygen) or PKCS#8 PEM (openssl genpkey). Or `agent:WHICH`: a key
    /// that stays in the ssh-agent at SSH_AUTH_SOCK; WHICH is its fingerprint `SHA256:...` or its .pub file.
    #[arg(long, value_name = "FILE")]
    pub identity: PathBuf,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// How we talk, whoever we are.
#[derive(Clone, Debug, Args)]
pub struct SettingsArgs {
    /// The passphrase of an encrypted private key is on the first line of this file; without it we ask.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Name of the application, the same on both sides; it keeps applications that use the same keys apart.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub context: String,
    /// Deadline of a handshake, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
    #[command(flatten)]
    pub link: LinkArgs,
}

/// How the connection is made and kept.
#[derive(Clone, Debug, Args)]
pub struct LinkArgs {
    /// A suite that may be used, and no others. May be repeated, most preferred first. Without it all are used, those with a
    /// post-quantum part (X25519MLKEM768) first.
    #[arg(long = "suite", value_name = "NAME")]
    pub suites: Vec<Suite>,
    /// The secret of our network (`countersign keygen --network`), the same file on all sides: who does not have it gets not a
    /// single byte from `serve`.
    #[arg(long, value_name = "FILE")]
    pub network_key: Option<PathBuf>,
    /// Change the key of our direction after N bytes; K, M and G stand for KiB, MiB and GiB [default: 64G].
    #[arg(long, value_name = "N", value_parser = parse_some_bytes)]
    pub rekey_bytes: Option<u64>,
    /// Change the key of our direction after N seconds, with the next thing that we send [default: 900].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=YEAR))]
    pub rekey_seconds: Option<u64>,
    /// Hide the lengths of what we send: none, block:N (a multiple of N bytes), pow2 (a power of two).
    #[arg(long, value_name = "HOW", default_value = "none")]
    pub padding: Padding,
    /// Tell the peer that we are there when we have sent nothing for so long; 0 turns it off.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(0..=YEAR))]
    pub keepalive: u64,
    /// Give up when nothing has come from the peer for so long; 0 turns it off. It has to be longer than the peer's --keepalive.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=YEAR))]
    pub idle_timeout: u64,
}

/// Certificates, beside raw keys or instead of them. Files are watched: changes take effect at once, also on sessions.
#[derive(Clone, Debug, Args)]
pub struct CertArgs {
    /// Present this certificate for our key, and those of its issuers (PEM, ours first, the root left out), instead of the key alone.
    #[arg(long, value_name = "CHAIN.pem")]
    pub cert: Option<PathBuf>,
    #[command(flatten)]
    pub cas: CaFiles,
}

/// CAs and their revocation lists.
#[derive(Clone, Debug, Args)]
pub struct CaFiles {
    /// Trust peers with a certificate that leads to a CA in this file (PEM); see `countersign ca`.
    #[arg(long, value_name = "CA.pem")]
    pub ca: Option<PathBuf>,
    /// A revocation list (PEM or DER) of a CA. May be repeated: with one, every CA of a chain needs one.
    #[arg(long = "crl", value_name = "CRL.pem", requires = "ca")]
    pub crls: Vec<PathBuf>,
    /// What to do when a revocation list is past its next update.
    #[arg(long, value_name = "HOW", default_value = "refuse", requires = "ca")]
    pub stale_crl: Stale,
}

/// What a revocation list is worth when it is out of date.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Stale {
    /// Nobody is accepted before there is a new one; sessions end.
    Refuse,
    /// It is used all the same, with a warning.
    Warn,
}

/// Listen, and let in who is trusted.
#[derive(Debug, Args)]
#[command(after_help = KEYLOG, group = ArgGroup::new("what").required(true).args(["echo", "exec", "once"]))]
#[command(group = ArgGroup::new("whom").required(true).multiple(true).args(["trust", "ca"]))]
pub struct ServeArgs {
    #[command(flatten)]
    pub own: SelfArgs,
    /// Who is let in: a file with a line `ssh-ed25519 AAAA... name` for each, as in authorized_keys, with options such as
    /// `services="db-*"`, `from="10.0.0.0/8"`, `expiry-time="20271231"` or `cert-authority`.
    #[arg(long, value_name = "FILE")]
    pub trust: Option<PathBuf>,
    #[command(flatten)]
    pub cert: CertArgs,
    /// With --ca: let in only peers with such a name in their certificate; `*` stands for any text, as in spiffe://prod/*. May be repeated.
    #[arg(long = "peer-name", value_name = "NAME", requires = "ca")]
    pub peer_names: Vec<String>,
    /// Write what is counted (handshakes, sessions, reloads) to this file, each second if it changes, as Prometheus reads it.
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,
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
    /// COUNTERSIGN_PEER, its public line in COUNTERSIGN_PEER_KEY, its name in our trust file in COUNTERSIGN_PEER_NAME, those in its
    /// certificate in COUNTERSIGN_PEER_NAMES, and COUNTERSIGN_SERVICE, COUNTERSIGN_SESSION, COUNTERSIGN_ADDRESS.
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
#[command(after_help = KEYLOG, group = ArgGroup::new("whom").required(true).multiple(true).args(["peer", "ca", "known_peers"]))]
pub struct ConnectArgs {
    #[command(flatten)]
    pub own: SelfArgs,
    /// Who must answer: a public line `ssh-ed25519 AAAA...`, a .pub file, or a fingerprint `SHA256:...`.
    #[arg(long, value_name = "WHO")]
    pub peer: Option<String>,
    #[command(flatten)]
    pub cert: CertArgs,
    /// With --ca: the name that the peer's certificate must have (DNS name, IP address or URI). By default the host of ADDR if that is a name; for
    /// an IP address any peer that the CA vouches for may answer.
    #[arg(long, value_name = "NAME", requires = "ca")]
    pub peer_name: Option<String>,
    /// Trust on first use, as ssh does: who answers at ADDR is remembered in this file (like known_hosts), and must be the same the next time. A
    /// terminal is asked about a peer that is new.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["peer", "ca"])]
    pub known_peers: Option<PathBuf>,
    /// Remember a peer that is new without asking.
    #[arg(long, requires = "known_peers")]
    pub accept_new: bool,
    /// Hide host names in the file of known peers, as `ssh-keygen -H` does.
    #[arg(long, requires = "known_peers")]
    pub hash_names: bool,
    /// Address and port, such as db.example.org:7000 or [::1]:7000.
    #[arg(value_name = "ADDR")]
    pub address: String,
    /// The service that we want.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub service: String,
    /// Send before the peer has said that it accepts us, which saves a round trip; it delivers what we send only if it does.
    #[arg(long)]
    pub eager: bool,
    /// Say on standard error what happens at each step, and when.
    #[arg(long)]
    pub explain: bool,
}

/// Ask a trust file, a CA or both what they would say.
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    Check(CheckArgs),
}

/// Say whether a peer would be let in, and the rule that decides. Exit code 0: accepted; 3: refused.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whom").required(true).multiple(true).args(["trust", "ca"]))]
#[command(group = ArgGroup::new("peer").required(true).args(["key", "cert"]))]
pub struct CheckArgs {
    /// The trust file.
    #[arg(long, value_name = "FILE")]
    pub trust: Option<PathBuf>,
    #[command(flatten)]
    pub cas: CaFiles,
    /// With --ca: only peers with such a name, as for `serve`. May be repeated.
    #[arg(long = "peer-name", value_name = "NAME", requires = "ca")]
    pub peer_names: Vec<String>,
    /// The peer: its .pub file, or its public line.
    #[arg(long, value_name = "FILE")]
    pub key: Option<String>,
    /// The peer, by the certificate that it presents.
    #[arg(long, value_name = "CHAIN.pem")]
    pub cert: Option<PathBuf>,
    /// The service that it asks for.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub service: String,
    /// The IP address that it calls from.
    #[arg(long, value_name = "IP")]
    pub from: Option<std::net::IpAddr>,
    /// As if we had called it.
    #[arg(long)]
    pub outbound: bool,
    /// As of this time, in seconds since 1970 (UTC), instead of now.
    #[arg(long, value_name = "SECONDS")]
    pub at: Option<u64>,
}

/// Vouch for the key that will follow ours: whoever pinned our key accepts the next one while this certificate is valid. Then serve and connect with
/// --identity NEXT --cert CHAIN.pem.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Our present private key.
    #[arg(long, value_name = "FILE")]
    pub identity: PathBuf,
    /// The passphrase of an encrypted private key is on the first line of this file; without it we ask.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// The .pub file of the next key.
    #[arg(long, value_name = "NEXT.pub")]
    pub next: String,
    /// For how long, from now.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=MAX_SUCCESSION_DAYS))]
    pub days: u64,
    /// Where the certificate goes; replaced if it is there.
    #[arg(long, value_name = "CHAIN.pem")]
    pub out: PathBuf,
}

/// Decode what went over TCP, field by field; with a key log also open what is sealed, and check it all. Exit code 0: all is right.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The bytes that one side sent, from the first on; `-` is standard input.
    pub file: PathBuf,
    /// The bytes that the other side sent. Signatures and confirmations can only be checked with both.
    pub other: Option<PathBuf>,
    /// A key log of this connection, as COUNTERSIGN_KEYLOG writes it.
    #[arg(long, value_name = "FILE")]
    pub keylog: Option<PathBuf>,
    /// The --context of both sides; it is not on the wire.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub context: String,
    /// Show long values whole.
    #[arg(long)]
    pub full: bool,
}

/// Two peers on this machine over real TCP: the handshake step by step, a transfer both ways, and three attacks that fail.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How many bytes go each way; K, M and G stand for KiB, MiB and GiB.
    #[arg(long, value_name = "N", default_value = "1G", value_parser = parse_bytes)]
    pub bytes: u64,
    /// Write what goes over the wire in the first part to PREFIX.initiator and PREFIX.responder, and its secrets to PREFIX.keylog,
    /// for `countersign inspect`.
    #[arg(long, value_name = "PREFIX")]
    pub capture: Option<PathBuf>,
}

/// Measure handshakes, throughput up and down, and latency, as iperf3 does: alone, with both ends in this process over
/// 127.0.0.1 and throwaway keys; or from one machine (--peer) to another (--listen).
#[derive(Debug, Args)]
#[command(override_usage = BENCH_USAGE, after_help = BENCH)]
pub struct BenchArgs {
    /// Our private key, as for `serve` and `connect`.
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Answer the measures of others at this address, until interrupted.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// With --listen, who may measure: a file with a line `ssh-ed25519 AAAA... name` for each, as in authorized_keys.
    #[arg(long, value_name = "FILE")]
    pub trust: Option<PathBuf>,
    /// Who must answer at ADDR: a public line `ssh-ed25519 AAAA...`, a .pub file, or a fingerprint `SHA256:...`.
    #[arg(long, value_name = "WHO")]
    pub peer: Option<String>,
    /// Address and port of a `countersign bench --listen`.
    #[arg(value_name = "ADDR", conflicts_with = "listen")]
    pub address: Option<String>,
    /// How long each of the four measures takes.
    #[arg(long, value_name = "N", default_value_t = 5, conflicts_with = "listen")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// So many handshakes at a time, and so many streams at a time up and down.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "listen")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: u16,
    /// Bytes of one write, up and down; K stands for KiB; at most 64K.
    #[arg(long, value_name = "N", default_value = "64K", value_parser = parse_size, conflicts_with = "listen")]
    pub size: u32,
    /// Print one JSON object instead of a table. Lines while measuring then appear on a terminal only.
    #[arg(long, conflicts_with = "listen")]
    pub json: bool,
    /// Say nothing while measuring.
    #[arg(long, conflicts_with = "listen")]
    pub quiet: bool,
}

fn parse_some_bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text).and_then(|bytes| if bytes == 0 { Err("at least 1".to_string()) } else { Ok(bytes) })
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

/// 4K to 64K.
pub fn parse_buffer(text: &str) -> Result<u32, String> {
    parse_size(text).and_then(|size| if size < 4_096 { Err("at least 4K".to_string()) } else { Ok(size) })
}

fn parse_size(text: &str) -> Result<u32, String> {
    let size = parse_some_bytes(text)?;
    u32::try_from(size).ok().filter(|size| *size <= 1 << 16).ok_or_else(|| "at most 64K".to_string())
}

pub const YEAR: u64 = 365 * 24 * 3_600;

const KEYLOG: &str = "For debugging only: with COUNTERSIGN_KEYLOG=FILE in the environment every secret of every session is appended to FILE, \
for `countersign inspect`. Whoever has that file reads everything.";

const BENCH_USAGE: &str = "countersign bench [OPTIONS]
       countersign bench [OPTIONS] --identity <FILE> --trust <FILE> --listen <ADDR>
       countersign bench [OPTIONS] --identity <FILE> --peer <WHO> <ADDR>";

const BENCH: &str = "The service is `bench`: --listen offers no other. While it measures, deadlines of its own take the place of --idle-timeout. The CPU time is that of this process: of one side with --peer, of \
both ends alone. COUNTERSIGN_KEYLOG is read as by `serve` and `connect`.";

const EXIT_CODES: &str =
    "Exit codes: 0 ok, 1 I/O or protocol failure, 2 usage, 3 the peer is not who we expect or trust, \
4 we were refused, 130 interrupted.

A first try, in two terminals:
  countersign keygen --out alice.key && countersign keygen --out bob.key
  countersign serve --identity bob.key --trust alice.key.pub --listen 127.0.0.1:7000 --echo
  countersign connect --identity alice.key --peer bob.key.pub 127.0.0.1:7000";
