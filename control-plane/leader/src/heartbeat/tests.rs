//! Tables for heartbeats.

use drover_model::node::Node;

use super::*;
use crate::region::{Region, alloc, at, evals_of, job, node_id};

#[test]
fn a_silent_node_is_down_once() {
    let mut region = Region::new();
    region.register(job("web", 1));
    region.place(vec![alloc(1, "web")]);
    let mut heartbeats = Heartbeats::new(&region.snapshot(), at(0));
    assert_eq!(heartbeats.next_deadline(), Some(at(300)));
    let ttl = heartbeats.heard(node_id(1), at(100));
    assert!((TTL_MIN..=2 * TTL_MIN).contains(&ttl), "{ttl:?}");
    let due = at(100).plus(ttl).plus(GRACE);
    assert_eq!(heartbeats.next_deadline(), Some(due));
    assert_eq!(heartbeats.step(&region.snapshot(), Timestamp(due.0 - 1), at(1)), []);

    let commands = heartbeats.step(&region.snapshot(), due, at(1));
    assert_eq!(commands.iter().flat_map(evals_of).count(), 1);
    let [Command::UpdateNodeStatus { status, event, at: date, .. }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((*status, event.as_str()), (NodeStatus::Down, "Node heartbeat missed"));
    assert_eq!(*date, at(1), "the date is not the clock by which heartbeats are measured");
    for command in commands {
        region.run(command);
    }
    assert_eq!(heartbeats.step(&region.snapshot(), at(10_000), at(1)), []);
    assert_eq!(heartbeats.next_deadline(), None);
    // Heard again it is expected again, once the state says that it is back.
    let back = region.node(1, NodeStatus::Ready, "a");
    heartbeats.on_events(&region.snapshot(), &back, at(10_000));
    heartbeats.heard(node_id(1), at(10_000));
    assert_eq!(heartbeats.step(&region.snapshot(), at(10_001), at(1)), []);
    assert!(heartbeats.next_deadline().is_some_and(|due| due < at(10_300)));
}

#[test]
fn a_node_that_was_heard_before_its_going_was_told_gets_no_more_time_than_others() {
    let mut region = Region::new();
    let mut heartbeats = Heartbeats::new(&region.snapshot(), at(0));
    heartbeats.heard(node_id(1), at(0));
    let down = region.node(1, NodeStatus::Down, "a");
    heartbeats.heard(node_id(1), at(100));
    heartbeats.on_events(&region.snapshot(), &down, at(100));
    let back = region.node(1, NodeStatus::Ready, "a");
    heartbeats.on_events(&region.snapshot(), &back, at(100));
    let latest = at(100).plus(2 * TTL_MIN).plus(GRACE);
    assert!(heartbeats.next_deadline().is_some_and(|due| due > at(100) && due <= latest));
}

#[test]
fn a_server_that_stood_still_gives_the_time_back() {
    let mut region = Region::new();
    region.register(job("web", 1));
    region.place(vec![alloc(1, "web")]);
    let mut heartbeats = Heartbeats::new(&region.snapshot(), at(0));
    heartbeats.heard(node_id(1), at(0));
    heartbeats.put_off(Duration::from_secs(1000));
    assert_eq!(heartbeats.step(&region.snapshot(), at(1009), at(1)), []);
    assert_eq!(heartbeats.step(&region.snapshot(), at(1031), at(1)).len(), 1);
}

#[test]
fn nodes_that_come_and_go_are_followed() {
    let mut region = Region::new();
    let mut heartbeats = Heartbeats::new(&region.snapshot(), at(0));
    heartbeats.heard(node_id(1), at(40));
    let known = heartbeats.next_deadline();
    for events in [region.node(2, NodeStatus::Ready, "a"), region.node(3, NodeStatus::Down, "a")] {
        heartbeats.on_events(&region.snapshot(), &events, at(50));
    }
    assert_eq!(heartbeats.due.len(), 2);
    // What is told of a node that is known gives it no more time.
    let renamed = Node { id: node_id(1), name: "n".to_owned(), status: NodeStatus::Ready, ..Node::default() };
    let renamed = Command::RegisterNode { node: Box::new(renamed), evals: Vec::new(), at: at(50) };
    let events = region.run(renamed);
    heartbeats.on_events(&region.snapshot(), &events, at(50));
    assert_eq!((heartbeats.next_deadline(), heartbeats.due.len()), (known, 2));
    let events = region.run(Command::DeregisterNode { node_id: node_id(1), evals: Vec::new(), at: at(60) });
    heartbeats.on_events(&region.snapshot(), &events, at(60));
    assert_eq!(heartbeats.due.keys().copied().collect::<Vec<_>>(), [node_id(2)]);
    // It has registered just now, and will be heard.
    let due = heartbeats.next_deadline();
    let soon = at(50).plus(TTL_MIN + GRACE)..=at(50).plus(2 * TTL_MIN + GRACE);
    assert!(due.is_some_and(|due| soon.contains(&due)), "{due:?}");
    // Who looks at all of them finds the same.
    heartbeats.compare(&region.snapshot(), at(70));
    assert_eq!((heartbeats.next_deadline(), heartbeats.by_time.len()), (due, 1));
}

#[test]
fn many_nodes_are_given_more_time() {
    let mut heartbeats = Heartbeats::default();
    for number in 0..2000u32 {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        heartbeats.heard(NodeId::from(bytes), at(0));
    }
    let ttl = heartbeats.heard(node_id(1), at(0));
    assert!((Duration::from_secs(40)..=Duration::from_secs(80)).contains(&ttl), "{ttl:?}");
}
