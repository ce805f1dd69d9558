//! What this process holds: of malloc, and of the system.

use anyhow::{Context, Result};

/// Bytes that are allocated, by Rust or by C. Exact where the thread cache of malloc is off.
pub fn allocated() -> u64 {
    // SAFETY: takes nothing and gives numbers.
    let info = unsafe { libc::mallinfo2() };
    u64::try_from(info.uordblks + info.hblkhd).unwrap_or(u64::MAX)
}

/// Bytes that are resident.
pub fn resident() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").context("can't read /proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).context("odd /proc/self/statm")?.parse()?;
    Ok(pages * u64::try_from(rustix::param::page_size())?)
}
