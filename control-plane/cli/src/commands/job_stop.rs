//! `drover job stop`

use drover_api_client::jobs::StopOptions;

use crate::call::{Call, Doing, Failure, Outcome};
use crate::commands::{monitor, resolve};
use crate::flags::{number, switch};
use crate::grammar::Command;
use crate::output::text::quote;

/// The command.
pub const COMMAND: Command = Command {
    path: "job stop",
    aliases: &["stop"],
    summary: "Stop jobs",
    arguments: "<job>…",
    about: "Stops jobs and follows what happens. A job stays known, so that it can be looked at and started again, \
            unless -purge is given.\n\n\
            Asks before it stops a job that is named only by the beginning of its id.",
    flags: &[
        switch("detach", "Do not follow what happens."),
        number("eval-priority", "The priority of the evaluation, 1 to 100, in place of the job's."),
        switch("global", "In all regions of the job."),
        switch("no-shutdown-delay", "Do not wait for the shutdown delay of groups and tasks."),
        switch("purge", "Forget the job."),
        switch("verbose", "Full ids."),
        switch("yes", "Do not ask."),
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    if call.flags.args.is_empty() {
        return Err(Failure::Usage("This command takes at least one argument: <job>".to_owned()));
    }
    let stop = StopOptions {
        purge: call.flags.is_on("purge"),
        global: call.flags.is_on("global"),
        no_shutdown_delay: call.flags.is_on("no-shutdown-delay"),
        eval_priority: call.flags.number("eval-priority"),
    };
    let mut worst = 0;
    // A job that cannot be stopped does not keep the others from it.
    for wanted in call.flags.args.clone() {
        match one(call, &wanted, &stop) {
            Ok(status) => worst = worst.max(status),
            Err(failure) => worst = worst.max(call.finish(Err(failure))),
        }
    }
    Ok(worst)
}

fn one(call: &mut Call, wanted: &str, stop: &StopOptions) -> Outcome {
    let client = call.client()?;
    let job = resolve::job(&client, wanted, &call.ui.clock)?;
    if job.id != wanted && !call.flags.is_on("yes") {
        let question = format!("Are you sure you want to stop job {}?", quote(&job.id));
        match call.ui.confirm(&question) {
            Ok(true) => {}
            Ok(false) => {
                call.ui.out("Cancelling job stop");
                return Ok(0);
            }
            Err(problem) => return Err(Failure::Error(format!("Failed to parse answer: {problem}"))),
        }
    }
    let client = client.scoped("", &job.namespace);
    let written = client.stop_job(&job.id, stop, &Default::default()).doing("deregistering job")?.value;
    if written.eval_id.is_empty() {
        // Periodic and parameterized jobs have no eval of their own.
        return Ok(0);
    }
    if call.flags.is_on("detach") {
        call.ui.out(&written.eval_id);
        return Ok(0);
    }
    let verbose = call.verbose();
    monitor::eval(call.ui, &client, &written.eval_id, verbose)
}
