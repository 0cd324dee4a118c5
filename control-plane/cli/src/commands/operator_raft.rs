//! `drover operator raft list-peers|remove-peer|transfer-leadership`

use drover_api_client::QueryOptions;
use serde_json::Value;

use crate::call::{Call, Doing, Outcome, fail};
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::table::table;
use crate::output::text::quote;

/// The servers in the log's membership.
pub const LIST_PEERS: Command = Command {
    path: "operator raft list-peers",
    summary: "Show the servers that keep the log, and who votes",
    flags: &[switch("stale", "Any server may answer, also one without a leader.")],
    run: list_peers,
    ..Command::BASE
};

/// Taking a server out.
pub const REMOVE_PEER: Command = Command {
    path: "operator raft remove-peer",
    summary: "Take a server out of the log's membership",
    about: "Takes a server out of the log's membership. A server that lives is not taken in again before it was away.",
    flags: &[text("peer-id", "id", "The id of the server, as list-peers shows it.")],
    run: remove_peer,
    ..Command::BASE
};

/// Handing leadership over.
pub const TRANSFER: Command = Command {
    path: "operator raft transfer-leadership",
    summary: "Let another server lead",
    flags: &[
        text("peer-id", "id", "The id of the server that is to lead."),
        text("peer-address", "address", "The RPC address of the server that is to lead."),
    ],
    run: transfer,
    ..Command::BASE
};

fn list_peers(call: &mut Call) -> Outcome {
    let options = QueryOptions { stale: call.flags.is_on("stale"), ..QueryOptions::default() };
    let answer = call.client()?.read::<Value>("/v1/operator/raft/configuration", &options);
    let answer = answer.doing("querying Raft configuration")?.value;
    let text = |server: &Value, name: &str| server[name].as_str().unwrap_or_default().to_owned();
    let rows: Vec<Vec<String>> = answer["Servers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|server| {
            let state = if server["Leader"] == true { "leader" } else { "follower" };
            vec![
                text(server, "Node"),
                text(server, "ID"),
                text(server, "Address"),
                state.to_owned(),
                (server["Voter"] == true).to_string(),
                text(server, "RaftProtocol"),
            ]
        })
        .collect();
    call.ui.out(&table(&["Node", "ID", "Address", "State", "Voter", "RaftProtocol"], &rows));
    Ok(0)
}

fn remove_peer(call: &mut Call) -> Outcome {
    let id = call.flags.text("peer-id").to_owned();
    if id.is_empty() {
        return fail("Missing peer id required");
    }
    let options = QueryOptions::default().with("id", id.clone());
    call.client()?.delete::<Value>("/v1/operator/raft/peer", &options).doing("removing raft peer")?;
    call.ui.out(&format!("Removed peer with id {}", quote(&id)));
    Ok(0)
}

fn transfer(call: &mut Call) -> Outcome {
    let (id, address) = (call.flags.text("peer-id").to_owned(), call.flags.text("peer-address").to_owned());
    if id.is_empty() && address.is_empty() {
        return fail("Error transferring leadership to peer: an address or id is required for the destination peer");
    }
    if !id.is_empty() && !address.is_empty() {
        return fail("Error transferring leadership to peer: cannot use both address and id");
    }
    let (name, value) = if id.is_empty() { ("address", address) } else { ("id", id) };
    let options = QueryOptions::default().with(name, value.clone());
    call.client()?
        .write::<Value>("/v1/operator/raft/transfer-leadership", &Value::Null, &options)
        .doing("transferring leadership to peer")?;
    call.ui.out(&format!("Transferred leadership to peer with {name} {}", quote(&value)));
    Ok(0)
}
