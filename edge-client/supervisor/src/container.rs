//! Starting a contained task (`exec`, or of an image) through libcontainer, the only place that names it.
//!
//! libcontainer changes its process (dumpable, working directory, oom score) and may only be called where there is one
//! thread. Both are given by a fork of the single-threaded supervisor that lives until the container has started; the
//! container's first process then falls to the supervisor, which is the child subreaper.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::notify_socket::{NOTIFY_FILE, NotifySocket};
use libcontainer::syscall::syscall::SyscallType;
use serde_json::{Value, json};

use crate::cgroup::PidsLimit;
use crate::cgroup_files::errno_text;
use crate::image_spec::ImageSpec;
use crate::report::{Report, report_pipe};
use crate::spawn::{Entry, Inherited, Stdio, environment, join_all};
use crate::spec::{Bind, ContainerSpec, NamespaceMode, TaskSpec};
use crate::sys::{self, Forked};
use crate::users::User;
use crate::{closed_root, image_config, image_root};

/// What a container needs besides its task's specification.
#[derive(Debug)]
pub(crate) struct ContainerPlan<'a> {
    /// Escaped task id: the container's id.
    pub(crate) name: &'a str,
    /// Where containers in the making have their files.
    pub(crate) dir: &'a Path,
    /// False where no device rules are enforced: then no device files may be made inside, and those that are there do not open.
    pub(crate) enforces_devices: bool,
    /// The most processes that the task may have.
    pub(crate) pids: Option<&'a PidsLimit>,
    pub(crate) user: Option<&'a User>,
    pub(crate) inherited: Inherited,
}

/// Forks the helper that makes and starts the container; the result comes through the report. The helper is in the task's cgroup
/// itself, so that all that it forks is.
pub(crate) fn start_contained(
    spec: &TaskSpec,
    container: &ContainerSpec,
    plan: &ContainerPlan<'_>,
    entry: &Entry,
    stdio: Stdio,
) -> Result<(i32, Report), String> {
    let links = link_targets(container)?;
    let bundle = plan.dir.join("bundle").join(plan.name);
    let state = plan.dir.join("state");
    remove_files(plan.dir, plan.name);
    for dir in [&bundle, &state] {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|err| format!("create {}: {}", dir.display(), errno_text(&err)))?;
    }
    let write = |config: &Value| {
        let file = bundle.join("config.json");
        std::fs::write(&file, config.to_string())
            .map_err(|err| format!("write {}: {}", file.display(), errno_text(&err)))
    };
    if container.image.is_none() {
        write(&config(spec, container, plan, &links)?)?;
    }

    let (report, mut reporter) = report_pipe().map_err(|err| format!("make pipe: {}", errno_text(&err)))?;
    let (forked, join) = entry.fork();
    match forked.map_err(|err| format!("fork: {}", errno_text(&err)))? {
        Forked::Parent(pid) => Ok((pid, report)),
        Forked::Child => {
            sys::reset_signals();
            // Nobody would hear of the container that it makes.
            let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            let made = match &container.image {
                None if plan.enforces_devices => Ok(()),
                None => closed_root::close(&container.rootfs_dir),
                Some(image) => prepare_image(spec, container, image, plan, &bundle).and_then(|config| write(&config)),
            };
            let made = made.and_then(|()| {
                join_all(join)
                    .map_err(|err| format!("failed to create container: join the cgroup: {}", errno_text(&err)))
            });
            match made.and_then(|()| make(plan, &state, &bundle, stdio, container.no_pivot_root)) {
                Ok(pid) => reporter.contained(pid),
                Err(text) => reporter.failed(&text),
            }
            sys::exit_now(0)
        }
    }
}

/// Removes what a container needed to be made; a running one needs none of it.
pub(crate) fn remove_files(dir: &Path, name: &str) {
    let _ = std::fs::remove_dir_all(dir.join("bundle").join(name));
    let _ = std::fs::remove_dir_all(dir.join("state").join(name));
}

/// In the helper: makes and starts the container, returns its first process.
fn make(
    plan: &ContainerPlan<'_>,
    state: &Path,
    bundle: &Path,
    stdio: Stdio,
    no_pivot_root: bool,
) -> Result<i32, String> {
    let name = plan.name;
    let chain = |err: &dyn std::error::Error| {
        let mut text = err.to_string();
        let mut source = err.source();
        while let Some(err) = source {
            let next = err.to_string();
            if !text.contains(&next) {
                text = format!("{text}: {next}");
            }
            source = err.source();
        }
        format!("failed to create container: {text}")
    };
    let container = ContainerBuilder::new(name.to_owned(), SyscallType::default())
        .with_root_path(state)
        .and_then(ContainerBuilder::validate_id)
        .map_err(|err| chain(&err))?
        .with_stdin(stdio.stdin)
        .with_stdout(stdio.stdout)
        .with_stderr(stdio.stderr)
        .as_init(bundle)
        .with_systemd(false)
        .with_detach(true)
        .with_no_pivot(no_pivot_root)
        .build()
        .map_err(|err| chain(&err))?;
    let pid = container.pid().ok_or("container has no process")?.as_raw();
    plan.pids.map_or(Ok(()), PidsLimit::set)?;
    // All that its own `start` does beyond this is keeping books, which nobody reads.
    NotifySocket::new(state.join(name).join(NOTIFY_FILE)).notify_container_start().map_err(|err| chain(&err))?;
    Ok(pid)
}

/// In the helper: mounts the image's root, finds the user in it, and gives the configuration.
fn prepare_image(
    spec: &TaskSpec,
    container: &ContainerSpec,
    image: &ImageSpec,
    plan: &ContainerPlan<'_>,
    bundle: &Path,
) -> Result<Value, String> {
    let stage = bundle.join("held");
    std::fs::create_dir(&stage).map_err(|err| format!("create {}: {}", stage.display(), errno_text(&err)))?;
    let held = image_root::make(image, &container.rootfs_dir, &stage)?;
    let user = image_root::user(&container.rootfs_dir, &image.user, &image.groups)?;
    image_root::make_cwd(&container.rootfs_dir, &spec.cwd);
    let plan = ContainerPlan { user: Some(&user), ..*plan };
    let mut config = config(spec, container, &plan, &[])?;
    image_config::add(&mut config, spec, container, image, &held, &plan)?;
    Ok(config)
}

/// Host paths that are symbolic links (`/bin` on most systems) become links in the rootfs: a bind would follow them.
/// Returns the targets that are settled that way.
fn link_targets(container: &ContainerSpec) -> Result<Vec<PathBuf>, String> {
    let mut linked = Vec::new();
    if container.image.is_some() {
        return Ok(linked);
    }
    for bind in &container.binds {
        let parts: Vec<Component<'_>> = bind.target.components().collect();
        let [Component::RootDir, Component::Normal(name)] = parts.as_slice() else {
            continue;
        };
        let Ok(points_to) = std::fs::read_link(&bind.source) else {
            continue;
        };
        let link = container.rootfs_dir.join(name);
        match std::os::unix::fs::symlink(&points_to, &link) {
            Err(err) if err.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(format!("create link {}: {}", link.display(), errno_text(&err)));
            }
            _ => linked.push(bind.target.clone()),
        }
    }
    Ok(linked)
}

/// The OCI runtime configuration.
fn config(
    spec: &TaskSpec,
    container: &ContainerSpec,
    plan: &ContainerPlan<'_>,
    linked: &[PathBuf],
) -> Result<Value, String> {
    let mut env = environment(&spec.env, plan.user);
    // The executor refuses to look for a command without it.
    env.entry("PATH".to_owned())
        .or_insert_with(|| "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin".to_owned());
    let env: Vec<String> = env.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let capabilities: Vec<&String> = container
        .capabilities
        .iter()
        // Where no device rules hold, a device file made inside would open the host's disks.
        .filter(|name| plan.enforces_devices || *name != "CAP_MKNOD")
        .collect();
    let user = match plan.user {
        Some(user) => json!({"uid": user.uid, "gid": user.gid, "additionalGids": user.groups, "umask": 0o022}),
        None => json!({"uid": 0, "gid": 0, "umask": 0o022}),
    };
    let mut namespaces = vec![json!({"type": "mount"}), json!({"type": "uts"})];
    for (kind, mode) in [("pid", container.pid_mode), ("ipc", container.ipc_mode)] {
        if mode == NamespaceMode::Private {
            namespaces.push(json!({"type": kind}));
        }
    }
    if let Some(path) = &container.network_namespace {
        namespaces.push(json!({"type": "network", "path": path}));
    }
    let mut mounts = base_mounts(container);
    for bind in &container.binds {
        if !linked.contains(&bind.target)
            && let Some(mount) = bind_mount(bind, plan.enforces_devices)?
        {
            mounts.push(mount);
        }
    }
    let mut rlimit = json!({"type": "RLIMIT_NOFILE"});
    rlimit["soft"] = json!(plan.inherited.open_files.current.unwrap_or(u64::MAX));
    rlimit["hard"] = json!(plan.inherited.open_files.maximum.unwrap_or(u64::MAX));
    let mut config = json!({
        "ociVersion": "1.0.2",
        "root": {"path": container.rootfs_dir, "readonly": false},
        "process": {
            "terminal": false,
            "user": user,
            "args": spec.argv,
            "env": env,
            "cwd": spec.cwd,
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                "inheritable": capabilities, "ambient": capabilities,
            },
            "rlimits": [rlimit],
            "noNewPrivileges": true,
            "oomScoreAdj": spec.oom_score_adj.unwrap_or(plan.inherited.oom_score_adj),
        },
        "mounts": mounts,
        "linux": {
            // Limits and device rules are on the cgroup already, which libcontainer has nothing to do with.
            "namespaces": namespaces,
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                            "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"],
            "readonlyPaths": ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    image_config::add_devices(&mut config, &container.devices, plan)?;
    Ok(config)
}

fn base_mounts(container: &ContainerSpec) -> Vec<Value> {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    let proc = match container.pid_mode {
        NamespaceMode::Private => mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        // A new proc shows the host's processes there just the same.
        NamespaceMode::Host => {
            json!({"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind", "nosuid", "noexec", "nodev"]})
        }
    };
    let mut mounts = vec![
        proc,
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ];
    if container.ipc_mode == NamespaceMode::Private {
        mounts.push(mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    }
    mounts
}

fn bind_mount(bind: &Bind, enforces_devices: bool) -> Result<Option<Value>, String> {
    if let Err(err) = bind.source.metadata() {
        return match bind.optional {
            true => Ok(None),
            false => Err(format!("bind {}: {}", bind.source.display(), errno_text(&err))),
        };
    }
    let mut options = vec!["rbind", if bind.follows_host { "rslave" } else { "rprivate" }, "nosuid"];
    if !enforces_devices {
        // No rule keeps the task from the device files that may lie there, or in what is mounted below.
        options.push(if kernel_changes_mounts_below() { "rnodev" } else { "nodev" });
    }
    options.push(access_of(bind.read_only));
    Ok(Some(json!({"destination": bind.target, "type": "bind", "source": bind.source, "options": options})))
}

/// The word for it among a mount's options, for what is mounted below too where the kernel can.
pub(crate) fn access_of(read_only: bool) -> &'static str {
    match (read_only, kernel_changes_mounts_below()) {
        (false, _) => "rw",
        (true, true) => "rro",
        (true, false) => "ro",
    }
}

/// To change what is mounted below too needs mount_setattr, which came with Linux 5.12.
fn kernel_changes_mounts_below() -> bool {
    let uname = rustix::system::uname();
    let mut numbers =
        uname.release().to_str().unwrap_or_default().split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 12)
}
