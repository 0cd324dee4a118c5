//! Finding a task's processes where there is no cgroup to list them: by session and by descent; and what they use.
//!
//! Weaker than a cgroup: a process that left the session and whose parent has ended is not found.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::protocol::Stats;
use crate::sys;

/// For so long what was read of all processes will do for whoever asks next: there may be a thousand tasks to be asked for.
const FRESH: Duration = Duration::from_millis(500);

/// What `/proc/<pid>/stat` says of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Relation {
    parent: i32,
    session: i32,
}

/// Kills all that belong to the session or the descent of `main`, itself included unless it has ended.
pub(crate) fn kill(main: i32) {
    for pid in find(main, &relations()) {
        let _ = sys::kill(pid, libc::SIGKILL);
    }
}

/// All processes, as they were a moment ago.
#[derive(Debug, Default)]
pub(crate) struct Relatives {
    seen: Option<(Instant, BTreeMap<i32, Relation>)>,
}

impl Relatives {
    /// As they are now, or nearly so.
    pub(crate) fn of_now(&mut self) -> &Relatives {
        if self.seen.as_ref().is_none_or(|(at, _)| at.elapsed() >= FRESH) {
            self.seen = Some((Instant::now(), relations()));
        }
        self
    }

    /// What the session and the descent of `main` use: of those that have ended, what their parents have taken note of. Memory that
    /// several of them share counts for each.
    pub(crate) fn stats(&self, main: i32) -> Stats {
        let mut stats = Stats::default();
        let Some((_, relations)) = &self.seen else { return stats };
        for pid in find(main, relations) {
            let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            add(&mut stats, &read("stat"), &read("status"));
        }
        stats
    }
}

/// Adds what the kernel says of one process; nothing for one that is gone.
fn add(stats: &mut Stats, stat: &str, status: &str) {
    let Some((_, fields)) = stat.rsplit_once(") ") else { return };
    let mut fields = fields.split(' ').skip(11).map(|field| field.parse::<u64>().unwrap_or(0));
    let ns_per_tick = 1_000_000_000 / sys::ticks_per_second();
    let [own_user, own_system, user, system] = [(); 4].map(|()| fields.next().unwrap_or(0).saturating_mul(ns_per_tick));
    stats.cpu_user_ns += own_user + user;
    stats.cpu_system_ns += own_system + system;
    stats.cpu_total_ns = stats.cpu_user_ns + stats.cpu_system_ns;
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

fn relations() -> BTreeMap<i32, Relation> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, relation(&std::fs::read_to_string(entry.path().join("stat")).ok()?)?))
        })
        .collect()
}

fn relation(stat: &str) -> Option<Relation> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(1);
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Relation { parent, session })
}

fn find(main: i32, relations: &BTreeMap<i32, Relation>) -> BTreeSet<i32> {
    let mut found = BTreeSet::from([main]);
    loop {
        let before = found.len();
        for (pid, relation) in relations {
            if relation.session == main || found.contains(&relation.parent) {
                found.insert(*pid);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relatives_are_found() {
        let of = |line: &str| relation(line).map(|relation| (relation.parent, relation.session));
        assert_eq!(of("7 (a (b) c) S 3 7 5 0 -1"), Some((3, 5)));
        assert_eq!(of("7 broken"), None);
        let table = [(10, 1, 10), (11, 10, 10), (12, 11, 12), (13, 1, 10), (20, 1, 20), (21, 20, 20)];
        let table = table.into_iter().map(|(pid, parent, session)| (pid, Relation { parent, session })).collect();
        assert_eq!(find(10, &table), BTreeSet::from([10, 11, 12, 13]));
        assert_eq!(find(20, &table), BTreeSet::from([20, 21]));
    }

    #[test]
    fn what_they_use_is_added_up() {
        let mut stats = Stats::default();
        let stat = "7 (a (b) c) S 3 7 5 0 -1 4194304 100 200 0 0 3 4 50 60 20 0 1 0 100 1000 25 184467";
        let status = "Name:\ta\nVmHWM:\t     300 kB\nVmRSS:\t     200 kB\nRssAnon:\t     120 kB\nRssFile:\t      80 kB\nVmSwap:\t       8 kB\n";
        add(&mut stats, stat, status);
        add(&mut stats, stat, status);
        add(&mut stats, "", "");
        let tick = 1_000_000_000 / sys::ticks_per_second();
        assert_eq!((stats.cpu_user_ns, stats.cpu_system_ns, stats.cpu_total_ns), (106 * tick, 128 * tick, 234 * tick));
        assert_eq!((stats.memory_usage_bytes, stats.memory_max_usage_bytes), (400 << 10, 600 << 10));
        assert_eq!(
            (stats.memory_rss_bytes, stats.memory_mapped_file_bytes, stats.memory_swap_bytes),
            (240 << 10, 160 << 10, 16 << 10)
        );
        assert_eq!(stats.processes, 2);
    }
}
