//! `exec`: a program of the host in namespaces and a root directory of its own, made through libcontainer.
//!
//! The host's directories are shown read-only at their own places; nothing is copied. The root is the task's directory.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use drover_supervisor::{
    Bind, ContainerSpec, Device, Isolation, NamespaceMode, Session, TaskSpec, default_capabilities,
};
use tokio::sync::oneshot;

use crate::denied_ids::DeniedIds;
use crate::driver::{
    Driver, Exit, Fingerprint, Recovered, StartError, TaskCommand, TaskDevice, TaskError, TaskHandle, TaskMount,
    TaskStart, TaskUsage, View,
};
use crate::registry::{Registered, Setup};
use crate::resolv_conf;
use crate::supervised::{Supervised, launch_error, logs_of, resources_of};
use crate::task_config::ConfigReader;

/// The word after `driver =`.
pub const NAME: &str = "exec";

/// The search path inside, unless the task sets one.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What of the host is shown inside unless the operator's `chroot_env` says otherwise.
const SHOWN: &[&str] =
    &["/bin", "/etc", "/lib", "/lib32", "/lib64", "/run/resolvconf", "/run/systemd/resolve", "/sbin", "/usr"];

/// The plugin's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecConfig {
    /// The root is changed by chroot: needed where the host's own root is in memory (ramfs).
    pub no_pivot_root: bool,
    /// Users and groups of the host that no task may have.
    pub denied: DeniedIds,
    /// Processes see only their own, unless the task says otherwise.
    pub private_pids: bool,
    /// Shared memory and queues are their own, unless the task says otherwise.
    pub private_ipc: bool,
    /// Capabilities that a task may have, as `CAP_…`.
    pub allow_caps: Vec<String>,
    /// Host path to path inside.
    pub chroot_env: Vec<(PathBuf, PathBuf)>,
}

impl Default for ExecConfig {
    fn default() -> Self {
        Self {
            no_pivot_root: false,
            denied: DeniedIds::default(),
            private_pids: true,
            private_ipc: true,
            allow_caps: default_capabilities().iter().map(|name| (*name).to_owned()).collect(),
            chroot_env: SHOWN.iter().map(|path| (PathBuf::from(path), PathBuf::from(path))).collect(),
        }
    }
}

impl ExecConfig {
    /// What the plugin's `config` says.
    pub fn read(config: &mut ConfigReader<'_>) -> ExecConfig {
        let defaults = ExecConfig::default();
        ExecConfig {
            no_pivot_root: config.flag("no_pivot_root").unwrap_or(false),
            denied: DeniedIds::read(config),
            private_pids: is_private(config, "default_pid_mode"),
            private_ipc: is_private(config, "default_ipc_mode"),
            allow_caps: allow_caps(config),
            ..defaults
        }
    }
}

fn is_private(config: &mut ConfigReader<'_>, key: &str) -> bool {
    match config.text(key).as_str() {
        "" | "private" => true,
        "host" => false,
        other => {
            config.problem(format!("{key} must be \"private\" or \"host\", got {other:?}"));
            true
        }
    }
}

/// The capabilities that tasks may have at the most, in the kernel's names.
pub(crate) fn allow_caps(config: &mut ConfigReader<'_>) -> Vec<String> {
    if !config.has("allow_caps") {
        return ExecConfig::default().allow_caps;
    }
    config.texts("allow_caps").iter().map(|name| full_name(name)).collect()
}

/// The line of the registry.
pub(crate) fn register(setup: &Setup<'_>, config: &mut ConfigReader<'_>) -> Registered {
    let mut exec = ExecConfig::read(config);
    if let Some(chroot_env) = &setup.settings.chroot_env {
        exec.chroot_env = chroot_env.clone();
    }
    Ok(Arc::new(Exec::new(exec, setup.supervised.clone())))
}

/// The driver.
#[derive(Debug)]
pub struct Exec {
    config: ExecConfig,
    supervised: Arc<Supervised>,
}

impl Exec {
    /// The driver on that supervisor.
    pub fn new(config: ExecConfig, supervised: Arc<Supervised>) -> Self {
        Self { config, supervised }
    }
}

impl Driver for Exec {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        if !rustix::process::geteuid().is_root() {
            return Fingerprint::undetected("Driver must run as root");
        }
        let has_cgroups =
            Path::new("/sys/fs/cgroup/cgroup.controllers").exists() || Path::new("/sys/fs/cgroup/memory").exists();
        if !has_cgroups {
            return Fingerprint::undetected("Failed to discover cgroup mount point");
        }
        Fingerprint::healthy(NAME)
    }

    fn view(&self) -> View {
        View::Own
    }

    fn takes_mounts(&self) -> bool {
        true
    }

    fn takes_devices(&self) -> bool {
        true
    }

    fn start(&self, start: TaskStart) -> Result<TaskHandle, StartError> {
        let spec = spec(&self.config, start)?;
        self.supervised.start(NAME, spec)
    }

    fn wait(&self, handle: &TaskHandle) -> oneshot::Receiver<Exit> {
        self.supervised.wait(handle)
    }

    fn signal(&self, handle: &TaskHandle, signal: i32) -> Result<(), TaskError> {
        self.supervised.signal(handle, signal)
    }

    fn kill(&self, handle: &TaskHandle) -> Result<(), TaskError> {
        self.supervised.kill(handle)
    }

    fn destroy(&self, handle: &TaskHandle) -> Result<(), TaskError> {
        self.supervised.destroy(handle)
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
        command.env.entry("PATH".to_owned()).or_insert_with(|| SEARCH_PATH.to_owned());
        let (user, cwd) =
            (Some(format!("{}:0", if command.user.is_empty() { "nobody" } else { &command.user })), PathBuf::from("/"));
        self.supervised.exec(handle, command, user, cwd, fds)
    }

    fn stats(&self, handle: &TaskHandle) -> Result<TaskUsage, TaskError> {
        self.supervised.stats(handle)
    }
}

/// What the supervisor is asked to start.
fn spec(plugin: &ExecConfig, start: TaskStart) -> Result<TaskSpec, StartError> {
    let mut config = ConfigReader::new(&start.config);
    let command = config.required_text("command");
    let args = config.texts("args");
    let pid_mode = config.text("pid_mode");
    let ipc_mode = config.text("ipc_mode");
    let cap_add = config.texts("cap_add");
    let cap_drop = config.texts("cap_drop");
    let work_dir = config.text("work_dir");
    config.finish()?;

    let invalid = |text: String| StartError::Final(format!("failed driver config validation: {text}"));
    let mode = |name: &str, given: &str, is_private: bool| match given {
        "private" => Ok(NamespaceMode::Private),
        "host" => Ok(NamespaceMode::Host),
        "" if is_private => Ok(NamespaceMode::Private),
        "" => Ok(NamespaceMode::Host),
        other => Err(invalid(format!("{name} must be \"private\" or \"host\", got {other:?}"))),
    };
    let pid_mode = mode("pid_mode", &pid_mode, plugin.private_pids)?;
    let ipc_mode = mode("ipc_mode", &ipc_mode, plugin.private_ipc)?;
    let capabilities = capabilities(&plugin.allow_caps, &cap_add, &cap_drop).map_err(invalid)?;
    if !work_dir.is_empty() && !Path::new(&work_dir).is_absolute() {
        return Err(invalid(format!("work_dir must be absolute but got relative path {work_dir:?}")));
    }

    // Group 0 and no other, whoever the user is: what job files of this language rely on.
    let user = format!("{}:0", if start.user.is_empty() { "nobody" } else { &start.user });
    plugin.denied.check(&user).map_err(invalid)?;

    let root = start.dirs.task_dir;
    let mut binds: Vec<Bind> = plugin
        .chroot_env
        .iter()
        .map(|(source, target)| Bind {
            source: source.clone(),
            target: target.clone(),
            read_only: true,
            optional: true,
            follows_host: false,
        })
        .collect();
    binds.extend(start.mounts.iter().map(bind_of));
    if let Some(dns) = &start.dns {
        let source = resolv_conf::write(&root, dns)
            .map_err(|error| StartError::Failed(format!("failed to build mount for resolv.conf: {error}")))?;
        binds = with_room(binds, "/etc", resolv_conf::NAME);
        binds.push(Bind { source, target: "/etc/resolv.conf".into(), read_only: true, ..Bind::default() });
    }
    let mut env = start.env;
    let search_path = env.entry("PATH".to_owned()).or_insert_with(|| SEARCH_PATH.to_owned()).clone();
    let command = find_command(&command, &search_path, &root, &binds)
        .ok_or_else(|| launch_error(&format!("file {command} not found under path {}", root.display())))?;
    binds.push(Bind { source: start.dirs.alloc_dir, target: "/alloc".into(), ..Bind::default() });

    let mut argv = vec![command];
    argv.extend(args);
    let (stdout, stderr) = logs_of(start.logs.as_ref());
    Ok(TaskSpec {
        id: start.id,
        argv,
        env,
        cwd: if work_dir.is_empty() { "/".into() } else { work_dir.into() },
        user: Some(user),
        stdout,
        stderr,
        resources: resources_of(&start.resources),
        oom_score_adj: None,
        network_namespace: None,
        isolation: Isolation::Container(ContainerSpec {
            rootfs_dir: root,
            binds,
            capabilities,
            pid_mode,
            ipc_mode,
            network_namespace: start.network_namespace,
            no_pivot_root: plugin.no_pivot_root,
            devices: start.devices.iter().map(device_of).collect(),
            image: None,
        }),
    })
}

/// Where a directory of the host has no file of that name, one can't be put there: it is read-only. Then what is in it is shown one by
/// one, in a directory of the task's own.
fn with_room(binds: Vec<Bind>, dir: &str, name: &str) -> Vec<Bind> {
    /// More than that are not shown.
    const ENTRIES_MAX: usize = 512;
    let each_of = |bind: Bind| {
        if bind.target != Path::new(dir) || bind.source.join(name).exists() {
            return vec![bind];
        }
        let entries = std::fs::read_dir(&bind.source).into_iter().flatten().flatten().take(ENTRIES_MAX);
        let shown = entries.map(|entry| Bind {
            source: entry.path(),
            target: bind.target.join(entry.file_name()),
            // It may be gone meanwhile, or a link that leads nowhere.
            optional: true,
            ..bind.clone()
        });
        shown.collect()
    };
    binds.into_iter().flat_map(each_of).collect()
}

/// A directory of the host as the supervisor is told of it.
pub(crate) fn bind_of(mount: &TaskMount) -> Bind {
    Bind {
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.is_read_only,
        optional: false,
        follows_host: mount.follows_host,
    }
}

/// A device as the supervisor is told of it.
pub(crate) fn device_of(device: &TaskDevice) -> Device {
    Device { host_path: device.path.clone(), path: device.path.clone(), access: device.access.clone() }
}

fn full_name(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    if upper.starts_with("CAP_") || upper == "ALL" { upper } else { format!("CAP_{upper}") }
}

/// What a task may do: the allowed set, less what it drops, plus what it adds, never more than allowed.
pub(crate) fn capabilities(allowed: &[String], add: &[String], drop: &[String]) -> Result<Vec<String>, String> {
    let add: Vec<String> = add.iter().map(|name| full_name(name)).collect();
    let drop: Vec<String> = drop.iter().map(|name| full_name(name)).collect();
    let mut denied: Vec<String> = add
        .iter()
        .filter(|name| *name != "ALL" && !allowed.contains(name))
        .map(|name| name.trim_start_matches("CAP_").to_ascii_lowercase())
        .collect();
    if !denied.is_empty() {
        denied.sort();
        return Err(format!("driver does not allow the following capabilities: {}", denied.join(", ")));
    }
    let drops_all = drop.iter().any(|name| name == "ALL");
    let adds_all = add.iter().any(|name| name == "ALL");
    Ok(allowed
        .iter()
        .filter(|name| adds_all || add.contains(name) || !(drops_all || drop.contains(name)))
        .cloned()
        .collect())
}

/// The command as the task sees it, if there will be such a file inside.
fn find_command(command: &str, search_path: &str, root: &Path, binds: &[Bind]) -> Option<String> {
    if command.is_empty() {
        return None;
    }
    let candidates: Vec<PathBuf> = if command.starts_with('/') {
        vec![PathBuf::from(command)]
    } else if command.contains('/') {
        vec![Path::new("/").join(command)]
    } else {
        // A file that an artifact or the job put into the task's directory goes before the host's.
        ["/local", "/"]
            .into_iter()
            .chain(search_path.split(':').filter(|dir| dir.starts_with('/')))
            .map(|dir| Path::new(dir).join(command))
            .collect()
    };
    let found = candidates.into_iter().find(|inside| {
        let below_bind = binds
            .iter()
            .any(|bind| inside.strip_prefix(&bind.target).is_ok_and(|rest| bind.source.join(rest).is_file()));
        below_bind || inside.strip_prefix("/").is_ok_and(|rest| root.join(rest).is_file())
    })?;
    Some(found.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_room_in_a_directory_of_the_host_that_has_none_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let bind = |target: &str| Bind { source: dir.path().into(), target: target.into(), ..Bind::default() };
        std::fs::write(dir.path().join("passwd"), "").unwrap();
        std::os::unix::fs::symlink("/nowhere", dir.path().join("resolv.conf")).unwrap();
        let targets = || -> Vec<String> {
            let binds = with_room(vec![bind("/usr"), bind("/etc")], "/etc", "resolv.conf");
            let mut targets: Vec<String> = binds.iter().map(|bind| bind.target.display().to_string()).collect();
            targets.sort();
            targets
        };
        assert_eq!(targets(), ["/etc/passwd", "/etc/resolv.conf", "/usr"]);
        std::fs::remove_file(dir.path().join("resolv.conf")).unwrap();
        assert_eq!(targets(), ["/etc/passwd", "/usr"]);
        std::fs::write(dir.path().join("resolv.conf"), "").unwrap();
        assert_eq!(targets(), ["/etc", "/usr"]);
    }
    use crate::driver::TaskDirs;
    use serde_json::{Value, json};

    fn start(config: Value) -> TaskStart {
        TaskStart {
            id: "a.t".to_owned(),
            config: serde_json::from_value(config).unwrap(),
            user: String::new(),
            env: Default::default(),
            dirs: TaskDirs { alloc_dir: "/d/a/alloc".into(), task_dir: "/d/a/t".into() },
            ..TaskStart::default()
        }
    }

    fn text(config: Value) -> String {
        spec(&ExecConfig::default(), start(config)).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_config_becomes_a_container() {
        let spec = spec(&ExecConfig::default(), start(json!({"command": "sh", "pid_mode": "host"}))).unwrap();
        assert!(spec.argv[0].starts_with('/') && spec.argv[0].ends_with("/sh"), "{:?}", spec.argv);
        assert_eq!((spec.cwd.to_str(), spec.user.as_deref()), (Some("/"), Some("nobody:0")));
        let Isolation::Container(container) = spec.isolation else { panic!("not contained") };
        assert_eq!(container.pid_mode, NamespaceMode::Host);
        assert_eq!(container.ipc_mode, NamespaceMode::Private);
        assert!(container.binds.iter().filter(|bind| bind.target != Path::new("/alloc")).all(|bind| bind.read_only));
    }

    #[test]
    fn a_config_that_cannot_work_is_refused_in_words() {
        let prefix = "failed driver config validation: ";
        assert_eq!(
            text(json!({"command": "sh", "pid_mode": "foo"})),
            format!("{prefix}pid_mode must be \"private\" or \"host\", got \"foo\"")
        );
        assert_eq!(
            text(json!({"command": "sh", "work_dir": "tmp"})),
            format!("{prefix}work_dir must be absolute but got relative path \"tmp\"")
        );
        assert_eq!(
            text(json!({"command": "sh", "cap_add": ["sys_admin"]})),
            format!("{prefix}driver does not allow the following capabilities: sys_admin"),
        );
        assert!(text(json!({"command": "/nonexistent"})).ends_with("file /nonexistent not found under path /d/a/t"));
    }

    #[test]
    fn capabilities_are_never_more_than_allowed() {
        let allowed: Vec<String> = ["CAP_CHOWN", "CAP_KILL"].map(str::to_owned).into();
        let check = |add: &[&str], drop: &[&str], expected: &[&str]| {
            let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            assert_eq!(capabilities(&allowed, &own(add), &own(drop)).unwrap(), own(expected));
        };
        check(&[], &[], &["CAP_CHOWN", "CAP_KILL"]);
        check(&[], &["kill"], &["CAP_CHOWN"]);
        check(&["Kill"], &["all"], &["CAP_KILL"]);
        check(&["all"], &["all"], &["CAP_CHOWN", "CAP_KILL"]);
    }
}
