//! The figures of a process: counters, gauges and samples, kept by interval and in total.
//!
//! Every part of the process records into one registry by the functions below, as it logs into one log; before
//! [`configure`] it keeps figures with the default settings. It knows no time: whoever runs the process calls
//! [`Registry::roll`] at the end of each interval. It knows no JSON, no Prometheus and no socket either: those who show
//! figures read [`Registry::interval`] or [`Registry::totals`], and [`statsd`] lays out lines for those who send them.
//!
//! Names are as dashboards for Nomad expect them (`nomad.client.allocs.restart`). A label that every figure of the
//! process bears (`host`) is set once, in [`Settings`].

pub mod aggregate;
pub mod filter;
pub mod labels;
pub mod registry;
pub mod series;
pub mod settings;
pub mod statsd;

use std::sync::LazyLock;
use std::time::Duration;

pub use aggregate::Aggregate;
pub use filter::{Filter, FilterError};
pub use labels::Labels;
pub use registry::{Interval, Registry, Total, Update};
pub use series::Kind;
pub use settings::Settings;

static PROCESS: LazyLock<Registry> = LazyLock::new(Registry::default);

/// The registry of this process.
pub fn process() -> &'static Registry {
    &PROCESS
}

/// Sets how the registry of this process keeps figures; what was recorded before goes on under the new settings.
pub fn configure(settings: Settings) {
    PROCESS.configure(settings);
}

/// Something happened `by` times. Labels are pairs of name and value, in any order; pass `&[]` for none.
pub fn count(name: &'static str, labels: &[(&str, &str)], by: f64) {
    PROCESS.record(Kind::Counter, name, labels, by);
}

/// Something stands at `value` now. To be said again at each reading ([`Settings::gauge_life`]), or it counts as gone.
pub fn gauge(name: &'static str, labels: &[(&str, &str)], value: f64) {
    PROCESS.record(Kind::Gauge, name, labels, value);
}

/// One observation of something that varies.
pub fn sample(name: &'static str, labels: &[(&str, &str)], value: f64) {
    PROCESS.record(Kind::Sample, name, labels, value);
}

/// How long something took: a sample in milliseconds.
pub fn duration(name: &'static str, labels: &[(&str, &str)], took: Duration) {
    PROCESS.record(Kind::Sample, name, labels, took.as_secs_f64() * 1000.0);
}
