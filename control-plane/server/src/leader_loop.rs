//! Drives the leader's duties while this server leads: the eval broker, the scheduler, heartbeats, deployments, gc.
//!
//! What to do is decided by `drover_leader`; here are only the thread, the timers and the commits. Nothing ticks: the
//! loop wakes by events of the state, by deadlines, and by a change of leadership.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use drover_leader::deployments::Deployments;
use drover_leader::eval_broker::EvalBroker;
use drover_leader::heartbeat::Heartbeats;
use drover_leader::periodic::Launches;
use drover_leader::{gc, unblock, worker};
use drover_model::eval::Eval;
use drover_model::{NodeId, Timestamp};
use drover_state::{Change, Command, Events, Snapshot};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinHandle;

use crate::metrics::{self, Counted};
use crate::server::Server;
use crate::{chance, clock};

/// Evals scheduled together and committed as one entry.
const EVALS_PER_BATCH: usize = 64;
/// How often ended things are collected.
const GC_INTERVAL: Duration = Duration::from_secs(300);
/// The wait after a commit that failed, before the same is tried again.
const RETRY_WAIT: Duration = Duration::from_millis(100);
/// Woken so much later than asked for, the whole server stood still: stopped, or starved.
const STALL_MIN: Duration = Duration::from_secs(1);
/// Until a node that has not been heard by this leader counts as missing.
const HEARTBEAT_TTL: Duration = Duration::from_secs(10);

/// The heartbeats, shared between the loop and the streams that hear the edges.
#[derive(Default)]
pub struct Heard {
    heartbeats: Mutex<Option<Heartbeats>>,
    /// For the figures.
    pub(crate) counted: Counted,
}

impl Heard {
    /// An edge was heard; gives the time until its next heartbeat is due.
    pub fn heard(&self, node: NodeId) -> Duration {
        match self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(heartbeats) => heartbeats.heard(node, clock::steady()),
            None => HEARTBEAT_TTL,
        }
    }

    /// How many nodes are expected.
    pub fn count(&self) -> usize {
        self.with(|heartbeats| heartbeats.as_ref().map_or(0, Heartbeats::count))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Option<Heartbeats>) -> T) -> T {
        f(&mut self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs for as long as the server does; idle while another leads.
pub async fn run(server: Server) {
    let mut leadership = server.inner.raft.leadership();
    let mut last_term = None;
    loop {
        if leadership.wait_for(|now| now.is_leader).await.is_err() {
            return;
        }
        let term = leadership.borrow().term;
        if last_term.replace(term) != Some(term) {
            tracing::info!(term, "cluster leadership acquired");
            // Who was heard in an earlier reign counts no more. Within a reign it does, also when the duties begin anew.
            server.inner.heard.with(|heartbeats| *heartbeats = None);
        }
        tokio::select! {
            () = lead(&server) => {}
            result = leadership.wait_for(|now| !now.is_leader || now.term != term) => {
                tracing::info!("cluster leadership lost");
                last_term = None;
                server.inner.heard.counted.clear();
                server.inner.heard.with(|heartbeats| *heartbeats = None);
                if result.is_err() {
                    return;
                }
            }
        }
    }
}

struct Duties {
    broker: EvalBroker,
    launches: Launches,
    deployments: Deployments,
    /// On the steady clock.
    next_gc: Timestamp,
    /// The collection that is under way, or was the last.
    gc: Option<JoinHandle<()>>,
    jumps: clock::Jumps,
}

/// One reign. Returns when it can't go on; the caller begins anew if this server still leads.
async fn lead(server: &Server) {
    let mut events = server.inner.raft.events();
    let began = Instant::now();
    // A command of its own tells the new leader that everything before it is applied.
    if server.commit_here(&Command::Noop).await.is_err() {
        tokio::time::sleep(RETRY_WAIT).await;
        return;
    }
    metrics::led(began.elapsed());
    let now = clock::moment();
    let snapshot = server.reading().snapshot;
    server.inner.heard.with(|heartbeats| {
        heartbeats.get_or_insert_default().compare(&snapshot, now.steady);
    });
    let mut duties = Duties {
        broker: EvalBroker::rebuild(&snapshot, now),
        launches: Launches::default(),
        deployments: Deployments::default(),
        next_gc: now.steady.plus(GC_INTERVAL),
        gc: None,
        jumps: clock::Jumps::watch(),
    };
    for command in unblock::missed(&snapshot, now.wall) {
        if let Err(error) = server.commit_here(&command).await {
            tracing::warn!(%error, "blocked evals not woken, beginning anew");
            tokio::time::sleep(RETRY_WAIT).await;
            return;
        }
    }
    metrics::established(began.elapsed());
    let mut pending: Vec<Arc<Events>> = Vec::new();
    loop {
        if pending.iter().any(|events| events.changes.is_empty()) {
            // Another state has taken the place of this one: other nodes are to be heard, other evals are open.
            server.inner.heard.with(|heartbeats| *heartbeats = None);
            return;
        }
        match step(server, &mut duties, &pending).await {
            Ok(true) => pending.clear(),
            Ok(false) => {
                pending.clear();
                if !wait(server, &mut duties, &mut events, &mut pending).await {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "leader duty failed, beginning anew");
                tokio::time::sleep(RETRY_WAIT).await;
                return;
            }
        }
        if !drain(&mut events, &mut pending) {
            return;
        }
    }
}

/// Takes the events that are there; false when some were missed.
fn drain(events: &mut Receiver<Arc<Events>>, pending: &mut Vec<Arc<Events>>) -> bool {
    loop {
        match events.try_recv() {
            Ok(more) => pending.push(more),
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Lagged(_) | TryRecvError::Closed) => return false,
        }
    }
}

/// Waits for an event or the next deadline; false when events were missed.
async fn wait(
    server: &Server,
    duties: &mut Duties,
    events: &mut Receiver<Arc<Events>>,
    pending: &mut Vec<Arc<Events>>,
) -> bool {
    let heartbeats = server.inner.heard.with(|heartbeats| heartbeats.as_ref().and_then(Heartbeats::next_deadline));
    let now = clock::moment();
    let due = [duties.broker.next_deadline(), duties.deployments.next_deadline(), heartbeats]
        .into_iter()
        .flatten()
        .fold(duties.next_gc, Timestamp::min);
    let mut left = due.since(now.steady);
    // Launches alone are for a date, whatever the clock was before.
    if let Some(date) = duties.launches.next_deadline() {
        left = left.min(date.since(now.wall));
    }
    let began = clock::steady();
    let goes_on = tokio::select! {
        received = events.recv() => match received {
            Ok(first) => {
                pending.push(first);
                true
            }
            Err(RecvError::Lagged(_) | RecvError::Closed) => false,
        },
        () = tokio::time::sleep(left) => true,
        () = duties.jumps.next() => {
            tracing::warn!("the clock was set");
            true
        }
    };
    let late = clock::steady().since(began).saturating_sub(left);
    if late >= STALL_MIN {
        tracing::warn!(?late, "this server stood still; nodes get the time back");
        server.inner.heard.with(|heartbeats| heartbeats.iter_mut().for_each(|known| known.put_off(late)));
    }
    goes_on
}

/// Does what is due; true when something was committed, so that there may be more to do.
async fn step(server: &Server, duties: &mut Duties, pending: &[Arc<Events>]) -> Result<bool, crate::Error> {
    let moment = clock::moment();
    let now = moment.wall;
    let snapshot = server.reading().snapshot;
    let mut commands = Vec::new();
    let events = merged(pending);
    duties.broker.on_events(&snapshot, &events, moment);
    commands.extend(unblock::step(&snapshot, &events, now));
    duties.broker.tick(moment);
    let missing = |heartbeats: &mut Heartbeats| {
        let steady = clock::steady();
        heartbeats.on_events(&snapshot, &events, steady);
        heartbeats.step(&snapshot, steady, now)
    };
    commands.extend(server.inner.heard.with(|heartbeats| heartbeats.as_mut().map(missing)).unwrap_or_default());
    duties.deployments.on_events(&snapshot, &events);
    commands.extend(duties.deployments.step(&snapshot, moment, chance::seed()));
    duties.launches.on_events(&events);
    commands.extend(duties.launches.step(&snapshot, now, &crate::launches::zone));
    if moment.steady >= duties.next_gc {
        duties.next_gc = moment.steady.plus(GC_INTERVAL);
        if duties.gc.as_ref().is_none_or(JoinHandle::is_finished) {
            duties.gc = Some(tokio::spawn(collect(server.clone(), snapshot.clone(), now)));
        }
    }
    let mut busy = false;
    for command in commands {
        let began = Instant::now();
        let committed = server.commit_here(&command).await;
        if matches!(command, Command::UpdateNodeStatus { .. }) && committed.is_ok() {
            metrics::invalidated(began.elapsed());
        }
        match committed {
            Ok(_) => busy = true,
            // The state moved on meanwhile: its events are here already and the next step looks again.
            Err(crate::Error::NotFound(_) | crate::Error::Conflict(_)) => {}
            // Too long for the log: it would be so again, and the other duties must go on.
            Err(error @ crate::Error::Invalid(_)) => tracing::error!(%error, "leader duty can't be committed"),
            Err(error) => return Err(error),
        }
    }
    busy |= schedule(server, duties).await?;
    if !busy {
        // It may be long until the next step: what is said meanwhile is how things stand now.
        server.inner.heard.counted.set(duties.broker.counts());
    }
    Ok(busy)
}

/// Forgets what has ended long ago. Beside the other duties, which wait for none of it: all there is is looked at, off the threads
/// that answer, and what is proposed late does no harm.
async fn collect(server: Server, snapshot: Snapshot, now: Timestamp) {
    let begun = snapshot.begun_index();
    let Ok(commands) = tokio::task::spawn_blocking(move || gc::step(&snapshot, now)).await else { return };
    for command in commands {
        if server.reading().snapshot.begun_index() != begun {
            // Another state was put in its place: what had ended in the one may not have in the other.
            return;
        }
        if let Err(error) = server.commit_here(&command).await {
            // Whatever it was, the next round looks at all again.
            tracing::debug!(%error, "not collected");
            return;
        }
    }
}

/// The events of several entries as one, each change once: what follows from them is looked up in the newest state anyway.
fn merged(pending: &[Arc<Events>]) -> Events {
    let changes: BTreeSet<&Change> = pending.iter().flat_map(|events| &events.changes).collect();
    Events {
        index: pending.last().map_or(0, |events| events.index),
        changes: changes.into_iter().cloned().collect(),
        ..Events::default()
    }
}

/// Commits plans, in several entries where one would hold up others for long or is too long for the log.
async fn commit_plans(server: &Server, command: Command) -> Result<(), crate::Error> {
    let mut left = worker::parts(command);
    left.reverse();
    while let Some(command) = left.pop() {
        match server.commit_here(&command).await {
            Ok(_) => {}
            Err(error @ crate::Error::Invalid(_)) => {
                let (first, second) = worker::halves(command).ok_or(error)?;
                left.extend([second, first]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Schedules what is ready and commits it; true when there was something.
async fn schedule(server: &Server, duties: &mut Duties) -> Result<bool, crate::Error> {
    if server.reading().snapshot.scheduler_config().is_paused {
        return Ok(false);
    }
    let evals = duties.broker.take(EVALS_PER_BATCH);
    if evals.is_empty() {
        return Ok(false);
    }
    // Here, where some are being scheduled.
    if server.inner.heard.counted.is_due() {
        server.inner.heard.counted.set(duties.broker.counts());
    }
    let snapshot: Snapshot = server.reading().snapshot;
    let batch = evals.clone();
    let (taken_at, began) = (clock::now(), Instant::now());
    let command = tokio::task::spawn_blocking(move || scheduled(&snapshot, &batch))
        .await
        .map_err(|e| crate::Error::Internal { public: "scheduling failed".to_owned(), private: e.to_string() })?;
    if let Some(command) = command {
        let submitted = Instant::now();
        commit_plans(server, command).await?;
        metrics::submitted(submitted.elapsed());
    }
    for eval in evals {
        let waited = taken_at.since(eval.modify_time.max(eval.wait_until));
        metrics::evaluated(&eval, waited, began.elapsed());
        duties.broker.done(eval.id);
    }
    Ok(true)
}

/// Schedules evals on that state, measuring each.
fn scheduled(snapshot: &Snapshot, evals: &[Arc<Eval>]) -> Option<Command> {
    let mut began = Instant::now();
    worker::run_observed(snapshot, evals, clock::now(), chance::seed(), &mut |eval, rejected| {
        metrics::scheduled(eval, began.elapsed(), rejected);
        began = Instant::now();
    })
}
