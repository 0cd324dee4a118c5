//! The state of a region as a file.

use std::io::Read;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::client::Client;
use crate::error::Error;
use crate::query::QueryOptions;

/// How long a region may take to restore what it has got.
const RESTORE_TIME_MAX: Duration = Duration::from_secs(1800);

/// How long a server may take until a snapshot is written and begins to come.
const SAVE_TIME_MAX: Duration = Duration::from_secs(600);

/// A snapshot as it comes.
pub struct SnapshotAnswer {
    /// SHA-256 of the whole, as the agent says; none when it says nothing.
    pub digest: Option<Vec<u8>>,
    /// The bytes.
    pub body: Box<dyn Read + Send>,
}

impl Client {
    /// GET /v1/operator/snapshot
    pub fn save_snapshot(&self, options: &QueryOptions) -> Result<SnapshotAnswer, Error> {
        let url = self.url("/v1/operator/snapshot", options);
        let response = self.get_slow(&url, SAVE_TIME_MAX)?;
        let digest = response.headers().get("digest").and_then(|value| value.to_str().ok());
        let digest = digest.and_then(|text| STANDARD.decode(text.strip_prefix("sha-256=")?).ok());
        Ok(SnapshotAnswer { digest, body: Box::new(response.into_body().into_reader()) })
    }

    /// PUT /v1/operator/snapshot, of `length` bytes.
    pub fn restore_snapshot(&self, snapshot: impl Read, length: u64, options: &QueryOptions) -> Result<(), Error> {
        let url = self.url("/v1/operator/snapshot", options);
        self.put_stream(&url, snapshot, length, RESTORE_TIME_MAX).map(drop)
    }
}
