use serde_json::json as j;

use super::{Agent, Line, json};

#[test]
fn making_tokens() {
    let answer = j!({ "Token": "drover-join-1-abc", "ID": "0a1b2c3d-1", "Role": "client", "UsesLeft": 3, "ExpiresAt": "2026-11-21T12:27:39Z" });
    let agent = Agent::start(&[("POST /v1/operator/join-token", vec![json(answer)])]);
    agent.run("node join-token create -uses 3 -ttl 1h -node-pool edge -datacenter dc2").ended(
        0,
        "drover-join-1-abc",
        "Good for 3 machines, until 2026-11-21T12:27:39Z. It is not shown again.",
    );
    assert_eq!(
        agent.asked()[0],
        r#"POST /v1/operator/join-token {"Datacenter":"dc2","NodePool":"edge","Role":"client","TTL":"1h0m0s","Uses":3}"#
    );
    agent.run("node join-token create -uses 0").failed("-uses must be a positive number");
    agent
        .run("node join-token create -ttl soon")
        .failed("Invalid -ttl value \"soon\": it must be a duration, as in 30m or 24h");
}

#[test]
fn listing_tokens() {
    let token = j!({ "ID": "0a1b2c3d-1", "Role": "client", "UsesLeft": null, "ExpiresAt": "2026-11-21T12:27:39Z", "NodePool": "edge" });
    let agent = Agent::start(&[("GET /v1/operator/join-token", vec![json(j!([token])), json(j!([]))])]);
    agent.run("node join-token list").printed(
        "\
ID        Role    Uses Left  Expires               Node Pool  DC
0a1b2c3d  client  unlimited  2026-11-21T12:27:39Z  edge       <none>",
    );
    agent.run("node join-token list").printed("No join tokens found");
    assert_eq!(Line::new("node join-token").run().status, 1);
}
