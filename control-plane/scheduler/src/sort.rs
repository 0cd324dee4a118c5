//! Sorts the allocs of a group by what is with them: alive, failed and to be replaced, moving, done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use drover_model::alloc::{Alloc, ClientStatus, DesiredStatus};
use drover_model::deployment::{Deployment, DeploymentStatus};
use drover_model::group::Group;
use drover_model::job::Job;
use drover_model::node::NodeStatus;
use drover_model::{AllocId, DeploymentId, Timestamp};
use drover_state::Snapshot;

use crate::reconcile::{Input, is_batch};
use crate::reschedule::{self, Reschedule};

/// The allocs of one group. Each list is in the order of names.
#[derive(Clone, Debug, Default)]
pub struct Sorted {
    /// They fill a slot: running, or ended for good.
    pub live: Vec<Arc<Alloc>>,
    /// Those of `live` that failed and will be replaced later.
    pub later: BTreeMap<AllocId, Timestamp>,
    /// They failed and are replaced now.
    pub failed: Vec<Arc<Alloc>>,
    /// They must leave their node, or the node is gone.
    pub moving: Vec<Arc<Alloc>>,
    /// Those whose node is gone.
    pub lost: BTreeSet<AllocId>,
    /// Ended allocs of older versions of a batch job: they fill no slot and are shown as ignored.
    pub done: u64,
}

/// The alloc runs the job's newest version.
pub fn is_current(alloc: &Alloc, job: &Job) -> bool {
    alloc.job_version == job.version && alloc.job_create_index == job.create_index
}

/// The node can't be heard of any more: what ran there is lost.
pub fn is_node_gone(snapshot: &Snapshot, alloc: &Alloc) -> bool {
    match snapshot.node(alloc.node_id) {
        Some(node) => matches!(node.status, NodeStatus::Down | NodeStatus::Disconnected),
        None => true,
    }
}

/// Sorts the allocs of a group.
pub fn sort(
    input: &Input<'_>,
    job: &Job,
    deployment: Option<&Deployment>,
    group: &Group,
    allocs: &[&Arc<Alloc>],
) -> Sorted {
    let mut sorted = Sorted::default();
    for &alloc in allocs.iter().filter(|alloc| alloc.desired_status == DesiredStatus::Run) {
        match alloc.client_status {
            ClientStatus::Complete | ClientStatus::Failed if is_batch(job) && !is_current(alloc, job) => {
                sorted.done += 1;
            }
            ClientStatus::Complete if is_batch(job) => sorted.live.push(Arc::clone(alloc)),
            ClientStatus::Complete | ClientStatus::Lost => {}
            ClientStatus::Failed => sorted.add_failed(input, job, deployment, group, alloc),
            ClientStatus::Pending | ClientStatus::Running | ClientStatus::Unknown => {
                if is_node_gone(input.snapshot, alloc) {
                    sorted.lost.insert(alloc.id);
                    sorted.moving.push(Arc::clone(alloc));
                } else if alloc.desired_transition.migrate == Some(true) {
                    sorted.moving.push(Arc::clone(alloc));
                } else {
                    sorted.live.push(Arc::clone(alloc));
                }
            }
        }
    }
    for list in [&mut sorted.live, &mut sorted.failed, &mut sorted.moving] {
        list.sort_by_key(|alloc| (alloc.name_index(), alloc.create_index, alloc.id));
    }
    sorted
}

impl Sorted {
    fn add_failed(
        &mut self,
        input: &Input<'_>,
        job: &Job,
        deployment: Option<&Deployment>,
        group: &Group,
        alloc: &Arc<Alloc>,
    ) {
        if alloc.next_allocation.is_some() || alloc.job_create_index != job.create_index {
            return;
        }
        let transition = alloc.desired_transition;
        let is_forced = transition.force_reschedule == Some(true);
        let is_held = deployment.is_some_and(|deployment| {
            Some(deployment.id) == alloc.deployment_id
                && !is_forced
                && (deployment.status == DeploymentStatus::Failed
                    || (deployment.status.is_active() && transition.reschedule != Some(true)))
        });
        let is_due = alloc.followup_eval_id == Some(input.eval.id);
        let decision = match is_held {
            true => Reschedule::Never,
            false => reschedule::decide(alloc, group.reschedule_policy.as_ref(), input.now, is_due),
        };
        match decision {
            Reschedule::Now => self.failed.push(Arc::clone(alloc)),
            Reschedule::Never => self.live.push(Arc::clone(alloc)),
            Reschedule::At(due) => {
                let followup = alloc.followup_eval_id.and_then(|id| input.snapshot.eval(id));
                // An eval that waits for it already is not made twice.
                if followup.is_none_or(|eval| eval.status.is_terminal()) {
                    self.later.insert(alloc.id, due);
                }
                self.live.push(Arc::clone(alloc));
            }
        }
    }

    /// Every alloc that fills or frees a slot under its name.
    pub fn all(&self) -> impl Iterator<Item = &Alloc> {
        self.live.iter().chain(&self.failed).chain(&self.moving).map(|alloc| &**alloc)
    }

    /// How many slots are filled, will be filled by replacements, or shall stay empty.
    pub fn slots(&self) -> usize {
        self.live.len() + self.failed.len() + self.moving.len()
    }

    /// How many are to be replaced.
    pub fn replaced(&self) -> usize {
        let has_successor = |alloc: &&Arc<Alloc>| alloc.desired_transition.migrate_disable_placement != Some(true);
        self.failed.len() + self.moving.iter().filter(has_successor).count()
    }

    /// Takes out the allocs of which `is_wanted` says so.
    pub fn take_where(&mut self, is_wanted: impl Fn(&Alloc) -> bool) -> Vec<Arc<Alloc>> {
        let mut taken = Vec::new();
        for list in [&mut self.live, &mut self.failed] {
            taken.extend(list.extract_if(.., |alloc| is_wanted(alloc)));
        }
        taken
    }

    /// Takes out the live canaries of a deployment.
    pub fn take_canaries(&mut self, deployment: Option<&Deployment>) -> Vec<Arc<Alloc>> {
        let id = deployment.map(|deployment| deployment.id);
        self.live.extract_if(.., |alloc| alloc.is_canary() && alloc.deployment_id == id).collect()
    }

    /// Takes out what is above the count: what is gone anyway, what a promoted canary replaces, second allocs of one
    /// name, then the highest indexes.
    pub fn take_surplus(&mut self, count: usize, promoted: Option<DeploymentId>) -> Vec<Arc<Alloc>> {
        let mut taken = Vec::new();
        let mut surplus = (self.live.len() + self.failed.len() + self.moving.len()).saturating_sub(count);
        while surplus > 0 {
            let Some(alloc) = self.moving.pop() else { break };
            taken.push(alloc);
            surplus -= 1;
        }
        let is_new = |alloc: &Alloc| promoted.is_some() && alloc.deployment_id == promoted;
        let new_names: BTreeSet<String> =
            self.live.iter().filter(|alloc| is_new(alloc)).map(|alloc| alloc.name.clone()).collect();
        for list in [&mut self.failed, &mut self.live] {
            list.retain(|alloc| {
                let is_replaced = surplus > 0 && !is_new(alloc) && new_names.contains(&alloc.name);
                if is_replaced {
                    taken.push(Arc::clone(alloc));
                    surplus -= 1;
                }
                !is_replaced
            });
        }
        let mut seen = BTreeSet::new();
        let mut second = BTreeSet::new();
        // Of one name the newest version stays, then the youngest.
        let mut newest_first: Vec<&Arc<Alloc>> = self.live.iter().collect();
        newest_first.sort_by_key(|alloc| std::cmp::Reverse((alloc.job_version, alloc.create_index, alloc.id)));
        for alloc in newest_first {
            if !seen.insert(alloc.name.clone()) {
                second.insert(alloc.id);
            }
        }
        self.live.retain(|alloc| {
            let goes = surplus > 0 && second.contains(&alloc.id);
            if goes {
                taken.push(Arc::clone(alloc));
                surplus -= 1;
            }
            !goes
        });
        while surplus > 0 {
            let top = |list: &[Arc<Alloc>]| list.last().map(|alloc| alloc.name_index());
            let list = if top(&self.failed) >= top(&self.live) { &mut self.failed } else { &mut self.live };
            let Some(alloc) = list.pop() else { break };
            taken.push(alloc);
            surplus -= 1;
        }
        taken
    }
}
