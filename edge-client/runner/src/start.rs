//! Starting one task: the hooks, the environment, the driver. Blocking.

use drover_drivers::{StartError, TaskHandle, TaskLogs, TaskStart};
use drover_model::AllocId;

use crate::alloc_dir::AllocDir;
use crate::alloc_runner::Edge;
use crate::decide::actual::StartFailure;
use crate::decide::wanted::Wanted;
use crate::hooks;
use crate::task_env::TaskEnv;

/// The id under which the supervisor knows a task.
pub fn task_id(alloc: AllocId, task: &str) -> String {
    format!("{alloc}.{task}")
}

/// Starts the task of that name.
pub fn start(edge: &Edge, wanted: &Wanted, name: &str) -> Result<TaskHandle, StartFailure> {
    let gone = || StartFailure::Setup(format!("the job has no task {name:?}"));
    let group = wanted.group().ok_or_else(gone)?;
    let task = group.task(name).ok_or_else(gone)?;
    let driver = edge
        .drivers
        .get(&task.driver)
        .ok_or_else(|| StartFailure::DriverFinal(format!("failed to find driver plugin {:?}", task.driver)))?;
    let facts = edge.facts();
    let dir = AllocDir::new(&edge.allocs_dir, wanted.alloc.id);
    let view = driver.view();

    hooks::unacted::prestart(group, task)?;
    let env = TaskEnv::build(wanted, task, &facts, &dir.seen_by(name, view));
    let user = env.text(&task.user);
    hooks::user::prestart(&task.driver, &user)?;
    hooks::dirs::prestart(&dir, task, view)?;
    hooks::dispatch_payload::prestart(&dir.of_task(name).task_dir.join("local"), &wanted.job, task)?;
    let config = env.config(&task.config).map_err(|problems| {
        let lines = std::iter::once("failed to parse config: ".to_owned()).chain(problems).collect();
        StartFailure::Validation(StartError::Config(lines).to_string())
    })?;

    let logs = (!task.log_config.disabled).then(|| TaskLogs {
        dir: dir.logs(),
        task: name.to_owned(),
        files_max: task.log_config.max_files,
        file_bytes_max: u64::from(task.log_config.max_file_size_mib) << 20,
    });
    let start = TaskStart {
        id: task_id(wanted.alloc.id, name),
        config,
        user,
        env: env.vars,
        dirs: dir.of_task(name),
        logs,
        resources: wanted.alloc.allocated_resources.tasks.get(name).cloned().unwrap_or_default(),
    };
    driver.start(start).map_err(|error| match error {
        StartError::Config(_) => StartFailure::Validation(error.to_string()),
        StartError::Final(text) => StartFailure::DriverFinal(text),
        StartError::Failed(text) => StartFailure::Driver(text),
    })
}
