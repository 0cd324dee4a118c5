//! A plan: what a scheduler proposes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alloc::{Alloc, ClientStatus, DesiredStatus};
use crate::deployment::{Deployment, DeploymentStatus};
use crate::id::{AllocId, DeploymentId, EvalId, JobKey};
use crate::wire::is_default;

/// What a scheduler proposes for one eval, and what the plan applier commits of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// The eval.
    pub eval_id: EvalId,
    /// The eval's priority.
    pub priority: i64,
    /// The job.
    pub job: JobKey,
    /// The version that placements run.
    pub job_version: u64,
    /// Commit all or nothing.
    pub all_at_once: bool,
    /// Allocs to be stopped.
    pub stops: Vec<PlanStop>,
    /// New allocs.
    pub placements: Vec<Alloc>,
    /// Allocs that stay and get a new job version (in-place updates, follow-up marks).
    pub updates: Vec<PlanUpdate>,
    /// A new deployment, when this is the first plan of a version that has one.
    pub deployment: Option<Deployment>,
    /// Changes to deployments that exist.
    pub deployment_updates: Vec<DeploymentUpdate>,
    /// Counts per group, for people.
    pub annotations: Option<PlanAnnotations>,
    /// The index of the snapshot it was made on.
    pub snapshot_index: u64,
}

impl Plan {
    /// True when committing it would change nothing.
    pub fn is_noop(&self) -> bool {
        self.stops.is_empty()
            && self.placements.is_empty()
            && self.updates.is_empty()
            && self.deployment.is_none()
            && self.deployment_updates.is_empty()
    }
}

/// An alloc that a plan stops.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanStop {
    /// The alloc.
    pub alloc_id: AllocId,
    /// Stop or evict.
    pub desired_status: DesiredStatus,
    /// Why.
    pub desired_description: String,
    /// `lost` when its node is gone; none leaves what the edge said.
    pub client_status: Option<ClientStatus>,
    /// The alloc that takes its place.
    pub next_alloc: Option<AllocId>,
    /// The eval that will look at it later.
    pub followup_eval: Option<EvalId>,
}

/// An alloc that stays, with changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanUpdate {
    /// The alloc.
    pub alloc_id: AllocId,
    /// The version it runs from now on; none leaves it.
    pub job_version: Option<u64>,
    /// The eval that made the change; none leaves it.
    pub eval_id: Option<EvalId>,
    /// The deployment it counts in from now on.
    pub deployment_id: Option<DeploymentId>,
    /// The eval that will look at it later.
    pub followup_eval: Option<EvalId>,
}

/// A change to a deployment that exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeploymentUpdate {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// Its new status.
    pub status: DeploymentStatus,
    /// In words.
    pub status_description: String,
}

/// What a plan does, counted per group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanAnnotations {
    /// Per group.
    #[serde(rename = "DesiredTGUpdates")]
    pub desired_group_updates: BTreeMap<String, DesiredUpdates>,
    /// Carried only.
    #[serde(rename = "PreemptedAllocs")]
    pub preempted_allocs: Option<Vec<serde_json::Value>>,
}

/// What a plan does with one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(missing_docs, reason = "each counts allocs and is named as the API names it")]
pub struct DesiredUpdates {
    pub ignore: u64,
    pub place: u64,
    pub migrate: u64,
    pub stop: u64,
    pub in_place_update: u64,
    pub destructive_update: u64,
    pub canary: u64,
    pub preemptions: u64,
    pub disconnect: u64,
    pub reconnect: u64,
    pub reschedule_now: u64,
    pub reschedule_later: u64,
}

impl DesiredUpdates {
    /// True when nothing is done.
    pub fn is_empty(&self) -> bool {
        is_default(self)
    }
}
