//! The region's servers and how they work together: leader, peers, raft members, scheduler settings.

use std::time::Duration;

use drover_model::time::{format_duration, parse_duration};
use drover_model::{NodeId, Timestamp};
use drover_server::reconcile::Peer;
use drover_state::autopilot::AutopilotConfig;
use serde_json::json;

use crate::body::Fields;
use crate::call::Call;
use crate::problem::{self, Problem};
use crate::reply::Reply;

pub(crate) async fn leader(call: Call) -> Result<Reply, Problem> {
    let leader = call.api.server.leader_address().ok_or(drover_server::Error::NoLeader)?;
    call.plain(&leader)
}

pub(crate) async fn peers(call: Call) -> Result<Reply, Problem> {
    call.plain(&call.api.server.peers())
}

pub(crate) async fn regions(call: Call) -> Result<Reply, Problem> {
    call.plain(&call.api.server.regions())
}

pub(crate) async fn raft_configuration(call: Call) -> Result<Reply, Problem> {
    let servers: Vec<_> = call
        .api
        .server
        .raft_peers()
        .into_iter()
        .map(|peer| {
            json!({
                "Address": peer.address,
                "ID": peer.id,
                "Leader": peer.is_leader,
                "Node": peer.name,
                "RaftProtocol": "3",
                "Voter": peer.is_voter,
            })
        })
        .collect();
    call.plain(&json!({ "Index": 0, "Servers": servers }))
}

pub(crate) async fn remove_peer(call: Call) -> Result<Reply, Problem> {
    if !call.query.text("address").is_empty() {
        let text = "Removing a peer by address is not supported in the current raft protocol version";
        return Err(Problem::Invalid(text.to_owned()));
    }
    let id = call.query.text("id");
    if id.is_empty() {
        return Err(Problem::Invalid("Must specify the peer's ID to remove".to_owned()));
    }
    call.api.server.remove_server(id).await.map_err(Problem::of_write)?;
    call.plain(&serde_json::Value::Null)
}

pub(crate) async fn transfer_leadership(call: Call) -> Result<Reply, Problem> {
    let server = &call.api.server;
    let (id, address) = (call.query.text("id"), call.query.text("address"));
    let invalid = |text: String| Err(Problem::Invalid(text));
    if id.is_empty() == address.is_empty() {
        return invalid("must specify id or address".to_owned());
    }
    if !id.is_empty() && id.parse::<NodeId>().is_err() {
        return invalid("id must be a uuid: uuid string is wrong length".to_owned());
    }
    let peers = server.raft_peers();
    let from = peers.iter().find(|peer| peer.is_leader).ok_or(drover_server::Error::NoLeader)?;
    let Some(to) = peers.iter().find(|peer| peer.id == id || peer.address == address) else {
        let asked = if id.is_empty() { format!("address {address:?}") } else { format!("id {id:?}") };
        return invalid(format!("{asked} was not found in the Raft configuration"));
    };
    if !to.is_voter {
        return invalid(format!("id {:?} is not a voter", to.id));
    }
    let noop = from.id == to.id;
    if !noop {
        server.transfer_leadership(Some(&to.id)).await.map_err(Problem::of_write)?;
    }
    let place = |peer: &Peer| json!({ "Address": peer.address, "ID": peer.id });
    call.plain(&json!({ "Err": null, "From": place(from), "Noop": noop, "To": place(to) }))
}

pub(crate) async fn autopilot_configuration(call: Call) -> Result<Reply, Problem> {
    let server = &call.api.server;
    if !server.reading().known_leader || !call.query.flag("stale", false).unwrap_or(false) {
        server.read(false).await?;
    }
    let config = server.autopilot_config();
    call.plain(&json!({
        "CleanupDeadServers": config.cleanup_dead_servers,
        "CreateIndex": config.create_index,
        "DisableUpgradeMigration": false,
        "EnableCustomUpgrades": false,
        "EnableRedundancyZones": false,
        "LastContactThreshold": format_duration(config.last_contact_threshold),
        "MaxTrailingLogs": config.max_trailing_logs,
        "MinQuorum": config.min_quorum,
        "ModifyIndex": config.modify_index,
        "ServerStabilizationTime": format_duration(config.server_stabilization_time),
    }))
}

pub(crate) async fn set_autopilot_configuration(mut call: Call) -> Result<Reply, Problem> {
    let cas = match call.query.text("cas") {
        "" => None,
        text => Some(text.parse::<u64>().map_err(|_| {
            Problem::Invalid(format!("Error parsing cas value: strconv.ParseUint: parsing {text:?}: invalid syntax"))
        })?),
    };
    let unreadable = |problem: Problem| match problem {
        Problem::Invalid(text) => Problem::Invalid(format!("Error parsing autopilot config: {text}")),
        other => other,
    };
    let fields = call.take_fields().await.map_err(unreadable)?;
    let config = autopilot_of(&fields).map_err(unreadable)?;
    let is_set = call.api.server.set_autopilot_config(config, cas).await?;
    call.plain(&is_set)
}

/// The whole object: what is left out becomes nothing.
fn autopilot_of(fields: &Fields) -> Result<AutopilotConfig, Problem> {
    let time = |name: &str| match fields.text(name)? {
        "" => Ok(Duration::ZERO),
        text => parse_duration(text).ok_or_else(|| Problem::Invalid(format!("time: invalid duration {text:?}"))),
    };
    for name in ["EnableRedundancyZones", "DisableUpgradeMigration", "EnableCustomUpgrades"] {
        if fields.flag(name)? {
            return Err(Problem::Invalid(format!("{name} is not supported")));
        }
    }
    Ok(AutopilotConfig {
        cleanup_dead_servers: fields.flag("CleanupDeadServers")?,
        last_contact_threshold: time("LastContactThreshold")?,
        max_trailing_logs: fields.number("MaxTrailingLogs")?.unwrap_or_default(),
        min_quorum: fields.number("MinQuorum")?.unwrap_or_default(),
        server_stabilization_time: time("ServerStabilizationTime")?,
        ..AutopilotConfig::default()
    })
}

pub(crate) async fn autopilot_health(call: Call) -> Result<Reply, Problem> {
    let health = call.api.server.health().await?;
    let servers: Vec<_> = health
        .servers
        .iter()
        .map(|server| {
            json!({
                "Address": server.address,
                "Healthy": server.is_healthy,
                "ID": server.id,
                "LastContact": server.last_contact.map_or_else(|| "never".to_owned(), format_duration),
                "LastIndex": server.last_index,
                "LastTerm": server.last_term,
                "Leader": server.is_leader,
                "Name": server.name,
                "SerfStatus": server.status,
                "StableSince": Timestamp(server.stable_since).to_rfc3339(),
                "Version": server.version,
                "Voter": server.is_voter,
            })
        })
        .collect();
    let voters: Vec<&str> =
        health.servers.iter().filter(|server| server.is_voter).map(|server| server.id.as_str()).collect();
    let leader = health.servers.iter().find(|server| server.is_leader).map_or("", |server| server.id.as_str());
    let body = json!({
        "FailureTolerance": health.failure_tolerance,
        "Healthy": health.is_healthy,
        "Leader": leader,
        "OptimisticFailureTolerance": 0,
        "ReadReplicas": null,
        "RedundancyZones": null,
        "Servers": servers,
        "Upgrade": null,
        "Voters": voters,
    });
    let reply = call.plain(&body)?;
    Ok(if health.is_healthy { reply } else { problem::servers_unwell(reply) })
}
