//! Counts of a job's groups: reading them with what became of them, changing one.

use std::collections::BTreeMap;
use std::sync::Arc;

use drover_model::alloc::{Alloc, ClientStatus};
use drover_model::job::Job;
use drover_server::Watch;
use drover_server::scaling::ScaleRequest;
use drover_state::scaling::ScalingEvent;
use drover_state::{Snapshot, Table};
use serde::Serialize;
use serde_json::{Value, json};

use crate::blocking::{Seen, read};
use crate::body::Fields;
use crate::call::Call;
use crate::problem::Problem;
use crate::reply::Reply;

/// The longest message of an event, in bytes; what is longer is refused.
const MESSAGE_BYTES_MAX: usize = 4096;
/// The longest metadata of an event as JSON, in bytes.
const META_BYTES_MAX: usize = 16 * 1024;

/// One group.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct GroupScale<'a> {
    desired: i64,
    events: Option<&'a [ScalingEvent]>,
    healthy: u64,
    placed: u64,
    running: u64,
    unhealthy: u64,
}

pub(crate) async fn status(call: Call) -> Result<Reply, Problem> {
    let key = call.job_key();
    let watch = [Watch::Job(key.clone()), Watch::AllocsOfJob(key.clone())];
    read(&call, &watch, |reading, _| {
        let snapshot = &reading.snapshot;
        let Some(job) = snapshot.job(&key) else {
            return Ok(Seen::missing(snapshot.table_index(Table::Jobs), "job not found"));
        };
        let body = json!({
            "JobCreateIndex": job.create_index,
            "JobID": job.id,
            "JobModifyIndex": job.modify_index,
            "JobStopped": job.stop,
            "Namespace": job.namespace,
            "TaskGroups": groups(snapshot, job),
        });
        let events = snapshot.scaling_events(&key).into_iter().flat_map(|events| events.values().flatten());
        let last_event = events.map(|event| event.create_index).max().unwrap_or_default();
        let allocs = snapshot.allocs_of_job(&key).map(|alloc| alloc.modify_index).max().unwrap_or_default();
        Seen::value(job.modify_index.max(last_event).max(allocs), &body, &call)
    })
    .await
}

fn groups<'a>(snapshot: &'a Snapshot, job: &'a Job) -> BTreeMap<&'a str, GroupScale<'a>> {
    let events = snapshot.scaling_events(&job.key());
    let fresh = |group: &'a drover_model::group::Group| {
        let events = events.and_then(|events| events.get(&group.name)).map(Vec::as_slice);
        (group.name.as_str(), GroupScale { desired: group.count, events, ..GroupScale::default() })
    };
    let mut groups: BTreeMap<&str, GroupScale<'_>> = job.task_groups.iter().map(fresh).collect();
    let live = |alloc: &&Arc<Alloc>| alloc.job_create_index == job.create_index && !alloc.is_terminal();
    for alloc in snapshot.allocs_of_job(&job.key()).filter(live) {
        let Some(group) = groups.get_mut(alloc.task_group.as_str()) else { continue };
        group.placed += 1;
        group.running += u64::from(alloc.client_status == ClientStatus::Running);
        group.healthy += u64::from(alloc.health() == Some(true));
        group.unhealthy += u64::from(alloc.health() == Some(false));
    }
    groups
}

pub(crate) async fn scale(mut call: Call) -> Result<Reply, Problem> {
    let fields = call.take_fields().await?;
    let request = request(&call, &fields)?;
    let scaled = call.api.server.scale_job(call.job_key(), request).await?;
    let body = json!({
        "EvalCreateIndex": if scaled.eval_id.is_some() { scaled.index } else { 0 },
        "EvalID": scaled.eval_id.map(|id| id.to_string()).unwrap_or_default(),
        "Index": scaled.index,
        "JobModifyIndex": scaled.job_modify_index,
        "KnownLeader": true,
        "LastContact": 0,
        "NextToken": "",
        "Warnings": "",
    });
    call.written(&body, scaled.index)
}

fn request(call: &Call, fields: &Fields) -> Result<ScaleRequest, Problem> {
    let invalid = |text: &str| Problem::Invalid(text.to_owned());
    let target = fields.texts("Target")?;
    let of_target = |key: &str| target.get(key).map(String::as_str).filter(|text| !text.is_empty());
    let group = of_target("Group").ok_or_else(|| invalid("missing task group name for scaling action"))?.to_owned();
    if of_target("Job").is_some_and(|job| job != call.param("job_id")) {
        return Err(invalid("job ID in payload did not match URL"));
    }
    let count = match fields.get("Count") {
        None => None,
        Some(count) => {
            Some(count.as_i64().ok_or_else(|| invalid("json: cannot unmarshal into field Count of type int64"))?)
        }
    };
    let error = fields.flag("Error")?;
    if count.is_some_and(|count| count < 0) {
        return Err(invalid("scaling action count can't be negative"));
    }
    if error && count.is_some() {
        return Err(invalid("scaling action should not contain count if error is true"));
    }
    let message = fields.text("Message")?.to_owned();
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(Problem::Invalid(format!("message is longer than {MESSAGE_BYTES_MAX} bytes")));
    }
    let meta = match fields.get("Meta") {
        None => None,
        Some(meta) if meta.to_string().len() > META_BYTES_MAX => {
            return Err(Problem::Invalid(format!("metadata is longer than {META_BYTES_MAX} bytes")));
        }
        Some(Value::Object(meta)) => Some(meta.clone().into_iter().collect()),
        Some(_) => return Err(invalid("json: cannot unmarshal into field Meta of type map[string]interface {}")),
    };
    let enforce_index = fields.number("JobModifyIndex")?.filter(|index| *index > 0);
    let event = ScalingEvent { count, error, message, meta, ..ScalingEvent::default() };
    Ok(ScaleRequest { group, event, enforce_index })
}
