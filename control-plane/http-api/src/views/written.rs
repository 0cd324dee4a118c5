//! Answers to writes.

use drover_model::EvalId;
use drover_model::id::optional;
use drover_server::jobs::JobWritten;
use serde::Serialize;

/// A job was registered, evaluated or reverted.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct JobRegistered {
    eval_create_index: u64,
    #[serde(rename = "EvalID", with = "optional")]
    eval_id: Option<EvalId>,
    index: u64,
    job_modify_index: u64,
    /// The answer to a write says nothing about freshness: these three are fillers that clients expect.
    known_leader: bool,
    last_contact: u64,
    next_token: &'static str,
    warnings: String,
}

impl JobRegistered {
    /// The answer, with the text of the warnings.
    pub fn new(written: &JobWritten, warnings: String) -> Self {
        let eval_create_index = if written.eval_id.is_some() { written.eval_create_index } else { 0 };
        Self {
            eval_create_index,
            eval_id: written.eval_id,
            index: written.index,
            job_modify_index: written.job_modify_index,
            known_leader: false,
            last_contact: 0,
            next_token: "",
            warnings,
        }
    }
}

/// A job was stopped.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct JobDeregistered {
    eval_create_index: u64,
    #[serde(rename = "EvalID", with = "optional")]
    eval_id: Option<EvalId>,
    index: u64,
    job_modify_index: u64,
    known_leader: bool,
    last_contact: u64,
    next_token: &'static str,
    #[serde(rename = "VolumeEvalID")]
    volume_eval_id: &'static str,
    volume_eval_index: u64,
}

impl From<&JobWritten> for JobDeregistered {
    /// Nothing was stopped when there was no such job: every number is zero then.
    fn from(written: &JobWritten) -> Self {
        let written = if written.job_modify_index > 0 { *written } else { JobWritten::default() };
        Self {
            eval_create_index: written.eval_create_index,
            eval_id: written.eval_id,
            index: written.index,
            job_modify_index: written.job_modify_index,
            known_leader: false,
            last_contact: 0,
            next_token: "",
            volume_eval_id: "",
            volume_eval_index: 0,
        }
    }
}

/// A node was opened or closed.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeChanged {
    /// 0 when there are no evals.
    pub eval_create_index: u64,
    /// Null when there are none.
    #[serde(rename = "EvalIDs")]
    pub eval_ids: Option<Vec<EvalId>>,
    /// Raft index of the write.
    pub index: u64,
    /// The node's modify index.
    pub node_modify_index: u64,
}

/// A node was evaluated or forgotten.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeUpdated {
    /// What was done.
    #[serde(flatten)]
    pub changed: NodeChanged,
    /// Nothing is negotiated by these.
    pub features: u64,
    /// Not a heartbeat's answer.
    #[serde(rename = "HeartbeatTTL")]
    pub heartbeat_ttl: u64,
    /// The answer to a write says nothing about freshness.
    pub known_leader: bool,
    /// As above.
    pub last_contact: u64,
    /// The leader's RPC address.
    #[serde(rename = "LeaderRPCAddr")]
    pub leader_rpc_addr: String,
    /// Not a list's answer.
    pub next_token: &'static str,
    /// How many nodes there are.
    pub num_nodes: usize,
    /// Whether the node takes allocs; empty when it was forgotten.
    pub scheduling_eligibility: &'static str,
    /// The region's servers.
    pub servers: Option<Vec<ServerAddress>>,
    /// Nodes have certificates instead.
    pub signed_identity: Option<String>,
}

/// Where a server is reached.
#[derive(Serialize)]
pub struct ServerAddress {
    /// Its datacenter.
    #[serde(rename = "Datacenter")]
    pub datacenter: String,
    /// Its RPC address.
    #[serde(rename = "RPCAdvertiseAddr")]
    pub rpc_advertise_addr: String,
    /// Versions are agreed on by the transport.
    #[serde(rename = "RPCMajorVersion")]
    pub rpc_major_version: u64,
    /// As above.
    #[serde(rename = "RPCMinorVersion")]
    pub rpc_minor_version: u64,
}

/// A deployment was changed.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeploymentChanged {
    /// The deployment's modify index.
    pub deployment_modify_index: u64,
    /// 0 when there is no eval.
    pub eval_create_index: u64,
    /// Empty when there is none.
    #[serde(rename = "EvalID", with = "optional")]
    pub eval_id: Option<EvalId>,
    /// Raft index of the write.
    pub index: u64,
    /// The version that came back, if one did.
    pub reverted_job_version: Option<u64>,
}
