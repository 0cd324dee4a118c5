//! A whole edge against a server that speaks the real protocols over the real transport and keeps nothing.
//! This binary is the supervisor too, hence its own main.
#![allow(clippy::unwrap_used, reason = "a test, though not one that the harness knows")]

mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drover_edge_agent::{EdgeAgent, EdgeConfig, EdgeHandle, RawExecConfig};
use drover_model::AllocId;
use drover_model::alloc::{Alloc, AllocUpdate, ClientStatus, DesiredStatus};
use drover_model::group::Group;
use drover_model::job::Job;
use drover_model::task::{LogConfig, Task};
use drover_protocol::edge::{FromEdge, ReadLogs, ToEdge, WantedAlloc};
use server::FakeServer;

/// No step of these tests takes longer, however slow the machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

type Case = (&'static str, fn());

fn main() {
    drover_edge_agent::main_if_supervisor();
    let cases: &[Case] = &[
        ("a_task_runs_and_its_log_is_read", a_task_runs_and_its_log_is_read),
        ("tasks_outlive_the_agent_and_the_server", tasks_outlive_the_agent_and_the_server),
        ("a_development_agent_leaves_nothing", a_development_agent_leaves_nothing),
        ("a_token_for_another_region_is_refused", a_token_for_another_region_is_refused),
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
    config.raw_exec = Some(RawExecConfig::default());
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
        server.set_leaf_lifetime(Duration::from_secs(3));
        server.want(vec![wanted("exec sleep 1000")]);
        let edge = started(config(dir.path(), &server)).await;
        server.registered().await;
        let first = server.until(running).await;
        server.set_leaf_lifetime(Duration::from_secs(3600));
        // The second life of the connection, with the next certificate.
        server.registered().await;
        assert_eq!(server.renewals(), 1);
        assert_eq!(first.task_states["t"].restarts, 0);
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
