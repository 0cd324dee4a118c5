//! What stands at something on a server, said once per interval; and what the leader's duties measure.
//!
//! What happens is counted where it happens. Here is what has to be looked at: how many evals are where, how far the log
//! is, how the jobs stand. Only the leader speaks for the region; each server speaks for its log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use drover_leader::eval_broker::Counts;
use drover_metrics::{count, duration, gauge};
use drover_model::JobKey;
use drover_model::eval::Eval;
use drover_model::job::{Job, JobStatus, JobType};
use drover_protocol::edge::ToServer;
use drover_state::{Snapshot, Table};

use crate::server::Server;

/// How a server says its figures.
#[derive(Clone, Copy, Debug)]
pub struct Publishing {
    /// The time between two readings.
    pub interval: Duration,
    /// Jobs that were dispatched are left out.
    pub leaves_dispatched_out: bool,
}

/// The most jobs that get a summary of their own, and the most groups of all of them: each group is seven series.
const JOB_SUMMARIES_MAX: usize = 1000;
const GROUP_SUMMARIES_MAX: usize = 10_000;
/// How often the open evals are counted anew at most.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// What the leader's duties have last counted.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    broker: Mutex<Option<(tokio::time::Instant, Counts)>>,
}

impl Counted {
    /// The evals are to be counted: the last time was long enough ago.
    pub(crate) fn is_due(&self) -> bool {
        let last = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().is_none_or(|(at, _)| at.elapsed() >= COUNT_INTERVAL)
    }

    pub(crate) fn set(&self, counts: Counts) {
        let now = tokio::time::Instant::now();
        *self.broker.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, counts));
    }

    /// Another leads: what was counted here means nothing.
    pub(crate) fn clear(&self) {
        *self.broker.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn counts(&self) -> Option<Counts> {
        self.broker.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, counts)| counts.clone())
    }
}

/// Says the figures of a server, for as long as it runs.
pub async fn publish(server: Server, publishing: Publishing) {
    let mut was_leader = None;
    let mut counted: Option<Region> = None;
    loop {
        let is_leader = server.is_leader();
        if was_leader.replace(is_leader) != Some(is_leader) {
            let name = if is_leader { "nomad.raft.state.leader" } else { "nomad.raft.state.follower" };
            count(name, &[], 1.0);
        }
        let snapshot = server.reading().snapshot;
        of_log(&server, &snapshot);
        if is_leader {
            of_leader(&server);
            let (before, leaves_dispatched_out) = (counted.take(), publishing.leaves_dispatched_out);
            // Every job is looked at and every group spoken of: not on a thread that answers.
            let said = tokio::task::spawn_blocking(move || {
                let region = before.filter(|region| region.at == Region::indexes(&snapshot));
                let region = region.unwrap_or_else(|| Region::count(&snapshot, leaves_dispatched_out));
                region.say();
                region
            });
            // It is lost with the runtime only.
            counted = said.await.ok();
        } else {
            counted = None;
        }
        tokio::time::sleep(publishing.interval).await;
    }
}

fn of_log(server: &Server, snapshot: &Snapshot) {
    let stats = server.stats();
    let number = |key: &str| stats.get("raft").and_then(|raft| raft.get(key)?.parse::<f64>().ok());
    number("applied_index").into_iter().for_each(|index| gauge("nomad.raft.appliedIndex", &[], index));
    number("last_log_index").into_iter().for_each(|index| gauge("nomad.raft.lastIndex", &[], index));
    gauge("nomad.state.snapshotIndex", &[], snapshot.index() as f64);
}

fn of_leader(server: &Server) {
    for peer in server.inner.raft.progress().map(|progress| progress.peers).unwrap_or_default() {
        if let Some(since) = peer.since_contact {
            duration("nomad.raft.leader.lastContact", &[], since);
        }
    }
    gauge("nomad.nomad.heartbeat.active", &[], server.inner.heard.count() as f64);
    if let Some(health) = server.health_here() {
        gauge("nomad.nomad.autopilot.healthy", &[], f64::from(u8::from(health.is_healthy)));
        gauge("nomad.nomad.autopilot.failure_tolerance", &[], health.failure_tolerance as f64);
    }
    let Some(counts) = server.inner.heard.counted.counts() else { return };
    let ready: usize = counts.ready.values().sum();
    for (name, number) in [
        ("nomad.nomad.broker.total_ready", ready),
        ("nomad.nomad.broker.total_unacked", counts.taken),
        ("nomad.nomad.broker.total_pending", counts.held_back),
        ("nomad.nomad.broker.total_waiting", counts.waiting),
    ] {
        gauge(name, &[], number as f64);
    }
    for (kind, name) in [
        (JobType::Service, "nomad.nomad.broker.service_ready"),
        (JobType::Batch, "nomad.nomad.broker.batch_ready"),
        (JobType::System, "nomad.nomad.broker.system_ready"),
        (JobType::SysBatch, "nomad.nomad.broker.sysbatch_ready"),
    ] {
        gauge(name, &[], counts.ready.get(&kind).copied().unwrap_or_default() as f64);
    }
}

/// How the jobs and evals of a region stand.
#[derive(Debug, Default)]
struct Region {
    /// When that was, as far as it matters here.
    at: (u64, u64),
    jobs: BTreeMap<&'static str, u64>,
    summaries: Vec<(Summarised, [u64; 7])>,
    blocked: u64,
    escaped: u64,
    /// What blocked evals lack, in MHz and MiB, by job.
    lacking: BTreeMap<JobKey, [i64; 2]>,
    /// The same by datacenter, class and pool of the nodes that have too little.
    lacking_on: BTreeMap<[String; 3], [i64; 2]>,
}

/// A group of a job, as its labels say it.
#[derive(Debug)]
struct Summarised {
    key: JobKey,
    group: String,
    parent: String,
    dispatched: String,
    periodic: String,
}

const STATUSES: [(&str, &str); 3] = [
    ("pending", "nomad.nomad.job_status.pending"),
    ("running", "nomad.nomad.job_status.running"),
    ("dead", "nomad.nomad.job_status.dead"),
];

const SUMMARY: [&str; 7] = [
    "nomad.nomad.job_summary.queued",
    "nomad.nomad.job_summary.complete",
    "nomad.nomad.job_summary.failed",
    "nomad.nomad.job_summary.running",
    "nomad.nomad.job_summary.starting",
    "nomad.nomad.job_summary.lost",
    "nomad.nomad.job_summary.unknown",
];

impl Region {
    /// When what is counted has last changed.
    fn indexes(snapshot: &Snapshot) -> (u64, u64) {
        (snapshot.table_index(Table::Jobs), snapshot.table_index(Table::Evals))
    }

    fn count(snapshot: &Snapshot, leaves_dispatched_out: bool) -> Region {
        let mut region = Region { at: Self::indexes(snapshot), ..Region::default() };
        let mut summarised = 0;
        for job in snapshot.jobs() {
            let status = match job.status {
                JobStatus::Pending => "pending",
                JobStatus::Running => "running",
                JobStatus::Dead => "dead",
            };
            *region.jobs.entry(status).or_default() += 1;
            if summarised < JOB_SUMMARIES_MAX && !(leaves_dispatched_out && job.dispatched) {
                summarised += 1;
                region.summarise(snapshot, job);
            }
        }
        for eval in snapshot.blocked_evals() {
            region.blocked += 1;
            region.escaped += u64::from(eval.escaped_computed_class);
            region.add_lacking(eval);
        }
        region
    }

    fn add_lacking(&mut self, eval: &Eval) {
        let mut lacking = [0_i64; 2];
        let mut places: BTreeSet<[String; 3]> = BTreeSet::new();
        for metric in eval.failed_group_allocs.values() {
            for asked in metric.resources_exhausted.values() {
                lacking[0] = lacking[0].saturating_add(asked.cpu_mhz);
                lacking[1] = lacking[1].saturating_add(asked.memory_mib);
            }
            // Nodes without a class have none to be counted under.
            let none = metric.class_exhausted.is_empty().then(String::new);
            let classes = || none.iter().chain(metric.class_exhausted.keys());
            let of_metric = metric.nodes_available.keys().flat_map(|datacenter| {
                classes().map(move |class| [datacenter.clone(), class.clone(), metric.node_pool.to_string()])
            });
            // Each of them is a place of its own: no more are made than are counted.
            places.extend(of_metric.take(JOB_SUMMARIES_MAX.saturating_sub(places.len())));
        }
        let add = |sum: &mut [i64; 2]| {
            sum.iter_mut().zip(lacking).for_each(|(sum, more)| *sum = sum.saturating_add(more));
        };
        if self.lacking.len() < JOB_SUMMARIES_MAX {
            add(self.lacking.entry(eval.job_key()).or_default());
        }
        for place in places {
            if self.lacking_on.len() < JOB_SUMMARIES_MAX || self.lacking_on.contains_key(&place) {
                add(self.lacking_on.entry(place).or_default());
            }
        }
    }

    fn summarise(&mut self, snapshot: &Snapshot, job: &Job) {
        let parent = job.parent_id.to_string();
        // A child is called `<parent>/dispatch-<..>` or `<parent>/periodic-<..>`.
        let part = |word: &str| {
            let rest = job.id.as_str().strip_prefix(parent.as_str()).filter(|_| !parent.is_empty());
            rest.and_then(|rest| rest.strip_prefix(word)).unwrap_or_default().to_owned()
        };
        let (dispatched, periodic) = (part("/dispatch-"), part("/periodic-"));
        let room = GROUP_SUMMARIES_MAX.saturating_sub(self.summaries.len());
        for (group, summary) in snapshot.job_summary(&job.key()).groups.into_iter().take(room) {
            let labels = Summarised {
                key: job.key(),
                group,
                parent: parent.clone(),
                dispatched: dispatched.clone(),
                periodic: periodic.clone(),
            };
            let counts = [
                summary.queued,
                summary.complete,
                summary.failed,
                summary.running,
                summary.starting,
                summary.lost,
                summary.unknown,
            ];
            self.summaries.push((labels, counts));
        }
    }

    fn say(&self) {
        for (status, name) in STATUSES {
            gauge(name, &[], self.jobs.get(status).copied().unwrap_or_default() as f64);
        }
        gauge("nomad.nomad.blocked_evals.total_blocked", &[], self.blocked as f64);
        gauge("nomad.nomad.blocked_evals.total_escaped", &[], self.escaped as f64);
        for (key, [cpu, memory]) in &self.lacking {
            let labels = [("job", key.id.as_str()), ("namespace", key.namespace.as_str())];
            gauge("nomad.nomad.blocked_evals.job.cpu", &labels, *cpu as f64);
            gauge("nomad.nomad.blocked_evals.job.memory", &labels, *memory as f64);
        }
        for ([datacenter, class, pool], [cpu, memory]) in &self.lacking_on {
            let labels = [("datacenter", datacenter.as_str()), ("node_class", class), ("node_pool", pool)];
            gauge("nomad.nomad.blocked_evals.cpu", &labels, *cpu as f64);
            gauge("nomad.nomad.blocked_evals.memory", &labels, *memory as f64);
        }
        for (its, counts) in &self.summaries {
            let mut labels = vec![
                ("job", its.key.id.as_str()),
                ("namespace", its.key.namespace.as_str()),
                ("task_group", its.group.as_str()),
            ];
            let more = [("parent_id", &its.parent), ("dispatch_id", &its.dispatched), ("periodic_id", &its.periodic)];
            labels.extend(
                more.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, value.as_str())),
            );
            for (name, count) in SUMMARY.iter().zip(counts) {
                gauge(name, &labels, *count as f64);
            }
        }
    }
}

/// An eval was scheduled in that time; so many of its placements did not fit any more.
pub(crate) fn scheduled(eval: &Eval, took: Duration, rejected: usize) {
    let name = match eval.kind {
        JobType::Service => "nomad.nomad.worker.invoke_scheduler.service",
        JobType::Batch => "nomad.nomad.worker.invoke_scheduler.batch",
        JobType::System => "nomad.nomad.worker.invoke_scheduler.system",
        JobType::SysBatch => "nomad.nomad.worker.invoke_scheduler.sysbatch",
    };
    duration(name, &[], took);
    if rejected > 0 {
        count("nomad.nomad.plan.node_rejected", &[], rejected as f64);
    }
}

/// Plans were committed.
pub(crate) fn submitted(took: Duration) {
    duration("nomad.nomad.plan.submit", &[], took);
    duration("nomad.nomad.plan.apply", &[], took);
    duration("nomad.nomad.worker.submit_plan", &[], took);
}

/// An eval waited so long until it was taken, and was done so long after that.
pub(crate) fn evaluated(eval: &Eval, waited: Duration, processed: Duration) {
    let labels = [
        ("eval_type", eval.kind.as_str()),
        ("job", eval.job_id.as_str()),
        ("namespace", eval.namespace.as_str()),
        ("triggered_by", eval.triggered_by.as_str()),
    ];
    duration("nomad.nomad.broker.wait_time", &labels, waited);
    duration("nomad.nomad.broker.process_time", &labels, processed);
    duration("nomad.nomad.broker.response_time", &labels, waited + processed);
}

/// A new leader knows after that time that all before it is applied.
pub(crate) fn led(took: Duration) {
    duration("nomad.nomad.leader.barrier", &[], took);
}

/// A new leader has begun its duties after that time.
pub(crate) fn established(took: Duration) {
    duration("nomad.nomad.leader.establish_leadership", &[], took);
}

/// A node was found missing, and that was written down in that time.
pub(crate) fn invalidated(took: Duration) {
    duration("nomad.nomad.heartbeat.invalidate", &[], took);
}

/// A request of an edge was answered.
pub(crate) fn edge_answered(name: Option<&'static str>, is_done: bool, took: Duration) {
    count("nomad.nomad.rpc.request", &[], 1.0);
    if !is_done {
        count("nomad.nomad.rpc.request_error", &[], 1.0);
    }
    if let Some(name) = name {
        duration(name, &[], took);
    }
}

/// The name under which a request of an edge is measured.
pub(crate) fn edge_request(request: &ToServer) -> Option<&'static str> {
    match request {
        ToServer::Register { .. } => Some("nomad.nomad.client.register"),
        ToServer::Heartbeat { .. } => Some("nomad.nomad.client.update_status"),
        ToServer::ReportAllocs { .. } => Some("nomad.nomad.client.update_alloc"),
        ToServer::WatchAllocs { .. } | ToServer::Forward(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use drover_model::metric::AllocMetric;

    use super::*;

    #[test]
    fn what_is_lacking_is_counted_within_a_bound() {
        let names = |word: &str, count: i64| (0..count).map(|number| (format!("{word}-{number}"), 1)).collect();
        let metric = AllocMetric {
            nodes_available: names("dc", 50),
            class_exhausted: names("class", 5000),
            node_pool: "default".into(),
            ..AllocMetric::default()
        };
        let mut region = Region::default();
        let failed_group_allocs = [("front".to_owned(), metric.clone()), ("back".to_owned(), metric)].into();
        region.add_lacking(&Eval { failed_group_allocs, ..Eval::default() });
        assert_eq!(region.lacking_on.len(), JOB_SUMMARIES_MAX);
        let metric = AllocMetric { nodes_available: names("dc", 2), ..AllocMetric::default() };
        let mut region = Region::default();
        region.add_lacking(&Eval { failed_group_allocs: [("front".to_owned(), metric)].into(), ..Eval::default() });
        let place = |number: u8| [format!("dc-{number}"), String::new(), String::new()];
        assert!(region.lacking_on.keys().eq([&place(0), &place(1)]), "nodes without a class have none");
    }
}
