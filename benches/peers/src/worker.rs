//! A worker: measures one peer once, in a process of its own, and answers in one line of JSON.

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use crate::id::Id;
use crate::measures::{Figures, Measure, Task};
use crate::peers;

/// `worker PEER MEASURE [--quick]`.
pub fn main(args: &[String]) -> Result<()> {
    let id: Id = args.first().context("which peer?")?.parse()?;
    let measure: Measure = args.get(1).context("which measure?")?.parse()?;
    let quick = args.iter().any(|arg| arg == "--quick");
    let figures = peers::run(&id, Task { measure, quick }).with_context(|| format!("{id}, {measure}"))?;
    println!("{}", to_json(&figures));
    Ok(())
}

/// A JSON object.
pub fn to_json(figures: &Figures) -> Value {
    figures.iter().map(|(name, value)| (name.clone(), Value::from(*value))).collect::<Map<_, _>>().into()
}

/// Back.
pub fn from_json(line: &str) -> Result<Figures> {
    let object: Map<String, Value> = serde_json::from_str(line).with_context(|| format!("a worker said {line:?}"))?;
    object.into_iter().map(|(name, value)| Ok((name, value.as_f64().context("not a number")?))).collect()
}
