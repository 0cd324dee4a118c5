//! What an alloc is, from what its tasks are.

use drover_model::alloc::ClientStatus;
use drover_model::task_state::{TaskPhase, TaskState};

/// The status and its words. The first that fits: a task failed, runs, waits; else all are done.
pub fn of<'a>(tasks: impl Iterator<Item = &'a TaskState> + Clone) -> (ClientStatus, &'static str) {
    let any = |phase: TaskPhase| tasks.clone().any(|task| task.state == phase);
    if tasks.clone().any(|task| task.failed) {
        (ClientStatus::Failed, "Failed tasks")
    } else if any(TaskPhase::Running) {
        (ClientStatus::Running, "Tasks are running")
    } else if any(TaskPhase::Pending) {
        (ClientStatus::Pending, "No tasks have started")
    } else {
        (ClientStatus::Complete, "All tasks have completed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drover_model::task_state::TaskPhase::{Dead, Pending, Running};

    #[test]
    fn the_first_rule_that_fits_decides() {
        let check = |tasks: &[(TaskPhase, bool)], status: ClientStatus, words: &str| {
            let states: Vec<TaskState> = tasks
                .iter()
                .map(|(state, failed)| TaskState { state: *state, failed: *failed, ..TaskState::default() })
                .collect();
            assert_eq!(of(states.iter()), (status, words), "{tasks:?}");
        };
        check(&[(Pending, false)], ClientStatus::Pending, "No tasks have started");
        check(&[(Pending, false), (Running, false)], ClientStatus::Running, "Tasks are running");
        check(&[(Dead, false), (Pending, false)], ClientStatus::Pending, "No tasks have started");
        check(&[(Dead, false), (Running, false)], ClientStatus::Running, "Tasks are running");
        check(&[(Dead, true), (Running, false)], ClientStatus::Failed, "Failed tasks");
        check(&[(Dead, false), (Dead, false)], ClientStatus::Complete, "All tasks have completed");
    }
}
