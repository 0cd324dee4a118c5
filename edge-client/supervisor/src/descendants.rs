//! Finding a task's processes where there is no cgroup to list them: by session and by descent; and what they use.
//!
//! Weaker than a cgroup: a process that left the session and whose parent has ended is not found.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::protocol::Stats;
use crate::sys;

/// For so long what was read of all processes will do for whoever asks next: there may be a thousand tasks to be asked for.
const FRESH: Duration = Duration::from_millis(500);

const PROC: &str = "/proc";

/// What `/proc/<pid>/stat` says of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    parent: i32,
    session: i32,
    /// When it was started, in the kernel's ticks: another one may have its number later.
    started: u64,
    /// What it has used of the processor, with those children that it has taken note of.
    used: Used,
}

/// Time of the processor, in the kernel's ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Used {
    user: u64,
    system: u64,
}

/// Kills all that belong to the session or the descent of `main`, itself included unless it has ended.
pub(crate) fn kill(main: i32) {
    let members = members(&BTreeSet::from([main]), &processes(Path::new(PROC)).0);
    for pid in members.into_values().flatten() {
        let _ = sys::kill(pid, libc::SIGKILL);
    }
}

/// The processes of all tasks without a cgroup, as they were a moment ago.
#[derive(Debug, Default)]
pub(crate) struct Relatives {
    seen_at: Option<Instant>,
    tasks: BTreeMap<i32, Seen>,
}

/// What was seen of one task, by its first process.
#[derive(Debug, Default)]
struct Seen {
    /// When the first process was started; None when it was gone already.
    started: Option<u64>,
    processes: Vec<i32>,
    /// What they have used together.
    used: Used,
    /// What those had used that are gone, and whose parents took no note of it: the sum of what is left must not go down.
    lost: Used,
}

impl Relatives {
    /// What the session and the descent of `main` use. All tasks of that kind, of which this is one, are looked for at once. Memory
    /// that several processes share counts for each.
    pub(crate) fn stats(&mut self, main: i32, tasks: impl Iterator<Item = i32>) -> Stats {
        if self.seen_at.is_none_or(|at| at.elapsed() >= FRESH) || !self.tasks.contains_key(&main) {
            // What was seen before stays when not all can be: what is missing would count as used by somebody who is gone.
            if let (all, true) = processes(Path::new(PROC)) {
                self.see(tasks.chain([main]).collect(), &all);
                self.seen_at = Some(Instant::now());
            }
        }
        let mut stats = Stats::default();
        let Some(seen) = self.tasks.get(&main) else { return stats };
        for pid in &seen.processes {
            add(&mut stats, &std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default());
        }
        let ns_per_tick = 1_000_000_000 / sys::ticks_per_second();
        let ns = |ticks: u64, lost: u64| ticks.saturating_add(lost).saturating_mul(ns_per_tick);
        stats.cpu_user_ns = ns(seen.used.user, seen.lost.user);
        stats.cpu_system_ns = ns(seen.used.system, seen.lost.system);
        stats.cpu_total_ns = stats.cpu_user_ns.saturating_add(stats.cpu_system_ns);
        stats
    }

    fn see(&mut self, mains: BTreeSet<i32>, all: &BTreeMap<i32, Process>) {
        let mut before = std::mem::take(&mut self.tasks);
        for (main, processes) in members(&mains, all) {
            let mut used = Used::default();
            for process in processes.iter().filter_map(|pid| all.get(pid)) {
                used.user = used.user.saturating_add(process.used.user);
                used.system = used.system.saturating_add(process.used.system);
            }
            let started = all.get(&main).map(|process| process.started);
            let is_same = |seen: &Seen| started.is_none() || seen.started.is_none() || seen.started == started;
            let Seen { used: was, mut lost, started: was_started, .. } =
                before.remove(&main).filter(is_same).unwrap_or_default();
            lost.user = lost.user.saturating_add(was.user.saturating_sub(used.user));
            lost.system = lost.system.saturating_add(was.system.saturating_sub(used.system));
            self.tasks.insert(main, Seen { started: started.or(was_started), processes, used, lost });
        }
    }
}

/// Adds what the kernel says of one process's memory; nothing for one that is gone.
fn add(stats: &mut Stats, status: &str) {
    if status.is_empty() {
        return;
    }
    let bytes = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
    };
    stats.memory_usage_bytes += bytes("VmRSS");
    stats.memory_max_usage_bytes += bytes("VmHWM");
    stats.memory_rss_bytes += bytes("RssAnon");
    stats.memory_mapped_file_bytes += bytes("RssFile");
    stats.memory_swap_bytes += bytes("VmSwap");
    stats.processes += 1;
}

/// All processes that this one may see, and whether these are all of them: there may be no descriptor left to look with.
fn processes(proc: &Path) -> (BTreeMap<i32, Process>, bool) {
    let Ok(entries) = std::fs::read_dir(proc) else {
        return (BTreeMap::new(), false);
    };
    let (mut found, mut are_all) = (BTreeMap::new(), true);
    for entry in entries {
        let Ok(entry) = entry else {
            are_all = false;
            continue;
        };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        match std::fs::read_to_string(entry.path().join("stat")) {
            Ok(stat) => found.extend(process(&stat).map(|process| (pid, process))),
            Err(err) => are_all &= is_not_there(&err),
        }
    }
    (found, are_all)
}

/// Whether a process has ended, or is hidden from this user at any time, by the error of looking at it.
fn is_not_there(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
        || err.raw_os_error() == Some(libc::ESRCH)
}

fn process(stat: &str) -> Option<Process> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(1);
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let mut ticks = fields.skip(7).map(|field| field.parse::<u64>().unwrap_or(0));
    let [user, system, of_children, of_children_system] = [(); 4].map(|()| ticks.next().unwrap_or(0));
    let started = ticks.nth(4).unwrap_or(0);
    let used = Used { user: user.saturating_add(of_children), system: system.saturating_add(of_children_system) };
    Some(Process { parent, session, started, used })
}

/// Whose session or descent every process belongs to, of these. Each of them is one of its own, also when it is not there any more.
fn members(mains: &BTreeSet<i32>, all: &BTreeMap<i32, Process>) -> BTreeMap<i32, Vec<i32>> {
    let mut owners: BTreeMap<i32, Option<i32>> = mains.iter().map(|main| (*main, Some(*main))).collect();
    for pid in all.keys() {
        // Up to one of whom it is known; what was read at different moments may even go in a circle.
        let (mut way, mut next) = (Vec::new(), *pid);
        let owner = loop {
            if let Some(owner) = owners.get(&next) {
                break *owner;
            }
            let Some(process) = all.get(&next) else { break None };
            way.push(next);
            if mains.contains(&process.session) {
                break Some(process.session);
            }
            owners.insert(next, None);
            next = process.parent;
        };
        owners.extend(way.into_iter().map(|pid| (pid, owner)));
    }
    let mut members: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (pid, owner) in owners {
        if let Some(owner) = owner {
            members.entry(owner).or_default().push(pid);
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parent: i32, session: i32, user: u64) -> Process {
        Process { parent, session, started: 7, used: Used { user, system: 2 * user } }
    }

    #[test]
    fn relatives_are_found() {
        let stat = "7 (a (b) c) S 3 7 5 0 -1 4194304 100 200 0 0 3 4 50 60 20 0 1 0 100 1000 25 184467";
        let read = Process { parent: 3, session: 5, started: 100, used: Used { user: 53, system: 64 } };
        assert_eq!((process(stat), process("7 broken")), (Some(read), None));
        let table =
            [(10, 1, 10), (11, 10, 10), (12, 11, 12), (13, 1, 10), (20, 1, 20), (21, 20, 20), (30, 31, 9), (31, 30, 9)];
        let table = table.into_iter().map(|(pid, parent, session)| (pid, of(parent, session, 1))).collect();
        let found = |mains: &[i32]| members(&mains.iter().copied().collect(), &table);
        assert_eq!(found(&[10]), BTreeMap::from([(10, vec![10, 11, 12, 13])]));
        assert_eq!(
            found(&[10, 20, 40]),
            BTreeMap::from([(10, vec![10, 11, 12, 13]), (20, vec![20, 21]), (40, vec![40])])
        );
    }

    #[test]
    fn processor_time_never_goes_down() {
        let mut relatives = Relatives::default();
        let mut see = |table: &[(i32, Process)]| {
            relatives.see(BTreeSet::from([10]), &table.iter().copied().collect());
            let Seen { used, lost, .. } = &relatives.tasks[&10];
            assert_eq!(used.system + lost.system, 2 * (used.user + lost.user));
            used.user + lost.user
        };
        assert_eq!(see(&[(10, of(1, 10, 5)), (11, of(10, 10, 40)), (99, of(1, 99, 1000))]), 45);
        // Its parent has taken note of its end.
        assert_eq!(see(&[(10, of(1, 10, 46)), (12, of(10, 10, 30))]), 76);
        // Nobody of the task has: what was seen stays, and what is used from here on counts.
        assert_eq!(see(&[(10, of(1, 10, 46))]), 76);
        assert_eq!(see(&[(10, of(1, 10, 50))]), 80);
        assert_eq!(see(&[]), 80);
        // Another one has its number.
        assert_eq!(see(&[(10, Process { started: 8, ..of(1, 10, 3) })]), 3);
        relatives.see(BTreeSet::new(), &BTreeMap::new());
        assert!(relatives.tasks.is_empty());
    }

    #[test]
    fn a_look_that_failed_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let look = || processes(dir.path());
        assert_eq!(processes(&dir.path().join("none")), (BTreeMap::new(), false));
        for pid in ["7", "8", "self"] {
            std::fs::create_dir(dir.path().join(pid)).unwrap();
        }
        let stat = "7 (a) S 3 7 5 0 -1 4194304 100 200 0 0 3 4 50 60 20 0 1 0 100 1000 25 184467";
        std::fs::write(dir.path().join("7/stat"), stat).unwrap();
        let (found, are_all) = look();
        assert_eq!((found.into_keys().collect::<Vec<_>>(), are_all), (vec![7], true), "the other one has ended");
        // It is there and can't be read.
        std::fs::create_dir(dir.path().join("8/stat")).unwrap();
        let (found, are_all) = look();
        assert_eq!((found.into_keys().collect::<Vec<_>>(), are_all), (vec![7], false));
        assert!([libc::EMFILE, libc::ENOMEM].iter().all(|code| !is_not_there(&io::Error::from_raw_os_error(*code))));
        assert!([libc::ESRCH, libc::EPERM].iter().all(|code| is_not_there(&io::Error::from_raw_os_error(*code))));
    }

    #[test]
    fn what_they_use_is_added_up() {
        let mut stats = Stats::default();
        let status = "Name:\ta\nVmHWM:\t     300 kB\nVmRSS:\t     200 kB\nRssAnon:\t     120 kB\nRssFile:\t      80 kB\nVmSwap:\t       8 kB\n";
        add(&mut stats, status);
        add(&mut stats, status);
        add(&mut stats, "");
        assert_eq!((stats.memory_usage_bytes, stats.memory_max_usage_bytes), (400 << 10, 600 << 10));
        assert_eq!(
            (stats.memory_rss_bytes, stats.memory_mapped_file_bytes, stats.memory_swap_bytes),
            (240 << 10, 160 << 10, 16 << 10)
        );
        assert_eq!(stats.processes, 2);
    }
}
