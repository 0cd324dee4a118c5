//! What a node has, what is used of it, and whether more fits. Shared by the scheduler and [`crate::verify()`].

use std::collections::BTreeSet;

use drover_model::alloc::Alloc;
use drover_model::device::{AllocatedDevice, DevicesInUse};
use drover_model::group::Group;
use drover_model::node::Node;
use drover_model::resources::{
    AllocatedCpu, AllocatedMemory, AllocatedResources, AllocatedShared, AllocatedTask, Totals,
};
use drover_model::task::Task;
use drover_model::{AllocId, NodeId};
use drover_state::{NodeLoad, Snapshot};

use crate::device;
use crate::network::{self, PortUse};
use crate::seed::Seeds;

/// What a node offers: all it has without what the operator keeps back.
pub fn capacity(node: &Node) -> Totals {
    let has = &node.node_resources;
    let kept = &node.reserved_resources;
    Totals {
        cpu_mhz: has.cpu.mhz.saturating_sub(kept.cpu.mhz),
        memory_mib: has.memory.mib.saturating_sub(kept.memory.mib),
        disk_mib: has.disk.mib.saturating_sub(kept.disk.mib),
    }
}

/// The first dimension in which a sum is above what is offered.
pub fn overrun(capacity: &Totals, used: &Totals) -> Option<&'static str> {
    [
        ("cpu", used.cpu_mhz > capacity.cpu_mhz),
        ("memory", used.memory_mib > capacity.memory_mib),
        ("disk", used.disk_mib > capacity.disk_mib),
    ]
    .into_iter()
    .find_map(|(dimension, is_over)| is_over.then_some(dimension))
}

/// What is used of one node.
#[derive(Clone, Debug, Default)]
pub struct NodeUse {
    /// The sums.
    pub totals: Totals,
    /// How many allocs.
    pub allocs: i64,
    /// Cores that tasks have for themselves.
    pub cores: BTreeSet<u16>,
    /// Devices.
    pub devices: DevicesInUse,
    /// Ports. None until somebody asks: most groups have none.
    pub ports: Option<PortUse>,
}

impl NodeUse {
    /// What the allocs on a node use, but for those that `stopped` names. Ports are counted where `ports` are those that the
    /// node keeps back.
    pub fn of_node(
        snapshot: &Snapshot,
        node: NodeId,
        stopped: impl Fn(AllocId) -> bool,
        ports: Option<PortUse>,
    ) -> Self {
        let load = snapshot.load_of_node(node);
        let mut used = Self {
            totals: load.map(NodeLoad::totals).unwrap_or_default(),
            allocs: load.map_or(0, |load| load.allocs() as i64),
            ports,
            ..Self::default()
        };
        for alloc in snapshot.holders_on_node(node).filter(|alloc| !stopped(alloc.id)) {
            // Allocs that collide already are an old wrong that a new placement does not make worse.
            used.hold(&alloc.allocated_resources);
        }
        used
    }

    /// Adds an alloc; false when a core, a device or a port was taken already.
    pub fn add(&mut self, resources: &AllocatedResources) -> bool {
        self.totals.add(resources.totals());
        self.allocs += 1;
        self.hold(resources)
    }

    /// Takes the cores, devices and ports of an alloc that is counted already.
    fn hold(&mut self, resources: &AllocatedResources) -> bool {
        let mut is_free = true;
        for core in cores_of(resources) {
            is_free &= self.cores.insert(core);
        }
        for given in devices_of(resources) {
            is_free &= self.devices.take(given);
        }
        if let Some(ports) = &mut self.ports {
            is_free &= ports.take(resources);
        }
        is_free
    }

    /// Takes an alloc away. Ports are counted anew when they are next asked for.
    pub fn remove(&mut self, resources: &AllocatedResources) {
        self.totals.subtract(resources.totals());
        self.allocs -= 1;
        for core in cores_of(resources) {
            self.cores.remove(&core);
        }
        for given in devices_of(resources) {
            self.devices.give_back(given);
        }
        self.ports = None;
    }
}

fn cores_of(resources: &AllocatedResources) -> impl Iterator<Item = u16> {
    resources.tasks.values().flat_map(|task| task.cpu.reserved_cores.iter().copied())
}

fn devices_of(resources: &AllocatedResources) -> impl Iterator<Item = &AllocatedDevice> {
    resources.tasks.values().flat_map(|task| &task.devices)
}

/// True when an alloc takes room on its node: it does until nothing of it runs, whatever is wanted of it.
pub fn takes_room(alloc: &Alloc) -> bool {
    !alloc.is_client_terminal()
}

/// What an alloc of the group would be given on a node, or the dimension that is short.
pub fn give(
    node: &Node,
    capacity: &Totals,
    used: &NodeUse,
    group: &Group,
    with_memory_max: bool,
    seeds: &mut Seeds,
) -> Result<AllocatedResources, String> {
    let mut resources = match &used.ports {
        Some(ports) => {
            let assigned = network::assign(node, ports, group, seeds).map_err(|error| format!("network: {error}"))?;
            let mut resources = ask(group, with_memory_max);
            for (task, networks) in assigned.tasks {
                if let Some(task) = resources.tasks.get_mut(&task) {
                    task.networks = networks;
                }
            }
            resources.shared.networks = assigned.networks;
            resources.shared.ports = assigned.ports;
            resources
        }
        None => ask(group, with_memory_max),
    };
    give_cores(node, used, group, &mut resources)?;
    device::give(node, used, group, &mut resources)?;
    let mut totals = used.totals;
    totals.add(resources.totals());
    if let Some(dimension) = overrun(capacity, &totals) {
        return Err(dimension.to_owned());
    }
    if node.node_max_allocs > 0 && used.allocs >= node.node_max_allocs {
        return Err("max allocations exceeded".to_owned());
    }
    Ok(resources)
}

/// What the group asks for, before ports, cores and devices are chosen. More memory than is guaranteed is given only where
/// the region's settings say so.
pub fn ask(group: &Group, with_memory_max: bool) -> AllocatedResources {
    let max_mib = |task: &Task| if with_memory_max { task.resources.memory_max_mib } else { 0 };
    let task = |task: &Task| AllocatedTask {
        cpu: AllocatedCpu { mhz: task.resources.cpu_mhz, reserved_cores: Vec::new() },
        memory: AllocatedMemory { mib: task.resources.memory_mib, max_mib: max_mib(task) },
        ..AllocatedTask::default()
    };
    AllocatedResources {
        tasks: group.tasks.iter().map(|t| (t.name.clone(), task(t))).collect(),
        task_lifecycles: group.tasks.iter().map(|t| (t.name.clone(), t.lifecycle.clone())).collect(),
        shared: AllocatedShared {
            disk_mib: group.ephemeral_disk.size_mib,
            networks: group.networks.clone(),
            ports: Vec::new(),
        },
    }
}

/// Chooses whole cores, lowest numbers first; a task with cores gets their MHz.
fn give_cores(node: &Node, used: &NodeUse, group: &Group, resources: &mut AllocatedResources) -> Result<(), String> {
    if group.tasks.iter().all(|task| task.resources.cores == 0) {
        return Ok(());
    }
    let cpu = &node.node_resources.cpu;
    let kept = &node.reserved_resources.cpu.cores;
    let is_free = |core: &&u16| !kept.contains(core) && !used.cores.contains(core);
    let mut free = cpu.reservable_cores.iter().filter(is_free).copied();
    // The frequency says what one core is worth; the sum may have been set by the operator.
    let frequency = node.attributes.get("cpu.frequency").and_then(|text| text.parse().ok());
    let core_mhz: i64 = frequency.unwrap_or_else(|| cpu.mhz / i64::from(cpu.cores.max(1)));
    for task in group.tasks.iter().filter(|task| task.resources.cores > 0) {
        let wanted = usize::try_from(task.resources.cores).unwrap_or(usize::MAX);
        let cores: Vec<u16> = free.by_ref().take(wanted).collect();
        if cores.len() < wanted {
            return Err("cores".to_owned());
        }
        if let Some(given) = resources.tasks.get_mut(&task.name) {
            given.cpu.mhz = core_mhz.saturating_mul(task.resources.cores);
            given.cpu.reserved_cores = cores;
        }
    }
    Ok(())
}
