//! The store: where everything lies, who may use it, and what it can be asked for.
//!
//! ```text
//! lock                  held by the agent that has the store
//! partial/<digest>      bytes of a layer so far
//! temporary/<random>    layers being unpacked, records being written, what is being removed; emptied at each start
//! layers/<24 hex>/      root/ (the files, in the form of overlayfs) and layer.json
//! images/<32 hex>.json  an image by its name
//! leases/<32 hex>.json  a use that outlives the agent
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};

use crate::digest::Digest;
use crate::error::{OpenError, PullError};
use crate::image::Image;
use crate::leases::{Held, Lease, touch};
use crate::progress::Progress;
use crate::pull::{Flight, Listener, Pull};
use crate::records::{self, ImageRecord, LayerRecord};
use crate::reference::Reference;
use crate::remove_tree::remove_tree;
use crate::settings::{PullRequest, Settings};
use crate::{archive, fetch};

/// The images of one agent. Copies are the same store.
#[derive(Clone)]
pub struct ImageStore {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for ImageStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageStore").field("dir", &self.inner.dir).finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) dir: PathBuf,
    pub(crate) settings: Settings,
    state: Mutex<State>,
    /// A pull has ended or a layer is no longer being made.
    pub(crate) changed: Condvar,
    _lock: File,
}

#[derive(Default)]
pub(crate) struct State {
    /// Pulls that can be joined.
    flights: BTreeMap<String, Arc<Flight>>,
    /// Threads of pulls, those that wait for their turn among them.
    pub(crate) pulls: usize,
    /// Pulls that have their turn.
    pub(crate) running: usize,
    /// Layers that some pull is making.
    pub(crate) busy: BTreeSet<Digest>,
    /// What is in use, and how often.
    pub(crate) held: BTreeMap<String, usize>,
}

impl ImageStore {
    /// Opens the store in `dir` (made if missing) and removes what a crash has left.
    ///
    /// # Errors
    /// [`OpenError::NotRoot`] without root, [`OpenError::Locked`] while another agent has it, [`OpenError::Io`] where the disk refuses.
    pub fn open(dir: &Path, settings: Settings) -> Result<Self, OpenError> {
        if !rustix::process::geteuid().is_root() {
            return Err(OpenError::NotRoot);
        }
        let refuse = |source| OpenError::Io { path: dir.to_owned(), source };
        for name in ["", "partial", "temporary", "layers", "images", "leases"] {
            DirBuilder::new().recursive(true).mode(0o700).create(dir.join(name)).map_err(refuse)?;
        }
        let dir = dir.canonicalize().map_err(refuse)?;
        let lock = File::create(dir.join("lock")).map_err(refuse)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(OpenError::Locked(dir)),
            Err(err) => return Err(refuse(err.into())),
        }
        let left: Vec<PathBuf> =
            dir.join("temporary").read_dir().map_err(refuse)?.flatten().map(|entry| entry.path()).collect();
        // It may be much, and nobody waits for it.
        std::thread::spawn(move || {
            for path in left {
                let _ = remove_tree(&path);
            }
        });
        let inner = Inner { dir, settings, state: Mutex::default(), changed: Condvar::new(), _lock: lock };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The image of that name, if it is there. Asks no registry: what it gives may be older than what the registry has, and another job's login may
    /// have fetched it (as with Docker; `force_pull` asks the registry each time).
    pub fn find(&self, reference: &Reference) -> Option<Image> {
        self.inner.find(&reference.to_string())
    }

    /// Begins to get an image, or joins those who want the same with the same login. Never blocks. `on_progress` is called from other threads
    /// and must not block either.
    pub fn pull(&self, request: PullRequest, on_progress: impl Fn(&Progress) + Send + Sync + 'static) -> Pull {
        let login =
            request.credentials.as_ref().map(|it| Digest::of(format!("{}\n{}", it.username, it.password).as_bytes()));
        let timeout = request.timeout.unwrap_or(self.inner.settings.bounds.pull_max);
        let key = format!(
            "pull {} {login:?} {:?} {} {timeout:?}",
            request.reference, request.policy, request.without_login_too
        );
        self.fly(key, Box::new(on_progress), move |inner, flight| fetch::run(inner, &request, timeout, flight))
    }

    /// Begins to load an image from an archive (`docker save` or OCI layout in a tar, plain or compressed). `wanted` says which of several.
    /// What is loaded is never given for a pull of the same name: an archive proves nothing about a registry.
    pub fn load(
        &self,
        archive: File,
        wanted: Option<Reference>,
        on_progress: impl Fn(&Progress) + Send + Sync + 'static,
    ) -> Pull {
        let key = match rustix::fs::fstat(&archive) {
            // The same file: inode, size and time of the last change.
            Ok(stat) => format!(
                "load {} {} {} {}.{} {wanted:?}",
                stat.st_dev, stat.st_ino, stat.st_size, stat.st_ctime, stat.st_ctime_nsec
            ),
            Err(err) => format!("load {err}"),
        };
        let timeout = self.inner.settings.bounds.pull_max;
        self.fly(key, Box::new(on_progress), move |inner, flight| {
            archive::run(inner, &archive, wanted.as_ref(), timeout, flight)
        })
    }

    /// Joins the flight of that key or starts one.
    fn fly<F>(&self, key: String, listener: Listener, work: F) -> Pull
    where
        F: FnOnce(&Arc<Inner>, &Flight) -> Result<Image, PullError> + Send + 'static,
    {
        let mut state = self.inner.state();
        let flight = state.flights.get(&key).cloned();
        let flight = flight.filter(|flight| !flight.cancelled.is_set());
        if let Some(flight) = flight {
            drop(state);
            match flight.join(listener) {
                Ok(pull) => return pull,
                // Given up between the two looks: once more, and alone.
                Err(listener) => return self.fly(key, listener, work),
            }
        }
        let flight = Flight::new();
        let waiting_max = self.inner.settings.bounds.waiting_max;
        let is_full = state.pulls >= waiting_max;
        if !is_full {
            state.pulls += 1;
            state.flights.insert(key.clone(), Arc::clone(&flight));
        }
        drop(state);
        let pull = flight.first(listener);
        if is_full {
            flight.land(Err(Arc::new(PullError::Busy(waiting_max))));
            return pull;
        }
        let (inner, own) = (Arc::clone(&self.inner), Arc::clone(&flight));
        let spawned = std::thread::Builder::new().name("image".to_owned()).stack_size(THREAD_STACK).spawn(move || {
            let outcome = work(&inner, &own).map_err(Arc::new);
            // First out of the list, so that whoever comes now starts anew instead of joining what has ended.
            inner.landed(&key, &own);
            own.land(outcome);
        });
        if let Err(source) = spawned {
            let what = "start a thread for the image".to_owned();
            self.inner.state().pulls -= 1;
            flight.land(Err(Arc::new(PullError::Disk { what, source })));
        }
        pull
    }
}

/// The stack of a pull's threads, in bytes: serde's recursion over foreign documents is bounded at 128.
pub(crate) const THREAD_STACK: usize = 512 << 10;

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn landed(&self, key: &str, flight: &Arc<Flight>) {
        let mut state = self.state();
        if state.flights.get(key).is_some_and(|known| Arc::ptr_eq(known, flight)) {
            state.flights.remove(key);
        }
        state.pulls -= 1;
        drop(state);
        self.changed.notify_all();
    }

    /// A path that nothing has yet.
    pub(crate) fn temporary_path(&self) -> PathBuf {
        let mut random = [0; 8];
        // Without randomness the count of calls still makes names differ: what a crash left was removed at the start.
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let _ = getrandom::fill(&mut random);
        self.dir.join("temporary").join(format!("{:016x}-{count}", u64::from_le_bytes(random)))
    }

    pub(crate) fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("partial").join(digest.hex())
    }

    pub(crate) fn layers_dir(&self) -> PathBuf {
        self.dir.join("layers")
    }

    pub(crate) fn record_path(&self, name: &str) -> PathBuf {
        self.dir.join("images").join(records::file_name(name))
    }

    pub(crate) fn lease_path(&self, holder: &str) -> PathBuf {
        self.dir.join("leases").join(records::file_name(holder))
    }

    /// All leases that can be read.
    pub(crate) fn leases(&self) -> Vec<Lease> {
        let listed = self.dir.join("leases").read_dir().into_iter().flatten().flatten();
        listed.filter_map(|entry| records::read(&entry.path())).collect()
    }

    /// A layer that is there and whole.
    pub(crate) fn layer(&self, digest: &Digest) -> Option<LayerRecord> {
        let path = self.layers_dir().join(records::folder(digest)).join("layer.json");
        records::read::<LayerRecord>(&path).filter(|record| record.digest == *digest)
    }

    /// The image of that record name.
    pub(crate) fn find(self: &Arc<Self>, name: &str) -> Option<Image> {
        let path = self.record_path(name);
        let record: ImageRecord = records::read(&path)?;
        if record.name != name || record.platform != self.settings.platform.to_string() {
            return None;
        }
        touch(&path);
        self.image_of(&record, name)
    }

    /// The image of a record, if all its layers are there.
    pub(crate) fn image_of(self: &Arc<Self>, record: &ImageRecord, shown_name: &str) -> Option<Image> {
        // Held before it is looked at, so that nothing is removed in between.
        let held = Held::image(self, record);
        if !record.layers.iter().all(|layer| self.layer(&layer.digest).is_some()) {
            return None;
        }
        let layers_dir = self.layers_dir();
        Some(Image {
            name: shown_name.to_owned(),
            digest: record.digest.clone(),
            id: record.id.clone(),
            config: record.config.clone(),
            layers: record.layers.iter().map(|layer| layers_dir.join(layer.folder()).join("root")).collect(),
            layers_dir,
            bytes: record.layers.iter().map(|layer| layer.bytes).sum(),
            held: Arc::new(held),
            record: Arc::new(record.clone()),
        })
    }

    /// Writes an image down.
    pub(crate) fn keep_record(&self, record: &ImageRecord) -> io::Result<()> {
        records::write(&self.record_path(&record.name), &self.temporary_path(), record)
    }
}
