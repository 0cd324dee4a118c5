//! `drover alloc signal`

use drover_api_client::QueryOptions;

use crate::call::{Call, Doing, Failure, Outcome};
use crate::commands::{alloc_exec, resolve};
use crate::flags::{switch, text};
use crate::grammar::Command;

/// The command.
pub const COMMAND: Command = Command {
    path: "alloc signal",
    summary: "Send a signal to tasks of an allocation",
    arguments: "<allocation> [<task>]",
    about: "Sends a signal to one task, or to all that run.",
    flags: &[
        text("s", "signal", "The signal. Default: SIGKILL"),
        text("task", "name", "Only this task, in place of the second argument."),
        switch("verbose", "Full ids."),
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    if !matches!(call.flags.args.len(), 1 | 2) {
        return Err(Failure::Usage("This command takes up to two arguments: <alloc-id> <task>".to_owned()));
    }
    let signal = match call.flags.text("s") {
        "" => "SIGKILL",
        signal => signal,
    }
    .to_owned();
    let named = if call.flags.args.len() == 2 { call.arg(1) } else { call.flags.text("task") }.to_owned();
    let client = call.client()?;
    let alloc_id = resolve::alloc(&client, call.arg(0), &call.ui.clock)?.one()?.id;
    if !named.is_empty() {
        let alloc = client.alloc(&alloc_id, &QueryOptions::default()).doing("querying allocation")?.value;
        alloc_exec::task(&alloc, &named, call.verbose())?;
    }
    client.signal_tasks(&alloc_id, &named, &signal).doing("signalling allocation").map(|_| 0)
}
