//! `container`: an image from a registry or a file, run by drover itself through libcontainer; there is no engine.
//!
//! ```text
//! prepare: ImageStore::pull --> Image      start: lease, ContainerSpec --supervisor--> overlay of the layers --> task
//! ```
//! The same driver answers to `docker` where the operator says so, so that jobs written for an engine run without one.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use drover_images::{Image, ImageStore, OpenError, PullError, PullRequest};
use drover_supervisor::{Session, held_dir};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use tokio::sync::oneshot;

use crate::container_config::ContainerTask;
use crate::container_plugin::ContainerConfig;
use crate::container_spec::{self, environment};
use crate::driver::{
    Driver, Exit, Fingerprint, Preparing, Progress, Recovered, StartError, TaskCommand, TaskError, TaskHandle,
    TaskStart, TaskUsage, View,
};
use crate::registry::{Registered, Setup};
use crate::supervised::Supervised;
use crate::task_config::ConfigReader;

/// The word after `driver =`.
pub const NAME: &str = "container";
/// The other word after `driver =`, of jobs that were written for an engine.
pub const DOCKER: &str = "docker";

/// How often images that nothing uses are looked for.
const COLLECT_EVERY: Duration = Duration::from_secs(60);
/// The stack of the thread that does so, in bytes.
const STACK_BYTES: usize = 256 << 10;
/// Most tasks whose image is there and that have not been started yet.
const PREPARED_MAX: usize = 1024;

/// The line of the registry.
pub(crate) fn register(setup: &Setup<'_>, config: &mut ConfigReader<'_>) -> Registered {
    let settings = ContainerConfig::read(config);
    make(NAME, setup, settings)
}

/// The line of the registry for jobs that were written for an engine.
pub(crate) fn register_docker(setup: &Setup<'_>, config: &mut ConfigReader<'_>) -> Registered {
    let ours = setup.plugin(NAME);
    let settings = ContainerConfig::read(&mut ConfigReader::new(&ours)).with_docker(config);
    match settings.runs_docker_jobs {
        true => make(DOCKER, setup, settings),
        false => {
            Err("there is no engine; with docker_jobs = true in plugin \"container\" such jobs run without one"
                .to_owned())
        }
    }
}

fn make(name: &'static str, setup: &Setup<'_>, settings: ContainerConfig) -> Registered {
    let dir = setup.settings.state_dir.as_ref().ok_or("the agent has no directory for images")?;
    let images = setup.images.get_or_init(|| Images::open(&dir.join("images"), &settings, setup.supervised));
    let images = images.clone()?;
    Ok(Arc::new(Container {
        name,
        config: settings,
        images,
        supervised: setup.supervised.clone(),
        prepared: Prepared::default(),
    }))
}

/// The images of this edge.
pub(crate) struct Images {
    store: ImageStore,
}

impl Images {
    fn open(dir: &Path, settings: &ContainerConfig, supervised: &Supervised) -> Result<Arc<Images>, String> {
        let store = ImageStore::open(dir, settings.images.clone()).map_err(|error| match error {
            OpenError::NotRoot => "Driver must run as root".to_owned(),
            other => other.to_string(),
        })?;
        // What an earlier agent's tasks had is given back, except by those that run on.
        let tasks = supervised.list().map_err(|error| error.to_string())?;
        store.keep_only(tasks.iter().map(|task| task.id.as_str()));
        let images = Arc::new(Images { store });
        if settings.collects {
            images.collect_always();
        }
        Ok(images)
    }

    /// Removes what nothing uses, for as long as the driver is there.
    fn collect_always(self: &Arc<Images>) {
        let images = Arc::downgrade(self);
        let collect = move || {
            loop {
                std::thread::sleep(COLLECT_EVERY);
                let Some(images) = images.upgrade() else { return };
                let _ = images.store.collect();
            }
        };
        let thread = std::thread::Builder::new().name("images".to_owned()).stack_size(STACK_BYTES);
        if let Err(error) = thread.spawn(collect) {
            tracing::warn!(%error, "images that nothing uses are kept");
        }
    }
}

/// The driver.
pub struct Container {
    name: &'static str,
    config: ContainerConfig,
    images: Arc<Images>,
    supervised: Arc<Supervised>,
    prepared: Prepared,
}

/// Images of tasks that are about to start, by the task's id.
type Prepared = Arc<Mutex<BTreeMap<String, Image>>>;

fn lock(prepared: &Prepared) -> MutexGuard<'_, BTreeMap<String, Image>> {
    // Whole whatever a panicking holder did between two of its calls.
    prepared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Container {
    /// Begins to get the image of a task.
    fn get(&self, start: &TaskStart, progress: &Progress) -> Result<drover_images::Pull, StartError> {
        let task = ContainerTask::read(&start.config)?;
        let reference = task.reference()?;
        let (progress, image) = (progress.clone(), task.image.clone());
        progress(format!("Downloading image {image}"));
        let on_progress = move |news: &drover_images::Progress| progress(format!("Downloading image {image}: {news}"));
        if !task.load.is_empty() {
            let archive = open_archive(&start.dirs.task_dir.join("local"), &task.load).map_err(|error| {
                StartError::Failed(format!("unable to open image archive {:?}: {error}", task.load))
            })?;
            return Ok(self.images.store.load(archive, Some(reference), on_progress));
        }
        let request = PullRequest {
            reference,
            credentials: task.credentials,
            without_login_too: task.without_login_too,
            policy: task.policy,
            timeout: task.pull_max.or(Some(self.config.images.bounds.pull_max)),
        };
        Ok(self.images.store.pull(request, on_progress))
    }
}

/// A file below the task's directory; no link in it leads out, and a pipe is not waited for.
fn open_archive(local: &Path, name: &str) -> std::io::Result<std::fs::File> {
    let dir = held_dir::open(local)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = std::fs::File::from(openat2(&dir, name, flags, Mode::empty(), resolve)?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::other("not a regular file")),
    }
}

fn pull_error(image: &str, error: &PullError) -> StartError {
    // The restart policy decides: what is missing now may be pushed in a minute.
    StartError::Failed(format!("Failed to pull `{image}`: {}", error.sentence()))
}

impl Driver for Container {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fingerprint(&self) -> Fingerprint {
        let has_overlay = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if !has_overlay.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay") {
            return Fingerprint::undetected("the kernel has no overlay file system");
        }
        if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() && !Path::new("/sys/fs/cgroup/memory").exists() {
            return Fingerprint::undetected("Failed to discover cgroup mount point");
        }
        let mut fingerprint = Fingerprint::healthy(self.name);
        let mut set =
            |name: &str, value: String| fingerprint.attributes.insert(format!("driver.{}.{name}", self.name), value);
        if self.name == DOCKER {
            set("os_type", "linux".to_owned());
            set("runtimes", "runc".to_owned());
        }
        if self.config.has_volumes {
            set("volumes.enabled", "true".to_owned());
        }
        if self.config.allow_privileged {
            set("privileged.enabled", "true".to_owned());
        }
        if self.config.pids_limit > 0 {
            set("pids.limit", self.config.pids_limit.to_string());
        }
        fingerprint
    }

    fn view(&self) -> View {
        View::Image
    }

    fn takes_mounts(&self) -> bool {
        true
    }

    fn takes_devices(&self) -> bool {
        true
    }

    fn prepare(&self, start: &TaskStart, progress: Progress) -> Option<Preparing> {
        let (id, prepared) = (start.id.clone(), self.prepared.clone());
        let name = start.config.get("image").and_then(|image| image.as_str()).unwrap_or_default().to_owned();
        let pull = self.get(start, &progress);
        Some(Box::pin(async move {
            let image = pull?.await.map_err(|error| pull_error(&name, &error))?;
            let mut prepared = lock(&prepared);
            // Those that were never started after all.
            if prepared.len() >= PREPARED_MAX {
                prepared.pop_first();
            }
            prepared.insert(id, image);
            Ok(())
        }))
    }

    fn start(&self, start: TaskStart) -> Result<TaskHandle, StartError> {
        let id = start.id.clone();
        let task = ContainerTask::read(&start.config)?;
        let image = lock(&self.prepared).remove(&id);
        let image = image.ok_or_else(|| StartError::Failed(format!("image {:?} was not prepared", task.image)))?;
        let spec = container_spec::spec(&self.config, &task, &image, start)?;
        self.images.store.lease(&image, &id).map_err(|error| StartError::Failed(error.sentence()))?;
        let started = self.supervised.start(self.name, spec);
        if started.is_err() {
            self.images.store.release(&id);
        }
        started
    }

    fn wait(&self, handle: &TaskHandle) -> oneshot::Receiver<Exit> {
        self.supervised.wait(handle)
    }

    fn stop_signal(&self, handle: &TaskHandle) -> Option<String> {
        let of_image = self.images.store.leased(&handle.id).map(|image| image.config.stop_signal);
        Some(of_image.filter(|signal| !signal.is_empty()).unwrap_or_else(|| "SIGTERM".to_owned()))
    }

    fn signal(&self, handle: &TaskHandle, signal: i32) -> Result<(), TaskError> {
        self.supervised.signal(handle, signal)
    }

    fn kill(&self, handle: &TaskHandle) -> Result<(), TaskError> {
        self.supervised.kill(handle)
    }

    fn destroy(&self, handle: &TaskHandle) -> Result<(), TaskError> {
        let destroyed = self.supervised.destroy(handle);
        // Its root went with its last process.
        if destroyed.is_ok() {
            self.images.store.release(&handle.id);
        }
        destroyed
    }

    fn recover(&self, handle: &TaskHandle) -> Result<Recovered, TaskError> {
        self.supervised.recover(handle)
    }

    fn exec(
        &self,
        handle: &TaskHandle,
        mut command: TaskCommand,
        fds: [BorrowedFd<'_>; 3],
    ) -> Result<Session, TaskError> {
        let image = self.images.store.leased(&handle.id);
        let config = image.as_ref().map(|image| &image.config);
        command.env = environment(config.map_or(&[], |config| &config.env), command.env);
        command.has_image = true;
        let user = match (command.user.as_str(), config) {
            ("", Some(config)) => config.user.clone(),
            (user, _) => user.to_owned(),
        };
        let cwd = config.map_or("", |config| config.working_dir.as_str());
        self.supervised.exec(handle, command, Some(user), Path::new("/").join(cwd), fds)
    }

    fn stats(&self, handle: &TaskHandle) -> Result<TaskUsage, TaskError> {
        self.supervised.stats(handle)
    }
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container").field("name", &self.name).finish_non_exhaustive()
    }
}
