//! Medians and quartiles, and what is formed of two peers' figures within a round.

use crate::id::Id;
use crate::measures::{Figures, Measure};
use crate::runner::Samples;

/// A figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The first quartile.
    pub low: f64,
    pub median: f64,
    /// The third.
    pub high: f64,
}

impl Spread {
    /// By linear interpolation; none of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |part: f64| {
            let place = part * last as f64;
            let (below, above) = (*values.get(place.floor() as usize)?, *values.get(place.ceil() as usize)?);
            Some(below + (above - below) * place.fract())
        };
        Some(Spread { low: at(0.25)?, median: at(0.5)?, high: at(0.75)? })
    }

    /// For a table. Quartiles only where they differ from the median.
    pub fn show(&self, digits: usize) -> String {
        let [low, median, high] = [self.low, self.median, self.high].map(|value| format!("{value:.digits$}"));
        if low == median && median == high { median } else { format!("{median} ({low} to {high})") }
    }
}

/// A figure of a measure, as it is asked of many peers.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub samples: &'a Samples,
    pub measure: Measure,
    pub figure: &'a str,
}

impl Asked<'_> {
    /// Of a peer, over all rounds.
    pub fn of(&self, id: &Id) -> Option<Spread> {
        Spread::of(self.rounds(id).into_iter().flatten())
    }

    /// Of a peer and of another one in the same round, combined.
    pub fn pair(&self, id: &Id, other: &Id, combine: impl Fn(f64, f64) -> f64) -> Option<Spread> {
        let pairs = self.rounds(id).into_iter().zip(self.rounds(other));
        Spread::of(pairs.filter_map(|(value, other)| Some(combine(value?, other?))))
    }

    /// The peer with the lowest median.
    pub fn best<'b>(&self, ids: impl IntoIterator<Item = &'b Id>) -> Option<&'b Id> {
        let medians = ids.into_iter().filter_map(|id| Some((id, self.of(id)?.median)));
        medians.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(id, _)| id)
    }

    fn rounds(&self, id: &Id) -> Vec<Option<f64>> {
        let rounds = self.samples.get(&(self.measure, id.clone()));
        let get = |round: &Option<Figures>| round.as_ref()?.get(self.figure).copied();
        rounds.into_iter().flatten().map(get).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quartiles() {
        let spread = Spread::of([5.0, 1.0, 2.0, 4.0, 3.0]);
        assert_eq!(spread, Some(Spread { low: 2.0, median: 3.0, high: 4.0 }));
        assert_eq!(Spread::of([1.0, 2.0]), Some(Spread { low: 1.25, median: 1.5, high: 1.75 }));
        assert_eq!(Spread::of([]), None);
    }
}
