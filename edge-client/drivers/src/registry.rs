//! The drivers of an edge by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::driver::{Driver, Fingerprint};
use crate::exec::{Exec, ExecConfig};
use crate::raw_exec::{self, RawExec, RawExecConfig};
use crate::supervised::Supervised;

/// The drivers of an edge. A new driver is one line in [`Drivers::on_supervisor`].
#[derive(Clone, Default)]
pub struct Drivers {
    by_name: BTreeMap<&'static str, Arc<dyn Driver>>,
    disabled: BTreeMap<&'static str, &'static str>,
}

impl Drivers {
    /// The drivers that run their tasks through the supervisor. `raw_exec` only where the operator turned it on.
    pub fn on_supervisor(supervised: &Arc<Supervised>, raw_exec: Option<RawExecConfig>, exec: ExecConfig) -> Drivers {
        let mut drivers = Drivers::default();
        drivers.add(Arc::new(Exec::new(exec, supervised.clone())));
        match raw_exec {
            Some(config) => drivers.add(Arc::new(RawExec::new(config, supervised.clone()))),
            None => drop(drivers.disabled.insert(raw_exec::NAME, "disabled")),
        }
        drivers
    }

    /// Adds a driver; one of the same name is replaced.
    pub fn add(&mut self, driver: Arc<dyn Driver>) {
        self.by_name.insert(driver.name(), driver);
    }

    /// The driver of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Driver>> {
        self.by_name.get(name)
    }

    /// What is to be said of each driver to the servers.
    pub fn fingerprints(&self) -> BTreeMap<String, Fingerprint> {
        let known = self.by_name.iter().map(|(name, driver)| ((*name).to_owned(), driver.fingerprint()));
        let disabled = self.disabled.iter().map(|(name, why)| ((*name).to_owned(), Fingerprint::undetected(why)));
        known.chain(disabled).collect()
    }
}

impl std::fmt::Debug for Drivers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}
