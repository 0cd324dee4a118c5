//! Jobs: register, stop, evaluate, mark stable.

use std::sync::Arc;

use drover_model::alloc::DesiredTransition;
use drover_model::eval::{Eval, EvalStatus, EvalTrigger};
use drover_model::job::Job;
use drover_model::{EvalId, JobKey, Timestamp};
use drover_state::submission::Submission;
use drover_state::{Answer, Command, RegisterJob, Snapshot};

use crate::error::Error;
use crate::scheduler_config::check_takes_jobs;
use crate::server::Server;
use crate::{chance, clock};

/// A job to be registered.
#[derive(Clone, Debug, Default)]
pub struct RegisterRequest {
    /// The job, complete and checked.
    pub job: Job,
    /// Refuse unless the job's modify index is this one (0: unless there is none).
    pub enforce_index: Option<u64>,
    /// Keep the counts of groups that exist.
    pub preserve_counts: bool,
    /// Keep the resources of tasks that exist.
    pub preserve_resources: bool,
    /// The eval's priority; the job's when none.
    pub eval_priority: Option<i64>,
    /// The text it was made from.
    pub submission: Option<Submission>,
}

/// How a job is stopped.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeregisterOptions {
    /// Forget it wholly.
    pub purge: bool,
    /// Its tasks are asked to end at once, whatever delay they have before that.
    pub no_shutdown_delay: bool,
    /// The eval's priority; the job's when none.
    pub eval_priority: Option<i64>,
}

/// What became of a write to a job.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobWritten {
    /// The eval that was made.
    pub eval_id: Option<EvalId>,
    /// Raft index at which it was made.
    pub eval_create_index: u64,
    /// The job's modify index; 0 when there was no such job.
    pub job_modify_index: u64,
    /// Raft index of the write.
    pub index: u64,
}

/// An eval of a job, for the trigger.
pub(crate) fn eval_of(job: &Job, trigger: EvalTrigger, priority: Option<i64>, at: Timestamp) -> Eval {
    Eval {
        id: EvalId::from_random(chance::bytes16()),
        namespace: job.namespace.clone(),
        priority: priority.unwrap_or(job.priority),
        kind: job.kind,
        triggered_by: trigger,
        job_id: job.id.clone(),
        job_modify_index: job.job_modify_index,
        status: EvalStatus::Pending,
        create_time: at,
        modify_time: at,
        ..Eval::default()
    }
}

impl Server {
    /// Registers a job, new or changed, and makes the eval that places it.
    ///
    /// # Errors
    /// The enforced index is another one, or the log can't be written.
    pub async fn register_job(&self, mut request: RegisterRequest) -> Result<JobWritten, Error> {
        let snapshot = self.read(false).await?.snapshot;
        check_takes_jobs(&snapshot)?;
        check_change(snapshot.job(&request.job.key()).map(|job| &**job), &request.job)?;
        // Only a deployment makes a version stable, or who asks for just that.
        request.job.stable = false;
        self.write_job(request).await
    }

    async fn write_job(&self, request: RegisterRequest) -> Result<JobWritten, Error> {
        let at = clock::now();
        let mut job = request.job;
        job.submit_time = at;
        // A job that only launches others has nothing to place.
        let eval = eval_of(&job, EvalTrigger::JobRegister, request.eval_priority, at);
        let eval = Some(eval).filter(|_| !job.is_parent());
        let eval_id = eval.as_ref().map(|eval| eval.id);
        let command = Command::RegisterJob(Box::new(RegisterJob {
            job: Arc::new(job),
            eval,
            enforce_index: request.enforce_index,
            preserve_counts: request.preserve_counts,
            preserve_resources: request.preserve_resources,
            submission: request.submission,
            needs_namespace: true,
            at,
        }));
        let (index, answer) = self.propose(command).await?;
        Ok(written(eval_id, index, answer))
    }

    /// Stops a job, or forgets it. An unknown job is no error: nothing is done.
    ///
    /// # Errors
    /// The log can't be written.
    pub async fn deregister_job(&self, key: JobKey, options: DeregisterOptions) -> Result<JobWritten, Error> {
        let at = clock::now();
        let reading = self.read(false).await?;
        let Some(job) = reading.snapshot.job(&key).cloned() else {
            return Ok(JobWritten { index: reading.snapshot.index(), ..JobWritten::default() });
        };
        let eval = eval_of(&job, EvalTrigger::JobDeregister, options.eval_priority, at);
        let eval = Some(Box::new(eval)).filter(|_| !job.is_parent());
        let eval_id = eval.as_ref().map(|eval| eval.id);
        if options.no_shutdown_delay {
            self.skip_shutdown_delays(&reading.snapshot, &key, at).await?;
        }
        let command = Command::DeregisterJob { key, purge: options.purge, eval, at };
        let (index, answer) = self.propose(command).await?;
        Ok(written(eval_id, index, answer))
    }

    /// Tells the edges that what is about to be stopped needs no delay. A command of its own before the stop: an alloc
    /// that is placed in between keeps its delay.
    async fn skip_shutdown_delays(&self, snapshot: &Snapshot, key: &JobKey, at: Timestamp) -> Result<(), Error> {
        let transition = DesiredTransition { no_shutdown_delay: Some(true), ..DesiredTransition::default() };
        let running = snapshot.allocs_of_job(key).filter(|alloc| !alloc.is_client_terminal());
        let transitions: Vec<_> = running.map(|alloc| (alloc.id, transition)).collect();
        if transitions.is_empty() {
            return Ok(());
        }
        let command = Command::UpdateAllocTransitions { transitions, evals: Vec::new(), at };
        match self.propose(command).await {
            // They ended meanwhile.
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes an eval of a job as it is.
    ///
    /// # Errors
    /// The job is unknown, or the log can't be written.
    pub async fn evaluate_job(&self, key: JobKey) -> Result<JobWritten, Error> {
        let at = clock::now();
        let reading = self.read(false).await?;
        let unknown = || Error::Conflict("job not found".to_owned());
        let job = reading.snapshot.job(&key).cloned().ok_or_else(unknown)?;
        check_evaluable(&job)?;
        let eval = eval_of(&job, EvalTrigger::JobRegister, None, at);
        let eval_id = eval.id;
        let (index, _) = self.propose(Command::UpsertEvals { evals: vec![eval], at }).await?;
        Ok(JobWritten {
            eval_id: Some(eval_id),
            eval_create_index: index,
            job_modify_index: job.job_modify_index,
            index,
        })
    }

    /// Marks a version as stable or not; gives the raft index.
    ///
    /// # Errors
    /// There is no such version, or the log can't be written.
    pub async fn set_job_stability(&self, key: JobKey, version: u64, stable: bool) -> Result<u64, Error> {
        self.propose(Command::SetJobStability { key, version, stable }).await.map(|(index, _)| index)
    }

    /// Registers an old version again as a new one.
    ///
    /// # Errors
    /// There is no such version, it is the current one, or another prior version was to be enforced.
    pub async fn revert_job(
        &self,
        key: JobKey,
        version: u64,
        enforce_prior_version: Option<u64>,
    ) -> Result<JobWritten, Error> {
        let reading = self.read(false).await?;
        let current =
            reading.snapshot.job(&key).ok_or_else(|| Error::Conflict(format!("job \"{}\" not found", key.id)))?;
        if let Some(prior) = enforce_prior_version.filter(|prior| *prior != current.version) {
            let text = format!("Current job has version {}; enforcing version {prior}", current.version);
            return Err(Error::Conflict(text));
        }
        if version == current.version {
            return Err(Error::Conflict("can't revert to current version".to_owned()));
        }
        let missing = || {
            let text = format!("job \"{}\" in namespace \"{}\" at version {version} not found", key.id, key.namespace);
            Error::Conflict(text)
        };
        let old = reading.snapshot.job_version(&key, version).ok_or_else(missing)?;
        let submission = reading.snapshot.submission(&key, version).map(|submission| (**submission).clone());
        // It has to prove itself again: what it needs beside the job may not be what it was.
        let job = Job { stop: false, stable: false, ..(**old).clone() };
        let enforce_index = Some(current.job_modify_index);
        self.write_job(RegisterRequest { job, enforce_index, submission, ..RegisterRequest::default() }).await
    }
}

/// What a job is can't be changed: another scheduler would look after its allocs, or none.
///
/// # Errors
/// Registering the new job in place of the old one would be refused, for this reason.
pub fn check_change(old: Option<&Job>, new: &Job) -> Result<(), Error> {
    let refuse = |text: String| Err(Error::Conflict(text));
    let Some(old) = old else {
        return if new.dispatched { refuse("job can't be submitted with 'Dispatched' set".to_owned()) } else { Ok(()) };
    };
    if old.kind != new.kind {
        return refuse(format!("cannot update job from type {:?} to {:?}", old.kind.as_str(), new.kind.as_str()));
    }
    let kinds = [
        ("periodic", old.periodic.is_some(), new.periodic.is_some()),
        ("parameterized", old.parameterized_job.is_some(), new.parameterized_job.is_some()),
    ];
    for (word, was, is) in kinds {
        match (was, is) {
            (true, false) => return refuse(format!("cannot update {word} job to being non-{word}")),
            (false, true) => return refuse(format!("cannot update non-{word} job to being {word}")),
            _ => {}
        }
    }
    if old.dispatched == new.dispatched { Ok(()) } else { refuse("field 'Dispatched' is read-only".to_owned()) }
}

/// A job that only launches others has nothing to evaluate.
pub(crate) fn check_evaluable(job: &Job) -> Result<(), Error> {
    match job.is_parent() {
        false => Ok(()),
        true if job.periodic.is_some() => Err(Error::Conflict("can't evaluate periodic job".to_owned())),
        true => Err(Error::Conflict("can't evaluate parameterized job".to_owned())),
    }
}

fn written(eval_id: Option<EvalId>, index: u64, answer: Answer) -> JobWritten {
    match answer {
        Answer::Job { job_modify_index, .. } => {
            JobWritten { eval_id, eval_create_index: index, job_modify_index, index }
        }
        Answer::Done | Answer::Launched { .. } | Answer::Refused(_) => {
            JobWritten { eval_id, eval_create_index: index, job_modify_index: 0, index }
        }
    }
}

#[cfg(test)]
mod tests {
    use drover_model::job::JobType;

    use super::*;

    #[test]
    fn what_a_job_is_stays() {
        let service = Job::default();
        let batch = Job { kind: JobType::Batch, ..Job::default() };
        let periodic = Job { periodic: Some(true.into()), ..Job::default() };
        let parameterized = Job { parameterized_job: Some(true.into()), ..Job::default() };
        let dispatched = Job { dispatched: true, ..parameterized.clone() };
        let check = |old: Option<&Job>, new: &Job, expected: Option<&str>| {
            let found = check_change(old, new).err().map(|error| error.to_string());
            assert_eq!(found.as_deref(), expected);
        };
        check(None, &service, None);
        check(None, &dispatched, Some("job can't be submitted with 'Dispatched' set"));
        check(Some(&service), &service, None);
        check(Some(&service), &batch, Some("cannot update job from type \"service\" to \"batch\""));
        check(Some(&service), &periodic, Some("cannot update non-periodic job to being periodic"));
        check(Some(&periodic), &service, Some("cannot update periodic job to being non-periodic"));
        check(Some(&service), &parameterized, Some("cannot update non-parameterized job to being parameterized"));
        check(Some(&parameterized), &service, Some("cannot update parameterized job to being non-parameterized"));
        check(Some(&parameterized), &dispatched, Some("field 'Dispatched' is read-only"));
        check(Some(&dispatched), &dispatched, None);
    }
}
