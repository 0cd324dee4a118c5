//! `drover server join`, `drover server force-leave`

use drover_api_client::QueryOptions;
use serde_json::Value;

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::flags::switch;
use crate::grammar::Command;

/// Joining servers.
pub const JOIN: Command = Command {
    path: "server join",
    old_spellings: &["server-join"],
    summary: "Join this server with others",
    arguments: "<address>…",
    about: "Lets the server join others by their gossip addresses. One that answers is enough: it tells of all others.",
    run: join,
    ..Command::BASE
};

/// Declaring a server gone.
pub const FORCE_LEAVE: Command = Command {
    path: "server force-leave",
    old_spellings: &["server-force-leave"],
    summary: "Declare a server gone that failed",
    arguments: "<name>",
    about: "Declares a server that failed gone for good. One that lives takes it back.",
    flags: &[switch("prune", "Forget it at once.")],
    run: force_leave,
    ..Command::BASE
};

fn join(call: &mut Call) -> Outcome {
    if call.flags.args.is_empty() {
        return Err(Failure::Usage("One or more node addresses must be given as arguments".to_owned()));
    }
    let client = call.client()?;
    let options =
        call.flags.args.iter().fold(QueryOptions::default(), |options, name| options.with("address", name.clone()));
    let answer = client.write::<Value>("/v1/agent/join", &Value::Null, &options).doing("joining")?.value;
    let error = answer["error"].as_str().unwrap_or_default();
    let joined = answer["num_joined"].as_u64().unwrap_or_default();
    if joined == 0 && !error.is_empty() {
        return fail(format!("Error joining: {error}"));
    }
    call.ui.out(&format!("Joined {joined} servers successfully"));
    Ok(0)
}

fn force_leave(call: &mut Call) -> Outcome {
    let name = call.only_arg("<name>")?;
    let mut options = QueryOptions::default().with("node", name);
    if call.flags.is_on("prune") {
        options = options.with("prune", "true");
    }
    call.client()?.write::<Value>("/v1/agent/force-leave", &Value::Null, &options).doing("force-leaving server")?;
    Ok(0)
}
