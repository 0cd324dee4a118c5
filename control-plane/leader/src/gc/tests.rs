//! Tables for collection.

use drover_model::eval::EvalStatus;
use drover_model::job::JobType;

use super::*;
use crate::region::{Region, alloc, alloc_id, at, eval, eval_id, job, key, node_id, report};

/// What is left of evals, allocs, jobs and nodes after collection at that time.
fn left(region: &mut Region, seconds: u64) -> [usize; 4] {
    for command in step(&region.snapshot(), at(seconds)) {
        region.run(command);
    }
    assert_eq!(step(&region.snapshot(), at(seconds)), [], "twice is once");
    let state = &region.state;
    [state.evals().count(), state.allocs().count(), state.jobs().count(), state.nodes().count()]
}

/// Job `j` of that type with one eval and one alloc of it, which ended at 0 s.
fn ended(kind: JobType, status: ClientStatus) -> Region {
    let mut region = Region::new();
    region.register(Job { kind, ..job("j", 1) });
    region.evals(vec![Eval { kind, ..eval(1, "j", EvalStatus::Complete) }]);
    region.place(vec![Alloc { eval_id: Some(eval_id(1)), ..alloc(1, "j") }]);
    region.report(vec![report(1, status)]);
    region
}

const HOURS: u64 = 3600;

#[test]
fn ended_things_go_by_age() {
    let check = |kind: JobType, status: ClientStatus, seconds: u64, expected: [usize; 4]| {
        assert_eq!(left(&mut ended(kind, status), seconds), expected, "{kind:?} {status:?} {seconds}");
    };
    use ClientStatus::{Complete, Failed, Running};
    use JobType::{Batch, Service};
    check(Service, Complete, HOURS - 1, [1, 1, 1, 1]);
    check(Service, Complete, HOURS, [0, 0, 1, 1]);
    check(Service, Complete, 4 * HOURS, [0, 0, 0, 1]);
    check(Service, Running, 1000 * HOURS, [1, 1, 1, 1]);
    check(Service, Failed, HOURS, [0, 0, 1, 1]);
    // A batch job that is done keeps what it did until it goes itself.
    check(Batch, Complete, 3 * HOURS, [1, 1, 1, 1]);
    check(Batch, Complete, 4 * HOURS, [0, 0, 0, 1]);
}

#[test]
fn what_may_be_replaced_is_kept() {
    let mut region = ended(JobType::Service, ClientStatus::Failed);
    region.evals(vec![Eval { wait_until: at(9), ..eval(2, "j", EvalStatus::Pending) }]);
    assert_eq!(left(&mut region, 100 * HOURS), [2, 1, 1, 1]);
}

#[test]
fn old_versions_of_batch_work_go() {
    let mut region = ended(JobType::Batch, ClientStatus::Complete);
    region.register(Job { kind: JobType::Batch, ..job("j", 2) });
    let second = Alloc { eval_id: Some(eval_id(1)), job_version: 1, ..alloc(2, "j") };
    region.place(vec![second]);
    assert_eq!(left(&mut region, 23 * HOURS), [1, 2, 1, 1]);
    assert_eq!(left(&mut region, 24 * HOURS), [1, 1, 1, 1]);
    assert!(region.state.alloc(alloc_id(2)).is_some());
}

#[test]
fn standing_jobs_stay_until_they_are_stopped() {
    let mut region = Region::new();
    region.register(Job { periodic: Some(true.into()), ..job("cron", 1) });
    assert_eq!(left(&mut region, 100 * HOURS)[2], 1);
    region.stop("cron");
    assert_eq!(left(&mut region, 100 * HOURS)[2], 0);
}

#[test]
fn nodes_go_when_they_were_down_for_a_day() {
    let check = |status: NodeStatus, alloc_status: ClientStatus, seconds: u64, expected: usize| {
        let mut region = ended(JobType::Service, alloc_status);
        let event = String::new();
        let evals = Vec::new();
        region.run(Command::UpdateNodeStatus { node_id: node_id(1), status, event, evals, at: at(0) });
        assert_eq!(left(&mut region, seconds)[3], expected);
    };
    check(NodeStatus::Down, ClientStatus::Complete, 24 * HOURS - 1, 1);
    check(NodeStatus::Down, ClientStatus::Complete, 24 * HOURS, 0);
    check(NodeStatus::Down, ClientStatus::Running, 24 * HOURS, 1);
    check(NodeStatus::Ready, ClientStatus::Complete, 24 * HOURS, 1);
}

#[test]
fn much_is_collected_in_several_commands() {
    let mut region = Region::new();
    region.register(job("j", 1));
    let many = (0..COLLECTED_PER_COMMAND_MAX as u32 + 1).map(|number| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        Eval { id: EvalId::from(bytes), ..eval(1, "j", EvalStatus::Complete) }
    });
    region.evals(many.collect());
    let commands = step(&region.snapshot(), at(HOURS));
    assert_eq!(commands.len(), 2);
    assert_eq!(left(&mut region, HOURS)[0], 0);
    assert!(region.state.job(&key("j")).is_some());
    let now = collect(&region.snapshot(), at(0), Thresholds::NONE);
    assert!(matches!(&now[..], [Command::Collect { jobs, .. }] if jobs.len() == 1));
}

#[test]
fn a_leader_whose_clock_is_behind_collects_nothing() {
    let mut region = ended(JobType::Service, ClientStatus::Complete);
    region.seconds = 100_000 * HOURS;
    region.evals(vec![eval(2, "j", EvalStatus::Complete)]);
    assert_eq!(left(&mut region, 10), [2, 1, 1, 1]);
}
