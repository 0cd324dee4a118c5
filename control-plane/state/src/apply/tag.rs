//! Names for versions of a job. A version with a name is kept.

use drover_model::job::Job;
use drover_model::{JobKey, Timestamp};
use serde_json::{Value, json};

use super::Applying;
use crate::command::{Refusal, TagJobVersion};
use crate::event::Change;
use crate::state::Table;

fn conflict(reason: String) -> Refusal {
    Refusal::Conflict { reason }
}

/// The name of a version.
fn name_of(job: &Job) -> Option<&str> {
    job.version_tag.as_ref()?.get("Name")?.as_str()
}

impl Applying<'_> {
    pub(super) fn tag_job_version(&mut self, tag: TagJobVersion, at: Timestamp) -> Result<(), Refusal> {
        let TagJobVersion { key, name, version, description } = tag;
        let id = key.id.as_str();
        let missing = || conflict(format!("job {id:?} version {version} not found"));
        let create_index = self.state.jobs.get(&key).map(|job| job.create_index).ok_or_else(missing)?;
        let versions = self.state.versions.get(&key).ok_or_else(missing)?;
        let job = versions.get(&(create_index, version)).cloned().ok_or_else(missing)?;
        let is_taken = |(place, other): (&(u64, u64), &std::sync::Arc<Job>)| {
            place.0 == create_index && place.1 != version && name_of(other) == Some(name.as_str())
        };
        if versions.iter().any(is_taken) {
            return Err(conflict(format!("tag {name:?} already exists on a different version of job {id:?}")));
        }
        let tag = json!({ "Description": description, "Name": name, "TaggedTime": at.0 });
        self.put_version(Job { version_tag: Some(tag), ..Job::clone(&job) });
        Ok(())
    }

    pub(super) fn untag_job_version(&mut self, key: &JobKey, name: &str) -> Result<(), Refusal> {
        let id = key.id.as_str();
        let tagged = self.state.job_versions(key).into_iter().find(|job| name_of(job) == Some(name)).cloned();
        let tagged = tagged.ok_or_else(|| conflict(format!("tag {name:?} not found on job {id:?}")))?;
        self.put_version(Job { version_tag: None::<Value>, ..Job::clone(&tagged) });
        // It counts among those that may be forgotten again.
        self.shrunk.insert(key.clone());
        Ok(())
    }

    /// Writes a version, the current one or an older one.
    fn put_version(&mut self, job: Job) {
        let key = job.key();
        if self.state.jobs.get(&key).is_some_and(|current| current.version == job.version) {
            self.put_job(job);
            return;
        }
        self.state.set_version(&Job { modify_index: self.index, ..job }.into());
        self.changed(Table::Jobs, Change::Job(key));
    }
}
