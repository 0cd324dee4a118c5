//! `drover job deployments`

use drover_api_client::QueryOptions;

use crate::call::{Call, Doing, Outcome};
use crate::commands::resolve;
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::{deployment, json};

/// The command.
pub const COMMAND: Command = Command {
    path: "job deployments",
    summary: "List the deployments of a job, newest first",
    arguments: "<job>",
    flags: &[
        switch("all", "Deployments of an earlier job of the same id, too."),
        switch("json", "JSON."),
        switch("latest", "Only the newest, with its groups."),
        text("t", "template", "The answer through a Go template."),
        switch("verbose", "Full ids."),
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    let wanted = call.only_arg("<job>")?;
    call.check_data_flags()?;
    let client = call.client()?;
    let job = resolve::job(&client, &wanted, &call.ui.clock)?;
    let client = client.scoped("", &job.namespace);
    let options = QueryOptions::default();
    let verbose = call.verbose();
    if call.flags.is_on("latest") {
        let answer = client.job_deployment(&job.id, &options).doing("retrieving deployments")?;
        if call.wants_data() {
            return call.print_data(&answer.raw);
        }
        let bold = |title: &str| call.ui.bold(title);
        let text = match &answer.value {
            Some(latest) => deployment::deployment(latest, verbose, &call.ui.clock, bold),
            None => "No deployment found".to_owned(),
        };
        call.ui.out(&text);
        return Ok(0);
    }
    let all = call.flags.is_on("all");
    let answer = client.job_deployments(&job.id, all, &options).doing("retrieving deployments")?;
    if call.wants_data() {
        return call.print_data(&json::newest_first(&answer.raw));
    }
    call.ui.out(&deployment::list(&answer.value, verbose));
    Ok(0)
}
