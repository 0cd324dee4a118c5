//! What an agent is asked of itself and no server knows: its log, its configuration.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::mpsc;

/// Which lines of a log are wanted, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogWanted {
    /// At least as grave as this.
    pub level: tracing::Level,
    /// As JSON.
    pub json: bool,
}

/// A configuration that is being read again; why it was not taken.
pub type Reloading = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// The agent around a server or a client.
pub trait AgentControl: Send + Sync {
    /// The lines of its log from now on; none where too many follow it already.
    fn follow_log(&self, wanted: LogWanted) -> Option<mpsc::Receiver<String>>;

    /// Reads its configuration again, as SIGHUP does.
    fn reload(&self) -> Reloading;

    /// It tells of its host (`enable_debug`).
    fn is_debug(&self) -> bool;
}
