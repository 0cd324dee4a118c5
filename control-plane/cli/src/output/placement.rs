//! Why something could not be placed, and how the nodes scored.

use std::collections::BTreeMap;

use drover_api_client::plan::AllocMetric;

use crate::output::quantity::score;
use crate::output::table::table;
use crate::output::text::{plural, quote};

/// One line per reason, each with `indent` before its star.
pub fn reasons(metric: &AllocMetric, indent: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if metric.nodes_evaluated == 0 {
        lines.push("No nodes were eligible for evaluation".to_owned());
    }
    for (datacenter, _) in metric.nodes_available.iter().filter(|(_, available)| **available == 0) {
        lines.push(format!("No nodes are available in datacenter {}", quote(datacenter)));
    }
    for (class, count) in &metric.class_filtered {
        lines.push(format!("Class {}: {count} nodes excluded by filter", quote(class)));
    }
    for (constraint, count) in &metric.constraint_filtered {
        lines.push(format!("Constraint \"{constraint}\": {count} nodes excluded by filter"));
    }
    if metric.nodes_exhausted > 0 {
        lines.push(format!("Resources exhausted on {} nodes", metric.nodes_exhausted));
    }
    for (class, count) in &metric.class_exhausted {
        lines.push(format!("Class {} exhausted on {count} nodes", quote(class)));
    }
    for (dimension, count) in &metric.dimension_exhausted {
        lines.push(format!("Dimension {} exhausted on {count} nodes", quote(dimension)));
    }
    for quota in &metric.quota_exhausted {
        lines.push(format!("Quota limit hit {}", quote(quota)));
    }
    lines.into_iter().map(|line| format!("{indent}* {line}")).collect()
}

/// `Task Group "g" (failed to place 2 allocations):`
pub fn failed_group(name: &str, metric: &AllocMetric) -> String {
    let missing = u64::try_from(metric.coalesced_failures).unwrap_or(0).saturating_add(1);
    format!("Task Group {} (failed to place {}):", quote(name), plural(missing, "allocation"))
}

/// Every group with its reasons, two blanks further in; `between` goes between the groups.
pub fn failed_groups(failed: &BTreeMap<String, AllocMetric>, indent: &str, between: &str) -> String {
    let groups = failed.iter().map(|(name, metric)| {
        let mut lines = vec![format!("{indent}{}", failed_group(name, metric))];
        lines.extend(reasons(metric, &format!("{indent}  ")));
        lines.join("\n")
    });
    groups.collect::<Vec<_>>().join(between)
}

/// The nodes that scored best, one column per part. Empty when none was kept.
pub fn scores(metric: &AllocMetric) -> String {
    let parts: std::collections::BTreeSet<&str> =
        metric.score_meta_data.iter().flat_map(|node| node.scores.keys()).map(String::as_str).collect();
    if metric.score_meta_data.is_empty() {
        return String::new();
    }
    let head: Vec<&str> = ["Node"].into_iter().chain(parts.iter().copied()).chain(["final score"]).collect();
    let rows: Vec<Vec<String>> = metric
        .score_meta_data
        .iter()
        .map(|node| {
            let part = |name: &&str| score(node.scores.get(*name).copied().unwrap_or(0.0));
            let parts = parts.iter().map(part);
            std::iter::once(node.node_id.clone()).chain(parts).chain([score(node.norm_score)]).collect()
        })
        .collect();
    table(&head, &rows)
}
