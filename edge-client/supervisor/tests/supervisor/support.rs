//! A supervisor for one case, cleared away at its end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use drover_supervisor::{Client, Exit, Isolation, LogSpec, Resources, StartOptions, TaskSpec, TaskState, TaskStatus};

/// The longest any condition may take, also in a machine that is emulated on a busy one.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// One case's directory, node and client.
pub struct Bed {
    pub dir: tempfile::TempDir,
    pub options: StartOptions,
    client: Option<Client>,
}

impl Bed {
    pub fn new() -> Bed {
        Bed::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut StartOptions)) -> Bed {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::tempdir().unwrap();
        let node_id = format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut options = StartOptions::new(dir.path().join("supervisor.sock"), node_id);
        change(&mut options);
        let client = Some(Client::connect_or_start(options.clone()).unwrap());
        Bed { dir, options, client }
    }

    pub fn client(&self) -> &Client {
        self.client.as_ref().unwrap()
    }

    /// As when the agent dies: nothing is said.
    pub fn lose_agent(&mut self) {
        self.client = None;
    }

    /// As when a new agent comes.
    pub fn reconnect(&mut self) {
        self.client = Some(Client::connect_or_start(self.options.clone()).unwrap());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A shell script as a plain task, its output in `logs/`.
    pub fn script(&self, id: &str, script: &str) -> TaskSpec {
        let log = |stream: &str| {
            Some(LogSpec {
                dir: self.path("logs"),
                prefix: format!("{id}.{stream}"),
                max_files: 3,
                max_file_size_bytes: 1 << 20,
            })
        };
        TaskSpec {
            id: id.to_owned(),
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            cwd: self.dir.path().to_owned(),
            user: None,
            stdout: log("stdout"),
            stderr: log("stderr"),
            resources: Resources::default(),
            oom_score_adj: None,
            network_namespace: None,
            isolation: Isolation::None,
        }
    }

    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path("logs").join(name)).unwrap_or_default()
    }

    pub fn status(&self, id: &str) -> Option<TaskStatus> {
        self.client().list().unwrap().into_iter().find(|task| task.task_id == id)
    }

    /// Waits for a task's end.
    pub fn exit(&self, id: &str) -> Exit {
        until(&format!("{id} has ended"), || match self.status(id)?.state {
            TaskState::Exited(exit) => Some(exit),
            _ => None,
        })
    }

    /// Starts a script and returns how it ended.
    pub fn run(&self, spec: TaskSpec) -> Exit {
        let id = spec.id.clone();
        self.client().start_task(spec).unwrap();
        self.exit(&id)
    }

    /// Every cgroup of this node, in any hierarchy.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        node_cgroups(&self.options.node_id)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let is_lost = self.client.as_ref().is_none_or(|client| !client.is_connected());
        if is_lost && self.options.socket.exists() {
            self.client = Client::connect_or_start(self.options.clone()).ok();
        }
        let ended = self.client.take().filter(Client::is_connected).map(|client| client.shutdown(true));
        if !std::thread::panicking() {
            if let Some(ended) = ended {
                ended.unwrap();
            }
            assert_eq!(self.cgroups(), Vec::<PathBuf>::new(), "cgroups are left");
        }
    }
}

/// Every cgroup of a node, in any hierarchy.
pub fn node_cgroups(node_id: &str) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let given = given_part();
    mounts
        .lines()
        .filter(|line| line.split(' ').nth(2).is_some_and(|kind| kind.starts_with("cgroup")))
        .flat_map(|line| {
            let root = PathBuf::from(line.split(' ').nth(1).unwrap());
            [root.join(&given), root]
        })
        .map(|dir| dir.join("drover").join(node_id))
        .filter(|dir| dir.exists())
        .collect()
}

/// The part of cgroup v2's tree in which this process is a leaf.
fn given_part() -> PathBuf {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    Path::new(own).parent().map(Path::to_owned).unwrap_or_default()
}

/// What tasks are limited by here: `v1`, `v2`, or `none` as far as this user may go.
pub fn cgroup_version() -> &'static str {
    static FOUND: std::sync::OnceLock<&'static str> = std::sync::OnceLock::new();
    FOUND.get_or_init(find_cgroup_version)
}

fn find_cgroup_version() -> &'static str {
    let bed = Bed::new();
    let has = |file: &str| bed.cgroups().iter().any(|dir| dir.join(".supervisor").join(file).exists());
    if has("memory.max") {
        "v2"
    } else if has("memory.limit_in_bytes") {
        "v1"
    } else {
        "none"
    }
}

/// Waits for a condition.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "waited too long until {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Whether a process is there (and not a zombie).
pub fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Says so aloud when a case cannot be run here.
pub fn is_root_or_skip(case: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("test {case}: skipped: needs root");
    }
    is_root
}

/// The same where a case needs no more than cgroups of this user's.
pub fn has_cgroups_or_skip(case: &str) -> bool {
    let has_cgroups = cgroup_version() != "none";
    if !has_cgroups {
        println!("test {case}: skipped: needs cgroups");
    }
    has_cgroups
}
