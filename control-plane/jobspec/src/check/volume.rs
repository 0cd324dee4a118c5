//! Volumes of a group and their mounts in a task.

use serde_json::{Map, Value};

use super::{flag, int, int_of, items_of, text};
use crate::multierror::{multierror, nested};

/// Volumes that a group asks for.
pub fn requests(group: &Map<String, Value>, kind: &str, problems: &mut Vec<String>) {
    for (name, volume) in group["Volumes"].as_object().into_iter().flatten() {
        let mut inner = Vec::new();
        if text(volume, "Source").is_empty() {
            inner.push("volume has an empty source".to_owned());
        }
        if flag(volume, "PerAlloc") {
            per_alloc(volume, group, kind, &mut inner);
        }
        match text(volume, "Type") {
            "host" => host(volume, &mut inner),
            _ => csi(volume, int_of(group, "Count"), &mut inner),
        }
        nested(problems, format!("Task group volume validation for {name} failed: "), inner);
    }
}

fn per_alloc(volume: &Value, group: &Map<String, Value>, kind: &str, problems: &mut Vec<String>) {
    if matches!(kind, "system" | "sysbatch") {
        problems.push("volume cannot be per_alloc for system or sysbatch jobs".to_owned());
    }
    if int(&group["Update"], "Canary") > 0 {
        problems.push("volume cannot be per_alloc when canaries are in use".to_owned());
    }
    if flag(volume, "Sticky") {
        problems.push("volume cannot be per_alloc and sticky at the same time".to_owned());
    }
}

fn host(volume: &Value, problems: &mut Vec<String>) {
    if volume["MountOptions"].is_object() {
        problems.push("host volumes cannot have mount options".to_owned());
    }
    match text(volume, "AccessMode") {
        "" | "single-node-writer" | "single-node-single-writer" | "single-node-multi-writer" => {}
        mode @ "single-node-reader-only" => {
            if !flag(volume, "ReadOnly") {
                problems.push(format!("{mode} volumes must be read-only"));
            }
        }
        mode => problems.push(format!("host volumes cannot be mounted with {mode} access mode")),
    }
}

fn csi(volume: &Value, count: i64, problems: &mut Vec<String>) {
    match text(volume, "AttachmentMode") {
        "" => problems.push("CSI volumes must have an attachment mode".to_owned()),
        "block-device" if volume["MountOptions"].is_object() => {
            problems.push("block devices cannot have mount options".to_owned());
        }
        _ => {}
    }
    let is_shared = count > 1 && !flag(volume, "PerAlloc");
    let is_written = !flag(volume, "ReadOnly");
    let mode = text(volume, "AccessMode");
    if matches!(mode, "single-node-reader-only" | "multi-node-reader-only") && is_written {
        problems.push(format!("{mode} volumes must be read-only"));
    }
    let only = match mode {
        "" => {
            problems.push("CSI volumes must have an access mode".to_owned());
            None
        }
        "single-node-reader-only" if is_shared => Some("one reader"),
        "single-node-writer" if is_shared => Some("one reader or writer"),
        "multi-node-single-writer" if is_shared && is_written => Some("one writer"),
        _ => None,
    };
    if let Some(only) = only {
        problems.push(format!("volume with {mode} access mode allows only {only}"));
    }
}

/// Mounts of a task, which must name volumes of its group.
pub fn mounts(task: &Map<String, Value>, group: &Map<String, Value>, problems: &mut Vec<String>) {
    for (place, mount) in items_of(task, "VolumeMounts").enumerate() {
        let volume = text(mount, "Volume");
        let is_known = group["Volumes"].as_object().is_some_and(|volumes| volumes.contains_key(volume));
        if !is_known {
            problems.push(format!("Volume Mount ({place}) references undefined volume {volume}"));
        }
        let mut inner = Vec::new();
        let (mode, label) = (text(mount, "PropagationMode"), text(mount, "SELinuxLabel"));
        if volume.is_empty() {
            inner.push("volume mount references an empty volume".to_owned());
        }
        if !matches!(mode, "" | "private" | "host-to-task" | "bidirectional") {
            inner.push(format!("volume mount has an invalid propagation mode: {mode:?}"));
        }
        if !matches!(label, "" | "z" | "Z") {
            inner.push(format!("volume mount has an invalid SELinux label: {label:?}"));
        }
        if !inner.is_empty() {
            problems.push(format!("Volume Mount ({place}) is invalid: \"{}\"", multierror(&inner)));
        }
    }
}
