//! Simulated edges beside a measure: a runtime of their own, so that the measure itself stays plain threads.

use std::time::Duration;

use anyhow::Context;
use drover_harness::{Agent, AgentConfig};
use drover_sim_edge::{Fleet, FleetSettings};
use tokio::runtime::{Builder, Runtime};

use crate::product::Product;

/// The longest until all of them are ready.
const READY_MAX: Duration = Duration::from_secs(300);

/// Simulated edges with their runtime.
pub struct Edges {
    // Before the runtime, on which its tasks run.
    _fleet: Fleet,
    _runtime: Runtime,
}

impl Edges {
    /// So many edges of a server on this host, all of them ready.
    pub fn start(server: &Agent, count: usize) -> anyhow::Result<Edges> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().context("start a runtime")?;
        let settings = FleetSettings::of(&format!("127.0.0.1:{}", server.config().rpc), count);
        let fleet = runtime.block_on(async {
            let mut fleet = Fleet::start(&settings)?;
            fleet.wait_until_ready(READY_MAX).await?;
            anyhow::Ok(fleet)
        })?;
        Ok(Edges { _fleet: fleet, _runtime: runtime })
    }
}

/// A server alone that takes as many connections from this host as come.
pub fn open_server(product: &Product, name: &str) -> Agent {
    let mut config = AgentConfig::server(name);
    config.more.push_str("limits {\n  http_max_conns_per_client = 0\n  rpc_max_conns_per_client = 0\n}\n");
    let server = product.spawn(config);
    server.wait_for_leader();
    server
}
