//! The cgroups of one edge: `/drover/<node>/<task>` in every hierarchy that is used, cgroup v1 and v2; on v2 below what was
//! handed to it (`cgroup_home`).
//!
//! A task's cgroup is ended as a whole: frozen where that is possible, every process killed, again until it is empty.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::cgroup_files::{Layout, directories, errno_text, number, processes, remove_tree, table, write};
use crate::cgroup_home::Home;
use crate::device_rules::DeviceRules;
use crate::protocol::Stats;
use crate::spawn::Entry;
use crate::spec::{ContainerSpec, Resources};
use crate::sys;

/// The supervisor's own cgroup; no task's escaped name begins with a dot.
const OWN: &str = ".supervisor";

/// The cgroups of one edge.
#[derive(Debug)]
pub(crate) struct NodeCgroups {
    layout: Layout,
    home: Home,
    /// Below each hierarchy's root: `drover/<node>`, below the home.
    path: PathBuf,
    devices: DeviceRules,
}

/// The cgroup of one task.
#[derive(Debug)]
pub(crate) struct TaskCgroup {
    is_v2: bool,
    /// The directories that the task's processes join.
    joined: Vec<PathBuf>,
    /// The one whose processes are listed and killed.
    tracked: PathBuf,
    /// Every place to clear when the task is gone; an earlier version of this program made more of them.
    all: Vec<PathBuf>,
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
    cpuacct: Option<PathBuf>,
}

/// The most processes of a contained task, while it is being made.
#[derive(Debug)]
pub(crate) struct PidsLimit {
    /// Where the helper goes, which is none of them.
    leave: PathBuf,
    file: PathBuf,
    max: u64,
}

impl PidsLimit {
    /// In the helper, when it forks nothing any more and the task's program has not begun: takes it out and sets the limit.
    pub(crate) fn set(&self) -> Result<(), String> {
        let _ = write(&self.leave, "0");
        write(&self.file, &self.max.to_string())
    }
}

/// A node's part of a path: the short form of a UUID, else the whole name, escaped.
pub(crate) fn short_node(node_id: &str) -> String {
    let is_uuid = node_id.len() == 36 && node_id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    escape(if is_uuid { node_id.get(..8).unwrap_or(node_id) } else { node_id })
}

/// A name that is safe as a directory and as a container id; different names stay different.
pub(crate) fn escape(name: &str) -> String {
    let mut escaped = String::new();
    for (place, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => escaped.push(char::from(byte)),
            b'.' if place > 0 => escaped.push('.'),
            _ => escaped.push_str(&format!("+{byte:02x}")),
        }
    }
    escaped
}

/// What [`NodeCgroups::unenforced`] calls the rules for devices.
pub(crate) const DEVICES: &str = "devices";

impl NodeCgroups {
    /// Finds the hierarchies; makes nothing yet. `parent` is a path such as `/drover`, `home` what an earlier program of this
    /// process has found, `remembered` the file in which the place of an earlier supervisor stands.
    pub(crate) fn detect(parent: &str, node_id: &str, home: Option<Home>, remembered: &Path) -> NodeCgroups {
        let parent: PathBuf = parent.split('/').filter(|part| !part.is_empty() && *part != "..").collect();
        let layout = Layout::detect();
        let home = match &layout {
            Layout::V2 { root } => home.unwrap_or_else(|| Home::find(root, &parent, node_id, remembered)),
            _ => Home::default(),
        };
        let path = home.path.join(parent).join(short_node(node_id));
        NodeCgroups { layout, home, path, devices: DeviceRules::default() }
    }

    /// Where these cgroups stand, for the next program of this process.
    pub(crate) fn home(&self) -> Home {
        self.home.clone()
    }

    /// Which limits can't be had here, and why. To be asked when the own cgroup was joined.
    pub(crate) fn unenforced(&self) -> BTreeMap<String, String> {
        const LIMITS: [(&str, &str); 4] =
            [("memory", "memory"), ("cpu", "cpu"), ("cores", "cpuset"), ("processes", "pids")];
        let of = |controller: &str| match &self.layout {
            Layout::None { reason } => Some(reason.clone()),
            Layout::V2 { root } => {
                let handed_down = std::fs::read_to_string(root.join(&self.path).join("cgroup.subtree_control"));
                let has_it = |text: String| text.split_whitespace().any(|name| name == controller);
                let offered = std::fs::read_to_string(root.join(&self.home.path).join("cgroup.controllers"));
                match (handed_down.map(has_it), offered.map(has_it)) {
                    (Ok(true), _) => None,
                    (_, Ok(false)) => Some(format!("the {controller} controller is not available")),
                    (Ok(false), _) => Some(format!("the {controller} controller was not handed down")),
                    (Err(_), _) => Some("this user has no part of the cgroup tree".to_owned()),
                }
            }
            Layout::V1 { controllers, all } => {
                let cores = || all.iter().find(|root| root.join("cpuset.cpus").exists());
                let root = if controller == "cpuset" { cores() } else { controllers.get(controller) };
                let Some(root) = root else { return Some(format!("the {controller} controller is not available")) };
                let made = root.join(&self.path);
                let place = if controller == "cpuset" { root.clone() } else { made };
                let is_ours = rustix::fs::access(&place, rustix::fs::Access::WRITE_OK).is_ok();
                (!is_ours).then(|| "this user may not make cgroups".to_owned())
            }
        };
        let mut unenforced: BTreeMap<String, String> =
            LIMITS.iter().filter_map(|(limit, controller)| Some(((*limit).to_owned(), of(controller)?))).collect();
        // Only root's tasks are kept from devices by rules; others' by the rights of the files.
        if rustix::process::geteuid().is_root()
            && let Err(reason) = self.takes_device_rules()
        {
            unenforced.insert(DEVICES.to_owned(), reason);
        }
        unenforced
    }

    /// Puts the rules for devices on a task's new cgroup; on v1 it gets another part for them. The error says why none are enforced.
    pub(crate) fn rule_devices(&self, task: &mut TaskCgroup, container: &ContainerSpec) -> Result<(), String> {
        match &self.layout {
            Layout::V2 { .. } => self.devices.put(&task.tracked, container),
            Layout::V1 { .. } => {
                let dir = self.devices_root()?.join(&self.path).join(task.name());
                self.make(&dir).map_err(|err| format!("create cgroup {}: {}", dir.display(), errno_text(&err)))?;
                if let Err(reason) = DeviceRules::write(&dir, container) {
                    // Sessions join what is there: half of the rules would hold for them alone.
                    remove_tree(&dir);
                    return Err(reason);
                }
                task.joined.push(dir);
                Ok(())
            }
            Layout::None { reason } => Err(reason.clone()),
        }
    }

    fn takes_device_rules(&self) -> Result<(), String> {
        match &self.layout {
            Layout::V1 { .. } => self.devices_root().map(drop),
            Layout::V2 { .. } => self.devices.try_out(),
            Layout::None { reason } => Err(reason.clone()),
        }
    }

    /// Where cgroup v1 has the rules for devices.
    fn devices_root(&self) -> Result<&Path, String> {
        let Layout::V1 { all, .. } = &self.layout else { return Err("this is not cgroup v1".to_owned()) };
        let root = all.iter().find(|root| root.join("devices.list").exists());
        root.map(PathBuf::as_path).ok_or_else(|| "the devices controller is not available".to_owned())
    }

    /// Where this node has directories: one per hierarchy that is used or may be.
    fn node_dirs(&self) -> Vec<PathBuf> {
        match &self.layout {
            Layout::V1 { all, .. } => all.iter().map(|root| root.join(&self.path)).collect(),
            Layout::V2 { root } => vec![root.join(&self.path)],
            Layout::None { .. } => Vec::new(),
        }
    }

    /// Another living supervisor of the same node, which would fight with this one. One that is just ending is waited for.
    pub(crate) fn other_supervisor(&self) -> Option<i32> {
        let own = i32::try_from(std::process::id()).ok()?;
        // Only where tasks leave the supervisor's cgroup: in the other hierarchies they stay in it.
        let tracked = self.task(OWN)?.tracked;
        let until = Instant::now() + Duration::from_secs(1);
        loop {
            let other = processes(&tracked).into_iter().find(|pid| *pid != own);
            if other.is_none() || Instant::now() >= until {
                return other;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Moves this process into a cgroup of its own, so that what ends or limits the agent spares it. Without rights it stays where it is.
    pub(crate) fn join_own(&self) {
        for dir in self.node_dirs() {
            let own = dir.join(OWN);
            // A supervisor that is just ending may remove the directory above in between.
            let is_made = (0..5).any(|_| std::fs::create_dir_all(&own).is_ok());
            if is_made && write(&own.join("cgroup.procs"), "0").is_err() {
                // An unused hierarchy may refuse (cpuset without cpus): leave no directory for nothing.
                remove_tree(&own);
                let _ = std::fs::remove_dir(&dir);
            }
        }
        self.hand_down();
    }

    /// Leaves the own cgroup and removes what this node has; what others still use stays. False when a child of the
    /// supervisor still holds a place of this node.
    pub(crate) fn leave(&self) -> bool {
        let mut is_gone = true;
        for dir in self.node_dirs() {
            // A user may go back to where it came from, and nowhere else.
            let origin = dir.ancestors().nth(self.path.components().count()).map(|root| root.join(&self.home.origin));
            if dir.join(OWN).exists()
                && let Some(origin) = origin
            {
                let _ = write(&origin.join("cgroup.procs"), "0");
            }
            is_gone &= remove_tree(&dir.join(OWN));
            let _ = std::fs::remove_dir(&dir);
            let _ = dir.parent().map(std::fs::remove_dir);
        }
        is_gone
    }

    /// Cgroups of tasks that are there before any was started: those that nobody knows are to be ended.
    pub(crate) fn leftovers(&self) -> Vec<TaskCgroup> {
        let mut names: Vec<_> = self
            .node_dirs()
            .iter()
            .flat_map(|dir| directories(dir))
            .filter_map(|dir| dir.file_name().map(|name| name.to_string_lossy().into_owned()))
            .filter(|name| name != OWN)
            .collect();
        names.sort();
        names.dedup();
        names.iter().filter_map(|name| self.task(name)).collect()
    }

    /// The cgroup of a task of that name, made already or not.
    pub(crate) fn task(&self, name: &str) -> Option<TaskCgroup> {
        let at = |root: &PathBuf| root.join(&self.path).join(name);
        match &self.layout {
            Layout::V1 { controllers, all } => {
                let mut joined: Vec<PathBuf> = controllers.values().map(at).collect();
                joined.sort();
                joined.dedup();
                let tracked = controllers.get("freezer").map(at).or_else(|| joined.first().cloned())?;
                Some(TaskCgroup {
                    is_v2: false,
                    joined,
                    tracked,
                    all: all.iter().map(at).collect(),
                    memory: controllers.get("memory").map(at),
                    cpu: controllers.get("cpu").map(at),
                    cpuacct: controllers.get("cpuacct").map(at),
                })
            }
            Layout::V2 { root } => {
                let dir = at(root);
                Some(TaskCgroup {
                    is_v2: true,
                    joined: vec![dir.clone()],
                    tracked: dir.clone(),
                    all: vec![dir.clone()],
                    memory: Some(dir.clone()),
                    cpu: Some(dir.clone()),
                    cpuacct: Some(dir),
                })
            }
            Layout::None { .. } => None,
        }
    }

    /// Makes a task's cgroup and sets its limits. The second part says what could not be done; without a cgroup at all the task is
    /// run without one.
    pub(crate) fn create(&self, name: &str, resources: &Resources) -> (Option<TaskCgroup>, Option<String>) {
        if let Layout::None { reason } = &self.layout {
            return (None, Some(reason.clone()));
        }
        let Some(mut task) = self.task(name) else {
            return (None, Some("no usable cgroup hierarchy".to_owned()));
        };
        if !resources.cores.is_empty()
            && let Err(reason) = self.add_cpuset(&mut task)
        {
            return (None, Some(reason));
        }
        for dir in &task.joined {
            if let Err(err) = self.make(dir) {
                task.remove();
                return (None, Some(format!("create cgroup {}: {}", dir.display(), errno_text(&err))));
            }
        }
        let reason = task.set_limits(resources).err();
        (Some(task), reason)
    }

    /// Makes room for the helper of a container, and for what it forks on the way. None where there is no limit.
    pub(crate) fn lift_pids(&self, task: &TaskCgroup, resources: &Resources) -> Option<PidsLimit> {
        /// The helper, and the process between it and the container's first.
        const MORE: u64 = 2;
        let max = resources.pids_max?;
        let dir = task.joined.iter().find(|dir| dir.join("pids.max").exists())?;
        let file = dir.join("pids.max");
        write(&file, &max.saturating_add(MORE).to_string()).ok()?;
        let leave = dir.parent()?.join(OWN).join(if task.is_v2 { "cgroup.procs" } else { "tasks" });
        Some(PidsLimit { leave, file, max })
    }

    /// On v1 only a task with cores of its own joins the hierarchy of cores. There each level needs a set of its own before
    /// anybody may join it, which begins as that of the level above.
    fn add_cpuset(&self, task: &mut TaskCgroup) -> Result<(), String> {
        let Layout::V1 { all, .. } = &self.layout else { return Ok(()) };
        let root = all.iter().find(|root| root.join("cpuset.cpus").exists());
        let mut level = root.ok_or("the cpuset controller is not available")?.clone();
        let name = task.name();
        for part in self.path.iter().chain([std::ffi::OsStr::new(&name)]) {
            let above = level.clone();
            level.push(part);
            std::fs::create_dir_all(&level)
                .map_err(|err| format!("create cgroup {}: {}", level.display(), errno_text(&err)))?;
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let read = |dir: &Path| std::fs::read_to_string(dir.join(file)).unwrap_or_default().trim().to_owned();
                if read(&level).is_empty() {
                    write(&level.join(file), &read(&above))?;
                }
            }
        }
        task.joined.push(level);
        Ok(())
    }

    /// On v2 a controller must be handed down level by level, from the home to the node's directory.
    fn hand_down(&self) {
        let Layout::V2 { root } = &self.layout else { return };
        let mut level = root.join(&self.home.path);
        let below = self.path.strip_prefix(&self.home.path).unwrap_or(&self.path);
        for part in std::iter::once(None).chain(below.components().map(Some)) {
            if let Some(part) = part {
                level.push(part);
            }
            // One by one: a missing controller must not keep back the others.
            for controller in ["+cpu", "+memory", "+pids", "+cpuset"] {
                let _ = write(&level.join("cgroup.subtree_control"), controller);
            }
        }
    }

    /// Whether a spare process is worth its while: where joining is slow and a cgroup can be renamed.
    pub(crate) fn wants_spare(&self) -> bool {
        matches!(self.layout, Layout::V1 { .. })
    }

    /// Gives the cgroup of a spare the name and the limits of a task. None when the kernel refuses; what is left is to be buried.
    pub(crate) fn rename(
        &self,
        spare: &TaskCgroup,
        name: &str,
        resources: &Resources,
    ) -> Option<(TaskCgroup, Option<String>)> {
        let task = self.task(name)?;
        for (from, to) in spare.joined.iter().zip(&task.joined) {
            // The kernel refuses an existing one, also an empty one.
            let _ = std::fs::remove_dir(to);
            std::fs::rename(from, to).ok()?;
        }
        let reason = task.set_limits(resources).err();
        Some((task, reason))
    }

    fn make(&self, dir: &Path) -> std::io::Result<()> {
        match std::fs::create_dir(dir) {
            Ok(()) => return Ok(()),
            Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(err),
            Err(_) => {}
        }
        if let Some(parent) = dir.parent() {
            std::fs::create_dir_all(parent)?;
        }
        self.hand_down();
        std::fs::create_dir_all(dir)
    }
}

impl TaskCgroup {
    fn set_limits(&self, resources: &Resources) -> Result<(), String> {
        let missing = |name: &str| format!("the {name} controller is not available");
        let hard = resources.memory_max_bytes.or(resources.memory_bytes);
        if let Some(hard) = hard {
            let dir = self.memory.as_ref().ok_or_else(|| missing("memory"))?;
            if self.is_v2 {
                write(&dir.join("memory.max"), &hard.to_string())?;
                if let (Some(reserved), Some(_)) = (resources.memory_bytes, resources.memory_max_bytes) {
                    write(&dir.join("memory.low"), &reserved.to_string())?;
                }
                // Without swap these files are absent.
                let _ = write(&dir.join("memory.swap.max"), "0");
            } else {
                write(&dir.join("memory.limit_in_bytes"), &hard.to_string())?;
                if let (Some(reserved), Some(_)) = (resources.memory_bytes, resources.memory_max_bytes) {
                    write(&dir.join("memory.soft_limit_in_bytes"), &reserved.to_string())?;
                }
                let _ = write(&dir.join("memory.swappiness"), "0");
            }
        }
        if let Some(mhz) = resources.cpu_mhz {
            let dir = self.cpu.as_ref().ok_or_else(|| missing("cpu"))?;
            let shares = mhz.clamp(2, 262_144);
            if self.is_v2 {
                let weight = 1 + (shares - 2) * 9999 / 262_142;
                write(&dir.join("cpu.weight"), &weight.to_string())?;
            } else {
                write(&dir.join("cpu.shares"), &shares.to_string())?;
            }
        }
        if !resources.cores.is_empty() {
            let file = self.joined.iter().map(|dir| dir.join("cpuset.cpus")).find(|file| file.exists());
            write(&file.ok_or_else(|| missing("cpuset"))?, &resources.cores)?;
        }
        if let Some(pids_max) = resources.pids_max {
            let file = self.joined.iter().map(|dir| dir.join("pids.max")).find(|file| file.exists());
            write(&file.ok_or_else(|| missing("pids"))?, &pids_max.to_string())?;
        }
        Ok(())
    }

    /// How a process gets into it. On v1 as the one thread that it has: a process that is moved as a whole waits for a grace
    /// period of the kernel, some 8 ms, and so does whoever moves another one.
    pub(crate) fn entry(&self) -> Result<Entry, String> {
        let file = if self.is_v2 { "cgroup.procs" } else { "tasks" };
        let open = |dir: &PathBuf| {
            let path = dir.join(file);
            let file = File::options().write(true).open(&path);
            file.map_err(|err| format!("open {}: {}", path.display(), errno_text(&err)))
        };
        let join = self.joined.iter().map(open).collect::<Result<_, _>>()?;
        let born_in = if self.is_v2 { File::open(&self.tracked).ok() } else { None };
        Ok(Entry { join, born_in })
    }

    /// How another process gets into every part of it, that of its device rules included.
    pub(crate) fn session_entry(&self) -> Result<Entry, String> {
        let mut entry = self.entry()?;
        let others = self.all.iter().filter(|dir| !self.joined.contains(dir)).map(|dir| dir.join("tasks"));
        entry.join.extend(others.filter_map(|path| File::options().write(true).open(path).ok()));
        Ok(entry)
    }

    /// The task's escaped name.
    pub(crate) fn name(&self) -> String {
        self.tracked.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Its processes.
    pub(crate) fn processes(&self) -> Vec<i32> {
        processes(&self.tracked)
    }

    /// Whether no process is left in it.
    pub(crate) fn is_empty(&self) -> bool {
        processes(&self.tracked).is_empty()
    }

    /// Kills every process there is now; to be repeated until the cgroup is empty.
    pub(crate) fn kill_round(&self) {
        if self.is_v2 && write(&self.tracked.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        let (freezer, frozen, thawed) =
            if self.is_v2 { ("cgroup.freeze", "1", "0") } else { ("freezer.state", "FROZEN", "THAWED") };
        let is_frozen = write(&self.tracked.join(freezer), frozen).is_ok();
        // A pid read from the file may be another process by now: take hold of it first, then see whether it is still listed.
        let held: Vec<(i32, rustix::fd::OwnedFd)> = processes(&self.tracked)
            .into_iter()
            .filter_map(|pid| Some((pid, pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?)))
            .collect();
        let listed = processes(&self.tracked);
        for (pid, handle) in held {
            if listed.contains(&pid) {
                let _ = pidfd_send_signal(handle, Signal::KILL);
            }
        }
        if is_frozen {
            let _ = write(&self.tracked.join(freezer), thawed);
        }
    }

    /// How many of its processes the kernel ended for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = if self.is_v2 { "memory.events" } else { "memory.oom_control" };
        self.memory.as_ref().and_then(|dir| table(&dir.join(file)).get("oom_kill").copied()).unwrap_or(0)
    }

    /// Removes it from every hierarchy; true when nothing is left.
    pub(crate) fn remove(&self) -> bool {
        // All of them, also when one resists.
        let dirs = self.all.iter().chain(&self.joined);
        dirs.filter(|dir| !remove_tree(dir)).count() == 0
    }

    /// What it uses now.
    pub(crate) fn stats(&self) -> Stats {
        if self.is_v2 { self.stats_v2() } else { self.stats_v1() }
    }

    fn stats_v1(&self) -> Stats {
        let mut stats = Stats { processes: processes(&self.tracked).len() as u64, ..Stats::default() };
        if let Some(dir) = &self.cpuacct {
            let ns_per_tick = 1_000_000_000 / sys::ticks_per_second();
            let split = table(&dir.join("cpuacct.stat"));
            let get = |key: &str| split.get(key).copied().unwrap_or(0).saturating_mul(ns_per_tick);
            stats.cpu_total_ns = number(&dir.join("cpuacct.usage")).unwrap_or(0);
            (stats.cpu_user_ns, stats.cpu_system_ns) = (get("user"), get("system"));
        }
        if let Some(dir) = &self.cpu {
            let throttled = table(&dir.join("cpu.stat"));
            stats.throttled_periods = throttled.get("nr_throttled").copied().unwrap_or(0);
            stats.throttled_ns = throttled.get("throttled_time").copied().unwrap_or(0);
        }
        if let Some(dir) = &self.memory {
            let parts = table(&dir.join("memory.stat"));
            let get = |key: &str| parts.get(key).copied().unwrap_or(0);
            stats.memory_usage_bytes = number(&dir.join("memory.usage_in_bytes")).unwrap_or(0);
            stats.memory_max_usage_bytes = number(&dir.join("memory.max_usage_in_bytes")).unwrap_or(0);
            stats.memory_kernel_bytes = number(&dir.join("memory.kmem.usage_in_bytes")).unwrap_or(0);
            stats.memory_rss_bytes = get("total_rss");
            stats.memory_cache_bytes = get("total_cache");
            stats.memory_swap_bytes = get("total_swap");
            stats.memory_mapped_file_bytes = get("total_mapped_file");
        }
        stats
    }

    fn stats_v2(&self) -> Stats {
        let dir = &self.tracked;
        let (cpu, parts) = (table(&dir.join("cpu.stat")), table(&dir.join("memory.stat")));
        let cpu_ns = |key: &str| cpu.get(key).copied().unwrap_or(0).saturating_mul(1000);
        let memory = |key: &str| parts.get(key).copied().unwrap_or(0);
        let usage = number(&dir.join("memory.current")).unwrap_or(0);
        Stats {
            cpu_total_ns: cpu_ns("usage_usec"),
            cpu_user_ns: cpu_ns("user_usec"),
            cpu_system_ns: cpu_ns("system_usec"),
            throttled_periods: cpu.get("nr_throttled").copied().unwrap_or(0),
            throttled_ns: cpu_ns("throttled_usec"),
            memory_usage_bytes: usage,
            memory_max_usage_bytes: number(&dir.join("memory.peak")).unwrap_or(usage),
            memory_rss_bytes: memory("anon"),
            memory_cache_bytes: memory("file"),
            memory_swap_bytes: number(&dir.join("memory.swap.current")).unwrap_or(0),
            memory_mapped_file_bytes: memory("file_mapped"),
            memory_kernel_bytes: memory("kernel"),
            processes: processes(dir).len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_stay_different() {
        let check = |name: &str, expected: &str| assert_eq!(escape(name), expected);
        check("a1b2-web_1.x", "a1b2-web_1.x");
        check("..", "+2e.");
        check("my task/é", "my+20task+2f+c3+a9");
        check("a+b", "a+2bb");
        assert_eq!(short_node("6f2a7c1e-0000-4000-8000-000000000000"), "6f2a7c1e");
        assert_eq!(short_node("node-1"), "node-1");
    }

    #[test]
    fn rules_that_are_half_written_leave_no_group() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("devices.list"), "").unwrap();
        let all = vec![root.path().to_owned()];
        let layout = Layout::V1 { controllers: BTreeMap::from([("freezer", root.path().to_owned())]), all };
        let devices = DeviceRules::default();
        let cgroups = NodeCgroups { layout, home: Home::default(), path: "drover/n".into(), devices };
        let mut task = cgroups.task("a.t").unwrap();
        let joined = task.joined.clone();
        // No kernel makes the files of rules there.
        let container = ContainerSpec::new(root.path().join("root"), Vec::new());
        assert!(cgroups.rule_devices(&mut task, &container).unwrap_err().contains("devices.deny"));
        assert_eq!((task.joined, root.path().join("drover/n/a.t").exists()), (joined, false));
    }
}
