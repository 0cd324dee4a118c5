//! `drover node status`

use drover_api_client::allocs::AllocStub;
use drover_api_client::nodes::NodeStub;
use drover_api_client::{Client, QueryOptions};

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::commands::{node_detail, resolve};
use crate::flags::{number, switch, text};
use crate::grammar::Command;
use crate::output::table::table;
use crate::output::text::id;

/// The command.
pub const COMMAND: Command = Command {
    path: "node status",
    old_spellings: &["node-status"],
    summary: "Show a node, or list all of them",
    arguments: "[<node>]",
    about: "Shows a node by its id or the beginning of it; without an argument, lists all nodes.",
    flags: &[
        switch("allocs", "In the list, how many allocations run on each node."),
        text("filter", "expression", "In the list, only what the expression admits."),
        switch("json", "JSON."),
        switch("os", "In the list, the name of the operating system."),
        text("page-token", "token", "Begin the list with this page; the page before names it."),
        number("per-page", "So many per page of the list. Default: all"),
        switch("quiet", "Only the full ids."),
        switch("self", "The node of the agent that is asked."),
        switch("short", "Of one node, less: no events and no resources."),
        switch("stats", "Of one node, what its machine uses, in detail."),
        text("t", "template", "The answer through a Go template."),
        switch("verbose", "Full ids and absolute times, and more of one node."),
    ],
    run,
    ..Command::BASE
};

/// The columns that are not always there.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Full ids, address and version.
    pub verbose: bool,
    /// The operating system.
    pub os: bool,
    /// Running allocs, in the order of the nodes.
    pub running_allocs: Option<Vec<usize>>,
}

fn run(call: &mut Call) -> Outcome {
    call.check_data_flags()?;
    let client = call.client()?;
    if call.flags.is_on("self") {
        let this = client.agent_self().doing("querying agent info")?.value;
        let Some(node_id) = this.stats.get("client").and_then(|client| client.get("node_id")) else {
            return fail("Drover not running in client mode");
        };
        return node_detail::show(call, &client, &node_id.clone());
    }
    match call.flags.args.as_slice() {
        [] => list_all(call, &client),
        [wanted] => {
            let wanted = wanted.clone();
            show(call, &wanted)
        }
        _ => Err(Failure::Usage("This command takes either no arguments or one: <node>".to_owned())),
    }
}

/// Shows the node whose id begins so.
pub fn show(call: &mut Call, wanted: &str) -> Outcome {
    let client = call.client()?;
    let found = resolve::node(&client, wanted)?;
    node_detail::show(call, &client, &found.id)
}

fn list_all(call: &mut Call, client: &Client) -> Outcome {
    let mut options = QueryOptions {
        filter: call.flags.text("filter").to_owned(),
        per_page: call.flags.number("per-page").and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
        next_token: call.flags.text("page-token").to_owned(),
        ..QueryOptions::default()
    };
    let wants_os = call.flags.is_on("os");
    if wants_os {
        options = options.with("os", "true");
    }
    let answer = client.nodes(&options).doing("querying node status")?;
    if call.wants_data() {
        return call.print_data(&answer.raw);
    }
    let nodes = answer.value;
    if nodes.is_empty() {
        call.ui.out("No nodes registered");
        return Ok(0);
    }
    if call.flags.is_on("quiet") {
        let ids: Vec<&str> = nodes.iter().map(|node| node.id.as_str()).collect();
        call.ui.out(&ids.join("\n"));
        return Ok(0);
    }
    let mut columns = Columns { verbose: call.verbose(), os: wants_os, running_allocs: None };
    if call.flags.is_on("allocs") {
        let mut counts = Vec::with_capacity(nodes.len());
        for node in &nodes {
            let allocs = client.node_allocs(&node.id, &QueryOptions::default()).doing("querying node allocations")?;
            counts.push(running(&allocs.value).count());
        }
        columns.running_allocs = Some(counts);
    }
    call.ui.out(&list(&nodes, &columns));
    if !answer.meta.next_token.is_empty() {
        call.ui.out(&format!(
            "\nResults have been paginated. To get the next page run:\n\n\
             drover node status -per-page {} -page-token {}",
            options.per_page, answer.meta.next_token
        ));
    }
    Ok(0)
}

/// The allocs of a list that run.
pub fn running(allocs: &[AllocStub]) -> impl Iterator<Item = &AllocStub> {
    allocs.iter().filter(|alloc| alloc.client_status == "running")
}

/// The table, in the order of the answer.
pub fn list(nodes: &[NodeStub], columns: &Columns) -> String {
    let mut head = vec!["ID", "Node Pool", "DC", "Name", "Class"];
    if columns.os {
        head.push("OS");
    }
    if columns.verbose {
        head.extend(["Address", "Version"]);
    }
    head.extend(["Drain", "Eligibility", "Status"]);
    if columns.running_allocs.is_some() {
        head.push("Running Allocs");
    }
    let rows: Vec<Vec<String>> = nodes
        .iter()
        .enumerate()
        .map(|(position, node)| {
            let mut row = vec![
                id(&node.id, columns.verbose),
                node.node_pool.clone(),
                node.datacenter.clone(),
                node.name.clone(),
                node.node_class.clone(),
            ];
            if columns.os {
                row.push(node.attributes.get("os.name").cloned().unwrap_or_default());
            }
            if columns.verbose {
                row.extend([node.address.clone(), node.version.clone()]);
            }
            row.extend([node.drain.to_string(), node.scheduling_eligibility.clone(), node.status.clone()]);
            if let Some(counts) = &columns.running_allocs {
                row.push(counts.get(position).copied().unwrap_or(0).to_string());
            }
            row
        })
        .collect();
    table(&head, &rows)
}
