//! The `telemetry` block: which figures an agent keeps, and where they are sent.

use std::time::Duration;

use drover_hcl::Value;
use drover_metrics::Filter;

use crate::convert;

/// The shortest time between two readings.
const COLLECTION_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Leave out what is measured of hooks.
const HOOKS: [&str; 2] = ["-nomad.client.alloc_hook", "-nomad.client.task_hook"];

/// The `telemetry` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// The time between two readings of what stands at something.
    pub collection_interval: Duration,
    /// How long the intervals are for which figures are kept.
    pub in_memory_collection_interval: Duration,
    /// Figures bear no host.
    pub disable_hostname: bool,
    /// The host they bear is the agent's name.
    pub use_node_name: bool,
    /// Figures are given in the form that Prometheus reads.
    pub prometheus_metrics: bool,
    /// What each task uses is read.
    pub publish_allocation_metrics: bool,
    /// What the host uses is read.
    pub publish_node_metrics: bool,
    /// Figures of allocs bear the job's metadata.
    pub include_alloc_metadata: bool,
    /// The keys of metadata that they may bear; empty is all.
    pub allowed_metadata_keys: Vec<String>,
    /// Jobs that were dispatched get no summary of their own.
    pub disable_dispatched_job_summary: bool,
    /// What is done around allocs and tasks is not measured.
    pub disable_allocation_hook_metrics: bool,
    /// Rules by prefix, as written.
    pub prefix_filter: Vec<String>,
    /// What holds for names that no rule fits.
    pub filter_default: bool,
    /// Where statsd listens (UDP), as `host:port`.
    pub statsd_address: Option<String>,
    /// Where statsite listens (TCP).
    pub statsite_address: Option<String>,
    /// Where DogStatsD listens (UDP).
    pub datadog_address: Option<String>,
    /// Tags of everything that DogStatsD gets.
    pub datadog_tags: Vec<String>,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        TelemetrySettings {
            collection_interval: Duration::from_secs(1),
            in_memory_collection_interval: Duration::from_secs(10),
            disable_hostname: false,
            use_node_name: false,
            prometheus_metrics: false,
            publish_allocation_metrics: false,
            publish_node_metrics: false,
            include_alloc_metadata: false,
            allowed_metadata_keys: Vec::new(),
            disable_dispatched_job_summary: false,
            disable_allocation_hook_metrics: false,
            prefix_filter: Vec::new(),
            filter_default: true,
            statsd_address: None,
            statsite_address: None,
            datadog_address: None,
            datadog_tags: Vec::new(),
        }
    }
}

impl TelemetrySettings {
    /// What a development agent has: everything is read and shown.
    pub fn development() -> Self {
        TelemetrySettings {
            prometheus_metrics: true,
            publish_allocation_metrics: true,
            publish_node_metrics: true,
            ..Self::default()
        }
    }

    /// The rules by prefix.
    ///
    /// # Errors
    /// A rule is none.
    pub fn filter(&self) -> Result<Filter, drover_metrics::FilterError> {
        let of_hooks = HOOKS.iter().filter(|_| self.disable_allocation_hook_metrics).map(|rule| (*rule).to_owned());
        Filter::new(&self.prefix_filter.iter().cloned().chain(of_hooks).collect::<Vec<_>>(), self.filter_default)
    }

    pub(crate) fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let place = |value: &Value| convert::text(value).map(|text| Some(text).filter(|text| !text.is_empty()));
        match key {
            "collection_interval" => match convert::duration(value)? {
                short if short < COLLECTION_INTERVAL_MIN => {
                    return Err(format!("an interval of {COLLECTION_INTERVAL_MIN:?} or more is needed"));
                }
                interval => self.collection_interval = interval,
            },
            "in_memory_collection_interval" => self.in_memory_collection_interval = convert::duration(value)?,
            "disable_hostname" => self.disable_hostname = convert::flag(value)?,
            "use_node_name" => self.use_node_name = convert::flag(value)?,
            "prometheus_metrics" => self.prometheus_metrics = convert::flag(value)?,
            "publish_allocation_metrics" => self.publish_allocation_metrics = convert::flag(value)?,
            "publish_node_metrics" => self.publish_node_metrics = convert::flag(value)?,
            "include_alloc_metadata_in_metrics" => self.include_alloc_metadata = convert::flag(value)?,
            "allowed_metadata_keys_in_metrics" => self.allowed_metadata_keys = convert::list(value)?,
            "disable_dispatched_job_summary_metrics" => self.disable_dispatched_job_summary = convert::flag(value)?,
            "disable_allocation_hook_metrics" => self.disable_allocation_hook_metrics = convert::flag(value)?,
            "prefix_filter" => self.prefix_filter = convert::list(value)?,
            "filter_default" => self.filter_default = convert::flag(value)?,
            "statsd_address" => self.statsd_address = place(value)?,
            "statsite_address" => self.statsite_address = place(value)?,
            "datadog_address" => self.datadog_address = place(value)?,
            "datadog_tags" => self.datadog_tags = convert::list(value)?,
            _ => return Err("known, but not read".to_owned()),
        }
        Ok(())
    }

    /// What can't hold together.
    pub(crate) fn check(&self) -> Option<String> {
        if self.in_memory_collection_interval < Duration::from_secs(1) {
            let text = "telemetry block invalid: telemetry in-memory collection interval must be greater than zero";
            let short = "telemetry block invalid: telemetry in-memory collection interval must be a second or more";
            return Some(if self.in_memory_collection_interval.is_zero() { text } else { short }.to_owned());
        }
        self.filter().err().map(|error| format!("Error initializing telemetry: {error}"))
    }
}
