//! What people do on a node through a server: files, commands inside tasks, figures of the node.

use std::collections::BTreeMap;

use drover_model::{AllocId, Timestamp};
use serde::{Deserialize, Serialize};

/// The longest piece of input or output of a command, in bytes.
pub const EXEC_BYTES_MAX: usize = 32 << 10;

/// Files of an alloc.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FilesRequest {
    /// The alloc.
    pub alloc_id: AllocId,
    /// Below its directory.
    pub path: String,
    /// What of it.
    pub wanted: FilesWanted,
}

/// What is wanted of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilesWanted {
    /// What is in the directory.
    #[default]
    List,
    /// What it is.
    Stat,
    /// Its bytes, as [`crate::edge::LogChunk`] frames.
    Read {
        /// Offset from the origin, in bytes.
        offset: u64,
        /// Count the offset back from the end.
        from_end: bool,
        /// At most so many bytes.
        bytes_max: Option<u64>,
        /// Go on as it grows.
        follow: bool,
    },
}

/// One file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileInfo {
    /// Its name without directories.
    pub name: String,
    /// It is a directory.
    pub is_dir: bool,
    /// Bytes.
    pub size: i64,
    /// Kind and rights as the API writes them: `drwxr-xr-x`.
    pub mode: String,
    /// When it was last changed.
    pub modified: Timestamp,
    /// What it seems to hold; empty in lists.
    pub content_type: String,
}

/// A command inside a task.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecRequest {
    /// The alloc.
    pub alloc_id: AllocId,
    /// The task.
    pub task: String,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// It gets a terminal.
    pub tty: bool,
}

/// To a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecInput {
    /// Bytes for its standard input.
    Stdin(#[serde(with = "serde_bytes")] Vec<u8>),
    /// There are no more.
    StdinEnd,
    /// The terminal has this size now.
    Size {
        /// Rows.
        height: u16,
        /// Columns.
        width: u16,
    },
}

/// From a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecOutput {
    /// Bytes of its standard output.
    Stdout(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Bytes of its standard error.
    Stderr(#[serde(with = "serde_bytes")] Vec<u8>),
    /// No more output.
    StdoutEnd,
    /// No more errors.
    StderrEnd,
    /// It has ended with this code; the last frame.
    Exited(i32),
    /// Something went wrong on the way; the last frame.
    Failed(String),
}

/// What a node uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStats {
    /// When it was read.
    pub at: Timestamp,
    /// Seconds since boot.
    pub uptime_s: u64,
    /// Per processor.
    pub cpus: Vec<CpuStats>,
    /// MHz in use.
    pub cpu_ticks_mhz: f64,
    /// Bytes of memory.
    pub memory_total_bytes: u64,
    /// Bytes that new programs could have.
    pub memory_available_bytes: u64,
    /// Bytes that nobody uses.
    pub memory_free_bytes: u64,
    /// Bytes in use.
    pub memory_used_bytes: u64,
    /// File systems.
    pub disks: Vec<DiskStats>,
    /// The one with the allocs' directories.
    pub alloc_dir: DiskStats,
    /// Devices.
    pub devices: Vec<DeviceGroupStats>,
}

/// Equal devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceGroupStats {
    /// Who makes them.
    pub vendor: String,
    /// What they are.
    pub kind: String,
    /// The model.
    pub name: String,
    /// Each of them, by its id.
    pub instances: BTreeMap<String, DeviceState>,
}

/// How one device is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceState {
    /// `healthy`, or why it is not.
    pub summary: String,
    /// What else is known, by name.
    pub stats: BTreeMap<String, String>,
}

/// One processor since the last reading, or since boot, in percent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuStats {
    /// `cpu0`
    pub name: String,
    /// In user mode.
    pub user: f64,
    /// In the kernel.
    pub system: f64,
    /// Idle.
    pub idle: f64,
    /// All but idle.
    pub total: f64,
    /// The same in MHz.
    pub ticks_mhz: f64,
}

/// One file system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskStats {
    /// The device.
    pub device: String,
    /// Where it is mounted.
    pub mount_point: String,
    /// Bytes in all.
    pub size_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes that anybody may still use.
    pub available_bytes: u64,
    /// Of bytes, in percent.
    pub used_percent: f64,
    /// Of inodes, in percent.
    pub inodes_used_percent: f64,
}

/// Metadata of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeMeta {
    /// As jobs see it.
    pub meta: BTreeMap<String, String>,
    /// What people have set while it runs; none hides what the settings say.
    pub dynamic: BTreeMap<String, Option<String>>,
    /// What its settings say.
    pub fixed: BTreeMap<String, String>,
}
