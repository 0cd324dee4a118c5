//! The rules for looking after the servers.

use std::sync::Arc;

use super::Applying;
use crate::autopilot::AutopilotConfig;
use crate::command::Refusal;

impl Applying<'_> {
    pub(super) fn set_autopilot_config(
        &mut self,
        mut config: AutopilotConfig,
        cas: Option<u64>,
    ) -> Result<(), Refusal> {
        let (create_index, modify_index) = match &self.state.autopilot {
            Some(old) => (old.create_index, old.modify_index),
            None => (self.index, 0),
        };
        if let Some(wanted) = cas.filter(|wanted| *wanted != modify_index) {
            let reason = format!("the autopilot configuration has index {modify_index}, not {wanted}");
            return Err(Refusal::Conflict { reason });
        }
        config.create_index = create_index;
        config.modify_index = self.index;
        self.state.autopilot = Some(Arc::new(config));
        Ok(())
    }
}
