//! `drover eval delete`

use drover_api_client::{Client, QueryOptions};

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::text::plural;

/// The command.
pub const COMMAND: Command = Command {
    path: "eval delete",
    summary: "Delete evaluations while the scheduler rests",
    arguments: "[<evaluation>]",
    about: "Deletes the evaluation of that id, or all that the filter admits. The eval broker must be paused before, and \
            unpaused after.",
    flags: &[text("filter", "expression", "All that the expression admits."), switch("yes", "Do not ask.")],
    run,
    ..Command::BASE
};

const HOW_TO_PAUSE: &str = "\
To delete evaluations you must first pause the eval broker by running \"drover operator scheduler set-config -pause-eval-broker=true\"
After the deletion is complete, unpause the eval broker by running \"drover operator scheduler set-config -pause-eval-broker=false\"";

fn run(call: &mut Call) -> Outcome {
    let filter = call.flags.text("filter").to_owned();
    let refuse = |what: String| fail(format!("Error validating command args and flags: {what}"));
    let given = call.flags.args.len();
    if filter.is_empty() == (given == 0) {
        return refuse("evaluation ID or filter flag required".to_owned());
    }
    if given > 1 {
        return refuse(format!("expected 1 argument, got {given}"));
    }
    let client = call.client()?;
    let config = client.scheduler_configuration().doing("querying scheduler configuration")?.raw;
    if config["SchedulerConfig"]["PauseEvalBroker"] != true {
        call.ui.error("Eval broker is not paused");
        call.ui.out(HOW_TO_PAUSE);
        return Ok(call.command.error_status);
    }
    let deleted = if filter.is_empty() { one(call, &client)? } else { several(call, &client, &filter)? };
    match deleted {
        None => {}
        Some(0) => call.ui.out("No evaluations were deleted"),
        Some(count) => call.ui.out(&format!("Successfully deleted {}", plural(count, "evaluation"))),
    }
    Ok(0)
}

fn one(call: &Call, client: &Client) -> Result<Option<u64>, Failure> {
    let eval = client.eval(call.arg(0), &QueryOptions::default()).doing("deleting evaluations")?.value;
    client.delete_eval(&eval.id).doing("deleting evaluations")?;
    Ok(Some(1))
}

/// None when it was not wanted after all.
fn several(call: &mut Call, client: &Client, filter: &str) -> Result<Option<u64>, Failure> {
    if !call.flags.is_on("yes") {
        let count = client.count_evals(filter).doing("deleting evaluations")?.value.count;
        let question = format!("Are you sure you want to delete {count} evals?");
        match call.ui.confirm(&question) {
            Ok(true) => {}
            Ok(false) => {
                call.ui.out("Cancelling eval deletion");
                return Ok(None);
            }
            Err(problem) => return fail(format!("Failed to parse answer: {problem}")),
        }
    }
    Ok(Some(client.delete_evals(filter).doing("deleting evaluations")?.value.count))
}
