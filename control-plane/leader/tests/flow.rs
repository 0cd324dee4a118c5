//! The flow of a job through the duties together, as the server drives them: register, schedule, report, roll out, fail,
//! lose a node, wait for room. Every run of the duties must come to rest.

#![allow(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use drover_leader::deployments::Deployments;
use drover_leader::eval_broker::EvalBroker;
use drover_leader::heartbeat::Heartbeats;
use drover_leader::{alloc_report, node_evals, unblock, worker};
use drover_model::alloc::{Alloc, AllocUpdate, ClientStatus, DesiredStatus};
use drover_model::deployment::DeploymentStatus;
use drover_model::eval::{Eval, EvalStatus, EvalTrigger};
use drover_model::group::Group;
use drover_model::job::{Job, JobStatus, JobType};
use drover_model::node::{DriverInfo, Node, NodeCpu, NodeDisk, NodeMemory, NodeResources, NodeStatus};
use drover_model::policy::{ReschedulePolicy, UpdateStrategy};
use drover_model::resources::Resources;
use drover_model::task::Task;
use drover_model::task_state::{TaskPhase, TaskState};
use drover_model::{EvalId, JobKey, NodeId, Timestamp};
use drover_state::{Command, Events, RegisterJob, State, apply};

/// More rounds than any flow here needs: duties that exceed it keep themselves going.
const ROUNDS_MAX: usize = 60;

/// A region with a leader, and edges that do what they are told at once.
struct World {
    state: State,
    events: Vec<Events>,
    broker: EvalBroker,
    heartbeats: Heartbeats,
    deployments: Deployments,
    seconds: u64,
    seed: u64,
    /// Nodes that are silent.
    silent: BTreeSet<NodeId>,
    /// Job versions whose tasks fail.
    failing: BTreeSet<u64>,
}

impl World {
    fn new(nodes: u8) -> Self {
        let mut world = Self {
            state: State::default(),
            events: Vec::new(),
            broker: EvalBroker::default(),
            heartbeats: Heartbeats::default(),
            deployments: Deployments::default(),
            seconds: 1000,
            seed: 0,
            silent: BTreeSet::new(),
            failing: BTreeSet::new(),
        };
        for number in 1..=nodes {
            world.node(number);
        }
        world
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.seconds as i64 * 1_000_000_000)
    }

    fn seed(&mut self) -> u64 {
        self.seed += 1;
        self.seed
    }

    fn run(&mut self, command: Command) {
        let index = self.state.index() + 1;
        let (_, events) = apply(&mut self.state, index, command);
        self.events.push(events);
    }

    fn node(&mut self, number: u8) {
        let id = NodeId::from([number; 16]);
        let driver = DriverInfo { detected: true, healthy: true, ..DriverInfo::default() };
        let node_resources = NodeResources {
            cpu: NodeCpu { mhz: 1000, ..NodeCpu::default() },
            memory: NodeMemory { mib: 1000 },
            disk: NodeDisk { mib: 100_000 },
            ..NodeResources::default()
        };
        let node = Node {
            id,
            status: NodeStatus::Ready,
            datacenter: "dc1".to_owned(),
            node_pool: "default".to_owned(),
            computed_class: "v1:1".to_owned(),
            drivers: BTreeMap::from([("raw_exec".to_owned(), driver)]),
            node_resources,
            ..Node::default()
        };
        let seed = self.seed();
        let evals = node_evals::evals(&self.state.snapshot(), id, EvalTrigger::NodeUpdate, self.now(), seed);
        self.run(Command::RegisterNode { node: Box::new(node), evals, at: self.now() });
        self.silent.remove(&id);
        self.heartbeats.heard(id, self.now());
    }

    fn eval(&mut self, key: &JobKey, kind: JobType, triggered_by: EvalTrigger) -> Eval {
        let mut bytes = [0xee; 16];
        bytes[..8].copy_from_slice(&self.seed().to_le_bytes());
        let JobKey { namespace, id } = key.clone();
        Eval { id: EvalId::from(bytes), namespace, job_id: id, kind, priority: 50, triggered_by, ..Eval::default() }
    }

    fn register(&mut self, job: Job) {
        let eval = Some(self.eval(&job.key(), job.kind, EvalTrigger::JobRegister));
        let register = RegisterJob { job: Arc::new(job), eval, at: self.now(), ..RegisterJob::default() };
        self.run(Command::RegisterJob(Box::new(register)));
        self.settle();
    }

    fn stop(&mut self, purge: bool) {
        let eval = self.eval(&key(), JobType::Service, EvalTrigger::JobDeregister);
        self.run(Command::DeregisterJob { key: key(), purge, eval: Some(Box::new(eval)), at: self.now() });
        self.settle();
    }

    /// Runs the duties until nothing is left to do, without the edges.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if !self.round() {
                return;
            }
        }
        panic!("the duties keep themselves going: {:?}", self.state.evals().collect::<Vec<_>>());
    }

    /// One turn of the server's loop; false when there was nothing to do.
    fn round(&mut self) -> bool {
        let now = self.now();
        let snapshot = self.state.snapshot();
        let mut commands = Vec::new();
        for events in std::mem::take(&mut self.events) {
            self.broker.on_events(&snapshot, &events, now);
            self.heartbeats.on_events(&snapshot, &events, now);
            self.deployments.on_events(&snapshot, &events);
            commands.extend(unblock::step(&snapshot, &events, now));
        }
        self.broker.tick(now);
        commands.extend(self.heartbeats.step(&snapshot, now, now));
        let seed = self.seed();
        commands.extend(self.deployments.step(&snapshot, now.into(), seed));
        let mut busy = !commands.is_empty();
        for command in commands {
            self.run(command);
        }
        let evals = self.broker.take(64);
        if !evals.is_empty() {
            busy = true;
            let seed = self.seed();
            if let Some(command) = worker::run(&self.state.snapshot(), &evals, now, seed) {
                self.run(command);
            }
            for eval in evals {
                self.broker.done(eval.id);
            }
        }
        busy || !self.events.is_empty()
    }

    /// The edges do what they are told and report it, until nothing changes.
    fn edges(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let nodes: Vec<NodeId> = self.state.nodes().map(|node| node.id).collect();
            let mut is_quiet = true;
            for id in nodes.into_iter().filter(|id| !self.silent.contains(id)).collect::<Vec<_>>() {
                self.heartbeats.heard(id, self.now());
                let allocs = self.state.allocs_of_node(id).filter(|alloc| !alloc.is_client_terminal());
                let updates: Vec<AllocUpdate> = allocs.filter_map(|alloc| self.report(alloc)).collect();
                if updates.is_empty() {
                    continue;
                }
                is_quiet = false;
                let seed = self.seed();
                let evals = alloc_report::evals(&self.state.snapshot(), id, &updates, self.now(), seed);
                self.run(Command::UpdateAllocs { node_id: id, updates, evals, at: self.now() });
                self.settle();
            }
            if is_quiet {
                return;
            }
        }
        panic!("the region does not come to rest");
    }

    /// What the edge says of an alloc, if that is news.
    fn report(&self, alloc: &Alloc) -> Option<AllocUpdate> {
        let fails = self.failing.contains(&alloc.job_version);
        let client_status = match alloc.desired_status {
            DesiredStatus::Stop | DesiredStatus::Evict => ClientStatus::Complete,
            DesiredStatus::Run if fails => ClientStatus::Failed,
            DesiredStatus::Run => ClientStatus::Running,
        };
        let healthy = alloc.deployment_id.and(Some(!fails)).filter(|_| alloc.desired_status == DesiredStatus::Run);
        if client_status == alloc.client_status && (healthy.is_none() || healthy == alloc.health()) {
            return None;
        }
        let task = TaskState {
            state: if client_status.is_terminal() { TaskPhase::Dead } else { TaskPhase::Running },
            failed: fails,
            finished_at: self.now(),
            ..TaskState::default()
        };
        Some(AllocUpdate {
            alloc_id: alloc.id,
            client_status,
            task_states: BTreeMap::from([("main".to_owned(), task)]),
            healthy,
            health_at: self.now(),
            at: self.now(),
            ..AllocUpdate::default()
        })
    }

    /// Lets time pass; those that are not silent are heard all the while.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds.div_ceil(5) {
            self.seconds += 5;
            let nodes: Vec<NodeId> = self.state.nodes().map(|node| node.id).collect();
            for id in nodes.into_iter().filter(|id| !self.silent.contains(id)) {
                self.heartbeats.heard(id, self.now());
            }
            self.settle();
        }
    }

    /// The live allocs by node, and how many run.
    fn running(&self) -> usize {
        let live = self.state.allocs_of_job(&key()).filter(|alloc| alloc.desired_status == DesiredStatus::Run);
        live.filter(|alloc| alloc.client_status == ClientStatus::Running).count()
    }

    fn job(&self) -> &Job {
        self.state.job(&key()).unwrap()
    }

    fn deployment_status(&self) -> DeploymentStatus {
        self.state.latest_deployment(&key()).unwrap().status
    }
}

fn key() -> JobKey {
    JobKey::new("default", "web")
}

/// A service whose allocs take 400 MHz each: two fit on a node.
fn web(count: i64, env: &str) -> Job {
    let resources = Resources { cpu_mhz: 400, memory_mib: 100, ..Resources::default() };
    let env = BTreeMap::from([("VERSION".to_owned(), env.to_owned())]);
    let task = Task { name: "main".to_owned(), driver: "raw_exec".to_owned(), env, resources, ..Task::default() };
    let update = UpdateStrategy {
        max_parallel: 1,
        health_check: "task_states".to_owned(),
        progress_deadline: Duration::from_secs(600),
        healthy_deadline: Duration::from_secs(300),
        auto_revert: true,
        ..UpdateStrategy::default()
    };
    let reschedule_policy = ReschedulePolicy {
        unlimited: true,
        delay: Duration::from_secs(30),
        delay_function: "constant".to_owned(),
        max_delay: Duration::from_secs(60),
        ..ReschedulePolicy::default()
    };
    let group = Group {
        name: "front".to_owned(),
        count,
        tasks: vec![task],
        update: Some(update),
        reschedule_policy: Some(reschedule_policy),
        ..Group::default()
    };
    let JobKey { namespace, id } = key();
    Job {
        namespace,
        id,
        name: "web".to_owned(),
        priority: 50,
        datacenters: vec!["*".to_owned()],
        node_pool: "default".to_owned(),
        task_groups: vec![group],
        ..Job::default()
    }
}

#[test]
fn a_job_runs_changes_and_stops() {
    let mut world = World::new(3);
    world.register(web(3, "one"));
    world.edges();
    assert_eq!(world.running(), 3);
    assert_eq!(world.deployment_status(), DeploymentStatus::Successful);
    assert!(world.job().stable);

    world.register(web(3, "two"));
    assert_eq!(world.running(), 2, "one at a time");
    world.edges();
    assert_eq!(world.running(), 3);
    assert_eq!(world.deployment_status(), DeploymentStatus::Successful);
    let versions: BTreeSet<u64> =
        world.state.allocs_of_job(&key()).filter(|alloc| !alloc.is_terminal()).map(|alloc| alloc.job_version).collect();
    assert_eq!(versions, BTreeSet::from([1]));

    world.register(web(1, "two"));
    world.edges();
    assert_eq!(world.running(), 1);
    world.stop(false);
    world.edges();
    assert_eq!((world.running(), world.job().status), (0, JobStatus::Dead));
    assert!(world.state.allocs_of_job(&key()).all(|alloc| alloc.is_client_terminal()));
    world.stop(true);
    assert!(world.state.job(&key()).is_none() && !world.state.has_open_eval(&key()));
}

#[test]
fn a_broken_version_goes_back() {
    let mut world = World::new(3);
    world.register(web(2, "one"));
    world.edges();
    world.failing.insert(1);
    world.register(web(2, "two"));
    world.edges();
    for _ in 0..150 {
        world.pass(5);
        world.edges();
        if world.job().version == 2 && world.deployment_status() == DeploymentStatus::Successful {
            break;
        }
    }
    assert_eq!((world.job().version, world.job().stable), (2, true));
    assert_eq!(world.job().task_groups[0].tasks[0].env["VERSION"], "one");
    assert_eq!(world.running(), 2);
    let failed = world.state.deployments().find(|deployment| deployment.status == DeploymentStatus::Failed).unwrap();
    assert_eq!(failed.status_description, "Failed due to progress deadline - rolling back to job version 0");
}

#[test]
fn what_does_not_fit_is_placed_when_a_node_comes() {
    let mut world = World::new(1);
    world.register(web(3, "one"));
    world.edges();
    assert_eq!(world.running(), 2);
    assert_eq!(world.state.blocked_evals().count(), 1);
    assert_eq!(world.state.job_summary(&key()).groups["front"].queued, 1);
    world.node(2);
    world.settle();
    world.edges();
    assert_eq!(world.running(), 3);
    assert_eq!(world.state.blocked_evals().count(), 0);
    assert_eq!(world.deployment_status(), DeploymentStatus::Successful);
    assert_eq!(world.state.job_summary(&key()).groups["front"].queued, 0);
}

#[test]
fn allocs_of_a_lost_node_are_replaced() {
    let mut world = World::new(3);
    world.register(web(2, "one"));
    world.edges();
    let lost = world.state.allocs_of_job(&key()).next().unwrap().node_id;
    world.silent.insert(lost);
    world.pass(45);
    world.edges();
    assert_eq!(world.state.node(lost).unwrap().status, NodeStatus::Down);
    assert_eq!(world.running(), 2);
    let gone = world.state.allocs_of_node(lost);
    assert!(gone.into_iter().all(|alloc| alloc.client_status == ClientStatus::Lost));
    assert!(world.state.job_summary(&key()).groups["front"].lost > 0);
}

#[test]
fn a_failed_alloc_is_replaced_at_its_time() {
    let mut world = World::new(2);
    world.register(web(1, "one"));
    world.edges();
    world.failing.insert(0);
    let alloc = world.state.allocs_of_job(&key()).next().unwrap().clone();
    let failed = world.report(&alloc).unwrap();
    let seed = world.seed();
    let updates = vec![AllocUpdate { healthy: None, ..failed }];
    let evals = alloc_report::evals(&world.state.snapshot(), alloc.node_id, &updates, world.now(), seed);
    assert_eq!(evals.len(), 1);
    world.run(Command::UpdateAllocs { node_id: alloc.node_id, updates, evals, at: world.now() });
    world.failing.clear();
    world.settle();
    let waiting: Vec<_> = world.state.evals().filter(|eval| eval.status == EvalStatus::Pending).collect();
    assert_eq!(waiting.len(), 1, "it waits for its time");
    assert_eq!((waiting[0].triggered_by, world.job().status), (EvalTrigger::AllocReschedule, JobStatus::Pending));
    assert_eq!(world.broker.next_deadline(), Some(waiting[0].wait_until));
    world.pass(35);
    world.edges();
    assert_eq!(world.running(), 1);
    let old = world.state.alloc(alloc.id).unwrap();
    let new = world.state.alloc(old.next_allocation.unwrap()).unwrap();
    assert_eq!(new.previous_allocation, Some(old.id));
    assert_eq!(new.reschedule_tracker.as_ref().unwrap().events.len(), 1);
}

#[test]
fn a_new_leader_goes_on() {
    let mut world = World::new(1);
    let eval = world.eval(&key(), JobType::Service, EvalTrigger::JobRegister);
    let job = Arc::new(web(2, "one"));
    let register = RegisterJob { job, eval: Some(eval), at: world.now(), ..RegisterJob::default() };
    world.run(Command::RegisterJob(Box::new(register)));
    // The old leader never got to it, and its events are lost.
    world.events.clear();
    let snapshot = world.state.snapshot();
    world.broker = EvalBroker::rebuild(&snapshot, world.now());
    world.heartbeats = Heartbeats::new(&snapshot, world.now());
    world.deployments = Deployments::default();
    world.settle();
    world.edges();
    assert_eq!(world.running(), 2);
}
