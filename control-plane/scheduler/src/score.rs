//! The parts of a node's score. Each is f64 with basic arithmetic in a written order; `10^x` comes from `libm`, so that
//! every server computes the same bits.

use std::collections::BTreeMap;

use drover_model::constraint::{Affinity, Spread};
use drover_model::group::Group;
use drover_model::job::Job;
use drover_model::node::Node;
use drover_model::resources::Totals;
use drover_state::scheduler_config::SchedulerAlgorithm;

use crate::constraint::{Condition, side};
use crate::table::NodeTable;

/// The best sum that still counts, which scales the score to 0..1.
const FIT_MAX: f64 = 18.0;

/// How the node would be filled: 1 is full and 0 empty where nodes are to be packed, the other way round where allocs are to be
/// spread. Processor and memory only.
pub fn fit(algorithm: SchedulerAlgorithm, capacity: &Totals, used: &Totals) -> f64 {
    let free = |total: i64, used: i64| {
        if total <= 0 { 0.0 } else { 1.0 - used as f64 / total as f64 }
    };
    let free_cpu = free(capacity.cpu_mhz, used.cpu_mhz);
    let free_memory = free(capacity.memory_mib, used.memory_mib);
    let sum = libm::pow(10.0, free_cpu) + libm::pow(10.0, free_memory);
    let score = match algorithm {
        SchedulerAlgorithm::Binpack => 20.0 - sum,
        SchedulerAlgorithm::Spread => sum - 2.0,
    };
    score.clamp(0.0, FIT_MAX) / FIT_MAX
}

/// What a node loses for allocs of the same group that it has already.
pub fn anti_affinity(allocs: u32, group_count: i64) -> f64 {
    -(f64::from(allocs) + 1.0) / group_count.max(1) as f64
}

/// The affinities of a job and group, compiled.
#[derive(Clone, Debug, Default)]
pub struct Affinities {
    conditions: Vec<(Condition, i8)>,
    weight_sum: f64,
}

impl Affinities {
    /// Compiles the affinities of the job, the group and its tasks.
    pub fn new(job: &Job, group: &Group) -> Self {
        let of_tasks = group.tasks.iter().flat_map(|task| &task.affinities);
        let all: Vec<&Affinity> = job.affinities.iter().chain(&group.affinities).chain(of_tasks).collect();
        let compile = |affinity: &&Affinity| {
            let condition = Condition::from_parts(&affinity.left, &affinity.operand, &affinity.right)?;
            Some((condition, affinity.weight))
        };
        Self {
            weight_sum: all.iter().map(|affinity| f64::from(affinity.weight).abs()).sum(),
            conditions: all.iter().filter_map(compile).collect(),
        }
    }

    /// The share of the weights that the node meets; none when nothing is asked for.
    pub fn score(&self, node: &Node) -> Option<f64> {
        if self.weight_sum == 0.0 {
            return None;
        }
        let met = self.conditions.iter().filter(|(condition, _)| condition.holds(node));
        // An empty `sum()` of floats is -0.0, which people would see.
        Some(met.fold(0.0, |sum, (_, weight)| sum + f64::from(*weight)) / self.weight_sum)
    }
}

/// The spreads of a job and group with the counts of one moment.
#[derive(Clone, Debug, Default)]
pub struct Spreads {
    spreads: Vec<Counted>,
    weight_sum: f64,
    count: f64,
}

#[derive(Clone, Debug)]
struct Counted {
    spread: Spread,
    counts: BTreeMap<String, u32>,
}

impl Spreads {
    /// Takes the group's spreads, then the job's for attributes that the group does not spread over.
    pub fn new(job: &Job, group: &Group) -> Self {
        let of_job =
            job.spreads.iter().filter(|of_job| group.spreads.iter().all(|own| own.attribute != of_job.attribute));
        let all: Vec<&Spread> = group.spreads.iter().chain(of_job).collect();
        Self {
            weight_sum: all.iter().map(|spread| f64::from(spread.weight)).sum(),
            count: group.count as f64,
            spreads: all
                .into_iter()
                .map(|spread| Counted { spread: spread.clone(), counts: BTreeMap::new() })
                .collect(),
        }
    }

    /// True when nothing is to be spread.
    pub fn is_empty(&self) -> bool {
        self.spreads.is_empty()
    }

    /// Counts the group's allocs per value anew.
    pub fn recount(&mut self, table: &NodeTable<'_>, group: &str) {
        for Counted { spread, counts } in &mut self.spreads {
            counts.clear();
            for (node, of_groups) in table.job_counts() {
                let allocs = of_groups.get(group).copied().unwrap_or(0);
                if let Some(value) = side(node, &spread.attribute).filter(|_| allocs > 0) {
                    *counts.entry(value.into_owned()).or_default() += allocs;
                }
            }
        }
    }

    /// What the node wins or loses; none when nothing is asked for or it comes out as nothing.
    pub fn score(&self, node: &Node) -> Option<f64> {
        let total = self.spreads.iter().fold(0.0, |sum, counted| sum + self.one(counted, node));
        (total != 0.0).then_some(total)
    }

    fn one(&self, Counted { spread, counts }: &Counted, node: &Node) -> f64 {
        let Some(value) = side(node, &spread.attribute) else {
            return -1.0;
        };
        if spread.spread_target.is_empty() {
            return even(counts, &value);
        }
        let weight = if self.weight_sum == 0.0 { 0.0 } else { f64::from(spread.weight) / self.weight_sum };
        let share = |percent: f64| percent * self.count / 100.0;
        let target = spread.spread_target.iter().find(|target| target.value == *value);
        let (desired, used) = match target {
            Some(target) => (share(f64::from(target.percent)), counts.get(&*value).copied().unwrap_or(0)),
            None => {
                let named: f64 = spread.spread_target.iter().map(|target| f64::from(target.percent)).sum();
                let is_named = |value: &String| spread.spread_target.iter().any(|target| target.value == *value);
                let others = counts.iter().filter(|(value, _)| !is_named(value)).map(|(_, allocs)| allocs).sum();
                (share(100.0 - named), others)
            }
        };
        if desired <= 0.0 {
            return -1.0;
        }
        (desired - (f64::from(used) + 1.0)) / desired * weight
    }
}

/// Even spread: prefers the values with the fewest allocs.
fn even(counts: &BTreeMap<String, u32>, value: &str) -> f64 {
    let used = || counts.values().copied().filter(|&allocs| allocs > 0).map(f64::from);
    let Some(max) = used().reduce(f64::max) else { return 0.0 };
    let current = f64::from(counts.get(value).copied().unwrap_or(0));
    // A value without allocs counts as the minimum as soon as it is looked at.
    let min = used().reduce(f64::min).map_or(0.0, |min| min.min(current));
    if current != min {
        return if min == 0.0 { -1.0 } else { (min - current) / min };
    }
    if min == max {
        return -1.0;
    }
    if min == 0.0 { 1.0 } else { (max - min) / min }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(cpu_mhz: i64, memory_mib: i64) -> Totals {
        Totals { cpu_mhz, memory_mib, disk_mib: 0 }
    }

    #[test]
    fn binpack_is_as_recorded() {
        let check = |capacity: Totals, used: Totals, expected: f64| {
            assert!(
                (fit(SchedulerAlgorithm::Binpack, &capacity, &used) - expected).abs() < 1e-9,
                "{capacity:?} {used:?}"
            );
        };
        check(totals(2000, 2048), totals(500, 512), 0.48628741645516765);
        check(totals(8000, 8192), totals(500, 512), 0.1489285295999273);
        check(totals(8000, 8192), totals(7000, 64), 0.49137553755312763);
    }

    #[test]
    fn even_spread_prefers_the_emptiest_value() {
        let counts = |pairs: &[(&str, u32)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        let check = |pairs: &[(&str, u32)], value: &str, expected: f64| {
            assert_eq!(even(&counts(pairs), value), expected, "{pairs:?} {value}");
        };
        check(&[], "a", 0.0);
        check(&[("a", 1)], "b", 1.0);
        check(&[("a", 1), ("b", 1)], "b", -1.0);
        check(&[("a", 3), ("b", 1)], "b", 2.0);
        check(&[("a", 3), ("b", 1)], "a", -2.0);
    }
}
