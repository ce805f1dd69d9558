//! Countersign beside its peers, doing the same work: see README.md.

mod args;
mod catalog;
mod clock;
mod conn;
mod id;
mod machine;
mod measures;
mod memory;
mod output;
mod pair;
mod peers;
mod plot;
mod report;
mod runner;
mod stats;
mod targets;
mod worker;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::machine::Machine;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match begin(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begin(args: &[String]) -> Result<()> {
    if let Some((first, rest)) = args.split_first()
        && first == "worker"
    {
        return worker::main(rest);
    }
    let Some(args) = args::parse(args)? else {
        print!("{}", args::HELP);
        return Ok(());
    };
    let mut machine = Machine::look();
    let mut text = String::new();
    let outcome = runner::run(&args, |outcome| {
        machine.look_again();
        text = output::write(&args, &machine, outcome)?;
        Ok(())
    })?;
    print!("{text}");
    eprintln!("written to {}", args.out.display());
    if !outcome.failures.is_empty() {
        bail!("{} measurements failed:\n{}", outcome.failures.len(), outcome.failures.join("\n"));
    }
    Ok(())
}
