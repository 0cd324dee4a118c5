//! What comes about while the agent runs and nobody wants, and what is missed.

use std::os::unix::fs::DirBuilderExt;
use std::time::Duration;

use drover_edge_agent::EdgeHandle;
use drover_model::AllocId;
use drover_runner::drivers::supervised::Supervised;
use drover_runner::drivers::{DriverSettings, Drivers, StartOptions, TaskDirs, TaskStart};

use crate::server::FakeServer;
use crate::{PATIENCE, config, end, is_alive, pid, run, running, started, wanted};

/// How much of that kind nobody wanted so far.
pub fn unwanted(kind: &str) -> f64 {
    let totals = drover_metrics::process().totals();
    let of = totals.iter().filter(|(name, ..)| *name == "nomad.client.audit.unwanted").flat_map(|(.., series)| series);
    of.filter(|series| series.labels.iter().any(|(_, value)| value == kind)).map(|series| series.total.sum).sum()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited too long until {what}"));
}

/// A task that another hand has started with the supervisor of an edge.
fn strange_task(edge: &EdgeHandle, dir: &std::path::Path, id: &str) -> i32 {
    let options = StartOptions::new(dir.join("client/supervisor.sock"), edge.node_id().to_string());
    let supervised = Supervised::connect_or_start(options).unwrap();
    let settings = DriverSettings { raw_exec_enabled: true, ..DriverSettings::default() };
    let drivers = Drivers::on_supervisor(&supervised, &settings).unwrap();
    let task = TaskStart {
        id: id.to_owned(),
        config: [("command".to_owned(), "/bin/sleep".into()), ("args".to_owned(), vec!["1000"].into())].into(),
        dirs: TaskDirs { alloc_dir: dir.to_owned(), task_dir: dir.to_owned() },
        ..TaskStart::default()
    };
    drivers.get("raw_exec").unwrap().start(task).unwrap().pid
}

pub fn what_comes_about_and_nobody_wants_goes() {
    run(async || {
        let dir = tempfile::tempdir().unwrap();
        let mut server = FakeServer::start().await;
        let wanted = wanted("echo $$ > pid; exec sleep 1000");
        server.want(vec![wanted.clone()]);
        let mut settings = config(dir.path(), &server);
        settings.audit_every = Duration::from_millis(200);
        let edge = started(settings).await;
        server.until(running).await;
        let kept = pid(dir.path(), &wanted).await;

        let (tasks, dirs) = (unwanted("task"), unwanted("directory"));
        let strangers = [
            strange_task(&edge, dir.path(), &format!("{}.t", AllocId::from_random([8; 16]))),
            // Of an alloc that is wanted, and no task of it.
            strange_task(&edge, dir.path(), &format!("{}.other", wanted.alloc.id)),
            strange_task(&edge, dir.path(), "stranger"),
        ];
        let left = dir.path().join("alloc").join(AllocId::from_random([7; 16]).to_string());
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(left.join("alloc/logs")).unwrap();
        std::fs::write(left.join("alloc/logs/t.stdout.0"), "old").unwrap();
        let others = dir.path().join("alloc/not-an-alloc");
        std::fs::create_dir(&others).unwrap();
        until("what nobody wants is gone", || !left.exists() && !strangers.iter().any(|pid| is_alive(*pid))).await;
        until("it is counted", || unwanted("task") - tasks >= 3.0 && unwanted("directory") - dirs >= 1.0).await;
        assert_eq!((unwanted("task") - tasks, unwanted("directory") - dirs), (3.0, 1.0), "more than that was counted");
        assert!(is_alive(kept) && others.exists());
        end(edge, dir.path(), &server).await;
    });
}
