//! A store in a directory of its own, and looks into it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use drover_images::{Bounds, Image, ImageStore, Platform, PullError, PullRequest, Registry, Settings};

/// The longest that anything may take which only needs time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A store that goes with its value.
pub struct Place {
    pub store: ImageStore,
    dir: tempfile::TempDir,
}

/// Settings for registries on loopback. A case about silence and slowness has bounds of its own.
pub fn settings(hosts: &[&str]) -> Settings {
    let plain = |host: &&str| ((*host).to_owned(), Registry { plain_http: true, ..Registry::default() });
    Settings {
        registries: hosts.iter().map(plain).collect(),
        bounds: Bounds { silence_max: PATIENCE, pull_max: 2 * PATIENCE, ..Bounds::default() },
        // What the images are made for, wherever the tests run.
        platform: Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: String::new() },
        ..Settings::default()
    }
}

impl Place {
    pub fn new(settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { store: ImageStore::open(dir.path(), settings).unwrap(), dir }
    }

    /// A store that knows one registry.
    pub fn with(host: &str) -> Self {
        Self::new(settings(&[host]))
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The agent ends and another one starts.
    pub fn reopen(self, settings: Settings) -> Self {
        let Self { store, dir } = self;
        drop(store);
        // The lock goes with the last thread of the old store.
        let store = eventually("the store can be opened", || ImageStore::open(dir.path(), settings.clone()).ok());
        Self { store, dir }
    }

    pub fn pull(&self, name: &str) -> Result<Image, Arc<PullError>> {
        self.store.pull(request(name), |_| {}).wait()
    }

    /// The sentence of a pull that has to fail.
    pub fn refusal(&self, name: &str) -> String {
        self.pull(name).unwrap_err().sentence()
    }

    /// Names in one of its directories.
    pub fn names(&self, folder: &str) -> Vec<String> {
        names(&self.path().join(folder))
    }

    /// Nothing half-made is there.
    pub fn assert_clean(&self) {
        assert_eq!(self.names("temporary"), [""; 0]);
    }
}

pub fn request(name: &str) -> PullRequest {
    PullRequest::new(name.parse().unwrap())
}

pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Waits for a condition.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Children of this process that unpack, by pid.
pub fn unpackers(parent: u32) -> Vec<PathBuf> {
    let processes = Path::new("/proc").read_dir().unwrap().flatten().map(|entry| entry.path());
    let is_ours = |path: &PathBuf| {
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let mut fields = after.split(' ');
        let is_alive = fields.next().is_some_and(|state| state != "Z");
        let is_child = fields.next() == Some(&parent.to_string());
        let words = std::fs::read(path.join("cmdline")).unwrap_or_default();
        is_alive && is_child && words.split(|byte| *byte == 0).nth(1) == Some(b"__unpack")
    };
    processes.filter(is_ours).collect()
}
