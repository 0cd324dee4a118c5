//! What a task has whose root is made of an image's layers, beyond what every contained task has.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Most layers of one root: their names must fit into the one page that the kernel reads.
pub const LAYERS_MAX: usize = 120;

/// The root made of an image, and the rights of what runs in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageSpec {
    /// Where the layers are.
    pub layers_dir: PathBuf,
    /// Below it, the layers' directories, the lowest first; relative, short and without `..`, `:` and `,`.
    pub layers: Vec<PathBuf>,
    /// Takes what the task writes into its root (`upper`, `work`); on a file system that can hold it.
    pub work_dir: PathBuf,
    /// Nothing in the root can be written.
    pub is_read_only: bool,
    /// `user`, `user:group` or numbers, as the image's own files name them; empty means root.
    pub user: String,
    /// Further groups, as the image names them.
    pub groups: Vec<String>,
    /// The name that the task sees of its machine; empty means the host's.
    pub hostname: String,
    /// The same as `held_binds`, for what every other bind may lie in.
    pub own_binds: Vec<HeldBind>,
    /// Paths of the host below a directory that others may change: links in them are not followed out of it.
    pub held_binds: Vec<HeldBind>,
    /// File systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Size of `/dev/shm` in bytes; 0 means 64 MiB.
    pub shm_bytes: u64,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// Settings of the kernel, in the task's namespaces.
    pub sysctl: BTreeMap<String, String>,
    /// Limits of processes by name (`nofile`): soft and hard.
    pub limits: BTreeMap<String, (u64, u64)>,
    /// It has a network namespace of its own with nothing in it, where it joins none.
    pub has_no_network: bool,
    /// All rights, all devices, nothing masked.
    pub is_privileged: bool,
}

/// A path below a directory that other tasks may write to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBind {
    /// The directory, absolute. It itself must be safe.
    pub base: PathBuf,
    /// A path below it, relative and without `..`. No part of it may be a link.
    #[serde(default)]
    pub within: PathBuf,
    /// The path below that, relative and without `..`; empty means the place itself. Links in it may not lead out of `within`.
    pub path: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
    /// Writes are refused inside.
    pub read_only: bool,
    /// A missing source becomes a directory.
    pub makes_source: bool,
}

/// A file system in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Absolute path inside.
    pub target: PathBuf,
    /// Options of the mount, such as `size=65536k`.
    pub options: Vec<String>,
}

/// A device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its file on the host.
    pub host_path: PathBuf,
    /// Its path inside.
    pub path: PathBuf,
    /// Of `r`, `w` and `m`.
    pub access: String,
}

impl ImageSpec {
    /// Says what is wrong with it.
    pub(crate) fn check(&self) -> Result<(), String> {
        use std::path::Component;
        let check = crate::spec::check_path;
        check("layers directory", &self.layers_dir)?;
        check("work directory", &self.work_dir)?;
        if self.layers.len() > LAYERS_MAX {
            return Err(format!("the image has more than {LAYERS_MAX} layers"));
        }
        let is_below = |path: &PathBuf| path.components().all(|part| matches!(part, Component::Normal(_)));
        let is_plain = |path: &PathBuf| path.to_str().is_some_and(|text| !text.contains([':', ',', '\\', '\0']));
        if let Some(layer) = self.layers.iter().find(|layer| !is_below(layer) || !is_plain(layer)) {
            return Err(format!("layer {} must be a plain name", layer.display()));
        }
        for bind in self.own_binds.iter().chain(&self.held_binds) {
            check("bind base", &bind.base)?;
            check("bind target", &bind.target)?;
            if let Some(path) = [&bind.within, &bind.path].into_iter().find(|path| !is_below(path)) {
                return Err(format!("bind source {} must be relative and without \"..\"", path.display()));
            }
        }
        for tmpfs in &self.tmpfs {
            check("tmpfs target", &tmpfs.target)?;
        }
        for device in &self.devices {
            check("device", &device.host_path)?;
            check("device path", &device.path)?;
        }
        Ok(())
    }
}
