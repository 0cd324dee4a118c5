//! `drover status`: whatever begins so.

use drover_api_client::{Client, QueryOptions};

use crate::call::{Call, Failure, Outcome, fail};
use crate::commands::{alloc_status, deployment_status, eval_status, job_status, namespaces, node_status, resolve};
use crate::flags::switch;
use crate::grammar::Command;
use crate::output::text::quote;

/// The command.
pub const COMMAND: Command = Command {
    path: "status",
    summary: "Show whatever has this id, or list all jobs",
    arguments: "[<id>]",
    about: "Shows the job, allocation, node, evaluation, deployment or namespace whose id begins so; without an \
            argument, lists all jobs.",
    flags: &[switch("verbose", "Full ids and absolute times.")],
    run,
    ..Command::BASE
};

/// What an id may belong to, with the title of its list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Job,
    Alloc,
    Deployment,
    Eval,
    Namespace,
    Node,
}

const KINDS: [(Kind, &str); 6] = [
    (Kind::Alloc, "Allocs"),
    (Kind::Deployment, "Deployment"),
    (Kind::Eval, "Evals"),
    (Kind::Job, "Jobs"),
    (Kind::Namespace, "Namespaces"),
    (Kind::Node, "Nodes"),
];

fn run(call: &mut Call) -> Outcome {
    let wanted = match call.flags.args.as_slice() {
        [] => return job_status::list_all(call),
        [wanted] => wanted.clone(),
        _ => return Err(Failure::Usage("This command takes either no arguments or one: <id>".to_owned())),
    };
    let client = call.client()?;
    let mut found = Vec::new();
    for (kind, title) in KINDS {
        let ids = ids(&client, kind, &wanted)?;
        if kind == Kind::Job && ids.contains(&wanted) {
            return job_status::show(call, &wanted);
        }
        if !ids.is_empty() {
            found.push((kind, title, ids));
        }
    }
    match found.as_slice() {
        [] => fail(format!("Unable to resolve ID: {}", quote(&wanted))),
        [(kind, _, ids)] if ids.len() == 1 => {
            let id = ids[0].clone();
            match kind {
                Kind::Job => job_status::show(call, &id),
                Kind::Alloc => alloc_status::show(call, &id),
                Kind::Deployment => deployment_status::show(call, &id),
                Kind::Eval => eval_status::show(call, &id),
                Kind::Namespace => namespaces::show(call, &id),
                Kind::Node => node_status::show(call, &id),
            }
        }
        several => {
            let lists = several.iter().map(|(_, title, ids)| format!("\n\n{title}:\n{}", ids.join(", ")));
            fail(format!("Multiple matches found for id {}{}", quote(&wanted), lists.collect::<String>()))
        }
    }
}

/// The full ids of one kind that begin so.
fn ids(client: &Client, kind: Kind, wanted: &str) -> Result<Vec<String>, Failure> {
    let failed = |error: drover_api_client::Error| {
        Failure::Error(format!("Error querying search with id: {}: {error}", quote(wanted)))
    };
    if kind == Kind::Job {
        let jobs = client.jobs(&QueryOptions::prefix(wanted)).map_err(failed)?.value;
        return Ok(jobs.into_iter().map(|job| job.id).collect());
    }
    if kind == Kind::Namespace {
        // An agent that knows nothing of namespaces has none that could be meant.
        let found = client.namespaces(&QueryOptions::prefix(wanted)).map(|answer| answer.value).unwrap_or_default();
        return Ok(found.into_iter().map(|namespace| namespace.name).collect());
    }
    // Only hexadecimal digits can begin an id of the other kinds.
    let is_hex = wanted.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let Some(prefix) = resolve::even(wanted).ok().filter(|_| is_hex) else { return Ok(Vec::new()) };
    let options = QueryOptions::prefix(prefix);
    Ok(match kind {
        Kind::Alloc => client.allocs(&options).map_err(failed)?.value.into_iter().map(|alloc| alloc.id).collect(),
        Kind::Eval => client.evals(&options).map_err(failed)?.value.into_iter().map(|eval| eval.id).collect(),
        Kind::Deployment => {
            client.deployments(&options).map_err(failed)?.value.into_iter().map(|deployment| deployment.id).collect()
        }
        Kind::Node => client.nodes(&options).map_err(failed)?.value.into_iter().map(|node| node.id).collect(),
        Kind::Job | Kind::Namespace => Vec::new(),
    })
}
