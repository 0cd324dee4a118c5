//! What the configuration of a container of an image has that `exec`'s has not.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cgroup_files::errno_text;
use crate::container::{ContainerPlan, access_of};
use crate::image_spec::{Device, HeldBind, ImageSpec};
use crate::spec::{ContainerSpec, NamespaceMode, TaskSpec};

/// The capabilities in the order of the kernel's numbers.
const CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Adds it to the configuration that `exec` would have. `held` are the sources of the image's own and held binds.
pub(crate) fn add(
    config: &mut Value,
    spec: &TaskSpec,
    container: &ContainerSpec,
    image: &ImageSpec,
    held: &[PathBuf],
    plan: &ContainerPlan<'_>,
) -> Result<(), String> {
    config["root"]["readonly"] = json!(image.is_read_only);
    if !image.hostname.is_empty() {
        config["hostname"] = json!(image.hostname);
    }
    // As images expect: only root has its rights from the start, and a program may give them (`sudo`, `ping`).
    config["process"]["noNewPrivileges"] = json!(false);
    let capabilities = if image.is_privileged {
        json!(all_capabilities())
    } else {
        config["process"]["capabilities"]["bounding"].clone()
    };
    config["process"]["capabilities"] =
        json!({"bounding": capabilities, "effective": capabilities, "permitted": capabilities});
    // A login's words are for programs of the host.
    let named = |name: &str| spec.env.contains_key(name);
    if let Some(env) = config["process"]["env"].as_array_mut() {
        env.retain(|entry| {
            let name = entry.as_str().and_then(|entry| entry.split('=').next()).unwrap_or_default();
            named(name) || !matches!(name, "USER" | "LOGNAME")
        });
    }
    for (name, (soft, hard)) in &image.limits {
        let kind = format!("RLIMIT_{}", name.to_ascii_uppercase());
        push(&mut config["process"]["rlimits"], &kind, json!({"type": kind, "soft": soft, "hard": hard}));
    }
    if image.has_no_network && container.network_namespace.is_none() {
        append(&mut config["linux"]["namespaces"], json!({"type": "network"}));
    }
    if !image.sysctl.is_empty() {
        config["linux"]["sysctl"] = json!(image.sysctl);
    }
    mounts(config, container, image, held);
    if image.is_privileged {
        // What is limited there is not limited here.
        for device in &image.devices {
            add_device(config, device)?;
        }
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    } else {
        append(&mut config["linux"]["maskedPaths"], json!("/proc/asound"));
        append(&mut config["linux"]["maskedPaths"], json!("/sys/devices/virtual/powercap"));
        add_devices(config, &image.devices, plan)?;
    }
    Ok(())
}

/// Shows devices of the host inside; the task's rules say what it may do with them.
pub(crate) fn add_devices(config: &mut Value, devices: &[Device], plan: &ContainerPlan<'_>) -> Result<(), String> {
    for device in devices {
        // Nothing but the mode of the file limits what is done with it: said by whoever asks for less.
        if !plan.enforces_devices && !matches!(device.access.as_str(), "rwm" | "rw") {
            let (path, access) = (device.host_path.display(), &device.access);
            return Err(format!("device {path}: access {access:?} can't be enforced on this host"));
        }
        add_device(config, device)?;
    }
    Ok(())
}

fn mounts(config: &mut Value, container: &ContainerSpec, image: &ImageSpec, held: &[PathBuf]) {
    let mounts = &mut config["mounts"];
    if let Some(mounts) = mounts.as_array_mut() {
        for mount in mounts.iter_mut() {
            let is_at = |path: &str| mount["destination"] == path;
            if is_at("/dev/shm") && image.shm_bytes > 0 {
                let size = format!("size={}", image.shm_bytes);
                mount["options"] = json!(["nosuid", "noexec", "nodev", "mode=1777", size]);
            } else if is_at("/dev/shm") && container.ipc_mode == NamespaceMode::Host {
                *mount = json!({"destination": "/dev/shm", "type": "bind", "source": "/dev/shm", "options": ["rbind", "nosuid", "noexec", "nodev"]});
            } else if is_at("/sys") && image.is_privileged {
                mount["options"] = json!(["nosuid", "noexec", "nodev"]);
            } else if is_at("/dev") && image.is_privileged {
                *mount = json!({"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind", "rprivate", "nosuid"]});
            }
        }
        if image.is_privileged {
            mounts.retain(|mount| mount["destination"] != "/dev/pts" && mount["destination"] != "/dev/mqueue");
        }
    }
    // Before the binds of the specification, which may lie in one of these.
    let binds = container.binds.len();
    let place = mounts.as_array().map_or(0, |mounts| mounts.len().saturating_sub(binds));
    let tmpfs = image.tmpfs.iter().map(|tmpfs| {
        let mut options: Vec<&str> = vec!["nosuid"];
        options.extend(tmpfs.options.iter().map(String::as_str));
        // The last word counts.
        options.push("nodev");
        json!({"destination": tmpfs.target, "type": "tmpfs", "source": "tmpfs", "options": options})
    });
    let (own, held) = held.split_at(image.own_binds.len().min(held.len()));
    let first: Vec<Value> = tmpfs.chain(image.own_binds.iter().zip(own).map(held_mount)).collect();
    if let Some(mounts) = mounts.as_array_mut() {
        mounts.splice(place..place, first);
        mounts.extend(image.held_binds.iter().zip(held).map(held_mount));
    }
}

fn held_mount((bind, source): (&HeldBind, &PathBuf)) -> Value {
    let options = json!(["rbind", "rprivate", "nosuid", "nodev", access_of(bind.read_only)]);
    json!({"destination": bind.target, "type": "bind", "source": source, "options": options})
}

fn add_device(config: &mut Value, device: &Device) -> Result<(), String> {
    let failed = |reason: &str| format!("device {}: {reason}", device.host_path.display());
    let meta = std::fs::metadata(&device.host_path).map_err(|err| failed(&errno_text(&err)))?;
    let kind = match meta.file_type() {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        _ => return Err(failed("not a device")),
    };
    let number = meta.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    if config["linux"]["devices"].is_null() {
        config["linux"]["devices"] = json!([]);
    }
    append(
        &mut config["linux"]["devices"],
        json!({"path": device.path, "type": kind, "major": major, "minor": minor, "fileMode": meta.mode() & 0o777, "uid": meta.uid(), "gid": meta.gid()}),
    );
    Ok(())
}

/// As far as the kernel knows them.
fn all_capabilities() -> Vec<String> {
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
    let count = last.trim().parse::<usize>().map_or(CAPABILITIES.len(), |last| last + 1);
    CAPABILITIES.iter().take(count).map(|name| format!("CAP_{name}")).collect()
}

fn append(list: &mut Value, item: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(item);
    }
}

/// Adds a limit; one of the same kind is replaced.
fn push(list: &mut Value, kind: &str, item: Value) {
    if let Some(list) = list.as_array_mut() {
        list.retain(|other| other["type"] != kind);
        list.push(item);
    }
}
