//! What the HTTP API asks of the agent around its server or client: its log, and to read its configuration again.

use std::sync::Arc;

use drover_agent_config::Settings;
use drover_agent_config::settings::LogLevel;
use drover_edge_agent::logging;
use drover_http_api::{AgentControl, LogWanted, Reloading};
use tokio::sync::{mpsc, oneshot};

/// What came of reading the configuration again.
pub type Reloaded = Result<(), String>;

/// Who waits to be told so.
pub type Reloads = mpsc::Receiver<oneshot::Sender<Reloaded>>;

/// Requests to read the configuration that wait for their turn.
const RELOADS_MAX: usize = 4;

/// The agent, as its API sees it.
pub struct Control {
    reloads: mpsc::Sender<oneshot::Sender<Reloaded>>,
    is_debug: bool,
}

impl Control {
    /// The agent with those settings, and where it hears that it is to read its configuration.
    pub fn new(settings: &Settings) -> (Arc<Self>, Reloads) {
        let (reloads, asked) = mpsc::channel(RELOADS_MAX);
        (Arc::new(Self { reloads, is_debug: settings.enable_debug }), asked)
    }
}

impl AgentControl for Control {
    fn follow_log(&self, wanted: LogWanted) -> Option<mpsc::Receiver<String>> {
        logging::follow(LogLevel::parse(wanted.level.as_str()).unwrap_or_default(), wanted.json)
    }

    fn reload(&self) -> Reloading {
        let reloads = self.reloads.clone();
        Box::pin(async move {
            let stops = || "the agent stops".to_owned();
            let (tell, told) = oneshot::channel();
            reloads.send(tell).await.map_err(|_| stops())?;
            told.await.map_err(|_| stops())?
        })
    }

    fn is_debug(&self) -> bool {
        self.is_debug
    }
}
