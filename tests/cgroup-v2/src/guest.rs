//! What is in a machine: busybox, some files, and an `/init` that runs a shell script and powers off.
//!
//! ```text
//! kernel --> /init --(to a tmpfs)--> /init --> run-case --> the script, its exit code, the end
//!                                       \--> a service manager --> case.service --> run-case
//! ```

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use crate::archive::Archive;

/// The line of the console that follows the script's output: this, and its exit code.
pub const END: &str = "guest: the script ended with ";

/// What the kernel's messages begin with that tell of processes killed for want of memory. They come before the end.
pub const KERNEL: &str = "kernel: ";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &str = "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n";
/// Runs the script, as the last thing that the machine does.
const RUN_CASE: &str = "/run-case";

/// Directories of the file tree.
const DIRECTORIES: [&str; 11] =
    ["bin", "dev", "etc", "home/user", "proc", "root", "run", "sys", "tmp", "usr/bin", "var"];

/// One entry of the file tree.
#[derive(Debug)]
enum Entry {
    Directory,
    File { permissions: u32, content: Vec<u8> },
    Link(String),
}

/// A machine's file tree. Paths are without a slash at their beginning.
#[derive(Debug)]
pub struct Guest {
    /// In their order a directory comes before what is in it.
    entries: BTreeMap<String, Entry>,
    modules: Vec<String>,
    manager: Option<String>,
}

impl Guest {
    /// One with busybox, which is a static program, as its shell and its tools, all of them in `/bin`.
    pub fn new(busybox: Vec<u8>) -> Self {
        let mut guest = Self { entries: BTreeMap::new(), modules: Vec::new(), manager: None };
        for path in DIRECTORIES {
            guest.directory(path);
        }
        guest.file("bin/busybox", 0o755, busybox);
        guest.link("bin/sh", "busybox");
        guest.file("etc/passwd", 0o644, PASSWD);
        guest.file("etc/group", 0o644, GROUP);
        guest
    }

    /// Adds a directory and those above it.
    pub fn directory(&mut self, path: &str) {
        if self.entries.contains_key(path) {
            return;
        }
        if let Some((above, _)) = path.rsplit_once('/') {
            self.directory(above);
        }
        self.entries.insert(path.to_owned(), Entry::Directory);
    }

    /// Adds a file with its permission bits, and the directories above it.
    pub fn file(&mut self, path: &str, permissions: u32, content: impl Into<Vec<u8>>) {
        self.add(path, Entry::File { permissions, content: content.into() });
    }

    /// Adds a symbolic link, and the directories above it.
    pub fn link(&mut self, path: &str, target: &str) {
        self.add(path, Entry::Link(target.to_owned()));
    }

    fn add(&mut self, path: &str, entry: Entry) {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.directory(above);
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Adds a module of the kernel, which is loaded before the script begins, after those that were added before it.
    pub fn module(&mut self, name: &str, content: Vec<u8>) {
        self.file(&format!("modules/{name}.ko"), 0o644, content);
        self.modules.push(name.to_owned());
    }

    /// The program that becomes the first process in the place of a shell; it must start `run-case`.
    pub fn managed_by(&mut self, program: &str) {
        self.manager = Some(program.to_owned());
    }

    /// Writes the machine's initramfs. `script` is for busybox's shell; `life_max` is how long the machine lives even if nobody watches it
    /// any more.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&self, out: impl Write, script: &str, life_max: Duration) -> io::Result<()> {
        let mut archive = Archive::new(out);
        archive.directory("new-root")?;
        for (path, entry) in &self.entries {
            match entry {
                Entry::Directory => archive.directory(path)?,
                Entry::File { permissions, content } => archive.file(path, *permissions, content)?,
                Entry::Link(target) => archive.link(path, target)?,
            }
        }
        archive.file("case.sh", 0o644, script.as_bytes())?;
        archive.file("run-case", 0o755, run_case().as_bytes())?;
        archive.file("init", 0o755, self.init(life_max).as_bytes())?;
        archive.finish()?;
        Ok(())
    }

    /// The kernel's first process. It must not end.
    fn init(&self, life_max: Duration) -> String {
        let (modules, seconds) = (self.modules.join(" "), life_max.as_secs());
        let rest = match &self.manager {
            Some(manager) => format!("exec {manager}\n"),
            None => format!("mount -t cgroup2 cgroup /sys/fs/cgroup\n{RUN_CASE}\nexec sleep {seconds}\n"),
        };
        format!(
            r#"#!/bin/sh
export PATH=/usr/bin:/bin
if [ -d /new-root ]; then
    # pivot_root, which containers need, refuses to leave an initramfs: go on from a tmpfs.
    busybox mount -t tmpfs -o mode=0755 root /new-root
    busybox cp /bin/busybox /new-root/busybox
    for path in /*; do
        case $path in
        /new-root) ;;
        # switch_root wants to see it in both.
        /init) /new-root/busybox cp /init /new-root/ ;;
        /dev | /proc | /sys) /new-root/busybox mkdir /new-root$path ;;
        *) /new-root/busybox mv $path /new-root/ ;;
        esac
    done
    exec /new-root/busybox switch_root /new-root /init
fi
busybox mount -t proc proc /proc
busybox --install -s /bin
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts && mount -t devpts devpts /dev/pts
chmod 1777 /tmp
hostname guest
for module in {modules}; do insmod /modules/$module.ko; done
(sleep {seconds}; echo "guest: out of time"; echo o >/proc/sysrq-trigger) &
{rest}"#
        )
    }
}

fn run_case() -> String {
    format!(
        r#"#!/bin/sh
export PATH=/usr/bin:/bin
/bin/sh /case.sh 2>&1
code=$?
# Only now: a message of the kernel may come in the middle of a line.
dmesg | grep 'ut of memory: Killed' | sed 's/^/{KERNEL}/'
echo "{END}$code"
echo o >/proc/sysrq-trigger
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_what_is_in_them() {
        let mut guest = Guest::new(b"program".to_vec());
        guest.file("a/b/c", 0o644, "text");
        guest.module("some", Vec::new());
        let paths: Vec<&str> = guest.entries.keys().map(String::as_str).collect();
        for path in &paths {
            let Some((above, _)) = path.rsplit_once('/') else { continue };
            let place = |wanted: &str| paths.iter().position(|path| *path == wanted);
            assert!(place(above) < place(path), "{path}");
        }
        let mut written = Vec::new();
        guest.write(&mut written, "exit 3", Duration::from_secs(1)).unwrap();
        let text = String::from_utf8_lossy(&written);
        assert!(text.contains("insmod") && text.contains("exit 3") && text.contains(END));
    }
}
