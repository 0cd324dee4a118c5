//! The dry run of a job: what registering it would change and do.

use drover_jobspec::{Canonical, warnings_text};
use drover_model::diff::{annotate, job_diff};
use drover_server::jobs::check_change;
use drover_server::launches::next_launch_text;
use drover_server::plan::JobPlan;
use serde_json::{Value, json};

use crate::call::Call;
use crate::job_write::{checked, job_of, surroundings};
use crate::problem::Problem;
use crate::reply::Reply;

pub(crate) async fn plan(mut call: Call) -> Result<Reply, Problem> {
    let fields = call.take_fields().await?;
    let job = job_of(&call, &fields)?;
    let with_diff = fields.flag("Diff")?;
    let server = &call.api.server;
    let Canonical { job, mut warnings } =
        checked(job, &server.info().region, &surroundings(server).await?).map_err(Problem::of_refusal)?;
    let JobPlan { outcome, old, index: _ } = server.plan_job(job.clone()).await?;
    if let Err(refusal) = check_change(old.as_deref(), &job) {
        warnings.push(format!("registering this job will be refused: {refusal}"));
    }
    let annotations = outcome.plan.annotations.as_ref().or(outcome.eval.plan_annotations.as_ref());
    let diff = with_diff.then(|| {
        let mut diff = job_diff(old.as_deref(), Some(&job));
        annotate(&mut diff, &annotations.cloned().unwrap_or_default());
        diff
    });
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
        "NextPeriodicLaunch": next_launch_text(&job),
        "Warnings": warnings_text(&warnings),
    });
    call.written(&body, job_modify_index)
}
