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
    if attempts <= 0 && !unlimited {
        return problems;
    }
    if attempts > 0 && interval <= 0 {
        problems.push("Interval must be a non zero value if Attempts > 0".to_owned());
    }
    if attempts > 0 && unlimited {
        problems.push(format!(
            "Reschedule Policy with Attempts = {attempts}, Interval = {}, and Unlimited = true is ambiguous",
            show(interval)
        ));
        problems.push("If Attempts >0, Unlimited cannot also be set to true".to_owned());
    }
    let before = problems.len();
    if delay < 5 * SECOND {
        problems.push(format!("Delay cannot be less than 5s (got {})", show(delay)));
    }
    if !matches!(function, "constant" | "exponential" | "fibonacci") {
        problems.push(format!(
            r#"Invalid delay function {function:?}, must be one of ["constant" "exponential" "fibonacci"]"#
        ));
    }
    if function != "constant" {
        if max_delay < 5 * SECOND {
            // The text names the first delay, not the longest one; it ever did.
            problems.push(format!("Max Delay cannot be less than 5s (got {})", show(delay)));
        }
        if max_delay < delay {
            problems.push(format!("Max Delay cannot be less than Delay {} (got {})", show(delay), show(max_delay)));
        }
    }
    let has_good_delays = problems.len() == before;
    if !unlimited {
        if interval < 15 * SECOND {
            problems.push(format!("Interval cannot be less than 15s (got {})", show(interval)));
        }
        if has_good_delays {
            problems.extend(room_for_attempts(attempts, interval, delay, max_delay, function));
        }
    }
    problems
}

/// Whether the interval has room for that many attempts.
fn room_for_attempts(attempts: i64, interval: i64, delay: i64, max_delay: i64, function: &str) -> Vec<String> {
    let (possible, needed) = match function {
        "constant" => {
            let needed = attempts.saturating_mul(delay);
            ((interval < needed).then(|| interval / delay), needed)
        }
        "exponential" => exponential(attempts, interval, delay, max_delay),
        _ => fibonacci(attempts, interval, delay, max_delay),
    };
    let Some(possible) = possible else { return Vec::new() };
    let ceiling = match function {
        "constant" => format!(" and delay function {function:?}"),
        _ => format!(", delay function {function:?}, and delay ceiling {}", show(max_delay)),
    };
    let second = SECOND;
    let rounded = needed.saturating_add(second / 2) / second * second;
    vec![
        format!(
            "Nomad can only make {} attempts in {} with initial delay {}{ceiling}",
            possible.max(0),
            show(interval),
            show(delay)
        ),
        format!("Set the interval to at least {} to accommodate {attempts} attempts", show(rounded)),
    ]
}

/// How many attempts are looked at: the waits behind them only repeat.
const ATTEMPTS_LOOKED_AT: i64 = 100_000;

/// Waits that double up to the longest: how many fit if not all do, and the interval that all need.
fn exponential(attempts: i64, interval: i64, delay: i64, max_delay: i64) -> (Option<i64>, i64) {
    let (mut possible, mut needed, mut next) = (0, 0_i64, delay);
    for _ in 0..attempts.min(ATTEMPTS_LOOKED_AT) {
        needed = if next > max_delay { needed.saturating_add(max_delay) } else { next };
        next = next.saturating_mul(2);
        if needed < interval {
            possible += 1;
        }
    }
    ((possible < attempts.min(ATTEMPTS_LOOKED_AT)).then_some(possible), needed)
}

/// Waits that are the sum of the two before them, up to the longest.
fn fibonacci(attempts: i64, interval: i64, delay: i64, max_delay: i64) -> (Option<i64>, i64) {
    let mut slots = vec![delay, delay];
    let mut is_at_ceiling = false;
    for i in 2..usize::try_from(attempts.min(ATTEMPTS_LOOKED_AT)).unwrap_or(0) {
        let next = if is_at_ceiling {
            slots[i - 1].saturating_add(max_delay)
        } else {
            let sum: i64 = slots[i - 1].saturating_add(slots[i - 2]);
            is_at_ceiling = sum > max_delay;
            sum.min(max_delay)
        };
        slots.push(next);
    }
    let needed = slots.last().copied().unwrap_or(delay);
    let fits = slots.iter().position(|slot| *slot > interval).and_then(|place| i64::try_from(place).ok());
    ((interval < needed).then(|| fits.unwrap_or(0)), needed)
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
    match health_check {
        "checks" | "task_states" => {}
        "" if max_parallel > 0 => problems.push("Missing HealthCheck".to_owned()),
        "" => {}
        other => problems.push(format!("Invalid HealthCheck: {other:?}")),
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
    if stop_after.is_some_and(|after| after < 0) {
        problems.push("stop_after cannot be a negative duration".to_owned());
    }
    if stop_after.is_some() && !matches!(kind, "service" | "batch") {
        problems.push("stop_after can only be used with service or batch job types".to_owned());
    }
    if lost_after < 0 {
        problems.push("lost_after cannot be a negative duration".to_owned());
    }
    if stop_after.is_some() && lost_after != 0 {
        problems.push("Disconnect cannot be configured with both lost_after and stop_after".to_owned());
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
    let (min, kind) = (int(scaling, "Min"), text(scaling, "Type"));
    let max = scaling["Max"].as_i64().unwrap_or(-1);
    if kind.is_empty() {
        add("missing scaling policy type");
    } else if kind != "horizontal" {
        add(&format!("scaling policy type {kind:?} is not valid"));
    }
    if max < 0 {
        add("maximum count must be specified and non-negative");
    } else if max < min {
        add("maximum count must not be less than minimum count");
    }
    if min < 0 {
        add("minimum count must be specified and non-negative");
    }
    if max < count {
        add("task group count must not be greater than maximum count in scaling policy");
    }
    if count < min {
        add("task group count must not be less than minimum count in scaling policy");
    }
    problems
}
