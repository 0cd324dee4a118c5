//! Turns what shall be placed into allocs on nodes, and keeps the reasons of what could not be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use drover_model::alloc::{Alloc, AllocHealth, ClientStatus, DesiredStatus};
use drover_model::group::Group;
use drover_model::job::Job;
use drover_model::metric::AllocMetric;
use drover_model::plan::PlanStop;
use drover_model::score::Scores;
use drover_model::{AllocId, JobKey, NodeId};

use crate::feasible::{Candidates, Rules};
use crate::rank::{self, Pick, Ranking};
use crate::reconcile::Place;
use crate::reschedule;
use crate::schedule::{Placed, Work};
use crate::table::NodeTable;

/// The placements of one plan.
pub(crate) struct Placing<'w, 'a> {
    work: &'w mut Work<'a>,
    table: NodeTable<'a>,
    /// Counts that every metric carries.
    base: AllocMetric,
    failed: BTreeMap<String, AllocMetric>,
    queued: BTreeMap<String, i64>,
    rankings: Rankings,
}

impl<'w, 'a> Placing<'w, 'a> {
    pub(crate) fn new(work: &'w mut Work<'a>, candidates: Candidates<'a>, key: &JobKey, job: Option<&Job>) -> Self {
        let tie_seed = work.seeds.next_number();
        let base = AllocMetric {
            nodes_in_pool: candidates.nodes.len() as i64,
            node_pool: job.map(|job| job.node_pool.as_str().into()).unwrap_or_default(),
            nodes_available: candidates.per_datacenter.into(),
            ..AllocMetric::default()
        };
        let table = NodeTable::new(work.snapshot, candidates.nodes, key, tie_seed);
        Self { work, table, base, failed: BTreeMap::new(), queued: BTreeMap::new(), rankings: BTreeMap::new() }
    }

    /// Stops an alloc whatever can be placed.
    pub(crate) fn stop(&mut self, alloc: &Alloc, stop: PlanStop) {
        self.table.stop(alloc);
        self.work.plan.stops.push(stop);
    }

    /// Places one alloc, or notes why it can't be.
    pub(crate) fn place(&mut self, place: Place) {
        let job = Arc::clone(&place.job);
        let Some(group) = job.group(&place.group) else { return };
        if let Some(metric) = self.failed.get_mut(&place.group) {
            // What did not fit once does not fit twice.
            metric.coalesced_failures += 1;
            rank::add_missing(metric, group);
            *self.queued.entry(place.group).or_default() += 1;
            return;
        }
        let replaced = place.previous.as_ref().filter(|_| place.stops_previous.is_some());
        if let Some(previous) = replaced {
            self.table.stop(previous);
        }
        match self.pick(&job, group, &place) {
            Ok(pick) => self.commit(&job, group, &place, pick),
            Err(mut metric) => {
                if let Some(previous) = replaced {
                    self.table.keep(previous);
                }
                rank::add_missing(&mut metric, group);
                self.failed.insert(place.group.clone(), *metric);
                *self.queued.entry(place.group).or_default() += 1;
            }
        }
    }

    /// Places one alloc on a certain node; false when there is no room for it there.
    pub(crate) fn place_on(&mut self, node: NodeId, place: Place) -> bool {
        let job = Arc::clone(&place.job);
        let (Some(group), Some(row)) = (job.group(&place.group), self.table.row(node)) else {
            return false;
        };
        let replaced = place.previous.as_ref().filter(|_| place.stops_previous.is_some());
        if let Some(previous) = replaced {
            self.table.stop(previous);
        }
        let ranking = ranking_of(&mut self.rankings, &mut self.table, &self.base, &job, group, &place.name);
        if let Some(mut pick) = ranking.pick_on(&mut self.table, row, self.work.seeds) {
            for score in &mut pick.metric.score_meta_data {
                // Only one node is looked at: nothing but the room left counts.
                let binpack = score.scores.get("binpack").unwrap_or_default();
                (score.scores, score.norm_score) = (Scores::from([("binpack", binpack)]), binpack);
            }
            self.commit(&job, group, &place, pick);
            return true;
        }
        let refusal = ranking.refusal_on(&mut self.table, row);
        if let Some(previous) = replaced {
            self.table.keep(previous);
        }
        if let Some(metric) = refusal.filter(|metric| metric.nodes_exhausted > 0) {
            let is_first = !self.failed.contains_key(&place.group);
            let known = self.failed.entry(place.group.clone()).or_insert(metric);
            known.coalesced_failures += i64::from(!is_first);
            rank::add_missing(known, group);
            *self.queued.entry(place.group).or_default() += 1;
        }
        false
    }

    /// Notes a group that constraints keep off every node.
    pub(crate) fn note_if_refused_everywhere(&mut self, job: &Job, group: &Group) {
        let ranking = ranking_of(&mut self.rankings, &mut self.table, &self.base, job, group, "");
        let rows = self.table.len();
        if rows > 0 && (0..rows).all(|row| ranking.is_refused(row)) {
            self.failed.entry(group.name.clone()).or_insert_with(|| ranking.counts().clone());
        }
    }

    fn pick(&mut self, job: &Job, group: &Group, place: &Place) -> Result<Pick, Box<AllocMetric>> {
        let ranking = ranking_of(&mut self.rankings, &mut self.table, &self.base, job, group, &place.name);
        let previous = place.previous.as_deref();
        let wanted = previous.filter(|_| group.ephemeral_disk.sticky && !place.is_reschedule);
        let row = wanted.and_then(|previous| self.table.row(previous.node_id));
        if let Some(pick) = row.and_then(|row| ranking.pick_on(&mut self.table, row, self.work.seeds)) {
            return Ok(pick);
        }
        let penalized = previous.map(penalized).unwrap_or_default();
        ranking.pick(&mut self.table, &penalized, self.work.seeds)
    }

    /// Puts a chosen alloc into the plan, and the stop of the one it replaces.
    fn commit(&mut self, job: &Job, group: &Group, place: &Place, pick: Pick) {
        self.table.place(pick.row, &group.name, &pick.resources);
        let id = AllocId::from_random(self.work.seeds.next_bytes());
        if let (Some(previous), Some(why)) = (&place.previous, place.stops_previous) {
            self.work.plan.stops.push(PlanStop {
                alloc_id: previous.id,
                desired_status: DesiredStatus::Stop,
                desired_description: why.to_owned(),
                next_alloc: Some(id),
                ..PlanStop::default()
            });
        }
        let alloc = self.alloc(id, job, group, place, pick);
        self.work.plan.placements.push(alloc);
    }

    fn alloc(&self, id: AllocId, job: &Job, group: &Group, place: &Place, pick: Pick) -> Alloc {
        let node = self.table.node(pick.row);
        let now = self.work.context.now;
        let tracker = place.previous.as_ref().filter(|_| place.is_reschedule);
        Alloc {
            id,
            namespace: job.namespace.clone(),
            eval_id: Some(self.work.eval.id),
            name: place.name.clone(),
            node_id: node.id,
            node_name: node.name.as_str().into(),
            job_id: job.id.clone(),
            job_version: job.version,
            job_create_index: job.create_index,
            task_group: group.name.clone(),
            allocated_resources: Arc::new(pick.resources),
            metrics: pick.metric,
            deployment_id: place.deployment_id,
            deployment_status: place.is_canary.then(|| AllocHealth { canary: true, ..AllocHealth::default() }),
            previous_allocation: place.previous.as_ref().map(|previous| previous.id),
            reschedule_tracker: tracker
                .map(|previous| reschedule::tracker_of_next(previous, group.reschedule_policy.as_ref(), now)),
            create_time: now,
            modify_time: now,
            ..Alloc::default()
        }
    }

    pub(crate) fn finish(self) -> Placed {
        let mut placed = Placed { waits: !self.failed.is_empty(), ..Placed::default() };
        for ((_, group, _), ranking) in &self.rankings {
            if !self.failed.contains_key(group) {
                continue;
            }
            placed.escaped |= ranking.escapes_class();
            for row in 0..self.table.len() {
                let class = &self.table.node(row).computed_class;
                if !class.is_empty() {
                    *placed.class_eligibility.entry(class.clone()).or_default() |= !ranking.is_refused(row);
                }
            }
        }
        if placed.escaped {
            placed.class_eligibility.clear();
        }
        placed.failed = self.failed;
        placed.queued = self.queued;
        placed
    }
}

/// By job version, group, and alloc where allocs of the group ask for different things.
type Rankings = BTreeMap<(u64, String, String), Ranking>;

fn ranking_of<'r>(
    rankings: &'r mut Rankings,
    table: &mut NodeTable<'_>,
    base: &AllocMetric,
    job: &Job,
    group: &Group,
    alloc_name: &str,
) -> &'r mut Ranking {
    let alloc_name = if Rules::differ_by_alloc(group) { alloc_name } else { "" };
    let key = (job.version, group.name.clone(), alloc_name.to_owned());
    if !alloc_name.is_empty() && !rankings.contains_key(&key) {
        // Each is for one alloc: those of the allocs before it would only take room.
        rankings.retain(|(version, name, _), _| *version != job.version || *name != group.name);
    }
    let rules = || Rules::new(job, group).for_alloc(alloc_name);
    rankings.entry(key).or_insert_with(|| Ranking::new(table, job, group, rules(), base))
}

/// The nodes on which the alloc and those before it have failed.
fn penalized(previous: &Alloc) -> BTreeSet<NodeId> {
    if previous.client_status != ClientStatus::Failed {
        return BTreeSet::new();
    }
    let events = previous.reschedule_tracker.iter().flat_map(|tracker| &tracker.events);
    events.map(|event| event.prev_node_id).chain([previous.node_id]).collect()
}
