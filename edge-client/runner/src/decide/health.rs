//! Whether an alloc is healthy in its deployment, from the states of its tasks.
//!
//! All its tasks as they should be for `min_healthy_time`: healthy. A failed task, or `healthy_deadline` over: unhealthy.
//! A restart begins the time anew.

use std::time::Duration;

use drover_model::policy::UpdateStrategy;
use drover_model::task_state::TaskPhase;
use drover_model::time::format_duration;
use drover_model::{DeploymentId, Timestamp};
use serde::{Deserialize, Serialize};

use super::actual::TaskActual;
use super::lifecycle::Role;
use super::moment::Now;

/// What has been seen of an alloc's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthWatch {
    /// The deployment it is about; another one begins anew.
    pub deployment: Option<DeploymentId>,
    /// When the watch began, on the steady clock.
    pub began: Option<Duration>,
    /// Since when all tasks are as they should be.
    pub well_since: Option<Duration>,
    /// The decision, which is final.
    pub healthy: Option<bool>,
    /// When it was made.
    pub decided_at: Timestamp,
}

/// The tasks as far as health goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TasksSeen {
    /// Every task is as it should be: main tasks and sidecars run, the others have ended well or run.
    pub are_well: bool,
    /// A task has failed.
    pub has_failed: bool,
    /// The latest start of a task that has to run on, on the steady clock.
    pub last_start: Option<Duration>,
}

impl HealthWatch {
    /// Looks again. Gives the time at which it must look next even if nothing changes.
    pub fn step(&mut self, policy: &UpdateStrategy, tasks: TasksSeen, now: Now) -> Option<Duration> {
        if self.healthy.is_some() || policy.health_check == "manual" {
            return None;
        }
        let began = *self.began.get_or_insert(now.steady);
        if tasks.has_failed {
            self.decide(false, now);
            return None;
        }
        let deadline = began + policy.healthy_deadline;
        if !tasks.are_well {
            self.well_since = None;
        } else if self.well_since.is_none() || self.well_since < tasks.last_start {
            // The tasks were well from the moment the last of them started, not from when this was looked at.
            self.well_since = tasks.last_start.or(Some(now.steady));
        }
        let well_at = self.well_since.map(|since| since + policy.min_healthy_time);
        if well_at.is_some_and(|at| at <= now.steady && at <= deadline) {
            self.decide(true, now);
            return None;
        }
        if now.steady >= deadline {
            self.decide(false, now);
            return None;
        }
        Some(well_at.map_or(deadline, |at| at.min(deadline)))
    }

    fn decide(&mut self, healthy: bool, now: Now) {
        self.healthy = Some(healthy);
        self.decided_at = now.wall;
    }
}

/// What is said of a task when its alloc is found unhealthy; nothing where it is not its fault.
pub fn complaint(policy: &UpdateStrategy, task: &TaskActual, role: Role, deadline: Duration) -> Option<String> {
    let (min, longest) = (format_duration(policy.min_healthy_time), format_duration(policy.healthy_deadline));
    if task.state.failed {
        return Some("Unhealthy because of failed task".to_owned());
    }
    match task.state.state {
        TaskPhase::Pending => Some(format!("Task not running by healthy_deadline of {longest}")),
        // The others are meant to end.
        TaskPhase::Dead => {
            (role == Role::Main || role.is_sidecar()).then(|| "Unhealthy because of dead task".to_owned())
        }
        TaskPhase::Running => {
            let is_young = task.started.is_some_and(|started| started + policy.min_healthy_time > deadline);
            is_young.then(|| format!("Task not running for min_healthy_time of {min} by healthy_deadline of {longest}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: TasksSeen = TasksSeen { are_well: true, has_failed: false, last_start: None };
    const ILL: TasksSeen = TasksSeen { are_well: false, has_failed: false, last_start: None };
    const FAILED: TasksSeen = TasksSeen { are_well: false, has_failed: true, last_start: None };

    fn well_since(second: u64) -> TasksSeen {
        TasksSeen { last_start: Some(Duration::from_secs(second)), ..WELL }
    }

    /// Looks at these seconds (min_healthy_time 10, healthy_deadline 60): decision, or the next look.
    fn check(looks: &[(u64, TasksSeen, Result<bool, u64>)]) {
        let policy = UpdateStrategy {
            health_check: "task_states".to_owned(),
            min_healthy_time: Duration::from_secs(10),
            healthy_deadline: Duration::from_secs(60),
            ..UpdateStrategy::default()
        };
        let mut watch = HealthWatch::default();
        for (second, tasks, expected) in looks {
            let now = Now { steady: Duration::from_secs(*second), wall: Timestamp(1) };
            let next = watch.step(&policy, *tasks, now);
            match expected {
                Ok(healthy) => assert_eq!((watch.healthy, next), (Some(*healthy), None), "{looks:?} at {second}"),
                Err(at) => {
                    assert_eq!((watch.healthy, next), (None, Some(Duration::from_secs(*at))), "{looks:?} at {second}")
                }
            }
        }
    }

    #[test]
    fn health_takes_its_time() {
        check(&[
            (0, ILL, Err(60)),
            (3, well_since(2), Err(12)),
            (11, well_since(2), Err(12)),
            (12, well_since(2), Ok(true)),
        ]);
        check(&[
            (0, well_since(0), Err(10)),
            (5, ILL, Err(60)),
            (8, well_since(7), Err(17)),
            (17, well_since(7), Ok(true)),
        ]);
        check(&[(0, well_since(0), Err(10)), (9, well_since(8), Err(18))]);
    }

    #[test]
    fn failure_and_deadline_decide_against_it() {
        check(&[(0, ILL, Err(60)), (3, FAILED, Ok(false))]);
        check(&[(0, ILL, Err(60)), (60, ILL, Ok(false))]);
        check(&[(0, ILL, Err(60)), (55, well_since(55), Err(60)), (60, well_since(55), Ok(false))]);
    }

    #[test]
    fn a_decision_is_final_and_a_manual_one_is_not_ours() {
        check(&[(0, FAILED, Ok(false)), (30, well_since(1), Ok(false))]);
        let manual = UpdateStrategy { health_check: "manual".to_owned(), ..UpdateStrategy::default() };
        let mut watch = HealthWatch::default();
        assert_eq!(watch.step(&manual, FAILED, Now::default()), None);
        assert_eq!(watch.healthy, None);
    }
}
