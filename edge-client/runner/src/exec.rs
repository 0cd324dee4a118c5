//! Running a command inside a task. Blocking.

use std::os::fd::BorrowedFd;

use drover_drivers::{Session, TaskCommand};

use crate::alloc_dir::AllocDir;
use crate::alloc_runner::{AllocHandle, Edge};
use crate::task_env::TaskEnv;

/// Why a command was not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The alloc has no such task.
    #[error("task not found")]
    NoTask,
    /// It does not run.
    #[error("task {0:?} not started yet.")]
    NotRunning(String),
    /// The command could not be started.
    #[error("rpc error: code = Unknown desc = failed to start command: {0}")]
    Failed(String),
}

/// Runs it in the environment of the task, with these descriptors as its standard input, output and error.
pub fn begin(
    edge: &Edge,
    alloc: &AllocHandle,
    task: &str,
    argv: Vec<String>,
    is_terminal: bool,
    fds: [BorrowedFd<'_>; 3],
) -> Result<Session, ExecError> {
    let wanted = alloc.wanted();
    let network = edge.networks.status(&wanted);
    let wanted = wanted.with_network(network);
    let its = wanted.group().and_then(|group| group.task(task)).ok_or(ExecError::NoTask)?;
    let not_running = || ExecError::NotRunning(task.to_owned());
    let handle = alloc.running().remove(task).ok_or_else(not_running)?;
    let driver = edge.drivers.get(&handle.driver).ok_or_else(not_running)?;
    let dir = AllocDir::new(&edge.allocs_dir, wanted.alloc.id);
    let env = TaskEnv::build(&wanted, its, &edge.facts(), &dir.seen_by(task, driver.view()));
    let user = env.text(&its.user);
    let command =
        TaskCommand { argv, env: env.vars, user, task_dir: dir.of_task(task).task_dir, is_terminal, has_image: false };
    driver.exec(&handle, command, fds).map_err(|error| match error {
        drover_drivers::driver::TaskError::Gone => not_running(),
        drover_drivers::driver::TaskError::Failed(text) => ExecError::Failed(text),
    })
}
