//! Allocs with networks of their own, on a host of the test's own. This binary is the supervisor too, hence its own main.
#![allow(clippy::unwrap_used, reason = "a test, though not one that the harness knows")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use drover_model::AllocId;
use drover_model::alloc::{Alloc, AllocUpdate, ClientStatus, DesiredStatus};
use drover_model::group::Group;
use drover_model::job::{Job, JobType};
use drover_model::network::{Network, Port, PortMapping};
use drover_model::policy::RestartPolicy;
use drover_model::task::{LogConfig, Task};
use drover_model::task_state::TaskPhase;
use drover_runner::decide::Limits;
use drover_runner::drivers::supervised::Supervised;
use drover_runner::drivers::{DriverSettings, Drivers, StartOptions};
use drover_runner::hooks::network::EdgeNetworks;
use drover_runner::networks::{Networks, Settings, probe};
use drover_runner::task_env::EdgeFacts;
use drover_runner::{AllocActual, AllocHandle, Edge, Journal, Report, Wanted, spawn};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

/// No step of these tests takes longer, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The host's address for others.
const HOST: &str = "10.98.0.1";

type Case = (&'static str, fn());

fn main() {
    drover_runner::drivers::main_if_supervisor();
    if let Err(reason) = probe() {
        return println!("skipped: {reason}");
    }
    become_a_host();
    let cases: &[Case] = &[
        ("tasks_of_a_group_share_its_network", tasks_of_a_group_share_its_network),
        ("a_network_outlives_the_agent", a_network_outlives_the_agent),
        ("a_group_may_have_no_network", a_group_may_have_no_network),
        ("a_taken_port_is_told", a_taken_port_is_told),
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

/// This process goes into a network and a view of the file system of its own.
#[allow(unsafe_code, reason = "namespaces of a test's own")]
fn become_a_host() {
    let flags = rustix::thread::UnshareFlags::NEWNET | rustix::thread::UnshareFlags::NEWNS;
    // SAFETY: this is the only thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }.unwrap();
    let run = |line: &str| {
        let mut words = line.split(' ');
        assert!(Command::new(words.next().unwrap()).args(words).status().unwrap().success(), "{line}");
    };
    run("mount --make-rprivate /");
    run("mount -t tmpfs tmpfs /run");
    run("ip link set lo up");
    // Of a kind that busybox can make too, and that is needed anyway.
    run("ip link add out type bridge");
    run(&format!("ip addr add {HOST}/24 dev out"));
    run("ip link set out up");
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

struct Host {
    dir: tempfile::TempDir,
    node: String,
    journal: Arc<Memory>,
}

struct Agent {
    edge: Arc<Edge>,
    supervised: Arc<Supervised>,
    reports_tx: mpsc::Sender<Report>,
    reports: mpsc::Receiver<Report>,
}

impl Host {
    fn new() -> Host {
        // The node id is part of each cgroup's path: one of its own per test.
        let mut random = [0; 16];
        File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
        let node = drover_model::NodeId::from_random(random).to_string();
        Host { dir: tempfile::tempdir().unwrap(), node, journal: Arc::default() }
    }

    fn settings(&self) -> Settings {
        Settings {
            node_id: self.node.clone(),
            dir: self.dir.path().join("netns"),
            bridge_name: None,
            range: None,
            range_v6: None,
            is_hairpin: false,
        }
    }

    fn agent(&self) -> Agent {
        let mut options = StartOptions::new(self.dir.path().join("supervisor.sock"), &self.node);
        options.linger = Some(PATIENCE);
        let supervised = Supervised::connect_or_start(options).unwrap();
        let settings = DriverSettings { raw_exec_enabled: true, ..DriverSettings::default() };
        let drivers = Drivers::on_supervisor(&supervised, &settings).unwrap();
        let host_env = BTreeMap::from([("PATH".to_owned(), "/usr/sbin:/usr/bin:/sbin:/bin".to_owned())]);
        let facts = EdgeFacts { host_env, ..EdgeFacts::default() };
        let edge = Edge::new(drivers, self.dir.path().join("alloc"), Limits::default(), facts, self.journal.clone());
        let edge = edge.with_networks(EdgeNetworks::new(Ok(Networks::new(self.settings())), true));
        let (reports_tx, reports) = mpsc::channel(16);
        Agent { edge: Arc::new(edge), supervised, reports_tx, reports }
    }

    fn log(&self, wanted: &Wanted, task: &str) -> String {
        let file = format!("alloc/{}/alloc/logs/{task}.stdout.0", wanted.alloc.id);
        std::fs::read_to_string(self.dir.path().join(file)).unwrap_or_default()
    }
}

impl Agent {
    fn spawn(&self, wanted: &Wanted, actual: Option<AllocActual>) -> AllocHandle {
        spawn(self.edge.clone(), wanted.clone(), actual, self.reports_tx.clone())
    }

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

    /// Ends everything, and looks for what is left on the host.
    async fn end(mut self, handle: AllocHandle, wanted: &Wanted) {
        let mut stopped = wanted.clone();
        stopped.alloc.desired_status = DesiredStatus::Stop;
        handle.update(stopped);
        handle.remove();
        let gone = tokio::time::timeout(PATIENCE, async {
            while !matches!(self.reports.recv().await.expect("the test holds a sender"), Report::Gone(_)) {}
        });
        gone.await.unwrap();
        let supervised = self.supervised.clone();
        tokio::task::spawn_blocking(move || supervised.shutdown(true)).await.unwrap().unwrap();
        assert_clean(&self.edge.allocs_dir);
    }
}

fn assert_clean(allocs_dir: &Path) {
    let links = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let names: Vec<&str> = links.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim).collect();
    assert!(names.iter().all(|name| ["lo", "out"].contains(name)), "{names:?}");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(allocs_dir.parent().unwrap().to_str().unwrap()), "{mounts}");
}

fn run(body: impl AsyncFnOnce()) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body());
}

fn task(name: &str, driver: &str, script: &str) -> Task {
    let config = json!({"command": "/bin/sh", "args": ["-c", script]});
    Task {
        name: name.to_owned(),
        driver: driver.to_owned(),
        config: serde_json::from_value(config).unwrap(),
        kill_timeout: Duration::from_secs(20),
        kill_signal: "SIGKILL".to_owned(),
        log_config: LogConfig { max_files: 2, max_file_size_mib: 1, disabled: false },
        restart_policy: RestartPolicy {
            attempts: 1,
            interval: Duration::from_secs(600),
            delay: Duration::from_millis(1),
            mode: "fail".to_owned(),
            render_templates: false,
        },
        ..Task::default()
    }
}

fn wanted(mode: &str, host_port: i32, tasks: Vec<Task>) -> Wanted {
    let port = Port { label: "http".to_owned(), value: host_port, to: 80, ..Port::default() };
    let network = Network { mode: mode.to_owned(), reserved_ports: vec![port], ..Network::default() };
    let group = Group { name: "g".to_owned(), tasks, networks: vec![network], ..Group::default() };
    let job = Job { kind: JobType::Service, task_groups: vec![group], ..Job::default() };
    let mut alloc = Alloc { id: AllocId::from_random([5; 16]), task_group: "g".to_owned(), ..Alloc::default() };
    let given = PortMapping { label: "http".to_owned(), value: host_port, to: 80, host_ip: HOST.to_owned() };
    Arc::make_mut(&mut alloc.allocated_resources).shared.ports = vec![given];
    Wanted { alloc, job: Arc::new(job) }
}

/// Says hello to everybody who calls.
const SERVER: &str = "while :; do echo hello | busybox nc -l -p $NOMAD_PORT_http; done";

/// Calls until somebody answers.
fn hello(to: &str) {
    let to: SocketAddr = to.parse().unwrap();
    let began = Instant::now();
    loop {
        let mut text = String::new();
        let heard = TcpStream::connect_timeout(&to, PATIENCE).and_then(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.read_to_string(&mut text)
        });
        if heard.is_ok() && text == "hello\n" {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{to} does not answer: {heard:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn tasks_of_a_group_share_its_network() {
    run(async || {
        let host = Host::new();
        let mut agent = host.agent();
        let whoami = "readlink /proc/self/ns/net; env | grep ^NOMAD_ALLOC_ADDR; exec sleep 1000";
        let wanted = wanted(
            "bridge",
            8080,
            vec![task("web", "exec", SERVER), task("a", "exec", whoami), task("b", "raw_exec", whoami)],
        );
        let handle = agent.spawn(&wanted, None);
        let is_running =
            |update: &AllocUpdate| update.task_states.values().all(|task| task.state == TaskPhase::Running);
        let update = agent.until(is_running).await;
        let network = update.network_status.unwrap();
        assert_eq!((network.interface_name.as_str(), network.address.as_str()), ("eth0", "172.26.64.2"));
        on_a_thread(|| {
            hello(&format!("{HOST}:8080"));
            hello("127.0.0.1:8080");
        })
        .await;
        let began = Instant::now();
        let texts = loop {
            let texts = [host.log(&wanted, "a"), host.log(&wanted, "b")];
            if texts.iter().all(|text| text.lines().count() == 2) {
                break texts;
            }
            assert!(began.elapsed() < PATIENCE, "{texts:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(texts[0], texts[1]);
        assert_eq!(texts[0].lines().nth(1), Some("NOMAD_ALLOC_ADDR_http=172.26.64.2:80"));
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        assert_ne!(texts[0].lines().next(), own.to_str());

        // A command inside of either is in that network too.
        for name in ["a", "b"] {
            let path = host.dir.path().join(format!("said-by-{name}"));
            let (said, nothing) = (File::create(&path).unwrap(), File::open("/dev/null").unwrap());
            let fds = [nothing.as_fd(), said.as_fd(), said.as_fd()];
            let argv = ["/bin/sh", "-c", "readlink /proc/self/ns/net; echo $NOMAD_ALLOC_IP_http"].map(str::to_owned);
            let mut session =
                drover_runner::exec::begin(&agent.edge, &handle, name, argv.to_vec(), false, fds).unwrap();
            on_a_thread(move || session.wait()).await.unwrap();
            let expected = format!("{}\n172.26.64.2\n", texts[0].lines().next().unwrap());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        }
        agent.end(handle, &wanted).await;
    });
}

fn a_network_outlives_the_agent() {
    run(async || {
        let host = Host::new();
        let wanted = wanted("bridge", 8081, vec![task("t", "exec", SERVER)]);
        let mut first = host.agent();
        let handle = first.spawn(&wanted, None);
        first.until(|update| update.client_status == ClientStatus::Running).await;
        on_a_thread(|| hello("127.0.0.1:8081")).await;
        drop((handle, first));
        on_a_thread(|| hello("127.0.0.1:8081")).await;

        // What was on disk is lost, and the task is known by its supervisor only.
        let mut second = host.agent();
        let known = second.supervised.list().unwrap();
        second.edge.set_unclaimed(known.into_iter().map(|task| task.id).collect());
        let handle = second.spawn(&wanted, None);
        let update = second.until(|update| update.client_status == ClientStatus::Running).await;
        assert_eq!(update.network_status.unwrap().address, "172.26.64.2");
        on_a_thread(|| hello("127.0.0.1:8081")).await;
        let saved = host.journal.0.lock().unwrap()[&wanted.alloc.id].clone();
        drop((handle, second));

        let mut third = host.agent();
        third.edge.networks.adopt(std::iter::once(&wanted));
        assert_eq!(third.edge.networks.connected().len(), 1);
        let handle = third.spawn(&wanted, Some(saved));
        let update = third.until(|update| update.client_status == ClientStatus::Running).await;
        assert_eq!(update.network_status.unwrap().address, "172.26.64.2");
        on_a_thread(|| hello("127.0.0.1:8081")).await;
        third.end(handle, &wanted).await;
    });
}

fn a_group_may_have_no_network() {
    run(async || {
        let host = Host::new();
        let mut agent = host.agent();
        let mut wanted = wanted("none", 1, vec![task("t", "exec", "cat /proc/net/dev; exec sleep 1000")]);
        Arc::make_mut(&mut wanted.alloc.allocated_resources).shared.ports.clear();
        let handle = agent.spawn(&wanted, None);
        let update = agent.until(|update| update.client_status == ClientStatus::Running).await;
        assert_eq!(update.network_status, None);
        let began = Instant::now();
        while host.log(&wanted, "t").lines().count() < 3 {
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let text = host.log(&wanted, "t");
        assert!(text.lines().count() == 3 && text.contains("lo:"), "{text}");
        agent.end(handle, &wanted).await;
    });
}

fn a_taken_port_is_told() {
    run(async || {
        for mode in ["bridge", "host"] {
            let host = Host::new();
            let mut agent = host.agent();
            let stranger = TcpListener::bind((HOST, 0)).unwrap();
            let port = stranger.local_addr().unwrap().port();
            let wanted = wanted(mode, i32::from(port), vec![task("t", "raw_exec", "exec sleep 1000")]);
            let handle = agent.spawn(&wanted, None);
            let update = agent.until(|update| update.client_status == ClientStatus::Failed).await;
            let events = &update.task_states["t"].events;
            let told: Vec<&str> = events
                .iter()
                .filter(|event| event.kind == "Driver Failure")
                .map(|event| event.display_message.as_str())
                .collect();
            // Once, and once again by its restart policy.
            assert_eq!(told.len(), 2, "{events:#?}");
            let held = format!("is held by process {}", std::process::id());
            assert!(told[0].contains("port \"http\" can't be had: ") && told[0].contains(&held), "{told:?}");
            agent.end(handle, &wanted).await;
        }
    });
}
