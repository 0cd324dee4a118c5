//! Job text: parsing HCL, checking a job without registering it.

use drover_jobspec::{Inputs, Problem as TextProblem, Source};
use drover_jobspec::{parse_hcl, warnings_text};
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::job_write::{checked, job_of, surroundings};
use crate::problem::Problem;
use crate::reply::Reply;

pub(crate) async fn parse(mut call: Call) -> Result<Reply, Problem> {
    let fields = call.take_fields().await?;
    let text = fields.text("JobHCL")?;
    if text.is_empty() {
        return Err(Problem::Invalid("Job spec is empty".to_owned()));
    }
    let source = Source::new("input.hcl", text);
    let variables = fields.text("Variables")?;
    let var_files = if variables.is_empty() { Vec::new() } else { vec![Source::new("input.hcl", variables)] };
    // Expressions may take their time: not on a thread that others wait for.
    let mut job = tokio::task::spawn_blocking(move || {
        // A server's files and environment are no business of a job.
        let mut seed = [0; 32];
        let seed = getrandom::fill(&mut seed).ok().map(|()| seed);
        let inputs = Inputs { var_files, seed, ..Inputs::default() };
        parse_hcl(&source, &inputs).map_err(|problems| Problem::Invalid(failed(&problems, &source)))
    })
    .await
    .map_err(|error| {
        tracing::error!(%error, "parsing a job failed");
        Problem::Failed("parsing the job failed".to_owned())
    })??;
    if let Value::Object(job) = &mut job {
        let is_canonical = fields.flag("Canonicalize")?;
        if is_canonical {
            canonical(job, &call.api.server.info().region);
        }
        for (key, zero) in bookkeeping() {
            job.entry(key).or_insert(if is_canonical { zero } else { Value::Null });
        }
    }
    call.plain(&job)
}

/// Keys that only a registered job has a meaning for, and what they are in one that is none.
fn bookkeeping() -> [(&'static str, Value); 8] {
    [
        ("CreateIndex", 0.into()),
        ("JobModifyIndex", 0.into()),
        ("ModifyIndex", 0.into()),
        ("Stable", false.into()),
        ("Status", "".into()),
        ("StatusDescription", "".into()),
        ("SubmitTime", Value::Null),
        ("Version", 0.into()),
    ]
}

/// Every problem with its place, as the answer carries it.
fn failed(problems: &[TextProblem], source: &Source) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| problem.one_line(source)).collect();
    format!("Failed to parse job: {}", lines.join("\n"))
}

/// The defaults, and the keys that only a parsed job has.
fn canonical(job: &mut Map<String, Value>, region: &str) {
    let kept = ["Datacenters", "Migrate", "Reschedule"].map(|key| (key, job.get(key).cloned().unwrap_or_default()));
    drover_jobspec::canonicalize::fill(job, region);
    for (key, value) in kept {
        job.insert(key.to_owned(), value);
    }
}

pub(crate) async fn validate(mut call: Call) -> Result<Reply, Problem> {
    let fields = call.take_fields().await?;
    let job = job_of(&call, &fields)?;
    let server = &call.api.server;
    let (problems, warnings) = match checked(job, &server.info().region, &surroundings(server).await?) {
        Ok(canonical) => (None, canonical.warnings),
        Err(refusal) => (Some(refusal), Vec::new()),
    };
    call.plain(&json!({
        "DriverConfigValidated": true,
        "Error": problems.as_ref().map(ToString::to_string).unwrap_or_default(),
        "ValidationErrors": problems.map(|refusal| refusal.texts()),
        "Warnings": warnings_text(&warnings),
    }))
}
