//! The audit: what is there is held against what is wanted, both ways, and counted. At the agent's start, and again and again.
//!
//! | counter | what it counts |
//! |---|---|
//! | `nomad.client.audit.unwanted` | what is there and nobody wants, by `kind`: `task`, `cgroup`, `network`, `mount`, `directory`. It ends or goes |
//! | `nomad.client.audit.missing` | tasks that shall run and are not there: they failed with "exit code unknown" and follow their restart policy; with `kind=rules` bridge and rules of the networks, which were put right |
//!
//! Whatever is found is looked at once more two seconds later, and only what is the same then counts: things come and go between
//! the questions. What is there is ended only after the servers have said all that they want; until then the store may have lost
//! something. What is missing needs no such word.
//!
//! Ends are told as they happen, so a look finds nothing mostly. It costs a handful of wake-ups, each half minute.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use drover_model::AllocId;
use drover_runner::alloc_dir::AllocDir;
use drover_runner::decide::actual::Fact;
use drover_runner::drivers::supervised::{KnownTask, Supervised};
use drover_runner::drivers::{Audited, Recovered, TaskHandle};
use drover_runner::start::task_id;
use drover_runner::{AllocHandle, Edge, count_missing};
use tokio::sync::watch;

use crate::config::EdgeConfig;
use crate::networks;
use crate::requests::Allocs;

/// The time after which it is looked again, before anything is done about what was found.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// Looks, for as long as the agent lives.
pub struct Auditor {
    edge: Arc<Edge>,
    supervised: Arc<Supervised>,
    allocs: Arc<Allocs>,
    /// What is found in the directory of allocs is this edge's: both it and the state, which has one user at a time, lie where they
    /// do by default. Elsewhere another agent may share it.
    owns_dirs: bool,
    /// The longest time between two looks; half of it is the shortest, so that the edges of a host do not look together.
    every: Duration,
}

/// What one look at the machine has seen.
#[derive(Debug, Default)]
struct Seen {
    tasks: BTreeMap<String, KnownTask>,
    audited: Audited,
    networks: BTreeSet<AllocId>,
    /// Allocs that have a directory.
    dirs: BTreeSet<AllocId>,
    /// Allocs with something mounted in their directory.
    mounts: BTreeSet<AllocId>,
}

/// One alloc as its runner has it.
#[derive(Debug, Default)]
struct Wants {
    is_over: bool,
    running: BTreeMap<String, TaskHandle>,
    /// Tasks that may have a process; none when that is not known yet.
    busy: Option<BTreeSet<String>>,
}

/// What should not be, and what should be and is not.
#[derive(Debug, Default, PartialEq)]
struct Findings {
    /// With the process that is meant.
    tasks: BTreeSet<(String, Option<(i32, u64)>)>,
    networks: BTreeSet<AllocId>,
    mounts: BTreeSet<AllocId>,
    dirs: BTreeSet<AllocId>,
    has_strays: bool,
    /// Alloc, task and process.
    missing: BTreeSet<(AllocId, String, i32, u64)>,
}

impl Findings {
    fn is_empty(&self) -> bool {
        *self == Findings::default()
    }

    /// What both looks have found.
    fn and(&self, other: &Findings) -> Findings {
        Findings {
            tasks: &self.tasks & &other.tasks,
            networks: &self.networks & &other.networks,
            mounts: &self.mounts & &other.mounts,
            dirs: &self.dirs & &other.dirs,
            has_strays: self.has_strays && other.has_strays,
            missing: &self.missing & &other.missing,
        }
    }
}

/// Holds the one against the other. `unclaimed` are tasks of before that no runner has taken over.
fn compare(seen: &Seen, wants: &BTreeMap<AllocId, Wants>, unclaimed: &BTreeSet<String>, is_synced: bool) -> Findings {
    let mut found = Findings::default();
    for (alloc, its) in wants {
        for (task, handle) in &its.running {
            let known = seen.tasks.get(&task_id(*alloc, task));
            // One that has ended is told, so its runner knows it by the second look.
            if known.is_none_or(|known| known.has_exited) {
                found.missing.insert((*alloc, task.clone(), handle.pid, handle.start_ticks));
            }
        }
    }
    if !is_synced {
        return found;
    }
    let unwanted = seen.tasks.values().filter(|task| !is_wanted(&task.id, wants, unclaimed));
    found.tasks = unwanted.map(|task| (task.id.clone(), task.process)).collect();
    let lives = |alloc: &AllocId| wants.get(alloc).is_some_and(|its| !its.is_over);
    found.networks = seen.networks.iter().filter(|alloc| !lives(alloc)).copied().collect();
    found.mounts =
        seen.mounts.iter().filter(|alloc| wants.get(alloc).is_some_and(|its| its.is_over)).copied().collect();
    found.dirs = seen.dirs.iter().filter(|alloc| !wants.contains_key(alloc)).copied().collect();
    found.has_strays = !seen.audited.strays.is_empty() || !seen.audited.ended.is_empty();
    found
}

/// Whether a runner has that task, or may have it.
fn is_wanted(id: &str, wants: &BTreeMap<AllocId, Wants>, unclaimed: &BTreeSet<String>) -> bool {
    let Some((alloc, task)) = id.split_once('.') else { return false };
    let its = alloc.parse::<AllocId>().ok().and_then(|alloc| wants.get(&alloc));
    its.is_some_and(|its| !its.is_over && its.busy.as_ref().is_none_or(|busy| busy.contains(task)))
        && !unclaimed.contains(id)
}

impl Auditor {
    /// With what an edge has.
    pub fn new(config: &EdgeConfig, edge: Arc<Edge>, supervised: Arc<Supervised>, allocs: Arc<Allocs>) -> Auditor {
        let owns_dirs =
            config.state_dir.ends_with("client") && config.alloc_dir == config.state_dir.with_file_name("alloc");
        Auditor { edge, supervised, allocs, owns_dirs, every: config.audit_every }
    }

    /// Looks at each interval, and at once when the servers' wishes are known for the first time.
    pub async fn run(self: Arc<Self>, mut synced: watch::Receiver<bool>) {
        let auditor = self;
        let mut turn = 0u64;
        loop {
            turn += 1;
            let is_known = *synced.borrow();
            tokio::select! {
                () = tokio::time::sleep(auditor.pause(turn)) => {}
                Ok(_) = synced.wait_for(|is_synced| *is_synced), if !is_known => {}
            }
            let is_synced = *synced.borrow();
            let Some(first) = auditor.clone().look(is_synced).await else { continue };
            if !first.is_empty() {
                tokio::time::sleep(SECOND_LOOK).await;
                let Some(second) = auditor.clone().look(is_synced).await else { continue };
                auditor.clone().act(first.and(&second)).await;
            }
            if is_synced {
                // Whatever nobody took over by now has ended.
                auditor.edge.take_unclaimed();
            }
        }
    }

    /// The time until the next look, another one each time and on each edge.
    fn pause(&self, turn: u64) -> Duration {
        use std::hash::{BuildHasher, RandomState};
        let share = RandomState::new().hash_one(turn) % 1000;
        self.every / 2 + self.every / 2 * u32::try_from(share).unwrap_or(0) / 1000
    }

    async fn look(self: Arc<Self>, is_synced: bool) -> Option<Findings> {
        let wants = self.wants();
        let seen = tokio::task::spawn_blocking({
            let auditor = self.clone();
            move || auditor.see(is_synced)
        });
        let seen = seen.await.ok()??;
        for id in &seen.audited.missing {
            self.count_missing(id);
        }
        count("cgroup", seen.audited.ended.len());
        Some(compare(&seen, &wants, &self.edge.unclaimed(), is_synced))
    }

    /// What the runners have; before the machine is looked at, so that what they start meanwhile is not missed there.
    fn wants(&self) -> BTreeMap<AllocId, Wants> {
        let handles: Vec<(AllocId, Arc<AllocHandle>)> =
            self.allocs.lock().iter().map(|(id, handle)| (*id, handle.clone())).collect();
        let wants = |handle: &AllocHandle| Wants {
            is_over: handle.standing().is_over,
            running: handle.running(),
            busy: handle.busy(),
        };
        handles.iter().map(|(id, handle)| (*id, wants(handle))).collect()
    }

    /// Blocking. None where it can't be said what there is.
    fn see(&self, is_synced: bool) -> Option<Seen> {
        let mut seen = Seen::default();
        if is_synced {
            seen.audited = self.supervised.audit().ok()?;
        }
        seen.tasks = self.supervised.list().ok()?.into_iter().map(|task| (task.id.clone(), task)).collect();
        if self.edge.networks.put_right() {
            tracing::warn!("bridge and rules of the allocs were not as they were made; they are put right");
            drover_metrics::count("nomad.client.audit.missing", &[("kind", "rules")], 1.0);
        }
        seen.networks = self.edge.networks.connected();
        if self.owns_dirs {
            seen.dirs = dirs(&self.edge.allocs_dir);
        }
        seen.mounts = mounts(&self.edge.allocs_dir);
        Some(seen)
    }

    async fn act(self: Arc<Self>, found: Findings) {
        let Findings { tasks, networks, mounts, dirs, has_strays: _, missing } = found;
        for (alloc, task, pid, start_ticks) in missing {
            if let Some(handle) = self.allocs.get(alloc) {
                self.tell_missing(handle, task, (pid, start_ticks)).await;
            }
        }
        // Somebody may want it by now.
        let wants = self.wants();
        let lives = |alloc: &AllocId| wants.get(alloc).is_some_and(|its| !its.is_over);
        let unclaimed = self.edge.unclaimed();
        let tasks: Vec<String> =
            tasks.into_iter().map(|(id, _)| id).filter(|id| !is_wanted(id, &wants, &unclaimed)).collect();
        let strangers: BTreeSet<AllocId> = networks.into_iter().filter(|alloc| !lives(alloc)).collect();
        let dirs: Vec<AllocId> = dirs.into_iter().filter(|alloc| !wants.contains_key(alloc)).collect();
        let counts =
            [("task", tasks.len()), ("network", strangers.len()), ("mount", mounts.len()), ("directory", dirs.len())];
        counts.into_iter().for_each(|(kind, found)| count(kind, found));
        let ends = tasks.into_iter().map(|id| {
            let supervised = self.supervised.clone();
            tracing::warn!(task = %id, "ending a task that nobody wants");
            tokio::task::spawn_blocking(move || {
                if let Err(error) = supervised.purge(&id) {
                    tracing::warn!(task = %id, %error, "unwanted task not ended");
                }
            })
        });
        for end in ends.collect::<Vec<_>>() {
            let _ = end.await;
        }
        // After the tasks, which use them.
        let auditor = self.clone();
        let cleared = tokio::task::spawn_blocking(move || auditor.clear(strangers, &mounts, &dirs)).await;
        drop(cleared);
    }

    /// Blocking.
    fn clear(&self, strangers: BTreeSet<AllocId>, mounts: &BTreeSet<AllocId>, dirs: &[AllocId]) {
        networks::remove_strangers(&self.edge.networks, strangers);
        for alloc in mounts {
            tracing::warn!(%alloc, "unmounting what an ended alloc has left");
            if let Err(error) = AllocDir::new(&self.edge.allocs_dir, *alloc).unmount() {
                tracing::warn!(%alloc, %error, cause = %error.source, "alloc directory not unmounted");
            }
        }
        for alloc in dirs {
            tracing::warn!(%alloc, "removing the directory of an alloc that nobody wants");
            if let Err(error) = AllocDir::new(&self.edge.allocs_dir, *alloc).remove() {
                tracing::warn!(%alloc, %error, cause = %error.source, "alloc directory not removed");
            }
        }
    }

    /// Asks the driver, and tells the runner what it says.
    async fn tell_missing(&self, alloc: Arc<AllocHandle>, task: String, process: (i32, u64)) {
        let Some(handle) = alloc.running().remove(&task) else { return };
        if (handle.pid, handle.start_ticks) != process {
            return;
        }
        let Some(driver) = self.edge.drivers.get(&handle.driver).cloned() else { return };
        let asked = handle.clone();
        let exit = match tokio::task::spawn_blocking(move || driver.recover(&asked)).await {
            Ok(Ok(Recovered::Unknown)) => None,
            Ok(Ok(Recovered::Exited(exit))) => Some(exit),
            // It runs after all, or nobody can say.
            _ => return,
        };
        if exit.is_none() {
            tracing::warn!(id = handle.id, "a task that shall run is not there");
            count_missing(&alloc.wanted(), &task);
        }
        alloc.tell(Fact::Vanished { task, handle, exit }).await;
    }

    fn count_missing(&self, id: &str) {
        let Some((alloc, task)) = id.split_once('.') else { return };
        if let Some(handle) = alloc.parse().ok().and_then(|alloc| self.allocs.get(alloc)) {
            count_missing(&handle.wanted(), task);
        }
    }
}

fn count(kind: &str, found: usize) {
    if found > 0 {
        drover_metrics::count("nomad.client.audit.unwanted", &[("kind", kind)], found as f64);
    }
}

fn dirs(allocs: &Path) -> BTreeSet<AllocId> {
    let entries = std::fs::read_dir(allocs).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Allocs with something of ours mounted in a task's directory. What tasks themselves have mounted there goes with the directory.
fn mounts(allocs: &Path) -> BTreeSet<AllocId> {
    mounts_in(&std::fs::read_to_string("/proc/self/mounts").unwrap_or_default(), allocs)
}

fn mounts_in(text: &str, allocs: &Path) -> BTreeSet<AllocId> {
    let below = format!("{}/", allocs.display());
    let places = text.lines().filter_map(|line| line.split(' ').nth(1)?.strip_prefix(&below));
    let alloc_of = |place: &str| match place.split('/').collect::<Vec<_>>()[..] {
        [alloc, _, "secrets" | "private"] => alloc.parse::<AllocId>().ok(),
        _ => None,
    };
    places.filter_map(alloc_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [[u8; 16]; 3] = [[1; 16], [2; 16], [3; 16]];

    fn alloc(place: usize) -> AllocId {
        AllocId::from_random(NAMES[place])
    }

    fn known(id: String, process: Option<(i32, u64)>, has_exited: bool) -> (String, KnownTask) {
        (id.clone(), KnownTask { id, has_exited, process, log_bytes_dropped: 0 })
    }

    fn handle(pid: i32) -> TaskHandle {
        TaskHandle { pid, start_ticks: 7, ..TaskHandle::default() }
    }

    #[test]
    fn what_is_there_is_held_against_what_is_wanted() {
        let [lives, over, gone] = [0, 1, 2].map(alloc);
        let wants = BTreeMap::from([
            (
                lives,
                Wants {
                    is_over: false,
                    running: BTreeMap::from([("web".to_owned(), handle(1)), ("lost".to_owned(), handle(2))]),
                    busy: Some(["web", "lost", "next", "left"].map(str::to_owned).into()),
                },
            ),
            (over, Wants { is_over: true, ..Wants::default() }),
        ]);
        let seen = Seen {
            tasks: BTreeMap::from([
                known(task_id(lives, "web"), Some((1, 7)), false),
                // It is being started: nobody runs it yet, and it does not rest.
                known(task_id(lives, "next"), None, false),
                known(task_id(lives, "init"), Some((3, 7)), false),
                known(task_id(over, "web"), Some((4, 7)), true),
                known(task_id(gone, "web"), Some((5, 7)), false),
                known("stranger".to_owned(), Some((6, 7)), false),
                known(task_id(lives, "left"), Some((8, 7)), false),
            ]),
            networks: BTreeSet::from([lives, over, gone]),
            dirs: BTreeSet::from([lives, over, gone]),
            mounts: BTreeSet::from([lives, over]),
            ..Seen::default()
        };
        let unclaimed = BTreeSet::from([task_id(lives, "left")]);
        let found = compare(&seen, &wants, &unclaimed, true);
        let ids: BTreeSet<&str> = found.tasks.iter().map(|(id, _)| id.as_str()).collect();
        let unwanted = [
            task_id(lives, "init"),
            task_id(over, "web"),
            task_id(gone, "web"),
            "stranger".to_owned(),
            task_id(lives, "left"),
        ];
        assert_eq!(ids, unwanted.iter().map(String::as_str).collect());
        assert_eq!(found.networks, BTreeSet::from([over, gone]));
        assert_eq!(found.mounts, BTreeSet::from([over]));
        assert_eq!(found.dirs, BTreeSet::from([gone]));
        assert_eq!(found.missing, BTreeSet::from([(lives, "lost".to_owned(), 2, 7)]));
        // Before the servers have spoken nothing is unwanted.
        let before = compare(&seen, &wants, &unclaimed, false);
        assert_eq!(before, Findings { missing: found.missing.clone(), ..Findings::default() });
        // What is another process at the second look was something else.
        let second = Findings { tasks: BTreeSet::from([(task_id(gone, "web"), Some((5, 8)))]), ..Findings::default() };
        assert!(found.and(&second).is_empty());
    }

    #[test]
    fn only_our_own_mounts_count() {
        let [ours, theirs] = [0, 1].map(alloc);
        let text = format!(
            "tmpfs /srv/alloc/{ours}/web/secrets tmpfs rw 0 0\ntmpfs /srv/alloc/{theirs}/web/local/x tmpfs rw 0 0\n\
             tmpfs /srv/other/{theirs}/web/secrets tmpfs rw 0 0\n"
        );
        assert_eq!(mounts_in(&text, Path::new("/srv/alloc")), BTreeSet::from([ours]));
    }
}
