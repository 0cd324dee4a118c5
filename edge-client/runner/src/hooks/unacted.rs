//! Refuses to start a task that would lack something that its job gives it and drover cannot provide yet.

use drover_model::group::Group;
use drover_model::task::Task;

use crate::decide::actual::StartFailure;

/// Before the start.
pub fn prestart(group: &Group, task: &Task) -> Result<(), StartFailure> {
    let missing = missing(group, task);
    if missing.is_empty() {
        return Ok(());
    }
    let blocks: Vec<String> = missing.iter().map(|block| format!("{block:?}")).collect();
    Err(StartFailure::Setup(format!(
        "task {:?} was to have what drover does not provide yet: {}",
        task.name,
        blocks.join(", ")
    )))
}

/// The blocks by name.
fn missing(group: &Group, task: &Task) -> Vec<&'static str> {
    let given = [
        ("artifact", !task.artifacts.is_empty()),
        ("template", !task.templates.is_empty()),
        ("vault", task.vault.is_some()),
        ("consul", task.consul.is_some()),
        ("dispatch_payload", task.dispatch_payload.is_some()),
        ("volume_mount", !task.volume_mounts.is_empty()),
        ("volume", !group.volumes.is_empty()),
        ("csi_plugin", task.csi_plugin_config.is_some()),
        ("secret", !task.secrets.is_empty()),
        ("identity", task.identity.is_some() || !task.identities.is_empty()),
        ("schedule", task.schedule.is_some()),
    ];
    given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_would_lack_something_is_refused_by_name() {
        let task = Task { name: "t".to_owned(), templates: vec![serde_json::json!({})], ..Task::default() };
        let failure = prestart(&Group::default(), &task).unwrap_err();
        let StartFailure::Setup(text) = failure else { panic!("{failure:?}") };
        assert_eq!(text, "task \"t\" was to have what drover does not provide yet: \"template\"");
        assert_eq!(prestart(&Group::default(), &Task::default()), Ok(()));
    }
}
