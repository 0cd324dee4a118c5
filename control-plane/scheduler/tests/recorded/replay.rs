//! Replays the steps of one case on a state of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drover_model::alloc::{AllocUpdate, ClientStatus, DesiredStatus};
use drover_model::computed_class::computed_class;
use drover_model::deployment::DeploymentStatus;
use drover_model::eval::{Eval, EvalStatus, EvalTrigger};
use drover_model::job::{Job, JobType};
use drover_model::node::{DriverInfo, Eligibility, Node, NodeAddress, NodeNetwork, NodeStatus};
use drover_model::plan::DeploymentUpdate;
use drover_model::policy::ReschedulePolicy;
use drover_model::{AllocId, EvalId, JobKey, NodeId, Timestamp};
use drover_scheduler::{Context, Outcome, dry_run, schedule, verify};
use drover_state::scheduler_config::{SchedulerAlgorithm, SchedulerConfig};
use drover_state::{AcceptedPlan, ChangeDeployment, Command, RegisterJob, State, apply};
use serde_json::Value;

use crate::compare;

/// The clock of a replay starts here; each command is one second later.
const START: i64 = 1_700_000_000;

pub struct Replay {
    pub state: State,
    pub index: u64,
    /// Allocs by label, `name#n` in the order of creation under that name.
    pub labels: BTreeMap<String, AllocId>,
    created: BTreeMap<String, usize>,
    evals: u8,
}

/// Replays a case; gives the differences.
pub fn replay(text: &str) -> Vec<String> {
    let case: Value = serde_json::from_str(text).unwrap();
    let steps = case["steps"].as_array().unwrap();
    let mut replay = Replay::new();
    let mut differences = Vec::new();
    let mut expected = (Vec::new(), Vec::new());
    let mut before = replay.index;
    for (place, step) in steps.iter().enumerate() {
        let found = replay.step(step);
        differences.extend(found.into_iter().map(|difference| format!("step {place}: {difference}")));
        let rows = |key: &str| step[key].as_array().cloned().unwrap_or_default();
        expected.0.extend(rows("evals"));
        expected.1.extend(rows("allocs"));
        // What follows from a stop is seen in that step or in the observation after it.
        let goes_on = steps.get(place + 1).is_some_and(|next| next["action"] == "observe");
        if !goes_on {
            let found = compare::changes(&replay, before, &expected.0, &expected.1);
            differences.extend(found.into_iter().map(|difference| format!("step {place}: {difference}")));
            expected = (Vec::new(), Vec::new());
            replay.settle();
            before = replay.index;
        }
    }
    differences
}

/// Replays a case whose one task fails each time it runs: after the registration each step sees one replacement, or
/// none when the attempts are used up.
pub fn replay_failures(text: &str) -> Vec<String> {
    let case: Value = serde_json::from_str(text).unwrap();
    let steps = case["steps"].as_array().unwrap();
    let mut replay = Replay::new();
    replay.step(&steps[0]);
    let mut differences = Vec::new();
    for (place, step) in steps.iter().enumerate().skip(1) {
        let before = replay.index;
        replay.fail_all();
        // Each command takes a second: the delay of the policy passes.
        for _ in 0..7 {
            replay.apply(Command::Noop);
        }
        replay.run_due();
        let allocs = step["allocs"].as_array().cloned().unwrap_or_default();
        let made = replay.labels.values().filter(|id| replay.state.alloc(**id).unwrap().create_index > before).count();
        if made != usize::from(!allocs.is_empty()) {
            differences.push(format!("step {place}: {made} replacements"));
        }
        let found = compare::changes(&replay, before, &[], &allocs);
        differences.extend(found.into_iter().map(|difference| format!("step {place}: {difference}")));
    }
    differences
}

impl Replay {
    fn new() -> Self {
        let mut replay =
            Self { state: State::default(), index: 0, labels: BTreeMap::new(), created: BTreeMap::new(), evals: 0 };
        replay.register_nodes();
        replay
    }

    /// What runs fails, and its job is looked at.
    fn fail_all(&mut self) {
        let open: Vec<_> = self.state.allocs().filter(|alloc| !alloc.is_terminal()).cloned().collect();
        for alloc in open {
            let client_status = ClientStatus::Failed;
            let update = AllocUpdate { alloc_id: alloc.id, client_status, ..AllocUpdate::default() };
            let at = self.now();
            self.apply(Command::UpdateAllocs { node_id: alloc.node_id, updates: vec![update], evals: Vec::new(), at });
            self.evaluate(&alloc.job_key(), EvalTrigger::AllocFailure);
        }
    }

    /// Evals whose time has come are processed.
    fn run_due(&mut self) {
        let now = self.now();
        let is_due = |eval: &&Arc<Eval>| eval.status == EvalStatus::Pending && eval.wait_until <= now;
        let due: Vec<Arc<Eval>> = self.state.evals().filter(is_due).cloned().collect();
        for eval in due {
            self.run(&eval);
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp((START + self.index as i64) * 1_000_000_000)
    }

    pub fn apply(&mut self, command: Command) {
        self.index += 1;
        apply(&mut self.state, self.index, command);
    }

    fn register_nodes(&mut self) {
        let nodes: Value =
            serde_json::from_str(include_str!("../../../../tests/fixtures/scheduling-cases/nodes.json")).unwrap();
        for (place, raw) in nodes.as_array().unwrap().iter().enumerate() {
            let node = Box::new(node(raw, place as u8));
            let at = self.now();
            self.apply(Command::RegisterNode { node, evals: Vec::new(), at });
        }
    }

    fn step(&mut self, step: &Value) -> Vec<String> {
        match step["action"].as_str().unwrap() {
            "register" if step.get("error").is_some() => Vec::new(),
            "register" => {
                let job = job(&step["job"]);
                let outcome = self.dry_run(&job);
                let mut differences = compare::plan(&step["plan"], &outcome);
                let outcome = self.register(job.clone());
                differences.extend(compare::system(step, &outcome));
                differences
            }
            "plan" => {
                let outcome = self.dry_run(&job(&step["job"]));
                let edit = step["edit"].as_str().unwrap_or_default();
                let found = compare::plan(&step["plan"], &outcome);
                found.into_iter().map(|difference| format!("{edit}: {difference}")).collect()
            }
            "eligibility" => {
                let name = step["node"].as_str().unwrap();
                let node_id = self.state.nodes().find(|node| node.name == name).unwrap().id;
                let eligibility = match step["eligible"].as_bool().unwrap() {
                    true => Eligibility::Eligible,
                    false => Eligibility::Ineligible,
                };
                let at = self.now();
                self.apply(Command::UpdateNodeEligibility { node_id, eligibility, evals: Vec::new(), at });
                self.unblock();
                Vec::new()
            }
            "stop" => {
                let key = JobKey::new("default", step["job_id"].as_str().unwrap());
                let at = self.now();
                let purge = step["purge"].as_bool().unwrap_or(false);
                self.apply(Command::DeregisterJob { key: key.clone(), purge, eval: None, at });
                self.evaluate(&key, EvalTrigger::JobDeregister);
                self.settle();
                self.unblock();
                Vec::new()
            }
            "deployment" => {
                let key = JobKey::new("default", step["job_id"].as_str().unwrap());
                self.roll_out(&key);
                compare::deployment(self, &key, &step["deployment"])
            }
            "scheduler-config" => {
                let config = &step["config"];
                let config = SchedulerConfig {
                    algorithm: SchedulerAlgorithm::from_word(config["SchedulerAlgorithm"].as_str().unwrap()).unwrap(),
                    has_memory_oversubscription: config["MemoryOversubscriptionEnabled"].as_bool().unwrap(),
                    ..SchedulerConfig::default()
                };
                self.apply(Command::SetSchedulerConfig { config: Box::new(config), cas: None });
                Vec::new()
            }
            "observe" => Vec::new(),
            other => panic!("no step {other}"),
        }
    }

    fn eval(&mut self, key: &JobKey, trigger: EvalTrigger) -> Eval {
        self.evals += 1;
        Eval {
            id: EvalId::from_random([self.evals; 16]),
            namespace: key.namespace.clone(),
            job_id: key.id.clone(),
            priority: 50,
            triggered_by: trigger,
            status: EvalStatus::Pending,
            ..Eval::default()
        }
    }

    fn dry_run(&mut self, job: &Job) -> Outcome {
        let eval = self.eval(&job.key(), EvalTrigger::JobRegister);
        dry_run(&self.state.snapshot(), job, &eval, &Context { now: self.now(), seed: 1 })
    }

    fn register(&mut self, job: Job) -> Outcome {
        let key = job.key();
        let at = self.now();
        self.apply(Command::RegisterJob(Box::new(RegisterJob { job: Arc::new(job), at, ..RegisterJob::default() })));
        self.evaluate(&key, EvalTrigger::JobRegister)
    }

    fn evaluate(&mut self, key: &JobKey, trigger: EvalTrigger) -> Outcome {
        let eval = self.eval(key, trigger);
        self.run(&eval)
    }

    /// Schedules an eval and commits what comes of it.
    fn run(&mut self, eval: &Eval) -> Outcome {
        let snapshot = self.state.snapshot();
        let context = Context { now: self.now(), seed: 7 };
        let outcome = schedule(&snapshot, eval, &context);
        let again = schedule(&snapshot, eval, &context);
        assert_eq!((&outcome.plan, &outcome.eval), (&again.plan, &again.eval), "the same seed gives the same plan");
        let verified = verify(&snapshot, outcome.plan.clone());
        assert_eq!(verified.rejected, 0, "the snapshot it was made on takes every placement");
        for alloc in &verified.plan.placements {
            let created = self.created.entry(alloc.name.clone()).or_default();
            self.labels.insert(format!("{}#{created}", alloc.name), alloc.id);
            *created += 1;
        }
        let evals = outcome.new_evals.iter().cloned().chain([outcome.eval.clone()]).collect();
        let at = self.now();
        self.apply(Command::ApplyPlans { plans: vec![AcceptedPlan { plan: verified.plan, evals }], at });
        outcome
    }

    /// Blocked evals look again.
    fn unblock(&mut self) {
        let blocked: Vec<Eval> = self
            .state
            .evals()
            .filter(|eval| eval.status == EvalStatus::Blocked)
            .map(|eval| Eval { status: EvalStatus::Pending, ..Eval::clone(eval) })
            .collect();
        for eval in blocked {
            self.run(&eval);
        }
    }

    /// What shall run runs and is healthy, batch work is done, what shall stop has stopped.
    fn settle(&mut self) {
        let allocs: Vec<_> = self.state.allocs().filter(|alloc| !alloc.is_client_terminal()).cloned().collect();
        for alloc in allocs {
            let is_batch = self.state.job(&alloc.job_key()).is_some_and(|job| job.kind.is_batch());
            let ends = alloc.desired_status != DesiredStatus::Run || is_batch;
            let client_status = if ends { ClientStatus::Complete } else { ClientStatus::Running };
            let update = AllocUpdate {
                alloc_id: alloc.id,
                client_status,
                healthy: (alloc.deployment_id.is_some() && !ends).then_some(true),
                health_at: self.now(),
                ..AllocUpdate::default()
            };
            let at = self.now();
            self.apply(Command::UpdateAllocs { node_id: alloc.node_id, updates: vec![update], evals: Vec::new(), at });
        }
    }

    /// Lets a deployment go on until it stands.
    fn roll_out(&mut self, key: &JobKey) {
        loop {
            self.settle();
            let outcome = self.evaluate(key, EvalTrigger::DeploymentWatcher);
            if outcome.plan.is_noop() {
                break;
            }
        }
        let Some(deployment) = self.state.latest_deployment(key).filter(|d| d.status.is_active()) else {
            return;
        };
        let is_done = deployment.task_groups.values().all(|group| {
            group.healthy_allocs >= group.desired_total && (group.desired_canaries == 0 || group.promoted)
        });
        if is_done {
            let update = DeploymentUpdate {
                deployment_id: deployment.id,
                status: DeploymentStatus::Successful,
                status_description: "Deployment completed successfully".to_owned(),
            };
            let at = self.now();
            self.apply(Command::UpdateDeployment(Box::new(ChangeDeployment {
                update,
                mark_stable: true,
                at,
                ..ChangeDeployment::default()
            })));
        }
    }
}

fn node(raw: &Value, place: u8) -> Node {
    let text = |key: &str| raw[key].as_str().unwrap_or_default().to_owned();
    let map = |key: &str| serde_json::from_value(raw[key].clone()).unwrap();
    let address = |address: &Value| NodeAddress {
        alias: "default".to_owned(),
        address: address.as_str().unwrap().to_owned(),
        ..NodeAddress::default()
    };
    let mut node = Node {
        id: NodeId::from_random([place; 16]),
        name: text("Name"),
        datacenter: text("Datacenter"),
        node_class: text("NodeClass"),
        node_pool: text("NodePool"),
        status: NodeStatus::Ready,
        meta: map("Meta"),
        attributes: map("Attributes"),
        reserved_resources: serde_json::from_value(raw["Reserved"].clone()).unwrap(),
        ..Node::default()
    };
    node.node_resources.cpu = serde_json::from_value(raw["Cpu"].clone()).unwrap();
    node.node_resources.memory = serde_json::from_value(raw["Memory"].clone()).unwrap();
    node.node_resources.disk.mib = raw["DiskMB"].as_i64().unwrap();
    node.node_resources.min_dynamic_port = raw["MinDynamicPort"].as_u64().unwrap() as u16;
    node.node_resources.max_dynamic_port = raw["MaxDynamicPort"].as_u64().unwrap() as u16;
    let addresses = raw["Addresses"].as_array().unwrap().iter().map(address).collect();
    node.node_resources.node_networks = vec![NodeNetwork { addresses, ..NodeNetwork::default() }];
    for driver in raw["HealthyDrivers"].as_array().unwrap() {
        let info = DriverInfo { detected: true, healthy: true, ..DriverInfo::default() };
        node.drivers.insert(driver.as_str().unwrap().to_owned(), info);
    }
    node.computed_class = computed_class(&node);
    node
}

/// The job as sent, with the defaults that matter here.
fn job(raw: &Value) -> Job {
    let mut job: Job = serde_json::from_value(raw.clone()).unwrap();
    job.namespace = "default".into();
    job.priority = if job.priority == 0 { 50 } else { job.priority };
    if job.node_pool.is_empty() {
        job.node_pool = "default".to_owned();
    }
    if job.datacenters.is_empty() {
        job.datacenters = vec!["*".to_owned()];
    }
    for group in &mut job.task_groups {
        group.update = group.update.clone().or_else(|| job.update.clone());
        let default = ReschedulePolicy {
            unlimited: true,
            delay: Duration::from_secs(30),
            delay_function: "exponential".to_owned(),
            max_delay: Duration::from_secs(3600),
            ..ReschedulePolicy::default()
        };
        let has_policy = matches!(job.kind, JobType::Service | JobType::Batch);
        group.reschedule_policy = group.reschedule_policy.clone().or(has_policy.then_some(default));
    }
    job
}
