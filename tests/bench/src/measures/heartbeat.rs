//! What an idle client costs on the wire: all UDP payload both ways between a real one and its server, counted by a relay
//! between them. A peer, which speaks TCP, is left out.

use std::time::Duration;

use anyhow::bail;
use drover_harness::dice::Dice;
use drover_harness::weather::Weather;
use drover_harness::{AgentConfig, Relay};

use crate::figure::Figure;
use crate::product::Product;
use crate::tokens;

/// Until nothing of the start is left on the wire.
const REST: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
const MINUTES_MAX: usize = 5;

pub fn run(products: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for product in products.iter().filter(|product| product.is_drover()) {
        let relay = Relay::new(Weather::FAIR, Dice::new(1));
        let mut config = AgentConfig::server("bench-server");
        let door = relay.door(0, config.rpc);
        // The client is told of servers again and again, and must know none but the door.
        config.more.push_str(&format!("advertise {{\n  rpc = \"127.0.0.1:{door}\"\n}}\n"));
        let server = product.spawn(config);
        server.wait_for_leader();
        let token = tokens::of_client(product, &server)?;
        let file = server.dir().join("join-token");
        std::fs::write(&file, token)?;
        let mut config = AgentConfig::client("bench-client", &[format!("127.0.0.1:{door}")]);
        config.more.push_str(&format!("client {{\n  join_token_file = {file:?}\n}}\n"));
        let client = product.client_alone().spawn(config);
        server.wait_for_nodes(1);
        // Fixed times are the measure's own definition.
        std::thread::sleep(REST);
        let (mut bytes, mut packets) = (Vec::new(), Vec::new());
        for _ in 0..runs.min(MINUTES_MAX) {
            let before = relay.carried();
            std::thread::sleep(MINUTE);
            let after = relay.carried();
            bytes.push((after.bytes - before.bytes) as f64);
            packets.push((after.packets - before.packets) as f64);
        }
        let nodes = server.get("/v1/nodes").map_err(anyhow::Error::msg)?;
        if nodes[0]["Status"] != "ready" || packets.iter().all(|packets| *packets == 0.0) {
            bail!("the client was lost meanwhile: {nodes}\n{}", client.log());
        }
        let minutes = bytes.len() as f64;
        let mean = bytes.iter().sum::<f64>() / minutes;
        figures.push(Figure::one("heartbeat UDP payload, mean", &product.name, "B/min", mean));
        figures.push(Figure::of("heartbeat UDP payload of a minute", &product.name, "B/min", bytes));
        figures.push(Figure::of("heartbeat packets of a minute", &product.name, "1/min", packets));
    }
    if figures.is_empty() { bail!("only drover speaks UDP") } else { Ok(figures) }
}
