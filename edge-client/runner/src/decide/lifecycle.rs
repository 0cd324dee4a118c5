//! In which order the tasks of an alloc start and end.
//!
//! ```text
//! start: prestart (+ its sidecars) --ended well, sidecars up--> main --all up--> poststart
//!        every task but poststop dead ------------------------------------------> poststop
//! end:   leader --dead--> main, poststart, prestart --dead--> sidecars
//! ```

use drover_model::task::Task;

/// When a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Before the main tasks, which wait until it has ended well.
    Prestart,
    /// From before the main tasks until they have ended.
    PrestartSidecar,
    /// The work itself.
    Main,
    /// Once, when all main tasks have started.
    Poststart,
    /// From when all main tasks have started until they have ended.
    PoststartSidecar,
    /// When everything else has ended.
    Poststop,
}

impl Role {
    /// The role of a task.
    pub fn of(task: &Task) -> Role {
        match task.lifecycle.as_ref().map(|lifecycle| (lifecycle.hook.as_str(), lifecycle.sidecar)) {
            Some(("prestart", false)) => Role::Prestart,
            Some(("prestart", true)) => Role::PrestartSidecar,
            Some(("poststart", false)) => Role::Poststart,
            Some(("poststart", true)) => Role::PoststartSidecar,
            Some(("poststop", _)) => Role::Poststop,
            _ => Role::Main,
        }
    }

    /// It ends with the main tasks instead of by itself.
    pub fn is_sidecar(self) -> bool {
        matches!(self, Role::PrestartSidecar | Role::PoststartSidecar)
    }

    /// An end without failure is what is wanted of it, whatever the job's type.
    pub fn is_meant_to_end(self) -> bool {
        matches!(self, Role::Prestart | Role::Poststart | Role::Poststop)
    }
}

/// How far a task has come, as far as others wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// When it runs.
    pub role: Role,
    /// It leads the alloc.
    pub is_leader: bool,
    /// It was started at least once.
    pub has_started: bool,
    /// It has ended for good.
    pub is_dead: bool,
    /// It has failed.
    pub has_failed: bool,
}

/// Whether a task of that role may start now.
pub fn may_start(role: Role, tasks: &[Progress]) -> bool {
    let main_may = tasks.iter().all(|task| match task.role {
        Role::Prestart => task.is_dead && !task.has_failed,
        Role::PrestartSidecar => task.has_started,
        Role::Main | Role::Poststart | Role::PoststartSidecar | Role::Poststop => true,
    });
    match role {
        Role::Prestart | Role::PrestartSidecar => true,
        Role::Main => main_may,
        Role::Poststart | Role::PoststartSidecar => {
            main_may && tasks.iter().filter(|task| task.role == Role::Main).all(|task| task.has_started)
        }
        Role::Poststop => tasks.iter().filter(|task| task.role != Role::Poststop).all(|task| task.is_dead),
    }
}

/// Which of the tasks that are to end do so next: places in `tasks`. The rest waits until these are dead.
pub fn next_to_end(tasks: &[Progress]) -> Vec<usize> {
    let places = |wanted: &dyn Fn(&Progress) -> bool| -> Vec<usize> {
        let alive = tasks.iter().enumerate().filter(|(_, task)| !task.is_dead && task.role != Role::Poststop);
        alive.filter(|(_, task)| wanted(task)).map(|(place, _)| place).collect()
    };
    let leader = places(&|task| task.is_leader);
    if !leader.is_empty() {
        return leader;
    }
    let others = places(&|task| !task.role.is_sidecar());
    if !others.is_empty() {
        return others;
    }
    places(&|task| task.role.is_sidecar())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(role: Role, state: &str) -> Progress {
        Progress {
            role,
            is_leader: false,
            has_started: state != "pending",
            is_dead: state == "dead" || state == "failed",
            has_failed: state == "failed",
        }
    }

    #[test]
    fn tasks_start_in_their_turn() {
        use Role::*;
        let check = |tasks: &[(Role, &str)], role: Role, expected: bool| {
            let progress: Vec<Progress> = tasks.iter().map(|(role, state)| task(*role, state)).collect();
            assert_eq!(may_start(role, &progress), expected, "{role:?} in {tasks:?}");
        };
        check(&[(Main, "pending")], Main, true);
        check(&[(Prestart, "pending"), (Main, "pending")], Prestart, true);
        check(&[(Prestart, "running"), (Main, "pending")], Main, false);
        check(&[(Prestart, "dead"), (Main, "pending")], Main, true);
        check(&[(Prestart, "failed"), (Main, "pending")], Main, false);
        check(&[(PrestartSidecar, "pending"), (Main, "pending")], Main, false);
        check(&[(PrestartSidecar, "running"), (Main, "pending")], Main, true);
        check(&[(Main, "running"), (Main, "pending"), (Poststart, "pending")], Poststart, false);
        check(&[(Main, "running"), (Main, "running"), (Poststart, "pending")], Poststart, true);
        check(&[(Main, "running"), (Poststop, "pending")], Poststop, false);
        check(&[(Main, "dead"), (PoststartSidecar, "running"), (Poststop, "pending")], Poststop, false);
        check(&[(Main, "dead"), (PoststartSidecar, "dead"), (Poststop, "pending")], Poststop, true);
    }

    #[test]
    fn tasks_end_in_their_turn() {
        use Role::*;
        let check = |tasks: &[(Role, &str, bool)], expected: &[usize]| {
            let progress: Vec<Progress> = tasks
                .iter()
                .map(|(role, state, is_leader)| Progress { is_leader: *is_leader, ..task(*role, state) })
                .collect();
            assert_eq!(next_to_end(&progress), expected, "{tasks:?}");
        };
        check(&[(Main, "running", false), (Main, "running", true), (PrestartSidecar, "running", false)], &[1]);
        check(&[(Main, "running", false), (Main, "dead", true), (PrestartSidecar, "running", false)], &[0]);
        check(&[(Main, "running", false), (Main, "running", false), (PrestartSidecar, "running", false)], &[0, 1]);
        check(&[(Main, "dead", false), (PrestartSidecar, "running", false)], &[1]);
        check(&[(Main, "dead", false), (Poststop, "running", false)], &[]);
    }
}
