//! Lays one file over the settings so far.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use drover_hcl::{Problem, Source, Span, Value};

use crate::client_devices::{self, NVIDIA_PLUGIN};
use crate::convert;
use crate::keys::{self, Kind};
use crate::settings::{HostVolume, Settings};
use crate::tree::{Content, Item, entries_as_items};

/// The slowest elections.
const RAFT_MULTIPLIER_MAX: u32 = 10;
/// RPC connections of one address that are always allowed, since servers and clients need some.
const RPC_CONNECTIONS_FLOOR: u32 = 25;
/// The most log entries that the event stream keeps.
const EVENT_BUFFER_MAX: u64 = 100_000;
/// Snapshots of the state are not made more often by a server itself.
const KEPT_INTERVAL_MIN: Duration = Duration::from_secs(60);

/// Settings while files and flags are laid over them; addresses stay text until all are known.
pub struct Draft {
    /// All that needs no last word.
    pub settings: Settings,
    /// `bind_addr`.
    pub bind_addr: Option<String>,
    /// `name`.
    pub name: Option<String>,
    /// `addresses.http`; several with blanks between them.
    pub http: Option<String>,
    /// `addresses.rpc`.
    pub rpc: Option<String>,
    /// `addresses.serf`.
    pub serf: Option<String>,
    /// Ports that were set; a development agent may take others.
    pub acl_enabled: bool,
}

/// One file being laid over a draft.
pub struct Layer<'a> {
    draft: &'a mut Draft,
    source: &'a Source,
    /// What is wrong with the file.
    pub problems: Vec<Problem>,
}

impl<'a> Layer<'a> {
    /// A layer from that source.
    pub fn new(draft: &'a mut Draft, source: &'a Source) -> Layer<'a> {
        Layer { draft, source, problems: Vec::new() }
    }

    /// Lays the items of a block (empty name: the top) over the draft.
    pub fn items(&mut self, block: &str, items: Vec<Item>) {
        for item in items {
            let Some(row) = keys::row(block, &item.name) else {
                self.unknown(block, &item);
                continue;
            };
            let path = if block.is_empty() { item.name.clone() } else { format!("{block}.{}", item.name) };
            match (row.kind, item.content) {
                (Kind::Free, content) => self.free(&path, row.acts, item.span, content),
                (Kind::Block, content) => self.block(&path, row.acts, item.span, content),
                (Kind::Map, Content::Block { items, .. }) => {
                    let as_written = |item: Item| Item { name: item.written.clone(), ..item };
                    let entries = entries_of(items.into_iter().map(as_written).collect());
                    self.value(&path, row.acts, item.span, &Value::Object(entries));
                }
                (_, Content::Value(value)) => self.value(&path, row.acts, item.span, &value),
                (_, Content::Block { .. }) => self.problems.push(Problem::new(
                    item.span,
                    "Not a block",
                    format!("{path} is written with an equals sign: {} = ...", item.name),
                )),
            }
        }
    }

    fn unknown(&mut self, block: &str, item: &Item) {
        let what = if block.is_empty() { "the agent" } else { block };
        let problem =
            Problem::new(item.span, "Unknown setting", format!("{what} has no setting named \"{}\".", item.name));
        self.problems.push(match keys::near(block, &item.name) {
            Some(near) => problem.with_hint(format!("did you mean \"{near}\"?")),
            None => problem,
        });
    }

    fn unacted(&mut self, path: &str) {
        let list = &mut self.draft.settings.unacted;
        if !list.iter().any(|known| known == path) {
            list.push(path.to_owned());
        }
    }

    fn block(&mut self, path: &str, acts: bool, span: Span, content: Content) {
        if !acts {
            self.unacted(path);
        }
        match content {
            Content::Block { labels, items } => {
                if let Some(label) = labels.first() {
                    self.problems.push(Problem::new(
                        span,
                        "No label here",
                        format!("{path} takes no label {label:?}."),
                    ));
                }
                self.items(path, items);
            }
            Content::Value(value) => match (value.as_entries(), value.as_items()) {
                (Some(entries), _) => {
                    let items = entries_as_items(self.source, entries, span);
                    self.items(path, items);
                }
                (None, Some(list)) if list.iter().all(|value| value.as_entries().is_some()) => {
                    for entries in list.iter().filter_map(Value::as_entries) {
                        let items = entries_as_items(self.source, entries, span);
                        self.items(path, items);
                    }
                }
                _ => self.problems.push(Problem::new(
                    span,
                    "Not a block",
                    format!("{path} is a block: {path} {{ ... }}"),
                )),
            },
        }
    }

    /// A block whose inside is somebody else's, mostly one of several with labels.
    fn free(&mut self, path: &str, acts: bool, span: Span, content: Content) {
        if !acts {
            self.unacted(path);
            return;
        }
        let labelled = match content {
            Content::Block { labels, items } => match labels.first() {
                Some(label) => BTreeMap::from([(label.clone(), Value::Object(entries_of(items)))]),
                None => BTreeMap::new(),
            },
            Content::Value(value) => match (value.as_entries(), value.as_items()) {
                (Some(entries), _) => entries.clone(),
                (None, list) => {
                    let objects = list.into_iter().flatten().filter_map(Value::as_entries).cloned();
                    objects.flatten().collect()
                }
            },
        };
        for (name, inside) in labelled {
            match path {
                "client.host_volume" => self.host_volume(span, name, &inside),
                "client.host_network" => self.host_network(span, name, &inside),
                "client.device" => self.device(span, name, &inside),
                _ => self.plugin(&name, &inside),
            }
        }
    }

    fn host_volume(&mut self, span: Span, name: String, inside: &Value) {
        let entries = first_object(inside).as_entries();
        let get = |key: &str| entries.and_then(|entries| entries.get(key)).filter(|value| !value.is_null());
        let path = get("path").map_or(Ok(String::new()), convert::text);
        let read_only = get("read_only").map_or(Ok(false), convert::flag);
        let volume = match (path, read_only) {
            (Ok(path), Ok(_)) if path.is_empty() => Err("Missing path in host_volume config".to_owned()),
            (Ok(path), Ok(read_only)) => Ok(HostVolume { path: PathBuf::from(path), read_only }),
            (Err(e), _) | (_, Err(e)) => Err(e),
        };
        match volume {
            Ok(volume) => drop(self.draft.settings.client.host_volumes.insert(name, volume)),
            Err(e) => {
                self.problems.push(Problem::new(span, "Unsuitable value", format!("host_volume {name:?}: {e}.")));
            }
        }
    }

    fn host_network(&mut self, span: Span, name: String, inside: &Value) {
        let network = &mut self.draft.settings.client.network;
        let taken = network.take_host_network(name.clone(), first_object(inside), |ports| ranges(ports, 65_535));
        if let Err(e) = taken {
            self.problems.push(Problem::new(span, "Unsuitable value", format!("host_network {name:?}: {e}.")));
        }
    }

    fn device(&mut self, span: Span, name: String, inside: &Value) {
        match client_devices::device(&name, first_object(inside)) {
            Ok(device) => drop(self.draft.settings.client.devices.insert(name, device)),
            Err(e) => self.problems.push(Problem::new(span, "Unsuitable value", format!("device {name:?}: {e}."))),
        }
    }

    fn plugin(&mut self, name: &str, plugin: &Value) {
        let config = first_object(plugin).as_entries().and_then(|entries| entries.get("config")).map(first_object);
        if name == "raw_exec"
            && let Some(enabled) =
                config.and_then(|config| config.as_entries()).and_then(|config| config.get("enabled"))
        {
            match convert::flag(enabled) {
                Ok(enabled) => self.draft.settings.raw_exec_enabled = enabled,
                Err(e) => self.problems.push(Problem::nowhere("Unsuitable value", format!("raw_exec enabled: {e}"))),
            }
        }
        if let Some(config) = config {
            self.draft.settings.plugins.insert(name.to_owned(), config.to_json());
        }
        if !matches!(name, "raw_exec" | "exec" | "container" | "docker" | "qemu" | NVIDIA_PLUGIN) {
            self.unacted(&format!("plugin {name:?}"));
        }
    }

    fn value(&mut self, path: &str, acts: bool, span: Span, value: &Value) {
        if value.is_null() {
            return;
        }
        if path == "acl.enabled" {
            self.draft.acl_enabled = convert::flag(value).unwrap_or(true);
        }
        let outcome = if acts { self.set(path, value) } else { self.pass_over(path, value) };
        if let Err(e) = outcome {
            self.problems.push(Problem::new(span, "Unsuitable value", format!("{path}: {e}.")));
        }
    }

    /// Keys of a block that is not acted on are covered by the name of the block.
    fn pass_over(&mut self, path: &str, value: &Value) -> Result<(), String> {
        let is_covered = self.draft.settings.unacted.iter().any(|known| path.starts_with(&format!("{known}.")));
        let is_off = matches!(value, Value::Bool(false)) || value.as_str() == Some("");
        if !is_covered && !is_off {
            self.unacted(path);
        }
        Ok(())
    }

    fn set(&mut self, path: &str, value: &Value) -> Result<(), String> {
        if let Some(key) = path.strip_prefix("server.") {
            return self.server(key, value);
        }
        if let Some(key) = path.strip_prefix("client.") {
            return self.client(key, value);
        }
        if let Some(key) = path.strip_prefix("tls.") {
            return self.tls(key, value);
        }
        if let Some(key) = path.strip_prefix("telemetry.") {
            return self.draft.settings.telemetry.set(key, value);
        }
        let draft = &mut *self.draft;
        let settings = &mut draft.settings;
        let port = |value: &Value| convert::whole(value, 65_535).map(|port| port as u16);
        let bound = |value: &Value| convert::whole(value, u64::from(u32::MAX)).map(|bound| bound as u32);
        match path {
            "region" => settings.region = convert::text(value)?,
            "datacenter" => settings.datacenter = convert::text(value)?,
            "name" => draft.name = Some(convert::text(value)?),
            "data_dir" => settings.data_dir = Some(PathBuf::from(convert::text(value)?)),
            "log_level" => settings.log_level = log_level(&convert::text(value)?)?,
            "log_json" => settings.log_json = convert::flag(value)?,
            "bind_addr" => draft.bind_addr = Some(convert::text(value)?),
            "http_api_response_headers" => settings.http_api_response_headers.extend(convert::map(value)?),
            "ports.http" => settings.ports.http = port(value)?,
            "ports.rpc" => settings.ports.rpc = port(value)?,
            "ports.serf" => settings.ports.serf = port(value)?,
            "addresses.http" => draft.http = Some(convert::text(value)?),
            "addresses.rpc" => draft.rpc = Some(convert::text(value)?),
            "addresses.serf" => draft.serf = Some(convert::text(value)?),
            "advertise.http" => settings.advertise.http = Some(convert::text(value)?),
            "advertise.rpc" => settings.advertise.rpc = Some(convert::text(value)?),
            "advertise.serf" => settings.advertise.serf = Some(convert::text(value)?),
            "enable_debug" => settings.enable_debug = convert::flag(value)?,
            "leave_on_interrupt" => settings.leave_on_interrupt = convert::flag(value)?,
            "leave_on_terminate" => settings.leave_on_terminate = convert::flag(value)?,
            "autopilot.cleanup_dead_servers" => settings.autopilot.cleanup_dead_servers = convert::flag(value)?,
            "autopilot.last_contact_threshold" => settings.autopilot.last_contact_threshold = convert::duration(value)?,
            "autopilot.max_trailing_logs" => {
                settings.autopilot.max_trailing_logs = convert::whole(value, i64::MAX as u64)?;
            }
            "autopilot.min_quorum" => settings.autopilot.min_quorum = convert::whole(value, 1000)?,
            "autopilot.server_stabilization_time" => {
                settings.autopilot.server_stabilization_time = convert::duration(value)?;
            }
            "limits.https_handshake_timeout" => settings.limits.https_handshake_timeout = convert::duration(value)?,
            "limits.rpc_handshake_timeout" => settings.limits.rpc_handshake_timeout = convert::duration(value)?,
            "limits.rpc_max_conns_per_client" => match bound(value)? {
                few if few != 0 && few <= RPC_CONNECTIONS_FLOOR => {
                    return Err(format!("rpc_max_conns_per_client must be > {RPC_CONNECTIONS_FLOOR}; found: {few}"));
                }
                max => settings.limits.rpc_connections_per_client_max = max,
            },
            "limits.http_max_conns_per_client" => settings.limits.http_connections_per_client_max = bound(value)?,
            _ => return Err("known, but not read".to_owned()),
        }
        Ok(())
    }

    fn server(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let server = &mut self.draft.settings.server;
        match key {
            "enabled" => server.enabled = convert::flag(value)?,
            "bootstrap_expect" => server.bootstrap_expect = convert::whole(value, 1000)? as u32,
            "data_dir" => server.data_dir = Some(PathBuf::from(convert::text(value)?)),
            "enable_event_broker" => server.events.is_on = convert::flag(value)?,
            "event_buffer_size" => server.events.buffer = convert::whole(value, EVENT_BUFFER_MAX)? as usize,
            "encrypt" => server.encrypt = Some(convert::text(value)?),
            "join_token_file" => server.join_token_file = Some(PathBuf::from(convert::text(value)?)),
            "kept_snapshots.count" => server.kept_snapshots.count = convert::whole(value, 1000)? as usize,
            "kept_snapshots.interval" => match convert::duration(value)? {
                short if !short.is_zero() && short < KEPT_INTERVAL_MIN => {
                    return Err("an interval of 1m or more is needed, or 0 for none".to_owned());
                }
                interval => server.kept_snapshots.interval = interval,
            },
            "raft_multiplier" => match convert::whole(value, i64::MAX as u64)? {
                // As in Nomad: the usual one.
                0 => {}
                multiplier if multiplier > u64::from(RAFT_MULTIPLIER_MAX) => {
                    let text = "raft_multiplier cannot be";
                    return Err(format!("{text} {multiplier}. Must be between 1 and {RAFT_MULTIPLIER_MAX}"));
                }
                multiplier => server.raft.multiplier = multiplier as u32,
            },
            "raft_snapshot_threshold" => {
                server.raft.snapshot_threshold =
                    Some(convert::whole(value, i64::MAX as u64)?).filter(|count| *count > 0);
            }
            "raft_snapshot_interval" => {
                server.raft.snapshot_interval = Some(convert::duration(value)?).filter(|interval| !interval.is_zero());
            }
            "raft_trailing_logs" => {
                server.raft.trailing_logs = Some(convert::whole(value, i64::MAX as u64)?).filter(|count| *count > 0);
            }
            "start_join" | "server_join.start_join" => server.join.start_join.extend(convert::list(value)?),
            "retry_join" | "server_join.retry_join" => server.join.retry_join.extend(convert::list(value)?),
            "retry_interval" | "server_join.retry_interval" => {
                server.join.retry_interval = convert::duration(value)?;
            }
            "retry_max" | "server_join.retry_max" => {
                server.join.retry_max = convert::whole(value, u64::from(u32::MAX))? as u32;
            }
            _ => return Err("known, but not read".to_owned()),
        }
        Ok(())
    }

    fn client(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let client = &mut self.draft.settings.client;
        let path = |value: &Value| convert::text(value).map(PathBuf::from);
        let amount = |value: &Value| convert::whole(value, i64::MAX as u64);
        let override_of = |value: &Value| amount(value).map(|amount| (amount > 0).then_some(amount));
        let port = |value: &Value| convert::whole(value, 65_535).map(|port| port as u16);
        match key {
            "enabled" => client.enabled = convert::flag(value)?,
            "servers" => client.servers = convert::list(value)?,
            "server_join.start_join" | "server_join.retry_join" => client.servers.extend(convert::list(value)?),
            "node_class" => client.node_class = convert::text(value)?,
            "node_pool" => client.node_pool = convert::text(value)?,
            "options" => client.options.extend(convert::map(value)?),
            "meta" => client.meta.extend(convert::map(value)?),
            "chroot_env" => client.chroot_env.extend(convert::map(value)?),
            "min_dynamic_port" => client.dynamic_port_min = port(value)?,
            "max_dynamic_port" => client.dynamic_port_max = port(value)?,
            "cpu_total_compute" => client.cpu_total_mhz = override_of(value)?,
            "memory_total_mb" => client.memory_total_mib = override_of(value)?,
            "disk_total_mb" => client.disk_total_mib = override_of(value)?,
            "join_token_file" => client.join_token_file = Some(path(value)?),
            "state_dir" => client.state_dir = Some(path(value)?),
            "alloc_dir" => client.alloc_dir = Some(path(value)?),
            "max_kill_timeout" => client.kill_timeout_max = convert::duration(value)?,
            "network_interface" => client.network_interface = Some(convert::text(value)?),
            "reserved.cpu" => client.reserved.cpu_mhz = amount(value)?,
            "reserved.memory" => client.reserved.memory_mib = amount(value)?,
            "reserved.disk" => client.reserved.disk_mib = amount(value)?,
            "reserved.reserved_ports" => client.reserved.ports = ranges(convert::text(value)?, 65_535)?,
            "reserved.cores" => client.reserved.cores = ranges(convert::text(value)?, 1023)?,
            "gc_interval" => {
                client.gc.interval = Some(convert::duration(value)?)
                    .filter(|interval| !interval.is_zero())
                    .ok_or("a duration above 0 is needed")?;
            }
            // As in Nomad, 0 is what nobody has set.
            "gc_disk_usage_threshold" => match convert::percent(value)? {
                0.0 => {}
                percent => client.gc.disk_used_max_percent = percent,
            },
            "gc_inode_usage_threshold" => match convert::percent(value)? {
                0.0 => {}
                percent => client.gc.inodes_used_max_percent = percent,
            },
            "gc_max_allocs" => match convert::whole(value, u64::from(u32::MAX))? {
                0 => {}
                max => client.gc.allocs_max = max as usize,
            },
            "gc_parallel_destroys" => match convert::whole(value, u64::from(u32::MAX))? {
                0 => {}
                max => client.gc.parallel_max = max as usize,
            },
            other if client.network.take(other, value)? => {}
            _ => return Err("known, but not read".to_owned()),
        }
        Ok(())
    }

    fn tls(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let tls = &mut self.draft.settings.tls;
        let file = |value: &Value| convert::text(value).map(|path| (!path.is_empty()).then(|| PathBuf::from(path)));
        match key {
            "http" => tls.http = Some(convert::flag(value)?),
            "rpc" => tls.rpc = Some(convert::flag(value)?),
            "ca_file" => tls.ca_file = file(value)?,
            "cert_file" => tls.cert_file = file(value)?,
            "key_file" => tls.key_file = file(value)?,
            "verify_server_hostname" => tls.verify_server_hostname = Some(convert::flag(value)?),
            "verify_https_client" => tls.verify_https_client = convert::flag(value)?,
            _ => return Err("known, but not read".to_owned()),
        }
        Ok(())
    }
}

/// The level, or the text that names all levels.
pub fn log_level(text: &str) -> Result<crate::settings::LogLevel, String> {
    crate::settings::LogLevel::parse(text).ok_or_else(|| {
        format!("Invalid log level: {}. Valid log levels are: [TRACE DEBUG INFO WARN ERROR OFF]", text.to_uppercase())
    })
}

/// `22,8000-8100`, each number at most `max`.
fn ranges(text: String, max: u64) -> Result<String, String> {
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            let number: u64 =
                text.trim().parse().map_err(|_| format!("numbers and ranges are needed, not {part:?}"))?;
            if number > max { Err(format!("{number} is larger than {max}")) } else { Ok(number) }
        };
        if number(low)? > number(high)? {
            return Err(format!("the range {part:?} runs backwards"));
        }
    }
    Ok(text)
}

/// A block's inside as an object; blocks that stand twice become a list.
fn entries_of(items: Vec<Item>) -> BTreeMap<String, Value> {
    let mut entries: BTreeMap<String, Value> = BTreeMap::new();
    for item in items {
        let value = match item.content {
            Content::Value(value) => value,
            Content::Block { labels, items } => {
                let inner = Value::Object(entries_of(items));
                labels.into_iter().rev().fold(inner, |inner, label| Value::Object(BTreeMap::from([(label, inner)])))
            }
        };
        entries.insert(item.name, value);
    }
    entries
}

/// An object, or the first one of a list.
fn first_object(value: &Value) -> &Value {
    value.as_items().and_then(|items| items.first()).unwrap_or(value)
}
