//! `drover job revert`

use drover_api_client::{Client, QueryOptions};

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::commands::{monitor, resolve};
use crate::flags::switch;
use crate::grammar::Command;

/// The command.
pub const COMMAND: Command = Command {
    path: "job revert",
    summary: "Run an earlier version of a job again",
    arguments: "<job> <version|tag>",
    about: "Registers an earlier version of a job as its newest one, then follows what happens. The version is a number \
            of \"job history\" or the tag it was given.",
    flags: &[switch("detach", "Do not follow what happens."), switch("verbose", "Full ids.")],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    let [wanted, version] = call.flags.args.as_slice() else {
        return Err(Failure::Usage("This command takes two arguments: <job> <version|tag>".to_owned()));
    };
    let (wanted, version) = (wanted.clone(), version.clone());
    let client = call.client()?;
    let job = resolve::job(&client, &wanted, &call.ui.clock)?;
    let client = client.scoped("", &job.namespace);
    let version = match version.parse() {
        Ok(number) => number,
        Err(_) => version_of_tag(&client, &job.id, &version)?,
    };
    let written = client.revert_job(&job.id, version, &QueryOptions::default()).doing("retrieving job versions")?.value;
    monitor::follow(call, &client, &written.eval_id)
}

fn version_of_tag(client: &Client, job_id: &str, tag: &str) -> Result<u64, Failure> {
    let versions = client.job_versions(job_id, &QueryOptions::default()).doing("retrieving job versions")?.value;
    let mut tagged = versions.versions.iter().filter(|job| job.version_tag.as_ref().is_some_and(|own| own.name == tag));
    match tagged.next() {
        Some(job) => Ok(job.version),
        None => fail(format!("Error retrieving job versions: version tag {tag} not found for job {job_id}")),
    }
}
