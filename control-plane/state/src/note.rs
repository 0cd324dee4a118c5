//! Notes: what a command did to the nouns that the event stream tells of, each as it was right after the command.
//!
//! Beside [`Change`](crate::Change), which wakes whoever waits and carries keys only. A note costs one look-up: the objects
//! are shared with the state.

use std::sync::Arc;

use drover_model::alloc::Alloc;
use drover_model::deployment::Deployment;
use drover_model::eval::Eval;
use drover_model::job::Job;
use drover_model::node::Node;

use crate::command::Command;
use crate::state::State;

/// One thing that a command did.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// The word for it.
    pub kind: NoteKind,
    /// What it was done to.
    pub subject: Subject,
}

/// What something was done to.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A job.
    Job(Arc<Job>),
    /// A job that is forgotten, as it was last.
    ForgottenJob(Arc<Job>),
    /// A node.
    Node(Arc<Node>),
    /// An eval.
    Eval(Arc<Eval>),
    /// An alloc.
    Alloc(Arc<Alloc>),
    /// A deployment.
    Deployment(Arc<Deployment>),
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident),*) => {
        /// The kind of write that something was done by, as the event stream calls it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum NoteKind {
            $($(#[$doc])* $name),*
        }

        impl NoteKind {
            /// The word of the event stream.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(NoteKind::$name => stringify!($name)),*
                }
            }
        }
    };
}

kinds! {
    /// A job was registered.
    JobRegistered,
    /// A job was stopped or purged.
    JobDeregistered,
    /// Jobs that ended were forgotten.
    JobBatchDeregistered,
    /// Evals were written.
    EvaluationUpdated,
    /// Plans were carried out.
    PlanResult,
    /// An edge reported.
    AllocationUpdated,
    /// The scheduler was asked to do something with allocs.
    AllocationUpdateDesiredStatus,
    /// A deployment got another status.
    DeploymentStatusUpdate,
    /// Canaries were promoted.
    DeploymentPromotion,
    /// The health of allocs was set.
    DeploymentAllocHealth,
    /// A node registered.
    NodeRegistration,
    /// A node was forgotten.
    NodeDeregistration,
    /// A node was opened or closed for placements.
    NodeEligibility,
    /// A node's status changed.
    NodeStreamEvent
}

/// The kinds that a command's notes have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cause {
    /// Of everything but evals.
    pub main: NoteKind,
    /// Of evals.
    pub evals: NoteKind,
}

impl Cause {
    /// Why things change by this command; none when nobody is told. `state` is the one before it.
    pub fn of(command: &Command, state: &State) -> Option<Self> {
        use NoteKind::*;
        let (main, evals) = match command {
            Command::RegisterJob(_) | Command::LaunchJob(_) => (JobRegistered, JobRegistered),
            Command::ScaleJob(_) => (JobRegistered, EvaluationUpdated),
            Command::DeregisterJob { .. } => (JobDeregistered, JobDeregistered),
            Command::RegisterNode { .. } => (NodeRegistration, EvaluationUpdated),
            Command::UpdateNodeStatus { .. } => (NodeStreamEvent, EvaluationUpdated),
            Command::UpdateNodeEligibility { .. } => (NodeEligibility, EvaluationUpdated),
            Command::DeregisterNode { .. } => (NodeDeregistration, EvaluationUpdated),
            Command::UpsertEvals { .. } => (EvaluationUpdated, EvaluationUpdated),
            Command::ApplyPlans { .. } => (PlanResult, PlanResult),
            Command::UpdateAllocs { .. } => (AllocationUpdated, AllocationUpdated),
            Command::UpdateAllocTransitions { .. } => (AllocationUpdateDesiredStatus, AllocationUpdateDesiredStatus),
            Command::UpdateDeployment(_) => (DeploymentStatusUpdate, DeploymentStatusUpdate),
            Command::UpsertDeployment { deployment, .. } => {
                let kind = if promotes(deployment, state) { DeploymentPromotion } else { DeploymentStatusUpdate };
                (kind, kind)
            }
            Command::SetAllocHealth(_) => (DeploymentAllocHealth, DeploymentAllocHealth),
            Command::Collect { .. } => (JobBatchDeregistered, EvaluationUpdated),
            _ => return None,
        };
        Some(Self { main, evals })
    }
}

fn promotes(new: &Deployment, state: &State) -> bool {
    let old = state.deployment(new.id);
    new.task_groups.iter().any(|(name, group)| {
        let was = old.and_then(|old| old.task_groups.get(name)).is_some_and(|old| old.promoted);
        group.promoted && !was
    })
}
