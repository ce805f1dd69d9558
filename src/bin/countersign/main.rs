//! The program: keys, a responder, an initiator, a tunnel, a decoder, a CA, and a demonstration that needs nothing set up.
#![forbid(unsafe_code)]

mod args;
mod bench;
mod ca;
mod certificates;
mod check;
mod connect;
mod demo;
mod exec;
mod explain;
mod inspect;
mod keylog;
mod keys;
mod known;
mod log;
mod metrics;
mod own;
mod pipe;
mod report;
mod rotate;
mod serve;
mod session;
#[cfg(unix)]
mod tunnel;
mod watch;
mod whom;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, TrustCommand};
use report::Report;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Keygen(args) => keys::keygen(&args),
        Command::Id(args) => keys::id(&args),
        Command::Serve(args) => block_on(FEW_THREADS, serve::run(args)),
        Command::Connect(args) => block_on(FEW_THREADS, connect::run(args)),
        #[cfg(unix)]
        Command::Tunnel(args) => {
            let inherited = tunnel::Inherited::take();
            block_on(None, tunnel::run(*args, inherited))
        }
        Command::Trust(TrustCommand::Check(args)) => block_on(FEW_THREADS, check::run(args)),
        Command::Rotate(args) => rotate::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Demo(args) => block_on(FEW_THREADS, demo::run(args)),
        Command::Bench(args) => block_on(None, bench::run(args)),
        Command::Ca(args) => ca::run(&args),
    };
    log::finish();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(report) => report.print(),
    }
}

/// Runs on so many threads, or on one for each core, and does not wait at the end for a read of standard input that nobody
/// will satisfy.
fn block_on(threads: Option<usize>, future: impl Future<Output = Result<u8, Report>>) -> Result<u8, Report> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    let runtime = builder.enable_all().build().map_err(|error| Report::io("can't start", &error))?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}

const FEW_THREADS: Option<usize> = Some(2);
