//! Whether a failed alloc may still be replaced by its group's policy.

use drover_model::Timestamp;
use drover_model::alloc::Alloc;
use drover_model::policy::ReschedulePolicy;

/// The policy leaves a replacement for this alloc.
pub(crate) fn is_possible(alloc: &Alloc, policy: Option<&ReschedulePolicy>, now: Timestamp) -> bool {
    let Some(policy) = policy else { return false };
    if policy.unlimited {
        return true;
    }
    let events = alloc.reschedule_tracker.iter().flat_map(|tracker| &tracker.events);
    let used = events.filter(|event| now.since(event.reschedule_time) < policy.interval).count();
    i64::try_from(used).is_ok_and(|used| used < policy.attempts)
}
