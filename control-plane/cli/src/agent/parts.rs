//! The parts of a running agent: server, HTTP API, edge client; started in that order, stopped in the other.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use drover_agent_config::Settings;
use drover_edge_agent::{EdgeAgent, EdgeConfig, EdgeHandle};
use drover_http_api::{AgentFacts, Api, ServeOptions, Tls, TlsFiles};
use drover_server::endpoints::RpcLimits;
use drover_server::kept_snapshots::KeptSnapshots;
use drover_server::own_tls::OwnTls;
use drover_server::{AutopilotConfig, Server, gossip_key};

use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::banner::Addresses;
use super::control::Control;

/// What runs.
pub struct Parts {
    server: Option<Server>,
    edge: Option<EdgeHandle>,
    http: Vec<JoinHandle<std::io::Result<()>>>,
    stop_http: watch::Sender<bool>,
    serve_options: ServeOptions,
    server_failed: oneshot::Receiver<String>,
    addresses: Addresses,
}

impl Parts {
    /// Starts what the settings ask for.
    ///
    /// # Errors
    /// A certificate can't be read, a port is taken, a directory can't be used: the text says which.
    pub async fn start(settings: &Settings, data_dir: PathBuf, control: Arc<Control>) -> anyhow::Result<Self> {
        let (fail_server, server_failed) = oneshot::channel();
        let (stop_http, _) = watch::channel(false);
        let serve_options = serve_options(settings)?;
        drover_edge_agent::telemetry::start(settings)?;
        // The HTTP port first: if it is taken, nothing else was touched.
        let listeners = listen_http(settings).await?;
        let http_bound = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        let advertise_http = advertised(settings.advertise.http.as_deref(), http_bound.first().copied());
        let mut parts = Self {
            server: None,
            edge: None,
            http: Vec::new(),
            stop_http,
            serve_options,
            server_failed,
            addresses: Addresses { http: http_bound, advertise_http: advertise_http.clone(), ..Addresses::default() },
        };
        let started = parts.start_in(settings, data_dir, listeners, (fail_server, control)).await;
        match started {
            Ok(()) => Ok(parts),
            Err(error) => {
                parts.stop().await;
                Err(error)
            }
        }
    }

    async fn start_in(
        &mut self,
        settings: &Settings,
        data_dir: PathBuf,
        listeners: Vec<TcpListener>,
        (fail_server, control): (oneshot::Sender<String>, Arc<Control>),
    ) -> anyhow::Result<()> {
        if settings.server.enabled {
            let server = self.start_server(settings, &data_dir, fail_server).await?;
            self.addresses.rpc = Some(SocketAddr::new(settings.listen.rpc, server.info().rpc_advertise.port()));
            self.addresses.advertise_rpc = server.info().rpc_advertise.to_string();
            self.addresses.gossip = Some(SocketAddr::new(settings.listen.serf, server.info().gossip_advertise.port()));
            self.addresses.advertise_gossip = server.info().gossip_advertise.to_string();
            let publishing = drover_server::metrics::Publishing {
                interval: settings.telemetry.collection_interval,
                leaves_dispatched_out: settings.telemetry.disable_dispatched_job_summary,
            };
            tokio::spawn(drover_server::metrics::publish(server.clone(), publishing));
            self.server = Some(server);
        }
        if settings.client.enabled {
            let mut config = EdgeConfig::from_settings(settings).context("configure the client")?;
            if settings.data_dir.is_none() {
                config = config.in_directory(&data_dir);
            }
            config.http_addr = self.addresses.advertise_http.clone();
            if let (Some(server), true) = (&self.server, config.servers.is_empty()) {
                // Its own server, in this process: over the same port as any other's.
                config.servers = vec![drover_server::loopback_of(server.info().rpc_advertise).to_string()];
            }
            self.edge = Some(EdgeAgent::start(config).await.context("start the client")?);
        }
        for listener in listeners {
            let mut stop = self.stop_http.subscribe();
            let shutdown = async move {
                // An error means that the sender is gone: the agent stops.
                let _ = stop.wait_for(|stop| *stop).await;
            };
            let options = self.serve_options.clone();
            let serving = match (&self.server, &self.edge) {
                (Some(server), edge) => {
                    let api = Api::new(server.clone(), facts(settings, edge.as_ref())).with_control(control.clone());
                    server.set_forward_handler(drover_http_api::forward_handler(api.clone()));
                    tokio::spawn(drover_http_api::serve(listener, api, options, shutdown))
                }
                (None, Some(edge)) => {
                    let (forwarder, control) = (edge.forwarder(), control.clone());
                    tokio::spawn(drover_http_api::relay(listener, forwarder, Some(control), options, shutdown))
                }
                (None, None) => continue,
            };
            self.http.push(serving);
        }
        Ok(())
    }

    async fn start_server(
        &self,
        settings: &Settings,
        data_dir: &std::path::Path,
        fail_server: oneshot::Sender<String>,
    ) -> anyhow::Result<Server> {
        let rpc_bind = SocketAddr::new(settings.listen.rpc, settings.ports.rpc);
        let rpc_advertise = settings
            .advertise
            .rpc
            .as_deref()
            .map(|text| resolve(text, settings.ports.rpc))
            .transpose()
            .context("advertise.rpc")?;
        let gossip_advertise = settings
            .advertise
            .serf
            .as_deref()
            .map(|text| resolve(text, settings.ports.serf))
            .transpose()
            .context("advertise.serf")?;
        let join = &settings.server.join;
        let server_settings = drover_server::Settings {
            name: settings.name.clone(),
            region: settings.region.clone(),
            datacenter: settings.datacenter.clone(),
            data_dir: settings.server.data_dir.clone().unwrap_or_else(|| data_dir.join("server")),
            rpc_bind,
            rpc_advertise,
            http_advertise: self.addresses.advertise_http.clone(),
            bootstrap_expect: settings.server.bootstrap_expect,
            gossip_bind: SocketAddr::new(settings.listen.serf, settings.ports.serf),
            gossip_advertise,
            gossip_key: settings.server.encrypt.as_deref().map(gossip_key).transpose().context("server.encrypt")?,
            join: drover_server::JoinSettings {
                once: join.start_join.clone(),
                retry: join.retry_join.clone(),
                interval: join.retry_interval,
                attempts_max: (join.retry_max > 0).then_some(join.retry_max),
            },
            join_token: join_token(settings.server.join_token_file.as_deref())?,
            autopilot: AutopilotConfig {
                cleanup_dead_servers: settings.autopilot.cleanup_dead_servers,
                last_contact_threshold: settings.autopilot.last_contact_threshold,
                max_trailing_logs: settings.autopilot.max_trailing_logs,
                min_quorum: settings.autopilot.min_quorum,
                server_stabilization_time: settings.autopilot.server_stabilization_time,
                ..AutopilotConfig::default()
            },
            own_tls: settings.tls.rpc_files().map(|files| OwnTls { ca: files.ca, cert: files.cert, key: files.key }),
            rpc_limits: RpcLimits {
                handshake_time_max: Some(settings.limits.rpc_handshake_timeout).filter(|time| !time.is_zero()),
                connections_per_client_max: Some(settings.limits.rpc_connections_per_client_max as usize)
                    .filter(|max| *max > 0),
            },
            stays_alone: settings.dev,
            kept_snapshots: KeptSnapshots {
                interval: settings.server.kept_snapshots.interval,
                count: settings.server.kept_snapshots.count,
            },
            event_buffer: settings.server.events.is_on.then_some(settings.server.events.buffer),
            raft_log: drover_server::LogLength::of(
                settings.server.raft.snapshot_threshold,
                settings.server.raft.trailing_logs,
            ),
            raft_snapshot_interval: drover_server::snapshot_interval(settings.server.raft.snapshot_interval),
            raft_pace: drover_server::Pace::new(settings.server.raft.multiplier),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let fatal = move |reason| {
            // Nobody listens when the agent is stopping already.
            let _ = fail_server.send(reason);
        };
        Server::start(server_settings, fatal).await.context("start the server")
    }

    /// Where the parts are reached.
    pub fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// Resolves with the reason when a part can't go on.
    pub async fn failed(&mut self) -> String {
        let edge_failed = async {
            match self.edge.as_mut() {
                Some(edge) => edge.failed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = edge_failed => format!("client: {reason}"),
            Ok(reason) = &mut self.server_failed => format!("server: {reason}"),
        }
    }

    /// Reads certificates of one's own again. What can't be read is said, and what was read before stays.
    pub async fn reload(&self) {
        if let Some(tls) = self.serve_options.tls.clone() {
            match tokio::task::spawn_blocking(move || tls.reload().context("tls")).await {
                Ok(Ok(())) => tracing::info!("http: certificate reloaded"),
                Ok(Err(error)) => tracing::error!(error = %format!("{error:#}"), "http: certificate not reloaded"),
                Err(error) => tracing::error!(%error, "http: certificate not reloaded"),
            }
        }
        if let Some(server) = &self.server
            && let Err(error) = server.reload_certificates()
        {
            tracing::error!(error = %format!("{:#}", anyhow::Error::from(error)), "rpc: certificate not reloaded");
        }
        if let Some(edge) = &self.edge {
            edge.reload().await;
        }
    }

    /// A server leaves its region for good: it is to be stopped then.
    pub async fn leave(&self) {
        if let Some(server) = &self.server {
            tracing::info!("server: leaving the region");
            server.leave().await;
        }
    }

    /// Stops everything: first nobody new is let in, then the client, then the server.
    pub async fn stop(&mut self) {
        self.stop_http.send_replace(true);
        for serving in self.http.drain(..) {
            match serving.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "http ended"),
                Err(error) => tracing::warn!(%error, "http ended"),
            }
        }
        if let Some(edge) = self.edge.take() {
            tracing::info!("client: shutting down");
            edge.stop().await;
        }
        if let Some(server) = self.server.take() {
            tracing::info!("server: shutting down");
            server.shutdown().await;
        }
    }
}

/// How HTTP is served. What can't be is said before anything is started.
fn serve_options(settings: &Settings) -> anyhow::Result<ServeOptions> {
    let (tls, limits) = (&settings.tls, &settings.limits);
    let tls = match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) if tls.http == Some(true) => {
            let client_ca = tls.ca_file.clone().filter(|_| tls.verify_https_client);
            let files = TlsFiles { cert: cert.clone(), key: key.clone(), client_ca };
            Some(Arc::new(Tls::load(files).context("tls")?))
        }
        _ => None,
    };
    let options = ServeOptions::default().with_headers(&settings.http_api_response_headers);
    Ok(ServeOptions {
        tls,
        handshake_time_max: Some(limits.https_handshake_timeout).filter(|time| !time.is_zero()),
        connections_per_client_max: Some(limits.http_connections_per_client_max).filter(|max| *max > 0),
        ..options.context("http_api_response_headers")?
    })
}

async fn listen_http(settings: &Settings) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for ip in &settings.listen.http {
        let address = SocketAddr::new(*ip, settings.ports.http);
        let listener = TcpListener::bind(address).await.with_context(|| format!("listen for HTTP on {address}/tcp"))?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// What others are told: the setting, or where it is bound.
fn advertised(setting: Option<&str>, bound: Option<SocketAddr>) -> String {
    let Some(bound) = bound else { return setting.unwrap_or_default().to_owned() };
    match setting {
        Some(text) if text.parse::<SocketAddr>().is_ok() => text.to_owned(),
        Some(text) if text.parse::<IpAddr>().is_ok() || !text.contains(':') => format!("{text}:{}", bound.port()),
        Some(text) => text.to_owned(),
        None => drover_server::loopback_of(bound).to_string(),
    }
}

/// An address with or without a port.
fn resolve(text: &str, port: u16) -> anyhow::Result<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let ip: IpAddr = text.parse().with_context(|| format!("{text:?} is no address"))?;
    Ok(SocketAddr::new(ip, port))
}

/// The token that lets a server join from another host: of the environment, or of the file that is named.
fn join_token(file: Option<&std::path::Path>) -> anyhow::Result<Option<String>> {
    if let Ok(text) = std::env::var("DROVER_JOIN_TOKEN")
        && !text.trim().is_empty()
    {
        return Ok(Some(text.trim().to_owned()));
    }
    let Some(file) = file else { return Ok(None) };
    let text = std::fs::read_to_string(file).with_context(|| format!("read join_token_file {}", file.display()))?;
    Ok(Some(text.trim().to_owned()))
}

fn facts(settings: &Settings, edge: Option<&EdgeHandle>) -> AgentFacts {
    let config = json!({
        "Region": settings.region,
        "Datacenter": settings.datacenter,
        "NodeName": settings.name,
        "DataDir": settings.data_dir,
        "LogLevel": settings.log_level.as_str(),
        "BindAddr": settings.bind_addr.map(|ip| ip.to_string()).unwrap_or_default(),
        "DevMode": settings.dev,
        "LeaveOnInt": settings.leave_on_interrupt,
        "LeaveOnTerm": settings.leave_on_terminate,
        "Ports": {"HTTP": settings.ports.http, "RPC": settings.ports.rpc, "Serf": settings.ports.serf},
        "Server": {"Enabled": settings.server.enabled, "BootstrapExpect": settings.server.bootstrap_expect},
        "Client": {
            "Enabled": settings.client.enabled,
            "Servers": settings.client.servers,
            "NodeClass": settings.client.node_class,
            "NodePool": settings.client.node_pool,
            "Meta": settings.client.meta,
        },
        "ACL": {"Enabled": false},
        "TLSConfig": {
            "EnableHTTP": settings.tls.http == Some(true),
            "EnableRPC": true,
            "VerifyServerHostname": true,
            "VerifyHTTPSClient": settings.tls.verify_https_client,
            "CAFile": settings.tls.ca_file,
            "CertFile": settings.tls.cert_file,
            "KeyFile": settings.tls.key_file,
        },
        "Files": settings.files,
        "Version": {"Version": env!("CARGO_PKG_VERSION")},
    });
    AgentFacts { config, version: env!("CARGO_PKG_VERSION").to_owned(), node_id: edge.map(EdgeHandle::node_id) }
}
