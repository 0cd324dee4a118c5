use serde_json::json as j;

use super::{Agent, Line, json, text};

fn team() -> serde_json::Value {
    j!({
        "Name": "team", "Description": "Team space", "Quota": "", "Meta": { "contact": "x" },
        "Capabilities": { "EnabledTaskDrivers": ["raw_exec"], "DisabledTaskDrivers": null },
    })
}

fn default() -> serde_json::Value {
    j!({ "Name": "default", "Description": "Default shared namespace", "Capabilities": null, "Meta": null })
}

#[test]
fn lists_and_shows() {
    let agent = Agent::start(&[("GET /v1/namespaces", vec![json(j!([team(), default()])), json(j!([team()]))])]);
    agent.run("namespace list").printed(
        "\
Name     Description
default  Default shared namespace
team     Team space",
    );
    agent.run("namespace status team").printed(
        "\
Name                   = team
Description            = Team space
Quota                  = <none>
Enabled Drivers        = raw_exec
Disabled Drivers       = <none>
Enabled Network Modes  = *
Disabled Network Modes = <none>

Metadata
contact = x",
    );
    agent.run("namespace inspect -t {{.Name}} team").printed("team");
    assert_eq!(agent.asked()[1], "GET /v1/namespaces?prefix=team");
}

#[test]
fn a_name_that_several_begin_with_or_none() {
    let two = j!([{ "Name": "dev1" }, { "Name": "dev2" }]);
    let agent = Agent::start(&[("GET /v1/namespaces", vec![json(two), json(j!([]))])]);
    agent.run("namespace status dev").failed(
        "\
Prefix matched multiple namespaces

Name  Description
dev1  <none>
dev2  <none>",
    );
    let none = "Error retrieving namespaces: Namespace \"nosuch\" matched no namespaces";
    agent.run("namespace status nosuch").failed(none);
}

#[test]
fn applies_by_name_and_by_file() {
    let agent = Agent::start(&[
        ("GET /v1/namespace/dev", vec![text(404, "Namespace not found"), json(team())]),
        ("PUT /v1/namespace", vec![text(200, "")]),
    ]);
    agent.run("namespace apply -description 'Dev space' dev").printed("Successfully applied namespace \"dev\"!");
    // What the flags do not say stays.
    agent.run("namespace apply -description new dev").printed("Successfully applied namespace \"team\"!");
    let file = "name = \"dev\"\ncapabilities {\n  disabled_task_drivers = [\"exec\"]\n}\n";
    Line::new("namespace apply -").agent(&agent).stdin(file).run().printed("Successfully applied namespace \"dev\"!");
    Line::new("namespace apply -json -")
        .agent(&agent)
        .stdin("{\"Name\":\"j\"}")
        .run()
        .printed("Successfully applied namespace \"j\"!");
    let puts: Vec<String> = agent.asked().into_iter().filter(|line| line.starts_with("PUT")).collect();
    assert_eq!(puts[0], r#"PUT /v1/namespace {"Description":"Dev space","Name":"dev"}"#);
    assert!(puts[1].contains(r#""Description":"new""#) && puts[1].contains(r#""Meta":{"contact":"x"}"#), "{}", puts[1]);
    assert!(puts[2].contains(r#""DisabledTaskDrivers":["exec"]"#), "{}", puts[2]);
    let wrong = Line::new("namespace apply -").agent(&agent).stdin("colour = \"red\"").run();
    assert_eq!(wrong.status, 1);
    assert!(
        wrong.stderr.starts_with("Error parsing namespace specification: stdin:1:1: Unsupported argument"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn deletes() {
    let agent = Agent::start(&[
        ("DELETE /v1/namespace/dev", vec![text(200, "")]),
        ("DELETE /v1/namespace/default", vec![text(500, "can not delete default namespace")]),
    ]);
    agent.run("namespace delete dev").printed("Successfully deleted namespace \"dev\"!");
    agent
        .run("namespace delete default")
        .failed("Error deleting namespace: Unexpected response code: 500 (can not delete default namespace)");
}
