//! Plans made on one state and verified on a newer one.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it broke")]

use std::collections::BTreeMap;
use std::sync::Arc;

use drover_model::eval::{Eval, EvalStatus};
use drover_model::group::Group;
use drover_model::job::Job;
use drover_model::network::{Network, Port};
use drover_model::node::{DriverInfo, Node, NodeAddress, NodeNetwork, NodeStatus};
use drover_model::task::Task;
use drover_model::{EvalId, NodeId, Timestamp};
use drover_scheduler::{Context, Outcome, Verified, schedule, verify};
use drover_state::{AcceptedPlan, Command, RegisterJob, State, apply};

struct World {
    state: State,
    index: u64,
}

impl World {
    fn new(nodes: u8) -> Self {
        let mut world = Self { state: State::default(), index: 0 };
        for place in 0..nodes {
            let mut node = Node {
                id: NodeId::from_random([place; 16]),
                status: NodeStatus::Ready,
                datacenter: "dc1".to_owned(),
                node_pool: "default".to_owned(),
                drivers: BTreeMap::from([(
                    "raw_exec".to_owned(),
                    DriverInfo { detected: true, healthy: true, ..DriverInfo::default() },
                )]),
                ..Node::default()
            };
            node.node_resources.cpu.mhz = 1000;
            node.node_resources.memory.mib = 1000;
            let address =
                NodeAddress { alias: "default".to_owned(), address: "10.0.0.1".to_owned(), ..NodeAddress::default() };
            node.node_resources.node_networks = vec![NodeNetwork { addresses: vec![address], ..Default::default() }];
            world.apply(Command::RegisterNode { node: Box::new(node), evals: Vec::new(), at: Timestamp(1) });
        }
        world
    }

    fn apply(&mut self, command: Command) {
        self.index += 1;
        apply(&mut self.state, self.index, command);
    }

    fn register(&mut self, job: Job) {
        let register = RegisterJob { job: Arc::new(job), at: Timestamp(1), ..RegisterJob::default() };
        self.apply(Command::RegisterJob(Box::new(register)));
    }

    fn plan(&self, name: &str) -> Outcome {
        let eval = Eval {
            id: EvalId::from_random([self.index as u8; 16]),
            namespace: "default".into(),
            job_id: name.into(),
            status: EvalStatus::Pending,
            ..Eval::default()
        };
        schedule(&self.state.snapshot(), &eval, &Context { now: Timestamp(2), seed: 1 })
    }

    fn verify(&self, outcome: &Outcome) -> Verified {
        verify(&self.state.snapshot(), outcome.plan.clone())
    }

    fn commit(&mut self, outcome: Outcome) {
        let plans = vec![AcceptedPlan { plan: outcome.plan, evals: vec![outcome.eval] }];
        self.apply(Command::ApplyPlans { plans, at: Timestamp(3) });
    }
}

fn job(name: &str, count: i64, cpu_mhz: i64, port: Option<i32>, env: &str) -> Job {
    let mut task = Task { name: "t".to_owned(), driver: "raw_exec".to_owned(), ..Task::default() };
    task.resources.cpu_mhz = cpu_mhz;
    task.env.insert("V".to_owned(), env.to_owned());
    let port = port.map(|value| Port { label: "p".to_owned(), value, ..Port::default() });
    let networks = port.map(|port| Network { reserved_ports: vec![port], ..Network::default() });
    let group = Group {
        name: "g".to_owned(),
        count,
        tasks: vec![task],
        networks: networks.into_iter().collect(),
        ..Group::default()
    };
    Job {
        namespace: "default".into(),
        id: name.into(),
        node_pool: "default".to_owned(),
        datacenters: vec!["*".to_owned()],
        task_groups: vec![group],
        ..Job::default()
    }
}

/// Two plans made on one state: the first is committed, the second verified. Gives how many placements are refused.
fn refused_after(nodes: u8, first: Job, second: Job) -> usize {
    let mut world = World::new(nodes);
    let names = (first.id.clone(), second.id.clone());
    world.register(first);
    world.register(second);
    let (first, second) = (world.plan(names.0.as_str()), world.plan(names.1.as_str()));
    assert_eq!(world.verify(&second).rejected, 0);
    world.commit(first);
    world.verify(&second).rejected
}

#[test]
fn what_another_plan_took_is_refused() {
    let check = |first: Job, second: Job, expected: usize| assert_eq!(refused_after(1, first, second), expected);
    check(job("a", 1, 600, None, ""), job("b", 1, 600, None, ""), 1);
    check(job("a", 1, 500, None, ""), job("b", 1, 500, None, ""), 0);
    check(job("a", 1, 100, Some(80), ""), job("b", 1, 100, Some(80), ""), 1);
    check(job("a", 1, 100, Some(80), ""), job("b", 1, 100, Some(81), ""), 0);
}

#[test]
fn a_plan_for_all_at_once_is_refused_as_a_whole() {
    let mut second = job("b", 2, 600, None, "");
    second.all_at_once = true;
    assert_eq!(refused_after(2, job("a", 1, 600, None, ""), second), 2);
    assert_eq!(refused_after(2, job("a", 1, 600, None, ""), job("b", 2, 600, None, "")), 1);
}

#[test]
fn placements_on_a_node_that_went_down_are_refused() {
    let mut world = World::new(1);
    world.register(job("a", 2, 100, None, ""));
    let outcome = world.plan("a");
    world.apply(Command::UpdateNodeStatus {
        node_id: NodeId::from_random([0; 16]),
        status: NodeStatus::Down,
        event: String::new(),
        evals: Vec::new(),
        at: Timestamp(3),
    });
    let verified = world.verify(&outcome);
    assert_eq!((verified.rejected, verified.plan.placements.len()), (2, 0));
}

#[test]
fn placements_of_a_job_that_was_stopped_are_refused() {
    let mut world = World::new(1);
    world.register(job("a", 2, 100, None, ""));
    let outcome = world.plan("a");
    let key = outcome.plan.job.clone();
    world.apply(Command::DeregisterJob { key, purge: false, eval: None, at: Timestamp(3) });
    assert_eq!(world.verify(&outcome).rejected, 2);
}

#[test]
fn an_alloc_whose_successor_is_refused_goes_on() {
    let mut world = World::new(1);
    world.register(job("a", 1, 300, None, "1"));
    let first = world.plan("a");
    world.commit(first);
    world.register(job("a", 1, 900, None, "2"));
    world.register(job("b", 1, 300, None, ""));
    let (update, other) = (world.plan("a"), world.plan("b"));
    assert_eq!((update.plan.stops.len(), update.plan.placements.len()), (1, 1));
    world.commit(other);
    let verified = world.verify(&update);
    assert_eq!((verified.rejected, verified.plan.stops.len()), (1, 0));
}

#[test]
fn a_purged_job_leaves_nothing_behind() {
    let mut world = World::new(2);
    world.register(job("a", 2, 100, None, ""));
    let outcome = world.plan("a");
    let key = outcome.plan.job.clone();
    world.commit(outcome);
    world.apply(Command::DeregisterJob { key, purge: true, eval: None, at: Timestamp(3) });
    let outcome = world.plan("a");
    assert_eq!(world.verify(&outcome).rejected, 0);
    assert_eq!(outcome.plan.stops.len(), 2);
    assert!(outcome.eval.failed_group_allocs.is_empty());
}
