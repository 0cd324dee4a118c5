//! From the API's shape with nulls to a complete, checked [`Job`]: defaults per job type, the merging of job into group
//! into task, the constraints a job implies, and every check.
//!
//! It works on JSON and not on the model, because a value that must not be (a negative duration, a job type that is
//! none) has to be named in an error and can't be held by the model's types.

pub mod implied;

mod connect;

mod gateway;

mod expose;

mod group;

mod service;

mod settle;

mod task;

pub(crate) use connect::native_task;

use drover_model::job::Job;
use serde_json::{Map, Value, json};

use crate::check;
use crate::json::JsonError;
use crate::refusal::Refusal;
use crate::shapes::job::JOB;
use crate::surroundings::Surroundings;
use implied::Implied;
pub(crate) use settle::set;
use settle::{default, is_unset, settle, take};

/// A job that is complete and was found good.
#[derive(Clone, Debug)]
pub struct Canonical {
    /// The job, as the state keeps it.
    pub job: Job,
    /// What its owner should know, one text each.
    pub warnings: Vec<String>,
}

/// Fills and checks a job in the shape that [`crate::parse_hcl`] and [`crate::parse_json`] give.
///
/// # Errors
/// The job is refused; the error names everything that is wrong with it.
pub fn canonicalize(job: Value, surroundings: &Surroundings) -> Result<Canonical, Refusal> {
    let Value::Object(mut job) = job else {
        return Err(Refusal::Request(JsonError::NoJob.to_string()));
    };
    check::request(&job)?;
    fill(&mut job, surroundings.region);
    prepare(&mut job, surroundings.implied)?;
    let problems = check::problems(&job, surroundings);
    if !problems.is_empty() {
        return Err(Refusal::Problems(problems));
    }
    let warnings = check::warnings::all(&job);
    let job = serde_json::from_value(Value::Object(job)).map_err(|e| Refusal::Problems(vec![e.to_string()]))?;
    Ok(Canonical { job, warnings })
}

/// Gives each group what it asks for without naming it. A step that fails for any group comes before the next step's
/// failure for another.
fn prepare(job: &mut Map<String, Value>, which: Implied) -> Result<(), Refusal> {
    let mut groups = take(job, "TaskGroups");
    let (mut connected, mut exposed) = (Ok(()), Ok(()));
    for group in objects(&mut groups) {
        implied::partitions(group);
        connected = connected.and_then(|()| connect::add(group, job));
        exposed = exposed.and_then(|()| expose::add(group));
        implied::add(group, which);
    }
    set(job, "TaskGroups", groups);
    let failed = |step: &str, reason: String| Refusal::Preparation(format!("error in job mutator {step}: {reason}"));
    connected.map_err(|reason| failed("connect", reason))?;
    exposed.map_err(|reason| failed("expose-check", reason))
}

/// All defaults, without checks: what the API's parse call gives with `Canonicalize`.
pub fn fill(job: &mut Map<String, Value>, region: &str) {
    if is_unset(job, "Region") || job["Region"] == "global" {
        job.insert("Region".to_owned(), json!(region));
    }
    default(job, "Type", "service");
    default(job, "Namespace", "default");
    if job["Name"].is_null() {
        job.insert("Name".to_owned(), job["ID"].clone());
    }
    if job["Datacenters"].as_array().is_none_or(Vec::is_empty) {
        job.insert("Datacenters".to_owned(), json!(["*"]));
    }
    if job["Priority"] == 0 {
        job.insert("Priority".to_owned(), Value::Null);
    }
    if let Some(Value::Object(periodic)) = job.get_mut("Periodic")
        && periodic["Specs"].is_null()
    {
        periodic.insert("Specs".to_owned(), json!([]));
    }
    let mut groups = take(job, "TaskGroups");
    for group in objects(&mut groups) {
        group::fill(group, job);
    }
    job_update(job);
    settle(job, &JOB);
    set(job, "TaskGroups", groups);
    ui_links(job);
    for key in ["Reschedule", "Migrate"] {
        job.remove(key);
    }
}

/// Of the job's own update block only two numbers are kept; groups have merged the rest.
fn job_update(job: &mut Map<String, Value>) {
    let update = job.remove("Update").unwrap_or_default();
    let (max_parallel, stagger) = match job["Type"].as_str() {
        Some("service" | "system") => {
            let written = |key: &str, default: i64| update[key].as_i64().unwrap_or(default);
            match written("MaxParallel", 1) {
                at_once if at_once > 0 => (at_once, written("Stagger", 30_000_000_000)),
                _ => (0, 0),
            }
        }
        _ => (0, 0),
    };
    job.insert(
        "Update".to_owned(),
        json!({
            "AutoPromote": false, "AutoRevert": false, "Canary": 0, "HealthCheck": "", "HealthyDeadline": 0,
            "MaxParallel": max_parallel, "MinHealthyTime": 0, "ProgressDeadline": 0, "Stagger": stagger,
        }),
    );
}

/// The stored job spells the key of a link's address in another way than the parsed one.
fn ui_links(job: &mut Map<String, Value>) {
    let Some(Value::Object(ui)) = job.get_mut("UI") else {
        return;
    };
    for link in ui.get_mut("Links").into_iter().flat_map(objects) {
        if let Some(url) = link.remove("URL") {
            link.insert("Url".to_owned(), url);
        }
    }
}

/// The objects of a list that may be null.
pub(crate) fn objects(list: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut)
}
