//! `drover job start`

use drover_api_client::QueryOptions;
use drover_api_client::jobs::Register;
use serde_json::json;

use crate::call::{Call, Doing, Outcome, fail};
use crate::commands::{job_run, monitor, resolve};
use crate::flags::switch;
use crate::grammar::Command;
use crate::output::periodic;
use crate::output::text::quote;

/// The command.
pub const COMMAND: Command = Command {
    path: "job start",
    aliases: &["start"],
    summary: "Start a job again that was stopped",
    arguments: "<job>",
    about: "Registers the newest version of a stopped job again, then follows what happens.",
    flags: &[switch("detach", "Do not follow what happens."), switch("verbose", "Full ids.")],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    let wanted = call.only_arg("<job>")?;
    let client = call.client()?;
    let found = resolve::job(&client, &wanted, &call.ui.clock)?;
    let client = client.scoped("", &found.namespace);
    let options = QueryOptions::default();
    let answer = client.job(&found.id, &options).doing("querying job")?;
    let (stopped, mut job) = (answer.value, answer.raw);
    if !stopped.stop {
        return fail(format!("Job {} has not been stopped", quote(&stopped.name)));
    }
    job["Stop"] = json!(false);
    let next_launch = periodic::next_launch(&job["Periodic"], &call.ui.clock).filter(|_| !found.parameterized_job);
    // Its text is kept by version: what comes back is the same text.
    let submission = client.job_submission(&found.id, stopped.version, &options).ok().map(|answer| answer.value);
    let register = Register { job, submission, ..Register::default() };
    let written = client.register_job(&register, &options).doing("starting job")?.value;
    job_run::warnings(call.ui, &written.warnings);
    let is_launched_later = found.periodic || found.parameterized_job;
    if call.flags.is_on("detach") || is_launched_later || written.eval_id.is_empty() {
        call.ui.out("Job start successful");
    }
    if is_launched_later {
        if let Some(next) = next_launch {
            call.ui.out(&format!("Approximate next launch time: {next}"));
        }
        return Ok(0);
    }
    monitor::follow(call, &client, &written.eval_id)
}
