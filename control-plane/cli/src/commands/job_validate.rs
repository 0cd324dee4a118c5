//! `drover job validate`

use crate::call::{Call, Failure, Outcome, fail};
use crate::commands::{job_file, job_run};
use crate::grammar::Command;

/// The command.
pub const COMMAND: Command = Command {
    path: "job validate",
    aliases: &["validate"],
    summary: "Check a job file",
    arguments: "<path>",
    about: "Reads a job file (- is standard input) and has the agent check the job. Without an agent, only the text \
            is checked.\n\n\
            Exit status 0 when nothing is wrong, 1 when something is, 255 when there is no way to ask an agent.",
    flags: &job_file::FLAGS,
    run,
    ..Command::BASE
};

/// Exit status of settings that make no client.
const NO_CLIENT: i32 = 255;

fn run(call: &mut Call) -> Outcome {
    let path = call.only_arg("<path>")?;
    let client = match call.client() {
        Ok(client) => client,
        Err(Failure::Error(text)) => {
            call.ui.error(&text);
            return Ok(NO_CLIENT);
        }
        Err(other) => return Err(other),
    };
    let file = job_file::read(call, &path)?;
    let client = file.client(&client);
    match client.check_job(&file.job, &Default::default()) {
        Ok(answer) => {
            let checked = answer.value;
            if !checked.error.is_empty() {
                return fail(format!("Job validation errors:\n{}", checked.error.trim_end()));
            }
            job_run::warnings(call.ui, &checked.warnings);
        }
        Err(error) if error.is_unanswered() => {
            call.ui
                .out("Driver configuration not validated since connection to drover agent couldn't be established.\n");
        }
        Err(error) => return fail(format!("Error validating job: {error}")),
    }
    call.ui.out("Job validation successful");
    Ok(0)
}
