//! What shall be: one alloc with the job version it runs.

use std::sync::Arc;

use drover_model::alloc::{Alloc, DesiredStatus, NetworkStatus};
use drover_model::group::Group;
use drover_model::job::Job;
use serde::{Deserialize, Serialize};

/// One alloc as the servers want it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wanted {
    /// The alloc.
    pub alloc: Alloc,
    /// The job version that it runs.
    pub job: Arc<Job>,
}

impl Wanted {
    /// With the network that the alloc has on this edge.
    #[must_use]
    pub fn with_network(mut self, network: Option<NetworkStatus>) -> Wanted {
        self.alloc.network_status = network.map(Box::new);
        self
    }

    /// Its group; none when the job does not have it, which only a broken server sends.
    pub fn group(&self) -> Option<&Group> {
        self.job.group(&self.alloc.task_group)
    }

    /// It shall run.
    pub fn shall_run(&self) -> bool {
        self.alloc.desired_status == DesiredStatus::Run
    }
}
