//! Search by prefix: the ids of every kind that begin with a text.

use std::collections::{BTreeMap, BTreeSet};

use drover_server::{Reading, Watch};
use drover_state::Table;
use serde_json::json;

use crate::blocking::{Seen, read};
use crate::call::Call;
use crate::ids::Prefix;
use crate::problem::Problem;
use crate::reply::Reply;
use crate::scaling_policies;

/// The most ids shown per kind.
const MATCHES_MAX: usize = 20;

/// The kinds, as the API lists them. Of those without a table there is nothing yet.
const KINDS: [(&str, Option<Table>); 12] = [
    ("allocs", Some(Table::Allocs)),
    ("jobs", Some(Table::Jobs)),
    ("nodes", Some(Table::Nodes)),
    ("node_pools", Some(Table::Nodes)),
    ("evals", Some(Table::Evals)),
    ("deployment", Some(Table::Deployments)),
    ("plugins", None),
    ("volumes", None),
    ("scaling_policy", Some(Table::Jobs)),
    ("vars", None),
    ("namespaces", Some(Table::Namespaces)),
    ("host_volumes", None),
];

pub(crate) async fn prefix(mut call: Call) -> Result<Reply, Problem> {
    let fields = call.take_fields().await?;
    let prefix = fields.text("Prefix")?.to_owned();
    let kind = fields.text("Context")?.to_owned();
    let asked: Vec<_> = KINDS.into_iter().filter(|(name, _)| kind == "all" || *name == kind).collect();
    if asked.is_empty() {
        let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        let names = names.join(" ");
        return Err(Problem::Failed(format!(
            "context must be one of [{names}] or 'all' for all contexts; got {kind:?}"
        )));
    }
    let tables: Vec<Table> = asked.iter().filter_map(|(_, table)| *table).collect();
    let watch: Vec<Watch> = tables.iter().copied().map(Watch::Table).collect();
    read(&call, &watch, |reading, _| {
        let mut matches = BTreeMap::new();
        let mut truncations = BTreeMap::new();
        for (name, _) in &asked {
            let mut found = find(&call, reading, name, &prefix);
            truncations.insert(*name, found.len() > MATCHES_MAX);
            found.truncate(MATCHES_MAX);
            matches.insert(*name, Some(found).filter(|found| !found.is_empty()));
        }
        let index = tables.iter().map(|table| reading.snapshot.table_index(*table)).max().unwrap_or_default();
        let body = json!({
            "Index": index.max(1),
            "KnownLeader": reading.known_leader,
            "LastContact": u64::try_from(reading.last_contact.as_nanos()).unwrap_or(u64::MAX),
            "Matches": matches,
            "NextToken": "",
            "Truncations": truncations,
        });
        Seen::value(index, &body, &call)
    })
    .await
}

/// The first ids of that kind, one more than are shown.
fn find(call: &Call, reading: &Reading, kind: &str, prefix: &str) -> Vec<String> {
    let snapshot = &reading.snapshot;
    let in_namespace = |namespace: &str| call.query.admits_namespace(namespace);
    let uuid = Prefix::loose(prefix);
    match kind {
        "allocs" => first(snapshot.allocs().filter(|a| in_namespace(a.namespace.as_str())).map(|a| a.id), &uuid),
        "evals" => first(snapshot.evals().filter(|e| in_namespace(e.namespace.as_str())).map(|e| e.id), &uuid),
        "deployment" => {
            first(snapshot.deployments().filter(|d| in_namespace(d.namespace.as_str())).map(|d| d.id), &uuid)
        }
        "nodes" => first(snapshot.nodes().map(|node| node.id), &uuid),
        "jobs" => {
            let jobs = snapshot.jobs().filter(|job| in_namespace(job.namespace.as_str()));
            named(jobs.map(|job| job.id.as_str()), prefix)
        }
        "node_pools" => {
            let mut pools: BTreeSet<&str> = snapshot.nodes().map(|node| node.node_pool.as_str()).collect();
            pools.extend(["all", "default"]);
            named(pools.into_iter(), prefix)
        }
        "scaling_policy" => {
            let policies = scaling_policies::all(snapshot);
            let mut ids: Vec<_> = policies
                .filter(|policy| in_namespace(policy.job.namespace.as_str()))
                .map(|policy| policy.id())
                .collect();
            ids.sort_unstable();
            first(ids.into_iter(), &uuid)
        }
        "namespaces" => named(snapshot.namespaces().map(|namespace| namespace.name.as_str()), prefix),
        _ => Vec::new(),
    }
}

fn first(ids: impl Iterator<Item = impl std::fmt::Display>, prefix: &Prefix) -> Vec<String> {
    ids.filter(|id| prefix.admits(id)).take(MATCHES_MAX + 1).map(|id| id.to_string()).collect()
}

fn named<'a>(names: impl Iterator<Item = &'a str>, prefix: &str) -> Vec<String> {
    names.filter(|name| name.starts_with(prefix)).take(MATCHES_MAX + 1).map(str::to_owned).collect()
}
