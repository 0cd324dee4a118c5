//! What an operator and a job can say about images.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::credentials::Credentials;
use crate::platform::Platform;
use crate::reference::Reference;

/// What holds for all images of an agent.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What no image and no pull may exceed.
    pub bounds: Bounds,
    /// By the registry's host as jobs write it (`docker.io`, `127.0.0.1:5000`). A registry that is not named here is asked
    /// itself, by HTTPS, with the host's certificates.
    pub registries: BTreeMap<String, Registry>,
    /// A file with logins in the form of Docker's `config.json`, read at each pull.
    pub auth_file: Option<PathBuf>,
    /// The suffix of a program `docker-credential-<suffix>` that is asked for logins, as Docker does.
    pub auth_helper: Option<String>,
    /// Certificates that are trusted besides the host's own, for every registry (PEM).
    pub ca_file: Option<PathBuf>,
    /// Which image of an index is taken; the machine's own by default.
    pub platform: Platform,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bounds: Bounds::default(),
            registries: BTreeMap::new(),
            auth_file: None,
            auth_helper: None,
            ca_file: None,
            platform: Platform::host(),
        }
    }
}

/// How one registry is reached.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    /// Hosts that are asked first, in this order, for the same repositories: `mirror.lan:5000`. How each is reached stands under its
    /// own name in [`Settings::registries`].
    pub mirrors: Vec<String>,
    /// Speak plain HTTP with it. Anybody on the way can then read what is fetched and the login.
    pub plain_http: bool,
    /// Certificates that are trusted besides the host's own, for this registry (PEM).
    pub ca_file: Option<PathBuf>,
    /// The login, where the job brings none.
    pub credentials: Option<Credentials>,
}

/// Maxima. A pull that goes beyond one fails with a sentence that names it.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Bytes of one layer as it is sent. 16 GiB.
    pub layer_bytes_max: u64,
    /// Bytes of all layers of an image as they are sent. 32 GiB.
    pub image_bytes_max: u64,
    /// Bytes of one layer, unpacked. 64 GiB.
    pub unpacked_bytes_max: u64,
    /// Files, directories and links of one layer. 2,000,000.
    pub entries_max: u64,
    /// Layers of one image. 125: what one overlay can stand on.
    pub layers_max: usize,
    /// How long a registry may send nothing. 60 s.
    pub silence_max: Duration,
    /// How long a pull may take with everything, where the request says nothing. 5 min.
    pub pull_max: Duration,
    /// Pulls at once; others wait for their turn. 3.
    pub pulls_max: usize,
    /// Layers of one pull fetched at once. 3.
    pub downloads_max: usize,
    /// Pulls that may be running or waiting together; one more is refused. 256.
    pub waiting_max: usize,
    /// Bytes on disk of images that nothing uses. 10 GiB.
    pub unused_bytes_max: u64,
    /// Bytes on disk of layers whose pull has ended before they were whole. 4 GiB.
    pub partial_bytes_max: u64,
    /// How long an image that nothing uses is kept. 3 min.
    pub unused_max: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            layer_bytes_max: 16 << 30,
            image_bytes_max: 32 << 30,
            unpacked_bytes_max: 64 << 30,
            entries_max: 2_000_000,
            layers_max: 125,
            silence_max: Duration::from_secs(60),
            pull_max: Duration::from_secs(300),
            pulls_max: 3,
            downloads_max: 3,
            waiting_max: 256,
            unused_bytes_max: 10 << 30,
            partial_bytes_max: 4 << 30,
            unused_max: Duration::from_secs(180),
        }
    }
}

/// When a registry is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// `latest` is asked for each time, anything else only where it is not there. What jobs get by default.
    #[default]
    Default,
    /// Each time (`force_pull`). A reference with a digest that is there is not asked for: it cannot have changed.
    Always,
    /// Only when it is not there.
    IfMissing,
}

/// One wish for an image.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// Which image.
    pub reference: Reference,
    /// The job's own login; otherwise the settings' are looked through.
    pub credentials: Option<Credentials>,
    /// When a login is refused or none can be found, go on without one (`auth_soft_fail`).
    pub without_login_too: bool,
    /// When the registry is asked.
    pub policy: PullPolicy,
    /// How long it may take; [`Bounds::pull_max`] where there is none.
    pub timeout: Option<Duration>,
}

impl PullRequest {
    /// A wish with everything else at its default.
    pub fn new(reference: Reference) -> Self {
        Self { reference, credentials: None, without_login_too: false, policy: PullPolicy::default(), timeout: None }
    }
}
