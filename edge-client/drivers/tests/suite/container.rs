//! `container` under the suite: an image of busybox from a real registry, or from a file where there is none.

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

    fn needs_root(&self) -> bool {
        true
    }

    fn settings(&self, dir: &Path) -> DriverSettings {
        let mut settings = DriverSettings { state_dir: Some(dir.join("client")), ..DriverSettings::default() };
        let config = match registry::can_serve() {
            true => json!({"registry": {(registry::host()): {"plain_http": true}}, "docker_jobs": true}),
            false => json!({"docker_jobs": true}),
        };
        settings.plugins.insert("container".to_owned(), config);
        settings
    }

    fn prepare(&self, deed: Deed, start: &mut TaskStart) -> Option<()> {
        if registry::can_serve() {
            start.config.insert("image".to_owned(), json!(format!("{}/drover/app:v1", registry::host())));
        } else {
            std::fs::copy(registry::archive(), start.dirs.task_dir.join("local/image.tar")).unwrap();
            start.config.insert("image".to_owned(), json!("drover/saved:v1"));
            start.config.insert("load".to_owned(), json!("image.tar"));
        }
        start.config.insert("args".to_owned(), json!(["-c", script(deed)]));
        Some(())
    }

    fn is_isolated(&self) -> bool {
        true
    }
}
