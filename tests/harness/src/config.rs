//! Configuration files for agents.

use crate::ports::Ports;

/// What an agent is told.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Its name.
    pub name: String,
    /// It is a server.
    pub server: bool,
    /// It is a client.
    pub client: bool,
    /// HTTP port.
    pub http: u16,
    /// RPC port.
    pub rpc: u16,
    /// Gossip port.
    pub serf: u16,
    /// Servers it shall join, for a client.
    pub servers: Vec<String>,
    /// How much it says in its log.
    pub log_level: &'static str,
    /// More of the configuration, as text.
    pub more: String,
    /// The region; the usual one when empty.
    pub region: String,
    /// How many servers form the region.
    pub bootstrap_expect: u32,
    /// Gossip addresses of servers that a server joins.
    pub joins: Vec<String>,
    /// Files that are in its data directory before it starts: path there, and text.
    pub files: Vec<(String, String)>,
    /// What keeps its ports its own.
    pub ports: Ports<3>,
}

impl AgentConfig {
    /// Server and client in one, on free ports of 127.0.0.1.
    pub fn both(name: &str) -> Self {
        let ports = Ports::take();
        let [http, rpc, serf] = ports.numbers();
        let more = "plugin \"raw_exec\" {\n  config {\n    enabled = true\n  }\n}\n".to_owned();
        let (name, region) = (name.to_owned(), String::new());
        let (servers, joins, files) = (Vec::new(), Vec::new(), Vec::new());
        let (server, client, bootstrap_expect, log_level) = (true, true, 1, "DEBUG");
        Self {
            name,
            server,
            client,
            http,
            rpc,
            serf,
            servers,
            log_level,
            more,
            region,
            bootstrap_expect,
            joins,
            files,
            ports,
        }
    }

    /// Servers that form one region together and know each other's gossip addresses.
    pub fn region(region: &str, count: u32) -> Vec<Self> {
        let mut all: Vec<Self> = (1..=count).map(|number| Self::server(&format!("s{number}"))).collect();
        let joins: Vec<String> = all.iter().map(|one| format!("127.0.0.1:{}", one.serf)).collect();
        for one in &mut all {
            one.region = region.to_owned();
            one.bootstrap_expect = count;
            one.joins.clone_from(&joins);
        }
        all
    }

    /// A server alone.
    pub fn server(name: &str) -> Self {
        Self { client: false, more: String::new(), ..Self::both(name) }
    }

    /// A client alone, of those servers.
    pub fn client(name: &str, servers: &[String]) -> Self {
        Self { server: false, servers: servers.to_vec(), ..Self::both(name) }
    }

    /// The file's text, with its data below `data_dir`.
    pub fn text(&self, data_dir: &str) -> String {
        let Self { name, server, client, http, rpc, serf, servers, more, region, bootstrap_expect, joins, .. } = self;
        let log_level = self.log_level;
        let mut text = format!(
            "name = \"{name}\"\ndata_dir = \"{data_dir}\"\nbind_addr = \"127.0.0.1\"\nlog_level = \"{log_level}\"\n\
             ports {{\n  http = {http}\n  rpc = {rpc}\n  serf = {serf}\n}}\n"
        );
        if !region.is_empty() {
            text.push_str(&format!("region = {region:?}\n"));
        }
        if *server {
            text.push_str(&format!("server {{\n  enabled = true\n  bootstrap_expect = {bootstrap_expect}\n"));
            if !joins.is_empty() {
                text.push_str(&format!("  server_join {{\n    retry_join = {joins:?}\n  }}\n"));
            }
            text.push_str("}\n");
        }
        if *client {
            text.push_str("client {\n  enabled = true\n");
            if !servers.is_empty() {
                let list: Vec<String> = servers.iter().map(|server| format!("{server:?}")).collect();
                text.push_str(&format!("  servers = [{}]\n", list.join(", ")));
            }
            text.push_str("}\n");
        }
        text.push_str(more);
        text
    }
}
