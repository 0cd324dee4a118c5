//! Tables for the worker.

use drover_model::AllocId;
use drover_model::job::Job;
use drover_model::node::{DriverInfo, Node, NodeCpu, NodeDisk, NodeMemory, NodeResources, NodeStatus};
use drover_model::plan::PlanStop;
use drover_model::resources::Resources;
use drover_model::task::Task;

use super::*;
use crate::region::{Region, at, eval, eval_id, job, key, node_id};

/// A region whose only node has room for 1000 MHz and MiB.
fn region() -> Region {
    let mut region = Region::default();
    let driver = DriverInfo { detected: true, healthy: true, ..DriverInfo::default() };
    let node_resources = NodeResources {
        cpu: NodeCpu { mhz: 1000, ..NodeCpu::default() },
        memory: NodeMemory { mib: 1000 },
        disk: NodeDisk { mib: 100_000 },
        ..NodeResources::default()
    };
    let node = Node {
        id: node_id(1),
        status: NodeStatus::Ready,
        datacenter: "dc1".to_owned(),
        node_pool: "default".to_owned(),
        drivers: [("raw_exec".to_owned(), driver)].into(),
        node_resources,
        ..Node::default()
    };
    region.run(Command::RegisterNode { node: Box::new(node), evals: Vec::new(), at: at(0) });
    region
}

/// A job whose allocs take 400 MHz each.
fn sized(id: &str, count: i64) -> Job {
    let resources = Resources { cpu_mhz: 400, memory_mib: 100, ..Resources::default() };
    let task = Task { name: "main".to_owned(), driver: "raw_exec".to_owned(), resources, ..Task::default() };
    let mut job = job(id, count);
    job.datacenters = vec!["*".to_owned()];
    job.node_pool = "default".to_owned();
    job.task_groups[0].tasks = vec![task];
    job
}

fn pending(region: &Region) -> Vec<Arc<Eval>> {
    region.state.evals().filter(|eval| eval.status == EvalStatus::Pending).cloned().collect()
}

fn placed(region: &Region, job: &str) -> usize {
    region.state.allocs_of_job(&key(job)).count()
}

#[test]
fn later_evals_see_the_plans_before_them() {
    let mut region = region();
    region.register(sized("first", 2));
    region.register(sized("second", 2));
    let of_job = |number, job| Eval { job_modify_index: 3, ..eval(number, job, EvalStatus::Pending) };
    region.evals(vec![of_job(1, "first"), of_job(2, "second")]);
    let snapshot_index = region.state.index();
    let command = run(&region.snapshot(), &pending(&region), at(1), 7).unwrap();
    assert_eq!(Some(&command), run(&region.snapshot(), &pending(&region), at(1), 7).as_ref(), "it can be replayed");
    region.run(command);
    // Two of 400 MHz fit on 1000.
    assert_eq!((placed(&region, "first"), placed(&region, "second")), (2, 0));
    let done = region.state.eval(eval_id(1)).unwrap();
    assert_eq!((done.status, done.snapshot_index), (EvalStatus::Complete, snapshot_index));
    let short = region.state.eval(eval_id(2)).unwrap();
    assert_eq!((short.status, short.failed_group_allocs.len()), (EvalStatus::Complete, 1));
    let waiting: Vec<&Arc<Eval>> = region.state.blocked_evals().collect();
    assert_eq!(waiting.len(), 1);
    assert_eq!(short.blocked_eval, Some(waiting[0].id));
    assert_eq!(region.state.job_summary(&key("second")).groups["front"].queued, 2);
}

#[test]
fn evals_that_ended_meanwhile_are_left_out() {
    let mut region = region();
    region.register(sized("web", 1));
    region.evals(vec![eval(1, "web", EvalStatus::Pending)]);
    let stale = pending(&region);
    let command = run(&region.snapshot(), &stale, at(1), 7).unwrap();
    region.run(command);
    assert_eq!(run(&region.snapshot(), &stale, at(2), 8), None);
    assert_eq!(placed(&region, "web"), 1);
}

#[test]
fn every_eval_ends_also_that_of_a_job_that_is_gone() {
    let mut region = region();
    region.evals(vec![eval(1, "nope", EvalStatus::Pending)]);
    let command = run(&region.snapshot(), &pending(&region), at(1), 7).unwrap();
    region.run(command);
    assert_eq!(region.state.eval(eval_id(1)).unwrap().status, EvalStatus::Complete);
}

#[test]
fn of_several_looks_at_a_job_the_newest_is_kept() {
    let mut region = region();
    region.register(sized("web", 1));
    let look = |number| Eval { triggered_by: EvalTrigger::NodeUpdate, ..eval(number, "web", EvalStatus::Pending) };
    let later = Eval { wait_until: at(99), ..look(5) };
    region.evals(vec![look(1), look(2), look(3), eval(4, "web", EvalStatus::Pending), later, look(6)]);
    let taken = vec![region.state.eval(eval_id(1)).unwrap().clone()];
    let command = run(&region.snapshot(), &taken, at(1), 7).unwrap();
    region.run(command);
    let status = |number| region.state.eval(eval_id(number)).unwrap().status;
    assert_eq!([1, 2, 3, 4, 5, 6].map(status), {
        use EvalStatus::{Canceled, Complete, Pending};
        [Complete, Canceled, Canceled, Pending, Pending, Pending]
    });
}

#[test]
fn an_eval_that_gives_up_leaves_another_behind() {
    let mut region = region();
    region.register(sized("web", 1));
    region.evals(vec![eval(1, "web", EvalStatus::Pending)]);
    let mut run = Run { newest: region.state.clone(), plans: Vec::new(), ids: Ids::new(7), now: at(1) };
    run.give_up(&eval(1, "web", EvalStatus::Pending), 5);
    region.run(Command::ApplyPlans { plans: run.plans, at: at(1) });
    let failed = region.state.eval(eval_id(1)).unwrap();
    assert_eq!(failed.status, EvalStatus::Failed);
    assert_eq!(failed.status_description, "maximum attempts reached (5)");
    let blocked = region.state.blocked_evals().next().unwrap();
    assert_eq!((blocked.triggered_by, Some(blocked.id)), (EvalTrigger::MaxPlanAttempts, failed.blocked_eval));
    // Tried again, it places.
    let blocked = vec![blocked.clone()];
    let command = super::run(&region.snapshot(), &blocked, at(61), 8).unwrap();
    region.run(command);
    assert_eq!(placed(&region, "web"), 1);
    assert_eq!(region.state.eval(blocked[0].id).unwrap().status, EvalStatus::Complete);
}

#[test]
fn a_command_is_halved_until_each_part_holds_one_change_and_means_the_same() {
    let mut region = region();
    region.register(sized("web", 2));
    region.evals(vec![eval(1, "web", EvalStatus::Pending), eval(2, "other", EvalStatus::Pending)]);
    let snapshot = region.snapshot();
    let evals: Vec<_> = snapshot.evals().cloned().collect();
    let whole = run(&snapshot, &evals, at(1), 7).unwrap();
    let mut expected = State::clone(&snapshot);
    apply(&mut expected, snapshot.index() + 1, whole.clone());

    let (mut left, mut parts) = (vec![whole], Vec::new());
    while let Some(command) = left.pop() {
        match halves(command.clone()) {
            Some((first, second)) => left.extend([second, first]),
            None => parts.push(command),
        }
    }
    assert!(parts.len() >= 3, "{parts:?}");
    let mut found = State::clone(&snapshot);
    for part in parts {
        let is_open = found.eval(eval_id(1)).is_some_and(|eval| eval.status == EvalStatus::Pending);
        assert!(is_open || found.allocs().count() == 2, "the eval ended before its last part");
        // One index for all, so that only what they say can differ.
        apply(&mut found, snapshot.index() + 1, part);
    }
    assert_eq!(found.allocs().count(), 2);
    assert_eq!(found.digest(), expected.digest());
}

#[test]
fn a_large_command_is_committed_in_parts_and_what_is_one_stays_one() {
    let plan = |first: u32, count: u32, all_at_once: bool| {
        let id = |number: u32| AllocId::from(u128::from(number).to_be_bytes());
        let stops = (first..first + count).map(|number| PlanStop { alloc_id: id(number), ..PlanStop::default() });
        let plan = Plan { stops: stops.collect(), all_at_once, ..Plan::default() };
        AcceptedPlan { plan, evals: Vec::new() }
    };
    let stops = |command: &Command| -> Vec<AllocId> {
        let Command::ApplyPlans { plans, .. } = command else { panic!("{command:?}") };
        plans.iter().flat_map(|accepted| &accepted.plan.stops).map(|stop| stop.alloc_id).collect()
    };
    let max = CHANGES_PER_COMMAND_MAX as u32;
    let check = |plans: Vec<AcceptedPlan>, expected: &[usize]| {
        let whole = Command::ApplyPlans { plans, at: at(1) };
        let found = parts(whole.clone());
        assert_eq!(found.iter().map(|part| stops(part).len()).collect::<Vec<_>>(), expected);
        assert_eq!(found.iter().flat_map(&stops).collect::<Vec<_>>(), stops(&whole));
    };
    check(vec![plan(0, 10, false), plan(10, max - 10, false)], &[CHANGES_PER_COMMAND_MAX]);
    check(vec![plan(0, max + 2, false)], &[CHANGES_PER_COMMAND_MAX / 2 + 1; 2]);
    check(
        vec![plan(0, 1, false), plan(1, 2 * max, true), plan(1 + 2 * max, 1, false)],
        &[1, 2 * CHANGES_PER_COMMAND_MAX, 1],
    );
}
