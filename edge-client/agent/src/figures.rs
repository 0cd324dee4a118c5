//! The figures of an edge: what becomes of its tasks, counted as it is reported, and what tasks and host use, read at
//! intervals.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drover_agent_config::telemetry::TelemetrySettings;
use drover_metrics::{count, gauge};
use drover_model::AllocId;
use drover_model::alloc::{AllocUpdate, ClientStatus};
use drover_model::node::Node;
use drover_model::task_state::{TaskPhase, TaskState};
use drover_protocol::edge::TaskStats;
use drover_protocol::edge_node::NodeStats;
use drover_runner::drivers::supervised::{KnownTask, Supervised};
use drover_runner::{Edge, Wanted};
use tokio::sync::watch;

use crate::connection::LinkStatus;
use crate::node_stats::NodeReadings;
use crate::requests::{Allocs, Requests};

/// Bytes of a MiB.
const MIB: f64 = 1_048_576.0;

/// What an edge says of itself, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FigureSettings {
    /// The time between two readings.
    pub interval: Duration,
    /// What each task uses is read.
    pub tasks: bool,
    /// What the host uses is read.
    pub host: bool,
    /// Figures of tasks bear the job's metadata: of these keys, or of all where there is none.
    pub metadata: Option<Vec<String>>,
}

impl FigureSettings {
    /// What the agent's settings say.
    pub fn from_settings(telemetry: &TelemetrySettings) -> FigureSettings {
        FigureSettings {
            interval: telemetry.collection_interval,
            tasks: telemetry.publish_allocation_metrics,
            host: telemetry.publish_node_metrics,
            metadata: telemetry.include_alloc_metadata.then(|| telemetry.allowed_metadata_keys.clone()),
        }
    }
}

/// What was last reported of each alloc.
#[derive(Default)]
pub struct AllocFigures {
    last: Mutex<BTreeMap<AllocId, Last>>,
    metadata: Option<Vec<String>>,
}

#[derive(Default)]
struct Last {
    status: ClientStatus,
    tasks: BTreeMap<String, Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    phase: TaskPhase,
    restarts: u64,
    out_of_memory: usize,
}

impl Seen {
    fn of(state: &TaskState) -> Seen {
        let killed = state.events.iter().filter(|event| event.details.get("oom_killed").is_some_and(|is| is == "true"));
        Seen { phase: state.state, restarts: state.restarts, out_of_memory: killed.count() }
    }
}

impl AllocFigures {
    /// For tasks whose figures bear this metadata.
    pub fn new(metadata: Option<Vec<String>>) -> AllocFigures {
        AllocFigures { metadata, ..AllocFigures::default() }
    }

    /// An alloc has changed. What an earlier life of the agent has seen of it (`is_known`) is not counted again.
    pub fn changed(&self, update: &AllocUpdate, wanted: &Wanted, is_known: bool) {
        let mut all = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = !all.contains_key(&update.alloc_id);
        let last = all.entry(update.alloc_id).or_default();
        last.status = update.client_status;
        for (task, state) in &update.task_states {
            let now = Seen::of(state);
            let before = last.tasks.insert(task.clone(), now);
            if is_first && is_known {
                continue;
            }
            let labels = TaskLabels::new(wanted, task, self.metadata.as_deref());
            for (name, times) in happened(before, now, state.failed) {
                count(name, &labels.pairs(), times as f64);
            }
        }
    }

    /// Nothing of it is left.
    pub fn forget(&self, alloc: AllocId) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).remove(&alloc);
    }

    fn say(&self, labels: &[(&str, &str)], held: usize) {
        let (mut allocs, mut tasks) = ([0_u64; 3], [0_u64; 3]);
        for last in self.last.lock().unwrap_or_else(PoisonError::into_inner).values() {
            allocs[match last.status {
                ClientStatus::Pending => 0,
                ClientStatus::Running | ClientStatus::Unknown => 1,
                ClientStatus::Complete | ClientStatus::Failed | ClientStatus::Lost => 2,
            }] += 1;
            for seen in last.tasks.values() {
                tasks[match seen.phase {
                    TaskPhase::Pending => 0,
                    TaskPhase::Running => 1,
                    TaskPhase::Dead => 2,
                }] += 1;
            }
        }
        let say = |name, number: u64| gauge(name, labels, number as f64);
        say("nomad.client.allocations.pending", allocs[0]);
        say("nomad.client.allocations.running", allocs[1]);
        say("nomad.client.allocations.terminal", allocs[2]);
        say("nomad.client.allocations.blocked", held as u64);
        say("nomad.client.tasks.pending", tasks[0]);
        say("nomad.client.tasks.running", tasks[1]);
        say("nomad.client.tasks.dead", tasks[2]);
    }
}

/// What a task went through between two reports.
fn happened(before: Option<Seen>, now: Seen, failed: bool) -> Vec<(&'static str, u64)> {
    let before = before.unwrap_or(Seen { phase: TaskPhase::Pending, restarts: 0, out_of_memory: 0 });
    let mut happened = Vec::new();
    let restarts = now.restarts.saturating_sub(before.restarts);
    // A restart that was over before it was reported has begun the task again as well; the first start may have been too.
    let began = match (before.phase, now.phase) {
        (TaskPhase::Pending, TaskPhase::Running) => 1 + restarts,
        (TaskPhase::Running, TaskPhase::Running) => restarts,
        _ => 0,
    };
    let ended = u64::from(before.phase != TaskPhase::Dead && now.phase == TaskPhase::Dead);
    happened.push(("nomad.client.allocs.running", began));
    happened.push(("nomad.client.allocs.restart", restarts));
    happened.push(("nomad.client.allocs.failed", if failed { ended } else { 0 }));
    happened.push(("nomad.client.allocs.complete", if failed { 0 } else { ended }));
    // Only the newest events are kept, so fewer than before says nothing.
    let killed = now.out_of_memory.saturating_sub(before.out_of_memory) as u64;
    happened.push(("nomad.client.allocs.oom_killed", killed));
    happened.retain(|(_, times)| *times > 0);
    happened
}

/// The labels of a task.
struct TaskLabels(Vec<(String, String)>);

impl TaskLabels {
    fn new(wanted: &Wanted, task: &str, metadata: Option<&[String]>) -> TaskLabels {
        let (alloc, job) = (&wanted.alloc, &wanted.job);
        let mut labels: Vec<(String, String)> = Vec::new();
        if let Some(allowed) = metadata {
            let group = wanted.group();
            let of_group = group.into_iter().flat_map(|group| &group.meta);
            let of_task = group.and_then(|group| group.task(task)).into_iter().flat_map(|task| &task.meta);
            let all = job.meta.iter().chain(of_group).chain(of_task);
            let kept = all.filter(|(key, _)| allowed.is_empty() || allowed.contains(key));
            labels.extend(kept.map(|(key, value)| (key.clone(), value.clone())));
        }
        for (name, value) in [
            ("job", alloc.job_id.to_string()),
            ("namespace", alloc.namespace.to_string()),
            ("task_group", alloc.task_group.clone()),
            ("alloc_id", alloc.id.to_string()),
            ("task", task.to_owned()),
        ] {
            labels.push((name.to_owned(), value));
        }
        TaskLabels(labels)
    }

    fn pairs(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
}

/// What is read at intervals, and of what.
pub struct Publisher {
    /// What and how often.
    pub settings: FigureSettings,
    /// The node.
    pub node: Arc<Node>,
    /// The edge.
    pub edge: Arc<Edge>,
    /// Its allocs.
    pub allocs: Arc<Allocs>,
    /// What was reported of them.
    pub figures: Arc<AllocFigures>,
    /// What reads the usage of tasks.
    pub requests: Arc<Requests>,
    /// What writes the logs of tasks.
    pub supervised: Arc<Supervised>,
    /// Whether a server has the node.
    pub status: watch::Receiver<LinkStatus>,
}

impl Publisher {
    /// Reads and says, until the agent stops.
    pub async fn run(mut self) {
        let readings = Arc::new(NodeReadings::default());
        let mut dropped = DroppedBytes::default();
        while self.status.has_changed().is_ok() {
            let labels = self.node_labels();
            let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let known = self.allocs.lock().len();
            let reported = self.figures.last.lock().unwrap_or_else(PoisonError::into_inner).len();
            // Those that have nothing to report yet have not begun: they wait for another alloc, or for a server's word.
            self.figures.say(&labels, known.saturating_sub(reported));
            if self.settings.host {
                let (readings, edge) = (readings.clone(), self.edge.clone());
                // /proc and statvfs may take their time.
                if let Ok(stats) = tokio::task::spawn_blocking(move || readings.read(&edge)).await {
                    say_host(&stats, self.settings.interval, &labels);
                }
                self.say_given(&labels);
            }
            if self.settings.tasks {
                self.say_tasks().await;
            }
            if self.allocs.lock().values().any(|alloc| !alloc.running().is_empty()) {
                let supervised = self.supervised.clone();
                let tasks = tokio::task::spawn_blocking(move || supervised.list()).await;
                dropped.say(tasks.ok().and_then(Result::ok).unwrap_or_default());
            }
            // A stop drops the sender.
            let _ = tokio::time::timeout(self.settings.interval, closed(&mut self.status)).await;
        }
    }

    fn node_labels(&self) -> Vec<(&'static str, String)> {
        let node = &self.node;
        let or_none = |text: &str| if text.is_empty() { "none" } else { text }.to_owned();
        let status = if self.status.borrow().server.is_some() { "ready" } else { "disconnected" };
        vec![
            ("node_id", node.id.to_string()),
            ("datacenter", node.datacenter.clone()),
            ("node_class", or_none(&node.node_class)),
            ("node_pool", node.node_pool.clone()),
            ("node_status", status.to_owned()),
        ]
    }

    /// What allocs were given of the node, and what is left.
    fn say_given(&self, labels: &[(&str, &str)]) {
        let handles: Vec<_> = self.allocs.lock().values().cloned().collect();
        let (mut cpu, mut memory, mut memory_max, mut disk) = (0, 0, 0, 0);
        for handle in handles {
            let wanted = handle.wanted();
            let is_over = {
                let last = self.figures.last.lock().unwrap_or_else(PoisonError::into_inner);
                last.get(&wanted.alloc.id).is_some_and(|last| last.status.is_terminal())
            };
            if is_over || wanted.alloc.client_status.is_terminal() {
                continue;
            }
            let given = &wanted.alloc.allocated_resources;
            for task in given.tasks.values() {
                cpu += task.cpu.mhz;
                memory += task.memory.mib;
                memory_max += task.memory.max_mib.max(task.memory.mib);
            }
            disk += given.shared.disk_mib;
        }
        let (all, kept) = (&self.node.node_resources, &self.node.reserved_resources);
        let say = |name, number: i64| gauge(name, labels, number as f64);
        say("nomad.client.allocated.cpu", cpu);
        say("nomad.client.allocated.memory", memory);
        say("nomad.client.allocated.max_memory", memory_max);
        say("nomad.client.allocated.disk", disk);
        say("nomad.client.unallocated.cpu", all.cpu.mhz - kept.cpu.mhz - cpu);
        say("nomad.client.unallocated.memory", all.memory.mib - kept.memory.mib - memory);
        say("nomad.client.unallocated.disk", all.disk.mib - kept.disk.mib - disk);
    }

    async fn say_tasks(&self) {
        let handles: Vec<_> = self.allocs.lock().values().cloned().collect();
        for handle in handles {
            if handle.running().is_empty() {
                continue;
            }
            let wanted = handle.wanted();
            let Ok(stats) = self.requests.stats(wanted.alloc.id).await else { continue };
            for (task, usage) in &stats.tasks {
                let labels = TaskLabels::new(&wanted, task, self.settings.metadata.as_deref());
                let given = wanted.alloc.allocated_resources.tasks.get(task);
                let given = given.map(|given| (given.cpu.mhz, given.memory.mib, given.memory.max_mib));
                say_task(usage, given.unwrap_or_default(), self.settings.interval, &labels.pairs());
            }
        }
    }
}

/// What was lost of the output of tasks because their disk did not take it.
#[derive(Default)]
struct DroppedBytes(BTreeMap<String, u64>);

impl DroppedBytes {
    fn say(&mut self, tasks: Vec<KnownTask>) {
        for (task, more) in self.more(tasks) {
            let (alloc, name) = task.split_once('.').unwrap_or((&task, ""));
            let labels = [("alloc_id", alloc), ("task", name)];
            count("nomad.client.allocs.log_bytes_dropped", &labels, more as f64);
            tracing::warn!(alloc, task = name, bytes = more, "output of a task could not be written");
        }
    }

    /// How much each task has lost since the last time.
    fn more(&mut self, tasks: Vec<KnownTask>) -> Vec<(String, u64)> {
        let now: BTreeMap<String, u64> = tasks.into_iter().map(|task| (task.id, task.log_bytes_dropped)).collect();
        let before = |id: &String| self.0.get(id).copied().unwrap_or(0);
        let more = now.iter().map(|(id, dropped)| (id.clone(), dropped.saturating_sub(before(id))));
        let more = more.filter(|(_, more)| *more > 0).collect();
        self.0 = now;
        more
    }
}

/// Resolves when the sender is gone.
async fn closed(status: &mut watch::Receiver<LinkStatus>) {
    while status.changed().await.is_ok() {}
}

/// Those labels and one more.
fn with<'a>(labels: &[(&'a str, &'a str)], name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    labels.iter().copied().chain([(name, value)]).collect()
}

fn say_host(stats: &NodeStats, interval: Duration, labels: &[(&str, &str)]) {
    gauge("nomad.client.uptime", labels, stats.uptime_s as f64);
    gauge("nomad.client.host.memory.total", labels, stats.memory_total_bytes as f64);
    gauge("nomad.client.host.memory.available", labels, stats.memory_available_bytes as f64);
    gauge("nomad.client.host.memory.used", labels, stats.memory_used_bytes as f64);
    gauge("nomad.client.host.memory.free", labels, stats.memory_free_bytes as f64);
    for cpu in &stats.cpus {
        let labels = &with(labels, "cpu", &cpu.name);
        gauge("nomad.client.host.cpu.total_percent", labels, cpu.total);
        gauge("nomad.client.host.cpu.total", labels, cpu.total);
        gauge("nomad.client.host.cpu.user", labels, cpu.user);
        gauge("nomad.client.host.cpu.system", labels, cpu.system);
        gauge("nomad.client.host.cpu.idle", labels, cpu.idle);
        gauge("nomad.client.host.cpu.total_ticks", labels, cpu.ticks_mhz);
        count("nomad.client.host.cpu.total_ticks_count", labels, cpu.ticks_mhz * interval.as_secs_f64());
    }
    for disk in &stats.disks {
        let labels = &with(labels, "disk", &disk.device);
        gauge("nomad.client.host.disk.size", labels, disk.size_bytes as f64);
        gauge("nomad.client.host.disk.used", labels, disk.used_bytes as f64);
        gauge("nomad.client.host.disk.available", labels, disk.available_bytes as f64);
        gauge("nomad.client.host.disk.used_percent", labels, disk.used_percent);
        gauge("nomad.client.host.disk.inodes_percent", labels, disk.inodes_used_percent);
    }
}

/// `given`: MHz, MiB, MiB at the most.
fn say_task(usage: &TaskStats, given: (i64, i64, i64), interval: Duration, labels: &[(&str, &str)]) {
    let say = |name, value: f64| gauge(name, labels, value);
    let bytes = |name, value: u64| gauge(name, labels, value as f64);
    let (mhz, mib, mib_max) = given;
    say("nomad.client.allocs.cpu.allocated", mhz as f64);
    say("nomad.client.allocs.cpu.total_percent", usage.cpu_percent);
    // How the time is spent, as parts of the whole share.
    let part =
        |ns: u64| if usage.cpu_total_ns > 0 { usage.cpu_percent * ns as f64 / usage.cpu_total_ns as f64 } else { 0.0 };
    say("nomad.client.allocs.cpu.user", part(usage.cpu_user_ns));
    say("nomad.client.allocs.cpu.system", part(usage.cpu_system_ns));
    say("nomad.client.allocs.cpu.total_ticks", usage.cpu_ticks_mhz);
    count("nomad.client.allocs.cpu.total_ticks_count", labels, usage.cpu_ticks_mhz * interval.as_secs_f64());
    say("nomad.client.allocs.cpu.throttled_time", usage.throttled_ns as f64);
    say("nomad.client.allocs.cpu.throttled_periods", usage.throttled_periods as f64);
    say("nomad.client.allocs.memory.allocated", mib as f64 * MIB);
    if mib_max > 0 {
        say("nomad.client.allocs.memory.max_allocated", mib_max as f64 * MIB);
    }
    bytes("nomad.client.allocs.memory.usage", usage.memory_usage_bytes);
    bytes("nomad.client.allocs.memory.max_usage", usage.memory_max_usage_bytes);
    bytes("nomad.client.allocs.memory.rss", usage.memory_rss_bytes);
    bytes("nomad.client.allocs.memory.cache", usage.memory_cache_bytes);
    bytes("nomad.client.allocs.memory.swap", usage.memory_swap_bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_bytes_count_once() {
        let mut dropped = DroppedBytes::default();
        let mut check = |now: &[(&str, u64)], expected: &[(&str, u64)]| {
            let task = |(id, bytes): &(&str, u64)| KnownTask {
                id: (*id).to_owned(),
                has_exited: false,
                process: None,
                log_bytes_dropped: *bytes,
            };
            let found = dropped.more(now.iter().map(task).collect());
            let found: Vec<(&str, u64)> = found.iter().map(|(id, bytes)| (id.as_str(), *bytes)).collect();
            assert_eq!(found, expected);
        };
        check(&[("a.t", 0), ("b.t", 5)], &[("b.t", 5)]);
        check(&[("a.t", 7), ("b.t", 5)], &[("a.t", 7)]);
        // One that was forgotten and came again begins anew.
        check(&[("a.t", 7)], &[]);
        check(&[("a.t", 7), ("b.t", 2)], &[("b.t", 2)]);
    }

    #[test]
    fn what_happened_between_two_reports() {
        let seen = |phase, restarts, out_of_memory| Seen { phase, restarts, out_of_memory };
        let check = |before: Option<Seen>, now: Seen, failed: bool, expected: &[(&str, u64)]| {
            let short = happened(before, now, failed);
            let short: Vec<(&str, u64)> =
                short.iter().map(|(name, times)| (name.rsplit('.').next().unwrap(), *times)).collect();
            assert_eq!(short, expected);
        };
        use TaskPhase::{Dead, Pending, Running};
        check(None, seen(Pending, 0, 0), false, &[]);
        check(None, seen(Running, 0, 0), false, &[("running", 1)]);
        check(Some(seen(Running, 0, 0)), seen(Running, 0, 0), false, &[]);
        check(Some(seen(Running, 0, 0)), seen(Pending, 1, 1), false, &[("restart", 1), ("oom_killed", 1)]);
        check(Some(seen(Pending, 1, 1)), seen(Running, 1, 1), false, &[("running", 1)]);
        check(Some(seen(Running, 1, 1)), seen(Running, 2, 0), false, &[("running", 1), ("restart", 1)]);
        check(Some(seen(Running, 2, 0)), seen(Dead, 2, 0), true, &[("failed", 1)]);
        check(Some(seen(Running, 2, 0)), seen(Dead, 2, 0), false, &[("complete", 1)]);
        check(Some(seen(Dead, 2, 0)), seen(Dead, 2, 0), false, &[]);
    }
}
