//! What commands do to the noun of this file: node.

use drover_model::node::{DriverInfo, Eligibility};

use super::*;
use crate::Refusal;

fn messages(region: &Region) -> Vec<&str> {
    region.state.node(node_id(1)).unwrap().events.iter().map(|event| event.message.as_str()).collect()
}

fn status(region: &mut Region, status: NodeStatus, event: &str) -> Answer {
    let at = region.now();
    let (node_id, event) = (node_id(1), event.to_owned());
    region.run(Command::UpdateNodeStatus { node_id, status, event, evals: Vec::new(), at }).0
}

#[test]
fn a_node_that_registers_again_keeps_what_servers_decided() {
    let mut region = Region::new();
    let eligibility = Eligibility::Ineligible;
    let at = region.now();
    region.run(Command::UpdateNodeEligibility { node_id: node_id(1), eligibility, evals: Vec::new(), at });
    assert_eq!(region.node(1, NodeStatus::Ready).changes, [], "nothing differs");
    status(&mut region, NodeStatus::Down, "Node heartbeat missed");
    region.node(1, NodeStatus::Ready);
    let node = region.state.node(node_id(1)).unwrap();
    assert_eq!((node.status, node.scheduling_eligibility), (NodeStatus::Ready, Eligibility::Ineligible));
    assert_eq!((node.create_index, node.modify_index, node.last_missed_heartbeat_index), (1, 5, 4));
    assert_eq!(node.status_updated_at, 5);
    let expected =
        ["Node registered", "Node marked as ineligible for scheduling", "Node heartbeat missed", "Node re-registered"];
    assert_eq!(messages(&region), expected);
}

#[test]
fn a_driver_that_works_no_more_is_an_event() {
    let mut region = Region::default();
    let mut register = |healthy: bool, description: &str| {
        let driver = DriverInfo { healthy, health_description: description.to_owned(), ..DriverInfo::default() };
        let drivers = [("qemu".to_owned(), driver)].into();
        let node = Node { id: node_id(1), drivers, ..Node::default() };
        let at = region.now();
        region.run(Command::RegisterNode { node: Box::new(node), evals: vec![], at });
        let events = &region.state.node(node_id(1)).unwrap().events;
        let last = events.last().unwrap().clone();
        (events.len(), last.subsystem, last.message, last.details.get("driver").cloned())
    };
    assert_eq!(register(true, "Healthy").0, 1);
    let qemu = || Some("qemu".to_owned());
    assert_eq!(register(false, "gone"), (2, "Driver".to_owned(), "gone".to_owned(), qemu()));
    assert_eq!(register(false, "gone").0, 2);
    assert_eq!(register(true, "Healthy"), (3, "Driver".to_owned(), "Healthy".to_owned(), qemu()));
}

#[test]
fn ten_events_are_kept() {
    let mut region = Region::new();
    for _ in 0..20 {
        status(&mut region, NodeStatus::Ready, "Node reregistered by heartbeat");
    }
    assert_eq!(messages(&region), ["Node reregistered by heartbeat"; 10]);
}

#[test]
fn unknown_and_draining_nodes_are_refused() {
    let mut region = Region::default();
    let evals = || vec![eval(1, "web", EvalStatus::Pending)];
    let eligibility = Eligibility::Eligible;
    let unknown = Answer::Refused(Refusal::NotFound { what: "node".to_owned() });
    assert_eq!(status(&mut region, NodeStatus::Ready, ""), unknown);
    let open = Command::UpdateNodeEligibility { node_id: node_id(1), eligibility, evals: evals(), at: at(9) };
    assert_eq!(region.run(open.clone()).0, unknown);
    assert_eq!(region.run(Command::DeregisterNode { node_id: node_id(1), evals: evals(), at: at(9) }).0, unknown);
    assert_eq!(region.state.evals().count(), 0);

    let node = Node { id: node_id(1), drain_strategy: Some(true.into()), ..Node::default() };
    region.run(Command::RegisterNode { node: Box::new(node), evals: vec![], at: at(9) });
    let Answer::Refused(refusal) = region.run(open).0 else { panic!("it drains") };
    let text = "can not set node's scheduling eligibility to eligible while it is draining";
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn a_node_that_is_forgotten_brings_its_evals() {
    let mut region = Region::new();
    let evals = vec![eval(1, "web", EvalStatus::Pending)];
    let (_, events) = region.run(Command::DeregisterNode { node_id: node_id(1), evals, at: at(9) });
    assert_eq!(events.changes, [Change::Node(node_id(1)), Change::Eval { id: eval_id(1), job: key("web") }]);
    assert!(region.state.node(node_id(1)).is_none());
}
