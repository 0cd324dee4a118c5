//! A whole state as JSON, for those who look into a snapshot without a server.

use drover_filter::Filter;
use drover_state::{Snapshot, Table};
use serde::Serialize;
use serde_json::{Value, json};

use crate::filtering::{whole, whole_eval};

/// The state, by kind. With a filter only what it admits; what it can't be asked of is left out.
///
/// # Errors
/// The filter can't be read.
pub fn dump(state: &Snapshot, filter: &str) -> Result<Value, String> {
    let filter = if filter.is_empty() { None } else { Some(Filter::parse(filter).map_err(|error| error.to_string())?) };
    let admits = |object: &Value| match &filter {
        Some(filter) => filter.matches(object).unwrap_or(false),
        None => true,
    };
    let list = |objects: Vec<Value>| Value::from(objects.into_iter().filter(admits).collect::<Vec<_>>());
    let versions = state.jobs().flat_map(|job| state.job_versions(&job.key()));
    let launches = state.jobs().filter_map(|job| {
        let at = state.last_launch(&job.key())?;
        Some(json!({ "ID": job.id, "Namespace": job.namespace, "Launch": at.to_rfc3339() }))
    });
    let scaling = state.jobs().filter_map(|job| {
        let events = state.scaling_events(&job.key())?;
        Some(json!({ "JobID": job.id, "Namespace": job.namespace, "ScalingEvents": whole(events) }))
    });
    let summaries = state.jobs().map(|job| {
        let summary = whole(&state.job_summary(&job.key()));
        json!({ "JobID": job.id, "Namespace": job.namespace, "Summary": summary })
    });
    // Of a token only what is no secret: its hash would let it be tried.
    let tokens = state.join_tokens().map(|token| {
        json!({ "ID": token.id, "Role": token.role, "UsesLeft": token.uses_left, "ExpiresAt": token.expires_at.to_rfc3339() })
    });
    let tables = [
        ("allocs", Table::Allocs),
        ("deployment", Table::Deployments),
        ("evals", Table::Evals),
        ("jobs", Table::Jobs),
        ("namespaces", Table::Namespaces),
        ("nodes", Table::Nodes),
    ];
    let indexes = tables.map(|(name, table)| json!({ "Key": name, "Value": state.table_index(table) }));
    Ok(json!({
        "Allocs": list(all(state.allocs())),
        "Deployments": list(all(state.deployments())),
        "Evals": list(state.evals().map(|eval| whole_eval(eval)).collect()),
        "Indexes": indexes,
        "JobSummaries": list(summaries.collect()),
        "JobVersions": list(all(versions)),
        "Jobs": list(all(state.jobs())),
        "JoinTokens": list(tokens.collect()),
        "Namespaces": list(all(state.namespaces())),
        "Nodes": list(all(state.nodes())),
        "PeriodicLaunches": list(launches.collect()),
        "ScalingEvents": list(scaling.collect()),
    }))
}

fn all(objects: impl Iterator<Item = impl Serialize>) -> Vec<Value> {
    objects.map(|object| whole(&object)).collect()
}
