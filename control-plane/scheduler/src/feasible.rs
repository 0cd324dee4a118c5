//! Which nodes may run a group at all: ready, in the job's datacenters and pool, with its drivers, meeting its
//! constraints.

use std::collections::BTreeMap;

use drover_model::constraint::Constraint;
use drover_model::device::DeviceRequest;
use drover_model::group::Group;
use drover_model::job::Job;
use drover_model::node::Node;
use drover_model::volume::HostVolumeRequest;
use drover_state::Snapshot;

use crate::constraint::{Condition, side};
use crate::{device, network};

/// The pool that holds every node.
const ALL_POOLS: &str = "all";

/// The nodes that a job's allocs may be placed on, with the counts that metrics show.
#[derive(Clone, Debug, Default)]
pub struct Candidates<'a> {
    /// Ready nodes of the job's datacenters and pool, by id.
    pub nodes: Vec<&'a Node>,
    /// How many of them per datacenter.
    pub per_datacenter: BTreeMap<String, i64>,
}

/// Finds the nodes that a job's allocs may be placed on.
pub fn candidates<'a>(snapshot: &'a Snapshot, job: &Job) -> Candidates<'a> {
    let mut nodes: Vec<&Node> = Vec::new();
    let mut per_datacenter: BTreeMap<&str, i64> = BTreeMap::new();
    for node in snapshot.nodes() {
        if node.is_ready() && is_in_reach(node, job) {
            *per_datacenter.entry(&node.datacenter).or_default() += 1;
            nodes.push(node);
        }
    }
    let per_datacenter = per_datacenter.into_iter().map(|(name, nodes)| (name.to_owned(), nodes)).collect();
    Candidates { nodes, per_datacenter }
}

/// True when the node is in the job's datacenters and pool.
pub fn is_in_reach(node: &Node, job: &Job) -> bool {
    let pool_matches = job.node_pool == ALL_POOLS || job.node_pool == node.node_pool;
    pool_matches && job.datacenters.iter().any(|pattern| matches_glob(pattern, &node.datacenter))
}

/// Matches a datacenter against a pattern in which only `*` is a wildcard.
pub fn matches_glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return false };
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// What a group asks of a node, ready to be asked of many.
#[derive(Clone, Debug)]
pub struct Rules {
    job: Vec<Condition>,
    drivers: Vec<String>,
    group: Vec<Condition>,
    devices: Vec<DeviceRequest>,
    /// Host networks with the label of the first port that asks for each.
    host_networks: Vec<(String, String)>,
    volumes: Vec<HostVolumeRequest>,
    /// The alloc that is asked for; empty when it is about any of the group.
    alloc_name: String,
    /// No two allocs of the job on one node.
    pub distinct_of_job: bool,
    /// No two allocs of the group on one node.
    pub distinct_of_group: bool,
    /// At most so many allocs per value of a property.
    pub properties: Vec<DistinctProperty>,
}

/// A `distinct_property` constraint.
#[derive(Clone, Debug)]
pub struct DistinctProperty {
    /// The property, as an interpolation.
    pub target: String,
    /// How many allocs may share a value.
    pub limit: u64,
    /// All groups of the job count, not only this one.
    pub of_job: bool,
}

impl DistinctProperty {
    /// The node's value, or the key under which a node without it is counted.
    pub fn value(&self, node: &Node) -> Result<String, String> {
        side(node, &self.target)
            .map(|value| value.into_owned())
            .ok_or_else(|| format!("missing property \"{}\"", self.target))
    }
}

impl Rules {
    /// Compiles what a group of a job asks for.
    pub fn new(job: &Job, group: &Group) -> Self {
        let of_tasks = group.tasks.iter().flat_map(|task| &task.constraints);
        let all_of_group = || group.constraints.iter().chain(of_tasks.clone());
        let mut host_networks = Vec::new();
        for network in &group.networks {
            for port in network.reserved_ports.iter().chain(&network.dynamic_ports) {
                if !matches!(port.host_network.as_str(), "" | "default") {
                    host_networks.push((port.host_network.clone(), port.label.clone()));
                }
            }
        }
        let mut drivers: Vec<String> = group.tasks.iter().map(|task| task.driver.clone()).collect();
        drivers.sort();
        drivers.dedup();
        let properties = properties(&job.constraints, true).chain(properties_of(all_of_group(), false)).collect();
        Self {
            job: job.constraints.iter().filter_map(Condition::new).collect(),
            drivers,
            group: all_of_group().filter_map(Condition::new).collect(),
            devices: device::asked(group).cloned().collect(),
            host_networks,
            volumes: HostVolumeRequest::all(group),
            alloc_name: String::new(),
            distinct_of_job: job.constraints.iter().any(is_distinct_hosts),
            distinct_of_group: all_of_group().any(is_distinct_hosts),
            properties,
        }
    }

    /// True when allocs of the group ask for different things: [`Rules::for_alloc`] says what.
    pub fn differ_by_alloc(group: &Group) -> bool {
        HostVolumeRequest::all(group).iter().any(|volume| volume.is_per_alloc)
    }

    /// The rules for the alloc of that name. Others leave out what only one alloc asks for.
    #[must_use]
    pub fn for_alloc(self, name: &str) -> Self {
        Self { alloc_name: name.to_owned(), ..self }
    }

    /// Why a node can't run the group, as the key under which it is counted; none when it can.
    pub fn refusal(&self, node: &Node) -> Option<String> {
        self.refusal_for(node, &self.alloc_name)
    }

    /// Why a node can't run the alloc of that name.
    pub fn refusal_for(&self, node: &Node, alloc_name: &str) -> Option<String> {
        let unmet = |conditions: &[Condition]| {
            conditions.iter().find(|condition| !condition.holds(node)).map(|condition| condition.text().to_owned())
        };
        unmet(&self.job)
            .or_else(|| {
                self.drivers.iter().any(|driver| !has_driver(node, driver)).then(|| "missing drivers".to_owned())
            })
            .or_else(|| unmet(&self.group))
            .or_else(|| (!device::has_devices(node, &self.devices)).then(|| "missing devices".to_owned()))
            .or_else(|| self.missing_host_network(node))
            .or_else(|| (!self.has_volumes(node, alloc_name)).then(|| "missing compatible host volumes".to_owned()))
    }

    fn has_volumes(&self, node: &Node, alloc_name: &str) -> bool {
        let mut asked = self.volumes.iter().filter(|volume| !volume.is_per_alloc || !alloc_name.is_empty());
        asked.all(|volume| volume.is_met_by(node, alloc_name))
    }

    fn missing_host_network(&self, node: &Node) -> Option<String> {
        let missing = self.host_networks.iter().find(|(name, _)| !network::has_host_network(node, name));
        missing.map(|(name, label)| format!("missing host network \"{name}\" for port \"{label}\""))
    }

    /// True when the answer can differ between nodes of one class.
    pub fn escapes_class(&self) -> bool {
        self.job.iter().chain(&self.group).any(Condition::is_unique) || self.devices.iter().any(device::is_unique)
    }
}

fn has_driver(node: &Node, driver: &str) -> bool {
    match node.drivers.get(driver) {
        Some(info) => info.detected && info.healthy,
        None => false,
    }
}

fn is_distinct_hosts(constraint: &Constraint) -> bool {
    constraint.operand == "distinct_hosts"
        && !matches!(constraint.right.as_str(), "false" | "False" | "FALSE" | "f" | "F" | "0")
}

fn properties(constraints: &[Constraint], of_job: bool) -> impl Iterator<Item = DistinctProperty> {
    properties_of(constraints.iter(), of_job)
}

fn properties_of<'a>(
    constraints: impl Iterator<Item = &'a Constraint>,
    of_job: bool,
) -> impl Iterator<Item = DistinctProperty> {
    constraints.filter(|constraint| constraint.operand == "distinct_property").map(move |constraint| DistinctProperty {
        target: constraint.left.clone(),
        limit: constraint.right.parse().unwrap_or(1),
        of_job,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_star_is_a_wildcard() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(matches_glob(pattern, text), expected, "{pattern} {text}");
        };
        check("*", "dc1", true);
        check("dc1", "dc1", true);
        check("dc1", "dc12", false);
        check("dc*", "dc1-edge", true);
        check("*-edge", "dc1-edge", true);
        check("d*1*e", "dc1-edge", true);
        check("d*x*e", "dc1-edge", false);
        check("dc?", "dc1", false);
        check("dc[12]", "dc1", false);
        check("", "dc1", false);
        check("a*a", "a", false);
    }
}
