//! Devices that the operator declares: what this agent does not find by itself.

use std::collections::BTreeMap;
use std::path::{Component, PathBuf};

use drover_hcl::Value;

use crate::convert;

/// The plugin whose `config` is about the devices of that maker; the agent finds them itself.
pub const NVIDIA_PLUGIN: &str = "nomad-device-nvidia";
/// The most instances of one kind.
const INSTANCES_MAX: usize = 1024;

/// Equal devices of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredDevices {
    /// What constraints may name, such as `memory = "8 GiB"`.
    pub attributes: BTreeMap<String, String>,
    /// The files of each, by its id.
    pub instances: BTreeMap<String, Vec<PathBuf>>,
    /// What tasks may do with them: of `r`, `w` and `m`.
    pub access: String,
    /// The variable by which tasks learn which they were given; empty for none.
    pub variable: String,
}

/// The devices of a client by `<vendor>/<type>/<model>`.
pub type Devices = BTreeMap<String, DeclaredDevices>;

/// Reads one block `device`.
pub(crate) fn device(name: &str, inside: &Value) -> Result<DeclaredDevices, String> {
    let parts: Vec<&str> = name.splitn(3, '/').collect();
    if parts.len() != 3 || parts.iter().any(|part| part.is_empty()) {
        return Err("the name must be \"<vendor>/<type>/<model>\"".to_owned());
    }
    let mut device = DeclaredDevices { access: "rw".to_owned(), ..DeclaredDevices::default() };
    for (key, value) in inside.as_entries().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        match key.as_str() {
            "attributes" => device.attributes = convert::map(value)?,
            "instances" => device.instances = instances(value)?,
            "access" => device.access = convert::text(value)?,
            "env" => device.variable = convert::text(value)?,
            other => {
                return Err(format!("no setting is named {other:?}; there are attributes, instances, access and env"));
            }
        }
    }
    if device.instances.is_empty() {
        return Err("it has no instances: instances = { <id> = [\"/dev/...\"] }".to_owned());
    }
    if device.access.is_empty() || !device.access.bytes().all(|letter| b"rwm".contains(&letter)) {
        return Err(format!("access must be of r, w and m, not {:?}", device.access));
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !device.variable.bytes().all(is_name) {
        return Err(format!("env must be the name of a variable, not {:?}", device.variable));
    }
    Ok(device)
}

fn instances(value: &Value) -> Result<BTreeMap<String, Vec<PathBuf>>, String> {
    let entries = value.as_entries().ok_or("instances is a map from ids to lists of paths")?;
    if entries.len() > INSTANCES_MAX {
        return Err(format!("at most {INSTANCES_MAX} instances are taken"));
    }
    let instance = |(id, paths): (&String, &Value)| {
        let paths = if paths.as_items().is_some() { convert::list(paths)? } else { vec![convert::text(paths)?] };
        if id.is_empty() || id.contains(',') {
            return Err(format!("instance {id:?}: an id is needed, without commas"));
        }
        let is_plain = |path: &PathBuf| path.components().all(|part| !matches!(part, Component::ParentDir));
        let paths: Vec<PathBuf> = paths.into_iter().map(PathBuf::from).collect();
        match paths.iter().find(|path| !path.is_absolute() || !is_plain(path)) {
            Some(path) => Err(format!("instance {id:?}: {} must be an absolute path without \"..\"", path.display())),
            None => Ok((id.clone(), paths)),
        }
    };
    entries.iter().map(instance).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, json: serde_json::Value) -> Result<DeclaredDevices, String> {
        device(name, &Value::from_json(&json))
    }

    #[test]
    fn a_device_has_a_name_and_instances() {
        let found = read(
            "acme/modem/m1",
            serde_json::json!({
                "attributes": { "speed": "100 MB/s" },
                "instances": { "left": ["/dev/ttyUSB0"], "right": "/dev/ttyUSB1" },
                "env": "MODEMS",
            }),
        );
        let found = found.unwrap();
        assert_eq!((found.access.as_str(), found.variable.as_str()), ("rw", "MODEMS"));
        assert_eq!(found.instances["right"], [PathBuf::from("/dev/ttyUSB1")]);
        let check = |name: &str, json: serde_json::Value, expected: &str| {
            let error = read(name, json).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("modem", serde_json::json!({}), "<vendor>/<type>/<model>");
        check("a//c", serde_json::json!({}), "<vendor>/<type>/<model>");
        check("a/b/c", serde_json::json!({}), "no instances");
        check("a/b/c", serde_json::json!({ "instances": { "x": ["dev"] } }), "absolute path");
        check("a/b/c", serde_json::json!({ "instances": { "x": ["/dev/../etc"] } }), "absolute path");
        check("a/b/c", serde_json::json!({ "instances": { "x": [] }, "access": "x" }), "of r, w and m");
        check("a/b/c", serde_json::json!({ "instances": { "x": [] }, "env": "A=B" }), "name of a variable");
        check("a/b/c", serde_json::json!({ "instance": {} }), "no setting is named");
    }
}
