//! `drover job scale`

use drover_api_client::QueryOptions;
use drover_api_client::job_actions::{Scale, ScaleStatus};

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::commands::{job_run, monitor, resolve};
use crate::flags::{number, switch};
use crate::grammar::Command;
use crate::output::text::quote;

/// The command.
pub const COMMAND: Command = Command {
    path: "job scale",
    summary: "Change how many of a group run",
    arguments: "<job> [<group>] <count>",
    about: "Changes the count of a group, then follows what happens. The group may be left out where there is only one.",
    flags: &[
        number("check-index", "Only if the job's modify index is this one."),
        switch("detach", "Do not follow what happens."),
        switch("verbose", "Full ids."),
    ],
    run,
    ..Command::BASE
};

/// What is kept with the scaling event.
const MESSAGE: &str = "submitted using the drover CLI";

fn run(call: &mut Call) -> Outcome {
    let (wanted, group, count) = match call.flags.args.as_slice() {
        [job, count] => (job.clone(), String::new(), count.clone()),
        [job, group, count] => (job.clone(), group.clone(), count.clone()),
        _ => return fail("Command requires at least two arguments and no more than three"),
    };
    let Ok(count) = count.parse::<i64>() else {
        let text = quote(&count);
        return fail(format!("Failed to convert count string to int: strconv.Atoi: parsing {text}: invalid syntax"));
    };
    let client = call.client()?;
    let job = resolve::job(&client, wanted.trim(), &call.ui.clock)?;
    let client = client.scoped("", &job.namespace);
    let options = QueryOptions::default();
    let group = group_of(&client.job_scale(&job.id, &options).doing("querying job")?.value, &group)?;
    let scale = Scale {
        group,
        count,
        message: MESSAGE.to_owned(),
        job_modify_index: call.flags.number("check-index").and_then(|index| u64::try_from(index).ok()).unwrap_or(0),
    };
    let written = client.scale_job(&job.id, &scale, &options).doing("submitting scaling request")?.value;
    job_run::warnings(call.ui, &written.warnings);
    let is_launched_later = job.periodic || job.parameterized_job;
    if call.flags.is_on("detach") || is_launched_later || written.eval_id.is_empty() {
        call.ui.out("Job scale successful");
        if !is_launched_later && !written.eval_id.is_empty() {
            call.ui.out(&format!("Evaluation ID: {}", written.eval_id));
        }
        return Ok(0);
    }
    let verbose = call.verbose();
    monitor::eval(call.ui, &client, &written.eval_id, verbose)
}

/// The group that is named, or the only one.
fn group_of(status: &ScaleStatus, named: &str) -> Result<String, Failure> {
    let mut groups = status.task_groups.keys();
    match (named, groups.next(), groups.next()) {
        ("", Some(only), None) => Ok(only.clone()),
        ("", _, _) => fail("Group name required"),
        (named, _, _) if status.task_groups.contains_key(named) => Ok(named.to_owned()),
        (named, _, _) => fail(format!("Group {named} not found within job")),
    }
}
