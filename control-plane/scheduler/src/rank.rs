//! The choice of a node for one alloc: all feasible nodes are scored, the best one wins, and the metric says why.

use std::collections::{BTreeMap, BTreeSet};

use drover_model::group::Group;
use drover_model::job::Job;
use drover_model::metric::{AllocMetric, NodeScore};
use drover_model::resources::AllocatedResources;
use drover_model::score::Scores;
use drover_model::{NodeId, SmallMap};

use crate::feasible::Rules;
use crate::score::{self, Affinities, Spreads};
use crate::seed::Seeds;
use crate::table::NodeTable;
use crate::{device, fit, network};

/// How many nodes an alloc's metric keeps.
const SCORES_KEPT: usize = 5;

/// What is known of a row for the group.
#[derive(Clone, Debug, PartialEq)]
enum RowState {
    /// Not looked at yet.
    Unknown,
    /// Ruled out, under this key.
    Filtered(String),
    /// No room, in this dimension.
    Exhausted(String),
    /// It fits.
    Fits(Fit),
}

/// What is known of a row on which there is room.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fit {
    /// How it would be filled.
    binpack: f64,
    /// How well its devices are what was asked for.
    devices: Option<f64>,
}

/// A chosen node.
#[derive(Clone, Debug)]
pub struct Pick {
    /// The row.
    pub row: usize,
    /// What the alloc is given there.
    pub resources: AllocatedResources,
    /// Why it went there.
    pub metric: AllocMetric,
}

/// A group's view of the node table: what is known per row, kept up to date with the changes of the table.
#[derive(Clone, Debug)]
pub struct Ranking {
    group: Group,
    rules: Rules,
    asks_ports: bool,
    refusals: Vec<Option<String>>,
    affinities: Vec<Option<f64>>,
    spreads: Spreads,
    states: Vec<RowState>,
    base: AllocMetric,
    seen: usize,
}

impl Ranking {
    /// Asks every row once what it says to these rules of the group. `base` carries the counts that are the same for all groups.
    pub fn new(table: &mut NodeTable<'_>, job: &Job, group: &Group, rules: Rules, base: &AllocMetric) -> Self {
        let mut by_class: BTreeMap<&str, Option<String>> = BTreeMap::new();
        let mut refusals = Vec::with_capacity(table.len());
        for row in 0..table.len() {
            let node = table.node(row);
            let refusal = if node.computed_class.is_empty() || rules.escapes_class() {
                rules.refusal(node)
            } else {
                by_class.entry(&node.computed_class).or_insert_with(|| rules.refusal(node)).clone()
            };
            refusals.push(refusal);
        }
        let affinities = Affinities::new(job, group);
        let mut ranking = Self {
            group: group.clone(),
            asks_ports: network::asks_ports(group),
            refusals,
            affinities: (0..table.len()).map(|row| affinities.score(table.node(row))).collect(),
            spreads: Spreads::new(job, group),
            states: vec![RowState::Unknown; table.len()],
            base: AllocMetric { nodes_evaluated: table.len() as i64, ..base.clone() },
            seen: table.changes_len(),
            rules,
        };
        for row in 0..table.len() {
            ranking.look(table, row);
        }
        ranking
    }

    /// Chooses the best node. Nodes in `penalized` lose a point. On failure the metric says why.
    pub fn pick(
        &mut self,
        table: &mut NodeTable<'_>,
        penalized: &BTreeSet<NodeId>,
        seeds: &mut Seeds,
    ) -> Result<Pick, Box<AllocMetric>> {
        self.catch_up(table);
        loop {
            let best = self.best(table, penalized);
            let Some((row, _)) = best.first() else {
                return Err(Box::new(self.base.clone()));
            };
            let row = *row;
            match self.give(table, row, seeds) {
                Ok(resources) => {
                    let score_meta_data = best.into_iter().map(|(_, score)| score).collect();
                    return Ok(Pick { row, resources, metric: AllocMetric { score_meta_data, ..self.base.clone() } });
                }
                // Another draw of dynamic ports may miss where the first one fitted.
                Err(dimension) => self.set(table, row, RowState::Exhausted(dimension)),
            }
        }
    }

    /// Takes one certain node if it is feasible and has room.
    pub fn pick_on(&mut self, table: &mut NodeTable<'_>, row: usize, seeds: &mut Seeds) -> Option<Pick> {
        self.catch_up(table);
        let RowState::Fits(fit) = self.states[row] else {
            return None;
        };
        let resources = self.give(table, row, seeds).ok()?;
        let score = self.score(table, row, fit, &BTreeSet::new());
        let metric = AllocMetric { nodes_evaluated: 1, score_meta_data: vec![score], ..base_only(&self.base) };
        Some(Pick { row, resources, metric })
    }

    /// Why one node can't take the group: the metric of that node alone; none when it can.
    pub fn refusal_on(&mut self, table: &mut NodeTable<'_>, row: usize) -> Option<AllocMetric> {
        self.catch_up(table);
        let mut metric = AllocMetric { nodes_evaluated: 1, ..base_only(&self.base) };
        count(&mut metric, &table.node(row).node_class, &self.states[row], 1);
        (metric.nodes_filtered > 0 || metric.nodes_exhausted > 0).then_some(metric)
    }

    /// The counts of nodes that were filtered or had no room.
    pub fn counts(&self) -> &AllocMetric {
        &self.base
    }

    /// True when constraints rule the row out, whatever room it has.
    pub fn is_refused(&self, row: usize) -> bool {
        self.refusals[row].is_some()
    }

    /// True when the group's feasibility can differ between nodes of one class.
    pub fn escapes_class(&self) -> bool {
        self.rules.escapes_class()
    }

    fn catch_up(&mut self, table: &mut NodeTable<'_>) {
        let mut rows: Vec<usize> = table.changes_since(self.seen).to_vec();
        if !rows.is_empty() && !self.rules.properties.is_empty() {
            // One placement uses up a value on all nodes that have it.
            rows = (0..table.len()).collect();
        }
        rows.sort_unstable();
        rows.dedup();
        self.seen = table.changes_len();
        for row in rows {
            self.look(table, row);
        }
        self.spreads.recount(table, &self.group.name);
    }

    fn look(&mut self, table: &mut NodeTable<'_>, row: usize) {
        let state = self.state_of(table, row);
        self.set(table, row, state);
    }

    fn state_of(&self, table: &mut NodeTable<'_>, row: usize) -> RowState {
        if let Some(key) = &self.refusals[row] {
            return RowState::Filtered(key.clone());
        }
        let is_taken_by_job = self.rules.distinct_of_job && table.count_of_job(row) > 0;
        if is_taken_by_job || (self.rules.distinct_of_group && table.count(row, &self.group.name) > 0) {
            return RowState::Filtered("distinct_hosts".to_owned());
        }
        if let Some(key) = self.used_up_property(table, row) {
            return RowState::Filtered(key);
        }
        if self.asks_ports {
            table.count_ports(row);
        }
        // The draw made here is not the one the alloc gets; only whether there is one counts.
        let mut seeds = Seeds::new(0, b"look");
        let node = table.node(row);
        match self.give(table, row, &mut seeds) {
            Ok(resources) => {
                let mut used = table.used(row).totals;
                used.add(resources.totals());
                RowState::Fits(Fit {
                    binpack: score::fit(table.config().algorithm, table.capacity(row), &used),
                    devices: device::affinity(node, &self.group, &resources),
                })
            }
            Err(dimension) => RowState::Exhausted(dimension),
        }
    }

    fn give(&self, table: &NodeTable<'_>, row: usize, seeds: &mut Seeds) -> Result<AllocatedResources, String> {
        let with_memory_max = table.config().has_memory_oversubscription;
        fit::give(table.node(row), table.capacity(row), table.used(row), &self.group, with_memory_max, seeds)
    }

    fn used_up_property(&self, table: &NodeTable<'_>, row: usize) -> Option<String> {
        self.rules.properties.iter().find_map(|property| {
            let value = match property.value(table.node(row)) {
                Ok(value) => value,
                Err(key) => return Some(key),
            };
            let counts_of = |counts: &BTreeMap<String, u32>| match property.of_job {
                true => counts.values().sum(),
                false => counts.get(&self.group.name).copied().unwrap_or(0),
            };
            let with_value = table.job_counts().filter(|(node, _)| property.value(node).as_ref() == Ok(&value));
            let used: u32 = with_value.map(|(_, counts)| counts_of(counts)).sum();
            (u64::from(used) >= property.limit)
                .then(|| format!("distinct_property: {}={value} used by {used} allocs", property.target))
        })
    }

    fn set(&mut self, table: &NodeTable<'_>, row: usize, state: RowState) {
        if self.states[row] == state {
            return;
        }
        let class = &table.node(row).node_class;
        count(&mut self.base, class, &self.states[row], -1);
        count(&mut self.base, class, &state, 1);
        self.states[row] = state;
    }

    /// The best rows with their scores, best first.
    fn best(&self, table: &NodeTable<'_>, penalized: &BTreeSet<NodeId>) -> Vec<(usize, NodeScore)> {
        let mut best: Vec<(usize, f64, Fit)> = Vec::with_capacity(SCORES_KEPT + 1);
        for (row, state) in self.states.iter().enumerate() {
            let RowState::Fits(fit) = *state else { continue };
            let norm = self.parts(table, row, fit, penalized).norm();
            let is_better =
                |other: &(usize, f64, Fit)| norm > other.1 || (norm == other.1 && table.tie(row) < table.tie(other.0));
            let place = best.iter().position(is_better).unwrap_or(best.len());
            if place < SCORES_KEPT {
                best.insert(place, (row, norm, fit));
                best.truncate(SCORES_KEPT);
            }
        }
        best.into_iter().map(|(row, _, fit)| (row, self.score(table, row, fit, penalized))).collect()
    }

    fn score(&self, table: &NodeTable<'_>, row: usize, fit: Fit, penalized: &BTreeSet<NodeId>) -> NodeScore {
        let parts = self.parts(table, row, fit, penalized);
        NodeScore { node_id: table.node(row).id, norm_score: parts.norm(), scores: parts.by_name() }
    }

    fn parts(&self, table: &NodeTable<'_>, row: usize, fit: Fit, penalized: &BTreeSet<NodeId>) -> Parts {
        let node = table.node(row);
        let allocs = table.count(row, &self.group.name);
        Parts {
            binpack: fit.binpack,
            devices: fit.devices,
            anti_affinity: (allocs > 0).then(|| score::anti_affinity(allocs, self.group.count)),
            penalty: penalized.contains(&node.id).then_some(-1.0),
            affinity: self.affinities[row],
            spread: if self.spreads.is_empty() { None } else { self.spreads.score(node) },
        }
    }
}

/// The parts of a score; what is absent does not dilute the mean.
struct Parts {
    binpack: f64,
    devices: Option<f64>,
    anti_affinity: Option<f64>,
    penalty: Option<f64>,
    affinity: Option<f64>,
    spread: Option<f64>,
}

impl Parts {
    fn norm(&self) -> f64 {
        let mut sum = self.binpack;
        let mut count = 1.0;
        let parts = [self.devices, self.anti_affinity, self.penalty, self.affinity, self.spread];
        for part in parts.into_iter().flatten() {
            sum += part;
            count += 1.0;
        }
        sum / count
    }

    fn by_name(&self) -> Scores {
        let always = [
            ("binpack", Some(self.binpack)),
            ("job-anti-affinity", Some(self.anti_affinity.unwrap_or(0.0))),
            ("node-reschedule-penalty", Some(self.penalty.unwrap_or(0.0))),
            ("node-affinity", Some(self.affinity.unwrap_or(0.0))),
        ];
        let others = [("devices", self.devices), ("allocation-spread", self.spread)];
        always.into_iter().chain(others).filter_map(|(name, part)| Some((name, part?))).collect()
    }
}

/// The counts that hold for all groups and nodes.
fn base_only(metric: &AllocMetric) -> AllocMetric {
    AllocMetric {
        nodes_in_pool: metric.nodes_in_pool,
        node_pool: metric.node_pool.clone(),
        nodes_available: metric.nodes_available.clone(),
        ..AllocMetric::default()
    }
}

/// Adds (or takes away) a row's state to the counts; entries that come to nothing go.
fn count(metric: &mut AllocMetric, class: &str, state: &RowState, by: i64) {
    let add = |counts: &mut SmallMap<String, i64>, key: &str| {
        if key.is_empty() {
            return;
        }
        let count = match counts.get_mut(key) {
            Some(count) => count,
            None => counts.get_or_default(key.to_owned()),
        };
        *count += by;
        if *count == 0 {
            counts.remove(key);
        }
    };
    match state {
        RowState::Unknown | RowState::Fits(_) => {}
        RowState::Filtered(key) => {
            metric.nodes_filtered += by;
            add(&mut metric.class_filtered, class);
            add(&mut metric.constraint_filtered, key);
        }
        RowState::Exhausted(dimension) => {
            metric.nodes_exhausted += by;
            add(&mut metric.class_exhausted, class);
            add(&mut metric.dimension_exhausted, dimension);
        }
    }
}

/// Adds what one missing alloc asks for to the metric of its group, in the dimensions that are short.
pub fn add_missing(metric: &mut AllocMetric, group: &Group) {
    if metric.dimension_exhausted.is_empty() {
        return;
    }
    let is_short = |dimension: &str| metric.dimension_exhausted.contains_key(dimension);
    let (cpu, memory, cores) = (is_short("cpu"), is_short("memory"), is_short("cores"));
    for task in &group.tasks {
        let missing = metric.resources_exhausted.get_or_default(task.name.clone());
        let add = |sum: &mut i64, ask: i64, is_short: bool| *sum = sum.saturating_add(if is_short { ask } else { 0 });
        add(&mut missing.cpu_mhz, task.resources.cpu_mhz, cpu);
        add(&mut missing.memory_mib, task.resources.memory_mib, memory);
        add(&mut missing.cores, task.resources.cores, cores);
    }
}
