//! What is in the machine: busybox, one program, and an `/init` that runs it and powers off.

use std::io::{self, Write};
use std::time::Duration;

use crate::archive::Archive;

/// The line of the console that follows the program's output: this, and its exit code.
pub const END: &str = "guest: the program ended with ";

/// What the kernel's messages begin with that tell of processes killed for want of memory. They come before the end.
pub const KERNEL: &str = "kernel: ";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// Directories of the file tree.
const DIRECTORIES: [&str; 10] = ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin"];

/// Writes an initramfs.
///
/// `program` and `busybox` are static binaries; `arguments` must need no quoting in a shell. `life_max` is how long the machine lives
/// even if nobody watches it any more.
///
/// # Errors
/// The writer's.
pub fn write(
    out: impl Write,
    busybox: &[u8],
    program: &[u8],
    arguments: &[&str],
    life_max: Duration,
) -> io::Result<()> {
    let mut archive = Archive::new(out);
    for path in DIRECTORIES {
        archive.directory(path)?;
    }
    archive.directory("new-root")?;
    archive.file("bin/busybox", 0o755, busybox)?;
    archive.link("bin/sh", "busybox")?;
    archive.file("etc/passwd", 0o644, PASSWD.as_bytes())?;
    archive.file("etc/group", 0o644, GROUP.as_bytes())?;
    archive.file("bin/program", 0o755, program)?;
    archive.file("init", 0o755, init(arguments, life_max).as_bytes())?;
    archive.finish()?;
    Ok(())
}

/// The kernel's first process. It must not end, so the last thing it does is to wait for the power to go.
fn init(arguments: &[&str], life_max: Duration) -> String {
    let (arguments, seconds) = (arguments.join(" "), life_max.as_secs());
    let directories = DIRECTORIES.join(" ");
    format!(
        r#"#!/bin/sh
export PATH=/usr/bin:/bin
if [ -d /new-root ]; then
    # pivot_root, which containers need, refuses to leave an initramfs: go on from a tmpfs.
    busybox mount -t tmpfs root /new-root
    cd /new-root
    busybox mkdir -p {directories}
    busybox mv /bin/* bin/
    bin/busybox mv /etc/* etc/
    bin/busybox cp /init . # switch_root wants to see it in both
    exec bin/busybox switch_root /new-root /init
fi
busybox mount -t proc proc /proc
busybox --install -s /bin
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts && mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup /sys/fs/cgroup
chmod 1777 /tmp
hostname guest
(sleep {seconds}; echo "guest: out of time"; echo o >/proc/sysrq-trigger) &
/bin/program {arguments} 2>&1
code=$?
# Only now: a message of the kernel may come in the middle of a line.
dmesg | grep 'ut of memory: Killed' | sed 's/^/{KERNEL}/'
echo "{END}$code"
echo o >/proc/sysrq-trigger
exec sleep {seconds}
"#
    )
}
