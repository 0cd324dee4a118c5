//! The agent: one loop over what happens, and the starting and stopping of everything around it.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use drover_model::alloc::Alloc;
use drover_model::job::JobType;
use drover_model::{AllocId, NodeId};
use drover_protocol::codec;
use drover_protocol::edge::{FromServer, HttpHead, HttpRequest, NodeAllocs, REQUEST_BYTES_MAX, RpcError, ToServer};
use drover_runner::alloc_dir::AllocDir;
use drover_runner::decide::Limits;
use drover_runner::drivers::supervised::Supervised;
use drover_runner::drivers::{Drivers, StartOptions};
use drover_runner::task_env::{DENIED, EdgeFacts};
use drover_runner::{AllocActual, Edge, Journal, Report, Wanted, clock, spawn};
use drover_transport::Connection;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::audit::Auditor;
use crate::cloud::{CloudWatch, ThisCloud};
use crate::config::EdgeConfig;
use crate::connection::{Heard, Link, LinkStatus};
use crate::figures::{AllocFigures, Publisher};
use crate::gc::Collector;
use crate::kept_keys::{actual_key, alloc_of, orphans, wanted_key};
use crate::meta::Metadata;
use crate::outbox::Outbox;
use crate::own_node::OwnNode;
use crate::refresh::Refresh;
use crate::requests::{Allocs, Requests};
use crate::store::Store;
use crate::{devices, fingerprint, meta, networks, node_id};

/// Reports of runners that wait for the loop; runners with one more wait too.
const REPORTS_MAX: usize = 256;
/// Pushed changes that wait for the loop; the connection waits with the next one.
const HEARD_MAX: usize = 4;
/// How long a development agent's tasks outlive it when it could not say good-bye.
const LINGER: Duration = Duration::from_secs(10);
/// Parts of a forwarded answer under way; a slow reader holds the server up.
const BODY_PARTS_MAX: usize = 4;
/// The longest time that a stop waits for the disk.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);

/// The edge.
pub struct EdgeAgent;

/// How an edge stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeStatus {
    /// The server that has registered the node.
    pub server: Option<String>,
    /// Why there is none.
    pub error: Option<String>,
}

/// A running edge. Dropping it without [`EdgeHandle::stop`] leaves tasks running.
pub struct EdgeHandle {
    node_id: NodeId,
    status: watch::Receiver<LinkStatus>,
    connection: watch::Receiver<Option<Connection>>,
    allocs: Arc<Allocs>,
    stop: mpsc::Sender<oneshot::Sender<()>>,
    link: JoinHandle<()>,
    failure: oneshot::Receiver<()>,
    supervised: Arc<Supervised>,
    store: Store,
    config: Arc<EdgeConfig>,
    renewed: Arc<Notify>,
    /// The machine is to be looked at.
    asked: Arc<Notify>,
}

/// An HTTP answer on its way through the edge's connection: its head, and its body in parts.
pub type Forwarding = Pin<Box<dyn Future<Output = Result<(HttpHead, mpsc::Receiver<Bytes>), RpcError>> + Send>>;
/// Hands HTTP requests to a server on the edge's connection.
pub type Forwarder = Arc<dyn Fn(HttpRequest) -> Forwarding + Send + Sync>;

/// Everything that happens to the agent.
enum AgentEvent {
    Heard(Heard),
    TaskChanged(Report),
    Stop(oneshot::Sender<()>),
}

impl EdgeAgent {
    /// Starts an edge in the present runtime. When this returns its state is read, its supervisor runs, and the tasks of an
    /// earlier life are taken over; connecting goes on beside.
    pub async fn start(config: EdgeConfig) -> Result<EdgeHandle> {
        let config = Arc::new(config);
        make_state_dir(&config)?;
        check_host_volumes(&config)?;
        networks::check(&config.network)?;
        let node_id = node_id::load_or_make(&config.state_dir)?;
        let (store, values) =
            Store::open(&config.state_dir).map_err(|error| anyhow!(error)).context("open the edge's state")?;
        let supervised = start_supervisor(&config, node_id).await?;
        let failure = supervised.lost().context("the supervisor was just started")?;

        let drivers = Drivers::on_supervisor(&supervised, &config.drivers)?;
        let dynamic_meta = meta::kept(&values);
        let mut node = fingerprint::node(node_id, &config, &drivers, clock::now().wall);
        let found = devices::find(&config);
        node.node_resources.devices = found.groups;
        node.meta = meta::merged(&config.meta, &dynamic_meta);
        let cloud = ThisCloud::find(&config.clouds);
        if let Some(cloud) = &cloud {
            cloud.put_known(&mut node, &values);
        }
        let node = Arc::new(node);
        let facts = EdgeFacts {
            node: node.clone(),
            region: config.region.clone(),
            host_env: host_env(&config),
            devices: Arc::new(found.access),
        };
        let known_drivers = drivers.clone();
        let limits = Limits { kill_timeout_max: config.kill_timeout_max };
        let journal = Arc::new(StoreJournal(store.clone()));
        let edge = Edge::new(drivers, config.alloc_dir.clone(), limits, facts, journal);
        let edge = Arc::new(edge.with_networks(networks::of_allocs(&config, node_id)));
        let listing = supervised.clone();
        let known =
            tokio::task::spawn_blocking(move || listing.list()).await?.context("list the supervisor's tasks")?;
        edge.set_unclaimed(known.into_iter().map(|task| task.id).collect());

        let (reports_tx, reports) = mpsc::channel(REPORTS_MAX);
        let (heard_tx, heard) = mpsc::channel(HEARD_MAX);
        let (stop, stop_rx) = mpsc::channel(1);
        let (status_tx, status) = watch::channel(LinkStatus::default());
        let (connection_tx, connection) = watch::channel(None);
        let renewed = Arc::new(Notify::new());
        let allocs = Arc::new(Allocs::default());
        let outbox = Arc::new(Outbox::default());
        let figures = config.figures.as_ref().map(|settings| Arc::new(AllocFigures::new(settings.metadata.clone())));
        let collector =
            Arc::new(Collector::new(config.gc, edge.clone(), allocs.clone(), outbox.clone(), store.clone(), &values));
        let mut agent = Agent {
            collector: collector.clone(),
            edge: edge.clone(),
            auditor: Arc::new(Auditor::new(&config, edge.clone(), supervised.clone(), allocs.clone())),
            store: store.clone(),
            allocs: allocs.clone(),
            outbox: outbox.clone(),
            figures: figures.clone(),
            restored: BTreeSet::new(),
            reports_tx,
            held: BTreeMap::new(),
            pulled: BTreeSet::new(),
            synced: watch::Sender::new(false),
        };
        let known_servers = agent.restore(&values);
        let (nodes_tx, nodes) = watch::channel(node.clone());
        let own = Arc::new(OwnNode::new(edge.clone(), nodes_tx));
        let asked = Arc::new(Notify::new());
        let refresh =
            Refresh { config: config.clone(), own: own.clone(), drivers: known_drivers, asked: asked.clone() };
        let cloud = cloud.map(|cloud| cloud.watch(own.clone(), store.clone()));
        let metadata = Metadata::new(config.meta.clone(), dynamic_meta, store.clone(), own);
        let requests = Arc::new(Requests::new(allocs.clone(), edge.clone(), collector, metadata));
        if let (Some(figures), Some(settings)) = (figures, config.figures.clone()) {
            let (node, allocs, requests, status) = (node.clone(), allocs.clone(), requests.clone(), status.clone());
            let supervised = supervised.clone();
            tokio::spawn(Publisher { settings, node, edge, allocs, figures, requests, supervised, status }.run());
        }
        let link = Link {
            config: config.clone(),
            node,
            nodes,
            outbox,
            requests: Some(requests),
            heard: heard_tx,
            status: status_tx,
            connection: connection_tx,
            known_servers,
            renewed: renewed.clone(),
        };
        let link = tokio::spawn(link.run());
        tokio::spawn(agent.run(refresh, cloud, heard, reports, stop_rx));
        Ok(EdgeHandle {
            node_id,
            status,
            connection,
            allocs,
            stop,
            link,
            failure,
            supervised,
            store,
            config,
            renewed,
            asked,
        })
    }
}

impl EdgeHandle {
    /// The node's id.
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// How the edge stands now.
    pub fn status(&self) -> EdgeStatus {
        let LinkStatus { server, error } = self.status.borrow().clone();
        EdgeStatus { server, error }
    }

    /// Resolves when the node is registered with a server.
    pub async fn registered(&self) {
        let mut status = self.status.clone();
        // The sender goes with the connection, which goes with the agent.
        let _ = status.wait_for(|status| status.server.is_some()).await;
    }

    /// How many allocs it has, ended ones that are still kept included.
    pub fn alloc_count(&self) -> usize {
        self.allocs.lock().len()
    }

    /// What hands HTTP requests to a server on the edge's connection: how a client-only agent answers HTTP.
    pub fn forwarder(&self) -> Forwarder {
        let connection = self.connection.clone();
        Arc::new(move |request| {
            let connection = connection.borrow().clone();
            Box::pin(forward(connection, request))
        })
    }

    /// Looks at the machine again, and reads the operator's certificates: the connection is made anew with them, tasks do not
    /// notice.
    pub async fn reload(&self) {
        self.asked.notify_one();
        if self.config.own_tls.is_some() {
            self.renewed.notify_one();
        }
    }

    /// Resolves when the edge can't go on, with the reason.
    pub async fn failed(&mut self) -> String {
        let _ = (&mut self.failure).await;
        "the supervisor of the tasks is gone".to_owned()
    }

    /// Stops the edge. Tasks run on, unless they end with it.
    pub async fn stop(self) {
        let EdgeHandle { node_id, stop, link, supervised, store, config, connection, allocs, .. } = self;
        link.abort();
        drop(connection);
        let (done_tx, done) = oneshot::channel();
        if stop.send(done_tx).await.is_ok() {
            let _ = done.await;
        }
        drop(allocs);
        if config.ends_tasks {
            let ended = tokio::task::spawn_blocking(move || end_all(&supervised, &config, node_id)).await;
            if let Ok(Err(error)) = ended {
                tracing::warn!(error = %format!("{error:#}"), "not everything was removed");
            }
        } else {
            supervised.leave();
        }
        if tokio::time::timeout(STOP_TIME_MAX, store.close()).await.is_err() {
            tracing::warn!("the disk did not take the edge's last state in time");
        }
    }
}

async fn forward(
    connection: Option<Connection>,
    request: HttpRequest,
) -> Result<(HttpHead, mpsc::Receiver<Bytes>), RpcError> {
    let unavailable = |message: String| RpcError::Unavailable { message };
    let connection = connection.ok_or_else(|| unavailable("no connection to a server".to_owned()))?;
    let exchange = async {
        let mut stream = connection.open_stream().await?;
        stream.send_frame(&codec::encode(&ToServer::Forward(request))).await?;
        stream.finish();
        let head = stream.recv_frame(REQUEST_BYTES_MAX).await?.context("the server gave no answer")?;
        anyhow::Ok((codec::decode::<FromServer>(&head)?, stream.split().1))
    };
    match exchange.await.map_err(|error| unavailable(format!("{error:#}")))? {
        (FromServer::Forwarded(head), mut body) => {
            let (tx, parts) = mpsc::channel(BODY_PARTS_MAX);
            tokio::spawn(async move {
                // Whoever reads no more lets the sender fail, which lets the server know.
                while let Ok(Some(part)) = body.recv_frame(REQUEST_BYTES_MAX).await {
                    if tx.send(part).await.is_err() {
                        break;
                    }
                }
            });
            Ok((head, parts))
        }
        (FromServer::Refused(error), _) => Err(error),
        (other, _) => Err(unavailable(format!("unexpected answer {other:?}"))),
    }
}

/// Ends the tasks with their supervisor and removes what allocs have left.
fn end_all(supervised: &Supervised, config: &EdgeConfig, node_id: NodeId) -> Result<()> {
    supervised.shutdown(true).context("end the supervisor")?;
    networks::of_allocs(config, node_id).remove_all();
    let entries = std::fs::read_dir(&config.alloc_dir).into_iter().flatten().flatten();
    for id in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<AllocId>().ok()) {
        let dir = AllocDir::new(&config.alloc_dir, id);
        dir.remove().map_err(|error| anyhow!(error)).context("remove an alloc's directory")?;
    }
    Ok(())
}

fn make_state_dir(config: &EdgeConfig) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let dir = &config.state_dir;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).with_context(|| format!("create {}", dir.display()))?;
    // Its name, and the one of the data directory it is in: what is kept there is found after a power cut.
    for above in dir.ancestors().skip(1).take(2).filter(|above| !above.as_os_str().is_empty()) {
        match std::fs::File::open(above).and_then(|above| above.sync_all()) {
            Err(error) if error.kind() != std::io::ErrorKind::PermissionDenied => {
                return Err(error).with_context(|| format!("sync {}", above.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A volume that is not there would be asked for by jobs all the same.
fn check_host_volumes(config: &EdgeConfig) -> Result<()> {
    for (name, volume) in &config.host_volumes {
        let path = volume.path.display();
        std::fs::metadata(&volume.path)
            .with_context(|| format!("failed to validate volume {name}, err: stat {path}"))?;
    }
    Ok(())
}

async fn start_supervisor(config: &EdgeConfig, node_id: NodeId) -> Result<Arc<Supervised>> {
    let mut options = StartOptions::new(config.state_dir.join("supervisor.sock"), node_id.to_string());
    if config.ends_tasks {
        options.linger = Some(LINGER);
        options.remove_dir.clone_from(&config.temporary_dir);
        options.at_end = networks::removal_args(config, node_id);
    }
    let started = tokio::task::spawn_blocking(move || Supervised::connect_or_start(options)).await?;
    started.map_err(|error| anyhow!(error)).context("start the supervisor of the tasks")
}

/// The agent's environment without what no task may have.
fn host_env(config: &EdgeConfig) -> BTreeMap<String, String> {
    let is_denied = |name: &String| DENIED.contains(&name.as_str()) || config.env_denylist.contains(name);
    let all =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    all.filter(|(name, _)| !is_denied(name)).collect()
}

/// Keeps the state of allocs in the store.
struct StoreJournal(Store);

impl Journal for StoreJournal {
    fn save(&self, alloc: AllocId, actual: &AllocActual) -> oneshot::Receiver<()> {
        self.0.put(actual_key(alloc), codec::encode(actual))
    }
}

/// Under this key stand the servers that were known last.
const SERVERS_KEY: &str = "servers";

/// What the loop works on.
struct Agent {
    edge: Arc<Edge>,
    auditor: Arc<Auditor>,
    store: Store,
    allocs: Arc<Allocs>,
    outbox: Arc<Outbox>,
    collector: Arc<Collector>,
    figures: Option<Arc<AllocFigures>>,
    /// Allocs that an earlier life of the agent has seen already.
    restored: BTreeSet<AllocId>,
    reports_tx: mpsc::Sender<Report>,
    /// Allocs of an earlier boot that may run elsewhere by now: they wait for a server's word.
    held: BTreeMap<AllocId, (Wanted, AllocActual)>,
    /// What the servers have named so far of a whole set that comes in several frames.
    pulled: BTreeSet<AllocId>,
    /// The servers' wishes are known at least once.
    synced: watch::Sender<bool>,
}

impl Agent {
    async fn run(
        mut self,
        refresh: Refresh,
        cloud: Option<CloudWatch>,
        mut heard: mpsc::Receiver<Heard>,
        mut reports: mpsc::Receiver<Report>,
        mut stop: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        // It ends with the loop.
        let mut beside = JoinSet::new();
        beside.spawn(self.collector.clone().run());
        beside.spawn(refresh.run());
        if let Some(cloud) = cloud {
            beside.spawn(cloud.run());
        }
        beside.spawn(self.auditor.clone().run(self.synced.subscribe()));
        loop {
            let event = tokio::select! {
                Some(heard) = heard.recv() => AgentEvent::Heard(heard),
                Some(report) = reports.recv() => AgentEvent::TaskChanged(report),
                stop = stop.recv() => match stop {
                    Some(done) => AgentEvent::Stop(done),
                    // The handle was dropped without a stop.
                    None => return,
                },
            };
            match event {
                AgentEvent::Heard(Heard::Pulled(allocs)) => self.pull(allocs),
                AgentEvent::Heard(Heard::Servers(servers)) => {
                    // A connection has begun: a set that the last one did not bring to its end is void.
                    self.pulled.clear();
                    drop(self.store.put(SERVERS_KEY.to_owned(), codec::encode(&servers)));
                }
                AgentEvent::TaskChanged(Report::Changed(update)) => {
                    if let (Some(figures), Some(handle)) = (&self.figures, self.allocs.get(update.alloc_id)) {
                        let is_known = self.restored.contains(&update.alloc_id);
                        handle.look(|wanted| figures.changed(&update, wanted, is_known));
                    }
                    self.outbox.put(*update);
                }
                AgentEvent::TaskChanged(Report::Gone(alloc)) => self.forget(alloc),
                AgentEvent::Stop(done) => {
                    self.allocs.lock().clear();
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    /// Takes up what an earlier life has left. Gives the servers it knew.
    fn restore(&mut self, values: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
        let mut kept = Vec::new();
        orphans(values).for_each(|key| drop(self.store.delete(key.clone())));
        for (key, value) in values {
            let Some(id) = alloc_of(key) else { continue };
            let wanted: Wanted = match codec::decode(value) {
                Ok(wanted) => wanted,
                Err(error) => {
                    tracing::error!(alloc = %id, %error, "kept alloc can't be read; the servers will name it again");
                    continue;
                }
            };
            let actual: Option<AllocActual> = values.get(&actual_key(id)).and_then(|value| codec::decode(value).ok());
            if actual.is_none() && self.collector.is_collected(id) {
                drop(self.store.delete(wanted_key(id)));
                continue;
            }
            if actual.is_some() {
                self.restored.insert(id);
            }
            kept.push((id, wanted, actual));
        }
        // One that is replaced before the one that waits for it.
        kept.sort_by_key(|(_, wanted, _)| wanted.alloc.create_index);
        let is_alive = |actual: &Option<AllocActual>| actual.as_ref().is_some_and(|actual| !actual.is_over());
        self.edge.networks.adopt(kept.iter().filter(|(_, _, actual)| is_alive(actual)).map(|(_, wanted, _)| wanted));
        for (id, wanted, actual) in kept {
            let is_other_boot = actual.as_ref().is_some_and(|actual| actual.boot_id != self.edge.boot_id);
            let may_run_elsewhere = matches!(wanted.job.kind, JobType::Service | JobType::Batch);
            match actual {
                Some(actual) if is_other_boot && may_run_elsewhere && !actual.is_over() => {
                    self.held.insert(id, (wanted, actual));
                }
                actual => self.spawn(wanted, actual),
            }
        }
        values.get(SERVERS_KEY).and_then(|value| codec::decode(value).ok()).unwrap_or_default()
    }

    fn spawn(&self, wanted: Wanted, actual: Option<AllocActual>) {
        let id = wanted.alloc.id;
        let handle = spawn(self.edge.clone(), wanted, actual, self.reports_tx.clone());
        // Its removal had begun.
        if self.collector.is_collected(id) {
            handle.remove();
        }
        self.allocs.lock().insert(id, Arc::new(handle));
    }

    /// The servers' wishes.
    fn pull(&mut self, pulled: NodeAllocs) {
        let NodeAllocs { index: _, whole, complete, upserts, removals } = pulled;
        let new = upserts.iter().map(|upsert| &upsert.alloc).filter(|alloc| self.is_new(alloc));
        self.collector.make_room(&new.collect::<Vec<_>>());
        for upsert in upserts {
            let wanted = Wanted { alloc: upsert.alloc, job: upsert.job };
            let id = wanted.alloc.id;
            if whole {
                self.pulled.insert(id);
            }
            self.take_up(id, wanted);
        }
        for id in removals {
            self.remove(id);
        }
        if !complete {
            return;
        }
        if whole {
            let named = std::mem::take(&mut self.pulled);
            let mut known = self.collector.collected();
            known.extend(self.allocs.lock().keys().chain(self.held.keys()));
            known.into_iter().filter(|id| !named.contains(id)).for_each(|id| self.remove(id));
        }
        if !self.synced.send_replace(true) {
            self.collector.synced();
        }
    }

    fn take_up(&mut self, id: AllocId, wanted: Wanted) {
        if self.collector.is_collected(id) {
            return;
        }
        let is_new = self.is_new(&wanted.alloc);
        let known = self.allocs.get(id);
        let held = self.held.remove(&id);
        // It ended in an earlier life of this node that has left nothing here.
        if known.is_none() && held.is_none() && !is_new {
            return;
        }
        match known.is_some() || held.is_some() {
            true => drop(self.store.put(wanted_key(id), codec::encode(&wanted))),
            // The first that a new runner does is to keep how its alloc stands.
            false => self.store.put_with_next(wanted_key(id), codec::encode(&wanted)),
        }
        match (known, held) {
            (Some(handle), _) => handle.update(wanted),
            (None, Some((_, actual))) => self.spawn(wanted, Some(actual)),
            (None, None) => self.spawn(wanted, None),
        }
    }

    /// It begins here.
    fn is_new(&self, alloc: &Alloc) -> bool {
        let is_known = self.allocs.lock().contains_key(&alloc.id) || self.held.contains_key(&alloc.id);
        !is_known && !alloc.client_status.is_terminal() && !self.collector.is_collected(alloc.id)
    }

    fn remove(&mut self, id: AllocId) {
        self.collector.release(id);
        if let Some((wanted, actual)) = self.held.remove(&id) {
            self.spawn(wanted, Some(actual));
        }
        if let Some(handle) = self.allocs.get(id) {
            handle.remove();
        }
    }

    fn forget(&mut self, id: AllocId) {
        self.figures.iter().for_each(|figures| figures.forget(id));
        self.restored.remove(&id);
        self.allocs.lock().remove(&id);
        self.outbox.forget(id);
        drop(self.store.delete(wanted_key(id)));
        drop(self.store.delete(actual_key(id)));
        self.collector.gone(id);
    }
}
