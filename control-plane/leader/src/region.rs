//! A region for the tables: changed by commands alone, with small numbers for ids. The time is given in seconds.

use std::sync::Arc;
use std::time::Duration;

use drover_model::alloc::{Alloc, AllocUpdate, ClientStatus};
use drover_model::eval::{Eval, EvalStatus};
use drover_model::group::Group;
use drover_model::job::Job;
use drover_model::node::{Node, NodeStatus};
use drover_model::plan::Plan;
use drover_model::policy::ReschedulePolicy;
use drover_model::{AllocId, DeploymentId, EvalId, JobKey, NodeId, Timestamp};
use drover_state::{AcceptedPlan, Answer, Command, Events, RegisterJob, Snapshot, State, apply};

#[derive(Default)]
pub struct Region {
    pub state: State,
    pub seconds: u64,
}

pub fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds as i64 * 1_000_000_000)
}
pub fn key(id: &str) -> JobKey {
    JobKey::new("default", id)
}
pub fn eval_id(number: u8) -> EvalId {
    EvalId::from([number; 16])
}
pub fn alloc_id(number: u8) -> AllocId {
    AllocId::from([number; 16])
}
pub fn node_id(number: u8) -> NodeId {
    NodeId::from([number; 16])
}
pub fn deployment_id(number: u8) -> DeploymentId {
    DeploymentId::from([number; 16])
}

/// A policy that replaces without end.
pub fn unlimited() -> ReschedulePolicy {
    ReschedulePolicy { unlimited: true, delay: Duration::from_secs(30), ..ReschedulePolicy::default() }
}

/// A service job with one group `front` that is replaced without end.
pub fn job(id: &str, count: i64) -> Job {
    let reschedule_policy = Some(unlimited());
    let group = Group { name: "front".to_owned(), count, reschedule_policy, ..Group::default() };
    let JobKey { namespace, id } = key(id);
    Job { namespace, id, priority: 50, task_groups: vec![group], ..Job::default() }
}

pub fn eval(number: u8, job: &str, status: EvalStatus) -> Eval {
    let JobKey { namespace, id } = key(job);
    Eval { id: eval_id(number), namespace, job_id: id, priority: 50, status, ..Eval::default() }
}

/// An alloc of `front` on node 1.
pub fn alloc(number: u8, job: &str) -> Alloc {
    let JobKey { namespace, id } = key(job);
    let task_group = "front".to_owned();
    Alloc { id: alloc_id(number), namespace, job_id: id, task_group, node_id: node_id(1), ..Alloc::default() }
}

pub fn report(number: u8, client_status: ClientStatus) -> AllocUpdate {
    AllocUpdate { alloc_id: alloc_id(number), client_status, ..AllocUpdate::default() }
}

/// The evals that a command brings.
pub fn evals_of(command: &Command) -> Vec<&Eval> {
    match command {
        Command::UpsertEvals { evals, .. }
        | Command::UpdateNodeStatus { evals, .. }
        | Command::UpdateAllocTransitions { evals, .. } => evals.iter().collect(),
        Command::ApplyPlans { plans, .. } => plans.iter().flat_map(|plan| &plan.evals).collect(),
        Command::UpdateDeployment(change) => change.eval.iter().collect(),
        Command::UpsertDeployment { eval, .. } => eval.iter().map(|eval| &**eval).collect(),
        _ => Vec::new(),
    }
}

impl Region {
    /// A region with one ready node, `1`, of class `a`.
    pub fn new() -> Self {
        let mut region = Self::default();
        region.node(1, NodeStatus::Ready, "a");
        region
    }

    pub fn now(&self) -> Timestamp {
        at(self.seconds)
    }

    pub fn snapshot(&self) -> Snapshot {
        self.state.snapshot()
    }

    pub fn run(&mut self, command: Command) -> Events {
        let index = self.state.index() + 1;
        let (answer, events) = apply(&mut self.state, index, command);
        assert!(!matches!(answer, Answer::Refused(_)), "{answer:?}");
        events
    }

    pub fn node(&mut self, number: u8, status: NodeStatus, class: &str) -> Events {
        let node = Node { id: node_id(number), status, computed_class: class.to_owned(), ..Node::default() };
        self.run(Command::RegisterNode { node: Box::new(node), evals: Vec::new(), at: self.now() })
    }

    pub fn register(&mut self, job: Job) -> Events {
        let register = RegisterJob { job: Arc::new(job), at: self.now(), ..RegisterJob::default() };
        self.run(Command::RegisterJob(Box::new(register)))
    }

    pub fn stop(&mut self, job: &str) -> Events {
        self.run(Command::DeregisterJob { key: key(job), purge: false, eval: None, at: self.now() })
    }

    pub fn evals(&mut self, evals: Vec<Eval>) -> Events {
        self.run(Command::UpsertEvals { evals, at: self.now() })
    }

    pub fn plan(&mut self, plan: Plan) -> Events {
        self.run(Command::ApplyPlans { plans: vec![AcceptedPlan { plan, evals: Vec::new() }], at: self.now() })
    }

    pub fn place(&mut self, allocs: Vec<Alloc>) -> Events {
        self.plan(Plan { placements: allocs, ..Plan::default() })
    }

    pub fn report(&mut self, updates: Vec<AllocUpdate>) -> Events {
        let node_id = node_id(1);
        self.run(Command::UpdateAllocs { node_id, updates, evals: Vec::new(), at: self.now() })
    }
}
