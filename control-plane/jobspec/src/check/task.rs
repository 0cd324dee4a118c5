//! Checks of a task.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{connect, constraint, files, identity, int, int_of, items, items_of, service, text, text_of, volume};
use crate::duration::format as show;
use crate::multierror::nested;

/// Everything that is wrong with one task.
pub fn problems(task: &Map<String, Value>, group: &Map<String, Value>, kind: &str) -> Vec<String> {
    let mut problems = Vec::new();
    name(task, &mut problems);
    delays(task, group, kind, &mut problems);
    nested(&mut problems, "", resources(task));
    nested(&mut problems, "", logs(task, int(&group["EphemeralDisk"], "SizeMB")));
    constraint::of_task(task, &mut problems);
    constraint::affinities(task, kind, &mut problems);
    nested(&mut problems, "", service::of_task(task, group));
    files::artifacts(task, &mut problems);
    nested(&mut problems, "Vault validation failed: ", vault(&task["Vault"]));
    files::templates(task, &mut problems);
    actions(task, &mut problems);
    if files::escapes(&["task", "local"], text(&task["DispatchPayload"], "File")) {
        problems.push("Dispatch Payload validation failed: destination escapes allocation directory".to_owned());
    }
    if task["Lifecycle"].is_object() {
        match text(&task["Lifecycle"], "Hook") {
            "prestart" | "poststart" | "poststop" => {}
            "" => problems.push("Lifecycle validation failed: no lifecycle hook provided".to_owned()),
            hook => problems.push(format!("Lifecycle validation failed: invalid hook: {hook}")),
        }
    }
    problems.extend(connect::proxy_problems(task, group));
    volume::mounts(task, group, &mut problems);
    csi_plugin(task, &mut problems);
    identity::identities(task, &mut problems);
    identity::secrets(task, &mut problems);
    problems
}

/// True for a task that wants its cores near each other.
pub fn asks_for_numa(task: &Value) -> bool {
    let numa = &task["Resources"]["NUMA"];
    numa.is_object() && text(numa, "Affinity") != "none"
}

fn vault(vault: &Value) -> Vec<String> {
    if !vault.is_object() {
        return Vec::new();
    }
    match text(vault, "ChangeMode") {
        "noop" | "restart" => Vec::new(),
        "signal" if text(vault, "ChangeSignal").is_empty() => {
            vec!["Signal must be specified when using change mode \"signal\"".to_owned()]
        }
        "signal" => Vec::new(),
        mode => vec![format!("Unknown change mode {mode:?}")],
    }
}

fn name(task: &Map<String, Value>, problems: &mut Vec<String>) {
    let name = text_of(task, "Name");
    if name.is_empty() {
        problems.push("Missing task name".to_owned());
    }
    if name == "alloc" {
        problems.push("Task cannot be named \"alloc\"".to_owned());
    }
    if name.contains(['/', '\\']) {
        problems.push("Task name cannot include slashes".to_owned());
    } else if name.contains('\0') {
        problems.push("Task name cannot include null characters".to_owned());
    }
    if text_of(task, "Driver").is_empty() {
        problems.push("Missing task driver".to_owned());
    }
}

fn delays(task: &Map<String, Value>, group: &Map<String, Value>, kind: &str, problems: &mut Vec<String>) {
    let kill_timeout = int_of(task, "KillTimeout");
    if kill_timeout < 0 {
        problems.push("KillTimeout must be a positive value".to_owned());
    }
    let progress = int(&group["Update"], "ProgressDeadline");
    if kind == "service" && progress > 0 && kill_timeout > progress {
        problems.push(format!(
            "KillTimout ({}) longer than the group's ProgressDeadline ({})",
            show(kill_timeout),
            show(progress)
        ));
    }
    if int_of(task, "ShutdownDelay") < 0 {
        problems.push("ShutdownDelay must be a positive value".to_owned());
    }
}

fn resources(task: &Map<String, Value>) -> Vec<String> {
    let mut problems = Vec::new();
    let resources = &task["Resources"];
    let (mhz, cores) = (int(resources, "CPU"), int(resources, "Cores"));
    let (memory, memory_max, secrets) =
        (int(resources, "MemoryMB"), int(resources, "MemoryMaxMB"), int(resources, "SecretsMB"));
    if mhz > 0 && cores > 0 {
        problems.push("Task can only ask for 'cpu' or 'cores' resource, not both.".to_owned());
    }
    if cores < 0 {
        problems.push(format!("cores value ({cores}) cannot be negative"));
    }
    let mut least = Vec::new();
    if cores == 0 && mhz < 1 {
        least.push(format!("minimum CPU value is 1; got {mhz}"));
    }
    if memory < 10 {
        least.push(format!("minimum MemoryMB value is 10; got {memory}"));
    }
    nested(&mut problems, "", least);
    for (place, device) in items(resources, "Devices").enumerate() {
        let mut inner = Vec::new();
        if text(device, "Name").is_empty() {
            inner.push(
                "device name must be given as one of the following: type, vendor/type, or vendor/type/name".to_owned(),
            );
        }
        inner.extend(constraint::of_device(device));
        nested(&mut problems, format!("device {} failed validation: ", place + 1), inner);
    }
    numa(resources, &mut problems);
    if !matches!(memory_max, -1 | 0) && memory_max < memory {
        problems.push(format!("MemoryMaxMB value ({memory_max}) should be larger than MemoryMB value ({memory})"));
    }
    if secrets > memory {
        problems.push(format!("SecretsMB value ({secrets}) cannot be larger than MemoryMB value ({memory})"));
    }
    if secrets < 0 {
        problems.push(format!("SecretsMB value ({secrets}) cannot be negative"));
    }
    problems
}

fn numa(resources: &Value, problems: &mut Vec<String>) {
    if !resources["NUMA"].is_object() {
        return;
    }
    for wanted in items(&resources["NUMA"], "Devices").filter_map(Value::as_str) {
        if !items(resources, "Devices").any(|device| text(device, "Name") == wanted) {
            problems.push(format!("numa device {wanted:?} not requested as task resource"));
        }
    }
    if !matches!(text(&resources["NUMA"], "Affinity"), "none" | "prefer" | "require") {
        problems.push("numa affinity must be one of none, prefer, or require".to_owned());
    }
}

fn logs(task: &Map<String, Value>, disk: i64) -> Vec<String> {
    let mut problems = Vec::new();
    let (files, size) = (int(&task["LogConfig"], "MaxFiles"), int(&task["LogConfig"], "MaxFileSizeMB"));
    if files < 1 {
        problems.push(format!("minimum number of files is 1; got {files}"));
    }
    if size < 1 {
        problems.push(format!("minimum file size is 1MB; got {size}"));
    }
    let total = files.saturating_mul(size);
    if total >= disk {
        problems.push(format!("log storage ({total} MB) must be less than requested disk capacity ({disk} MB)"));
    }
    // The model keeps both as 32 bits.
    if files > i64::from(u32::MAX) || size > i64::from(u32::MAX) {
        problems.push("log files are too many or too large".to_owned());
    }
    problems
}

fn csi_plugin(task: &Map<String, Value>, problems: &mut Vec<String>) {
    let Some(plugin @ Value::Object(_)) = task.get("CSIPluginConfig") else {
        return;
    };
    let (mount, stage) = (text(plugin, "MountDir"), text(plugin, "StagePublishBaseDir"));
    if text(plugin, "ID").is_empty() {
        problems.push("CSIPluginConfig must have a non-empty PluginID".to_owned());
    }
    let kind = text(plugin, "Type");
    if !matches!(kind, "node" | "controller" | "monolith") {
        problems.push(format!(
            "CSIPluginConfig PluginType must be one of 'node', 'controller', or 'monolith', got: {kind:?}"
        ));
    }
    let is_below = stage == mount || stage.starts_with(&format!("{}/", mount.trim_end_matches('/')));
    if is_below && !mount.is_empty() && !stage.is_empty() {
        problems.push(format!(
            "CSIPluginConfig StagePublishBaseDir must not be a subdirectory of MountDir, got: StagePublishBaseDir={stage:?} MountDir={mount:?}"
        ));
    }
}

fn actions(task: &Map<String, Value>, problems: &mut Vec<String>) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for action in items_of(task, "Actions") {
        let name = text(action, "Name");
        let mut inner = Vec::new();
        if text(action, "Command").is_empty() {
            inner.push("command cannot be empty".to_owned());
        }
        let is_bad = |c: char| c == '\0' || matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c');
        if !(1..=128).contains(&name.chars().count()) || name.contains(is_bad) {
            inner.push(format!("invalid name '{name}'"));
        }
        nested(problems, format!("Action {name} validation failed: "), inner);
        let times = seen.entry(name).or_insert(0);
        *times += 1;
        // One that stands three times is told once.
        if *times == 2 {
            problems.push(format!("Action {name} defined multiple times"));
        }
    }
}
