//! Versions of the CNI plugins that are installed: jobs may be constrained to one. drover runs none of them for an alloc.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Where they are looked for unless the operator says so.
pub const DEFAULT_PATH: &str = "/opt/cni/bin:/usr/libexec/cni";
/// How long one may take to say its version.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// More of its words is not read, in bytes.
const WORDS_MAX: u64 = 4096;

/// The version of the plugin of that name, from the first directory that has it.
pub fn version(search_path: &str, name: &str) -> Option<String> {
    let dirs = search_path.split(':').filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let file = dirs.map(|dir| dir.join(name)).find(|file| file.is_file())?;
    version_of(&words_of(&file)?)
}

/// The newer of two versions.
pub fn newer<'a>(one: &'a str, other: &'a str) -> &'a str {
    let numbers = |text: &str| -> Vec<u64> {
        let plain = text.split(['-', '+']).next().unwrap_or_default();
        plain.split('.').map(|part| part.parse().unwrap_or(0)).collect()
    };
    if numbers(other) > numbers(one) { other } else { one }
}

/// What it says when it is run without a command: its name and its version, on standard error.
fn words_of(file: &Path) -> Option<String> {
    let mut command = Command::new(file);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let stderr = child.stderr.take();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = stderr.map(|stderr| stderr.take(WORDS_MAX).read_to_string(&mut text));
        // Nobody waits any more: it took too long.
        let _ = tell.send(read.and_then(Result::ok).map(|_| text));
    });
    let words = told.recv_timeout(ANSWER_MAX).ok().flatten();
    // It has closed its output or taken too long; either way it is done.
    let _ = child.kill();
    let _ = child.wait();
    words
}

/// The version in `CNI bridge plugin v1.4.0`.
fn version_of(words: &str) -> Option<String> {
    let line = words.lines().find(|line| line.starts_with("CNI ") && line.contains(" plugin "))?;
    let version = line.split_whitespace().last()?.trim_start_matches('v');
    version.starts_with(|first: char| first.is_ascii_digit()).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_plugin_tells_its_version() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, script: &str| {
            let file = dir.path().join(name);
            std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        write(
            "bridge",
            "echo 'CNI bridge plugin v1.4.0' >&2; echo 'CNI protocol versions supported: 0.1.0' >&2; exit 1",
        );
        write("portmap", "echo something else >&2");
        write("loopback", "exec sleep 1000");
        let path = format!("/nonexistent:{}", dir.path().display());
        // A busy machine may need longer than a plugin has, and another test that starts something at this moment has the file open.
        let found = std::iter::repeat_with(|| version(&path, "bridge")).take(20).find(Option::is_some);
        assert_eq!(found.flatten().as_deref(), Some("1.4.0"));
        assert_eq!(version(&path, "portmap"), None);
        assert_eq!(version(&path, "loopback"), None);
        assert_eq!(version(&path, "firewall"), None);
    }

    #[test]
    fn the_newer_version_counts() {
        let check = |one: &str, other: &str, expected: &str| assert_eq!(newer(one, other), expected);
        check("1.0.0", "1.4.0", "1.4.0");
        check("1.0.0", "0.9.1", "1.0.0");
        check("1.0.0", "1.10.0", "1.10.0");
        check("1.9.0", "1.10.0-rc1", "1.10.0-rc1");
        check("1.0.0", "nonsense", "1.0.0");
    }
}
