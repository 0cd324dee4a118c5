//! What a simulated edge says of an alloc that it was given: it runs, or, of a batch job, it is complete.

use std::collections::BTreeMap;

use drover_model::alloc::{AllocUpdate, ClientStatus, DesiredStatus};
use drover_model::task_state::{TaskPhase, TaskState};
use drover_model::{AllocId, Timestamp};
use drover_protocol::edge::{NodeAllocs, WantedAlloc};

/// What one edge has reported so far.
#[derive(Debug, Default)]
pub struct Work {
    reported: BTreeMap<AllocId, ClientStatus>,
}

impl Work {
    /// The reports that follow from what was pulled.
    pub fn pulled(&mut self, allocs: &NodeAllocs, now: Timestamp) -> Vec<AllocUpdate> {
        for removed in &allocs.removals {
            self.reported.remove(removed);
        }
        allocs.upserts.iter().filter_map(|wanted| self.report(wanted, now)).collect()
    }

    /// Allocs that are known here.
    pub fn ids(&self) -> impl Iterator<Item = AllocId> + '_ {
        self.reported.keys().copied()
    }

    fn report(&mut self, wanted: &WantedAlloc, now: Timestamp) -> Option<AllocUpdate> {
        let id = wanted.alloc.id;
        let known = *self.reported.entry(id).or_insert(wanted.alloc.client_status);
        let runs_on = wanted.alloc.desired_status == DesiredStatus::Run && !wanted.job.kind.is_batch();
        let status = if runs_on { ClientStatus::Running } else { ClientStatus::Complete };
        if known.is_terminal() || known == status {
            return None;
        }
        self.reported.insert(id, status);
        Some(update(wanted, status, now))
    }
}

fn update(wanted: &WantedAlloc, status: ClientStatus, now: Timestamp) -> AllocUpdate {
    let is_over = status.is_terminal();
    let task = TaskState {
        state: if is_over { TaskPhase::Dead } else { TaskPhase::Running },
        started_at: now,
        finished_at: if is_over { now } else { Timestamp::default() },
        ..TaskState::default()
    };
    let tasks = wanted.job.group(&wanted.alloc.task_group).map(|group| group.tasks.as_slice()).unwrap_or_default();
    let description = if is_over { "All tasks have completed" } else { "Tasks are running" };
    AllocUpdate {
        alloc_id: wanted.alloc.id,
        client_status: status,
        client_description: description.to_owned(),
        task_states: tasks.iter().map(|named| (named.name.clone(), task.clone())).collect(),
        healthy: (wanted.alloc.deployment_id.is_some() && !is_over).then_some(true),
        health_at: now,
        at: now,
        ..AllocUpdate::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use drover_model::alloc::Alloc;
    use drover_model::group::Group;
    use drover_model::job::{Job, JobType};
    use drover_model::task::Task;

    use super::*;

    fn wanted(id: u8, kind: JobType, desired_status: DesiredStatus) -> WantedAlloc {
        let task = Task { name: "t".to_owned(), ..Task::default() };
        let group = Group { name: "g".to_owned(), tasks: vec![task], ..Group::default() };
        let job = Job { kind, task_groups: vec![group], ..Job::default() };
        let id = AllocId::from_random([id; 16]);
        let alloc = Alloc { id, desired_status, task_group: "g".to_owned(), ..Alloc::default() };
        WantedAlloc { alloc, job: Arc::new(job) }
    }

    #[test]
    fn services_run_until_they_are_stopped_and_batch_jobs_are_done_at_once() {
        let mut work = Work::default();
        let mut pull = |upserts: Vec<WantedAlloc>| {
            let updates = work.pulled(&NodeAllocs { upserts, ..NodeAllocs::default() }, Timestamp(7));
            updates.into_iter().map(|update| (update.client_status, update.task_states["t"].state)).collect::<Vec<_>>()
        };
        let (run, stop) = (DesiredStatus::Run, DesiredStatus::Stop);
        let running = (ClientStatus::Running, TaskPhase::Running);
        let complete = (ClientStatus::Complete, TaskPhase::Dead);
        let first = vec![wanted(1, JobType::Service, run), wanted(2, JobType::Batch, run)];
        assert_eq!(pull(first.clone()), [running, complete]);
        assert_eq!(pull(first), [], "what was said once is not said again");
        assert_eq!(pull(vec![wanted(1, JobType::Service, stop), wanted(2, JobType::Batch, stop)]), [complete]);
    }
}
