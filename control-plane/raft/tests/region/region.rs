//! Several servers in one process, over the network in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drover_model::{EvalId, JobId, Timestamp};
use drover_raft::{LogLength, RaftNode, Settings};
use drover_state::{Answer, Command};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::net::Net;

/// No wait of these tests takes longer, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub struct Region {
    pub net: Net,
    pub nodes: BTreeMap<u64, RaftNode>,
    pub log: LogLength,
    dirs: BTreeMap<u64, TempDir>,
    deaths: Arc<Mutex<Vec<String>>>,
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Gives up with a word when it takes too long.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not in {PATIENCE:?}"))
}

fn id_of(number: u64) -> EvalId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    EvalId::from_random(bytes)
}

/// A write that can be told from all others.
pub fn write(number: u64) -> Command {
    let eval = drover_model::eval::Eval {
        id: id_of(number),
        job_id: JobId::from(format!("job-{number}")),
        priority: number as i64 + 1,
        ..Default::default()
    };
    Command::UpsertEvals { evals: vec![eval], at: Timestamp(1) }
}

pub fn has(node: &RaftNode, number: u64) -> bool {
    node.snapshot().eval(id_of(number)).is_some()
}

pub fn address(number: u64) -> String {
    format!("10.0.0.{number}:4647")
}

impl Region {
    /// Servers that run and know nobody.
    pub async fn empty(count: u64, seed: u64, log: LogLength) -> Self {
        let mut region =
            Self { net: Net::new(seed), nodes: BTreeMap::new(), log, dirs: BTreeMap::new(), deaths: Arc::default() };
        for number in 1..=count {
            region.start(number).await;
        }
        region
    }

    /// A region of so many servers, one of which leads.
    pub async fn formed(count: u64, seed: u64) -> Self {
        Self::formed_with(count, seed, LogLength::default()).await
    }

    pub async fn formed_with(count: u64, seed: u64, log: LogLength) -> Self {
        let region = Self::empty(count, seed, log).await;
        let members: BTreeMap<u64, String> = (1..=count).map(|number| (number, address(number))).collect();
        for node in region.nodes.values() {
            node.initialize(members.clone()).await.unwrap();
        }
        region.leader().await;
        region
    }

    pub fn dir(&self, number: u64) -> PathBuf {
        self.dirs[&number].path().to_path_buf()
    }

    /// Starts a server, on the disk that it had.
    pub async fn start(&mut self, number: u64) {
        let dir = self.dirs.entry(number).or_insert_with(|| tempfile::tempdir().unwrap()).path().to_path_buf();
        let settings = Settings { log: self.log, ..Settings::new(dir, number, address(number)) };
        let deaths = self.deaths.clone();
        let fatal = move |reason| deaths.lock().unwrap().push(format!("server {number}: {reason}"));
        let node = RaftNode::start(settings, self.net.peers_of(number), fatal).await.unwrap();
        self.net.attach(number, node.clone());
        self.nodes.insert(number, node);
    }

    pub async fn stop(&mut self, number: u64) {
        self.net.detach(number);
        let node = self.nodes.remove(&number).unwrap();
        within("a server stops", node.shutdown()).await;
    }

    /// Its disk is gone as well.
    pub async fn lose(&mut self, number: u64) {
        self.stop(number).await;
        self.dirs.remove(&number);
    }

    pub fn others(&self, number: u64) -> Vec<u64> {
        self.nodes.keys().copied().filter(|other| *other != number).collect()
    }

    /// Waits for a server of these that leads.
    pub async fn leader_of(&self, numbers: &[u64]) -> u64 {
        let mut leading: FuturesUnordered<_> = numbers
            .iter()
            .map(|number| async move {
                let mut leadership = self.nodes[number].leadership();
                leadership.wait_for(|now| now.is_leader).await.map(|_| *number)
            })
            .collect();
        within("somebody leads", leading.next()).await.unwrap().unwrap()
    }

    pub async fn leader(&self) -> u64 {
        self.leader_of(&self.nodes.keys().copied().collect::<Vec<_>>()).await
    }

    /// Writes through whoever leads until it is acknowledged.
    pub async fn write(&self, number: u64) -> u64 {
        self.write_among(&self.nodes.keys().copied().collect::<Vec<_>>(), number).await
    }

    pub async fn write_among(&self, numbers: &[u64], number: u64) -> u64 {
        let written = async {
            loop {
                let leader = self.leader_of(numbers).await;
                match self.nodes[&leader].propose(&write(number)).await {
                    Ok((index, answer)) => {
                        assert_eq!(answer, Answer::Done);
                        return index;
                    }
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        within("a write is acknowledged", written).await
    }

    /// Hands leadership over, to `wanted` or to whom the leader chooses; gives the one before and the next. On a busy machine a leader
    /// may be replaced in between, and then the next one is asked.
    pub async fn hand_over(&self, to_other: bool) -> (u64, u64) {
        let handed_over = async {
            loop {
                let leader = self.leader().await;
                let wanted = to_other.then(|| self.others(leader)[0]);
                match self.nodes[&leader].transfer_leadership(wanted).await {
                    Ok(next) => {
                        assert!(wanted.is_none_or(|wanted| wanted == next));
                        return (leader, next);
                    }
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        within("leadership is handed over", handed_over).await
    }

    /// The index that a read of now has to wait for.
    pub async fn read_index(&self) -> u64 {
        let read = async {
            loop {
                match self.nodes[&self.leader().await].read_index().await {
                    Ok(index) => return index,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        within("a read is answered", read).await
    }

    /// Waits until all servers have what the leader has; all states are equal then.
    pub async fn settle(&self) {
        let index = self.read_index().await;
        for node in self.nodes.values() {
            assert!(node.wait_applied(index, PATIENCE).await, "a server does not catch up");
        }
        let digests: Vec<u64> = self.nodes.values().map(|node| node.snapshot().digest()).collect();
        assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "states differ: {digests:?}");
    }

    /// Stops all; none may have died before.
    pub async fn end(mut self) {
        assert_eq!(*self.deaths.lock().unwrap(), Vec::<String>::new());
        for number in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.stop(number).await;
        }
    }

    pub fn deaths(&self) -> Vec<String> {
        self.deaths.lock().unwrap().clone()
    }
}
