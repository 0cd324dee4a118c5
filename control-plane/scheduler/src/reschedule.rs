//! Whether and when a failed alloc is replaced on another node.

use std::time::Duration;

use drover_model::alloc::{Alloc, RescheduleEvent, RescheduleTracker};
use drover_model::policy::ReschedulePolicy;
use drover_model::time::Timestamp;

/// A replacement due within this time is made at once.
const NOW_WINDOW: Duration = Duration::from_secs(1);
/// How many replacements an unlimited policy remembers.
const EVENTS_KEPT: usize = 5;

/// What becomes of a failed alloc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reschedule {
    /// It is not replaced and keeps its slot.
    Never,
    /// It is replaced by this plan.
    Now,
    /// It is replaced at that time.
    At(Timestamp),
}

/// Decides about a failed alloc. `is_due` says that the eval at hand was made for this replacement.
pub fn decide(alloc: &Alloc, policy: Option<&ReschedulePolicy>, now: Timestamp, is_due: bool) -> Reschedule {
    if alloc.desired_transition.force_reschedule == Some(true) {
        return Reschedule::Now;
    }
    let Some(policy) = policy else { return Reschedule::Never };
    let failed_at = failed_at(alloc);
    if !policy.unlimited && attempts_used(alloc, policy, failed_at) >= policy.attempts {
        return Reschedule::Never;
    }
    let due = failed_at.plus(next_delay(alloc, policy, failed_at));
    if is_due || due <= now.plus(NOW_WINDOW) { Reschedule::Now } else { Reschedule::At(due) }
}

/// The tracker of the replacement of a failed alloc.
pub fn tracker_of_next(alloc: &Alloc, policy: Option<&ReschedulePolicy>, now: Timestamp) -> RescheduleTracker {
    let failed_at = failed_at(alloc);
    let mut events: Vec<RescheduleEvent> = events(alloc).to_vec();
    match policy {
        Some(policy) if !policy.unlimited => {
            events.retain(|event| failed_at.since(event.reschedule_time) < policy.interval);
        }
        _ => {
            let surplus = (events.len() + 1).saturating_sub(EVENTS_KEPT);
            events.drain(..surplus);
        }
    }
    events.push(RescheduleEvent {
        reschedule_time: now,
        prev_alloc_id: alloc.id,
        prev_node_id: alloc.node_id,
        delay: policy.map_or(Duration::ZERO, |policy| next_delay(alloc, policy, failed_at)),
    });
    RescheduleTracker { events, last_reschedule: "ok".to_owned() }
}

fn events(alloc: &Alloc) -> &[RescheduleEvent] {
    alloc.reschedule_tracker.as_ref().map_or(&[], |tracker| &tracker.events)
}

/// When it failed: the end of its last task, or its last change when no task tells.
fn failed_at(alloc: &Alloc) -> Timestamp {
    let last = alloc.task_states.values().map(|state| state.finished_at).max().unwrap_or_default();
    if last.is_never() { alloc.modify_time } else { last }
}

fn attempts_used(alloc: &Alloc, policy: &ReschedulePolicy, failed_at: Timestamp) -> i64 {
    let is_inside = |event: &&RescheduleEvent| failed_at.since(event.reschedule_time) < policy.interval;
    events(alloc).iter().filter(is_inside).count() as i64
}

fn next_delay(alloc: &Alloc, policy: &ReschedulePolicy, failed_at: Timestamp) -> Duration {
    let events = events(alloc);
    let Some(last) = events.last() else { return policy.delay };
    let delay = match policy.delay_function.as_str() {
        "exponential" => last.delay.saturating_mul(2),
        "fibonacci" => match events {
            [.., before, last] => before.delay.saturating_add(last.delay),
            _ => last.delay,
        },
        _ => return policy.delay,
    };
    if policy.max_delay.is_zero() || delay <= policy.max_delay {
        return delay;
    }
    // It ran longer than the longest wait: whatever was wrong then counts as over.
    if failed_at.since(last.reschedule_time) > policy.max_delay { policy.delay } else { policy.max_delay }
}

#[cfg(test)]
mod tests {
    use drover_model::AllocId;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn policy(function: &str, attempts: i64) -> ReschedulePolicy {
        ReschedulePolicy {
            attempts,
            interval: Duration::from_secs(600),
            delay: Duration::from_secs(5),
            delay_function: function.to_owned(),
            max_delay: Duration::from_secs(15),
            unlimited: attempts == 0,
        }
    }

    /// The delays of a chain of replacements, each failing one second after its start.
    fn delays(policy: &ReschedulePolicy, len: usize) -> Vec<u64> {
        let mut now = Timestamp(1_000 * SECOND);
        let mut alloc = Alloc { modify_time: now, ..Alloc::default() };
        let mut delays = Vec::new();
        while delays.len() < len {
            let due = match decide(&alloc, Some(policy), now, false) {
                Reschedule::Never => break,
                Reschedule::Now => now,
                Reschedule::At(due) => due,
            };
            delays.push(due.since(alloc.modify_time).as_secs());
            let tracker = tracker_of_next(&alloc, Some(policy), due);
            now = due.plus(Duration::from_secs(1));
            let id = AllocId::from_random([delays.len() as u8; 16]);
            alloc = Alloc { id, modify_time: now, reschedule_tracker: Some(tracker), ..Alloc::default() };
        }
        delays
    }

    #[test]
    fn delays_grow_as_measured() {
        assert_eq!(delays(&policy("constant", 0), 3), [5, 5, 5]);
        assert_eq!(delays(&policy("exponential", 0), 4), [5, 10, 15, 15]);
        assert_eq!(delays(&policy("fibonacci", 0), 4), [5, 5, 10, 15]);
    }

    #[test]
    fn attempts_run_out() {
        assert_eq!(delays(&policy("constant", 2), 9), [5, 5]);
    }

    #[test]
    fn a_long_run_resets_the_delay() {
        let policy = policy("exponential", 0);
        let event = |at: i64, delay| RescheduleEvent {
            reschedule_time: Timestamp(at * SECOND),
            delay: Duration::from_secs(delay),
            ..RescheduleEvent::default()
        };
        let check = |failed_at: i64, expected: i64| {
            let tracker = RescheduleTracker { events: vec![event(100, 10)], last_reschedule: String::new() };
            let alloc = Alloc {
                modify_time: Timestamp(failed_at * SECOND),
                reschedule_tracker: Some(tracker),
                ..Alloc::default()
            };
            let due = Reschedule::At(Timestamp((failed_at + expected) * SECOND));
            assert_eq!(decide(&alloc, Some(&policy), alloc.modify_time, false), due);
        };
        check(101, 15);
        check(400, 5);
    }

    #[test]
    fn a_due_or_forced_replacement_is_made_at_once() {
        let mut alloc = Alloc { modify_time: Timestamp(SECOND), ..Alloc::default() };
        let never = ReschedulePolicy::default();
        let now = Timestamp(SECOND);
        assert_eq!(decide(&alloc, Some(&policy("constant", 0)), now, true), Reschedule::Now);
        assert_eq!(decide(&alloc, Some(&never), now, true), Reschedule::Never);
        assert_eq!(decide(&alloc, None, now, true), Reschedule::Never);
        alloc.desired_transition.force_reschedule = Some(true);
        assert_eq!(decide(&alloc, None, now, false), Reschedule::Now);
    }
}
