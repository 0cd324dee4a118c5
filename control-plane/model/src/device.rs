//! Devices: what a node has of them, what a task asks for, and what an alloc was given.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::constraint::{Affinity, Constraint};
use crate::device_attribute::DeviceAttribute;
use crate::wire::nullable;

/// What a task asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeviceRequest {
    /// Devices that meet one are preferred.
    #[serde(with = "nullable")]
    pub affinities: Vec<Affinity>,
    /// What the devices must meet.
    #[serde(with = "nullable")]
    pub constraints: Vec<Constraint>,
    /// How many instances.
    pub count: u64,
    /// `<type>`, `<vendor>/<type>` or `<vendor>/<type>/<model>`.
    pub name: String,
}

impl DeviceRequest {
    /// True when a group of devices is one of those that the name means.
    pub fn names(&self, group: &DeviceGroup) -> bool {
        let parts: Vec<&str> = self.name.splitn(3, '/').collect();
        let (vendor, kind, model) = match parts.as_slice() {
            [kind] => ("", *kind, ""),
            [vendor, kind] => (*vendor, *kind, ""),
            [vendor, kind, model] => (*vendor, *kind, *model),
            _ => return false,
        };
        let fits = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        fits(vendor, &group.vendor) && fits(kind, &group.kind) && fits(model, &group.name)
    }
}

/// Equal devices of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeviceGroup {
    /// Who makes them.
    pub vendor: String,
    /// What they are: `gpu` …
    #[serde(rename = "Type")]
    pub kind: String,
    /// The model.
    pub name: String,
    /// Each of them.
    #[serde(with = "nullable")]
    pub instances: Vec<DeviceInstance>,
    /// What is known of all of them.
    #[serde(with = "nullable")]
    pub attributes: BTreeMap<String, DeviceAttribute>,
}

impl DeviceGroup {
    /// `<vendor>/<type>/<model>`, which no other group of the node has.
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.vendor, self.kind, self.name)
    }

    /// The instances that work.
    pub fn healthy(&self) -> impl Iterator<Item = &DeviceInstance> {
        self.instances.iter().filter(|instance| instance.healthy)
    }
}

/// One device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeviceInstance {
    /// Its id, unique in its group.
    #[serde(rename = "ID")]
    pub id: String,
    /// It works.
    pub healthy: bool,
    /// Why not.
    pub health_description: String,
    /// Where it is plugged in.
    pub locality: Option<DeviceLocality>,
}

/// Where a device is plugged in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceLocality {
    /// Its address on the PCI bus.
    #[serde(rename = "PciBusID")]
    pub pci_bus_id: String,
}

/// Instances of one group that a task was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AllocatedDevice {
    /// Who makes them.
    pub vendor: String,
    /// What they are.
    #[serde(rename = "Type")]
    pub kind: String,
    /// The model.
    pub name: String,
    /// Which.
    #[serde(rename = "DeviceIDs", with = "nullable")]
    pub device_ids: Vec<String>,
}

impl AllocatedDevice {
    /// The id of the group they are of.
    pub fn group_id(&self) -> String {
        format!("{}/{}/{}", self.vendor, self.kind, self.name)
    }
}

/// The instances of a node that allocs have, by the ids of their groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevicesInUse(BTreeMap<String, BTreeSet<String>>);

impl DevicesInUse {
    /// Takes instances; false when one of them was taken already.
    pub fn take(&mut self, given: &AllocatedDevice) -> bool {
        let taken = self.0.entry(given.group_id()).or_default();
        let mut is_free = true;
        for id in &given.device_ids {
            is_free &= taken.insert(id.clone());
        }
        is_free
    }

    /// Gives instances back.
    pub fn give_back(&mut self, given: &AllocatedDevice) {
        if let Some(taken) = self.0.get_mut(&given.group_id()) {
            taken.retain(|id| !given.device_ids.contains(id));
        }
    }

    /// True when nobody has that instance.
    pub fn is_free(&self, group_id: &str, instance: &str) -> bool {
        !self.0.get(group_id).is_some_and(|taken| taken.contains(instance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_say_less_than_the_whole() {
        let group = DeviceGroup {
            vendor: "nvidia".to_owned(),
            kind: "gpu".to_owned(),
            name: "Tesla P4/8G".to_owned(),
            ..DeviceGroup::default()
        };
        let check = |name: &str, expected: bool| {
            let request = DeviceRequest { name: name.to_owned(), ..DeviceRequest::default() };
            assert_eq!(request.names(&group), expected, "{name}");
        };
        check("gpu", true);
        check("nvidia/gpu", true);
        check("nvidia/gpu/Tesla P4/8G", true);
        check("nvidia/gpu/Tesla P4", false);
        check("amd/gpu", false);
        check("fpga", false);
        check("nvidia", false);
    }

    #[test]
    fn an_instance_is_taken_once() {
        let given = AllocatedDevice {
            kind: "gpu".to_owned(),
            device_ids: vec!["a".to_owned(), "b".to_owned()],
            ..AllocatedDevice::default()
        };
        let mut used = DevicesInUse::default();
        assert!(used.is_free("/gpu/", "a") && used.take(&given));
        assert!(!used.is_free("/gpu/", "a") && !used.take(&given));
        used.give_back(&given);
        assert!(used.is_free("/gpu/", "b"));
    }

    #[test]
    fn the_shape_is_that_of_the_api() {
        let text = r#"{"Vendor":"nvidia","Type":"gpu","Name":"P4","Instances":[{"ID":"i","Healthy":true,"HealthDescription":"","Locality":{"PciBusID":"00:1"}}],"Attributes":{"memory":{"Float":null,"Int":4,"String":null,"Bool":null,"Unit":"GiB"}}}"#;
        let group: DeviceGroup = serde_json::from_str(text).unwrap();
        assert_eq!((group.id().as_str(), group.healthy().count()), ("nvidia/gpu/P4", 1));
        assert_eq!(group.attributes["memory"].unit, "GiB");
        let shown: DeviceGroup = serde_json::from_str(&serde_json::to_string(&group).unwrap()).unwrap();
        assert_eq!(shown, group);
    }
}
