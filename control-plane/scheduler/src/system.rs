//! System and sysbatch jobs: one alloc of each group on every node that can run it.
//!
//! Left out: canaries, and blocked evals per node (one per job waits for all nodes without room).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use drover_model::alloc::{Alloc, ClientStatus, DesiredStatus, alloc_name};
use drover_model::deployment::Deployment;
use drover_model::group::Group;
use drover_model::job::{Job, JobType};
use drover_model::plan::{DesiredUpdates, PlanAnnotations, PlanUpdate};
use drover_model::{DeploymentId, JobKey, NodeId};

use crate::change::{self, GroupChange};
use crate::feasible::{self, Rules};
use crate::placing::Placing;
use crate::reconcile::{self, Input, Place, Reconciled, reason};
use crate::rollout::{self, Stage};
use crate::schedule::{Placed, Work};
use crate::sort;

/// Plans a system or sysbatch job that shall run.
pub(crate) fn run(work: &mut Work<'_>, job: &Arc<Job>, key: &JobKey) -> Placed {
    let snapshot = work.snapshot;
    let candidates = feasible::candidates(snapshot, job);
    let mut system = System {
        job,
        nodes: candidates.nodes.iter().map(|node| node.id).collect(),
        deployment: rollout::current(snapshot, job),
        new_deployment: DeploymentId::from_random(work.seeds.next_bytes()),
        out: Reconciled::default(),
        places: Vec::new(),
    };
    let mut by_group: BTreeMap<&str, Vec<&Arc<Alloc>>> = BTreeMap::new();
    for alloc in snapshot.allocs_of_job(key) {
        reconcile::mark_lost(snapshot, alloc, &mut system.out);
        by_group.entry(&alloc.task_group).or_default().push(alloc);
    }
    for group in &job.task_groups {
        let allocs = by_group.remove(group.name.as_str()).unwrap_or_default();
        system.group(work, group, &allocs);
    }
    let System { new_deployment, mut out, places, .. } = system;
    reconcile::stop_groups(snapshot, by_group, &mut out);
    out.rollout.updates = rollout::cancellations(snapshot, key, Some(job));
    let input = Input { snapshot, eval: work.eval, now: work.context.now, may_stay: &|_, _| false };
    out.rollout.finish(job, new_deployment, &input);
    work.plan.updates = out.updates;
    work.plan.deployment = out.rollout.deployment;
    work.plan.deployment_updates = out.rollout.updates;
    let mut desired = out.desired;
    let mut placing = Placing::new(work, candidates, key, Some(job));
    for (alloc, stop) in out.stops {
        placing.stop(&alloc, stop);
    }
    for (node, place) in places {
        let group = place.group.clone();
        if !placing.place_on(node, place) {
            // What has no room is not shown as placed.
            let counts = desired.entry(group).or_default();
            counts.place = counts.place.saturating_sub(1);
        }
    }
    for group in job.task_groups.iter().filter(|group| group.count > 0) {
        placing.note_if_refused_everywhere(job, group);
    }
    desired.retain(|_, counts| !counts.is_empty());
    let mut placed = placing.finish();
    for group in &job.task_groups {
        placed.queued.entry(group.name.clone()).or_default();
    }
    placed.waits = placed.queued.values().any(|&queued| queued > 0);
    work.plan.annotations = Some(PlanAnnotations { desired_group_updates: desired, ..PlanAnnotations::default() });
    placed
}

struct System<'a> {
    job: &'a Arc<Job>,
    nodes: Vec<NodeId>,
    deployment: Option<&'a Deployment>,
    new_deployment: DeploymentId,
    out: Reconciled,
    places: Vec<(NodeId, Place)>,
}

impl System<'_> {
    fn group(&mut self, work: &Work<'_>, group: &Group, allocs: &[&Arc<Alloc>]) {
        let snapshot = work.snapshot;
        let rules = Rules::new(self.job, group);
        let mut desired = DesiredUpdates::default();
        // Nodes on which the group is, or where its alloc waits for its turn.
        let mut occupied: BTreeSet<NodeId> = BTreeSet::new();
        let mut ended: BTreeMap<NodeId, Arc<Alloc>> = BTreeMap::new();
        let mut destructive = Vec::new();
        let mut in_place = Vec::new();
        let mut live = Vec::new();
        for &alloc in allocs.iter().filter(|alloc| alloc.desired_status == DesiredStatus::Run) {
            if alloc.is_client_terminal() {
                let is_done = self.job.kind == JobType::SysBatch && sort::is_current(alloc, self.job);
                match is_done {
                    true => {
                        occupied.insert(alloc.node_id);
                        desired.ignore += 1;
                    }
                    false if alloc.next_allocation.is_none() => {
                        ended.insert(alloc.node_id, Arc::clone(alloc));
                    }
                    false => {}
                }
                continue;
            }
            let node = snapshot.node(alloc.node_id);
            let stays = node.is_some_and(|node| {
                group.count > 0 && feasible::is_in_reach(node, self.job) && rules.refusal(node).is_none()
            });
            if sort::is_node_gone(snapshot, alloc) {
                desired.stop += 1;
                self.out.stops.push(reconcile::stop(alloc, reason::LOST, Some(ClientStatus::Lost)));
            } else if alloc.desired_transition.migrate == Some(true) {
                desired.stop += 1;
                let drains = node.is_some_and(|node| node.drain_strategy.is_some());
                let why = if drains { reason::TAINTED } else { reason::MIGRATING };
                self.out.stops.push(reconcile::stop(alloc, why, None));
            } else if !stays || !occupied.insert(alloc.node_id) {
                desired.stop += 1;
                self.out.stops.push(reconcile::stop(alloc, reason::NOT_NEEDED, None));
            } else {
                live.push(Arc::clone(alloc));
                match self.change_of(work, group, alloc) {
                    GroupChange::None => desired.ignore += 1,
                    GroupChange::InPlace => in_place.push(Arc::clone(alloc)),
                    // A closed node takes nothing new: what runs there goes on as it is.
                    GroupChange::Destructive if !self.nodes.contains(&alloc.node_id) => desired.ignore += 1,
                    GroupChange::Destructive => destructive.push(Arc::clone(alloc)),
                }
            }
        }
        let is_free = |node: &&NodeId| {
            let refused = || snapshot.node(**node).is_none_or(|node| rules.refusal(node).is_some());
            group.count > 0 && !occupied.contains(node) && !refused()
        };
        let free: Vec<NodeId> = self.nodes.iter().filter(is_free).copied().collect();
        let strategy = rollout::strategy(self.job, group);
        let stage = Stage::of(self.deployment, group);
        let total = free.len() + destructive.len() + in_place.len();
        let had_version = allocs.iter().any(|alloc| sort::is_current(alloc, self.job));
        let is_update = !destructive.is_empty() || !in_place.is_empty();
        if let Some(update) = strategy.filter(|_| self.deployment.is_none() && total > 0 && (!had_version || is_update))
        {
            self.out.rollout.add_group(group, update, total, false);
        }
        let deployment_id = self.deployment_of(group);
        let limit = stage.limit(strategy, &live, free.len());
        desired.destructive_update = destructive.len() as u64;
        desired.place += free.len() as u64 + desired.destructive_update;
        desired.in_place_update = in_place.len() as u64;
        for alloc in in_place {
            self.out.updates.push(PlanUpdate {
                alloc_id: alloc.id,
                job_version: Some(self.job.version),
                eval_id: Some(work.eval.id),
                deployment_id,
                followup_eval: None,
            });
        }
        for alloc in destructive.into_iter().take(limit) {
            self.place(group, alloc.node_id, Some((alloc, reason::UPDATING)), deployment_id);
        }
        for node in free {
            let previous = ended.remove(&node).map(|alloc| (alloc, reason::RESCHEDULED));
            self.place(group, node, previous, deployment_id);
        }
        if !desired.is_empty() {
            self.out.desired.insert(group.name.clone(), desired);
        }
    }

    fn change_of(&self, work: &Work<'_>, group: &Group, alloc: &Alloc) -> GroupChange {
        if sort::is_current(alloc, self.job) {
            return GroupChange::None;
        }
        let old = work.snapshot.job_version(&alloc.job_key(), alloc.job_version);
        match old.filter(|old| old.create_index == alloc.job_create_index) {
            Some(old) => change::kind(old, self.job, &group.name),
            None => GroupChange::Destructive,
        }
    }

    fn deployment_of(&self, group: &Group) -> Option<DeploymentId> {
        if self.out.rollout.has_group(&group.name) {
            return Some(self.new_deployment);
        }
        let goes_on = |deployment: &&Deployment| {
            deployment.status.is_active() && deployment.task_groups.contains_key(&group.name)
        };
        self.deployment.filter(goes_on).map(|deployment| deployment.id)
    }

    fn place(
        &mut self,
        group: &Group,
        node: NodeId,
        previous: Option<(Arc<Alloc>, &'static str)>,
        deployment_id: Option<DeploymentId>,
    ) {
        let (previous, stops_previous) = previous.unzip();
        let place = Place {
            job: Arc::clone(self.job),
            group: group.name.clone(),
            name: alloc_name(&self.job.id, &group.name, 0),
            previous,
            stops_previous,
            is_reschedule: false,
            is_canary: false,
            deployment_id,
        };
        self.places.push((node, place));
    }
}
