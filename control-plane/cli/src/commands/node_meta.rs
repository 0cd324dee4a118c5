//! `drover node meta apply` and `drover node meta read`

use std::collections::BTreeMap;

use drover_api_client::{Client, QueryOptions};
use serde_json::{Value, json};

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::commands::{node_status, resolve};
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::table::Fields;
use crate::output::text::quote;

const PATH: &str = "/v1/client/metadata";

/// Setting keys.
pub const APPLY: Command = Command {
    path: "node meta apply",
    summary: "Set metadata of a node, or take it away",
    arguments: "<key>=<value> ...",
    about: "Sets metadata of a node while it runs. It holds for jobs that are placed from now on, and stays when the node's agent \
            starts anew.",
    flags: &[
        text("node-id", "node", "The node, by the beginning of its id. Default: that of the agent that is asked."),
        text("unset", "keys", "Keys to take away, with commas between them."),
    ],
    run: apply,
    ..Command::BASE
};

/// Showing keys.
pub const READ: Command = Command {
    path: "node meta read",
    summary: "Show the metadata of a node",
    about: "Shows the metadata of a node as jobs see it, and where it comes from: set while the node runs, or from its settings.",
    flags: &[
        switch("json", "JSON."),
        text("node-id", "node", "The node, by the beginning of its id. Default: that of the agent that is asked."),
        text("t", "template", "The answer through a Go template."),
    ],
    run: read,
    ..Command::BASE
};

fn apply(call: &mut Call) -> Outcome {
    let mut meta: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    let unset = call.flags.text("unset").split(',').filter(|key| !key.is_empty());
    meta.extend(unset.map(|key| (key, None)));
    let pairs = call.flags.args.iter().map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    meta.extend(pairs.map(|(key, value)| (key, Some(value))));
    if meta.is_empty() {
        return fail("Must specify -unset or at least 1 key=value pair");
    }
    let client = call.client()?;
    let node_id = node_of(call, &client)?;
    let body = json!({ "NodeID": node_id, "Meta": meta });
    client.post::<Value>(PATH, &body, &QueryOptions::default()).doing("applying dynamic node metadata")?;
    Ok(0)
}

fn read(call: &mut Call) -> Outcome {
    call.check_data_flags()?;
    let client = call.client()?;
    let node_id = node_of(call, &client)?;
    let options = QueryOptions::default().with("node_id", &node_id);
    // As it came: a key that was taken away has no value.
    let meta = client.read::<Value>(PATH, &options).doing("reading dynamic node metadata")?.raw;
    if call.wants_data() {
        return call.print_data(&meta);
    }
    for (title, key) in [("All Meta", "Meta"), ("Dynamic Meta", "Dynamic"), ("Static Meta", "Static")] {
        let mut fields = Fields::new();
        for (key, value) in meta[key].as_object().into_iter().flatten() {
            fields.add(key, value.as_str().unwrap_or("<unset>"));
        }
        let before = if key == "Meta" { "" } else { "\n" };
        let title = call.ui.bold(title);
        call.ui.plain(&format!("{before}{title}"));
        call.ui.plain(&fields.text());
    }
    Ok(0)
}

/// The full id of the node that was named; empty when none was.
fn node_of(call: &Call, client: &Client) -> Result<String, Failure> {
    let id = call.flags.text("node-id");
    if id.is_empty() {
        return Ok(String::new());
    }
    let found = client.nodes(&QueryOptions::prefix(resolve::even(id)?)).doing("querying node")?.value;
    match found.as_slice() {
        [] => fail(format!("No node(s) with prefix or id {} found", quote(id))),
        [only] => Ok(only.id.clone()),
        several => {
            let table = node_status::list(several, &node_status::Columns::default());
            fail(format!("Prefix matched multiple nodes\n\n{table}"))
        }
    }
}
