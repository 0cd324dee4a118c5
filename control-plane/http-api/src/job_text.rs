//! Job text: parsing HCL, checking a job without registering it.

use drover_hcl::{Inputs, Problem as TextProblem, Source};
use drover_jobspec::{multierror, parse_hcl, warnings_text};
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::job_write::{checked, job_of};
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
    // A server's files and environment are no business of a job.
    let inputs = Inputs { var_files, ..Inputs::default() };
    let mut job = parse_hcl(&source, &inputs).map_err(|problems| Problem::Invalid(failed(&problems, &source)))?;
    if let (true, Value::Object(job)) = (fields.flag("Canonicalize")?, &mut job) {
        canonical(job, &call.api.server.info().region);
    }
    call.plain(&job)
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
    let (problems, warnings) = match checked(job, &server.info().region, &server.reading().snapshot) {
        Ok(canonical) => (None, canonical.warnings),
        Err(problems) => (Some(problems), Vec::new()),
    };
    call.plain(&json!({
        "DriverConfigValidated": true,
        "Error": problems.as_deref().map(multierror).unwrap_or_default(),
        "ValidationErrors": problems,
        "Warnings": warnings_text(&warnings),
    }))
}
