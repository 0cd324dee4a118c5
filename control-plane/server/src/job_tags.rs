//! Names for versions of jobs.

use drover_model::{JobKey, Timestamp};
use drover_state::{Command, TagJobVersion};

use crate::clock;
use crate::error::Error;
use crate::server::Server;

/// A version that got a name.
#[derive(Clone, Copy, Debug)]
pub struct Tagged {
    /// When.
    pub at: Timestamp,
    /// Raft index of the write.
    pub index: u64,
}

impl Server {
    /// Gives a version of a job a name; the newest one when none is said.
    ///
    /// # Errors
    /// There is no such version, or another one has that name.
    pub async fn tag_job_version(
        &self,
        key: JobKey,
        name: String,
        version: Option<u64>,
        description: String,
    ) -> Result<Tagged, Error> {
        let at = clock::now();
        let version = match version {
            Some(version) => version,
            None => {
                let snapshot = self.read(false).await?.snapshot;
                let unknown = || Error::Conflict(format!("job {:?} not found", key.id.as_str()));
                snapshot.job(&key).ok_or_else(unknown)?.version
            }
        };
        let tag = Box::new(TagJobVersion { key, name, version, description });
        let (index, _) = self.propose(Command::TagJobVersion { tag, at }).await?;
        Ok(Tagged { at, index })
    }

    /// Takes a name away; gives the raft index.
    ///
    /// # Errors
    /// No version has that name.
    pub async fn untag_job_version(&self, key: JobKey, name: String) -> Result<u64, Error> {
        self.propose(Command::UntagJobVersion { key, name }).await.map(|(index, _)| index)
    }
}
