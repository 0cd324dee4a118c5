//! What became of tasks that an earlier agent had started.

use drover_drivers::driver::TaskError;
use drover_drivers::{Recovered, TaskHandle};

use super::{Runner, task_id};
use crate::clock;
use crate::decide::actual::{Fact, Stage};
use crate::decide::wanted::Wanted;

/// How often it is asked what became of a task that ran before this agent.
const RECOVER_TRIES_MAX: u32 = 5;

impl Runner {
    /// Finds out what became of tasks that an earlier agent had started.
    pub(super) async fn recover(&mut self) {
        let tasks: Vec<(String, Stage, Option<TaskHandle>)> =
            self.actual.tasks.iter().map(|task| (task.name.clone(), task.stage, task.handle.clone())).collect();
        for (name, stage, handle) in tasks {
            let id = task_id(self.wanted.alloc.id, &name);
            let was_alive = matches!(stage, Stage::Starting | Stage::Running);
            if !(was_alive || self.claimed.contains(&name)) {
                continue;
            }
            let its = self.wanted.group().and_then(|group| group.task(&name));
            let Some(driver) = its.and_then(|its| self.edge.drivers.get(&its.driver)).cloned() else {
                let reason = "the driver that started the task is not there any more".to_owned();
                self.actual.observe(&self.wanted, Fact::Lost { task: name, reason }, clock::now());
                continue;
            };
            let asked =
                handle.unwrap_or_else(|| TaskHandle { driver: driver.name().to_owned(), id, ..TaskHandle::default() });
            let mut found = None;
            for _ in 0..RECOVER_TRIES_MAX {
                let asking = (driver.clone(), asked.clone());
                found = self.blocking(move || asking.0.recover(&asking.1)).await;
                // The supervisor may have gone in the middle of it: the next one knows.
                if !matches!(found, Some(Err(_))) {
                    break;
                }
            }
            if let Some(Ok(Recovered::Exited(exit))) = &found
                && self.actual.task(&name).is_some_and(|task| task.knows_end(exit))
            {
                // The agent went between taking note of it and acknowledging it: that is all that is left to do.
                continue;
            }
            for fact in facts_of(&name, stage, asked.clone(), found) {
                if stage == Stage::Running && self.wanted.shall_run() && matches!(fact, Fact::Lost { .. }) {
                    count_missing(&self.wanted, &name);
                }
                if let Fact::Started { .. } = &fact {
                    // A task that the journal had not seen start: its directories are there all the same.
                    self.actual.prepare_begun = true;
                    self.actual.is_prepared = true;
                }
                self.actual.observe(&self.wanted, fact, clock::now());
            }
            if self.actual.task(&name).is_some_and(|task| task.stage == Stage::Running) {
                self.await_exit(&driver, name, &asked);
            }
        }
        if self.actual.tasks.iter().any(|task| task.stage == Stage::Running) {
            let (edge, wanted) = (self.edge.clone(), self.wanted.clone());
            if let Some(Some(network)) = self.blocking(move || edge.networks.take_over(&wanted)).await {
                self.actual.network = Some(network);
            }
        }
    }
}

/// A task that shall run is not there: one way of the audit, which counts it.
pub fn count_missing(wanted: &Wanted, task: &str) {
    let alloc = wanted.alloc.id.to_string();
    let labels = [("alloc_id", alloc.as_str()), ("job", wanted.job.id.as_str()), ("task", task)];
    drover_metrics::count("nomad.client.audit.missing", &labels, 1.0);
}

/// What finding a task in this state means for the alloc.
fn facts_of(task: &str, stage: Stage, asked: TaskHandle, found: Option<Result<Recovered, TaskError>>) -> Vec<Fact> {
    let task = task.to_owned();
    let started = |handle: TaskHandle| Fact::Started { task: task.clone(), handle };
    match found {
        Some(Ok(Recovered::Running(_))) if stage == Stage::Running => Vec::new(),
        Some(Ok(Recovered::Running(handle))) => vec![started(handle)],
        Some(Ok(Recovered::Exited(exit))) if stage == Stage::Running => vec![Fact::Exited { task, exit }],
        Some(Ok(Recovered::Exited(exit))) => vec![started(asked), Fact::Exited { task: task.clone(), exit }],
        Some(Ok(Recovered::Unknown)) => {
            let reason = if stage == Stage::Running { "the task ended while nobody watched it" } else { "" };
            vec![Fact::Lost { task, reason: reason.to_owned() }]
        }
        // Nobody can say, so it may well run: its end will be told.
        Some(Err(_)) if stage == Stage::Running => Vec::new(),
        Some(Err(error)) => vec![Fact::Lost { task, reason: error.to_string() }],
        None => Vec::new(),
    }
}
