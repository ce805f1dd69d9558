//! `tunnel`: mutual authentication in front of TCP services that have none.

pub mod args;

mod admin;
mod book;
mod carry;
mod causes;
mod client;
mod failures;
mod file;
mod gone;
mod histogram;
mod limits;
mod manager;
mod metrics;
mod plain;
mod process;
mod running;
mod server;
mod session;
mod sockets;
mod socks;
mod spare;
mod takeover;
mod target;

pub use sockets::Inherited;

use crate::log;
use crate::report::Report;
use args::{Solo, TunnelArgs, TunnelEnd};
use file::{End, Entry, Plan};

/// Runs until it is told to stop.
pub async fn run(args: TunnelArgs, inherited: Inherited) -> Result<u8, Report> {
    let (plan, file) = match (args.end, args.config) {
        (Some(TunnelEnd::Server(solo)), _) => {
            let Solo { tunnel, process } = *solo;
            (only(process, End::Server(Box::new(tunnel))), None)
        }
        (Some(TunnelEnd::Client(solo)), _) => {
            let Solo { tunnel, process } = *solo;
            (only(process, End::Client(Box::new(tunnel))), None)
        }
        (None, Some(file)) => (Plan::read(&file)?, Some(file)),
        (None, None) => return Err(Report::usage("tunnel: expected `server`, `client` or --config FILE")),
    };
    if args.check {
        let tunnels = process::check(plan, file).await?;
        log::line(format!("ok, {tunnels} {}", if tunnels == 1 { "tunnel" } else { "tunnels" }));
        return Ok(0);
    }
    process::run(plan, file, inherited).await
}

fn only(process: args::ProcessArgs, end: End) -> Plan {
    Plan { process, entries: vec![Entry { end, said: Vec::new() }] }
}
