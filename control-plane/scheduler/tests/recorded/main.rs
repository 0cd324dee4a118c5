//! The recorded scheduling cases of the program whose language drover speaks, replayed on drover's scheduler.
//!
//! A case is a list of steps against eight simulated nodes. Compared are plan counts, counters of failures, statuses
//! and the scores of every placement to 1e-9. Nodes n5 and n6 are equal in all that counts: either may be taken.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it broke")]

mod compare;
mod replay;

use replay::{replay, replay_failures};

/// Replays a case and shows everything that differs.
fn check(name: &str, text: &str) {
    let differences = replay(text);
    assert!(differences.is_empty(), "{name}:\n{}", differences.join("\n"));
}

#[test]
fn reschedule_penalty() {
    let text = include_str!("../../../../tests/fixtures/scheduling-cases/reschedule-penalty.json");
    assert_eq!(replay_failures(text), [""; 0]);
}

#[test]
fn reschedule_attempts() {
    let text = include_str!("../../../../tests/fixtures/scheduling-cases/reschedule-attempts.json");
    assert_eq!(replay_failures(text), [""; 0]);
}

macro_rules! cases {
    ($($test:ident: $name:literal,)*) => {$(
        #[test]
        fn $test() {
            check($name, include_str!(concat!("../../../../tests/fixtures/scheduling-cases/", $name, ".json")));
        }
    )*};
}

cases! {
    binpack_single: "binpack-single",
    binpack_two_jobs: "binpack-two-jobs",
    anti_affinity: "anti-affinity",
    anti_affinity_two_groups: "anti-affinity-two-groups",
    affinity_positive: "affinity-positive",
    affinity_negative: "affinity-negative",
    affinity_operators: "affinity-operators",
    constraint_operators: "constraint-operators",
    distinct_hosts_job: "distinct-hosts-job",
    distinct_hosts_group: "distinct-hosts-group",
    distinct_hosts_false: "distinct-hosts-false",
    distinct_property_missing: "distinct-property-missing",
    count_changes: "count-changes",
    inplace_vs_destructive: "inplace-vs-destructive",
    ports_static: "ports-static",
    ports_dynamic: "ports-dynamic",
    ports_static_in_dynamic_range: "ports-static-in-dynamic-range",
    ports_reserved_by_node: "ports-reserved-by-node",
    exhaust_cpu: "exhaust-cpu",
    exhaust_memory: "exhaust-memory",
    exhaust_disk: "exhaust-disk",
    blocked_eligibility: "blocked-eligibility",
    blocked_escaped: "blocked-escaped",
    blocked_count_down: "blocked-count-down",
    rolling_max_parallel: "rolling-max-parallel",
    no_update_block: "no-update-block",
    batch_complete: "batch-complete",
    partial_placement: "partial-placement",
    driver_missing: "driver-missing",
    datacenter_glob: "datacenter-glob",
    datacenter_default: "datacenter-default",
    lifecycle_resources: "lifecycle-resources",
    reserved_resources: "reserved-resources",
    host_network_missing: "host-network-missing",
    pool_change: "pool-change",
    canary_replaced_by_new_version: "canary-replaced-by-new-version",
    spread_even: "spread-even",
    spread_even_missing_attr: "spread-even-missing-attr",
    spread_targets: "spread-targets",
    spread_group_and_job: "spread-group-and-job",
    spread_implicit_remainder: "spread-implicit-remainder",
    spread_untargeted_value: "spread-untargeted-value",
    system_basic: "system-basic",
    system_exhausted: "system-exhausted",
    sysbatch: "sysbatch",
    all_at_once: "all-at-once",
    algorithm_spread: "algorithm-spread",
    memory_max: "memory-max",
    device_missing: "device-missing",
}
