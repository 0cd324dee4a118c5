//! Files as people write them, and what comes of them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::settings::{ClientGcSettings, LogLevel};
use crate::{FlagSetting, Flags, Settings, load};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/agent-config").join(name)
}

/// A folder with files, gone at the end of the test.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Folder(folder)
    }

    fn load(&self) -> Result<Settings, Vec<crate::Complaint>> {
        load(&[self.0.path().to_owned()], &Flags::default())
    }
}

fn loads(text: &str) -> Settings {
    let text = format!("data_dir = \"/var/lib/drover\"\n{text}");
    Folder::with(&[("a.hcl", &text)]).load().unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

fn refused(text: &str) -> String {
    let text = format!("data_dir = \"/var/lib/drover\"\n{text}");
    let complaints = Folder::with(&[("a.hcl", &text)]).load().expect_err("it is refused");
    complaints.iter().map(|complaint| format!("{complaint}\n")).collect()
}

#[test]
fn the_getting_started_files_load_as_they_stand() {
    let server = load(&[fixture("server.hcl")], &Flags::default()).unwrap();
    assert!(server.server.enabled && !server.client.enabled);
    assert_eq!(server.server.bootstrap_expect, 1);
    assert_eq!(server.data_dir.as_deref(), Some(Path::new("/tmp/server1")));
    assert_eq!(server.log_level, LogLevel::Debug);
    assert_eq!(server.warnings, ["Bootstrap mode enabled! Potentially unsafe operation."]);
    let (all, loopback): (IpAddr, IpAddr) = ("0.0.0.0".parse().unwrap(), "127.0.0.1".parse().unwrap());
    assert_eq!((server.listen.rpc, server.listen.serf, server.listen.http), (all, all, vec![loopback]));
    for (file, name, port) in [("client1.hcl", "client1", 5656), ("client2.hcl", "client2", 5657)] {
        let client = load(&[fixture(file)], &Flags::default()).unwrap();
        assert!(client.client.enabled && !client.server.enabled && !client.raw_exec_enabled);
        assert_eq!((client.name.as_str(), client.ports.http, client.ports.rpc), (name, port, 4647));
        assert_eq!(client.client.servers, ["127.0.0.1:4647"]);
        assert_eq!(client.unacted, [""; 0]);
    }
}

#[test]
fn a_development_agent_needs_nothing() {
    let settings = load(&[], &Flags { dev: true, ..Flags::default() }).unwrap();
    assert!(settings.server.enabled && settings.client.enabled && settings.raw_exec_enabled && settings.dev);
    assert_eq!(settings.listen.rpc, "127.0.0.1".parse::<IpAddr>().unwrap());
    assert_eq!(settings.data_dir, None);
    assert!(!settings.name.is_empty());
    assert_eq!(settings.warnings, [""; 0]);
}

#[test]
fn host_volumes_are_read_from_blocks_and_lists() {
    let folder = Folder::with(&[
        (
            "1.hcl",
            "data_dir = \"/d\"\nclient {\n host_volume \"a\" {\n path = \"/srv/a\"\n read_only = true\n }\n host_volume \"b\" {\n path = \"/srv/b\"\n }\n}",
        ),
        (
            "2.json",
            r#"{"client": [{"enabled": true, "host_volume": [{"b": [{"path": "/srv/other"}], "c": [{"path": "/srv/c"}]}]}]}"#,
        ),
    ]);
    let settings = folder.load().unwrap();
    let found: Vec<_> = settings
        .client
        .host_volumes
        .iter()
        .map(|(name, volume)| (name.as_str(), volume.path.to_str(), volume.read_only))
        .collect();
    let expected = [("a", Some("/srv/a"), true), ("b", Some("/srv/other"), false), ("c", Some("/srv/c"), false)];
    assert_eq!(found, expected);
    assert_eq!(settings.unacted, [""; 0]);
    let missing = refused("client {\n host_volume \"a\" {\n read_only = true\n }\n}");
    assert!(missing.contains("host_volume \"a\": Missing path in host_volume config."), "{missing}");
}

#[test]
fn networks_of_a_client_are_read() {
    let folder = Folder::with(&[(
        "1.hcl",
        "data_dir = \"/d\"\nclient {\n enabled = true\n bridge_network_name = \"br\"\n bridge_network_subnet = \"10.5.0.0/24\"\n \
         bridge_network_hairpin_mode = true\n bind_wildcard_default_host_network = false\n host_network \"public\" {\n \
         cidr = \"203.0.113.0/24\"\n reserved_ports = \"22,80\"\n }\n host_network \"wire\" {\n interface = \"eth1\"\n }\n}",
    )]);
    let settings = folder.load().unwrap();
    let network = &settings.client.network;
    assert_eq!((network.bridge_name.as_deref(), network.bridge_subnet.as_deref()), (Some("br"), Some("10.5.0.0/24")));
    assert!(network.is_hairpin && !network.binds_wildcard && network.bridge_subnet_ipv6.is_none());
    let public = &network.host_networks["public"];
    assert_eq!((public.cidr.as_str(), public.reserved_ports.as_str()), ("203.0.113.0/24", "22,80"));
    assert_eq!(network.host_networks["wire"].interface, "eth1");
    assert_eq!(settings.unacted, [""; 0]);
    let wrong = refused("client {\n host_network \"a\" {\n reserved_ports = \"70000\"\n }\n}");
    assert!(wrong.contains("host_network \"a\": 70000 is larger than 65535."), "{wrong}");
}

#[test]
fn later_files_win_and_blocks_merge() {
    let folder = Folder::with(&[
        ("1.hcl", "data_dir = \"/d\"\nregion = \"one\"\nclient {\n enabled = true\n meta {\n a = 1\n b = 2\n }\n}"),
        (
            "2.json",
            r#"{"region": "two", "client": [{"meta": {"b": "3"}, "reserved": {"cpu": 500}}], "ports": {"http": "5000"}}"#,
        ),
        ("3.txt", "this is no configuration"),
        (".4.hcl", "SERVER { Enabled = true }"),
    ]);
    let settings = folder.load().unwrap();
    assert_eq!(settings.region, "two");
    let meta: Vec<_> = settings.client.meta.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(meta, [("a", "1"), ("b", "3")]);
    assert_eq!(settings.client.reserved.cpu_mhz, 500);
    assert_eq!(settings.ports.http, 5000);
    assert!(settings.client.enabled && settings.server.enabled);
    assert_eq!(settings.files.len(), 3);
}

#[test]
fn flags_are_laid_over_files() {
    let flags = Flags {
        server: true,
        name: Some("n".to_owned()),
        log_level: Some("warn".to_owned()),
        servers: vec!["a:1,b".to_owned()],
        meta: vec!["k=v=w".to_owned()],
        ..Flags::default()
    };
    let settings = load(&[fixture("client1.hcl")], &flags).unwrap();
    assert!(settings.server.enabled && settings.client.enabled);
    assert_eq!((settings.name.as_str(), settings.log_level), ("n", LogLevel::Warn));
    assert_eq!(settings.client.servers, ["a:1", "b"]);
    assert_eq!(settings.client.meta["k"], "v=w");
}

#[test]
fn what_a_client_keeps_of_ended_allocs() {
    let client = |text: &str| loads(&format!("client {{ enabled = true\n{text} }}")).client.gc;
    assert_eq!(client(""), ClientGcSettings::default());
    // 0 is what nobody has set.
    let nothing =
        "gc_disk_usage_threshold = 0\ngc_inode_usage_threshold = 0\ngc_max_allocs = 0\ngc_parallel_destroys = 0";
    assert_eq!(client(nothing), ClientGcSettings::default());
    let all = "gc_interval = \"3s\"\ngc_disk_usage_threshold = 12.5\ngc_inode_usage_threshold = 99\n\
               gc_max_allocs = 7\ngc_parallel_destroys = 3";
    let expected = ClientGcSettings {
        interval: Duration::from_secs(3),
        disk_used_max_percent: 12.5,
        inodes_used_max_percent: 99.0,
        allocs_max: 7,
        parallel_max: 3,
    };
    assert_eq!(client(all), expected);
    for (text, expected) in [
        ("gc_interval = \"0s\"", "client.gc_interval: a duration above 0 is needed."),
        (
            "gc_disk_usage_threshold = 101",
            "client.gc_disk_usage_threshold: a number from 0 to 100 is needed, not \"101\".",
        ),
        ("gc_max_allocs = -1", "client.gc_max_allocs: a whole number from 0 to 4294967295 is needed, not \"-1\"."),
    ] {
        let problem = refused(&format!("client {{ {text} }}"));
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn what_is_not_acted_on_is_named_once() {
    let settings = loads(
        "client { enabled = true\n template { disable_file_sandbox = true }\n network_speed = 5\n no_host_uuid = false }\n\
         telemetry { circonus_api_app = \"a\"\n use_node_name = true }\nvault { enabled = true }\n\
         plugin \"podman\" { config { volumes { enabled = true } } }",
    );
    assert_eq!(
        settings.unacted,
        ["client.network_speed", "client.template", "telemetry.circonus_api_app", "vault", "plugin \"podman\""]
    );
}

#[test]
fn a_server_of_its_own_has_use_for_all_of_this() {
    let settings = loads(
        "server {\n enabled = true\n retry_join = [\"a\"]\n start_join = [\"b\"]\n join_token_file = \"/t\"\n server_join {\n retry_join = [\"c\"]\n }\n}\n\
         advertise {\n serf = \"10.0.0.1\"\n}\nlimits {\n rpc_handshake_timeout = \"5s\"\n rpc_max_conns_per_client = 100\n}\n\
         tls {\n verify_server_hostname = true\n}\nleave_on_interrupt = true\nleave_on_terminate = true\n",
    );
    assert_eq!(settings.unacted, [""; 0]);
    assert_eq!(loads("server { enabled = true }\nleave_on_interrupt = false").unacted, [""; 0]);
    assert_eq!(settings.server.join.retry_join, ["a", "c"]);
    assert_eq!(settings.server.join.start_join, ["b"]);
    assert_eq!(settings.server.join_token_file, Some("/t".into()));
    assert_eq!(settings.advertise.serf.as_deref(), Some("10.0.0.1"));
    assert!(settings.leave_on_interrupt && settings.leave_on_terminate);
}

#[test]
fn how_servers_are_looked_after() {
    let settings = loads(
        "server {\n enabled = true\n server_join {\n retry_interval = \"2s\"\n retry_max = 3\n }\n}\n\
         autopilot {\n cleanup_dead_servers = false\n server_stabilization_time = \"1s\"\n min_quorum = 3\n enable_redundancy_zones = true\n}",
    );
    let join = &settings.server.join;
    assert_eq!((join.retry_interval, join.retry_max), (std::time::Duration::from_secs(2), 3));
    assert!(!settings.autopilot.cleanup_dead_servers && settings.autopilot.min_quorum == 3);
    assert_eq!(settings.autopilot.server_stabilization_time, std::time::Duration::from_secs(1));
    assert_eq!(settings.unacted, ["autopilot.enable_redundancy_zones"]);
}

#[test]
fn how_the_log_is_kept_and_how_fast_servers_miss_each_other() {
    let settings = loads(
        "server {\n enabled = true\n raft_multiplier = 5\n raft_snapshot_threshold = 4000\n \
         raft_snapshot_interval = \"90s\"\n raft_trailing_logs = 2000\n}",
    );
    let raft = settings.server.raft;
    assert_eq!(raft.snapshot_interval, Some(std::time::Duration::from_secs(90)));
    assert_eq!((raft.multiplier, raft.snapshot_threshold, raft.trailing_logs), (5, Some(4000), Some(2000)));
    assert_eq!(settings.unacted, [""; 0]);
    assert_eq!(
        loads("server {\n enabled = true\n raft_multiplier = 0\n}").server.raft,
        crate::settings::RaftSettings::default()
    );
}

#[test]
fn how_many_snapshots_a_server_keeps() {
    let kept = |text: &str| {
        let kept = loads(&format!("server {{\n enabled = true\n {text}\n}}")).server.kept_snapshots;
        (kept.interval.as_secs(), kept.count)
    };
    assert_eq!(kept(""), (4 * 3600, 6));
    assert_eq!(kept("kept_snapshots {\n interval = \"30m\"\n count = 48\n}"), (1800, 48));
    assert_eq!(kept("kept_snapshots {\n interval = \"0s\"\n}"), (0, 6));
}

#[test]
fn a_client_joins_what_it_is_told_to() {
    let settings = loads("client {\n enabled = true\n servers = [\"a\"]\n server_join {\n retry_join = [\"b\"]\n }\n}");
    assert_eq!((settings.client.servers, settings.unacted), (vec!["a".to_owned(), "b".to_owned()], Vec::new()));
    let flags = |server| Flags { server, retry_join: vec!["c:1".to_owned()], ..Flags::default() };
    let settings = load(&[fixture("client1.hcl")], &flags(false)).unwrap();
    assert_eq!(settings.client.servers, ["127.0.0.1:4647", "c:1"]);
    // A server's own client is with it already: the server joins others.
    let settings = load(&[fixture("client1.hcl")], &flags(true)).unwrap();
    assert_eq!(settings.client.servers, ["127.0.0.1:4647"]);
    assert_eq!(settings.server.join.retry_join, ["c:1"]);
}

#[test]
fn the_http_api_is_bounded_and_secured() {
    let settings = loads(
        "server {\n enabled = true\n}\nlimits {\n http_max_conns_per_client = 7\n https_handshake_timeout = \"2s\"\n}\n\
         http_api_response_headers {\n X-Frame-Options = \"DENY\"\n}\n\
         tls {\n http = true\n cert_file = \"/c\"\n key_file = \"/k\"\n ca_file = \"/a\"\n verify_https_client = true\n}",
    );
    assert_eq!(settings.limits.http_connections_per_client_max, 7);
    assert_eq!(settings.limits.https_handshake_timeout, std::time::Duration::from_secs(2));
    assert_eq!(settings.http_api_response_headers["X-Frame-Options"], "DENY");
    assert_eq!(loads("client {\n enabled = true\n meta {\n Rack = 1\n }\n}").client.meta["Rack"], "1");
    assert_eq!(settings.tls.http, Some(true));
    assert_eq!(settings.tls.ca_file.as_deref(), Some(Path::new("/a")));
    assert!(settings.tls.verify_https_client);
    assert_eq!(settings.unacted, [""; 0]);
    assert_eq!(loads("server { enabled = true }").limits.http_connections_per_client_max, 100);
}

#[test]
fn plugins_are_configured() {
    assert!(loads("client { enabled = true }\nplugin \"raw_exec\" { config { enabled = true } }").raw_exec_enabled);
    assert!(!loads("client { enabled = true }\nplugin \"raw_exec\" { config { enabled = false } }").raw_exec_enabled);
    let folder = Folder::with(&[(
        "a.json",
        r#"{"data_dir":"/d","client":{"enabled":true},"plugin":[{"raw_exec":[{"config":[{"enabled":true}]}]}]}"#,
    )]);
    // Lists of one object, as some tools write every block.
    assert!(folder.load().unwrap().raw_exec_enabled);
}

#[test]
fn unknown_settings_are_named_with_their_place_and_the_nearest_name() {
    let check = |text: &str, expected: &[&str]| {
        let found = refused(text);
        for part in expected {
            assert!(found.contains(part), "{text} gave {found}");
        }
    };
    check(
        "server { bootstrap_expct = 1 }",
        &["a.hcl:2:10", "server has no setting named \"bootstrap_expct\"", "did you mean \"bootstrap_expect\"?"],
    );
    check("sever { enabled = true }", &["did you mean \"server\"?"]);
    check("server \"x\" { enabled = true }", &["server takes no label \"x\""]);
    check("server { enabled = \"yes\" }", &["server.enabled: true or false is needed, not \"yes\""]);
    check("server = 5", &["server is a block"]);
    check("ports { http = 70000 }", &["ports.http: a whole number from 0 to 65535 is needed, not \"70000\""]);
    check("log_level = \"abc\"", &["Invalid log level: ABC. Valid log levels are: [TRACE DEBUG INFO WARN ERROR OFF]"]);
    check("server {", &["Unclosed configuration block"]);
}

#[test]
fn broken_json_is_told_with_its_place() {
    let folder = Folder::with(&[("a.json", "{\n  \"region\": ,\n}")]);
    let complaints = folder.load().unwrap_err();
    assert!(complaints[0].text.contains("a.json:2:"), "{complaints:?}");
    let folder = Folder::with(&[("a.json", "{\n  \"regoin\": \"x\"\n}")]);
    let complaints = folder.load().unwrap_err();
    assert!(complaints[0].text.contains("a.json:2:3"), "{complaints:?}");
}

#[test]
fn http_off_loopback_needs_a_word() {
    let open = "server { enabled = true }\nbind_addr = \"0.0.0.0\"\n";
    let text = refused(open);
    assert!(text.contains("hint: set up TLS") && text.contains("tls { http = false }"), "{text}");
    loads(&format!("{open}tls {{ http = false }}"));
    loads(&format!("{open}addresses {{ http = \"127.0.0.1\" }}"));
    loads(&format!("{open}tls {{\n http = true\n cert_file = \"/c\"\n key_file = \"/k\"\n}}"));
    assert!(refused(&format!("{open}tls {{ http = true }}")).contains("without a certificate"));
    let two = loads("server { enabled = true }\naddresses { http = \"127.0.0.1 ::1\" }");
    assert_eq!(two.listen.http.len(), 2);
}

#[test]
fn rpc_is_bounded_and_takes_certificates_of_its_own() {
    let limits = |inside: &str| format!("server {{ enabled = true }}\nlimits {{\n {inside}\n}}");
    let defaults = loads("server { enabled = true }").limits;
    assert_eq!(defaults.rpc_connections_per_client_max, 100);
    assert_eq!(defaults.rpc_handshake_timeout, std::time::Duration::from_secs(5));
    let off = loads(&limits("rpc_max_conns_per_client = 0\n rpc_handshake_timeout = \"0s\"")).limits;
    assert_eq!((off.rpc_connections_per_client_max, off.rpc_handshake_timeout.is_zero()), (0, true));
    assert_eq!(loads(&limits("rpc_max_conns_per_client = 26")).limits.rpc_connections_per_client_max, 26);
    let few = refused(&limits("rpc_max_conns_per_client = 5"));
    assert!(few.contains("rpc_max_conns_per_client must be > 25; found: 5"), "{few}");

    let files = "ca_file = \"/a\"\n cert_file = \"/c\"\n key_file = \"/k\"";
    let with = |server: &str, tls: &str| format!("server {{\n enabled = true\n {server}\n}}\ntls {{\n {tls}\n}}");
    assert_eq!(loads(&with("", files)).tls.rpc_files(), None);
    let own = loads(&with("", &format!("rpc = true\n verify_server_hostname = false\n {files}")));
    assert_eq!(own.tls.rpc_files().unwrap().key, Path::new("/k"));
    assert_eq!(own.unacted, [""; 0]);
    assert!(own.warnings.iter().any(|text| text.contains("has no effect")), "{:?}", own.warnings);
    let missing = refused(&with("", "rpc = true\n cert_file = \"/c\""));
    assert!(missing.contains("tls.rpc is on without") && missing.contains("drover tls cert create"), "{missing}");
    let both = refused(&with("join_token_file = \"/t\"", &format!("rpc = true\n {files}")));
    assert!(both.contains("server.join_token_file does not go with tls.rpc"), "{both}");
}

#[test]
fn what_can_not_work_is_refused() {
    let check = |text: &str, expected: &str| assert!(refused(text).contains(expected), "{text} gave {}", refused(text));
    check("", "Must specify either server, client or dev mode for the agent.");
    check("server { enabled = true }\ndata_dir = \"rel\"", "Attribute redefined");
    check("client {\n enabled = true\n node_pool = \"all\"\n}", "not allowed to register in node pool \"all\"");
    check("client {\n enabled = true\n max_dynamic_port = 7\n}", "min_dynamic_port=20000 and max_dynamic_port=7");
    check(
        "server { enabled = true }\ntls {\n http = true\n cert_file = \"/c\"\n key_file = \"/k\"\n verify_https_client = true\n}",
        "tls.verify_https_client is on without an authority",
    );
    check("server { enabled = true }\nlimits { http_max_conns_per_client = -1 }", "limits.http_max_conns_per_client");
    check("server { enabled = true }\nbind_addr = \"{{ GetPrivateIP }}\"", "templates are not read here");
    check("server { enabled = true }\nregion = \"North\"", "one lower-case DNS label");
    check("server { enabled = true }\nacl { enabled = true }", "ACLs are not there yet");
    let missing = load(&[PathBuf::from("/nonesuch/x.hcl")], &Flags::default()).unwrap_err();
    assert_eq!(missing[0].text, "stat /nonesuch/x.hcl: no such file or directory");
    let relative = Folder::with(&[("a.hcl", "data_dir = \"rel\"\nserver { enabled = true }")]).load().unwrap_err();
    assert_eq!(relative[0].text, "data-dir must be given as an absolute path: got rel");
    let none = Folder::with(&[("a.hcl", "server { enabled = true }")]).load().unwrap_err();
    assert_eq!(none[0].text, "Must specify \"data_dir\" config option or \"data-dir\" CLI flag");
}

#[test]
fn every_setting_that_acts_is_read() {
    // A row that is marked as acting and has no place in the code would be refused as "known, but not read".
    for line in include_str!("keys.tsv").lines().filter(|line| line.ends_with("\tacts") && !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let value = match columns[2] {
            "int" => "26",
            "bool" => "false",
            "list" => "[]",
            "map" => "{}",
            "text" => "\"9\"",
            _ => continue,
        };
        let blocks: Vec<&str> = columns[0].split('.').filter(|block| *block != "-").collect();
        let open: String = blocks.iter().map(|block| format!("{block} {{\n")).collect();
        let text = format!("{open}{} = {value}\n{}", columns[1], "}\n".repeat(blocks.len()));
        let outcome = Folder::with(&[("a.hcl", &text)]).load();
        let complaints = outcome.err().unwrap_or_default();
        assert!(complaints.iter().all(|complaint| !complaint.text.contains("not read.")), "{text}: {complaints:?}");
    }
}

#[test]
fn damaged_files_do_not_panic() {
    let texts: Vec<String> = ["server.hcl", "client1.hcl"]
        .iter()
        .map(|name| std::fs::read_to_string(fixture(name)).unwrap())
        .chain([
            r#"{"data_dir": "/d", "client": [{"enabled": true, "meta": {"a": "b"}}], "ports": {"http": 1}}"#.to_owned()
        ])
        .collect();
    let pieces = ["{", "}", "\"", "<<E\n", "/*", "[", "=", "${", "é", "\n", "-1", "plugin \"x\" {"];
    let folder = Folder::with(&[]);
    let file = folder.0.path().join("a.hcl");
    let mut state: u64 = 7;
    let mut below = |end: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % end
    };
    for round in 0..1500 {
        let mut text = texts[round % texts.len()].clone();
        for _ in 0..1 + below(3) {
            let mut place = below(text.len() + 1);
            while !text.is_char_boundary(place) {
                place -= 1;
            }
            match below(3) {
                0 => text.truncate(place),
                _ => text.insert_str(place, pieces[below(pieces.len())]),
            }
        }
        std::fs::write(&file, text).unwrap();
        let _ = load(std::slice::from_ref(&file), &Flags::default());
    }
}

#[test]
fn flags_that_are_settings_by_another_name() {
    let setting = |flag, path, value: drover_hcl::Value| FlagSetting { flag, path, value };
    let flags = Flags {
        dev: true,
        settings: vec![
            setting("-consul-address", "consul.address", "127.0.0.1:8500".into()),
            setting("-network-speed", "client.network_speed", 100_i64.into()),
            setting("-join", "client.server_join.start_join", drover_hcl::Value::List(vec!["a:1".into()])),
        ],
        ..Flags::default()
    };
    let settings = load(&[], &flags).unwrap();
    assert_eq!(settings.unacted, ["consul", "client.network_speed"]);
    let wrong = Flags { settings: vec![setting("-network-speed", "client.network_sped", "x".into())], ..flags };
    let complaints = load(&[], &wrong).unwrap_err();
    assert!(complaints[0].to_string().starts_with("-network-speed: "), "{}", complaints[0]);
}

#[test]
fn telemetry_is_read_and_checked() {
    let settings = loads(
        "client { enabled = true }\ntelemetry {\n collection_interval = \"5s\"\n prometheus_metrics = true\n disable_hostname = true\n\
         prefix_filter = [\"-nomad.raft\"]\n datadog_tags = [\"a:b\"]\n statsd_address = \"127.0.0.1:8125\"\n }",
    );
    let telemetry = settings.telemetry;
    assert_eq!(telemetry.collection_interval, std::time::Duration::from_secs(5));
    assert!(telemetry.prometheus_metrics && telemetry.disable_hostname && !telemetry.publish_node_metrics);
    assert!(!telemetry.filter().unwrap().keeps("nomad.raft.apply"));
    assert_eq!(telemetry.statsd_address.as_deref(), Some("127.0.0.1:8125"));
    let refusal = |text: &str| refused(&format!("client {{ enabled = true }}\ntelemetry {{ {text} }}"));
    assert_eq!(
        refusal("prefix_filter = [\"abc\"]"),
        "Error initializing telemetry: Filter rule must begin with either '+' or '-': \"abc\"\n"
    );
    assert_eq!(
        refusal("in_memory_collection_interval = \"0s\""),
        "telemetry block invalid: telemetry in-memory collection interval must be greater than zero\n"
    );
}
