//! Cuts, slow links, broken streams and restarts by a seed, under writes: what was acknowledged stays.
//!
//! `DROVER_RAFT_SEEDS=1..200 cargo test -p drover-raft --test region faults` runs these seeds instead of the usual ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::net::Weather;
use crate::region::{Region, has, runtime, within, write};

const SEEDS: [u64; 3] = [101, 102, 103];
const ACKNOWLEDGED_PER_FAULT: u64 = 40;
const FAULTS: u64 = 6;

/// Writes for ever through whoever leads; counts what was acknowledged.
async fn write_on(
    node: drover_raft::RaftNode,
    numbers: Arc<AtomicU64>,
    acknowledged: watch::Sender<Vec<u64>>,
    stop: Arc<AtomicBool>,
) {
    let mut leadership = node.leadership();
    while !stop.load(Ordering::Relaxed) {
        if !leadership.borrow_and_update().is_leader {
            let _ = tokio::time::timeout(Duration::from_millis(50), leadership.changed()).await;
            continue;
        }
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        match node.propose(&write(number)).await {
            Ok(_) => acknowledged.send_modify(|all| all.push(number)),
            // A server that was stopped refuses at once: whoever tells that it no longer leads must get a turn.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[test]
fn what_was_acknowledged_stays_through_all_weather() {
    let given = std::env::var("DROVER_RAFT_SEEDS").ok();
    let range = given.as_deref().map(|text| text.split_once("..").expect("from..to"));
    let seeds = match range {
        Some((from, to)) => (from.parse().unwrap()..to.parse().unwrap()).collect(),
        None => SEEDS.to_vec(),
    };
    for seed in seeds {
        println!("seed {seed}");
        runtime().block_on(run(seed));
    }
}

async fn run(seed: u64) {
    let log = drover_raft::LogLength { snapshot_every: 150, kept: 20 };
    let mut region = Region::formed_with(3, seed, log).await;
    let numbers = Arc::new(AtomicU64::new(0));
    let acknowledged = watch::Sender::new(Vec::new());
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    let writer = |node: &drover_raft::RaftNode| {
        tokio::spawn(write_on(node.clone(), numbers.clone(), acknowledged.clone(), stop.clone()))
    };
    for node in region.nodes.values() {
        writers.extend((0..4).map(|_| writer(node)));
    }
    for _ in 0..FAULTS {
        let victim = region.net.chance(3) + 1;
        let others = region.others(victim);
        let weather = Weather { delay_max: Duration::from_millis(3), breaks_per_mille: region.net.chance(8) };
        region.net.set_weather(weather);
        match region.net.chance(4) {
            0 => region.net.cut(&[victim], &others),
            1 => region.net.cut_one_way(victim, others[0]),
            2 => others.iter().for_each(|other| region.net.cut_one_way(*other, victim)),
            _ => {
                region.stop(victim).await;
                region.start(victim).await;
                writers.extend((0..4).map(|_| writer(&region.nodes[&victim])));
            }
        }
        // Two of three are enough, whatever happens to the third.
        let target = acknowledged.borrow().len() as u64 + ACKNOWLEDGED_PER_FAULT;
        let mut progress = acknowledged.subscribe();
        within(&format!("seed {seed}: writes go on"), progress.wait_for(|all| all.len() as u64 >= target))
            .await
            .unwrap();
        region.net.heal();
    }
    region.net.set_weather(Weather::default());
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        within("a writer ends", writer).await.unwrap();
    }
    region.settle().await;
    for number in acknowledged.borrow().iter() {
        for (server, node) in &region.nodes {
            assert!(has(node, *number), "seed {seed}: server {server} has lost {number}");
        }
    }
    region.end().await;
}
