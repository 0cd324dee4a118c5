//! Counts of groups: changed by themselves, within what the job file allows, or only noted about.

use drover_model::eval::EvalTrigger;
use drover_model::group::Group;
use drover_model::job::{Job, JobType};
use drover_model::{EvalId, JobKey};
use drover_state::scaling::ScalingEvent;
use drover_state::{Answer, Command, ScaleJob};

use crate::clock;
use crate::error::Error;
use crate::jobs::eval_of;
use crate::scheduler_config::check_takes_jobs;
use crate::server::Server;

/// A change of a group's count, or a note about it.
#[derive(Clone, Debug, Default)]
pub struct ScaleRequest {
    /// The group.
    pub group: String,
    /// The count and what is kept about it.
    pub event: ScalingEvent,
    /// Refuse a change unless the job's modify index is this one.
    pub enforce_index: Option<u64>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scaled {
    /// The eval of a change.
    pub eval_id: Option<EvalId>,
    /// The job's modify index.
    pub job_modify_index: u64,
    /// Raft index of the write.
    pub index: u64,
}

impl Server {
    /// Changes the count of a group, or notes something about it when no count is given.
    ///
    /// # Errors
    /// The job or group is unknown, the count is not allowed, or a rollout is under way.
    pub async fn scale_job(&self, key: JobKey, request: ScaleRequest) -> Result<Scaled, Error> {
        let at = clock::now();
        let snapshot = self.read(false).await?.snapshot;
        check_takes_jobs(&snapshot)?;
        let missing = || Error::NotFound(format!("job {:?} not found", key.id.as_str()));
        let job = snapshot.job(&key).ok_or_else(missing)?;
        let group = job.group(&request.group).ok_or_else(|| {
            Error::Invalid(format!("task group {:?} specified for scaling does not exist in job", request.group))
        })?;
        let eval = match request.event.count {
            None => None,
            Some(count) => {
                check_count(job, group, count).map_err(Error::Invalid)?;
                let is_rolling_out = snapshot
                    .latest_deployment(&key)
                    .is_some_and(|latest| latest.status.is_active() && latest.job_create_index == job.create_index);
                if is_rolling_out {
                    return Err(Error::Invalid("job scaling blocked due to active deployment".to_owned()));
                }
                Some(eval_of(job, EvalTrigger::JobScaling, None, at)).filter(|_| !job.is_parent())
            }
        };
        let eval_id = eval.as_ref().map(|eval| eval.id);
        let ScaleRequest { group, event, enforce_index } = request;
        let scale = ScaleJob { key, group, event, enforce_index, eval, at };
        let (index, answer) = self.propose(Command::ScaleJob(Box::new(scale))).await?;
        let job_modify_index = match answer {
            Answer::Job { job_modify_index, .. } => job_modify_index,
            Answer::Done | Answer::Launched { .. } | Answer::Refused(_) => 0,
        };
        Ok(Scaled { eval_id, job_modify_index, index })
    }
}

fn check_count(job: &Job, group: &Group, count: i64) -> Result<(), String> {
    if job.kind == JobType::System && count > 1 {
        return Err("jobs of type \"system\" can only be scaled between 0 and 1".to_owned());
    }
    let Some(policy) = &group.scaling else { return Ok(()) };
    let bound = |key: &str| policy.get(key).and_then(serde_json::Value::as_i64);
    if let Some(least) = bound("Min").filter(|least| count < *least) {
        return Err(format!("group count was less than scaling policy minimum: {count} < {least}"));
    }
    if let Some(most) = bound("Max").filter(|most| count > *most) {
        return Err(format!("group count was greater than scaling policy maximum: {count} > {most}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_keep_within_the_policy() {
        let check = |kind: JobType, policy: Option<serde_json::Value>, count: i64, expected: Result<(), &str>| {
            let job = Job { kind, ..Job::default() };
            let group = Group { scaling: policy, ..Group::default() };
            assert_eq!(check_count(&job, &group, count), expected.map_err(str::to_owned));
        };
        let policy = || Some(json!({ "Min": 1, "Max": 5 }));
        check(JobType::Service, policy(), 5, Ok(()));
        check(JobType::Service, policy(), 9, Err("group count was greater than scaling policy maximum: 9 > 5"));
        check(JobType::Service, policy(), 0, Err("group count was less than scaling policy minimum: 0 < 1"));
        check(JobType::Service, None, 900, Ok(()));
        check(JobType::System, None, 1, Ok(()));
        check(JobType::System, None, 2, Err("jobs of type \"system\" can only be scaled between 0 and 1"));
    }
}
