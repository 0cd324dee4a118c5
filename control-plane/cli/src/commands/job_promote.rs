//! `drover job promote`

use drover_api_client::QueryOptions;

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::commands::{monitor, resolve};
use crate::flags::{list, switch};
use crate::grammar::Command;
use crate::output::text::quote;

/// The command.
pub const COMMAND: Command = Command {
    path: "job promote",
    summary: "Let the canaries of a job's newest deployment take over",
    arguments: "<job id>",
    flags: &[
        switch("detach", "Do not follow what happens."),
        list("group", "name", "Only this group. May be repeated. Default: all groups"),
        switch("verbose", "Full ids."),
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    let wanted = call.only_arg("<job id>")?;
    let client = call.client()?;
    let job = resolve::job(&client, &wanted, &call.ui.clock)?;
    let client = client.scoped("", &job.namespace);
    let options = QueryOptions::default();
    let Some(latest) = client.job_deployment(&job.id, &options).doing("retrieving deployment")?.value else {
        return fail(format!("Job {} has no deployment to promote", quote(&job.id)));
    };
    let groups = call.flags.texts("group").to_vec();
    let written = client.promote_deployment(&latest.id, &groups, &options).map_err(|error| {
        let (deployment, job) = (quote(&latest.id), quote(&job.id));
        Failure::Error(format!("Error promoting deployment {deployment} for job {job}: {error}"))
    })?;
    monitor::follow(call, &client, &written.value.eval_id)
}
