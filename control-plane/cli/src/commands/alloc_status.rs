//! `drover alloc status`

use std::collections::BTreeMap;
use std::time::Duration;

use drover_api_client::QueryOptions;
use drover_api_client::allocs::{Alloc, AllocUsage, Lifecycle, TaskState, Usage};
use drover_model::time::format_duration;

use crate::call::{Call, Doing, Failure, Outcome};
use crate::commands::resolve::{self, Match};
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::placement;
use crate::output::quantity::{bytes, mebibytes, percent};
use crate::output::table::{Fields, table, table_with_blanks};
use crate::output::text::{id, quote};
use crate::output::time::Clock;
use crate::output::ui::Ui;

/// The command.
pub const COMMAND: Command = Command {
    path: "alloc status",
    old_spellings: &["alloc-status"],
    summary: "Show an allocation and its tasks",
    arguments: "<allocation>",
    flags: &[
        switch("json", "JSON."),
        switch("short", "Less: each task with its last event."),
        switch("stats", "What each task uses, in detail."),
        text("t", "template", "The answer through a Go template."),
        switch("verbose", "Full ids, absolute times, and how the nodes scored."),
    ],
    run,
    ..Command::BASE
};

/// Events of a task that are shown.
const EVENTS_MAX: usize = 10;

/// What of an alloc is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// Full ids and more.
    pub verbose: bool,
    /// Tasks in one table.
    pub short: bool,
    /// Usage in detail.
    pub stats: bool,
}

fn run(call: &mut Call) -> Outcome {
    call.check_data_flags()?;
    if call.flags.args.is_empty() && call.wants_data() {
        let answer = call.client()?.allocs(&QueryOptions::default()).doing("querying allocations")?;
        return call.print_data(&answer.raw);
    }
    let [wanted] = call.flags.args.as_slice() else {
        return Err(Failure::Usage(
            "This command takes one of the following argument conditions:\n \
             * A single <allocation>\n \
             * No arguments, with output format specified"
                .to_owned(),
        ));
    };
    let wanted = wanted.clone();
    show(call, &wanted)
}

/// Shows the alloc whose id begins so.
pub fn show(call: &mut Call, wanted: &str) -> Outcome {
    let client = call.client()?;
    let found = match resolve::alloc(&client, wanted, &call.ui.clock)? {
        Match::One(found) => found,
        Match::Several(table) => {
            call.ui.out(&table);
            return Ok(0);
        }
    };
    let answer = client.alloc(&found.id, &QueryOptions::default()).doing("querying allocation")?;
    if call.wants_data() {
        return call.print_data(&answer.raw);
    }
    let alloc = answer.value;
    let shown = Shown { verbose: call.verbose(), short: call.flags.is_on("short"), stats: call.flags.is_on("stats") };
    let mut usage = None;
    if !shown.short {
        match client.alloc_stats(&alloc.id) {
            Ok(answer) => usage = Some(answer.value),
            Err(error) if alloc.client_status == "running" => {
                call.ui.error(&format!("Couldn't retrieve stats: {error}"));
            }
            // What has ended, or has not begun, has nothing to say.
            Err(_) => {}
        }
    }
    print(call.ui, &alloc, usage.as_ref(), shown);
    Ok(0)
}

/// Prints an alloc.
pub fn print(ui: &mut Ui, alloc: &Alloc, usage: Option<&AllocUsage>, shown: Shown) {
    ui.out(&fields(alloc, shown, &ui.clock.clone()));
    if shown.short {
        ui.section("Tasks", &short_tasks(alloc, &ui.clock.clone()));
    } else {
        let ports = addresses(alloc);
        if !ports.is_empty() {
            let mode = alloc.allocated_resources.shared.networks.first().map(|network| network.mode.as_str());
            let title = match mode {
                Some("") | None => "Allocation Addresses:".to_owned(),
                Some(mode) => format!("Allocation Addresses (mode = {}):", quote(mode)),
            };
            ui.section(&title, &ports);
        }
        for (name, state, lifecycle) in tasks(alloc) {
            let kind = lifecycle_words(lifecycle);
            let kind = if kind == "main" { String::new() } else { format!(" ({kind})") };
            let title = format!("Task {}{kind} is {}", quote(name), quote(&state.state));
            let title = ui.bold(&title);
            ui.out(&format!("\n{title}"));
            task(ui, alloc, name, state, usage, shown);
        }
    }
    if shown.verbose {
        let mut body = placement::reasons(&alloc.metrics, "  ");
        body.retain(|line| alloc.metrics.nodes_evaluated > 0 || !line.contains("No nodes were eligible"));
        let scores = placement::scores(&alloc.metrics);
        if !scores.is_empty() {
            body.push(scores);
        }
        ui.section("Placement Metrics", &body.join("\n"));
    }
}

fn fields(alloc: &Alloc, shown: Shown, clock: &Clock) -> String {
    let verbose = shown.verbose;
    let mut fields = Fields::new();
    fields.add("ID", alloc.id.as_str());
    if shown.short {
        fields
            .add("Name", alloc.name.as_str())
            .add("Created", clock.shown(alloc.create_time, verbose))
            .add("Modified", clock.shown(alloc.modify_time, verbose));
        return fields.text();
    }
    fields
        .add("Eval ID", id(&alloc.eval_id, verbose))
        .add("Name", alloc.name.as_str())
        .add("Node ID", id(&alloc.node_id, verbose))
        .add("Node Name", alloc.node_name.as_str())
        .add("Job ID", alloc.job_id.as_str())
        .add("Job Version", alloc.job.version.to_string())
        .add("Client Status", alloc.client_status.as_str())
        .add("Client Description", alloc.client_description.as_str())
        .add("Desired Status", alloc.desired_status.as_str())
        .add("Desired Description", alloc.desired_description.as_str())
        .add("Created", clock.shown(alloc.create_time, verbose))
        .add("Modified", clock.shown(alloc.modify_time, verbose));
    if !alloc.deployment_id.is_empty() {
        fields.add("Deployment ID", id(&alloc.deployment_id, verbose));
        let health = match alloc.deployment_status.as_ref().and_then(|status| status.healthy) {
            Some(true) => "healthy",
            Some(false) => "unhealthy",
            None => "unset",
        };
        fields.add("Deployment Health", health);
        if alloc.deployment_status.as_ref().is_some_and(|status| status.canary) {
            fields.add("Canary", "true");
        }
    }
    if !alloc.next_allocation.is_empty() {
        fields.add("Replacement Alloc ID", id(&alloc.next_allocation, verbose));
    }
    if let Some(attempts) = reschedule_attempts(alloc) {
        fields.add("Reschedule Attempts", attempts);
    }
    if shown.verbose {
        let metrics = &alloc.metrics;
        fields
            .add("Evaluated Nodes", metrics.nodes_evaluated.to_string())
            .add("Filtered Nodes", metrics.nodes_filtered.to_string())
            .add("Exhausted Nodes", metrics.nodes_exhausted.to_string())
            .add(
                "Allocation Time",
                format_duration(Duration::from_nanos(u64::try_from(metrics.allocation_time).unwrap_or(0))),
            )
            .add("Failures", metrics.coalesced_failures.to_string());
    }
    fields.text()
}

/// `1/3` where the group allows a number of attempts and some were made.
fn reschedule_attempts(alloc: &Alloc) -> Option<String> {
    let made = alloc.reschedule_tracker.as_ref().map_or(0, |tracker| tracker.events.len());
    let group = alloc.job.task_groups.iter().find(|group| group.name == alloc.task_group)?;
    let policy = group.reschedule_policy.as_ref().filter(|policy| policy.attempts > 0 && !policy.unlimited)?;
    (made > 0).then(|| format!("{made}/{}", policy.attempts))
}

fn addresses(alloc: &Alloc) -> String {
    let shared = &alloc.allocated_resources.shared;
    let is_dynamic = |label: &str| {
        shared.networks.iter().any(|network| network.dynamic_ports.iter().any(|port| port.label == label))
    };
    let rows: Vec<Vec<String>> = shared
        .ports
        .iter()
        .map(|port| {
            let host = if port.host_ip.contains(':') { format!("[{}]", port.host_ip) } else { port.host_ip.clone() };
            let mut address = format!("{host}:{}", port.value);
            if port.to > 0 {
                address.push_str(&format!(" -> {}", port.to));
            }
            let dynamic = if is_dynamic(&port.label) { "yes" } else { "" };
            vec![format!("*{}", port.label), dynamic.to_owned(), address]
        })
        .collect();
    if rows.is_empty() { String::new() } else { table_with_blanks(&["Label", "Dynamic", "Address"], &rows) }
}

/// Those with a lifecycle first, sidecars after the others, main tasks last; by name within.
fn tasks(alloc: &Alloc) -> Vec<(&String, &TaskState, Option<&Lifecycle>)> {
    let lifecycles: &BTreeMap<String, Lifecycle> = &alloc.allocated_resources.task_lifecycles;
    let mut tasks: Vec<_> = alloc
        .task_states
        .iter()
        .map(|(name, state)| (name, state, lifecycles.get(name).filter(|lifecycle| !lifecycle.hook.is_empty())))
        .collect();
    tasks.sort_by_key(|(name, _, lifecycle)| {
        let place = match lifecycle {
            Some(lifecycle) if !lifecycle.sidecar => 0,
            Some(_) => 1,
            None => 2,
        };
        (place, lifecycle_order(*lifecycle), *name)
    });
    tasks
}

fn lifecycle_order(lifecycle: Option<&Lifecycle>) -> u8 {
    match lifecycle.map(|lifecycle| lifecycle.hook.as_str()) {
        Some("prestart") => 0,
        Some("poststart") => 1,
        _ => 2,
    }
}

fn lifecycle_words(lifecycle: Option<&Lifecycle>) -> String {
    match lifecycle {
        None => "main".to_owned(),
        Some(lifecycle) if lifecycle.sidecar => format!("{} sidecar", lifecycle.hook),
        Some(lifecycle) => lifecycle.hook.clone(),
    }
}

fn short_tasks(alloc: &Alloc, clock: &Clock) -> String {
    let rows: Vec<Vec<String>> = tasks(alloc)
        .into_iter()
        .map(|(name, state, lifecycle)| {
            let (kind, time) = match state.events.last() {
                Some(event) => (event.kind.clone(), clock.absolute(event.time)),
                None => (String::new(), String::new()),
            };
            vec![name.clone(), state.state.clone(), kind, time, lifecycle_words(lifecycle)]
        })
        .collect();
    table(&["Name", "State", "Last Event", "Time", "Lifecycle"], &rows)
}

fn task(ui: &mut Ui, alloc: &Alloc, name: &str, state: &TaskState, usage: Option<&AllocUsage>, shown: Shown) {
    let usage = usage.and_then(|usage| usage.tasks.get(name)).map(|usage| &usage.resource_usage);
    ui.out(&format!("Task Resources:\n{}", resources(alloc, name, usage)));
    if shown.stats
        && let Some(usage) = usage
    {
        detailed_usage(ui, usage);
    }
    let clock = ui.clock.clone();
    let or_not = |text: &str| {
        let time = clock.absolute_text(text);
        if time.is_empty() { "N/A".to_owned() } else { time }
    };
    let mut fields = Fields::new();
    fields
        .add("Started At", or_not(&state.started_at))
        .add("Finished At", or_not(&state.finished_at))
        .add("Total Restarts", state.restarts.to_string())
        .add("Last Restart", or_not(&state.last_restart));
    ui.out(&format!("\nTask Events:\n{}", fields.text()));
    let rows: Vec<Vec<String>> = state
        .events
        .iter()
        .rev()
        .take(EVENTS_MAX)
        .map(|event| {
            let message = if event.display_message.is_empty() { &event.message } else { &event.display_message };
            vec![clock.absolute(event.time), event.kind.clone(), message.clone()]
        })
        .collect();
    ui.out(&format!("\nRecent Events:\n{}", table(&["Time", "Type", "Description"], &rows)));
}

fn resources(alloc: &Alloc, name: &str, usage: Option<&Usage>) -> String {
    let all = &alloc.allocated_resources;
    let task = all.tasks.get(name).cloned().unwrap_or_default();
    let mut cpu = format!("{} MHz", task.cpu.cpu_shares);
    let mut memory = mebibytes(task.memory.memory_mib);
    if let Some(usage) = usage {
        let measured =
            usage.memory_stats.rss.max(if usage.memory_stats.rss == 0 { usage.memory_stats.usage } else { 0 });
        cpu = format!("{}/{cpu}", usage.cpu_stats.total_ticks as i64);
        memory = format!("{}/{memory}", bytes(measured));
    }
    if task.memory.memory_max_mib > task.memory.memory_mib {
        memory.push_str(&format!(" Max: {}", mebibytes(task.memory.memory_max_mib)));
    }
    let addresses = task.networks.iter().flat_map(|network| {
        let ports = network.dynamic_ports.iter().chain(&network.reserved_ports);
        ports.map(|port| format!("{}: {}:{}", port.label, network.ip, port.value))
    });
    let addresses: Vec<String> = addresses.collect();
    let mut rows =
        vec![vec![cpu, memory, mebibytes(all.shared.disk_mib), addresses.first().cloned().unwrap_or_default()]];
    rows.extend(
        addresses.iter().skip(1).map(|address| vec![String::new(), String::new(), String::new(), address.clone()]),
    );
    table_with_blanks(&["CPU", "Memory", "Disk", "Addresses"], &rows)
}

/// The measured ones of each kind, in columns.
fn detailed_usage(ui: &mut Ui, usage: &Usage) {
    let memory = &usage.memory_stats;
    let columns = memory.measured.iter().filter_map(|name| {
        let count = match name.as_str() {
            "RSS" => memory.rss,
            "Cache" => memory.cache,
            "Swap" => memory.swap,
            "Usage" => memory.usage,
            "Max Usage" => memory.max_usage,
            "Kernel Usage" => memory.kernel_usage,
            "Kernel Max Usage" => memory.kernel_max_usage,
            _ => return None,
        };
        Some((name.as_str(), bytes(count)))
    });
    measured(ui, "Memory Stats", columns.collect());
    let cpu = &usage.cpu_stats;
    let columns = cpu.measured.iter().filter_map(|name| {
        let text = match name.as_str() {
            "Percent" => percent(cpu.percent),
            "System Mode" => percent(cpu.system_mode),
            "User Mode" => percent(cpu.user_mode),
            "Throttled Periods" => cpu.throttled_periods.to_string(),
            "Throttled Time" => cpu.throttled_time.to_string(),
            _ => return None,
        };
        Some((name.as_str(), text))
    });
    measured(ui, "CPU Stats", columns.collect());
}

fn measured(ui: &mut Ui, title: &str, mut columns: Vec<(&str, String)>) {
    if columns.is_empty() {
        return;
    }
    columns.sort();
    let (head, row): (Vec<&str>, Vec<String>) = columns.into_iter().unzip();
    ui.out(&format!("\n{title}\n{}", table(&head, &[row])));
}
