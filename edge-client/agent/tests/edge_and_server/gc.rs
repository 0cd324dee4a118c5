//! What is left of ended allocs goes when it shall, and nothing of it runs again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use drover_edge_agent::EdgeConfig;
use drover_model::AllocId;
use drover_model::alloc::{AllocUpdate, ClientStatus};
use drover_model::job::JobType;
use drover_model::policy::EphemeralDisk;
use drover_protocol::edge::{FilesRequest, FilesWanted, FromEdge, ReadLogs, RpcError, ToEdge, WantedAlloc};

use crate::server::FakeServer;
use crate::{PATIENCE, config, end, run, running, started, wanted};

fn batch(number: u8, script: &str) -> WantedAlloc {
    let mut wanted = wanted(script);
    wanted.alloc.id = AllocId::from_random([number; 16]);
    Arc::make_mut(&mut wanted.job).kind = JobType::Batch;
    wanted
}

fn dir_of(dir: &Path, wanted: &WantedAlloc) -> PathBuf {
    dir.join("alloc").join(wanted.alloc.id.to_string())
}

/// It looks often and keeps that many.
fn keeps(allocs_max: usize, dir: &Path, server: &FakeServer) -> EdgeConfig {
    let mut config = config(dir, server);
    config.gc.interval = Duration::from_millis(20);
    config.gc.limits.allocs_max = allocs_max;
    config.gc.limits.disk_used_max_percent = 100.0;
    config.gc.limits.inodes_used_max_percent = 100.0;
    config
}

fn is_end_of(wanted: &WantedAlloc) -> impl Fn(&AllocUpdate) -> bool {
    let id = wanted.alloc.id;
    move |update| update.alloc_id == id && update.client_status.is_terminal()
}

async fn gone(path: &Path) {
    let gone = async {
        while path.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap_or_else(|_| panic!("{} stays", path.display()));
}

async fn collect(server: &FakeServer, alloc_id: Option<AllocId>) -> FromEdge {
    server.ask(ToEdge::CollectAllocs { alloc_id }).await.head().await
}

pub fn what_is_left_of_ended_allocs_goes_when_asked() {
    run(async || {
        let dir = tempfile::tempdir().unwrap();
        let mut server = FakeServer::start().await;
        let runs = dir.path().join("runs");
        let done = batch(1, &format!("echo run >> {}", runs.display()));
        let alive = batch(2, "exec sleep 1000");
        server.want(vec![done.clone(), alive.clone()]);
        let edge = started(keeps(50, dir.path(), &server)).await;
        let (mut has_ended, mut has_begun) = (false, false);
        while !(has_ended && has_begun) {
            let update = server.until(|_| true).await;
            has_ended |= is_end_of(&done)(&update);
            has_begun |= update.alloc_id == alive.alloc.id && running(&update);
        }
        let refused = |answer: FromEdge| match answer {
            FromEdge::Refused(RpcError::Unavailable { message } | RpcError::NotFound { message }) => message,
            other => panic!("{other:?}"),
        };
        let not_eligible = "No such allocation on client, or allocation not eligible for GC";
        assert_eq!(refused(collect(&server, Some(alive.alloc.id)).await), not_eligible);
        assert_eq!(refused(collect(&server, Some(AllocId::from_random([3; 16]))).await), not_eligible);
        assert!(dir_of(dir.path(), &done).exists(), "its logs and files can be read until then");

        // The server's acknowledgement may be under way yet.
        let all = async {
            while dir_of(dir.path(), &done).exists() {
                assert!(matches!(collect(&server, None).await, FromEdge::Done));
            }
        };
        tokio::time::timeout(PATIENCE, all).await.unwrap();
        assert!(dir_of(dir.path(), &alive).exists());
        let list = FilesRequest { alloc_id: done.alloc.id, path: "/".to_owned(), wanted: FilesWanted::List };
        let text = refused(server.ask(ToEdge::Files(list)).await.head().await);
        assert!(text.ends_with("no such file or directory"), "{text}");
        let asked = ReadLogs {
            alloc_id: done.alloc.id,
            task: "t".to_owned(),
            stream: "stdout".to_owned(),
            ..ReadLogs::default()
        };
        let text = refused(server.ask(ToEdge::ReadLogs(asked)).await.head().await);
        assert_eq!(text, format!("state for allocation {} not found on client", done.alloc.id));

        // The server goes on naming it as one that shall run, to this agent and to the next one.
        let is_new = batch(4, "exit 0");
        server.want(vec![done.clone(), alive.clone(), is_new.clone()]);
        server.until(is_end_of(&is_new)).await;
        edge.stop().await;
        let edge = started(keeps(50, dir.path(), &server)).await;
        let newer = batch(5, "exit 0");
        server.want(vec![done.clone(), alive.clone(), newer.clone()]);
        server.until(is_end_of(&newer)).await;
        assert_eq!(std::fs::read_to_string(&runs).unwrap(), "run\n");
        assert!(!dir_of(dir.path(), &done).exists());
        end(edge, dir.path(), &server).await;
    });
}

pub fn ended_allocs_make_room_but_not_before_their_data_was_taken_over() {
    run(async || {
        let dir = tempfile::tempdir().unwrap();
        let mut server = FakeServer::start().await;
        let sticky = |mut wanted: WantedAlloc| {
            let group = &mut Arc::make_mut(&mut wanted.job).task_groups[0];
            group.ephemeral_disk = EphemeralDisk { sticky: true, ..EphemeralDisk::default() };
            wanted
        };
        let first = sticky(batch(1, "echo kept > local/data"));
        let second = batch(2, "exit 0");
        let mut third = sticky(batch(3, "test $(cat local/data) = kept"));
        third.alloc.previous_allocation = Some(first.alloc.id);
        server.want(vec![first.clone()]);
        let edge = started(keeps(1, dir.path(), &server)).await;
        server.until(is_end_of(&first)).await;
        server.want(vec![first.clone(), third.clone()]);
        let update = server.until(is_end_of(&third)).await;
        assert_eq!(update.client_status, ClientStatus::Complete, "{update:#?}");
        gone(&dir_of(dir.path(), &first)).await;

        server.want(vec![first.clone(), third.clone(), second.clone()]);
        server.until(is_end_of(&second)).await;
        gone(&dir_of(dir.path(), &third)).await;
        assert!(dir_of(dir.path(), &second).exists(), "one stays");
        end(edge, dir.path(), &server).await;
    });
}
