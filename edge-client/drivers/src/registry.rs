//! The drivers of an edge by name.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::container::Images;
use crate::driver::{Driver, Fingerprint};
use crate::supervised::Supervised;
use crate::task_config::ConfigReader;
use crate::{container, exec, qemu, raw_exec};

/// All drivers there are. A new one is one line.
const DRIVERS: &[(&str, Register)] = &[
    (exec::NAME, exec::register), //
    (raw_exec::NAME, raw_exec::register),
    (qemu::NAME, qemu::register),
    (container::NAME, container::register),
    (container::DOCKER, container::register_docker),
];

/// Makes a driver from its plugin's `config`, or says why it is off.
type Register = fn(&Setup<'_>, &mut ConfigReader<'_>) -> Registered;

/// A driver, or why it is off.
pub(crate) type Registered = Result<Arc<dyn Driver>, String>;

/// What a driver is made of.
pub(crate) struct Setup<'a> {
    /// The supervisor of its tasks.
    pub(crate) supervised: &'a Arc<Supervised>,
    /// What the operator says.
    pub(crate) settings: &'a DriverSettings,
    /// The images of this edge, opened by the first driver that needs them.
    pub(crate) images: OnceCell<Result<Arc<Images>, String>>,
}

impl Setup<'_> {
    /// The `config` of a plugin.
    pub(crate) fn plugin(&self, name: &str) -> BTreeMap<String, Value> {
        object(self.settings.plugins.get(name))
    }
}

/// What the operator says about drivers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DriverSettings {
    /// The `config` of each plugin block.
    pub plugins: BTreeMap<String, Value>,
    /// `raw_exec` is on whatever its plugin says (`-dev`).
    pub raw_exec_enabled: bool,
    /// Only these are loaded; empty means all.
    pub allowlist: Vec<String>,
    /// These are not.
    pub denylist: Vec<String>,
    /// What of the host `exec` tasks see, instead of the usual: host path and path inside.
    pub chroot_env: Option<Vec<(PathBuf, PathBuf)>>,
    /// Where drivers keep what outlives the agent; none means that those which have to are off.
    pub state_dir: Option<PathBuf>,
}

impl DriverSettings {
    /// Why a driver is off, as far as the lists say so.
    fn why_off(&self, name: &str) -> Option<&'static str> {
        let is_on = |list: &[String]| list.iter().any(|listed| listed == name);
        if is_on(&self.denylist) {
            return Some("on the client's denylist");
        }
        (!self.allowlist.is_empty() && !is_on(&self.allowlist)).then_some("not on the client's allowlist")
    }
}

/// What a plugin's `config` says can't be acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plugin {plugin:?}: {}", .problems.join("; "))]
pub struct SettingsError {
    /// The plugin.
    pub plugin: String,
    /// One text per problem.
    pub problems: Vec<String>,
}

/// The drivers of an edge.
#[derive(Clone, Default)]
pub struct Drivers {
    by_name: BTreeMap<&'static str, Arc<dyn Driver>>,
    /// Those that are off, and why.
    off: BTreeMap<&'static str, String>,
    /// Limits that their tasks don't get here, and why.
    unenforced: BTreeMap<String, String>,
}

impl Drivers {
    /// The drivers that run their tasks through the supervisor, as far as the operator lets them.
    pub fn on_supervisor(supervised: &Arc<Supervised>, settings: &DriverSettings) -> Result<Drivers, SettingsError> {
        let mut drivers = Drivers { unenforced: supervised.unenforced(), ..Drivers::default() };
        let setup = Setup { supervised, settings, images: OnceCell::new() };
        for (name, register) in DRIVERS {
            if let Some(reason) = settings.why_off(name) {
                drivers.off.insert(name, reason.to_owned());
                continue;
            }
            let config = setup.plugin(name);
            let mut reader = ConfigReader::new(&config);
            let registered = register(&setup, &mut reader);
            let problems = reader.into_problems();
            if !problems.is_empty() {
                return Err(SettingsError { plugin: (*name).to_owned(), problems });
            }
            match registered {
                Ok(driver) => drivers.add(driver),
                Err(reason) => drop(drivers.off.insert(name, reason)),
            }
        }
        Ok(drivers)
    }

    /// Adds a driver; one of the same name is replaced.
    pub fn add(&mut self, driver: Arc<dyn Driver>) {
        self.off.remove(driver.name());
        self.by_name.insert(driver.name(), driver);
    }

    /// The driver of that name, if it is on.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Driver>> {
        self.by_name.get(name)
    }

    /// Limits that tasks don't get on this machine, or as this user, and why.
    pub fn unenforced(&self) -> &BTreeMap<String, String> {
        &self.unenforced
    }

    fn fingerprint(&self, driver: &dyn Driver) -> Fingerprint {
        let found = driver.fingerprint();
        match without_limits(&self.unenforced).filter(|_| found.healthy) {
            Some(description) => Fingerprint { description, ..found },
            None => found,
        }
    }

    /// What is to be said of each driver to the servers.
    pub fn fingerprints(&self) -> BTreeMap<String, Fingerprint> {
        let known = self.by_name.iter().map(|(name, driver)| ((*name).to_owned(), self.fingerprint(driver.as_ref())));
        let off = self.off.iter().map(|(name, why)| ((*name).to_owned(), Fingerprint::undetected(why)));
        known.chain(off).collect()
    }
}

/// What is said of a driver that works, when its tasks don't get all limits.
fn without_limits(unenforced: &BTreeMap<String, String>) -> Option<String> {
    // Rules for devices are no limit of what a task may use up; what is done without them is the driver's affair.
    let limits = || unenforced.iter().filter(|(limit, _)| *limit != "devices");
    let (_, first) = limits().next()?;
    // One reason for all as a rule: each of them stands in the node's attributes.
    let limits: Vec<&str> = limits().map(|(limit, _)| limit.as_str()).collect();
    Some(format!("Healthy, without limits of {}: {first}", limits.join(", ")))
}

/// A plugin's `config` as a map, whether it was written as a block or in a list.
fn object(config: Option<&Value>) -> BTreeMap<String, Value> {
    let fields = match config {
        Some(Value::Array(items)) => items.first().and_then(Value::as_object),
        Some(config) => config.as_object(),
        None => None,
    };
    fields.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl std::fmt::Debug for Drivers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_tasks_do_not_get_are_named() {
        let none = BTreeMap::new();
        assert_eq!(without_limits(&none), None);
        let other = [("devices".to_owned(), "not here".to_owned())].into();
        assert_eq!(without_limits(&other), None);
        let some = ["cpu", "devices", "memory"].map(|limit| (limit.to_owned(), "not here".to_owned())).into();
        assert_eq!(without_limits(&some).as_deref(), Some("Healthy, without limits of cpu, memory: not here"));
    }
}
