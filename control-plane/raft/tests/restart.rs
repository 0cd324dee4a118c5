//! One server forms a region, writes, stops and comes back.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::sync::Arc;

use drover_model::{EvalId, JobId, Timestamp};
use drover_raft::{Alone, RaftNode, Settings};
use drover_state::Command;

async fn open(dir: &std::path::Path) -> RaftNode {
    let settings = Settings::new(dir.to_path_buf(), 1, "127.0.0.1:1".to_owned());
    let node = RaftNode::start(settings, Arc::new(Alone), |reason| panic!("raft died: {reason}")).await.unwrap();
    node.bootstrap().await.unwrap();
    node.leadership().wait_for(|now| now.is_leader).await.unwrap();
    node.read_barrier().await.unwrap();
    node
}

fn eval(number: u8) -> Command {
    let eval = drover_model::eval::Eval {
        id: EvalId::from_random([number; 16]),
        job_id: JobId::from("web"),
        ..Default::default()
    };
    Command::UpsertEvals { evals: vec![eval], at: Timestamp(1) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_comes_back_with_its_state() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let mut events = node.events();
    for number in 0..10 {
        node.propose(&eval(number)).await.unwrap();
    }
    assert_eq!(events.recv().await.unwrap().changes.len(), 1);
    let digest = node.snapshot().digest();
    node.shutdown().await;
    drop((node, events));

    let node = open(dir.path()).await;
    assert_eq!(node.snapshot().evals().count(), 10);
    assert_eq!(node.snapshot().digest(), digest);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path()).await;
    let settings = Settings::new(dir.path().to_path_buf(), 1, "127.0.0.1:1".to_owned());
    let error = RaftNode::start(settings, Arc::new(Alone), |_| {}).await.err().unwrap();
    assert!(error.to_string().contains("open the log in"), "{error}");
    node.shutdown().await;
}
