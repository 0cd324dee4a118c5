//! Footprint: size of the binary; memory of an idle server and an idle client (with all processes of theirs), and how often the
//! client is woken while nothing happens.

use std::time::Duration;

use drover_harness::AgentConfig;

use crate::figure::Figure;
use crate::product::Product;
use crate::usage::{cpu_ms, processes_of, pss_bytes, wake_ups};

/// Until nothing of the start is left.
const REST: Duration = Duration::from_secs(20);
/// The time over which an idle client is watched.
const WATCHED: Duration = Duration::from_secs(60);
const MIB: f64 = 1024.0 * 1024.0;

pub fn run(products: &[Product], _runs: usize) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for product in products {
        let mut say = |what: &str, unit: &'static str, value: f64| {
            figures.push(Figure::one(format!("b8 {what}"), &product.name, unit, value));
        };
        say("binary", "MiB", std::fs::metadata(&product.binary)?.len() as f64 / MIB);
        let alone = product.client_alone();
        if alone.binary != product.binary {
            say("edge binary", "MiB", std::fs::metadata(&alone.binary)?.len() as f64 / MIB);
        }
        let server = product.spawn(AgentConfig::server("bench-server"));
        server.wait_for_leader();
        let rpc = format!("127.0.0.1:{}", server.config().rpc);
        let client = alone.spawn(AgentConfig::client("bench-client", &[rpc]));
        server.wait_for_nodes(1);
        // Idle means that nothing of the start is left: a fixed rest is the measure's own definition.
        std::thread::sleep(REST);
        let ids = processes_of(&client, &[]);
        let before = (wake_ups(&ids), cpu_ms(&ids, false));
        std::thread::sleep(WATCHED);
        let after = (wake_ups(&ids), cpu_ms(&ids, false));
        say("idle server PSS", "MiB", pss_bytes(&server, &[])? / MIB);
        say("idle client PSS", "MiB", pss_bytes(&client, &[])? / MIB);
        say("idle client wake-ups", "per s", after.0.saturating_sub(before.0) as f64 / WATCHED.as_secs_f64());
        say("idle client processor", "ms per min", (after.1 - before.1) * 60.0 / WATCHED.as_secs_f64());
    }
    Ok(figures)
}
