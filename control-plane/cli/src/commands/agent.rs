//! `drover agent`

use std::path::PathBuf;

use drover_agent_config::{Flags, Sources};

use crate::agent;
use crate::call::{Call, Outcome, fail};
use crate::flags::{Parsed, list, number, switch, text};
use crate::grammar::Command;

/// The command.
pub const COMMAND: Command = Command {
    path: "agent",
    summary: "Run an agent: a server, a client, or both",
    about: "Runs until it is told to stop. The configuration comes from files (HCL or JSON, or folders of them, merged\n\
            in the order given) and flags, which win. SIGINT and SIGTERM stop the agent: tasks go on if it has a data\n\
            directory, and end with it under -dev. SIGHUP reads the log level and the certificates again.",
    flags: &[
        switch("dev", "Server and client in one on 127.0.0.1, with nothing to set up and nothing left behind."),
        list("config", "path", "A configuration file or a folder of them; repeatable."),
        switch("server", "Be a server."),
        switch("client", "Be a client."),
        text("bind", "address", "Listen on this address."),
        text("data-dir", "path", "Where state is kept: an absolute path."),
        text("alloc-dir", "path", "Where allocs get their folders. Default: alloc in the data directory."),
        text("state-dir", "path", "Where the client keeps its state. Default: client in the data directory."),
        text("region", "name", "The region. Default: global"),
        text("dc", "name", "The datacenter. Default: dc1"),
        text("node", "name", "The agent's name. Default: the host's."),
        text("log-level", "level", "TRACE, DEBUG, INFO, WARN, ERROR or OFF. Default: INFO"),
        switch("log-json", "Log as JSON."),
        number("bootstrap-expect", "How many servers the region begins with."),
        list("servers", "addresses", "RPC addresses of servers for a client, with commas between; repeatable."),
        list("retry-join", "address", "A server to join, for a client; repeatable."),
        text("node-class", "word", "The client's class."),
        text("node-pool", "name", "The client's pool. Default: default"),
        text("network-interface", "name", "The interface whose addresses tasks are reached at."),
        list("meta", "key=value", "Metadata of the client's node; repeatable."),
    ],
    asks_agent: false,
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    call.no_args()?;
    let paths = call.flags.texts("config").iter().map(PathBuf::from).collect();
    let sources = Sources { paths, flags: flags(&call.flags) };
    match sources.load() {
        Ok(settings) => Ok(agent::run(settings, &sources)),
        Err(complaints) => {
            let texts: Vec<String> = complaints.iter().map(ToString::to_string).collect();
            fail(texts.join("\n"))
        }
    }
}

fn flags(given: &Parsed) -> Flags {
    let text = |name: &str| Some(given.text(name).to_owned()).filter(|text| !text.is_empty());
    let path = |name: &str| text(name).map(PathBuf::from);
    Flags {
        dev: given.is_on("dev"),
        server: given.is_on("server"),
        client: given.is_on("client"),
        bind: text("bind"),
        data_dir: path("data-dir"),
        alloc_dir: path("alloc-dir"),
        state_dir: path("state-dir"),
        region: text("region"),
        datacenter: text("dc"),
        name: text("node"),
        log_level: text("log-level"),
        log_json: given.is_on("log-json"),
        bootstrap_expect: given.number("bootstrap-expect").and_then(|number| u32::try_from(number).ok()),
        servers: given.texts("servers").to_vec(),
        retry_join: given.texts("retry-join").to_vec(),
        node_class: text("node-class"),
        node_pool: text("node-pool"),
        network_interface: text("network-interface"),
        meta: given.texts("meta").to_vec(),
    }
}
