//! The files of a run.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::args::Args;
use crate::id::Id;
use crate::machine::Machine;
use crate::measures::{Figures, Measure};
use crate::plot::plots;
use crate::report::report;
use crate::runner::Outcome;
use crate::targets::targets;
use crate::worker::to_json;

/// Writes them, and gives back the tables.
pub fn write(args: &Args, machine: &Machine, outcome: &Outcome) -> Result<String> {
    let targets = targets(&outcome.samples);
    let text = report(machine, outcome, &targets);
    let sample = |((measure, id), rounds): (&(Measure, Id), &Vec<Option<Figures>>)| {
        let rounds: Vec<Value> = rounds.iter().map(|round| round.as_ref().map_or(Value::Null, to_json)).collect();
        json!({ "measure": measure.name(), "peer": id.to_string(), "rounds": rounds })
    };
    let results = json!({
        "machine": machine.to_json(),
        "quick": args.quick,
        "targets": targets.iter().map(|target| target.to_json()).collect::<Vec<_>>(),
        "samples": outcome.samples.iter().map(sample).collect::<Vec<_>>(),
        "failures": outcome.failures,
    });
    fs::create_dir_all(&args.out).with_context(|| format!("can't make {}", args.out.display()))?;
    save(&args.out, "results.json", &format!("{results:#}\n"))?;
    save(&args.out, "results.md", &text)?;
    for (name, svg) in plots(&outcome.samples) {
        save(&args.out, &name, &svg)?;
    }
    Ok(text)
}

fn save(folder: &Path, name: &str, content: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, content).with_context(|| format!("can't write {}", path.display()))
}
