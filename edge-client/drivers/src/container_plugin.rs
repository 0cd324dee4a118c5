//! What the operator says about containers: the `config` of the plugin `container`, and of `docker` for what both have.

use std::path::PathBuf;
use std::time::Duration;

use drover_images::{Credentials, Registry, Settings};

use crate::exec::{ExecConfig, allow_caps};
use crate::task_config::ConfigReader;

/// Settings of the engine that a plugin `docker` may have and that mean nothing here.
const OF_THE_ENGINE: &[&str] = &[
    "endpoint",
    "tls",
    "extra_labels",
    "logging",
    "allow_runtimes",
    "nvidia_runtime",
    "infra_image",
    "infra_image_pull_timeout",
    "container_exists_attempts",
    "disable_log_collection",
    "windows_allow_insecure_container_admin",
];

/// The plugin's settings.
#[derive(Clone, Debug)]
pub struct ContainerConfig {
    /// How images are got and kept.
    pub images: Settings,
    /// Images that nothing uses are removed.
    pub collects: bool,
    /// Tasks may have directories of the host.
    pub has_volumes: bool,
    /// Tasks may have all rights.
    pub allow_privileged: bool,
    /// Tasks may use the host's processes.
    pub allow_host_pids: bool,
    /// Tasks may use the host's shared memory.
    pub allow_host_ipc: bool,
    /// Capabilities that a task may have, as `CAP_…`.
    pub allow_caps: Vec<String>,
    /// Most processes of a task; 0 means no limit.
    pub pids_limit: u64,
    /// The kernel's oom_score_adj for tasks.
    pub oom_score_adj: i32,
    /// Jobs that ask for the driver `docker` are run too.
    pub runs_docker_jobs: bool,
}

impl Default for ContainerConfig {
    fn default() -> Self {
        Self {
            images: Settings::default(),
            collects: true,
            has_volumes: false,
            allow_privileged: false,
            allow_host_pids: false,
            allow_host_ipc: false,
            allow_caps: ExecConfig::default().allow_caps,
            pids_limit: 0,
            oom_score_adj: 0,
            runs_docker_jobs: false,
        }
    }
}

impl ContainerConfig {
    /// What the plugin `container` says.
    pub(crate) fn read(config: &mut ConfigReader<'_>) -> ContainerConfig {
        let runs_docker_jobs = config.flag("docker_jobs").unwrap_or(false);
        let mut read = ContainerConfig { runs_docker_jobs, ..ContainerConfig::default() };
        let registries = config.labelled("registry", |label, registry| {
            let read = Registry {
                mirrors: registry.texts("mirrors"),
                plain_http: registry.flag("plain_http").unwrap_or(false),
                ca_file: path(registry, "ca_file"),
                credentials: login(registry),
            };
            (label.to_owned(), read)
        });
        read.images.registries = registries.into_iter().collect();
        read.add(config);
        read
    }

    /// With what the plugin `docker` says on top.
    pub(crate) fn with_docker(mut self, config: &mut ConfigReader<'_>) -> ContainerConfig {
        for key in OF_THE_ENGINE {
            let _ = config.is_given(key);
        }
        self.add(config);
        self
    }

    fn add(&mut self, config: &mut ConfigReader<'_>) {
        if let Some(most) = config.duration("image_pull_timeout") {
            self.images.bounds.pull_max = most;
        }
        if let Some(most) = config.duration("pull_activity_timeout") {
            self.images.bounds.silence_max = most.max(Duration::from_secs(1));
        }
        for (file, helper) in config.blocks("auth", |auth| (path(auth, "config"), auth.text("helper"))) {
            self.images.auth_file = file;
            self.images.auth_helper = Some(helper).filter(|helper| !helper.is_empty());
        }
        let gc = config.blocks("gc", |gc| {
            let _ = (gc.is_given("container"), gc.is_given("dangling_containers"));
            (gc.flag("image"), gc.duration("image_delay"))
        });
        for (collects, delay) in gc {
            self.collects = collects.unwrap_or(self.collects);
            self.images.bounds.unused_max = delay.unwrap_or(self.images.bounds.unused_max);
        }
        let volumes = config.blocks("volumes", |volumes| {
            let _ = volumes.is_given("selinuxlabel");
            volumes.flag("enabled").unwrap_or(false)
        });
        self.has_volumes |= volumes.contains(&true);
        self.allow_privileged |= config.flag("allow_privileged").unwrap_or(false);
        let modes = config.blocks("allowed_modes", |modes| {
            let _ = (modes.is_given("userns"), modes.is_given("uts"));
            let mut has_host = |key: &str| modes.texts(key).iter().any(|mode| mode == "host");
            (has_host("pid"), has_host("ipc"))
        });
        self.allow_host_pids |= modes.iter().any(|(pid, _)| *pid);
        self.allow_host_ipc |= modes.iter().any(|(_, ipc)| *ipc);
        if config.has("allow_caps") {
            self.allow_caps = allow_caps(config);
        }
        if let Some(most) = config.number("pids_limit") {
            self.pids_limit = u64::try_from(most).unwrap_or(0);
        }
        if let Some(score) = config.number("oom_score_adj") {
            self.oom_score_adj = i32::try_from(score).unwrap_or(0).clamp(0, 1000);
        }
    }
}

fn path(config: &mut ConfigReader<'_>, key: &str) -> Option<PathBuf> {
    Some(config.text(key)).filter(|text| !text.is_empty()).map(PathBuf::from)
}

fn login(config: &mut ConfigReader<'_>) -> Option<Credentials> {
    let (username, password) = (config.text("username"), config.text("password"));
    (!username.is_empty()).then_some(Credentials { username, password })
}
