//! Writes to jobs: register, stop, evaluate, revert, mark stable.

use std::collections::BTreeSet;

use drover_jobspec::{Canonical, Refusal, Surroundings, canonicalize, warnings_text};
use drover_model::{namespace, unacted};
use drover_server::Server;
use drover_server::jobs::{DeregisterOptions, RegisterRequest};
use drover_state::Snapshot;
use drover_state::submission::Submission;
use serde_json::{Value, json};

use crate::body::Fields;
use crate::call::Call;
use crate::problem::Problem;
use crate::reply::Reply;
use crate::views::written::{JobDeregistered, JobRegistered};

/// The longest text that is kept beside a job, in bytes.
const SOURCE_BYTES_MAX: usize = 1_000_000;
/// The node pools that are always there.
const BUILT_IN_POOLS: [&str; 2] = ["all", "default"];

/// The job that a request body holds, with its region and namespace settled.
pub(crate) fn job_of(call: &Call, fields: &Fields) -> Result<Value, Problem> {
    let must = || Problem::Invalid("Job must be specified".to_owned());
    let job = fields.get("Job").ok_or_else(must)?;
    let mut job = drover_jobspec::json::from_value(job).map_err(|error| Problem::Invalid(error.to_string()))?;
    let id = job["ID"].as_str().unwrap_or_default();
    let path_id = call.param("job_id");
    if !path_id.is_empty() && path_id != id {
        return Err(Problem::Invalid("Job ID does not match name".to_owned()));
    }
    let own = &call.api.server.info().region;
    let first = |texts: [&str; 3]| texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default().to_owned();
    let region = first([fields.text("Region")?, call.query.text("region"), job["Region"].as_str().unwrap_or_default()]);
    if !region.is_empty() && region != "global" && region != *own {
        return Err(Problem::Failed("No path to region".to_owned()));
    }
    let of_job = job["Namespace"].as_str().unwrap_or_default();
    let namespace = first([call.query.text("namespace"), fields.text("Namespace")?, of_job]);
    let namespace = if namespace.is_empty() { namespace::DEFAULT.to_owned() } else { namespace };
    job["Region"] = own.as_str().into();
    job["Namespace"] = namespace.into();
    Ok(job)
}

/// Fills and checks a job, as register and plan take it.
pub(crate) fn checked(job: Value, region: &str, snapshot: &Snapshot) -> Result<Canonical, Refusal> {
    let namespaces: BTreeSet<String> = snapshot.namespaces().map(|namespace| namespace.name.to_string()).collect();
    // A pool comes into being with the first node that registers in it.
    let mut node_pools: BTreeSet<String> = snapshot.nodes().map(|node| node.node_pool.clone()).collect();
    node_pools.extend(BUILT_IN_POOLS.map(str::to_owned));
    let surroundings = Surroundings {
        namespaces: Some(&namespaces),
        node_pools: Some(&node_pools),
        // Vault can't be set up yet.
        vault_clusters: Some(&BTreeSet::new()),
        has_memory_oversubscription: snapshot.scheduler_config().has_memory_oversubscription,
        is_time_zone: &|name| jiff::tz::TimeZone::get(name).is_ok(),
        ..Surroundings::of(region)
    };
    let mut canonical = canonicalize(job, &surroundings)?;
    let namespace = snapshot.namespace(&canonical.job.namespace);
    if let Some(objection) = namespace.and_then(|namespace| namespace.objection(&canonical.job)) {
        return Err(Refusal::Problems(vec![objection]));
    }
    canonical.warnings.extend(unacted::warnings(&canonical.job));
    Ok(canonical)
}

/// The state that a job is held against: a namespace that was just made through another server is in it.
pub(crate) async fn surroundings(server: &Server) -> Result<Snapshot, Problem> {
    Ok(server.read(false).await?.snapshot)
}

/// The priority that a request gives its eval; 0 is none.
fn eval_priority(priority: i64) -> Result<Option<i64>, Problem> {
    match priority {
        0 => Ok(None),
        1..=100 => Ok(Some(priority)),
        _ => Err(Problem::Invalid("Eval priority must be between 1 and 100 inclusively".to_owned())),
    }
}

fn submission(fields: &Fields, warnings: &mut Vec<String>) -> Result<Option<Submission>, Problem> {
    let Some(given) = fields.object("Submission")? else { return Ok(None) };
    let submission = Submission {
        source: given.text("Source")?.to_owned(),
        format: given.text("Format")?.to_owned(),
        variable_flags: given.texts("VariableFlags")?,
        variables: given.text("Variables")?.to_owned(),
    };
    let flags: usize = submission.variable_flags.iter().map(|(name, text)| name.len() + text.len()).sum();
    let size = submission.source.len() + submission.variables.len() + flags;
    if size > SOURCE_BYTES_MAX {
        let size = megabytes(size);
        let most = megabytes(SOURCE_BYTES_MAX);
        warnings.push(format!("job source size of {size} exceeds maximum of {most} and will be discarded"));
        return Ok(None);
    }
    Ok(Some(submission))
}

fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

pub(crate) async fn register(mut call: Call) -> Result<Reply, Problem> {
    let fields = call.take_fields().await?;
    let job = job_of(&call, &fields)?;
    let priority = fields.number("EvalPriority")?.unwrap_or_default();
    let eval_priority = eval_priority(i64::try_from(priority).unwrap_or(i64::MAX))?;
    let enforce_index =
        if fields.flag("EnforceIndex")? { Some(fields.number("JobModifyIndex")?.unwrap_or_default()) } else { None };
    let preserve_counts = fields.flag("PreserveCounts")?;
    let preserve_resources = fields.flag("PreserveResources")?;
    let server = &call.api.server;
    let Canonical { job, mut warnings } =
        checked(job, &server.info().region, &surroundings(server).await?).map_err(Problem::of_refusal)?;
    let submission = submission(&fields, &mut warnings)?;
    let request =
        RegisterRequest { job, enforce_index, preserve_counts, preserve_resources, eval_priority, submission };
    let written = server.register_job(request).await.map_err(Problem::of_write)?;
    call.written(&JobRegistered::new(&written, warnings_text(&warnings)), written.index)
}

pub(crate) async fn deregister(call: Call) -> Result<Reply, Problem> {
    let purge = call.query.job_flag("purge", false)?;
    // There is one region: the flag for all of them changes nothing, but must be one.
    call.query.job_flag("global", false)?;
    let no_shutdown_delay = call.query.job_flag("no_shutdown_delay", false)?;
    let priority = match call.query.text("eval_priority") {
        "" => 0,
        text => text
            .parse::<i64>()
            .map_err(|_| Problem::Failed(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))?,
    };
    let options = DeregisterOptions { purge, no_shutdown_delay, eval_priority: eval_priority(priority)? };
    let written = call.api.server.deregister_job(call.job_key(), options).await.map_err(Problem::of_write)?;
    let index = if written.job_modify_index > 0 { written.index } else { 0 };
    call.written(&JobDeregistered::from(&written), index)
}

pub(crate) async fn evaluate(mut call: Call) -> Result<Reply, Problem> {
    let mut force = false;
    if let Some(fields) = call.take_optional_fields().await? {
        match fields.text("JobID")? {
            "" => return Err(Problem::Invalid("Job ID must be specified".to_owned())),
            id if id != call.param("job_id") => {
                return Err(Problem::Invalid("JobID not same as job name".to_owned()));
            }
            _ => {}
        }
        if let Some(options) = fields.object("EvalOptions")? {
            force = options.flag("ForceReschedule")?;
        }
    }
    let key = call.job_key();
    let server = &call.api.server;
    let written = if force { server.reschedule_job(key).await } else { server.evaluate_job(key).await };
    let written = written.map_err(Problem::of_write)?;
    call.written(&JobRegistered::new(&written, String::new()), written.index)
}

/// The body of a write that names the job again.
async fn fields_of_same_job(call: &mut Call) -> Result<Fields, Problem> {
    let fields = call.take_fields().await?;
    match fields.text("JobID")? {
        "" => Err(Problem::Invalid("JobID must be specified".to_owned())),
        id if id != call.param("job_id") => Err(Problem::Invalid("Job ID does not match".to_owned())),
        _ => Ok(fields),
    }
}

pub(crate) async fn revert(mut call: Call) -> Result<Reply, Problem> {
    let fields = fields_of_same_job(&mut call).await?;
    let version = fields.number("JobVersion")?.unwrap_or_default();
    let prior = fields.number("EnforcePriorVersion")?;
    let written = call.api.server.revert_job(call.job_key(), version, prior).await.map_err(Problem::of_write)?;
    call.written(&JobRegistered::new(&written, String::new()), written.index)
}

pub(crate) async fn set_stable(mut call: Call) -> Result<Reply, Problem> {
    let fields = fields_of_same_job(&mut call).await?;
    let version = fields.number("JobVersion")?.unwrap_or_default();
    let stable = fields.flag("Stable")?;
    let key = call.job_key();
    let written = call.api.server.set_job_stability(key.clone(), version, stable).await;
    let index = written.map_err(|error| match error {
        drover_server::Error::NotFound(_) => {
            let (id, namespace) = (key.id.as_str(), key.namespace.as_str());
            Problem::Failed(format!("job {id:?} in namespace {namespace:?} at version {version} not found"))
        }
        other => other.into(),
    })?;
    call.written(&json!({ "Index": index }), index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_of_evals() {
        assert_eq!(eval_priority(0), Ok(None));
        assert_eq!(eval_priority(70), Ok(Some(70)));
        let text = "Eval priority must be between 1 and 100 inclusively";
        assert_eq!(eval_priority(900), Err(Problem::Invalid(text.to_owned())));
        assert_eq!(eval_priority(-1), Err(Problem::Invalid(text.to_owned())));
    }

    #[test]
    fn a_source_that_is_too_long_is_left_out_aloud() {
        let fields = |len: usize| {
            let body =
                json!({ "Submission": { "Source": "x".repeat(len), "Format": "hcl2", "VariableFlags": { "a": "b" } } });
            Fields::parse(body.to_string().as_bytes()).unwrap()
        };
        let mut warnings = Vec::new();
        let kept = submission(&fields(10), &mut warnings).unwrap().unwrap();
        assert_eq!((kept.source.len(), kept.format.as_str()), (10, "hcl2"));
        assert!(warnings.is_empty());
        assert_eq!(submission(&fields(2_100_000), &mut warnings), Ok(None));
        assert_eq!(warnings, ["job source size of 2.1 MB exceeds maximum of 1.0 MB and will be discarded"]);
    }
}
