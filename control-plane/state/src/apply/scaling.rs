//! Counts of groups: changed by themselves, with a note of who changed them and why.

use std::sync::Arc;

use drover_model::JobKey;
use drover_model::job::Job;

use super::job::check_enforced;
use super::{Applying, not_found};
use crate::command::{Answer, Refusal, ScaleJob};
use crate::event::Change;
use crate::scaling::{SCALING_EVENTS_MAX, ScalingEvent};
use crate::state::Table;

impl Applying<'_> {
    pub(super) fn scale_job(&mut self, scale: ScaleJob) -> Result<Answer, Refusal> {
        let ScaleJob { key, group, event, enforce_index, eval, at } = scale;
        let current = self.state.jobs.get(&key).cloned().ok_or_else(|| not_found("job"))?;
        let previous_count = current.group(&group).ok_or_else(|| not_found("task group"))?.count;
        if event.count.is_some() {
            check_enforced(enforce_index, Some(&current))?;
        }
        let (mut job_modify_index, mut version) = (current.job_modify_index, current.version);
        let eval_id = eval.as_ref().map(|eval| eval.id).filter(|_| event.count.is_some());
        if let Some(count) = event.count {
            let mut job = Job::clone(&current);
            for found in job.task_groups.iter_mut().filter(|found| found.name == group) {
                found.count = count;
            }
            (job_modify_index, version) = self.put_registered(job, Some(&current), at);
            if version != current.version
                && let Some(text) = self.state.submission(&key, current.version).cloned()
            {
                self.state.set_submission(key.clone(), version, text);
            }
            self.put_job_eval(eval, job_modify_index, at);
        }
        let event = ScalingEvent { previous_count, eval_id, time: at, create_index: self.index, ..event };
        self.note_scaling(key, &group, event);
        Ok(Answer::Job { job_modify_index, version })
    }

    fn note_scaling(&mut self, key: JobKey, group: &str, event: ScalingEvent) {
        let job = self.state.jobs.get(&key).cloned();
        let events = Arc::make_mut(self.state.scaling.entry(key.clone()).or_default());
        // What is noted of groups that are gone goes too: else new names for groups would add up for ever.
        events.retain(|name, _| job.as_ref().is_some_and(|job| job.group(name).is_some()));
        let of_group = events.entry(group.to_owned()).or_default();
        of_group.insert(0, event);
        of_group.truncate(SCALING_EVENTS_MAX);
        self.changed(Table::Jobs, Change::Job(key));
    }
}
