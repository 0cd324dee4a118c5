//! `raw_exec` under the suite.

use std::path::Path;

use drover_drivers::{DriverSettings, TaskStart};
use serde_json::json;

use crate::subject::{Deed, Subject, script};

pub struct RawExec;

impl Subject for RawExec {
    fn driver(&self) -> &'static str {
        "raw_exec"
    }

    fn available(&self) -> Result<(), String> {
        Ok(())
    }

    fn settings(&self, _: &Path) -> DriverSettings {
        DriverSettings { raw_exec_enabled: true, ..DriverSettings::default() }
    }

    fn prepare(&self, deed: Deed, start: &mut TaskStart) -> Option<()> {
        start.env.insert("PATH".to_owned(), "/usr/bin:/bin".to_owned());
        start.config.insert("command".to_owned(), json!("/bin/sh"));
        start.config.insert("args".to_owned(), json!(["-c", script(deed)]));
        Some(())
    }

    fn is_isolated(&self) -> bool {
        false
    }
}
