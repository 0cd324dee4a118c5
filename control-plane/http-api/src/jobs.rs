//! Jobs as they are read: lists, one job, and what belongs to it.

use std::sync::Arc;

use drover_model::JobKey;
use drover_model::deployment::Deployment;
use drover_model::diff::{JobDiff, job_diff};
use drover_model::job::Job;
use drover_server::Watch;
use drover_state::{Snapshot, Table};
use serde::Serialize;

use crate::allocs::stubs;
use crate::blocking::{Seen, read};
use crate::call::Call;
use crate::page::{ByName, page};
use crate::problem::Problem;
use crate::reply::Reply;
use crate::views::alloc::Shown;
use crate::views::job::{JobListStub, Summary};

pub(crate) async fn list(call: Call) -> Result<Reply, Problem> {
    call.query.refuse_filter()?;
    let with_meta = call.query.job_flag("meta", false)?;
    read(&call, &[Watch::Table(Table::Jobs)], |reading, options| {
        let snapshot = &reading.snapshot;
        let jobs = snapshot.jobs().filter(|job| {
            call.query.admits_namespace(job.namespace.as_str()) && job.id.as_str().starts_with(&options.prefix)
        });
        let stub = |job: &'_ Arc<Job>| {
            let place = ByName(job.namespace.to_string(), job.id.to_string());
            (place, job.clone())
        };
        let (jobs, token) = page(jobs.map(stub).collect(), options, options.reverse)?;
        let stubs: Vec<_> =
            jobs.iter().map(|job| JobListStub::new(job, snapshot.job_summary(&job.key()), with_meta)).collect();
        Seen::page(snapshot.table_index(Table::Jobs), (stubs, token), &call)
    })
    .await
}

fn missing(snapshot: &Snapshot) -> Seen {
    Seen::missing(snapshot.table_index(Table::Jobs), "job not found")
}

pub(crate) async fn get(call: Call) -> Result<Reply, Problem> {
    let key = call.job_key();
    read(&call, &[Watch::Job(key.clone())], |reading, _| match reading.snapshot.job(&key) {
        Some(job) => Seen::value(job.modify_index, job, &call),
        None => Ok(missing(&reading.snapshot)),
    })
    .await
}

pub(crate) async fn summary(call: Call) -> Result<Reply, Problem> {
    let key = call.job_key();
    read(&call, &[Watch::Job(key.clone())], |reading, _| match reading.snapshot.job(&key) {
        Some(job) => {
            let summary = reading.snapshot.job_summary(&key);
            Seen::value(summary.modify_index, &Summary::new(job, summary), &call)
        }
        None => Ok(missing(&reading.snapshot)),
    })
    .await
}

/// True for what belongs to the job that has this name now, and not to an earlier one.
fn is_of(snapshot: &Snapshot, key: &JobKey, all: bool) -> impl Fn(u64) -> bool + use<> {
    let current = snapshot.job(key).map(|job| job.create_index);
    move |create_index| all || current.is_none_or(|current| current == create_index)
}

pub(crate) async fn allocs(call: Call) -> Result<Reply, Problem> {
    let key = call.job_key();
    let all = call.query.job_flag("all", false)?;
    read(&call, &[Watch::AllocsOfJob(key.clone())], |reading, _| {
        let snapshot = &reading.snapshot;
        let is_of = is_of(snapshot, &key, all);
        let allocs = snapshot.allocs_of_job(&key).filter(|alloc| is_of(alloc.job_create_index));
        Seen::value(snapshot.table_index(Table::Allocs), &stubs(snapshot, allocs, Shown::default()), &call)
    })
    .await
}

pub(crate) async fn evals(call: Call) -> Result<Reply, Problem> {
    let key = call.job_key();
    read(&call, &[Watch::EvalsOfJob(key.clone())], |reading, _| {
        let evals: Vec<_> = reading.snapshot.evals_of_job(&key).collect();
        Seen::value(reading.snapshot.table_index(Table::Evals), &evals, &call)
    })
    .await
}

pub(crate) async fn deployments(call: Call) -> Result<Reply, Problem> {
    let key = call.job_key();
    let all = call.query.job_flag("all", false)?;
    read(&call, &[Watch::DeploymentsOfJob(key.clone())], |reading, _| {
        let snapshot = &reading.snapshot;
        let is_of = is_of(snapshot, &key, all);
        let deployments: Vec<_> =
            snapshot.deployments_of_job(&key).filter(|deployment| is_of(deployment.job_create_index)).collect();
        Seen::value(snapshot.table_index(Table::Deployments), &deployments, &call)
    })
    .await
}

pub(crate) async fn latest_deployment(call: Call) -> Result<Reply, Problem> {
    let key = call.job_key();
    read(&call, &[Watch::DeploymentsOfJob(key.clone())], |reading, _| {
        let latest: Option<&Arc<Deployment>> = reading.snapshot.latest_deployment(&key);
        Seen::value(reading.snapshot.table_index(Table::Deployments), &latest, &call)
    })
    .await
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Versions<'a> {
    diffs: Option<Vec<JobDiff>>,
    index: u64,
    known_leader: bool,
    last_contact: u64,
    next_token: &'static str,
    versions: Vec<&'a Arc<Job>>,
}

pub(crate) async fn versions(call: Call) -> Result<Reply, Problem> {
    let key = call.job_key();
    let with_diffs = call.query.job_flag("diffs", false)?;
    let against =
        match call.query.text("diff_version") {
            "" => None,
            text => Some(text.parse::<u64>().map_err(|_| {
                Problem::Failed(format!("Failed to parse value of \"diff_version\" ({text}) as a uint64"))
            })?),
        };
    let tag = call.query.text("diff_tag");
    if with_diffs && !tag.is_empty() {
        // No version has a tag yet.
        return Err(Problem::Failed(format!("tag {tag:?} not found")));
    }
    read(&call, &[Watch::Job(key.clone())], |reading, _| {
        let versions = reading.snapshot.job_versions(&key);
        if versions.is_empty() {
            let index = reading.snapshot.table_index(Table::Jobs);
            return Ok(Seen::missing(index, "job versions not found"));
        }
        let index = versions.iter().map(|job| job.modify_index).max().unwrap_or_default();
        let diffs = if with_diffs { Some(diffs(&versions, against)?) } else { None };
        let last_contact = u64::try_from(reading.last_contact.as_nanos()).unwrap_or(u64::MAX);
        let known_leader = reading.known_leader;
        Seen::value(index, &Versions { diffs, index, known_leader, last_contact, next_token: "", versions }, &call)
    })
    .await
}

/// Each version against the one before it, or all against one.
fn diffs(versions: &[&Arc<Job>], against: Option<u64>) -> Result<Vec<JobDiff>, Problem> {
    match against {
        None => Ok(versions.windows(2).map(|pair| job_diff(Some(pair[1]), Some(pair[0]))).collect()),
        Some(version) => {
            let missing = || Problem::Failed(format!("job version {version} not found"));
            let base = versions.iter().find(|job| job.version == version).ok_or_else(missing)?;
            Ok(versions.iter().map(|job| job_diff(Some(base), Some(job))).collect())
        }
    }
}

pub(crate) async fn submission(call: Call) -> Result<Reply, Problem> {
    let key = call.job_key();
    let unparsable = || Problem::Invalid("Unable to parse job submission version parameter".to_owned());
    let version: u64 = call.query.text("version").parse().map_err(|_| unparsable())?;
    read(&call, &[Watch::Job(key.clone())], |reading, _| {
        let found = reading.snapshot.submission(&key, version).zip(reading.snapshot.job_version(&key, version));
        let Some((submission, job)) = found else {
            return Ok(Seen::missing(reading.snapshot.table_index(Table::Jobs), "job source not found"));
        };
        let flags = Some(&submission.variable_flags).filter(|flags| !flags.is_empty());
        let body = serde_json::json!({
            "Format": submission.format,
            "JobID": key.id,
            "JobModifyIndex": job.job_modify_index,
            "Namespace": key.namespace,
            "Source": submission.source,
            "VariableFlags": flags,
            "Variables": submission.variables,
            "Version": version,
        });
        Seen::value(job.job_modify_index, &body, &call)
    })
    .await
}
