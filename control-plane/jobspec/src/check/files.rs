//! What a task gets besides its program: artifacts and templates.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{flag, int, int_of, items_of, text};
use crate::multierror::nested;

/// True for a path that leaves the alloc's directory, seen from `start` inside it.
pub fn escapes(start: &[&str], path: &str) -> bool {
    // The names of the outer two do not matter, only that there are two.
    let mut place: Vec<&str> = ["allocs", "alloc"].into_iter().chain(start.iter().copied()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                place.pop();
            }
            part => place.push(part),
        }
    }
    place.get(..2) != Some(&["allocs", "alloc"]) || place.get(2).is_some_and(|part| part.starts_with(".."))
}

/// Files to fetch.
pub fn artifacts(task: &Map<String, Value>, problems: &mut Vec<String>) {
    for (place, artifact) in items_of(task, "Artifacts").enumerate() {
        let mut inner = Vec::new();
        if text(artifact, "GetterSource").is_empty() {
            inner.push("source must be specified".to_owned());
        }
        let mode = text(artifact, "GetterMode");
        if !matches!(mode, "" | "any" | "file" | "dir") {
            inner.push(format!("invalid artifact mode {mode:?}; must be one of: any, file, dir"));
        }
        if escapes(&["task"], text(artifact, "RelativeDest")) {
            inner.push("destination escapes allocation directory".to_owned());
        }
        inner.extend(artifact["GetterOptions"]["checksum"].as_str().and_then(checksum));
        nested(problems, format!("Artifact {} validation failed: ", place + 1), inner);
    }
}

fn checksum(checksum: &str) -> Option<String> {
    if checksum.contains("${") {
        return None;
    }
    let checksum = checksum.trim();
    if checksum.is_empty() {
        return Some("checksum value cannot be empty".to_owned());
    }
    let parts: Vec<&str> = checksum.split(':').collect();
    let [kind, digest] = parts.as_slice() else {
        return Some(format!("checksum must be given as \"type:value\"; got {checksum:?}"));
    };
    if let Some(odd) = digest.chars().find(|c| !c.is_ascii_hexdigit()) {
        return Some(format!("invalid checksum: encoding/hex: invalid byte: U+{:04X} {odd:?}", u32::from(odd)));
    }
    if digest.len() % 2 != 0 {
        return Some("invalid checksum: encoding/hex: odd length hex string".to_owned());
    }
    let bytes = match *kind {
        "md5" => 16,
        "sha1" => 20,
        "sha256" => 32,
        "sha512" => 64,
        kind => return Some(format!("unsupported checksum type: {kind}")),
    };
    (digest.len() != bytes * 2).then(|| format!("invalid {kind} checksum: {digest}"))
}

/// Files to render, whose destinations must differ.
pub fn templates(task: &Map<String, Value>, problems: &mut Vec<String>) {
    let mut destinations: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, template) in items_of(task, "Templates").enumerate() {
        let place = place + 1;
        nested(problems, format!("Template {place} validation failed: "), template_problems(template));
        let destination = text(template, "DestPath");
        match destinations.get(destination) {
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
    } else if escapes(&["task"], destination) {
        problems.push("destination escapes allocation directory".to_owned());
    }
    match text(template, "ChangeMode") {
        "noop" | "restart" => {}
        "signal" => {
            if text(template, "ChangeSignal").is_empty() {
                problems.push("Must specify signal value when change mode is signal".to_owned());
            }
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
    problems.extend(permissions(text(template, "Perms")));
    wait(&template["Wait"], &mut problems);
    problems
}

/// Twelve bits, in octal digits.
fn permissions(text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let is_octal = text.chars().all(|c| c.is_digit(8));
    let reason = match u64::from_str_radix(text, 8) {
        Ok(bits) if is_octal && bits < 1 << 12 => return None,
        _ if is_octal => "value out of range",
        _ => "invalid syntax",
    };
    Some(format!("Failed to parse {text:?} as octal: strconv.ParseUint: parsing {text:?}: {reason}"))
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
