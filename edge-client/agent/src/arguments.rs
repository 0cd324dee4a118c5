//! The words on the command line: those of `drover agent` that a client alone has a use for.

use drover_agent_config::{Flags, Sources};

/// What is printed for help.
pub const HELP: &str = "Usage: drover-edge agent [options]
       drover-edge version

  -config=<path>             File or directory to read; may be given several times
  -data-dir=<path>           Where everything is kept
  -alloc-dir=<path>          Where allocs get their directories
  -state-dir=<path>          Where the agent keeps its state
  -servers=<host[:port],..>  Servers to join; without any, those of this host
  -region=<name>             The region
  -dc=<name>                 The datacenter
  -node=<name>               The name of this node
  -node-class=<word>         A free word for grouping
  -node-pool=<name>          The pool it joins
  -meta=<key=value>          Metadata of the node; may be given several times
  -network-interface=<name>  The interface whose addresses tasks are reached at
  -log-level=<level>         TRACE, DEBUG, INFO, WARN, ERROR or OFF
  -log-json                  Log lines are JSON

A join token comes from the environment (DROVER_JOIN_TOKEN) or from client { join_token_file }.";

const TAKES_VALUE: &[&str] = &[
    "config",
    "data-dir",
    "alloc-dir",
    "state-dir",
    "bind",
    "servers",
    "region",
    "dc",
    "node",
    "node-class",
    "node-pool",
    "meta",
    "network-interface",
    "log-level",
];

/// What is to be done.
#[derive(Debug)]
pub enum Command {
    /// Run.
    Agent(Box<Sources>),
    /// Say which version this is.
    Version,
    /// Say what can be asked for.
    Help,
}

/// Reads the words after the program's name. Flags have one dash or two, and their value behind `=` or as the next word.
pub fn parse(words: &[String]) -> Result<Command, String> {
    let (first, rest) = match words.split_first() {
        None => return Ok(Command::Help),
        Some((first, rest)) => (first.as_str(), rest),
    };
    match first {
        "agent" => parse_agent(rest),
        "version" | "-v" | "-version" | "--version" => Ok(Command::Version),
        "help" | "-h" | "-help" | "--help" => Ok(Command::Help),
        other => Err(format!("drover-edge has no command {other:?}")),
    }
}

fn parse_agent(words: &[String]) -> Result<Command, String> {
    let mut paths = Vec::new();
    let mut flags = Flags { client: true, ..Flags::default() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
        let flag = flag.filter(|flag| !flag.is_empty()).ok_or_else(|| format!("unexpected word {word:?}"))?;
        let (name, given) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        match name {
            "help" | "h" => return Ok(Command::Help),
            "client" => continue,
            "log-json" => {
                flags.log_json = given.as_deref() != Some("false");
                continue;
            }
            "dev" | "server" | "bootstrap-expect" => {
                return Err(format!("drover-edge is the client alone: -{name} is for `drover agent`"));
            }
            name if TAKES_VALUE.contains(&name) => {}
            _ => return Err(format!("flag provided but not defined: -{name}")),
        }
        let value = given.or_else(|| words.next().cloned());
        let value = value.ok_or_else(|| format!("flag needs an argument: -{name}"))?;
        match name {
            "config" => paths.push(value.into()),
            "data-dir" => flags.data_dir = Some(value.into()),
            "alloc-dir" => flags.alloc_dir = Some(value.into()),
            "state-dir" => flags.state_dir = Some(value.into()),
            "bind" => flags.bind = Some(value),
            "servers" => flags.servers.push(value),
            "region" => flags.region = Some(value),
            "dc" => flags.datacenter = Some(value),
            "node" => flags.name = Some(value),
            "node-class" => flags.node_class = Some(value),
            "node-pool" => flags.node_pool = Some(value),
            "meta" => flags.meta.push(value),
            "network-interface" => flags.network_interface = Some(value),
            _ => flags.log_level = Some(value),
        }
    }
    Ok(Command::Agent(Box::new(Sources { paths, flags })))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn flags_have_one_dash_or_two_and_values_behind_them() {
        let parsed = parse(&words("agent -config a.hcl --config=b -servers x,y -meta k=v -log-json -node n")).unwrap();
        let Command::Agent(sources) = parsed else { panic!("{parsed:?}") };
        let Sources { paths, flags } = *sources;
        assert_eq!(paths, [PathBuf::from("a.hcl"), PathBuf::from("b")]);
        assert_eq!((flags.servers, flags.meta, flags.name.as_deref()), (words("x,y"), words("k=v"), Some("n")));
        assert!(flags.log_json && flags.client);
    }

    #[test]
    fn other_words_are_refused() {
        let check = |line: &str, expected: &str| assert_eq!(parse(&words(line)).unwrap_err(), expected);
        check("run", "drover-edge has no command \"run\"");
        check("agent -nope", "flag provided but not defined: -nope");
        check("agent -nope x", "flag provided but not defined: -nope");
        check("agent -config", "flag needs an argument: -config");
        check("agent -dev", "drover-edge is the client alone: -dev is for `drover agent`");
        check("agent word", "unexpected word \"word\"");
    }
}
