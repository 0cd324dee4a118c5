//! `drover job status`

use drover_api_client::allocs::AllocStub;
use drover_api_client::deployments::Deployment;
use drover_api_client::evals::Eval;
use drover_api_client::jobs::{Job, JobStub, JobSummary};
use drover_api_client::{Client, QueryOptions};
use serde_json::{Value, json};

use crate::call::{Call, Doing, Failure, Outcome};
use crate::commands::resolve;
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::table::{Fields, table};
use crate::output::text::{id, quote};
use crate::output::time::{Clock, parse_nanos};
use crate::output::ui::Ui;
use crate::output::{alloc_table, deployment, eval_table, periodic, placement};

/// The command.
pub const COMMAND: Command = Command {
    path: "job status",
    summary: "Show a job, or list all of them",
    arguments: "[<job>]",
    about: "Shows a job by its id or the beginning of it; without an argument, lists all jobs.",
    flags: &[
        switch("all-allocs", "Allocations of an earlier job of the same id, too."),
        switch("evals", "The evaluations of the job, too."),
        switch("json", "JSON."),
        switch("short", "Only the fields of the job."),
        text("t", "template", "The answer through a Go template."),
        switch("verbose", "Full ids and absolute times, and the evaluations."),
    ],
    run,
    ..Command::BASE
};

/// What of a job is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// Full ids and more.
    pub verbose: bool,
    /// The evals.
    pub evals: bool,
}

/// All that is known of a job.
#[derive(Clone, Debug, Default)]
pub struct JobView {
    /// The job.
    pub job: Job,
    /// Where its allocs are.
    pub summary: Option<JobSummary>,
    /// Its allocs.
    pub allocs: Vec<AllocStub>,
    /// Its evals.
    pub evals: Vec<Eval>,
    /// Its newest deployment.
    pub deployment: Option<Deployment>,
    /// The jobs it has launched.
    pub children: Vec<JobStub>,
}

fn run(call: &mut Call) -> Outcome {
    call.check_data_flags()?;
    match call.flags.args.as_slice() {
        [] => list_all(call),
        [wanted] => {
            let wanted = wanted.clone();
            show(call, &wanted)
        }
        _ => Err(Failure::UsageOf("This command takes either no arguments or one: <job>".to_owned(), "status")),
    }
}

/// Lists all jobs.
pub fn list_all(call: &mut Call) -> Outcome {
    let client = call.client()?;
    let jobs = client.jobs(&QueryOptions::default()).doing("querying jobs")?.value;
    if call.wants_data() {
        let mut data = Vec::new();
        for job in &jobs {
            data.push(data_of(&client.scoped("", &job.namespace), &job.id, false)?);
        }
        return call.print_data(&Value::Array(data));
    }
    if jobs.is_empty() {
        call.ui.out("No running jobs");
        return Ok(0);
    }
    let text = list(&jobs, call.settings.namespace == "*", &call.ui.clock);
    call.ui.out(&text);
    Ok(0)
}

/// Jobs in a table, by id.
pub fn list(jobs: &[JobStub], with_namespace: bool, clock: &Clock) -> String {
    let mut sorted: Vec<&JobStub> = jobs.iter().collect();
    sorted.sort_by_key(|job| (&job.id, &job.namespace));
    let rows: Vec<Vec<String>> = sorted
        .into_iter()
        .map(|job| {
            let mut row = vec![job.id.clone()];
            if with_namespace {
                row.push(job.namespace.clone());
            }
            row.extend([
                kind_of(&job.kind, job.periodic, job.parameterized_job),
                job.priority.to_string(),
                status_of(&job.status, job.stop),
                clock.absolute(job.submit_time),
            ]);
            row
        })
        .collect();
    if with_namespace {
        table(&["ID", "Namespace", "Type", "Priority", "Status", "Submit Date"], &rows)
    } else {
        table(&["ID", "Type", "Priority", "Status", "Submit Date"], &rows)
    }
}

fn kind_of(kind: &str, periodic: bool, parameterized: bool) -> String {
    match (periodic, parameterized) {
        (true, false) => format!("{kind}/periodic"),
        (false, true) => format!("{kind}/parameterized"),
        (true, true) => format!("{kind}/periodic/parameterized"),
        (false, false) => kind.to_owned(),
    }
}

fn status_of(status: &str, is_stopped: bool) -> String {
    if is_stopped { format!("{status} (stopped)") } else { status.to_owned() }
}

/// Shows the job of that id, or the only one that begins so.
pub fn show(call: &mut Call, wanted: &str) -> Outcome {
    let client = call.client()?;
    let found = resolve::job(&client, wanted, &call.ui.clock)?;
    let client = client.scoped("", &found.namespace);
    let all_allocs = call.flags.is_on("all-allocs");
    if call.wants_data() {
        let data = data_of(&client, &found.id, all_allocs)?;
        return call.print_data(&json!([data]));
    }
    let default = QueryOptions::default();
    let mut view = JobView { job: client.job(&found.id, &default).doing("querying job")?.value, ..JobView::default() };
    if call.flags.is_on("short") {
        call.ui.out(&fields(&view.job, &call.ui.clock));
        return Ok(0);
    }
    view.summary = Some(client.job_summary(&found.id, &default).doing("querying job summary")?.value);
    let is_parent = view.job.periodic.is_some() || (view.job.parameterized_job.is_some() && !view.job.dispatched);
    if is_parent {
        let prefix = QueryOptions::prefix(format!("{}/", found.id));
        view.children = client.jobs(&prefix).doing("querying child jobs")?.value;
        view.children.retain(|child| child.parent_id == found.id);
    } else {
        view.allocs = client.job_allocs(&found.id, all_allocs, &default).doing("querying job allocations")?.value;
        view.evals = client.job_evals(&found.id, &default).doing("querying job evaluations")?.value;
        view.deployment = client.job_deployment(&found.id, &default).doing("querying latest job deployment")?.value;
    }
    let shown = Shown { verbose: call.verbose(), evals: call.flags.is_on("evals") };
    print(call.ui, &view, shown);
    Ok(0)
}

fn data_of(client: &Client, job_id: &str, all_allocs: bool) -> Result<Value, Failure> {
    let default = QueryOptions::default();
    Ok(json!({
        "Summary": client.job_summary(job_id, &default).doing("querying job summary")?.raw,
        "Allocations": client.job_allocs(job_id, all_allocs, &default).doing("querying job allocations")?.raw,
        "LatestDeployment": client.job_deployment(job_id, &default).doing("querying latest job deployment")?.raw,
        "Evaluations": client.job_evals(job_id, &default).doing("querying job evaluations")?.raw,
    }))
}

/// Prints a job.
pub fn print(ui: &mut Ui, view: &JobView, shown: Shown) {
    let clock = ui.clock.clone();
    ui.out(&fields(&view.job, &clock));
    let is_parameterized = view.job.parameterized_job.is_some() && !view.job.dispatched;
    let is_parent = view.job.periodic.is_some() || is_parameterized;
    if let Some(parameters) = view.job.parameterized_job.as_ref().filter(|_| is_parameterized) {
        let mut fields = Fields::new();
        let payload = if parameters.payload.is_empty() { "optional" } else { &parameters.payload };
        fields.add("Payload", payload);
        fields.add("Required Metadata", parameters.meta_required.join(", "));
        fields.add("Optional Metadata", parameters.meta_optional.join(", "));
        ui.section("Parameterized Job", &fields.text());
    }
    if let Some(summary) = &view.summary {
        let children = summary.children.clone().filter(|_| is_parent);
        match children {
            Some(children) => {
                let title = if is_parameterized { "Parameterized Job Summary" } else { "Children Job Summary" };
                let row = [children.pending, children.running, children.dead].map(|count| count.to_string()).to_vec();
                ui.section(title, &table(&["Pending", "Running", "Dead"], &[row]));
            }
            None => ui.section("Summary", &summary_table(summary)),
        }
    }
    if is_parent {
        let (title, none) = if is_parameterized {
            ("Dispatched Jobs", "No dispatched instances of parameterized job found")
        } else {
            ("Previously Launched Jobs", "No instances of periodic job found")
        };
        let rows: Vec<Vec<String>> =
            view.children.iter().map(|child| vec![child.id.clone(), child.status.clone()]).collect();
        if rows.is_empty() {
            ui.out(&format!("\n{none}"));
        } else {
            ui.section(title, &table(&["ID", "Status"], &rows));
        }
        return;
    }
    if shown.verbose || shown.evals {
        ui.section("Evaluations", &eval_table::of_job(&view.evals, shown.verbose));
    }
    if let Some(failed) = latest_failure(&view.evals) {
        let groups = failed.failed_group_allocs.iter().map(|(group, metric)| {
            let mut lines = vec![format!("Task Group {}:", quote(group))];
            lines.extend(placement::reasons(metric, "  "));
            lines.join("\n")
        });
        ui.section("Placement Failure", &groups.collect::<Vec<_>>().join("\n\n"));
    }
    if let Some(latest) = &view.deployment {
        let bold = |title: &str| ui.bold(title);
        let text = deployment::latest(latest, shown.verbose, &clock, bold);
        ui.section("Latest Deployment", &text);
    }
    let reschedules = future_reschedules(view, shown.verbose, &clock);
    if !reschedules.is_empty() {
        ui.section("Future Rescheduling Attempts", &table(&["Task Group", "Eval ID", "Eval Time"], &reschedules));
    }
    ui.section("Allocations", &alloc_table::allocs(&view.allocs, shown.verbose, &clock));
}

/// The fields at the top.
pub fn fields(job: &Job, clock: &Clock) -> String {
    let mut fields = Fields::new();
    fields
        .add("ID", job.id.as_str())
        .add("Name", job.name.as_str())
        .add("Submit Date", clock.absolute(job.submit_time))
        .add("Type", job.kind.as_str())
        .add("Priority", job.priority.to_string())
        .add("Datacenters", job.datacenters.join(","))
        .add("Namespace", job.namespace.as_str())
        .add("Node Pool", job.node_pool.as_str())
        .add("Status", status_of(&job.status, job.stop))
        .add("Periodic", job.periodic.is_some().to_string())
        .add("Parameterized", (job.parameterized_job.is_some() && !job.dispatched).to_string());
    if !job.dispatch_idempotency_token.is_empty() {
        fields.add("Idempotency Token", job.dispatch_idempotency_token.as_str());
    }
    if let (Some(periodic), None) = (&job.periodic, &job.parameterized_job) {
        if job.stop {
            fields.add("Next Periodic Launch", "none (job stopped)");
        } else if let Some(next) = periodic::next_launch(periodic, clock) {
            fields.add("Next Periodic Launch", next);
        }
    }
    fields.text()
}

/// Where the allocs of each group are.
pub fn summary_table(summary: &JobSummary) -> String {
    let rows: Vec<Vec<String>> = summary
        .summary
        .iter()
        .map(|(group, counts)| {
            let counts = [
                counts.queued,
                counts.starting,
                counts.running,
                counts.failed,
                counts.complete,
                counts.lost,
                counts.unknown,
            ];
            std::iter::once(group.clone()).chain(counts.map(|count| count.to_string())).collect()
        })
        .collect();
    table(&["Task Group", "Queued", "Starting", "Running", "Failed", "Complete", "Lost", "Unknown"], &rows)
}

/// The newest eval that could not place everything, while one waits for room.
fn latest_failure(evals: &[Eval]) -> Option<&Eval> {
    let is_blocked = evals.iter().any(|eval| eval.status == "blocked");
    let failed = evals.iter().filter(|eval| !eval.failed_group_allocs.is_empty());
    failed.max_by_key(|eval| eval.create_index).filter(|_| is_blocked)
}

/// Per group, the next time that one of its allocs is placed again.
fn future_reschedules(view: &JobView, verbose: bool, clock: &Clock) -> Vec<Vec<String>> {
    let mut next: std::collections::BTreeMap<&str, (i64, &str)> = std::collections::BTreeMap::new();
    for alloc in
        view.allocs.iter().filter(|alloc| !alloc.followup_eval_id.is_empty() && alloc.next_allocation.is_empty())
    {
        let Some(eval) = view.evals.iter().find(|eval| eval.id == alloc.followup_eval_id) else { continue };
        let Some(at) = parse_nanos(&eval.wait_until).filter(|at| *at > clock.now_nanos()) else { continue };
        let entry = next.entry(&alloc.task_group).or_insert((at, &eval.id));
        if at < entry.0 {
            *entry = (at, &eval.id);
        }
    }
    let row =
        |(group, (at, eval_id)): (&str, (i64, &str))| vec![group.to_owned(), id(eval_id, verbose), clock.relative(at)];
    next.into_iter().map(row).collect()
}
