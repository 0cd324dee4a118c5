//! Restarting tasks and sending them signals because somebody asked for it.

use std::sync::Arc;

use drover_protocol::edge::RpcError;
use drover_runner::decide::actual::{Fact, RestartAsked};
use drover_runner::{AllocHandle, Edge, signal as signals};

fn failed(message: String) -> RpcError {
    // Not the request is wrong, but what it asks for can't be.
    RpcError::Unavailable { message }
}

/// Ends a task, or all that run, or all, and starts them again.
pub async fn restart(alloc: &AllocHandle, task: &str, all: bool) -> Result<(), RpcError> {
    let wanted = alloc.wanted();
    if !wanted.shall_run() {
        return Err(failed("restart of an alloc that should not run".to_owned()));
    }
    let which = match (task, all) {
        ("", true) => RestartAsked::All,
        ("", false) => RestartAsked::Running,
        (task, _) => {
            if wanted.group().is_none_or(|group| group.task(task).is_none()) {
                return Err(failed(format!("Could not find task runner for task: {task}")));
            }
            if !alloc.running().contains_key(task) {
                return Err(failed("Task not running".to_owned()));
            }
            RestartAsked::Task(task.to_owned())
        }
    };
    if which == RestartAsked::Running && alloc.running().is_empty() {
        return Err(failed("restart of an alloc that should not run".to_owned()));
    }
    alloc.tell(Fact::RestartAsked(which)).await;
    Ok(())
}

/// Sends a signal to a task, or to all that run.
pub async fn signal(edge: &Arc<Edge>, alloc: &AllocHandle, task: &str, signal: &str) -> Result<(), RpcError> {
    let wanted = alloc.wanted();
    let group = wanted.group().ok_or_else(|| failed("Task not found".to_owned()))?;
    if !task.is_empty() && group.task(task).is_none() {
        return Err(failed("Task not found".to_owned()));
    }
    let mut running = alloc.running();
    let names: Vec<String> = match task {
        "" => group.tasks.iter().map(|task| task.name.clone()).collect(),
        task => vec![task.to_owned()],
    };
    let mut problems = Vec::new();
    for name in &names {
        let sent = match running.remove(name) {
            None => Err("Task not running".to_owned()),
            Some(handle) => {
                alloc.tell(Fact::SignalAsked { task: name.clone(), signal: signal.to_owned() }).await;
                let (edge, number) = (edge.clone(), signals::number(signal));
                let sending = tokio::task::spawn_blocking(move || match edge.drivers.get(&handle.driver) {
                    Some(driver) => driver.signal(&handle, number).map_err(|error| error.to_string()),
                    None => Err("the driver of the task is not there".to_owned()),
                });
                sending.await.unwrap_or_else(|error| Err(error.to_string()))
            }
        };
        if let Err(problem) = sent {
            problems.push((name, problem));
        }
    }
    match problems.as_slice() {
        [] => Ok(()),
        [(_, problem)] if !task.is_empty() => Err(failed(problem.clone())),
        several => {
            let count = several.len();
            let lines: String = several
                .iter()
                .map(|(name, problem)| format!("\t* Failed to signal task: {name}, err: {problem}\n"))
                .collect();
            Err(failed(format!("{count} error{} occurred:\n{lines}\n", if count == 1 { "" } else { "s" })))
        }
    }
}
