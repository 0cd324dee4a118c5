//! Makes the task's directories.

use drover_drivers::View;
use drover_model::task::Task;

use crate::alloc_dir::AllocDir;
use crate::decide::actual::StartFailure;

/// Before the start.
pub fn prestart(dir: &AllocDir, task: &Task, view: View) -> Result<(), StartFailure> {
    let secrets_mib = u64::try_from(task.resources.secrets_mib).unwrap_or(0);
    dir.make_task(&task.name, view, secrets_mib)
        .map_err(|error| StartFailure::Setup(format!("failed to build task directory: {error}: {}", error.source)))
}
