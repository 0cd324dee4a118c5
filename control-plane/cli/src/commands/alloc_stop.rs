//! `drover alloc stop`

use crate::call::{Call, Doing, Outcome};
use crate::commands::{monitor, resolve};
use crate::flags::switch;
use crate::grammar::Command;

/// The command.
pub const COMMAND: Command = Command {
    path: "alloc stop",
    summary: "Stop an allocation and have it placed anew",
    arguments: "<allocation>",
    about: "Stops an allocation; its job gets another one in its place. Follows what happens.",
    flags: &[
        switch("detach", "Do not follow what happens."),
        switch("no-shutdown-delay", "End its tasks at once, without the delay that is set for them."),
        switch("verbose", "Full ids."),
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    let wanted = call.only_arg("<alloc-id>")?;
    let client = call.client()?;
    let alloc = resolve::alloc(&client, &wanted, &call.ui.clock)?.one()?;
    let stopped =
        client.stop_alloc(&alloc.id, call.flags.is_on("no-shutdown-delay")).doing("stopping allocation")?.value;
    if call.flags.is_on("detach") {
        call.ui.out(&stopped.eval_id);
        return Ok(0);
    }
    let verbose = call.verbose();
    monitor::eval(call.ui, &client, &stopped.eval_id, verbose)
}
