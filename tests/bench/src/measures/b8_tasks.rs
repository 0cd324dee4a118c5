//! What a running task takes beside its own memory: of the client's processes, and of the kernel's memory.

use std::time::Duration;

use drover_harness::AgentConfig;

use crate::figure::Figure;
use crate::product::{Product, ROOM_FOR_MANY, job, lacks_driver, register, stop_and_rest, wait_for_count};
use crate::usage::{kernel_bytes, pss_bytes};

/// How many tasks run.
const COUNTS: [usize; 3] = [1, 100, 1000];
/// A peer with processes of its own for each task gets no more than this machine has memory for.
const COUNT_OF_PEERS_MAX: usize = 100;
/// Until nothing of a start is left.
const REST: Duration = Duration::from_secs(10);
/// The longest that all of them may take to run.
const RUNNING_MAX: Duration = Duration::from_secs(300);
const KIB: f64 = 1024.0;

pub fn run(products: &[Product], _runs: usize) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for product in products {
        for driver in ["raw_exec", "exec"] {
            for count in COUNTS.into_iter().filter(|count| product.is_drover() || *count <= COUNT_OF_PEERS_MAX) {
                match measure(product, driver, count) {
                    Ok((own, kernel)) => {
                        let name = |what: &str| format!("b8-tasks {count} {driver}, {what} each");
                        figures.push(Figure::one(name("client memory"), &product.name, "KiB", own));
                        figures.push(Figure::one(name("kernel memory"), &product.name, "KiB", kernel));
                    }
                    Err(error) => eprintln!("{driver} of {} is left out: {error:#}", product.name),
                }
            }
        }
    }
    Ok(figures)
}

/// KiB of the client's processes and of the kernel, for each task. The kernel's part holds the task's own process.
fn measure(product: &Product, driver: &str, count: usize) -> anyhow::Result<(f64, f64)> {
    let server = product.spawn(AgentConfig::server("bench-server"));
    server.wait_for_leader();
    let rpc = format!("127.0.0.1:{}", server.config().rpc);
    let mut config = AgentConfig::client("bench-client", &[rpc]);
    config.more.push_str(ROOM_FOR_MANY);
    let client = product.client_alone().spawn(config);
    server.wait_for_nodes(1);
    let api = server.client();
    if let Some(lack) = lacks_driver(&api, driver)? {
        anyhow::bail!("{lack}");
    }
    // One that came and went: what the first start brings in for good is not the tasks' part.
    register(&api, &job("b8-first", "service", driver, 1, "/bin/sleep", &["3600"]))?;
    wait_for_count(&api, "b8-first", "Running", 1, RUNNING_MAX)?;
    stop_and_rest(&api, "b8-first")?;
    // A fixed rest is the measure's own definition.
    std::thread::sleep(REST);
    let before = (pss_bytes(&client, &["sleep"])?, kernel_bytes()?);
    register(&api, &job("b8-tasks", "service", driver, count, "/bin/sleep", &["3600"]))?;
    wait_for_count(&api, "b8-tasks", "Running", count, RUNNING_MAX)?;
    std::thread::sleep(REST);
    let after = (pss_bytes(&client, &["sleep"])?, kernel_bytes()?);
    let each = |before: f64, after: f64| (after - before).max(0.0) / count as f64 / KIB;
    Ok((each(before.0, after.0), each(before.1, after.1)))
}
