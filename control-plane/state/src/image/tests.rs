use drover_model::alloc::{AllocHealth, ClientStatus};
use drover_model::metric::{AllocMetric, NodeScore};
use drover_model::task_state::{TaskEvent, TaskPhase, TaskState};
use drover_model::{AllocId, DeploymentId, EvalId, NodeId};

use super::*;

/// The first version's form, as it was written then.
fn first_version(state: &State) -> Vec<u8> {
    let mut whole = Image::default();
    for section in state.sections() {
        whole.index = whole.index.max(section.index);
        if section.index > 0 {
            whole.table_indexes = section.table_indexes;
        }
        whole.jobs.extend(section.jobs);
        whole.versions.extend(section.versions);
        whole.submissions.extend(section.submissions);
        whole.summaries.extend(section.summaries);
        whole.scaling.extend(section.scaling);
        whole.launches.extend(section.launches);
        whole.nodes.extend(section.nodes);
        whole.evals.extend(section.evals);
        whole.deployments.extend(section.deployments);
        whole.join_tokens.extend(section.join_tokens);
        whole.autopilot = whole.autopilot.or(section.autopilot);
        whole.scheduler_config = whole.scheduler_config.or(section.scheduler_config);
        whole.namespaces.extend(section.namespaces);
    }
    // They stood by id.
    whole.allocs = state.allocs.values().cloned().collect();
    let mut bytes = MAGIC.to_vec();
    bytes.push(FIRST_VERSION);
    rmp_serde::encode::write_named(&mut bytes, &whole).unwrap();
    bytes
}

fn id(number: u32, of: u8) -> [u8; 16] {
    let mut bytes = [of; 16];
    bytes[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
    bytes[10..14].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// Allocs as they are left by scheduler and edge: three jobs, more than a section of them.
fn busy_state(count: u32) -> State {
    let mut state = State { index: 900, ..State::default() };
    state.table_indexes.set_all(800);
    for number in 0..3_u32 {
        let id = format!("job-{number}").into();
        state.set_job(&Arc::new(Job { id, create_index: 5, namespace: "default".into(), ..Job::default() }));
    }
    for number in 0..20 {
        let id = NodeId::from_random(id(number, 9));
        state.nodes.insert(id, Arc::new(Node { id, name: format!("node-{number}"), ..Node::default() }));
    }
    for number in 0..count {
        let node = |number: u32| NodeId::from_random(id(number % 20, 9));
        let at = Timestamp(1_760_000_000_000_000_000 + i64::from(number) * 1_234_567);
        let event = |kind: &str| TaskEvent { kind: kind.into(), time: at, ..TaskEvent::default() };
        let task = TaskState {
            state: TaskPhase::Running,
            started_at: at,
            events: vec![event("Received"), event("Task Setup"), event("Started")],
            ..TaskState::default()
        };
        let score = |number: u32| NodeScore {
            node_id: node(number),
            scores: [("binpack", f64::from(number % 7) / 7.0), ("node-affinity", 0.0)].into(),
            norm_score: 0.5,
        };
        state.set_alloc(Arc::new(Alloc {
            id: AllocId::from_random(id(number, 1)),
            namespace: "default".into(),
            eval_id: Some(EvalId::from_random(id(number / 50, 2))),
            name: format!("job-{}.front[{number}]", number % 3),
            node_id: node(number),
            job_id: format!("job-{}", number % 3).into(),
            job_create_index: 5,
            task_group: "front".to_owned(),
            metrics: AllocMetric {
                nodes_evaluated: 20,
                score_meta_data: (number..number + 5).map(score).collect(),
                ..AllocMetric::default()
            },
            client_status: if number % 11 == 0 { ClientStatus::Failed } else { ClientStatus::Running },
            task_states: [("main".to_owned(), task)].into(),
            deployment_id: Some(DeploymentId::from_random(id(number % 3, 3))).filter(|_| number % 2 == 0),
            deployment_status: Some(AllocHealth { healthy: Some(true), timestamp: at, ..AllocHealth::default() }),
            create_index: u64::from(number) + 10,
            modify_index: u64::from(number) + 500,
            create_time: at,
            modify_time: at,
            ..Alloc::default()
        }));
    }
    state
}

/// What the secondary indexes of allocs hold.
fn indexes(state: &State) -> String {
    let of_jobs = state.of_job.iter().map(|(key, of_job)| (key, &of_job.allocs, of_job.live_allocs));
    let of_jobs: Vec<_> = of_jobs.collect();
    format!("{of_jobs:?} {:?} {:?} {:?}", state.allocs_of_node, state.allocs_of_eval, state.allocs_of_deployment)
}

#[test]
fn an_image_of_many_sections_is_the_state_again() {
    let state = busy_state(ALLOCS_PER_SECTION as u32 + 100);
    let bytes = state.encode();
    let read = State::decode(&bytes).unwrap();
    assert!(split(&bytes[MAGIC.len() + 1..]).unwrap().len() > 3);
    assert!(read.allocs.iter().eq(state.allocs.iter()));
    assert_eq!(indexes(&read), indexes(&state));
    assert_eq!(read.encode(), bytes);
    assert_eq!((read.index, read.table_indexes), (state.index, state.table_indexes));
    // The last first: whoever runs them may do so in any order.
    let backwards = |tasks: Vec<Task<'_>>| tasks.into_iter().rev().for_each(|task| task());
    assert_eq!(state.encode_with(&backwards).concat(), bytes);
    assert_eq!(State::decode_with(&bytes, &backwards).unwrap().digest(), state.digest());
}

#[test]
fn it_is_a_small_part_of_what_it_was() {
    let state = busy_state(2000);
    let (first, second) = (first_version(&state).len(), state.encode().len());
    assert!(second * 6 < first, "{second} and {first} bytes");
}

#[test]
fn the_first_version_is_still_read() {
    let state = busy_state(300);
    let read = State::decode(&first_version(&state)).unwrap();
    assert_eq!(read.digest(), state.digest());
    assert_eq!(indexes(&read), indexes(&state));
}

#[test]
fn a_first_version_that_could_not_be_written_again_is_refused() {
    let nested = |depth: usize| {
        let value = (0..depth).fold(serde_json::Value::Null, |inner, _| serde_json::Value::Array(vec![inner]));
        let mut state = busy_state(1);
        let id = NodeId::from_random([5; 16]);
        state.nodes.insert(id, Arc::new(Node { id, drain_strategy: Some(value), ..Node::default() }));
        first_version(&state)
    };
    let (mut taken, mut refused) = (0, 0);
    for depth in [300, 350, 360, 365, 366, 367, 368, 369, 380, 384, 400, 1000] {
        let bytes = nested(depth);
        match State::decode(&bytes) {
            Ok(state) => {
                assert!(State::decode(&state.encode()).is_ok(), "{depth} deep is not read again");
                taken += 1;
            }
            Err(error) => {
                assert!(matches!(error, DecodeError::Deep(FIRST_DEPTH_MAX)), "{error}");
                assert!(matches!(State::check(&bytes, &in_turn), Err(DecodeError::Deep(_))));
                refused += 1;
            }
        }
    }
    assert!(taken >= 3 && refused >= 3, "{taken} and {refused}");
    let text = DecodeError::Deep(FIRST_DEPTH_MAX).to_string();
    assert_eq!(text, "image of a state holds values that lie in each other more than 368 deep");
}

#[test]
fn what_an_image_is_of_stands_in_its_first_bytes() {
    let bytes = busy_state(1).encode();
    assert_eq!(version(&bytes[..BEGIN_BYTES]), Some(VERSION));
    assert_eq!(version(&first_version(&busy_state(1))[..BEGIN_BYTES]), Some(FIRST_VERSION));
    assert_eq!((version(&bytes[..BEGIN_BYTES - 1]), version(b"something else")), (None, None));
}

#[test]
fn an_alloc_that_is_there_twice_counts_once() {
    let state = busy_state(3);
    let mut twice: Vec<Arc<Alloc>> = state.allocs.values().cloned().collect();
    twice.push(Arc::new(Alloc { node_id: NodeId::from_random([7; 16]), ..Alloc::clone(&twice[0]) }));
    let read = assembly::assemble(vec![Image { allocs: twice.clone(), ..Image::default() }], &in_turn);
    let mut expected = State::default();
    twice.into_iter().for_each(|alloc| expected.set_alloc(alloc));
    assert_eq!(indexes(&read), indexes(&expected));
}

#[test]
fn one_that_is_cut_short_or_longer_is_refused() {
    let bytes = busy_state(20).encode();
    for cut in 0..bytes.len() {
        assert!(State::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        assert!(State::check(&bytes[..cut], &in_turn).is_err(), "cut at {cut}");
    }
    assert!(State::check(&bytes, &in_turn).is_ok());
    assert!(State::check(&first_version(&busy_state(20)), &in_turn).is_ok());
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(State::decode(&longer), Err(DecodeError::Length)));
    let mut more = bytes.clone();
    more[12] += 1;
    assert!(matches!(State::decode(&more), Err(DecodeError::Length)));
}
