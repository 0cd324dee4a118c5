//! Who waits for what: blocking queries and streams are woken by the key that changed, not by a clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use drover_model::{AllocId, DeploymentId, EvalId, JobKey, NodeId};
use drover_state::Table;
use drover_state::event::{Change, Events};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// The most different keys waited for at a time; beyond it a waiter sleeps on its table instead.
const KEYS_MAX: usize = 65_536;

/// What may be waited for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watch {
    /// Anything of one kind.
    Table(Table),
    /// One job.
    Job(JobKey),
    /// One node.
    Node(NodeId),
    /// One eval.
    Eval(EvalId),
    /// One alloc.
    Alloc(AllocId),
    /// One deployment.
    Deployment(DeploymentId),
    /// The allocs of a job.
    AllocsOfJob(JobKey),
    /// The allocs of a node.
    AllocsOfNode(NodeId),
    /// The allocs an eval placed.
    AllocsOfEval(EvalId),
    /// The evals of a job.
    EvalsOfJob(JobKey),
    /// The deployments of a job.
    DeploymentsOfJob(JobKey),
    /// What servers want of a node's allocs (not the node's own reports).
    WantedOfNode(NodeId),
}

impl Watch {
    /// The kind that it is of: whatever wakes this wakes whoever waits for that table too.
    fn table(&self) -> Table {
        match self {
            Watch::Table(table) => *table,
            Watch::Job(_) => Table::Jobs,
            Watch::Node(_) => Table::Nodes,
            Watch::Eval(_) | Watch::EvalsOfJob(_) => Table::Evals,
            Watch::Alloc(_)
            | Watch::AllocsOfJob(_)
            | Watch::AllocsOfNode(_)
            | Watch::AllocsOfEval(_)
            | Watch::WantedOfNode(_) => Table::Allocs,
            Watch::Deployment(_) | Watch::DeploymentsOfJob(_) => Table::Deployments,
        }
    }
}

/// The waiters by key.
#[derive(Default)]
pub struct Waiters {
    by_key: Mutex<BTreeMap<Watch, Arc<Notify>>>,
}

/// A place in the queue for one key. Made before the state is read, so that no change falls between.
pub struct Waiter {
    notified: std::pin::Pin<Box<tokio::sync::futures::OwnedNotified>>,
}

impl Waiter {
    /// Waits for a change or the deadline; false at the deadline.
    pub async fn changed(self, deadline: Instant) -> bool {
        timeout_at(deadline, self.notified).await.is_ok()
    }
}

impl Waiters {
    /// Takes a place for that key.
    pub fn wait_for(&self, watch: &Watch) -> Waiter {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if by_key.len() >= KEYS_MAX {
            // Keys that nobody holds any more are only dropped when they get in the way.
            by_key.retain(|_, notify| Arc::strong_count(notify) > 1);
        }
        let is_room = by_key.len() < KEYS_MAX || by_key.contains_key(watch);
        let key = if is_room { watch.clone() } else { Watch::Table(watch.table()) };
        let notify = by_key.entry(key).or_default().clone();
        let mut notified = Box::pin(notify.notified_owned());
        // From here on a wake-up counts, whether it is polled or not.
        notified.as_mut().enable();
        Waiter { notified }
    }

    /// Wakes everybody whose key changed. An entry without changes is a new beginning: it wakes all.
    pub fn wake(&self, events: &Events) {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if by_key.is_empty() {
            return;
        }
        if events.changes.is_empty() {
            by_key.values().for_each(|notify| notify.notify_waiters());
            by_key.clear();
            return;
        }
        for change in &events.changes {
            for watch in keys(change) {
                if let Some(notify) = by_key.remove(&watch) {
                    notify.notify_waiters();
                }
            }
        }
    }
}

fn keys(change: &Change) -> Vec<Watch> {
    match change {
        Change::Job(key) => vec![Watch::Table(Table::Jobs), Watch::Job(key.clone())],
        Change::Node(id) => vec![Watch::Table(Table::Nodes), Watch::Node(*id)],
        Change::Eval { id, job } => {
            vec![Watch::Table(Table::Evals), Watch::Eval(*id), Watch::EvalsOfJob(job.clone())]
        }
        Change::Alloc { id, node, job, eval, desired } => {
            let mut keys = vec![
                Watch::Table(Table::Allocs),
                Watch::Alloc(*id),
                Watch::AllocsOfJob(job.clone()),
                Watch::AllocsOfNode(*node),
            ];
            keys.extend(eval.map(Watch::AllocsOfEval));
            if *desired {
                keys.push(Watch::WantedOfNode(*node));
            }
            keys
        }
        Change::Deployment { id, job } => {
            vec![Watch::Table(Table::Deployments), Watch::Deployment(*id), Watch::DeploymentsOfJob(job.clone())]
        }
        Change::JoinTokens => vec![Watch::Table(Table::JoinTokens)],
        Change::Namespace(_) => vec![Watch::Table(Table::Namespaces)],
        Change::SchedulerConfig => vec![Watch::Table(Table::SchedulerConfig)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_between_taking_a_place_and_waiting_is_not_lost() {
        let waiters = Waiters::default();
        let key = JobKey::new("default", "web");
        let waiter = waiters.wait_for(&Watch::Job(key.clone()));
        waiters.wake(&Events { index: 1, changes: vec![Change::Job(key)], ..Events::default() });
        assert!(waiter.changed(Instant::now()).await);
    }

    #[tokio::test]
    async fn other_keys_do_not_wake() {
        let waiters = Waiters::default();
        let waiter = waiters.wait_for(&Watch::Job(JobKey::new("default", "web")));
        waiters.wake(&Events {
            index: 1,
            changes: vec![Change::Job(JobKey::new("default", "other"))],
            ..Events::default()
        });
        assert!(!waiter.changed(Instant::now()).await);
    }

    #[tokio::test]
    async fn with_too_many_keys_a_waiter_sleeps_on_its_table() {
        let waiters = Waiters::default();
        let id = |number: usize| drover_model::AllocId::from((number as u128).to_le_bytes());
        let held: Vec<_> = (0..KEYS_MAX).map(|number| waiters.wait_for(&Watch::Alloc(id(number)))).collect();
        let late = waiters.wait_for(&Watch::Alloc(id(KEYS_MAX)));
        assert!(waiters.by_key.lock().unwrap().len() <= KEYS_MAX + 1);
        let (node, job) = (NodeId::default(), JobKey::new("default", "web"));
        let change = Change::Alloc { id: id(KEYS_MAX), node, job, eval: None, desired: false };
        waiters.wake(&Events { index: 1, changes: vec![change], ..Events::default() });
        assert!(late.changed(Instant::now()).await);
        drop(held);
    }
}
