//! `drover alloc restart`

use drover_api_client::QueryOptions;

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::commands::{alloc_exec, resolve};
use crate::flags::{switch, text};
use crate::grammar::Command;

/// The command.
pub const COMMAND: Command = Command {
    path: "alloc restart",
    summary: "Restart tasks of an allocation",
    arguments: "<allocation> [<task>]",
    about: "Ends tasks of an allocation and starts them again where they are: one task, or all that run.",
    flags: &[
        switch("all-tasks", "All tasks, those included that have ended."),
        text("task", "name", "Only this task, in place of the second argument."),
        switch("verbose", "Full ids."),
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    if !matches!(call.flags.args.len(), 1 | 2) {
        return Err(Failure::Usage("This command takes one or two arguments: <alloc-id> <task-name>".to_owned()));
    }
    let all = call.flags.is_on("all-tasks");
    let named = if call.flags.args.len() == 2 { call.arg(1) } else { call.flags.text("task") }.to_owned();
    if all && !named.is_empty() {
        return fail("The -all-tasks option is not allowed when restarting a specific task.");
    }
    let client = call.client()?;
    let alloc_id = resolve::alloc(&client, call.arg(0), &call.ui.clock)?.one()?.id;
    if !named.is_empty() {
        let alloc = client.alloc(&alloc_id, &QueryOptions::default()).doing("querying allocation")?.value;
        alloc_exec::task(&alloc, &named, call.verbose())?;
    }
    client
        .restart_tasks(&alloc_id, &named, all)
        .map(|_| 0)
        .map_err(|error| Failure::Error(format!("Failed to restart allocation:\n\n{error}")))
}
