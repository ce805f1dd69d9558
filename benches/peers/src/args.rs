//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::measures::Measure;

/// What to do.
#[derive(Debug)]
pub struct Args {
    /// How often everything is measured.
    pub rounds: usize,
    /// Peers whose name has one of these in it; all if there is none. TCP always.
    pub only: Vec<String>,
    /// What is measured; everything if there is none.
    pub measures: Vec<Measure>,
    /// A little of everything, once.
    pub quick: bool,
    /// Where the results go.
    pub out: PathBuf,
}

/// `None` if help was asked for.
pub fn parse(args: &[String]) -> Result<Option<Args>> {
    let mut parsed = Args {
        rounds: 0,
        only: Vec::new(),
        measures: Vec::new(),
        quick: false,
        out: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/results")),
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (name, attached) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        let mut value = || {
            let value = attached.clone().or_else(|| args.next().cloned());
            value.with_context(|| format!("{name} needs a value; see --help"))
        };
        match name {
            "--rounds" => {
                parsed.rounds = value()?.parse().context("--rounds needs a number")?;
                ensure!(parsed.rounds > 0, "--rounds needs a number above 0");
            }
            "--only" => parsed.only.push(value()?),
            "--measure" => parsed.measures.push(value()?.parse()?),
            "--out" => parsed.out = value()?.into(),
            "--quick" => parsed.quick = true,
            "--help" | "-h" => return Ok(None),
            _ => bail!("there is no option {arg:?}; see --help"),
        }
    }
    if parsed.rounds == 0 {
        parsed.rounds = if parsed.quick { 1 } else { ROUNDS };
    }
    if parsed.measures.is_empty() {
        parsed.measures = Measure::ALL.to_vec();
    }
    Ok(Some(parsed))
}

const ROUNDS: usize = 5;

/// What `--help` says.
pub const HELP: &str = "\
Measures Countersign beside its peers, doing the same work over loopback TCP.

    cargo run --release -- [OPTIONS]

    --rounds N           how often everything is measured, in turn (5; with --quick 1)
    --only TEXT          only peers with TEXT in their name; repeatable; tcp always runs
    --measure NAME       handshake, bulk, small, echo, memory, idle or wire; repeatable; all by default
    --quick              a little of everything, to see that it works; the figures mean little
    --out DIR            where results.json, results.md and the plots go (results/ in this crate)
    --help               this

One worker by hand, which prints a line of JSON:

    peers worker rustls-aws/raw/x25519/aes128 handshake
";
