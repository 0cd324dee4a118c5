//! What the event stream is told of commands.

use drover_model::deployment::{Deployment, DeploymentState};

use super::*;
use crate::{NoteKind, Subject};

fn told(events: &Events) -> Vec<(&'static str, &'static str)> {
    let noun = |subject: &Subject| match subject {
        Subject::Job(_) => "job",
        Subject::ForgottenJob(_) => "forgotten job",
        Subject::Node(_) => "node",
        Subject::Eval(_) => "eval",
        Subject::Alloc(_) => "alloc",
        Subject::Deployment(_) => "deployment",
    };
    events.notes.iter().map(|note| (note.kind.as_str(), noun(&note.subject))).collect()
}

#[test]
fn an_object_is_told_of_as_it_was_right_after_the_command() {
    let mut region = Region::default();
    let register = |job: Job, number: u8| {
        let eval = Some(eval(number, "web", EvalStatus::Pending));
        Command::RegisterJob(Box::new(RegisterJob { job: Arc::new(job), eval, ..RegisterJob::default() }))
    };
    let first = region.run(register(job("web", 1), 1)).1;
    assert_eq!(told(&first), [("JobRegistered", "job"), ("JobRegistered", "eval")]);
    region.run(register(job("web", 2), 2));
    let Subject::Job(seen) = &first.notes[0].subject else { panic!("{first:?}") };
    assert_eq!((seen.version, seen.modify_index), (0, 1));

    let gone = region.run(Command::DeregisterJob { key: key("web"), purge: true, eval: None, at: at(3) }).1;
    assert!(told(&gone).contains(&("JobDeregistered", "forgotten job")), "{gone:?}");
    let refused = region.run(Command::SetJobStability { key: key("web"), version: 0, stable: true }).1;
    assert_eq!(refused.notes, []);
}

#[test]
fn the_kind_is_that_of_the_write() {
    let mut region = Region::default();
    let node = region.node(1, NodeStatus::Ready);
    assert_eq!(told(&node), [("NodeRegistration", "node")]);
    let (node_id, event) = (node_id(1), String::new());
    let evals = vec![eval(3, "web", EvalStatus::Pending)];
    let down = Command::UpdateNodeStatus { node_id, status: NodeStatus::Down, event, evals, at: at(2) };
    let down = region.run(down).1;
    assert_eq!(told(&down), [("NodeStreamEvent", "node"), ("EvaluationUpdated", "eval")]);

    region.register(job("web", 1));
    let placed = region.place(vec![alloc(1, "web")]);
    assert!(told(&placed).contains(&("PlanResult", "alloc")), "{placed:?}");
    let reported = region.report(vec![report(1, ClientStatus::Running)]);
    // The node that reports is told of as well.
    assert!(told(&reported).starts_with(&[("AllocationUpdated", "alloc")]), "{reported:?}");
    assert_eq!(told(&reported).last(), Some(&("AllocationUpdated", "node")));

    let JobKey { namespace, id: job_id } = key("web");
    let task_groups = [("front".to_owned(), DeploymentState::default())].into();
    let deployment = Deployment { id: deployment_id(1), namespace, job_id, task_groups, ..Deployment::default() };
    region.plan(Plan { job: key("web"), deployment: Some(deployment.clone()), ..Plan::default() });
    let mut rollout = |promoted: bool| {
        let state = DeploymentState { promoted, ..DeploymentState::default() };
        let task_groups = [("front".to_owned(), state)].into();
        let deployment = Box::new(Deployment { task_groups, ..deployment.clone() });
        let events = region.run(Command::UpsertDeployment { deployment, eval: None, at: at(9) }).1;
        events.notes.first().map(|note| note.kind)
    };
    assert_eq!(rollout(false), Some(NoteKind::DeploymentStatusUpdate));
    assert_eq!(rollout(true), Some(NoteKind::DeploymentPromotion));
    assert_eq!(rollout(true), Some(NoteKind::DeploymentStatusUpdate));
}
