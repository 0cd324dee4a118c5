//! Launches on a small region: due ones, missed ones, overlapping ones.

use drover_model::eval::{Eval, EvalStatus};
use drover_model::job::{Job, JobType};
use serde_json::json;

use super::*;
use crate::region::{Region, at, job, key};

fn zones(name: &str) -> Option<TimeZone> {
    (name == "UTC").then_some(TimeZone::UTC)
}

fn periodic(spec: &str, prohibit_overlap: bool) -> Job {
    let periodic = json!({
        "Enabled": true, "Specs": [spec], "ProhibitOverlap": prohibit_overlap, "TimeZone": "UTC",
    });
    Job { kind: JobType::Batch, periodic: Some(periodic), ..job("per", 1) }
}

/// Registers at second 10.
fn region(job: Job) -> Region {
    let mut region = Region { seconds: 10, ..Region::new() };
    region.register(Job { submit_time: at(10), ..job });
    region
}

fn step(region: &Region, seconds: u64) -> Vec<Command> {
    Launches::default().step(&region.snapshot(), at(seconds), &zones)
}

fn child(command: &Command) -> (Option<&str>, Timestamp) {
    let Command::LaunchJob(launch) = command else { panic!("{command:?}") };
    assert_eq!(launch.job.is_some(), launch.eval.is_some());
    (launch.job.as_ref().map(|job| job.id.as_str()), launch.launched_at)
}

#[test]
fn a_launch_is_made_when_it_is_due_and_only_once() {
    let mut region = region(periodic("* * * * *", false));
    let mut launches = Launches::default();
    assert_eq!(launches.step(&region.snapshot(), at(59), &zones), []);
    assert_eq!(launches.next_deadline(), Some(at(60)));
    let due = launches.step(&region.snapshot(), at(61), &zones);
    assert_eq!(child(&due[0]), (Some("per/periodic-60"), at(60)));
    // Asked again before it is committed it says the same again.
    assert_eq!(launches.step(&region.snapshot(), at(61), &zones).len(), 1);
    region.run(due[0].clone());
    assert_eq!(launches.step(&region.snapshot(), at(61), &zones), []);
    assert_eq!(launches.next_deadline(), Some(at(120)));
    let made = region.snapshot();
    let made = made.job(&key("per/periodic-60")).unwrap();
    assert_eq!((made.parent_id.as_str(), made.status, made.periodic.is_some()), ("per", JobStatus::Pending, false));
    let evals: Vec<_> = region.state.evals_of_job(&made.key()).collect();
    assert_eq!((evals[0].triggered_by, evals[0].status), (EvalTrigger::PeriodicJob, EvalStatus::Pending));
    // The same command once more makes no second job.
    let before = region.state.jobs().count();
    region.run(due[0].clone());
    assert_eq!(region.state.jobs().count(), before);
}

#[test]
fn what_was_missed_is_launched_once() {
    let region = region(periodic("* * * * *", false));
    assert_eq!(child(&step(&region, 119)[0]), (Some("per/periodic-60"), at(60)));
    assert_eq!(child(&step(&region, 905)[0]), (Some("per/periodic-905"), at(905)));
}

#[test]
fn a_launch_that_would_overlap_is_left_out() {
    let mut region = region(periodic("* * * * *", true));
    let first = step(&region, 60);
    region.run(first[0].clone());
    let second = step(&region, 120);
    assert_eq!(child(&second[0]), (None, at(120)));
    region.run(second[0].clone());
    assert_eq!(step(&region, 121), []);
    // Once the first has ended, the next time counts, not the one that was left out.
    region.stop("per/periodic-60");
    let evals: Vec<_> = region.state.evals_of_job(&key("per/periodic-60")).map(|eval| (**eval).clone()).collect();
    region.evals(evals.into_iter().map(|eval| Eval { status: EvalStatus::Complete, ..eval }).collect());
    assert_eq!(step(&region, 150), []);
    assert_eq!(child(&step(&region, 180)[0]), (Some("per/periodic-180"), at(180)));
}

#[test]
fn a_clock_that_was_set_back_does_not_silence_a_job() {
    let mut region = region(periodic("* * * * *", false));
    // Launched by a clock that was hours ahead.
    let ahead = step(&region, 9000);
    region.run(ahead[0].clone());
    let mut launches = Launches::default();
    let mut look = |region: &Region, seconds: u64| launches.step(&region.snapshot(), at(seconds), &zones);
    assert_eq!(look(&region, 130), []);
    let due = look(&region, 181);
    assert_eq!(child(&due[0]), (Some("per/periodic-180"), at(180)));
    region.run(due[0].clone());
    assert_eq!(look(&region, 182), []);
    assert_eq!(child(&look(&region, 240)[0]), (Some("per/periodic-240"), at(240)));

    // Registered by such a clock.
    let mut region = Region { seconds: 9000, ..Region::new() };
    region.register(Job { submit_time: at(9000), ..periodic("* * * * *", false) });
    let mut launches = Launches::default();
    let mut look = |region: &Region, seconds: u64| launches.step(&region.snapshot(), at(seconds), &zones);
    assert_eq!(look(&region, 130), []);
    let due = look(&region, 181);
    assert_eq!(child(&due[0]), (Some("per/periodic-180"), at(180)));
    region.run(due[0].clone());
    assert_eq!(look(&region, 182), []);
    assert_eq!(child(&look(&region, 240)[0]), (Some("per/periodic-240"), at(240)));
}

#[test]
fn a_new_version_counts_from_its_registration() {
    let mut region = region(periodic("* * * * *", false));
    region.seconds = 300;
    region.register(Job { submit_time: at(300), ..periodic("*/2 * * * *", false) });
    assert_eq!(step(&region, 359), []);
    assert_eq!(child(&step(&region, 360)[0]), (Some("per/periodic-360"), at(360)));
}

#[test]
fn jobs_that_change_are_looked_at_and_others_only_when_they_are_due() {
    let mut region = region(periodic("* * * * *", false));
    let mut launches = Launches::default();
    assert_eq!(launches.step(&region.snapshot(), at(20), &zones), []);
    // A second one, due each five minutes; then due each two.
    for (submit_time, spec, next) in [(30, "*/5 * * * *", 300), (40, "*/2 * * * *", 120)] {
        let events = region.register(Job { id: "other".into(), submit_time: at(submit_time), ..periodic(spec, false) });
        launches.on_events(&events);
        assert_eq!(launches.step(&region.snapshot(), at(submit_time), &zones), []);
        assert_eq!((launches.next_deadline(), launches.by_time.len()), (Some(at(60)), 2));
        assert!(launches.by_time.contains(&(at(next), key("other"))), "{launches:?}");
    }
    // Launched by hand: that is told of the job that was made, and found when the time comes.
    let by_hand = region.state.job(&key("per")).unwrap().periodic_child(at(60));
    let launch =
        LaunchJob { parent: key("per"), job: Some(by_hand.into()), eval: None, launched_at: at(60), at: at(60) };
    region.run(Command::LaunchJob(Box::new(launch)));
    assert_eq!(launches.step(&region.snapshot(), at(60), &zones), []);
    assert_eq!(launches.next_deadline(), Some(at(120)));
    // One that is stopped is forgotten.
    launches.on_events(&region.stop("per"));
    let due = launches.step(&region.snapshot(), at(120), &zones);
    assert_eq!(due.iter().map(child).collect::<Vec<_>>(), [(Some("other/periodic-120"), at(120))]);
    assert_eq!(launches.jobs.keys().collect::<Vec<_>>(), [&key("other")]);
}

#[test]
fn a_clock_that_is_set_back_between_two_steps_does_not_silence_a_job() {
    let mut region = region(periodic("* * * * *", false));
    let mut launches = Launches::default();
    let due = launches.step(&region.snapshot(), at(9000), &zones);
    region.run(due[0].clone());
    assert_eq!(launches.step(&region.snapshot(), at(9001), &zones), []);
    assert_eq!(launches.next_deadline(), Some(at(9060)));
    assert_eq!(launches.step(&region.snapshot(), at(130), &zones), []);
    assert_eq!(launches.next_deadline(), Some(at(180)));
    assert_eq!(child(&launches.step(&region.snapshot(), at(180), &zones)[0]), (Some("per/periodic-180"), at(180)));
}

#[test]
fn a_dispatched_job_launches_by_the_clock() {
    let parameterized = Some(json!({ "Payload": "optional" }));
    let job = Job { parameterized_job: parameterized, dispatched: true, ..periodic("* * * * *", false) };
    let region = region(job);
    assert_eq!(child(&step(&region, 60)[0]), (Some("per/periodic-60"), at(60)));
}

#[test]
fn what_does_not_launch() {
    let check = |change: &dyn Fn(&mut Job)| {
        let mut job = periodic("* * * * *", false);
        change(&mut job);
        assert_eq!(step(&region(job), 600), []);
    };
    check(&|job| job.periodic = Some(json!({ "Enabled": false, "Specs": ["* * * * *"] })));
    check(&|job| job.periodic = Some(json!({ "Enabled": true, "Specs": ["zz"] })));
    check(&|job| job.periodic = Some(json!({ "Enabled": true, "Specs": ["* * * * *"], "TimeZone": "Nope/X" })));
    check(&|job| job.periodic = None);
    // It is to be dispatched; what a dispatch makes of it launches.
    check(&|job| job.parameterized_job = Some(json!({ "Payload": "optional" })));
    let mut region = region(periodic("* * * * *", false));
    region.stop("per");
    assert_eq!(step(&region, 600), []);
}
