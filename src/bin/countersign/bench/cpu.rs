//! The CPU time of this process.

use std::time::Duration;

/// User and system time of all threads until now, in steps of 10 ms; `None` where the system has no /proc.
pub fn spent() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program comes before, in brackets, and may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(UTIME);
    let (user, system): (u64, u64) = (ticks.next()?.parse().ok()?, ticks.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system).saturating_mul(TICK_MILLIS)))
}

/// Fields between the name and `utime`; `stime` is next (proc_pid_stat(5)).
const UTIME: usize = 11;
/// The kernel counts in hundredths of a second here on every architecture that Rust runs on.
const TICK_MILLIS: u64 = 10;
