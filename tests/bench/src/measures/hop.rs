//! The price of one more hop: a durable write and a read for a region of three servers, asked of its leader, of a follower and of a
//! server of another region.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use drover_api_client::{Client, QueryOptions};
use drover_harness::{Agent, AgentConfig};
use serde_json::{Value, json};

use crate::cluster::{Cluster, client};
use crate::figure::Figure;
use crate::product::Product;
use crate::tokens;

/// The region of the three; [`Cluster`] names it.
const REGION: &str = "bench";
const OTHER: &str = "other";
/// Requests of each kind to each server in one turn.
const SERIAL: usize = 20;
const TURNS_MAX: usize = 25;
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub fn run(products: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for product in products.iter().filter(|product| product.is_drover()) {
        let cluster = Cluster::start(product)?;
        let other = found_other_region(product, &cluster)?;
        let leader = cluster.leader()?;
        let follower = (leader + 1) % cluster.servers.len();
        let places = [
            ("the leader", &cluster.servers[leader]),
            ("a follower", &cluster.servers[follower]),
            ("another region", &other),
        ];
        let mut writes = vec![Vec::new(); places.len()];
        let mut reads = vec![Vec::new(); places.len()];
        for turn in 0..runs.min(TURNS_MAX) {
            for (place, (_, server)) in places.iter().enumerate() {
                let api = client(&server.address(), PATIENCE)?;
                // One connection for all of them, made before the first that counts.
                read(&api)?;
                for number in 0..SERIAL {
                    writes[place].push(timed(|| write(&api, &format!("h{turn}-{place}-{number}")))?);
                    reads[place].push(timed(|| read(&api))?);
                }
            }
        }
        if cluster.leader()? != leader {
            bail!("another server leads now: these figures are of no place in particular");
        }
        for (what, samples) in [("write", writes), ("read", reads)] {
            let of_place = |((place, _), samples): (&(&str, &Agent), Vec<f64>)| {
                Figure::of(format!("hop {what} asked of {place}"), &product.name, "ms", samples)
            };
            let asked: Vec<Figure> = places.iter().zip(samples).map(of_place).collect();
            for (further, (place, _)) in asked[1..].iter().zip(&places[1..]) {
                figures.push(Figure {
                    measure: format!("hop {what}, price of {place}"),
                    p50: further.p50 - asked[0].p50,
                    p99: further.p99 - asked[0].p99,
                    ..further.clone()
                });
            }
            figures.extend(asked);
        }
    }
    if figures.is_empty() { bail!("only drover joins regions by a token") } else { Ok(figures) }
}

/// One server of a region below the same root, which knows the way.
fn found_other_region(product: &Product, cluster: &Cluster) -> anyhow::Result<Agent> {
    // Only the server that made the root can.
    let mut made = cluster.servers.iter().map(|server| (server, tokens::of_region(product, server, OTHER)));
    let found = made.find_map(|(server, token)| Some((server, token.ok()?)));
    let (founder, token) = found.context("no server makes a token for another region")?;
    let file = founder.dir().join("token-for-other");
    std::fs::write(&file, token)?;
    let mut config = AgentConfig::server("bench-other");
    config.region = OTHER.to_owned();
    config.joins = vec![format!("127.0.0.1:{}", founder.config().serf)];
    config.more.push_str(&format!("server {{\n  join_token_file = {file:?}\n}}\n"));
    let other = product.spawn(config);
    other.wait_for_leader();
    let end = Instant::now() + PATIENCE;
    let api = client(&other.address(), PATIENCE)?;
    while let Err(error) = read(&api) {
        if Instant::now() > end {
            return Err(error).with_context(|| format!("no way to region {REGION}: {}", other.log()));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(other)
}

fn timed(what: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let start = Instant::now();
    what()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn options() -> QueryOptions {
    QueryOptions { region: REGION.to_owned(), ..QueryOptions::default() }
}

fn write(api: &Client, name: &str) -> anyhow::Result<()> {
    api.write::<Value>("/v1/namespace", &json!({ "Name": name, "Description": "bench" }), &options())?;
    Ok(())
}

/// A read that is as new as the last acknowledged write.
fn read(api: &Client) -> anyhow::Result<()> {
    api.read::<Value>("/v1/namespace/default", &options())?;
    Ok(())
}
