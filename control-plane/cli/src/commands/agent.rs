//! `drover agent`

use std::path::PathBuf;

use drover_agent_config::{FlagSetting, Flags, Sources};
use drover_hcl::Value;

use crate::agent;
use crate::call::{Call, Outcome, fail};
use crate::flags::{Kind, Parsed, list, number, switch, text};
use crate::grammar::Command;

/// The command.
pub const COMMAND: Command = Command {
    path: "agent",
    summary: "Run an agent: a server, a client, or both",
    about: "Runs until it is told to stop. The configuration comes from files (HCL or JSON, or folders of them, merged\n\
            in the order given) and flags, which win; one line at the start names what is set and not acted on. SIGINT and SIGTERM stop the agent: tasks go on if it has a data\n\
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
        list("retry-join", "address", "A server to join until it answers; repeatable."),
        text("node-class", "word", "The client's class."),
        text("node-pool", "name", "The client's pool. Default: default"),
        switch("acl-enabled", "Ask for tokens. As acl.enabled."),
        text("acl-replication-token", "secret", "As acl.replication_token."),
        text("alloc-mounts-dir", "path", "As client.alloc_mounts_dir."),
        text("consul-address", "host:port", "As consul.address, and so the other flags of Consul."),
        text("consul-auth", "user:password", "As consul.auth."),
        switch("consul-auto-advertise", "As consul.auto_advertise."),
        text("consul-ca-file", "path", "As consul.ca_file."),
        text("consul-cert-file", "path", "As consul.cert_file."),
        switch("consul-checks-use-advertise", "As consul.checks_use_advertise."),
        switch("consul-client-auto-join", "As consul.client_auto_join."),
        number("consul-client-failures-before-critical", "As consul.client_failures_before_critical."),
        number("consul-client-failures-before-warning", "As consul.client_failures_before_warning."),
        text("consul-client-http-check-name", "name", "As consul.client_http_check_name."),
        text("consul-client-service-name", "name", "As consul.client_service_name."),
        text("consul-key-file", "path", "As consul.key_file."),
        switch("consul-server-auto-join", "As consul.server_auto_join."),
        number("consul-server-failures-before-critical", "As consul.server_failures_before_critical."),
        number("consul-server-failures-before-warning", "As consul.server_failures_before_warning."),
        text("consul-server-http-check-name", "name", "As consul.server_http_check_name."),
        text("consul-server-rpc-check-name", "name", "As consul.server_rpc_check_name."),
        text("consul-server-serf-check-name", "name", "As consul.server_serf_check_name."),
        text("consul-server-service-name", "name", "As consul.server_service_name."),
        switch("consul-ssl", "As consul.ssl."),
        text("consul-token", "secret", "As consul.token."),
        switch("consul-verify-ssl", "As consul.verify_ssl."),
        text("encrypt", "key", "As server.encrypt."),
        switch("eventlog", "As eventlog.enabled."),
        text("eventlog-level", "level", "As eventlog.level."),
        text("host-volume-plugin-dir", "path", "As client.host_volume_plugin_dir."),
        text("host-volumes-dir", "path", "As client.host_volumes_dir."),
        list("join", "address", "A server to join at the start; repeatable. As server_join.start_join."),
        switch("log-include-location", "As log_include_location."),
        number("network-speed", "As client.network_speed."),
        text("plugin-dir", "path", "As plugin_dir."),
        text("preferred-address-family", "family", "As client.preferred_address_family."),
        number("raft-protocol", "As server.raft_protocol."),
        switch("rejoin", "As server.rejoin_after_leave."),
        text("retry-interval", "duration", "As server_join.retry_interval."),
        number("retry-max", "As server_join.retry_max."),
        text("vault-address", "url", "As vault.address, and so the other flags of Vault."),
        text("vault-ca-file", "path", "As vault.ca_file."),
        text("vault-ca-path", "path", "As vault.ca_path."),
        text("vault-cert-file", "path", "As vault.cert_file."),
        text("vault-create-from-role", "name", "As vault.create_from_role."),
        switch("vault-enabled", "As vault.enabled."),
        text("vault-key-file", "path", "As vault.key_file."),
        text("vault-namespace", "name", "As vault.namespace."),
        text("vault-tls-server-name", "name", "As vault.tls_server_name."),
        switch("vault-tls-skip-verify", "As vault.tls_skip_verify."),
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
        settings: settings(given),
    }
}

/// Flags that are settings of the files by another name.
const SETTINGS: &[(&str, &str)] = &[
    ("-acl-enabled", "acl.enabled"),
    ("-acl-replication-token", "acl.replication_token"),
    ("-alloc-mounts-dir", "client.alloc_mounts_dir"),
    ("-consul-address", "consul.address"),
    ("-consul-auth", "consul.auth"),
    ("-consul-auto-advertise", "consul.auto_advertise"),
    ("-consul-ca-file", "consul.ca_file"),
    ("-consul-cert-file", "consul.cert_file"),
    ("-consul-checks-use-advertise", "consul.checks_use_advertise"),
    ("-consul-client-auto-join", "consul.client_auto_join"),
    ("-consul-client-failures-before-critical", "consul.client_failures_before_critical"),
    ("-consul-client-failures-before-warning", "consul.client_failures_before_warning"),
    ("-consul-client-http-check-name", "consul.client_http_check_name"),
    ("-consul-client-service-name", "consul.client_service_name"),
    ("-consul-key-file", "consul.key_file"),
    ("-consul-server-auto-join", "consul.server_auto_join"),
    ("-consul-server-failures-before-critical", "consul.server_failures_before_critical"),
    ("-consul-server-failures-before-warning", "consul.server_failures_before_warning"),
    ("-consul-server-http-check-name", "consul.server_http_check_name"),
    ("-consul-server-rpc-check-name", "consul.server_rpc_check_name"),
    ("-consul-server-serf-check-name", "consul.server_serf_check_name"),
    ("-consul-server-service-name", "consul.server_service_name"),
    ("-consul-ssl", "consul.ssl"),
    ("-consul-token", "consul.token"),
    ("-consul-verify-ssl", "consul.verify_ssl"),
    ("-encrypt", "server.encrypt"),
    ("-eventlog", "eventlog.enabled"),
    ("-eventlog-level", "eventlog.level"),
    ("-host-volume-plugin-dir", "client.host_volume_plugin_dir"),
    ("-host-volumes-dir", "client.host_volumes_dir"),
    ("-log-include-location", "log_include_location"),
    ("-network-speed", "client.network_speed"),
    ("-plugin-dir", "plugin_dir"),
    ("-preferred-address-family", "client.preferred_address_family"),
    ("-raft-protocol", "server.raft_protocol"),
    ("-rejoin", "server.rejoin_after_leave"),
    ("-vault-address", "vault.address"),
    ("-vault-ca-file", "vault.ca_file"),
    ("-vault-ca-path", "vault.ca_path"),
    ("-vault-cert-file", "vault.cert_file"),
    ("-vault-create-from-role", "vault.create_from_role"),
    ("-vault-enabled", "vault.enabled"),
    ("-vault-key-file", "vault.key_file"),
    ("-vault-namespace", "vault.namespace"),
    ("-vault-tls-server-name", "vault.tls_server_name"),
    ("-vault-tls-skip-verify", "vault.tls_skip_verify"),
];

/// Those of joining are the client's or the server's, whichever the agent is by its flags.
const JOINING: &[(&str, &str, &str)] = &[
    ("-join", "server.start_join", "client.server_join.start_join"),
    ("-retry-interval", "server.retry_interval", "client.server_join.retry_interval"),
    ("-retry-max", "server.retry_max", "client.server_join.retry_max"),
];

fn settings(given: &Parsed) -> Vec<FlagSetting> {
    let is_client = given.is_on("client") && !given.is_on("server");
    let joining = JOINING.iter().map(|(flag, server, client)| (*flag, if is_client { *client } else { *server }));
    let all = SETTINGS.iter().copied().chain(joining);
    all.filter_map(|(flag, path)| Some(FlagSetting { flag, path, value: value_of(given, flag)? })).collect()
}

/// What the flag was given, as a file would have it.
fn value_of(given: &Parsed, flag: &str) -> Option<Value> {
    let name = flag.trim_start_matches('-');
    let known = COMMAND.flags.iter().find(|known| known.name == name)?;
    let last = given.texts(name).last().filter(|text| !text.is_empty())?;
    Some(match known.kind {
        Kind::Bool => given.is_on(name).into(),
        Kind::Number => given.number(name)?.into(),
        Kind::Text(_) => last.as_str().into(),
        Kind::List(_) => Value::List(given.texts(name).iter().map(|text| text.as_str().into()).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags;

    #[test]
    fn every_other_flag_is_a_setting_that_files_have() {
        for (flag, path) in SETTINGS.iter().copied().chain(JOINING.iter().flat_map(|(f, s, c)| [(*f, *s), (*f, *c)])) {
            let known = COMMAND.flags.iter().find(|known| known.name == flag.trim_start_matches('-')).unwrap();
            let words = match known.kind {
                Kind::Bool => vec![flag.to_owned()],
                Kind::Number => vec![flag.to_owned(), "3".to_owned()],
                _ => vec![flag.to_owned(), "x".to_owned()],
            };
            let parsed = flags::parse(&words, &[COMMAND.flags]).unwrap();
            let setting = FlagSetting { flag, path, value: value_of(&parsed, flag).unwrap() };
            let sources = Sources {
                flags: Flags { dev: true, settings: vec![setting], ..Flags::default() },
                ..Sources::default()
            };
            let complaints = sources.load().err().unwrap_or_default();
            let wrong: Vec<String> = complaints.iter().map(ToString::to_string).collect();
            assert!(wrong.iter().all(|text| !text.contains("no setting named")), "{flag}: {wrong:?}");
        }
    }

    #[test]
    fn joining_is_the_clients_when_it_is_only_that() {
        let path = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            settings(&flags::parse(&words, &[COMMAND.flags]).unwrap())[0].path
        };
        assert_eq!(path(&["-client", "-join", "a"]), "client.server_join.start_join");
        assert_eq!(path(&["-server", "-client", "-join", "a"]), "server.start_join");
    }
}
