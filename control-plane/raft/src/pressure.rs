//! Writes as fast as they go, with snapshots and purges among them (openraft #2116: an apply that runs behind a purge).
//!
//! `DROVER_RAFT_WRITES=400000 cargo test -p drover-raft --release pressure` is the size at which it was found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drover_model::{EvalId, JobId, Timestamp};
use drover_state::{Command, command};
use openraft::BasicNode;
use openraft::storage::RaftLogStorage;
use tokio::time::timeout;

use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::memory_log::MemoryLog;
use crate::network::Network;
use crate::node::{LogLength, config};
use crate::origin::Origin;
use crate::pace::Pace;
use crate::peers::Alone;
use crate::store::Store;
use crate::types::{Proposal, Raft, TypeConfig};

/// Writes at gate size, and at how many of them there is one snapshot.
const WRITES: u64 = 16_000;
const SNAPSHOTS: u64 = 8;
const WRITERS: u64 = 256;
/// A write that takes longer is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

fn write(number: u64) -> Proposal {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(number % 1000).to_be_bytes());
    let eval = drover_model::eval::Eval {
        id: EvalId::from_random(bytes),
        job_id: JobId::from("web"),
        status_description: "x".repeat(1024),
        ..Default::default()
    };
    Proposal::Command(command::encode(&Command::UpsertEvals { evals: vec![eval], at: Timestamp(1) }).into())
}

async fn press(log: impl RaftLogStorage<TypeConfig>) {
    let writes = std::env::var("DROVER_RAFT_WRITES").map_or(WRITES, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::open(dir.path().to_path_buf()).unwrap();
    // The proportions of production, at a smaller size.
    let every = writes / SNAPSHOTS;
    let config = config(LogLength { snapshot_every: every, kept: every / 5 }, Pace::default()).validate().unwrap();
    let store = Arc::new(Store::open(&dir.path().join("origin")).unwrap());
    let network = Network::new(Arc::new(Alone), Arc::new(Origin::open(LogStore::new(store)).unwrap()));
    let raft = Raft::new(1, Arc::new(config), network, log, machine.clone()).await.unwrap();
    raft.initialize(BTreeMap::from([(1, BasicNode::default())])).await.unwrap();
    raft.wait(Some(STUCK_AFTER)).state(openraft::ServerState::Leader, "alone").await.unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let raft = raft.clone();
            tokio::spawn(async move {
                for number in (writer..writes).step_by(WRITERS as usize) {
                    let written = timeout(STUCK_AFTER, raft.client_write(write(number))).await;
                    written.expect("a write is stuck").unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let applied = *machine.published().applied.borrow();
    assert!(applied >= writes, "{applied}");
    let wait = raft.wait(Some(STUCK_AFTER));
    // Without both of them this would prove nothing.
    let metrics =
        wait.metrics(|now| now.snapshot.is_some() && now.purged.is_some(), "snapshot and purge").await.unwrap();
    assert_eq!(metrics.running_state, Ok(()));
    raft.shutdown().await.unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn the_core_lives_through_pressure_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path()).unwrap());
    runtime().block_on(press(LogStore::new(store)));
}

#[test]
fn the_core_lives_through_pressure_in_memory() {
    runtime().block_on(press(MemoryLog::default()));
}
