//! `exec` under the suite.

use std::path::Path;

use drover_drivers::{DriverSettings, TaskStart};
use serde_json::json;

use crate::subject::{Deed, Subject, script};

pub struct Exec;

impl Subject for Exec {
    fn driver(&self) -> &'static str {
        "exec"
    }

    fn available(&self) -> Result<(), String> {
        match rustix::process::geteuid().is_root() {
            true => Ok(()),
            false => Err("needs root".to_owned()),
        }
    }

    fn needs_root(&self) -> bool {
        true
    }

    fn settings(&self, _: &Path) -> DriverSettings {
        DriverSettings::default()
    }

    fn prepare(&self, deed: Deed, start: &mut TaskStart) -> Option<()> {
        start.config.insert("command".to_owned(), json!("/bin/sh"));
        start.config.insert("args".to_owned(), json!(["-c", script(deed)]));
        Some(())
    }

    fn is_isolated(&self) -> bool {
        true
    }
}
