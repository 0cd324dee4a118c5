//! What commands do to the noun of this file: collect.

use super::*;

/// Asks for everything to be collected; gives what is left of evals, allocs, jobs and nodes.
fn collect(region: &mut Region) -> [usize; 4] {
    let jobs = region.state.jobs().map(|job| job.key()).collect();
    let nodes = region.state.nodes().map(|node| node.id).collect();
    let evals = region.state.evals().map(|eval| eval.id).collect();
    let allocs = region.state.allocs().map(|alloc| alloc.id).collect();
    region.run(Command::Collect { evals, allocs, deployments: vec![deployment_id(1)], jobs, nodes });
    let state = &region.state;
    [state.evals().count(), state.allocs().count(), state.jobs().count(), state.nodes().count()]
}

#[test]
fn what_has_not_ended_is_kept() {
    let mut region = Region::new();
    region.register(job("web", 1));
    region.evals(vec![eval(1, "web", EvalStatus::Pending)]);
    region.place(vec![alloc(1, "web")]);
    assert_eq!(collect(&mut region), [1, 1, 1, 1]);
    region.evals(vec![eval(1, "web", EvalStatus::Complete)]);
    assert_eq!(collect(&mut region), [0, 1, 1, 1]);
    // Stopped by servers is not ended yet: its node still runs it.
    let stop = drover_model::plan::PlanStop { alloc_id: alloc_id(1), ..Default::default() };
    region.plan(Plan { stops: vec![stop], ..Plan::default() });
    assert_eq!(collect(&mut region)[1], 1);
    region.report(vec![report(1, ClientStatus::Complete)]);
    assert_eq!(collect(&mut region), [0, 0, 0, 1]);
    assert_eq!(region.state.versions.len() + region.state.of_job.len() + region.state.summaries.len(), 0);
}

#[test]
fn a_job_with_a_named_version_stays() {
    let mut region = Region::new();
    region.register(job("web", 1));
    let at = region.now();
    let tag = crate::TagJobVersion { key: key("web"), name: "good".to_owned(), ..Default::default() };
    region.run(Command::TagJobVersion { tag: Box::new(tag), at });
    region.run(Command::DeregisterJob { key: key("web"), purge: false, eval: None, at });
    assert_eq!(collect(&mut region)[2], 1);
    region.run(Command::UntagJobVersion { key: key("web"), name: "good".to_owned() });
    assert_eq!(collect(&mut region)[2], 0);
}

#[test]
fn a_node_goes_when_it_is_down_and_empty() {
    let mut region = Region::new();
    region.register(job("web", 1));
    region.place(vec![alloc(1, "web")]);
    let at = region.now();
    let event = "Node heartbeat missed".to_owned();
    let evals = vec![];
    region.run(Command::UpdateNodeStatus { node_id: node_id(1), status: NodeStatus::Down, event, evals, at });
    assert_eq!(collect(&mut region)[3], 1);
    region.report(vec![report(1, ClientStatus::Complete)]);
    assert_eq!(collect(&mut region)[3], 0);
}
