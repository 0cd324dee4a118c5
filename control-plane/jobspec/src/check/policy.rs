//! The policies of a group.

use serde_json::Value;

use super::{flag, int, text};
use crate::duration::format as show;

const SECOND: i64 = 1_000_000_000;

/// `restart`.
pub fn restart(policy: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let (attempts, interval, delay) = (int(policy, "Attempts"), int(policy, "Interval"), int(policy, "Delay"));
    let mode = text(policy, "Mode");
    if !matches!(mode, "fail" | "delay") {
        problems.push(format!("Unsupported restart mode: {mode:?}"));
    }
    if attempts == 0 && mode != "fail" {
        problems.push(format!("Restart policy {mode:?} with {attempts} attempts is ambiguous"));
    }
    if interval < 5 * SECOND {
        problems.push(format!("Interval can not be less than 5s (got {})", show(interval)));
    }
    if attempts.saturating_mul(delay) > interval {
        problems.push(format!(
            "Nomad can't restart the TaskGroup {attempts} times in an interval of {} with a delay of {}",
            show(interval),
            show(delay)
        ));
    }
    problems
}

/// `reschedule`.
pub fn reschedule(policy: &Value, kind: &str) -> Vec<String> {
    if matches!(kind, "system" | "sysbatch") {
        return vec!["System or sysbatch jobs should not have a reschedule policy".to_owned()];
    }
    let mut problems = Vec::new();
    let (attempts, interval) = (int(policy, "Attempts"), int(policy, "Interval"));
    let (delay, max_delay) = (int(policy, "Delay"), int(policy, "MaxDelay"));
    let (function, unlimited) = (text(policy, "DelayFunction"), flag(policy, "Unlimited"));
    if attempts == 0 && !unlimited {
        return problems;
    }
    if attempts > 0 && interval <= 0 {
        problems.push("Interval must be a non zero value if Attempts > 0".to_owned());
    }
    if attempts > 0 && unlimited {
        problems.push("If Attempts >0, Unlimited cannot also be set to true".to_owned());
    }
    if delay < 5 * SECOND {
        problems.push(format!("Delay cannot be less than 5s (got {})", show(delay)));
    }
    let is_function = matches!(function, "constant" | "exponential" | "fibonacci");
    if !is_function {
        problems.push(format!(
            r#"Invalid delay function {function:?}, must be one of ["constant" "exponential" "fibonacci"]"#
        ));
    } else if function != "constant" {
        if max_delay < 5 * SECOND {
            // The text names the first delay, not the longest one; it ever did.
            problems.push(format!("Max Delay cannot be less than 5s (got {})", show(delay)));
        }
        if max_delay < delay {
            problems.push(format!("Max Delay cannot be less than Delay {} (got {})", show(delay), show(max_delay)));
        }
    }
    if !unlimited && problems.is_empty() {
        if interval < 15 * SECOND {
            problems.push(format!("Interval cannot be less than 15s (got {})", show(interval)));
        }
        problems.extend(room_for_attempts(attempts, interval, delay, max_delay, function));
    }
    problems
}

/// Whether the interval has room for that many attempts.
fn room_for_attempts(attempts: i64, interval: i64, delay: i64, max_delay: i64, function: &str) -> Vec<String> {
    let mut possible = 0;
    let mut needed: i64 = 0;
    let (mut last, mut next) = (0_i64, delay);
    // Attempts beyond this change nothing in the answer but its number.
    for _ in 0..attempts.min(100_000) {
        needed = match function {
            "constant" => needed.saturating_add(delay),
            _ if next >= max_delay => needed.saturating_add(max_delay),
            _ => next,
        };
        (last, next) = match function {
            "fibonacci" => (next, last.saturating_add(next)),
            "exponential" => (next, next.saturating_mul(2)),
            _ => (next, next),
        };
        if needed <= interval {
            possible += 1;
        }
    }
    if possible >= attempts.min(100_000) {
        return Vec::new();
    }
    let ceiling = match function {
        "constant" => String::new(),
        _ => format!(", and delay ceiling {}", show(max_delay)),
    };
    vec![
        format!(
            "Nomad can only make {possible} attempts in {} with initial delay {}, delay function {function:?}{ceiling}",
            show(interval),
            show(delay)
        ),
        format!("Set the interval to at least {} to accommodate {attempts} attempts", show(round_up(needed))),
    ]
}

/// To the next whole minute.
fn round_up(nanos: i64) -> i64 {
    let minute = 60 * SECOND;
    nanos.saturating_add(minute - 1) / minute * minute
}

/// `update`.
pub fn update(update: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let (max_parallel, canary) = (int(update, "MaxParallel"), int(update, "Canary"));
    let (healthy, deadline) = (int(update, "MinHealthyTime"), int(update, "HealthyDeadline"));
    let (progress, stagger) = (int(update, "ProgressDeadline"), int(update, "Stagger"));
    let health_check = text(update, "HealthCheck");
    if !matches!(health_check, "checks" | "task_states" | "manual") {
        problems.push(format!("Invalid health check given: {health_check:?}"));
    }
    if max_parallel < 0 {
        problems.push(format!("Max parallel can not be less than zero: {max_parallel} < 0"));
    }
    if canary < 0 {
        problems.push(format!("Canary count can not be less than zero: {canary} < 0"));
    }
    if canary == 0 && flag(update, "AutoPromote") {
        problems.push("Auto Promote requires a Canary count greater than zero".to_owned());
    }
    if healthy < 0 {
        problems.push(format!("Minimum healthy time may not be less than zero: {}", show(healthy)));
    }
    if deadline <= 0 {
        problems.push(format!("Healthy deadline must be greater than zero: {}", show(deadline)));
    }
    if progress < 0 {
        problems.push(format!("Progress deadline must be zero or greater: {}", show(progress)));
    }
    if healthy >= deadline {
        problems.push(format!(
            "Minimum healthy time must be less than healthy deadline: {} > {}",
            show(healthy),
            show(deadline)
        ));
    }
    if progress != 0 && deadline >= progress {
        problems.push(format!(
            "Healthy deadline must be less than progress deadline: {} > {}",
            show(deadline),
            show(progress)
        ));
    }
    if stagger <= 0 {
        problems.push(format!("Stagger must be greater than zero: {}", show(stagger)));
    }
    problems
}

/// `migrate`.
pub fn migrate(migrate: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let max_parallel = int(migrate, "MaxParallel");
    let (healthy, deadline) = (int(migrate, "MinHealthyTime"), int(migrate, "HealthyDeadline"));
    let health_check = text(migrate, "HealthCheck");
    if max_parallel < 0 {
        problems.push(format!("MaxParallel must be >= 0 but found {max_parallel}"));
    }
    if !matches!(health_check, "checks" | "task_states") {
        problems.push(format!("Invalid HealthCheck: {health_check:?}"));
    }
    if healthy < 0 {
        problems.push(format!("MinHealthyTime is {} and must be >= 0", show(healthy)));
    }
    if deadline < 0 {
        problems.push(format!("HealthyDeadline is {} and must be >= 0", show(deadline)));
    }
    if healthy > deadline {
        problems.push("MinHealthyTime must be less than HealthyDeadline".to_owned());
    }
    problems
}

/// `disconnect`.
pub fn disconnect(disconnect: &Value, kind: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let lost_after = int(disconnect, "LostAfter");
    let stop_after = disconnect["StopOnClientAfter"].as_i64();
    if lost_after < 0 {
        problems.push("lost_after cannot be a negative duration".to_owned());
    }
    if let Some(stop_after) = stop_after {
        if stop_after < 0 {
            problems.push("stop_after cannot be a negative duration".to_owned());
        }
        if !matches!(kind, "service" | "batch") {
            problems.push("stop_after can only be used with service or batch job types".to_owned());
        }
        if lost_after != 0 && stop_after != 0 {
            problems.push("Disconnect cannot be configured with both lost_after and stop_after".to_owned());
        }
    }
    let reconcile = text(disconnect, "Reconcile");
    if !matches!(reconcile, "" | "best_score" | "keep_original" | "keep_replacement" | "longest_running") {
        problems.push(format!("reconcile option is invalid: {reconcile}"));
    }
    problems
}

/// `scaling` of a group with that count.
pub fn scaling(scaling: &Value, count: i64) -> Vec<String> {
    let mut problems = Vec::new();
    let mut add = |text: &str| problems.push(format!("Scaling policy invalid: {text}"));
    let (min, max) = (scaling["Min"].as_i64(), scaling["Max"].as_i64());
    match min {
        Some(min) if min >= 0 => {}
        _ => add("minimum count must be specified and non-negative"),
    }
    match max {
        None => add("maximum count must be specified and non-negative"),
        Some(max) => {
            if max < min.unwrap_or(0) {
                add("maximum count must not be less than minimum count");
            }
            if count > max {
                add("task group count must not be greater than maximum count in scaling policy");
            }
        }
    }
    if min.is_some_and(|min| count < min) {
        add("task group count must not be less than minimum count in scaling policy");
    }
    problems
}
