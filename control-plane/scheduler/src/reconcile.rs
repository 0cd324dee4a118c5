//! What a job asks for against what there is: which allocs stay, change, stop and are placed. No node is chosen here.

use std::collections::BTreeMap;
use std::sync::Arc;

use drover_model::alloc::{Alloc, ClientStatus, DesiredStatus, alloc_name};
use drover_model::deployment::Deployment;
use drover_model::eval::{Eval, EvalStatus, EvalTrigger};
use drover_model::group::Group;
use drover_model::job::{Job, JobType};
use drover_model::plan::{DesiredUpdates, PlanStop, PlanUpdate};
use drover_model::{AllocId, DeploymentId, EvalId, JobKey, Timestamp};
use drover_state::Snapshot;

use crate::change;
use crate::names::NameIndex;
use crate::rollout::{self, Rollout};
use crate::seed::Seeds;
use crate::sort::{self, Sorted};

/// Why allocs stop, in the words of the API.
pub mod reason {
    /// The count went down, the group or the job is gone, a canary is not wanted.
    pub const NOT_NEEDED: &str = "alloc not needed due to job update";
    /// A new version replaces it.
    pub const UPDATING: &str = "alloc is being updated due to job update";
    /// It moves to another node.
    pub const MIGRATING: &str = "alloc is being migrated";
    /// Its node is gone.
    pub const LOST: &str = "alloc is lost since its node is down";
    /// A system alloc on a node that drains.
    pub const TAINTED: &str = "alloc not needed as node is tainted";
    /// It failed and was replaced: the API says nothing.
    pub const RESCHEDULED: &str = "";
}

/// Follow-ups due within this time share one eval.
const FOLLOWUP_BATCH: std::time::Duration = std::time::Duration::from_secs(5);

/// What is given to a reconciliation.
pub struct Input<'a> {
    /// The state.
    pub snapshot: &'a Snapshot,
    /// The eval at hand.
    pub eval: &'a Eval,
    /// The time.
    pub now: Timestamp,
    /// True when an alloc may stay on its node under the job's newest version.
    pub may_stay: &'a dyn Fn(&Alloc, &Group) -> bool,
}

/// What shall happen.
#[derive(Clone, Debug, Default)]
pub struct Reconciled {
    /// Counts per group.
    pub desired: BTreeMap<String, DesiredUpdates>,
    /// Allocs that stop whatever can be placed.
    pub stops: Vec<(Arc<Alloc>, PlanStop)>,
    /// Allocs that stay, with changes.
    pub updates: Vec<PlanUpdate>,
    /// Allocs to be placed, in order.
    pub places: Vec<Place>,
    /// A new deployment and changes of old ones.
    pub rollout: Rollout,
    /// Evals for later replacements.
    pub followups: Vec<Eval>,
}

/// One alloc to be placed.
#[derive(Clone, Debug)]
pub struct Place {
    /// The version it shall run.
    pub job: Arc<Job>,
    /// The group.
    pub group: String,
    /// Its name.
    pub name: String,
    /// The alloc whose place it takes.
    pub previous: Option<Arc<Alloc>>,
    /// The previous alloc stops, for this reason, if and only if this one can be placed.
    pub stops_previous: Option<&'static str>,
    /// The previous one failed: the replacement counts as an attempt.
    pub is_reschedule: bool,
    /// It is a canary.
    pub is_canary: bool,
    /// The deployment it counts in.
    pub deployment_id: Option<DeploymentId>,
}

/// Compares what the job asks for with what there is. `job` is none for a job that was purged.
pub fn reconcile(input: &Input<'_>, job: Option<&Arc<Job>>, key: &JobKey, seeds: &mut Seeds) -> Reconciled {
    let mut by_group: BTreeMap<&str, Vec<&Arc<Alloc>>> = BTreeMap::new();
    for alloc in input.snapshot.allocs_of_job(key) {
        by_group.entry(&alloc.task_group).or_default().push(alloc);
    }
    let mut out = Reconciled::default();
    let active_job = job.filter(|job| !job.stop);
    out.rollout.updates = rollout::cancellations(input.snapshot, key, active_job.map(|job| &**job));
    for alloc in by_group.values().flatten() {
        mark_lost(input.snapshot, alloc, &mut out);
    }
    let Some(job) = active_job else {
        stop_groups(input.snapshot, by_group, &mut out);
        return out;
    };
    let deployment = rollout::current(input.snapshot, job);
    let new_deployment = DeploymentId::from_random(seeds.next_bytes());
    let mut reconciler = Reconciler { input, job, deployment, new_deployment, later: Vec::new(), out };
    for group in &job.task_groups {
        let allocs = by_group.remove(group.name.as_str()).unwrap_or_default();
        reconciler.group(group, &allocs);
    }
    let Reconciler { later, mut out, .. } = reconciler;
    stop_groups(input.snapshot, by_group, &mut out);
    followups(input, job, later, seeds, &mut out);
    out.rollout.finish(job, new_deployment, input);
    out
}

/// An alloc that was to end on a node that is gone will never say so itself.
pub(crate) fn mark_lost(snapshot: &Snapshot, alloc: &Arc<Alloc>, out: &mut Reconciled) {
    if alloc.desired_status == DesiredStatus::Run || alloc.is_client_terminal() || !sort::is_node_gone(snapshot, alloc)
    {
        return;
    }
    let stop = PlanStop {
        alloc_id: alloc.id,
        desired_status: alloc.desired_status,
        desired_description: alloc.desired_description.clone(),
        client_status: Some(ClientStatus::Lost),
        ..PlanStop::default()
    };
    out.stops.push((Arc::clone(alloc), stop));
}

pub(crate) fn stop(alloc: &Arc<Alloc>, why: &str, client_status: Option<ClientStatus>) -> (Arc<Alloc>, PlanStop) {
    let stop = PlanStop {
        alloc_id: alloc.id,
        desired_status: DesiredStatus::Stop,
        desired_description: why.to_owned(),
        client_status,
        ..PlanStop::default()
    };
    (Arc::clone(alloc), stop)
}

pub(crate) fn stop_groups(snapshot: &Snapshot, groups: BTreeMap<&str, Vec<&Arc<Alloc>>>, out: &mut Reconciled) {
    for (group, allocs) in groups {
        let mut stopped = 0;
        for alloc in allocs.into_iter().filter(|alloc| alloc.desired_status == DesiredStatus::Run) {
            stopped += 1;
            out.stops.push(match !alloc.is_client_terminal() && sort::is_node_gone(snapshot, alloc) {
                true => stop(alloc, reason::LOST, Some(ClientStatus::Lost)),
                false => stop(alloc, reason::NOT_NEEDED, None),
            });
        }
        if stopped > 0 {
            out.desired.insert(group.to_owned(), DesiredUpdates { stop: stopped, ..DesiredUpdates::default() });
        }
    }
}

/// Makes the evals that replace failed allocs later, and marks the allocs with them.
fn followups(
    input: &Input<'_>,
    job: &Job,
    mut later: Vec<(Timestamp, AllocId)>,
    seeds: &mut Seeds,
    out: &mut Reconciled,
) {
    later.sort();
    for (due, alloc_id) in later {
        let fits = |eval: &&Eval| due <= eval.wait_until.plus(FOLLOWUP_BATCH);
        let eval_id = match out.followups.last().filter(fits) {
            Some(eval) => eval.id,
            None => {
                let eval = Eval {
                    id: EvalId::from_random(seeds.next_bytes()),
                    namespace: job.namespace.clone(),
                    priority: input.eval.priority,
                    kind: job.kind,
                    triggered_by: EvalTrigger::AllocReschedule,
                    job_id: job.id.clone(),
                    job_modify_index: job.modify_index,
                    status: EvalStatus::Pending,
                    status_description: "created for delayed rescheduling".to_owned(),
                    wait_until: due,
                    previous_eval: Some(input.eval.id),
                    ..Eval::default()
                };
                out.followups.push(eval);
                out.followups[out.followups.len() - 1].id
            }
        };
        out.updates.push(PlanUpdate { alloc_id, followup_eval: Some(eval_id), ..PlanUpdate::default() });
    }
}

struct Reconciler<'a, 'b> {
    input: &'b Input<'a>,
    job: &'b Arc<Job>,
    /// The deployment of the job's newest version, whatever became of it.
    deployment: Option<&'b Deployment>,
    new_deployment: DeploymentId,
    later: Vec<(Timestamp, AllocId)>,
    out: Reconciled,
}

impl Reconciler<'_, '_> {
    fn group(&mut self, group: &Group, allocs: &[&Arc<Alloc>]) {
        let mut sorted = sort::sort(self.input, self.job, self.deployment, group, allocs);
        let mut desired = DesiredUpdates { ignore: sorted.done, ..DesiredUpdates::default() };
        let stage = rollout::Stage::of(self.deployment, group);
        let stale_canaries = self.take_stale_canaries(group, &mut sorted);
        desired.stop += self.stop_all(stale_canaries, reason::NOT_NEEDED);
        let canaries = if stage.is_canarying() { sorted.take_canaries(self.deployment) } else { Vec::new() };

        let count = usize::try_from(group.count).unwrap_or(0);
        let promoted = if stage.is_promoted { self.deployment.map(|deployment| deployment.id) } else { None };
        let surplus = sorted.take_surplus(count, promoted);
        desired.stop += surplus.len() as u64;
        for alloc in &surplus {
            self.out.stops.push(match sorted.lost.contains(&alloc.id) {
                true => stop(alloc, reason::LOST, Some(ClientStatus::Lost)),
                false => stop(alloc, reason::NOT_NEEDED, None),
            });
        }
        let split = self.split_updates(group, &sorted);
        let strategy = rollout::strategy(self.job, group);
        let missing = match stage.is_held || stage.is_canarying() {
            true => 0,
            false => count.saturating_sub(sorted.slots()),
        };

        let wants_canaries = strategy.is_some_and(|update| update.canary > 0)
            && !split.destructive.is_empty()
            && !stage.is_promoted
            && !stage.is_held
            && (self.deployment.is_none() || stage.is_canarying());
        let is_canarying = stage.is_canarying() || wants_canaries;
        let had_version = allocs.iter().any(|alloc| sort::is_current(alloc, self.job));
        let total = sorted.replaced() + missing + split.destructive.len() + split.in_place.len();
        let is_update = !split.destructive.is_empty() || !split.in_place.is_empty();
        if let Some(update) = strategy.filter(|_| self.deployment.is_none() && total > 0 && (!had_version || is_update))
        {
            self.out.rollout.add_group(group, update, total, wants_canaries);
        }
        let deployment_id = self.deployment_of(group);

        let mut names = NameIndex::of(sorted.all().chain(canaries.iter().map(|alloc| &**alloc)));
        if wants_canaries {
            let wanted = strategy.map_or(0, |update| usize::try_from(update.canary).unwrap_or(0));
            let to_place = wanted.saturating_sub(canaries.len());
            desired.canary += to_place as u64;
            self.place_canaries(group, to_place, &split.destructive, &canaries, deployment_id);
        }
        // The new version is on trial: what is lost of the old one comes back as the old one.
        self.replace(group, &sorted, is_canarying, deployment_id, &mut desired);
        let limit = if is_canarying { 0 } else { stage.limit(strategy, &sorted.live, missing + sorted.replaced()) };
        let destructive = split.destructive.len().min(limit);
        for alloc in &split.destructive[..destructive] {
            self.place(group, Some(alloc), alloc.name.clone(), deployment_id).stops_previous = Some(reason::UPDATING);
        }
        for _ in 0..missing {
            let name = alloc_name(&self.job.id, &group.name, names.take_lowest());
            self.place(group, None, name, deployment_id);
        }
        for alloc in &split.in_place {
            self.out.updates.push(PlanUpdate {
                alloc_id: alloc.id,
                job_version: Some(self.job.version),
                eval_id: Some(self.input.eval.id),
                deployment_id,
                followup_eval: None,
            });
        }
        self.later.extend(split.later);
        desired.place += missing as u64;
        desired.destructive_update = destructive as u64;
        desired.in_place_update = split.in_place.len() as u64;
        desired.reschedule_later = sorted.later.len() as u64;
        desired.ignore += (split.ignored + split.destructive.len() - destructive + canaries.len()) as u64;
        if !desired.is_empty() {
            self.out.desired.insert(group.name.clone(), desired);
        }
    }

    /// The deployment in which placements of the group count, if it goes on.
    fn deployment_of(&self, group: &Group) -> Option<DeploymentId> {
        if self.out.rollout.has_group(&group.name) {
            return Some(self.new_deployment);
        }
        self.deployment
            .filter(|deployment| deployment.status.is_active() && deployment.task_groups.contains_key(&group.name))
            .map(|deployment| deployment.id)
    }

    /// Canaries of deployments that were never promoted and are over.
    fn take_stale_canaries(&self, group: &Group, sorted: &mut Sorted) -> Vec<Arc<Alloc>> {
        let is_stale = |alloc: &Alloc| {
            let of = alloc.deployment_id.and_then(|id| self.input.snapshot.deployment(id));
            let promoted = of.and_then(|of| of.task_groups.get(&group.name)).is_some_and(|state| state.promoted);
            let goes_on = of
                .is_some_and(|of| of.status.is_active() && self.deployment.is_some_and(|current| current.id == of.id));
            alloc.is_canary() && of.is_some() && !promoted && !goes_on
        };
        sorted.take_where(is_stale)
    }

    fn stop_all(&mut self, allocs: Vec<Arc<Alloc>>, why: &str) -> u64 {
        self.out.stops.extend(allocs.iter().map(|alloc| stop(alloc, why, None)));
        allocs.len() as u64
    }

    fn place(
        &mut self,
        group: &Group,
        previous: Option<&Arc<Alloc>>,
        name: String,
        deployment_id: Option<DeploymentId>,
    ) -> &mut Place {
        self.out.places.push(Place {
            job: Arc::clone(self.job),
            group: group.name.clone(),
            name,
            previous: previous.cloned(),
            stops_previous: None,
            is_reschedule: false,
            is_canary: false,
            deployment_id,
        });
        let last = self.out.places.len() - 1;
        &mut self.out.places[last]
    }

    /// Canaries take the names of the allocs they shall replace, then further ones.
    fn place_canaries(
        &mut self,
        group: &Group,
        count: usize,
        replaced: &[Arc<Alloc>],
        canaries: &[Arc<Alloc>],
        deployment_id: Option<DeploymentId>,
    ) {
        let mut names = NameIndex::of(canaries.iter().map(|alloc| &**alloc));
        let mut wanted = replaced.iter().filter_map(|alloc| alloc.name_index());
        for _ in 0..count {
            let index = wanted.by_ref().find(|&index| names.take(index)).unwrap_or_else(|| names.take_lowest());
            let name = alloc_name(&self.job.id, &group.name, index);
            self.place(group, None, name, deployment_id).is_canary = true;
        }
    }

    /// Replaces what failed, moves or is lost, under the same names.
    fn replace(
        &mut self,
        group: &Group,
        sorted: &Sorted,
        is_canarying: bool,
        deployment_id: Option<DeploymentId>,
        desired: &mut DesiredUpdates,
    ) {
        let snapshot = self.input.snapshot;
        for alloc in &sorted.moving {
            let is_lost = sorted.lost.contains(&alloc.id);
            let (why, status) =
                if is_lost { (reason::LOST, Some(ClientStatus::Lost)) } else { (reason::MIGRATING, None) };
            self.out.stops.push(stop(alloc, why, status));
            match is_lost {
                true => (desired.stop, desired.place) = (desired.stop + 1, desired.place + 1),
                false => desired.migrate += 1,
            }
        }
        desired.reschedule_now += sorted.failed.len() as u64;
        desired.place += sorted.failed.len() as u64;
        let failed = sorted.failed.iter().map(|alloc| (alloc, true));
        for (alloc, is_failed) in failed.chain(sorted.moving.iter().map(|alloc| (alloc, false))) {
            if !is_failed && alloc.desired_transition.migrate_disable_placement == Some(true) {
                continue;
            }
            let was_canary = alloc.is_canary() && alloc.deployment_id == deployment_id;
            let old_job = snapshot.job_version(&alloc.job_key(), alloc.job_version);
            let old_job = old_job.filter(|_| is_canarying && !was_canary).cloned();
            let place = self.place(group, Some(alloc), alloc.name.clone(), deployment_id);
            place.is_reschedule = is_failed;
            place.stops_previous = is_failed.then_some(reason::RESCHEDULED);
            place.is_canary = is_canarying && was_canary;
            if let Some(old_job) = old_job {
                place.job = old_job;
                place.deployment_id = None;
            }
        }
    }

    fn split_updates(&self, group: &Group, sorted: &Sorted) -> Split {
        let mut split = Split::default();
        for alloc in &sorted.live {
            match self.update_of(group, alloc) {
                Update::None => {
                    split.ignored += 1;
                    if let Some(&due) = sorted.later.get(&alloc.id) {
                        split.later.push((due, alloc.id));
                    }
                }
                Update::InPlace => split.in_place.push(Arc::clone(alloc)),
                Update::Destructive => split.destructive.push(Arc::clone(alloc)),
            }
        }
        split.destructive.sort_by_key(|alloc| (alloc.name_index(), alloc.id));
        split
    }

    fn update_of(&self, group: &Group, alloc: &Alloc) -> Update {
        if sort::is_current(alloc, self.job) {
            return Update::None;
        }
        let old = self.input.snapshot.job_version(&alloc.job_key(), alloc.job_version);
        let Some(old) = old.filter(|old| old.create_index == alloc.job_create_index) else {
            return Update::Destructive;
        };
        match change::tasks_differ(old, self.job, &group.name) {
            true => Update::Destructive,
            false if alloc.is_client_terminal() => Update::None,
            false if (self.input.may_stay)(alloc, group) => Update::InPlace,
            false => Update::Destructive,
        }
    }
}

enum Update {
    None,
    InPlace,
    Destructive,
}

#[derive(Default)]
struct Split {
    ignored: usize,
    in_place: Vec<Arc<Alloc>>,
    destructive: Vec<Arc<Alloc>>,
    later: Vec<(Timestamp, AllocId)>,
}

/// True for jobs whose allocs end by themselves.
pub fn is_batch(job: &Job) -> bool {
    job.kind == JobType::Batch
}
