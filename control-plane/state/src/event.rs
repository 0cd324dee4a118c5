//! Events: what a command changed. They wake whoever waits; nobody polls.

use drover_model::{AllocId, DeploymentId, EvalId, JobKey, Namespace, NodeId};

use crate::note::Note;

/// The changes of one log entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Events {
    /// The raft index.
    pub index: u64,
    /// What changed, in order.
    pub changes: Vec<Change>,
    /// What the event stream tells of it, in order.
    pub notes: Vec<Note>,
}

/// One thing that changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A job (or its summary or versions).
    Job(JobKey),
    /// A node.
    Node(NodeId),
    /// An eval.
    Eval {
        /// The eval.
        id: EvalId,
        /// Its job.
        job: JobKey,
    },
    /// An alloc.
    Alloc {
        /// The alloc.
        id: AllocId,
        /// Its node.
        node: NodeId,
        /// Its job.
        job: JobKey,
        /// The eval that placed it.
        eval: Option<EvalId>,
        /// Servers changed what shall be (the edge must hear of it); false for an edge's own report.
        desired: bool,
    },
    /// A deployment.
    Deployment {
        /// The deployment.
        id: DeploymentId,
        /// Its job.
        job: JobKey,
    },
    /// The join tokens.
    JoinTokens,
    /// A namespace.
    Namespace(Namespace),
    /// The settings of the scheduler.
    SchedulerConfig,
}
