//! Commands: every change of the state, as it stands in the log.
//!
//! Ids and times are put in by whoever proposes; `apply` adds only the raft index. The form is MessagePack with field
//! names ([`encode`], [`decode`]): a field added with a default still reads old entries, an enum gets new variants at
//! its end and keeps the names of the old ones.

use std::sync::Arc;

use drover_model::alloc::{AllocUpdate, DesiredTransition};
use drover_model::deployment::Deployment;
use drover_model::eval::Eval;
use drover_model::job::Job;
use drover_model::namespace::NamespaceSpec;
use drover_model::node::{Eligibility, Node, NodeStatus};
use drover_model::plan::{DeploymentUpdate, Plan};
use drover_model::{AllocId, DeploymentId, EvalId, JobKey, JoinTokenId, Namespace, NodeId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::autopilot::AutopilotConfig;
use crate::join_token::JoinToken;
use crate::scaling::ScalingEvent;
use crate::scheduler_config::SchedulerConfig;
use crate::submission::Submission;

/// One change of the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Nothing; a new leader commits it to learn that it leads.
    Noop,
    /// Register a job, new or changed; the version goes up when what it asks for differs.
    RegisterJob(Box<RegisterJob>),
    /// Stop a job, or forget it.
    DeregisterJob {
        /// The job.
        key: JobKey,
        /// Forget it wholly.
        purge: bool,
        /// The eval that stops its allocs.
        eval: Option<Box<Eval>>,
        /// When.
        at: Timestamp,
    },
    /// Mark a version of a job as stable or not.
    SetJobStability {
        /// The job.
        key: JobKey,
        /// The version.
        version: u64,
        /// The mark.
        stable: bool,
    },
    /// A node registers, for the first time or again.
    RegisterNode {
        /// The node as it describes itself.
        node: Box<Node>,
        /// Evals of the jobs concerned.
        evals: Vec<Eval>,
        /// When.
        at: Timestamp,
    },
    /// A node's status changed.
    UpdateNodeStatus {
        /// The node.
        node_id: NodeId,
        /// The new status.
        status: NodeStatus,
        /// The event's message (`Node heartbeat missed` …); empty for none.
        event: String,
        /// Evals of the jobs concerned.
        evals: Vec<Eval>,
        /// When.
        at: Timestamp,
    },
    /// An operator opens or closes a node for placements.
    UpdateNodeEligibility {
        /// The node.
        node_id: NodeId,
        /// The new value.
        eligibility: Eligibility,
        /// Evals of the jobs concerned.
        evals: Vec<Eval>,
        /// When.
        at: Timestamp,
    },
    /// Forget a node.
    DeregisterNode {
        /// The node.
        node_id: NodeId,
        /// Evals of the jobs concerned.
        evals: Vec<Eval>,
        /// When.
        at: Timestamp,
    },
    /// New evals, or changes of evals.
    UpsertEvals {
        /// The evals; an eval with a known id replaces the one in the state.
        evals: Vec<Eval>,
        /// When.
        at: Timestamp,
    },
    /// What the plan applier accepted of several plans.
    ApplyPlans {
        /// In order.
        plans: Vec<AcceptedPlan>,
        /// When.
        at: Timestamp,
    },
    /// What an edge reports of its allocs.
    UpdateAllocs {
        /// Who reports: updates of allocs on other nodes are ignored.
        node_id: NodeId,
        /// The reports.
        updates: Vec<AllocUpdate>,
        /// Evals of the jobs concerned.
        evals: Vec<Eval>,
        /// When.
        at: Timestamp,
    },
    /// Ask the scheduler to do something with allocs.
    UpdateAllocTransitions {
        /// Per alloc.
        transitions: Vec<(AllocId, DesiredTransition)>,
        /// Evals of the jobs concerned.
        evals: Vec<Eval>,
        /// When.
        at: Timestamp,
    },
    /// A deployment changes its status; may mark its job version stable, register a rollback and make an eval.
    UpdateDeployment(Box<ChangeDeployment>),
    /// Replace a deployment's groups (promotion, deadlines), as computed by a leader duty on the newest state.
    UpsertDeployment {
        /// The deployment.
        deployment: Box<Deployment>,
        /// An eval of its job.
        eval: Option<Box<Eval>>,
        /// When.
        at: Timestamp,
    },
    /// A new join token.
    AddJoinToken {
        /// The token.
        token: Box<JoinToken>,
    },
    /// Spend one use of a join token. The answer says whether it counted.
    SpendJoinToken {
        /// The token.
        id: JoinTokenId,
        /// SHA-256 of the secret that was shown.
        secret_hash: [u8; 32],
        /// When.
        at: Timestamp,
    },
    /// Forget join tokens.
    RemoveJoinTokens {
        /// Which.
        ids: Vec<JoinTokenId>,
    },
    /// Forget ended things. What is not ended (any more) is kept.
    Collect {
        /// Evals.
        evals: Vec<EvalId>,
        /// Allocs.
        allocs: Vec<AllocId>,
        /// Deployments.
        deployments: Vec<DeploymentId>,
        /// Jobs.
        jobs: Vec<JobKey>,
        /// Nodes.
        nodes: Vec<NodeId>,
    },
    /// An operator says which allocs of a deployment are healthy.
    SetAllocHealth(Box<SetAllocHealth>),
    /// Give a version of a job a name; a name that it has is replaced.
    TagJobVersion {
        /// Which, and the name.
        tag: Box<TagJobVersion>,
        /// When.
        at: Timestamp,
    },
    /// Take a version's name away.
    UntagJobVersion {
        /// The job.
        key: JobKey,
        /// The name.
        name: String,
    },
    /// Change the count of a group, or note something about it.
    ScaleJob(Box<ScaleJob>),
    /// A job launches another one, by the clock or by a dispatch.
    LaunchJob(Box<LaunchJob>),
    /// New rules for looking after the servers; refused when `cas` names another index than they have.
    SetAutopilotConfig {
        /// The rules.
        config: Box<AutopilotConfig>,
        /// The modify index that they must have (0: never set).
        cas: Option<u64>,
    },
    /// A namespace, new or changed.
    UpsertNamespace {
        /// The namespace, checked; its indexes are set by `apply`.
        namespace: Box<NamespaceSpec>,
    },
    /// Forget a namespace; refused while it is in use.
    DeleteNamespace {
        /// Its name.
        name: Namespace,
    },
    /// Count the allocs of every job anew.
    ReconcileSummaries,
    /// New settings of the scheduler; refused when `cas` names another index than they have.
    SetSchedulerConfig {
        /// The settings.
        config: Box<SchedulerConfig>,
        /// The modify index that they must have (0: never set).
        cas: Option<u64>,
    },
}

/// The registration of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegisterJob {
    /// The job, complete and checked; version, status and indexes are set by `apply`.
    pub job: Arc<Job>,
    /// The eval that places it; `apply` fills in the job's modify index.
    pub eval: Option<Eval>,
    /// Refuse unless the job's modify index is this one (0: unless there is no such job).
    pub enforce_index: Option<u64>,
    /// Keep the counts of groups that exist.
    pub preserve_counts: bool,
    /// Keep the resources of tasks that exist.
    pub preserve_resources: bool,
    /// The text it was made from.
    pub submission: Option<Submission>,
    /// Refuse unless the job's namespace is there. Entries of before there were namespaces do not ask for it.
    pub needs_namespace: bool,
    /// When.
    pub at: Timestamp,
}

/// A plan as the applier accepted it, with what became of its eval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AcceptedPlan {
    /// What is to be committed.
    pub plan: Plan,
    /// The eval with its new status, and evals it made (blocked, delayed).
    pub evals: Vec<Eval>,
}

/// A change of a deployment's status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChangeDeployment {
    /// What changes.
    pub update: DeploymentUpdate,
    /// Mark the deployment's job version as stable.
    pub mark_stable: bool,
    /// Register this job again as a new version (rollback).
    pub rollback: Option<Arc<Job>>,
    /// An eval of its job.
    pub eval: Option<Eval>,
    /// When.
    pub at: Timestamp,
}

/// The health of allocs as an operator sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SetAllocHealth {
    /// The deployment; all allocs must be its own.
    pub deployment_id: DeploymentId,
    /// These are.
    pub healthy: Vec<AllocId>,
    /// These are not.
    pub unhealthy: Vec<AllocId>,
    /// An eval of the job.
    pub eval: Option<Eval>,
    /// The deployment fails by it.
    pub failure: Option<ChangeDeployment>,
    /// When.
    pub at: Timestamp,
}

/// A name for a version of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TagJobVersion {
    /// The job.
    pub key: JobKey,
    /// The name, unique among the job's versions.
    pub name: String,
    /// The version.
    pub version: u64,
    /// In words.
    pub description: String,
}

/// A change of a group's count, or a note about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScaleJob {
    /// The job.
    pub key: JobKey,
    /// The group.
    pub group: String,
    /// The new count and what is kept about it; `apply` fills in the old count, the eval, the time and the index.
    pub event: ScalingEvent,
    /// Refuse a change of the count unless the job's modify index is this one.
    pub enforce_index: Option<u64>,
    /// The eval of a change.
    pub eval: Option<Eval>,
    /// When.
    pub at: Timestamp,
}

/// A launch. One that was made before, or bears the token of one that was, makes no second job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LaunchJob {
    /// The job that launches.
    pub parent: JobKey,
    /// The job that is launched; none when a launch is left out.
    pub job: Option<Arc<Job>>,
    /// The eval that places it.
    pub eval: Option<Eval>,
    /// The time that launches by the clock are counted on from; never for a dispatch.
    pub launched_at: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// What `apply` answers to whoever proposed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// Done.
    #[default]
    Done,
    /// A job was registered or stopped.
    Job {
        /// Its modify index after the change (0 when there was no such job).
        job_modify_index: u64,
        /// Its version after the change.
        version: u64,
    },
    /// It was not done; the state is unchanged.
    Refused(Refusal),
    /// A job was launched, or had been.
    Launched {
        /// The job.
        key: JobKey,
        /// Raft index at which it was made.
        create_index: u64,
        /// This command made it.
        is_new: bool,
    },
}

/// Why a command was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The job was to be new and exists.
    #[error("Enforcing job modify index 0: job already exists")]
    JobExists,
    /// The job was to exist and does not.
    #[error("Enforcing job modify index {wanted}: job does not exist")]
    JobMissing {
        /// The index asked for.
        wanted: u64,
    },
    /// The job has another modify index.
    #[error("Enforcing job modify index {wanted}: job exists with conflicting job modify index: {found}")]
    JobChanged {
        /// The index asked for.
        wanted: u64,
        /// The index it has.
        found: u64,
    },
    /// There is no such thing.
    #[error("{what} not found")]
    NotFound {
        /// Its noun: `job`, `node`, `deployment` …
        what: String,
    },
    /// The join token is unknown, used up, expired, or the secret is wrong: the answer does not tell which.
    #[error("join token refused")]
    JoinToken,
    /// It can't be done any more or not yet.
    #[error("{reason}")]
    Conflict {
        /// Why.
        reason: String,
    },
}

/// A log entry that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("log entry of {len} bytes is not a command")]
pub struct DecodeError {
    /// Its length.
    pub len: usize,
    /// Why.
    #[source]
    pub source: rmp_serde::decode::Error,
}

impl DecodeError {
    /// A later drover has written it: it names something that this one does not know. Those that know it have changed their state by
    /// it, so passing over it would make this state another one than theirs.
    pub fn is_of_later(&self) -> bool {
        // What serde says of a name that no variant has.
        matches!(&self.source, rmp_serde::decode::Error::Syntax(text) if text.starts_with("unknown variant"))
    }
}

/// The bytes of a command in the log.
pub fn encode(command: &Command) -> Vec<u8> {
    rmp_serde::to_vec_named(command).expect("the types of a command hold nothing that MessagePack can't express")
}

/// How deep values may lie in each other in a command. Well below what [`State::decode`](crate::State::decode) reads, where the
/// same values lie a little deeper: what the log took must never make an image that can't be read.
const DEPTH_MAX: usize = 256;

/// The command that these bytes are.
pub fn decode(bytes: &[u8]) -> Result<Command, DecodeError> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    reader.set_max_depth(DEPTH_MAX);
    Command::deserialize(&mut reader).map_err(|source| DecodeError { len: bytes.len(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::State;
    use crate::apply::apply;

    #[test]
    fn a_command_of_a_later_drover_is_told_from_nonsense() {
        #[derive(Serialize)]
        enum Later {
            RegisterMoon { name: &'static str },
            Moonrise,
            UpdateNodeStatus { status: &'static str },
        }
        let of_later = |command: &Later| decode(&rmp_serde::to_vec_named(command).unwrap()).unwrap_err().is_of_later();
        assert!(of_later(&Later::RegisterMoon { name: "io" }));
        assert!(of_later(&Later::Moonrise));
        assert!(of_later(&Later::UpdateNodeStatus { status: "eclipsed" }), "a new value of a known field");
        let whole = encode(&Command::RemoveJoinTokens { ids: vec![JoinTokenId::from_random([7; 16])] });
        for bytes in [&whole[..whole.len() - 1], b"", b"nonsense", &[0xc1]] {
            assert!(!decode(bytes).unwrap_err().is_of_later(), "{bytes:?}");
        }
        let deep = (0..300).fold(serde_json::Value::Null, |inner, _| serde_json::Value::Array(vec![inner]));
        let node = Node { drain_strategy: Some(deep), ..Node::default() };
        let command = Command::RegisterNode { node: Box::new(node), evals: Vec::new(), at: Timestamp(1) };
        assert!(!decode(&encode(&command)).unwrap_err().is_of_later());
    }

    #[test]
    fn what_the_log_takes_never_makes_an_image_that_cannot_be_read() {
        let mut taken = 0;
        for depth in [100, 240, 250, 255, 300, 1015, 1018, 1019, 1020, 1021, 1022, 1023] {
            let value = (0..depth).fold(serde_json::Value::Null, |inner, _| serde_json::Value::Array(vec![inner]));
            let node = Node { drain_strategy: Some(value), ..Node::default() };
            let command = Command::RegisterNode { node: Box::new(node), evals: Vec::new(), at: Timestamp(1) };
            let Ok(command) = decode(&encode(&command)) else {
                continue;
            };
            taken += 1;
            let mut state = State::default();
            apply(&mut state, 1, command);
            assert!(State::decode(&state.encode()).is_ok(), "{depth} deep");
        }
        assert!(taken >= 2);
    }
}
