//! How a registry keeps figures.

use std::time::Duration;

use crate::filter::Filter;
use crate::labels::Labels;

/// The most series of a registry: name, kind and labels together.
pub const SERIES_MAX: usize = 20_000;
/// The most series of one name.
pub const LABEL_SETS_MAX: usize = 2_000;

/// How a registry keeps figures.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long an interval lasts: rates are per second of it.
    pub interval: Duration,
    /// A gauge that was not set again for so long is gone: what it stood for is, or its labels have changed.
    pub gauge_life: Duration,
    /// Labels that every figure bears.
    pub base_labels: Labels,
    /// Which names are kept at all.
    pub filter: Filter,
    /// Newest values are kept for quantiles.
    pub keeps_quantiles: bool,
    /// The most series; what would be one more is left out and counted.
    pub series_max: usize,
    /// The most series of one name.
    pub label_sets_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            interval: Duration::from_secs(10),
            gauge_life: Duration::from_secs(60),
            base_labels: Labels::default(),
            filter: Filter::default(),
            keeps_quantiles: false,
            series_max: SERIES_MAX,
            label_sets_max: LABEL_SETS_MAX,
        }
    }
}
