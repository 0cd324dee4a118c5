//! Readers of namespaces.

use std::sync::Arc;

use drover_model::Namespace;
use drover_model::namespace::NamespaceSpec;

use crate::state::State;

impl State {
    /// The namespace of that name.
    pub fn namespace(&self, name: &Namespace) -> Option<&Arc<NamespaceSpec>> {
        self.namespaces.get(name)
    }

    /// All namespaces by name.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<NamespaceSpec>> {
        self.namespaces.all()
    }
}
