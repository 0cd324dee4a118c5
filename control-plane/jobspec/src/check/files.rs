//! What a task gets besides its program: volumes, artifacts, templates.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{flag, int, int_of, items_of, text};
use crate::multierror::{multierror, nested};

/// True for a path that leaves the alloc's directory, seen from the task's.
pub fn escapes(path: &str) -> bool {
    let mut depth = 0_i64;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        // One level up is still the alloc's directory.
        if depth < -1 {
            return true;
        }
    }
    false
}

/// Volumes of a group.
pub fn volumes(group: &Map<String, Value>, kind: &str, problems: &mut Vec<String>) {
    for (name, volume) in group["Volumes"].as_object().into_iter().flatten() {
        let mut inner = Vec::new();
        if text(volume, "Source").is_empty() {
            inner.push("volume has an empty source".to_owned());
        }
        if flag(volume, "PerAlloc") {
            per_alloc(volume, group, kind, &mut inner);
        }
        match text(volume, "Type") {
            "host" => host_volume(volume, &mut inner),
            _ => csi_volume(volume, &mut inner),
        }
        // A volume without a name or source alone is told in one go with the rest.
        nested(problems, format!("Task group volume validation for {name} failed: "), inner);
    }
}

fn per_alloc(volume: &Value, group: &Map<String, Value>, kind: &str, problems: &mut Vec<String>) {
    if flag(volume, "Sticky") {
        problems.push("volume cannot be per_alloc and sticky at the same time".to_owned());
    }
    if matches!(kind, "system" | "sysbatch") {
        problems.push("volume cannot be per_alloc for system or sysbatch jobs".to_owned());
    }
    if int(&group["Update"], "Canary") > 0 {
        problems.push("volume cannot be per_alloc when canaries are in use".to_owned());
    }
}

fn host_volume(volume: &Value, problems: &mut Vec<String>) {
    if volume["MountOptions"].is_object() {
        problems.push("host volumes cannot have mount options".to_owned());
    }
    match text(volume, "AccessMode") {
        "" | "single-node-writer" | "single-node-single-writer" | "single-node-multi-writer" => {}
        "single-node-reader-only" => {
            if !flag(volume, "ReadOnly") {
                problems.push("single-node-reader-only volumes must be read-only".to_owned());
            }
        }
        mode => problems.push(format!("host volumes cannot be mounted with {mode} access mode")),
    }
}

fn csi_volume(volume: &Value, problems: &mut Vec<String>) {
    let (attachment, access) = (text(volume, "AttachmentMode"), text(volume, "AccessMode"));
    if attachment.is_empty() {
        problems.push("CSI volumes must have an attachment mode".to_owned());
    }
    if attachment == "block-device" && volume["MountOptions"].is_object() {
        problems.push("block devices cannot have mount options".to_owned());
    }
    match access {
        "" => problems.push("CSI volumes must have an access mode".to_owned()),
        "single-node-reader-only" | "multi-node-reader-only" if !flag(volume, "ReadOnly") => {
            problems.push(format!("{access} volumes must be read-only"));
        }
        _ => {}
    }
}

/// Mounts of a task, which must name volumes of its group.
pub fn volume_mounts(task: &Map<String, Value>, group: &Map<String, Value>, problems: &mut Vec<String>) {
    for (place, mount) in items_of(task, "VolumeMounts").enumerate() {
        let volume = text(mount, "Volume");
        let is_known = group["Volumes"].as_object().is_some_and(|volumes| volumes.contains_key(volume));
        if !is_known {
            problems.push(format!("Volume Mount ({place}) references undefined volume {volume}"));
        }
        let mut inner = Vec::new();
        let (mode, label) = (text(mount, "PropagationMode"), text(mount, "SELinuxLabel"));
        if !matches!(mode, "private" | "host-to-task" | "bidirectional") {
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

/// Files to fetch.
pub fn artifacts(task: &Map<String, Value>, problems: &mut Vec<String>) {
    for (place, artifact) in items_of(task, "Artifacts").enumerate() {
        let mut inner = Vec::new();
        if text(artifact, "GetterSource").is_empty() {
            inner.push("source must be specified".to_owned());
        }
        let mode = text(artifact, "GetterMode");
        if !matches!(mode, "any" | "file" | "dir") {
            inner.push(format!("invalid artifact mode {mode:?}; must be one of: any, file, dir"));
        }
        if escapes(text(artifact, "RelativeDest")) {
            inner.push("destination escapes allocation directory".to_owned());
        }
        inner.extend(checksum(text(&artifact["GetterOptions"], "checksum")));
        nested(problems, format!("Artifact {} validation failed: ", place + 1), inner);
    }
}

fn checksum(checksum: &str) -> Option<String> {
    if checksum.is_empty() || checksum.contains("${") {
        return None;
    }
    let Some((kind, digest)) = checksum.split_once(':') else {
        return Some(format!("checksum must be given as \"type:value\"; got {checksum:?}"));
    };
    let bytes = match kind {
        "md5" => 16,
        "sha1" => 20,
        "sha256" => 32,
        "sha512" => 64,
        _ => return Some(format!("unsupported checksum type: {kind}")),
    };
    let is_good = digest.len() == bytes * 2 && digest.chars().all(|c| c.is_ascii_hexdigit());
    (!is_good).then(|| format!("invalid {kind} checksum: {digest}"))
}

/// Files to render, whose destinations must differ.
pub fn templates(task: &Map<String, Value>, problems: &mut Vec<String>) {
    let mut destinations: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, template) in items_of(task, "Templates").enumerate() {
        let place = place + 1;
        nested(problems, format!("Template {place} validation failed: "), template_problems(template));
        let destination = text(template, "DestPath");
        match destinations.get(destination) {
            _ if destination.is_empty() => {}
            Some(other) => problems.push(format!("Template {place} has same destination as {other}")),
            None => {
                destinations.insert(destination, place);
            }
        }
    }
}

fn template_problems(template: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    if text(template, "SourcePath").is_empty() && text(template, "EmbeddedTmpl").is_empty() {
        problems.push("Must specify a source path or have an embedded template".to_owned());
    }
    let destination = text(template, "DestPath");
    if destination.is_empty() {
        problems.push("Must specify a destination for the template".to_owned());
    } else if escapes(destination) {
        problems.push("destination escapes allocation directory".to_owned());
    }
    match text(template, "ChangeMode") {
        "noop" | "restart" => {}
        "signal" => {
            if flag(template, "Envvars") {
                problems.push("cannot use signals with env var templates".to_owned());
            }
        }
        "script" => {
            if !template["ChangeScript"].is_object() {
                problems.push("must specify change script configuration value when change mode is script".to_owned());
            } else if text(&template["ChangeScript"], "Command").is_empty() {
                problems.push("must specify script path value when change mode is script".to_owned());
            }
        }
        _ => {
            problems.push("Invalid change mode. Must be one of the following: noop, signal, script, restart".to_owned())
        }
    }
    if int(template, "Splay") < 0 {
        problems.push("Must specify positive splay value".to_owned());
    }
    let perms = text(template, "Perms");
    if !perms.is_empty() && !perms.chars().all(|c| c.is_digit(8)) {
        problems
            .push(format!("Failed to parse {perms:?} as octal: strconv.ParseUint: parsing {perms:?}: invalid syntax"));
    }
    wait(&template["Wait"], &mut problems);
    problems
}

fn wait(wait: &Value, problems: &mut Vec<String>) {
    let Some(wait) = wait.as_object() else { return };
    let min = int_of(wait, "Min");
    if let Some(max) = wait["Max"].as_i64()
        && min > max
    {
        let show = crate::duration::format;
        problems.push(format!("wait min {} is greater than max {}", show(min), show(max)));
    }
}
