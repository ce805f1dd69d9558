//! Time: what a thread and a process have computed, what has passed, and who computes where.

use std::ops::AddAssign;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// A measurement that runs, begun and ended in the same thread.
pub struct Clock {
    thread: Duration,
    process: Duration,
    started: Instant,
}

/// What it took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// CPU time of this thread.
    pub cpu: Duration,
    /// CPU time of all threads of the process.
    pub process: Duration,
    /// Time that passed.
    pub wall: Duration,
}

impl Clock {
    /// Starts.
    pub fn start() -> Self {
        Clock { process: process_cpu(), started: Instant::now(), thread: thread_cpu() }
    }

    /// Stops.
    pub fn stop(self) -> Cost {
        Cost {
            cpu: thread_cpu().saturating_sub(self.thread),
            process: process_cpu().saturating_sub(self.process),
            wall: self.started.elapsed(),
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.process += other.process;
        self.wall += other.wall;
    }
}

/// CPU time that this thread has used.
pub fn thread_cpu() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

/// CPU time that this process has used.
pub fn process_cpu() -> Duration {
    duration(clock_gettime(ClockId::ProcessCPUTime))
}

/// Keeps this thread on a core. On a machine with one core there is nothing to choose.
pub fn pin(core: usize) -> Result<()> {
    if std::thread::available_parallelism().map_or(1, usize::from) == 1 {
        return Ok(());
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("can't keep a thread on core {core}"))
}

fn duration(time: Timespec) -> Duration {
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
