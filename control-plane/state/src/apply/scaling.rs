//! Counts of groups: changed by themselves, with a note of who changed them and why.

use std::sync::Arc;

use drover_model::JobKey;
use drover_model::job::Job;
use serde_json::{Value, json};

use super::job::check_enforced;
use super::{Applying, not_found};
use crate::command::{Answer, Refusal, ScaleJob};
use crate::event::Change;
use crate::scaling::{SCALING_EVENTS_MAX, ScalingEvent, policy_id};
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

    /// Gives the scaling policies of a job their ids and indexes: one that stays as it is keeps them.
    pub(super) fn settle_policies(&self, job: &mut Job, existing: Option<&Job>) {
        let key = job.key();
        for group in &mut job.task_groups {
            let old = existing.and_then(|existing| existing.group(&group.name)?.scaling.as_ref());
            let Some(policy) = &mut group.scaling else { continue };
            if let Some(old) = old.filter(|old| bare(old) == bare(policy)) {
                *policy = old.clone();
                continue;
            }
            let Value::Object(policy) = policy else { continue };
            let create_index = old.and_then(|old| old.get("CreateIndex")?.as_u64()).unwrap_or(self.index);
            let (namespace, id) = (key.namespace.as_str(), key.id.as_str());
            let target = json!({ "Namespace": namespace, "Job": id, "Group": group.name });
            policy.insert("ID".to_owned(), policy_id(&key, &group.name).into());
            policy.insert("CreateIndex".to_owned(), create_index.into());
            policy.insert("ModifyIndex".to_owned(), self.index.into());
            policy.insert("Target".to_owned(), target);
        }
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

/// A policy without what is kept about it here.
fn bare(policy: &Value) -> Value {
    let mut policy = policy.clone();
    if let Value::Object(policy) = &mut policy {
        for key in ["ID", "CreateIndex", "ModifyIndex", "Target"] {
            policy.remove(key);
        }
    }
    policy
}
