//! What an alloc takes of a server's memory: a large region has a million of them.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

#[path = "../../../tests/harness/src/live_bytes.rs"]
mod live_bytes;

use std::sync::Arc;

use drover_model::alloc::{Alloc, AllocUpdate, ClientStatus};
use drover_model::group::Group;
use drover_model::job::Job;
use drover_model::metric::{AllocMetric, NodeScore};
use drover_model::plan::Plan;
use drover_model::resources::AllocatedResources;
use drover_model::score::Scores;
use drover_model::task_state::{TaskEvent, TaskPhase, TaskState};
use drover_model::{AllocId, DeploymentId, EvalId, JobKey, NodeId, Timestamp};
use drover_state::{AcceptedPlan, Command, RegisterJob, State, apply, command};

const JOBS: usize = 20;
const ALLOCS_PER_JOB: usize = 100;
const NODES: usize = 25;
/// They are about 1,740, a tenth of which are the indexes.
const BYTES_EACH_MAX: isize = 1950;

#[global_allocator]
static COUNTING: live_bytes::Counting = live_bytes::Counting;

fn id(number: usize, kind: u8) -> [u8; 16] {
    let mut bytes = [kind; 16];
    bytes[..8].copy_from_slice(&(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes[8..12].copy_from_slice(&(number as u32).to_be_bytes());
    bytes
}

fn node_id(number: usize) -> NodeId {
    NodeId::from(id(number % NODES, 1))
}

/// As the scheduler places it.
fn placed(key: &JobKey, number: usize) -> Alloc {
    let mut given = AllocatedResources::default();
    let task = given.tasks.get_or_default("server".to_owned());
    (task.cpu.mhz, task.memory.mib) = (100, 128);
    given.task_lifecycles.insert("server".to_owned(), None);
    given.shared.disk_mib = 300;
    let score = |other: usize| NodeScore {
        node_id: node_id(number + other),
        scores: Scores::from([
            ("binpack", 0.5 + number as f64 / 7.0),
            ("job-anti-affinity", if other == 0 { 0.0 } else { -0.25 }),
            ("node-affinity", 0.0),
            ("node-reschedule-penalty", 0.0),
        ]),
        norm_score: 0.25,
    };
    Alloc {
        id: AllocId::from(id(number, 2)),
        namespace: key.namespace.clone(),
        name: format!("{}.web[{}]", key.id, number % ALLOCS_PER_JOB),
        node_id: node_id(number),
        node_name: format!("node-{}", number % NODES).as_str().into(),
        job_id: key.id.clone(),
        task_group: "web".to_owned(),
        allocated_resources: Arc::new(given),
        metrics: AllocMetric {
            nodes_evaluated: NODES as i64,
            nodes_in_pool: NODES as i64,
            node_pool: "default".into(),
            nodes_available: [("dc1".to_owned(), NODES as i64)].into(),
            score_meta_data: (0..5).map(score).collect(),
            ..AllocMetric::default()
        },
        deployment_id: Some(DeploymentId::from(id(number / ALLOCS_PER_JOB, 3))),
        ..Alloc::default()
    }
}

/// As an edge reports it once it runs.
fn report(number: usize) -> AllocUpdate {
    let at = Timestamp(1_760_000_000_000_000_000 + number as i64);
    let event = |kind: &str, text: &str| TaskEvent {
        kind: kind.into(),
        time: at,
        display_message: text.into(),
        ..TaskEvent::default()
    };
    let built = "Building Task Directory";
    let setup = TaskEvent {
        message: built.into(),
        details: [("message".into(), built.into())].into(),
        ..event("Task Setup", built)
    };
    let task = TaskState {
        state: TaskPhase::Running,
        started_at: at,
        events: vec![event("Received", "Task received by client"), setup, event("Started", "Task started by client")],
        ..TaskState::default()
    };
    AllocUpdate {
        alloc_id: AllocId::from(id(number, 2)),
        client_status: ClientStatus::Running,
        client_description: "Tasks are running".to_owned(),
        task_states: [("server".to_owned(), task)].into(),
        healthy: Some(true),
        health_at: at,
        at,
        ..AllocUpdate::default()
    }
}

/// Applies what the log would hold.
fn log(state: &mut State, command: &Command) {
    let index = state.index() + 1;
    apply(state, index, command::decode(&command::encode(command)).unwrap());
}

fn region() -> State {
    let (mut state, at) = (State::default(), Timestamp(1_760_000_000_000_000_000));
    for number in 0..JOBS {
        let key = JobKey::new("default", format!("job-{number}"));
        let group = Group { name: "web".to_owned(), count: ALLOCS_PER_JOB as i64, ..Group::default() };
        let JobKey { namespace, id: job_id } = key.clone();
        let job = Arc::new(Job { namespace, id: job_id, task_groups: vec![group], ..Job::default() });
        log(&mut state, &Command::RegisterJob(Box::new(RegisterJob { job, at, ..RegisterJob::default() })));
        let numbers = number * ALLOCS_PER_JOB..(number + 1) * ALLOCS_PER_JOB;
        let placements = numbers.map(|number| placed(&key, number)).collect();
        let plan = Plan { eval_id: EvalId::from(id(number, 4)), job: key, placements, ..Plan::default() };
        let plans = vec![AcceptedPlan { plan, evals: Vec::new() }];
        log(&mut state, &Command::ApplyPlans { plans, at });
    }
    for node in 0..NODES {
        let updates = (node..JOBS * ALLOCS_PER_JOB).step_by(NODES).map(report).collect();
        log(&mut state, &Command::UpdateAllocs { node_id: node_id(node), updates, evals: Vec::new(), at });
    }
    state
}

#[test]
fn an_alloc_takes_little_whether_it_grew_or_was_read() {
    let check = |what: &str, make: &dyn Fn() -> State| {
        let before = live_bytes::live();
        let state = make();
        let bytes = (live_bytes::live() - before) / (JOBS * ALLOCS_PER_JOB) as isize;
        assert!(state.allocs().all(|alloc| alloc.client_status == ClientStatus::Running));
        assert_eq!(state.allocs().count(), JOBS * ALLOCS_PER_JOB);
        println!("{what}: {bytes} bytes per alloc");
        assert!(bytes < BYTES_EACH_MAX, "{what}: {bytes} bytes per alloc");
    };
    let image = region().encode();
    check("grown", &region);
    check("read", &|| State::decode(&image).unwrap());
}
