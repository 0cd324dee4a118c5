//! Whole lives of allocs on the real supervisor. This binary is the supervisor too, hence its own main.
#![allow(clippy::unwrap_used, reason = "a test, though not one that the harness knows")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drover_model::AllocId;
use drover_model::alloc::{Alloc, AllocUpdate, ClientStatus, DesiredStatus};
use drover_model::group::Group;
use drover_model::job::{Job, JobType};
use drover_model::node::Node;
use drover_model::policy::RestartPolicy;
use drover_model::task::{LogConfig, Task};
use drover_runner::alloc_dir::AllocDir;
use drover_runner::decide::Limits;
use drover_runner::decide::actual::Fact;
use drover_runner::drivers::supervised::Supervised;
use drover_runner::drivers::{DriverSettings, Drivers, Recovered, StartOptions};
use drover_runner::task_env::EdgeFacts;
use drover_runner::{AllocActual, AllocHandle, Edge, Journal, Report, Wanted, spawn};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

/// No step of these tests takes longer, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[path = "alloc_life/around.rs"]
mod around;
#[path = "alloc_life/audit.rs"]
mod audit;

type Case = (&'static str, fn());

fn main() {
    drover_runner::drivers::main_if_supervisor();
    let cases: &[Case] = &[
        ("a_batch_task_runs_to_its_end", a_batch_task_runs_to_its_end),
        ("a_task_outlives_its_agent", a_task_outlives_its_agent),
        ("an_end_in_the_agents_absence_is_known", an_end_in_the_agents_absence_is_known),
        ("a_task_that_the_journal_missed_is_taken_over", a_task_that_the_journal_missed_is_taken_over),
        ("nothing_is_made_before_it_is_known_on_disk", nothing_is_made_before_it_is_known_on_disk),
        ("an_end_that_is_known_counts_once", an_end_that_is_known_counts_once),
        ("tasks_of_a_killed_supervisor_run_on_under_the_next", tasks_of_a_killed_supervisor_run_on_under_the_next),
        ("a_start_takes_the_place_of_one_that_nobody_watched", a_start_takes_the_place_of_one_that_nobody_watched),
        (
            "a_wanted_task_that_is_not_there_is_counted_and_fails",
            audit::a_wanted_task_that_is_not_there_is_counted_and_fails,
        ),
        ("a_command_that_is_not_there_is_told", a_command_that_is_not_there_is_told),
        ("an_exec_task_sees_its_own_root", an_exec_task_sees_its_own_root),
        ("an_exec_task_sees_its_volumes_and_servers", around::an_exec_task_sees_its_volumes_and_servers),
        ("a_volume_that_cannot_be_had_is_told", around::a_volume_that_cannot_be_had_is_told),
        ("a_sticky_alloc_leaves_its_data_when_it_is_over", around::a_sticky_alloc_leaves_its_data_when_it_is_over),
        (
            "a_replacement_of_a_replacement_waits_for_both_and_gets_the_data",
            around::a_replacement_of_a_replacement_waits_for_both_and_gets_the_data,
        ),
    ];
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let mut failed = 0;
    for (name, case) in
        cases.iter().filter(|(name, _)| filter.as_ref().is_none_or(|wanted| name.contains(wanted.as_str())))
    {
        let outcome = std::panic::catch_unwind(case);
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        failed += u32::from(outcome.is_err());
    }
    assert_eq!(failed, 0, "{failed} tests failed");
}

#[derive(Default)]
struct Memory(Mutex<BTreeMap<AllocId, AllocActual>>);

impl Journal for Memory {
    fn save(&self, alloc: AllocId, actual: &AllocActual) -> oneshot::Receiver<()> {
        self.0.lock().unwrap().insert(alloc, actual.clone());
        let (tx, rx) = oneshot::channel();
        tx.send(()).unwrap();
        rx
    }
}

/// A machine with one agent after another on it.
struct Host {
    dir: tempfile::TempDir,
    node: String,
    journal: Arc<Memory>,
}

/// One life of the agent.
struct Agent {
    edge: Arc<Edge>,
    supervised: Arc<Supervised>,
    reports_tx: mpsc::Sender<Report>,
    reports: mpsc::Receiver<Report>,
}

impl Host {
    fn new() -> Host {
        let dir = tempfile::tempdir().unwrap();
        // The node id is part of each cgroup's path: one of its own per test.
        let mut random = [0; 16];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut random).unwrap();
        let node = drover_model::NodeId::from_random(random).to_string();
        Host { dir, node, journal: Arc::default() }
    }

    fn agent(&self) -> Agent {
        self.agent_with(self.journal.clone())
    }

    fn agent_with(&self, journal: Arc<dyn Journal>) -> Agent {
        let mut options = StartOptions::new(self.dir.path().join("supervisor.sock"), &self.node);
        // Should a test end without having ended it.
        options.linger = Some(PATIENCE);
        let supervised = Supervised::connect_or_start(options).unwrap();
        let settings = DriverSettings { raw_exec_enabled: true, ..DriverSettings::default() };
        let drivers = Drivers::on_supervisor(&supervised, &settings).unwrap();
        let facts = EdgeFacts {
            node: Arc::new(Node { datacenter: "dc1".to_owned(), ..Node::default() }),
            region: "global".to_owned(),
            host_env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            ..EdgeFacts::default()
        };
        let edge = Arc::new(Edge::new(drivers, self.allocs(), Limits::default(), facts, journal));
        let (reports_tx, reports) = mpsc::channel(16);
        Agent { edge, supervised, reports_tx, reports }
    }

    fn fifo(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    fn allocs(&self) -> PathBuf {
        self.dir.path().join("alloc")
    }
}

impl Agent {
    fn spawn(&self, wanted: &Wanted, actual: Option<AllocActual>) -> AllocHandle {
        spawn(self.edge.clone(), wanted.clone(), actual, self.reports_tx.clone())
    }

    /// The first report that fits.
    async fn until(&mut self, fits: impl Fn(&AllocUpdate) -> bool) -> AllocUpdate {
        let mut last = None;
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                match self.reports.recv().await.expect("the test holds a sender") {
                    Report::Changed(update) if fits(&update) => return *update,
                    Report::Changed(update) => last = Some(update),
                    Report::Gone(_) => {}
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("not reported in time; last: {last:#?}"))
    }

    async fn gone(&mut self) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !matches!(self.reports.recv().await.expect("the test holds a sender"), Report::Gone(_)) {}
        });
        waited.await.unwrap();
    }
}

fn run(body: impl AsyncFnOnce()) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body());
}

fn wanted(kind: JobType, driver: &str, config: Value) -> Wanted {
    let task = Task {
        name: "t".to_owned(),
        driver: driver.to_owned(),
        config: serde_json::from_value(config).unwrap(),
        env: BTreeMap::from([("GREETING".to_owned(), "hello ${NOMAD_TASK_NAME}".to_owned())]),
        kill_timeout: Duration::from_secs(20),
        kill_signal: "SIGTERM".to_owned(),
        log_config: LogConfig { max_files: 2, max_file_size_mib: 1, disabled: false },
        restart_policy: RestartPolicy {
            attempts: 1,
            interval: Duration::from_secs(600),
            delay: Duration::from_millis(1),
            mode: "fail".to_owned(),
            render_templates: false,
        },
        ..Task::default()
    };
    let group = Group { name: "g".to_owned(), tasks: vec![task], ..Group::default() };
    let job = Job { kind, task_groups: vec![group], ..Job::default() };
    let alloc = Alloc {
        id: AllocId::from_random([5; 16]),
        task_group: "g".to_owned(),
        name: "j.g[0]".to_owned(),
        ..Alloc::default()
    };
    Wanted { alloc, job: Arc::new(job) }
}

fn shell(script: &str) -> Value {
    json!({"command": "sh", "args": ["-c", script]})
}

fn kinds(update: &AllocUpdate) -> Vec<&str> {
    update.task_states["t"].events.iter().map(|event| event.kind.as_str()).collect()
}

fn stopped(wanted: &Wanted) -> Wanted {
    let mut stopped = wanted.clone();
    stopped.alloc.desired_status = DesiredStatus::Stop;
    stopped
}

async fn end(agent: &Agent, wanted: &Wanted) {
    let supervised = agent.supervised.clone();
    tokio::task::spawn_blocking(move || supervised.shutdown(true)).await.unwrap().unwrap();
    AllocDir::new(&agent.edge.allocs_dir, wanted.alloc.id).remove().unwrap();
}

fn log(host: &Host, wanted: &Wanted, stream: &str) -> String {
    let file = host.allocs().join(wanted.alloc.id.to_string()).join(format!("alloc/logs/t.{stream}.0"));
    std::fs::read_to_string(file).unwrap()
}

fn a_batch_task_runs_to_its_end() {
    run(async || {
        let host = Host::new();
        let mut agent = host.agent();
        let script = "echo $GREETING; echo oops >&2; echo x > ${NOMAD_TASK_DIR}/x; exit 0";
        let wanted = wanted(JobType::Batch, "raw_exec", shell(script));
        let handle = agent.spawn(&wanted, None);
        let update = agent.until(|update| update.client_status.is_terminal()).await;
        assert_eq!(
            (update.client_status, update.client_description.as_str()),
            (ClientStatus::Complete, "All tasks have completed")
        );
        assert_eq!(kinds(&update), ["Received", "Task Setup", "Started", "Terminated"]);
        assert_eq!(log(&host, &wanted, "stdout"), "hello t\n");
        assert_eq!(log(&host, &wanted, "stderr"), "oops\n");
        let root = host.allocs().join(wanted.alloc.id.to_string());
        assert!(root.join("t/local/x").exists());
        handle.remove();
        agent.gone().await;
        assert!(!root.exists());
        assert_eq!(agent.supervised.list().unwrap(), []);
        end(&agent, &wanted).await;
    });
}

fn a_task_outlives_its_agent() {
    run(async || {
        let host = Host::new();
        let fifo = host.fifo("up");
        let script = format!("echo once; echo up > {}; exec sleep 1000", fifo.display());
        let wanted = wanted(JobType::Service, "raw_exec", shell(&script));
        let mut first = host.agent();
        let handle = first.spawn(&wanted, None);
        first.until(|update| update.client_status == ClientStatus::Running).await;
        // It has said what it has to say.
        let up = tokio::task::spawn_blocking(move || std::fs::read_to_string(fifo)).await.unwrap().unwrap();
        assert_eq!(up, "up\n");
        drop((handle, first));
        let saved = host.journal.0.lock().unwrap()[&wanted.alloc.id].clone();
        let pid = saved.tasks[0].handle.as_ref().unwrap().pid;

        let mut second = host.agent();
        let handle = second.spawn(&wanted, Some(saved));
        let update = second.until(|_| true).await;
        assert_eq!(update.client_status, ClientStatus::Running);
        assert_eq!(kinds(&update), ["Received", "Task Setup", "Started"]);
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        handle.update(stopped(&wanted));
        let update = second.until(|update| update.client_status.is_terminal()).await;
        assert_eq!(update.client_status, ClientStatus::Complete);
        assert_eq!(kinds(&update)[3..], ["Killing", "Terminated", "Killed"]);
        assert_eq!(update.task_states["t"].events[4].display_message, "Exit Code: 143, Signal: 15");
        assert_eq!(log(&host, &wanted, "stdout"), "once\n");
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        end(&second, &wanted).await;
    });
}

fn an_end_in_the_agents_absence_is_known() {
    run(async || {
        let host = Host::new();
        let fifo = host.fifo("go");
        let script = format!("read x < {}; exit 7", fifo.display());
        let wanted = wanted(JobType::Batch, "raw_exec", shell(&script));
        let mut first = host.agent();
        let handle = first.spawn(&wanted, None);
        first.until(|update| update.client_status == ClientStatus::Running).await;
        drop((handle, first));
        let mut saved = host.journal.0.lock().unwrap()[&wanted.alloc.id].clone();
        saved.tasks[0].window.used = 1;
        std::fs::write(&fifo, "x\n").unwrap();

        let mut second = host.agent();
        let _handle = second.spawn(&wanted, Some(saved));
        let update = second.until(|update| update.client_status.is_terminal()).await;
        assert_eq!(update.client_status, ClientStatus::Failed);
        assert_eq!(update.task_states["t"].events[3].display_message, "Exit Code: 7");
        end(&second, &wanted).await;
    });
}

fn a_task_that_the_journal_missed_is_taken_over() {
    run(async || {
        let host = Host::new();
        let wanted = wanted(JobType::Service, "raw_exec", shell("exec sleep 1000"));
        let mut first = host.agent();
        let handle = first.spawn(&wanted, None);
        first.until(|update| update.client_status == ClientStatus::Running).await;
        drop((handle, first));

        let mut second = host.agent();
        let known = second.supervised.list().unwrap();
        assert_eq!(known.len(), 1);
        second.edge.set_unclaimed(known.into_iter().map(|task| task.id).collect());
        let _handle = second.spawn(&wanted, None);
        let update = second.until(|update| update.client_status == ClientStatus::Running).await;
        assert_eq!(kinds(&update), ["Received", "Started"]);
        assert!(second.edge.take_unclaimed().is_empty());
        end(&second, &wanted).await;
    });
}

/// A disk that takes its time.
#[derive(Default)]
struct Slow(Mutex<Option<Vec<oneshot::Sender<()>>>>);

impl Journal for Slow {
    fn save(&self, _: AllocId, _: &AllocActual) -> oneshot::Receiver<()> {
        let (tx, rx) = oneshot::channel();
        match self.0.lock().unwrap().as_mut() {
            Some(waiting) => waiting.push(tx),
            None => tx.send(()).unwrap(),
        }
        rx
    }
}

fn nothing_is_made_before_it_is_known_on_disk() {
    run(async || {
        let host = Host::new();
        let journal = Arc::new(Slow(Mutex::new(Some(Vec::new()))));
        let wanted = wanted(JobType::Batch, "raw_exec", shell("exit 0"));
        let mut agent = host.agent_with(journal.clone());
        let _handle = agent.spawn(&wanted, None);
        // The first report comes after the first decision was acted on.
        let update = agent.until(|_| true).await;
        assert_eq!(kinds(&update), ["Received"]);
        assert!(!host.allocs().exists());
        drop(journal.0.lock().unwrap().take());
        let update = agent.until(|update| update.client_status.is_terminal()).await;
        assert_eq!(update.client_status, ClientStatus::Complete);
        end(&agent, &wanted).await;
    });
}

fn an_end_that_is_known_counts_once() {
    run(async || {
        let host = Host::new();
        let fifo = host.fifo("go");
        let script = format!("read x < {}; exit 7", fifo.display());
        let wanted = wanted(JobType::Batch, "raw_exec", shell(&script));
        let mut first = host.agent();
        let handle = first.spawn(&wanted, None);
        first.until(|update| update.client_status == ClientStatus::Running).await;
        drop(handle);
        let mut saved = host.journal.0.lock().unwrap()[&wanted.alloc.id].clone();
        std::fs::write(&fifo, "x\n").unwrap();
        // The end was taken note of, with no try left, and then the agent was killed: nobody has acknowledged it.
        let task = saved.tasks[0].handle.clone().unwrap();
        let driver = first.edge.drivers.get("raw_exec").unwrap().clone();
        let ended = tokio::time::timeout(PATIENCE, async {
            loop {
                match driver.recover(&task).unwrap() {
                    Recovered::Exited(exit) => return exit,
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        });
        let exit = ended.await.unwrap();
        drop(first);
        saved.tasks[0].window.used = 1;
        saved.observe(&wanted, Fact::Exited { task: "t".to_owned(), exit }, drover_runner::clock::now());

        let mut second = host.agent();
        second.edge.set_unclaimed(second.supervised.list().unwrap().into_iter().map(|task| task.id).collect());
        let handle = second.spawn(&wanted, Some(saved));
        let update = second.until(|update| update.client_status.is_terminal()).await;
        assert_eq!(kinds(&update), ["Received", "Task Setup", "Started", "Terminated", "Not Restarting"]);
        handle.remove();
        second.gone().await;
        assert_eq!(second.supervised.list().unwrap(), []);
        end(&second, &wanted).await;
    });
}

fn tasks_of_a_killed_supervisor_run_on_under_the_next() {
    run(async || {
        let host = Host::new();
        let wanted = wanted(JobType::Service, "raw_exec", shell("exec sleep 1000"));
        let mut agent = host.agent();
        let handle = agent.spawn(&wanted, None);
        agent.until(|update| update.client_status == ClientStatus::Running).await;
        let (before, pid) = (agent.supervised.pid(), handle.running()["t"].pid);
        kill(before);
        let another = tokio::time::timeout(PATIENCE, async {
            while agent.supervised.pid() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        another.await.unwrap();
        assert!(is_alive(pid));
        assert_eq!(handle.running()["t"].pid, pid);
        // The next one knows the task: it tells of its end, and of how it ended where the kernel says that (Linux 6.15).
        kill(pid);
        let update = agent.until(|update| kinds(update).len() > 5).await;
        assert_eq!(kinds(&update), ["Received", "Task Setup", "Started", "Terminated", "Restarting", "Started"]);
        let told = &update.task_states["t"].events[3].details;
        let is_unknown = told.get("exit_message").is_some_and(|text| *text == *"exit code unknown");
        assert!(told["signal"] == "9" || is_unknown && !kernel_tells_of_ends(), "{told:?}");
        let next = handle.running()["t"].pid;
        assert!(next != pid && is_alive(next));
        // Whoever ends it all right after another kill leaves nothing either.
        kill(agent.supervised.pid());
        end(&agent, &wanted).await;
        assert!(!is_alive(next));
        assert!(!host.dir.path().join("supervisor.sock").exists());
    });
}

/// Whether the kernel says of a process that is nobody's child how it has ended.
fn kernel_tells_of_ends() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 15)
}

/// Whether a process is there, and not merely not reaped by whoever inherited it.
fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn kill(pid: i32) {
    assert!(std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
}

fn a_start_takes_the_place_of_one_that_nobody_watched() {
    run(async || {
        let host = Host::new();
        let wanted = wanted(JobType::Service, "raw_exec", shell("exec sleep 1000"));
        let mut agent = host.agent();
        let handle = agent.spawn(&wanted, None);
        agent.until(|update| update.client_status == ClientStatus::Running).await;
        let pid = handle.running()["t"].pid;
        drop(handle);
        // An alloc that knows nothing of it and is not told of it either.
        let handle = agent.spawn(&wanted, None);
        let update = agent.until(|update| update.client_status == ClientStatus::Running).await;
        assert_eq!(kinds(&update), ["Received", "Task Setup", "Started"]);
        assert!(handle.running()["t"].pid != pid && !is_alive(pid));
        end(&agent, &wanted).await;
    });
}

fn a_command_that_is_not_there_is_told() {
    run(async || {
        let host = Host::new();
        let mut agent = host.agent();
        let wanted = wanted(JobType::Service, "raw_exec", json!({"command": "/no/such/command"}));
        let _handle = agent.spawn(&wanted, None);
        let update = agent.until(|update| update.client_status.is_terminal()).await;
        assert_eq!(update.client_status, ClientStatus::Failed);
        assert_eq!(
            kinds(&update),
            ["Received", "Task Setup", "Driver Failure", "Restarting", "Driver Failure", "Not Restarting"]
        );
        end(&agent, &wanted).await;
    });
}

fn an_exec_task_sees_its_own_root() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root for exec");
        return;
    }
    run(async || {
        let host = Host::new();
        let mut agent = host.agent();
        let script = "echo $NOMAD_ALLOC_DIR $NOMAD_TASK_DIR; ls -d /alloc/logs /local /secrets; id -u; touch /usr/x 2>/dev/null || echo kept";
        let wanted = wanted(JobType::Batch, "exec", shell(script));
        let handle = agent.spawn(&wanted, None);
        let update = agent.until(|update| update.client_status.is_terminal()).await;
        let events: Vec<&str> =
            update.task_states["t"].events.iter().map(|event| event.display_message.as_str()).collect();
        assert_eq!(update.client_status, ClientStatus::Complete, "{events:?}");
        assert_eq!(log(&host, &wanted, "stdout"), "/alloc /local\n/alloc/logs\n/local\n/secrets\n65534\nkept\n");
        handle.remove();
        agent.gone().await;
        end(&agent, &wanted).await;
    });
}
