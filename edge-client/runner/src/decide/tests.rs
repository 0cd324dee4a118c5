//! Whole lives of allocs, told as lines: what happens on the left, what is decided on the right.

use std::sync::Arc;
use std::time::Duration;

use drover_drivers::{Exit, TaskHandle};
use drover_model::Timestamp;
use drover_model::alloc::{Alloc, DesiredStatus};
use drover_model::group::Group;
use drover_model::job::{Job, JobType};
use drover_model::policy::{RestartPolicy, UpdateStrategy};
use drover_model::task::{Lifecycle, Task};

use super::actual::{Fact, RestartAsked, StartFailure};
use super::*;

fn task(name: &str) -> Task {
    Task {
        name: name.to_owned(),
        kill_timeout: Duration::from_secs(5),
        restart_policy: RestartPolicy {
            attempts: 1,
            interval: Duration::from_secs(60),
            delay: Duration::from_secs(4),
            mode: "fail".to_owned(),
            render_templates: false,
        },
        ..Task::default()
    }
}

fn hook(name: &str, hook: &str, sidecar: bool) -> Task {
    Task { lifecycle: Some(Lifecycle { hook: hook.to_owned(), sidecar }), ..task(name) }
}

#[derive(Clone)]
struct Life {
    wanted: Wanted,
    actual: AllocActual,
    second: u64,
}

impl Life {
    fn new(kind: JobType, tasks: Vec<Task>) -> Life {
        let group = Group { name: "g".to_owned(), tasks, ..Group::default() };
        Life::of(kind, group)
    }

    fn of(kind: JobType, group: Group) -> Life {
        let job = Job { kind, task_groups: vec![group], ..Job::default() };
        let wanted = Wanted { alloc: Alloc { task_group: "g".to_owned(), ..Alloc::default() }, job: Arc::new(job) };
        let actual = AllocActual::new(&wanted, "boot", Now::default());
        Life { wanted, actual, second: 0 }
    }

    fn now(&self) -> Now {
        Now { wall: Timestamp(1 + self.second as i64 * 1_000_000_000), steady: Duration::from_secs(self.second) }
    }

    /// One thing happens, in words; what is then decided, in words.
    fn on(&mut self, happens: &str) -> String {
        let words: Vec<&str> = happens.split(' ').collect();
        let now = self.now();
        let owned = |name: &str| name.to_owned();
        let fact = match words.as_slice() {
            ["prepared"] => Some(Fact::Prepared(Ok(()))),
            ["unprepared"] => Some(Fact::Prepared(Err("no".to_owned()))),
            ["started", name] => {
                let handle = TaskHandle { id: owned(name), started_at: now.wall, ..TaskHandle::default() };
                Some(Fact::Started { task: owned(name), handle })
            }
            ["refused", name] => {
                Some(Fact::NotStarted { task: owned(name), failure: StartFailure::Validation("no".to_owned()) })
            }
            ["failed", name] => {
                Some(Fact::NotStarted { task: owned(name), failure: StartFailure::Driver("no".to_owned()) })
            }
            ["unwanted", name] => Some(Fact::NotStarted { task: owned(name), failure: StartFailure::Unwanted }),
            ["exited", name, code] => Some(Fact::Exited {
                task: owned(name),
                exit: Exit { exit_code: code.parse().unwrap(), at: now.wall, ..Exit::default() },
            }),
            ["restart", "all"] => Some(Fact::RestartAsked(RestartAsked::All)),
            ["restart", "running"] => Some(Fact::RestartAsked(RestartAsked::Running)),
            ["restart", name] => Some(Fact::RestartAsked(RestartAsked::Task(owned(name)))),
            ["forgotten", name] => Some(Fact::Forgotten { task: owned(name) }),
            ["vanished", name, pid] => Some(Fact::Vanished {
                task: owned(name),
                handle: TaskHandle { pid: pid.parse().unwrap(), ..TaskHandle::default() },
                exit: None,
            }),
            ["lost", name] => Some(Fact::Lost { task: owned(name), reason: "gone".to_owned() }),
            ["at", second] => {
                self.second = second.parse().unwrap();
                None
            }
            ["hurry"] => {
                self.wanted.alloc.desired_transition.no_shutdown_delay = Some(true);
                None
            }
            ["stop"] => {
                self.wanted.alloc.desired_status = DesiredStatus::Stop;
                None
            }
            ["begin"] => None,
            other => panic!("{other:?}"),
        };
        let now = self.now();
        if let Some(fact) = fact {
            self.actual.observe(&self.wanted, fact, now);
        }
        let decision = decide(&self.wanted, &mut self.actual, Limits::default(), now);
        let mut said: Vec<String> = decision
            .actions
            .iter()
            .map(|action| match action {
                Action::Prepare => "prepare".to_owned(),
                Action::Start { task } => format!("start {task}"),
                Action::Signal { task, .. } => format!("signal {task}"),
                Action::Kill { task } => format!("kill {task}"),
                Action::Forget { task } => format!("forget {task}"),
                Action::CleanUp => "clean up".to_owned(),
            })
            .collect();
        if let Some(at) = decision.wake_at {
            said.push(format!("wake {}", at.as_secs()));
        }
        said.join(", ")
    }

    fn run(&mut self, lines: &[(&str, &str)]) {
        for (happens, expected) in lines {
            assert_eq!(self.on(happens), *expected, "on {happens:?}; {:#?}", self.actual.tasks);
        }
    }

    fn events(&self, name: &str) -> Vec<&str> {
        self.actual.task(name).unwrap().state.events.iter().map(|event| event.kind.as_str()).collect()
    }

    fn status(&self) -> String {
        let update = self.actual.update(&self.wanted, self.now());
        format!("{}: {}", update.client_status.as_str(), update.client_description)
    }
}

#[test]
fn a_batch_task_runs_once() {
    let mut life = Life::new(JobType::Batch, vec![task("t")]);
    assert_eq!(life.status(), "pending: No tasks have started");
    life.run(&[("begin", "prepare"), ("prepared", "start t"), ("begin", ""), ("started t", "")]);
    assert_eq!(life.status(), "running: Tasks are running");
    life.run(&[("exited t 0", "forget t"), ("begin", ""), ("forgotten t", "clean up"), ("begin", "")]);
    assert_eq!(life.status(), "complete: All tasks have completed");
    assert_eq!(life.events("t"), ["Received", "Task Setup", "Started", "Terminated"]);
}

#[test]
fn a_failing_task_is_restarted_and_then_fails() {
    let mut life = Life::new(JobType::Batch, vec![task("t")]);
    life.run(&[("begin", "prepare"), ("prepared", "start t"), ("started t", ""), ("exited t 3", "forget t")]);
    assert_eq!(life.status(), "pending: No tasks have started");
    // The delay is four seconds and up to one more.
    life.run(&[("forgotten t", "wake 4"), ("at 5", "start t"), ("started t", ""), ("exited t 3", "forget t")]);
    assert_eq!(life.status(), "failed: Failed tasks");
    life.run(&[("forgotten t", "clean up")]);
    let kinds =
        ["Received", "Task Setup", "Started", "Terminated", "Restarting", "Started", "Terminated", "Not Restarting"];
    assert_eq!(life.events("t"), kinds);
    assert_eq!(life.actual.tasks[0].state.restarts, 1);
}

#[test]
fn a_service_task_that_ends_well_is_restarted_too() {
    let mut life = Life::new(JobType::Service, vec![task("t")]);
    life.run(&[("begin", "prepare"), ("prepared", "start t"), ("started t", ""), ("exited t 0", "forget t")]);
    assert_eq!(life.status(), "pending: No tasks have started");
}

#[test]
fn a_start_that_fails_follows_the_policy_and_a_wrong_config_does_not() {
    let mut life = Life::new(JobType::Service, vec![task("t")]);
    life.run(&[("begin", "prepare"), ("prepared", "start t"), ("failed t", "wake 4"), ("at 5", "start t")]);
    life.run(&[("refused t", "clean up")]);
    let kinds = ["Received", "Task Setup", "Driver Failure", "Restarting", "Failed Validation", "Not Restarting"];
    assert_eq!(life.events("t"), kinds);
    assert_eq!(life.status(), "failed: Failed tasks");
}

#[test]
fn a_start_that_is_given_up_for_a_stop_is_no_failure() {
    let mut task = task("t");
    task.restart_policy.attempts = 0;
    let mut life = Life::new(JobType::Service, vec![task]);
    life.run(&[("begin", "prepare"), ("prepared", "start t"), ("stop", ""), ("unwanted t", "clean up")]);
    assert_eq!(life.events("t"), ["Received", "Task Setup", "Killed"]);
    assert_eq!(life.status(), "complete: All tasks have completed");
}

#[test]
fn a_task_is_restarted_on_request_whatever_its_policy_says() {
    let mut life = Life::new(JobType::Service, vec![task("t")]);
    life.run(&[("begin", "prepare"), ("prepared", "start t"), ("started t", ""), ("at 10", "")]);
    for _ in 0..3 {
        life.run(&[("restart t", "signal t, wake 15"), ("exited t 130", "forget t"), ("forgotten t", "start t")]);
        assert_eq!(life.status(), "pending: No tasks have started");
        life.run(&[("started t", "")]);
    }
    let asked = ["Restart Signaled", "Terminated", "Restarting", "Started"];
    assert!(life.events("t").ends_with(&asked), "{:?}", life.events("t"));
    assert_eq!(life.actual.tasks[0].state.restarts, 3);
    // The servers' wish goes before it.
    life.run(&[("restart running", "signal t, wake 15"), ("stop", "wake 15"), ("exited t 130", "forget t")]);
    life.run(&[("forgotten t", "clean up")]);
    assert_eq!(life.status(), "complete: All tasks have completed");
}

#[test]
fn tasks_that_have_ended_are_restarted_with_all() {
    let mut life = Life::new(JobType::Service, vec![hook("init", "prestart", false), task("t")]);
    life.run(&[
        ("begin", "prepare"),
        ("prepared", "start init"),
        ("started init", ""),
        ("exited init 0", "start t, forget init"),
    ]);
    life.run(&[("forgotten init", ""), ("started t", ""), ("restart running", "signal t, wake 5")]);
    life.run(&[("exited t 130", "forget t"), ("forgotten t", "start t"), ("started t", "")]);
    life.run(&[("restart all", "start init, signal t, wake 5")]);
}

#[test]
fn a_stopped_task_is_asked_and_then_ended() {
    let mut life = Life::new(JobType::Service, vec![task("t")]);
    life.run(&[("begin", "prepare"), ("prepared", "start t"), ("started t", ""), ("at 10", "")]);
    life.run(&[
        ("stop", "signal t, wake 15"),
        ("begin", "wake 15"),
        ("at 15", "kill t, wake 20"),
        ("at 16", "wake 20"),
    ]);
    life.run(&[("exited t 137", "forget t"), ("forgotten t", "clean up")]);
    assert_eq!(life.status(), "complete: All tasks have completed");
    assert_eq!(life.events("t"), ["Received", "Task Setup", "Started", "Killing", "Terminated", "Killed"]);
}

#[test]
fn a_stop_before_the_start_starts_nothing() {
    let mut life = Life::new(JobType::Service, vec![task("t"), hook("after", "poststop", false)]);
    life.run(&[("stop", "")]);
    assert_eq!(life.status(), "complete: All tasks have completed");
    let mut starting = Life::new(JobType::Service, vec![task("t")]);
    starting.run(&[("begin", "prepare"), ("prepared", "start t"), ("stop", ""), ("started t", "signal t, wake 5")]);
}

#[test]
fn shutdown_delay_comes_before_the_signal() {
    let mut slow = task("t");
    slow.shutdown_delay = Duration::from_secs(2);
    slow.kill_timeout = Duration::from_secs(3600);
    let mut life = Life::new(JobType::Service, vec![slow]);
    life.run(&[("begin", "prepare"), ("prepared", "start t"), ("started t", ""), ("stop", "wake 2")]);
    // The kill timeout is cut to the edge's limit.
    life.run(&[("at 2", "signal t, wake 32")]);
    assert_eq!(life.events("t")[3..], ["Killing", "Waiting for shutdown delay"]);
}

#[test]
fn tasks_start_and_end_in_their_order() {
    let tasks = vec![
        hook("init", "prestart", false),
        hook("side", "prestart", true),
        task("main"),
        hook("end", "poststop", false),
    ];
    let mut life = Life::new(JobType::Batch, tasks);
    life.run(&[
        ("begin", "prepare"),
        ("prepared", "start init, start side"),
        ("started side", ""),
        ("started init", ""),
    ]);
    life.run(&[("exited init 0", "start main, forget init"), ("forgotten init", ""), ("started main", "")]);
    life.run(&[("exited main 0", "signal side, forget main, wake 5"), ("forgotten main", "wake 5")]);
    life.run(&[("exited side 130", "start end, forget side"), ("forgotten side", ""), ("started end", "")]);
    life.run(&[("exited end 0", "forget end"), ("forgotten end", "clean up")]);
    assert_eq!(life.events("side")[3..], ["Main Tasks Dead", "Killing", "Terminated", "Killed"]);
    assert_eq!(life.status(), "complete: All tasks have completed");
}

#[test]
fn a_failed_task_takes_its_siblings_along() {
    let mut bad = task("bad");
    bad.restart_policy.attempts = 0;
    let mut life = Life::new(JobType::Service, vec![bad, task("good")]);
    life.run(&[("begin", "prepare"), ("prepared", "start bad, start good"), ("started bad", ""), ("started good", "")]);
    life.run(&[
        ("exited bad 1", "forget bad, signal good, wake 5"),
        ("forgotten bad", "wake 5"),
        ("exited good 0", "forget good"),
    ]);
    assert_eq!(life.events("good")[3..], ["Sibling Task Failed", "Killing", "Terminated", "Killed"]);
    assert_eq!(life.status(), "failed: Failed tasks");
    assert!(!life.actual.task("good").unwrap().state.failed);
}

#[test]
fn the_leader_goes_first_and_takes_the_others_along() {
    let leader = Task { leader: true, ..task("lead") };
    let mut life = Life::new(JobType::Service, vec![task("other"), leader]);
    life.run(&[
        ("begin", "prepare"),
        ("prepared", "start other, start lead"),
        ("started other", ""),
        ("started lead", ""),
    ]);
    life.run(&[("stop", "signal lead, wake 5"), ("exited lead 0", "signal other, forget lead, wake 5")]);
    // Both the stop and the leader's end say so.
    assert_eq!(life.events("other")[3..], ["Leader Task Dead", "Killing", "Killing"]);
}

#[test]
fn a_leader_that_fails_counts_as_a_failed_sibling() {
    let mut leader = Task { leader: true, ..task("lead") };
    leader.restart_policy.attempts = 0;
    let mut life = Life::new(JobType::Batch, vec![leader, task("other")]);
    life.run(&[("begin", "prepare"), ("prepared", "start lead, start other"), ("started lead", "")]);
    life.run(&[("started other", ""), ("exited lead 2", "forget lead, signal other, wake 5")]);
    assert_eq!(life.events("other")[3..], ["Sibling Task Failed", "Killing"]);
}

#[test]
fn sidecars_stay_until_the_last_other_task_is_dead() {
    let tasks = vec![hook("side", "prestart", true), task("main"), hook("after", "poststart", false)];
    let mut life = Life::new(JobType::Batch, tasks);
    life.run(&[("begin", "prepare"), ("prepared", "start side"), ("started side", "start main")]);
    life.run(&[("started main", "start after"), ("started after", ""), ("exited main 0", "forget main")]);
    life.run(&[("exited after 0", "signal side, forget after, wake 5")]);
    assert_eq!(life.events("side")[3..], ["Main Tasks Dead", "Killing"]);
}

#[test]
fn what_waits_is_killed_without_a_signal() {
    let mut life =
        Life::new(JobType::Service, vec![hook("init", "prestart", false), task("t"), hook("end", "poststop", false)]);
    life.run(&[("begin", "prepare"), ("prepared", "start init"), ("started init", "")]);
    life.run(&[("stop", "signal init, wake 5"), ("exited init 130", "start end, forget init")]);
    assert_eq!(life.events("t"), ["Received", "Killing"]);
    assert_eq!(life.events("end"), ["Received", "Task Setup"]);

    let mut waiting = Life::new(JobType::Service, vec![task("t")]);
    waiting.run(&[("begin", "prepare"), ("prepared", "start t"), ("started t", ""), ("exited t 1", "forget t")]);
    waiting.run(&[("forgotten t", "wake 4"), ("stop", "clean up")]);
    assert_eq!(waiting.events("t")[4..], ["Restarting", "Killing"]);
    assert_eq!(waiting.status(), "complete: All tasks have completed");
}

#[test]
fn the_group_waits_once_and_each_task_for_itself() {
    let leader = Task { leader: true, shutdown_delay: Duration::from_secs(1), ..task("lead") };
    let group = || Group {
        name: "g".to_owned(),
        tasks: vec![leader.clone(), task("other")],
        shutdown_delay: Some(Duration::from_secs(2)),
        ..Group::default()
    };
    let begin = || {
        let mut life = Life::of(JobType::Service, group());
        life.run(&[("begin", "prepare"), ("prepared", "start lead, start other"), ("started lead", "")]);
        life.run(&[("started other", ""), ("at 10", "")]);
        life
    };
    let mut life = begin();
    life.run(&[("stop", "wake 12"), ("at 11", "wake 12"), ("at 12", "wake 13"), ("at 13", "signal lead, wake 18")]);
    assert_eq!(life.events("lead")[3..], ["Killing", "Waiting for shutdown delay"]);
    life.run(&[("exited lead 130", "forget lead, signal other, wake 18")]);

    let mut hurried = begin();
    hurried.run(&[("hurry", ""), ("stop", "signal lead, wake 15")]);
    assert_eq!(hurried.events("lead")[3..], ["Killing", "Skipping shutdown delay"]);

    let mut late = begin();
    late.run(&[("stop", "wake 12"), ("at 12", "wake 13"), ("hurry", "signal lead, wake 17")]);
}

#[test]
fn a_batch_alloc_that_runs_too_long_is_complete() {
    let group = Group {
        name: "g".to_owned(),
        tasks: vec![task("t"), hook("end", "poststop", false)],
        max_run_duration: Some(Duration::from_secs(30)),
        ..Group::default()
    };
    let mut life = Life::of(JobType::Batch, group);
    life.run(&[
        ("begin", "prepare"),
        ("prepared", "start t"),
        ("started t", "wake 30"),
        ("at 30", "signal t, wake 35"),
    ]);
    // Nothing comes after it.
    life.run(&[("exited t 130", "forget t"), ("forgotten t", "clean up")]);
    assert_eq!(life.status(), "complete: allocation exceeded max_run_duration");
    assert_eq!(life.events("end"), ["Received", "Killing"]);
    assert_eq!(life.actual.tasks[1].state.events[1].display_message, "allocation exceeded max_run_duration");
}

#[test]
fn health_is_decided_in_a_deployment() {
    let update = UpdateStrategy {
        health_check: "task_states".to_owned(),
        min_healthy_time: Duration::from_secs(10),
        healthy_deadline: Duration::from_secs(60),
        ..UpdateStrategy::default()
    };
    let group = Group { name: "g".to_owned(), tasks: vec![task("t")], update: Some(update), ..Group::default() };
    let mut life = Life::of(JobType::Service, group);
    life.wanted.alloc.deployment_id = Some(drover_model::DeploymentId::from_random([1; 16]));
    life.run(&[
        ("begin", "prepare, wake 60"),
        ("prepared", "start t, wake 60"),
        ("at 2", "wake 60"),
        ("started t", "wake 12"),
    ]);
    life.run(&[("at 12", "")]);
    assert_eq!(life.actual.health.healthy, Some(true));
    // Updated in place it shows its health to the next deployment too, at once if it has been well for long enough.
    life.wanted.alloc.deployment_id = Some(drover_model::DeploymentId::from_random([2; 16]));
    life.run(&[("at 13", "")]);
    let found = life.actual.update(&life.wanted, life.now());
    assert_eq!((found.healthy, found.health_at), (Some(true), life.now().wall));
    life.wanted.alloc.deployment_id = Some(drover_model::DeploymentId::from_random([3; 16]));
    life.run(&[("exited t 1", "forget t, wake 73")]);
    assert_eq!(life.actual.health.healthy, None);
}

#[test]
fn an_end_that_nobody_saw_counts_as_failed_and_a_reboot_ends_all_waits() {
    let mut life = Life::new(JobType::Service, vec![task("t")]);
    life.run(&[
        ("begin", "prepare"),
        ("prepared", "start t"),
        ("started t", ""),
        ("lost t", "forget t"),
        ("forgotten t", "wake 4"),
    ]);
    assert_eq!(life.events("t")[3..], ["Failed Restoring Task", "Terminated", "Restarting"]);
    let terminated = &life.actual.tasks[0].state.events[4];
    assert_eq!((terminated.rest().exit_code, terminated.message.as_str()), (-1, "exit code unknown"));
    life.actual = life.actual.clone().restored("another boot", Now::default());
    life.run(&[("begin", "start t"), ("started t", "")]);
    // The policy allows one restart.
    life.run(&[("lost t", "forget t"), ("forgotten t", "clean up")]);
    assert_eq!(life.status(), "failed: Failed tasks");
}

#[test]
fn what_was_only_being_started_starts_again_in_the_same_boot_alone() {
    let starting = || {
        let mut life = Life::new(JobType::Batch, vec![task("t")]);
        life.run(&[("begin", "prepare"), ("prepared", "start t")]);
        life
    };
    let mut same = starting();
    same.actual = same.actual.clone().restored("boot", Now::default());
    same.run(&[("lost t", "start t")]);
    let mut other = starting();
    other.actual = other.actual.clone().restored("another boot", Now::default());
    other.run(&[("lost t", "forget t"), ("forgotten t", "wake 4")]);
    assert_eq!(other.events("t")[2..], ["Failed Restoring Task", "Terminated", "Restarting"]);
}

#[test]
fn a_batch_task_that_has_ended_never_runs_again() {
    let mut life = Life::new(JobType::Batch, vec![task("t")]);
    life.run(&[("begin", "prepare"), ("prepared", "start t"), ("started t", ""), ("exited t 0", "forget t")]);
    // The agent goes at each moment from here on; what it had on disk is all that is left.
    for boot in ["boot", "another boot"] {
        let mut again = Life { actual: life.actual.clone().restored(boot, Now::default()), ..life.clone() };
        again.run(&[("begin", "forget t"), ("lost t", "clean up"), ("begin", "")]);
        assert_eq!(again.status(), "complete: All tasks have completed");
        again.actual = again.actual.clone().restored(boot, Now::default());
        again.run(&[("begin", "clean up"), ("lost t", "")]);
        assert_eq!(again.status(), "complete: All tasks have completed");
    }
}

#[test]
fn directories_that_cannot_be_made_fail_the_alloc() {
    let mut life = Life::new(JobType::Service, vec![task("t")]);
    life.run(&[("begin", "prepare"), ("unprepared", "")]);
    assert_eq!((life.status().as_str(), life.events("t").last()), ("failed: Failed tasks", Some(&"Setup Failure")));
}

#[test]
fn an_unhealthy_alloc_says_which_task_it_is() {
    let update = UpdateStrategy {
        health_check: "task_states".to_owned(),
        min_healthy_time: Duration::from_secs(10),
        healthy_deadline: Duration::from_secs(60),
        ..UpdateStrategy::default()
    };
    let mut bad = task("bad");
    bad.restart_policy.attempts = 0;
    let tasks = vec![task("late"), bad, hook("init", "prestart", false)];
    let group = Group { name: "g".to_owned(), tasks, update: Some(update), ..Group::default() };
    let mut life = Life::of(JobType::Service, group);
    life.wanted.alloc.deployment_id = Some(drover_model::DeploymentId::from_random([1; 16]));
    life.run(&[("begin", "prepare, wake 60"), ("prepared", "start init, wake 60"), ("started init", "wake 60")]);
    life.run(&[("exited init 0", "start late, start bad, forget init, wake 60"), ("at 55", "wake 60")]);
    life.run(&[("started late", "wake 60"), ("started bad", "wake 60"), ("at 60", "")]);
    let last =
        |life: &Life, name: &str| life.actual.task(name).unwrap().state.events.last().unwrap().display_message.clone();
    let young = "Task not running for min_healthy_time of 10s by healthy_deadline of 1m0s";
    assert_eq!((last(&life, "late").as_str(), last(&life, "bad").as_str()), (young, young));
    assert_eq!(last(&life, "init"), "Exit Code: 0");

    let mut failing = life.clone();
    failing.actual.health = HealthWatch::default();
    failing.on("exited bad 1");
    assert_eq!(last(&failing, "bad"), "Unhealthy because of failed task");
}

#[test]
fn a_task_whose_process_is_gone_has_failed_unless_it_is_another_process_by_now() {
    let mut life = Life::new(JobType::Service, vec![task("a")]);
    life.run(&[
        ("begin", "prepare"),
        ("prepared", "start a"),
        ("vanished a 0", ""),
        ("started a", ""),
        ("vanished a 7", ""),
        ("vanished a 0", "forget a"),
    ]);
    let state = &life.actual.task("a").unwrap().state;
    assert!(format!("{:?}", state.events).contains("exit code unknown"), "{state:#?}");
    assert_eq!((state.restarts, state.failed), (1, false));
}
