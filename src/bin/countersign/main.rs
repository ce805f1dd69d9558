//! The program: keys, a responder, an initiator, a decoder, and a demonstration that needs nothing set up.
#![forbid(unsafe_code)]

mod args;
mod connect;
mod demo;
mod explain;
mod inspect;
mod keylog;
mod keys;
mod log;
mod own;
mod pipe;
mod report;
mod serve;
mod session;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use report::Report;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Keygen(args) => keys::keygen(&args),
        Command::Id(args) => keys::id(&args),
        Command::Serve(args) => block_on(serve::run(args)),
        Command::Connect(args) => block_on(connect::run(args)),
        Command::Inspect(args) => inspect::run(&args),
        Command::Demo(args) => block_on(demo::run(args)),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(report) => report.print(),
    }
}

/// Runs on two threads, and does not wait at the end for a read of standard input that nobody will satisfy.
fn block_on(future: impl Future<Output = Result<u8, Report>>) -> Result<u8, Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Report::io("can't start", &error))?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}
