//! One series: what was recorded of one name, kind and set of labels.

use crate::aggregate::Aggregate;

/// Values of one interval that are kept for quantiles; of more the newest.
pub const QUANTILE_VALUES_MAX: usize = 512;

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Happened so often.
    Counter,
    /// Stands at.
    Gauge,
    /// Was observed.
    Sample,
}

/// What is kept of one series.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// Of the interval under way.
    pub(crate) current: Aggregate,
    /// Of the last one that ended.
    pub(crate) finished: Aggregate,
    /// Since the beginning.
    pub(crate) total: Aggregate,
    /// Intervals that ended since anything was recorded.
    pub(crate) idle_intervals: u32,
    values: Vec<f64>,
    values_before: Vec<f64>,
}

impl Series {
    pub(crate) fn record(&mut self, value: f64, keeps_quantiles: bool) {
        if keeps_quantiles {
            if self.values.len() < QUANTILE_VALUES_MAX {
                self.values.push(value);
            } else {
                self.values[self.current.count as usize % QUANTILE_VALUES_MAX] = value;
            }
        }
        self.current.add(value);
        self.total.add(value);
        self.idle_intervals = 0;
    }

    /// The interval has ended.
    pub(crate) fn roll(&mut self) {
        self.idle_intervals = if self.current.count == 0 { self.idle_intervals.saturating_add(1) } else { 0 };
        self.finished = std::mem::take(&mut self.current);
        self.values_before = std::mem::take(&mut self.values);
    }

    /// The values of this interval and the one before, as far as they are kept.
    pub(crate) fn newest(&self) -> Vec<f64> {
        [&self.values[..], &self.values_before].concat()
    }
}

/// Those below which that part of the values lies; not a number when there are none.
pub(crate) fn quantiles<const N: usize>(mut values: Vec<f64>, parts: [f64; N]) -> [f64; N] {
    values.sort_by(f64::total_cmp);
    parts.map(|part| {
        let rank = (part * values.len() as f64).ceil() as usize;
        values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_the_newest() {
        let mut series = Series::default();
        assert!(quantiles(series.newest(), [0.5])[0].is_nan());
        (1..=100).for_each(|value| series.record(f64::from(value), true));
        assert_eq!(quantiles(series.newest(), [0.5, 0.9, 0.99]), [50.0, 90.0, 99.0]);
        series.roll();
        assert_eq!(quantiles(series.newest(), [0.5]), [50.0]);
        (0..10_000).for_each(|value| series.record(f64::from(value), true));
        assert_eq!(series.values.len(), QUANTILE_VALUES_MAX);
        series.roll();
        series.roll();
        assert!(quantiles(series.newest(), [0.5])[0].is_nan());
        assert_eq!((series.total.count, series.idle_intervals), (10_100, 1));
    }
}
