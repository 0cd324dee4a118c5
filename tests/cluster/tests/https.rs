//! The HTTP API behind TLS, as operators set it up and people use it from the command line.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::path::Path;
use std::time::Duration;

use drover_cluster::cli::{Said, drover};
use drover_cluster::jobs::{job_text, shell, write};
use drover_harness::binaries::binary;
use drover_harness::{Agent, AgentConfig, processes, wait_for};
use rustix::process::Signal;

const WAIT: Duration = Duration::from_secs(120);

/// Writes a certificate for 127.0.0.1 and `agent.example` that is its own authority, and its key.
fn issue(dir: &Path) {
    let names = vec!["127.0.0.1".to_owned(), "agent.example".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    write(dir, "cert.pem", &made.cert.pem());
    write(dir, "key.pem", &made.signing_key.serialize_pem());
}

fn config(name: &str, certs: &Path) -> AgentConfig {
    let mut config = AgentConfig::both(name);
    let dir = certs.display();
    config.more.push_str(&format!(
        "tls {{\n  http = true\n  ca_file = \"{dir}/cert.pem\"\n  cert_file = \"{dir}/cert.pem\"\n  key_file = \"{dir}/key.pem\"\n}}\n"
    ));
    config
}

#[test]
fn the_command_line_reaches_an_agent_by_https() {
    let certs = tempfile::tempdir().unwrap();
    issue(certs.path());
    let known = certs.path().join("known.pem");
    std::fs::copy(certs.path().join("cert.pem"), &known).unwrap();
    let known = known.display().to_string();
    let agent = Agent::spawn(&binary("drover"), config("secured", certs.path()));
    let address = format!("https://127.0.0.1:{}", agent.config().http);
    let call = |words: &[&str], flags: &[&str], rest: &[&str]| -> Said {
        drover(&address, agent.dir(), &[words, flags, rest].concat())
    };
    let trusting: &[&str] = &["-ca-cert", &known];
    wait_for("a ready node", WAIT, || {
        let said = call(&["node", "status"], trusting, &[]);
        if said.stdout.contains(" ready") { Ok(()) } else { Err(format!("{said:#?}\n{}", agent.log())) }
    });

    // Whoever reads the node's address knows how to dial it.
    let node = call(&["node", "status", "-self", "-json"], trusting, &[]);
    assert!(node.stdout.contains("\"TLSEnabled\": true"), "{node:#?}");
    let check = |flags: &[&str], code: i32, expected: &str| {
        let said = call(&["node", "status"], flags, &[]);
        assert_eq!(said.code, code, "{flags:?}: {said:#?}");
        assert!(format!("{}{}", said.stdout, said.stderr).contains(expected), "{flags:?}: {said:#?}");
    };
    check(&["-tls-skip-verify"], 0, " ready");
    check(&["-ca-cert", &known, "-tls-server-name", "agent.example"], 0, " ready");
    check(&["-ca-cert", &known, "-tls-server-name", "other.example"], 1, "tls: invalid peer certificate");
    check(
        &["-ca-cert", "nofile"],
        1,
        "Error initializing client: Error loading CA File: open nofile: no such file or directory",
    );
    check(&[], 1, "Error ");
    let plain = drover(&agent.address(), agent.dir(), &["node", "status"]);
    assert!(plain.code == 1 && plain.stderr.contains("400 (this port takes HTTPS only)"), "{plain:#?}");

    let job = job_text("hello", "batch", 1, "raw_exec", &shell("echo said by tls"));
    write(agent.dir(), "hello.nomad.hcl", &job);
    let said = call(&["job", "run"], &[trusting, &["-detach"]].concat(), &["hello.nomad.hcl"]);
    assert_eq!(said.code, 0, "{said:#?}");
    wait_for("the task's log", WAIT, || {
        let said = call(&["alloc", "logs"], &[trusting, &["-job"]].concat(), &["hello"]);
        if said.stdout == "said by tls\n" { Ok(()) } else { Err(format!("{said:#?}")) }
    });

    issue(certs.path());
    let renewed = certs.path().join("cert.pem").display().to_string();
    processes::signal(agent.pid(), Signal::HUP);
    wait_for("the new certificate", WAIT, || {
        let said = call(&["node", "status"], &["-ca-cert", &renewed], &[]);
        if said.code == 0 { Ok(()) } else { Err(format!("{said:#?}\n{}", agent.log())) }
    });
    check(trusting, 1, "tls: invalid peer certificate");
}

#[test]
fn a_certificate_that_can_not_be_read_ends_the_start() {
    let certs = tempfile::tempdir().unwrap();
    issue(certs.path());
    let key = certs.path().join("key.pem");
    std::fs::remove_file(&key).unwrap();
    let mut agent = Agent::spawn(&binary("drover"), config("unsecured", certs.path()));
    let code = wait_for("the agent's end", WAIT, || agent.ended().ok_or_else(|| agent.log()));
    let log = agent.log();
    assert_eq!(code, 1, "{log}");
    let expected = format!("==> Error starting agent: tls: read a private key from {}: ", key.display());
    assert!(log.contains(&expected), "{log}");
    assert!(!agent.dir().join("data/server").exists(), "nothing else was started");
}
