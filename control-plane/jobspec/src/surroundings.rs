//! What a server knows that a job is held against.

use std::collections::BTreeSet;

use crate::canonicalize::implied::Implied;

/// What a server knows that a job is held against.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The server's region, for jobs that name none.
    pub region: &'a str,
    /// The namespaces there are; none when a job may name any.
    pub namespaces: Option<&'a BTreeSet<String>>,
    /// The node pools there are; none when a job may name any.
    pub node_pools: Option<&'a BTreeSet<String>>,
    /// The Vault clusters that are set up; none when a job may name any.
    pub vault_clusters: Option<&'a BTreeSet<String>>,
    /// Whether a time zone of that name is known. Looking it up is I/O, so it comes as an argument.
    pub is_time_zone: &'a dyn Fn(&str) -> bool,
    /// Tasks may have more memory than is kept for them.
    pub has_memory_oversubscription: bool,
    /// Which constraints are added.
    pub implied: Implied,
}

impl<'a> Surroundings<'a> {
    /// A server of that region that takes every namespace, node pool, Vault cluster and time zone.
    pub fn of(region: &'a str) -> Surroundings<'a> {
        Surroundings {
            region,
            namespaces: None,
            node_pools: None,
            vault_clusters: None,
            has_memory_oversubscription: false,
            is_time_zone: &|_| true,
            implied: Implied::ActedOn,
        }
    }
}
