//! What an agent prints before its log begins.

use std::net::SocketAddr;

use drover_agent_config::Settings;

/// Where the parts of an agent are reached.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// Bound HTTP addresses.
    pub http: Vec<SocketAddr>,
    /// The bound RPC address, of a server.
    pub rpc: Option<SocketAddr>,
    /// What others are told for HTTP.
    pub advertise_http: String,
    /// What others are told for RPC.
    pub advertise_rpc: String,
    /// The bound gossip address, of a server.
    pub gossip: Option<SocketAddr>,
    /// What others are told for gossip.
    pub advertise_gossip: String,
}

/// Before anything is started.
pub fn print_start(settings: &Settings) {
    match settings.files.as_slice() {
        [] => println!("==> No configuration files loaded"),
        files => {
            let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            println!("==> Loaded configuration from {}", names.join(", "));
        }
    }
    for warning in &settings.warnings {
        println!("==> WARNING: {warning}");
    }
    if !settings.unacted.is_empty() {
        println!("==> WARNING: known to drover, but not acted on yet: {}", settings.unacted.join(", "));
    }
    println!("==> Starting drover agent...");
}

/// After everything was started.
pub fn print_started(settings: &Settings, addresses: &Addresses) {
    let bound = |address: &Option<SocketAddr>| address.map_or_else(|| "none".to_owned(), |address| address.to_string());
    let http: Vec<String> = addresses.http.iter().map(ToString::to_string).collect();
    let mut rows = Vec::new();
    if settings.server.enabled {
        let Addresses { advertise_http, advertise_rpc, advertise_gossip, .. } = addresses;
        let advertised = format!("HTTP: {advertise_http}; RPC: {advertise_rpc}; Serf: {advertise_gossip}");
        let (rpc, gossip) = (bound(&addresses.rpc), bound(&addresses.gossip));
        rows.push(("Advertise Addrs", advertised));
        rows.push(("Bind Addrs", format!("HTTP: {}; RPC: {rpc}; Serf: {gossip}", http.join(", "))));
    } else {
        rows.push(("Advertise Addrs", format!("HTTP: {}", addresses.advertise_http)));
        rows.push(("Bind Addrs", format!("HTTP: {}", http.join(", "))));
    }
    rows.push(("Client", settings.client.enabled.to_string()));
    rows.push(("Log Level", settings.log_level.as_str().to_owned()));
    rows.push(("Region", format!("{} (DC: {})", settings.region, settings.datacenter)));
    rows.push(("Server", settings.server.enabled.to_string()));
    rows.push(("Version", env!("CARGO_PKG_VERSION").to_owned()));
    println!("==> drover agent configuration:\n");
    for (name, value) in rows {
        println!("{name:>22}: {value}");
    }
    println!("\n==> drover agent started! Log data will stream in below:\n");
}

/// First lines of the log that people should read.
pub fn log_facts(settings: &Settings) {
    if settings.server.enabled {
        tracing::info!("ACLs are off: whoever reaches the HTTP address can run jobs, on loopback every local user");
    }
    if settings.client.enabled && !rustix::process::geteuid().is_root() {
        tracing::warn!("not root: tasks run without limits, and only raw_exec is there");
    }
}
