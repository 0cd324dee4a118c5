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

use drover_model::group::Group;
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
    let groups = take(&mut job, "TaskGroups");
    open(&mut job, surroundings.region);
    let outer = job.clone();
    close(&mut job);
    let mut walk = Walk::default();
    let kind = job["Type"].as_str().unwrap_or_default().to_owned();
    for group in list_of(groups) {
        walk.group(group, &kind, &outer, &job, surroundings.implied);
    }
    walk.end(job, surroundings)
}

/// What the way of the groups has brought so far. Each group goes all the way from JSON to the model before the next
/// one: a job of thousands of groups fits in no cache, and each walk over all of them would cost as much as the work
/// that it is for.
#[derive(Default)]
struct Walk {
    prepared: Prepared,
    found: check::Found,
    warnings: check::warnings::Warnings,
    groups: Vec<Group>,
    /// Why a group that was found good does not fit the model.
    unfit: Option<String>,
}

impl Walk {
    /// `outer` is the job with the blocks that groups inherit from, `job` is what the job itself keeps.
    fn group(
        &mut self,
        mut group: Value,
        kind: &str,
        outer: &Map<String, Value>,
        job: &Map<String, Value>,
        which: Implied,
    ) {
        if let Value::Object(group) = &mut group {
            group::fill(group, outer);
            self.prepared.add(group, job, which);
        }
        if !self.prepared.is_good() {
            return;
        }
        self.found.look_at(&group, kind);
        if !self.found.is_good() {
            return;
        }
        self.warnings.look_at(&group);
        match serde_json::from_value(group) {
            Ok(group) => self.groups.push(group),
            Err(error) => self.unfit = self.unfit.take().or_else(|| Some(error.to_string())),
        }
    }

    fn end(self, job: Map<String, Value>, surroundings: &Surroundings) -> Result<Canonical, Refusal> {
        self.prepared.end()?;
        let mut problems = check::problems(&job, self.found, surroundings);
        problems.extend(self.unfit.filter(|_| problems.is_empty()));
        if !problems.is_empty() {
            return Err(Refusal::Problems(problems));
        }
        let warnings = self.warnings.end(&job, surroundings);
        let job: Job =
            serde_json::from_value(Value::Object(job)).map_err(|e| Refusal::Problems(vec![e.to_string()]))?;
        Ok(Canonical { job: Job { task_groups: self.groups, ..job }, warnings })
    }
}

/// Gives each group what it asks for without naming it. A step that fails for any group comes before the next step's
/// failure for another.
#[derive(Default)]
struct Prepared {
    connect: Option<String>,
    expose: Option<String>,
}

impl Prepared {
    fn add(&mut self, group: &mut Map<String, Value>, job: &Map<String, Value>, which: Implied) {
        implied::partitions(group);
        if self.connect.is_none() {
            self.connect = connect::add(group, job).err();
        }
        if self.expose.is_none() {
            self.expose = expose::add(group).err();
        }
        implied::add(group, which);
    }

    fn is_good(&self) -> bool {
        self.connect.is_none() && self.expose.is_none()
    }

    fn end(self) -> Result<(), Refusal> {
        let steps = [("connect", self.connect), ("expose-check", self.expose)];
        match steps.into_iter().find_map(|(step, reason)| Some((step, reason?))) {
            Some((step, reason)) => Err(Refusal::Preparation(format!("error in job mutator {step}: {reason}"))),
            None => Ok(()),
        }
    }
}

/// All defaults, without checks: what the API's parse call gives with `Canonicalize`.
pub fn fill(job: &mut Map<String, Value>, region: &str) {
    let mut groups = take(job, "TaskGroups");
    open(job, region);
    for group in objects(&mut groups) {
        group::fill(group, job);
    }
    close(job);
    set(job, "TaskGroups", groups);
}

/// What groups need to know of their job.
fn open(job: &mut Map<String, Value>, region: &str) {
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
}

/// The job's own defaults, once its groups have inherited from it.
fn close(job: &mut Map<String, Value>) {
    job_update(job);
    settle(job, &JOB);
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

fn list_of(list: Value) -> Vec<Value> {
    match list {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

/// The objects of a list that may be null.
pub(crate) fn objects(list: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut)
}
