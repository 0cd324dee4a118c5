//! The settings of the scheduler.

use std::sync::Arc;

use super::Applying;
use crate::command::Refusal;
use crate::event::Change;
use crate::scheduler_config::SchedulerConfig;
use crate::state::Table;

impl Applying<'_> {
    pub(super) fn set_scheduler_config(
        &mut self,
        mut config: SchedulerConfig,
        cas: Option<u64>,
    ) -> Result<(), Refusal> {
        let (create_index, modify_index) = match &self.state.scheduler_config {
            Some(old) => (old.create_index, old.modify_index),
            None => (self.index, 0),
        };
        if let Some(wanted) = cas.filter(|wanted| *wanted != modify_index) {
            let reason = format!("the scheduler configuration has index {modify_index}, not {wanted}");
            return Err(Refusal::Conflict { reason });
        }
        config.create_index = create_index;
        config.modify_index = self.index;
        self.state.scheduler_config = Some(Arc::new(config));
        self.changed(Table::SchedulerConfig, Change::SchedulerConfig);
        Ok(())
    }
}
