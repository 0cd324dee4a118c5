//! What the agent says of itself: settings, members, health.

use std::collections::BTreeMap;

use drover_model::node::NodeStatus;
use serde::Serialize;
use serde_json::json;

use crate::api::Api;
use crate::call::Call;
use crate::problem::{self, Problem};
use crate::reply::Reply;

/// The membership protocol's versions that clients are told: least, most and used. They are those that today's
/// clients of the API expect of members.
const PROTOCOL: (u8, u8, u8) = (1, 5, 2);
/// As above, for what members say beside the protocol.
const DELEGATE: (u8, u8, u8) = (2, 5, 4);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Member {
    addr: String,
    delegate_cur: u8,
    delegate_max: u8,
    delegate_min: u8,
    name: String,
    port: u16,
    protocol_cur: u8,
    protocol_max: u8,
    protocol_min: u8,
    status: &'static str,
    tags: BTreeMap<String, String>,
}

impl From<&drover_server::Member> for Member {
    fn from(member: &drover_server::Member) -> Self {
        let rpc = member.rpc;
        let tags = [
            ("bootstrap", u32::from(member.bootstrap_expect == 1).to_string()),
            ("build", member.version.clone()),
            ("dc", member.datacenter.clone()),
            ("expect", member.bootstrap_expect.to_string()),
            ("id", member.id.clone()),
            ("port", rpc.port().to_string()),
            ("raft_vsn", "3".to_owned()),
            ("region", member.region.clone()),
            ("role", "nomad".to_owned()),
            ("rpc_addr", rpc.ip().to_string()),
            ("vsn", "1".to_owned()),
        ];
        Member {
            addr: member.gossip.ip().to_string(),
            delegate_cur: DELEGATE.2,
            delegate_max: DELEGATE.1,
            delegate_min: DELEGATE.0,
            name: member.full_name(),
            port: member.gossip.port(),
            protocol_cur: PROTOCOL.2,
            protocol_max: PROTOCOL.1,
            protocol_min: PROTOCOL.0,
            status: member.status.as_str(),
            tags: tags.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    }
}

/// This server as the members see it.
fn own_member(api: &Api) -> Option<Member> {
    let info = api.server.info();
    let directory = api.server.membership().directory();
    directory.find(&info.region, &info.name).map(Member::from)
}

pub(crate) async fn about(call: Call) -> Result<Reply, Problem> {
    let api = &call.api;
    let mut stats = api.server.stats();
    if let Some(node_id) = api.agent.node_id {
        let snapshot = api.server.reading().snapshot;
        let allocs = snapshot.allocs_of_node(node_id).filter(|alloc| !alloc.is_client_terminal()).count();
        let client = BTreeMap::from([
            ("known_servers".to_owned(), api.server.peers().join(",")),
            ("node_id".to_owned(), node_id.to_string()),
            ("num_allocations".to_owned(), allocs.to_string()),
        ]);
        stats.insert("client".to_owned(), client);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = BTreeMap::from([
        ("arch".to_owned(), std::env::consts::ARCH.to_owned()),
        ("cpu_count".to_owned(), cores.to_string()),
        ("kernel.name".to_owned(), std::env::consts::OS.to_owned()),
        ("version".to_owned(), api.agent.version.clone()),
    ]);
    stats.insert("runtime".to_owned(), runtime);
    call.plain(&json!({ "config": api.agent.config, "member": own_member(api), "stats": stats }))
}

pub(crate) async fn members(call: Call) -> Result<Reply, Problem> {
    let info = call.api.server.info();
    call.plain(&json!({
        "Members": call.api.server.membership().members().iter().map(Member::from).collect::<Vec<_>>(),
        "ServerDC": info.datacenter,
        "ServerName": info.name,
        "ServerRegion": info.region,
    }))
}

/// Joins other servers by their gossip addresses. What went wrong is part of the answer.
pub(crate) async fn join(call: Call) -> Result<Reply, Problem> {
    let names: Vec<&str> = call.query.all("address").filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Err(Problem::Invalid("missing address to join".to_owned()));
    }
    let (joined, failures) = call.api.server.join(&names).await;
    let error = match failures.len() {
        0 => String::new(),
        count => {
            let lines: String =
                failures.iter().map(|(name, reason)| format!("\n\t* failed to join {name}: {reason}")).collect();
            format!("{count} error{} occurred:{lines}\n\n", if count == 1 { "" } else { "s" })
        }
    };
    call.plain(&json!({ "error": error, "num_joined": joined, "warning": "" }))
}

/// Declares a member that failed gone. A name that nobody has is no error.
pub(crate) async fn force_leave(call: Call) -> Result<Reply, Problem> {
    let name = call.query.text("node");
    if name.is_empty() {
        return Err(Problem::Invalid("missing node to force leave".to_owned()));
    }
    // The parameter's being there is enough.
    let prune = call.query.get("prune").is_some_and(|value| value != "false");
    call.api.server.force_leave(name, prune).await?;
    Ok(problem::done())
}

/// The servers that the client of this agent knows: with a server in the same process, the region's.
pub(crate) async fn servers(call: Call) -> Result<Reply, Problem> {
    match call.api.agent.node_id {
        Some(_) => call.plain(&call.api.server.peers()),
        None => Err(Problem::OtherRole),
    }
}

/// One half of an agent: well, or why not.
fn half(problem: Option<&str>) -> serde_json::Value {
    json!({ "message": problem.unwrap_or("ok"), "ok": problem.is_none() })
}

fn halves(call: &Call) -> BTreeMap<&'static str, Option<&'static str>> {
    let reading = call.api.server.reading();
    let kind = call.query.text("type");
    let mut halves = BTreeMap::new();
    if matches!(kind, "" | "server") {
        halves.insert("server", (!reading.known_leader).then_some("No cluster leader"));
    }
    if let (Some(node_id), "" | "client") = (call.api.agent.node_id, kind) {
        let is_ready = reading.snapshot.node(node_id).is_some_and(|node| node.status == NodeStatus::Ready);
        halves.insert("client", (!is_ready).then_some("client is not registered with a server"));
    }
    halves
}

pub(crate) async fn health(call: Call) -> Result<Reply, Problem> {
    let halves = halves(&call);
    let body: BTreeMap<_, _> = halves.iter().map(|(name, problem)| (*name, half(*problem))).collect();
    let reply = call.plain(&body)?;
    Ok(if halves.values().all(Option::is_none) { reply } else { problem::unwell(reply) })
}
