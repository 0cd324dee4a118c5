//! The file by which a task finds names, where its job says how.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use drover_supervisor::held_dir;
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use crate::driver::TaskDns;

/// Its name in the task's directory on the host.
pub const NAME: &str = "resolv.conf";

/// Writes it into the task's directory; gives its path. A task that ran before may have put anything in its place.
pub fn write(task_dir: &Path, dns: &TaskDns) -> io::Result<PathBuf> {
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let dir = held_dir::open(task_dir)?;
    match unlinkat(&dir, NAME, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(&dir, NAME, flags, Mode::from_raw_mode(0o644))?);
    file.write_all(text(dns, &host).as_bytes())?;
    // The umask cut what the call above asked for.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    Ok(task_dir.join(NAME))
}

/// What the file says; what the job leaves out is as on the host.
fn text(dns: &TaskDns, host: &str) -> String {
    let of_host = |word: &str| -> Vec<String> {
        let lines = host.lines().filter_map(|line| line.trim().strip_prefix(word)?.strip_prefix([' ', '\t']));
        lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
    };
    let given_or = |given: &[String], word: &str| if given.is_empty() { of_host(word) } else { given.to_vec() };
    let mut text = String::new();
    let searches = given_or(&dns.searches, "search").join(" ");
    // A single point means that there are none.
    if !searches.is_empty() && searches != "." {
        text.push_str(&format!("search {searches}\n"));
    }
    for server in given_or(&dns.servers, "nameserver") {
        text.push_str(&format!("nameserver {server}\n"));
    }
    let options = given_or(&dns.options, "options").join(" ");
    if !options.is_empty() {
        text.push_str(&format!("options {options}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_on_the_host() {
        let host = "# comment\nnameserver 10.0.0.1\nnameserver\t10.0.0.2\nsearch here there\noptions ndots:1\n";
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let check = |servers: &[&str], searches: &[&str], options: &[&str], expected: &str| {
            let dns = TaskDns { servers: own(servers), searches: own(searches), options: own(options) };
            assert_eq!(text(&dns, host), expected);
        };
        check(&["1.1.1.1"], &[], &[], "search here there\nnameserver 1.1.1.1\noptions ndots:1\n");
        check(&[], &["a", "b"], &["rotate"], "search a b\nnameserver 10.0.0.1\nnameserver 10.0.0.2\noptions rotate\n");
        check(&["1.1.1.1", "2.2.2.2"], &["."], &["x"], "nameserver 1.1.1.1\nnameserver 2.2.2.2\noptions x\n");
    }

    #[test]
    fn a_planted_link_is_replaced() {
        let (dir, victim) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        std::os::unix::fs::symlink(victim.path(), dir.path().join(NAME)).unwrap();
        let dns = TaskDns { servers: vec!["1.1.1.1".to_owned()], ..TaskDns::default() };
        for _ in 0..2 {
            let path = write(dir.path(), &dns).unwrap();
            assert!(std::fs::read_to_string(path).unwrap().contains("nameserver 1.1.1.1\n"));
        }
        assert_eq!(std::fs::read_to_string(victim.path()).unwrap(), "");
    }
}
