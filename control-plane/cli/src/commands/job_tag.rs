//! `drover job tag apply` and `drover job tag unset`

use drover_api_client::QueryOptions;

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::commands::resolve;
use crate::flags::text;
use crate::grammar::Command;
use crate::output::text::quote;

/// Names a version.
pub const APPLY: Command = Command {
    path: "job tag apply",
    summary: "Give a version of a job a name",
    arguments: "<job>",
    about: "Names a version of a job. A version that has a name is kept for as long as it has it, and \"job revert\" and \
            \"job history\" find it by that.",
    flags: &[
        text("description", "text", "What is special about it, for people."),
        text("name", "tag", "The name. Needed."),
        text("version", "version", "The version. Default: the newest"),
    ],
    run: apply,
    ..Command::BASE
};

/// Takes a name away.
pub const UNSET: Command = Command {
    path: "job tag unset",
    summary: "Take the name of a version of a job away",
    arguments: "<job>",
    flags: &[text("name", "tag", "The name. Needed.")],
    run: unset,
    ..Command::BASE
};

fn apply(call: &mut Call) -> Outcome {
    let (wanted, tag) = job_and_tag(call)?;
    let client = call.client()?;
    let job = resolve::job(&client, &wanted, &call.ui.clock)?;
    let client = client.scoped("", &job.namespace);
    let options = QueryOptions::default();
    let version = match call.flags.text("version") {
        "" => client.job(&job.id, &options).doing("retrieving job versions")?.value.version,
        text => match text.parse() {
            Ok(version) => version,
            Err(_) => return fail(format!("Error parsing version: {} is not a number, 0 or greater", quote(text))),
        },
    };
    let description = call.flags.text("description");
    client.tag_job(&job.id, &tag, version, description, &options).doing("tagging job version")?;
    call.ui.out(&format!("Job version {version} tagged with name {}", quote(&tag)));
    Ok(0)
}

fn unset(call: &mut Call) -> Outcome {
    let (wanted, tag) = job_and_tag(call)?;
    let client = call.client()?;
    let job = resolve::job(&client, &wanted, &call.ui.clock)?;
    client
        .scoped("", &job.namespace)
        .untag_job(&job.id, &tag, &QueryOptions::default())
        .doing("tagging job version")?;
    call.ui.out(&format!("Tag {} removed from job {}", quote(&tag), quote(&job.id)));
    Ok(0)
}

fn job_and_tag(call: &Call) -> Result<(String, String), Failure> {
    let job = call.only_arg("<job>")?;
    if job.is_empty() {
        return Err(Failure::Usage("A job name is required".to_owned()));
    }
    match call.flags.text("name") {
        "" => Err(Failure::Usage("A version tag name is required".to_owned())),
        tag => Ok((job, tag.to_owned())),
    }
}
