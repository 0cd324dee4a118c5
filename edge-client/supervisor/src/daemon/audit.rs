//! Looking whether what the kernel has is what this supervisor knows, both ways.
//!
//! A process that is a child, or that is held by a descriptor, is known to end; so are cgroups that are removed here. What is
//! looked for is what went wrong all the same: a cgroup of this node that belongs to no task, and a task whose process is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use super::Daemon;
use crate::cgroup::TaskCgroup;
use crate::protocol::Audited;
use crate::task::{Phase, is_there};

/// What is there and should not be must be so at two looks with at least this long between them before it is ended.
const SECOND_LOOK: Duration = Duration::from_millis(1900);

impl Daemon {
    /// One look.
    pub(super) fn audit(&mut self, now: Instant) -> Audited {
        let mut audited = Audited { missing: self.end_vanished(now), ..Audited::default() };
        let mut seen = BTreeMap::new();
        for cgroup in self.stray_cgroups() {
            let name = cgroup.name();
            let since = *self.strays.get(&name).unwrap_or(&now);
            if now.saturating_duration_since(since) < SECOND_LOOK {
                seen.insert(name.clone(), since);
                audited.strays.push(name);
                continue;
            }
            self.log(&format!("ends cgroup {name}, which belongs to no task"));
            self.bury(name.clone(), Some(cgroup));
            audited.ended.push(name);
        }
        self.strays = seen;
        audited
    }

    /// Tasks whose process is not there any more, though nobody was told of its end, end now.
    fn end_vanished(&mut self, now: Instant) -> Vec<String> {
        let is_gone = |(number, task): (&u64, &crate::task::Task)| {
            let started = task.started.as_ref().filter(|_| matches!(task.phase, Phase::Running))?;
            (!is_there(started)).then_some(*number)
        };
        let gone: Vec<u64> = self.tasks.iter().filter_map(is_gone).collect();
        let mut missing = Vec::new();
        for number in gone {
            let Some(task) = self.tasks.get_mut(&number) else { continue };
            if let Some(pid) = task.pid() {
                self.by_pid.remove(&pid);
            }
            missing.push(task.id.clone());
            task.main_process_ended(None, SystemTime::now(), now);
            self.ending.insert(number);
            self.log(&format!("the process of {} is gone without a word", missing.last().map_or("", String::as_str)));
        }
        missing
    }

    /// Cgroups of this node that belong to nothing that is known here.
    fn stray_cgroups(&self) -> Vec<TaskCgroup> {
        let tasks = self.tasks.values().filter(|task| task.cgroup.is_some()).map(|task| task.name.clone());
        let graves = self.graves.iter().flat_map(|grave| [grave.name.clone(), grave.cgroup.name()]);
        let spare = self.spare.iter().map(|spare| spare.cgroup.name());
        let known: BTreeSet<String> = tasks.chain(graves).chain(spare).collect();
        let mut found = self.cgroups.leftovers();
        found.retain(|cgroup| !known.contains(&cgroup.name()));
        found
    }
}
