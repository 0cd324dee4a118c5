//! The settings of the region's scheduler: set by operators, heeded by the scheduler and by what makes work for it.

use drover_state::scheduler_config::SchedulerConfig;
use drover_state::{Command, Snapshot};

use crate::error::Error;
use crate::server::Server;

/// Nothing new is taken in.
const REJECTED: &str = "Job registration, dispatch, and scale are disabled by the scheduler configuration";

impl Server {
    /// Sets the settings; false when they have another index than `cas`.
    ///
    /// # Errors
    /// Nobody leads.
    pub async fn set_scheduler_config(&self, config: SchedulerConfig, cas: Option<u64>) -> Result<bool, Error> {
        match self.propose(Command::SetSchedulerConfig { config: Box::new(config), cas }).await {
            Ok(_) => Ok(true),
            Err(Error::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Refuses new jobs, launches and scalings while the operators want none.
pub(crate) fn check_takes_jobs(snapshot: &Snapshot) -> Result<(), Error> {
    match snapshot.scheduler_config().rejects_jobs {
        true => Err(Error::Forbidden(REJECTED.to_owned())),
        false => Ok(()),
    }
}
