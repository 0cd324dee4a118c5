//! What commands do to the noun of this file: job.

use drover_model::job::{JobStatus, JobType};
use drover_model::task::Task;

use super::*;
use crate::Refusal;
use crate::state::JOB_VERSIONS_MAX;
use crate::submission::Submission;

#[test]
fn a_version_is_a_difference() {
    let mut region = Region::new();
    let mut check = |job: Job, version: u64, job_modify_index: u64| {
        assert_eq!(region.register(job), Answer::Job { job_modify_index, version });
    };
    check(job("web", 1), 0, 2);
    check(job("web", 1), 0, 2);
    check(job("web", 2), 1, 4);
    check(Job { stable: true, version: 7, status: JobStatus::Dead, ..job("web", 2) }, 1, 4);
    check(Job { priority: 60, ..job("web", 2) }, 2, 6);
}

#[test]
fn a_stop_is_a_version_and_a_purge_forgets() {
    let mut region = Region::new();
    let mut deregister = |id: &str, purge: bool| {
        region.register(job("web", 1));
        let at = region.now();
        let eval = Some(Box::new(eval(1, id, EvalStatus::Pending)));
        let (answer, _) = region.run(Command::DeregisterJob { key: key(id), purge, eval, at });
        let job = region.state.job(&key(id)).map(|job| (job.version, job.stop));
        (answer, job, region.state.evals().count())
    };
    assert_eq!(deregister("nope", false), (Answer::Job { job_modify_index: 0, version: 0 }, None, 0));
    assert_eq!(deregister("web", false), (Answer::Job { job_modify_index: 5, version: 1 }, Some((1, true)), 1));
    // Registered anew it is a third version; stopped by the purge it is gone.
    assert_eq!(deregister("web", true), (Answer::Job { job_modify_index: 7, version: 2 }, None, 1));
    assert!(region.state.job_versions(&key("web")).is_empty());
    assert_eq!(region.state.job_summary(&key("web")), crate::JobSummary::default());
}

#[test]
fn a_stop_ends_what_waits_for_a_time() {
    let mut region = Region::new();
    region.register(job("web", 1));
    let waiting = Eval { wait_until: at(900), ..eval(1, "web", EvalStatus::Pending) };
    region.evals(vec![waiting, eval(2, "web", EvalStatus::Pending)]);
    let at = region.now();
    region.run(Command::DeregisterJob { key: key("web"), purge: false, eval: None, at });
    assert_eq!(region.eval(1).status, EvalStatus::Canceled);
    assert_eq!(region.eval(2).status, EvalStatus::Pending);
}

#[test]
fn an_enforced_index_is_checked() {
    let check = |existing: bool, enforce_index: Option<u64>, expected: &str| {
        let mut region = Region::new();
        if existing {
            region.register(job("web", 1));
        }
        let register = RegisterJob { job: Arc::new(job("web", 5)), enforce_index, ..RegisterJob::default() };
        let (answer, events) = region.run(Command::RegisterJob(Box::new(register)));
        let text = match answer {
            Answer::Refused(refusal) => {
                assert_eq!(events.changes, []);
                refusal.to_string()
            }
            _ => String::new(),
        };
        assert_eq!(text, expected);
    };
    check(false, Some(0), "");
    check(true, Some(2), "");
    check(true, Some(0), "Enforcing job modify index 0: job already exists");
    check(true, Some(5), "Enforcing job modify index 5: job exists with conflicting job modify index: 2");
    check(false, Some(5), "Enforcing job modify index 5: job does not exist");
}

#[test]
fn counts_are_kept_when_asked() {
    let mut region = Region::new();
    region.register(job("web", 3));
    let changed = Job { priority: 70, ..job("web", 1) };
    let register = RegisterJob { job: Arc::new(changed), preserve_counts: true, ..RegisterJob::default() };
    region.run(Command::RegisterJob(Box::new(register)));
    assert_eq!((region.job("web").version, region.job("web").task_groups[0].count), (1, 3));
}

#[test]
fn six_versions_are_kept_and_those_in_use() {
    let mut region = Region::new();
    region.register(job("web", 0));
    region.place(vec![alloc(1, "web")]);
    let versions = |region: &Region| -> Vec<u64> {
        region.state.job_versions(&key("web")).iter().map(|job| job.version).collect()
    };
    for count in 1..10 {
        let submission = Some(Submission { source: count.to_string(), ..Submission::default() });
        let job = Arc::new(job("web", count));
        region.run(Command::RegisterJob(Box::new(RegisterJob { job, submission, ..RegisterJob::default() })));
    }
    assert_eq!(versions(&region), [9, 8, 7, 6, 5, 4, 0]);
    assert_eq!(region.state.job_of_alloc(region.alloc(1)).unwrap().version, 0);
    assert!(region.state.submission(&key("web"), 3).is_none());
    assert_eq!(region.state.submission(&key("web"), 4).unwrap().source, "4");

    region.report(vec![report(1, ClientStatus::Complete)]);
    let collect =
        Command::Collect { evals: vec![], allocs: vec![alloc_id(1)], deployments: vec![], jobs: vec![], nodes: vec![] };
    region.run(collect);
    assert_eq!(versions(&region).len(), JOB_VERSIONS_MAX);
}

#[test]
fn the_newest_stable_version_is_forgotten_last() {
    let mut region = Region::new();
    for count in 0..3 {
        region.register(job("web", count));
    }
    for version in [0, 1] {
        region.run(Command::SetJobStability { key: key("web"), version, stable: true });
    }
    for count in 3..20 {
        region.register(job("web", count));
    }
    let versions: Vec<u64> = region.state.job_versions(&key("web")).iter().map(|job| job.version).collect();
    assert_eq!(versions, [19, 18, 17, 16, 15, 1]);
}

#[test]
fn a_text_that_came_late_is_kept_and_one_that_is_there_stays() {
    let mut region = Region::new();
    let mut register = |source: Option<&str>| {
        let submission = source.map(|source| Submission { source: source.to_owned(), ..Submission::default() });
        let job = Arc::new(job("web", 1));
        region.run(Command::RegisterJob(Box::new(RegisterJob { job, submission, ..RegisterJob::default() })));
        region.state.submission(&key("web"), 0).map(|kept| kept.source.clone())
    };
    assert_eq!(register(None), None);
    assert_eq!(register(Some("a")).as_deref(), Some("a"));
    assert_eq!(register(Some("b")).as_deref(), Some("a"));
}

#[test]
fn resources_are_kept_when_asked() {
    let with = |cpu: i64, names: &[&str]| {
        let task = |name: &&str| {
            let mut task = Task { name: (*name).to_owned(), ..Task::default() };
            task.resources.cpu_mhz = cpu;
            task
        };
        let mut job = job("web", 1);
        job.task_groups[0].tasks = names.iter().map(task).collect();
        job
    };
    let mut region = Region::new();
    region.register(with(100, &["a"]));
    let job = Arc::new(with(700, &["a", "b"]));
    let register = RegisterJob { job, preserve_resources: true, ..RegisterJob::default() };
    region.run(Command::RegisterJob(Box::new(register)));
    let tasks = &region.job("web").task_groups[0].tasks;
    assert_eq!([tasks[0].resources.cpu_mhz, tasks[1].resources.cpu_mhz], [100, 700]);
}

#[test]
fn an_alloc_keeps_the_version_of_a_purged_job_apart_from_the_next_one() {
    let mut region = Region::new();
    region.register(job("web", 1));
    region.place(vec![alloc(1, "web")]);
    let at = region.now();
    region.run(Command::DeregisterJob { key: key("web"), purge: true, eval: None, at });
    assert_eq!(region.state.job_version(&key("web"), 0).unwrap().task_groups[0].count, 1);
    region.register(job("web", 8));
    assert_eq!(region.state.job_of_alloc(region.alloc(1)).unwrap().task_groups[0].count, 1);
    assert_eq!(region.state.job_version(&key("web"), 0).unwrap().task_groups[0].count, 8);
    assert_eq!(region.state.job_versions(&key("web")).len(), 1);
    assert_eq!(region.counts("web"), GroupSummary::default(), "allocs of the earlier job do not count");
}

#[test]
fn stability_is_marked_on_the_version() {
    let mut region = Region::new();
    region.register(job("web", 1));
    region.register(job("web", 2));
    let mark = |version| Command::SetJobStability { key: key("web"), version, stable: true };
    assert_eq!(region.run(mark(0)).0, Answer::Done);
    assert!(region.state.job_version(&key("web"), 0).unwrap().stable && !region.job("web").stable);
    assert_eq!(region.run(mark(1)).0, Answer::Done);
    assert!(region.job("web").stable);
    assert!(matches!(region.run(mark(2)).0, Answer::Refused(Refusal::NotFound { .. })));
}

#[test]
fn the_status_follows_allocs_and_evals() {
    let mut region = Region::new();
    region.register(job("web", 1));
    let mut check = |change: &dyn Fn(&mut Region), expected: JobStatus| {
        change(&mut region);
        assert_eq!(region.job("web").status, expected, "at index {}", region.index);
    };
    check(&|_| {}, JobStatus::Pending);
    check(&|region| drop(region.evals(vec![eval(1, "web", EvalStatus::Pending)])), JobStatus::Pending);
    check(&|region| drop(region.place(vec![alloc(1, "web")])), JobStatus::Running);
    check(&|region| drop(region.evals(vec![eval(1, "web", EvalStatus::Complete)])), JobStatus::Running);
    check(&|region| drop(region.report(vec![report(1, ClientStatus::Failed)])), JobStatus::Dead);
    check(&|region| drop(region.evals(vec![eval(2, "web", EvalStatus::Blocked)])), JobStatus::Pending);
    check(&|region| drop(region.evals(vec![eval(2, "web", EvalStatus::Complete)])), JobStatus::Dead);
    check(
        &|region| {
            let (evals, allocs) = (vec![eval_id(1), eval_id(2)], vec![alloc_id(1)]);
            region.run(Command::Collect { evals, allocs, deployments: vec![], jobs: vec![], nodes: vec![] });
        },
        JobStatus::Dead,
    );
    check(&|region| drop(region.register(job("web", 2))), JobStatus::Pending);
}

#[test]
fn standing_jobs_run_until_they_are_stopped() {
    let check = |job: Job, expected: JobStatus| {
        let mut region = Region::new();
        region.register(job);
        assert_eq!(region.job("j").status, expected);
        let at = region.now();
        region.run(Command::DeregisterJob { key: key("j"), purge: false, eval: None, at });
        assert_eq!(region.job("j").status, JobStatus::Dead);
    };
    check(Job { kind: JobType::System, ..job("j", 1) }, JobStatus::Running);
    check(Job { periodic: Some(true.into()), ..job("j", 1) }, JobStatus::Running);
    check(Job { parameterized_job: Some(true.into()), ..job("j", 1) }, JobStatus::Running);
    check(Job { kind: JobType::Batch, ..job("j", 1) }, JobStatus::Pending);
}

#[test]
fn summaries_are_counted_anew() {
    let mut region = Region::new();
    region.register(job("web", 1));
    let (name, group) = region.state.job_summary(&key("web")).groups.into_iter().next().unwrap();
    assert_eq!(group.running, 0);
    // As a fault of an earlier version may have left it.
    let wrong = std::sync::Arc::make_mut(region.state.summaries.get_mut(&key("web")).unwrap());
    let counts = wrong.groups.get_mut(&name).unwrap();
    (counts.running, counts.queued) = (7, 2);
    wrong.groups.insert("gone".to_owned(), crate::summary::GroupSummary { lost: 3, ..Default::default() });
    assert_eq!(region.run(Command::ReconcileSummaries).0, Answer::Done);
    let summary = region.state.job_summary(&key("web"));
    assert_eq!(summary.groups.len(), 1);
    assert_eq!((summary.groups[&name].running, summary.groups[&name].queued), (0, 2));
    let before = region.state.job_summary(&key("web")).modify_index;
    region.run(Command::ReconcileSummaries);
    assert_eq!(region.state.job_summary(&key("web")).modify_index, before, "nothing has changed");
}
