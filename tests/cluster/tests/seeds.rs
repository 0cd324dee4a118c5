//! The three files of the getting-started guide as they stand: a server and two clients on one host, and the guide's flow.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::process::Child;

use drover_cluster::jobs::SETTLE_MAX;
use drover_cluster::room::{Room, end};
use drover_harness::wait_for;
use rustix::process::Signal;

/// The guide's job with `exec` in place of docker.
fn job(count: usize, seconds: u32) -> String {
    format!(
        r#"job "example" {{
  datacenters = ["dc1"]
  type = "service"
  update {{
    max_parallel = 1
    min_healthy_time = "100ms"
    health_check = "task_states"
  }}
  group "cache" {{
    count = {count}
    task "redis" {{
      driver = "exec"
      # The first process of a task of its own hears no signal that it has not asked for.
      kill_timeout = "1s"
      config {{
        command = "/bin/sh"
        args = ["-c", "echo server {seconds}; exec sleep {seconds}"]
      }}
      resources {{
        cpu = 50
        memory = 32
      }}
    }}
  }}
}}
"#
    )
}

/// The table beneath a title (or from the first line, for none), as cells; the heading is the first row.
fn table(text: &str, title: Option<&str>) -> Vec<Vec<String>> {
    text.lines()
        .skip_while(|line| title.is_some_and(|title| *line != title))
        .skip(usize::from(title.is_some()))
        .take_while(|line| !line.is_empty())
        .map(|line| {
            assert_eq!(line, line.trim_end(), "blanks at the end of {line:?}");
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
        })
        .collect()
}

/// Values of a column.
fn column(rows: &[Vec<String>], name: &str) -> Vec<String> {
    let at = rows[0].iter().position(|cell| cell == name);
    let at = at.unwrap_or_else(|| panic!("no column {name}: {rows:?}"));
    rows[1..].iter().map(|row| row[at].clone()).collect()
}

fn two_ready_nodes(room: &Room) {
    let nodes = wait_for("two ready nodes", SETTLE_MAX, || {
        let said = room.drover(&["node", "status"]);
        if said.stdout.matches(" ready").count() == 2 {
            Ok(table(&said.stdout, None))
        } else {
            let logs = ["server", "client1", "client2"].map(|name| room.log(name));
            Err(format!("{said:#?}\n{}", logs.join("\n")))
        }
    });
    let heading = ["ID", "Node Pool", "DC", "Name", "Class", "Drain", "Eligibility", "Status"];
    assert_eq!(nodes[0], heading);
    let mut names = column(&nodes, "Name");
    names.sort();
    assert_eq!(names, ["client1", "client2"]);
    for row in &nodes[1..] {
        assert_eq!(row[4..], ["<none>", "false", "eligible", "ready"], "{nodes:?}");
    }
}

/// `status example` with its allocs, newest first.
fn status(room: &Room) -> (String, Vec<Vec<String>>) {
    let text = room.drover_ok(&["status", "example"]);
    let allocs = table(&text, Some("Allocations"));
    let heading = ["ID", "Node ID", "Task Group", "Version", "Desired", "Status", "Created", "Modified"];
    assert_eq!(allocs[0], heading, "{text}");
    let summary = table(&text, Some("Summary"));
    let heading = ["Task Group", "Queued", "Starting", "Running", "Failed", "Complete", "Lost", "Unknown"];
    assert_eq!(summary[0], heading, "{text}");
    (text, allocs)
}

/// Waits for the row of the group in the summary.
fn wait_for_summary(room: &Room, running: &str, complete: &str) {
    wait_for("the summary", SETTLE_MAX, || {
        let (text, _) = status(room);
        let row = table(&text, Some("Summary")).remove(1);
        if row == ["cache", "0", "0", running, "0", complete, "0", "0"] { Ok(()) } else { Err(text) }
    });
}

fn start(room: &Room) -> [Child; 3] {
    let files = [
        ("server", include_str!("../../fixtures/agent-config/server.hcl")),
        ("client1", include_str!("../../fixtures/agent-config/client1.hcl")),
        ("client2", include_str!("../../fixtures/agent-config/client2.hcl")),
    ];
    files.map(|(name, text)| {
        let file = format!("{name}.hcl");
        std::fs::write(room.dir().join(&file), text).unwrap();
        room.agent("drover", name, &["-config", &file])
    })
}

#[test]
fn the_guides_three_files_make_a_cluster_that_runs_its_job() {
    let Some(room) = Room::new() else { return };
    let mut agents = start(&room);
    two_ready_nodes(&room);
    let log = room.log("server");
    for line in [
        "==> WARNING: Bootstrap mode enabled! Potentially unsafe operation.",
        "==> Starting drover agent...",
        "==> drover agent configuration:",
        "                Client: false",
        "             Log Level: DEBUG",
        "                Region: global (DC: dc1)",
        "                Server: true",
        "==> drover agent started! Log data will stream in below:",
    ] {
        assert!(log.lines().any(|l| l == line), "no line {line:?} in\n{log}");
    }
    assert!(log.contains("cluster leadership acquired"), "{log}");
    let members = table(&room.drover_ok(&["server", "members"]), None);
    assert_eq!(column(&members, "Status"), ["alive"], "{members:?}");
    assert_eq!(column(&members, "Leader"), ["true"], "{members:?}");

    // The first run, as planned.
    let file = room.dir().join("example.nomad.hcl");
    std::fs::write(&file, job(1, 300)).unwrap();
    let plan = room.drover(&["job", "plan", "example.nomad.hcl"]);
    assert_eq!(plan.code, 1, "{plan:#?}");
    assert!(
        plan.stdout.starts_with(
            "+ Job: \"example\"\n+ Task Group: \"cache\" (1 create)\n  + Task: \"redis\" (forces create)\n\n\
             Scheduler dry-run:\n- All tasks successfully allocated.\n\nJob Modify Index: 0\n"
        ),
        "{plan:#?}"
    );
    let run = room.drover_ok(&["job", "run", "example.nomad.hcl"]);
    for part in [
        ": Monitoring evaluation \"",
        ": Evaluation triggered by job \"example\"\n",
        ": Evaluation within deployment: \"",
        "\", group \"cache\"\n",
        ": Evaluation status changed: \"pending\" -> \"complete\"\n",
        "finished with status \"complete\"\n",
    ] {
        assert!(run.contains(part), "no {part:?} in {run}");
    }

    // Three of them, over both nodes; the one that runs is left alone.
    std::fs::write(&file, job(3, 300)).unwrap();
    let plan = room.drover(&["job", "plan", "example.nomad.hcl"]);
    assert!(plan.stdout.contains("(2 create, 1 in-place update)\n"), "{plan:#?}");
    let command = plan
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("drover job run -check-index "))
        .unwrap_or_else(|| panic!("no command to run: {plan:#?}"));
    let (index, name) = command.split_once(' ').unwrap();
    let run = room.drover_ok(&["job", "run", "-check-index", index, name]);
    assert_eq!(run.matches(" created: node ").count(), 2, "{run}");
    assert_eq!(run.matches(" modified: node ").count(), 1, "{run}");
    wait_for_summary(&room, "3", "0");
    let (text, allocs) = status(&room);
    let mut nodes = column(&allocs, "Node ID");
    nodes.sort();
    nodes.dedup();
    assert_eq!(nodes.len(), 2, "all on one node: {text}");
    let again = room.drover(&["job", "run", "-check-index", index, name]);
    assert_eq!(again.code, 1, "{again:#?}");
    assert!(again.stderr.contains("conflicting job modify index"), "{again:#?}");

    // Another text of the task: one after the other.
    std::fs::write(&file, job(3, 301)).unwrap();
    let plan = room.drover(&["job", "plan", "example.nomad.hcl"]);
    assert!(
        plan.stdout.contains(
            "+/- Task Group: \"cache\" (1 create/destroy update, 2 ignore)\n  \
             +/- Task: \"redis\" (forces create/destroy update)\n    +/- Config {\n"
        ),
        "{plan:#?}"
    );
    room.drover_ok(&["job", "run", "example.nomad.hcl"]);
    wait_for_summary(&room, "3", "3");
    let (text, allocs) = status(&room);
    assert!(text.contains("Description = Deployment completed successfully\n"), "{text}");
    let rows = column(&allocs, "Version").into_iter().zip(column(&allocs, "Desired"));
    let rows: Vec<_> = rows.zip(column(&allocs, "Status")).collect();
    let new =
        rows.iter().filter(|((version, desired), status)| version == "2" && desired == "run" && status == "running");
    assert_eq!(new.count(), 3, "{text}");
    let deployed = table(&text, Some("Deployed"));
    assert_eq!(deployed[1][..5], ["cache", "3", "3", "3", "0"], "{text}");

    // The log of one, through a client's own address.
    let alloc = column(&allocs, "ID").remove(0);
    wait_for("a line of the log", SETTLE_MAX, || {
        let said = room.drover(&["alloc", "logs", "-address=http://127.0.0.1:5657", &alloc, "redis"]);
        if said.stdout == "server 301\n" { Ok(()) } else { Err(format!("{said:#?}")) }
    });

    let stop = room.drover_ok(&["job", "stop", "example"]);
    assert!(stop.contains("finished with status \"complete\""), "{stop}");
    wait_for_summary(&room, "0", "6");
    let (text, _) = status(&room);
    assert!(text.contains("\nStatus        = dead (stopped)\n"), "{text}");

    for (agent, name) in agents.iter_mut().zip(["server", "client1", "client2"]).rev() {
        assert_eq!(end(agent, Signal::INT), Some(0), "{name}: {}", room.log(name));
    }
    let said = room.drover(&["status"]);
    assert_eq!(said.code, 1, "{said:#?}");
    assert_eq!(
        said.stderr,
        "Error querying jobs: Get \"http://127.0.0.1:4646/v1/jobs\": dial tcp 127.0.0.1:4646: connect: connection refused\n"
    );
}
