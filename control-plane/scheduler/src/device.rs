//! Devices: which nodes have what a group asks for, and which instances an alloc gets.
//!
//! The group of devices that meets the most affinities is taken; of equal ones the first of the node, and of its instances the
//! first that are free.

use std::borrow::Cow;
use std::cmp::Ordering;

use drover_model::constraint::{Affinity, Constraint};
use drover_model::device::{AllocatedDevice, DeviceGroup, DeviceRequest, DevicesInUse};
use drover_model::device_attribute::DeviceAttribute;
use drover_model::group::Group;
use drover_model::node::Node;
use drover_model::resources::AllocatedResources;

use crate::constraint::Condition;
use crate::fit::NodeUse;

/// Names the ids of a group's instances.
const IDS: &str = "${device.ids}";

/// What the tasks of a group ask for.
pub fn asked(group: &Group) -> impl Iterator<Item = &DeviceRequest> {
    group.tasks.iter().flat_map(|task| &task.resources.devices)
}

/// True when the answer to a request can differ between nodes of one class: ids do.
pub fn is_unique(request: &DeviceRequest) -> bool {
    request.constraints.iter().any(|constraint| constraint.left == IDS || constraint.right == IDS)
}

/// True when a node has enough healthy devices for all of these, whoever has them now.
pub fn has_devices(node: &Node, requests: &[DeviceRequest]) -> bool {
    let groups = &node.node_resources.devices;
    let mut left: Vec<u64> = groups.iter().map(|group| group.healthy().count() as u64).collect();
    requests.iter().all(|request| {
        let mut wanted = request.count;
        let mut is_known = false;
        for (group, left) in groups.iter().zip(&mut left) {
            if *left > 0 && suits(group, request) {
                is_known = true;
                let taken = wanted.min(*left);
                *left -= taken;
                wanted -= taken;
            }
        }
        is_known && wanted == 0
    })
}

/// Gives each task of the group the devices that it asks for, of those that nobody has.
pub fn give(node: &Node, used: &NodeUse, group: &Group, resources: &mut AllocatedResources) -> Result<(), String> {
    if asked(group).next().is_none() {
        return Ok(());
    }
    let mut in_use = used.devices.clone();
    for task in &group.tasks {
        for request in &task.resources.devices {
            let offer = offer(node, &in_use, request).map_err(|why| format!("devices: {why}"))?;
            in_use.take(&offer);
            if let Some(given) = resources.tasks.get_mut(&task.name) {
                given.devices.push(offer);
            }
        }
    }
    Ok(())
}

fn offer(node: &Node, in_use: &DevicesInUse, request: &DeviceRequest) -> Result<AllocatedDevice, &'static str> {
    let groups = &node.node_resources.devices;
    if groups.is_empty() {
        return Err("no devices available");
    }
    if request.count == 0 {
        return Err("invalid request of zero devices");
    }
    let wanted = usize::try_from(request.count).unwrap_or(usize::MAX);
    let mut best: Option<(f64, AllocatedDevice)> = None;
    for group in groups.iter().filter(|group| suits(group, request)) {
        let id = group.id();
        let free = group.healthy().map(|instance| &instance.id);
        let free = free.filter(|instance| in_use.is_free(&id, instance) && is_admitted(instance, group, request));
        let device_ids: Vec<String> = free.take(wanted).cloned().collect();
        let weights = weights_met(group, &request.affinities);
        if device_ids.len() == wanted && best.as_ref().is_none_or(|(most, _)| weights > *most) {
            let DeviceGroup { vendor, kind, name, .. } = group.clone();
            best = Some((weights, AllocatedDevice { vendor, kind, name, device_ids }));
        }
    }
    best.map(|(_, offer)| offer).ok_or("no devices match request")
}

/// How well the devices that were given meet the affinities that were asked for: -1 to 1; none where nothing was asked for.
pub fn affinity(node: &Node, group: &Group, resources: &AllocatedResources) -> Option<f64> {
    let (mut met, mut all) = (0.0, 0.0);
    for task in &group.tasks {
        let given = resources.tasks.get(&task.name).map(|given| given.devices.as_slice()).unwrap_or_default();
        for (request, given) in task.resources.devices.iter().zip(given) {
            all += request.affinities.iter().fold(0.0, |sum, affinity| sum + f64::from(affinity.weight).abs());
            let groups = node.node_resources.devices.iter();
            for group in groups.filter(|group| group.id() == given.group_id()) {
                met += weights_met(group, &request.affinities);
            }
        }
    }
    (all != 0.0).then_some(met / all)
}

/// True when what an alloc was given is there and works.
pub fn are_there(node: &Node, resources: &AllocatedResources) -> bool {
    let mut given = resources.tasks.values().flat_map(|task| &task.devices);
    given.all(|given| {
        let group = node.node_resources.devices.iter().find(|group| group.id() == given.group_id());
        let works = |id: &String| group.is_some_and(|group| group.healthy().any(|instance| instance.id == *id));
        given.device_ids.iter().all(works)
    })
}

/// True when the request names these devices and they meet its constraints.
fn suits(group: &DeviceGroup, request: &DeviceRequest) -> bool {
    let meets = |Constraint { left, right, operand }: &Constraint| {
        holds(operand, (left, side(group, left)), (right, side(group, right)))
    };
    request.names(group) && request.constraints.iter().all(meets)
}

/// True when constraints on ids admit this one.
fn is_admitted(instance: &str, group: &DeviceGroup, request: &DeviceRequest) -> bool {
    request.constraints.iter().all(|constraint| {
        let other = match (constraint.left.as_str(), constraint.right.as_str()) {
            (IDS, other) | (other, IDS) => other,
            _ => return true,
        };
        let own = Some(DeviceAttribute::of_text(instance));
        // The ids that are wanted are the list here, and this one is looked for in it.
        holds(&constraint.operand, (other, side(group, other)), (instance, own))
    })
}

fn weights_met(group: &DeviceGroup, affinities: &[Affinity]) -> f64 {
    let is_met = |affinity: &&Affinity| {
        let Affinity { left, right, operand, .. } = affinity;
        holds(operand, (left, side(group, left)), (right, side(group, right)))
    };
    affinities.iter().filter(is_met).fold(0.0, |sum, affinity| sum + f64::from(affinity.weight))
}

/// What a side of a constraint stands for; none when the devices have no such thing.
fn side(group: &DeviceGroup, text: &str) -> Option<DeviceAttribute> {
    let Some(name) = text.strip_prefix("${") else { return Some(DeviceAttribute::parse(text)) };
    let name = name.strip_suffix('}').unwrap_or(name);
    match name {
        "device.vendor" => Some(DeviceAttribute::of_text(group.vendor.as_str())),
        "device.type" => Some(DeviceAttribute::of_text(group.kind.as_str())),
        "device.model" => Some(DeviceAttribute::of_text(group.name.as_str())),
        "device.ids" => {
            let ids: Vec<&str> = group.instances.iter().map(|instance| instance.id.as_str()).collect();
            Some(DeviceAttribute::of_text(ids.join(",")))
        }
        _ => group.attributes.get(name.strip_prefix("device.attr.")?).cloned(),
    }
}

/// True when both sides (each as written and as what it stands for) meet the operator.
fn holds(
    operand: &str,
    (left_text, left): (&str, Option<DeviceAttribute>),
    (right_text, right): (&str, Option<DeviceAttribute>),
) -> bool {
    let compare = |meets: fn(Ordering) -> bool| match (&left, &right) {
        (Some(left), Some(right)) => left.compare(right).is_some_and(meets),
        _ => false,
    };
    match operand {
        // Not of a device alone; a job with one is refused.
        "distinct_hosts" | "distinct_property" => true,
        "is_set" => left.is_some(),
        "is_not_set" => left.is_none(),
        "!=" | "not" => left.is_some() != right.is_some() || compare(Ordering::is_ne),
        "=" | "==" | "is" => compare(Ordering::is_eq),
        "<" => compare(Ordering::is_lt),
        "<=" => compare(Ordering::is_le),
        ">" => compare(Ordering::is_gt),
        ">=" => compare(Ordering::is_ge),
        _ => {
            let (Some(left), Some(right)) = (text_of(left_text, &left), text_of(right_text, &right)) else {
                return false;
            };
            Condition::from_parts("", operand, &right)
                .is_some_and(|condition| condition.compares(Some(Cow::Borrowed(&left)), Some(Cow::Borrowed(&right))))
        }
    }
}

/// A side as a text: what is written, or a text or whole number that it stands for.
fn text_of(written: &str, side: &Option<DeviceAttribute>) -> Option<String> {
    match side {
        _ if !written.starts_with("${") => Some(written.to_owned()),
        Some(DeviceAttribute { text: Some(text), .. }) => Some(text.clone()),
        Some(DeviceAttribute { int: Some(int), unit, .. }) if unit.is_empty() => Some(int.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use drover_model::device::DeviceInstance;
    use drover_model::resources::{AllocatedTask, Resources};
    use drover_model::task::Task;

    use super::*;

    fn group(name: &str, ids: &[&str], attributes: &[(&str, &str)]) -> DeviceGroup {
        let instance = |id: &&str| DeviceInstance {
            id: id.trim_end_matches('!').to_owned(),
            healthy: !id.ends_with('!'),
            ..DeviceInstance::default()
        };
        let (vendor, rest) = name.split_once('/').unwrap();
        let (kind, name) = rest.split_once('/').unwrap();
        DeviceGroup {
            vendor: vendor.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            instances: ids.iter().map(instance).collect(),
            attributes: attributes
                .iter()
                .map(|(key, text)| ((*key).to_owned(), DeviceAttribute::parse(text)))
                .collect(),
        }
    }

    fn node() -> Node {
        let mut node = Node::default();
        node.node_resources.devices = vec![
            group("nvidia/gpu/P4", &["a", "b!", "c"], &[("memory", "8 GiB"), ("driver", "470.1.2")]),
            group("nvidia/gpu/A100", &["x"], &[("memory", "40 GiB"), ("ecc", "true")]),
            group("acme/modem/m1", &["m"], &[]),
        ];
        node
    }

    fn request(name: &str, count: u64) -> DeviceRequest {
        DeviceRequest { name: name.to_owned(), count, ..DeviceRequest::default() }
    }

    fn with(request: DeviceRequest, left: &str, operand: &str, right: &str) -> DeviceRequest {
        let constraint = Constraint { left: left.to_owned(), operand: operand.to_owned(), right: right.to_owned() };
        DeviceRequest { constraints: vec![constraint], ..request }
    }

    fn job_group(requests: Vec<DeviceRequest>) -> Group {
        let resources = Resources { devices: requests, ..Resources::default() };
        Group { tasks: vec![Task { name: "t".to_owned(), resources, ..Task::default() }], ..Group::default() }
    }

    fn given(used: &NodeUse, requests: Vec<DeviceRequest>) -> Result<AllocatedResources, String> {
        let mut resources = AllocatedResources::default();
        resources.tasks.insert("t".to_owned(), AllocatedTask::default());
        give(&node(), used, &job_group(requests), &mut resources).map(|()| resources)
    }

    fn ids(resources: &AllocatedResources) -> Vec<String> {
        resources.tasks["t"]
            .devices
            .iter()
            .map(|given| format!("{}={}", given.name, given.device_ids.join("+")))
            .collect()
    }

    #[test]
    fn healthy_devices_are_counted() {
        let check = |requests: &[DeviceRequest], expected: bool| {
            assert_eq!(has_devices(&node(), requests), expected, "{requests:?}");
        };
        check(&[request("gpu", 1)], true);
        check(&[request("nvidia/gpu/P4", 2)], true);
        check(&[request("nvidia/gpu/P4", 3)], false);
        // Of two models together: there is none to give, but it is not the devices that are missing.
        check(&[request("gpu", 3)], true);
        check(&[request("gpu", 4)], false);
        check(&[request("nvidia/gpu/P4", 1), request("nvidia/gpu/P4", 1), request("modem", 1)], true);
        check(&[request("modem", 1), request("modem", 1)], false);
        check(&[request("fpga", 1)], false);
        assert!(!has_devices(&Node::default(), &[request("gpu", 1)]));
    }

    #[test]
    fn instances_go_to_one_alloc_each() {
        let mut used = NodeUse::default();
        let first = given(&used, vec![request("nvidia/gpu", 1), request("acme/modem", 1)]).unwrap();
        assert_eq!(ids(&first), ["P4=a", "m1=m"]);
        assert!(used.add(&first));
        let second = given(&used, vec![request("gpu", 1)]).unwrap();
        assert_eq!(ids(&second), ["P4=c"]);
        assert!(used.add(&second) && !used.clone().add(&second));
        assert_eq!(given(&used, vec![request("modem", 1)]).unwrap_err(), "devices: no devices match request");
        assert_eq!(given(&used, vec![request("gpu", 0)]).unwrap_err(), "devices: invalid request of zero devices");
        used.remove(&first);
        assert_eq!(ids(&given(&used, vec![request("modem", 1)]).unwrap()), ["m1=m"]);
        // Two tasks' asks of one alloc do not get the same instance.
        let both = given(&NodeUse::default(), vec![request("nvidia/gpu/P4", 1), request("nvidia/gpu/P4", 1)]).unwrap();
        assert_eq!(ids(&both), ["P4=a", "P4=c"]);
        assert!(are_there(&node(), &both) && !are_there(&Node::default(), &both));
    }

    #[test]
    fn constraints_choose_among_devices() {
        let check = |left: &str, operand: &str, right: &str, expected: Option<&str>| {
            let found = given(&NodeUse::default(), vec![with(request("gpu", 1), left, operand, right)]);
            assert_eq!(found.ok().map(|found| ids(&found)[0].clone()).as_deref(), expected, "{left} {operand} {right}");
        };
        check("${device.attr.memory}", ">=", "16384 MiB", Some("A100=x"));
        check("${device.attr.memory}", "<", "16 GiB", Some("P4=a"));
        check("${device.attr.memory}", ">=", "16", None);
        check("${device.attr.driver}", "version", ">= 450, < 500", Some("P4=a"));
        check("${device.attr.driver}", "semver", "> 500", None);
        check("${device.model}", "regexp", "^A", Some("A100=x"));
        check("${device.attr.ecc}", "=", "true", Some("A100=x"));
        check("${device.attr.ecc}", "is_not_set", "", Some("P4=a"));
        check("${device.attr.ecc}", "!=", "false", Some("P4=a"));
        check("${device.ids}", "set_contains", "c", Some("P4=c"));
        check("${device.ids}", "set_contains_any", "c,q", Some("P4=c"));
        check("${device.vendor}", "=", "${device.type}", None);
        check("${meta.rack}", "=", "r1", None);
        check("${device.model}", "regexp", "([", None);
    }

    #[test]
    fn affinities_choose_and_score() {
        let affinity_of = |weight: i8, right: &str| Affinity {
            left: "${device.attr.memory}".to_owned(),
            operand: ">=".to_owned(),
            right: right.to_owned(),
            weight,
        };
        let asked = DeviceRequest {
            affinities: vec![affinity_of(60, "32 GiB"), affinity_of(-20, "64 GiB")],
            ..request("nvidia/gpu", 1)
        };
        let found = given(&NodeUse::default(), vec![asked.clone()]).unwrap();
        assert_eq!(ids(&found), ["A100=x"]);
        assert_eq!(affinity(&node(), &job_group(vec![asked]), &found), Some(0.75));
        let plain = given(&NodeUse::default(), vec![request("gpu", 1)]).unwrap();
        assert_eq!(affinity(&node(), &job_group(vec![request("gpu", 1)]), &plain), None);
    }
}
