//! What an agent's host looks like, for who looks for a fault: system, addresses, names, variables, disks.

use std::collections::BTreeMap;

use rustix::fs::statvfs;
use rustix::system::uname;
use serde::Serialize;

const MIB: u64 = 1 << 20;
/// The longest file that is shown.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Variables with such a word in their names are not shown.
const SECRET_WORDS: [&str; 6] = ["TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "LICENSE", "KEY"];

/// The host.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostData {
    #[serde(rename = "OS")]
    os: String,
    network: Vec<BTreeMap<&'static str, String>>,
    resolv_conf: String,
    hosts: String,
    environment: BTreeMap<String, String>,
    disk: BTreeMap<String, DiskUsage>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct DiskUsage {
    #[serde(rename = "DiskMB")]
    disk_mib: u64,
    #[serde(rename = "UsedMB")]
    used_mib: u64,
}

impl HostData {
    /// Looks. It reads files and asks file systems: not for a thread that answers.
    pub fn read() -> Self {
        let name = uname();
        let parts = [name.machine(), name.nodename(), name.release(), name.sysname(), name.version()];
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self {
            os: parts.map(|part| part.to_string_lossy()).join(" "),
            network: addresses(&text_of("/proc/net/fib_trie"), &text_of("/proc/net/if_inet6")),
            resolv_conf: text_of("/etc/resolv.conf"),
            hosts: text_of("/etc/hosts"),
            environment: variables.map(|(name, value)| shown(name, &value.to_string_lossy())).collect(),
            disk: disks(&text_of("/proc/self/mounts")),
        }
    }
}

/// What a file holds, or why it can't be read.
fn text_of(path: &str) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    match std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)) {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => error.to_string(),
    }
}

fn shown(name: String, value: &str) -> (String, String) {
    let upper = name.to_uppercase();
    let is_secret = SECRET_WORDS.iter().any(|word| upper.contains(word));
    (name, if is_secret { "<redacted>".to_owned() } else { value.to_owned() })
}

/// This host's addresses, out of the kernel's tables.
fn addresses(trie: &str, inet6: &str) -> Vec<BTreeMap<&'static str, String>> {
    let mut found: Vec<(&str, String)> = Vec::new();
    let mut last = "";
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address;
        } else if line == "/32 host LOCAL" && found.iter().all(|(_, known)| known != last) {
            found.push(("IPv4", last.to_owned()));
        }
    }
    let hexadecimal = |digits: &str| u128::from_str_radix(digits, 16).ok().map(std::net::Ipv6Addr::from);
    let six = inet6.lines().filter_map(|line| hexadecimal(line.split_whitespace().next()?));
    found.extend(six.map(|address| ("IPv6", address.to_string())));
    let row = |(kind, address): (&str, String)| BTreeMap::from([("type", kind.to_owned()), ("address", address)]);
    found.into_iter().map(row).collect()
}

/// File systems that lie on this host's own devices: one that lies elsewhere may never answer.
fn disks(mounts: &str) -> BTreeMap<String, DiskUsage> {
    // One of a file system in a process of its own (fuse) that hangs would never answer.
    let is_fuse = |line: &str| line.split(' ').nth(2).is_some_and(|kind| kind.starts_with("fuse"));
    let local = mounts.lines().filter(|line| line.starts_with("/dev/") && !is_fuse(line));
    let usage = |path: &str| {
        let stat = statvfs(path).ok()?;
        let (all, free) = (stat.f_blocks.saturating_mul(stat.f_frsize), stat.f_bavail.saturating_mul(stat.f_frsize));
        Some(DiskUsage { disk_mib: all / MIB, used_mib: all.saturating_sub(free) / MIB })
    };
    // A blank in a name is written as a number there.
    let paths = local.filter_map(|line| line.split(' ').nth(1)).map(|path| path.replace("\\040", " "));
    paths.filter_map(|path| usage(&path).map(|usage| (path, usage))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_not_shown() {
        let check = |name: &str, expected: &str| assert_eq!(shown(name.to_owned(), "x").1, expected, "{name}");
        check("PATH", "x");
        check("NOMAD_TOKEN", "<redacted>");
        check("AWS_SECRET_ACCESS_KEY", "<redacted>");
        check("my_password", "<redacted>");
    }

    #[test]
    fn addresses_are_read_from_the_tables() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.0\n        /8 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n\
                    Local:\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 10.1.2.255\n        /32 link BROADCAST\n";
        let six = "00000000000000000000000000000001 01 80 10 80       lo\nzz\n";
        let found = addresses(trie, six);
        let of = |place: usize| (found[place]["type"].as_str(), found[place]["address"].as_str());
        assert_eq!((found.len(), of(0), of(1)), (2, ("IPv4", "127.0.0.1"), ("IPv6", "::1")));
    }

    #[test]
    fn only_disks_of_this_host_are_asked() {
        assert!(disks("server:/export /mnt nfs rw 0 0\nproc / proc rw 0 0\n").is_empty());
        let found = disks("/dev/sda1 / ext4 rw 0 0\n/dev/gone /nowhere ext4 rw 0 0\n");
        assert_eq!(found.keys().collect::<Vec<_>>(), ["/"]);
    }
}
