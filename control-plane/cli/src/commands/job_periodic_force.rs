//! `drover job periodic force`

use drover_api_client::QueryOptions;
use drover_api_client::jobs::JobStub;

use crate::call::{Call, Doing, Outcome};
use crate::commands::{monitor, resolve};
use crate::flags::switch;
use crate::grammar::Command;
use crate::output::text::quote;

/// The command.
pub const COMMAND: Command = Command {
    path: "job periodic force",
    summary: "Launch a periodic job now",
    arguments: "<job id>",
    flags: &[switch("detach", "Do not follow what happens."), switch("verbose", "Full ids.")],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    let wanted = call.only_arg("<job id>")?;
    let client = call.client()?;
    let is_meant = |job: &JobStub| job.periodic;
    let job = resolve::job_of_kind(&client, &wanted, &call.ui.clock, "periodic job(s)", is_meant)?;
    let client = client.scoped("", &job.namespace);
    let doing = format!("forcing periodic job {}", quote(&job.id));
    let written = client.force_periodic(&job.id, &QueryOptions::default()).doing(&doing)?.value;
    if call.flags.is_on("detach") {
        call.ui.out(&format!("Force periodic successful\nEvaluation ID: {}", written.eval_id));
        return Ok(0);
    }
    let verbose = call.verbose();
    monitor::eval(call.ui, &client, &written.eval_id, verbose)
}
