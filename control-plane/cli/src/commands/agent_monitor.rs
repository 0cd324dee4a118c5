//! `drover monitor`

use drover_api_client::QueryOptions;
use drover_api_client::logs::Frames;

use crate::call::{Call, Failure, Outcome, fail};
use crate::flags::{switch, text};
use crate::grammar::Command;

/// The log of an agent.
pub const COMMAND: Command = Command {
    path: "monitor",
    summary: "Show the log of an agent as it is written",
    about: "Shows what the agent that is asked logs from now on, until interrupted, also what is too little for its own log.",
    flags: &[
        switch("json", "Lines of JSON."),
        switch("log-include-location", "Taken, and without effect: every line names the part that says it."),
        text("log-level", "level", "At least as grave as this: trace, debug, info, warn, error. Default: info"),
        text("node-id", "node", "The log of the agent of this client; of the one that is asked only."),
        text("server-id", "server", "The log of this server, by its id or name, or of the leader."),
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    call.no_args()?;
    let node = call.flags.text("node-id");
    if node.len() == 1 {
        return fail("Node ID must contain at least two characters.");
    }
    let level = Some(call.flags.text("log-level")).filter(|level| !level.is_empty()).unwrap_or("INFO");
    let mut options = QueryOptions::default()
        .with("log_level", level.to_uppercase())
        .with("log_json", call.flags.is_on("json").to_string());
    for (name, value) in [("node_id", node), ("server_id", call.flags.text("server-id"))] {
        if !value.is_empty() {
            options = options.with(name, value);
        }
    }
    let starting = |error| Failure::Usage(format!("Error starting monitor: {error}"));
    let answer = call.client()?.stream("/v1/agent/monitor", &options).map_err(starting)?;
    for frame in Frames::new(answer) {
        let frame = frame.map_err(|error| Failure::Error(format!("Error reading the log: {error}")))?;
        // Nobody reads any more.
        if !frame.data.is_empty() && !call.ui.write(&frame.data) {
            break;
        }
    }
    Ok(0)
}
