//! A program under measurement: drover, or a peer that speaks the same API and takes the same configuration.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use drover_api_client::{Client, QueryOptions};
use drover_harness::{Agent, AgentConfig};
use serde_json::{Value, json};

/// The longest wait for anything.
const WAIT_MAX: Duration = Duration::from_secs(120);

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
        Agent::start(&self.binary, self.adapt(AgentConfig::both("bench")))
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
    client.delete::<Value>(&format!("/v1/job/{id}?purge=true"), &QueryOptions::default())?;
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
            bail!("job {id}: {reached} of {count} allocs {status}; all: {all:?}");
        }
        // Index 0 does not block: the first answer tells where to begin.
        index = answer.meta.index.max(1);
    }
}
