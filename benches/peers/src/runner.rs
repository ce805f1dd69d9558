//! Starts a worker for each measurement: round by round, everybody in turn.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::args::Args;
use crate::catalog::ids;
use crate::id::{Family, Id};
use crate::measures::{Figures, Measure};
use crate::worker::from_json;

/// The figures of all rounds, by measure and peer. A round in which a worker failed has none.
pub type Samples = BTreeMap<(Measure, Id), Vec<Option<Figures>>>;

/// What came of it.
pub struct Outcome {
    pub samples: Samples,
    /// What workers failed, and why.
    pub failures: Vec<String>,
}

/// Measures all that was asked for. What there is so far is saved after each round.
pub fn run(args: &Args, mut save: impl FnMut(&Outcome) -> Result<()>) -> Result<Outcome> {
    let mut plan = Vec::new();
    for measure in &args.measures {
        let mut chosen = ids(*measure)?;
        chosen.retain(|id| is_chosen(id, &args.only));
        plan.push((*measure, chosen));
    }
    let anybody = plan.iter().any(|(_, ids)| ids.iter().any(|id| is_named(id, &args.only)));
    ensure!(args.only.is_empty() || anybody, "nobody has {} in its name who is measured so", args.only.join(" or "));
    let has = |family| plan.iter().any(|(_, ids)| ids.iter().any(|id| id.family == family));
    let programs = Programs::new(has(Family::CountersignPure))?;
    let mut outcome = Outcome { samples: Samples::new(), failures: Vec::new() };
    for round in 0..args.rounds {
        for (measure, ids) in plan.iter().filter(|(measure, _)| round < measure.max_rounds()) {
            eprintln!("round {} of {}: {measure}", round + 1, args.rounds.min(measure.max_rounds()));
            // Whoever comes first in one round comes later in the next.
            let start = round * 7 % ids.len().max(1);
            for id in ids.iter().cycle().skip(start).take(ids.len()) {
                let figures = programs.measure(id, *measure, args.quick).with_context(|| format!("{id}, {measure}"));
                let figures = figures
                    .inspect_err(|error| {
                        eprintln!("{error:#}");
                        outcome.failures.push(format!("{error:#}"));
                    })
                    .ok();
                outcome.samples.entry((*measure, id.clone())).or_default().push(figures);
            }
        }
        save(&outcome)?;
    }
    Ok(outcome)
}

fn is_chosen(id: &Id, only: &[String]) -> bool {
    only.is_empty() || id.family == Family::Tcp || is_named(id, only)
}

fn is_named(id: &Id, only: &[String]) -> bool {
    let name = id.to_string();
    only.iter().any(|part| name.contains(part.as_str()))
}

/// This program, and the one with the other backend.
struct Programs {
    main: PathBuf,
    pure: Option<PathBuf>,
}

impl Programs {
    fn new(pure: bool) -> Result<Self> {
        let main = std::env::current_exe().context("can't find this program")?;
        let pure = if pure { Some(build_pure(&main)?) } else { None };
        Ok(Programs { main, pure })
    }

    fn measure(&self, id: &Id, measure: Measure, quick: bool) -> Result<Figures> {
        let program = if id.family == Family::CountersignPure { self.pure.as_ref() } else { Some(&self.main) };
        let mut command = Command::new(program.context("the program without AWS-LC was not built")?);
        command.arg("worker").arg(id.to_string()).arg(measure.name()).args(quick.then_some("--quick"));
        if measure == Measure::Memory {
            // What lies in the thread cache of malloc would count as allocated.
            command.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");
        }
        from_json(&output(command)?)
    }
}

/// Builds this crate without AWS-LC and without the peers, next to this program and with the same profile.
fn build_pure(main: &Path) -> Result<PathBuf> {
    let profile_dir = main.parent().context("this program is nowhere")?;
    let profile = profile_dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let target = profile_dir.parent().context("this program is not in a target directory")?.join("pure");
    eprintln!("building the pure-Rust backend in {}", target.display());
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--locked", "--no-default-features", "--manifest-path"]);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).arg("--target-dir").arg(&target);
    command.args((profile == "release").then_some("--release"));
    let status = command.status().context("can't start cargo")?;
    ensure!(status.success(), "the pure-Rust backend was not built");
    Ok(target.join(if profile == "release" { "release" } else { "debug" }).join("peers"))
}

/// What a command prints, if it ends well and in time.
fn output(mut command: Command) -> Result<String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("can't start a worker")?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            bail!("the worker did not end within {} s", PATIENCE.as_secs());
        }
        sleep(Duration::from_millis(10));
    };
    ensure!(status.success(), "the worker failed: {status}");
    let mut text = String::new();
    child.stdout.take().context("no output")?.read_to_string(&mut text)?;
    Ok(text)
}

const PATIENCE: Duration = Duration::from_secs(180);
