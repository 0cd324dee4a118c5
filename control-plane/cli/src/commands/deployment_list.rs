//! `drover deployment list`

use drover_api_client::QueryOptions;

use crate::call::{Call, Doing, Outcome};
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::{deployment, json};

/// The command.
pub const COMMAND: Command = Command {
    path: "deployment list",
    summary: "List deployments, newest first",
    flags: &[
        text("filter", "expression", "Only what the expression admits."),
        switch("json", "JSON."),
        text("t", "template", "The answer through a Go template."),
        switch("verbose", "Full ids."),
    ],
    run,
    ..Command::BASE
};

pub(super) fn run(call: &mut Call) -> Outcome {
    call.no_args()?;
    call.check_data_flags()?;
    let options = QueryOptions { filter: call.flags.text("filter").to_owned(), ..QueryOptions::default() };
    let answer = call.client()?.deployments(&options).doing("retrieving deployments")?;
    if call.wants_data() {
        return call.print_data(&json::newest_first(&answer.raw));
    }
    let text = deployment::list(&answer.value, call.verbose());
    call.ui.out(&text);
    Ok(0)
}
