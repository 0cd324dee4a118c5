//! An agent that can't start, or can't go on, says why and loses nothing.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;

use drover_cluster::cli::{Said, drover, drover_ok, said};
use drover_cluster::jobs::{SETTLE_MAX, job_text, shell, text, wait_for_status, write};
use drover_cluster::room::{Room, end, ended};
use drover_harness::binaries::binary;
use drover_harness::output::output;
use drover_harness::{Agent, AgentConfig, wait_for};
use rustix::process::Signal;

/// Runs an agent that is expected to refuse its start.
fn refused(dir: &Path, config: &str) -> Said {
    std::fs::write(dir.join("agent.hcl"), config).unwrap();
    let mut command = Command::new(binary("drover"));
    command.args(["agent", "-config", "agent.hcl"]).current_dir(dir);
    let said = said(output(&mut command));
    assert_eq!(said.code, 1, "{config}\n{said:#?}");
    said
}

#[test]
fn a_configuration_that_can_not_hold_is_refused_with_place_and_remedy() {
    let cases: [(&str, &str, &[&str]); 5] = [
        ("server {\n  enabld = true\n}\n", "", &["agent.hcl:2", "enabld", "enabled"]),
        ("data_dri = \"/x\"\n", "", &["agent.hcl:1", "data_dri", "data_dir"]),
        (
            "bind_addr = \"0.0.0.0\"\nserver {\n  enabled = true\n}\n",
            "data",
            &["HTTP", "0.0.0.0:4646", "tls { http = true", "tls { http = false }", "127.0.0.1"],
        ),
        ("server {\n  enabled = true\n}\n", "", &["data_dir"]),
        ("region = \"Bad_Region\"\nserver {\n  enabled = true\n}\n", "data", &["Bad_Region", "DNS label"]),
    ];
    for (config, data, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        let mut full = config.to_owned();
        if !data.is_empty() {
            full.push_str(&format!("data_dir = {:?}\nports {{\n  rpc = 0\n}}\n", data_dir));
        }
        let said = refused(dir.path(), &full);
        for part in expected {
            assert!(said.stderr.contains(part), "no {part:?}: {said:#?}");
        }
        assert!(!data_dir.exists(), "the directory was touched: {config}");
    }
}

#[test]
fn a_directory_that_takes_no_files_is_named() {
    let Some(room) = Room::new() else { return };
    let mount = output(&mut room.command("/bin/mount", &["-t", "tmpfs", "-o", "ro", "none", "/mnt"]));
    assert!(mount.status.success(), "{mount:?}");
    for kind in ["-server", "-client"] {
        let mut agent = room.agent("drover", kind, &[kind, "-bootstrap-expect=1", "-data-dir=/mnt/data"]);
        let code = ended(&mut agent, "nothing can be written");
        let log = room.log(kind);
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains("==> Error starting agent: "), "{log}");
        assert!(log.contains("/mnt/data") && log.contains("Read-only file system"), "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[test]
fn data_of_another_region_or_server_is_not_touched() {
    let mut first = Agent::start(&binary("drover"), AgentConfig::server("first"));
    let mut second = Agent::start(&binary("drover"), AgentConfig::server("second"));
    write(first.dir(), "kept.nomad.hcl", &job_text("kept", "batch", 1, "raw_exec", &shell("true")));
    // It has no node: the job waits, and is there all the same.
    drover(&first.address(), first.dir(), &["job", "run", "-detach", "kept.nomad.hcl"]);
    first.terminate(Signal::INT);
    second.terminate(Signal::INT);

    let text = std::fs::read_to_string(first.dir().join("agent.hcl")).unwrap();
    let said = refused(first.dir(), &format!("region = \"elsewhere\"\n{text}"));
    assert!(said.stderr.contains("belongs to region global, not elsewhere"), "{said:#?}");
    std::fs::write(first.dir().join("agent.hcl"), &text).unwrap();

    // The log of one with the identity of the other.
    let raft = |agent: &Agent| agent.dir().join("data/server/raft");
    let aside = second.dir().join("aside");
    std::fs::rename(raft(&second), &aside).unwrap();
    std::fs::rename(raft(&first), raft(&second)).unwrap();
    second.start_again();
    let code =
        wait_for("the end of the one with another's log", SETTLE_MAX, || second.ended().ok_or_else(|| second.log()));
    assert_eq!(code, 1, "{}", second.log());
    assert!(second.log().contains("belongs to"), "{}", second.log());

    // Each with its own again: nothing is lost.
    std::fs::rename(raft(&second), raft(&first)).unwrap();
    std::fs::rename(&aside, raft(&second)).unwrap();
    for agent in [&mut first, &mut second] {
        agent.start_again();
        agent.wait_for_leader();
    }
    assert_eq!(first.get("/v1/job/kept").unwrap()["ID"], "kept");
    second.get("/v1/job/kept").unwrap_err();
}

#[test]
fn a_second_dev_agent_on_the_same_ports_says_so_and_leaves_the_first_alone() {
    let Some(room) = Room::new() else { return };
    let mut first = room.agent("drover", "first", &["-dev"]);
    wait_for("the first agent", SETTLE_MAX, || {
        let said = room.drover(&["node", "status"]);
        if said.stdout.contains(" ready") { Ok(()) } else { Err(room.log("first")) }
    });
    let mut second = room.agent("drover", "second", &["-dev"]);
    assert_eq!(ended(&mut second, "its ports are taken"), Some(1));
    let log = room.log("second");
    assert!(log.contains("127.0.0.1:4646") && log.contains("in use"), "{log}");
    assert!(room.drover_ok(&["node", "status"]).contains(" ready"));
    assert_eq!(end(&mut first, Signal::INT), Some(0), "{}", room.log("first"));
    let left: Vec<_> = std::fs::read_dir(room.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.to_str().unwrap().ends_with(".log")), "{left:?}");
}

#[test]
fn a_full_disk_refuses_and_keeps_what_was_acknowledged() {
    let Some(room) = Room::new() else { return };
    let mount = output(&mut room.command("/bin/mount", &["-t", "tmpfs", "-o", "size=32m", "none", "/mnt"]));
    assert!(mount.status.success(), "{mount:?}");
    let args = ["-server", "-bootstrap-expect=1", "-data-dir=/mnt/data", "-log-level=DEBUG"];
    let leads = |log: &str| {
        wait_for("a leader", SETTLE_MAX, || {
            let said = room.drover(&["job", "status"]);
            if said.code == 0 { Ok(()) } else { Err(format!("{said:#?}\n{}", room.log(log))) }
        });
    };
    let mut server = room.agent("drover", "before", &args);
    leads("before");

    // One byte after the other until nothing more fits, then jobs until one is refused.
    let filler = room.path("/mnt/filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    for size in [1 << 20, 1 << 12] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
    drop(file);
    let mut kept = Vec::new();
    let refused = (0..200).find_map(|number| {
        let id = format!("job-{number}");
        let padding = format!("      meta {{\n        padding = \"{}\"\n      }}\n", "x".repeat(20_000));
        let body = format!("{}{padding}", shell("true"));
        write(&room.dir(), "one.nomad.hcl", &job_text(&id, "batch", 1, "raw_exec", &body));
        let said = room.drover(&["job", "run", "-detach", "one.nomad.hcl"]);
        if said.code == 0 {
            kept.push(id);
            return None;
        }
        Some(said)
    });
    let refused = refused.expect("a full disk took 200 jobs");
    assert!(!refused.stderr.is_empty(), "{refused:#?}");
    // A log that failed is never waited for: the server has ended, and said why.
    let code = ended(&mut server, "its disk is full");
    let log = room.log("before");
    assert_eq!(code, Some(1), "{log}\n{refused:#?}");
    assert!(log.contains("==> Agent failed: ") && log.contains("No space left on device"), "{log}");
    assert!(!log.contains("panicked"), "{log}");

    // Without space it does not start either, and says why.
    let mut server = room.agent("drover", "without", &args);
    if let Ok(Some(status)) = wait_for("its end or its answers", SETTLE_MAX, || {
        let status = server.try_wait();
        let ended = matches!(status, Ok(Some(_)));
        if ended || room.drover(&["job", "status"]).code == 0 { Ok(status) } else { Err(room.log("without")) }
    }) {
        assert_eq!(status.code(), Some(1), "{}", room.log("without"));
        assert!(room.log("without").contains("No space left on device"), "{}", room.log("without"));
    } else {
        end(&mut server, Signal::INT);
    }

    std::fs::remove_file(&filler).unwrap();
    let mut server = room.agent("drover", "after", &args);
    leads("after");
    let jobs = room.drover_ok(&["job", "status"]);
    for id in &kept {
        assert!(jobs.contains(id.as_str()), "{id} is lost: {jobs}");
    }
    write(&room.dir(), "one.nomad.hcl", &job_text("later", "batch", 1, "raw_exec", &shell("true")));
    room.drover_ok(&["job", "run", "-detach", "one.nomad.hcl"]);
    assert_eq!(end(&mut server, Signal::INT), Some(0), "{}", room.log("after"));
}

/// Sends bytes to the agent's HTTP port and gives what comes back until it closes.
fn raw(agent: &Agent, head: &str, body: &[u8]) -> String {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", agent.config().http)).unwrap();
    stream.set_read_timeout(Some(SETTLE_MAX)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // It may close before all was sent.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    // A reset after the answer is no failure of it.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn an_oversized_request_is_refused_and_the_next_is_served() {
    let agent = Agent::start(&binary("drover"), AgentConfig::server("large"));
    let head = "PUT /v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9000000000\r\n\r\n";
    let answer = raw(&agent, head, b"{\"Job\":");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("request body too large"), "{answer}");
    // A job that the API takes and the log does not.
    let dir = agent.dir();
    let padding = format!("      meta {{\n        padding = \"{}\"\n      }}\n", "x".repeat(24 << 20));
    let body = format!("{}{padding}", shell("true"));
    write(dir, "large.nomad.hcl", &job_text("large", "batch", 1, "raw_exec", &body));
    let said = drover(&agent.address(), dir, &["job", "run", "-detach", "large.nomad.hcl"]);
    assert_eq!(said.code, 1, "{said:#?}");
    assert!(
        said.stderr.contains("large") && said.stderr.len() < 2000,
        "{}",
        &said.stderr[..said.stderr.len().min(3000)]
    );
    write(dir, "small.nomad.hcl", &job_text("small", "batch", 1, "raw_exec", &shell("true")));
    drover(&agent.address(), dir, &["job", "run", "-detach", "small.nomad.hcl"]);
    assert_eq!(agent.get("/v1/job/small").unwrap()["ID"], "small");
}

#[test]
fn a_client_alone_answers_by_asking_its_server() {
    let server = Agent::start(&binary("drover"), AgentConfig::server("asked"));
    let rpc = format!("127.0.0.1:{}", server.config().rpc);
    let client = Agent::spawn(&binary("drover"), AgentConfig::client("asking", &[rpc]));
    server.wait_for_nodes(1);
    client.wait_for_nodes(1);
    let (address, dir) = (client.address(), client.dir());
    let nodes = drover_ok(&address, dir, &["node", "status"]);
    assert!(nodes.contains("asking") && nodes.contains(" ready"), "{nodes}");
    assert_eq!(nodes, drover_ok(&server.address(), dir, &["node", "status"]));
    write(dir, "say.nomad.hcl", &job_text("say", "batch", 1, "raw_exec", &shell("echo said; echo wrong >&2")));
    let run = drover_ok(&address, dir, &["job", "run", "say.nomad.hcl"]);
    assert!(run.contains("finished with status \"complete\""), "{run}");
    let done = wait_for_status(&client, "say", "complete", 1).remove(0);
    let id = text(&done, "ID");
    // A busy disk has them a moment after the task's end.
    let logs = |address: &str, words: &[&str], expected: &str| {
        wait_for("the log", SETTLE_MAX, || match drover_ok(address, dir, &[&["alloc", "logs"], words].concat()) {
            said if said == expected => Ok(()),
            other => Err(other),
        });
    };
    logs(&address, &[id], "said\n");
    logs(&address, &["-stderr", "-job", "say"], "wrong\n");
    // From the start to the end of the task, then the follower ends too.
    logs(&server.address(), &[id], "said\n");
    let missing = drover(&address, dir, &["job", "status", "nosuch"]);
    assert_eq!((missing.code, missing.stderr.as_str()), (1, "No job(s) with prefix or ID \"nosuch\" found\n"));
}
