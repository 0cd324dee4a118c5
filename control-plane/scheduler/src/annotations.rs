//! What a plan does with a group, in the words of the annotated diff.

use std::collections::BTreeMap;

use drover_model::plan::DesiredUpdates;

/// The counts of a group by word: `ignore`, `create`, `destroy`, `migrate`, `in-place update`,
/// `create/destroy update`, `canary`. What does not happen is left out.
pub fn group_updates(desired: &DesiredUpdates) -> BTreeMap<String, u64> {
    let DesiredUpdates {
        ignore,
        place,
        migrate,
        stop,
        in_place_update,
        destructive_update,
        canary,
        // Shown elsewhere or not at all.
        preemptions: _,
        disconnect: _,
        reconnect: _,
        reschedule_now: _,
        reschedule_later: _,
    } = *desired;
    [
        ("ignore", ignore),
        ("create", place),
        ("destroy", stop),
        ("migrate", migrate),
        ("in-place update", in_place_update),
        ("create/destroy update", destructive_update),
        ("canary", canary),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .map(|(word, count)| (word.to_owned(), count))
    .collect()
}
