//! A program under measurement: drover, or a peer that speaks the same API and takes the same configuration.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use drover_api_client::{Client, QueryOptions};
use drover_harness::{Agent, AgentConfig};
use serde_json::{Value, json};

/// The longest wait for anything.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// Counts are asked for no more often: to ask costs the agent that is measured.
const COUNT_PAUSE: Duration = Duration::from_millis(10);
/// What an agent has for itself after a job's end, before it is measured again.
const REST: Duration = Duration::from_millis(100);

/// A program under measurement.
#[derive(Clone, Debug)]
pub struct Product {
    /// Its file's name.
    pub name: String,
    /// Its file.
    pub binary: PathBuf,
}

impl Product {
    /// The program in that file.
    pub fn of(binary: &Path) -> anyhow::Result<Self> {
        let binary = binary.canonicalize().with_context(|| format!("binary {}", binary.display()))?;
        let name = binary.file_name().context("a binary has a name")?.to_string_lossy().into_owned();
        Ok(Self { name, binary })
    }

    /// An agent that is server and client, ready to run jobs.
    pub fn start(&self) -> Agent {
        self.start_with("")
    }

    /// The same with more of a configuration.
    pub fn start_with(&self, more: &str) -> Agent {
        let mut config = AgentConfig::both("bench");
        config.more.push_str(more);
        Agent::start(&self.binary, self.adapt(config))
    }

    /// What runs a client alone: a program of its own where there is one beside this.
    pub fn client_alone(&self) -> Self {
        let edge = self.binary.with_file_name("drover-edge");
        let has_own = self.name == "drover" && edge.is_file();
        if has_own { Self { name: self.name.clone(), binary: edge } } else { self.clone() }
    }

    /// An agent's process, running; nothing is waited for.
    pub fn spawn(&self, config: AgentConfig) -> Agent {
        Agent::spawn(&self.binary, self.adapt(config))
    }

    /// It is ours.
    pub fn is_drover(&self) -> bool {
        self.name.starts_with("drover")
    }

    /// What a peer needs to start on loopback, without looking for a cloud around it. drover needs none of it.
    fn adapt(&self, mut config: AgentConfig) -> AgentConfig {
        // As operators run it.
        config.log_level = "INFO";
        if self.is_drover() {
            return config;
        }
        config.more.push_str(
            "advertise {\n  http = \"127.0.0.1\"\n  rpc = \"127.0.0.1\"\n  serf = \"127.0.0.1\"\n}\n\
             limits {\n  http_max_conns_per_client = 0\n  rpc_max_conns_per_client = 0\n}\ndisable_update_check = true\n",
        );
        if config.client {
            config.more.push_str(
                "client {\n  network_interface = \"lo\"\n  options {\n    \"fingerprint.denylist\" = \
                 \"env_aws,env_gce,env_azure,env_digitalocean,consul,vault,cni\"\n  }\n}\n",
            );
        }
        config
    }
}

/// Settings of a client that has room for this many small tasks, whatever the machine has.
pub const ROOM_FOR_MANY: &str = "client {\n  memory_total_mb = 262144\n  cpu_total_compute = 200000\n}\n";

/// Why an agent's client can't run tasks of that driver.
pub fn lacks_driver(client: &Client, driver: &str) -> anyhow::Result<Option<String>> {
    let options = QueryOptions::default();
    let nodes = client.read::<Value>("/v1/nodes", &options)?.value;
    let id = nodes[0]["ID"].as_str().context("the agent has no node")?.to_owned();
    let node = client.read::<Value>(&format!("/v1/node/{id}"), &options)?.value;
    let said = &node["Drivers"][driver];
    if said["Healthy"] == true {
        return Ok(None);
    }
    let why = said["HealthDescription"].as_str().filter(|text| !text.is_empty()).unwrap_or("it has none");
    Ok(Some(format!("driver {driver}: {why}")))
}

/// A job of one group with one task that runs a command.
pub fn job(id: &str, kind: &str, driver: &str, count: usize, command: &str, args: &[&str]) -> Value {
    json!({
        "ID": id, "Name": id, "Type": kind, "Datacenters": ["*"],
        "TaskGroups": [{
            "Name": "g", "Count": count,
            "EphemeralDisk": {"SizeMB": 10},
            "Tasks": [{
                "Name": "t", "Driver": driver, "Config": {"command": command, "args": args},
                "Resources": {"CPU": 1, "MemoryMB": 10},
                "LogConfig": {"MaxFiles": 1, "MaxFileSizeMB": 1},
            }],
        }],
    })
}

/// Registers a job.
pub fn register(client: &Client, job: &Value) -> anyhow::Result<()> {
    client.write::<Value>("/v1/jobs", &json!({"Job": job}), &QueryOptions::default())?;
    Ok(())
}

/// Stops and forgets a job.
pub fn purge(client: &Client, id: &str) -> anyhow::Result<()> {
    client.delete::<Value>(&format!("/v1/job/{id}"), &QueryOptions::default().with("purge", "true"))?;
    Ok(())
}

/// Stops a job and waits until nothing of it runs: what comes next shall not pay for its end.
pub fn stop_and_rest(client: &Client, id: &str) -> anyhow::Result<()> {
    let allocs = client.read::<Value>(&format!("/v1/job/{id}/allocations"), &QueryOptions::default())?.value;
    purge(client, id)?;
    let end = Instant::now() + WAIT_MAX;
    for alloc in allocs.as_array().into_iter().flatten() {
        let path = format!("/v1/allocation/{}", alloc["ID"].as_str().unwrap_or_default());
        let mut index = 0;
        loop {
            let options = QueryOptions::after(index, Duration::from_secs(10));
            // One that was collected meanwhile is not found.
            let Ok(answer) = client.read::<Value>(&path, &options) else { break };
            if matches!(answer.value["ClientStatus"].as_str(), Some("complete" | "failed" | "lost")) {
                break;
            }
            if Instant::now() > end {
                bail!("job {id} does not end: {}", answer.value["ClientStatus"]);
            }
            index = answer.meta.index.max(1);
        }
    }
    // Its directories and processes go behind the report.
    std::thread::sleep(REST);
    Ok(())
}

/// Follows the allocs of a job by blocking query until `count` of them have that client status.
pub fn wait_for_allocs(client: &Client, id: &str, status: &str, count: usize) -> anyhow::Result<()> {
    let end = Instant::now() + WAIT_MAX;
    let mut index = 0;
    loop {
        let answer = client.read::<Value>(
            &format!("/v1/job/{id}/allocations"),
            &QueryOptions::after(index, Duration::from_secs(10)),
        )?;
        let allocs = answer.value.as_array().cloned().unwrap_or_default();
        let reached = allocs.iter().filter(|alloc| alloc["ClientStatus"] == status).count();
        if reached >= count {
            return Ok(());
        }
        let has_failed = |alloc: &Value| alloc["ClientStatus"] == "failed";
        let all_failed = !allocs.is_empty() && allocs.iter().all(has_failed);
        if Instant::now() > end || all_failed {
            let all: Vec<&str> = allocs.iter().filter_map(|alloc| alloc["ClientStatus"].as_str()).collect();
            let said = allocs.iter().find_map(|alloc| last_word(&alloc["TaskStates"])).unwrap_or_default();
            bail!("job {id}: {reached} of {count} allocs {status}; all: {all:?}; {said}");
        }
        // Index 0 does not block: the first answer tells where to begin.
        index = answer.meta.index.max(1);
    }
}

/// What a driver said last of a start that failed.
fn last_word(task_states: &Value) -> Option<String> {
    let events = task_states.as_object()?.values().filter_map(|task| task["Events"].as_array()).flatten();
    let failures = events.filter(|event| event["Type"] == "Driver Failure" || event["Type"] == "Setup Failure");
    failures.filter_map(|event| event["DisplayMessage"].as_str()).next_back().map(str::to_owned)
}

/// Follows the counts of a job until so many of its allocs are there: a list of all of them would cost more than what is
/// measured.
pub fn wait_for_count(client: &Client, id: &str, word: &str, count: usize, patience: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + patience;
    let mut index = 0;
    loop {
        let options = QueryOptions::after(index, Duration::from_secs(10));
        let answer = client.read::<Value>(&format!("/v1/job/{id}/summary"), &options)?;
        let groups = answer.value["Summary"].as_object().cloned().unwrap_or_default();
        let sum = |word: &str| groups.values().filter_map(|group| group[word].as_u64()).sum::<u64>();
        if sum(word) >= count as u64 {
            return Ok(());
        }
        if Instant::now() > end || sum("Failed") > 0 {
            bail!("job {id}: {} of {count} {word}, {} failed", sum(word), sum("Failed"));
        }
        index = answer.meta.index.max(1);
        std::thread::sleep(COUNT_PAUSE);
    }
}

/// The id of a job's only alloc.
pub fn only_alloc(client: &Client, id: &str) -> anyhow::Result<String> {
    let allocs = client.read::<Value>(&format!("/v1/job/{id}/allocations"), &QueryOptions::default())?.value;
    allocs[0]["ID"].as_str().map(str::to_owned).with_context(|| format!("job {id} has no alloc"))
}
