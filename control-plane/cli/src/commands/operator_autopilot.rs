//! `drover operator autopilot get-config|set-config|health`

use drover_api_client::{Error, QueryOptions};
use drover_model::time::parse_duration;
use serde_json::Value;

use crate::call::{Call, Doing, Outcome, fail};
use crate::flags::{number, switch, text, truth};
use crate::grammar::Command;
use crate::output::json;
use crate::output::table::table;
use crate::output::text::quote;

const CONFIG: &str = "/v1/operator/autopilot/configuration";

/// The rules.
pub const GET_CONFIG: Command = Command {
    path: "operator autopilot get-config",
    summary: "Show the rules by which servers are looked after",
    flags: &[switch("json", "JSON."), text("t", "template", "The answer through a Go template.")],
    run: get_config,
    ..Command::BASE
};

/// New rules.
pub const SET_CONFIG: Command = Command {
    path: "operator autopilot set-config",
    summary: "Change the rules by which servers are looked after",
    flags: &[
        text("cleanup-dead-servers", "true|false", "Take dead servers out of the log's membership."),
        text("last-contact-threshold", "duration", "A server that was not heard for longer is not well."),
        number("max-trailing-logs", "A server that is more entries behind is not well."),
        number("min-quorum", "Never fewer voters than this by taking out dead ones."),
        text("server-stabilization-time", "duration", "A new server votes after it has been well for so long."),
    ],
    run: set_config,
    ..Command::BASE
};

/// How well the servers are.
pub const HEALTH: Command = Command {
    path: "operator autopilot health",
    summary: "Show how well the servers are",
    flags: &[switch("json", "JSON.")],
    run: health,
    ..Command::BASE
};

const FIELDS: [&str; 8] = [
    "CleanupDeadServers",
    "LastContactThreshold",
    "MaxTrailingLogs",
    "MinQuorum",
    "ServerStabilizationTime",
    "EnableRedundancyZones",
    "DisableUpgradeMigration",
    "EnableCustomUpgrades",
];

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn get_config(call: &mut Call) -> Outcome {
    call.no_args()?;
    call.check_data_flags()?;
    let answer = call.client()?.read::<Value>(CONFIG, &QueryOptions::default());
    let config = answer.doing("querying Autopilot configuration")?.value;
    if call.wants_data() {
        return call.print_data(&config);
    }
    let lines: Vec<String> = FIELDS.iter().map(|name| format!("{name} = {}", plain(&config[name]))).collect();
    call.ui.out(&lines.join("\n"));
    Ok(0)
}

fn set_config(call: &mut Call) -> Outcome {
    call.no_args()?;
    let client = call.client()?;
    let answer = client.read::<Value>(CONFIG, &QueryOptions::default());
    let mut config = answer.doing("querying Autopilot configuration")?.value;
    match call.flags.text("cleanup-dead-servers") {
        "" => {}
        text => match truth(text) {
            Some(is_on) => config["CleanupDeadServers"] = is_on.into(),
            None => return fail(format!("invalid boolean value {} for -cleanup-dead-servers", quote(text))),
        },
    }
    for (flag, field) in
        [("last-contact-threshold", "LastContactThreshold"), ("server-stabilization-time", "ServerStabilizationTime")]
    {
        match call.flags.text(flag) {
            "" => {}
            text if parse_duration(text).is_some() => config[field] = text.into(),
            text => return fail(format!("invalid duration {} for -{flag}", quote(text))),
        }
    }
    for (flag, field) in [("max-trailing-logs", "MaxTrailingLogs"), ("min-quorum", "MinQuorum")] {
        if let Some(number) = call.flags.number(flag) {
            config[field] = number.into();
        }
    }
    // Somebody else may have changed it meanwhile.
    let options = QueryOptions::default().with("cas", config["ModifyIndex"].to_string());
    let is_set = client.write::<bool>(CONFIG, &config, &options).doing("setting Autopilot configuration")?.value;
    if !is_set {
        return fail("Configuration could not be atomically updated, please try again");
    }
    call.ui.out("Configuration updated!");
    Ok(0)
}

fn health(call: &mut Call) -> Outcome {
    call.no_args()?;
    let answer = match call.client()?.read::<Value>("/v1/operator/autopilot/health", &QueryOptions::default()) {
        // Servers that are not well are an answer too.
        Err(Error::Refused { status: 429, body }) => {
            serde_json::from_str(&body).or_else(|error| fail(format!("Error reading Autopilot health: {error}")))?
        }
        other => other.doing("querying Autopilot health")?.value,
    };
    if call.flags.is_on("json") {
        call.ui.out(&json::pretty(&answer));
        return Ok(0);
    }
    let list = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
    let voters: Vec<String> = list("Voters").iter().map(plain).collect();
    let names = [
        "ID",
        "Name",
        "Address",
        "SerfStatus",
        "Version",
        "Leader",
        "Voter",
        "Healthy",
        "LastContact",
        "LastTerm",
        "LastIndex",
        "StableSince",
    ];
    let rows: Vec<Vec<String>> =
        list("Servers").iter().map(|server| names.iter().map(|name| plain(&server[name])).collect()).collect();
    let text = format!(
        "Healthy: {}\nFailureTolerance: {}\nLeader: {}\nVoters:  \n\t{}\nServers: \n{}",
        plain(&answer["Healthy"]),
        plain(&answer["FailureTolerance"]),
        plain(&answer["Leader"]),
        voters.join("\n"),
        table(&names, &rows)
    );
    call.ui.out(&text);
    Ok(0)
}
