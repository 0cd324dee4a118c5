//! A whole edge against a server that speaks the real protocols over the real transport and keeps nothing.
//! This binary is the supervisor too, hence its own main.
#![allow(clippy::unwrap_used, reason = "a test, though not one that the harness knows")]

mod audit;
mod devices;
mod gc;
mod meta;
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use drover_edge_agent::credentials::TrustFile;
use drover_edge_agent::{EdgeAgent, EdgeConfig, EdgeHandle};
use drover_model::AllocId;
use drover_model::alloc::{Alloc, AllocUpdate, ClientStatus, DesiredStatus};
use drover_model::group::Group;
use drover_model::job::Job;
use drover_model::task::{LogConfig, Task};
use drover_protocol::edge::{FromEdge, ReadLogs, ToEdge, WantedAlloc};
use server::FakeServer;

/// No step of these tests takes longer, however slow the machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

type Case = (&'static str, fn());

fn main() {
    drover_edge_agent::main_if_supervisor();
    let cases: &[Case] = &[
        ("a_task_runs_and_its_log_is_read", a_task_runs_and_its_log_is_read),
        ("tasks_outlive_the_agent_and_the_server", tasks_outlive_the_agent_and_the_server),
        ("a_development_agent_leaves_nothing", a_development_agent_leaves_nothing),
        ("a_token_for_another_region_is_refused", a_token_for_another_region_is_refused),
        ("what_nobody_wants_ends_after_a_second_look", what_nobody_wants_ends_after_a_second_look),
        ("what_comes_about_and_nobody_wants_goes", audit::what_comes_about_and_nobody_wants_goes),
        ("an_edge_touches_nothing_of_another_one", an_edge_touches_nothing_of_another_one),
        ("a_finished_batch_task_never_runs_again", a_finished_batch_task_never_runs_again),
        ("what_people_set_of_a_node_is_registered_and_kept", meta::what_people_set_of_a_node_is_registered_and_kept),
        ("a_task_gets_the_devices_that_it_was_given", devices::a_task_gets_the_devices_that_it_was_given),
        ("a_contained_task_uses_its_device_and_no_other", devices::a_contained_task_uses_its_device_and_no_other),
        ("what_is_left_of_ended_allocs_goes_when_asked", gc::what_is_left_of_ended_allocs_goes_when_asked),
        (
            "ended_allocs_make_room_but_not_before_their_data_was_taken_over",
            gc::ended_allocs_make_room_but_not_before_their_data_was_taken_over,
        ),
        ("a_certificate_is_renewed_without_a_break_for_tasks", a_certificate_is_renewed_without_a_break_for_tasks),
    ];
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let mut failed = 0;
    for (name, case) in
        cases.iter().filter(|(name, _)| filter.as_ref().is_none_or(|wanted| name.contains(wanted.as_str())))
    {
        let outcome = std::panic::catch_unwind(case);
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        failed += u32::from(outcome.is_err());
    }
    assert_eq!(failed, 0, "{failed} tests failed");
}

fn run(body: impl AsyncFnOnce()) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body());
}

fn config(dir: &std::path::Path, server: &FakeServer) -> EdgeConfig {
    let mut config = EdgeConfig::new(dir);
    config.name = "edge".to_owned();
    config.servers = vec![server.address()];
    config.join_token = Some(server.token("global"));
    config.drivers.raw_exec_enabled = true;
    config.network_interface = Some("lo".to_owned());
    config
}

fn wanted(script: &str) -> WantedAlloc {
    let task = Task {
        name: "t".to_owned(),
        driver: "raw_exec".to_owned(),
        config: BTreeMap::from([("command".to_owned(), "sh".into()), ("args".to_owned(), vec!["-c", script].into())]),
        kill_signal: "SIGTERM".to_owned(),
        kill_timeout: Duration::from_secs(20),
        log_config: LogConfig { max_files: 2, max_file_size_mib: 1, disabled: false },
        ..Task::default()
    };
    let group = Group { name: "g".to_owned(), tasks: vec![task], ..Group::default() };
    let job = Job { task_groups: vec![group], ..Job::default() };
    let alloc = Alloc { id: AllocId::from_random([9; 16]), task_group: "g".to_owned(), ..Alloc::default() };
    WantedAlloc { alloc, job: Arc::new(job) }
}

async fn started(config: EdgeConfig) -> EdgeHandle {
    let handle = EdgeAgent::start(config).await.unwrap();
    tokio::time::timeout(PATIENCE, handle.registered()).await.unwrap_or_else(|_| panic!("{:?}", handle.status()));
    handle
}

fn running(update: &AllocUpdate) -> bool {
    update.client_status == ClientStatus::Running
}

fn a_task_runs_and_its_log_is_read() {
    run(async || {
        let dir = tempfile::tempdir().unwrap();
        let mut server = FakeServer::start().await;
        let fifo = dir.path().join("go");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let wanted = wanted(&format!("echo one; read x < {}; echo two; exec sleep 1000", fifo.display()));
        server.want(vec![wanted.clone()]);
        let edge = started(config(dir.path(), &server)).await;
        assert_eq!(server.registered().await.name, "edge");
        server.until(running).await;

        let asked = ReadLogs {
            alloc_id: wanted.alloc.id,
            task: "t".to_owned(),
            stream: "stdout".to_owned(),
            follow: true,
            ..ReadLogs::default()
        };
        let mut log = server.ask(ToEdge::ReadLogs(asked.clone())).await;
        assert!(matches!(log.head().await, FromEdge::Logs));
        assert_eq!(log.text("one\n").await, "alloc/logs/t.stdout.0");
        std::fs::write(&fifo, "x\n").unwrap();
        log.text("two\n").await;
        drop(log);

        let mut stats = server.ask(ToEdge::AllocStats { alloc_id: wanted.alloc.id }).await;
        let FromEdge::AllocStats(stats) = stats.head().await else { panic!("no statistics") };
        assert!(stats.tasks.contains_key("t"));
        let mut unknown = server.ask(ToEdge::ReadLogs(ReadLogs { task: "nope".to_owned(), ..asked })).await;
        assert!(matches!(unknown.head().await, FromEdge::Refused(_)));

        let mut stopped = wanted.clone();
        stopped.alloc.desired_status = DesiredStatus::Stop;
        server.want(vec![stopped]);
        let update = server.until(|update| update.client_status.is_terminal()).await;
        assert_eq!(update.client_status, ClientStatus::Complete);
        let root = dir.path().join("alloc").join(wanted.alloc.id.to_string());
        assert!(root.exists());
        server.want(Vec::new());
        tokio::time::timeout(PATIENCE, async {
            while edge.alloc_count() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        assert!(!root.exists());
        end(edge, dir.path(), &server).await;
    });
}

fn tasks_outlive_the_agent_and_the_server() {
    run(async || {
        let dir = tempfile::tempdir().unwrap();
        let mut server = FakeServer::start().await;
        server.want(vec![wanted("exec sleep 1000")]);
        let edge = started(config(dir.path(), &server)).await;
        let node = edge.node_id();
        let first = server.until(running).await;
        edge.stop().await;

        // No token any more: the certificate of the first life counts.
        let mut second_config = config(dir.path(), &server);
        second_config.join_token = None;
        let edge = started(second_config).await;
        assert_eq!(edge.node_id(), node);
        let second = server.until(running).await;
        assert_eq!(second.task_states, first.task_states);
        server.hang_up();
        server.registered().await;
        server.registered().await;
        tokio::time::timeout(PATIENCE, edge.registered()).await.unwrap();
        end(edge, dir.path(), &server).await;
    });
}

fn a_development_agent_leaves_nothing() {
    run(async || {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own");
        std::fs::create_dir(&own).unwrap();
        let mut server = FakeServer::start().await;
        server.want(vec![wanted("echo $$ > pid; exec sleep 1000")]);
        let mut config = config(dir.path(), &server).in_directory(&own);
        config.ends_tasks = true;
        let edge = started(config).await;
        server.until(running).await;
        edge.stop().await;
        let left = std::fs::read_dir(own.join("alloc")).map(Iterator::count).unwrap_or(0);
        assert_eq!(left, 0);
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(own.to_str().unwrap()), "{mounts}");
    });
}

fn a_token_for_another_region_is_refused() {
    run(async || {
        let dir = tempfile::tempdir().unwrap();
        let server = FakeServer::start().await;
        let mut config = config(dir.path(), &server);
        config.join_token = Some(server.token("west"));
        let edge = EdgeAgent::start(config).await.unwrap();
        let told = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(error) = edge.status().error {
                    return error;
                }
                tokio::task::yield_now().await;
            }
        });
        let error = told.await.unwrap();
        assert!(error.contains("the join token is for region west, this agent is of region global"), "{error}");
        end(edge, dir.path(), &server).await;
    });
}

fn a_certificate_is_renewed_without_a_break_for_tasks() {
    run(async || {
        let dir = tempfile::tempdir().unwrap();
        let mut server = FakeServer::start().await;
        server.set_first_leaf_lifetime(Duration::from_secs(3));
        let wanted = wanted("echo $$ > pid; exec sleep 1000");
        server.want(vec![wanted.clone()]);
        let edge = started(config(dir.path(), &server)).await;
        server.registered().await;
        let first = server.until(running).await;
        let before = pid(dir.path(), &wanted).await;
        // The first certificate has two seconds until it is renewed. A machine that is so slow that it has ended before gets another
        // one by its token, as short.
        let file = TrustFile::new(&dir.path().join("client"));
        let lives_long = || {
            let kept = file.load().unwrap().unwrap();
            kept.credentials.leaf().not_after() > SystemTime::now() + Duration::from_secs(600)
        };
        tokio::time::timeout(PATIENCE, async {
            while !lives_long() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        assert_eq!(server.renewals(), 1);
        // The connection begins again with it, and so does the next life of the agent, which has no token.
        server.registered().await;
        edge.stop().await;
        let mut second_config = config(dir.path(), &server);
        second_config.join_token = None;
        let edge = started(second_config).await;
        assert_eq!((server.renewals(), first.task_states["t"].restarts), (1, 0));
        assert!(is_alive(before) && pid(dir.path(), &wanted).await == before);
        end(edge, dir.path(), &server).await;
    });
}

/// The process of the task, which has written it into its directory.
async fn pid(dir: &std::path::Path, wanted: &WantedAlloc) -> i32 {
    let file = dir.join("alloc").join(wanted.alloc.id.to_string()).join("t/pid");
    let read = async {
        loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Some(pid) = text.strip_suffix('\n').and_then(|pid| pid.parse().ok()) {
                return pid;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap()
}

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// What an edge knew is gone, or its last word was torn by a power cut.
fn spoil(dir: &std::path::Path, is_torn: bool) {
    let file = dir.join("client/state.log");
    let bytes = std::fs::read(&file).unwrap();
    // Zeros stand behind the last record.
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    std::fs::write(&file, &bytes[..if is_torn { written - 3 } else { 0 }]).unwrap();
}

fn what_nobody_wants_ends_after_a_second_look() {
    run(async || {
        let dir = tempfile::tempdir().unwrap();
        let mut server = FakeServer::start().await;
        let wanted = wanted("echo $$ > pid; exec sleep 1000");
        server.want(vec![wanted.clone()]);
        let edge = started(config(dir.path(), &server)).await;
        server.until(running).await;
        let pid = pid(dir.path(), &wanted).await;
        edge.stop().await;
        spoil(dir.path(), false);

        // Without a store and without a server nothing is known of what is wanted.
        let mut alone = config(dir.path(), &server);
        alone.servers = vec!["127.0.0.1:1".to_owned()];
        let edge = EdgeAgent::start(alone).await.unwrap();
        tokio::time::timeout(PATIENCE, async {
            while edge.status().error.is_none() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        assert!(is_alive(pid));
        edge.stop().await;
        assert!(is_alive(pid));

        server.want(Vec::new());
        let counted = audit::unwanted("task");
        let edge = started(config(dir.path(), &server)).await;
        tokio::time::timeout(PATIENCE, async {
            while is_alive(pid) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        // Nothing of it is found before that is known, and the second look is two seconds after the first.
        let since = server.told().elapsed();
        assert!(since > Duration::from_millis(1900), "without a second look: {since:?}");
        assert_eq!(audit::unwanted("task") - counted, 1.0);
        end(edge, dir.path(), &server).await;
    });
}

fn an_edge_touches_nothing_of_another_one() {
    run(async || {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let mut servers = [FakeServer::start().await, FakeServer::start().await];
        let wanted = wanted("echo $$ > pid; exec sleep 1000");
        let (mut edges, mut pids) = (Vec::new(), Vec::new());
        for (dir, server) in dirs.iter().zip(&mut servers) {
            server.want(vec![wanted.clone()]);
            edges.push(started(config(dir.path(), server)).await);
            server.until(running).await;
            pids.push(pid(dir.path(), &wanted).await);
        }
        let mounts = |dir: &tempfile::TempDir| {
            let all = std::fs::read_to_string("/proc/self/mounts").unwrap();
            all.lines().filter(|line| line.contains(dir.path().to_str().unwrap())).count()
        };
        let mounted = mounts(&dirs[1]);
        for is_torn in [false, true] {
            edges.remove(0).stop().await;
            spoil(dirs[0].path(), is_torn);
            edges.insert(0, started(config(dirs[0].path(), &servers[0])).await);
            // Its own task is taken over again, also by an edge that had forgotten it.
            servers[0].until(running).await;
            assert!(pids.iter().all(|pid| is_alive(*pid)), "after a store that was torn: {is_torn}");
        }
        // Nothing is wanted of the first any more: all that is its own ends, and nothing else.
        servers[0].want(Vec::new());
        tokio::time::timeout(PATIENCE, async {
            while is_alive(pids[0]) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        end(edges.remove(0), dirs[0].path(), &servers[0]).await;
        assert!(is_alive(pids[1]));
        assert_eq!(mounts(&dirs[1]), mounted);
        let mut stats = servers[1].ask(ToEdge::AllocStats { alloc_id: wanted.alloc.id }).await;
        assert!(matches!(stats.head().await, FromEdge::AllocStats(stats) if stats.tasks.contains_key("t")));
        end(edges.remove(0), dirs[1].path(), &servers[1]).await;
    });
}

fn a_finished_batch_task_never_runs_again() {
    run(async || {
        let dir = tempfile::tempdir().unwrap();
        let mut server = FakeServer::start().await;
        let mut wanted = wanted("echo run >> runs");
        Arc::make_mut(&mut wanted.job).kind = drover_model::job::JobType::Batch;
        server.want(vec![wanted.clone()]);
        let mut edge = started(config(dir.path(), &server)).await;
        let ended = |update: &AllocUpdate| update.client_status == ClientStatus::Complete;
        server.until(ended).await;
        let runs = || {
            let file = dir.path().join("alloc").join(wanted.alloc.id.to_string()).join("t/runs");
            std::fs::read_to_string(file).unwrap().lines().count()
        };
        for is_torn in [None, Some(true), Some(false)] {
            edge.stop().await;
            if let Some(is_torn) = is_torn {
                spoil(dir.path(), is_torn);
            }
            if is_torn == Some(false) {
                // The servers know its end, and say so to an edge that has forgotten all.
                let mut known = wanted.clone();
                known.alloc.client_status = ClientStatus::Complete;
                server.want(vec![known]);
            }
            edge = started(config(dir.path(), &server)).await;
            let mut registered = server.ask(ToEdge::NodeStats).await;
            registered.head().await;
            assert_eq!(runs(), 1, "after {is_torn:?}");
        }
        end(edge, dir.path(), &server).await;
    });
}

/// Ends the edge with everything that it runs: a second one over the same directory takes it all along.
async fn end(edge: EdgeHandle, dir: &std::path::Path, server: &FakeServer) {
    edge.stop().await;
    let mut config = config(dir, server);
    config.ends_tasks = true;
    EdgeAgent::start(config).await.unwrap().stop().await;
}
