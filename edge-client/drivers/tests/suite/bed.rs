//! A directory, a node and a supervisor for one case, cleared away at its end.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use drover_drivers::supervised::Supervised;
use drover_drivers::{
    Driver, DriverSettings, Drivers, Exit, Fingerprint, StartError, StartOptions, TaskDirs, TaskHandle, TaskLogs,
    TaskStart,
};

use crate::subject::{Deed, Subject};

/// One case's world.
pub struct Bed {
    dir: tempfile::TempDir,
    node: String,
    subject: &'static dyn Subject,
    agent: Option<Agent>,
}

/// One life of the agent.
struct Agent {
    supervised: Arc<Supervised>,
    drivers: Drivers,
}

impl Bed {
    pub fn new(subject: &'static dyn Subject) -> Bed {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let node = format!("suite-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        std::fs::write(dir.path().join("private"), "of the host").unwrap();
        let mut bed = Bed { dir, node, subject, agent: None };
        bed.come_back();
        bed
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn agent(&self) -> &Agent {
        self.agent.as_ref().unwrap()
    }

    pub fn driver(&self) -> Arc<dyn Driver> {
        self.agent().drivers.get(self.subject.driver()).expect("the driver is on").clone()
    }

    /// As when the agent is killed: nothing is said.
    pub fn lose_agent(&mut self) {
        self.agent = None;
    }

    /// As when a new agent comes.
    pub fn come_back(&mut self) {
        let mut options = StartOptions::new(self.path("supervisor.sock"), &self.node);
        // Should a case end without having ended it.
        options.linger = Some(Duration::from_secs(300));
        let supervised = Supervised::connect_or_start(options).unwrap();
        let drivers = Drivers::on_supervisor(&supervised, &self.subject.settings(self.dir.path())).unwrap();
        self.agent = Some(Agent { supervised, drivers });
    }

    /// What is said of the driver when the operator has turned it off; and whether it is there all the same.
    pub fn turned_off(&mut self) -> (String, bool) {
        let Agent { supervised, drivers } = self.agent.take().unwrap();
        drop(drivers);
        let name = self.subject.driver();
        let settings = self.subject.settings(self.dir.path());
        let settings = DriverSettings { denylist: vec![name.to_owned()], ..settings };
        let drivers = Drivers::on_supervisor(&supervised, &settings).unwrap();
        let said = drivers.fingerprints()[name].clone();
        assert!(!said.detected && !said.healthy);
        let is_there = drivers.get(name).is_some();
        self.agent = Some(Agent { supervised, drivers });
        (said.description, is_there)
    }

    /// What is said of the driver to the servers.
    pub fn fingerprint(&self) -> Fingerprint {
        self.agent().drivers.fingerprints()[self.subject.driver()].clone()
    }

    /// Limits that tasks don't get here, and why.
    pub fn unenforced(&self) -> &BTreeMap<String, String> {
        self.agent().drivers.unenforced()
    }

    pub fn supervisor_pid(&self) -> i32 {
        self.agent().supervised.pid()
    }

    /// A task that does this, its directories made as the runner makes them.
    pub fn task(&self, name: &str, deed: Deed) -> Option<TaskStart> {
        let alloc = self.path("alloc-1");
        let (shared, own) = (alloc.join("alloc"), alloc.join(name));
        let open = |path: &Path, mode: u32| {
            std::fs::create_dir_all(path).unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        };
        open(&alloc, 0o755);
        for dir in [shared.clone(), shared.join("data"), shared.join("logs"), shared.join("tmp"), own.clone()] {
            open(&dir, 0o777);
        }
        for dir in ["local", "secrets", "private"] {
            open(&own.join(dir), 0o777);
        }
        open(&own.join("tmp"), 0o1777);
        let mut start = TaskStart {
            id: format!("alloc-1.{name}"),
            env: BTreeMap::from([("NOMAD_TASK_NAME".to_owned(), name.to_owned())]),
            logs: Some(TaskLogs {
                dir: shared.join("logs"),
                task: name.to_owned(),
                files_max: 3,
                file_bytes_max: 1 << 20,
            }),
            dirs: TaskDirs { alloc_dir: shared, task_dir: own },
            ..TaskStart::default()
        };
        start.resources.cpu.mhz = 100;
        start.resources.memory.mib = 128;
        self.subject.prepare(deed, &mut start).map(|()| start)
    }

    pub fn start(&self, start: TaskStart) -> Result<TaskHandle, StartError> {
        let driver = self.driver();
        if let Some(preparing) = driver.prepare(&start, Arc::new(|_| {})) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(preparing)?;
        }
        driver.start(start)
    }

    /// Starts a task and waits until it is ready.
    pub fn start_ready(&self, start: TaskStart) -> TaskHandle {
        let name = start.env["NOMAD_TASK_NAME"].clone();
        let handle = self.start(start).unwrap();
        self.until(&format!("{name} is ready"), || self.log(&name, "stdout").contains("ready").then_some(()));
        handle
    }

    pub fn log(&self, task: &str, stream: &str) -> String {
        let mut text = String::new();
        for number in 0..3 {
            let file = self.path("alloc-1/alloc/logs").join(format!("{task}.{stream}.{number}"));
            text += &String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default());
        }
        text
    }

    /// Waits for a task's end.
    pub fn exit(&self, handle: &TaskHandle) -> Exit {
        let mut exit = self.driver().wait(handle);
        self.until(&format!("{} has ended", handle.id), || exit.try_recv().ok())
    }

    pub fn run(&self, start: TaskStart) -> Exit {
        let handle = self.start(start).unwrap();
        let exit = self.exit(&handle);
        self.driver().destroy(&handle).unwrap();
        exit
    }

    /// Waits for a condition.
    pub fn until<T>(&self, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + self.subject.patience();
        loop {
            if let Some(value) = condition() {
                return value;
            }
            if Instant::now() >= end {
                let logs = self.path("alloc-1/alloc/logs");
                for file in std::fs::read_dir(logs).into_iter().flatten().flatten() {
                    let text = String::from_utf8_lossy(&std::fs::read(file.path()).unwrap_or_default()).into_owned();
                    let from = text.len().saturating_sub(2000);
                    eprintln!("{}: {}", file.path().display(), text.get(from..).unwrap_or(&text));
                }
                panic!("waited too long until {what}");
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// Every cgroup of a task of this node, in any hierarchy.
    fn cgroups(&self) -> Vec<PathBuf> {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        // On v2 this process may be the leaf of a part that was handed over.
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let given = Path::new(own).parent().map(Path::to_owned).unwrap_or_default();
        mounts
            .lines()
            .filter(|line| line.split(' ').nth(2).is_some_and(|kind| kind.starts_with("cgroup")))
            .flat_map(|line| {
                let root = PathBuf::from(line.split(' ').nth(1).unwrap());
                [root.join(&given), root]
            })
            .map(|dir| dir.join("drover").join(&self.node))
            .filter(|dir| dir.exists())
            .collect()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if self.agent.is_none() {
            self.come_back();
        }
        let Some(agent) = self.agent.take() else { return };
        let ended = agent.supervised.shutdown(true);
        drop(agent);
        let left = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = self.dir.path().display().to_string();
        // The tasks' own root directories are the driver's: nothing may be mounted there for the host to see.
        let mounts: Vec<&str> = left.lines().filter(|line| line.contains(&own)).collect();
        if !std::thread::panicking() {
            ended.unwrap();
            assert_eq!(self.cgroups(), Vec::<PathBuf>::new(), "cgroups are left");
            assert_eq!(mounts, Vec::<&str>::new(), "mounts are left");
        }
    }
}

/// Whether a process is there (and not a zombie).
pub fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The namespaces of this process and what else the probe looks for.
pub fn probe_env(bed_dir: &Path, start: &mut TaskStart) {
    let mut set = |name: &str, value: String| start.env.insert(name.to_owned(), value);
    let text = |path: PathBuf| path.display().to_string();
    set("PRIVATE", text(bed_dir.join("private")));
    set("AGENT", text(bed_dir.join("supervisor.sock")));
    set("SIBLING", text(bed_dir.join("alloc-1/other/secrets/key")));
    set("DIR", text(bed_dir.to_owned()));
    set("HOST_PID", std::process::id().to_string());
    for kind in ["pid", "mnt", "ipc", "uts"] {
        let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        set(&format!("NS_{kind}"), text(own));
    }
}
