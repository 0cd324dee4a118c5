//! Which cgroup hierarchies this host has, and reading and writing their small files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The controllers that a task is put into on cgroup v1. `freezer` is the one its processes are counted in.
const V1_CONTROLLERS: [&str; 5] = ["freezer", "memory", "cpu", "cpuacct", "pids"];

/// The hierarchies of this host.
#[derive(Debug, Clone)]
pub(crate) enum Layout {
    /// One directory per controller (several may share one mount). `all` has every mount, those too that tasks do not join.
    V1 { controllers: BTreeMap<&'static str, PathBuf>, all: Vec<PathBuf> },
    /// One tree for all.
    V2 { root: PathBuf },
    /// None that we could use.
    None { reason: String },
}

impl Layout {
    /// Reads the mounts of this host.
    pub(crate) fn detect() -> Layout {
        match std::fs::read_to_string("/proc/mounts") {
            Ok(mounts) => Layout::from_mounts(&mounts, |root| {
                std::fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default()
            }),
            Err(err) => Layout::None { reason: format!("read /proc/mounts: {err}") },
        }
    }

    fn from_mounts(mounts: &str, controllers_of: impl Fn(&Path) -> String) -> Layout {
        let mut controllers = BTreeMap::new();
        let mut all = Vec::new();
        for line in mounts.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, path, kind, options, ..] = fields.as_slice() else {
                continue;
            };
            let path = PathBuf::from(path);
            match *kind {
                "cgroup2" => {
                    let has = controllers_of(&path);
                    if has.split_whitespace().any(|name| name == "memory") {
                        return Layout::V2 { root: path };
                    }
                    // Beside v1 it holds no controller, but systemd may find a unit's processes by it.
                    all.push(path);
                }
                "cgroup" => {
                    for name in V1_CONTROLLERS {
                        if options.split(',').any(|option| option == name) {
                            controllers.entry(name).or_insert_with(|| path.clone());
                        }
                    }
                    all.push(path);
                }
                _ => {}
            }
        }
        if controllers.is_empty() {
            return Layout::None { reason: "no usable cgroup hierarchy is mounted".to_owned() };
        }
        Layout::V1 { controllers, all }
    }
}

/// Writes one value to a cgroup file; the error names the file.
pub(crate) fn write(path: &Path, value: &str) -> Result<(), String> {
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))
        .map_err(|err| format!("write {value:?} to {}: {}", path.display(), errno_text(&err)))
}

/// One number from a cgroup file.
pub(crate) fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The `key value` lines of a cgroup file.
pub(crate) fn table(path: &Path) -> BTreeMap<String, u64> {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

/// The processes of a cgroup and of those below it.
pub(crate) fn processes(dir: &Path) -> Vec<i32> {
    let mut found: Vec<i32> = std::fs::read_to_string(dir.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    for below in directories(dir) {
        found.extend(processes(&below));
    }
    found
}

/// Removes a cgroup and those below it; true when it is gone.
pub(crate) fn remove_tree(dir: &Path) -> bool {
    match std::fs::remove_dir(dir) {
        Ok(()) => true,
        Err(err) if err.kind() == io::ErrorKind::NotFound => true,
        Err(_) => {
            let below = directories(dir);
            !below.is_empty() && below.iter().all(|dir| remove_tree(dir)) && std::fs::remove_dir(dir).is_ok()
        }
    }
}

/// The directories right below one.
pub(crate) fn directories(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// The kernel's words for an error, as programs of the field print them: `no such file or directory`.
pub(crate) fn errno_text(err: &io::Error) -> String {
    let text = err.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        // "RPC failed" and the like keep their capitals.
        Some(first) if !letters.as_str().starts_with(char::is_uppercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mounts: &str, v2_controllers: &str, expected: &str) {
        let found = match Layout::from_mounts(mounts, |_| v2_controllers.to_owned()) {
            Layout::V1 { controllers, all } => format!("v1 {} of {}", controllers.len(), all.len()),
            Layout::V2 { root } => format!("v2 {}", root.display()),
            Layout::None { reason } => reason,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_layout_is_read_from_the_mounts() {
        let hybrid = "cgroup /cg/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\ncgroup /cg/memory cgroup rw,memory 0 0\n\
                      cgroup /cg/systemd cgroup rw,name=systemd 0 0\ncgroup2 /cg/unified cgroup2 rw 0 0\n";
        check(hybrid, "hugetlb", "v1 3 of 4");
        check("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n", "cpuset cpu io memory pids", "v2 /sys/fs/cgroup");
        check("tmpfs / tmpfs rw 0 0\n", "", "no usable cgroup hierarchy is mounted");
    }

    #[test]
    fn errors_read_like_those_of_the_field() {
        assert_eq!(errno_text(&io::Error::from_raw_os_error(libc::ENOENT)), "no such file or directory");
        assert_eq!(errno_text(&io::Error::from_raw_os_error(libc::EACCES)), "permission denied");
    }
}
