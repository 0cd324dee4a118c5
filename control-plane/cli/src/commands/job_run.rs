//! `drover job run`

use drover_api_client::Error;
use drover_api_client::jobs::Register;
use serde_json::json;

use crate::call::{Call, Outcome, fail};
use crate::commands::{job_file, monitor};
use crate::flags::{number, switch, text};
use crate::grammar::Command;
use crate::output::ui::Ui;
use crate::output::{json as pretty_json, periodic};

/// The command.
pub const COMMAND: Command = Command {
    path: "job run",
    aliases: &["run"],
    summary: "Run a job, or change one that runs",
    arguments: "<path>",
    about: "Registers the job of a job file (- is standard input, an URL one on the web), then follows what the scheduler does with it, \
            and the deployment if there is one.\n\n\
            Exit status 0 when all went well, 2 when something could not be placed and no deployment follows, 1 for \
            an error or a failed deployment.",
    flags: &[
        text(
            "check-index",
            "index",
            "Only if the job's modify index is this one; 0 means that it must be new. \"job plan\" shows it.",
        ),
        switch("detach", "Do not follow what happens."),
        text("consul-namespace", "name", "The Consul namespace of the job, in place of the file's."),
        number("eval-priority", "The priority of the evaluation, 1 to 100, in place of the job's."),
        switch("output", "Show the job as JSON, and register nothing."),
        switch("policy-override", "Let soft policies pass that would refuse the job."),
        switch("preserve-counts", "Keep the counts of groups as they are in the running job."),
        switch("preserve-resources", "Keep the resources of tasks as they are in the running job."),
        switch("verbose", "Full ids."),
        job_file::FLAGS[0],
        job_file::FLAGS[1],
        job_file::FLAGS[2],
        job_file::FLAGS[3],
        job_file::FLAGS[4],
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    let path = call.only_arg("<path>")?;
    let enforce_index = match call.flags.text("check-index") {
        "" => None,
        text => match text.parse::<u64>() {
            Ok(index) => Some(index),
            Err(_) => {
                return fail(format!("Error parsing check-index value {text:?}: it must be a number, 0 or greater"));
            }
        },
    };
    let file = job_file::read(call, &path)?;
    if call.flags.is_on("output") {
        call.ui.out(&pretty_json::pretty(&json!({ "Job": file.job })));
        return Ok(0);
    }
    let client = file.client(&call.client()?);
    let is_parameterized = file.job["ParameterizedJob"].is_object();
    let is_launched_later = file.job["Periodic"].is_object() || is_parameterized;
    let next_launch = periodic::next_launch(&file.job["Periodic"], &call.ui.clock).filter(|_| !is_parameterized);
    let register = Register {
        enforce_index,
        preserve_counts: call.flags.is_on("preserve-counts"),
        preserve_resources: call.flags.is_on("preserve-resources"),
        policy_override: call.flags.is_on("policy-override"),
        eval_priority: call.flags.number("eval-priority"),
        submission: Some(file.submission),
        job: file.job,
    };
    let written = match client.register_job(&register, &Default::default()) {
        Ok(answer) => answer.value,
        Err(error) => return fail(refused(&error)),
    };
    warnings(call.ui, &written.warnings);
    if call.flags.is_on("detach") || is_launched_later || written.eval_id.is_empty() {
        call.ui.out("Job registration successful");
        if let Some(next) = next_launch {
            call.ui.out(&format!("Approximate next launch time: {next}"));
        }
        if !is_launched_later && !written.eval_id.is_empty() {
            call.ui.out(&format!("Evaluation ID: {}", written.eval_id));
        }
        return Ok(0);
    }
    let verbose = call.verbose();
    monitor::eval(call.ui, &client, &written.eval_id, verbose)
}

/// A lost race with another change is said without the wrapping of an API error.
fn refused(error: &Error) -> String {
    const CONFLICT: &str = "Enforcing job modify index";
    match error {
        Error::Refused { body, .. } => match body.find(CONFLICT) {
            Some(start) => format!("{}\nJob not updated", &body[start..]),
            None => format!("Error submitting job: {error}"),
        },
        _ => format!("Error submitting job: {error}"),
    }
}

/// What the server remarks on a job, before what is done with it.
pub fn warnings(ui: &mut Ui, warnings: &str) {
    let warnings = warnings.trim_end();
    if warnings.is_empty() {
        return;
    }
    let (on, off) = if ui.color.marks { ("\u{1b}[1m\u{1b}[33m", "\u{1b}[0m") } else { ("", "") };
    ui.out(&format!("{on}Job Warnings:\n{warnings}{off}\n{off}"));
}
