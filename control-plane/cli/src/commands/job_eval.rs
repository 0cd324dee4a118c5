//! `drover job eval`

use drover_api_client::QueryOptions;

use crate::call::{Call, Doing, Outcome};
use crate::commands::{monitor, resolve};
use crate::flags::switch;
use crate::grammar::Command;
use crate::output::text::{id, quote};

/// The command.
pub const COMMAND: Command = Command {
    path: "job eval",
    summary: "Have the scheduler look at a job again",
    arguments: "<job>",
    flags: &[
        switch("detach", "Do not follow what happens."),
        switch("force-reschedule", "Place failed allocations again at once, however long they would have to wait."),
        switch("verbose", "Full ids."),
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    let wanted = call.only_arg("<job>")?;
    let client = call.client()?;
    let job = resolve::job(&client, &wanted, &call.ui.clock)?;
    let client = client.scoped("", &job.namespace);
    let force = call.flags.is_on("force-reschedule");
    let written = client.evaluate_job(&job.id, force, &QueryOptions::default()).doing("evaluating job")?.value;
    let verbose = call.verbose();
    if call.flags.is_on("detach") {
        // Scripts know the blank at its end.
        call.ui.out(&format!("Created eval ID: {} ", quote(&id(&written.eval_id, verbose))));
        return Ok(0);
    }
    monitor::eval(call.ui, &client, &written.eval_id, verbose)
}
