//! `drover job allocs`

use drover_api_client::QueryOptions;

use crate::call::{Call, Doing, Outcome};
use crate::commands::resolve;
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::alloc_table;

/// The command.
pub const COMMAND: Command = Command {
    path: "job allocs",
    summary: "List the allocations of a job",
    arguments: "<job>",
    flags: &[
        switch("all", "Allocations of an earlier job of the same id, too."),
        switch("json", "JSON."),
        text("t", "template", "The answer through a Go template."),
        switch("verbose", "Full ids and absolute times."),
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    let wanted = call.only_arg("<job>")?;
    call.check_data_flags()?;
    let client = call.client()?;
    let job = resolve::job(&client, &wanted, &call.ui.clock)?;
    let all = call.flags.is_on("all");
    let answer = client
        .scoped("", &job.namespace)
        .job_allocs(&job.id, all, &QueryOptions::default())
        .doing("retrieving allocations")?;
    if call.wants_data() {
        return call.print_data(&answer.raw);
    }
    let text = alloc_table::allocs(&answer.value, call.verbose(), &call.ui.clock);
    call.ui.out(&text);
    Ok(0)
}
