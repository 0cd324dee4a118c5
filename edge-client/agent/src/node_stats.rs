//! What the node uses now, from /proc.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use drover_protocol::edge_node::{CpuStats, DiskStats, NodeStats};
use drover_runner::decide::gc::DiskUse;
use drover_runner::{Edge, clock};

use crate::devices;

/// Most file systems that are told.
const DISKS_MAX: usize = 32;

/// Processor times of the last reading: what shares are counted from.
#[derive(Debug, Default)]
pub struct NodeReadings {
    last: Mutex<BTreeMap<String, Times>>,
}

/// Ticks of one processor since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Times {
    user: u64,
    system: u64,
    idle: u64,
    total: u64,
}

impl NodeReadings {
    /// Reads everything.
    pub fn read(&self, edge: &Edge) -> NodeStats {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let facts = edge.facts();
        let number = |key: &str| facts.node.attributes.get(key).and_then(|value| value.parse::<f64>().ok());
        let cpus = self.cpus(&text("/proc/stat"), number("cpu.frequency").unwrap_or(0.0));
        let memory = memory(&text("/proc/meminfo"));
        let get = |key: &str| memory.get(key).copied().unwrap_or(0);
        let (total, free) = (get("MemTotal"), get("MemFree"));
        NodeStats {
            at: clock::now().wall,
            uptime_s: text("/proc/uptime").split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0),
            cpu_ticks_mhz: cpus.iter().map(|cpu| cpu.ticks_mhz).sum(),
            cpus,
            memory_total_bytes: total,
            memory_available_bytes: get("MemAvailable"),
            memory_free_bytes: free,
            memory_used_bytes: total.saturating_sub(free + get("Buffers") + get("Cached")),
            disks: disks(&text("/proc/self/mounts")),
            alloc_dir: disk(&edge.allocs_dir, "", "").unwrap_or_default(),
            devices: devices::stats(&facts.node.node_resources.devices),
        }
    }

    fn cpus(&self, stat: &str, core_mhz: f64) -> Vec<CpuStats> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = BTreeMap::new();
        let mut found = Vec::new();
        for (name, times) in stat.lines().filter_map(times_of) {
            let before = last.get(&name).copied().unwrap_or_default();
            let since = |now: u64, before: u64| now.saturating_sub(before) as f64;
            let total = since(times.total, before.total);
            let share = |now: u64, before: u64| if total > 0.0 { 100.0 * since(now, before) / total } else { 0.0 };
            let idle = share(times.idle, before.idle);
            let used = if total > 0.0 { 100.0 - idle } else { 0.0 };
            found.push(CpuStats {
                name: name.clone(),
                user: share(times.user, before.user),
                system: share(times.system, before.system),
                idle,
                total: used,
                ticks_mhz: used / 100.0 * core_mhz,
            });
            now.insert(name, times);
        }
        *last = now;
        found
    }
}

/// `cpu0 user nice system idle iowait irq softirq steal …`
fn times_of(line: &str) -> Option<(String, Times)> {
    let (name, rest) = line.split_once(' ')?;
    name.strip_prefix("cpu")?.parse::<u32>().ok()?;
    let fields: Vec<u64> = rest.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let get = |place: usize| fields.get(place).copied().unwrap_or(0);
    let times = Times {
        user: get(0) + get(1),
        system: get(2) + get(5) + get(6),
        idle: get(3) + get(4),
        total: fields.iter().take(8).sum(),
    };
    Some((name.to_owned(), times))
}

fn memory(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (key, rest) = line.split_once(':')?;
        Some((key.to_owned(), rest.split_whitespace().next()?.parse::<u64>().ok()?.saturating_mul(1024)))
    };
    text.lines().filter_map(line).collect()
}

/// The file systems on devices, each once.
fn disks(mounts: &str) -> Vec<DiskStats> {
    let mut found: Vec<DiskStats> = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(device), Some(place)) = (fields.next(), fields.next()) else { continue };
        if device.starts_with("/dev/")
            && found.len() < DISKS_MAX
            && !found.iter().any(|disk| disk.device == device)
            && let Some(disk) = disk(Path::new(&place.replace("\\040", " ")), device, place)
        {
            found.push(disk);
        }
    }
    found
}

/// How full the file system of that place is.
pub fn disk_use(place: &Path) -> Option<DiskUse> {
    let disk = disk(place, "", "")?;
    Some(DiskUse { bytes_percent: disk.used_percent, inodes_percent: disk.inodes_used_percent })
}

fn disk(place: &Path, device: &str, mount_point: &str) -> Option<DiskStats> {
    let stat = rustix::fs::statvfs(place).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    let (size, used) = (bytes(stat.f_blocks), bytes(stat.f_blocks.saturating_sub(stat.f_bfree)));
    let available = bytes(stat.f_bavail);
    let percent = |part: u64, whole: u64| if whole > 0 { 100.0 * part as f64 / whole as f64 } else { 0.0 };
    Some(DiskStats {
        device: device.to_owned(),
        mount_point: mount_point.to_owned(),
        size_bytes: size,
        used_bytes: used,
        available_bytes: available,
        used_percent: percent(used, used.saturating_add(available)),
        inodes_used_percent: percent(stat.f_files.saturating_sub(stat.f_ffree), stat.f_files),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counted_from_the_last_reading() {
        let readings = NodeReadings::default();
        let first = readings.cpus("cpu  1 2 3\ncpu0 10 0 10 80 0 0 0 0 0 0\nintr 5\n", 1000.0);
        assert_eq!((first.len(), first[0].user, first[0].idle), (1, 10.0, 80.0));
        let second = readings.cpus("cpu0 60 0 10 130 0 0 0 0 0 0\n", 1000.0);
        assert_eq!((second[0].user, second[0].system, second[0].ticks_mhz), (50.0, 0.0, 500.0));
        assert_eq!(memory("MemTotal:  10 kB\nx\n").get("MemTotal"), Some(&10_240));
        assert!(disk(Path::new("/"), "", "").unwrap().size_bytes > 0);
    }
}
