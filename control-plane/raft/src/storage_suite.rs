//! openraft's own storage tests over our log store and state machine.

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use std::sync::Arc;
use tempfile::TempDir;

use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::store::Store;
use crate::types::TypeConfig;

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("log")).unwrap();
        let machine = Machine::open(dir.path().join("snapshots")).unwrap();
        Ok((dir, LogStore::new(Arc::new(store)), machine))
    }
}

#[test]
fn the_log_store_passes_openrafts_suite() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(Suite::<TypeConfig, LogStore, Machine, Builder, _>::test_all(Builder)).unwrap();
}
