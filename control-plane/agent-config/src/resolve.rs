//! Files, flags and defaults to settings, and what must hold across them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use drover_hcl::{Problem, Source, Span};

use crate::apply::{Draft, Layer, log_level};
use crate::complaint::Complaint;
use crate::convert;
use crate::files;
use crate::flags::{FlagSetting, Flags};
use crate::settings::{
    Advertise, AutopilotSettings, ClientSettings, Limits, Listen, LogLevel, Ports, ServerSettings, Settings,
    TlsSettings,
};
use crate::telemetry::TelemetrySettings;
use crate::tree::{self, Content, Item};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ALL: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Where an agent's settings come from; kept, so that they can be read again.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Files and directories, in order.
    pub paths: Vec<PathBuf>,
    /// What the command line says.
    pub flags: Flags,
}

impl Sources {
    /// The settings as the files are now.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(&self) -> Result<Settings, Vec<Complaint>> {
        load(&self.paths, &self.flags)
    }
}

/// Reads all files of the paths (directories hold files), lays the flags over them, and settles what follows.
pub fn load(paths: &[PathBuf], flags: &Flags) -> Result<Settings, Vec<Complaint>> {
    let mut draft = start(flags.dev);
    let mut complaints = Vec::new();
    for path in paths {
        match files::files_of(path) {
            Ok(files) => files.into_iter().for_each(|file| lay_file(file, &mut draft, &mut complaints)),
            Err(complaint) => complaints.push(complaint),
        }
    }
    lay_flags(flags, &mut draft, &mut complaints);
    if !complaints.is_empty() {
        return Err(complaints);
    }
    finish(draft)
}

/// What holds before any file: the defaults, and what a development agent has in their place.
fn start(dev: bool) -> Draft {
    let settings = Settings {
        dev,
        region: "global".to_owned(),
        datacenter: "dc1".to_owned(),
        name: String::new(),
        data_dir: None,
        log_level: if dev { LogLevel::Debug } else { LogLevel::Info },
        log_json: false,
        bind_addr: None,
        ports: Ports::default(),
        listen: Listen { http: vec![LOOPBACK], rpc: ALL, serf: ALL },
        advertise: Advertise::default(),
        limits: Limits::default(),
        server: ServerSettings { enabled: dev, bootstrap_expect: u32::from(dev), ..ServerSettings::default() },
        enable_debug: dev,
        leave_on_interrupt: false,
        leave_on_terminate: false,
        autopilot: AutopilotSettings::default(),
        client: ClientSettings { enabled: dev, ..ClientSettings::default() },
        tls: TlsSettings::default(),
        http_api_response_headers: BTreeMap::new(),
        telemetry: if dev { TelemetrySettings::development() } else { TelemetrySettings::default() },
        raw_exec_enabled: dev,
        plugins: BTreeMap::new(),
        unacted: Vec::new(),
        warnings: Vec::new(),
        files: Vec::new(),
    };
    let bind_addr = dev.then(|| LOOPBACK.to_string());
    Draft { settings, bind_addr, name: None, http: None, rpc: None, serf: None, acl_enabled: false }
}

fn lay_file(file: PathBuf, draft: &mut Draft, complaints: &mut Vec<Complaint>) {
    let source = match files::read(&file) {
        Ok(source) => source,
        Err(complaint) => {
            complaints.push(complaint);
            return;
        }
    };
    let problems = match tree::read(&source) {
        Ok(items) => {
            let mut layer = Layer::new(draft, &source);
            layer.items("", items);
            layer.problems
        }
        Err(problems) => problems,
    };
    complaints.extend(problems.iter().map(|problem| Complaint::at(&source, problem)));
    draft.settings.files.push(file);
}

/// Lays a flag over the draft as the files would.
fn lay_setting(setting: &FlagSetting, draft: &mut Draft, complaints: &mut Vec<Complaint>) {
    let source = Source::new(setting.flag, "");
    let item = |name: &str, content| Item {
        name: name.to_owned(),
        written: name.to_owned(),
        span: Span { start: 0, end: 0 },
        content,
    };
    let mut names = setting.path.rsplit('.');
    let mut whole = item(names.next().unwrap_or_default(), Content::Value(setting.value.clone()));
    for block in names {
        whole = item(block, Content::Block { labels: Vec::new(), items: vec![whole] });
    }
    let mut layer = Layer::new(draft, &source);
    layer.items("", vec![whole]);
    let said = |problem: Problem| Complaint::plain(format!("{}: {}", setting.flag, problem.detail));
    complaints.extend(layer.problems.into_iter().map(said));
}

fn lay_flags(flags: &Flags, draft: &mut Draft, complaints: &mut Vec<Complaint>) {
    for setting in &flags.settings {
        lay_setting(setting, draft, complaints);
    }
    let settings = &mut draft.settings;
    let set = |to: &mut String, from: &Option<String>| {
        if let Some(from) = from {
            to.clone_from(from);
        }
    };
    set(&mut settings.region, &flags.region);
    set(&mut settings.datacenter, &flags.datacenter);
    set(&mut settings.client.node_class, &flags.node_class);
    set(&mut settings.client.node_pool, &flags.node_pool);
    if let Some(level) = &flags.log_level {
        match log_level(level) {
            Ok(level) => settings.log_level = level,
            Err(e) => complaints.push(Complaint::plain(e)),
        }
    }
    settings.log_json |= flags.log_json;
    settings.server.enabled |= flags.server;
    settings.client.enabled |= flags.client;
    if let Some(number) = flags.bootstrap_expect {
        settings.server.bootstrap_expect = number;
    }
    let addresses = flags.servers.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|one| !one.is_empty());
    let addresses: Vec<String> = addresses.map(str::to_owned).collect();
    if !addresses.is_empty() {
        settings.client.servers = addresses;
    }
    if settings.client.enabled && !settings.server.enabled {
        settings.client.servers.extend(flags.retry_join.iter().cloned());
    } else {
        settings.server.join.retry_join.extend(flags.retry_join.iter().cloned());
    }
    for pair in &flags.meta {
        match pair.split_once('=') {
            Some((key, value)) => {
                settings.client.meta.insert(key.to_owned(), value.to_owned());
            }
            None => complaints.push(Complaint::plain(format!("Error parsing Client.Meta value: {pair}"))),
        }
    }
    let path = |to: &mut Option<PathBuf>, from: &Option<PathBuf>| {
        if from.is_some() {
            to.clone_from(from);
        }
    };
    path(&mut settings.data_dir, &flags.data_dir);
    path(&mut settings.client.alloc_dir, &flags.alloc_dir);
    path(&mut settings.client.state_dir, &flags.state_dir);
    for (to, from) in [
        (&mut draft.bind_addr, &flags.bind),
        (&mut draft.name, &flags.name),
        (&mut settings.client.network_interface, &flags.network_interface),
    ] {
        if from.is_some() {
            to.clone_from(from);
        }
    }
}

fn finish(draft: Draft) -> Result<Settings, Vec<Complaint>> {
    let mut complaints = Vec::new();
    let Draft { mut settings, bind_addr, name, http, rpc, serf, acl_enabled } = draft;
    settings.name = name.filter(|name| !name.is_empty()).unwrap_or_else(host_name);
    let mut address = |what: &str, text: &str| match convert::address(text) {
        Ok(address) => Some(address),
        Err(e) => {
            complaints.push(Complaint::plain(format!("{what}: {e}")));
            None
        }
    };
    settings.bind_addr =
        bind_addr.as_deref().filter(|text| !text.is_empty()).and_then(|text| address("bind_addr", text));
    settings.listen.rpc = settings.bind_addr.unwrap_or(ALL);
    settings.listen.serf = settings.bind_addr.unwrap_or(ALL);
    settings.listen.http = vec![settings.bind_addr.unwrap_or(LOOPBACK)];
    if let Some(text) = rpc {
        settings.listen.rpc = address("addresses.rpc", &text).unwrap_or(ALL);
    }
    if let Some(text) = serf {
        settings.listen.serf = address("addresses.serf", &text).unwrap_or(ALL);
    }
    if let Some(text) = http {
        settings.listen.http = text.split_whitespace().filter_map(|text| address("addresses.http", text)).collect();
    }
    check_open(&settings, acl_enabled, &mut complaints);
    check_rest(&settings, &mut complaints);
    warn(&mut settings);
    if complaints.is_empty() { Ok(settings) } else { Err(complaints) }
}

/// The HTTP API is not given to the network in plain text unless somebody says so.
fn check_open(settings: &Settings, acl_enabled: bool, complaints: &mut Vec<Complaint>) {
    let open = settings.listen.http.iter().find(|address| !address.is_loopback());
    if let (Some(open), None) = (open, settings.tls.http) {
        complaints.push(Complaint::with_hint(
            format!("HTTP would listen on {open}:{} without TLS, readable and writable for the network", settings.ports.http),
            "set up TLS with tls { http = true, ca_file = ..., cert_file = ..., key_file = ... }, or write tls { http = false } to accept plain HTTP; addresses { http = \"127.0.0.1\" } keeps it on this machine",
        ));
    }
    if settings.tls.http == Some(true) && (settings.tls.cert_file.is_none() || settings.tls.key_file.is_none()) {
        complaints
            .push(Complaint::with_hint("tls.http is on without a certificate", "set tls { cert_file and key_file }"));
    }
    if settings.tls.http == Some(true) && settings.tls.verify_https_client && settings.tls.ca_file.is_none() {
        let text = "tls.verify_https_client is on without an authority that callers' certificates come from";
        complaints.push(Complaint::with_hint(text, "set tls { ca_file }"));
    }
    check_rpc(settings, complaints);
    if acl_enabled {
        complaints.push(Complaint::with_hint(
            "acl.enabled is set, but ACLs are not there yet: the API would be open all the same",
            "take acl { enabled = true } out",
        ));
    }
}

/// Certificates of one's own for RPC come whole, and nothing else says then who may join.
fn check_rpc(settings: &Settings, complaints: &mut Vec<Complaint>) {
    let tls = &settings.tls;
    if tls.rpc != Some(true) {
        return;
    }
    if tls.rpc_files().is_none() {
        complaints.push(Complaint::with_hint(
            "tls.rpc is on without ca_file, cert_file and key_file",
            "make them with `drover tls ca create` and `drover tls cert create`, or take tls { rpc } out: drover then issues certificates itself",
        ));
    }
    for (file, block) in [(&settings.server.join_token_file, "server"), (&settings.client.join_token_file, "client")] {
        if file.is_some() {
            complaints.push(Complaint::with_hint(
                format!("{block}.join_token_file does not go with tls.rpc: who has a certificate of the own authority needs no token"),
                format!("take {block} {{ join_token_file }} or tls {{ rpc }} out"),
            ));
        }
    }
}

fn check_rest(settings: &Settings, complaints: &mut Vec<Complaint>) {
    let mut say = |text: String| complaints.push(Complaint::plain(text));
    if !settings.server.enabled && !settings.client.enabled {
        say("Must specify either server, client or dev mode for the agent.".to_owned());
    }
    match &settings.data_dir {
        Some(dir) if !dir.is_absolute() => {
            say(format!("data-dir must be given as an absolute path: got {}", dir.display()));
        }
        None if !settings.dev => {
            say("Must specify \"data_dir\" config option or \"data-dir\" CLI flag".to_owned());
        }
        _ => {}
    }
    if settings.datacenter.contains(['\0', '*']) {
        say("Datacenter contains invalid characters (null or '*')".to_owned());
    }
    if let Some(text) = settings.telemetry.check() {
        say(text);
    }
    let region = &settings.region;
    let is_label = (1..=63).contains(&region.len())
        && !region.starts_with('-')
        && !region.ends_with('-')
        && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !is_label {
        say(format!("region {region:?} is not one lower-case DNS label (letters, digits and dashes)"));
    }
    let client = &settings.client;
    let (min, max) = (client.dynamic_port_min, client.dynamic_port_max);
    if min == 0 || max == 0 || min > max {
        say(format!("Invalid dynamic port range: min_dynamic_port={min} and max_dynamic_port={max}"));
    }
    let pool = &client.node_pool;
    let is_pool =
        (1..=128).contains(&pool.len()) && pool.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if pool == "all" {
        say("Invalid node pool: node is not allowed to register in node pool \"all\"".to_owned());
    } else if !is_pool {
        say(format!("Invalid node pool: invalid name {pool:?}, must match regex ^[a-zA-Z0-9-_]{{1,128}}$"));
    }
}

fn warn(settings: &mut Settings) {
    if settings.tls.rpc == Some(true) && settings.tls.verify_server_hostname == Some(false) {
        let text =
            "tls.verify_server_hostname = false has no effect: a server is always known by its certificate's names";
        settings.warnings.push(text.to_owned());
    }
    if settings.dev || !settings.server.enabled {
        return;
    }
    let text = match settings.server.bootstrap_expect {
        1 => "Bootstrap mode enabled! Potentially unsafe operation.",
        even if even.is_multiple_of(2) => "Number of bootstrap servers should ideally be set to an odd number.",
        _ => return,
    };
    settings.warnings.push(text.to_owned());
}

/// The host's name as the kernel knows it.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}
