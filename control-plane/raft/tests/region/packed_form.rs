//! A snapshot in the form of today, saved once: it must go on reading as what it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drover_model::alloc::{Alloc, AllocUpdate, ClientStatus, DesiredStatus};
use drover_model::constraint::Constraint;
use drover_model::deployment::{Deployment, DeploymentState, DeploymentStatus};
use drover_model::eval::{Eval, EvalStatus};
use drover_model::group::Group;
use drover_model::job::{Job, JobType};
use drover_model::metric::{AllocMetric, NodeScore};
use drover_model::namespace::{Capabilities, NamespaceSpec};
use drover_model::node::{Node, NodeStatus};
use drover_model::plan::{DeploymentUpdate, Plan};
use drover_model::task::Task;
use drover_model::task_state::{TaskEvent, TaskPhase, TaskState};
use drover_model::{AllocId, DeploymentId, EvalId, JobKey, JoinTokenId, NodeId, Timestamp};
use drover_raft::{read_snapshot, write_snapshot};
use drover_state::autopilot::AutopilotConfig;
use drover_state::join_token::JoinToken;
use drover_state::scaling::ScalingEvent;
use drover_state::scheduler_config::SchedulerConfig;
use drover_state::submission::Submission;
use drover_state::{
    AcceptedPlan, Answer, ChangeDeployment, Command, LaunchJob, RegisterJob, ScaleJob, State, TagJobVersion, apply,
};
use serde_json::json;

/// What `recording_a_snapshot` makes, restored into a region and saved by that. It is never written again: a later form gets a file
/// of its own, and all of them must go on reading.
const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/snapshot/state-2.snap");
const AT: Timestamp = Timestamp(1_763_000_000_000_000_000);

fn id(kind: u8, number: u8) -> [u8; 16] {
    let mut bytes = [kind; 16];
    bytes[3] = number;
    bytes
}

fn key() -> JobKey {
    JobKey::new("shop", "web")
}

fn job(count: i64) -> Arc<Job> {
    let task = Task {
        name: "main".to_owned(),
        driver: "exec".to_owned(),
        config: BTreeMap::from([
            ("command".to_owned(), json!("/bin/sleep")),
            ("args".to_owned(), json!(["600", {"nested": [1, -1, 2.5, null, true, "ä"]}])),
        ]),
        env: BTreeMap::from([("EMPTY".to_owned(), String::new()), ("LONG".to_owned(), "long ".repeat(100))]),
        kill_timeout: Duration::from_millis(5500),
        ..Task::default()
    };
    let group = Group { name: "front".to_owned(), count, tasks: vec![task], ..Group::default() };
    let constraint =
        Constraint { left: "${attr.kernel.name}".to_owned(), right: "linux".to_owned(), operand: "=".to_owned() };
    Arc::new(Job {
        namespace: key().namespace,
        id: key().id,
        name: "web".to_owned(),
        kind: JobType::Service,
        priority: 70,
        datacenters: vec!["dc1".to_owned(), "eu-*".to_owned()],
        constraints: vec![constraint],
        meta: (0..12).map(|number| (format!("key-{number}"), format!("value {number}"))).collect(),
        task_groups: vec![group],
        ..Job::default()
    })
}

fn node(number: u8) -> Node {
    Node {
        id: NodeId::from_random(id(1, number)),
        name: format!("node-{number}"),
        datacenter: "dc1".to_owned(),
        attributes: BTreeMap::from([("kernel.name".to_owned(), "linux".to_owned())]),
        drain_strategy: (number == 1).then(|| json!({"Deadline": 3600, "IgnoreSystemJobs": false})),
        status: if number == 1 { NodeStatus::Down } else { NodeStatus::Ready },
        ..Node::default()
    }
}

fn alloc(number: u8) -> Alloc {
    let score = NodeScore {
        node_id: NodeId::from_random(id(1, 0)),
        scores: [("binpack".to_owned(), 1.0 / 3.0), ("node-affinity".to_owned(), 0.0)].into(),
        norm_score: -0.25,
    };
    Alloc {
        id: AllocId::from_random(id(3, number)),
        namespace: key().namespace,
        job_id: key().id,
        name: format!("web.front[{number}]"),
        task_group: "front".to_owned(),
        node_id: NodeId::from_random(id(1, 0)),
        deployment_id: Some(DeploymentId::from_random(id(4, 0))),
        metrics: AllocMetric { nodes_evaluated: 2, score_meta_data: vec![score], ..AllocMetric::default() },
        ..Alloc::default()
    }
}

fn blocked() -> Eval {
    let failed = AllocMetric {
        nodes_exhausted: 2,
        dimension_exhausted: [("memory".to_owned(), 2)].into(),
        ..AllocMetric::default()
    };
    Eval {
        id: EvalId::from_random(id(2, 1)),
        namespace: key().namespace,
        job_id: key().id,
        status: EvalStatus::Blocked,
        failed_group_allocs: BTreeMap::from([("front".to_owned(), failed)]),
        ..Eval::default()
    }
}

/// Something of every kind that a state holds.
fn commands() -> Vec<Command> {
    let eval = |number| Eval { id: EvalId::from_random(id(2, number)), ..blocked() };
    let submission =
        Submission { source: "job \"web\" {}".to_owned(), format: "hcl2".to_owned(), ..Submission::default() };
    let register = |job, submission| {
        Command::RegisterJob(Box::new(RegisterJob { job, submission, at: AT, ..RegisterJob::default() }))
    };
    let group =
        DeploymentState { progress_deadline: Duration::from_secs(600), desired_total: 3, ..DeploymentState::default() };
    let deployment = Deployment {
        id: DeploymentId::from_random(id(4, 0)),
        namespace: key().namespace,
        job_id: key().id,
        task_groups: BTreeMap::from([("front".to_owned(), group)]),
        ..Deployment::default()
    };
    let plan = Plan {
        eval_id: EvalId::from_random(id(2, 0)),
        job: key(),
        placements: (0..3).map(alloc).collect(),
        deployment: Some(deployment),
        ..Plan::default()
    };
    let done = Eval { status: EvalStatus::Complete, failed_group_allocs: BTreeMap::new(), ..eval(0) };
    let event = |kind: &str, time| TaskEvent { kind: kind.into(), time: Timestamp(time), ..TaskEvent::default() };
    let task = TaskState {
        state: TaskPhase::Running,
        started_at: Timestamp(AT.0 + 5),
        events: vec![event("Received", AT.0 + 1), event("Started", AT.0 + 5)],
        ..TaskState::default()
    };
    let update = AllocUpdate {
        alloc_id: AllocId::from_random(id(3, 1)),
        client_status: ClientStatus::Running,
        task_states: [("main".to_owned(), task)].into(),
        healthy: Some(true),
        health_at: AT,
        at: AT,
        ..AllocUpdate::default()
    };
    let cron = Job {
        id: "cron".into(),
        namespace: key().namespace,
        periodic: Some(json!({"Enabled": false, "Spec": "0 0 1 1 *", "SpecType": "cron", "TimeZone": "UTC"})),
        ..Job::default()
    };
    let launch = LaunchJob { parent: cron.key(), launched_at: Timestamp(AT.0 + 60), at: AT, ..LaunchJob::default() };
    let scaled = ScalingEvent { count: Some(3), message: "more".to_owned(), ..ScalingEvent::default() };
    let token = |number, region: &str| JoinToken {
        id: JoinTokenId::from_random(id(5, number)),
        secret_hash: [number + 7; 32],
        role: "server".to_owned(),
        uses_left: Some(1),
        expires_at: AT.plus(Duration::from_secs(3600)),
        created_at: AT,
        region: region.to_owned(),
        ..JoinToken::default()
    };
    let namespace = NamespaceSpec {
        name: key().namespace,
        description: "a shop".to_owned(),
        capabilities: Some(Capabilities {
            disabled_task_drivers: vec!["raw_exec".to_owned()],
            ..Capabilities::default()
        }),
        ..NamespaceSpec::default()
    };
    let ended = DeploymentUpdate {
        deployment_id: DeploymentId::from_random(id(4, 0)),
        status: DeploymentStatus::Successful,
        status_description: "Deployment completed successfully".to_owned(),
    };
    let tag = TagJobVersion { key: key(), name: "good".to_owned(), version: 0, description: "it ran".to_owned() };
    let plans = vec![AcceptedPlan { plan, evals: vec![done, blocked()] }];
    vec![
        Command::UpsertNamespace { namespace: Box::new(namespace) },
        Command::RegisterNode { node: Box::new(node(0)), evals: Vec::new(), at: AT },
        Command::RegisterNode { node: Box::new(node(1)), evals: Vec::new(), at: AT },
        register(job(3), Some(submission)),
        Command::ApplyPlans { plans, at: AT },
        Command::UpdateAllocs { node_id: node(0).id, updates: vec![update], evals: Vec::new(), at: AT },
        Command::UpdateDeployment(Box::new(ChangeDeployment { update: ended, at: AT, ..ChangeDeployment::default() })),
        Command::TagJobVersion { tag: Box::new(tag), at: AT },
        register(job(2), None),
        Command::ScaleJob(Box::new(ScaleJob {
            key: key(),
            group: "front".to_owned(),
            event: scaled,
            at: AT,
            ..ScaleJob::default()
        })),
        register(Arc::new(cron), None),
        Command::LaunchJob(Box::new(launch)),
        Command::AddJoinToken { token: Box::new(token(0, "")) },
        Command::AddJoinToken { token: Box::new(token(1, "west")) },
        Command::SetAutopilotConfig {
            config: Box::new(AutopilotConfig {
                min_quorum: 3,
                cleanup_dead_servers: false,
                ..AutopilotConfig::default()
            }),
            cas: None,
        },
        Command::SetSchedulerConfig {
            config: Box::new(SchedulerConfig { is_paused: true, ..SchedulerConfig::default() }),
            cas: None,
        },
    ]
}

/// `DROVER_RECORD_SNAPSHOT=<path> cargo test -p drover-raft --test region recording_a_snapshot` writes it to a file.
#[test]
fn recording_a_snapshot() {
    let mut state = State::default();
    for (index, command) in (1..).zip(commands()) {
        let (answer, _) = apply(&mut state, index, command);
        assert!(!matches!(answer, Answer::Refused(_)), "{index}: {answer:?}");
    }
    if let Ok(path) = std::env::var("DROVER_RECORD_SNAPSHOT") {
        let mut file = std::fs::File::options().read(true).write(true).create_new(true).open(path).unwrap();
        write_snapshot(&mut file, &state, 0).unwrap();
    }
}

#[test]
fn a_snapshot_in_the_packed_form_reads_as_what_was_saved() {
    let file = std::fs::read(SNAPSHOT).unwrap();
    let of_state = [b"drover\0S".as_slice(), &[2]].concat();
    assert!(file.starts_with(b"drvsnap2") && file.windows(of_state.len()).any(|window| window == of_state));
    let (info, state) = read_snapshot(std::fs::File::open(SNAPSHOT).unwrap()).unwrap();
    assert_eq!((info.index, info.term, info.at_ms, state.index()), (19, 1, 1_795_321_901_308, 19));

    let counts = [state.jobs().count(), state.nodes().count(), state.evals().count(), state.allocs().count()];
    assert_eq!(counts, [2, 2, 2, 3]);
    let versions = state.job_versions(&key());
    assert_eq!(versions.iter().map(|job| job.version).collect::<Vec<_>>(), [2, 1, 0]);
    let first = versions.last().unwrap();
    assert!(first.same_request(&job(3)), "{first:?}");
    assert_eq!(first.task_groups[0].tasks[0], job(3).task_groups[0].tasks[0]);
    assert_eq!((&first.meta, &first.constraints), (&job(3).meta, &job(3).constraints));
    assert_eq!((first.version_tag.as_ref().unwrap()["Name"].as_str(), first.submit_time), (Some("good"), AT));
    assert_eq!(state.submission(&key(), 0).unwrap().source, "job \"web\" {}");
    assert_eq!(state.job(&key()).unwrap().task_groups[0].count, 3);
    let scaled = &state.scaling_events(&key()).unwrap()["front"][0];
    assert_eq!((scaled.count, scaled.previous_count, scaled.message.as_str()), (Some(3), 2, "more"));
    let cron = JobKey::new("shop", "cron");
    assert_eq!(state.last_launch(&cron), Some(Timestamp(AT.0 + 60)));

    for number in 0..2 {
        let (read, written) = (state.node(node(number).id).unwrap(), node(number));
        assert_eq!((&read.name, &read.attributes, read.status), (&written.name, &written.attributes, written.status));
        assert_eq!(read.drain_strategy, written.drain_strategy);
    }
    for number in 0..3 {
        let (read, written) = (state.alloc(alloc(number).id).unwrap(), alloc(number));
        assert_eq!((&read.name, read.node_id, &read.metrics), (&written.name, written.node_id, &written.metrics));
        assert_eq!((read.desired_status, read.create_index, read.create_time), (DesiredStatus::Run, 5, AT));
        assert_eq!(read.eval_id, Some(EvalId::from_random(id(2, 0))));
    }
    let running = state.alloc(alloc(1).id).unwrap();
    let task = &running.task_states["main"];
    assert_eq!(
        (running.client_status, task.state, task.started_at),
        (ClientStatus::Running, TaskPhase::Running, Timestamp(AT.0 + 5))
    );
    assert_eq!(task.events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["Received", "Started"]);
    assert_eq!(running.deployment_status.as_ref().unwrap().healthy, Some(true));
    assert_eq!(state.job_summary(&key()).groups["front"].running, 1);
    let deployment = state.deployments().next().unwrap();
    let group = &deployment.task_groups["front"];
    assert_eq!((deployment.status, group.placed_allocs, group.healthy_allocs), (DeploymentStatus::Successful, 3, 1));
    assert_eq!(group.progress_deadline, Duration::from_secs(600));
    // The region that saved it has tried it again.
    let eval = state.eval(blocked().id).unwrap();
    assert_eq!((eval.status, &eval.failed_group_allocs), (EvalStatus::Pending, &blocked().failed_group_allocs));

    let namespace = state.namespace(&"shop".into()).unwrap();
    assert_eq!(namespace.capabilities.as_ref().unwrap().disabled_task_drivers, ["raw_exec"]);
    let tokens: Vec<_> =
        state.join_tokens().map(|token| (token.secret_hash[0], token.region.as_str(), token.uses_left)).collect();
    assert_eq!(tokens, [(7, "", Some(1)), (8, "west", Some(1))]);
    assert!(state.autopilot().is_some_and(|config| config.min_quorum == 3 && !config.cleanup_dead_servers));
    assert!(state.scheduler_config().is_paused);
}
