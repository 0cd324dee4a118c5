//! The candidate nodes as columns: capacity, use and the job's own allocs, built once per schedule and kept up to date
//! with what the plan stops and places.

use std::collections::BTreeMap;

use drover_model::alloc::Alloc;
use drover_model::node::Node;
use drover_model::resources::{AllocatedResources, Totals};
use drover_model::{AllocId, JobKey, NodeId};
use drover_state::Snapshot;
use drover_state::scheduler_config::SchedulerConfig;

use crate::fit::{self, NodeUse};
use crate::network::PortUse;
use crate::seed;

/// The candidate nodes of one schedule, a row each.
#[derive(Clone, Debug)]
pub struct NodeTable<'a> {
    snapshot: &'a Snapshot,
    nodes: Vec<&'a Node>,
    capacity: Vec<Totals>,
    used: Vec<NodeUse>,
    ties: Vec<u64>,
    rows: BTreeMap<NodeId, usize>,
    /// Allocs of the job per row and group.
    counts: Vec<BTreeMap<String, u32>>,
    /// The same on nodes that are no candidates.
    counts_elsewhere: BTreeMap<NodeId, BTreeMap<String, u32>>,
    /// Allocs that the plan stops.
    stopped: BTreeMap<AllocId, ()>,
    /// What the plan places, per row.
    placed: Vec<Vec<AllocatedResources>>,
    /// Rows in the order in which they changed, for whoever keeps something per row.
    changes: Vec<usize>,
}

impl<'a> NodeTable<'a> {
    /// Fills the table from the snapshot.
    pub fn new(snapshot: &'a Snapshot, nodes: Vec<&'a Node>, job: &JobKey, tie_seed: u64) -> Self {
        let used = nodes.iter().map(|node| NodeUse::of_node(snapshot, node.id, |_| false, None)).collect();
        let mut table = Self {
            snapshot,
            capacity: nodes.iter().map(|node| fit::capacity(node)).collect(),
            used,
            ties: nodes.iter().map(|node| seed::mix(tie_seed, node.id.as_bytes())).collect(),
            rows: nodes.iter().enumerate().map(|(row, node)| (node.id, row)).collect(),
            counts: vec![BTreeMap::new(); nodes.len()],
            counts_elsewhere: BTreeMap::new(),
            stopped: BTreeMap::new(),
            placed: vec![Vec::new(); nodes.len()],
            changes: Vec::new(),
            nodes,
        };
        for alloc in snapshot.allocs_of_job(job).filter(|alloc| fit::takes_room(alloc)) {
            *table.count_mut(alloc) += 1;
        }
        table
    }

    fn count_mut(&mut self, alloc: &Alloc) -> &mut u32 {
        let counts = match self.rows.get(&alloc.node_id) {
            Some(&row) => &mut self.counts[row],
            None => self.counts_elsewhere.entry(alloc.node_id).or_default(),
        };
        counts.entry(alloc.task_group.clone()).or_default()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True when no node is a candidate.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node of a row.
    pub fn node(&self, row: usize) -> &'a Node {
        self.nodes[row]
    }

    /// The row of a node.
    pub fn row(&self, node: NodeId) -> Option<usize> {
        self.rows.get(&node).copied()
    }

    /// The settings of the scheduler.
    pub fn config(&self) -> &SchedulerConfig {
        self.snapshot.scheduler_config()
    }

    /// What the row's node offers.
    pub fn capacity(&self, row: usize) -> &Totals {
        &self.capacity[row]
    }

    /// What is used of the row's node.
    pub fn used(&self, row: usize) -> &NodeUse {
        &self.used[row]
    }

    /// Decides between equal scores: lower goes first.
    pub fn tie(&self, row: usize) -> u64 {
        self.ties[row]
    }

    /// Allocs of the job in that group on the row's node.
    pub fn count(&self, row: usize, group: &str) -> u32 {
        self.counts[row].get(group).copied().unwrap_or(0)
    }

    /// Allocs of the job on the row's node, all groups together.
    pub fn count_of_job(&self, row: usize) -> u32 {
        self.counts[row].values().sum()
    }

    /// Every node with allocs of the job, and how many per group.
    pub fn job_counts(&self) -> impl Iterator<Item = (&Node, &BTreeMap<String, u32>)> {
        let here = self.nodes.iter().copied().zip(&self.counts).filter(|(_, counts)| !counts.is_empty());
        let elsewhere = self
            .counts_elsewhere
            .iter()
            .filter_map(|(id, counts)| self.snapshot.node(*id).map(|node| (&**node, counts)));
        here.chain(elsewhere)
    }

    /// The rows that changed since there were `seen` changes.
    pub fn changes_since(&self, seen: usize) -> &[usize] {
        &self.changes[seen.min(self.changes.len())..]
    }

    /// How many changes there were.
    pub fn changes_len(&self) -> usize {
        self.changes.len()
    }

    /// Counts the ports of a row, if nobody has asked for them yet.
    pub fn count_ports(&mut self, row: usize) {
        if self.used[row].ports.is_some() {
            return;
        }
        let node = self.nodes[row];
        let mut ports = PortUse::of_node(node);
        for alloc in self.snapshot.holders_on_node(node.id) {
            if !self.stopped.contains_key(&alloc.id) {
                // Allocs that collide already are an old wrong that a new placement does not make worse.
                ports.take(&alloc.allocated_resources);
            }
        }
        for resources in &self.placed[row] {
            ports.take(resources);
        }
        self.used[row].ports = Some(ports);
    }

    /// The plan stops an alloc: its room is free for the same plan.
    pub fn stop(&mut self, alloc: &Alloc) {
        if !fit::takes_room(alloc) || self.stopped.insert(alloc.id, ()).is_some() {
            return;
        }
        let count = self.count_mut(alloc);
        *count = count.saturating_sub(1);
        if let Some(row) = self.row(alloc.node_id) {
            self.used[row].remove(&alloc.allocated_resources);
            self.changes.push(row);
        }
    }

    /// The plan does not stop it after all.
    pub fn keep(&mut self, alloc: &Alloc) {
        if self.stopped.remove(&alloc.id).is_none() {
            return;
        }
        *self.count_mut(alloc) += 1;
        if let Some(row) = self.row(alloc.node_id) {
            self.used[row].add(&alloc.allocated_resources);
            self.changes.push(row);
        }
    }

    /// The plan places an alloc of the group.
    pub fn place(&mut self, row: usize, group: &str, resources: &AllocatedResources) {
        self.used[row].add(resources);
        self.placed[row].push(resources.clone());
        *self.counts[row].entry(group.to_owned()).or_default() += 1;
        self.changes.push(row);
    }
}
