//! `drover eval status`

use drover_api_client::QueryOptions;
use drover_api_client::evals::Eval;

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::commands::{monitor, resolve};
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::eval_table;
use crate::output::placement;
use crate::output::table::{Fields, table};
use crate::output::text::{id, quote};
use crate::output::time::Clock;
use crate::output::ui::Ui;

/// The command.
pub const COMMAND: Command = Command {
    path: "eval status",
    old_spellings: &["eval-status"],
    summary: "Show an evaluation: why a job was looked at, and what came of it",
    arguments: "<evaluation>",
    flags: &[
        switch("json", "JSON."),
        switch("monitor", "Follow it until it is done, and the deployment it belongs to."),
        text("t", "template", "The answer through a Go template."),
        switch("verbose", "Full ids and absolute times."),
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    call.check_data_flags()?;
    let client = call.client()?;
    if call.flags.args.is_empty() && call.wants_data() {
        let answer = client.evals(&QueryOptions::default()).doing("querying evaluations")?;
        return call.print_data(&answer.raw);
    }
    let [wanted] = call.flags.args.as_slice() else {
        return Err(Failure::Usage("This command takes one argument".to_owned()));
    };
    let wanted = wanted.clone();
    show(call, &wanted)
}

/// Shows the eval whose id begins so.
pub fn show(call: &mut Call, wanted: &str) -> Outcome {
    let client = call.client()?;
    let found = resolve::eval(&client, wanted)?;
    if call.flags.is_on("monitor") {
        if call.wants_data() {
            return fail("The monitor flag cannot be used with the '-json' or '-t' flags");
        }
        return monitor::eval(call.ui, &client, &found.id, call.flags.is_on("verbose"));
    }
    let options = QueryOptions::default().with("related", "true");
    let answer = client.eval(&found.id, &options).doing("querying evaluation")?;
    if call.wants_data() {
        return call.print_data(&answer.raw);
    }
    print(call.ui, &answer.value, call.flags.is_on("verbose"));
    Ok(0)
}

/// Prints an eval.
pub fn print(ui: &mut Ui, eval: &Eval, verbose: bool) {
    ui.out(&fields(eval, verbose, &ui.clock.clone()));
    if !eval.related_evals.is_empty() {
        ui.section("Related Evaluations", &eval_table::related(&eval.related_evals, verbose));
    }
    if let Some(annotations) = &eval.plan_annotations
        && !annotations.desired_group_updates.is_empty()
    {
        let rows: Vec<Vec<String>> = annotations
            .desired_group_updates
            .iter()
            .map(|(group, counts)| {
                let counts =
                    [counts.ignore, counts.place, counts.stop, counts.in_place_update, counts.destructive_update];
                std::iter::once(group.clone()).chain(counts.map(|count| count.to_string())).collect()
            })
            .collect();
        let table = table(&["Task Group", "Ignore", "Place", "Stop", "InPlace", "Destructive"], &rows);
        ui.section("Plan Annotations", &table);
    }
    if !eval.failed_group_allocs.is_empty() {
        ui.section("Failed Placements", &placement::failed_groups(&eval.failed_group_allocs, "", "\n"));
        if !eval.blocked_eval.is_empty() {
            let blocked = quote(&id(&eval.blocked_eval, verbose));
            ui.out(&format!("\nEvaluation {blocked} waiting for additional capacity to place remainder"));
        }
    }
}

fn fields(eval: &Eval, verbose: bool, clock: &Clock) -> String {
    let mut fields = Fields::new();
    fields
        .add("ID", id(&eval.id, verbose))
        .add("Create Time", clock.shown(eval.create_time, verbose))
        .add("Modify Time", clock.shown(eval.modify_time, verbose))
        .add("Status", eval.status.as_str())
        .add(
            "Status Description",
            if eval.status_description.is_empty() { &eval.status } else { &eval.status_description },
        )
        .add("Type", eval.kind.as_str())
        .add("TriggeredBy", eval.triggered_by.as_str())
        .add("Job ID", eval.job_id.as_str())
        .add("Namespace", eval.namespace.as_str());
    if !eval.node_id.is_empty() {
        fields.add("Node ID", id(&eval.node_id, verbose));
    }
    fields.add("Priority", eval.priority.to_string()).add("Placement Failures", eval_table::placement_failures(eval));
    let wait_until = clock.absolute_text(&eval.wait_until);
    if !wait_until.is_empty() {
        fields.add("Wait Until", wait_until);
    }
    fields
        .add("Previous Eval", id(&eval.previous_eval, verbose))
        .add("Next Eval", id(&eval.next_eval, verbose))
        .add("Blocked Eval", id(&eval.blocked_eval, verbose));
    fields.text()
}
