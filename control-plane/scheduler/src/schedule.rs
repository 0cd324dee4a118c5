//! The entry: one eval in, one proposal out. Pure and replayable: the same snapshot, eval and context give the same
//! outcome, ids included.

use std::collections::BTreeMap;
use std::sync::Arc;

use drover_model::alloc::Alloc;
use drover_model::eval::{Eval, EvalStatus, EvalTrigger};
use drover_model::group::Group;
use drover_model::job::{Job, JobType};
use drover_model::metric::AllocMetric;
use drover_model::plan::{Plan, PlanAnnotations};
use drover_model::{EvalId, JobKey, Timestamp};
use drover_state::{Command, RegisterJob, Snapshot, apply};

use crate::feasible::{self, Candidates, Rules};
use crate::placing::Placing;
use crate::reconcile::{self, Input, Reconciled};
use crate::rollout;
use crate::seed::Seeds;
use crate::system;

/// What a schedule may not find out by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context {
    /// The time.
    pub now: Timestamp,
    /// Ids, ports and the order of equal nodes derive from it and the eval's id.
    pub seed: u64,
}

/// What a schedule proposes.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The plan.
    pub plan: Plan,
    /// The eval with its new status, what could not be placed, and what is still queued.
    pub eval: Eval,
    /// Evals that were made: blocked and delayed ones. The state cancels the blocked ones they stand in for.
    pub new_evals: Vec<Eval>,
}

/// Schedules the job of an eval on a snapshot.
pub fn schedule(snapshot: &Snapshot, eval: &Eval, context: &Context) -> Outcome {
    let key = eval.job_key();
    let job = snapshot.job(&key);
    let mut seeds = Seeds::new(context.seed, eval.id.as_bytes());
    let kind = job.map_or(eval.kind, |job| job.kind);
    let mut work = Work { snapshot, eval, context: *context, seeds: &mut seeds, plan: Plan::default() };
    work.plan = Plan {
        eval_id: eval.id,
        priority: eval.priority,
        job: key.clone(),
        job_version: job.map_or(0, |job| job.version),
        all_at_once: job.is_some_and(|job| job.all_at_once),
        snapshot_index: snapshot.index(),
        ..Plan::default()
    };
    let placed = match (kind, job.filter(|job| !job.stop)) {
        (JobType::System | JobType::SysBatch, Some(job)) => system::run(&mut work, job, &key),
        // Ending a job is the same for all types.
        (JobType::Service | JobType::Batch | JobType::System | JobType::SysBatch, _) => work.generic(job, &key),
    };
    work.finish(job.map(|job| &**job), placed)
}

/// Schedules a job as if it were registered now: what `job plan` shows.
pub fn dry_run(snapshot: &Snapshot, job: &Job, eval: &Eval, context: &Context) -> Outcome {
    let mut state = drover_state::State::clone(snapshot);
    let register = RegisterJob { job: Arc::new(job.clone()), at: context.now, ..RegisterJob::default() };
    apply(&mut state, snapshot.index() + 1, Command::RegisterJob(Box::new(register)));
    let eval = Eval { annotate_plan: true, ..eval.clone() };
    schedule(&state.snapshot(), &eval, context)
}

/// One schedule at work.
pub(crate) struct Work<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) eval: &'a Eval,
    pub(crate) context: Context,
    pub(crate) seeds: &'a mut Seeds,
    pub(crate) plan: Plan,
}

/// What became of the placements.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placed {
    /// Groups of which something could not be placed.
    pub(crate) failed: BTreeMap<String, AllocMetric>,
    /// How many allocs of each group are still to be placed.
    pub(crate) queued: BTreeMap<String, i64>,
    /// Node classes and whether they could take what is missing.
    pub(crate) class_eligibility: BTreeMap<String, bool>,
    /// Classes do not tell.
    pub(crate) escaped: bool,
    /// Something waits for room: a blocked eval is needed.
    pub(crate) waits: bool,
    /// Evals for later.
    pub(crate) followups: Vec<Eval>,
}

impl Work<'_> {
    fn generic(&mut self, job: Option<&Arc<Job>>, key: &JobKey) -> Placed {
        let active = job.filter(|job| !job.stop);
        let candidates = active.map_or_else(Candidates::default, |job| feasible::candidates(self.snapshot, job));
        let snapshot = self.snapshot;
        let groups = active.iter().flat_map(|job| job.task_groups.iter().map(move |group| (job, group)));
        let rules: BTreeMap<&str, Rules> =
            groups.map(|(job, group)| (group.name.as_str(), Rules::new(job, group))).collect();
        let may_stay = |alloc: &Alloc, group: &Group| {
            let (Some(job), Some(node)) = (active, snapshot.node(alloc.node_id)) else {
                return false;
            };
            let rules = rules.get(group.name.as_str());
            let is_refused = rules.is_none_or(|rules| rules.refusal_for(node, &alloc.name).is_some());
            feasible::is_in_reach(node, job) && !is_refused
        };
        let input = Input { snapshot, eval: self.eval, now: self.context.now, may_stay: &may_stay };
        let Reconciled { desired, stops, updates, places, rollout, followups } =
            reconcile::reconcile(&input, job, key, self.seeds);
        self.plan.updates = updates;
        self.plan.deployment = rollout.deployment;
        self.plan.deployment_updates = rollout.updates;
        self.plan.annotations = Some(PlanAnnotations { desired_group_updates: desired, ..PlanAnnotations::default() });
        let mut placing = Placing::new(self, candidates, key, active.map(|job| &**job));
        for (alloc, stop) in stops {
            placing.stop(&alloc, stop);
        }
        for place in places {
            placing.place(place);
        }
        let mut placed = placing.finish();
        placed.followups = followups;
        for group in active.iter().flat_map(|job| &job.task_groups) {
            placed.queued.entry(group.name.clone()).or_default();
        }
        placed
    }

    fn finish(self, job: Option<&Job>, placed: Placed) -> Outcome {
        let Work { snapshot, eval, context, seeds, mut plan } = self;
        let mut new_evals = placed.followups;
        // A blocked eval that was woken keeps its trigger; it is blocked again instead of having a successor.
        let was_blocked = eval.status == EvalStatus::Blocked || eval.triggered_by == EvalTrigger::QueuedAllocs;
        let mut done = Eval {
            status: EvalStatus::Complete,
            status_description: String::new(),
            queued_allocations: placed.queued,
            failed_group_allocs: placed.failed,
            blocked_eval: None,
            snapshot_index: snapshot.index(),
            modify_time: context.now,
            ..eval.clone()
        };
        done.plan_annotations = plan.annotations.clone();
        // Also one that has ended: whoever registers the same job again is shown what became of its version.
        let latest = || job.filter(|job| !job.stop).and_then(|job| rollout::current(snapshot, job));
        done.deployment_id = plan.deployment.as_ref().or_else(latest).map(|deployment| deployment.id);
        if placed.waits {
            let waiting = |id: EvalId, eval: &Eval| Eval {
                id,
                triggered_by: EvalTrigger::QueuedAllocs,
                status: EvalStatus::Blocked,
                status_description: "created to place remaining allocations".to_owned(),
                class_eligibility: placed.class_eligibility.clone(),
                escaped_computed_class: placed.escaped,
                ..eval.clone()
            };
            if was_blocked {
                done = waiting(done.id, &done);
            } else {
                let id = EvalId::from_random(seeds.next_bytes());
                done.blocked_eval = Some(id);
                new_evals.push(waiting(
                    id,
                    &Eval {
                        namespace: eval.namespace.clone(),
                        priority: eval.priority,
                        kind: eval.kind,
                        job_id: eval.job_id.clone(),
                        job_modify_index: job.map_or(eval.job_modify_index, |job| job.modify_index),
                        previous_eval: Some(eval.id),
                        failed_group_allocs: done.failed_group_allocs.clone(),
                        snapshot_index: snapshot.index(),
                        create_time: context.now,
                        modify_time: context.now,
                        ..Eval::default()
                    },
                ));
            }
        }
        plan.stops.sort_by_key(|stop| stop.alloc_id);
        Outcome { plan, eval: done, new_evals }
    }
}
