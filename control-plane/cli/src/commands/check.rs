//! `drover check`: the agent's health for a monitoring system.

use std::time::Duration;

use drover_api_client::agent::AgentSelf;
use drover_model::time::{format_duration, parse_duration};

use crate::call::{Call, Outcome};
use crate::flags::number;
use crate::grammar::Command;
use crate::output::text::quote;

/// The command.
pub const COMMAND: Command = Command {
    path: "check",
    is_hidden: true,
    summary: "Check an agent's health",
    about: "Says nothing when all is well.\n\n\
            Exit status 0 when the agent is healthy, 1 when it is neither a server nor a client, 2 when it is ill or \
            does not answer.",
    flags: &[
        number("min-peers", "So many servers there must be in the region's log. Default: 0"),
        number("min-servers", "So many servers a client must know. Default: 1"),
    ],
    run,
    ..Command::BASE
};

const PASSING: i32 = 0;
const WARNING: i32 = 1;
const CRITICAL: i32 = 2;

fn run(call: &mut Call) -> Outcome {
    call.no_args()?;
    let min_peers = call.flags.number("min-peers").unwrap_or(0);
    let min_servers = call.flags.number("min-servers").unwrap_or(1);
    let about = match call.client()?.agent_self() {
        Ok(answer) => answer.value,
        Err(error) => {
            call.ui.out(&format!("unable to query agent info: failed querying self endpoint: {error}"));
            return Ok(CRITICAL);
        }
    };
    let problem = if about.stats.contains_key("nomad") {
        of_server(&about, min_peers)
    } else if about.stats.contains_key("client") {
        of_client(&about, min_servers)
    } else {
        return Ok(WARNING);
    };
    match problem {
        None => Ok(PASSING),
        Some(problem) => {
            call.ui.out(&problem);
            Ok(CRITICAL)
        }
    }
}

fn stat<'a>(about: &'a AgentSelf, section: &str, key: &str) -> &'a str {
    about.stats.get(section).and_then(|entries| entries.get(key)).map_or("", String::as_str)
}

fn of_server(about: &AgentSelf, min_peers: i64) -> Option<String> {
    let known = stat(about, "raft", "num_peers");
    match known.parse::<i64>() {
        Err(_) => Some(format!("unable to get known peers: {} is not a number", quote(known))),
        Ok(known) if known < min_peers => {
            Some(format!("known peers: {known}, is less than expected number of peers: {min_peers}"))
        }
        Ok(_) => None,
    }
}

fn of_client(about: &AgentSelf, min_servers: i64) -> Option<String> {
    let span = |key: &str| parse_duration(stat(about, "client", key));
    let Some(ttl) = span("heartbeat_ttl") else {
        return Some(format!("unable to parse heartbeat TTL: {}", quote(stat(about, "client", "heartbeat_ttl"))));
    };
    let Some(last) = span("last_heartbeat") else {
        return Some(format!("unable to parse last heartbeat: {}", quote(stat(about, "client", "last_heartbeat"))));
    };
    if last > ttl {
        let text = |span: Duration| quote(&format_duration(span));
        return Some(format!("last heartbeat was {} time ago, expected heartbeat ttl: {}", text(last), text(ttl)));
    }
    // Addresses apart by commas.
    let known = stat(about, "client", "known_servers").split(',').filter(|server| !server.trim().is_empty()).count();
    let known = i64::try_from(known).unwrap_or(i64::MAX);
    (known < min_servers)
        .then(|| format!("known servers: {known}, is less than expected number of servers: {min_servers}"))
}
