//! Namespaces: made, changed, forgotten while nothing in them is alive.

use std::collections::BTreeSet;
use std::sync::Arc;

use drover_model::Namespace;
use drover_model::job::{Job, JobStatus};
use drover_model::namespace::{DEFAULT, NamespaceSpec};

use super::{Applying, not_found};
use crate::command::Refusal;
use crate::event::Change;
use crate::state::Table;

impl Applying<'_> {
    pub(super) fn upsert_namespace(&mut self, mut namespace: NamespaceSpec) {
        let old = self.state.namespaces.get(&namespace.name);
        namespace.create_index = old.map_or(self.index, |old| old.create_index);
        namespace.modify_index = self.index;
        let name = namespace.name.clone();
        self.state.namespaces.set(Arc::new(namespace));
        self.changed(Table::Namespaces, Change::Namespace(name));
    }

    pub(super) fn delete_namespace(&mut self, name: &Namespace) -> Result<(), Refusal> {
        let conflict = |reason: String| Err(Refusal::Conflict { reason });
        if name.as_str() == DEFAULT {
            return conflict("can not delete default namespace".to_owned());
        }
        if self.state.namespaces.get(name).is_none() {
            return Err(not_found("namespace"));
        }
        let alive = self.state.jobs.values().filter(|job| job.namespace == *name && job.status != JobStatus::Dead);
        let regions: BTreeSet<&str> = alive.map(|job| job.region.as_str()).collect();
        if !regions.is_empty() {
            let regions = Vec::from_iter(regions).join(" ");
            let name = name.as_str();
            let problem = format!("namespace {name:?} has non-terminal jobs in regions: [{regions}]");
            return conflict(format!("1 error occurred:\n\t* {problem}\n\n"));
        }
        self.state.namespaces.remove(name);
        self.changed(Table::Namespaces, Change::Namespace(name.clone()));
        Ok(())
    }

    /// A namespace may go, or change what it admits, between the check of a job and its registration.
    pub(super) fn check_namespace(&self, job: &Job) -> Result<(), Refusal> {
        let Some(namespace) = self.state.namespaces.get(&job.namespace) else {
            let (id, namespace) = (job.id.as_str(), job.namespace.as_str());
            let reason = format!("job {id:?} is in nonexistent namespace {namespace:?}");
            return Err(Refusal::Conflict { reason });
        };
        namespace.objection(job).map_or(Ok(()), |reason| Err(Refusal::Conflict { reason }))
    }
}
