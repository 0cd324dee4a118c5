//! The world of a scenario: a state, a clock, and the duties that a leader would do, in the simplest form.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drover_model::alloc::{Alloc, AllocUpdate, ClientStatus, DesiredStatus, DesiredTransition};
use drover_model::computed_class::computed_class;
use drover_model::deployment::{Deployment, DeploymentStatus};
use drover_model::device::{DeviceGroup, DeviceInstance};
use drover_model::eval::{Eval, EvalStatus, EvalTrigger};
use drover_model::job::JobType;
use drover_model::node::{DriverInfo, Node, NodeAddress, NodeNetwork, NodeStatus};
use drover_model::plan::DeploymentUpdate;
use drover_model::resources::Totals;
use drover_model::{AllocId, EvalId, JobKey, NodeId, Timestamp};
use drover_scheduler::fit;
use drover_scheduler::{Context, Outcome, schedule, verify};
use drover_state::{AcceptedPlan, ChangeDeployment, Command, RegisterJob, State, apply};

use crate::job::job;

const START: Timestamp = Timestamp(1_700_000_000_000_000_000);

pub struct World {
    state: State,
    index: u64,
    now: Timestamp,
    evals: u8,
    labels: BTreeMap<AllocId, String>,
    created: BTreeMap<String, usize>,
}

impl World {
    pub fn new() -> Self {
        Self {
            state: State::default(),
            index: 0,
            now: START,
            evals: 0,
            labels: BTreeMap::new(),
            created: BTreeMap::new(),
        }
    }

    /// Runs one command and gives its trace.
    pub fn run(&mut self, command: &str) -> Vec<String> {
        let mut words = command.split_whitespace();
        let verb = words.next().unwrap();
        let rest: Vec<&str> = words.collect();
        let options: BTreeMap<&str, &str> = rest.iter().filter_map(|word| word.split_once('=')).collect();
        let first = rest.first().copied().unwrap_or_default();
        let key = JobKey::new("default", first);
        match verb {
            "nodes" => self.nodes(first.parse().unwrap(), &options),
            "register" => self.register(first, &options),
            "stop" | "purge" => {
                let (purge, at) = (verb == "purge", self.now);
                self.apply(Command::DeregisterJob { key: key.clone(), purge, eval: None, at });
                self.evaluate(&key, EvalTrigger::JobDeregister)
            }
            "eval" => self.evaluate(&key, EvalTrigger::JobRegister),
            "lose" => self.node_status(first, NodeStatus::Down),
            "return" => self.node_status(first, NodeStatus::Ready),
            "fail" => self.report(first, ClientStatus::Failed, options.contains_key("unhealthy").then_some(false)),
            "crash" => {
                let alloc = self.alloc(first);
                self.update(&alloc, ClientStatus::Failed, None);
                Vec::new()
            }
            "move" => self.transition(first, DesiredTransition { migrate: Some(true), ..Default::default() }),
            "allow" => self.transition(first, DesiredTransition { reschedule: Some(true), ..Default::default() }),
            "settle" => self.settle(),
            "wait" => self.wait(Duration::from_secs(first.parse().unwrap())),
            "promote" => self.promote(&key),
            "deployment" => self.show_deployment(&key),
            "unblock" => self.unblock(),
            other => panic!("no command {other}"),
        }
    }

    /// What must hold after every command.
    pub fn check(&self) {
        for node in self.state.nodes() {
            let mut used = Totals::default();
            for alloc in self.state.allocs_of_node(node.id).filter(|alloc| !alloc.is_terminal()) {
                used.add(alloc.allocated_resources.totals());
            }
            assert_eq!(fit::overrun(&fit::capacity(node), &used), None, "{} is over its capacity", node.name);
        }
        let mut names = BTreeMap::new();
        for alloc in self.state.allocs().filter(|alloc| !alloc.is_terminal() && !alloc.is_canary()) {
            let is_system = self
                .state
                .job(&alloc.job_key())
                .is_some_and(|job| matches!(job.kind, JobType::System | JobType::SysBatch));
            let slot = (alloc.name.clone(), is_system.then_some(alloc.node_id));
            let other = names.insert(slot, alloc.id);
            let is_beside_canary = self.state.allocs().any(|other| other.is_canary() && other.name == alloc.name);
            assert!(other.is_none() || is_beside_canary, "two allocs are {}", alloc.name);
        }
        for alloc in self.state.allocs() {
            assert!(self.state.job_version(&alloc.job_key(), alloc.job_version).is_some() || alloc.is_terminal());
        }
    }

    fn apply(&mut self, command: Command) {
        self.index += 1;
        apply(&mut self.state, self.index, command);
    }

    fn nodes(&mut self, count: u8, options: &BTreeMap<&str, &str>) -> Vec<String> {
        let number = |key: &str, default| options.get(key).map_or(default, |text| text.parse().unwrap());
        for _ in 0..count {
            let place = self.state.nodes().count() as u8 + 1;
            let mut node = Node {
                id: NodeId::from_random([place; 16]),
                name: format!("n{place}"),
                datacenter: "dc1".to_owned(),
                node_pool: "default".to_owned(),
                node_class: options.get("class").copied().unwrap_or_default().to_owned(),
                status: NodeStatus::Ready,
                ..Node::default()
            };
            node.node_resources.cpu.mhz = number("cpu", 1000);
            node.node_resources.memory.mib = number("memory", 1000);
            node.node_resources.disk.mib = 10_000;
            let address =
                NodeAddress { alias: "default".to_owned(), address: "10.0.0.1".to_owned(), ..NodeAddress::default() };
            node.node_resources.node_networks = vec![NodeNetwork { addresses: vec![address], ..Default::default() }];
            let info = DriverInfo { detected: true, healthy: true, ..DriverInfo::default() };
            node.drivers.insert("raw_exec".to_owned(), info);
            // `data,certs:ro`
            for volume in options.get("volumes").into_iter().flat_map(|volumes| volumes.split(',')) {
                let name = volume.trim_end_matches(":ro");
                let offered = serde_json::json!({ "Name": name, "ReadOnly": name != volume });
                node.host_volumes.insert(name.to_owned(), offered);
            }
            // How many of one kind.
            let instance = |place| DeviceInstance { id: format!("g{place}"), healthy: true, ..Default::default() };
            let instances: Vec<_> = (0..number("gpus", 0)).map(instance).collect();
            if !instances.is_empty() {
                let (vendor, kind, name) = ("acme".to_owned(), "gpu".to_owned(), "one".to_owned());
                let group = DeviceGroup { vendor, kind, name, instances, ..DeviceGroup::default() };
                node.node_resources.devices = vec![group];
            }
            node.computed_class = computed_class(&node);
            let at = self.now;
            self.apply(Command::RegisterNode { node: Box::new(node), evals: Vec::new(), at });
        }
        let systems = self.system_jobs();
        let mut trace: Vec<String> = Vec::new();
        for key in systems {
            trace.extend(self.evaluate(&key, EvalTrigger::NodeUpdate));
        }
        trace.extend(self.unblock());
        trace
    }

    fn system_jobs(&self) -> Vec<JobKey> {
        self.state.jobs().filter(|job| job.kind == JobType::System).map(|job| job.key()).collect()
    }

    fn register(&mut self, name: &str, options: &BTreeMap<&str, &str>) -> Vec<String> {
        let job = job(name, options);
        let (key, at) = (job.key(), self.now);
        self.apply(Command::RegisterJob(Box::new(RegisterJob { job: Arc::new(job), at, ..Default::default() })));
        self.evaluate(&key, EvalTrigger::JobRegister)
    }

    fn node_status(&mut self, name: &str, status: NodeStatus) -> Vec<String> {
        let node_id = self.state.nodes().find(|node| node.name == name).unwrap().id;
        let (event, at) = (String::new(), self.now);
        self.apply(Command::UpdateNodeStatus { node_id, status, event, evals: Vec::new(), at });
        let mut jobs: Vec<JobKey> = self.state.allocs_of_node(node_id).map(|alloc| alloc.job_key()).collect();
        jobs.extend(self.system_jobs());
        jobs.sort();
        jobs.dedup();
        let mut trace = Vec::new();
        for key in jobs {
            trace.extend(self.evaluate(&key, EvalTrigger::NodeUpdate));
        }
        trace.extend(self.unblock());
        trace
    }

    fn alloc(&self, label: &str) -> Arc<Alloc> {
        let id = self.labels.iter().find(|(_, known)| *known == label).unwrap_or_else(|| panic!("no alloc {label}")).0;
        Arc::clone(self.state.alloc(*id).unwrap())
    }

    fn update(&mut self, alloc: &Alloc, client_status: ClientStatus, healthy: Option<bool>) {
        let mut update = AllocUpdate { alloc_id: alloc.id, client_status, healthy, ..AllocUpdate::default() };
        update.health_at = self.now;
        let at = self.now;
        self.apply(Command::UpdateAllocs { node_id: alloc.node_id, updates: vec![update], evals: Vec::new(), at });
    }

    fn report(&mut self, label: &str, status: ClientStatus, healthy: Option<bool>) -> Vec<String> {
        let alloc = self.alloc(label);
        self.update(&alloc, status, healthy);
        self.evaluate(&alloc.job_key(), EvalTrigger::AllocFailure)
    }

    fn transition(&mut self, label: &str, transition: DesiredTransition) -> Vec<String> {
        let alloc = self.alloc(label);
        let (transitions, at) = (vec![(alloc.id, transition)], self.now);
        self.apply(Command::UpdateAllocTransitions { transitions, evals: Vec::new(), at });
        self.evaluate(&alloc.job_key(), EvalTrigger::AllocStop)
    }

    /// Edges do what is wanted: tasks run and are healthy, batch work is done, stopped allocs are gone.
    fn settle(&mut self) -> Vec<String> {
        let is_reachable =
            |alloc: &Alloc| self.state.node(alloc.node_id).is_some_and(|n| n.status == NodeStatus::Ready);
        let open = self.state.allocs().filter(|alloc| !alloc.is_client_terminal() && is_reachable(alloc));
        let mut jobs = Vec::new();
        for alloc in open.cloned().collect::<Vec<_>>() {
            let is_batch = self.state.job(&alloc.job_key()).is_some_and(|job| job.kind.is_batch());
            let ends = alloc.desired_status != DesiredStatus::Run || is_batch;
            let status = if ends { ClientStatus::Complete } else { ClientStatus::Running };
            let healthy = (!ends && alloc.deployment_id.is_some()).then_some(true);
            if healthy.is_some() && alloc.health().is_none() {
                jobs.push(alloc.job_key());
            }
            self.update(&alloc, status, healthy);
        }
        jobs.dedup();
        let mut trace = Vec::new();
        for key in jobs {
            trace.extend(self.evaluate(&key, EvalTrigger::DeploymentWatcher));
            self.end_deployment(&key);
        }
        trace.extend(self.unblock());
        trace
    }

    fn end_deployment(&mut self, key: &JobKey) {
        let Some(deployment) = self.state.latest_deployment(key).filter(|d| d.status.is_active()) else {
            return;
        };
        let is_done = deployment.task_groups.values().all(|group| group.healthy_allocs >= group.desired_total);
        if is_done && !deployment.requires_promotion() {
            let update = DeploymentUpdate {
                deployment_id: deployment.id,
                status: DeploymentStatus::Successful,
                status_description: "Deployment completed successfully".to_owned(),
            };
            let change = ChangeDeployment { update, mark_stable: true, at: self.now, ..Default::default() };
            self.apply(Command::UpdateDeployment(Box::new(change)));
        }
    }

    fn promote(&mut self, key: &JobKey) -> Vec<String> {
        let mut deployment = Deployment::clone(self.state.latest_deployment(key).unwrap());
        for group in deployment.task_groups.values_mut() {
            group.promoted = true;
        }
        let at = self.now;
        self.apply(Command::UpsertDeployment { deployment: Box::new(deployment), eval: None, at });
        self.evaluate(key, EvalTrigger::DeploymentWatcher)
    }

    fn show_deployment(&self, key: &JobKey) -> Vec<String> {
        let Some(deployment) = self.state.latest_deployment(key) else {
            return vec!["no deployment".to_owned()];
        };
        let groups = deployment.task_groups.iter().map(|(name, group)| {
            format!(
                "{name}: desired {} placed {} healthy {} unhealthy {} canaries {}/{}",
                group.desired_total,
                group.placed_allocs,
                group.healthy_allocs,
                group.unhealthy_allocs,
                group.placed_canaries.len(),
                group.desired_canaries,
            )
        });
        let head = format!("v{} {}", deployment.job_version, deployment.status_description);
        [head].into_iter().chain(groups).collect()
    }

    /// Lets time pass; evals that wait for it run.
    fn wait(&mut self, time: Duration) -> Vec<String> {
        self.now = self.now.plus(time);
        let is_due = |eval: &&Arc<Eval>| {
            eval.status == EvalStatus::Pending && !eval.wait_until.is_never() && eval.wait_until <= self.now
        };
        let due: Vec<Arc<Eval>> = self.state.evals().filter(is_due).cloned().collect();
        due.iter().flat_map(|eval| self.process(eval)).collect()
    }

    fn unblock(&mut self) -> Vec<String> {
        let blocked = self.state.evals().filter(|eval| eval.status == EvalStatus::Blocked);
        let blocked: Vec<Eval> =
            blocked.map(|eval| Eval { status: EvalStatus::Pending, ..Eval::clone(eval) }).collect();
        blocked.iter().flat_map(|eval| self.process(eval)).collect()
    }

    fn evaluate(&mut self, key: &JobKey, trigger: EvalTrigger) -> Vec<String> {
        self.evals += 1;
        let eval = Eval {
            id: EvalId::from_random([self.evals; 16]),
            namespace: key.namespace.clone(),
            job_id: key.id.clone(),
            priority: 50,
            triggered_by: trigger,
            status: EvalStatus::Pending,
            ..Eval::default()
        };
        self.process(&eval)
    }

    fn process(&mut self, eval: &Eval) -> Vec<String> {
        let snapshot = self.state.snapshot();
        let context = Context { now: self.now, seed: 1 };
        let outcome = schedule(&snapshot, eval, &context);
        assert_eq!(outcome.plan, schedule(&snapshot, eval, &context).plan, "the same seed gives the same plan");
        let verified = verify(&snapshot, outcome.plan.clone());
        assert_eq!((verified.rejected, &verified.plan), (0, &outcome.plan));
        for alloc in &verified.plan.placements {
            let created = self.created.entry(alloc.name.clone()).or_default();
            self.labels.insert(alloc.id, format!("{}#{created}", alloc.name));
            *created += 1;
        }
        let trace = self.trace(eval, &outcome);
        let evals = outcome.new_evals.into_iter().chain([outcome.eval]).collect();
        let at = self.now;
        self.apply(Command::ApplyPlans { plans: vec![AcceptedPlan { plan: verified.plan, evals }], at });
        trace
    }

    fn trace(&self, eval: &Eval, outcome: &Outcome) -> Vec<String> {
        let label = |id: AllocId| self.labels.get(&id).cloned().unwrap_or_else(|| "?".to_owned());
        let plan = &outcome.plan;
        let mut lines = vec![format!(
            "{} {}: {}",
            eval.triggered_by.as_str(),
            eval.job_id,
            [outcome.eval.status.as_str(), &outcome.eval.status_description].join(" ").trim_end()
        )];
        let mut rows = Vec::new();
        for stop in &plan.stops {
            let node = self.state.alloc(stop.alloc_id).map(|alloc| alloc.node_name.clone()).unwrap_or_default();
            let lost = if stop.client_status == Some(ClientStatus::Lost) { " (lost)" } else { "" };
            rows.push(format!("  stop {} on {node}{lost}: {}", label(stop.alloc_id), stop.desired_description));
        }
        for update in &plan.updates {
            match (update.job_version, update.followup_eval) {
                (Some(version), _) => rows.push(format!("  update {} to v{version}", label(update.alloc_id))),
                (None, _) => rows.push(format!("  replace {} later", label(update.alloc_id))),
            }
        }
        for alloc in &plan.placements {
            let mut row = format!("  place {} on {} v{}", label(alloc.id), alloc.node_name, alloc.job_version);
            if alloc.is_canary() {
                row += " as canary";
            }
            if let Some(previous) = alloc.previous_allocation {
                row += &format!(" for {}", label(previous));
            }
            for port in &alloc.allocated_resources.shared.ports {
                row += &format!(
                    " {}={}",
                    port.label,
                    if port.value >= 20_000 { "dynamic".to_owned() } else { port.value.to_string() }
                );
            }
            for given in alloc.allocated_resources.tasks.values().flat_map(|task| &task.devices) {
                row += &format!(" {}", given.device_ids.join("+"));
            }
            rows.push(row);
        }
        rows.sort();
        lines.extend(rows);
        for (group, metric) in &outcome.eval.failed_group_allocs {
            let queued = outcome.eval.queued_allocations.get(group).copied().unwrap_or(0);
            lines.push(format!(
                "  {queued} of {group} wait: evaluated {} filtered {:?} exhausted {:?} on {}",
                metric.nodes_evaluated, metric.constraint_filtered, metric.dimension_exhausted, metric.nodes_exhausted,
            ));
        }
        if let Some(deployment) = &plan.deployment {
            lines.push(format!("  deployment of v{}: {}", deployment.job_version, deployment.status_description));
        }
        for update in &plan.deployment_updates {
            lines.push(format!("  deployment {}: {}", update.status.as_str(), update.status_description));
        }
        for new in &outcome.new_evals {
            let wait = match new.wait_until.is_never() {
                true => String::new(),
                false => format!(" in {}s", new.wait_until.since(self.now).as_secs()),
            };
            lines.push(format!(
                "  new eval {} {}: {}{wait}",
                new.triggered_by.as_str(),
                new.status.as_str(),
                new.status_description
            ));
        }
        lines
    }
}
