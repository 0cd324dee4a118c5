//! Namespaces: made, changed, forgotten.

use drover_model::Namespace;
use drover_model::namespace::NamespaceSpec;
use drover_state::Command;

use crate::error::Error;
use crate::server::Server;

impl Server {
    /// Makes or changes a namespace that was checked; gives the raft index.
    ///
    /// # Errors
    /// The log can't be written.
    pub async fn put_namespace(&self, namespace: NamespaceSpec) -> Result<u64, Error> {
        let (index, _) = self.propose(Command::UpsertNamespace { namespace: Box::new(namespace) }).await?;
        Ok(index)
    }

    /// Forgets a namespace; gives the raft index.
    ///
    /// # Errors
    /// It is unknown, in use or built in, or the log can't be written.
    pub async fn delete_namespace(&self, name: Namespace) -> Result<u64, Error> {
        self.propose(Command::DeleteNamespace { name }).await.map(|(index, _)| index)
    }
}
