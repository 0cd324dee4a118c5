//! `drover node eligibility`

use drover_api_client::QueryOptions;
use serde_json::{Value, json};

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::commands::resolve;
use crate::flags::switch;
use crate::grammar::Command;
use crate::output::text::quote;

/// Opening and closing a node for placements.
pub const COMMAND: Command = Command {
    path: "node eligibility",
    summary: "Open or close a node for new allocations",
    arguments: "<node>",
    about: "A closed node gets no new allocations; those that it has stay.",
    flags: &[
        switch("enable", "Open it."),
        switch("disable", "Close it."),
        switch("self", "The node of the agent that is asked."),
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    let (opens, closes) = (call.flags.is_on("enable"), call.flags.is_on("disable"));
    if opens == closes {
        return Err(Failure::Usage("Either the '-enable' or '-disable' flag must be set".to_owned()));
    }
    let is_self = call.flags.is_on("self");
    if !is_self && call.flags.args.len() != 1 {
        return Err(Failure::Usage("Node ID must be specified if -self isn't being used".to_owned()));
    }
    let client = call.client()?;
    let id = if is_self {
        let own = client.read::<Value>("/v1/agent/self", &QueryOptions::default());
        let own = own.doing("querying node info")?.value;
        match own["stats"]["client"]["node_id"].as_str() {
            Some(id) => id.to_owned(),
            None => return fail("Drover not running in client mode"),
        }
    } else {
        resolve::node(&client, call.arg(0))?.id
    };
    let word = if opens { "eligible" } else { "ineligible" };
    let body = json!({ "Eligibility": word, "NodeID": id });
    let written = client.write::<Value>(&format!("/v1/node/{id}/eligibility"), &body, &QueryOptions::default());
    written.doing("updating scheduling eligibility")?;
    call.ui.out(&format!("Node {} scheduling eligibility set: {word} for scheduling", quote(&id)));
    Ok(0)
}
