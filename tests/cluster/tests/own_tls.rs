//! Certificates of one's own, from the command that makes them to the agents that use them for RPC and HTTPS.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use drover_cluster::cli::{Said, drover};
use drover_harness::binaries::binary;
use drover_harness::{Agent, AgentConfig, processes, wait_for};
use rustix::process::Signal;

const WAIT: Duration = Duration::from_secs(120);

fn tls(dir: &Path, words: &[&str]) -> Said {
    drover("http://127.0.0.1:1", dir, &[&["tls"], words].concat())
}

fn tls_ok(dir: &Path, words: &[&str]) -> Said {
    let said = tls(dir, words);
    assert_eq!(said.code, 0, "{words:?}: {said:#?}");
    said
}

/// The block that names the files of that role.
fn block(certs: &Path, role: &str, more: &str) -> String {
    let dir = certs.display();
    format!(
        "tls {{\n  rpc = true\n  verify_server_hostname = true\n  ca_file = \"{dir}/drover-agent-ca.pem\"\n  \
         cert_file = \"{dir}/global-{role}-drover.pem\"\n  key_file = \"{dir}/global-{role}-drover-key.pem\"\n{more}}}\n"
    )
}

fn logged(agent: &Agent, text: &str) {
    wait_for(text, WAIT, || if agent.log().contains(text) { Ok(()) } else { Err(agent.log()) });
}

#[test]
fn the_commands_make_what_the_agents_use() {
    let certs = tempfile::tempdir().unwrap();
    let certs = certs.path();
    let made = tls_ok(certs, &["ca", "create"]);
    let expected =
        "==> CA certificate saved to: drover-agent-ca.pem\n==> CA certificate key saved to: drover-agent-ca-key.pem\n";
    assert_eq!(made.stdout, expected);
    let again = tls(certs, &["ca", "create"]);
    assert_eq!((again.code, &*again.stderr), (1, "CA certificate file 'drover-agent-ca.pem' already exists\n"));
    let made = tls_ok(certs, &["cert", "create", "-server", "-region", "global"]);
    let expected = "==> Using CA file drover-agent-ca.pem and CA key drover-agent-ca-key.pem\n\
                    ==> Server Certificate saved to global-server-drover.pem\n\
                    ==> Server Certificate key saved to global-server-drover-key.pem\n";
    assert_eq!(made.stdout, expected);
    assert!(made.stderr.starts_with("==> WARNING: Server Certificates grants authority to become a\n"), "{made:#?}");
    tls_ok(certs, &["cert", "create", "-client"]);
    tls_ok(certs, &["cert", "create", "-cli"]);
    let neither = tls(certs, &["cert", "create"]);
    assert_eq!((neither.code, &*neither.stderr), (1, "Please provide either -server, -client, or -cli\n"));
    let info = tls_ok(certs, &["cert", "info", "global-server-drover.pem"]).stdout;
    for line in [
        "Common Name    CN=server.global.drover",
        "DNS Names      [server.global.drover server.global.nomad localhost]",
        "IP Addresses   [127.0.0.1]",
    ] {
        assert!(info.lines().any(|found| found == line), "{line}: {info}");
    }
    assert!(tls_ok(certs, &["ca", "info", "drover-agent-ca.pem"]).stdout.contains("Permitted DNS Domains  []\n"));
    let mode = |name: &str| std::fs::metadata(certs.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("drover-agent-ca-key.pem"), mode("global-server-drover-key.pem")), (0o600, 0o600));

    // Server and client in one show the server's certificate, for HTTPS as well.
    let mut config = AgentConfig::both("own-1");
    config.more.push_str(&block(certs, "server", "  http = true\n  verify_https_client = true\n"));
    let server = Agent::spawn(&binary("drover"), config);
    let address = format!("https://127.0.0.1:{}", server.config().http);
    let path = |name: &str| certs.join(name).display().to_string();
    let (ca, cert, key) =
        (path("drover-agent-ca.pem"), path("global-cli-drover.pem"), path("global-cli-drover-key.pem"));
    let ask = |words: &[&str]| {
        let flags = ["-ca-cert", &ca, "-client-cert", &cert, "-client-key", &key];
        drover(&address, server.dir(), &[words, &flags].concat())
    };
    let nodes = |count: usize| {
        wait_for("ready nodes", WAIT, || {
            let said = ask(&["node", "status"]);
            if said.stdout.matches(" ready").count() == count {
                Ok(())
            } else {
                Err(format!("{said:#?}\n{}", server.log()))
            }
        });
    };
    nodes(1);
    let token = ask(&["node", "join-token", "create"]);
    assert!(token.code != 0 && token.stderr.contains("nobody needs a token"), "{token:#?}");

    // A client with a certificate is a node of its own; one without is told what it needs.
    let rpc = vec![format!("127.0.0.1:{}", server.config().rpc)];
    let mut config = AgentConfig::client("own-2", &rpc);
    config.more.push_str(&block(certs, "client", ""));
    let client = Agent::spawn(&binary("drover"), config);
    nodes(2);
    let without = Agent::spawn(&binary("drover"), AgentConfig::client("own-3", &rpc));
    logged(&without, "the servers of this region use certificates of an own authority: set tls { rpc = true");
    drop(without);

    // New files in the place of the old ones are taken up; nobody is lost by it.
    for role in ["server", "client"] {
        for file in [format!("global-{role}-drover.pem"), format!("global-{role}-drover-key.pem")] {
            std::fs::remove_file(certs.join(file)).unwrap();
        }
        tls_ok(certs, &["cert", "create", &format!("-{role}"), "-days", "10"]);
    }
    processes::signal(server.pid(), Signal::HUP);
    logged(&server, "rpc: certificate reloaded");
    logged(&server, "tls.cert_file ends soon");
    processes::signal(client.pid(), Signal::HUP);
    nodes(2);
}

#[test]
fn files_for_something_else_stop_the_start_with_the_command_that_helps() {
    let certs = tempfile::tempdir().unwrap();
    let certs = certs.path();
    tls_ok(certs, &["ca", "create"]);
    tls_ok(certs, &["cert", "create", "-client"]);
    let mut config = AgentConfig::server("own-wrong");
    config.more.push_str(&block(certs, "client", ""));
    let mut agent = Agent::spawn(&binary("drover"), config);
    wait_for("the end of the agent", WAIT, || match agent.ended() {
        Some(1) => Ok(()),
        other => Err(format!("{other:?}\n{}", agent.log())),
    });
    let log = agent.log();
    assert!(log.contains("is a certificate for client.global, this is server.global"), "{log}");
    assert!(log.contains("drover tls cert create -server -region global"), "{log}");
}
