//! Jobs that are launched by hand: a periodic one before its time, a parameterized one with what it needs.

use std::collections::BTreeMap;
use std::fmt::Write;

use drover_leader::periodic;
use drover_model::eval::EvalTrigger;
use drover_model::job::Job;
use drover_model::launch::Payload;
use drover_model::{EvalId, JobKey, Timestamp};
use drover_state::{Answer, Command, LaunchJob};
use jiff::tz::TimeZone;

use crate::error::Error;
use crate::jobs::eval_of;
use crate::scheduler_config::check_takes_jobs;
use crate::server::Server;
use crate::{chance, clock};

/// The largest payload of a dispatch, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 16 * 1024;

/// What a parameterized job is dispatched with.
#[derive(Clone, Debug, Default)]
pub struct DispatchRequest {
    /// The payload as base64 text; empty for none.
    pub payload: String,
    /// Its length in bytes.
    pub payload_bytes: usize,
    /// Metadata.
    pub meta: BTreeMap<String, String>,
    /// Put into the id of the job that is made.
    pub id_prefix: String,
    /// A second dispatch with the same token makes no second job; empty for none.
    pub idempotency_token: String,
    /// The priority of the job that is made; the job's own when none.
    pub priority: Option<i64>,
}

/// A job that was launched.
#[derive(Clone, Debug)]
pub struct Launched {
    /// The job.
    pub key: JobKey,
    /// Raft index at which it was made.
    pub job_create_index: u64,
    /// Its eval; none when it had been launched before.
    pub eval_id: Option<EvalId>,
    /// Raft index of the write.
    pub index: u64,
}

/// The time zone of that name, as this host knows it.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// When a job launches next, in RFC 3339 text with the offset of its time zone; none when it does not.
pub fn next_launch_text(job: &Job) -> Option<String> {
    let (next, zone) = periodic::next_launch(job, clock::now(), &zone)?;
    let next = jiff::Timestamp::from_nanosecond(i128::from(next.0)).ok()?;
    let offset = zone.to_offset(next);
    // UTC is written as such, not as an offset of zero.
    Some(if offset.is_zero() { next.to_string() } else { next.display_with_offset(offset).to_string() })
}

impl Server {
    /// Launches a periodic job now, whether or not an earlier launch has ended.
    ///
    /// # Errors
    /// The job is unknown, not periodic, stopped or not enabled, or the log can't be written.
    pub async fn force_periodic_job(&self, key: JobKey) -> Result<Launched, Error> {
        let at = clock::now();
        let snapshot = self.read(false).await?.snapshot;
        let job = snapshot.job(&key).ok_or_else(|| Error::Conflict("job not found".to_owned()))?;
        let Some(periodic) = job.periodic_launches() else {
            return Err(Error::Conflict("can't force launch non-periodic job".to_owned()));
        };
        if job.stop || !periodic.is_enabled || job.dispatch_rules().is_some() {
            let (id, namespace) = (key.id.as_str(), &key.namespace);
            let why = format!("can't force run non-tracked job {id:?} ({namespace})");
            return Err(Error::Conflict(format!("force launch for job {id:?} failed: {why}")));
        }
        let child = job.periodic_child(at);
        self.launch(key, child, EvalTrigger::PeriodicJob, at, at).await
    }

    /// Launches a parameterized job.
    ///
    /// # Errors
    /// The job is unknown, of another kind or stopped, or the request does not bring what it asks for.
    pub async fn dispatch_job(&self, key: JobKey, request: DispatchRequest) -> Result<Launched, Error> {
        let at = clock::now();
        let snapshot = self.read(false).await?.snapshot;
        check_takes_jobs(&snapshot)?;
        let job = snapshot.job(&key).ok_or_else(|| Error::Conflict("parameterized job not found".to_owned()))?;
        check_dispatch(job, &request).map_err(Error::Conflict)?;
        if !request.idempotency_token.is_empty()
            && let Some(twin) = snapshot.child_with_token(&key, &request.idempotency_token)
        {
            let index = twin.create_index;
            return Ok(Launched { key: twin.key(), job_create_index: index, eval_id: None, index });
        }
        let mut random = String::new();
        for byte in &chance::bytes16()[..4] {
            let _written = write!(random, "{byte:02x}");
        }
        let prefix = if request.id_prefix.is_empty() { String::new() } else { format!("{}-", request.id_prefix) };
        let id = format!("{}/dispatch-{prefix}{}-{random}", job.id, at.seconds());
        let child = Job {
            payload: Some(request.payload).filter(|payload| !payload.is_empty()),
            dispatch_idempotency_token: request.idempotency_token,
            priority: request.priority.unwrap_or(job.priority),
            ..job.dispatched_child(id, request.meta, at)
        };
        self.launch(key, child, EvalTrigger::JobRegister, Timestamp(0), at).await
    }

    async fn launch(
        &self,
        parent: JobKey,
        child: Job,
        trigger: EvalTrigger,
        launched_at: Timestamp,
        at: Timestamp,
    ) -> Result<Launched, Error> {
        // A dispatched job that is periodic launches others itself.
        let eval = Some(eval_of(&child, trigger, None, at)).filter(|_| !child.is_parent());
        let eval_id = eval.as_ref().map(|eval| eval.id);
        let launch = LaunchJob { parent, job: Some(child.into()), eval, launched_at, at };
        let (index, answer) = self.propose(Command::LaunchJob(Box::new(launch))).await?;
        match answer {
            Answer::Launched { key, create_index, is_new } => {
                Ok(Launched { key, job_create_index: create_index, eval_id: eval_id.filter(|_| is_new), index })
            }
            Answer::Done | Answer::Job { .. } | Answer::Refused(_) => Err(Error::Internal {
                public: "the job was not launched".to_owned(),
                private: "a launch was answered as something else".to_owned(),
            }),
        }
    }
}

fn check_dispatch(job: &Job, request: &DispatchRequest) -> Result<(), String> {
    let id = job.id.as_str();
    let Some(rules) = job.dispatch_rules() else {
        return Err(format!("Specified job {id:?} is not a parameterized job"));
    };
    if job.stop {
        return Err(format!("Specified job {id:?} is stopped"));
    }
    match (rules.payload, request.payload_bytes) {
        (Payload::Required, 0) => {
            return Err("Payload is not provided but required by parameterized job".to_owned());
        }
        (Payload::Forbidden, 1..) => {
            return Err("Payload provided but forbidden by parameterized job".to_owned());
        }
        (_, bytes) if bytes > PAYLOAD_BYTES_MAX => {
            return Err(format!("Payload exceeds maximum size; {bytes} > {PAYLOAD_BYTES_MAX}"));
        }
        _ => {}
    }
    let is_known = |key: &&str| rules.meta_required.contains(key) || rules.meta_optional.contains(key);
    let unknown: Vec<&str> = request.meta.keys().map(String::as_str).filter(|key| !is_known(key)).collect();
    if !unknown.is_empty() {
        return Err(format!("Dispatch request included unpermitted metadata keys: [{}]", unknown.join(" ")));
    }
    let missing: Vec<&str> =
        rules.meta_required.iter().copied().filter(|key| !request.meta.contains_key(*key)).collect();
    if !missing.is_empty() {
        return Err(format!("Dispatch did not provide required meta keys: [{}]", missing.join(" ")));
    }
    if request.priority.is_some_and(|priority| !(1..=100).contains(&priority)) {
        return Err("dispatch job priority must be between [1, 100]".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dispatch_brings_what_it_must() {
        let parameterized = json!({ "Payload": "optional", "MetaRequired": ["who"], "MetaOptional": ["opt"] });
        let job = Job { id: "par".into(), parameterized_job: Some(parameterized), ..Job::default() };
        let meta = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), "x".to_owned())).collect();
        let check = |job: &Job, keys: &[&str], bytes: usize, expected: Result<(), &str>| {
            let request = DispatchRequest { meta: meta(keys), payload_bytes: bytes, ..DispatchRequest::default() };
            assert_eq!(check_dispatch(job, &request), expected.map_err(str::to_owned));
        };
        check(&job, &["who", "opt"], 16_384, Ok(()));
        check(&job, &["who"], 16_385, Err("Payload exceeds maximum size; 16385 > 16384"));
        check(&job, &["zz", "yy"], 0, Err("Dispatch request included unpermitted metadata keys: [yy zz]"));
        check(&job, &["opt"], 0, Err("Dispatch did not provide required meta keys: [who]"));
        check(&Job { stop: true, ..job.clone() }, &["who"], 0, Err("Specified job \"par\" is stopped"));
        check(&Job::default(), &[], 0, Err("Specified job \"\" is not a parameterized job"));
        let with = |payload: &str| Job { parameterized_job: Some(json!({ "Payload": payload })), ..job.clone() };
        check(&with("required"), &[], 0, Err("Payload is not provided but required by parameterized job"));
        check(&with("forbidden"), &[], 1, Err("Payload provided but forbidden by parameterized job"));
        let request = DispatchRequest { priority: Some(101), ..DispatchRequest::default() };
        let text = "dispatch job priority must be between [1, 100]";
        assert_eq!(check_dispatch(&with("optional"), &request), Err(text.to_owned()));
    }
}
