//! Commands made from a seed: sensible ones, stale ones and such that name unknown things, over a small set of names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drover_model::alloc::{Alloc, AllocHealth, AllocUpdate, ClientStatus, DesiredStatus, DesiredTransition};
use drover_model::deployment::{Deployment, DeploymentState, DeploymentStatus};
use drover_model::eval::{Eval, EvalStatus};
use drover_model::group::Group;
use drover_model::job::{Job, JobType};
use drover_model::metric::AllocMetric;
use drover_model::namespace::{Capabilities, NamespaceSpec};
use drover_model::network::PortMapping;
use drover_model::node::{Eligibility, Node, NodeStatus};
use drover_model::plan::{DeploymentUpdate, Plan, PlanStop, PlanUpdate};
use drover_model::resources::AllocatedResources;
use drover_model::{AllocId, DeploymentId, EvalId, JobKey, JoinTokenId, NodeId, Timestamp};
use drover_state::autopilot::AutopilotConfig;
use drover_state::join_token::JoinToken;
use drover_state::scaling::ScalingEvent;
use drover_state::scheduler_config::SchedulerConfig;
use drover_state::submission::Submission;
use drover_state::{
    AcceptedPlan, ChangeDeployment, Command, LaunchJob, RegisterJob, ScaleJob, SetAllocHealth, TagJobVersion,
};

/// How many kinds of commands there are.
pub const KINDS: u64 = 28;

/// What that alloc is given: most have no port.
fn given(id: AllocId) -> Arc<AllocatedResources> {
    let number = id.as_bytes()[7];
    let mut given = AllocatedResources::default();
    let task = given.tasks.get_or_default("t".to_owned());
    (task.cpu.mhz, task.memory.mib) = (i64::from(number % 4) * 100, 64);
    if number.is_multiple_of(5) {
        given.shared.ports = vec![PortMapping { value: 20_000 + i32::from(number), ..PortMapping::default() }];
    }
    Arc::new(given)
}

/// Makes commands; equal seeds make equal commands.
pub struct Commands {
    state: u64,
    seconds: i64,
}

fn bytes(kind: u8, number: u64) -> [u8; 16] {
    let mut bytes = [kind; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

impl Commands {
    pub fn new(seed: u64) -> Self {
        Self { state: seed, seconds: 1_700_000_000 }
    }

    /// A number below `end` (splitmix64).
    fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % end
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    fn several<T>(&mut self, max: u64, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(max + 1)).map(|_| make(self)).collect()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.chance(2) { Some(make(self)) } else { None }
    }

    fn key(&mut self) -> JobKey {
        JobKey::new(self.pick(&["default", "default", "other"]), self.pick(&["web", "db", "cron", "all"]))
    }
    fn node_id(&mut self) -> NodeId {
        NodeId::from_random(bytes(1, self.below(5)))
    }
    fn eval_id(&mut self) -> EvalId {
        EvalId::from_random(bytes(2, self.below(60)))
    }
    fn alloc_id(&mut self) -> AllocId {
        AllocId::from_random(bytes(3, self.below(80)))
    }
    fn deployment_id(&mut self) -> DeploymentId {
        DeploymentId::from_random(bytes(4, self.below(12)))
    }
    fn token_id(&mut self) -> JoinTokenId {
        JoinTokenId::from_random(bytes(5, self.below(4)))
    }
    fn group_name(&mut self) -> String {
        self.pick(&["front", "back"]).to_owned()
    }
    fn now(&mut self) -> Timestamp {
        Timestamp(self.seconds * 1_000_000_000 + self.below(1000) as i64)
    }

    fn job(&mut self) -> Arc<Job> {
        let key = self.key();
        let groups = ["front", "back"].iter().take(1 + self.below(2) as usize);
        let groups: Vec<&str> = groups.copied().collect();
        let kind = match key.id.as_str() {
            "cron" => JobType::Batch,
            "all" => JobType::System,
            _ => JobType::Service,
        };
        let task_groups = groups.into_iter().map(|name| {
            let count = self.below(3) as i64;
            Group { name: name.to_owned(), count, ..Group::default() }
        });
        let task_groups = task_groups.collect();
        Arc::new(Job {
            namespace: key.namespace,
            name: key.id.to_string(),
            id: key.id,
            kind,
            priority: 50,
            task_groups,
            stable: self.chance(4),
            ..Job::default()
        })
    }

    fn eval(&mut self) -> Eval {
        let key = self.key();
        let status = self.pick(&[
            EvalStatus::Pending,
            EvalStatus::Pending,
            EvalStatus::Blocked,
            EvalStatus::Complete,
            EvalStatus::Failed,
            EvalStatus::Canceled,
        ]);
        let group = self.group_name();
        Eval {
            id: self.eval_id(),
            namespace: key.namespace,
            job_id: key.id,
            status,
            job_modify_index: self.below(500),
            node_id: self.maybe(Self::node_id),
            wait_until: Timestamp(self.below(2) as i64 * 1_800_000_000_000_000_000),
            queued_allocations: BTreeMap::from([(group.clone(), self.below(4) as i64 - 1)]),
            failed_group_allocs: if self.chance(3) {
                BTreeMap::from([(group, AllocMetric::default())])
            } else {
                BTreeMap::new()
            },
            ..Eval::default()
        }
    }

    fn evals(&mut self) -> Vec<Eval> {
        self.several(2, Self::eval)
    }

    fn node(&mut self) -> Node {
        Node {
            id: self.node_id(),
            name: "n".to_owned(),
            datacenter: self.pick(&["dc1", "dc2"]).to_owned(),
            status: self.node_status(),
            drain_strategy: self.chance(8).then(|| true.into()),
            ..Node::default()
        }
    }

    fn node_status(&mut self) -> NodeStatus {
        self.pick(&[
            NodeStatus::Initializing,
            NodeStatus::Ready,
            NodeStatus::Ready,
            NodeStatus::Down,
            NodeStatus::Disconnected,
        ])
    }

    fn alloc(&mut self, key: &JobKey) -> Alloc {
        let group = self.group_name();
        let id = self.alloc_id();
        Alloc {
            id,
            allocated_resources: given(id),
            namespace: key.namespace.clone(),
            job_id: key.id.clone(),
            job_version: self.below(3),
            name: format!("{}.{group}[{}]", key.id, self.below(3)),
            task_group: group,
            node_id: self.node_id(),
            eval_id: self.maybe(Self::eval_id),
            deployment_id: self.maybe(Self::deployment_id),
            deployment_status: self.maybe(|own| AllocHealth { canary: own.chance(2), ..AllocHealth::default() }),
            previous_allocation: self.maybe(Self::alloc_id),
            ..Alloc::default()
        }
    }

    fn deployment(&mut self, key: &JobKey) -> Deployment {
        let state = DeploymentState {
            auto_revert: self.chance(2),
            progress_deadline: Duration::from_secs(self.below(2) * 600),
            desired_canaries: self.below(2) as i64,
            desired_total: self.below(4) as i64,
            promoted: self.chance(3),
            ..DeploymentState::default()
        };
        Deployment {
            id: self.deployment_id(),
            namespace: key.namespace.clone(),
            job_id: key.id.clone(),
            job_version: self.below(3),
            task_groups: BTreeMap::from([(self.group_name(), state)]),
            ..Deployment::default()
        }
    }

    fn deployment_update(&mut self) -> DeploymentUpdate {
        let status = self.pick(&[
            DeploymentStatus::Running,
            DeploymentStatus::Paused,
            DeploymentStatus::Failed,
            DeploymentStatus::Successful,
            DeploymentStatus::Cancelled,
        ]);
        DeploymentUpdate { deployment_id: self.deployment_id(), status, status_description: status.as_str().to_owned() }
    }

    fn client_status(&mut self) -> ClientStatus {
        self.pick(&[
            ClientStatus::Pending,
            ClientStatus::Running,
            ClientStatus::Running,
            ClientStatus::Complete,
            ClientStatus::Failed,
            ClientStatus::Lost,
            ClientStatus::Unknown,
        ])
    }

    fn accepted_plan(&mut self) -> AcceptedPlan {
        let key = self.key();
        let stop = |own: &mut Self| PlanStop {
            alloc_id: own.alloc_id(),
            desired_status: own.pick(&[DesiredStatus::Run, DesiredStatus::Stop, DesiredStatus::Evict]),
            desired_description: "alloc not needed due to job update".to_owned(),
            client_status: own.maybe(Self::client_status),
            next_alloc: own.maybe(Self::alloc_id),
            followup_eval: own.maybe(Self::eval_id),
        };
        let update = |own: &mut Self| PlanUpdate {
            alloc_id: own.alloc_id(),
            job_version: own.maybe(|own| own.below(4)),
            eval_id: own.maybe(Self::eval_id),
            deployment_id: own.maybe(Self::deployment_id),
            followup_eval: own.maybe(Self::eval_id),
        };
        let plan = Plan {
            eval_id: self.eval_id(),
            job_version: self.below(3),
            stops: self.several(2, stop),
            updates: self.several(2, update),
            placements: self.several(4, |own| own.alloc(&key)),
            deployment: self.maybe(|own| own.deployment(&key)),
            deployment_updates: self.several(1, Self::deployment_update),
            snapshot_index: self.below(40) * self.below(2),
            job: key,
            ..Plan::default()
        };
        AcceptedPlan { plan, evals: self.evals() }
    }

    fn alloc_update(&mut self) -> AllocUpdate {
        AllocUpdate {
            alloc_id: self.alloc_id(),
            client_status: self.client_status(),
            client_description: "said so".to_owned(),
            healthy: self.maybe(|own| own.chance(2)),
            health_at: self.now(),
            at: self.now(),
            ..AllocUpdate::default()
        }
    }

    fn transition(&mut self) -> (AllocId, DesiredTransition) {
        let migrate = self.maybe(|own| own.chance(2));
        (
            self.alloc_id(),
            DesiredTransition { migrate, reschedule: self.maybe(|_| true), ..DesiredTransition::default() },
        )
    }

    fn token(&mut self) -> JoinToken {
        JoinToken {
            id: self.token_id(),
            secret_hash: [self.below(2) as u8; 32],
            role: "client".to_owned(),
            uses_left: self.maybe(|own| own.below(3) as u32),
            expires_at: self.now().plus(Duration::from_secs(self.below(20))),
            created_at: self.now(),
            region: self.pick(&["", "", "west"]).to_owned(),
            ..JoinToken::default()
        }
    }

    fn namespace(&mut self) -> NamespaceSpec {
        let drivers = self.several(2, |own| own.pick(&["exec", "raw_exec", ""]).to_owned());
        let capabilities = Capabilities { disabled_task_drivers: drivers, ..Capabilities::default() };
        NamespaceSpec {
            name: self.pick(&["default", "other", "other", "third"]).into(),
            description: self.pick(&["", "of somebody"]).to_owned(),
            capabilities: self.maybe(|_| capabilities),
            ..NamespaceSpec::default()
        }
    }

    /// The next command.
    pub fn next(&mut self) -> Command {
        self.seconds += self.below(3) as i64;
        // Jobs, plans and reports more often than the rest.
        let kind = if self.chance(2) { self.pick(&[1, 9, 9, 9, 10, 10]) } else { self.below(KINDS) };
        self.of_kind(kind)
    }

    /// A command of that kind.
    pub fn of_kind(&mut self, kind: u64) -> Command {
        let at = self.now();
        match kind {
            0 => Command::Noop,
            18 => Command::SetAllocHealth(Box::new(SetAllocHealth {
                deployment_id: self.deployment_id(),
                healthy: self.several(2, Self::alloc_id),
                unhealthy: self.several(1, Self::alloc_id),
                eval: self.maybe(Self::eval),
                failure: self.maybe(|own| {
                    let rollback = own.maybe(Self::job);
                    ChangeDeployment { update: own.deployment_update(), rollback, ..ChangeDeployment::default() }
                }),
                at,
            })),
            19 => {
                let (name, version) = (self.pick(&["good", "bad"]).to_owned(), self.below(4));
                let tag = TagJobVersion { key: self.key(), name, version, description: "why".to_owned() };
                Command::TagJobVersion { tag: Box::new(tag), at }
            }
            20 => Command::UntagJobVersion { key: self.key(), name: self.pick(&["good", "bad"]).to_owned() },
            21 => {
                let count = self.maybe(|own| own.below(4) as i64);
                let event = ScalingEvent { count, message: "more".to_owned(), ..ScalingEvent::default() };
                let (key, group) = (self.key(), self.group_name());
                let enforce_index = if self.chance(6) { Some(self.below(120)) } else { None };
                let eval = self.maybe(Self::eval);
                Command::ScaleJob(Box::new(ScaleJob { key, group, event, enforce_index, eval, at }))
            }
            22 => {
                let parent = self.key();
                let launched_at = Timestamp(self.below(2) as i64 * self.seconds * 1_000_000_000);
                let job = self.maybe(|own| {
                    let child = own.job().periodic_child(launched_at);
                    let dispatch_idempotency_token = own.pick(&["", "once"]).to_owned();
                    let (namespace, parent_id) = (parent.namespace.clone(), parent.id.to_string());
                    Arc::new(Job { namespace, parent_id, dispatch_idempotency_token, ..child })
                });
                let eval = self.maybe(Self::eval);
                Command::LaunchJob(Box::new(LaunchJob { parent, job, eval, launched_at, at }))
            }
            23 => Command::UpsertNamespace { namespace: Box::new(self.namespace()) },
            24 => Command::DeleteNamespace { name: self.namespace().name },
            25 => {
                let config = AutopilotConfig { min_quorum: self.below(4), ..AutopilotConfig::default() };
                Command::SetAutopilotConfig { config: Box::new(config), cas: self.maybe(|own| own.below(120)) }
            }
            26 => Command::ReconcileSummaries,
            27 => {
                let config = SchedulerConfig { is_paused: self.chance(3), ..SchedulerConfig::default() };
                Command::SetSchedulerConfig { config: Box::new(config), cas: self.maybe(|own| own.below(120)) }
            }
            1 => Command::RegisterJob(Box::new(RegisterJob {
                job: self.job(),
                eval: self.maybe(Self::eval),
                enforce_index: if self.chance(6) { Some(self.below(3)) } else { None },
                preserve_counts: self.chance(5),
                preserve_resources: self.chance(5),
                submission: self.maybe(|_| Submission { source: "job {}".to_owned(), ..Submission::default() }),
                needs_namespace: self.chance(3),
                at,
            })),
            2 => {
                let eval = self.maybe(|own| Box::new(own.eval()));
                Command::DeregisterJob { key: self.key(), purge: self.chance(3), eval, at }
            }
            3 => Command::SetJobStability { key: self.key(), version: self.below(4), stable: self.chance(2) },
            4 => Command::RegisterNode { node: Box::new(self.node()), evals: self.evals(), at },
            5 => {
                let event = self.pick(&["", "Node heartbeat missed"]).to_owned();
                let status = self.node_status();
                Command::UpdateNodeStatus { node_id: self.node_id(), status, event, evals: self.evals(), at }
            }
            6 => {
                let eligibility = self.pick(&[Eligibility::Eligible, Eligibility::Ineligible]);
                Command::UpdateNodeEligibility { node_id: self.node_id(), eligibility, evals: self.evals(), at }
            }
            7 => Command::DeregisterNode { node_id: self.node_id(), evals: self.evals(), at },
            8 => Command::UpsertEvals { evals: self.evals(), at },
            9 => Command::ApplyPlans { plans: self.several(3, Self::accepted_plan), at },
            10 => {
                let updates = self.several(6, Self::alloc_update);
                Command::UpdateAllocs { node_id: self.node_id(), updates, evals: self.evals(), at }
            }
            11 => {
                let transitions = self.several(3, Self::transition);
                Command::UpdateAllocTransitions { transitions, evals: self.evals(), at }
            }
            12 => Command::UpdateDeployment(Box::new(ChangeDeployment {
                update: self.deployment_update(),
                mark_stable: self.chance(2),
                rollback: self.maybe(Self::job),
                eval: self.maybe(Self::eval),
                at,
            })),
            13 => {
                let key = self.key();
                let eval = self.maybe(|own| Box::new(own.eval()));
                Command::UpsertDeployment { deployment: Box::new(self.deployment(&key)), eval, at }
            }
            14 => Command::AddJoinToken { token: Box::new(self.token()) },
            15 => Command::SpendJoinToken { id: self.token_id(), secret_hash: [self.below(2) as u8; 32], at },
            16 => Command::RemoveJoinTokens { ids: self.several(2, Self::token_id) },
            _ => Command::Collect {
                evals: self.several(8, Self::eval_id),
                allocs: self.several(8, Self::alloc_id),
                deployments: self.several(3, Self::deployment_id),
                jobs: self.several(2, Self::key),
                nodes: self.several(2, Self::node_id),
            },
        }
    }
}
