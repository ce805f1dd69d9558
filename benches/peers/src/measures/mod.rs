//! What is measured. Every measure is written once, for every peer.

mod check;
mod echo;
mod handshake;
mod idle;
mod memory;
mod transfer;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::conn::Peer;

/// A kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    Handshake,
    Bulk,
    Small,
    Echo,
    Memory,
    Idle,
    Wire,
}

/// What a worker is to do.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    pub measure: Measure,
    /// A little of everything, to see that it works.
    pub quick: bool,
}

/// Figures by name.
pub type Figures = BTreeMap<String, f64>;

impl Measure {
    /// All, in the order of the report.
    pub const ALL: [Measure; 7] = [
        Measure::Handshake,
        Measure::Bulk,
        Measure::Small,
        Measure::Echo,
        Measure::Memory,
        Measure::Idle,
        Measure::Wire,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Handshake => "handshake",
            Measure::Bulk => "bulk",
            Measure::Small => "small",
            Measure::Echo => "echo",
            Measure::Memory => "memory",
            Measure::Idle => "idle",
            Measure::Wire => "wire",
        }
    }

    /// More rounds than this tell nothing new.
    pub fn max_rounds(self) -> usize {
        match self {
            Measure::Handshake | Measure::Bulk | Measure::Small | Measure::Echo => usize::MAX,
            Measure::Memory => 2,
            Measure::Idle | Measure::Wire => 1,
        }
    }
}

impl FromStr for Measure {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let Some(measure) = Self::ALL.into_iter().find(|measure| measure.name() == name) else {
            bail!("there is no measure {name:?}; there are {}", Self::ALL.map(Self::name).join(", "))
        };
        Ok(measure)
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Checks that a peer works, and that it refuses whom it should; then measures it.
pub fn measure<P: Peer>(peer: P, task: Task) -> Result<Figures> {
    check::check(&peer).context(BEFORE)?;
    let quick = task.quick;
    let figures = match task.measure {
        Measure::Handshake => handshake::handshake(peer, quick)?,
        Measure::Bulk => transfer::bulk(&peer, quick)?,
        Measure::Small => transfer::small(&peer, quick)?,
        Measure::Echo => echo::echo(&peer, quick)?,
        Measure::Memory => memory::memory(&peer, quick)?,
        Measure::Idle => idle::idle(&peer, quick)?,
        Measure::Wire => wire::wire(&peer)?,
    };
    Ok(figures)
}

/// The same, for variants of a peer that differ in the transfer of data only: the others need not be compiled.
pub fn measure_transfer<P: Peer>(peer: &P, task: Task) -> Result<Figures> {
    check::check(peer).context(BEFORE)?;
    match task.measure {
        Measure::Bulk => transfer::bulk(peer, task.quick),
        Measure::Small => transfer::small(peer, task.quick),
        other => bail!("{other} is measured without this variant"),
    }
}

const BEFORE: &str = "checks before measuring";
