//! A large state in a snapshot file, made as a region makes it: by commands, with plans of the real scheduler and reports like
//! an edge's. No HTTP, no log, no edges.
//!
//! It comes in cells: 50 nodes of a datacenter of their own with 100 jobs of 100 allocs each. A cell is scheduled on a state
//! of its own, which knows no other cell, and its commands are applied to the whole as well: a scheduler looks at every node
//! for every alloc, and here a million of them are wanted in a minute.
//!
//! At the end its nodes are down, without a word to the scheduler: nobody sends heartbeats for them, and what a leader does
//! about thousands of lost nodes is another measure.

use std::collections::BTreeMap;
use std::fs::File;
use std::process;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use drover_jobspec::{Inputs, Source, Surroundings, canonicalize, parse_hcl};
use drover_leader::worker;
use drover_model::alloc::{Alloc, AllocUpdate, ClientStatus};
use drover_model::deployment::DeploymentStatus;
use drover_model::eval::{Eval, EvalTrigger};
use drover_model::job::Job;
use drover_model::node::{DriverInfo, Node, NodeEvent, NodeStatus};
use drover_model::plan::DeploymentUpdate;
use drover_model::task_state::{TaskEvent, TaskPhase, TaskState};
use drover_model::{EvalId, NodeId, Timestamp};
use drover_state::submission::Submission;
use drover_state::{Answer, ChangeDeployment, Command, RegisterJob, State, apply};
use tempfile::TempDir;

/// What one cell holds.
const NODES_PER_CELL: usize = 50;
const JOBS_PER_CELL: usize = 100;
const ALLOCS_PER_JOB: usize = 100;
/// The allocs of one cell.
pub const ALLOCS_PER_CELL: usize = JOBS_PER_CELL * ALLOCS_PER_JOB;
/// A job that is in every crowd.
pub const SOME_JOB: &str = "crowd-0-0";

/// A region's state under construction.
struct Crowd {
    whole: State,
    index: u64,
    now: Timestamp,
}

/// The word that makes this program write such a file: `drover-bench crowd <allocs> <path>`.
pub const WORD: &str = "crowd";

/// `<allocs> <path>`: writes a snapshot with so many allocs, in whole cells, to a new file, and says how many there are.
///
/// # Errors
/// The words mean nothing, or the file can't be written.
pub fn run(words: &[String]) -> anyhow::Result<()> {
    let [allocs, path] = words else { bail!("crowd takes a number of allocs and a path") };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock after 1970")?;
    let now_ns = i64::try_from(now.as_nanos()).context("a clock before 2262")?;
    let mut crowd = Crowd { whole: State::default(), index: 0, now: Timestamp(now_ns) };
    for cell in 0..allocs.parse::<usize>().context("allocs")?.div_ceil(ALLOCS_PER_CELL).max(1) {
        crowd.add_cell(cell)?;
    }
    let file = File::options().read(true).write(true).create_new(true).open(path);
    let mut file = file.with_context(|| format!("create {path}"))?;
    drover_raft::write_snapshot(&mut file, &crowd.whole, now.as_millis() as u64).context("write a snapshot")?;
    println!("{}", crowd.whole.allocs().count());
    Ok(())
}

/// A snapshot in a file that is gone with this.
pub struct CrowdFile {
    dir: TempDir,
    /// How many allocs there are.
    pub count: usize,
}

impl CrowdFile {
    /// With so many allocs, in whole cells. Another process makes it: what it took of memory is free again then.
    ///
    /// # Errors
    /// That process fails.
    pub fn of(allocs: usize) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("a temporary directory")?;
        let own = std::env::current_exe().context("this program's file")?;
        let made = process::Command::new(own).arg(WORD).arg(allocs.to_string()).arg(dir.path().join(NAME)).output();
        let made = made.context("run this program again")?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let count = String::from_utf8_lossy(&made.stdout).trim().parse().context("the number of allocs")?;
        Ok(Self { dir, count })
    }

    /// The file.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn open(&self) -> anyhow::Result<File> {
        File::open(self.dir.path().join(NAME)).context("open the snapshot")
    }
}

const NAME: &str = "crowd.snap";

impl Crowd {
    fn add_cell(&mut self, cell: usize) -> anyhow::Result<()> {
        let mut own = State::default();
        let job = template(cell)?;
        for number in 0..NODES_PER_CELL {
            let node = Box::new(node(cell, number, self.now));
            self.apply(&mut own, Command::RegisterNode { node, evals: Vec::new(), at: self.now })?;
        }
        for number in 0..JOBS_PER_CELL {
            self.add_job(&mut own, &job, cell, number)?;
        }
        ensure!(own.allocs().count() == ALLOCS_PER_CELL, "{} allocs were placed", own.allocs().count());
        for node in own.snapshot().nodes() {
            let updates = own.allocs_of_node(node.id).map(|alloc| report(alloc, self.now)).collect();
            let report = Command::UpdateAllocs { node_id: node.id, updates, evals: Vec::new(), at: self.now };
            self.apply(&mut own, report)?;
        }
        for deployment in own.snapshot().deployments() {
            let update = DeploymentUpdate {
                deployment_id: deployment.id,
                status: DeploymentStatus::Successful,
                status_description: "Deployment completed successfully".to_owned(),
            };
            let change = ChangeDeployment { update, mark_stable: true, at: self.now, ..ChangeDeployment::default() };
            self.apply(&mut own, Command::UpdateDeployment(Box::new(change)))?;
        }
        for node in own.snapshot().nodes() {
            let (status, event) = (NodeStatus::Down, "Node heartbeat missed".to_owned());
            let down = Command::UpdateNodeStatus { node_id: node.id, status, event, evals: Vec::new(), at: self.now };
            self.apply(&mut own, down)?;
        }
        Ok(())
    }

    fn add_job(&mut self, own: &mut State, template: &Template, cell: usize, number: usize) -> anyhow::Result<()> {
        let name = format!("crowd-{cell}-{number}");
        let job = Job { id: name.as_str().into(), name: name.clone(), ..template.job.clone() };
        let eval = Eval {
            id: EvalId::from_random(id(cell, number, 2)),
            namespace: job.namespace.clone(),
            priority: job.priority,
            kind: job.kind,
            triggered_by: EvalTrigger::JobRegister,
            job_id: job.id.clone(),
            create_time: self.now,
            modify_time: self.now,
            ..Eval::default()
        };
        let eval_id = eval.id;
        let source = template.text.replace("NAME", &name);
        let submission = Submission { source, format: "hcl2".to_owned(), ..Submission::default() };
        self.apply(
            own,
            Command::RegisterJob(Box::new(RegisterJob {
                job: Arc::new(job),
                eval: Some(eval),
                submission: Some(submission),
                needs_namespace: true,
                at: self.now,
                ..RegisterJob::default()
            })),
        )?;
        let snapshot = own.snapshot();
        let eval = snapshot.eval(eval_id).context("the eval was registered")?.clone();
        let seed = (cell * JOBS_PER_CELL + number) as u64;
        let plans = worker::run(&snapshot, &[eval], self.now, seed).context("the eval gives a plan")?;
        self.apply(own, plans)
    }

    /// One more entry of both logs.
    fn apply(&mut self, own: &mut State, command: Command) -> anyhow::Result<()> {
        self.index += 1;
        for state in [own, &mut self.whole] {
            if let (Answer::Refused(refusal), _) = apply(state, self.index, command.clone()) {
                bail!("{refusal}");
            }
        }
        Ok(())
    }
}

/// Sixteen bytes like no others of the same kind, spread as random ones are.
fn id(cell: usize, number: usize, kind: u64) -> [u8; 16] {
    let mut mixed = (cell as u64) << 32 | (number as u64) << 8 | kind;
    let mut half = || {
        // splitmix64
        mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = mixed;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)).to_be_bytes()
    };
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&half());
    bytes[8..].copy_from_slice(&half());
    bytes
}

/// The job that all jobs of a cell are like.
struct Template {
    job: Job,
    text: String,
}

fn template(cell: usize) -> anyhow::Result<Template> {
    let text = JOB.replace("DATACENTER", &datacenter(cell)).replace("COUNT", &ALLOCS_PER_JOB.to_string());
    let source = Source::new("crowd.nomad.hcl", &text);
    let job = match parse_hcl(&source, &Inputs::default()) {
        Ok(job) => job,
        Err(problems) => bail!("{}", problems[0].human(&source)),
    };
    match canonicalize(job, &Surroundings::of("global")) {
        Ok(canonical) => Ok(Template { job: canonical.job, text }),
        Err(refusal) => bail!("{refusal:?}"),
    }
}

fn datacenter(cell: usize) -> String {
    format!("dc{cell}")
}

const JOB: &str = r#"job "NAME" {
  datacenters = ["DATACENTER"]
  type        = "service"

  meta {
    owner = "crowd"
  }

  update {
    max_parallel      = 10
    min_healthy_time  = "10s"
    healthy_deadline  = "5m"
    progress_deadline = "10m"
    health_check      = "task_states"
  }

  group "web" {
    count = COUNT

    restart {
      attempts = 3
      interval = "10m"
      delay    = "15s"
      mode     = "delay"
    }

    task "server" {
      driver = "raw_exec"

      config {
        command = "/usr/bin/web"
        args    = ["-port", "8080", "-name", "${NOMAD_ALLOC_NAME}"]
      }

      env {
        LEVEL = "info"
      }

      resources {
        cpu    = 100
        memory = 128
      }

      logs {
        max_files     = 2
        max_file_size = 5
      }
    }
  }
}
"#;

/// A machine with room for a few more than its share.
fn node(cell: usize, number: usize, now: Timestamp) -> Node {
    let name = format!("node-{cell}-{number}");
    let driver = DriverInfo {
        attributes: BTreeMap::from([("driver.raw_exec".to_owned(), "1".to_owned())]),
        detected: true,
        healthy: true,
        health_description: "Healthy".to_owned(),
        update_time: now,
    };
    let event = NodeEvent {
        message: "Node registered".to_owned(),
        subsystem: "Cluster".to_owned(),
        timestamp: now,
        ..NodeEvent::default()
    };
    let mut node = Node {
        id: NodeId::from_random(id(cell, number, 1)),
        datacenter: datacenter(cell),
        http_addr: format!("10.{}.{}.{}:4646", cell / 256, cell % 256, number + 1),
        node_pool: "default".to_owned(),
        status: NodeStatus::Ready,
        status_updated_at: now.seconds(),
        events: vec![event],
        drivers: BTreeMap::from([("raw_exec".to_owned(), driver)]),
        ..Node::default()
    };
    let own = [("unique.hostname", name.as_str()), ("unique.network.ip-address", "10.0.0.1")];
    let attributes = ATTRIBUTES.iter().copied().chain(own);
    node.attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    node.name = name;
    let share = (ALLOCS_PER_CELL / NODES_PER_CELL + 20) as i64;
    node.node_resources.cpu.mhz = share * 100;
    node.node_resources.cpu.cores = 16;
    node.node_resources.cpu.reservable_cores = (0..16).collect();
    node.node_resources.memory.mib = share * 128;
    node.node_resources.disk.mib = share * 1000;
    (node.node_resources.min_dynamic_port, node.node_resources.max_dynamic_port) = (20_000, 32_000);
    node.computed_class = drover_model::computed_class::computed_class(&node);
    node
}

/// Such as a machine has.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("cpu.arch", "amd64"),
    ("cpu.frequency", "2800"),
    ("cpu.modelname", "Intel(R) Xeon(R) Processor @ 2.80GHz"),
    ("cpu.numcores", "16"),
    ("cpu.totalcompute", "44800"),
    ("driver.raw_exec", "1"),
    ("kernel.arch", "x86_64"),
    ("kernel.landlock", "v4"),
    ("kernel.name", "linux"),
    ("kernel.version", "6.12.0"),
    ("memory.totalbytes", "34359738368"),
    ("nomad.version", "2.0.6"),
    ("os.cgroups.version", "2"),
    ("os.name", "debian"),
    ("os.signals", "SIGHUP,SIGINT,SIGQUIT,SIGTERM,SIGKILL,SIGUSR1,SIGUSR2"),
    ("os.version", "13"),
    ("unique.storage.volume", "/dev/vda1"),
];

/// What an edge says once a task runs and counts as healthy.
fn report(alloc: &Alloc, placed: Timestamp) -> AllocUpdate {
    // Each at a time of its own: some milliseconds to some seconds after it was placed.
    let mut late = u64::from_be_bytes(*alloc.id.as_bytes().first_chunk().unwrap_or(&[0; 8]));
    let mut at = placed.0;
    let mut next = |span_ns: u64| {
        at += (late % span_ns) as i64;
        late /= 7;
        Timestamp(at)
    };
    let event = |kind: &str, time: Timestamp, text: &str| TaskEvent {
        kind: kind.into(),
        time,
        display_message: text.into(),
        ..TaskEvent::default()
    };
    let received = event("Received", next(30_000_000), "Task received by client");
    let built = "Building Task Directory";
    let setup = TaskEvent {
        message: built.into(),
        details: [("message".into(), built.into())].into(),
        ..event("Task Setup", next(3_000_000), built)
    };
    let started = event("Started", next(20_000_000), "Task started by client");
    let started_at = started.time;
    let task = TaskState {
        state: TaskPhase::Running,
        started_at,
        events: vec![received, setup, started],
        ..TaskState::default()
    };
    let health_at = next(11_000_000_000);
    AllocUpdate {
        alloc_id: alloc.id,
        client_status: ClientStatus::Running,
        client_description: "Tasks are running".to_owned(),
        task_states: BTreeMap::from([("server".to_owned(), task)]),
        healthy: Some(true),
        health_at,
        network_status: None,
        at: health_at,
    }
}
