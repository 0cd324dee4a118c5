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
use crate::filtering::{Asked, whole};
use crate::page::{ByName, page};
use crate::problem::Problem;
use crate::query::ReadOptions;
use crate::reply::{self, Meta, Reply};
use crate::views::alloc::Shown;
use crate::views::job::{Children, JobListStub, Summary};

pub(crate) async fn list(call: Call) -> Result<Reply, Problem> {
    let asked = Asked::of(&call.query)?;
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
        let (jobs, token) =
            page(jobs.map(stub).collect(), options, options.reverse, |job| asked.admits(|_| whole(job)))?;
        let stubs = jobs.iter().map(|job| {
            let children = Children::from(snapshot.child_counts(&job.key()));
            JobListStub::new(job, snapshot.job_summary(&job.key()), children, with_meta)
        });
        let stubs: Vec<_> = stubs.collect();
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
            let children = Children::from(reading.snapshot.child_counts(&key));
            Seen::value(summary.modify_index, &Summary::new(job, summary, children), &call)
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
    let against = match call.query.text("diff_version") {
        "" => None,
        text => Some(text.parse::<u64>().map_err(|_| {
            let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
            Problem::Failed(format!("Failed to parse value of \"diff_version\" ({text}) as a uint64: {why}"))
        })?),
    };
    let tag = call.query.text("diff_tag");
    read(&call, &[Watch::Job(key.clone())], |reading, _| {
        let versions = reading.snapshot.job_versions(&key);
        if versions.is_empty() {
            let index = reading.snapshot.table_index(Table::Jobs);
            return Ok(Seen::missing(index, "job versions not found"));
        }
        let index = versions.iter().map(|job| job.modify_index).max().unwrap_or_default();
        let against = if with_diffs && !tag.is_empty() { Some(tagged(&versions, tag)?) } else { against };
        let diffs = if with_diffs { Some(diffs(&versions, against)?) } else { None };
        let last_contact = u64::try_from(reading.last_contact.as_nanos()).unwrap_or(u64::MAX);
        let known_leader = reading.known_leader;
        Seen::value(index, &Versions { diffs, index, known_leader, last_contact, next_token: "", versions }, &call)
    })
    .await
}

/// The version that has that name.
fn tagged(versions: &[&Arc<Job>], name: &str) -> Result<u64, Problem> {
    let has_name = |job: &&&Arc<Job>| job.version_tag.as_ref().is_some_and(|tag| tag["Name"] == name);
    let missing = || Problem::Failed(format!("tag {name:?} not found"));
    versions.iter().find(has_name).map(|job| job.version).ok_or_else(missing)
}

/// Each version against the one before it, or all against one.
fn diffs(versions: &[&Arc<Job>], against: Option<u64>) -> Result<Vec<JobDiff>, Problem> {
    match against {
        None => Ok(versions.windows(2).map(|pair| job_diff(Some(pair[1]), Some(pair[0]))).collect()),
        Some(version) => {
            let missing = || Problem::Failed(format!("version {version} not found"));
            let base = versions.iter().find(|job| job.version == version).ok_or_else(missing)?;
            Ok(versions.iter().map(|job| job_diff(Some(base), Some(job))).collect())
        }
    }
}

/// The commands that people can run in a job's tasks by name.
pub(crate) async fn actions(call: Call) -> Result<Reply, Problem> {
    let key = call.job_key();
    let reading = call.api.server.read(ReadOptions::of(&call.query)?.stale).await?;
    let unknown = || Problem::Failed(format!("Unknown job {:?}", key.id.as_str()));
    let job = reading.snapshot.job(&key).ok_or_else(unknown)?;
    let tasks = job.task_groups.iter().flat_map(|group| group.tasks.iter().map(move |task| (group, task)));
    let actions = tasks.flat_map(|(group, task)| {
        task.actions.iter().map(move |action| {
            serde_json::json!({
                "Args": action["Args"],
                "Command": action["Command"],
                "Name": action["Name"],
                "TaskGroupName": group.name,
                "TaskName": task.name,
            })
        })
    });
    let actions: Vec<_> = actions.collect();
    // There is nothing to wait for here: no index, no freshness.
    Ok(reply::read(reply::encode(&actions, call.query.is_pretty())?, Meta::default(), None))
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
