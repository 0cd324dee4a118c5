//! The region's servers and how they work together: leader, peers, raft members, scheduler settings.

use drover_server::Watch;
use drover_state::Table;
use serde_json::json;

use crate::agent::member_name;
use crate::blocking::{Seen, read};
use crate::call::Call;
use crate::problem::Problem;
use crate::reply::Reply;

pub(crate) async fn leader(call: Call) -> Result<Reply, Problem> {
    let leader = call.api.server.leader_address().ok_or(drover_server::Error::NoLeader)?;
    call.plain(&leader)
}

pub(crate) async fn peers(call: Call) -> Result<Reply, Problem> {
    call.plain(&call.api.server.peers())
}

pub(crate) async fn regions(call: Call) -> Result<Reply, Problem> {
    call.plain(&[&call.api.server.info().region])
}

/// A region has one server, so it is the one member.
pub(crate) async fn raft_configuration(call: Call) -> Result<Reply, Problem> {
    let server = &call.api.server;
    let info = server.info();
    call.plain(&json!({
        "Index": 0,
        "Servers": [{
            "Address": info.rpc_advertise.to_string(),
            "ID": info.id,
            "Leader": server.is_leader(),
            "Node": member_name(&call.api),
            "RaftProtocol": "3",
            "Voter": true,
        }],
    }))
}

/// How the scheduler works. None of it can be set: it packs, preempts nothing and looks at every node.
pub(crate) async fn scheduler_configuration(call: Call) -> Result<Reply, Problem> {
    read(&call, &[Watch::Table(Table::Jobs)], |reading, _| {
        let body = json!({
            "Index": 1,
            "KnownLeader": reading.known_leader,
            "LastContact": u64::try_from(reading.last_contact.as_nanos()).unwrap_or(u64::MAX),
            "NextToken": "",
            "SchedulerConfig": {
                "CreateIndex": 1,
                "MemoryOversubscriptionEnabled": false,
                "ModifyIndex": 1,
                "NodeLimitForFeasibilityChecks": 0,
                "PauseEvalBroker": false,
                "PreemptionConfig": {
                    "BatchSchedulerEnabled": false,
                    "ServiceSchedulerEnabled": false,
                    "SysBatchSchedulerEnabled": false,
                    "SystemSchedulerEnabled": false,
                },
                "RejectJobRegistration": false,
                "SchedulerAlgorithm": "binpack",
            },
        });
        Seen::value(1, &body, &call)
    })
    .await
}
