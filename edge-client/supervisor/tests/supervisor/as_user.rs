//! A suite once more without root: the same program as uid 1000, with directories of its own; on cgroup v2 also inside a part of
//! the tree that was handed to that user. The drivers' suite has this file too.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::geteuid;

/// The user of the further runs.
const USER: u32 = 1000;
/// Is set in them.
const MARK: &str = "DROVER_SUITE_AS_USER";
/// How long what a run has left may take to go.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which further runs are wanted, for a machine on which they take long: `none`, or `only` those with cgroups of their own. Not
/// set: all of them.
pub const RUNS: &str = "DROVER_SUITE_RUNS";

/// Whether root's own run is not wanted.
pub fn is_only_for_users() -> bool {
    std::env::var(RUNS).is_ok_and(|runs| runs == "only")
}

/// Whether this is such a run.
pub fn is_further_run() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Runs this program, with these arguments, as the user; gives the titles of the runs that failed. Each run begins with a line
/// that says which it is.
pub fn run_again(args: &[String]) -> Vec<String> {
    if is_further_run() || std::env::var(RUNS).is_ok_and(|runs| runs == "none") {
        return Vec::new();
    }
    if !geteuid().is_root() {
        println!("a further run as uid {USER}: skipped: needs root");
        return Vec::new();
    }
    let dir = tempfile::tempdir().unwrap();
    own(dir.path(), 0o755);
    for name in ["home", "tmp"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        own(&dir.path().join(name), 0o700);
    }
    // The build may be where nobody else looks.
    let program = dir.path().join("suite");
    std::fs::copy("/proc/self/exe", &program).unwrap();
    own(&program, 0o755);
    let run = || {
        let mut command = Command::new(&program);
        command.args(args).env(MARK, "1").env("HOME", dir.path().join("home")).env("TMPDIR", dir.path().join("tmp"));
        command.env_remove("XDG_RUNTIME_DIR").env_remove(RUNS).current_dir("/").uid(USER).gid(USER);
        command.status().unwrap().success()
    };
    let mut failed = Vec::new();
    let mut check = |title: String, has_passed: bool| {
        if !has_passed {
            failed.push(title)
        }
    };

    if !is_only_for_users() {
        let title = format!("as uid {USER}");
        println!("{title}:");
        check(title, run());
    }
    if let Some(part) = Part::hand_over() {
        let title = format!("as uid {USER} with cgroups of its own");
        println!("{title}:");
        check(title, part.run_inside(run));
        part.take_back();
    }
    failed
}

fn own(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    chown(path, Some(USER), Some(USER)).unwrap();
}

/// A part of the tree of cgroup v2 that belongs to the user.
struct Part {
    dir: PathBuf,
}

impl Part {
    /// Makes it; none where cgroup v2 has no controllers.
    fn hand_over() -> Option<Part> {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let mut roots = mounts.lines().filter_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            [_, path, "cgroup2", ..] => Some(PathBuf::from(path)),
            _ => None,
        });
        let offers = |root: &PathBuf| std::fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        let root = roots.find(|root| offers(root).contains("memory"))?;
        let dir = root.join(format!("suite-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("leaf")).unwrap();
        for controller in ["+cpu", "+memory", "+pids", "+cpuset"] {
            let _ = std::fs::write(root.join("cgroup.subtree_control"), controller);
        }
        for part in [dir.clone(), dir.join("leaf")] {
            for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
                chown(part.join(file), Some(USER), Some(USER)).unwrap();
            }
        }
        Some(Part { dir })
    }

    /// Calls with this process, and whatever it starts, in the leaf.
    fn run_inside<T>(&self, call: impl FnOnce() -> T) -> T {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap().to_owned();
        std::fs::write(self.dir.join("leaf/cgroup.procs"), "0").unwrap();
        let result = call();
        let root = self.dir.parent().unwrap();
        std::fs::write(root.join(own).join("cgroup.procs"), "0").unwrap();
        result
    }

    /// Removes it, which the kernel refuses while anything is left in it.
    fn take_back(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let _ = std::fs::remove_dir(self.dir.join("leaf"));
            match std::fs::remove_dir(&self.dir) {
                Ok(()) => return,
                Err(error) => assert!(Instant::now() < end, "{}: {error}: {:?}", self.dir.display(), self.left()),
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn left(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }
}
