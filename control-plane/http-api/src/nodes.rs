//! Nodes: lists, one node, its allocs, eligibility, evaluation, purge.

use std::sync::Arc;

use drover_model::NodeId;
use drover_model::node::{Eligibility, Node};
use drover_server::Watch;
use drover_server::nodes::NodeWritten;
use drover_state::Table;

use crate::allocs;
use crate::blocking::{Seen, read};
use crate::call::Call;
use crate::filtering::{Asked, whole};
use crate::ids::{self, Prefix};
use crate::page::{ById, page};
use crate::problem::Problem;
use crate::reply::Reply;
use crate::views::node::{NodeListStub, NodeView, Shown};
use crate::views::written::{NodeChanged, NodeUpdated, ServerAddress};

const LOOKED_UP: &str = "node lookup failed";

pub(crate) async fn list(call: Call) -> Result<Reply, Problem> {
    let asked = Asked::of(&call.query)?;
    let flag = |name: &str| {
        call.query.flag(name, false).map_err(|bad| {
            let text = format!("Failed to parse value of {name:?} ({}) as a bool: {}", bad.value, bad.text());
            Problem::Invalid(format!("Failed to parse node list fields: {text}"))
        })
    };
    let shown = Shown { resources: flag("resources")?, os: flag("os")? };
    read(&call, &[Watch::Table(Table::Nodes)], |reading, options| {
        let prefix = Prefix::parse(&options.prefix, LOOKED_UP)?;
        let nodes = reading.snapshot.nodes().filter(|node| prefix.admits(&node.id));
        let placed = nodes.map(|node| (ById(node.id.to_string()), node)).collect();
        let (nodes, token) =
            page::<ById, &Arc<Node>>(placed, options, options.reverse, |node| asked.admits(|_| whole(node)))?;
        let stubs: Vec<_> = nodes.into_iter().map(|node| NodeListStub::new(node, shown)).collect();
        Seen::page(reading.snapshot.table_index(Table::Nodes), (stubs, token), &call)
    })
    .await
}

pub(crate) async fn get(call: Call) -> Result<Reply, Problem> {
    let id: NodeId = ids::parse(call.param("node_id"), LOOKED_UP)?;
    read(&call, &[Watch::Node(id)], |reading, _| match reading.snapshot.node(id) {
        Some(node) => Seen::value(node.modify_index, &NodeView::from(&**node), &call),
        None => Ok(Seen::missing(reading.snapshot.table_index(Table::Nodes), "node not found")),
    })
    .await
}

pub(crate) async fn allocs(call: Call) -> Result<Reply, Problem> {
    let id: NodeId = ids::parse(call.param("node_id"), LOOKED_UP)?;
    read(&call, &[Watch::AllocsOfNode(id)], |reading, _| {
        let snapshot = &reading.snapshot;
        let views: Result<Vec<_>, Problem> =
            snapshot.allocs_of_node(id).map(|alloc| allocs::view(snapshot, alloc)).collect();
        Seen::value(snapshot.table_index(Table::Allocs), &views?, &call)
    })
    .await
}

fn changed(written: &NodeWritten) -> NodeChanged {
    let has_evals = !written.eval_ids.is_empty();
    NodeChanged {
        eval_create_index: if has_evals { written.index } else { 0 },
        eval_ids: has_evals.then(|| written.eval_ids.clone()),
        index: written.index,
        node_modify_index: written.index,
    }
}

pub(crate) async fn set_eligibility(mut call: Call) -> Result<Reply, Problem> {
    let fields = call.take_fields().await?;
    let eligibility = match fields.text("Eligibility")? {
        "eligible" => Eligibility::Eligible,
        "ineligible" => Eligibility::Ineligible,
        other => return Err(Problem::Failed(format!("invalid scheduling eligibility {other:?}"))),
    };
    let id: NodeId = ids::parse(call.param("node_id"), LOOKED_UP)?;
    let written = call.api.server.set_node_eligibility(id, eligibility).await.map_err(Problem::of_write)?;
    call.written(&changed(&written), written.index)
}

pub(crate) async fn evaluate(call: Call) -> Result<Reply, Problem> {
    let id: NodeId = ids::parse(call.param("node_id"), LOOKED_UP)?;
    let written = call.api.server.evaluate_node(id).await.map_err(Problem::of_write)?;
    updated(&call, id, &written)
}

pub(crate) async fn purge(call: Call) -> Result<Reply, Problem> {
    let id: NodeId = ids::parse(call.param("node_id"), LOOKED_UP)?;
    let written = call.api.server.purge_node(id).await.map_err(Problem::of_write)?;
    updated(&call, id, &written)
}

fn updated(call: &Call, id: NodeId, written: &NodeWritten) -> Result<Reply, Problem> {
    let server = &call.api.server;
    let snapshot = server.reading().snapshot;
    let datacenter = &server.info().datacenter;
    let address = |rpc_advertise_addr| ServerAddress {
        datacenter: datacenter.clone(),
        rpc_advertise_addr,
        rpc_major_version: 0,
        rpc_minor_version: 0,
    };
    let body = NodeUpdated {
        changed: changed(written),
        features: 0,
        heartbeat_ttl: 0,
        known_leader: false,
        last_contact: 0,
        leader_rpc_addr: server.leader_address().unwrap_or_default(),
        next_token: "",
        num_nodes: snapshot.nodes().count(),
        scheduling_eligibility: snapshot.node(id).map_or("", |node| node.scheduling_eligibility.as_str()),
        servers: Some(server.peers().into_iter().map(address).collect()),
        signed_identity: None,
    };
    call.written(&body, written.index)
}
