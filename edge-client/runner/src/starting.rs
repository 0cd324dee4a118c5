//! One task on its way: what it needs around it, what its driver gets first, the start. A start that waits for an image holds
//! up nobody else, and ends when the task is not wanted any more.

use std::sync::Arc;

use drover_drivers::driver::Preparing;
use drover_drivers::{Driver, TaskHandle, TaskStart};
use drover_model::alloc::NetworkStatus;
use tokio::sync::{mpsc, watch};

use crate::alloc_runner::{Edge, Intent, tell_exit};
use crate::decide::actual::{Fact, StartFailure};
use crate::decide::lifecycle::Role;
use crate::decide::wanted::Wanted;
use crate::start::{failure, ready};

/// A start under way.
pub(crate) struct Starting {
    pub(crate) edge: Arc<Edge>,
    pub(crate) wanted: Wanted,
    pub(crate) task: String,
    pub(crate) facts: mpsc::Sender<Fact>,
    pub(crate) heard: watch::Receiver<Intent>,
}

/// How far the first step has come.
enum Begun {
    Started(TaskHandle),
    /// The driver has something to get first, which may take long: no seat is held meanwhile.
    Preparing(Arc<dyn Driver>, Box<TaskStart>, Preparing),
}

impl Starting {
    /// Makes what the task needs, has its driver prepare and start it, and tells what came of it.
    pub(crate) async fn run(mut self, tell_network: impl FnOnce(NetworkStatus) + Send + 'static) {
        let (edge, wanted, task, facts) =
            (self.edge.clone(), self.wanted.clone(), self.task.clone(), self.facts.clone());
        let begun = self.seated(move || {
            let (driver, start) = ready(&edge, &wanted, &task, tell_network)?;
            let news = move |text: String| {
                // One that finds no place is followed by another.
                let _ = facts.try_send(Fact::Progress { task: task.clone(), text });
            };
            match driver.prepare(&start, Arc::new(news)) {
                Some(preparing) => Ok(Begun::Preparing(driver, Box::new(start), preparing)),
                None => driver.start(start).map(Begun::Started).map_err(failure),
            }
        });
        let started = match begun.await {
            None => return,
            Some(Ok(Begun::Started(handle))) => Ok(handle),
            Some(Ok(Begun::Preparing(driver, start, preparing))) => {
                // What looks after the others is wanted just then.
                let outlives =
                    self.wanted.group().and_then(|group| group.task(&self.task)).map(Role::of) == Some(Role::Poststop);
                let prepared = tokio::select! {
                    prepared = preparing => prepared.map_err(failure),
                    _ = self.heard.wait_for(|intent| intent.is_removed || !(outlives || intent.wanted.shall_run())) => {
                        Err(StartFailure::Unwanted)
                    }
                };
                match prepared {
                    Err(failure) => Err(failure),
                    Ok(()) => match self.seated(move || driver.start(*start).map_err(failure)).await {
                        Some(started) => started,
                        None => return,
                    },
                }
            }
            Some(Err(failure)) => Err(failure),
        };
        let Starting { edge, task, facts, .. } = self;
        match started {
            Err(failure) => {
                // The loop has ended: the agent is going.
                let _ = facts.send(Fact::NotStarted { task, failure }).await;
            }
            Ok(handle) => {
                let driver = edge.drivers.get(&handle.driver).cloned();
                // The start is told before the end can be.
                if facts.send(Fact::Started { task: task.clone(), handle: handle.clone() }).await.is_ok()
                    && let Some(driver) = driver
                {
                    tell_exit(&tokio::runtime::Handle::current(), &driver, task, &handle, facts);
                }
            }
        }
    }

    /// A blocking step, when there is a seat for it.
    async fn seated<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let _seat = self.edge.steps.acquire().await.ok()?;
        tokio::task::spawn_blocking(work).await.ok()
    }
}
