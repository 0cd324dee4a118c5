//! Scaling policies: how far the counts of groups may be changed, for whoever scales by them. They stand in jobs and are
//! changed with them.

use drover_model::job::Job;
use drover_server::Watch;
use drover_state::scaling::{ScalingPolicy, policies};
use drover_state::{Snapshot, Table};
use serde_json::{Value, json};

use crate::blocking::{Seen, read};
use crate::call::Call;
use crate::problem::Problem;
use crate::reply::Reply;

const WATCH: [Watch; 1] = [Watch::Table(Table::Jobs)];

/// The policies of every job.
pub(crate) fn all(snapshot: &Snapshot) -> impl Iterator<Item = ScalingPolicy<'_>> {
    // Of a job that is stopped nothing is scaled.
    snapshot.jobs().filter(|job| !job.stop).flat_map(|job| policies(job))
}

fn kind(policy: &ScalingPolicy<'_>) -> String {
    let kind = policy.stored.get("Type").and_then(Value::as_str).unwrap_or_default();
    if kind.is_empty() { "horizontal".to_owned() } else { kind.to_owned() }
}

fn stub(policy: &ScalingPolicy<'_>) -> Value {
    let Job { namespace, id, .. } = policy.job;
    json!({
        "CreateIndex": policy.create_index(),
        "Enabled": policy.stored.get("Enabled").and_then(Value::as_bool).unwrap_or(true),
        "ID": policy.id(),
        "ModifyIndex": policy.modify_index(),
        "Target": { "Namespace": namespace, "Job": id, "Group": policy.group },
        "Type": kind(policy),
    })
}

pub(crate) async fn list(call: Call) -> Result<Reply, Problem> {
    read(&call, &WATCH, |reading, options| {
        let snapshot = &reading.snapshot;
        let (job, wanted) = (call.query.text("job"), call.query.text("type"));
        let asked = all(snapshot).filter(|policy| {
            call.query.admits_namespace(policy.job.namespace.as_str())
                && (job.is_empty() || policy.job.id.as_str() == job)
                && (wanted.is_empty() || kind(policy) == wanted)
                && policy.id().starts_with(&options.prefix.to_ascii_lowercase())
        });
        let mut asked: Vec<_> = asked.map(|policy| (policy.id(), stub(&policy))).collect();
        asked.sort_by(|a, b| a.0.cmp(&b.0));
        let stubs: Vec<Value> = asked.into_iter().map(|(_, stub)| stub).collect();
        Seen::value(snapshot.table_index(Table::Jobs), &stubs, &call)
    })
    .await
}

pub(crate) async fn get(call: Call) -> Result<Reply, Problem> {
    let id = call.param("policy_id").to_ascii_lowercase();
    read(&call, &WATCH, |reading, _| {
        let snapshot = &reading.snapshot;
        let Some(policy) = all(snapshot).find(|policy| policy.id() == id) else {
            return Ok(Seen::missing(snapshot.table_index(Table::Jobs), "policy not found"));
        };
        let mut view = stub(&policy);
        for key in ["Min", "Max", "Policy"] {
            view[key] = policy.stored.get(key).cloned().unwrap_or_default();
        }
        Seen::value(policy.modify_index(), &view, &call)
    })
    .await
}
