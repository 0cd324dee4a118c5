//! `drover server members`

use std::collections::BTreeMap;

use drover_api_client::agent::Member;

use crate::call::{Call, Doing, Outcome};
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::table::table;

/// The command.
pub const COMMAND: Command = Command {
    path: "server members",
    old_spellings: &["server-members"],
    summary: "Show the servers and who leads",
    flags: &[
        switch("verbose", "Protocol and tags, too."),
        switch("detailed", "The same as -verbose."),
        switch("json", "JSON."),
        text("t", "template", "The answer through a Go template."),
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    call.no_args()?;
    call.check_data_flags()?;
    let client = call.client()?;
    let answer = client.members().doing("querying servers")?;
    if call.wants_data() {
        return call.print_data(&answer.raw["Members"]);
    }
    let members = answer.value.members;
    if members.is_empty() {
        call.ui.out("Agent doesn't know about server members");
        return Ok(0);
    }
    let mut leaders = BTreeMap::new();
    for member in &members {
        let region = member.tags.get("region").cloned().unwrap_or_default();
        // A region that cannot say who leads has no leader to show.
        leaders
            .entry(region.clone())
            .or_insert_with(|| client.leader(&region).map(|answer| answer.value).unwrap_or_default());
    }
    let verbose = call.verbose() || call.flags.is_on("detailed");
    call.ui.out(&text_of(members, &leaders, verbose));
    Ok(0)
}

/// The table; `leaders` holds each region's leader by its RPC address.
pub fn text_of(mut members: Vec<Member>, leaders: &BTreeMap<String, String>, verbose: bool) -> String {
    members.sort_by(|a, b| a.name.cmp(&b.name));
    let rows: Vec<Vec<String>> = members
        .iter()
        .map(|member| {
            let tag = |name: &str| member.tags.get(name).cloned().unwrap_or_default();
            let rpc_host = member.tags.get("rpc_addr").unwrap_or(&member.addr);
            let rpc_host = if rpc_host.contains(':') { format!("[{rpc_host}]") } else { rpc_host.clone() };
            let rpc = format!("{rpc_host}:{}", tag("port"));
            let leads = leaders.get(&tag("region")).is_some_and(|leader| *leader == rpc);
            let mut row = vec![
                member.name.clone(),
                member.addr.clone(),
                member.port.to_string(),
                member.status.clone(),
                leads.to_string(),
            ];
            if verbose {
                row.push(member.protocol_cur.to_string());
            }
            row.extend([tag("raft_vsn"), tag("build"), tag("dc"), tag("region")]);
            if verbose {
                let tags: Vec<String> = member.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
                row.push(tags.join(","));
            }
            row
        })
        .collect();
    if verbose {
        table(
            &[
                "Name",
                "Address",
                "Port",
                "Status",
                "Leader",
                "Protocol",
                "Raft Version",
                "Build",
                "Datacenter",
                "Region",
                "Tags",
            ],
            &rows,
        )
    } else {
        table(&["Name", "Address", "Port", "Status", "Leader", "Raft Version", "Build", "Datacenter", "Region"], &rows)
    }
}
