//! Durations, counted in buckets: any number of them in 18 KiB, and percentiles that are at most 1.6 % too high.

use std::time::Duration;

/// How long things took.
#[derive(Clone, Debug)]
pub struct Times {
    /// 64 for each power of two of nanoseconds, and one for each nanosecond below 128.
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Default for Times {
    fn default() -> Self {
        Times { buckets: vec![0; BUCKETS], count: 0, max: 0 }
    }
}

impl Times {
    pub fn add(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).min(MAX_NANOS);
        if let Some(bucket) = self.buckets.get_mut(bucket(nanos)) {
            *bucket += 1;
        }
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    /// The time that so many of a hundred did not exceed; zero if there are none.
    pub fn percentile(&self, percent: u64) -> Duration {
        let rank = (self.count.saturating_mul(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().position(|bucket| {
            seen += bucket;
            seen >= rank
        });
        Duration::from_nanos(found.map_or(0, upper_edge).min(self.max))
    }

    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }
}

fn bucket(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(PRECISION + 1);
    usize::try_from(u64::from(shift << PRECISION) + (nanos >> shift)).unwrap_or(usize::MAX)
}

/// The last nanosecond of a bucket.
fn upper_edge(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    let shift = (bucket >> PRECISION).saturating_sub(1);
    ((bucket - (shift << PRECISION) + 1) << shift) - 1
}

const PRECISION: u32 = 6;
/// 18 minutes; what takes longer counts as that.
const MAX_NANOS: u64 = (1 << 40) - 1;
const BUCKETS: usize = (40 - 6 + 1) << 6;

#[cfg(test)]
mod tests {
    use super::*;

    /// Each nanosecond is in one bucket, the buckets are in order, and the largest time is in the last.
    #[test]
    fn buckets_cover_everything() {
        let mut last = 0;
        for nanos in 0..1 << 16 {
            let bucket = bucket(nanos);
            assert!(bucket == last || bucket == last + 1, "{nanos}");
            assert!(upper_edge(bucket) >= nanos && (upper_edge(bucket) - nanos) * 64 <= nanos, "{nanos}");
            last = bucket;
        }
        assert_eq!(bucket(MAX_NANOS), BUCKETS - 1);
        assert_eq!(upper_edge(BUCKETS - 1), MAX_NANOS);
    }

    /// Percentiles are those of the sorted list, within the width of a bucket.
    #[test]
    fn percentiles() {
        let mut times = Times::default();
        assert_eq!((times.percentile(50), times.max()), (Duration::ZERO, Duration::ZERO));
        for number in (1..=1_000_u64).rev() {
            times.add(Duration::from_micros(number));
        }
        for (percent, exact) in [(50, 500_000), (90, 900_000), (99, 990_000), (100, 1_000_000)] {
            let found = u64::try_from(times.percentile(percent).as_nanos()).expect("small");
            assert!((exact..=exact + exact / 64).contains(&found), "{percent}: {found}");
        }
        times.add(Duration::MAX);
        assert_eq!(times.max(), Duration::from_nanos(MAX_NANOS));
    }
}
