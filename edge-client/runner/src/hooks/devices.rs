//! What a task gets with the devices that it was given: variables that name them, and their files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use drover_drivers::TaskDevice;
use drover_model::resources::AllocatedTask;

use crate::decide::actual::StartFailure;

/// What goes with the devices of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceAccess {
    /// The variable that names the instances given, separated by commas; empty for none.
    pub variable: String,
    /// Files that come with any of them.
    pub shared: Vec<PathBuf>,
    /// The files of each.
    pub instances: BTreeMap<String, Vec<PathBuf>>,
    /// What may be done with them: of `r`, `w` and `m`.
    pub access: String,
}

/// What a task gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenDevices {
    /// Variables.
    pub env: BTreeMap<String, String>,
    /// Files.
    pub files: Vec<TaskDevice>,
}

/// Before the start. The node may have lost devices since the alloc was placed on it. `known` is by the ids of groups; the driver
/// may be one whose tasks can't be given any.
pub fn prestart(
    driver: &str,
    takes_devices: bool,
    known: &BTreeMap<String, DeviceAccess>,
    given: Option<&AllocatedTask>,
) -> Result<GivenDevices, StartFailure> {
    let failed = |text: String| StartFailure::Hook(format!("devices: {text}"));
    let mut all = GivenDevices::default();
    for given in given.into_iter().flat_map(|task| &task.devices) {
        let id = given.group_id();
        if !takes_devices {
            return Err(failed(format!("task driver {driver:?} can not be given device {id}")));
        }
        let gone = |what: &str| failed(format!("failed to reserve device {id}: {what} is not there any more"));
        let group = known.get(&id).ok_or_else(|| gone("it"))?;
        let mut files: Vec<&PathBuf> = Vec::new();
        for instance in &given.device_ids {
            files.extend(group.instances.get(instance).ok_or_else(|| gone(&format!("instance {instance:?}")))?);
        }
        files.extend(&group.shared);
        if !group.variable.is_empty() {
            // Two groups of one maker share a variable.
            let names = all.env.entry(group.variable.clone()).or_default();
            for instance in &given.device_ids {
                let separator = if names.is_empty() { "" } else { "," };
                names.push_str(separator);
                names.push_str(instance);
            }
        }
        for path in files {
            if !all.files.iter().any(|known| known.path == *path) {
                all.files.push(TaskDevice { path: path.clone(), access: group.access.clone() });
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use drover_model::device::AllocatedDevice;

    use super::*;

    #[test]
    fn a_task_gets_what_it_was_given_and_no_more() {
        let group = |variable: &str, ids: &[&str]| DeviceAccess {
            variable: variable.to_owned(),
            shared: vec!["/dev/ctl".into()],
            instances: ids.iter().map(|id| ((*id).to_owned(), vec![PathBuf::from(format!("/dev/{id}"))])).collect(),
            access: "rw".to_owned(),
        };
        let known = BTreeMap::from([
            ("acme/gpu/one".to_owned(), group("GPUS", &["a", "b"])),
            ("acme/gpu/two".to_owned(), group("GPUS", &["c"])),
        ]);
        let given = |name: &str, ids: &[&str]| AllocatedDevice {
            vendor: "acme".to_owned(),
            kind: "gpu".to_owned(),
            name: name.to_owned(),
            device_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        };
        let task = |devices: Vec<AllocatedDevice>| AllocatedTask { devices, ..AllocatedTask::default() };
        let all =
            prestart("some", true, &known, Some(&task(vec![given("one", &["b"]), given("two", &["c"])]))).unwrap();
        assert_eq!(all.env, BTreeMap::from([("GPUS".to_owned(), "b,c".to_owned())]));
        let paths: Vec<_> = all.files.iter().map(|file| file.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/dev/b", "/dev/ctl", "/dev/c"]);
        assert_eq!(prestart("some", false, &known, Some(&task(Vec::new()))), Ok(GivenDevices::default()));

        let check = |takes_devices: bool, devices: Vec<AllocatedDevice>, expected: &str| {
            let failure = prestart("some", takes_devices, &known, Some(&task(devices))).unwrap_err();
            let StartFailure::Hook(text) = failure else { panic!("{failure:?}") };
            assert_eq!(text, expected);
        };
        let one = || vec![given("one", &["b"])];
        check(false, one(), "devices: task driver \"some\" can not be given device acme/gpu/one");
        check(
            true,
            vec![given("one", &["q"])],
            "devices: failed to reserve device acme/gpu/one: instance \"q\" is not there any more",
        );
        check(
            true,
            vec![given("three", &["q"])],
            "devices: failed to reserve device acme/gpu/three: it is not there any more",
        );
    }
}
