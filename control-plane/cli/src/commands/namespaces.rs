//! `drover namespace list|status|inspect|delete`

use drover_api_client::namespaces::Namespace;
use drover_api_client::{Answer, Client, QueryOptions};
use serde_json::Value;

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::table::{Fields, table};
use crate::output::text::quote;
use crate::output::{json, template};

/// All of them.
pub const LIST: Command = Command {
    path: "namespace list",
    summary: "List namespaces",
    flags: &[switch("json", "JSON."), text("t", "template", "The answer through a Go template.")],
    run: list,
    ..Command::BASE
};

/// One.
pub const STATUS: Command = Command {
    path: "namespace status",
    summary: "Show a namespace",
    arguments: "<namespace>",
    flags: &[switch("json", "JSON."), text("t", "template", "The answer through a Go template.")],
    run: status,
    ..Command::BASE
};

/// One, as the API gives it.
pub const INSPECT: Command = Command {
    path: "namespace inspect",
    summary: "Show a namespace as the API gives it",
    arguments: "<namespace>",
    flags: &[text("t", "template", "The answer through a Go template.")],
    run: inspect,
    ..Command::BASE
};

/// Forgets one.
pub const DELETE: Command = Command {
    path: "namespace delete",
    summary: "Delete a namespace",
    arguments: "<namespace>",
    about: "Deletes a namespace in which no job is alive.",
    run: delete,
    ..Command::BASE
};

fn list(call: &mut Call) -> Outcome {
    call.no_args()?;
    call.check_data_flags()?;
    let answer = call.client()?.namespaces(&QueryOptions::default()).doing("retrieving namespaces")?;
    if call.wants_data() {
        return call.print_data(&answer.raw);
    }
    call.ui.out(&table_of(answer.value));
    Ok(0)
}

/// The table, by name.
fn table_of(mut namespaces: Vec<Namespace>) -> String {
    if namespaces.is_empty() {
        return "No namespaces found".to_owned();
    }
    namespaces.sort_by(|a, b| a.name.cmp(&b.name));
    let rows: Vec<Vec<String>> =
        namespaces.into_iter().map(|namespace| vec![namespace.name, namespace.description]).collect();
    table(&["Name", "Description"], &rows)
}

/// The namespace of that name, or the only one that begins so: typed and as it came.
fn find(client: &Client, name: &str) -> Result<(Namespace, Value), Failure> {
    let Answer { value, raw, .. } = client.namespaces(&QueryOptions::prefix(name)).doing("retrieving namespaces")?;
    let place = match value.as_slice() {
        [] => return fail(format!("Error retrieving namespaces: Namespace {} matched no namespaces", quote(name))),
        [_] => Some(0),
        several => several.iter().position(|namespace| namespace.name == name),
    };
    match place.and_then(|place| Some((value.get(place)?.clone(), raw.get(place)?.clone()))) {
        Some(found) => Ok(found),
        None => fail(format!("Prefix matched multiple namespaces\n\n{}", table_of(value))),
    }
}

fn status(call: &mut Call) -> Outcome {
    let wanted = call.only_arg("<namespace>")?;
    show(call, &wanted)
}

/// Shows the namespace that begins so.
pub fn show(call: &mut Call, wanted: &str) -> Outcome {
    call.check_data_flags()?;
    let (namespace, raw) = find(&call.client()?, wanted)?;
    if call.wants_data() {
        return call.print_data(&raw);
    }
    let listed = |names: &[String], none: &str| if names.is_empty() { none.to_owned() } else { names.join(",") };
    let capabilities = &namespace.capabilities;
    let mut fields = Fields::new();
    fields
        .add("Name", &namespace.name)
        .add("Description", &namespace.description)
        .add("Quota", &namespace.quota)
        .add("Enabled Drivers", listed(&capabilities.enabled_task_drivers, "*"))
        .add("Disabled Drivers", listed(&capabilities.disabled_task_drivers, ""))
        .add("Enabled Network Modes", listed(&capabilities.enabled_network_modes, "*"))
        .add("Disabled Network Modes", listed(&capabilities.disabled_network_modes, ""));
    call.ui.out(&fields.text());
    if !namespace.meta.is_empty() {
        let mut meta = Fields::new();
        for (name, text) in &namespace.meta {
            meta.add(name, text);
        }
        call.ui.section("Metadata", &meta.text());
    }
    Ok(0)
}

fn inspect(call: &mut Call) -> Outcome {
    let wanted = call.only_arg("<namespace>")?;
    let (_, raw) = find(&call.client()?, &wanted)?;
    let text = match call.flags.text("t") {
        "" => json::pretty(&raw),
        wanted => match template::render(wanted, &raw) {
            Ok(text) => text,
            Err(problem) => return fail(format!("Error formatting the data: {problem}")),
        },
    };
    call.ui.out(&text);
    Ok(0)
}

fn delete(call: &mut Call) -> Outcome {
    let name = call.only_arg("<namespace>")?;
    call.client()?.delete_namespace(&name).doing("deleting namespace")?;
    call.ui.out(&format!("Successfully deleted namespace {}!", quote(&name)));
    Ok(0)
}
