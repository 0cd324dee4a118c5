//! `drover job scaling-events`

use drover_api_client::QueryOptions;
use drover_api_client::job_actions::ScalingEvent;

use crate::call::{Call, Doing, Outcome};
use crate::commands::resolve;
use crate::flags::switch;
use crate::grammar::Command;
use crate::output::table::table;

/// The command.
pub const COMMAND: Command = Command {
    path: "job scaling-events",
    summary: "List how the counts of a job's groups were changed, newest first",
    arguments: "<job_id>",
    flags: &[switch("verbose", "Messages and evaluations, too.")],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    let wanted = call.only_arg("<job_id>")?;
    let client = call.client()?;
    let job = resolve::job(&client, &wanted, &call.ui.clock)?;
    let client = client.scoped("", &job.namespace);
    let status = client.job_scale(&job.id, &QueryOptions::default()).doing("listing scaling events")?.value;
    let mut events: Vec<(&String, &ScalingEvent)> = status
        .task_groups
        .iter()
        .flat_map(|(name, group)| group.events.iter().map(move |event| (name, event)))
        .collect();
    if events.is_empty() {
        call.ui.out("No events found");
        return Ok(0);
    }
    events.sort_by_key(|(_, event)| std::cmp::Reverse(event.time));
    let verbose = call.verbose();
    let rows: Vec<Vec<String>> = events
        .into_iter()
        .map(|(group, event)| {
            let count = event.count.map(|count| count.to_string()).unwrap_or_default();
            let mut row = vec![group.clone(), count, event.previous_count.to_string()];
            if verbose {
                row.extend([event.error.to_string(), event.message.clone(), event.eval_id.clone()]);
            }
            row.push(call.ui.clock.absolute(event.time));
            row
        })
        .collect();
    let text = if verbose {
        table(&["Task Group", "Count", "PrevCount", "Error", "Message", "Eval ID", "Date"], &rows)
    } else {
        table(&["Task Group", "Count", "PrevCount", "Date"], &rows)
    };
    call.ui.out(&text);
    Ok(0)
}
