//! The command line of `tunnel`. A table of the configuration file holds the same flags, and is read by the same parser.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::args::{CertArgs, SelfArgs, YEAR, parse_buffer};
use crate::tunnel::target::{Route, parse_service};

/// Put mutual authentication in front of TCP services that have none: `tunnel server` beside the service, `tunnel client` beside who uses it.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, override_usage = USAGE, after_help = HELP)]
pub struct TunnelArgs {
    #[command(subcommand)]
    pub end: Option<TunnelEnd>,
    /// Run all tunnels of a TOML file: tables [[server]] and [[client]], whose keys are the flags without `--`; --admin, --log, --drain and
    /// --takeover are keys at the top.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Read the file and everything that it names, say what is wrong, and exit.
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Subcommand)]
pub enum TunnelEnd {
    /// Let in who is trusted, and hand each session to the service that it asks for.
    Server(Box<Solo<ServerArgs>>),
    /// Take plain connections, and carry each over a session of its own to the server.
    Client(Box<Solo<ClientArgs>>),
}

#[derive(Debug, Args)]
pub struct Solo<A: Args> {
    #[command(flatten)]
    pub tunnel: A,
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// One table of the file, or its top.
#[derive(Debug, Parser)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub struct Table<A: Args> {
    #[command(flatten)]
    pub args: A,
}

/// What a process has once, however many tunnels it runs.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ProcessArgs {
    /// Answer HTTP here: /metrics, /healthz, /sessions, and a status page at /. A loopback address and port, or unix:PATH.
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// How the log is written, a line for each session when it ends.
    #[arg(long, value_name = "HOW", default_value = "text")]
    pub log: LogFormat,
    /// After SIGTERM no connection is taken, and sessions may go on for so long.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=YEAR))]
    pub drain: u64,
    /// At start, take over the listening sockets of the process that has this Unix socket; it drains then. And have it from then on.
    #[arg(long, value_name = "PATH")]
    pub takeover: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `closed session=... peer=... key=value`.
    Text,
    /// An object a line.
    Json,
}

/// Let in who is trusted, and hand each session to the service that it asks for.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("whom").required(true).multiple(true).args(["trust", "ca"]))]
pub struct ServerArgs {
    #[command(flatten)]
    pub own: SelfArgs,
    /// Who is let in: a file as for `serve`; its `services="..."` says to what.
    #[arg(long, value_name = "FILE")]
    pub trust: Option<PathBuf>,
    #[command(flatten)]
    pub cert: CertArgs,
    /// With --ca: let in only peers with such a name in their certificate; `*` stands for any text. May be repeated.
    #[arg(long = "peer-name", value_name = "NAME", requires = "ca")]
    pub peer_names: Vec<String>,
    /// Where sessions come in: an address and port; or `systemd` or `systemd:NAME` for a socket that systemd has opened.
    #[arg(long, value_name = "ADDR")]
    pub listen: String,
    /// A service and where it is: HOST:PORT, unix:PATH, or exec:COMMAND, which is run by `sh -c` for each session, with the session on its standard input
    /// and output, and the environment of `serve --exec`. May be repeated; other services are refused.
    #[arg(long = "route", value_name = "SERVICE=TARGET", required = true)]
    pub routes: Vec<Route>,
    #[command(flatten)]
    pub sessions: SessionArgs,
    /// Bound on the sessions of one peer, which is told `busy` above it; 0: none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_sessions_per_peer: usize,
    /// Bound on unfinished handshakes; the oldest gives way.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub max_handshakes: usize,
    /// Bound on unfinished handshakes from one address; its oldest gives way.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_handshakes_per_address: usize,
    /// Bound on handshakes a second from one address, which is told `busy` above it; 0: none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_handshake_rate: u32,
    /// Begin each connection to a service with a PROXY header that says who calls; v2 also with identity, service and session.
    #[arg(long, value_name = "VERSION")]
    pub proxy_out: Option<ProxyVersion>,
}

/// Take plain connections, and carry each over a session of its own to the server.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("whom").required(true).multiple(true).args(["peer", "ca"]))]
#[command(group = ArgGroup::new("what").required(true).args(["service", "socks"]))]
pub struct ClientArgs {
    #[command(flatten)]
    pub own: SelfArgs,
    /// Who must answer at --target: a public line `ssh-ed25519 AAAA...`, a .pub file, or a fingerprint `SHA256:...`.
    #[arg(long, value_name = "WHO")]
    pub peer: Option<String>,
    #[command(flatten)]
    pub cert: CertArgs,
    /// With --ca: the name that the server's certificate must have; by default the host of --target if that is a name.
    #[arg(long, value_name = "NAME", requires = "ca")]
    pub peer_name: Option<String>,
    /// Where plain connections come in: an address and port, unix:PATH, or `systemd` or `systemd:NAME`. Whoever can connect here acts with our key.
    #[arg(long, value_name = "ADDR")]
    pub listen: String,
    /// Who may connect to a Unix socket, as for chmod.
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = parse_mode)]
    pub socket_mode: u32,
    /// Address and port of the `tunnel server`.
    #[arg(long, value_name = "ADDR")]
    pub target: String,
    /// The service that we want.
    #[arg(long, value_name = "NAME", value_parser = parse_service)]
    pub service: Option<String>,
    /// Speak SOCKS5 to who connects: the host name that is asked for is the service; its port does not matter. Addresses are refused.
    #[arg(long)]
    pub socks: bool,
    /// Keep so many sessions ready, so that a new connection costs no handshake. The service sees them as connections that are idle.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "socks", value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub spare: u16,
    /// Replace a spare session that has not been used for so long.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=YEAR))]
    pub spare_age: u64,
    /// Send before the server has said that it accepts us, which saves a round trip; it delivers what we send only if it does.
    #[arg(long)]
    pub eager: bool,
    #[command(flatten)]
    pub sessions: SessionArgs,
}

/// What both ends of a tunnel say of their sessions.
#[derive(Clone, Debug, Args)]
pub struct SessionArgs {
    /// Name of the tunnel in the log and in the metrics; by default what it listens on.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Bound on sessions at a time; above it new ones are refused as `busy`.
    #[arg(long, value_name = "N", default_value = "10000", value_parser = parse_count)]
    pub max_sessions: usize,
    /// End a session in which no data went either way for so long; 0: never.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=YEAR))]
    pub session_idle: u64,
    /// End a session after so long, whatever it does; 0: never.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=YEAR))]
    pub session_lifetime: u64,
    /// Take so many bytes at a time from the plain side, 4K to 64K. While data waits a session needs at most about three times as much memory, and none of it when it is idle.
    #[arg(long, value_name = "N", default_value = "64K", value_parser = parse_buffer)]
    pub buffer: u32,
    /// Connections from these addresses begin with a PROXY header, version 1, or 2 of up to 2,048 bytes, which says where they come from; a network such as
    /// 10.0.0.0/8 or an address. May be repeated.
    #[arg(long, value_name = "FROM", value_parser = parse_network)]
    pub proxy_in: Vec<IpNet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProxyVersion {
    V1,
    V2,
}

/// At least one.
fn parse_count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "expected a number, at least 1".to_string())
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "expected a mode such as 600 or 660".to_string())
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse().ok().map(|address: std::net::IpAddr| IpNet::from(address));
    text.parse().ok().or_else(address).ok_or_else(|| "expected an address or a network such as 10.0.0.0/8".to_string())
}

const USAGE: &str = "countersign tunnel server [OPTIONS] --listen <ADDR> --identity <FILE> --trust <FILE> --route <SERVICE=TARGET>
       countersign tunnel client [OPTIONS] --listen <ADDR> --identity <FILE> --peer <WHO> --target <ADDR> --service <NAME>
       countersign tunnel --config <FILE> [--check]";

const HELP: &str = "Signals: SIGHUP reads configuration, keys and trust again (files are watched as well); no session is lost. SIGTERM or SIGINT drains; a second one \
ends at once. Exit code 0: it was told to stop, or was replaced. See docs/operations.md.";
