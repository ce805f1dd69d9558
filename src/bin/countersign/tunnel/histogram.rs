//! How long handshakes take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Durations, counted by which bounds they stay within, as Prometheus has them.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Apart, the last those above all bounds: so what is read at any time adds up.
    counts: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

impl Histogram {
    pub fn add(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().take_while(|bound| seconds > **bound).count();
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.microseconds.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Each bound, in seconds, and how many stayed within it; the last bound is infinite, and all are within it.
    pub fn bounds(&self) -> impl Iterator<Item = (f64, u64)> {
        let within = self.counts.iter().scan(0, |sum, count| {
            *sum += count.load(Ordering::Relaxed);
            Some(*sum)
        });
        BOUNDS.into_iter().chain([f64::INFINITY]).zip(within)
    }

    /// How long they took together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.microseconds.load(Ordering::Relaxed))
    }
}

/// In seconds.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

#[cfg(test)]
mod tests {
    use super::*;

    // Buckets count everything up to their bound, as Prometheus wants it.
    #[test]
    fn buckets_are_cumulative() {
        let histogram = Histogram::default();
        for milliseconds in [1, 3, 30, 20_000] {
            histogram.add(Duration::from_millis(milliseconds));
        }
        let counts: Vec<u64> = histogram.bounds().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 4]);
        assert_eq!(histogram.sum(), Duration::from_millis(20_034));
    }
}
