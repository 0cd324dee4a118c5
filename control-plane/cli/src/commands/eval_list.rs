//! `drover eval list`

use drover_api_client::QueryOptions;

use crate::call::{Call, Doing, Outcome};
use crate::flags::{number, switch, text};
use crate::grammar::Command;
use crate::output::{eval_table, json};

/// The command.
pub const COMMAND: Command = Command {
    path: "eval list",
    summary: "List evaluations, newest first",
    flags: &[
        text("filter", "expression", "Only what the expression admits."),
        text("job", "id", "Only those of this job."),
        switch("json", "JSON."),
        text("page-token", "token", "Begin with this page; the page before names it."),
        number("per-page", "So many per page. Default: all"),
        text("status", "status", "Only those with this status."),
        text("t", "template", "The answer through a Go template."),
        switch("verbose", "Full ids."),
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    call.no_args()?;
    call.check_data_flags()?;
    let mut options = QueryOptions {
        filter: call.flags.text("filter").to_owned(),
        per_page: call.flags.number("per-page").and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
        next_token: call.flags.text("page-token").to_owned(),
        ..QueryOptions::default()
    };
    for name in ["job", "status"] {
        if !call.flags.text(name).is_empty() {
            options = options.with(name, call.flags.text(name));
        }
    }
    let answer = call.client()?.evals(&options).doing("querying evaluations")?;
    if call.wants_data() {
        return call.print_data(&json::newest_first(&answer.raw));
    }
    if answer.value.is_empty() {
        call.ui.out("No evals found");
        return Ok(0);
    }
    let text = eval_table::evals(&answer.value, call.verbose());
    call.ui.out(&text);
    if !answer.meta.next_token.is_empty() {
        call.ui.out(&format!(
            "\nResults have been paginated. To get the next page run:\n\n\
             drover eval list -per-page {} -page-token {}",
            options.per_page, answer.meta.next_token
        ));
    }
    Ok(0)
}
