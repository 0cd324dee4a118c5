//! Rollback: which version a job goes back to when its deployment failed, and how the deployment says so.

use std::sync::Arc;

use drover_model::job::Job;
use drover_state::Snapshot;

/// What a failed deployment with `auto_revert` goes back to.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollback {
    /// To be registered again; none when there is nothing to go back to.
    pub job: Option<Arc<Job>>,
    /// The end of the deployment's description.
    pub suffix: String,
}

/// Looks for the newest stable version of a job.
pub fn find(snapshot: &Snapshot, job: &Job) -> Rollback {
    let versions = snapshot.job_versions(&job.key());
    let Some(stable) = versions.into_iter().find(|version| version.stable && !version.stop) else {
        return Rollback { job: None, suffix: " - no stable job version to auto revert to".to_owned() };
    };
    let version = stable.version;
    if stable.same_request(job) {
        let reason = "as current job has same specification";
        return Rollback { job: None, suffix: format!(" - not rolling back to stable job version {version} {reason}") };
    }
    Rollback { job: Some(stable.clone()), suffix: format!(" - rolling back to job version {version}") }
}
