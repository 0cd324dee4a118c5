//! Tables per noun, on a small region that is changed by commands alone.

mod alloc;
mod collect;
mod deployment;
mod eval;
mod job;
mod join_token;
mod namespace;
mod node;
mod note;
mod plan;
mod scaling;
mod scheduler_config;

use std::sync::Arc;

use drover_model::alloc::{Alloc, AllocUpdate, ClientStatus};
use drover_model::eval::{Eval, EvalStatus};
use drover_model::group::Group;
use drover_model::job::Job;
use drover_model::node::{Node, NodeStatus};
use drover_model::plan::Plan;
use drover_model::{AllocId, DeploymentId, EvalId, JobKey, NodeId, Timestamp};

use crate::{AcceptedPlan, Answer, Change, Command, Events, GroupSummary, RegisterJob, State, apply};

/// A region whose log is written by the test. The time is the index in seconds.
#[derive(Default)]
struct Region {
    state: State,
    index: u64,
}

fn at(index: u64) -> Timestamp {
    Timestamp(index as i64 * 1_000_000_000)
}
fn key(id: &str) -> JobKey {
    JobKey::new("default", id)
}
fn eval_id(number: u8) -> EvalId {
    EvalId::from([number; 16])
}
fn alloc_id(number: u8) -> AllocId {
    AllocId::from([number; 16])
}
fn node_id(number: u8) -> NodeId {
    NodeId::from([number; 16])
}
fn deployment_id(number: u8) -> DeploymentId {
    DeploymentId::from([number; 16])
}

/// A job with one group `front`.
fn job(id: &str, count: i64) -> Job {
    let group = Group { name: "front".to_owned(), count, ..Group::default() };
    let JobKey { namespace, id } = key(id);
    Job { namespace, id, task_groups: vec![group], ..Job::default() }
}

fn eval(number: u8, job: &str, status: EvalStatus) -> Eval {
    let JobKey { namespace, id } = key(job);
    Eval { id: eval_id(number), namespace, job_id: id, status, ..Eval::default() }
}

fn alloc(number: u8, job: &str) -> Alloc {
    let JobKey { namespace, id } = key(job);
    let task_group = "front".to_owned();
    Alloc { id: alloc_id(number), namespace, job_id: id, task_group, node_id: node_id(1), ..Alloc::default() }
}

fn report(number: u8, client_status: ClientStatus) -> AllocUpdate {
    AllocUpdate { alloc_id: alloc_id(number), client_status, ..AllocUpdate::default() }
}

impl Region {
    /// A region with one ready node, `1`.
    fn new() -> Self {
        let mut region = Self::default();
        region.node(1, NodeStatus::Ready);
        region
    }

    fn run(&mut self, command: Command) -> (Answer, Events) {
        self.index += 1;
        apply(&mut self.state, self.index, command)
    }

    fn now(&self) -> Timestamp {
        at(self.index + 1)
    }

    fn node(&mut self, number: u8, status: NodeStatus) -> Events {
        let node = Box::new(Node { id: node_id(number), status, ..Node::default() });
        self.run(Command::RegisterNode { node, evals: Vec::new(), at: self.now() }).1
    }

    fn register(&mut self, job: Job) -> Answer {
        let register = RegisterJob { job: Arc::new(job), at: self.now(), ..RegisterJob::default() };
        self.run(Command::RegisterJob(Box::new(register))).0
    }

    fn evals(&mut self, evals: Vec<Eval>) -> Events {
        self.run(Command::UpsertEvals { evals, at: self.now() }).1
    }

    fn plan(&mut self, plan: Plan) -> Events {
        self.plan_with(plan, Vec::new())
    }

    fn plan_with(&mut self, plan: Plan, evals: Vec<Eval>) -> Events {
        self.run(Command::ApplyPlans { plans: vec![AcceptedPlan { plan, evals }], at: self.now() }).1
    }

    fn place(&mut self, allocs: Vec<Alloc>) -> Events {
        self.plan(Plan { placements: allocs, ..Plan::default() })
    }

    fn report(&mut self, updates: Vec<AllocUpdate>) -> Events {
        self.run(Command::UpdateAllocs { node_id: node_id(1), updates, evals: Vec::new(), at: self.now() }).1
    }

    fn job(&self, id: &str) -> &Job {
        self.state.job(&key(id)).unwrap()
    }

    fn alloc(&self, number: u8) -> &Alloc {
        self.state.alloc(alloc_id(number)).unwrap()
    }

    fn eval(&self, number: u8) -> &Eval {
        self.state.eval(eval_id(number)).unwrap()
    }

    fn counts(&self, id: &str) -> GroupSummary {
        self.state.job_summary(&key(id)).groups["front"]
    }
}

/// The allocs among the changes, with whether the edge must hear of them.
fn alloc_changes(events: &Events) -> Vec<(AllocId, bool)> {
    let changes = events.changes.iter().filter_map(|change| match change {
        Change::Alloc { id, desired, .. } => Some((*id, *desired)),
        _ => None,
    });
    changes.collect()
}
