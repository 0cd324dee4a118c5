//! The writer is killed with -9, again and again; what it had acknowledged must be there, whole and in order.
//!
//! The test runs itself as the writer: a child process proposes commands and prints each index once it is acknowledged.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use drover_model::{EvalId, JobId, Timestamp};
use drover_raft::{Alone, RaftNode, Settings};
use drover_state::Command;

const WRITER_DIR: &str = "DROVER_KILL_TEST_DIR";
const ROUNDS: usize = 6;
/// Acknowledged writes before each kill.
const WRITES: usize = 200;
/// The longest wait for the writer's next word, its start included.
const WORD_MAX: Duration = Duration::from_secs(120);

fn eval(number: u64) -> Command {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    let eval = drover_model::eval::Eval {
        id: EvalId::from_random(bytes),
        job_id: JobId::from(format!("job-{number}")),
        priority: number as i64 + 1,
        ..Default::default()
    };
    Command::UpsertEvals { evals: vec![eval], at: Timestamp(1) }
}

async fn open(dir: &Path) -> RaftNode {
    let settings = Settings::new(dir.to_path_buf(), 7, "127.0.0.1:1".to_owned());
    let node = RaftNode::start(settings, Arc::new(Alone), |reason| panic!("raft died: {reason}")).await.unwrap();
    node.bootstrap().await.unwrap();
    node.leadership().wait_for(|now| now.is_leader).await.unwrap();
    node.read_barrier().await.unwrap();
    node
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The child: writes for ever, one line per acknowledged number.
fn write_for_ever(dir: &Path) {
    runtime().block_on(async {
        let node = open(dir).await;
        let mut number = node.snapshot().evals().count() as u64;
        loop {
            node.propose(&eval(number)).await.unwrap();
            println!("acknowledged {number}");
            number += 1;
        }
    });
}

fn spawn_writer(dir: &Path) -> Child {
    Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "acknowledged_writes_survive_kill_9", "--nocapture"])
        .env(WRITER_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn acknowledged_writes_survive_kill_9() {
    if let Some(dir) = std::env::var_os(WRITER_DIR) {
        write_for_ever(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for _ in 0..ROUNDS {
        let mut writer = spawn_writer(dir.path());
        let stdout = writer.stdout.take().unwrap();
        // Read aside: a writer that says nothing more would hold up whoever reads.
        let (said, words) = sync_channel(WRITES);
        let reader = std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            while lines.next().is_some_and(|line| said.send(line).is_ok()) {}
        });
        let mut seen = 0;
        while seen < WRITES {
            let Ok(line) = words.recv_timeout(WORD_MAX) else { break };
            let Some(number) = line.split("acknowledged ").nth(1) else { continue };
            acknowledged = number.parse::<u64>().unwrap() + 1;
            seen += 1;
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        drop(words);
        reader.join().unwrap();
        assert_eq!(seen, WRITES, "the writer ended by itself, or said nothing for {WORD_MAX:?}");
    }
    runtime().block_on(async {
        let node = open(dir.path()).await;
        let snapshot = node.snapshot();
        let mut found: Vec<i64> = snapshot.evals().map(|eval| eval.priority).collect();
        found.sort_unstable();
        let whole: Vec<i64> = (1..=found.len() as i64).collect();
        assert_eq!(found, whole, "a write is missing or there twice");
        assert!(found.len() as u64 >= acknowledged, "{} found, {acknowledged} acknowledged", found.len());
        node.shutdown().await;
    });
}
