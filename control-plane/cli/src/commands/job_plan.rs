//! `drover job plan`

use std::collections::BTreeMap;
use std::time::Duration;

use drover_api_client::jobs::{PlanOptions, Submission};
use drover_api_client::plan::{JobDiff, JobPlan, PreemptedAlloc};
use drover_model::time::format_duration;

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::commands::{job_file, job_run};
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::diff::{self, DiffStyle};
use crate::output::placement;
use crate::output::table::table;
use crate::output::text::quote;
use crate::output::time::{Clock, parse_nanos};
use crate::output::ui::Ui;

/// The command.
pub const COMMAND: Command = Command {
    path: "job plan",
    aliases: &["plan"],
    summary: "Show what running a job file would change, and change nothing",
    arguments: "<path>",
    about: "Asks the scheduler what it would do with the job of a job file (- is standard input).\n\n\
            Exit status 0 when no allocation would be made or ended, 1 when some would, 255 for an error.",
    flags: &[
        switch("diff", "Show how the job differs from the one that runs. Default: true"),
        switch("json-output", "The answer as JSON."),
        switch("policy-override", "Let soft policies pass that would refuse the job."),
        text("t", "template", "The answer through a Go template."),
        switch("verbose", "Fields of what is wholly new or gone, too."),
        job_file::FLAGS[0],
        job_file::FLAGS[1],
        job_file::FLAGS[2],
        job_file::FLAGS[3],
        job_file::FLAGS[4],
    ],
    error_status: ERROR,
    run,
    ..Command::BASE
};

/// More allocs that have to go are shown as counts.
const PREEMPTED_SHOWN: usize = 10;
const NO_CHANGE: i32 = 0;
const CHANGE: i32 = 1;
const ERROR: i32 = 255;

fn run(call: &mut Call) -> Outcome {
    let path = call.only_arg("<path>")?;
    if call.flags.is_on("json-output") && !call.flags.text("t").is_empty() {
        return fail("Both -json-output and -t formatting are not allowed");
    }
    let file = job_file::read(call, &path)?;
    let client = file.client(&call.client()?);
    let plan =
        PlanOptions { diff: call.flags.is_on_or("diff", true), policy_override: call.flags.is_on("policy-override") };
    let answer = client.plan_job(file.id(), &file.job, &plan, &Default::default()).doing("during plan")?;
    let status = exit_status(&answer.value);
    if call.flags.is_on("json-output") || !call.flags.text("t").is_empty() {
        print_data(call, &answer.raw)?;
        return Ok(status);
    }
    let command = run_command(call, &file.submission, answer.value.job_modify_index, &path);
    let verbose = call.verbose();
    print(call.ui, &answer.value, &command, verbose);
    Ok(status)
}

fn print_data(call: &mut Call, raw: &serde_json::Value) -> Result<(), Failure> {
    let text = match call.flags.text("t") {
        "" => crate::output::json::pretty(raw),
        template => crate::output::template::render(template, raw)
            .map_err(|problem| Failure::Error(format!("Error formatting the data: {problem}")))?,
    };
    call.ui.out(&text);
    Ok(())
}

/// The command that runs exactly what was planned.
fn run_command(call: &Call, submission: &Submission, index: u64, path: &str) -> String {
    let mut command = format!("drover job run -check-index {index}");
    if submission.format == "json" {
        command.push_str(" -json");
    }
    for (flag, values) in [("var", call.flags.texts("var")), ("var-file", call.flags.texts("var-file"))] {
        for value in values {
            command.push_str(&format!(" -{flag}={}", quote(value)));
        }
    }
    if !call.flags.text("namespace").is_empty() {
        command.push_str(&format!(" -namespace={}", quote(call.flags.text("namespace"))));
    }
    if !call.flags.is_on_or("hcl2-strict", true) {
        command.push_str(" -hcl2-strict=false");
    }
    format!("{command} {path}")
}

/// Prints a plan.
pub fn print(ui: &mut Ui, plan: &JobPlan, run_command: &str, verbose: bool) {
    let color = ui.color.marks;
    if let Some(job_diff) = &plan.diff {
        let text = diff::job(job_diff, DiffStyle { color, verbose });
        ui.out(&format!("{text}\n"));
    }
    let title = ui.bold("Scheduler dry-run:");
    ui.out(&title);
    ui.out(&dry_run(plan, color, &ui.clock));
    ui.out("");
    job_run::warnings(ui, &plan.warnings);
    preemptions(ui, plan);
    ui.out(&format!(
        "Job Modify Index: {}\n\
         To submit the job with version verification run:\n\n\
         {run_command}\n\n\
         When running the job with the check-index flag, the job will only be run if the\n\
         job modify index given matches the server-side version. If the index has\n\
         changed, another user has modified the job and the plan's results are\n\
         potentially invalid.",
        plan.job_modify_index
    ));
}

fn dry_run(plan: &JobPlan, color: bool, clock: &Clock) -> String {
    let paint = |code: &'static str| if color { code } else { "" };
    let mut text = if plan.failed_group_allocs.is_empty() {
        format!("{}- All tasks successfully allocated.{}", paint("\u{1b}[1m\u{1b}[32m"), paint("\u{1b}[0m"))
    } else {
        let groups = placement::failed_groups(&plan.failed_group_allocs, "  ", "\n\n");
        let yellow = paint("\u{1b}[1m\u{1b}[33m");
        format!("{yellow}- WARNING: Failed to place all allocations.\n{groups}{}", paint("\u{1b}[0m"))
    };
    let green = |text: &mut String, line: String| {
        text.push_str(&format!("\n{}{line}{}", paint("\u{1b}[32m"), paint("\u{1b}[0m")));
    };
    if let Some(rolling) = plan.created_evals.iter().find(|eval| eval.triggered_by == "rolling-update") {
        let wait = format_duration(Duration::from_nanos(rolling.wait.unsigned_abs()));
        green(&mut text, format!("- Rolling update, next evaluation will be in {wait}."));
    }
    if let Some(at) = parse_nanos(&plan.next_periodic_launch) {
        // In the zone of the job, as the server has written it.
        let when = format!("{} ({} from now)", plan.next_periodic_launch, clock.until(at));
        green(&mut text, format!("- If submitted now, next periodic launch would be at {when}."));
    }
    text
}

/// What would have to go to make room, one by one or counted.
fn preemptions(ui: &mut Ui, plan: &JobPlan) {
    let Some(preempted) = plan.annotations.as_ref().map(|annotations| &annotations.preempted_allocs) else { return };
    if preempted.is_empty() {
        return;
    }
    let (on, off) = if ui.color.marks { ("\u{1b}[1m\u{1b}[33m", "\u{1b}[0m") } else { ("", "") };
    ui.out(&format!("{on}Preemptions:\n{off}"));
    ui.out(&preempted_table(preempted));
}

fn preempted_table(preempted: &[PreemptedAlloc]) -> String {
    if preempted.len() < PREEMPTED_SHOWN {
        let row = |alloc: &PreemptedAlloc| vec![alloc.id.clone(), alloc.job_id.clone(), alloc.task_group.clone()];
        let rows: Vec<Vec<String>> = preempted.iter().map(row).collect();
        return table(&["Alloc ID", "Job ID", "Task Group"], &rows);
    }
    let mut of_jobs: BTreeMap<[&str; 3], usize> = BTreeMap::new();
    let mut of_types: BTreeMap<&str, usize> = BTreeMap::new();
    for alloc in preempted {
        *of_jobs.entry([&alloc.job_id, &alloc.namespace, &alloc.job_type]).or_default() += 1;
        *of_types.entry(&alloc.job_type).or_default() += 1;
    }
    if of_jobs.len() < PREEMPTED_SHOWN {
        let row = |(job, count): (&[&str; 3], &usize)| {
            job.iter().map(|text| (*text).to_owned()).chain([count.to_string()]).collect()
        };
        let rows: Vec<Vec<String>> = of_jobs.iter().map(row).collect();
        return table(&["Job ID", "Namespace", "Job Type", "Preemptions"], &rows);
    }
    let row = |(kind, count): (&&str, &usize)| vec![(*kind).to_owned(), count.to_string()];
    let rows: Vec<Vec<String>> = of_types.iter().map(row).collect();
    table(&["Job Type", "Preemptions"], &rows)
}

/// The job differs, and some alloc would be made or ended.
fn exit_status(plan: &JobPlan) -> i32 {
    let differs = plan.diff.as_ref().is_none_or(|diff: &JobDiff| diff.kind != "None");
    let acts = plan.annotations.as_ref().is_some_and(|annotations| {
        annotations
            .desired_group_updates
            .values()
            .any(|counts| counts.place + counts.stop + counts.migrate + counts.destructive_update + counts.canary > 0)
    });
    if differs && acts { CHANGE } else { NO_CHANGE }
}
