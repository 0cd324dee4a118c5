//! An edge, as this server meets it.

use drover_certs::{Credentials, Identity, Role};
use drover_model::job::Job;
use drover_model::plan::Plan;
use drover_model::{JobId, Namespace};
use drover_protocol::heartbeat::HeartbeatAnswer;
use drover_state::{AcceptedPlan, RegisterJob};
use drover_transport::{Endpoint, EndpointOptions, Protocol};

use super::*;
use crate::settings::Settings;

const WAIT: Duration = Duration::from_secs(120);

async fn start(dir: &std::path::Path) -> Server {
    let settings = Settings::alone("s1", dir.to_path_buf());
    Server::start(settings, |reason| panic!("the server died: {reason}")).await.unwrap()
}

struct Edge {
    _endpoint: Endpoint,
    connection: Connection,
}

async fn dial(server: &Server, node: NodeId) -> Edge {
    let authority = server.authority().unwrap();
    let identity = Identity::new(authority.region().clone(), Role::Client, &node.to_string()).unwrap();
    let credentials: Credentials =
        authority.issue_own(&identity, std::time::SystemTime::now(), Duration::from_secs(3600)).unwrap();
    let endpoint = Endpoint::bind(EndpointOptions::dial_only(([127, 0, 0, 1], 0).into())).unwrap();
    endpoint.set_credentials(&credentials, &authority.anchors()).unwrap();
    let peer = endpoint.dial(server.info().rpc_advertise, authority.region(), Protocol::Edge, WAIT).await.unwrap();
    Edge { _endpoint: endpoint, connection: peer.connection }
}

async fn ask(edge: &Edge, request: &ToServer) -> FromServer {
    let request = codec::encode(request);
    let answer = edge.connection.call(&request, REQUEST_BYTES_MAX);
    codec::decode(&tokio::time::timeout(WAIT, answer).await.unwrap().unwrap()).unwrap()
}

async fn first_push(edge: &Edge, node_id: NodeId) -> NodeAllocs {
    let mut stream = edge.connection.open_stream().await.unwrap();
    stream.send_frame(&codec::encode(&ToServer::WatchAllocs { node_id })).await.unwrap();
    let frame = tokio::time::timeout(WAIT, stream.recv_frame(NODE_ALLOCS_BYTES_MAX)).await.unwrap();
    codec::decode(&frame.unwrap().unwrap()).unwrap()
}

/// A placement of the job `web` on that node, by hand.
async fn place(server: &Server, node_id: NodeId) -> AllocId {
    let now = clock::now();
    let job = Arc::new(Job { id: JobId::from("web"), namespace: Namespace::from("default"), ..Job::default() });
    let register = RegisterJob { job: job.clone(), at: now, ..RegisterJob::default() };
    server.propose(Command::RegisterJob(Box::new(register))).await.unwrap();
    let id = AllocId::from_random(chance::bytes16());
    let alloc = Alloc { id, node_id, job_id: job.id.clone(), namespace: job.namespace.clone(), ..Alloc::default() };
    let plan = Plan { job: job.key(), placements: vec![alloc], ..Plan::default() };
    let plans = vec![AcceptedPlan { plan, ..AcceptedPlan::default() }];
    server.propose(Command::ApplyPlans { plans, at: now }).await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_no_edge_hears_of_an_older_state() {
    let dir = tempfile::tempdir().unwrap();
    let node_id = NodeId::from_random(chance::bytes16());
    let server = start(dir.path()).await;
    let alloc_id = place(&server, node_id).await;
    server.shutdown().await;
    drop(server);

    let server = start(dir.path()).await;
    assert!(server.reading().snapshot.alloc(alloc_id).is_some(), "the start waits for the state");
    let edge = dial(&server, node_id).await;
    let push = first_push(&edge, node_id).await;
    assert!(push.whole && push.complete);
    assert_eq!(push.upserts.iter().map(|wanted| wanted.alloc.id).collect::<Vec<_>>(), [alloc_id]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_says_only_what_is_its_own_to_say() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let node_id = NodeId::from_random(chance::bytes16());
    let edge = dial(&server, node_id).await;
    let node = Node {
        id: node_id,
        name: "n1".to_owned(),
        drain_strategy: Some(serde_json::json!({ "Deadline": 1 })),
        scheduling_eligibility: Eligibility::Ineligible,
        last_missed_heartbeat_index: 9,
        ..Node::default()
    };
    let answer = ask(&edge, &ToServer::Register { node: Box::new(node.clone()) }).await;
    assert!(matches!(answer, FromServer::Alive { .. }), "{answer:?}");
    let known = server.reading().snapshot.node(node_id).cloned().unwrap();
    assert!(known.is_ready(), "{known:?}");
    assert_eq!((known.name.as_str(), known.last_missed_heartbeat_index), ("n1", 0));

    let huge = Node { meta: [("m".to_owned(), "x".repeat(NODE_BYTES_MAX))].into(), ..node };
    let answer = ask(&edge, &ToServer::Register { node: Box::new(huge) }).await;
    assert!(matches!(answer, FromServer::Refused(RpcError::Invalid { .. })), "{answer:?}");
    let other = ToServer::Heartbeat { node_id: NodeId::from_random(chance::bytes16()) };
    let answer = ask(&edge, &other).await;
    assert!(matches!(answer, FromServer::Refused(RpcError::Forbidden { .. })), "{answer:?}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_has_no_more_than_two_connections() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let node_id = NodeId::from_random(chance::bytes16());
    let mut edges = Vec::new();
    for _ in 0..3 {
        let edge = dial(&server, node_id).await;
        // An answer shows that the server has taken this one.
        ask(&edge, &ToServer::Heartbeat { node_id }).await;
        edges.push(edge);
    }
    tokio::time::timeout(WAIT, edges[0].connection.closed()).await.unwrap();
    for edge in &edges[1..] {
        ask(edge, &ToServer::Heartbeat { node_id }).await;
    }
    server.shutdown().await;
}

#[test]
fn times_of_an_edge_whose_clock_is_off_become_possible_ones() {
    let second = |number: i64| Timestamp(number * 1_000_000_000);
    let (now, placed) = (second(1000), second(900));
    let check = |reported: Timestamp, before: Option<Timestamp>, expected: Timestamp| {
        let state = |finished_at| drover_model::task_state::TaskState { finished_at, ..Default::default() };
        let known = before.map(|before| ("main".to_owned(), state(before)));
        let alloc = Alloc { create_time: placed, task_states: known.into_iter().collect(), ..Alloc::default() };
        let task_states = [("main".to_owned(), state(reported))].into();
        let mut update =
            AllocUpdate { task_states, healthy: Some(true), health_at: reported, ..AllocUpdate::default() };
        set_clock(&mut update, &alloc, now);
        assert_eq!(update.task_states["main"].finished_at, expected, "{reported:?}, before {before:?}");
    };
    check(second(950), None, second(950));
    check(second(0), None, second(0));
    check(second(5), None, now);
    check(second(900_000), None, now);
    check(second(900_000), Some(second(960)), second(960));
}

async fn next_answer(stream: &mut Stream) -> HeartbeatAnswer {
    stream.send_frame(&[]).await.unwrap();
    let frame = tokio::time::timeout(WAIT, stream.recv_frame(REQUEST_BYTES_MAX)).await.unwrap();
    HeartbeatAnswer::decode(&frame.unwrap().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_follow_each_other_on_one_stream() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let node_id = NodeId::from_random(chance::bytes16());
    let edge = dial(&server, node_id).await;
    let node = Node { id: node_id, name: "n1".to_owned(), ..Node::default() };
    ask(&edge, &ToServer::Register { node: Box::new(node) }).await;

    let mut stream = edge.connection.open_stream().await.unwrap();
    stream.send_frame(&codec::encode(&ToServer::Heartbeat { node_id })).await.unwrap();
    let frame = tokio::time::timeout(WAIT, stream.recv_frame(REQUEST_BYTES_MAX)).await.unwrap();
    let first: FromServer = codec::decode(&frame.unwrap().unwrap()).unwrap();
    assert!(matches!(first, FromServer::Alive { ref servers, .. } if !servers.is_empty()), "{first:?}");
    for _ in 0..3 {
        let answer = next_answer(&mut stream).await;
        let is_due = |time: Duration| (Duration::from_secs(10)..=Duration::from_secs(20)).contains(&time);
        assert!(matches!(answer, HeartbeatAnswer::Due(time) if is_due(time)), "{answer:?}");
    }

    // What only a whole answer can say is said on the same stream, and it goes on.
    server.purge_node(node_id).await.unwrap();
    let answer = next_answer(&mut stream).await;
    let is_unknown = matches!(answer, HeartbeatAnswer::Told(FromServer::Refused(RpcError::NotFound { .. })));
    assert!(is_unknown, "{answer:?}");
    let node = Node { id: node_id, name: "n1".to_owned(), ..Node::default() };
    ask(&edge, &ToServer::Register { node: Box::new(node) }).await;
    assert!(matches!(next_answer(&mut stream).await, HeartbeatAnswer::Due(_)));

    // A heartbeat has nothing to say: one that does ends the stream.
    stream.send_frame(b"x").await.unwrap();
    let ended = tokio::time::timeout(WAIT, stream.recv_frame(REQUEST_BYTES_MAX)).await.unwrap();
    assert!(!matches!(ended, Ok(Some(_))), "{ended:?}");
    assert!(matches!(ask(&edge, &ToServer::Heartbeat { node_id }).await, FromServer::Alive { .. }));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_edge_gets_more_streams_than_an_idle_one() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let node_id = NodeId::from_random(chance::bytes16());
    let edge = dial(&server, node_id).await;
    let mut held = Vec::new();
    for _ in 0..32 {
        let mut stream = tokio::time::timeout(WAIT, edge.connection.open_stream()).await.unwrap().unwrap();
        stream.send_frame(&codec::encode(&ToServer::Heartbeat { node_id })).await.unwrap();
        held.push(stream);
    }
    for stream in &mut held {
        let frame = tokio::time::timeout(WAIT, stream.recv_frame(REQUEST_BYTES_MAX)).await.unwrap();
        assert!(frame.unwrap().is_some(), "each of them is answered and stays open");
    }
    server.shutdown().await;
}

/// The memory that one edge's tasks take for as long as it is connected is that of these futures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stays_as_long_as_an_edge_does_is_small() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let node_id = NodeId::from_random(chance::bytes16());
    let edge = dial(&server, node_id).await;
    let connection = &edge.connection;
    let streams = [connection.open_stream().await.unwrap(), connection.open_stream().await.unwrap()];
    let [one, other] = streams;
    let reads = Semaphore::new(READ_MAX);
    let of_stream = size_of_val(&serve_stream(&server, node_id, connection, one, &reads));
    let of_pushes = size_of_val(&push_allocs(&server, node_id, connection, other));
    assert!(of_stream <= 2048, "{of_stream}");
    assert!(of_pushes <= 1024, "{of_pushes}");
    server.shutdown().await;
}

/// A state with one job that is changed by plans.
struct Placed {
    state: drover_state::State,
    node_id: NodeId,
}

impl Placed {
    fn new() -> Self {
        let mut placed = Self { state: drover_state::State::default(), node_id: NodeId::from([1; 16]) };
        let job = Arc::new(Job { id: JobId::from("web"), namespace: Namespace::from("default"), ..Job::default() });
        placed.run(Command::RegisterJob(Box::new(RegisterJob { job, ..RegisterJob::default() })));
        placed
    }

    fn run(&mut self, command: Command) {
        let index = self.state.index() + 1;
        drover_state::apply(&mut self.state, index, command);
    }

    fn plan(&mut self, placed: &[u8], stopped: &[u8]) {
        let alloc = |number: &u8| Alloc {
            id: AllocId::from([*number; 16]),
            node_id: self.node_id,
            job_id: JobId::from("web"),
            namespace: Namespace::from("default"),
            ..Alloc::default()
        };
        let stop =
            |number: &u8| drover_model::plan::PlanStop { alloc_id: AllocId::from([*number; 16]), ..Default::default() };
        let (placements, stops) = (placed.iter().map(alloc).collect(), stopped.iter().map(stop).collect());
        let plan = Plan { placements, stops, ..Plan::default() };
        let plans = vec![AcceptedPlan { plan, ..AcceptedPlan::default() }];
        self.run(Command::ApplyPlans { plans, at: Timestamp(1) });
    }

    /// What the next push brings, and takes away.
    fn news(&self, sent: &mut Sent, whole: bool) -> (Vec<u8>, Vec<u8>) {
        let number = |id: &AllocId| id.as_bytes()[0];
        let snapshot = self.state.snapshot();
        let frames = changes(&snapshot, self.node_id, sent, whole);
        let mut news: Vec<u8> = frames.iter().flat_map(|frame| &frame.upserts).map(|w| number(&w.alloc.id)).collect();
        news.sort_unstable();
        (news, frames.iter().flat_map(|frame| &frame.removals).map(number).collect())
    }
}

#[test]
fn an_edge_hears_of_what_changed_alone() {
    let (mut placed, mut sent) = (Placed::new(), Sent::default());
    placed.plan(&[1, 2], &[]);
    assert_eq!(placed.news(&mut sent, true), (vec![1, 2], vec![]));
    assert_eq!(placed.news(&mut sent, false), (vec![], vec![]));
    placed.plan(&[3], &[1]);
    assert_eq!(placed.news(&mut sent, false), (vec![1, 3], vec![]));
    let complete = AllocUpdate {
        alloc_id: AllocId::from([1; 16]),
        client_status: drover_model::alloc::ClientStatus::Complete,
        ..AllocUpdate::default()
    };
    let (node_id, updates) = (placed.node_id, vec![complete]);
    placed.run(Command::UpdateAllocs { node_id, updates, evals: Vec::new(), at: Timestamp(2) });
    assert_eq!(placed.news(&mut sent, false), (vec![], vec![]), "its own report is no news");
    let allocs = vec![AllocId::from([1; 16])];
    placed.run(Command::Collect { evals: vec![], allocs, deployments: vec![], jobs: vec![], nodes: vec![] });
    placed.plan(&[4], &[]);
    assert_eq!(placed.news(&mut sent, false), (vec![4], vec![1]));

    // An older state takes the place of this one: in it 1 is to run, and 3 and 4 are not there.
    let mut older = Placed::new();
    older.plan(&[1, 2], &[]);
    older.state = drover_state::State::decode(&older.state.encode()).unwrap();
    older.state.mark_restored(placed.state.index() + 1);
    assert_eq!(older.news(&mut sent, false), (vec![1], vec![3, 4]));
    assert_eq!(older.news(&mut sent, false), (vec![], vec![]));
}
