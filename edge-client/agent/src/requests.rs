//! What servers ask of an edge, each on a stream that they open: logs, files, commands, statistics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use drover_model::AllocId;
use drover_protocol::codec;
use drover_protocol::edge::{AllocStats, FromEdge, REQUEST_BYTES_MAX, ReadLogs, RpcError, TaskStats, ToEdge};
use drover_protocol::edge_node::FilesWanted;
use drover_runner::alloc_dir::AllocDir;
use drover_runner::drivers::driver::TaskUsage;
use drover_runner::{AllocHandle, Edge, clock};
use drover_transport::{CloseCode, Stream};
use tokio::sync::Semaphore;

use crate::gc::Collector;
use crate::log_files::LogFiles;
use crate::meta::Metadata;
use crate::node_stats::NodeReadings;
use crate::{exec_stream, files, log_stream, task_calls};

/// Requests that are answered at a time, logs that are followed among them.
const REQUESTS_MAX: usize = 48;
/// Nanoseconds of a second, for shares of processor time.
const SECOND_NS: f64 = 1e9;

/// The allocs of this edge by id, as the agent and the answers to requests share them.
#[derive(Default)]
pub struct Allocs(Mutex<BTreeMap<AllocId, Arc<AllocHandle>>>);

impl Allocs {
    /// The map itself; held for single calls only.
    pub fn lock(&self) -> MutexGuard<'_, BTreeMap<AllocId, Arc<AllocHandle>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One alloc.
    pub fn get(&self, id: AllocId) -> Option<Arc<AllocHandle>> {
        self.lock().get(&id).cloned()
    }
}

/// Answers requests.
pub struct Requests {
    allocs: Arc<Allocs>,
    edge: Arc<Edge>,
    seats: Arc<Semaphore>,
    /// Processor time of tasks at the last reading, by task id: what shares are counted from.
    readings: Mutex<BTreeMap<String, Reading>>,
    node_stats: NodeReadings,
    collector: Arc<Collector>,
    metadata: Metadata,
}

#[derive(Clone, Copy)]
struct Reading {
    at_ns: i64,
    cpu_total_ns: u64,
}

impl Requests {
    /// Answers about these allocs.
    pub fn new(allocs: Arc<Allocs>, edge: Arc<Edge>, collector: Arc<Collector>, metadata: Metadata) -> Requests {
        Requests {
            allocs,
            edge,
            seats: Arc::new(Semaphore::new(REQUESTS_MAX)),
            readings: Mutex::default(),
            node_stats: NodeReadings::default(),
            collector,
            metadata,
        }
    }

    /// Answers on that stream, beside the others; one too many is refused.
    pub fn serve(self: Arc<Self>, mut stream: Stream) {
        let Ok(seat) = self.seats.clone().try_acquire_owned() else {
            stream.abort(CloseCode::BUSY);
            return;
        };
        tokio::spawn(async move {
            self.answer(stream).await;
            drop(seat);
        });
    }

    async fn answer(&self, mut stream: Stream) {
        let Ok(Some(frame)) = stream.recv_frame(REQUEST_BYTES_MAX).await else { return };
        let asked = codec::decode::<ToEdge>(&frame);
        let _measured = Measured::begin(asked.as_ref().ok());
        let answer = match asked {
            Err(error) => FromEdge::Refused(RpcError::Invalid { message: error.to_string() }),
            Ok(ToEdge::AllocStats { alloc_id }) => match self.stats(alloc_id).await {
                Ok(stats) => FromEdge::AllocStats(Box::new(stats)),
                Err(error) => FromEdge::Refused(error),
            },
            Ok(ToEdge::Files(asked)) => match self.alloc(asked.alloc_id) {
                Err(error) if !self.collector.is_collected(asked.alloc_id) => FromEdge::Refused(error),
                // Of one that is gone it is said that there is no such directory.
                Err(_) | Ok(_) => {
                    return files::serve(stream, AllocDir::new(&self.edge.allocs_dir, asked.alloc_id), asked).await;
                }
            },
            Ok(ToEdge::Exec(asked)) => match self.alloc(asked.alloc_id) {
                Err(error) => FromEdge::Refused(error),
                Ok(alloc) => return exec_stream::serve(stream, self.edge.clone(), alloc, asked).await,
            },
            Ok(ToEdge::RestartTasks { alloc_id, task, all }) => {
                done(async { task_calls::restart(&*self.alloc(alloc_id)?, &task, all).await }.await)
            }
            Ok(ToEdge::SignalTasks { alloc_id, task, signal }) => {
                done(async { task_calls::signal(&self.edge, &*self.alloc(alloc_id)?, &task, &signal).await }.await)
            }
            Ok(ToEdge::NodeStats) => FromEdge::NodeStats(Box::new(self.node_stats.read(&self.edge))),
            Ok(ToEdge::ReadMeta) => FromEdge::NodeMeta(Box::new(self.metadata.read())),
            Ok(ToEdge::ApplyMeta { meta }) => match self.metadata.apply(meta).await {
                Ok(meta) => FromEdge::NodeMeta(Box::new(meta)),
                Err(error) => FromEdge::Refused(error),
            },
            Ok(ToEdge::CollectAllocs { alloc_id }) => done(self.collector.collect(alloc_id).await),
            Ok(ToEdge::ReadLogs(asked)) => match self.check_logs(&asked).await {
                Err(error) => FromEdge::Refused(error),
                Ok(dir) => {
                    let (mut sender, _receiver) = stream.split();
                    if sender.send_frame(&codec::encode(&FromEdge::Logs)).await.is_ok() {
                        log_stream::send(&mut sender, &dir.logs(), &asked).await;
                    }
                    return;
                }
            },
        };
        if matches!(answer, FromEdge::Refused(_)) {
            drover_metrics::count("nomad.client.rpc.request_error", &[], 1.0);
        }
        if stream.send_frame(&codec::encode(&answer)).await.is_ok() {
            stream.finish();
        }
    }

    /// The alloc's directory, if there is such a log.
    async fn check_logs(&self, asked: &ReadLogs) -> Result<AllocDir, RpcError> {
        let alloc = self.alloc(asked.alloc_id).map_err(|error| match asked.alloc_id {
            id if self.collector.is_collected(id) => {
                RpcError::NotFound { message: format!("state for allocation {id} not found on client") }
            }
            _ => error,
        })?;
        let wanted = alloc.wanted();
        if wanted.group().is_none_or(|group| group.task(&asked.task).is_none()) {
            return Err(RpcError::NotFound { message: format!("unknown task name {:?}", asked.task) });
        }
        if !matches!(asked.stream.as_str(), "stdout" | "stderr") {
            return Err(RpcError::Invalid { message: "log type must be \"stdout\" or \"stderr\"".to_owned() });
        }
        let dir = AllocDir::new(&self.edge.allocs_dir, asked.alloc_id);
        let files = LogFiles::new(&dir.logs(), &asked.task, &asked.stream);
        let is_empty = tokio::task::spawn_blocking(move || files.list().is_empty()).await.unwrap_or(true);
        if is_empty && !alloc.running().contains_key(&asked.task) {
            let message = format!("task {:?} not started yet. No logs available", asked.task);
            return Err(RpcError::NotFound { message });
        }
        Ok(dir)
    }

    fn alloc(&self, id: AllocId) -> Result<Arc<AllocHandle>, RpcError> {
        self.allocs
            .get(id)
            .ok_or_else(|| RpcError::NotFound { message: format!("Unknown allocation {:?}", id.to_string()) })
    }

    /// What the tasks of an alloc use now.
    ///
    /// # Errors
    /// There is no such alloc here.
    pub async fn stats(&self, id: AllocId) -> Result<AllocStats, RpcError> {
        let running = self.alloc(id)?.running();
        let edge = self.edge.clone();
        let read = tokio::task::spawn_blocking(move || {
            let usage = running.into_iter().filter_map(|(task, handle)| {
                let usage = edge.drivers.get(&handle.driver)?.stats(&handle).ok()?;
                Some((task, handle.id, usage))
            });
            usage.collect::<Vec<_>>()
        });
        let read = read.await.map_err(|_| RpcError::Unavailable { message: "statistics can't be read".to_owned() })?;
        let now = clock::now().wall;
        let mhz =
            self.edge.facts().node.attributes.get("cpu.frequency").and_then(|mhz| mhz.parse().ok()).unwrap_or(0.0);
        let tasks = read.into_iter().map(|(task, task_id, usage)| {
            let share = self.share(task_id, now.0, usage.cpu_total_ns);
            (task, stats_of(&usage, share, mhz))
        });
        Ok(AllocStats { at: now, tasks: tasks.collect() })
    }

    /// The share of one core since the last reading, 1 being all of it.
    fn share(&self, task_id: String, at_ns: i64, cpu_total_ns: u64) -> f64 {
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        // Tasks that are gone leave their readings behind: a minute later nobody counts from them.
        readings.retain(|_, reading| (at_ns - reading.at_ns) as f64 <= 60.0 * SECOND_NS);
        let last = readings.insert(task_id, Reading { at_ns, cpu_total_ns });
        match last {
            Some(last) if at_ns > last.at_ns => {
                cpu_total_ns.saturating_sub(last.cpu_total_ns) as f64 / (at_ns - last.at_ns) as f64
            }
            _ => 0.0,
        }
    }
}

/// Measures a request from its begin to when it is dropped.
struct Measured {
    name: Option<&'static str>,
    began: Instant,
}

impl Measured {
    fn begin(asked: Option<&ToEdge>) -> Measured {
        drover_metrics::count("nomad.client.rpc.request", &[], 1.0);
        Measured { name: asked.map(name_of), began: Instant::now() }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        if let Some(name) = self.name {
            drover_metrics::duration(name, &[], self.began.elapsed());
        }
    }
}

/// The name under which a request is measured.
fn name_of(asked: &ToEdge) -> &'static str {
    match asked {
        ToEdge::AllocStats { .. } => "nomad.client.allocations.stats",
        ToEdge::Files(asked) => match asked.wanted {
            FilesWanted::List => "nomad.client.file_system.list",
            FilesWanted::Stat => "nomad.client.file_system.stat",
            FilesWanted::Read { .. } => "nomad.client.file_system.stream",
        },
        ToEdge::Exec(_) => "nomad.client.allocations.exec",
        ToEdge::RestartTasks { .. } => "nomad.client.allocations.restart",
        ToEdge::SignalTasks { .. } => "nomad.client.allocations.signal",
        ToEdge::NodeStats => "nomad.client.client_stats.stats",
        ToEdge::ReadMeta => "nomad.client.node_meta.read",
        ToEdge::ApplyMeta { .. } => "nomad.client.node_meta.apply",
        ToEdge::CollectAllocs { alloc_id: None } => "nomad.client.allocations.garbage_collect_all",
        ToEdge::CollectAllocs { .. } => "nomad.client.allocations.garbage_collect",
        ToEdge::ReadLogs(_) => "nomad.client.file_system.logs",
    }
}

fn done(result: Result<(), RpcError>) -> FromEdge {
    result.map_or_else(FromEdge::Refused, |()| FromEdge::Done)
}

fn stats_of(usage: &TaskUsage, share: f64, core_mhz: f64) -> TaskStats {
    TaskStats {
        memory_usage_bytes: usage.memory_usage_bytes,
        memory_rss_bytes: usage.memory_rss_bytes,
        memory_cache_bytes: usage.memory_cache_bytes,
        memory_max_usage_bytes: usage.memory_max_usage_bytes,
        cpu_total_ns: usage.cpu_total_ns,
        cpu_user_ns: usage.cpu_user_ns,
        cpu_system_ns: usage.cpu_system_ns,
        cpu_percent: share * 100.0,
        cpu_ticks_mhz: share * core_mhz,
        throttled_periods: usage.throttled_periods,
        throttled_ns: usage.throttled_ns,
        memory_swap_bytes: usage.memory_swap_bytes,
    }
}
