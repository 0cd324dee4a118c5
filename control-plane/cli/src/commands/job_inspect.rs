//! `drover job inspect`

use drover_api_client::jobs::Submission;
use drover_api_client::{Client, QueryOptions};
use serde_json::{Value, json};

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::commands::resolve;
use crate::flags::{switch, text};
use crate::grammar::Command;

/// The command.
pub const COMMAND: Command = Command {
    path: "job inspect",
    aliases: &["inspect"],
    summary: "Show a job whole, as JSON or as the text it was registered from",
    arguments: "<job>",
    flags: &[
        switch("hcl", "The text it was registered from."),
        switch("json", "JSON, which is the default."),
        text("t", "template", "The answer through a Go template."),
        text("version", "version", "This version of it. Default: the newest"),
        switch("with-vars", "With -hcl: the values of its variables, too."),
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    call.check_data_flags()?;
    if call.flags.is_on("hcl") && call.flags.is_on("json") {
        return fail("can only use one of -hcl or -json");
    }
    if call.flags.is_on("with-vars") && !call.flags.is_on("hcl") {
        return fail("can only use -with-vars with -hcl");
    }
    if call.flags.args.is_empty() && call.wants_data() {
        let answer = call.client()?.jobs(&QueryOptions::default()).doing("querying jobs")?;
        return call.print_data(&answer.raw);
    }
    let wanted = call.only_arg("<job>")?;
    let version = match call.flags.text("version") {
        "" => None,
        text => match text.parse::<u64>() {
            Ok(version) => Some(version),
            Err(_) => return fail(format!("Error parsing version value {text:?}: it must be a number, 0 or greater")),
        },
    };
    let client = call.client()?;
    let found = resolve::job(&client, &wanted, &call.ui.clock)?;
    let client = client.scoped("", &found.namespace);
    if call.flags.is_on("hcl") {
        return source(call, &client, &found.id, version);
    }
    let job = of_version(&client, &found.id, version)?;
    if !call.flags.text("t").is_empty() {
        return call.print_data(&job);
    }
    call.ui.out(&crate::output::json::pretty(&json!({ "Job": job })));
    Ok(0)
}

fn of_version(client: &Client, job_id: &str, version: Option<u64>) -> Result<Value, Failure> {
    let default = QueryOptions::default();
    let Some(version) = version else {
        return Ok(client.job(job_id, &default).doing("inspecting job")?.raw);
    };
    let versions = client.job_versions(job_id, &default).doing("retrieving job versions")?.raw;
    let found = versions["Versions"].as_array().and_then(|all| all.iter().find(|job| job["Version"] == version));
    found.cloned().ok_or_else(|| no_version(job_id, version))
}

fn no_version(job_id: &str, version: u64) -> Failure {
    Failure::Error(format!("Error inspecting job: job {job_id:?} with version {version} couldn't be found"))
}

fn source(call: &mut Call, client: &Client, job_id: &str, version: Option<u64>) -> Outcome {
    let version = match version {
        Some(version) => version,
        None => client.job(job_id, &QueryOptions::default()).doing("inspecting job")?.value.version,
    };
    let answer = client.job_submission(job_id, version, &QueryOptions::default());
    let submission = match answer {
        Err(error) if error.status() == Some(404) => return Err(no_version(job_id, version)),
        answer => answer.doing("inspecting job")?.value,
    };
    call.ui.out(submission.source.strip_suffix('\n').unwrap_or(&submission.source));
    if call.flags.is_on("with-vars") {
        // Beside the text, so that this can go into a file as it is.
        let note = how_to_run(client, job_id, version, &submission);
        call.ui.note(&note);
    }
    Ok(0)
}

/// The line that runs the job as it was, with the values of its variables.
fn how_to_run(client: &Client, job_id: &str, version: u64, submission: &Submission) -> String {
    let namespace = match client.config().namespace.as_str() {
        "" => String::new(),
        namespace => format!(" -namespace {}", shell_word(namespace)),
    };
    let mut run = format!("drover job run{namespace}");
    if submission.format == "json" {
        run.push_str(" -json");
    }
    for (name, value) in &submission.variable_flags {
        run.push_str(&format!(" -var {}", shell_word(&format!("{name}={value}"))));
    }
    let mut text = String::from("\nTo run the job as it was registered");
    if submission.variables.trim().is_empty() {
        text.push_str(":\n");
    } else {
        let indented: String = submission.variables.trim().lines().map(|line| format!("\n    {line}")).collect();
        text.push_str(&format!(", write this into a file vars.hcl:\n{indented}\n\nand then:\n"));
        run.push_str(" -var-file vars.hcl");
    }
    let job_id = shell_word(job_id);
    format!("{text}\n    drover job inspect{namespace} -hcl -version {version} {job_id} |\n        {run} -\n")
}

/// The text as a shell reads it: one word.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
