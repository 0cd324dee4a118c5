//! What Linux tells of the machine below the agent: processors and how they lie, the file system of a directory, names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// MHz of a core whose kernel does not say.
const GUESSED_MHZ: u64 = 1000;
/// The most processors that are counted.
const PROCESSORS_MAX: u16 = 4096;

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Numbers written as `0-2,5`.
fn numbers(text: &str) -> BTreeSet<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        Some(first..=last.min(PROCESSORS_MAX))
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

/// The same the other way round.
pub fn ranges(numbers: &BTreeSet<u16>) -> String {
    let mut parts: Vec<(u16, u16)> = Vec::new();
    for number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => parts.push((*number, *number)),
        }
    }
    let part = |(first, last): &(u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    parts.iter().map(part).collect::<Vec<_>>().join(",")
}

/// The processors of the machine that this process may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processors {
    /// Their numbers.
    pub cores: BTreeSet<u16>,
    /// Those of them that lie at each node of the memory, by the node's number.
    pub nodes: Vec<(u16, BTreeSet<u16>)>,
    /// Those that save power, where there are two kinds.
    pub efficient: BTreeSet<u16>,
    /// MHz of the others.
    pub mhz: u64,
    /// MHz of those that save power.
    pub efficient_mhz: u64,
}

impl Processors {
    /// As they are now. What one does, where it is known from before, is not measured again: some kernels tell the present
    /// frequency alone, which is another one each time.
    pub fn find(known_mhz: Option<u64>) -> Processors {
        let online = numbers(&text(Path::new("/sys/devices/system/cpu/online")));
        Processors::of(Path::new("/sys/devices"), online, usable(), known_mhz)
    }

    fn of(devices: &Path, online: BTreeSet<u16>, usable: BTreeSet<u16>, known_mhz: Option<u64>) -> Processors {
        let mut cores: BTreeSet<u16> = match online.is_empty() {
            true => usable,
            false => online.intersection(&usable).copied().collect(),
        };
        if cores.is_empty() {
            cores.insert(0);
        }
        let mut nodes = Vec::new();
        for entry in fs::read_dir(devices.join("system/node")).into_iter().flatten().flatten() {
            let number = entry.file_name().to_str().and_then(|name| name.strip_prefix("node")?.parse::<u16>().ok());
            if let Some(number) = number {
                let of_node = numbers(&text(&entry.path().join("cpulist")));
                nodes.push((number, of_node.intersection(&cores).copied().collect()));
            }
        }
        nodes.sort();
        if nodes.is_empty() {
            nodes.push((0, cores.clone()));
        }
        let efficient: BTreeSet<u16> =
            numbers(&text(&devices.join("cpu_atom/cpus"))).intersection(&cores).copied().collect();
        let has_both = efficient.len() < cores.len() && !efficient.is_empty();
        let efficient = if has_both { efficient } else { BTreeSet::new() };
        let first = cores.iter().find(|core| !efficient.contains(core)).copied().unwrap_or(0);
        let mhz = known_mhz.unwrap_or_else(|| mhz_of(devices, first));
        let efficient_mhz = efficient.first().map_or(0, |core| mhz_of(devices, *core));
        Processors { cores, nodes, efficient, mhz, efficient_mhz }
    }

    /// MHz of a core.
    pub fn mhz_of(&self, core: u16) -> u64 {
        if self.efficient.contains(&core) { self.efficient_mhz } else { self.mhz }
    }

    /// MHz of all together.
    pub fn total_mhz(&self) -> u64 {
        self.cores.iter().map(|core| self.mhz_of(*core)).sum()
    }

    /// The node of the memory that a core lies at.
    pub fn node_of(&self, core: u16) -> u16 {
        self.nodes.iter().find(|(_, cores)| cores.contains(&core)).map_or(0, |(node, _)| *node)
    }
}

/// Those that this process may run on.
fn usable() -> BTreeSet<u16> {
    let set = rustix::thread::sched_getaffinity(None);
    let all = (0..PROCESSORS_MAX).take_while(|core| usize::from(*core) < rustix::thread::CpuSet::MAX_CPU);
    let usable: BTreeSet<u16> = match set {
        Ok(set) => all.filter(|core| set.is_set(usize::from(*core))).collect(),
        Err(_) => BTreeSet::new(),
    };
    if usable.is_empty() {
        // A machine with more processors than the set has room for.
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        return (0..u16::try_from(count).unwrap_or(PROCESSORS_MAX)).collect();
    }
    usable
}

fn mhz_of(devices: &Path, core: u16) -> u64 {
    let khz = |file: &str| {
        let told = text(&devices.join(format!("system/cpu/cpu{core}/cpufreq/{file}")));
        told.parse::<u64>().ok().map(|khz| khz / 1000)
    };
    let from_info = || {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let told = info.lines().find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == "cpu MHz"));
        told.and_then(|(_, text)| text.trim().parse::<f64>().ok()).map(|mhz| mhz as u64)
    };
    khz("base_frequency")
        .or_else(|| khz("cpuinfo_max_freq"))
        .or_else(from_info)
        .filter(|mhz| *mhz > 0)
        .unwrap_or(GUESSED_MHZ)
}

/// What the file system that a directory is on is mounted from; the directory where that is not known.
pub fn volume_of(dir: &Path, mounts: &str) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mount = |line: &str| {
        let mut fields = line.split(' ');
        let (source, place) = (fields.next()?.to_owned(), fields.next()?.replace("\\040", " "));
        dir.starts_with(&place).then_some((place.len(), source))
    };
    // Of those at one place the last one is seen.
    let best = mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length);
    best.map_or_else(|| dir.to_string_lossy().into_owned(), |(_, source)| source)
}

/// The machine's id in the form of a UUID: its maker's, that of its installation, or that of its boot.
pub fn host_id(root: &Path) -> Option<String> {
    let made = text(&root.join("sys/class/dmi/id/product_uuid")).to_ascii_lowercase();
    if is_uuid(&made) {
        return Some(made);
    }
    let id = text(&root.join("etc/machine-id")).to_ascii_lowercase();
    if id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Some(format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]));
    }
    Some(text(&root.join("proc/sys/kernel/random/boot_id"))).filter(|id| is_uuid(id))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The distribution's name and version, as constraints of job files know them.
pub fn distribution(root: &Path) -> (String, String) {
    let release = fs::read_to_string(root.join("etc/os-release")).unwrap_or_default();
    let field = |key: &str| {
        let value = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(value.trim_matches(['"', '\'']).to_owned())
    };
    let id = field("ID").unwrap_or_else(|| "linux".to_owned());
    let version = field("VERSION_ID").unwrap_or_default();
    let exact = text(&root.join("etc/debian_version"));
    let version = if id == "debian" && !exact.is_empty() { exact } else { version };
    let name = match id.as_str() {
        "rhel" => "redhat",
        "amzn" => "amazon",
        other => other,
    };
    (name.to_owned(), version)
}

/// The newest form of Landlock that the kernel has; none without it.
pub fn landlock() -> Option<u32> {
    /// Asks for the version alone.
    const VERSION_ONLY: libc::c_uint = 1;
    // SAFETY: with this flag the call reads no memory and makes nothing; it gives a number.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION_ONLY)
    };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn numbers_are_read_and_written_as_ranges() {
        for text in ["0", "0-3", "0-1,4,6-7"] {
            assert_eq!(ranges(&numbers(text)), text);
        }
        assert!(numbers("").is_empty() && numbers("x").is_empty());
        assert_eq!(ranges(&numbers("3,0-2")), "0-3");
    }

    #[test]
    fn processors_lie_at_nodes_and_are_of_two_kinds() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(root, "system/node/node0/cpulist", "0-1\n");
        write(root, "system/node/node1/cpulist", "2-5\n");
        write(root, "cpu_atom/cpus", "4-7\n");
        for (core, khz) in [(0, "3000000"), (4, "2000000")] {
            write(root, &format!("system/cpu/cpu{core}/cpufreq/base_frequency"), khz);
        }
        let found = Processors::of(root, numbers("0-5"), numbers("0-4"), None);
        assert_eq!((ranges(&found.cores), ranges(&found.efficient)), ("0-4".to_owned(), "4".to_owned()));
        assert_eq!((found.total_mhz(), found.mhz_of(4), found.node_of(3)), (14_000, 2000, 1));
        assert_eq!(
            found.nodes.iter().map(|(node, cores)| (*node, ranges(cores))).collect::<Vec<_>>(),
            [(0, "0-1".to_owned()), (1, "2-4".to_owned())]
        );
        // One kind alone is no kind.
        let found = Processors::of(root, numbers("4-5"), numbers("0-9"), Some(1500));
        assert!(found.efficient.is_empty() && found.mhz == 1500);
        assert!(!Processors::find(None).cores.is_empty());
    }

    #[test]
    fn a_directory_is_on_the_volume_mounted_nearest_above_it() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /srv/a\\040b xfs rw 0 0\n";
        assert_eq!(volume_of(Path::new("/srv/a b/c"), mounts), "/dev/vdb");
        assert_eq!(volume_of(Path::new("/srv/a"), mounts), "/dev/vda");
        assert_eq!(volume_of(Path::new("/nowhere"), ""), "/nowhere");
    }

    #[test]
    fn the_machine_has_a_name_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert_eq!(host_id(root), None);
        write(root, "proc/sys/kernel/random/boot_id", "1dab976e-868f-4c0c-98a8-7be431eac5c5\n");
        assert_eq!(host_id(root).unwrap(), "1dab976e-868f-4c0c-98a8-7be431eac5c5");
        write(root, "etc/machine-id", "3d1219c7c4c5404aaa1f6d2a48adfda4\n");
        assert_eq!(host_id(root).unwrap(), "3d1219c7-c4c5-404a-aa1f-6d2a48adfda4");
        write(root, "etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
        write(root, "etc/debian_version", "12.11\n");
        assert_eq!(distribution(root), ("debian".to_owned(), "12.11".to_owned()));
        write(root, "etc/os-release", "ID=\"rhel\"\nVERSION_ID=\"9.4\"\n");
        assert_eq!(distribution(root), ("redhat".to_owned(), "9.4".to_owned()));
    }
}
