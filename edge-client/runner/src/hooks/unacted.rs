//! Refuses to start a task that would lack something that its job gives it and drover cannot provide yet.

use drover_model::group::Group;
use drover_model::task::Task;
use drover_model::unacted::setup_failures;

use crate::decide::actual::StartFailure;

/// Before the start.
pub fn prestart(group: &Group, task: &Task) -> Result<(), StartFailure> {
    let missing: Vec<String> = setup_failures(task, group).into_iter().map(|block| format!("{block:?}")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let blocks = missing.join(", ");
    Err(StartFailure::Setup(format!("task {:?} would lack what drover does not support yet: {blocks}", task.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_would_lack_something_is_refused_by_name() {
        let task = Task { name: "t".to_owned(), templates: vec![serde_json::json!({})], ..Task::default() };
        let failure = prestart(&Group::default(), &task).unwrap_err();
        let StartFailure::Setup(text) = failure else { panic!("{failure:?}") };
        assert_eq!(text, "task \"t\" would lack what drover does not support yet: \"template\"");
        assert_eq!(prestart(&Group::default(), &Task::default()), Ok(()));
    }
}
