//! Readers of the state: what a [`Snapshot`](crate::Snapshot) answers. One file per noun.

mod alloc;
mod deployment;
mod eval;
mod job;
mod namespace;
mod node;

use crate::state::{State, Table};

impl State {
    /// Raft index of the last command that was applied.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The raft index at which this state came whole, from a snapshot or a restore; 0 when it grew from nothing. Where it is the
    /// same as before, nothing but commands has changed the state meanwhile.
    pub fn begun_index(&self) -> u64 {
        self.begun_index
    }

    /// Raft index of the last change of that table; 0 when it never changed.
    pub fn table_index(&self, table: Table) -> u64 {
        self.table_indexes.of(table)
    }
}
