//! Steady state: the same is done several times by the same threads. The first time warms up; of the others the least
//! counts, for what is allocated once and kept is not allocated for a record.

use crate::heap::Tally;

/// What each phase allocated.
pub struct Phases(Vec<Tally>);

impl Phases {
    pub fn new() -> Self {
        Phases(Vec::with_capacity(PHASES))
    }

    /// Begins a phase, of which there are [`PHASES`].
    pub fn begin(&self) -> Tally {
        if self.0.is_empty() { Tally::now() } else { Tally::begin() }
    }

    pub fn end(&mut self, begun: Tally) {
        self.0.push(begun.since());
    }

    pub fn least(&self) -> Tally {
        self.0.iter().skip(1).copied().min_by_key(|made| made.count).expect("several phases")
    }
}

pub const PHASES: usize = 4;
