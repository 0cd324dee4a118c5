//! `container` under the suite: an image of busybox from a real registry.

use std::path::Path;

use drover_drivers::{DriverSettings, TaskStart};
use serde_json::json;

use crate::registry;
use crate::subject::{Deed, Subject, script};

pub struct Container;

impl Subject for Container {
    fn driver(&self) -> &'static str {
        "container"
    }

    fn available(&self) -> Result<(), String> {
        if !rustix::process::geteuid().is_root() {
            return Err("needs root".to_owned());
        }
        registry::available()
    }

    fn settings(&self, dir: &Path) -> DriverSettings {
        let host = registry::host();
        let mut settings = DriverSettings { state_dir: Some(dir.join("client")), ..DriverSettings::default() };
        let config = json!({"registry": {host: {"plain_http": true}}, "docker_jobs": true});
        settings.plugins.insert("container".to_owned(), config);
        settings
    }

    fn prepare(&self, deed: Deed, start: &mut TaskStart) -> Option<()> {
        start.config.insert("image".to_owned(), json!(format!("{}/drover/app:v1", registry::host())));
        start.config.insert("args".to_owned(), json!(["-c", script(deed)]));
        Some(())
    }

    fn is_isolated(&self) -> bool {
        true
    }
}
