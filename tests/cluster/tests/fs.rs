//! Files of an allocation through the CLI and the API.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use drover_cluster::cli::{drover, drover_ok};
use drover_cluster::jobs::{SETTLE_MAX, job_text, shell, text, wait_for_status, write};
use drover_harness::binaries::binary;
use drover_harness::output::Lines;
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
    let lines = Lines::of(following.stdout.take().unwrap());
    let next = || lines.next_line().unwrap().strip_prefix("line ").unwrap().parse().unwrap();
    let numbers: Vec<u64> = (0..30).map(|_| next()).collect();
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

/// What must not be seen by way of any path.
const OUTSIDE: &str = "OUTSIDE-OF-THE-ALLOC";
/// Its size, which no file inside has.
const OUTSIDE_BYTES: usize = 77_777;

/// The whole answer to a request, whatever it is.
fn raw(agent: &Agent, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", agent.config().http)).unwrap();
    stream.set_read_timeout(Some(SETTLE_MAX)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn escaped(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// `DROVER_PATHS=5000` asks for as many names by each route; what resolves them has 5,000 and swapped links beside its code.
#[test]
fn hostile_names_lead_nowhere_by_any_route() {
    let agent = Agent::start(&binary("drover"), AgentConfig::both("paths"));
    let (address, dir) = (agent.address(), agent.dir().to_path_buf());
    std::fs::create_dir(dir.join("outside")).unwrap();
    std::fs::write(dir.join("outside/hidden"), OUTSIDE.repeat(OUTSIDE_BYTES).split_at(OUTSIDE_BYTES).0).unwrap();
    let outside = dir.join("outside").display().to_string();
    let script = format!(
        "echo hello > local/f; ln -s {outside} local/abs; ln -s ../../../../../outside local/rel; ln -s abs local/chain; \
         ln -s /proc/self/root local/magic; ln -s {outside}/hidden ../alloc/logs/x.stdout.0; sleep 1000"
    );
    write(&dir, "paths.nomad.hcl", &job_text("paths", "service", 1, "raw_exec", &shell(&script)));
    drover_ok(&address, &dir, &["job", "run", "-detach", "paths.nomad.hcl"]);
    let alloc = text(&wait_for_status(&agent, "paths", "running", 1)[0], "ID").to_owned();
    wait_for("the links", SETTLE_MAX, || {
        let logs = dir.join("data/alloc").join(&alloc).join("alloc/logs/x.stdout.0");
        logs.symlink_metadata().map(drop).map_err(|error| error.to_string())
    });
    let mut dice = drover_cluster::dice::Dice::of_environment("hostile names");
    let ways =
        ["", "/", "../", "/../../", "work/local/abs/", "work/local/rel/", "work/local/chain/", "work/local/magic/"];
    let parts = [
        "..", ".", "", "work", "local", "abs", "rel", "chain", "magic", "hidden", "outside", "f", "\0", "%2e%2e",
        "\u{202e}", "etc", "passwd",
    ];
    let mut names = vec![
        "work/local/abs/hidden".to_owned(),
        "work/local/rel/hidden".to_owned(),
        "work/local/chain".to_owned(),
        "work/local/abs".to_owned(),
        "../../../outside/hidden".to_owned(),
        format!("{outside}/hidden"),
        format!("work/local/magic{outside}/hidden"),
        "alloc/logs/x.stdout.0".to_owned(),
        "x".repeat(5000),
    ];
    while names.len() < drover_cluster::dice::size("DROVER_PATHS", 200) {
        let way = ways[dice.roll(ways.len())];
        let rest: Vec<&str> = (0..1 + dice.roll(6)).map(|_| parts[dice.roll(parts.len())]).collect();
        names.push(format!("{way}{}", rest.join("/")));
    }
    let answers = |path: &str| {
        let path = escaped(path);
        [
            format!("ls/{alloc}?path={path}"),
            format!("stat/{alloc}?path={path}"),
            format!("cat/{alloc}?path={path}"),
            format!("readat/{alloc}?path={path}&offset=0&limit=100000"),
            format!("stream/{alloc}?path={path}&follow=false&plain=true"),
            format!("logs/{alloc}?task={path}&type=stdout&plain=true"),
        ]
        .map(|route| (raw(&agent, &format!("/v1/client/fs/{route}")), route))
    };
    assert!(answers("work/local/f")[2].0.contains("hello"), "an honest name is answered");
    for name in names.iter().map(String::as_str).chain(["x"]) {
        for (answer, route) in answers(name) {
            // A refusal may say the name that was asked for; a directory's list has it as a file's.
            let is_seen = [OUTSIDE, "\"Name\":\"hidden\"", &format!("\"Size\":{OUTSIDE_BYTES}"), "root:x:0:0"];
            assert!(is_seen.iter().all(|word| !answer.contains(word)), "{name:?} by {route}: {answer}");
        }
    }
    drover_ok(&address, &dir, &["job", "stop", "-purge", "-detach", "paths"]);
}
