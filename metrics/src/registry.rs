//! The registry: all series of a process, bounded.

use std::collections::BTreeMap;
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::aggregate::Aggregate;
use crate::labels::Labels;
use crate::series::{Kind, Series, quantiles};
use crate::settings::Settings;

/// A counter or sample with labels that was idle for so long is forgotten: what it counts is mostly gone too.
const LABELLED_LIFE: Duration = Duration::from_secs(600);
/// The quantiles of a sample.
pub const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
/// How often something was left out because there were too many series already.
pub const REFUSED: &str = "nomad.telemetry.series_refused";
/// How often something was not handed on to who follows, because that one is slow.
pub const UNSENT: &str = "nomad.telemetry.updates_dropped";

/// All figures of a process.
#[derive(Debug, Default)]
pub struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    settings: Settings,
    names: BTreeMap<(&'static str, Kind), BTreeMap<Labels, Series>>,
    series_count: usize,
    /// The time at which the interval under way began, and the last one that ended.
    began: Option<Duration>,
    finished: Option<Duration>,
    refused: f64,
    unsent: f64,
    follower: Option<SyncSender<Update>>,
}

/// One record, for whoever sends figures on.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: &'static str,
    /// Its labels and those that every figure bears.
    pub labels: Labels,
    /// The value.
    pub value: f64,
}

/// The figures of an interval, each list by name and labels.
#[derive(Clone, Debug, Default)]
pub struct Interval {
    /// When it began, since 1970.
    pub began: Duration,
    /// How long an interval lasts.
    pub length: Duration,
    /// Gauges that were set in it, with the last value.
    pub gauges: Vec<(&'static str, Labels, f64)>,
    /// Counters.
    pub counters: Vec<(&'static str, Labels, Aggregate)>,
    /// Samples.
    pub samples: Vec<(&'static str, Labels, Aggregate)>,
}

/// One series since the beginning.
#[derive(Clone, Debug)]
pub struct Total {
    /// Its labels and those that every figure bears.
    pub labels: Labels,
    /// All its values.
    pub total: Aggregate,
    /// Of a sample: the [`QUANTILES`] of the last two intervals.
    pub quantiles: [f64; 3],
}

impl Registry {
    /// A registry of its own.
    pub fn new(settings: Settings) -> Registry {
        let registry = Registry::default();
        registry.configure(settings);
        registry
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how figures are kept; what was recorded before stays, as far as the filter keeps it.
    pub fn configure(&self, settings: Settings) {
        let mut inner = self.inner();
        inner.names.retain(|(name, _), _| settings.filter.keeps(name));
        inner.series_count = inner.names.values().map(BTreeMap::len).sum();
        inner.settings = settings;
    }

    /// Every record goes there as well from now on. A full channel loses it: nobody waits for who follows.
    pub fn follow(&self, sender: SyncSender<Update>) {
        self.inner().follower = Some(sender);
    }

    /// Takes one value. What is no number is left out.
    pub fn record(&self, kind: Kind, name: &'static str, labels: &[(&str, &str)], value: f64) {
        if value.is_finite() {
            self.inner().record(kind, name, labels, value);
        }
    }

    /// The interval has ended at that time since 1970 and the next begins.
    pub fn roll(&self, now: Duration) {
        let mut inner = self.inner();
        let (refused, unsent) = (std::mem::take(&mut inner.refused), std::mem::take(&mut inner.unsent));
        for (name, value) in [(REFUSED, refused), (UNSENT, unsent)] {
            if value > 0.0 {
                inner.record(Kind::Counter, name, &[], value);
            }
        }
        let step = inner.settings.interval.max(Duration::from_millis(1));
        let gauge_life = inner.settings.gauge_life;
        for ((_, kind), family) in &mut inner.names {
            family.retain(|labels, series| {
                series.roll();
                let idle = step.saturating_mul(series.idle_intervals);
                match kind {
                    Kind::Gauge => idle < gauge_life,
                    Kind::Counter | Kind::Sample => labels.is_empty() || idle < LABELLED_LIFE,
                }
            });
        }
        inner.names.retain(|_, family| !family.is_empty());
        inner.series_count = inner.names.values().map(BTreeMap::len).sum();
        inner.finished = Some(inner.began.unwrap_or_else(|| now.saturating_sub(step)));
        inner.began = Some(now);
    }

    /// Newest values are kept for quantiles: somebody may read the totals in Prometheus' form.
    pub fn keeps_quantiles(&self) -> bool {
        self.inner().settings.keeps_quantiles
    }

    /// The last interval that ended; before the first one has, what there is so far.
    pub fn interval(&self) -> Interval {
        let inner = self.inner();
        let mut interval = Interval {
            began: inner.finished.or(inner.began).unwrap_or_default(),
            length: inner.settings.interval,
            ..Interval::default()
        };
        for ((name, kind), family) in &inner.names {
            for (labels, series) in family {
                let values = if inner.finished.is_some() { series.finished } else { series.current };
                if values.count == 0 {
                    continue;
                }
                let labels = labels.with(&inner.settings.base_labels);
                match kind {
                    Kind::Gauge => interval.gauges.push((name, labels, values.last)),
                    Kind::Counter => interval.counters.push((name, labels, values)),
                    Kind::Sample => interval.samples.push((name, labels, values)),
                }
            }
        }
        interval
    }

    /// Everything since the beginning, by name.
    pub fn totals(&self) -> Vec<(&'static str, Kind, Vec<Total>)> {
        let (families, base) = {
            let inner = self.inner();
            let copy = |(labels, series): (&Labels, &Series)| (labels.clone(), series.total, series.newest());
            let families = inner.names.iter().map(|(of, family)| (*of, family.iter().map(copy).collect::<Vec<_>>()));
            (families.collect::<Vec<_>>(), inner.settings.base_labels.clone())
        };
        // Sorted when nobody waits any more: whoever records does so in the midst of other work.
        let total = |(labels, total, newest): (Labels, Aggregate, Vec<f64>)| Total {
            labels: labels.with(&base),
            total,
            quantiles: quantiles(newest, QUANTILES),
        };
        families
            .into_iter()
            .map(|((name, kind), family)| (name, kind, family.into_iter().map(total).collect()))
            .collect()
    }
}

impl Inner {
    fn record(&mut self, kind: Kind, name: &'static str, labels: &[(&str, &str)], value: f64) {
        if !self.settings.filter.keeps(name) {
            return;
        }
        let labels = Labels::new(labels);
        if let Some(follower) = &self.follower {
            let labels = labels.with(&self.settings.base_labels);
            if follower.try_send(Update { kind, name, labels, value }).is_err() {
                self.unsent += 1.0;
            }
        }
        let keeps_quantiles = self.settings.keeps_quantiles && kind == Kind::Sample;
        let family = self.names.entry((name, kind)).or_default();
        if let Some(series) = family.get_mut(&labels) {
            series.record(value, keeps_quantiles);
        } else if self.series_count < self.settings.series_max && family.len() < self.settings.label_sets_max
            // What says that something is left out must not be left out itself.
            || matches!(name, REFUSED | UNSENT)
        {
            self.series_count += 1;
            family.entry(labels).or_default().record(value, keeps_quantiles);
        } else {
            self.refused += 1.0;
        }
    }
}

#[cfg(test)]
mod tests;
