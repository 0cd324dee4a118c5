//! Files of an alloc, and what else is done with its tasks.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::error::Error;
use crate::logs::Frames;
use crate::query::{QueryOptions, escape};

/// One file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct FileInfo {
    /// Its name.
    pub name: String,
    /// It is a directory.
    pub is_dir: bool,
    /// Bytes.
    pub size: i64,
    /// Kind and rights.
    pub file_mode: String,
    /// When it was last changed, as RFC 3339.
    pub mod_time: String,
    /// What it seems to hold.
    pub content_type: String,
}

/// The answer to a stop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Stopped {
    /// The eval that finds another place.
    #[serde(rename = "EvalID")]
    pub eval_id: String,
}

impl Client {
    /// GET /v1/client/fs/ls/:alloc
    pub fn files(&self, alloc_id: &str, path: &str) -> Result<Answer<Vec<FileInfo>>, Error> {
        self.read(&format!("/v1/client/fs/ls/{}", escape(alloc_id)), &QueryOptions::default().with("path", path))
    }

    /// GET /v1/client/fs/stat/:alloc
    pub fn file(&self, alloc_id: &str, path: &str) -> Result<Answer<FileInfo>, Error> {
        self.read(&format!("/v1/client/fs/stat/{}", escape(alloc_id)), &QueryOptions::default().with("path", path))
    }

    /// GET /v1/client/fs/stream/:alloc
    pub fn file_frames(
        &self,
        alloc_id: &str,
        path: &str,
        from_end: bool,
        offset: u64,
        follow: bool,
    ) -> Result<Frames, Error> {
        let options = QueryOptions::default()
            .with("path", path)
            .with("origin", if from_end { "end" } else { "start" })
            .with("offset", offset.to_string())
            .with("follow", follow.to_string());
        Ok(Frames::new(self.stream(&format!("/v1/client/fs/stream/{}", escape(alloc_id)), &options)?))
    }

    /// PUT /v1/client/allocation/:alloc/restart
    pub fn restart_tasks(&self, alloc_id: &str, task: &str, all: bool) -> Result<Answer<Value>, Error> {
        let body = json!({"TaskName": task, "AllTasks": all});
        self.write(&format!("/v1/client/allocation/{}/restart", escape(alloc_id)), &body, &QueryOptions::default())
    }

    /// PUT /v1/client/allocation/:alloc/signal
    pub fn signal_tasks(&self, alloc_id: &str, task: &str, signal: &str) -> Result<Answer<Value>, Error> {
        let body = json!({"Task": task, "Signal": signal});
        self.write(&format!("/v1/client/allocation/{}/signal", escape(alloc_id)), &body, &QueryOptions::default())
    }

    /// PUT /v1/allocation/:alloc/stop
    pub fn stop_alloc(&self, alloc_id: &str, no_shutdown_delay: bool) -> Result<Answer<Stopped>, Error> {
        let mut options = QueryOptions::default();
        if no_shutdown_delay {
            options = options.with("no_shutdown_delay", "true");
        }
        self.write(&format!("/v1/allocation/{}/stop", escape(alloc_id)), &json!({}), &options)
    }
}
