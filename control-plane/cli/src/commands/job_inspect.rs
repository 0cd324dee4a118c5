//! `drover job inspect`

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
    if call.flags.is_on("with-vars") && !call.flags.is_on("hcl") {
        return fail("can only use -with-vars with -hcl");
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
    found.cloned().ok_or_else(|| Failure::Error(format!("job {job_id:?} with version {version} couldn't be found")))
}

fn source(call: &mut Call, client: &Client, job_id: &str, version: Option<u64>) -> Outcome {
    let version = match version {
        Some(version) => version,
        None => client.job(job_id, &QueryOptions::default()).doing("inspecting job")?.value.version,
    };
    let answer = client.job_submission(job_id, version, &QueryOptions::default());
    let submission = answer.doing("getting the source of the job")?.value;
    call.ui.out(submission.source.trim_end());
    if call.flags.is_on("with-vars") {
        for (name, value) in &submission.variable_flags {
            call.ui.out(&format!("{name} = {value}"));
        }
        if !submission.variables.trim().is_empty() {
            call.ui.out(submission.variables.trim_end());
        }
    }
    Ok(0)
}
