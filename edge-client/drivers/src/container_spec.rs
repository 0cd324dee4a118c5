//! From a job's words and an image's configuration to what the supervisor starts.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use drover_images::Image;
use drover_supervisor::{Bind, ContainerSpec, Device, HeldBind, ImageSpec, Isolation, NamespaceMode, TaskSpec, Tmpfs};

use crate::container_config::ContainerTask;
use crate::container_plugin::ContainerConfig;
use crate::driver::{StartError, TaskDns, TaskStart};
use crate::exec::{bind_of, capabilities, device_of};
use crate::resolv_conf;
use crate::supervised::{logs_of, resources_of};

/// The directory of a task's directory that holds what its root has beyond the image.
const OWN_DIR: &str = "container";
/// Those of a task's directory that no task is shown.
const AGENTS_DIRS: &[&str] = &[OWN_DIR, "private"];
/// Most names for addresses of a job.
const HOSTS_MAX: usize = 1000;

/// The whole environment: the image's, and the task's over it.
pub(crate) fn environment(image: &[String], task: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let of_image = image.iter().filter_map(|entry| entry.split_once('='));
    let mut env: BTreeMap<String, String> = of_image
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    env.extend(task);
    env
}

/// The user inside: the task's, or the image's.
pub(crate) fn user(task: &str, image: &Image) -> String {
    if task.is_empty() { image.config.user.clone() } else { task.to_owned() }
}

/// What is run: the entrypoint with the command behind it, the job's before the image's.
fn argv(task: &ContainerTask, image: &Image) -> Vec<String> {
    let of_job = || std::iter::once(&task.command).filter(|word| !word.is_empty()).chain(&task.args).cloned();
    let has_own_entrypoint = !task.entrypoint.is_empty();
    let entrypoint = if has_own_entrypoint { &task.entrypoint } else { &image.config.entrypoint };
    let mut argv = entrypoint.clone();
    if !task.command.is_empty() || !task.args.is_empty() {
        argv.extend(of_job());
    } else if !has_own_entrypoint {
        argv.extend(image.config.command.iter().cloned());
    }
    argv
}

/// What the supervisor is asked to start. Clears what an earlier life of the task has written into its root.
pub(crate) fn spec(
    plugin: &ContainerConfig,
    task: &ContainerTask,
    image: &Image,
    start: TaskStart,
) -> Result<TaskSpec, StartError> {
    let invalid = StartError::Final;
    let argv = argv(task, image);
    if argv.is_empty() {
        return Err(invalid(format!("neither the task nor its image {:?} says what to run", task.image)));
    }
    let given = if task.work_dir.is_empty() { image.config.working_dir.as_str() } else { &task.work_dir };
    let cwd = Path::new("/").join(given);
    check_ports(task, &start).map_err(invalid)?;
    let has_no_network = match (task.network_mode.as_str(), start.network_namespace.is_some()) {
        (_, true) | ("" | "host" | "default", false) => false,
        ("none", false) => true,
        (other, false) => {
            return Err(invalid(format!(
                "network_mode {other:?} needs a network of the group's own: network {{ mode = \"bridge\" }}"
            )));
        }
    };
    if task.is_privileged && !plugin.allow_privileged {
        return Err(invalid("Docker privileged mode is disabled on this Nomad agent".to_owned()));
    }
    let mode = |name: &str, mode: &str, is_allowed: bool| match mode {
        "host" if is_allowed || plugin.allow_privileged => Ok(NamespaceMode::Host),
        "" | "private" => Ok(NamespaceMode::Private),
        other => Err(invalid(format!("cannot apply {name:?} configuration: {other:?} is not allowed on this agent"))),
    };
    let pid_mode = mode("pid_mode", &task.pid_mode, plugin.allow_host_pids)?;
    let ipc_mode = mode("ipc_mode", &task.ipc_mode, plugin.allow_host_ipc)?;
    let rights = capabilities(&plugin.allow_caps, &task.cap_add, &task.cap_drop).map_err(invalid)?;

    let own_dir = make_own_dir(&start.dirs.task_dir)?;
    let mut places = Places::new(plugin, &start);
    for volume in &task.volumes {
        places.volume(volume).map_err(invalid)?;
    }
    for mount in &task.mounts {
        places.mount(mount).map_err(invalid)?;
    }
    for tmpfs in &task.tmpfs {
        let (target, options) = tmpfs.split_once(':').unwrap_or((tmpfs, ""));
        let options = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
        places.tmpfs.push(Tmpfs { target: absolute(target).map_err(invalid)?, options });
    }
    let own_binds = places.own();
    let Places { mut binds, held_binds, tmpfs, .. } = places;
    binds.extend(start.mounts.iter().map(bind_of));
    let hostname = if task.hostname.is_empty() { start.hostname.clone() } else { task.hostname.clone() };
    let mut shown = name_files(task, &start, &own_dir, &hostname)?;
    shown.extend(binds);

    let mut resources = resources_of(&start.resources);
    if let Some(hard) = task.memory_hard_limit_mib.and_then(|mib| u64::try_from(mib).ok()).filter(|mib| *mib > 0) {
        resources.memory_max_bytes = resources.memory_max_bytes.max(Some(hard << 20));
    }
    if resources.cores.is_empty() {
        resources.cores = task.cpuset.clone();
    }
    let positive =
        |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0);
    let most = Some(plugin.pids_limit).filter(|most| *most > 0);
    resources.pids_max = positive(task.pids_limit).or(most);
    if let (Some(wanted), Some(most)) = (resources.pids_max, most)
        && wanted > most
    {
        return Err(invalid(format!("pids_limit {wanted} is more than this agent allows: {most}")));
    }
    let layers = image.layers.iter().map(|layer| {
        let below = layer.strip_prefix(&image.layers_dir).map(Path::to_owned);
        below.map_err(|_| StartError::Failed(format!("layer {} is not in the store", layer.display())))
    });
    // A privileged task has them all.
    let given: Vec<Device> = start.devices.iter().filter(|_| !task.is_privileged).map(device_of).collect();
    given.iter().try_for_each(below_dev).map_err(invalid)?;
    let image_spec = ImageSpec {
        layers_dir: image.layers_dir.clone(),
        layers: layers.collect::<Result<_, _>>()?,
        work_dir: own_dir.clone(),
        is_read_only: task.is_read_only,
        user: user(&start.user, image),
        groups: task.groups.clone(),
        hostname,
        own_binds,
        held_binds,
        tmpfs,
        shm_bytes: positive(task.shm_bytes).unwrap_or(0),
        devices: devices(plugin, task).map_err(invalid)?,
        sysctl: task.sysctl.clone(),
        limits: limits(&task.ulimit).map_err(invalid)?,
        has_no_network,
        is_privileged: task.is_privileged,
    };
    let score = task.oom_score_adj.map_or(plugin.oom_score_adj, |score| i32::try_from(score).unwrap_or(1000));
    if score < 0 {
        return Err(invalid("oom_score_adj must not be negative".to_owned()));
    }
    let (stdout, stderr) = logs_of(start.logs.as_ref());
    Ok(TaskSpec {
        id: start.id,
        argv,
        env: environment(&image.config.env, start.env),
        cwd,
        user: None,
        stdout,
        stderr,
        resources,
        oom_score_adj: Some(score.min(1000)),
        network_namespace: None,
        isolation: Isolation::Container(ContainerSpec {
            rootfs_dir: own_dir.join("root"),
            binds: shown,
            capabilities: rights,
            pid_mode,
            ipc_mode,
            network_namespace: start.network_namespace,
            no_pivot_root: false,
            devices: given,
            image: Some(Box::new(image_spec)),
        }),
    })
}

/// Every label must be there, and lead where the task will listen.
fn check_ports(task: &ContainerTask, start: &TaskStart) -> Result<(), String> {
    for label in &task.ports {
        let port = start
            .ports
            .iter()
            .find(|port| port.label == *label)
            .ok_or_else(|| format!("Port {label:?} not found, check network block"))?;
        let leads_elsewhere = port.to != 0 && port.to != port.value;
        if leads_elsewhere && start.network_namespace.is_none() {
            return Err(format!(
                "port {label:?} leads to {} inside, which needs a network of the group's own: network {{ mode = \"bridge\" }}",
                port.to
            ));
        }
    }
    Ok(())
}

/// A new directory for what the root has beyond the image, which nobody but root may look into.
fn make_own_dir(task_dir: &Path) -> Result<PathBuf, StartError> {
    let dir = task_dir.join(OWN_DIR);
    let failed = |error: std::io::Error| StartError::Failed(format!("make {}: {error}", dir.display()));
    match std::fs::symlink_metadata(&dir) {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(&dir).map_err(failed)?,
        Ok(_) => std::fs::remove_file(&dir).map_err(failed)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    for made in [dir.clone(), dir.join("root"), dir.join("etc")] {
        DirBuilder::new().mode(0o700).create(made).map_err(failed)?;
    }
    Ok(dir)
}

/// The files by which the task knows names of hosts.
fn name_files(
    task: &ContainerTask,
    start: &TaskStart,
    own_dir: &Path,
    hostname: &str,
) -> Result<Vec<Bind>, StartError> {
    let dir = own_dir.join("etc");
    let failed = |error: std::io::Error| StartError::Failed(format!("write {}: {error}", dir.display()));
    let or = |own: &[String], group: fn(&TaskDns) -> &Vec<String>| {
        if own.is_empty() { start.dns.as_ref().map(group).cloned().unwrap_or_default() } else { own.to_vec() }
    };
    let dns = TaskDns {
        servers: or(&task.dns_servers, |dns| &dns.servers),
        searches: or(&task.dns_searches, |dns| &dns.searches),
        options: or(&task.dns_options, |dns| &dns.options),
    };
    let resolv_conf = resolv_conf::write(&dir, &dns).map_err(failed)?;
    let name = match hostname {
        "" => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        name => name.to_owned(),
    };
    // The host's own names where the network is its own too.
    let mut hosts = match start.network_namespace {
        None => std::fs::read_to_string("/etc/hosts").unwrap_or_default(),
        Some(_) => "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n".to_owned(),
    };
    if !hosts.is_empty() && !hosts.ends_with('\n') {
        hosts.push('\n');
    }
    if !hostname.is_empty() {
        hosts.push_str(&format!("127.0.1.1 {name}\n"));
    }
    for entry in task.extra_hosts.iter().take(HOSTS_MAX) {
        let Some((host, address)) =
            entry.split_once(':').filter(|(host, address)| !host.is_empty() && !address.is_empty())
        else {
            return Err(StartError::Final(format!("extra_hosts: {entry:?} must be <name>:<address>")));
        };
        hosts.push_str(&format!("{address} {host}\n"));
    }
    let write = |file: &str, text: &str| -> std::io::Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.join(file);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
        Ok(path)
    };
    let hosts = write("hosts", &hosts).map_err(failed)?;
    let hostname = write("hostname", &format!("{name}\n")).map_err(failed)?;
    let bind = |source: PathBuf, target: &str| Bind { source, target: target.into(), ..Bind::default() };
    Ok(vec![bind(resolv_conf, "/etc/resolv.conf"), bind(hosts, "/etc/hosts"), bind(hostname, "/etc/hostname")])
}

/// What else is shown inside.
struct Places<'a> {
    plugin: &'a ContainerConfig,
    alloc_dir: PathBuf,
    /// What the alloc's tasks share, below that.
    shared: PathBuf,
    /// The task's directory below that of the alloc.
    task: PathBuf,
    binds: Vec<Bind>,
    held_binds: Vec<HeldBind>,
    tmpfs: Vec<Tmpfs>,
}

impl<'a> Places<'a> {
    fn new(plugin: &'a ContainerConfig, start: &TaskStart) -> Places<'a> {
        let task_dir = &start.dirs.task_dir;
        Places {
            plugin,
            alloc_dir: task_dir.parent().unwrap_or(task_dir).to_owned(),
            shared: start.dirs.alloc_dir.file_name().map(PathBuf::from).unwrap_or_default(),
            task: task_dir.file_name().map(PathBuf::from).unwrap_or_default(),
            binds: Vec::new(),
            held_binds: Vec::new(),
            tmpfs: Vec::new(),
        }
    }

    /// What every task sees. Tasks can write to the shared directory: a link that one put there must not be followed.
    fn own(&self) -> Vec<HeldBind> {
        let bind = |within: PathBuf, target: &str, read_only: bool| HeldBind {
            base: self.alloc_dir.clone(),
            within,
            path: PathBuf::new(),
            target: target.into(),
            read_only,
            makes_source: false,
        };
        vec![
            bind(self.shared.clone(), "/alloc", false),
            bind(self.task.join("local"), "/local", false),
            bind(self.task.join("secrets"), "/secrets", false),
            HeldBind { makes_source: true, ..bind(self.shared.join("logs"), "/alloc/logs", true) },
        ]
    }

    /// `source:target[:options]`
    fn volume(&mut self, volume: &str) -> Result<(), String> {
        let parts: Vec<&str> = volume.split(':').collect();
        let (source, target, options) = match parts.as_slice() {
            [source, target] => (source, target, ""),
            [source, target, options] => (source, target, *options),
            _ => return Err(format!("invalid volume {volume:?}: must be <source>:<target>[:<options>]")),
        };
        let mut is_read_only = false;
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => is_read_only = true,
                "rw" | "z" | "Z" | "private" | "rprivate" | "delegated" | "cached" | "consistent" => {}
                other => return Err(format!("invalid volume {volume:?}: option {other:?} is not supported")),
            }
        }
        self.bind(source, target, is_read_only, volume)
    }

    fn mount(&mut self, mount: &crate::container_config::Mount) -> Result<(), String> {
        match mount.kind.as_str() {
            "bind" => self.bind(&mount.source, &mount.target, mount.is_read_only, &mount.source),
            "tmpfs" => {
                let mut options = Vec::new();
                options.extend(mount.size_bytes.filter(|size| *size > 0).map(|size| format!("size={size}")));
                options.push(format!("mode={:o}", mount.mode.filter(|mode| *mode > 0).unwrap_or(0o1777) & 0o7777));
                self.tmpfs.push(Tmpfs { target: absolute(&mount.target)?, options });
                Ok(())
            }
            "" | "volume" => Err(format!(
                "mount {:?}: there are no volumes of an engine; type \"bind\" or \"tmpfs\", or the group's volume block",
                mount.target
            )),
            other => Err(format!("mount {:?}: unknown type {other:?}", mount.target)),
        }
    }

    fn bind(&mut self, source: &str, target: &str, read_only: bool, shown: &str) -> Result<(), String> {
        let target = absolute(target)?;
        let refused = || format!("volumes are not enabled; cannot mount host path: {shown:?}");
        if Path::new(source).is_absolute() {
            if !self.plugin.has_volumes {
                return Err(refused());
            }
            let source = PathBuf::from(source);
            self.binds.push(Bind { source, target, read_only, ..Bind::default() });
            return Ok(());
        }
        let path = below(&self.task, source).ok_or_else(refused)?;
        let (within, path) =
            self.parted(&path).ok_or_else(|| format!("cannot mount {shown:?}: it belongs to the agent"))?;
        let base = self.alloc_dir.clone();
        self.held_binds.push(HeldBind { base, within, path, target, read_only, makes_source: true });
        Ok(())
    }

    /// The directory that no task can put a link in the place of, and the path below it. None for what a task must not write to:
    /// directories that the agent works in, as that of the alloc and those of its tasks themselves.
    fn parted(&self, path: &Path) -> Option<(PathBuf, PathBuf)> {
        let depth = if path.starts_with(&self.shared) { 1 } else { 2 };
        let within: PathBuf = path.components().take(depth).collect();
        let is_agents = AGENTS_DIRS.iter().any(|dir| depth == 2 && within.ends_with(dir));
        let is_whole = within.components().count() == depth;
        let rest = path.strip_prefix(&within).ok()?.to_owned();
        (is_whole && !is_agents).then_some((within, rest))
    }
}

/// `path` seen from `start`, without `..`; none when it leads above.
fn below(start: &Path, path: &str) -> Option<PathBuf> {
    let mut found: Vec<_> = start.components().collect();
    for part in Path::new(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(found.pop()?),
            Component::Normal(_) => found.push(part),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(found.into_iter().collect())
}

fn absolute(target: &str) -> Result<PathBuf, String> {
    let path = Path::new(target);
    let goes_up = path.components().any(|part| matches!(part, Component::ParentDir));
    match path.is_absolute() && !goes_up {
        true => Ok(path.to_owned()),
        false => Err(format!("target {target:?} must be an absolute path without \"..\"")),
    }
}

fn devices(plugin: &ContainerConfig, task: &ContainerTask) -> Result<Vec<Device>, String> {
    // The host's disks are among them: as with its directories, it takes the operator's word.
    if let Some((host_path, ..)) = task.devices.first().filter(|_| !plugin.has_volumes && !plugin.allow_privileged) {
        return Err(format!("volumes are not enabled; cannot use host device: {host_path:?}"));
    }
    let device = |(host_path, path, access): &(String, String, String)| {
        let path = if path.is_empty() { host_path } else { path };
        let access = if access.is_empty() { "rwm" } else { access };
        if !access.bytes().all(|letter| b"rwm".contains(&letter)) {
            return Err(format!("device {host_path:?}: cgroup_permissions must be of r, w and m, got {access:?}"));
        }
        let device = Device { host_path: absolute(host_path)?, path: absolute(path)?, access: access.to_owned() };
        below_dev(&device)?;
        Ok(device)
    };
    task.devices.iter().map(device).collect()
}

/// Elsewhere in the root no device file is one: an image could bring some.
fn below_dev(device: &Device) -> Result<(), String> {
    match device.path.starts_with("/dev") {
        true => Ok(()),
        false => Err(format!("device {:?}: a container has devices below /dev only", device.path)),
    }
}

/// `soft[:hard]` by name.
fn limits(texts: &BTreeMap<String, String>) -> Result<BTreeMap<String, (u64, u64)>, String> {
    let number = |text: &str| match text {
        "-1" | "unlimited" => Some(u64::MAX),
        other => other.parse().ok(),
    };
    let limit = |(name, text): (&String, &String)| {
        let (soft, hard) = text.split_once(':').unwrap_or((text, text));
        let both = number(soft).zip(number(hard)).filter(|(soft, hard)| soft <= hard);
        let is_name = name.bytes().all(|letter| letter.is_ascii_alphabetic());
        both.filter(|_| is_name)
            .map(|both| (name.to_ascii_lowercase(), both))
            .ok_or_else(|| format!("ulimit {name} = {text:?} must be <soft>[:<hard>]"))
    };
    texts.iter().map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_source_stays_in_the_alloc() {
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(below(Path::new("web"), path), expected.map(PathBuf::from), "{path}");
        };
        check("local/x", Some("web/local/x"));
        check("./a/../b", Some("web/b"));
        check("../alloc/data", Some("alloc/data"));
        check("..", Some(""));
        check("../..", None);
        check("a/../../../etc", None);
    }

    #[test]
    fn limits_are_read() {
        let check = |text: &str, expected: Option<(u64, u64)>| {
            let found = limits(&BTreeMap::from([("nofile".to_owned(), text.to_owned())]));
            assert_eq!(found.ok().map(|found| found["nofile"]), expected, "{text}");
        };
        check("1024", Some((1024, 1024)));
        check("1024:2048", Some((1024, 2048)));
        check("1024:-1", Some((1024, u64::MAX)));
        check("2:1", None);
        check("x", None);
    }

    #[test]
    fn the_tasks_environment_stands_over_the_images() {
        let image = ["PATH=/bin", "A=of image", "=odd", "odd"].map(str::to_owned);
        let task = BTreeMap::from([("A".to_owned(), "of task".to_owned())]);
        let env = environment(&image, task);
        assert_eq!(
            env.into_iter().collect::<Vec<_>>(),
            [("A".into(), "of task".into()), ("PATH".into(), "/bin".into())]
        );
    }
}
