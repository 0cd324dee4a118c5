//! Files of an allocation through the CLI and the API.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use drover_cluster::cli::{drover, drover_ok};
use drover_cluster::jobs::{SETTLE_MAX, job_text, shell, text, wait_for_status, write};
use drover_harness::binaries::binary;
use drover_harness::{Agent, AgentConfig, wait_for};

#[test]
fn files_are_listed_read_and_followed() {
    let agent = Agent::start(&binary("drover"), AgentConfig::both("fs"));
    let (address, dir) = (agent.address(), agent.dir().to_path_buf());
    let script = "mkdir local/many; i=0; while [ $i -lt 5000 ]; do i=$((i+1)); : > local/many/$i; done; echo hello > local/f; ln -s /etc/passwd local/out; i=0; while true; do i=$((i+1)); echo line $i; sleep 0.02; done";
    write(&dir, "files.nomad.hcl", &job_text("files", "service", 1, "raw_exec", &shell(script)));
    drover_ok(&address, &dir, &["job", "run", "-detach", "files.nomad.hcl"]);
    let alloc = text(&wait_for_status(&agent, "files", "running", 1)[0], "ID").to_owned();
    wait_for("the file", SETTLE_MAX, || {
        let said = drover(&address, &dir, &["alloc", "fs", &alloc, "work/local/f"]);
        if said.code == 0 && said.stdout == "hello\n" { Ok(()) } else { Err(format!("{said:?}")) }
    });
    let listed = drover_ok(&address, &dir, &["alloc", "fs", &alloc]);
    assert!(listed.starts_with("Mode ") && listed.contains("  alloc/") && listed.contains("  work/"), "{listed}");
    let logs = drover_ok(&address, &dir, &["alloc", "fs", &alloc, "alloc/logs"]);
    assert!(logs.contains("work.stdout.0") && logs.contains("work.stderr.0"), "{logs}");
    // More than one frame holds.
    let many = drover_ok(&address, &dir, &["alloc", "fs", &alloc, "work/local/many"]);
    assert_eq!(many.lines().count(), 5001);
    let stat = drover_ok(&address, &dir, &["alloc", "fs", "-stat", &alloc, "work/local/f"]);
    assert!(stat.contains("-rw-r--r--  6 B") && stat.contains("text/plain; charset=utf-8  f"), "{stat}");

    let root = dir.join("data/alloc").join(&alloc);
    let refused = |path: &str, expected: &str| {
        let said = drover(&address, &dir, &["alloc", "fs", &alloc, path]);
        assert_eq!((said.code, said.stderr.trim()), (1, expected), "{path}");
    };
    let missing = format!("Unexpected response code: 404 (stat {}/nosuch: no such file or directory)", root.display());
    refused("nosuch", &missing);
    refused("../..", "Unexpected response code: 500 (Path escapes the alloc directory)");
    refused("work/local/out", "Unexpected response code: 500 (Path escapes the alloc directory)");

    // What is added is heard at once.
    let mut following = std::process::Command::new(binary("drover"))
        .args(["alloc", "fs", "-f", "-tail", "-n", "1", &alloc, "alloc/logs/work.stdout.0"])
        .env("DROVER_ADDR", &address)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(following.stdout.take().unwrap()));
    let numbers: Vec<u64> =
        lines.take(30).map(|line| line.unwrap().strip_prefix("line ").unwrap().parse().unwrap()).collect();
    following.kill().unwrap();
    following.wait().unwrap();
    let expected: Vec<u64> = (numbers[0]..numbers[0] + 30).collect();
    assert_eq!(numbers, expected, "nothing is missing or doubled");

    let stats = drover_ok(&address, &dir, &["alloc", "status", "-stats", &alloc]);
    assert!(stats.contains("Memory Stats") && stats.contains("CPU Stats"), "{stats}");
    let host = drover_ok(&address, &dir, &["node", "status", "-self", "-stats"]);
    assert!(host.contains("Disk Stats") && host.contains("cpu0"), "{host}");
    drover_ok(&address, &dir, &["job", "stop", "-purge", "-detach", "files"]);
}
