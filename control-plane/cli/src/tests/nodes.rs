use serde_json::{Value, json as j};

use super::{Agent, Line, json, text};

fn stub(id: &str, name: &str, class: &str) -> Value {
    j!({
        "ID": id, "NodePool": "default", "Datacenter": "dc1", "Name": name, "NodeClass": class, "Drain": false,
        "SchedulingEligibility": "eligible", "Status": "ready", "Address": "127.0.0.1", "Version": "2.0.6-dev",
        "Attributes": { "os.name": "debian" },
    })
}

#[test]
fn lists_of_nodes() {
    let agent = Agent::start(&[
        ("GET /v1/nodes", vec![json(j!([stub("4f2b771a-cdb5-281b-868a-8915203016a2", "alpha", "")]))]),
        (
            "GET /v1/node/4f2b771a-cdb5-281b-868a-8915203016a2/allocations",
            vec![json(j!([{ "ClientStatus": "running" }, { "ClientStatus": "complete" }]))],
        ),
    ]);
    agent.run("node status").printed(
        "\
ID        Node Pool  DC   Name   Class   Drain  Eligibility  Status
4f2b771a  default    dc1  alpha  <none>  false  eligible     ready",
    );
    agent.run("node status -verbose").printed(
        "\
ID                                    Node Pool  DC   Name   Class   Address    Version    Drain  Eligibility  Status
4f2b771a-cdb5-281b-868a-8915203016a2  default    dc1  alpha  <none>  127.0.0.1  2.0.6-dev  false  eligible     ready",
    );
    agent.run("node-status -allocs").printed(
        "\
ID        Node Pool  DC   Name   Class   Drain  Eligibility  Status  Running Allocs
4f2b771a  default    dc1  alpha  <none>  false  eligible     ready   1",
    );
    agent.run("node status -os").printed(
        "\
ID        Node Pool  DC   Name   Class   OS      Drain  Eligibility  Status
4f2b771a  default    dc1  alpha  <none>  debian  false  eligible     ready",
    );
    agent.run("node status -quiet").printed("4f2b771a-cdb5-281b-868a-8915203016a2");
    agent.run("node status -t '{{range .}}{{.Name}}{{end}}'").printed("alpha");
    agent.run("node status -filter 'Status==\"down\"'");
    assert_eq!(agent.asked().last().unwrap(), "GET /v1/nodes?filter=Status%3D%3D%22down%22");
    agent.run("node status -json -t x").failed("Both json and template formatting are not allowed");
}

#[test]
fn nothing_found() {
    let agent = Agent::start(&[
        (
            "GET /v1/nodes",
            vec![
                json(j!([])),
                json(j!([])),
                text(500, "node lookup failed: index error: Invalid UUID: encoding/hex: invalid byte: U+006E 'n'"),
                text(403, "Permission denied"),
            ],
        ),
        ("GET /v1/agent/self", vec![json(j!({ "stats": { "nomad": {} } }))]),
    ]);
    agent.run("node status").printed("No nodes registered");
    agent.run("node status 00").failed("No node(s) with prefix \"00\" found");
    agent.run("node status nosuch").failed(
        "Error querying node info: Unexpected response code: 500 (node lookup failed: index error: Invalid UUID: encoding/hex: invalid byte: U+006E 'n')",
    );
    agent.run("node status").failed("Error querying node status: Unexpected response code: 403 (Permission denied)");
    agent.run("node status x").failed("Identifier must contain at least two characters.");
    agent.run("node status -self").failed("Drover not running in client mode");
}

/// A recorded node, its allocs and stats.
#[test]
fn a_whole_recorded_node() {
    let fixture = |text: &str| json(serde_json::from_str(text).unwrap());
    let id = "e67b052f-1d9b-8274-2cb0-75fd75b130da";
    let node = fixture(include_str!("../../tests/fixtures/node.json"));
    let allocs = fixture(include_str!("../../tests/fixtures/node-allocs.json"));
    let stats = fixture(include_str!("../../tests/fixtures/node-stats.json"));
    let agent = Agent::start(&[
        ("GET /v1/agent/self", vec![json(j!({ "stats": { "client": { "node_id": id } } }))]),
        ("GET /v1/node/e67b052f-1d9b-8274-2cb0-75fd75b130da", vec![node]),
        ("GET /v1/node/e67b052f-1d9b-8274-2cb0-75fd75b130da/allocations", vec![allocs]),
        ("GET /v1/client/stats", vec![stats, text(404, "No path to node"), text(404, "no route for x")]),
    ]);
    let ran = Line::new("node status -self").agent(&agent).now("2026-11-21T11:41:50Z").run();
    expect_test::expect_file!["../../tests/fixtures/node-status.txt"].assert_eq(&(ran.stdout + &ran.stderr));
    let short = Line::new("node status -self -short").agent(&agent).now("2026-11-21T11:41:50Z").run().stdout;
    assert!(short.contains("\nDrivers         = exec,java,") && !short.contains("Uptime"), "{short}");
    let ran = Line::new("node status -self").agent(&agent).now("2026-11-21T11:41:50Z").run();
    assert_eq!(ran.stderr, "error fetching node stats: Unexpected response code: 404 (No path to node)\n");
    assert_eq!(ran.status, 0);
    let ran = Line::new("node status -self").agent(&agent).now("2026-11-21T11:41:50Z").run();
    assert_eq!(ran.stderr, "");
    assert!(!ran.stdout.contains("Utilization"), "{}", ran.stdout);
}

#[test]
fn metadata_is_set_and_shown() {
    let id = "e67b052f-1d9b-8274-2cb0-75fd75b130da";
    let shown = j!({
        "Meta": { "color": "red", "rack2": "" },
        "Dynamic": { "color": "red", "rack": null },
        "Static": { "rack": "r1" },
    });
    let agent = Agent::start(&[
        ("GET /v1/nodes", vec![json(j!([{ "ID": id, "Name": "alpha" }])), json(j!([]))]),
        ("POST /v1/client/metadata", vec![json(shown.clone()), text(400, "\"a b\" is invalid")]),
        ("GET /v1/client/metadata", vec![json(shown)]),
    ]);
    let nothing = "Must specify -unset or at least 1 key=value pair";
    agent.run("node meta apply").failed(nothing);
    agent.run("node meta apply -node-id e67b -unset rack,dyn color=red").printed("");
    agent
        .run("node meta apply x")
        .failed("Error applying dynamic node metadata: Unexpected response code: 400 (\"a b\" is invalid)");
    agent.run("node meta read -node-id 00").failed("No node(s) with prefix or id \"00\" found");
    agent.run("node meta read").printed(
        "All Meta\ncolor = red\nrack2 = <none>\n\nDynamic Meta\ncolor = red\nrack  = <unset>\n\nStatic Meta\nrack = r1",
    );
}
