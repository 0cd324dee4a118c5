//! The namespaces of a state. The built-in one is always among them, also in states of before there were others.

use std::sync::Arc;

use drover_model::Namespace;
use drover_model::namespace::NamespaceSpec;
use imbl::OrdMap;

/// The namespaces by name.
///
/// Invariant: `default` is there; [`Namespaces::remove`] leaves it alone.
#[derive(Clone)]
pub(crate) struct Namespaces(OrdMap<Namespace, Arc<NamespaceSpec>>);

impl Default for Namespaces {
    fn default() -> Self {
        let built_in = Arc::new(NamespaceSpec::built_in());
        Self(OrdMap::unit(built_in.name.clone(), built_in))
    }
}

impl Namespaces {
    pub fn all(&self) -> impl Iterator<Item = &Arc<NamespaceSpec>> {
        self.0.values()
    }

    pub fn get(&self, name: &Namespace) -> Option<&Arc<NamespaceSpec>> {
        self.0.get(name)
    }

    pub fn set(&mut self, namespace: Arc<NamespaceSpec>) {
        self.0.insert(namespace.name.clone(), namespace);
    }

    pub fn remove(&mut self, name: &Namespace) {
        if name.as_str() != drover_model::namespace::DEFAULT {
            self.0.remove(name);
        }
    }
}
