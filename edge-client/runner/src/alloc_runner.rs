//! Drives one alloc: asks [`decide`] what to do, has it done, and tells what became of it.
//!
//! ```text
//! servers' wish --watch-->  loop { decide -> actions } --spawned--> hooks, driver
//! exits, timers ----------^      |                          |
//!                                +--> journal, report       +--fact--> loop
//! ```
//! The runner ends when its alloc was removed, or when its handle is dropped: then tasks go on.

mod recover;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use drover_drivers::{Driver, Drivers, TaskHandle};
use drover_model::AllocId;
use drover_model::alloc::{AllocUpdate, ClientStatus};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::alloc_dir::AllocDir;
use crate::clock;
use crate::decide::actual::{AllocActual, Fact, Stage, Standing};
use crate::decide::wanted::Wanted;
use crate::decide::{Action, Limits, decide};
use crate::hooks::network::EdgeNetworks;
use crate::on_disk::OnDisk;
use crate::previous::{Lives, take_over_data};
use crate::signal;
use crate::start::task_id;
use crate::starting::Starting;
use crate::task_env::EdgeFacts;

pub use recover::count_missing;

/// Facts that wait for the loop; whoever has one more waits too.
const FACTS_MAX: usize = 16;
/// How long a new alloc keeps to itself that it has begun to start: mostly it runs by then, and one report says it all.
const FIRST_REPORT_HELD: Duration = Duration::from_millis(50);
/// Blocking steps (starts, removals) of all allocs that go on at a time.
const STEPS_MAX: usize = 16;

/// Where the state of allocs is kept.
pub trait Journal: Send + Sync {
    /// Keeps the state of an alloc; resolves when it is on disk, with an error when it can't be.
    fn save(&self, alloc: AllocId, actual: &AllocActual) -> oneshot::Receiver<()>;
}

/// What all runners of an edge share.
pub struct Edge {
    /// Its drivers.
    pub drivers: Drivers,
    /// Below this, one directory per alloc.
    pub allocs_dir: PathBuf,
    /// The boot that this agent runs in.
    pub boot_id: String,
    /// Its limits.
    pub limits: Limits,
    facts: RwLock<Arc<EdgeFacts>>,
    journal: Arc<dyn Journal>,
    /// Tasks that ran before this agent and that no alloc on disk accounts for.
    unclaimed: Mutex<BTreeSet<String>>,
    pub(crate) steps: Semaphore,
    pub(crate) lives: Lives,
    /// The networks of its allocs.
    pub networks: EdgeNetworks,
}

impl Edge {
    /// An edge with these drivers, directories and facts.
    pub fn new(
        drivers: Drivers,
        allocs_dir: PathBuf,
        limits: Limits,
        facts: EdgeFacts,
        journal: Arc<dyn Journal>,
    ) -> Edge {
        Edge {
            drivers,
            allocs_dir,
            boot_id: clock::boot_id(),
            limits,
            facts: RwLock::new(Arc::new(facts)),
            journal,
            unclaimed: Mutex::default(),
            steps: Semaphore::new(STEPS_MAX),
            lives: Lives::default(),
            networks: EdgeNetworks::default(),
        }
    }

    /// With these networks for its allocs.
    #[must_use]
    pub fn with_networks(self, networks: EdgeNetworks) -> Edge {
        Edge { networks, ..self }
    }

    /// What tasks learn of the node.
    pub fn facts(&self) -> Arc<EdgeFacts> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tasks started from now on learn this of the node.
    pub fn set_facts(&self, facts: EdgeFacts) {
        *self.facts.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(facts);
    }

    /// These tasks run already. An alloc that comes and has one of them takes it over instead of starting another.
    pub fn set_unclaimed(&self, ids: BTreeSet<String>) {
        *self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner) = ids;
    }

    /// Those that nobody has taken over so far.
    pub fn unclaimed(&self) -> BTreeSet<String> {
        self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those that nobody took over; none any more after this.
    pub fn take_unclaimed(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn claim(&self, id: &str) -> bool {
        self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }
}

/// What a runner tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// The alloc has changed.
    Changed(Box<AllocUpdate>),
    /// Nothing of the alloc is left.
    Gone(AllocId),
}

#[derive(Clone, Debug)]
pub(crate) struct Intent {
    pub(crate) wanted: Wanted,
    pub(crate) is_removed: bool,
}

/// The tasks of an alloc as their drivers are to know them.
#[derive(Clone, Debug, Default)]
struct Known {
    running: BTreeMap<String, TaskHandle>,
    /// None before the runner knows.
    busy: Option<BTreeSet<String>>,
}

/// A runner. Dropping it leaves the tasks running.
#[derive(Debug)]
pub struct AllocHandle {
    intent: watch::Sender<Intent>,
    known: watch::Receiver<Known>,
    standing: watch::Receiver<Standing>,
    facts: mpsc::Sender<Fact>,
}

impl AllocHandle {
    /// The servers want something else of the alloc.
    pub fn update(&self, wanted: Wanted) {
        self.intent.send_if_modified(|intent| {
            let is_new = intent.wanted != wanted;
            intent.wanted = wanted;
            is_new
        });
    }

    /// The servers have forgotten the alloc: it ends and its directories go.
    pub fn remove(&self) {
        self.intent.send_modify(|intent| intent.is_removed = true);
    }

    /// Its tasks that the drivers know now, by name.
    pub fn running(&self) -> BTreeMap<String, TaskHandle> {
        self.known.borrow().running.clone()
    }

    /// Its tasks that may have something at their drivers: they are being started, run, or have ended and are not forgotten.
    /// None before the runner knows.
    pub fn busy(&self) -> Option<BTreeSet<String>> {
        self.known.borrow().busy.clone()
    }

    /// How far it is.
    pub fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Tells the runner what somebody wants of its tasks.
    pub async fn tell(&self, fact: Fact) {
        // Its runner has ended: there is nothing left to ask.
        let _ = self.facts.send(fact).await;
    }

    /// What is wanted of it now.
    pub fn wanted(&self) -> Wanted {
        self.intent.borrow().wanted.clone()
    }

    /// Looks at what is wanted of it now, without a copy.
    pub fn look<T>(&self, look: impl FnOnce(&Wanted) -> T) -> T {
        look(&self.intent.borrow().wanted)
    }
}

/// Starts a runner for an alloc that is new, or (with what was on disk) one of an earlier life of the agent.
pub fn spawn(
    edge: Arc<Edge>,
    wanted: Wanted,
    actual: Option<AllocActual>,
    reports: mpsc::Sender<Report>,
) -> AllocHandle {
    let (intent, heard) = watch::channel(Intent { wanted: wanted.clone(), is_removed: false });
    let now = clock::now();
    let actual = match actual {
        Some(actual) => actual.restored(&edge.boot_id, now),
        None => AllocActual::new(&wanted, &edge.boot_id, now),
    };
    let (facts_tx, facts) = mpsc::channel(FACTS_MAX);
    let dir = AllocDir::new(&edge.allocs_dir, wanted.alloc.id);
    // Before this returns: what nobody has claimed by the end of a round is ended.
    // A task whose driver is off is not claimed: a driver that is off runs nothing, not even what it had started before.
    let has_driver = |name: &str| {
        let task = wanted.group().and_then(|group| group.task(name));
        task.is_none_or(|task| edge.drivers.get(&task.driver).is_some())
    };
    let claimed = actual.tasks.iter().map(|task| task.name.clone()).filter(|name| has_driver(name));
    let claimed = claimed.filter(|name| edge.claim(&task_id(wanted.alloc.id, name))).collect();
    let (known_tx, known) = watch::channel(Known::default());
    let (standing_tx, standing) = watch::channel(Standing::default());
    let (saved, told, report_due) = (None, None, None);
    let is_over = edge.lives.begin(wanted.alloc.id, wanted.alloc.previous_allocation);
    let handle = AllocHandle { intent, known, standing, facts: facts_tx.clone() };
    let runner = Runner {
        edge,
        dir,
        wanted,
        actual,
        saved,
        told,
        report_due,
        claimed,
        known_tx,
        standing_tx,
        is_over,
        heard,
        reports,
        facts_tx,
        facts,
    };
    tokio::spawn(runner.run());
    handle
}

struct Runner {
    edge: Arc<Edge>,
    dir: AllocDir,
    wanted: Wanted,
    actual: AllocActual,
    /// What the journal has.
    saved: Option<AllocActual>,
    /// What was reported last.
    told: Option<AllocUpdate>,
    /// When the first report is due at the latest.
    report_due: Option<Duration>,
    /// Its tasks that ran before this agent.
    claimed: BTreeSet<String>,
    known_tx: watch::Sender<Known>,
    standing_tx: watch::Sender<Standing>,
    /// Tells the alloc that replaces it, which may want its ports, its addresses and its data.
    is_over: Arc<watch::Sender<bool>>,
    heard: watch::Receiver<Intent>,
    reports: mpsc::Sender<Report>,
    facts_tx: mpsc::Sender<Fact>,
    facts: mpsc::Receiver<Fact>,
}

impl Runner {
    async fn run(mut self) {
        self.recover().await;
        loop {
            let decision = decide(&self.wanted, &mut self.actual, self.edge.limits, clock::now());
            let on_disk = self.save();
            let standing = self.actual.standing();
            let is_over = standing.is_over && !self.actual.is_preparing();
            self.standing_tx.send_replace(standing);
            if is_over && !self.actual.is_prepared {
                // There is nothing to clean up.
                self.is_over.send_replace(true);
            }
            let report_at = self.report().await;
            for action in decision.actions {
                self.begin(action, on_disk.clone());
            }
            if self.actual.is_removed && is_over {
                self.remove().await;
                return;
            }
            let wake = async {
                match decision.wake_at.into_iter().chain(report_at).min() {
                    Some(at) => tokio::time::sleep(at.saturating_sub(clock::now().steady)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                fact = self.facts.recv() => {
                    let Some(fact) = fact else { return };
                    self.actual.observe(&self.wanted, fact, clock::now());
                    // What has come meanwhile is part of the same decision.
                    while let Ok(fact) = self.facts.try_recv() {
                        self.actual.observe(&self.wanted, fact, clock::now());
                    }
                }
                changed = self.heard.changed() => {
                    // The agent is going: its tasks stay.
                    if changed.is_err() {
                        return;
                    }
                    let intent = self.heard.borrow_and_update().clone();
                    self.wanted = intent.wanted;
                    self.actual.is_removed |= intent.is_removed;
                }
                () = wake => {}
            }
        }
    }

    /// Hands the state to the journal if it has changed. Gives what resolves when it is on disk.
    fn save(&mut self) -> OnDisk {
        if self.saved.as_ref() == Some(&self.actual) {
            return OnDisk::default();
        }
        self.saved = Some(self.actual.clone());
        let tasks = &self.actual.tasks;
        let is_busy = |stage: Stage| matches!(stage, Stage::Starting | Stage::Running | Stage::Ended);
        self.known_tx.send_replace(Known {
            running: tasks.iter().filter_map(|task| Some((task.name.clone(), task.handle.clone()?))).collect(),
            busy: Some(tasks.iter().filter(|task| is_busy(task.stage)).map(|task| task.name.clone()).collect()),
        });
        OnDisk::of(self.edge.journal.save(self.wanted.alloc.id, &self.actual))
    }

    /// Reports what has changed. Gives the time at which a report that is held back is due.
    async fn report(&mut self) -> Option<Duration> {
        let now = clock::now();
        let mut update = self.actual.update(&self.wanted, now);
        match &self.told {
            Some(told) => {
                update.at = told.at;
                if update == *told {
                    return None;
                }
                update.at = now.wall;
            }
            None if update.client_status == ClientStatus::Pending => {
                let due = *self.report_due.get_or_insert(now.steady + FIRST_REPORT_HELD);
                if now.steady < due {
                    return Some(due);
                }
            }
            None => {}
        }
        self.told = Some(update.clone());
        // Nobody listens: the agent is going.
        let _ = self.reports.send(Report::Changed(Box::new(update))).await;
        None
    }

    fn begin(&self, action: Action, on_disk: OnDisk) {
        match action {
            Action::Prepare => {
                let (edge, dir, mut heard) = (self.edge.clone(), self.dir.clone(), self.heard.clone());
                let previous = self.wanted.alloc.previous_allocation;
                let begin = async move {
                    // What is made must be known to the next life of the agent, or nobody would ever remove it.
                    on_disk.wait().await;
                    let Some(previous) = previous else { return };
                    tokio::select! {
                        () = edge.lives.over(previous) => {}
                        // It goes: there is nothing to wait for.
                        Ok(_) = heard.wait_for(|intent| intent.is_removed) => {}
                    }
                };
                self.step_after(begin, move |edge, wanted| {
                    let made = dir.make();
                    if made.is_ok() {
                        take_over_data(edge, wanted, &dir);
                    }
                    Some(Fact::Prepared(
                        made.map_err(|error| format!("failed to build alloc directory: {error}: {}", error.source)),
                    ))
                });
            }
            Action::Start { task } => {
                let exits = self.facts_tx.clone();
                let told = self.actual.network.clone();
                let tell_network = move |facts: &mpsc::Sender<Fact>, status| {
                    if told.as_ref() != Some(&status) {
                        // The loop has ended: the agent is going.
                        let _ = facts.blocking_send(Fact::Connected(status));
                    }
                };
                let work = Starting {
                    edge: self.edge.clone(),
                    wanted: self.wanted.clone(),
                    task,
                    facts: exits.clone(),
                    heard: self.heard.clone(),
                };
                tokio::spawn(work.run(move |status| tell_network(&exits, status)));
            }
            Action::Signal { task, signal } => self.with_driver(task, move |driver, handle| {
                // What the job does not say, the task itself may (an image names one).
                let own = if signal.is_empty() { driver.stop_signal(handle) } else { None };
                if let Err(error) = driver.signal(handle, signal::number(&own.unwrap_or(signal))) {
                    tracing::debug!(id = handle.id, %error, "signal not sent");
                }
            }),
            Action::Kill { task } => self.with_driver(task, |driver, handle| {
                if let Err(error) = driver.kill(handle) {
                    tracing::warn!(id = handle.id, %error, "task not killed");
                }
            }),
            Action::Forget { task } => self.forget(task, on_disk),
            Action::CleanUp => {
                let (dir, is_over) = (self.dir.clone(), self.is_over.clone());
                self.step(move |edge, wanted| {
                    edge.networks.poststop(wanted.alloc.id);
                    if let Err(error) = dir.unmount() {
                        tracing::warn!(error = %error, cause = %error.source, "alloc directory not unmounted");
                    }
                    is_over.send_replace(true);
                    None
                });
            }
        }
    }

    /// Does a blocking step on a thread of its own; the fact it gives reaches the loop.
    fn step(&self, work: impl FnOnce(&Edge, &Wanted) -> Option<Fact> + Send + 'static) {
        self.step_after(std::future::ready(()), work);
    }

    fn step_after(
        &self,
        begin: impl Future<Output = ()> + Send + 'static,
        work: impl FnOnce(&Edge, &Wanted) -> Option<Fact> + Send + 'static,
    ) {
        let (edge, wanted, facts) = (self.edge.clone(), self.wanted.clone(), self.facts_tx.clone());
        tokio::spawn(async move {
            begin.await;
            let Ok(_seat) = edge.steps.acquire().await else { return };
            let shared = edge.clone();
            let fact = tokio::task::spawn_blocking(move || work(&shared, &wanted)).await;
            if let Ok(Some(fact)) = fact {
                // The loop has ended: the agent is going.
                let _ = facts.send(fact).await;
            }
        });
    }

    fn with_driver(&self, task: String, work: impl FnOnce(&dyn Driver, &TaskHandle) + Send + 'static) {
        let Some(handle) = self.actual.task(&task).and_then(|task| task.handle.clone()) else { return };
        self.step(move |edge, _| {
            if let Some(driver) = edge.drivers.get(&handle.driver) {
                work(driver.as_ref(), &handle);
            }
            None
        });
    }

    /// The supervisor keeps an end until it is on our disk.
    fn forget(&self, task: String, on_disk: OnDisk) {
        let handle = self.actual.task(&task).and_then(|task| task.handle.clone());
        let (edge, facts) = (self.edge.clone(), self.facts_tx.clone());
        tokio::spawn(async move {
            on_disk.wait().await;
            if let Some(handle) = handle
                && let Some(driver) = edge.drivers.get(&handle.driver).cloned()
            {
                let forgot = tokio::task::spawn_blocking(move || driver.destroy(&handle)).await;
                if let Ok(Err(error)) = forgot {
                    tracing::warn!(%error, "ended task not forgotten");
                }
            }
            let _ = facts.send(Fact::Forgotten { task }).await;
        });
    }

    fn await_exit(&self, driver: &Arc<dyn Driver>, task: String, handle: &TaskHandle) {
        tell_exit(&tokio::runtime::Handle::current(), driver, task, handle, self.facts_tx.clone());
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let _seat = self.edge.steps.acquire().await.ok()?;
        tokio::task::spawn_blocking(work).await.ok()
    }

    async fn remove(&mut self) {
        let (dir, edge, alloc) = (self.dir.clone(), self.edge.clone(), self.wanted.alloc.id);
        let remove = move || {
            edge.networks.poststop(alloc);
            dir.remove()
        };
        if let Some(Err(error)) = self.blocking(remove).await {
            tracing::warn!(error = %error, cause = %error.source, "alloc directory not removed");
        }
        self.is_over.send_replace(true);
        self.edge.lives.forget(self.wanted.alloc.id);
        let _ = self.reports.send(Report::Gone(self.wanted.alloc.id)).await;
    }
}

/// Tells the loop of the task's end.
pub(crate) fn tell_exit(
    runtime: &tokio::runtime::Handle,
    driver: &Arc<dyn Driver>,
    task: String,
    handle: &TaskHandle,
    facts: mpsc::Sender<Fact>,
) {
    let exit = driver.wait(handle);
    runtime.spawn(async move {
        // An error means that the supervisor is gone, which ends the agent.
        if let Ok(exit) = exit.await {
            let _ = facts.send(Fact::Exited { task, exit }).await;
        }
    });
}
