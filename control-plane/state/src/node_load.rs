//! What the allocs on a node take of it. Kept up to date as they change: nobody looks at all of them for one more.

use drover_model::AllocId;
use drover_model::alloc::Alloc;
use drover_model::resources::{AllocatedResources, Totals};
use imbl::OrdSet;

/// What the allocs on one node take of it, as long as anything of them may run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLoad {
    // Wider than what is added: a sum that was too large for a moment is right again afterwards.
    cpu_mhz: i128,
    memory_mib: i128,
    disk_mib: i128,
    allocs: usize,
    holders: OrdSet<AllocId>,
    freed_index: u64,
}

impl NodeLoad {
    /// The sums. What is more than a number can say is the largest.
    pub fn totals(&self) -> Totals {
        let narrow = |sum: i128| i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX });
        Totals { cpu_mhz: narrow(self.cpu_mhz), memory_mib: narrow(self.memory_mib), disk_mib: narrow(self.disk_mib) }
    }

    /// How many allocs take room.
    pub fn allocs(&self) -> usize {
        self.allocs
    }

    /// Those of them that hold what no other alloc may have: ports, cores, devices.
    pub fn holders(&self) -> &OrdSet<AllocId> {
        &self.holders
    }

    /// No alloc on the node has ended after this raft index.
    pub fn freed_index(&self) -> u64 {
        self.freed_index
    }

    /// Counts an alloc on the node, whatever is with it.
    pub(crate) fn add(&mut self, alloc: &Alloc) {
        if alloc.is_client_terminal() {
            self.freed_index = self.freed_index.max(alloc.modify_index);
            return;
        }
        self.change(alloc, 1);
        self.allocs += 1;
        if holds(&alloc.allocated_resources) {
            self.holders.insert(alloc.id);
        }
    }

    /// Takes back what [`Self::add`] counted.
    pub(crate) fn remove(&mut self, alloc: &Alloc) {
        if alloc.is_client_terminal() {
            return;
        }
        self.change(alloc, -1);
        self.allocs = self.allocs.saturating_sub(1);
        self.holders.remove(&alloc.id);
    }

    fn change(&mut self, alloc: &Alloc, by: i128) {
        let Totals { cpu_mhz, memory_mib, disk_mib } = alloc.allocated_resources.totals();
        self.cpu_mhz += by * i128::from(cpu_mhz);
        self.memory_mib += by * i128::from(memory_mib);
        self.disk_mib += by * i128::from(disk_mib);
    }
}

/// Something of this is the alloc's alone.
fn holds(resources: &AllocatedResources) -> bool {
    let mut tasks = resources.tasks.values();
    !resources.shared.ports.is_empty()
        || tasks
            .any(|task| !task.cpu.reserved_cores.is_empty() || !task.devices.is_empty() || !task.networks.is_empty())
}
