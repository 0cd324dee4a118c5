//! The interface, under the names that libcontainer knows.

use std::path::PathBuf;

use nix::unistd::Pid;
use oci_spec::runtime::LinuxResources;

/// Where cgroups are mounted usually.
pub const DEFAULT_CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Whatever is asked for beyond starting a container.
#[derive(Debug, thiserror::Error)]
#[error("cgroups are not libcontainer's here")]
pub struct NotHere;

/// Of a manager.
pub type AnyManagerError = NotHere;

/// Of making a manager: never happens.
#[derive(Debug, thiserror::Error)]
pub enum CreateCgroupSetupError {}

/// Of looking at the host.
#[derive(Debug, thiserror::Error)]
#[error("cgroups are not shown to containers")]
pub struct GetCgroupSetupError;

/// Which hierarchies a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupSetup {
    /// Version 1 beside version 2.
    Hybrid,
    /// Version 1.
    Legacy,
    /// Version 2.
    Unified,
}

/// Asked only by who mounts cgroups inside a container or kills one.
///
/// # Errors
/// Always.
pub fn get_cgroup_setup() -> Result<CgroupSetup, GetCgroupSetupError> {
    Err(GetCgroupSetupError)
}

/// Where a container's cgroup would be.
#[derive(Debug, Clone)]
pub struct CgroupConfig {
    /// Below each hierarchy.
    pub cgroup_path: PathBuf,
    /// Whether systemd would make it.
    pub systemd_cgroup: bool,
    /// The container's id.
    pub container_name: String,
}

/// Whether a cgroup's processes stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezerState {
    /// Not known.
    Undefined,
    /// They do.
    Frozen,
    /// They run.
    Thawed,
}

/// What would be set.
#[derive(Debug, Clone)]
pub struct ControllerOpt<'a> {
    /// Limits and devices.
    pub resources: &'a LinuxResources,
    /// No end for want of memory.
    pub disable_oom_killer: bool,
    /// The kernel's score.
    pub oom_score_adj: Option<i32>,
    /// Whether it is to stand still.
    pub freezer_state: Option<FreezerState>,
}

/// What is used: nothing is measured here.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Stats {}

/// What libcontainer does with a cgroup.
pub trait CgroupManager {
    /// Of whatever fails.
    type Error;

    /// Puts a process in it.
    ///
    /// # Errors
    /// None: the process is there.
    fn add_task(&self, pid: Pid) -> Result<(), Self::Error>;

    /// Sets limits.
    ///
    /// # Errors
    /// None: they are set.
    fn apply(&self, controller_opt: &ControllerOpt<'_>) -> Result<(), Self::Error>;

    /// Removes it, after a start that failed.
    ///
    /// # Errors
    /// None: whoever has made it does.
    fn remove(&self) -> Result<(), Self::Error>;

    /// Stops or continues its processes.
    ///
    /// # Errors
    /// Always.
    fn freeze(&self, state: FreezerState) -> Result<(), Self::Error>;

    /// What it uses.
    ///
    /// # Errors
    /// Always.
    fn stats(&self) -> Result<Stats, Self::Error>;

    /// Who is in it.
    ///
    /// # Errors
    /// Always.
    fn get_all_pids(&self) -> Result<Vec<Pid>, Self::Error>;
}

/// The only manager there is.
#[derive(Debug)]
pub struct AnyCgroupManager(());

impl AnyCgroupManager {
    /// Makes no difference.
    #[must_use]
    pub fn with_rootless(self, _rootless: bool) -> Self {
        self
    }
}

/// Makes the manager.
///
/// # Errors
/// None.
pub fn create_cgroup_manager(_config: CgroupConfig) -> Result<AnyCgroupManager, CreateCgroupSetupError> {
    Ok(AnyCgroupManager(()))
}

impl CgroupManager for AnyCgroupManager {
    type Error = AnyManagerError;

    fn add_task(&self, _pid: Pid) -> Result<(), NotHere> {
        Ok(())
    }

    fn apply(&self, _controller_opt: &ControllerOpt<'_>) -> Result<(), NotHere> {
        Ok(())
    }

    fn remove(&self) -> Result<(), NotHere> {
        Ok(())
    }

    fn freeze(&self, _state: FreezerState) -> Result<(), NotHere> {
        Err(NotHere)
    }

    fn stats(&self) -> Result<Stats, NotHere> {
        Err(NotHere)
    }

    fn get_all_pids(&self) -> Result<Vec<Pid>, NotHere> {
        Err(NotHere)
    }
}
