//! A running agent.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use drover_api_client::{Client, Config, QueryOptions};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::config::AgentConfig;
use crate::processes;
use crate::wait::{Told, wait_for};

/// The longest wait for an agent to answer or to end.
const READY_MAX: Duration = Duration::from_secs(120);
/// The longest wait for one answer of an agent that is about to be killed.
const GOODBYE_MAX: Duration = Duration::from_secs(10);
/// The longest wait for a supervisor that was asked to end.
const LEFT_MAX: Duration = Duration::from_secs(10);

/// The directories of agents that run, for a process whose panics abort it and drop nothing.
static RUNNING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// From now on a panic ends every agent of this process before it ends the process itself.
pub fn end_agents_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for pid in running.iter().flat_map(|dir| processes::naming(dir)) {
            processes::signal(pid, Signal::KILL);
        }
    }));
}

/// A running agent with its data. Everything of it ends when this is dropped: the agent, its supervisor, its tasks.
pub struct Agent {
    child: Child,
    binary: PathBuf,
    config: AgentConfig,
    dir: TempDir,
}

impl Agent {
    /// Starts an agent and returns at once.
    ///
    /// # Panics
    /// The binary can't be run.
    pub fn spawn(binary: &Path, config: AgentConfig) -> Self {
        Self::spawn_in(binary, config, Self::room())
    }

    /// A directory for an agent.
    ///
    /// # Panics
    /// There is no place for it.
    pub fn room() -> TempDir {
        tempfile::Builder::new().prefix("drover-test-").tempdir().expect("a temporary directory")
    }

    /// Starts an agent in a directory whose `data` may hold something already, and returns at once.
    ///
    /// # Panics
    /// The binary can't be run.
    pub fn spawn_in(binary: &Path, config: AgentConfig, dir: TempDir) -> Self {
        let data_dir = dir.path().join("data");
        let text = config.text(&data_dir.display().to_string());
        std::fs::write(dir.path().join("agent.hcl"), text).expect("the temporary directory takes a file");
        for (name, text) in &config.files {
            place(&data_dir.join(name), text);
        }
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(dir.path().to_path_buf());
        let child = run(binary, dir.path());
        Self { child, binary: binary.to_path_buf(), config, dir }
    }

    /// Starts an agent and waits until it answers and, if it is a client of its own server, until its node is ready.
    ///
    /// # Panics
    /// It does not in time; the text holds its log.
    pub fn start(binary: &Path, config: AgentConfig) -> Self {
        let agent = Self::spawn(binary, config);
        if agent.config.server {
            agent.wait_for_leader();
        }
        if agent.config.server && agent.config.client {
            agent.wait_for_nodes(1);
        }
        agent
    }

    /// Waits until the agent's region has a leader.
    ///
    /// # Panics
    /// It has none in time.
    pub fn wait_for_leader(&self) {
        wait_for("a leader", READY_MAX, || match self.get("/v1/status/leader") {
            Ok(Value::String(leader)) if !leader.is_empty() => Ok(()),
            other => Err(Told(move || format!("{other:?}\n{}", self.log()))),
        });
    }

    /// Waits until that many nodes are ready.
    ///
    /// # Panics
    /// There are fewer in time.
    pub fn wait_for_nodes(&self, count: usize) {
        let ready = |nodes: Value| {
            nodes.as_array().map_or(0, |nodes| nodes.iter().filter(|node| node["Status"] == "ready").count())
        };
        wait_for("ready nodes", READY_MAX, || match self.get("/v1/nodes").map(ready) {
            Ok(ready) if ready >= count => Ok(()),
            other => Err(Told(move || format!("{other:?} of {count}\n{}", self.log()))),
        });
    }

    /// Calls of its HTTP API.
    ///
    /// # Panics
    /// Never: the address is one of 127.0.0.1.
    pub fn client(&self) -> Client {
        Client::new(Config { address: self.address(), ..Config::default() }).expect("the address is whole")
    }

    /// GET as JSON, or what went wrong as text.
    ///
    /// # Errors
    /// The agent does not answer, or not with success.
    pub fn get(&self, path: &str) -> Result<Value, String> {
        self.client()
            .read::<Value>(path, &QueryOptions::default())
            .map(|answer| answer.value)
            .map_err(|e| e.to_string())
    }

    /// `http://127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.config.http)
    }

    /// What it was told.
    pub fn config(&self) -> &AgentConfig {
        &self.config
    }

    /// The directory of its files and data.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far, on both streams.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("agent.log")).unwrap_or_default()
    }

    /// Kills the agent alone, as a crash would; its supervisor and tasks go on.
    pub fn kill_9(&mut self) {
        self.signal(Signal::KILL);
        self.reap();
    }

    /// Asks the agent to end and waits until it has; gives its exit code.
    ///
    /// # Panics
    /// It does not end in time.
    pub fn terminate(&mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        wait_for("the agent's end", READY_MAX, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status.code()),
            Ok(None) => Err("it runs".to_owned()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Its exit code, once it has ended by itself.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().ok().flatten().map(|status| status.code().unwrap_or(-1))
    }

    /// Starts the agent again on the same data.
    pub fn start_again(&mut self) {
        self.child = run(&self.binary, self.dir.path());
    }

    /// One that has ended and was reaped is left alone: its number may be somebody else's by now.
    fn signal(&mut self, signal: Signal) {
        if matches!(self.child.try_wait(), Ok(None)) {
            processes::signal(self.child.id(), signal);
        }
    }

    fn reap(&mut self) {
        // The only failure is that somebody else has reaped it.
        let _ = self.child.wait();
    }
}

/// What a server keeps to itself is for its owner only.
fn place(path: &Path, text: &str) {
    let parent = path.parent().expect("a path below a directory");
    std::fs::create_dir_all(parent).expect("the temporary directory takes a directory");
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).expect("a new file");
    file.write_all(text.as_bytes()).expect("the file takes its text");
}

fn run(binary: &Path, dir: &Path) -> Child {
    let log = File::options().append(true).create(true).open(dir.join("agent.log")).expect("a log file");
    let other = log.try_clone().expect("a second handle of a file");
    Command::new(binary)
        .arg("agent")
        .arg("-config")
        .arg(dir.join("agent.hcl"))
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(other)
        .spawn()
        .unwrap_or_else(|e| panic!("run {}: {e}", binary.display()))
}

impl Drop for Agent {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|dir| dir != self.dir.path());
        if matches!(self.child.try_wait(), Ok(None)) && self.config.server {
            self.purge_jobs();
        }
        self.kill_9();
        self.remove_host_file();
        // The supervisor and whatever it still holds name the data directory.
        let mut left = processes::naming(self.dir.path());
        for pid in &left {
            processes::signal(*pid, Signal::TERM);
        }
        let end = std::time::Instant::now() + LEFT_MAX;
        while !left.is_empty() && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
            left = processes::naming(self.dir.path());
        }
        for pid in left {
            processes::signal(pid, Signal::KILL);
        }
        self.unmount();
    }
}

impl Agent {
    /// Ends every task the ordinary way, so that cgroups and mounts are gone too.
    fn purge_jobs(&self) {
        let config = Config { address: self.address(), timeout: GOODBYE_MAX, ..Config::default() };
        let Ok(client) = Client::new(config) else { return };
        // Also where the others of its region have gone before: nobody would answer for them.
        let stale = QueryOptions { stale: true, ..QueryOptions::default() };
        let Ok(jobs) = client.read::<Value>("/v1/jobs", &stale) else { return };
        for job in jobs.value.as_array().into_iter().flatten() {
            let path = format!("/v1/job/{}?purge=true", job["ID"].as_str().unwrap_or_default());
            if client.delete::<Value>(&path, &QueryOptions::default()).is_err() {
                // What is left is killed.
                return;
            }
        }
        let end = std::time::Instant::now() + GOODBYE_MAX;
        while std::time::Instant::now() < end {
            let Ok(allocs) = client.read::<Value>("/v1/allocations", &stale) else {
                return;
            };
            let open = |alloc: &&Value| matches!(alloc["ClientStatus"].as_str(), Some("running" | "pending"));
            if allocs.value.as_array().is_none_or(|allocs| allocs.iter().find(open).is_none()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A killed server leaves the file behind by which agents on this host find it.
    fn remove_host_file(&self) {
        let start = format!("{}-", self.config.rpc);
        let entries = std::fs::read_dir("/run/drover").into_iter().flatten().flatten();
        for entry in
            entries.filter(|entry| self.config.server && entry.file_name().to_string_lossy().starts_with(&start))
        {
            // Gone already when the server ended in order.
            let _ = std::fs::remove_file(entry.path());
        }
    }

    fn unmount(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let dir = self.dir.path().display().to_string();
        for mount in
            mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).filter(|path| path.starts_with(&dir))
        {
            // Detached: a file that is still open keeps only itself.
            let _ = rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH);
        }
    }
}
