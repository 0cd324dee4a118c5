//! What an alloc uses, as clients know it.

use std::collections::BTreeMap;

use drover_model::Timestamp;
use drover_server::edge_reads::{AllocStats, TaskStats};
use serde::Serialize;
use serde_json::Value;

/// What an alloc uses.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AllocUsage<'a> {
    resource_usage: Usage,
    tasks: BTreeMap<&'a str, TaskUsage>,
    timestamp: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TaskUsage {
    /// Usage is read per cgroup, not per process.
    pids: Option<BTreeMap<String, Usage>>,
    resource_usage: Usage,
    timestamp: Timestamp,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Usage {
    cpu_stats: Cpu,
    device_stats: Vec<Value>,
    memory_stats: Memory,
}

/// Fields that are not in `measured` are zero because nobody measured them.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Cpu {
    measured: Option<[&'static str; 3]>,
    percent: f64,
    system_mode: f64,
    throttled_periods: u64,
    throttled_time: u64,
    total_ticks: f64,
    user_mode: f64,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Memory {
    cache: u64,
    kernel_max_usage: u64,
    kernel_usage: u64,
    mapped_file: u64,
    max_usage: u64,
    measured: Option<[&'static str; 4]>,
    #[serde(rename = "RSS")]
    rss: u64,
    swap: u64,
    usage: u64,
}

impl From<&TaskStats> for Usage {
    fn from(stats: &TaskStats) -> Self {
        Self {
            cpu_stats: Cpu {
                measured: Some(["Throttled Periods", "Throttled Time", "Percent"]),
                percent: stats.cpu_percent,
                throttled_periods: stats.throttled_periods,
                throttled_time: stats.throttled_ns,
                total_ticks: stats.cpu_ticks_mhz,
                ..Cpu::default()
            },
            device_stats: Vec::new(),
            memory_stats: Memory {
                cache: stats.memory_cache_bytes,
                max_usage: stats.memory_max_usage_bytes,
                measured: Some(["RSS", "Cache", "Usage", "Max Usage"]),
                rss: stats.memory_rss_bytes,
                swap: stats.memory_swap_bytes,
                usage: stats.memory_usage_bytes,
                ..Memory::default()
            },
        }
    }
}

impl<'a> AllocUsage<'a> {
    /// The tasks that `shown` admits, and their sum.
    pub fn new(stats: &'a AllocStats, shown: impl Fn(&str) -> bool) -> Self {
        let shown: Vec<_> = stats.tasks.iter().filter(|(name, _)| shown(name)).collect();
        let sum = shown.iter().fold(None, |sum: Option<TaskStats>, (_, task)| Some(added(sum, task)));
        let task = |task: &TaskStats| TaskUsage { pids: None, resource_usage: task.into(), timestamp: stats.at };
        Self {
            resource_usage: sum.as_ref().map(Usage::from).unwrap_or_default(),
            tasks: shown.into_iter().map(|(name, stats)| (name.as_str(), task(stats))).collect(),
            timestamp: stats.at,
        }
    }
}

fn added(sum: Option<TaskStats>, task: &TaskStats) -> TaskStats {
    let Some(sum) = sum else { return task.clone() };
    TaskStats {
        memory_usage_bytes: sum.memory_usage_bytes.saturating_add(task.memory_usage_bytes),
        memory_rss_bytes: sum.memory_rss_bytes.saturating_add(task.memory_rss_bytes),
        memory_cache_bytes: sum.memory_cache_bytes.saturating_add(task.memory_cache_bytes),
        memory_max_usage_bytes: sum.memory_max_usage_bytes.saturating_add(task.memory_max_usage_bytes),
        cpu_total_ns: sum.cpu_total_ns.saturating_add(task.cpu_total_ns),
        cpu_user_ns: sum.cpu_user_ns.saturating_add(task.cpu_user_ns),
        cpu_system_ns: sum.cpu_system_ns.saturating_add(task.cpu_system_ns),
        cpu_percent: sum.cpu_percent + task.cpu_percent,
        cpu_ticks_mhz: sum.cpu_ticks_mhz + task.cpu_ticks_mhz,
        throttled_periods: sum.throttled_periods.saturating_add(task.throttled_periods),
        throttled_ns: sum.throttled_ns.saturating_add(task.throttled_ns),
        memory_swap_bytes: sum.memory_swap_bytes.saturating_add(task.memory_swap_bytes),
    }
}
