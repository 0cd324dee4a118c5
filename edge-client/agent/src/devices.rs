//! The devices of this machine: those of NVIDIA, as its kernel module tells of them, and those that the operator declares.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use drover_model::device::{DeviceGroup, DeviceInstance, DeviceLocality};
use drover_model::device_attribute::DeviceAttribute;
use drover_protocol::edge_node::{DeviceGroupStats, DeviceState};
use drover_runner::hooks::devices::DeviceAccess;

use crate::config::EdgeConfig;

/// The variable by which programs that use such devices learn which are theirs.
const NVIDIA_VARIABLE: &str = "NVIDIA_VISIBLE_DEVICES";
/// Files that each program needs that uses any of them.
const NVIDIA_SHARED: &[&str] = &["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"];
/// MB/s of one lane, by the speed of a transfer in GT/s.
const LANE_MB_PER_SECOND: &[(&str, i64)] =
    &[("2.5", 250), ("5", 500), ("5.0", 500), ("8.0", 985), ("16.0", 1969), ("32.0", 3938), ("64.0", 7563)];

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The devices.
    pub groups: Vec<DeviceGroup>,
    /// What tasks get with them, by the ids of the groups.
    pub access: BTreeMap<String, DeviceAccess>,
}

/// The devices that are there now.
pub fn find(config: &EdgeConfig) -> Found {
    let mut found = Found::default();
    if config.nvidia.is_on {
        nvidia(Path::new("/"), &config.nvidia.ignored, &mut found);
    }
    declared(config, &mut found);
    found.groups.sort_by_key(DeviceGroup::id);
    found
}

/// Those of NVIDIA that the operator does not want, and whether any is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NvidiaSettings {
    /// They are looked for.
    pub is_on: bool,
    /// Not these, by their ids.
    pub ignored: Vec<String>,
}

impl Default for NvidiaSettings {
    fn default() -> Self {
        NvidiaSettings { is_on: true, ignored: Vec::new() }
    }
}

impl NvidiaSettings {
    /// What the plugin's `config` says, in JSON.
    pub fn read(config: Option<&serde_json::Value>) -> NvidiaSettings {
        let Some(config) = config else { return NvidiaSettings::default() };
        let ignored = config["ignored_gpu_ids"].as_array().into_iter().flatten();
        NvidiaSettings {
            is_on: config["enabled"] != false && config["enabled"] != "false",
            ignored: ignored.filter_map(|id| id.as_str()).map(str::to_owned).collect(),
        }
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// `root` is the host's, or a test's.
fn nvidia(root: &Path, ignored: &[String], found: &mut Found) {
    let mut cards: Vec<PathBuf> = fs::read_dir(root.join("proc/driver/nvidia/gpus"))
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    cards.sort();
    let driver = driver_version(&text(&root.join("proc/driver/nvidia/version")));
    let shared = NVIDIA_SHARED.iter().map(|name| root.join("dev").join(name)).filter(|path| path.exists());
    let shared: Vec<PathBuf> = shared.collect();
    for card in cards {
        let told = text(&card.join("information"));
        let field = |name: &str| {
            told.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim().to_owned())
            })
        };
        let (Some(id), Some(model)) = (field("GPU UUID"), field("Model")) else { continue };
        if ignored.contains(&id) || field("GPU Excluded").is_some_and(|excluded| excluded == "Yes") {
            continue;
        }
        let bus = field("Bus Location").unwrap_or_default();
        let file = field("Device Minor").map(|minor| root.join("dev").join(format!("nvidia{minor}")));
        let missing = match &file {
            Some(file) if file.exists() => String::new(),
            Some(file) => format!("{} is not there", file.display()),
            None => "its driver tells no device file".to_owned(),
        };
        let instance = DeviceInstance {
            id: id.clone(),
            healthy: missing.is_empty(),
            health_description: missing,
            locality: (!bus.is_empty()).then(|| DeviceLocality { pci_bus_id: bus.clone() }),
        };
        let group = group_of(found, "nvidia", "gpu", &model);
        group.instances.push(instance);
        let mut attributes = pci_attributes(&root.join("sys/bus/pci/devices").join(&bus));
        if !driver.is_empty() {
            attributes.insert("driver_version".to_owned(), DeviceAttribute::of_text(driver.clone()));
        }
        group.attributes.extend(attributes);
        let group_id = group.id();
        let access = found.access.entry(group_id).or_insert_with(|| DeviceAccess {
            variable: NVIDIA_VARIABLE.to_owned(),
            shared: shared.clone(),
            access: "rw".to_owned(),
            ..DeviceAccess::default()
        });
        access.instances.insert(id, file.into_iter().collect());
    }
}

/// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 …`
fn driver_version(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let is_version = |word: &&str| word.contains('.') && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    first.split_whitespace().find(is_version).unwrap_or_default().to_owned()
}

/// What the bus knows of a card.
fn pci_attributes(dir: &Path) -> BTreeMap<String, DeviceAttribute> {
    let mut attributes = BTreeMap::new();
    // Line by line first and last address of each region; the second is the window on the card's memory.
    let resources = text(&dir.join("resource"));
    let window = resources.lines().nth(1).and_then(|line| {
        let mut ends = line.split_whitespace().map(|end| u64::from_str_radix(end.trim_start_matches("0x"), 16).ok());
        let (first, last) = (ends.next()??, ends.next()??);
        last.checked_sub(first).filter(|_| last > 0)
    });
    if let Some(bytes) = window {
        let mib = i64::try_from((bytes.saturating_add(1)) >> 20).unwrap_or(i64::MAX);
        attributes.insert("bar1".to_owned(), DeviceAttribute::of_int(mib, "MiB"));
    }
    let speed = text(&dir.join("max_link_speed"));
    let speed = speed.split_whitespace().next().unwrap_or_default();
    let lane = LANE_MB_PER_SECOND.iter().find(|(transfers, _)| *transfers == speed).map(|(_, lane)| *lane);
    let lanes: Option<i64> = text(&dir.join("max_link_width")).parse().ok();
    if let (Some(lane), Some(lanes)) = (lane, lanes.filter(|lanes| (1..=64).contains(lanes))) {
        attributes.insert("pci_bandwidth".to_owned(), DeviceAttribute::of_int(lane * lanes, "MB/s"));
    }
    attributes
}

fn declared(config: &EdgeConfig, found: &mut Found) {
    for (name, device) in &config.devices {
        let mut parts = name.splitn(3, '/');
        let (Some(vendor), Some(kind), Some(model)) = (parts.next(), parts.next(), parts.next()) else { continue };
        // The two would share their variable and their rights; and a card must not be given out under two ids.
        if found.access.contains_key(name) {
            warn_once(name);
            continue;
        }
        let group = group_of(found, vendor, kind, model);
        for (id, paths) in &device.instances {
            let missing = paths.iter().find(|path| !path.exists());
            let why = missing.map(|path| format!("{} is not there", path.display())).unwrap_or_default();
            group.instances.push(DeviceInstance {
                id: id.clone(),
                healthy: why.is_empty(),
                health_description: why,
                locality: None,
            });
        }
        let attributes = device.attributes.iter();
        group.attributes.extend(attributes.map(|(key, text)| (key.clone(), DeviceAttribute::parse(text))));
        let access = DeviceAccess {
            variable: device.variable.clone(),
            shared: Vec::new(),
            instances: device.instances.clone(),
            access: device.access.clone(),
        };
        found.access.insert(name.clone(), access);
    }
}

/// It is looked each minute.
fn warn_once(name: &str) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned()) {
        tracing::warn!(
            device = name,
            "declared devices are left out: devices of this name were found; another name, or enabled = false for the plugin that \
             finds them"
        );
    }
}

fn group_of<'a>(found: &'a mut Found, vendor: &str, kind: &str, model: &str) -> &'a mut DeviceGroup {
    let is_it = |group: &DeviceGroup| (&*group.vendor, &*group.kind, &*group.name) == (vendor, kind, model);
    let place = found.groups.iter().position(is_it).unwrap_or_else(|| {
        found.groups.push(DeviceGroup {
            vendor: vendor.to_owned(),
            kind: kind.to_owned(),
            name: model.to_owned(),
            ..DeviceGroup::default()
        });
        found.groups.len() - 1
    });
    &mut found.groups[place]
}

/// How the devices are now, as far as the kernel says.
pub fn stats(groups: &[DeviceGroup]) -> Vec<DeviceGroupStats> {
    let state = |instance: &DeviceInstance| {
        let bus = instance.locality.as_ref().map(|locality| locality.pci_bus_id.clone()).unwrap_or_default();
        let dir = Path::new("/sys/bus/pci/devices").join(&bus);
        let mut stats = BTreeMap::new();
        for (name, file) in [
            ("Power state", "power/runtime_status"),
            ("Link speed", "current_link_speed"),
            ("Link width", "current_link_width"),
        ] {
            let told = if bus.is_empty() { String::new() } else { text(&dir.join(file)) };
            if !told.is_empty() {
                stats.insert(name.to_owned(), told);
            }
        }
        let summary = if instance.healthy { "healthy".to_owned() } else { instance.health_description.clone() };
        (instance.id.clone(), DeviceState { summary, stats })
    };
    let group = |group: &DeviceGroup| DeviceGroupStats {
        vendor: group.vendor.clone(),
        kind: group.kind.clone(),
        name: group.name.clone(),
        instances: group.instances.iter().map(state).collect(),
    };
    groups.iter().map(group).collect()
}

#[cfg(test)]
mod tests {
    use drover_agent_config::client_devices::DeclaredDevices;

    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn card(root: &Path, bus: &str, minor: u32, uuid: &str) {
        let told = format!(
            "Model: \t\t Tesla P4\nIRQ:   \t\t 16\nGPU UUID: \t {uuid}\nBus Type: \t PCIe\nBus Location: \t {bus}\n\
             Device Minor: \t {minor}\nGPU Excluded:\t No\n"
        );
        write(root, &format!("proc/driver/nvidia/gpus/{bus}/information"), &told);
        let dir = format!("sys/bus/pci/devices/{bus}");
        let resource = "0x00000000fa000000 0x00000000faffffff 0x0000000000040200\n\
                        0x0000000450000000 0x000000045fffffff 0x000000000014220c\n";
        write(root, &format!("{dir}/resource"), resource);
        write(root, &format!("{dir}/max_link_speed"), "8.0 GT/s PCIe\n");
        write(root, &format!("{dir}/max_link_width"), "16\n");
    }

    #[test]
    fn cards_are_found_by_what_their_module_tells() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        card(root, "0000:00:1e.0", 0, "GPU-a");
        card(root, "0000:00:1f.0", 1, "GPU-b");
        card(root, "0000:00:20.0", 2, "GPU-c");
        write(
            root,
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19\n",
        );
        write(root, "dev/nvidia0", "");
        write(root, "dev/nvidiactl", "");
        let mut found = Found::default();
        nvidia(root, &["GPU-c".to_owned()], &mut found);
        let [group] = found.groups.as_slice() else { panic!("{found:?}") };
        assert_eq!((group.id().as_str(), group.instances.len()), ("nvidia/gpu/Tesla P4", 2));
        assert!(group.instances[0].healthy && !group.instances[1].healthy);
        assert!(group.instances[1].health_description.ends_with("dev/nvidia1 is not there"));
        assert_eq!(group.instances[0].locality.as_ref().unwrap().pci_bus_id, "0000:00:1e.0");
        let shown: Vec<String> = group.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(shown, ["bar1=256 MiB", "driver_version=535.129.03", "pci_bandwidth=15760 MB/s"]);
        let access = &found.access["nvidia/gpu/Tesla P4"];
        assert_eq!(access.variable, "NVIDIA_VISIBLE_DEVICES");
        assert_eq!(access.shared, [root.join("dev/nvidiactl")]);
        assert_eq!(access.instances["GPU-a"], [root.join("dev/nvidia0")]);
    }

    #[test]
    fn declared_devices_work_while_their_files_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("modem");
        let mut config = EdgeConfig::new(dir.path());
        config.nvidia.is_on = false;
        let device = DeclaredDevices {
            attributes: BTreeMap::from([("speed".to_owned(), "100 MB/s".to_owned())]),
            instances: BTreeMap::from([("left".to_owned(), vec![file.clone()])]),
            access: "rw".to_owned(),
            variable: "MODEMS".to_owned(),
        };
        config.devices.insert("acme/modem/m1".to_owned(), device);
        let found = find(&config);
        assert!(!found.groups[0].instances[0].healthy);
        assert_eq!(found.groups[0].attributes["speed"], DeviceAttribute::of_int(100, "MB/s"));
        fs::write(&file, "").unwrap();
        let found = find(&config);
        assert!(found.groups[0].instances[0].healthy);
        assert_eq!(found.access["acme/modem/m1"].instances["left"], [file]);
        assert_eq!(stats(&found.groups)[0].instances["left"].summary, "healthy");
    }

    #[test]
    fn what_was_found_is_not_declared_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        card(dir.path(), "0000:00:1e.0", 0, "GPU-a");
        write(dir.path(), "dev/nvidia0", "");
        let mut found = Found::default();
        nvidia(dir.path(), &[], &mut found);
        let before = found.clone();
        let device = |id: &str| DeclaredDevices {
            attributes: BTreeMap::new(),
            instances: BTreeMap::from([(id.to_owned(), vec![PathBuf::from("/dev/null")])]),
            access: "r".to_owned(),
            variable: "MINE".to_owned(),
        };
        let mut config = EdgeConfig::new(dir.path());
        config.devices.insert("nvidia/gpu/Tesla P4".to_owned(), device("GPU-a"));
        declared(&config, &mut found);
        assert_eq!(found, before, "cards are given as they were found");
        config.devices.insert("nvidia/gpu/other".to_owned(), device("mine"));
        declared(&config, &mut found);
        assert_eq!((found.groups.len(), &*found.access["nvidia/gpu/other"].variable), (2, "MINE"));
    }

    #[test]
    fn the_plugin_may_be_off() {
        assert_eq!(NvidiaSettings::read(None), NvidiaSettings::default());
        let read = NvidiaSettings::read(Some(&serde_json::json!({ "enabled": false, "ignored_gpu_ids": ["x"] })));
        assert_eq!(read, NvidiaSettings { is_on: false, ignored: vec!["x".to_owned()] });
    }
}
