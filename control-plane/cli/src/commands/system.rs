//! `drover system gc`, `drover system reconcile summaries`

use drover_api_client::QueryOptions;
use serde_json::Value;

use crate::call::{Call, Doing, Failure, Outcome};
use crate::grammar::Command;

/// Forgetting what has ended.
pub const GC: Command = Command {
    path: "system gc",
    summary: "Forget everything that has ended",
    about: "Forgets jobs, evaluations, allocations, deployments and nodes that have ended, however short ago.",
    run: collect_garbage,
    ..Command::BASE
};

/// Counting anew.
pub const RECONCILE_SUMMARIES: Command = Command {
    path: "system reconcile summaries",
    summary: "Count the allocations of every job anew",
    run: reconcile_summaries,
    ..Command::BASE
};

fn collect_garbage(call: &mut Call) -> Outcome {
    if let Err(Failure::Usage(text)) = call.no_args() {
        // Scripts know it to end well all the same.
        call.finish(Err(Failure::Usage(text)));
        return Ok(0);
    }
    put(call, "/v1/system/gc", "running system garbage-collection")
}

fn reconcile_summaries(call: &mut Call) -> Outcome {
    call.no_args()?;
    put(call, "/v1/system/reconcile/summaries", "running system summary reconciliation")
}

fn put(call: &mut Call, path: &str, doing: &str) -> Outcome {
    call.client()?.write::<Value>(path, &Value::Null, &QueryOptions::default()).doing(doing)?;
    Ok(0)
}
